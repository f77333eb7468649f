"""Broken and hostile peers, and the exact answers to them: the rows H and F of the project's probe table.

F20 to F22 are of permessage-deflate and F27 is of keepalive, which are not there yet.
"""

import struct
import time
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

import pytest
from integration.peer import KEY, Answer, Peer, frame, request, within
from integration.servers import Serve

import wsock

#: RFC 6455 section 1.3: what the key of `peer.FIELDS` is answered with.
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
UPGRADE = {"Connection": "close, Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}

#: In seconds: less than any timer's time, which would hide that nobody else ended it.
SOON = 8


@dataclass
class Refused:
    """A request that is refused, and what the answer has besides what each refusal has."""

    id: str
    data: bytes
    status: int
    reason: str = "Bad Request"
    fields: dict[str, str] = dataclass_field(default_factory=dict)


REFUSED = [
    Refused("H01 no key", request(sec_websocket_key=None), 400),
    Refused("H02 key of 15 bytes", request(sec_websocket_key="AAAAAAAAAAAAAAAAAAAA"), 400),
    Refused("H02 key of 17 bytes", request(sec_websocket_key="AAAAAAAAAAAAAAAAAAAAAAA="), 400),
    Refused("H02 key that is no base64", request(sec_websocket_key="dGhlIHNhbXBsZSBub25j!!=="), 400),
    Refused("H03 version 12", request(sec_websocket_version="12"), 426, "Upgrade Required", UPGRADE),
    Refused("H03 version 213", request(sec_websocket_version="213"), 426, "Upgrade Required", UPGRADE),
    Refused("H04 POST", request("POST /echo HTTP/1.1"), 405, "Method Not Allowed", {"Allow": "GET"}),
    Refused("H05 HTTP/1.0", request("GET /echo HTTP/1.0"), 505, "HTTP Version Not Supported"),
    Refused("H06 no Upgrade", request(upgrade=None), 426, "Upgrade Required", UPGRADE),
    Refused("H06 another Upgrade", request(upgrade="h2c"), 426, "Upgrade Required", UPGRADE),
    Refused("no Connection", request(connection=None), 400),
    Refused("Connection: keep-alive", request(connection="keep-alive"), 400),
    Refused("H08 two keys", request(more="Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"), 400),
    Refused("two versions", request(more="Sec-WebSocket-Version: 13\r\n"), 400),
    Refused("H09 space before the colon", request(more="X-A : b\r\n"), 400),
    Refused("H10 folded field", request(more="X-A: a\r\n b\r\n"), 400),
    Refused("H11 bare LF", request().replace(b"\r\n", b"\n"), 400),
    Refused("H12 bare CR in a value", request(more="X-A: a\rb\r\n"), 400),
    Refused("H13 NUL in a value", request(more="X-A: a\0b\r\n"), 400),
    Refused("H14 no Host", request(host=None), 400),
    Refused("H15 two Hosts", request(more="Host: 127.0.0.1\r\n"), 400),
    Refused("H16 a body", request(content_length="5") + b"hello", 400),
    Refused("H16 a body of frames", request(content_length="6") + frame(0x81), 400),
    Refused("H17 a chunked body", request(transfer_encoding="chunked") + b"5\r\nhello\r\n0\r\n\r\n", 400),
    Refused("H19 unclosed quote", request(sec_websocket_extensions='permessage-deflate; a="b'), 400),
    Refused("H21 Origin of another host", request(origin="https://evil.example"), 403, "Forbidden"),
    Refused("H21 Origin of another port", request(origin="http://127.0.0.1:81"), 403, "Forbidden"),
    Refused("H21 Origin null", request(origin="null"), 403, "Forbidden"),
    Refused("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n", 400),
    Refused("H30 endless line", b"GET / HTTP/1.1\r\nX-A: " + b"a" * 65536, 431, "Request Header Fields Too Large"),
    Refused("H31 endless fields", b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 8192, 431, "Request Header Fields Too Large"),
    Refused("H31 endless long fields", b"GET / HTTP/1.1\r\n" + (b"X-A: " + b"a" * 5000 + b"\r\n") * 13, 431),
    Refused("H32 endless request line", b"GET /" + b"a" * 65536, 414),
]
REASONS = {414: ("Request-URI Too Long", "URI Too Long"), 431: ("Request Header Fields Too Large",)}


def check_refusal(peer: Peer, probe: Refused) -> None:
    """The fields that each refusal has, and that it ends the connection."""
    answer = peer.answer()
    assert answer.status == probe.status
    assert answer.reason in REASONS.get(probe.status, (probe.reason,))
    length = answer["Content-Length"]
    assert length is not None
    body = peer.read(int(length)).decode()
    assert answer["Date"] is not None
    # The reason phrase and the rule: nothing of the request is echoed.
    assert body.startswith(f"{answer.reason}: ")
    assert len(body) < 120
    assert not [word for word in ("evil", "aaa", "AAA", "hello", "127.0.0.1", "chunked", "h2c") if word in body]
    expected = {"Connection": "close", "Content-Type": "text/plain; charset=utf-8", **probe.fields}
    assert {name: answer[name] for name in expected} == expected
    assert {name for name, _ in answer.fields} == {*expected, "Content-Length", "Date"}
    peer.expect_end(2)


@pytest.mark.parametrize("probe", REFUSED, ids=lambda probe: probe.id)
def test_refused(serve: Serve, probe: Refused) -> None:
    server = serve()
    peer = server.connect()
    peer.send(probe.data)
    check_refusal(peer, probe)
    assert server.applications == []


@pytest.mark.parametrize(
    "probe", [one for one in REFUSED if one.id[:3] in ("H10", "H16", "H32")], ids=lambda one: one.id
)
def test_refused_in_small_pieces(serve: Serve, probe: Refused) -> None:
    """The answer is the same, and it comes although the peer goes on sending."""
    peer = serve().connect()
    for place in range(0, len(probe.data), 977):
        peer.send(probe.data[place : place + 977])
        time.sleep(0.0005)
    check_refusal(peer, probe)


@dataclass
class Accepted:
    id: str
    data: bytes


ACCEPTED = [
    Accepted("plain", request()),
    Accepted("H07 Connection: keep-alive, Upgrade", request(connection="keep-alive, Upgrade")),
    Accepted("names and tokens in capitals", request(upgrade="WebSocket", connection="UPGRADE")),
    Accepted("H18 a window of 99", request(sec_websocket_extensions="permessage-deflate; server_max_window_bits=99")),
    Accepted("H20 a parameter twice", request(sec_websocket_extensions="permessage-deflate; a=1; a=1")),
    Accepted("H23 bytes beyond ASCII", request(more="X-A: \xe9\xff\r\n")),
    Accepted("Origin of the same host", request(origin="https://127.0.0.1")),
    Accepted("Origin of the same port", request(host="Example.org:8080", origin="http://example.org:8080")),
    Accepted("Content-Length: 0", request(content_length="0")),
    Accepted("an absolute target", request("GET http://127.0.0.1/echo HTTP/1.1")),
]


def check_acceptance(answer: Answer) -> None:
    assert (answer.status, answer.reason) == (101, "Switching Protocols")
    expected = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": ACCEPT,
        "Server": f"wsock/{wsock.__version__}",
    }
    assert {name: answer[name] for name in expected} == expected
    # An extension is declined by not being mentioned.
    assert {name for name, _ in answer.fields} == set(expected)


@pytest.mark.parametrize("probe", ACCEPTED, ids=lambda probe: probe.id)
@pytest.mark.parametrize("step", [None, 1], ids=["whole", "byte by byte"])
def test_accepted(serve: Serve, probe: Accepted, step: int | None) -> None:
    peer = serve().connect()
    for place in range(0, len(probe.data), step or len(probe.data)):
        peer.send(probe.data[place : place + (step or len(probe.data))])
    check_acceptance(peer.answer())
    peer.send(frame(0x81, b"Hello"))
    assert peer.frame() == (0x81, b"Hello")


def head(first: int, length: int, form: int, key: bytes = KEY) -> bytes:
    """A frame's head with a length in a chosen form: 126 for 16 bits, 127 for 64."""
    return struct.pack("!BB" + ("H" if form == 126 else "Q"), first, 0x80 | form, length) + key


@dataclass
class Fault:
    """Frames that fail the connection."""

    id: str
    data: bytes
    code: int


FAULTS = [
    Fault("F01 unmasked", frame(0x81, b"Hello", None), 1002),
    Fault("F02 RSV1 without an extension", frame(0xC1, b"Hello"), 1002),
    Fault("F02 RSV2", frame(0xA1, b"Hello"), 1002),
    Fault("F02 RSV3", frame(0x91, b"Hello"), 1002),
    Fault("F03 opcode 3", frame(0x83, b"Hello"), 1002),
    Fault("F04 opcode 0xB", frame(0x8B, b"Hello"), 1002),
    Fault("F05 Ping of 126 bytes", frame(0x89, bytes(126)), 1002),
    Fault("F06 fragmented Ping", frame(0x09, b"Hello"), 1002),
    Fault("F07 64-bit length with its high bit", head(0x82, 2**63, 127), 1002),
    Fault("F08 a head of 2^63-1", head(0x82, 2**63 - 1, 127), 1009),
    Fault("F08 a head of 1 TiB", head(0x82, 2**40, 127), 1009),
    Fault("F08 1 byte, then 2^63-1", frame(0x02, b"a") + head(0x80, 2**63 - 1, 127), 1009),
    Fault("F08 a head of the limit + 1", head(0x82, 2**20 + 1, 127), 1009),
    Fault("F09 length 5 in 16 bits", head(0x82, 5, 126) + b"Hello", 1002),
    Fault("F10 length 5 in 64 bits", head(0x82, 5, 127) + b"Hello", 1002),
    Fault("F11 continuation first", frame(0x80, b"Hello"), 1002),
    Fault("F12 data frame inside a message", frame(0x01, b"Hello") + frame(0x81, b"Hello"), 1002),
    Fault("F13 Close of 1 byte", frame(0x88, b"\x03"), 1002),
    Fault("F14 Close with 1005", frame(0x88, struct.pack("!H", 1005)), 1002),
    Fault("F14 Close with 999", frame(0x88, struct.pack("!H", 999)), 1002),
    Fault("F15 close reason that is not UTF-8", frame(0x88, struct.pack("!H", 1000) + b"\xff"), 1007),
    Fault("F16 text that is not UTF-8", frame(0x81, b"a\xff"), 1007),
    Fault("F16 text with a surrogate", frame(0x81, b"\xed\xa0\x80"), 1007),
    Fault("F17 not UTF-8 in the first fragment", frame(0x01, b"a\xffb"), 1007),
    Fault("F17 not UTF-8 in a frame that has not ended", head(0x81, 200, 126, bytes(4)) + b"a\xff", 1007),
    Fault("F24 a second GET", request(), 1002),
    Fault("G02 empty fragments", frame(0x02, b"a") + frame(0x00) * 1025, 1008),
    Fault("G09 a head of 1 GiB, and the beginning of it", head(0x82, 2**30, 127) + bytes(2**16), 1009),
]


@pytest.mark.parametrize("probe", FAULTS, ids=lambda probe: probe.id)
@pytest.mark.parametrize("sending", [False, True], ids=["quiet", "sending on"])
def test_fault(serve: Serve, probe: Fault, sending: bool) -> None:
    """Our Close comes, and then the end, also to a peer that goes on sending."""
    server = serve()
    peer = server.open()
    peer.send(probe.data)
    if sending:
        peer.stream(frame(0x82, bytes(1000)), 2**22)
    peer.expect_close(probe.code)
    peer.expect_end(2)
    peer.close()
    (application,) = server.applications
    within(SOON, lambda: application.reasons, "connectionLost")
    (reason,) = application.reasons
    assert reason.code == probe.code
    assert reason.closeSent[0] == probe.code


def test_a_ping_behind_all_but_the_end_of_the_largest_message(serve: Serve) -> None:
    """A message that has all the bytes it may have, and has not ended, holds nobody up."""
    server = serve()
    peer = server.open()
    peer.send(frame(0x02, bytes(2**20)) + frame(0x89, b"?"))
    assert peer.frame() == (0x8A, b"?")
    peer.send(frame(0x80))
    assert peer.frame() == (0x82, bytes(2**20))


@pytest.mark.parametrize(
    ("id", "sent", "received", "code"),
    [
        ("F18 a code point in three fragments",
         frame(0x01, b"\xe2") + frame(0x00, b"\x82") + frame(0x80, b"\xac") + frame(0x88, b"\x03\xe8"),
         [(0x81, b"\xe2\x82\xac")], 1000),
        ("F19 data after the Close", frame(0x88, b"\x03\xe8bye") + frame(0x81, b"late"), [], 1000),
        ("a Close without a code", frame(0x88), [], None),
        ("the application's answers go before the Close",
         frame(0x81, b"a") + frame(0x82, b"b") + frame(0x88, struct.pack("!H", 4999)),
         [(0x81, b"a"), (0x82, b"b")], 4999),
        ("and before the Close for a fault",
         frame(0x81, b"a") + frame(0x89, b"p") + frame(0x82, b"b") + frame(0x83), None, 1002),
        ("a Ping between fragments", frame(0x01, b"a") + frame(0x89, b"p") + frame(0x80, b"b") + frame(0x88),
         [(0x8A, b"p"), (0x81, b"ab")], None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_frames(serve: Serve, id: str, sent: bytes, received: list[Any] | None, code: int | None) -> None:
    peer = serve().open()
    peer.send(sent)
    if received is None:
        # A Pong may overtake messages that wait for the application; messages keep their order.
        assert sorted(peer.frame() for _ in range(3)) == [(0x81, b"a"), (0x82, b"b"), (0x8A, b"p")]
    else:
        assert [peer.frame() for _ in received] == received
    peer.expect_close(code, "" if code != 1002 else None)
    # F25: the peer keeps its side open; ours closes at once.
    peer.expect_end(3)


@pytest.mark.parametrize("more", [frame(0x81, b"Hello"), frame(0x81, b"Hello") + frame(0x82, bytes(70000))])
def test_F23_frames_in_the_segment_of_the_request(serve: Serve, more: bytes) -> None:
    peer = serve().connect()
    peer.send(request() + more)
    check_acceptance(peer.answer())
    assert peer.frame() == (0x81, b"Hello")
    if len(more) > 70000:
        assert peer.frame() == (0x82, bytes(70000))


@pytest.mark.parametrize(("sent", "status"), [(b"", None), (b"\r", 408), (b"GET /echo HTTP/1.1\r\nHost: a\r\n", 408)])
def test_H41_opening_deadline(serve: Serve, sent: bytes, status: int | None) -> None:
    """408 for a peer that said something, a silent end for one that did not."""
    peer = serve(openTimeout=0.4).connect()
    began = time.monotonic()
    peer.send(sent)
    if status is None:
        peer.expect_end(5)
    else:
        check_refusal(peer, Refused("", b"", 408, "Request Timeout"))
    assert 0.3 < time.monotonic() - began < 8


def test_H40_bytes_do_not_put_the_deadline_off(serve: Serve) -> None:
    peer = serve(openTimeout=0.5).connect()
    began = time.monotonic()
    for octet in request():
        peer.send(bytes((octet,)))
        try:
            peer.expect_silence(0.05)
        except AssertionError:
            break
    assert 0.4 < time.monotonic() - began < 8
    assert not peer.ended


def test_F25_peer_closes_and_keeps_its_side_open(serve: Serve) -> None:
    server = serve()
    peer = server.open()
    peer.send(frame(0x88, struct.pack("!H", 3000) + b"bye"))
    peer.expect_close(3000, "")
    peer.expect_end(3)
    (application,) = server.applications
    within(SOON, lambda: application.reasons, "connectionLost")
    assert application.reasons[0].closeReceived == (3000, "bye")


@pytest.mark.parametrize("kind", ["tcp", "tls", "own tls"])
def test_F26_peer_never_answers_our_close(serve: Serve, kind: str) -> None:
    server = serve(kind, closeTimeout=0.5)
    peer = server.open()
    began = time.monotonic()
    server.call(server.applications[0].transport.loseConnection, 1000, "enough")
    peer.expect_close(1000, "enough")
    try:
        peer.expect_end(5)
    except OSError:
        # An abort: the peer had its chance.
        pass
    assert 0.4 < time.monotonic() - began < 8
    within(SOON, lambda: server.applications[0].reasons, "connectionLost")
    assert server.applications[0].reasons[0].closeSent == (1000, "enough")
