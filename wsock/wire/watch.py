"""One timer for all objects that are checked from time to time: a delayed call for each connection would cost more."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final, Protocol
from weakref import WeakValueDictionary, ref

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..log import APPLICATION_ERRORS, ClassLogger

#: Two runs of the timer are at least this far apart, in seconds, however many checks are due.
_MIN_INTERVAL_SECONDS: Final = 0.05
#: A check that failed is tried again after so many seconds.
_RETRY_SECONDS: Final = 60
#: The heap is rebuilt once it has more entries of dead objects than this, and than live ones.
_MAX_DEAD_ENTRIES: Final = 64


class Watched(Protocol):
    """An object that is checked."""

    def checkLiveness(self, now: float) -> float | None:
        """Checks it; returns the time of the next check, None for none until `Watch.reschedule`."""


class _Check(ref[Watched]):
    """The next check of an object, which it does not keep alive.

    A reference with a time of its own takes half of the memory of a tuple with a reference, a time, and a number that
    decides between two of one time: watched objects can't be compared.
    """

    __slots__ = ("when",)

    when: float

    def __lt__(self, other: _Check) -> bool:
        return self.when < other.when


class Watch:
    """The objects to check on one reactor, by the times when they are due. It keeps none of them alive."""

    __slots__ = ("__weakref__", "_call", "_due", "_members", "_most", "_reactor")

    _log = ClassLogger()

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._call: IDelayedCall | None = None
        #: A heap.
        self._due: list[_Check] = []
        self._members = 0
        #: With more entries than this, those of dead objects are removed.
        self._most = _MAX_DEAD_ENTRIES

    def add(self, watched: Watched, when: float) -> None:
        """Has an object checked at a time; `remove` has to be called in the end."""
        self._members += 1
        self.reschedule(watched, when)

    def reschedule(self, watched: Watched, when: float) -> None:
        """Has an object that was added, and has no check to come, checked at a time."""
        check = _Check(watched)
        self._push(when, check)
        if self._due[0] is check:
            # Otherwise the timer is set to an earlier check, or is about to be.
            self._schedule(0)

    def remove(self) -> None:
        """Counts one of the objects out: when the last one is gone, the timer stops."""
        self._members -= 1
        if not self._members:
            self._due.clear()
            if self._call is not None:
                self._call.cancel()
                self._call = None
        elif len(self._due) > self._most:
            # Objects with a long interval may be dead long before they are due.
            self._due = [check for check in self._due if check() is not None]
            heapify(self._due)
            self._most = 2 * len(self._due) + _MAX_DEAD_ENTRIES

    def _push(self, when: float, check: _Check) -> None:
        check.when = when
        heappush(self._due, check)

    def _schedule(self, least: float) -> None:
        """Sets the timer to the first check that is due, but not before ``least`` seconds."""
        if not self._due:
            return
        delay = max(self._due[0].when - self._reactor.seconds(), least, 0)
        if self._call is None:
            self._call = self._reactor.callLater(delay, self._run)
        elif self._call.getTime() > self._reactor.seconds() + delay:
            self._call.reset(delay)

    def _run(self) -> None:
        self._call = None
        now = self._reactor.seconds()
        while self._due and self._due[0].when <= now:
            check = heappop(self._due)
            watched = check()
            if watched is None:
                continue
            try:
                again = watched.checkLiveness(now)
            except APPLICATION_ERRORS:
                # One failure does not hold up the other checks.
                self._log.failure("a connection failed to be looked at")
                again = now + _RETRY_SECONDS
            if again is not None:
                self._push(max(again, now + _MIN_INTERVAL_SECONDS), check)
        self._schedule(_MIN_INTERVAL_SECONDS)


#: Keyed by id(reactor). Each value references its reactor, so an id can't be reused while its entry exists.
_watches: WeakValueDictionary[int, Watch] = WeakValueDictionary()


def sharedWatch(reactor: IReactorTime) -> Watch:
    """Returns the watch that all connections on a reactor share."""
    return _watches.get(id(reactor)) or _watches.setdefault(id(reactor), Watch(reactor))
