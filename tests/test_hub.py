"""The hub: adopted transports over real sockets, on each kind of reactor, and beside those that the reactor reads."""

import errno
import gc
import os
import select
import socket
import struct
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from twisted.internet import tcp, unix
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.pollreactor import PollReactor
from twisted.internet.protocol import Protocol
from twisted.internet.selectreactor import SelectReactor
from twisted.logger import LogEvent, globalLogPublisher
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure
from wire import ANSWER, CLOSE, HELLO, HELLO_SENT, REQUEST
from zope.interface import implementer

from wsock import Settings, WebSocketProtocol, WebSocketServerFactory
from wsock.wire import adoption, hub
from wsock.wire.adoption import adopt
from wsock.wire.turn import sharedTurn

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="the system has no epoll")

if hasattr(select, "epoll"):
    from twisted.internet.epollreactor import EPollReactor
else:
    EPollReactor = PollReactor


def asyncioReactor() -> Any:
    from asyncio import new_event_loop

    return AsyncioSelectorReactor(new_event_loop())


REACTORS: dict[str, Callable[[], Any]] = {
    "epoll": EPollReactor,
    "poll": PollReactor,
    "select": SelectReactor,
    "asyncio": asyncioReactor,
}


DEFAULTS = Settings()


class Port:
    _realPortNumber = 1


class Recording(Protocol):
    """Notes what it is told, and does what the test wants done then."""

    def __init__(self, name: str = "it", told: list[Any] | None = None) -> None:
        self.name = name
        self.told: list[Any] = [] if told is None else told
        self.onData: Callable[[bytes], object] = lambda data: None
        self.onLost: Callable[[], object] = lambda: None

    def dataReceived(self, data: bytes) -> None:
        self.told.append((self.name, data))
        self.onData(data)

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        self.told.append((self.name, reason.type))
        self.onLost()


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recording):
    def readConnectionLost(self) -> None:
        self.told.append((self.name, "read"))

    def writeConnectionLost(self) -> None:
        self.told.append((self.name, "write"))


class World:
    """A reactor of its own, with transports on it."""

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.open: list[Any] = []

    def make(
        self,
        protocol: Recording,
        adopted: bool = True,
        kind: type[tcp.Server] = tcp.Server,
        pair: tuple[socket.socket, socket.socket] | None = None,
    ) -> tuple[Any, socket.socket]:
        """A connected transport, and the peer's socket."""
        near, peer = tcpPair() if pair is None else pair
        transport: Any = kind(near, protocol, ("", 1), Port(), 1, self.reactor)
        protocol.makeConnection(transport)
        transport.startReading()
        self.open += [transport, peer, near]
        if adopted:
            assert adopt(transport)
        return transport, peer

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.reactor.iterate(0)

    def until(self, condition: Callable[[], object]) -> None:
        for _ in range(100_000):
            if condition():
                return
            self.turn()
        raise AssertionError("it did not come")

    @property
    def hubs(self) -> list[Any]:
        return [reader for reader in self.reactor.getReaders() if isinstance(reader, hub.Hub)]

    def close(self) -> None:
        for one in self.open:
            if isinstance(one, socket.socket):
                one.close()
            else:
                with suppress(Exception):
                    one.connectionLost(Failure(ConnectionLost()))
        for reader in self.reactor._internalReaders:
            self.reactor.removeReader(reader)
            reader.connectionLost(None)
        self.reactor.removeAll()


def tcpPair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        peer = socket.create_connection(listening.getsockname())
        near, _ = listening.accept()
    return near, peer


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


@pytest.fixture(params=REACTORS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    it = World(REACTORS[request.param]())
    yield it
    it.close()
    if request.param == "asyncio":
        it.reactor._asyncioEventloop.close()


@pytest.fixture
def epoll() -> Iterator[World]:
    it = World(EPollReactor())
    yield it
    it.close()
    it.reactor._poller.close()


@pytest.fixture
def logged() -> Iterator[list[LogEvent]]:
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def epolls() -> int:
    """How many epolls this process has."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found += os.readlink(f"/proc/self/fd/{name}") == "anon_inode:[eventpoll]"
    return found


def failures(events: list[LogEvent]) -> list[type]:
    return [event["failure"].type for event in events if "failure" in event]


# Reading


def test_an_adopted_transport_is_read_by_the_hub(world: World) -> None:
    it = Recording()
    transport, peer = world.make(it)
    assert transport not in world.reactor.getReaders()
    assert len(world.hubs) == 1
    for data in (b"one", b"two"):
        peer.sendall(data)
        world.until(lambda data=data: it.told[-1:] == [("it", data)])
    assert it.told == [("it", b"one"), ("it", b"two")]


def test_it_is_still_twisteds(world: World) -> None:
    transport, _ = world.make(Recording())
    assert isinstance(transport, tcp.Server)
    assert (type(transport).__name__, type(transport).__module__) == ("Server", "twisted.internet.tcp")
    assert adopt(transport), "once is enough"
    assert len(world.hubs) == 1


def test_a_large_input_is_read_in_pieces_of_64_kib(world: World) -> None:
    it = Recording()
    transport, peer = world.make(it)
    transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
    data = os.urandom(200_000)
    peer.setblocking(False)
    sent = 0
    while sent < len(data):
        with suppress(BlockingIOError):
            sent += peer.send(data[sent:])
        world.turn()
    world.until(lambda: sum(len(piece) for _, piece in it.told) == len(data))
    assert b"".join(piece for _, piece in it.told) == data
    assert max(len(piece) for _, piece in it.told) <= 65536
    assert all(type(piece) is bytes for _, piece in it.told)


def fill(peer: socket.socket, size: int) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * size)
    peer.settimeout(10)
    peer.sendall(bytes(size))


def test_much_is_read_at_a_time_in_the_middle_of_a_large_message(epoll: World) -> None:
    it = Recording()
    transport, peer = epoll.make(it, pair=socket.socketpair())
    sizes: list[int] = []
    it.onData = lambda data: sizes.append(len(data))
    fill(peer, 130_000)
    epoll.until(lambda: sum(sizes) == 130_000)
    assert sizes == [65536, 64464]
    adoption.readMuch(transport)
    assert isinstance(transport, tcp.Server)
    for _ in range(2):
        del sizes[:]
        fill(peer, 130_000)
        epoll.until(lambda: sum(sizes) == 130_000)
        assert sizes == [130_000]
    # Less has come: it is over.
    fill(peer, 65536)
    epoll.until(lambda: sizes[-1] == 65536)
    del sizes[:]
    fill(peer, 130_000)
    epoll.until(lambda: sum(sizes) == 130_000)
    assert sizes == [65536, 64464]
    peer.close()
    epoll.until(lambda: it.told[-1] == ("it", ConnectionDone))


def test_only_an_adopted_transport_reads_much(epoll: World) -> None:
    transport, _ = epoll.make(Recording(), adopted=False)
    adoption.readMuch(transport)
    assert type(transport) is tcp.Server


@pytest.mark.parametrize("world", ["epoll", "poll", "select"], indirect=True)  # whose loop can't run within itself
def test_bytes_stay_what_they_were_though_another_connection_is_read_meanwhile(world: World) -> None:
    """The buffer is shared."""
    outer, inner, seen = Recording("outer"), Recording("inner"), list[bytes]()
    _, one = world.make(outer)
    _, two = world.make(inner)

    def iterate(data: bytes) -> None:
        two.sendall(b"BBB")
        world.until(lambda: inner.told)
        seen.append(data)

    outer.onData = iterate
    one.sendall(b"aaa")
    world.until(lambda: seen)
    assert (seen, inner.told) == ([b"aaa"], [("inner", b"BBB")])


def test_a_batch_has_at_most_128_connections_and_all_have_their_turn(epoll: World) -> None:
    told: list[Any] = []
    peers = [epoll.make(Recording(str(number), told), pair=socket.socketpair())[1] for number in range(300)]
    for peer in peers:
        peer.sendall(b"x")
    [it] = epoll.hubs
    counts = []
    for _ in range(3):
        it.doRead()
        counts.append(len(told))
    assert counts == [128, 256, 300]
    assert len({name for name, _ in told}) == 300, "none twice before all others"


def test_the_reactor_calls_once_for_a_batch(epoll: World) -> None:
    told: list[Any] = []
    for number in range(20):
        epoll.make(Recording(str(number), told), pair=socket.socketpair())[1].sendall(b"x")
    [it] = epoll.hubs
    calls = []
    doRead = it.doRead
    it.doRead = lambda: calls.append(doRead())
    epoll.turn()
    assert (len(calls), len(told)) == (1, 20)


# Pauses


def test_a_call_without_a_reason_does_nothing(epoll: World) -> None:
    it = Recording()
    transport, _ = epoll.make(it)
    assert transport.doRead() is None
    epoll.hubs[0].doRead()
    assert it.told == []


def test_the_system_is_asked_for_one_batch_and_not_waited_for(epoll: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Epoll(FullEpoll):
        def __init__(self) -> None:
            super().__init__()
            self.poll = lambda *arguments: asked.append(arguments) or []

    monkeypatch.setattr(hub.select, "epoll", Epoll)
    epoll.make(Recording())
    epoll.hubs[0].doRead()
    assert asked == [(0, 128)]


def test_in_the_middle_of_large_messages_a_batch_is_smaller(epoll: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Epoll(FullEpoll):
        def __init__(self) -> None:
            super().__init__()
            self.poll = lambda *arguments: asked.append(arguments) or self.real.poll(*arguments)

    monkeypatch.setattr(hub.select, "epoll", Epoll)
    it = Recording()
    transport, peer = epoll.make(it, pair=socket.socketpair())
    adoption.readMuch(transport)
    for size in (130_000, 10, 10, 10):
        fill(peer, size)
        epoll.hubs[0].doRead()
    assert asked == [(0, 128), (0, 16), (0, 16), (0, 128)]
    assert len(it.told) == 4


def test_a_paused_transport_is_not_read_and_goes_on_later(world: World) -> None:
    it = Recording()
    transport, peer = world.make(it)
    transport.pauseProducing()
    peer.sendall(b"x")
    world.turn(5)
    assert it.told == []
    assert world.hubs == [], "nobody waits"
    transport.resumeProducing()
    transport.resumeProducing()
    world.until(lambda: it.told)
    assert transport not in world.reactor.getReaders()


def test_a_paused_transport_wakes_nobody(epoll: World) -> None:
    epoll.make(Recording())
    one, onePeer = epoll.make(Recording())
    two, twoPeer = epoll.make(Recording())
    for transport in (one, two):
        transport.pauseProducing()
    onePeer.sendall(b"x")
    reset(twoPeer)
    # It has come, so it would be told.
    assert select.select([one.socket], [], [], 10)[0]
    assert select.select([two.socket], [], [], 10)[0]
    [it] = epoll.hubs
    assert select.select([it.fileno()], [], [], 0)[0] == []


def test_a_pause_within_a_batch_holds_for_those_behind_it(epoll: World, logged: list[LogEvent]) -> None:
    told: list[Any] = []
    transports = []

    def pauseOthers(data: bytes) -> None:
        for transport, protocol in transports:
            if protocol.told is told and (protocol.name, data) not in told:
                transport.pauseProducing()

    peers = []
    for name in ("one", "two"):
        it = Recording(name, told)
        it.onData = pauseOthers
        transport, peer = epoll.make(it)
        transports.append((transport, it))
        peers.append(peer)
    for peer in peers:
        peer.sendall(b"x")
    epoll.until(lambda: told)
    epoll.turn(5)
    assert (len(told), failures(logged)) == (1, [])
    for transport, _ in transports:
        transport.resumeProducing()
    epoll.until(lambda: len(told) == 2)


def test_one_that_is_paused_and_resumed_within_a_batch_is_read_once(epoll: World) -> None:
    told: list[Any] = []
    one, two = Recording("one", told), Recording("two", told)
    first, firstPeer = epoll.make(one)
    second, secondPeer = epoll.make(two)

    def flip(data: bytes) -> None:
        for transport in (first, second):
            transport.pauseProducing()
            transport.resumeProducing()

    one.onData = two.onData = flip
    firstPeer.sendall(b"x")
    secondPeer.sendall(b"x")
    epoll.until(lambda: len(told) == 2)
    epoll.turn(5)
    assert sorted(told) == [("one", b"x"), ("two", b"x")]


# Ends: what happens is what happens to a transport that the reactor reads


Way = Callable[[Recording, Any, socket.socket], object]


def inCallback(do: Callable[[Any], object]) -> Way:
    """Has it done when the connection is read."""

    def way(it: Recording, transport: Any, peer: socket.socket) -> None:
        it.onData = lambda data: do(transport)
        peer.sendall(b"x")

    return way


def halfClosed(it: Recording, transport: Any, peer: socket.socket) -> None:
    peer.sendall(b"x")
    peer.shutdown(socket.SHUT_WR)


def resetBehindData(it: Recording, transport: Any, peer: socket.socket) -> None:
    peer.sendall(b"x")
    transport.socket.send(b"unread, so that a close is a reset")
    peer.close()


def resetWhilePaused(it: Recording, transport: Any, peer: socket.socket) -> None:
    transport.pauseProducing()
    transport.write(b"y" * 2**24)
    reset(peer)


def closedWhileWriting(it: Recording, transport: Any, peer: socket.socket) -> None:
    transport.write(b"y" * 2**24)
    peer.sendall(b"last words")
    peer.close()


def halfClosesAndIsClosed(it: Recording, transport: Any, peer: socket.socket) -> None:
    transport.loseWriteConnection()
    peer.close()


def answersAndLoses(it: Recording, transport: Any, peer: socket.socket) -> None:
    transport.write(b"last")
    transport.loseConnection()


ENDS: dict[str, Way] = {
    "closed": lambda it, transport, peer: peer.close(),
    "half closed": halfClosed,
    "reset": lambda it, transport, peer: reset(peer),
    "reset behind data": resetBehindData,
    "reset while paused": resetWhilePaused,
    "closed while it writes": closedWhileWriting,
    "half-closes": lambda it, transport, peer: transport.loseWriteConnection(),
    "half-closes, and is closed": halfClosesAndIsClosed,
    "shut down by another hand": lambda it, transport, peer: transport.socket.shutdown(socket.SHUT_RDWR),
    "loses": lambda it, transport, peer: transport.loseConnection(),
    "answers and loses": answersAndLoses,
    "loses in a callback": inCallback(lambda transport: transport.loseConnection()),
    "aborts": lambda it, transport, peer: transport.abortConnection(),
    "aborts in a callback": inCallback(lambda transport: transport.abortConnection()),
    "fails in a callback": inCallback(lambda transport: 1 / 0),
    "exits in a callback": inCallback(lambda transport: sys.exit("expected")),
}


def outcome(
    epoll: World, logged: list[LogEvent], way: str, kind: type[Recording], prepare: Callable[[Any], object]
) -> tuple[bytes, list[object], list[type]]:
    """The bytes that a protocol got, how it was told of an end, and the exceptions that were logged."""
    it = kind()
    transport, peer = epoll.make(it, adopted=False)
    prepare(transport)
    del logged[:]
    ENDS[way](it, transport, peer)
    if way != "half-closes":
        epoll.until(lambda: [told for _, told in it.told if not isinstance(told, bytes)])
    epoll.turn(20)
    assert ("it", b"") not in it.told
    # How the bytes before the end are divided is nobody's promise.
    data = b"".join(data for _, data in it.told if isinstance(data, bytes))
    return data, [told for _, told in it.told if not isinstance(told, bytes)], failures(logged)


def adoptToReadMuch(transport: Any) -> None:
    assert adopt(transport)
    adoption.readMuch(transport)
    assert transport.doRead() is None, "nothing has come"


@pytest.mark.parametrize("way", ENDS)
@pytest.mark.parametrize("kind", [Recording, HalfCloseable])
@pytest.mark.parametrize("prepare", [adopt, adoptToReadMuch])
def test_ends_are_told_as_the_reactor_tells_them(
    epoll: World, logged: list[LogEvent], way: str, kind: type[Recording], prepare: Callable[[Any], object]
) -> None:
    stock = outcome(epoll, logged, way, kind, lambda transport: None)
    assert outcome(epoll, logged, way, kind, prepare) == stock


def test_an_exception_does_not_touch_others_and_is_logged_once_as_the_connections(
    epoll: World, logged: list[LogEvent]
) -> None:
    told: list[Any] = []
    bad = Recording("bad", told)
    bad.onData = lambda data: 1 / 0
    transport, badPeer = epoll.make(bad)
    others = [epoll.make(Recording(str(number), told)) for number in range(10)]
    for peer in (badPeer, *(peer for _, peer in others)):
        peer.sendall(b"x")
    epoll.until(lambda: len(told) == 12)
    assert sorted(told, key=str) == sorted(
        [(str(number), b"x") for number in range(10)] + [("bad", b"x"), ("bad", ZeroDivisionError)], key=str
    )
    assert failures(logged) == [ZeroDivisionError]
    assert [event["log_system"] for event in logged if "failure" in event] == [transport.logstr]


@pytest.mark.parametrize("exception", [ZeroDivisionError, KeyboardInterrupt])
def test_an_exception_at_the_end_does_not_touch_others(
    epoll: World, logged: list[LogEvent], exception: type[BaseException]
) -> None:
    told: list[Any] = []
    bad, good = Recording("bad", told), Recording("good", told)

    def fail() -> None:
        raise exception

    bad.onLost = fail
    _, badPeer = epoll.make(bad)
    _, goodPeer = epoll.make(good)
    badPeer.close()
    goodPeer.sendall(b"x")
    epoll.until(lambda: len(told) == 2)
    assert set(told) == {("bad", ConnectionDone), ("good", b"x")}
    assert failures(logged) == [exception]
    goodPeer.sendall(b"y")
    epoll.until(lambda: told[2:] == [("good", b"y")])


# Writing


def test_a_full_socket_is_written_by_the_hub(world: World) -> None:
    transport, peer = world.make(Recording())
    data = os.urandom(2**24)
    transport.write(data)
    received = bytearray()
    peer.setblocking(False)

    def receive() -> bool:
        with suppress(BlockingIOError):
            received.extend(peer.recv(2**20))
        return len(received) == len(data)

    world.until(receive)
    assert received == data
    assert transport not in world.reactor.getWriters()
    world.turn(2)
    assert not transport.dataBuffer


def test_a_paused_transport_is_still_written(world: World) -> None:
    transport, peer = world.make(Recording())
    transport.pauseProducing()
    transport.write(b"x")
    peer.setblocking(False)

    def arrived() -> bool:
        with suppress(BlockingIOError):
            return peer.recv(10) == b"x"
        return False

    world.until(arrived)
    world.turn(2)
    assert world.hubs == []


def test_a_producer_is_resumed_when_the_socket_has_taken_all(world: World) -> None:
    @implementer(IPushProducer)
    class Producer:
        told: list[str] = []  # noqa: RUF012

        def pauseProducing(self) -> None:
            self.told.append("pause")

        def resumeProducing(self) -> None:
            self.told.append("resume")

        def stopProducing(self) -> None:
            self.told.append("stop")

    producer = Producer()
    transport, peer = world.make(Recording())
    transport.registerProducer(producer, True)
    transport.write(b"x" * 100_000)
    assert producer.told == ["pause"]
    peer.setblocking(False)

    def drain() -> bool:
        with suppress(BlockingIOError):
            peer.recv(2**20)
        return producer.told == ["pause", "resume"]

    world.until(drain)


# The numbers of descriptors


def withNumber(pair: tuple[socket.socket, socket.socket], number: int) -> tuple[socket.socket, socket.socket]:
    """Has the first of a pair get a number that is free."""
    os.dup2(pair[0].fileno(), number)
    pair[0].close()
    return socket.socket(fileno=number), pair[1]


def test_a_number_that_is_given_to_the_next_within_a_batch(epoll: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end that was seen of the one before is not told of the next."""

    class Sorted(FullEpoll):
        def __init__(self) -> None:
            super().__init__()
            self.poll = lambda *arguments: sorted(self.real.poll(*arguments))

    monkeypatch.setattr(hub.select, "epoll", Sorted)
    told: list[Any] = []
    made: dict[str, Any] = {}
    first = Recording("first", told)
    _, peer = epoll.make(first)
    doomed, doomedPeer = epoll.make(Recording("doomed", told))
    # Its end is told without input, so that the next one would be taken for lost.
    doomed.write(b"x" * 2**24)
    doomed.pauseProducing()
    epoll.turn(5)
    number, pair = doomed.fileno(), tcpPair()

    def replace(data: bytes) -> None:
        doomed.connectionLost(Failure(ConnectionLost()))
        made["next"], made["peer"] = epoll.make(Recording("next", told), pair=withNumber(pair, number))

    first.onData = replace
    [it] = epoll.hubs
    peer.sendall(b"x")
    assert select.select([it.fileno()], [], [], 10)[0]
    reset(doomedPeer)
    epoll.until(lambda: len(told) >= 2)
    epoll.turn(5)
    assert told == [("first", b"x"), ("doomed", ConnectionLost)]
    assert made["next"].fileno() == number
    made["peer"].sendall(b"y")
    epoll.until(lambda: len(told) == 3)
    assert told[2] == ("next", b"y")


def test_a_socket_that_another_hand_has_closed(epoll: World) -> None:
    told: list[Any] = []
    epoll.make(Recording("another", told))
    closed, _ = epoll.make(Recording("closed", told))
    number, pair = closed.fileno(), tcpPair()
    closed.socket.close()
    _, peer = epoll.make(Recording("next", told), pair=withNumber(pair, number))
    closed.connectionLost(Failure(ConnectionLost()))
    peer.sendall(b"x")
    epoll.until(lambda: len(told) == 2)
    assert told == [("closed", ConnectionLost), ("next", b"x")]


def test_a_socket_that_another_hand_has_closed_is_forgotten(epoll: World) -> None:
    told: list[Any] = []
    _, peer = epoll.make(Recording("another", told))
    closed, _ = epoll.make(Recording("closed", told))
    closed.socket.close()
    closed.connectionLost(Failure(ConnectionLost()))
    assert "1 connections" in repr(epoll.hubs[0])
    peer.sendall(b"x")
    epoll.until(lambda: len(told) == 2)


def test_a_socket_that_another_hand_has_closed_can_not_go_on(epoll: World) -> None:
    told: list[Any] = []
    _, peer = epoll.make(Recording("another", told))
    transport, _ = epoll.make(Recording())
    transport.pauseProducing()
    transport.socket.close()
    with pytest.raises(ValueError, match="negative"):  # as the reactor has it
        transport.resumeProducing()
    assert type(transport) is tcp.Server
    peer.sendall(b"x")
    epoll.until(lambda: told)


# The first and the last


def test_it_is_there_from_the_first_connection_to_the_last(world: World) -> None:
    gc.collect()  # of other tests
    before = epolls()
    told: list[Any] = []
    for _ in range(3):
        peers = [world.make(Recording(str(number), told))[1] for number in range(3)]
        [kept] = world.hubs
        assert kept.logPrefix() == "wsock"
        assert epolls() == before + 1
        for peer in peers:
            peer.close()
        world.until(lambda: len(told) == 3)
        assert world.hubs == []
        assert epolls() == before
        assert kept.fileno() == -1
        assert kept._batches == []
        del told[:], world.open[:]


def test_the_last_may_end_in_the_middle_of_a_batch(epoll: World, logged: list[LogEvent]) -> None:
    told: list[Any] = []
    transports = []
    for name in ("one", "two"):
        it = Recording(name, told)
        it.onData = lambda data: [transport.abortConnection() for transport in transports]
        transport, peer = epoll.make(it)
        transports.append(transport)
        peer.sendall(b"x")
    epoll.until(lambda: len(told) >= 3)
    assert sorted(map(str, told[1:])) == sorted(str((name, ConnectionAborted)) for name in ("one", "two"))
    assert epoll.hubs == failures(logged) == []


def test_a_reactor_that_has_dropped_all_reads_the_next(world: World) -> None:
    """As `removeAll`, which tells nobody; trial calls it after each test."""
    gone = Recording("gone")
    _, gonePeer = world.make(gone)
    writing, writingPeer = world.make(Recording("writing"))
    writing.write(b"x")
    [kept] = world.hubs
    assert "2 connections" in repr(kept)
    removed = world.reactor.removeAll()
    assert kept in removed
    it = Recording()
    _, peer = world.make(it)
    gonePeer.sendall(b"x")
    peer.sendall(b"y")
    world.until(lambda: it.told)
    world.turn(5)
    assert (it.told, gone.told) == ([("it", b"y")], [])
    writingPeer.setblocking(False)
    with pytest.raises(BlockingIOError):
        writingPeer.recv(1)
    assert "1 connections" in repr(world.hubs[0])


def test_its_name_has_those_of_its_connections(epoll: World) -> None:
    transports = [epoll.make(Recording())[0] for _ in range(9)]
    [it] = epoll.hubs
    assert repr(it).startswith("<wsock's hub with 9 connections: <Recording #1 on 1>, ")
    assert repr(it).endswith(", ...>")
    transports[0].write(b"x" * 2**24)
    transports[0].pauseProducing()
    assert "9 connections" in repr(it), "one that waits to be written counts, and once"


def test_a_reactor_that_stops_drops_its_connections(epoll: World, logged: list[LogEvent]) -> None:
    told: list[Any] = []
    for name in ("one", "two", "three"):
        it = Recording(name, told)
        it.onLost = lambda: 1 / 0
        epoll.make(it)
    paused, _ = epoll.make(Recording("paused", told))
    paused.pauseProducing()
    epoll.reactor.disconnectAll()
    assert sorted(told) == [(name, ConnectionLost) for name in ("one", "three", "two")]
    assert failures(logged) == [ZeroDivisionError] * 3
    assert epoll.hubs == []


def test_a_reactor_that_stops_leaves_no_epoll_though_a_connection_fails_to_end(
    epoll: World, logged: list[LogEvent]
) -> None:
    class Failing:
        def stopProducing(self) -> None:
            raise ZeroDivisionError

    gc.collect()  # of other tests
    before = epolls()
    transport, _ = epoll.make(Recording())
    transport.producer = Failing()
    epoll.reactor.disconnectAll()
    assert failures(logged) == [ZeroDivisionError]
    assert epolls() == before


def test_a_hub_without_connections_is_let_go(epoll: World) -> None:
    it, peer = epoll.make(Recording())
    gone = weakref.ref(epoll.hubs[0])
    peer.close()
    epoll.until(lambda: not epoll.hubs)
    del it
    gc.collect()
    assert gone() is None


# Where it can't be done, the reactor reads as before


EPOLL = getattr(select, "epoll", None)


class FullEpoll:
    """An epoll that takes no more from some time on."""

    isFull = False

    def __init__(self) -> None:
        self.real = EPOLL()
        self.fileno, self.close, self.poll = self.real.fileno, self.real.close, self.real.poll
        self.unregister, self.modify = self.real.unregister, self.real.modify

    def register(self, number: int, events: int) -> None:
        if self.isFull:
            raise OSError(errno.ENOSPC, "expected")
        self.real.register(number, events)


class Derived(tcp.Server):
    pass


def test_no_descriptor_is_left(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def epoll() -> Any:
        raise OSError(errno.EMFILE, "expected")

    it = Recording()
    transport, peer = world.make(it, adopted=False)
    monkeypatch.setattr(hub.select, "epoll", epoll)
    assert not adopt(transport)
    assert type(transport) is tcp.Server
    assert (world.hubs, transport in world.reactor.getReaders()) == ([], True)
    peer.sendall(b"x")
    world.until(lambda: it.told)


def test_no_watch_is_left(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    it = Recording()
    transport, peer = world.make(it, adopted=False)
    monkeypatch.setattr(FullEpoll, "isFull", True)
    monkeypatch.setattr(hub.select, "epoll", FullEpoll)
    assert not adopt(transport)
    assert (world.hubs, transport in world.reactor.getReaders()) == ([], True)
    peer.sendall(b"x")
    world.until(lambda: it.told)


@pytest.mark.parametrize("what", ["read", "written"])
def test_no_watch_is_left_for_one_that_goes_on(world: World, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    it, other = Recording(), Recording("other")
    monkeypatch.setattr(hub.select, "epoll", FullEpoll)
    transport, peer = world.make(it)
    writing, otherPeer = world.make(other)
    writing.write(b"x")
    for one in (transport, writing):
        one.pauseProducing()
    monkeypatch.setattr(FullEpoll, "isFull", True)
    if what == "read":
        transport.resumeProducing()
        assert transport in world.reactor.getReaders()
        peer.sendall(b"x")
        world.until(lambda: it.told)
    else:
        transport.write(b"x")
        assert transport in world.reactor.getWriters()
        world.until(lambda: not transport._tempDataBuffer and not transport.dataBuffer)
        assert peer.recv(10) == b"x"
    assert type(transport) is tcp.Server
    world.until(lambda: not world.hubs)
    assert otherPeer.recv(10) == b"x"


def test_select_takes_no_number_from_1024_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for make, beyond, expected in ((SelectReactor, 0, False), (SelectReactor, 1, True), (PollReactor, 0, True)):
        world = World(make())
        try:
            transport, _ = world.make(Recording(), adopted=False)
            with open(os.devnull) as free:
                number = free.fileno()
            monkeypatch.setattr(hub, "_SELECT_LIMIT", number + beyond)
            assert adopt(transport) is expected
            assert len(world.hubs) == expected
        finally:
            world.close()


def test_only_exact_types_are_adopted(epoll: World) -> None:
    transport, _ = epoll.make(Recording(), adopted=False, kind=Derived)
    assert not adopt(transport)
    assert type(transport) is Derived


def test_only_known_reactors_have_one() -> None:
    class Another(EPollReactor):
        pass

    world = World(Another())
    try:
        transport, _ = world.make(Recording(), adopted=False)
        assert not adopt(transport)
    finally:
        world.close()
        world.reactor._poller.close()


#: The names of others that the hub is made of.
PARTS = (
    "select.epoll",
    "twisted.internet.posixbase._PollLikeMixin._doReadOrWrite",
    "twisted.internet.posixbase._DisconnectSelectableMixin._disconnectSelectable",
)


@pytest.mark.parametrize("missing", PARTS)
def test_without_its_parts_the_hub_adopts_nothing(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.delattr(missing)
    assert dict(adoption._adoptedClasses(lambda _: None)) == {}


@pytest.mark.parametrize("missing", [*PARTS, *(part.rpartition(".")[0] for part in PARTS[1:])])
def test_the_package_can_be_imported_without_them(missing: str) -> None:
    program = f"""if True:
        import select, twisted.internet.posixbase
        from twisted.internet.pollreactor import PollReactor
        del {missing}
        import wsock
        from twisted.internet import tcp
        from wsock.wire.adoption import adopt
        transport = object.__new__(tcp.Server)
        transport.reactor = PollReactor()
        print(adopt(transport), type(transport) is tcp.Server)
    """
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("False True\n", "")


def test_transports_that_take_no_other_class_are_not_adopted(epoll: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slotted:
        __slots__ = ("reactor",)

    monkeypatch.setattr(tcp, "Server", Slotted)
    monkeypatch.setattr(adoption, "ADOPTED_CLASSES", dict(adoption._adoptedClasses(lambda _: None)))
    transport: Any = Slotted()
    transport.reactor = epoll.reactor
    assert not adopt(transport)
    assert type(transport) is Slotted


@pytest.mark.parametrize("kind", REACTORS)
def test_a_reactor_that_keeps_its_readers_elsewhere_reads_all(kind: str) -> None:
    world = World(REACTORS[kind]())
    name = "_readers" if kind == "asyncio" else "_reads"
    readers = getattr(world.reactor, name)
    try:
        transport, _ = world.make(Recording(), adopted=False)
        delattr(world.reactor, name)
        assert not adopt(transport)
        assert type(transport) is tcp.Server
    finally:
        setattr(world.reactor, name, readers)
        world.close()
        if kind == "asyncio":
            world.reactor._asyncioEventloop.close()


def test_one_that_the_reactor_does_not_read_is_not_adopted(world: World) -> None:
    transport, _ = world.make(Recording(), adopted=False)
    transport.pauseProducing()
    assert not adopt(transport)
    transport.startWriting()
    assert not adopt(transport)
    assert type(transport) is tcp.Server
    assert transport in world.reactor.getWriters()


def test_one_that_waits_to_write_nothing_waits_no_more(world: World) -> None:
    transport, peer = world.make(Recording(), adopted=False)
    transport.startWriting()
    assert adopt(transport)
    assert transport not in world.reactor.getWriters()
    peer.close()


@pytest.mark.parametrize("world", ["select"], indirect=True)  # others have lost it themselves
def test_one_whose_socket_is_closed_is_not_adopted(world: World) -> None:
    transport, _ = world.make(Recording(), adopted=False)
    transport.socket.close()
    assert not adopt(transport)
    assert type(transport) is tcp.Server
    assert world.hubs == []


# UNIX sockets


def test_a_unix_transport_is_adopted_and_takes_descriptors(epoll: World) -> None:
    from twisted.internet.interfaces import IFileDescriptorReceiver

    @implementer(IFileDescriptorReceiver)
    class Receiving(Recording):
        def fileDescriptorReceived(self, descriptor: int) -> None:
            self.told.append((self.name, "descriptor"))
            os.close(descriptor)

    it = Receiving()
    near, peer = socket.socketpair()
    transport = unix.Server(near, it, "", Port(), 1, epoll.reactor)
    it.makeConnection(transport)
    transport.startReading()
    epoll.open += [transport, peer]
    assert adopt(transport)
    assert isinstance(transport, unix.Server)
    with open("/dev/null") as null:
        socket.send_fds(peer, [b"x"], [null.fileno()])
    epoll.until(lambda: len(it.told) == 2)
    assert it.told == [("it", "descriptor"), ("it", b"x")]
    peer.close()
    epoll.until(lambda: len(it.told) == 3)
    assert it.told[2] == ("it", ConnectionDone)


# The end of a turn


def test_the_end_of_a_batch_ends_a_turn(epoll: World) -> None:
    turn = sharedTurn(epoll.reactor)
    it, flushed = Recording(), list[str]()

    class Waiting:
        def flush(self) -> None:
            flushed.append("now")

    times = []

    def wait(data: bytes) -> None:
        times.append(turn.now)
        turn.wait(Waiting())
        assert flushed == []
        assert epoll.reactor.getDelayedCalls() == []

    it.onData = wait
    _, peer = epoll.make(it)
    number = turn.number
    peer.sendall(b"x")
    epoll.until(lambda: it.told)
    assert (flushed, turn.number > number, turn.now) == (["now"], True, None)
    assert isinstance(times[0], float)


# The connections of a factory


class Echo(WebSocketProtocol):
    def textMessageReceived(self, text: str) -> None:
        self.transport.sendTextMessage(text)


def serve(world: World, application: WebSocketProtocol, settings: Settings = DEFAULTS) -> tuple[Any, socket.socket]:
    """An open connection to a server, whose handshake is over, and the peer's socket."""
    factory = WebSocketServerFactory(lambda request: application, settings=settings, reactor=world.reactor)
    protocol = factory.buildProtocol(None)
    transport, peer = world.make(protocol, adopted=False)
    peer.settimeout(10)
    peer.sendall(REQUEST)
    world.until(lambda: protocol.isOpen)
    assert peer.recv(len(ANSWER), socket.MSG_WAITALL) == ANSWER
    return transport, peer


def test_a_connection_is_adopted_with_its_first_bytes(world: World) -> None:
    transport, peer = serve(world, Echo())
    assert type(transport) is tcp.Server, "a handshake does not pay for it"
    for _ in range(2):
        peer.sendall(HELLO)
        world.until(lambda: transport not in world.reactor.getReaders())
        assert len(world.hubs) == 1
        peer.setblocking(False)
        answer = bytearray()

        def arrived(answer: bytearray = answer) -> bool:
            with suppress(BlockingIOError):
                answer.extend(peer.recv(2**16))
            return bytes(answer) == HELLO_SENT

        world.until(arrived)
    peer.sendall(CLOSE)
    world.until(lambda: not world.hubs)
    assert not transport.connected


def test_a_connection_that_still_sends_is_adopted_later(world: World) -> None:
    class Sending(Echo):
        def negotiationFinished(self) -> None:
            self.transport.sendBytesMessage(bytes(2**23))

    transport, peer = serve(world, Sending(), Settings(slowConsumer="drop"))
    peer.sendall(HELLO)
    world.turn(5)
    assert type(transport) is tcp.Server
    received = 0
    peer.setblocking(False)
    while received < 2**23 + 10 + len(HELLO_SENT):
        with suppress(BlockingIOError):
            received += len(peer.recv(2**20))
        world.turn()
    assert type(transport) is tcp.Server
    peer.sendall(HELLO)
    world.until(lambda: world.hubs)
    assert transport not in world.reactor.getReaders()


def test_a_wrapped_connection_is_read_by_the_reactor(world: World) -> None:
    factory = WebSocketServerFactory(lambda request: Echo(), reactor=world.reactor)
    wrapping = WrappingFactory(factory)
    protocol = wrapping.buildProtocol(None)
    transport, peer = world.make(protocol, adopted=False)
    peer.settimeout(10)
    peer.sendall(REQUEST)
    world.until(lambda: protocol.wrappedProtocol.isOpen)
    peer.sendall(HELLO)
    peer.setblocking(False)
    answer = bytearray()

    def arrived() -> bool:
        with suppress(BlockingIOError):
            answer.extend(peer.recv(2**16))
        return bytes(answer) == ANSWER + HELLO_SENT

    world.until(arrived)
    assert type(transport) is tcp.Server


def test_a_large_message_is_read_in_large_pieces(epoll: World) -> None:
    class Counting(WebSocketProtocol):
        def bytesMessageReceived(self, data: bytes) -> None:
            sizes.append(len(data))

    sizes: list[int] = []
    transport, peer = serve(epoll, Counting())
    reads: list[type] = []
    peer.setblocking(False)
    rest = memoryview(struct.pack("!BBQI", 0x82, 0xFF, 2**20, 0) + bytes(2**20))
    while not sizes:
        with suppress(BlockingIOError):
            rest = rest[peer.send(rest) :]
        epoll.turn()
        reads.append(type(transport))
    assert sizes == [2**20]
    assert set(reads) <= {tcp.Server, adoption.ADOPTED_CLASSES[tcp.Server], adoption.LARGE_CLASSES[tcp.Server]}
    assert adoption.LARGE_CLASSES[tcp.Server] in reads
