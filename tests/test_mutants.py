"""The rules that make mutants, on small sources; and that the lists fit the package as it is."""

import os
from collections.abc import Iterator
from pathlib import Path

import mutants
import pytest
from mutant_runs import Record, Runs
from mutants import Guards, Mutant, Source, Wrong, findMutants, normalised
from mutated import EQUIVALENT, GUARDED

import wsock


def made(text: str, function: str = "f") -> list[str]:
    """The keys of all mutants of a function; each of them is Python, and differs in one place."""
    source = Source("m", text.encode())
    found = list(source.mutants(function, source.functions()[function]))
    for mutant in found:
        compile(mutant.source, "m", "exec")
        assert mutant.source != text.encode()
    return [mutant.key for mutant in found]


def of(rule: str, text: str, function: str = "f") -> list[str]:
    return [key.removeprefix(rule).removeprefix(": ") for key in made(text, function) if key.startswith(rule)]


def test_statements_are_dropped() -> None:
    text = """def f(self):
    "What it does."
    local = self.g()
    self.x = local
    self.y += 1
    self.g()
    for one in local:
        if one:
            self.g()
            continue
    self.a = self.b = None
    raise local
"""
    assert of("drop", text) == [
        "self.x = local -> pass",
        "self.y += 1 -> pass",
        "self.g() -> pass",
        "#2: self.g() -> pass",
        "continue -> pass",
        "self.a = self.b = None -> _ = self.b = None",
        "self.a = self.b = None -> self.a = _ = None",
        "raise local -> pass",
    ]


def test_a_guard_is_dropped_once() -> None:
    assert made("def f(x):\n    if x.y:\n        return\n    g()\n") == [
        "force: x.y -> True",
        "force: x.y -> False",
        "drop: g() -> pass",
    ]


@pytest.mark.parametrize(
    ("rule", "statement", "changed"),
    [
        ("force", "x = 1 if y else 2", ["x = 1 if True else 2", "x = 1 if False else 2"]),
        ("force", "x = [z for z in y if z]", ["x = [z for z in y if True]", "x = [z for z in y if False]"]),
        ("operand", "x = y and z", ["x = True and z", "x = y and True"]),
        ("operand", "x = y or ()", ["x = False or ()"]),
        ("compare", "x = y < z", ["x = y <= z"]),
        ("compare", "x = (y)   >= (z)", ["x = y > z"]),
        ("compare", "x = y == z", ["x = y != z"]),
        ("compare", "x = 1 < y <= z", ["x = 1 <= y <= z", "x = 1 < y < z"]),
        ("number", "x(0, 1, True)", ["x(1, 1, True)", "x(0, 0, True)", "x(0, 1, False)"]),
        ("number", "x = y[0]", []),
        ("number", "x = 2**16 + 1", ["x = 2 ** 16 + 1 + 1"]),
        ("number", "x = 7 * y", ["x = (7 + 1) * y"]),
        ("sign", "x = y + z - a", ["x = y + z + a", "x = y - z - a"]),
        ("sign", 'x = y + "z"', []),
        ("extreme", "x = min(y, z)", ["x = max(y, z)"]),
        ("returned", "return y", ["return None"]),
        ("returned", "return None", []),
        ("element", "x = isinstance(y, (int, str))", ["x = isinstance(y, (str,))", "x = isinstance(y, (int,))"]),
        ("element", "x = {y, z}", ["x = {z}", "x = {y}"]),
        ("element", "x = (y, z)", []),
    ],
)
def test_expressions(rule: str, statement: str, changed: list[str]) -> None:
    before = normalised(f"{rule}: {statement} -> {statement}").rpartition(" -> ")[2]
    assert of(rule, f"def f(y):\n    {statement}\n") == [
        normalised(f"{rule}: {before} -> {one}").removeprefix(f"{rule}: ") for one in changed
    ]


def test_conditions_of_compound_statements_stand_alone() -> None:
    text = "def f(y, z):\n    while (y\n           and z < 3):\n        g()\n"
    assert made(text)[:4] == [
        "force: y and z < 3 -> False",
        "operand: y and z < 3 -> True and z < 3",
        "operand: y and z < 3 -> y and True",
        "compare: y and z < 3 -> y and z <= 3",
    ]


@pytest.mark.parametrize(
    ("returns", "values"),
    [("bool", ["True", "False"]), ("int", ["0"]), ("bytes", ["b''"]), ("list[int]", ["[]"]), ("X | None", ["None"])],
)
def test_a_value_of_the_kind_is_returned(returns: str, values: list[str]) -> None:
    assert of("returned", f"def f(y) -> {returns}:\n    return y.z\n") == [f"return y.z -> return {v}" for v in values]


def test_exceptions_are_not_caught() -> None:
    assert of("caught", "def f():\n    try:\n        g()\n    except OSError:\n        h()\n") == ["OSError -> ()"]


@pytest.mark.parametrize(
    "text",
    [
        'def f():\n    "Documented."\n',
        "def f() -> list[int]:\n    x: Literal[1]\n",
        "def f(x=1):\n    assert x > 1\n",
        "def f():\n    if TYPE_CHECKING:\n        g()\n",
        'def f():\n    raise NotImplementedError(f"{1 + 1}")\n',
        "@overload\ndef f(x: int) -> int: ...\n",
        'def f(x):\n    x = f"{x + 1}"\n',
    ],
)
def test_what_is_left_alone(text: str) -> None:
    assert made(text) == []


def test_what_is_logged_is_left_alone_but_not_that_it_is_logged() -> None:
    assert made('def f(self):\n    self._log.info("it", count=1)\n') == [
        "drop: self._log.info('it', count=1) -> pass",
    ]


def test_names() -> None:
    text = """LIMIT = 8
class A:
    __slots__ = ("x",)
    def __init__(self): self.x = True
    @property
    def x(self): return 1
    @x.setter
    def x(self, value): g()
    def __repr__(self): return g()
"""
    assert made(text, "<module>") == ["number: LIMIT = 8 -> LIMIT = 8 + 1"]
    assert made(text, "A.__init__") == ["number: self.x = True -> self.x = False"]
    assert made(text, "A.x") == ["number: return 1 -> return 0", "drop: g() -> pass"]
    assert made(text, "A.__repr__") == []


def test_only_the_place_itself_differs() -> None:
    text = "# é\ndef f(x):  # the head\n    if x < 1:  # é\n        return\n    g(\n        x,\n    )\n"
    source = Source("m", text.encode())
    sources = [one.source.decode() for one in source.mutants("f", source.functions()["f"])]
    assert text.replace("x < 1:", "x <= 1:") in sources
    assert text.replace("g(\n        x,\n    )", "pass") in sources


# The tests of a function

SOURCE = """import x
LIMIT = 8
class A:
    y = 1
    @property
    def value(self):
        return [one for one in self.all]

    @value.setter
    def value(self, value):
        def inner():
            return 1
    def other(self): pass
def f():
    pass
"""


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (1, "<module>"),
        (3, "<module>"),
        (4, "<module>"),
        (5, "A.value"),
        (7, "A.value"),
        (9, "A.value"),
        (11, "A.value"),
        (13, "A.other"),
        (14, "f"),
        (16, "<module>"),
    ],
)
def test_the_function_at_a_line(line: int, name: str) -> None:
    """A function that stands in another one is a part of it, and a decorator is a part of what it decorates."""
    assert Source("m", SOURCE.encode()).functionAt(line) == name


@pytest.fixture
def guards(tmp_path: Path) -> Guards:
    Path(tmp_path, "p").mkdir()
    Path(tmp_path, "p", "m.py").write_text(SOURCE)
    first = Record({"a::slow": 3.0, "a::quick": 1.0}, {"a::slow": {("p/m.py", 7)}, "a::quick": set()}, set(), set())
    calls = {"b::one": {("p/m.py", 9)}, "b::two": {("p/m.py", 13)}}
    second = Record({"b::one": 2.0, "b::two": 0.5}, calls, {("p/m.py", 14), ("p/m.py", 3)}, set())
    third = Record({"c::start": 9.0, "c::other": 1.0}, {"c::start": set(), "c::other": set()}, set(), {"c::start"})
    return Guards(tmp_path, {"a": first, "b": second, "c": third})


@pytest.mark.parametrize(
    ("function", "files", "tests"),
    [
        ("p.m:A.value", ["a", "b"], ["b::one", "a::slow"]),
        ("p.m:A.value", ["a"], ["a::slow"]),
        ("p.m:A.other", ["a", "b"], ["b::two"]),
        ("p.m:A.other", ["a"], []),
        ("p.m:f", ["a", "b"], ["b::two", "b::one"]),
        ("p.m:<module>", ["a", "b"], ["b::two", "a::quick", "b::one", "a::slow"]),
        ("p.m:<module>", ["a"], ["a::quick", "a::slow"]),
        ("p.other:f", ["a", "b"], []),
        ("p.m:A.other", ["a", "b", "c"], ["b::two", "c::start"]),
    ],
)
def test_the_tests_that_run_a_function(guards: Guards, function: str, files: list[str], tests: list[str]) -> None:
    """The quickest first; all of a file where they share the call, and for a module's own statements."""
    assert guards.of(function, files) == tests


# Mutants in a tree


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """In a copy of a small package with one test."""
    root, folder = (tmp_path_factory.mktemp(name) for name in ("root", "copy"))
    for name in ("wsock", "twisted", "tests", "examples", "docs"):
        Path(root, name).mkdir()
    for name in ("pyproject.toml", "README.md", "wsock/__init__.py"):
        Path(root, name).touch()
    Path(root, "wsock", "m.py").write_text("def f():\n    return 1\n\ndef g():\n    return 2\n")
    Path(root, "tests", "conftest.py").write_text(
        "import hypothesis\nhypothesis.settings.register_profile('mutants')\n"
    )
    Path(root, "tests", "test_m.py").write_text("from wsock import m\n\ndef test_f():\n    assert m.f() == 1\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mutants, "ROOT", root)
        mutants.copy(folder)
    with Runs(folder) as runs:
        yield runs


def change(runs: Runs, old: str, new: str) -> Mutant:
    text = Path(runs.folder, "wsock", "m.py").read_text()
    return Mutant("wsock.m:f", "a rule", old, new, text.replace(old, new).encode(), 1)


def test_a_mutant_is_killed_and_leaves_the_tree_as_it_was(runs: Runs) -> None:
    path = Path(runs.folder, "wsock", "m.py")
    text = path.read_bytes()
    assert mutants.judge(runs, change(runs, "return 1", "raise E"), ["tests/test_m.py::test_f"]) == "killed"
    assert path.read_bytes() == text
    assert mutants.judge(runs, change(runs, "return 2", "return 3"), ["tests/test_m.py::test_f"]) == "survived"


def test_a_mutant_that_no_test_runs_has_survived(runs: Runs) -> None:
    assert mutants.judge(runs, change(runs, "return 1", "return 3"), []) == "survived"


def test_a_mutant_is_seen_though_its_size_and_its_time_are_those_of_the_original(runs: Runs) -> None:
    """The copy is compiled, and its bytecode knows each source by its hash."""
    path = Path(runs.folder, "wsock", "m.py")
    (compiled,) = Path(runs.folder, "wsock", "__pycache__").glob("m.*.pyc")
    assert compiled.read_bytes()[4:8] == b"\x03\0\0\0"
    before, times = compiled.read_bytes(), path.stat()
    text = path.read_text()
    try:
        path.write_text(text.replace("return 1", "return 3"))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert path.stat().st_size == times.st_size
        assert runs.run(["tests/test_m.py::test_f"])[0] == "killed"
    finally:
        path.write_text(text)
    assert runs.run(["tests/test_m.py::test_f"])[0] == "survived"
    assert compiled.read_bytes() == before


# The lists


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "p" / "q"
    folder.mkdir(parents=True)
    Path(folder, "m.py").write_text("class A:\n    def run(self):\n        g()\n\ndef h():\n    g(1)\n")
    return tmp_path


def names(found: list[tuple[Mutant, list[str]]]) -> list[tuple[str, str, list[str]]]:
    return [(mutant.function, mutant.key, tests) for mutant, tests in found]


def test_a_module_has_all_its_functions_but_those_named_apart(package: Path) -> None:
    assert names(findMutants(package, {"p.q.m": ["a"], "p.q.m:A.run": ["b", "c"]}, {})) == [
        ("p.q.m:h", "drop: g(1) -> pass", ["a"]),
        ("p.q.m:h", "number: g(1) -> g(0)", ["a"]),
        ("p.q.m:A.run", "drop: g() -> pass", ["b", "c"]),
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("p.q.other", "there is no module p.q.other"),
        ("p.q.m:A.runs", "p.q.m has no function A.runs; near is: A.run"),
        ("p.q.m:zzz", "p.q.m has no function zzz; near is: nothing"),
    ],
)
def test_a_name_that_is_gone(package: Path, name: str, message: str) -> None:
    with pytest.raises(Wrong) as raised:
        findMutants(package, {name: []}, {})
    assert str(raised.value) == message


def test_equivalent_mutants_are_not_made(package: Path) -> None:
    """Written in another way it is the same one."""
    equivalent = {"p.q.m:h": {"drop: g( 1 ) -> pass": "a reason"}}
    assert names(findMutants(package, {"p.q.m:h": []}, equivalent)) == [("p.q.m:h", "number: g(1) -> g(0)", [])]


@pytest.mark.parametrize(
    ("function", "key"),
    [("p.q.m:h", "drop: g(2) -> pass"), ("p.q.m:A.run", "drop: g(1) -> pass"), ("p.q.m:h", "number: g(1) -> pass")],
)
def test_an_equivalent_mutant_that_is_not_made_any_more(package: Path, function: str, key: str) -> None:
    with pytest.raises(Wrong, match=r"fits no mutant"):
        findMutants(package, {"p.q.m": []}, {function: {key: "a reason"}})


def test_the_lists_fit_the_package() -> None:
    """Where a name is gone, or a mutant is not made any more, this fails before the mutants are next run."""
    assert findMutants(Path(wsock.__file__).parent.parent, GUARDED, EQUIVALENT)
    files = {test for tests in GUARDED.values() for test in tests}
    assert [test for test in files if not Path(mutants.ROOT, test).exists()] == []
    assert [keys for keys in EQUIVALENT.values() if not all(keys.values())] == []


def test_a_sample_is_the_same_each_time(monkeypatch: pytest.MonkeyPatch, package: Path) -> None:
    monkeypatch.setattr(mutants, "ROOT", package)
    monkeypatch.setattr(mutants, "GUARDED", {"p.q.m": []})
    monkeypatch.setattr(mutants, "EQUIVALENT", {})

    def keys(*arguments: str) -> list[str]:
        return [mutant.key for mutant, _ in mutants.chosen(mutants.parsed(arguments))]

    assert keys() == ["drop: g() -> pass", "drop: g(1) -> pass", "number: g(1) -> g(0)"]
    assert keys("A.run", "number") == ["drop: g() -> pass", "number: g(1) -> g(0)"]
    assert keys("--sample", "2", "--seed", "3") == keys("--sample", "2", "--seed", "3")
    assert len(keys("--sample", "2")) == 2
    assert len(keys("--sample", "9")) == 3
