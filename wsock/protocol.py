"""The wire protocol: an open WebSocket between a Twisted transport and an application.

Rules:

* The protocol itself is the sans-IO core's; here it gets a transport, a clock and an application.
* All that leaves goes through `wsock.outgoing`.
* Messages are delivered one after the other and never within a call of the application's own: not from its
  `resumeProducing`, not while another of its callbacks is on the stack or not done.
* The application hears `connectionLost` once, last, and iff it heard `negotiationStarted`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, ITCPTransport
from twisted.logger import Logger
from twisted.python.failure import Failure

from .contract import Application, Settings, WebSocketClosed, WebSocketDropped
from .outgoing import Outgoing, isStock
from .request import Request
from .sansio.connection import Connection
from .sansio.constants import DEFAULT_MAX_MESSAGE_SIZE, CloseCode
from .sansio.events import BinaryReceived, Event, PongReceived, TextReceived

#: Before the connection is open: a subclass does the opening handshake.
OPENING: Final = 0
#: From the end of the opening handshake until we leave the transport to itself.
OPEN: Final = 1
#: Nothing more is read: the last bytes are on their way, input is discarded.
ENDING: Final = 2
#: The transport is lost.
LOST: Final = 3


class WireProtocol:
    """One side of a connection; the application's transport.

    Attributes:
        transport: Twisted's.
        request: the request that opened the connection.
        subprotocol: the one agreed on, or None.
    """

    __slots__ = (
        "_aborted",
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
        "_timer",
        "request",
        "subprotocol",
        "transport",
    )

    _log = Logger()

    transport: Any
    request: Request
    _connection: Connection
    _outgoing: Outgoing

    def __init__(self, reactor: IReactorTime, settings: Settings) -> None:
        self._reactor = reactor
        self._settings = settings
        self._phase = OPENING
        self._application: Application | None = None
        self.subprotocol: str | None = None
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
        self._aborted = False
        #: The transport was not told to stop reading.
        self._reading = True
        self._timer: IDelayedCall | None = None
        self._continuation: IDelayedCall | None = None

    # IProtocol

    def makeConnection(self, transport: Any) -> None:
        """Takes the transport over; Twisted calls this once."""
        self.transport = transport
        self._outgoing = Outgoing(
            transport, self._reactor, self._settings.highWaterMark, self._settings.sendLimit, self._writabilityChanged
        )
        if ITCPTransport.providedBy(transport):
            # A message is a whole thing: waiting for more to fill a segment only delays it.
            transport.setTcpNoDelay(True)
        self._connected()

    def dataReceived(self, data: bytes) -> None:
        """Takes bytes from the transport."""
        if self._phase != OPEN:
            if self._phase == OPENING:
                self._openingReceived(data)
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

    def connectionLost(self, reason: Failure) -> None:
        """The transport is lost; the application hears of it after what it has still to get."""
        phase, self._phase = self._phase, LOST
        self._stopTimer()
        self._outgoing.abort()
        self._lost(phase)
        if self._application is None:
            return
        if self._aborted:
            self._giveUp()
            return
        if self._settings.closeTimeout is not None:
            self._startTimer(self._settings.closeTimeout, self._giveUp)
        if self._held:
            self._enqueue(self._receive(self._takeHeld()))
        self._enqueue(self._connection.receive_eof())
        self._continue()

    # What the two roles do differently

    def _connected(self) -> None:
        """The transport is there."""
        raise NotImplementedError

    def _openingReceived(self, data: bytes) -> None:
        """Bytes came before the connection was open."""
        raise NotImplementedError

    def _lost(self, phase: int) -> None:
        """The transport is lost; ``phase`` was the last."""
        raise NotImplementedError

    # The application's transport

    def sendTextMessage(self, text: str) -> None:
        """Sends a text message; does nothing once the connection is closing.

        Args:
            text: any text without lone surrogates.

        Raises:
            LocalProtocolError: not a str, or one that has no UTF-8.
        """
        buffers = self._connection.send_text(text)
        if buffers and not self._outgoing.write(buffers):
            self._overflow()

    def sendBytesMessage(self, data: bytes | bytearray | memoryview) -> None:
        """Sends a binary message; does nothing once the connection is closing.

        Args:
            data: any bytes; changing them afterwards does not change what is sent.

        Raises:
            LocalProtocolError: of another type.
        """
        buffers = self._connection.send_binary(data)
        if buffers and not self._outgoing.write(buffers):
            self._overflow()

    def ping(self, payload: bytes = b"") -> None:
        """Sends a Ping; the answer comes as `pongReceived`. Does nothing once the connection is closing.

        Args:
            payload: at most 125 bytes.

        Raises:
            LocalProtocolError: a longer payload.
        """
        buffers = self._connection.send_ping(payload)
        if buffers and not self._outgoing.write(buffers):
            self._overflow()

    def loseConnection(self, code: int | None = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Closes the connection, after all that was sent; does nothing once it is closing.

        The peer's messages are delivered until its own Close. `Settings.closeTimeout` after ours has left, the
        connection is aborted.

        Args:
            code: a close code that may travel; None for none.
            reason: at most 123 bytes of UTF-8.

        Raises:
            LocalProtocolError: a code or a reason that can't travel.
        """
        buffers = self._connection.close(code, reason)
        if buffers:
            self._outgoing.writeControl(buffers)
            self._closeSent()

    def abortConnection(self) -> None:
        """Drops the connection at once, and all that was not sent or not delivered."""
        if self._phase == LOST or self._aborted:
            return
        self._aborted = True
        self._phase = ENDING
        self._discard()
        self._stopTimer()
        self._outgoing.abort()
        self.transport.abortConnection()

    def pauseProducing(self) -> None:
        """Delivers no more messages and reads no more bytes until `resumeProducing`."""
        self._paused = True
        self._updateReading()

    def resumeProducing(self) -> None:
        """Delivers messages again, from the reactor's next turn on."""
        self._paused = False
        if self._continuation is None and self._application is not None:
            self._continuation = self._reactor.callLater(0, self._resumed)

    def stopProducing(self) -> None:
        """Closes the connection; for those who hold us for a producer."""
        self.loseConnection()

    def getPeer(self) -> IAddress:
        """Returns the peer's address."""
        address: IAddress = self.transport.getPeer()
        return address

    def getHost(self) -> IAddress:
        """Returns our address."""
        address: IAddress = self.transport.getHost()
        return address

    def getPeerCertificate(self) -> Any:
        """Returns the peer's X.509 certificate over TLS, if it sent one; else None."""
        get = getattr(self.transport, "getPeerCertificate", None)
        return None if get is None else get()

    @property
    def closeSent(self) -> tuple[int, str] | None:
        """(code, reason) of our Close, or None; the code is 1005 where it had none."""
        return self._connection.close_sent

    @property
    def closeReceived(self) -> tuple[int, str] | None:
        """(code, reason) of the peer's Close, or None; the code is 1005 where it had none."""
        return self._connection.close_received

    # From bytes to callbacks

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
        if not connection.is_open and self._phase == OPEN:
            if connection.failed is not None:
                self._log.info("{peer} failed: {error}", peer=self.getPeer(), error=str(connection.failed))
                self._phase = ENDING
                self._leave()
            elif connection.close_received is not None:
                self._phase = ENDING
                self._bothClosed()
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
        return self._paused or self._serving is not None or self._discarding or self._isStalled()

    def _isStalled(self) -> bool:
        """Whether the peer does not read; then it is not read, else what it makes us send has no bound."""
        outgoing = self._outgoing
        return outgoing.paused and self._phase == OPEN and not self._isClosing() and not outgoing.writable

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
        reading = self._phase == ENDING or self._isClosing() or not (
            self._paused or self._held or self._isFull() or self._isStalled()
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

    def _applicationFailed(self, failure: Failure) -> None:
        """An exception of the application's: logged once, and answered with 1011."""
        self._log.failure("the application failed", failure)
        self._discard()
        self.loseConnection(CloseCode.INTERNAL_ERROR)

    def _discard(self) -> None:
        """Delivers no message any more."""
        self._discarding = True
        self._events = None

    # The end

    def _overflow(self) -> None:
        """More is unsent than may be: what has not begun to leave is dropped, and the peer told why."""
        self._outgoing.dropQueue()
        self.loseConnection(CloseCode.TRY_AGAIN_LATER, "too much unsent")

    def _closeSent(self) -> None:
        """Our Close is queued, the peer's is awaited."""
        if self._isHeldUp() and not self._delivering:
            self._seekClose(b"")
        self._updateReading()
        self._watchQueue(self._outgoing.size)
        self._outgoing.whenDrained(self._startCloseTimer)

    def _watchQueue(self, size: int) -> None:
        """Aborts a peer that takes nothing of what stands before our Close for ``pingTimeout``."""
        if self._settings.pingTimeout is not None:
            self._startTimer(self._settings.pingTimeout, self._queueWatched, size)

    def _queueWatched(self, size: int) -> None:
        self._timer = None
        left = self._outgoing.size
        if left and left < size:
            self._watchQueue(left)
        else:
            self.abortConnection()

    def _startCloseTimer(self) -> None:
        self._stopTimer()
        if self._settings.closeTimeout is not None:
            self._startTimer(self._settings.closeTimeout, self._closeTimedOut)

    def _closeTimedOut(self) -> None:
        self._timer = None
        self.abortConnection()

    def _bothClosed(self) -> None:
        """Both sides sent a Close: the transport has done its work (RFC 6455 section 7.1.1)."""
        self._updateReading()
        self._watchQueue(self._outgoing.size)
        self._outgoing.whenDrained(self._loseTransport)

    def _loseTransport(self) -> None:
        self._startCloseTimer()
        self._outgoing.unregister()
        self.transport.loseConnection()

    def _leave(self) -> None:
        """Ends a connection whose peer may still be sending, so that our last bytes reach it.

        Closing a socket that has unread input makes the system send a reset, upon which the peer throws away what it
        has not read: it would see 1006 in place of our code. So we close our half, and discard what comes until the
        peer's. A TLS connection is left to its own farewell: half a close would truncate it.
        """
        self._updateReading()
        self._watchQueue(self._outgoing.size)
        self._outgoing.whenDrained(self._halfClose if isStock(self.transport) else self._loseTransport)

    def _halfClose(self) -> None:
        self._startCloseTimer()
        self._outgoing.unregister()
        self.transport.loseWriteConnection()

    def _startTimer(self, seconds: float, call: Any, *arguments: object) -> None:
        self._stopTimer()
        self._timer = self._reactor.callLater(seconds, call, *arguments)

    def _stopTimer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _giveUp(self) -> None:
        """The transport is lost, and the application has not come to an end with what it got before."""
        self._timer = None
        self._discard()
        serving = self._serving
        if serving is not None:
            serving.cancel()
        self._serving = None
        self._tell()

    def _tell(self) -> None:
        """Tells the application that it is over."""
        application, self._application = self._application, None
        if application is None:
            return
        self._stopTimer()
        if self._continuation is not None:
            self._continuation.cancel()
            self._continuation = None
        try:
            application.connectionLost(Failure(self._reason()))
        except Exception:
            self._log.failure("the application failed in connectionLost")

    def _reason(self) -> WebSocketClosed | WebSocketDropped:
        connection = self._connection
        sent, received = connection.close_sent, connection.close_received
        if sent is not None and received is not None:
            return WebSocketClosed(f"closed with {received[0]} {received[1]}".rstrip(), received, sent)
        failed = connection.failed
        if failed is not None:
            return WebSocketDropped(str(failed), received, sent, failed.code)
        return WebSocketDropped("the connection was lost without a Close", received, sent)
