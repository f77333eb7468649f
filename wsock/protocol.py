"""The wire protocol: an open WebSocket between a Twisted transport and an application.

Rules:

* The protocol itself is the sans-IO core's; here it gets a transport, a clock and an application.
* All that comes in is delivered by `wsock.delivery`, all that leaves goes through `wsock.outgoing`.
* A connection ends in a bounded time, and our last bytes reach a peer that reads them.
* The application hears `connectionLost` once, last, and iff it heard `negotiationStarted`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, ITCPTransport
from twisted.logger import Logger
from twisted.python.failure import Failure

from .contract import Settings, WebSocketClosed, WebSocketDropped
from .delivery import ENDING, LOST, Delivery
from .outgoing import Outgoing, isStock
from .request import Request
from .sansio.constants import CloseCode


class WireProtocol(Delivery):
    """One side of a connection; the application's transport.

    Attributes:
        transport: Twisted's.
        request: the request that opened the connection.
        subprotocol: the one agreed on, or None.
    """

    __slots__ = ("_aborted", "_closeTimed", "_timer", "request", "subprotocol")

    _log = Logger()

    request: Request

    def __init__(self, reactor: IReactorTime, settings: Settings) -> None:
        super().__init__(reactor, settings)
        self.subprotocol: str | None = None
        self._aborted = False
        #: The opening timer; later the closing timer, or what watches over the queue before our Close.
        self._timer: IDelayedCall | None = None
        #: The closing timer runs.
        self._closeTimed = False

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
        self.connectionMade()

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

    def connectionMade(self) -> None:
        """The transport is there: the opening handshake begins."""
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

    def _applicationFailed(self, failure: Failure) -> None:
        """An exception of the application's: logged once, and answered with 1011."""
        self._log.failure("the application failed", failure)
        self._discard()
        self.loseConnection(CloseCode.INTERNAL_ERROR)

    # The end

    def _overflow(self) -> None:
        """More is unsent than may be: what has not begun to leave is dropped, and the peer told why."""
        self._outgoing.dropQueue()
        self.loseConnection(CloseCode.TRY_AGAIN_LATER, "too much unsent")

    def _closeSent(self) -> None:
        """Our Close is queued, the peer's is awaited."""
        if self._isHeldUp() and not self._delivering:
            self._seekClose(b"")
        self._whenSent(self._startCloseTimer)

    def _protocolEnded(self) -> None:
        failed = self._connection.failed
        if failed is not None:
            self._log.info("{peer} failed: {error}", peer=self.getPeer(), error=str(failed))
            self._leave()
        else:
            # Both sides sent a Close: the transport has done its work (RFC 6455 §7.1.1).
            self._whenSent(self._loseTransport)

    def _leave(self) -> None:
        """Ends a connection whose peer may still be sending, so that our last bytes reach it.

        Closing a socket that has unread input makes the system send a reset, upon which the peer throws away what it
        has not read: it would see 1006 in place of our code. So we close our half, and discard what comes until the
        peer's. A TLS connection is left to its own farewell: half a close would truncate it.
        """
        self._whenSent(self._halfClose if isStock(self.transport) else self._loseTransport)

    def _whenSent(self, then: Callable[[], None]) -> None:
        """Calls ``then`` when our last bytes have left the queue; a peer that takes none of them is aborted."""
        self._updateReading()
        if not self._closeTimed:
            self._watchQueue(self._outgoing.size)
        self._outgoing.whenDrained(then)

    def _watchQueue(self, size: int) -> None:
        if self._settings.pingTimeout is not None:
            self._startTimer(self._settings.pingTimeout, self._queueWatched, size)

    def _queueWatched(self, size: int) -> None:
        self._timer = None
        left = self._outgoing.size
        if left < size:
            self._watchQueue(left)
        else:
            self.abortConnection()

    def _halfClose(self) -> None:
        self._startCloseTimer()
        self._outgoing.unregister()
        self.transport.loseWriteConnection()

    def _loseTransport(self) -> None:
        self._startCloseTimer()
        self._outgoing.unregister()
        self.transport.loseConnection()

    def _startCloseTimer(self) -> None:
        """From here on the connection has ``closeTimeout`` to be lost, whatever the peer and TLS wait for."""
        if self._closeTimed:
            return
        self._closeTimed = True
        self._stopTimer()
        if self._settings.closeTimeout is not None:
            self._startTimer(self._settings.closeTimeout, self._closeTimedOut)

    def _closeTimedOut(self) -> None:
        self._timer = None
        self.abortConnection()

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
