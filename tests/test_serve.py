"""`serve` and the service of a server, in memory."""

import signal
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest
import twisted.internet
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.endpoints import SSL4ServerEndpoint, TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from wire import CLOSE, GOING_AWAY_SENT, HELLO, REQUEST, Application, Served, failures, logged

from wsock import (
    Compression,
    LocalProtocolError,
    Server,
    Settings,
    WebSocketServerFactory,
    WebSocketServerService,
    serve,
)


class Reactor(MemoryReactorClock):
    """A reactor in memory that ends, and takes back what it was to call then."""

    def __init__(self) -> None:
        super().__init__()
        self.atEnd: list[tuple[Any, ...]] = []
        #: How many signals came.
        self.signals = 0

    def sigInt(self, number: int, frame: object) -> None:
        self.signals += 1

    def callFromThread(self, function: Any) -> None:
        self.callLater(0, function)

    def addSystemEventTrigger(self, *trigger: Any) -> Any:
        self.atEnd.append(trigger)
        return trigger

    def removeSystemEventTrigger(self, trigger: Any) -> None:
        self.atEnd.remove(trigger)

    def end(self) -> list[Any]:
        """Begins to end; returns what it waits for."""
        triggers, self.atEnd = self.atEnd, []
        assert all(trigger[:2] == ("before", "shutdown") for trigger in triggers)
        return [call(*arguments) for _, _, call, *arguments in triggers]


class Port:
    """A port that is closed when it is told so."""

    def __init__(self, told: list[str]) -> None:
        self.told = told
        self.closed: Deferred[None] = Deferred()

    def getHost(self) -> None:
        return None

    def stopListening(self) -> Deferred[None]:
        self.told.append("close the port")
        return self.closed


class Endpoint:
    """Listens with what it was given, a Deferred or a port."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.factories: list[Any] = []

    def listen(self, factory: Any) -> Any:
        self.factories.append(factory)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def build(request: Any) -> Application:
    return Application()


def results(deferred: Deferred[Any]) -> list[Any]:
    seen: list[Any] = []
    deferred.addBoth(seen.append)
    return seen


def started(reactor: Reactor, endpoint: Any = 8080, **arguments: Any) -> Server:
    (server,) = results(serve(reactor, endpoint, build, **arguments))
    assert isinstance(server, Server)
    return server


def client(server: Server) -> Served:
    return Served(factory=server.factory).open()


# Where


@pytest.mark.parametrize(
    ("endpoint", "port", "backlog", "interface"),
    [
        (8080, 8080, 4096, ""),
        ("8080", 8080, 4096, ""),
        ("tcp:8081:interface=127.0.0.1", 8081, 4096, "127.0.0.1"),
        ("tcp:8081:backlog=5", 8081, 5, ""),
    ],
)
def test_where_it_listens(endpoint: Any, port: int, backlog: int, interface: str) -> None:
    reactor = Reactor()
    server = started(reactor, endpoint)
    assert reactor.tcpServers == [(port, server.factory, backlog, interface)]
    assert (server.port, server.url) == (port, f"ws://localhost:{port}/")


def test_an_endpoint() -> None:
    reactor = Reactor()
    server = started(reactor, TCP4ServerEndpoint(reactor, 80))
    assert (server.port, server.url) == (80, "ws://localhost/")
    assert len(reactor.tcpServers) == 1


def test_the_url_of_an_endpoint_with_tls() -> None:
    reactor = Reactor()
    server = started(reactor, SSL4ServerEndpoint(reactor, 8443, object()))
    assert (server.port, server.url) == (8443, "wss://localhost:8443/")


def test_what_has_no_url() -> None:
    reactor = Reactor()
    server = started(reactor, Endpoint(Deferred.fromCoroutine(coroutine(Port([])))))
    assert (server.port, server.url) == (None, None)
    server = started(reactor, "unix:/run/a.sock")
    assert (server.port, server.url) == (None, None)


async def coroutine(result: Any) -> Any:
    return result


@pytest.mark.parametrize(
    ("endpoint", "told"),
    [
        (None, "endpoint is a port number, a description or a server endpoint, not None: write 8080 or 'tcp:8080'"),
        (True, "not bool"),
        (8080.0, "not float"),
        (TCP4ServerEndpoint, "not type"),
        (TCP4ClientEndpoint(MemoryReactorClock(), "a", 80), "not TCP4ClientEndpoint: this one is for clients"),
        (65536, "endpoint: a TCP port is a number from 0 to 65535"),
        (-1, "endpoint: a TCP port is a number from 0 to 65535"),
        ("127.0.0.1:8080", "endpoint: write tcp:8080:interface=127.0.0.1"),
    ],
)
def test_what_is_no_endpoint(endpoint: Any, told: str) -> None:
    reactor = Reactor()
    with pytest.raises(LocalProtocolError, match=told):
        serve(reactor, endpoint, build)
    with pytest.raises(LocalProtocolError, match=told):
        WebSocketServerService(endpoint, WebSocketServerFactory(build, reactor=reactor))
    assert reactor.atEnd == []


def test_a_description_that_is_none() -> None:
    with pytest.raises(ValueError, match="Unknown endpoint type"):
        serve(Reactor(), "nonesuch:a=b", build)


@pytest.mark.parametrize("reactor", ["epoll", Reactor, Clock(), None])
def test_what_is_no_reactor(reactor: Any) -> None:
    with pytest.raises(LocalProtocolError, match="reactor is a reactor"):
        serve(reactor, 8080, build)


def test_the_arguments_are_the_factory_s() -> None:
    reactor, fallback, records = Reactor(), Factory.forProtocol(Protocol), [0]
    settings, compression = Settings(openTimeout=3), Compression(level=5)
    server = started(
        reactor,
        settings=settings,
        subprotocols=["chat"],
        allowedOrigins=["https://example.com"],
        headers=[("X", "y")],
        compression=compression,
        fallback=fallback,
        maxConnections=2,
        accessLog=records.append,
    )
    factory = server.factory
    assert (factory.settings, factory.rules.subprotocols, factory.rules.allowedOrigins) == (
        settings,
        ("chat",),
        ("https://example.com",),
    )
    assert (factory.rules.headers, factory.fallback, factory.maxConnections) == ((("X", "y"),), fallback, 2)
    assert factory.rules.compression is compression
    assert factory.accessLog == records.append
    assert factory.reactor is reactor
    with pytest.raises(LocalProtocolError, match="not an origin"):
        serve(reactor, 8080, build, allowedOrigins=["example.com"])
    with pytest.raises(TypeError, match="rateLimit"):
        serve(reactor, 8080, build, rateLimit=None)  # type: ignore[call-arg]


# How it begins


@pytest.mark.parametrize("how", ["at once", "later", "raised"])
def test_it_can_not_listen(how: str) -> None:
    reactor = Reactor()
    error = CannotListenError("", 8080, OSError())
    later: Deferred[Any] = Deferred()
    endpoint = Endpoint({"at once": lambda: fail(error), "later": lambda: later, "raised": lambda: error}[how]())
    seen = results(serve(reactor, endpoint, build))
    if how == "later":
        assert seen == []
        later.errback(error)
    assert seen[0].value is error
    assert reactor.atEnd == []
    assert reactor.getDelayedCalls() == []


def test_cancelling() -> None:
    reactor = Reactor()
    cancelled: list[Any] = []
    endpoint = Endpoint(Deferred(cancelled.append))
    serving = serve(reactor, endpoint, build)
    seen = results(serving)
    serving.cancel()
    assert cancelled == [endpoint.result]
    assert seen[0].check(CancelledError)
    assert reactor.atEnd == []
    # An endpoint that listens nevertheless has nobody served.
    assert Served(factory=endpoint.factories[0]).feed(REQUEST).startswith(b"HTTP/1.1 503 ")


# How it ends


def test_stopping_closes_the_port_first() -> None:
    reactor = Reactor()
    told: list[str] = []
    port = Port(told)
    server = started(reactor, Endpoint(Deferred.fromCoroutine(coroutine(port))))
    served = client(server)
    assert server.connections == {served.wire}
    stopped = [results(server.stop(1012, "back soon")), results(server.stop())]
    assert told == ["close the port"]
    assert served.transport.taken() == b""
    port.closed.callback(None)
    assert served.transport.taken() == b"\x88\x0b\x03\xf4back soon"
    served.feed(CLOSE)
    assert stopped == [[], []]
    served.lose(clean=False)
    assert stopped == [[None], [None]]
    assert results(server.stop()) == [None]
    assert told == ["close the port"]
    assert (reactor.atEnd, reactor.getDelayedCalls()) == ([], [])


@pytest.mark.parametrize(("seconds", "more"), [((), 4), ((0.5,), 0.5), ((60, 2), 2), ((2, 60), 2)])
def test_those_that_do_not_go(seconds: tuple[float, ...], more: float) -> None:
    reactor = Reactor()
    server = started(reactor, settings=Settings(closeTimeout=None, pingInterval=None))
    served = client(server)
    stopped = [results(server.stop(timeout=one)) for one in seconds] or [results(server.stop())]
    reactor.advance(more - 0.1)
    assert served.transport.told == []
    reactor.advance(0.1)
    assert served.transport.told == ["abort"]
    served.lose()
    assert stopped == [[None]] * len(stopped)


def test_cancelling_the_end_only_stops_the_waiting() -> None:
    server = started(Reactor())
    served = client(server)
    stopping = server.stop()
    seen, others = results(stopping), results(server.stop())
    stopping.cancel()
    assert seen[0].check(CancelledError)
    served.lose(clean=False)
    assert others == [None]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((1006,), "a close code is one of"),
        (("1001",), "a close code is an int"),
        ((1001, "x" * 124), "123 bytes"),
        ((1001, "", 0), "timeout"),
    ],
)
def test_what_can_not_be_an_end(arguments: tuple[Any, ...], told: str) -> None:
    reactor = Reactor()
    server = started(reactor)
    with pytest.raises(LocalProtocolError, match=told):
        server.stop(*arguments)
    assert len(reactor.atEnd) == 1
    assert client(server).feed(HELLO) == b""


def test_a_port_that_can_not_be_closed() -> None:
    reactor = Reactor()
    port = Port([])
    server = started(reactor, Endpoint(Deferred.fromCoroutine(coroutine(port))))
    stopped = results(server.stop())
    with logged() as events:
        port.closed.errback(OSError("a port"))
    assert failures(events) == ["a port"]
    assert stopped == [None]


def test_the_end_of_the_reactor() -> None:
    reactor = Reactor()
    server = started(reactor)
    served = client(server)
    (waits,) = reactor.end()
    ended = results(waits)
    assert served.transport.taken() == GOING_AWAY_SENT
    served.feed(CLOSE)
    assert ended == []
    served.lose(clean=False)
    assert ended == [None]
    assert results(server.stop()) == [None]


def test_the_reactor_ends_while_the_server_does() -> None:
    """It waits for the same end, and no longer than for one of its own."""
    reactor = Reactor()
    server = started(reactor, settings=Settings(closeTimeout=None, pingInterval=None))
    served = client(server)
    stopped = results(server.stop(1012, "back soon", 60))
    assert len(reactor.atEnd) == 1
    (waits,) = reactor.end()
    ended = results(waits)
    reactor.advance(4)
    assert served.transport.told == ["abort"]
    served.lose()
    assert stopped == ended == [None]
    assert reactor.atEnd == []


def test_a_reactor_that_takes_nothing_back() -> None:
    """Twisted's own for tests in memory."""
    (server,) = results(serve(MemoryReactorClock(), 8080, build))
    assert results(server.stop()) == [None]


@pytest.mark.parametrize("raises", [False, True])
def test_a_context(raises: bool) -> None:
    reactor = Reactor()
    entered: list[Server] = []

    async def use() -> None:
        async with await serve(reactor, 8080, build) as server:
            entered.append(server)
            await working
            if raises:
                raise OSError("within")

    working: Deferred[None] = Deferred()
    used = results(Deferred.fromCoroutine(use()))
    served = client(entered[0])
    working.callback(None)
    assert served.transport.taken() == GOING_AWAY_SENT
    assert used == []
    served.lose(clean=False)
    assert str(getattr(used[0], "value", None)) == ("within" if raises else "None")


# A service


def service(endpoint: Any = 8080) -> tuple[Reactor, WebSocketServerService]:
    reactor = Reactor()
    return reactor, WebSocketServerService(endpoint, WebSocketServerFactory(build, reactor=reactor))


@pytest.mark.parametrize("privileged", [False, True])
def test_a_service(privileged: bool) -> None:
    reactor, serves = service()
    assert (serves.port, serves.url) == (None, None)
    if privileged:
        serves.privilegedStartService()
        assert len(reactor.tcpServers) == 1
    serves.startService()
    assert reactor.tcpServers == [(8080, serves.factory, 4096, "")]
    assert (serves.port, serves.url) == (8080, "ws://localhost:8080/")
    served = Served(factory=serves.factory).open()
    stopped = results(serves.stopService())
    assert served.transport.taken() == GOING_AWAY_SENT
    assert stopped == []
    served.lose(clean=False)
    assert stopped == [None]
    # The owner of services ends them, so the reactor has nothing of it.
    assert reactor.atEnd == []


def test_a_service_closes_its_port_first() -> None:
    told: list[str] = []
    port = Port(told)
    _, serves = service(Endpoint(Deferred.fromCoroutine(coroutine(port))))
    serves.startService()
    served = Served(factory=serves.factory).open()
    serves.stopService()
    assert (told, served.transport.taken()) == (["close the port"], b"")
    port.closed.callback(None)
    assert served.transport.taken() == GOING_AWAY_SENT


def test_a_service_that_was_never_started() -> None:
    _, serves = service()
    assert results(serves.stopService()) == [None]


def test_a_service_that_can_not_listen() -> None:
    error = CannotListenError("", 8080, OSError())
    _, serves = service(Endpoint(error))
    with pytest.raises(CannotListenError):
        serves.privilegedStartService()


@pytest.mark.parametrize("stops", [False, True])
def test_a_service_that_can_not_listen_later(stops: bool) -> None:
    listening: Deferred[Any] = Deferred()
    _, serves = service(Endpoint(listening))
    serves.startService()
    with logged() as events:
        if stops:
            assert results(serves.stopService()) == [None]
        else:
            listening.errback(OSError("later"))
    assert failures(events) == ([] if stops else ["later"])


def test_when_a_service_listens() -> None:
    listening: Deferred[Any] = Deferred()
    _, serves = service(Endpoint(listening))
    before = results(serves.whenListening())
    serves.startService()
    meanwhile = results(serves.whenListening())
    assert before == meanwhile == []
    port = Port([])
    listening.callback(port)
    assert before == meanwhile == results(serves.whenListening()) == [port]
    stopped = results(serves.stopService())
    port.closed.callback(None)
    assert stopped == [None]
    assert results(serves.whenListening()) == []


@pytest.mark.parametrize("stops", [False, True])
def test_who_waits_for_a_service_hears_that_it_can_not_listen(stops: bool) -> None:
    listening: Deferred[Any] = Deferred()
    _, serves = service(Endpoint(listening))
    serves.startService()
    waiting = results(serves.whenListening())
    with logged() as events:
        if stops:
            serves.stopService()
        else:
            listening.errback(OSError("later"))
    assert type(waiting[0].value) is (CancelledError if stops else OSError)
    assert failures(events) == []


def test_what_is_no_factory() -> None:
    with pytest.raises(LocalProtocolError, match="factory is a WebSocketServerFactory, not function"):
        WebSocketServerService(8080, build)  # type: ignore[arg-type]


# Signals


@pytest.fixture
def signalled(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reactor]:
    """The reactor of this process, which has a handler for SIGINT."""
    reactor = Reactor()
    monkeypatch.setattr(twisted.internet, "reactor", reactor, raising=False)
    before = signal.signal(signal.SIGINT, reactor.sigInt)
    yield reactor
    assert signal.getsignal(signal.SIGINT) == reactor.sigInt
    signal.signal(signal.SIGINT, before)


def test_a_second_signal_aborts_all(signalled: Reactor) -> None:
    servers = [started(signalled) for _ in range(2)]
    peers = [client(server) for server in servers]
    assert signal.getsignal(signal.SIGINT) == signalled.sigInt
    ended = [results(waits) for waits in signalled.end()]
    signal.raise_signal(signal.SIGINT)
    assert [peer.transport.told for peer in peers] == [[], []]
    signalled.pump([0, 0.001])
    assert [peer.transport.told for peer in peers] == [["abort"], ["abort"]]
    peers[0].lose(clean=False)
    assert ended == [[None], []]
    # The other one is still there, and so is what its signal calls.
    signal.raise_signal(signal.SIGINT)
    signalled.pump([0, 0.001])
    peers[1].lose()
    assert ended == [[None], [None]]
    assert signalled.signals == 0


def test_a_server_that_is_stopped_leaves_signals_to_others(signalled: Reactor) -> None:
    server = started(signalled)
    peer = client(server)
    server.stop()
    signal.raise_signal(signal.SIGINT)
    assert signalled.signals == 1
    signalled.pump([0, 0.001])
    assert peer.transport.told == []
    peer.lose(clean=False)


def test_a_handler_of_others_stays(signalled: Reactor) -> None:
    def handler(number: int, frame: object) -> None:
        raise AssertionError

    server = started(signalled)
    peer = client(server)
    signal.signal(signal.SIGINT, handler)
    signalled.end()
    assert signal.getsignal(signal.SIGINT) is handler
    peer.lose(clean=False)
    assert signal.getsignal(signal.SIGINT) is handler
    signal.signal(signal.SIGINT, signalled.sigInt)


def test_in_another_thread_there_are_no_signals(signalled: Reactor) -> None:
    server = started(signalled)
    peer = client(server)
    thread = Thread(target=signalled.end)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) == signalled.sigInt
    peer.lose(clean=False)
