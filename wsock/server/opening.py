"""A server's opening handshake."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from email.utils import formatdate
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IReactorTime,
)
from twisted.python.failure import Failure

from ..application import Accept, Refuse, describeMistake, isApplication
from ..log import CAUGHT, ClassLogger, excerpt, letGo, release
from ..request import Request
from ..sansio import handshake
from ..sansio.constants import CloseCode, Role
from ..sansio.errors import InvalidRequest
from ..sansio.handshake import Opening
from ..sansio.http import Request as Head
from ..sansio.http import RequestDecoder, Response
from ..server import refusal
from ..wire.factory import SOFTWARE, withDefault
from ..wire.guard import Guard, guardOf
from ..wire.inbox import ENDING, OPEN, OPENING, asDecision, asDeferred
from ..wire.protocol import WireProtocol
from ..wire.tlsfailures import describeServerFailure
from .access import makeRecord

if TYPE_CHECKING:
    from .factory import WebSocketServerFactory

#: How much of what follows a request is held while ``buildApplication`` decides, in bytes.
_UNDECIDED: Final = 65536
#: How much all connections of a factory hold of heads that have not ended, in bytes; more is answered with 503. Some
#: thousands of slow clients fit.
_UNFINISHED: Final = 2**26
_CROWDED: Final = "the server holds as much of unfinished requests as it may"
#: How the log tells of a refusal, and of many.
_REFUSED: Final = "refused {request} from {peer} with {status}: {why}"
_REFUSED_MORE: Final = "refused {count:,} more in {seconds} s, the last {request} from {peer} with {status}: {why}"
#: What became of a request, for an access log: the status of its answer, and the reason of a refusal.
_UNANSWERED: Final[tuple[int | None, str]] = (None, "lost before there was an answer")
_ACCEPTED: Final = (101, "")
#: How the log tells of a failed TLS handshake, and of many.
_TLS_FAILED: Final = "TLS with {peer} failed: {why}"
_TLS_FAILED_MORE: Final = "TLS failed {count:,} times more in {seconds} s, the last time with {peer}: {why}"
#: A request that offers nothing, to try headers on.
_ANYONE: Final = Opening(Head(b""), "", [], [], None, "")


class _BuildsProtocols(Protocol):
    def buildProtocol(self, addr: Any, /) -> Any:
        """Builds the protocol of a connection."""

    def doStart(self) -> Any:
        """A port begins to listen."""

    def doStop(self) -> Any:
        """A port has stopped to listen."""


#: An ``IProtocolFactory``, also for type checkers that do not know what implements one: those without mypy-zope.
#: In quotes: before zope.interface 6.2 an interface had no ``|``.
Otherwise: TypeAlias = "IProtocolFactory | _BuildsProtocols"


class WebSocketServerProtocol(WireProtocol):
    """A server's connection, from its first byte; made by `WebSocketServerFactory`, never subclassed."""

    __slots__ = ("_began", "_deciding", "_decoder", "_forwarded", "_guard", "_opening", "_outcome")

    _log = ClassLogger()
    _role = Role.SERVER

    factory: WebSocketServerFactory

    def __init__(self, factory: WebSocketServerFactory, reactor: IReactorTime) -> None:
        super().__init__(factory, reactor)
        settings = factory.settings
        #: None once the request is whole.
        self._decoder: RequestDecoder | None = RequestDecoder(
            max_header_line=settings.maxHeaderLine,
            max_header_size=settings.maxHeaderSize,
            max_headers=settings.maxHeaders,
        )
        self._deciding: Deferred[Any] | None = None
        self._opening: Opening | None = None
        self._guard: Guard | None = None
        #: Who got the connection, because it does not want a WebSocket.
        self._forwarded: IProtocol | None = None
        #: The HTTP status of the answer, and why it is a refusal.
        self._outcome = _UNANSWERED
        #: When the connection was made, where a record of it is wanted.
        self._began: float | None = None

    # The opening handshake

    def connectionMade(self) -> None:
        """Waits for the request, for ``openTimeout``."""
        # Nothing is sent before the 101, nor where there is none.
        self._connection.eof = True
        if self.factory.accessLog is not None:
            self._began = self._reactor.seconds()
        if not self.factory._stopping:
            # Later ones are refused in any case: they must not hold up those who wait for the end.
            self.factory._wires.add(self)
        if self._settings.openTimeout is not None:
            self._startTimer(self._settings.openTimeout, self._openingTimedOut)
        self._guard = guardOf(self, self._reactor)

    def _isGuarded(self) -> bool:
        # Once it is open, the keepalive looks.
        return self._phase == OPENING

    def _closedPastUs(self) -> None:
        self.abortConnection()

    def _unopenedReceived(self, data: bytes) -> None:
        if self._forwarded is not None:
            self._forwarded.dataReceived(data)
        elif self._phase == OPENING:
            if self._decoder is None:
                self._holdUndecided(data)
            else:
                self._decode(self._decoder, data)
        elif self._phase == ENDING:
            self._countUndelivered(len(data))

    def _decode(self, decoder: RequestDecoder, data: bytes) -> None:
        held = decoder.held
        try:
            head = decoder.decode(data)
        except InvalidRequest as error:
            self.factory._unfinished -= held
            self._refuse(*refusal.invalid(error), decoder.is_for_head)
            return
        self.factory._unfinished += decoder.held - held
        if head is None:
            if self.factory._unfinished > _UNFINISHED:
                self._refuse(refusal.unavailable(_CROWDED), _CROWDED, self._dropDecoder())
            return
        self._decoder = None
        if self.factory._stopping:
            self.request = Request(head, self._transport)
            self._refuse(refusal.unavailable(refusal.STOPS), refusal.STOPS, head.method == "HEAD")
        elif self.factory.otherwise is not None and not handshake.wants_websocket(head):
            self._forward(self.factory.otherwise, head.raw + decoder.unread)
        else:
            if decoder.unread:
                self._hold(decoder.unread)
            self._check(head)

    def _dropDecoder(self) -> bool:
        """Lets go of a request that has not ended; returns whether it is for HEAD."""
        decoder, self._decoder = self._decoder, None
        if decoder is None:
            return False
        self.factory._unfinished -= decoder.held
        return decoder.is_for_head

    def _holdUndecided(self, data: bytes) -> None:
        """Holds what comes while ``buildApplication`` decides; a peer that sends much is made to wait."""
        self._hold(data)
        if self._held is not None and len(self._held) >= _UNDECIDED:
            self._reading = False
            self._transport.pauseProducing()

    def _check(self, head: Head) -> None:
        self.request = Request(head, self._transport)
        allowed = self.factory.allowedOrigins
        try:
            self._opening = handshake.handle_open(head, allowed_origins=allowed)
        except InvalidRequest as error:
            if error.status == 403:
                self._refuse(*refusal.wrongOrigin(error, self.request, allowed))
            else:
                self._refuse(*refusal.invalid(error), head.method == "HEAD")
            return
        if self.factory._isFull():
            self._refuseFull()
            return
        try:
            decision = self.factory.buildApplication(self.request)
        except CAUGHT:
            self._decisionFailed(Failure())
            return
        deciding = asDecision(decision)
        if deciding is None:
            self._decided(decision)
        else:
            self._deciding = deciding
            deciding.addCallbacks(self._decided, self._decisionFailed)

    def _decided(self, decision: object) -> None:
        self._deciding = None
        if self._phase != OPENING:
            return
        if self.factory._isFull():
            # Others were faster.
            self._refuseFull()
            return
        try:
            answer = self._accept(decision)
        except Exception:
            self._decisionFailed(Failure())
            return
        self._open(answer)

    def _accept(self, decision: object) -> bytes:
        """Brings the application and the connection together; returns the 101."""
        opening, self._opening = self._opening, None
        assert opening is not None
        application: Any = decision
        subprotocol: str | None = None
        more: Sequence[tuple[str, str]] = ()
        if isinstance(decision, Accept):
            application, subprotocol, more = decision.application, decision.subprotocol, decision.headers
        if not isApplication(application):
            raise TypeError(describeMistake("buildApplication returned", application))
        if subprotocol is None:
            subprotocol = next((name for name in self.factory.subprotocols if name in opening.subprotocols), None)
        headers = self.factory._answerHeaders
        if more != ():
            headers = withDefault((*self.factory.headers, *more), "Server", SOFTWARE)
        answer = handshake.response(opening, subprotocol=subprotocol, headers=headers).encode()
        self._connection.eof = False
        self.subprotocol = subprotocol
        self._application = application
        return answer

    def _open(self, answer: bytes) -> None:
        application, outgoing = self._application, self._outgoing
        assert application is not None
        self._stopTimer()
        self._leaveGuard()
        self._phase = OPEN
        self._outcome = _ACCEPTED
        self.factory._open.add(self)
        self._life = self._reactor.seconds()
        self._startWatch()
        outgoing.cork()
        self._delivering = True
        try:
            # First in the queue, so that whatever the application sends from here on leaves after it.
            outgoing.writeHTTP([answer])
            self._register()
            callbacks: dict[str, Callable[[], object]] = {
                "negotiationStarted": partial(application.negotiationStarted, self),
                "negotiationFinished": application.negotiationFinished,
            }
            self._negotiate(callbacks)
        finally:
            self._delivering = False
            outgoing.uncork()
        self._continue()

    def _decisionFailed(self, failure: Failure) -> None:
        self._deciding = None
        if self._phase != OPENING:
            if not failure.check(CancelledError, Refuse):
                self._logFailure(failure, "buildApplication")
            letGo(failure)
            return
        refuse = failure.value
        if isinstance(refuse, Refuse):
            try:
                answer = handshake.refuse(refuse.status, refuse.headers, refuse.body)
                answer.encode()
            except Exception:
                failure = Failure()
            else:
                # The application may raise the same one for all.
                release(refuse)
                self._refuse(answer, refusal.whyRefused(refuse))
                return
        self._logFailure(failure, "buildApplication")
        self._answer(handshake.refuse(500), "the application failed (buildApplication)")

    def _refuseFull(self) -> None:
        why = f"as many connections are open as may be, {self._settings.maxConnections} (maxConnections)"
        if self.factory._stopping:
            why = refusal.STOPS
        self._refuse(refusal.unavailable(why), why)

    def _refuse(self, answer: Response, why: str, isForHead: bool = False) -> None:
        """Refuses the connection, and says why to who reads the log; a record says it where records are wanted."""
        if self.factory.accessLog is None:
            request: Request | None = getattr(self, "request", None)
            told = "a request" if request is None else f"{request.method} {self._requestPath()}"
            self.factory._logRefusal(excerpt(told.rstrip()), self._peerForLog(), answer.status, why)
        self._answer(answer, why, isForHead)

    def _answer(self, answer: Response, why: str, isForHead: bool = False) -> None:
        """Answers with HTTP and ends the connection."""
        self._outcome = answer.status, why
        self._phase = ENDING
        self._held = None
        self._stopTimer()
        # RFC 9110 §6.6.1: all but 1xx and 5xx MUST have a Date.
        answer = answer.with_default("Date", formatdate(usegmt=True))
        self._outgoing.writeHTTP([answer.raw if isForHead else answer.encode()])
        self._leave()

    def _openingTimedOut(self) -> None:
        self._timer = None
        late = "the request was not whole" if self._decoder is not None else "buildApplication had not decided"
        self._endOpening(f"{late} within {self._settings.openTimeout:g} s (openTimeout)")

    def _endOpening(self, why: str, stopping: bool = False) -> None:
        deciding, self._deciding = self._deciding, None
        decoder, isForHead = self._decoder, self._dropDecoder()
        if decoder is None or (stopping and decoder.has_started):
            self._refuse(refusal.unavailable(why), why, isForHead)
        elif decoder.has_started:
            self._refuse(refusal.explained(408, why), why, isForHead)
        else:
            # RFC 9110 §15.5.9 wants a request to answer: a peer that said nothing gets no answer.
            self._logTLSFailure(None)
            self._phase = ENDING
            self._loseTransport()
        if deciding is not None:
            self._cancel(deciding)

    # Those who do not want a WebSocket

    def _forward(self, factory: Otherwise, data: bytes) -> None:
        """Hands the connection to ``otherwise``; we stay between as a pipe.

        Swapping the transport's protocol would do nothing under TLS, where the transport is a protocol itself.
        """
        self._stopTimer()
        self._phase = ENDING
        self._began = None
        protocol = factory.buildProtocol(self.getPeer())
        if protocol is None:
            self._loseTransport()
            return
        self._forwarded = protocol
        protocol.makeConnection(self._transport)
        protocol.dataReceived(data)

    def _leaveGuard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.leave()

    def _logTLSFailure(self, error: BaseException | None) -> None:
        """Logs why there was no request, where TLS is to blame."""
        why = describeServerFailure(error, self._transport)
        if why is not None and not self.factory._stopping:
            self.factory._logTLSFailure(self._peerForLog(), why)

    def _openingLost(self, reason: Failure) -> None:
        if self._decoder is not None and not self._decoder.has_started:
            self._logTLSFailure(reason.value)
        self._dropDecoder()
        self._leaveGuard()
        deciding, self._deciding = self._deciding, None
        if deciding is not None:
            self._cancel(deciding)
        forwarded, self._forwarded = self._forwarded, None
        if forwarded is not None:
            try:
                forwarded.connectionLost(reason)
            except CAUGHT:
                self._log.failure(
                    "what otherwise made failed in connectionLost (peer {peer})", Failure(), peer=self._peerForLog()
                )

    def _ended(self, aborted: bool) -> None:
        began, self._began = self._began, None
        accessLog = self.factory.accessLog
        if began is None or accessLog is None or not self._bytesReceived:
            # Not one of those that are of no use: what looks whether a port is open connects, and says nothing.
            return
        try:
            result = accessLog(makeRecord(self, max(0.0, self._reactor.seconds() - began), aborted))
            pending = None if result is None else asDeferred(result)
        except CAUGHT:
            self._log.failure("accessLog failed")
            return
        if pending is not None:
            pending.addErrback(lambda failure: self._log.failure("accessLog failed", failure))

    def _bothClosed(self) -> None:
        # The transport has done its work, and the server drops it first (RFC 6455 §7.1.1).
        self._whenSent(self._loseTransport)

    # For whoever made it

    def loseConnection(self, code: int | None = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """As `WireProtocol.loseConnection`; in the opening handshake it ends that, with an HTTP answer."""
        if self._phase == OPENING:
            self._endOpening("closed before it was open")
        else:
            super().loseConnection(code, reason)

    def _stop(self, code: int) -> None:
        if self._phase == OPEN:
            self.loseConnection(code)
        elif self._phase == OPENING:
            self._endOpening(refusal.STOPS, stopping=True)
        elif self._forwarded is not None:
            self._transport.loseConnection()
