"""The way out, on Twisted's own transports over real sockets: their reactor is a clock that the test steps."""

import gc
import socket
import struct
import sys
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from growth import assertLinear, spent
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet import main, tcp, unix
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, globalLogPublisher
from twisted.protocols import tls
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from wsock.wire import outbox as module
from wsock.wire import transports
from wsock.wire.outbox import Outgoing, isStock

#: One byte more than Twisted's transports hold before they pause their producer.
HANDOVER = 65537


class Reactor(Clock):
    """Time, and the sockets that wait to be written to; nothing happens but in `advance` and `write`."""

    def __init__(self) -> None:
        super().__init__()
        self.writers: list[Any] = []

    def addReader(self, reader: Any) -> None: ...

    def removeReader(self, reader: Any) -> None: ...

    def addWriter(self, writer: Any) -> None:
        if writer.fileno() < 0:
            raise ValueError("file descriptor cannot be a negative integer (-1)")  # as epoll does
        if writer not in self.writers:
            self.writers.append(writer)

    def removeWriter(self, writer: Any) -> None:
        if writer in self.writers:
            self.writers.remove(writer)

    def write(self) -> None:
        """Lets each transport that wants to write to its socket, once."""
        for writer in list(self.writers):
            why = writer.doWrite()
            if why:
                self.removeWriter(writer)
                writer.connectionLost(Failure(why))


class Owner(Protocol):
    """What holds an `Outgoing`."""

    def __init__(self) -> None:
        self.lost: list[Failure] = []

    def connectionLost(self, reason: Failure = main.CONNECTION_DONE) -> None:
        self.lost.append(reason)


class Port:
    _realPortNumber = 1


class Link:
    """An `Outgoing`, its transport, and the peer's socket."""

    def __init__(self, transport: Any, peer: socket.socket, reactor: Reactor, **settings: Any) -> None:
        self.transport, self.peer, self.reactor = transport, peer, reactor
        self.changes = 0
        self.connect(**settings)

    def connect(self, highWaterMark: int | None = 65536, sendLimit: int | None = 2**20, register: bool = True) -> None:
        self.outgoing = Outgoing(self.transport, self.reactor, highWaterMark, sendLimit, self.changed)
        if register:
            self.outgoing.register()

    def changed(self) -> None:
        self.changes += 1

    def arrived(self, limit: int = 2**26) -> bytes:
        """What the peer can read now."""
        data = bytearray()
        while len(data) < limit:
            try:
                part = self.peer.recv(min(limit - len(data), 2**20))
            except BlockingIOError:
                break
            if not part:
                break
            data += part
        return bytes(data)

    def packets(self) -> list[int]:
        """The sizes of the packets that the peer can read now: one for each system call that sent."""
        sizes = []
        while True:
            try:
                sizes.append(len(self.peer.recv(2**20)))
            except BlockingIOError:
                return sizes

    def drain(self) -> bytes:
        """Everything, the reactor running until nothing is left to write."""
        data = bytearray(self.arrived())
        while self.reactor.writers or self.outgoing.size:
            self.reactor.advance(0)
            self.reactor.write()
            data += self.arrived()
        return bytes(data)

    def fill(self) -> bytes:
        """Has the system's buffer filled, and the transport's begun; returns what was sent for it."""
        data = b"f" * 2**22
        self.outgoing.cork()
        self.outgoing.writeControl([data])
        self.outgoing.uncork()
        assert self.outgoing.paused
        return data

    def close(self) -> None:
        self.outgoing.abort()
        if self.transport.connected:
            self.transport.connectionLost(Failure(ConnectionLost()))
        self.peer.close()


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def link(reactor: Reactor) -> Iterator[Callable[..., Link]]:
    links: list[Link] = []

    def make(
        kind: type[tcp.Server] = tcp.Server, packets: bool = False, sendBuffer: int | None = None, **settings: Any
    ) -> Link:
        made = makeLink(reactor, kind, packets, sendBuffer, **settings)
        links.append(made)
        return made

    yield make
    for made in links:
        made.close()


def makeLink(
    reactor: Reactor,
    kind: type[tcp.Server] = tcp.Server,
    packets: bool = False,
    sendBuffer: int | None = None,
    **settings: Any,
) -> Link:
    near, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET if packets else socket.SOCK_STREAM)
    peer.setblocking(False)
    if sendBuffer is not None:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sendBuffer)
    transport: Any = kind(near, Owner(), ("", 1), Port(), 1, reactor)
    return Link(transport, peer, reactor, **settings)


def makeClient(kind: str, reactor: Reactor, folder: Path) -> tuple[Any, socket.socket]:
    """A connected tcp.Client or unix.Client, and the peer's socket."""
    owner = Owner()
    factory = ClientFactory.forProtocol(lambda: owner)
    factory.noisy = False
    with socket.socket(socket.AF_INET if kind == "tcp" else socket.AF_UNIX) as listening:
        listening.bind(("127.0.0.1", 0) if kind == "tcp" else str(folder / "socket"))
        listening.listen()
        connector: Any
        if kind == "tcp":
            connector = tcp.Connector("127.0.0.1", listening.getsockname()[1], factory, 30, None, reactor)
        else:
            connector = unix.Connector(str(folder / "socket"), factory, 30, reactor, False)
        connector.connect()
        reactor.advance(0)
        peer, _ = listening.accept()
    peer.setblocking(False)
    transport = connector.transport
    if owner.transport is None:
        transport.doConnect()
    assert owner.transport is transport
    return transport, peer


# The eager path, and what keeps it from being taken


@pytest.mark.parametrize("kind", [tcp.Server, unix.Server])
def test_a_server_transports_socket_is_tried_at_once(link: Callable[..., Link], kind: type[tcp.Server]) -> None:
    it = link(kind)
    it.outgoing.write([b"one"])
    assert it.arrived() == b"one"
    assert not it.reactor.writers
    assert it.outgoing.unsent == it.outgoing.size == 0


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_client_transports_socket_is_tried_at_once(kind: str, reactor: Reactor, tmp_path: Path) -> None:
    transport, peer = makeClient(kind, reactor, tmp_path)
    assert type(transport) is (tcp.Client if kind == "tcp" else unix.Client)
    it = Link(transport, peer, reactor)
    before = len(reactor.writers)
    it.outgoing.write([b"one"])
    assert it.arrived() == b"one"
    assert len(reactor.writers) == before
    it.close()


def assertNotTried(it: Link, expected: bytes = b"one") -> None:
    """A message goes to the transport's write, which asks the reactor; then it arrives."""
    it.outgoing.write([b"one"])
    assert it.arrived() == b""
    assert it.reactor.writers == [it.transport]
    it.reactor.write()
    assert it.arrived() == expected


def test_a_class_derived_from_a_transport_is_not_tried(link: Callable[..., Link]) -> None:
    class Encrypting(tcp.Server):
        """What it makes of its bytes is its own affair."""

    it = link(Encrypting)
    assert not isStock(it.transport)
    assertNotTried(it)


def test_what_forwards_attributes_is_not_tried(link: Callable[..., Link], reactor: Reactor) -> None:
    class Shouting(ProtocolWrapper):
        def write(self, data: bytes) -> None:
            super().write(data.upper())

    inner = link()
    wrapper = Shouting(WrappingFactory(ClientFactory()), Owner())
    wrapper.makeConnection(inner.transport)
    assert wrapper.socket is inner.transport.socket
    inner.outgoing.unregister()
    outgoing = Outgoing(wrapper, reactor, 65536, 2**20, lambda: None)
    assert not isStock(wrapper)
    outgoing.write([b"plain"])
    assert inner.arrived() == b""
    reactor.write()
    assert inner.arrived() == b"PLAIN"


class Secured(Owner):
    """Stands for what `startTLS` puts in the protocol's place: bytes are written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)


def secure(it: Link) -> Secured:
    secured = Secured()
    it.outgoing.unregister()
    it.transport.TLS = True
    it.transport.protocol = secured
    return secured


def test_a_transport_over_TLS_is_not_stock(link: Callable[..., Link]) -> None:
    it = link()
    assert isStock(it.transport)
    secure(it)
    assert not isStock(it.transport)


@pytest.mark.parametrize("before", [True, False])
def test_no_plain_text_leaves_under_TLS(link: Callable[..., Link], before: bool) -> None:
    it = link(register=False)
    secured = secure(it)
    if before:
        it.connect(register=False)
    it.outgoing.write([b"secret"])
    it.outgoing.write([b"second"])
    it.reactor.advance(0)
    assert it.arrived() == b""
    assert secured.written == [b"secret", b"second"]


def test_a_lost_transport_is_not_tried(link: Callable[..., Link]) -> None:
    it = link()
    it.transport.connectionLost(Failure(ConnectionLost()))
    assert not hasattr(it.transport, "socket")
    it.outgoing.write([b"one"])
    assert it.outgoing.size == 0


def test_nothing_leaves_after_abort(link: Callable[..., Link]) -> None:
    it = link()
    it.outgoing.abort()
    it.transport.abortConnection()
    assert it.transport.connected
    assert it.outgoing.write([b"one"]) is True
    it.outgoing.write([b"two"])
    it.outgoing.writeControl([b"three"])
    it.outgoing.writePongs([b"four"])
    it.outgoing.cork()
    it.outgoing.write([b"five"])
    it.outgoing.uncork()
    it.outgoing.whenDrained(lambda: pytest.fail("nothing drains any more"))
    it.outgoing.flush()
    assert (it.arrived(), it.outgoing.size, it.outgoing.unsent) == (b"", 0, 0)
    assert len(it.reactor.getDelayedCalls()) == 1, "but for Twisted's own no delayed call is left"


def test_a_disconnecting_transport_is_not_tried(link: Callable[..., Link]) -> None:
    it = link(register=False)
    it.transport.loseConnection()
    assertNotTried(it)
    assert not it.transport.connected


def test_a_transport_that_closes_its_half_is_not_tried(link: Callable[..., Link]) -> None:
    it = link(register=False)
    it.transport.loseWriteConnection()
    assertNotTried(it)
    assert it.peer.recv(1) == b""


def test_bytes_that_the_transport_was_just_given_are_not_overtaken(link: Callable[..., Link]) -> None:
    it = link()
    it.transport.write(b"first ")
    assert (it.transport.dataBuffer, len(it.transport._tempDataBuffer)) == (b"", 1)
    assertNotTried(it, b"first one")


def test_bytes_that_the_transport_has_tried_to_send_are_not_overtaken(link: Callable[..., Link]) -> None:
    it = link(register=False, sendBuffer=4096)
    it.transport.write(b"f" * 100_000)
    it.reactor.write()
    data = it.arrived()
    assert it.transport.dataBuffer
    assert not it.transport._tempDataBuffer
    it.outgoing.write([b"one"])
    assert data + it.drain() == b"f" * 100_000 + b"one"


def test_a_pull_producer_is_asked_again(link: Callable[..., Link]) -> None:
    class Producer:
        asked = 0

        def resumeProducing(self) -> None:
            self.asked += 1

        def stopProducing(self) -> None: ...

    it, producer = link(register=False), Producer()
    it.transport.registerProducer(producer, False)
    assert producer.asked == 1
    assertNotTried(it)
    assert producer.asked == 2


def test_a_full_socket_leaves_the_rest_to_the_transport(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096)
    data = bytes(range(256)) * 4096
    it.outgoing.write([data])
    sent = it.arrived()
    assert 0 < len(sent) < 2**17
    assert sent + it.transport._tempDataBuffer[0] == data[: len(sent) + HANDOVER]
    assert all(type(part) is bytes for part in it.transport._tempDataBuffer)
    assert it.outgoing.paused
    assert it.outgoing.size == len(data) - len(sent) - HANDOVER
    assert it.outgoing.unsent == len(data) - len(sent)
    assert sent + it.drain() == data
    assert it.outgoing.unsent == 0
    assert not it.outgoing.paused


def test_the_smallest_rest_pauses_until_the_transport_has_sent_it(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096)
    while not it.reactor.writers:
        it.outgoing.writeControl([b"x" * 100])
    assert it.outgoing.paused
    assert it.outgoing.size == 0
    assert 0 < it.outgoing.unsent <= 100
    assert it.outgoing.writable
    it.outgoing.write([b"later"])
    assert it.outgoing.size == 5
    assert it.reactor.getDelayedCalls() == []
    assert it.drain().endswith(b"xlater")
    assert not it.outgoing.paused


@pytest.mark.parametrize("reset", [True, False])
def test_an_error_is_met_in_the_reactor(link: Callable[..., Link], reset: bool) -> None:
    it = link()
    owner: Any = it.transport.protocol
    if reset:
        # Closed with bytes that were not read: the next send says ECONNRESET, else EPIPE.
        it.transport.socket.send(b"unread")
    it.peer.close()
    for _ in range(3):
        it.outgoing.write([b"one"])
        it.reactor.advance(0)
    assert it.transport.connected
    assert owner.lost == []
    it.reactor.write()
    assert [reason.type for reason in owner.lost] == [ConnectionLost]


# Corks


def test_what_is_corked_leaves_in_one_system_call(link: Callable[..., Link]) -> None:
    it = link(packets=True)
    it.outgoing.cork()
    for number in range(64):
        it.outgoing.write([b"%04d" % number])
    it.outgoing.writeControl([b"control"])
    it.outgoing.writePongs([b"po", b"ng"])
    assert it.packets() == []
    assert it.outgoing.size == 64 * 4 + 7 + 4
    it.outgoing.uncork()
    assert it.packets() == [64 * 4 + 7 + 4]
    assert it.reactor.getDelayedCalls() == []


def test_large_buffers_leave_apart_in_one_system_call(link: Callable[..., Link]) -> None:
    it = link(packets=True)
    it.outgoing.write([b"head", b"p" * 50_000])
    assert it.packets() == [50_004]


@pytest.mark.parametrize(
    ("highWaterMark", "sendLimit", "limit"),
    [(1000, 2**20, 1000), (None, 2**20, 65536), (None, None, 65536), (2**20, 500, 500), (70_000, None, 70_000)],
)
def test_a_cork_holds_less_than_the_limits(
    link: Callable[..., Link], highWaterMark: int | None, sendLimit: int | None, limit: int
) -> None:
    it = link(highWaterMark=highWaterMark, sendLimit=sendLimit)
    it.outgoing.cork()
    it.outgoing.write([b"x" * (limit - 1)])
    assert it.arrived() == b""
    it.outgoing.write([b"y"])
    assert it.arrived() == b"x" * (limit - 1) + b"y"
    it.outgoing.write([b"z"])
    assert it.arrived() == b""
    it.outgoing.uncork()
    assert it.arrived() == b"z"


def test_an_empty_cork_sends_nothing(link: Callable[..., Link]) -> None:
    it = link(packets=True)
    it.outgoing.cork()
    it.outgoing.uncork()
    it.outgoing.flush()
    assert it.packets() == []


def test_a_cork_on_another_transport_is_one_write(reactor: Reactor) -> None:
    class Writes(StringTransport):
        sizes: tuple[int, ...] = ()

        def write(self, data: bytes) -> None:
            self.sizes += (len(data),)
            super().write(data)

    transport = Writes()
    outgoing = Outgoing(transport, reactor, 65536, 2**20, lambda: None)
    outgoing.register()
    outgoing.cork()
    for _ in range(10):
        outgoing.write([b"ab", b"c"])
    outgoing.uncork()
    assert transport.sizes == (30,)
    outgoing.write([b"d"])
    outgoing.write([b"e"])
    assert transport.sizes == (30, 1, 1), "a transport that is not Twisted's own has its own ways in a turn"
    assert reactor.getDelayedCalls() == []


# Turns


def test_a_burst_is_two_system_calls(link: Callable[..., Link]) -> None:
    it = link(packets=True)
    for _ in range(100):
        it.outgoing.write([b"abc"])
    assert it.packets() == [3]
    assert it.outgoing.size == 99 * 3
    it.reactor.advance(0)
    assert it.packets() == [99 * 3]
    assert it.reactor.getDelayedCalls() == []
    it.outgoing.write([b"next"])
    assert it.packets() == [4], "in the next turn the first is tried at once again"


def test_a_burst_in_a_later_turn_is_two_system_calls(link: Callable[..., Link]) -> None:
    it = link(packets=True)
    it.outgoing.write([b"one"])
    it.reactor.advance(0)
    assert it.packets() == [3]
    for data in (b"three", b"four", b"five"):
        it.outgoing.write([data])
    assert it.packets() == [5]
    it.reactor.advance(0)
    assert it.packets() == [8]


def test_a_burst_of_many_small_messages_is_joined(link: Callable[..., Link]) -> None:
    it = link(packets=True)
    for _ in range(2000):
        it.outgoing.write([b"x" * 16])
    it.reactor.advance(0)
    assert it.packets() == [16, 1999 * 16]


def test_a_burst_does_not_wait_past_the_mark(link: Callable[..., Link]) -> None:
    it = link(packets=True, highWaterMark=1000)
    it.outgoing.write([b"first"])
    it.outgoing.write([b"x" * 999])
    assert it.packets() == [5]
    it.outgoing.write([b"x"])
    assert it.packets() == [1000]


def test_a_broadcast_is_one_system_call_each(link: Callable[..., Link]) -> None:
    links = [link(packets=True) for _ in range(50)]
    message = [b"head", b"payload"]
    for it in links:
        it.outgoing.write(message)
    assert [it.packets() for it in links] == [[11]] * 50
    for it in links:
        it.outgoing.write(message)
    assert [it.packets() for it in links] == [[]] * 50
    assert len(links[0].reactor.getDelayedCalls()) == 1
    links[0].reactor.advance(0)
    assert [it.packets() for it in links] == [[11]] * 50
    assert message == [b"head", b"payload"]


def test_a_control_frame_takes_along_what_waits(link: Callable[..., Link]) -> None:
    it = link(packets=True)
    for data in (b"one", b"two", b"three"):
        it.outgoing.write([data])
    it.outgoing.writeControl([b"close"])
    assert it.packets() == [3, 13]
    it.reactor.advance(0)
    assert it.packets() == []


def test_drained_takes_along_what_waits(link: Callable[..., Link]) -> None:
    it, drained = link(), []
    it.outgoing.write([b"one"])
    it.outgoing.write([b"two"])
    it.outgoing.whenDrained(lambda: drained.append(it.arrived()))
    assert drained == [b"onetwo"]


def test_a_lost_connection_leaves_no_delayed_call(link: Callable[..., Link]) -> None:
    it = link()
    it.outgoing.write([b"one"])
    assert len(it.reactor.getDelayedCalls()) == 1
    it.outgoing.write([b"two"])
    it.outgoing.abort()
    assert it.reactor.getDelayedCalls() == []
    assert it.arrived() == b"one"


def test_a_lost_connection_takes_nobodys_turn_along(link: Callable[..., Link]) -> None:
    it, other = link(), link()
    for one in (it, other):
        one.outgoing.write([b"one"])
        one.outgoing.write([b"two"])
    it.outgoing.abort()
    assert len(it.reactor.getDelayedCalls()) == 1
    it.reactor.advance(0)
    assert (it.arrived(), other.arrived()) == (b"one", b"onetwo")


def test_a_turn_that_was_cancelled_can_begin_anew(link: Callable[..., Link]) -> None:
    it, other = link(), link()
    it.outgoing.write([b"one"])
    other.outgoing.abort()
    it.outgoing.write([b"two"])
    it.outgoing.write([b"three"])
    it.reactor.advance(0)
    assert it.arrived() == b"onetwothree"
    assert it.reactor.getDelayedCalls() == []


def test_a_connection_that_fails_to_send_does_not_hold_up_others(link: Callable[..., Link]) -> None:
    it, other = link(), link()
    for one in (it, other):
        one.outgoing.write([b"one"])
        one.outgoing.write([b"two"])
    it.transport.socket.close()
    logged: list[LogEvent] = []
    globalLogPublisher.addObserver(logged.append)
    try:
        it.reactor.advance(0)
    finally:
        globalLogPublisher.removeObserver(logged.append)
    assert other.arrived() == b"onetwo"
    assert [event["log_failure"].type for event in logged] == [ValueError]


def test_each_reactor_has_its_turns_and_is_let_go() -> None:
    reactors = [Reactor(), Reactor()]
    links = [makeLink(reactor, packets=True) for reactor in reactors]
    for it in links:
        it.outgoing.write([b"one"])
        it.outgoing.write([b"two"])
    reactors[0].advance(0)
    assert [it.packets() for it in links] == [[3, 3], [3]]
    for it in links:
        it.close()
    gone = [weakref.ref(reactor) for reactor in reactors]
    del reactors, links, it
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


# The queue and its limits


def test_limits_are_exact_on_a_stock_transport(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, highWaterMark=5000, sendLimit=6000)
    it.fill()
    left = 2**22
    while it.outgoing.unsent > 4000:
        left -= len(it.arrived())
        assert it.outgoing.unsent == left
        it.reactor.write()
    left -= len(it.arrived())
    assert it.outgoing.unsent == left > 0
    assert it.outgoing.paused
    assert it.outgoing.size == 0
    assert it.outgoing.write([b"x" * (5000 - it.outgoing.unsent)])
    assert it.outgoing.unsent == 5000
    assert it.outgoing.writable
    assert it.outgoing.write([b"x"])
    assert not it.outgoing.writable
    assert it.outgoing.write([b"x" * 999])
    assert it.outgoing.unsent == 6000
    assert it.outgoing.write([b"x" * 10_000]), "the message at hand does not count"
    assert it.outgoing.unsent == 16_000
    assert it.outgoing.write([b"x"]) is False
    assert it.outgoing.unsent == 16_000
    it.outgoing.writeControl([b"x"])
    assert it.outgoing.unsent == 16_001


def test_limits_on_another_transport(reactor: Reactor) -> None:
    transport = StringTransport()
    outgoing = Outgoing(transport, reactor, 65536, 100_000, lambda: None)
    outgoing.register()
    transport.producer.pauseProducing()
    assert not outgoing.writable
    assert outgoing.write([b"x" * 200_000]), "the first message does not count"
    assert outgoing.unsent == 200_000 + HANDOVER
    assert outgoing.write([b"x" * 100_000])
    assert outgoing.write([b"x"])
    assert outgoing.write([b"x"]) is False
    transport.producer.resumeProducing()
    assert outgoing.writable
    assert len(transport.value()) == 300_001


@pytest.mark.parametrize("kind", ["stock", "derived"])
def test_a_large_message_and_small_ones_behind_it_fit_and_a_third_large_one_does_not(
    link: Callable[..., Link], kind: str
) -> None:
    class Derived(tcp.Server):
        """Not tried eagerly."""

    it = link(tcp.Server if kind == "stock" else Derived, highWaterMark=10, sendLimit=100, sendBuffer=4096)
    data = bytes(range(250)) * 4000
    for _ in range(2):
        assert it.outgoing.write([data])
        assert it.outgoing.write([b"x" * 100])
        assert it.outgoing.write([data])
        assert it.outgoing.write([b"y"]) is False
        assert it.outgoing.write([data]) is False
        assert it.drain() == data + b"x" * 100 + data


def test_a_burst_meets_the_limit(link: Callable[..., Link]) -> None:
    it = link(highWaterMark=None, sendLimit=10_000, sendBuffer=4096)
    it.outgoing.cork()
    accepted = sum(it.outgoing.write([b"x" * 1000]) for _ in range(500))
    it.outgoing.uncork()
    assert accepted < 100
    # The limit, the message that has begun to leave, and the one that goes beyond; the transport holds the rest.
    waiting = it.outgoing.size - sum(map(len, it.outgoing._begun))
    assert 10_000 < waiting <= 12_000
    assert it.outgoing.unsent <= 12_000 + HANDOVER


def test_tiny_messages_meet_a_limit_of_their_own(link: Callable[..., Link]) -> None:
    """Each takes more memory than its bytes."""
    it = link(highWaterMark=10, sendLimit=2**20, sendBuffer=4096)
    it.outgoing.write([bytes(500_000)])
    accepted = sum(it.outgoing.write([b"\x82\x00"]) for _ in range(100_000))
    assert accepted == 2**20 // 256 + 1
    it = link(highWaterMark=None, sendLimit=2**22, sendBuffer=4096)
    it.outgoing.write([bytes(500_000)])
    assert sum(it.outgoing.write([b"\x82\x00"]) for _ in range(100_000)) == 2**22 // 256 + 1


@pytest.mark.parametrize("highWaterMark", [65_536, 40_000])
def test_tiny_messages_meet_the_mark_long_before_the_limit(link: Callable[..., Link], highWaterMark: int) -> None:
    it = link(sendBuffer=4096, highWaterMark=highWaterMark)
    it.outgoing.write([bytes(30_000)])
    assert it.outgoing.paused
    count = 0
    while it.outgoing.writable:
        assert it.outgoing.write([b"\x82\x00"])
        count += 1
    assert it.outgoing.unsent < highWaterMark
    assert count == 65_536 // 256 + 1
    it = link(sendBuffer=4096, highWaterMark=None)
    it.outgoing.write([bytes(30_000)])
    for _ in range(4000):
        assert it.outgoing.write([b"\x82\x00"])
    assert it.outgoing.writable


def test_not_too_many_messages_are_corked(link: Callable[..., Link]) -> None:
    it = link()
    it.outgoing.cork()
    for _ in range(2048):
        it.outgoing.write([b"\x82\x00"])
    assert it.arrived() == b""
    it.outgoing.write([b"\x82\x00"])
    assert it.arrived() == b"\x82\x00" * 2049
    for _ in range(5000):
        it.outgoing.write([b"\x82\x00"])
    it.outgoing.uncork()
    assert it.drain() == b"\x82\x00" * 5000


def test_what_is_held_does_not_leave_by_any_way(link: Callable[..., Link]) -> None:
    """A client's messages before the answer: the socket is there, and nothing is before them."""
    it = link(register=False)
    it.outgoing.writeAhead(b"request")
    it.outgoing.hold()
    it.reactor.write()
    assert it.arrived() == b"request"
    it.outgoing.write([b"held"])
    it.reactor.advance(0)
    assert it.arrived() == b""
    it.outgoing.register()
    assert it.drain() == b"held"


def test_what_is_held_waits_for_the_cork_too(link: Callable[..., Link]) -> None:
    it = link(register=False)
    it.outgoing.hold()
    it.outgoing.cork()
    it.outgoing.write([b"held"])
    it.outgoing.register()
    assert it.arrived() == b""
    it.outgoing.uncork()
    assert it.arrived() == b"held"


def test_nothing_goes_ahead_after_abort(link: Callable[..., Link]) -> None:
    it = link(register=False)
    it.outgoing.abort()
    it.outgoing.writeAhead(b"request")
    it.reactor.write()
    assert it.arrived() == b""


def test_nothing_leaves_after_the_end(link: Callable[..., Link]) -> None:
    """Not even where the transport says that it takes more, or is left to itself."""
    it = link()
    it.outgoing.end()
    it.outgoing.write([b"one"])
    it.transport.producer.resumeProducing()
    it.outgoing.writeControl([b"two"])
    it.outgoing.unregister()
    it.reactor.advance(0)
    it.reactor.write()
    assert it.arrived() == b""
    assert it.outgoing.size == 6


def test_what_waits_for_the_end_of_a_turn_is_not_overtaken_in_it(link: Callable[..., Link]) -> None:
    """Another connection is flushed first, and has its application send here."""
    it = link()

    class Other:
        def flush(self) -> None:
            it.outgoing.write([b"3"])

    it.outgoing.write([b"1"])
    it.outgoing.write([b"2"])
    turn = it.outgoing._turn
    turn.waiting = {Other(): None, **turn.waiting}
    it.reactor.advance(0)
    assert it.drain() == b"123"


def test_without_limits_all_is_taken(link: Callable[..., Link]) -> None:
    it = link(highWaterMark=None, sendLimit=None, sendBuffer=4096)
    data = b"x" * 2**20
    assert all(it.outgoing.write([data]) for _ in range(20))
    assert it.outgoing.paused
    assert it.outgoing.writable


def test_the_connection_hears_when_it_is_writable_and_not_only_when_all_is_sent(link: Callable[..., Link]) -> None:
    it = link(highWaterMark=500_000, sendLimit=None, sendBuffer=4096)
    it.fill()
    assert not it.outgoing.writable
    while not it.changes:
        it.arrived()
        it.reactor.write()
    assert it.outgoing.size > 300_000
    assert 500_000 - 3 * HANDOVER < it.outgoing.unsent <= 500_000


class Wrapper:
    """A transport around another, as that of TLS: it hands on what it is given, and has no other buffer."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


def test_what_a_wrapped_transport_holds_is_counted(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, sendLimit=None, register=False)
    it.transport = Wrapper(it.transport)
    it.connect(sendLimit=None)
    total = 2_000_000
    it.outgoing.write([bytes(total)])
    assert it.outgoing.paused
    received = len(it.arrived())
    for _ in range(5):
        it.reactor.write()
        received += len(it.arrived())
        # The socket holds nothing now: what did not arrive is with us, or with the wrapped transport.
        assert it.outgoing.unsent == total - received
        assert it.outgoing.taken == received
    assert it.outgoing.paused


def test_what_a_wrapped_transport_holds_is_not_taken(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, register=False)
    it.transport = Wrapper(it.transport)
    it.connect()
    it.outgoing.write([bytes(50_000)])
    it.reactor.write()
    assert not it.outgoing.paused
    received = len(it.arrived())
    assert received < 50_000
    assert it.outgoing.taken == received


@pytest.mark.parametrize("code", [None, 0])
def test_a_system_that_does_not_say_what_it_holds(
    link: Callable[..., Link], monkeypatch: pytest.MonkeyPatch, code: int | None
) -> None:
    monkeypatch.setattr(transports, "_OUTQ", code)
    it = link(sendBuffer=4096)
    it.outgoing.write([bytes(50_000)])
    assert it.outgoing.untaken == it.outgoing.unsent > 0


def test_what_the_peer_has_taken(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, sendLimit=None)
    total = 2_000_000
    it.outgoing.write([bytes(total)])
    before = it.outgoing.taken
    assert before < total
    if sys.platform == "linux":
        assert before <= 0, "the system tells of its memory, which is no less than the bytes in it"
    assert it.arrived(4000)
    assert before <= it.outgoing.taken < total
    it.drain()
    assert it.outgoing.taken == total


def test_dropping_keeps_the_message_that_has_begun_to_leave(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, sendLimit=None)
    begun = bytes(range(256)) * 2000
    it.outgoing.write([begun])
    assert it.outgoing.size
    for _ in range(3):
        it.outgoing.write([b"\x82ead", b"dropped"])
    it.outgoing.writePongs([b"\x8aropped too"])
    size = it.outgoing.size
    assert it.outgoing.dropQueue() == 3
    assert it.outgoing.size == size - 3 * 11 - 11
    assert it.outgoing.dropQueue() == 0
    it.outgoing.writePongs([b"pong"])
    it.outgoing.write([b"next"])
    assert it.drain() == begun + b"pongnext"
    assert it.outgoing.size == 0


def test_only_messages_are_counted_among_what_is_dropped(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, sendLimit=None)
    it.outgoing.write([bytes(500_000)])
    it.outgoing.write([b"\x82\x00"])
    it.outgoing.write([b"\x89\x00"])
    it.outgoing.writeControl([b"\x88\x00"])
    assert it.outgoing.dropQueue() == 1


@pytest.mark.parametrize(
    ("begun", "dropped"),
    [
        ([b"\x82" + bytes(500_000)], 1),
        ([b"\x82ead", bytes(500_000)], 1),
        ([b"\x8a" + bytes(500_000)], 0),
        ([b"\x8aead", bytes(500_000)], 0),
    ],
)
def test_a_message_that_has_begun_to_leave_is_counted_when_it_is_aborted(
    link: Callable[..., Link], begun: list[bytes], dropped: int
) -> None:
    it = link(sendBuffer=4096)
    it.outgoing.write(begun)
    assert it.outgoing.size
    it.outgoing.abort()
    assert it.outgoing.dropped == dropped


def test_a_message_that_has_left_is_not_counted_when_it_is_aborted(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096)
    it.outgoing.write([b"\x82" + bytes(500_000)])
    it.drain()
    it.outgoing.abort()
    assert it.outgoing.dropped == 0


@pytest.mark.parametrize("sendBuffer", [2**12, 2**17])
def test_what_has_left_in_parts_is_not_sent_again(link: Callable[..., Link], sendBuffer: int) -> None:
    it = link(sendBuffer=sendBuffer)
    first = bytes(range(250)) * 2000
    it.outgoing.write([first])
    it.outgoing.write([b"next"])
    assert it.drain() == first + b"next"
    for data in (b"one", b"two"):
        it.outgoing.write([data])
    it.reactor.advance(0)
    assert it.arrived() == b"onetwo"


def test_a_socket_that_takes_nothing_at_first_gets_it_all(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096)
    filled = b""
    try:
        while True:
            filled += b"x" * it.transport.socket.send(b"x" * 4096)
    except BlockingIOError:
        pass
    it.outgoing.write([b"message"])
    assert it.outgoing.handed == 7, "the transport has it"
    assert it.outgoing.paused
    assert it.drain() == filled + b"message"


def oldestDropped(reactor: Reactor) -> tuple[StringTransport, Outgoing]:
    """A transport that takes nothing for now, and what drops the oldest messages past 100 bytes."""
    transport = StringTransport()
    outgoing = Outgoing(transport, reactor, 100, 100, lambda: None, dropsOldest=True)
    outgoing.register()
    transport.producer.pauseProducing()
    return transport, outgoing


def test_no_more_messages_are_dropped_than_have_to(reactor: Reactor) -> None:
    transport, outgoing = oldestDropped(reactor)
    messages = [b"\x82\x1c" + b"%028d" % number for number in range(12)]
    assert all(outgoing.write([message]) for message in messages)
    assert outgoing.dropped == 7
    transport.producer.resumeProducing()
    assert transport.value() == b"".join(messages[7:])


def test_what_the_protocol_says_takes_no_room_from_messages(reactor: Reactor) -> None:
    transport, outgoing = oldestDropped(reactor)
    pongs = b"\x8a\x7d" + bytes(125)
    outgoing.writePongs([pongs, pongs])
    for letter in (b"1", b"2", b"3", b"4", b"5"):
        outgoing.write([b"\x82\x3c" + letter * 60])
    assert outgoing.dropped == 2
    transport.producer.resumeProducing()
    left = b"".join(b"\x82\x3c" + letter * 60 for letter in (b"3", b"4", b"5"))
    assert transport.value() == pongs + pongs + left


def test_thousands_of_small_messages_wait_and_leave_in_order(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, sendLimit=None)
    filled = it.fill()
    messages = [[b"%08d" % number, b"payload" * (number % 7)] for number in range(5000)]
    for message in messages:
        it.outgoing.write(message)
    data = it.drain()
    assert data == filled + b"".join(b"".join(message) for message in messages)


@pytest.mark.parametrize("sendmsg", [True, False])
@pytest.mark.parametrize("size", [1, 600, 40_000])
def test_more_buffers_than_the_system_takes_at_once(
    link: Callable[..., Link], monkeypatch: pytest.MonkeyPatch, sendmsg: bool, size: int
) -> None:
    monkeypatch.setattr(module, "_SENDMSG", sendmsg)
    it = link(sendLimit=None)
    many = 200 if size == 40_000 else 3000
    it.outgoing.write([bytes([number % 256]) * size for number in range(many)])
    it.outgoing.write([b""])
    it.outgoing.writeControl([])
    it.outgoing.cork()
    for number in range(many):
        it.outgoing.write([b"", bytes([number % 251]) * size, b""])
    it.outgoing.uncork()
    expected = [bytes([number % 256]) * size for number in range(many)]
    expected += [bytes([number % 251]) * size for number in range(many)]
    assert it.drain() == b"".join(expected)


def test_the_system_is_given_as_many_buffers_as_it_takes(
    link: Callable[..., Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_JOIN", 10)
    monkeypatch.setattr(module, "_SMALL", 1)
    it = link(packets=True)
    it.outgoing.cork()
    for _ in range(1000):
        it.outgoing.write([b"head", b"payload"])
    it.outgoing.uncork()
    assert it.packets() == [512 * 11, 488 * 11]
    it.outgoing.writeControl([b"payload"] * 1500)
    assert it.packets() == [1024 * 7, 476 * 7]


def test_a_broadcast_is_held_by_reference() -> None:
    reactor = Reactor()
    links = [makeLink(reactor, sendBuffer=4096, sendLimit=None) for _ in range(20)]
    for it in links:
        it.fill()
    tracemalloc.start()
    try:
        frame = [b"head", bytes(2**20)]
        for it in links:
            it.outgoing.write(frame)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**20 + 20 * 2048
    for it in links:
        it.close()


# Pongs


def test_pongs_that_wait_are_replaced_where_they_wait(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, sendLimit=None)
    filled = it.fill()
    it.outgoing.write([b"before"])
    it.outgoing.writePongs([b"old", b"er"])
    it.outgoing.write([b"after"])
    size = it.outgoing.size
    for number in range(1000):
        it.outgoing.writePongs([b"pong", b"%04d" % number])
    assert it.outgoing.size == size + 3
    assert it.outgoing.unsent == it.outgoing.size + HANDOVER
    assert it.drain() == filled + b"beforepong0999after"
    assert it.outgoing.size == 0


def test_pongs_are_not_replaced_while_the_transport_takes_them(link: Callable[..., Link]) -> None:
    it = link()
    it.outgoing.cork()
    it.outgoing.writePongs([b"one", b"two"])
    it.outgoing.writePongs([b"three"])
    it.outgoing.uncork()
    it.outgoing.writePongs([b"four"])
    it.outgoing.writePongs([b"five"])
    assert it.arrived() == b"onetwothreefourfive"


def test_pongs_that_have_begun_to_leave_are_not_replaced(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, sendLimit=None)
    first = bytes(range(250)) * 2000
    it.outgoing.writePongs([first])
    assert it.outgoing.paused
    assert it.outgoing.size
    it.outgoing.writePongs([b"second"])
    it.outgoing.writePongs([b"third"])
    assert it.drain() == first + b"third"


def test_pongs_that_wait_behind_what_begins_to_leave_are_replaced(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, sendLimit=None)
    first, second = bytes(range(250)) * 1000, bytes(range(240)) * 2000
    it.outgoing.write([first])
    it.outgoing.write([second])
    it.outgoing.writePongs([b"older"])
    data = b""
    while it.outgoing.size > 300_000:
        data += it.arrived()
        it.reactor.write()
    it.outgoing.writePongs([b"newer"])
    assert data + it.drain() == first + second + b"newer"


def test_pongs_with_others_behind_them_that_have_begun_to_leave_are_not_replaced(link: Callable[..., Link]) -> None:
    """The application sends when it hears that the transport takes no more."""
    it = link(sendBuffer=4096, sendLimit=None)
    messages = [b"after"]
    it.outgoing.blocked = lambda: it.outgoing.write([messages.pop()]) if messages else None
    first = bytes(range(250)) * 2000
    it.outgoing.writePongs([first])
    it.outgoing.writePongs([b"second"])
    assert it.drain() == first + b"aftersecond"
    assert it.outgoing.size == 0


def test_pongs_that_have_left_are_not_replaced(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, sendLimit=None)
    filled = it.fill()
    it.outgoing.writePongs([b"first"])
    assert it.drain() == filled + b"first"
    it.fill()
    it.outgoing.writePongs([b"second"])
    assert it.drain() == filled + b"second"
    it.outgoing.cork()
    it.outgoing.writePongs([b"third"])
    it.outgoing.uncork()
    assert it.arrived() == b"third"
    it.fill()
    it.outgoing.writePongs([b"fourth"])
    assert it.drain() == filled + b"fourth"


# Drained


def test_drained_is_called_once_when_nothing_waits(link: Callable[..., Link]) -> None:
    it, drained = link(sendBuffer=4096), []
    it.outgoing.whenDrained(lambda: drained.append("at once"))
    assert drained == ["at once"]
    it.fill()
    it.outgoing.whenDrained(lambda: drained.append("replaced"))
    it.outgoing.whenDrained(lambda: drained.append("later"))
    assert drained == ["at once"]
    while it.outgoing.size:
        assert len(drained) == 1
        it.arrived()
        it.reactor.write()
    it.drain()
    assert drained == ["at once", "later"]


def test_drained_waits_for_the_cork(link: Callable[..., Link]) -> None:
    it, drained = link(), []
    it.outgoing.cork()
    it.outgoing.whenDrained(lambda: drained.append(it.arrived()))
    it.outgoing.write([b"corked"])
    assert drained == []
    it.outgoing.uncork()
    assert drained == [b"corked"]
    it.outgoing.cork()
    it.outgoing.whenDrained(lambda: drained.append(it.arrived()))
    it.outgoing.uncork()
    assert drained == [b"corked", b""]


def test_drained_may_do_anything(link: Callable[..., Link]) -> None:
    it, calls = link(), []

    def drained() -> None:
        calls.append(it.arrived())
        it.outgoing.cork()
        it.outgoing.write([b"again"])
        if len(calls) < 3:
            it.outgoing.whenDrained(drained)
        it.outgoing.uncork()

    it.outgoing.write([b"one"])
    it.outgoing.whenDrained(drained)
    assert calls == [b"one", b"again", b"again"]
    assert it.arrived() == b"again"
    it.outgoing.whenDrained(it.outgoing.abort)
    assert it.reactor.getDelayedCalls() == []


def test_nothing_drains_after_abort(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096)
    it.fill()
    it.outgoing.whenDrained(lambda: pytest.fail("nothing drains any more"))
    it.outgoing.abort()
    it.outgoing.flush()
    it.outgoing.uncork()
    it.transport.producer.resumeProducing()


def test_drained_may_end_the_connection(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, sendLimit=None)

    def leave() -> None:
        it.outgoing.unregister()
        it.transport.loseConnection()

    filled = it.fill()
    it.outgoing.writeControl([b"bye"])
    it.outgoing.whenDrained(leave)
    assert it.drain() == filled + b"bye"
    assert len(it.transport.protocol.lost if it.transport.connected else [1]) == 1
    assert not it.transport.connected


# As a producer


def test_unregistering_hands_everything_over(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, sendLimit=None)
    filled = it.fill()
    it.outgoing.write([b"corked"])
    it.outgoing.cork()
    assert it.outgoing.registered
    it.outgoing.unregister()
    assert not it.outgoing.registered
    assert it.transport.producer is None
    assert (it.outgoing.size, it.outgoing.paused) == (0, False)
    it.outgoing.uncork()
    it.transport.loseConnection()
    data = bytearray(it.arrived())
    while it.transport.connected:
        it.reactor.write()
        data += it.arrived()
    assert data == filled + b"corked"
    it.outgoing.unregister()


def test_before_it_is_registered_everything_is_handed_over(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, register=False)
    data = bytes(range(256)) * 4096
    it.outgoing.writeControl([data])
    assert (it.outgoing.size, it.outgoing.paused) == (0, False)
    assert it.outgoing.unsent > 2**19
    assert it.outgoing.writable, "there is nobody whom the transport could tell that it is"
    assert not it.transport.producerPaused
    assert it.drain() == data


def test_a_transport_that_holds_bytes_is_filled_until_it_pauses(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, register=False, sendLimit=None)
    first = bytes(range(256)) * 300
    it.outgoing.writeControl([first])
    it.outgoing.register()
    it.outgoing.write([b"second" * 100_000])
    assert it.outgoing.paused
    assert it.outgoing.size == 600_000 - HANDOVER
    assert it.drain() == first + b"second" * 100_000


def test_the_connection_hears_when_the_transport_takes_no_more(link: Callable[..., Link]) -> None:
    it, blocked = link(sendBuffer=4096), []
    it.outgoing.blocked = lambda: blocked.append(it.outgoing.paused)
    it.outgoing.write([b"little"])
    assert blocked == []
    it.outgoing.writeControl([bytes(30_000)])
    assert blocked == [True]


def test_other_transports_are_given_a_portion_at_a_time(reactor: Reactor) -> None:
    changes: list[bool] = []
    transport = StringTransport()
    outgoing = Outgoing(transport, reactor, 65536, None, lambda: changes.append(outgoing.writable))
    outgoing.register()
    assert transport.streaming
    transport.producer.pauseProducing()
    data = bytes(range(256)) * 1000
    outgoing.write([data])
    assert transport.value() == b""
    transport.producer.resumeProducing()
    assert transport.value() == data
    assert changes == [True]
    transport.producer.stopProducing()
    outgoing.unregister()
    assert transport.producer is None


class Abrupt(StringTransport):
    """Pauses and resumes its producer while it is being written to, before it has taken the bytes."""

    portions: tuple[int, ...] = ()

    def write(self, data: bytes) -> None:
        self.portions += (len(data),)
        self.producer.pauseProducing()
        self.producer.resumeProducing()
        super().write(data)


def test_a_transport_that_resumes_in_its_write_gets_its_bytes_in_order(reactor: Reactor) -> None:
    stack: list[str] = []

    def changed() -> None:
        stack.append("changed")

    transport = Abrupt()
    outgoing = Outgoing(transport, reactor, 65536, None, changed)
    outgoing.register()
    data = bytes(range(251)) * 2000
    outgoing.write([data])
    outgoing.write([b"end"])
    assert transport.value() == data + b"end"
    assert transport.portions == (*[HANDOVER] * 7, 502_000 - 7 * HANDOVER, 3)
    assert stack == [], "nobody is called back from within a send"


def test_a_transport_that_resumes_thousands_of_times_does_not_fill_the_stack(reactor: Reactor) -> None:
    transport = Abrupt()
    outgoing = Outgoing(transport, reactor, None, None, lambda: None)
    outgoing.register()
    transport.producer.pauseProducing()
    outgoing.write([bytes(2**27)])
    transport.producer.resumeProducing()
    assert len(transport.portions) == 2048


def test_a_transport_that_pauses_in_its_write_is_given_no_more(reactor: Reactor) -> None:
    class Full(StringTransport):
        def write(self, data: bytes) -> None:
            super().write(data)
            self.producer.pauseProducing()

    transport, blocked = Full(), []
    outgoing = Outgoing(transport, reactor, 65536, None, lambda: None, lambda: blocked.append(len(transport.value())))
    outgoing.register()
    outgoing.write([bytes(200_000)])
    assert (len(transport.value()), outgoing.size) == (HANDOVER, 200_000 - HANDOVER)
    assert outgoing.unsent == 200_000
    assert blocked == [HANDOVER]
    transport.producer.resumeProducing()
    assert (len(transport.value()), outgoing.size) == (2 * HANDOVER, 200_000 - 2 * HANDOVER)
    outgoing.abort()
    transport.producer.resumeProducing()
    assert len(transport.value()) == 2 * HANDOVER


def test_a_transport_whose_write_fails_is_not_written_to_from_within(reactor: Reactor) -> None:
    class Failing(StringTransport):
        fails = True

        def write(self, data: bytes) -> None:
            if self.fails:
                raise ZeroDivisionError
            super().write(data)

    transport = Failing()
    outgoing = Outgoing(transport, reactor, 65536, None, lambda: None)
    with pytest.raises(ZeroDivisionError):
        outgoing.write([b"lost"])
    transport.fails = False
    outgoing.write([b"next"])
    assert transport.value() == b"next"


def test_a_cork_holds_when_the_transport_resumes(reactor: Reactor) -> None:
    transport, changes = StringTransport(), []
    outgoing = Outgoing(transport, reactor, 65536, None, lambda: changes.append(True))
    outgoing.register()
    transport.producer.pauseProducing()
    outgoing.cork()
    outgoing.write([b"corked"])
    transport.producer.resumeProducing()
    assert (transport.value(), changes) == (b"", [True])
    outgoing.uncork()
    assert transport.value() == b"corked"


def test_who_hears_that_it_is_writable_may_write_and_abort(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, sendLimit=None)
    filled = it.fill()
    written = 0

    def changed() -> None:
        nonlocal written
        it.outgoing.cork()
        while it.outgoing.writable and written < 500:
            written += 1
            it.outgoing.write([b"%04d" % written * 1000])
        it.outgoing.uncork()

    it.outgoing.writabilityChanged = changed
    assert it.drain() == filled + b"".join(b"%04d" % number * 1000 for number in range(1, 501))
    it.fill()
    it.outgoing.writabilityChanged = it.outgoing.abort
    while it.outgoing.size:
        it.arrived()
        it.reactor.write()
    assert it.outgoing.write([b"never"]) is True
    assert not it.drain().endswith(b"never")


# TLS, in memory above the socket: its handshake needs no certificate


def anonymous() -> SSL.Connection:
    context = SSL.Context(SSL.TLSv1_2_METHOD)
    context.set_cipher_list(b"AECDH:@SECLEVEL=0")
    return SSL.Connection(context, None)


@implementer(IOpenSSLServerConnectionCreator)
class Creator:
    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        return anonymous()


class TLSLink(Link):
    """As `Link`; `arrived` is what the peer has decrypted."""

    def __init__(self, below: tcp.Server, peer: socket.socket, reactor: Reactor, **settings: Any) -> None:
        self.below = below
        self.peerTLS = anonymous()
        self.peerTLS.set_connect_state()
        above = overTLS(below, reactor)
        below.protocol = above
        self.blocked: list[bool] = []
        for _ in range(3):
            try:
                self.peerTLS.do_handshake()
            except SSL.WantReadError:
                pass
            try:
                above.dataReceived(self.peerTLS.bio_read(2**16))
            except SSL.WantReadError:
                pass
            reactor.advance(0)
            while below in reactor.writers:
                reactor.write()
            self.decrypted(peer)
        super().__init__(above, peer, reactor, **settings)
        self.outgoing.blocked = lambda: self.blocked.append(self.outgoing.paused)

    def decrypted(self, peer: socket.socket) -> bytes:
        data = bytearray()
        while True:
            try:
                self.peerTLS.bio_write(peer.recv(2**16))
                while True:
                    data += self.peerTLS.recv(2**16)
            except SSL.WantReadError:
                pass
            except BlockingIOError:
                return bytes(data)

    def arrived(self, limit: int = 2**26) -> bytes:
        return self.decrypted(self.peer)

    def close(self) -> None:
        self.outgoing.abort()
        self.below.connectionLost(Failure(ConnectionLost()))
        self.peer.close()


def overTLS(below: Any, reactor: Reactor) -> Any:
    factory = tls.TLSMemoryBIOFactory(Creator(), False, ClientFactory.forProtocol(Owner), reactor)
    protocol = factory.buildProtocol(None)
    protocol.makeConnection(below)
    return protocol


@pytest.fixture
def secured(reactor: Reactor) -> Iterator[Callable[..., TLSLink]]:
    links: list[TLSLink] = []

    def make(sendBuffer: int = 2**20, **settings: Any) -> TLSLink:
        plain = makeLink(reactor, sendBuffer=sendBuffer, register=False)
        links.append(TLSLink(plain.transport, plain.peer, reactor, **settings))
        return links[-1]

    yield make
    for made in links:
        made.close()


def test_over_tls_a_message_leaves_at_once_and_a_second_at_the_end_of_the_turn(
    secured: Callable[..., TLSLink],
) -> None:
    it = secured()
    it.outgoing.write([b"one"])
    assert it.arrived() == b"one"
    it.outgoing.write([b"two"])
    it.outgoing.write([b"three"])
    assert it.arrived() == b""
    it.reactor.advance(0)
    assert it.arrived() == b"twothree"
    assert (it.outgoing.paused, it.blocked, it.reactor.writers) == (False, [], [])


def test_over_tls_what_the_socket_takes_at_once_blocks_nobody(secured: Callable[..., TLSLink]) -> None:
    """Although the transport below holds more than its mark in between."""
    it = secured()
    data = bytes(range(250)) * 400
    it.outgoing.write([data])
    assert it.arrived() == data
    assert (it.outgoing.paused, it.blocked) == (False, [])
    it.outgoing.pauseProducing()
    assert it.blocked == [True]


@pytest.mark.parametrize("size", [30_000, 500_000])
def test_over_tls_what_the_socket_does_not_take_waits_and_is_counted(
    secured: Callable[..., TLSLink], size: int
) -> None:
    it = secured(sendBuffer=4096, sendLimit=None)
    data = bytes(range(250)) * (size // 250)
    it.outgoing.write([data])
    assert (it.outgoing.paused, it.blocked) == (True, [True])
    received = it.arrived()
    while len(received) < size:
        left = size - len(received)
        # A record of at most 16 KiB may have arrived in part, and has some 50 bytes of its own.
        assert left - 16_384 <= it.outgoing.unsent <= left + 50 * (size // 16_384 + 9)
        assert it.outgoing.writable or it.outgoing.unsent > 65_536
        it.reactor.write()
        received += it.arrived()
    assert received == data
    assert it.outgoing.unsent == 0
    assert not it.outgoing.paused
    assert it.changes > 0
    it.outgoing.write([b"next"])
    it.reactor.advance(0)
    assert it.arrived() == b"next"


def test_over_tls_all_is_handed_over_before_it_is_registered(secured: Callable[..., TLSLink]) -> None:
    it = secured(sendBuffer=4096, register=False)
    it.outgoing.writeControl([bytes(200_000)])
    assert (it.outgoing.size, it.outgoing.paused) == (0, False)
    assert it.outgoing.unsent > 150_000
    received = len(it.arrived())
    while it.reactor.writers:
        it.reactor.write()
        received += len(it.arrived())
    assert received == 200_000


def test_over_tls_on_another_transport(reactor: Reactor) -> None:
    below = StringTransport()
    outgoing = Outgoing(overTLS(below, reactor), reactor, 65536, None, lambda: None)
    outgoing.register()
    outgoing.write([b"before the handshake"])
    assert (outgoing.size, outgoing.paused, outgoing.unsent) == (0, True, HANDOVER)


# Order, time and memory


OPERATIONS = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 100) | st.integers(0, 150_000)),
    st.tuples(st.sampled_from(["control", "pongs"]), st.integers(0, 100)),
    st.tuples(st.just("read"), st.integers(1, 200_000)),
    st.tuples(st.sampled_from(["cork", "uncork", "turn", "reactor", "drop", "flush"]), st.just(0)),
)


def operate(
    it: Link, operations: list[tuple[str, int]], sendLimit: int | None
) -> tuple[bytearray, list[tuple[int, str]], int]:
    """Does it all; returns what arrived, the size and the kind of each message, and how many were dropped."""
    received = bytearray()
    messages: list[tuple[int, str]] = []
    dropped = 0
    for name, size in operations:
        if name in ("write", "control", "pongs"):
            head = struct.pack(">II", len(messages), size)
            message = [head, b"x" * size] if size else [head]
            if name != "write":
                getattr(it.outgoing, "writePongs" if name == "pongs" else "writeControl")(message)
            elif not it.outgoing.write(message):
                assert sendLimit is not None
                assert it.outgoing.isOverLimit
                continue
            messages.append((size, name))
        elif name == "read":
            received += it.arrived(size)
        elif name == "turn":
            it.reactor.advance(0)
        elif name == "reactor":
            it.reactor.write()
        elif name == "drop":
            dropped += it.outgoing.dropQueue()
        else:
            getattr(it.outgoing, name)()
    it.outgoing.uncork()
    received += it.drain()
    it.reactor.advance(0)
    assert (it.outgoing.unsent, it.outgoing.paused, it.reactor.getDelayedCalls()) == (0, False, [])
    return received, messages, dropped


@given(
    operations=st.lists(OPERATIONS, max_size=30),
    kind=st.sampled_from([tcp.Server, unix.Server]),
    stock=st.booleans(),
    highWaterMark=st.sampled_from([None, 1, 4096, 65536, 300_000]),
    sendLimit=st.sampled_from([None, 1, 50_000, 2**20]),
)
def test_whole_messages_arrive_in_order(
    operations: list[tuple[str, int]],
    kind: type[tcp.Server],
    stock: bool,
    highWaterMark: int | None,
    sendLimit: int | None,
) -> None:
    class Derived(tcp.Server):
        """Not tried eagerly."""

    it = makeLink(Reactor(), kind if stock else Derived, sendBuffer=1, highWaterMark=highWaterMark, sendLimit=sendLimit)
    try:
        received, messages, dropped = operate(it, operations, sendLimit)
    finally:
        it.close()

    arrived = []
    while received:
        number, size = struct.unpack_from(">II", received)
        assert received[8 : 8 + size] == b"x" * size
        del received[: 8 + size]
        assert messages[number][0] == size
        arrived.append(number)
    inOrder = [number for number in arrived if messages[number][1] != "pongs"]
    assert inOrder == sorted(set(inOrder))
    pongs = [number for number in arrived if messages[number][1] == "pongs"]
    assert pongs == sorted(set(pongs))
    if not dropped:
        assert inOrder == [number for number, (_, name) in enumerate(messages) if name != "pongs"]
    assert len(messages) - len(arrived) >= dropped


def sendSlowly(it: Link, messages: list[list[bytes]]) -> None:
    """Sends messages to a slow reader."""
    left = sum(len(buffer) for message in messages for buffer in message)
    it.outgoing.cork()
    for message in messages:
        it.outgoing.write(message)
    it.outgoing.uncork()
    while left:
        left -= len(it.arrived(65536))
        it.reactor.write()


@pytest.mark.parametrize("kind", ["stock", "derived"])
@pytest.mark.parametrize(
    ("small", "large"),
    [([[b"head", b"x" * 2**24]], [[b"head", b"x" * 2**26]]), ([[b"x" * 66]] * 20_000, [[b"x" * 66]] * 80_000)],
    ids=["one large", "many small"],
)
def test_sending_to_a_slow_reader_takes_linear_time(
    link: Callable[..., Link], kind: str, small: list[list[bytes]], large: list[list[bytes]]
) -> None:
    class Derived(tcp.Server):
        """Not tried eagerly."""

    it = link(tcp.Server if kind == "stock" else Derived, sendBuffer=2**16, sendLimit=None)
    assertLinear(lambda: spent(lambda: sendSlowly(it, small)), lambda: spent(lambda: sendSlowly(it, large)))


def test_a_large_message_is_sent_from_where_it_lies(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=2**16)
    payload = bytes(2**26)
    tracemalloc.start()
    try:
        it.outgoing.write([b"head", payload])
        left = len(payload) + 4
        while left:
            left -= len(it.arrived(65536))
            it.reactor.write()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**20
