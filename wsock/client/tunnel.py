"""From a proxy to a tunnel: an endpoint by way of a proxy, which is asked for a connection to the server.

Rules:

* A tunnel is an endpoint as any other: TLS to the server goes on top of it, and the server is verified end to end.
* Once it is open, nothing of the proxy's stays between: the transport's protocol is the connection's own.
* However the asking ends, no transport and no timer are left behind; the time is that of the whole attempt.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import NoProtocol
from twisted.internet.interfaces import ILoggingContext, IProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from ..arguments import checkEndpoint
from ..errors import ProxyError, WebSocketDropped
from ..log import release
from ..sansio.errors import InvalidURL, LocalProtocolError
from ..sansio.url import URL
from ..settings import Settings
from ..wire.tlsfailures import describeClientFailure, isDone
from ..wire.transports import driverOf
from .attempt import NO_A_LABELS, Endpoint, Handed, openingTimedOut
from .httpconnect import ConnectHandshake
from .lookup import hostEndpoint
from .proxy import ENVIRONMENT, Proxy, proxyFor
from .socks import SOCKSHandshake


class ProxyHandshake(Protocol):
    """The handshake with a proxy, without I/O: `ConnectHandshake` or `SOCKSHandshake`."""

    isOpen: bool
    unread: bytes

    def begin(self) -> bytes:
        """Returns the bytes to send first."""

    def receive(self, data: bytes) -> bytes:
        """Takes bytes in; returns the bytes to send."""

    def makeError(self, told: str | None) -> ProxyError:
        """Makes the exception for a proxy that sends nothing more."""


class TunnelEndpoint:
    """An endpoint by way of a proxy, for one connection."""

    def __init__(self, endpoint: Endpoint, handshake: ProxyHandshake, proxy: str) -> None:
        """Prepares a tunnel.

        Args:
            endpoint: how the proxy is reached, its TLS included.
            handshake: the handshake with it.
            proxy: the proxy, as errors name it.
        """
        self._endpoint = endpoint
        self._tunnel = _Tunnel(handshake, proxy)

    def connect(self, protocolFactory: Any, /) -> Deferred[Any]:
        """Connects; the Deferred fires when the proxy has connected us to the server."""
        return self._tunnel.begin(self._endpoint, protocolFactory)

    def makeLateError(self) -> BaseException:
        """Makes the exception for a connection that is not there in time."""
        return self._tunnel.makeLateError()


@implementer(IProtocol, ILoggingContext)
class _Tunnel:
    """The connection to a proxy: asks for the tunnel, and gets out of the way."""

    def __init__(self, handshake: ProxyHandshake, proxy: str) -> None:
        #: None once it is over, one way or the other.
        self._handshake: ProxyHandshake | None = handshake
        self._proxy = proxy
        self._address: Any = None
        #: While the endpoint connects.
        self._connecting: Deferred[Any] | None = None
        #: The factory of the connection through the tunnel, and its Deferred, until it is over.
        self._factory: Any = None
        self._result: Deferred[Any] | None = None
        #: The transport, until it is over.
        self._transport: Any = None
        #: The protocol of the connection, where the transport can't be given it.
        self._inner: Any = None

    def logPrefix(self) -> str:
        """Names the connection in Twisted's log, as what comes after it."""
        return "wsock"

    def begin(self, endpoint: Endpoint, factory: Any) -> Deferred[Any]:
        """Connects to the proxy; the Deferred fires with the factory's protocol once that has its transport."""
        self._factory = factory
        result: Deferred[Any] = Deferred(self._cancelled)
        self._result = result
        handed = Handed(self)  # type: ignore[arg-type]
        self._connecting = maybeDeferred(lambda: endpoint.connect(handed))
        self._connecting.addBoth(self._endpointFired, handed)
        return result

    def buildProtocol(self, addr: Any) -> Any:
        """Returns itself: it is the factory of its one connection, too."""
        self._address = addr
        return self

    def makeLateError(self) -> BaseException:
        """Makes the exception for a tunnel that is not open in time; says how far it came."""
        transport, handshake = self._transport, self._handshake
        late = str(openingTimedOut())
        if transport is None or handshake is None:
            return WebSocketDropped(f"{late}: {self._proxy} could not be reached in time")
        if not isDone(transport):
            return WebSocketDropped(f"{late}: {self._proxy} did not finish the TLS handshake")
        error = handshake.makeError("did not answer in time")
        return WebSocketDropped(f"{late}: {error}") if error.response is None else error

    # IProtocol

    def makeConnection(self, transport: Any) -> None:
        """The proxy is reached: asks it for the tunnel."""
        if self._handshake is None or self._transport is not None:
            # An endpoint that can't be stopped came too late, or has made one before.
            driverOf(transport).abort(transport)
            return
        self._transport = transport
        driverOf(transport).setNoDelay(transport)
        # Over TLS it leaves when the proxy has been verified.
        transport.write(self._handshake.begin())

    def connectionMade(self) -> None:
        """Part of Twisted's interface; `makeConnection` does all."""

    def dataReceived(self, data: bytes) -> None:
        """Takes bytes of the proxy, or of the server behind it."""
        if self._inner is not None:
            self._inner.dataReceived(data)
            return
        handshake = self._handshake
        if handshake is None:
            return
        try:
            answer = handshake.receive(data)
        except ProxyError as error:
            # The place where that was found helps no one.
            release(error)
            self._fail(error)
            return
        if answer:
            self._transport.write(answer)
        if handshake.isOpen:
            self._open(handshake.unread)

    def connectionLost(self, reason: Failure) -> None:
        """The transport is lost."""
        inner, self._inner = self._inner, None
        transport, self._transport = self._transport, None
        if inner is not None:
            inner.connectionLost(reason)
        elif self._handshake is not None:
            error = self._handshake.makeError(_describeLoss(reason, transport))
            error.__cause__ = reason.value
            self._fail(error)

    def _open(self, unread: bytes) -> None:
        """The tunnel is open: hands the transport to the protocol of the connection."""
        factory, transport = self._factory, self._transport
        self._handshake = self._factory = None
        try:
            protocol = factory.buildProtocol(self._address)
        except Exception as error:
            self._fail(error)
            return
        if protocol is None:
            self._fail(NoProtocol())
            return
        if not driverOf(transport).setProtocol(transport, protocol):
            self._inner = protocol
        protocol.makeConnection(transport)
        result, self._result = self._result, None
        self._transport = None
        if result is not None:
            result.callback(protocol)
            if unread:
                protocol.dataReceived(unread)

    # The end

    def _endpointFired(self, result: object, handed: Handed) -> None:
        # Returns None: the endpoint may keep its Deferred, and that its result.
        handed.letGo()
        self._connecting = None
        if isinstance(result, Failure) and self._result is not None:
            error = ProxyError(f"{self._proxy} could not be reached: {result.getErrorMessage()}")
            error.__cause__ = result.value
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        result = self._end()
        if result is not None:
            result.errback(error)

    def _cancelled(self, _: object) -> None:
        connecting, self._connecting = self._connecting, None
        self._end()
        if connecting is not None:
            connecting.cancel()

    def _end(self) -> Deferred[Any] | None:
        """Drops the connection; returns the Deferred that is to fail, unless it is cancelled."""
        result, self._result = self._result, None
        transport, self._transport = self._transport, None
        self._handshake = self._factory = None
        if transport is not None:
            driverOf(transport).abort(transport)
        return result


def _describeLoss(reason: Failure, transport: Any) -> str | None:
    """Says why TLS to a proxy has failed, as part of a sentence; None where it has not."""
    if not driverOf(transport).isSecure(transport):
        return None
    told = describeClientFailure(reason.value, transport)
    if told is None:
        return None
    for ours, theirs in _OF_A_PROXY:
        told = told.replace(ours, theirs)
    return f"could not be reached: {told}"


#: The words about a server and its URL, and those about a proxy in their place.
_OF_A_PROXY = (
    ("the server", "the proxy"),
    ("the host of the URL", "the host of its URL"),
    ("write ws:// in the URL", "write http:// in its URL"),
    ("give tls=", "give wsock.Proxy tls="),
    ("give it as clientCertificate", "give wsock.Proxy a context as tls that has one"),
    ("give another as clientCertificate", "give wsock.Proxy a context as tls that has another"),
)


def tunnelFor(
    reactor: Any, url: URL, proxy: Proxy | str, endpoint: Endpoint | None, settings: Settings
) -> TunnelEndpoint | None:
    """Returns the endpoint that leads to a URL's server by way of a proxy; None where it is reached without one.

    Args:
        reactor: to connect with.
        url: the server's.
        proxy: from `asProxy`.
        endpoint: how to reach the proxy, in place of its host and port.
        settings: the limits of an answer, and of the end of TLS.

    Raises:
        InvalidURL: the host of a `URL` that `parse` did not make.
        LocalProtocolError: an invalid endpoint, an invalid context of the proxy's, or a proxy of the environment that
            is none, or beside an endpoint.
    """
    if endpoint is not None:
        checkEndpoint(endpoint)
        if proxy == ENVIRONMENT:
            raise LocalProtocolError(
                "endpoint leads to the proxy where there is one, and the environment may name none: give the proxy "
                "itself, or no endpoint"
            )
    found = proxyFor(proxy, url)
    if found is None:
        return None
    if not url.host.isascii():
        raise InvalidURL(NO_A_LABELS)
    if "%" in url.host:
        raise InvalidURL("an IPv6 zone, which means nothing to a proxy")
    if endpoint is None:
        endpoint = hostEndpoint(reactor, found.host, found.port)
    name = f"the proxy {found}"
    if found.scheme == "socks5":
        return TunnelEndpoint(endpoint, SOCKSHandshake(url.host, url.port, found.auth, name), name)
    if found.scheme == "https":
        # Here, so that the standard library's ssl is only loaded where it is used.
        from .tls import SecuredEndpoint, makeContext, serverNameOf

        context, serverName = makeContext(found.tls), serverNameOf(found.host)
        endpoint = SecuredEndpoint(reactor, endpoint, context, serverName, settings.closeTimeout)
    return TunnelEndpoint(endpoint, ConnectHandshake(url.host, url.port, found.auth, name, settings), name)
