"""WebSockets in a tree of ``twisted.web``: the resource, and the function beneath it for any request of that server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, NoReturn

from twisted.internet.defer import Deferred
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import IResource, getChildForRequest
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from ..application import BuildApplication
from ..compression import Compression
from ..log import excerpt, formatAddress
from ..request import Request, plainPath
from ..sansio.constants import CloseCode
from ..sansio.errors import InvalidRequest, LocalProtocolError, wrong_type
from ..sansio.http import REASONS, ResponseHead
from ..settings import Settings
from ..wire.factory import STOP_SECONDS, Reactor
from ..wire.protocol import WebSocketTransport
from . import refusal
from .accessrecord import AccessRecord
from .addresses import AddressLimits
from .admission import refusePage
from .factory import WebSocketServerFactory
from .forwarding import ProxyPolicy
from .hosts import AllowedHosts
from .routes import Routes
from .upgrade import Upgrade, asksForWebSocket, readRequest, takeTransport

_HINT: Final = "this is for WebSockets, no page"
_NO_HTTP2: Final = "a WebSocket is served by HTTP/1.1 here"
_NO_CHILDREN: Final = "a WebSocketResource has no children: all paths below its own are for the same WebSocket"


def upgradeRequest(webRequest: Any, factory: WebSocketServerFactory) -> None:
    """Makes a WebSocket of a request that ``twisted.web`` has read, or refuses it; either way it is answered.

    For those who have no tree of resources: call it in ``process`` of a ``twisted.web.http.Request``, or later. A
    request that asks for no WebSocket is refused with 426.

    Args:
        webRequest: the request, of which nothing was answered.
        factory: decides on it, and has the connection from then on. Its ``fallback`` is not asked.

    Raises:
        LocalProtocolError: another kind of request; or one whose answer has begun.
    """
    if not isinstance(webRequest, HTTPRequest):
        raise wrong_type("webRequest", "a request of twisted.web", webRequest)
    if not isinstance(factory, WebSocketServerFactory):
        raise wrong_type("factory", "a WebSocketServerFactory", factory)
    if webRequest.startedWriting or webRequest.finished:
        raise LocalProtocolError("this request is being answered: upgradeRequest() comes before the first write()")
    if webRequest.channel is None:
        # Its client has left meanwhile.
        return
    version = webRequest.clientproto
    if version == b"HTTP/2":
        # It forbids the Upgrade field that a 426 must have.
        _refuse(webRequest, factory, refusal.explained(400, _NO_HTTP2), _NO_HTTP2)
        return
    try:
        if version != b"HTTP/1.1":
            raise InvalidRequest("an HTTP version other than 1.1", 505)
        if not asksForWebSocket(webRequest):
            raise InvalidRequest(_HINT, 426)
        head = readRequest(webRequest)
    except InvalidRequest as error:
        _refuse(webRequest, factory, *refusal.invalid(error))
        return
    transport: WebSocketTransport = factory.buildProtocol(None)
    opening = factory.makeUpgrade(transport, Upgrade(webRequest))
    below, unread = takeTransport(webRequest, transport)
    transport.openingBegins(below, opening)
    opening.requestReceived(head, unread)


def _refuse(webRequest: Any, factory: WebSocketServerFactory, answer: ResponseHead, why: str) -> None:
    """Answers through ``twisted.web``, which has the connection; what comes behind the request is not read."""
    if factory.accessLog is None:
        path = plainPath(webRequest.uri.decode("latin-1"))
        request = f"{webRequest.method.decode('latin-1')} {path}"
        factory.logRefusal(excerpt(request.rstrip()), formatAddress(webRequest.client), answer.status, why)
    webRequest.channel.persistent = False
    webRequest.setResponseCode(answer.status, REASONS[answer.status].encode())
    for name, value in answer.headers.items():
        if name != "Connection" or webRequest.clientproto != b"HTTP/2":
            webRequest.setHeader(name, value)
    # Of an answer to HEAD, too: the request leaves it out.
    webRequest.write(answer.body)
    webRequest.finish()


def _isRefusedAsPage(webRequest: Any, factory: WebSocketServerFactory) -> bool:
    """Refuses a request for a page of a host that is not served, or of an address that asks too often."""
    try:
        head = readRequest(webRequest)
        refused = refusePage(factory, Request(head, webRequest.channel.transport))
    except InvalidRequest as error:
        refused = refusal.invalid(error)
    if refused is not None:
        _refuse(webRequest, factory, *refused)
    return refused is not None


@implementer(IResource)
class WebSocketResource:
    """A WebSocket endpoint in a tree of ``twisted.web``: at its own path, and all below.

    Attributes:
        factory: makes the connections, and holds them; for `upgradeRequest`, too.
        isLeaf: part of ``IResource``.
    """

    isLeaf = True

    def __init__(
        self,
        buildApplication: BuildApplication | Routes,
        *,
        reactor: Reactor | None = None,
        settings: Settings = Settings(),  # noqa: B008 - frozen
        subprotocols: Sequence[str] = (),
        allowedOrigins: Sequence[str] | None = None,
        allowedHosts: AllowedHosts | None = None,
        headers: Sequence[tuple[str, str]] = (),
        compression: Compression | None = None,
        maxConnections: int | None = None,
        addressLimits: AddressLimits | None = None,
        trustedProxies: ProxyPolicy | None = None,
        accessLog: Callable[[AccessRecord], object] | None = None,
        page: Any = None,
    ) -> None:
        """Makes a resource, to be put into the tree; it may stand there several times.

        Args:
            buildApplication: as for `WebSocketServerFactory`, as all that is not told here. `Request.webRequest` is
                the request of ``twisted.web``, with its session, its cookies and what else the tree has given it.
            reactor: for the timers; by default the global one.
            settings: limits and timers. Those of the head of a request are the ``Site``'s own.
            subprotocols: those to choose from.
            allowedOrigins: which pages may connect; by default those of the host that they ask for.
            allowedHosts: which hosts are served.
            headers: more fields for each 101 answer.
            compression: accept the offers of clients.
            maxConnections: how many connections may be open.
            addressLimits: limits for each address that clients connect from.
            trustedProxies: the proxies in front.
            accessLog: called with an `AccessRecord` of each connection that asked for a WebSocket. The log of the
                ``Site`` has a line for each request, too, when it is answered.
            page: an ``IResource`` that answers the requests that ask for no WebSocket; by default they get a 426.

        Raises:
            LocalProtocolError: an argument that can't be.
        """
        if page is not None and not IResource.providedBy(page):
            raise wrong_type("page", "a resource of twisted.web, or None", page)
        self.factory = WebSocketServerFactory(
            buildApplication,
            reactor=reactor,
            settings=settings,
            subprotocols=subprotocols,
            allowedOrigins=allowedOrigins,
            allowedHosts=allowedHosts,
            headers=headers,
            compression=compression,
            maxConnections=maxConnections,
            addressLimits=addressLimits,
            trustedProxies=trustedProxies,
            accessLog=accessLog,
        )
        self._page = page

    def __reduce__(self) -> NoReturn:
        raise TypeError("a resource of WebSockets can't be copied or pickled: make one in each process")

    def render(self, request: Any) -> Any:
        """Makes a WebSocket of a request, or refuses it; ``twisted.web`` calls this."""
        if self._page is not None and not asksForWebSocket(request):
            if self.factory.checksPages and _isRefusedAsPage(request, self.factory):
                return NOT_DONE_YET
            return getChildForRequest(self._page, request).render(request)
        upgradeRequest(request, self.factory)
        return NOT_DONE_YET

    def getChildWithDefault(self, name: bytes, request: Any) -> WebSocketResource:
        """Returns itself, for all paths below, to those who ask in spite of ``isLeaf``."""
        return self

    def putChild(self, path: bytes, child: Any) -> NoReturn:
        """Part of ``IResource``.

        Raises:
            LocalProtocolError: always.
        """
        raise LocalProtocolError(_NO_CHILDREN)

    @property
    def connections(self) -> AbstractSet[WebSocketTransport]:
        """The open connections, as `WebSocketServerFactory.connections`."""
        return self.factory.connections

    def stop(self, code: int = CloseCode.GOING_AWAY, reason: str = "", timeout: float = STOP_SECONDS) -> Deferred[None]:
        """Ends all connections, and refuses new ones with 503, as `WebSocketServerFactory.stop`.

        A ``Site`` does not tell its resources when its port stops to listen, so call this when the program ends.
        """
        return self.factory.stop(code, reason, timeout)
