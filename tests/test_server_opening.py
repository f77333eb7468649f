"""A server's opening handshake, alone: the connection, its transport and the factory are plain objects."""

import gc
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import ref

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from wire import ANSWER, REQUEST, Application

from wsock import Refuse, Settings
from wsock.sansio.extensions import DeflateParameters, Extension
from wsock.sansio.handshake import ReadyFields
from wsock.server.opening import ServerOpening

HEAD = REQUEST.replace(b"GET", b"HEAD")
#: A request for something else than a WebSocket.
OTHER = b"GET / HTTP/1.1\r\nHost: server.example.com\r\n\r\n"
#: Bytes behind a request that are held until there is a decision.
HELD = 65536


class Handle:
    """As that of pyOpenSSL: the client's first message of TLS has come, and its last has not."""

    def client_random(self) -> bytes:
        return b"random"

    def get_peer_finished(self) -> None:
        return None


class Transport:
    isReading = True

    def pauseProducing(self) -> None:
        self.isReading = False

    def resumeProducing(self) -> None:
        self.isReading = True


class TLS(Transport):
    def getHandle(self) -> Handle:
        return Handle()


class Policy:
    """A factory; notes what it is told.

    Attributes:
        unfinished: how many bytes are held of unfinished heads.
        refusals: what is to be logged of refusals.
        tlsFailures: the same of failed TLS handshakes.
    """

    def __init__(self, build: Callable[[], Any] = Application, settings: Settings | None = None) -> None:
        self.build = build
        self.settings = Settings(openTimeout=5) if settings is None else settings
        self.subprotocols: Sequence[str] = ()
        self.allowedOrigins: Sequence[str] | None = None
        self.hostRule: Any = None
        self.isFull = False
        self.maxConnections: int | None = None
        self.addressLimits: Any = None
        self.checksPages = False
        self.headers: Sequence[tuple[str, str]] = ()
        self.answerFields = ReadyFields([("Server", ANSWER.decode().rpartition("Server: ")[2].strip())])
        self.deflateParameters: DeflateParameters | None = None
        self.isStopping = False
        self.accessLog: Any = None
        self.fallback: Any = None
        self.unfinished = 0
        self.refusals: list[tuple[str, str, int, str]] = []
        self.tlsFailures: list[tuple[str, str]] = []

    def findRules(self, request: Any) -> Any:
        return self

    def count(self, transport: Any) -> None:
        pass

    def buildApplication(self, request: Any) -> Any:
        return self.build()

    def whyFull(self) -> str | None:
        return None

    def countUnfinished(self, difference: int) -> int:
        self.unfinished += difference
        return self.unfinished

    def logRefusal(self, request: str, peer: str, status: int, why: str) -> None:
        self.refusals.append((request, peer, status, why))

    def logTLSFailure(self, peer: str, why: str) -> None:
        self.tlsFailures.append((peer, why))


class Connection:
    """A connection that is being opened; notes how that ends, which it does once.

    Attributes:
        end: "done", "refused", "dropped", "aborted" or "handed on"; None while it is opened.
        answer: what it answers.
        unread: the bytes behind the request, of one that is open.
        reading: whether it goes on reading.
        note: for the access log.
    """

    def __init__(self, policy: Policy | None = None, transport: Any = None) -> None:
        self.policy = Policy() if policy is None else policy
        self.clock = Clock()
        self.transport = Transport() if transport is None else transport
        self.outbox = self
        self.end: str | None = None
        self.answer = b""
        self.application: Any = None
        self.callbacks: list[str] = []
        self.subprotocol: str | None = None
        self.extensions: Sequence[Extension] = ()
        self.unread = b""
        self.reading: bool | None = None
        self.protocol: Any = None
        self.note: Any = None
        self.cancelled: list[Deferred[Any]] = []
        self.failures: list[tuple[BaseException | None, str]] = []
        self.opening = ServerOpening(self, self.policy, self.clock)  # type: ignore[arg-type]
        self.opening.begin()

    def _end(self, how: str) -> None:
        assert self.end is None
        self.end = how

    def isOpening(self) -> bool:
        return self.end is None

    def openingNotes(self, note: Any) -> None:
        self.note = note

    def openingRequests(self, request: Any) -> None:
        self.request = request

    def openingAgrees(self, terms: Any) -> None:
        pass

    def openingMakesCore(self, extensions: Sequence[Extension]) -> "Connection":
        self.extensions = extensions
        return self

    def attach(self, application: Any) -> None:
        self.application = application

    def writeHTTP(self, message: list[bytes]) -> None:
        self.answer += b"".join(message)

    def openingDone(
        self,
        callbacks: Mapping[str, Callable[[], object]],
        first: Callable[[], None],
        subprotocol: str | None,
        unread: bytes,
        reading: bool,
    ) -> None:
        self._end("done")
        first()
        self.callbacks = list(callbacks)
        for callback in callbacks.values():
            callback()
        self.subprotocol, self.unread, self.reading = subprotocol, unread, reading

    def openingEnded(self, message: list[bytes] | None = None, gently: bool = True) -> None:
        self._end("refused" if gently else "dropped")
        self.writeHTTP(message or [])

    def openingHandedOn(self, protocol: Any, data: bytes) -> None:
        self._end("handed on")
        self.protocol, self.unread = protocol, data

    def abortConnection(self) -> None:
        self._end("aborted")
        self.opening.aborted()

    def lose(self) -> None:
        """The transport is lost."""
        reason = Failure(ConnectionDone())
        self.opening.losing(reason)
        self.opening.lost(reason)

    def cancel(self, deferred: Deferred[Any]) -> None:
        self.cancelled.append(deferred)
        deferred.cancel()

    def logFailure(self, failure: Failure, callback: str) -> None:
        self.failures.append((failure.value, callback))

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.1", 4321)

    def peerForLog(self) -> str:
        return "192.0.2.1:4321"

    def pathForLog(self) -> str:
        return self.request.rawPath if hasattr(self, "request") else ""

    def feed(self, *pieces: bytes) -> "Connection":
        for piece in pieces:
            self.opening.dataReceived(piece)
        return self

    @property
    def status(self) -> int:
        """That of the answer, which refuses."""
        assert self.end == "refused"
        assert self.answer.count(b"\r\nDate: ") == 1
        return int(self.answer.split(b" ")[1])

    @property
    def body(self) -> bytes:
        return self.answer.partition(b"\r\n\r\n")[2]


def isQuiet(connection: Connection) -> bool:
    """Whether nothing is left to be waited for, and no head is held."""
    return connection.clock.getDelayedCalls() == [] and connection.policy.unfinished == 0


# Reading


@pytest.mark.parametrize("size", [1, 7, len(REQUEST)])
def test_a_request_in_pieces(size: int) -> None:
    application = Application()
    connection = Connection(Policy(lambda: application))
    connection.feed(*(REQUEST[begin : begin + size] for begin in range(0, len(REQUEST), size)))
    assert connection.end == "done"
    assert connection.answer == ANSWER
    assert connection.application is application
    assert connection.callbacks == ["negotiationStarted", "negotiationFinished"]
    assert application.told == ["started", "finished"]
    assert application.transport is connection
    assert (connection.unread, connection.reading) == (b"", True)
    assert connection.request.path == "/chat"
    assert isQuiet(connection)


def test_the_subprotocol_is_told() -> None:
    policy = Policy()
    policy.subprotocols = ("chat",)
    connection = Connection(policy).feed(REQUEST[:-2] + b"Sec-WebSocket-Protocol: chat\r\n\r\n")
    assert connection.subprotocol == "chat"


def test_bytes_behind_the_request_are_handed_over_in_order() -> None:
    deciding = Deferred[Any]()
    connection = Connection(Policy(lambda: deciding)).feed(REQUEST[:9], REQUEST[9:] + b"a", b"b", b"c")
    assert connection.end is None
    deciding.callback(Application())
    assert (connection.end, connection.unread, connection.reading) == ("done", b"abc", True)


@pytest.mark.parametrize(("size", "reading"), [(HELD - 1, True), (HELD, False)])
def test_a_peer_that_sends_much_before_the_decision_is_made_to_wait(size: int, reading: bool) -> None:
    deciding = Deferred[Any]()
    connection = Connection(Policy(lambda: deciding)).feed(REQUEST, bytes(size - 1), b"x")
    assert connection.transport.isReading is reading
    deciding.callback(Application())
    assert connection.unread == bytes(size - 1) + b"x"
    assert connection.reading is reading


def test_refusing_a_peer_that_was_made_to_wait_reads_on() -> None:
    deciding = Deferred[Any]()
    connection = Connection(Policy(lambda: deciding)).feed(REQUEST, bytes(HELD))
    deciding.errback(Refuse(403))
    assert connection.status == 403
    assert connection.transport.isReading


@pytest.mark.parametrize(
    ("line", "status"), [(b"GO nowhere\r\n", 400), (b"GET / HTTP/2.0\r\n", 505), (b"GET /" + b"x" * 20000, 414)]
)
@pytest.mark.parametrize("size", [1, 30000])
def test_what_is_no_request(line: bytes, status: int, size: int) -> None:
    connection = Connection().feed(line[:size], *filter(None, [line[size:]]))
    assert connection.status == status
    assert connection.body
    [(request, peer, logged, why)] = connection.policy.refusals
    assert (request, peer, logged) == ("a request", "192.0.2.1:4321", status)
    assert why
    assert isQuiet(connection)


def test_a_limit_is_that_of_the_settings() -> None:
    for setting in ("maxHeaderLine", "maxHeaderSize", "maxHeaders"):
        connection = Connection(Policy(settings=Settings(**{setting: 2})))
        assert connection.feed(REQUEST).status in (414, 431)
        assert connection.policy.refusals[0][3].endswith(f"({setting})")


def test_no_answer_to_head_has_a_body() -> None:
    for request in (HEAD, b"HEAD / HTTP/1.1\r\nnonsense\r\n\r\n"):
        connection = Connection().feed(request)
        assert connection.status in (400, 405)
        assert connection.body == b""


def test_unfinished_heads_are_counted_until_they_end() -> None:
    connection = Connection().feed(REQUEST[:20], REQUEST[20:50])
    assert connection.policy.unfinished == 50
    connection.feed(REQUEST[50:])
    assert connection.policy.unfinished == 0


@pytest.mark.parametrize(("room", "end"), [(20, None), (19, "refused")])
def test_unfinished_heads_of_all_connections_have_a_bound(room: int, end: str | None) -> None:
    connection = Connection()
    connection.policy.unfinished = held = 2**26 - room
    connection.feed(REQUEST[:20])
    assert connection.end == end
    if end is not None:
        assert connection.status == 503
        assert connection.body.startswith(b"Service Unavailable")
        assert connection.policy.unfinished == held
        assert connection.clock.getDelayedCalls() == []


def test_a_head_that_is_too_much_for_all_is_answered_without_a_body_where_it_is_for_head() -> None:
    connection = Connection()
    connection.policy.unfinished = 2**26
    assert connection.feed(HEAD[:20]).status == 503
    assert connection.body == b""


# Deciding


def test_a_refusal_is_logged() -> None:
    def refuse() -> Any:
        raise Refuse(403, body=b"no")

    connection = Connection(Policy(refuse)).feed(REQUEST.replace(b"/chat", b"/chat?secret"))
    assert (connection.status, connection.body) == (403, b"no")
    assert connection.policy.refusals == [("GET /chat", "192.0.2.1:4321", 403, "the application refused: no")]
    assert isQuiet(connection)


def test_a_failure_of_the_application_is_logged_once() -> None:
    error = RuntimeError("expected")

    def fail() -> Any:
        raise error

    connection = Connection(Policy(fail)).feed(REQUEST)
    assert connection.status == 500
    assert connection.failures == [(error, "buildApplication")]
    assert connection.policy.refusals == []
    assert isQuiet(connection)


def test_the_date_of_an_application_is_left_to_it() -> None:
    def refuse() -> Any:
        raise Refuse(403, [("Date", "Sun, 06 Nov 1994 08:49:37 GMT")])

    connection = Connection(Policy(refuse)).feed(REQUEST)
    assert connection.status == 403
    assert b"\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n" in connection.answer


@pytest.mark.parametrize(("request_", "body"), [(REQUEST, b"Service Unavailable: the server stops"), (HEAD, b"")])
def test_a_server_that_stops_accepts_nobody(request_: bytes, body: bytes) -> None:
    policy = Policy()
    policy.isStopping = True
    policy.fallback = Others()
    for request in (request_, OTHER.replace(b"GET", request_.partition(b" ")[0])):
        connection = Connection(policy).feed(request)
        assert (connection.status, connection.body) == (503, body)
        assert connection.request.method == request.partition(b" ")[0].decode()
        assert isQuiet(connection)


@pytest.mark.parametrize("end", ["done", "refused", "lost"])
def test_an_opening_handshake_that_is_over_holds_nothing(end: str) -> None:
    """And nothing waits for the garbage collector."""

    def decide() -> Any:
        if end == "refused":
            raise Refuse(403)
        return Idle() if end == "done" else Deferred()

    gc.disable()
    try:
        connection = Connection(Policy(decide)).feed(REQUEST)
        gone = ref(connection)
        if end == "lost":
            connection.lose()
        # As the connection does at the end of its opening handshake; the rest holds it by our hand.
        del connection.opening, connection.outbox
        del connection
        assert gone() is None
    finally:
        gc.enable()


class Idle(Application):
    """Keeps no transport."""

    def negotiationStarted(self, transport: Any) -> None: ...


# Handing on


class Others:
    """A factory for other requests."""

    def __init__(self) -> None:
        self.peers: list[Any] = []
        self.protocol: Any = object()

    def buildProtocol(self, peer: Any) -> Any:
        self.peers.append(peer)
        return self.protocol


def withFallback() -> Connection:
    policy = Policy()
    policy.fallback = Others()
    policy.accessLog = print
    return Connection(policy)


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("request_", [OTHER, OTHER.replace(b"HTTP/1.1", b"HTTP/1.0")])
def test_others_get_every_byte_of_their_request(request_: bytes, size: int) -> None:
    connection = withFallback()
    connection.feed(*(request_[begin : begin + size] for begin in range(0, len(request_) - 1, size)))
    if size == 1:
        connection.feed(request_[-1:])
    assert (connection.end, connection.unread) == ("handed on", request_)
    assert connection.protocol is connection.policy.fallback.protocol
    assert connection.policy.fallback.peers == [connection.getPeer()]
    assert connection.note is None
    assert isQuiet(connection)


def test_others_get_what_is_behind_their_request() -> None:
    connection = withFallback().feed(OTHER[:30], OTHER[30:] + b"body")
    assert (connection.end, connection.unread) == ("handed on", OTHER + b"body")


def test_others_may_have_no_protocol() -> None:
    connection = withFallback()
    connection.policy.fallback.protocol = None
    connection.feed(OTHER)
    assert (connection.end, connection.answer) == ("dropped", b"")
    assert isQuiet(connection)


def test_a_request_for_a_websocket_is_ours() -> None:
    assert withFallback().feed(REQUEST).end == "done"


def test_without_others_the_answer_says_what_it_wants() -> None:
    assert Connection().feed(OTHER).status == 426


# Time


@pytest.mark.parametrize(
    ("came", "status", "late"), [(REQUEST[:9], 408, "the request was not whole"), (HEAD[:9], 408, "the request was")]
)
def test_a_request_that_does_not_end(came: bytes, status: int, late: str) -> None:
    connection = Connection().feed(came)
    connection.clock.advance(4.9)
    assert connection.end is None
    connection.clock.advance(0.1)
    assert connection.status == status
    assert bool(connection.body) is came.startswith(b"GET")
    [(request, _, logged, why)] = connection.policy.refusals
    assert (request, logged) == ("a request", status)
    assert why.startswith(late)
    assert why.endswith("within 5 s (openTimeout)")
    assert isQuiet(connection)


def test_a_peer_that_says_nothing_is_left_in_silence() -> None:
    connection = Connection()
    connection.clock.advance(5)
    assert (connection.end, connection.answer) == ("dropped", b"")
    assert connection.policy.refusals == []
    assert isQuiet(connection)


def test_a_decision_that_does_not_come() -> None:
    deciding = Deferred[Any]()
    connection = Connection(Policy(lambda: deciding)).feed(REQUEST)
    connection.clock.advance(5)
    why = "buildApplication had not decided within 5 s (openTimeout)"
    assert connection.status == 503
    assert connection.body == f"Service Unavailable: {why}".encode()
    assert connection.cancelled == [deciding]
    assert connection.policy.refusals == [("GET /chat", "192.0.2.1:4321", 503, why)]
    assert connection.failures == []
    assert isQuiet(connection)


def test_without_a_timeout_it_waits() -> None:
    connection = Connection(Policy(settings=Settings(openTimeout=None)))
    assert connection.clock.getDelayedCalls() == []
    assert connection.feed(REQUEST).end == "done"


# Other ends


def lose(connection: Connection) -> None:
    connection.opening.lose(1000, "")


def stop(connection: Connection) -> None:
    connection.opening.stop()


@pytest.mark.parametrize("end", [lose, stop])
def test_before_a_byte_has_come_it_ends_in_silence(end: Callable[[Connection], None]) -> None:
    connection = Connection()
    end(connection)
    assert (connection.end, connection.answer) == ("dropped", b"")
    assert isQuiet(connection)


@pytest.mark.parametrize(
    ("end", "status", "why"), [(lose, 408, "closed before it was open"), (stop, 503, "the server stops")]
)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_within_a_request_it_ends_with_an_answer(
    end: Callable[[Connection], None], status: int, why: str, method: bytes
) -> None:
    connection = Connection().feed(REQUEST[:20].replace(b"GET", method))
    end(connection)
    assert connection.status == status
    assert connection.body.endswith(why.encode() if method == b"GET" else b"")
    assert bool(connection.body) is (method == b"GET")
    assert isQuiet(connection)


@pytest.mark.parametrize(("end", "why"), [(lose, "closed before it was open"), (stop, "the server stops")])
def test_while_it_is_undecided_it_ends_with_503(end: Callable[[Connection], None], why: str) -> None:
    deciding = Deferred[Any]()
    connection = Connection(Policy(lambda: deciding)).feed(REQUEST)
    end(connection)
    assert connection.status == 503
    assert connection.body == f"Service Unavailable: {why}".encode()
    assert connection.cancelled == [deciding]
    assert isQuiet(connection)


@pytest.mark.parametrize("came", [b"", REQUEST[:20], REQUEST])
def test_a_transport_that_is_lost(came: bytes) -> None:
    deciding = Deferred[Any]()
    connection = Connection(Policy(lambda: deciding)).feed(came)
    connection.lose()
    assert connection.end is None
    assert connection.cancelled == ([deciding] if came == REQUEST else [])
    assert (connection.policy.refusals, connection.policy.tlsFailures, connection.failures) == ([], [], [])
    assert isQuiet(connection)


def test_the_timer_ends_before_the_application_hears_of_the_loss() -> None:
    connection = Connection()
    connection.opening.losing(Failure(ConnectionDone()))
    assert connection.clock.getDelayedCalls() == []


@pytest.mark.parametrize("came", [b"", REQUEST[:20], REQUEST])
def test_a_connection_that_is_aborted(came: bytes) -> None:
    deciding = Deferred[Any]()
    connection = Connection(Policy(lambda: deciding)).feed(came)
    connection.abortConnection()
    assert connection.clock.getDelayedCalls() == []
    if came == REQUEST:
        # Until the loss nobody has heard of it.
        deciding.callback(Application())
        assert connection.application is None
    connection.lose()
    assert (connection.end, connection.cancelled, connection.failures) == ("aborted", [], [])
    assert isQuiet(connection)


def test_another_hand_closed_the_transport() -> None:
    connection = Connection().feed(REQUEST[:20])
    connection.opening.closedPastUs()
    assert connection.end == "aborted"


def test_a_failure_before_there_is_an_application() -> None:
    connection = Connection()
    error = RuntimeError("expected")
    connection.opening.failed(Failure(error), "its producer's pauseProducing")
    assert connection.failures == [(error, "its producer's pauseProducing")]
    assert connection.end is None


# The access log


def noted(build: Callable[[], Any] = Application) -> Connection:
    policy = Policy(build)
    policy.accessLog = print
    return Connection(policy)


def test_a_note_begins_with_the_connection() -> None:
    connection = noted()
    assert (connection.note.began, connection.note.status) == (0, None)
    connection.clock.advance(1)
    connection.feed(REQUEST)
    assert (connection.note.began, connection.note.status, connection.note.reason) == (0, 101, "")


def test_a_refusal_is_noted_and_not_logged() -> None:
    def refuse() -> Any:
        raise Refuse(403)

    connection = noted(refuse).feed(REQUEST)
    assert connection.status == 403
    assert (connection.note.status, connection.note.reason) == (403, "the application refused (buildApplication)")
    assert connection.policy.refusals == []


def test_without_an_access_log_there_is_no_note() -> None:
    assert Connection().feed(REQUEST).note is None


# TLS


def test_a_tls_handshake_that_is_not_finished_is_logged() -> None:
    connection = Connection(transport=TLS())
    connection.clock.advance(5)
    assert connection.end == "dropped"
    connection.lose()
    assert connection.policy.tlsFailures == [("192.0.2.1:4321", "the handshake was not finished")]


def test_a_tls_handshake_that_is_lost_is_logged() -> None:
    connection = Connection(transport=TLS())
    connection.opening.lost(Failure(Exception([("SSL routines", "", "no shared cipher")])))
    [(peer, why)] = connection.policy.tlsFailures
    assert peer == "192.0.2.1:4321"
    assert why.endswith("(no shared cipher)")


@pytest.mark.parametrize("came", [REQUEST[:1], REQUEST])
def test_a_request_shows_that_tls_was_well(came: bytes) -> None:
    connection = Connection(Policy(Deferred), transport=TLS()).feed(came)
    connection.lose()
    assert connection.policy.tlsFailures == []


def test_a_server_that_stops_blames_nobody() -> None:
    connection = Connection(transport=TLS())
    connection.policy.isStopping = True
    connection.opening.stop()
    connection.lose()
    assert connection.policy.tlsFailures == []
