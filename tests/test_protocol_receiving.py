"""The way in through a whole connection, and how an application holds it up, in memory; the inbox alone is in
test_inbox.py."""

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from wire import (
    CLOSE,
    CLOSE_SENT,
    FAULT,
    HELLO,
    PING,
    PONG,
    PONG_SENT,
    REQUEST,
    Application,
    Served,
    Slow,
    failures,
    logged,
    opened,
    text,
)

from wsock.sansio.connection import Connection
from wsock.sansio.constants import Role


def texts(first: int, last: int) -> list[str]:
    return [f"m{number}" for number in range(first, last)]


def stream(first: int, last: int) -> bytes:
    return b"".join(map(text, texts(first, last)))


class Pending:
    """Makes a callback that is done when the test says so.

    Attributes:
        waiting: what it returned and has not fired.
    """

    def __init__(self, kind: str = "deferred") -> None:
        self.kind = kind
        self.waiting: list[Deferred[None]] = []
        self.cancelled = 0

    def __call__(self, application: Application) -> Any:
        deferred: Deferred[None] = Deferred(self._cancel)
        self.waiting.append(deferred)
        return deferred if self.kind == "deferred" else self._wait(deferred)

    def _cancel(self, deferred: Deferred[None]) -> None:
        self.cancelled += 1

    async def _wait(self, deferred: Deferred[None]) -> None:
        await deferred

    def fire(self) -> None:
        self.waiting.pop(0).callback(None)


# Order


def test_messages_and_pongs_come_in_order() -> None:
    served = opened()
    served.feed(text("a") + PONG + bytes.fromhex("828200000000 0102".replace(" ", "")) + text("b"))
    assert served.application.messages == ["a", ("pong", b"ab"), b"\x01\x02", "b"]


def test_more_messages_than_one_call_decodes() -> None:
    served = opened(settings={"receiveQueue": 3})
    served.feed(stream(0, 100))
    assert served.application.messages == texts(0, 100)


def test_what_callbacks_send_leaves_in_one_write() -> None:
    written = []
    served = opened(Application(message=lambda application: application.transport.sendTextMessage("x")))
    served.transport.write = written.append  # type: ignore[method-assign]
    served.feed(stream(0, 10))
    assert written == [b"\x81\x01x" * 10]


def test_what_callbacks_send_later_leaves_in_one_write_too() -> None:
    written = []
    served = opened(Application(message=lambda application: application.transport.sendTextMessage("x")))
    served.wire.pauseProducing()
    served.feed(stream(0, 10))
    served.wire.resumeProducing()
    served.transport.write = written.append  # type: ignore[method-assign]
    served.advance(0)
    assert written == [b"\x81\x01x" * 10]


def test_data_received_within_a_callback_waits_for_it() -> None:
    served = Served()

    def again(application: Application) -> None:
        if len(application.messages) == 1:
            served.wire.dataReceived(text("c"))
            served.wire.dataReceived(text("d"))
            application.told.append("returned")

    served.application.does["message"] = again
    served.open().feed(text("a") + text("b"))
    assert served.application.messages == ["a", "returned", "b", "c", "d"]
    assert served.feed(PING) == PONG_SENT
    assert served.transport.told == []


# Pauses


def test_a_pause_stops_within_a_segment_and_reading() -> None:
    served = opened(Application(message=lambda application: application.transport.pauseProducing()))
    served.feed(stream(0, 3))
    assert served.application.messages == ["m0"]
    assert served.transport.told == ["pause"]


def test_what_somebody_else_resumes_is_paused_again() -> None:
    """`ThrottlingFactory` resumes all its connections when its time is over, those that we paused too."""
    served = opened()
    served.wire.pauseProducing()
    served.feed(bytes(65535))
    assert served.transport.told == ["pause"]
    for count in range(2, 10):
        served.feed(b"a")
        assert served.transport.told == ["pause"] * count
    assert served.application.messages == []
    served.lose(clean=False)


def test_resuming_delivers_in_the_next_turn_only() -> None:
    served = opened()
    served.wire.pauseProducing()
    assert served.transport.told == ["pause"]
    served.feed(stream(0, 3))  # TLS goes on with what it had when it was told to pause
    assert served.application.messages == []
    served.wire.resumeProducing()
    served.wire.resumeProducing()
    assert served.application.messages == []
    assert len(served.clock.getDelayedCalls()) == 1
    served.advance(0)
    assert served.application.messages == texts(0, 3)
    assert served.transport.told == ["pause", "resume"]


def test_what_comes_between_resuming_and_the_next_turn_stays_in_order() -> None:
    served = opened()
    served.wire.pauseProducing()
    served.feed(stream(0, 2))
    served.wire.resumeProducing()
    served.feed(stream(2, 4))
    served.advance(0)
    assert served.application.messages == texts(0, 4)


def test_what_comes_before_the_next_turn_stays_behind_what_was_decoded() -> None:
    served = opened(Application(message=lambda application: application.transport.pauseProducing()))
    served.feed(stream(0, 3))
    del served.application.does["message"]
    served.wire.resumeProducing()
    served.feed(stream(3, 5))
    assert served.application.messages == ["m0"]
    served.advance(0)
    assert served.application.messages == texts(0, 5)


def test_a_pause_undone_before_the_next_turn_counts() -> None:
    served = opened()
    served.wire.pauseProducing()
    served.feed(stream(0, 1))
    served.wire.resumeProducing()
    served.wire.pauseProducing()
    served.advance(0)
    assert served.application.messages == []
    assert served.transport.told == ["pause"]


def test_pausing_and_resuming_in_each_callback_loses_nothing() -> None:
    def both(application: Application) -> None:
        application.transport.pauseProducing()
        application.transport.resumeProducing()

    served = opened(Application(message=both))
    served.feed(stream(0, 5))
    served.advance(0)
    assert served.application.messages == texts(0, 5)
    assert served.transport.producerState == "producing"


def test_pings_are_not_answered_while_the_application_pauses() -> None:
    served = opened()
    served.wire.pauseProducing()
    assert served.feed(PING) == b""
    served.wire.resumeProducing()
    assert served.advance(0) == PONG_SENT


# Callbacks that take their time


@pytest.mark.parametrize("kind", ["deferred", "coroutine"])
def test_the_next_message_waits_until_a_callback_is_done(kind: str) -> None:
    pending = Pending(kind)
    served = opened(Application(message=pending))
    served.feed(stream(0, 3))
    assert served.application.messages == ["m0"]
    pending.fire()
    assert served.application.messages == ["m0", "m1"]
    pending.fire()
    pending.fire()
    assert served.application.messages == texts(0, 3)


def test_a_pong_is_waited_for_too() -> None:
    pending = Pending()
    served = opened(Application(pong=pending))
    served.feed(PONG + text("a"))
    assert served.application.messages == [("pong", b"ab")]
    pending.fire()
    assert served.application.messages == [("pong", b"ab"), "a"]


def test_the_result_of_a_deferred_is_left_as_it_is() -> None:
    shared: Deferred[str] = Deferred()
    served = opened(Application(message=lambda application: shared))
    served.feed(stream(0, 2))
    results: list[str] = []
    shared.addCallback(results.append)
    shared.callback("result")
    assert results == ["result"]
    assert served.application.messages == texts(0, 2)


def test_pings_are_answered_while_a_callback_is_not_done() -> None:
    pending = Pending()
    served = opened(Application(message=pending))
    assert served.feed(HELLO + PING) == PONG_SENT
    assert served.feed(PING) == PONG_SENT
    assert served.application.messages == ["Hello"]


def test_a_ping_behind_as_many_messages_as_one_call_decodes_is_answered() -> None:
    served = opened(Application(message=Pending()), settings={"receiveQueue": 4})
    assert served.feed(stream(0, 4) + PING) == PONG_SENT


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_exactly_the_receive_queue_is_taken_in(size: int) -> None:
    pending = Pending()
    served = opened(Application(message=pending), settings={"receiveQueue": 4})
    # One is delivered and four are taken in: the Ping before the last of them is answered, that behind it is not.
    data = stream(0, 4) + PING + text("m4") + PING + text("m5")
    sent = b"".join(served.feed(data[place : place + size]) for place in range(0, len(data), size))
    assert sent == PONG_SENT
    assert served.transport.told == ["pause"]
    pending.fire()
    assert served.application.messages == texts(0, 2)
    assert served.transport.taken() == PONG_SENT
    assert served.transport.producerState == "paused"
    pending.fire()
    assert served.transport.told == ["pause", "resume"]
    while pending.waiting:
        pending.fire()
    assert served.application.messages == texts(0, 6)


def test_pings_take_no_place_in_the_queue() -> None:
    served = opened(Application(message=Pending()), settings={"receiveQueue": 2})
    assert served.feed(HELLO + PING * 50) == PONG_SENT * 50
    assert served.feed(PING) == PONG_SENT
    assert served.transport.told == []


def test_pongs_do() -> None:
    pending = Pending()
    served = opened(Application(message=pending), settings={"receiveQueue": 2})
    served.feed(HELLO + PONG)
    assert served.transport.told == []
    served.feed(PONG)
    assert served.transport.told == ["pause"]
    pending.fire()
    assert served.application.messages == ["Hello", ("pong", b"ab"), ("pong", b"ab")]


@pytest.mark.parametrize("result", [False, 42, "text", [Deferred()]], ids=repr)
def test_other_results_are_not_waited_for(result: object) -> None:
    served = opened(Application(message=lambda application: result))
    served.feed(stream(0, 3))
    assert served.application.messages == texts(0, 3)


@pytest.mark.parametrize("message", ["x" * 100, "\N{PILE OF POO}" * 25, "\xe9" * 50], ids=["ascii", "emoji", "latin-1"])
def test_one_limit_of_bytes_is_taken_in(message: str) -> None:
    pending = Pending()
    served = opened(Application(message=pending), settings={"maxMessageSize": 200})
    for count in range(6):
        assert served.transport.told == (["pause"] if count > 2 else [])
        served.feed(text(message))
    for _ in range(6):
        pending.fire()
    assert served.application.messages == [message] * 6


def test_a_message_that_fills_the_queue_stops_reading_at_once() -> None:
    """It came behind another one, and no byte is left behind it; as a str it takes more than a message may."""
    served = opened(Application(message=Pending()), settings={"maxMessageSize": 50})
    served.feed(text("x") + text("\xe9"))
    assert served.transport.told == ["pause"]


def test_one_mebibyte_is_taken_in_where_messages_have_no_limit() -> None:
    served = opened(Application(message=Pending()), settings={"maxMessageSize": None})
    served.feed(HELLO)
    served.feed(bytes.fromhex("82ff") + (2**20 - 1).to_bytes(8, "big") + bytes(4) + bytes(2**20 - 1))
    assert served.transport.told == []
    served.feed(bytes.fromhex("828100000000") + b"x")
    assert served.transport.told == ["pause"]


@pytest.mark.parametrize("fires", ["before", "after", "at once"])
def test_ten_thousand_callbacks_do_not_recurse(fires: str) -> None:
    waiting: list[Deferred[None]] = []

    def answer(application: Application) -> Any:
        if fires == "at once":
            return succeed(None)
        if fires == "before":
            return coroutine()
        deferred: Deferred[None] = Deferred()
        waiting.append(deferred)
        return deferred

    async def coroutine() -> None:
        await succeed(None)

    served = opened(Application(message=answer))
    served.feed(text("m") * 10_000)
    while waiting:
        waiting.pop().callback(None)
    assert len(served.application.messages) == 10_000


def test_a_deferred_that_the_next_callback_fires_is_no_trouble() -> None:
    served = Served()

    def answer(application: Application) -> Deferred[None]:
        deferred: Deferred[None] = Deferred()
        served.clock.callLater(0, deferred.callback, None)
        return deferred

    served.application.does["message"] = answer
    served.open().feed(stream(0, 50))
    for _ in range(50):
        served.advance(0)
    assert served.application.messages == texts(0, 50)


def test_a_pause_outlasts_a_callback_that_is_done() -> None:
    pending = Pending()
    served = opened(Application(message=pending))
    served.feed(stream(0, 2))
    served.wire.pauseProducing()
    pending.fire()
    assert served.application.messages == ["m0"]
    served.wire.resumeProducing()
    served.advance(0)
    assert served.application.messages == texts(0, 2)


def test_a_pause_before_it_is_open_holds_once_it_is() -> None:
    decision: Deferred[Application] = Deferred()
    served = Served(buildApplication=lambda request: decision)
    served.wire.pauseProducing()
    served.feed(REQUEST + stream(0, 1))
    decision.callback(served.application)
    assert served.application.told == ["started", "finished"]
    assert served.transport.told[-1] == "pause"
    served.feed(stream(1, 2) + PING)
    assert served.application.messages == []
    served.wire.resumeProducing()
    served.advance(0)
    assert served.application.messages == texts(0, 2)


def test_a_pause_that_is_undone_before_it_is_open_does_not_hold() -> None:
    decision: Deferred[Application] = Deferred()
    served = Served(buildApplication=lambda request: decision)
    served.wire.pauseProducing()
    served.wire.resumeProducing()
    served.feed(REQUEST + stream(0, 1))
    decision.callback(served.application)
    assert served.application.messages == texts(0, 1)
    assert "pause" not in served.transport.told


def test_paused_while_a_callback_is_not_done_nothing_is_taken_in() -> None:
    served = opened(Application(message=Pending()))
    served.feed(HELLO)
    served.wire.pauseProducing()
    assert served.feed(PING) == b""


# A peer that does not read


def stall(served: Served, size: int = 65537) -> None:
    served.wire.sendBytesMessage(bytes(size))
    served.wire._outbox.pauseProducing()  # as a transport does that holds more than it wants


def test_a_peer_that_does_not_read_is_not_read() -> None:
    served = opened(settings={"highWaterMark": 1000})
    stall(served)
    served.feed(HELLO)
    assert served.application.messages == []
    assert served.transport.told == ["pause"]
    served.transport.producer.resumeProducing()
    assert served.application.messages == ["Hello"]
    assert served.transport.told == ["pause", "resume"]


@pytest.mark.parametrize(("says", "delivered"), [(True, ["Hello"]), (False, []), (1, [])])
def test_an_application_that_applies_backpressure_itself_is_read(says: object, delivered: list[str]) -> None:
    application = Application()
    application.appliesBackpressure = says  # type: ignore[attr-defined]
    served = opened(application, settings={"highWaterMark": 1000})
    stall(served)
    served.feed(HELLO)
    assert application.messages == delivered


def test_delivery_stops_within_a_segment_when_the_peer_does_not_read() -> None:
    served = opened(settings={"highWaterMark": 1000})
    served.application.does["message"] = lambda application: stall(served)
    served.feed(stream(0, 40))
    assert served.application.messages == ["m0"]
    assert served.transport.told == ["pause"]
    del served.application.does["message"]
    served.transport.producer.resumeProducing()
    assert served.application.messages == texts(0, 40)


def test_a_peer_that_does_not_read_the_answer_is_not_read_from_then_on() -> None:
    served = opened(Application(message=lambda application: stall(served)), settings={"highWaterMark": 1000})
    served.feed(HELLO)
    assert served.transport.told == ["pause"]


def test_pongs_that_do_not_leave_are_replaced() -> None:
    served = opened(settings={"highWaterMark": None})
    served.transport.producer.pauseProducing()
    for _ in range(100):
        served.feed(PING)
    served.transport.producer.resumeProducing()
    assert served.transport.taken() == PONG_SENT


def test_a_close_stays_behind_what_was_sent_before() -> None:
    served = opened(settings={"highWaterMark": None})
    served.transport.producer.pauseProducing()
    served.feed(PING)
    served.wire.sendTextMessage("x")
    served.feed(PING + CLOSE)
    served.transport.producer.resumeProducing()
    assert served.transport.taken() == PONG_SENT + b"\x81\x01x" + PONG_SENT + CLOSE_SENT


def test_a_transport_that_is_full_and_below_the_mark_stops_nothing() -> None:
    served = opened(settings={"highWaterMark": 10**6})
    stall(served)
    served.feed(HELLO)
    assert served.application.messages == ["Hello"]
    assert served.transport.told == []


def test_while_a_callback_is_not_done_a_peer_that_does_not_read_is_not_read() -> None:
    pending = Pending()
    served = opened(Application(message=pending), settings={"highWaterMark": 1000})
    served.feed(text("a"))
    stall(served)
    served.feed(text("b"))
    assert served.transport.told == ["pause"]
    unsent = served.wire._outbox.size
    served.feed(PING)
    assert served.wire._outbox.size == unsent
    pending.fire()
    assert served.application.messages == ["a"]
    served.transport.producer.resumeProducing()
    assert served.application.messages == ["a", "b"]


def test_closing_delivers_what_waited_for_a_peer_to_read() -> None:
    served = opened(settings={"highWaterMark": 1000})
    stall(served)
    served.feed(stream(0, 2) + CLOSE)
    served.wire.loseConnection()
    assert served.application.messages == []
    served.advance(0)
    assert served.application.messages == texts(0, 2)
    assert served.wire.closeReceived == (1000, "")


# On the way to the peer's Close


@pytest.mark.parametrize("close_comes", ["before", "after"])
def test_closing_while_paused_finds_the_peers_close(close_comes: str) -> None:
    served = opened(settings={"receiveQueue": 2})
    served.wire.pauseProducing()
    served.feed(stream(0, 5) + (CLOSE if close_comes == "before" else b""))
    served.wire.loseConnection()
    if close_comes == "after":
        assert served.transport.told == ["pause", "resume"]
        served.feed(CLOSE)
    assert served.transport.told == ["pause", "resume", "lose"]
    served.wire.resumeProducing()
    served.advance(0)
    assert served.application.messages == texts(0, 2)  # those past the queue are discarded
    served.lose()
    assert served.application.told[-1] == "lost"


def test_closing_and_pausing_in_one_callback_finds_the_peers_close() -> None:
    def end(application: Application) -> None:
        application.transport.pauseProducing()
        application.transport.loseConnection()

    served = opened(Application(message=end))
    assert served.feed(HELLO + CLOSE) == CLOSE_SENT
    assert served.transport.told[-1] == "lose"


def test_closing_while_a_callback_is_not_done_finds_the_peers_close() -> None:
    pending = Pending()
    served = opened(Application(message=pending), settings={"receiveQueue": 2})
    served.feed(stream(0, 9) + CLOSE)
    assert served.wire.closeReceived is None
    served.wire.loseConnection()
    assert served.wire.closeReceived == (1000, "")
    for _ in range(3):
        pending.fire()
    assert served.application.messages == texts(0, 3)


def test_after_closing_messages_are_still_delivered() -> None:
    served = opened()
    served.wire.loseConnection()
    served.feed(stream(0, 3))
    assert served.application.messages == texts(0, 3)
    served.feed(text("x") + CLOSE)
    assert served.application.messages == [*texts(0, 3), "x"]
    assert served.transport.told == ["lose"]


def test_between_resuming_and_the_next_turn_a_closing_connection_discards_nothing() -> None:
    served = opened(settings={"receiveQueue": 1})
    served.wire.pauseProducing()
    served.feed(text("m0"))
    served.wire.resumeProducing()
    served.wire.loseConnection()
    served.feed(stream(1, 4))
    served.advance(0)
    assert served.application.messages == texts(0, 4)


@pytest.mark.parametrize("end", [CLOSE, FAULT])
def test_a_callback_that_is_not_done_does_not_hold_up_the_end(end: bytes) -> None:
    pending = Pending()
    served = opened(Application(message=pending))
    served.feed(stream(0, 2) + end)
    assert "lose" in served.transport.told
    pending.fire()
    assert served.application.messages == texts(0, 2)


@pytest.mark.parametrize("end", [CLOSE, FAULT])
def test_messages_before_the_end_can_be_answered(end: bytes) -> None:
    served = opened(Application(message=lambda application: application.transport.sendTextMessage("x")))
    assert served.feed(stream(0, 2) + end).startswith(b"\x81\x01x\x81\x01x\x88")


# Reentrancy


ACTS: dict[str, Callable[[Any], None]] = {
    "send": lambda transport: transport.sendTextMessage("x"),
    "ping": lambda transport: transport.ping(),
    "lose": lambda transport: transport.loseConnection(),
    "abort": lambda transport: transport.abortConnection(),
    "pause": lambda transport: transport.pauseProducing(),
    "resume": lambda transport: transport.resumeProducing(),
    "stop": lambda transport: transport.stopProducing(),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("callback", ["started", "finished", "message", "pong", "lost"])
def test_each_act_in_each_callback(callback: str, act: str) -> None:
    running: list[str] = []

    def do(application: Application) -> None:
        assert running == []
        running.append(callback)
        ACTS[act](application.transport)
        running.clear()

    served = Served(Application(**{callback: do}))
    with logged() as events:
        served.feed(REQUEST + text("a") + PONG + text("b"))
        if act == "pause" and callback != "lost":
            served.wire.resumeProducing()
        served.advance(0)
        if act == "pause" and callback != "lost":
            served.wire.resumeProducing()
            served.advance(0)
        served.lose()
    assert failures(events) == []
    told = served.application.told
    assert told.count("lost") == 1
    assert told[-1] == "lost"
    everything = ["started", "finished", "a", ("pong", b"ab"), "b", "lost"]
    if act != "abort" or callback == "lost":
        assert told == everything
    else:
        until = {"started": 1, "finished": 2, "message": 3, "pong": 4}[callback]
        assert told == [*everything[:until], "lost"]


@pytest.mark.parametrize("segments", [1, 2])
@pytest.mark.parametrize("callback", ["started", "finished", "message", "pong"])
def test_a_transport_that_is_lost_within_a_callback(callback: str, segments: int) -> None:
    served = Served()

    def end(application: Application) -> None:
        served.wire.abortConnection()
        served.lose(clean=False)
        application.told.append("returned")

    served.application.does[callback] = end
    if segments == 1:
        served.feed(REQUEST + text("a") + PONG)
    else:
        served.feed(REQUEST)
        served.feed(text("a") + PONG)
    assert served.application.told[-2:] == ["returned", "lost"]
    assert served.application.told.count("lost") == 1
    assert served.clock.getDelayedCalls() == []


# The end of the transport


def test_what_was_queued_is_delivered_before_the_loss() -> None:
    pending = Pending()
    served = opened(Application(message=pending), settings={"receiveQueue": 2})
    served.feed(stream(0, 6))
    served.lose(clean=False)
    for _ in range(6):
        assert "lost" not in served.application.told
        pending.fire()
    assert served.application.told == ["started", "finished", *texts(0, 6), "lost"]
    assert served.clock.getDelayedCalls() == []


def test_what_was_held_for_a_pause_is_delivered_before_the_loss() -> None:
    served = opened()
    served.wire.pauseProducing()
    served.feed(PING + stream(0, 20) + CLOSE)
    served.lose(clean=False)
    assert served.application.reasons == []
    served.wire.resumeProducing()
    assert served.advance(0) == b""
    assert served.application.messages == texts(0, 20)
    assert served.application.reasons[0].closeReceived == (1000, "")
    assert served.clock.getDelayedCalls() == []
    served.wire.resumeProducing()
    assert served.clock.getDelayedCalls() == []


def test_paused_with_nothing_to_deliver_the_loss_comes_at_once() -> None:
    served = opened()
    served.wire.pauseProducing()
    served.lose()
    assert served.application.told[-1] == "lost"


def test_a_peer_that_does_not_read_does_not_hold_up_its_loss() -> None:
    served = opened(settings={"highWaterMark": 1000})
    stall(served)
    served.feed(stream(0, 3))
    served.lose()
    assert served.application.messages == texts(0, 3)


@pytest.mark.parametrize("kind", ["deferred", "coroutine"])
def test_a_callback_that_never_ends_is_cancelled(kind: str) -> None:
    pending = Pending(kind)
    served = opened(Application(message=pending), settings={"closeTimeout": 3})
    served.feed(stream(0, 3))
    served.lose(clean=False)
    served.advance(2.9)
    assert served.application.reasons == []
    with logged() as events:
        served.advance(0.1)
    assert pending.cancelled == 1
    assert served.application.told == ["started", "finished", "m0", "lost"]
    assert served.clock.getDelayedCalls() == []
    assert failures(events) == []


def test_a_callback_that_never_ends_may_be_waited_for_without_limit() -> None:
    pending = Pending()
    served = opened(Application(message=pending), settings={"closeTimeout": None})
    served.feed(HELLO)
    served.lose()
    pending.fire()
    assert served.application.told[-1] == "lost"


def test_an_application_that_stays_paused_hears_of_the_loss_in_the_end() -> None:
    served = opened(settings={"closeTimeout": 3})
    served.wire.pauseProducing()
    served.feed(HELLO)
    served.lose(clean=False)
    served.advance(3)
    assert served.application.told == ["started", "finished", "lost"]


@pytest.mark.parametrize("outcome", ["returns", "raises"])
def test_a_coroutine_that_goes_on_after_being_cancelled(outcome: str) -> None:
    first: Deferred[None] = Deferred()
    second: Deferred[None] = Deferred()

    async def stubborn() -> None:
        try:
            await first
        except CancelledError:
            await second
        if outcome == "raises":
            raise ValueError("too late")

    served = opened(Application(message=lambda application: stubborn()))
    served.feed(stream(0, 2))
    served.wire.abortConnection()
    served.lose()
    assert served.application.told == ["started", "finished", "m0", "lost"]
    with logged() as events:
        second.callback(None)
    assert failures(events) == (["too late"] if outcome == "raises" else [])
    assert served.application.told[-1] == "lost"


def test_a_canceller_that_raises_harms_only_itself() -> None:
    def refuse(deferred: Deferred[None]) -> None:
        raise ValueError("not me")

    served = opened(Application(message=lambda application: Deferred(refuse)))
    served.feed(HELLO)
    served.wire.abortConnection()
    with logged() as events:
        served.lose()
    assert failures(events) == ["not me"]
    assert served.application.told[-1] == "lost"


# The core


def test_a_host_may_have_room_for_fewer_messages() -> None:
    connection = Connection(Role.SERVER, receive_queue=4)
    assert len(connection.receive_data(stream(0, 6), 2)) == 2
    assert len(connection.receive_data(b"", 100)) == 4
    assert not connection.has_unread_data


# Peers that do not take the answers they ask for


@pytest.mark.parametrize(("policy", "delivered"), [("wait", 2), ("close", 10), ("drop", 10)])
def test_a_slow_consumer_is_read_or_not(policy: str, delivered: int) -> None:
    application = Application(message=lambda one: one.transport.sendBytesMessage(bytes(40_000)))
    served = opened(application, settings={"slowConsumer": policy, "sendLimit": None}, transport=Slow())
    served.feed(b"".join(text(str(number)) for number in range(10)))
    assert len(application.messages) == delivered
    assert served.transport.told == (["pause"] if policy == "wait" else [])
    while len(application.messages) < 10:
        served.transport.take()
        served.clock.advance(0)
    assert application.messages == [str(number) for number in range(10)]


def test_while_closing_nothing_is_delivered_behind_a_gap() -> None:
    served = opened(settings={"receiveQueue": 1})
    served.wire.loseConnection()
    served.wire.pauseProducing()
    served.feed(text("1"))
    served.feed(text("2"))
    served.wire.resumeProducing()
    served.clock.advance(0)
    served.feed(text("3") + CLOSE)
    assert served.application.messages == ["1"]
    assert served.wire.counters.receivedDiscarded == 2
    assert served.wire.closeReceived == (1000, "")
