"""A run of the suite asserts first which implementation it tests, and says last which tests it left out."""

import gc
import os
import platform
import signal
from collections.abc import Generator, Sequence

import hypothesis
import pytest
import tools
import twisted

import wsock

# 1,000 examples are what the properties promise. The gate draws the same ones each time, so that a change fails by
# its own fault; everyone else draws new ones.
_DRAWN = {"deadline": None, "derandomize": os.environ.get("CI") == "true", "print_blob": True}
hypothesis.settings.register_profile("wsock", max_examples=200, **_DRAWN)
hypothesis.settings.register_profile("thorough", max_examples=1000, **_DRAWN)
hypothesis.settings.register_profile("quick", max_examples=50, **_DRAWN)
# As many as a release has of the records of TLS.
hypothesis.settings.register_profile("fuzz", max_examples=20_000, deadline=None, print_blob=True)
# It is enough that an example fails: which one is the shortest does not matter.
_FIRST = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
hypothesis.settings.register_profile("mutants", max_examples=50, phases=_FIRST, **_DRAWN)
hypothesis.settings.load_profile("wsock")


# A shell has what it starts in the background ignore this one, and with it all that is started here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

#: The marks of tests that take long, and the sessions of nox that run these.
_LONG = {
    "clock": "nox -s clock",
    "slow": "nox -s 'tests(left-out)'",
    "growth": "nox -s 'tests(left-out)'",
}
_left_out: list[pytest.Item] = []


def describe() -> str:
    return (
        f"{wsock.implementation}, mask in {wsock.maskImplementation}, deflate by {wsock.deflateImplementation}, "
        f"Python {platform.python_version()}, Twisted {twisted.__version__}"
    )


def pytest_configure() -> None:
    """Ends a run that would test another wsock than it is meant to: a pure wheel, the checkout's source, plain zlib."""
    expected = os.environ.get("WSOCK_EXPECT", wsock.implementation)
    if wsock.implementation != expected:
        raise pytest.UsageError(f"wsock is {wsock.implementation}, not {expected}: {wsock.__file__}")
    expected = os.environ.get("WSOCK_EXPECT_DEFLATE", wsock.deflateImplementation)
    if wsock.deflateImplementation != expected:
        raise pytest.UsageError(f"wsock compresses by {wsock.deflateImplementation}, not {expected}")


#: The classes of the reactors that WSOCK_REACTOR may name, see the folder `reactors`.
_REACTORS = {
    "poll": "PollReactor",
    "select": "SelectReactor",
    "asyncio": "AsyncioSelectorReactor",
    "uvloop": "AsyncioSelectorReactor",
}


def pytest_sessionstart() -> None:
    """Ends a run that would test another reactor than it is meant to."""
    if "WSOCK_REACTOR" in os.environ:
        from twisted.internet import reactor

        expected = os.environ["WSOCK_REACTOR"]
        loop = getattr(reactor, "_asyncioEventloop", None)
        found = type(reactor).__name__, type(loop).__module__.partition(".")[0]
        if found != (_REACTORS[expected], {"asyncio": "asyncio", "uvloop": "uvloop"}.get(expected, "builtins")):
            raise pytest.UsageError(f"the reactor is {found}, not {expected}'s")


def pytest_collection_finish() -> None:
    """Has the garbage collector pass over the tests themselves: many of them run it, and would take longer."""
    gc.collect()
    gc.freeze()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Has it pass over what is left of each file, too: reports, caches, and modules that were loaded."""
    if nextitem is not None and nextitem.path != item.path:
        gc.collect()
        gc.freeze()


def pytest_report_header() -> str:
    return f"wsock: {describe()}, {wsock.__file__}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    tools.marks = {mark.name for mark in item.iter_markers()}
    try:
        return (yield)
    finally:
        tools.marks = set()


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    _left_out.extend(items)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    ran = sum(len(terminalreporter.stats.get(outcome, [])) for outcome in ("passed", "failed", "xfailed", "xpassed"))
    terminalreporter.write_line(f"wsock: {ran} tests ran {describe()}")
    for mark, command in _LONG.items():
        count = sum(item.get_closest_marker(mark) is not None for item in _left_out)
        if count:
            terminalreporter.write_line(f"not run here: {count} tests marked {mark!r}; `{command}` runs them")
