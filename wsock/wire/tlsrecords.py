"""TLS of one connection without I/O: bytes of its records in, plain text out, and the other way.

* No exception is raised for a whole record: OpenSSL is only read while there is something to read.
* OpenSSL's buffers never shrink, and so they are given one record at a time: an idle connection holds no large one.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Any, Final

from ..log import release

#: The largest piece that OpenSSL is given to encrypt or decrypt, in bytes: the plain text of a record (RFC 8446
#: section 5.1).
PIECE_BYTES: Final = 2**14
#: So many bytes of plain text are decrypted before they are delivered.
_PORTION_BYTES: Final = 2**16


class Records:
    """The records of one connection, of either role.

    Attributes:
        incoming: bytes that wait to be decrypted.
        outgoing: bytes that wait to be sent.
        sslObject: the standard library's.
        isShaken: whether the TLS handshake is done.
        hasAnswered: whether the peer's first message was understood.
        peerEnded: whether the peer's close_notify was read.
        fault: why nothing can be read or written any more, or None.
        hasEnded: whether one of these two is so.
    """

    __slots__ = (
        "_pending",
        "_read",
        "_write",
        "fault",
        "hasAnswered",
        "hasEnded",
        "incoming",
        "isShaken",
        "outgoing",
        "peerEnded",
        "sslObject",
    )

    def __init__(self, context: ssl.SSLContext, isServer: bool, serverName: str | None) -> None:
        """Begins.

        Args:
            context: what to prove, and whom to trust.
            isServer: the role.
            serverName: a client's: the host that the server has to be.
        """
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        # It is to be kept beside the object inside: an `sni_callback` fails without it.
        self.sslObject = context.wrap_bio(
            self.incoming, self.outgoing, server_side=isServer, server_hostname=serverName
        )
        # The object inside does the same with one call less, where there is one.
        inner: Any = getattr(self.sslObject, "_sslobj", self.sslObject)
        self._read, self._write, self._pending = inner.read, inner.write, inner.pending
        self.isShaken = False
        self.hasAnswered = False
        self.peerEnded = False
        self.fault: ssl.SSLError | None = None
        self.hasEnded = False

    @property
    def isWaiting(self) -> bool:
        """Whether bytes wait to be decrypted, or plain text to be taken."""
        return bool(self.incoming.pending or self._pending())

    def shake(self) -> bool:
        """Goes on with the TLS handshake; returns whether it is done."""
        try:
            self.sslObject.do_handshake()
        except ssl.SSLWantReadError:
            self.hasAnswered = self.hasAnswered or bool(self.outgoing.pending)
            return False
        except ssl.SSLError as error:
            self._fail(error)
            return False
        self.isShaken = self.hasAnswered = True
        return True

    def decrypt(self, data: bytes) -> bytes:
        """Decrypts bytes that came; returns all plain text that they complete."""
        if not 0 < len(data) <= PIECE_BYTES:
            return self._decryptPieces(data)
        incoming = self.incoming
        incoming.write(data)
        try:
            text: bytes = self._read(len(data))
        except ssl.SSLWantReadError:
            # A part of a record; or a message of TLS's own, which may want an answer.
            return b""
        except ssl.SSLError as error:
            self._fail(error)
            return b""
        if not text:
            self.peerEnded = self.hasEnded = True
        elif incoming.pending or self._pending():
            text += self.decryptMore()
        return text

    def _decryptPieces(self, data: bytes) -> bytes:
        view, texts = memoryview(data), []
        for start in range(0, len(data), PIECE_BYTES):
            self.incoming.write(view[start : start + PIECE_BYTES])
            texts.append(self.decryptMore())
        return b"".join(texts)

    def decryptMore(self) -> bytes:
        """Decrypts what waits, up to a portion."""
        incoming, pending, texts, size = self.incoming, self._pending, [], 0
        try:
            while (incoming.pending or pending()) and size < _PORTION_BYTES and not self.hasEnded:
                text: bytes = self._read(PIECE_BYTES)
                if text:
                    texts.append(text)
                    size += len(text)
                else:
                    self.peerEnded = self.hasEnded = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._fail(error)
        return b"".join(texts)

    def decryptAll(self) -> bytes:
        """Decrypts all that waits."""
        texts = []
        while text := self.decryptMore():
            texts.append(text)
        return b"".join(texts)

    def encrypt(self, data: bytes | memoryview) -> bytes:
        """Encrypts at most one record; returns what is to be sent, nothing of these bytes behind a fault."""
        try:
            self._write(data)
        except ssl.SSLError as error:
            self._fail(error)
        return self.outgoing.read()

    def end(self) -> None:
        """Ends our side of TLS, by a close_notify."""
        # Input that was not read would be a fault.
        self.decryptAll()
        # It wants to read the other side's; or nothing can be read any more.
        with suppress(ssl.SSLError):
            self.sslObject.unwrap()

    def _fail(self, error: ssl.SSLError) -> None:
        self.hasEnded = True
        if isinstance(error, ssl.SSLZeroReturnError):
            # The peer's close_notify, behind ours.
            self.peerEnded = True
        elif self.fault is None:
            # The place where it was raised helps no one, and would keep us.
            release(error)
            self.fault = error
