"""The helpers for tests, against protocols of Twisted's and of ours; nothing here is real but what is tested."""

import gc
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import ref

import pytest
from feeding import frame
from twisted.internet.defer import Deferred
from twisted.internet.error import (
    ConnectingCancelledError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    NoProtocol,
)
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Site
from wire import REQUEST, Application, failures, logged
from zope.interface import implementer
from zope.interface.verify import verifyObject

import wsock
from wsock import (
    Accept,
    ConnectionRejected,
    InvalidRequest,
    InvalidResponse,
    InvalidURL,
    LocalProtocolError,
    Refuse,
    Settings,
    WebSocketClosed,
    WebSocketDropped,
    WebSocketServerFactory,
    WebSocketStream,
    streamApplication,
)
from wsock.sansio.url import parse
from wsock.testing import MemoryAgent, MemoryEndpoint, MemoryTransport, Pair, ScriptedPeer

#: Nobody is ever out of patience.
SILENT = Settings(openTimeout=None, closeTimeout=None, pingTimeout=None)


class Recorder(Protocol):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.lost: list[type[BaseException]] = []

    @property
    def data(self) -> bytes:
        return b"".join(self.chunks)

    def dataReceived(self, data: bytes) -> None:
        self.chunks.append(data)

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.append(reason.type)


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.ends: list[str] = []

    def readConnectionLost(self) -> None:
        self.ends.append("read")

    def writeConnectionLost(self) -> None:
        self.ends.append("write")


class Producer:
    """Writes while it may; notes what it is told."""

    def __init__(self, transport: Any, size: int = 1000, portions: int = 10**9) -> None:
        self.transport = transport
        self.size = size
        self.portions = portions
        self.paused = False
        self.told: list[str] = []

    def start(self) -> "Producer":
        self.transport.registerProducer(self, True)
        self.produce()
        return self

    def produce(self) -> None:
        while not self.paused and self.portions:
            self.portions -= 1
            self.transport.write(bytes(self.size))

    def pauseProducing(self) -> None:
        self.paused = True
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.paused = False
        self.told.append("resume")
        self.produce()

    def stopProducing(self) -> None:
        self.portions = 0
        self.told.append("stop")


class Echo(wsock.WebSocketProtocol):
    def textMessageReceived(self, message: str) -> None:
        self.transport.sendTextMessage(message)

    def bytesMessageReceived(self, data: bytes) -> None:
        self.transport.sendBytesMessage(data)


def result(deferred: "Deferred[Any]") -> Any:
    """The result that a Deferred fired with."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    assert len(results) == 1, "it has not fired"
    return results[0]


def failure(deferred: "Deferred[Any]", *kinds: type[BaseException]) -> Any:
    """The exception that a Deferred failed with."""
    value = result(deferred).value
    assert isinstance(value, kinds)
    return value


def isWaiting(deferred: "Deferred[Any]") -> bool:
    return not deferred.called


def pairOf(**arguments: Any) -> Any:
    return Pair(Recorder(), Recorder(), **arguments)


def check_over(clock: Clock) -> None:
    """Nothing is left to be done."""
    assert clock.getDelayedCalls() == []


# A connection


def test_the_interfaces() -> None:
    transport = pairOf().client.transport
    assert type(transport) is MemoryTransport
    for interface in (ITCPTransport, IConsumer, IPushProducer, IHalfCloseableDescriptor):
        verifyObject(interface, transport)
    verifyObject(IStreamClientEndpoint, MemoryEndpoint(Recorder()))
    for interface in (IProtocol, IHalfCloseableProtocol):
        verifyObject(interface, ScriptedPeer())


def test_nothing_moves_but_in_a_flush() -> None:
    pair = pairOf()
    pair.client.transport.write(b"Hello")
    pair.client.transport.writeSequence([b", ", b"world"])
    assert pair.server.chunks == []
    pair.flush()
    assert pair.server.chunks == [b"Hello, world"]
    assert pair.client.chunks == []


def test_each_side_is_told_of_the_other() -> None:
    pair, other = pairOf(clock=(clock := Clock())), pairOf(clock=clock)
    server, client = pair.server.transport, pair.client.transport
    assert server.getHost() == client.getPeer()
    assert client.getHost() == server.getPeer()
    assert (server.getHost().type, server.getHost().host, server.getHost().port) == ("TCP", "127.0.0.1", 80)
    assert client.getHost() != other.client.transport.getHost()


def test_options_are_remembered() -> None:
    transport = pairOf().client.transport
    assert (transport.getTcpNoDelay(), transport.getTcpKeepAlive()) == (False, False)
    transport.setTcpNoDelay(True)
    transport.setTcpKeepAlive(True)
    assert (transport.getTcpNoDelay(), transport.getTcpKeepAlive()) == (True, True)


@pytest.mark.parametrize("chunk", [1, 3, 65536])
def test_chunks(chunk: int) -> None:
    pair = pairOf(chunk=chunk)
    pair.client.transport.write(b"0123456789")
    pair.flush()
    assert pair.server.data == b"0123456789"
    assert [len(part) for part in pair.server.chunks[:-1]] == [chunk] * (len(pair.server.chunks) - 1)
    assert len(pair.server.chunks[0]) == min(chunk, 10)


def test_no_more_is_read_than_is_on_its_way() -> None:
    pair = pairOf(capacity=4)
    pair.client.transport.write(b"0123456789")
    pair.flush()
    assert pair.server.chunks == [b"0123", b"4567", b"89"]


@pytest.mark.parametrize("chunk", [1000, 65536])
def test_a_message_larger_than_the_capacity_is_sent_before_it_is_answered(chunk: int) -> None:
    sent: list[Any] = []

    async def handler(stream: WebSocketStream) -> None:
        # Not waited for: the return of the handler closes the connection behind it.
        stream.send(bytes(300_000)).addBoth(sent.append)

    async def receive() -> list[int]:
        async with await connecting as stream:
            return [len(message) async for message in stream]

    agent = MemoryAgent(WebSocketServerFactory(streamApplication(handler)), capacity=1000, chunk=chunk)
    connecting = agent.connect()
    received: list[Any] = []
    Deferred.fromCoroutine(receive()).addBoth(received.append)
    agent.flush()
    assert (received, sent) == ([[300_000]], [None])


@pytest.mark.parametrize("limit", ["capacity", "chunk"])
def test_no_limit_is_below_one(limit: str) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        pairOf(**{limit: 0})


@pytest.mark.parametrize("data", ["text", bytearray(b"bytes"), None])
def test_only_bytes_are_written(data: Any) -> None:
    pair = pairOf()
    with pytest.raises(TypeError):
        pair.client.transport.write(data)


def test_protocols_and_factories() -> None:
    class Server(Factory):
        protocol = Recorder
        noisy = False

    pair = Pair(Server(), Server())
    assert type(pair.server) is type(pair.client) is Recorder
    pair.server.transport.write(b"Hello")
    pair.flush()
    assert pair.client.data == b"Hello"

    class Refusing(Factory):
        def buildProtocol(self, addr: Any) -> None:
            return None

    for sides in ((Refusing(), Recorder()), (Recorder(), Refusing())):
        with pytest.raises(ValueError, match="no protocol"):
            Pair(*sides)


def test_an_exception_of_a_protocol_comes_out_of_the_flush() -> None:
    class Failing(Protocol):
        def dataReceived(self, data: bytes) -> None:
            raise ZeroDivisionError

    pair = Pair(Failing(), Recorder())
    pair.client.transport.write(b"Hello")
    with pytest.raises(ZeroDivisionError):
        pair.flush()
    pair.flush()
    pair.server.transport.write(b"Hello")
    pair.flush()
    assert pair.client.data == b"Hello"


def test_a_flush_in_a_flush_is_an_error() -> None:
    class Flushing(Protocol):
        def dataReceived(self, data: bytes) -> None:
            pair.flush()

    pair = Pair(Flushing(), Recorder())
    pair.client.transport.write(b"Hello")
    with pytest.raises(RuntimeError, match="flush"):
        pair.flush()


class Ball(Protocol):
    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)


def test_what_never_ends_is_an_error() -> None:
    pair = Pair(Ball(), Ball())
    pair.client.transport.write(b"ball")
    with pytest.raises(AssertionError, match="100000 rounds"):
        pair.flush()
    with pytest.raises(AssertionError, match="10 rounds"):
        pair.flush(rounds=10)
    with pytest.raises(AssertionError, match="10 rounds"):
        pair.advance(1, rounds=10)
    pair.drop()
    pair.flush()


def test_what_never_ends_holds_up_nobody() -> None:
    clock = Clock()
    endless, other = Pair(Ball(), Ball(), clock), pairOf(clock=clock)
    endless.client.transport.write(b"ball")
    other.client.transport.write(b"Hello")
    with pytest.raises(AssertionError):
        other.flush(rounds=10)
    assert other.server.data == b"Hello"


def test_all_on_one_clock_move_together() -> None:
    clock = Clock()
    behind = Pair(Ball(), Recorder(), clock)

    class Proxy(Protocol):
        def dataReceived(self, data: bytes) -> None:
            behind.client.transport.write(data)

    front = Pair(Proxy(), Recorder(), clock)
    front.client.transport.write(b"Hello")
    front.flush()
    assert behind.client.data == b"Hello"
    elsewhere = pairOf()
    elsewhere.client.transport.write(b"Hello")
    front.flush()
    assert elsewhere.server.data == b""


# Time


def test_a_flush_runs_what_is_due() -> None:
    pair = pairOf()
    pair.clock.callLater(0, pair.client.transport.write, b"now")
    pair.clock.callLater(1, pair.client.transport.write, b"then")
    pair.flush()
    assert pair.server.data == b"now"
    pair.clock.advance(1)
    assert pair.server.data == b"now"
    pair.flush()
    assert pair.server.data == b"nowthen"


def test_everything_moves_between_two_delayed_calls() -> None:
    class Answering(Protocol):
        def dataReceived(self, data: bytes) -> None:
            timer.cancel()

    pair = Pair(Answering(), Recorder())
    timer = pair.clock.callLater(2, pytest.fail, "it was answered in time")
    pair.clock.callLater(1, pair.client.transport.write, b"?")
    pair.advance(10)
    assert pair.clock.seconds() == 10
    check_over(pair.clock)


def test_time_passes_on_a_clock_that_has_run() -> None:
    clock, times = Clock(), []
    clock.advance(100)
    pair = pairOf(clock=clock)
    for seconds in (1, 2, 10):
        clock.callLater(seconds, lambda: times.append(clock.seconds()))
    pair.advance(3)
    pair.advance(0)
    assert (times, clock.seconds()) == ([101, 102], 103)


def test_calls_are_made_at_their_own_time() -> None:
    pair = pairOf()
    times: list[float] = []

    def call(left: int) -> None:
        times.append(pair.clock.seconds())
        if left:
            pair.clock.callLater(0.1, call, left - 1)

    pair.clock.callLater(0.1, call, 29)
    for _ in range(30):
        pair.advance(0.1)
    assert len(times) == 30
    assert times == pytest.approx([(number + 1) / 10 for number in range(30)])


def test_time_that_floats_do_not_add_up_to() -> None:
    pair = pairOf()
    tiny, end = 2**-53, 1 + 2**-52
    assert tiny + (end - tiny) < end
    fired: list[float] = []
    for seconds in (tiny, end):
        pair.clock.callLater(seconds, fired.append, seconds)
    pair.advance(end)
    assert fired == [tiny, end]
    assert pair.clock.seconds() == end


class Signalling(HalfCloseable):
    """Writes to another connection as soon as it is told of an end."""

    def __init__(self, other: Any) -> None:
        super().__init__()
        self.other = other

    def readConnectionLost(self) -> None:
        super().readConnectionLost()
        self.other.write(b"read ended")

    def connectionLost(self, reason: Any = None) -> None:
        super().connectionLost(reason)
        self.other.write(b"lost")


@pytest.mark.parametrize(
    ("way", "told"),
    [("loseConnection", [b"read ended"]), ("abortConnection", [b"lost"]), ("write", [b"read ended", b"lost"])],
)
def test_a_flush_goes_on_behind_what_it_has_told(way: str, told: list[bytes]) -> None:
    first = pairOf(clock=(clock := Clock()))
    pair = Pair(Signalling(first.client.transport), Recorder(), clock=clock)
    pair.server.transport.pauseProducing()
    (pair.client.transport.abortConnection if way == "abortConnection" else pair.client.transport.loseConnection)()
    pair.flush()
    assert first.server.chunks == []
    pair.server.transport.resumeProducing()
    pair.flush()
    if way == "write":
        pair.server.transport.write(b"to nobody")
        pair.flush()
    assert first.server.chunks == told


# Backpressure


def test_a_producer_may_write_64_kib_ahead() -> None:
    pair = pairOf()
    producer = Producer(pair.client.transport, portions=0).start()
    pair.client.transport.write(bytes(65536))
    assert producer.told == []
    pair.client.transport.write(b"x")
    assert producer.told == ["pause"]


def test_each_producer_hears_of_its_own_pauses_alone() -> None:
    pair = pairOf(capacity=10)
    transport = pair.client.transport
    first = Producer(transport, size=11, portions=1).start()
    assert first.told == ["pause"]
    transport.unregisterProducer()
    # Nobody is there to be paused.
    transport.write(bytes(11))
    second = Producer(transport, portions=0).start()
    pair.flush()
    assert len(pair.server.data) == 22
    assert (first.told, second.told) == (["pause"], [])


def test_a_producer_that_leaves_does_not_make_a_writer() -> None:
    """An end that neither reads nor writes does not hear that the peer has gone."""
    pair = pairOf()
    producer = Producer(pair.client.transport, size=5, portions=1).start()
    pair.server.transport.pauseProducing()
    pair.client.transport.pauseProducing()
    pair.flush()
    pair.server.transport.abortConnection()
    pair.flush()
    pair.client.transport.unregisterProducer()
    pair.flush()
    assert (producer.told, pair.client.lost) == ([], [])


@pytest.mark.parametrize("chunk", [1000, 65536])
@pytest.mark.parametrize("capacity", [10_000, 65536])
def test_a_producer_stops_when_the_other_side_does_not_read(capacity: int, chunk: int) -> None:
    pair = pairOf(capacity=capacity, chunk=chunk)
    pair.server.transport.pauseProducing()
    producer = Producer(pair.client.transport).start()
    pair.flush()
    assert producer.told == ["pause"]
    written = (10**9 - producer.portions) * 1000
    assert capacity < written <= capacity + 1000
    assert pair.server.data == b""
    pair.advance(3600)
    assert producer.told == ["pause"]

    producer.portions = 100
    pair.server.transport.resumeProducing()
    pair.flush()
    assert len(pair.server.data) == written + 100 * 1000
    assert producer.told.count("resume") == producer.told.count("pause")


def test_it_stops_again_when_the_other_side_stops_in_between() -> None:
    pair = pairOf(capacity=1000, chunk=100)

    class Tired(Recorder):
        def dataReceived(self, data: bytes) -> None:
            super().dataReceived(data)
            self.transport.pauseProducing()

    pair = Pair(Tired(), Recorder(), capacity=1000, chunk=100)
    producer = Producer(pair.client.transport, size=100).start()
    for number in range(1, 20):
        pair.flush()
        assert len(pair.server.data) == 100 * number
        assert producer.paused
        assert (10**9 - producer.portions) * 100 <= 1100 + 100 * number
        pair.server.transport.resumeProducing()


def test_a_pull_producer_is_asked_for_more() -> None:
    pair = pairOf(capacity=1000)

    class Pull:
        left = 50

        def resumeProducing(self) -> None:
            if self.left:
                self.left -= 1
                pair.client.transport.write(bytes(100))

        def stopProducing(self) -> None:
            raise NotImplementedError

    pair.server.transport.pauseProducing()
    pull = Pull()
    pair.client.transport.registerProducer(pull, False)
    assert pull.left == 49
    pair.flush()
    assert pull.left == 50 - 11
    pair.server.transport.resumeProducing()
    pair.flush()
    assert len(pair.server.data) == 5000


def test_there_is_one_producer_at_a_time() -> None:
    transport = pairOf().client.transport
    transport.registerProducer(Producer(transport), True)
    with pytest.raises(RuntimeError, match="registered"):
        transport.registerProducer(Producer(transport), True)
    transport.unregisterProducer()
    transport.registerProducer(Producer(transport), True)


def test_a_producer_is_stopped_when_the_connection_is_lost() -> None:
    pair = pairOf()
    producer = Producer(pair.client.transport, portions=0).start()
    pair.drop()
    pair.flush()
    assert producer.told == ["stop"]
    late = Producer(pair.client.transport)
    pair.client.transport.registerProducer(late, True)
    assert late.told == ["stop"]
    assert pair.client.transport.producer is None


def test_what_is_paused_gets_nothing() -> None:
    pair = pairOf()
    pair.server.transport.pauseProducing()
    pair.client.transport.write(b"Hello")
    pair.client.transport.loseConnection()
    pair.flush()
    assert (pair.server.chunks, pair.server.lost) == ([], [])
    assert pair.client.lost == [ConnectionDone]
    pair.server.transport.resumeProducing()
    pair.flush()
    assert (pair.server.chunks, pair.server.lost) == ([b"Hello"], [ConnectionDone])


# The end


def test_losing_the_connection() -> None:
    pair = pairOf()
    transport = pair.client.transport
    assert (transport.connected, transport.disconnecting, transport.disconnected) == (True, False, False)
    transport.write(b"Hello")
    transport.loseConnection()
    transport.write(b", late")
    assert (transport.connected, transport.disconnecting, transport.disconnected) == (True, True, False)
    assert pair.client.lost == []
    pair.flush()
    assert pair.server.data == b"Hello, late"
    assert (pair.client.lost, pair.server.lost) == ([ConnectionDone], [ConnectionDone])
    assert (transport.connected, transport.disconnecting, transport.disconnected) == (False, True, True)
    # All of it is too late, and does nothing.
    for end in (transport, pair.server.transport):
        end.write(b"too late")
        end.loseConnection()
        end.loseWriteConnection()
        end.abortConnection()
        end.resumeProducing()
    pair.drop()
    pair.flush()
    assert pair.server.data == b"Hello, late"
    assert (pair.client.lost, pair.server.lost) == ([ConnectionDone], [ConnectionDone])


def test_nothing_is_done_behind_a_loss() -> None:
    pair = pairOf()
    transport = pair.client.transport
    pair.server.transport.pauseProducing()
    transport.loseConnection()
    pair.flush()
    assert (transport.protocol, pair.client.lost) == (None, [ConnectionDone])
    transport.write(b"late")
    transport.abortConnection()
    pair.server.transport.resumeProducing()
    pair.flush()
    assert (pair.server.data, pair.server.lost) == (b"", [ConnectionDone])
    assert not pair.server.transport.disconnecting
    pair.server.transport.loseConnection()
    assert not pair.server.transport.disconnecting


def test_a_stream_of_ours_ends_once() -> None:
    pair = Pair(HalfCloseable(), HalfCloseable())
    for _ in range(2):
        pair.client.transport.loseWriteConnection()
        pair.flush()
    assert (pair.client.ends, pair.server.ends) == (["write"], ["read"])


def test_an_abort_is_told_as_one_whatever_was_asked_before() -> None:
    class Aborting(Recorder):
        def dataReceived(self, data: bytes) -> None:
            self.transport.loseConnection()
            self.transport.abortConnection()

    pair = Pair(Aborting(), Recorder())
    pair.client.transport.write(b"Hello")
    pair.flush()
    assert (pair.client.lost, pair.server.lost) == ([ConnectionLost], [ConnectionAborted])


def test_nothing_is_left_to_the_garbage_collector() -> None:
    pair = pairOf()
    left = [ref(pair.client.transport), ref(pair.server.transport)]
    pair.client.transport.loseConnection()
    pair.flush()
    gc.collect()
    gc.disable()
    try:
        del pair
        assert [one() for one in left] == [None, None]
    finally:
        gc.enable()


def test_stopping_is_losing() -> None:
    pair = pairOf()
    pair.client.transport.stopProducing()
    pair.flush()
    assert (pair.client.lost, pair.server.lost) == ([ConnectionDone], [ConnectionDone])


def test_who_closes_reads_no_more() -> None:
    pair = pairOf()
    pair.client.transport.loseConnection()
    pair.client.transport.resumeProducing()
    pair.server.transport.write(b"too late")
    pair.flush()
    assert pair.client.data == b""


def test_closing_waits_for_what_was_written() -> None:
    pair = pairOf(capacity=10)
    pair.server.transport.pauseProducing()
    pair.client.transport.write(bytes(11))
    pair.client.transport.loseConnection()
    pair.flush()
    assert pair.client.lost == []
    pair.server.transport.resumeProducing()
    pair.flush()
    assert pair.server.data == bytes(11)
    assert (pair.client.lost, pair.server.lost) == ([ConnectionDone], [ConnectionDone])


@pytest.mark.parametrize("way", ["loseConnection", "loseWriteConnection"])
def test_closing_waits_for_a_producer(way: str) -> None:
    pair = pairOf()
    producer = Producer(pair.client.transport, portions=0).start()
    getattr(pair.client.transport, way)()
    pair.flush()
    assert pair.server.lost == []
    producer.portions = 200
    producer.produce()
    pair.flush()
    assert len(pair.server.data) == 200 * 1000
    assert pair.server.lost == []
    pair.client.transport.unregisterProducer()
    pair.flush()
    assert (pair.client.lost, pair.server.lost) == ([ConnectionDone], [ConnectionDone])


def test_closing_with_unread_input_is_a_reset() -> None:
    pair = pairOf()
    pair.server.transport.write(b"unread")
    pair.client.transport.write(b"not read either")
    pair.client.transport.loseConnection()
    pair.server.transport.pauseProducing()
    pair.flush()
    assert (pair.client.lost, pair.server.lost) == ([ConnectionDone], [])
    pair.server.transport.resumeProducing()
    pair.flush()
    assert pair.server.lost == [ConnectionLost]
    assert pair.server.data == b""


def test_half_a_close_ends_what_is_no_half_closeable_protocol() -> None:
    pair = pairOf()
    pair.server.transport.write(b"Hello")
    pair.client.transport.write(b"Bye")
    pair.client.transport.loseWriteConnection()
    pair.client.transport.loseWriteConnection()
    pair.flush()
    assert pair.server.data == b"Bye"
    assert pair.server.lost == [ConnectionDone]
    # The server's end has closed for its part, and what it had said arrives.
    assert pair.client.data == b"Hello"
    assert pair.client.lost == [ConnectionDone]


def test_what_the_transport_still_held_is_gone_with_it() -> None:
    pair = pairOf(capacity=3)
    pair.client.transport.pauseProducing()
    pair.server.transport.write(b"Hello")
    pair.client.transport.loseWriteConnection()
    pair.flush()
    assert pair.server.lost == [ConnectionDone]
    pair.client.transport.resumeProducing()
    pair.flush()
    assert pair.client.data == b"Hel"
    assert pair.client.lost == [ConnectionDone]


def test_half_a_close_between_half_closeable_protocols() -> None:
    pair = Pair(HalfCloseable(), HalfCloseable(), chunk=1)
    pair.client.transport.write(b"Bye")
    pair.client.transport.loseWriteConnection()
    pair.flush()
    pair.client.transport.write(b"too late")
    pair.flush()
    assert (pair.client.ends, pair.server.ends) == (["write"], ["read"])
    assert pair.server.data == b"Bye"
    pair.server.transport.resumeProducing()
    pair.server.transport.write(b"Hello")
    pair.flush()
    assert pair.client.data == b"Hello"
    assert pair.server.ends == ["read"]
    assert pair.client.lost == pair.server.lost == []
    pair.server.transport.loseWriteConnection()
    pair.flush()
    assert (pair.client.ends, pair.server.ends) == (["write", "read"], ["read", "write"])
    for side in (pair.client, pair.server):
        # As in Twisted, the last step is the protocol's.
        assert side.lost == []
        side.transport.loseConnection()
    pair.flush()
    assert pair.client.lost == pair.server.lost == [ConnectionDone]


def test_writing_to_who_has_gone_is_a_reset() -> None:
    pair = Pair(HalfCloseable(), Recorder())
    pair.client.transport.loseConnection()
    pair.flush()
    assert (pair.server.ends, pair.server.lost) == (["read"], [])
    pair.server.transport.write(b"Hello?")
    pair.flush()
    assert pair.server.lost == [ConnectionLost]


@pytest.mark.parametrize(("kind", "reason"), [(Recorder, ConnectionDone), (HalfCloseable, ConnectionLost)])
def test_what_came_is_read_before_a_reset_is_met(kind: Any, reason: Any) -> None:
    class Answering(kind):  # type: ignore[misc]
        def dataReceived(self, data: bytes) -> None:
            super().dataReceived(data)
            self.transport.write(data)

    pair = Pair(Answering(), Recorder(), chunk=1)
    pair.server.transport.pauseProducing()
    pair.client.transport.write(b"Hello")
    pair.client.transport.loseConnection()
    pair.flush()
    assert pair.client.lost == [ConnectionDone]
    pair.server.transport.resumeProducing()
    pair.flush()
    assert pair.server.data == b"Hello"
    assert pair.server.lost == [reason]


@pytest.mark.parametrize("chunk", [1, 65536])
def test_aborting(chunk: int) -> None:
    pair = pairOf(chunk=chunk)
    pair.client.transport.write(b"Hello")
    pair.client.transport.abortConnection()
    pair.client.transport.abortConnection()
    pair.client.transport.write(b"too late")
    pair.client.transport.resumeProducing()
    assert pair.client.lost == []
    pair.flush()
    assert (pair.client.lost, pair.server.lost) == ([ConnectionAborted], [ConnectionLost])
    assert pair.server.data == b""


def test_an_abort_within_a_delivery() -> None:
    class Aborting(Recorder):
        def dataReceived(self, data: bytes) -> None:
            super().dataReceived(data)
            self.transport.write(data)
            self.transport.abortConnection()

    pair = Pair(Aborting(), Recorder(), chunk=1)
    pair.client.transport.write(b"Hello")
    pair.flush()
    assert pair.server.data == b"H"
    assert pair.client.data == b""
    assert (pair.client.lost, pair.server.lost) == ([ConnectionLost], [ConnectionAborted])


def test_who_neither_reads_nor_writes_does_not_hear_of_a_reset() -> None:
    pair = pairOf()
    pair.server.transport.pauseProducing()
    pair.client.transport.abortConnection()
    pair.advance(3600)
    assert pair.server.lost == []
    pair.server.transport.resumeProducing()
    pair.flush()
    assert pair.server.lost == [ConnectionLost]


def test_who_waits_to_write_hears_of_a_reset() -> None:
    pair = pairOf(capacity=1)
    pair.client.transport.pauseProducing()
    pair.server.transport.pauseProducing()
    pair.server.transport.write(b"Hello")
    pair.flush()
    pair.client.transport.abortConnection()
    pair.flush()
    assert pair.server.lost == [ConnectionLost]


@pytest.mark.parametrize("reason", [None, ConnectionAborted()])
def test_dropping(reason: Exception | None) -> None:
    pair = pairOf()
    pair.client.transport.write(b"Hello")
    pair.server.transport.write(b"Hello")
    pair.server.transport.pauseProducing()
    pair.drop(reason)
    pair.flush()
    expected = ConnectionLost if reason is None else type(reason)
    assert (pair.client.lost, pair.server.lost) == ([expected], [expected])
    assert (pair.client.data, pair.server.data) == (b"", b"")


def test_dropping_within_the_end() -> None:
    class Dropping(Recorder):
        def connectionLost(self, reason: Any = None) -> None:
            super().connectionLost(reason)
            pair.drop()

    for sides in ((Dropping(), Recorder()), (Recorder(), Dropping())):
        pair = Pair(*sides)
        for end in (pair.client.transport, pair.server.transport):
            end.loseConnection()
        pair.flush()
        assert {*pair.client.lost, *pair.server.lost} <= {ConnectionDone, ConnectionLost}
        assert len(pair.client.lost) == len(pair.server.lost) == 1


def test_a_connection_is_forgotten_when_it_is_lost() -> None:
    pair = pairOf()
    assert len(pair._network.movers) == 2
    pair.client.transport.loseConnection()
    pair.flush()
    assert pair._network.movers == []


# An endpoint


class Client(Factory):
    noisy = False
    protocol = Recorder


def test_connecting() -> None:
    server = Recorder()
    endpoint = MemoryEndpoint(server)
    connecting = endpoint.connect(Client())
    assert isWaiting(connecting)
    assert server.transport is None
    endpoint.flush()
    client = result(connecting)
    client.transport.write(b"Hello")
    endpoint.flush()
    assert server.data == b"Hello"


def test_the_limits_of_an_endpoint() -> None:
    server = Recorder()
    endpoint = MemoryEndpoint(server, capacity=2, chunk=1)
    connecting = endpoint.connect(Client())
    endpoint.flush()
    producer = Producer(result(connecting).transport, size=1, portions=10)
    server.transport.pauseProducing()
    producer.start()
    assert producer.portions == 7
    server.transport.resumeProducing()
    endpoint.flush()
    assert server.chunks == [bytes(1)] * 10


def test_an_endpoint_that_refuses() -> None:
    endpoint = MemoryEndpoint(Recorder())
    endpoint.refuse()
    connecting = endpoint.connect(Client())
    assert isWaiting(connecting)
    endpoint.flush()
    failure(connecting, ConnectionRefusedError)
    endpoint.refuse(ZeroDivisionError())
    connecting = endpoint.connect(Client())
    endpoint.flush()
    failure(connecting, ZeroDivisionError)
    endpoint.listen(Recorder())
    connecting = endpoint.connect(Client())
    endpoint.flush()
    assert result(connecting).transport.connected


def test_an_endpoint_that_does_not_answer() -> None:
    server = Recorder()
    endpoint = MemoryEndpoint(server)
    endpoint.ignore()
    given_up, waiting = endpoint.connect(Client()), endpoint.connect(Client())
    endpoint.advance(3600)
    assert isWaiting(given_up)
    given_up.cancel()
    failure(given_up, ConnectingCancelledError)
    endpoint.listen(server)
    endpoint.flush()
    client = result(waiting)
    assert endpoint._network.movers == [server.transport, client.transport]


def test_cancelling_before_the_flush() -> None:
    endpoint = MemoryEndpoint(Recorder())
    connecting = endpoint.connect(Client())
    connecting.cancel()
    failure(connecting, ConnectingCancelledError)
    endpoint.flush()
    connecting.cancel()
    assert endpoint._network.movers == []


def test_an_attempt_that_another_one_cancels() -> None:
    endpoint = MemoryEndpoint(Factory.forProtocol(Recorder))
    first, second = endpoint.connect(Client()), endpoint.connect(Client())
    first.addCallback(lambda protocol: second.cancel())
    endpoint.flush()
    failure(second, ConnectingCancelledError)
    assert len(endpoint._network.movers) == 2


def test_cancelling_from_the_connection_itself() -> None:
    class GivingUp(Recorder):
        def connectionMade(self) -> None:
            connecting.cancel()

    server = Recorder()
    endpoint = MemoryEndpoint(server)
    connecting = endpoint.connect(Factory.forProtocol(GivingUp))
    endpoint.flush()
    failure(connecting, ConnectingCancelledError)
    assert server.lost == [ConnectionLost]
    assert endpoint._network.movers == []


def test_factories_that_build_nothing() -> None:
    class Refusing(Factory):
        def buildProtocol(self, addr: Any) -> None:
            return None

    class Failing(Factory):
        def buildProtocol(self, addr: Any) -> None:
            raise ZeroDivisionError

    endpoint = MemoryEndpoint(Recorder())
    for factory, error in ((Refusing(), NoProtocol), (Failing(), ZeroDivisionError)):
        connecting = endpoint.connect(factory)
        endpoint.flush()
        failure(connecting, error)
    endpoint.listen(Refusing())
    connecting = endpoint.connect(Client())
    endpoint.flush()
    # As over TCP: it is connected, and then not.
    assert result(connecting).lost == [ConnectionDone]


# Clocks and factories


def test_a_factory_gets_the_clock() -> None:
    factory = WebSocketServerFactory(lambda request: Echo())
    agent = MemoryAgent(factory)
    assert factory.reactor is agent.clock
    assert MemoryAgent(factory).clock is agent.clock
    assert MemoryEndpoint(factory, agent.clock).clock is agent.clock
    clock = Clock()
    assert Pair(WebSocketServerFactory(lambda request: Echo(), reactor=clock), ScriptedPeer()).clock is clock


def test_a_factory_with_another_reactor_is_an_error() -> None:
    factory = WebSocketServerFactory(lambda request: Echo(), reactor=Clock())
    for make in (MemoryAgent, MemoryEndpoint):
        with pytest.raises(ValueError, match="another reactor"):
            make(factory, Clock())
    with pytest.raises(ValueError, match="another reactor"):
        Pair(factory, ScriptedPeer(), Clock())
    with pytest.raises(ValueError, match="another reactor"):
        MemoryEndpoint(ScriptedPeer()).listen(factory)


# An agent


def agentOf(build: Callable[[Any], Any] = lambda request: Echo(), **arguments: Any) -> MemoryAgent:
    limits = {name: arguments.pop(name) for name in ("capacity", "chunk") if name in arguments}
    return MemoryAgent(WebSocketServerFactory(build, **arguments), **limits)


def connected(agent: MemoryAgent, *arguments: Any, **named: Any) -> Any:
    connecting = agent.connect(*arguments, **named)
    assert isWaiting(connecting)
    agent.flush()
    return result(connecting)


@pytest.mark.parametrize("chunk", [1, 7, 65536])
def test_round_trips(chunk: int) -> None:
    agent = agentOf(chunk=chunk)
    stream = connected(agent)
    for message in ("Hello", "", "€" * 100, b"", b"bytes", bytes(10_000)):
        sent, received = stream.send(message), stream.receive()
        assert isWaiting(received)
        agent.flush()
        assert result(sent) is None
        assert result(received) == message
    closed, late = stream.close(), stream.receive()
    agent.flush()
    assert result(closed) is None
    assert failure(late, WebSocketClosed).closeReceived == (1000, "")
    check_over(agent.clock)


def test_a_client_with_await() -> None:
    async def client() -> list[Any]:
        stream = await agent.connect()
        async with stream:
            for number in range(100):
                await stream.send(str(number))
            return [await stream.receive() for _ in range(100)]

    agent = agentOf()
    running = Deferred.fromCoroutine(client())
    agent.flush()
    assert result(running) == [str(number) for number in range(100)]
    check_over(agent.clock)


def test_an_application_as_the_client() -> None:
    agent = agentOf()
    application = Application(finished=lambda self: self.transport.sendTextMessage("Hello"))
    connecting = agent.connectProtocol("ws://localhost/chat", lambda request: application)
    agent.flush()
    assert result(connecting) is application
    assert application.told == ["started", "finished", "Hello"]
    application.transport.loseConnection()
    agent.flush()
    assert application.told[-1] == "lost"
    check_over(agent.clock)


def test_what_the_server_sees() -> None:
    requests: list[Any] = []

    def build(request: Any) -> Accept:
        requests.append(request)
        return Accept(Echo(), "chat", [("Set-Cookie", "a=b")])

    agent = agentOf(build)
    for url in ("ws://example.com:8080/a%20b?c=d", parse("ws://example.com:8080/a%20b?c=d")):
        stream = connected(agent, url, headers=[("X-Client", "test")], subprotocols=["mqtt", "chat"])
        request = requests.pop()
        assert (request.path, request.query, request.host) == ("/a b", "c=d", "example.com:8080")
        assert request.headers.get("X-Client") == "test"
        assert request.getPeer() == stream.transport.getHost()
        assert stream.subprotocol == "chat"


def test_refusals() -> None:
    def build(request: Any) -> Any:
        if request.path == "/later":
            return waiting
        raise Refuse(403, body=b"not you")

    waiting: Deferred[Any] = Deferred()
    agent = agentOf(build)
    connecting = agent.connect()
    agent.flush()
    rejected = failure(connecting, ConnectionRejected)
    assert rejected.response.status == 403
    connecting = agent.connect("ws://localhost/later")
    agent.flush()
    assert isWaiting(connecting)
    waiting.errback(Refuse(429))
    agent.flush()
    assert failure(connecting, ConnectionRejected).response.status == 429
    agent.advance(60)
    check_over(agent.clock)


@pytest.mark.parametrize("chunk", [1, 65536])
@pytest.mark.parametrize(("code", "reason"), [(1000, "done"), (1001, ""), (1008, "no"), (4999, "own")])
def test_the_close_code_of_the_server_reaches_the_client(code: int, reason: str, chunk: int) -> None:
    class Closing(Echo):
        def textMessageReceived(self, message: str) -> None:
            self.transport.sendTextMessage("last")
            self.transport.loseConnection(code, reason)

    agent = agentOf(lambda request: Closing(), chunk=chunk)
    stream = connected(agent)
    stream.send("close")
    agent.flush()
    assert result(stream.receive()) == "last"
    ended = stream.receive()
    agent.flush()
    assert failure(ended, WebSocketClosed).closeReceived == (code, reason)
    check_over(agent.clock)


def test_an_exception_of_the_server_reaches_the_client_as_1011() -> None:
    class Failing(Echo):
        def textMessageReceived(self, message: str) -> None:
            raise RuntimeError("a bug")

    agent = agentOf(lambda request: Failing())
    stream = connected(agent)
    with logged() as events:
        stream.send("Hello")
        agent.flush()
    assert failures(events) == ["a bug"]
    assert failure(stream.receive(), WebSocketClosed).closeReceived == (1011, "")
    check_over(agent.clock)


def test_deadlines() -> None:
    agent = agentOf()
    agent.endpoint.ignore()
    connecting = agent.connect(settings=Settings(openTimeout=5))
    agent.advance(4.9)
    assert isWaiting(connecting)
    agent.advance(0.1)
    failure(connecting, WebSocketDropped)
    check_over(agent.clock)

    agent = agentOf(lambda request: Deferred())
    connecting = agent.connect(settings=Settings(openTimeout=60))
    agent.advance(9.9)
    assert isWaiting(connecting)
    agent.advance(0.1)
    assert failure(connecting, ConnectionRejected).response.status == 503
    agent.advance(10)
    check_over(agent.clock)


def test_an_attempt_that_fails_or_is_cancelled() -> None:
    agent = agentOf()
    agent.endpoint.refuse()
    connecting = agent.connect()
    agent.flush()
    failure(connecting, ConnectionRefusedError)
    agent.endpoint.ignore()
    connecting = agent.connect()
    agent.flush()
    connecting.cancel()
    agent.flush()
    assert not isWaiting(connecting)
    connecting.addErrback(lambda reason: None)
    check_over(agent.clock)


def test_stopping_the_server() -> None:
    agent = agentOf()
    streams = [connected(agent) for _ in range(3)]
    stopped = agent.endpoint._server.stop()  # type: ignore[union-attr]
    assert isWaiting(stopped)
    agent.flush()
    assert result(stopped) is None
    for stream in streams:
        assert failure(stream.receive(), WebSocketClosed).closeReceived == (1001, "")
    check_over(agent.clock)


def test_a_server_that_is_the_client_of_another() -> None:
    clock = Clock()
    behind = MemoryAgent(WebSocketServerFactory(lambda request: Echo()), clock)

    async def proxy(front: Any) -> None:
        back = await behind.connect()
        async for message in front:
            await back.send(message)
            await front.send(await back.receive())
        await back.close()

    agent = MemoryAgent(WebSocketServerFactory(wsock.streamApplication(proxy)), clock)
    stream = connected(agent)
    stream.send("Hello")
    received = stream.receive()
    agent.flush()
    assert result(received) == "Hello"
    stream.close()
    agent.flush()
    check_over(clock)


def test_wss_is_refused() -> None:
    agent = agentOf()
    for url in ("wss://localhost/", parse("wss://localhost/")):
        with pytest.raises(LocalProtocolError, match="TLS"):
            agent.connect(url)
        with pytest.raises(LocalProtocolError, match="TLS"):
            agent.connectProtocol(url, lambda request: Echo())
    with pytest.raises(InvalidURL):
        agent.connect("http://localhost/")


def test_a_page_beside_the_server() -> None:
    class Page(Resource):
        isLeaf = True

        def render_GET(self, request: Any) -> bytes:
            return b"a page"

    clock = Clock()
    factory = WebSocketServerFactory(lambda request: Echo(), reactor=clock, fallback=Site(Page(), reactor=clock))
    pair = Pair(factory, ScriptedPeer())
    pair.client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    pair.flush()
    assert pair.client.taken().endswith(b"a page")
    assert pair.client.ended
    pair.client.close()
    pair.flush()
    check_over(clock)
    stream = connected(MemoryAgent(factory))
    stream.send("Hello")
    received = stream.receive()
    pair.flush()
    assert result(received) == "Hello"


def test_memory_is_bounded_both_ways() -> None:
    """Neither side reads; whoever sends has to wait."""
    agent = agentOf(lambda request: wsock.WebSocketProtocol())
    server = agent.endpoint._server
    stream = connected(agent)
    (wire,) = server.connections  # type: ignore[union-attr]
    wire.pauseProducing()
    message = bytes(10_000)
    waiting = [stream.send(message) for _ in range(20)]
    agent.flush()
    assert [isWaiting(sent) for sent in waiting].count(True) > 0
    assert len(stream.transport.transport._sent) <= 2 * 65536 + 1
    assert isWaiting(waiting[-1])
    wire.resumeProducing()
    agent.flush()
    assert all(result(sent) is None for sent in waiting)

    for _ in range(100):
        wire.sendBytesMessage(message)
        agent.flush()
    assert len(wire.transport._sent) <= 2 * 65536 + 1
    assert isWaiting(wire.whenWritable())
    for _ in range(100):
        received = stream.receive()
        agent.flush()
        assert result(received) == message


# A bad peer


def opened(build: Callable[[Any], Any] = lambda request: Echo(), **arguments: Any) -> Any:
    """A scripted client of an open connection."""
    pair = Pair(WebSocketServerFactory(build, **arguments), ScriptedPeer())
    pair.client.open()
    pair.flush()
    assert pair.client.answer().status == 101
    return pair


def test_a_bad_client() -> None:
    pair = Pair(WebSocketServerFactory(lambda request: Echo(), subprotocols=["chat"]), ScriptedPeer())
    pair.client.open("ws://localhost/path", headers=[("X-Test", "1")], subprotocols=["chat"])
    pair.client.send(frame(0x81, b"in the same segment"))
    pair.flush()
    answer = pair.client.answer()
    assert (answer.status, answer.headers.get("Sec-WebSocket-Protocol")) == (101, "chat")
    assert pair.client.frames() == [(0x81, b"in the same segment")]
    pair.client.send(frame(0x81, b"x" * 300) + frame(0x82, bytes(70_000)) + frame(0x89, b"?")[:3])
    pair.flush()
    assert pair.client.frames() == [(0x81, b"x" * 300), (0x82, bytes(70_000))]
    pair.client.send(frame(0x89, b"?")[3:])
    pair.flush()
    assert pair.client.taken() == b"\x8a\x01?"
    assert pair.client.taken() == b""
    # A reserved bit that nothing was agreed for.
    pair.client.send(bytes.fromhex("c18000000000"))
    pair.flush()
    assert pair.client.frames() == [(0x88, b"\x03\xeareserved bits set")]
    # The server has closed its half, and waits for ours.
    assert (pair.client.ended, pair.client.lost) == (True, None)
    assert pair.server.transport.connected
    pair.client.shutdown()
    pair.flush()
    assert not pair.server.transport.connected
    check_over(pair.clock)
    pair.client.close()
    pair.flush()
    assert isinstance(pair.client.lost, ConnectionDone)


def test_a_client_that_does_not_close() -> None:
    pair = opened(settings=Settings(closeTimeout=3))
    pair.server.loseConnection(1001)
    pair.advance(2.9)
    assert pair.client.frames() == [(0x88, b"\x03\xe9")]
    assert pair.client.lost is None
    pair.advance(0.1)
    assert isinstance(pair.client.lost, ConnectionLost)
    check_over(pair.clock)


def test_a_client_that_does_not_read() -> None:
    pair = opened(lambda request: wsock.WebSocketProtocol(), settings=SILENT)
    pair.client.pause()
    writable = []
    for _ in range(30):
        pair.server.sendBytesMessage(bytes(10_000))
        pair.flush()
    pair.server.whenWritable().addCallback(writable.append)
    assert pair.client.received == b""
    assert writable == []
    pair.client.resume()
    pair.flush()
    assert [len(payload) for _, payload in pair.client.frames()] == [10_000] * 30
    assert writable == [None]


def test_a_client_that_vanishes() -> None:
    application = Application()
    pair = opened(lambda request: application)
    pair.client.drop()
    pair.flush()
    assert isinstance(pair.client.lost, ConnectionAborted)
    assert isinstance(application.reasons[0], WebSocketDropped)
    check_over(pair.clock)


def test_a_client_that_ends_too_early() -> None:
    application = Application()
    pair = opened(lambda request: application)
    pair.client.send(frame(0x81, b"last"))
    pair.client.shutdown()
    pair.flush()
    assert application.messages == ["last"]
    assert isinstance(application.reasons[0], WebSocketDropped)
    assert pair.client.ended
    pair.client.close()
    pair.flush()
    check_over(pair.clock)


def test_the_request_of_the_rfc() -> None:
    pair = Pair(WebSocketServerFactory(lambda request: Echo()), ScriptedPeer(), chunk=1)
    pair.client.send(REQUEST)
    pair.flush()
    assert pair.client.answer().headers.get("Sec-WebSocket-Accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert pair.client.received == b""


@pytest.mark.parametrize("chunk", [1, 65536])
def test_a_bad_server(chunk: int) -> None:
    peer, clock = ScriptedPeer(), Clock()
    endpoint = MemoryEndpoint(peer, clock, chunk=chunk)
    connecting = wsock.connect(
        clock, "ws://localhost/path", endpoint=endpoint, headers=[("X-Test", "1")], subprotocols=["mqtt", "chat"]
    )
    endpoint.flush()
    request = peer.accept(subprotocol="chat", headers=[("X-Answer", "2")])
    assert (request.target, request.headers.get("X-Test")) == ("/path", "1")
    peer.send(frame(0x81, b"in the same segment", None))
    endpoint.flush()
    stream = result(connecting)
    assert stream.subprotocol == "chat"
    assert result(stream.receive()) == "in the same segment"
    stream.send("x" * 200)
    stream.send(b"")
    endpoint.flush()
    assert peer.frames() == [(0x81, b"x" * 200), (0x82, b"")]
    # Masked: a server must not.
    peer.send(frame(0x81, b"masked"))
    endpoint.flush()
    assert peer.frames() == [(0x88, b"\x03\xeaframe masked")]
    peer.close()
    endpoint.flush()
    assert failure(stream.receive(), WebSocketDropped).code == 1002
    check_over(clock)


def test_a_server_that_never_answers() -> None:
    peer, clock = ScriptedPeer(), Clock()
    endpoint = MemoryEndpoint(peer, clock)
    connecting = wsock.connect(clock, "ws://localhost/", endpoint=endpoint)
    endpoint.advance(10)
    failure(connecting, WebSocketDropped)
    assert isinstance(peer.lost, ConnectionLost)
    check_over(clock)


def test_a_server_that_answers_nonsense() -> None:
    peer, clock = ScriptedPeer(), Clock()
    endpoint = MemoryEndpoint(peer, clock)
    connecting = wsock.connect(clock, "ws://localhost/", endpoint=endpoint)
    endpoint.flush()
    peer.send(b"220 mail.example.com\r\n")
    endpoint.flush()
    failure(connecting, InvalidResponse)
    endpoint.advance(10)
    check_over(clock)


def test_a_server_that_vanishes() -> None:
    peer, clock = ScriptedPeer(), Clock()
    endpoint = MemoryEndpoint(peer, clock)
    connecting = wsock.connect(clock, "ws://localhost/", endpoint=endpoint)
    endpoint.flush()
    peer.accept()
    endpoint.flush()
    received = result(connecting).receive()
    peer.drop()
    endpoint.flush()
    assert failure(received, WebSocketDropped).code == 1006
    check_over(clock)


def test_what_did_not_come_is_not_accepted() -> None:
    pair = Pair(ScriptedPeer(), ScriptedPeer())
    pair.client.open()
    with pytest.raises(AssertionError, match="no whole head"):
        pair.server.accept()
    pair.flush()
    with pytest.raises(LocalProtocolError):
        pair.server.accept(subprotocol="not offered")
    pair.client.send(b"GET / HTTP/1.0\r\n\r\n")
    pair.flush()
    with pytest.raises(InvalidRequest):
        pair.server.accept()
    with pytest.raises(AssertionError, match="no whole head"):
        pair.client.answer()
    pair.server.send(b"nonsense\r\n")
    pair.flush()
    with pytest.raises(InvalidResponse):
        pair.client.answer()


def test_two_scripted_peers() -> None:
    pair = Pair(ScriptedPeer(), ScriptedPeer(), chunk=1)
    pair.client.open()
    pair.flush()
    pair.server.accept()
    pair.flush()
    assert pair.client.answer().status == 101
    for length in (0, 1, 125, 126, 65535, 65536):
        for sender, receiver, key in ((pair.client, pair.server, b"abcd"), (pair.server, pair.client, None)):
            sender.send(frame(0x82, bytes(length), key))
            pair.flush()
            assert receiver.frames() == [(0x82, bytes(length))]
            assert receiver.received == b""
    for payload in (b"", b"x", b"x" * 200):
        data = frame(0x81, payload)
        for place in range(len(data)):
            assert pair.server.frames() == []
            pair.client.send(data[place : place + 1])
            pair.flush()
        assert pair.server.frames() == [(0x81, payload)]
    pair.client.shutdown()
    pair.flush()
    assert (pair.server.ended, pair.client.ended) == (True, False)
    pair.server.close()
    pair.flush()
    assert isinstance(pair.server.lost, ConnectionDone)
    assert pair.client.ended


# Examples of the documentation


ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "testing.py"


@pytest.mark.parametrize("runner", ["pytest", "twisted.trial"])
def test_the_example(runner: str, tmp_path: Path) -> None:
    # The same wsock that this process tests; and nothing of how this process was started.
    path = str(Path(wsock.__file__).parents[1])
    environment = dict(os.environ, PYTHONPATH=path, PYTEST_ADDOPTS="-p no:cacheprovider")
    run = subprocess.run(
        [sys.executable, "-m", runner, EXAMPLE],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    # trial says PASSED of no tests at all, too.
    assert re.search("2 passed|successes=2", run.stdout), run.stdout


def test_the_example_is_short() -> None:
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 40


def test_the_documentation() -> None:
    """Its pieces run, one after the other, with the example's application."""
    text = (ROOT / "docs" / "howto" / "testing.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {"Clock": Clock, "Deferred": Deferred, "self": SynchronousTestCase(), "wsock": wsock}
    names |= {name: getattr(wsock.testing, name) for name in wsock.testing.__all__}
    exec(EXAMPLE.read_text(encoding="utf-8"), names)
    names["build"] = lambda request: names["Shout"]()
    # The tests among them are those of pytest and trial: test_examples has these run them.
    pieces = [piece for piece in re.findall("```python\n(.*?)```", text, re.DOTALL) if "def test_" not in piece]
    assert len(pieces) == 4
    for piece in pieces:
        names["agent"] = MemoryAgent(WebSocketServerFactory(names["build"]))
        exec(piece, names)


def test_no_reactor_is_installed_by_the_import() -> None:
    code = "import sys, wsock.testing; assert 'twisted.internet.reactor' not in sys.modules"
    environment = dict(os.environ, PYTHONPATH=str(Path(wsock.__file__).parents[1]))
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
