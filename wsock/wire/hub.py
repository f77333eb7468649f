"""How bytes come in: the connections of a reactor wait in an epoll of ours, which is one reader of the reactor's.

The reactor calls us once for a batch of connections that can be read, where it would call each with a log context of
its own. A connection stays Twisted's: it is **adopted** by giving its transport another class, which waits here in
place of the reactor. No more than that differs, and giving it its own class back undoes it.

Rules:

* Only Twisted's own TCP and UNIX transports are adopted, by their exact type, and only on Twisted's own reactors for
  epoll, poll, select and asyncio. All else is read by the reactor, as is all where the system has no epoll.
* The hub has an epoll, and is the reactor's reader, from its first connection to its last.
* An end is met here, by Twisted's own code: told to the reactor in the middle of a batch, it would be told wrongly.
* One connection's exception is logged as the reactor would, and does not touch the others.
* Where a Twisted has not the private names that are used here, the reactor reads all.
* Twisted's private names stand here and in `wsock.wire.transports` alone.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from contextlib import suppress
from errno import EAGAIN
from typing import Any, Final
from weakref import WeakValueDictionary

from twisted.internet import posixbase, tcp
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
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
#: The bytes that are read at a time, as many as ``FileDescriptor.bufferSize``; and in the middle of a large message.
_READ_BYTES: Final = 2**16
_LARGE_READ_BYTES: Final = 2**18
#: The result of a large read; Twisted's own code takes it for none.
_MUCH: Final = 0
_IN: Final[int] = getattr(select, "EPOLLIN", 1)
_OUT: Final[int] = getattr(select, "EPOLLOUT", 4)
#: The buffer that all TCP connections are read into. Their bytes are copied out before anything else runs.
_LARGE_BUFFER: Final = memoryview(bytearray(_LARGE_READ_BYTES))
_BUFFER: Final = _LARGE_BUFFER[:_READ_BYTES]
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
            transport.__class__ = _OWN_CLASSES[type(transport)]
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
                if why == _MUCH:
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


def _hubOf(reactor: Any) -> Hub | None:
    hub = _hubs.get(id(reactor))
    if hub is None:
        kind = type(reactor)
        isRead = _REACTORS.get(f"{kind.__module__}.{kind.__qualname__}")
        if isRead is None:
            return None
        hub = _hubs.setdefault(id(reactor), Hub(reactor, isRead))
    return hub


# The methods that differ in a transport that waits in the hub


def _startReading(self: Any) -> None:
    _hubOf(self.reactor).addReader(self)  # type: ignore[union-attr]


def _stopReading(self: Any) -> None:
    _hubOf(self.reactor).removeReader(self)  # type: ignore[union-attr]


def _startWriting(self: Any) -> None:
    _hubOf(self.reactor).addWriter(self)  # type: ignore[union-attr]


def _stopWriting(self: Any) -> None:
    _hubOf(self.reactor).removeWriter(self)  # type: ignore[union-attr]


def _doRead(self: Any) -> Exception | None:
    """Reads into the buffer that all share: one of its own for each read takes longer to make."""
    try:
        count = self.socket.recv_into(_BUFFER)
    except OSError as error:
        return None if error.errno == EAGAIN else CONNECTION_LOST
    if not count:
        return CONNECTION_DONE
    self.protocol.dataReceived(_BUFFER[:count].tobytes())
    return None


def _doLargeRead(self: Any) -> Exception | int | None:
    """Reads more at a time, until less comes; returns `_MUCH` after that."""
    try:
        count = self.socket.recv_into(_LARGE_BUFFER)
    except OSError as error:
        return None if error.errno == EAGAIN else CONNECTION_LOST
    if not count:
        return CONNECTION_DONE
    if count <= _READ_BYTES:
        self.__class__ = ADOPTED_CLASSES[_OWN_CLASSES[type(self)]]
    self.protocol.dataReceived(_LARGE_BUFFER[:count].tobytes())
    return _MUCH


_WAITS: Final[dict[str, Callable[..., object]]] = {
    "startReading": _startReading,
    "stopReading": _stopReading,
    "startWriting": _startWriting,
    "stopWriting": _stopWriting,
}


def _adoptedClasses(doTCPRead: Callable[[Any], object]) -> Iterator[tuple[type, type]]:
    """Makes the class of the adopted transports of each kind; those over TCP read by ``doTCPRead``.

    Methods set on each transport would take 1.6 KiB a connection, and be a cycle. The class has one base: with another
    one, even without slots, it could not be given to a transport.
    """
    if not (hasattr(select, "epoll") and hasattr(Hub, "_doReadOrWrite") and hasattr(Hub, "_disconnectSelectable")):
        return
    methods: dict[type, dict[str, Callable[..., object]]] = {
        tcp.Server: {**_WAITS, "doRead": doTCPRead},
        tcp.Client: {**_WAITS, "doRead": doTCPRead},
    }
    with suppress(ImportError):
        from twisted.internet import unix

        # Their bytes may come with descriptors.
        methods |= {unix.Server: _WAITS, unix.Client: _WAITS}
    for own, differing in methods.items():
        adopted = type(own.__name__, (own,), {**differing, "__doc__": own.__doc__, "__module__": own.__module__})
        transport: Any = object.__new__(own)
        try:
            transport.__class__ = adopted
        except TypeError:
            # A later Twisted's transports may not take another class, as if they had slots.
            continue
        yield own, adopted


#: The class that a transport of each kind has while it is adopted, and the other way round.
ADOPTED_CLASSES: Final[dict[type, type]] = dict(_adoptedClasses(_doRead))
#: The class of one that reads much at a time.
LARGE_CLASSES: Final[dict[type, type]] = dict(_adoptedClasses(_doLargeRead))
_OWN_CLASSES: Final = {adopted: own for classes in (ADOPTED_CLASSES, LARGE_CLASSES) for own, adopted in classes.items()}


def adopt(transport: Any) -> bool:
    """Has the hub of its reactor take over a transport; returns whether it is the hub's now.

    Args:
        transport: one of Twisted's own over a socket, which holds nothing that was not sent, and does not end.
    """
    kind = type(transport)
    if kind in _OWN_CLASSES:
        return True
    adopted, hub = ADOPTED_CLASSES.get(kind), _hubOf(transport.reactor)
    return adopted is not None and hub is not None and hub.adopt(transport, adopted)


def readMuch(transport: Any) -> None:
    """Reads a transport in larger pieces, if it is adopted, for as long as much comes: a large message is under way."""
    own = _OWN_CLASSES.get(type(transport))
    if own is not None:
        transport.__class__ = LARGE_CLASSES[own]
