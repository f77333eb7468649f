"""The client's opening handshake, its end, and `connect`, in memory."""

import gc
import weakref
from asyncio import CancelledError as AsyncioCancelled
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IPushProducer, ISSLTransport, IStreamClientEndpoint
from twisted.internet.protocol import ClientFactory
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from wire import (
    CLOSE_SENT,
    FAULT,
    GOING_AWAY_SENT,
    HELLO_SENT,
    PONG_SENT,
    SERVER_CLOSE,
    SERVER_HELLO,
    Application,
    Asked,
    HalfCloseable,
    Producer,
    Transport,
    failures,
    logged,
    quiet,
)
from zope.interface import implementer
from zope.interface.verify import verifyObject

from wsock import (
    Agent,
    ConnectionRejected,
    InvalidResponse,
    InvalidURL,
    LocalProtocolError,
    Settings,
    WebSocketClientFactory,
    WebSocketClosed,
    WebSocketDropped,
    WebSocketServerFactory,
    WebSocketStream,
    __version__,
    connect,
    connectProtocol,
)
from wsock.sansio.url import URL

SERVER_PING = bytes.fromhex("890548656c6c6f")
REFUSAL = b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nno"


def built(how: str, result: Any) -> Any:
    async def coroutine() -> Any:
        return succeed(result) if how == "coroutine of a Deferred" else result

    return result if how == "at once" else succeed(result) if how == "later" else coroutine()


# The request


def test_the_request() -> None:
    asked = Asked(url="ws://server.example.com:8000/chat?a=b", headers=[("Cookie", "a=b")], subprotocols=["x", "y"])
    head = asked.transport.value().decode()
    key = asked.wire.request.headers.get("sec-websocket-key")
    assert len(key) == 24
    assert head == (
        "GET /chat?a=b HTTP/1.1\r\nHost: server.example.com:8000\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: x, y\r\n"
        "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
        f"client_max_window_bits\r\nCookie: a=b\r\nUser-Agent: wsock/{__version__}\r\n\r\n"
    )
    (request,) = asked.requests
    assert request is asked.wire.request
    assert (request.path, request.query, request.subprotocols) == ("/chat", "a=b", ["x", "y"])
    assert request.getPeer() == asked.transport.getPeer()


def test_a_request_for_tls_does_not_leave_without() -> None:
    asked = Asked(url="wss://server.example.com/", headers=[("Authorization", "Bearer secret")])
    assert asked.transport.told == ["abort"]
    assert asked.transport.value() == b""
    assert asked.requests == []
    with logged() as events:
        asked.lose()
    assert failures(events) == []


def test_a_request_for_tls() -> None:
    @implementer(ISSLTransport)
    class TLS(Transport):
        def setTcpNoDelay(self, enabled: bool) -> None:
            pass

    asked = Asked(url="wss://server.example.com/", transport=TLS())
    assert asked.transport.value().startswith(b"GET / HTTP/1.1\r\nHost: server.example.com\r\n")
    asked.lose()


def test_each_connection_has_a_key_of_its_own() -> None:
    asked = Asked()
    other = asked.factory.buildProtocol(None)
    other.makeConnection(Transport())
    keys = [wire.request.headers.get("Sec-WebSocket-Key") for wire in (asked.wire, other)]
    assert keys[0] != keys[1]


def test_a_user_agent_of_ones_own() -> None:
    head = Asked(headers=[("user-agent", "mine")]).transport.value()
    assert head.lower().count(b"user-agent") == 1
    assert b"user-agent: mine\r\n" in head


BAD = [
    ({"url": "http://example.com"}, InvalidURL),
    ({"url": "ws://example.com/#fragment"}, InvalidURL),
    ({"url": "ws://example.com/\r\nX: y"}, InvalidURL),
    ({"url": "ws://example.com/\x00"}, InvalidURL),
    ({"headers": [("X", "a\r\nb")]}, LocalProtocolError),
    ({"headers": [("X", "a\nb")]}, LocalProtocolError),
    ({"headers": [("X", "a\x00")]}, LocalProtocolError),
    ({"headers": [("X\r\n", "a")]}, LocalProtocolError),
    ({"headers": [("Host", "a")]}, LocalProtocolError),
    ({"headers": [("Sec-WebSocket-Key", "a")]}, LocalProtocolError),
    ({"subprotocols": ["a\r\nb"]}, LocalProtocolError),
    ({"subprotocols": ["a", "a"]}, LocalProtocolError),
    ({"subprotocols": "chat"}, LocalProtocolError),
    ({"trustRoot": object()}, LocalProtocolError),
    ({"clientCertificate": object()}, LocalProtocolError),
    ({"url": "wss://example.com", "trustRoot": object()}, LocalProtocolError),
    ({"url": "wss://example.com", "trustRoot": False}, LocalProtocolError),
    ({"url": "wss://example.com", "clientCertificate": object()}, LocalProtocolError),
]


@pytest.mark.parametrize(("arguments", "error"), BAD)
def test_what_can_not_be_asked_for_is_refused_before_anything_is_connected(
    arguments: dict[str, Any], error: type[Exception]
) -> None:
    endpoint = Endpoint()
    arguments = {"url": "ws://example.com", "endpoint": endpoint, **arguments}
    clock = Clock()
    with pytest.raises(error) as caught:
        connect(clock, **arguments)
    assert isinstance(caught.value, ValueError)
    assert endpoint.factories == []
    assert clock.getDelayedCalls() == []


# The order of things


@pytest.mark.parametrize("how", ["at once", "later", "coroutine", "coroutine of a Deferred"])
def test_the_order_of_an_opening(how: str) -> None:
    application = Application()
    asked = Asked(application, buildApplication=lambda request: built(how, application))
    assert application.told == ["started"]
    assert application.transport is asked.wire
    assert asked.transport.value().startswith(b"GET /chat HTTP/1.1\r\n")
    answer = asked.answer("Sec-WebSocket-Extensions: ", "X: y")
    assert asked.feed(answer + SERVER_HELLO) == b""
    assert application.told == ["started", "finished", "Hello"]
    assert asked.wire.response.status == 101
    assert asked.wire.response.headers.get("x") == "y"
    assert list(asked.factory.connections) == [asked.wire]
    assert asked.clock.getDelayedCalls() == []
    asked.lose()
    assert list(asked.factory.connections) == []
    assert isinstance(application.reasons[0], WebSocketDropped)


def test_what_is_sent_before_the_answer_leaves_after_it() -> None:
    def greet(application: Application) -> None:
        application.transport.sendTextMessage("Hello")
        application.transport.ping(b"Hello")

    application = Application(started=greet, finished=lambda one: one.transport.sendBytesMessage(b"x"))
    asked = Asked(application)
    assert asked.transport.value().endswith(b"\r\n\r\n")
    answer = asked.answer()
    asked.transport.clear()
    application.transport.sendTextMessage("Hello")
    assert asked.transport.taken() == b""
    assert asked.feed(answer) == HELLO_SENT + SERVER_PING + HELLO_SENT + b"\x82\x01x"


def test_before_the_answer_the_send_limit_holds() -> None:
    asked = Asked(settings={"sendLimit": 1000, "highWaterMark": 500, "closeTimeout": None})
    answer = asked.answer()
    asked.transport.clear()
    for _ in range(4):
        asked.wire.sendBytesMessage(bytes(400))
        assert asked.wire.closeSent is None
    asked.wire.sendTextMessage("one too many")
    assert asked.wire.counters.sendsDropped == 5
    sent = asked.feed(answer)
    assert sent.startswith(b"\x88")
    assert sent[2:4] == (1013).to_bytes(2, "big")


def test_closed_before_it_is_open_it_closes_when_it_is() -> None:
    def leave(application: Application) -> None:
        application.transport.sendTextMessage("Hello")
        application.transport.loseConnection()

    asked = Asked(Application(started=leave))
    answer = asked.answer()
    asked.transport.clear()
    assert asked.feed(answer) == HELLO_SENT + CLOSE_SENT
    assert asked.application.told == ["started", "finished"]
    assert asked.feed(SERVER_CLOSE) == b""
    asked.lose()
    assert isinstance(asked.application.reasons[0], WebSocketClosed)


def test_closed_before_it_is_open_it_has_a_time_to_close_when_it_is() -> None:
    asked = Asked(Application(started=lambda one: one.transport.loseConnection()), settings={"closeTimeout": 3}).open()
    asked.advance(2.9)
    assert asked.transport.told == []
    asked.advance(0.1)
    assert asked.transport.told == ["abort"]


def test_closed_before_it_is_open_the_opening_timer_still_runs() -> None:
    asked = Asked(Application(started=lambda one: one.transport.loseConnection()), settings={"openTimeout": 3})
    asked.advance(2.9)
    assert asked.transport.told == []
    asked.advance(0.1)
    assert asked.transport.told == ["abort"]
    asked.lose()


def test_closed_when_the_connection_opens() -> None:
    asked = Asked(Application(finished=lambda one: one.transport.loseConnection()))
    answer = asked.answer()
    asked.transport.clear()
    assert asked.feed(answer) == CLOSE_SENT
    assert asked.feed(SERVER_CLOSE) == b""
    asked.lose()
    assert isinstance(asked.application.reasons[0], WebSocketClosed)


def test_paused_before_it_is_open_it_still_reads_the_answer() -> None:
    asked = Asked(Application(started=lambda one: one.transport.pauseProducing()))
    assert asked.transport.told == []
    asked.feed(asked.answer() + SERVER_HELLO)
    assert asked.application.told == ["started", "finished"]
    assert asked.transport.told == ["pause"]
    asked.wire.resumeProducing()
    asked.advance(0)
    assert asked.application.messages == ["Hello"]


def test_a_message_waits_for_what_negotiation_started_gave() -> None:
    started: Deferred[None] = Deferred()
    finished: Deferred[None] = Deferred()
    asked = Asked(Application(started=lambda one: started, finished=lambda one: finished))
    asked.feed(asked.answer() + SERVER_HELLO)
    assert asked.application.told == ["started", "finished"]
    finished.callback(None)
    assert asked.application.messages == []
    started.callback(None)
    assert asked.application.messages == ["Hello"]


@pytest.mark.parametrize("size", [1, 7])
def test_an_answer_in_pieces(size: int) -> None:
    asked = Asked()
    data = b"HTTP/1.1 100 Continue\r\n\r\n" + asked.answer() + SERVER_HELLO + SERVER_PING
    sent = b""
    asked.transport.clear()
    for start in range(0, len(data), size):
        sent += asked.feed(data[start : start + size])
    assert asked.application.told == ["started", "finished", "Hello"]
    assert sent == PONG_SENT


def test_the_subprotocol() -> None:
    asked = Asked(subprotocols=["chat", "other"]).open("Sec-WebSocket-Protocol: other")
    assert asked.wire.subprotocol == "other"
    assert asked.wire.extension is None


# Wrong answers


class Expected(Exception):
    pass


AGREED = "permessage-deflate; server_no_context_takeover"
WRONG: list[tuple[str, Callable[[Asked], bytes]]] = [
    ("Sec-WebSocket-Accept", lambda asked: asked.answer().replace(b"Accept: ", b"Accept: x")),
    ("Upgrade", lambda asked: asked.answer().replace(b"Upgrade: websocket\r\n", b"")),
    ("Connection", lambda asked: asked.answer().replace(b"Connection: Upgrade\r\n", b"")),
    ("Extensions", lambda asked: asked.answer("Sec-WebSocket-Extensions: permessage-other")),
    ("answer the offer", lambda asked: asked.answer("Sec-WebSocket-Extensions: permessage-deflate")),
    (
        "server_max_window_bits",
        lambda asked: asked.answer("Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99"),
    ),
    ("repeat", lambda asked: asked.answer("Sec-WebSocket-Extensions: " + ", ".join([AGREED] * 2))),
    ("Protocol", lambda asked: asked.answer("Sec-WebSocket-Protocol: chat")),
    ("status line", lambda asked: b"SSH-2.0-OpenSSH_9.2\r\n"),
    ("control character", lambda asked: asked.answer("X: \x00")),
    (
        "a line of more than 16384 bytes, in an answer with status 101",
        lambda asked: asked.answer("X: " + 17000 * "y"),
    ),
]


@pytest.mark.parametrize(("word", "answer"), WRONG)
def test_a_bad_answer(word: str, answer: Callable[[Asked], bytes]) -> None:
    asked = Asked()
    asked.wire.sendTextMessage("Hello")
    data = answer(asked)
    asked.transport.clear()
    assert asked.feed(data + SERVER_HELLO) == b""
    assert asked.transport.told == ["abort"]
    assert asked.clock.getDelayedCalls() == []
    asked.lose()
    assert asked.application.told == ["started", "lost"]
    (reason,) = asked.application.reasons
    assert isinstance(reason, InvalidResponse)
    assert word in str(reason)


@pytest.mark.parametrize("size", [1, 977, 10**6])
@pytest.mark.parametrize("length", [9000, 16000])
def test_a_refusal_with_a_long_field(length: int, size: int) -> None:
    """Content-Security-Policy often has several kilobytes."""
    policy = b"default-src 'none';".ljust(length, b"x")
    fields = b"Content-Security-Policy: " + policy + b"\r\nX-A: a\r\n b\r\n"
    data = b"HTTP/1.1 403 Forbidden\r\n" + fields + b"Content-Length: 2\r\n\r\nno"
    asked = Asked()
    for start in range(0, len(data), size):
        asked.feed(data[start : start + size])
    asked.lose()
    (reason,) = asked.application.reasons
    assert isinstance(reason, ConnectionRejected)
    assert (reason.response.status, reason.response.body) == (403, b"no")
    assert reason.response.headers.get("Content-Security-Policy") == policy.decode()
    assert reason.response.headers.get("X-A") == "a b"


def test_the_limits_of_an_answer() -> None:
    answer = b"HTTP/1.1 403 Forbidden\r\n" + b"X-A: b\r\n" * 10 + b"X-B: " + b"c" * 95 + b"\r\n\r\n"
    for settings, words in [
        ({"maxHeaderLine": 101}, "a line of more than 101 bytes, in an answer with status 403"),
        ({"maxHeaderSize": 207}, "a head of more than 207 bytes, in an answer with status 403"),
        ({"maxHeaders": 10}, "more than 10 header fields, in an answer with status 403"),
        ({"maxHeaderLine": 102, "maxHeaderSize": 208, "maxHeaders": 11}, "the server answered 403 Forbidden"),
        ({"maxHeaderLine": None, "maxHeaderSize": None, "maxHeaders": None}, "the server answered 403 Forbidden"),
    ]:
        asked = Asked(settings=settings)
        asked.feed(answer)
        asked.lose()
        (reason,) = asked.application.reasons
        assert str(reason) == words


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (REFUSAL, b"no"),
        (REFUSAL[:-1], b"n"),
        (REFUSAL.replace(b"Content-Length: 2", b"X: y"), b"no"),
        (REFUSAL.replace(b"Content-Length: 2", b"Transfer-Encoding: chunked")[:-2] + b"2\r\nno\r\n0\r\n\r\n", b"no"),
        (REFUSAL[:-2].replace(b"Length: 2", b"Length: 100000") + 100000 * b"x", 65536 * b"x"),
    ],
)
@pytest.mark.parametrize("size", [1, 1000000])
def test_a_refusal(data: bytes, body: bytes, size: int) -> None:
    asked = Asked()
    asked.transport.clear()
    for start in range(0, len(data), size if len(data) < 1000 else 1000):
        asked.feed(data[start : start + size] if len(data) < 1000 else data[start : start + 1000])
    if len(data) == len(REFUSAL) or b"chunked" in data or len(data) > 1000:
        assert asked.transport.told == (["lose"] if b"X: y" not in data else [])
    asked.lose()
    (reason,) = asked.application.reasons
    assert isinstance(reason, ConnectionRejected)
    response: Any = reason.response
    assert (response.status, response.reason, response.body) == (401, "Unauthorized", body)
    assert response.headers.get("www-authenticate") == "Basic"
    assert "401" in str(reason)
    assert asked.application.told == ["started", "lost"]


def test_a_refusal_whose_body_does_not_end() -> None:
    asked = Asked(settings={"openTimeout": 5})
    asked.feed(REFUSAL[:-1])
    asked.advance(5)
    assert asked.transport.told == ["abort"]
    asked.lose()
    assert asked.application.reasons[0].response.body == b"n"


def test_a_refusal_whose_connection_does_not_end() -> None:
    asked = Asked(settings={"closeTimeout": 5})
    asked.feed(REFUSAL)
    assert asked.transport.told == ["lose"]
    asked.feed(b"more")
    asked.advance(5)
    assert asked.transport.told == ["lose", "abort"]
    asked.lose()
    assert isinstance(asked.application.reasons[0], ConnectionRejected)


def test_silence() -> None:
    asked = Asked(settings={"openTimeout": 7})
    asked.advance(6.9)
    assert asked.transport.told == []
    asked.advance(0.1)
    assert asked.transport.told == ["abort"]
    asked.lose()
    assert isinstance(asked.application.reasons[0], WebSocketDropped)
    assert "too long" in str(asked.application.reasons[0])


def test_the_end_of_the_stream_before_the_answer() -> None:
    asked = Asked()
    asked.feed(asked.answer()[:-1])
    asked.lose()
    (reason,) = asked.application.reasons
    assert isinstance(reason, WebSocketDropped)
    assert reason.code == 1006
    assert asked.application.told == ["started", "lost"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Expected([("SSL routines", "", "certificate verify failed")]), "certificate verify failed"),
        (Expected("another name"), "another name"),
        (ConnectionLost(), "before the server answered"),
    ],
)
def test_the_reason_of_a_loss_is_told(error: Exception, words: str) -> None:
    asked = Asked()
    asked.lose(error)
    (reason,) = asked.application.reasons
    assert isinstance(reason, WebSocketDropped)
    assert words in str(reason)
    assert reason.__cause__ is error


def test_a_server_that_speaks_first() -> None:
    asked = Asked(buildApplication=lambda request: Deferred())
    asked.feed(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    assert asked.transport.told == ["abort"]
    asked.lose()
    assert asked.application.told == []


@pytest.mark.parametrize("how", ["at once", "later", "coroutine", "coroutine of a Deferred"])
@pytest.mark.parametrize("what", ["raises", "no application"])
def test_build_application_fails(how: str, what: str) -> None:
    async def coroutine() -> Any:
        raise Expected

    def build(request: Any) -> Any:
        if what == "no application":
            return built(how, None)
        if how == "at once":
            raise Expected
        return fail(Expected()) if how == "later" else coroutine()

    with logged() as events:
        attempt = Attempt(buildApplication=build)
        assert attempt.transport.told == ["abort"]
        assert attempt.transport.taken() == b""
        attempt.lose()
    assert [type(attempt.error)] == [Expected if what == "raises" else TypeError]
    assert failures(events) == []


def test_lost_while_build_application_decides() -> None:
    cancelled: list[object] = []
    attempt = Attempt(buildApplication=lambda request: Deferred(cancelled.append))
    attempt.lose()
    assert len(cancelled) == 1
    assert isinstance(attempt.error, WebSocketDropped)


@pytest.mark.parametrize("late", [Application, Expected])
def test_build_application_decides_too_late(late: Any) -> None:
    """Its canceller gives a result: nothing comes of it but a line in the log where that is an exception."""
    application = Application()

    def give(decision: Deferred[Any]) -> None:
        if late is Expected:
            decision.errback(Expected("late"))
        else:
            decision.callback(application)

    asked = Asked(buildApplication=lambda request: Deferred(give))
    with logged() as events:
        asked.advance(10)
        asked.lose()
    assert asked.transport.told == ["abort"]
    assert asked.transport.taken() == b""
    assert failures(events) == (["late"] if late is Expected else [])
    assert application.told == []


@pytest.mark.parametrize("how", ["at once", "later", "coroutine", "coroutine of a Deferred"])
def test_an_exception_in_negotiation_started(how: str) -> None:
    def raising(application: Application) -> Any:
        async def coroutine() -> None:
            raise Expected("started")

        if how == "at once":
            raise Expected("started")
        return fail(Expected("started")) if how == "later" else coroutine()

    with logged() as events:
        asked = Asked(Application(started=raising))
        assert asked.transport.taken() == b""
        assert asked.transport.told == ["abort"]
        asked.lose()
    assert failures(events) == ["started"]
    assert asked.application.told == ["started", "lost"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_negotiation_started_fails_later(when: str) -> None:
    started: Deferred[None] = Deferred()
    asked = Asked(Application(started=lambda one: started))
    answer = asked.answer()
    asked.transport.clear()
    with logged() as events:
        if when == "before":
            started.errback(Expected("started"))
            assert asked.transport.told == ["abort"]
        else:
            asked.feed(answer)
            started.errback(Expected("started"))
            assert asked.sent()[2:4] == (1011).to_bytes(2, "big")
        asked.lose()
    assert failures(events) == ["started"]


def test_an_exception_in_negotiation_finished() -> None:
    def raising(application: Application) -> None:
        raise Expected("finished")

    with logged() as events:
        attempt = Attempt(application=Application(finished=raising))
        attempt.open()
        assert attempt.sent()[2:4] == (1011).to_bytes(2, "big")
    assert failures(events) == ["finished"]
    assert isinstance(attempt.error, WebSocketDropped)
    assert isinstance(attempt.error.__cause__, Expected)
    attempt.feed(SERVER_CLOSE)
    attempt.lose()
    assert [type(reason) for reason in attempt.application.reasons] == [WebSocketClosed]


@pytest.mark.parametrize("how", ["at once", "later"])
def test_an_exception_after_it_has_opened(how: str) -> None:
    """It can only be logged: who waited for the connection has it."""
    working: Deferred[None] = Deferred()
    attempt = Attempt(application=Application(finished=lambda application: working if how == "later" else None))
    attempt.open()
    assert attempt.results == [attempt.application]
    with logged() as events:
        if how == "later":
            working.errback(Expected("later"))
        else:
            attempt.application.does["message"] = lambda application: fail(Expected("later"))
            attempt.feed(SERVER_HELLO)
    assert failures(events) == ["later"]
    assert attempt.results == [attempt.application]


def test_an_abort_in_negotiation_finished() -> None:
    attempt = Attempt(application=Application(finished=lambda application: application.transport.abortConnection()))
    attempt.open()
    assert isinstance(attempt.error, WebSocketDropped)
    attempt.lose()
    assert attempt.application.told == ["started", "finished", "lost"]


def test_a_close_in_negotiation_finished() -> None:
    attempt = Attempt(application=Application(finished=lambda application: application.transport.loseConnection()))
    attempt.open()
    assert attempt.results == [attempt.application]


def test_a_callback_is_told_once_of_an_abort_before_the_answer() -> None:
    asked = Asked()
    asked.wire.abortConnection()
    asked.wire.abortConnection()
    assert asked.transport.told == ["abort"]
    asked.lose()
    assert asked.application.told == ["started", "lost"]
    assert isinstance(asked.application.reasons[0], WebSocketDropped)


def test_aborted_in_negotiation_started_no_request_leaves() -> None:
    asked = Asked(Application(started=lambda one: one.transport.abortConnection()))
    assert asked.transport.taken() == b""
    asked.lose()
    assert asked.application.told == ["started", "lost"]


# The end


def test_the_server_drops_the_connection_first() -> None:
    asked = Asked(settings={"closeTimeout": 4}).open()
    asked.wire.loseConnection()
    assert asked.sent() == CLOSE_SENT
    asked.feed(SERVER_CLOSE)
    assert asked.transport.told == []
    asked.lose()
    (reason,) = asked.application.reasons
    assert isinstance(reason, WebSocketClosed)
    assert isinstance(reason, ConnectionDone)


@pytest.mark.parametrize("answered", [True, False])
def test_a_server_that_does_not_drop_it_is_left(answered: bool) -> None:
    asked = Asked(settings={"closeTimeout": 4}).open()
    asked.wire.loseConnection(3000, "Bye")
    if answered:
        asked.feed(bytes.fromhex("88020bb8"))
    asked.advance(3.9)
    assert asked.transport.told == []
    asked.advance(0.1)
    assert asked.transport.told == ["abort"]
    asked.lose()
    (reason,) = asked.application.reasons
    assert isinstance(reason, WebSocketClosed if answered else WebSocketDropped)
    assert reason.closeSent == (3000, "Bye")


def test_the_server_closes() -> None:
    asked = Asked().open()
    assert asked.feed(SERVER_CLOSE) == CLOSE_SENT
    assert asked.transport.told == []
    asked.advance(10)
    assert asked.transport.told == ["abort"]
    asked.lose()
    assert isinstance(asked.application.reasons[0], WebSocketClosed)


@pytest.mark.parametrize("data", [FAULT, b"\x81\x85" + bytes(9)])
def test_a_server_at_fault(data: bytes) -> None:
    asked = Asked(transport=HalfCloseable()).open()
    assert asked.feed(data)[2:4] == (1002).to_bytes(2, "big")
    assert asked.transport.told == ["lose write"]
    asked.lose()
    (reason,) = asked.application.reasons
    assert isinstance(reason, WebSocketDropped)
    assert reason.code == 1002


def test_stopping() -> None:
    asked = Asked().open()
    waiting = asked.factory.buildProtocol(None)
    transport = Transport()
    waiting.makeConnection(transport)
    stopped: list[None] = []
    asked.factory.stop(1001, "bye").addCallback(stopped.append)
    assert asked.sent() == b"\x88\x05\x03\xe9bye"
    assert transport.told == ["abort"]
    waiting.connectionLost(Failure(ConnectionDone()))
    late = asked.factory.buildProtocol(None)
    late_transport = Transport()
    late.makeConnection(late_transport)
    assert late_transport.told == ["lose"]
    assert late_transport.value() == b""
    late.connectionLost(Failure(ConnectionDone()))
    assert stopped == []
    asked.feed(bytes.fromhex("880203e9"))
    asked.lose()
    assert stopped == [None]


def test_interfaces() -> None:
    factory = WebSocketClientFactory("ws://example.com", lambda request: None, reactor=Clock())
    verifyObject(IProtocolFactory, factory)
    assert isinstance(factory, ClientFactory)
    wire = factory.buildProtocol(None)
    verifyObject(IProtocol, wire)
    verifyObject(IPushProducer, wire)


def test_a_bare_factory_logs_a_failure_once() -> None:
    with logged() as events:
        asked = Asked()
        asked.feed(REFUSAL)
        asked.lose()
    lines = [event for event in events if "not opened" in (event["log_format"] or "")]
    assert len(lines) == 1
    assert "401" in lines[0]["error"]


# connect and connectProtocol


@pytest.mark.parametrize("url", ["ws://example.com/", "wss://example.com/"])
def test_an_endpoint_that_gives_the_protocol_a_method_of_its_own(url: str) -> None:
    """As txtorcon's does (26.6)."""
    endpoint = Endpoint()
    connecting = connect(Clock(), url, endpoint=endpoint)
    connecting.addErrback(lambda failure: failure.trap(CancelledError))
    protocol = endpoint.factories[0].buildProtocol(None)
    protocol.makeConnection(Transport())
    protocol.setPeer = lambda peer: None
    connecting.cancel()


@implementer(IStreamClientEndpoint)
class Endpoint:
    """Keeps the factory, and connects when it is told to."""

    def __init__(self) -> None:
        self.factories: list[Any] = []
        self.cancelled = 0
        self.deferred: Deferred[Any] = Deferred(self.cancel)

    def cancel(self, deferred: Deferred[Any]) -> None:
        self.cancelled += 1

    def connect(self, factory: Any) -> Deferred[Any]:
        self.factories.append(factory)
        return self.deferred


class Attempt(Asked):
    """A call of `connectProtocol`."""

    def __init__(
        self,
        application: Any = None,
        connected: bool = True,
        settings: dict[str, Any] | None = None,
        transport: Transport | None = None,
        **arguments: Any,
    ) -> None:
        self.application = Application() if application is None else application
        self.clock = Clock()
        self.requests = []
        self.endpoint = Endpoint()
        self.results: list[Any] = []
        build = arguments.pop("buildApplication", self.build)
        self.deferred = connectProtocol(
            self.clock, "ws://example.com/", build, endpoint=self.endpoint, settings=quiet(settings)
        )
        self.deferred.addBoth(self.results.append)
        self.transport = Transport() if transport is None else transport
        if connected:
            self.connect()

    def connect(self) -> None:
        (handed,) = self.endpoint.factories
        self.wire = handed.buildProtocol(None)
        self.factory = self.wire.factory
        self.wire.makeConnection(self.transport)
        self.endpoint.deferred.callback(self.wire)

    @property
    def error(self) -> Any:
        (failure,) = self.results
        assert isinstance(failure, Failure)
        return failure.value


class Counting:
    """An endpoint of which only the requests of its connections are of interest."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []

    def connect(self, factory: Any) -> Deferred[Any]:
        transport = Transport()
        wire = factory.buildProtocol(None)
        wire.makeConnection(transport)
        self.heads.append(transport.value())
        wire.connectionLost(Failure(ConnectionDone()))
        return succeed(wire)


def test_an_agent_connects_more_than_once() -> None:
    settings = quiet({"openTimeout": 3})
    clock = Clock()
    agent = Agent(clock, settings=settings, headers=iter([("X", "all")]), subprotocols=iter(["chat"]))  # type: ignore[arg-type]
    endpoint = Counting()
    streams = [
        agent.connect("ws://example.com/a", endpoint=endpoint),
        agent.connect("ws://example.org/b", endpoint=endpoint, headers=[("Y", "one")], subprotocols=()),
        agent.connectProtocol("ws://example.com/c", lambda request: Application(), endpoint=endpoint),
        agent.connectProtocol(
            "ws://example.org/d", lambda request: Application(), endpoint=endpoint, headers=(), subprotocols=["sum"]
        ),
    ]
    for stream in streams:
        stream.addErrback(lambda failure: failure.trap(WebSocketDropped))
    told = [(b"\r\nX: all\r\n", b"\r\nSec-WebSocket-Protocol: chat\r\n"), (b"\r\nY: one\r\n", b""), (b"", b"")]
    told = [told[0], told[1], told[0], (b"", b"\r\nSec-WebSocket-Protocol: sum\r\n")]
    for place, (head, (header, subprotocol)) in enumerate(zip(endpoint.heads, told, strict=True)):
        assert head.startswith(b"GET /%c HTTP/1.1\r\n" % b"abcd"[place])
        assert header in head
        assert subprotocol in head
        assert head.count(b"\r\nX: ") == (header == told[0][0])
        assert head.count(b"Sec-WebSocket-Protocol") == bool(subprotocol)
    assert clock.getDelayedCalls() == []


def test_an_agent_has_its_settings() -> None:
    clock = Clock()
    connecting = Agent(clock, settings=Settings(openTimeout=3)).connect("ws://example.com/", endpoint=Endpoint())
    failed: list[Any] = []
    connecting.addErrback(failed.append)
    clock.advance(2.9)
    assert failed == []
    clock.advance(0.1)
    assert failed[0].check(WebSocketDropped)


def test_connected() -> None:
    attempt = Attempt()
    seen: list[list[str]] = []
    attempt.deferred.addCallback(lambda _: seen.append(list(attempt.application.told)))
    assert attempt.results == []
    attempt.feed(attempt.answer() + SERVER_HELLO)
    assert attempt.results == [attempt.application]
    assert seen == [["started", "finished"]]
    assert attempt.application.messages == ["Hello"]
    attempt.lose()


def test_what_is_sent_when_it_fires_leaves_with_the_rest() -> None:
    attempt = Attempt()
    attempt.deferred.addCallback(lambda _: attempt.wire.sendTextMessage("Hello"))
    answer = attempt.answer()
    attempt.transport.clear()
    assert attempt.feed(answer) == HELLO_SENT


def test_one_time_for_all_of_it() -> None:
    """Also what comes before the connection counts, and only one timer runs."""
    attempt = Attempt(connected=False, settings={"openTimeout": 10})
    attempt.clock.advance(6)
    attempt.connect()
    assert len(attempt.clock.getDelayedCalls()) == 1
    attempt.clock.advance(3.9)
    assert attempt.results == []
    attempt.clock.advance(0.1)
    assert isinstance(attempt.error, WebSocketDropped)
    assert attempt.transport.told == ["abort"]
    attempt.lose()
    assert len(attempt.results) == 1


def test_no_time() -> None:
    attempt = Attempt(settings={"openTimeout": None})
    assert attempt.clock.getDelayedCalls() == []
    attempt.clock.advance(1000)
    attempt.open()
    assert attempt.results == [attempt.application]


def test_an_endpoint_that_never_connects() -> None:
    attempt = Attempt(connected=False)
    attempt.clock.advance(10)
    assert isinstance(attempt.error, WebSocketDropped)
    assert attempt.endpoint.cancelled == 1
    assert attempt.clock.getDelayedCalls() == []


@pytest.mark.parametrize("how", ["raises", "fails"])
def test_an_endpoint_that_does_not_connect(how: str) -> None:
    attempt = Attempt(connected=False)
    if how == "fails":
        attempt.endpoint.deferred.errback(ConnectionRefusedError())
    else:
        clock = Clock()

        @implementer(IStreamClientEndpoint)
        class Raising:
            def connect(self, factory: Any) -> Any:
                raise ConnectionRefusedError

        attempt.results.clear()
        attempt.deferred = connectProtocol(clock, "ws://example.com/", attempt.build, endpoint=Raising())
        attempt.deferred.addErrback(attempt.results.append)
        assert clock.getDelayedCalls() == []
    assert isinstance(attempt.error, ConnectionRefusedError)


FATES: dict[str, Callable[[Attempt], None]] = {
    "refused": lambda attempt: void(attempt.feed(REFUSAL)),
    "bad reply": lambda attempt: void(attempt.feed(b"nonsense\r\n")),
    "EOF": lambda attempt: attempt.lose(),
    "silence": lambda attempt: attempt.clock.advance(10),
    "stopped": lambda attempt: void(attempt.factory.stop()),
    "aborted": lambda attempt: attempt.wire.abortConnection(),
}


def void(result: object) -> None:
    pass


@pytest.mark.parametrize("fate", FATES)
def test_it_fails_once(fate: str) -> None:
    attempt = Attempt()
    FATES[fate](attempt)
    if fate != "EOF":
        attempt.lose()
    expected = {"refused": ConnectionRejected, "bad reply": InvalidResponse}.get(fate, WebSocketDropped)
    assert isinstance(attempt.error, expected)
    assert attempt.application.told == ["started", "lost"]
    assert [type(reason) for reason in attempt.application.reasons] == [expected]
    attempt.deferred.cancel()
    assert len(attempt.results) == 1


@pytest.mark.parametrize("when", ["connecting", "deciding", "waiting"])
def test_cancelled(when: str) -> None:
    decided: list[object] = []
    build = (lambda request: Deferred(decided.append)) if when == "deciding" else None
    attempt = Attempt(connected=when != "connecting", **({"buildApplication": build} if build else {}))
    attempt.deferred.cancel()
    assert isinstance(attempt.error, CancelledError)
    assert attempt.clock.getDelayedCalls() == []
    if when == "connecting":
        assert attempt.endpoint.cancelled == 1
        return
    assert attempt.transport.told == ["abort"]
    attempt.lose()
    assert len(attempt.results) == 1
    assert len(decided) == (when == "deciding")
    assert attempt.application.told == (["started", "lost"] if when == "waiting" else [])


def test_cancelled_once_it_is_open_nothing_happens() -> None:
    attempt = Attempt()
    attempt.open()
    attempt.deferred.cancel()
    assert attempt.transport.told == []


def test_connect_gives_a_stream() -> None:
    clock, endpoint = Clock(), Endpoint()
    results: list[Any] = []
    connect(clock, "ws://example.com", endpoint=endpoint, subprotocols=["chat"]).addCallback(results.append)
    attempt = Attempt.__new__(Attempt)
    attempt.factory = endpoint.factories[0]
    attempt.clock, attempt.transport = clock, Transport()
    attempt.wire = attempt.factory.buildProtocol(None)
    attempt.wire.makeConnection(attempt.transport)
    attempt.open("Sec-WebSocket-Protocol: chat")
    (stream,) = results
    assert isinstance(stream, WebSocketStream)
    assert stream.subprotocol == "chat"
    assert stream.transport is attempt.wire


@implementer(ISSLTransport)
class Secure(Transport):
    """As one of TLS it waits for its producer when it is told to close, and tells nobody."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        assert enabled


def test_who_closes_the_transport_closes_the_websocket() -> None:
    """As a ClientService does when it stops."""
    asked = Asked(transport=Secure()).open()
    asked.advance(5)
    asked.transport.loseConnection()
    assert asked.advance(1) == GOING_AWAY_SENT
    asked.feed(bytes.fromhex("880203e9"))
    asked.lose()
    assert isinstance(asked.application.reasons[0], WebSocketClosed)


def test_an_endpoint_that_comes_too_late_over_tls() -> None:
    pytest.importorskip("OpenSSL")
    endpoint = Endpoint()
    result = connectProtocol(Clock(), "wss://example.com/", lambda request: Application(), endpoint=endpoint)
    result.addErrback(lambda failure: failure.trap(CancelledError))
    result.cancel()
    (factory,) = endpoint.factories
    transport = Transport()
    factory.buildProtocol(None).makeConnection(transport)
    assert transport.told[-1] == "abort"
    assert transport.value() == b""


@pytest.mark.parametrize("state", ["undecided", "asked", "answered in part", "refused in part"])
def test_who_closes_the_transport_ends_the_opening_handshake(state: str) -> None:
    """An attempt that waits for TLS or the server does not wait any longer."""
    settings = {"openTimeout": None, "closeTimeout": None}
    cancelled: list[object] = []
    building: Deferred[Any] = Deferred(cancelled.append)
    application = Application()
    attempt = Attempt(
        transport=Secure(),
        settings=settings,
        buildApplication=lambda request: building if state == "undecided" else application,
    )
    if state == "answered in part":
        attempt.feed(b"HTTP/1.1 101 Switching")
    elif state == "refused in part":
        attempt.feed(REFUSAL[:-1])
    attempt.advance(5)
    attempt.transport.loseConnection()
    attempt.advance(1)
    assert attempt.transport.told[-1] == "abort"
    if state == "refused in part":
        assert isinstance(attempt.error, ConnectionRejected)
        assert attempt.error.response.body == b"n"
    else:
        assert type(attempt.error) is WebSocketDropped
    attempt.lose()
    assert bool(cancelled) == (state == "undecided")
    assert application.told == ([] if state == "undecided" else ["started", "lost"])


@pytest.mark.parametrize("closeTimeout", [None, 10, 0.5])
def test_the_farewell_of_a_server_that_refused_is_not_waited_for(closeTimeout: float | None) -> None:
    asked = Asked(transport=Secure(), settings={"closeTimeout": closeTimeout})
    asked.feed(REFUSAL)
    assert asked.transport.told == ["lose"]
    asked.advance(1)
    assert asked.transport.told == ["lose", "abort"]
    asked.lose()


def test_a_tls_transport_is_looked_at_while_it_is_open() -> None:
    asked = Asked(transport=Secure()).open()
    asked.wire.loseConnection()
    asked.feed(SERVER_CLOSE)
    asked.advance(1)
    asked.lose()
    asked = Asked(transport=Secure()).open()
    gone = weakref.ref(asked.wire)
    asked.lose()
    del asked
    gc.collect()
    assert gone() is None


# Faults that a review found


def test_a_guard_leaves_the_watch_that_it_joined() -> None:
    """A client whose Close was sent would otherwise take another's keepalive with it."""
    clock = Clock()
    first = Asked(transport=Secure(), clock=clock).open()
    first.wire.loseConnection()
    clock.advance(1)
    gc.collect()
    second = Asked(settings={"pingInterval": 20, "pingTimeout": 10}, clock=clock).open()
    first.feed(SERVER_CLOSE)
    first.lose(clean=False)
    second.advance(20)
    second.advance(10)
    assert second.transport.told == ["abort"]


@pytest.mark.parametrize("how", ["cancelled", "timed out"])
def test_an_endpoint_that_can_not_be_stopped_comes_too_late(how: str) -> None:
    attempt = Attempt(connected=False)
    if how == "cancelled":
        attempt.deferred.cancel()
    else:
        attempt.clock.advance(10)
    attempt.endpoint.deferred = Deferred()
    attempt.connect()
    assert attempt.transport.told == ["abort"]
    assert attempt.transport.value() == b""
    assert attempt.requests == []
    attempt.lose()
    assert len(attempt.results) == 1


def test_an_endpoint_that_fails_to_cancel() -> None:
    def fail(deferred: Deferred[Any]) -> None:
        raise Expected("cancel")

    attempt = Attempt(connected=False)
    attempt.endpoint.deferred._canceller = fail
    with logged() as events:
        attempt.clock.advance(10)
    assert isinstance(attempt.error, WebSocketDropped)
    assert failures(events) == ["cancel"]


def test_an_endpoint_that_raises() -> None:
    class Broken:
        def connect(self, factory: Any) -> Any:
            raise ZeroDivisionError

    clock = Clock()
    seen: list[Any] = []
    connect(clock, "ws://example.com", endpoint=Broken()).addBoth(seen.append)
    assert isinstance(seen[0].value, ZeroDivisionError)
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("how", ["at once", "later"])
def test_build_application_is_cancelled_by_asyncio(how: str) -> None:
    def build(request: Any) -> Any:
        if how == "later":
            return fail(AsyncioCancelled())
        raise AsyncioCancelled

    attempt = Attempt(buildApplication=build)
    assert isinstance(attempt.error, AsyncioCancelled)
    attempt.lose()


def test_a_callback_that_asyncio_cancels_is_a_failure() -> None:
    def cancelled(application: Application) -> None:
        raise AsyncioCancelled("callback")

    asked = Asked(Application(message=cancelled)).open()
    with logged() as events:
        assert asked.feed(SERVER_HELLO)[2:4] == (1011).to_bytes(2, "big")
    assert failures(events) == ["callback"]


@pytest.mark.parametrize("ends", ["EOF", "abort"])
def test_what_negotiation_started_waits_for_has_a_time_to_end(ends: str) -> None:
    cancelled: list[object] = []
    asked = Asked(Application(started=lambda one: Deferred(cancelled.append)))
    with logged() as events:
        if ends == "EOF":
            asked.lose(clean=False)
            assert asked.application.told == ["started"]
            asked.advance(10)
        else:
            asked.advance(10)
            asked.lose()
    assert len(cancelled) == 1
    assert asked.application.told == ["started", "lost"]
    assert failures(events) == []


@pytest.mark.parametrize("fate", ["silence", "EOF", "EOF while it is decided", "KeyError"])
def test_a_bare_factory_logs_a_failure_once_whatever_it_is(fate: str) -> None:
    def build(request: Any) -> Any:
        if fate == "KeyError":
            raise KeyError("x")
        return Deferred() if "decided" in fate else Application()

    with logged() as events:
        asked = Asked(buildApplication=build)
        if fate == "silence":
            asked.advance(10)
        asked.lose()
    about = [event for event in events if event["log_namespace"].startswith("wsock.client")]
    assert len(about) == 1
    assert ("log_failure" in about[0]) is (fate == "KeyError")


def test_after_a_refusal_nothing_is_sent_any_more() -> None:
    producer = Producer()
    asked = Asked(Application(started=lambda one: one.transport.attachProducer(producer)))
    asked.feed(REFUSAL)
    assert producer.told == ["stop"]
    asked.wire.sendTextMessage("Hello")
    assert asked.wire.counters.sendsIgnored == 1


def test_a_reason_is_no_terminal_sequence() -> None:
    asked = Asked()
    asked.feed(b"HTTP/1.1 401 \x9b31mred\r\nContent-Length: 0\r\n\r\n")
    asked.lose()
    assert str(asked.application.reasons[0]) == "the server answered 401 ?31mred"


@pytest.mark.parametrize("host", ["my_host", "ab--cd.example", "xn--a", "-a.com", "1_0", "i\u2764.ws"])
def test_any_name_may_be_one_of_a_certificate(host: str) -> None:
    endpoint = Endpoint()
    connect(Clock(), f"wss://{host}/", endpoint=endpoint)
    assert len(endpoint.factories) == 1


def test_a_host_that_no_certificate_can_name() -> None:
    """A URL is made by `parse`, which knows A-labels."""
    with pytest.raises(InvalidURL):
        connect(Clock(), URL(True, "b\u00fccher.example", 443, "/"), endpoint=Endpoint())


@pytest.mark.parametrize("arguments", [{"subprotocols": [1]}, {"buildApplication": None}])
def test_wrong_types_are_refused_at_once(arguments: dict[str, Any]) -> None:
    arguments = {"buildApplication": print, **arguments}
    build = arguments.pop("buildApplication")
    with pytest.raises(LocalProtocolError):
        WebSocketClientFactory("ws://example.com", build, **arguments)
    with pytest.raises(LocalProtocolError):
        WebSocketServerFactory(build, **arguments)


# Before there is an application


def undecided() -> tuple[Asked, Deferred[Any]]:
    """A connection as `ClientService.whenConnected` hands it out."""
    building: Deferred[Any] = Deferred()
    return Asked(buildApplication=lambda request: building), building


def test_what_can_be_asked_before_there_is_an_application() -> None:
    asked, _ = undecided()
    wire = asked.wire
    assert (wire.closeSent, wire.closeReceived, wire.extension, wire.subprotocol) == (None, None, None, None)
    assert wire.counters == (0, 0, 0)
    written: list[Any] = []
    wire.whenWritable().addCallback(written.append)
    assert written == [None]


def test_what_is_sent_before_there_is_an_application_leaves_when_it_is_open() -> None:
    asked, building = undecided()
    asked.wire.sendTextMessage("Hello")
    assert asked.transport.value() == b""
    building.callback(asked.application)
    answer = asked.answer()
    assert asked.transport.taken().startswith(b"GET ")
    assert asked.feed(answer) == HELLO_SENT


def test_a_close_before_there_is_an_application() -> None:
    asked, building = undecided()
    asked.wire.loseConnection()
    assert asked.transport.value() == b""
    building.callback(asked.application)
    answer = asked.answer()
    assert asked.transport.taken().startswith(b"GET ")
    assert asked.feed(answer) == CLOSE_SENT
    asked.feed(SERVER_CLOSE)
    asked.lose()
    assert asked.application.told == ["started", "finished", "lost"]


@pytest.mark.parametrize("end", ["loss", "abort", "failure"])
def test_who_waits_for_a_connection_that_never_has_an_application(end: str) -> None:
    asked, building = undecided()
    asked.wire.sendBytesMessage(bytes(100_000))
    errors: list[Any] = []
    for waiting in (asked.wire.whenWritable(), asked.wire.measureLatency()):
        waiting.addErrback(lambda failure: errors.append(failure.value))
    producer = Producer()
    asked.wire.attachProducer(producer)
    with logged():
        if end == "abort":
            asked.wire.abortConnection()
        elif end == "failure":
            building.errback(Expected())
    asked.lose()
    assert len(errors) == 2
    assert {isinstance(error, Expected if end == "failure" else WebSocketDropped) for error in errors} == {True}
    assert producer.told == ["pause", "stop"]
    asked.wire.sendTextMessage("Hello")
    assert asked.wire.counters.sendsIgnored == 1


# Leftovers


@pytest.mark.parametrize("end", ["closed", "refused", "cancelled", "late"])
def test_a_call_leaves_nothing_to_the_garbage_collector(end: str) -> None:
    gc.collect()
    gc.disable()
    try:
        attempt = Attempt(buildApplication=lambda request: Application())
        kept = [weakref.ref(attempt.wire), weakref.ref(attempt.factory.observer)]
        if end == "closed":
            attempt.open()
            attempt.feed(SERVER_CLOSE)
            # As a transport that is lost does.
            attempt.transport.unregisterProducer()
        elif end == "refused":
            attempt.feed(REFUSAL)
        elif end == "cancelled":
            attempt.deferred.cancel()
        else:
            attempt.advance(10)
        attempt.lose()
        attempt.results.clear()
        del attempt
        assert [one() for one in kept] == [None, None]
    finally:
        gc.enable()


def test_an_endpoint_that_fails_when_it_has_made_the_connection() -> None:
    attempt = Attempt(connected=False)
    (attempt.factory,) = attempt.endpoint.factories
    attempt.wire = attempt.factory.buildProtocol(None)
    attempt.wire.makeConnection(attempt.transport)
    attempt.endpoint.deferred.errback(Expected("endpoint"))
    assert isinstance(attempt.error, Expected)
    assert attempt.transport.told == ["abort"]
    attempt.lose()
    assert attempt.application.told == ["started", "lost"]


def test_the_reason_of_a_close_is_shown_as_text_only() -> None:
    asked = Asked().open()
    reason = "\x1b]0;owned\x07\r\nall is well \u2026"
    asked.feed(b"\x88" + bytes([2 + len(reason.encode())]) + (4000).to_bytes(2, "big") + reason.encode())
    asked.lose()
    (error,) = asked.application.reasons
    assert str(error) == "closed with 4000 ?]0;owned???all is well \u2026"
    assert error.closeReceived == (4000, reason)


def test_an_endpoint_that_makes_two() -> None:
    attempt = Attempt(connected=False)
    (factory,) = attempt.endpoint.factories
    transports = [Transport(), Transport()]
    for transport in transports:
        factory.buildProtocol(None).makeConnection(transport)
    assert [transport.told for transport in transports] == [[], ["abort"]]
    attempt.deferred.cancel()
    assert [transport.told for transport in transports] == [["abort"], ["abort"]]
