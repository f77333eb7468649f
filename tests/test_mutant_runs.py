"""Runs of tests in a folder of their own, on a small package that is called wsock, too."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mutant_runs import Place, Record, Runs

pytestmark = pytest.mark.slow

CONFTEST = """
import hypothesis, pytest
hypothesis.settings.register_profile("mutants", max_examples=5)

@pytest.fixture(scope="module")
def common():
    import wsock.m
    return wsock.m.common()

@pytest.fixture
def around():
    import wsock.m
    wsock.m.before()
    yield
    wsock.m.after()
"""
#: The name of each function with the line in which it begins.
MODULE = """def decorator(function): return function

@decorator
def decorated(): return 1

def called(): return [one for one in [1]]

def uncalled():
    return 2

class A:
    @property
    def value(self): return 3

def generated():
    yield 4

def inThread(): return 5

def drawn(x): return x

def before(): return 6

def after(): return 7

def common(): return 8

def collected(): return [9]
"""
NAMES = {
    1: "decorator", 3: "decorated", 6: "called", 8: "uncalled", 11: "A", 12: "A.value", 15: "generated", 18: "inThread",
    20: "drawn", 22: "before", 24: "after", 26: "common", 28: "collected",
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("tree")
    for name in ("wsock", "tests"):
        Path(folder, name).mkdir()
    Path(folder, "wsock", "__init__.py").touch()
    Path(folder, "wsock", "m.py").write_text(MODULE)
    Path(folder, "tests", "conftest.py").write_text(CONFTEST)
    with Runs(folder) as runs:
        yield runs


def write(runs: Runs, text: str, name: str = "test_m") -> str:
    file = f"tests/{name}.py"
    Path(runs.folder, file).write_text(text)
    return file


def result(runs: Runs, text: str) -> str:
    """The result of a single test, called test_it."""
    return runs.run([f"{write(runs, text)}::test_it"])[0]


def record(runs: Runs, text: str) -> Record:
    found, said = runs.record(write(runs, text))
    assert isinstance(found, Record), said
    return found


def recorded(runs: Runs, text: str) -> tuple[dict[str, set[str]], set[str]]:
    """By test, without the "test_" of its name, the functions that it calls; and those that are for all tests."""
    found = record(runs, text)
    assert found.seconds.keys() == found.calls.keys()

    def names(places: set[Place]) -> set[str]:
        assert {path for path, _ in places} <= {"wsock/m.py"}
        return {NAMES[line] for _, line in places}

    calls = {test.removeprefix("tests/test_m.py::test_"): names(places) for test, places in found.calls.items()}
    return calls, names(found.shared) - {"A", "decorator"}


# Results


def test_a_run_that_passes_and_one_that_fails(runs: Runs) -> None:
    assert result(runs, "def test_it(): pass") == "survived"
    assert result(runs, "def test_it(): assert False") == "killed"
    assert result(runs, "import nothing_of_that_name\ndef test_it(): pass") == "killed"


def test_it_says_what_the_run_has_printed(runs: Runs) -> None:
    file = write(runs, "def test_it(): assert False")
    assert f"FAILED {file}::test_it" in runs.run([f"{file}::test_it"])[1]


def test_each_run_starts_with_nothing_imported(runs: Runs) -> None:
    text = """import os, sys
assert "wsock" not in sys.modules
import wsock
def test_it():
    assert os.environ["PYTHONPATH"] == os.getcwd()
    assert os.getcwd() in sys.path
    assert wsock.__file__ == os.path.join(os.getcwd(), "wsock", "__init__.py")
    assert "twisted.internet.reactor" in sys.modules  # pytest-twisted has installed it
    wsock.changed = not hasattr(wsock, "changed")
    assert wsock.changed
"""
    assert result(runs, text) == "survived"
    assert result(runs, text) == "survived"


def test_a_run_that_hangs_is_killed(runs: Runs) -> None:
    """Nothing else ends it: the signal of the limit of a single test is blocked. Then the next run may come."""
    text = """import signal, time
def test_it():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGTERM, signal.SIGINT})
    time.sleep(1000)
"""
    with Runs(runs.folder, seconds=3) as hasty:
        assert [result(hasty, text) for _ in range(2)] == ["timed out", "timed out"]


@pytest.mark.timeout(120)
def test_a_file_of_tests_that_hangs_on_import_is_killed_long_before_its_run(runs: Runs) -> None:
    assert result(runs, "while True: pass") == "timed out"


def test_what_a_run_has_started_ends_with_it(runs: Runs) -> None:
    text = """import pathlib, subprocess, sys
def test_it():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    pathlib.Path("left").write_text(str(process.pid))
    process.returncode = 0
"""
    assert result(runs, text) == "survived"
    pid = Path(runs.folder, "left").read_text()
    state = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True, check=False).stdout
    assert state.strip()[:1] in ("", "Z")


def test_a_run_that_takes_too_much_memory_fails(runs: Runs) -> None:
    assert result(runs, "import mmap\ndef test_it(): mmap.mmap(-1, 2**30).close()") == "survived"
    assert result(runs, "import mmap\ndef test_it(): mmap.mmap(-1, 2**32).close()") == "killed"


# Which tests run


ORDERED = """import pathlib
import pytest
@pytest.mark.parametrize("name", "abc")
def test_it(name):
    with open("order", "a") as file: file.write(name)
"""


@pytest.mark.parametrize(
    ("names", "order"), [("ca", "ca"), ("b", "b"), ("cbad", "abc")], ids=["two", "one", "one_is_gone"]
)
def test_tests_run_in_their_order(runs: Runs, names: str, order: str) -> None:
    file = write(runs, ORDERED)
    Path(runs.folder, "order").write_text("")
    assert runs.run([f"{file}::test_it[{name}]" for name in names])[0] == "survived"
    assert Path(runs.folder, "order").read_text() == order


def test_tests_of_several_files_may_alternate(runs: Runs) -> None:
    files = [write(runs, ORDERED, name) for name in ("test_m", "test_n")]
    Path(runs.folder, "order").write_text("")
    assert runs.run([f"{files[n]}::test_it[{name}]" for n, name in [(0, "b"), (1, "a"), (0, "c")]])[0] == "survived"
    assert Path(runs.folder, "order").read_text() == "bac"


# Calls that tests make


def test_calls_are_noted_by_test(runs: Runs) -> None:
    text = """import threading
from hypothesis import given, strategies
import wsock.m as m
@given(strategies.integers())
def test_drawn(x): m.drawn(x)
def test_in_thread():
    thread = threading.Thread(target=m.inThread)
    thread.start()
    thread.join()
def test_list(): m.called()
def test_generator(): next(m.generated())
def test_property(): m.A().value
def test_around(around): m.called()
def test_none(): pass
"""
    calls, shared = recorded(runs, text)
    assert calls == {
        "drawn": {"drawn"},
        "in_thread": {"inThread"},
        "list": {"called"},
        "generator": {"generated"},
        "property": {"A.value"},
        "around": {"before", "called", "after"},
        "none": set(),
    }
    assert shared == set()


def test_calls_on_import_on_collection_and_in_a_shared_fixture_are_for_all_tests(runs: Runs) -> None:
    text = """import pytest
def test_imports(common):
    import wsock.m
    wsock.m.decorated()
@pytest.mark.parametrize("x", __import__("wsock.m").m.collected())
def test_collected(x): pass
"""
    calls, shared = recorded(runs, text)
    assert calls == {"imports": {"decorated"}, "collected[9]": set()}
    assert shared == {"common", "collected"}


def test_calls_in_an_import_during_a_test_are_for_all_tests(runs: Runs) -> None:
    calls, shared = recorded(runs, "def test_a():\n    import wsock.m\n    wsock.m.called()\ndef test_b(): pass\n")
    assert calls == {"a": {"called"}, "b": set()}
    assert shared == set()


def test_a_test_that_starts_a_process_may_call_any_function_there(runs: Runs) -> None:
    text = """import os, subprocess, sys
def test_a(): subprocess.run([sys.executable, "-c", "import wsock.m; wsock.m.called()"], check=True)
def test_b(): os.waitpid(os.fork() or os._exit(0), 0)
def test_c(): pass
"""
    assert record(runs, text).starters == {"tests/test_m.py::test_a", "tests/test_m.py::test_b"}


def test_nothing_is_recorded_where_a_test_fails(runs: Runs) -> None:
    found, said = runs.record(write(runs, "def test_it(): assert False"))
    assert found is None
    assert "1 failed" in said


def test_a_run_leaves_no_bytecode_and_no_cache(runs: Runs) -> None:
    """Another run could take it for its own."""
    assert result(runs, "import wsock.m\ndef test_it(): pass") == "survived"
    assert [path for name in ("__pycache__", ".pytest_cache") for path in runs.folder.rglob(name)] == []
