"""One timer for all that has to be looked at from time to time: a delayed call for each connection would cost more."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final, Protocol
from weakref import WeakValueDictionary, ref

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..log import CAUGHT, ClassLogger

#: Seconds between two checks, at least, however many connections there are.
_MIN_SECONDS: Final = 0.05
#: Seconds until a connection is checked again whose check failed.
_RETRY_SECONDS: Final = 60
#: Dead heap entries that are tolerated before the heap is rebuilt.
_MAX_DEAD: Final = 64


class Watched(Protocol):
    """What is looked at."""

    def checkLiveness(self, now: float) -> float | None:
        """Looks; returns when to look again, None for not until `Watch.reschedule`."""


class Watch:
    """What is to be looked at on one reactor, by the time when it is due. It keeps nothing alive."""

    __slots__ = ("__weakref__", "_call", "_due", "_members", "_most", "_number", "_reactor")

    _log = ClassLogger()

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._call: IDelayedCall | None = None
        #: The number decides between two of one time: what is watched can't be compared.
        self._due: list[tuple[float, int, ref[Watched]]] = []
        self._number = 0
        self._members = 0
        #: With more entries than that it is looked for those that are gone.
        self._most = _MAX_DEAD

    def add(self, watched: Watched, when: float) -> None:
        """Looks at it at a time; `remove` has to be called in the end."""
        self._members += 1
        self._push(when, ref(watched))
        self._schedule(0)

    def reschedule(self, watched: Watched, when: float) -> None:
        """Looks at a time at one that was added, and that no look is to come for."""
        self._push(when, ref(watched))
        self._schedule(0)

    def remove(self) -> None:
        """One of those that were added needs no look any more."""
        self._members -= 1
        if not self._members:
            self._due.clear()
            if self._call is not None:
                self._call.cancel()
                self._call = None
        elif len(self._due) > self._most:
            # Those of a long interval may be gone long before they are due.
            self._due = [entry for entry in self._due if entry[2]() is not None]
            heapify(self._due)
            self._most = 2 * len(self._due) + _MAX_DEAD

    def _push(self, when: float, reference: ref[Watched]) -> None:
        self._number += 1
        heappush(self._due, (when, self._number, reference))

    def _schedule(self, least: float) -> None:
        """Sees to it that the first is looked at when it is due, but not before ``least`` seconds."""
        if not self._due:
            return
        delay = max(self._due[0][0] - self._reactor.seconds(), least, 0)
        if self._call is None:
            self._call = self._reactor.callLater(delay, self._look)
        elif self._call.getTime() > self._reactor.seconds() + delay:
            self._call.reset(delay)

    def _look(self) -> None:
        self._call = None
        now = self._reactor.seconds()
        while self._due and self._due[0][0] <= now:
            _, _, reference = heappop(self._due)
            watched = reference()
            if watched is None:
                continue
            try:
                again = watched.checkLiveness(now)
            except CAUGHT:
                # The others have no part in it.
                self._log.failure("a connection failed to be looked at")
                again = now + _RETRY_SECONDS
            if again is not None:
                self._push(max(again, now + _MIN_SECONDS), reference)
        self._schedule(_MIN_SECONDS)


#: Keyed by id(reactor). Each value references its reactor, so an id can't be reused while its entry exists.
_watches: WeakValueDictionary[int, Watch] = WeakValueDictionary()


def watchOf(reactor: IReactorTime) -> Watch:
    """The watch that all connections on a reactor share."""
    return _watches.get(id(reactor)) or _watches.setdefault(id(reactor), Watch(reactor))
