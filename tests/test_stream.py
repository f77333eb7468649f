"""Streams of both roles, in memory."""

from collections.abc import Callable, Generator
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, inlineCallbacks, succeed
from wire import (
    CLOSE,
    CLOSE_SENT,
    FAILED_SENT,
    HELLO,
    HELLO_SENT,
    PONG,
    REQUEST,
    SERVER_CLOSE,
    SERVER_HELLO,
    Asked,
    Served,
    Slow,
    failures,
    logged,
)

from wsock import (
    Accept,
    LocalProtocolError,
    Refuse,
    StreamHandler,
    WebSocketClosed,
    WebSocketDropped,
    WebSocketEnded,
    WebSocketStream,
    streamApplication,
)


class Expected(Exception):
    pass


def results(deferred: Deferred[Any]) -> list[Any]:
    seen: list[Any] = []
    deferred.addBoth(seen.append)
    return seen


def failed(deferred: Deferred[Any]) -> Any:
    (failure,) = results(deferred)
    return failure.value


def streaming(**settings: Any) -> Asked:
    return Asked(WebSocketStream(), settings).open()


def handled(handler: Callable[[Any], Any], settings: dict[str, Any] | None = None) -> Served:
    return Served(settings=settings, buildApplication=streamApplication(handler)).open()


# receive


def test_a_message_for_one_who_waits() -> None:
    asked = streaming()
    seen = results(asked.application.receive())
    assert seen == []
    asked.feed(SERVER_HELLO)
    assert seen == ["Hello"]


def test_messages_that_came_before_they_were_asked_for() -> None:
    asked = streaming()
    asked.feed(SERVER_HELLO + b"\x82\x01x" + SERVER_HELLO)
    assert [results(asked.application.receive()) for _ in range(3)] == [["Hello"], [b"x"], ["Hello"]]
    assert results(asked.application.receive()) == []


def test_empty_messages_are_messages() -> None:
    asked = streaming()
    asked.feed(b"\x81\x00\x82\x00")
    assert [results(asked.application.receive()) for _ in range(2)] == [[""], [b""]]


def test_two_can_not_wait() -> None:
    stream = streaming().application
    stream.receive()
    with pytest.raises(LocalProtocolError):
        stream.receive()


@pytest.mark.parametrize("early", [True, False])
def test_cancelling_loses_no_message(early: bool) -> None:
    asked = streaming()
    first = asked.application.receive()
    seen = results(first)
    first.cancel()
    assert isinstance(seen[0].value, CancelledError)
    second = results(asked.application.receive()) if early else None
    asked.feed(SERVER_HELLO)
    assert (second if early else results(asked.application.receive())) == ["Hello"]


def test_messages_come_before_the_end() -> None:
    asked = streaming()
    asked.feed(SERVER_HELLO + SERVER_HELLO + SERVER_CLOSE)
    asked.lose()
    # However long it takes.
    asked.clock.advance(1000)
    assert [results(asked.application.receive()) for _ in range(2)] == [["Hello"], ["Hello"]]
    for _ in range(2):
        reason = failed(asked.application.receive())
        assert isinstance(reason, WebSocketClosed)
        assert reason.closeReceived == (1000, "")


def test_who_waits_hears_of_the_end() -> None:
    asked = streaming()
    seen = results(asked.application.receive())
    asked.lose()
    assert isinstance(seen[0].value, WebSocketDropped)


def test_what_is_not_asked_for_is_not_taken_in() -> None:
    """100 times what the receive queue holds: the transport is told to stop, and nothing is lost."""
    asked = streaming(receiveQueue=4, maxMessageSize=1000)
    total = 400
    for number in range(total):
        asked.feed(b"\x81\x03%03d" % number)
    assert asked.transport.told == ["pause"]
    assert len(asked.wire._inbox._events) <= 4
    assert asked.wire._inbox._unread is not None
    assert [results(asked.application.receive())[0] for _ in range(total)] == [
        f"{number:03}" for number in range(total)
    ]
    assert asked.transport.told[-1] == "resume"


def test_pings_are_answered_while_messages_wait() -> None:
    asked = streaming()
    asked.feed(SERVER_HELLO * 3)
    assert asked.feed(bytes.fromhex("890548656c6c6f")) == bytes.fromhex("8a0548656c6c6f")


# Iteration


async def collect(stream: Any, seen: list[Any]) -> None:
    async for message in stream:
        seen.append(message)
    seen.append("end")


@pytest.mark.parametrize(
    ("close", "end"), [("880203e8", True), ("880203e9", True), ("8800", True), ("88020bb8", False)]
)
def test_iteration(close: str, end: bool) -> None:
    asked = streaming()
    seen: list[Any] = []
    outcome = results(Deferred.fromCoroutine(collect(asked.application, seen)))
    asked.feed(SERVER_HELLO + bytes.fromhex(close))
    asked.lose()
    if end:
        assert seen == ["Hello", "end"]
    else:
        assert seen == ["Hello"]
        assert isinstance(outcome[0].value, WebSocketClosed)


def test_iteration_raises_at_a_loss() -> None:
    asked = streaming()
    outcome = results(Deferred.fromCoroutine(collect(asked.application, [])))
    asked.lose()
    assert isinstance(outcome[0].value, WebSocketDropped)


@pytest.mark.parametrize("error", [None, Expected])
def test_leaving_the_context(error: type[Exception] | None) -> None:
    async def use(stream: Any) -> None:
        async with stream as same:
            assert same is stream
            if error is not None:
                raise error

    asked = streaming()
    outcome = results(Deferred.fromCoroutine(use(asked.application)))
    sent = asked.sent()
    assert sent == (CLOSE_SENT if error is None else FAILED_SENT)
    assert outcome == []
    asked.feed(b"\x88\x02" + sent[2:])
    asked.lose()
    assert outcome == [None] if error is None else isinstance(outcome[0].value, Expected)


# send and close


def test_send() -> None:
    asked = streaming()
    assert results(asked.application.send("Hello")) == [None]
    assert asked.sent() == HELLO_SENT
    for data in (b"x", bytearray(b"x"), memoryview(b"x")):
        assert results(asked.application.send(data)) == [None]
        assert asked.sent() == b"\x82\x01x"


@pytest.mark.parametrize("message", ["\ud800", 5, None])
def test_what_can_not_be_sent_is_raised_at_once(message: Any) -> None:
    asked = streaming()
    with pytest.raises(LocalProtocolError):
        asked.application.send(message)
    assert asked.sent() == b""
    assert results(asked.application.send("Hello")) == [None]


def test_send_waits_for_room() -> None:
    asked = streaming()
    asked.transport.producer.pauseProducing()
    assert results(asked.application.send(bytes(1000))) == []
    waiting = asked.application.send(bytes(70000))
    seen = results(waiting)
    waiting.cancel()
    assert isinstance(seen[0].value, CancelledError)
    asked.transport.producer.resumeProducing()
    # Only the waiting was cancelled.
    assert len(asked.sent()) > 71000


def test_send_while_closing_and_after_the_end() -> None:
    asked = streaming()
    closed = results(asked.application.close(3000, "Bye"))
    assert closed == []
    assert type(failed(asked.application.send("x"))) is WebSocketEnded
    asked.sent()
    asked.feed(SERVER_HELLO + bytes.fromhex("88020bb8"))
    asked.lose()
    assert closed == [None]
    assert results(asked.application.receive()) == ["Hello"]
    assert isinstance(failed(asked.application.send("x")), WebSocketClosed)
    assert results(asked.application.close()) == [None]
    with pytest.raises(LocalProtocolError):
        asked.application.send("\ud800")


def test_a_send_that_waits_hears_of_the_loss() -> None:
    asked = streaming()
    asked.transport.producer.pauseProducing()
    seen = results(asked.application.send(bytes(70000)))
    asked.lose()
    assert isinstance(seen[0].value, WebSocketDropped)


def test_a_send_that_failed_while_it_waited_may_have_been_sent() -> None:
    asked = Asked(WebSocketStream(), {"highWaterMark": 1000}, Slow()).open()
    assert results(asked.application.send("x" * 65522)) == [None]
    waiting = asked.application.send("Hello")
    # The transport has all of it, and is lost before it says that it takes more.
    assert asked.sent().endswith(HELLO_SENT)
    asked.lose()
    assert isinstance(failed(waiting), WebSocketDropped)


def test_a_stream_that_is_gone_is_told_nothing() -> None:
    streams = [WebSocketStream()]
    asked = Asked(buildApplication=lambda request: streams[0]).open()
    asked.feed(SERVER_HELLO)
    asked.lose(clean=False)
    with logged() as events:
        streams.clear()
        asked.clock.advance(0)
    assert events == []


def test_a_stream_may_be_gone_as_soon_as_it_was_told_of_the_loss() -> None:
    streams = [WebSocketStream()]
    asked = Asked(buildApplication=lambda request: streams[0]).open()
    asked.wire.pauseProducing()
    asked.feed(SERVER_HELLO)
    asked.lose(clean=False)
    seen: list[str | bytes] = []

    def again(message: str | bytes) -> None:
        seen.append(message)
        streams[0].receive().addErrback(lambda failure: streams.clear())

    streams[0].receive().addCallback(again)
    asked.wire.resumeProducing()
    with logged() as events:
        asked.clock.advance(0)
    assert events == []
    assert (seen, streams) == (["Hello"], [])


def test_closing_discards_what_finds_no_room() -> None:
    asked = streaming(receiveQueue=2)
    asked.application.close()
    # One is the next to be received, two more wait behind it.
    asked.feed(b"\x81\x011\x81\x012\x81\x013\x81\x014\x81\x015" + SERVER_CLOSE)
    asked.lose()
    assert [results(asked.application.receive()) for _ in range(3)] == [["1"], ["2"], ["3"]]
    assert isinstance(failed(asked.application.receive()), WebSocketClosed)
    assert asked.wire.counters.receivedDiscarded == 2


def test_it_receives_while_it_is_not_writable() -> None:
    """Two that wait for each other in a send would never hear of each other again."""
    asked = streaming()
    asked.transport.producer.pauseProducing()
    asked.application.send(bytes(70000))
    asked.feed(SERVER_HELLO)
    assert results(asked.application.receive()) == ["Hello"]
    assert asked.transport.told == []


def test_what_a_stream_knows_of_its_connection() -> None:
    asked = streaming()
    stream = asked.application
    assert stream.request is asked.wire.request
    assert (stream.response, stream.response.status) == (asked.wire.response, 101)
    assert (stream.subprotocol, stream.closeSent, stream.closeReceived) == (None, None, None)
    stream.close(3000, "done")
    asked.feed(SERVER_CLOSE)
    assert (stream.closeSent.code, stream.closeSent.reason) == (3000, "done")
    assert stream.closeReceived == (1000, "")


def test_a_servers_stream_has_no_response() -> None:
    seen: list[Any] = []

    async def look(stream: WebSocketStream) -> None:
        seen.append((stream.request.path, stream.response))

    handled(look)
    assert seen == [("/chat", None)]


# Handlers


def test_a_handler() -> None:
    async def echo(stream: Any) -> None:
        async for message in stream:
            await stream.send(message)

    served = handled(echo)
    assert served.feed(HELLO + HELLO) == HELLO_SENT * 2
    assert served.feed(CLOSE) == CLOSE_SENT
    served.lose()
    assert served.factory._connections._handlers == set()


def test_a_handler_with_inline_callbacks() -> None:
    @inlineCallbacks
    def echo(stream: WebSocketStream) -> Generator[Deferred[Any], Any, None]:
        message = yield stream.receive()
        yield stream.send(message)

    served = handled(echo)
    assert served.feed(HELLO) == HELLO_SENT + CLOSE_SENT


@pytest.mark.parametrize("how", ["raises", "returns nothing"])
def test_a_handler_that_is_none(how: str) -> None:
    def handler(stream: WebSocketStream) -> None:
        if how == "raises":
            raise Expected("no coroutine, nor a Deferred")

    with logged() as events:
        served = Served(buildApplication=streamApplication(handler))  # type: ignore[arg-type]
        assert served.feed(REQUEST).endswith(FAILED_SENT)
    (failure,) = failures(events)
    assert "no coroutine, nor a Deferred" in failure


def test_a_stream_is_a_key_that_keeps_nothing_alive() -> None:
    users: WeakKeyDictionary[WebSocketStream, str] = WeakKeyDictionary()
    asked = streaming()
    users[asked.application] = "somebody"
    assert users[asked.application] == "somebody"


def test_its_return_closes() -> None:
    async def greet(stream: Any) -> None:
        await stream.send("Hello")

    served = Served(buildApplication=streamApplication(greet))
    assert served.feed(REQUEST + HELLO * 100).endswith(b"\r\n\r\n" + HELLO_SENT + CLOSE_SENT)
    served.feed(CLOSE)
    served.lose()


def test_a_handler_that_fails_to_cancel_does_not_hold_up_the_end() -> None:
    def canceller(deferred: Deferred[None]) -> None:
        raise Expected("canceller")

    served = handled(lambda stream: Deferred(canceller))
    other = Served(factory=served.factory).open()
    stopped: list[object] = []
    served.factory.stop().addCallback(stopped.append)
    with logged() as events:
        other.lose(clean=False)
        served.lose()
    assert failures(events) == ["canceller"] * 2
    assert stopped == [None]


def test_what_comes_when_it_has_returned_is_let_go() -> None:
    go: Deferred[None] = Deferred()

    async def wait(stream: Any) -> None:
        await go

    served = handled(wait, settings={"receiveQueue": 2})
    served.feed(HELLO * 100)
    assert served.transport.told == ["pause"]
    go.callback(None)
    assert served.transport.taken() == CLOSE_SENT
    assert served.transport.told[:2] == ["pause", "resume"]
    assert served.wire.counters.receivedDiscarded == 100
    served.feed(CLOSE)
    served.lose()


def test_what_it_had_not_received_of_an_aborted_connection_is_counted_when_it_returns() -> None:
    go: Deferred[None] = Deferred()

    async def wait(stream: Any) -> None:
        await go

    served = handled(wait)
    served.feed(HELLO)
    served.wire.abortConnection()
    served.lose()
    assert served.wire.counters.receivedDiscarded == 0
    go.callback(None)
    assert served.wire.counters.receivedDiscarded == 1


def test_its_exception_closes_with_1011_and_is_logged_once() -> None:
    async def fail_at_once(stream: Any) -> None:
        raise Expected("handler")

    with logged() as events:
        served = Served(buildApplication=streamApplication(fail_at_once))
        assert served.feed(REQUEST).endswith(FAILED_SENT)
        served.lose()
    assert failures(events) == ["handler"]


@pytest.mark.parametrize("how", ["receive", "send"])
def test_its_own_end_is_no_error(how: str) -> None:
    go: Deferred[None] = Deferred()

    async def use(stream: Any) -> None:
        if how == "receive":
            while True:
                await stream.receive()
        await go
        await stream.send("x")

    with logged() as events:
        served = handled(use)
        served.lose()
        go.callback(None)
    assert failures(events) == []


def test_the_end_of_another_connection_is_one() -> None:
    other = streaming()

    async def relay(stream: Any) -> None:
        await stream.send(await other.application.receive())

    with logged() as events:
        served = handled(relay)
        other.lose()
        assert served.transport.taken() == FAILED_SENT
    assert len(failures(events)) == 1


def test_a_loss_does_not_cancel_it_but_stopping_does() -> None:
    told: list[str] = []

    async def work(stream: Any) -> None:
        try:
            await Deferred()
        except CancelledError:
            told.append("cancelled")
            raise

    served = handled(work)
    served.lose()
    assert told == []
    with logged() as events:
        assert results(served.factory.stop()) == [None]
    assert told == ["cancelled"]
    assert failures(events) == []


def test_stopping_cancels_it_once() -> None:
    """It may still be cleaning up when one that came too late is lost."""
    told: list[str] = []
    cleaned: Deferred[None] = Deferred()

    async def work(stream: Any) -> None:
        try:
            await Deferred()
        finally:
            await cleaned
            told.append("cleaned")

    served = handled(work)
    served.lose()
    served.factory.stop()
    late = Served(factory=served.factory)
    late.feed(REQUEST)
    late.lose(clean=False)
    assert told == []
    cleaned.callback(None)
    assert told == ["cleaned"]


def test_stopping_waits_for_the_connection_before_it_cancels() -> None:
    told: list[Any] = []

    async def work(stream: Any) -> None:
        try:
            async for message in stream:
                told.append(message)
            told.append("end")
            await Deferred()
        except CancelledError:
            told.append("cancelled")

    served = handled(work)
    stopped = results(served.factory.stop())
    served.feed(HELLO + bytes.fromhex("88820000000003e9"))
    assert told == ["Hello"]
    served.lose()
    assert told == ["Hello", "end", "cancelled"]
    assert stopped == [None]


# Deciding first


@pytest.mark.parametrize("how", ["at once", "later", "coroutine"])
def test_a_handler_that_is_returned(how: str) -> None:
    async def greet(user: str, stream: WebSocketStream) -> None:
        await stream.send(user)
        await stream.receive()

    def build(request: Any) -> Any:
        return {"at once": decide, "later": lambda: succeed(decide()), "coroutine": coroutine}[how]()

    def decide() -> Accept:
        return Accept(StreamHandler(partial(greet, "Hello")), "chat", [("X", "y")])

    async def coroutine() -> Any:
        return decide()

    served = Served(buildApplication=build)
    answer = served.feed(REQUEST[:-2] + b"Sec-WebSocket-Protocol: chat\r\n\r\n")
    assert b"\r\nSec-WebSocket-Protocol: chat\r\nX: y\r\n" in answer
    assert answer.endswith(b"\r\n\r\n" + HELLO_SENT)
    assert served.feed(HELLO) == CLOSE_SENT


def test_a_handler_without_an_accept() -> None:
    async def echo(stream: WebSocketStream) -> None:
        async for message in stream:
            await stream.send(message)

    served = Served(buildApplication=lambda request: StreamHandler(echo)).open()
    assert served.feed(HELLO) == HELLO_SENT
    assert served.feed(bytes.fromhex("82810000000061")) == bytes.fromhex("820161")
    assert served.feed(PONG) == b""
    assert served.feed(CLOSE) == CLOSE_SENT
    served.lose()


def test_a_handler_is_for_one_connection() -> None:
    async def wait(stream: WebSocketStream) -> None:
        await stream.receive()

    handler = StreamHandler(wait)
    first = Served(buildApplication=lambda request: handler).open()
    second = Served(factory=first.factory)
    with logged() as events:
        assert second.feed(REQUEST).endswith(FAILED_SENT)
    assert failures(events) == ["a StreamHandler is for one connection: make one for each"]
    second.lose(clean=False)
    assert first.feed(HELLO) == CLOSE_SENT
    first.lose()


def test_a_client_may_have_a_handler_too() -> None:
    async def greet(stream: WebSocketStream) -> None:
        await stream.send("Hello")

    asked = Asked(StreamHandler(greet))
    asked.open()
    assert asked.wire.closeSent == (1000, "")


def test_refusing() -> None:
    def build(request: Any) -> StreamHandler:
        raise Refuse(403)

    assert Served(buildApplication=build).feed(REQUEST).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("how", ["at once", "later"])
@pytest.mark.parametrize("what", ["accepts", "refuses"])
def test_a_coroutine_that_returns_what_its_function_does(how: str, what: str) -> None:
    """As one that finds out first who it is."""

    async def greet(stream: Any) -> None:
        await stream.send("Hello")
        await stream.receive()

    def accept() -> Any:
        result = Refuse(403) if what == "refuses" else Accept(StreamHandler(greet), None, [("X", "y")])
        if how == "later":
            return fail(result) if isinstance(result, Exception) else succeed(result)
        if isinstance(result, Exception):
            raise result
        return result

    async def build(request: Any) -> Any:
        return accept()

    served = Served(buildApplication=build)
    answer = served.feed(REQUEST)
    if what == "refuses":
        assert answer.startswith(b"HTTP/1.1 403 ")
    else:
        assert b"\r\nX: y\r\n" in answer
        assert answer.endswith(HELLO_SENT)
