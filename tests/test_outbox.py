"""The outbox, on Twisted's own transports over real sockets: their reactor is a clock that the test steps."""

import struct
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from growth import assertLinear, spent
from hypothesis import given
from hypothesis import strategies as st
from links import (
    HANDOVER,
    Link,
    OutboxOwner,
    Owner,
    Reactor,
    TLSLink,
    Wrapper,
    links,
    makeClient,
    makeLink,
    overTLS,
    tlsLinks,
)
from twisted.internet import tcp, unix
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import ClientFactory
from twisted.internet.testing import StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure

from wsock.wire import outbox as module
from wsock.wire import transports
from wsock.wire.outbox import Kind, Outbox, makeLimits
from wsock.wire.transports import isStock


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def link(reactor: Reactor) -> Iterator[Callable[..., Link]]:
    with links(reactor) as make:
        yield make


@pytest.fixture
def secured(reactor: Reactor) -> Iterator[Callable[..., TLSLink]]:
    with tlsLinks(reactor) as make:
        yield make


# The eager path, and what keeps it from being taken


@pytest.mark.parametrize("kind", [tcp.Server, unix.Server])
def test_a_server_transports_socket_is_tried_at_once(link: Callable[..., Link], kind: type[tcp.Server]) -> None:
    it = link(kind)
    it.outbox.write([b"one"])
    assert it.arrived() == b"one"
    assert not it.reactor.writers
    assert it.outbox.unsent == it.outbox.size == 0


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_client_transports_socket_is_tried_at_once(kind: str, reactor: Reactor, tmp_path: Path) -> None:
    transport, peer = makeClient(kind, reactor, tmp_path)
    assert type(transport) is (tcp.Client if kind == "tcp" else unix.Client)
    it = Link(transport, peer, reactor)
    before = len(reactor.writers)
    it.outbox.write([b"one"])
    assert it.arrived() == b"one"
    assert len(reactor.writers) == before
    it.close()


def assertNotTried(it: Link, expected: bytes = b"one") -> None:
    """A message goes to the transport's write, which asks the reactor; then it arrives."""
    it.outbox.write([b"one"])
    assert it.arrived() == b""
    assert it.reactor.writers == [it.transport]
    it.reactor.write()
    assert it.arrived() == expected


def test_a_class_derived_from_a_transport_is_not_tried(link: Callable[..., Link]) -> None:
    class Encrypting(tcp.Server):
        """A transport may do with its bytes as it likes."""

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
    inner.outbox.unregister()
    outbox = Outbox(wrapper, reactor, makeLimits(65536, 2**20), OutboxOwner())
    assert not isStock(wrapper)
    outbox.write([b"plain"])
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
    it.outbox.unregister()
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
    it.outbox.write([b"secret"])
    it.outbox.write([b"second"])
    it.reactor.advance(0)
    assert it.arrived() == b""
    assert secured.written == [b"secret", b"second"]


@pytest.mark.parametrize("corked", [True, False])
def test_no_plain_text_leaves_under_TLS_that_is_started_later(link: Callable[..., Link], corked: bool) -> None:
    it = link()
    for data in (b"one", b"two"):
        it.outbox.write([data])
        it.reactor.advance(0)
    assert it.arrived() == b"onetwo"
    it.outbox.unregister()
    it.outbox.register()
    it.outbox.write([b"three"])
    secured = secure(it)
    if corked:
        it.outbox.cork()
    it.outbox.write([b"secret"])
    if corked:
        it.outbox.uncork()
    it.reactor.advance(0)
    assert it.arrived() == b"three"
    assert secured.written == [b"secret"]


def test_bytes_that_the_transport_holds_later_are_not_overtaken(link: Callable[..., Link]) -> None:
    """The transport is not asked each time; it has nothing but what it is given here."""
    it = link(sendBuffer=4096)
    it.outbox.write([b"one"])
    it.fill()
    it.outbox.write([b"last"])
    assert it.drain()[-5:] == b"flast"
    it.outbox.write([b"next"])
    it.outbox.unregister()
    it.transport.write(b"fallback")
    it.outbox.write([b"behind"])
    assert it.drain() == b"nextfallbackbehind"


def test_a_lost_transport_is_not_tried(link: Callable[..., Link]) -> None:
    it = link()
    it.transport.connectionLost(Failure(ConnectionLost()))
    assert not hasattr(it.transport, "socket")
    it.outbox.write([b"one"])
    assert it.outbox.size == 0


def test_nothing_leaves_after_abort(link: Callable[..., Link]) -> None:
    it = link()
    it.outbox.abort()
    it.transport.abortConnection()
    assert it.transport.connected
    assert it.outbox.write([b"one"]) is True
    it.outbox.write([b"two"])
    it.outbox.writeHTTP([b"three"])
    it.outbox.writePongs([b"four"])
    it.outbox.cork()
    it.outbox.write([b"five"])
    it.outbox.uncork()
    it.outbox.whenDrained(lambda: pytest.fail("nothing drains any more"))
    it.outbox.flush()
    assert (it.arrived(), it.outbox.size, it.outbox.unsent) == (b"", 0, 0)
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
    it.outbox.write([b"one"])
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
    it.outbox.write([data])
    sent = it.arrived()
    assert 0 < len(sent) < 2**17
    assert sent + it.transport._tempDataBuffer[0] == data[: len(sent) + HANDOVER]
    assert all(type(part) is bytes for part in it.transport._tempDataBuffer)
    assert it.outbox.paused
    assert it.outbox.size == len(data) - len(sent) - HANDOVER
    assert it.outbox.unsent == len(data) - len(sent)
    assert sent + it.drain() == data
    assert it.outbox.unsent == 0
    assert not it.outbox.paused


def test_the_smallest_rest_pauses_until_the_transport_has_sent_it(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096)
    while not it.reactor.writers:
        it.outbox.writeHTTP([b"x" * 100])
    assert it.outbox.paused
    assert it.outbox.size == 0
    assert 0 < it.outbox.unsent <= 100
    assert it.outbox.writable
    it.outbox.write([b"later"])
    assert it.outbox.size == 5
    assert it.reactor.getDelayedCalls() == []
    assert it.drain().endswith(b"xlater")
    assert not it.outbox.paused


@pytest.mark.parametrize("reset", [True, False])
def test_an_error_is_met_in_the_reactor(link: Callable[..., Link], reset: bool) -> None:
    it = link()
    owner: Any = it.transport.protocol
    if reset:
        # Closed with bytes that were not read: the next send says ECONNRESET, else EPIPE.
        it.transport.socket.send(b"unread")
    it.peer.close()
    for _ in range(3):
        it.outbox.write([b"one"])
        it.reactor.advance(0)
    assert it.transport.connected
    assert owner.lost == []
    it.reactor.write()
    assert [reason.type for reason in owner.lost] == [ConnectionLost]


# Corks


def test_what_is_corked_leaves_in_one_system_call(link: Callable[..., Link]) -> None:
    it = link(packets=True)
    it.outbox.cork()
    for number in range(64):
        it.outbox.write([b"%04d" % number])
    it.outbox.writeHTTP([b"control"])
    it.outbox.writePongs([b"po", b"ng"])
    assert it.packets() == []
    assert it.outbox.size == 64 * 4 + 7 + 4
    it.outbox.uncork()
    assert it.packets() == [64 * 4 + 7 + 4]
    assert it.reactor.getDelayedCalls() == []


def test_one_corked_message_leaves_by_itself(link: Callable[..., Link]) -> None:
    it = link(packets=True)
    for _ in range(2):
        it.outbox.cork()
        it.outbox.write([b"one"])
        assert (it.packets(), it.outbox.size, it.outbox.bytesHandedOver % 3) == ([], 3, 0)
        it.outbox.uncork()
        assert (it.packets(), it.outbox.size) == ([3], 0)
    assert it.outbox.bytesHandedOver == 6
    assert it.reactor.getDelayedCalls() == []


def afterOne(act: Callable[[Outbox], object], packets: list[bytes], dropped: int = 0) -> Any:
    return pytest.param(act, packets, dropped)


@pytest.mark.parametrize(
    ("act", "packets", "dropped"),
    [
        afterOne(lambda outbox: outbox.write([b"two"]), [b"onetwo"]),
        afterOne(lambda outbox: outbox.write([b"tw", b"o"]), [b"onetwo"]),
        afterOne(lambda outbox: outbox.write([b"x" * 65536]), [b"one" + b"x" * 65536]),
        afterOne(lambda outbox: outbox.writePing([b"ping"]), [b"oneping"]),
        afterOne(lambda outbox: outbox.writeFragment([b"part"], Kind.FIRST_FRAGMENT), [b"onepart"]),
        afterOne(lambda outbox: outbox.writePongs([b"po", b"ng"]), [b"onepong"]),
        afterOne(lambda outbox: outbox.writeClose([b"close"]), [b"oneclose"]),
        afterOne(lambda outbox: outbox.flush(), [b"one"]),
        afterOne(lambda outbox: outbox.unregister(), [b"one"]),
        afterOne(lambda outbox: outbox.dropQueue(), [], 1),
        afterOne(lambda outbox: outbox.abort(), [], 1),
        afterOne(lambda outbox: outbox.lost(), [], 1),
        afterOne(lambda outbox: outbox.end(), [], 0),
        afterOne(lambda outbox: outbox.pauseProducing(), [], 0),
    ],
)
def test_a_corked_message_stays_the_first(
    link: Callable[..., Link], act: Callable[[Outbox], object], packets: list[bytes], dropped: int
) -> None:
    it = link(packets=True)
    it.outbox.cork()
    it.outbox.write([b"one"])
    act(it.outbox)
    it.outbox.uncork()
    found = []
    while True:
        try:
            found.append(it.peer.recv(2**20))
        except BlockingIOError:
            break
    assert found == packets
    assert it.outbox.dropped == dropped
    assert it.outbox.size == (0 if packets or dropped else 3)


def test_a_corked_message_that_the_socket_does_not_take_whole_goes_on(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096)
    message = bytes(range(256)) * 200
    sent = b""
    while not it.outbox.paused:
        it.outbox.cork()
        it.outbox.write([message])
        it.outbox.uncork()
        sent += message
    assert it.drain() == sent


def test_the_rest_of_a_corked_message_is_sent_once_it_drains(link: Callable[..., Link]) -> None:
    it, drained = link(), list[str]()
    it.outbox.cork()
    it.outbox.write([b"one"])
    it.outbox.whenDrained(lambda: drained.append("now"))
    assert drained == []
    it.outbox.uncork()
    assert (drained, it.arrived()) == (["now"], b"one")


def test_large_buffers_leave_apart_in_one_system_call(link: Callable[..., Link]) -> None:
    it = link(packets=True)
    it.outbox.write([b"head", b"p" * 50_000])
    assert it.packets() == [50_004]


@pytest.mark.parametrize(
    ("highWaterMark", "sendLimit", "limit"),
    [(1000, 2**20, 1000), (None, 2**20, 65536), (None, None, 65536), (2**20, 500, 500), (70_000, None, 70_000)],
)
def test_a_cork_holds_less_than_the_limits(
    link: Callable[..., Link], highWaterMark: int | None, sendLimit: int | None, limit: int
) -> None:
    it = link(highWaterMark=highWaterMark, sendLimit=sendLimit)
    it.outbox.cork()
    it.outbox.write([b"x" * (limit - 1)])
    assert it.arrived() == b""
    it.outbox.write([b"y"])
    assert it.arrived() == b"x" * (limit - 1) + b"y"
    it.outbox.write([b"z"])
    assert it.arrived() == b""
    it.outbox.uncork()
    assert it.arrived() == b"z"


def test_an_empty_cork_sends_nothing(link: Callable[..., Link]) -> None:
    it = link(packets=True)
    it.outbox.cork()
    it.outbox.uncork()
    it.outbox.flush()
    assert it.packets() == []


def test_a_cork_on_another_transport_is_one_write(reactor: Reactor) -> None:
    class Writes(StringTransport):
        sizes: tuple[int, ...] = ()

        def write(self, data: bytes) -> None:
            self.sizes += (len(data),)
            super().write(data)

    transport = Writes()
    outbox = Outbox(transport, reactor, makeLimits(65536, 2**20), OutboxOwner())
    outbox.register()
    outbox.cork()
    for _ in range(10):
        outbox.write([b"ab", b"c"])
    outbox.uncork()
    assert transport.sizes == (30,)
    outbox.write([b"d"])
    outbox.write([b"e"])
    assert transport.sizes == (30, 1, 1), "a transport that is not Twisted's own has its own ways in a turn"
    assert reactor.getDelayedCalls() == []


# Turns


def test_a_burst_is_two_system_calls(link: Callable[..., Link]) -> None:
    it = link(packets=True)
    for _ in range(100):
        assert it.outbox.write([b"abc"])
    assert it.packets() == [3]
    assert it.outbox.size == 99 * 3
    it.reactor.advance(0)
    assert it.packets() == [99 * 3]
    assert it.reactor.getDelayedCalls() == []
    it.outbox.write([b"next"])
    assert it.packets() == [4], "in the next turn the first is tried at once again"


def test_a_burst_in_a_later_turn_is_two_system_calls(link: Callable[..., Link]) -> None:
    it = link(packets=True)
    for data in (b"one", b"two"):
        it.outbox.write([data])
    it.reactor.advance(0)
    assert it.packets() == [3, 3]
    for data in (b"three", b"four", b"five"):
        it.outbox.write([data])
    assert it.packets() == [5]
    it.reactor.advance(0)
    assert it.packets() == [8]


def test_a_single_message_has_no_delayed_call_and_one_in_a_later_turn_waits_for_its_end(
    link: Callable[..., Link],
) -> None:
    """The end of a turn in which only one message was sent is not told: that would be a pass of the reactor."""
    it = link(packets=True)
    it.outbox.write([b"one"])
    assert it.reactor.getDelayedCalls() == []
    it.reactor.advance(0)
    assert it.packets() == [3]
    it.outbox.write([b"three"])
    assert it.packets() == []
    it.reactor.advance(0)
    assert it.packets() == [5]
    it.outbox.write([b"four"])
    assert it.packets() == [4]
    assert it.reactor.getDelayedCalls() == []


def test_a_burst_of_many_small_messages_is_joined(link: Callable[..., Link]) -> None:
    it = link(packets=True)
    for _ in range(2000):
        it.outbox.write([b"x" * 16])
    it.reactor.advance(0)
    assert it.packets() == [16, 1999 * 16]


def test_a_burst_does_not_wait_past_the_mark(link: Callable[..., Link]) -> None:
    it = link(packets=True, highWaterMark=1000)
    it.outbox.write([b"first"])
    it.outbox.write([b"x" * 999])
    assert it.packets() == [5]
    it.outbox.write([b"x"])
    assert it.packets() == [1000]


def test_not_too_many_messages_of_a_burst_wait(link: Callable[..., Link]) -> None:
    it = link()
    it.outbox.write([b"first"])
    for _ in range(2048):
        assert it.outbox.write([b"\x82\x00"])
    assert it.arrived() == b"first"
    assert it.outbox.write([b"\x82\x00"])
    assert it.arrived() == b"\x82\x00" * 2049


def test_a_burst_that_fills_the_socket_has_the_limit(link: Callable[..., Link]) -> None:
    """It waits for the end of the turn, too."""
    it = link(sendBuffer=4096, sendLimit=2**20)
    it.outbox.write([b"first"])
    it.outbox.write([b"second"])
    it.outbox.write([bytes(2**20)])
    assert it.outbox.paused
    assert it.outbox.write([bytes(2**20)])
    assert it.outbox.write([bytes(2**20)])
    assert not it.outbox.write([b"over"])


def test_a_control_frame_in_a_burst_is_no_message(link: Callable[..., Link]) -> None:
    it = link()
    for data in (b"first", b"second"):
        it.outbox.write([data])
    it.outbox.writePing([b"\x89\x00"])
    assert it.outbox.dropQueue() == 1


def test_a_broadcast_is_one_system_call_each(link: Callable[..., Link]) -> None:
    links = [link(packets=True) for _ in range(50)]
    message = [b"head", b"payload"]
    for it in links:
        it.outbox.write(message)
    assert [it.packets() for it in links] == [[11]] * 50
    for it in links:
        it.outbox.write(message)
    assert [it.packets() for it in links] == [[]] * 50
    assert len(links[0].reactor.getDelayedCalls()) == 1
    links[0].reactor.advance(0)
    assert [it.packets() for it in links] == [[11]] * 50
    assert message == [b"head", b"payload"]


def test_a_control_frame_takes_along_what_waits(link: Callable[..., Link]) -> None:
    it = link(packets=True)
    for data in (b"one", b"two", b"three"):
        it.outbox.write([data])
    it.outbox.writeClose([b"close"])
    assert it.packets() == [3, 13]
    it.reactor.advance(0)
    assert it.packets() == []


def test_drained_takes_along_what_waits(link: Callable[..., Link]) -> None:
    it, drained = link(), []
    it.outbox.write([b"one"])
    it.outbox.write([b"two"])
    it.outbox.whenDrained(lambda: drained.append(it.arrived()))
    assert drained == [b"onetwo"]


def test_a_lost_connection_leaves_no_delayed_call(link: Callable[..., Link]) -> None:
    it = link()
    it.outbox.write([b"one"])
    it.outbox.write([b"two"])
    assert len(it.reactor.getDelayedCalls()) == 1
    it.outbox.abort()
    assert it.reactor.getDelayedCalls() == []
    assert it.arrived() == b"one"


# The queue and its limits


def test_limits_are_exact_on_a_stock_transport(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, highWaterMark=5000, sendLimit=6000)
    it.fill()
    left = 2**22
    while it.outbox.unsent > 4000:
        left -= len(it.arrived())
        assert it.outbox.unsent == left
        it.reactor.write()
    left -= len(it.arrived())
    assert it.outbox.unsent == left > 0
    assert it.outbox.paused
    assert it.outbox.size == 0
    assert it.outbox.write([b"x" * (5000 - it.outbox.unsent)])
    assert it.outbox.unsent == 5000
    assert it.outbox.writable
    assert it.outbox.write([b"x"])
    assert not it.outbox.writable
    assert it.outbox.write([b"x" * 999])
    assert it.outbox.unsent == 6000
    assert it.outbox.write([b"x" * 10_000]), "the message at hand does not count"
    assert it.outbox.unsent == 16_000
    assert it.outbox.write([b"x"]) is False
    assert it.outbox.unsent == 16_000
    it.outbox.writeHTTP([b"x"])
    assert it.outbox.unsent == 16_001


def test_limits_on_another_transport(reactor: Reactor) -> None:
    transport = StringTransport()
    outbox = Outbox(transport, reactor, makeLimits(65536, 100_000), OutboxOwner())
    outbox.register()
    transport.producer.pauseProducing()
    assert not outbox.writable
    assert outbox.write([b"x" * 200_000]), "the first message does not count"
    assert outbox.unsent == 200_000 + HANDOVER
    assert outbox.write([b"x" * 100_000])
    assert outbox.write([b"x"])
    assert outbox.write([b"x"]) is False
    transport.producer.resumeProducing()
    assert outbox.writable
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
        assert it.outbox.write([data])
        assert it.outbox.write([b"x" * 100])
        assert it.outbox.write([data])
        assert it.outbox.write([b"y"]) is False
        assert it.outbox.write([data]) is False
        assert it.drain() == data + b"x" * 100 + data


def test_a_burst_meets_the_limit(link: Callable[..., Link]) -> None:
    it = link(highWaterMark=None, sendLimit=10_000, sendBuffer=4096)
    it.outbox.cork()
    accepted = sum(it.outbox.write([b"x" * 1000]) for _ in range(500))
    it.outbox.uncork()
    assert accepted < 100
    # The limit, the message that has begun to leave, and the one that goes beyond; the transport holds the rest.
    waiting = it.outbox.size - sum(map(len, it.outbox._current))
    assert 10_000 < waiting <= 12_000
    assert it.outbox.unsent <= 12_000 + HANDOVER


def test_tiny_messages_meet_a_limit_of_their_own(link: Callable[..., Link]) -> None:
    """Each takes more memory than its bytes."""
    it = link(highWaterMark=10, sendLimit=2**20, sendBuffer=4096)
    it.outbox.write([bytes(500_000)])
    accepted = sum(it.outbox.write([b"\x82\x00"]) for _ in range(100_000))
    assert accepted == 2**20 // 256 + 1
    it = link(highWaterMark=None, sendLimit=2**22, sendBuffer=4096)
    it.outbox.write([bytes(500_000)])
    assert sum(it.outbox.write([b"\x82\x00"]) for _ in range(100_000)) == 2**22 // 256 + 1


@pytest.mark.parametrize("highWaterMark", [65_536, 40_000])
def test_tiny_messages_meet_the_mark_long_before_the_limit(link: Callable[..., Link], highWaterMark: int) -> None:
    it = link(sendBuffer=4096, highWaterMark=highWaterMark)
    it.outbox.write([bytes(30_000)])
    assert it.outbox.paused
    count = 0
    while it.outbox.writable:
        assert it.outbox.write([b"\x82\x00"])
        count += 1
    assert it.outbox.unsent < highWaterMark
    assert count == 65_536 // 256 + 1
    it = link(sendBuffer=4096, highWaterMark=None)
    it.outbox.write([bytes(30_000)])
    for _ in range(4000):
        assert it.outbox.write([b"\x82\x00"])
    assert it.outbox.writable


def test_not_too_many_messages_are_corked(link: Callable[..., Link]) -> None:
    it = link()
    it.outbox.cork()
    for _ in range(2048):
        it.outbox.write([b"\x82\x00"])
    assert it.arrived() == b""
    it.outbox.write([b"\x82\x00"])
    assert it.arrived() == b"\x82\x00" * 2049
    for _ in range(5000):
        it.outbox.write([b"\x82\x00"])
    it.outbox.uncork()
    assert it.drain() == b"\x82\x00" * 5000


def test_what_is_held_does_not_leave_by_any_way(link: Callable[..., Link]) -> None:
    """A client's messages before the answer: the socket is there, and nothing is before them."""
    it = link(register=False)
    it.outbox.writeAhead(b"request")
    it.outbox.hold()
    it.reactor.write()
    assert it.arrived() == b"request"
    it.outbox.write([b"held"])
    it.reactor.advance(0)
    assert it.arrived() == b""
    it.outbox.register()
    assert it.drain() == b"held"


def test_what_is_held_waits_for_the_cork_too(link: Callable[..., Link]) -> None:
    it = link(register=False)
    it.outbox.hold()
    it.outbox.cork()
    it.outbox.write([b"held"])
    it.outbox.register()
    assert it.arrived() == b""
    it.outbox.uncork()
    assert it.arrived() == b"held"


def test_nothing_goes_ahead_after_abort(link: Callable[..., Link]) -> None:
    it = link(register=False)
    it.outbox.abort()
    it.outbox.writeAhead(b"request")
    it.reactor.write()
    assert it.arrived() == b""


def test_nothing_leaves_after_the_end(link: Callable[..., Link]) -> None:
    """Not even where the transport says that it takes more, or is left to itself."""
    it = link()
    assert not it.outbox.ended
    it.outbox.end()
    assert it.outbox.ended
    it.outbox.write([b"one"])
    it.transport.producer.resumeProducing()
    it.outbox.writeHTTP([b"two"])
    it.outbox.unregister()
    it.reactor.advance(0)
    it.reactor.write()
    assert it.arrived() == b""
    assert it.outbox.size == 6


def test_what_waits_for_the_end_of_a_turn_is_not_overtaken_in_it(link: Callable[..., Link]) -> None:
    """Another connection is flushed first, and has its application send here."""
    it = link()

    class Other:
        def flush(self) -> None:
            it.outbox.write([b"3"])

    it.outbox.write([b"1"])
    it.outbox.write([b"2"])
    turn = it.outbox._turn
    turn.waiting = {Other(): None, **turn.waiting}
    it.reactor.advance(0)
    assert it.drain() == b"123"


def test_without_limits_all_is_taken(link: Callable[..., Link]) -> None:
    it = link(highWaterMark=None, sendLimit=None, sendBuffer=4096)
    data = b"x" * 2**20
    assert all(it.outbox.write([data]) for _ in range(20))
    assert it.outbox.paused
    assert it.outbox.writable


def test_the_connection_hears_when_it_is_writable_and_not_only_when_all_is_sent(link: Callable[..., Link]) -> None:
    it = link(highWaterMark=500_000, sendLimit=None, sendBuffer=4096)
    it.fill()
    assert not it.outbox.writable
    while not it.changes:
        it.arrived()
        it.reactor.write()
    assert it.outbox.size > 300_000
    assert 500_000 - 3 * HANDOVER < it.outbox.unsent <= 500_000


def test_what_a_wrapped_transport_holds_is_counted(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, sendLimit=None, register=False)
    it.transport = Wrapper(it.transport)
    it.connect(sendLimit=None)
    total = 2_000_000
    it.outbox.write([bytes(total)])
    assert it.outbox.paused
    received = len(it.arrived())
    for _ in range(5):
        it.reactor.write()
        received += len(it.arrived())
        # The socket holds nothing now: what did not arrive is with us, or with the wrapped transport.
        assert it.outbox.unsent == total - received
        assert it.outbox.bytesTaken == received
    assert it.outbox.paused


def test_what_a_wrapped_transport_holds_is_not_taken(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, register=False)
    it.transport = Wrapper(it.transport)
    it.connect()
    it.outbox.write([bytes(50_000)])
    it.reactor.write()
    assert not it.outbox.paused
    received = len(it.arrived())
    assert received < 50_000
    assert it.outbox.bytesTaken == received


@pytest.mark.parametrize("code", [None, 0])
def test_a_system_that_does_not_say_what_it_holds(
    link: Callable[..., Link], monkeypatch: pytest.MonkeyPatch, code: int | None
) -> None:
    monkeypatch.setattr(transports, "_OUTQ", code)
    it = link(sendBuffer=4096)
    it.outbox.write([bytes(50_000)])
    assert it.outbox.bytesInFlight == it.outbox.unsent > 0


def test_what_the_peer_has_taken(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, sendLimit=None)
    total = 2_000_000
    it.outbox.write([bytes(total)])
    before = it.outbox.bytesTaken
    assert before < total
    if sys.platform == "linux":
        assert before <= 0, "the system tells of its memory, which is no less than the bytes in it"
    assert it.arrived(4000)
    assert before <= it.outbox.bytesTaken < total
    it.drain()
    assert it.outbox.bytesTaken == total


def test_dropping_keeps_the_message_that_has_begun_to_leave(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, sendLimit=None)
    begun = bytes(range(256)) * 2000
    it.outbox.write([begun])
    assert it.outbox.size
    for _ in range(3):
        it.outbox.write([b"\x82ead", b"dropped"])
    it.outbox.writePongs([b"\x8aropped too"])
    size = it.outbox.size
    assert it.outbox.dropQueue() == 3
    assert it.outbox.size == size - 3 * 11 - 11
    assert it.outbox.dropQueue() == 0
    it.outbox.writePongs([b"pong"])
    it.outbox.write([b"next"])
    assert it.drain() == begun + b"pongnext"
    assert it.outbox.size == 0


def test_only_messages_are_counted_among_what_is_dropped(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, sendLimit=None)
    it.outbox.write([bytes(500_000)])
    it.outbox.write([b"\x82\x00"])
    it.outbox.writePing([b"\x89\x00"])
    it.outbox.writeClose([b"\x88\x00"])
    assert it.outbox.dropQueue() == 1


@pytest.mark.parametrize("begun", [[bytes(500_000)], [b"head", bytes(500_000)]])
@pytest.mark.parametrize(("kind", "dropped"), [(Kind.DATA, 1), (Kind.PING, 0)])
def test_a_message_that_has_begun_to_leave_is_counted_when_it_is_aborted(
    link: Callable[..., Link], begun: list[bytes], kind: Kind, dropped: int
) -> None:
    it = link(sendBuffer=4096)
    it.outbox.write(begun, kind)
    assert it.outbox.size
    it.outbox.abort()
    assert it.outbox.dropped == dropped
    it.outbox.abort()
    assert it.outbox.dropped == dropped


def test_a_message_that_has_left_is_not_counted_when_it_is_aborted(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096)
    it.outbox.write([b"\x82" + bytes(500_000)])
    it.drain()
    it.outbox.abort()
    assert it.outbox.dropped == 0


@pytest.mark.parametrize("sendBuffer", [2**12, 2**17])
def test_what_has_left_in_parts_is_not_sent_again(link: Callable[..., Link], sendBuffer: int) -> None:
    it = link(sendBuffer=sendBuffer)
    first = bytes(range(250)) * 2000
    it.outbox.write([first])
    it.outbox.write([b"next"])
    assert it.drain() == first + b"next"
    for data in (b"one", b"two"):
        it.outbox.write([data])
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
    it.outbox.write([b"message"])
    assert it.outbox.bytesHandedOver == 7, "the transport has it"
    assert it.outbox.paused
    assert it.drain() == filled + b"message"


def oldestDropped(reactor: Reactor) -> tuple[StringTransport, Outbox]:
    """A transport that takes nothing for now, and what drops the oldest messages past 100 bytes."""
    transport = StringTransport()
    outbox = Outbox(transport, reactor, makeLimits(100, 100, dropsOldest=True), OutboxOwner())
    outbox.register()
    transport.producer.pauseProducing()
    return transport, outbox


def test_no_more_messages_are_dropped_than_have_to(reactor: Reactor) -> None:
    transport, outbox = oldestDropped(reactor)
    messages = [b"\x82\x1c" + b"%028d" % number for number in range(12)]
    assert all(outbox.write([message]) for message in messages)
    assert outbox.dropped == 7
    transport.producer.resumeProducing()
    assert transport.value() == b"".join(messages[7:])


def test_what_the_protocol_says_takes_no_room_from_messages(reactor: Reactor) -> None:
    transport, outbox = oldestDropped(reactor)
    pongs = b"\x8a\x7d" + bytes(125)
    outbox.writePongs([pongs, pongs])
    for letter in (b"1", b"2", b"3", b"4", b"5"):
        outbox.write([b"\x82\x3c" + letter * 60])
    assert outbox.dropped == 2
    transport.producer.resumeProducing()
    left = b"".join(b"\x82\x3c" + letter * 60 for letter in (b"3", b"4", b"5"))
    assert transport.value() == pongs + pongs + left


# Kinds


@pytest.mark.parametrize("kind", [Kind.PING, Kind.PONG, Kind.CLOSE, Kind.HTTP])
@pytest.mark.parametrize("begun", [False, True])
def test_a_control_frame_in_front_of_a_snapshot_is_no_message(reactor: Reactor, kind: Kind, begun: bool) -> None:
    """The snapshot would be the second message otherwise, and a small one behind it too much."""
    transport, outbox = limited(reactor)
    frame = [b"\x82" * (HANDOVER + 50 if begun else 50)]
    if begun:
        transport.producer.resumeProducing()
        transport.write = lambda data: transport.producer.pauseProducing()
    if kind is Kind.PING:
        assert outbox.writePing(frame)
    else:
        {Kind.PONG: outbox.writePongs, Kind.CLOSE: outbox.writeClose, Kind.HTTP: outbox.writeHTTP}[kind](frame)
    assert (outbox.paused, outbox.size) == (True, 50)
    assert outbox.writePing([b"\x89\x00"])
    assert outbox.write([bytes(5000)])
    assert outbox.write([bytes(60)])
    assert outbox.isOverLimit is (kind is Kind.PING), "a Ping takes the room of its bytes"
    outbox.write([bytes(60)])
    assert outbox.isOverLimit


@pytest.mark.parametrize("first", [0x82, 0x00, 0x88, 0x89, 0x8A, 0xC1, ord("G")])
def test_a_message_is_one_whatever_its_first_byte_is(reactor: Reactor, first: int) -> None:
    _, outbox = limited(reactor, dropsOldest=True)
    for _ in range(4):
        assert outbox.write([bytes([first]) + bytes(99)])
    assert outbox.dropped == 1
    assert outbox.dropQueue() == 3
    assert (outbox.dropped, outbox.size) == (4, 0)


@pytest.mark.parametrize("first", [b"\x82", b"\x00", b"GET /"])
def test_what_is_no_message_is_none_whatever_its_first_byte_is(reactor: Reactor, first: bytes) -> None:
    transport, outbox = limited(reactor, dropsOldest=True)
    outbox.writeHTTP([first + b"HTTP"])
    outbox.writePongs([first + b"pong"])
    outbox.writeClose([first + b"close"])
    for _ in range(10):
        assert outbox.writePing([first + bytes(60)])
    assert outbox.dropped == 0
    assert outbox.size < 4 * 65 + 40
    transport.producer.resumeProducing()
    assert transport.value().startswith(first + b"HTTP" + first + b"pong" + first + b"close" + first)


def test_messages_that_were_refused_are_counted_with_what_they_drop(reactor: Reactor) -> None:
    _, outbox = limited(reactor)
    while outbox.write([bytes(100)]):
        pass
    assert outbox.dropQueue(1) == 3
    assert outbox.dropped == 4


def test_limits_are_one_object_for_all_connections() -> None:
    limits = makeLimits(65536, 2**20)
    assert makeLimits(65536, 2**20) is limits
    assert (limits.highWaterMark, limits.sendLimit, limits.dropsOldest) == (65536, 2**20, False)
    assert makeLimits(65536, 2**20, dropsOldest=True).dropsOldest


def test_a_lost_outbox_tells_its_owner_nothing_more(reactor: Reactor) -> None:
    transport, calls = StringTransport(), list[str]()
    owner = OutboxOwner(lambda: calls.append("writable"))
    owner.blocked = lambda: calls.append("blocked")
    outbox = Outbox(transport, reactor, makeLimits(100, 100), owner)
    outbox.register()
    outbox.pauseProducing()
    outbox.resumeProducing()
    assert calls == ["blocked", "writable"]
    outbox.lost()
    outbox.pauseProducing()
    outbox.resumeProducing()
    assert calls == ["blocked", "writable"]


# Fragments

FIRST, NEXT, LAST = Kind.FIRST_FRAGMENT, Kind.NEXT_FRAGMENT, Kind.LAST_FRAGMENT


def limited(reactor: Reactor, dropsOldest: bool = False) -> tuple[StringTransport, Outbox]:
    """A transport that takes nothing for now, and an outbox with a limit of 100 bytes."""
    transport = StringTransport()
    outbox = Outbox(transport, reactor, makeLimits(100, 100, dropsOldest), OutboxOwner())
    outbox.register()
    transport.producer.pauseProducing()
    return transport, outbox


def writeParts(outbox: Outbox, parts: str, size: int = 30) -> list[bool]:
    """Writes "f", "n" and "l" as the fragments of a message, others as whole messages, "." as a Ping."""
    accepted = []
    for letter in parts:
        frame = [letter.encode() * size]
        if letter == ".":
            accepted.append(outbox.writePing(frame))
        elif letter in "fnl":
            accepted.append(outbox.writeFragment(frame, {"f": FIRST, "n": NEXT, "l": LAST}[letter]))
        else:
            accepted.append(outbox.write(frame))
    return accepted


def arrived(transport: StringTransport, size: int = 30) -> str:
    """The first letter of each frame that has left."""
    return transport.value()[::size].decode()


def test_fragments_that_find_room_leave_in_order(reactor: Reactor) -> None:
    transport = StringTransport()
    outbox = Outbox(transport, reactor, makeLimits(100, 100, dropsOldest=True), OutboxOwner())
    outbox.register()
    assert writeParts(outbox, "fn.nl1f") == [True] * 7
    transport.producer.pauseProducing()
    assert writeParts(outbox, "nl2") == [True] * 3
    transport.producer.resumeProducing()
    assert (arrived(transport), outbox.dropped) == ("fn.nl1fnl2", 0)


def test_the_fragments_of_a_message_are_dropped_together(reactor: Reactor) -> None:
    transport, outbox = limited(reactor, dropsOldest=True)
    assert writeParts(outbox, "fn.l1234") == [True] * 8
    assert outbox.dropped == 1
    transport.producer.resumeProducing()
    assert arrived(transport) == ".1234"


@pytest.mark.parametrize(
    ("before", "after", "left", "dropped"),
    [
        ("fnnnnn", "nnl1", "1", 1),
        ("fnnnnn", "l1", "1", 1),
        ("fnnnnl", "1fl", "1fl", 1),
        ("fnnnnn", "l1fl", "1fl", 1),
        ("fn.nnnn", "l1", ".1", 1),
        ("1fnnnnnl2", "", "2", 2),
        ("fnnnnn", ".l1", ".1", 1),
        ("fnnn..", "nl", "..", 1),
    ],
)
def test_fragments_still_to_be_written_are_dropped_with_those_before_them(
    reactor: Reactor, before: str, after: str, left: str, dropped: int
) -> None:
    transport, outbox = limited(reactor, dropsOldest=True)
    assert all(writeParts(outbox, before))
    assert outbox.dropped == dropped
    transport.producer.resumeProducing()
    # Also where there is room again.
    assert all(writeParts(outbox, after))
    assert outbox.dropped == dropped
    assert arrived(transport) == left


def test_fragments_whose_first_one_has_left_are_not_dropped(reactor: Reactor) -> None:
    transport, outbox = limited(reactor, dropsOldest=True)
    transport.producer.resumeProducing()
    writeParts(outbox, "f")
    transport.producer.pauseProducing()
    assert writeParts(outbox, "nnnl1234") == [True] * 8
    transport.producer.resumeProducing()
    assert (arrived(transport), outbox.dropped) == ("fnnnl4", 3)


def test_a_fragment_that_can_not_be_dropped_and_has_no_room_is_refused(reactor: Reactor) -> None:
    """A message without end would have no bound otherwise."""
    transport, outbox = limited(reactor, dropsOldest=True)
    transport.producer.resumeProducing()
    writeParts(outbox, "f")
    transport.producer.pauseProducing()
    assert writeParts(outbox, "nn.nnnnl") == [True] * 6 + [False] * 2
    # Any other frame is dropped in its place, and counted if it is a message.
    assert writeParts(outbox, "1.f.n") == [True] * 5
    assert outbox.dropped == 2
    transport.producer.resumeProducing()
    assert writeParts(outbox, "l2") == [True, True]
    assert arrived(transport) == "fnnnnn2"


def test_fragments_past_the_limit_are_refused_where_nothing_is_dropped(reactor: Reactor) -> None:
    _, outbox = limited(reactor)
    assert writeParts(outbox, "fnnnnnl") == [True] * 5 + [False] * 2
    assert outbox.dropQueue() == 1


@pytest.mark.parametrize(
    ("parts", "count"),
    [("f", 1), ("fn", 1), ("fnl", 1), ("fnlfnl", 2), ("1fn.l2", 3), ("fl.f", 2), ("n", 1), ("nl1", 2)],
)
def test_a_message_in_fragments_counts_once(reactor: Reactor, parts: str, count: int) -> None:
    for drop in (Outbox.dropQueue, Outbox.abort):
        outbox = Outbox(StringTransport(), reactor, makeLimits(100, None), OutboxOwner())
        outbox.register()
        outbox.pauseProducing()
        writeParts(outbox, parts)
        drop(outbox)
        assert outbox.dropped == count


def test_a_message_that_has_begun_to_leave_in_fragments_counts_once(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096)
    it.outbox.writeFragment([bytes(500_000)], FIRST)
    assert it.outbox._current
    it.outbox.writeFragment([b"last"], LAST)
    it.outbox.abort()
    assert it.outbox.dropped == 1


@pytest.mark.parametrize("kind", [Kind.DATA, FIRST, NEXT, LAST])
@pytest.mark.parametrize("begun", [False, True])
def test_each_fragment_counts_as_a_message(link: Callable[..., Link], kind: Kind, begun: bool) -> None:
    it = link(sendBuffer=4096, sendLimit=100)
    if not begun:
        it.outbox.pauseProducing()
    assert it.outbox.write([bytes(500_000)], kind)
    assert bool(it.outbox._current) is begun
    assert it.outbox.write([bytes(100)])
    assert not it.outbox.isOverLimit
    assert it.outbox.write([bytes(1)])
    assert it.outbox.isOverLimit


@given(operations=st.lists(st.sampled_from("mmmmppfnldtt"), max_size=60), dropsOldest=st.booleans())
def test_no_message_arrives_in_part(operations: list[str], dropsOldest: bool) -> None:
    """Messages whole and in fragments, Pings, and a transport that takes nothing in between."""
    transport, outbox = limited(Reactor(), dropsOldest)
    number, isOpen = 0, False
    for operation in operations:
        if operation == "t":
            transport.producer.resumeProducing()
            transport.producer.pauseProducing()
        elif operation == "p":
            outbox.writePing([b"p%09d" % number])
        elif operation == "m" and not isOpen:
            number += 1
            outbox.write([b"m%09d" % number])
        elif operation in "fnl" and (operation == "f") is not isOpen:
            number += operation == "f"
            kind = {"f": FIRST, "n": NEXT, "l": LAST}[operation]
            isOpen = operation != "l"
            if not outbox.writeFragment([b"%s%09d" % (operation.encode(), number)], kind):
                break
    else:
        if isOpen and not outbox.writeFragment([b"l%09d" % number], LAST):
            # As above: the connection is closed.
            return
        transport.producer.resumeProducing()
        data = transport.value()
        frames = [(data[at : at + 1], int(data[at + 1 : at + 10])) for at in range(0, len(data), 10)]
        message: int | None = None
        for letter, frame in frames:
            assert (letter in b"nl") is (message == frame if letter != b"p" else False)
            if letter in b"fnl":
                message = None if letter == b"l" else frame
            elif letter == b"m":
                assert message is None
        assert message is None
        arrivedCount = sum(letter in b"ml" for letter, _ in frames)
        assert arrivedCount + outbox.dropped <= number
        if dropsOldest:
            assert arrivedCount + outbox.dropped == number


def test_thousands_of_small_messages_wait_and_leave_in_order(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, sendLimit=None)
    filled = it.fill()
    messages = [[b"%08d" % number, b"payload" * (number % 7)] for number in range(5000)]
    for message in messages:
        it.outbox.write(message)
    data = it.drain()
    assert data == filled + b"".join(b"".join(message) for message in messages)


@pytest.mark.parametrize("sendmsg", [True, False])
@pytest.mark.parametrize("size", [1, 600, 40_000])
def test_more_buffers_than_the_system_takes_at_once(
    link: Callable[..., Link], monkeypatch: pytest.MonkeyPatch, sendmsg: bool, size: int
) -> None:
    monkeypatch.setattr(transports, "_SENDMSG", sendmsg)
    it = link(sendLimit=None)
    many = 200 if size == 40_000 else 3000
    it.outbox.write([bytes([number % 256]) * size for number in range(many)])
    it.outbox.write([b""])
    it.outbox.writeHTTP([])
    it.outbox.cork()
    for number in range(many):
        it.outbox.write([b"", bytes([number % 251]) * size, b""])
    it.outbox.uncork()
    expected = [bytes([number % 256]) * size for number in range(many)]
    expected += [bytes([number % 251]) * size for number in range(many)]
    assert it.drain() == b"".join(expected)


def test_the_system_is_given_as_many_buffers_as_it_takes(
    link: Callable[..., Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transports, "JOIN_UP_TO_BYTES", 10)
    monkeypatch.setattr(module, "JOIN_UP_TO_BYTES", 10)
    monkeypatch.setattr(transports, "_JOIN_AVERAGE_BYTES", 1)
    it = link(packets=True)
    it.outbox.cork()
    for _ in range(1000):
        it.outbox.write([b"head", b"payload"])
    it.outbox.uncork()
    assert it.packets() == [512 * 11, 488 * 11]
    it.outbox.writeHTTP([b"payload"] * 1500)
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
            it.outbox.write(frame)
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
    it.outbox.write([b"before"])
    it.outbox.writePongs([b"old", b"er"])
    it.outbox.write([b"after"])
    size = it.outbox.size
    for number in range(1000):
        it.outbox.writePongs([b"pong", b"%04d" % number])
    assert it.outbox.size == size + 3
    assert it.outbox.unsent == it.outbox.size + HANDOVER
    assert it.drain() == filled + b"beforepong0999after"
    assert it.outbox.size == 0


def test_pongs_are_not_replaced_while_the_transport_takes_them(link: Callable[..., Link]) -> None:
    it = link()
    it.outbox.cork()
    it.outbox.writePongs([b"one", b"two"])
    it.outbox.writePongs([b"three"])
    it.outbox.uncork()
    it.outbox.writePongs([b"four"])
    it.outbox.writePongs([b"five"])
    assert it.arrived() == b"onetwothreefourfive"


def test_pongs_that_have_begun_to_leave_are_not_replaced(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, sendLimit=None)
    first = bytes(range(250)) * 2000
    it.outbox.writePongs([first])
    assert it.outbox.paused
    assert it.outbox.size
    it.outbox.writePongs([b"second"])
    it.outbox.writePongs([b"third"])
    assert it.drain() == first + b"third"


def test_pongs_that_wait_behind_what_begins_to_leave_are_replaced(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, sendLimit=None)
    first, second = bytes(range(250)) * 1000, bytes(range(240)) * 2000
    it.outbox.write([first])
    it.outbox.write([second])
    it.outbox.writePongs([b"older"])
    data = b""
    while it.outbox.size > 300_000:
        data += it.arrived()
        it.reactor.write()
    it.outbox.writePongs([b"newer"])
    assert data + it.drain() == first + second + b"newer"


def test_pongs_with_others_behind_them_that_have_begun_to_leave_are_not_replaced(link: Callable[..., Link]) -> None:
    """The application sends when it hears that the transport takes no more."""
    it = link(sendBuffer=4096, sendLimit=None)
    messages = [b"after"]
    it.owner.blocked = lambda: it.outbox.write([messages.pop()]) if messages else None
    first = bytes(range(250)) * 2000
    it.outbox.writePongs([first])
    it.outbox.writePongs([b"second"])
    assert it.drain() == first + b"aftersecond"
    assert it.outbox.size == 0


def test_pongs_that_have_left_are_not_replaced(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, sendLimit=None)
    filled = it.fill()
    it.outbox.writePongs([b"first"])
    assert it.drain() == filled + b"first"
    it.fill()
    it.outbox.writePongs([b"second"])
    assert it.drain() == filled + b"second"
    it.outbox.cork()
    it.outbox.writePongs([b"third"])
    it.outbox.uncork()
    assert it.arrived() == b"third"
    it.fill()
    it.outbox.writePongs([b"fourth"])
    assert it.drain() == filled + b"fourth"


# Drained


def test_drained_is_called_once_when_nothing_waits(link: Callable[..., Link]) -> None:
    it, drained = link(sendBuffer=4096), []
    it.outbox.whenDrained(lambda: drained.append("at once"))
    assert drained == ["at once"]
    it.fill()
    it.outbox.whenDrained(lambda: drained.append("replaced"))
    it.outbox.whenDrained(lambda: drained.append("later"))
    assert drained == ["at once"]
    while it.outbox.size:
        assert len(drained) == 1
        it.arrived()
        it.reactor.write()
    it.drain()
    assert drained == ["at once", "later"]


def test_drained_waits_for_the_cork(link: Callable[..., Link]) -> None:
    it, drained = link(), []
    it.outbox.cork()
    it.outbox.whenDrained(lambda: drained.append(it.arrived()))
    it.outbox.write([b"corked"])
    assert drained == []
    it.outbox.uncork()
    assert drained == [b"corked"]
    it.outbox.cork()
    it.outbox.whenDrained(lambda: drained.append(it.arrived()))
    it.outbox.uncork()
    assert drained == [b"corked", b""]


def test_drained_may_do_anything(link: Callable[..., Link]) -> None:
    it, calls = link(), []

    def drained() -> None:
        calls.append(it.arrived())
        it.outbox.cork()
        it.outbox.write([b"again"])
        if len(calls) < 3:
            it.outbox.whenDrained(drained)
        it.outbox.uncork()

    it.outbox.write([b"one"])
    it.outbox.whenDrained(drained)
    assert calls == [b"one", b"again", b"again"]
    assert it.arrived() == b"again"
    it.outbox.whenDrained(it.outbox.abort)
    assert it.reactor.getDelayedCalls() == []


def test_nothing_drains_after_abort(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096)
    it.fill()
    it.outbox.whenDrained(lambda: pytest.fail("nothing drains any more"))
    it.outbox.abort()
    it.outbox.flush()
    it.outbox.uncork()
    it.transport.producer.resumeProducing()


def test_drained_may_end_the_connection(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, sendLimit=None)

    def leave() -> None:
        it.outbox.unregister()
        it.transport.loseConnection()

    filled = it.fill()
    it.outbox.writeClose([b"bye"])
    it.outbox.whenDrained(leave)
    assert it.drain() == filled + b"bye"
    assert len(it.transport.protocol.lost if it.transport.connected else [1]) == 1
    assert not it.transport.connected


# As a producer


def test_unregistering_hands_everything_over(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, sendLimit=None)
    filled = it.fill()
    it.outbox.write([b"corked"])
    it.outbox.cork()
    assert it.outbox.registered
    it.outbox.unregister()
    assert not it.outbox.registered
    assert it.transport.producer is None
    assert (it.outbox.size, it.outbox.paused) == (0, False)
    it.outbox.uncork()
    it.transport.loseConnection()
    data = bytearray(it.arrived())
    while it.transport.connected:
        it.reactor.write()
        data += it.arrived()
    assert data == filled + b"corked"
    it.outbox.unregister()


def test_before_it_is_registered_everything_is_handed_over(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, register=False)
    data = bytes(range(256)) * 4096
    it.outbox.writeHTTP([data])
    assert (it.outbox.size, it.outbox.paused) == (0, False)
    assert it.outbox.unsent > 2**19
    assert it.outbox.writable, "there is nobody whom the transport could tell that it is"
    assert not it.transport.producerPaused
    assert it.drain() == data


def test_a_transport_that_holds_bytes_is_filled_until_it_pauses(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, register=False, sendLimit=None)
    first = bytes(range(256)) * 300
    it.outbox.writeHTTP([first])
    it.outbox.register()
    it.outbox.write([b"second" * 100_000])
    assert it.outbox.paused
    assert it.outbox.size == 600_000 - HANDOVER
    assert it.drain() == first + b"second" * 100_000


def test_the_connection_hears_when_the_transport_takes_no_more(link: Callable[..., Link]) -> None:
    it, blocked = link(sendBuffer=4096), []
    it.owner.blocked = lambda: blocked.append(it.outbox.paused)
    it.outbox.write([b"little"])
    assert blocked == []
    it.outbox.writeHTTP([bytes(30_000)])
    assert blocked == [True]


def test_other_transports_are_given_a_portion_at_a_time(reactor: Reactor) -> None:
    changes: list[bool] = []
    transport = StringTransport()
    outbox = Outbox(transport, reactor, makeLimits(65536, None), OutboxOwner(lambda: changes.append(outbox.writable)))
    outbox.register()
    assert transport.streaming
    transport.producer.pauseProducing()
    data = bytes(range(256)) * 1000
    outbox.write([data])
    assert transport.value() == b""
    transport.producer.resumeProducing()
    assert transport.value() == data
    assert changes == [True]
    transport.producer.stopProducing()
    outbox.unregister()
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
    outbox = Outbox(transport, reactor, makeLimits(65536, None), OutboxOwner(changed))
    outbox.register()
    data = bytes(range(251)) * 2000
    outbox.write([data])
    outbox.write([b"end"])
    assert transport.value() == data + b"end"
    assert transport.portions == (*[HANDOVER] * 7, 502_000 - 7 * HANDOVER, 3)
    assert stack == [], "nobody is called back from within a send"


def test_a_transport_that_resumes_thousands_of_times_does_not_fill_the_stack(reactor: Reactor) -> None:
    transport = Abrupt()
    outbox = Outbox(transport, reactor, makeLimits(None, None), OutboxOwner())
    outbox.register()
    transport.producer.pauseProducing()
    outbox.write([bytes(2**27)])
    transport.producer.resumeProducing()
    assert len(transport.portions) == 2048


def test_a_transport_that_pauses_in_its_write_is_given_no_more(reactor: Reactor) -> None:
    class Full(StringTransport):
        def write(self, data: bytes) -> None:
            super().write(data)
            self.producer.pauseProducing()

    transport, blocked = Full(), []
    owner = OutboxOwner()
    owner.blocked = lambda: blocked.append(len(transport.value()))
    outbox = Outbox(transport, reactor, makeLimits(65536, None), owner)
    outbox.register()
    outbox.write([bytes(200_000)])
    assert (len(transport.value()), outbox.size) == (HANDOVER, 200_000 - HANDOVER)
    assert outbox.unsent == 200_000
    assert blocked == [HANDOVER]
    transport.producer.resumeProducing()
    assert (len(transport.value()), outbox.size) == (2 * HANDOVER, 200_000 - 2 * HANDOVER)
    outbox.abort()
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
    outbox = Outbox(transport, reactor, makeLimits(65536, None), OutboxOwner())
    with pytest.raises(ZeroDivisionError):
        outbox.write([b"lost"])
    transport.fails = False
    outbox.write([b"next"])
    assert transport.value() == b"next"


def test_a_cork_holds_when_the_transport_resumes(reactor: Reactor) -> None:
    transport, changes = StringTransport(), []
    outbox = Outbox(transport, reactor, makeLimits(65536, None), OutboxOwner(lambda: changes.append(True)))
    outbox.register()
    transport.producer.pauseProducing()
    outbox.cork()
    outbox.write([b"corked"])
    transport.producer.resumeProducing()
    assert (transport.value(), changes) == (b"", [True])
    outbox.uncork()
    assert transport.value() == b"corked"


def test_who_hears_that_it_is_writable_may_write_and_abort(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096, sendLimit=None)
    filled = it.fill()
    written = 0

    def changed() -> None:
        nonlocal written
        it.outbox.cork()
        while it.outbox.writable and written < 500:
            written += 1
            it.outbox.write([b"%04d" % written * 1000])
        it.outbox.uncork()

    it.owner.writable = changed
    assert it.drain() == filled + b"".join(b"%04d" % number * 1000 for number in range(1, 501))
    it.fill()
    it.owner.writable = it.outbox.abort
    while it.outbox.size:
        it.arrived()
        it.reactor.write()
    assert it.outbox.write([b"never"]) is True
    assert not it.drain().endswith(b"never")


def test_over_tls_a_message_leaves_at_once_and_a_second_at_the_end_of_the_turn(
    secured: Callable[..., TLSLink],
) -> None:
    it = secured()
    it.outbox.write([b"one"])
    assert it.arrived() == b"one"
    it.outbox.write([b"two"])
    it.outbox.write([b"three"])
    assert it.arrived() == b""
    it.reactor.advance(0)
    assert it.arrived() == b"twothree"
    assert (it.outbox.paused, it.blocked, it.reactor.writers) == (False, [], [])


def test_over_tls_what_the_socket_takes_at_once_blocks_nobody(secured: Callable[..., TLSLink]) -> None:
    """Although the transport below holds more than its mark in between."""
    it = secured()
    data = bytes(range(250)) * 400
    it.outbox.write([data])
    assert it.arrived() == data
    assert (it.outbox.paused, it.blocked) == (False, [])
    it.outbox.pauseProducing()
    assert it.blocked == [True]


@pytest.mark.parametrize("size", [30_000, 500_000])
def test_over_tls_what_the_socket_does_not_take_waits_and_is_counted(
    secured: Callable[..., TLSLink], size: int
) -> None:
    it = secured(sendBuffer=4096, sendLimit=None)
    data = bytes(range(250)) * (size // 250)
    it.outbox.write([data])
    assert (it.outbox.paused, it.blocked) == (True, [True])
    received = it.arrived()
    while len(received) < size:
        left = size - len(received)
        # A record of at most 16 KiB may have arrived in part, and has some 50 bytes of its own.
        assert left - 16_384 <= it.outbox.unsent <= left + 50 * (size // 16_384 + 9)
        assert it.outbox.writable or it.outbox.unsent > 65_536
        it.reactor.write()
        received += it.arrived()
    assert received == data
    assert it.outbox.unsent == 0
    assert not it.outbox.paused
    assert it.changes > 0
    it.outbox.write([b"next"])
    it.reactor.advance(0)
    assert it.arrived() == b"next"


def test_over_tls_all_is_handed_over_before_it_is_registered(secured: Callable[..., TLSLink]) -> None:
    it = secured(sendBuffer=4096, register=False)
    it.outbox.writeHTTP([bytes(200_000)])
    assert (it.outbox.size, it.outbox.paused) == (0, False)
    assert it.outbox.unsent > 150_000
    received = len(it.arrived())
    while it.reactor.writers:
        it.reactor.write()
        received += len(it.arrived())
    assert received == 200_000


def test_over_tls_on_another_transport(reactor: Reactor) -> None:
    below = StringTransport()
    outbox = Outbox(overTLS(below, reactor), reactor, makeLimits(65536, None), OutboxOwner())
    outbox.register()
    outbox.write([b"before the handshake"])
    assert (outbox.size, outbox.paused, outbox.unsent) == (0, True, HANDOVER)


# Order, time and memory


OPERATIONS = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 100) | st.integers(0, 150_000)),
    st.tuples(st.sampled_from(["control", "pongs"]), st.integers(0, 100)),
    st.tuples(st.just("read"), st.integers(1, 200_000)),
    st.tuples(st.sampled_from(["cork", "uncork", "turn", "reactor", "drop", "flush"]), st.just(0)),
)


def operate(
    it: Link, operations: list[tuple[str, int]], sendLimit: int | None
) -> tuple[bytearray, list[tuple[int, str]], bool]:
    """Does it all; returns what arrived, the size and the kind of each message, and whether any was dropped."""
    received = bytearray()
    messages: list[tuple[int, str]] = []
    dropped = False
    for name, size in operations:
        if name in ("write", "control", "pongs"):
            head = struct.pack(">II", len(messages), size)
            message = [head, b"x" * size] if size else [head]
            if name != "write":
                getattr(it.outbox, "writePongs" if name == "pongs" else "writeHTTP")(message)
            elif not it.outbox.write(message):
                assert sendLimit is not None
                assert it.outbox.isOverLimit
                continue
            messages.append((size, name))
        elif name == "read":
            received += it.arrived(size)
        elif name == "turn":
            it.reactor.advance(0)
        elif name == "reactor":
            it.reactor.write()
        elif name == "drop":
            waited, counted = it.outbox.size, it.outbox.dropped
            assert it.outbox.dropQueue() == it.outbox.dropped - counted
            dropped = dropped or it.outbox.size < waited
        else:
            getattr(it.outbox, name)()
    it.outbox.uncork()
    received += it.drain()
    it.reactor.advance(0)
    assert (it.outbox.unsent, it.outbox.paused, it.reactor.getDelayedCalls()) == (0, False, [])
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
    assert len(messages) - len(arrived) >= it.outbox.dropped


def sendSlowly(it: Link, messages: list[list[bytes]]) -> None:
    """Sends messages to a slow reader."""
    left = sum(len(buffer) for message in messages for buffer in message)
    it.outbox.cork()
    for message in messages:
        it.outbox.write(message)
    it.outbox.uncork()
    while left:
        left -= len(it.arrived(65536))
        it.reactor.write()


@pytest.mark.growth
@pytest.mark.parametrize("kind", ["stock", "derived"])
@pytest.mark.parametrize(
    ("small", "large"),
    [([[b"head", b"x" * 2**22]], [[b"head", b"x" * 2**26]]), ([[b"x" * 66]] * 10_000, [[b"x" * 66]] * 160_000)],
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
        it.outbox.write([b"head", payload])
        left = len(payload) + 4
        while left:
            left -= len(it.arrived(65536))
            it.reactor.write()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**20
