"""Keepalive and latency of whole connections, in memory; the keepalive alone is in test_keepalive.py."""

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost, TimeoutError
from twisted.internet.interfaces import ISSLTransport
from wire import CLOSE, HELLO, PONG, Application, Asked, Producer, Served, Slow, Transport, text
from zope.interface import directlyProvides

from wsock import StreamHandler, WebSocketDropped, WebSocketEnded, WebSocketStream
from wsock.wire import keepalive


def alive(
    application: Any = None, transport: Transport | None = None, buildApplication: Any = None, **settings: Any
) -> Served:
    """A connection with keepalive: a Ping after 20 seconds of silence, 10 seconds to answer it."""
    arguments = {} if buildApplication is None else {"buildApplication": buildApplication}
    return Served(application, {"pingInterval": 20, "pingTimeout": 10, **settings}, transport, **arguments).open()


def pong(ping: bytes) -> bytes:
    """The Pong of a client that answers a server's Ping."""
    assert ping[0] == 0x89
    assert len(ping) == 2 + ping[1]
    return bytes((0x8A, 0x80 | ping[1], 0, 0, 0, 0)) + ping[2:]


def results(deferred: Deferred[Any]) -> list[Any]:
    seen: list[Any] = []
    deferred.addBoth(seen.append)
    return seen


def test_a_peer_that_answers_stays() -> None:
    served = alive()
    for _ in range(100):
        assert served.advance(19.9) == b""
        ping = served.advance(0.1)
        served.clock.advance(0.5)
        assert served.feed(pong(ping)) == b""
        assert served.wire.latency == pytest.approx(0.5)
    assert served.transport.told == []
    assert served.application.messages == []


def test_each_ping_is_another() -> None:
    served = alive()
    first = served.advance(20)
    served.feed(pong(first))
    second = served.advance(20)
    assert first != second
    # A mark of 16 characters, and a number: there are peers that decode it.
    assert first[2:].decode("ascii").isalnum()
    assert first[2:18] == second[2:18]
    assert (first[18:], second[18:]) == (b"1", b"2")


@pytest.mark.parametrize("number", [b"", b"x", b"\xff", b"-1", b"1.", "\u0661".encode()])
def test_a_forged_answer_to_a_ping_of_ours_answers_none(number: bytes) -> None:
    served = alive()
    ping = served.advance(20)
    mark = ping[2:18]
    assert served.feed(pong(bytes((0x89, 16 + len(number))) + mark + number)) == b""
    assert served.wire.latency is None
    assert served.application.messages == []


def test_a_forged_answer_where_nothing_was_asked_is_not_heard_of() -> None:
    """A peer may have seen the mark on another connection."""
    mark = alive().advance(20)[2:18]
    served = alive(pingInterval=None)
    assert served.feed(pong(b"\x89\x11" + mark + b"1")) == b""
    assert served.application.messages == []
    assert served.feed(HELLO) == b""
    assert served.application.messages == ["Hello"]


@pytest.mark.parametrize("life", [HELLO, PONG, HELLO[:3], text("x") * 3])
def test_any_byte_is_life(life: bytes) -> None:
    served = alive()
    served.advance(15)
    served.feed(life)
    assert served.advance(19.9) == b""
    assert served.advance(0.1)[:1] == b"\x89"
    served.advance(9)
    served.feed(b"\x81"[:0] + life if life != HELLO[:3] else HELLO[3:])
    assert served.advance(10) == b""
    assert served.transport.told == []
    served.lose()


def test_a_silent_peer_is_aborted() -> None:
    served = alive()
    served.advance(20)
    served.advance(9.9)
    assert served.transport.told == []
    served.advance(0.1)
    assert served.transport.told == ["abort"]
    served.lose()
    (reason,) = served.application.reasons
    assert isinstance(reason, WebSocketDropped)
    assert isinstance(reason, ConnectionLost)
    assert reason.code == 1011
    assert (reason.closeSent, reason.closeReceived) == (None, None)


def test_no_timeout_only_asks() -> None:
    served = alive(pingTimeout=None)
    for _ in range(10):
        assert served.advance(20)[:1] == b"\x89"
    assert served.transport.told == []
    assert len(served.wire._keepalive._pending or ()) == 1


def test_no_interval_no_watch() -> None:
    served = alive(pingInterval=None)
    assert served.clock.getDelayedCalls() == []


def test_a_client_too() -> None:
    asked = Asked(settings={"pingInterval": 20, "pingTimeout": 10}).open()
    assert asked.advance(20)[:1] == b"\x89"
    asked.advance(10)
    assert asked.transport.told == ["abort"]
    asked.lose()
    assert asked.application.reasons[0].code == 1011


def test_nothing_is_left_when_it_is_lost() -> None:
    served = alive()
    other = Served(factory=served.factory, application=Application()).open()
    assert len(served.clock.getDelayedCalls()) == 1
    served.lose(clean=False)
    assert len(served.clock.getDelayedCalls()) == 1
    other.lose()


def test_what_is_lost_may_be_resumed() -> None:
    served = alive()
    served.wire.pauseProducing()
    served.clock.advance(25)
    served.lose()
    served.wire.resumeProducing()
    served.clock.advance(0)
    assert served.clock.getDelayedCalls() == []


def test_it_is_looked_at_no_more_often_than_need_be() -> None:
    served = alive()

    def next_look() -> float:
        (call,) = served.clock.getDelayedCalls()
        return call.getTime()

    assert next_look() == 20
    ping = served.advance(20)
    assert next_look() == 30
    served.advance(0.5)
    served.feed(pong(ping))
    served.advance(9.5)
    assert next_look() == 40.5
    served = alive(pingTimeout=None)
    served.advance(20)
    assert next_look() == 40


def test_what_is_lost_is_not_asked_while_others_are_watched() -> None:
    settings = {"pingInterval": 20, "pingTimeout": 10}
    stays = Asked(None, settings).open()
    lost = Asked(None, settings, clock=stays.clock).open()
    lost.lose(clean=False)
    told = list(lost.transport.told)
    before = lost.wire.counters
    assert stays.advance(20)[0] == 0x89
    assert lost.sent() == b""
    stays.clock.advance(10)
    assert "abort" in stays.transport.told
    assert (lost.transport.told, lost.wire.counters) == (told, before)


def test_from_its_close_on_it_is_watched_by_other_means() -> None:
    served = alive(closeTimeout=100)
    served.wire.loseConnection()
    served.transport.taken()
    for _ in range(9):
        assert served.advance(11) == b""
    assert served.transport.told == []
    assert served.wire.counters.sendsIgnored == 0
    served.advance(1)
    assert served.transport.told == ["abort"]


# Exemptions


def test_the_time_in_which_the_application_paused_is_exempt() -> None:
    served = alive()
    served.wire.pauseProducing()
    for _ in range(100):
        served.advance(10)
    assert "abort" not in served.transport.told
    served.wire.resumeProducing()
    served.advance(0)
    served.transport.taken()
    # From now on it counts again.
    served.advance(20)
    served.advance(10)
    assert served.transport.told[-1] == "abort"


def test_a_pause_that_begins_while_the_transport_takes_no_more_is_exempt_when_it_does() -> None:
    """All within one callback, so that no event of its own tells that the time is exempt."""

    def pauses(application: Application) -> None:
        served.transport.producer.pauseProducing()
        application.transport.pauseProducing()
        served.transport.producer.resumeProducing()

    served = alive(Application(message=pauses))
    served.feed(text("x"))
    for _ in range(10):
        served.advance(10)
    assert "abort" not in served.transport.told


def test_a_pause_that_begins_after_the_ping_is_exempt() -> None:
    served = alive()
    served.advance(20)
    served.wire.pauseProducing()
    served.advance(9)
    served.wire.resumeProducing()
    served.advance(0)
    served.advance(9.9)
    assert "abort" not in served.transport.told


def test_a_full_receive_queue_is_exempt() -> None:
    never: Deferred[None] = Deferred()
    served = alive(Application(message=lambda one: never), receiveQueue=2)
    served.feed(text("x") * 5)
    for _ in range(20):
        served.advance(10)
    assert "abort" not in served.transport.told


def test_a_callback_that_is_not_done_is_not_exempt_while_there_is_room() -> None:
    never: Deferred[None] = Deferred()
    served = alive(Application(message=lambda one: never))
    served.feed(text("x"))
    served.advance(20)
    served.advance(10)
    assert served.transport.told == ["abort"]


def test_a_stream_that_nobody_receives_on_is_exempt() -> None:
    asked = Asked(WebSocketStream(), {"pingInterval": 20, "pingTimeout": 10, "receiveQueue": 1}).open()
    asked.feed(b"\x81\x01x" * 5)
    for _ in range(20):
        asked.advance(10)
    assert "abort" not in asked.transport.told


# A peer that does not take what it is sent


def blocked(**settings: Any) -> Served:
    served = alive(Application(message=lambda one: one.transport.sendBytesMessage(bytes(70000))), Slow(), **settings)
    served.transport.clear()
    served.feed(text("x"))
    served.feed(text("x"))
    assert not served.wire._outbox.writable
    return served


@pytest.mark.parametrize("policy", ["wait", "close", "drop"])
def test_one_that_takes_nothing_is_aborted(policy: str) -> None:
    """Two echo peers that wait for each other end; and no Ping is put behind what is not taken."""
    served = blocked(slowConsumer=policy)
    if policy == "wait":
        assert served.transport.told == ["pause"]
    size = served.wire._outbox.size
    served.clock.advance(20)
    assert served.wire._outbox.size == size
    served.clock.advance(9.9)
    assert "abort" not in served.transport.told
    served.clock.advance(0.1)
    assert served.transport.told[-1] == "abort"
    served.lose()
    assert served.application.reasons[0].code == 1011


def test_messages_that_wait_for_a_slow_peer_are_no_excuse() -> None:
    """The receive queue is full because the peer does not read, not because the application does not."""
    flood = Application(message=lambda one: one.transport.sendBytesMessage(bytes(140_000)))
    served = alive(flood, Slow(), maxMessageSize=50)
    # As a str the second takes more than a message may.
    served.feed(text("x") + text("\u00e9"))
    assert served.wire._inbox._room() == 0
    served.clock.advance(20)
    served.clock.advance(10)
    assert served.transport.told[-1] == "abort"


def test_one_that_takes_some_stays() -> None:
    served = blocked()
    for _ in range(3):
        served.clock.advance(20)
        served.clock.advance(9)
        # Another message, so that it stays blocked.
        served.wire.sendBytesMessage(bytes(70000))
        served.transport.take()
        served.clock.advance(1)
    assert "abort" not in served.transport.told


def test_a_pause_is_no_excuse_from_when_the_peer_takes_nothing_on() -> None:
    served = alive(transport=Slow())
    served.wire.pauseProducing()
    served.clock.advance(100)
    # The look that came due meanwhile is made up for.
    served.wire.sendBytesMessage(bytes(100_000))
    served.clock.pump([0, 20, 9.9])
    assert "abort" not in served.transport.told
    served.clock.advance(0.1)
    assert served.transport.told[-1] == "abort"


def test_one_that_has_taken_all_since_it_was_asked_stays() -> None:
    served = alive(transport=Slow())
    served.wire.sendBytesMessage(bytes(100_000))
    assert served.wire._outbox.paused
    served.clock.advance(25)
    served.transport.take()
    assert not served.wire._outbox.paused
    served.clock.advance(5)
    served.clock.advance(5)
    assert "abort" not in served.transport.told


def test_one_that_takes_some_of_what_came_since_it_was_asked_stays() -> None:
    served = alive(transport=Slow(), sendLimit=None)
    assert served.advance(20)[0] == 0x89
    served.wire.sendBytesMessage(bytes(300_000))
    served.transport.take()
    assert served.wire._outbox.paused
    served.clock.advance(10)
    served.clock.advance(5)
    assert "abort" not in served.transport.told


def test_one_that_is_sent_more_and_more_and_takes_nothing_is_aborted() -> None:
    served = blocked(slowConsumer="drop")
    for _ in range(30):
        served.wire.sendBytesMessage(bytes(100000))
        served.clock.advance(1)
    assert served.transport.told[-1] == "abort"


# measureLatency


def test_latency() -> None:
    served = alive(pingInterval=None)
    assert served.wire.latency is None
    seen = results(served.wire.measureLatency())
    ping = served.transport.taken()
    served.clock.advance(0.25)
    served.feed(pong(ping))
    assert seen == [0.25]
    assert served.wire.latency == 0.25
    assert served.application.messages == []
    served.lose()


def test_a_pong_answers_all_earlier_pings() -> None:
    served = alive(pingInterval=None)
    first = results(served.wire.measureLatency())
    served.clock.advance(1)
    second = results(served.wire.measureLatency())
    third = results(served.wire.measureLatency())
    pings = served.transport.taken()
    served.clock.advance(1)
    size = len(pings) // 3
    served.feed(pong(pings[size : 2 * size]))
    assert (first, second, third) == ([2], [1], [])
    # A late answer to the first is ours all the same.
    served.feed(pong(pings[:size]))
    served.feed(pong(pings[2 * size :]))
    assert third == [1]
    assert served.application.messages == []


def test_who_asked_waits_through_later_pings() -> None:
    served = alive(pingTimeout=None)
    seen = results(served.wire.measureLatency())
    served.advance(20)
    later = served.advance(20)
    assert seen == []
    served.feed(pong(later))
    assert seen == [40]


def test_latency_times_out() -> None:
    served = alive(pingInterval=None, pingTimeout=3)
    measured = served.wire.measureLatency()
    seen = results(measured)
    served.advance(2.9)
    assert seen == []
    served.advance(0.1)
    assert isinstance(seen[0].value, TimeoutError)
    measured.cancel()
    assert len(seen) == 1
    served.lose()


def test_an_answer_that_comes_too_late_is_not_measured() -> None:
    served = alive(pingInterval=None)
    seen = results(served.wire.measureLatency())
    ping = served.advance(10)
    assert isinstance(seen[0].value, TimeoutError)
    served.feed(pong(ping))
    assert served.wire.latency is None


def test_an_answer_to_a_later_ping_than_there_was_is_not_measured() -> None:
    served = alive(pingInterval=None)
    seen = results(served.wire.measureLatency())
    served.advance(1)
    served.feed(pong(b"\x89\x11" + keepalive._PING_PREFIX + b"7"))
    assert seen == [1]
    assert served.wire.latency is None


def test_latency_without_a_time() -> None:
    served = alive(pingInterval=None, pingTimeout=None)
    seen = results(served.wire.measureLatency())
    served.advance(1000)
    assert seen == []
    served.lose()
    assert isinstance(seen[0].value, WebSocketDropped)


def test_latency_cancelled() -> None:
    served = alive(pingInterval=None)
    measured = served.wire.measureLatency()
    ping = served.transport.taken()
    measured.cancel()
    assert isinstance(results(measured)[0].value, CancelledError)
    assert served.clock.getDelayedCalls() == []
    served.feed(pong(ping))
    assert served.application.messages == []


def test_latency_of_what_ends() -> None:
    served = alive(pingInterval=None)
    waiting = results(served.wire.measureLatency())
    served.transport.taken()
    served.feed(CLOSE)
    (failure,) = results(served.wire.measureLatency())
    assert type(failure.value) is WebSocketEnded
    served.lose()
    assert isinstance(waiting[0].value, WebSocketEnded)
    (failure,) = results(served.wire.measureLatency())
    assert (type(failure.value), str(failure.value)) == (type(waiting[0].value), str(waiting[0].value))


def test_latency_while_a_callback_is_not_done() -> None:
    never: Deferred[None] = Deferred()
    served = alive(Application(message=lambda one: never))
    served.feed(text("x"))
    seen = results(served.wire.measureLatency())
    served.feed(pong(served.transport.taken()))
    assert seen == [0]


def test_other_pongs_reach_the_application() -> None:
    served = alive()
    served.feed(PONG)
    assert served.application.messages == [("pong", b"ab")]


# Faults that a review found


def test_a_latency_that_a_callback_waits_for_leaves_messages_in_order() -> None:
    """Its Pong comes with more messages behind it: they wait, and go on."""

    def ask(application: Application) -> Any:
        return application.transport.measureLatency() if len(application.told) == 3 else None

    served = alive(Application(message=ask), pingInterval=None)
    served.feed(text("m0"))
    answer = pong(b"\x89\x11" + keepalive._PING_PREFIX + b"1")
    served.feed(b"".join(text(f"m{one}") for one in range(1, 10)) + answer + text("m10"))
    served.feed(text("m11"))
    assert served.application.messages == [f"m{one}" for one in range(12)]
    assert served.transport.told == []


@pytest.mark.parametrize("fate", ["pong", "loss"])
def test_who_hears_of_one_may_cancel_the_other(fate: str) -> None:
    served = alive(pingInterval=None)
    first, second = served.wire.measureLatency(), served.wire.measureLatency()
    pings = served.transport.taken()
    seen = [results(first.addBoth(lambda result: second.cancel())), results(second)]
    if fate == "pong":
        served.feed(pong(pings[len(pings) // 2 :]))
        served.lose()
    else:
        served.lose()
    assert seen[0] == [None]
    assert isinstance(seen[1][0].value, CancelledError)
    assert served.application.told[-1] == "lost"


@pytest.mark.parametrize(
    ("first", "paused", "read"),
    [
        (5, 0.01, 5), (15, 0.01, 15), (25, 0.01, 25),
        # Every look falls into a pause.
        (0.995, 0.01, 0.99), (0, 0.5, 0.5), (4, 2.5, 2.5), (0.9, 0.2, 0.8), (0, 0.9, 0.1), (0, 0.05, 0.05),
        (0, 1, 0.03),
        # Several in the moment that is granted once.
        (0, 0.02, 0.02), (0, 0.001, 0.04),
    ],
)  # fmt: skip
def test_pauses_do_not_keep_a_dead_peer(first: float, paused: float, read: float) -> None:
    served = alive()
    clock, wire = served.clock, served.wire
    reading = since = 0.0

    def pause() -> None:
        nonlocal reading
        reading += clock.seconds() - since
        wire.pauseProducing()
        clock.callLater(paused, resume)

    def resume() -> None:
        nonlocal since
        since = clock.seconds()
        wire.resumeProducing()
        clock.callLater(read, pause)

    clock.callLater(first, pause)
    while "abort" not in served.transport.told:
        clock.advance(max(0, min(call.getTime() for call in clock.getDelayedCalls()) - clock.seconds()))
        assert reading < 31
    assert reading + clock.seconds() - since == pytest.approx(30, abs=0.3)


def test_a_transport_that_resumes_at_once() -> None:
    """Within its own ``write`` nobody is told."""

    class Quick(Transport):
        def write(self, data: bytes) -> None:
            super().write(data)
            if self.producer is not None and len(data) > 2**16:
                self.producer.pauseProducing()
                self.producer.resumeProducing()

    served = alive(transport=Quick())
    served.wire.pauseProducing()
    served.wire.sendBytesMessage(bytes(70_000))
    assert not served.wire._outbox.paused
    served.clock.advance(20)
    served.clock.advance(1000)
    assert "abort" not in served.transport.told


def test_a_look_is_made_up_for_once() -> None:
    served = alive()
    for pause in (25, *[0.001] * 100):
        served.wire.pauseProducing()
        served.clock.advance(pause)
        served.wire.resumeProducing()
        served.clock.advance(0)
    assert served.wire._keepalive._watch is not None
    assert len(served.wire._keepalive._watch._due) == 1


@pytest.mark.parametrize("policy", ["wait", "close", "drop"])
@pytest.mark.parametrize("how", ["callback", "stream", "producer"])
def test_who_waits_for_a_peer_that_takes_nothing_is_let_go(how: str, policy: str) -> None:
    """However many of its messages have come: what is not done waits for the peer, and not the peer for it."""

    async def callback(application: Application) -> None:
        while True:
            await application.transport.whenWritable()
            application.transport.sendBytesMessage(bytes(70_000))

    async def handler(stream: WebSocketStream) -> None:
        async for _ in stream:
            while True:
                await stream.send(bytes(70_000))

    def producer(application: Application) -> Deferred[None]:
        application.transport.sendBytesMessage(bytes(140_000))
        application.transport.attachProducer(Producer())
        return Deferred()

    does = {"callback": callback, "producer": producer}
    application = StreamHandler(handler) if how == "stream" else Application(message=does[how])
    served = alive(application, Slow(), slowConsumer=policy)
    served.feed(b"".join(text("x") for _ in range(100)))
    assert not served.wire._outbox.writable
    served.clock.advance(20)
    served.clock.advance(9.9)
    assert "abort" not in served.transport.told
    served.clock.advance(0.2)
    assert served.transport.told[-1] == "abort"


def test_two_that_produce_for_each_other_end() -> None:
    """As a relay does: each is paused for the other, whose peer takes nothing."""
    applications = [Application(), Application()]
    remaining = list(applications)
    first = alive(buildApplication=lambda request: remaining.pop(0), transport=Slow(), slowConsumer="drop")
    second = Served(factory=first.factory, transport=Slow()).open()
    for one, other in ((first, second), (second, first)):
        one.wire.attachProducer(other.wire)
        one.wire.sendBytesMessage(bytes(140_000))
    assert first.wire._inbox._stops
    assert second.wire._inbox._stops
    first.clock.advance(20)
    first.clock.advance(10)
    first.clock.advance(0.1)
    assert first.transport.told[-1] == "abort"
    # Nothing is produced for it any more, and so it closes.
    assert second.wire.closeSent == (1000, "")
    first.clock.advance(10)
    assert second.transport.told[-1] == "abort"


def test_a_pause_is_exempt_again_when_the_peer_has_taken_what_it_had() -> None:
    served = blocked()
    served.wire.pauseProducing()
    served.clock.advance(15)
    served.transport.take()
    assert not served.wire._outbox.paused
    served.clock.advance(1000)
    assert "abort" not in served.transport.told


def test_a_pong_that_came_in_a_pause_is_heard_before_it_is_judged() -> None:
    """The pause ends just before a look, when the time to answer is all but over."""
    served = alive()
    ping = served.advance(20)
    served.clock.advance(9.99)
    served.wire.pauseProducing()
    served.clock.advance(0.02)
    served.clock.advance(4.98)
    served.wire.resumeProducing()
    # As the reactor: first what is due, then what came.
    served.clock.advance(0)
    served.clock.advance(0.1)
    assert "abort" not in served.transport.told
    served.feed(pong(ping))
    served.clock.advance(15)
    assert "abort" not in served.transport.told


def test_a_reactor_that_was_held_up_reads_before_it_judges() -> None:
    served = alive()
    ping = served.advance(20)
    # A callback of another connection's takes long. Timers come first, then what lies in the system.
    served.clock.advance(60)
    assert served.transport.told == []
    served.feed(pong(ping))
    served.clock.advance(0.1)
    assert served.transport.told == []
    # There is no second time for one Ping.
    assert served.advance(20)[:1] == b"\x89"
    served.clock.advance(60)
    assert served.transport.told == []
    served.clock.advance(60)
    assert served.transport.told == ["abort"]


@pytest.mark.parametrize("secure", [True, False])
def test_a_policy_that_closes_is_heard_of_over_tls(secure: bool) -> None:
    """As `TimeoutFactory`: TLS waits for its producer, which we are; any other transport just closes."""
    transport = Transport()
    if secure:
        directlyProvides(transport, ISSLTransport)
    served = alive(transport=transport, closeTimeout=3)
    transport.disconnecting = True
    sent = served.advance(20)
    assert sent[:1] == (b"\x88" if secure else b"\x89")
    if secure:
        assert served.wire.closeSent == (1001, "")
        # It is not asked any more.
        assert served.wire.counters.sendsIgnored == 0
        served.advance(3)
        assert transport.told[-1] == "abort"
    served.lose()
