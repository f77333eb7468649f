"""Whether a TLS server is the one that a URL names (RFC 9110 section 4.3.4, RFC 9525).

All that is not a clear yes is a no. Twisted takes a certificate without any name, or a malformed one, for a good
one (26.10, ``_sslverify``). It and service_identity also refuse names that resolvers know and certificates are made
for, such as ``my_service`` and ``ab--cd.example``. So the comparison is made here, in OpenSSL's own callback; its
errors are service_identity's.

It is imported for ``wss:`` alone: it needs the packages of the extra ``tls``.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, Final, TypeVar
from weakref import ref

from cryptography.x509 import DNSName, ExtensionNotFound, IPAddress, SubjectAlternativeName
from OpenSSL.crypto import X509
from OpenSSL.SSL import TLS_CLIENT_METHOD, VERIFY_FAIL_IF_NO_PEER_CERT, VERIFY_PEER, Connection, Context
from service_identity import CertificateError, VerificationError
from service_identity.exceptions import DNSMismatch, IPAddressMismatch
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions, platformTrust
from twisted.python.failure import Failure
from zope.interface import implementer

from ..wire.tlsfailures import noteVerdict
from .lookup import isAddress

#: Numbers of OpenSSL's (X509_V_ERR_..., in x509_vfy.h), which it never changes.
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_SELF_SIGNED: Final = 18
_REVOKED: Final = 23
#: No issuer; the chain's last signs itself; no issuer here; no signature verified.
_UNKNOWN_AUTHORITY: Final = (2, 19, 20, 21)

Anything = TypeVar("Anything")


@implementer(IOpenSSLClientConnectionCreator)
class VerifiedHost:
    """Makes TLS connections to one host, which has to prove that it is it."""

    def __init__(self, host: str, trustRoot: Any, clientCertificate: Any) -> None:
        """Prepares the verification of one host.

        Args:
            host: a name, in A-labels and without a dot at its end, or an address.
            trustRoot: whom to trust; None for the platform's roots.
            clientCertificate: who we are, or None.

        Raises:
            TypeError: an invalid trust root.
            UnicodeError: a host that is not in ASCII.
        """
        own = {}
        if clientCertificate is not None:
            own = {"privateKey": clientCertificate.privateKey.original, "certificate": clientCertificate.original}
        self._options: Any = CertificateOptions(trustRoot=platformTrust() if trustRoot is None else trustRoot, **own)
        self._host = host.lower()
        #: Whether a connection was made, and whether no more are to be.
        self._isUsed = self._isDone = False
        #: The name that the server is asked for (SNI, RFC 6066 section 3: names alone).
        self._serverName = None if isAddress(host) else self._host.encode("ascii")

    def clientConnectionForTLS(self, tlsProtocol: Any) -> Any:
        """Returns the connection of a TLS protocol."""
        if self._options is None:
            # For an endpoint that was cancelled, and connects all the same; its connection is dropped. Should it not
            # be, no server is the one.
            connection = Connection(Context(TLS_CLIENT_METHOD))
            connection.set_verify(VERIFY_PEER, lambda *_: False)
            return connection
        self._isUsed = True
        if IOpenSSLClientConnectionCreator.providedBy(self._options):
            connection = self._options.clientConnectionForTLS(tlsProtocol)
        else:
            # Twisted 24.7.
            connection = Connection(self._options.getContext(), None)
        host, protocol = self._host, ref(tlsProtocol)
        if self._serverName is not None:
            connection.set_tlsext_host_name(self._serverName)

        def verify(_: Connection, certificate: X509, error: int, depth: int, trusted: int) -> bool:
            failing = protocol()
            if not trusted and failing is not None:
                # OpenSSL's own error does not tell.
                noteVerdict(failing, _describeVerdict(error, depth, certificate))
            if trusted and depth == 0:
                try:
                    checkHost(certificate, host)
                except Exception:
                    # The reason would be lost otherwise: an exception does not get through OpenSSL.
                    if failing is not None:
                        noteVerdict(failing, f"the server's certificate is not for {host}, the host of the URL")
                        failing.failVerification(Failure())
                    return False
            return bool(trusted)

        connection.set_verify(VERIFY_PEER | VERIFY_FAIL_IF_NO_PEER_CERT, verify)
        if self._isDone:
            self._options = None
        return connection

    def letGo(self, result: Anything) -> Anything:
        """No more connections are to be made: drops what it has for that; Twisted leaves a cycle that holds us."""
        self._isDone = True
        if self._isUsed or isinstance(result, Failure):
            self._options = None
        # Otherwise the endpoint has told of a connection before it hands over the transport.
        return result


def checkHost(certificate: X509, host: str) -> None:
    """Returns only where a certificate is for a host.

    Args:
        certificate: a server's own.
        host: as `VerifiedHost` has it.

    Raises:
        VerificationError: it is for others.
        Exception: it does not say whom it is for (``CertificateError``), or is malformed.
    """
    try:
        names = certificate.to_cryptography().extensions.get_extension_for_class(SubjectAlternativeName).value
    except ExtensionNotFound:
        # RFC 9525 §2: the name of its subject counts for nothing.
        raise CertificateError("Certificate does not contain any `subjectAltName`s.") from None
    if isAddress(host):
        if ip_address(host) not in names.get_values_for_type(IPAddress):
            raise VerificationError([IPAddressMismatch(host)])  # type: ignore[arg-type]
    elif not any(_isFor(name, host) for name in names.get_values_for_type(DNSName)):
        raise VerificationError([DNSMismatch(host)])  # type: ignore[arg-type]


def _isFor(name: str, host: str) -> bool:
    """Whether a certificate's name is that of a host, or covers it by a wildcard (RFC 9525 section 6.3)."""
    if not name.isascii():
        # The Kelvin sign is a "k" in lower case.
        return False
    name = name.lower()
    if name == host:
        return True
    # The whole left-most label and no other; and for no less than two labels, or it would cover all of ".com".
    wildcard, _, domain = name.partition(".")
    return wildcard == "*" and "." in domain and domain == host.partition(".")[2]


def _describeVerdict(error: int, depth: int, certificate: X509) -> str:
    """Says why OpenSSL does not accept a certificate."""
    whose = "the server's certificate" if depth == 0 else "the certificate of the server's authority"
    if error == _EXPIRED:
        return f"{whose} expired on {_dateOf(certificate.get_notAfter())}"
    if error == _NOT_YET_VALID:
        return f"{whose} is not valid before {_dateOf(certificate.get_notBefore())}: look at this machine's clock"
    if error == _SELF_SIGNED:
        return f"{whose} is self-signed, and not trusted: give it as trustRoot"
    if error in _UNKNOWN_AUTHORITY:
        return (
            f"{whose} is signed by an authority that is not trusted (give it as trustRoot), "
            "or the server does not send its intermediate certificates"
        )
    if error == _REVOKED:
        return f"{whose} was revoked"
    return f"{whose} is not accepted, by OpenSSL's verification error {error}"


def _dateOf(time: bytes | None) -> str:
    """The date of an ASN.1 time."""
    digits = (time or b"").decode("ascii")
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}"
