"""The log of an application that fails: which callback, for whom, and on which path."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.logger import LogEvent, formatEvent
from wire import HELLO, HELLO_SENT, PONG, REQUEST, Application, Asked, Producer, Served, failures, logged, opened

from wsock import Accept, StreamHandler, streamApplication

FAULT = ValueError("not me")
SERVER = "(/chat, peer 192.168.1.1:54321)"


def at_once(*ignored: object) -> Any:
    raise FAULT


def later(*ignored: object) -> Any:
    return fail(FAULT)


async def coroutine(*ignored: object) -> Any:
    raise FAULT


hows = pytest.mark.parametrize("how", [at_once, later, coroutine])


def line(events: list[LogEvent]) -> str:
    """The only line."""
    [event] = [event for event in events if event["log_namespace"].startswith("wsock")]
    assert failures(events) == ["not me"]
    return formatEvent(event)


@hows
@pytest.mark.parametrize(
    ("does", "sent", "callback"),
    [
        ("started", b"", "negotiationStarted"),
        ("finished", b"", "negotiationFinished"),
        ("message", HELLO, "textMessageReceived"),
        ("message", b"\x82" + HELLO[1:], "bytesMessageReceived"),
        ("pong", PONG, "pongReceived"),
        ("lost", b"", "connectionLost"),
    ],
)
def test_callbacks_of_a_server(how: Callable[..., Any], does: str, sent: bytes, callback: str) -> None:
    served = Served(Application(**{does: how}))
    with logged() as events:
        served.feed(REQUEST.replace(b"/chat", b"/chat?token=secret"))
        served.feed(sent)
        served.lose()
    assert line(events) == f"the application failed in {callback} {SERVER}"


@pytest.mark.parametrize("failing", ["negotiationStarted", "negotiationFinished"])
def test_one_of_two_that_were_waited_for(failing: str) -> None:
    pending = {"negotiationStarted": Deferred(), "negotiationFinished": Deferred()}
    application = Application(
        started=lambda one: pending["negotiationStarted"], finished=lambda one: pending["negotiationFinished"]
    )
    served = opened(application)
    with logged() as events:
        pending[failing].errback(FAULT)
    assert line(events) == f"the application failed in {failing} {SERVER}"
    served.lose()


@hows
def test_who_decides(how: Callable[..., Any]) -> None:
    served = Served(buildApplication=how)
    with logged() as events:
        served.feed(REQUEST)
    assert line(events) == f"the application failed in buildApplication {SERVER}"
    served.lose()


def test_who_decides_for_one_that_has_gone() -> None:
    decision: Deferred[object] = Deferred(lambda ignored: None)
    served = Served(buildApplication=lambda request: decision)
    served.feed(REQUEST)
    with logged() as events:
        decision.cancel = lambda: None  # type: ignore[method-assign]
        served.lose()
        decision.errback(FAULT)
    assert line(events) == f"the application failed in buildApplication {SERVER}"


def test_an_application_that_is_none() -> None:
    served = Served(buildApplication=lambda request: Accept(None))  # type: ignore[arg-type]
    with logged() as events:
        served.feed(REQUEST)
    [event] = events
    assert formatEvent(event) == f"the application failed in buildApplication {SERVER}"


def test_a_canceller() -> None:
    served = opened(Application(message=lambda one: Deferred(at_once)), settings={"closeTimeout": 1})
    served.feed(HELLO)
    served.lose(clean=False)
    with logged() as events:
        served.advance(1)
    assert line(events) == f"the application failed in a canceller {SERVER}"


def test_a_producer() -> None:
    served = opened()
    served.wire.attachProducer(Producer(stop=at_once))
    with logged() as events:
        served.lose()
    assert line(events) == f"the application failed in its producer's stopProducing {SERVER}"


@hows
def test_a_handler_of_a_stream(how: Callable[..., Any]) -> None:
    served = Served(buildApplication=streamApplication(how))
    with logged() as events:
        served.feed(REQUEST)
        served.lose()
    assert line(events) == f"the stream handler {how.__name__} failed {SERVER}"


@hows
def test_a_handler_of_a_stream_with_a_secret(how: Callable[..., Any]) -> None:
    handler = StreamHandler(partial(partial(lambda secret, more, stream: how(stream), "secret"), "more"))
    served = Served(buildApplication=lambda request: handler)
    with logged() as events:
        served.feed(REQUEST)
        served.lose()
    assert line(events) == f"the stream handler <lambda> failed {SERVER}"


def test_a_handler_without_a_name() -> None:
    class Handler:
        async def __call__(self, stream: object) -> None:
            raise FAULT

        def __repr__(self) -> str:
            return "<a handler>"

    served = Served(buildApplication=streamApplication(Handler()))
    with logged() as events:
        served.feed(REQUEST)
        served.lose()
    assert line(events) == f"the stream handler <a handler> failed {SERVER}"


@hows
@pytest.mark.parametrize(
    ("does", "callback"),
    [
        ("started", "negotiationStarted"),
        ("finished", "negotiationFinished"),
        ("message", "textMessageReceived"),
        ("lost", "connectionLost"),
    ],
)
def test_callbacks_of_a_client(how: Callable[..., Any], does: str, callback: str) -> None:
    with logged() as events:
        asked = Asked(Application(**{does: how}), url="ws://server.example.com/a%20b?token=secret")
        if does != "started" or how is not at_once:
            asked.wire.dataReceived(asked.answer() + HELLO_SENT)
        asked.lose(clean=False)
        asked.clock.advance(100)
    lines = [formatEvent(event) for event in events if "log_failure" in event]
    assert lines == [f"the application failed in {callback} (/a%20b, peer 192.168.1.1:54321)"]


@hows
def test_who_builds_a_client(how: Callable[..., Any]) -> None:
    with logged() as events:
        Asked(buildApplication=how).lose()
    assert line(events) == f"the application failed in buildApplication {SERVER}"
