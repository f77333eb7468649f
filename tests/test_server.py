import gc
import re
import time
from asyncio import CancelledError as AsyncioCancelled
from collections.abc import Callable, MutableSet, Set
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IProtocolFactory, IProtocolNegotiationFactory, ISSLTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.stdio import PipeAddress
from twisted.internet.task import Clock
from twisted.logger import LogLevel, formatEvent
from twisted.python.failure import Failure
from wire import (
    ANSWER,
    CLOSE,
    CLOSE_SENT,
    FAILED_SENT,
    GOING_AWAY_SENT,
    HELLO,
    HELLO_SENT,
    PING,
    PONG_SENT,
    REQUEST,
    Application,
    HalfCloseable,
    Served,
    Transport,
    failures,
    logged,
    opened,
    text,
)
from zope.interface import implementer
from zope.interface.verify import verifyObject

from wsock import (
    Accept,
    LocalProtocolError,
    Refuse,
    Settings,
    WebSocketServerFactory,
    WebSocketTransport,
    streamApplication,
)
from wsock.wire.state import LOST

WITH_SUBPROTOCOLS = REQUEST[:-2] + b"Sec-WebSocket-Protocol: chat, superchat\r\n\r\n"


def status(answer: bytes) -> int:
    return int(answer[9:12])


def body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def check_refused(served: Served, answer: bytes, expected: int) -> None:
    """A refusal, after which the connection ends and nothing is left."""
    assert status(answer) == expected
    assert b"\r\nConnection: close" in answer
    assert served.transport.told[-1] in ("lose", "lose write")
    assert served.feed(HELLO) == b""
    served.lose()
    assert served.application.told == []
    assert not served.factory.connections


# The opening handshake


def test_the_handshake_of_the_rfc() -> None:
    served = Served()
    assert served.feed(REQUEST) == ANSWER
    assert served.application.told == ["started", "finished"]
    assert served.transport.producer is not None
    assert served.clock.getDelayedCalls() == []


def test_the_handshake_byte_by_byte_with_a_message_behind() -> None:
    served = Served()
    sent = b"".join(served.feed(bytes((octet,))) for octet in REQUEST + HELLO + PING)
    assert sent == ANSWER + PONG_SENT
    assert served.application.messages == ["Hello"]


def test_what_is_sent_while_negotiation_goes_on_leaves_after_the_answer_in_one_write() -> None:
    served = Served(
        Application(
            started=lambda application: application.transport.sendTextMessage("Hello"),
            finished=lambda application: application.transport.sendTextMessage("x"),
        )
    )
    written: list[bytes] = []
    served.transport.write = written.append  # type: ignore[method-assign]
    served.wire.dataReceived(REQUEST)
    assert written == [ANSWER + HELLO_SENT + b"\x81\x01x"]


def test_much_that_is_sent_while_negotiation_goes_on() -> None:
    served = Served(Application(started=lambda application: application.transport.sendBytesMessage(bytes(70_000))))
    sent = served.feed(REQUEST + HELLO)
    assert sent == ANSWER + b"\x82\x7f" + (70_000).to_bytes(8, "big") + bytes(70_000)
    assert served.application.messages == ["Hello"]


def test_an_exception_after_much_was_sent_is_no_second_answer() -> None:
    def do(application: Application) -> None:
        application.transport.sendBytesMessage(bytes(70_000))
        raise ValueError

    served = Served(Application(started=do))
    with logged() as events:
        sent = served.feed(REQUEST)
    assert sent.endswith(FAILED_SENT)
    assert sent.count(b"HTTP/1.1") == 1
    assert len(failures(events)) == 1
    served.lose()
    assert served.application.told == ["started", "lost"]


@pytest.mark.parametrize("act", ["loseConnection", "abortConnection"])
def test_an_application_that_leaves_as_it_comes(act: str) -> None:
    served = Served(Application(started=lambda application: getattr(application.transport, act)()))
    sent = served.feed(REQUEST + HELLO)
    if act == "loseConnection":
        assert sent == ANSWER + CLOSE_SENT
        assert served.application.told == ["started", "finished", "Hello"]
    else:
        assert sent == b""
        assert served.application.told == ["started"]
    served.lose()
    assert served.application.told.count("lost") == 1


def test_the_answer_has_headers_and_the_subprotocol() -> None:
    served = Served(headers=[("Server", "x")], subprotocols=["v3", "superchat", "chat"])
    assert b"\r\nSec-WebSocket-Protocol: superchat\r\n" in (answer := served.feed(WITH_SUBPROTOCOLS))
    assert b"\r\nServer: x\r\n" in answer
    assert served.wire.subprotocol == "superchat"


def test_no_common_subprotocol() -> None:
    served = Served(subprotocols=["v3"])
    assert b"Protocol:" not in served.feed(WITH_SUBPROTOCOLS)
    assert served.wire.subprotocol is None


def test_the_request_is_there_for_the_application() -> None:
    served = opened()
    assert served.wire.request is served.requests[0]
    assert served.wire.request.path == "/chat"


# The decisions of buildApplication


def later(decision: object) -> Any:
    return succeed(decision)


async def coroutine(decision: object) -> object:
    return await succeed(decision)


async def coroutine_of_a_deferred(decision: object) -> object:
    return succeed(decision)


def deferred_of_a_coroutine(decision: object) -> Any:
    return succeed(coroutine(decision))


def at_once(decision: object) -> object:
    return decision


deciding = pytest.mark.parametrize("how", [at_once, later, coroutine, coroutine_of_a_deferred, deferred_of_a_coroutine])


@deciding
def test_accepting(how: Callable[[object], Any]) -> None:
    application = Application()
    served = Served(
        application, buildApplication=lambda request: how(Accept(application, "chat", [("Set-Cookie", "a=b")]))
    )
    answer = served.feed(WITH_SUBPROTOCOLS + HELLO)
    assert b"\r\nSec-WebSocket-Protocol: chat\r\nSet-Cookie: a=b\r\nServer: wsock/" in answer
    assert application.messages == ["Hello"]
    assert served.wire.subprotocol == "chat"


def refuse_at_once(refuse: Exception) -> Any:
    raise refuse


def refuse_later(refuse: Exception) -> Any:
    return fail(refuse)


async def refuse_in_a_coroutine(refuse: Exception) -> Any:
    raise refuse


async def refuse_after_a_coroutine(refuse: Exception) -> Any:
    return fail(refuse)


refusing = pytest.mark.parametrize(
    "how", [refuse_at_once, refuse_later, refuse_in_a_coroutine, refuse_after_a_coroutine]
)


@refusing
def test_refusing(how: Callable[[Exception], Any]) -> None:
    served = Served(
        transport=HalfCloseable(),
        buildApplication=lambda request: how(Refuse(401, [("WWW-Authenticate", "Basic")], b"who are you?")),
    )
    with logged() as events:
        answer = served.feed(REQUEST)
    assert body(answer) == b"who are you?"
    assert b"\r\nWWW-Authenticate: Basic\r\n" in answer
    assert served.transport.told == ["lose write"]
    assert failures(events) == []
    assert len(events) == 1
    assert formatEvent(events[0]) == (
        "refused GET /chat from 192.168.1.1:54321 with 401: the application refused: who are you?"
    )
    check_refused(served, answer, 401)


@refusing
def test_an_exception_is_logged_and_answered_with_500(how: Callable[[Exception], Any]) -> None:
    served = Served(buildApplication=lambda request: how(ValueError("secret")))
    with logged() as events:
        answer = served.feed(REQUEST)
    assert failures(events) == ["secret"]
    assert len(events) == 1
    assert b"secret" not in answer
    check_refused(served, answer, 500)


@pytest.mark.parametrize(
    "refuse",
    [
        (101,),
        (600,),
        ("403",),
        (403, [("Bad Name", "x")]),
        (403, [("Name", "x\r\nSet-Cookie: evil=1")]),
        (403, [("Connection", "keep-alive")]),
        (403, None),
        (403, (), "text"),
        (204, (), b"body"),
    ],
    ids=str,
)
@pytest.mark.parametrize("when", ["made", "changed"])
def test_a_refusal_that_can_not_be_sent(refuse: Any, when: str) -> None:
    def build(request: Any) -> Any:
        if when == "made":
            raise Refuse(*refuse)
        changed = Refuse(403)
        changed.status, changed.headers, changed.body = (*refuse, *((), b"")[len(refuse) - 1 :])
        raise changed

    served = Served(buildApplication=build)
    with logged() as events:
        answer = served.feed(REQUEST)
    assert len(failures(events)) == 1
    assert b"evil" not in answer
    check_refused(served, answer, 500)


@pytest.mark.parametrize(
    "decision",
    [
        None,
        "an application",
        object(),
        Refuse(403),
        Application,
        Application.negotiationStarted,
        Accept(Application(), "not-offered"),
    ],
    ids=repr,
)
@deciding
def test_a_decision_that_can_not_be(decision: Any, how: Callable[[object], Any]) -> None:
    served = Served(buildApplication=lambda request: how(decision))
    with logged() as events:
        answer = served.feed(WITH_SUBPROTOCOLS)
        gc.collect()
    assert len(failures(events)) == 1
    check_refused(served, answer, 500)
    if isinstance(decision, Accept) and decision.application is not None:
        assert decision.application.told == []  # type: ignore[attr-defined]


class Undecided:
    """A buildApplication that says what it is told to, when it is told to."""

    def __init__(self, kind: str = "deferred") -> None:
        self.kind = kind
        self.cancelled = 0
        self.deferred: Deferred[Any] = Deferred(self._cancel)

    def _cancel(self, deferred: Deferred[Any]) -> None:
        self.cancelled += 1

    def __call__(self, request: object) -> Any:
        return self.deferred if self.kind == "deferred" else self._wait()

    async def _wait(self) -> object:
        return await self.deferred if self.kind == "coroutine" else self.deferred


kinds = pytest.mark.parametrize("kind", ["deferred", "coroutine", "coroutine of a deferred"])


@kinds
def test_messages_wait_for_the_decision(kind: str) -> None:
    undecided = Undecided(kind)
    served = Served(buildApplication=undecided)
    assert served.feed(REQUEST + HELLO) == b""
    assert served.feed(PING) == b""
    undecided.deferred.callback(served.application)
    assert served.transport.taken() == ANSWER + PONG_SENT
    assert served.application.told == ["started", "finished", "Hello"]
    assert served.clock.getDelayedCalls() == []
    assert undecided.cancelled == 0


@kinds
def test_a_peer_that_leaves_cancels_the_decision(kind: str) -> None:
    undecided = Undecided(kind)
    served = Served(buildApplication=undecided)
    served.feed(REQUEST)
    with logged() as events:
        served.lose()
        gc.collect()
    assert undecided.cancelled == 1
    assert failures(events) == []
    assert served.transport.taken() == b""


@pytest.mark.parametrize("outcome", ["accepts", "refuses", "raises"])
def test_a_decision_that_comes_in_spite_of_being_cancelled(outcome: str) -> None:
    first: Deferred[None] = Deferred()
    second: Deferred[None] = Deferred()

    async def stubborn(request: object) -> object:
        try:
            await first
        except CancelledError:
            await second
        if outcome == "refuses":
            raise Refuse(403)
        if outcome == "raises":
            raise ValueError("too late")
        return served.application

    served = Served(buildApplication=stubborn)
    served.feed(REQUEST)
    served.lose()
    with logged() as events:
        second.callback(None)
    assert failures(events) == (["too late"] if outcome == "raises" else [])
    assert served.application.told == []
    assert served.transport.taken() == b""
    assert served.clock.getDelayedCalls() == []


def test_a_decision_that_is_cancelled_by_its_owner_is_a_500() -> None:
    undecided = Undecided()
    served = Served(buildApplication=undecided)
    served.feed(REQUEST)
    with logged() as events:
        undecided.deferred.cancel()
    assert len(failures(events)) == 1
    check_refused(served, served.transport.taken(), 500)


def test_a_canceller_that_raises_harms_only_itself() -> None:
    def refuse(deferred: Deferred[None]) -> None:
        raise ValueError("not me")

    served = Served(buildApplication=lambda request: Deferred(refuse))
    served.feed(REQUEST)
    with logged() as events:
        served.lose()
    assert failures(events) == ["not me"]


@pytest.mark.parametrize("size", [1, 1000, 65536])
def test_while_undecided_64_kib_are_held(size: int) -> None:
    undecided = Undecided()
    served = Served(buildApplication=undecided)
    message = bytes.fromhex("82fefff800000000") + bytes(65_528)
    assert len(message) == 65_536
    served.feed(REQUEST)
    for place in range(0, len(message), size):
        assert served.transport.told == []
        served.feed(message[place : place + size])
    assert served.transport.told == ["pause"]
    # As TLS does; or somebody has resumed it.
    served.feed(HELLO)
    assert served.transport.told == ["pause", "pause"]
    undecided.deferred.callback(served.application)
    assert served.transport.told == ["pause", "pause", "resume"]
    assert served.application.messages == [bytes(65_528), "Hello"]


def test_refusing_a_peer_that_was_made_to_wait_reads_on() -> None:
    undecided = Undecided()
    served = Served(buildApplication=undecided, transport=HalfCloseable())
    served.feed(REQUEST + bytes(10))
    served.feed(bytes(65_536))
    undecided.deferred.errback(Refuse(403))
    assert served.transport.told == ["pause", "resume", "lose write"]
    check_refused(served, served.transport.taken(), 403)


# Refusals of our own


PEER = "192.168.1.1:54321"


@pytest.mark.parametrize(
    ("request_", "expected", "line"),
    [
        (b"NONSENSE\r\n", 400, f"a request from {PEER} with 400: not an HTTP request line"),
        (
            REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0"),
            505,
            f"GET /chat from {PEER} with 505: an HTTP version other than 1.1",
        ),
        (REQUEST.replace(b"GET", b"POST"), 405, f"POST /chat from {PEER} with 405: a method other than GET"),
        (
            REQUEST.replace(b"Version: 13", b"Version: 213"),
            426,
            f"GET /chat from {PEER} with 426: a Sec-WebSocket-Version other than 13",
        ),
        (REQUEST.replace(b"websocket", b"h2c"), 426, f"GET /chat from {PEER} with 426: no 'Upgrade: websocket'"),
        (
            b"GET /" + b"x" * 17000,
            414,
            f"a request from {PEER} with 414: a line of more than 16384 bytes (maxHeaderLine)",
        ),
        (
            REQUEST[:-2] + b"X: " + b"x" * 17000,
            431,
            f"a request from {PEER} with 431: a line of more than 16384 bytes (maxHeaderLine)",
        ),
        (
            REQUEST[:-2] + b"".join(b"X: %s\r\n" % (b"x" * 9000) for _ in range(4)),
            431,
            f"a request from {PEER} with 431: a head of more than 32768 bytes (maxHeaderSize)",
        ),
        (
            REQUEST[:-2] + b"X: x\r\n" * 300,
            431,
            f"a request from {PEER} with 431: more than 256 header fields (maxHeaders)",
        ),
        (b"GET / HTTP/1.0\r\n\r\n", 505, f"GET / from {PEER} with 505: an HTTP version other than 1.1"),
    ],
)
def test_a_request_that_is_none_of_ours(request_: bytes, expected: int, line: str) -> None:
    """The log says what was refused to whom, and which rule it broke; the answer's body says the last."""
    served = Served()
    with logged() as events:
        answer = served.feed(request_)
    [event] = events
    assert (event["log_namespace"], event["log_level"]) == (
        "wsock.server.factory.WebSocketServerFactory",
        LogLevel.info,
    )
    said = formatEvent(event)
    assert said == f"refused {line}"
    assert body(answer).decode().endswith(f": {said.rpartition(f' with {expected}: ')[2]}")
    assert served.requests == []
    check_refused(served, answer, expected)


def with_origin(origin: bytes, request: bytes = REQUEST) -> bytes:
    return request[:-2] + b"Origin: " + origin + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("origin", "allowed", "why"),
    [
        (
            b"http://localhost:5173",
            None,
            "Origin http://localhost:5173 is not allowed for Host server.example.com (allowedOrigins)",
        ),
        (b"null", None, "Origin null is not allowed for Host server.example.com (allowedOrigins)"),
        (b"https://evil.example", ["https://a.example"], "Origin https://evil.example is not allowed (allowedOrigins)"),
        # Passwords, queries, and whatever else is no origin are not repeated.
        (
            b"https://user:secret@evil.example",
            ["https://a.example"],
            "Origin in another form than scheme://host:port is not allowed (allowedOrigins)",
        ),
        (
            b"https://evil.example?secret",
            ["https://a.example"],
            "Origin in another form than scheme://host:port is not allowed (allowedOrigins)",
        ),
        (
            b"https://" + b"x" * 300,
            ["https://a.example"],
            f"Origin https://{'x' * 192}... is not allowed (allowedOrigins)",
        ),
        (b"https://\xe9\xad", ["https://a.example"], "Origin https://\u00e9? is not allowed (allowedOrigins)"),
    ],
)
def test_an_origin_that_is_refused(origin: bytes, allowed: list[str] | None, why: str) -> None:
    served = Served(allowedOrigins=allowed)
    with logged() as events:
        answer = served.feed(with_origin(origin))
    assert [formatEvent(event) for event in events] == [f"refused GET /chat from {PEER} with 403: {why}"]
    assert body(answer) == b"Forbidden: this page's Origin is not allowed here (allowedOrigins)"
    check_refused(served, answer, 403)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (b"/chat?token=secret", "GET /chat"),
        (b"http://user:secret@a.example/chat?secret", "GET /chat"),
        (b"/chat#secret", "GET /chat"),
        (b"ftp://user:secret@a.example/", "GET"),
        (b"user:secret@a.example:80", "GET"),
        (b"/" + b"x" * 300, f"GET /{'x' * 195}..."),
    ],
)
def test_a_line_has_no_secrets_and_an_end(target: bytes, told: str) -> None:
    served = Served()
    with logged() as events:
        answer = served.feed(with_origin(b"null", REQUEST.replace(b"/chat", target)))
    [event] = events
    assert formatEvent(event).startswith(f"refused {told} from {PEER} with 40")
    assert "secret" not in str(event)
    assert b"secret" not in answer


@pytest.mark.parametrize("ends", ["closed by the peer", "closed by us", "lost", "aborted", "lost in the handshake"])
def test_nothing_is_logged_of_a_connection(ends: str) -> None:
    """At no level: a line would take longer than the rest of the handshake, and peers could fill a disk."""
    with logged() as events:
        served = Served()
        if ends == "lost in the handshake":
            served.feed(REQUEST[:99])
        else:
            served.open()
        if ends == "closed by the peer":
            served.feed(CLOSE)
        elif ends == "closed by us":
            served.wire.loseConnection()
            served.feed(CLOSE)
        elif ends == "aborted":
            served.wire.abortConnection()
        served.lose()
    assert events == []


def test_a_flood_of_refusals_is_summed_up() -> None:
    first = Served()
    served = [first, *(Served(factory=first.factory) for _ in range(1244))]
    with logged() as events:
        for one in served:
            one.feed(with_origin(b"null"))
            one.lose(clean=False)
        assert len(events) == 5
        first.clock.advance(10)
    assert formatEvent(events[5]) == (
        f"refused 1,240 more in 10 s, the last GET /chat from {PEER} with 403: "
        "Origin null is not allowed for Host server.example.com (allowedOrigins)"
    )
    assert len(events) == 6
    assert first.clock.getDelayedCalls() == []


@pytest.mark.parametrize("ends", ["doStop", "stop", "stop and more"])
def test_no_delayed_call_is_left_of_a_flood(ends: str) -> None:
    first = Served()
    served = [first, *(Served(factory=first.factory) for _ in range(9))]
    with logged() as events:
        for one in served:
            one.feed(with_origin(b"null"))
        if ends == "doStop":
            first.factory.doStop()
        else:
            stopped = first.factory.stop()
            if ends == "stop and more":
                late = [Served(factory=first.factory) for _ in range(9)]
        for one in served:
            one.lose(clean=False)
        if ends == "stop and more":
            assert stopped.called
            for one in late:
                one.feed(REQUEST)
                one.lose(clean=False)
    assert "refused 5 more in 1 s, the last GET /chat" in formatEvent(events[5])
    assert first.clock.getDelayedCalls() == []


@pytest.mark.parametrize("ends", ["doStop", "stop"])
def test_of_many_failures_of_tls_few_are_logged(ends: str) -> None:
    factory = Served().factory
    with logged() as events:
        for _ in range(7):
            factory.logTLSFailure("the peer", "no shared cipher")
        getattr(factory, ends)()
    assert [formatEvent(event) for event in events] == ["TLS with the peer failed: no shared cipher"] * 5 + [
        "TLS failed 2 times more in 1 s, the last time with the peer: no shared cipher"
    ] * (ends == "doStop")


def test_a_flood_that_begins_when_all_is_over() -> None:
    first = Served()
    first.factory.stop()
    first.lose()
    with logged() as events:
        for _ in range(9):
            late = Served(factory=first.factory)
            late.feed(REQUEST)
            late.lose()
    assert [formatEvent(event) for event in events] == [f"refused GET /chat from {PEER} with 503: the server stops"] * 5


@pytest.mark.parametrize(
    ("address", "told"),
    [
        (IPv6Address("TCP", "::1", 80), "[::1]:80"),
        (IPv6Address("TCP", "fe80::1%eth0", 80), "[fe80::1%eth0]:80"),
        (UNIXAddress(None), "unix"),
        (UNIXAddress(b""), "unix"),
        (UNIXAddress("/run/a\nb"), "/run/a?b"),
        (UNIXAddress(b"/run/\xff"), "/run/\ufffd"),
        (PipeAddress(), "PipeAddress"),
    ],
    ids=str,
)
def test_peers_of_all_kinds(address: Any, told: str) -> None:
    served = Served()
    served.transport.peerAddr = address
    with logged() as events:
        served.feed(b"NONSENSE\r\n")
    assert f"refused a request from {told}" in formatEvent(events[0])


def test_the_origins_of_the_factory() -> None:
    served = Served(allowedOrigins=["https://good.example"])
    assert served.feed(REQUEST[:-2] + b"Origin: https://good.example\r\n\r\n") == ANSWER


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 101),
        ({"maxHeaderLine": 45}, 101),
        ({"maxHeaderLine": 44}, 431),
        ({"maxHeaderLine": 19}, 414),
        ({"maxHeaderSize": 161}, 101),
        ({"maxHeaderSize": 160}, 431),
        ({"maxHeaders": 5}, 101),
        ({"maxHeaders": 4}, 431),
    ],
    ids=str,
)
def test_the_limits_of_a_head(settings: dict[str, int], expected: int) -> None:
    """Of 161 bytes in 5 fields; the longest line has 45 bytes with its end."""
    assert len(REQUEST) == 161
    assert status(Served(settings=settings).feed(REQUEST)) == expected


def test_a_head_without_limits() -> None:
    settings = {"maxHeaderLine": None, "maxHeaderSize": None, "maxHeaders": None}
    assert (
        Served(settings=settings).feed(REQUEST[:-2] + b"X: y\r\n" * 9000 + b"Y: " + b"z" * 10**6 + b"\r\n\r\n")
        == ANSWER
    )


def test_empty_lines_before_a_request() -> None:
    assert Served().feed(b"\r\n\r\n" + REQUEST) == ANSWER


@pytest.mark.parametrize("value", [b"null", b"file://"])
def test_pages_from_disk_and_sandboxed_frames_are_served_where_they_are_named(value: bytes) -> None:
    request_ = REQUEST[:-2] + b"Origin: " + value + b"\r\n\r\n"
    assert Served(allowedOrigins=[value.decode()]).feed(request_) == ANSWER
    assert status(Served(allowedOrigins=["https://good.example"]).feed(request_)) == 403


DATE = rb"\r\nDate: (?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT\r\n"


def refuse(refuse: Exception) -> Callable[[object], Any]:
    def build(request: object) -> Any:
        raise refuse

    return build


@pytest.mark.parametrize(
    ("request_", "refused", "expected"),
    [
        (b"NONSENSE\r\n", None, 400),
        (REQUEST.replace(b"Version: 13", b"Version: 12"), None, 426),
        (REQUEST, Refuse(401), 401),
        (REQUEST, Refuse(303, [("Location", "/login")]), 303),
        (REQUEST, Refuse(204), 204),
        (REQUEST, ValueError("secret"), 500),
    ],
    ids=str,
)
def test_each_refusal_has_a_date(request_: bytes, refused: Exception | None, expected: int) -> None:
    """RFC 9110 section 6.6.1; the form is that of section 5.6.7."""
    served = Served() if refused is None else Served(buildApplication=refuse(refused))
    before = int(time.time())
    answer = served.feed(request_)
    after = time.time()
    assert status(answer) == expected
    [field] = re.findall(DATE, answer)
    assert before <= parsedate_to_datetime(field.decode().strip().removeprefix("Date: ")).timestamp() <= after


def test_the_date_of_an_application_is_left_to_it() -> None:
    served = Served(buildApplication=refuse(Refuse(403, [("date", "Sun, 06 Nov 1994 08:49:37 GMT")])))
    answer = served.feed(REQUEST)
    assert b"\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n" in answer
    assert answer.lower().count(b"\r\ndate:") == 1


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        (b" / HTTP/1.1\r\nHost: a\r\n\r\n", 426),
        (b" / HTTP/1.0\r\n\r\n", 505),
        (REQUEST[3:], 405),
        (b" / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b" /" + b"x" * 17000, 414),
    ],
)
def test_no_answer_to_head_has_a_body(rest: bytes, expected: int) -> None:
    """RFC 9110 section 9.3.2; its Content-Length is that of the answer to GET (section 8.6)."""
    answer = Served().feed(b"HEAD" + rest)
    assert status(answer) == expected
    assert body(answer) == b""
    got = Served().feed((b"PUT" if rest == REQUEST[3:] else b"GET") + rest)
    assert body(got) != b""
    assert f"\r\nContent-Length: {len(body(got))}\r\n".encode() in answer


@pytest.mark.parametrize("when", ["timed out", "stopped", "stopped before"])
def test_no_answer_to_an_unfinished_head_has_a_body(when: str) -> None:
    served = Served(settings={"openTimeout": 3})
    if when == "stopped before":
        served.lose()
        served.factory.stop()
        served = Served(factory=served.factory)
    answer = served.feed(b"HEAD / HTTP/1.1\r\n" + (b"\r\n" if when == "stopped before" else b""))
    if when == "stopped":
        served.factory.stop()
        answer = served.transport.taken()
    elif when == "timed out":
        answer = served.advance(3)
    assert status(answer) == (408 if when == "timed out" else 503)
    assert body(answer) == b""


# Unfinished heads

UNFINISHED = b"GET / HTTP/1.1\r\nCookie: ".ljust(16384, b"x")
UNFINISHED_HEAD = b"HEAD / HTTP/1.1\r\nCookie: ".ljust(16384, b"x")


def test_unfinished_heads_of_all_connections_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred times as much is sent, and what goes over it is answered with 503."""
    monkeypatch.setattr("wsock.server.opening._MAX_UNFINISHED_BYTES", 2**20)
    # Without timers, since a clock sorts all that it has.
    first = Served(settings={"openTimeout": None, "closeTimeout": None, "pingTimeout": None})
    waiting = [first, *(Served(factory=first.factory) for _ in range(6399))]
    refused = []
    for served in waiting:
        for place in range(0, 16384, 8192):
            answer = served.feed(UNFINISHED[place : place + 8192])
            if answer:
                refused.append(answer)
                assert status(answer) == 503
                assert b"\r\nRetry-After: 5\r\n" in answer
    assert len(refused) == 6400 - 64
    # A handshake in one piece has no part in it.
    assert Served(factory=first.factory).feed(REQUEST) == ANSWER
    # A byte more is one too many; a byte that ends a head is not.
    assert status(Served(factory=first.factory).feed(b"G")) == 503
    assert status(first.feed(b"\r\n\r\n")) == 426
    late = Served(factory=first.factory)
    assert late.feed(UNFINISHED) == b""
    assert status(Served(factory=first.factory).feed(b"G")) == 503
    for served in (*waiting, late):
        served.lose(clean=False)
    assert first.factory._unfinished == 0


def test_one_head_without_limits_has_the_bound_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsock.server.opening._MAX_UNFINISHED_BYTES", 2**20)
    served = Served(settings={"maxHeaderLine": None, "maxHeaderSize": None, "maxHeaders": None})
    for _ in range(64):
        assert served.feed(b"x" * 16384 if served.factory._unfinished else UNFINISHED_HEAD) == b""
    answer = served.feed(b"x")
    assert status(answer) == 503
    assert body(answer) == b""
    assert served.factory._unfinished == 0
    for _ in range(100 * 64):
        assert served.feed(UNFINISHED) == b""
    assert served.factory._unfinished == 0


@pytest.mark.parametrize("fallback", [False, True])
@pytest.mark.parametrize(
    "end",
    [
        lambda served: served.feed(REQUEST[50:]),
        lambda served: served.feed(b"\r\n\r\n"),
        lambda served: served.feed(b"\r\nUpgrade: no\r\n\r\n"),
        lambda served: served.feed(b"\x00"),
        lambda served: served.feed(b"x" * 40000),
        lambda served: served.advance(10),
        lambda served: served.factory.stop(),
        lambda served: served.wire.loseConnection(),
        lambda served: served.wire.connectionLost(Failure(ConnectionError())),
        lambda served: (served.wire.abortConnection(), served.wire.connectionLost(Failure(ConnectionError()))),
    ],
    ids=["open", "no WebSocket", "others", "malformed", "large", "late", "stop", "lose", "lost", "abort"],
)
def test_each_end_of_an_opening_gives_its_head_back(end: Callable[[Served], object], fallback: bool) -> None:
    served = Served(fallback=Others() if fallback else None)
    for place in range(50):
        served.feed(REQUEST[place : place + 1])
        assert served.factory._unfinished == place + 1
    end(served)
    assert served.factory._unfinished == 0
    if served.wire._state < LOST:
        served.wire.connectionLost(Failure(ConnectionError()))
    assert served.factory._unfinished == 0


# Deadlines


def test_a_peer_that_says_nothing_is_left_in_silence() -> None:
    served = Served(settings={"openTimeout": 3}, transport=HalfCloseable())
    assert served.advance(2.9) == b""
    assert served.transport.told == []
    assert served.advance(0.1) == b""
    assert served.transport.told == ["lose"]
    assert served.feed(REQUEST) == b""
    served.lose()


def test_a_request_that_does_not_end_is_answered_with_408() -> None:
    served = Served(settings={"openTimeout": 3})
    served.advance(2)
    served.feed(REQUEST[:-2])
    check_refused(served, served.advance(1), 408)


@kinds
def test_a_decision_that_does_not_come_is_answered_with_503(kind: str) -> None:
    undecided = Undecided(kind)
    served = Served(buildApplication=undecided, settings={"openTimeout": 3})
    served.feed(REQUEST)
    with logged() as events:
        answer = served.advance(3)
        gc.collect()
    assert b"\r\nRetry-After: 5\r\n" in answer
    assert undecided.cancelled == 1
    assert failures(events) == []
    check_refused(served, answer, 503)


def test_a_refused_peer_has_the_closing_timeout_to_go() -> None:
    served = Served(settings={"closeTimeout": 3, "openTimeout": 2})
    served.feed(b"NONSENSE\r\n")
    served.advance(2.9)
    assert served.transport.told == ["lose"]
    served.advance(0.1)
    assert served.transport.told == ["lose", "abort"]
    served.lose()


def test_no_deadlines() -> None:
    served = Served(settings={"openTimeout": None, "closeTimeout": None, "pingTimeout": None})
    assert served.clock.getDelayedCalls() == []
    served.feed(b"NONSENSE\r\n")
    assert served.clock.getDelayedCalls() == []
    served.lose()


@pytest.mark.parametrize("when", ["at once", "head begun", "undecided"])
def test_a_loss_before_the_connection_is_open(when: str) -> None:
    served = Served(buildApplication=Undecided())
    if when != "at once":
        served.feed(REQUEST if when == "undecided" else REQUEST[:50])
    served.lose()
    assert served.application.told == []


# How many


def test_as_many_as_may_be() -> None:
    first = opened(maxConnections=1)
    second = Served(factory=first.factory)
    answer = second.feed(REQUEST)
    assert b"\r\nRetry-After: 5\r\n" in answer
    assert status(answer) == 503
    assert first.factory.connections == {first.wire}
    first.lose(clean=False)
    second.lose()
    third = Served(factory=first.factory).open()
    assert len(first.factory.connections) == 1
    assert third.wire in first.factory.connections


@pytest.mark.parametrize("how", ["at once", "later"])
def test_build_application_is_cancelled_by_asyncio(how: str) -> None:
    def build(request: object) -> object:
        if how == "later":
            return fail(AsyncioCancelled("asyncio"))
        raise AsyncioCancelled("asyncio")

    served = Served(buildApplication=build)
    with logged() as events:
        check_refused(served, served.feed(REQUEST), 500)
    assert failures(events) == ["asyncio"]


def test_as_many_as_may_be_when_several_are_undecided() -> None:
    undecided = [Undecided(), Undecided()]
    applications = [Application(), Application()]
    waiting = list(undecided)
    first = Served(buildApplication=lambda request: waiting.pop(0)(request), maxConnections=1)
    second = Served(factory=first.factory)
    first.feed(REQUEST)
    second.feed(REQUEST)
    undecided[1].deferred.callback(applications[1])
    undecided[0].deferred.callback(applications[0])
    assert second.transport.taken() == ANSWER
    assert status(first.transport.taken()) == 503
    first.lose()
    assert applications[0].told == []


def test_the_connections_can_be_told_something_while_some_go() -> None:
    first = opened()
    second = Served(factory=first.factory).open()
    for wire in first.factory.connections:
        wire.sendTextMessage("Hello")
        wire.abortConnection()
        wire.connectionLost(Failure(ConnectionError()))
    assert first.transport.taken() == second.transport.taken() == HELLO_SENT
    assert list(first.factory.connections) == []


def test_the_connections_are_those_of_each_moment() -> None:
    first = Served()
    connections = first.factory.connections
    assert len(connections) == 0
    first.open()
    assert (len(connections), first.wire in connections, connections) == (1, True, {first.wire})
    second = Served(factory=first.factory)
    assert second.wire not in connections
    second.open()
    assert connections == {first.wire, second.wire}
    assert connections is first.factory.connections
    assert repr(connections) == "<the open connections: 2>"
    first.lose(clean=False)
    assert list(connections) == [second.wire]


def test_the_connections_are_a_set_for_looking_at_alone() -> None:
    served = opened()
    connections = served.factory.connections
    assert isinstance(connections, Set)
    assert not isinstance(connections, MutableSet)
    kept = connections | set()
    assert kept == connections - set() == {served.wire}
    served.lose()
    assert (len(kept), len(connections)) == (1, 0)


def test_a_lost_connection_is_not_among_them_when_its_application_hears_of_it() -> None:
    served = Served()
    seen: list[int] = []
    served.application.does["lost"] = lambda application: seen.append(len(served.factory.connections))
    served.open().lose()
    assert seen == [0]


# Stopping


def test_stopping_says_1001_and_waits() -> None:
    served = opened()
    stopped: list[object] = []
    served.factory.stop().addCallback(stopped.append)
    assert served.transport.taken() == GOING_AWAY_SENT
    served.feed(CLOSE)
    assert stopped == []
    served.lose()
    assert stopped == [None]
    assert served.application.told[-1] == "lost"


def test_stopping_with_another_code() -> None:
    served = opened()
    served.factory.stop(1012)
    assert served.transport.taken() == b"\x88\x02\x03\xf4"


def test_stopping_with_a_reason() -> None:
    served = opened()
    served.factory.stop(1012, "back soon")
    assert served.transport.taken() == b"\x88\x0b\x03\xf4back soon"


@pytest.mark.parametrize("code", [1005, 0, "1001", None])
def test_stopping_with_a_code_that_can_not_be(code: Any) -> None:
    served = opened()
    with pytest.raises(LocalProtocolError):
        served.factory.stop(code)
    assert served.feed(HELLO) == b""
    assert served.application.messages == ["Hello"]


@pytest.mark.parametrize("close_timeout", [1, 60, None])
def test_those_that_do_not_go_are_dropped_after_four_seconds(close_timeout: int | None) -> None:
    served = opened(settings={"closeTimeout": close_timeout})
    stopped: list[object] = []
    served.factory.stop().addCallback(stopped.append)
    served.advance(3.9)
    assert ("abort" in served.transport.told) == (close_timeout == 1)
    served.advance(0.1)
    assert served.transport.told == ["abort"]
    assert stopped == []
    served.lose()
    assert stopped == [None]


@pytest.mark.parametrize(("seconds", "more"), [((60,), 60), ((0.5,), 0.5), ((60, 2), 2), ((2, 60), 2), ((3, 3), 3)])
def test_the_earliest_end_counts(seconds: tuple[float, ...], more: float) -> None:
    served = opened(settings={"closeTimeout": None})
    for one in seconds:
        served.factory.stop(timeout=one)
    served.advance(more - 0.1)
    assert served.transport.told == []
    served.advance(0.1)
    assert served.transport.told == ["abort"]
    served.lose()


def test_stopping_with_no_connections() -> None:
    factory = WebSocketServerFactory(lambda request: Application(), reactor=(clock := Clock()))
    stopped: list[object] = []
    factory.stop().addCallback(stopped.append)
    factory.stop().addCallback(stopped.append)
    assert stopped == [None, None]
    assert clock.getDelayedCalls() == []


def test_stopping_twice() -> None:
    served = opened()
    stopped: list[str] = []
    served.factory.stop().addCallback(lambda none: stopped.append("first"))
    served.factory.stop(1012).addCallback(lambda none: stopped.append("second"))
    assert served.transport.taken() == GOING_AWAY_SENT
    assert len(served.clock.getDelayedCalls()) == 2  # the closing timer and one for all
    served.advance(4)
    served.factory.stop().addCallback(lambda none: stopped.append("third"))
    served.lose()
    assert stopped == ["first", "second", "third"]


def test_cancelling_what_stop_returns_changes_nothing() -> None:
    served = opened()
    stopping = served.factory.stop()
    others: list[object] = []
    served.factory.stop().addCallback(others.append)
    failed: list[Failure] = []
    stopping.addErrback(failed.append)
    stopping.cancel()
    assert failed[0].check(CancelledError)
    served.lose()
    assert others == [None]


@pytest.mark.parametrize(
    ("received", "expected"), [(b"", None), (REQUEST[:30], 503), (REQUEST, 503), (b"NONSENSE\r\n", None)]
)
def test_stopping_while_connections_open(received: bytes, expected: int | None) -> None:
    undecided = Undecided()
    served = Served(buildApplication=undecided)
    served.feed(received)
    stopped: list[object] = []
    served.factory.stop().addCallback(stopped.append)
    answer = served.transport.taken()
    if expected is None:
        assert answer == b""
    else:
        assert status(answer) == expected
        assert b"\r\nRetry-After: 5\r\n" in answer
    assert undecided.cancelled == (received == REQUEST)
    assert served.transport.told[-1] == "lose"
    served.lose()
    assert stopped == [None]


def test_stopping_within_build_application() -> None:
    def build(request: object) -> Application:
        served.factory.stop()
        return served.application

    served = Served(buildApplication=build)
    check_refused(served, served.feed(REQUEST), 503)


@pytest.mark.parametrize("callback", ["started", "finished", "message", "lost"])
def test_stopping_within_a_callback(callback: str) -> None:
    stopped: list[object] = []
    served = Served()
    served.application.does[callback] = lambda application: served.factory.stop().addCallback(stopped.append) and None
    served.feed(REQUEST + HELLO + CLOSE)
    served.lose()
    assert stopped == [None]
    assert served.application.told == ["started", "finished", "Hello", "lost"]


def test_a_decision_in_the_middle_of_stop_is_too_late() -> None:
    """Each of two that are cancelled has the other decided."""
    deciding: list[Deferred[Any]] = []

    def decide(cancelled: Deferred[Any]) -> None:
        for other in deciding:
            if other is not cancelled and not other.called:
                other.callback(Application())

    def build(request: Any) -> Any:
        deciding.append(Deferred(decide))
        return deciding[-1]

    first = Served(buildApplication=build)
    second = Served(factory=first.factory)
    for served in (first, second):
        assert served.feed(REQUEST) == b""
    first.factory.stop()
    for served in (first, second):
        assert served.transport.taken().startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize("fallback", [None, Factory.forProtocol(Protocol)])
def test_those_that_come_after_stop_are_refused_and_not_waited_for(fallback: Any) -> None:
    served = Served(fallback=fallback)
    served.lose()
    served.factory.stop()
    late = Served(factory=served.factory)
    stopped: list[object] = []
    served.factory.stop().addCallback(stopped.append)
    assert stopped == [None]
    request = REQUEST if fallback is None else b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = late.feed(request)
    assert b"\r\nRetry-After: 5\r\n" in answer
    check_refused(late, answer, 503)


def test_refusals_after_stop_are_summed_up_until_the_last_connection_is_lost() -> None:
    served = opened()
    served.factory.stop()
    with logged() as events:
        for _ in range(7):
            late = Served(factory=served.factory)
            late.feed(REQUEST)
            late.lose(clean=False)
        assert len(events) == 5
        served.lose()
    assert "refused 2 more in 1 s" in formatEvent(events[5])


# Those who do not want a WebSocket


class Other(Protocol):
    def __init__(self) -> None:
        self.received = b""
        self.lost: list[Failure] = []

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        self.lost.append(reason)


class Others(Factory):
    def __init__(self, none: bool = False) -> None:
        self.none = none
        self.made: list[Other] = []
        self.told: list[str] = []

    def startFactory(self) -> None:
        self.told.append("start")

    def stopFactory(self) -> None:
        self.told.append("stop")

    def buildProtocol(self, addr: object) -> Other | None:
        if self.none:
            return None
        self.made.append(Other())
        return self.made[-1]


GET = b"POST /page?q=1 HTTP/1.1\r\nhost:  x\r\nX-Odd:\tvalue \r\nContent-Length: 4\r\n\r\nbo"


@pytest.mark.parametrize("size", [1, 1000])
def test_others_get_every_byte_as_it_came(size: int) -> None:
    others = Others()
    served = Served(fallback=others)
    for place in range(0, len(GET), size):
        served.feed(GET[place : place + size])
    served.feed(b"dy")
    [other] = others.made
    assert other.received == GET + b"dy"
    assert other.transport is served.transport
    assert served.clock.getDelayedCalls() == []
    assert served.transport.producer is None
    served.lose()
    assert len(other.lost) == 1
    assert served.requests == []


def test_others_that_fail_when_they_lose_their_connection() -> None:
    def fail(reason: Failure) -> None:
        raise RuntimeError("others")

    others = Others()
    served = Served(fallback=others)
    served.feed(GET)
    others.made[0].connectionLost = fail
    stopped: list[object] = []
    closed: list[object] = []
    served.wire.whenClosed().addCallback(closed.append)
    served.factory.stop().addCallback(stopped.append)
    with logged() as events:
        served.lose()
    assert failures(events) == ["others"]
    assert closed == stopped == [None]


def test_there_may_be_no_protocol_for_others() -> None:
    served = Served(fallback=Others(none=True), settings={"closeTimeout": 3})
    assert served.feed(GET) == b""
    assert served.transport.told == ["lose"]
    served.feed(b"dy")
    served.advance(3)
    assert served.transport.told == ["lose", "abort"]
    served.lose()


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (REQUEST, 101),
        (REQUEST.replace(b"GET", b"PUT"), 405),
        (REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0"), 505),
        (b"NONSENSE\r\n", 400),
        (b"GET /" + b"x" * 17000, 414),
    ],
)
def test_what_is_ours_stays_ours(request_: bytes, expected: int) -> None:
    others = Others()
    served = Served(fallback=others)
    assert status(served.feed(request_)) == expected
    assert others.made == []


def test_stopping_closes_the_connections_of_others() -> None:
    others = Others()
    served = Served(fallback=others)
    served.feed(GET)
    stopped: list[object] = []
    served.factory.stop().addCallback(stopped.append)
    assert served.transport.told == ["lose"]
    served.feed(b"dy")
    assert others.made[0].received == GET + b"dy"
    served.advance(4)
    assert served.transport.told == ["lose", "abort"]
    served.lose()
    assert stopped == [None]
    assert len(others.made[0].lost) == 1


def test_others_are_started_and_stopped_with_us() -> None:
    others = Others()
    factory = WebSocketServerFactory(lambda request: Application(), fallback=others)
    factory.doStart()
    factory.doStop()
    assert others.told == ["start", "stop"]
    alone = WebSocketServerFactory(lambda request: Application())
    alone.doStart()
    alone.doStop()


# The factory


def test_it_is_a_factory() -> None:
    factory = WebSocketServerFactory(lambda request: Application(), reactor=Clock())
    verifyObject(IProtocolFactory, factory)
    verifyObject(IProtocolNegotiationFactory, factory)
    assert factory.acceptableProtocols() == [b"http/1.1"]
    assert isinstance(factory.buildProtocol(None), WebSocketTransport)
    assert factory.settings == Settings()


@pytest.mark.parametrize(
    "arguments",
    [
        {"allowedOrigins": "https://example.com"},
        {"allowedOrigins": ["example.com"]},
        {"headers": [("Name", "x\r\ny")]},
        {"headers": [("Upgrade", "x")]},
        {"headers": ["Name: x"]},
        {"subprotocols": "chat"},
        {"subprotocols": ["ch at"]},
    ],
    ids=str,
)
def test_arguments_that_can_not_be(arguments: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        WebSocketServerFactory(lambda request: Application(), **arguments)


def test_the_global_reactor_is_the_default() -> None:
    from twisted.internet import reactor

    factory = WebSocketServerFactory(lambda request: Application())
    assert factory.buildProtocol(None).factory.reactor is reactor


def test_messages_of_two_connections_do_not_mix() -> None:
    applications = [Application(), Application()]
    waiting = list(applications)
    first = Served(buildApplication=lambda request: waiting.pop(0))
    second = Served(factory=first.factory)
    first.feed(REQUEST)
    second.feed(REQUEST)
    first.feed(text("a"))
    second.feed(text("b"))
    assert [application.messages for application in applications] == [["a"], ["b"]]


# Before it is open, for who has what the factory built


def test_nothing_is_sent_before_the_101() -> None:
    served = Served()
    served.wire.sendTextMessage("early")
    served.wire.ping()
    assert served.wire.counters.sendsIgnored == 2
    assert served.feed(REQUEST + HELLO) == ANSWER
    served.wire.sendTextMessage("Hello")
    assert served.transport.taken() == HELLO_SENT
    assert served.application.messages == ["Hello"]


@pytest.mark.parametrize("when", ["before the request", "in it", "undecided"])
def test_closing_before_it_is_open(when: str) -> None:
    served = Served(buildApplication=Undecided())
    if when != "before the request":
        served.feed(REQUEST[: -2 if when == "in it" else None])
    served.wire.loseConnection()
    answer = served.transport.taken()
    if when == "before the request":
        assert answer == b""
    else:
        assert status(answer) == (408 if when == "in it" else 503)
    served.advance(10)
    assert "abort" in served.transport.told
    served.lose()
    assert served.application.told == []


@pytest.mark.parametrize("head", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET\r\n\r\n"])
def test_nothing_is_sent_behind_a_refusal(head: bytes) -> None:
    served = Served()
    assert served.feed(head).startswith(b"HTTP/1.1 4")
    served.wire.sendTextMessage("late")
    served.wire.loseConnection()
    assert served.transport.taken() == b""


def test_pausing_before_a_refusal_does_not_hold_up_the_farewell() -> None:
    undecided = Undecided()
    served = Served(buildApplication=undecided, transport=HalfCloseable())
    served.feed(REQUEST)
    served.wire.pauseProducing()
    undecided.deferred.errback(Refuse(403))
    assert status(served.transport.taken()) == 403
    assert served.transport.told == ["lose write"]


def raised(build: Any) -> list[str]:
    """The log of a decision that is answered with 500."""
    served = Served(buildApplication=build)
    with logged() as events:
        answer = served.feed(REQUEST)
    check_refused(served, answer, 500)
    return failures(events)


@pytest.mark.parametrize("how", [at_once, later, coroutine])
@pytest.mark.parametrize(
    ("decision", "told"),
    [
        (Refuse(403), "buildApplication returned a Refuse: raise it"),
        (Refuse, "buildApplication returned the class Refuse: raise an instance, Refuse(...)"),
        (Application, "buildApplication returned the class Application: return an instance, Application(...)"),
        (
            None,
            "buildApplication returned None: return an application, or raise Refuse; "
            "the handler of a stream is given as streamApplication(handler)",
        ),
        (
            {},
            "buildApplication returned a dict, and no application, which has negotiationStarted: "
            "inherit from WebSocketProtocol",
        ),
    ],
    ids=repr,
)
def test_a_mistake_is_told_with_what_to_write(decision: Any, told: str, how: Callable[[object], Any]) -> None:
    assert raised(lambda request: how(decision)) == [told]


async def iterating(stream: Any) -> None:
    async for message in stream:
        await stream.send(message)


async def receiving(stream: Any) -> None:
    await stream.receive()


async def sending(stream: Any) -> None:
    await stream.send("Hello")


async def entering(stream: Any) -> None:
    async with stream:
        pass


async def ending(stream: Any) -> None:
    pass


@pytest.mark.parametrize("handler", [iterating, receiving, sending, entering, ending])
def test_the_handler_of_a_stream_in_place_of_build_application(handler: Any) -> None:
    (told,) = raised(handler)
    assert "streamApplication(handler)" in told


def test_a_handler_that_is_returned() -> None:
    (told,) = raised(lambda request: iterating)
    assert "StreamHandler(handler)" in told


def test_a_request_has_no_other_attributes() -> None:
    served = opened()
    with pytest.raises(AttributeError, match="'Request' object has no attribute 'url'"):
        served.wire.request.url  # noqa: B018


# A transport that somebody else closes


@implementer(ISSLTransport)
class Secure(Transport):
    """As one of TLS it waits for the peer's farewell when it is told to close, and tells nobody."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        assert enabled


@pytest.mark.parametrize("came", [b"", REQUEST[:50], REQUEST])
def test_a_policy_that_closes_ends_the_opening_handshake(came: bytes) -> None:
    """As `TimeoutFactory`, whatever a peer is waited for."""
    cancelled: list[object] = []
    served = Served(
        buildApplication=lambda request: Deferred(cancelled.append),
        transport=Secure(),
        settings={"openTimeout": None, "closeTimeout": None},
    )
    served.feed(came)
    served.advance(5)
    served.transport.loseConnection()
    assert served.advance(1) == b""
    assert served.transport.told == ["lose", "abort"]
    served.lose()
    assert len(cancelled) == (came == REQUEST)


def test_our_own_farewell_has_its_time() -> None:
    """It is no policy that has closed the transport."""

    def refuse(request: Any) -> Any:
        raise Refuse(403)

    served = Served(buildApplication=refuse, transport=Secure(), settings={"closeTimeout": 10})
    served.feed(REQUEST)
    assert served.transport.told[-1] == "lose"
    served.advance(9)
    assert served.transport.told[-1] == "lose"
    served.advance(1)
    assert served.transport.told[-1] == "abort"
    served.lose()


def test_an_open_connection_has_no_look_each_second() -> None:
    served = opened(transport=Secure())
    assert served.clock.getDelayedCalls() == []
    served.lose()


class Cancelled(Deferred[Any]):
    """A Deferred as those of asyncio's futures: its cancellation is asyncio's."""

    def cancel(self) -> None:
        self.errback(AsyncioCancelled())


@pytest.mark.parametrize("waits", ["buildApplication", "message", "handler"])
def test_a_cancellation_of_asyncio_is_no_failure(waits: str) -> None:
    """The answer to ours: the client has left, or the server stops."""

    async def handler(stream: Any) -> None:
        await Cancelled()

    application = Application(message=lambda application: Cancelled())
    build = {
        "buildApplication": lambda request: Cancelled(),
        "message": lambda request: application,
        "handler": streamApplication(handler),
    }[waits]
    with logged() as events:
        served = Served(buildApplication=build)
        served.feed(REQUEST)
        if waits == "message":
            served.feed(HELLO)
        stopped = served.factory.stop()
        served.lose(clean=False)
        served.advance(10)
        assert stopped.called
    assert failures(events) == []
    assert served.clock.getDelayedCalls() == []
