"""A port of a server, from when it is to be opened until it is closed."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.endpoints import SSL4ServerEndpoint
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.python.failure import Failure

from ..log import ClassLogger
from ..sansio.errors import LocalProtocolError, wrong_type
from .ports import addressOf, isSecure, makeEndpoint, makeURL, readPort


class _Listens(Protocol):
    def listen(self, protocolFactory: Any, /) -> Deferred[Any]:
        """Listens for connections, whose protocols the factory builds."""


#: A port number, a description, or an ``IStreamServerEndpoint``, also for type checkers that do not know what
#: implements one: those without mypy-zope. In quotes: before zope.interface 6.2 an interface had no ``|``.
ServerEndpoint: TypeAlias = "int | str | IStreamServerEndpoint | _Listens"


class Listening:
    """One endpoint that is listened on.

    Attributes:
        port: the number of the TCP port; None before it is open, and for an endpoint without one.
        url: the URL of the port; None before it is open, and for an endpoint without one.
    """

    _log = ClassLogger()

    def __init__(self, reactor: Any, endpoint: ServerEndpoint, factory: Any, tls: Any = None) -> None:
        """Prepares to listen; `open` opens the port.

        Args:
            reactor: to listen with, where the endpoint has none.
            endpoint: where; one without a listen queue of its own gets a long one.
            factory: makes the connections.
            tls: a context, or the files of certificates and keys; None for no TLS but the endpoint's.

        Raises:
            LocalProtocolError: no endpoint, or one that has TLS already; files without a certificate and its key.
            OSError: a file that can't be read.
            Exception: whatever the kind of endpoint raises for a description that it does not understand.
        """
        self._endpoint, self._isSecure = _find(reactor, endpoint)
        self._factory = factory
        #: Adds TLS, or None.
        self._tls: Any = None
        if tls is not None:
            # Here, so that the standard library's ssl is only loaded where it is used.
            from .tls import TLSServerFactory

            if self._isSecure:
                raise LocalProtocolError("tls: the endpoint has TLS of its own: write tcp: in its place, or no tls=")
            self._factory = self._tls = TLSServerFactory(factory, tls, reactor, factory.settings.closeTimeout)
            self._isSecure = True
        self.port: int | None = None
        self.url: str | None = None
        #: The endpoint's Deferred, until it is to be closed.
        self._listening: Deferred[Any] | None = None
        #: Those who wait for the port to be closed; None where it is closed, or was never to be open.
        self._closing: list[Deferred[None]] | None = None

    @property
    def isOpening(self) -> bool:
        """Whether `open` was called, and `close` was not."""
        return self._listening is not None

    def reloadTLS(self) -> None:
        """Reads the files of TLS again, as `TLSServerFactory.reload` does.

        Raises:
            LocalProtocolError: as there; or there is no TLS but the endpoint's.
            OSError: a file that can't be read.
        """
        if self._tls is None:
            raise LocalProtocolError("no tls= was given, and so there is nothing to read again")
        self._tls.reload()

    def open(self) -> Deferred[Any]:
        """Listens.

        Returns:
            the endpoint's Deferred, which fires with the port. Cancelling it is the endpoint's matter.
        """
        self._listening = listening = maybeDeferred(lambda: self._endpoint.listen(self._factory))
        return listening.addCallback(self._opened)

    def _opened(self, port: Any) -> Any:
        address = addressOf(port)
        self.port = getattr(address, "port", None)
        self.url = makeURL(address, self._isSecure)
        return port

    def close(self) -> Deferred[None]:
        """Stops to listen.

        Returns:
            a Deferred that fires when the port is closed, at once where it is or was never open. It never fails.
        """
        listening, self._listening = self._listening, None
        if listening is None and self._closing is None:
            return succeed(None)
        closed: Deferred[None] = Deferred()
        self._closing = [*(self._closing or ()), closed]
        if listening is not None:
            listening.cancel()
            listening.addCallback(_closePort).addErrback(self._closeFailed).addCallback(self._closed)
        return closed

    def _closeFailed(self, failure: Failure) -> None:
        self._log.failure("a port can't be closed", failure)

    def _closed(self, ignored: object) -> None:
        waiting, self._closing = self._closing, None
        for deferred in waiting or ():
            deferred.callback(None)


def _closePort(port: Any) -> Any:
    # None if it was never open; and standard input and output are a connection, and no port.
    return port.stopListening() if hasattr(port, "stopListening") else None


def _find(reactor: Any, endpoint: Any) -> tuple[Any, bool]:
    """Returns the server endpoint, and whether there is TLS on it."""
    if isinstance(endpoint, int) and not isinstance(endpoint, bool):
        endpoint = str(endpoint)
    if isinstance(endpoint, str):
        try:
            description = readPort(endpoint)
        except ValueError as error:
            raise LocalProtocolError(f"endpoint: {error}") from None
        return makeEndpoint(reactor, description), isSecure(description)
    if isinstance(endpoint, type) or not callable(getattr(endpoint, "listen", None)):
        advice = "this one is for clients" if hasattr(endpoint, "connect") else "write 8080 or 'tcp:8080'"
        raise wrong_type("endpoint", "a port number, a description or a server endpoint", endpoint, advice)
    return endpoint, isinstance(endpoint, SSL4ServerEndpoint)
