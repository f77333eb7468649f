"""HTTP/1.1 message heads: read as they arrive, written whole (RFC 9112).

Rules:

* Strict: a head that two readers could split in two ways (bare LF, bare CR, a request's folded lines, a space before
  the colon) is refused, since a request that a proxy and we read differently is an attack (RFC 9112 section 11.2).
* Any HTTP/1: the version matters to a WebSocket alone, so `handshake` looks at it.
* Limited: a head costs at most 32 KiB by default, and time linear in its size, in whatever chunks it comes.
* The same verdict for every way to split the same bytes, as soon as it is known: at the latest with the line's end.
* A head stays one bytes object, as it came but for empty lines before it and folds in it. The fields of a request are
  parsed once, by its decoder, and kept until `RequestHead.forget_fields`; all others are parsed when they are asked
  for, and not kept.
* Nothing is encoded that this module would not decode, but for its limits: those of others may be higher.

It reads no bodies: the bytes behind a head are left in ``unread``.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from http import HTTPStatus
from typing import Final

from .constants import DEFAULT_MAX_HEADER_LINE, DEFAULT_MAX_HEADER_SIZE, DEFAULT_MAX_HEADERS
from .errors import InvalidRequest, InvalidResponse, LocalProtocolError, wrong_type
from .head import TOKEN_BYTES, HeadReader, as_bytes

#: Interim responses (RFC 9110 section 15.2) skipped before a final one; in practice there are one or two.
MAX_INTERIM: Final = 8

#: The standard reason phrases.
REASONS: Final[dict[int, str]] = {status.value: status.phrase for status in HTTPStatus}

_TOKEN = re.compile(TOKEN_BYTES.decode())
_TOKEN_BYTES = re.compile(TOKEN_BYTES)
_VALUE_BYTES = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_REQUEST_LINE = re.compile(TOKEN_BYTES + rb" [\x21-\x7e]+ HTTP/1\.[0-9]\r\n\r\n")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_TARGET = re.compile(r"[\x21-\x7e]+")
_ABSOLUTE_FORM = re.compile(r"(?:http|ws)s?://([^/?#]*)", re.IGNORECASE)
_SEVERAL_HOSTS: Final = "more than one Host"

_FOLD = re.compile(rb"\r\n[ \t]+")


def is_token(text: str) -> bool:
    """Whether ``text`` is a token of RFC 9110 section 5.6.2."""
    return _TOKEN.fullmatch(text) is not None


def split_target(target: str) -> tuple[str, str, str]:
    """Split a request target (RFC 9112 section 3.2).

    Returns:
        the authority ("" unless in absolute-form), the path as received, the query ("" if none).
    """
    authority = ""
    # A path, the most frequent form, needs no second look.
    match = None if target.startswith("/") else _ABSOLUTE_FORM.match(target)
    if match is not None:
        authority = match[1]
        rest = target[match.end() :]
        target = rest if rest.startswith("/") else "/" + rest
    path, _, query = target.partition("?")
    return authority, path, query


def check_fields(headers: object) -> list[tuple[str, str]]:
    """Return header fields that are about to be sent.

    Raises:
        LocalProtocolError: one isn't a pair of str, its name is no token, or its value has a control character or
            one outside latin-1.
    """
    if not isinstance(headers, (list, tuple)):
        if isinstance(headers, (str, bytes, Mapping)) or not isinstance(headers, Iterable):
            advice = "write list(headers.items())" if isinstance(headers, Mapping) else "write [(name, value), ...]"
            raise wrong_type("headers", "a sequence of pairs of str", headers, advice)
        headers = list(headers)
    fields: list[tuple[str, str]] = []
    for field in headers:
        if not isinstance(field, (tuple, list)) or len(field) != 2:
            raise LocalProtocolError("headers are pairs of str: [(name, value), ...]")
        name, value = field
        if not isinstance(name, str):
            advice = 'write name.decode("latin-1")' if isinstance(name, bytes) else ""
            raise wrong_type("the name of a header", "a str", name, advice)
        if not isinstance(value, str):
            advice = 'write value.decode("latin-1")' if isinstance(value, bytes) else "write str(value)"
            raise wrong_type(f"the value of {name}", "a str", value, advice)
        if not _TOKEN.fullmatch(name):
            raise LocalProtocolError(f"not a header name: {name!r}")
        if not _VALUE.fullmatch(value):
            raise LocalProtocolError(f"the value of {name} has a control character or one outside latin-1")
        fields.append((name, value))
    return fields


def check_status(status: object, least: int) -> int:
    """Return the status of an answer that is about to be sent.

    Raises:
        LocalProtocolError: it isn't an int, or not one from ``least`` to 599.
    """
    if not isinstance(status, int):
        raise wrong_type("status", "an int such as 403", status)
    if not least <= status <= 599:
        raise LocalProtocolError(f"status is from {least} to 599, not {int(status)}")
    # An IntEnum would be written by its name.
    return int(status)


def encode_fields(fields: Sequence[tuple[str, str]]) -> bytes:
    """Return the lines of header fields that `check_fields` has returned."""
    return "".join([f"{name}: {value}\r\n" for name, value in fields]).encode("latin-1")


def _encode_head(start_line: str, headers: Iterable[object]) -> bytes:
    return f"{start_line}\r\n".encode("latin-1") + encode_fields(check_fields(headers)) + b"\r\n"


class HeaderFields:
    """The header fields of a head; names are compared without case (RFC 9110 section 5.1).

    Unless a decoder has just read it, each access to a message's ``headers`` makes another one: keep it in a variable
    while reading several fields.
    """

    __slots__ = ("_parsed", "_raw", "_repeated", "_values")

    def __init__(self, raw: bytes, parsed: str | None = None) -> None:
        self._raw: Final = raw
        #: Those that another reader has parsed, in place of ``raw``; as `RequestHead` has them.
        self._parsed: Final = parsed
        #: The value of each field, by its name in lower case; the first one, where there are several.
        self._values: Final[dict[str, str]] = {}
        #: All values of the fields that are there several times; None where no field is.
        self._repeated: dict[str, list[str]] | None = None
        values = self._values
        if parsed is not None:
            for name, value in _pairs(parsed):
                name = name.lower()
                if name in values:
                    self._repeat(name, value)
                else:
                    values[name] = value
            return
        for line in _field_lines(raw):
            name, _, value = line.partition(":")
            name, value = name.lower(), value.strip(" \t")
            count = len(values)
            values.setdefault(name, value)
            if len(values) == count:
                self._repeat(name, value)

    def _repeat(self, name: str, value: str) -> None:
        if self._repeated is None:
            self._repeated = {}
        if name in self._repeated:
            self._repeated[name].append(value)
        else:
            self._repeated[name] = [self._values[name], value]

    def get(self, name: str) -> str | None:
        """Return a field's value, those of several fields joined by ", " (RFC 9110 section 5.3), or None."""
        return self.find(name.lower())

    def find(self, name: str) -> str | None:
        """As `get`; for a name in lower case."""
        if self._repeated is not None and name in self._repeated:
            return ", ".join(self._repeated[name])
        return self._values.get(name)

    def get_all(self, name: str) -> list[str]:
        """Return the value of each field of that name, in order."""
        name = name.lower()
        if self._repeated is not None and name in self._repeated:
            return list(self._repeated[name])
        value = self._values.get(name)
        return [] if value is None else [value]

    def items(self) -> list[tuple[str, str]]:
        """Return all fields as received, in order."""
        if self._parsed is not None:
            return _pairs(self._parsed)
        fields: list[tuple[str, str]] = []
        for line in _field_lines(self._raw):
            name, _, value = line.partition(":")
            fields.append((name, value.strip(" \t")))
        return fields

    def has_several(self, name: str) -> bool:
        """Return whether there is more than one field of a name, which is in lower case."""
        return self._repeated is not None and name in self._repeated

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._raw, self._parsed)


def _pairs(parsed: str) -> list[tuple[str, str]]:
    parts = parsed.split("\n")
    return list(zip(parts[::2], parts[1::2], strict=False))


def _field_lines(raw: bytes) -> list[str]:
    # RFC 9110 §5.5: obs-text is opaque data; latin-1 gives each byte one character.
    return raw.decode("latin-1").split("\r\n")[1:-2]


class RequestHead:
    """A request head (RFC 9112 section 3).

    Attributes:
        raw: the head from the request line to the empty line; where another reader has parsed it, it has no fields.
        parsed: the fields that another reader has parsed: names and values in turn, with an LF between, which none of
            them can have; one object takes a third of the memory of many. None of a head that came as bytes.
    """

    __slots__ = ("_fields", "parsed", "raw")

    def __init__(self, raw: bytes, parsed: str | None = None) -> None:
        self.raw: Final = raw
        self.parsed: Final = parsed
        self._fields: HeaderFields | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.raw, self.parsed)

    @staticmethod
    def take_over(method: bytes, target: bytes, version: bytes, fields: Iterable[tuple[bytes, bytes]]) -> "RequestHead":
        """Take a request over from another reader, as parsed: its fields are never written out, and never read again.

        Two readers of one head are an attack where they differ (RFC 9112 section 11.2). The other one may be less
        strict than `RequestDecoder`, so a field that this one would have refused is refused here, too.

        Args:
            method: as received.
            target: as received.
            version: such as ``b"HTTP/1.1"``.
            fields: the name and the value of each, in order.

        Raises:
            InvalidRequest: it has something that no request may have.
        """
        raw = b"%b %b %b\r\n\r\n" % (method, target, version)
        if _REQUEST_LINE.fullmatch(raw) is None:
            raise InvalidRequest("not an HTTP request line")
        parts: list[bytes] = []
        for name, value in fields:
            if _TOKEN_BYTES.fullmatch(name) is None:
                raise InvalidRequest("a header line without a field name that is a token")
            if _VALUE_BYTES.fullmatch(value) is None:
                raise InvalidRequest("a control character or a bare CR")
            parts += [name, value.strip(b" \t")]
        head = RequestHead(raw, b"\n".join(parts).decode("latin-1"))
        if head.parse_fields().has_several("host"):
            raise InvalidRequest(_SEVERAL_HOSTS)
        return head

    def parse_fields(self) -> HeaderFields:
        """Return the header fields, and keep them until `forget_fields`."""
        if self._fields is None:
            self._fields = HeaderFields(self.raw, self.parsed)
        return self._fields

    def forget_fields(self) -> None:
        """Keep the head as it came alone, which costs a quarter of the parsed fields where it came as bytes."""
        self._fields = None

    @property
    def headers(self) -> HeaderFields:
        """The header fields, parsed at each access where they are not kept."""
        fields = self._fields
        return HeaderFields(self.raw, self.parsed) if fields is None else fields

    @staticmethod
    def build(method: object, target: object, headers: Iterable[tuple[str, str]] = ()) -> "RequestHead":
        """Make a request to send.

        Raises:
            LocalProtocolError: the method isn't a token, the target isn't visible ASCII, or a field can't be sent.
        """
        if not isinstance(method, str) or not is_token(method):
            raise LocalProtocolError(f"not a method: {method!r}")
        if not isinstance(target, str):
            raise wrong_type("target", "a str", target)
        if not _TARGET.fullmatch(target):
            raise LocalProtocolError("the request target has a character that must be percent-encoded")
        return RequestHead(_encode_head(f"{method} {target} HTTP/1.1", headers))

    def encode(self) -> bytes:
        """Return the bytes to send."""
        return self.raw

    @property
    def size(self) -> int:
        """How many bytes it is, as it came or as it would be sent."""
        pairs = _pairs(self.parsed or "")
        return len(self.raw) + sum([len(name) + len(value) + 4 for name, value in pairs])

    @property
    def method(self) -> str:
        """The method, case-sensitive (RFC 9110 section 9.1)."""
        return self.raw[: self.raw.index(b" ")].decode("ascii")

    @property
    def version(self) -> str:
        """The HTTP version, such as ``"1.1"``."""
        end = self.raw.index(b"\r\n")
        return self.raw[end - 3 : end].decode("ascii")

    @property
    def target(self) -> str:
        """The request target as received."""
        return self.raw.split(b" ", 2)[1].decode("ascii")

    @property
    def path(self) -> str:
        """The target's path, not percent-decoded."""
        return split_target(self.target)[1]

    @property
    def query(self) -> str:
        """The target's query string, all behind "?", not percent-decoded; "" without one."""
        return split_target(self.target)[2]


class ResponseHead:
    """A response head (RFC 9112 section 4), and the body where there is one.

    Attributes:
        raw: the head from the status line to the empty line; a decoder has unfolded its fields.
        body: the content; a decoder leaves it empty.
    """

    __slots__ = ("body", "raw")

    def __init__(self, raw: bytes, body: bytes = b"") -> None:
        self.raw: Final = raw
        self.body = body

    @property
    def headers(self) -> HeaderFields:
        """The header fields, parsed at each access."""
        return HeaderFields(self.raw)

    @staticmethod
    def build(status: object, headers: Iterable[tuple[str, str]] = (), body: object = b"") -> "ResponseHead":
        """Make a response to send; Content-Length comes from the body.

        Args:
            status: 100 to 599.
            headers: names and values, without Content-Length and Transfer-Encoding.
            body: the content; statuses 1xx, 204 and 304 can't have one.

        Raises:
            LocalProtocolError: one of them can't be sent.
        """
        number = check_status(status, 100)
        content = as_bytes("body", body)
        fields = check_fields(headers)
        for name, _ in fields:
            if name.lower() in ("content-length", "transfer-encoding"):
                raise LocalProtocolError(f"{name} can't be given: it follows from the body")
        if number < 200 or number in (204, 304):
            # RFC 9110 §8.6: no Content-Length in 1xx and 204, and a 304's would have to be the 200's.
            if content:
                raise LocalProtocolError(f"a response of status {number} has no body")
        else:
            fields.append(("Content-Length", str(len(content))))
        return ResponseHead(_encode_head(f"HTTP/1.1 {number} {REASONS.get(number, '')}", fields), content)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.raw, self.body)

    def with_default(self, name: str, value: str) -> "ResponseHead":
        """Return this response with one field more, unless it has one of that name.

        It is for ``Date``, which an answer has to have (RFC 9110 section 6.6.1) and a core without a clock can't give.

        Raises:
            LocalProtocolError: the field can't be sent.
        """
        return self if name in self.headers else self.with_field(name, value)

    def with_field(self, name: str, value: str) -> "ResponseHead":
        """Return this response with one field more.

        Raises:
            LocalProtocolError: the field can't be sent.
        """
        check_fields([(name, value)])
        # Behind the last field, before the empty line.
        return ResponseHead(self.raw[: len(self.raw) - 2] + f"{name}: {value}\r\n\r\n".encode("latin-1"), self.body)

    def encode(self) -> bytes:
        """Return the bytes to send: head and body."""
        return self.raw + self.body

    @property
    def status(self) -> int:
        """The status code."""
        return int(self.raw[9:12])

    @property
    def reason(self) -> str:
        """The reason phrase, often empty."""
        # Not raw[13:end]: a status line may end before that, and mypyc's bytes can't be sliced backwards.
        return self.raw.partition(b"\r\n")[0][13:].decode("latin-1")


class RequestDecoder:
    """Reads one request head; any split of the bytes gives the same result."""

    __slots__ = ("_reader", "_was_for_head")

    def __init__(
        self,
        *,
        max_header_line: object = DEFAULT_MAX_HEADER_LINE,
        max_header_size: object = DEFAULT_MAX_HEADER_SIZE,
        max_headers: object = DEFAULT_MAX_HEADERS,
    ) -> None:
        """Start before the first byte of a head.

        Args:
            max_header_line: the longest line, in bytes with its end; None for no limit.
            max_header_size: the largest head, in bytes with the empty lines around it; None for no limit.
            max_headers: how many field lines a head may have; None for no limit.

        Raises:
            LocalProtocolError: a limit below 1.
        """
        self._reader = HeadReader(False, max_header_line, max_header_size, max_headers)
        self._was_for_head = False

    def __reduce__(self) -> tuple[object, ...]:
        # The reader is a copy, which goes on by itself also in a copy that is not deep.
        return type(self), (), (self._was_for_head, copy(self._reader))

    def __setstate__(self, state: tuple[bool, HeadReader]) -> None:
        self._was_for_head, self._reader = state

    @property
    def unread(self) -> bytes:
        """The bytes after the head, once it is whole."""
        return self._reader.unread

    @property
    def has_started(self) -> bool:
        """Whether any byte was received."""
        return self._reader.has_started

    @property
    def held(self) -> int:
        """How many bytes it holds of a head that has not ended; 0 when it is whole or refused."""
        return self._reader.held

    @property
    def is_for_head(self) -> bool:
        """Whether the method is HEAD, as far as the request came. Its answer has no body (RFC 9110 section 9.3.2)."""
        return self._was_for_head or self._reader.beginning == b"HEAD "

    def decode(self, data: object) -> RequestHead | None:
        """Take bytes in; return the request once its head is whole, None before that.

        Empty lines before the request line are skipped, and are not in the request's ``raw``.

        Raises:
            InvalidRequest: it can't become one; ``status`` is 400 (malformed), 414 or 431 (sizes) or 505 (a version
                other than HTTP/1).
            LocalProtocolError: the head was decoded or refused already; or ``data`` is not bytes.
        """
        raw = self._reader.read(data)
        if raw is None:
            return None
        head = RequestHead(raw)
        if head.parse_fields().has_several("host"):
            # RFC 9112 §3.2: a server MUST answer 400 to more than one Host.
            self._was_for_head = raw.startswith(b"HEAD ")
            raise InvalidRequest(_SEVERAL_HOSTS)
        return head


class ResponseDecoder:
    """Reads one response head, past interim responses.

    HTTP/1.0 is read too: an old proxy may be refusing the WebSocket, and its status is worth knowing.
    """

    __slots__ = ("_interim", "_reader")

    def __init__(
        self,
        *,
        max_header_line: object = DEFAULT_MAX_HEADER_LINE,
        max_header_size: object = DEFAULT_MAX_HEADER_SIZE,
        max_headers: object = DEFAULT_MAX_HEADERS,
    ) -> None:
        """The arguments are those of `RequestDecoder`; each interim response has these limits for itself."""
        self._reader = HeadReader(True, max_header_line, max_header_size, max_headers)
        self._interim = 0

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (), (self._interim, copy(self._reader))

    def __setstate__(self, state: tuple[int, HeadReader]) -> None:
        self._interim, self._reader = state

    @property
    def unread(self) -> bytes:
        """The bytes after the head, once it is whole."""
        return self._reader.unread

    @property
    def has_started(self) -> bool:
        """Whether any byte was received."""
        return self._reader.has_started

    @property
    def held(self) -> int:
        """How many bytes it holds of a head that has not ended; 0 when it is whole or refused."""
        return self._reader.held

    def decode(self, data: object) -> ResponseHead | None:
        """Take bytes in; return the response once its head is whole, None before that.

        Raises:
            InvalidResponse: it is malformed or too large; the message has its status where that came.
            LocalProtocolError: the head was decoded or refused already; or ``data`` is not bytes.
        """
        reader = self._reader
        try:
            raw = reader.read(data)
            while raw is not None:
                response = ResponseHead(_unfold(raw) if reader.is_folded else raw)
                if response.status == 101 or response.status >= 200:
                    return response
                # RFC 9110 §15.2: a client MUST be able to parse 1xx responses before the final one.
                self._interim += 1
                if self._interim > MAX_INTERIM:
                    raise InvalidRequest(f"more than {MAX_INTERIM} interim responses")
                raw = reader.read(reader.restart())
        except InvalidRequest as error:
            status = reader.start_line[9:12].decode("ascii")
            told = f"{error}, in an answer with status {status}" if status else str(error)
            raise InvalidResponse(told) from None
        return None


def _unfold(raw: bytes) -> bytes:
    """Replace each fold, with the spaces before and after it, by one space."""
    pieces = _FOLD.split(raw)
    last = pieces.pop()
    return b" ".join([*(piece.rstrip(b" \t") for piece in pieces), last])
