"""Messages that an application sends through a whole connection, and how it hears of what its peer takes, in memory."""

from asyncio import CancelledError as AsyncioCancelled
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from wire import CLOSE, FAULT, Application, Asked, Producer, Served, failures, logged, opened, slow, text

from wsock import LocalProtocolError, WebSocketClosed, WebSocketDropped, WebSocketEnded

#: More than a transport that takes nothing is handed before it counts as not writable.
MUCH = bytes(100000)


def blocked(application: Any = None, **settings: Any) -> Served:
    served = slow(application, **settings)
    served.wire.sendBytesMessage(MUCH)
    served.wire.sendBytesMessage(MUCH)
    assert not served.wire._outbox.writable
    return served


def results(deferred: Deferred[Any]) -> list[Any]:
    seen: list[Any] = []
    deferred.addBoth(seen.append)
    return seen


# whenWritable


def test_writable_at_once() -> None:
    assert results(opened().wire.whenWritable()) == [None]


def test_writable_when_the_transport_has_taken_it() -> None:
    served = blocked()
    seen = results(served.wire.whenWritable())
    assert seen == []
    served.transport.take()
    assert seen == []
    while not seen:
        assert served.transport.take()
    assert seen == [None]
    assert results(served.wire.whenWritable()) == [None]


def test_who_waits_behind_one_that_aborts_hears_of_the_loss() -> None:
    served = blocked()
    first, second = served.wire.whenWritable(), served.wire.whenWritable()
    first.addCallback(lambda _: served.wire.abortConnection())
    seen = results(second)
    while "abort" not in served.transport.told:
        assert served.transport.take()
    assert seen == []
    served.lose()
    assert isinstance(seen[0].value, WebSocketDropped)


def test_each_waits_for_room_after_what_the_one_before_sent() -> None:
    served = slow()
    served.wire.sendBytesMessage(bytes(70000))
    first, second, third = (served.wire.whenWritable() for _ in range(3))
    first.addCallback(lambda _: served.wire.sendBytesMessage(bytes(70000)))
    order: list[int] = []
    for number, one in enumerate((first, second, third)):
        one.addCallback(lambda _, number=number: order.append(number))
    served.transport.take()
    assert order == [0]
    while len(order) == 1:
        served.transport.take()
    assert order == [0, 1, 2]


def test_a_newcomer_waits_behind_those_who_wait() -> None:
    served = slow()
    served.wire.sendBytesMessage(bytes(70000))
    order: list[str] = []
    first = served.wire.whenWritable()
    second = served.wire.whenWritable()
    first.addCallback(lambda _: served.wire.whenWritable().addCallback(lambda _: order.append("newcomer")))
    second.addCallback(lambda _: order.append("second"))
    served.transport.take()
    assert order == ["second", "newcomer"]


def test_one_that_waits_again_is_not_forgotten() -> None:
    """The first of those who wait has the transport take all, and the connection full again, before it returns."""
    served = slow()
    served.wire.sendBytesMessage(bytes(70000))
    again: list[Deferred[None]] = []

    def sends(_: None) -> None:
        served.transport.producer.pauseProducing()
        served.transport.take()
        served.wire.sendBytesMessage(bytes(70000))
        again.append(served.wire.whenWritable())

    served.wire.whenWritable().addCallback(sends)
    served.transport.take()
    assert not again[0].called
    served.transport.take()
    assert again[0].called


def test_behind_the_last_of_those_who_wait_nobody_waits() -> None:
    served = slow()
    served.wire.sendBytesMessage(bytes(70000))
    late: list[bool] = []
    served.wire.whenWritable().addCallback(lambda _: late.append(served.wire.whenWritable().called))
    served.transport.take()
    assert late == [True]


@pytest.mark.parametrize("clean", [True, False])
def test_those_who_wait_hear_of_the_loss(clean: bool) -> None:
    served = blocked()
    seen = results(served.wire.whenWritable())
    served.lose()
    (failure,) = seen
    assert isinstance(failure.value, WebSocketDropped)
    (late,) = results(served.wire.whenWritable())
    assert isinstance(late.value, WebSocketDropped)


def test_after_a_clean_close_the_reason_says_so() -> None:
    served = opened()
    served.feed(CLOSE)
    (failure,) = results(served.wire.whenWritable())
    assert type(failure.value) is WebSocketEnded
    served.lose()
    (failure,) = results(served.wire.whenWritable())
    assert isinstance(failure.value, WebSocketClosed)


@pytest.mark.parametrize("how", ["closing", "failed", "aborted"])
def test_while_it_is_closing_nobody_begins_to_wait(how: str) -> None:
    served = opened()
    if how == "closing":
        served.wire.loseConnection()
    elif how == "failed":
        served.feed(FAULT)
    else:
        served.wire.abortConnection()
    (failure,) = results(served.wire.whenWritable())
    assert isinstance(failure.value, WebSocketEnded)


def test_after_the_loss_the_reason_is_told_while_the_application_is_busy() -> None:
    served = opened(Application(message=lambda application: Deferred()))
    served.feed(text("busy"))
    served.lose(clean=False)
    assert served.application.reasons == []
    for waiting in (served.wire.whenWritable(), served.wire.whenOpen()):
        assert isinstance(results(waiting)[0].value, WebSocketDropped)
    served.clock.advance(10)


def test_who_waits_when_it_begins_to_close_is_told_when_there_is_room() -> None:
    served = blocked()
    seen = results(served.wire.whenWritable())
    served.wire.loseConnection()
    while not seen:
        served.transport.take()
    assert seen == [None]


def test_cancelled() -> None:
    served = blocked()
    first, second = served.wire.whenWritable(), served.wire.whenWritable()
    first.cancel()
    assert isinstance(results(first)[0].value, CancelledError)
    seen = results(second)
    while not seen:
        served.transport.take()
    assert seen == [None]
    second.cancel()
    third = blocked().wire.whenWritable()
    third.cancel()
    assert isinstance(results(third)[0].value, CancelledError)


def test_a_sender_that_waits_keeps_a_bounded_queue() -> None:
    """100 times the limit passes, and no more is ever unsent than the mark and one message."""
    served = slow(highWaterMark=65536)
    size, total = 10000, 100 * 2**20 // 10000
    most = 0
    sent = 0

    def send(_: None = None) -> None:
        nonlocal sent, most
        while sent < total:
            served.wire.sendBytesMessage(bytes(size))
            sent += 1
            most = max(most, served.wire._outbox.size)
            waiting = served.wire.whenWritable()
            if not waiting.called:
                waiting.addCallback(send)
                return

    send()
    taken = 0
    while sent < total:
        taken += len(served.transport.take())
    assert most <= 65536 + size + 4
    assert taken > total * size * 0.9


# Producers


def test_a_push_producer() -> None:
    served = slow()
    producer = Producer()
    served.wire.attachProducer(producer)
    assert producer.told == []
    served.wire.sendBytesMessage(MUCH)
    served.wire.sendBytesMessage(MUCH)
    assert producer.told == ["pause"]
    while producer.told == ["pause"]:
        served.transport.take()
    assert producer.told == ["pause", "resume"]
    served.wire.detachProducer()
    served.wire.sendBytesMessage(MUCH)
    served.wire.sendBytesMessage(MUCH)
    served.lose()
    assert producer.told == ["pause", "resume"]


def test_a_push_producer_attached_to_what_is_blocked() -> None:
    served = blocked()
    producer = Producer()
    served.wire.attachProducer(producer)
    assert producer.told == ["pause"]


@pytest.mark.parametrize(("send", "message"), [("sendBytesMessage", MUCH), ("sendTextMessage", MUCH.decode())])
def test_a_push_producer_is_paused_by_a_message_while_the_transport_takes_no_more(send: str, message: Any) -> None:
    served = slow(highWaterMark=250_000)
    producer = Producer()
    served.wire.attachProducer(producer)
    getattr(served.wire, send)(message)
    getattr(served.wire, send)(message)
    assert producer.told == []
    getattr(served.wire, send)(message)
    assert producer.told == ["pause"]


def test_a_push_producer_is_paused_by_what_waited_for_the_end_of_a_cork() -> None:
    producer = Producer()

    def send(application: Application) -> None:
        application.transport.attachProducer(producer)
        for _ in range(3):
            application.transport.sendBytesMessage(bytes(30000))

    served = slow(Application(message=send))
    served.feed(text("go"))
    assert producer.told == ["pause"]


def test_a_push_producer_is_paused_by_what_it_did_not_send() -> None:
    """A Pong is what fills the transport."""
    served = slow()
    producer = Producer()
    served.wire.attachProducer(producer)
    served.wire.sendBytesMessage(bytes(65_530))
    assert producer.told == []
    served.feed(bytes.fromhex("898a00000000") + bytes(10))
    assert producer.told == ["pause"]


def test_a_pull_producer() -> None:
    served = slow()
    count = 0

    def produce() -> None:
        nonlocal count
        count += 1
        served.wire.sendBytesMessage(bytes(40000))

    producer = Producer(resume=produce)
    served.wire.attachProducer(producer, streaming=False)
    assert producer.told == []
    for _ in range(20):
        served.clock.advance(0)
    # It is asked as long as there is room, and then no more.
    assert 2 <= count <= 4
    assert served.clock.getDelayedCalls() == []
    before = count
    while count == before:
        served.transport.take()
        served.clock.advance(0)
    served.wire.detachProducer()
    served.wire.detachProducer()
    assert served.clock.getDelayedCalls() == []


def test_a_pull_producer_that_leaves_in_its_turn() -> None:
    served = slow()
    producer = Producer(resume=lambda: served.wire.detachProducer())
    served.wire.attachProducer(producer, streaming=False)
    served.clock.advance(0)
    served.clock.advance(0)
    assert producer.told == ["resume"]
    assert served.clock.getDelayedCalls() == []


def test_a_pull_producer_that_is_asked_when_there_is_no_room() -> None:
    served = slow()
    producer = Producer()
    served.wire.attachProducer(producer, streaming=False)
    served.wire.sendBytesMessage(MUCH)
    served.wire.sendBytesMessage(MUCH)
    served.clock.advance(0)
    assert producer.told == []
    assert served.clock.getDelayedCalls() == []


def test_one_at_a_time() -> None:
    wire = opened().wire
    wire.attachProducer(Producer())
    with pytest.raises(LocalProtocolError):
        wire.attachProducer(Producer())
    wire.detachProducer()
    wire.attachProducer(Producer())


@pytest.mark.parametrize("how", ["closed", "peer closed", "failed", "aborted", "lost"])
@pytest.mark.parametrize("streaming", [True, False])
def test_a_producer_is_stopped_when_nothing_can_be_sent_any_more(how: str, streaming: bool) -> None:
    served = opened()
    producer = Producer()
    served.wire.attachProducer(producer, streaming)
    if how == "closed":
        served.wire.loseConnection()
    elif how == "peer closed":
        served.feed(CLOSE)
    elif how == "failed":
        served.feed(FAULT)
    elif how == "aborted":
        served.wire.abortConnection()
    else:
        served.lose()
    assert producer.told == ["stop"]
    late = Producer()
    served.wire.attachProducer(late, streaming)
    assert late.told == ["stop"]
    if how != "lost":
        served.lose()
    assert producer.told == ["stop"]


def test_before_it_is_open_a_client_attaches_a_producer() -> None:
    producer = Producer()
    asked = Asked(Application(started=lambda one: one.transport.attachProducer(producer)))
    asked.wire.sendBytesMessage(MUCH)
    assert producer.told == ["pause"]
    asked.open()
    asked.advance(0)
    assert producer.told == ["pause", "resume"]
    asked.lose()
    assert producer.told == ["pause", "resume", "stop"]


def test_a_client_that_is_closed_before_it_is_open_stops_its_producer() -> None:
    asked = Asked()
    producer = Producer()
    asked.wire.attachProducer(producer)
    asked.wire.loseConnection()
    assert producer.told[-1] == "stop"
    asked.open()
    asked.lose(clean=False)
    assert producer.told.count("stop") == 1


def test_two_connections_that_produce_for_each_other() -> None:
    """A relay: the pace of the one is that of the other, and its end too."""
    left, right = slow(), slow()
    left.application.does["message"] = lambda one: right.wire.sendBytesMessage(bytes(70000))
    right.wire.attachProducer(left.wire)
    left.wire.attachProducer(right.wire)
    left.feed(text("one"))
    assert left.transport.told == ["pause"]
    right.transport.take()
    while left.transport.told == ["pause"]:
        right.transport.take()
        left.clock.advance(0)
    assert left.transport.told == ["pause", "resume"]
    left.feed(CLOSE)
    assert right.wire.closeSent == (1000, "")


def raising() -> None:
    raise ValueError("too early")


def test_an_exception_in_a_producer_that_a_server_was_given_too_early() -> None:
    served = Served()
    with logged() as events:
        served.wire.attachProducer(Producer(stop=raising))
    assert failures(events) == ["too early"]
    # It has no part in the opening handshake.
    served.open()
    assert served.wire.isOpen


def test_an_exception_in_a_producer_before_a_client_is_open() -> None:
    asked = Asked(settings={"highWaterMark": 1})
    asked.wire.sendTextMessage("Hello")
    with logged() as events:
        asked.wire.attachProducer(Producer(pause=raising))
    assert failures(events) == ["too early"]
    assert asked.transport.told == ["abort"]
    asked.lose()
    assert [str(reason) for reason in asked.application.reasons] == ["the application failed"]


def test_an_exception_in_a_producer_is_not_why_a_client_that_was_aborted_was_not_open() -> None:
    asked = Asked()
    asked.wire.attachProducer(Producer(stop=raising))
    with logged() as events:
        asked.wire.abortConnection()
    assert failures(events) == ["too early"]
    asked.lose()
    assert str(asked.application.reasons[0]).startswith("the connection was lost before the server answered")


@pytest.mark.parametrize("name", ["pause", "resume", "stop"])
def test_an_exception_in_a_producer(name: str) -> None:
    def raising() -> None:
        raise ValueError(name)

    served = slow()
    with logged() as events:
        served.wire.attachProducer(Producer(**{name: raising}))
        served.wire.sendBytesMessage(MUCH)
        served.wire.sendBytesMessage(MUCH)
        sent = b""
        for _ in range(5):
            sent += served.transport.take()
        served.wire.loseConnection()
    assert failures(events) == [name]
    if name != "stop":
        assert b"\x88\x02\x03\xf3" in sent


# Counters


def test_counters() -> None:
    assert Served().wire.counters == (0, 0, 0)
    served = slow(sendLimit=200000)
    assert served.wire.counters == (0, 0, 0)
    for _ in range(5):
        served.wire.sendBytesMessage(MUCH)
    dropped = served.wire.counters.sendsDropped
    assert dropped >= 2
    served.wire.sendTextMessage("too late")
    served.wire.ping()
    assert served.wire.counters == (4 - dropped + 2, dropped, 0)


def test_discarded_messages_are_counted() -> None:
    served = opened(settings={"receiveQueue": 3})
    served.wire.pauseProducing()
    served.feed(b"".join(text(str(number)) for number in range(10)))
    served.wire.loseConnection()
    served.feed(text("late") + CLOSE)
    # Three wait, and the others can't: the peer's Close has to be found.
    assert served.wire.counters.receivedDiscarded == 8
    served.lose(clean=False)
    served.clock.advance(10)
    assert served.wire.counters.receivedDiscarded == 11


def test_messages_behind_an_exception_are_counted() -> None:
    def raising(application: Application) -> None:
        raise ValueError

    served = opened(Application(message=raising))
    with logged():
        served.feed(text("one") + text("two") + text("three"))
    assert served.wire.counters.receivedDiscarded == 2


# whenClosed


def test_when_closed() -> None:
    never: Deferred[None] = Deferred()
    served = opened(Application(message=lambda one: never))
    first, second = results(served.wire.whenClosed()), served.wire.whenClosed()
    second.cancel()
    assert isinstance(results(second)[0].value, CancelledError)
    served.feed(text("one"))
    served.lose(clean=False)
    assert first == [None]
    assert results(served.wire.whenClosed()) == [None]
    assert "lost" not in served.application.told
    never.errback(Failure(CancelledError()))


@pytest.mark.parametrize("what", ["whenWritable", "whenClosed"])
def test_who_hears_of_a_loss_may_cancel_another(what: str) -> None:
    served = blocked()
    first, second = getattr(served.wire, what)(), getattr(served.wire, what)()
    seen = [results(first.addBoth(lambda result: second.cancel())), results(second)]
    served.lose()
    assert seen[0] == [None]
    assert isinstance(seen[1][0].value, CancelledError)
    assert served.application.told[-1] == "lost"


def test_a_ping_past_the_limit_is_no_message_that_was_dropped() -> None:
    served = blocked(sendLimit=70_000)
    dropped = served.wire.counters.sendsDropped
    served.wire.ping()
    assert served.wire.closeSent == (1013, "too much unsent")
    # The second message, which had not begun to leave.
    assert (dropped, served.wire.counters.sendsDropped) == (0, 1)


def test_a_producer_that_asyncio_cancels_is_a_failure_of_its_connection_alone() -> None:
    def cancelled() -> None:
        raise AsyncioCancelled("producer")

    served = slow()
    served.wire.attachProducer(Producer(pause=cancelled))
    with logged() as events:
        served.wire.sendBytesMessage(MUCH)
        served.wire.sendBytesMessage(MUCH)
    assert failures(events) == ["producer"]
    assert served.wire.closeSent == (1011, "")


def test_only_messages_are_counted_as_dropped() -> None:
    served = slow(sendLimit=100_000, slowConsumer="drop")
    served.transport.producer.pauseProducing()
    for _ in range(10):
        served.wire.sendBytesMessage(bytes(50_000))
        served.wire.ping()
    kept = sum(message[0][0] == 0x82 for message in served.wire._outbox._queue or ())
    assert served.wire.counters.sendsDropped == 10 - kept
    served = slow(sendLimit=100_000)
    served.transport.producer.pauseProducing()
    served.feed(bytes.fromhex("898000000000"))
    while served.wire.closeSent is None:
        served.wire.sendBytesMessage(bytes(50_000))
    # The Pong waits first; three messages are more than the limit by then, and the fourth is refused.
    assert served.wire.counters.sendsDropped == 4
