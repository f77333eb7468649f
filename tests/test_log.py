"""What is logged, and what an exception may hold."""

import builtins
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults
from twisted.python.failure import Failure
from wire import logged

from wsock.log import ClassLogger, letGo


class Logs:
    _log = ClassLogger()


def fail() -> None:
    try:
        raise KeyError("first")
    except KeyError as error:
        raise ValueError("then") from error


def failure() -> Failure:
    try:
        fail()
    except ValueError:
        return Failure()
    raise AssertionError


def frames(error: BaseException | None) -> list[Any]:
    """The tracebacks that an exception holds, and those of what led to it."""
    if error is None:
        return []
    held = [] if error.__traceback__ is None else [error.__traceback__]
    return held + frames(error.__cause__) + frames(error.__context__)


def test_what_was_logged_holds_no_frames() -> None:
    given = failure()
    with logged() as events:
        Logs()._log.failure("{who} failed", given, who="it")
    (event,) = events
    assert event["log_failure"] is given
    assert event["who"] == "it"
    assert event["log_source"] is Logs
    assert given.tb is None
    assert frames(given.value) == []


def test_its_traceback_can_still_be_read() -> None:
    given = failure()
    letGo(given)
    assert "in fail" in given.getTraceback()


def test_the_exception_at_hand_is_logged() -> None:
    with logged() as events:
        try:
            fail()
        except ValueError:
            Logs()._log.failure("it failed")
    assert "in fail" in events[0]["log_failure"].getTraceback()
    assert events[0]["log_failure"].tb is None


def test_the_failures_of_several() -> None:
    """`gatherResults` wraps the first."""
    deferred: Deferred[None] = Deferred()
    given: list[Failure] = []
    gatherResults([deferred], consumeErrors=True).addErrback(given.append)
    inner = failure()
    deferred.errback(inner)
    (outer,) = given
    letGo(outer)
    assert outer.value.subFailure.tb is None  # type: ignore[union-attr]
    assert frames(inner.value) == []


def test_a_group_of_exceptions() -> None:
    groups = getattr(builtins, "ExceptionGroup", None)
    if groups is None:
        pytest.skip("Python before 3.11")
    inner = failure().value
    letGo(Failure(groups("all", [inner])))
    assert frames(inner) == []


def test_causes_of_each_other() -> None:
    one, another = KeyError(), ValueError()
    one.__cause__, another.__cause__ = another, one
    letGo(Failure(one))
