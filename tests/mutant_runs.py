"""Runs tests again and again in one folder, each time in a fresh copy of one process that has imported what they need.

`Runs` is for `tests/mutants.py`. It starts this file as a program, once for each folder, which imports pytest,
Hypothesis, Twisted and the like, and forks for each run. A run starts as a new interpreter would: nothing of wsock and
no test is imported yet, and no reactor is installed. It has its own process group, which is killed where a run takes
too long.

A request and its answer are one line of JSON each, on the program's stdin and stdout.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Any

import pytest

#: How long one test may take, or the collection of all, and all of one run.
_TEST_SECONDS, _RUN_SECONDS = 20, 300
#: How much longer both may take while each call is noted.
_RECORDING_FACTOR = 4
#: The memory that a run may have: a loop that never ends may fill a list.
_MEMORY_BYTES = 4 * 2**30
_POLL_SECONDS = 0.005

#: Imported once for all runs, where it is installed. None of these may import `wsock` or `twisted.internet.reactor`.
_IMPORTED = [
    "OpenSSL.SSL", "_hypothesis_pytestplugin", "_pytest.faulthandler", "_pytest.helpconfig", "_pytest.pastebin",
    "_pytest.setuponly", "_pytest.setupplan", "_pytest.skipping", "_pytest.threadexception", "_pytest.tracemalloc",
    "_pytest.unittest", "_pytest.unraisableexception", "_pytest.warnings", "cryptography.x509", "doctest", "hyperlink",
    "hypothesis", "hypothesis.strategies", "isal.igzip_lib", "isal.isal_zlib", "pytest", "pytest_cov.plugin",
    "pytest_timeout", "pytest_twisted", "service_identity", "tomllib", "twisted.application.service",
    "twisted.cred.checkers", "twisted.internet.endpoints", "twisted.internet.epollreactor", "twisted.internet.ssl",
    "twisted.internet.testing", "twisted.internet.utils", "twisted.protocols.policies", "twisted.protocols.tls",
    "twisted.python.usage", "twisted.spread.pb", "twisted.trial.unittest", "twisted.web.resource",
    "twisted.web.server", "twisted.web.util", "zlib_ng.zlib_ng", "zope.interface.verify",
]  # fmt: skip

#: A function: the path of its file below the folder, and its first line, where a decorator may stand.
Place = tuple[str, int]


@dataclass(frozen=True)
class Record:
    """The functions and tests that ran with some files.

    Attributes:
        seconds: how long each test took, by its node id, in the order in which they ran.
        calls: the functions that each test called, in any thread, with its fixtures.
        shared: the functions that ran for all tests: on import, on collection, in a fixture that tests share.
        starters: the tests that started a process, in which they may have called any function.
    """

    seconds: dict[str, float]
    calls: dict[str, set[Place]]
    shared: set[Place]
    starters: set[str]


class Runs:
    """Runs tests in one folder, one run at a time; a context manager, which ends its process.

    Args:
        folder: holds wsock and the tests, and is the current one of each run.
        seconds: how long one run may take.
    """

    def __init__(self, folder: Path, seconds: float = _RUN_SECONDS) -> None:
        # No bytecode: that of a file with a fault would be taken for the next fault's.
        environment = {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "WSOCK_EXPECT": "python"}
        self.folder = folder
        self._seconds = seconds
        self._process = subprocess.Popen(
            [sys.executable, __file__], cwd=folder, env=os.environ | environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def __enter__(self) -> Runs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.communicate()

    def run(self, tests: Sequence[str]) -> tuple[str, str]:
        """Runs tests in this order, up to the first that fails.

        Args:
            tests: their node ids. Where one of them is not found, as its name depends on what was changed, all tests
                of their files run.

        Returns:
            "survived", "killed" or "timed out"; and what the run has printed.
        """
        files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
        return self._ask(files=files, tests=list(tests), seconds=self._seconds)

    def record(self, file: str) -> tuple[Record | None, str]:
        """Runs all tests of a file, and notes what they call.

        Returns:
            what ran, None where a test failed; and what the run has printed.
        """
        with tempfile.TemporaryDirectory(prefix="wsock-record-") as folder:
            path = Path(folder, "record")
            result, said = self._ask(files=[file], seconds=self._seconds * _RECORDING_FACTOR, recorded=str(path))
            if result != "survived":
                return None, said
            durations, calls, shared, starters = json.loads(path.read_text())
        places = {test: {(path, line) for path, line in called} for test, called in calls.items()}
        return Record(durations, places, {(path, line) for path, line in shared}, set(starters)), said

    def _ask(self, **request: Any) -> tuple[str, str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        result, said = json.loads(self._process.stdout.readline())
        return result, said


class _Recorder:
    """A plugin of pytest that notes the calls of functions below a folder, other than those of tests."""

    def __init__(self, folder: str, path: str) -> None:
        self._package, self._skip = os.path.join(folder, "wsock", ""), len(folder) + 1
        self._path = path
        self._seconds: dict[str, float] = {}
        self._calls: dict[str, set[Place]] = {}
        self._shared: set[Place] = set()
        self._starters: set[str] = set()
        self._test: str | None = None
        #: Where a call is noted; and how many imports and shared fixtures run, during which it is noted as shared.
        self._current, self._sharing = self._shared, 0

    def note(self, frame: FrameType, event: str, argument: object) -> None:
        if event not in ("call", "return") or not frame.f_code.co_filename.startswith(self._package):
            return
        code = frame.f_code
        if code.co_name == "<module>":
            self._sharing += 1 if event == "call" else -1
        elif event == "call":
            calls = self._shared if self._sharing else self._current
            calls.add((code.co_filename[self._skip :], code.co_firstlineno))

    def audit(self, event: str, arguments: object) -> None:
        if event in ("subprocess.Popen", "os.fork", "os.posix_spawn") and self._test is not None:
            self._starters.add(self._test)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._test = item.nodeid
        self._current = self._calls[item.nodeid] = set()
        began = time.monotonic()
        try:
            return (yield)
        finally:
            self._seconds[item.nodeid] = time.monotonic() - began
            self._test, self._current = None, self._shared

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
        isShared = fixturedef.scope != "function"
        self._sharing += isShared
        try:
            return (yield)
        finally:
            self._sharing -= isShared

    def pytest_sessionfinish(self) -> None:
        calls = {test: list(called) for test, called in self._calls.items()}
        Path(self._path).write_text(json.dumps([self._seconds, calls, list(self._shared), list(self._starters)]))


class _Selection:
    """A plugin of pytest that leaves only some tests, in an order of their own."""

    def __init__(self, tests: list[str]) -> None:
        self._tests = tests

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        collected = {item.nodeid: item for item in items}
        if all(test in collected for test in self._tests):
            items[:] = [collected[test] for test in self._tests]


class _CollectionLimit:
    """A plugin of pytest that ends the process where a collection takes too long: pytest-timeout looks at tests alone.

    A file of tests that makes values on import would loop for as long as a whole run may take.
    """

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Generator[None, object, object]:
        signal.alarm(self._seconds)
        try:
            return (yield)
        finally:
            signal.alarm(0)


def _runTests(files: list[str], tests: list[str] | None = None, recorded: str | None = None) -> int:
    """Runs pytest in this process, which is no good for another run afterwards; returns its exit code.

    Args:
        files: the files of the tests.
        tests: those of them that run; None for all.
        recorded: where to write what the tests call, if so.
    """
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    limit = _TEST_SECONDS if recorded is None else _TEST_SECONDS * _RECORDING_FACTOR
    options = ["-q", "-x", "-p", "no:cacheprovider", "--assert=plain", f"--timeout={limit}"]
    # How time grows is measured for long, and shows no fault that other tests miss.
    options += ["-m", "not growth and not clock", "--hypothesis-profile=mutants", "--hypothesis-seed=0"]
    sys.argv = ["pytest", *options, *files]
    plugins: list[object] = [_CollectionLimit(limit)]
    if tests is not None:
        plugins.append(_Selection(tests))
    if recorded is not None:
        recorder = _Recorder(os.getcwd(), recorded)
        plugins.append(recorder)
        threading.setprofile(recorder.note)
        sys.setprofile(recorder.note)
        sys.addaudithook(recorder.audit)
    return pytest.main(sys.argv[1:], plugins)


def _detach(output: IO[bytes]) -> None:
    """Leaves the group of this process, and its stdin and stdout, which are for requests and answers."""
    os.setpgid(0, 0)
    with output, open(os.devnull, "rb") as nothing:
        for file, descriptor in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(file.fileno(), descriptor)


def _wait(pid: int, seconds: float) -> int | None:
    """Waits for the end of a process, and ends its group; returns its exit code, None where it took too long."""
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(_POLL_SECONDS)
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return None
    finally:
        # The processes that a test has started, and left behind. An exception here is a signal from the keyboard.
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _main() -> int:
    """Answers requests until there is no more; in a fork, runs the tests of one."""
    # As of `python -m pytest`, in place of the folder of this file.
    sys.path[0] = os.getcwd()
    for name in _IMPORTED:
        with suppress(ImportError):
            importlib.import_module(name)
    assert not {"wsock", "twisted.internet.reactor"} & sys.modules.keys()
    # The objects that are here now are never garbage: a run need not look at it.
    gc.collect()
    gc.freeze()
    while line := sys.stdin.readline():
        request = json.loads(line)
        seconds = request.pop("seconds")
        with tempfile.TemporaryFile() as output:
            pid = os.fork()
            if not pid:
                _detach(output)
                return _runTests(**request)
            code = _wait(pid, seconds)
            output.seek(0)
            said = output.read().decode(errors="replace")
        isLate = code in (None, -signal.SIGALRM) or "Failed: Timeout" in said
        result = "survived" if code == 0 else "timed out" if isLate else "killed"
        print(json.dumps([result, said]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
