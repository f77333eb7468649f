"""An open WebSocket between a Twisted transport and an application: the parts of a connection, joined.

Rules:

* The protocol itself is the sans-IO core's; here it gets a transport, a clock and an application.
* Each fact has one writer. The state is written here, the rest by the part whose it is: `wsock.wire.inbox` for what
  comes in, `wsock.wire.outbox` for what leaves, `wsock.wire.keepalive`, `wsock.wire.closing`, `wsock.wire.producer`.
* A part is handed what it may call, and tells by methods that begin with its name (`inboxEnded`): these are for the
  parts, and not for applications.
* The application hears `connectionLost` once, last, and iff it heard `negotiationStarted`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import (
    IAddress,
    ILoggingContext,
    IProtocol,
    IPushProducer,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from ..application import appliesBackpressure, isIdle
from ..errors import Close, WebSocketEnded
from ..log import APPLICATION_ERRORS, excerpt, formatAddress
from ..reasons import again, failed
from ..request import Request, Response, getPeerCertificateDER, plainPath
from ..results import asDeferred
from ..sansio.connection import Connection
from ..sansio.constants import CloseCode, Role
from ..sansio.errors import LocalProtocolError
from ..sansio.extensions import Extension
from ..sansio.shared import SharedMessage
from ..settings import Settings
from .closewatch import CloseWatch, closeWatchOf
from .closing import Closing, makeLossReason
from .counters import ConnectionCounters, Traffic
from .inbox import Inbox
from .keepalive import Keepalive
from .outbox import Outbox, OutboxLimits, makeLimits
from .owners import Home, Member, Opening, Terms
from .producer import Producer
from .state import ABORTED, CLOSING, ENDING, HANDED_ON, LOST, OPEN, OPENING, OVER, enter
from .threads import sendFromThread
from .unopened import NOT_OPEN
from .waiters import Waiters


class _FirstBytes:
    """The receiver of the first bytes of an open connection, with which its transport is adopted by the hub.

    At the opening that would make each handshake slower.
    """

    __slots__ = ("dataReceived",)

    def __init__(self, dataReceived: Callable[[bytes], None]) -> None:
        self.dataReceived = dataReceived


def _limitsOf(settings: Settings) -> OutboxLimits:
    return makeLimits(settings.highWaterMark, settings.sendLimit, settings.slowConsumer == "drop")


@final
@implementer(IProtocol, IPushProducer, ILoggingContext)
class WebSocketTransport:
    """One side of a connection, and the transport of its application; made by a factory, never subclassed.

    Attributes:
        factory: the factory that made it, and holds it while its transport is there.
        request: the request that opened the connection.
        response: a client's: the answer to it; None before it came, and always on a server.
        subprotocol: the one agreed on, or None.
    """

    __slots__ = (
        "__weakref__",
        "_bytesReceived",
        "_closeWatch",
        "_closers",
        "_closing",
        "_core",
        "_discarded",
        "_failure",
        "_groups",
        "_inbox",
        "_keepalive",
        "_note",
        "_openers",
        "_opening",
        "_outbox",
        "_producer",
        "_receiver",
        "_sendsIgnored",
        "_startsPaused",
        "_state",
        "_terms",
        "_transport",
        "_writers",
        "factory",
        "request",
        "response",
        "setPeer",
        "subprotocol",
    )

    request: Request
    #: For the endpoint of txtorcon, which gives it to the protocol that it has connected.
    setPeer: Any

    def __init__(self, factory: Home) -> None:
        self.factory: Any = factory
        #: The factory's, or those of the route.
        self._terms: Terms = factory
        self.response: Response | None = None
        self.subprotocol: str | None = None
        self._state = OPENING
        self._transport: Any = None
        self._core: Connection = NOT_OPEN
        #: The opening handshake, until it is over.
        self._opening: Opening | None = None
        #: From the core on, until the application has heard of the loss.
        self._inbox: Inbox | None = None
        #: The receiver of the bytes that come: the opening, the inbox, `Closing`, or the protocol of `fallback`.
        self._receiver: Any = None
        #: While the connection is open, and a Ping is to be answered.
        self._keepalive: Keepalive | None = None
        #: From the beginning of the end on.
        self._closing: Closing | None = None
        #: The application's producer, while one is attached.
        self._producer: Producer | None = None
        #: Looks for another hand's closing of the transport, while that is needed.
        self._closeWatch: CloseWatch | None = None
        #: A client's: why the opening handshake failed.
        self._failure: BaseException | None = None
        #: Deferreds of `whenWritable`, `whenClosed` and `whenOpen`; None without any.
        self._writers: Waiters[None] | None = None
        self._closers: Waiters[None] | None = None
        self._openers: Waiters[WebSocketTransport] | None = None
        #: The groups that it is in; None while it is in none.
        self._groups: list[Member] | None = None
        #: The opening handshake's report to the factory when the connection is lost.
        self._note: Any = None
        #: Whether it was paused while there was no inbox yet.
        self._startsPaused = False
        self._sendsIgnored = 0
        self._bytesReceived = 0
        #: How many messages were not delivered, once there is no inbox any more.
        self._discarded = 0

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a connection can't be copied or pickled: keep it in its process, and let others send through it, other "
            "threads by sendFromThread"
        )

    def logPrefix(self) -> str:
        """Names the connection in Twisted's log."""
        return "wsock"

    # IProtocol

    def makeConnection(self, transport: Any) -> None:
        """Takes the transport over; Twisted calls this once."""
        self.openingBegins(transport, self.factory.makeOpening(self))

    def openingBegins(self, transport: Any, opening: Opening) -> None:
        """Takes the transport over, for this opening handshake."""
        factory = self.factory
        reactor = factory.reactor
        self._transport = transport
        self._outbox = outbox = Outbox(transport, reactor, _limitsOf(factory.settings), self)
        outbox.driver.setNoDelay(transport)
        self._opening = self._receiver = opening
        self._closeWatch = closeWatchOf(self, transport, reactor)
        opening.begin()

    def connectionMade(self) -> None:
        """Part of Twisted's interface; `makeConnection` does all."""

    def dataReceived(self, data: bytes) -> None:
        """Takes bytes from the transport; Twisted calls this."""
        self._bytesReceived += len(data)
        receiver = self._receiver
        if receiver is not None:
            receiver.dataReceived(data)

    def connectionLost(self, reason: Failure) -> None:
        """The transport is lost; the application hears of it after what it has still to get."""
        state = self._state
        if state >= LOST:
            # Some transports tell twice.
            return
        self._state = enter(state, LOST)
        receiver, self._receiver = self._receiver, None
        if self._inbox is not None:
            # First: a producer that is told to stop may have delivery go on.
            self._inbox.leaveTransport()
        if self._closing is not None:
            self._closing.lost()
        self._stopCloseWatch()
        self._outbox.lost()
        self.factory.connectionForgotten(self)
        if self._groups is not None:
            for group in list(self._groups):
                group.discard(self)
        # From here on nothing can be sent; what was received before is still there to be delivered.
        self._core.lose()
        self._stopProducer()
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.losing(reason)
        if self._writers is not None:
            self._writers.fail(self.lossReason)
        if self._keepalive is not None:
            self._keepalive.stop(self.lossReason)
        if self._openers is not None:
            self._openers.fail(self.lossReason)
        self._loseInbox(state == ABORTED)
        if opening is not None:
            opening.lost(reason)
        if receiver is not None and state in (HANDED_ON, ABORTED):
            self._loseHandedOn(receiver, reason)
        self.factory.connectionLost(self, state == ABORTED, self._note)
        if self._closers is not None:
            self._closers.fire(None)
        self.factory.checkStopped()

    def _loseInbox(self, aborted: bool) -> None:
        inbox = self._inbox
        if inbox is None or inbox.application is None:
            # It was never open, and what came is discarded.
            self._inbox = None
            self._state = enter(self._state, OVER)
            return
        inbox.lose()
        if aborted:
            inbox.abandon()
        else:
            inbox.proceed()
        seconds = self._terms.settings.closeTimeout
        if appliesBackpressure(inbox.application):
            inbox.holdWeakly()
        elif inbox.application is not None and seconds is not None:
            inbox.abandonIn(seconds)

    def _loseHandedOn(self, protocol: IProtocol, reason: Failure) -> None:
        try:
            protocol.connectionLost(reason)
        except APPLICATION_ERRORS:
            self.factory.log.failure(
                "the protocol of the fallback failed in connectionLost (peer {peer})", Failure(), peer=self.peerForLog()
            )

    @property
    def transport(self) -> Any:
        """Twisted's transport, to be asked: a write to it breaks the connection."""
        return self._transport

    # For the opening handshake

    def isOpening(self) -> bool:
        """Whether the opening handshake is under way."""
        return self._state == OPENING

    @property
    def outbox(self) -> Outbox:
        """The way out, which an opening handshake uses, too."""
        return self._outbox

    def openingCounts(self, size: int) -> None:
        """So many bytes came, which another protocol has read."""
        self._bytesReceived += size

    def openingRequests(self, request: Request) -> None:
        """The request for the WebSocket is there."""
        self.request = request

    def openingAgrees(self, terms: Terms) -> None:
        """The connection is served on these terms, if it opens: those of its route."""
        if terms.settings is not self._terms.settings:
            self._outbox.setLimits(_limitsOf(terms.settings))
        self._terms = terms

    def openingResponds(self, response: Response) -> None:
        """The server's answer is there."""
        self.response = response

    def openingMakesCore(self, extensions: Sequence[Extension] = ()) -> Inbox:
        """Makes the core: a server at the agreement, a client at once, since it may send before there is an answer.

        Args:
            extensions: a server's, those that were agreed on; a client's are known in `openingDone`.
        """
        factory, terms = self.factory, self._terms
        settings = terms.settings
        self._core = core = Connection(
            factory.role,
            max_message_size=settings.maxMessageSize,
            max_empty_fragments=settings.maxEmptyFragments,
            receive_queue=settings.receiveQueue,
            extensions=extensions,
            deflate=terms.deflateOptions,
        )
        self._inbox = inbox = Inbox(self, core, self._outbox, factory.reactor, settings)
        if self._startsPaused:
            inbox.pause()
        return inbox

    def openingDone(
        self,
        callbacks: Mapping[str, Callable[[], object]],
        first: Callable[[], None] | None = None,
        pending: Deferred[Any] | None = None,
        last: Callable[[bool], None] | None = None,
        extensions: Sequence[Extension] = (),
        subprotocol: str | None = None,
        unread: bytes = b"",
        reading: bool = True,
    ) -> None:
        """The opening handshake has ended well, and agreed on these.

        ``last`` is told whether the connection is open still, and ``extensions`` are a client's; all else is as in
        `Inbox.open`.
        """
        inbox = self._inbox
        assert inbox is not None
        self.subprotocol = subprotocol
        if extensions:
            self._core.agree(extensions)
        self._opening = None
        self._receiver = _FirstBytes(self._firstBytes)
        self._state = enter(self._state, OPEN)
        if self.factory.role is Role.SERVER:
            # Once it is open, the keepalive looks.
            self._stopCloseWatch()
        self.factory.connectionOpened(self)
        if self._terms.settings.pingInterval is not None:
            self._makeKeepalive().start(self)

        def begin() -> None:
            if first is not None:
                first()
            # From the end of the opening handshake on: with a producer registered, TLS never closes.
            self._outbox.register()
            self._outbox.driver.tellEnd(self._transport, self._tlsEnded)

        def opened() -> None:
            if last is not None:
                last(self._state in (OPEN, CLOSING))
            if self._openers is not None and self._state in (OPEN, CLOSING):
                self._openers.fire(self)
            if self._state == OPEN and self._core.close_sent is not None:
                # It was closed before it was open.
                self._closeSent()

        inbox.open(self._transport, begin, callbacks, pending, opened, unread, reading)
        # Messages that waited for the end of the opening handshake have left, as far as the transport takes them: this
        # is told before a message is delivered.
        self.outboxWritable()

    def openingEnded(
        self, message: list[bytes] | None = None, gently: bool = True, within: float | None = None
    ) -> None:
        """The opening handshake has ended in another way: sends an answer, if there is one, and ends the connection.

        Args:
            message: the answer.
            gently: whether the peer may still be sending, see `Closing.endGently`.
            within: seconds in which the transport has to be lost, where that is less than ``closeTimeout``.
        """
        self._opening = None
        self._state = enter(self._state, ENDING)
        self._stopCloseWatch()
        self._core.lose()
        # The opening handshake gets nothing more, and nor does it from within a callback.
        self._receiver = closing = self._beginClosing()
        self._stopProducer()
        if self._state != ENDING:
            # The producer has aborted it.
            return
        if message is not None:
            self._outbox.writeHTTP(message)
            if self._state != ENDING:
                # The transport was lost in the middle of that.
                return
        if gently:
            closing.endGently()
        else:
            closing.loseTransport()
        if within is not None and self._state == ENDING:
            closing.hurry(within)

    def openingHandedOn(self, protocol: Any, data: bytes) -> None:
        """Hands the connection to another protocol; we stay between as a pipe.

        Swapping the transport's protocol would do nothing under TLS, where the transport is a protocol itself.
        """
        self._opening = None
        self._state = enter(self._state, HANDED_ON)
        self._stopCloseWatch()
        self._receiver = protocol
        protocol.makeConnection(self._transport)
        protocol.dataReceived(data)

    def openingReplaces(self, protocol: Any) -> None:
        """The protocol that it was handed on to has handed it on itself: there is one pipe less."""
        self._receiver = protocol

    def openingNotes(self, note: Any) -> None:
        """Keeps what the factory is to be given when the connection is lost; None for nothing."""
        self._note = note

    def openingFailed(self, error: BaseException) -> None:
        """Notes why a client was never open; `lossReason` says the same from now on."""
        self._failure = error

    # Messages

    def _firstBytes(self, data: bytes) -> None:
        inbox = self._inbox
        assert inbox is not None
        if self._outbox.driver.adopt(self._transport):
            self._receiver = inbox
        inbox.dataReceived(data)

    def sendTextMessage(self, text: str, compress: bool | None = None) -> None:
        """Sends a text message; does nothing once the connection is closing.

        Args:
            text: any text without lone surrogates.
            compress: True compresses the message whatever its size, False sends it as it is; None compresses it from
                `Compression.threshold` on. Has no effect where compression was not agreed on. Use False for a message
                with a secret beside text that an attacker may choose (CRIME, BREACH).

        Raises:
            LocalProtocolError: not a str, or one that has no UTF-8; ``compress`` is of another type.
        """
        buffers = self._core.send_text(text, compress)
        if buffers:
            if not self._outbox.write(buffers):
                self._overflow()
            elif self._producer is not None:
                self._producer.regulate()
        else:
            self._sendsIgnored += 1

    def sendBytesMessage(self, data: bytes | bytearray | memoryview, compress: bool | None = None) -> None:
        """Sends a binary message; does nothing once the connection is closing.

        Args:
            data: any bytes; changing them afterwards does not change what is sent.
            compress: as in `sendTextMessage`.

        Raises:
            LocalProtocolError: of another type.
        """
        buffers = self._core.send_binary(data, compress)
        if buffers:
            if not self._outbox.write(buffers):
                self._overflow()
            elif self._producer is not None:
                self._producer.regulate()
        else:
            self._sendsIgnored += 1

    def groupSends(self, message: SharedMessage) -> int | None:
        """Sends a message to many connections, of which this is one; for `Group`.

        Returns:
            how many older messages were dropped for it; -1 if the connection was closed in its place, and None if it
            can't be sent any more.
        """
        frame = self._core.send_shared(message)
        if not frame:
            self._sendsIgnored += 1
            return None
        outbox = self._outbox
        before = outbox.dropped
        if not outbox.write(frame):
            self._overflow()
            return -1
        if self._producer is not None:
            self._producer.regulate()
        return outbox.dropped - before

    def sendFromThread(self, message: str | bytes | bytearray | memoryview, compress: bool | None = None) -> None:
        """Sends a message from another thread than the reactor's, after waiting while the connection is not writable.

        Several threads take their turns, so that no more than ``highWaterMark`` and one message wait for all of them.

        Args:
            message: a str makes a text message, bytes a binary one.
            compress: as in `sendTextMessage`.

        Raises:
            LocalProtocolError: no valid message; or this is the reactor's own thread, which would wait for itself.
            WebSocketEnded: the connection is closing or lost, and the message was not sent. As for `whenWritable`, a
                client that was never open may raise another `WebSocketError`.
        """
        sendFromThread(self, self.factory.reactor, message, compress)

    def ping(self, payload: bytes = b"") -> None:
        """Sends a Ping; `WebSocketProtocol.pongReceived` is called when its answer comes.

        Does nothing once the connection is closing.

        Args:
            payload: at most 125 bytes.

        Raises:
            LocalProtocolError: a longer payload.
        """
        buffers = self._core.send_ping(payload)
        if not buffers:
            self._sendsIgnored += 1
        elif not self._outbox.writePing(buffers):
            self._overflow(messages=0)

    def measureLatency(self) -> Deferred[float]:
        """Sends a Ping and waits for its answer.

        Returns:
            a Deferred that fires with the seconds between the two. A Pong answers its Ping and all earlier ones
            (RFC 6455 section 5.5.3). It fails with ``twisted.internet.error.TimeoutError`` after ``pingTimeout``, and
            with the reason, as `whenWritable` does, when the connection is lost, or is closing already. Cancelling
            it only stops it from waiting.
        """
        ended = self._whyEnded()
        return self._makeKeepalive().measure() if ended is None else failed(ended)

    @property
    def latency(self) -> float | None:
        """How long the last answer to a Ping of ours took, in seconds; None before there was one."""
        return None if self._keepalive is None else self._keepalive.latency

    @property
    def counters(self) -> ConnectionCounters:
        """Messages that are known not to have reached their end, so far."""
        discarded = self._discarded if self._inbox is None else self._inbox.discarded
        return ConnectionCounters(self._sendsIgnored, self._outbox.dropped, discarded)

    def streamDiscards(self) -> None:
        """A message was delivered to a stream that receives no more; for `WebSocketStream`."""
        if self._inbox is None:
            self._discarded += 1
        else:
            self._inbox.countDiscarded()

    # Backpressure

    def whenWritable(self) -> Deferred[None]:
        """Waits until no more than ``highWaterMark`` bytes are unsent.

        Returns:
            a Deferred that fires with None, perhaps at once. It fails with the `WebSocketEnded` that tells why, when
            the connection is lost or is closing already; on a client that was never open, with what its opening
            handshake failed with. Several fire in the order of their calls, each only if what the one before did left
            room. Cancelling one only stops it from waiting.
        """
        ended = self._whyEnded()
        if ended is not None:
            return failed(ended)
        if self._writers is None:
            if self._outbox.writable:
                return succeed(None)
            self._writers = Waiters()
        elif not self._writers and self._outbox.writable:
            return succeed(None)
        return self._writers.add()

    def _whyEnded(self) -> BaseException | None:
        """The reason that nothing can be sent any more; None while something can."""
        if self._state >= LOST:
            return self.lossReason()
        return None if self._core.is_open else WebSocketEnded("the connection is closing")

    def attachProducer(self, producer: Any, streaming: bool = True) -> None:
        """Has a producer send at the pace of the peer (Twisted's ``registerProducer``).

        A push producer is told to pause while more than ``highWaterMark`` bytes are unsent. A pull producer is told
        to resume once a turn of the reactor, while the connection is writable. When nothing can be sent any more
        (`loseConnection`, the peer's Close, a loss) it is told to stop, and is detached.

        Args:
            producer: an ``IPushProducer``, such as another connection; an ``IPullProducer`` if not ``streaming``.
            streaming: whether it sends without being asked for each message.

        Raises:
            LocalProtocolError: another producer is attached; or it has not the methods of one.
        """
        attached = Producer(producer, streaming, self.factory.reactor, self._outbox, self.inboxFailed)
        if self._producer is not None:
            raise LocalProtocolError("another producer is attached: detachProducer() first")
        if not self._core.is_open:
            attached.stop()
        else:
            self._producer = attached
            attached.regulate()

    def detachProducer(self) -> None:
        """Leaves the producer to itself; does nothing without one."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.detach()

    def _stopProducer(self) -> None:
        """Nothing can be sent any more."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stop()

    def outboxBlocked(self) -> None:
        """The transport takes no more for now."""
        if self._producer is not None:
            self._producer.regulate()
        if self._inbox is not None:
            self._inbox.outboxBlocked()

    def outboxWritable(self) -> None:
        """The transport has sent all that it held, and the connection is writable."""
        writers = self._writers
        if writers is not None:
            while writers and self._outbox.writable and self._state < ABORTED:
                writers.fireFirst()
            if not writers and self._writers is writers:
                self._writers = None
        if self._producer is not None:
            self._producer.regulate()
        if self._inbox is not None:
            self._inbox.proceed()

    def pauseProducing(self) -> None:
        """Delivers no more messages and reads no more bytes until `resumeProducing`.

        A call during the opening handshake takes effect when the connection opens.
        """
        if self._inbox is not None:
            self._inbox.pause()
        else:
            self._startsPaused = True

    def resumeProducing(self) -> None:
        """Delivers messages again, from the reactor's next turn on."""
        if self._inbox is not None:
            self._inbox.resume()
        else:
            self._startsPaused = False

    def stopProducing(self) -> None:
        """Closes the connection; for those who hold us for a producer."""
        self.loseConnection()

    # The end

    def loseConnection(self, code: int | None = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Closes the connection, after all that was sent; does nothing once it is closing.

        The peer's messages are delivered until its own Close. While they can't be, those for which ``receiveQueue``
        has no room are discarded, and counted in `counters`. `Settings.closeTimeout` after ours has left, the
        connection is aborted. In a server's opening handshake it ends that, with an HTTP answer.

        Args:
            code: a close code that may travel; None for none.
            reason: at most 123 bytes of UTF-8.

        Raises:
            LocalProtocolError: a code or a reason that can't travel.
        """
        # In each state: an argument that can't travel is a mistake of the caller's.
        buffers = self._core.close(code, reason)
        if self._core is NOT_OPEN:
            if self._opening is not None and self._state == OPENING:
                self._opening.lose(code, reason)
        elif buffers:
            self._outbox.writeClose(buffers)
            if self._state == OPEN:
                self._closeSent()
            else:
                # A client's leaves when the connection is open, if it ever is; until then the opening timer runs.
                self._stopProducer()

    def _closeSent(self) -> None:
        """Our Close is queued, the peer's is awaited."""
        self._state = enter(self._state, CLOSING)
        self._stopProducer()
        inbox = self._inbox
        if inbox is None:
            # The producer has aborted it, and it is lost.
            return
        inbox.updateReading()
        if self._state == CLOSING:
            closing = self._beginClosing()
            closing.whenSent(closing.startTimer)
        inbox.closeSent()

    def abortConnection(self) -> None:
        """Drops the connection at once, and all that was not sent or not delivered."""
        if self._state >= ABORTED:
            return
        if self._state != HANDED_ON:
            self._receiver = None
        self._state = enter(self._state, ABORTED)
        self._core.lose()
        if self._opening is not None:
            self._opening.aborted()
        if self._inbox is not None:
            self._inbox.drop()
        if self._closing is not None:
            self._closing.stop()
        self._outbox.abort()
        self._stopProducer()
        driver = self._outbox.driver
        canAbort = driver.canAbort(self._transport)
        if not canAbort:
            # It is told to close, and may wait for good until it has written all that it holds.
            self._outbox.unregister()
        driver.abort(self._transport)
        if not canAbort and self._state == ABORTED:
            self._beginClosing().timer.start(0, self._countAsLost)

    def _countAsLost(self) -> None:
        self.connectionLost(Failure(ConnectionAborted()))

    def _beginClosing(self) -> Closing:
        closing, factory = self._closing, self.factory
        if closing is None:
            self._closing = closing = Closing(
                self._transport, self._outbox, factory.reactor, self._terms.settings, self.abortConnection
            )
        return closing

    def _overflow(self, messages: int = 1) -> None:
        """More is unsent than may be: messages that have not begun to leave are dropped, and the peer is told why."""
        self._outbox.dropQueue(messages)
        self.loseConnection(CloseCode.TRY_AGAIN_LATER, "too much unsent")

    def _tlsEnded(self) -> None:
        if self._state < ABORTED:
            self._core.lose()
            self._beginClosing().tlsEnded()

    def factoryStops(self, code: int, reason: str) -> None:
        """The factory stops."""
        if self._opening is not None and self._state == OPENING:
            self._opening.stop()
        elif self._state == HANDED_ON:
            if isinstance(self._receiver, WebSocketTransport):
                # A resource of the fallback's has made a WebSocket of it.
                self._receiver.factoryStops(code, reason)
            else:
                self._transport.loseConnection()
        else:
            self.loseConnection(code, reason)

    def whenOpen(self) -> Deferred[WebSocketTransport]:
        """Waits for the end of the opening handshake.

        Returns:
            a Deferred that fires with this transport when the connection is open, at once if it is. It fails with the
            reason of the loss if it is lost before that, or was open and is lost already. Cancelling it only stops it
            from waiting.
        """
        if self._state >= LOST:
            return failed(self.lossReason())
        if self._state in (OPEN, CLOSING):
            return succeed(self)
        if self._openers is None:
            self._openers = Waiters()
        return self._openers.add()

    def canSend(self) -> bool:
        """Whether a message would be sent: at once, or on a client after the opening handshake."""
        return self._core.is_open

    @property
    def isOpen(self) -> bool:
        """Whether messages go both ways, from the end of the opening handshake to a Close of either side, or a loss."""
        return self._state == OPEN

    def whenClosed(self) -> Deferred[None]:
        """Waits for the loss of the transport, and for no callback of the application's.

        Returns:
            a Deferred that fires with None. It never fails; cancelling it only stops it from waiting.
        """
        if self._state >= LOST:
            return succeed(None)
        if self._closers is None:
            self._closers = Waiters()
        return self._closers.add()

    def lossReason(self) -> BaseException:
        """Makes the exception that says how the connection ended."""
        if self._failure is not None:
            return again(self._failure)
        return makeLossReason(self._core, self._closing)

    # Facts

    @property
    def extension(self) -> Extension | None:
        """The extension that was agreed on, with a ``name``, ``"permessage-deflate"``, and ``parameters``, or None."""
        return next(iter(self._core.extensions), None)

    @property
    def closeSent(self) -> Close | None:
        """Our `Close`, or None; its code is 1005 where it had none."""
        return Close.of(self._core.close_sent)

    @property
    def closeReceived(self) -> Close | None:
        """The peer's `Close`, or None; its code is 1005 where it had none."""
        return Close.of(self._core.close_received)

    @property
    def closedByPeer(self) -> bool:
        """Whether the peer's Close was read before there was one of ours."""
        return self._core.peer_closed_first

    @property
    def traffic(self) -> Traffic:
        """The messages and bytes that it has carried so far."""
        core, outbox = self._core, self._outbox
        sent = core.messages_sent - outbox.dropped
        return Traffic(core.messages_received, sent, self._bytesReceived, outbox.bytesHandedOver)

    def getPeer(self) -> IAddress:
        """Returns the peer's address."""
        address: IAddress = self._transport.getPeer()
        return address

    def getHost(self) -> IAddress:
        """Returns our address."""
        address: IAddress = self._transport.getHost()
        return address

    def getPeerCertificate(self) -> Any:
        """Returns the peer's certificate over TLS, a ``cryptography.x509.Certificate``; None where it sent none.

        Raises:
            ImportError: there is one, and the package cryptography is not installed.
        """
        return self._outbox.driver.getPeerCertificate(self._transport)

    def getPeerCertificateDER(self) -> bytes | None:
        """Returns the peer's certificate over TLS, in DER; None where it sent none."""
        return getPeerCertificateDER(self._transport)

    def peerForLog(self) -> str:
        """Returns the address of the peer, or of the client that a trusted proxy tells of.

        A transport that is lost may not know it any more, as that of a process.
        """
        request: Request | None = getattr(self, "request", None)
        try:
            return formatAddress(self.getPeer() if request is None else request.getClientAddress())
        except Exception:
            return "unknown"

    def pathForLog(self) -> str:
        """Returns the request's path without the query, where people put secrets; empty where no request was read."""
        request: Request | None = getattr(self, "request", None)
        return "" if request is None else plainPath(request.rawPath)

    # Reports of the parts

    def inboxEnded(self) -> None:
        """The peer's Close came, or its fault."""
        if self._state not in (OPEN, CLOSING):
            # The transport is lost already.
            return
        self._state = enter(self._state, ENDING)
        inbox = self._inbox
        assert inbox is not None
        self._stopProducer()
        inbox.updateReading()
        if self._state != ENDING:
            # The producer has aborted it.
            return
        self._receiver = closing = self._beginClosing()
        if self._core.failed is not None:
            closing.endGently()
        elif self.factory.role is Role.SERVER:
            # The transport has done its work, and the server drops it first (RFC 6455 §7.1.1).
            closing.whenSent(closing.loseTransport)
        else:
            # So that the server's side does not wait for old segments.
            closing.whenSent(closing.startTimer)

    def inboxFailed(self, failure: Failure, callback: str) -> None:
        """An exception of the application's: logged once, and answered with 1011."""
        if self._opening is not None and self._state == OPENING:
            self._opening.failed(failure, callback)
            return
        self.logFailure(failure, callback)
        if self._inbox is not None:
            self._inbox.discard()
        self.loseConnection(CloseCode.INTERNAL_ERROR)
        self.factory.applicationFailed(failure)

    def inboxPong(self, payload: bytes) -> None:
        """A Ping of the keepalive's was answered."""
        if self._keepalive is not None:
            self._keepalive.answered(payload)

    def inboxExempt(self, isExempt: bool) -> None:
        """The time in which the application wants nothing to be read begins or ends."""
        if self._keepalive is not None and self._inbox is not None:
            self._keepalive.exempt(isExempt, self._inbox.lastReceived, self)

    def inboxDiscards(self, size: int) -> None:
        """So many bytes came behind our Close, to be discarded."""
        if self._closing is not None and self._state < LOST:
            self._closing.discard(size)

    def inboxDelivers(self) -> None:
        """A message came behind our Close that the application gets."""
        if self._closing is not None:
            self._closing.delivered()

    def inboxEmpty(self) -> None:
        """The transport is lost, and the application has had all: it hears of the loss."""
        inbox, self._inbox = self._inbox, None
        if inbox is None:
            return
        self._state = enter(self._state, OVER)
        application = inbox.finish()
        self._discarded = inbox.discarded
        if application is None:
            return
        try:
            callback = application.connectionLost
            ended = None if isIdle(callback) else asDeferred(callback(Failure(self.lossReason())))
        except APPLICATION_ERRORS:
            self.logFailure(Failure(), "connectionLost")
            return
        if ended is not None:
            ended.addErrback(self.logFailure, "connectionLost")

    def _makeKeepalive(self) -> Keepalive:
        keepalive, factory = self._keepalive, self.factory
        if keepalive is None:
            settings = self._terms.settings
            self._keepalive = keepalive = Keepalive(
                self, factory.reactor, self._outbox, settings.pingInterval, settings.pingTimeout
            )
        return keepalive

    def checkLiveness(self, now: float) -> float | None:
        """Looks for a sign of life; the watch calls this."""
        keepalive, inbox = self._keepalive, self._inbox
        if self._state != OPEN or keepalive is None or inbox is None:
            # From its Close on a connection is watched by other means.
            return None
        if self._outbox.driver.isClosedByOthers(self._transport):
            # A policy around us, such as `TimeoutFactory`, has closed it: TLS waits for its producer, which we are.
            self.loseConnection(CloseCode.GOING_AWAY)
            return None
        # Recompute first: a receive queue that filled up raises no event.
        inbox.updateReading()
        return keepalive.check(now, inbox.lastReceived)

    def keepaliveTimedOut(self, seconds: float) -> None:
        """The peer gave no sign of life."""
        self._beginClosing().giveUp(f"no sign of life for {seconds} s after it was asked")

    def closeWatchActive(self) -> bool:
        """Whether only the close watch would notice that another hand closes the transport."""
        return self._state in (OPENING, OPEN)

    def closeWatchClosed(self) -> None:
        """Another hand closed the transport."""
        if self._opening is not None:
            self._opening.closedPastUs()
        else:
            self.loseConnection(CloseCode.GOING_AWAY)

    def _stopCloseWatch(self) -> None:
        closeWatch, self._closeWatch = self._closeWatch, None
        if closeWatch is not None:
            closeWatch.stop()

    def logFailure(self, failure: Failure, callback: str) -> None:
        """Logs an exception of the application's with the callback's name, the path and the peer."""
        self.factory.log.failure(
            "the application failed in {callback} ({path}, peer {peer})",
            failure,
            callback=callback,
            path=excerpt(self.pathForLog()),
            peer=self.peerForLog(),
        )

    def cancel(self, deferred: Deferred[Any]) -> None:
        """Cancels a Deferred that the application returned to be waited for; its canceller is not ours to trust."""
        try:
            deferred.cancel()
        except Exception:
            self.logFailure(Failure(), "a canceller")

    def groupJoined(self, group: Member) -> bool:
        """It is in a group from now on, and leaves that when it is lost; returns whether it is not lost yet."""
        if self._state >= LOST:
            return False
        if self._groups is None:
            self._groups = []
        if group not in self._groups:
            self._groups.append(group)
        return True

    def groupLeft(self, group: Member) -> None:
        """It is in a group no more."""
        if self._groups is not None:
            self._groups.remove(group)
            self._groups = self._groups or None
