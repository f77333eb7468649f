"""TLS of a client by the standard library: whom it trusts, and the endpoint that adds it to another.

It is imported for ``wss:`` alone.
"""

from __future__ import annotations

import os
import ssl
from functools import lru_cache
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import ClientFactory

from ..sansio.errors import LocalProtocolError, wrong_type
from ..wire.tls import TLSLayer, prepareContext

_ADVICE: Final = "write tls=ssl.create_default_context(cafile='cert.pem')"

Anything = TypeVar("Anything")


def makeContext(tls: Any) -> ssl.SSLContext:
    """Returns the context of a client.

    Args:
        tls: a context that verifies servers and their names; it is changed: it refuses renegotiation from now on, looks
            for a host's name where RFC 9525 wants it alone, and offers ``http/1.1`` by ALPN. None for the platform's
            roots.

    Raises:
        LocalProtocolError: no context; or one of servers, or one that does not verify.
    """
    if tls is None:
        return _makeDefault(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
    if not isinstance(tls, ssl.SSLContext):
        raise wrong_type("tls", "an ssl.SSLContext", tls, _ADVICE)
    if tls.protocol is ssl.PROTOCOL_TLS_SERVER:
        raise LocalProtocolError(f"tls: this context is for servers: {_ADVICE}")
    if tls.verify_mode is not ssl.CERT_REQUIRED or not tls.check_hostname:
        raise LocalProtocolError(
            "tls: this context does not verify the server: leave its verify_mode at CERT_REQUIRED, and check_hostname "
            f"at True; to trust a certificate of your own, {_ADVICE}"
        )
    return _prepare(tls)


@lru_cache(maxsize=1)
def _makeDefault(file: str | None, folder: str | None) -> ssl.SSLContext:
    """Makes the context with the platform's roots, once: to read them takes some milliseconds.

    Args:
        file: the environment's name for other roots, which OpenSSL looks at by itself.
        folder: likewise.
    """
    return _prepare(ssl.create_default_context())


def _prepare(context: ssl.SSLContext) -> ssl.SSLContext:
    # RFC 9525 §2: the name of a certificate's subject counts for nothing.
    context.hostname_checks_common_name = False
    return prepareContext(context)


def serverNameOf(host: str) -> str:
    """Returns the name by which a server's certificate has to know a URL's host.

    Raises:
        UnicodeError: a host that is not in ASCII, or is none.
    """
    # Certificates have no dot at the end of a name, and no zone of an address.
    name = host.rstrip(".").partition("%")[0]
    name.encode("ascii")
    # As the standard library will do: it refuses an empty label.
    name.encode("idna")
    if not name:
        raise UnicodeError("an empty name")
    return name


class _Securing(ClientFactory):
    """Makes the connections of a factory, each behind TLS.

    Twisted leaves a cycle for each call, and this with it.
    """

    noisy = False

    def __init__(self, factory: Any, make: Any) -> None:
        self._factory: Any = factory
        self._make = make

    # Its result is an IProtocol, and inherits nothing of Twisted's.
    def buildProtocol(self, addr: Any) -> Any:
        """Returns the protocol for a new connection; None where the factory wants none."""
        protocol = self._factory.buildProtocol(addr)
        return protocol if protocol is None or self._make is None else self._make(protocol)

    def letGo(self, result: Anything) -> Anything:
        """The endpoint is done: the factory makes a protocol that drops its connection, should there be one more."""
        self._make = None
        return result


class SecuredEndpoint:
    """An endpoint through our own TLS, which verifies the server."""

    def __init__(
        self, reactor: Any, endpoint: Any, context: ssl.SSLContext, serverName: str, closeSeconds: float | None
    ) -> None:
        """Adds TLS to an endpoint.

        Args:
            reactor: for the timers.
            endpoint: how the server is reached.
            context: from `makeContext`.
            serverName: from `serverNameOf`.
            closeSeconds: how long the peer's end of TLS is awaited behind ours; None for as long as it takes.
        """
        self._reactor = reactor
        self._endpoint = endpoint
        self._context = context
        self._serverName = serverName
        self._closeSeconds = closeSeconds

    def connect(self, protocolFactory: Any, /) -> Deferred[Any]:
        """Connects; the Deferred fires when the transport below is there."""
        securing = _Securing(protocolFactory, self._makeLayer)
        connecting: Deferred[Any] = maybeDeferred(lambda: self._endpoint.connect(securing))
        return connecting.addBoth(securing.letGo)

    def _makeLayer(self, protocol: Any) -> TLSLayer:
        return TLSLayer(protocol, self._context, self._reactor, self._closeSeconds, self._serverName, isServer=False)
