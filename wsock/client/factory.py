"""A client's factory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import ref

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from ..application import Application
from ..arguments import checkBuildApplication
from ..compression import Compression, asOptions, asParameters, checkCompression
from ..log import ClassLogger
from ..request import Request
from ..sansio import handshake
from ..sansio.constants import Role
from ..sansio.errors import LocalProtocolError, WebSocketError
from ..sansio.http import RequestHead
from ..sansio.url import URL
from ..sansio.url import parse as parseURL
from ..settings import Settings
from ..wire.factory import SOFTWARE, ConnectionFactory, Connections, Reactor, withDefaultField
from ..wire.protocol import WebSocketTransport
from .opening import ClientOpening, OpeningObserver, applicationFailed


class WebSocketClientFactory(ConnectionFactory, ClientFactory):
    """Makes client connections to one URL; for ``connectTCP``, any endpoint, and a ``ClientService``.

    It does not add TLS: for a ``wss:`` URL the endpoint does, or use `connect`.

    Attributes:
        settings: limits and timers.
        url: where to.
    """

    log = ClassLogger()
    role = Role.CLIENT

    def __init__(
        self,
        url: str | URL,
        buildApplication: Callable[[Request], Any],
        *,
        reactor: Reactor | None = None,
        settings: Settings = Settings(),  # noqa: B008 - frozen
        headers: Sequence[tuple[str, str]] = (),
        subprotocols: Sequence[str] = (),
        compression: Compression | None = Compression(),  # noqa: B008 - frozen
    ) -> None:
        """Makes a factory, to be handed to an endpoint or to ``connectTCP``.

        Args:
            url: ``ws://`` or ``wss://``.
            buildApplication: called for each connection with the `Request` that is about to be sent. Returns an
                application, or a Deferred or coroutine of one; an exception ends the connection.
            reactor: for the timers; by default the global one, from the first connection on.
            settings: limits and timers.
            headers: more fields for the request, such as Origin, Cookie and Authorization.
            subprotocols: offered, the preferred first.
            compression: offered to the server, by default with all defaults; None offers nothing.

        Raises:
            InvalidURL: not a URL of RFC 6455 section 3.
            LocalProtocolError: another argument that can't be, such as a header in bytes.
        """
        checkBuildApplication(buildApplication)
        self._connections = Connections(reactor, settings, self.log)
        self.buildApplication = buildApplication
        self.settings = settings
        self.url = url if isinstance(url, URL) else parseURL(url)
        self.headers = withDefaultField(headers, "User-Agent", SOFTWARE)
        self.subprotocols = tuple(handshake.check_subprotocols(subprotocols))
        checkCompression(compression)
        self.compression = compression
        self._offers = () if compression is None else (asParameters(compression, self.role, settings).offer(),)
        self.deflateOptions = asOptions(compression, self.role, settings)
        self._observer: OpeningObserver = _LoggedOpenings(self)
        # Headers that can't be sent are refused now.
        self.makeRequest()

    # Its result is an IProtocol, and inherits nothing of Twisted's.
    def buildProtocol(self, addr: IAddress | None) -> WebSocketTransport:
        """Returns the protocol for a new connection."""
        return self._connections.make(self)

    def makeRequest(self) -> RequestHead:
        """Makes the request of one connection, with a key of its own."""
        return handshake.open(self.url, headers=self.headers, subprotocols=self.subprotocols, extensions=self._offers)

    # For its connections

    def makeOpening(self, transport: WebSocketTransport) -> ClientOpening:
        """Makes the opening handshake of a connection."""
        self._connections.begin(transport)
        return ClientOpening(transport, self, self._connections.clock())

    def connectionLost(self, transport: WebSocketTransport, aborted: bool, note: Any) -> None:
        """The application of a connection has heard of its loss."""

    def applicationFailed(self, failure: Failure) -> None:
        """The application of a connection failed, and that was logged: when it has just opened, it has not opened."""
        self._observer.failed(applicationFailed(failure.value))

    def observe(self, observer: OpeningObserver) -> None:
        """Has another one hear of the opening handshakes, in place of the log."""
        self._observer = observer

    @property
    def observer(self) -> OpeningObserver:
        """The observer of the opening handshakes."""
        return self._observer


class _LoggedOpenings:
    """Hears of the opening handshakes of a factory that no `Attempt` stands behind, and logs those that fail."""

    __slots__ = ("_factory",)

    def __init__(self, factory: WebSocketClientFactory) -> None:
        self._factory = ref(factory)

    def secondsLeft(self) -> float | None:
        """How long an opening handshake may take."""
        factory = self._factory()
        return None if factory is None else factory.settings.openTimeout

    def connected(self, transport: WebSocketTransport) -> None:
        """A transport is there."""

    def opened(self, application: Application) -> None:
        """A connection is open."""

    def failed(self, error: BaseException, transport: WebSocketTransport | None = None) -> None:
        """A connection was never open: the factory's maker hears of it by ``connectionLost`` at the most."""
        factory = self._factory()
        if factory is None or transport is None:
            return
        if isinstance(error, WebSocketError):
            told = factory.log.error if isinstance(error, LocalProtocolError) else factory.log.info
            told("{url} not opened: {error}", url=repr(factory.url), error=str(error))
        else:
            transport.logFailure(Failure(error), "buildApplication")
