"""Whether a TLS server is the one that a URL names (RFC 9110 section 4.3.4).

Twisted asks service_identity that, but takes a certificate for which it has no answer, since the certificate names
nobody at all or is malformed, for a good one (26.10, ``_sslverify``). Here all that is not a clear yes is a no.

It is imported for ``wss:`` alone: it needs the packages of the extra ``tls``.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any
from weakref import ref

from OpenSSL.crypto import X509
from OpenSSL.SSL import VERIFY_FAIL_IF_NO_PEER_CERT, VERIFY_PEER, Connection
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import optionsForClientTLS
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IOpenSSLClientConnectionCreator)
class VerifiedHost:
    """Makes TLS connections to one host, which has to prove that it is it."""

    def __init__(self, host: str, trustRoot: Any, clientCertificate: Any) -> None:
        """Args:
        host: a name, in A-labels, or an address.
        trustRoot: whom to trust; None for the platform's roots.
        clientCertificate: who we are, or None.

        Raises:
            TypeError: a trust root that is none.
        """
        self._options = optionsForClientTLS(host, trustRoot=trustRoot, clientCertificate=clientCertificate)
        try:
            ip_address(host)
        except ValueError:
            self._identity: Any = DNS_ID(host)
        else:
            self._identity = IPAddress_ID(host)

    def clientConnectionForTLS(self, tlsProtocol: Any) -> Any:
        """Returns the connection of a TLS protocol: as Twisted makes it, but for what verifies."""
        connection = self._options.clientConnectionForTLS(tlsProtocol)
        identity, protocol = self._identity, ref(tlsProtocol)

        def verify(_: Connection, certificate: X509, error: int, depth: int, trusted: int) -> bool:
            if trusted and depth == 0:
                try:
                    verify_service_identity(extract_patterns(certificate), [identity], [])
                except Exception:
                    # Else its reason would be lost: an exception does not get through OpenSSL.
                    failing = protocol()
                    if failing is not None:
                        failing.failVerification(Failure())
                    return False
            return bool(trusted)

        connection.set_verify(VERIFY_PEER | VERIFY_FAIL_IF_NO_PEER_CERT, verify)
        return connection
