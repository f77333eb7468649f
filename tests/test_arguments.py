"""A wrong argument is told where it is given: by `LocalProtocolError`, whose text says what to write instead."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.web.resource import Resource
from twisted.web.server import Site
from wire import ANSWER, REQUEST, Application, Asked, Served, failures, logged, opened

from wsock import (
    Accept,
    Agent,
    Group,
    InvalidURL,
    LocalProtocolError,
    Refuse,
    Settings,
    StreamHandler,
    WebSocketClientFactory,
    WebSocketProtocol,
    WebSocketServerFactory,
    WebSocketStream,
    connect,
    connectProtocol,
    streamApplication,
)
from wsock.testing import MemoryAgent, MemoryEndpoint, Pair, ScriptedPeer


class Echo(WebSocketProtocol):
    pass


class Endpoint:
    def connect(self, factory: object) -> Any:
        raise AssertionError("nobody is to connect")


class Listening:
    def listen(self, factory: object) -> Any:
        raise AssertionError("nobody is to listen")


def build(request: Any) -> Any:
    return Application()


def server(build: Any = build, **arguments: Any) -> Any:
    return WebSocketServerFactory(build, **arguments)


def client(url: Any = "ws://localhost/", build: Any = build, **arguments: Any) -> Any:
    return WebSocketClientFactory(url, build, **arguments)


def connecting(reactor: Any = None, url: Any = "ws://localhost/", **arguments: Any) -> Any:
    return connect(MemoryReactorClock() if reactor is None else reactor, url, **arguments)


async def handler(stream: WebSocketStream) -> None:
    pass


async def quoted(stream: "WebSocketStream") -> None:
    pass


async def generator(stream: Any) -> Any:
    yield 1


def old_generator(stream: Any) -> Any:
    yield 1


def named(value: object) -> str:
    """The text that is looked for names the test."""
    return value if isinstance(value, str) else ""


#: For each argument: what was given, and what the text says of it.
REFUSALS: list[tuple[Callable[[], object], str]] = [
    (lambda: Refuse("401"), "status is an int such as 403, not str"),  # type: ignore[arg-type]
    (lambda: Refuse(None), "status .* not None"),  # type: ignore[arg-type]
    (lambda: Refuse(401.0), "status .* not float"),  # type: ignore[arg-type]
    (lambda: Refuse(True), "status is from 200 to 599, not 1"),
    (lambda: Refuse(101), "status is from 200 to 599, not 101"),
    (lambda: Refuse(600), "status is from 200 to 599, not 600"),
    (lambda: Refuse(403, "text"), "headers is a sequence of pairs"),  # type: ignore[arg-type]
    (lambda: Refuse(403, {"a": "b"}), "headers .* not dict: write list"),  # type: ignore[arg-type]
    (lambda: Refuse(403, [(b"a", "b")]), "name of a header is a str, not bytes: .*decode"),  # type: ignore[list-item]
    (lambda: Refuse(403, [("a", 5)]), "value of a is a str, not int: write str"),  # type: ignore[list-item]
    (lambda: Refuse(403, [("Connection", "x")]), "Connection can't be given"),
    (lambda: Refuse(403, [("Content-Length", "1")]), "Content-Length can't be given"),
    (lambda: Refuse(403, (), "text"), "body is bytes, not str: write body.encode"),  # type: ignore[arg-type]
    (lambda: Refuse(403, (), None), "body is bytes, not None"),  # type: ignore[arg-type]
    (lambda: Refuse(204, (), b"text"), "204 has no body"),
]
ACCEPTS: list[tuple[Callable[[], object], str]] = [
    (lambda: Accept(Refuse(403)), "Accept was given a Refuse: raise it"),  # type: ignore[arg-type]
    (lambda: Accept(Echo), r"the class Echo: return an instance, Echo\("),  # type: ignore[arg-type]
    (lambda: Accept(Refuse), r"the class Refuse: raise an instance, Refuse\("),  # type: ignore[arg-type]
    (lambda: Accept(handler), r"StreamHandler\(handler\)"),  # type: ignore[arg-type]
    (lambda: Accept({}), "a dict, and no application"),  # type: ignore[arg-type]
    (lambda: Accept(Echo(), b"chat"), "subprotocol is a str or None, not bytes"),  # type: ignore[arg-type]
    (lambda: Accept(Echo(), ["chat"]), "subprotocol .* not list"),  # type: ignore[arg-type]
    (lambda: Accept(Echo(), ""), "token"),
    (lambda: Accept(Echo(), "a, b"), "token"),
    (lambda: Accept(Echo(), None, {"a": "b"}), "headers .* not dict"),  # type: ignore[arg-type]
    (lambda: Accept(Echo(), None, [("a", b"b")]), "value of a is a str, not bytes"),  # type: ignore[list-item]
    (lambda: Accept(Echo(), None, [("a", "b\nc")]), "control character"),
    (lambda: Accept(Echo(), None, [("Upgrade", "h2c")]), "the handshake's own"),
    (lambda: Accept(Echo(), None, None), "headers .* not None"),  # type: ignore[arg-type]
]
SETTINGS: list[tuple[Callable[[], object], str]] = [
    (lambda: Settings(maxMessageSize="16M"), r"not str: write 16 \* 2\*\*20"),  # type: ignore[arg-type]
    (lambda: Settings(openTimeout="5"), "openTimeout is a number of seconds .* not str"),  # type: ignore[arg-type]
    (lambda: Settings(receiveQueue=None), "receiveQueue is a number above 0"),  # type: ignore[arg-type]
    (lambda: Settings(openTimeout=0), r"openTimeout is a number of seconds .* below 2\*\*63, or None for no limit$"),
    (lambda: Settings(receiveQueue=0), r"receiveQueue is a number above 0, and below 2\*\*63$"),
    (lambda: Settings(maxMessageSize=b"16M"), "not bytes$"),  # type: ignore[arg-type]
    (lambda: Settings(openTimeout="5"), "not str$"),  # type: ignore[arg-type]
    (lambda: Settings(slowConsumer="Wait"), "one of wait, close, drop, not 'Wait'"),  # type: ignore[arg-type]
    (lambda: Settings(slowConsumer=["wait"]), "slowConsumer"),  # type: ignore[arg-type]
]
FACTORIES: list[tuple[dict[str, Any], str]] = [
    ({"build": None}, "buildApplication .* not None: write a function that returns an application"),
    ({"build": Echo()}, r"not Echo: write lambda request: Echo\("),
    ({"build": Echo}, r"Echo can't be .*write lambda request: Echo\("),
    ({"build": lambda: None}, "called with each request"),
    ({"build": lambda request, other: None}, "called with each request"),
    ({"build": handler}, r"streamApplication\(handler\)"),
    ({"build": quoted}, r"streamApplication\(handler\)"),
    ({"settings": {"openTimeout": 5}}, r"settings is a Settings, not dict: write Settings\("),
    ({"settings": None}, "settings is a Settings, not None"),
    ({"settings": Settings}, "settings is a Settings, not type"),
    ({"reactor": "epoll"}, "reactor is a reactor, not str: from twisted.internet import reactor"),
    ({"reactor": Clock}, "reactor is a reactor"),
    ({"reactor": object()}, "reactor is a reactor, not object"),
    ({"subprotocols": "chat"}, r"subprotocols is a sequence of str, not str: write \['chat'\]"),
    ({"subprotocols": b"chat"}, "subprotocols is a sequence of str, not bytes"),
    ({"subprotocols": None}, "subprotocols is a sequence of str, not None"),
    ({"subprotocols": [b"chat"]}, "each of subprotocols is a str, not bytes"),
    ({"subprotocols": ["chat", "a b"]}, "not a subprotocol"),
    ({"headers": {"a": "b"}}, r"headers .* not dict: write list\(headers.items\(\)\)"),
    ({"headers": None}, "headers .* not None"),
    ({"headers": [b"a: b"]}, "pairs of str"),
    ({"headers": ["ab"]}, "pairs of str"),
    ({"headers": [("a", None)]}, "value of a is a str, not None"),
    ({"headers": [("Upgrade", "x")]}, "the handshake's own"),
]
FACTORY: list[tuple[Callable[[], object], str]] = [
    (lambda: server(allowedOrigins="*"), r"not str: write \['\*'\]"),
    (lambda: server(allowedOrigins=b"*"), "a sequence of origins, or None, not bytes"),
    (lambda: server(allowedOrigins=True), "not bool"),
    (lambda: server(allowedOrigins=[b"http://localhost"]), "an origin is a str .* not bytes"),
    (lambda: server(allowedOrigins=iter(["http://localhost", "localhost"])), "not an origin"),
    (lambda: server(fallback=Resource()), r"fallback .* not Resource: write twisted.web.server.Site\("),
    (lambda: server(fallback=Site), "fallback is a factory of protocols, not type"),
    (lambda: server(fallback=lambda: None), "fallback is a factory of protocols, not function$"),
    (lambda: server(maxConnections="2"), "maxConnections is a number above 0.* or None for no limit, not str"),
    (lambda: server(maxConnections=0), "maxConnections is a number above 0"),
    (lambda: server(maxConnections=True), "maxConnections .* not bool"),
    (lambda: server(maxConnections=1.5), "maxConnections is a whole number"),
    (lambda: server(reactor=Clock()).stop(1006), "a close code is one of"),
    (lambda: client(subprotocols=["a", "a"]), "offered once"),
]
CONNECTS: list[tuple[Callable[[], object], str]] = [
    (lambda: connecting("ws://localhost/", MemoryReactorClock()), "reactor is a reactor, not str"),
    (lambda: connectProtocol(MemoryReactorClock(), "ws://localhost/", Echo()), "not Echo"),  # type: ignore[arg-type]
    (lambda: connecting(settings={}), "settings"),
    (lambda: Agent("epoll"), "reactor is a reactor, not str"),
    (lambda: Agent(Clock(), settings={}), "settings is a Settings, not dict"),  # type: ignore[arg-type]
    (lambda: Agent(Clock(), headers={"a": "b"}), "headers .* not dict"),  # type: ignore[arg-type]
    (lambda: Agent(Clock(), headers=[("Upgrade", "x")]), "the handshake's own"),
    (lambda: Agent(Clock(), subprotocols=["a", "a"]), "offered once"),
    (lambda: Agent(Clock()).connect("ws://localhost/", headers=[("a", b"b")]), "not bytes"),  # type: ignore[list-item]
    (lambda: Agent(Clock()).connect("ws://localhost/", endpoint="tcp:a:80"), "clientFromString"),  # type: ignore[arg-type]
    (
        lambda: Agent(MemoryReactorClock(), trustRoot=object()).connect("ws://localhost/", endpoint=Endpoint()),
        "trustRoot .* wss://",
    ),
    (lambda: connecting(headers={"a": "b"}), "headers"),
    (lambda: connecting(subprotocols="chat"), "subprotocols"),
    (lambda: connecting(endpoint="tcp:localhost:80"), "endpoint is a client endpoint, not str: .*clientFromString"),
    (lambda: connecting(endpoint=MemoryEndpoint), "endpoint is a client endpoint, not type"),
    (lambda: connecting(endpoint=object()), "endpoint is a client endpoint, not object$"),
    (lambda: connecting(endpoint=Listening()), "endpoint is a client endpoint, not Listening: this one is for servers"),
]
STREAMS: list[tuple[Callable[[], object], str]] = [
    (lambda: streamApplication(None), "handler .* not None"),  # type: ignore[arg-type]
    (lambda: streamApplication(lambda: None), "handler is called with each stream"),  # type: ignore[arg-type,misc]
    (lambda: streamApplication(generator), "a yield in it"),
    (lambda: streamApplication(old_generator), "inlineCallbacks"),
    (lambda: StreamHandler(None), "handler .* not None"),  # type: ignore[arg-type]
    (lambda: StreamHandler(lambda: None), "handler is called with each stream"),  # type: ignore[arg-type,misc]
    (lambda: StreamHandler(generator), "a yield in it"),
    (lambda: StreamHandler(old_generator), "inlineCallbacks"),
    (lambda: Accept(None), "Accept was given None"),  # type: ignore[arg-type]
]
TESTING: list[tuple[Callable[[], object], str]] = [
    (lambda: MemoryAgent(build), r"server is .* not function: write WebSocketServerFactory\(server\)"),  # type: ignore[arg-type]
    (lambda: MemoryAgent(WebSocketServerFactory), "server is a factory or a protocol, not type"),  # type: ignore[arg-type]
    (lambda: MemoryAgent(server(), 5), "clock is a .*Clock, not int"),  # type: ignore[arg-type]
    (lambda: MemoryAgent(server(), capacity="1"), "capacity is a whole number, not str"),  # type: ignore[arg-type]
    (lambda: MemoryAgent(server(), chunk=0), "chunk is at least 1"),
    (lambda: MemoryAgent(server(), chunk=True), "chunk is a whole number, not bool"),
    (lambda: MemoryAgent(server()).advance("1"), "seconds is a number, not str"),  # type: ignore[arg-type]
    (lambda: MemoryAgent(server()).advance(True), "seconds is a number, not bool"),
    (lambda: MemoryAgent(server()).advance(-1), "seconds"),
    (lambda: MemoryAgent(server()).advance(float("nan")), "seconds"),
    (lambda: MemoryAgent(server()).advance(float("inf")), "seconds"),
    (lambda: MemoryAgent(server()).flush("all"), "rounds is a whole number, not str"),  # type: ignore[arg-type]
    (lambda: MemoryAgent(server()).flush(0), "rounds is at least 1"),
    (lambda: MemoryAgent(server()).connect(settings={}), "settings"),
    (lambda: MemoryEndpoint(server()).listen(build), "server is a factory or a protocol"),  # type: ignore[arg-type]
    (lambda: MemoryEndpoint(server()).refuse("no"), "reason is an Exception or None, not str"),  # type: ignore[arg-type]
    (lambda: Pair(server(), None), "client is a factory or a protocol, not None"),  # type: ignore[arg-type]
    (lambda: Pair(None, ScriptedPeer()), "server is a factory or a protocol, not None"),  # type: ignore[arg-type]
    (lambda: Pair(server(), ScriptedPeer()).drop("reset"), "reason"),  # type: ignore[arg-type]
    (lambda: ScriptedPeer().send(b""), "not connected yet"),
    (lambda: ScriptedPeer().send("GET / HTTP/1.1"), "data is bytes, not str: write data.encode"),  # type: ignore[arg-type]
    (lambda: Pair(server(), ScriptedPeer()).client.open(subprotocols="chat"), "subprotocols"),
]


@pytest.mark.parametrize(
    ("give", "match"), [*REFUSALS, *ACCEPTS, *SETTINGS, *FACTORY, *CONNECTS, *STREAMS, *TESTING], ids=named
)
def test_what_can_not_be_given(give: Callable[[], object], match: str) -> None:
    with pytest.raises(LocalProtocolError, match=match):
        give()


@pytest.mark.parametrize("make", [server, client])
@pytest.mark.parametrize(("arguments", "match"), FACTORIES, ids=named)
def test_what_a_factory_can_not_be_given(make: Callable[..., object], arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(LocalProtocolError, match=match):
        make(**arguments)


@pytest.mark.parametrize("url", [None, b"ws://localhost/", 8080, "localhost", "http://localhost/", ("localhost", 80)])
def test_what_is_no_url(url: Any) -> None:
    for give in (lambda: client(url), lambda: connecting(url=url)):
        with pytest.raises(InvalidURL):
            give()


SENDS: list[tuple[Callable[[Any], object], str]] = [
    (lambda transport: transport.sendTextMessage({"a": 1}), r"text is a str, not dict: json.dumps\(...\)"),
    (lambda transport: transport.sendTextMessage([1]), "text is a str, not list: json.dumps"),
    (lambda transport: transport.sendTextMessage(5), r"text is a str, not int: write str\(text\)"),
    (lambda transport: transport.sendTextMessage(None), "text is a str, not None"),
    (lambda transport: transport.sendTextMessage(b"x"), "text is a str, not bytes: sendBytesMessage"),
    (lambda transport: transport.sendTextMessage("\ud800"), "lone surrogate"),
    (lambda transport: transport.sendBytesMessage("x"), "data is bytes.*, not str: sendTextMessage"),
    (lambda transport: transport.sendBytesMessage({"a": 1}), "a message is .* not dict: json.dumps"),
    (lambda transport: transport.sendBytesMessage(5), "a message is .* not int"),
    (lambda transport: transport.sendBytesMessage([1, 2]), "a message is .* not list"),
]
ASKS: list[tuple[Callable[[Any], object], str]] = [
    (lambda transport: transport.ping("x"), r"payload of a Ping .* bytes, not str: write payload.encode\(\)"),
    (lambda transport: transport.ping(5), "not int"),
    (lambda transport: transport.ping(bytes(126)), "at most 125 bytes"),
    (lambda transport: transport.loseConnection("1000"), "a close code is an int such as 1000, or None, not str"),
    (lambda transport: transport.loseConnection(1000.0), "a close code .* not float"),
    (lambda transport: transport.loseConnection(1006), "a close code is one of"),
    (lambda transport: transport.loseConnection(True), "a close code is one of"),
    (lambda transport: transport.loseConnection(1000, b"bye"), "a close reason is a str, not bytes"),
    (lambda transport: transport.loseConnection(1000, None), "a close reason is a str, not None"),
    (lambda transport: transport.attachProducer(object()), "producer is an object with pauseProducing"),
    (lambda transport: transport.attachProducer(object(), False), "producer is an object with resumeProducing"),
    (lambda transport: transport.attachProducer(type(transport)), "not type"),
    (lambda transport: transport.attachProducer(transport, "pull"), "streaming is a bool, not str"),
    (lambda transport: transport.request.headers.get(b"Host"), "name is a str, not bytes"),
    (lambda transport: transport.request.headers.getAll(b"Host"), "name is a str, not bytes"),
    (lambda transport: transport.factory.stop("1001"), "a close code is an int such as 1001, not str"),
    (lambda transport: transport.factory.stop(None), "a close code is an int such as 1001, not None"),
    (lambda transport: transport.factory.stop(1006), "a close code is one of"),
    (lambda transport: transport.factory.stop(1001, b"bye"), "a close reason is a str, not bytes"),
    (lambda transport: transport.factory.stop(1001, "x" * 124), "at most 123 bytes"),
    (lambda transport: transport.factory.stop(timeout=None), "timeout is a number of seconds above 0, .* not None"),
    (lambda transport: transport.factory.stop(timeout=0), "timeout is a number of seconds above 0"),
    (lambda transport: transport.factory.stop(timeout="4"), "timeout is a number of seconds .* not str"),
]


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize(("give", "match"), [*SENDS, *ASKS], ids=named)
def test_what_a_transport_can_not_be_given(role: str, give: Callable[[Any], object], match: str) -> None:
    connection: Any = opened() if role == "server" else Asked().open()
    connection.transport.taken()
    with pytest.raises(LocalProtocolError, match=match):
        give(connection.wire)
    # It stays usable, and nothing was sent.
    connection.wire.sendTextMessage("Hello")
    assert b"Hello" in connection.transport.taken() if role == "server" else connection.sent() == b"\x81\x05Hello"


@pytest.mark.parametrize(
    ("message", "match"),
    [({"a": 1}, "a message is a str for text, or bytes.*not dict: json.dumps"), (5, "not int"), (None, "not None")],
)
def test_what_a_stream_can_not_send(message: Any, match: str) -> None:
    stream = WebSocketStream()
    opened(stream)
    with pytest.raises(LocalProtocolError, match=match):
        stream.send(message)


@pytest.mark.parametrize(
    ("give", "match"),
    [
        *((lambda group, stream, give=give: give(group), match) for give, match in SENDS),  # type: ignore[misc]
        (lambda group, stream: group.add(None), "transport is what negotiationStarted was given, not None$"),
        (lambda group, stream: group.add(stream), "not WebSocketStream: its transport is meant"),
        (lambda group, stream: group.discard(stream), "not WebSocketStream: its transport is meant"),
    ],
    ids=named,
)
def test_what_a_group_can_not_be_given(give: Callable[[Any, Any], object], match: str) -> None:
    stream = WebSocketStream()
    served = opened(stream)
    group = Group()
    group.add(served.wire)
    with pytest.raises(LocalProtocolError, match=match):
        give(group, stream)
    assert served.transport.taken() == b""
    assert list(group) == [served.wire]


# Unusual arguments that are right


def once() -> Iterator[tuple[str, str]]:
    yield "Set-Cookie", "a=b"


def test_headers_that_are_given_once_serve_all() -> None:
    """A generator gives its items to the first who asks."""
    accept, refuse = Accept(Application(), headers=once()), Refuse(401, once())  # type: ignore[arg-type]
    for _ in range(2):
        accepted = Served(buildApplication=lambda request: Accept(Application(), headers=accept.headers))
        assert b"Set-Cookie: a=b\r\n" in accepted.feed(REQUEST)

        def raising(request: Any) -> Any:
            raise refuse

        assert b"Set-Cookie: a=b\r\n" in Served(buildApplication=raising).feed(REQUEST)
    factory = server(headers=once(), reactor=Clock())
    for _ in range(2):
        assert b"Set-Cookie: a=b\r\n" in Served(factory=factory).feed(REQUEST)


def test_origins_that_are_given_once_or_change() -> None:
    origins = ["https://a.example"]
    request = REQUEST[:-2] + b"Origin: https://a.example\r\n\r\n"
    for given in (iter(origins), origins):
        factory = server(allowedOrigins=given, reactor=Clock())
        origins.append("https://b.example")
        for _ in range(2):
            assert Served(factory=factory).feed(request).startswith(ANSWER[:12])
        other = REQUEST[:-2] + b"Origin: https://b.example\r\n\r\n"
        assert Served(factory=factory).feed(other).startswith(b"HTTP/1.1 403 ")
        origins.pop()


def test_a_subprotocol_that_was_not_offered_is_logged() -> None:
    """Only the request tells."""
    request = REQUEST[:-2] + b"Sec-WebSocket-Protocol: chat, superchat\r\n\r\n"
    served = Served(buildApplication=lambda request: Accept(Application(), "mqtt"))
    with logged() as events:
        assert served.feed(request).startswith(b"HTTP/1.1 500 ")
    (told,) = failures(events)
    assert told == "the client did not offer this subprotocol: 'mqtt'; it offered chat, superchat"


def test_what_is_unusual_and_can_be() -> None:
    class Takes:
        def __init__(self, request: Any, more: int = 0) -> None:
            pass

        def __call__(self, *requests: Any) -> Any:
            return Application()

    @inlineCallbacks
    def twisted(stream: Any) -> Any:
        yield None

    # The signature of `max` is not known.
    for each in (Takes, Takes(None), Takes(None).__call__, print, max, lambda *any: None, lambda request, **more: None):
        server(each)
    server(fallback=Site(Resource()))
    streamApplication(twisted)
    assert Refuse(403, (), bytearray(b"no")).body == b"no"
    assert Refuse(403, (), memoryview(b"no")).body == b"no"
    opened().wire.attachProducer(opened().wire, 1)  # type: ignore[arg-type]
