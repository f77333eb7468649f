"""Broken and hostile servers, and the client that meets them: the rows C of the project's probe table.

C07 and C08 are of permessage-deflate, which is not there yet.
"""

import contextlib
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from integration.peer import Asked, Caller, frame
from integration.servers import Echo
from integration.streams import Client, Listen, Stream, Unused, call, connecting
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from wsock import (
    ConnectionRejected,
    InvalidResponse,
    InvalidURL,
    LocalProtocolError,
    WebSocketClientFactory,
    WebSocketClosed,
    WebSocketDropped,
)


def sent(payload: bytes, first: int = 0x81) -> bytes:
    """A server's frame."""
    return frame(first, payload, None)


# Answers that open nothing


@dataclass
class Bad:
    """An answer, and what the error says."""

    id: str
    answer: Callable[[Asked], bytes]
    says: str


BAD = [
    Bad("C02 a wrong accept", lambda asked: asked.welcome(sec_websocket_accept="A" * 27 + "="), "Sec-WebSocket-Accept"),
    Bad("C02 no accept", lambda asked: asked.welcome(sec_websocket_accept=None), "Sec-WebSocket-Accept"),
    Bad(
        "C02 two", lambda asked: asked.welcome(more=f"Sec-WebSocket-Accept: {asked.accept}\r\n"), "Sec-WebSocket-Accept"
    ),
    Bad("C04 no Upgrade", lambda asked: asked.welcome(upgrade=None), "Upgrade: websocket"),
    Bad("C04 another Upgrade", lambda asked: asked.welcome(upgrade="h2c"), "Upgrade: websocket"),
    Bad("C04 no Connection", lambda asked: asked.welcome(connection=None), "Connection: Upgrade"),
    Bad("C04 Connection: close", lambda asked: asked.welcome(connection="close"), "Connection: Upgrade"),
    Bad(
        "C05 an extension",
        lambda asked: asked.welcome(sec_websocket_extensions="permessage-bzip2"),
        "Sec-WebSocket-Extensions",
    ),
    Bad(
        "C07 a window that is none",
        lambda asked: asked.welcome(sec_websocket_extensions="permessage-deflate; server_max_window_bits=99"),
        "permessage-deflate with an invalid server_max_window_bits",
    ),
    Bad(
        "C08 an extension twice",
        lambda asked: asked.welcome(
            sec_websocket_extensions=", ".join(2 * ["permessage-deflate; server_no_context_takeover"])
        ),
        "Sec-WebSocket-Extensions",
    ),
    Bad(
        "less than was offered",
        lambda asked: asked.welcome(sec_websocket_extensions="permessage-deflate"),
        "permessage-deflate with parameters that do not answer the offer",
    ),
    Bad("C06 a subprotocol", lambda asked: asked.welcome(sec_websocket_protocol="mqtt"), "Sec-WebSocket-Protocol"),
    Bad("C06 two", lambda asked: asked.welcome(sec_websocket_protocol="chat, other"), "Sec-WebSocket-Protocol"),
    Bad("a 101 of HTTP/1.0", lambda asked: asked.welcome("HTTP/1.0 101 Switching Protocols"), "HTTP/1.0"),
    Bad("no HTTP", lambda asked: b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "status line"),
    Bad("bare LF", lambda asked: asked.welcome().replace(b"\r\n", b"\n"), "status line"),
    Bad("interim answers without end", lambda asked: b"HTTP/1.1 103 Early Hints\r\n\r\n" * 9, "interim"),
    Bad("C09 endless fields", lambda asked: b"HTTP/1.1 101 Switching Protocols\r\n" + b"X-A: b\r\n" * 8192, "head"),
    Bad("C10 an endless field", lambda asked: b"HTTP/1.1 101 Switching Protocols\r\nX-A: " + b"a" * 65536, "line"),
    Bad("C10 an endless status line", lambda asked: b"HTTP/1.1 101 " + b"a" * 65536, "line"),
]


@pytest.mark.parametrize("subprotocols", [[], ["chat", "other"]], ids=["", "subprotocols"])
@pytest.mark.parametrize("probe", BAD, ids=lambda probe: probe.id)
def test_bad_answer(client: Client, listen: Listen, probe: Bad, subprotocols: list[str]) -> None:
    """The error names the fault, and the connection is dropped."""
    listener = listen()
    attempt = client.begin(listener.url(), subprotocols=subprotocols)
    caller = listener.accept()
    caller.send(probe.answer(caller.asked()))
    assert probe.says in str(attempt.error(InvalidResponse))
    assert ends(caller)
    listener.expect_nobody()


def ends(caller: Caller) -> bool:
    """Waits for the end of the stream, which may be a reset; returns whether nothing came before."""
    try:
        return caller.rest() == b""
    except OSError:
        return True


@pytest.mark.parametrize("data", [b"X-A: b\r\n" * 1000, b"a" * 65536], ids=["C09", "C10"])
def test_endless_answer(client: Client, listen: Listen, data: bytes) -> None:
    """It is cut off, whatever the server goes on to send."""
    listener = listen()
    attempt = client.begin(listener.url())
    caller = listener.accept()
    caller.asked()
    caller.send(b"HTTP/1.1 101 Switching Protocols\r\nX-A: ")
    with contextlib.suppress(OSError):
        assert caller.stream(data, 2**26) < 2**26
    attempt.error(InvalidResponse)


@pytest.mark.parametrize(
    ("head", "body", "expected"),
    [
        (b"200 OK\r\nContent-Length: 5", b"hello", b"hello"),
        (b"401 Unauthorized\r\nContent-Length: 5\r\nWWW-Authenticate: Basic", b"hello, and more", b"hello"),
        (b"403 Forbidden\r\nTransfer-Encoding: chunked", b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", b"hello"),
        (b"500 Internal Server Error", b"until the end", b"until the end"),
        (b"503 Service Unavailable\r\nContent-Length: 1000000", bytes(100000), bytes(65536)),
        (b"204 No Content", b"", b""),
        (b"426", b"", b""),
    ],
    ids=lambda value: value[:3].decode() if value[:1] in b"2345" else "",
)
@pytest.mark.parametrize("step", [None, 1000, 7], ids=["whole", "in pieces", "in small pieces"])
def test_C03_refused(
    client: Client, listen: Listen, head: bytes, body: bytes, expected: bytes, step: int | None
) -> None:
    """The status, the fields and the body, up to 64 KiB, reach who asked."""
    answer = b"HTTP/1.1 " + head + b"\r\n\r\n" + body
    listener = listen()
    attempt = client.begin(listener.url())
    caller = listener.accept()
    caller.asked()
    # It does not wait for more than it wants.
    with contextlib.suppress(OSError):
        for place in range(0, len(answer), step or len(answer)):
            if step and place < 3000:
                time.sleep(0.0005)
            caller.send(answer[place : place + (step or len(answer))])
        caller.shutdown()
    error = attempt.error(ConnectionRejected)
    status = int(head[:3])
    assert error.response.status == status
    assert str(status) in str(error)
    assert error.response.body == expected
    assert error.response.headers.get("WWW-Authenticate") == ("Basic" if status == 401 else None)
    assert ends(caller)


def test_a_folded_field(client: Client, listen: Listen) -> None:
    """RFC 9112 section 5.2: a user agent MUST unfold it."""
    listener = listen()
    attempt = client.begin(listener.url(), subprotocols=["chat", "other"])
    caller = listener.accept()
    caller.send(caller.asked().welcome(more="X-A: a\r\n b\r\nSec-WebSocket-Protocol:\r\n\tother\r\n"))
    stream = attempt.result()
    assert stream.transport.response.headers.get("X-A") == "a b"
    assert stream.transport.subprotocol == "other"


def test_C16_a_redirect_is_not_followed(client: Client, listen: Listen) -> None:
    listener, other = listen(), listen()
    attempt = client.begin(listener.url(), headers=[("Authorization", "Basic c2VjcmV0"), ("Cookie", "a=b")])
    caller = listener.accept()
    assert caller.asked()["Authorization"] == "Basic c2VjcmV0"
    caller.send(f"HTTP/1.1 302 Found\r\nLocation: {other.url()}\r\nContent-Length: 0\r\n\r\n".encode())
    error = attempt.error(ConnectionRejected)
    assert error.response.status == 302
    assert error.response.headers.get("Location") == other.url()
    other.expect_nobody()
    listener.expect_nobody()


# The opening's end without an answer


@pytest.mark.parametrize("say", [b"", b"H", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"])
def test_C12_the_server_never_answers(client: Client, listen: Listen, say: bytes) -> None:
    listener = listen()
    attempt = client.begin(listener.url(), openTimeout=0.4)
    caller = listener.accept()
    caller.asked()
    caller.send(say)
    assert "too long" in str(attempt.error(WebSocketDropped))
    assert ends(caller)


def test_C11_bytes_do_not_put_the_deadline_off(client: Client, listen: Listen) -> None:
    listener = listen()
    attempt = client.begin(listener.url(), openTimeout=0.5)
    caller = listener.accept()
    with contextlib.suppress(OSError):
        # Far more than the time there is.
        for octet in caller.asked().welcome(more=f"X-A: {'a' * 4000}\r\n"):
            caller.send(bytes((octet,)))
            time.sleep(0.02)
    assert "too long" in str(attempt.error(WebSocketDropped))


def test_the_deadline_of_a_refusal_with_an_endless_body(client: Client, listen: Listen) -> None:
    """The result is told."""
    listener = listen()
    attempt = client.begin(listener.url(), openTimeout=0.5)
    caller = listener.accept()
    caller.asked()
    caller.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nno")
    assert attempt.error(ConnectionRejected).response.body == b"no"
    assert ends(caller)


@pytest.mark.parametrize("say", [b"", b"HTTP/1.1 101 Switching"])
def test_the_server_leaves(client: Client, listen: Listen, say: bytes) -> None:
    listener = listen()
    attempt = client.begin(listener.url())
    caller = listener.accept()
    caller.asked()
    caller.send(say)
    caller.close()
    assert "before the server answered" in str(attempt.error(WebSocketDropped))


def test_nobody_listens(client: Client) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        attempt = client.begin(f"ws://127.0.0.1:{nobody.getsockname()[1]}/")
        with pytest.raises(Exception, match="refused"):
            attempt.result()


@pytest.mark.parametrize("when", ["at once", "connected", "answered", "refused"])
def test_cancelled(client: Client, listen: Listen, when: str) -> None:
    """The connection is gone, whatever it waits for."""
    listener = listen()
    attempt = client.begin(listener.url())
    if when != "at once":
        caller = listener.accept()
        caller.asked()
        caller.send({"answered": b"HTTP/1.1 101 Sw", "refused": b"HTTP/1.1 403 No\r\n\r\nn"}.get(when, b""))
        # So that it is read.
        time.sleep(0.1)
    call(attempt.deferred.cancel)
    attempt.error(CancelledError)
    if when != "at once":
        assert ends(caller)


# Frames


@dataclass
class Fault:
    """Frames that fail the connection."""

    id: str
    data: bytes
    code: int


def head(first: int, length: int, form: int = 127) -> bytes:
    """A frame's head with a length in a chosen form: 126 for 16 bits, 127 for 64."""
    return struct.pack("!BB" + ("H" if form == 126 else "Q"), first, form, length)


FAULTS = [
    Fault("C01 masked", frame(0x81, b"Hello"), 1002),
    Fault("C01 masked with zeros", frame(0x81, b"Hello", bytes(4)), 1002),
    Fault("RSV1 without an extension", sent(b"Hello", 0xC1), 1002),
    Fault("opcode 3", sent(b"Hello", 0x83), 1002),
    Fault("Ping of 126 bytes", sent(bytes(126), 0x89), 1002),
    Fault("fragmented Ping", sent(b"Hello", 0x09), 1002),
    Fault("length 5 in 16 bits", head(0x82, 5, 126) + b"Hello", 1002),
    Fault("length with its high bit", head(0x82, 2**63), 1002),
    Fault("continuation first", sent(b"Hello", 0x80), 1002),
    Fault("data frame inside a message", sent(b"Hello", 0x01) + sent(b"Hello"), 1002),
    Fault("Close of 1 byte", sent(b"\x03", 0x88), 1002),
    Fault("Close with 1005", sent(b"\x03\xed", 0x88), 1002),
    Fault("close reason that is not UTF-8", sent(b"\x03\xe8\xff", 0x88), 1007),
    Fault("text that is not UTF-8", sent(b"a\xff"), 1007),
    Fault("C14 a head of 2^63-1", head(0x82, 2**63 - 1), 1009),
    Fault("C14 a head of the limit + 1", head(0x82, 2**20 + 1), 1009),
    Fault("C14 1 byte, then 2^63-1", sent(b"a", 0x02) + head(0x80, 2**63 - 1), 1009),
    Fault("empty fragments", sent(b"a", 0x02) + sent(b"", 0x00) * 1025, 1008),
]


@pytest.mark.parametrize("probe", FAULTS, ids=lambda probe: probe.id)
@pytest.mark.parametrize("how", ["quiet", "sending on", "with the answer"])
@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_fault(client: Client, listen: Listen, kind: str, probe: Fault, how: str) -> None:
    """Our Close reaches the server, also one that goes on sending; the user hears of the fault."""
    listener = listen(kind)
    attempt = client.begin(listener)
    caller = listener.open(probe.data if how == "with the answer" else b"")
    stream = Stream(attempt.result())
    if how != "with the answer":
        caller.send(probe.data)
    if how == "sending on":
        caller.stream(sent(bytes(1000), 0x82), 2**22)
    caller.expect_close(probe.code)
    caller.expect_end()
    caller.close()
    error = stream.end()
    assert isinstance(error, WebSocketDropped)
    assert (error.code, error.closeReceived) == (probe.code, None)
    assert error.closeSent[0] == probe.code
    again = stream.end()
    # Each call has an exception of its own.
    assert again.__reduce__() == error.__reduce__()
    assert again is not error


@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_C14_an_endless_message(client: Client, listen: Listen, kind: str) -> None:
    """The server hears why in the midst of it, although it goes on sending."""
    listener = listen(kind)
    attempt = client.begin(listener)
    caller = listener.open(sent(b"", 0x02))
    caller.stream(sent(bytes(60000), 0x00), 2**26 if kind == "tcp" else 2**24)
    caller.expect_close(1009)
    caller.expect_end()
    caller.close()
    assert Stream(attempt.result()).end().code == 1009


@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_the_largest_message_passes(client: Client, listen: Listen, kind: str) -> None:
    listener = listen(kind)
    attempt = client.begin(listener, maxMessageSize=100000)
    caller = listener.open()
    stream = Stream(attempt.result())
    for size in (100000, 99999):
        caller.send(sent(bytes(size), 0x82))
        assert stream.receive() == bytes(size)
    caller.send(sent(bytes(100001), 0x82))
    caller.expect_close(1009)


@pytest.mark.parametrize("kind", ["tcp", "tls"])
@pytest.mark.parametrize("more", [b"", sent(b"\x03\xe8bye", 0x88)], ids=["", "and a Close"])
def test_C13_frames_in_the_segment_of_the_answer(client: Client, listen: Listen, kind: str, more: bytes) -> None:
    listener = listen(kind)
    attempt = client.begin(listener)
    caller = listener.open(
        sent(b"Hello") + sent(b"?", 0x89) + sent(bytes(70000), 0x82) + sent("\u20ac".encode()) + more
    )
    stream = Stream(attempt.result())
    assert [stream.receive() for _ in range(3)] == ["Hello", bytes(70000), "\u20ac"]
    assert caller.frame() == (0x8A, b"?")
    if more:
        caller.expect_close(1000)
        caller.close()
        error = stream.end()
        assert isinstance(error, WebSocketClosed)
        assert error.closeReceived == (1000, "bye")


@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_C15_the_server_never_answers_our_close(client: Client, listen: Listen, kind: str) -> None:
    listener = listen(kind)
    attempt = client.begin(listener, closeTimeout=0.5)
    caller = listener.open()
    stream = Stream(attempt.result())
    stream.close(3000, "enough")
    error = stream.end()
    assert isinstance(error, WebSocketDropped)
    assert (error.closeSent, error.closeReceived, error.code) == ((3000, "enough"), None, 1006)
    caller.expect_close(3000, "enough")
    assert ends(caller)


@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_C15_the_server_answers_our_close_and_never_leaves(client: Client, listen: Listen, kind: str) -> None:
    """The server is to drop the connection; one that does not is dropped, and it was a clean end all the same."""
    listener = listen(kind)
    attempt = client.begin(listener, closeTimeout=0.5)
    caller = listener.open()
    stream = Stream(attempt.result())
    closing = threading.Thread(target=stream.close)
    closing.start()
    caller.expect_close(1000)
    caller.send(sent(b"\x03\xe8", 0x88))
    closing.join()
    assert stream.rest() == []
    assert ends(caller)


# Refusals before a byte is sent


NASTY = ["\r\nX-A: b", "\r", "\n", "\0", "a\r\n\r\nGET / HTTP/1.1", "a\0b"]


@pytest.mark.parametrize("nasty", NASTY)
@pytest.mark.parametrize("scheme", ["ws", "wss"])
@pytest.mark.parametrize(
    "arguments",
    [
        lambda nasty: (f"//localhost/{nasty}", {}),
        lambda nasty: (f"//localhost/?{nasty}", {}),
        lambda nasty: (f"//local{nasty}host/", {}),
        lambda nasty: (f"//localhost:80{nasty}/", {}),
        lambda nasty: ("//localhost/", {"headers": [("X-A", nasty)]}),
        lambda nasty: ("//localhost/", {"headers": [(f"X-A{nasty}", "b")]}),
        lambda nasty: ("//localhost/", {"headers": [("User-Agent", f"me{nasty}")]}),
        lambda nasty: ("//localhost/", {"subprotocols": [f"chat{nasty}"]}),
        lambda nasty: ("//localhost/", {"subprotocols": ["chat", nasty]}),
    ],
    ids=["C17 path", "C17 query", "host", "port", "C18 value", "C18 name", "C18 User-Agent", "C19 subprotocol", "C19"],
)
def test_injection(client: Client, arguments: Callable[[str], Any], nasty: str, scheme: str) -> None:
    rest, more = arguments(nasty)
    unused = Unused()
    with pytest.raises((InvalidURL, LocalProtocolError)):
        client.begin(f"{scheme}:{rest}", endpoint=unused, **more)
    with pytest.raises((InvalidURL, LocalProtocolError)):
        client.begin(f"{scheme}:{rest}", connecting(Echo()), endpoint=unused, **more)
    with pytest.raises((InvalidURL, LocalProtocolError)):
        WebSocketClientFactory(f"{scheme}:{rest}", lambda request: Echo(), **more)
    assert not unused.used


@pytest.mark.parametrize("url", ["ws://localhost/#a", "wss://localhost/a?b#", "ws://localhost#"])
def test_C21_a_fragment(client: Client, url: str) -> None:
    unused = Unused()
    with pytest.raises(ValueError, match="fragment"):
        client.begin(url, endpoint=unused)
    assert not unused.used


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("ws://Example.ORG:8080/", "example.org:8080"),
        ("ws://example.org/", "example.org"),
        ("ws://example.org:80/", "example.org"),
        ("ws://example.org:443/", "example.org:443"),
        ("ws://[::1]:8080/", "[::1]:8080"),
        ("ws://[2001:DB8:0::1]/", "[2001:db8::1]"),
        ("ws://192.0.2.1:1/", "192.0.2.1:1"),
        ("ws://b\u00fccher.example:99/", "xn--bcher-kva.example:99"),
    ],
)
def test_C22_the_host_field(client: Client, listen: Listen, url: str, host: str) -> None:
    from twisted.internet import reactor

    listener = listen()
    attempt = client.begin(url, endpoint=TCP4ClientEndpoint(reactor, "127.0.0.1", listener.port))
    caller = listener.accept()
    asked = caller.asked()
    assert asked["Host"] == host
    caller.send(asked.welcome())
    attempt.result()


def test_C22_the_port_that_is_connected_to(client: Client, listen: Listen) -> None:
    listener = listen()
    attempt = client.begin(listener.url("/a%20b?c=%23"))
    caller = listener.accept()
    asked = caller.asked()
    assert asked.line == "GET /a%20b?c=%23 HTTP/1.1"
    assert asked["Host"] == f"localhost:{listener.port}"
    caller.send(asked.welcome())
    attempt.result()


# Masks


def masks_of(count: int) -> list[bytes]:
    """The masks of that many frames of one connection, and the key of its request."""
    factory = WebSocketClientFactory("ws://localhost/", lambda request: application, reactor=Clock())
    application = Echo()
    transport = StringTransport()
    protocol = factory.buildProtocol(None)
    protocol.makeConnection(transport)
    key = protocol.request.headers.get("Sec-WebSocket-Key")
    protocol.dataReceived(Asked("", [("Sec-WebSocket-Key", key)]).welcome())
    transport.clear()
    for _ in range(count):
        application.transport.sendTextMessage("")
    protocol.abortConnection()
    return [key, *(transport.value()[place + 2 : place + 6] for place in range(0, 6 * count, 6))]


def test_no_mask_is_repeated() -> None:
    """Of 10,000 random ones, 2 are equal with a probability of 1 %, 4 with less than one in a million."""
    masks = masks_of(10000)[1:]
    assert len(masks) == 10000
    assert len(set(masks)) > 9997
    # Each octet takes each value.
    assert [len({mask[place] for mask in masks}) for place in range(4)] == [256] * 4


def test_masks_are_not_of_a_generator_that_can_be_seeded() -> None:
    runs = []
    for _ in range(2):
        random.seed(0)
        runs.append(masks_of(100))
    assert not set(runs[0]) & set(runs[1])


def test_masks_are_of_the_system_s_random_source_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """With another source in its place, all that is random comes of it."""
    runs = []
    for _ in range(2):
        generator = random.Random(0)
        monkeypatch.setattr(os, "urandom", generator.randbytes)
        runs.append(masks_of(5000))
    assert runs[0] == runs[1]
    assert len(set(runs[0])) > 4997
