"""HTTP message heads: each vector whole, byte by byte and with bytes behind it; limits; what must not be sent."""

from collections.abc import Callable
from http import HTTPStatus

import pytest
from growth import Measure, assertLinear, spent
from hypothesis import given
from hypothesis import strategies as st

from wsock.sansio import http
from wsock.sansio.errors import InvalidRequest, InvalidResponse, LocalProtocolError
from wsock.sansio.http import RequestDecoder, RequestHead, ResponseDecoder, ResponseHead

#: RFC 6455 section 1.2.
RFC_REQUEST = (
    b"GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://example.com\r\n"
    b"Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
RFC_RESPONSE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
)
#: RFC 6455 section 5.7: a single-frame masked text message, "Hello".
FRAME = bytes.fromhex("818537fa213d7f9f4d5158")

Decoder = RequestDecoder | ResponseDecoder


def whole(decoder: Decoder, data: bytes) -> RequestHead | ResponseHead | None:
    return decoder.decode(data)


def bytewise(decoder: Decoder, data: bytes) -> RequestHead | ResponseHead | None:
    for index in range(len(data)):
        message = decoder.decode(data[index : index + 1])
        if message is not None:
            assert index == len(data) - 1
            assert decoder.unread == b""
            return message
    return None


def followed(decoder: Decoder, data: bytes) -> RequestHead | ResponseHead | None:
    message = decoder.decode(data + FRAME)
    assert message is None or decoder.unread == FRAME
    return message


FEEDS = pytest.mark.parametrize("feed", [whole, bytewise, followed])
Feed = Callable[[Decoder, bytes], RequestHead | ResponseHead | None]


def request(fields: bytes, start: bytes = b"GET / HTTP/1.1") -> bytes:
    return start + b"\r\n" + fields + b"\r\n"


def outcome(decoder: Decoder, chunks: list[bytes]) -> object:
    """The result of the bytes: the head and what follows it, the status of the refusal, or None."""
    for number, chunk in enumerate(chunks):
        try:
            message = decoder.decode(chunk)
        except InvalidRequest as error:
            return error.status
        except InvalidResponse:
            return "refused"
        if message is not None:
            return message.raw, decoder.unread + b"".join(chunks[number + 1 :])
    return None


@FEEDS
def test_request(feed: Feed) -> None:
    message = feed(RequestDecoder(), RFC_REQUEST)
    assert isinstance(message, RequestHead)
    assert (message.method, message.target, message.path, message.query) == ("GET", "/chat", "/chat", "")
    assert message.raw == RFC_REQUEST
    assert message.headers.items()[0] == ("Host", "server.example.com")
    assert len(message.headers.items()) == 7
    assert message.headers.get("sec-websocket-protocol") == "chat, superchat"


@FEEDS
def test_response(feed: Feed) -> None:
    message = feed(ResponseDecoder(), RFC_RESPONSE)
    assert isinstance(message, ResponseHead)
    assert (message.status, message.reason, message.body) == (101, "Switching Protocols", b"")
    assert message.headers.get("SEC-WEBSOCKET-ACCEPT") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert message.raw == RFC_RESPONSE


@FEEDS
@pytest.mark.parametrize(
    ("data", "name", "values"),
    [
        pytest.param(b"A:b\r\n", "a", ["b"], id="no space"),
        pytest.param(b"A: \t b c \t\r\n", "A", ["b c"], id="spaces around"),
        pytest.param(b"A:\r\n", "A", [""], id="empty"),
        pytest.param(b"A: b\tc\r\n", "A", ["b\tc"], id="tab inside"),
        pytest.param(b"A: \xe9\xff\x80\r\n", "A", ["\xe9\xff\x80"], id="H23 obs-text"),
        pytest.param(b"A: \xa0b\x85 \r\n", "A", ["\xa0b\x85"], id="obs-text that str.strip() takes for space"),
        pytest.param(b"A: b:c\r\n", "A", ["b:c"], id="colon"),
        pytest.param(b"!#$%&'*+-.^_`|~09Az: b\r\n", "!#$%&'*+-.^_`|~09Az", ["b"], id="each token character"),
        pytest.param(b"A: 1\r\nB: 2\r\na: 3\r\n", "A", ["1", "3"], id="repeated"),
        pytest.param(b"A: b\r\n", "C", [], id="none"),
        pytest.param(b"", "A", [], id="no fields"),
        pytest.param(b"X-Host: a\r\nHost: b\r\n", "Host", ["b"], id="one Host"),
    ],
)
def test_fields(feed: Feed, data: bytes, name: str, values: list[str]) -> None:
    message = feed(RequestDecoder(), request(data))
    assert message is not None
    headers = message.headers
    assert headers.get_all(name) == values
    assert headers.get(name) == (", ".join(values) if values else None)
    assert (name in headers, name.upper() in headers) == (bool(values), bool(values))
    assert 1 not in headers


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", ""),
        ("/a/%2F?b=/c?d", "/a/%2F", "b=/c?d"),
        ("//evil.example/a", "//evil.example/a", ""),
        ("/http://a/b", "/http://a/b", ""),
        ("http://a.example:8080/b?c", "/b", "c"),
        ("HTTPS://a.example", "/", ""),
        ("ws://a.example?b", "/", "b"),
        ("*", "*", ""),
        ("ftp://a/b", "ftp://a/b", ""),
    ],
)
def test_target(target: str, path: str, query: str) -> None:
    message = RequestDecoder().decode(f"GET {target} HTTP/1.1\r\n\r\n".encode())
    assert message is not None
    assert (message.target, message.path, message.query) == (target, path, query)


def test_authority_of_absolute_form() -> None:
    assert http.split_target("http://a.example:1/b?c") == ("a.example:1", "/b", "c")
    assert http.split_target("/b?c") == ("", "/b", "c")


LONG = b"A" * 16384
MALFORMED_FIELDS = [
    pytest.param(b"X-A : b\r\n", id="H09 space before the colon"),
    pytest.param(b"X-A\t: b\r\n", id="tab before the colon"),
    pytest.param(b" A: b\r\n", id="fold of the start line"),
    pytest.param(b"A: b\r\n \x00\r\n", id="NUL in a fold"),
    pytest.param(b"A: b\r\n c\n", id="bare LF in a fold"),
    pytest.param(b"A: b\nB: c\r\n", id="H11 bare LF"),
    pytest.param(b"A: b\r\n\n", id="bare LF at the end"),
    pytest.param(b"A: b\rc\r\n", id="H12 bare CR"),
    pytest.param(b"A: b\r\r\n", id="CR CR LF"),
    pytest.param(b"A: b\x00c\r\n", id="H13 NUL"),
    pytest.param(b"A: \x7f\r\n", id="DEL"),
    pytest.param(b"A: \x1b[2J\r\n", id="ESC"),
    pytest.param(b": b\r\n", id="empty name"),
    pytest.param(b"A\r\n", id="no colon"),
    pytest.param(b"A B: c\r\n", id="space in the name"),
    pytest.param(b"\xc3\xa9: c\r\n", id="name outside ASCII"),
    pytest.param(b"A(: c\r\n", id="name that is no token"),
]


@FEEDS
@pytest.mark.parametrize("fields", MALFORMED_FIELDS)
@pytest.mark.parametrize("decoder", [RequestDecoder, ResponseDecoder])
def test_malformed_field(feed: Feed, fields: bytes, decoder: type[Decoder]) -> None:
    start = b"GET / HTTP/1.1" if decoder is RequestDecoder else b"HTTP/1.1 200 OK"
    reader = decoder()
    with pytest.raises((InvalidRequest, InvalidResponse)) as caught:
        feed(reader, request(fields, start))
    assert isinstance(caught.value, InvalidRequest) is (decoder is RequestDecoder)
    assert getattr(caught.value, "status", 400) == 400
    assert reader.unread == b""
    with pytest.raises(LocalProtocolError):
        reader.decode(b"")


@FEEDS
@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(request(b"Host: a\r\nA: b\r\nhOST: a\r\n"), 400, id="H15 two Hosts"),
        pytest.param(request(b"A: b\r\n c\r\n"), 400, id="H10 obs-fold"),
        pytest.param(request(b"A: b\r\n\tc: d\r\n"), 400, id="obs-fold by a tab"),
        pytest.param(b"\n" + RFC_REQUEST, 400, id="bare LF first"),
        pytest.param(b"\r\r\n" + RFC_REQUEST, 400, id="bare CR first"),
        pytest.param(b" \r\n" + RFC_REQUEST, 400, id="line of a space first"),
        pytest.param(b"GET / HTTP/1.1\n\n", 400, id="bare LF"),
        pytest.param(b"GET /\r\n\r\n", 400, id="HTTP/0.9"),
        pytest.param(b"GET  / HTTP/1.1\r\n\r\n", 400, id="two spaces"),
        pytest.param(b"GET / HTTP/1.1 \r\n\r\n", 400, id="space at the end"),
        pytest.param(b"GET / HTTP/1\r\n\r\n", 400, id="version without a minor"),
        pytest.param(b"GET / http/1.1\r\n\r\n", 400, id="version in lower case"),
        pytest.param(b"GET / HTTP/11.1\r\n\r\n", 400, id="version of two digits"),
        pytest.param(b"G(T / HTTP/1.1\r\n\r\n", 400, id="method"),
        pytest.param(b" / HTTP/1.1\r\n\r\n", 400, id="no method"),
        pytest.param(b"GET /\xc3\xa9 HTTP/1.1\r\n\r\n", 400, id="target outside ASCII"),
        pytest.param(b"GET /\x01 HTTP/1.1\r\n\r\n", 400, id="control in the target"),
        pytest.param(b"GET /\x7f HTTP/1.1\r\n\r\n", 400, id="DEL in the target"),
        pytest.param(b"GET /\tHTTP/1.1\r\n\r\n", 400, id="tab for a space"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, id="TLS on a plain port"),
        pytest.param(b"GET / HTTP/0.9\r\n\r\n", 505, id="HTTP/0.9 with a version"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, id="HTTP/2"),
        pytest.param(b"GET /" + LONG, 414, id="H32 endless request line"),
        pytest.param(request(b"A: " + LONG), 431, id="H30 endless field line"),
        pytest.param(request(b"A: 1\r\n" * 257), 431, id="H31 257 fields"),
        pytest.param(request((b"A: " + b"b" * 8000 + b"\r\n") * 5), 431, id="40 KiB head"),
        pytest.param(b"GET /" + b"a" * 16362 + b"\x00" + LONG, 400, id="control in a line too long"),
        pytest.param(b"\r\n" * 16384, 414, id="endless empty lines"),
    ],
)
def test_refused_request(feed: Feed, data: bytes, status: int) -> None:
    with pytest.raises(InvalidRequest) as caught:
        feed(RequestDecoder(), data)
    assert caught.value.status == status


@FEEDS
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"HTTP/2.0 101 OK\r\n\r\n", id="HTTP/2.0"),
        pytest.param(b"HTTP/1.1 99 Low\r\n\r\n", id="two digits"),
        pytest.param(b"HTTP/1.1 099 Low\r\n\r\n", id="099"),
        pytest.param(b"HTTP/1.1 1010 High\r\n\r\n", id="four digits"),
        pytest.param(b"HTTP/1.1 +20 OK\r\n\r\n", id="sign"),
        pytest.param(b"HTTP/1.1  200 OK\r\n\r\n", id="two spaces"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="SSH"),
        pytest.param(b"HTTP/1.1 200 " + LONG, id="C10 endless status line"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"A: 1\r\n" * 257, id="C09 endless headers"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA: b\r\n" + b" c\r\n" * 8192, id="endless folds"),
        pytest.param(b"\r\n" + RFC_RESPONSE, id="empty line first"),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 9, id="nine interim responses"),
    ],
)
def test_refused_response(feed: Feed, data: bytes) -> None:
    with pytest.raises(InvalidResponse):
        feed(ResponseDecoder(), data)


@FEEDS
@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2", "1.9"])
def test_the_version_is_the_handshakes(feed: Feed, version: str) -> None:
    """H05: a page may be asked for by any HTTP/1, as old proxies and health checks do."""
    message = feed(RequestDecoder(), f"HEAD /page HTTP/{version}\r\n\r\n".encode())
    assert isinstance(message, RequestHead)
    assert (message.method, message.target, message.version) == ("HEAD", "/page", version)


@FEEDS
@pytest.mark.parametrize("lines", [1, 2, 100])
def test_empty_lines_before_a_request(feed: Feed, lines: int) -> None:
    """RFC 9112 section 2.2: a server SHOULD ignore at least one."""
    decoder = RequestDecoder()
    message = feed(decoder, b"\r\n" * lines + RFC_REQUEST)
    assert message is not None
    assert message.raw == RFC_REQUEST
    assert decoder.held == 0


@FEEDS
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param(b"A: b\r\n c\r\n", [("A", "b c")], id="C11 obs-fold"),
        pytest.param(b"A: b \t\r\n\t c: d \r\nE: f\r\n", [("A", "b c: d"), ("E", "f")], id="spaces around it"),
        pytest.param(b"A:\r\n b\r\n", [("A", "b")], id="first line empty"),
        pytest.param(b"A: b\r\n \r\n\t\r\nC: d\r\n", [("A", "b"), ("C", "d")], id="nothing but spaces"),
        pytest.param(b"A: b\r\n" + b" c\r\n" * 300, [("A", "b" + " c" * 300)], id="300 lines of one field"),
        pytest.param(b"A: \xe9\r\n \xff\r\n", [("A", "\xe9 \xff")], id="obs-text"),
    ],
)
def test_folded_fields_of_an_answer(feed: Feed, fields: bytes, expected: list[tuple[str, str]]) -> None:
    """RFC 9112 section 5.2: a user agent MUST replace each fold with spaces."""
    message = feed(ResponseDecoder(), b"HTTP/1.1 403 No\r\nServer: x \r\n" + fields + b"\r\n")
    assert isinstance(message, ResponseHead)
    assert (message.status, message.reason) == (403, "No")
    assert message.headers.items() == [("Server", "x"), *expected]
    assert message.raw.endswith(b"\r\n\r\n")


def test_a_fold_concerns_its_own_answer_alone() -> None:
    message = ResponseDecoder().decode(b"HTTP/1.1 103 Early Hints\r\nA: b\r\n c\r\n\r\n" + RFC_RESPONSE)
    assert message is not None
    assert message.raw == RFC_RESPONSE


@FEEDS
@pytest.mark.parametrize(
    ("rest", "words"),
    [
        (b"Content-Security-Policy: " + LONG, "a line of more than 16384 bytes"),
        ((b"A: " + b"b" * 8000 + b"\r\n") * 5, "a head of more than 32768 bytes"),
        (b"A: 1\r\n" * 257, "more than 256 header fields"),
        (b"A : b\r\n", "whitespace between a field name and its colon"),
    ],
    ids=["line", "head", "fields", "malformed"],
)
def test_a_refused_answer_still_has_a_status(feed: Feed, rest: bytes, words: str) -> None:
    with pytest.raises(InvalidResponse) as caught:
        feed(ResponseDecoder(), b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 403 Forbidden\r\n" + rest)
    assert str(caught.value) == f"{words}, in an answer with status 403"


@FEEDS
@pytest.mark.parametrize(
    ("data", "is_for_head"),
    [
        (b"HEAD / HTTP/1.1\r\nA : b\r\n", True),
        (b"\r\nHEAD /" + LONG, True),
        (b"HEAD / HTTP/2.0\r\n\r\n", True),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", True),
        (b"HEADER / HTTP/2.0\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHEAD \r\n", False),
    ],
)
def test_what_is_refused_may_be_for_head(feed: Feed, data: bytes, is_for_head: bool) -> None:
    """RFC 9110 section 9.3.2: no answer to HEAD has a body, whatever its status."""
    decoder = RequestDecoder()
    assert not decoder.is_for_head
    with pytest.raises(InvalidRequest):
        feed(decoder, data)
    assert decoder.is_for_head is is_for_head


def test_an_unfinished_request_may_be_for_head() -> None:
    decoder = RequestDecoder()
    decoder.decode(b"\r\nHEAD")
    assert not decoder.is_for_head
    decoder.decode(b" ")
    assert decoder.is_for_head


@FEEDS
@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        (b"HTTP/1.1 404 Not Found", 404, "Not Found"),
        (b"HTTP/1.1 101 ", 101, ""),
        (b"HTTP/1.1 101", 101, ""),
        (b"HTTP/1.0 502 Bad\tGateway \xe9", 502, "Bad\tGateway \xe9"),
        (b"HTTP/1.1 999 Denied", 999, "Denied"),
        (b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\n" * 8 + b"HTTP/1.1 200 OK", 200, "OK"),
    ],
)
def test_status_line(feed: Feed, line: bytes, status: int, reason: str) -> None:
    message = feed(ResponseDecoder(), line + b"\r\nServer: x\r\n\r\n")
    assert isinstance(message, ResponseHead)
    assert (message.status, message.reason) == (status, reason)
    assert message.headers.items() == [("Server", "x")]


@pytest.mark.parametrize(
    ("data", "at"),
    [
        pytest.param(b"\x16\x03\x01", 1, id="control"),
        pytest.param(b"GET / HTTP/1.1\r\nA: b\nC", 21, id="bare LF"),
        pytest.param(b"GET / HTTP/1.1\r\nA: b\rcdef", 22, id="bare CR"),
        pytest.param(b"GET / HTTP/2.0\r\nA: b", 16, id="version"),
        pytest.param(b"GET / HTTP/1.1\r\nA : b\r\nC: d", 23, id="field line"),
        pytest.param(b"A" * 17000, 16384, id="request line"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"A" * 17000, 16 + 16384, id="endless field line"),
        pytest.param(b"GET / HTTP/1.1\r\n" + (b"A: " + b"b" * 8000 + b"\r\n") * 5, 32768, id="head"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"A: 1\r\n" * 258, 16 + 257 * 6, id="fields"),
        pytest.param(b"\r\n" * 20000, 32768, id="empty lines"),
    ],
)
def test_refused_as_soon_as_known(data: bytes, at: int) -> None:
    decoder = RequestDecoder()
    for index in range(at - 1):
        assert decoder.decode(data[index : index + 1]) is None
    with pytest.raises(InvalidRequest):
        decoder.decode(data[at - 1 : at])


#: 32,768 bytes: request line 16, two field lines of 16,005, one of 740, the empty line.
FULL_HEAD = request((b"A: " + b"b" * 16000 + b"\r\n") * 2 + b"B: " + b"b" * 735 + b"\r\n")


@FEEDS
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET /" + b"a" * (16384 - 16) + b" HTTP/1.1\r\n\r\n", id="request line"),
        pytest.param(request(b"A: " + b"b" * (16384 - 5) + b"\r\n"), id="field line"),
        pytest.param(request(b"A: 1\r\n" * 256), id="fields"),
        pytest.param(FULL_HEAD, id="head"),
    ],
)
def test_limits_are_inclusive(feed: Feed, data: bytes) -> None:
    message = feed(RequestDecoder(), data)
    assert message is not None
    assert message.raw == data


def test_head_of_one_byte_more() -> None:
    assert len(FULL_HEAD) == 32768
    for data in (FULL_HEAD.replace(b"GET", b"POST"), b"GET /" + b"a" * (16384 - 15) + b" HTTP/1.1\r\n\r\n"):
        with pytest.raises(InvalidRequest) as caught:
            RequestDecoder().decode(data)
        assert caught.value.status == (431 if data.startswith(b"POST") else 414)


@pytest.mark.parametrize(
    ("limits", "fits", "does_not", "status"),
    [
        ({"max_header_line": 16}, b"GET / HTTP/1.1\r\nA: bcdefghijk\r\n\r\n", b"GET /a HTTP/1.1\r\n", 414),
        ({"max_header_line": 16}, b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nA: bcdefghijklm\r\n", 431),
        ({"max_header_size": 18}, b"GET / HTTP/1.1\r\n\r\n", b"\r\nGET / HTTP/1.1\r\n\r\n", 431),
        ({"max_headers": 1}, request(b"A: b\r\n"), request(b"A: b\r\nC: d\r\n"), 431),
    ],
    ids=str,
)
@FEEDS
def test_limits_that_are_given(feed: Feed, limits: dict[str, int], fits: bytes, does_not: bytes, status: int) -> None:
    message = feed(RequestDecoder(**limits), fits)
    assert message is not None
    assert message.raw == fits
    with pytest.raises(InvalidRequest) as caught:
        feed(RequestDecoder(**limits), does_not)
    assert caught.value.status == status
    answer = b"HTTP/1.1 200 OK\r\n"
    with pytest.raises(InvalidResponse):
        feed(ResponseDecoder(**limits), answer + b"A: bcdefghijklm\r\n" * 2 + b"\r\n")


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n"])
@pytest.mark.parametrize("limit", [None, 2**63 - 1, 10**30])
def test_no_limits(start: bytes, limit: int | None) -> None:
    data = start + b"A: " + b"b" * 100_000 + b"\r\n" + b"C: d\r\n" * 5000 + b"\r\n"
    make = RequestDecoder if start.startswith(b"GET") else ResponseDecoder
    decoder = make(max_header_line=limit, max_header_size=limit, max_headers=limit)
    half = len(data) // 2
    assert decoder.decode(data[:half]) is None
    assert decoder.held == half
    message = decoder.decode(data[half:])
    assert message is not None
    assert message.raw == data
    assert len(message.headers.items()) == 5001


@pytest.mark.parametrize("name", ["max_header_line", "max_header_size", "max_headers"])
@pytest.mark.parametrize("limit", [0, -1])
@pytest.mark.parametrize("decoder", [RequestDecoder, ResponseDecoder])
def test_limits_that_nothing_could_pass(name: str, limit: int, decoder: type[Decoder]) -> None:
    with pytest.raises(LocalProtocolError):
        decoder(**{name: limit})


@FEEDS
def test_fields_are_parsed_once(feed: Feed) -> None:
    """A request's fields are those that its decoder has parsed, until they are forgotten."""
    message = feed(RequestDecoder(), RFC_REQUEST)
    assert isinstance(message, RequestHead)
    fields = message.headers
    assert message.headers is fields
    assert message.parse_fields() is fields
    message.forget_fields()
    assert message.headers is not fields
    assert message.headers.items() == fields.items()
    # Asked for, they are not kept.
    assert message.headers is not message.headers
    assert message.parse_fields() is message.headers


@pytest.mark.parametrize("before", [b"G", b"G\r", b"\r", b"\r\n", b"GET / HTTP/1.1\r\n", RFC_REQUEST[:-2]])
def test_a_whole_request_in_the_second_piece_is_none_by_itself(before: bytes) -> None:
    """All bytes before it count, as in any other split."""
    split = outcome(RequestDecoder(), [before, RFC_REQUEST])
    assert split == outcome(RequestDecoder(), [before + RFC_REQUEST])
    assert split != outcome(RequestDecoder(), [RFC_REQUEST]) or before == b"\r\n"


def test_fields_that_are_there_several_times() -> None:
    fields = RequestHead(request(b"A: 1\r\nB: 2\r\na: 3\r\nA:\r\n")).headers
    assert [fields.has_several(name) for name in ("a", "b", "c")] == [True, False, False]
    assert (fields.get("A"), fields.get("b"), fields.get("c")) == ("1, 3, ", "2", None)
    assert (fields.get_all("a"), fields.get_all("B"), fields.get_all("C")) == (["1", "3", ""], ["2"], [])
    # A list of the caller's own.
    fields.get_all("a").append("4")
    assert fields.get_all("a") == ["1", "3", ""]
    assert fields.items() == [("A", "1"), ("B", "2"), ("a", "3"), ("A", "")]


def test_what_is_held_of_a_head() -> None:
    decoder = RequestDecoder()
    assert decoder.held == 0
    for place in range(len(RFC_REQUEST) - 1):
        decoder.decode(RFC_REQUEST[place : place + 1])
        assert decoder.held == place + 1
    decoder.decode(b"\n" + FRAME)
    assert decoder.held == 0
    refusing = RequestDecoder()
    refusing.decode(b"GET / HTTP/1.1\r\n")
    with pytest.raises(InvalidRequest):
        refusing.decode(b"\x00")
    assert refusing.held == 0


def test_has_started() -> None:
    decoder = RequestDecoder()
    assert decoder.decode(b"") is None
    assert not decoder.has_started
    assert decoder.decode(b"G") is None
    assert decoder.has_started
    assert decoder.decode(b"") is None
    assert decoder.has_started


@pytest.mark.parametrize(("decoder", "data"), [(RequestDecoder(), RFC_REQUEST), (ResponseDecoder(), RFC_RESPONSE)])
def test_one_head_a_decoder(decoder: Decoder, data: bytes) -> None:
    decoder.decode(data)
    with pytest.raises(LocalProtocolError):
        decoder.decode(data)


def test_refusal_repeats_nothing() -> None:
    for data in (b"GET /secret\r\n", request(b"secret: \x00\r\n"), request(b"secret : a\r\n"), request(b" secret\r\n")):
        with pytest.raises(InvalidRequest) as caught:
            RequestDecoder().decode(data)
        assert "secret" not in str(caught.value)


def test_build_request() -> None:
    message = RequestHead.build("GET", "/chat?a=b", [("Host", "a.example"), ("X-Empty", ""), ("X-Latin", "\xe9\t")])
    expected = b"GET /chat?a=b HTTP/1.1\r\nHost: a.example\r\nX-Empty: \r\nX-Latin: \xe9\t\r\n\r\n"
    assert message.encode() == message.raw == expected
    assert RequestHead.build("GET", "/").encode() == b"GET / HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"),
    [
        (101, [("Upgrade", "websocket")], b"", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"),
        (200, [], b"hi", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
        (404, [["A", "b"]], b"", b"HTTP/1.1 404 Not Found\r\nA: b\r\nContent-Length: 0\r\n\r\n"),
        (204, [], b"", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (304, [], b"", b"HTTP/1.1 304 Not Modified\r\n\r\n"),
        (599, [], b"", b"HTTP/1.1 599 \r\nContent-Length: 0\r\n\r\n"),
    ],
)
def test_build_response(status: int, headers: list[tuple[str, str]], body: bytes, expected: bytes) -> None:
    message = ResponseHead.build(status, headers, body)
    assert message.encode() == expected
    assert (message.status, message.body) == (status, body)
    decoder = ResponseDecoder()
    assert decoder.decode(expected) is not None
    assert decoder.unread == body


def test_a_field_by_default() -> None:
    answer = ResponseHead.build(403, [("A", "b")], b"no")
    dated = answer.with_default("Date", "Sun, 06 Nov 1994 08:49:37 GMT")
    assert dated.encode() == (
        b"HTTP/1.1 403 Forbidden\r\nA: b\r\nContent-Length: 2\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\nno"
    )
    assert dated.with_default("DATE", "now") is dated
    with pytest.raises(LocalProtocolError):
        answer.with_default("Date", "now\r\nA: b")


def test_a_field_more() -> None:
    answer = ResponseHead.build(403, [("Set-Cookie", "a=b")], b"no").with_field("Set-Cookie", "c=d")
    assert answer.encode() == (
        b"HTTP/1.1 403 Forbidden\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\nSet-Cookie: c=d\r\n\r\nno"
    )
    with pytest.raises(LocalProtocolError):
        answer.with_field("Set-Cookie", "a=b\r\nX: y")


# A request that another reader has parsed

PARSED = [(b"Host", b"example.com"), (b"X-A", b" one"), (b"x-a", b"two\t"), (b"X-B", b"\xe9"), (b"X-A", b"")]


def test_a_request_of_another_reader() -> None:
    head = RequestHead.take_over(b"GET", b"/a%20b?c", b"HTTP/1.1", PARSED)
    assert (head.method, head.target, head.version) == ("GET", "/a%20b?c", "1.1")
    assert (head.path, head.query) == ("/a%20b", "c")
    # Its fields are in no bytes that could be read again.
    assert head.raw == b"GET /a%20b?c HTTP/1.1\r\n\r\n"
    assert head.size == 25 + 19 + 10 + 10 + 8 + 7
    for _ in range(2):
        headers = head.headers
        assert headers.items() == [
            ("Host", "example.com"),
            ("X-A", "one"),
            ("x-a", "two"),
            ("X-B", "\xe9"),
            ("X-A", ""),
        ]
        assert headers.get("x-A") == "one, two, "
        assert headers.get_all("X-A") == ["one", "two", ""]
        assert headers.has_several("x-a")
        assert not headers.has_several("x-b")
        assert "HOST" in headers
        # They are kept whatever is forgotten.
        head.forget_fields()


def test_the_items_of_another_reader_stay_as_they_are() -> None:
    head = RequestHead.take_over(b"GET", b"/", b"HTTP/1.1", [(b"A", b"b")])
    head.headers.items().append(("C", "d"))
    assert head.headers.items() == [("A", "b")]


def test_the_size_of_a_request_that_came_as_bytes() -> None:
    assert RequestHead(b"GET / HTTP/1.1\r\nA: b\r\n\r\n").size == 24


@pytest.mark.parametrize(
    ("line", "fields", "reason"),
    [
        ((b"G T", b"/", b"HTTP/1.1"), [], "not an HTTP request line"),
        ((b"GET", b"/ /", b"HTTP/1.1"), [], "not an HTTP request line"),
        ((b"GET", b"/\xe9", b"HTTP/1.1"), [], "not an HTTP request line"),
        ((b"GET", b"/", b"HTTP/2"), [], "not an HTTP request line"),
        ((b"GET", b"/", b"HTTP/1.1\r\nA: b"), [], "not an HTTP request line"),
        ((b"GET", b"/", b"HTTP/1.1"), [(b"A:", b"b")], "a header line without a field name that is a token"),
        ((b"GET", b"/", b"HTTP/1.1"), [(b"A\n", b"b")], "a header line without a field name that is a token"),
        ((b"GET", b"/", b"HTTP/1.1"), [(b"", b"b")], "a header line without a field name that is a token"),
        ((b"GET", b"/", b"HTTP/1.1"), [(b"A", b"b\r\nC: d")], "a control character or a bare CR"),
        ((b"GET", b"/", b"HTTP/1.1"), [(b"A", b"b\n")], "a control character or a bare CR"),
        ((b"GET", b"/", b"HTTP/1.1"), [(b"A", b"\0")], "a control character or a bare CR"),
        ((b"GET", b"/", b"HTTP/1.1"), [(b"Host", b"a"), (b"host", b"a")], "more than one Host"),
    ],
)
def test_a_request_of_another_reader_that_is_none(
    line: tuple[bytes, bytes, bytes], fields: list[tuple[bytes, bytes]], reason: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        RequestHead.take_over(*line, fields)
    assert (str(caught.value), caught.value.status) == (reason, 400)


BAD_FIELDS = [
    [("A", "b\r\nX: y")],
    [("A", "b\n")],
    [("A", "b\r")],
    [("A", "b\x00")],
    [("A", "\x7f")],
    [("A", "\u20ac")],
    [("A\r\nB", "c")],
    [("A:", "b")],
    [("A\n", "b")],
    [("", "b")],
    [("\u00e9", "b")],
    [("A", 1)],
    [(b"A", "b")],
    [("A", "b", "c")],
    ["AB"],
    {"A": "b"},
]


@pytest.mark.parametrize("headers", BAD_FIELDS)
def test_build_refuses_fields(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(LocalProtocolError):
        RequestHead.build("GET", "/", headers)
    with pytest.raises(LocalProtocolError):
        ResponseHead.build(200, headers)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("G T", "/"),
        ("", "/"),
        ("GET\r\n", "/"),
        ("GET", "/a b"),
        ("GET", ""),
        ("GET", "/\r\nX: y"),
        ("GET", "/\u00e9"),
        ("GET", "/\n"),
    ],
)
def test_build_refuses_request_lines(method: str, target: str) -> None:
    with pytest.raises(LocalProtocolError):
        RequestHead.build(method, target)


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (99, [], b""),
        (600, [], b""),
        (200, [("content-length", "2")], b"hi"),
        (200, [("Transfer-Encoding", "chunked")], b""),
        (101, [("Content-Length", "0")], b""),
        (101, [], b"x"),
        (204, [], b"x"),
        (304, [], b"x"),
    ],
)
def test_build_refuses_responses(status: int, headers: list[tuple[str, str]], body: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        ResponseHead.build(status, headers, body)


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"A": "b"}, "headers is a sequence of pairs of str, not dict: write list(headers.items())"),
        ("A: b", "headers is a sequence of pairs of str, not str: write [(name, value), ...]"),
        (b"A: b", "headers is a sequence of pairs of str, not bytes: write [(name, value), ...]"),
        (None, "headers is a sequence of pairs of str, not None: write [(name, value), ...]"),
        (["AB"], "headers are pairs of str: [(name, value), ...]"),
        ([(b"A", "b")], 'the name of a header is a str, not bytes: write name.decode("latin-1")'),
        ([(5, "b")], "the name of a header is a str, not int"),
        ([("A", b"b")], 'the value of A is a str, not bytes: write value.decode("latin-1")'),
        ([("A", 5)], "the value of A is a str, not int: write str(value)"),
    ],
)
def test_a_wrong_type_of_a_field_is_named(headers: object, told: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        http.check_fields(headers)
    assert str(caught.value) == told


def test_fields_that_are_given_once() -> None:
    assert ResponseHead.build(204, iter([("A", "b")])).raw.endswith(b"\r\nA: b\r\n\r\n")


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        ("200", b"", "status is an int such as 403, not str"),
        (None, b"", "status is an int such as 403, not None"),
        (99, b"", "status is from 100 to 599, not 99"),
        (200, "text", "body is bytes, not str: write body.encode()"),
        (200, None, "body is bytes, not None"),
    ],
)
def test_a_wrong_type_of_a_response_is_named(status: object, body: object, told: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        ResponseHead.build(status, (), body)
    assert str(caught.value) == told


def test_a_response_takes_what_is_like_bytes_and_like_an_int() -> None:
    for body in (b"no", bytearray(b"no"), memoryview(b"no")):
        assert ResponseHead.build(HTTPStatus.FORBIDDEN, (), body).encode().startswith(b"HTTP/1.1 403 Forbidden\r\n")
        assert ResponseHead.build(403, (), body).encode().endswith(b"Content-Length: 2\r\n\r\nno")


@pytest.mark.parametrize(("method", "target"), [(None, "/"), (b"GET", "/"), ("GET", None), ("GET", b"/")])
def test_a_wrong_type_of_a_request(method: object, target: object) -> None:
    with pytest.raises(LocalProtocolError):
        RequestHead.build(method, target)


@pytest.mark.parametrize("decoder", [RequestDecoder, ResponseDecoder])
@pytest.mark.parametrize("limit", ["max_header_line", "max_header_size", "max_headers"])
def test_what_is_no_limit_of_a_head(decoder: type[Decoder], limit: str) -> None:
    for value in ("1", 1.0, float("nan"), True, [1]):
        with pytest.raises(LocalProtocolError, match="a limit of a head is a whole number, or None, not "):
            decoder(**{limit: value})


@pytest.mark.parametrize("decoder", [RequestDecoder, ResponseDecoder])
def test_decoders_take_bytes(decoder: type[Decoder]) -> None:
    decoding = decoder()
    for data in ("GET / HTTP/1.1", None, 5, [71]):
        with pytest.raises(LocalProtocolError, match="data is bytes, not"):
            decoding.decode(data)
    assert not decoding.has_started
    head = RFC_REQUEST if decoder is RequestDecoder else RFC_RESPONSE
    assert decoding.decode(bytearray(head[:9])) is None
    message = decoding.decode(memoryview(head)[9:])
    assert message is not None
    assert message.raw == head


def test_tokens_and_reasons() -> None:
    assert http.is_token("chat.v1")
    assert not any(map(http.is_token, ["", "a b", "a,b", "a\n", "\u00e9", '"a"']))
    assert (http.REASONS[400], http.REASONS[426], http.REASONS[431]) == (
        "Bad Request",
        "Upgrade Required",
        "Request Header Fields Too Large",
    )


PIECES = [
    *(b"GET / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"Host: a\r\n", b"A: b\r\n"),
    *(b"\r\n", b"\r", b"\n", b" ", b":", b"\x00", b"\xff", b" c\r\n"),
    *(b"A" * 8000, b"A: " + b"b" * 8000 + b"\r\n", b"C: d\r\n" * 128),
]
HEADS = st.one_of(
    st.binary(max_size=100),
    st.tuples(st.sampled_from([b"GET / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n", b""]), st.lists(st.sampled_from(PIECES)))
    .map(lambda drawn: drawn[0] + b"".join(drawn[1])),
    st.sampled_from([RFC_REQUEST + FRAME, RFC_RESPONSE + FRAME]),
)  # fmt: skip


@given(HEADS, st.data(), st.sampled_from([RequestDecoder, ResponseDecoder]))
def test_any_bytes_in_any_split(data: bytes, draw: st.DataObject, decoder: type[Decoder]) -> None:
    """The same outcome for every split, and never an exception but the documented ones."""
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=20)))
    chunks = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    expected = outcome(decoder(), [data])
    assert outcome(decoder(), chunks) == expected
    if len(data) <= 600:
        assert outcome(decoder(), [data[index : index + 1] for index in range(len(data))]) == expected


@given(
    st.lists(
        st.tuples(
            st.one_of(st.just("Host"), st.text("!#$%&'*+-.^_`|~09AZaz", min_size=1, max_size=10)),
            st.text(st.characters(max_codepoint=255), max_size=20),
        ),
        max_size=4,
    )
)
def test_what_is_built_is_decoded(headers: list[tuple[str, str]]) -> None:
    """No text of an application can make a head that reads as another."""
    try:
        message = RequestHead.build("GET", "/", headers)
    except LocalProtocolError:
        return
    try:
        decoded = RequestDecoder().decode(message.encode())
    except InvalidRequest:
        assert sum(name.lower() == "host" for name, _ in headers) > 1
        return
    assert decoded is not None
    assert decoded.headers.items() == [(name, value.strip(" \t")) for name, value in headers]


def cost(data: bytes, size: int, make: Callable[[], Decoder]) -> Measure:
    """Fed in pieces of so many bytes."""

    def decode() -> None:
        decoder = make()
        for index in range(0, len(data), size):
            decoder.decode(data[index : index + size])

    return lambda: spent(decode)


@pytest.mark.growth
@pytest.mark.parametrize("unit", [b"a", b"A: b\tc d\r\n" * 4])
def test_time_is_linear(unit: bytes) -> None:
    """CVE-2023-43669: a head of single bytes must not be read again from its start (or its line's)."""
    small, large = (b"GET / HTTP/1.1\r\nX: 1\r\n" + (unit * 8000)[:size] for size in (150, 2400))
    if unit == b"a":
        small, large = (b"GET /" + unit * size for size in (1000, 16_000))
    assertLinear(cost(small, 1, RequestDecoder), cost(large, 1, RequestDecoder))


def unlimited() -> RequestDecoder:
    return RequestDecoder(max_header_line=None, max_header_size=None, max_headers=None)


def unlimited_client() -> ResponseDecoder:
    return ResponseDecoder(max_header_line=None, max_header_size=None, max_headers=None)


@pytest.mark.growth
@pytest.mark.parametrize("size", [100, 10**9])
@pytest.mark.parametrize(
    ("start", "unit", "end"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nX: ", b"a ", b"\r\n\r\n", id="line"),
        pytest.param(b"GET / HTTP/1.1\r\n", b"X: 1\r\n", b"\r\n", id="fields"),
        pytest.param(b"", b"\r\n", b"GET / HTTP/1.1\r\n\r\n", id="empty lines"),
        pytest.param(b"HTTP/1.1 403 No\r\nX: y\r\n", b" z\r\n", b"\r\n", id="folds"),
        pytest.param(b"HTTP/1.1 403 No\r\nX: y\r\n", b" \r\n", b"\r\n", id="empty folds"),
        pytest.param(b"HTTP/1.1 403 No\r\nX: y\r\n z", b" ", b"\r\n z\r\n\r\n", id="spaces before a fold"),
    ],
)
def test_time_is_linear_without_limits(start: bytes, unit: bytes, end: bytes, size: int) -> None:
    make = unlimited_client if start.startswith(b"HTTP") else unlimited
    small, large = (start + unit * count + end for count in (2_500, 40_000))
    assertLinear(cost(small, size, make), cost(large, size, make))
