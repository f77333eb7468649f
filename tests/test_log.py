"""Log lines and their texts, and the frames that an exception may hold."""

import builtins
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, gatherResults
from twisted.python.failure import Failure
from wire import logged

from wsock.log import ClassLogger, excerpt, formatAddress, letGo, printable


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


def test_a_failure_of_a_text() -> None:
    """Twisted allows it."""
    given = Failure("text")  # type: ignore[arg-type]
    letGo(given)
    assert given.value == "text"  # type: ignore[comparison-overlap]


def test_causes_of_each_other() -> None:
    one, another = KeyError(), ValueError()
    one.__cause__, another.__cause__ = another, one
    letGo(Failure(one))


@pytest.mark.parametrize(
    ("text", "shown"), [("caf\u00e9", "caf\u00e9"), ("a\r\nb\x1b[1m\u202e", "a??b?[1m?"), ("", "")]
)
def test_no_text_of_a_peer_writes_to_a_terminal(text: str, shown: str) -> None:
    assert printable(text) == excerpt(text) == shown


def test_a_long_text_is_cut_off() -> None:
    assert excerpt("x" * 200) == "x" * 200
    assert excerpt("x" * 201) == "x" * 200 + "..."
    assert printable("x" * 201) == "x" * 201


class Pipe:
    pass


class Named:
    def __str__(self) -> str:
        return "named\n"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (IPv4Address("TCP", "10.0.0.1", 80), "10.0.0.1:80"),
        (IPv4Address("TCP", "a\nb", 80), "a?b:80"),
        (IPv6Address("TCP", "::1", 443), "[::1]:443"),
        (UNIXAddress("/run/a\n"), "/run/a?"),
        (UNIXAddress(b"/run/\xc3\xa9\xff"), "/run/\u00e9\ufffd"),
        (UNIXAddress(None), "unix"),
        (UNIXAddress(""), "unix"),
        (Pipe(), "Pipe"),
        (Named(), "named?"),
    ],
    ids=repr,
)
def test_addresses(address: object, shown: str) -> None:
    assert formatAddress(address) == shown
