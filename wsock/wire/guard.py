"""Notices that somebody else closed a connection's transport, past the WebSocket.

A ``ClientService`` that stops does that, and a policy such as `TimeoutFactory`. A plain socket is lost then. TLS tells
nobody: it waits for its opening handshake to end, for its producer, which we are, to leave, or for the peer's farewell.
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

    _transport: Any

    def _isGuarded(self) -> bool:
        """Whether it has not begun to end."""

    def _closedPastUs(self) -> None:
        """Somebody else closed the transport."""


class Guard:
    """Looks each second at one transport of TLS; the connection holds it, and calls `leave` in the end."""

    __slots__ = ("__weakref__", "_watch", "_wire")

    def __init__(self, wire: Guarded, reactor: IReactorTime) -> None:
        self._wire = ref(wire)
        self._watch = sharedWatch(reactor)
        self._watch.add(self, reactor.seconds() + GUARD_SECONDS)

    def leave(self) -> None:
        """There is nothing to look for any more."""
        self._watch.remove()

    def check(self, now: float) -> float | None:
        """Looks whether the transport was closed; returns when to look again."""
        wire = self._wire()
        if wire is None or not wire._isGuarded():
            return None
        if driverOf(wire._transport).isClosedByOthers(wire._transport):
            wire._closedPastUs()
            return None
        return now + GUARD_SECONDS


def guardOf(wire: Guarded, reactor: IReactorTime) -> Guard | None:
    """Returns a guard where the transport needs one."""
    return Guard(wire, reactor) if driverOf(wire._transport).isSecure(wire._transport) else None
