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
CLOSE_WATCH_SECONDS: Final = 1


class Watched(Protocol):
    """A connection whose transport is looked at."""

    def closeWatchActive(self) -> bool:
        """Whether it has not begun to end."""

    def closeWatchClosed(self) -> None:
        """Another hand closed the transport."""


class CloseWatch:
    """Looks each second at one transport of TLS; the connection holds it, and calls `stop` in the end."""

    __slots__ = ("__weakref__", "_transport", "_watch", "_watched")

    def __init__(self, watched: Watched, transport: Any, reactor: IReactorTime) -> None:
        self._watched = ref(watched)
        self._transport = transport
        self._watch = sharedWatch(reactor)
        self._watch.add(self, reactor.seconds() + CLOSE_WATCH_SECONDS)

    def stop(self) -> None:
        """There is nothing to look for any more."""
        self._watch.remove()

    def checkLiveness(self, now: float) -> float | None:
        """Looks; the watch calls this."""
        watched = self._watched()
        if watched is None or not watched.closeWatchActive():
            return None
        if driverOf(self._transport).isClosedByOthers(self._transport):
            watched.closeWatchClosed()
            return None
        return now + CLOSE_WATCH_SECONDS


def closeWatchOf(watched: Watched, transport: Any, reactor: IReactorTime) -> CloseWatch | None:
    """Returns a watch where the transport needs one."""
    return CloseWatch(watched, transport, reactor) if driverOf(transport).isSecure(transport) else None
