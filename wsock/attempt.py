"""One call of `connect`: from the first look-up of a name to the open connection, in one time.

`wsock.connecting` begins it; a client's connection tells it that its transport is there, and how its opening handshake
ended.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IDelayedCall, IProtocolFactory, IStreamClientEndpoint
from twisted.python.failure import Failure

from .arguments import checkEndpoint
from .contract import WebSocketDropped
from .log import ClassLogger
from .lookup import hostEndpoint
from .protocol import WireProtocol
from .sansio.errors import InvalidURL, LocalProtocolError
from .sansio.url import URL


class _Connects(Protocol):
    def connect(self, protocolFactory: Any, /) -> Deferred[Any]:
        """Connects what the factory builds."""


#: An ``IStreamClientEndpoint``, also for type checkers that do not know what implements one: those without mypy-zope.
#: In quotes: before zope.interface 6.2 an interface had no ``|``.
Endpoint: TypeAlias = "IStreamClientEndpoint | _Connects"


def tooLong(isSecure: bool = True) -> WebSocketDropped:
    """What an opening handshake that takes too long fails with.

    Args:
        isSecure: whether the TLS handshake, if there is to be one, was finished.
    """
    why = "the opening handshake took too long"
    return WebSocketDropped(why if isSecure else f"{why}: the server did not finish the TLS handshake")


class Attempt:
    """A connection that is to be open in a time.

    Attributes:
        result: fires with the application when it is open.
    """

    _log = ClassLogger()

    def __init__(self, reactor: Any, seconds: float | None) -> None:
        """Args:
        reactor: for the timer.
        seconds: how long it may take; None for as long as it takes.
        """
        self._reactor = reactor
        self._wire: WireProtocol | None = None
        self._connecting: Deferred[Any] | None = None
        self._timer: IDelayedCall | None = None
        self._end: float | None = None
        self._done = False
        self.result: Deferred[Any] = Deferred(self._cancelled)
        if seconds is not None:
            self._end = reactor.seconds() + seconds
            self._timer = reactor.callLater(seconds, self._timedOut)

    def begin(self, endpoint: Endpoint, factory: IProtocolFactory) -> None:
        """Connects; the factory's protocol tells what becomes of it."""
        self._connecting = maybeDeferred(lambda: endpoint.connect(factory))
        self._connecting.addErrback(self._endpointFailed)
        if self._done:
            # It was over within that call.
            self._forget()

    def secondsLeft(self) -> float | None:
        """How long the opening handshake may take."""
        return None if self._end is None else max(0, self._end - self._reactor.seconds())

    def made(self, wire: WireProtocol) -> None:
        """The transport is there; the timer is the connection's from now on."""
        if self._done or self._wire is not None:
            # An endpoint that can't be stopped came too late, or it has made one before.
            wire.abortConnection()
            return
        self._wire = wire
        self._stopTimer()

    def opened(self, application: object) -> None:
        """The connection is open."""
        if not self._done:
            self._done = True
            self._forget()
            self.result.callback(application)

    def failed(self, error: BaseException | Failure) -> None:
        """The connection is not going to be open."""
        if not self._done:
            self._done = True
            self._stopTimer()
            self._forget()
            self.result.errback(error)

    def _endpointFailed(self, failure: Failure) -> None:
        wire = self._wire
        self.failed(failure)
        if wire is not None:
            # It has made the connection, and then failed.
            wire.abortConnection()

    def _timedOut(self) -> None:
        self._timer = None
        connecting = self._connecting
        self.failed(tooLong())
        self._cancel(connecting)

    def _cancelled(self, result: Deferred[Any]) -> None:
        self._done = True
        self._stopTimer()
        connecting, wire = self._connecting, self._wire
        self._forget()
        self._cancel(connecting)
        if wire is not None:
            wire.abortConnection()

    def _cancel(self, connecting: Deferred[Any] | None) -> None:
        if connecting is not None:
            try:
                connecting.cancel()
            except Exception:
                self._log.failure("an endpoint failed to cancel")

    def _forget(self) -> None:
        # The connection holds us, by its factory: what is done leaves nothing to the garbage collector.
        self._connecting = self._wire = None

    def _stopTimer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def endpointFor(reactor: Any, url: URL, endpoint: Endpoint | None, trustRoot: Any, clientCertificate: Any) -> Endpoint:
    """Returns what leads to a URL's server, for ``wss:`` through TLS that verifies it.

    Args:
        reactor: to connect with.
        url: where to.
        endpoint: how to reach it, in place of the URL's host and port.
        trustRoot: whom to trust; None for the platform's roots.
        clientCertificate: who we are, or None.

    Raises:
        InvalidURL: the host of a `URL` that `parse` did not make.
        LocalProtocolError: an endpoint that is none; a trust root or a certificate that is none, or for a URL without
            TLS.
        ImportError: the packages for TLS are missing.
    """
    if endpoint is None:
        endpoint = hostEndpoint(reactor, url.host, url.port)
    else:
        checkEndpoint(endpoint)
    if not url.secure:
        if trustRoot is not None or clientCertificate is not None:
            raise LocalProtocolError("trustRoot and clientCertificate are for TLS, and so for a wss:// URL")
        return endpoint
    try:
        from twisted.internet.ssl import PrivateCertificate

        from .verification import VerifiedHost
    except ImportError as error:
        raise ImportError("a wss:// URL needs TLS: pip install 'wsock[tls]'") from error
    if clientCertificate is not None and not isinstance(clientCertificate, PrivateCertificate):
        raise LocalProtocolError("clientCertificate is a PrivateCertificate of twisted.internet.ssl")
    try:
        # Certificates have no dot at the end of a name.
        creator = VerifiedHost(url.host.rstrip("."), trustRoot, clientCertificate)
    except UnicodeError as error:
        raise InvalidURL("a host that is not in A-labels (xn--...): wsock.sansio.url.parse makes them") from error
    except TypeError as error:
        raise LocalProtocolError("trustRoot is a certificate or a trust root of twisted.internet.ssl") from error
    wrapped: IStreamClientEndpoint = wrapClientTLS(creator, endpoint)  # type: ignore[arg-type]
    return wrapped
