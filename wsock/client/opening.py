"""A client's opening handshake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from ..application import describeMistake, isApplication
from ..errors import WebSocketDropped
from ..log import CAUGHT, ClassLogger, letGo, printable, release
from ..reasons import again
from ..request import Request, Response
from ..sansio import handshake
from ..sansio.body import BodyDecoder
from ..sansio.constants import CloseCode, Role
from ..sansio.errors import ConnectionRejected, InvalidResponse, LocalProtocolError, WebSocketError
from ..sansio.handshake import Agreement
from ..sansio.http import Request as Head
from ..sansio.http import Response as AnswerHead
from ..sansio.http import ResponseDecoder
from ..wire.guard import GUARD_SECONDS, Guard, guardOf
from ..wire.inbox import ENDING, OPEN, OPENING, asDecision, asDeferred
from ..wire.protocol import WireProtocol
from ..wire.tlsfailures import describeClientFailure, isDone
from ..wire.transports import driverOf
from .attempt import tooLong

if TYPE_CHECKING:
    from .factory import WebSocketClientFactory

#: How a TLS server begins that is spoken to in plain (RFC 8446 section 5.1).
_TLS_ALERT: Final = b"\x15\x03"
#: What others answer then: nginx, Apache, and Go's library. Their status alone does not tell.
_PLAIN_AT_TLS: Final = (
    b"plain HTTP request was sent to HTTPS port",
    b"speaking plain HTTP to an SSL-enabled server port",
    b"HTTP request to an HTTPS server",
)
_SPEAKS_TLS: Final = "the server speaks TLS on this port: write wss:// in the URL"
#: How much is kept of the body of a refusal, in bytes.
_MAX_BODY: Final = 65536


class WebSocketClientProtocol(WireProtocol):
    """A client's connection, from its first byte; made by `WebSocketClientFactory`, never subclassed."""

    __slots__ = ("_answer", "_body", "_building", "_decoder", "_failure", "_failureTold", "_guard", "_head", "_started")

    _log = ClassLogger()
    _role = Role.CLIENT

    factory: WebSocketClientFactory

    def __init__(self, factory: WebSocketClientFactory, reactor: IReactorTime) -> None:
        super().__init__(factory, reactor)
        self._building: Deferred[Any] | None = None
        self._guard: Guard | None = None
        self._decoder: ResponseDecoder | None = None
        #: The request, until it is answered.
        self._head: Head | None = None
        #: What ``negotiationStarted`` gave to be waited for.
        self._started: Deferred[Any] | None = None
        #: The answer that is no WebSocket, and its body, while that comes.
        self._answer: AnswerHead | None = None
        self._body: BodyDecoder | None = None
        #: Why the opening handshake failed.
        self._failure: BaseException | None = None
        self._failureTold = False

    # The opening handshake

    def connectionMade(self) -> None:
        """Asks for the WebSocket, once there is an application."""
        factory = self.factory
        # An endpoint, or a `ClientService`, hands us out while there is no application yet.
        self._outgoing.hold()
        if factory._stopping:
            self._phase = ENDING
            self._loseTransport()
            return
        factory._wires.add(self)
        factory._made(self)
        if self._phase != OPENING:
            return
        if factory.url.secure and not self._outgoing.driver.isSecure(self._transport):
            # The request has what is to be kept secret: cookies, and tokens.
            self._fail(LocalProtocolError("a wss: URL wants a transport with TLS, and this one has none"))
            return
        self._guard = guardOf(self, self._reactor)
        seconds = factory._secondsToOpen()
        if seconds is not None:
            self._startTimer(seconds, self._openingTimedOut)
        self._head = factory._request()
        self.request = Request(self._head, self._transport)
        try:
            application = factory.buildApplication(self.request)
        except CAUGHT as error:
            self._fail(error)
            return
        building = asDecision(application)
        if building is None:
            self._built(application)
        else:
            self._building = building
            building.addCallbacks(self._built, self._buildingFailed)

    def _buildingFailed(self, failure: Failure) -> None:
        self._building = None
        if self._phase == OPENING:
            assert failure.value is not None
            self._fail(failure.value)
        elif not failure.check(CancelledError):
            self._logFailure(failure, "buildApplication")
        else:
            letGo(failure)

    def _built(self, application: Any) -> None:
        """Starts the negotiation; what the application sends from here on waits for the answer."""
        self._building = None
        if self._phase != OPENING:
            return
        if not isApplication(application):
            self._fail(TypeError(describeMistake("buildApplication returned", application)))
            return
        self._application = application
        try:
            self._started = asDeferred(application.negotiationStarted(self))
        except CAUGHT:
            self._applicationFailed(Failure(), "negotiationStarted")
            return
        if self._started is not None:
            self._started.addErrback(self._startedFailed)
        if self._phase == OPENING and self._head is not None:
            settings = self._settings
            self._decoder = ResponseDecoder(
                max_header_line=settings.maxHeaderLine,
                max_header_size=settings.maxHeaderSize,
                max_headers=settings.maxHeaders,
            )
            self._outgoing.writeAhead(self._head.encode())

    def _startedFailed(self, failure: Failure) -> Failure | None:
        if self._phase != OPENING:
            return failure
        self._applicationFailed(failure, "negotiationStarted")
        return None

    def _applicationFailed(self, failure: Failure, callback: str) -> None:
        if self._phase != OPENING:
            super()._applicationFailed(failure, callback)
            self.factory._applicationFailed(failure)
            return
        self._logFailure(failure, callback)
        self._fail(_applicationFailed(failure.value))

    def _unopenedReceived(self, data: bytes) -> None:
        if self._phase != OPENING:
            if self._phase == ENDING:
                self._countUndelivered(len(data))
            return
        if self._body is not None:
            self._readBody(self._body, data)
        elif self._decoder is None:
            self._fail(InvalidResponse("the server spoke before it was asked"))
        else:
            self._decode(self._decoder, data)

    def _decode(self, decoder: ResponseDecoder, data: bytes) -> None:
        assert self._head is not None
        try:
            answer = decoder.decode(data)
        except InvalidResponse as error:
            speaksTLS = data.startswith(_TLS_ALERT)
            self._fail(InvalidResponse(_SPEAKS_TLS) if speaksTLS else error)
            return
        if answer is None:
            return
        try:
            self.response = Response(answer)
            agreement = handshake.handle_response(answer, self._head)
        except InvalidResponse as error:
            self._fail(error)
        except ConnectionRejected:
            self._answer = answer
            self._body = BodyDecoder(answer, _MAX_BODY)
            self._readBody(self._body, decoder.unread)
        else:
            self._opened(agreement, decoder.unread)

    def _readBody(self, body: BodyDecoder, data: bytes) -> None:
        if body.decode(data) and self._answer is not None:
            self._fail(_rejection(self._answer, body), abort=False)

    def _opened(self, agreement: Agreement, unread: bytes) -> None:
        application, outgoing = self._application, self._outgoing
        assert application is not None
        self._stopTimer()
        self._head = self._decoder = None
        self.subprotocol = agreement.subprotocol
        self._phase = OPEN
        self.factory._open.add(self)
        self._life = self._reactor.seconds()
        self._startWatch()
        started, self._started = self._started, None
        outgoing.cork()
        self._delivering = True
        try:
            self._register()
            pending = None if started is None else ("negotiationStarted", started)
            self._negotiate({"negotiationFinished": application.negotiationFinished}, pending)
            self.factory._opened(self, application)
            if unread:
                self._hold(unread)
            if self._connection.close_sent is not None and not self._lastSent:
                # It was closed before it was open.
                self._closeSent()
        finally:
            self._delivering = False
            outgoing.uncork()
        # What waited for the answer has left, as far as the transport takes it.
        self.outboxWritable()

    def _closeSent(self) -> None:
        if self._phase == OPENING:
            # It leaves when the connection is open, if it ever is; until then the opening timer runs.
            self._stopProducer()
        else:
            super()._closeSent()

    def _openingTimedOut(self) -> None:
        self._timer = None
        self._endOpening(tooLong(isDone(self._transport)))

    def _endOpening(self, error: WebSocketDropped) -> None:
        """Ends an opening handshake that nobody waits for any more."""
        if self._answer is not None and self._body is not None:
            # The body of a refusal did not end in time.
            self._fail(_rejection(self._answer, self._body))
        else:
            self._fail(error)

    def _isGuarded(self) -> bool:
        return self._phase == OPENING or (self._phase == OPEN and not self._isClosing())

    def _closedPastUs(self) -> None:
        if self._phase == OPEN:
            self.loseConnection(CloseCode.GOING_AWAY)
        else:
            self._endOpening(WebSocketDropped("the transport was closed before it was open"))

    def _fail(self, error: BaseException, abort: bool = True) -> None:
        """Ends a connection that was never open."""
        if isinstance(error, WebSocketError):
            # Where we found that tells nobody anything.
            release(error)
        self._failure = error
        building, self._building = self._building, None
        if abort:
            self.abortConnection()
        else:
            self._phase = ENDING
            self._connection.eof = True
            self._stopTimer()
            self._stopProducer()
            self._outgoing.abort()
            self._loseTransport()
            seconds = self._settings.closeTimeout
            if self._phase == ENDING and (seconds is None or seconds > GUARD_SECONDS):
                # There is nothing to wait for but TLS's farewell.
                self._startTimer(GUARD_SECONDS, self._closeTimedOut)
        if building is not None:
            self._cancel(building)
        self._tellFailed()

    def _tellFailed(self) -> None:
        """Tells once who waits for the connection."""
        failure = self._failure
        if failure is not None and not self._failureTold:
            self._failureTold = True
            # Who is told holds the frames that it is thrown into.
            self._failure = again(failure)
            self.factory._failed(self, failure)

    def connectionLost(self, reason: Failure) -> None:
        """The transport is lost; the application, or who waits for the connection, hears of it."""
        if self._guard is not None:
            self._guard.leave()
            self._guard = None
        if self._head is not None and self._failure is None:
            if self._answer is not None and self._body is not None:
                self._failure = _rejection(self._answer, self._body)
            else:
                self._failure = _lostTooEarly(reason, self._transport, self._decoder)
        started, self._started = self._started, None
        if started is not None:
            # Nothing is to be opened any more: as any callback, it has a time to end.
            self._serve(started, "negotiationStarted")
        super().connectionLost(reason)

    def _openingLost(self, reason: Failure) -> None:
        building, self._building = self._building, None
        if building is not None:
            self._cancel(building)
        self._tellFailed()

    def _reason(self) -> BaseException:
        return super()._reason() if self._failure is None else again(self._failure)

    def _bothClosed(self) -> None:
        # The server drops the connection first, so that its side does not wait for old segments (RFC 6455 §7.1.1).
        self._whenSent(self._startCloseTimer)

    def _stop(self, code: int) -> None:
        if self._phase == OPEN:
            self.loseConnection(code)
        elif self._phase == OPENING:
            self._fail(WebSocketDropped("closed before it was open"))


def _applicationFailed(error: BaseException | None) -> WebSocketDropped:
    # Its traceback is in the log.
    dropped = WebSocketDropped("the application failed")
    dropped.__cause__ = error
    return dropped


def _rejection(answer: AnswerHead, body: BodyDecoder) -> ConnectionRejected:
    answer.body = body.body
    told = f"the server answered {answer.status} {printable(answer.reason)}".rstrip()
    if answer.status == 400 and any(words in answer.body for words in _PLAIN_AT_TLS):
        told += f": {_SPEAKS_TLS}"
    return ConnectionRejected(told, Response(answer))


def _lostTooEarly(reason: Failure, transport: Any, decoder: ResponseDecoder | None) -> WebSocketDropped:
    """Says why there was no answer."""
    error = reason.value
    why = None
    isSecure = driverOf(transport).isSecure(transport)
    if isSecure:
        why = describeClientFailure(error, transport)
    if why is None:
        why = "the connection was lost before the server answered"
        if not isinstance(error, (ConnectionDone, ConnectionLost, ConnectionAborted)):
            why += f": {error!r}"
        elif decoder is not None and not decoder.has_started and not isSecure:
            why += ": if it speaks TLS on this port, write wss:// in the URL"
    dropped = WebSocketDropped(why)
    dropped.__cause__ = error
    return dropped
