"""The turns of a reactor: connections wait for the end of the present one by one delayed call for all of them."""

from __future__ import annotations

from typing import Final, Protocol
from weakref import WeakValueDictionary

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..log import APPLICATION_ERRORS, ClassLogger

#: So many bytes are written through to sockets in one turn; more wait for the reactor, since others want to be served.
_TURN_BYTES: Final = 2**20
#: Pieces of fewer bytes than this do not count.
_SMALL_BYTES: Final = 2**14


class Flushable(Protocol):
    """An object that can wait for the end of a turn."""

    def flush(self) -> None:
        """The turn is over."""


class Turn:
    """The present turn of one reactor, shared by all connections on it."""

    __slots__ = ("__weakref__", "_batches", "_call", "_isNew", "_reactor", "_written", "now", "number", "waiting")

    _log = ClassLogger()

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._call: IDelayedCall | None = None
        #: How many batches of the hub's are on the stack: the end of each is the end of a turn.
        self._batches = 0
        #: Whether nothing was sent in this turn, and nothing waits for its end.
        self._isNew = True
        #: The time while a batch is read, when it began; None otherwise.
        self.now: float | None = None
        #: The objects to flush at its end, in the order of a dict.
        self.waiting: dict[Flushable, None] = {}
        self.number = 0
        #: How many bytes were written through to sockets in it, of large pieces.
        self._written = 0

    def begin(self) -> int:
        """Returns the number of this turn, and sees to it that it ends, from the second call on.

        The first send after a turn needs no end: most often a batch comes next, or nothing at all.
        """
        if self._isNew:
            self._isNew = False
        else:
            self._seeToEnd()
        return self.number

    def wait(self, waiting: Flushable) -> None:
        """Flushes an object at the end of this turn."""
        self.waiting[waiting] = None
        self._seeToEnd()

    def _seeToEnd(self) -> None:
        self._isNew = False
        if self._call is None and not self._batches:
            self._call = self._reactor.callLater(0, self._end)

    def beginBatch(self) -> None:
        """The hub begins to read a batch of connections."""
        self._batches += 1
        self.now = self._reactor.seconds()

    def endBatch(self) -> None:
        """The hub has read a batch of connections: a turn ends, too."""
        self._batches -= 1
        self.now = None
        self._finish()

    def allows(self, size: int) -> bool:
        """Whether so many bytes more may be written through to a socket in this turn; others want to be served, too."""
        if size < _SMALL_BYTES:
            return True
        self._seeToEnd()
        self._written += size
        return self._written <= _TURN_BYTES

    def remove(self, waiting: Flushable) -> None:
        """Forgets an object that is lost, and the delayed call if no other object waits for it."""
        self.waiting.pop(waiting, None)
        if self._call is not None and not self.waiting:
            self._call.cancel()
            self._call = None
            self._finish()

    def _end(self) -> None:
        self._call = None
        self._finish()

    def _finish(self) -> None:
        self.number += 1
        self._isNew = True
        self._written = 0
        if not self.waiting:
            return
        waiting, self.waiting = self.waiting, {}
        for one in waiting:
            try:
                one.flush()
            except APPLICATION_ERRORS:
                # One failure does not hold up the others.
                self._log.failure("a connection failed to send")


#: Keyed by id(reactor). Each value references its reactor, so an id can't be reused while its entry exists.
_turns: WeakValueDictionary[int, Turn] = WeakValueDictionary()


def sharedTurn(reactor: IReactorTime) -> Turn:
    """Returns the turn that all connections on a reactor share."""
    return _turns.get(id(reactor)) or _turns.setdefault(id(reactor), Turn(reactor))
