"""Authentication around a buildApplication: who is let in, how the others are answered, and what the log never has."""

import gc
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import pytest
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import LoginDenied
from twisted.cred.portal import Portal
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.logger import formatEvent
from twisted.python.failure import Failure
from twisted.web.server import Site
from wire import REQUEST, Application, Served, Transport, failures, logged
from zope.interface import Interface

from wsock import (
    Accept,
    AccessRecord,
    CredCheck,
    LocalProtocolError,
    Passwords,
    Refuse,
    Request,
    Route,
    Routes,
    StreamHandler,
    Tokens,
    WebSocketResource,
    WebSocketStream,
    basicAuth,
    bearerAuth,
    streamApplication,
)

#: The user Aladdin with the password "open sesame" (RFC 7617 section 2).
ALADDIN = "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
BASIC = 'Basic realm="wsock", charset="UTF-8"'
#: A token, as a header field (RFC 6750 section 2.1) has it, and as an offered subprotocol.
TOKEN = "mF_9.B5f-4.1JqM"
BEARER = f"Authorization: Bearer {TOKEN}"
OFFER = "bearer.bUZfOS5CNWYtNC4xSnFN"
SECRETS = ("open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ", "QWxhZGRpbg", TOKEN, OFFER[7:])

passwords = Passwords({"Aladdin": "open sesame", "Jürgen": "größer"})


def header(user: str, password: str) -> str:
    return f"Authorization: Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


class Asked:
    """One request to a server.

    Attributes:
        served: its connection.
        status: of the answer; 0 without one yet.
        fields: the header fields of the answer, in lower case.
        body: of the answer.
        events: of the log.
        errors: the exceptions in the log.
        lines: the lines of the log.
        records: for the access log.
    """

    def __init__(self, build: Any, *fields: str, target: str = "/chat", served: Served | None = None, **more: Any):
        self.records: list[AccessRecord] = []
        served = Served(buildApplication=build, **more) if served is None else Served(factory=served.factory)
        self.served = served
        request = REQUEST.replace(b"/chat", target.encode(), 1)[:-2]
        with logged() as events:
            answer = served.feed(request + "".join(f"{field}\r\n" for field in fields).encode() + b"\r\n")
        self.take(answer)
        self.events = events
        self.errors = failures(events)
        self.lines = [formatEvent(event) for event in events]
        traces = [event["log_failure"].getTraceback() for event in events if "log_failure" in event]
        for secret in SECRETS:
            assert not any(secret in text for text in (*self.lines, *self.errors, *traces, repr(self.served.wire)))
            assert not any(secret in text for text in map(repr, (self.body, self.fields)))

    def take(self, answer: bytes) -> "Asked":
        """Takes the answer, which came late."""
        head, _, self.body = answer.partition(b"\r\n\r\n")
        self.status = int(answer[9:12] or 0)
        pairs = (line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        self.fields = {name.lower(): value for name, value in pairs} if head else {}
        return self

    def later(self) -> "Asked":
        return self.take(self.served.transport.taken())

    @property
    def identity(self) -> Any:
        return self.served.wire.request.identity

    @property
    def challenge(self) -> str | None:
        return self.fields.get("www-authenticate")


def build(request: Request) -> Application:
    return Application()


# Basic


def test_a_user_is_let_in() -> None:
    seen: list[Any] = []

    def note(request: Request) -> Application:
        seen.append(request.identity)
        return Application()

    asked = Asked(basicAuth(passwords, note), ALADDIN)
    assert (asked.status, seen, asked.identity) == (101, ["Aladdin"], "Aladdin")
    assert asked.lines == []


def test_a_user_is_let_in_by_utf8_and_any_case_of_the_scheme() -> None:
    for scheme in ("basic", "BASIC "):
        asked = Asked(basicAuth(passwords, build), header("Jürgen", "größer").replace("Basic", scheme))
        assert (asked.status, asked.identity) == (101, "Jürgen")


def test_without_authentication_nobody_is_named() -> None:
    assert Asked(build).identity is None


@pytest.mark.parametrize(
    "fields",
    [
        [header("Aladdin", "open")],
        [header("Aladdin", "")],
        [header("aladdin", "open sesame")],
        [header("", "")],
        [header("Aladdin", "open sesame\0")],
        [header("Aladdin\n", "open sesame")],
        ["Authorization: Basic"],
        ["Authorization: Basic QWxhZGRpbg=="],
        ["Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ"],
        ["Authorization: Basic !QWxhZGRpbjpvcGVuIHNlc2FtZQ=="],
        ["Authorization: Basic SvxyZ2VuOmdy9t9lcg=="],
        [ALADDIN, ALADDIN],
    ],
    ids=str,
)
def test_wrong_credentials(fields: list[str]) -> None:
    asked = Asked(basicAuth(passwords, build), *fields)
    assert (asked.status, asked.challenge) == (401, BASIC)
    assert asked.body == b"Unauthorized: the user or the password is wrong"
    (line,) = asked.lines
    assert line == (
        "refused GET /chat from 192.168.1.1:54321 with 401: "
        "the application refused: Unauthorized: the user or the password is wrong"
    )


@pytest.mark.parametrize(
    "credentials", [b"Aladdin", b"", b"Aladdin:\x00", b"Aladdin:a\x1fb", b"Aladdin:\x7f", b"A\n:x", b"\xff:x"]
)
def test_no_check_is_asked_for_what_can_be_no_credentials(credentials: bytes) -> None:
    field = f"Authorization: Basic {b64encode(credentials).decode()}"
    assert Asked(basicAuth(raising(AssertionError()), build), field).challenge == BASIC


@pytest.mark.parametrize("fields", [[], [BEARER], ["Authorization: Digest x"], ["Authorization:"]], ids=str)
def test_no_credentials(fields: list[str]) -> None:
    asked = Asked(basicAuth(passwords, build, realm="the cave"), *fields)
    assert (asked.status, asked.challenge) == (401, 'Basic realm="the cave", charset="UTF-8"')
    assert asked.body == b"Unauthorized: no credentials came"
    assert asked.fields["connection"] == "close"


def test_the_access_log_has_no_credentials() -> None:
    records: list[AccessRecord] = []
    auth = bearerAuth(Tokens([TOKEN]), build, subprotocol=True, queryParameter="token")
    for fields, target in (
        ((f"Sec-WebSocket-Protocol: bearer, {OFFER}",), "/chat"),
        ((BEARER,), f"/chat?token={TOKEN}"),
        (("Authorization: Bearer other",), "/chat"),
    ):
        Asked(auth, *fields, target=target, accessLog=records.append).served.lose(clean=False)
    told = [(one.status, one.subprotocol, one.path) for one in records]
    assert told == [(101, "bearer", "/chat"), (101, None, "/chat"), (401, None, "/chat")]
    assert records[2].reason == "the application refused: Unauthorized: the token is not valid"
    assert not any(secret in str(records) for secret in SECRETS)


# Everything that a buildApplication may return, and a check


def coroutine(value: Any) -> Any:
    async def run() -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    return run()


WAYS: dict[str, Callable[[Any], Any]] = {"at once": lambda value: value, "Deferred": succeed, "coroutine": coroutine}


@pytest.mark.parametrize("checks", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("builds", WAYS.values(), ids=WAYS)
def test_each_way_to_check_and_to_build(checks: Callable[[Any], Any], builds: Callable[[Any], Any]) -> None:
    auth = basicAuth(lambda user, password: checks(passwords(user, password)), lambda request: builds(Application()))
    assert Asked(auth, ALADDIN).identity == "Aladdin"
    assert Asked(auth, header("Aladdin", "x")).status == 401


@pytest.mark.parametrize("ways", [*WAYS.values(), lambda value: succeed(coroutine(value))])
@pytest.mark.parametrize(("identity", "status"), [(None, 401), (False, 401), (0, 101), ("", 101), ((), 101)])
def test_any_object_is_an_identity(ways: Callable[[Any], Any], identity: Any, status: int) -> None:
    asked = Asked(basicAuth(lambda user, password: ways(identity), build), ALADDIN)
    assert asked.status == status
    assert asked.identity is (identity if status == 101 else None)


def test_an_accept_counts() -> None:
    auth = basicAuth(passwords, lambda request: Accept(Application(), "chat", [("X-User", request.identity)]))
    asked = Asked(auth, ALADDIN, "Sec-WebSocket-Protocol: chat")
    assert (asked.fields["sec-websocket-protocol"], asked.fields["x-user"]) == ("chat", "Aladdin")


def test_a_stream_finds_the_identity() -> None:
    async def greet(stream: WebSocketStream) -> None:
        await stream.send(f"Hello {stream.request.identity}")

    for build in (streamApplication(greet), lambda request: StreamHandler(greet)):
        asked = Asked(basicAuth(passwords, build), ALADDIN)
        assert b"\x81\rHello Aladdin" in asked.body


def test_a_refusal_of_the_application() -> None:
    def refuse(request: Request) -> Any:
        raise Refuse(404)

    assert Asked(basicAuth(passwords, refuse), ALADDIN).status == 404
    assert Asked(basicAuth(passwords, refuse), header("Aladdin", "x")).status == 401


def test_a_check_may_refuse() -> None:
    """Whatever the user is called."""
    refuse = Refuse(429, [("Retry-After", "60")], b"Too Many Requests: later, Aladdin")
    for check in (fail, coroutine):
        asked = Asked(basicAuth(lambda user, password, check=check: check(refuse), build), header("HTTP", "status"))
        assert (asked.status, asked.fields["retry-after"], asked.errors) == (429, "60", [])


def raising(error: BaseException) -> Callable[..., Any]:
    def check(*credentials: str) -> Any:
        raise error

    return check


def test_an_exception_of_a_check() -> None:
    for check in (
        raising(ValueError("the database is away")),
        lambda *credentials: fail(ValueError("the database is away")),
        lambda *credentials: coroutine(ValueError("the database is away")),
    ):
        asked = Asked(basicAuth(check, build), ALADDIN)
        assert (asked.status, asked.errors, len(asked.lines)) == (500, ["the database is away"], 1)
        assert "buildApplication" in asked.lines[0]


class Unprintable(Exception):
    """An exception whose text is not its repr."""

    def __str__(self) -> str:
        return "away"


@pytest.mark.parametrize(
    "form", [str, repr, ascii, lambda password: ascii(password)[1:-1], lambda password: repr(password.encode())]
)
@pytest.mark.parametrize("ways", ["raise", "Deferred", "coroutine"])
@pytest.mark.parametrize("kind", [KeyError, Unprintable])
def test_an_exception_with_the_password_in_it(form: Callable[[str], str], ways: str, kind: Any) -> None:
    secrets: list[str] = []

    def check(user: str, password: str) -> Any:
        secrets.extend((password, ascii(password)[1:-1], repr(password.encode())[2:-1]))
        error = kind(f"no such password: {form(password)}")
        if ways == "raise":
            raise error
        return fail(error) if ways == "Deferred" else coroutine(error)

    with logged() as events:
        asked = Asked(basicAuth(check, build), header("Jürgen", "größer'\\"))
    assert (asked.status, len(asked.lines)) == (500, 1)
    assert asked.errors == [f"the check of credentials raised {kind.__name__}, with credentials in its text"]
    trace = events[0]["log_failure"].getTraceback()
    assert "in check" in trace or ways != "raise", "the place is told all the same"
    assert not any(secret in text for secret in secrets for text in (trace, *asked.lines))


def test_the_cause_of_an_exception_is_part_of_it() -> None:
    def check(token: str) -> Any:
        try:
            return {}[token]
        except KeyError as error:
            raise ValueError("no such token") from error

    (error,) = Asked(bearerAuth(check, build), BEARER).errors
    assert error == "the check of credentials raised ValueError, with credentials in its text"


def test_the_causes_of_an_exception_may_go_round() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__context__, other.__context__ = other, one
    assert Asked(bearerAuth(raising(one), build), BEARER).errors == ["one"]


@pytest.mark.parametrize("ways", [raising, lambda error: lambda *credentials: fail(error)])
def test_an_exception_without_credentials_stays_as_it_is(ways: Any) -> None:
    error = ValueError("away")
    error.__cause__ = OSError("no network")
    asked = Asked(basicAuth(ways(error), build), header("Aladdin", "xaway"))
    assert asked.events[0]["log_failure"].value is error
    assert isinstance(error.__cause__, OSError)


def test_an_empty_password_hides_nothing() -> None:
    asked = Asked(basicAuth(raising(ValueError("away")), build), header("Aladdin", ""))
    assert asked.errors == ["away"]


def test_a_check_is_cancelled_when_the_client_leaves() -> None:
    cancelled: list[Any] = []
    waiting: Deferred[Any] = Deferred(cancelled.append)
    # Its text is in the name of the exception that ends the check.
    asked = Asked(basicAuth(lambda user, password: waiting, raising(AssertionError())), header("Cancelled", "Error"))
    assert (asked.status, cancelled) == (0, [])
    with logged() as events:
        asked.served.lose()
    assert (cancelled, events) == ([waiting], [])


def test_a_check_that_takes_too_long() -> None:
    cancelled: list[Any] = []
    waiting: Deferred[Any] = Deferred(cancelled.append)
    asked = Asked(basicAuth(lambda user, password: waiting, build), ALADDIN)
    asked.take(asked.served.advance(10))
    assert (asked.status, cancelled) == (503, [waiting])


def test_no_application_is_built_for_a_client_that_left() -> None:
    """Its check takes no notice of the cancellation."""
    waiting: Deferred[Any] = Deferred(lambda waiting: None)

    async def check(user: str, password: str) -> str:
        try:
            await waiting
        except CancelledError:
            pass
        return user

    asked = Asked(basicAuth(check, raising(AssertionError("built"))), ALADDIN)
    with logged() as events:
        asked.served.lose()
    assert events == []
    assert asked.identity is None


def test_a_check_that_waits() -> None:
    waiting: Deferred[Any] = Deferred()
    asked = Asked(basicAuth(lambda user, password: waiting, build), ALADDIN)
    waiting.callback("Aladdin")
    assert asked.later().status == 101
    assert asked.identity == "Aladdin"


# Routes, and several kinds of authentication


def test_each_route_is_protected() -> None:
    shared = Route(build, maxConnections=1)
    routes = Routes(
        {"/a": shared, "/b/{name}": shared, "/chat": Route(build, allowedOrigins=["https://example.com"])},
        default=build,
    )
    auth = basicAuth(passwords, routes)
    assert isinstance(auth, Routes)
    first = Asked(auth, target="/a")
    assert (first.status, first.challenge) == (401, BASIC)
    asked = Asked(auth, ALADDIN, target="/b/x", served=first.served)
    assert (asked.status, asked.served.wire.request.pathParameters) == (101, {"name": "x"})
    # They are one route still, and a limit costs nobody a password.
    assert Asked(auth, target="/a", served=first.served).status == 503
    assert Asked(auth, "Origin: https://example.org", target="/chat", served=first.served).status == 403
    assert Asked(auth, ALADDIN, "Origin: https://example.com", target="/chat", served=first.served).status == 101
    assert Asked(auth, target="/other", served=first.served).status == 401
    assert Asked(auth, ALADDIN, target="/other", served=first.served).status == 101
    # The routes themselves have stayed as they were.
    assert Asked(routes, target="/a").status == 101


def test_routes_without_a_default_have_none() -> None:
    auth = bearerAuth(Tokens([TOKEN]), Routes({"/a": build}))
    assert Asked(auth, BEARER).status == 404
    assert Asked(auth, BEARER, target="/a").status == 101


def test_one_route_of_several() -> None:
    routes = Routes({"/open": build, "/chat": Route(basicAuth(passwords, build))})
    assert Asked(routes, target="/open").status == 101
    assert Asked(routes).status == 401


def test_another_kind_of_authentication_or_none() -> None:
    tokens = Tokens({TOKEN: "robot"})
    auth = bearerAuth(tokens, build, otherwise=basicAuth(passwords, build))
    assert Asked(auth, BEARER).identity == "robot"
    assert Asked(auth, ALADDIN).identity == "Aladdin"
    assert Asked(auth).challenge == BASIC
    wrong = Asked(auth, "Authorization: Bearer x")
    assert wrong.challenge == 'Bearer realm="wsock", error="invalid_token"'
    guest = Asked(basicAuth(passwords, build, otherwise=build))
    assert (guest.status, guest.identity) == (101, None)


# Bearer


@pytest.fixture
def tokens() -> Tokens:
    return Tokens({TOKEN: "robot"})


EVERYWHERE = {"subprotocol": True, "queryParameter": "token", "cookie": "session"}
PLACES: dict[str, tuple[str, str]] = {
    "subprotocol": (f"Sec-WebSocket-Protocol: {OFFER}, chat", "/chat"),
    "queryParameter": ("X: x", f"/chat?a=b&token={TOKEN}&token=x"),
    "cookie": (f"Cookie: a=b; session={TOKEN}", "/chat"),
}


def test_a_token(tokens: Tokens) -> None:
    assert Asked(bearerAuth(tokens, build), BEARER).identity == "robot"
    assert Asked(bearerAuth(tokens, build), f"Authorization: bearer  {TOKEN} ").identity == "robot"


@pytest.mark.parametrize("place", PLACES)
def test_a_token_in_a_place_that_is_named(tokens: Tokens, place: str) -> None:
    field, target = PLACES[place]
    (named,) = (bearerAuth(tokens, build, **{place: value}) for name, value in EVERYWHERE.items() if name == place)
    others = bearerAuth(tokens, build, **{name: value for name, value in EVERYWHERE.items() if name != place})
    assert Asked(named, field, target=target).identity == "robot"
    refused = Asked(others, field, target=target)
    assert (refused.status, refused.challenge) == (401, 'Bearer realm="wsock"')
    assert refused.body == b"Unauthorized: no credentials came"


@pytest.mark.parametrize(
    ("field", "target"),
    [
        ("Authorization: Bearer x", "/chat"),
        ("Authorization: Bearer", "/chat"),
        (f"Authorization: Bearer {TOKEN}, Bearer {TOKEN}", "/chat"),
        ("Sec-WebSocket-Protocol: bearer.", "/chat"),
        ("Sec-WebSocket-Protocol: bearer.x", "/chat"),
        ("Sec-WebSocket-Protocol: bearer.xx", "/chat"),
        ("Sec-WebSocket-Protocol: bearer._w", "/chat"),
        (f"Sec-WebSocket-Protocol: {OFFER}!", "/chat"),
        ("X: x", "/chat?token=x"),
        ("Cookie: session=", "/chat"),
    ],
)
def test_a_wrong_token(tokens: Tokens, field: str, target: str) -> None:
    asked = Asked(bearerAuth(tokens, build, realm="r", **EVERYWHERE), field, target=target)
    assert (asked.status, asked.challenge) == (401, 'Bearer realm="r", error="invalid_token"')
    assert asked.body == b"Unauthorized: the token is not valid"


@pytest.mark.parametrize(
    ("fields", "target"),
    [
        ([BEARER, "Sec-WebSocket-Protocol: bearer.eA"], "/chat"),
        ([f"Sec-WebSocket-Protocol: {OFFER}"], "/chat?token=x"),
        (["Cookie: session=x"], f"/chat?token={TOKEN}"),
    ],
)
def test_the_order_of_the_places(tokens: Tokens, fields: list[str], target: str) -> None:
    assert Asked(bearerAuth(tokens, build, **EVERYWHERE), *fields, target=target).status == 101


def test_a_token_with_all_characters() -> None:
    token = "?>~ÿ€\U0001f600"
    offer = "bearer." + urlsafe_b64encode(token.encode()).decode().rstrip("=")
    assert {"-", "_"} & {*offer}
    auth = bearerAuth(Tokens([token]), build, subprotocol=True)
    assert Asked(auth, f"Sec-WebSocket-Protocol: bearer, {offer}").identity is True


@pytest.mark.parametrize("length", range(1, 12))
def test_a_token_of_any_length(length: int) -> None:
    offer = urlsafe_b64encode(b"abcdefghijkl"[:length]).decode().rstrip("=")
    asked = Asked(bearerAuth(str, build, subprotocol=True), f"Sec-WebSocket-Protocol: bearer.{offer}")
    assert asked.identity == "abcdefghijkl"[:length]


@pytest.mark.parametrize(
    ("field", "target"),
    [
        ("Authorization: Bearer", "/"),
        ("Sec-WebSocket-Protocol: bearer.", "/"),
        ("Cookie: session=", "/"),
        ("Sec-WebSocket-Protocol: bearer._w", "/"),
        ("Sec-WebSocket-Protocol: bearer.eA!", "/"),
    ],
)
def test_no_check_is_asked_for_what_can_be_no_token(field: str, target: str) -> None:
    auth = bearerAuth(raising(AssertionError()), build, **EVERYWHERE)
    assert Asked(auth, field, target=target).challenge == 'Bearer realm="wsock", error="invalid_token"'


def test_a_token_is_no_offer(tokens: Tokens) -> None:
    seen: list[Any] = []

    def choose(request: Request) -> Any:
        seen.append(request.subprotocols)
        return Accept(Application(), request.subprotocols[0]) if request.subprotocols else Application()

    auth = bearerAuth(tokens, choose, subprotocol=True)
    for offers, shown, chosen in (
        (f"{OFFER}, bearer, chat", ["chat"], "chat"),
        (f"bearer, {OFFER}", [], "bearer"),
        (OFFER, [], None),
    ):
        asked = Asked(auth, f"Sec-WebSocket-Protocol: {offers}")
        assert (asked.status, seen.pop(), asked.fields.get("sec-websocket-protocol")) == (101, shown, chosen)
        assert asked.served.wire.request.subprotocols == shown
        assert asked.served.wire.subprotocol == chosen


def test_the_subprotocol_beside_a_token_comes_last(tokens: Tokens) -> None:
    auth = bearerAuth(tokens, build, subprotocol=True)
    offer = f"Sec-WebSocket-Protocol: bearer, {OFFER}, chat, soap"
    asked = Asked(auth, offer, subprotocols=["soap", "bearer"])
    assert asked.fields["sec-websocket-protocol"] == "soap"
    assert Asked(auth, offer, subprotocols=["bearer"]).fields["sec-websocket-protocol"] == "bearer"
    # Without authentication it is a subprotocol as all others.
    assert Asked(build, offer, subprotocols=["bearer"]).fields["sec-websocket-protocol"] == "bearer"
    assert "sec-websocket-protocol" not in Asked(build, offer).fields


def test_a_subprotocol_that_was_not_offered_tells_of_no_token(tokens: Tokens) -> None:
    async def choose(request: Request) -> Any:
        return await bearerAuth(tokens, lambda request: succeed(Accept(Application(), "soap")), subprotocol=True)(
            request
        )

    asked = Asked(choose, f"Sec-WebSocket-Protocol: chat, {OFFER}")
    assert asked.status == 500
    assert asked.errors == ["the client did not offer this subprotocol: 'soap'; it offered chat"]
    # Nor where nobody asks for a token.
    asked = Asked(lambda request: Accept(Application(), "soap"), f"Sec-WebSocket-Protocol: chat, {OFFER}")
    assert asked.errors == ["the client did not offer this subprotocol: 'soap'; it offered chat"]


# Ready-made checks


def test_passwords() -> None:
    table = {"ada": "2f1d"}
    check = Passwords(table)
    table["bob"] = "x"
    assert [check(*pair) for pair in (("ada", "2f1d"), ("ada", "2f1"), ("bob", "x"), ("", ""))] == [
        "ada",
        None,
        None,
        None,
    ]
    assert "2f1d" not in repr(check)


def test_an_unknown_user_costs_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr("hmac.compare_digest", compare)
    for user, password in (("Aladdin", "open sesame"), ("Aladdin", "x"), ("nobody", "open sesame")):
        passwords(user, password)
    check = Tokens([TOKEN])
    for token in (TOKEN, "x"):
        check(token)
    assert compared == [(64, 64)] * 5


def test_tokens() -> None:
    assert Tokens(["x", "y"])("x") is True
    assert Tokens({"x"})("y") is None
    identity = object()
    assert Tokens({"x": identity})("x") is identity
    assert Tokens(iter(["x"]))("x") is True
    assert Tokens([])("x") is None


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Passwords("x"), "passwords is a mapping of users to passwords"),  # type: ignore[arg-type]
        (lambda: Passwords({1: "x"}), "a user is a str"),  # type: ignore[dict-item]
        (lambda: Passwords({"a:b": "x"}), "a user can't have a colon"),
        (lambda: Passwords({"a": ""}), "a password is empty"),
        (lambda: Passwords({"a": b"secret"}), "a password is a str"),  # type: ignore[dict-item]
        (lambda: Tokens("secret"), "tokens is a mapping of tokens to identities, or a set of tokens"),
        (lambda: Tokens(b"secret"), "tokens is a mapping"),  # type: ignore[arg-type]
        (lambda: Tokens(1), "tokens is a mapping"),  # type: ignore[arg-type]
        (lambda: Tokens([b"secret"]), "a token is a str"),  # type: ignore[list-item]
        (lambda: Tokens([""]), "a token is empty"),
        (lambda: Tokens({"secret": None}), "None is no identity"),
        (lambda: Tokens({"secret": False}), "False is no identity"),
        (lambda: basicAuth({}, build), "check is a function that is called with a user and a password"),  # type: ignore[call-overload]
        (lambda: bearerAuth([], build), "check is a function that is called with a token"),  # type: ignore[call-overload]
        (lambda: basicAuth(passwords, Application()), "buildApplication is a function"),
        (lambda: basicAuth(passwords, build, otherwise=Application()), "buildApplication is a function"),  # type: ignore[call-overload]
        (lambda: basicAuth(passwords, build, realm='x"'), "a realm is printable ASCII"),
        (lambda: basicAuth(passwords, build, realm="x\n"), "a realm is printable ASCII"),
        (lambda: basicAuth(passwords, build, realm=b"x"), "realm is a str"),  # type: ignore[call-overload]
        (lambda: bearerAuth(passwords, build, realm="\\"), "a realm is printable ASCII"),  # type: ignore[call-overload]
        (lambda: bearerAuth(Tokens([]), build, cookie=True), "cookie is a str or None"),  # type: ignore[call-overload]
        (lambda: bearerAuth(Tokens([]), build, queryParameter=True), "queryParameter is a str or None"),  # type: ignore[call-overload]
        (lambda: bearerAuth(Tokens([]), build, cookie="a b"), "not the name of a cookie"),
    ],
)
def test_a_mistake_is_told_without_a_secret(make: Callable[[], Any], error: str) -> None:
    with pytest.raises(LocalProtocolError) as raised:
        make()
    assert str(raised.value).startswith(error)
    assert "secret" not in str(raised.value)


# twisted.cred


class IUser(Interface):
    pass


class Realm:
    """Notes who comes and who leaves."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.result: Any = None

    def requestAvatar(self, avatarId: Any, mind: object, *interfaces: Any) -> Any:
        self.told.append(("login", avatarId, mind, *interfaces))
        return IUser, f"avatar of {avatarId.decode()}", lambda: self.logout(avatarId)

    def logout(self, avatarId: Any) -> Any:
        self.told.append(("logout", avatarId))
        return self.result() if self.result is not None else None


@pytest.fixture
def realm() -> Realm:
    return Realm()


@pytest.fixture
def portal(realm: Realm) -> Portal:
    return Portal(realm, [checker()])


def checker() -> InMemoryUsernamePasswordDatabaseDontUse:
    # In bytes, as those of Twisted's own servers.
    database = InMemoryUsernamePasswordDatabaseDontUse()
    database.addUser(b"Aladdin", b"open sesame")
    database.addUser("Jürgen".encode(), "größer".encode())
    return database


LOGIN, LOGOUT = ("login", b"Aladdin", None, IUser), ("logout", b"Aladdin")


def test_a_portal(portal: Portal, realm: Realm) -> None:
    auth = basicAuth(CredCheck(portal, IUser), build)
    asked = Asked(auth, ALADDIN)
    assert (asked.status, asked.identity, realm.told) == (101, "avatar of Aladdin", [LOGIN])
    lost: list[list[Any]] = []
    asked.served.wire.whenClosed().addCallback(lambda ignored: lost.append(list(realm.told)))
    asked.served.lose()
    assert realm.told == [LOGIN, LOGOUT]
    assert lost == [[LOGIN, LOGOUT]]
    assert asked.identity == "avatar of Aladdin"
    realm.told.clear()
    assert Asked(auth, header("Aladdin", "x")).challenge == BASIC
    assert Asked(auth, header("nobody", "x")).status == 401
    assert realm.told == []
    assert Asked(auth, header("Jürgen", "größer")).identity == "avatar of Jürgen"


def test_an_application_is_told_of_the_loss_before_the_logout(portal: Portal, realm: Realm) -> None:
    application = Application(lost=lambda self: realm.told.append(self.transport.request.identity))
    asked = Asked(basicAuth(CredCheck(portal, IUser, mind=7), lambda request: application), ALADDIN)
    asked.served.lose()
    assert realm.told == [("login", b"Aladdin", 7, IUser), "avatar of Aladdin", LOGOUT]


def test_checkers_alone() -> None:
    for check in (CredCheck([checker()]), CredCheck(checker())):
        asked = Asked(basicAuth(check, build), ALADDIN)
        assert (asked.status, asked.identity) == (101, b"Aladdin")
        asked.served.lose()
        assert Asked(basicAuth(check, build), header("Aladdin", "x")).status == 401


@pytest.mark.parametrize("ways", [raising, lambda error: lambda request: fail(error)])
def test_a_login_that_is_refused_later_is_over(portal: Portal, realm: Realm, ways: Any) -> None:
    asked = Asked(basicAuth(CredCheck(portal, IUser), ways(Refuse(403))), ALADDIN)
    assert (asked.status, realm.told) == (403, [LOGIN, LOGOUT])
    asked.served.lose()
    assert realm.told == [LOGIN, LOGOUT]


def test_a_login_of_a_client_that_leaves_is_over(portal: Portal, realm: Realm) -> None:
    waiting: Deferred[Any] = Deferred()
    asked = Asked(basicAuth(CredCheck(portal, IUser), lambda request: waiting), ALADDIN)
    assert realm.told == [LOGIN]
    asked.served.lose()
    assert realm.told == [LOGIN, LOGOUT]


def test_a_login_for_which_there_is_no_room_is_over_when_it_is_lost(portal: Portal, realm: Realm) -> None:
    waiting: Deferred[Any] = Deferred()
    auth = basicAuth(CredCheck(portal, IUser), lambda request: waiting)
    first = Asked(auth, ALADDIN, maxConnections=1)
    second = Asked(auth, ALADDIN, served=first.served)
    waiting.callback(Application())
    assert (first.later().status, second.later().status) == (101, 503)
    second.served.lose(clean=False)
    assert realm.told == [LOGIN, LOGIN, LOGOUT]


def test_a_login_that_comes_too_late_is_over_at_once(realm: Realm) -> None:
    class Slow(InMemoryUsernamePasswordDatabaseDontUse):
        def requestAvatarId(self, credentials: Any) -> Any:
            # It takes no notice of a cancellation.
            return waiting.addErrback(lambda failure: b"Aladdin")

    waiting: Deferred[Any] = Deferred()
    auth = basicAuth(CredCheck(Portal(realm, [Slow()]), IUser), raising(AssertionError("built")))
    asked = Asked(auth, ALADDIN)
    with logged() as events:
        asked.served.lose()
    assert (realm.told, events) == ([LOGIN, LOGOUT], [])


def test_two_logins_of_a_request_are_both_over(portal: Portal, realm: Realm) -> None:
    check = CredCheck(portal, IUser)
    asked = Asked(basicAuth(check, basicAuth(check, build)), ALADDIN)
    asked.served.lose()
    assert realm.told == [LOGIN, LOGIN, LOGOUT, LOGOUT]


@pytest.mark.parametrize("result", [raising(ValueError("away")), lambda: fail(ValueError("away"))])
def test_a_logout_that_fails_is_logged(portal: Portal, realm: Realm, result: Any) -> None:
    asked = Asked(basicAuth(CredCheck(portal, IUser), build), ALADDIN)
    realm.result = result
    with logged() as events:
        asked.served.lose()
        gc.collect()
    assert failures(events) == ["away"]
    assert [formatEvent(event) for event in events] == ["logout failed"]


def test_in_a_tree_of_twisted_web(portal: Portal, realm: Realm) -> None:
    auth = basicAuth(CredCheck(portal, IUser), lambda request: None if request.query else Application())
    site = Site(WebSocketResource(auth, reactor=Clock()), reactor=Clock())
    for target, field, status, told in (
        (b"/chat", ALADDIN, b"101", [LOGIN, LOGOUT]),
        (b"/chat?x", ALADDIN, b"500", [LOGIN, LOGOUT]),
        (b"/chat", BEARER, b"401", []),
    ):
        protocol: Any = site.buildProtocol(None)
        transport = Transport()
        protocol.makeConnection(transport)
        with logged():
            protocol.dataReceived(REQUEST.replace(b"/chat", target)[:-2] + field.encode() + b"\r\n\r\n")
        assert transport.taken()[9:12] == status
        protocol.connectionLost(Failure(ConnectionDone()))
        assert realm.told == told
        realm.told.clear()


def test_a_login_that_is_denied(realm: Realm) -> None:
    class Denies(InMemoryUsernamePasswordDatabaseDontUse):
        def requestAvatarId(self, credentials: Any) -> Any:
            return fail(LoginDenied())

    assert Asked(basicAuth(CredCheck(Portal(realm, [Denies()]), IUser), build), ALADDIN).status == 401


def test_credentials_of_another_kind(realm: Realm) -> None:
    class IToken(Interface):
        pass

    class Checker:
        credentialInterfaces = (IToken,)

        def requestAvatarId(self, credentials: Any) -> Any:
            return succeed(b"Aladdin") if credentials.token == TOKEN else fail(LoginDenied())

    class Token:
        def __init__(self, token: str) -> None:
            self.token = token

    from zope.interface import classImplements

    classImplements(Token, IToken)
    portal = Portal(realm)
    portal.registerChecker(Checker(), IToken)  # type: ignore[arg-type]
    auth = bearerAuth(CredCheck(portal, IUser, credentials=Token), build)
    assert Asked(auth, BEARER).identity == "avatar of Aladdin"
    assert Asked(auth, "Authorization: Bearer x").status == 401
    with pytest.raises(LocalProtocolError, match="no checker is for IUsernamePassword"):
        CredCheck(portal, IUser)


def test_a_portal_that_can_not_be() -> None:
    portal = Portal(Realm(), [checker()])
    for arguments, error in (
        ((portal,), "name the interface of the avatars"),
        (([checker()], IUser), "checkers have no avatars"),
        (([object()],), "each of the checkers is an ICredentialsChecker"),
        (("x",), "portal is a Portal or checkers"),
        ((b"x",), "portal is a Portal or checkers"),
        ((object(),), "portal is a Portal or checkers"),
        (([],), "no checker is for IUsernamePassword"),
    ):
        with pytest.raises(LocalProtocolError) as raised:
            CredCheck(*arguments)
        assert str(raised.value).startswith(error)
    assert IUsernamePassword in portal.listCredentialsInterfaces()


def test_a_failure_of_a_checker(realm: Realm) -> None:
    class Broken(InMemoryUsernamePasswordDatabaseDontUse):
        def requestAvatarId(self, credentials: Any) -> Any:
            return fail(Failure(OSError("no database")))

    asked = Asked(basicAuth(CredCheck(Portal(realm, [Broken()]), IUser), build), ALADDIN)
    assert (asked.status, asked.errors) == (500, ["no database"])
