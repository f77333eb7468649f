"""Groups, in memory."""

import tracemalloc
from typing import Any
from weakref import ref

import pytest
from twisted.internet.defer import Deferred
from wire import CLOSE, HELLO_SENT, Application, Asked, Producer, Served, Slow, failures, logged, opened, slow, text

from wsock import Group, LocalProtocolError


def members(count: int, **settings: Any) -> tuple[Group, list[Served]]:
    group = Group()
    served = [slow(**settings) for _ in range(count)]
    for one in served:
        group.add(one.wire)
    return group, served


def test_all_get_it() -> None:
    group, served = members(3)
    assert group.sendTextMessage("Hello") == (3, 0, 0)
    for one in served:
        assert one.transport.taken() == HELLO_SENT
        one.clock.advance(0)
    assert group.sendBytesMessage(bytearray(b"x")) == (3, 0, 0)
    for one in served:
        assert one.transport.taken() == b"\x82\x01x"


def test_each_has_sent_it() -> None:
    group, served = members(2)
    group.sendTextMessage("Hello")
    served[0].wire.loseConnection()
    group.sendBytesMessage(b"x")
    assert [one.wire._core.messages_sent for one in served] == [1, 2]


class Own(Group):
    """A group that can be referred to weakly."""


def test_a_connection_holds_no_group_that_it_has_left() -> None:
    served = opened()
    group, other = Own(), Group()
    other.add(served.wire)
    for _ in range(2):
        group.add(served.wire)
    group.discard(served.wire)
    left = ref(group)
    del group
    assert left() is None
    served.lose()
    assert list(other) == []


def test_one_that_is_lost_while_its_application_is_busy_is_not_added() -> None:
    served = opened(Application(message=lambda application: Deferred()))
    served.feed(text("busy"))
    served.lose(clean=False)
    group = Group()
    group.add(served.wire)
    assert served.application.reasons == []
    assert list(group) == []
    served.clock.advance(10)


def test_the_sender_too() -> None:
    group = Group()
    application = Application(message=lambda one: group.sendTextMessage("Hello"))
    served = opened(application)
    group.add(served.wire)
    assert served.feed(text("x")) == HELLO_SENT


def test_who_is_in_it() -> None:
    group, served = members(3)
    wires = [one.wire for one in served]
    assert list(group) == wires
    assert len(group) == 3
    group.add(wires[1])
    assert list(group) == wires
    group.discard(wires[0])
    group.discard(wires[0])
    assert list(group) == wires[1:]
    assert wires[0] not in group
    assert wires[1] in group
    assert group.sendTextMessage("Hello").sent == 2
    assert served[0].transport.taken() == b""


def test_who_is_lost_leaves() -> None:
    group, served = members(3)
    other = Group()
    other.add(served[0].wire)
    served[0].lose()
    assert (len(group), len(other)) == (2, 0)
    group.add(served[0].wire)
    assert len(group) == 2
    served[1].wire.abortConnection()
    assert group.sendTextMessage("Hello") == (1, 0, 0)


def test_one_left_leaves_others_alone() -> None:
    group, served = members(1)
    other = Group()
    other.add(served[0].wire)
    other.discard(served[0].wire)
    served[0].lose()
    assert len(group) == 0


def test_who_is_closing_is_passed_over() -> None:
    group, served = members(3)
    served[0].wire.loseConnection()
    served[1].feed(CLOSE)
    assert group.sendTextMessage("Hello") == (1, 0, 0)
    assert served[0].wire.counters.sendsIgnored == 1


@pytest.mark.parametrize("bad", ["\ud800", b"x", None])
def test_what_can_not_be_sent_is_sent_to_nobody(bad: Any) -> None:
    group, served = members(2)
    with pytest.raises(LocalProtocolError):
        group.sendTextMessage(bad)
    with pytest.raises(LocalProtocolError):
        group.sendBytesMessage("text")  # type: ignore[arg-type]
    assert [one.transport.taken() for one in served] == [b"", b""]


def test_not_for_a_client() -> None:
    with pytest.raises(LocalProtocolError):
        Group().add(Asked().open().wire)


@pytest.mark.parametrize("policy", ["wait", "close", "drop"])
def test_a_slow_peer_hurts_nobody(policy: str) -> None:
    """A peer that takes nothing of 100 times its limit bears it alone."""
    limit, size, count = 100_000, 10_000, 1000
    group, (bad, good, producing) = members(3, sendLimit=limit, slowConsumer=policy, highWaterMark=50_000)

    def fail() -> None:
        raise ValueError("producer")

    producing.wire.attachProducer(Producer(pause=fail))
    outcomes = [0, 0, 0]
    got = 0
    with logged() as events:
        for number in range(count):
            outcome = group.sendBytesMessage(number.to_bytes(4, "big") + bytes(size - 4))
            outcomes = [sum(pair) for pair in zip(outcomes, outcome, strict=True)]
            got += len(good.transport.take())
            good.clock.advance(0)
            got += len(good.transport.take())
            assert bad.wire._outbox.unsent <= limit + 2 * (size + 4) + 65537
    assert failures(events) == ["producer"]
    assert got == count * (size + 4)
    sent, dropped, closed = outcomes
    if policy == "drop":
        assert bad.wire.closeSent is None
        assert 2 * count > dropped > 0.9 * count
        assert closed == 0
        assert bad.wire.counters.sendsDropped > 0.9 * count
    else:
        assert bad.wire.closeSent == (1013, "too much unsent")
        assert dropped == 0
        assert closed == 1
        assert sent < 2.2 * count


def test_what_is_sent_to_all_pauses_a_producer() -> None:
    """Which heard nothing when the transport took no more, since little was unsent."""
    group, (served,) = members(1, highWaterMark=300_000, sendLimit=None)
    producer = Producer()
    served.wire.attachProducer(producer)
    served.wire.sendBytesMessage(bytes(100_000))
    assert served.wire._outbox.paused
    assert producer.told == []
    group.sendBytesMessage(bytes(200_000))
    assert producer.told == ["pause"]


def test_dropped_are_the_oldest() -> None:
    group, (served,) = members(1, sendLimit=100_000, slowConsumer="drop")
    served.wire.ping(b"first")
    for number in range(100):
        group.sendBytesMessage(number.to_bytes(4, "big") + bytes(9996))
    served.wire.ping(b"last")
    data = b""
    while served.wire._outbox.size:
        data += served.transport.take()
    data += served.transport.take()
    numbers = []
    while data:
        if data[0] == 0x82:
            numbers.append(int.from_bytes(data[4:8], "big"))
            data = data[10_004:]
        else:
            data = data[2 + data[1] :]
    assert numbers == sorted(numbers)
    # The first ones had begun to leave, and the last ones are the newest.
    assert numbers[0] == 0
    assert numbers[-1] == 99
    assert len(numbers) == 100 - served.wire.counters.sendsDropped
    # Those that had left, and those for which there is room.
    assert 10 <= len(numbers) < 30


def test_what_the_protocol_has_to_say_is_not_dropped() -> None:
    _, (served,) = members(1, sendLimit=1000, slowConsumer="drop")
    served.transport.producer.pauseProducing()
    served.feed(bytes.fromhex("89800a0b0c0d"))
    for _ in range(100):
        served.wire.sendBytesMessage(bytes(500))
        served.wire.ping(b"dropped too")
    served.wire.loseConnection(3000)
    data = b""
    while served.wire._outbox.size:
        data += served.transport.take()
    data += served.transport.take()
    assert data.startswith(b"\x8a\x00")
    assert data.endswith(bytes.fromhex("88020bb8"))
    assert data.count(b"dropped too") <= 3
    assert len(data) < 1000 + 2 * 504 + 3 * 13


def test_its_memory_is_that_of_one_message() -> None:
    count, size = 500, 200_000
    group = Group()
    served = [Served(settings={"sendLimit": None}, transport=Slow()).open() for _ in range(count)]
    for one in served:
        group.add(one.wire)
        one.transport.producer.pauseProducing()
    tracemalloc.start()
    try:
        group.sendBytesMessage(bytes(size))
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 2 * size + 1500 * count


def test_one_that_leaves_while_it_is_sent() -> None:
    """A message closes a connection, whose producer then takes another out of the group."""
    group, (bad, other, third) = members(3, sendLimit=50_000)
    bad.transport.producer.pauseProducing()
    bad.wire.sendTextMessage("first")
    bad.wire.attachProducer(Producer(stop=lambda: group.discard(other.wire)))
    outcomes = [group.sendBytesMessage(bytes(60_000)) for _ in range(3)]
    assert outcomes[0] == (3, 0, 0)
    assert outcomes[1].closed == 1
    assert outcomes[2] == (1, 0, 0)
    assert list(group) == [bad.wire, third.wire]
