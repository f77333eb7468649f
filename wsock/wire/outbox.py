"""The one path of a connection to its transport: nothing else in wsock calls a transport's ``write``.

* **Cork.** All that a connection writes while it is being fed leaves in one write, when that is over.
* **Eager.** Where nothing is buffered the socket is tried at once. Stock Twisted registers for writability, polls,
  and unregisters: three system calls more for each message that would have fitted anyway.
* **Once a turn.** A second write in one turn of the reactor, outside of `cork`, waits for the end of that turn.
* **Our queue.** The transport is given bytes while it takes them; the rest waits here as whole messages, each with its
  kind, which can be counted, limited and dropped.
* A large payload is sent from where it lies, however many attempts that takes.

A driver of `wsock.wire.transports` knows the transport, and says whether its socket may be tried.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IPushProducer, IReactorTime
from zope.interface import implementer

from .transports import HANDOVER_BYTES, JOIN_UP_TO_BYTES, MAX_BUFFERS, PLAIN, driverOf, mayTrySocket, trySocket
from .turn import sharedTurn

#: Corked bytes leave early at 64 KiB, or at ``highWaterMark`` or ``sendLimit`` where these are smaller.
_CORK_BYTES: Final = 2**16
#: Corked messages leave early past so many: 64 KiB of empty messages would take 5 MB of memory.
_CORK_MESSAGES: Final = 2048
#: The memory in bytes that a waiting message is counted for beside its own bytes; a list, a bytes object and a place in
#: the queue take some 150. A limit of bytes is a limit of that many messages, too.
_MESSAGE_OVERHEAD_BYTES: Final = 256
#: ``sendLimit`` allows messages with at least this overhead in bytes, however small it is: 4,096 of them.
_MIN_LIMIT_BYTES: Final = 2**20
#: ``highWaterMark`` allows messages with at least this overhead in bytes: 256 of them.
_MIN_MARK_BYTES: Final = 2**16
#: An empty rest, for when no message has begun to leave: one list for all connections, since a list of its
#: own takes 72 bytes. It stays empty.
_NOTHING: Final[list[bytes | memoryview]] = []


class Kind(IntEnum):
    """The kinds of messages; the first four are the application's messages, whole or in fragments."""

    DATA = 0
    FIRST_FRAGMENT = 1
    NEXT_FRAGMENT = 2
    LAST_FRAGMENT = 3
    PING = 4
    PONG = 5
    CLOSE = 6
    HTTP = 7


class Marked(list[bytes]):
    """The buffers of a queued message, with its kind; whole data messages are plain lists, and cost no more."""

    __slots__ = ("kind",)

    def __init__(self, buffers: list[bytes], kind: Kind) -> None:
        super().__init__(buffers)
        self.kind = kind


def _mark(message: list[bytes], kind: Kind) -> list[bytes]:
    return Marked(message, kind) if kind else message


def _kindOf(message: list[bytes]) -> Kind:
    return message.kind if isinstance(message, Marked) else Kind.DATA


def _countMessages(kinds: Iterable[Kind]) -> int:
    """Counts the messages that frames of these kinds belong to; a message in fragments counts once, ended or not."""
    count, isOpen = 0, False
    for kind in kinds:
        count += kind is Kind.DATA or kind is Kind.LAST_FRAGMENT
        if Kind.FIRST_FRAGMENT <= kind <= Kind.LAST_FRAGMENT:
            isOpen = kind is not Kind.LAST_FRAGMENT
    return count + isOpen


@dataclass(frozen=True, slots=True)
class OutboxLimits:
    """The limits of an outbox; one object for all connections with the same, which `makeLimits` returns.

    Attributes:
        highWaterMark: with more bytes unsent a connection is not writable.
        writableMessages: nor is it with more messages.
        sendLimit: with more bytes behind the first message nothing more is taken.
        maxMessages: nor with more messages.
        corkBytes: corked bytes leave early from here on.
        dropsOldest: whether the oldest messages are dropped at the limit, and the newest is taken.
    """

    highWaterMark: float
    writableMessages: float
    sendLimit: float
    maxMessages: float
    corkBytes: float
    dropsOldest: bool


@lru_cache
def makeLimits(highWaterMark: int | None, sendLimit: int | None, dropsOldest: bool = False) -> OutboxLimits:
    """Returns the limits that an outbox keeps.

    Args:
        highWaterMark: `Settings.highWaterMark`.
        sendLimit: `Settings.sendLimit`.
        dropsOldest: whether the oldest messages are dropped at the limit.
    """
    mark = float("inf") if highWaterMark is None else highWaterMark
    limit = float("inf") if sendLimit is None else sendLimit
    return OutboxLimits(
        mark,
        max(mark, _MIN_MARK_BYTES) / _MESSAGE_OVERHEAD_BYTES,
        limit,
        max(limit, _MIN_LIMIT_BYTES) / _MESSAGE_OVERHEAD_BYTES,
        min(_CORK_BYTES if highWaterMark is None else mark, limit),
        dropsOldest,
    )


class OutboxOwner(Protocol):
    """The connection that an outbox belongs to."""

    def outboxWritable(self) -> None:
        """The transport has taken bytes, and the outbox is writable."""

    def outboxBlocked(self) -> None:
        """The transport takes no more for now."""


@implementer(IPushProducer)
class Outbox:
    """The bytes that one connection sends, on their way to its transport.

    Attributes:
        size: the number of bytes that wait here, in whole messages and the rest of the one that has begun to leave.
        bytesHandedOver: how many bytes were given away so far, to the system or the transport.
        dropped: how many messages were dropped so far: too much was unsent, or the connection was aborted or lost.
        driver: the driver of the transport, `PLAIN` once it is lost.
        paused: whether the transport takes no more for now.
    """

    __slots__ = (
        "_aborted",
        "_corked",
        "_current",
        "_currentKind",
        "_eager",
        "_ended",
        "_handing",
        "_isClear",
        "_limits",
        "_owner",
        "_pongs",
        "_queue",
        "_registered",
        "_restIsDropped",
        "_single",
        "_transport",
        "_turn",
        "_turnNumber",
        "_whenDrained",
        "bytesHandedOver",
        "driver",
        "dropped",
        "paused",
        "size",
    )

    def __init__(self, transport: Any, reactor: IReactorTime, limits: OutboxLimits, owner: OutboxOwner) -> None:
        """Starts with an empty queue.

        Args:
            transport: Twisted's; only this object writes to it.
            reactor: whose turns it keeps.
            limits: from `makeLimits`.
            owner: the connection; until `lost` the two hold each other.
        """
        self._transport = transport
        self.driver = driverOf(transport)
        #: The driver's `isEager`, which is asked for each message.
        self._eager = self.driver.isEager
        #: Whether the socket may be tried without `mayTrySocket`: that has said so, and since then the transport was
        #: given nothing, nor did we stop to be its producer. Other hands have no way to have it send what is not ours;
        #: for ``startTLS`` the transport is asked each time.
        self._isClear = False
        self._turn = sharedTurn(reactor)
        self._turnNumber = -1
        self._limits = limits
        self._owner: OutboxOwner | None = owner
        #: Whole messages and control frames, each the list of its buffers, `Marked` where it is no whole data message.
        #: None without any: an empty deque has 600 bytes.
        self._queue: deque[list[bytes]] | None = None
        #: The only message that waits, of one buffer, before there is a queue: the first that was written in a cork.
        self._single: bytes | None = None
        #: The rest of the message that has begun to leave, and its kind.
        self._current = _NOTHING
        self._currentKind = Kind.DATA
        #: The Pongs among the queue, which newer ones may replace.
        self._pongs: Marked | None = None
        self.size = 0
        self.bytesHandedOver = 0
        self.dropped = 0
        self.paused = False
        #: The message that is being written in fragments was dropped: so is each fragment that is still to be written.
        self._restIsDropped = False
        #: The transport's ``write`` is on the stack.
        self._handing = False
        self._corked = False
        self._registered = False
        self._aborted = False
        #: The transport takes nothing any more, and has not said so by a loss yet.
        self._ended = False
        self._whenDrained: Callable[[], None] | None = None

    # The connection's requests

    def setLimits(self, limits: OutboxLimits) -> None:
        """Keeps other limits from now on."""
        self._limits = limits

    def hold(self) -> None:
        """Holds back all that is written until `register`: a client's messages wait for the server's answer."""
        self.paused = True

    def writeAhead(self, data: bytes) -> None:
        """Sends bytes before all that `hold` holds back: a client's request."""
        if not self._aborted:
            self.driver.write(self._transport, data)

    def register(self) -> None:
        """Becomes the transport's producer, from the end of the opening handshake on; sends what `hold` held back."""
        self._registered = True
        self.paused = False
        self._transport.registerProducer(self, True)
        if not self._corked:
            self.flush()

    def unregister(self) -> None:
        """Is the transport's producer no longer, so that it can close; what waits is handed over."""
        if self._registered:
            self._registered = self._isClear = False
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
        if not self.driver.knowsBytesHeld and not (self.paused and self._registered):
            return self.size
        held = self.driver.bytesHeld(self._transport)
        # Of any other transport one thing is known: it pauses us when it holds more than 64 KiB.
        return self.size + (HANDOVER_BYTES if held is None else held)

    @property
    def isOverLimit(self) -> bool:
        """Whether more waits behind the first message than ``sendLimit``, or so many that they take as much memory.

        The first message is the one that has begun to leave, or else the next one. It does not count, nor does what the
        protocol says before it: a large message, and small ones behind it, are no sign of a slow peer. A Ping before it
        counts as any Ping. Each fragment counts as a message, so that a message without end has a bound, too.
        """
        queue, limits = self._queue, self._limits
        if queue is None:
            return False
        if len(queue) > limits.maxMessages:
            return True
        if self.size <= limits.sendLimit:
            return False
        waiting = self.size
        if self._current:
            if self._currentKind is not Kind.PING:
                waiting -= sum(map(len, self._current))
            if self._currentKind <= Kind.LAST_FRAGMENT:
                return waiting > limits.sendLimit
        for message in queue:
            kind = _kindOf(message)
            if kind is not Kind.PING:
                waiting -= sum(map(len, message))
            if kind <= Kind.LAST_FRAGMENT:
                break
        return waiting > limits.sendLimit

    @property
    def bytesInFlight(self) -> int:
        """How many bytes the peer has not taken, as far as can be seen: `unsent`, and what the system holds.

        The system says that a socket is writable when a third of its buffer is free, and that may be a megabyte: a
        slow reader can be seen to take bytes long before.
        """
        inFlight = self.driver.bytesInFlight(self._transport)
        return self.unsent if inFlight is None else self.size + inFlight

    @property
    def bytesTaken(self) -> int:
        """How many bytes the peer has taken, as far as can be seen; over TLS a little less than it has."""
        return self.bytesHandedOver + self.size - self.bytesInFlight

    @property
    def writable(self) -> bool:
        """Whether no more than ``highWaterMark`` is unsent, as always while the transport takes it."""
        limits = self._limits
        return not self.paused or (
            self.unsent <= limits.highWaterMark and len(self._queue or ()) <= limits.writableMessages
        )

    def write(self, message: list[bytes], kind: Kind = Kind.DATA) -> bool:
        """Sends a message, now or later.

        Args:
            message: the buffers of one whole frame, or of several that may only be dropped together.
            kind: its kind; `writePing` and `writeFragment` give any other than DATA.

        Returns:
            False, and nothing was sent, if more than ``sendLimit`` waits already, see `isOverLimit`; never after
            `abort`, nor where the oldest are dropped for it, but for fragments whose first one has left.
        """
        if self._aborted:
            return True
        if not (self.size or self.paused) and len(message) == 1:
            # The usual cases: nothing waits.
            frame = message[0]
            if self._corked:
                if not kind and len(frame) < self._limits.corkBytes and len(frame) <= HANDOVER_BYTES:
                    self._single = frame
                    self.size = len(frame)
                    return True
            elif self._eager and self._turnNumber != self._turn.number and self._maySend():
                # As in `uncork`: a call for both would take each message longer.
                self._turnNumber = self._turn.begin()
                try:
                    sent: int = self._transport.socket.send(frame)
                except OSError:
                    sent = 0
                self.bytesHandedOver += sent
                if sent != len(frame):
                    self._keepRest(frame, sent, kind)
                return True
        queue = self._queue
        if queue is not None and not (kind or self.paused) and self in self._turn.waiting:
            # Nearly all of a burst: others wait for the end of this turn already.
            queue.append(message)
            for buffer in message:
                self.size += len(buffer)
            if self.size >= self._limits.corkBytes or len(queue) > _CORK_MESSAGES:
                self.flush()
            return True
        if self.paused and self.isOverLimit:
            return self._writePastLimit(message, kind)
        self._append(Marked(message, kind) if kind else message)
        assert self._queue is not None
        if self.size >= self._limits.corkBytes or len(self._queue) > _CORK_MESSAGES:
            self.flush()
        elif self._corked or self.paused:
            pass
        elif not (self._eager or self.driver.waitsForTurn):
            self.flush()
        elif self._turnNumber != self._turn.number:
            self._turnNumber = self._turn.begin()
            self.flush()
        else:
            self._turn.wait(self)
        return True

    def writePing(self, message: list[bytes]) -> bool:
        """Sends a Ping as `write` sends a message; where the oldest are dropped, a Ping is dropped, too, uncounted."""
        return self.write(message, Kind.PING)

    def writeFragment(self, message: list[bytes], kind: Kind) -> bool:
        """Sends one fragment of a message as `write` sends a message.

        The fragments of one message are dropped together, also those that are still to be written, or else none of
        them: none that has its first one on the way. The message is counted as dropped once.

        Args:
            message: the buffers of one frame.
            kind: FIRST_FRAGMENT, NEXT_FRAGMENT or LAST_FRAGMENT. Other data messages wait for the last.
        """
        if self._restIsDropped:
            self._restIsDropped = kind is not Kind.LAST_FRAGMENT
            return True
        return self.write(message, kind)

    def _writePastLimit(self, message: list[bytes], kind: Kind) -> bool:
        """Refuses a message for which there is no room, or drops the oldest for it."""
        if not self._limits.dropsOldest:
            return False
        hasRoom = self._dropOldest()
        continues = kind is Kind.NEXT_FRAGMENT or kind is Kind.LAST_FRAGMENT
        if continues and self._restIsDropped:
            # Its own message was the oldest.
            self._restIsDropped = kind is not Kind.LAST_FRAGMENT
        elif hasRoom:
            self._append(_mark(message, kind))
        elif continues:
            return False
        else:
            # Fragments that have to stay take all the room.
            self.dropped += kind is not Kind.PING
            self._restIsDropped = self._restIsDropped or kind is Kind.FIRST_FRAGMENT
        return True

    def writeClose(self, message: list[bytes]) -> None:
        """Sends a Close and the bytes that leave with it; no limit holds it back, and it is not dropped for others."""
        self._writeAlways(Marked(message, Kind.CLOSE))

    def writeHTTP(self, message: list[bytes]) -> None:
        """Sends a whole HTTP answer; no limit holds it back, and it is not dropped for others."""
        self._writeAlways(Marked(message, Kind.HTTP))

    def writePongs(self, pongs: list[bytes]) -> None:
        """Sends the Pongs of one call, in the place of earlier ones that have not left.

        RFC 6455 section 5.5.3 allows to answer the latest Ping only; a peer that floods us with Pings and reads
        nothing is held to the memory of one call.
        """
        frames = b"".join(pongs)
        waiting = self._pongs
        if self.paused and waiting is not None:
            self.size += len(frames) - len(waiting[0])
            waiting[0] = frames
            return
        message = Marked([frames], Kind.PONG)
        self._writeAlways(message)
        if self._queue is not None and self._queue[-1] is message:
            self._pongs = message

    def _writeAlways(self, message: Marked) -> None:
        if self._aborted:
            return
        self._append(message)
        if not self._corked:
            self.flush()

    def cork(self) -> None:
        """Holds back what is written until `uncork`, or until ``highWaterMark`` or ``sendLimit`` is reached."""
        self._corked = True

    def uncork(self) -> None:
        """Sends what `cork` held back."""
        self._corked = False
        frame = self._single
        if frame is not None and self._eager and not self.paused and self._maySend():
            self._single = None
            self.size = 0
            try:
                sent: int = self._transport.socket.send(frame)
            except OSError:
                sent = 0
            self.bytesHandedOver += sent
            if sent != len(frame):
                self._keepRest(frame, sent, Kind.DATA)
        if self.size or self._whenDrained is not None:
            self.flush()

    def dropQueue(self, refused: int = 0) -> int:
        """Drops the messages that have not begun to leave, and counts the messages among it; only a Close is to follow.

        Args:
            refused: how many messages are to be counted, too, that `write` has not taken.

        Returns:
            how many messages were dropped.
        """
        self._queueSingle()
        dropped = _countMessages(map(_kindOf, self._queue or ()))
        self.dropped += dropped + refused
        self._queue = self._pongs = None
        self.size = sum(map(len, self._current))
        return dropped

    def _dropOldest(self) -> bool:
        """Drops the oldest messages that have not begun to leave, until no more waits than may be.

        Returns:
            whether that was enough: fragments whose first one has left are not dropped.
        """
        queue = self._queue
        assert queue is not None
        # The messages before this place have to stay: mostly none, the answer of the handshake, Pongs, or fragments.
        place = 0
        while place < len(queue) and self.isOverLimit:
            kind = _kindOf(queue[place])
            if kind is Kind.DATA or kind is Kind.FIRST_FRAGMENT or kind is Kind.PING:
                self._drop(queue, place)
                self.dropped += kind is not Kind.PING
                if kind is Kind.FIRST_FRAGMENT:
                    self._restIsDropped = not self._dropFragments(queue, place)
            else:
                place += 1
        return not self.isOverLimit

    def _dropFragments(self, queue: deque[list[bytes]], place: int) -> bool:
        """Drops the fragments from a place on that belong to one message; returns whether its last one was there."""
        while place < len(queue):
            kind = _kindOf(queue[place])
            if kind is Kind.NEXT_FRAGMENT or kind is Kind.LAST_FRAGMENT:
                self._drop(queue, place)
                if kind is Kind.LAST_FRAGMENT:
                    return True
            else:
                place += 1
        return False

    def _drop(self, queue: deque[list[bytes]], place: int) -> None:
        self.size -= sum(map(len, queue[place]))
        del queue[place]

    def whenDrained(self, drained: Callable[[], None]) -> None:
        """Calls ``drained`` once, as soon as nothing waits here: perhaps now, after `abort` never.

        It takes the place of an earlier one that was not called.
        """
        if self._aborted:
            return
        self._whenDrained = drained
        if not self._corked:
            self.flush()

    def abort(self) -> None:
        """Drops all that waits, and counts it; nothing leaves any more."""
        self._aborted = True
        self._whenDrained = None
        self._queueSingle()
        # The message that has begun to leave has not arrived.
        begun = (self._currentKind,) if self._current else ()
        self.dropped += _countMessages((*begun, *map(_kindOf, self._queue or ())))
        self._current = _NOTHING
        self._queue = self._pongs = None
        self.size = 0
        self._turn.remove(self)

    def lost(self) -> None:
        """The transport is lost: the two let go of each other."""
        self.abort()
        self._owner = None
        if self._registered:
            self.driver.releaseProducer(self._transport)
        self._transport = None
        self.driver = PLAIN
        self._eager = self._isClear = self._registered = self.paused = False

    # IPushProducer, for the transport

    def pauseProducing(self) -> None:
        """The transport takes no more for now."""
        self.paused = True
        if not self._handing or not self.driver.pushes:
            self._reportBlocked()

    def resumeProducing(self) -> None:
        """The transport has sent all that it held."""
        if self._ended:
            return
        self.paused = False
        if not self._corked:
            self.flush()
        if self.writable and not self._handing and self._owner is not None:
            self._owner.outboxWritable()

    def stopProducing(self) -> None:
        """The transport is lost; its protocol is told so, too, and acts."""

    # How it leaves

    def _reportBlocked(self) -> None:
        if self._owner is not None:
            self._owner.outboxBlocked()

    def _maySend(self) -> bool:
        """Whether the socket may be tried."""
        transport = self._transport
        if self._isClear and not transport.TLS:
            return True
        may = mayTrySocket(transport)
        self._isClear = may and self._registered
        return may

    def _queueSingle(self) -> None:
        frame, self._single = self._single, None
        if frame is not None:
            self._queue = deque(([frame],))

    def _append(self, message: list[bytes]) -> None:
        if self._single is not None:
            self._queueSingle()
        if self._queue is None:
            self._queue = deque((message,))
        else:
            self._queue.append(message)
        for buffer in message:
            self.size += len(buffer)

    def flush(self) -> None:
        """Gives the system, or else the transport, what they take."""
        if self._handing:
            # Bytes on their way must not be overtaken; the first caller goes on.
            return
        while self.size and not self.paused:
            if not self._eager or not self._maySend():
                self._handOver()
            elif not self._trySocket():
                self._handOver()
                if self._registered:
                    self.driver.pauseProducer(self._transport)
        if self._whenDrained is not None and not self.size:
            drained, self._whenDrained = self._whenDrained, None
            drained()

    def _keepRest(self, frame: bytes, sent: int, kind: Kind) -> None:
        """Has a frame, of which the socket did not take all, go the usual way."""
        if sent:
            self._current = [memoryview(frame)[sent:]]
            self._currentKind = kind
            self.size = len(frame) - sent
        else:
            self._append(_mark([frame], kind))
        self.flush()

    def _trySocket(self) -> bool:
        """Tries the socket once; returns whether it took all that it was given."""
        if self._single is not None:
            self._queueSingle()
        queue = self._queue
        try:
            if queue is not None and len(queue) == 1 and len(queue[0]) == 1 and not self._current:
                # The most frequent case: one frame, which is all there is.
                given = self.size
                sent: int = self._transport.socket.send(queue[0][0])
            else:
                sent, given = trySocket(self._transport, self._waiting())
        except OSError:
            # Full, or lost: the transport meets the same error, in the reactor's stack and not in our caller's.
            return False
        self.bytesHandedOver += sent
        if sent == self.size:
            self._current = _NOTHING
            self._queue = self._pongs = None
            self.size = 0
            return True
        self._takeBytes(sent)
        return 0 < sent == given

    def _waiting(self) -> list[bytes | memoryview]:
        """The buffers that wait: all of them, or the first so many of a long queue."""
        buffers: list[bytes | memoryview] = list(self._current)
        for message in self._queue or ():
            if self.size > JOIN_UP_TO_BYTES and buffers and len(buffers) + len(message) > MAX_BUFFERS:
                break
            buffers += message
        return buffers

    def _handOver(self) -> None:
        """Gives the transport its next portion; of what TLS makes of it, the socket gets at once what it takes."""
        driver, transport = self.driver, self._transport
        portion, self._single = self._single, None
        if portion is None:
            portion = b"".join(self._takeBytes(driver.handoverBytes))
        else:
            # It is all there is.
            self.size = 0
        self.bytesHandedOver += len(portion)
        left: int | None = 0
        self._isClear = False
        self._handing = True
        try:
            driver.write(transport, portion)
            if driver.pushes:
                left = driver.push(transport) if self._turn.allows(len(portion)) else driver.bytesHeld(transport)
        finally:
            self._handing = False
        if not driver.pushes:
            return
        if self.paused:
            self._reportBlocked()
        elif left and self._registered:
            driver.pauseProducer(transport)

    def _takeBytes(self, count: int) -> list[bytes | memoryview]:
        """Takes the next ``count`` bytes, or all there are, from what waits."""
        taken: list[bytes | memoryview] = []
        while count and self.size:
            while not self._current:
                self._current = list(self._begin())
            buffer = self._current[0]
            if len(buffer) > count:
                view = memoryview(buffer)
                buffer, self._current[0] = view[:count], view[count:]
            else:
                del self._current[0]
            taken.append(buffer)
            count -= len(buffer)
            self.size -= len(buffer)
        return taken

    def _begin(self) -> list[bytes]:
        queue = self._queue
        assert queue is not None
        message = queue.popleft()
        self._currentKind = _kindOf(message)
        if message is self._pongs:
            self._pongs = None
        self._queue = queue or None
        return message
