"""TLS of one connection without I/O: bytes of its records in, plain text out, and the other way.

* No exception is raised for a whole record: OpenSSL is only read while there is something to read.
* OpenSSL's buffers never shrink, and so they are given one record at a time: an idle connection holds no large one.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from ..log import release

#: The largest piece that OpenSSL is given to encrypt or decrypt, in bytes: the plain text of a record (RFC 8446
#: section 5.1).
PIECE_BYTES: Final = 2**14
#: The head of a record has a kind, from change_cipher_spec to application_data, a version in two bytes of which the
#: first is 3, and a length in two bytes (RFC 8446 section 5.1). The length is at most 2**14 + 2048 in TLS 1.2.
_HEAD_BYTES: Final = 5
_RECORD_KINDS: Final = range(20, 24)
_MAX_RECORD_BYTES: Final = 2**14 + 2048
#: So many bytes of plain text are decrypted before they are delivered.
_PORTION_BYTES: Final = 2**16


class Records:
    """The records of one connection, of either role.

    Attributes:
        incoming: bytes that wait to be decrypted.
        outgoing: bytes that wait to be sent.
        sslObject: the standard library's.
        isWaiting: whether records wait to be decrypted, or plain text to be taken.
        isShaken: whether the TLS handshake is done.
        hasAnswered: whether the peer's first message was understood.
        peerEnded: whether the peer's close_notify was read.
        fault: why nothing can be read or written any more, or None.
        hasEnded: whether one of these two is so.
    """

    __slots__ = (
        "_head",
        "_missing",
        "_read",
        "_write",
        "fault",
        "hasAnswered",
        "hasEnded",
        "incoming",
        "isShaken",
        "isWaiting",
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
        self._read, self._write = inner.read, inner.write
        #: The beginning of a record's head; and how many bytes of a record are still to come.
        self._head = b""
        self._missing = 0
        self.isWaiting = False
        self.isShaken = False
        self.hasAnswered = False
        self.peerEnded = False
        self.fault: ssl.SSLError | None = None
        self.hasEnded = False

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
        self.isShaken = True
        return True

    def take(self, data: bytes) -> None:
        """Takes bytes that are decrypted later."""
        for piece, isWhole in self._cut(data):
            self.incoming.write(piece)
            self.isWaiting = self.isWaiting or isWhole

    def decrypt(self, data: bytes) -> bytes:
        """Decrypts bytes that came; returns all plain text that they complete."""
        size = len(data)
        if self.isWaiting:
            self.take(data)
            return self.decryptMore()
        if self._missing or self._head or size < _HEAD_BYTES or size != _HEAD_BYTES + (data[3] << 8 | data[4]):
            texts = []
            for piece, isWhole in self._cut(data):
                self.incoming.write(piece)
                if isWhole and not self.hasEnded:
                    texts.append(self._readOne(PIECE_BYTES))
            return b"".join(texts)
        # The usual case: one record.
        self.incoming.write(data)
        return self._readOne(size)

    def _readOne(self, size: int) -> bytes:
        """Decrypts a record that is there, of at most so many bytes."""
        try:
            text: bytes = self._read(size)
        except ssl.SSLWantReadError:
            # A message of TLS's own, which may want an answer.
            return b""
        except ssl.SSLError as error:
            self._fail(error)
            return b""
        if not text:
            self.peerEnded = self.hasEnded = True
        return text

    def _cut(self, data: bytes) -> Iterator[tuple[memoryview, bool]]:
        """Cuts bytes that came into records; yields each, and whether it is whole now.

        OpenSSL raises an exception when it is asked to read a part of one. Bytes that are no record are left to it.
        """
        if self._head:
            data = self._head + data
            self._head = b""
        view, start, end = memoryview(data), 0, len(data)
        while start < end:
            if not self._missing:
                if end - start < _HEAD_BYTES:
                    self._head = data[start:]
                    return
                kind, version, length = data[start], data[start + 1], data[start + 3] << 8 | data[start + 4]
                if kind not in _RECORD_KINDS or version != 3 or length > _MAX_RECORD_BYTES:
                    yield view[start:], True
                    return
                self._missing = _HEAD_BYTES + length
            stop = min(start + self._missing, end)
            self._missing -= stop - start
            yield view[start:stop], not self._missing
            start = stop

    def decryptMore(self) -> bytes:
        """Decrypts what waits, up to a portion."""
        incoming, texts, size = self.incoming, [], 0
        self.isWaiting = False
        try:
            # A read takes all of a record: OpenSSL keeps no plain text.
            while incoming.pending and not self.hasEnded:
                if size >= _PORTION_BYTES:
                    self.isWaiting = True
                    break
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
