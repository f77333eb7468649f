"""The look for a transport that another hand closes, alone: on a clock, with plain objects."""

import gc
from typing import Any

import pytest
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.task import Clock
from zope.interface import implementer

from wsock.wire.closewatch import closeWatchOf


@implementer(ISSLTransport)
class TLS:
    disconnecting: Any = False


class Plain:
    disconnecting = False


class Watched:
    """A connection that notes when it is told."""

    def __init__(self, clock: Clock, active: bool = True) -> None:
        self.clock = clock
        self.active = active
        self.closed: list[float] = []

    def closeWatchActive(self) -> bool:
        return self.active

    def closeWatchClosed(self) -> None:
        self.closed.append(self.clock.seconds())


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_only_tls_needs_one(clock: Clock) -> None:
    assert closeWatchOf(Watched(clock), Plain(), clock) is None
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("disconnecting", [True, 1])
def test_it_tells_once_within_a_second(clock: Clock, disconnecting: object) -> None:
    watched, transport = Watched(clock), TLS()
    watch = closeWatchOf(watched, transport, clock)
    clock.pump([0.5] * 6)
    assert watched.closed == []
    transport.disconnecting = disconnecting
    clock.pump([0.5] * 10)
    assert watched.closed == [4]
    assert watch is not None
    watch.stop()
    assert clock.getDelayedCalls() == []


def test_what_has_begun_to_end_is_not_told(clock: Clock) -> None:
    watched, transport = Watched(clock, active=False), TLS()
    watch = closeWatchOf(watched, transport, clock)
    transport.disconnecting = True
    clock.advance(1)
    watched.active = True
    clock.pump([1] * 3)
    assert watched.closed == []
    assert watch is not None


def test_after_it_has_left_it_looks_no_more(clock: Clock) -> None:
    watched, transport = Watched(clock), TLS()
    watch = closeWatchOf(watched, transport, clock)
    assert watch is not None
    watch.stop()
    transport.disconnecting = True
    assert clock.getDelayedCalls() == []
    clock.advance(5)
    assert watched.closed == []


def test_a_transport_that_does_not_say(clock: Clock) -> None:
    @implementer(ISSLTransport)
    class Silent:
        pass

    watched = Watched(clock)
    watch = closeWatchOf(watched, Silent(), clock)
    clock.pump([1] * 3)
    assert watched.closed == []
    assert watch is not None
    watch.stop()


def test_it_keeps_no_connection_alive(clock: Clock) -> None:
    """The connection holds it; a watch that somebody else holds finds it gone, and is looked at no more."""
    watched, transport = Watched(clock), TLS()
    closed = watched.closed
    watch = closeWatchOf(watched, transport, clock)
    transport.disconnecting = True
    del watched
    gc.collect()
    clock.pump([1] * 3)
    assert closed == []
    assert clock.getDelayedCalls() == []
    assert watch is not None
