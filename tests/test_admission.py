"""A server's decision on one request, alone: what it decides by and who hears of it are plain objects."""

from asyncio import CancelledError as AsyncioCancelled
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.python.failure import Failure
from wire import ANSWER, REQUEST, Application, failures, logged

from wsock import Accept, LocalProtocolError, Refuse
from wsock.request import Request
from wsock.sansio.extensions import DeflateParameters, Extension
from wsock.sansio.handshake import ReadyFields
from wsock.sansio.http import RequestHead, ResponseHead
from wsock.server.admission import Admission

#: The last field of `ANSWER`.
SERVER = [("Server", ANSWER.decode().rpartition("Server: ")[2].strip())]


class Server:
    """Decides by what its attributes say, and notes what it is told.

    Attributes:
        requests: those that ``buildApplication`` was called with.
        told: "admitted" with the application, the subprotocol, the extensions and the answer; or "refused" with the
            answer, the reason, whether it is for HEAD, and whether the reason is logged.
        failures: what was to be logged, by callback.
    """

    def __init__(self, build: Callable[[], Any] = Application) -> None:
        self.build = build
        self.subprotocols: Sequence[str] = ()
        self.allowedOrigins: Sequence[str] | None = None
        self.hostRule: Any = None
        self.isFull = False
        self.maxConnections: int | None = None
        self.addressLimits: Any = None
        self.headers: Sequence[tuple[str, str]] = ()
        self.answerFields = ReadyFields(SERVER)
        self.deflateParameters: DeflateParameters | None = None
        self.full: str | None = None
        self.requests: list[Request] = []
        self.told: list[tuple[Any, ...]] = []
        self.failures: list[tuple[str, BaseException | None]] = []
        self.admission = Admission(self, self)

    def findRules(self, request: Any) -> Any:
        return self

    def count(self, transport: Any) -> None:
        pass

    def buildApplication(self, request: Request) -> Any:
        self.requests.append(request)
        return self.build()

    def whyFull(self) -> str | None:
        return self.full

    def admitted(
        self, application: Any, subprotocol: str | None, extensions: Any, answer: ResponseHead, rules: Any
    ) -> None:
        self.told.append(("admitted", application, subprotocol, extensions, answer))

    def refused(self, answer: ResponseHead, why: str, isForHead: bool, isLogged: bool) -> None:
        self.told.append(("refused", answer, why, isForHead, isLogged))

    def logFailure(self, failure: Failure, callback: str) -> None:
        self.failures.append((callback, failure.value))

    def decide(self, request: bytes = REQUEST) -> "Server":
        head = RequestHead(request)
        self.admission.decide(head, Request(head, None))
        return self

    @property
    def admission_(self) -> tuple[Any, str | None, bytes]:
        """Of the one who was admitted: the application, the subprotocol, and the answer."""
        [(told, application, subprotocol, _, answer)] = self.told
        assert told == "admitted"
        return application, subprotocol, answer.encode()

    @property
    def extensions(self) -> Sequence[Extension]:
        """Of the one who was admitted: the extensions that were agreed on."""
        extensions: Sequence[Extension] = self.told[0][3]
        return extensions

    @property
    def refusal(self) -> tuple[int, bytes, str]:
        """Of the one who was refused: the status, the body, and the reason for the log."""
        [(told, answer, why, isForHead, _)] = self.told
        assert told == "refused"
        assert not isForHead
        return answer.status, answer.body, why


def with_(*fields: bytes) -> bytes:
    """The request with further fields."""
    return REQUEST[:-2] + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


async def returning(value: Any) -> Any:
    return value


async def raising(error: BaseException) -> Any:
    raise error


def raised(error: BaseException) -> Any:
    raise error


#: How a function may come to a decision at once.
RETURNS: dict[str, Callable[[Any], Any]] = {
    "itself": lambda value: value,
    "a Deferred": succeed,
    "a coroutine": returning,
    "a Deferred of a coroutine": lambda value: succeed(returning(value)),
    "a coroutine of a Deferred": lambda value: returning(succeed(value)),
    "a coroutine of a coroutine of a Deferred": lambda value: returning(returning(succeed(value))),
}
FAILS: dict[str, Callable[[BaseException], Any]] = {
    "itself": raised,
    "a Deferred": fail,
    "a coroutine": raising,
    "a coroutine of a Deferred": lambda error: returning(fail(error)),
}


def by(ways: dict[str, Any]) -> Any:
    return pytest.mark.parametrize("how", ways.values(), ids=ways)


# Accepting


@by(RETURNS)
def test_an_application_is_admitted_with_the_answer_of_the_rfc(how: Callable[[Any], Any]) -> None:
    application = Application()
    server = Server(lambda: how(application)).decide()
    assert server.admission_ == (application, None, ANSWER)
    [request] = server.requests
    assert request.path == "/chat"
    assert server.failures == []


@by(RETURNS)
def test_an_accept_may_say_more(how: Callable[[Any], Any]) -> None:
    application = Application()
    accept = Accept(application, "chat", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    server = Server(lambda: how(accept))
    server.headers = [("X-Policy", "yes")]
    server.answerFields = ReadyFields([*server.headers, *SERVER])
    server.decide(with_(b"Sec-WebSocket-Protocol: superchat, chat"))
    admitted, subprotocol, answer = server.admission_
    assert admitted is application
    assert subprotocol == "chat"
    assert answer == ANSWER.replace(
        b"Server:",
        b"Sec-WebSocket-Protocol: chat\r\nX-Policy: yes\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nServer:",
    )


OFFER = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"


def test_compression_is_declined_where_it_is_not_wanted() -> None:
    server = Server().decide(with_(OFFER))
    assert server.admission_[2] == ANSWER
    assert list(server.extensions) == []


def test_compression_is_agreed_on_where_it_is_wanted() -> None:
    server = Server()
    server.deflateParameters = DeflateParameters()
    server.decide(with_(OFFER))
    agreed = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    assert server.admission_[2] == ANSWER.replace(b"Server:", f"Sec-WebSocket-Extensions: {agreed}\r\nServer:".encode())
    assert [extension.name for extension in server.extensions] == ["permessage-deflate"]


def test_compression_that_is_not_offered_is_not_answered() -> None:
    server = Server()
    server.deflateParameters = DeflateParameters()
    server.decide()
    assert server.admission_[2] == ANSWER
    assert list(server.extensions) == []


def test_an_accept_that_says_no_more_has_the_headers_that_are_always_there() -> None:
    server = Server(lambda: Accept(Application()))
    server.headers = [("X-Policy", "no")]
    server.answerFields = ReadyFields([("X-Always", "yes")])
    server.decide()
    answer = server.admission_[2]
    assert b"X-Always: yes\r\n" in answer
    assert b"X-Policy" not in answer


def test_an_accept_may_name_another_server() -> None:
    server = Server(lambda: Accept(Application(), headers=[("server", "mine")])).decide()
    assert server.admission_[2] == ANSWER.rpartition(b"Server:")[0] + b"server: mine\r\n\r\n"


@pytest.mark.parametrize(
    ("offered", "served", "chosen"),
    [
        ([b"a, b"], ("b", "a"), "b"),
        ([b"a", b"b"], ("c", "b"), "b"),
        ([b"a"], ("b",), None),
        ([b"a"], (), None),
        ([], ("a",), None),
    ],
)
def test_the_subprotocol_is_the_first_of_ours_that_was_offered(
    offered: list[bytes], served: tuple[str, ...], chosen: str | None
) -> None:
    server = Server()
    server.subprotocols = served
    server.decide(with_(*(b"Sec-WebSocket-Protocol: " + one for one in offered)))
    _, subprotocol, answer = server.admission_
    assert subprotocol == chosen
    assert (f"Sec-WebSocket-Protocol: {chosen}\r\n".encode() in answer) is (chosen is not None)


def test_a_decision_that_takes_its_time() -> None:
    deciding, application = Deferred[Any](), Application()
    server = Server(lambda: deciding).decide()
    assert server.told == []
    deciding.callback(application)
    assert server.admission_ == (application, None, ANSWER)
    assert server.admission.cancel() is None


# Refusing


@by(FAILS)
def test_a_refuse_is_the_answer(how: Callable[[BaseException], Any]) -> None:
    refuse = Refuse(401, [("WWW-Authenticate", "Basic")], b"who are you?\nsay it")
    server = Server(lambda: how(refuse)).decide()
    assert server.refusal == (401, b"who are you?\nsay it", "the application refused: who are you?")
    [(_, answer, _, _, isLogged)] = server.told
    assert answer.headers.get("WWW-Authenticate") == "Basic"
    assert not isLogged
    assert server.failures == []


def test_a_refuse_may_be_raised_for_all_and_keeps_none_of_them() -> None:
    refuse = Refuse(403)
    for _ in range(2):
        assert Server(lambda: raised(refuse)).decide().refusal[0] == 403
        assert refuse.__traceback__ is None


@by(FAILS)
@pytest.mark.parametrize("error", [RuntimeError("expected"), AsyncioCancelled(), CancelledError()], ids=repr)
def test_any_other_exception_is_logged_and_answered_with_500(
    how: Callable[[BaseException], Any], error: BaseException
) -> None:
    server = Server(lambda: how(error)).decide()
    assert server.refusal == (500, b"Internal Server Error", "the application failed (buildApplication)")
    [(_, _, _, _, isLogged)] = server.told
    assert isLogged
    [(callback, seen)] = server.failures
    assert callback == "buildApplication"
    assert type(seen) is type(error)


@by(RETURNS)
@pytest.mark.parametrize(
    ("decision", "kind"),
    [
        (None, TypeError),
        ("an application", TypeError),
        (Application, TypeError),
        (Refuse(403), TypeError),
        (Accept(Application(), "unasked"), LocalProtocolError),
    ],
    ids=["None", "str", "class", "Refuse", "subprotocol"],
)
def test_what_can_not_be_a_decision(decision: Any, kind: type[Exception], how: Callable[[Any], Any]) -> None:
    server = Server(lambda: how(decision)).decide()
    assert server.refusal[0] == 500
    [(callback, error)] = server.failures
    assert callback == "buildApplication"
    assert isinstance(error, kind)


@by(FAILS)
def test_a_refuse_that_can_not_be_sent(how: Callable[[BaseException], Any]) -> None:
    """It was right when it was made; an attribute may be set later."""
    refuse = Refuse(403)
    refuse.headers = [("X", "two\r\nlines")]
    server = Server(lambda: how(refuse)).decide()
    assert server.refusal[0] == 500
    [(callback, error)] = server.failures
    assert callback == "buildApplication"
    assert isinstance(error, LocalProtocolError)


def test_the_program_may_exit() -> None:
    with pytest.raises(SystemExit):
        Server(lambda: raised(SystemExit())).decide()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (REQUEST.replace(b"websocket", b"h2c"), 426),
        (REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0"), 505),
        (REQUEST.replace(b"Key: dGhl", b"Key: "), 400),
    ],
)
def test_a_request_that_is_none_of_ours(request_: bytes, status: int) -> None:
    server = Server().decide(request_)
    assert server.refusal[0] == status
    assert not server.told[0][4]
    assert server.requests == []


def test_the_answer_to_head_is_to_be_without_its_body() -> None:
    server = Server().decide(REQUEST.replace(b"GET", b"HEAD"))
    [(told, answer, why, isForHead, isLogged)] = server.told
    assert (told, answer.status, isForHead, isLogged) == ("refused", 405, True, False)
    assert why == "a method other than GET"
    assert server.requests == []


@pytest.mark.parametrize(
    ("origin", "allowed", "is_allowed"),
    [
        (b"http://server.example.com", None, True),
        (b"http://other.example.com", None, False),
        (b"http://other.example.com", ["http://other.example.com"], True),
        (b"http://server.example.com", ["http://other.example.com"], False),
        (b"http://other.example.com", ["*"], True),
    ],
)
def test_pages_of_other_origins(origin: bytes, allowed: list[str] | None, is_allowed: bool) -> None:
    server = Server()
    server.allowedOrigins = allowed
    server.decide(with_(b"Origin: " + origin))
    if is_allowed:
        assert server.told[0][0] == "admitted"
        return
    status, body, why = server.refusal
    assert (status, server.requests) == (403, [])
    assert b"example.com" not in body
    assert origin.decode() in why
    assert why.endswith("(allowedOrigins)")
    assert ("for Host server.example.com " in why) is (allowed is None)
    assert not server.told[0][4]


# A server that is full


def test_a_full_server_does_not_ask_the_application() -> None:
    server = Server()
    server.full = "no room"
    status, body, why = server.decide().refusal
    assert (status, body, why) == (503, b"Service Unavailable: no room", "no room")
    assert server.told[0][1].headers.get("Retry-After") == "5"
    assert not server.told[0][4]
    assert server.requests == []


def test_a_server_that_is_full_when_the_decision_comes() -> None:
    deciding = Deferred[Any]()
    server = Server(lambda: deciding).decide()
    server.full = "no room"
    deciding.callback(Application())
    assert server.refusal == (503, b"Service Unavailable: no room", "no room")


def test_a_server_that_is_full_when_the_application_refuses() -> None:
    deciding = Deferred[Any]()
    server = Server(lambda: deciding).decide()
    server.full = "no room"
    deciding.errback(Refuse(403))
    assert server.refusal[0] == 403


def test_a_server_that_fills_up_as_it_is_asked() -> None:
    server = Server()

    def build() -> Application:
        server.full = "no room"
        return Application()

    server.build = build
    assert server.decide().refusal[0] == 503


# Nobody waits for it any more


def outcome(deferred: Deferred[Any], what: Any) -> None:
    deferred.errback(what) if isinstance(what, BaseException) else deferred.callback(what)


@pytest.mark.parametrize("act", ["cancel", "ignore"])
@pytest.mark.parametrize("what", [Application(), "no application", Refuse(403)], ids=lambda one: type(one).__name__)
def test_a_decision_that_comes_too_late_is_told_to_nobody(what: Any, act: str) -> None:
    deciding = Deferred[Any]()
    server = Server(lambda: deciding).decide()
    getattr(server.admission, act)()
    with logged() as events:
        outcome(deciding, what)
    assert (server.told, server.failures, failures(events)) == ([], [], [])


@pytest.mark.parametrize("act", ["cancel", "ignore"])
def test_an_exception_that_comes_too_late_is_logged(act: str) -> None:
    deciding = Deferred[Any]()
    server = Server(lambda: deciding).decide()
    getattr(server.admission, act)()
    error = RuntimeError("expected")
    with logged() as events:
        outcome(deciding, error)
    assert (server.told, server.failures) == ([], [("buildApplication", error)])
    assert failures(events) == []


def test_an_exception_that_comes_too_late_keeps_nothing() -> None:
    deciding, error = Deferred[Any](), RuntimeError("expected")

    async def build() -> Any:
        await deciding
        raise error

    server = Server(build).decide()
    server.admission.ignore()
    deciding.callback(None)
    assert server.failures == [("buildApplication", error)]
    assert error.__traceback__ is None


def test_cancelling_gives_what_is_to_be_cancelled() -> None:
    cancelled: list[object] = []
    deciding = Deferred[Any](cancelled.append)
    server = Server(lambda: deciding).decide()
    given = server.admission.cancel()
    assert given is deciding
    assert server.admission.cancel() is None
    assert cancelled == []
    given.cancel()
    assert cancelled == [deciding]
    assert (server.told, server.failures) == ([], [])


def test_cancelling_a_coroutine() -> None:
    caught: list[BaseException] = []

    async def build() -> Any:
        try:
            await Deferred[Any]()
        except CancelledError as error:
            caught.append(error)
            raise

    server = Server(build).decide()
    deciding = server.admission.cancel()
    assert deciding is not None
    deciding.cancel()
    assert len(caught) == 1
    assert (server.told, server.failures) == ([], [])


@pytest.mark.parametrize("act", ["cancel", "ignore"])
def test_a_peer_that_leaves_as_the_application_is_asked(act: str) -> None:
    """The application may abort the connection in its `buildApplication`."""
    server = Server()

    def build() -> Application:
        getattr(server.admission, act)()
        return Application()

    server.build = build
    server.decide()
    assert server.told == []


@pytest.mark.parametrize("decided", [True, False])
def test_where_nothing_is_waited_for_there_is_nothing_to_cancel(decided: bool) -> None:
    server = Server()
    if decided:
        server.decide()
    assert server.admission.cancel() is None


def test_after_a_failure_there_is_nothing_to_cancel() -> None:
    deciding = Deferred[Any]()
    server = Server(lambda: deciding).decide()
    deciding.errback(RuntimeError("expected"))
    assert server.admission.cancel() is None
