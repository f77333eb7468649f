"""Certificates of a folder: which files they are in, which names they are for, and which one a client gets.

* The standard library does not tell the names of a certificate that nobody has verified, and `cryptography` may not be
  installed. So the names are read here, once OpenSSL has taken the certificate. The subject's common name is none of
  them (RFC 9525 section 6.3).
* A client sends the name of the server with its first message (SNI, RFC 6066 section 3), and an address never.
"""

from __future__ import annotations

import os
import re
from base64 import b64decode
from typing import TYPE_CHECKING, Any, Final

from ..log import ClassLogger
from ..sansio.errors import LocalProtocolError

if TYPE_CHECKING:
    import ssl

#: The files of a certificate with its chain, and of its key, as Certbot and as Kubernetes call them.
_PAIRS: Final = (("fullchain.pem", "privkey.pem"), ("tls.crt", "tls.key"))
_SUFFIX: Final = ".pem"
#: The file or the folder, without the suffix, of the certificate for clients that ask for no name of the others.
_DEFAULT: Final = "default"
#: The first certificate of a PEM file, by any of the names under which OpenSSL takes one.
_PEM: Final = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----(.*?)-----END", re.DOTALL)
#: Tags of DER (X.690 section 8.1.2); the last two are [3] of a certificate and [2] of a name (RFC 5280 sections 4.1
#: and 4.2.1.6).
_OBJECT_IDENTIFIER: Final = 0x06
_OCTET_STRING: Final = 0x04
_SEQUENCE: Final = 0x30
_EXTENSIONS: Final = 0xA3
_DNS_NAME: Final = 0x82
#: id-ce-subjectAltName, 2.5.29.17.
_SUBJECT_ALT_NAME: Final = b"\x55\x1d\x11"


def findCertificates(folder: str) -> list[tuple[str, str]]:
    """Returns the files of the certificates of a folder, and of their keys: the default one first, the others by name.

    Args:
        folder: it has ``fullchain.pem`` and ``privkey.pem``, or ``tls.crt`` and ``tls.key``; or else any number of
            ``NAME.pem``, each with a certificate and its key, and of folders with such two files. All else is left
            alone, and so is a name that begins with a dot.

    Raises:
        LocalProtocolError: there is no certificate.
        OSError: the folder, or one inside, can't be read.
    """
    own = _findPair(folder)
    if own is not None:
        return [own]
    with os.scandir(folder) as entries:
        inside = sorted((entry for entry in entries if not entry.name.startswith(".")), key=_rank)
    found = []
    for entry in inside:
        if entry.is_dir():
            pair = _findPair(entry.path)
        else:
            pair = (entry.path, entry.path) if entry.name.endswith(_SUFFIX) else None
        if pair is not None:
            found.append(pair)
    if not found:
        raise LocalProtocolError(
            f"{folder} has no certificates: write NAME.pem, a certificate and its key in one file, or a folder NAME "
            "with fullchain.pem and privkey.pem"
        )
    return found


def _rank(entry: os.DirEntry[str]) -> tuple[bool, str]:
    return entry.name.removesuffix(_SUFFIX) != _DEFAULT, entry.name


def _findPair(folder: str) -> tuple[str, str] | None:
    # A folder that can't be looked into is an error: at a reload its certificate would be lost without a word.
    there = os.listdir(folder)
    for pair in _PAIRS:
        if not set(pair).isdisjoint(there):
            certificate, key = pair
            return os.path.join(folder, certificate), os.path.join(folder, key)
    return None


def readNames(pem: bytes) -> list[str]:
    """Returns the host names that the first certificate of a PEM file is for, in lower case; wildcards begin with "*.".

    Args:
        pem: the file, which OpenSSL has taken.
    """
    block = _PEM.search(pem)
    certificate = _first(b"" if block is None else b64decode(block[1]), _SEQUENCE)
    extensions = _first(_first(_first(certificate, _SEQUENCE), _EXTENSIONS), _SEQUENCE)
    for _, extension in _elements(extensions):
        if _first(extension, _OBJECT_IDENTIFIER) == _SUBJECT_ALT_NAME:
            names = _first(_first(extension, _OCTET_STRING), _SEQUENCE)
            return [name.decode("latin-1").lower() for tag, name in _elements(names) if tag == _DNS_NAME]
    return []


def _first(data: bytes, tag: int) -> bytes:
    """Returns the content of the first element with a tag; nothing where there is none."""
    return next((content for found, content in _elements(data) if found == tag), b"")


def _elements(data: bytes) -> list[tuple[int, bytes]]:
    """Returns the tags and the contents of DER, one level deep."""
    elements, start = [], 0
    while len(data) - start >= 2:
        tag, (isLong, length) = data[start], divmod(data[start + 1], 0x80)
        start += 2
        if isLong:
            # The length is that of the length.
            end = start + length
            start, length = end, int.from_bytes(data[start:end], "big")
        elements.append((tag, data[start : start + length]))
        start += length
    return elements


class Names:
    """The contexts of a folder by the names that their certificates are for; also the one that chooses for a client."""

    _log = ClassLogger()

    def __init__(self) -> None:
        #: By the name or the wildcard: the certificate's file, and its context; None for the context that chooses. That
        #: one would keep itself alive.
        self._contexts: dict[str, tuple[str, ssl.SSLContext | None]] = {}

    def add(self, certificate: str, names: list[str], context: ssl.SSLContext | None) -> None:
        """Adds a certificate; a name that an earlier one has stays with that, and a line in the log says so.

        Args:
            certificate: its file.
            names: those that it is for.
            context: its context; None for that which chooses.
        """
        for name in names:
            earlier, _ = self._contexts.setdefault(name, (certificate, context))
            # The default one may be a link to another.
            if earlier != certificate and not os.path.samefile(earlier, certificate):
                self._log.warn(
                    "{name} has several certificates: {earlier} is used for it, {later} is not",
                    name=name,
                    earlier=earlier,
                    later=certificate,
                )

    def choose(self, connection: Any, name: str | None, context: ssl.SSLContext) -> None:
        """Gives a connection the certificate for the name that its client asks for; ``ssl`` calls this.

        Args:
            connection: the ``ssl.SSLObject``.
            name: it, as an A-label; None where the client sends no name.
            context: that of the default certificate.
        """
        if name is None:
            return
        # An absolute name is none of SNI's (RFC 6066 section 3), and some clients send it.
        name = name.lower().removesuffix(".")
        found = self._contexts.get(name)
        if found is None:
            # A wildcard is one label, the leftmost (RFC 9525 section 6.3).
            found = self._contexts.get(f"*.{name.partition('.')[2]}")
        if found is not None and found[1] is not None:
            connection.context = found[1]
