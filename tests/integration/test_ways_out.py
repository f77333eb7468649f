"""The same on every transport: eager over plain TCP and UNIX sockets, plain `write` through a wrapper and TLS."""

import os
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
from integration.peer import Peer, frame, request, within
from integration.servers import KINDS, Echo, Serve

from wsock import Refuse

#: Every length form, the sizes around them, and the largest message that passes.
SIZES = [0, 1, 125, 126, 65535, 65536, 2**20]
PATTERN = bytes(range(256)) * 2**12

pytestmark = pytest.mark.parametrize("kind", KINDS)

#: In seconds: less than any timer's time, which would hide that nobody else ended it.
SOON = 8


def echoes(peer: Peer, sent: bytes, *expected: tuple[int, bytes]) -> None:
    peer.stream(sent, len(sent))
    for first, payload in expected:
        received = peer.frame()
        assert received[0] == first
        assert received[1] == payload


def test_echo_of_sizes(serve: Serve, kind: str) -> None:
    peer = serve(kind).open()
    for size in SIZES:
        binary, text = PATTERN[:size], b"a" * (size % 3) + "\u20ac".encode() * (size // 3)
        echoes(peer, frame(0x82, binary), (0x82, binary))
        echoes(peer, frame(0x81, text), (0x81, text))
    # Exactly the limit passes, one more byte does not.
    echoes(peer, frame(0x82, PATTERN + b"a"))
    peer.expect_close(1009)


@pytest.mark.parametrize("pieces", [2, 3, 100])
def test_echo_of_fragments(serve: Serve, kind: str, pieces: int) -> None:
    peer = serve(kind).open()
    for first, payload in [(1, "\u00e9\U0001f600".encode() * 20000), (2, PATTERN[:100001])]:
        step = len(payload) // pieces + 1
        parts = [payload[place : place + step] for place in range(0, len(payload), step)]
        frames = [frame(first if number == 0 else 0, part) for number, part in enumerate(parts)]
        echoes(peer, b"".join([*frames, frame(0x89, b"between"), frame(0x80)]), (0x8A, b"between"),
               (0x80 | first, payload))  # fmt: skip


@pytest.mark.parametrize("size", [0, 64, 5000])
def test_echo_of_pipelined_messages(serve: Serve, kind: str, size: int) -> None:
    peer = serve(kind).open()
    for burst in range(3):
        messages = [bytes((burst, number)) + PATTERN[:size] for number in range(64)]
        echoes(peer, b"".join(frame(0x82, one) for one in messages), *((0x82, one) for one in messages))


def test_bursts_from_many_at_once(serve: Serve, kind: str) -> None:
    server = serve(kind)
    peers = [server.open() for _ in range(10)]
    for burst in range(3):
        for number, peer in enumerate(peers):
            peer.send(b"".join(frame(0x81, b"%d %d %d" % (burst, number, one)) for one in range(20)))
        for number, peer in enumerate(peers):
            assert [peer.frame()[1] for _ in range(20)] == [b"%d %d %d" % (burst, number, one) for one in range(20)]


def test_sends_outside_of_a_callback(serve: Serve, kind: str) -> None:
    """A burst of sends in one turn, small and large, leaves in order."""
    server = serve(kind)
    peer = server.open()
    sizes = [1, 2, 70000, 3, 200000, 0, 4]

    def burst() -> None:
        for size in sizes:
            server.applications[0].transport.sendBytesMessage(PATTERN[:size])

    server.call(burst)
    for size in sizes:
        assert peer.frame() == (0x82, PATTERN[:size])


class Greeter(Echo):
    """Sends before the connection is open, too."""

    def negotiationStarted(self, transport: Any) -> None:
        super().negotiationStarted(transport)
        transport.sendTextMessage("first")
        transport.sendBytesMessage(PATTERN[:100000])

    def negotiationFinished(self) -> None:
        self.transport.sendTextMessage("then")


def test_the_101_goes_first(serve: Serve, kind: str) -> None:
    peer = serve(kind, lambda request: Greeter()).connect()
    peer.send(request() + frame(0x81, b"echo"))
    assert peer.answer().status == 101
    for expected in [(0x81, b"first"), (0x82, PATTERN[:100000]), (0x81, b"then"), (0x81, b"echo")]:
        assert peer.frame() == expected


@pytest.mark.slow
@pytest.mark.parametrize("size", [50, 60000, 2**20])
def test_peer_that_pauses_and_then_reads_gets_everything(serve: Serve, kind: str, size: int) -> None:
    """While it does not read it is not read either; then all comes, in order and unharmed."""
    server = serve(kind)
    for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        # The system may otherwise take all of it for us: its buffers grow.
        server.listening.socket.setsockopt(socket.SOL_SOCKET, buffer, 2**17)
    peer = server.open(receive_buffer=2**17)
    # Frames tell themselves apart by their payload; the stream's period is no power of two.
    count = max(7, 300000 // size)
    block = b"".join(frame(0x82, bytes((number % 251,)) + PATTERN[1:size]) for number in range(count))
    blocks = 24 if size < 100000 else 2
    total = blocks * len(block)
    sent = peer.stream(block, total, read=False)
    if total > 2**23:
        assert sent < total, "the peer was read although it did not read"
    assert server.call(lambda: len(server.factory.connections)) == 1
    time.sleep(0.2)
    assert peer.stream(block, total, start=sent) == total
    for _ in range(blocks):
        for number in range(count):
            first, payload = peer.frame()
            assert (first, len(payload)) == (0x82, size)
            assert payload[0] == number % 251
            assert payload[1:] == PATTERN[1:size]
    peer.send(frame(0x88, b"\x03\xe8"))
    peer.expect_close(1000)
    peer.expect_end()


class Filler(Echo):
    """Sends what it was told to as soon as it is open, then perhaps closes."""

    messages: tuple[int, ...] = ()
    close: Callable[[Any], None] | None = None

    def negotiationFinished(self) -> None:
        for size in self.messages:
            self.transport.sendBytesMessage(PATTERN[:size])
        if self.close is not None:
            self.close(self.transport)


def filler(messages: tuple[int, ...], close: Callable[[Any], None] | None) -> Callable[[Any], Filler]:
    def build(request: Any) -> Filler:
        application = Filler()
        application.messages, application.close = messages, close
        return application

    return build


def test_loseConnection_with_a_full_queue(serve: Serve, kind: str) -> None:
    """All that was sent before it arrives, then our Close, and nothing is reset."""
    sizes = (100, 300000, 65536, 0, 500000, 7)
    server = serve(kind, filler(sizes, lambda transport: transport.loseConnection(3000, "done")))
    peer = server.open(receive_buffer=2**15)
    # The peer keeps talking: what it says after our Close is still delivered.
    peer.send(frame(0x81, b"late"))
    time.sleep(0.3)
    for size in sizes:
        assert peer.frame() == (0x82, PATTERN[:size])
    peer.expect_close(3000, "done")
    peer.send(frame(0x88, struct.pack("!H", 3000)))
    peer.expect_end()
    # TLS has a farewell of its own, for which the other side waits.
    peer.close()
    within(SOON, lambda: server.applications[0].reasons, "connectionLost")
    assert server.applications[0].reasons[0].closeReceived == (3000, "")


def test_more_unsent_than_may_be(serve: Serve, kind: str) -> None:
    """A message that has begun to leave arrives whole, the rest is dropped, and the Close says so."""
    server = serve(kind, filler((2**20,) * 12, None))
    peer = server.open(receive_buffer=2**15)
    time.sleep(0.2)
    arrived = 0
    while True:
        first, payload = peer.frame()
        if first == 0x88:
            break
        assert payload == PATTERN
        arrived += 1
    assert payload[:2] == struct.pack("!H", 1013)
    assert 1 <= arrived < 12
    peer.send(frame(0x88, payload))
    peer.expect_end()


def refuse(request: Any) -> Any:
    raise Refuse(403)


@pytest.mark.parametrize("case", ["1009", "1002", "403", "403 by the application", "1007 and a slow reader"])
def test_farewell_to_a_peer_that_is_still_sending(serve: Serve, kind: str, case: str) -> None:
    """Our last word reaches it: it is not overtaken by the reset of a socket closed with unread input."""
    server = serve(kind, refuse if "application" in case else lambda request: Echo())
    flood, total = PATTERN[: 2**18], 2**24
    if case.startswith("403"):
        peer = server.connect()
        peer.send(request(origin=None if "application" in case else "https://evil.example"))
    else:
        peer = server.open()
        if case == "1009":
            # The message says how large it is only by its fragments, so that it is cut off in its midst.
            flood, total = frame(0x00, PATTERN[:60000]), 2**26 if kind == "tcp" else 2**24
            peer.send(frame(0x02, b"a"))
        elif case == "1002":
            peer.send(frame(0x83))
        else:
            # In all less than what is read of a peer that goes on for good.
            total = 2**22
            peer.send(frame(0x81, b"a\xff"))
            time.sleep(0.1)
            peer.stream(flood, total, read=False)
    peer.stream(flood, total)
    if case.startswith("403"):
        answer = peer.answer()
        assert answer.status == 403
        assert peer.read(int(answer["Content-Length"] or 0)).startswith(b"Forbidden")
    else:
        peer.expect_close(int(case[:4]))
    peer.expect_end()
    # A message on its way when the peer hears of the end is taken, not reset.
    assert peer.stream(flood, 2**22, ends=False) == 2**22


def test_peer_leaves_without_a_word(serve: Serve, kind: str) -> None:
    server = serve(kind)
    for _ in range(2):
        peer = server.open()
        peer.send(frame(0x81, b"unread") * 100)
        peer.close()
    within(SOON, lambda: [one.reasons for one in server.applications if one.reasons][1:], "connectionLost of both")
    assert {reason.code for one in server.applications for reason in one.reasons} == {1006}
    assert server.call(lambda: len(server.factory.connections)) == 0


def test_silent_peers_meet_the_opening_deadline(serve: Serve, kind: str) -> None:
    server = serve(kind, openTimeout=0.5)
    # Over TLS one that says nothing at all, and one that says nothing in it.
    peers = [server.connect(tls=False), server.connect()]
    for peer in peers:
        try:
            peer.expect_end(5)
        except ConnectionResetError:
            assert kind == "tls"
            assert peer is peers[0]


@pytest.mark.slow
def test_a_close_behind_much_that_is_taken_slowly(serve: Serve, kind: str) -> None:
    """A peer that takes some of it is waited for, also while the system does not yet say that it takes more of us."""
    server = serve(kind, pingTimeout=1)
    peer = server.open(receive_buffer=2**14)
    transport = server.applications[0].transport
    payload = bytes(range(256)) * 2**14
    server.call(transport.sendBytesMessage, payload)
    server.call(transport.loseConnection, 1000, "enough")
    expected = struct.pack("!BBQ", 0x82, 127, len(payload)) + payload
    received = bytearray()
    # So slowly that the system says nothing for longer than it has to take something.
    end = time.monotonic() + 2.5
    while len(received) < len(expected):
        if time.monotonic() < end:
            time.sleep(0.04)
        data = peer.socket.recv(2**14)
        assert data, "cut off"
        received += data
    assert received[: len(expected)] == expected


@pytest.mark.slow
def test_one_that_takes_a_little_now_and_then_is_alive(serve: Serve, kind: str) -> None:
    """From a full buffer: no Ping gets to it, and no Pong comes; over TLS other buffers are full, too."""
    server = serve(kind, pingInterval=0.4, pingTimeout=1.2, sendLimit=None)
    peer = server.open(receive_buffer=2048)
    transport = server.applications[0].transport

    def fill() -> None:
        stream = transport.transport
        while hasattr(stream, "transport"):
            stream = stream.transport
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
        transport.sendBytesMessage(PATTERN * 4)

    server.call(fill)
    end = time.monotonic() + 4
    taken = 0
    while time.monotonic() < end:
        time.sleep(0.05)
        # The bytes of TLS as they are: what they say is not asked for.
        try:
            data = os.read(peer.socket.fileno(), 2048)
        except BlockingIOError:
            continue
        assert data, f"dropped after {taken} bytes"
        taken += len(data)
    assert taken < len(PATTERN)
    assert transport in server.call(lambda: server.factory.connections)
