"""The memory that compression costs a process of ours, as the system counts it."""

import json
import random
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.deflating import Node, numbered, websockets
from integration.peer import Address, Peer, frame, request
from integration.process import TWISTD, Twistd, run
from integration.test_proxies import LOOPBACK
from websockets.sync.client import connect

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

KIB = 2**10
MIB = 2**20
#: The default of `Settings.maxMessageSize`.
LIMIT = MIB
#: How many connections are measured, beyond the first hundred: all of them are among the 1,024 files that systems let
#: a process open.
COUNT = 800
#: As in test_memory.py: memory that is freed goes back at once.
GIVES_BACK = ["env", "MALLOC_TRIM_THRESHOLD_=65536", "MALLOC_MMAP_THRESHOLD_=65536"]
#: Longer than a test takes on a slow machine: no peer is asked whether it is there.
PATIENT = ("--ping-interval", 100, "--ping-timeout", 100, "--close-timeout", 100)
OURS = [sys.executable, Path(__file__).with_name("ours.py")]
#: With these it takes more memory than by default.
CONTEXTS = {
    "serverContextTakeover": True,
    "clientContextTakeover": True,
    "serverMaxWindowBits": 12,
    "clientMaxWindowBits": 12,
    "memLevel": 5,
    "threshold": 0,
}
#: The masking key that leaves a payload as it is.
ZEROS = bytes(4)
#: The payload of a message of 4 KiB that gets half as long.
TEXT = random.Random(7692).randbytes(2 * KIB).hex().encode()


def ours(command: list[Any] = OURS, **compression: object) -> Twistd:
    return Twistd("serve", json.dumps(compression), command=[*map(str, [*GIVES_BACK, *command])], flags="")


def service() -> Twistd:
    return Twistd("--compression", "--port", LOOPBACK, *PATIENT, command=[*GIVES_BACK, *TWISTD])


def resident(twistd: Twistd) -> int:
    status = Path(f"/proc/{twistd.process.pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * KIB


def open_peer(address: Address, path: str = "/", offer: str = "permessage-deflate; client_max_window_bits") -> Peer:
    peer = address.connect()
    peer.send(request(f"GET {path} HTTP/1.1", Sec_WebSocket_Extensions=offer))
    answer = peer.answer()
    assert answer.status == 101
    assert str(answer["Sec-WebSocket-Extensions"]).startswith("permessage-deflate")
    return peer


def deflated(*pieces: bytes, bits: int = 15) -> bytes:
    """A message, compressed by zlib: the pieces of its payload one after the other."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -bits)
    data = b"".join(map(stream.compress, pieces)) + stream.flush(zlib.Z_SYNC_FLUSH)
    return data[:-4]


# Connections that are idle after their first message


def cost(twistd: Twistd, path: str) -> float:
    """How many bytes are resident for each connection after one message, and its echo."""
    address = twistd.address()
    message = frame(0xC1, deflated(TEXT, bits=12), ZEROS)

    def talk(peer: Peer) -> None:
        peer.send(message)
        first, payload = peer.frame()
        assert first == 0xC1
        assert zlib.decompressobj(-15).decompress(payload + b"\0\0\xff\xff") == TEXT
        assert len(payload) < 0.7 * len(TEXT)

    for _ in range(100):
        talk(open_peer(address, path))
    before = resident(twistd)
    for _ in range(COUNT):
        talk(open_peer(address, path))
    return (resident(twistd) - before) / COUNT


def test_idle_by_default() -> None:
    with service() as twistd:
        each = cost(twistd, "/echo")
    print(f"{each / KIB:.1f} KiB a connection")
    assert each <= 8 * KIB


def test_idle_with_contexts() -> None:
    with ours(**CONTEXTS) as twistd:
        each = cost(twistd, "/")
    print(f"{each / KIB:.1f} KiB a connection with contexts")
    assert each <= 60 * KIB


# More than the limit, in little


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """256 MiB in 261 KB."""
    data = deflated(*[bytes(MIB)] * 256)
    assert len(data) < 262_000
    return data


@pytest.mark.parametrize("pieces", [1, 100])
def test_bomb(bomb: bytes, pieces: int) -> None:
    """100 of them, in one frame or in many: each gets 1009, and nothing is delivered."""
    size = len(bomb) // pieces + 1
    parts = [bomb[place : place + size] for place in range(0, len(bomb), size)]
    data = b"".join(
        frame((0x80 if number == len(parts) - 1 else 0) | (0 if number else 0x42), part, ZEROS)
        for number, part in enumerate(parts)
    )
    with service() as twistd:
        address = twistd.address()
        # The cost of a first message is no attack's.
        peer = open_peer(address, "/echo")
        peer.send(frame(0xC2, deflated(bytes(LIMIT)), ZEROS))
        assert peer.frame()[0] == 0xC2
        peer.close()
        twistd.forget_peak()
        before = twistd.peak()
        for _ in range(100):
            peer = open_peer(address, "/echo")
            peer.stream(data, len(data), cut=True)
            peer.expect_close(1009)
            peer.send(frame(0x88, b"\x03\xf1", ZEROS))
            peer.expect_end()
            peer.close()
        used = twistd.peak() - before
    print(f"{used / MIB:.2f} MiB for bombs in {pieces}")
    assert used <= 2 * LIMIT + MIB


@pytest.mark.parametrize("context", [False, True])
def test_many_in_a_segment(context: bool) -> None:
    """63 messages of 1 MiB at once, to an application that pauses after the first."""
    message = frame(0xC2, deflated(bytes(LIMIT)), ZEROS)
    with ours(**({**CONTEXTS, "threshold": 256} if context else {})) as twistd:
        address = twistd.address()
        peer = open_peer(address, "/first")
        peer.send(message)
        assert peer.frame() == (0x81, b"paused after 1048576")
        peer.close()
        twistd.forget_peak()
        before = twistd.peak()
        peer = open_peer(address, "/first")
        peer.send(message * 63)
        assert len(message * 63) < 2**17
        assert peer.frame() == (0x81, b"paused after 1048576")
        # It is paused, and all that arrived has been read: a connection that came later is served meanwhile.
        other = open_peer(address)
        other.send(frame(0x81, b"later", ZEROS))
        assert other.frame()[0] in (0x81, 0xC1)
        used = twistd.peak() - before
    print(f"{used / MIB:.2f} MiB for 63 in a segment")
    assert used <= 2 * LIMIT + 2 * MIB


# Ten thousand messages that refer to each other


COMPRESSION = json.dumps(CONTEXTS)
#: The bytes that nine thousand messages may add to the first thousand's.
MOST = 2 * MIB


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    node = Node()
    yield node
    node.close()


def with_websockets(url: str, count: int) -> None:
    """Sends them by `websockets`, a hundred under way."""
    under_way: list[Any] = []
    with connect(url, proxy=None, ping_interval=None) as client:
        for message in numbered(count):
            client.send(message)
            under_way.append(message)
            if len(under_way) == 100:
                assert client.recv(60) == under_way.pop(0)
        for message in under_way:
            assert client.recv(60) == message


def check_server(send: Callable[[str, int], object]) -> None:
    with ours(**CONTEXTS) as twistd:
        url = f"ws://127.0.0.1:{twistd.ports[0]}/"
        send(url, 1000)
        twistd.forget_peak()
        before = twistd.peak()
        send(url, 10000)
        used = twistd.peak() - before
    print(f"{used / MIB:.2f} MiB for ten thousand")
    assert used <= MOST


def test_ten_thousand_of_websockets() -> None:
    check_server(with_websockets)


@pytest.mark.peer
def test_ten_thousand_of_node_ws(node: Node) -> None:
    check_server(lambda url, count: node.run(url, "many", count, threshold=0))


def check_client(url: str) -> None:
    done = run("wsock", "client", COMPRESSION, url, 10000, command=[*map(str, OURS)])
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert "server_no_context_takeover" not in result["extension"]
    assert "client_no_context_takeover" not in result["extension"]
    first, last = result["peaks"]
    print(f"{(last - first) / MIB:.2f} MiB for ten thousand of ours")
    assert last - first <= MOST


def test_ten_thousand_to_websockets() -> None:
    with websockets() as url:
        check_client(url)


@pytest.mark.peer
def test_ten_thousand_to_node_ws(node: Node) -> None:
    check_client(node.url(threshold=0))
