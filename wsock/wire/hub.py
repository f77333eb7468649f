"""How bytes come in: the connections of a reactor wait in an epoll of ours, which is one reader of the reactor's.

The reactor calls us once for a batch of connections that can be read, where it would call each with a log context of
its own. The transports here are those that `wsock.wire.adoption` has adopted.

Rules:

* Only Twisted's own reactors for epoll, poll, select and asyncio have a hub, where the system has an epoll.
* The hub has an epoll, and is the reactor's reader, from its first connection to its last.
* An end is met here, by Twisted's own code: told to the reactor in the middle of a batch, it would be told wrongly.
* One connection's exception is logged as the reactor would, and does not touch the others.
* Where a Twisted has not the private names that are used here, the reactor reads all.
* Twisted's private names stand here and in `wsock.wire.transports` alone.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from weakref import WeakValueDictionary

from twisted.internet import posixbase
from twisted.internet.interfaces import IReadDescriptor
from twisted.python import log
from twisted.python.failure import Failure
from zope.interface import implementer

from .turn import Turn, sharedTurn

#: The hub reads so many connections at a time; then the reactor serves others, and its timers.
_BATCH: Final = 128
#: In the middle of large messages, which take longer to read: 4 MiB.
_LARGE_BATCH: Final = 16
#: ``select`` takes no descriptor from this number on.
_SELECT_LIMIT: Final = 1024
#: So many connections are named by `repr`.
_NAMED: Final = 8
#: The result of a transport's ``doRead`` that has read much; Twisted's own code takes it for none.
MUCH: Final = 0
_IN: Final[int] = getattr(select, "EPOLLIN", 1)
_OUT: Final[int] = getattr(select, "EPOLLOUT", 4)
#: Twisted's own code for the events of a descriptor, and for its end, as far as this Twisted has it.
_TwistedsOwn: Final[Any] = type(
    "_TwistedsOwn",
    tuple(
        getattr(posixbase, name)
        for name in ("_PollLikeMixin", "_DisconnectSelectableMixin")
        if hasattr(posixbase, name)
    ),
    {},
)


def _readsByNumber(reactor: Any, descriptor: Any) -> bool:
    return descriptor.fileno() in getattr(reactor, "_reads", ())


def _readsItself(reactor: Any, descriptor: Any) -> bool:
    return descriptor in getattr(reactor, "_reads", ())


def _readsByLoop(reactor: Any, descriptor: Any) -> bool:
    return descriptor in getattr(reactor, "_readers", ())


#: How each kind of reactor tells whether it reads a descriptor, by the name of its exact type: ``getReaders`` would
#: take the time of all of them. One that a later Twisted has changed reads nothing as far as they know.
_REACTORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "twisted.internet.epollreactor.EPollReactor": _readsByNumber,
    "twisted.internet.pollreactor.PollReactor": _readsByNumber,
    "twisted.internet.selectreactor.SelectReactor": _readsItself,
    "twisted.internet.asyncioreactor.AsyncioSelectorReactor": _readsByLoop,
}


@implementer(IReadDescriptor)
class Hub(_TwistedsOwn):  # type: ignore[misc]
    """The adopted connections of one reactor."""

    _POLL_DISCONNECTED = getattr(select, "EPOLLHUP", 16) | getattr(select, "EPOLLERR", 8)
    _POLL_IN = _IN
    _POLL_OUT = _OUT

    def __init__(self, reactor: Any, isRead: Callable[[Any, Any], bool]) -> None:
        self._reactor = reactor
        self._isRead = isRead
        self._turn: Turn = sharedTurn(reactor)
        #: The connections that wait to be read, and those that wait to be written, by the numbers of their descriptors.
        self._reads: dict[int, Any] = {}
        self._writes: dict[int, Any] = {}
        #: None while no connection waits.
        self._epoll: Any = None
        #: For each batch that is on the stack, the numbers that were given to the epoll since: its events for these
        #: belong to a descriptor before.
        self._batches: list[set[int]] = []
        #: How many connections the next batch has at the most.
        self._most = _BATCH

    def __repr__(self) -> str:
        connections = self._connections()
        names = [repr(connection) for connection in connections[:_NAMED]]
        if len(connections) > _NAMED:
            names.append("...")
        return f"<wsock's hub with {len(connections)} connections: {', '.join(names)}>"

    def _connections(self) -> list[Any]:
        # A transport may wait for both.
        return list({**self._writes, **self._reads}.values())

    def adopt(self, transport: Any, kind: type) -> bool:
        """Takes over a transport that the reactor reads, and that has nothing to write.

        Returns:
            whether it did; otherwise the reactor has it as before.
        """
        if not self._isRead(self._reactor, self):
            # There is none, or `removeAll` has taken us out, and told nobody: those that we had are to be read no more.
            self._forget()
        number = transport.fileno()
        if not self._isRead(self._reactor, transport) or not self._wait(transport, number, _IN):
            return False
        self._reactor.removeReader(transport)
        self._reactor.removeWriter(transport)
        self._reads[number] = transport
        transport.__class__ = kind
        return True

    # In place of the reactor, for adopted transports

    def addReader(self, transport: Any) -> None:
        """Reads a transport."""
        self._add(transport, self._reads, _IN, self._reactor.addReader)

    def addWriter(self, transport: Any) -> None:
        """Has a transport write when its socket takes bytes."""
        self._add(transport, self._writes, _OUT, self._reactor.addWriter)

    def removeReader(self, transport: Any) -> None:
        """Stops reading a transport."""
        self._remove(transport, self._reads)

    def removeWriter(self, transport: Any) -> None:
        """Stops waiting for a socket to take bytes."""
        self._remove(transport, self._writes)

    def _add(self, transport: Any, waiting: dict[int, Any], event: int, addToReactor: Callable[[Any], object]) -> None:
        number = transport.fileno()
        if waiting.get(number) is transport:
            return
        if self._wait(transport, number, event):
            waiting[number] = transport
        else:
            # Its own class is the base of the one that it was given.
            transport.__class__ = type(transport).__base__
            addToReactor(transport)

    def _remove(self, transport: Any, waiting: dict[int, Any]) -> None:
        number = transport.fileno()
        if number == -1:
            # Another hand has closed the socket, and perhaps its number is another's by now.
            number = next((number for number, other in waiting.items() if other is transport), -1)
        if waiting.get(number) is not transport:
            return
        del waiting[number]
        self._update(number)
        if not (self._reads or self._writes):
            self._end()

    # The epoll

    def _wait(self, transport: Any, number: int, event: int) -> bool:
        """Waits for one more event of a transport; returns whether it does.

        The system may have no memory or no descriptor for it, and the transport no socket: another hand has closed it.
        """
        for waiting in (self._reads, self._writes):
            if waiting.get(number, transport) is not transport:
                # Its socket was closed by another hand.
                del waiting[number]
        before = self._events(number)
        try:
            if self._epoll is None:
                self._begin()
            if before:
                self._epoll.modify(number, before | event)
            else:
                self._epoll.register(number, event)
                for changed in self._batches:
                    changed.add(number)
        except (OSError, ValueError):
            if not (self._reads or self._writes):
                self._end()
            return False
        return True

    def _update(self, number: int) -> None:
        """Waits for those events of a descriptor that are still wanted."""
        events = self._events(number)
        with suppress(OSError):  # closed by another hand
            if events:
                self._epoll.modify(number, events)
            else:
                self._epoll.unregister(number)

    def _events(self, number: int) -> int:
        return (_IN if number in self._reads else 0) | (_OUT if number in self._writes else 0)

    def _begin(self) -> None:
        self._epoll = epoll = select.epoll()
        if self._isRead is _readsItself and epoll.fileno() >= _SELECT_LIMIT:
            raise OSError("select would not take it")
        self._reactor.addReader(self)

    def _end(self) -> None:
        if self._epoll is not None:
            self._reactor.removeReader(self)
            self._epoll.close()
            self._epoll = None

    def _forget(self) -> None:
        self._reads.clear()
        self._writes.clear()
        self._end()

    # IReadDescriptor, for the reactor

    def fileno(self) -> int:
        """The number of the epoll; -1 while there is none."""
        number: int = -1 if self._epoll is None else self._epoll.fileno()
        return number

    def logPrefix(self) -> str:
        """Names what runs in Twisted's log while connections are read."""
        return "wsock"

    def doRead(self) -> None:
        """Reads the connections that can be read, and has those write that can."""
        reads = self._reads
        changed: set[int] = set()
        self._batches.append(changed)
        self._turn.beginBatch()
        try:
            events = self._epoll.poll(0, self._most)
            self._most = _BATCH
            for number, event in events:
                transport = reads.get(number)
                if number in changed:
                    continue
                if event != _IN or transport is None:
                    self._meet(number, event)
                    continue
                try:
                    why = transport.doRead()
                except BaseException as error:
                    why = error
                    log.callWithLogger(transport, log.err)
                if why is None:
                    continue
                if why == MUCH:
                    # Fewer, and not the rest of these later: the epoll gives those that had to wait first.
                    self._most = _LARGE_BATCH
                else:
                    _call(transport, self._disconnectSelectable, transport, why, True)
        finally:
            self._batches.pop()
            self._turn.endBatch()

    def _meet(self, number: int, event: int) -> None:
        """Does what an event asks for that is no mere input, if its connection was not lost in this batch."""
        transport = self._reads.get(number) or self._writes.get(number)
        if transport is not None:
            _call(transport, self._doReadOrWrite, transport, number, event)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor drops all that it reads: so do we."""
        connections = self._connections()
        self._forget()
        for connection in connections:
            _call(connection, connection.connectionLost, reason)


def canRead() -> bool:
    """Whether this system and this Twisted have all that a hub needs."""
    return hasattr(select, "epoll") and hasattr(Hub, "_doReadOrWrite") and hasattr(Hub, "_disconnectSelectable")


def _call(transport: Any, function: Callable[..., object], *arguments: object) -> None:
    """Calls a function with a connection's context for the log, in which its exceptions are logged."""
    try:
        log.callWithLogger(transport, function, *arguments)
    except KeyboardInterrupt:
        # The reactor logs it, too, and goes on; but here it would take the hub for lost, with all connections.
        log.err()


#: Keyed by id(reactor). A hub references its reactor, so an id can't be reused while its entry exists; it is held by
#: its reactor, while it has connections.
_hubs: WeakValueDictionary[int, Hub] = WeakValueDictionary()


def hubOf(reactor: Any) -> Hub | None:
    """Returns the hub of a reactor; None of one that has none."""
    hub = _hubs.get(id(reactor))
    if hub is None:
        kind = type(reactor)
        isRead = _REACTORS.get(f"{kind.__module__}.{kind.__qualname__}")
        if isRead is None:
            return None
        hub = _hubs.setdefault(id(reactor), Hub(reactor, isRead))
    return hub
