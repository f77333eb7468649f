"""The one path of a connection to its transport: nothing else in wsock calls a transport's ``write``.

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

import socket
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from twisted.internet.interfaces import IPushProducer, IReactorTime
from zope.interface import implementer

from ..sansio.constants import CLOSE, PING
from .transports import (
    flushTLS,
    held,
    isStartedTLS,
    isStock,
    isTLS,
    mayTrySocket,
    push,
    queuedBySystem,
    stockBelow,
    tlsBelow,
    writeTLS,
)
from .turn import turnOf

#: What a transport is given at a time. One byte more than `FileDescriptor.bufferSize`, because a transport pauses its
#: producer, and so resumes it later, only when it holds more than that.
_HANDOVER: Final = 2**16 + 1
#: What waits at the most for the end of `cork` or of a turn, where ``highWaterMark`` and ``sendLimit`` say no less.
_CORK: Final = 2**16
#: And how many messages: 64 KiB of empty ones would take 5 MB.
_CORKED: Final = 2048
#: What a message that waits is counted for beside its bytes (a list, a bytes object and a place in the queue take some
#: 150), and how much that may come to where ``sendLimit`` says no more.
_OVERHEAD: Final = 256
_OVERHEADS: Final = 2**20
#: Up to here, and where they are this small on the average, buffers are joined: `sendmsg` takes more time to look at.
_JOIN: Final = 2**15
_SMALL: Final = 512
#: How many buffers one attempt takes: as many as Linux lets ``sendmsg`` have; Windows has none.
_BUFFERS: Final = 1024
_SENDMSG: Final = hasattr(socket.socket, "sendmsg")
#: What is left of no message: one list for all connections, since one of its own takes 72 bytes. It stays empty.
_NOT_BEGUN: Final[list[bytes | memoryview]] = []


@lru_cache
def _messagesOf(limit: float, least: float) -> float:
    """How many messages a limit of bytes stands for; one object, and not one for each of many connections."""
    return max(limit, least) / _OVERHEAD


def _isData(message: list[bytes]) -> bool:
    """Whether it is a message of the application's, and no control frame."""
    return bool(message and message[0]) and message[0][0] & 0x0F < CLOSE


def _mayBeDropped(message: list[bytes]) -> bool:
    """Whether it is a message or a Ping, and not what the protocol itself has to say."""
    return _isData(message) or message[0][0] & 0x0F == PING


def _nothing() -> None:
    pass


@implementer(IPushProducer)
class Outgoing:
    """What one connection sends, on its way to its transport.

    Attributes:
        size: how many bytes wait here, in whole messages and the rest of the one begun.
        handed: how many bytes were given away so far, to the system or the transport.
        dropped: how many messages were dropped so far, since too much was unsent.
        paused: whether the transport takes no more for now.
        writabilityChanged: called without arguments when the transport has taken bytes and the connection is writable.
        blocked: called without arguments when the transport takes no more.
    """

    __slots__ = (
        "_aborted",
        "_begun",
        "_begunIsData",
        "_below",
        "_corkLimit",
        "_corked",
        "_countLimit",
        "_countMark",
        "_drained",
        "_dropsOldest",
        "_ended",
        "_handing",
        "_highWaterMark",
        "_pongs",
        "_queue",
        "_registered",
        "_sendLimit",
        "_stock",
        "_tls",
        "_transport",
        "_turn",
        "_turnNumber",
        "blocked",
        "dropped",
        "handed",
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
        blocked: Callable[[], None] = lambda: None,
        dropsOldest: bool = False,
    ) -> None:
        self._transport = transport
        self._stock = isStock(transport)
        #: Twisted's TLS, and the stock transport below it, where they are these exactly; else None.
        self._tls = transport if isTLS(transport) else None
        self._below: Any = None
        if self._tls is not None and isStock(transport.transport):
            self._below = transport.transport
        self._turn = turnOf(reactor)
        self._turnNumber = -1
        self._highWaterMark = float("inf") if highWaterMark is None else highWaterMark
        self._sendLimit = float("inf") if sendLimit is None else sendLimit
        self._countMark = _messagesOf(self._highWaterMark, _OVERHEADS / 16)
        self._countLimit = _messagesOf(self._sendLimit, _OVERHEADS)
        self._corkLimit = min(_CORK if highWaterMark is None else highWaterMark, self._sendLimit)
        self.writabilityChanged = writabilityChanged
        self.blocked = blocked
        #: Whole messages, each the list of its buffers. None while there are none: an empty deque has 600 bytes.
        self._queue: deque[list[bytes]] | None = None
        #: What is left of the message that has begun to leave.
        self._begun = _NOT_BEGUN
        self._begunIsData = False
        #: The Pongs among the queue, which newer ones may replace.
        self._pongs: list[bytes] | None = None
        self.size = 0
        self.handed = 0
        self.dropped = 0
        self.paused = False
        self._dropsOldest = dropsOldest
        #: The transport's ``write`` is on the stack.
        self._handing = False
        self._corked = False
        self._registered = False
        self._aborted = False
        #: The transport takes nothing any more, and has not said so by a loss yet.
        self._ended = False
        self._drained: Callable[[], None] | None = None

    # What the connection asks for

    def hold(self) -> None:
        """Holds back all that is written until `register`: a client's messages wait for the server's answer."""
        self.paused = True

    def writeAhead(self, data: bytes) -> None:
        """Sends what goes before all that `hold` holds back: a client's request."""
        if not self._aborted:
            self._give(data)

    def register(self) -> None:
        """Becomes the transport's producer, from the end of the opening handshake on; lets go what was held back."""
        self._registered = True
        self.paused = False
        self._transport.registerProducer(self, True)
        if not self._corked:
            self.flush()

    def unregister(self) -> None:
        """Is the transport's producer no longer, so that it can close; what waits is handed over."""
        if self._registered:
            self._registered = False
            self.paused = self._ended
            self._transport.unregisterProducer()
        self.flush()

    def end(self) -> None:
        """The transport takes nothing any more: what waits, and what is still to be written, is not going to leave."""
        self._ended = self.paused = True

    @property
    def ended(self) -> bool:
        """Whether `end` was called: what waits is not going to leave."""
        return self._ended

    @property
    def registered(self) -> bool:
        """Whether this is the transport's producer, so that the transport does not close by itself."""
        return self._registered

    @property
    def unsent(self) -> int:
        """How many bytes the system was not given: those here, and those in the transport."""
        if self._stock:
            return self.size + held(self._transport)
        if self._below is not None:
            return self.size + held(self._below)
        if not self.paused or not self._registered:
            return self.size
        # A transport that wraps another, as TLS does, has handed on what it was given. Of any other one thing is known:
        # it pauses us when it holds more than 64 KiB.
        inner = stockBelow(self._transport)
        return self.size + (_HANDOVER if inner is None else held(inner))

    @property
    def isOverLimit(self) -> bool:
        """Whether more waits behind the first message than ``sendLimit``, or so many that they take as much memory.

        The first is the message that has begun to leave, or else the next one. It does not count: a large message, and
        small ones behind it, are no sign of a slow peer.
        """
        queue = self._queue
        if queue is None:
            return False
        first = sum(map(len, self._begun or queue[0]))
        if self._pongs is queue[0] and not self._begun and len(queue) > 1:
            # Answers of the protocol are no message.
            first += sum(map(len, queue[1]))
        return self.size - first > self._sendLimit or len(queue) > self._countLimit

    @property
    def untaken(self) -> int:
        """How many bytes the peer has not taken, as far as can be seen: `unsent`, and what the system holds.

        The system says that a socket is writable when a third of its buffer is free, and that may be a megabyte: a
        slow reader can be seen to take bytes long before.
        """
        inner = stockBelow(self._transport)
        queued = None if inner is None else queuedBySystem(inner)
        return self.unsent if queued is None else self.size + held(inner) + queued

    @property
    def taken(self) -> int:
        """How many bytes the peer has taken, as far as can be seen; over TLS a little less than it has."""
        return self.handed + self.size - self.untaken

    @property
    def writable(self) -> bool:
        """Whether no more than ``highWaterMark`` is unsent, as always while the transport takes it."""
        return not self.paused or (self.unsent <= self._highWaterMark and len(self._queue or ()) <= self._countMark)

    def write(self, message: list[bytes]) -> bool:
        """Sends a message, now or later.

        Args:
            message: the buffers of one whole frame, or of several that may only be dropped together.

        Returns:
            False, and nothing was sent, if more than ``sendLimit`` waits already, see `isOverLimit`; never after
            `abort`, nor where the oldest are dropped for it.
        """
        if self._aborted:
            return True
        if (
            not (self.size or self._corked or self.paused)
            and self._stock
            and self._turnNumber != self._turn.number
            and len(message) == 1
            and mayTrySocket(self._transport)
        ):
            # What most messages outside of a cork meet: nothing waits, and nothing need be made to wait.
            self._turnNumber = self._turn.begin()
            frame = message[0]
            try:
                sent: int = self._transport.socket.send(frame)
            except OSError:
                sent = 0
            self.handed += sent
            if sent != len(frame):
                self._keepRest(message, sent)
            return True
        if self.paused and self.isOverLimit:
            if not self._dropsOldest:
                return False
            self._dropOldest()
        self._append(message)
        if self.size >= self._corkLimit or len(self._queue or ()) > _CORKED:
            self.flush()
        elif self._corked or self.paused:
            pass
        elif not self._stock and self._tls is None:
            self.flush()
        elif self._turnNumber != self._turn.number:
            self._turnNumber = self._turn.begin()
            self.flush()
        else:
            self._turn.waiting[self] = None
        return True

    def writeControl(self, message: list[bytes]) -> None:
        """Sends a frame that no limit holds back: a Close, a Pong that answers, a whole HTTP answer."""
        if self._aborted:
            return
        self._append(message)
        if not self._corked:
            self.flush()

    def writePongs(self, pongs: list[bytes]) -> None:
        """Sends the Pongs of one call, in the place of earlier ones that have not left.

        RFC 6455 section 5.5.3 allows to answer the latest Ping only; a peer that floods us with Pings and reads
        nothing is held to the memory of one call.
        """
        message = [b"".join(pongs)]
        waiting = self._pongs
        if self.paused and waiting is not None:
            self.size += len(message[0]) - len(waiting[0])
            waiting[:] = message
            return
        self.writeControl(message)
        if self._queue is not None and self._queue[-1] is message:
            self._pongs = message

    def cork(self) -> None:
        """Holds back what is written until `uncork`, or until ``highWaterMark`` or ``sendLimit`` is reached."""
        self._corked = True

    def uncork(self) -> None:
        """Lets go what was held back."""
        self._corked = False
        if self.size or self._drained is not None:
            self.flush()

    def dropQueue(self) -> int:
        """Drops what has not begun to leave, and returns how many messages were among it."""
        dropped = sum(map(_isData, self._queue or ()))
        self._queue = self._pongs = None
        self.size = sum(map(len, self._begun))
        return dropped

    def overflow(self, messages: int) -> None:
        """Drops all that has not begun to leave, and so many messages that were not taken; counts them."""
        self.dropped += messages + self.dropQueue()

    def _dropOldest(self) -> None:
        """Drops the oldest messages that have not begun to leave, until no more waits than may be."""
        queue = self._queue
        kept: list[list[bytes]] = []
        while queue and self.isOverLimit:
            message = queue.popleft()
            self.size -= sum(map(len, message))
            if _mayBeDropped(message):
                self.dropped += _isData(message)
            else:
                # A few at the most: the answer of the opening handshake, one of Pongs, one Close.
                kept.append(message)
        self.size += sum(sum(map(len, message)) for message in kept)
        if queue is not None:
            queue.extendleft(reversed(kept))
            self._queue = queue or None

    def whenDrained(self, drained: Callable[[], None]) -> None:
        """Calls ``drained`` once, as soon as nothing waits here: perhaps now, after `abort` never.

        It takes the place of an earlier one that was not called.
        """
        if self._aborted:
            return
        self._drained = drained
        if not self._corked:
            self.flush()

    def abort(self) -> None:
        """Drops all that waits, and counts it; nothing leaves any more."""
        self._aborted = True
        self._drained = None
        # What has begun to leave has not arrived.
        self.dropped += bool(self._begun and self._begunIsData)
        self._begun = _NOT_BEGUN
        self.dropped += self.dropQueue()
        self._turn.leave(self)

    def lost(self) -> None:
        """The transport is lost: the two let go of each other."""
        self.abort()
        self.writabilityChanged = self.blocked = _nothing
        if self._registered and tlsBelow(self._transport) is not None and not isStartedTLS(self._transport):
            # One of TLS would hold its producer, and Twisted leaves a cycle that holds it.
            self._transport.unregisterProducer()
        self._transport = self._tls = self._below = None
        self._stock = self._registered = self.paused = False

    # IPushProducer, for the transport

    def pauseProducing(self) -> None:
        """The transport takes no more for now."""
        self.paused = True
        if not self._handing or self._below is None:
            self.blocked()

    def resumeProducing(self) -> None:
        """The transport has sent what it had."""
        if self._ended:
            return
        self.paused = False
        if not self._corked:
            self.flush()
        if self.writable and not self._handing:
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
        if self._handing:
            # What is on its way must not be overtaken; who called first goes on.
            return
        while self.size and not self.paused:
            if not self._stock or not mayTrySocket(self._transport):
                self._handOver()
            elif not self._trySocket():
                self._handOver()
                if self._registered:
                    # Else it would pause us only past its own mark, and so not tell when it is empty.
                    self._transport.producerPaused = self.paused = True
                    self.blocked()
        if self._drained is not None and not self.size:
            drained, self._drained = self._drained, None
            drained()

    def _keepRest(self, message: list[bytes], sent: int) -> None:
        """Has a frame, of which the socket did not take all, go the usual way."""
        if sent:
            frame = message[0]
            self._begun = [memoryview(frame)[sent:]]
            self._begunIsData = _isData(message)
            self.size = len(frame) - sent
        else:
            self._append(message)
        self.flush()

    def _trySocket(self) -> bool:
        """Tries the socket once; returns whether it took all that it was given."""
        queue = self._queue
        try:
            if queue is not None and len(queue) == 1 and len(queue[0]) == 1 and not self._begun:
                # What most often waits: one frame, which is all there is.
                given = self.size
                sent: int = self._transport.socket.send(queue[0][0])
            else:
                sent, given = self._send(self._waiting())
        except OSError:
            # Full, or lost: the transport meets the same error, in the reactor's stack and not in our caller's.
            return False
        self.handed += sent
        if sent == self.size:
            self._begun = _NOT_BEGUN
            self._queue = self._pongs = None
            self.size = 0
            return True
        self._take(sent)
        return 0 < sent == given

    def _waiting(self) -> list[bytes | memoryview]:
        """What waits: all of it, or where it is much, the first so many buffers."""
        buffers: list[bytes | memoryview] = list(self._begun)
        for message in self._queue or ():
            if self.size > _JOIN and buffers and len(buffers) + len(message) > _BUFFERS:
                break
            buffers += message
        return buffers

    def _send(self, buffers: list[bytes | memoryview]) -> tuple[int, int]:
        """Gives the socket as many of the buffers as it takes well; returns how many bytes it took, and of how many."""
        stream = self._transport.socket
        if len(buffers) == 1:
            return stream.send(buffers[0]), len(buffers[0])
        given = sum(map(len, buffers))
        if given <= _JOIN or given < _SMALL * len(buffers):
            return stream.send(b"".join(buffers)), given
        buffers = buffers[: _BUFFERS if _SENDMSG else 1]
        given = sum(map(len, buffers))
        return stream.sendmsg(buffers) if _SENDMSG else stream.send(buffers[0]), given

    def _handOver(self) -> None:
        """Gives the transport its next portion; of what TLS makes of it, the socket gets at once what it takes.

        What stays in the transport below TLS is lost when the peer ends its stream: perhaps the next thing to be read.
        """
        below = self._below
        portion = b"".join(self._take(_HANDOVER))
        self.handed += len(portion)
        left = 0
        self._handing = True
        try:
            self._give(portion)
            if below is not None:
                left = push(below) if self._turn.allows(len(portion)) else held(below)
        finally:
            self._handing = False
        if below is None:
            return
        if self.paused:
            self.blocked()
        elif left and self._registered:
            # Else it would pause us only past its own mark. Its producer stands between TLS and us, and is told, too:
            # it passes on the end of a pause that it knows of, and no other.
            below.producerPaused = True
            below.producer.pauseProducing()

    def _give(self, data: bytes) -> None:
        if self._tls is None:
            self._transport.write(data)
            if not self._stock:
                # TLS below a policy would keep small writes for the next turn, which may not come.
                flushTLS(self._transport)
        else:
            # All bytes of a connection go this one way, or they would overtake each other.
            writeTLS(self._tls, data)

    def _take(self, count: int) -> list[bytes | memoryview]:
        """Takes the next ``count`` bytes, or all there are, from what waits."""
        taken: list[bytes | memoryview] = []
        while count and self.size:
            while not self._begun:
                self._begun = list(self._begin())
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

    def _begin(self) -> list[bytes]:
        queue = self._queue
        assert queue is not None
        message = queue.popleft()
        self._begunIsData = _isData(message)
        if message is self._pongs:
            self._pongs = None
        self._queue = queue or None
        return message
