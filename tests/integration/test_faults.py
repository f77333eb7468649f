"""Accidents of peers and machines: resets, kills, dead cables, stopped processes, too few descriptors.

The sizes are those that each change can carry; WSOCK_FAULTS=full, which `nox -s faults` sets, takes the large ones
and says what was measured.
"""

import contextlib
import os
import re
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.peer import PATIENCE, Address, Peer, frame, within
from integration.process import ENVIRONMENT, Twistd
from integration.streams import Client, connecting
from tools import require

from wsock import WebSocketDropped, WebSocketProtocol

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    pytest.mark.timeout(300),
]

FULL = os.environ.get("WSOCK_FAULTS") == "full"
MIB = 2**20
#: The masking key that leaves a payload as it is.
ZEROS = bytes(4)
#: How long a server that is in a hurry waits for a sign of life, and then for its Pong, in seconds.
INTERVAL, TIMEOUT = 1, 2
KEEN = ("--ping-interval", INTERVAL, "--ping-timeout", TIMEOUT)
#: The time that a busy machine may add to a deadline, in seconds.
SLACK = 5
#: `twistd`, and a route that echoes and says at once, past the log, how each connection ended. It says too when the
#: reactor runs: it listens a little earlier, and has not all its descriptors then.
PROGRAM = """
import os, resource, sys
from twisted.internet import reactor
from twisted.scripts.twistd import run
from wsock import Accept
from wsock.service import routes

class Report(routes.Echo):
    def connectionLost(self, reason):
        os.write(1, b"lost %d\\n" % getattr(reason.value, "code", 1000))

routes.KINDS["report"] = lambda: lambda request: Accept(Report())
files = FILES or resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
sys.argv[0] = "twistd"
reactor.callWhenRunning(reactor.callLater, 0, os.write, 1, b"runs\\n")
run()
"""


def figure(text: str) -> None:
    """Says what was measured, where it is worth something."""
    if FULL:
        print(f"\nfigure: {text}", flush=True)


class Server(Twistd):
    """A process that says how connections ended.

    Attributes:
        address: where it listens.
    """

    def __init__(
        self,
        *options: object,
        certificate: tuple[Path, Path] | None = None,
        files: int | None = None,
        prefix: tuple[str, ...] = (),
    ) -> None:
        """Args:
        options: those of `twistd wsock`.
        certificate: the paths of its key and its certificate, for TLS.
        files: how many descriptors it may have; by default as many as the system lets it.
        prefix: a command that runs it.
        """
        port = "tcp:0:interface=127.0.0.1"
        if certificate is not None and os.environ.get("WSOCK_REACTOR") == "uvloop":
            # Twisted's TLS over uvloop misses one reset in ten, without wsock too; the hub reads our own TLS.
            options = (*options, "--tls-cert", certificate[1], "--tls-key", certificate[0])
        elif certificate is not None:
            port = f"ssl:0:interface=127.0.0.1:privateKey={certificate[0]}:certKey={certificate[1]}"
        command = [*prefix, sys.executable, "-c", PROGRAM.replace("FILES", str(files))]
        routes = ("--route", "/echo=report", "--route", "/=report")
        super().__init__("--port", port, *routes, *options, command=command)
        self.where = self.address(certificate=certificate and certificate[1])
        within(PATIENCE, lambda: "\nruns\n" in self.log(), "the reactor runs")

    def lost(self) -> list[int]:
        """The codes of the connections that were lost so far."""
        return [int(code) for code in re.findall(r"^lost (\d+)$", self.log(), re.MULTILINE)]

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def cpu(self) -> float:
        """How many seconds of a processor it has taken so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest, certificate: tuple[Path, Path]) -> tuple[Path, Path] | None:
    """The arguments that make a `Server` speak TLS, or not."""
    return certificate if request.param == "tls" else None


@pytest.fixture(scope="module", autouse=True)
def _descriptors() -> Iterator[None]:
    """As many descriptors for this process as the system lets it have."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def hold(port: int, count: int) -> None:
    """A process that opens connections and answers what it is asked, until it is killed."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    address = Address(port=port)
    peers: dict[int, Peer] = {}
    poll = select.epoll()
    for _ in range(count):
        peer = address.open()
        peers[peer.socket.fileno()] = peer
        poll.register(peer.socket, select.EPOLLIN)
    print("holds", flush=True)
    while True:
        for descriptor, _ in poll.poll():
            peer = peers[descriptor]
            try:
                first, payload = peer.frame()
            except (AssertionError, OSError):
                # That its connections end is looked at on the other side.
                poll.unregister(descriptor)
                continue
            if first == 0x89:
                peer.send(frame(0x8A, payload))


@contextlib.contextmanager
def holder(server: Server, count: int, prefix: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """A process of clients, from when all are connected."""
    call = f"from integration.test_faults import hold; hold({server.where.port}, {count})"
    paths = os.pathsep.join([ENVIRONMENT["PYTHONPATH"], str(Path(__file__).parents[1])])
    with subprocess.Popen(
        [*prefix, sys.executable, "-c", call],
        env={**ENVIRONMENT, "PYTHONPATH": paths},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"holds\n"
            yield process
        finally:
            process.kill()


def is_lost(peer: Peer) -> bool:
    """Whether its connection was reset, which shows without reading."""
    poll = select.poll()
    poll.register(peer.socket, 0)
    return bool(poll.poll(0))


def ends(peer: Peer) -> bool:
    """Waits for the end of the stream, which may be a reset; returns whether nothing came before."""
    try:
        return peer.rest() == b""
    except OSError:
        return True


def echoes(peer: Peer, text: bytes = b"Hello") -> None:
    peer.send(frame(0x81, text))
    assert peer.frame() == (0x81, text)


def reset(peer: Peer) -> None:
    """Has the system send a reset, as that of a client that crashed."""
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


# Peers that go


def test_resets_in_a_frame(tls: tuple[Path, Path] | None) -> None:
    half = frame(0x82, bytes(60000), ZEROS)[:30000]
    count = 2000 if FULL else 200
    with Server(certificate=tls) as server:

        def open_and_reset() -> None:
            peer = server.where.open()
            # The answer tells that the rest has come, too.
            peer.send(frame(0x89) + half)
            assert peer.frame() == (0x8A, b"")
            reset(peer)

        # The memory that OpenSSL keeps for itself is no peer's doing.
        first = count // 4
        for _ in range(first):
            open_and_reset()
        within(PATIENCE, lambda: len(server.lost()) == first, "the first are lost")
        before = server.descriptors()
        server.forget_peak()
        memory = server.peak()
        for _ in range(count):
            open_and_reset()
        within(PATIENCE, lambda: len(server.lost()) == first + count, "each is lost")
        assert set(server.lost()) == {1006}
        assert server.descriptors() == before
        used = server.peak() - memory
        figure(f"{count} resets in a frame, {'TLS' if tls else 'plain'}: {used / MIB:.2f} MiB more at the most")
        assert used <= MIB


def test_clients_that_are_killed() -> None:
    count = 2000 if FULL else 200
    with Server() as server:
        before = server.descriptors()
        with holder(server, count) as clients:
            assert server.descriptors() == before + count
            cpu, began = server.cpu(), time.monotonic()
            clients.kill()
            within(PATIENCE, lambda: server.descriptors() == before, "all descriptors are free")
            seconds = time.monotonic() - began
            within(PATIENCE, lambda: len(server.lost()) == count, "each application is told")
            cpu = server.cpu() - cpu
        assert server.lost() == [1006] * count
        figure(f"kill -9 of a client of {count}: {cpu:.2f} s of CPU (0.3 to reach), {seconds:.2f} s in all")
        echoes(server.where.open())


def test_silent_peers(tls: tuple[Path, Path] | None) -> None:
    """F27: they are asked once, and then dropped."""
    with Server(*KEEN, certificate=tls) as server:
        began = time.monotonic()
        peers = [server.where.open() for _ in range(10)]
        for peer in peers:
            assert peer.frame()[0] == 0x89
        assert all(map(ends, peers))
        assert INTERVAL + TIMEOUT <= time.monotonic() - began <= INTERVAL + TIMEOUT + SLACK
        within(PATIENCE, lambda: server.lost() == [1011] * len(peers), "each application is told")


def test_stopped_clients() -> None:
    """Those that go on in time are kept, and those that do not are dropped, and nobody else is."""
    count = 200 if FULL else 20
    timeout = 3
    with Server("--ping-interval", INTERVAL, "--ping-timeout", timeout) as server:
        with holder(server, count) as stopped, holder(server, count):
            stopped.send_signal(signal.SIGSTOP)
            # They have been asked, and have not answered.
            time.sleep(timeout / 2)
            stopped.send_signal(signal.SIGCONT)
            # By now they would have been given up, if they had not gone on.
            time.sleep(INTERVAL + timeout / 2 + 0.5)
            assert server.lost() == []
            stopped.send_signal(signal.SIGSTOP)
            within(INTERVAL + timeout + SLACK, lambda: len(server.lost()) == count, "the stopped are dropped")
            time.sleep(INTERVAL)
            assert server.lost() == [1011] * count
        within(PATIENCE, lambda: len(server.lost()) == 2 * count, "the others are there until they end")


# Networks that go


@contextlib.contextmanager
def network() -> Iterator[tuple[str, ...]]:
    """A network with nobody else in it; gives the command that runs another one there."""
    name = f"wsock-{os.getpid()}"
    ip = require("ip")
    added = subprocess.run([ip, "netns", "add", name], capture_output=True, text=True, check=False)
    if added.returncode:
        why = f"no network namespace: {added.stderr.strip()}"
        if os.environ.get("CI") == "true" and os.geteuid() == 0:
            pytest.fail(why, pytrace=False)
        pytest.skip(why)
    try:
        yield ip, "netns", "exec", name
    finally:
        subprocess.run([ip, "netns", "delete", name], check=True)


@pytest.mark.peer
def test_blackhole() -> None:
    """A cable that is pulled says nothing: no end of the stream, no reset."""
    count, timers = 10, () if FULL else KEEN
    deadline = 40 if FULL else INTERVAL + TIMEOUT
    with network() as inside:
        link = [*inside, inside[0], "link", "set", "lo"]
        subprocess.run([*link, "up"], check=True)
        with Server(*timers, prefix=inside) as server:
            before = server.descriptors()
            with holder(server, count, prefix=inside):
                # Long enough to be asked, and to answer.
                time.sleep(2 * INTERVAL)
                assert server.lost() == []
                subprocess.run([*link, "down"], check=True)
                began = time.monotonic()
                within(deadline + SLACK, lambda: len(server.lost()) == count, "all are given up")
                figure(f"blackhole: {count} connections given up in {time.monotonic() - began:.1f} s")
            assert server.lost() == [1011] * count
            assert server.descriptors() == before


# Servers that go


class Loaded:
    """A client that sends its next message when the last has come back; the polite answer a Close.

    Attributes:
        echoed: how many came back so far.
        closed: the payload of the Close that it got.
    """

    def __init__(self, peer: Peer, polite: bool) -> None:
        self.peer = peer
        self.echoed = 0
        self.closed: bytes | None = None
        self._polite = polite
        self._send()

    def _send(self) -> None:
        self.peer.send(frame(0x81, b"%d" % self.echoed))

    def read(self) -> None:
        """Takes what has come, each message in its turn."""
        while True:
            first, payload = self.peer.frame()
            if first == 0x88:
                self.closed = payload
                if self._polite:
                    self.peer.send(frame(0x88, payload))
                return
            assert (first, payload) == (0x81, b"%d" % self.echoed)
            self.echoed += 1
            self._send()
            if not self.peer._received:
                return


def test_sigterm(tls: tuple[Path, Path] | None) -> None:
    """Each peer is told, and the process ends in time, though some peers do not answer."""
    count, silent = (500, 50) if FULL else (50, 5)
    with Server(certificate=tls) as server:
        loaded: dict[int, Loaded] = {}
        poll = select.epoll()
        for number in range(count):
            peer = server.where.open()
            loaded[peer.socket.fileno()] = Loaded(peer, number >= silent)
            poll.register(peer.socket, select.EPOLLIN)
        began = 0.0
        while not all(one.closed for one in loaded.values()):
            if not began and all(one.echoed >= 3 for one in loaded.values()):
                began = time.monotonic()
                server.process.send_signal(signal.SIGTERM)
            events = poll.poll(PATIENCE)
            assert events, "nothing comes any more"
            for descriptor, _ in events:
                loaded[descriptor].read()
                if loaded[descriptor].closed:
                    poll.unregister(descriptor)
        told = time.monotonic() - began
        assert {one.closed for one in loaded.values()} == {b"\x03\xe9"}
        assert all(ends(one.peer) for one in loaded.values())
        assert server.process.wait(PATIENCE) in (0, -signal.SIGTERM)
        seconds = time.monotonic() - began
        echoed = sum(one.echoed for one in loaded.values())
        figure(
            f"SIGTERM with {count} open, {'TLS' if tls else 'plain'}, {echoed} echoes: all told in {told:.2f} s, "
            f"ended in {seconds:.2f} s with {silent} that do not answer"
        )
        # 4 seconds are given to those who do not answer.
        assert seconds <= (5 if FULL else 5 + SLACK)
        assert len(server.lost()) == count


def test_no_descriptors_left() -> None:
    """Open connections go on, and new ones are served again when some are free."""
    with Server(files=64) as server:
        peers: list[Peer] = []

        def served() -> bool:
            try:
                peers.append(server.where.open())
            except (OSError, AssertionError):
                return False
            return True

        while served():
            assert len(peers) < 64
        assert len(peers) > 40
        for peer in peers:
            echoes(peer)
        for peer in peers[:10]:
            peer.close()
        del peers[:10]
        for _ in range(10):
            within(PATIENCE, served, "a new connection is served")
        for peer in peers:
            echoes(peer)


# Peers that wait for each other


def test_a_peer_that_reads_only_when_it_can_write(tls: tuple[Path, Path] | None) -> None:
    """So does the server: nothing moves any more."""
    with Server(*KEEN, certificate=tls) as server:
        peer = server.where.open()
        peer.stream(frame(0x82, bytes(60000), ZEROS), 200 * MIB, read=False)
        assert not is_lost(peer)
        within(INTERVAL + TIMEOUT + SLACK, lambda: is_lost(peer), "they are parted")
        within(PATIENCE, lambda: server.lost() == [1011], "the application is told")


class Talkative(WebSocketProtocol):
    """Sends everything back twice, so that soon there is more than finds room between the two.

    Attributes:
        heard: when it got something last, and how many messages so far.
        ended: when and why it ended.
    """

    __slots__ = ("ended", "heard")

    def __init__(self) -> None:
        self.heard = 0.0, 0
        self.ended: tuple[float, Any] | None = None

    def negotiationFinished(self) -> None:
        self.transport.sendBytesMessage(bytes(60000))

    def bytesMessageReceived(self, data: bytes) -> None:
        self.heard = time.monotonic(), self.heard[1] + 1
        for _ in range(2):
            self.transport.sendBytesMessage(data)

    def connectionLost(self, reason: Any) -> None:
        self.ended = time.monotonic(), reason.value


def test_two_of_ours_that_read_only_when_they_can_write(tls: tuple[Path, Path] | None, client: Client) -> None:
    with Server(*KEEN, certificate=tls) as server:
        talkative = Talkative()
        client.begin(server.where, connecting(talkative), pingInterval=INTERVAL, pingTimeout=TIMEOUT).result()
        within(60, lambda: talkative.ended, "they are parted")
        assert talkative.ended is not None
        (heard, count), (ended, reason) = talkative.heard, talkative.ended
        # It was the system's buffers that were full, not those of one side.
        assert count > 50
        assert ended - heard <= INTERVAL + TIMEOUT + SLACK
        assert isinstance(reason, WebSocketDropped)
        assert reason.code in (1006, 1011)
        within(PATIENCE, lambda: len(server.lost()) == 1, "the application is told")
        assert server.lost()[0] in (1006, 1011)
