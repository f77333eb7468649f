"""Access records: one for each connection, however it ends."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from wire import (
    ANSWER,
    CLOSE,
    CLOSE_SENT,
    FAULT,
    HELLO,
    HELLO_SENT,
    PING,
    PONG_SENT,
    REQUEST,
    Application,
    HalfCloseable,
    Served,
    Slow,
    Transport,
    failures,
    logged,
    text,
)

from wsock import (
    AccessRecord,
    Compression,
    Group,
    LocalProtocolError,
    Refuse,
    WebSocketServerFactory,
    streamApplication,
)
from wsock.testing import MemoryAgent

PEER = "192.168.1.1:54321"
#: The values common to the records of connections that were open, and had no message.
OPEN = AccessRecord(
    peer=PEER,
    path="/chat",
    status=101,
    subprotocol=None,
    extension=None,
    code=1006,
    reason="the connection was lost before the peer's Close",
    closedBy=None,
    seconds=0.0,
    messagesReceived=0,
    messagesSent=0,
    bytesReceived=len(REQUEST),
    bytesSent=len(ANSWER),
)


class Recorded(Served):
    """A connection whose server keeps records."""

    def __init__(self, application: Any = None, settings: dict[str, Any] | None = None, **arguments: Any) -> None:
        self.records: list[AccessRecord] = []
        if "factory" not in arguments:
            arguments.setdefault("accessLog", self.records.append)
        super().__init__(application, settings, **arguments)

    def record(self) -> AccessRecord:
        """Loses the transport; returns the only record."""
        assert self.records == []
        self.lose()
        [record] = self.records
        # Some transports tell twice.
        self.wire.connectionLost(Failure(ConnectionDone()))
        assert self.records == [record]
        return record


def recorded(application: Any = None, settings: dict[str, Any] | None = None, **arguments: Any) -> Recorded:
    one = Recorded(application, settings, **arguments)
    one.open()
    return one


def test_a_whole_record() -> None:
    served = Recorded(
        Application(message=lambda one: one.transport.sendTextMessage("Hello")), subprotocols=["superchat"]
    )
    offered = REQUEST.replace(b"/chat", b"/a%20b?token=secret")[:-2] + b"Sec-WebSocket-Protocol: superchat\r\n\r\n"
    answer = served.feed(offered)
    assert served.advance(1.5) == b""
    assert served.feed(HELLO + PING) == PONG_SENT + HELLO_SENT
    assert served.feed(HELLO) == HELLO_SENT
    assert served.feed(bytes.fromhex("88850000000003e8427965")) == CLOSE_SENT
    assert served.record() == AccessRecord(
        peer=PEER,
        path="/a%20b",
        status=101,
        subprotocol="superchat",
        extension=None,
        code=1000,
        reason="Bye",
        closedBy="peer",
        seconds=1.5,
        messagesReceived=2,
        messagesSent=2,
        bytesReceived=len(offered) + 11 + 11 + 11 + 11,
        bytesSent=len(answer) + 7 + 7 + 7 + 4,
    )


def test_seconds_are_those_of_the_connection() -> None:
    clock = Clock()
    clock.advance(1000)
    records: list[AccessRecord] = []
    factory = WebSocketServerFactory(lambda request: Application(), reactor=clock, accessLog=records.append)
    served = Recorded(factory=factory)
    served.open()
    clock.advance(0.5)
    served.lose()
    assert records[0].seconds == 0.5


def test_the_extension_is_recorded() -> None:
    served = Recorded(compression=Compression())
    served.feed(REQUEST[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
    assert served.record().extension == "permessage-deflate"


# Ends of open connections


def closed_by_us(served: Recorded) -> None:
    served.wire.loseConnection(4000, "over there")
    served.feed(CLOSE)


def closed_without_a_code(served: Recorded) -> None:
    served.feed(bytes.fromhex("888000000000"))


def crossed(served: Recorded) -> None:
    # The peer's Close is there, but stands behind a message that is answered by ours.
    served.application.does["message"] = lambda one: one.transport.loseConnection(4001)
    served.feed(HELLO + CLOSE)


def nothing(served: Recorded) -> None:
    pass


def aborted(served: Recorded) -> None:
    served.wire.abortConnection()


def never_answered(served: Recorded) -> None:
    served.wire.loseConnection(1000)
    served.advance(10)


def fault(served: Recorded) -> None:
    served.feed(FAULT)


def not_utf8(served: Recorded) -> None:
    served.feed(bytes.fromhex("818100000000ff"))


def too_big(served: Recorded) -> None:
    served.feed(bytes.fromhex("82ff0000000000ffffff00000000"))


def failed(served: Recorded) -> None:
    served.application.does["message"] = lambda one: 1 / 0
    served.feed(HELLO)
    served.feed(CLOSE)


def too_much_unsent(served: Recorded) -> None:
    served.transport.producer.pauseProducing()
    for _ in range(4):
        served.wire.sendBytesMessage(bytes(2**19))
    served.transport.producer.resumeProducing()
    served.feed(CLOSE)


def stopped(served: Recorded) -> None:
    served.factory.stop()
    served.feed(CLOSE)


def stopped_for_good(served: Recorded) -> None:
    served.factory.stop()
    served.advance(4)


ENDS = [
    (closed_by_us, 4000, "over there", "us"),
    (closed_without_a_code, 1005, "", "peer"),
    (crossed, 4001, "", "us"),
    (nothing, 1006, "the connection was lost before the peer's Close", None),
    (aborted, 1006, "the connection was lost before the peer's Close", "us"),
    (never_answered, 1006, "the connection was lost before the peer's Close", "us"),
    (fault, 1002, "reserved bits set", "us"),
    (not_utf8, 1007, "text is not UTF-8", "us"),
    (too_big, 1009, "message over the size limit", "us"),
    (failed, 1011, "", "us"),
    (too_much_unsent, 1013, "too much unsent", "us"),
    (stopped, 1001, "", "us"),
    (stopped_for_good, 1006, "the connection was lost before the peer's Close", "us"),
]


@pytest.mark.parametrize(("end", "code", "reason", "by"), ENDS, ids=lambda value: getattr(value, "__name__", ""))
def test_ends(end: Callable[[Recorded], None], code: int, reason: str, by: str | None) -> None:
    served = recorded()
    with logged() as events:
        end(served)
        record = served.record()
    assert (record.status, record.path, record.peer) == (101, "/chat", PEER)
    assert (record.code, record.reason, record.closedBy) == (code, reason, by)
    assert len(events) == (end is failed)


def test_a_peer_that_is_silent() -> None:
    served = recorded(settings={"pingInterval": 20, "pingTimeout": 20})
    served.advance(20)
    served.advance(20)
    record = served.record()
    assert (record.code, record.closedBy, record.seconds) == (1011, "us", 40.0)
    assert record.reason == "no sign of life for 20 s after it was asked"


def test_a_close_whose_answer_never_left() -> None:
    served = recorded(settings={"highWaterMark": None})
    served.transport.producer.pauseProducing()
    served.wire.sendTextMessage("x")
    served.feed(CLOSE)
    record = served.record()
    assert (record.code, record.reason, record.closedBy) == (1006, "the connection was lost before our Close", "peer")


class Pipes(Transport):
    """A transport that is only an `ITransport`: it can't be aborted."""

    abortConnection: Any = property()


def test_a_transport_that_can_not_abort() -> None:
    served = recorded(transport=Pipes())
    served.wire.abortConnection()
    served.clock.advance(0)
    [record] = served.records
    assert (record.code, record.closedBy) == (1006, "us")
    # It tells of its loss in the end.
    served.lose()
    assert served.records == [record]


def test_what_was_dropped_was_not_sent() -> None:
    served = recorded(settings={"sendLimit": 2**17, "slowConsumer": "drop"}, transport=Slow())
    for _ in range(8):
        served.wire.sendBytesMessage(bytes(2**16))
    assert served.wire.counters.sendsDropped == 5
    # The first leaves as a whole, and what waits is lost with the connection.
    served.transport.take()
    assert served.record().messagesSent == 1


def test_what_came_too_late_was_not_sent() -> None:
    served = recorded()
    served.wire.loseConnection()
    served.wire.sendTextMessage("x")
    served.feed(CLOSE)
    assert served.record().messagesSent == 0


def test_what_a_group_sends_is_counted() -> None:
    served = recorded()
    group = Group()
    group.add(served.wire)
    group.sendTextMessage("Hello")
    record = served.record()
    assert (record.messagesSent, record.bytesSent) == (1, len(ANSWER) + 7)


# Connections that were never open


def refused(served: Recorded, sent: bytes, status: int) -> AccessRecord:
    assert served.feed(sent).startswith(b"HTTP/1.1 %d " % status)
    record = served.record()
    assert (record.status, record.code, record.closedBy) == (status, None, "us")
    assert (record.bytesReceived, record.messagesReceived, record.messagesSent) == (len(sent), 0, 0)
    return record


def raising(error: Exception) -> Callable[[object], Any]:
    def build(request: object) -> Any:
        raise error

    return build


def test_a_rule_that_refuses() -> None:
    served = Recorded(transport=HalfCloseable())
    sent = REQUEST[:-2] + b"Origin: https://evil.example\r\n\r\n"
    with logged() as events:
        record = refused(served, sent, 403)
    assert record.path == "/chat"
    assert record.reason == "Origin https://evil.example is not allowed for Host server.example.com (allowedOrigins)"
    assert record.bytesSent > 100
    # It is said once.
    assert events == []


def test_a_request_that_is_wrong_names_no_limit() -> None:
    served = Recorded()
    served.feed(REQUEST[:-2] + b"Host: other.example\r\n\r\n")
    record = served.record()
    assert (record.status, record.reason) == (400, "more than one Host")


def test_no_http() -> None:
    record = refused(Recorded(), b"NONSENSE\r\n", 400)
    assert (record.path, record.reason) == ("", "not an HTTP request line")


def test_an_application_that_refuses() -> None:
    record = refused(Recorded(buildApplication=raising(Refuse(401))), REQUEST, 401)
    assert (record.path, record.reason) == ("/chat", "the application refused (buildApplication)")


@pytest.mark.parametrize(
    ("refuse", "reason"),
    [
        (Refuse(400, body=b"Offer a.b.\nOr c."), "the application refused: Offer a.b."),
        (Refuse(400, body=b" \xff\x1b[31m"), "the application refused: \ufffd?[31m"),
        (Refuse(400, body=b"x" * 300), f"the application refused: {'x' * 200}..."),
        (Refuse(400, [("content-Type", "text/html")], b"<p>"), "the application refused (buildApplication)"),
    ],
)
def test_an_application_that_says_why(refuse: Refuse, reason: str) -> None:
    assert refused(Recorded(buildApplication=raising(refuse)), REQUEST, 400).reason == reason


def test_an_application_that_fails() -> None:
    served = Recorded(buildApplication=raising(ValueError("not me")))
    with logged() as events:
        record = refused(served, REQUEST, 500)
    assert failures(events) == ["not me"]
    assert (record.path, record.reason) == ("/chat", "the application failed (buildApplication)")


def test_too_many() -> None:
    served = Recorded(maxConnections=1)
    Recorded(factory=served.factory).open()
    record = refused(served, REQUEST, 503)
    assert (record.path, record.reason) == ("/chat", "as many connections are open as may be, 1 (maxConnections)")


def test_a_request_that_does_not_end() -> None:
    served = Recorded(settings={"openTimeout": 7})
    served.feed(b"GET /chat HTTP/1.1\r\n")
    assert served.advance(7).startswith(b"HTTP/1.1 408 ")
    record = served.record()
    assert (record.status, record.path, record.closedBy, record.seconds) == (408, "", "us", 7.0)
    assert record.reason == "the request was not whole within 7 s (openTimeout)"


def test_a_decision_that_does_not_come() -> None:
    served = Recorded(settings={"openTimeout": 0.5}, buildApplication=lambda request: Deferred())
    served.feed(REQUEST)
    assert served.advance(0.5).endswith(
        b"\r\n\r\nService Unavailable: buildApplication had not decided within 0.5 s (openTimeout)"
    )
    record = served.record()
    assert (record.status, record.path) == (503, "/chat")
    assert record.reason == "buildApplication had not decided within 0.5 s (openTimeout)"


@pytest.mark.parametrize("received", [b"GET", REQUEST])
def test_stopping_in_the_opening_handshake(received: bytes) -> None:
    served = Recorded(buildApplication=lambda request: Deferred())
    served.feed(received)
    served.factory.stop()
    record = served.record()
    assert (record.status, record.reason) == (503, "the server stops")


def test_after_the_server_has_stopped() -> None:
    served = Recorded()
    served.factory.stop()
    served.lose()
    assert served.records == []
    late = Recorded(factory=served.factory)
    late.feed(REQUEST)
    late.lose()
    [record] = served.records
    assert (record.status, record.path, record.reason) == (503, "/chat", "the server stops")


@pytest.mark.parametrize(("received", "path"), [(b"GET /chat", ""), (REQUEST, "/chat")])
def test_a_peer_that_leaves_before_there_is_an_answer(received: bytes, path: str) -> None:
    served = Recorded(buildApplication=lambda request: Deferred())
    served.feed(received)
    record = served.record()
    assert (record.status, record.path, record.code, record.closedBy) == (None, path, None, None)
    assert (record.reason, record.bytesSent) == ("lost before there was an answer", 0)


def test_an_end_by_our_will_before_there_is_an_answer() -> None:
    served = Recorded(buildApplication=lambda request: Deferred())
    served.feed(REQUEST)
    served.wire.abortConnection()
    record = served.record()
    assert (record.status, record.closedBy) == (None, "us")


# Connections without a record


@pytest.mark.parametrize("end", [nothing, aborted, lambda served: served.advance(10), stopped_for_good])
def test_a_peer_that_says_nothing(end: Callable[[Recorded], None]) -> None:
    served = Recorded()
    end(served)
    served.lose()
    assert served.records == []


class NoProtocol(Factory):
    def buildProtocol(self, addr: object) -> None:
        return None


@pytest.mark.parametrize("fallback", [Factory.forProtocol(Protocol), NoProtocol()])
def test_connections_of_others(fallback: Factory) -> None:
    served = Recorded(fallback=fallback)
    served.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    with logged() as events:
        served.lose()
    assert served.records == []
    assert events == []


# When, and by whom


def test_it_comes_after_the_application_was_told() -> None:
    told: list[str] = []
    served = recorded(
        Application(lost=lambda one: told.append("application")), accessLog=lambda record: told.append("record")
    )
    served.wire.whenClosed().addCallback(lambda ignored: told.append("closed"))
    served.factory.stop().addCallback(lambda ignored: told.append("stopped"))
    served.lose()
    assert told == ["application", "record", "closed", "stopped"]


def test_it_waits_for_no_callback() -> None:
    served = recorded(Application(message=lambda one: Deferred()), settings={"closeTimeout": None})
    served.feed(HELLO + text("more"))
    served.lose(clean=False)
    [record] = served.records
    assert served.application.told == ["started", "finished", "Hello"]
    assert record.messagesReceived == 2


def test_a_stream_that_is_never_read() -> None:
    served = Recorded(buildApplication=streamApplication(lambda stream: Deferred()))
    served.open()
    served.feed(HELLO + CLOSE)
    assert served.record().messagesReceived == 1


def test_messages_that_are_delivered_after_the_loss_count() -> None:
    served = recorded()
    served.wire.pauseProducing()
    served.feed(HELLO * 3 + CLOSE)
    served.wire._inbox._stops = 0
    record = served.record()
    assert served.application.messages == ["Hello"] * 3
    assert (record.messagesReceived, record.bytesReceived) == (3, len(REQUEST) + 3 * 11 + 8)


async def failing(record: AccessRecord) -> None:
    raise ValueError("not me")


@pytest.mark.parametrize("accessLog", [raising(ValueError("not me")), failing], ids=["at once", "in a coroutine"])
def test_an_access_log_that_fails(accessLog: Any) -> None:
    served = recorded(accessLog=accessLog)
    stopped = served.factory.stop()
    closed = served.wire.whenClosed()
    with logged() as events:
        served.lose()
    assert failures(events) == ["not me"]
    assert served.application.told[-1] == "lost"
    assert stopped.called
    assert closed.called


@pytest.mark.parametrize("accessLog", ["a file", 1, []])
def test_what_can_not_be_one(accessLog: Any) -> None:
    with pytest.raises(LocalProtocolError):
        WebSocketServerFactory(lambda request: Application(), accessLog=accessLog)


def test_without_one() -> None:
    served = Served()
    assert served.factory.accessLog is None
    served.open().feed(HELLO)
    served.lose()


def test_in_memory() -> None:
    """Over transports that behave as those of sockets do."""
    records: list[AccessRecord] = []
    factory = WebSocketServerFactory(lambda request: Application(), accessLog=records.append)
    agent = MemoryAgent(factory)
    connecting = agent.connect("ws://localhost/a?b")
    agent.flush()
    stream = connecting.result
    stream.send("x" * 300)
    stream.close(1000, "Bye")
    agent.advance(0)
    [record] = records
    assert record._replace(seconds=0.0, bytesReceived=0, peer="") == OPEN._replace(
        peer="",
        path="/a",
        code=1000,
        reason="Bye",
        closedBy="peer",
        messagesReceived=1,
        bytesReceived=0,
        bytesSent=len(ANSWER) + 4,
    )
    assert record.peer.startswith("127.0.0.1:")


def test_records_are_values() -> None:
    for record in (pickle.loads(pickle.dumps(OPEN)), copy.copy(OPEN), copy.deepcopy(OPEN)):
        assert (record, type(record)) == (OPEN, AccessRecord)
    with pytest.raises(AttributeError):
        OPEN.code = 1000  # type: ignore[misc]
