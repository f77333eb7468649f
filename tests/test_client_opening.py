"""A client's opening handshake, alone: the connection, its transport and the factory are plain objects."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from wire import ANSWER, HELLO_SENT, REQUEST, Application, failures, logged
from zope.interface import implementer

from wsock import ConnectionRejected, InvalidResponse, LocalProtocolError, Settings, WebSocketDropped
from wsock.client.opening import ClientOpening
from wsock.sansio.http import RequestHead
from wsock.sansio.url import parse
from wsock.wire.transports import Driver, driverOf

REJECTION = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\n"
PROTOCOL = b"Sec-WebSocket-Protocol: chat\r\n"


class Plain:
    pass


class Handle:
    """As that of pyOpenSSL."""

    def __init__(self, done: bool) -> None:
        self._done = done

    def get_peer_finished(self) -> bytes | None:
        return b"finished" if self._done else None


@implementer(ISSLTransport)
class TLS:
    def __init__(self, done: bool = True) -> None:
        self._handle = Handle(done)

    def getHandle(self) -> Handle:
        return self._handle


class Policy:
    """A factory, and who hears of its opening handshakes; notes what it is told.

    Attributes:
        told: "made" for a connection that is made, "build" for an application that is asked for.
        errors: why connections were never open.
        applications: those of connections that are open.
    """

    def __init__(self, build: Callable[[], Any] = Application, url: str = "ws://server.example.com/chat") -> None:
        self.build = build
        self.url = parse(url)
        self.settings = Settings()
        self.isStopping = False
        self.seconds: float | None = 5
        self.head = REQUEST
        self.begun: Callable[[Any], object] = lambda transport: None
        self.told: list[str] = []
        self.errors: list[BaseException] = []
        self.applications: list[Any] = []
        self.observer = self

    def buildApplication(self, request: Any) -> Any:
        self.told.append("build")
        return self.build()

    def makeRequest(self) -> RequestHead:
        return RequestHead(self.head)

    def secondsLeft(self) -> float | None:
        return self.seconds

    # Its observer

    def connected(self, transport: Any) -> None:
        self.told.append("made")
        self.begun(transport)

    def opened(self, application: Any) -> None:
        self.applications.append(application)

    def failed(self, error: BaseException, transport: Any = None) -> None:
        assert transport is None or not transport.isOpening()
        self.errors.append(error)


class Connection:
    """A connection that is being opened; notes how that ends, which it does once.

    Attributes:
        end: "done", "ended", "aborted" or "lost"; None while it is opened.
        sent: what has left; what the application sends is not among it.
        isHeld: whether what the application sends has to wait.
        failure: why it was never open.
        waitedFor: what is waited for, of the application's.
    """

    def __init__(self, policy: Policy | None = None, transport: Any = None, begin: bool = True) -> None:
        self.policy = Policy() if policy is None else policy
        self.clock = Clock()
        self.transport = Plain() if transport is None else transport
        self.outbox = self.inbox = self
        self.end: str | None = None
        self.sent = b""
        self.isHeld = False
        self.isDropped = False
        self.request: Any = None
        self.response: Any = None
        self.application: Any = None
        self.stays = True
        self.callbacks: list[str] = []
        self.pending: Deferred[Any] | None = None
        self.agreed: tuple[Sequence[Any], str | None] | None = None
        self.unread = b""
        self.within: float | None = None
        self.failure: BaseException | None = None
        self.waitedFor: list[tuple[Deferred[Any], str]] = []
        self.cancelled: list[Deferred[Any]] = []
        self.logged: list[tuple[BaseException | None, str]] = []
        self.opening = ClientOpening(self, self.policy, self.clock)  # type: ignore[arg-type]
        if begin:
            self.opening.begin()

    def _end(self, how: str) -> None:
        assert self.end is None
        self.end = how

    def isOpening(self) -> bool:
        return self.end is None

    # The outbox

    @property
    def driver(self) -> Driver:
        return driverOf(self.transport)

    def hold(self) -> None:
        self.isHeld = True

    def writeAhead(self, data: bytes) -> None:
        assert self.isHeld
        self.sent += data

    def abort(self) -> None:
        self.isDropped = True

    # The inbox

    def attach(self, application: Any) -> None:
        self.application = application

    def waitFor(self, deferred: Deferred[Any], callback: str) -> None:
        self.waitedFor.append((deferred, callback))

    # The connection

    def openingMakesCore(self) -> "Connection":
        return self

    def openingRequests(self, request: Any) -> None:
        self.request = request

    def openingResponds(self, response: Any) -> None:
        self.response = response

    def openingDone(
        self,
        callbacks: Mapping[str, Callable[[], object]],
        pending: Deferred[Any] | None,
        last: Callable[[bool], None],
        extensions: Sequence[Any],
        subprotocol: str | None,
        unread: bytes,
    ) -> None:
        self._end("done")
        self.callbacks = list(callbacks)
        for callback in callbacks.values():
            callback()
        self.pending, self.agreed, self.unread = pending, (list(extensions), subprotocol), unread
        last(self.stays)

    def openingEnded(self, gently: bool = True, within: float | None = None) -> None:
        assert not gently
        self._end("ended")
        self.within = within

    def openingFailed(self, error: BaseException) -> None:
        self.failure = error

    def abortConnection(self) -> None:
        self._end("aborted")
        self.opening.aborted()

    def lose(self, reason: BaseException | None = None) -> "Connection":
        """The transport is lost."""
        failure = Failure(ConnectionDone() if reason is None else reason)
        self.end = self.end or "lost"
        self.opening.losing(failure)
        self.opening.lost(failure)
        return self

    def cancel(self, deferred: Deferred[Any]) -> None:
        self.cancelled.append(deferred)
        deferred.cancel()

    def logFailure(self, failure: Failure, callback: str) -> None:
        self.logged.append((failure.value, callback))

    def feed(self, *pieces: bytes) -> "Connection":
        for piece in pieces:
            self.opening.dataReceived(piece)
        return self

    @property
    def error(self) -> Any:
        """Why it was never open: the factory was told once; the connection knows the same, by another exception."""
        assert self.clock.getDelayedCalls() == []
        assert self.end not in (None, "done")
        [error] = self.policy.errors
        assert self.failure is not error
        assert (type(self.failure), str(self.failure)) == (type(error), str(error))
        return error


async def returning(value: Any) -> Any:
    return value


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object) -> Any:
        raise error

    return fail


# The request


@pytest.mark.parametrize(
    "how", [lambda application: application, succeed, returning, lambda application: returning(succeed(application))]
)
def test_the_request_leaves_when_the_application_has_begun(how: Callable[[Any], Any]) -> None:
    application = Application(started=lambda _: seen.append(connection.sent))
    seen: list[bytes] = []
    connection = Connection(Policy(lambda: how(application)), begin=False)
    connection.opening.begin()
    assert seen == [b""]
    assert connection.sent == REQUEST
    assert application.told == ["started"]
    assert application.transport is connection
    assert connection.request.path == "/chat"
    assert connection.policy.told == ["made", "build"]


def test_what_is_sent_waits_from_the_beginning_on() -> None:
    connection = Connection(Policy(Deferred))
    assert connection.isHeld
    assert connection.sent == b""


def test_an_application_that_takes_its_time() -> None:
    building, application = Deferred[Any](), Application()
    connection = Connection(Policy(lambda: building))
    connection.clock.advance(3)
    building.callback(application)
    assert connection.sent == REQUEST
    # It is part of the time that there is.
    connection.clock.advance(2)
    assert isinstance(connection.error, WebSocketDropped)


def test_a_factory_that_stops_asks_nobody() -> None:
    policy = Policy()
    policy.isStopping = True
    connection = Connection(policy)
    assert (connection.end, connection.sent, policy.told) == ("ended", b"", [])
    connection.lose()
    assert policy.errors == []
    assert connection.clock.getDelayedCalls() == []


def test_a_factory_that_wants_the_connection_no_more() -> None:
    policy = Policy()
    policy.begun = Connection.abortConnection
    connection = Connection(policy, begin=False)
    connection.opening.begin()
    assert (connection.end, connection.sent, policy.told) == ("aborted", b"", ["made"])
    connection.lose()
    assert policy.errors == []
    assert connection.clock.getDelayedCalls() == []


def test_secrets_leave_through_tls_alone() -> None:
    connection = Connection(Policy(url="wss://server.example.com/"))
    assert (connection.end, connection.sent, connection.policy.told) == ("aborted", b"", ["made"])
    assert isinstance(connection.error, LocalProtocolError)
    assert Connection(Policy(url="wss://server.example.com/"), TLS()).sent == REQUEST
    assert Connection(Policy(), TLS()).sent == REQUEST


# An application that fails


@pytest.mark.parametrize("how", [raising, lambda error: lambda: failed(error), lambda error: lambda: raises(error)])
def test_what_build_application_raises_is_told(how: Callable[[BaseException], Callable[[], Any]]) -> None:
    error = RuntimeError("expected")
    connection = Connection(Policy(how(error)))
    assert (connection.end, connection.sent) == ("aborted", b"")
    assert connection.error is error
    assert connection.logged == []
    assert connection.lose().cancelled == []


def test_the_traceback_of_an_application_is_left_to_it() -> None:
    connection = Connection(Policy(raising(RuntimeError("expected"))))
    assert connection.error.__traceback__ is not None


def failed(error: BaseException) -> Deferred[Any]:
    deferred = Deferred[Any]()
    deferred.errback(error)
    return deferred


async def raises(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize("how", [lambda value: value, succeed, returning])
def test_what_is_no_application(how: Callable[[Any], Any]) -> None:
    connection = Connection(Policy(lambda: how("no application")))
    assert (connection.end, connection.sent) == ("aborted", b"")
    assert isinstance(connection.error, TypeError)
    assert "buildApplication returned a str" in str(connection.error)
    assert connection.logged == []


@pytest.mark.parametrize("how", [raising, lambda error: lambda _: failed(error), lambda error: lambda _: raises(error)])
def test_an_application_that_fails_as_it_begins(how: Callable[[BaseException], Callable[[Any], Any]]) -> None:
    error = RuntimeError("expected")
    connection = Connection(Policy(lambda: Application(started=how(error))))
    assert (connection.end, connection.sent) == ("aborted", b"")
    assert connection.logged == [(error, "negotiationStarted")]
    assert isinstance(connection.error, WebSocketDropped)
    assert str(connection.error) == "the application failed"
    assert connection.error.__cause__ is error


def test_an_application_that_fails_before_the_answer() -> None:
    starting = Deferred[Any]()
    connection = Connection(Policy(lambda: Application(started=lambda _: starting)))
    assert connection.sent == REQUEST
    error = RuntimeError("expected")
    starting.errback(error)
    assert connection.end == "aborted"
    assert connection.logged == [(error, "negotiationStarted")]
    assert str(connection.error) == "the application failed"


def test_a_producer_that_fails_before_the_answer() -> None:
    connection = Connection()
    error = RuntimeError("expected")
    connection.opening.failed(Failure(error), "its producer's pauseProducing")
    assert connection.end == "aborted"
    assert connection.logged == [(error, "its producer's pauseProducing")]
    assert connection.error.__cause__ is error


def test_an_application_that_leaves_as_it_comes() -> None:
    connection = Connection(
        Policy(lambda: Application(started=lambda application: application.transport.abortConnection()))
    )
    assert (connection.end, connection.sent) == ("aborted", b"")
    assert str(connection.lose().error).startswith("the connection was lost before the server answered")


# The answer


@pytest.mark.parametrize("size", [1, 7, len(ANSWER)])
def test_an_answer_in_pieces(size: int) -> None:
    application = Application()
    connection = Connection(Policy(lambda: application))
    connection.feed(*(ANSWER[begin : begin + size] for begin in range(0, len(ANSWER), size)))
    assert connection.end == "done"
    assert connection.callbacks == ["negotiationFinished"]
    assert application.told == ["started", "finished"]
    assert connection.response.status == 101
    assert connection.agreed == ([], None)
    assert (connection.unread, connection.pending) == (b"", None)
    assert connection.policy.applications == [application]
    assert connection.policy.errors == []
    assert connection.clock.getDelayedCalls() == []


def test_what_is_behind_the_answer_and_what_was_agreed_on() -> None:
    policy = Policy()
    policy.head = REQUEST[:-2] + PROTOCOL + b"\r\n"
    connection = Connection(policy).feed(ANSWER[:50], ANSWER[50:-2] + PROTOCOL + b"\r\n" + HELLO_SENT)
    assert connection.agreed == ([], "chat")
    assert connection.unread == HELLO_SENT


def test_an_application_that_has_dropped_it_by_then() -> None:
    connection = Connection()
    connection.stays = False
    connection.feed(ANSWER)
    assert connection.policy.applications == []
    assert [str(error) for error in connection.policy.errors] == ["the application aborted it"]


def test_what_the_application_began_is_waited_for() -> None:
    starting = Deferred[Any]()
    connection = Connection(Policy(lambda: Application(started=lambda _: starting))).feed(ANSWER)
    assert connection.pending is starting
    # It is the inbox's from here on: it is no failure of the opening handshake.
    error = RuntimeError("expected")
    seen: list[Failure] = []
    starting.addErrback(seen.append)
    starting.errback(error)
    assert [one.value for one in seen] == [error]
    assert (connection.logged, connection.policy.errors) == ([], [])


def test_a_server_that_speaks_before_it_was_asked() -> None:
    building = Deferred[Any]()
    connection = Connection(Policy(lambda: building)).feed(b"H")
    assert connection.end == "aborted"
    assert isinstance(connection.error, InvalidResponse)
    assert connection.cancelled == [building]


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        ANSWER.replace(b"Accept: s3", b"Accept: xx"),
        ANSWER[:-2] + PROTOCOL + b"\r\n",
        ANSWER[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
    ],
)
def test_an_answer_that_can_not_be(answer: bytes) -> None:
    connection = Connection().feed(answer)
    assert connection.end == "aborted"
    assert isinstance(connection.error, InvalidResponse)
    assert connection.error.__traceback__ is None
    assert (connection.response is None) is answer.startswith(b"nonsense")


@pytest.mark.parametrize("setting", ["maxHeaderLine", "maxHeaderSize", "maxHeaders"])
def test_an_answer_beyond_a_limit(setting: str) -> None:
    policy = Policy()
    policy.settings = Settings(**{setting: 2})
    assert isinstance(Connection(policy).feed(ANSWER).error, InvalidResponse)


def test_a_server_that_speaks_tls() -> None:
    connection = Connection().feed(b"\x15\x03\x01\x00\x02\x02\x0a")
    assert isinstance(connection.error, InvalidResponse)
    assert "write wss:// in the URL" in str(connection.error)


# A rejection


@pytest.mark.parametrize("size", [1, 20, 1000])
def test_a_rejection_has_its_body(size: int) -> None:
    connection = Connection()
    answer = REJECTION + b"no entry!"
    connection.feed(*(answer[begin : begin + size] for begin in range(0, len(answer), size)))
    assert connection.end == "ended"
    assert connection.isDropped
    assert connection.within is not None
    assert isinstance(connection.error, ConnectionRejected)
    assert str(connection.error) == "the server answered 403 Forbidden"
    assert (connection.error.response.status, connection.error.response.body) == (403, b"no entry!")
    assert connection.response.body == b"no entry!"
    connection.lose()
    assert len(connection.policy.errors) == 1


def test_of_a_long_body_64_kib_are_kept() -> None:
    connection = Connection().feed(b"HTTP/1.1 500 \r\n\r\n", bytes(65535))
    assert connection.end is None
    connection.feed(b"xy")
    assert str(connection.error) == "the server answered 500"
    assert connection.error.response.body == bytes(65535) + b"x"


@pytest.mark.parametrize("end", ["lost", "timed out", "closed past us"])
def test_a_body_that_does_not_end(end: str) -> None:
    connection = Connection().feed(REJECTION + b"no")
    assert connection.end is None
    if end == "lost":
        connection.lose()
    elif end == "timed out":
        connection.clock.advance(5)
    else:
        connection.opening.closedPastUs()
    assert isinstance(connection.error, ConnectionRejected)
    assert connection.error.response.body == b"no"


@pytest.mark.parametrize(
    ("status", "told", "hint"),
    [(b"400", b"was sent to HTTPS port", True), (b"403", b"was sent to HTTPS port", False), (b"400", b"is bad", False)],
)
def test_a_web_server_that_was_spoken_to_in_plain(status: bytes, told: bytes, hint: bool) -> None:
    body = b"<p>The plain HTTP request " + told
    connection = Connection().feed(b"HTTP/1.1 %b No\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)
    assert ("write wss:// in the URL" in str(connection.error)) is hint


# Time


@pytest.mark.parametrize("came", [b"", ANSWER[:20]])
def test_an_answer_that_does_not_come_in_time(came: bytes) -> None:
    connection = Connection().feed(*filter(None, [came]))
    connection.clock.advance(4.9)
    assert connection.end is None
    connection.clock.advance(0.1)
    assert connection.end == "aborted"
    assert isinstance(connection.error, WebSocketDropped)
    assert str(connection.error) == "the opening handshake took too long"


def test_a_tls_handshake_that_does_not_end_in_time() -> None:
    connection = Connection(transport=TLS(done=False))
    connection.clock.advance(5)
    assert "did not finish the TLS handshake" in str(connection.error)


def test_without_a_timeout_it_waits() -> None:
    policy = Policy()
    policy.seconds = None
    connection = Connection(policy)
    assert connection.clock.getDelayedCalls() == []
    assert connection.feed(ANSWER).end == "done"


def test_where_no_time_is_left_it_is_over_in_the_next_turn() -> None:
    policy = Policy(Deferred)
    policy.seconds = 0
    connection = Connection(policy)
    connection.clock.advance(0)
    assert str(connection.error) == "the opening handshake took too long"


def test_an_application_that_does_not_come_in_time() -> None:
    building = Deferred[Any]()
    connection = Connection(Policy(lambda: building))
    connection.clock.advance(5)
    assert connection.cancelled == [building]
    assert str(connection.error) == "the opening handshake took too long"
    assert connection.logged == []
    assert connection.lose().cancelled == [building]


# Other ends


HINT = ": if it speaks TLS on this port, write wss:// in the URL"


@pytest.mark.parametrize(
    ("reason", "came", "transport", "told"),
    [
        (ConnectionDone(), b"", Plain(), HINT),
        (ConnectionLost(), b"", Plain(), HINT),
        (ConnectionAborted(), b"", Plain(), HINT),
        (ConnectionDone(), b"H", Plain(), ""),
        (ConnectionDone(), b"", TLS(), ""),
        (ValueError("expected"), b"", Plain(), ": ValueError('expected')"),
    ],
)
def test_a_transport_that_is_lost(reason: Exception, came: bytes, transport: Any, told: str) -> None:
    connection = Connection(transport=transport).feed(*filter(None, [came]))
    error = connection.lose(reason).error
    assert isinstance(error, WebSocketDropped)
    assert str(error) == f"the connection was lost before the server answered{told}"
    assert error.__cause__ is reason


def test_a_tls_handshake_that_fails() -> None:
    connection = Connection(transport=TLS(done=False))
    connection.lose(Exception([("SSL routines", "", "wrong version number")]))
    assert str(connection.error).startswith("TLS failed: the server speaks no TLS on this port")
    connection = Connection(transport=TLS(done=False)).lose()
    assert "during the TLS handshake" in str(connection.error)


def test_a_transport_that_is_lost_before_there_is_an_application() -> None:
    building = Deferred[Any]()
    connection = Connection(Policy(lambda: building)).lose()
    assert str(connection.error) == "the connection was lost before the server answered"
    assert connection.cancelled == [building]
    assert connection.logged == []


def test_what_the_application_began_has_a_time_to_end() -> None:
    starting = Deferred[Any]()
    connection = Connection(Policy(lambda: Application(started=lambda _: starting))).lose()
    assert connection.waitedFor == [(starting, "negotiationStarted")]


def test_after_a_rejection_what_the_application_began_has_a_time_to_end() -> None:
    starting = Deferred[Any]()
    connection = Connection(Policy(lambda: Application(started=lambda _: starting))).feed(REJECTION + bytes(9))
    assert connection.waitedFor == [(starting, "negotiationStarted")]
    connection.lose()
    assert len(connection.waitedFor) == 1


def test_a_factory_that_stops() -> None:
    connection = Connection()
    connection.opening.stop()
    assert connection.end == "aborted"
    assert isinstance(connection.error, WebSocketDropped)
    assert str(connection.error) == "closed before it was open"


def test_another_hand_closed_the_transport() -> None:
    connection = Connection()
    connection.opening.closedPastUs()
    assert connection.end == "aborted"
    assert str(connection.error) == "the transport was closed before it was open"


def test_closing_is_the_connections_own_affair() -> None:
    """Its Close waits for the answer as all that is sent, and before that the time runs."""
    connection = Connection()
    connection.opening.lose(1000, "")
    assert connection.end is None
    assert connection.feed(ANSWER).end == "done"


def test_why_it_failed_is_told_once() -> None:
    connection = Connection().feed(b"nonsense\r\n\r\n")
    error = connection.error
    connection.lose()
    assert connection.error is error


def test_an_application_that_comes_too_late_is_not_begun() -> None:
    application = Application()
    building = Deferred[Any](lambda _: building.callback(application))
    connection = Connection(Policy(lambda: building)).lose()
    assert (application.told, connection.sent, connection.application) == ([], b"", None)


def test_a_failure_that_comes_too_late_is_logged() -> None:
    error = RuntimeError("expected")
    building = Deferred[Any](lambda _: building.errback(error))
    connection = Connection(Policy(lambda: building)).lose()
    assert connection.logged == [(error, "buildApplication")]
    assert str(connection.error).startswith("the connection was lost")


def test_an_application_that_has_come_is_not_cancelled() -> None:
    connection = Connection(Policy(lambda: succeed(Application()))).lose()
    assert connection.cancelled == []


def test_a_cancellation_keeps_nothing() -> None:
    error = CancelledError()

    async def build() -> Any:
        try:
            await Deferred[Any]()
        except CancelledError:
            raise error from None

    Connection(Policy(build)).lose()
    assert error.__traceback__ is None


def test_a_cancelled_building_is_no_failure() -> None:
    building = Deferred[Any](lambda _: building.errback(CancelledError()))
    with logged() as events:
        connection = Connection(Policy(lambda: building)).lose()
    assert (connection.logged, failures(events)) == ([], [])


@pytest.mark.parametrize("came", [b"", REJECTION])
def test_a_connection_that_is_aborted(came: bytes) -> None:
    connection = Connection().feed(*filter(None, [came]))
    connection.abortConnection()
    assert connection.clock.getDelayedCalls() == []
    assert connection.policy.errors == []
    connection.lose()
    assert isinstance(connection.error, ConnectionRejected if came else WebSocketDropped)
