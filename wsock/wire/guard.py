"""Notices that another hand closed a connection's transport, past the WebSocket.

A ``ClientService`` that stops does that, and a policy such as `TimeoutFactory`. A plain socket is lost then. TLS tells
no one: it waits for its opening handshake to end, for its producer, which we are, to leave, or for the peer's farewell.
"""

from __future__ import annotations

from typing import Any, Final, Protocol
from weakref import ref

from twisted.internet.interfaces import IReactorTime

from .transports import driverOf
from .watch import sharedWatch

#: How often a transport is looked at, in seconds.
GUARD_SECONDS: Final = 1


class Guarded(Protocol):
    """A connection whose transport is looked at."""

    def guardActive(self) -> bool:
        """Whether it has not begun to end."""

    def guardClosed(self) -> None:
        """Another hand closed the transport."""


class Guard:
    """Looks each second at one transport of TLS; the connection holds it, and calls `stop` in the end."""

    __slots__ = ("__weakref__", "_guarded", "_transport", "_watch")

    def __init__(self, guarded: Guarded, transport: Any, reactor: IReactorTime) -> None:
        self._guarded = ref(guarded)
        self._transport = transport
        self._watch = sharedWatch(reactor)
        self._watch.add(self, reactor.seconds() + GUARD_SECONDS)

    def stop(self) -> None:
        """There is nothing to look for any more."""
        self._watch.remove()

    def checkLiveness(self, now: float) -> float | None:
        """Looks; the watch calls this."""
        guarded = self._guarded()
        if guarded is None or not guarded.guardActive():
            return None
        if driverOf(self._transport).isClosedByOthers(self._transport):
            guarded.guardClosed()
            return None
        return now + GUARD_SECONDS


def guardOf(guarded: Guarded, transport: Any, reactor: IReactorTime) -> Guard | None:
    """Returns a guard where the transport needs one."""
    return Guard(guarded, transport, reactor) if driverOf(transport).isSecure(transport) else None
