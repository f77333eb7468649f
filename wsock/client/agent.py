"""`connect` and `connectProtocol`: from a URL to an open connection, whose server is verified where it is TLS.

`Agent` is the same for several connections.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar

from twisted.internet.defer import Deferred

from ..application import Application
from ..arguments import checkReactor, checkSettings
from ..compression import Compression, checkCompression
from ..request import Request
from ..sansio import handshake
from ..sansio.http import check_fields
from ..sansio.url import URL, parse
from ..settings import Settings
from ..stream import WebSocketStream
from .attempt import Attempt, Endpoint, endpointFor, openingTimedOut
from .factory import WebSocketClientFactory

if TYPE_CHECKING:
    from ssl import SSLContext

    from .proxy import Proxy

AnyApplication = TypeVar("AnyApplication", bound=Application)
Build: TypeAlias = Callable[[Request], AnyApplication | Deferred[AnyApplication] | Coroutine[Any, Any, AnyApplication]]

#: A URL to try headers on.
_ANYWHERE = parse("ws://localhost/")


class Agent:
    """Connects to servers, always with the same settings, headers and certificates."""

    __slots__ = (
        "_clientCertificate",
        "_compression",
        "_headers",
        "_proxy",
        "_reactor",
        "_settings",
        "_subprotocols",
        "_tls",
        "_trustRoot",
    )

    def __init__(
        self,
        reactor: Any,
        *,
        settings: Settings = Settings(),  # noqa: B008 - frozen
        headers: Sequence[tuple[str, str]] = (),
        subprotocols: Sequence[str] = (),
        compression: Compression | None = Compression(),  # noqa: B008 - frozen
        tls: SSLContext | None = None,
        trustRoot: Any = None,
        clientCertificate: Any = None,
        proxy: Proxy | str | None = None,
    ) -> None:
        """Makes an agent; it connects at each call.

        Args:
            reactor: to connect with.
            settings: limits and timers. ``openTimeout`` is from a call of `connect` until the connection is open, all
                included.
            headers: more fields for each request, such as Origin, Cookie and Authorization.
            subprotocols: offered, the preferred first.
            compression: offered to the server, by default with all defaults; None offers nothing.
            tls: the context for ``wss:``, such as ``ssl.create_default_context(cafile="cert.pem")``, in place of one
                with the platform's roots. It has to verify servers and their names; `connect` says so otherwise. It is
                changed: it refuses renegotiation, and offers ``http/1.1`` by ALPN.
            trustRoot: the trust in place of the platform's roots, and Twisted's TLS in place of the standard library's:
                a certificate, or what ``twisted.internet.ssl.trustRootFromCertificates`` returns.
            clientCertificate: who we are, a ``twisted.internet.ssl.PrivateCertificate``; with Twisted's TLS, too.
            proxy: the proxy to connect through: its URL, such as ``http://proxy.example:3128``, ``https://...`` or
                ``socks5://...``; a `Proxy`; or ``"environment"`` for the one that ``https_proxy``, ``NO_PROXY`` and
                the like name. The proxy resolves the names of servers. By default there is none, whatever the
                environment says.

        Raises:
            LocalProtocolError: an argument that can't be, such as a header in bytes.
        """
        checkReactor(reactor)
        checkSettings(settings)
        self._reactor = reactor
        self._settings = settings
        self._headers = tuple(check_fields(headers))
        self._subprotocols = tuple(handshake.check_subprotocols(subprotocols))
        if self._headers or self._subprotocols:
            # Headers that can't be sent are refused now.
            handshake.open(_ANYWHERE, headers=self._headers, subprotocols=self._subprotocols)
        checkCompression(compression)
        self._compression = compression
        self._tls = tls
        self._trustRoot = trustRoot
        self._clientCertificate = clientCertificate
        self._proxy: Proxy | str | None = None
        if proxy is not None:
            # Here, and below, so that these modules are only loaded where they are used.
            from .proxy import asProxy

            self._proxy = asProxy(proxy)

    def __reduce__(self) -> NoReturn:
        raise TypeError("an Agent can't be copied or pickled, nor can its reactor: make one in each process")

    def connectProtocol(
        self,
        url: str | URL,
        buildApplication: Build[AnyApplication],
        *,
        endpoint: Endpoint | None = None,
        headers: Sequence[tuple[str, str]] | None = None,
        subprotocols: Sequence[str] | None = None,
    ) -> Deferred[AnyApplication]:
        """Connects an application to a server.

        Args:
            url: ``ws://`` or ``wss://``. The server of a ``wss:`` URL is verified for the URL's host, name or address.
            buildApplication: called with the `Request` that is about to be sent, once the transport is connected.
                Returns the application, or a Deferred or coroutine of it.
            endpoint: how to reach the server, in place of the URL's host and port: through Tor, by a UNIX socket. Any
                ``IStreamClientEndpoint`` whose transports are producers and consumers, as all of Twisted's are but the
                channels of SSH; TLS is added to it for a ``wss:`` URL. With a ``proxy`` it is how to reach that.
            headers: for this connection, in place of the agent's; None for the agent's.
            subprotocols: likewise.

        Returns:
            a Deferred that fires with the application when the connection is open. It fails with

            - `ConnectionRejected`, which has the response, when the server answered with another status than 101;
            - `InvalidResponse` when the answer is not one to our request, or is malformed;
            - `WebSocketDropped` when the connection was lost before it was open, TLS did not verify the server (its
              error is the ``__cause__``), the time was over, or the application failed (the same) or aborted in
              ``negotiationStarted`` or ``negotiationFinished``;
            - `ProxyError` when the proxy can't be reached, or does not connect us to the server;
            - the endpoint's own exception, when it does not connect;
            - the exception that ``buildApplication`` raised.

            Cancelling it drops the connection.

        Raises:
            InvalidURL: not a URL of RFC 6455 section 3.
            LocalProtocolError: another argument that can't be, such as a header in bytes, or an endpoint that is a str;
                certificates for a URL without TLS; ``tls`` that does not verify, or beside Twisted's; a proxy of the
                environment that is none, or beside an endpoint.
            ImportError: certificates of Twisted's without the packages for its TLS.
        """
        factory = WebSocketClientFactory(
            url,
            buildApplication,
            reactor=self._reactor,
            settings=self._settings,
            headers=self._headers if headers is None else headers,
            subprotocols=self._subprotocols if subprotocols is None else subprotocols,
            compression=self._compression,
        )
        late: Callable[[], BaseException] = openingTimedOut
        if self._proxy is not None:
            from .tunnel import tunnelFor

            tunnel = tunnelFor(self._reactor, factory.url, self._proxy, endpoint, self._settings)
            if tunnel is not None:
                endpoint, late = tunnel, tunnel.makeLateError
        endpoint = endpointFor(
            self._reactor,
            factory.url,
            endpoint,
            self._trustRoot,
            self._clientCertificate,
            self._tls,
            self._settings.closeTimeout,
        )
        attempt = Attempt(self._reactor, self._settings.openTimeout, late)
        factory.observe(attempt)
        return attempt.begin(endpoint, factory)

    def connect(
        self,
        url: str | URL,
        *,
        endpoint: Endpoint | None = None,
        headers: Sequence[tuple[str, str]] | None = None,
        subprotocols: Sequence[str] | None = None,
    ) -> Deferred[WebSocketStream]:
        """Connects to a server, to send and receive with ``await``.

        ``async with await agent.connect("wss://example.com/") as stream:`` closes it in the end, too.

        Args:
            url: as all that follows, of `connectProtocol`.
            endpoint: how to reach the server.
            headers: in place of the agent's.
            subprotocols: in place of the agent's.

        Returns:
            a Deferred that fires with the `WebSocketStream` when the connection is open. It fails, and is cancelled, as
            that of `connectProtocol`.

        Raises:
            InvalidURL: as `connectProtocol`, and so are the others.
            LocalProtocolError: another argument that can't be, such as a header in bytes, or an endpoint that is a str.
            ImportError: certificates of Twisted's without the packages for its TLS.
        """
        return self.connectProtocol(
            url, lambda request: WebSocketStream(), endpoint=endpoint, headers=headers, subprotocols=subprotocols
        )


def connectProtocol(
    reactor: Any,
    url: str | URL,
    buildApplication: Build[AnyApplication],
    *,
    endpoint: Endpoint | None = None,
    settings: Settings = Settings(),  # noqa: B008 - frozen
    headers: Sequence[tuple[str, str]] = (),
    subprotocols: Sequence[str] = (),
    compression: Compression | None = Compression(),  # noqa: B008 - frozen
    tls: SSLContext | None = None,
    trustRoot: Any = None,
    clientCertificate: Any = None,
    proxy: Proxy | str | None = None,
) -> Deferred[AnyApplication]:
    """Connects an application to a server: `Agent.connectProtocol` of an `Agent` that is used once.

    Args:
        reactor: to connect with.
        url: ``ws://`` or ``wss://``. The server of a ``wss:`` URL is verified for the URL's host, name or address.
        buildApplication: called with the `Request` that is about to be sent, once the transport is connected. Returns
            the application, or a Deferred or coroutine of it.
        endpoint: how to reach the server, in place of the URL's host and port.
        settings: limits and timers, as all that follows of an `Agent`.
        headers: more fields for the request, such as Origin, Cookie and Authorization.
        subprotocols: offered, the preferred first.
        compression: offered to the server, by default with all defaults; None offers nothing.
        tls: the context for ``wss:``, in place of one with the platform's roots.
        trustRoot: the trust in place of the platform's roots, with Twisted's TLS.
        clientCertificate: who we are, with Twisted's TLS.
        proxy: the proxy to connect through: its URL, a `Proxy`, or ``"environment"``; by default none.

    Returns:
        the Deferred of `Agent.connectProtocol`, see there for its failures. Cancelling it drops the connection.

    Raises:
        InvalidURL: not a URL of RFC 6455 section 3.
        LocalProtocolError: another argument that can't be, such as a header in bytes, or an endpoint that is a str.
        ImportError: certificates of Twisted's without the packages for its TLS.
    """
    agent = Agent(
        reactor,
        settings=settings,
        headers=headers,
        subprotocols=subprotocols,
        compression=compression,
        tls=tls,
        trustRoot=trustRoot,
        clientCertificate=clientCertificate,
        proxy=proxy,
    )
    return agent.connectProtocol(url, buildApplication, endpoint=endpoint)


def connect(
    reactor: Any,
    url: str | URL,
    *,
    endpoint: Endpoint | None = None,
    settings: Settings = Settings(),  # noqa: B008 - frozen
    headers: Sequence[tuple[str, str]] = (),
    subprotocols: Sequence[str] = (),
    compression: Compression | None = Compression(),  # noqa: B008 - frozen
    tls: SSLContext | None = None,
    trustRoot: Any = None,
    clientCertificate: Any = None,
    proxy: Proxy | str | None = None,
) -> Deferred[WebSocketStream]:
    """Connects to a server, to send and receive with ``await``.

    ``async with await connect(reactor, "wss://example.com/") as stream:`` closes it in the end, too.

    Args:
        reactor: to connect with.
        url: ``ws://`` or ``wss://``.
        endpoint: how to reach the server; as all that follows, of `connectProtocol`.
        settings: limits and timers.
        headers: more fields for the request.
        subprotocols: offered, the preferred first.
        compression: offered to the server, by default with all defaults; None offers nothing.
        tls: the context for ``wss:``.
        trustRoot: whom to trust, with Twisted's TLS.
        clientCertificate: who we are, with Twisted's TLS.
        proxy: the proxy to connect through: its URL, a `Proxy`, or ``"environment"``; by default none.

    Returns:
        a Deferred that fires with the `WebSocketStream` when the connection is open. It fails, and is cancelled, as
        that of `connectProtocol`.

    Raises:
        InvalidURL: as `connectProtocol`, and so are the others.
        LocalProtocolError: another argument that can't be, such as a header in bytes, or an endpoint that is a str.
        ImportError: certificates of Twisted's without the packages for its TLS.
    """
    agent = Agent(
        reactor,
        settings=settings,
        headers=headers,
        subprotocols=subprotocols,
        compression=compression,
        tls=tls,
        trustRoot=trustRoot,
        clientCertificate=clientCertificate,
        proxy=proxy,
    )
    return agent.connect(url, endpoint=endpoint)
