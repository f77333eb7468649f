import gc
import re
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from wire import CLOSE, PING, PONG, REQUEST, Application, Served, logged, text

from wsock import Accept, LocalProtocolError, RateLimit, StreamHandler, WebSocketStream, streamApplication


def limited(application: Any = None, rate: float = 10, build: Any = None, **arguments: Any) -> tuple[RateLimit, Served]:
    """A limit, and an open connection behind it."""
    application = Application() if application is None else application
    limit = RateLimit((lambda request: application) if build is None else build, rate, **arguments)
    served = Served(application, buildApplication=limit)
    served.feed(REQUEST)
    return limit, served


def sends(served: Served, *messages: str) -> bytes:
    return served.feed(b"".join(map(text, messages)))


def test_the_callbacks_reach_the_application() -> None:
    limit, served = limited()
    served.feed(text("a") + bytes.fromhex("82 81 00000000 62") + PONG + PING)
    served.feed(CLOSE)
    served.lose()
    told = served.application.told
    assert told[:2] == ["started", "finished"]
    assert served.application.messages == ["a", b"b", ("pong", b"ab")]
    assert len(served.application.reasons) == 1
    assert served.application.transport is served.wire
    assert (limit.delayed, limit.closed) == (0, 0)


def test_a_client_within_the_limit_waits_for_nothing() -> None:
    limit, served = limited(burst=2)
    for number in range(50):
        sends(served, "a", "b")
        assert len(served.application.messages) == 2 * number + 2
        served.advance(0.2)
    assert (limit.delayed, limit.closed) == (0, 0)


def test_a_client_above_the_limit_is_read_more_slowly() -> None:
    limit, served = limited(burst=2)
    sends(served, *"abcdef")
    assert served.application.messages == ["a", "b", "c"], "it has its message, and the next one waits"
    served.advance(0.099)
    assert served.application.messages == ["a", "b", "c"]
    served.advance(0.001)
    assert served.application.messages == ["a", "b", "c", "d"]
    served.advance(0.1)
    served.advance(0.1)
    assert served.application.messages == ["a", "b", "c", "d", "e", "f"]
    assert limit.delayed == 4
    served.advance(0.1)
    served.lose()


def test_a_bucket_holds_no_more_than_its_burst() -> None:
    _, served = limited(burst=3)
    served.advance(1000)
    sends(served, *"abcdef")
    assert len(served.application.messages) == 4


@pytest.mark.parametrize(("rate", "burst", "atOnce"), [(5, None, 5), (0.5, None, 1), (5, 1, 1), (2.5, None, 2)])
def test_bursts(rate: float, burst: int | None, atOnce: int) -> None:
    limit, served = limited(rate=rate, burst=burst)
    sends(served, *"abcdefghij")
    # One more has been delivered before it waits.
    assert len(served.application.messages) == atOnce + 1
    assert limit.delayed == 1


@pytest.mark.parametrize("excess", ["delay", "close"])
def test_a_clock_that_is_set_back(excess: Any) -> None:
    """It costs a client nothing, and no pause is longer than its debt."""
    _, served = limited(burst=2, excess=excess)
    served.advance(100)
    sends(served, "a")
    served.clock.rightNow -= 60
    sends(served, "b")
    assert served.wire.closeSent is None
    if excess == "delay":
        sends(served, "c", "d")
        served.clock.rightNow -= 60
        served.advance(60.1)
        served.advance(0.1)
        assert served.application.messages == ["a", "b", "c", "d"]


def test_each_connection_has_a_bucket_of_its_own() -> None:
    limit, first = limited(burst=1)
    second = Served(factory=first.factory, application=first.application)
    second.feed(REQUEST)
    sends(first, "a")
    sends(second, "b")
    assert limit.delayed == 0


def test_pings_are_answered_meanwhile() -> None:
    _, served = limited(burst=1)
    sends(served, "a", "b", "c")
    assert served.feed(PING)[:1] == b"\x8a"


def test_a_client_above_the_limit_is_closed() -> None:
    limit, served = limited(burst=2, excess="close")
    sent = sends(served, *"abcdef")
    assert served.application.messages == ["a", "b"]
    assert sent == b"\x88\x13" + (1008).to_bytes(2, "big") + b"too many messages"
    assert (limit.delayed, limit.closed) == (0, 1)
    served.feed(CLOSE)
    served.lose()
    assert served.clock.getDelayedCalls() == []


def test_the_application_s_own_result_is_waited_for_too() -> None:
    results: list[Deferred[None]] = []

    def receive(application: Application) -> Deferred[None]:
        results.append(Deferred())
        return results[-1]

    _, served = limited(Application(message=receive), burst=1)
    sends(served, "a", "b", "c")
    assert served.application.messages == ["a"]
    results[0].callback(None)
    assert served.application.messages == ["a", "b"]
    served.advance(0.05)
    results[1].callback(None)
    assert served.application.messages == ["a", "b"], "half of the pause is left"
    served.advance(0.05)
    assert served.application.messages == ["a", "b", "c"]
    served.advance(10)
    results[2].callback(None)
    sends(served, "d")
    assert served.application.messages[-1] == "d"
    results[3].callback(None)


def test_a_failure_of_the_application_closes_as_without_a_limit() -> None:
    def fail(application: Application) -> None:
        raise ValueError("on purpose")

    with logged():
        _, served = limited(Application(message=fail), burst=1)
        sends(served, "a", "b")
        assert served.wire.closeSent is not None
        assert served.wire.closeSent.code == 1011


@pytest.mark.parametrize("left", ["", "de"])
def test_a_loss_ends_the_pause(left: str) -> None:
    """All that came is delivered, at once, and the application hears of the end."""
    _, served = limited(burst=1, rate=0.1)
    sends(served, *"abc")
    assert served.application.messages == ["a", "b"]
    served.lose()
    assert served.application.messages == ["a", "b", "c"]
    assert len(served.application.reasons) == 1


def test_an_abort_ends_the_pause() -> None:
    _, served = limited(burst=1, rate=0.1)
    sends(served, *"abc")
    served.wire.abortConnection()
    served.lose()
    assert len(served.application.reasons) == 1


def test_a_stop_leaves_no_timer() -> None:
    _, served = limited(burst=1, rate=0.1)
    sends(served, *"abc")
    stopped = served.factory.stop()
    served.feed(CLOSE)
    served.lose()
    assert stopped.called


# Decisions


@pytest.mark.parametrize(
    ("asDecision", "hasHeader"),
    [
        (lambda application: application, False),
        (lambda application: succeed(application), False),
        (lambda application: Accept(application, headers=[("X-Own", "1")]), True),
        (lambda application: succeed(Accept(application, headers=[("X-Own", "1")])), True),
    ],
    ids=["application", "Deferred", "Accept", "Deferred of Accept"],
)
def test_all_kinds_of_decisions(asDecision: Any, hasHeader: bool) -> None:
    application = Application()
    limit = RateLimit(lambda request: asDecision(application), 10, burst=1)
    served = Served(application, buildApplication=limit)
    answer = served.feed(REQUEST)
    assert (b"X-Own: 1\r\n" in answer) is hasHeader
    sends(served, *"abc")
    assert application.messages == ["a", "b"]


def test_a_coroutine_decides() -> None:
    application = Application()

    async def build(request: Any) -> Any:
        return application

    limit, served = limited(application, build=build, burst=1)
    sends(served, *"abc")
    assert limit.delayed == 1


def test_a_mistake_is_told_as_without_a_limit() -> None:
    with logged() as events:
        limit = RateLimit(lambda request: None, 10)  # type: ignore[arg-type,return-value]
        assert Served(buildApplication=limit).feed(REQUEST).startswith(b"HTTP/1.1 500 ")
    assert "buildApplication returned None" in str(events[0]["log_failure"].value)


def test_a_decision_is_cancelled() -> None:
    deciding: Deferred[Any] = Deferred()
    served = Served(buildApplication=RateLimit(lambda request: deciding, 10))
    served.feed(REQUEST)
    served.lose()
    assert isinstance(deciding.result, type(None)) or deciding.result.check(CancelledError)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((Application(), 10), "buildApplication"),
        ((print, "10"), "messagesPerSecond is a number above 0, not str"),
        ((print, True), "messagesPerSecond is a number above 0, not bool"),
        ((print, 0), "messagesPerSecond is a number from 1e-06 to 1e+09"),
        ((print, -1), "messagesPerSecond is a number from 1e-06 to 1e+09"),
        ((print, float("inf")), "messagesPerSecond is a number from 1e-06 to 1e+09"),
        ((print, float("nan")), "messagesPerSecond is a number from 1e-06 to 1e+09"),
    ],
)
def test_arguments(arguments: Any, why: str) -> None:
    with pytest.raises(LocalProtocolError, match=re.escape(why)):
        RateLimit(*arguments)


def test_options() -> None:
    with pytest.raises(LocalProtocolError, match="burst"):
        RateLimit(print, 10, burst=0)  # type: ignore[arg-type]
    with pytest.raises(LocalProtocolError, match="excess: 'delay' or 'close', not 'drop'"):
        RateLimit(print, 10, excess="drop")  # type: ignore[arg-type]


# Streams


def test_a_stream_is_limited_too() -> None:
    received: list[Any] = []

    async def handle(stream: WebSocketStream) -> None:
        async for message in stream:
            received.append(message)

    limit, served = limited(build=streamApplication(handle), burst=1)
    sends(served, *"abcd")
    assert received == ["a", "b"]
    served.advance(0.1)
    served.advance(0.1)
    assert received == ["a", "b", "c", "d"]
    assert limit.delayed == 3
    served.feed(CLOSE)
    served.lose(clean=False)


def test_a_stream_loses_nothing_when_its_connection_is_lost() -> None:
    """Then the stream alone holds its connection's application, and that is the limit."""
    streams: list[WebSocketStream] = []

    async def handle(stream: WebSocketStream) -> None:
        streams.append(stream)
        await Deferred()

    handlers: list[StreamHandler] = []

    def build(request: Any) -> StreamHandler:
        handlers.append(StreamHandler(handle))
        return handlers[-1]

    _, served = limited(build=build, burst=1, rate=0.1)
    sends(served, *"abc")
    served.lose(clean=False)
    gc.collect()
    taken = [streams[0].receive() for _ in range(1)]
    assert [one.result for one in taken] == ["a"]
    assert streams[0].receive().result == "b"
    assert streams[0].receive().result == "c"
