"""The lines of one message head, as they arrive (RFC 9112 section 2): where it ends, and whether it is sound.

Both kinds of head are read here: `RequestDecoder <wsock.sansio.http.RequestDecoder>` and `ResponseDecoder
<wsock.sansio.http.ResponseDecoder>` each have a reader, and say what a fault is to their side.
"""

import re
from typing import Final, TypeAlias

from .errors import InvalidRequest, LocalProtocolError, wrong_type

#: The number for "no limit": a place that no head reaches, small enough for `re` also when a length is added.
_NO_LIMIT: Final = 2**60
#: A token of RFC 9110 section 5.6.2.
TOKEN_BYTES: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"

# In each pattern a repetition and what follows it share no byte, so none can backtrack into another split.
_REQUEST_LINE = re.compile(TOKEN_BYTES + rb" [\x21-\x7e]+ HTTP/([0-9])\.[0-9]\r\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-9][0-9]{2}(?: [\t\x20-\x7e\x80-\xff]*)?\r\n")
_FIELD_LINE = re.compile(TOKEN_BYTES + rb":[\t\x20-\x7e\x80-\xff]*\r\n")
_FOLDED_LINE = re.compile(rb"[ \t][\t\x20-\x7e\x80-\xff]*\r\n")
_SPACE_BEFORE_COLON = re.compile(TOKEN_BYTES + rb"[ \t]+:")
#: A whole request of HTTP/1, whose every line would pass by itself.
_REQUEST = re.compile(
    TOKEN_BYTES + rb" [\x21-\x7e]+ HTTP/1\.[0-9]\r\n(?:" + TOKEN_BYTES + rb":[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n"
)
_UNSAFE = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r[^\n]")

#: All that a reader knows: what is left, what it has found, what it holds, its limits, its places in it.
HeadState: TypeAlias = tuple[
    tuple[bytes, bool, bool, bool],
    tuple[bytes, bytes, bytes],
    tuple[int, int, int],
    tuple[int, int, int, int],
]


class HeadReader:
    """Reads one head; any split of the bytes gives the same result.

    Attributes:
        unread: the bytes after the head, once it is whole.
        has_started: whether any byte was received.
        start_line: a response's, once it is read; else empty.
        is_folded: whether a response's field goes on in a second line.
    """

    __slots__ = (
        "_begin",
        "_beginning",
        "_buffer",
        "_fields",
        "_is_finished",
        "_is_response",
        "_line_start",
        "_max_fields",
        "_max_line",
        "_max_size",
        "_scanned",
        "has_started",
        "is_folded",
        "start_line",
        "unread",
    )

    def __init__(
        self, is_response: bool, max_header_line: object, max_header_size: object, max_headers: object
    ) -> None:
        """Starts before the first byte of a head.

        Args:
            is_response: whether it begins with a status line, and may have folded fields; else with a request line,
                perhaps behind empty ones.
            max_header_line: the longest line, in bytes with its end; None for no limit.
            max_header_size: the largest head, in bytes with the empty lines around it; None for no limit.
            max_headers: how many field lines a head may have; None for no limit.

        Raises:
            LocalProtocolError: a limit below 1.
        """
        self._is_response = is_response
        self._max_line = _number(max_header_line)
        self._max_size = _number(max_header_size)
        self._max_fields = _number(max_headers)
        self.unread: bytes = b""
        self.has_started = False
        self.restart()

    def restart(self) -> bytes:
        """Begins with another head; returns the bytes behind the one that was read, which are the first of it."""
        rest, self.unread = self.unread, b""
        self._is_finished = False
        self.start_line = b""
        self.is_folded = False
        self._buffer = bytearray()
        #: The first bytes of a head that was refused.
        self._beginning = b""
        #: Behind the empty lines that were skipped.
        self._begin = 0
        self._line_start = 0
        self._scanned = 0
        #: How many there were; -1 before the start line.
        self._fields = -1
        return rest

    def __reduce__(self) -> tuple[object, ...]:
        limits = self._max_line, self._max_size, self._max_fields
        told = self.unread, self.has_started, self._is_finished, self.is_folded
        held = self.start_line, self._beginning, bytes(self._buffer)
        places = self._begin, self._line_start, self._scanned, self._fields
        return type(self), (self._is_response, None, None, None), (told, held, limits, places)

    def __setstate__(self, state: HeadState) -> None:
        told, held, limits, places = state
        self.unread, self.has_started, self._is_finished, self.is_folded = told
        self.start_line, self._beginning, buffer = held
        self._buffer = bytearray(buffer)
        self._max_line, self._max_size, self._max_fields = limits
        self._begin, self._line_start, self._scanned, self._fields = places

    @property
    def held(self) -> int:
        """How many bytes it holds of a head that has not ended; 0 when it is whole or refused."""
        return len(self._buffer)

    @property
    def beginning(self) -> bytes:
        """The first bytes of a head that is not whole, as far as they came; 5 at the most."""
        begin = self._begin
        return self._beginning or bytes(self._buffer[begin : begin + 5])

    def read(self, data: object) -> bytes | None:
        """Takes bytes in; returns the head once it is whole, None before that.

        Raises:
            InvalidRequest: it can't become one; a response, too, is refused by this.
            LocalProtocolError: the head was read or refused already; or ``data`` is not bytes.
        """
        if self._is_finished:
            raise LocalProtocolError("this head is decoded or refused already: what follows it is in `unread`")
        piece = data if type(data) is bytes else as_bytes("data", data)
        self.has_started = self.has_started or bool(piece)
        buffer = self._buffer
        if not buffer and not self._is_response:
            # The most frequent case: the whole request in one piece. All others go line by line, and fare the same. No
            # line can be too long where the whole is not.
            match = _REQUEST.match(piece, 0, min(self._max_line, self._max_size))
            if match is not None:
                end = match.end()
                if piece.count(b"\n", 0, end) - 2 <= self._max_fields:
                    self._is_finished = True
                    self.unread = piece[end:]
                    return piece[:end]
        buffer += piece
        start, scanned, fields = self._line_start, self._scanned, self._fields
        while True:
            limit = min(start + self._max_line, self._max_size)
            end = buffer.find(b"\n", scanned, limit) + 1
            if end == 0:
                break
            if fields < 0:
                if self._is_start_line(bytes(buffer[start:end])):
                    fields = 0
                else:
                    self._begin = end
            elif _FIELD_LINE.fullmatch(buffer, start, end) is not None:
                if fields == self._max_fields:
                    raise self._refuse(f"more than {self._max_fields} header fields", 431)
                fields += 1
            else:
                line = bytes(buffer[start:end])
                if line == b"\r\n":
                    self._is_finished = True
                    self._buffer = bytearray()
                    self.unread = bytes(buffer[end:])
                    return bytes(buffer[self._begin : end])
                if fields == 0 or not self._is_fold(line):
                    raise self._refuse(_describe_fault(line))
            start = scanned = end
        # The line goes on. One byte back, for a CR that ended the last chunk.
        if _UNSAFE.search(buffer, max(start, scanned - 1), limit):
            raise self._refuse("a control character or a bare CR")
        if len(buffer) >= limit:
            is_line = start + self._max_line <= self._max_size
            fault = f"a line of more than {self._max_line}" if is_line else f"a head of more than {self._max_size}"
            raise self._refuse(f"{fault} bytes", 414 if fields < 0 else 431)
        self._line_start, self._scanned, self._fields = start, len(buffer), fields
        return None

    def _refuse(self, message: str, status: int = 400) -> InvalidRequest:
        """Forgets the bytes that were read, and returns the error to raise."""
        self._beginning = self.beginning
        self._is_finished = True
        self._buffer = bytearray()
        return InvalidRequest(message, status)

    def _is_start_line(self, line: bytes) -> bool:
        """Whether it is one, rather than an empty line before it."""
        if self._is_response:
            if _STATUS_LINE.fullmatch(line) is None:
                raise self._refuse("not an HTTP/1.1 status line")
            self.start_line = line
            return True
        match = _REQUEST_LINE.fullmatch(line)
        if match is None:
            if line == b"\r\n":
                # RFC 9112 §2.2: a server SHOULD ignore at least one empty line before the request line.
                return False
            raise self._refuse("not an HTTP request line")
        if match[1] != b"1":
            raise self._refuse("an HTTP version other than 1", 505)
        return True

    def _is_fold(self, line: bytes) -> bool:
        """Whether a line goes on with the field before it, and may."""
        # RFC 9112 §5.2: a user agent MUST replace each obs-fold with spaces.
        is_folded = self._is_response and _FOLDED_LINE.fullmatch(line) is not None
        self.is_folded = self.is_folded or is_folded
        return is_folded


def as_bytes(name: str, value: object) -> bytes:
    """Return a value as bytes.

    Args:
        name: the name of the parameter.
        value: bytes, bytearray or memoryview.

    Raises:
        LocalProtocolError: it is of another type.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise wrong_type(name, "bytes", value, f"write {name}.encode()" if isinstance(value, str) else "")


def _number(limit: object) -> int:
    """Return a limit as a number that `re` takes for a place."""
    if limit is None:
        return _NO_LIMIT
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise wrong_type("a limit of a head", "a whole number, or None", limit)
    if limit > _NO_LIMIT:
        return _NO_LIMIT
    if limit < 1:
        raise LocalProtocolError("the limits of a head are at least 1, or None for no limit")
    return limit


def _describe_fault(line: bytes) -> str:
    """Say why a line is no field line, repeating nothing of it."""
    if _UNSAFE.search(line):
        return "a control character or a bare CR"
    if not line.endswith(b"\r\n"):
        # RFC 9112 §2.2 lets a recipient take a bare LF; proxies differ on it, so we don't.
        return "a line that ends with a bare LF"
    if line[:1] in (b" ", b"\t"):
        # RFC 9112 §5.2: a server MUST reject obs-fold or replace it.
        return "a folded header field"
    if _SPACE_BEFORE_COLON.match(line):
        # RFC 9112 §5.1: a server MUST reject whitespace between field name and colon.
        return "whitespace between a field name and its colon"
    return "a header line without a field name that is a token"
