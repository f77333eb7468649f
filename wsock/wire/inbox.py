"""The way in: from a transport's bytes to an application's callbacks.

Rules:

* Messages are delivered one after the other and never within a call of the application's own: not from its
  `resumeProducing`, not while another of its callbacks is on the stack or not done.
* While a callback is not done, ``receiveQueue`` messages are taken in, so that Pings go on being answered. Whatever
  else can't be delivered waits as the bytes that came, and the transport is told to stop.
* A peer that does not read what it makes us send is not read either.
* Once our Close is queued, reading goes on to the peer's: what can neither be delivered nor wait is discarded.

`wsock.wire.protocol` is built on this, and has the way out and the end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine, Iterable
from sys import getsizeof
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from ..application import Application, SelfRegulating
from ..log import CAUGHT, letGo
from ..sansio.connection import Connection
from ..sansio.constants import DEFAULT_MAX_MESSAGE_SIZE
from ..sansio.events import BinaryReceived, Event, PongReceived, TextReceived
from ..settings import Settings
from .outbox import Outbox

#: Before the connection is open: a subclass does the opening handshake.
OPENING: Final = 0
#: From the end of the opening handshake until we leave the transport to itself.
OPEN: Final = 1
#: Nothing more is read: the last bytes are on their way, input is discarded.
ENDING: Final = 2
#: Nothing more is read or sent: the transport was told to drop the connection.
ABORTED: Final = 3
#: The transport is lost.
LOST: Final = 4
#: The callback for each event that an application hears of.
_CALLBACKS: Final[dict[type[Event], str]] = {
    BinaryReceived: "bytesMessageReceived",
    TextReceived: "textMessageReceived",
    PongReceived: "pongReceived",
}
#: A transport that was paused, and has given us more bytes since than TLS had in hand, was resumed behind our back.
_MUCH: Final = 65536
#: How many bytes are read, after a refusal or our Close, that nobody gets; a peer that sends more is aborted. As much
#: as systems have under way by default, twice.
_UNDELIVERED: Final = 2**24


def asDeferred(result: object) -> Deferred[Any] | None:
    """What a function of the application's gave to be waited for; a coroutine begins to run."""
    if isinstance(result, Coroutine):
        return Deferred.fromCoroutine(result)
    return result if isinstance(result, Deferred) else None


def asDecision(result: object) -> Deferred[Any] | None:
    """As `asDeferred`; of a decision, which may be one that is to be waited for itself.

    A coroutine may return what `streamApplication`'s function did, and that is a Deferred where it asks somebody.
    """
    if isinstance(result, Coroutine):
        return Deferred.fromCoroutine(_settled(result))
    if isinstance(result, Deferred):
        return result.addCallback(lambda value: asDecision(value) or value)
    return None


async def _settled(result: Any) -> Any:
    while isinstance(result, (Coroutine, Deferred)):
        result = await result
    return result


class Delivery:
    """Takes bytes in and delivers messages, at the application's pace."""

    __slots__ = (
        "__weakref__",
        "_application",
        "_bytesReceived",
        "_connection",
        "_continuation",
        "_delivering",
        "_discarding",
        "_events",
        "_exemptSince",
        "_held",
        "_life",
        "_outgoing",
        "_paused",
        "_phase",
        "_reactor",
        "_reading",
        "_receivedDiscarded",
        "_serving",
        "_settings",
        "_skipping",
        "_transport",
        "_undelivered",
    )

    _transport: Any
    _connection: Connection
    _outgoing: Outbox

    def __init__(self, reactor: IReactorTime, settings: Settings) -> None:
        self._reactor = reactor
        self._settings = settings
        self._phase = OPENING
        self._application: Application | None = None
        #: Events that wait for the application; None while there are none.
        self._events: deque[Event] | None = None
        #: Bytes that came while nothing could be done with them.
        self._held: bytes | bytearray | None = None
        #: A callback of the application is on the stack.
        self._delivering = False
        #: A callback of the application is not done.
        self._serving: Deferred[Any] | None = None
        #: The application wants no messages for now.
        self._paused = False
        #: The application wants no messages any more.
        self._discarding = False
        #: A message was discarded for want of room while closing: no later one is delivered, so that there is no gap.
        self._skipping = False
        #: The transport was not told to stop reading.
        self._reading = True
        self._continuation: IDelayedCall | None = None
        #: When something last came, or else showed that the peer is there.
        self._life = 0.0
        #: Since when the application wants nothing to be read; None while it does.
        self._exemptSince: float | None = None
        #: How many messages were received and never delivered.
        self._receivedDiscarded = 0
        #: How many bytes came after a refusal or our Close that nobody got.
        self._undelivered = 0
        #: How many bytes came, those of the opening handshake included.
        self._bytesReceived = 0

    # What the rest of the connection does

    def _unopenedReceived(self, data: bytes) -> None:
        """Bytes came while the connection was not open, or not any more."""
        raise NotImplementedError

    def _protocolEnded(self) -> None:
        """The peer's Close came, or its fault: nothing more is to be read."""
        raise NotImplementedError

    def _applicationFailed(self, failure: Failure, callback: str) -> None:
        """A callback raised, or its Deferred failed; ``callback`` is its name."""
        raise NotImplementedError

    def _isOurs(self, payload: bytes) -> bool:
        """Whether a Pong answers a Ping that the application did not send."""
        raise NotImplementedError

    def _answered(self, payload: bytes) -> None:
        """Such a Pong came."""
        raise NotImplementedError

    def abortConnection(self) -> None:
        """Drops the connection at once."""
        raise NotImplementedError

    def _tell(self) -> None:
        """The transport is lost, and the application has had all."""
        raise NotImplementedError

    # What the application asks for

    def pauseProducing(self) -> None:
        """Delivers no more messages and reads no more bytes until `resumeProducing`."""
        self._paused = True
        self._updateReading()

    def resumeProducing(self) -> None:
        """Delivers messages again, from the reactor's next turn on."""
        self._paused = False
        self._continueSoon()

    # From bytes to callbacks

    def dataReceived(self, data: bytes) -> None:
        """Takes bytes from the transport."""
        self._bytesReceived += len(data)
        if self._phase != OPEN:
            self._unopenedReceived(data)
            return
        self._life = self._reactor.seconds()
        outgoing = self._outgoing
        connection = self._connection
        if (
            self._delivering
            or self._held is not None
            or self._events is not None
            or ((self._paused or self._serving is not None or self._discarding or outgoing.paused) and self._isHeldUp())
        ):
            self._hold(data)
            if not self._reading and self._held is not None and len(self._held) >= _MUCH:
                # Somebody else has it read on: `ThrottlingFactory` of Twisted's, for all its connections at once.
                self._transport.pauseProducing()
            if not self._delivering:
                self._readAhead()
                self._updateReading()
            return
        outgoing.cork()
        self._delivering = True
        try:
            events = connection.receive_data(data)
            if len(events) == 1 and isinstance(events[0], (BinaryReceived, TextReceived)) and not self._skipping:
                # What most often comes: a message, which no reply goes before, and which ends nothing.
                if self._undelivered:
                    self._undelivered = 0
                self._dispatch(events[0])
            else:
                self._deliver(self._received(events))
                if connection.close_sent is not None:
                    self._countUndelivered(len(data), events)
            if connection.has_unread_data or self._held is not None:
                self._deliverWaiting()
        finally:
            self._delivering = False
            outgoing.uncork()
        if (
            self._events is not None
            or self._held is not None
            or outgoing.paused
            or self._phase != OPEN
            or connection.has_unread_data
        ):
            self._continue()

    def _receive(self, data: bytes, room: int | None = None) -> list[Event]:
        """Has the core decode bytes, and returns what the application is to hear of."""
        return self._received(self._connection.receive_data(data, room))

    def _received(self, events: list[Event]) -> list[Event]:
        """Does what the protocol asks for before anybody else hears of it; returns what the application is to."""
        connection = self._connection
        replies = connection.replies()
        if replies:
            if connection.close_sent is None:
                self._outgoing.writePongs(replies)
            else:
                self._outgoing.writeClose(replies)
        if self._phase == OPEN and (connection.close_received is not None or connection.failed is not None):
            self._phase = ENDING
            self._protocolEnded()
        if self._skipping:
            self._countDiscarded(events)
            return []
        return events

    def _deliver(self, events: list[Event]) -> None:
        """Delivers events while the application takes them; the rest waits."""
        outgoing = self._outgoing
        for index, event in enumerate(events):
            self._dispatch(event)
            # `_isHeldUp` is asked only where it may say yes: this runs for each message.
            if (self._paused or self._serving is not None or self._discarding or outgoing.paused) and self._isHeldUp():
                self._enqueue(events[index + 1 :])
                break

    def _deliverWaiting(self) -> None:
        """Delivers what waits, while the application takes it."""
        while not self._isHeldUp():
            if self._events is not None:
                event = self._events.popleft()
                if not self._events:
                    self._events = None
                self._dispatch(event)
            elif self._hasUnread():
                self._deliver(self._receive(self._takeHeld()))
            else:
                break

    def _dispatch(self, event: Event) -> None:
        application = self._application
        result: object
        try:
            if isinstance(event, BinaryReceived):
                result = application.bytesMessageReceived(event.data)  # type: ignore[union-attr]
            elif isinstance(event, TextReceived):
                result = application.textMessageReceived(event.text)  # type: ignore[union-attr]
            elif isinstance(event, PongReceived):
                if self._isOurs(event.payload):
                    self._answered(event.payload)
                    return
                result = application.pongReceived(event.payload)  # type: ignore[union-attr]
            else:
                return
        except CAUGHT:
            self._applicationFailed(Failure(), _CALLBACKS[type(event)])
            return
        if result is not None:
            self._serve(result, _CALLBACKS[type(event)])

    def _isHeldUp(self) -> bool:
        """Whether no message may be delivered now."""
        return (
            self._paused
            or self._serving is not None
            or self._discarding
            or (self._outgoing.paused and self._isStalled())
        )

    def _isStalled(self) -> bool:
        """Whether the peer does not read; then it is not read, else what it makes us send has no bound."""
        return (
            self._phase == OPEN
            and self._settings.slowConsumer == "wait"
            and not self._isClosing()
            and not self._outgoing.writable
            and not isinstance(self._application, SelfRegulating)
        )

    def _isClosing(self) -> bool:
        return self._connection.close_sent is not None

    def _hold(self, data: bytes) -> None:
        # Not a list: a peer that sends single bytes would fill it with objects of 34.
        if self._held is None:
            self._held = data
        else:
            if not isinstance(self._held, bytearray):
                self._held = bytearray(self._held)
            self._held += data

    def _countUndelivered(self, size: int, events: Iterable[Event] = ()) -> None:
        """Bytes came after a refusal or our Close, with these messages to deliver; a peer that floods us is aborted."""
        if not self._skipping and any(isinstance(event, (BinaryReceived, TextReceived)) for event in events):
            self._undelivered = 0
            return
        # A large message may be under way.
        limit = self._settings.maxMessageSize
        if limit is None and self._phase == OPEN and not self._skipping:
            # Without a limit nobody knows when it is too large; it has until the closing timeout.
            return
        self._undelivered += size
        if self._undelivered > max(_UNDELIVERED, limit or 0):
            self.abortConnection()

    def _takeHeld(self) -> bytes:
        held, self._held = self._held, None
        return b"" if held is None else bytes(held)

    def _hasUnread(self) -> bool:
        return self._held is not None or self._connection.has_unread_data

    def _readAhead(self) -> None:
        """Reads on while no message can be delivered: to answer Pings, and to find the peer's Close."""
        if not self._isHeldUp():
            # Delivery is about to go on.
            return
        closing = self._isClosing()
        if not closing and (self._paused or self._isStalled()):
            return
        while self._phase == OPEN and self._hasUnread():
            room = self._room()
            if not room and not closing:
                return
            data = self._takeHeld()
            events = self._receive(data, room or None)
            if closing:
                self._countUndelivered(len(data), events if room and not self._discarding else ())
            if room:
                self._enqueue(events)
            elif events:
                self._skipping = True
                self._countDiscarded(events)

    def _enqueue(self, events: list[Event]) -> None:
        """Has those events wait that an application can hear of."""
        if self._discarding:
            self._countDiscarded(events)
            return
        answers: list[bytes] = []
        for event in events:
            if isinstance(event, PongReceived) and self._isOurs(event.payload):
                answers.append(event.payload)
            elif isinstance(event, (BinaryReceived, TextReceived, PongReceived)):
                if self._events is None:
                    self._events = deque()
                self._events.append(event)
        # Last, since whoever waited for one may have delivery go on, or end.
        for payload in answers:
            self._answered(payload)

    def _room(self) -> int:
        """How many messages may be taken in: none where ``receiveQueue``, or as much as one of the largest, waits."""
        events = self._events
        room = self._settings.receiveQueue
        if events is None:
            return room
        size = 0
        for event in events:
            if isinstance(event, BinaryReceived):
                size += len(event.data)
            elif isinstance(event, TextReceived):
                # One emoji makes all characters of a str take 4 bytes.
                size += len(event.text) if event.text.isascii() else getsizeof(event.text)
        limit = self._settings.maxMessageSize
        return 0 if size >= (DEFAULT_MAX_MESSAGE_SIZE if limit is None else limit) else max(0, room - len(events))

    def _continue(self) -> None:
        """Goes on delivering, if something waits and nothing is in the way."""
        if self._delivering:
            return
        outgoing = self._outgoing
        outgoing.cork()
        self._delivering = True
        try:
            self._deliverWaiting()
        finally:
            self._delivering = False
            outgoing.uncork()
        self._readAhead()
        self._updateReading()
        if self._phase == LOST and self._serving is None and not self._hasWork():
            self._tell()

    def _continueSoon(self) -> None:
        """Goes on delivering in the reactor's next turn, and so not in the stack of whoever asks for it."""
        if self._continuation is None and self._application is not None:
            self._continuation = self._reactor.callLater(0, self._resumed)

    def _hasWork(self) -> bool:
        return not self._discarding and (self._events is not None or self._hasUnread())

    def _resumed(self) -> None:
        self._continuation = None
        self._continue()

    def _updateReading(self) -> None:
        """Tells the transport to read or not, as things stand."""
        if self._phase >= ABORTED or self._phase == OPENING:
            return
        exempt = self._isExempt()
        if exempt is not (self._exemptSince is not None):
            self._exemptChanged(exempt)
        reading = (
            self._phase == ENDING
            or self._isClosing()
            or not (self._paused or self._held is not None or self._isStalled() or self._room() == 0)
        )
        if reading != self._reading:
            self._reading = reading
            if reading:
                self._transport.resumeProducing()
            else:
                self._transport.pauseProducing()

    def _isExempt(self) -> bool:
        """Whether it is the application's will that nothing is read.

        Not while the transport takes no more: whether the peer takes what it is sent can be seen without reading, and
        what the application waits for may be just that.
        """
        return not self._outgoing.paused and (self._paused or self._room() == 0)

    def _exemptChanged(self, exempt: bool) -> None:
        """The time in which the application wants nothing to be read begins or ends; for the peer it does not count."""
        now = self._reactor.seconds()
        if self._exemptSince is None:
            self._exemptSince = now
        else:
            self._exempted(now - self._exemptSince)
            self._exemptSince = None

    def _exempted(self, seconds: float) -> None:
        """A time has passed in which nothing could be heard of the peer."""
        self._life = min(self._life + seconds, self._reactor.seconds())

    # Callbacks that take their time

    def _serve(self, result: object, callback: str | list[str]) -> None:
        """Waits for what a callback gave.

        Args:
            result: what it gave.
            callback: its name; where several are waited for, a list that has the name of the one that failed by then.
        """
        deferred = asDeferred(result)
        if deferred is not None:
            self._serving = deferred
            deferred.addCallbacks(self._served, self._servedFailed, errbackArgs=(callback,))

    def _served(self, result: object) -> object:
        self._serving = None
        self._continue()
        return result

    def _servedFailed(self, failure: Failure, callback: str | list[str]) -> None:
        self._serving = None
        if self._discarding and failure.check(CancelledError):
            letGo(failure)
        else:
            self._applicationFailed(failure, callback if isinstance(callback, str) else callback[0])
        self._continue()

    def _discard(self) -> None:
        """Delivers no message any more."""
        self._discarding = True
        self._countDiscarded(self._events or ())
        self._events = None

    def _countDiscarded(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, (BinaryReceived, TextReceived)):
                self._receivedDiscarded += 1
