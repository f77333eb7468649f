"""The look for a transport that another hand closes, alone: on a clock, with plain objects."""

import gc
from typing import Any

import pytest
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.task import Clock
from zope.interface import implementer

from wsock.wire.guard import guardOf


@implementer(ISSLTransport)
class TLS:
    disconnecting: Any = False


class Plain:
    disconnecting = False


class Guarded:
    """A connection that notes when it is told."""

    def __init__(self, clock: Clock, active: bool = True) -> None:
        self.clock = clock
        self.active = active
        self.closed: list[float] = []

    def guardActive(self) -> bool:
        return self.active

    def guardClosed(self) -> None:
        self.closed.append(self.clock.seconds())


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_only_tls_needs_one(clock: Clock) -> None:
    assert guardOf(Guarded(clock), Plain(), clock) is None
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("disconnecting", [True, 1])
def test_it_tells_once_within_a_second(clock: Clock, disconnecting: object) -> None:
    guarded, transport = Guarded(clock), TLS()
    guard = guardOf(guarded, transport, clock)
    clock.pump([0.5] * 6)
    assert guarded.closed == []
    transport.disconnecting = disconnecting
    clock.pump([0.5] * 10)
    assert guarded.closed == [4]
    assert guard is not None
    guard.stop()
    assert clock.getDelayedCalls() == []


def test_what_has_begun_to_end_is_not_told(clock: Clock) -> None:
    guarded, transport = Guarded(clock, active=False), TLS()
    guard = guardOf(guarded, transport, clock)
    transport.disconnecting = True
    clock.advance(1)
    guarded.active = True
    clock.pump([1] * 3)
    assert guarded.closed == []
    assert guard is not None


def test_after_it_has_left_it_looks_no_more(clock: Clock) -> None:
    guarded, transport = Guarded(clock), TLS()
    guard = guardOf(guarded, transport, clock)
    assert guard is not None
    guard.stop()
    transport.disconnecting = True
    assert clock.getDelayedCalls() == []
    clock.advance(5)
    assert guarded.closed == []


def test_a_transport_that_does_not_say(clock: Clock) -> None:
    @implementer(ISSLTransport)
    class Silent:
        pass

    guarded = Guarded(clock)
    guard = guardOf(guarded, Silent(), clock)
    clock.pump([1] * 3)
    assert guarded.closed == []
    assert guard is not None
    guard.stop()


def test_it_keeps_no_connection_alive(clock: Clock) -> None:
    """The connection holds it; a guard that somebody else holds finds it gone, and is looked at no more."""
    guarded, transport = Guarded(clock), TLS()
    closed = guarded.closed
    guard = guardOf(guarded, transport, clock)
    transport.disconnecting = True
    del guarded
    gc.collect()
    clock.pump([1] * 3)
    assert closed == []
    assert clock.getDelayedCalls() == []
    assert guard is not None
