"""CONNECT of a client, without I/O: the bytes of RFC 9110 section 9.3.6, in pieces of any size."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsock import LocalProtocolError, ProxyError, Settings, __version__
from wsock.client.httpconnect import ConnectHandshake

AUTH = ("user", "secret")
REQUEST = (
    b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nUser-Agent: wsock/"
    + __version__.encode()
    + b"\r\n\r\n"
)
OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"
REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 8\r\nVia: a\r\n\r\nnot here"


def handshake(
    host: str = "example.com", auth: tuple[str, str] | None = None, settings: dict[str, Any] | None = None
) -> ConnectHandshake:
    return ConnectHandshake(host, 443, auth, "the proxy", Settings(**(settings or {})))


def refusal(*pieces: bytes, **arguments: Any) -> ProxyError:
    one = handshake(**arguments)
    for piece in pieces[:-1]:
        assert one.receive(piece) == b""
    with pytest.raises(ProxyError) as caught:
        one.receive(pieces[-1])
    assert not one.isOpen
    assert caught.value.reply is None
    return caught.value


def test_the_request() -> None:
    assert handshake().begin() == REQUEST


def test_the_request_with_a_user() -> None:
    """RFC 7617: "user:secret" in base64."""
    assert handshake(auth=AUTH).begin() == REQUEST[:-2] + b"Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n\r\n"


def test_the_request_with_a_user_of_other_letters() -> None:
    sent = handshake(auth=("\u00fc", "\u20ac:")).begin()
    assert sent.endswith(b"\r\nProxy-Authorization: Basic w7w64oKsOg==\r\n\r\n")


@pytest.mark.parametrize(
    ("host", "authority"), [("2001:db8::1", b"[2001:db8::1]:443"), ("127.0.0.1", b"127.0.0.1:443")]
)
def test_addresses(host: str, authority: bytes) -> None:
    assert handshake(host).begin().startswith(b"CONNECT " + authority + b" HTTP/1.1\r\nHost: " + authority + b"\r\n")


def test_a_host_that_can_not_be_sent() -> None:
    with pytest.raises(LocalProtocolError, match="percent-encoded"):
        handshake("exa mple.com")


@pytest.mark.parametrize(
    "answer",
    [
        OPEN,
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 204 \r\n\r\n",
        b"HTTP/1.1 299 x\r\n\r\n",
        # RFC 9110 section 9.3.6: these count for nothing.
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 \r\nA: b\r\n\r\n" + OPEN,
    ],
)
@pytest.mark.parametrize("rest", [b"", b"\x16\x03\x03", b"HTTP/1.1 101 x\r\n\r\n"])
def test_open(answer: bytes, rest: bytes) -> None:
    whole = handshake()
    assert whole.receive(answer + rest) == b""
    assert whole.isOpen
    assert whole.unread == rest
    bytewise = handshake()
    for place in range(len(answer)):
        assert not bytewise.isOpen
        assert bytewise.receive(answer[place : place + 1]) == b""
    assert bytewise.isOpen
    assert bytewise.unread == b""


def test_a_refusal() -> None:
    error = refusal(REFUSAL)
    assert str(error) == "the proxy answered 403 Forbidden"
    assert error.response.status == 403
    assert error.response.reason == "Forbidden"
    assert error.response.headers.get("Via") == "a"
    assert error.response.body == b"not here"


def test_a_refusal_byte_for_byte() -> None:
    error = refusal(*(REFUSAL[place : place + 1] for place in range(len(REFUSAL))))
    assert error.response.body == b"not here"


@pytest.mark.parametrize("status", [199, 300, 301, 400, 502, 599, 999])
def test_statuses_that_are_no_success(status: int) -> None:
    answer = b"HTTP/1.1 %d \r\nContent-Length: 0\r\n\r\n" % status
    if status < 200:
        # An interim answer: the final one is awaited.
        one = handshake()
        one.receive(answer)
        assert not one.isOpen
        one.receive(OPEN)
        assert one.isOpen
    else:
        assert str(refusal(answer)) == f"the proxy answered {status}"


def test_a_switch_of_protocols_is_no_tunnel() -> None:
    error = refusal(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nabc")
    assert str(error) == "the proxy answered 101 Switching Protocols"
    assert error.response.status == 101


def test_too_many_interim_answers() -> None:
    error = refusal(b"HTTP/1.1 100 \r\n\r\n" * 9)
    assert str(error) == (
        "the proxy gave an invalid answer to CONNECT: more than 8 interim responses, in an answer with status 100"
    )
    assert error.response is None


@pytest.mark.parametrize(
    ("challenge", "auth", "told"),
    [
        (b"", None, "give user and password, as in http://user:password@proxy.example:3128"),
        (b'Proxy-Authenticate: Basic realm="a, b"\r\n', None, "give user and password, as in http://user:"),
        (b'Proxy-Authenticate: basic realm="a"\r\n', AUTH, "it does not accept the user and the password"),
        (b"Proxy-Authenticate: NTLM\r\nProxy-Authenticate: Basic\r\n", AUTH, "it does not accept the user and the"),
        (b'Proxy-Authenticate: Digest realm="a", Basic realm="b"\r\n', AUTH, "it does not accept the user and the"),
        (b"Proxy-Authenticate: Negotiate, NTLM\r\n", AUTH, "it does not offer Basic, the only way that wsock knows"),
        (b"Proxy-Authenticate: Basically\r\n", None, "it does not offer Basic, the only way that wsock knows to"),
    ],
)
def test_a_proxy_that_wants_a_user(challenge: bytes, auth: tuple[str, str] | None, told: str) -> None:
    answer = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n" + challenge + b"\r\n"
    error = refusal(answer, auth=auth)
    assert str(error).startswith(f"the proxy answered 407 Proxy Authentication Required: {told}")
    assert error.response.status == 407
    assert "secret" not in repr(error)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"nonsense\r\n", "not an HTTP/1.1 status line"),
        (b"HTTP/2 200\r\n", "not an HTTP/1.1 status line"),
        (b"\x15\x03\x01\x00\x02\x02\x16", "it speaks TLS on this port: write https:// in its URL"),
        (b"HTTP/1.1 200 OK\r\nA\x00: b\r\n", "a control character or a bare CR, in an answer with status 200"),
        (b"HTTP/1.1 200 OK\nA: b\n\n", "not an HTTP/1.1 status line"),
    ],
)
def test_garbage(answer: bytes, told: str) -> None:
    error = refusal(answer)
    assert str(error) == f"the proxy gave an invalid answer to CONNECT: {told}"
    assert error.response is None


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"maxHeaderLine": 50}, "a line of more than 50 bytes, in an answer with status 200"),
        ({"maxHeaderSize": 70}, "a head of more than 70 bytes, in an answer with status 200"),
        ({"maxHeaders": 1}, "more than 1 header fields, in an answer with status 200"),
    ],
)
def test_limits(settings: dict[str, int], told: str) -> None:
    answer = b"HTTP/1.1 200 OK\r\nA: b\r\nC: " + b"d" * 50 + b"\r\n\r\n"
    error = refusal(answer, settings=settings)
    assert str(error) == f"the proxy gave an invalid answer to CONNECT: {told}"
    largest = handshake(settings={"maxHeaderLine": 56, "maxHeaderSize": len(answer), "maxHeaders": 2})
    largest.receive(answer)
    assert largest.isOpen


def test_an_endless_body() -> None:
    """Its first 64 KiB are kept, and it is not read further."""
    error = refusal(b"HTTP/1.1 500 x\r\n\r\n", b"a" * 65535, b"ab")
    assert error.response.body == b"a" * 65536


def test_a_body_that_breaks_off() -> None:
    one = handshake()
    one.receive(REFUSAL[:-3])
    for told in (None, "did not answer in time"):
        error = one.makeError(told)
        assert str(error) == "the proxy answered 403 Forbidden"
        assert error.response.body == b"not h"


def test_a_proxy_that_sends_nothing_more() -> None:
    one = handshake()
    one.receive(b"HTTP/1.1 200 OK\r\nA")
    assert str(one.makeError(None)) == "the proxy ended the connection before it connected us to the server"
    assert str(one.makeError("did not answer in time")) == "the proxy did not answer in time"
    assert one.makeError(None).response is None


def test_a_reason_that_would_write_to_a_terminal() -> None:
    error = refusal(b"HTTP/1.1 500 a\x85" + b"b" * 300 + b"\r\nContent-Length: 0\r\n\r\n")
    assert str(error) == f"the proxy answered 500 a?{'b' * 198}..."


@given(
    answer=st.sampled_from([OPEN, REFUSAL, b"HTTP/1.1 100 \r\n\r\n" + OPEN, b"HTTP/1.1 500 \r\n\r\n", b"HTTP/1.x"]),
    rest=st.binary(max_size=50),
    cuts=st.lists(st.integers(0, 200)),
)
def test_any_split(answer: bytes, rest: bytes, cuts: list[int]) -> None:
    def outcome(pieces: list[bytes]) -> tuple[object, ...]:
        one = handshake()
        try:
            for place, piece in enumerate(pieces):
                one.receive(piece)
                if one.isOpen:
                    return True, one.unread + b"".join(pieces[place + 1 :])
        except ProxyError as error:
            return str(error), error.response and error.response.body
        return False, one.makeError(None).response and one.makeError(None).response.body

    stream = answer + rest
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert outcome([stream[begin:end] for begin, end in pairwise(places)]) == outcome([stream])
    if b" 200 " in answer:
        assert outcome([stream]) == (True, rest)
