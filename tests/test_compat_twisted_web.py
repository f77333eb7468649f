"""The names of twisted.web.websocket on wsock, by Twisted's own tests of that module and ours."""

import importlib
import sys
import types
import unittest
import warnings
from typing import Any

import pytest
import twisted.web
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import AccumulatingProtocol, MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial import reporter
from twisted.web.resource import Resource
from twisted.web.server import Site

import wsock
from wsock.compat import twisted_web as compat

#: Twisted's tests that do not pass, and why.
REASONS = {
    "test_backpressure": "it calls and compares the producer of the transport itself, which is wsock's own here",
    "test_connectionRefusedSlow": "a refusal is told with its body; Twisted's has the connection wait for a reader",
    "test_connectionRefusedWeird": "102 is no final answer (RFC 9110 section 15.2): one may come, for 10 seconds",
}


def test_twisted_s_own_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """With only the import changed; Twisted has them since 25.5."""
    if importlib.util.find_spec("twisted.web.websocket") is None:
        assert tuple(map(int, twisted.__version__.split(".")[:2])) < (25, 5)
        return
    monkeypatch.setitem(sys.modules, "twisted.web.websocket", compat)
    monkeypatch.setattr(twisted.web, "websocket", compat, raising=False)
    # The tests would be skipped without what Twisted's module needs.
    monkeypatch.setitem(sys.modules, "wsproto", types.ModuleType("wsproto"))
    monkeypatch.delitem(sys.modules, "twisted.web.test.test_websocket", raising=False)
    with warnings.catch_warnings():
        # Of Twisted's own pages.
        warnings.simplefilter("ignore", DeprecationWarning)
        module = importlib.import_module("twisted.web.test.test_websocket")
        monkeypatch.delitem(sys.modules, "twisted.web.test.test_websocket")
        suite = unittest.defaultTestLoader.loadTestsFromModule(module)
        result = reporter.TestResult()
        suite.run(result)
    failed = {test.id().rpartition(".")[2] for test, _ in [*result.failures, *result.errors]}
    assert failed == set(REASONS)
    assert result.testsRun == result.successes + len(failed) >= 14
    assert result.skips == []


class Application:
    """As an application for twisted.web.websocket."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def negotiationStarted(self, transport: compat.WebSocketTransport) -> None:
        self.transport = transport

    def negotiationFinished(self) -> None:
        self.told.append("open")

    def textMessageReceived(self, message: str) -> None:
        self.told.append(message)

    def bytesMessageReceived(self, data: bytes) -> None:
        self.told.append(data)

    def pongReceived(self, payload: bytes) -> None:
        self.told.append(("pong", payload))

    def connectionLost(self, reason: Any) -> None:
        self.told.append(reason.value)


class Factory:
    """Both of a server and of a client."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.applications: list[Application] = []

    def buildProtocol(self, asked: Any) -> Application:
        self.asked.append(asked)
        self.applications.append(Application())
        return self.applications[-1]


REQUEST = (
    b"GET /ws?a=1 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def served(more: bytes = b"", **arguments: Any) -> tuple[Factory, bytes]:
    factory = Factory()
    root = Resource()
    root.putChild(b"ws", compat.WebSocketResource(factory, **arguments))
    channel = Site(root, reactor=Clock()).buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
    transport = StringTransport()
    channel.makeConnection(transport)
    channel.dataReceived(REQUEST + more + b"\r\n")
    return factory, transport.value()


def test_a_server_gets_the_request_of_twisted_web() -> None:
    factory, answer = served()
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert factory.asked[0].args == {b"a": [b"1"]}
    assert factory.applications[0].told == ["open"]


def test_a_resource_takes_the_arguments_of_wsock() -> None:
    origin = b"Origin: https://other.example\r\n"
    assert served(origin)[1].startswith(b"HTTP/1.1 403 ")
    assert served(origin, allowedOrigins=["https://other.example"])[1].startswith(b"HTTP/1.1 101 ")


class Host:
    """As a HostnameEndpoint, which wants a resolver; the last one is kept."""

    last: "Host"

    def __init__(self, reactor: Any, host: bytes, port: int, **arguments: Any) -> None:
        self.host, self.port, self.arguments = host, port, arguments
        Host.last = self

    def connect(self, factory: Any) -> Deferred[Any]:
        self.factory = factory
        return Deferred()


@pytest.fixture(autouse=True)
def hosts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.name != "test_twisted_s_own_tests":
        monkeypatch.setattr(compat, "HostnameEndpoint", Host)


@pytest.mark.parametrize(
    ("url", "port", "first"),
    [
        ("http://localhost/chat?a", 80, b"GET /chat?a HTTP/1.1\r\nHost: localhost\r\n"),
        ("ws://localhost:8080/chat", 8080, b"GET /chat HTTP/1.1\r\nHost: localhost:8080\r\n"),
        ("HTTP://localhost:81", 81, b"GET / HTTP/1.1\r\nHost: localhost:81\r\n"),
    ],
)
def test_a_client_connects(url: str, port: int, first: bytes) -> None:
    reactor = MemoryReactorClock()
    factory = Factory()
    endpoint: Any = compat.WebSocketClientEndpoint.new(reactor, url, connectTimeout=7, bindAddress=b"127.0.0.2")
    connected = Deferred.fromCoroutine(endpoint.connect(factory))
    used = Host.last
    assert (used.host, used.port) == (b"localhost", port)
    assert used.arguments == {"timeout": 7, "bindAddress": b"127.0.0.2"}
    transport = StringTransport()
    protocol = used.factory.buildProtocol(None)
    protocol.makeConnection(transport)
    assert transport.value().startswith(first)
    protocol.dataReceived(b"HTTP/1.1 403 No\r\nX-Why: x\r\nContent-Length: 5\r\n\r\nsorry")
    failure = connected.result
    assert isinstance(failure.value, compat.ConnectionRejected)
    assert str(failure.value) == "the server answered with 403"
    response = failure.value.response
    connected.addErrback(lambda failure: None)
    assert (response.code, response.phrase, response.length) == (403, b"No", 5)
    assert response.headers.getRawHeaders("X-Why") == ["x"]
    reader = AccumulatingProtocol()
    response.deliverBody(reader)
    assert (reader.data, reader.closed) == (b"sorry", 1)
    assert factory.asked == [url]


def test_a_url_that_is_none() -> None:
    endpoint: Any = compat.WebSocketClientEndpoint.new(MemoryReactorClock(), "http://user:secret@localhost/")
    connected = Deferred.fromCoroutine(endpoint.connect(Factory()))
    assert isinstance(connected.result.value, wsock.InvalidURL)
    connected.addErrback(lambda failure: None)


class Endpoints:
    """As an IAgentEndpointFactory of the user's."""

    def __init__(self) -> None:
        self.uris: list[Any] = []
        self.factories: list[Any] = []

    def endpointForURI(self, uri: Any) -> Any:
        self.uris.append(uri)
        return self

    def connect(self, factory: Any) -> Deferred[Any]:
        self.factories.append(factory)
        self.connecting: Deferred[Any] = Deferred()
        return self.connecting


def test_an_endpoint_of_the_user_s() -> None:
    endpoints, factory = Endpoints(), Factory()
    endpoint: Any = compat.WebSocketClientEndpoint(endpoints, "http://localhost/")  # type: ignore[arg-type]
    connected = Deferred.fromCoroutine(endpoint.connect(factory))
    assert endpoints.uris[0].host == b"localhost"
    builder = endpoints.factories[0]
    builder.useReactor(Clock())
    protocol = builder.buildProtocol(None)
    protocol.makeConnection(StringTransport())
    endpoints.connecting.callback(protocol)
    assert not connected.called
    protocol.dataReceived(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
    protocol.connectionLost(Failure(ConnectionDone()))
    assert isinstance(connected.result.value, compat.ConnectionRejected)
    connected.addErrback(lambda failure: None)


def test_a_policy_for_tls_is_twisted_s() -> None:
    asked: list[Any] = []

    class Policy:
        def creatorForNetloc(self, host: bytes, port: int) -> Any:
            asked.append((host, port))
            raise ValueError("on purpose")

    endpoint: Any = compat.WebSocketClientEndpoint.new(
        MemoryReactorClock(),
        "wss://localhost/",
        tlsPolicy=Policy(),  # type: ignore[arg-type]
    )
    connected = Deferred.fromCoroutine(endpoint.connect(Factory()))
    assert asked == [(b"localhost", 443)]
    connected.addErrback(lambda failure: failure.trap(ValueError))


def test_all_names_are_there() -> None:
    websocket = importlib.util.find_spec("twisted.web.websocket")
    names = set(compat.__all__)
    assert all(hasattr(compat, name) for name in names)
    if websocket is not None and importlib.util.find_spec("wsproto") is not None:
        assert set(importlib.import_module("twisted.web.websocket").__all__) == names
