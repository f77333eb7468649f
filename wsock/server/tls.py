"""TLS of a server by the standard library: its context, from files or ready-made, and the factory that adds it.

It is imported where TLS is asked for alone.
"""

from __future__ import annotations

import os
import ssl
import sys
from typing import Any, Final, NoReturn, TypeAlias

from twisted.internet.interfaces import ILoggingContext, IProtocolFactory
from zope.interface import implementer

from ..sansio.errors import LocalProtocolError, wrong_type
from ..wire.tls import TLSLayer, prepareContext
from .certificates import Names, findCertificates, readNames

#: A context; the files of a certificate and of its key, both in PEM; one file with both; or a folder of such files.
ServerTLS: TypeAlias = "ssl.SSLContext | tuple[str | os.PathLike[str], str | os.PathLike[str]] | str | os.PathLike[str]"

_ADVICE: Final = "write tls=('cert.pem', 'key.pem') or tls='folder', or make an ssl.SSLContext"
#: OpenSSL's reasons, in the words of the user.
_REASONS: Final = {
    "KEY_VALUES_MISMATCH": "the key does not fit the certificate",
    "EE_KEY_TOO_SMALL": "the key is too short to be safe",
    "CA_MD_TOO_WEAK": "the certificate is signed in a way that is not safe any more",
}


def makeContext(tls: Any) -> ssl.SSLContext:
    """Returns the context of a server.

    Args:
        tls: a context, which is changed: it refuses renegotiation from now on, and offers ``http/1.1`` by ALPN; or the
            files of a certificate, with the intermediate ones behind it, and of its key; or one file with both; or a
            folder, as `findCertificates` reads it.

    Raises:
        LocalProtocolError: none of these; or a client's context; or files without a certificate and its key.
        OSError: a file that can't be read.
    """
    if isinstance(tls, ssl.SSLContext):
        context = tls
        if context.protocol is ssl.PROTOCOL_TLS_CLIENT:
            raise LocalProtocolError(f"tls: this context is for clients: {_ADVICE}, of ssl.PROTOCOL_TLS_SERVER")
        if context.sni_callback is not None and context.sslobject_class is ssl.SSLObject:
            context.sslobject_class = _QuietObject
    elif isinstance(tls, tuple) and len(tls) == 2 and all(isinstance(name, (str, os.PathLike)) for name in tls):
        context = _loadContext(*map(os.fspath, tls))
    elif isinstance(tls, (str, os.PathLike)):
        name = os.fspath(tls)
        return _loadFolder(name) if os.path.isdir(name) else prepareContext(_loadContext(name, name))
    else:
        wanted = "an ssl.SSLContext, two files, (certificate, key), or a folder"
        raise wrong_type("tls", wanted, tls, _ADVICE)
    return prepareContext(context)


def _loadFolder(folder: str) -> ssl.SSLContext:
    """Returns the context of the default certificate, which gives each client the one for its name."""
    names = Names()
    default, *others = findCertificates(folder)
    context = makeContext(default)
    names.add(default[0], readNames(_read(default[0])), None)
    for files in others:
        other, found = makeContext(files), readNames(_read(files[0]))
        if not found:
            raise LocalProtocolError(
                f"{files[0]} has no host name in its subjectAltName, and so no client would get it: only the default "
                "certificate needs none"
            )
        names.add(files[0], found, other)
    if others:
        context.sni_callback = names.choose
        context.sslobject_class = _QuietObject
    return context


class _QuietObject(ssl.SSLObject):
    """A connection whose client may send a name that is no ASCII.

    The handshake fails then, and that is logged as all failures are. Python has a traceback for it besides, which would
    let any client fill a log.
    """

    def do_handshake(self) -> None:
        before = sys.unraisablehook

        def tell(unraisable: sys.UnraisableHookArgs) -> None:
            if unraisable.exc_type is not UnicodeDecodeError:
                before(unraisable)

        sys.unraisablehook = tell
        try:
            super().do_handshake()
        finally:
            sys.unraisablehook = before


def _loadContext(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    # The standard library's own error does not say which of the two it is.
    found = b"-----BEGIN CERTIFICATE-----" in _read(certificate), b"PRIVATE KEY-----" in _read(key)
    files = certificate if certificate == key else f"{certificate}, {key}"
    try:
        context.load_cert_chain(certificate, key, password=_refusePassword)
    except ssl.SSLError as error:
        reason = _REASONS.get(error.reason or "")
        if reason is None and not found[0]:
            raise LocalProtocolError(f"{certificate} has no certificate in PEM") from error
        if reason is None and not found[1]:
            raise LocalProtocolError(f"{key} has no private key in PEM") from error
        reason = reason or f"no usable certificate and key ({_reasonOf(error)})"
        raise LocalProtocolError(f"{reason}: {files}") from error
    except _Encrypted:
        raise LocalProtocolError(
            f"{key} is encrypted: decrypt it, or make an ssl.SSLContext with its password"
        ) from None
    return context


def _reasonOf(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")


def _read(name: str) -> bytes:
    with open(name, "rb") as file:
        return file.read()


class _Encrypted(Exception):
    """A key that has a password."""


def _refusePassword() -> NoReturn:
    # OpenSSL would ask the terminal.
    raise _Encrypted


def _absolute(tls: Any) -> Any:
    """Returns the files of TLS by their absolute names; None for a context."""
    if isinstance(tls, ssl.SSLContext):
        return None
    return tuple(map(os.path.abspath, tls)) if isinstance(tls, tuple) else os.path.abspath(tls)


@implementer(IProtocolFactory, ILoggingContext)
class TLSServerFactory:
    """Makes the connections of a factory, each behind TLS.

    Attributes:
        noisy: whether the port says when it opens and closes, as the factory has it.
    """

    def __init__(self, factory: Any, tls: ServerTLS, reactor: Any, closeSeconds: float | None) -> None:
        """Adds TLS to a factory.

        Args:
            factory: makes the connections behind TLS.
            tls: as `makeContext` takes it.
            reactor: for the timers.
            closeSeconds: how long the peer's end of TLS is awaited behind ours; None for as long as it takes.

        Raises:
            LocalProtocolError: as `makeContext`.
            OSError: the same.
        """
        self._factory = factory
        #: That of new connections.
        self._context = makeContext(tls)
        #: The files to read again, whatever the present folder is by then: a daemon changes it.
        self._files = _absolute(tls)
        self._reactor = reactor
        self._closeSeconds = closeSeconds
        self.noisy: bool = factory.noisy

    def reload(self) -> None:
        """Reads the files again, for new connections; nothing changes where that fails.

        Raises:
            LocalProtocolError: as `makeContext`; or TLS is a context, which has no files.
            OSError: as `makeContext`.
        """
        if self._files is None:
            raise LocalProtocolError(
                "tls: an ssl.SSLContext can't be read again: call its load_cert_chain() for a new certificate"
            )
        # A new context and not the old one: its tickets would go on to stand for the old certificate.
        self._context = makeContext(self._files)

    def logPrefix(self) -> str:
        """Names the port in Twisted's log."""
        return f"{type(self._factory).__name__} (TLS)"

    def buildProtocol(self, addr: Any) -> TLSLayer | None:
        """Returns the protocol for a new connection; None where the factory wants none."""
        protocol = self._factory.buildProtocol(addr)
        return None if protocol is None else TLSLayer(protocol, self._context, self._reactor, self._closeSeconds)

    def doStart(self) -> None:
        """A port begins to listen."""
        self._factory.doStart()

    def doStop(self) -> None:
        """A port has stopped to listen."""
        self._factory.doStop()
