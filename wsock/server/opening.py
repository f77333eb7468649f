"""A server's opening handshake: reads the request, has it decided on, and answers (RFC 6455 section 4.2).

Rules:

* A connection is still read while ``buildApplication`` decides, since a paused socket would not tell that its peer has
  left; at most 64 KiB are held then.
* The unfinished heads of all connections of a factory have a bound together.
* A refusal says why in its body, and in the log, or in the access log where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from email.utils import formatdate
from functools import partial
from typing import Any, Final, Protocol, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory, IReactorTime
from twisted.python.failure import Failure

from ..application import Application
from ..log import APPLICATION_ERRORS, excerpt
from ..request import Request, settle
from ..sansio import handshake
from ..sansio.errors import InvalidRequest
from ..sansio.extensions import Extension
from ..sansio.http import RequestDecoder, RequestHead, ResponseHead
from ..settings import Settings
from ..wire.protocol import WebSocketTransport
from ..wire.timer import Timer
from ..wire.tlsfailures import describeServerFailure
from . import refusal
from .accessrecord import AccessNote
from .admission import Admission, PagePolicy, refusePage
from .rules import Rules
from .upgrade import Upgrade

#: Bytes behind a request that are held while ``buildApplication`` decides; then the peer is made to wait.
_MAX_PENDING_BYTES: Final = 65536
#: Bytes of unfinished heads that all connections of a factory hold; more is answered with 503. Some thousands of slow
#: clients fit.
_MAX_UNFINISHED_BYTES: Final = 2**26
_CROWDED: Final = "the server holds as much of unfinished requests as it may"


class _BuildsProtocols(Protocol):
    def buildProtocol(self, addr: Any, /) -> Any:
        """Builds the protocol of a connection."""

    def doStart(self) -> Any:
        """A port begins to listen."""

    def doStop(self) -> Any:
        """A port has stopped to listen."""


#: An ``IProtocolFactory``, also for type checkers that do not know what implements one: those without mypy-zope.
#: In quotes: before zope.interface 6.2 an interface had no ``|``.
Fallback: TypeAlias = "IProtocolFactory | _BuildsProtocols"


class ServerPolicy(PagePolicy, Protocol):
    """The factory, as the opening handshakes of its connections need it."""

    settings: Settings

    @property
    def isStopping(self) -> bool:
        """Whether no connection is accepted any more."""

    @property
    def accessLog(self) -> Callable[[Any], object] | None:
        """The function that is called with the record of each connection."""

    @property
    def checksPages(self) -> bool:
        """Whether requests for pages are looked at before ``fallback`` has them."""

    @property
    def fallback(self) -> Fallback | None:
        """The factory for connections that are not for a WebSocket."""

    def countUnfinished(self, difference: int) -> int:
        """So many bytes more are held of unfinished heads; returns how many all connections hold now."""

    def logRefusal(self, request: str, peer: str, status: int, why: str) -> None:
        """Logs a refusal, if it is not one of very many."""

    def logTLSFailure(self, peer: str, why: str) -> None:
        """Logs a failed TLS handshake, if it is not one of very many."""


class ServerOpening:
    """The opening handshake of one connection to a server."""

    __slots__ = (
        "_admission",
        "_decoder",
        "_note",
        "_policy",
        "_reactor",
        "_reading",
        "_timer",
        "_transport",
        "_unread",
        "_upgrade",
    )

    def __init__(
        self,
        transport: WebSocketTransport,
        policy: ServerPolicy,
        reactor: IReactorTime,
        upgrade: Upgrade | None = None,
    ) -> None:
        """Waits for `begin`.

        Args:
            transport: the connection.
            policy: the factory.
            reactor: for the timer.
            upgrade: where ``twisted.web`` has read the request, which comes by `requestReceived` then.
        """
        settings = policy.settings
        self._transport = transport
        self._policy = policy
        self._reactor = reactor
        self._timer = Timer(reactor)
        #: None once the request is whole.
        self._decoder: RequestDecoder | None = RequestDecoder(
            max_header_line=settings.maxHeaderLine,
            max_header_size=settings.maxHeaderSize,
            max_headers=settings.maxHeaders,
        )
        #: From the whole request to the decision.
        self._admission: Admission | None = None
        #: Bytes behind the request, and whether the transport is read.
        self._unread = bytearray()
        self._reading = True
        #: For the access log, where there is one, and for ``twisted.web``.
        self._note: AccessNote | None = None
        self._upgrade = upgrade

    def begin(self) -> None:
        """Waits for the request, for ``openTimeout``."""
        if self._policy.accessLog is not None or self._upgrade is not None:
            self._note = AccessNote(self._reactor.seconds(), self._upgrade)
            self._transport.openingNotes(self._note)
        seconds = self._policy.settings.openTimeout
        if seconds is not None:
            self._timer.start(seconds, self._timedOut)

    # Reading

    def dataReceived(self, data: bytes) -> None:
        """Takes bytes of the request, or behind it."""
        decoder = self._decoder
        if decoder is None:
            self._unread += data
            if len(self._unread) >= _MAX_PENDING_BYTES:
                self._reading = False
                self._transport.transport.pauseProducing()
            return
        policy = self._policy
        held = decoder.held
        try:
            head = decoder.decode(data)
        except InvalidRequest as error:
            policy.countUnfinished(-held)
            answer, why = refusal.invalid(error)
            self._refuse(answer, why, decoder.is_for_head)
            return
        if head is None:
            if policy.countUnfinished(decoder.held - held) > _MAX_UNFINISHED_BYTES:
                self._refuse(refusal.unavailable(_CROWDED), _CROWDED, self._dropDecoder())
            return
        if held:
            policy.countUnfinished(-held)
        self._decoder = None
        if policy.isStopping:
            settle(self._makeRequest(head))
            self._refuse(refusal.unavailable(refusal.STOPS), refusal.STOPS, head.method == "HEAD")
        elif policy.fallback is not None and not handshake.wants_websocket(head):
            if not (policy.checksPages and self._isRefusedAsPage(head)):
                self._handOn(policy.fallback, head.raw + decoder.unread)
        else:
            self._unread += decoder.unread
            self._decide(head)

    def _isRefusedAsPage(self, head: RequestHead) -> bool:
        """Refuses a request for a page of a host that is not served, or of an address that asks too often."""
        request = self._makeRequest(head)
        settle(request)
        try:
            refused = refusePage(self._policy, request)
        except APPLICATION_ERRORS:
            self.logFailure(Failure(), "allowedHosts")
            self._answer(handshake.refuse(500), "the application failed (allowedHosts)", head.method == "HEAD")
            return True
        if refused is not None:
            self._refuse(*refused, head.method == "HEAD")
        return refused is not None

    def requestReceived(self, head: RequestHead, unread: bytes) -> None:
        """Takes a request that another has read, and the bytes behind it that came already."""
        self._decoder = None
        self._unread += unread
        self._transport.openingCounts(head.size + len(unread))
        if self._policy.isStopping:
            settle(self._makeRequest(head))
            self._refuse(refusal.unavailable(refusal.STOPS), refusal.STOPS, head.method == "HEAD")
        else:
            self._decide(head)

    def _dropDecoder(self) -> bool:
        """Lets go of a request that has not ended; returns whether it is for HEAD."""
        decoder, self._decoder = self._decoder, None
        if decoder is None:
            return False
        self._policy.countUnfinished(-decoder.held)
        return decoder.is_for_head

    # Deciding

    def _decide(self, head: RequestHead) -> None:
        request = self._makeRequest(head)
        self._admission = admission = Admission(self._policy, self)
        admission.decide(head, request)
        settle(request)

    def _makeRequest(self, head: RequestHead) -> Request:
        request = Request(head, self._transport.transport, self._upgrade)
        self._transport.openingRequests(request)
        return request

    def logFailure(self, failure: Failure, callback: str) -> None:
        """Logs an exception of the application's."""
        self._transport.logFailure(failure, callback)

    # Answering

    def admitted(
        self,
        application: Application,
        subprotocol: str | None,
        extensions: Sequence[Extension],
        answer: ResponseHead,
        rules: Rules,
    ) -> None:
        """Opens the connection; the 101 is the first in the queue, so that all that the application sends is behind."""
        transport = self._transport
        # It holds us.
        self._admission = None
        self._timer.stop()
        if self._note is not None:
            self._note.answered(101, "")
        if self._upgrade is not None:
            answer = self._upgrade.accepted(answer)
        transport.openingAgrees(rules)
        rules.count(transport)
        transport.openingMakesCore(extensions).attach(application)
        transport.openingDone(
            {
                "negotiationStarted": partial(application.negotiationStarted, transport),
                "negotiationFinished": application.negotiationFinished,
            },
            first=partial(transport.outbox.writeHTTP, [answer.encode()]),
            subprotocol=subprotocol,
            unread=bytes(self._unread),
            reading=self._reading,
        )

    def refused(self, answer: ResponseHead, why: str, isForHead: bool, isLogged: bool) -> None:
        """Refuses the connection."""
        self._admission = None
        if isLogged:
            self._answer(answer, why, isForHead)
        else:
            self._refuse(answer, why, isForHead)

    def _refuse(self, answer: ResponseHead, why: str, isForHead: bool = False) -> None:
        """Refuses the connection, and logs why; its record says it where an access log is wanted."""
        if self._policy.accessLog is None:
            transport = self._transport
            request: Request | None = getattr(transport, "request", None)
            told = "a request" if request is None else f"{request.method} {transport.pathForLog()}"
            self._policy.logRefusal(excerpt(told.rstrip()), transport.peerForLog(), answer.status, why)
        self._answer(answer, why, isForHead)

    def _answer(self, answer: ResponseHead, why: str, isForHead: bool) -> None:
        """Answers with HTTP and ends the connection."""
        if self._note is not None:
            self._note.answered(answer.status, why)
        self._timer.stop()
        if not self._reading:
            self._transport.transport.resumeProducing()
        # RFC 9110 §6.6.1: all but 1xx and 5xx MUST have a Date.
        answer = answer.with_default("Date", formatdate(usegmt=True))
        if self._upgrade is not None:
            answer = self._upgrade.refused(answer)
        self._transport.openingEnded([answer.raw if isForHead else answer.encode()])

    def _handOn(self, factory: Fallback, data: bytes) -> None:
        """Hands a connection that is not for a WebSocket to ``fallback``."""
        transport = self._transport
        self._timer.stop()
        transport.openingNotes(None)
        protocol = factory.buildProtocol(transport.getPeer())
        if not transport.isOpening():
            # The factory of the other protocol has stopped ours.
            return
        if protocol is None:
            transport.openingEnded(gently=False)
        else:
            transport.openingHandedOn(protocol, data)

    # The end

    def _timedOut(self) -> None:
        late = "the request was not whole" if self._decoder is not None else "buildApplication had not decided"
        self._end(f"{late} within {self._policy.settings.openTimeout:g} s (openTimeout)")

    def lose(self, code: int | None, reason: str) -> None:
        """The connection is to be closed before it is open."""
        self._end("closed before it was open")

    def stop(self) -> None:
        """The factory stops."""
        self._end(refusal.STOPS, isStopping=True)

    def _end(self, why: str, isStopping: bool = False) -> None:
        deciding = self._stopDeciding()
        decoder, isForHead = self._decoder, self._dropDecoder()
        if decoder is None or (isStopping and decoder.has_started):
            self._refuse(refusal.unavailable(why), why, isForHead)
        elif decoder.has_started:
            self._refuse(refusal.explained(408, why), why, isForHead)
        else:
            # RFC 9110 §15.5.9 wants a request to answer: a peer that said nothing gets no answer.
            self._timer.stop()
            self._logTLSFailure(None)
            self._transport.openingEnded(gently=False)
        if deciding is not None:
            self._transport.cancel(deciding)

    def _stopDeciding(self) -> Deferred[Any] | None:
        """Returns the Deferred of ``buildApplication``, to be cancelled."""
        admission, self._admission = self._admission, None
        return None if admission is None else admission.cancel()

    def aborted(self) -> None:
        """The connection was aborted."""
        self._timer.stop()
        if self._admission is not None:
            self._admission.ignore()

    def losing(self, reason: Failure) -> None:
        """The transport is lost, and there is no application to hear of it."""
        self._timer.stop()
        if self._admission is not None:
            # A callback of those who hear of the loss may decide now.
            self._admission.ignore()

    def lost(self, reason: Failure) -> None:
        """The transport is lost."""
        if self._decoder is not None and not self._decoder.has_started:
            self._logTLSFailure(reason.value)
        self._dropDecoder()
        deciding = self._stopDeciding()
        if deciding is not None:
            self._transport.cancel(deciding)

    def closedPastUs(self) -> None:
        """Another hand closed the transport."""
        self._transport.abortConnection()

    def failed(self, failure: Failure, callback: str) -> None:
        """A producer failed that was attached too early: no callback of the application comes before the 101."""
        self._transport.logFailure(failure, callback)

    def _logTLSFailure(self, error: BaseException | None) -> None:
        """Logs why there was no request, where TLS is to blame."""
        why = describeServerFailure(error, self._transport.transport)
        if why is not None and not self._policy.isStopping:
            self._policy.logTLSFailure(self._transport.peerForLog(), why)
