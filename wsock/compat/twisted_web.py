"""The names of ``twisted.web.websocket``, on wsock: its users change one import, and nothing else.

They have wsock's limits, its heartbeat, its Origin rule and its timeouts from then on. The application is given wsock's
transport, which has the methods of the other one, and more.

Differences:

* Pages of other origins are refused with 403, unless ``allowedOrigins`` allows them.
* ``connect`` always ends, within 10 seconds: with the application, or with an exception, which is a
  ``ConnectionRejected`` where the server has answered with another status than 101.
* A response of a refusal has come when ``connect`` fails: ``deliverBody`` gives at most 64 KiB of its body at once.
* The reason of ``connectionLost`` has a `wsock.WebSocketEnded`, with the close code.
"""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.python.failure import Failure
from twisted.web.client import URI
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IPolicyForHTTPS
from twisted.web.resource import Resource
from twisted.web.server import Request
from zope.interface import implementer

import wsock

__all__ = [
    "ConnectionRejected",
    "WebSocketClientEndpoint",
    "WebSocketClientFactory",
    "WebSocketProtocol",
    "WebSocketResource",
    "WebSocketServerFactory",
    "WebSocketTransport",
]

App = TypeVar("App", covariant=True)


class WebSocketTransport(Protocol):
    """The transport that an application is given; for type checkers. It is a `wsock.WebSocketTransport`."""

    def sendTextMessage(self, text: str) -> None:
        """Sends a text message."""

    def sendBytesMessage(self, data: bytes) -> None:
        """Sends a binary message."""

    def loseConnection(self, code: int = 1000) -> None:
        """Closes the connection."""

    def ping(self, payload: bytes = b"") -> None:
        """Sends a Ping."""

    def attachProducer(self, producer: IPushProducer) -> None:
        """Attaches a producer."""

    def detachProducer(self) -> None:
        """Detaches it."""


class WebSocketProtocol(Protocol):
    """An application; a class may inherit from it, or not."""

    def negotiationStarted(self, transport: WebSocketTransport) -> None:
        """The opening handshake has begun on a client, and is about to end on a server."""

    def negotiationFinished(self) -> None:
        """The connection is open."""

    def pongReceived(self, payload: bytes) -> None:
        """A Pong came."""

    def textMessageReceived(self, message: str) -> None:
        """A text message came."""

    def bytesMessageReceived(self, data: bytes | bytearray) -> None:
        """A binary message came."""

    def connectionLost(self, reason: Failure) -> None:
        """The connection is over."""


class WebSocketServerFactory(Protocol[App]):
    """A server's factory, for `WebSocketResource`."""

    def buildProtocol(self, request: Request) -> App:
        """Returns the application for a request of ``twisted.web``."""


class WebSocketClientFactory(Protocol[App]):
    """A client's factory, for `WebSocketClientEndpoint.connect`."""

    def buildProtocol(self, url: str) -> App:
        """Returns the application for a connection to a URL."""


class Response:
    """The answer of a server that refused, as ``twisted.web.client`` has it.

    Attributes:
        code: the status.
        phrase: the reason phrase.
        headers: the fields.
        version: of HTTP.
        length: how many bytes of the body came.
    """

    version = (b"HTTP", 1, 1)

    def __init__(self, response: wsock.Response) -> None:
        """Takes a response of wsock's.

        Args:
            response: it.
        """
        self.code = response.status
        self.phrase = response.reason.encode("latin-1")
        self.headers = Headers()
        for name, value in response.headers.items():
            self.headers.addRawHeader(name.encode("latin-1"), value.encode("latin-1"))
        self._body = response.body
        self.length = len(self._body)

    def deliverBody(self, protocol: IProtocol) -> None:
        """Gives a protocol what came of the body, and the end."""
        # As twisted.web's own, it has nothing to be written to.
        nowhere: Any = None
        protocol.makeConnection(nowhere)
        if self._body:
            protocol.dataReceived(self._body)
        protocol.connectionLost(Failure(ConnectionDone()))


class ConnectionRejected(Exception):
    """A server answered with another status than 101.

    Attributes:
        response: its answer.
    """

    def __init__(self, response: Response) -> None:
        super().__init__(response)
        self.response = response

    def __str__(self) -> str:
        return f"the server answered with {self.response.code}"


@implementer(IAgentEndpointFactory)
class _EndpointFactory:
    def __init__(
        self, reactor: Any, tlsPolicy: IPolicyForHTTPS | None, connectTimeout: int | None, bindAddress: bytes | None
    ) -> None:
        self.reactor = reactor
        self.tlsPolicy = tlsPolicy
        arguments = {"timeout": connectTimeout, "bindAddress": bindAddress}
        self._arguments: dict[str, Any] = {name: value for name, value in arguments.items() if value is not None}

    def endpointForURI(self, uri: URI) -> Any:
        """Returns the endpoint of a host; with TLS where there is a policy for it."""
        endpoint = HostnameEndpoint(self.reactor, uri.host, uri.port, **self._arguments)
        if uri.scheme != b"https" or self.tlsPolicy is None:
            return endpoint
        return wrapClientTLS(self.tlsPolicy.creatorForNetloc(uri.host, uri.port), endpoint)


class WebSocketClientEndpoint(Generic[App]):
    """A URL, and how it is reached.

    Attributes:
        endpointFactory: makes the endpoint of a URL, with TLS for one of ``https:``.
        url: begins with ``http://``, ``https://``, ``ws://`` or ``wss://``.
    """

    def __init__(self, endpointFactory: IAgentEndpointFactory, url: str) -> None:
        """Takes the factory of endpoints, and a URL.

        Args:
            endpointFactory: makes the endpoint.
            url: the URL.
        """
        self.endpointFactory = endpointFactory
        self.url = url

    @classmethod
    def new(
        cls,
        reactor: Any,
        url: str,
        tlsPolicy: IPolicyForHTTPS | None = None,
        connectTimeout: int | None = None,
        bindAddress: bytes | None = None,
    ) -> WebSocketClientEndpoint[App]:
        """Makes an endpoint of a URL.

        Args:
            reactor: to connect with.
            url: the URL.
            tlsPolicy: for TLS by Twisted; by default wsock's TLS verifies the server, with the platform's roots.
            connectTimeout: seconds for the connection by TCP.
            bindAddress: the address to connect from.
        """
        return cls(_EndpointFactory(reactor, tlsPolicy, connectTimeout, bindAddress), url)

    async def connect(self, protocolFactory: WebSocketClientFactory[App]) -> App:
        """Connects.

        Args:
            protocolFactory: makes the application.

        Returns:
            the application, once the connection is open.

        Raises:
            ConnectionRejected: the server answered with another status than 101.
            wsock.InvalidURL: the URL can't be one.
            wsock.WebSocketError: the connection was lost before it was open, or was not within 10 seconds.
        """
        scheme, separator, rest = self.url.partition("://")
        scheme = {"ws": "http", "wss": "https"}.get(scheme.lower(), scheme.lower())
        url = {"http": "ws", "https": "wss"}.get(scheme, scheme) + separator + rest
        endpoint = self.endpointFactory.endpointForURI(URI.fromBytes(f"{scheme}{separator}{rest}".encode()))
        try:
            application: App = await self._connect(url, endpoint, protocolFactory)
        except wsock.ConnectionRejected as error:
            raise ConnectionRejected(Response(error.response)) from error
        return application

    def _connect(self, url: str, endpoint: Any, protocolFactory: WebSocketClientFactory[App]) -> Deferred[Any]:
        def build(request: wsock.Request) -> Any:
            return protocolFactory.buildProtocol(self.url)

        factory = self.endpointFactory
        if isinstance(factory, _EndpointFactory) and factory.tlsPolicy is None:
            return wsock.connectProtocol(factory.reactor, url, build, endpoint=endpoint)
        return Deferred.fromCoroutine(_connectByTwisted(url, endpoint, build))


async def _connectByTwisted(url: str, endpoint: Any, build: Any) -> Any:
    """Connects through an endpoint that has TLS of its own, for ``wss:``."""
    applications: list[Any] = []

    def buildAndKeep(request: wsock.Request) -> Any:
        applications.append(build(request))
        return applications[-1]

    transport: wsock.WebSocketTransport = await endpoint.connect(wsock.WebSocketClientFactory(url, buildAndKeep))
    await transport.whenOpen()
    return applications[0]


class _NoPage(Resource):
    isLeaf = True

    def render(self, request: Request) -> bytes:
        request.setResponseCode(400)
        request.setHeader(b"content-type", b"text/plain")
        return b"websocket protocol negotiation error"


class WebSocketResource(wsock.WebSocketResource):
    """A WebSocket endpoint in a tree of ``twisted.web``."""

    def __init__(self, factory: WebSocketServerFactory[Any], **arguments: Any) -> None:
        """Makes a resource.

        Args:
            factory: an object with ``buildProtocol(request)``.
            arguments: those of `wsock.WebSocketResource`, such as ``allowedOrigins`` and ``settings``.
        """
        arguments.setdefault("page", _NoPage())  # type: ignore[no-untyped-call]
        super().__init__(lambda request: factory.buildProtocol(request.webRequest), **arguments)
