"""The one path of a connection to its transport: nothing else in wsock calls a transport's ``write``.

Rules:

* **Cork.** What a connection writes while it is being fed leaves in one write, when that is over.
* **Eager.** Where nothing is buffered the socket is tried at once. Stock Twisted registers for writability, polls,
  and unregisters: three system calls more for each message that would have fitted anyway.
* **Once a turn.** A second write in one turn of the reactor, outside of `cork`, waits for the end of that turn.
* **Our queue.** The transport is given bytes while it takes them; the rest waits here as whole messages, which can be
  counted and limited.
* A large payload is sent from where it lies, however many attempts that takes.

The eager path reaches into Twisted's transports. Whether it may is decided by their exact type, never by attributes:
wrappers forward attributes, and a TLS wrapper's socket would take plain text.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

from twisted.internet import tcp
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

_STOCK: set[type] = {tcp.Server, tcp.Client}
try:
    from twisted.internet import unix
except ImportError:  # pragma: no cover - a platform without UNIX sockets
    pass
else:
    _STOCK |= {unix.Server, unix.Client}

#: What a transport is given at a time. One byte more than `FileDescriptor.bufferSize`, because a transport pauses its
#: producer, and so resumes it later, only when it holds more than that.
_HANDOVER: Final = 2**16 + 1
#: Up to here several buffers are joined for one ``send``, which copies them; beyond, ``sendmsg`` takes them apart.
_JOIN: Final = 2**15
#: What one attempt on the socket is given at the most: Linux takes 1,024 buffers in one ``sendmsg``.
_ATTEMPT: Final = 1000


class _Turn:
    """The present turn of one reactor, shared by all connections on it."""

    __slots__ = ("_call", "_reactor", "_waiting", "number")

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._call: IDelayedCall | None = None
        self._waiting: dict[Outgoing, None] = {}
        self.number = 0

    def begin(self) -> int:
        """Returns the number of this turn, and sees to it that it ends."""
        if self._call is None:
            self._call = self._reactor.callLater(0, self._end)
        return self.number

    def wait(self, outgoing: Outgoing) -> None:
        """Has ``outgoing`` flushed at the end of the turn."""
        self._waiting[outgoing] = None

    def leave(self, outgoing: Outgoing) -> None:
        """Forgets a connection that is lost, and the delayed call if no other connection waits for it."""
        self._waiting.pop(outgoing, None)
        if self._call is not None and not self._waiting:
            self._call.cancel()
            self._call = None
            self.number += 1

    def _end(self) -> None:
        self._call = None
        self.number += 1
        waiting, self._waiting = self._waiting, {}
        for outgoing in waiting:
            outgoing.flush()


_turns: WeakKeyDictionary[Any, _Turn] = WeakKeyDictionary()


def _turnOf(reactor: IReactorTime) -> _Turn:
    turn = _turns.get(reactor)
    if turn is None:
        turn = _turns[reactor] = _Turn(reactor)
    return turn


def isStock(transport: object) -> bool:
    """Whether ``transport`` is one of Twisted's own, over a plain socket, and not a class derived from it."""
    return type(transport) in _STOCK and not transport.TLS  # type: ignore[attr-defined]


@implementer(IPushProducer)
class Outgoing:
    """What one connection sends, on its way to its transport.

    Attributes:
        size: how many bytes wait here, in whole messages and the rest of the one begun.
        paused: whether the transport takes no more for now.
        writabilityChanged: called without arguments when the transport takes bytes again.
    """

    __slots__ = (
        "_aborted",
        "_begun",
        "_corked",
        "_drained",
        "_handed",
        "_highWaterMark",
        "_pongs",
        "_queue",
        "_registered",
        "_sendLimit",
        "_stock",
        "_transport",
        "_turn",
        "_turnNumber",
        "paused",
        "size",
        "writabilityChanged",
    )

    def __init__(
        self,
        transport: Any,
        reactor: IReactorTime,
        highWaterMark: int | None,
        sendLimit: int | None,
        writabilityChanged: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._stock = isStock(transport)
        self._turn = _turnOf(reactor)
        self._turnNumber = -1
        self._highWaterMark = float("inf") if highWaterMark is None else highWaterMark
        self._sendLimit = float("inf") if sendLimit is None else sendLimit
        self.writabilityChanged = writabilityChanged
        #: Whole messages, each the list of its buffers. None while there are none: an empty deque has 600 bytes.
        self._queue: deque[list[bytes]] | None = None
        #: What is left of the message that has begun to leave.
        self._begun: list[bytes | memoryview] = []
        #: The Pongs among the queue, which newer ones may replace.
        self._pongs: list[bytes] | None = None
        self.size = 0
        #: How many bytes the transport was given since it last said that it had none.
        self._handed = 0
        self.paused = False
        self._corked = False
        self._registered = False
        self._aborted = False
        self._drained: Callable[[], None] | None = None

    # What the connection asks for

    def register(self) -> None:
        """Becomes the transport's producer, from the end of the opening handshake on."""
        self._registered = True
        self._transport.registerProducer(self, True)

    def unregister(self) -> None:
        """Is the transport's producer no longer, so that it can close; what waits is handed over."""
        if self._registered:
            self._registered = False
            self.paused = False
            self._transport.unregisterProducer()
        self._corked = False
        self.flush()

    @property
    def unsent(self) -> int:
        """How many bytes the system was not given: those here, and those that the transport is known to hold."""
        if self._stock:
            transport = self._transport
            held: int = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
            return self.size + held
        return self.size + self._handed if self.paused else self.size

    @property
    def writable(self) -> bool:
        """Whether no more than ``highWaterMark`` bytes are unsent."""
        return not (self.paused or self.size) or self.unsent <= self._highWaterMark

    def write(self, message: list[bytes]) -> bool:
        """Sends a message, now or later.

        Args:
            message: the buffers of one whole frame, or of several that may only be dropped together.

        Returns:
            False, and nothing was sent, if more than ``sendLimit`` bytes are unsent already.
        """
        if self.paused and self.unsent > self._sendLimit:
            return False
        self._append(message)
        if self._corked:
            if self.size >= self._highWaterMark:
                self.flush()
        elif not self._stock or self.paused:
            self.flush()
        elif self._turnNumber != self._turn.number:
            self._turnNumber = self._turn.begin()
            self.flush()
        elif self.size >= self._highWaterMark:
            self.flush()
        else:
            self._turn.wait(self)
        return True

    def writeControl(self, message: list[bytes]) -> None:
        """Sends a frame that no limit holds back: a Close, a Pong that answers, a whole HTTP answer."""
        self._append(message)
        if not self._corked:
            self.flush()

    def writePongs(self, pongs: list[bytes]) -> None:
        """Sends the Pongs of one call, in the place of earlier ones that have not left.

        RFC 6455 section 5.5.3 allows to answer the latest Ping only; a peer that floods us with Pings and reads
        nothing is held to the memory of one call.
        """
        waiting = self._pongs
        if self.paused and waiting is not None:
            self.size += sum(map(len, pongs)) - sum(map(len, waiting))
            waiting[:] = pongs
            return
        self.writeControl(pongs)
        if self._queue is not None and self._queue[-1] is pongs:
            self._pongs = pongs

    def cork(self) -> None:
        """Holds back what is written until `uncork`, or until ``highWaterMark`` bytes wait."""
        self._corked = True

    def uncork(self) -> None:
        """Lets go what was held back."""
        self._corked = False
        if self.size or self._drained is not None:
            self.flush()

    def dropQueue(self) -> int:
        """Drops the messages that have not begun to leave, and returns how many they were."""
        queue = self._queue
        if queue is None:
            return 0
        self._queue = self._pongs = None
        self.size = sum(map(len, self._begun))
        return len(queue)

    def whenDrained(self, drained: Callable[[], None]) -> None:
        """Calls ``drained`` once, as soon as nothing waits here: perhaps now."""
        self._drained = drained
        if not self._corked:
            self.flush()

    def abort(self) -> None:
        """Drops all that waits; nothing leaves any more."""
        self._aborted = True
        self._drained = None
        self._begun = []
        self.size = 0
        self._queue = self._pongs = None
        self._turn.leave(self)

    # IPushProducer, for the transport

    def pauseProducing(self) -> None:
        """The transport takes no more for now."""
        self.paused = True

    def resumeProducing(self) -> None:
        """The transport has sent what it had."""
        self.paused = False
        self._handed = 0
        if not self._corked:
            self.flush()
        if not self.paused:
            self.writabilityChanged()

    def stopProducing(self) -> None:
        """The transport is lost; its protocol is told so, too, and does what is to be done."""

    # How it leaves

    def _append(self, message: list[bytes]) -> None:
        if self._queue is None:
            self._queue = deque((message,))
        else:
            self._queue.append(message)
        for buffer in message:
            self.size += len(buffer)

    def flush(self) -> None:
        """Gives the system, or else the transport, what they take."""
        while self.size and not self.paused and not self._aborted:
            if not self._mayTrySocket():
                self._handOver()
            elif not self._trySocket():
                self._handOver()
                if self._stock and self._registered:
                    # Else it would pause us only past its own mark, and so not tell when it is empty.
                    self._transport.producerPaused = True
                    self.paused = True
        if self._drained is not None and not self.size and not self._aborted:
            drained, self._drained = self._drained, None
            drained()

    def _mayTrySocket(self) -> bool:
        """Whether the socket can be written to past its transport without a byte overtaking another."""
        transport = self._transport
        return (
            self._stock
            and transport.connected
            and not transport.TLS
            and not transport.disconnecting
            and not transport._writeDisconnecting
            and not transport.dataBuffer
            and not transport._tempDataBuffer
            and (transport.producer is None or transport.streamingProducer)
        )

    def _trySocket(self) -> bool:
        """Tries the socket once; returns whether it took all that it was given."""
        buffers: list[bytes | memoryview] = list(self._begun)
        for message in self._queue or ():
            buffers += message
            if len(buffers) > _ATTEMPT:
                del buffers[_ATTEMPT:]
                break
        try:
            if len(buffers) == 1:
                given = len(buffers[0])
                sent = self._transport.socket.send(buffers[0])
            elif self.size <= _JOIN or not hasattr(self._transport.socket, "sendmsg"):
                joined = b"".join(buffers)
                given = len(joined)
                sent = self._transport.socket.send(joined)
            else:
                given = sum(map(len, buffers))
                sent = self._transport.socket.sendmsg(buffers)
        except OSError:
            # Full, or lost: the transport meets the same error, in the reactor's stack and not in our caller's.
            return False
        if sent == self.size:
            self._begun = []
            self._queue = self._pongs = None
            self.size = 0
            return True
        self._take(sent)
        return bool(sent == given)

    def _handOver(self) -> None:
        """Gives the transport its next portion; all there is where it could not tell us to go on."""
        portion = b"".join(self._take(_HANDOVER if self._registered else self.size))
        self._handed = min(self._handed + len(portion), 2 * _HANDOVER)
        self._transport.write(portion)

    def _take(self, count: int) -> list[bytes | memoryview]:
        """Takes the next ``count`` bytes, or all there are, from what waits."""
        taken: list[bytes | memoryview] = []
        while count and self.size:
            if not self._begun:
                self._begin()
            buffer = self._begun[0]
            if len(buffer) > count:
                view = memoryview(buffer)
                buffer, self._begun[0] = view[:count], view[count:]
            else:
                del self._begun[0]
            taken.append(buffer)
            count -= len(buffer)
            self.size -= len(buffer)
        return taken

    def _begin(self) -> None:
        queue = self._queue
        assert queue is not None
        message = queue.popleft()
        if message is self._pongs:
            self._pongs = None
        if not queue:
            self._queue = None
        self._begun = list(message)
