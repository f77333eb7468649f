"""The server's side: the opening handshake, and the factory that holds the connections."""

from __future__ import annotations

from collections.abc import Collection, Coroutine, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocol, IProtocolFactory, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from .contract import Accept, BuildApplication, Refuse, Settings
from .delivery import ENDING, OPEN, OPENING
from .protocol import WireProtocol
from .request import Request
from .sansio import handshake
from .sansio.connection import Connection
from .sansio.constants import CloseCode, Role, is_sendable_close_code
from .sansio.errors import InvalidRequest, LocalProtocolError
from .sansio.handshake import Opening
from .sansio.http import Request as Head
from .sansio.http import RequestDecoder, Response

#: How much of what follows a request is held while ``buildApplication`` decides, in bytes.
_UNDECIDED: Final = 65536
#: What a client is told to wait before it tries again, in seconds.
_RETRY_AFTER: Final = ("Retry-After", "5")
#: How long `WebSocketServerFactory.stop` waits for the peers' Close, in seconds.
_GRACE: Final = 4


@implementer(IProtocol)
class WebSocketServerProtocol(WireProtocol):
    """A server's connection, from its first byte; made by `WebSocketServerFactory`, never subclassed."""

    __slots__ = ("_deciding", "_decoder", "_forwarded", "_opening", "factory")

    _log = Logger()

    def __init__(self, factory: WebSocketServerFactory, reactor: IReactorTime) -> None:
        super().__init__(reactor, factory.settings)
        self.factory = factory
        #: None once the request is whole.
        self._decoder: RequestDecoder | None = RequestDecoder()
        self._deciding: Deferred[Any] | None = None
        self._opening: Opening | None = None
        #: Who got the connection, because it does not want a WebSocket.
        self._forwarded: IProtocol | None = None

    def logPrefix(self) -> str:
        """Names the connection in Twisted's log."""
        return "wsock"

    # The opening handshake

    def connectionMade(self) -> None:
        """Waits for the request, for ``openTimeout``."""
        self.factory._wires.add(self)
        if self._settings.openTimeout is not None:
            self._startTimer(self._settings.openTimeout, self._openingTimedOut)

    def _unopenedReceived(self, data: bytes) -> None:
        decoder = self._decoder
        if self._forwarded is not None:
            self._forwarded.dataReceived(data)
        elif self._phase != OPENING:
            # What comes after our last word is discarded.
            pass
        elif decoder is None:
            self._holdUndecided(data)
        else:
            self._decode(decoder, data)

    def _decode(self, decoder: RequestDecoder, data: bytes) -> None:
        try:
            head = decoder.decode(data)
        except InvalidRequest as error:
            self._refuse(handshake.refusal(error), str(error))
            return
        if head is None:
            return
        self._decoder = None
        if self.factory.otherwise is not None and not handshake.wants_websocket(head):
            self._forward(head.raw + decoder.unread)
            return
        if decoder.unread:
            self._held.append(decoder.unread)
        self._check(head)

    def _holdUndecided(self, data: bytes) -> None:
        """Holds what comes while ``buildApplication`` decides; a peer that sends much is made to wait."""
        self._held.append(data)
        if self._reading and sum(map(len, self._held)) > _UNDECIDED:
            self._reading = False
            self.transport.pauseProducing()

    def _check(self, head: Head) -> None:
        try:
            self._opening = opening = handshake.handle_open(head, allowed_origins=self.factory.allowedOrigins)
        except InvalidRequest as error:
            self._refuse(handshake.refusal(error), str(error))
            return
        if self.factory._isFull():
            self._refuse(handshake.refuse(503, (_RETRY_AFTER,)), "as many connections as may be are open")
            return
        self.request = Request(opening, self)
        try:
            decision = self.factory.buildApplication(self.request)
        except Exception:
            self._decisionFailed(Failure())
            return
        if isinstance(decision, Coroutine):
            decision = Deferred.fromCoroutine(decision)
        if isinstance(decision, Deferred):
            self._deciding = decision
            decision.addCallback(self._accept).addErrback(self._decisionFailed)
        else:
            self._acceptOrFail(decision)

    def _acceptOrFail(self, decision: object) -> None:
        try:
            self._accept(decision)
        except Exception:
            self._decisionFailed(Failure())

    def _accept(self, decision: object) -> None:
        """Answers with 101, and brings the application and the connection together."""
        self._deciding = None
        if self._phase != OPENING:
            return
        accept = decision if isinstance(decision, Accept) else Accept(decision)  # type: ignore[arg-type]
        opening, self._opening = self._opening, None
        assert opening is not None
        if not callable(getattr(accept.application, "negotiationStarted", None)):
            raise TypeError("buildApplication returned no application, nor a Deferred or coroutine of one")
        subprotocol = accept.subprotocol
        if subprotocol is None:
            subprotocol = next((name for name in self.factory.subprotocols if name in opening.subprotocols), None)
        headers = (*self.factory.headers, *accept.headers)
        answer = handshake.response(opening, subprotocol=subprotocol, headers=headers)
        settings = self._settings
        self._connection = Connection(
            Role.SERVER,
            max_message_size=settings.maxMessageSize,
            max_empty_fragments=settings.maxEmptyFragments,
            receive_queue=settings.receiveQueue,
        )
        self._stopTimer()
        self.subprotocol = subprotocol
        self._application = accept.application
        self._phase = OPEN
        self._open(answer)

    def _open(self, answer: Response) -> None:
        application, outgoing = self._application, self._outgoing
        assert application is not None
        outgoing.cork()
        self._delivering = True
        try:
            # First in the queue, so that whatever the application sends from here on leaves after it.
            outgoing.writeControl([answer.encode()])
            try:
                application.negotiationStarted(self)
            except Exception:
                outgoing.dropQueue()
                self._discard()
                self._phase = OPENING
                raise
            if self._phase != OPEN:
                return
            self.factory._opened(self)
            outgoing.register()
            try:
                result = application.negotiationFinished()
            except Exception:
                self._applicationFailed(Failure())
            else:
                if result is not None:
                    self._serve(result)
        finally:
            self._delivering = False
            outgoing.uncork()
        self._continue()

    def _decisionFailed(self, failure: Failure) -> None:
        self._deciding = None
        if self._phase != OPENING:
            return
        refuse = failure.value
        if isinstance(refuse, Refuse):
            try:
                self._refuse(handshake.refuse(refuse.status, refuse.headers, refuse.body), "the application refused")
                return
            except LocalProtocolError:
                failure = Failure()
        self._log.failure("the application failed to decide on a connection", failure)
        self._refuse(handshake.refuse(500))

    def _refuse(self, answer: Response, why: str | None = None) -> None:
        """Answers with HTTP and ends the connection."""
        if why is not None:
            self._log.info("{peer} refused with {status}: {why}", peer=self.getPeer(), status=answer.status, why=why)
        self._phase = ENDING
        self._held.clear()
        self._outgoing.uncork()
        self._outgoing.writeControl([answer.encode()])
        self._leave()

    def _openingTimedOut(self) -> None:
        self._timer = None
        self._endOpening("the opening handshake took too long")

    def _endOpening(self, why: str, stopping: bool = False) -> None:
        deciding, self._deciding = self._deciding, None
        if self._decoder is None or (stopping and self._decoder.has_started):
            self._refuse(handshake.refuse(503, (_RETRY_AFTER,)), why)
        elif self._decoder.has_started:
            self._refuse(handshake.refuse(408), why)
        else:
            # RFC 9110 §15.5.9 wants a request to answer: a peer that said nothing gets no answer.
            self._phase = ENDING
            self._loseTransport()
        if deciding is not None:
            deciding.cancel()

    def _lost(self, phase: int) -> None:
        self.factory._closed(self)
        deciding, self._deciding = self._deciding, None
        if deciding is not None:
            deciding.cancel()

    # Those who do not want a WebSocket

    def _forward(self, data: bytes) -> None:
        """Hands the connection to ``otherwise``; we stay between as a pipe.

        Swapping the transport's protocol would do nothing under TLS, where the transport is a protocol itself.
        """
        factory = self.factory.otherwise
        assert factory is not None
        self._stopTimer()
        self._phase = ENDING
        protocol = factory.buildProtocol(self.getPeer())
        if protocol is None:
            self._loseTransport()
            return
        self._forwarded = protocol
        protocol.makeConnection(self.transport)
        protocol.dataReceived(data)

    def connectionLost(self, reason: Failure) -> None:
        """The transport is lost."""
        super().connectionLost(reason)
        forwarded, self._forwarded = self._forwarded, None
        if forwarded is not None:
            forwarded.connectionLost(reason)

    # For the factory

    def _stop(self, code: int) -> None:
        if self._phase == OPEN:
            self.loseConnection(code)
        elif self._phase == OPENING:
            self._endOpening("the server stops", stopping=True)
        elif self._forwarded is not None:
            self.transport.loseConnection()


@implementer(IProtocolFactory)
class WebSocketServerFactory:
    """Makes server connections; for ``listenTCP``, any endpoint, and whatever takes a Twisted factory.

    Attributes:
        settings: limits and timers.
    """

    noisy = False
    _log = Logger()

    def __init__(
        self,
        buildApplication: BuildApplication,
        *,
        reactor: IReactorTime | None = None,
        settings: Settings = Settings(),  # noqa: B008 - frozen
        subprotocols: Sequence[str] = (),
        allowedOrigins: Sequence[str] | None = None,
        headers: Sequence[tuple[str, str]] = (),
        otherwise: IProtocolFactory | None = None,
    ) -> None:
        """Args:
        buildApplication: called with the `Request` of each client that asks for a WebSocket. Returns an application,
            or an `Accept`, or a Deferred or coroutine of either; raises `Refuse`. Anything else that it raises is
            logged and answered with 500. A Deferred is cancelled when the client leaves, or ``openTimeout`` passes.
        reactor: for the timers; by default the global one, from the first connection on.
        settings: limits and timers.
        subprotocols: those to choose from where ``buildApplication`` chooses none, the preferred first.
        allowedOrigins: which pages may connect, as ``https://host[:port]``; ``("*",)`` lets all; by default those
            of the host that they ask for. Clients that are no browsers send no Origin, and are not held up.
        headers: more fields for each 101 answer.
        otherwise: a factory for the connections whose request is not for a WebSocket, such as a
            ``twisted.web.server.Site``; by default they are answered with 426.

        Raises:
            LocalProtocolError: an origin or a header that can't be.
        """
        handshake.check_origins(allowedOrigins)
        self.buildApplication = buildApplication
        self.settings = settings
        self.allowedOrigins = allowedOrigins
        self.headers = tuple(headers)
        self.subprotocols = tuple(subprotocols)
        self.otherwise = otherwise
        self._reactor = reactor
        self._wires: set[WebSocketServerProtocol] = set()
        self._open: set[WebSocketServerProtocol] = set()
        self._stopping = False
        self._stopped: list[Deferred[None]] = []
        self._graceEnd: IDelayedCall | None = None

    @property
    def connections(self) -> Collection[WebSocketServerProtocol]:
        """The open connections, as they are now."""
        return frozenset(self._open)

    def buildProtocol(self, addr: IAddress | None) -> WebSocketServerProtocol:
        """Returns the protocol for a new connection."""
        return WebSocketServerProtocol(self, self._clock())

    def doStart(self) -> None:
        """A port begins to listen."""
        if self.otherwise is not None:
            self.otherwise.doStart()

    def doStop(self) -> None:
        """A port has stopped to listen; the connections go on until `stop`."""
        if self.otherwise is not None:
            self.otherwise.doStop()

    def stop(self, code: int = CloseCode.GOING_AWAY) -> Deferred[None]:
        """Ends all connections: those in their opening handshake with 503, open ones with a Close.

        Those that are still there after 4 seconds are aborted. New ones get 503. Stop listening first.

        Args:
            code: the close code.

        Returns:
            a Deferred that fires when all connections are lost. It never fails; cancelling it has no effect on them.

        Raises:
            LocalProtocolError: a close code that can't travel.
        """
        if not isinstance(code, int) or not is_sendable_close_code(code):
            raise LocalProtocolError("this close code never travels")
        self._stopping = True
        stopped: Deferred[None] = Deferred()
        self._stopped.append(stopped)
        for wire in list(self._wires):
            wire._stop(code)
        if self._graceEnd is None and self._wires:
            self._graceEnd = self._clock().callLater(_GRACE, self._abortAll)
        self._checkStopped()
        return stopped

    def _abortAll(self) -> None:
        self._graceEnd = None
        for wire in list(self._wires):
            wire.abortConnection()

    def _isFull(self) -> bool:
        limit = self.settings.maxConnections
        return self._stopping or (limit is not None and len(self._open) >= limit)

    def _opened(self, wire: WebSocketServerProtocol) -> None:
        self._open.add(wire)

    def _closed(self, wire: WebSocketServerProtocol) -> None:
        self._wires.discard(wire)
        self._open.discard(wire)
        self._checkStopped()

    def _checkStopped(self) -> None:
        if self._stopping and not self._wires:
            if self._graceEnd is not None:
                self._graceEnd.cancel()
                self._graceEnd = None
            stopped, self._stopped = self._stopped, []
            for deferred in stopped:
                deferred.callback(None)

    def _clock(self) -> IReactorTime:
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor
        return self._reactor
