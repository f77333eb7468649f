"""What hostile peers cost a server: its memory, as the system counts it, while they do their worst."""

import struct
import sys
from collections.abc import Callable, Iterator

import pytest
from integration.peer import Address, Peer, frame
from integration.process import Twistd

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MIB = 2**20
#: What `Settings.sendLimit` and the default message limit are.
BOUND = MIB
SMALL = 2**16


@pytest.fixture(scope="module")
def twistd() -> Iterator[Twistd]:
    with Twistd("--port", "tcp:0:interface=127.0.0.1") as twistd:
        # What a first message costs is not a peer's doing.
        peer = twistd.address().open()
        peer.stream(frame(0x82, bytes(BOUND)), BOUND + 14)
        peer.frame()
        peer.close()
        yield twistd


def flood(data: bytes, opening: bytes = b"") -> Callable[[Address], Peer]:
    """Peers that send and never read; 100 times the bound if they are let."""

    def attack(address: Address) -> Peer:
        peer = address.open(receive_buffer=SMALL)
        peer.send(opening)
        sent = peer.stream(data, 100 * BOUND, read=False)
        assert sent < 16 * MIB, f"{sent} bytes were taken from a peer that reads nothing"
        return peer

    return attack


def cut_off(data: bytes, code: int | None, opening: bytes = b"") -> Callable[[Address], Peer]:
    """Peers that read, and send what is too much."""

    def attack(address: Address) -> Peer:
        peer = address.connect() if code is None else address.open()
        peer.send(opening)
        peer.stream(data, 64 * MIB)
        if code is None:
            assert peer.answer().status in (414, 431)
        else:
            peer.expect_close(code)
        return peer

    return attack


def drip(address: Address) -> Peer:
    """A message in a million fragments of a byte."""
    peer = address.open()
    count = 250000
    peer.send(frame(0x02, b"a"))
    peer.stream(frame(0x00, b"a") * 1000, count * 7)
    peer.send(frame(0x80))
    assert peer.frame() == (0x82, b"a" * (count + 1))
    return peer


@pytest.mark.parametrize(
    ("attack", "most"),
    [
        pytest.param(flood(frame(0x82, bytes(60000))), 4 * BOUND, id="G05 echo flood of 60 KB"),
        pytest.param(flood(frame(0x82, bytes(MIB))), 6 * BOUND, id="G05 echo flood of 1 MiB"),
        pytest.param(flood(frame(0x81, b"a" * 50) * 100), 4 * BOUND, id="G05 echo flood of 50 bytes"),
        pytest.param(cut_off(frame(0x00, bytes(65536)), 1009, frame(0x02)), 3 * BOUND, id="G01 64 MiB in fragments"),
        pytest.param(cut_off(frame(0x00) * 1000, 1008, frame(0x02)), BOUND, id="G02 empty fragments"),
        pytest.param(drip, 2 * BOUND, id="G03 fragments of a byte"),
        pytest.param(
            cut_off(bytes(65536), 1009, struct.pack("!BBQ", 0x82, 0xFF, 2**30) + bytes(4)), BOUND, id="G09 1 GiB"
        ),
        pytest.param(cut_off(b"a" * 65536, None, b"GET / HTTP/1.1\r\nX-A: "), BOUND, id="H30 endless line"),
        pytest.param(cut_off(b"X-A: b\r\n" * 1000, None, b"GET / HTTP/1.1\r\n"), BOUND, id="H31 endless fields"),
        pytest.param(cut_off(b"a" * 65536, None, b"GET /"), BOUND, id="H32 endless request line"),
    ],
)
def test_memory(twistd: Twistd, attack: Callable[[Address], Peer], most: int) -> None:
    address = twistd.address()
    twistd.forget_peak()
    before = twistd.peak()
    peer = attack(address)
    used = twistd.peak() - before
    peer.close()
    assert used <= most, f"{used / MIB:.1f} MiB"


def test_G04_ping_flood(twistd: Twistd) -> None:
    """The Pongs for a peer that does not read do not pile up, whether it is read on or not."""
    address = twistd.address()
    twistd.forget_peak()
    before = twistd.peak()
    peer = address.open(receive_buffer=SMALL)
    pings = frame(0x89, bytes(125)) * 500
    total = 500 * len(pings)
    sent = peer.stream(pings, total, read=False)
    used = twistd.peak() - before
    assert used <= BOUND, f"{used / MIB:.1f} MiB for {sent / MIB:.0f} MiB of Pings"
    assert peer.stream(pings, total, start=sent) == total
    # The last Ping of all has its Pong.
    peer.send(frame(0x89, b"last"))
    while peer.frame() != (0x8A, b"last"):
        pass
    peer.close()


def test_the_peer_that_was_not_read_gets_everything(twistd: Twistd) -> None:
    """100 times the bound, by a peer that pauses and then reads."""
    peer = twistd.address().open(receive_buffer=SMALL)
    payload = bytes(range(256)) * 1024
    one = frame(0x82, payload)
    count = 100 * BOUND // len(payload)
    total = count * len(one)
    sent = peer.stream(one, total, read=False)
    assert sent < 16 * MIB
    twistd.forget_peak()
    before = twistd.peak()
    assert peer.stream(one, total, start=sent) == total
    for _ in range(count):
        assert peer.frame() == (0x82, payload)
    assert twistd.peak() - before <= 4 * BOUND
