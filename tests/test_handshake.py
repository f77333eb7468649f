"""The opening handshake: the RFC's own examples, each refusal with its status, Origin, and what a client accepts."""

import base64
import contextlib
import os

import pytest
from growth import Measure, assertLinear, spent
from hypothesis import given
from hypothesis import strategies as st

from wsock.sansio import handshake
from wsock.sansio.errors import (
    ConnectionRejected,
    InvalidRequest,
    InvalidResponse,
    InvalidURL,
    LocalProtocolError,
)
from wsock.sansio.extensions import Extension
from wsock.sansio.handshake import Opening
from wsock.sansio.http import RequestHead, ResponseHead
from wsock.sansio.url import parse

#: RFC 6455 section 1.3.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
#: RFC 6455 section 1.2, but for the Origin, which is its own test.
FIELDS = (
    "Host: server.example.com",
    "Upgrade: websocket",
    "Connection: Upgrade",
    f"Sec-WebSocket-Key: {KEY}",
    "Sec-WebSocket-Version: 13",
)
PROTOCOL = "Sec-WebSocket-Protocol"
EXTENSIONS = "Sec-WebSocket-Extensions"


def request(*more: str, without: str | tuple[str, ...] = (), start: str = "GET /chat HTTP/1.1") -> RequestHead:
    """The RFC's request with fields added, and without those whose name is given."""
    left_out = (without,) if isinstance(without, str) else without
    fields = [field for field in FIELDS if field.partition(":")[0] not in left_out]
    return RequestHead("\r\n".join([start, *fields, *more, "", ""]).encode("latin-1"))


def replaced(field: str, start: str = "GET /chat HTTP/1.1") -> RequestHead:
    return request(field, without=field.partition(":")[0], start=start)


def refused(bad: RequestHead, allowed_origins: tuple[str, ...] | None = None) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        handshake.handle_open(bad, allowed_origins=allowed_origins)
    return caught.value


def test_accept_key() -> None:
    assert handshake.accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    # RFC 7936 has none; this pair is Wikipedia's.
    assert handshake.accept_key("x3JJHMbDL1EzLkh9GBhXDw==") == "HSmrc0sMlYUkAGmm5OPpG2HaGWk="


def test_generate_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {handshake.generate_key() for _ in range(100)}
    assert len(keys) == 100
    assert {len(base64.b64decode(key, validate=True)) for key in keys} == {16}
    monkeypatch.setattr(os, "urandom", lambda size: b"the sample nonce"[:size])
    assert handshake.generate_key() == KEY


def test_opening() -> None:
    head = request(
        "Origin: http://server.example.com",
        f"{PROTOCOL}: chat, superchat",
        f"{PROTOCOL}: a.b",
        f"{EXTENSIONS}: permessage-deflate; client_max_window_bits",
        f"{EXTENSIONS}: foo",
    )
    opening = handshake.handle_open(head)
    assert opening.request is head
    assert (opening.key, opening.host, opening.origin) == (KEY, "server.example.com", "http://server.example.com")
    assert opening.subprotocols == ["chat", "superchat", "a.b"]
    assert opening.extensions == [
        Extension("permessage-deflate", [("client_max_window_bits", None)]),
        Extension("foo"),
    ]


def test_smallest_opening() -> None:
    opening = handshake.handle_open(request())
    assert (opening.origin, opening.subprotocols, opening.extensions) == (None, [], [])


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(replaced("Connection: keep-alive, Upgrade"), id="H07 Firefox"),
        pytest.param(replaced("CONNECTION:keep-alive ,\tUPGRADE"), id="any case"),
        pytest.param(request("Connection: keep-alive", "Connection: upgrade", without="Connection"), id="two fields"),
        pytest.param(replaced("Upgrade: h2c, WebSocket"), id="one of several protocols"),
        pytest.param(request("Content-Length: 0"), id="Content-Length 0"),
        pytest.param(replaced("Host: [::1]:8080"), id="IPv6"),
        pytest.param(replaced("Host: a.example:"), id="empty port"),
        pytest.param(request(f"{PROTOCOL}: ,a,, b,"), id="empty elements"),
        pytest.param(request(f"{PROTOCOL}:"), id="empty list"),
        pytest.param(request(f"{EXTENSIONS}:"), id="empty extensions"),
        pytest.param(request("User-Agent: \xe9\xff"), id="H23"),
        pytest.param(request(f"{EXTENSIONS}: permessage-deflate; server_max_window_bits=99"), id="H18"),
        pytest.param(request(f"{EXTENSIONS}: permessage-deflate; a; a"), id="H20"),
        pytest.param(request(f"{EXTENSIONS}: __class__; __proto__; constructor=x"), id="names of attributes"),
    ],
)
def test_accepted(head: RequestHead) -> None:
    assert handshake.wants_websocket(head)
    opening = handshake.handle_open(head)
    assert handshake.response(opening).encode() == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(request(without="Sec-WebSocket-Key"), id="H01"),
        pytest.param(replaced("Sec-WebSocket-Key:"), id="empty Key"),
        pytest.param(replaced("Sec-WebSocket-Key: c2hvcnQ="), id="H02"),
        pytest.param(replaced("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSE="), id="17 bytes"),
        pytest.param(replaced("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j_Q=="), id="another alphabet"),
        pytest.param(replaced("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"), id="no padding"),
        pytest.param(replaced("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQA=="), id="25 characters"),
        pytest.param(request(f"Sec-WebSocket-Key: {KEY}"), id="H08 two Keys"),
        pytest.param(request(without="Host"), id="H14"),
        pytest.param(request("Host: server.example.com"), id="H15"),
        pytest.param(replaced("Host:"), id="empty Host"),
        pytest.param(replaced("Host: a b"), id="Host with a space"),
        pytest.param(replaced("Host: a/b"), id="Host with a path"),
        pytest.param(replaced("Host: user@a"), id="Host with a user"),
        pytest.param(replaced("Host: a:b"), id="Host with a bad port"),
        pytest.param(replaced("Host: \xe9.example"), id="Host outside ASCII"),
        pytest.param(request("Content-Length: 5"), id="H16"),
        pytest.param(request("Content-Length: 0", "Content-Length: 0"), id="two lengths"),
        *(pytest.param(request(f"Content-Length:{x}"), id=f"length {x}") for x in ("", "+0", "0x0", "-0", "0, 0", "O")),
        pytest.param(request("Transfer-Encoding: chunked"), id="H17"),
        pytest.param(request("Transfer-Encoding: identity"), id="any Transfer-Encoding"),
        pytest.param(request(without="Connection"), id="no Connection"),
        pytest.param(replaced("Connection: keep-alive"), id="Connection without upgrade"),
        pytest.param(replaced("Connection: upgraded"), id="a longer token"),
        pytest.param(request(without="Sec-WebSocket-Version"), id="no Version"),
        pytest.param(request("Sec-WebSocket-Version: 13"), id="two Versions"),
        pytest.param(request("Origin: http://a", "Origin: http://a"), id="two Origins"),
        pytest.param(request(f"{PROTOCOL}: a b"), id="subprotocol that is no token"),
        pytest.param(request(f"{PROTOCOL}: a, b, a"), id="subprotocol twice"),
        pytest.param(request(f"{PROTOCOL}: a", f"{PROTOCOL}: a"), id="subprotocol in two fields"),
        pytest.param(request(f"{EXTENSIONS}: permessage-deflate; a=\"b"), id="H19"),
        pytest.param(request(f"{EXTENSIONS}: a b"), id="malformed extensions"),
        *(
            pytest.param(request(start=f"GET {target} HTTP/1.1"), id=f"target {target}")
            for target in ("*", "chat", "a.example:80", "/chat#a", "ftp://a/b", "http:///a", "http://u@a/b", "http://a#b")
        ),
    ],
)  # fmt: skip
def test_malformed(head: RequestHead) -> None:
    error = refused(head, ("*",))
    assert (error.status, error.headers) == (400, ())
    # The body names the rule, and nothing of the request.
    body = b"Bad Request: " + str(error).encode()
    assert handshake.refusal(error).encode() == (
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    )


UPGRADE_REQUIRED = (
    b"HTTP/1.1 426 Upgrade Required\r\nConnection: close, Upgrade\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nContent-Length: %d\r\n\r\nUpgrade Required: %s"
)


@pytest.mark.parametrize("version", ["213", "8", "12", "0", "130", "013", "13.0", "+13", "", "13, 8", "x"])
def test_other_versions(version: str) -> None:
    """H03, and the unanchored pattern of the original that took "213" for 13."""
    error = refused(replaced(f"Sec-WebSocket-Version: {version}"))
    assert error.status == 426
    assert handshake.refusal(error).encode() == UPGRADE_REQUIRED % (55, b"a Sec-WebSocket-Version other than 13")


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(request(without="Upgrade"), id="H06"),
        pytest.param(replaced("Upgrade: h2c"), id="another protocol"),
        pytest.param(replaced("Upgrade: websockets"), id="a longer token"),
        pytest.param(replaced("Upgrade:"), id="empty"),
    ],
)
def test_no_websocket(head: RequestHead) -> None:
    assert not handshake.wants_websocket(head)
    error = refused(head)
    assert error.status == 426
    assert handshake.refusal(error).encode() == UPGRADE_REQUIRED % (41, b"no 'Upgrade: websocket'")


@pytest.mark.parametrize("method", ["POST", "HEAD", "get", "CONNECT"])
def test_other_methods(method: str) -> None:
    """H04."""
    head = request(start=f"{method} /chat HTTP/1.1")
    assert handshake.wants_websocket(head)
    error = refused(head)
    assert error.status == 405
    assert handshake.refusal(error).encode() == (
        b"HTTP/1.1 405 Method Not Allowed\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Allow: GET\r\nContent-Length: 43\r\n\r\nMethod Not Allowed: a method other than GET"
    )


@pytest.mark.parametrize("version", ["1.0", "1.2", "1.9"])
@pytest.mark.parametrize("without", [(), "Upgrade"])
def test_other_versions_of_http(version: str, without: str) -> None:
    """H05: what else may be asked for by HTTP/1.0 is not decided here."""
    error = refused(request(without=without, start=f"GET /chat HTTP/{version}"))
    body = b"HTTP Version Not Supported: " + str(error).encode()
    assert handshake.refusal(error).encode() == (
        b"HTTP/1.1 505 HTTP Version Not Supported\r\nConnection: close\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    )


def test_a_refusal_of_any_status() -> None:
    answer = handshake.refusal(InvalidRequest("a rule of one's own", 499))
    assert answer.encode().startswith(b"HTTP/1.1 499 \r\n")
    assert answer.body == b"Refused: a rule of one's own"


def test_order_of_refusals() -> None:
    """The first of what is wrong decides; each row mends what decided before."""
    wrong = ("Origin: https://evil.example", "Sec-WebSocket-Version: 8")
    rows = [
        (request(*wrong, without=("Upgrade", "Host", "Sec-WebSocket-Version"), start="POST / HTTP/1.0"), 505),
        (request(*wrong, without=("Upgrade", "Host", "Sec-WebSocket-Version"), start="POST / HTTP/1.1"), 426),
        (request(*wrong, without=("Host", "Sec-WebSocket-Version"), start="POST / HTTP/1.1"), 405),
        (request(*wrong, without=("Host", "Sec-WebSocket-Version")), 400),
        (request(*wrong, without="Sec-WebSocket-Version"), 426),
        (request(wrong[0]), 403),
    ]
    assert [refused(head).status for head, _ in rows] == [status for _, status in rows]


def origin(value: str, host: str = "a.example", allowed: tuple[str, ...] | None = None, target: str = "/") -> bool:
    head = request(f"Host: {host}", f"Origin: {value}", without="Host", start=f"GET {target} HTTP/1.1")
    try:
        return handshake.handle_open(head, allowed_origins=allowed).origin == value
    except InvalidRequest as error:
        answer = handshake.refusal(error).raw
    assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\n")
    return False


@pytest.mark.parametrize(
    ("value", "host", "accepted"),
    [
        ("https://a.example", "a.example", True),
        ("http://a.example", "a.example", True),
        ("HTTPS://A.EXAMPLE", "a.example", True),
        ("https://a.example", "A.Example", True),
        ("https://a.example", "a.example:443", True),
        ("https://a.example:443", "a.example", True),
        ("https://a.example:", "a.example:", False),
        ("https://a.example", "a.example:", True),
        ("https://A.example:81", "A.example:81", True),
        ("http://a.example", "a.example:80", True),
        ("http://a.example", "a.example:", True),
        ("http://a.example:8080", "a.example:8080", True),
        ("http://[::1]:8080", "[::1]:8080", True),
        ("https://a.example", "a.example:80", False),
        ("http://a.example", "a.example:443", False),
        ("http://a.example", "a.example:8080", False),
        ("http://a.example:8080", "a.example", False),
        ("https://evil.example", "a.example", False),
        ("https://a.example.evil", "a.example", False),
        ("https://evil.a.example", "a.example", False),
        ("https://a.example/", "a.example", False),
        ("https://a.example https://a.example", "a.example", False),
        ("null", "null", False),
        ("", "a.example", False),
        ("a.example", "a.example", False),
        ("file://", "a.example", False),
        ("https://user@a.example", "a.example", False),
        ("https://\xe9.example", "a.example", False),
    ],
)
def test_origin_of_the_same_host(value: str, host: str, accepted: bool) -> None:
    """H21 with the default; the scheme isn't compared, TLS may end in a proxy."""
    assert origin(value, host) is accepted


def test_origin_and_absolute_form() -> None:
    """RFC 9112 section 3.2.2: the target's authority counts, not Host."""
    assert origin("https://a.example", "evil.example", target="https://A.example/chat")
    assert not origin("https://evil.example", "evil.example", target="https://a.example/chat")
    assert handshake.handle_open(request(start="GET http://a.example:81/b HTTP/1.1")).host == "a.example:81"


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        ("https://a.example", True),
        ("https://A.EXAMPLE", True),
        ("https://a.example:443", True),
        ("http://b.example:8080", True),
        ("https://a.example.evil", False),
        ("https://a.example:444", False),
        ("http://a.example", False),
        ("https://evil-a.example", False),
        ("https://a.example/", False),
        ("http://b.example", False),
        ("http://server.example.com", False),
        ("null", False),
    ],
)
def test_origin_of_a_list(value: str, accepted: bool) -> None:
    allowed = ("https://a.example", "HTTP://b.example:08080")
    handshake.check_origins(allowed)
    assert origin(value, "server.example.com", allowed) is accepted
    # An empty list allows no page at all.
    assert not origin(value, "a.example", ())


@pytest.mark.parametrize("value", ["null", "file://"])
def test_origins_without_a_host(value: str) -> None:
    """They are let in where they are named, and nowhere else."""
    allowed = ("https://a.example", value)
    handshake.check_origins(allowed)
    assert origin(value, allowed=allowed)
    assert origin("https://a.example", allowed=allowed)
    for other in ("null", "file://", "NULL", "FILE://", "null ", "file:///", "file://a", "null, null", "https://null"):
        if other.strip() != value:
            assert not origin(other, allowed=allowed)
    for host in ("null", "file", "a.example"):
        assert not origin(value, host, None)
        assert not origin(value, host, ())
        assert not origin(value, host, ("https://null", "file://a"))


@pytest.mark.parametrize("value", ["https://evil.example", "null", "file://", ""])
def test_any_origin(value: str) -> None:
    assert origin(value, allowed=("*",))


@pytest.mark.parametrize("allowed", [None, (), ("https://a.example",), ("*",)])
def test_no_origin_is_allowed(allowed: tuple[str, ...] | None) -> None:
    handshake.check_origins(allowed)
    assert handshake.handle_open(request(), allowed_origins=allowed).origin is None


@pytest.mark.parametrize(
    "allowed",
    [
        "https://a.example",
        "*",
        ("https://a.example/",),
        ("https://a.example/chat",),
        ("a.example",),
        ("https://*.example",),
        ("NULL",),
        ("file:",),
        ("file:///",),
        ("null", "*"),
        ("",),
        ("*", "https://a.example"),
        ("https://b\u00fccher.example",),
        ("https://a.example:port",),
        ("https://user@a.example",),
    ],
)
def test_check_origins(allowed: tuple[str, ...]) -> None:
    with pytest.raises(LocalProtocolError):
        handshake.check_origins(allowed)


def opening(*more: str) -> Opening:
    return handshake.handle_open(request(f"{PROTOCOL}: chat, superchat", f"{EXTENSIONS}: foo; a, bar", *more))


def test_response() -> None:
    """RFC 6455 section 1.2's answer, with fields of the application."""
    answer = handshake.response(
        opening(),
        subprotocol="chat",
        extensions=[Extension("foo", [("b", "1")])],
        headers=[("Set-Cookie", "a=b"), ("Set-Cookie", "c=d")],
    )
    assert answer.encode() == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n"
        b"Sec-WebSocket-Extensions: foo; b=1\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\r\n"
    )


def test_fields_of_many_responses() -> None:
    """They are checked once, and give the same answer as those that are checked each time."""
    fields = [("Set-Cookie", "a=b"), ("Server", "\xe9"), ("Set-Cookie", "c=d")]
    ready = handshake.ReadyFields(iter(fields))
    assert ready.fields == tuple(fields)
    for _ in range(2):
        answer = handshake.response(opening(), subprotocol="chat", headers=ready)
        assert answer.encode() == (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n"
            b"Set-Cookie: a=b\r\nServer: \xe9\r\nSet-Cookie: c=d\r\n\r\n"
        )


@pytest.mark.parametrize("name", ["upgrade", "Connection", "Content-Length", "Sec-WebSocket-Accept", "X y", "X\r\nY"])
def test_fields_of_many_responses_are_checked(name: str) -> None:
    with pytest.raises(LocalProtocolError):
        handshake.ReadyFields([(name, "x")])


@pytest.mark.parametrize(
    "arguments",
    [
        {"subprotocol": "other"},
        {"subprotocol": "Chat"},
        {"subprotocol": ""},
        {"subprotocol": "chat\r\nX: y"},
        {"extensions": [Extension("baz")]},
        *({"headers": [(name, "x")]} for name in ("upgrade", "Connection", "CONTENT-LENGTH", "Transfer-Encoding")),
        *({"headers": [(name, "x")]} for name in ("Sec-WebSocket-Accept", "sec-websocket-protocol", "Sec-WebSocket-X")),
        {"headers": [("X", "y\r\nZ: a")]},
        {"headers": [("X y", "z")]},
        {"headers": {"X": "y"}},
    ],
)
def test_response_refuses(arguments: dict[str, object]) -> None:
    with pytest.raises(LocalProtocolError):
        handshake.response(opening(), **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"),
    [
        (
            503,
            [("Retry-After", "5")],
            b"",
            (
                b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
                b"Retry-After: 5\r\nContent-Length: 19\r\n\r\nService Unavailable"
            ),
        ),
        (
            401,
            [("content-type", "text/html"), ("WWW-Authenticate", "Basic")],
            b"<p>",
            (
                b"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\ncontent-type: text/html\r\n"
                b"WWW-Authenticate: Basic\r\nContent-Length: 3\r\n\r\n<p>"
            ),
        ),
        (204, [], b"", b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"),
        (304, [("ETag", '"a"')], b"", b'HTTP/1.1 304 Not Modified\r\nConnection: close\r\nETag: "a"\r\n\r\n'),
        (426, [], b"no", UPGRADE_REQUIRED.replace(b"Upgrade Required: %s", b"no") % 2),
        (
            426,
            [("upgrade", "h2c")],
            b"",
            (
                b"HTTP/1.1 426 Upgrade Required\r\nConnection: close, Upgrade\r\n"
                b"Content-Type: text/plain; charset=utf-8\r\nupgrade: h2c\r\nContent-Length: 16\r\n\r\nUpgrade Required"
            ),
        ),
        (
            499,
            [],
            b"",
            (
                b"HTTP/1.1 499 \r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
                b"Content-Length: 0\r\n\r\n"
            ),
        ),
    ],
)
def test_refuse(status: int, headers: list[tuple[str, str]], body: bytes, expected: bytes) -> None:
    assert handshake.refuse(status, headers, body).encode() == expected


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (101, [], b""),
        (199, [], b""),
        (600, [], b""),
        (204, [], b"x"),
        (403, [("Connection", "keep-alive")], b""),
        (403, [("Content-Length", "0")], b""),
        (403, [("transfer-encoding", "chunked")], b""),
        (302, [("Location", "/\r\nSet-Cookie: a=b")], b""),
    ],
)
def test_refuse_refuses(status: int, headers: list[tuple[str, str]], body: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        handshake.refuse(status, headers, body)


def test_refusal_repeats_nothing() -> None:
    error = refused(request("Origin: https://<script>.example", start="GET /<script>?secret HTTP/1.1"))
    assert b"script" not in handshake.refusal(error).encode()
    assert b"secret" not in handshake.refusal(error).encode()
    assert "script" not in str(error)


def test_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", lambda size: b"the sample nonce"[:size])
    head = handshake.open(
        "ws://server.example.com/chat?a=b",
        headers=[("Origin", "http://example.com"), ("Cookie", "a=b"), ("Authorization", "x"), ("User-Agent", "y")],
        subprotocols=["chat", "superchat"],
        extensions=[Extension("foo", [("a", None)]), Extension("bar")],
    )
    assert head.encode() == (
        b"GET /chat?a=b HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Extensions: foo; a, bar\r\n"
        b"Origin: http://example.com\r\nCookie: a=b\r\nAuthorization: x\r\nUser-Agent: y\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("ws://a.example:9001/", "a.example:9001"),
        ("ws://a.example:80/", "a.example"),
        ("wss://a.example:80/", "a.example:80"),
        ("wss://[::1]", "[::1]"),
    ],
)
def test_open_writes_host(text: str, host: str) -> None:
    """C22."""
    head = handshake.open(parse(text))
    assert head.headers.get_all("Host") == [host]
    assert (head.method, head.target) == ("GET", "/")
    assert handshake.handle_open(head).host == host
    assert PROTOCOL not in head.headers
    assert EXTENSIONS not in head.headers


@pytest.mark.parametrize(
    "arguments",
    [
        *({"headers": [(name, "x")]} for name in ("host", "Upgrade", "Connection", "Content-Length")),
        *({"headers": [(name, "x")]} for name in ("Transfer-Encoding", "sec-websocket-key", EXTENSIONS)),
        {"headers": [("X", "y\r\nZ: a")]},
        {"headers": ["AB"]},
        {"subprotocols": ["a", "a"]},
        {"subprotocols": ["a b"]},
        {"subprotocols": [""]},
        {"subprotocols": ["chat\r\nX: y"]},
        {"subprotocols": "chat"},
        {"extensions": [Extension("a b")]},
    ],
)
def test_open_refuses(arguments: dict[str, object]) -> None:
    """C18 and C19."""
    with pytest.raises(LocalProtocolError):
        handshake.open("ws://a.example/", **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["ws://a.example/\r\nX: y", "ws://a.example/#a", "http://a.example"])
def test_open_refuses_urls(text: str) -> None:
    """C17 and C21."""
    with pytest.raises(InvalidURL):
        handshake.open(text)


ASKED = request(f"{PROTOCOL}: chat, superchat", f"{EXTENSIONS}: foo; a, bar, bar; b")
ANSWER = ("Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {ACCEPT}")


def answer(*fields: str, start: str = "HTTP/1.1 101 Switching Protocols") -> ResponseHead:
    return ResponseHead("\r\n".join([start, *fields, "", ""]).encode("latin-1"))


@pytest.mark.parametrize(
    ("response", "subprotocol", "extensions"),
    [
        (answer(*ANSWER), None, []),
        (answer(*ANSWER, f"{PROTOCOL}: superchat"), "superchat", []),
        (answer(*ANSWER, f"{EXTENSIONS}: bar; c=1, foo"), None, [Extension("bar", [("c", "1")]), Extension("foo")]),
        (answer("UPGRADE: WebSocket", "connection: keep-alive, UPGRADE", ANSWER[2]), None, []),
    ],
)
def test_agreement(response: ResponseHead, subprotocol: str | None, extensions: list[Extension]) -> None:
    agreement = handshake.handle_response(response, ASKED)
    assert (agreement.subprotocol, agreement.extensions) == (subprotocol, extensions)


@pytest.mark.parametrize(
    ("response", "names"),
    [
        pytest.param(answer(*ANSWER[1:]), "Upgrade", id="C04"),
        pytest.param(answer("Upgrade: h2c", *ANSWER[1:]), "Upgrade", id="another protocol"),
        pytest.param(answer(ANSWER[0], *ANSWER), "Upgrade", id="two Upgrades"),
        pytest.param(answer(ANSWER[0], ANSWER[2]), "Connection", id="no Connection"),
        pytest.param(answer(ANSWER[0], "Connection: close", ANSWER[2]), "Connection", id="another Connection"),
        pytest.param(answer(*ANSWER[:2]), "Sec-WebSocket-Accept", id="no Accept"),
        pytest.param(
            answer(*ANSWER[:2], "Sec-WebSocket-Accept: HSmrc0sMlYUkAGmm5OPpG2HaGWk="), "Sec-WebSocket-Accept", id="C02"
        ),
        pytest.param(answer(*ANSWER, ANSWER[2]), "Sec-WebSocket-Accept", id="two Accepts"),
        pytest.param(answer(*ANSWER, f"{EXTENSIONS}: baz"), EXTENSIONS, id="C05"),
        pytest.param(answer(*ANSWER, f"{EXTENSIONS}: bar, bar"), EXTENSIONS, id="C08"),
        pytest.param(answer(*ANSWER, f"{EXTENSIONS}: foo", f"{EXTENSIONS}: bar"), EXTENSIONS, id="two Extensions"),
        pytest.param(answer(*ANSWER, f"{EXTENSIONS}: foo; a=\""), EXTENSIONS, id="malformed Extensions"),
        pytest.param(answer(*ANSWER, f"{PROTOCOL}: other"), PROTOCOL, id="C06"),
        pytest.param(answer(*ANSWER, f"{PROTOCOL}: chat, superchat"), PROTOCOL, id="both subprotocols"),
        pytest.param(answer(*ANSWER, f"{PROTOCOL}: chat", f"{PROTOCOL}: chat"), PROTOCOL, id="two Protocols"),
        pytest.param(answer(*ANSWER, f"{PROTOCOL}:"), PROTOCOL, id="empty Protocol"),
        pytest.param(answer(*ANSWER, start="HTTP/1.0 101 OK"), "HTTP/1.0", id="HTTP/1.0"),
    ],
)  # fmt: skip
def test_invalid_response(response: ResponseHead, names: str) -> None:
    with pytest.raises(InvalidResponse) as caught:
        handshake.handle_response(response, ASKED)
    assert names in str(caught.value)


OFFER = request(f"{EXTENSIONS}: permessage-deflate; client_max_window_bits")


@pytest.mark.parametrize(
    "agreed",
    [
        pytest.param("permessage-deflate; server_max_window_bits=99", id="C07"),
        pytest.param("permessage-deflate, permessage-deflate", id="C08"),
        pytest.param("permessage-deflate; client_max_window_bits", id="a window without a value"),
        pytest.param("permessage-deflate; server_no_context_takeover; server_no_context_takeover", id="twice"),
        pytest.param("permessage-deflate; constructor", id="constructor"),
        pytest.param("permessage-deflate; __class__=1", id="__class__"),
        pytest.param("permessage-deflate, foo", id="another one"),
    ],
)
def test_an_answer_of_permessage_deflate_that_is_wrong(agreed: str) -> None:
    with pytest.raises(InvalidResponse) as caught:
        handshake.handle_response(answer(*ANSWER, f"{EXTENSIONS}: {agreed}"), OFFER)
    assert EXTENSIONS in str(caught.value) or "permessage-deflate" in str(caught.value)


def test_an_answer_to_what_was_not_offered() -> None:
    fields = f"{EXTENSIONS}: permessage-deflate; server_max_window_bits=10"
    taken = handshake.handle_response(answer(*ANSWER, fields), OFFER)
    assert taken.extensions == [Extension("permessage-deflate", [("server_max_window_bits", "10")])]
    smaller = request(f"{EXTENSIONS}: foo", f"{EXTENSIONS}: permessage-deflate; server_max_window_bits=9")
    with pytest.raises(InvalidResponse, match="do not answer the offer"):
        handshake.handle_response(answer(*ANSWER, fields), smaller)


def test_nothing_was_asked() -> None:
    for field in (f"{PROTOCOL}: chat", f"{EXTENSIONS}: permessage-deflate"):
        with pytest.raises(InvalidResponse):
            handshake.handle_response(answer(*ANSWER, field), request())


@pytest.mark.parametrize("start", ["HTTP/1.1 200 OK", "HTTP/1.1 302 Found", "HTTP/1.0 502 Bad Gateway"])
def test_rejected(start: str) -> None:
    """C03 and C16: a status other than 101 comes back with the response, whatever its fields say."""
    response = answer(*ANSWER, start=start)
    with pytest.raises(ConnectionRejected) as caught:
        handshake.handle_response(response, ASKED)
    assert caught.value.response is response
    assert start[9:12] in str(caught.value)


NAMES = ["Host", "Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Origin", PROTOCOL, EXTENSIONS]
VALUES = ["", "websocket", "Upgrade", KEY, "13", "a.example", "https://a.example", "null", 'a; b="', "chat, a"]
LINES = st.lists(
    st.tuples(
        st.sampled_from([*NAMES, "Content-Length", "Transfer-Encoding", "Sec-WebSocket-Accept"]),
        st.one_of(st.sampled_from(VALUES), st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=9)),
    ).map(": ".join),
    max_size=3,
)


@given(LINES, st.sampled_from([None, (), ("*",), ("https://a.example",)]), st.sampled_from(NAMES))
def test_any_request(lines: list[str], allowed: tuple[str, ...] | None, without: str) -> None:
    """A refusal that can be sent, or an opening that can be answered; nothing else."""
    try:
        accepted = handshake.handle_open(request(*lines, without=without), allowed_origins=allowed)
    except InvalidRequest as error:
        status = handshake.refusal(error).status
    else:
        status = handshake.response(accepted).status
    assert status in (101, 400, 403, 426)


@given(LINES)
def test_any_response(lines: list[str]) -> None:
    names = {line.partition(":")[0] for line in lines}
    try:
        agreement = handshake.handle_response(answer(*ANSWER, *lines), ASKED)
    except InvalidResponse:
        assert names & {"Upgrade", "Sec-WebSocket-Accept", PROTOCOL, EXTENSIONS}
    else:
        assert agreement.subprotocol in (None, "chat", "superchat")
        assert {extension.name for extension in agreement.extensions} <= {"foo", "bar"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"subprotocols": "chat"}, "subprotocols is a sequence of str, not str: write ['chat']"),
        ({"subprotocols": ""}, "subprotocols is a sequence of str, not str: write ['']"),
        ({"subprotocols": b"chat"}, "subprotocols is a sequence of str, not bytes"),
        ({"subprotocols": None}, "subprotocols is a sequence of str, not None"),
        ({"subprotocols": [b"chat"]}, "each of subprotocols is a str, not bytes"),
        ({"extensions": ["permessage-deflate"]}, "each of extensions is an Extension, not str"),
        ({"headers": {"A": "b"}}, "headers is a sequence of pairs of str, not dict: write list(headers.items())"),
    ],
)
def test_a_wrong_type_of_a_request_is_named(arguments: dict[str, object], told: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        handshake.open("ws://localhost/", **arguments)
    assert str(caught.value) == told


def test_what_is_given_once_is_offered() -> None:
    asked = handshake.open("ws://localhost/", subprotocols=iter(["chat"]), headers=iter([("A", "b")]))
    assert (asked.headers.get(PROTOCOL), asked.headers.get("A")) == ("chat", "b")
    for nothing in ([], iter(())):
        assert PROTOCOL not in handshake.open("ws://localhost/", subprotocols=nothing).headers


@pytest.mark.parametrize(
    ("origins", "told"),
    [
        ("*", "allowed origins is a sequence of origins, or None, not str: write ['*']"),
        (b"*", "allowed origins is a sequence of origins, or None, not bytes"),
        (True, "allowed origins is a sequence of origins, or None, not bool"),
        ([b"https://a.example"], 'an origin is a str such as "https://example.com", not bytes'),
        ([None], 'an origin is a str such as "https://example.com", not None'),
    ],
)
def test_a_wrong_type_of_an_origin_is_named(origins: object, told: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        handshake.check_origins(origins)
    assert str(caught.value) == told


@pytest.mark.parametrize("subprotocol", [b"chat", ["chat"], 5, "mqtt"])
def test_a_subprotocol_that_was_not_offered_is_named(subprotocol: object) -> None:
    asked = handshake.open("ws://localhost/", subprotocols=["chat", "superchat"])
    with pytest.raises(LocalProtocolError) as caught:
        handshake.response(handshake.handle_open(asked), subprotocol=subprotocol)
    assert str(caught.value).endswith(f": {subprotocol!r}; it offered chat, superchat")
    asked = handshake.open("ws://localhost/")
    with pytest.raises(LocalProtocolError, match="it offered none"):
        handshake.response(handshake.handle_open(asked), subprotocol=subprotocol)


def test_fields_of_a_response() -> None:
    assert handshake.check_response_fields(iter([("A", "b")])) == [("A", "b")]
    with pytest.raises(LocalProtocolError, match="the handshake's own"):
        handshake.check_response_fields([("Upgrade", "h2c")])


@given(st.lists(st.text("az.09", min_size=1, max_size=5), unique=True, max_size=5), st.data())
def test_both_sides_agree(subprotocols: list[str], data: st.DataObject) -> None:
    asked = handshake.open("ws://a.example/", subprotocols=subprotocols)
    accepted = handshake.handle_open(asked)
    assert accepted.subprotocols == subprotocols
    chosen = data.draw(st.sampled_from([None, *subprotocols]))
    assert handshake.handle_response(handshake.response(accepted, subprotocol=chosen), asked).subprotocol == chosen


def cost(head: RequestHead) -> Measure:
    def handle() -> None:
        with contextlib.suppress(InvalidRequest):
            handshake.handle_open(head)

    return lambda: spent(handle)


@pytest.mark.growth
@pytest.mark.parametrize(
    ("before", "unit", "after"),
    [
        pytest.param(f"{PROTOCOL}: a", " ", "b", id="H33"),
        pytest.param(f"{PROTOCOL}: a", ",", "b", id="commas"),
        pytest.param("Connection: a", " ,", "b", id="Connection"),
        pytest.param("Origin: https://a", ".a", ":", id="Origin"),
        pytest.param("Content-Length: ", "0", "1", id="Content-Length"),
    ],
)
def test_time_is_linear(before: str, unit: str, after: str) -> None:
    assertLinear(*(cost(request(before + unit * count + after)) for count in (1750, 28_000)))
