"""The way in: from a transport's bytes to an application's callbacks.

Rules:

* Messages are delivered one after the other and never within a call of the application's own: not from its
  `resumeProducing`, not while another of its callbacks is on the stack or not done.
* While a callback is not done, ``receiveQueue`` messages are taken in, so that Pings go on being answered. All other
  input waits as the bytes that came, and the transport is told to stop.
* A peer that does not read what it makes us send is not read either.
* Once our Close is queued, reading goes on to the peer's: input that can neither be delivered nor wait is discarded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from sys import getsizeof
from typing import Any, Final, Protocol
from weakref import proxy

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from ..application import Application, appliesBackpressure
from ..log import APPLICATION_ERRORS, CANCELLATIONS, letGo
from ..results import asDeferred
from ..sansio.connection import Connection
from ..sansio.constants import DEFAULT_MAX_MESSAGE_SIZE
from ..sansio.events import BinaryReceived, Event, PongReceived, TextReceived
from ..settings import Settings
from .keepalive import isOurPong
from .outbox import Outbox
from .timer import Timer
from .turn import sharedTurn

#: Bits that say why no message is delivered.
#: The application has paused.
_PAUSED: Final = 1
#: A callback of the application is not done.
_PENDING: Final = 2
#: Messages are discarded, and delivered no more.
_DISCARDING: Final = 4
#: A callback of the application is on the stack. This one does not hold delivery up, but keeps it from being entered
#: a second time.
_DELIVERING: Final = 8
#: The bits that hold delivery up.
_HOLDING: Final = _PAUSED | _PENDING | _DISCARDING
#: The callback for each event that is delivered to an application.
_CALLBACKS: Final[dict[type[Event], str]] = {
    BinaryReceived: "bytesMessageReceived",
    TextReceived: "textMessageReceived",
    PongReceived: "pongReceived",
}
#: Bytes that TLS may still deliver after a pause. More means that another hand resumed the transport
#: (`ThrottlingFactory` of Twisted's does, for all its connections at once).
_MAX_BYTES_AFTER_PAUSE: Final = 65536


#: With so many bytes at once, and no end of a message among them, a large one is under way.
_LARGE_BYTES: Final = 2**15


def _all(pending: list[tuple[str, Deferred[Any]]], failed: list[str]) -> Deferred[Any]:
    """Waits for all; fails with the first failure, and appends its name to ``failed`` before that."""
    for name, deferred in pending:
        deferred.addErrback(_named, name, failed)
    return gatherResults([deferred for _, deferred in pending], consumeErrors=True).addErrback(_unwrapped)


def _named(failure: Failure, name: str, failed: list[str]) -> Failure:
    failed.append(name)
    return failure


def _unwrapped(failure: Failure) -> Failure:
    assert isinstance(failure.value, FirstError)
    return failure.value.subFailure


def _hasMessage(events: Iterable[Event]) -> bool:
    return any(isinstance(event, (BinaryReceived, TextReceived)) for event in events)


class InboxOwner(Protocol):
    """A connection, as its inbox needs it."""

    def inboxEnded(self) -> None:
        """The peer's Close came, or its fault: nothing more is to be decoded."""

    def inboxFailed(self, failure: Failure, callback: str) -> None:
        """A callback of the application's raised, or its Deferred failed; ``callback`` is its name."""

    def inboxPong(self, payload: bytes) -> None:
        """A Pong came that answers a Ping of the keepalive's."""

    def inboxExempt(self, isExempt: bool) -> None:
        """The time in which the application wants nothing to be read begins or ends."""

    def inboxDiscards(self, size: int) -> None:
        """So many bytes came behind our Close, to be discarded."""

    def inboxDelivers(self) -> None:
        """A message came behind our Close that the application gets."""

    def inboxEmpty(self) -> None:
        """The transport is lost, and the application has had all: `Inbox.finish` is to be called now."""

    def cancel(self, deferred: Deferred[Any]) -> None:
        """Cancels a Deferred that the application returned to be waited for."""


class Inbox:
    """Takes bytes in and delivers messages, at the application's pace: as long as there is a core, and longer, until
    the application has heard of the loss.

    Attributes:
        application: the receiver of the messages; None before there is one, and once it has heard of the loss.
        discarded: how many messages came that were not delivered.
        lastReceived: when bytes last came.
    """

    __slots__ = (
        "_closing",
        "_continuation",
        "_core",
        "_ended",
        "_events",
        "_exempt",
        "_lost",
        "_outbox",
        "_overflowed",
        "_owner",
        "_pending",
        "_reactor",
        "_reading",
        "_settings",
        "_stops",
        "_timer",
        "_transport",
        "_turn",
        "_unread",
        "_waitsForPeer",
        "application",
        "discarded",
        "lastReceived",
    )

    def __init__(
        self,
        owner: InboxOwner,
        core: Connection,
        outbox: Outbox,
        reactor: IReactorTime,
        settings: Settings,
    ) -> None:
        self.application: Application | None = None
        self.discarded = 0
        self.lastReceived: float = reactor.seconds()
        self._owner = owner
        self._core = core
        self._outbox = outbox
        #: Twisted's transport, to be paused; None before the connection is open, and once it is lost or aborted.
        self._transport: Any = None
        self._reactor = reactor
        self._turn = sharedTurn(reactor)
        self._settings = settings
        #: Whether the application is not sent more while the peer does not read.
        self._waitsForPeer = False
        self._stops = 0
        #: Events that wait for the application; None without any.
        self._events: deque[Event] | None = None
        #: Bytes that came while nothing could be done with them.
        self._unread: bytes | bytearray | None = None
        #: A callback of the application that is not done.
        self._pending: Deferred[Any] | None = None
        #: The call in the next turn that goes on delivering.
        self._continuation: IDelayedCall | None = None
        #: The transport was last told to read.
        self._reading = True
        #: The owner was last told that the application wants nothing to be read.
        self._exempt = False
        #: Behind our Close messages were discarded, and so are those that follow.
        self._overflowed = False
        #: Our Close is queued; a look at the core's own fact would cost each message more.
        self._closing = False
        #: The peer's Close came, or its fault.
        self._ended = False
        #: The transport is lost.
        self._lost = False
        #: The time that the application has then; None before.
        self._timer: Timer | None = None

    def attach(self, application: Application) -> None:
        """Has an application that gets the messages from now on."""
        self.application = application
        self._waitsForPeer = self._settings.slowConsumer == "wait" and not appliesBackpressure(application)

    # The application's requests

    def pause(self) -> None:
        """Delivers no more messages and reads no more bytes until `resume`."""
        self._stops |= _PAUSED
        self.updateReading()

    def resume(self) -> None:
        """Delivers messages again, from the reactor's next turn on."""
        self._stops &= ~_PAUSED
        self.continueSoon()

    # From the opening to the end

    def open(
        self,
        transport: Any,
        first: Callable[[], None],
        callbacks: Mapping[str, Callable[[], object]],
        pending: Deferred[Any] | None,
        last: Callable[[], None],
        unread: bytes,
        reading: bool,
    ) -> None:
        """Tells the application that the connection is open; `proceed` is to be called then, for its first message.

        That comes when the application is done with these callbacks.

        Args:
            transport: Twisted's.
            first: called before.
            callbacks: what is called, by its name; none after one that fails, or that ends the connection.
            pending: the Deferred that ``negotiationStarted`` returned, if that was called before.
            last: called when all were called.
            unread: bytes that came behind the opening handshake.
            reading: whether the transport is not paused.
        """
        self.lastReceived = self._reactor.seconds()
        self._transport = transport
        self._reading = reading
        if unread:
            self._keep(unread)
        outbox = self._outbox
        outbox.cork()
        self._stops |= _DELIVERING
        try:
            first()
            self._negotiate(callbacks, [] if pending is None else [("negotiationStarted", pending)])
            last()
        finally:
            # A subtraction, since it is the cheapest: the bit is set.
            self._stops -= _DELIVERING
            outbox.uncork()

    def _negotiate(
        self, callbacks: Mapping[str, Callable[[], object]], waiting: list[tuple[str, Deferred[Any]]]
    ) -> None:
        name = ""
        try:
            for name, callback in callbacks.items():
                deferred = asDeferred(callback())
                if deferred is not None:
                    waiting.append((name, deferred))
                    if isinstance(deferred.result if deferred.called else None, Failure):
                        break
                if self._transport is None:
                    break
        except APPLICATION_ERRORS:
            self._owner.inboxFailed(Failure(), name)
        if len(waiting) == 1:
            self.waitFor(waiting[0][1], waiting[0][0])
        elif waiting:
            failed: list[str] = []
            self.waitFor(_all(waiting, failed), failed)

    def drop(self) -> None:
        """The transport is aborted: nothing is read or delivered any more."""
        self.discard()
        self._unread = None
        self._transport = None

    def leaveTransport(self) -> None:
        """The transport is lost: nothing is read any more."""
        self._transport = None

    def lose(self) -> None:
        """The transport is lost, and the application is to hear of it when it has got what came before."""
        self.leaveTransport()
        self._lost = True

    def abandonIn(self, seconds: float) -> None:
        """Gives the application so many seconds to come to an end with what it got, see `abandon`."""
        self._timer = Timer(self._reactor)
        self._timer.start(seconds, self.abandon)

    def finish(self) -> Application | None:
        """Lets go of the application, which is about to hear of the loss; returns it, once."""
        application, self.application = self.application, None
        self._unread = None
        if self._continuation is not None:
            self._continuation.cancel()
            self._continuation = None
        if self._timer is not None:
            self._timer.stop()
        return application

    def abandon(self) -> None:
        """Gives up on an application that has not come to an end with what it got."""
        self.discard()
        pending, self._pending = self._pending, None
        self._stops &= ~_PENDING
        if pending is not None:
            self._owner.cancel(pending)
        # The cancelled Deferred may have told that already.
        if self.application is not None and not self._stops & _DELIVERING:
            self._owner.inboxEmpty()

    def holdWeakly(self) -> None:
        """Keeps the messages that a stream has not taken as long as the stream is referenced, and no longer."""
        if self.application is not None:
            self.application = proxy(self.application, self._streamGone)

    def _streamGone(self, _: object) -> None:
        # The pending Deferred is the stream's, and holds the connection.
        self.application = self._pending = None
        self.discard()
        self._owner.inboxEmpty()

    # From bytes to callbacks

    def dataReceived(self, data: bytes) -> None:
        """Takes bytes from the transport."""
        now = self._turn.now
        self.lastReceived = self._reactor.seconds() if now is None else now
        outbox = self._outbox
        core = self._core
        if self._stops or self._unread is not None or self._events is not None or (outbox.paused and self._isBlocked()):
            self._receiveLater(data)
            return
        outbox.cork()
        self._stops = _DELIVERING
        try:
            events = core.receive_data(data)
            if len(events) == 1 and isinstance(events[0], (BinaryReceived, TextReceived)) and not self._overflowed:
                # The most frequent case: a message, which no reply goes before, and which ends nothing.
                if self._closing:
                    self._owner.inboxDelivers()
                self._dispatch(events[0])
            else:
                self._deliver(self._received(events))
                if core.close_sent is not None:
                    self._countDiscardedBytes(len(data), events)
                if not events and len(data) >= _LARGE_BYTES and self._transport is not None:
                    outbox.driver.readMuch(self._transport)
            if core.has_unread_data or self._unread is not None:
                self._deliverWaiting()
        finally:
            # A subtraction, since it is the cheapest: the bit is set.
            self._stops -= _DELIVERING
            outbox.uncork()
        if (
            self._events is not None
            or self._unread is not None
            or outbox.paused
            or self._transport is None
            or self._ended
            or core.has_unread_data
        ):
            self.proceed()

    def _receiveLater(self, data: bytes) -> None:
        """Keeps bytes, and reads ahead in them while no message is delivered."""
        self._keep(data)
        if not self._reading and self._unread is not None and len(self._unread) >= _MAX_BYTES_AFTER_PAUSE:
            transport = self._transport
            if transport is not None:
                transport.pauseProducing()
        if not self._stops & _DELIVERING:
            self._readAhead()
            self.updateReading()

    def _received(self, events: list[Event]) -> list[Event]:
        """Answers as the protocol asks; returns the events that the application is to hear of."""
        core = self._core
        replies = core.replies()
        if replies:
            if core.close_sent is None:
                self._outbox.writePongs(replies)
            else:
                self._outbox.writeClose(replies)
        if not self._ended and (core.close_received is not None or core.failed is not None):
            self._ended = True
            self._owner.inboxEnded()
        if self._overflowed:
            self._countDiscarded(events)
            return []
        return events

    def _deliver(self, events: list[Event]) -> None:
        """Delivers events while the application takes them; the rest waits."""
        outbox = self._outbox
        for index, event in enumerate(events):
            self._dispatch(event)
            # `_isBlocked` is asked only where it may say yes: this runs for each message.
            if (self._stops != _DELIVERING or outbox.paused) and self._isBlocked():
                self._enqueue(events[index + 1 :])
                break

    def _deliverWaiting(self) -> None:
        """Delivers the events that wait, while the application takes them."""
        while not self._isBlocked():
            if self._events is not None:
                event = self._events.popleft()
                if not self._events:
                    self._events = None
                self._dispatch(event)
            elif self._hasUnread():
                self._deliver(self._received(self._core.receive_data(self._takeUnread())))
            else:
                break

    def _dispatch(self, event: Event) -> None:
        application = self.application
        result: object
        try:
            if isinstance(event, BinaryReceived):
                result = application.bytesMessageReceived(event.data)  # type: ignore[union-attr]
            elif isinstance(event, TextReceived):
                result = application.textMessageReceived(event.text)  # type: ignore[union-attr]
            elif isinstance(event, PongReceived):
                if isOurPong(event.payload):
                    self._owner.inboxPong(event.payload)
                    return
                result = application.pongReceived(event.payload)  # type: ignore[union-attr]
            else:
                return
        except APPLICATION_ERRORS:
            self._owner.inboxFailed(Failure(), _CALLBACKS[type(event)])
            return
        if result is not None:
            self.waitFor(result, _CALLBACKS[type(event)])

    def _isBlocked(self) -> bool:
        """Whether no message may be delivered now."""
        return bool(self._stops & _HOLDING) or (self._outbox.paused and self._peerIsNotReading())

    def _peerIsNotReading(self) -> bool:
        """Whether the peer does not read; then it is not read, or what it makes us send would have no bound."""
        return (
            self._waitsForPeer
            and not self._ended
            and self._transport is not None
            and self._core.close_sent is None
            and not self._outbox.writable
        )

    def _keep(self, data: bytes) -> None:
        # Not a list: a peer that sends single bytes would fill it with objects of 34.
        if self._unread is None:
            self._unread = data
        else:
            if not isinstance(self._unread, bytearray):
                self._unread = bytearray(self._unread)
            self._unread += data

    def _takeUnread(self) -> bytes:
        unread, self._unread = self._unread, None
        return b"" if unread is None else bytes(unread)

    def _hasUnread(self) -> bool:
        return self._unread is not None or self._core.has_unread_data

    def _countDiscardedBytes(self, size: int, events: Iterable[Event] = ()) -> None:
        """Bytes came behind our Close, with these messages to deliver."""
        if not self._overflowed and _hasMessage(events):
            self._owner.inboxDelivers()
        elif self._settings.maxMessageSize is not None or self._ended or self._overflowed:
            # A large message may be under way. Without a limit no size is too large: it has until the
            # closing timeout.
            self._owner.inboxDiscards(size)

    def _readAhead(self) -> None:
        """Reads on while no message can be delivered: to answer Pings, and to find the peer's Close."""
        if not self._isBlocked():
            # Delivery is about to go on.
            return
        closing = self._core.close_sent is not None
        if not closing and (self._stops & _PAUSED or self._peerIsNotReading()):
            return
        while not self._ended and self._transport is not None and self._hasUnread():
            room = self._room()
            if not room and not closing:
                return
            data = self._takeUnread()
            events = self._received(self._core.receive_data(data, room or None))
            if closing:
                self._countDiscardedBytes(len(data), events if room and not self._stops & _DISCARDING else ())
            if room:
                self._enqueue(events)
            elif _hasMessage(events):
                self._overflowed = True
                self._countDiscarded(events)

    def _enqueue(self, events: list[Event]) -> None:
        """Has those events wait that an application can hear of."""
        if self._stops & _DISCARDING:
            self._countDiscarded(events)
            return
        answers: list[bytes] = []
        for event in events:
            if isinstance(event, PongReceived) and isOurPong(event.payload):
                answers.append(event.payload)
            elif isinstance(event, (BinaryReceived, TextReceived, PongReceived)):
                if self._events is None:
                    self._events = deque()
                self._events.append(event)
        # Last, since a callback of a cancelled Deferred may have delivery go on, or end.
        for payload in answers:
            self._owner.inboxPong(payload)

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

    def proceed(self) -> None:
        """Goes on delivering, if something waits and nothing is in the way."""
        if self._stops & _DELIVERING:
            return
        if self._events is not None or self._hasUnread():
            outbox = self._outbox
            outbox.cork()
            self._stops |= _DELIVERING
            try:
                self._deliverWaiting()
            finally:
                # A subtraction, since it is the cheapest: the bit is set.
                self._stops -= _DELIVERING
                outbox.uncork()
            self._readAhead()
        self.updateReading()
        if self._lost and self.application is not None and not self._stops & _PENDING and not self._hasWork():
            self._owner.inboxEmpty()

    def continueSoon(self) -> None:
        """Goes on delivering in the reactor's next turn, and so not in the stack of the caller."""
        if self._continuation is None and self.application is not None:
            self._continuation = self._reactor.callLater(0, self._continued)

    def _continued(self) -> None:
        self._continuation = None
        self.proceed()

    def closeSent(self) -> None:
        """Our Close is queued: messages that waited because the peer did not read are delivered now."""
        self._closing = True
        if self._stops & _DELIVERING:
            return
        if self._isBlocked():
            self._readAhead()
        elif self._events is not None or self._hasUnread():
            self.continueSoon()

    def _hasWork(self) -> bool:
        return not self._stops & _DISCARDING and (self._events is not None or self._hasUnread())

    def updateReading(self) -> None:
        """Tells the transport to read or not, as things stand."""
        transport = self._transport
        if transport is None:
            return
        paused = bool(self._stops & _PAUSED)
        full = not paused and self._room() == 0
        # Not while the transport takes no more: whether the peer takes what it is sent can be seen without reading, and
        # the application may be waiting for just that.
        exempt = (paused or full) and not self._outbox.paused
        if exempt is not self._exempt:
            self._exempt = exempt
            self._owner.inboxExempt(exempt)
        reading = (
            self._ended
            or self._core.close_sent is not None
            or not (paused or full or self._unread is not None or self._peerIsNotReading())
        )
        if reading != self._reading:
            self._reading = reading
            if reading:
                transport.resumeProducing()
            else:
                transport.pauseProducing()

    def outboxBlocked(self) -> None:
        """The transport takes no more for now: the peer may be the one that is waited for."""
        if self._exempt:
            self.updateReading()

    # Callbacks that take their time

    def waitFor(self, result: object, callback: str | list[str]) -> None:
        """Waits for a callback's result before the next message is delivered.

        Args:
            result: its Deferred or coroutine.
            callback: its name; where several are waited for, a list that has the name of the one that failed by then.
        """
        deferred = asDeferred(result)
        if deferred is not None:
            self._pending = deferred
            self._stops |= _PENDING
            deferred.addCallbacks(self._callbackDone, self._callbackFailed, errbackArgs=(callback,))

    def _callbackDone(self, result: object) -> object:
        self._pending = None
        self._stops &= ~_PENDING
        self.proceed()
        return result

    def _callbackFailed(self, failure: Failure, callback: str | list[str]) -> None:
        self._pending = None
        self._stops &= ~_PENDING
        if self._stops & _DISCARDING and failure.check(*CANCELLATIONS):
            letGo(failure)
        else:
            self._owner.inboxFailed(failure, callback if isinstance(callback, str) else callback[0])
        self.proceed()

    def discard(self) -> None:
        """Delivers no message any more."""
        self._stops |= _DISCARDING
        self._countDiscarded(self._events or ())
        self._events = None

    def countDiscarded(self) -> None:
        """A message was delivered to a stream that receives no more."""
        self.discarded += 1

    def _countDiscarded(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, (BinaryReceived, TextReceived)):
                self.discarded += 1
