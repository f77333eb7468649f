import gc
import tracemalloc
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from links import anonymous, overTLS
from OpenSSL import SSL
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    ILoggingContext,
    INegotiated,
    IProtocol,
    IPushProducer,
    ISSLTransport,
    ITCPTransport,
    IUNIXTransport,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from wire import (
    ANSWER,
    CLOSE,
    CLOSE_SENT,
    FAILED_SENT,
    FAULT,
    HELLO,
    HELLO_SENT,
    PING,
    REQUEST,
    Application,
    Asked,
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

from wsock import Close, LocalProtocolError, WebSocketClosed, WebSocketDropped, WebSocketProtocol
from wsock.sansio.extensions import Extension
from wsock.wire import closing

# Messages that an application sends


def test_messages_and_pings() -> None:
    served = opened()
    served.wire.sendTextMessage("Hello")
    assert served.transport.taken() == HELLO_SENT
    served.wire.sendBytesMessage(b"Hello")
    assert served.transport.taken() == b"\x82\x05Hello"
    served.wire.ping(b"Hello")
    assert served.transport.taken() == b"\x89\x05Hello"
    served.wire.ping()
    assert served.transport.taken() == b"\x89\x00"


def test_changing_a_bytearray_after_sending_it_changes_nothing() -> None:
    served = opened()
    data = bytearray(b"Hello")
    served.wire._outbox.cork()
    served.wire.sendBytesMessage(data)
    served.wire.sendBytesMessage(memoryview(data)[1:3])
    data[:] = b"xxxxx"
    served.wire._outbox.uncork()
    assert served.transport.taken() == b"\x82\x05Hello\x82\x02el"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("sendTextMessage", [b"bytes"]),
        ("sendTextMessage", ["\ud800"]),
        ("sendBytesMessage", ["text"]),
        ("ping", [bytes(126)]),
        ("loseConnection", [1005]),
        ("loseConnection", [999]),
        ("loseConnection", ["1000"]),
        ("loseConnection", [1000, "x" * 124]),
        ("loseConnection", [None, "a reason"]),
    ],
)
def test_what_can_not_be_sent_is_refused_and_the_connection_stays(name: str, arguments: list[Any]) -> None:
    served = opened()
    with pytest.raises(LocalProtocolError) as caught:
        getattr(served.wire, name)(*arguments)
    assert isinstance(caught.value, ValueError)
    assert served.transport.taken() == b""
    served.wire.sendTextMessage("Hello")
    assert served.transport.taken() == HELLO_SENT


class Undecided(Served):
    """Its application is there when `decide` is called."""

    def __init__(self) -> None:
        self.decision: Deferred[Application] = Deferred()
        super().__init__(buildApplication=lambda request: self.decision, fallback=Factory.forProtocol(Protocol))

    def decide(self) -> "Undecided":
        self.feed(REQUEST)
        self.decision.callback(self.application)
        return self


STATES: dict[str, Callable[[Undecided], object]] = {
    "no request": lambda served: None,
    "half a request": lambda served: served.feed(REQUEST[:-2]),
    "undecided": lambda served: served.feed(REQUEST),
    "refused": lambda served: served.feed(REQUEST.replace(b"Version: 13", b"Version: 12")),
    "handed on": lambda served: served.feed(b"GET / HTTP/1.1\r\n\r\n"),
    "aborted before it is open": lambda served: served.wire.abortConnection(),
    "lost before it is open": lambda served: served.lose(),
    "closing": lambda served: served.decide().wire.loseConnection(),
    "aborted": lambda served: served.decide().wire.abortConnection(),
    "lost": lambda served: served.decide().lose(),
}


@pytest.mark.parametrize(
    "arguments", [[1005], [999], ["1000"], [1000, "x" * 124], [1000, "\ud800"], [1000, b"reason"], [None, "a reason"]]
)
@pytest.mark.parametrize("state", STATES)
def test_a_close_that_can_not_be_sent_is_refused_in_each_state(state: str, arguments: list[Any]) -> None:
    served = Undecided()
    STATES[state](served)
    told = list(served.transport.told)
    served.transport.clear()
    with pytest.raises(LocalProtocolError):
        served.wire.loseConnection(*arguments)
    assert served.transport.taken() == b""
    assert served.transport.told == told


@pytest.mark.parametrize("state", ["closing", "peer closed", "failed", "aborted", "lost"])
def test_once_it_ends_sending_and_closing_do_nothing(state: str) -> None:
    served = opened()
    if state == "closing":
        served.wire.loseConnection()
    elif state == "peer closed":
        served.feed(CLOSE)
    elif state == "failed":
        served.feed(FAULT)
    elif state == "aborted":
        served.wire.abortConnection()
    else:
        served.lose()
    served.transport.clear()
    calls = len(served.clock.getDelayedCalls())
    told = list(served.transport.told)
    for _ in range(2):
        served.wire.sendTextMessage("Hello")
        served.wire.sendBytesMessage(b"Hello")
        served.wire.ping()
        served.wire.loseConnection()
        served.wire.stopProducing()
    assert served.transport.taken() == b""
    assert served.transport.told == told
    assert len(served.clock.getDelayedCalls()) == calls
    with pytest.raises(LocalProtocolError):
        served.wire.sendTextMessage("\ud800")
    if state != "lost":
        served.lose()
    assert served.application.told.count("lost") == 1


def test_what_is_sent_past_the_limit_closes_with_1013() -> None:
    served = opened(settings={"sendLimit": 100_000})
    served.transport.producer.pauseProducing()
    served.wire.sendBytesMessage(bytes(70_000))
    served.wire.sendBytesMessage(bytes(99_990))
    served.wire.sendTextMessage("one more")
    assert served.wire.closeSent is None
    served.wire.sendTextMessage("one too many")
    served.wire.sendTextMessage("Hello")
    assert served.wire.closeSent == (1013, "too much unsent")
    served.transport.clear()
    served.transport.producer.resumeProducing()
    assert served.transport.taken() == b"\x88\x11\x03\xf5too much unsent"
    served.feed(CLOSE)
    served.lose()


@pytest.mark.parametrize("name", ["sendBytesMessage", "ping"])
def test_every_way_to_send_has_the_limit(name: str) -> None:
    served = opened(settings={"sendLimit": 10})
    served.transport.producer.pauseProducing()
    for _ in range(2):
        served.wire.sendBytesMessage(bytes(70_000))
        assert served.wire.closeSent is None
    getattr(served.wire, name)(b"x")
    assert served.wire.closeSent == (1013, "too much unsent")


def test_a_pong_before_a_snapshot_takes_nothing_from_it() -> None:
    served = opened()
    served.transport.producer.pauseProducing()
    served.feed(PING)
    served.wire.sendBytesMessage(bytes(5 * 2**20))
    served.wire.sendTextMessage("done")
    assert served.wire.closeSent is None


@pytest.mark.parametrize("policy", ["wait", "close", "drop"])
@pytest.mark.parametrize("before", [0, 70_000])
def test_a_snapshot_larger_than_the_limit_and_what_follows_it_arrive(policy: str, before: int) -> None:
    served = opened(settings={"slowConsumer": policy})
    served.wire.sendBytesMessage(bytes(before))
    served.transport.producer.pauseProducing()
    served.wire.sendBytesMessage(bytes(5 * 2**20))
    served.wire.sendTextMessage("done")
    served.wire.ping()
    served.wire.loseConnection(3000, "our own")
    served.transport.producer.resumeProducing()
    assert served.transport.taken().endswith(bytes(5 * 2**20) + b"\x81\x04done\x89\x00\x88\x09\x0b\xb8our own")
    assert served.wire.counters == (0, 0, 0)


def test_what_it_is_for_others() -> None:
    served = opened()
    for interface in (IProtocol, IPushProducer, ILoggingContext):
        assert interface.providedBy(served.wire)
    verifyObject(ILoggingContext, served.wire)
    verifyObject(IPushProducer, served.wire)
    assert served.wire.logPrefix() == "wsock"
    assert str(served.wire.getPeer()) == "IPv4Address(type='TCP', host='192.168.1.1', port=54321)"
    assert str(served.wire.getHost()) == "IPv4Address(type='TCP', host='10.0.0.1', port=12345)"
    assert served.wire.getPeerCertificate() is None
    assert len(weakref.WeakSet([served.wire])) == 1


@implementer(ITCPTransport)
class TCP(HalfCloseable):
    """As a connection over TCP, one half of which can be closed."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.told.append(f"no delay {enabled}")


@implementer(IUNIXTransport)
class UNIX(TCP):
    """As one over a UNIX socket in Twisted before 24.10: it has that method, which raises."""


@implementer(INegotiated)
class TLS(TCP):
    """As one over TLS, which passes on every method of what is below."""


def test_small_messages_leave_at_once() -> None:
    assert opened(transport=TCP()).transport.told == ["no delay True"]
    assert opened(transport=UNIX()).transport.told == []


# Closing


def test_we_close_first() -> None:
    served = opened(settings={"closeTimeout": 5})
    served.wire.loseConnection(4000, "bye")
    assert served.transport.taken() == b"\x88\x05\x0f\xa0bye"
    assert (served.wire.closeSent, served.wire.closeReceived) == (Close(4000, "bye"), None)
    assert isinstance(served.wire.closeSent, Close)
    assert served.transport.told == []
    assert served.feed(bytes.fromhex("88820000000003e9")) == b""
    assert served.wire.closeReceived == (1001, "")
    assert isinstance(served.wire.closeReceived, Close)
    assert served.transport.told == ["lose"]
    assert served.transport.producer is None
    assert served.application.reasons == []
    served.lose()
    [reason] = served.application.reasons
    assert type(reason) is WebSocketClosed
    assert isinstance(reason, ConnectionDone)
    assert (reason.closeSent, reason.closeReceived) == ((4000, "bye"), (1001, ""))
    # The first says why; the other one answers it.
    assert (reason.code, reason.reason) == (4000, "bye")
    assert str(reason) == "closed with 1001"


def test_who_holds_us_for_a_producer_may_close_too() -> None:
    served = opened()
    served.wire.stopProducing()
    assert served.transport.taken() == CLOSE_SENT


def test_a_close_without_a_code() -> None:
    served = opened()
    served.wire.loseConnection(None)
    assert served.transport.taken() == b"\x88\x00"
    assert served.wire.closeSent == (1005, "")


@pytest.mark.parametrize(
    ("frame", "answer", "received"),
    [
        (CLOSE, CLOSE_SENT, (1000, "")),
        (bytes.fromhex("888000000000"), b"\x88\x00", (1005, "")),
        (bytes.fromhex("88850000000003e9") + b"bye", b"\x88\x02\x03\xe9", (1001, "bye")),
    ],
)
def test_the_peer_closes_first(frame: bytes, answer: bytes, received: tuple[int, str]) -> None:
    served = opened()
    assert served.feed(frame) == answer
    assert served.transport.told == ["lose"]
    assert served.feed(HELLO + PING) == b""
    served.lose()
    [reason] = served.application.reasons
    assert type(reason) is WebSocketClosed
    assert reason.closeReceived == received
    assert reason.closeSent == (received[0], "")
    assert (reason.code, reason.reason) == received
    assert served.application.messages == []


@pytest.mark.parametrize("transport", [Transport, HalfCloseable])
def test_after_both_closes_the_transport_is_left(transport: Any) -> None:
    served = opened(transport=transport())
    served.feed(CLOSE)
    assert served.transport.told == ["lose"]


def test_a_peer_that_does_not_answer_our_close_is_dropped() -> None:
    served = opened(settings={"closeTimeout": 5})
    served.wire.loseConnection()
    served.advance(4.9)
    assert served.transport.told == []
    served.advance(0.1)
    assert served.transport.told == ["abort"]
    assert served.clock.getDelayedCalls() == []
    served.lose()
    [reason] = served.application.reasons
    assert type(reason) is WebSocketDropped
    assert isinstance(reason, ConnectionLost)
    assert (reason.code, reason.reason) == (1006, "")
    assert (reason.closeSent, reason.closeReceived) == ((1000, ""), None)
    assert str(reason) == "the connection was lost before the peer's Close"


def test_a_transport_that_does_not_end_is_dropped() -> None:
    served = opened(settings={"closeTimeout": 5})
    served.wire.loseConnection()
    served.advance(3)
    served.feed(CLOSE)
    assert served.transport.told == ["lose"]
    served.advance(1.9)
    assert served.transport.told == ["lose"]
    served.advance(0.1)  # five seconds from our Close, whatever came since
    assert served.transport.told == ["lose", "abort"]
    served.lose()
    assert type(served.application.reasons[0]) is WebSocketClosed


def test_without_a_closing_timeout_it_is_waited_for() -> None:
    served = opened(settings={"closeTimeout": None})
    served.wire.loseConnection()
    assert served.clock.getDelayedCalls() == []
    served.feed(CLOSE)
    served.lose()


def fill(served: Served, size: int = 200_000) -> None:
    served.wire.sendBytesMessage(bytes(size))
    served.transport.producer.pauseProducing()
    served.wire.sendBytesMessage(bytes(size))
    served.transport.clear()


def test_the_closing_timer_starts_when_our_close_has_left_the_queue() -> None:
    served = opened(settings={"closeTimeout": 5, "pingTimeout": 20})
    fill(served, 50_000)
    served.wire.loseConnection()
    assert served.transport.taken() == b""
    served.advance(19)
    assert served.transport.told == []
    served.transport.producer.resumeProducing()
    assert served.transport.taken().endswith(b"\x88\x02\x03\xe8")
    served.advance(4.9)
    assert served.transport.told == []
    served.advance(0.1)
    assert served.transport.told == ["abort"]


def test_a_peer_that_takes_nothing_never_gets_our_close() -> None:
    served = opened(settings={"closeTimeout": 5, "pingTimeout": 20})
    fill(served)
    served.wire.loseConnection()
    served.advance(19.9)
    assert served.transport.told == []
    served.advance(0.1)
    assert served.transport.told == ["abort"]
    served.lose()
    assert served.application.reasons[0].closeSent is None


class Slow(Transport):
    """Holds what it is given until its producer is told to go on."""

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.producer is not None:
            self.producer.pauseProducing()


def test_a_peer_that_takes_little_at_a_time_gets_our_close() -> None:
    served = opened(transport=Slow(), settings={"closeTimeout": 5, "pingTimeout": 20, "sendLimit": None})
    served.wire.sendBytesMessage(bytes(300_000))
    served.wire.loseConnection()
    seen = 0
    while not (taken := served.transport.taken()).endswith(b"\x88\x02\x03\xe8"):
        seen += bool(taken)
        served.advance(15)
        served.advance(4)
        assert "abort" not in served.transport.told
        served.transport.producer.resumeProducing()
    assert seen == 4
    served.advance(4.9)
    assert "abort" not in served.transport.told
    served.advance(0.1)
    assert served.transport.told[-1] == "abort"


def test_a_peer_that_stops_taking_never_gets_our_close() -> None:
    served = opened(transport=Slow(), settings={"closeTimeout": 5, "pingTimeout": 20, "sendLimit": None})
    served.wire.sendBytesMessage(bytes(300_000))
    served.wire.loseConnection()
    served.advance(10)
    served.transport.producer.resumeProducing()
    served.advance(10)
    served.advance(19)
    assert "abort" not in served.transport.told
    served.advance(1)
    assert served.transport.told[-1] == "abort"


def test_without_a_ping_timeout_a_full_queue_has_the_time_of_a_close() -> None:
    served = opened(settings={"pingTimeout": None, "closeTimeout": 5})
    fill(served)
    served.wire.loseConnection()
    served.clock.advance(4.9)
    assert "abort" not in served.transport.told
    served.clock.advance(0.1)
    assert served.transport.told[-1] == "abort"
    served.lose()


def test_without_either_a_full_queue_is_waited_for() -> None:
    served = opened(settings={"pingTimeout": None, "closeTimeout": None})
    fill(served)
    served.wire.loseConnection()
    assert served.clock.getDelayedCalls() == []
    served.lose()


def test_the_peers_close_with_a_full_queue() -> None:
    served = opened(settings={"highWaterMark": None, "closeTimeout": 5})
    fill(served, 50_000)
    served.feed(CLOSE)
    assert served.transport.told == []
    served.transport.producer.resumeProducing()
    assert served.transport.taken().endswith(CLOSE_SENT)
    assert served.transport.told == ["lose"]
    served.lose()
    assert type(served.application.reasons[0]) is WebSocketClosed


def test_closing_while_paused_with_a_full_queue_and_the_peers_close_held() -> None:
    served = opened(settings={"closeTimeout": 5})
    fill(served, 50_000)
    served.wire.pauseProducing()
    served.feed(CLOSE)
    served.wire.loseConnection()
    assert served.transport.told == ["pause", "resume"]
    served.transport.producer.resumeProducing()
    assert served.transport.told == ["pause", "resume", "lose"]


def test_a_close_that_never_left_was_not_exchanged() -> None:
    served = opened(settings={"highWaterMark": None})
    fill(served)
    served.feed(CLOSE)
    served.lose()
    [reason] = served.application.reasons
    assert type(reason) is WebSocketDropped
    assert (reason.closeSent, reason.closeReceived, reason.code) == (None, (1000, ""), 1006)
    assert str(reason) == "the connection was lost before our Close"


def test_a_loss_without_any_close() -> None:
    served = opened()
    with logged() as events:
        served.lose()
    [reason] = served.application.reasons
    assert type(reason) is WebSocketDropped
    assert (reason.closeSent, reason.closeReceived, reason.code) == (None, None, 1006)
    # A line for each connection costs more than its handshake: that is the access log's.
    assert events == []


def test_a_transport_that_goes_on_after_its_loss_is_not_heard() -> None:
    served = opened(settings={"closeTimeout": None}, application=Application(message=lambda application: Deferred()))
    producer = served.transport.producer
    served.feed(HELLO)
    served.lose()
    producer.pauseProducing()
    producer.resumeProducing()
    served.wire.pauseProducing()
    assert served.application.told == ["started", "finished", "Hello"]
    assert served.transport.told == []


def test_a_clean_end_is_not_logged() -> None:
    with logged() as events:
        served = opened()
        served.feed(CLOSE)
        served.lose()
    assert events == []


# The agreement of the opening handshake


def test_an_extension_that_was_agreed_on() -> None:
    """A client's is known only when its opening handshake ends, which hands it over."""
    served = Served()
    assert served.wire.extension is None
    served.wire.openingMakesCore().attach(served.application)
    served.wire.openingDone({}, extensions=[Extension("permessage-deflate")])
    assert served.wire.extension == Extension("permessage-deflate")


# Before it is open


def test_closing_what_has_no_transport_yet_does_nothing() -> None:
    wire = Served().factory.buildProtocol(None)
    wire.loseConnection()
    assert not wire.isOpen


@pytest.mark.parametrize("make", [Served, Asked])
def test_once_the_opening_handshake_was_aborted_closing_does_nothing(make: Any) -> None:
    connection = make()
    connection.wire.abortConnection()
    connection.wire.loseConnection()
    connection.factory.stop()
    assert connection.transport.told == ["abort"]
    connection.lose()


def test_an_abort_is_not_taken_for_that_of_another_hand() -> None:
    asked = Asked(transport=Tls(), url="wss://server.example.com/")
    asked.wire.abortConnection()
    asked.clock.pump([1, 1])
    asked.lose()
    assert str(asked.wire.lossReason()).startswith("the connection was lost before the server answered")


# Waiting until it is open


@pytest.mark.parametrize("make", [Served, Asked])
def test_when_open(make: Any) -> None:
    connection = make()
    seen: list[Any] = []
    for _ in range(2):
        connection.wire.whenOpen().addCallback(seen.append)
    assert seen == []
    connection.open()
    assert seen == [connection.wire] * 2
    connection.wire.whenOpen().addCallback(seen.append)
    connection.wire.loseConnection()
    connection.wire.whenOpen().addCallback(seen.append)
    assert seen == [connection.wire] * 4
    connection.lose()
    connection.wire.whenOpen().addErrback(lambda failure: seen.append(failure.type))
    assert seen[4:] == [WebSocketDropped]


@pytest.mark.parametrize("callback", ["started", "finished"])
def test_one_that_is_aborted_as_it_opens_was_not_open(callback: str) -> None:
    served = Served(Application(**{callback: lambda application: application.transport.abortConnection()}))
    seen: list[Any] = []
    served.wire.whenOpen().addCallbacks(seen.append, lambda failure: seen.append(failure.type))
    served.feed(REQUEST)
    assert seen == []
    served.lose()
    assert seen == [WebSocketDropped]


# Aborting


class Pipes(Transport):
    """A transport that is only an `ITransport`, as the pipes of a process: it can't be aborted, and may never close."""

    abortConnection: Any = property()
    setTcpNoDelay: Any = property()
    knowsPeer = True

    def getPeer(self) -> Any:
        if not self.knowsPeer:
            raise NotImplementedError
        return super().getPeer()


@pytest.mark.parametrize("ends", ["at once", "later", "never"])
@pytest.mark.parametrize("secure", [False, True])
def test_a_transport_that_can_not_abort_is_told_to_close_and_taken_for_lost(secure: bool, ends: str) -> None:
    pipes = Pipes()
    wrapper: Any = Transport() if secure else pipes
    if secure:
        wrapper.transport = pipes
    served = Served(transport=wrapper).open()
    if ends == "at once":
        pipes.loseConnection = lambda: served.lose(clean=False)  # type: ignore[method-assign]
    served.wire.abortConnection()
    assert wrapper.producer is None
    assert len(served.clock.getDelayedCalls()) == (ends != "at once")
    if ends == "later":
        assert pipes.told == ["lose"]
        served.lose()
    served.clock.advance(0)
    assert served.application.told == ["started", "finished", "lost"]
    assert served.clock.getDelayedCalls() == []
    assert "abort" not in wrapper.told
    # Its later calls are of no concern.
    served.feed(HELLO)
    served.lose()
    assert served.application.told == ["started", "finished", "lost"]
    assert list(served.factory.connections) == []


def test_a_peer_that_can_not_be_named_is_dropped_all_the_same() -> None:
    served = Served(Application(lost=lambda application: 1 / 0), transport=Pipes()).open()
    served.transport.knowsPeer = False  # type: ignore[attr-defined]
    closed = served.wire.whenClosed()
    with logged() as events:
        served.lose()
    assert [event["peer"] for event in events] == ["unknown"]
    assert closed.called
    assert served.application.told[-1] == "lost"


@implementer(ISSLTransport)
class Tls(Transport):
    """It says that it is TCP, since `ISSLTransport` does."""


def test_the_certificate_of_the_peer() -> None:
    class Certified(Tls):
        def getPeerCertificate(self) -> Any:
            return "the certificate"

    assert Served(transport=Certified()).open().wire.getPeerCertificate() == "the certificate"


def test_tls_over_what_is_no_tcp() -> None:
    served = Served(transport=Tls()).open()
    assert served.feed(HELLO) == b""
    assert served.application.messages == ["Hello"]


@pytest.mark.parametrize("state", ["open", "closing", "both closed", "failed", "full", "paused"])
def test_aborting_drops_all_at_once(state: str) -> None:
    served = opened()
    if state == "closing":
        served.wire.loseConnection()
    elif state == "both closed":
        served.feed(CLOSE)
    elif state == "failed":
        served.feed(FAULT)
    elif state == "full":
        fill(served)
    elif state == "paused":
        served.wire.pauseProducing()
        served.feed(HELLO)
        served.wire.resumeProducing()
    served.transport.clear()
    served.wire.abortConnection()
    served.wire.abortConnection()
    assert served.transport.told[-1] == "abort"
    assert served.transport.told.count("abort") == 1
    assert len(served.clock.getDelayedCalls()) == (state == "paused")
    served.feed(HELLO)
    served.advance(0)
    served.wire.pauseProducing()
    served.wire.resumeProducing()
    assert served.transport.told[-1] == "abort"
    assert served.transport.taken() == b""
    served.lose()
    assert served.application.told == ["started", "finished", "lost"]
    served.wire.abortConnection()
    assert served.transport.told.count("abort") == 1


def test_aborting_drops_what_a_callback_holds_up() -> None:
    cancelled: list[object] = []
    served = opened(Application(message=lambda application: Deferred(cancelled.append)))
    served.feed(HELLO + HELLO)
    served.wire.abortConnection()
    assert cancelled == []
    served.lose()
    assert len(cancelled) == 1
    assert served.application.messages == ["Hello"]
    assert served.application.told[-1] == "lost"


def test_nothing_is_logged_of_a_connection_that_was_aborted() -> None:
    with logged() as events:
        served = opened()
        served.wire.abortConnection()
        served.lose()
    assert events == []


# The end of TLS


#: Older versions of Twisted choose the protocols of TLS when the connection is made.
old_tls = pytest.mark.filterwarnings("ignore:Attempting to mutate a Context:DeprecationWarning")


class Secured:
    """An open connection over TLS, and the peer's TLS."""

    def __init__(self) -> None:
        self.served = Served()
        self.clock, self.application = self.served.clock, self.served.application
        self.peer, self.below = anonymous(), Transport()
        self.peer.set_connect_state()
        self.tls = overTLS(self.below, self.clock, self.served.factory)
        self.wire = self.tls.wrappedProtocol
        for _ in range(3):
            with suppress(SSL.WantReadError):
                self.peer.do_handshake()
            self.exchange()
        self.peer.send(REQUEST)
        self.exchange()
        assert self.peer.recv(2**16) == ANSWER

    def exchange(self) -> None:
        with suppress(SSL.WantReadError):
            self.tls.dataReceived(self.peer.bio_read(2**16))
        self.clock.advance(0)
        if data := self.below.taken():
            self.peer.bio_write(data)


@old_tls
def test_nothing_can_be_sent_once_tls_has_ended() -> None:
    """TLS does not tell, and waits for its producer; the transport below it is lost later."""
    secured = Secured()
    wire = secured.wire
    assert wire.canSend()
    secured.peer.shutdown()
    secured.exchange()
    assert not wire.canSend()
    assert secured.application.told == ["started", "finished"]
    # No Close could be sent: it is open until the loss, which is under way.
    wire.loseConnection()
    assert (wire.isOpen, wire.closeSent) == (True, None)
    assert "abort" not in secured.below.told
    secured.clock.advance(10)
    assert secured.below.told[-1] == "abort"
    secured.tls.connectionLost(Failure(ConnectionDone()))
    assert secured.application.told == ["started", "finished", "lost"]


@old_tls
def test_the_end_of_tls_behind_an_abort_starts_nothing() -> None:
    secured = Secured()
    secured.wire.abortConnection()
    secured.peer.shutdown()
    calls = len(secured.clock.getDelayedCalls())
    secured.exchange()
    assert len(secured.clock.getDelayedCalls()) == calls
    secured.tls.connectionLost(Failure(ConnectionDone()))
    assert secured.application.told == ["started", "finished", "lost"]


# A fault of the peer


def test_a_fault_on_a_socket_closes_our_half_and_discards() -> None:
    served = opened(transport=HalfCloseable(), settings={"closeTimeout": 5})
    sent = served.feed(HELLO + FAULT + HELLO)
    assert (sent[0], sent[2:4]) == (0x88, b"\x03\xea")  # a Close with 1002
    assert served.application.messages == ["Hello"]
    assert served.transport.told == ["lose write"]
    assert served.transport.producer is None
    assert served.feed(HELLO * 1000) == b""
    assert served.application.messages == ["Hello"]
    served.advance(4.9)
    assert served.transport.told == ["lose write"]
    served.advance(0.1)
    assert served.transport.told == ["lose write", "abort"]
    served.lose()
    [reason] = served.application.reasons
    assert type(reason) is WebSocketDropped
    assert reason.code == 1002
    assert reason.closeSent == served.wire.closeSent


def test_a_fault_behind_tls_leaves_the_farewell_to_tls() -> None:
    served = opened(transport=TLS())
    served.feed(FAULT)
    assert served.transport.told == ["no delay True", "lose"]


def test_a_fault_while_paused_reading_goes_on() -> None:
    served = opened(Application(message=lambda application: Deferred()), transport=HalfCloseable())
    served.wire.pauseProducing()
    served.feed(HELLO + FAULT)
    served.wire.resumeProducing()
    served.advance(0)
    assert served.transport.told == ["pause", "resume", "lose write"]


def test_a_fault_of_a_peer_that_takes_nothing() -> None:
    served = opened(transport=HalfCloseable(), settings={"highWaterMark": None, "pingTimeout": 7})
    fill(served)
    served.feed(FAULT)
    served.advance(7)
    assert served.transport.told == ["abort"]


# Floods behind the end: what nobody gets is read up to 16 MiB


def flood(served: Any, data: bytes, most: int = 2**24) -> None:
    """Feeds it until it is aborted, which must be soon after so many bytes."""
    fed = 0
    while "abort" not in served.transport.told:
        assert fed <= most
        served.wire.dataReceived(data)
        fed += len(data)
    # Less the few bytes that it was ended by.
    assert most - 64 < fed <= most + len(data)
    served.transport.clear()
    served.lose()


def masked(first: int, size: int) -> bytes:
    """A client's frame of zeros, with a mask of zeros."""
    length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes((first,)) + length + bytes(4 + size)


FLOODS = [bytes(65536), masked(0x82, 65528), masked(0x89, 125) * 500]


@pytest.mark.parametrize("data", FLOODS)
@pytest.mark.parametrize("transport", [HalfCloseable, TLS])
def test_a_flood_behind_a_refusal(transport: Any, data: bytes) -> None:
    served = Served(transport=transport())
    served.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    flood(served, data)


@pytest.mark.parametrize("data", FLOODS)
@pytest.mark.parametrize("transport", [HalfCloseable, TLS])
def test_a_flood_behind_a_fault(transport: Any, data: bytes) -> None:
    served = opened(transport=transport())
    served.feed(FAULT)
    flood(served, data)


@pytest.mark.parametrize("data", FLOODS[1:])
@pytest.mark.parametrize("how", ["pauseProducing", "exception", "nothing"])
def test_a_flood_behind_our_close(how: str, data: bytes) -> None:
    def act(application: Application) -> None:
        if how == "exception":
            raise ValueError
        getattr(application.transport, how)()

    served = opened(Application(message=act if how != "nothing" else lambda application: None))
    with logged():
        served.feed(text("a"))
    if how == "nothing" and data[0] == 0x82:
        # It gets what comes.
        return
    served.wire.loseConnection()
    # Behind the messages that find room in the receive queue.
    before = 16 * len(data) if how == "pauseProducing" and data[0] == 0x82 else 0
    for _ in range(before // len(data)):
        served.wire.dataReceived(data)
    flood(served, data)


@pytest.mark.parametrize("first", [0x81, 0x82])
def test_messages_that_are_delivered_behind_our_close_are_no_flood(first: int) -> None:
    served = opened()
    served.wire.loseConnection()
    messages = masked(first, 65528) * 2
    for _ in range(2**24 // len(messages) + 2):
        served.wire.dataReceived(messages)
    assert "abort" not in served.transport.told
    assert len(served.application.messages) == 2 * (2**24 // len(messages) + 2)


def test_a_message_that_is_delivered_between_is_no_part_of_a_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "MAX_DISCARDED_BYTES", 100)
    served = opened(settings={"maxMessageSize": 50})
    served.wire.loseConnection()
    for _ in range(3):
        # 80 bytes that nobody gets.
        served.feed(PING * 7)
        served.feed(HELLO)
    assert served.application.messages == ["Hello"] * 3
    assert "abort" not in served.transport.told
    served.feed(PING * 7)
    served.feed(PING * 7)
    assert served.transport.told[-1] == "abort"


def test_a_flood_behind_the_peers_close_while_the_application_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "MAX_DISCARDED_BYTES", 100)
    served = opened(Application(message=lambda application: Deferred()), settings={"maxMessageSize": 50})
    served.feed(HELLO + CLOSE)
    served.feed(bytes(100))
    assert "abort" not in served.transport.told
    served.feed(b"x")
    assert served.transport.told[-1] == "abort"


def test_a_flood_to_a_client_behind_a_fault() -> None:
    asked = Asked(transport=HalfCloseable()).open()
    asked.feed(bytes.fromhex("c100"))
    flood(asked, bytes(65536))


@pytest.mark.parametrize("limit", [2**25, None])
def test_a_large_message_that_was_under_way_when_we_closed_is_delivered(limit: int | None) -> None:
    served = opened(settings={"maxMessageSize": limit})
    size = 2**25 - 10
    message = b"\x82\xff" + size.to_bytes(8, "big") + bytes(4 + size)
    served.feed(message[:1000])
    served.wire.loseConnection()
    for start in range(1000, len(message), 65536):
        served.wire.dataReceived(message[start : start + 65536])
    assert [len(one) for one in served.application.messages] == [size]
    served.feed(CLOSE)
    served.lose()
    assert isinstance(served.application.reasons[0], WebSocketClosed)


# An exception of the application's


def raises(application: Application) -> None:
    raise ValueError("my fault")


def fails(application: Application) -> Deferred[None]:
    return fail(ValueError("my fault"))


async def fails_too(application: Application) -> None:
    raise ValueError("my fault")


@pytest.mark.parametrize("how", [raises, fails, fails_too])
@pytest.mark.parametrize("callback", ["started", "finished", "message", "pong"])
def test_an_exception_is_logged_once_and_closes_with_1011(callback: str, how: Any) -> None:
    served = Served(Application(**{callback: how}))
    with logged() as events:
        sent = served.feed(REQUEST + text("a") + bytes.fromhex("8a8000000000") + text("b"))
    assert failures(events) == ["my fault"]
    assert sent == ANSWER + FAILED_SENT
    everything = ["started", "finished", "a", ("pong", b""), "b"]
    until = {"started": 1, "finished": 2, "message": 3, "pong": 4}[callback]
    assert served.application.told == everything[:until]
    served.feed(text("c") + CLOSE)
    assert served.transport.told == ["lose"]
    served.lose()
    assert served.application.told == [*everything[:until], "lost"]
    assert served.application.reasons[0].closeSent == (1011, "")


def test_what_was_sent_before_an_exception_leaves() -> None:
    def do(application: Application) -> None:
        application.transport.sendTextMessage("Hello")
        raise ValueError

    served = opened(Application(message=do))
    with logged() as events:
        assert served.feed(HELLO) == HELLO_SENT + FAILED_SENT
    assert len(failures(events)) == 1


def test_a_deferred_that_fails_later() -> None:
    deferred: Deferred[None] = Deferred()
    served = opened(Application(message=lambda application: deferred), settings={"receiveQueue": 1})
    served.feed(HELLO * 3)
    with logged() as events:
        deferred.errback(ValueError("late"))
    assert failures(events) == ["late"]
    assert served.transport.taken() == FAILED_SENT
    # The held bytes are not delivered, but read: else the peer's Close would not be found.
    served.feed(CLOSE)
    assert served.transport.told[-1] == "lose"
    assert served.application.messages == ["Hello"]


def test_a_deferred_that_somebody_else_cancels_has_failed() -> None:
    deferred: Deferred[None] = Deferred()
    served = opened(Application(message=lambda application: deferred))
    served.feed(HELLO)
    with logged() as events:
        deferred.cancel()
    assert len(failures(events)) == 1
    assert served.transport.taken() == FAILED_SENT


def test_a_failure_within_a_frame_does_not_lose_the_place() -> None:
    deferred: Deferred[None] = Deferred()
    served = opened(Application(message=lambda application: deferred))
    served.feed(HELLO)
    served.wire.pauseProducing()
    served.feed(HELLO[:7])
    with logged():
        deferred.errback(ValueError())
    served.feed(HELLO[7:] + CLOSE)
    assert served.wire.closeReceived == (1000, "")


def test_a_failure_after_the_loss_is_logged() -> None:
    deferred: Deferred[None] = Deferred()
    served = opened(Application(message=lambda application: deferred))
    served.feed(HELLO + HELLO)
    served.lose(clean=False)
    with logged() as events:
        deferred.errback(ValueError("late"))
    assert failures(events) == ["late"]
    assert served.application.told == ["started", "finished", "Hello", "lost"]
    assert served.clock.getDelayedCalls() == []


@pytest.mark.parametrize("how", [raises, fails, fails_too])
def test_an_exception_in_connection_lost_is_logged(how: Any) -> None:
    served = opened(Application(lost=how))
    with logged() as events:
        served.lose()
    assert failures(events) == ["my fault"]


def test_an_application_that_is_no_subclass_and_lacks_a_method() -> None:
    class Half:
        def negotiationStarted(self, transport: object) -> None:
            pass

        def negotiationFinished(self) -> None:
            pass

    served = opened(Half())
    with logged() as events:
        assert served.feed(HELLO) == FAILED_SENT
    assert len(failures(events)) == 1


# The opening callbacks may take their time


def test_the_first_message_waits_for_both_opening_callbacks() -> None:
    first: Deferred[None] = Deferred()
    second: Deferred[None] = Deferred()
    served = Served(Application(started=lambda application: first, finished=lambda application: second))
    assert served.feed(REQUEST + HELLO) == ANSWER
    assert served.application.told == ["started", "finished"]
    second.callback(None)
    assert served.application.messages == []
    first.callback(None)
    assert served.application.messages == ["Hello"]


def test_an_opening_callback_that_fails_while_the_other_is_not_done() -> None:
    first: Deferred[None] = Deferred()
    second: Deferred[None] = Deferred()
    served = Served(Application(started=lambda application: first, finished=lambda application: second))
    served.feed(REQUEST)
    with logged() as events:
        second.errback(ValueError("second"))
        first.errback(ValueError("first"))
        gc.collect()
    assert failures(events) == ["second"]
    assert served.transport.taken() == FAILED_SENT


def test_opening_callbacks_that_never_end_are_cancelled() -> None:
    cancelled: list[object] = []
    pending = Application(
        started=lambda application: Deferred(cancelled.append), finished=lambda application: Deferred(cancelled.append)
    )
    served = opened(pending)
    served.wire.abortConnection()
    with logged() as events:
        served.lose()
        gc.collect()
    assert len(cancelled) == 2
    assert failures(events) == []
    assert pending.told == ["started", "finished", "lost"]


def test_opening_callbacks_that_are_done() -> None:
    async def done(application: Application) -> None:
        await succeed(None)

    served = Served(Application(started=done, finished=done))
    served.feed(REQUEST + HELLO)
    assert served.application.messages == ["Hello"]


# Leftovers


class Kept(WebSocketProtocol):
    """With weak references, to see it go."""


def test_a_lost_connection_is_freed_without_the_garbage_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        kept = []

        def build(request: object) -> Kept:
            application = Kept()
            kept.extend([weakref.ref(application)])
            return application

        served = Served(buildApplication=build)
        served.feed(REQUEST + HELLO + PING)
        served.feed(CLOSE)
        kept.append(weakref.ref(served.wire))
        factory = served.factory
        served.lose()
        del served
        assert [one() for one in kept] == [None, None]
        assert not factory.connections
    finally:
        gc.enable()


def test_an_idle_connection_costs_little() -> None:
    first = Served(buildApplication=lambda request: WebSocketProtocol(), settings={"pingInterval": 20})
    first.feed(REQUEST)
    wires = []
    transports = [Transport() for _ in range(1000)]
    for transport in transports:
        # Its own dict is not to grow meanwhile: on Python 3.10 that depends on what earlier tests did to its class.
        transport.producer = transport.streaming = None
    gc.collect()
    tracemalloc.start()
    try:
        for transport in transports:
            wire = first.factory.buildProtocol(None)
            wire.makeConnection(transport)
            wire.dataReceived(REQUEST)
            wire.dataReceived(HELLO)
            wires.append(wire)
            transport.clear()
        size = tracemalloc.get_traced_memory()[0] / len(wires)
    finally:
        tracemalloc.stop()
    print(f"{size:.0f} bytes a connection")
    assert size < 1920


# A producer that ends the connection


class LostAtOnce(HalfCloseable):
    """Is lost within `abortConnection`, as Twisted's own transports may be."""

    wire: Any = None

    def abortConnection(self) -> None:
        super().abortConnection()
        self.wire.connectionLost(Failure(ConnectionDone()))


class Aborting:
    """A producer that drops the connection when nothing can be sent any more."""

    def __init__(self, wire: Any) -> None:
        self.wire = wire

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...

    def stopProducing(self) -> None:
        self.wire.abortConnection()


def abortedByItsProducer(transport: LostAtOnce) -> Served:
    served = Served(transport=transport)
    transport.wire = served.wire
    served.open()
    served.wire.attachProducer(Aborting(served.wire))
    return served


@pytest.mark.parametrize("data", [CLOSE, FAULT], ids=["close", "fault"])
def test_a_producer_may_abort_a_connection_that_the_peer_has_ended(data: bytes) -> None:
    served = abortedByItsProducer(LostAtOnce())
    served.feed(data)
    assert served.application.told == ["started", "finished", "lost"]
    assert served.transport.told == ["abort"]
    assert served.clock.getDelayedCalls() == []


def test_a_producer_may_abort_a_connection_that_is_closed() -> None:
    served = abortedByItsProducer(LostAtOnce())
    served.wire.loseConnection()
    assert served.application.told == ["started", "finished", "lost"]
    assert served.clock.getDelayedCalls() == []


def test_a_producer_that_aborts_a_connection_that_is_closed_may_wait_for_the_loss() -> None:
    served = opened()
    served.wire.attachProducer(Aborting(served.wire))
    served.wire.loseConnection()
    assert served.transport.told == ["abort"]
    assert served.clock.getDelayedCalls() == []
    served.lose()
    assert served.application.told == ["started", "finished", "lost"]


def test_a_producer_may_abort_a_client_that_was_refused() -> None:
    transport = LostAtOnce()
    asked = Asked(transport=transport)
    transport.wire = asked.wire
    asked.wire.attachProducer(Aborting(asked.wire))
    asked.feed(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    assert asked.application.told == ["started", "lost"]
    assert transport.told == ["abort"]
    assert asked.clock.getDelayedCalls() == []


def test_a_lost_transport_is_not_told_to_read() -> None:
    """A producer that is told to stop may be what the callback of a message waits for."""
    pending: Deferred[None] = Deferred()
    served = opened(Application(message=lambda _: pending), settings={"receiveQueue": 1})
    served.feed(HELLO + HELLO)
    assert served.transport.told == ["pause"]
    served.wire.attachProducer(Finishing(pending))
    served.lose()
    assert served.transport.told == ["pause"]
    assert served.application.messages == ["Hello", "Hello"]


class Finishing:
    """A producer that has done its work when it is told to stop."""

    def __init__(self, done: Deferred[None]) -> None:
        self.done = done

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...

    def stopProducing(self) -> None:
        self.done.callback(None)


def test_the_close_behind_what_a_lost_connection_delivered_is_told() -> None:
    """The application was given what came, and failed on it later: the peer had closed the connection."""
    pending: Deferred[None] = Deferred()
    served = opened(Application(message=lambda _: pending))
    served.wire.pauseProducing()
    served.wire.dataReceived(HELLO + CLOSE)
    served.lose(clean=False)
    served.wire.resumeProducing()
    served.clock.advance(0)
    with logged() as events:
        pending.errback(ValueError("late"))
    assert failures(events) == ["late"]
    [reason] = served.application.reasons
    assert reason.closeReceived == (1000, "")
