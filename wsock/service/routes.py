"""Routes: which application serves a request, by its path."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, TypeAlias
from weakref import WeakValueDictionary

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from twisted.web.server import Request as HTTPRequest

from .. import Accept, Decision, Group, ProxyPolicy, Refuse, Request, Routes, WebSocketProtocol
from ..auth.guards import Identification
from ..sansio.constants import VERSION
from ..sansio.http import REASONS, split_target
from .console import withoutBody
from .health import Health
from .hosts import PageHead

_PLAIN: Final = {"Content-Type": "text/plain; charset=utf-8"}
#: A status, header fields and a body; no status for a page that has set its own.
Answer: TypeAlias = "tuple[int | None, Mapping[str, str], bytes]"
#: How long the body of a request for a page may take, in seconds.
_BODY_SECONDS = 10

_log = Logger()


class Echo(WebSocketProtocol):
    """Sends back each message."""

    __slots__ = ()

    def textMessageReceived(self, message: str) -> None:
        """Sends a text message back."""
        self.transport.sendTextMessage(message)

    def bytesMessageReceived(self, data: bytes) -> None:
        """Sends a binary message back."""
        self.transport.sendBytesMessage(data)


class Member(WebSocketProtocol):
    """Sends each message to all of its group, itself included."""

    __slots__ = ("_group",)

    def __init__(self, group: Group) -> None:
        self._group = group

    def negotiationFinished(self) -> None:
        """Joins the group, which it leaves when it is lost."""
        self._group.add(self.transport)

    def textMessageReceived(self, message: str) -> None:
        """Sends a text message to all."""
        self._group.sendTextMessage(message)

    def bytesMessageReceived(self, data: bytes) -> None:
        """Sends a binary message to all."""
        self._group.sendBytesMessage(data)


def _accept(request: Request, application: WebSocketProtocol) -> Decision:
    """Accepts everybody, with the first subprotocol offered."""
    offered = request.subprotocols
    return Accept(application, offered[0]) if offered else application


#: An application for each request.
Build = Callable[[Request], Decision]


def echo() -> Build:
    """Makes a route that sends each message back to its sender."""
    return lambda request: _accept(request, Echo())


def broadcast() -> Build:
    """Makes a route that sends each message to all who are connected to it; parameters of the path make several."""
    groups: WeakValueDictionary[tuple[str, ...], Group] = WeakValueDictionary()

    def build(request: Request) -> Decision:
        # The group of a room is there while it has a member.
        room = tuple(request.pathParameters.values())
        group = groups.get(room)
        if group is None:
            groups[room] = group = Group()
        return _accept(request, Member(group))

    return build


#: The kinds that ``--route /path=KIND`` may name; each call makes a route of its own.
KINDS: Mapping[str, Callable[[], Build]] = {"echo": echo, "broadcast": broadcast}


class PageRequest(HTTPRequest):
    """A request for a page. No page reads a body, so bodies are discarded; Twisted would keep all of it.

    Attributes:
        isLogged: whether the log has a line for it.
    """

    isLogged = True

    def gotLength(self, length: int | None) -> None:
        """The head has come; ``length`` is that of the body, None where it is not told."""
        super().gotLength(0)
        channel = self.channel
        if length != 0 and channel is not None:
            # A body has no limit in size, so it gets one in time.
            deadline = channel.callLater(_BODY_SECONDS, channel.forceAbortClient)
            self.notifyFinish().addBoth(lambda ignored: deadline.active() and deadline.cancel())

    def handleContentChunk(self, data: bytes) -> None:
        """A part of the body has come."""


class QuietSite(Site):
    """A site whose log leaves out those who ask for the server's health: every few seconds, for good.

    Attributes:
        checksRequests: tells the factory that `Pages` checks hosts and addresses, but for the health.
    """

    checksRequests = True

    def log(self, request: Any) -> None:
        """Logs a request that was answered, if it is to be."""
        if getattr(request, "isLogged", True):
            super().log(request)


class Pages(Resource):
    """Answers the requests that are not for a WebSocket."""

    isLeaf = True

    def __init__(
        self,
        routes: Routes,
        consoles: Mapping[str, Resource],
        health: Health | None = None,
        hostRule: Callable[[Any], str | None] | None = None,
        trustedProxies: ProxyPolicy | None = None,
        takeRequest: Callable[[Any], int | None] | None = None,
        identification: Identification | None = None,
    ) -> None:
        """Makes the answers for these paths.

        Args:
            routes: of the WebSockets; asking there for a page is answered with 426.
            consoles: by path.
            health: whether the server is well, and where that is told.
            hostRule: says why the host of a request is not served; None where all are.
            trustedProxies: those in front, or None.
            takeRequest: counts a request of an address, and says how many seconds its client is to stay away, or None;
                the health check is not counted.
            identification: of those who may see the pages, and ask for routes; None for all.
        """
        super().__init__()
        self._routes = routes
        self._consoles = consoles
        self._health = health
        self._hostRule = hostRule
        self._trustedProxies = trustedProxies
        self._takeRequest = takeRequest
        self._identification = identification

    def render(self, request: PageRequest) -> bytes | int:
        """Answers with the page, 401, 426 or 404, and ends the connection: a proxy may not use it for a WebSocket."""
        channel = request.channel
        if channel is not None:
            channel.persistent = False
        request.setHeader("Connection", "close")
        # A target may be a whole URL (RFC 9112 section 3.2.2).
        path = split_target(request.uri.decode("latin-1"))[1]
        answer = self._answer(request, path)
        if not isinstance(answer, Deferred):
            return self._render(request, *answer)
        self._answerLater(request, answer)
        return NOT_DONE_YET

    def _answerLater(self, request: PageRequest, answer: Deferred[Answer]) -> None:
        isLost: list[object] = []
        request.notifyFinish().addErrback(isLost.append).addCallback(lambda ignored: answer.cancel())

        def answered(found: Answer) -> None:
            if not isLost:
                body = self._render(request, *found)
                if request.method != b"HEAD":
                    request.setHeader("Content-Length", str(len(body)))
                request.write(body)
                request.finish()

        answer.addErrback(self._failed).addCallback(answered)

    def _render(self, request: PageRequest, status: int | None, headers: Mapping[str, str], body: bytes) -> bytes:
        if status is None:
            return body
        # Twisted knows no phrase for 426.
        request.setResponseCode(status, REASONS[status].encode())
        for name, value in headers.items():
            request.setHeader(name, value)
        return withoutBody(request, body) if request.method == b"HEAD" else body

    def _answer(self, request: PageRequest, path: str) -> Answer | Deferred[Answer]:
        """Returns the answer, or a Deferred of it."""
        plain = _PLAIN
        head = PageHead(request, self._trustedProxies)
        why = None if self._hostRule is None else self._hostRule(head)
        if why is not None:
            return 421, plain, f"{REASONS[421]}: {why}".encode()
        isHealth = self._health is not None and path == self._health.path
        seconds = None if self._takeRequest is None or isHealth else self._takeRequest(head.client)
        if seconds is not None:
            body = f"{REASONS[429]}: too many requests from this address".encode()
            return 429, {**plain, "Retry-After": str(seconds)}, body
        console = self._consoles.get(path)
        if console is not None:
            render = console.render
            return self._forKnown(head, lambda: (None, {}, render(request)))
        if self._health is not None and path == self._health.path:
            # haproxy asks for OPTIONS unless told otherwise.
            if request.method in (b"GET", b"HEAD", b"OPTIONS"):
                request.isLogged = False
                status, fields, body = self._health.answer()
                return status, {**plain, **fields}, body
            return 405, {**plain, "Allow": "GET, HEAD, OPTIONS"}, b"Method Not Allowed"
        try:
            self._routes.find(path)
        except Refuse as refuse:
            return refuse.status, plain, refuse.body
        # RFC 9110 §15.5.22: a 426 MUST carry Upgrade.
        upgrade = {"Connection": "close, Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": VERSION}
        required: Answer = 426, {**plain, **upgrade}, b"Upgrade Required: this is a WebSocket endpoint"
        return self._forKnown(head, lambda: required)

    def _forKnown(self, head: PageHead, answer: Callable[[], Answer]) -> Answer | Deferred[Answer]:
        """Returns an answer for those alone who may have it."""
        if self._identification is None:
            return answer()
        try:
            credentials = self._identification.read(head)
            if credentials is None:
                raise self._identification.missing()
            identity = self._identification.check(credentials)
        except Refuse as refuse:
            return _refusal(refuse)
        if isinstance(identity, Coroutine):
            return Deferred.fromCoroutine(identity).addCallback(lambda known: answer())
        return answer()

    def _failed(self, failure: Failure) -> Answer:
        if isinstance(failure.value, Refuse):
            return _refusal(failure.value)
        if not failure.check(CancelledError):
            _log.failure("the check of a password failed", failure)
        return 500, _PLAIN, b"Internal Server Error"


def _refusal(refuse: Refuse) -> Answer:
    return refuse.status, {**_PLAIN, **dict(refuse.headers)}, refuse.body
