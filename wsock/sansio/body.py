"""The body of an HTTP response that is no WebSocket, up to a limit (RFC 9112 sections 6 and 7).

It is read to be shown: a server that refuses says why in it. So a malformed body ends, and is no error.
"""

from typing import Final

from .http import ResponseHead

#: The longest line of a chunk's size, extensions included, in bytes; chunk extensions are not used in practice.
_MAX_SIZE_LINE_BYTES: Final = 1024
#: A head that says nothing of a body.
_NO_HEAD: Final = ResponseHead(b"HTTP/1.1 200 \r\n\r\n")
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")


class BodyDecoder:
    """Reads one body.

    Attributes:
        has_ended: whether all of it is here, or as much as the limit allows.
    """

    __slots__ = ("_body", "_in_chunk", "_is_chunked", "_limit", "_remaining", "_unread", "has_ended")

    def __init__(self, response: ResponseHead, limit: int) -> None:
        """Prepare for the body of one response.

        Args:
            response: the head.
            limit: how many bytes of the body are kept.
        """
        headers = response.headers
        lengths = headers.get_all("Content-Length")
        encodings = (headers.get("Transfer-Encoding") or "").lower().split(",")
        self._body = bytearray()
        self._limit: int = limit
        self._is_chunked: bool = encodings[-1].strip(" \t") == "chunked"
        #: Bytes still to come of the body, or of the chunk under way with its line end.
        self._remaining: int = limit
        self._in_chunk: bool = False
        self._unread = bytearray()
        if not self._is_chunked and len(lengths) == 1 and lengths[0].isdecimal() and len(lengths[0]) < 10:
            self._remaining = min(limit, int(lengths[0]))
        self.has_ended: bool = response.status in (204, 304) or self._remaining == 0

    def __reduce__(self) -> tuple[object, ...]:
        chunks = (self._is_chunked, self._in_chunk, bytes(self._unread))
        return type(self), (_NO_HEAD, self._limit), (bytes(self._body), self._remaining, self.has_ended, chunks)

    def __setstate__(self, state: tuple[bytes, int, bool, tuple[bool, bool, bytes]]) -> None:
        body, self._remaining, self.has_ended, chunks = state
        self._is_chunked, self._in_chunk, unread = chunks
        self._body, self._unread = bytearray(body), bytearray(unread)

    @property
    def body(self) -> bytes:
        """The part of it that has come."""
        return bytes(self._body)

    def decode(self, data: bytes) -> bool:
        """Take bytes in; return whether it has ended. Bytes behind it are ignored."""
        if self.has_ended:
            return True
        if self._is_chunked:
            self._unread += data
            while not self.has_ended and self._decode_chunk():
                pass
        else:
            self._body += data[: self._remaining]
            self._remaining -= min(self._remaining, len(data))
            self.has_ended = self._remaining == 0
        return self.has_ended

    def _decode_chunk(self) -> bool:
        """Read on in a chunk, or begin one; return whether there may be more to read."""
        unread = self._unread
        if self._in_chunk:
            piece = unread[: self._remaining]
            del unread[: self._remaining]
            # The last two bytes are the chunk's line end.
            content = max(0, self._remaining - 2)
            self._body += piece[: min(content, self._limit - len(self._body))]
            self._remaining -= len(piece)
            self._in_chunk = self._remaining > 0
            self.has_ended = len(self._body) == self._limit
            return not self._in_chunk
        end = unread.find(b"\n")
        if (len(unread) if end < 0 else end) > _MAX_SIZE_LINE_BYTES:
            self.has_ended = True
            return False
        if end < 0:
            return False
        size = bytes(unread[:end]).split(b";")[0].strip(b" \t\r")
        del unread[: end + 1]
        if len(size) > 16 or not _HEX.issuperset(size) or not size.strip(b"0"):
            # The last chunk, or none at all.
            self.has_ended = True
            return False
        self._remaining = int(size, 16) + 2
        self._in_chunk = True
        return True
