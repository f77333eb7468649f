"""The way in: from a transport's bytes to an application's callbacks.

Rules:

* Messages are delivered one after the other and never within a call of the application's own: not from its
  `resumeProducing`, not while another of its callbacks is on the stack or not done.
* What can't be delivered waits: some messages, decoded, so that Pings go on being answered; beyond that the bytes as
  they came, and the transport is told to stop.
* A peer that does not read what it makes us send is not read either.

`wsock.protocol` is built on this, and has the way out and the end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from .contract import Application, Settings
from .outgoing import Outgoing
from .sansio.connection import Connection
from .sansio.constants import DEFAULT_MAX_MESSAGE_SIZE
from .sansio.events import BinaryReceived, Event, PongReceived, TextReceived

#: Before the connection is open: a subclass does the opening handshake.
OPENING: Final = 0
#: From the end of the opening handshake until we leave the transport to itself.
OPEN: Final = 1
#: Nothing more is read: the last bytes are on their way, input is discarded.
ENDING: Final = 2
#: The transport is lost.
LOST: Final = 3


class Delivery:
    """Takes bytes in and delivers messages, at the application's pace."""

    __slots__ = (
        "_application",
        "_connection",
        "_continuation",
        "_delivering",
        "_discarding",
        "_events",
        "_held",
        "_outgoing",
        "_paused",
        "_phase",
        "_reactor",
        "_reading",
        "_serving",
        "_settings",
        "transport",
    )

    transport: Any
    _connection: Connection
    _outgoing: Outgoing

    def __init__(self, reactor: IReactorTime, settings: Settings) -> None:
        self._reactor = reactor
        self._settings = settings
        self._phase = OPENING
        self._application: Application | None = None
        #: Events that wait for the application; None while there are none.
        self._events: deque[Event] | None = None
        #: Bytes that came while nothing could be done with them.
        self._held: list[bytes] = []
        #: A callback of the application is on the stack.
        self._delivering = False
        #: A callback of the application is not done.
        self._serving: Deferred[Any] | None = None
        #: The application wants no messages for now.
        self._paused = False
        #: The application wants no messages any more.
        self._discarding = False
        #: The transport was not told to stop reading.
        self._reading = True
        self._continuation: IDelayedCall | None = None

    # What the rest of the connection does

    def _unopenedReceived(self, data: bytes) -> None:
        """Bytes came while the connection was not open, or not any more."""
        raise NotImplementedError

    def _protocolEnded(self) -> None:
        """The peer's Close came, or its fault: nothing more is to be read."""
        raise NotImplementedError

    def _applicationFailed(self, failure: Failure) -> None:
        """A callback raised, or its Deferred failed."""
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
        if self._continuation is None and self._application is not None:
            self._continuation = self._reactor.callLater(0, self._resumed)

    # From bytes to callbacks

    def dataReceived(self, data: bytes) -> None:
        """Takes bytes from the transport."""
        if self._phase != OPEN:
            self._unopenedReceived(data)
            return
        if self._delivering or self._held or self._events is not None or self._isHeldUp():
            self._takeIn(data)
            return
        outgoing = self._outgoing
        outgoing.cork()
        self._delivering = True
        try:
            self._deliver(self._receive(data))
        finally:
            self._delivering = False
            outgoing.uncork()
        if self._events is not None or outgoing.paused or self._connection.has_unread_data:
            self._continue()

    def _receive(self, data: bytes) -> list[Event]:
        """Has the core decode bytes, and does what the protocol asks for before anybody else hears of it."""
        connection = self._connection
        events = connection.receive_data(data)
        replies = connection.replies()
        if replies and self._phase != LOST:
            if connection.close_sent is None:
                self._outgoing.writePongs(replies)
            else:
                self._outgoing.writeControl(replies)
        if self._phase == OPEN and (connection.close_received is not None or connection.failed is not None):
            self._phase = ENDING
            self._protocolEnded()
        return events

    def _deliver(self, events: list[Event]) -> None:
        """Delivers events while the application takes them; the rest waits."""
        for index, event in enumerate(events):
            self._dispatch(event)
            if self._isHeldUp():
                rest = events[index + 1 :]
                if rest and not self._discarding:
                    self._events = deque(rest)
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
                result = application.pongReceived(event.payload)  # type: ignore[union-attr]
            else:
                return
        except Exception:
            self._applicationFailed(Failure())
            return
        if result is not None:
            self._serve(result)

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
        return self._phase == OPEN and not self._isClosing() and not self._outgoing.writable

    def _isClosing(self) -> bool:
        return self._connection.close_sent is not None

    def _takeIn(self, data: bytes) -> None:
        """Takes bytes while no message can be delivered: Pings are answered, some messages wait."""
        if self._delivering:
            self._held.append(data)
        elif self._isClosing():
            self._seekClose(data)
        elif self._paused or self._held or self._serving is None or self._isFull():
            self._held.append(data)
            self._updateReading()
        else:
            self._enqueue(self._receive(data))
            while self._connection.has_unread_data and not self._isFull():
                self._enqueue(self._receive(b""))
            self._updateReading()

    def _seekClose(self, data: bytes) -> None:
        """Reads on to the peer's Close, since we have said that we go; what can't be delivered or wait is discarded."""
        self._held.append(data)
        events = self._receive(self._takeHeld())
        while True:
            if not self._discarding and not self._isFull():
                self._enqueue(events)
            if not self._connection.has_unread_data:
                return
            events = self._receive(b"")

    def _takeHeld(self) -> bytes:
        data = b"".join(self._held)
        self._held.clear()
        return data

    def _enqueue(self, events: list[Event]) -> None:
        if not events:
            return
        if self._events is None:
            self._events = deque(events)
        else:
            self._events.extend(events)

    def _isFull(self) -> bool:
        """Whether as much waits for the application as may: ``receiveQueue`` messages, or one of the largest."""
        events = self._events
        if events is None:
            return False
        if len(events) >= self._settings.receiveQueue:
            return True
        size = 0
        for event in events:
            if isinstance(event, BinaryReceived):
                size += len(event.data)
            elif isinstance(event, TextReceived):
                size += len(event.text)
        limit = self._settings.maxMessageSize
        return size >= (DEFAULT_MAX_MESSAGE_SIZE if limit is None else limit)

    def _continue(self) -> None:
        """Goes on delivering, if something waits and nothing is in the way."""
        if self._delivering:
            return
        outgoing = self._outgoing
        outgoing.cork()
        self._delivering = True
        try:
            while not self._isHeldUp():
                if self._events is not None:
                    event = self._events.popleft()
                    if not self._events:
                        self._events = None
                    self._dispatch(event)
                elif self._held or self._connection.has_unread_data:
                    self._enqueue(self._receive(self._takeHeld()))
                else:
                    break
        finally:
            self._delivering = False
            outgoing.uncork()
        self._updateReading()
        if self._phase == LOST and self._serving is None and not self._hasWork():
            self._tell()

    def _hasWork(self) -> bool:
        return not self._discarding and bool(self._events or self._held or self._connection.has_unread_data)

    def _resumed(self) -> None:
        self._continuation = None
        if not self._paused:
            self._continue()

    def _writabilityChanged(self) -> None:
        if self._phase != OPENING and not self._delivering:
            self._continue()

    def _updateReading(self) -> None:
        """Tells the transport to read or not, as things stand."""
        if self._phase == LOST:
            return
        reading = (
            self._phase == ENDING
            or self._isClosing()
            or not (self._paused or self._held or self._isFull() or self._isStalled())
        )
        if reading != self._reading:
            self._reading = reading
            if reading:
                self.transport.resumeProducing()
            else:
                self.transport.pauseProducing()

    # Callbacks that take their time

    def _serve(self, result: object) -> None:
        if isinstance(result, Coroutine):
            result = Deferred.fromCoroutine(result)
        if isinstance(result, Deferred):
            self._serving = result
            result.addCallbacks(self._served, self._servedFailed)

    def _served(self, ignored: object) -> None:
        self._serving = None
        self._continue()

    def _servedFailed(self, failure: Failure) -> None:
        self._serving = None
        if not (self._discarding and failure.check(CancelledError)):
            self._applicationFailed(failure)
        self._continue()

    def _discard(self) -> None:
        """Delivers no message any more."""
        self._discarding = True
        self._events = None
