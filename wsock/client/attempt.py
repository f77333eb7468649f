"""One call of `connect`: from the first look-up of a name to the open connection, in one time.

`wsock.client.agent` begins it; a client's connection tells it that its transport is there, and how its opening
handshake ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import ClientFactory
from twisted.internet.protocol import Protocol as ConnectionProtocol
from twisted.python.failure import Failure

from ..arguments import checkEndpoint
from ..errors import WebSocketDropped
from ..log import ClassLogger
from ..reasons import Result
from ..sansio.errors import InvalidURL, LocalProtocolError
from ..sansio.url import URL
from ..wire.protocol import WebSocketTransport
from ..wire.transports import driverOf
from .lookup import hostEndpoint

if TYPE_CHECKING:
    from .verification import VerifiedHost


class _Connects(Protocol):
    def connect(self, protocolFactory: Any, /) -> Deferred[Any]:
        """Connects a protocol that the factory builds."""


#: An ``IStreamClientEndpoint``, also for type checkers that do not know what implements one: those without mypy-zope.
#: In quotes: before zope.interface 6.2 an interface had no ``|``.
Endpoint: TypeAlias = "IStreamClientEndpoint | _Connects"


NO_A_LABELS: Final = "a host that is not in A-labels (xn--...): wsock.sansio.url.parse makes them"


def openingTimedOut(isSecure: bool = True) -> WebSocketDropped:
    """Returns the exception of an opening handshake that takes too long.

    Args:
        isSecure: whether the TLS handshake, if there is to be one, was finished.
    """
    why = "the opening handshake took too long"
    return WebSocketDropped(why if isSecure else f"{why}: the server did not finish the TLS handshake")


class _TooLate(ConnectionProtocol):
    """A connection that an endpoint makes although it was cancelled."""

    def connectionMade(self) -> None:
        """Drops it."""
        driverOf(self.transport).abort(self.transport)


class Handed(ClientFactory):
    """The factory that an endpoint is handed: it holds ours as long as the endpoint may need it.

    Twisted leaves a cycle for each call, and the factory that it was given with that.
    """

    noisy = False

    def __init__(self, factory: IProtocolFactory) -> None:
        self._factory: Any = factory

    # Its result need not inherit anything of Twisted's.
    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Returns the protocol for a connection; once the endpoint has said that it is done, one that drops it."""
        return _TooLate() if self._factory is None else self._factory.buildProtocol(addr)

    def letGo(self) -> None:
        """The endpoint is done."""
        self._factory = None


class Attempt:
    """A connection that is to be open in a time."""

    _log = ClassLogger()

    def __init__(
        self, reactor: Any, seconds: float | None, makeLateError: Callable[[], BaseException] = openingTimedOut
    ) -> None:
        """Prepares an attempt; its time runs from now on.

        Args:
            reactor: for the timer.
            seconds: how long it may take; None for as long as it takes.
            makeLateError: makes the exception where there is no transport in that time.
        """
        self._reactor = reactor
        self._makeLateError: Callable[[], BaseException] | None = makeLateError
        self._wire: WebSocketTransport | None = None
        self._connecting: Deferred[Any] | None = None
        self._timer: IDelayedCall | None = None
        self._end: float | None = None
        #: Fires with the application when it is open; None from then on, since it is its result that it holds.
        self._result: Deferred[Any] | None = Result(self._cancelled)
        if seconds is not None:
            self._end = reactor.seconds() + seconds
            self._timer = reactor.callLater(seconds, self._timedOut)

    def begin(self, endpoint: Endpoint, factory: IProtocolFactory) -> Deferred[Any]:
        """Connects; the factory's protocol reports the result.

        Returns:
            a Deferred that fires with the application when it is open.
        """
        result = self._result
        assert result is not None
        handed = Handed(factory)
        self._connecting = maybeDeferred(lambda: endpoint.connect(handed))
        self._connecting.addBoth(self._endpointFired, handed)
        if self._result is None:
            # It was over within that call.
            self._breakCycle()
        return result

    def secondsLeft(self) -> float | None:
        """How long the opening handshake may take."""
        return None if self._end is None else max(0, self._end - self._reactor.seconds())

    def connected(self, wire: WebSocketTransport) -> None:
        """The transport is there; the timer is the connection's from now on."""
        if self._result is None or self._wire is not None:
            # An endpoint that can't be stopped came too late, or it has made one before.
            wire.abortConnection()
            return
        self._wire = wire
        self._stopTimer()
        self._makeLateError = None

    def opened(self, application: object) -> None:
        """The connection is open."""
        if self._result is not None:
            self._finish().callback(application)

    def failed(self, error: BaseException | Failure, transport: WebSocketTransport | None = None) -> None:
        """The connection is not going to be open."""
        if self._result is not None:
            self._finish().errback(error)

    def _endpointFired(self, result: object, handed: Handed) -> None:
        # Returns None: the endpoint may keep its Deferred, and that its result.
        handed.letGo()
        if isinstance(result, Failure):
            self._endpointFailed(result)

    def _endpointFailed(self, failure: Failure) -> None:
        wire = self._wire
        self.failed(failure)
        if wire is not None:
            # It has made the connection, and then failed.
            wire.abortConnection()

    def _timedOut(self) -> None:
        self._timer = None
        connecting, makeLateError = self._connecting, self._makeLateError
        assert makeLateError is not None
        self.failed(makeLateError())
        self._cancel(connecting)

    def _cancelled(self, result: Deferred[Any]) -> None:
        connecting, wire = self._connecting, self._wire
        self._finish()
        self._cancel(connecting)
        if wire is not None:
            wire.abortConnection()

    def _cancel(self, connecting: Deferred[Any] | None) -> None:
        if connecting is not None:
            try:
                connecting.cancel()
            except Exception:
                self._log.failure("an endpoint failed to cancel")

    def _finish(self) -> Deferred[Any]:
        """Its outcome is known; returns the Deferred that is to fire with it."""
        result, self._result = self._result, None
        assert result is not None
        self._stopTimer()
        self._breakCycle()
        return result

    def _breakCycle(self) -> None:
        # Breaks the cycle of attempt, connection and factory, so that all three are freed at once.
        self._connecting = self._wire = self._makeLateError = None

    def _stopTimer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Verified:
    """An endpoint through TLS that verifies the server, for one connection."""

    def __init__(self, creator: VerifiedHost, endpoint: Endpoint) -> None:
        self._creator = creator
        self._endpoint = endpoint

    def connect(self, protocolFactory: Any, /) -> Deferred[Any]:
        """Connects; then the roots that were trusted are not needed any more."""
        wrapped = wrapClientTLS(self._creator, self._endpoint)  # type: ignore[arg-type]
        connecting: Deferred[Any] = maybeDeferred(lambda: wrapped.connect(protocolFactory))
        return connecting.addBoth(self._creator.letGo)


def endpointFor(
    reactor: Any,
    url: URL,
    endpoint: Endpoint | None,
    trustRoot: Any,
    clientCertificate: Any,
    tls: Any = None,
    closeSeconds: float | None = None,
) -> Endpoint:
    """Returns the endpoint that leads to a URL's server, for ``wss:`` through TLS that verifies it.

    Args:
        reactor: to connect with.
        url: where to.
        endpoint: how to reach it, in place of the URL's host and port.
        trustRoot: whom to trust, for Twisted's TLS, or None.
        clientCertificate: who we are, for Twisted's TLS, or None.
        tls: the context of our own TLS, which is taken where neither of these two is given; None for the platform's
            roots.
        closeSeconds: how long the end of our own TLS may take.

    Raises:
        InvalidURL: the host of a `URL` that `parse` did not make.
        LocalProtocolError: an invalid endpoint; an invalid context, trust root or certificate, or one of these for a
            URL without TLS; a context beside one of the others.
        ImportError: the packages for Twisted's TLS are missing.
    """
    if endpoint is None:
        endpoint = hostEndpoint(reactor, url.host, url.port)
    else:
        checkEndpoint(endpoint)
    if not url.secure:
        if not (tls is None and trustRoot is None and clientCertificate is None):
            raise LocalProtocolError("tls, trustRoot and clientCertificate are for TLS, and so for a wss:// URL")
        return endpoint
    if trustRoot is None and clientCertificate is None:
        # Here, so that the standard library's ssl is only loaded where it is used.
        from .tls import SecuredEndpoint, makeContext, serverNameOf

        try:
            serverName = serverNameOf(url.host)
        except UnicodeError as error:
            raise InvalidURL(NO_A_LABELS) from error
        return SecuredEndpoint(reactor, endpoint, makeContext(tls), serverName, closeSeconds)
    if tls is not None:
        raise LocalProtocolError(
            "tls is a context of the standard library, trustRoot and clientCertificate are Twisted's: give one kind"
        )
    try:
        from twisted.internet.ssl import PrivateCertificate

        from .verification import VerifiedHost
    except ImportError as error:
        raise ImportError("trustRoot and clientCertificate are for Twisted's TLS: pip install 'wsock[tls]'") from error
    if clientCertificate is not None and not isinstance(clientCertificate, PrivateCertificate):
        raise LocalProtocolError("clientCertificate is a PrivateCertificate of twisted.internet.ssl")
    try:
        # Certificates have no dot at the end of a name.
        creator = VerifiedHost(url.host.rstrip("."), trustRoot, clientCertificate)
    except UnicodeError as error:
        raise InvalidURL(NO_A_LABELS) from error
    except TypeError as error:
        raise LocalProtocolError("trustRoot is a certificate or a trust root of twisted.internet.ssl") from error
    return _Verified(creator, endpoint)
