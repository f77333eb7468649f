"""Clients by way of a proxy, in memory: the tunnel, every way in which it is not opened, and nothing left of any."""

import ssl
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest
from integration.peer import make_certificate
from leftovers import leftovers
from links import Reactor, makeClient
from secured import Above, Peer, clientContext, serverContext
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError, NoProtocol
from twisted.internet.interfaces import IReactorPluggableNameResolver
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from wire import HELLO_SENT, Application, Transport, unmasked
from zope.interface import implementer

from wsock import (
    Agent,
    InvalidURL,
    LocalProtocolError,
    Proxy,
    ProxyError,
    Settings,
    WebSocketDropped,
    WebSocketServerFactory,
    WebSocketStream,
    connect,
    connectProtocol,
    streamApplication,
)
from wsock.client.tunnel import tunnelFor
from wsock.sansio.url import URL, parse
from wsock.testing import MemoryAgent
from wsock.wire.tls import TLSLayer

ADDRESS = IPv4Address("TCP", "192.0.2.1", 3128)
HTTP, SOCKS = "http://proxy.example:3128", "socks5://proxy.example:1080"
CONNECT = b"CONNECT server.example.com:80 HTTP/1.1\r\nHost: server.example.com:80\r\n"
SOCKS_REQUEST = b"\x05\x01\x00\x03\x12server.example.com\x00\x50"
SOCKS_OPEN = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"
REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 8\r\n\r\nnot here"
Pair = tuple[Path, Path]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_certificate(tmp_path_factory.mktemp("tls"))


#: The value outside of a test.
makeFailure = Failure.__init__


class Resolver:
    """Knows addresses alone."""

    def resolveHostName(self, receiver: Any, name: str, portNumber: int = 0, *_: object, **__: object) -> Any:
        receiver.resolutionBegan(self)
        receiver.addressResolved(IPv4Address("TCP", name, portNumber))
        receiver.resolutionComplete()
        return receiver


@implementer(IReactorPluggableNameResolver)
class Connector(MemoryReactorClock):
    def __init__(self) -> None:
        super().__init__()
        self.nameResolver: Any = Resolver()


class Endpoint:
    """Connects when it is told to."""

    def __init__(self) -> None:
        self.handed: Any = None
        self.cancelled = 0
        self.deferred: Deferred[Any] = Deferred(self._cancelled)

    def _cancelled(self, _: object) -> None:
        self.cancelled += 1

    def connect(self, factory: Any) -> Deferred[Any]:
        self.handed = factory
        return self.deferred


class Proxied:
    """A call of `connectProtocol` by way of a proxy.

    Attributes:
        lower: the protocol that the transport to the proxy has.
        transport: that.
        results: the outcome of the call.
    """

    def __init__(
        self,
        proxy: Any = HTTP,
        url: Any = "ws://server.example.com/chat",
        settings: dict[str, Any] | None = None,
        application: Any = None,
        build: Callable[[Any], Any] | None = None,
        **arguments: Any,
    ) -> None:
        self.proxy = proxy
        self.clock = Clock()
        self.endpoint = Endpoint()
        self.application = Application() if application is None else application
        self.transport = Transport()
        self.lower: Any = None
        self.results: list[Any] = []
        self.deferred = connectProtocol(
            self.clock,
            url,
            (lambda request: self.application) if build is None else build,
            endpoint=self.endpoint,
            proxy=proxy,
            settings=Settings(**{"pingInterval": None, "openTimeout": 10, **(settings or {})}),
            **arguments,
        )
        self.deferred.addBoth(self.results.append)

    def reach(self) -> "Proxied":
        """The endpoint has connected."""
        self.lower = self.endpoint.handed.buildProtocol(ADDRESS)
        self.lower.makeConnection(self.transport)
        if not self.endpoint.cancelled:
            self.endpoint.deferred.callback(self.lower)
        return self

    def feed(self, *pieces: bytes) -> bytes:
        """The proxy sends; returns the bytes that it got since the last look."""
        for piece in pieces:
            self.lower.dataReceived(piece)
        return self.transport.taken()

    def open(self) -> "Proxied":
        """The proxy has opened the tunnel, and the server accepted."""
        head = self.feed(OPEN)
        key = head.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
        accept = b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        self.feed(
            b"HTTP/1.1 101 \r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
            + accept
            + b"\r\n\r\n"
        )
        assert len(self.results) == 1
        assert not isinstance(self.results[0], Failure)
        return self

    def lose(self, reason: BaseException | None = None) -> None:
        self.lower.connectionLost(Failure(ConnectionDone() if reason is None else reason))

    def error(self, kind: type[BaseException] = ProxyError, told: list[str] | None = None) -> Any:
        """The exception of the call; nothing is left of it."""
        (failure,) = self.results
        assert type(failure.value) is kind, failure.value
        assert self.clock.getDelayedCalls() == []
        assert self.transport.told == (["abort"] if told is None else told)
        return failure.value


# The tunnel


def test_http() -> None:
    proxied = Proxied().reach()
    assert proxied.transport.taken().startswith(CONNECT)
    head = proxied.feed(OPEN)
    assert head.startswith(b"GET /chat HTTP/1.1\r\nHost: server.example.com\r\n")
    assert b"Proxy" not in head
    assert proxied.results == []


def test_socks() -> None:
    proxied = Proxied(SOCKS).reach()
    assert proxied.transport.taken() == b"\x05\x01\x00"
    assert proxied.feed(b"\x05\x00") == SOCKS_REQUEST
    assert proxied.feed(SOCKS_OPEN).startswith(b"GET /chat HTTP/1.1\r\n")


def test_messages() -> None:
    proxied = Proxied().reach().open()
    proxied.feed(HELLO_SENT)
    assert proxied.application.messages == ["Hello"]
    proxied.application.transport.sendTextMessage("Hello")
    assert unmasked(proxied.transport.taken()) == HELLO_SENT
    proxied.lose(ConnectionLost())
    assert type(proxied.application.reasons[0]) is WebSocketDropped
    assert proxied.clock.getDelayedCalls() == []


def test_user_and_password_are_the_proxys_alone() -> None:
    proxied = Proxied(Proxy(HTTP, auth=("user", "secret"))).reach()
    assert b"\r\nProxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n" in proxied.transport.taken()
    assert b"Authorization" not in proxied.feed(OPEN)


def test_headers_are_the_servers_alone() -> None:
    proxied = Proxied(headers=[("Authorization", "Bearer secret"), ("User-Agent", "mine")]).reach()
    asked = proxied.transport.taken()
    assert b"Bearer" not in asked
    assert b"mine" not in asked
    assert b"\r\nAuthorization: Bearer secret\r\n" in proxied.feed(OPEN)


def test_a_user_of_socks() -> None:
    proxied = Proxied("socks5://user:secret@proxy.example").reach()
    assert proxied.transport.taken() == b"\x05\x02\x00\x02"
    assert proxied.feed(b"\x05\x02") == b"\x01\x04user\x06secret"
    assert proxied.feed(b"\x01\x00") == SOCKS_REQUEST


@pytest.mark.parametrize("chunk", [1, 2, 1000])
@pytest.mark.parametrize("proxy", [HTTP, SOCKS])
def test_bytes_behind_the_last_answer_are_the_servers(proxy: str, chunk: int) -> None:
    """A server may not speak first; here one does."""
    answers = OPEN if proxy == HTTP else b"\x05\x00" + SOCKS_OPEN
    stream = answers + b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"
    proxied = Proxied(proxy).reach()
    proxied.feed(*(stream[place : place + chunk] for place in range(0, len(stream), chunk)))
    (failure,) = proxied.results
    assert failure.value.response.status == 503


def test_the_host_and_port_of_the_proxy() -> None:
    reactor = Connector()
    connect(reactor, "ws://server.example.com:81/", proxy="http://192.0.2.1:3128")
    connect(reactor, "ws://server.example.com:81/", proxy="http://proxy.example")
    assert [client[:2] for client in reactor.tcpClients] == [("192.0.2.1", 3128), ("proxy.example", 80)]


def test_the_factory_gets_the_proxys_address() -> None:
    addresses: list[Any] = []

    class Factory:
        def buildProtocol(self, address: Any) -> Above:
            addresses.append(address)
            return Above()

    endpoint = Endpoint()
    tunnel = tunnelFor(Clock(), parse("ws://server.example.com/"), Proxy(HTTP), endpoint, Settings())
    assert tunnel is not None
    connected: list[Any] = []
    tunnel.connect(Factory()).addCallback(connected.append)
    lower, transport = endpoint.handed.buildProtocol(ADDRESS), Transport()
    lower.makeConnection(transport)
    assert lower.logPrefix() == "wsock"
    lower.connectionMade()
    lower.dataReceived(OPEN[:-1])
    assert connected == addresses == []
    lower.dataReceived(OPEN[-1:] + b"ab")
    (above,) = connected
    assert above.transport is transport
    assert above.pieces == [b"ab"]
    assert addresses == [ADDRESS]
    lower.dataReceived(b"c")
    assert above.received == b"abc"
    lower.connectionLost(Failure(ConnectionLost()))
    assert [type(reason) for reason in above.reasons] == [ConnectionLost]
    # Some transports tell twice.
    lower.connectionLost(Failure(ConnectionLost()))
    assert len(above.reasons) == 1


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_nothing_stays_between_a_socket_and_its_connection(kind: str, tmp_path: Path) -> None:
    reactor = Reactor()
    transport, peer = makeClient(kind, reactor, tmp_path)
    endpoint, above = Endpoint(), Above()
    tunnel = tunnelFor(reactor, parse("ws://server.example.com/"), Proxy(HTTP), endpoint, Settings())
    assert tunnel is not None

    class Factory:
        def buildProtocol(self, address: Any) -> Above:
            return above

    tunnel.connect(Factory())
    transport.protocol = endpoint.handed.buildProtocol(ADDRESS)
    transport.protocol.makeConnection(transport)
    reactor.write()
    assert peer.recv(1000).startswith(CONNECT)
    peer.send(OPEN + b"a")
    transport.doRead()
    assert transport.protocol is above
    peer.send(b"b")
    transport.doRead()
    assert above.received == b"ab"
    transport.connectionLost(Failure(ConnectionLost()))
    assert [type(reason) for reason in above.reasons] == [ConnectionLost]
    peer.close()


def test_the_servers_tls_goes_on_top(pair: Pair) -> None:
    proxied = Proxied(url="wss://localhost/chat", tls=clientContext(pair)).reach()
    assert proxied.transport.taken().startswith(b"CONNECT localhost:443 HTTP/1.1\r\n")
    server = Peer(serverContext(pair), isServer=True)
    data = proxied.feed(OPEN)
    assert data.startswith(b"\x16\x03")
    while data:
        data = proxied.feed(server.take(data))
    assert server.received.startswith(b"GET /chat HTTP/1.1\r\nHost: localhost\r\n")


def test_the_server_is_verified_end_to_end(pair: Pair) -> None:
    proxied = Proxied(url="wss://server.example.com/", tls=clientContext(pair)).reach()
    proxied.transport.clear()
    server = Peer(serverContext(pair), isServer=True)
    hello = proxied.feed(OPEN)
    proxied.feed(server.take(hello))
    (failure,) = proxied.results
    assert "the server's certificate is not for server.example.com, the host of the URL" in str(failure.value)


def test_an_https_proxy(pair: Pair) -> None:
    """Its certificate is verified by its own context; the tunnel's protocol is that of the TLS layer from then on."""
    proxied = Proxied(Proxy("https://user:secret@localhost:3129", tls=clientContext(pair))).reach()
    proxy = Peer(serverContext(pair), isServer=True)
    data = proxied.transport.taken()
    assert data.startswith(b"\x16\x03")
    while data:
        data = proxied.feed(proxy.take(data))
    assert proxy.taken().startswith(CONNECT)
    layer: TLSLayer = proxied.lower
    assert type(layer) is TLSLayer
    proxy.take(proxied.feed(proxy.encrypted(OPEN)))
    assert proxy.taken().startswith(b"GET /chat HTTP/1.1\r\n")
    assert layer.protocol is proxied.application.transport


def test_an_https_proxy_that_is_another(pair: Pair) -> None:
    """It sees nothing of ours but the beginning of TLS."""
    proxied = Proxied(Proxy("https://user:secret@proxy.example:3129", tls=clientContext(pair))).reach()
    proxy = Peer(serverContext(pair), isServer=True)
    hello = proxied.transport.taken()
    alert = proxied.feed(proxy.take(hello))
    proxied.lose()
    error = proxied.error(told=["lose"])
    assert str(error) == (
        "the proxy https://proxy.example:3129 could not be reached: TLS failed: the proxy's certificate is not for "
        "proxy.example, the host of its URL (certificate verify failed)"
    )
    assert isinstance(error.__cause__, ssl.SSLCertVerificationError)
    with pytest.raises(ssl.SSLError):
        proxy.take(alert)
    assert proxy.received == b""


def test_an_https_proxy_that_is_not_trusted(pair: Pair) -> None:
    proxied = Proxied("https://localhost:3129", tls=None).reach()
    proxy = Peer(serverContext(pair), isServer=True)
    proxied.feed(proxy.take(proxied.transport.taken()))
    text = str(proxied.results[0].value)
    assert "the proxy's certificate is self-signed, and not trusted: give wsock.Proxy tls=ssl.create_" in text


def test_an_https_proxy_that_speaks_no_tls() -> None:
    proxied = Proxied("https://localhost:3129").reach()
    proxied.feed(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    text = str(proxied.results[0].value)
    assert "the proxy speaks no TLS on this port: write http:// in its URL, or another port" in text


def test_an_https_proxy_that_ends_tls_after_its_handshake(pair: Pair) -> None:
    proxied = Proxied(Proxy("https://localhost:3129", tls=clientContext(pair))).reach()
    proxy = Peer(serverContext(pair), isServer=True)
    data = proxied.transport.taken()
    while data:
        data = proxied.feed(proxy.take(data))
    proxied.feed(proxy.close_notify())
    text = str(proxied.results[0].value)
    assert text == "the proxy https://localhost:3129 ended the connection before it connected us to the server"


# Refusals, and other ends


def test_a_refusal() -> None:
    proxied = Proxied().reach()
    proxied.feed(REFUSAL[:-1])
    assert proxied.results == []
    proxied.feed(REFUSAL[-1:])
    error = proxied.error()
    assert str(error) == "the proxy http://proxy.example:3128 answered 403 Forbidden"
    assert error.response.body == b"not here"


def test_a_refusal_of_socks() -> None:
    proxied = Proxied(SOCKS).reach()
    proxied.feed(b"\x05\x00", b"\x05\x05")
    error = proxied.error()
    assert str(error) == (
        "the proxy socks5://proxy.example:1080 did not connect us: the server refused the connection (reply 5)"
    )
    assert error.reply == 5


@pytest.mark.parametrize("proxy", [HTTP, SOCKS])
def test_garbage(proxy: str) -> None:
    proxied = Proxied(proxy).reach()
    proxied.feed(b"nonsense\r\n", b"more")
    assert str(proxied.error()).startswith(f"the proxy {proxy} ")
    proxied.lose()
    assert len(proxied.results) == 1


@pytest.mark.parametrize("proxy", [HTTP, SOCKS])
@pytest.mark.parametrize("reason", [ConnectionDone, ConnectionLost])
def test_an_early_close(proxy: str, reason: type[Exception]) -> None:
    proxied = Proxied(proxy).reach()
    proxied.lose(reason())
    error = proxied.error(told=[])
    assert str(error) == f"the proxy {proxy} ended the connection before it connected us to the server"
    assert type(error.__cause__) is reason


def test_a_close_in_the_body() -> None:
    proxied = Proxied().reach()
    proxied.feed(b"HTTP/1.1 502 Bad Gateway\r\n\r\nsorry")
    proxied.lose()
    error = proxied.error(told=[])
    assert error.response.body == b"sorry"


def test_a_proxy_that_can_not_be_reached() -> None:
    proxied = Proxied()
    proxied.endpoint.deferred.errback(ConnectionRefusedError(111, "no"))
    error = proxied.error(told=[])
    assert str(error) == (
        "the proxy http://proxy.example:3128 could not be reached: Connection was refused by other side: 111: no."
    )
    assert type(error.__cause__) is ConnectionRefusedError
    assert error.response is None


def test_an_endpoint_that_raises() -> None:
    class Raising:
        def connect(self, factory: Any) -> Any:
            raise ConnectionRefusedError

    clock = Clock()
    failed: list[Any] = []
    connect(clock, "ws://localhost/", endpoint=Raising(), proxy=HTTP).addErrback(failed.append)
    assert type(failed[0].value) is ProxyError
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("proxy", [HTTP, SOCKS])
@pytest.mark.parametrize("step", ["unreached", "asked", "in the answer"])
def test_too_late(proxy: str, step: str) -> None:
    proxied = Proxied(proxy)
    proxied.clock.advance(6)
    if step != "unreached":
        proxied.reach()
    if step == "in the answer":
        proxied.feed(b"HTTP/1.1 100" if proxy == HTTP else b"\x05\x00\x05\x00")
    proxied.clock.advance(3.9)
    assert proxied.results == []
    proxied.clock.advance(0.1)
    error = proxied.error(WebSocketDropped, [] if step == "unreached" else ["abort"])
    told = "could not be reached in time" if step == "unreached" else "did not answer in time"
    assert str(error) == f"the opening handshake took too long: the proxy {proxy} {told}"
    assert proxied.endpoint.cancelled == (step == "unreached")


def test_too_late_in_tls() -> None:
    proxied = Proxied("https://proxy.example").reach()
    proxied.clock.advance(10)
    assert str(proxied.results[0].value) == (
        "the opening handshake took too long: the proxy https://proxy.example:443 did not finish the TLS handshake"
    )


def test_too_late_in_the_body() -> None:
    """The refusal tells more than that it took too long."""
    proxied = Proxied().reach()
    proxied.feed(REFUSAL[:-3])
    proxied.clock.advance(10)
    assert proxied.error().response.body == b"not h"


def test_one_time_for_all_of_it() -> None:
    proxied = Proxied()
    proxied.clock.advance(6)
    proxied.reach()
    proxied.feed(OPEN)
    proxied.clock.advance(3.9)
    assert proxied.results == []
    proxied.clock.advance(0.1)
    assert str(proxied.error(WebSocketDropped)) == "the opening handshake took too long"


@pytest.mark.parametrize("proxy", [HTTP, SOCKS])
@pytest.mark.parametrize("step", ["unreached", "asked", "in the answer"])
def test_cancelled(proxy: str, step: str) -> None:
    proxied = Proxied(proxy)
    if step != "unreached":
        proxied.reach()
    if step == "in the answer":
        proxied.feed(b"HTTP/1.1 100" if proxy == HTTP else b"\x05\x00\x05\x00")
    proxied.deferred.cancel()
    proxied.error(CancelledError, [] if step == "unreached" else ["abort"])
    assert proxied.endpoint.cancelled == (step == "unreached")
    if step == "unreached":
        # An endpoint that can't be stopped connects all the same.
        proxied.reach()
        assert proxied.transport.told == ["abort"]
        assert proxied.transport.taken() == b""
    else:
        proxied.feed(OPEN)
        proxied.lose()
    assert len(proxied.results) == 1


def test_cancelled_once_it_is_open() -> None:
    proxied = Proxied().reach()
    proxied.feed(OPEN)
    proxied.deferred.cancel()
    proxied.error(CancelledError)
    proxied.lose()
    assert len(proxied.results) == 1


def test_cancelled_while_the_connection_is_made() -> None:
    """Bytes behind the proxy's answer go nowhere then."""

    class Cancelling(Above):
        def makeConnection(self, transport: Any) -> None:
            super().makeConnection(transport)
            connecting.cancel()

    class Factory:
        def buildProtocol(self, address: Any) -> Above:
            return above

    endpoint, above, transport = Endpoint(), Cancelling(), Transport()
    tunnel = tunnelFor(Clock(), parse("ws://server.example.com/"), Proxy(HTTP), endpoint, Settings())
    assert tunnel is not None
    connecting = tunnel.connect(Factory())
    failed: list[Any] = []
    connecting.addErrback(failed.append)
    lower = endpoint.handed.buildProtocol(ADDRESS)
    lower.makeConnection(transport)
    lower.dataReceived(OPEN + b"a")
    assert [type(failure.value) for failure in failed] == [CancelledError]
    assert transport.told == ["abort"]
    assert above.pieces == []


def test_an_application_that_aborts_at_once() -> None:
    """Bytes of the server that came already do no harm."""
    application = Application(started=lambda it: it.transport.abortConnection())
    proxied = Proxied(application=application).reach()
    proxied.feed(OPEN + b"HTTP/1.1 101 x\r\n\r\n")
    proxied.lose()
    proxied.error(WebSocketDropped)
    assert application.told == ["started", "lost"]


@pytest.mark.parametrize("built", [None, KeyError("a")])
def test_a_factory_that_builds_nothing(built: Any) -> None:
    class Factory:
        def buildProtocol(self, address: Any) -> Any:
            if built is not None:
                raise built

    endpoint, transport = Endpoint(), Transport()
    tunnel = tunnelFor(Clock(), parse("ws://server.example.com/"), Proxy(HTTP), endpoint, Settings())
    assert tunnel is not None
    failed: list[Any] = []
    tunnel.connect(Factory()).addErrback(failed.append)
    lower = endpoint.handed.buildProtocol(ADDRESS)
    lower.makeConnection(transport)
    lower.dataReceived(OPEN)
    assert [type(failure.value) for failure in failed] == [NoProtocol if built is None else KeyError]
    assert transport.told == ["abort"]


def test_an_endpoint_that_connects_twice() -> None:
    proxied = Proxied()
    first, second = (proxied.endpoint.handed.buildProtocol(ADDRESS) for _ in range(2))
    first.makeConnection(proxied.transport)
    other = Transport()
    second.makeConnection(other)
    assert other.told == ["abort"]
    assert proxied.transport.told == []


def test_an_endpoint_that_fails_after_it_has_connected() -> None:
    proxied = Proxied()
    proxied.endpoint.handed.buildProtocol(ADDRESS).makeConnection(proxied.transport)
    proxied.endpoint.deferred.errback(ValueError("no"))
    assert str(proxied.error()) == "the proxy http://proxy.example:3128 could not be reached: no"


# Nothing is kept


#: The ends, after the proxy was reached and has said something, or not.
ENDS: dict[str, Callable[[Proxied], object]] = {
    "opened": lambda proxied: (answer(proxied), proxied.lose()),
    "refused": lambda proxied: (proxied.reach(), refuse(proxied), proxied.lose()),
    "garbage": lambda proxied: (proxied.reach(), proxied.feed(b"no\r\n"), proxied.lose()),
    "closed": lambda proxied: (proxied.reach(), proxied.lose()),
    "too late": lambda proxied: (proxied.reach(), proxied.clock.advance(10), proxied.lose()),
    "cancelled": lambda proxied: (proxied.reach(), proxied.deferred.cancel(), proxied.lose()),
    "not reached": lambda proxied: proxied.endpoint.deferred.errback(ConnectionRefusedError()),
    "not reached in time": lambda proxied: proxied.clock.advance(10),
    "cancelled before": lambda proxied: proxied.deferred.cancel(),
}


def answer(proxied: Proxied) -> None:
    proxied.reach()
    proxied.feed(*([OPEN] if proxied.proxy == HTTP else [b"\x05\x00", SOCKS_OPEN]))


def refuse(proxied: Proxied) -> None:
    proxied.feed(*([REFUSAL] if proxied.proxy == HTTP else [b"\x05\x00", b"\x05\x02"]))


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("proxy", [HTTP, SOCKS])
def test_nothing_is_left_to_the_garbage_collector(proxy: str, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """But the factory that the endpoint was handed, which holds nothing any more."""
    # Pytest has those of an older Twisted keep a traceback, for the tests of its trial.
    monkeypatch.setattr(Failure, "__init__", makeFailure)

    def way() -> None:
        proxied = Proxied(proxy, build=lambda request: Application())
        ENDS[end](proxied)
        assert len(proxied.results) == 1

    def isOurs(name: str) -> bool:
        return name.startswith(("wsock.", "wire.")) and name != "wsock.client.attempt.Handed"

    assert leftovers(way, 20, isOurs)[1] == ""


# Arguments


def test_an_agent_has_its_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://other.example:1")
    agent = Agent(Clock(), proxy=HTTP)
    for _ in range(2):
        endpoint, transport = Endpoint(), Transport()
        agent.connect("ws://server.example.com/", endpoint=endpoint).addErrback(lambda _: None)
        endpoint.handed.buildProtocol(None).makeConnection(transport)
        assert transport.taken().startswith(CONNECT)


def test_the_environment_counts_when_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("ws_proxy", "http://192.0.2.1:1")
    reactor = Connector()
    asking = Agent(reactor, proxy="environment")
    connect(reactor, "ws://192.0.2.9:9/")
    asking.connect("ws://192.0.2.9:9/")
    # It is read for each connection.
    monkeypatch.setenv("ws_proxy", "192.0.2.2:2")
    asking.connect("ws://192.0.2.9:9/")
    monkeypatch.setenv("NO_PROXY", "192.0.2.8/31")
    asking.connect("ws://192.0.2.9:9/")
    hosts = [("192.0.2.9", 9), ("192.0.2.1", 1), ("192.0.2.2", 2), ("192.0.2.9", 9)]
    assert [client[:2] for client in reactor.tcpClients] == hosts


def test_the_environment_beside_an_endpoint() -> None:
    with pytest.raises(LocalProtocolError, match="give the proxy itself, or no endpoint"):
        connect(Clock(), "ws://localhost/", endpoint=Endpoint(), proxy="environment")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"proxy": "proxy.example:3128"}, "proxy: not the URL of a proxy"),
        ({"proxy": 3128}, "proxy is a URL, a Proxy, or None, not int"),
        ({"proxy": HTTP, "endpoint": "tcp:a:80"}, "clientFromString"),
        ({"proxy": Proxy("https://localhost", tls=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))}, "for servers"),
    ],
)
def test_arguments_that_are_refused(arguments: dict[str, Any], told: str) -> None:
    clock = Clock()
    with pytest.raises(LocalProtocolError, match=told):
        connect(clock, "ws://localhost/", **{"endpoint": Endpoint(), **arguments})
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("host", ["b\u00fccher.example", "fe80::1%eth0"])
@pytest.mark.parametrize("proxy", [HTTP, SOCKS])
def test_hosts_that_a_proxy_can_not_be_told(host: str, proxy: str) -> None:
    with pytest.raises(InvalidURL):
        connect(Clock(), URL(False, host, 80, "/"), proxy=proxy)


def test_in_memory() -> None:
    """A proxy that a test plays, by the public helpers."""

    async def echo(stream: WebSocketStream) -> None:
        async for message in stream:
            await stream.send(message)

    async def exchange(connecting: Any) -> list[Any]:
        async with await connecting as stream:
            await stream.send("Hello")
            return [await stream.receive()]

    clock = Clock()
    server = WebSocketServerFactory(streamApplication(echo), reactor=clock)
    front = MemoryAgent(Front(server), clock)  # type: ignore[arg-type]
    done: list[Any] = []
    Deferred.fromCoroutine(exchange(front.connect(proxy=HTTP))).addBoth(done.append)
    front.flush()
    assert done == [["Hello"]]


class Front(Above):
    """A proxy in one process with its only server."""

    def __init__(self, server: WebSocketServerFactory) -> None:
        super().__init__()
        self._server = server
        self._inner: Any = None

    def dataReceived(self, data: bytes) -> None:
        if self._inner is None:
            assert data.startswith(b"CONNECT localhost:80 HTTP/1.1\r\n")
            self._inner = self._server.buildProtocol(None)
            self.transport.write(OPEN)
            self._inner.makeConnection(self.transport)
        else:
            self._inner.dataReceived(data)

    def connectionLost(self, reason: Failure) -> None:
        self._inner.connectionLost(reason)
