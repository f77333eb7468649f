"""The leftovers of connections over real sockets for the garbage collector, on both sides: nothing of ours.

Twisted itself leaves cycles for each client: of a Client, its Connector and what that was handed, and with TLS more.
They may be left; but nothing of wsock's, nor of the application's, may hang on them.
"""

from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import pytest
from integration.peer import PATIENCE, within
from integration.servers import Serve, Server
from integration.streams import call, trust, trusting
from leftovers import chains, newOnes, withoutCollector
from twisted.application.internet import ClientService
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError
from twisted.internet.ssl import optionsForClientTLS, platformTrust
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from wsock import (
    ConnectionRejected,
    Refuse,
    Settings,
    WebSocketClientFactory,
    WebSocketDropped,
    WebSocketEnded,
    WebSocketProtocol,
    WebSocketStream,
    connect,
    connectProtocol,
    streamApplication,
)

#: How often a way is gone, and how many connections of it may still be on their way out.
TIMES = 50
NO_TIME = Settings(openTimeout=0.02)
KINDS = ("tcp", "unix", "tls", "own tls")
#: Objects that may be left: those that Twisted was handed, which hold nothing by then; loggers of lines that are kept.
LEFT = (
    "wsock.client.attempt.Handed",
    "wsock.client.tls._Securing",
    "wsock.client.verification.VerifiedHost",
    "wsock.log.ClassLogger",
    # Twisted's own, by another class; it holds the failure that ended it, whose frames hold it.
    "wsock.wire.transports.BufferingTLSTransport",
)
makeFailure = Failure.__init__


class App(WebSocketProtocol):
    """Fails, and keeps what it is given."""

    def textMessageReceived(self, message: str) -> None:
        raise KeyError(message)

    def connectionLost(self, reason: Failure) -> None:
        self.reason = reason


async def receives(stream: WebSocketStream) -> None:
    while True:
        await stream.receive()


async def returns(stream: WebSocketStream) -> None:
    await stream.receive()
    stream.send("Hello")


async def aborts(stream: WebSocketStream) -> None:
    await stream.receive()
    stream.transport.abortConnection()


async def fails(stream: WebSocketStream) -> None:
    raise KeyError(await stream.receive())


async def sends(stream: WebSocketStream) -> None:
    while True:
        await stream.send(bytes(100_000))


def refuses(request: Any) -> Any:
    raise Refuse(403, body=b"no")


async def decidesNever(request: Any) -> Any:
    await Deferred()


#: The behaviour of the server, by the path.
ROUTES: dict[str, Callable[[Any], Any]] = {
    **{f"/{one.__name__}": streamApplication(one) for one in (receives, returns, aborts, fails, sends)},
    "/app": lambda request: App(),
    "/refuses": refuses,
    "/decidesNever": decidesNever,
}


class Target:
    """A server to connect to, by the endpoint that its kind needs."""

    def __init__(self, server: Server, ownTLS: bool) -> None:
        from twisted.internet import reactor

        self.server = server
        self.service: ClientService | None = None
        self.arguments: dict[str, Any] = {}
        if server.path:
            self.arguments["endpoint"] = UNIXClientEndpoint(reactor, server.path)
        if server.certificate:
            self.arguments = (
                {"tls": trusting(server.certificate)} if ownTLS else {"trustRoot": trust(server.certificate)}
            )

    def begin(self, path: str, **arguments: Any) -> Deferred[WebSocketStream]:
        from twisted.internet import reactor

        return connect(reactor, self.server.url(path), **{**self.arguments, **arguments})


Way: TypeAlias = Callable[[Target], Coroutine[Any, Any, None]]


async def ended(stream: WebSocketStream) -> None:
    """Receives what comes until the connection is lost."""
    try:
        await receives(stream)
    except WebSocketEnded as error:
        assert error


async def weClose(target: Target) -> None:
    async with await target.begin("/receives") as stream:
        stream.send("Hello")


async def theServerCloses(target: Target) -> None:
    stream = await target.begin("/returns")
    stream.send("Hello")
    await stream.transport.whenClosed()
    async for message in stream:
        assert message == "Hello"


async def weAbort(target: Target) -> None:
    stream = await target.begin("/receives")
    stream.transport.abortConnection()
    await ended(stream)


async def theServerAborts(target: Target) -> None:
    stream = await target.begin("/aborts")
    stream.send("Hello")
    await ended(stream)


async def noClose(target: Target) -> None:
    """The transport is closed past us; over TLS that takes until we leave it."""
    stream = await target.begin("/receives")
    stream.transport._outbox.unregister()
    stream.transport.transport.loseConnection()
    await ended(stream)


async def aFault(target: Target) -> None:
    stream = await target.begin("/receives")
    stream.transport.transport.write(bytes.fromhex("c18000000000"))
    await ended(stream)
    assert stream.transport.closeReceived == (1002, "reserved bits set")


async def tooMuch(target: Target) -> None:
    stream = await target.begin("/receives")
    stream.send(bytes(2000))
    await ended(stream)
    assert stream.transport.closeReceived is not None
    assert stream.transport.closeReceived[0] == 1009


async def theHandlerFails(target: Target) -> None:
    stream = await target.begin("/fails")
    stream.send("Hello")
    await ended(stream)


async def theCallbackFails(target: Target) -> None:
    from twisted.internet import reactor

    app = await connectProtocol(reactor, target.server.url("/app"), lambda request: App(), **target.arguments)
    app.transport.sendTextMessage("Hello")
    await app.transport.whenClosed()


async def droppedWhileItSends(target: Target) -> None:
    stream = await target.begin("/sends")
    await stream.receive()
    stream.transport.abortConnection()


async def leftUnread(target: Target) -> None:
    stream = await target.begin("/sends")
    await stream.receive()
    stream.close()
    await stream.transport.whenClosed()


async def rejected(target: Target) -> None:
    try:
        await target.begin("/refuses")
    except ConnectionRejected as error:
        assert error.response.body == b"no"
    else:
        raise AssertionError


async def cancelledAtOnce(target: Target) -> None:
    await cancelled(target.begin("/receives"))


async def cancelledBeforeTheAnswer(target: Target) -> None:
    from twisted.internet import reactor

    built: Deferred[None] = Deferred()

    def build(request: Any) -> App:
        reactor.callLater(0, built.callback, None)
        return App()

    connecting = connectProtocol(reactor, target.server.url("/decidesNever"), build, **target.arguments)
    await built
    await cancelled(connecting)


async def cancelled(connecting: Deferred[Any]) -> None:
    from twisted.internet import reactor

    reactor.callLater(0, connecting.cancel)
    try:
        await connecting
    except CancelledError:
        return
    except Exception as error:
        # Of the endpoint's.
        assert "cancel" in type(error).__name__.lower()


async def inNoTime(target: Target) -> None:
    try:
        await target.begin("/decidesNever", settings=NO_TIME)
    except WebSocketDropped as error:
        assert "too long" in str(error)


async def notConnected(target: Target) -> None:
    from twisted.internet import reactor

    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", 1)
    try:
        await target.begin("/receives", endpoint=endpoint)
    except ConnectError as error:
        assert error


async def notTrusted(target: Target) -> None:
    """Over TLS: its certificate is none of the system's roots."""
    if not target.server.certificate:
        return
    try:
        await target.begin(
            "/receives", trustRoot=platformTrust() if "trustRoot" in target.arguments else None, tls=None
        )
    except WebSocketDropped as error:
        assert error


async def theServerStops(target: Target) -> None:
    """The connections are closed by a factory that stops; it does so for good, but here."""
    factory = target.server.factory
    stream = await target.begin("/receives")
    await factory.stop()
    factory._connections.isStopping = False
    await ended(stream)


async def aService(target: Target) -> None:
    """A `ClientService` that is stopped when it is connected. It holds its last connection as long as it is."""
    from twisted.internet import reactor

    if target.service is None:
        endpoint = target.arguments.get("endpoint") or TCP4ClientEndpoint(reactor, "127.0.0.1", target.server.port)
        if target.server.certificate:
            endpoint = wrapClientTLS(optionsForClientTLS("localhost", trust(target.server.certificate)), endpoint)
        factory = WebSocketClientFactory(target.server.url("/app"), lambda request: App(), reactor=reactor)
        target.service = ClientService(endpoint, factory)
    service = target.service
    service.startService()
    wire: Any = await service.whenConnected()
    # It can't be stopped in what it calls.
    await deferLater(reactor, 0)
    await service.stopService()
    await wire.whenClosed()
    await deferLater(reactor, 0)


WAYS: tuple[Way, ...] = (
    weClose,
    theServerCloses,
    weAbort,
    theServerAborts,
    noClose,
    aFault,
    tooMuch,
    theHandlerFails,
    theCallbackFails,
    droppedWhileItSends,
    leftUnread,
    rejected,
    cancelledAtOnce,
    cancelledBeforeTheAnswer,
    inNoTime,
    notConnected,
    notTrusted,
    theServerStops,
    aService,
)


@pytest.fixture
def failuresAsTheyAre(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pytest has those of an older Twisted keep a traceback, for the tests of its trial."""
    monkeypatch.setattr(Failure, "__init__", makeFailure)


async def often(way: Way, target: Target, times: int) -> None:
    for _ in range(times):
        await way(target)


def isOurs(name: str) -> bool:
    return name.removeprefix("tests.").startswith(("wsock.", "integration.test_leftovers.")) and name not in LEFT


def check(run: Callable[[int], object], serving: Server | None = None, times: int = TIMES) -> None:
    """Runs something so many times, and waits until nothing of ours is left but that of a last one."""

    def left() -> dict[str, int]:
        if serving is not None:
            serving.applications.clear()
        return {name: number for name, number in newOnes().items() if isOurs(name) and number >= times / 2}

    # Objects that are made once.
    run(2)
    with withoutCollector():
        run(times)
        try:
            within(PATIENCE, lambda: not call(left), "what is ours is gone")
        except AssertionError:
            found = left()
            assert not found, "\n".join([f"{number} {name}" for name, number in found.items()] + chains(list(found)))


@pytest.fixture
def targets(serve: Serve) -> Callable[[str], Target]:
    def target(kind: str) -> Target:
        server = serve(kind, lambda request: ROUTES[request.path](request), maxMessageSize=1000)
        return Target(server, kind == "own tls")

    return target


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
def test_leftovers(
    targets: Callable[[str], Target], kind: str, way: Way, logged: list[Any], failuresAsTheyAre: None
) -> None:
    target = targets(kind)

    def run(times: int) -> None:
        call(lambda: Deferred.fromCoroutine(often(way, target, times)))
        # The provoked failures.
        logged.clear()

    check(run, target.server)
