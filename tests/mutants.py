"""Puts small faults into the package, one at a time, and expects the tests of that module to turn red.

The faults ("mutants") are made by rules from the syntax tree of each function that `tests/mutated.py` names: a moved or
reformatted line changes nothing, and a name that is gone is a failure that tells the names near to it.

    python tests/mutants.py                         all of them: up to an hour on 2 cores
    python tests/mutants.py Outbox.write            those whose "module:function rule" has one of these words
    python tests/mutants.py --list outbox           prints them, and runs nothing
    python tests/mutants.py --sample 500 --seed 7   500 of them, the same ones each time

Run it on Linux or another system with fork, in a source tree with an interpreted wsock; it works in copies. First the
tests of the modules run as they are, and the calls of each test are noted. Then each mutant is put into a copy. Those
tests of its module run that call its function, the quickest first, up to the first failure; `mutant_runs.py` runs them.
A mutant is killed if a test fails or takes too long. One that survives is printed as a diff of its statement. Either a
test is missing: write it. Or the mutant does the same as the code, perhaps more slowly: name it in `EQUIVALENT` in
`tests/mutated.py`, with the reason; the last line printed is the entry. An entry there that fits no mutant is a
failure; take it out.

A test that does not call a function may still fail by a mutant of it, where an earlier test has left something behind.
That test does not count: the others of its module must see the mutant themselves.

Left alone are docstrings, annotations, defaults of arguments, what is logged, strings, `__repr__`, `assert`, imports,
and what stands in a class outside of its methods. A module's own statements have the function name `<module>`.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import difflib
import os
import queue
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any

from mutant_runs import Place, Record, Runs
from mutated import EQUIVALENT, GUARDED

ROOT = Path(__file__).resolve().parent.parent
#: The change of a rule: from which byte, to which byte, and the text instead.
Change = tuple[int, int, str]
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPOUND = (*_FUNCTION, ast.ClassDef, ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try)
_SKIPPED = (ast.Assert, ast.Import, ast.ImportFrom, ast.JoinedStr, ast.arguments)
_SKIPPED_FIELDS = ("annotation", "returns", "decorator_list", "type_params")
_COMPARISONS = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="),
}  # fmt: skip
#: After an `or` these change nothing.
_FALSE = ("None", "()", "0", '""', 'b""')
#: The value that is returned instead, by the annotation of the function; None by any other.
_EMPTY = {"bool": ("True", "False"), "int": ("0",), "str": ('""',), "bytes": ('b""',)}


class Wrong(Exception):
    """The lists in `tests/mutated.py` do not fit the sources."""


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Attributes:
        function: "module:function".
        rule: the name of the rule that made it.
        before: the statement, or the expression in the head of a compound statement, as `ast.unparse` writes it.
        after: the same with the fault.
        source: the whole file with the fault.
        number: which one it is of those in the function that are alike in all of these.
    """

    function: str
    rule: str
    before: str
    after: str
    source: bytes
    number: int

    @property
    def key(self) -> str:
        """How `EQUIVALENT` names it below its function."""
        return f"{self.rule}{'' if self.number == 1 else f'#{self.number}'}: {self.before} -> {self.after}"


def normalised(key: str) -> str:
    """A key as this very Python would write it: versions of `ast.unparse` differ."""
    rule, _, change = key.partition(": ")
    before, _, after = change.partition(" -> ")
    return f"{rule}: {ast.unparse(ast.parse(before))} -> {ast.unparse(ast.parse(after))}"


class Source:
    """One file, and the rules: methods that are given a node and its parent, and yield changes."""

    def __init__(self, module: str, text: bytes) -> None:
        self.module = module
        self.text = text
        self._lines = [0]
        for line in text.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))
        #: The first and the last line of each function, and its name.
        self._spans: list[tuple[int, int, str]] = []
        #: Of the function that is looked into.
        self._returns, self._initialises = "", False

    def functions(self) -> dict[str, list[ast.stmt]]:
        """The functions that are looked into, by name: a property and its setter share one."""
        found: dict[str, list[ast.stmt]] = {"<module>": []}

        def look(body: list[ast.stmt], prefix: str) -> None:
            for node in body:
                if isinstance(node, ast.ClassDef):
                    look(node.body, f"{prefix}{node.name}.")
                elif isinstance(node, _FUNCTION):
                    found.setdefault(prefix + node.name, []).append(node)
                elif not prefix:
                    found["<module>"].append(node)

        look(ast.parse(self.text).body, "")
        return found

    def functionAt(self, line: int) -> str:
        """The name of the function that begins at a line, or around it; `<module>` where there is no function."""
        if not self._spans:
            for name, nodes in self.functions().items():
                for node in nodes if name != "<module>" else []:
                    assert isinstance(node, _FUNCTION)
                    first = min(one.lineno for one in [node, *node.decorator_list])
                    self._spans += [(first, node.end_lineno or first, name)]
        return next((name for first, last, name in self._spans if first <= line <= last), "<module>")

    def mutants(self, name: str, nodes: list[ast.stmt]) -> Iterator[Mutant]:
        """All mutants of one function."""
        self._initialises = name == "<module>" or name.endswith("__init__")
        alike: Counter[tuple[str, str, str]] = Counter()
        for node in nodes:
            for rule, piece, (start, end, text) in self._changes(node, node, None):
                first, last = self._span(piece)
                after = (self.text[first:start] + text.encode() + self.text[end:last]).decode()
                # An expression may have line breaks, because of what stands around it.
                after = ast.unparse(ast.parse(after if isinstance(piece, ast.stmt) else f"({after})"))
                one = rule, ast.unparse(piece), after
                alike[one] += 1
                if after != ast.unparse(piece):
                    source = self.text[:start] + text.encode() + self.text[end:]
                    yield Mutant(f"{self.module}:{name}", *one, source, alike[one])

    def _changes(self, node: ast.AST, parent: ast.AST, piece: ast.AST | None) -> Iterator[tuple[str, ast.AST, Change]]:
        if isinstance(node, _SKIPPED) or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            return
        if isinstance(node, _FUNCTION):
            if node.name == "__repr__" or any("overload" in ast.unparse(one) for one in node.decorator_list):
                return
            if "raise NotImplementedError" in ast.unparse(node.body[-1]):
                return
            self._returns = ast.unparse(node.returns) if node.returns is not None else ""
        if piece is None and isinstance(node, (ast.stmt, ast.expr)) and not isinstance(node, _COMPOUND):
            piece = node
        if piece is not None:
            for rule in _RULES:
                for change in rule(self, node, parent):
                    yield rule.__name__, piece, change
        isLogging = isinstance(node, ast.Call) and re.match(r"(.*\.)?_?log\.\w+$", ast.unparse(node.func))
        if not isLogging and not _isConstant(node):
            for field, value in ast.iter_fields(node):
                for child in value if isinstance(value, list) else [value]:
                    if isinstance(child, ast.AST) and field not in _SKIPPED_FIELDS:
                        yield from self._changes(child, node, piece)

    def _span(self, node: Any) -> tuple[int, int]:
        return self._lines[node.lineno - 1] + node.col_offset, self._lines[node.end_lineno - 1] + node.end_col_offset

    def _instead(self, node: ast.AST, text: str) -> Change:
        return (*self._span(node), text)

    def _segment(self, node: ast.AST) -> str:
        start, end = self._span(node)
        return self.text[start:end].decode()

    def _operator(self, left: ast.AST, right: ast.AST, old: str, new: str) -> Change:
        start, end = self._span(left)[1], self._span(right)[0]
        found = re.search(old, self.text[start:end].decode())
        assert found is not None
        return start + found.start(), start + found.end(), new

    # The rules

    def drop(self, node: ast.AST, parent: ast.AST) -> Iterator[Change]:
        """A statement is missing, or one target of several."""
        if isinstance(parent, ast.If) and parent.body == [node] and not parent.orelse:
            return  # `force` makes the same
        if isinstance(node, ast.Assign) and not self._initialises:
            targets = [one for target in node.targets for one in getattr(target, "elts", [target])]
            for target in targets:
                if isinstance(target, (ast.Attribute, ast.Subscript)):
                    yield self._instead(node, "pass") if len(targets) == 1 else self._instead(target, "_")
        elif (
            isinstance(node, (ast.AugAssign, ast.Raise, ast.Delete, ast.Continue, ast.Break))
            or (isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant))
            or (isinstance(node, ast.Return) and isinstance(parent, (ast.If, ast.For, ast.ExceptHandler)))
        ):
            yield self._instead(node, "pass")

    def force(self, node: ast.AST, parent: ast.AST) -> Iterator[Change]:
        """A condition always holds, or never; the missing part of an `and` or an `or` shows as much as one of these."""
        if _isCondition(node, parent) and not isinstance(node, ast.Constant):
            joined = type(node.op) if isinstance(node, ast.BoolOp) else None
            if joined is not ast.And and not isinstance(parent, ast.While):
                yield self._instead(node, "True")
            if joined is not ast.Or:
                yield self._instead(node, "False")

    def operand(self, node: ast.AST, parent: ast.AST) -> Iterator[Change]:
        """A part of an `and` or an `or` is missing."""
        if isinstance(parent, ast.BoolOp) and isinstance(node, ast.expr) and self._segment(node) not in _FALSE:
            yield self._instead(node, "True" if isinstance(parent.op, ast.And) else "False")

    def compare(self, node: ast.AST, parent: ast.AST) -> Iterator[Change]:
        """The edge of a comparison is on its other side; or what is equal is not, where no other rule does as much."""
        if isinstance(node, ast.Compare):
            isForced = _isCondition(node, parent) or isinstance(parent, ast.BoolOp)
            for left, operator, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
                if type(operator) in _COMPARISONS and not (isForced and isinstance(operator, (ast.Eq, ast.NotEq))):
                    yield self._operator(left, right, *_COMPARISONS[type(operator)])

    def number(self, node: ast.AST, parent: ast.AST) -> Iterator[Change]:
        """A constant is another one; the place in a list, and what `drop` takes away, are left to others."""
        if isinstance(parent, ast.Subscript) and node is parent.slice:
            return
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, bool):
            if self._initialises or not isinstance(parent, ast.Assign):
                yield self._instead(node, str(not value))
        elif isinstance(value, (int, float)) and value in (0, 1):
            yield self._instead(node, "1" if value == 0 else "0")
        elif _isConstant(node):
            yield self._instead(node, f"({self._segment(node)} + 1)")

    def sign(self, node: ast.AST, parent: ast.AST) -> Iterator[Change]:
        """An addition becomes a subtraction, and the other way round."""
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)) and not _isConstant(node):
            texts = (one for one in ast.walk(node) if isinstance(one, ast.Constant))
            if not any(isinstance(one.value, (str, bytes)) for one in texts):
                change = (r"\+", "-") if isinstance(node.op, ast.Add) else ("-", "+")
                yield self._operator(node.left, node.right, *change)

    def extreme(self, node: ast.AST, parent: ast.AST) -> Iterator[Change]:
        """The least instead of the most, and the other way round."""
        if isinstance(node, ast.Name) and node.id in ("min", "max"):
            yield self._instead(node, "max" if node.id == "min" else "min")

    def returned(self, node: ast.AST, parent: ast.AST) -> Iterator[Change]:
        """A function returns None, or what is empty or false."""
        simple = isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, type(None)))
        if isinstance(parent, ast.Return) and not simple:
            for text in _EMPTY.get(self._returns, ("[]" if self._returns.startswith("list") else "None",)):
                yield self._instead(node, text)

    def caught(self, node: ast.AST, parent: ast.AST) -> Iterator[Change]:
        """An exception is not caught."""
        if isinstance(parent, ast.ExceptHandler) and node is parent.type:
            yield self._instead(node, "()")

    def element(self, node: ast.AST, parent: ast.AST) -> Iterator[Change]:
        """One of several is missing, in a set, or in a tuple of types or of what is looked for."""
        isSought = isinstance(parent, ast.Call) and ast.unparse(parent.func) == "isinstance"
        isSought = isSought or (isinstance(parent, ast.Compare) and node in parent.comparators)
        if (isinstance(node, ast.Set) or (isinstance(node, ast.Tuple) and isSought)) and len(node.elts) > 1:
            for missing in node.elts:
                rest = "".join(f"{self._segment(one)}, " for one in node.elts if one is not missing)
                yield self._instead(node, f"{{{rest}}}" if isinstance(node, ast.Set) else f"({rest})")


_RULES = (
    Source.drop, Source.force, Source.operand, Source.compare, Source.number, Source.sign, Source.extreme,
    Source.returned, Source.caught, Source.element,
)  # fmt: skip


def _isConstant(node: ast.AST) -> bool:
    """Whether it is a number, or arithmetic with nothing but numbers, such as a limit of ``2**16 + 1``."""
    if isinstance(node, ast.BinOp):
        return _isConstant(node.left) and _isConstant(node.right)
    return isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool)


def _isCondition(node: ast.AST, parent: ast.AST) -> bool:
    return node is getattr(parent, "test", None) or (isinstance(parent, ast.comprehension) and node in parent.ifs)


def findMutants(
    root: Path, guarded: dict[str, list[str]], equivalent: dict[str, dict[str, str]]
) -> list[tuple[Mutant, list[str]]]:
    """All mutants but those that are named as equivalent, each with the tests that guard it.

    Args:
        root: the folder that holds the package.
        guarded: the tests of each "module" or "module:function".
        equivalent: by "module:function", the keys of mutants that no test can see, each with the reason.

    Raises:
        Wrong: a name is not there, or something named as equivalent is no mutant.
    """
    found: list[tuple[Mutant, list[str]]] = []
    unused = {(function, normalised(key)) for function, keys in equivalent.items() for key in keys}
    named = set(unused)
    for name, tests in guarded.items():
        module, _, wanted = name.partition(":")
        path = _path(root, module)
        if not path.exists():
            raise Wrong(f"there is no module {module}")
        source = Source(module, path.read_bytes())
        functions = source.functions()
        if wanted and wanted not in functions:
            near = ", ".join(difflib.get_close_matches(wanted, functions, n=5, cutoff=0.4))
            raise Wrong(f"{module} has no function {wanted}; near is: {near or 'nothing'}")
        for function, nodes in functions.items():
            if function == wanted or not (wanted or f"{module}:{function}" in guarded):
                mutants = list(source.mutants(function, nodes))
                found += [(mutant, tests) for mutant in mutants if (mutant.function, mutant.key) not in named]
                unused -= {(mutant.function, mutant.key) for mutant in mutants}
    if unused:
        raise Wrong("named as equivalent, but fits no mutant:\n" + "\n".join(map("  ".join, sorted(unused))))
    return found


def _path(root: Path, module: str) -> Path:
    return Path(root, *module.split(".")).with_suffix(".py")


def copy(folder: Path) -> Path:
    """A copy of what the tests need, compiled."""
    for name in ("wsock", "twisted", "tests", "examples", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    # By its hash a replacement is seen that has the same length, in the same second.
    compileall.compile_dir(folder, quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
    return folder


class Guards:
    """The tests that run each function of the package.

    Args:
        root: the folder that holds the package.
        records: what ran with the tests of each file.
    """

    def __init__(self, root: Path, records: dict[str, Record]) -> None:
        sources: dict[str, Source] = {}
        self._seconds: dict[str, float] = {}
        #: By file of tests, then by "module:function".
        self._tests: dict[str, dict[str, set[str]]] = {}
        self._starters: dict[str, set[str]] = {}

        def name(place: Place) -> str:
            path, line = place
            if path not in sources:
                sources[path] = Source(path.removesuffix(".py").replace("/", "."), (root / path).read_bytes())
            return f"{sources[path].module}:{sources[path].functionAt(line)}"

        for file, record in records.items():
            tests: defaultdict[str, set[str]] = defaultdict(set)
            for test, places in record.calls.items():
                for place in places:
                    tests[name(place)].add(test)
            for place in record.shared:
                tests[name(place)] = set(record.seconds)
            self._starters[file] = record.starters
            self._tests[file] = tests
            self._seconds |= record.seconds

    def of(self, function: str, files: Sequence[str]) -> list[str]:
        """The node ids of the tests in some files that run a function, the quickest first.

        A module's own statements run for all of them; and a test that starts a process may run any function there.
        """
        if function.endswith(":<module>"):
            return self.all(files)
        return self._sorted(
            set().union(*(self._tests[one].get(function, set()) | self._starters[one] for one in files))
        )

    def all(self, files: Sequence[str]) -> list[str]:
        """The node ids of all tests in some files, the quickest first."""
        return self._sorted({test for test in self._seconds if test.partition("::")[0] in files})

    def _sorted(self, tests: set[str]) -> list[str]:
        return sorted(tests, key=lambda test: (self._seconds[test], test))


def judge(runs: Runs, mutant: Mutant, tests: list[str]) -> str:
    """Puts a mutant into a tree, and tells what became of it."""
    if not tests:
        return "survived"
    path = _path(runs.folder, mutant.function.partition(":")[0])
    text = path.read_bytes()
    path.write_bytes(mutant.source)
    try:
        return runs.run(tests)[0]
    finally:
        path.write_bytes(text)


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("words", nargs="*", help='only those whose "module:function rule" has one of these words')
    parser.add_argument("--list", action="store_true", help="only print them")
    parser.add_argument("--sample", type=int, help="only so many of them, by chance")
    parser.add_argument("--seed", type=int, default=0, help="which sample (default: 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at a time (default: all cores)")
    return parser.parse_args(arguments)


def chosen(options: argparse.Namespace) -> list[tuple[Mutant, list[str]]]:
    """Those that the command line asks for, in the order of the sources."""
    found = findMutants(ROOT, GUARDED, EQUIVALENT)
    words = options.words
    found = [one for one in found if not words or any(word in f"{one[0].function} {one[0].rule}" for word in words)]
    places: Sequence[int] = range(len(found))
    if options.sample is not None:
        places = random.Random(options.seed).sample(places, min(options.sample, len(found)))
    return [found[place] for place in sorted(places)]


class Trees:
    """Copies of what the tests need, in each of which one thread at a time is at work; a context manager.

    Args:
        jobs: how many.
    """

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._stack = ExitStack()
        self._idle: queue.Queue[Runs] = queue.Queue()
        self._executor = ThreadPoolExecutor(jobs)

    def __enter__(self) -> Trees:
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="wsock-mutants-"))
        for number in range(self._jobs):
            self._idle.put(self._stack.enter_context(Runs(copy(Path(folder, str(number))))))
        self._stack.callback(self._executor.shutdown, cancel_futures=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def map(self, function: Callable[[Runs, Any], Any], values: Iterable[Any]) -> Iterator[Any]:
        """Calls the function with a tree and each of the values; yields the results in the order of the values."""

        def call(value: Any) -> Any:
            runs = self._idle.get()
            try:
                return function(runs, value)
            finally:
                self._idle.put(runs)

        return self._executor.map(call, values)


def findTests(trees: Trees, mutants: list[tuple[Mutant, list[str]]]) -> list[list[str]]:
    """Runs the tests as they are; returns for each mutant those that run its function, the quickest first."""
    files = list(dict.fromkeys(file for _, files in mutants for file in files))
    records: dict[str, Record] = {}
    for file, (record, said) in zip(files, trees.map(Runs.record, files), strict=True):
        if record is None:
            sys.exit(f"FAILED: tests fail without a mutant\n{said}")
        records[file] = record
    guards = Guards(ROOT, records)
    # They pass in this order, too, so that one that fails later does so by the mutant.
    orders = [guards.all(files) for files in {tuple(files): None for _, files in mutants}]
    for result, said in trees.map(Runs.run, orders):
        if result != "survived":
            sys.exit(f"FAILED: tests fail without a mutant\n{said}")
    return [guards.of(mutant.function, files) for mutant, files in mutants]


def main() -> int:
    """Does what the command line says; returns 0 if no mutant survived."""
    options = parsed(sys.argv[1:])
    try:
        mutants = chosen(options)
    except Wrong as wrong:
        sys.exit(f"FAILED: {wrong}")
    if options.list or not mutants:
        print(*(f"{mutant.function}  {mutant.key}" for mutant, _ in mutants), f"{len(mutants)} mutants", sep="\n")
        return 0 if mutants else 1
    count: Counter[str] = Counter()
    with Trees(options.jobs) as trees:
        tests = findTests(trees, mutants)
        began = time.monotonic()
        judged = trees.map(lambda runs, number: judge(runs, mutants[number][0], tests[number]), range(len(mutants)))
        for (mutant, _), guards, result in zip(mutants, tests, judged, strict=True):
            count[result] += 1
            print(f"{result:9}  {mutant.function}  {mutant.rule}", flush=True)
            if not guards:
                print("  no test runs it")
            if result == "survived":
                print(f"  - {mutant.before}\n  + {mutant.after}\n  {mutant.key!r}: ", flush=True)
    print(", ".join(f"{count[result]} {result}" for result in ("killed", "timed out", "survived")), end=" ")
    print(f"of {len(mutants)} mutants in {time.monotonic() - began:.0f} s")
    return 1 if count["survived"] else 0


if __name__ == "__main__":
    sys.exit(main())
