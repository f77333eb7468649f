"""A client's factory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from ..application import Application
from ..errors import WebSocketDropped
from ..log import ClassLogger
from ..request import Request
from ..sansio import handshake
from ..sansio.constants import Role
from ..sansio.errors import LocalProtocolError, WebSocketError
from ..sansio.http import Request as Head
from ..sansio.url import URL
from ..sansio.url import parse as parseURL
from ..settings import Settings
from ..wire.factory import SOFTWARE, ConnectionFactory, Reactor, withDefault
from ..wire.protocol import WebSocketTransport
from ..wire.threads import checkingThreads, checksThreads
from .attempt import Attempt
from .opening import ClientOpening, applicationFailed


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
    ) -> None:
        """Args:
        url: ``ws://`` or ``wss://``.
        buildApplication: called for each connection with the `Request` that is about to be sent. Returns an
            application, or a Deferred or coroutine of one; what it raises ends the connection.
        reactor: for the timers; by default the global one, from the first connection on.
        settings: limits and timers.
        headers: more fields for the request, such as Origin, Cookie and Authorization.
        subprotocols: offered, the preferred first.

        Raises:
            InvalidURL: not a URL of RFC 6455 section 3.
            LocalProtocolError: another argument that can't be, such as a header in bytes.
        """
        super().__init__(buildApplication, reactor, settings)
        self.url = url if isinstance(url, URL) else parseURL(url)
        self.headers = withDefault(headers, "User-Agent", SOFTWARE)
        self.subprotocols = tuple(handshake.check_subprotocols(subprotocols))
        self._kind = WebSocketTransport
        if checksThreads(settings):
            self._kind = checkingThreads(WebSocketTransport)
        self._attempt: Attempt | None = None
        # What can't be sent is refused now.
        self.makeRequest()

    # What it returns is an IProtocol, and inherits nothing of Twisted's.
    def buildProtocol(self, addr: IAddress | None) -> WebSocketTransport:
        """Returns the protocol for a new connection."""
        return self._kind(self, self._clock())

    def makeRequest(self) -> Head:
        """Makes the request of one connection, with a key of its own."""
        return handshake.open(self.url, headers=self.headers, subprotocols=self.subprotocols)

    def secondsToOpen(self) -> float | None:
        """How long the opening handshake may take; None for as long as it takes."""
        if self._attempt is not None:
            return self._attempt.secondsLeft()
        return self.settings.openTimeout

    def makeOpening(self, transport: WebSocketTransport) -> ClientOpening:
        """Makes the opening handshake of a connection."""
        self.connectionMade(transport)
        return ClientOpening(transport, self, self._clock())

    def openingBegun(self, transport: WebSocketTransport) -> None:
        """The transport of a connection is there."""
        if self._attempt is not None:
            self._attempt.made(transport)

    def openingDone(self, application: Application, isOpen: bool) -> None:
        """A connection is open, or its application has dropped it already."""
        if self._attempt is not None:
            if isOpen:
                self._attempt.opened(application)
            else:
                self._attempt.failed(WebSocketDropped("the application aborted it"))

    def applicationFailed(self, failure: Failure) -> None:
        """The application of a connection failed, and that was logged: when it has just opened, it has not opened."""
        if self._attempt is not None:
            self._attempt.failed(applicationFailed(failure.value))

    def openingFailed(self, transport: WebSocketTransport, error: BaseException) -> None:
        """A connection was never open."""
        if self._attempt is not None:
            self._attempt.failed(error)
        elif isinstance(error, WebSocketError):
            # Who made the factory hears of it by `connectionLost`, if the application had begun.
            told = self.log.error if isinstance(error, LocalProtocolError) else self.log.info
            told("{url} not opened: {error}", url=repr(self.url), error=str(error))
        else:
            transport.logFailure(Failure(error), "buildApplication")
