"""Routes through a server's factory: each path has its own rules, and they are asked for in one order."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import formatEvent
from wire import ANSWER, CLOSE_SENT, REQUEST, Application, Served, Slow, Transport, failures, logged, text

from wsock import (
    Accept,
    AddressLimits,
    Compression,
    LocalProtocolError,
    RateLimit,
    Refuse,
    Route,
    Routes,
    Settings,
    WebSocketClientFactory,
    WebSocketServerFactory,
)


class Paths:
    """Applications by their names, and the requests that each was asked for.

    Attributes:
        asked: (name, parameters of the path) of each request.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.applications: list[Application] = []

    def __call__(self, name: str) -> Callable[[Any], Any]:
        def build(request: Any) -> Any:
            self.asked.append((name, request.pathParameters))
            self.applications.append(Application())
            return self.applications[-1]

        return build


@pytest.fixture
def paths() -> Paths:
    return Paths()


def ask(
    routes: Any, target: str = "/chat", *fields: str, served: Served | None = None, **arguments: Any
) -> tuple[int, bytes, Served]:
    """Returns the status, the body of the answer, and the connection."""
    served = Served(buildApplication=routes, **arguments) if served is None else Served(factory=served.factory)
    request = REQUEST.replace(b"/chat", target.encode(), 1)
    answer = served.feed(request[:-2] + "".join(f"{field}\r\n" for field in fields).encode() + b"\r\n")
    return int(answer[9:12]), answer.partition(b"\r\n\r\n")[2], served


@pytest.mark.parametrize(
    ("target", "name", "parameters"),
    [
        ("/chat", "chat", {}),
        ("/chat?token=/a//b", "chat", {}),
        ("/%63hat", "chat", {}),
        ("http://server.example.com/chat", "chat", {}),
        ("/rooms/a%20b", "room", {"name": "a b"}),
        ("/rooms/lobby", "lobby", {}),
        ("/rooms/a/log", "log", {"name": "a"}),
        ("/rooms/a/b/c", "rest", {"path": "a/b/c"}),
        ("/", "default", {}),
        ("/chat/", "default", {}),
        ("/Chat", "default", {}),
    ],
)
def test_a_path_leads_to_its_application(paths: Paths, target: str, name: str, parameters: dict[str, str]) -> None:
    routes = Routes(
        {
            "/rooms/{path*}": paths("rest"),
            "/rooms/{name}": Route(paths("room")),
            "/rooms/{name}/log": paths("log"),
            "/rooms/lobby": paths("lobby"),
            "/chat": paths("chat"),
        },
        default=paths("default"),
    )
    status, _, served = ask(routes, target)
    assert (status, paths.asked) == (101, [(name, parameters)])
    assert served.wire.request.pathParameters == parameters
    served.wire.request.pathParameters["more"] = "x"
    assert served.wire.request.pathParameters == parameters, "a copy"


def test_a_request_without_routes_has_no_parameters() -> None:
    served = Served().open()
    assert served.wire.request.pathParameters == {}


@pytest.mark.parametrize(
    ("target", "status", "body"),
    [
        ("/none", 404, b"Not Found: no route has this path"),
        ("/chat/", 404, b"Not Found: no route has this path"),
        ("//chat", 400, b"Bad Request: a path with an empty segment"),
        ("/a/%2e%2e/chat", 400, b"Bad Request: a path with a . or .. as a segment"),
        (
            "/chat%2F",
            400,
            b"Bad Request: a path with an encoded slash, a backslash or a control character in a segment",
        ),
        ("/%FF", 400, b"Bad Request: a path that is not UTF-8"),
    ],
)
def test_a_path_that_leads_nowhere(paths: Paths, target: str, status: int, body: bytes) -> None:
    with logged() as events:
        assert ask(Routes({"/chat": paths("chat")}), target)[:2] == (status, body)
    assert paths.asked == []
    (line,) = [formatEvent(event) for event in events]
    assert line.endswith(f"with {status}: {body.decode()}")


@pytest.mark.parametrize("target", ["//chat", "/chat%00"])
def test_a_path_that_could_be_read_in_two_ways_has_no_default_either(paths: Paths, target: str) -> None:
    routes = Routes({"/{path*}": paths("rest")}, default=paths("default"))
    assert ask(routes, target)[0] == 400
    assert paths.asked == []


def test_a_malformed_request_comes_before_its_route(paths: Paths) -> None:
    served = Served(buildApplication=Routes({"/chat": paths("chat")}))
    answer = served.feed(REQUEST.replace(b"/chat", b"/none").replace(b"Version: 13", b"Version: 12"))
    assert answer.startswith(b"HTTP/1.1 426 ")


# The order of checks

ORIGIN = "Origin: https://other.example"


def test_the_checks_have_an_order(paths: Paths) -> None:
    """Head, route, Host, Origin, maxConnections, application: each is asked where those before it pass."""
    asked: list[str] = []

    def whichHost(request: Any) -> str | None:
        asked.append("host")
        return None if request.query else "another host"

    def build(request: Any) -> Any:
        asked.append("application")
        raise Refuse(402)

    route = Route(build, allowedHosts=whichHost, maxConnections=1)
    served = Served(buildApplication=Routes({"/chat": route, "/open": Route(paths("open"))}))
    status, _, _ = ask(None, "/none", ORIGIN, served=served)
    assert (status, asked) == (404, [])
    status, body, _ = ask(None, "/chat", ORIGIN, served=served)
    assert (status, body, asked) == (421, b"Misdirected Request: another host", ["host"])
    status, _, _ = ask(None, "/chat?host", ORIGIN, served=served)
    assert (status, asked) == (403, ["host", "host"])
    status, _, _ = ask(None, "/chat?host", served=served)
    assert (status, asked) == (402, ["host", "host", "host", "application"])


def test_maxConnections_comes_before_the_application(paths: Paths) -> None:
    routes = Routes({"/chat": Route(paths("chat"), maxConnections=1), "/news": paths("news")})
    status, _, first = ask(routes)
    assert status == 101
    with logged() as events:
        status, body, _ = ask(None, "/chat", served=first)
    assert (status, body) == (
        503,
        b"Service Unavailable: as many connections are open as may be on this route, 1 (maxConnections)",
    )
    assert "(maxConnections)" in formatEvent(events[0])
    assert ask(None, "/chat", ORIGIN, served=first)[0] == 403
    status, _, news = ask(None, "/news", served=first)
    assert status == 101, "another route has room"
    assert [name for name, _ in paths.asked] == ["chat", "news"]
    news.lose(clean=False)
    assert ask(None, "/chat", served=first)[0] == 503
    first.lose(clean=False)
    assert ask(None, "/chat", served=first)[0] == 101


def test_the_factory_s_maxConnections_is_for_all_routes(paths: Paths) -> None:
    routes = Routes({"/chat": Route(paths("chat"), maxConnections=5), "/news": paths("news")})
    _, _, first = ask(routes, maxConnections=1)
    status, body, _ = ask(None, "/news", served=first)
    assert (status, body) == (503, b"Service Unavailable: as many connections are open as may be, 1 (maxConnections)")


def test_others_may_be_faster() -> None:
    deciding: list[Deferred[Any]] = []

    def build(request: Any) -> Any:
        deciding.append(Deferred())
        return deciding[-1]

    routes = Routes({"/chat": Route(build, maxConnections=1)})
    served = Served(buildApplication=routes)
    second = Served(factory=served.factory)
    assert served.feed(REQUEST) == second.feed(REQUEST) == b""
    for one in deciding:
        one.callback(Application())
    assert served.transport.taken().startswith(b"HTTP/1.1 101 ")
    assert second.transport.taken().startswith(b"HTTP/1.1 503 ")


def test_a_host_rule_that_fails(paths: Paths) -> None:
    def fail(request: Any) -> str | None:
        raise ValueError("on purpose")

    with logged() as events:
        status, body, _ = ask(Routes({"/chat": paths("chat")}), allowedHosts=fail)
    assert (status, body) == (500, b"Internal Server Error")
    assert len(failures(events)) == 1
    assert "allowedHosts" in formatEvent(events[0])
    assert paths.asked == []


@pytest.mark.parametrize("answer", [True, False, b"why", 5])
def test_a_host_rule_that_answers_with_something_else(answer: Any) -> None:
    """As one that says whether a host is served: it would refuse the right ones."""
    with logged() as events:
        status, _, _ = ask(lambda request: Application(), allowedHosts=lambda request: answer)
    assert status == 500
    (told,) = failures(events)
    assert told.endswith("it returns None for a host that is served, or a str, why not")


def test_a_host_rule_is_no_coroutine_function() -> None:
    async def rule(request: Any) -> str | None:
        return None

    with pytest.raises(LocalProtocolError, match="allowedHosts is a function that returns its answer at once"):
        ask(lambda request: Application(), allowedHosts=rule)


def test_a_reason_that_no_answer_can_have() -> None:
    status, body, _ = ask(lambda request: Application(), allowedHosts=lambda request: "no \udcff")
    assert (status, body) == (421, b"Misdirected Request: no ?")


# Pages


class Pages(Factory):
    """A fallback that answers each connection's bytes with how many they are."""

    def __init__(self, checksRequests: bool = False) -> None:
        self.checksRequests = checksRequests
        self.got: list[bytes] = []

    def buildProtocol(self, addr: Any) -> Any:
        got = self.got

        class Page(Protocol):
            def dataReceived(self, data: bytes) -> None:
                got.append(data)

        return Page()


PAGE = b"GET /page HTTP/1.1\r\nHost: server.example.com\r\n\r\n"


def page(served: Served, request: bytes = PAGE) -> int | None:
    """The status of the answer; None where the fallback has it."""
    answer = Served(factory=served.factory).feed(request)
    return int(answer[9:12]) if answer else None


def test_rules_are_for_pages_too() -> None:
    pages = Pages()
    with logged() as events:
        served = Served(fallback=pages, allowedHosts=["example.com"])
        assert page(served) == 421
        assert page(served, PAGE.replace(b"server.", b"")) is None
        assert page(served, b"GET / HTTP/1.0\r\n\r\n") is None, "a health check of a proxy's"
    assert len(pages.got) == 2
    assert "421" in formatEvent(events[0])
    served = Served(fallback=pages, addressLimits=AddressLimits(handshakesPerSecond=1, burst=2))
    assert [page(served) for _ in range(4)] == [None, None, 429, 429]


def test_rules_of_routes_are_for_their_pages(paths: Paths) -> None:
    routes = Routes({"/page": Route(paths("a"), allowedHosts=["a.example"])})
    served = Served(buildApplication=routes, fallback=Pages(), allowedHosts=["server.example.com"])
    assert page(served) == 421
    assert page(served, PAGE.replace(b"/page", b"/other")) is None
    assert page(served, PAGE.replace(b"/page", b"//a%2Fb")) is None, "the paths of pages are the fallback's"


def test_a_fallback_may_check_requests_itself() -> None:
    served = Served(fallback=Pages(checksRequests=True), allowedHosts=["example.com"])
    assert page(served) is None


def test_a_host_rule_that_fails_for_a_page() -> None:
    def fail(request: Any) -> str | None:
        raise ValueError("on purpose")

    pages = Pages()
    with logged() as events:
        assert page(Served(fallback=pages, allowedHosts=fail)) == 500
    assert failures(events) == ["on purpose"]
    assert pages.got == []


# Rules of a route


@pytest.mark.parametrize(
    ("hosts", "status"), [(None, 101), (["server.example.com"], 101), (["example.com"], 421), (["*"], 101), ([], 421)]
)
def test_hosts_of_a_factory(hosts: Any, status: int) -> None:
    with logged() as events:
        answered, body, _ = ask(lambda request: Application(), allowedHosts=hosts)
    assert answered == status
    if status == 421:
        why = "this server does not answer for the Host of the request (allowedHosts)"
        assert body == b"Misdirected Request: " + why.encode()
        assert formatEvent(events[0]).endswith(f"with 421: Host server.example.com: {why}")


def test_a_route_has_the_factory_s_rules_or_its_own(paths: Paths) -> None:
    routes = Routes(
        {
            "/ours": paths("ours"),
            "/own": Route(
                paths("own"),
                allowedOrigins=["https://other.example"],
                allowedHosts=None,
                subprotocols=iter(["b"]),  # type: ignore[arg-type]
                headers=[("X-Own", "1")],
                compression=None,
            ),
            "/same": Route(paths("same"), allowedOrigins=None),
        },
        default=Route(paths("default"), allowedHosts=["*"]),
    )
    fields = ["Sec-WebSocket-Protocol: a, b", "Sec-WebSocket-Extensions: permessage-deflate"]
    served = Served(
        buildApplication=routes,
        allowedOrigins=["https://ours.example"],
        allowedHosts=["nobody.example"],
        subprotocols=["a"],
        headers=[("X-Ours", "1")],
        compression=Compression(),
    )

    def answer(target: str, *more: str) -> tuple[int, list[str]]:
        one = Served(factory=served.factory)
        request = REQUEST.replace(b"/chat", target.encode(), 1)
        sent = one.feed(request[:-2] + "".join(f"{field}\r\n" for field in (*fields, *more)).encode() + b"\r\n")
        head = sent.partition(b"\r\n\r\n")[0].decode()
        found = re.findall(r"\r\n(X-\w+|Sec-WebSocket-Protocol: \w+|Sec-WebSocket-Extensions: [\w-]+)", head)
        return int(head[9:12]), found

    assert answer("/ours")[0] == 421
    assert answer("/own", ORIGIN) == (101, ["Sec-WebSocket-Protocol: b", "X-Own"])
    assert answer("/own", ORIGIN) == (101, ["Sec-WebSocket-Protocol: b", "X-Own"])
    assert answer("/own", "Origin: https://ours.example")[0] == 403
    assert answer("/same", ORIGIN)[0] == 421
    status, found = answer("/else", "Origin: https://ours.example")
    assert status == 101
    assert sorted(found) == [
        "Sec-WebSocket-Extensions: permessage-deflate",
        "Sec-WebSocket-Protocol: a",
        "X-Ours",
    ]
    assert answer("/else", ORIGIN)[0] == 403


def test_the_factory_s_iterators_are_for_all_routes(paths: Paths) -> None:
    routes = Routes({"/a": paths("a"), "/b": Route(paths("b"))})
    served = Served(
        buildApplication=routes,
        allowedOrigins=iter(["https://other.example"]),
        subprotocols=iter(["x"]),
        headers=iter([("X-Ours", "1")]),
        allowedHosts=iter(["server.example.com"]),
    )
    for target in ("/a", "/b"):
        one = Served(factory=served.factory)
        request = REQUEST.replace(b"/chat", target.encode(), 1)[:-2]
        answer = one.feed(request + b"Sec-WebSocket-Protocol: x\r\n" + ORIGIN.encode() + b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert b"X-Ours: 1\r\n" in answer
        assert b"Sec-WebSocket-Protocol: x\r\n" in answer


def test_the_limits_of_a_route(paths: Paths) -> None:
    routes = Routes(
        {
            "/small": Route(paths("small"), settings=Settings(maxMessageSize=5, pingInterval=None)),
            "/pinged": Route(paths("pinged"), settings=Settings(pingInterval=3)),
            "/plain": paths("plain"),
        }
    )
    _, _, small = ask(routes, "/small")
    assert small.feed(text("12345")) == b""
    small.feed(text("123456"))
    assert small.wire.closeSent is not None
    assert small.wire.closeSent.code == 1009
    _, _, plain = ask(None, "/plain", served=small)
    plain.feed(text("123456"))
    assert paths.applications[-1].messages == ["123456"]
    _, _, pinged = ask(None, "/pinged", served=small)
    assert pinged.advance(3)[:1] == b"\x89"
    assert plain.transport.taken() == b""


def test_the_send_limit_of_a_route(paths: Paths) -> None:
    settings = Settings(highWaterMark=1000, sendLimit=1000, slowConsumer="close", pingInterval=None)
    routes = Routes({"/slow": Route(paths("slow"), settings=settings), "/plain": paths("plain")})
    _, _, plain = ask(routes, "/plain", transport=Slow())
    slow = Served(factory=plain.factory, transport=Slow())
    assert slow.feed(REQUEST.replace(b"/chat", b"/slow", 1)).startswith(ANSWER[:12])
    for served in (plain, slow):
        # The transport has what it takes, then one is about to leave, and one more waits.
        for size in (70_000, 70_000, 2000, 10):
            served.wire.sendBytesMessage(bytes(size))
    assert plain.wire.closeSent is None
    assert slow.wire.closeSent is not None
    assert slow.wire.closeSent.code == 1013


def test_the_close_timeout_of_a_route(paths: Paths) -> None:
    routes = Routes({"/chat": Route(paths("chat"), settings=Settings(closeTimeout=2, pingInterval=None))})
    _, _, served = ask(routes)
    served.wire.loseConnection()
    assert served.transport.taken() == CLOSE_SENT
    served.advance(1.9)
    assert "abort" not in served.transport.told
    served.advance(0.2)
    assert "abort" in served.transport.told


def test_one_table_for_two_factories(paths: Paths) -> None:
    """Each has its own rules, and counts its own connections."""
    routes = Routes({"/chat": Route(paths("chat"), maxConnections=1)})
    for allowed, status in ((["https://other.example"], 101), (["https://a.example"], 403)):
        assert ask(routes, "/chat", ORIGIN, allowedOrigins=allowed)[0] == status
    assert ask(routes)[0] == 101


def test_a_route_may_stand_for_several_patterns(paths: Paths) -> None:
    route = Route(paths("both"), maxConnections=1)
    routes = Routes({"/a": route, "/b": route})
    assert sum(one is route for one in routes) == 2
    status, _, served = ask(routes, "/a")
    assert status == 101
    assert ask(None, "/b", served=served)[0] == 503


def test_an_application_accepts_as_without_routes() -> None:
    accept = Accept(Application(), subprotocol="b", headers=[("X-Own", "1")])
    _, _, served = ask(Routes({"/chat": lambda request: accept}), "/chat", "Sec-WebSocket-Protocol: a, b")
    assert served.wire.subprotocol == "b"


# Mistakes


def test_mistakes_are_told_where_they_are_made(paths: Paths) -> None:
    build = paths("a")
    for routes, why in (
        ([("/a", build)], 'write {"/chat": buildApplication}'),
        ({"a": build}, "it begins with a slash"),
        ({"/{a}": build, "/{b}": build}, "two patterns for the same paths: '/{a}' and '/{b}'"),
        ({"/a": build, "/%61": build}, "two patterns for the same paths: '/a' and '/%61'"),
        ({"/a": Application()}, "buildApplication"),
        ({"/a": Application}, "buildApplication"),
        ({"/a": Routes({})}, "put the patterns of these Routes into the others"),
    ):
        with pytest.raises(LocalProtocolError, match=re.escape(why)):
            Routes(routes)  # type: ignore[arg-type]
    with pytest.raises(LocalProtocolError, match="buildApplication"):
        Routes({}, default=Application())  # type: ignore[arg-type]
    arguments: dict[str, Any]
    for arguments, why in (
        ({"allowedOrigins": ["https://a.example/"]}, "not an origin"),
        ({"allowedHosts": "a"}, "write ['a']"),
        ({"settings": None}, "settings"),
        ({"subprotocols": ["a b"]}, "subprotocol"),
        ({"headers": [("Upgrade", "x")]}, "Upgrade"),
        ({"compression": True}, "write Compression()"),
        ({"maxConnections": 0}, "maxConnections"),
    ):
        with pytest.raises(LocalProtocolError, match=re.escape(why)):
            Route(build, **arguments)


def test_routes_are_no_function(paths: Paths) -> None:
    """Their rules would be left out by what stands around them."""
    for wrap in (Route, lambda routes: RateLimit(routes, 10), lambda routes: WebSocketClientFactory("ws://a/", routes)):
        with pytest.raises(LocalProtocolError, match="put what stands around an application into each route"):
            wrap(Routes({"/chat": paths("chat")}))  # type: ignore[arg-type]


def test_what_is_not_given_is_told_as_the_factory_s() -> None:
    import inspect

    assert "subprotocols: 'Sequence[str]' = <the factory's>" in str(inspect.signature(Route))


def test_a_stopping_factory_refuses_all_paths(paths: Paths) -> None:
    factory = WebSocketServerFactory(Routes({"/chat": paths("chat")}), reactor=Served().clock)
    factory.stop()
    served = Served(factory=factory, transport=Transport())
    assert served.feed(REQUEST).startswith(b"HTTP/1.1 503 ")
