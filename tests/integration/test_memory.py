"""The cost of hostile peers to a server: its memory, as the system counts it, while they do their worst.

The rows have the names of the table of attacks: what was seen to cost other libraries their memory.
"""

import contextlib
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from integration.peer import PATIENCE, Address, Peer, frame, request
from integration.process import TWISTD, Twistd
from integration.servers import Serve

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

MIB = 2**20
#: The default of `Settings.sendLimit`, and of the limit of a message.
BOUND = MIB
#: The bytes that are sent, where they may.
MUCH = 100 * BOUND
#: The bytes that are read, and let go, after a refusal or a Close.
DRAINED = 16 * MIB
#: The bytes that the systems of both sides may hold of what is not read, in all.
TAKEN = 16 * MIB
#: The receive buffer of a peer that reads nothing.
SMALL = 2**16
#: The masking key that leaves a payload as it is.
ZEROS = bytes(4)
TRANSPORTS = ("plain", "tls")
POLICIES = ("wait", "close", "drop")
#: Where the C library gives memory back as soon as it is freed, no row can hide in what an earlier one has left.
COMMAND = ["env", "MALLOC_TRIM_THRESHOLD_=65536", "MALLOC_MMAP_THRESHOLD_=65536", *TWISTD]
#: Longer than any row takes on a slow machine: nobody is dropped for being slow.
PATIENT = ("--ping-interval", 100, "--ping-timeout", 100, "--close-timeout", 100)
#: For peers that are not: what F27 waits for, in seconds.
INTERVAL, TIMEOUT = 2, 2
KEEN = ("--ping-interval", INTERVAL, "--ping-timeout", TIMEOUT)


class Target(Address):
    """A process under attack.

    Attributes:
        policy: its ``--slow-consumer``.
    """

    def __init__(self, twistd: Twistd, policy: str, certificate: Path | None) -> None:
        super().__init__(port=twistd.ports[0], certificate=certificate)
        self.policy = policy
        self._twistd = twistd
        # The cost of a first message is not a peer's doing.
        peer = self.open()
        peer.stream(frame(0x82, bytes(BOUND)), BOUND + 14)
        peer.frame()
        peer.close()

    @contextlib.contextmanager
    def at_most(self, size: int) -> Iterator[None]:
        """The block costs the process so many bytes more than it has now, even for a moment."""
        self._twistd.forget_peak()
        before = self._twistd.peak()
        yield
        used = self._twistd.peak() - before
        assert used <= size, f"{used / MIB:.2f} MiB more, where {size / MIB:.2f} are allowed"


Targets = Callable[..., Target]


@pytest.fixture(scope="module")
def targets(certificate: tuple[Path, Path]) -> Iterator[Targets]:
    """Returns a function that gives the process of a transport and a policy, started at its first use."""
    key, pem = certificate
    started: dict[tuple[object, ...], Target] = {}
    with contextlib.ExitStack() as stack:

        def target(transport: str, policy: str = "wait", timers: tuple[object, ...] = PATIENT) -> Target:
            identity = (transport, policy, timers)
            if identity not in started:
                port = "tcp:0:interface=127.0.0.1"
                if transport == "tls":
                    port = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={pem}"
                routes = ("--route", "/echo=echo", "--route", "/x=broadcast")
                twistd = Twistd("--port", port, "--slow-consumer", policy, *routes, *timers, command=COMMAND)
                stack.enter_context(twistd)
                started[identity] = Target(twistd, policy, pem if transport == "tls" else None)
            return started[identity]

        yield target
        for one in started.values():
            one.close()


Attack = Callable[[Target], None]


def cut_off(data: bytes, code: int | None, opening: bytes = b"") -> Attack:
    """Peers that read, and send what is too much; and go on when they were told so, until they are cut off."""

    def attack(target: Target) -> None:
        peer = target.connect() if code is None else target.open()
        peer.send(opening)
        sent = peer.stream(data, MUCH, ends=False, cut=True)
        assert sent <= DRAINED + 2 * BOUND + TAKEN
        if code is None:
            assert peer.answer().status in (414, 431)
        else:
            peer.expect_close(code)
        peer.close()

    return attack


def patience(target: Target) -> float:
    """How long nothing may move: a server that reads on may be slow, and one that does not will not."""
    return 0.5 if target.policy == "wait" else PATIENCE


def ping_flood(target: Target) -> None:
    """Pings from a peer that reads no Pong."""
    peer = target.open(receive_buffer=SMALL)
    ping = frame(0x89, bytes(125), ZEROS)
    pings = ping * 500
    total = MUCH // len(ping) * len(ping)
    # One call's Pongs wait at the most. About as much makes a server under "wait" stop reading: it may, or not.
    sent = peer.stream(pings, total, read=False, patience=patience(target))
    if target.policy == "wait":
        # It goes on where it stood, reads now, and ends with a whole Ping.
        total = (sent + BOUND) // len(ping) * len(ping)
    else:
        assert sent == total
    assert peer.stream(pings, total, start=sent) == total
    # The last Ping of all has its Pong.
    last = frame(0x89, b"last")
    peer.stream(last, len(last))
    while peer.frame() != (0x8A, b"last"):
        pass
    peer.close()


def echo_flood(payload: bytes, count: int = 1) -> Attack:
    """Messages from a peer that reads no echo; at the end it does."""
    message = frame(0x82, payload, ZEROS)
    messages = message * count

    def attack(target: Target) -> None:
        peer = target.open(receive_buffer=SMALL)
        total = MUCH // len(message) * len(message)
        sent = peer.stream(messages, total, read=False, patience=patience(target))
        if target.policy == "wait":
            assert sent < TAKEN, f"{sent} bytes were taken from a peer that reads nothing"
        else:
            assert sent == total
        if target.policy == "close":
            while (first_and_payload := peer.frame()) == (0x82, payload):
                pass
            assert first_and_payload == (0x88, b"\x03\xf5too much unsent")
        elif target.policy == "drop":
            peer.send(frame(0x81, b"last"))
            while (first_and_payload := peer.frame()) == (0x82, payload):
                pass
            assert first_and_payload == (0x81, b"last")
        peer.close()

    return attack


def tiny_messages(target: Target) -> None:
    """The queue holds many small things, where few large ones were."""
    peer = target.open(receive_buffer=SMALL)
    large = frame(0x82, bytes(60000), ZEROS)
    peer.stream(large, 500 * len(large), read=False, patience=PATIENCE)
    small = frame(0x82) * 1000
    # Their echoes are of 2 bytes, those on the way in of 6: what is queued is twice what may be.
    total = 3 * 2 * BOUND
    assert peer.stream(small, total, read=False, patience=PATIENCE) == total
    peer.send(frame(0x81, b"last"))
    while peer.frame() != (0x81, b"last"):
        pass
    peer.close()


def fragments_of_a_byte(target: Target) -> None:
    """A message in fragments of a byte; then one that is too large, and does not end."""
    peer = target.open()
    count = 100_000
    peer.send(frame(0x02, b"a", ZEROS))
    peer.stream(frame(0x00, b"a", ZEROS) * 1000, count * 7)
    peer.send(frame(0x80))
    assert peer.frame() == (0x82, b"a" * (count + 1))
    peer.send(frame(0x02))
    assert peer.stream(frame(0x00, b"a", ZEROS) * 1000, MUCH, ends=False, cut=True) <= DRAINED + 8 * BOUND + TAKEN
    peer.expect_close(1009)
    peer.close()


def sends_of_a_byte(target: Target) -> None:
    """A frame in as many sends as it has bytes."""
    peer = target.open()
    size = 2**18
    data = frame(0x82, bytes(size), ZEROS)
    for place in range(len(data)):
        peer.send(data[place : place + 1])
    assert peer.frame() == (0x82, bytes(size))
    peer.close()


#: By name: what is done, what it may cost in bytes, under which policies.
ROWS: dict[str, tuple[Attack, float, tuple[str, ...]]] = {
    "G01 a message in fragments": (cut_off(frame(0x00, bytes(65536), ZEROS), 1009, frame(0x02)), 2 * BOUND, ("wait",)),
    "G02 empty fragments": (cut_off(frame(0x00) * 1000, 1008, frame(0x02)), BOUND / 2, ("wait",)),
    "G03 fragments of a byte": (fragments_of_a_byte, 2 * BOUND, ("wait",)),
    "G04 ping flood": (ping_flood, BOUND, POLICIES),
    "G05 echo flood of 60 KB": (echo_flood(bytes(60000)), 2 * BOUND, POLICIES),
    "G05 echo flood of 1 MiB": (echo_flood(bytes(MIB)), 5 * BOUND, POLICIES),
    "G05 echo flood of 50 bytes": (echo_flood(b"a" * 50, 1000), 2 * BOUND, ("wait",)),
    "G05 tiny messages": (tiny_messages, 2 * BOUND, ("drop",)),
    "G08 sends of a byte": (sends_of_a_byte, BOUND, ("wait",)),
    "G09 1 GiB announced": (cut_off(bytes(65536), 1009, b"\x82\xff\0\0\0\0\x40\0\0\0" + ZEROS), BOUND / 2, ("wait",)),
    "H30 endless line": (cut_off(b"a" * 65536, None, b"GET / HTTP/1.1\r\nX-A: "), BOUND / 2, ("wait",)),
    "H31 endless fields": (cut_off(b"X-A: b\r\n" * 1000, None, b"GET / HTTP/1.1\r\n"), BOUND / 2, ("wait",)),
    "H32 endless request line": (cut_off(b"a" * 65536, None, b"GET /"), BOUND / 2, ("wait",)),
}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("name", "policy"), [(name, policy) for name, row in ROWS.items() for policy in row[2]])
def test_memory(targets: Targets, transport: str, name: str, policy: str) -> None:
    attack, most, _ = ROWS[name]
    target = targets(transport, policy)
    with target.at_most(int(most)):
        attack(target)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_peer_that_was_not_read_gets_everything(targets: Targets, transport: str) -> None:
    """100 times the bound, by a peer that pauses and then reads."""
    target = targets(transport)
    with target.at_most(4 * BOUND):
        peer = target.open(receive_buffer=SMALL)
        payload = bytes(range(256)) * 1024
        one = frame(0x82, payload, ZEROS)
        count = MUCH // len(payload)
        total = count * len(one)
        sent = peer.stream(one, total, read=False)
        assert sent < TAKEN
        assert peer.stream(one, total, start=sent) == total
        for _ in range(count):
            assert peer.frame() == (0x82, payload)
        peer.close()


def test_who_was_not_read_for_tiny_messages_gets_everything(serve: Serve) -> None:
    """However many of them are as much as one large one: under ``wait`` nobody is closed for what he sends."""
    server = serve()
    # An accepted socket inherits it; it takes millions to fill the system's buffers.
    server.listening.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**13)
    peer = server.open(receive_buffer=2**13)
    count = 100_000
    messages = frame(0x82) * 1000
    total = count * len(messages) // 1000
    sent = peer.stream(messages, total, read=False)
    assert peer.stream(messages, total, start=sent) == total
    assert peer.read(2 * count) == frame(0x82, key=None) * count


def _message(peer: Peer) -> tuple[int, bytes]:
    """The next frame but for Pings, which are answered."""
    while (first_and_payload := peer.frame())[0] == 0x89:
        peer.send(frame(0x8A, first_and_payload[1]))
    return first_and_payload


class Group:
    """Those to whom the route sends on what one of them sends: some who read, and one who does not."""

    def __init__(self, target: Target, readers: int = 3) -> None:
        self.slow = self._join(target, SMALL)
        self.readers = [self._join(target) for _ in range(readers)]
        self.sent = 0

    def _join(self, target: Target, receive_buffer: int | None = None) -> Peer:
        peer = target.connect(receive_buffer)
        peer.send(request("GET /x HTTP/1.1"))
        assert peer.answer().status == 101
        return peer

    def send(self, size: int, count: int, at_once: int) -> None:
        """One of the readers sends so many messages of a size, each with a number; they read as it sends."""
        filling = bytes(size - 8)
        for start in range(self.sent, self.sent + count, at_once):
            payloads = [number.to_bytes(8, "big") + filling for number in range(start, start + at_once)]
            self.readers[0].send(b"".join(frame(0x82, payload, ZEROS) for payload in payloads))
            for reader in self.readers:
                for payload in payloads:
                    assert _message(reader) == (0x82, payload)
            self.sent = start + at_once

    def close(self) -> None:
        for peer in (self.slow, *self.readers):
            peer.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("policy", POLICIES)
def test_S01_slow_reader(targets: Targets, transport: str, policy: str) -> None:
    target = targets(transport, policy)
    group = Group(target)
    with target.at_most(BOUND + MIB):
        size = 2**14
        group.send(size, MUCH // size, 4)
        if policy != "drop":
            # The messages that it was sent before are there, whole and in order.
            number = 0
            while (first_and_payload := group.slow.frame())[0] == 0x82:
                assert first_and_payload[1][:8] == number.to_bytes(8, "big")
                number += 1
            assert first_and_payload == (0x88, b"\x03\xf5too much unsent")
        group.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_S01_slow_reader_of_small_messages(targets: Targets, transport: str) -> None:
    """A limit in bytes is one for the memory too: messages of 64 bytes take no more than large ones."""
    target = targets(transport, "drop")
    group = Group(target)
    with target.at_most(BOUND + MIB):
        group.send(2**14, 16 * MIB // 2**14, 4)
        group.send(64, 2 * BOUND // 64, 256)
        # The newest are what is left for it, each once.
        group.readers[0].send(frame(0x81, b"last", ZEROS))
        previous = -1
        while (first_and_payload := group.slow.frame())[0] == 0x82:
            number = int.from_bytes(first_and_payload[1][:8], "big")
            assert number > previous
            previous = number
        assert first_and_payload == (0x81, b"last")
        assert previous == group.sent - 1
        group.close()


def is_lost(peer: Peer) -> bool:
    """Whether its connection was reset, which shows without reading."""
    poll = select.poll()
    poll.register(peer.socket, 0)
    return bool(poll.poll(0))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_F27_silent_peers(targets: Targets, transport: str) -> None:
    """They are asked, and then dropped, what is sent to one of them meanwhile notwithstanding."""
    target = targets(transport, "drop", KEEN)
    silent = [target.open() for _ in range(10)]
    group = Group(target)
    with target.at_most(BOUND + MIB):
        began = time.monotonic()
        group.send(2**14, MUCH // 2**14, 4)
        for peer in silent:
            first, payload = peer.frame()
            assert first == 0x89
            assert payload.isalnum()
        while not all(map(is_lost, [group.slow, *silent])):
            group.send(64, 1, 1)
            time.sleep(0.05)
            assert time.monotonic() < began + INTERVAL + TIMEOUT + PATIENCE
        # Nobody else is.
        group.send(64, 1, 1)
        group.close()
        for peer in silent:
            peer.close()
