"""`serve`: from a function that builds applications to a server that listens, and ends well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from twisted.internet.defer import Deferred

from ..application import BuildApplication
from ..arguments import checkStop
from ..compression import Compression
from ..sansio.constants import CloseCode
from ..sansio.errors import wrong_type
from ..settings import Settings
from ..wire.factory import STOP_SECONDS
from ..wire.protocol import WebSocketTransport
from .accessrecord import AccessRecord
from .addresses import AddressLimits
from .factory import WebSocketServerFactory
from .forwarding import ProxyPolicy
from .hosts import AllowedHosts
from .listening import Listening, ServerEndpoint
from .opening import Fallback
from .routes import Routes
from .signals import atSecondSignal

if TYPE_CHECKING:
    from .tls import ServerTLS

#: How long those have that a second signal ends, in seconds: no time at all.
_NO_SECONDS: Final = 1e-6
#: The methods of a reactor that a server needs of it beside those of its endpoint.
_METHODS: Final = ("callLater", "seconds", "addSystemEventTrigger", "removeSystemEventTrigger")


class Server:
    """A server that listens, made by `serve`; ``async with`` stops it in the end.

    Attributes:
        factory: makes the connections, and holds them.
        port: the number of its TCP port; None where it has none, as on a UNIX socket.
        url: its URL, ``ws:`` or, as far as can be known, ``wss:``; None where it has none. A port on all addresses is
            on ``localhost``.
    """

    def __init__(self, reactor: Any, factory: WebSocketServerFactory, listening: Listening) -> None:
        self.factory = factory
        self.port = listening.port
        self.url = listening.url
        self._reactor = reactor
        self._listening = listening
        #: The trigger that the reactor is to call when it ends, until it is called or taken back.
        self._trigger: list[Any] = [reactor.addSystemEventTrigger("before", "shutdown", self._shutDown)]

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Server can't be copied or pickled, nor can its port: call serve in each process")

    @property
    def connections(self) -> AbstractSet[WebSocketTransport]:
        """The open connections, as `WebSocketServerFactory.connections` has them."""
        return self.factory.connections

    def reloadTLS(self) -> None:
        """Reads the files of ``tls`` again, for new connections; open ones go on with the certificate that they have.

        Call it when a certificate was renewed. All files are read before the first of the new certificates is used: if
        that fails, the old ones stay in use. The tickets of the old ones are not taken any more, and so a client that
        comes back sees the new certificate.

        Raises:
            LocalProtocolError: files without a certificate and its key; no files, because ``tls`` is an
                ``ssl.SSLContext``, which stays the program's own, or was not given.
            OSError: a file that can't be read.
        """
        self._listening.reloadTLS()

    def stop(self, code: int = CloseCode.GOING_AWAY, reason: str = "", timeout: float = STOP_SECONDS) -> Deferred[None]:
        """Closes the port first, then the connections, as `WebSocketServerFactory.stop` does.

        The end of the reactor calls it too, so that peers hear of it at Control-C. A second call waits for the same
        end, which it changes only where its timeout is over earlier.

        Args:
            code: the close code.
            reason: the Close's reason, at most 123 bytes of UTF-8.
            timeout: seconds from when the port is closed until the connections that are still there are aborted.

        Returns:
            a Deferred that fires when all is closed. It never fails; cancelling it only stops it from waiting.

        Raises:
            LocalProtocolError: a code or a reason that can't travel; a timeout that is no number above 0.
        """
        checkStop(code, reason, timeout)
        stopped: Deferred[None] = Deferred()
        Deferred.fromCoroutine(self._end(code, reason, timeout)).chainDeferred(stopped)
        return stopped

    async def _end(self, code: int, reason: str, timeout: float) -> None:
        await self._listening.close()
        await self.factory.stop(code, reason, timeout)
        if self._trigger:
            # Twisted's reactor for tests in memory has no way to take it back.
            with suppress(NotImplementedError):
                self._reactor.removeSystemEventTrigger(self._trigger.pop())

    def _shutDown(self) -> Deferred[None]:
        self._trigger.clear()
        leave = atSecondSignal(self._reactor, self._abort)
        return self.stop().addBoth(lambda ignored: leave())

    def _abort(self) -> None:
        self.factory.stop(timeout=_NO_SECONDS)

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def serve(
    reactor: Any,
    endpoint: ServerEndpoint,
    buildApplication: BuildApplication | Routes,
    *,
    settings: Settings = Settings(),  # noqa: B008 - frozen
    subprotocols: Sequence[str] = (),
    allowedOrigins: Sequence[str] | None = None,
    allowedHosts: AllowedHosts | None = None,
    headers: Sequence[tuple[str, str]] = (),
    compression: Compression | None = None,
    fallback: Fallback | None = None,
    maxConnections: int | None = None,
    addressLimits: AddressLimits | None = None,
    trustedProxies: ProxyPolicy | None = None,
    accessLog: Callable[[AccessRecord], object] | None = None,
    tls: ServerTLS | None = None,
) -> Deferred[Server]:
    """Starts a server; it ends with the reactor, or by `Server.stop`.

    When the reactor ends, by Control-C for instance, the server closes its port and its connections first, each with
    1001, and waits at most 4 seconds for the peers. A second signal meanwhile aborts them.

    Args:
        reactor: to listen with.
        endpoint: where: a TCP port, such as ``8080``, on all addresses of this machine, 0 for any port that is free; an
            endpoint description, such as ``"tcp:8080:interface=127.0.0.1"``; or an ``IStreamServerEndpoint``. Up to
            4,096 connections wait to be accepted where a description does not say how many; an endpoint object says it
            itself.
        buildApplication: called with the `Request` of each client; returns its application; or `Routes`. See
            `WebSocketServerFactory`, as for all that follows.
        settings: limits and timers.
        subprotocols: those to choose from, the preferred first.
        allowedOrigins: which pages may connect.
        allowedHosts: which hosts are served.
        headers: more fields for each 101 answer.
        compression: how messages are compressed with clients that offer it.
        fallback: a factory for connections whose request is not for a WebSocket.
        maxConnections: how many connections may be open.
        addressLimits: limits for each address that clients connect from.
        trustedProxies: the proxies in front.
        accessLog: called with an `AccessRecord` of each connection.
        tls: TLS on the endpoint, whatever its kind: the files of a certificate (with the intermediate ones behind it)
            and of its key, both in PEM; one file with both; a folder of certificates, of which each client gets the one
            for the name that it asks for; or an ``ssl.SSLContext``, which is changed: it refuses renegotiation, and
            offers ``http/1.1`` by ALPN. It needs no other package. `Server.reloadTLS` reads files again.

    Returns:
        a Deferred that fires with the `Server` when it listens. It fails with the endpoint's exception when it can't,
        such as ``CannotListenError`` of ``twisted.internet.error``; cancelling it stops to listen.

    Raises:
        LocalProtocolError: an argument that can't be, such as an origin with a path, or a client's endpoint; files
            without a certificate and its key; ``tls`` for an endpoint that has TLS already.
        OSError: a file that can't be read.
        ValueError: an invalid description; other exceptions are of the endpoint's kind.
    """
    if isinstance(reactor, type) or not all(callable(getattr(reactor, name, None)) for name in _METHODS):
        raise wrong_type("reactor", "a reactor", reactor, "from twisted.internet import reactor")
    factory = WebSocketServerFactory(
        buildApplication,
        reactor=reactor,
        settings=settings,
        subprotocols=subprotocols,
        allowedOrigins=allowedOrigins,
        allowedHosts=allowedHosts,
        headers=headers,
        compression=compression,
        fallback=fallback,
        maxConnections=maxConnections,
        addressLimits=addressLimits,
        trustedProxies=trustedProxies,
        accessLog=accessLog,
    )
    return Deferred.fromCoroutine(_start(reactor, factory, Listening(reactor, endpoint, factory, tls)))


async def _start(reactor: Any, factory: WebSocketServerFactory, listening: Listening) -> Server:
    try:
        await listening.open()
    except BaseException:
        # An endpoint that can't be stopped may listen nevertheless.
        factory.stop()
        raise
    return Server(reactor, factory, listening)
