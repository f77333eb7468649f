"""Connections that are aborted, lost or stopped in the middle of what they do, by a callback or by their transport."""

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from wire import (
    CLOSE,
    FAULT,
    HELLO,
    PONG,
    REQUEST,
    Application,
    Asked,
    HalfCloseable,
    Producer,
    Served,
    Transport,
    failures,
    logged,
    opened,
)

from wsock import StreamHandler, WebSocketEnded, WebSocketStream


class Sudden(HalfCloseable):
    """A transport that is lost in the middle of a call: of those in ``suddenly``.

    Attributes:
        connection: the connection, to be told; None before it is to be lost.
    """

    suddenly = ("abort", "write")

    def __init__(self) -> None:
        super().__init__()
        self.connection: Any = None

    def _lose(self, call: str) -> None:
        connection = self.connection
        if connection is not None and call in self.suddenly:
            self.connection = None
            connection.connectionLost(Failure(ConnectionDone()))

    def write(self, data: bytes) -> None:
        super().write(data)
        self._lose("write")

    def loseConnection(self) -> None:
        super().loseConnection()
        self._lose("lose")

    def abortConnection(self) -> None:
        super().abortConnection()
        self._lose("abort")


class SuddenlyAborted(Sudden):
    suddenly = ("abort",)


class SuddenlyClosed(Sudden):
    suddenly = ("lose",)


def outcomes(**waits: Deferred[Any]) -> list[tuple[str, Any]]:
    """The results of the Deferreds, in the order in which they fire."""
    seen: list[tuple[str, Any]] = []
    for name, waiting in waits.items():
        waiting.addBoth(lambda result, name: seen.append((name, getattr(result, "value", result))), name)
    return seen


# A producer that aborts its connection when it is told to stop


@pytest.mark.parametrize("transport", [Transport, HalfCloseable, SuddenlyAborted])
@pytest.mark.parametrize(
    "end",
    [
        lambda served: served.wire.loseConnection(),
        lambda served: served.wire.dataReceived(CLOSE),
        lambda served: served.wire.dataReceived(FAULT),
        lambda served: served.wire.dataReceived(HELLO + CLOSE),
    ],
    ids=["our close", "the peer's close", "a fault", "a message and a close"],
)
def test_a_producer_may_abort_when_it_is_stopped(end: Callable[[Served], object], transport: type[Transport]) -> None:
    served = opened(transport=transport())
    if isinstance(served.transport, Sudden):
        served.transport.connection = served.wire
    served.wire.attachProducer(Producer(stop=served.wire.abortConnection))
    with logged() as events:
        end(served)
        assert served.transport.told[-1] == "abort"
        served.lose()
    assert events == []
    assert served.application.told.count("lost") == 1


@pytest.mark.parametrize("transport", [Transport, SuddenlyAborted])
def test_a_producer_of_a_client_may_abort_when_that_is_refused(transport: type[Transport]) -> None:
    asked = Asked(transport=transport())
    if isinstance(asked.transport, Sudden):
        asked.transport.connection = asked.wire
    asked.wire.attachProducer(Producer(stop=asked.wire.abortConnection))
    with logged() as events:
        asked.feed(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        assert asked.transport.told == ["abort"]
        asked.lose()
    assert failures(events) == []
    assert [str(reason) for reason in asked.application.reasons] == ["the server answered 401 Unauthorized"]


def test_bytes_may_come_as_the_producer_of_a_refused_client_is_stopped() -> None:
    asked = Asked()
    asked.wire.attachProducer(Producer(stop=lambda: asked.wire.dataReceived(b"more")))
    with logged() as events:
        asked.feed(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        assert asked.transport.told == ["lose"]
        asked.lose()
    assert failures(events) == []
    assert [str(reason) for reason in asked.application.reasons] == ["the server answered 401 Unauthorized"]


# A transport that is lost in the middle of a write


def test_a_transport_may_be_lost_in_a_refusal() -> None:
    served = Served(transport=Sudden())
    served.transport.connection = served.wire
    assert served.feed(b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 505 ")
    assert served.clock.getDelayedCalls() == []


@pytest.mark.parametrize("timeout", [None, 20])
def test_a_transport_may_be_lost_in_the_ping_of_a_measurement(timeout: float | None) -> None:
    served = opened(transport=Sudden(), settings={"pingTimeout": timeout})
    served.transport.connection = served.wire
    seen = outcomes(latency=served.wire.measureLatency())
    assert [type(error) for _, error in seen] == [served.application.reasons[0].__class__]
    assert served.clock.getDelayedCalls() == []


def test_a_transport_may_be_lost_in_the_middle_of_a_refusal() -> None:
    served = Served(transport=Sudden())
    served.transport.connection = served.wire
    assert served.feed(b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 426 ")
    assert served.transport.told == []
    assert served.clock.getDelayedCalls() == []


def test_a_transport_may_be_lost_as_a_client_that_was_refused_closes_it() -> None:
    asked = Asked(transport=SuddenlyClosed())
    asked.transport.connection = asked.wire
    asked.feed(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    assert asked.transport.told == ["lose"]
    assert asked.application.told == ["started", "lost"]
    assert asked.clock.getDelayedCalls() == []


def test_a_transport_may_be_lost_by_the_one_that_waited_to_write() -> None:
    served = opened(transport=SuddenlyAborted())
    served.transport.connection = served.wire
    served.transport.producer.pauseProducing()
    served.wire.sendBytesMessage(bytes(70000))
    served.wire.whenWritable().addCallback(lambda _: served.wire.abortConnection())
    served.transport.producer.resumeProducing()
    assert served.application.told[-1] == "lost"
    assert served.clock.getDelayedCalls() == []


def test_a_transport_may_be_lost_in_the_middle_of_a_flood() -> None:
    application = Application(pong=lambda application: application.transport.abortConnection())
    served = opened(application, transport=SuddenlyAborted())
    served.transport.connection = served.wire
    served.wire.loseConnection()
    # 8 bytes each: more than 16 MiB that nobody gets.
    served.feed(PONG * (2**21 + 1))
    assert application.told[-2:] == [("pong", b"ab"), "lost"]


# At a loss


def test_at_a_loss_writers_are_told_before_pings() -> None:
    asked = Asked(settings={"highWaterMark": 1})
    asked.wire.sendTextMessage("Hello")
    latency = asked.wire.measureLatency()
    seen = outcomes(latency=latency, writable=asked.wire.whenWritable(), open=asked.wire.whenOpen())
    asked.lose()
    assert [name for name, _ in seen] == ["writable", "latency", "open"]


def test_a_decision_at_a_loss_is_too_late() -> None:
    deciding: Deferred[Any] = Deferred()
    served = Served(buildApplication=lambda request: deciding)
    served.feed(REQUEST)
    application = Application()
    waiting = served.wire.whenOpen()
    waiting.addErrback(lambda failure: deciding.callback(application))
    with logged() as events:
        served.lose()
    assert served.transport.taken() == b""
    assert failures(events) == []
    assert application.told == []


# As a connection opens


@pytest.mark.parametrize(
    "finished", [lambda application: application.transport.loseConnection(), lambda application: 1 / 0]
)
def test_one_that_is_closed_as_it_opens_was_open(finished: Callable[[Any], Any]) -> None:
    asked = Asked(Application(finished=finished))
    seen = outcomes(open=asked.wire.whenOpen())
    asked.open()
    assert seen == [("open", asked.wire)]
    asked.lose()


def test_writers_that_waited_for_the_answer_are_told_before_a_message_is_delivered() -> None:
    application = Application()
    asked = Asked(application, settings={"highWaterMark": 1})
    asked.wire.sendTextMessage("Hello")
    asked.wire.whenWritable().addCallback(lambda _: application.told.append("writable"))
    asked.wire.dataReceived(asked.answer() + b"\x81\x02Hi")
    assert application.told == ["started", "finished", "writable", "Hi"]


def test_build_application_is_cancelled_once() -> None:
    """It may still be cleaning up when the transport is lost."""
    told: list[str] = []
    cleaned: Deferred[None] = Deferred()

    async def build(request: Any) -> Any:
        try:
            await Deferred()
        finally:
            await cleaned
            told.append("cleaned")

    asked = Asked(buildApplication=build)
    asked.factory.stop()
    asked.lose()
    assert told == []
    cleaned.callback(None)
    assert told == ["cleaned"]


def test_the_first_failure_of_an_opening_handshake_stays_the_reason() -> None:
    def speaks(application: Application) -> None:
        asked.wire.dataReceived(b"HTTP/1.1 101 Too Early\r\n\r\n")
        raise ValueError("too late")

    decided: Deferred[Any] = Deferred()
    application = Application(started=speaks)
    asked = Asked(buildApplication=lambda request: decided)
    with logged() as events:
        decided.callback(application)
        asked.lose()
    assert failures(events) == ["too late"]
    assert [str(reason) for reason in application.reasons] == ["the server spoke before it was asked"]


# A factory that is stopped


def test_the_fallback_may_stop_the_factory() -> None:
    class Others:
        def doStart(self) -> None:
            pass

        def doStop(self) -> None:
            pass

        def buildProtocol(self, address: object) -> Any:
            served.factory.stop()
            return object()

    served = Served(fallback=Others())
    assert served.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").startswith(b"HTTP/1.1 503 ")
    served.lose()


# A stream over TLS that has ended


def test_a_handler_that_meets_the_end_of_tls_has_not_failed() -> None:
    going: Deferred[None] = Deferred()

    async def handle(stream: WebSocketStream) -> None:
        await going
        await stream.send("Hello")

    served = opened(StreamHandler(handle))
    # TLS tells its connection this, before the transport is lost.
    served.wire._tlsEnded()
    with logged() as events:
        going.callback(None)
        served.lose()
    assert failures(events) == []
    assert isinstance(served.wire.lossReason(), WebSocketEnded)
