"""A client's opening handshake: asks for a WebSocket, once there is an application, and reads the answer (RFC 6455
section 4.1).

Rules:

* The application begins before the request leaves; its messages wait for the answer.
* A request with secrets leaves over TLS where the URL says so, or not at all.
* Why a connection was never open is told once, to the factory; the application hears it by `connectionLost`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from ..application import Application, describeMistake, isApplication
from ..errors import WebSocketDropped
from ..log import APPLICATION_ERRORS, CANCELLATIONS, letGo, printable, release
from ..reasons import again
from ..request import Request, Response
from ..results import asDecision, asDeferred
from ..sansio import handshake
from ..sansio.body import BodyDecoder
from ..sansio.errors import ConnectionRejected, InvalidResponse, LocalProtocolError, WebSocketError
from ..sansio.handshake import Agreement
from ..sansio.http import RequestHead, ResponseDecoder, ResponseHead
from ..sansio.url import URL
from ..settings import Settings
from ..wire.closewatch import CLOSE_WATCH_SECONDS
from ..wire.inbox import Inbox
from ..wire.protocol import WebSocketTransport
from ..wire.timer import Timer
from ..wire.tlsfailures import describeClientFailure, isDone
from ..wire.transports import driverOf
from .attempt import openingTimedOut

#: How a TLS server begins that is spoken to in plain (RFC 8446 section 5.1).
_TLS_ALERT: Final = b"\x15\x03"
#: The answers of other servers then: nginx, Apache, and Go's library. Their status alone does not tell.
_PLAIN_AT_TLS: Final = (
    b"plain HTTP request was sent to HTTPS port",
    b"speaking plain HTTP to an SSL-enabled server port",
    b"HTTP request to an HTTPS server",
)
_SPEAKS_TLS: Final = "the server speaks TLS on this port: write wss:// in the URL"
#: Bytes that are kept of the body of a refusal.
_MAX_BODY_BYTES: Final = 65536


class OpeningObserver(Protocol):
    """The observer of an opening handshake: the attempt of a call of `connect`, or the log."""

    def secondsLeft(self) -> float | None:
        """How long the opening handshake may take; None for as long as it takes."""

    def connected(self, transport: WebSocketTransport) -> None:
        """The transport of a connection is there; it may be aborted at once."""

    def opened(self, application: Application) -> None:
        """A connection is open."""

    def failed(self, error: BaseException, transport: WebSocketTransport | None = None) -> None:
        """A connection was never open; or its application failed, and that was logged: then without ``transport``."""


class ClientPolicy(Protocol):
    """The factory, as the opening handshakes of its connections need it."""

    settings: Settings
    url: URL

    @property
    def isStopping(self) -> bool:
        """Whether no connection is accepted any more."""

    buildApplication: Any

    def makeRequest(self) -> RequestHead:
        """Makes the request, with a key of its own."""

    @property
    def observer(self) -> OpeningObserver:
        """The observer of the opening handshake."""


class ClientOpening:
    """The opening handshake of one connection of a client."""

    __slots__ = (
        "_building",
        "_decoder",
        "_failure",
        "_failureTold",
        "_head",
        "_inbox",
        "_policy",
        "_reactor",
        "_refusal",
        "_started",
        "_timer",
        "_transport",
    )

    def __init__(self, transport: WebSocketTransport, policy: ClientPolicy, reactor: IReactorTime) -> None:
        self._transport = transport
        self._policy = policy
        self._reactor = reactor
        self._timer = Timer(reactor)
        self._building: Deferred[Any] | None = None
        #: Of the connection, from the beginning on.
        self._inbox: Inbox | None = None
        #: From the request that has left on.
        self._decoder: ResponseDecoder | None = None
        #: The request, once it is made.
        self._head: RequestHead | None = None
        #: The Deferred of a coroutine or Deferred that ``negotiationStarted`` returned; the opening waits for it.
        self._started: Deferred[Any] | None = None
        #: The answer that is no WebSocket, and its body, while that comes.
        self._refusal: tuple[ResponseHead, BodyDecoder] | None = None
        #: Why the opening handshake failed.
        self._failure: BaseException | None = None
        self._failureTold = False

    def begin(self) -> None:
        """Asks for the WebSocket, once there is an application."""
        transport, policy = self._transport, self._policy
        # An endpoint, or a `ClientService`, hands the connection out while there is no application yet.
        transport.outbox.hold()
        self._inbox = transport.openingMakesCore()
        if policy.isStopping:
            transport.openingEnded(gently=False)
            return
        policy.observer.connected(transport)
        if not transport.isOpening():
            return
        if policy.url.secure and not transport.outbox.driver.isSecure(transport.transport):
            # The request has secrets: cookies, and tokens.
            self._fail(LocalProtocolError("a wss: URL wants a transport with TLS, and this one has none"))
            return
        seconds = policy.observer.secondsLeft()
        if seconds is not None:
            self._timer.start(seconds, self._timedOut)
        self._head = policy.makeRequest()
        request = Request(self._head, transport.transport)
        transport.openingRequests(request)
        try:
            application = policy.buildApplication(request)
        except APPLICATION_ERRORS as error:
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
        if self._transport.isOpening():
            assert failure.value is not None
            self._fail(failure.value)
        elif not failure.check(*CANCELLATIONS):
            self._transport.logFailure(failure, "buildApplication")
        else:
            letGo(failure)

    def _built(self, application: Any) -> None:
        """Starts the negotiation; messages that the application sends from here on wait for the answer."""
        transport, settings = self._transport, self._policy.settings
        self._building = None
        if not transport.isOpening():
            return
        if not isApplication(application):
            self._fail(TypeError(describeMistake("buildApplication returned", application)))
            return
        assert self._inbox is not None
        self._inbox.attach(application)
        try:
            self._started = asDeferred(application.negotiationStarted(transport))
        except APPLICATION_ERRORS:
            self.failed(Failure(), "negotiationStarted")
            return
        if self._started is not None:
            self._started.addErrback(self._startedFailed)
        if transport.isOpening():
            assert self._head is not None
            self._decoder = ResponseDecoder(
                max_header_line=settings.maxHeaderLine,
                max_header_size=settings.maxHeaderSize,
                max_headers=settings.maxHeaders,
            )
            transport.outbox.writeAhead(self._head.encode())

    def _startedFailed(self, failure: Failure) -> Failure | None:
        if not self._transport.isOpening():
            return failure
        self.failed(failure, "negotiationStarted")
        return None

    def failed(self, failure: Failure, callback: str) -> None:
        """The application failed in a callback, before the connection was open."""
        self._transport.logFailure(failure, callback)
        if self._failure is None:
            # The failure that has ended it before stays the reason.
            self._fail(applicationFailed(failure.value))

    def dataReceived(self, data: bytes) -> None:
        """Takes bytes of the answer."""
        if self._refusal is not None:
            self._readBody(*self._refusal, data)
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
            self._transport.openingResponds(Response(answer))
            agreement = handshake.handle_response(answer, self._head)
        except InvalidResponse as error:
            self._fail(error)
        except ConnectionRejected:
            self._refusal = answer, BodyDecoder(answer, _MAX_BODY_BYTES)
            self._readBody(*self._refusal, decoder.unread)
        else:
            self._done(agreement, decoder.unread)

    def _readBody(self, answer: ResponseHead, body: BodyDecoder, data: bytes) -> None:
        if body.decode(data):
            self._fail(_rejection(answer, body), abort=False)

    def _done(self, agreement: Agreement, unread: bytes) -> None:
        transport, inbox = self._transport, self._inbox
        assert inbox is not None
        assert inbox.application is not None
        application = inbox.application
        self._timer.stop()
        transport.openingDone(
            {"negotiationFinished": application.negotiationFinished},
            pending=self._started,
            last=partial(self._opened, application),
            extensions=agreement.extensions,
            subprotocol=agreement.subprotocol,
            unread=unread,
        )

    def _opened(self, application: Application, isOpen: bool) -> None:
        observer = self._policy.observer
        if isOpen:
            observer.opened(application)
        else:
            observer.failed(WebSocketDropped("the application aborted it"))

    # The end

    def _timedOut(self) -> None:
        self._end(openingTimedOut(isDone(self._transport.transport)))

    def _end(self, error: WebSocketDropped) -> None:
        """Ends an opening handshake that is not waited for any more."""
        if self._refusal is not None:
            # The body of a refusal did not end in time.
            self._fail(_rejection(*self._refusal))
        else:
            self._fail(error)

    def lose(self, code: int | None, reason: str) -> None:
        """The connection is to be closed before there is an application."""

    def stop(self) -> None:
        """The factory stops."""
        self._fail(WebSocketDropped("closed before it was open"))

    def closedPastUs(self) -> None:
        """Another hand closed the transport."""
        self._end(WebSocketDropped("the transport was closed before it was open"))

    def _fail(self, error: BaseException, abort: bool = True) -> None:
        """Ends a connection that was never open."""
        transport = self._transport
        if isinstance(error, WebSocketError):
            # The place where we found that helps no one.
            release(error)
        self._note(error)
        building, self._building = self._building, None
        if abort:
            transport.abortConnection()
        else:
            self._timer.stop()
            self._serveStarted()
            transport.outbox.abort()
            transport.openingEnded(gently=False, within=CLOSE_WATCH_SECONDS)
        if building is not None:
            transport.cancel(building)
        self._reportFailed()

    def _note(self, error: BaseException) -> None:
        self._failure = error
        self._transport.openingFailed(error)

    def _reportFailed(self) -> None:
        """Reports the failed handshake to the factory, once."""
        failure = self._failure
        if failure is not None and not self._failureTold:
            self._failureTold = True
            # The error that is told holds the frames that it is thrown into: we keep a copy.
            self._note(again(failure))
            self._policy.observer.failed(failure, self._transport)

    def aborted(self) -> None:
        """The connection was aborted."""
        self._timer.stop()

    def losing(self, reason: Failure) -> None:
        """The transport is lost: says why the connection was never open."""
        self._timer.stop()
        if self._head is not None and self._failure is None:
            if self._refusal is not None:
                self._note(_rejection(*self._refusal))
            else:
                self._note(_lostTooEarly(reason, self._transport.transport, self._decoder))
        self._serveStarted()

    def _serveStarted(self) -> None:
        """Nothing is to be opened any more: as any callback, ``negotiationStarted`` has a time to end."""
        started, self._started = self._started, None
        if started is not None:
            assert self._inbox is not None
            self._inbox.waitFor(started, "negotiationStarted")

    def lost(self, reason: Failure) -> None:
        """The transport is lost, and the application has heard of it."""
        building, self._building = self._building, None
        if building is not None:
            self._transport.cancel(building)
        self._reportFailed()


def applicationFailed(error: BaseException | None) -> WebSocketDropped:
    """Makes the exception of an application that failed before the connection was open."""
    # Its traceback is in the log.
    dropped = WebSocketDropped("the application failed")
    dropped.__cause__ = error
    return dropped


def _rejection(answer: ResponseHead, body: BodyDecoder) -> ConnectionRejected:
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
        if not isinstance(error, (ConnectionDone, ConnectionLost)):
            why += f": {error!r}"
        elif decoder is not None and not decoder.has_started and not isSecure:
            why += ": if it speaks TLS on this port, write wss:// in the URL"
    dropped = WebSocketDropped(why)
    dropped.__cause__ = error
    return dropped
