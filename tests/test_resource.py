"""WebSockets in a tree of ``twisted.web``, in memory: a ``Site``, its channel, and a transport that remembers."""

import gc
import io
import re
from collections.abc import Callable
from typing import Any
from weakref import ref

import pytest
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.guard import BasicCredentialFactory, HTTPAuthSessionWrapper
from twisted.web.http import HTTPChannel, HTTPFactory
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Site
from twisted.web.util import DeferredResource
from twisted.web.vhost import NameVirtualHost, VHostMonsterResource
from wire import (
    ANSWER,
    CLOSE,
    CLOSE_SENT,
    GOING_AWAY_SENT,
    HELLO,
    HELLO_SENT,
    REQUEST,
    Application,
    HalfCloseable,
    Producer,
    Slow,
    Transport,
    failures,
    logged,
    quiet,
    text,
)
from zope.interface import implementer

from wsock import (
    Accept,
    Compression,
    LocalProtocolError,
    Refuse,
    WebSocketClosed,
    WebSocketDropped,
    WebSocketResource,
    WebSocketServerFactory,
    upgradeRequest,
)
from wsock.wire.protocol import WebSocketTransport

PAGE = b"GET /page HTTP/1.1\r\nHost: server.example.com\r\n\r\n"
PAGE_BODY = b"a page"
FIELDS = {"Connection": "close", "Content-Type": "text/plain; charset=utf-8"}


class Page(Resource):
    """A page with this text."""

    def __init__(self, content: bytes = PAGE_BODY) -> None:
        super().__init__()
        self.content = content

    def render_GET(self, request: Any) -> bytes:
        request.setHeader(b"Content-Type", b"text/plain")
        return self.content


class Web:
    """A connection to a site that has a page at ``/page``, and a WebSocket at ``/chat``.

    Args:
        root: the tree, where it is another one.
        transport: what the connection is on.
        application: what ``buildApplication`` returns.
        settings: those of the resource.
        arguments: the resource's.
    """

    def __init__(
        self,
        root: Callable[["Web"], Any] | None = None,
        transport: Transport | None = None,
        application: Any = None,
        settings: dict[str, Any] | None = None,
        clock: Clock | None = None,
        **arguments: Any,
    ) -> None:
        self.clock = Clock() if clock is None else clock
        self.application = Application() if application is None else application
        self.requests: list[Any] = []
        #: The request of ``twisted.web`` within ``buildApplication``, which is not kept.
        self.asked: list[str] = []
        arguments.setdefault("buildApplication", self.build)
        build = arguments.pop("buildApplication")
        self.resource = WebSocketResource(build, reactor=self.clock, settings=quiet(settings), **arguments)
        self.site = Site(self.tree() if root is None else root(self), reactor=self.clock)
        self.site.logFile = self.log = io.StringIO()
        self.connect(Transport() if transport is None else transport)

    def tree(self) -> Resource:
        tree = Resource()
        tree.putChild(b"page", Page())
        tree.putChild(b"chat", self.resource)
        return tree

    def build(self, request: Any) -> Any:
        self.requests.append(request)
        return self.application

    def connect(self, transport: Transport) -> None:
        self.transport: Any = transport
        protocol = self.site.buildProtocol(transport.getPeer())
        # As each of Twisted's has it.
        transport.protocol = protocol  # type: ignore[attr-defined]
        protocol.makeConnection(transport)

    def feed(self, data: bytes) -> bytes:
        """Has the connection receive bytes, whoever its protocol is; returns what was sent."""
        self.transport.protocol.dataReceived(data)
        sent: bytes = self.transport.taken()
        return sent

    def open(self) -> "Web":
        assert self.feed(REQUEST) == ANSWER
        return self

    def lose(self) -> None:
        with logged() as events:
            self.transport.protocol.connectionLost(Failure(ConnectionDone()))
        assert failures(events) == []
        assert [call for call in self.clock.getDelayedCalls() if "log" not in str(call.func)] == []

    @property
    def lines(self) -> list[str]:
        """The site's log, each line's request, status and size."""
        return [line.split('"')[3] + line.split('"')[4].rstrip() for line in self.log.getvalue().splitlines()]


def fieldsOf(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """An answer's status, its fields but for Date and Server, and its body; ``twisted.web`` has a case of its own."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    assert fields.pop("Date")
    fields.pop("Server", None)
    assert fields.pop("Content-Length") == str(len(body))
    return int(first.split()[1]), fields, body


# A connection that opens


def test_it_opens_with_the_same_answer_as_a_bare_factory() -> None:
    web = Web().open()
    assert web.application.told == ["started", "finished"]
    assert web.feed(HELLO) == b""
    web.application.transport.sendTextMessage("Hello")
    assert web.transport.taken() == HELLO_SENT
    assert web.feed(CLOSE) == CLOSE_SENT
    web.lose()
    assert web.application.told == ["started", "finished", "Hello", "lost"]
    assert isinstance(web.application.reasons[0], WebSocketClosed)


def test_nothing_of_the_channel_is_left() -> None:
    web = Web()
    channel = ref(web.transport.protocol._channel)
    assert len(web.clock.getDelayedCalls()) == 1  # the channel's timer
    web.open()
    assert [call for call in web.clock.getDelayedCalls() if "log" not in str(call.func)] == []
    assert type(web.transport.protocol) is WebSocketTransport
    assert type(web.transport.producer).__name__ == "Outbox"
    assert channel() is None
    web.clock.advance(1000)
    assert web.transport.told == []
    assert web.feed(HELLO) == b""


def test_the_request_is_the_one_that_was_parsed() -> None:
    web = Web()
    fields = b"cookie: a=b; c=d\r\nX-A:  one\r\nX-a: two\t\r\nX-B: \xe9\r\n\r\n"
    web.feed(REQUEST.replace(b"/chat", b"/chat/a%2fb?c=%20d")[:-2] + fields)
    (request,) = web.requests
    assert (request.method, request.target, request.rawPath) == ("GET", "/chat/a%2fb?c=%20d", "/chat/a%2fb")
    assert (request.query, request.host, request.origin) == ("c=%20d", "server.example.com", None)
    assert request.headers.getAll("x-a") == ["one", "two"]
    assert request.headers.get("X-B") == "\xe9"
    assert request.cookies == {"a": "b", "c": "d"}
    assert request.getPeer() == IPv4Address("TCP", "192.168.1.1", 54321)
    assert "X-A" in request.headers
    assert ("X-B", "\xe9") in request.headers.items()


def test_the_request_of_twisted_web_is_there_for_the_decision_and_for_those_who_keep_it() -> None:
    kept: list[Any] = []

    def build(request: Any) -> Any:
        kept.append(request.webRequest)
        return application

    application = Application()
    web = Web(buildApplication=build).open()
    request = application.transport.request
    assert request.webRequest is kept[0]
    assert kept[0].prepath == [b"chat"]
    assert kept[0].getClientAddress() == IPv4Address("TCP", "192.168.1.1", 54321)
    assert not kept[0].isSecure()
    gone = ref(kept.pop())
    assert gone() is None
    assert request.webRequest is None
    web.lose()


def test_a_bare_factory_has_no_request_of_twisted_web() -> None:
    from wire import Served

    served = Served().open()
    assert served.requests[0].webRequest is None


def test_arguments_are_those_of_the_factory() -> None:
    web = Web(
        subprotocols=["a"], headers=[("X-A", "b")], compression=Compression(), allowedOrigins=["https://a.example"]
    )
    fields = (
        b"Origin: https://a.example\r\nSec-WebSocket-Protocol: b, a\r\nSec-WebSocket-Extensions: permessage-deflate"
    )
    answer = web.feed(REQUEST[:-2] + fields + b"\r\n\r\n")
    assert b"\r\nSec-WebSocket-Protocol: a\r\n" in answer
    assert b"\r\nX-A: b\r\n" in answer
    assert b"\r\nSec-WebSocket-Extensions: permessage-deflate" in answer
    assert web.application.transport.subprotocol == "a"
    with pytest.raises(TypeError):
        WebSocketResource(web.build, fallback=web.site)  # type: ignore[call-arg]


# Bytes behind the request


def test_bytes_in_the_segment_of_the_request_are_not_lost() -> None:
    web = Web()
    assert web.feed(REQUEST + HELLO + text("two") + CLOSE[:3]) == ANSWER
    assert web.application.messages == ["Hello", "two"]
    assert web.feed(CLOSE[3:]) == CLOSE_SENT


@pytest.mark.parametrize("size", [1, 7])
def test_a_request_in_small_pieces(size: int) -> None:
    web = Web()
    data = REQUEST + HELLO + text("two")
    sent = b"".join(web.feed(data[place : place + size]) for place in range(0, len(data), size))
    assert sent == ANSWER
    assert web.application.messages == ["Hello", "two"]


def test_bytes_that_come_while_it_is_decided_are_kept_up_to_64_KiB() -> None:
    decision: Deferred[Any] = Deferred()
    web = Web(buildApplication=lambda request: decision)
    assert web.feed(REQUEST + HELLO) == b""
    assert web.feed(text("two")) == b""
    assert web.transport.told == []
    frames = text("x" * 100) * 700
    web.feed(frames)
    assert web.transport.told == ["pause"]
    decision.callback(web.application)
    assert web.transport.taken() == ANSWER
    web.clock.advance(0)
    assert web.transport.told == ["pause", "resume"]
    assert web.application.messages == ["Hello", "two", *["x" * 100] * 700]


class Late(Resource):
    """A tree that takes its time to find a resource."""

    isLeaf = True

    def __init__(self, found: "Deferred[Any]") -> None:
        super().__init__()
        self.found = DeferredResource(found)

    def render(self, request: Any) -> Any:
        return self.found.render(request)


@pytest.mark.parametrize(("count", "told"), [(1, ["resume"]), (700, ["pause", "resume"])])
def test_bytes_that_came_before_the_resource_was_found_are_not_lost(count: int, told: list[str]) -> None:
    found: Deferred[Any] = Deferred()
    web = Web(root=lambda web: Late(found))
    assert web.feed(REQUEST + HELLO) == b""
    web.feed(text("x" * 100) * count)
    assert web.transport.told == told[:-1]
    found.callback(web.resource)
    assert web.transport.taken() == ANSWER
    web.clock.advance(0)
    assert web.application.messages == ["Hello", *["x" * 100] * count]
    assert web.transport.told == told
    assert web.feed(HELLO) == b""
    assert web.application.messages[-1] == "Hello"


def test_a_client_that_leaves_before_the_resource_is_found() -> None:
    found: Deferred[Any] = Deferred()
    web = Web(root=lambda web: Late(found))
    web.feed(REQUEST)
    web.lose()
    with logged() as events:
        found.callback(web.resource)
        gc.collect()
    assert failures(events) == []
    assert web.requests == []


# More requests on one connection


def test_a_second_request_of_a_connection_opens_as_well_as_a_first() -> None:
    web = Web()
    assert web.feed(PAGE).endswith(PAGE_BODY)
    web.clock.advance(10)
    web.open()
    assert web.feed(HELLO) == b""
    assert web.application.messages == ["Hello"]
    assert web.lines == ["GET /page HTTP/1.1 200 6", "GET /chat HTTP/1.1 101 -"]


def test_a_request_before_it_in_the_same_segment_is_answered_first() -> None:
    web = Web()
    first, _, rest = web.feed(PAGE + REQUEST + HELLO).partition(PAGE_BODY)
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert rest == ANSWER
    assert web.application.messages == ["Hello"]


def test_a_slow_answer_before_it_is_sent_first() -> None:
    requests: list[Any] = []

    class Slowly(Resource):
        def render_GET(self, request: Any) -> int:
            requests.append(request)
            return NOT_DONE_YET

    def root(web: Web) -> Any:
        tree = web.tree()
        tree.putChild(b"page", Slowly())
        return tree

    web = Web(root=root)
    assert web.feed(PAGE + REQUEST + HELLO) == b""
    assert web.feed(text("two")) == b""
    assert web.requests == []
    requests[0].write(b"late")
    requests[0].finish()
    sent = web.transport.taken()
    assert sent.endswith(b"0\r\n\r\n" + ANSWER)
    assert web.application.messages == ["Hello", "two"]


# Refusals

HTTP_10 = REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0")
REFUSED = {
    "no key": (REQUEST.replace(b"Sec-WebSocket-Key", b"X-Key"), 400, {}, b"Bad Request: no Sec-WebSocket-Key"),
    "another version": (
        REQUEST.replace(b"Version: 13", b"Version: 12"),
        426,
        {"Connection": "close, Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"},
        b"Upgrade Required: a Sec-WebSocket-Version other than 13",
    ),
    "another Origin": (
        REQUEST[:-2] + b"Origin: https://evil.example\r\n\r\n",
        403,
        {},
        b"Forbidden: this page's Origin is not allowed here (allowedOrigins)",
    ),
    "POST": (REQUEST.replace(b"GET", b"POST"), 405, {"Allow": "GET"}, b"Method Not Allowed: a method other than GET"),
    "a body": (
        REQUEST[:-2] + b"Content-Length: 4\r\n\r\nbody",
        400,
        {},
        b"Bad Request: a Content-Length that isn't one 0",
    ),
    "two Hosts": (REQUEST[:-2] + b"Host: a\r\n\r\n", 400, {}, b"Bad Request: more than one Host"),
    # Twisted itself refuses the others.
    "a control character": (
        REQUEST[:-2] + b"X-A: a\x07b\r\n\r\n",
        400,
        {},
        b"Bad Request: a control character or a bare CR",
    ),
    "HTTP/1.0": (HTTP_10, 505, {}, b"HTTP Version Not Supported: an HTTP version other than 1.1"),
    "a page by HTTP/1.0": (
        PAGE.replace(b"/page", b"/chat").replace(b"HTTP/1.1", b"HTTP/1.0"),
        505,
        {},
        b"HTTP Version Not Supported: an HTTP version other than 1.1",
    ),
    "a page": (
        PAGE.replace(b"/page", b"/chat"),
        426,
        {"Connection": "close, Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"},
        b"Upgrade Required: this is for WebSockets, no page",
    ),
    "another Upgrade": (
        REQUEST.replace(b"Upgrade: websocket", b"Upgrade: h2c"),
        426,
        {"Connection": "close, Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"},
        b"Upgrade Required: this is for WebSockets, no page",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    data, status, fields, body = REFUSED[name]
    web = Web()
    with logged() as events:
        answer = web.feed(data)
    told = fieldsOf(answer.replace(b"Sec-Websocket-", b"Sec-WebSocket-"))
    assert told == (status, {**FIELDS, **fields}, body)
    assert web.transport.told[-1] == "lose"
    assert len([event for event in events if "refused" in str(event.get("log_format"))]) == 1
    assert [line.split()[3] for line in web.lines] == [str(status)]
    web.lose()
    assert web.requests == []


@pytest.mark.parametrize("data", [REQUEST, PAGE.replace(b"/page", b"/chat")])
def test_the_answer_to_HEAD_has_no_body(data: bytes) -> None:
    web = Web()
    answer = web.feed(data.replace(b"GET", b"HEAD"))
    assert answer[9:12] in (b"405", b"426")
    assert answer.endswith(b"\r\n\r\n")
    assert b"\r\nContent-Length: 0\r\n" not in answer


def test_the_answer_to_HEAD_has_no_body_when_it_stops() -> None:
    web = Web()
    web.resource.stop()
    answer = web.feed(REQUEST.replace(b"GET", b"HEAD"))
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert answer.endswith(b"\r\n\r\n")


def test_a_page_in_place_of_the_hint() -> None:
    page = Resource()
    page.putChild(b"", Page(b"index"))
    page.putChild(b"below", Page(b"below"))
    web = Web(page=page)
    assert web.feed(PAGE.replace(b"/page", b"/chat/")).endswith(b"\r\n\r\nindex")
    assert web.feed(PAGE.replace(b"/page", b"/chat/below")).endswith(b"\r\n\r\nbelow")
    head = web.feed(PAGE.replace(b"/page", b"/chat/below").replace(b"GET", b"HEAD"))
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert head.endswith(b"\r\n\r\n")
    web.open()


def test_the_body_of_a_refused_request_is_let_go() -> None:
    files: list[Any] = []

    def build(request: Any) -> Any:
        files.append(request.webRequest.content)
        raise Refuse(403)

    web = Web(buildApplication=build)
    web.feed(REQUEST)
    assert files[0].closed


def test_refuse_of_the_application() -> None:
    def build(request: Any) -> Any:
        raise Refuse(401, [("WWW-Authenticate", "Basic")], b"who?")

    web = Web(buildApplication=build, transport=HalfCloseable())
    fields = {**FIELDS, "WWW-Authenticate": "Basic"}
    assert fieldsOf(web.feed(REQUEST + HELLO)) == (401, fields, b"who?")
    # Bytes that it may still be sending do not cost it the answer.
    assert web.transport.told == ["lose write"]
    assert web.feed(HELLO) == b""
    web.clock.advance(10)
    assert web.transport.told == ["lose write", "abort"]
    assert web.lines == ["GET /chat HTTP/1.1 401 4"]


def test_a_failure_of_the_application() -> None:
    web = Web(buildApplication=lambda request: 1 / 0)
    with logged() as events:
        assert fieldsOf(web.feed(REQUEST))[0] == 500
    assert failures(events) == ["division by zero"]


def test_a_late_refusal() -> None:
    decision: Deferred[Any] = Deferred()
    web = Web(buildApplication=lambda request: decision)
    web.feed(REQUEST + HELLO)
    decision.errback(Refuse(403))
    assert fieldsOf(web.transport.taken())[0] == 403


def test_a_coroutine_decides() -> None:
    async def build(request: Any) -> Any:
        return Accept(web.application, headers=[("X-A", "b")])

    web = Web(buildApplication=build)
    assert b"\r\nX-A: b\r\n" in web.feed(REQUEST)


def test_a_client_that_leaves_cancels_the_decision() -> None:
    cancelled: list[Any] = []
    web = Web(buildApplication=lambda request: Deferred(cancelled.append))
    web.feed(REQUEST)
    web.lose()
    assert len(cancelled) == 1


def test_a_decision_that_takes_too_long() -> None:
    web = Web(buildApplication=lambda request: Deferred(), settings={"openTimeout": 5})
    web.feed(REQUEST)
    web.clock.advance(5)
    assert fieldsOf(web.transport.taken())[0] == 503


def test_maxConnections() -> None:
    web = Web(maxConnections=1).open()
    first = web.transport
    web.connect(Transport())
    status, fields, _ = fieldsOf(web.feed(REQUEST))
    assert (status, fields["Retry-After"]) == (503, "5")
    assert len(web.resource.connections) == 1
    first.protocol.connectionLost(Failure(ConnectionDone()))
    assert len(web.resource.connections) == 0
    web.connect(Transport())
    web.open()


# The end


def test_stop_closes_with_1001_and_refuses() -> None:
    pending: Deferred[Any] = Deferred()
    decisions: list[Any] = [Application(), pending]
    web = Web(buildApplication=lambda request: decisions.pop(0)).open()
    first = web.transport
    web.connect(Transport())
    web.feed(REQUEST)
    second = web.transport
    stopped: list[None] = []
    web.resource.stop().addCallback(stopped.append)
    assert first.taken() == GOING_AWAY_SENT
    assert fieldsOf(second.taken())[0] == 503
    web.connect(Transport())
    assert fieldsOf(web.feed(REQUEST))[0] == 503
    # Pages are the site's.
    web.connect(Transport())
    assert web.feed(PAGE).endswith(PAGE_BODY)
    for transport in (first, second):
        transport.protocol.connectionLost(Failure(ConnectionDone()))
    assert stopped == [None]


def test_notifyFinish_of_an_open_connection_fires_once_when_it_is_lost() -> None:
    told: list[Any] = []

    def build(request: Any) -> Any:
        request.webRequest.notifyFinish().addBoth(told.append)
        return Application()

    web = Web(buildApplication=build).open()
    gc.collect()
    assert told == []
    web.feed(CLOSE)
    assert told == []
    web.lose()
    (reason,) = told
    assert reason.check(ConnectionDone) is ConnectionDone
    assert isinstance(reason.value, WebSocketClosed)


def test_notifyFinish_of_a_client_that_leaves_while_it_is_decided() -> None:
    told: list[Any] = []

    def build(request: Any) -> Any:
        request.webRequest.notifyFinish().addBoth(told.append)
        return Deferred()

    web = Web(buildApplication=build)
    web.feed(REQUEST)
    web.lose()
    assert [type(reason.value) for reason in told] == [WebSocketDropped]


def test_notifyFinish_of_a_refusal_fires_when_it_is_answered() -> None:
    told: list[Any] = []

    def build(request: Any) -> Any:
        request.webRequest.notifyFinish().addBoth(told.append)
        raise Refuse(403)

    web = Web(buildApplication=build)
    web.feed(REQUEST)
    assert told == [None]
    web.lose()
    assert told == [None]


def test_connectionLost_of_a_request_that_was_refused_is_not_called() -> None:
    lost: list[Any] = []
    kept: list[Any] = []

    def build(request: Any) -> Any:
        kept.append(request.webRequest)
        kept[0].connectionLost = lost.append
        raise Refuse(403)

    web = Web(buildApplication=build)
    assert fieldsOf(web.feed(REQUEST))[0] == 403
    web.lose()
    assert lost == []


def test_connectionLost_of_a_request_that_is_kept_is_called_once() -> None:
    lost: list[Any] = []

    class Own(HTTPRequest):
        def process(self) -> None:
            upgradeRequest(self, factory)

        def connectionLost(self, reason: Any) -> None:
            lost.append(reason.value)
            super().connectionLost(reason)
            raise RuntimeError("its own")

    kept: list[Any] = []

    def build(request: Any) -> Any:
        kept.append(request.webRequest)
        return Application()

    clock = Clock()
    factory = WebSocketServerFactory(build, reactor=clock, settings=quiet(None))
    transport = plain(clock, Own)
    transport.protocol.dataReceived(REQUEST + HELLO)
    assert transport.taken() == ANSWER
    with logged() as events:
        transport.protocol.connectionLost(Failure(ConnectionDone()))
    assert len(lost) == 1
    assert failures(events) == ["its own"]


def test_a_request_that_has_become_a_WebSocket_refuses_to_be_written_to() -> None:
    kept: list[Any] = []

    def build(request: Any) -> Any:
        kept.append(request.webRequest)
        return Application()

    web = Web(buildApplication=build).open()
    with pytest.raises(RuntimeError):
        kept[0].write(b"more")
    assert web.transport.taken() == b""


def test_a_request_that_is_being_decided_on_refuses_to_be_written_to() -> None:
    def build(request: Any) -> Any:
        with pytest.raises(RuntimeError):
            request.webRequest.write(b"more")
        return Application()

    Web(buildApplication=build).open()


def test_a_timer_that_the_tree_has_set_is_cleared() -> None:
    class Impatient(Resource):
        def getChild(self, path: bytes, request: Any) -> Any:
            request.channel.setTimeout(5)
            return web.resource

    web = Web(root=lambda web: Impatient())
    web.open()
    assert [call for call in web.clock.getDelayedCalls() if "log" not in str(call.func)] == []


def test_a_connection_leaves_no_cycle() -> None:
    for _ in range(2):
        web = Web().open()
        gc.collect()
        gc.disable()
        try:
            gone = ref(web.transport.protocol)
            web.feed(CLOSE)
            web.lose()
            web.transport.protocol = web.transport.producer = None
            web.application.transport = None
            web.requests.clear()
            assert gone() is None
        finally:
            gc.enable()


# Backpressure


def test_backpressure_of_both_ways() -> None:
    web = Web(transport=Slow()).open()
    ws = web.application.transport
    producer = Producer()
    ws.attachProducer(producer)
    ws.sendBytesMessage(bytes(100_000))
    assert producer.told == ["pause"]
    web.transport.take()
    assert producer.told == ["pause", "resume"]
    ws.pauseProducing()
    web.transport.protocol.dataReceived(HELLO)
    assert web.application.messages == []
    assert web.transport.told[-1] == "pause"
    ws.resumeProducing()
    web.clock.advance(0)
    assert web.application.messages == ["Hello"]


# Logs


def test_each_log_has_one_line() -> None:
    records: list[Any] = []
    web = Web(accessLog=records.append)
    web.feed(PAGE)
    web.open()
    web.feed(CLOSE)
    web.lose()
    assert web.lines == ["GET /page HTTP/1.1 200 6", "GET /chat HTTP/1.1 101 -"]
    (record,) = records
    assert (record.path, record.status, record.code, record.closedBy) == ("/chat", 101, 1000, "peer")
    assert record.bytesReceived == len(REQUEST) + len(CLOSE)
    web.connect(Transport())
    with logged() as events:
        web.feed(PAGE.replace(b"/page", b"/chat"))
        web.feed(REQUEST)
    # The answer to the first one says that it closes.
    assert web.lines[2:] == ["GET /chat HTTP/1.1 426 49"]
    assert [event for event in events if "refused" in str(event.get("log_format"))] == []


def test_a_log_of_the_site_that_fails_costs_no_connection() -> None:
    web = Web()
    web.site.log = lambda request: 1 / 0  # type: ignore[method-assign,assignment]
    with logged() as events:
        web.open()
    assert failures(events) == ["division by zero"]
    web.feed(HELLO)
    assert web.application.messages == ["Hello"]


# Sessions and cookies


def test_a_session_is_known_again() -> None:
    seen: list[Any] = []

    def build(request: Any) -> Any:
        seen.append(request.webRequest.getSession().uid)
        return Application()

    web = Web(buildApplication=build)
    answer = web.feed(REQUEST)
    cookie = re.search(rb"\r\nSet-Cookie: (TWISTED_SESSION=[0-9a-f]+)", answer)
    assert cookie is not None
    web.connect(Transport())
    assert web.feed(REQUEST[:-2] + b"Cookie: " + cookie[1] + b"\r\n\r\n") == ANSWER
    assert seen[0] == seen[1]
    for session in list(web.site.sessions.values()):
        session.expire()


def test_a_cookie_that_can_not_be_sent_is_left_out() -> None:
    def build(request: Any) -> Any:
        request.webRequest.cookies += [b"a=\x00", b"b=c"]
        raise Refuse(403)

    web = Web(buildApplication=build)
    with logged() as events:
        answer = web.feed(REQUEST)
    assert b"\r\nSet-Cookie: b=c\r\n" in answer
    assert b"a=" not in answer
    assert len(failures(events)) == 1


# Trees


@implementer(IRealm)
class Realm:
    """Gives each user a resource that knows who he is, above the one resource of all."""

    def __init__(self, resource: WebSocketResource) -> None:
        self.resource = resource

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        return IResource, Avatar(avatarId, self.resource), lambda: None


class Avatar(Resource):
    isLeaf = True

    def __init__(self, name: bytes, resource: WebSocketResource) -> None:
        super().__init__()
        self.name, self.resource = name, resource

    def render(self, request: Any) -> Any:
        request.avatar = self
        return self.resource.render(request)


def guarded(web: Web) -> Any:
    portal = Portal(Realm(web.resource), [InMemoryUsernamePasswordDatabaseDontUse(ann=b"secret")])
    tree = Resource()
    tree.putChild(b"chat", HTTPAuthSessionWrapper(portal, [BasicCredentialFactory(b"wsock")]))
    return tree


def test_a_guarded_resource() -> None:
    avatars: list[Any] = []

    def build(request: Any) -> Any:
        avatars.append(request.webRequest.avatar.name)
        return Application()

    web = Web(root=guarded, buildApplication=build)
    answer = web.feed(REQUEST)
    assert answer.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    # The connection goes on, as that of a page.
    credentials = b"Authorization: Basic YW5uOnNlY3JldA==\r\n\r\n"
    assert web.feed(REQUEST[:-2] + credentials + HELLO) == ANSWER
    assert avatars == [b"ann"]


def byName(web: Web) -> Any:
    hosts = NameVirtualHost()
    hosts.addHost(b"server.example.com", web.resource)
    return hosts


def byProxy(web: Web) -> Any:
    tree = web.tree()
    tree.putChild(b"vhost", VHostMonsterResource())
    return tree


def below(web: Web) -> Any:
    class Root(Resource):
        """As a tree beside a WSGI application."""

        def getChild(self, path: bytes, request: Any) -> Any:
            return Page(b"wsgi")

    tree = Root()
    tree.putChild(b"chat", web.resource)
    return tree


@pytest.mark.parametrize(
    ("root", "path", "host"),
    [
        (byName, b"/chat", "server.example.com"),
        (byName, b"/a/b", "server.example.com"),
        (byProxy, b"/vhost/https/www.example.org:8443/chat", "www.example.org:8443"),
        (below, b"/chat/a/b/", "server.example.com"),
        (lambda web: web.resource, b"/", "server.example.com"),
    ],
)
def test_trees(root: Callable[[Web], Any], path: bytes, host: str) -> None:
    web = Web(root=root)
    assert web.feed(REQUEST.replace(b"/chat", path) + HELLO) == ANSWER
    assert web.application.messages == ["Hello"]
    assert web.requests[0].host == host
    # A proxy's part of the path is not the site's.
    assert web.requests[0].rawPath == ("/chat" if root is byProxy else path.decode())


def test_the_origin_is_compared_with_the_host_of_the_proxy() -> None:
    web = Web(root=byProxy)
    data = REQUEST.replace(b"/chat", b"/vhost/https/www.example.org:443/chat")
    assert web.feed(data[:-2] + b"Origin: https://www.example.org\r\n\r\n") == ANSWER


def test_HTTP_10_is_answered_with_HTTP_10() -> None:
    assert Web().feed(HTTP_10).startswith(b"HTTP/1.0 505 ")


def test_it_has_no_children() -> None:
    resource = Web().resource
    assert resource.getChildWithDefault(b"a", None) is resource
    with pytest.raises(LocalProtocolError, match="no children"):
        Web().resource.putChild(b"a", Resource())


@pytest.mark.parametrize("page", ["a page", b"a page", Resource])
def test_a_page_is_a_resource(page: Any) -> None:
    with pytest.raises(LocalProtocolError, match="page"):
        WebSocketResource(lambda request: Application(), reactor=Clock(), page=page)


# A request without a tree


def plain(clock: Clock, requestFactory: Any) -> Any:
    """The transport of a connection to a server that is no Site."""
    factory = HTTPFactory(reactor=clock)
    transport: Any = Transport()
    transport.protocol = factory.buildProtocol(None)
    transport.protocol.requestFactory = requestFactory
    transport.protocol.makeConnection(transport)
    return transport


def upgrading(process: Callable[[Any], object]) -> Any:
    return type("Upgrading", (HTTPRequest,), {"process": process})


def test_upgradeRequest() -> None:
    clock, application = Clock(), Application()
    factory = WebSocketServerFactory(lambda request: application, reactor=clock, settings=quiet(None))
    transport = plain(clock, upgrading(lambda request: upgradeRequest(request, factory)))
    transport.protocol.dataReceived(REQUEST + HELLO)
    assert transport.taken() == ANSWER
    assert application.messages == ["Hello"]
    assert len(factory.connections) == 1
    transport = plain(clock, upgrading(lambda request: upgradeRequest(request, factory)))
    transport.protocol.dataReceived(PAGE)
    assert transport.taken().startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
    assert transport.told[-1] == "lose"


def test_a_channel_without_the_protocol_that_could_speak_HTTP_2() -> None:
    application = Application()
    factory = WebSocketServerFactory(lambda request: application, reactor=Clock(), settings=quiet(None))
    channel = HTTPChannel()
    channel.requestFactory = upgrading(lambda request: upgradeRequest(request, factory))
    channel.timeOut = None
    transport: Any = Transport()
    transport.protocol = channel
    channel.makeConnection(transport)
    with logged() as events:
        channel.dataReceived(REQUEST + HELLO)
    # It has no factory with a log.
    assert failures(events) == []
    assert transport.taken() == ANSWER
    assert type(transport.protocol) is WebSocketTransport
    assert application.messages == ["Hello"]


def test_upgradeRequest_later() -> None:
    clock, application, requests = Clock(), Application(), []
    factory = WebSocketServerFactory(lambda request: application, reactor=clock, settings=quiet(None))
    transport = plain(clock, upgrading(lambda request: requests.append(request)))
    transport.protocol.dataReceived(REQUEST + HELLO)
    transport.protocol.dataReceived(text("two"))
    upgradeRequest(requests[0], factory)
    assert transport.taken() == ANSWER
    assert application.messages == ["Hello", "two"]


def test_upgradeRequest_twice() -> None:
    factory = WebSocketServerFactory(lambda request: Application(), reactor=Clock(), settings=quiet(None))
    errors: list[str] = []

    def process(request: Any) -> None:
        upgradeRequest(request, factory)
        try:
            upgradeRequest(request, factory)
        except LocalProtocolError as error:
            errors.append(str(error))

    transport = plain(Clock(), upgrading(process))
    transport.protocol.dataReceived(REQUEST)
    assert transport.taken() == ANSWER
    assert errors == ["this request is being answered: upgradeRequest() comes before the first write()"]


def test_upgradeRequest_of_something_else() -> None:
    factory = WebSocketServerFactory(lambda request: Application(), reactor=Clock())
    with pytest.raises(LocalProtocolError, match="webRequest"):
        upgradeRequest(object(), factory)
    errors: list[str] = []

    def late(request: Any) -> None:
        for write, server in ((False, object()), (True, factory)):
            if write:
                request.write(b"")
            try:
                upgradeRequest(request, server)  # type: ignore[arg-type]
            except LocalProtocolError as error:
                errors.append(str(error))

    plain(Clock(), upgrading(late)).protocol.dataReceived(REQUEST)
    assert errors[0].startswith("factory")
    assert "upgradeRequest() comes before the first write()" in errors[1]


def test_a_request_of_HTTP_2_is_answered_with_a_text() -> None:
    """As one of ``twisted.web._http2``, which has no such fields as HTTP/1 has for a connection."""
    requests: list[Any] = []
    clock = Clock()
    factory = WebSocketServerFactory(lambda request: Application(), reactor=clock)

    def process(request: Any) -> None:
        requests.append(request)
        request.clientproto = b"HTTP/2"
        upgradeRequest(request, factory)

    transport = plain(clock, upgrading(process))
    transport.protocol.dataReceived(REQUEST)
    fields = dict(requests[0].responseHeaders.getAllRawHeaders())
    assert requests[0].code == 400
    assert b"Connection" not in fields
    assert b"Upgrade" not in fields
    assert fields[b"Content-Type"] == [b"text/plain; charset=utf-8"]
    assert b"Bad Request: a WebSocket is served by HTTP/1.1 here" in transport.taken()


# Other transports


def test_a_protocol_that_wraps_the_channel_stays_between() -> None:
    """Bytes and the loss go through the channel, whose methods are ours then."""
    web = Web()
    channel = web.transport.protocol

    class Wrapper:
        def dataReceived(self, data: bytes) -> None:
            channel.dataReceived(data)

        def connectionLost(self, reason: Failure) -> None:
            channel.connectionLost(reason)

    web.transport.protocol = wrapper = Wrapper()
    assert web.feed(PAGE + REQUEST + HELLO).endswith(ANSWER)
    assert web.transport.protocol is wrapper
    assert web.feed(text("two") + CLOSE) == CLOSE_SENT
    web.lose()
    assert web.application.told == ["started", "finished", "Hello", "two", "lost"]


def test_a_site_that_is_the_fallback_of_a_factory() -> None:
    outer = Application()
    web = Web()
    factory = WebSocketServerFactory(lambda request: outer, reactor=web.clock, settings=quiet(None), fallback=web.site)
    web.transport = transport = Transport()
    transport.protocol = factory.buildProtocol(None)  # type: ignore[attr-defined]
    transport.protocol.makeConnection(transport)  # type: ignore[attr-defined]
    assert web.feed(PAGE).endswith(PAGE_BODY)
    web.open()
    assert web.feed(HELLO) == b""
    assert (web.application.messages, outer.told) == (["Hello"], [])
    # The outer factory's end is a Close of the inner connection.
    factory.stop()
    assert transport.taken() == GOING_AWAY_SENT
    transport.protocol.connectionLost(Failure(ConnectionDone()))
    assert web.application.told[-1] == "lost"
    assert len(web.resource.connections) == 0
