"""Ways for a client and a server, both ours, to meet: Twisted's functions, endpoints, and what is made of these."""

import contextlib
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.peer import PATIENCE, within
from integration.servers import Echo, Serve, Server
from integration.streams import Client, Stream, call, trust
from twisted.application.internet import ClientService
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import (
    AdoptedStreamServerEndpoint,
    ProcessEndpoint,
    TCP4ClientEndpoint,
    UNIXClientEndpoint,
    UNIXServerEndpoint,
    clientFromString,
)
from twisted.internet.ssl import PrivateCertificate, optionsForClientTLS
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory

from wsock import (
    Refuse,
    WebSocketClientFactory,
    WebSocketClosed,
    WebSocketDropped,
    WebSocketProtocol,
    WebSocketStream,
)

MIB = 2**20


@pytest.fixture
def reactor() -> Any:
    from twisted.internet import reactor

    return reactor


def ipv6() -> bool:
    """Whether this machine speaks IPv6 with itself."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not ipv6(), reason="this machine has no IPv6")


class Opening(WebSocketStream):
    """A stream that tells when it is open."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: Deferred[WebSocketStream] = Deferred()

    def negotiationFinished(self) -> None:
        self.opened.callback(self)


def by(connect: Callable[[WebSocketClientFactory], object]) -> Callable[..., Deferred[WebSocketStream]]:
    """A function that connects a stream by way of a factory, as `wsock.connect` does without one."""

    def begin(reactor: Any, url: str, **arguments: Any) -> Deferred[WebSocketStream]:
        stream = Opening()
        connect(WebSocketClientFactory(url, lambda request: stream, reactor=reactor, **arguments))
        return stream.opened

    return begin


class Listening:
    """One of the reactor's ``listen`` functions, as an endpoint."""

    def __init__(self, listen: Callable[[Any], Any]) -> None:
        self.listen = listen


def converse(stream: Stream, server: Server) -> Any:
    """Says this and that, and closes; returns the server's side."""
    messages = ["", "Hello", "\u20ac" * 30000, b"", bytes(range(256)), os.urandom(70000), os.urandom(MIB), "the last"]
    for message in messages:
        stream.send(message)
        assert stream.receive() == message

    async def exchange() -> list[str | bytes]:
        for number in range(100):
            stream.stream.send(f"message {number}")
        return [await stream.stream.receive() for _ in range(100)]

    assert call(exchange) == [f"message {number}" for number in range(100)]
    there = server.applications[-1]
    assert server.call(lambda: list(server.factory.connections)) == [there.transport]
    stream.close(3000, "done")
    error = stream.end()
    assert isinstance(error, WebSocketClosed)
    assert (error.closeSent, error.closeReceived) == ((3000, "done"), (3000, ""))
    within(PATIENCE, lambda: there.reasons, "the server hears of it")
    assert isinstance(there.reasons[0], WebSocketClosed)
    return there


def addresses(stream: Stream, server: Server) -> tuple[Any, Any]:
    """The client's address and the server's; both sides are of one mind about them."""
    here, there = stream.stream.transport, server.applications[-1].transport

    def ask() -> list[tuple[Any, Any]]:
        return [
            (here.getHost(), here.getPeer()),
            (here.request.getHost(), here.request.getPeer()),
            (there.getPeer(), there.getHost()),
            (there.request.getPeer(), there.request.getHost()),
        ]

    own, asked, *others = server.call(ask)
    # Of a UNIX socket the client's end has no name, and each side calls that something else.
    known = slice(1 if isinstance(own[1], UNIXAddress) else 0, 2)
    assert asked == own
    assert [pair[known] for pair in others] == [own[known]] * 2
    return own


# Twisted's functions, and descriptions of endpoints


class Network:
    """A kind of connection: how to listen and to connect.

    Attributes:
        host: where to, in a URL.
    """

    def __init__(self, name: str, reactor: Any, certificate: tuple[Path, Path], folder: Path) -> None:
        self.name = name
        self.host = {"IPv4": "127.0.0.1", "IPv6": "[::1]"}.get(name, "localhost")
        self._reactor = reactor
        self._address = "::1" if name == "IPv6" else "127.0.0.1"
        self._key, self._certificate = certificate
        self._folder = folder

    def listen(self, how: str) -> Any:
        """The arguments of the fixture `serve`."""
        if how == "string":
            if self.name == "IPv6":
                return r"tcp6:0:interface=\:\:1"
            return {"IPv4": "tcp", "TLS": "tls", "UNIX": "unix"}[self.name]
        reactor, address = self._reactor, self._address
        if self.name == "UNIX":
            path = os.path.relpath(self._folder / "socket")
            return Listening(lambda factory: reactor.listenUNIX(path, factory))
        if self.name == "TLS":
            pair = PrivateCertificate.loadPEM(self._certificate.read_bytes() + self._key.read_bytes())
            return Listening(lambda factory: reactor.listenSSL(0, factory, pair.options(), interface=address))
        return Listening(lambda factory: reactor.listenTCP(0, factory, interface=address))

    def connect(self, how: str, server: Server) -> Callable[[Any], object]:
        """A function that connects a factory."""
        reactor, address = self._reactor, self._address
        if how == "string":
            endpoint = clientFromString(reactor, self.describe(server))
            return endpoint.connect
        if self.name == "UNIX":
            return lambda factory: reactor.connectUNIX(server.path, factory)
        if self.name == "TLS":
            options = optionsForClientTLS("localhost", trustRoot=trust(self._certificate))
            return lambda factory: reactor.connectSSL(address, server.port, factory, options)
        return lambda factory: reactor.connectTCP(address, server.port, factory)

    def describe(self, server: Server, secure: bool = True) -> str:
        """The client's endpoint, as a string."""
        if self.name == "UNIX":
            return f"unix:{server.path}"
        if self.name == "TLS" and secure:
            # Nothing but certificates in the folder.
            shutil.copy(self._certificate, self._folder)
            return f"tls:localhost:{server.port}:trustRoots={self._folder}"
        escaped = self._address.replace(":", r"\:")
        return f"tcp:host={escaped}:port={server.port}"

    def url(self, server: Server) -> str:
        if self.name == "TLS":
            server.certificate = self._certificate
        return server.url("/there?a=b", self.host)

    def check(self, stream: Stream, server: Server) -> None:
        """The connected peer is where it should be."""
        here, there = addresses(stream, server)
        if self.name == "UNIX":
            assert there == UNIXAddress(os.fsencode(server.path))
            assert isinstance(here, UNIXAddress)
        else:
            kind = IPv6Address if self.name == "IPv6" else IPv4Address
            assert isinstance(here, kind)
            assert there == kind("TCP", self._address, server.port)
            assert (here.host, here.port > 0) == (self._address, here.port != server.port)
        request = server.applications[-1].transport.request
        assert request.host == self.host + (f":{server.port}" if server.port else "")
        assert (request.path, request.query) == ("/there", "a=b")


@pytest.fixture(params=["IPv4", pytest.param("IPv6", marks=needs_ipv6), "TLS", "UNIX"])
def network(
    request: pytest.FixtureRequest, reactor: Any, certificate: tuple[Path, Path], tmp_path_factory: Any
) -> Network:
    return Network(request.param, reactor, certificate, tmp_path_factory.mktemp("network"))


@pytest.mark.parametrize("connecting", ["function", "string"])
@pytest.mark.parametrize("listening", ["function", "string"])
def test_two_factories(serve: Serve, client: Client, network: Network, listening: str, connecting: str) -> None:
    """Of listenTCP and serverFromString, connectTCP and clientFromString, and their likes."""
    server = serve(network.listen(listening))
    function = by(network.connect(connecting, server))
    stream = Stream(client.begin(network.url(server), function).result())
    network.check(stream, server)
    converse(stream, server)


@pytest.mark.parametrize("listening", ["function", "string"])
@pytest.mark.parametrize("how", ["by URL", "by endpoint"])
def test_connect(serve: Serve, client: Client, reactor: Any, network: Network, listening: str, how: str) -> None:
    server = serve(network.listen(listening))
    url, arguments = network.url(server), {}
    if network.name == "TLS":
        arguments["trustRoot"] = trust(server.certificate)
    if network.name == "UNIX":
        arguments["endpoint"] = UNIXClientEndpoint(reactor, server.path)
    if how == "by endpoint":
        # To which TLS is added where the URL says so.
        arguments["endpoint"] = clientFromString(reactor, network.describe(server, secure=False))
    stream = client.connect(url, **arguments)
    network.check(stream, server)
    converse(stream, server)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3"])
def test_IPv4_and_names(serve: Serve, client: Client, host: str) -> None:
    server = serve("tcp:0")
    stream = client.connect(server.url(host=host))
    assert server.applications[-1].transport.request.host == f"{host.lower()}:{server.port}"
    assert addresses(stream, server)[1] == IPv4Address("TCP", "127.0.0.1" if host.isalpha() else host, server.port)
    converse(stream, server)


@needs_ipv6
def test_an_IPv6_server_with_an_IPv4_client(serve: Serve, client: Client) -> None:
    server = serve(r"tcp6:0:interface=\:\:")
    stream = client.connect(server.url(host="127.0.0.1"))
    assert server.applications[-1].transport.request.getPeer().host == "::ffff:127.0.0.1"
    converse(stream, server)


@pytest.mark.parametrize("host", ["[::1]", "[0:0::0:1]"])
@needs_ipv6
def test_IPv6(serve: Serve, client: Client, host: str) -> None:
    server = serve(r"tcp6:0:interface=\:\:1")
    stream = client.connect(server.url(host=host))
    assert server.applications[-1].transport.request.host == f"[::1]:{server.port}"
    converse(stream, server)


def test_two_servers_of_port_0(serve: Serve, client: Client) -> None:
    """Each has a port of its own."""
    servers = [serve(), serve()]
    assert 0 < servers[0].port != servers[1].port > 0
    for server in servers:
        converse(client.connect(server.url()), server)


def test_a_socket_that_somebody_else_has_opened(serve: Serve, client: Client, reactor: Any) -> None:
    """As systemd does."""
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    server = serve(AdoptedStreamServerEndpoint(reactor, sock.detach(), socket.AF_INET))
    converse(client.connect(server.url()), server)


# Behind a proxy


SOURCE, TARGET = IPv4Address("TCP", "192.0.2.1", 56324), IPv4Address("TCP", "192.0.2.2", 443)
SOURCE6, TARGET6 = IPv6Address("TCP", "2001:db8::1", 56324), IPv6Address("TCP", "2001:db8::2", 443)
HEADERS = {
    "v1": (b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", SOURCE, TARGET),
    "v1 of IPv6": (b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n", SOURCE6, TARGET6),
    "v2": (
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\xdc\x04\x01\xbb",
        SOURCE,
        TARGET,
    ),
}


class Through:
    """An endpoint of clients that say this first."""

    def __init__(self, endpoint: Any, header: bytes) -> None:
        self._endpoint = endpoint
        self._header = header

    def connect(self, factory: Any) -> Any:
        header = self._header

        class Saying(ProtocolWrapper):
            def makeConnection(self, transport: Any) -> None:
                transport.write(header)
                super().makeConnection(transport)

        wrapping = WrappingFactory(factory)
        wrapping.protocol = Saying
        wrapping.noisy = False
        return self._endpoint.connect(wrapping).addCallback(lambda saying: saying.wrappedProtocol)


@pytest.mark.parametrize("version", HEADERS)
def test_behind_a_proxy(serve: Serve, client: Client, reactor: Any, version: str) -> None:
    """The server's side has the addresses of the client and of what that connected to."""
    header, source, target = HEADERS[version]
    server = serve("haproxy:tcp:0:interface=127.0.0.1")
    endpoint = Through(TCP4ClientEndpoint(reactor, "127.0.0.1", server.port), header)
    stream = client.connect("ws://example.org/", endpoint=endpoint)
    transport = server.applications[-1].transport
    for one in (transport.request, transport):
        assert server.call(lambda one=one: (one.getPeer(), one.getHost())) == (source, target)
    converse(stream, server)


def test_a_client_that_passes_the_proxy_by(serve: Serve, client: Client) -> None:
    server = serve("haproxy:tcp:0:interface=127.0.0.1")
    client.begin(server.url()).error(WebSocketDropped)
    assert server.applications == []


# ClientService


class Talk(WebSocketProtocol):
    """Says something when it is open, and remembers what comes, and how it ended."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self.reasons: list[BaseException] = []

    def negotiationFinished(self) -> None:
        self.transport.sendTextMessage("Hello")

    def textMessageReceived(self, message: str) -> None:
        self.received.append(message)

    def connectionLost(self, reason: Any) -> None:
        self.reasons.append(reason.value)


class Talks:
    """A `ClientService`, and the applications that it connected."""

    def __init__(self, url: str, endpoint: Any) -> None:
        self.applications: list[Talk] = []
        self.factory = WebSocketClientFactory(url, self._build)
        self.service = ClientService(endpoint, self.factory, retryPolicy=lambda failures: 0.02)

    def _build(self, request: Any) -> Talk:
        self.applications.append(Talk())
        return self.applications[-1]

    @contextlib.contextmanager
    def running(self, politely: bool = True) -> Iterator[None]:
        """Starts the service, and stops it; politely the factory, which sends a Close, is stopped before."""
        call(self.service.startService)
        try:
            yield
            if politely:
                call(self.factory.stop)
            call(self.service.stopService)
        finally:
            for application in self.applications:
                call(application.transport.abortConnection)

    def last(self, number: int) -> Talk:
        """The application of that number, counted from 1, when it talks."""
        within(
            PATIENCE,
            lambda: len(self.applications) == number and self.applications[-1].received,
            f"it is connected for the time {number}",
        )
        assert self.applications[-1].received == ["Hello"]
        return self.applications[-1]


def drop(transport: Any) -> None:
    transport.abortConnection()


def close(transport: Any) -> None:
    transport.loseConnection(1012, "once more")


@pytest.mark.parametrize("how", [drop, close])
@pytest.mark.parametrize("kind", ["tcp", "tls", "unix"])
def test_ClientService_connects_anew(
    serve: Serve, client: Client, reactor: Any, certificate: tuple[Path, Path], tmp_path: Path, kind: str, how: Any
) -> None:
    network = Network({"tcp": "IPv4", "tls": "TLS", "unix": "UNIX"}[kind], reactor, certificate, tmp_path)
    server = serve(kind)
    talks = Talks(network.url(server), clientFromString(reactor, network.describe(server)))
    with talks.running():
        for number in (1, 2, 3):
            talk = talks.last(number)
            wire = call(talks.service.whenConnected)
            assert call(lambda: list(talks.factory.connections)) == [wire] == [talk.transport]
            server.call(how, server.applications[-1].transport)
            within(PATIENCE, lambda talk=talk: talk.reasons, "the client hears of it")
            (reason,) = talk.reasons
            if how is close:
                assert isinstance(reason, WebSocketClosed)
                assert reason.closeReceived == (1012, "once more")
            else:
                assert isinstance(reason, WebSocketDropped)
        talks.last(4)
    within(PATIENCE, lambda: talks.applications[-1].reasons, "the end")


def test_ClientService_is_refused_first(serve: Serve, client: Client, reactor: Any) -> None:
    answers: list[Any] = [Refuse(503), Refuse(401)]

    def build(request: Any) -> Echo:
        if answers:
            raise answers.pop()
        return Echo()

    server = serve("tcp", build)
    talks = Talks(server.url(), TCP4ClientEndpoint(reactor, "127.0.0.1", server.port))
    with talks.running():
        talks.last(3)
        assert [len(talk.reasons) for talk in talks.applications] == [1, 1, 0]


def test_ClientService_waits_for_a_server(serve: Serve, client: Client, reactor: Any, tmp_path: Path) -> None:
    path = os.path.relpath(tmp_path / "socket")
    talks = Talks("ws://localhost/", UNIXClientEndpoint(reactor, path))
    with talks.running():
        failed = []
        call(lambda: talks.service.whenConnected(failAfterFailures=1).addErrback(failed.append) and None)
        within(PATIENCE, lambda: failed, "nobody is there")
        serve(UNIXServerEndpoint(reactor, path))
        talks.last(1)


@pytest.mark.parametrize("kind", ["tcp", "tls", "unix"])
@pytest.mark.parametrize("politely", [True, False])
def test_ClientService_stops(
    serve: Serve,
    client: Client,
    reactor: Any,
    certificate: tuple[Path, Path],
    tmp_path: Path,
    kind: str,
    politely: bool,
) -> None:
    """By itself it drops the connection without a Close; over TLS we notice it in time for one."""
    network = Network({"tcp": "IPv4", "tls": "TLS", "unix": "UNIX"}[kind], reactor, certificate, tmp_path)
    server = serve(kind)
    talks = Talks(network.url(server), clientFromString(reactor, network.describe(server)))
    with talks.running(politely):
        talk = talks.last(1)
    within(PATIENCE, lambda: talk.reasons and server.applications[0].reasons, "both hear of it")
    assert (
        type(talk.reasons[0])
        is type(server.applications[0].reasons[0])
        is (WebSocketClosed if politely or kind == "tls" else WebSocketDropped)
    )
    assert len(server.applications) == 1


#: A program between a socket and its own input and output, as ``nc`` is.
CAT = """
import os, socket, sys, threading
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as there:
    def forth():
        while data := os.read(0, 65536):
            there.sendall(data)
        there.shutdown(socket.SHUT_WR)
    threading.Thread(target=forth, daemon=True).start()
    while data := there.recv(65536):
        os.write(1, data)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_by_the_pipes_of_a_process(serve: Serve, client: Client, reactor: Any, kind: str) -> None:
    """They can't be aborted, and do not know their peer any more when the process has ended."""
    server = serve(kind, lambda request: Deferred() if request.path == "/never" else Echo())

    def through() -> ProcessEndpoint:
        return ProcessEndpoint(reactor, sys.executable, [sys.executable, "-c", CAT, str(server.port)])

    converse(client.connect(server, endpoint=through()), server)
    dropped = client.connect(server, endpoint=through())
    server.call(server.applications[-1].transport.abortConnection)
    assert isinstance(dropped.end(), WebSocketDropped)
    dropping = client.connect(server, endpoint=through())
    call(dropping.stream.transport.abortConnection)
    assert isinstance(dropping.end(), WebSocketDropped)
    within(PATIENCE, lambda: server.applications[-1].reasons, "the server hears of it")
    count = len(server.applications)
    trusted = {} if server.certificate is None else {"trustRoot": trust(server.certificate)}
    cancelled, late = (
        client.begin(server.url("/never"), endpoint=through(), openTimeout=seconds, **trusted) for seconds in (60, 3)
    )
    within(PATIENCE, lambda: len(server.applications) == count + 2, "the server has their requests")
    call(cancelled.deferred.cancel)
    cancelled.error(CancelledError)
    late.error(WebSocketDropped)
    within(PATIENCE, lambda: server.call(lambda: not server.factory._connections), "the server has lost all")
