"""A failed TLS handshake in words that a person can act on.

Twisted passes OpenSSL's error on to ``connectionLost`` as pyOpenSSL has it: a (library, function, reason) for each
entry of OpenSSL's queue. Our own TLS passes on the standard library's, which has the first reason. A reason is
OpenSSL's own name of a code. Names of alerts begin with "sslv3", "tlsv1", "tlsv13", "ssl/tls" or "tls", by OpenSSL's
version and the code: what follows is looked at. Nothing of pyOpenSSL is imported: it may not be installed.
"""

from __future__ import annotations

import os
from typing import Any, Final
from weakref import WeakKeyDictionary

from twisted.internet.error import ConnectionClosed

from .transports import driverOf

#: By the TLS transport: why its certificate was not accepted; OpenSSL's error says no more than that it was not.
_verdicts: WeakKeyDictionary[object, str] = WeakKeyDictionary()

_NO_TLS: Final = "the server speaks no TLS on this port: write ws:// in the URL, or another port"
_NO_VERSION: Final = "client and server have no version of TLS in common: the server knows none that is safe"
_NO_CIPHER: Final = "client and server have no cipher in common"
_CERTIFICATE_REQUIRED: Final = "the server requires a client certificate: give it as clientCertificate"
_CLIENT_CERTIFICATE: Final = "the server does not accept the client's certificate: give another as clientCertificate"
#: The messages for a client, by the end of OpenSSL's reason.
_CLIENT: Final = {
    "certificate verify failed": "the server's certificate is not trusted",
    "wrong version number": _NO_TLS,
    "unknown protocol": _NO_TLS,
    "packet length too long": _NO_TLS,
    "unsupported protocol": _NO_VERSION,
    "wrong ssl version": _NO_VERSION,
    "alert protocol version": _NO_VERSION,
    "alert insufficient security": _NO_CIPHER,
    "alert handshake failure": f"{_NO_CIPHER}, or {_CERTIFICATE_REQUIRED}",
    "alert certificate required": _CERTIFICATE_REQUIRED,
    "alert access denied": _CLIENT_CERTIFICATE,
    "alert bad certificate": _CLIENT_CERTIFICATE,
    "alert certificate expired": _CLIENT_CERTIFICATE,
    "alert certificate revoked": _CLIENT_CERTIFICATE,
    "alert certificate unknown": _CLIENT_CERTIFICATE,
    "alert unknown ca": _CLIENT_CERTIFICATE,
    "alert unsupported certificate": _CLIENT_CERTIFICATE,
    "unrecognized name": "the server does not know the host of the URL",
}
_CAFILE: Final = "give tls=ssl.create_default_context(cafile='cert.pem')"
#: Numbers of OpenSSL's (X509_V_ERR_..., in x509_vfy.h), which it never changes. No issuer; the chain's last signs
#: itself; no issuer here; no signature verified.
_UNKNOWN_AUTHORITY: Final = (2, 19, 20, 21)
#: The host's name, or its address, is not the certificate's.
_OTHER_HOST: Final = (62, 64)
#: The messages for a client whose TLS is our own. OpenSSL does not tell it whose certificate of the chain it is.
_VERDICTS: Final = {
    9: "the server's certificate, or its authority's, is not valid yet: look at this machine's clock",
    10: "the server's certificate, or its authority's, has expired",
    18: f"the server's certificate is self-signed, and not trusted: {_CAFILE}",
    23: "the server's certificate was revoked",
    **dict.fromkeys(
        _UNKNOWN_AUTHORITY,
        f"the server's certificate is signed by an authority that is not trusted ({_CAFILE}), or the server does not "
        "send its intermediate certificates",
    ),
}
_CLIENT_NO_TLS: Final = "the client speaks no TLS"
_CLIENT_NO_VERSION: Final = "the client knows no version of TLS that the server takes"
_SERVER_CERTIFICATE: Final = "the client does not trust the server's certificate"
#: The messages of a server's log, in the same way.
_SERVER: Final = {
    "http request": "the client speaks plain HTTP: its URL is to begin with https:// or wss://",
    "https proxy request": "the client takes the server for a proxy",
    "wrong version number": _CLIENT_NO_TLS,
    "unknown protocol": _CLIENT_NO_TLS,
    "packet length too long": _CLIENT_NO_TLS,
    "unsupported protocol": _CLIENT_NO_VERSION,
    "version too low": _CLIENT_NO_VERSION,
    "alert protocol version": _CLIENT_NO_VERSION,
    "no shared cipher": _NO_CIPHER,
    "alert handshake failure": _NO_CIPHER,
    "alert bad certificate": _SERVER_CERTIFICATE,
    "alert certificate unknown": _SERVER_CERTIFICATE,
    "alert certificate expired": "the client says that the server's certificate has expired",
    "alert unknown ca": f"{_SERVER_CERTIFICATE}: it does not know the authority, or was not sent an intermediate one",
    "peer did not return a certificate": "the client has no certificate, and is required to have one",
    "certificate verify failed": "the client's certificate is not trusted",
    "callback failed": "the host that the client asks for is no ASCII, or the context's sni_callback has failed",
}


def noteVerdict(transport: object, verdict: str) -> None:
    """Keeps why the certificate of a TLS transport's peer was not accepted.

    Args:
        transport: it.
        verdict: a part of a sentence.
    """
    _verdicts[transport] = verdict


def reasonOf(error: BaseException | None) -> str | None:
    """Returns OpenSSL's own reason; None where this is no error of OpenSSL's."""
    if type(error).__module__ == "ssl":
        # The standard library's. It writes names with underscores, and has none for what it does not know.
        name = getattr(error, "reason", None)
        return name.lower().replace("_", " ") if isinstance(name, str) else str(error)
    facts: Any = error.args[0] if error is not None and error.args else None
    if isinstance(facts, list) and facts and all(isinstance(fact, tuple) and fact for fact in facts):
        return ", ".join(str(fact[-1]) for fact in facts)
    return None


def describeClientFailure(error: BaseException | None, transport: Any) -> str | None:
    """Says why a client's connection was lost before the server answered.

    Args:
        error: what it was lost for.
        transport: it.

    Returns:
        a sentence; None where TLS has no part in it.
    """
    try:
        verdict = _verdicts.get(transport)
    except TypeError:
        # A transport of others that has no weak references.
        verdict = None
    reason = reasonOf(error)
    if reason is not None:
        if verdict is None:
            verdict = _verdictOf(error, transport)
        if verdict is None or not reason.endswith("certificate verify failed"):
            verdict = _find(_CLIENT, reason)
        return f"TLS failed: {verdict} ({reason})" if verdict else f"TLS failed: {reason}"
    if verdict is not None:
        return f"TLS failed: {verdict}"
    if isinstance(error, ConnectionClosed):
        return (
            None if isDone(transport) else "the server ended the connection during the TLS handshake, without a reason"
        )
    if type(error).__module__.partition(".")[0] == "service_identity":
        return f"TLS failed: the server's certificate is not for the host of the URL ({error!r})"
    return f"TLS failed: {error!r}"


def _verdictOf(error: Any, transport: Any) -> str | None:
    """Says why our own TLS did not accept a certificate; None where that is not the error."""
    code = getattr(error, "verify_code", None)
    if code in _UNKNOWN_AUTHORITY and not _hasRoots(transport.sslObject.context):
        return f"there are no trusted roots on this machine: install its package ca-certificates, or {_CAFILE}"
    if code in _OTHER_HOST:
        return f"the server's certificate is not for {transport.sslObject.server_hostname}, the host of the URL"
    return None if code is None else _VERDICTS.get(code)


def _hasRoots(context: Any) -> bool:
    """Whether a context has roots, or may find some: of a folder the count has those alone that were of use."""
    from ssl import get_default_verify_paths

    folder = get_default_verify_paths().capath
    return bool(context.cert_store_stats()["x509"] or (folder is not None and os.listdir(folder)))


def describeServerFailure(error: BaseException | None, transport: Any) -> str | None:
    """Says why a server's connection was lost before there was a request.

    Args:
        error: what it was lost for.
        transport: it.

    Returns:
        a part of a sentence; None where TLS has no part in it, or the client had not even begun.
    """
    reason = reasonOf(error)
    if reason is not None:
        told = _find(_SERVER, reason)
        return f"{told} ({reason})" if told else reason
    return (
        None if isDone(transport) or not driverOf(transport).hasBegun(transport) else "the handshake was not finished"
    )


def _find(table: dict[str, str], reason: str) -> str | None:
    told = next((told for end, told in table.items() if reason.endswith(end)), None)
    return "the peer ended the handshake" if told is None and " alert " in reason else told


def isDone(transport: Any) -> bool:
    """Whether the TLS handshake has come to its end; of a transport without TLS it has."""
    return driverOf(transport).isShaken(transport)
