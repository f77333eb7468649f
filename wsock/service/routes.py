"""Routes: which application serves a request, by its path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import Request as HTTPRequest
from twisted.web.server import Site

from .. import Accept, Decision, Group, Refuse, Request, WebSocketProtocol
from ..sansio.constants import VERSION
from ..sansio.http import REASONS, split_target
from .console import withoutBody
from .health import Health

#: How long the body of a request for a page may take, in seconds.
_BODY_SECONDS = 10


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


Route = Callable[[Request], Decision]


def echo() -> Route:
    """A route that sends each message back to its sender."""
    return lambda request: _accept(request, Echo())


def broadcast() -> Route:
    """A route that sends each message to all who are connected to it."""
    group = Group()
    return lambda request: _accept(request, Member(group))


#: The kinds that ``--route /path=KIND`` may name; each call makes a route of its own.
KINDS: Mapping[str, Callable[[], Route]] = {"echo": echo, "broadcast": broadcast}


class Routes:
    """Finds the route of a request for a WebSocket: the ``buildApplication`` of the server."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self._routes = routes

    def __call__(self, request: Request) -> Decision:
        """Returns the route's application.

        Raises:
            Refuse: with 404, where there is no route.
        """
        route = self._routes.get(request.rawPath)
        if route is None:
            raise Refuse(404, body=b"Not Found: no route has this path")
        return route(request)


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
    """A site whose log leaves out those who ask for the server's health: every few seconds, for good."""

    def log(self, request: Any) -> None:
        """Logs a request that was answered, if it is to be."""
        if getattr(request, "isLogged", True):
            super().log(request)


class Pages(Resource):
    """Answers the requests that are not for a WebSocket."""

    isLeaf = True

    def __init__(
        self, routes: Mapping[str, Route], consoles: Mapping[str, Resource], health: Health | None = None
    ) -> None:
        """Makes the answers for these paths.

        Args:
            routes: by path; asking there for a page is answered with 426.
            consoles: by path.
            health: whether the server is well, and where that is told; a route of the same path has precedence.
        """
        super().__init__()
        self._routes = routes
        self._consoles = consoles
        self._health = None if health is None or health.path in routes or health.path in consoles else health

    def render(self, request: PageRequest) -> bytes:
        """Answers with the page, 426 or 404, and lets the connection end: a proxy may not use it for a WebSocket."""
        channel = request.channel
        if channel is not None:
            channel.persistent = False
        # A target may be a whole URL (RFC 9112 section 3.2.2).
        path = split_target(request.uri.decode("latin-1"))[1]
        console = self._consoles.get(path)
        if console is not None:
            request.setHeader("Connection", "close")
            page: bytes = console.render(request)
            return page
        headers = {"Connection": "close", "Content-Type": "text/plain; charset=utf-8"}
        body = b"Not Found"
        status = 404
        if self._health is not None and path == self._health.path:
            # haproxy asks for OPTIONS unless told otherwise.
            if request.method in (b"GET", b"HEAD", b"OPTIONS"):
                request.isLogged = False
                status, fields, body = self._health.answer()
                headers.update(fields)
            else:
                status, body = 405, b"Method Not Allowed"
                headers["Allow"] = "GET, HEAD, OPTIONS"
        elif path in self._routes:
            # RFC 9110 §15.5.22: a 426 MUST carry Upgrade.
            status, body = 426, b"Upgrade Required: this is a WebSocket endpoint"
            headers["Connection"] = "close, Upgrade"
            headers["Upgrade"] = "websocket"
            headers["Sec-WebSocket-Version"] = VERSION
        # Twisted knows no phrase for 426.
        request.setResponseCode(status, REASONS[status].encode())
        for name, value in headers.items():
            request.setHeader(name, value)
        return withoutBody(request, body) if request.method == b"HEAD" else body
