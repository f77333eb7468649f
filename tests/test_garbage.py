"""A connection that is lost leaves nothing to the garbage collector, in whatever way it ended.

Each row is a way to end. It is gone many times with the collector off, and then nothing may be there that was not
there before. Where it writes to the log, what was logged is kept, as Twisted does for a program that has not begun to
log: that may be there, but no connection, and no application.
"""

import gc
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any
from weakref import ref

import pytest
from leftovers import leftovers, nameOf
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from wire import CLOSE, FAULT, HELLO, PING, PONG, REQUEST, SERVER_CLOSE, SERVER_HELLO, Asked, Producer, Slow, Transport

from wsock import (
    Accept,
    Close,
    Group,
    Refuse,
    Settings,
    WebSocketClientFactory,
    WebSocketEnded,
    WebSocketError,
    WebSocketProtocol,
    WebSocketServerFactory,
    WebSocketStream,
    connect,
    connectProtocol,
    streamApplication,
)
from wsock.log import ClassLogger
from wsock.testing import MemoryAgent, Pair, ScriptedPeer

#: The value outside of a test.
makeFailure = Failure.__init__
#: How often a way is gone.
TIMES = 100
REFUSAL = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno"
SERVER_PONG = bytes.fromhex("8a00")
SERVER_FAULT = bytes.fromhex("c100")
#: A message of 100 bytes, of a client and of a server.
LONG = b"\x82\xe4" + bytes(104)
SERVER_LONG = b"\x82\x64" + bytes(100)
REUSED = Refuse(403)


class Expected(Exception):
    """The exception that the application fails with."""


def failing() -> None:
    """Fails as programs do: while they handle something else."""
    try:
        raise KeyError("first")
    except KeyError as error:
        raise Expected("then") from error


class App(WebSocketProtocol):
    """Does in its callbacks what it is to do, and keeps what it is given."""

    __slots__ = ("does", "kept", "message", "reason")

    def __init__(self, **does: Callable[["App"], Any]) -> None:
        self.does = does
        self.kept: list[Any] = []

    def _do(self, name: str) -> Any:
        return self.does[name](self) if name in self.does else None

    def negotiationStarted(self, transport: Any) -> Any:
        self.transport = transport
        return self._do("started")

    def negotiationFinished(self) -> Any:
        return self._do("finished")

    def textMessageReceived(self, message: str) -> Any:
        self.message = message
        return self._do("message")

    def bytesMessageReceived(self, data: bytes) -> Any:
        self.message = data
        return self._do("message")

    def pongReceived(self, payload: bytes) -> Any:
        return self._do("pong")

    def connectionLost(self, reason: Failure) -> Any:
        self.reason = reason
        return self._do("lost")


def raises(app: object) -> None:
    failing()


async def raisesLater(app: object) -> None:
    failing()


def fails(app: App) -> Any:
    """Returns a Deferred that fails when it is told to."""
    deferred: Deferred[None] = Deferred()
    app.kept.append(deferred)
    return deferred.addCallback(raises)


async def sleeps(app: Any) -> None:
    await Deferred()


def waits(app: App) -> None:
    """Waits for all that can be waited for, and keeps what it waits with, and how that ended."""
    transport = app.transport
    for waiting in (transport.whenWritable(), transport.measureLatency(), transport.whenClosed()):
        app.kept.append(waiting)
        waiting.addBoth(app.kept.append)


async def waitsInCoroutine(app: App) -> None:
    try:
        await app.transport.whenWritable()
    except WebSocketEnded as ended:
        app.kept.append(str(ended))
    for wait in (app.transport.whenWritable, app.transport.measureLatency):
        try:
            await wait()
        except WebSocketEnded as ended:
            app.kept.append(str(ended))
    await app.transport.whenClosed()
    failing()


def void(*_: object) -> None:
    """Does nothing."""


# A server's connections


class Served:
    """One connection of a server that has many."""

    def __init__(self, server: "Server", transport: Transport) -> None:
        self.server = server
        self.clock = server.clock
        self.transport = transport
        self.wire: Any = server.factory.buildProtocol(None)
        self.wire.makeConnection(transport)

    def feed(self, data: bytes) -> "Served":
        self.wire.dataReceived(data)
        return self

    def lose(self, reason: type[Exception] = ConnectionDone) -> None:
        self.wire.connectionLost(Failure(reason()))


class Server:
    """The common part of the connections of one way."""

    def __init__(self, build: Callable[[Any], Any], settings: dict[str, Any], **arguments: Any) -> None:
        self.clock = Clock()
        self.settings = Settings(**{"pingInterval": None, **settings})
        self.factory = WebSocketServerFactory(build, reactor=self.clock, settings=self.settings, **arguments)


Act = Callable[[Served], None]


def peerCloses(served: Served) -> None:
    served.feed(REQUEST + HELLO + PING).feed(HELLO).feed(CLOSE).lose()


def weClose(served: Served) -> None:
    served.feed(REQUEST)
    served.wire.loseConnection()
    served.feed(CLOSE).lose()


def noAnswerToOurClose(served: Served) -> None:
    served.feed(REQUEST)
    served.wire.loseConnection()
    served.clock.advance(10)
    served.lose()


def weAbort(served: Served) -> None:
    served.feed(REQUEST + HELLO)
    served.wire.abortConnection()
    served.lose()


def reset(served: Served) -> None:
    served.feed(REQUEST + HELLO).lose(ConnectionLost)


def eof(served: Served) -> None:
    served.feed(REQUEST).lose()


def inMidMessage(served: Served) -> None:
    served.feed(REQUEST + HELLO[:5]).lose()


def received(*data: bytes) -> Act:
    """They come after the opening handshake, and the connection is lost."""

    def act(served: Served) -> None:
        served.feed(REQUEST)
        for one in data:
            served.feed(one)
        served.lose()

    return act


def first(*data: bytes, seconds: float = 0) -> Act:
    """They are all that comes; after some time the connection is lost."""

    def act(served: Served) -> None:
        for one in data:
            served.feed(one)
        served.clock.advance(seconds)
        served.lose()

    return act


def messageThenTime(served: Served) -> None:
    """The application is not done when the connection is lost, nor when its time is over."""
    served.feed(REQUEST + HELLO + HELLO).lose()
    served.clock.advance(10)


def failsLater(served: Served) -> None:
    served.feed(REQUEST + HELLO + HELLO)
    (deferred,) = served.wire._inbox.application.kept
    deferred.callback(None)
    served.lose()


def failsAfterLoss(served: Served) -> None:
    served.feed(REQUEST + HELLO + HELLO).lose()
    (deferred,) = served.wire._inbox.application.kept
    deferred.callback(None)


def paused(served: Served) -> None:
    served.feed(REQUEST)
    served.wire.pauseProducing()
    served.feed(HELLO + HELLO).lose()
    served.clock.advance(10)


def resumed(served: Served) -> None:
    served.feed(REQUEST)
    served.wire.pauseProducing()
    served.feed(HELLO)
    served.wire.resumeProducing()
    served.lose()
    served.clock.advance(0)


def produced(streaming: bool) -> Act:
    def act(served: Served) -> None:
        served.feed(REQUEST)
        served.wire.attachProducer(Producer(), streaming)
        served.wire.sendBytesMessage(bytes(200_000))
        served.lose()
        served.clock.advance(0)

    return act


def eachProduces(served: Served) -> None:
    """Two connections are each other's producers."""
    other = Served(served.server, Slow())
    served.feed(REQUEST)
    other.feed(REQUEST)
    served.wire.attachProducer(other.wire)
    other.wire.attachProducer(served.wire)
    served.lose()
    other.feed(CLOSE).lose()


def grouped(served: Served) -> None:
    group, another = Group(), Group()
    served.feed(REQUEST)
    group.add(served.wire)
    another.add(served.wire)
    group.sendTextMessage("Hello")
    served.lose()
    assert not group
    assert not another


def unsent(served: Served) -> None:
    served.feed(REQUEST)
    for _ in range(4):
        served.wire.sendBytesMessage(bytes(100_000))
    served.feed(HELLO).lose()


def overflown(served: Served) -> None:
    served.feed(REQUEST)
    for _ in range(10):
        served.wire.sendBytesMessage(bytes(1000_000))
    served.lose()


def silent(served: Served) -> None:
    served.feed(REQUEST)
    served.clock.advance(1)
    served.clock.advance(1)
    assert "abort" in served.transport.told
    served.lose()


def stopped(*data: bytes, seconds: float = 0) -> Act:
    """The factory stops, for which there is one for each."""

    def act(served: Served) -> None:
        server = Server(served.server.factory.rules.buildApplication, {})
        served.lose()
        served = Served(server, Transport())
        for one in data:
            served.feed(one)
        ended = server.factory.stop()
        server.clock.advance(seconds)
        served.lose()
        assert ended.called

    return act


def handler(function: Callable[[WebSocketStream], Any]) -> Callable[[Any], Any]:
    return streamApplication(function)


async def returns(stream: WebSocketStream) -> None:
    stream.send("Hello")


async def receivesAll(stream: WebSocketStream) -> None:
    while True:
        await stream.receive()


async def iterates(stream: WebSocketStream) -> None:
    async for _ in stream:
        pass


async def iteratesWithin(stream: WebSocketStream) -> None:
    async with stream:
        async for _ in stream:
            pass


async def catches(stream: WebSocketStream) -> None:
    kept = []
    for _ in range(3):
        try:
            while True:
                await stream.receive()
        except WebSocketEnded as ended:
            kept.append(str(ended))
    try:
        await stream.send("Hello")
    except WebSocketEnded:
        stream.close()
    assert len(kept) == 3


async def keepsTheError(stream: WebSocketStream) -> None:
    """Its frame has what holds its frame: such a cycle is the handler's own, and it ends with it."""
    error = None
    try:
        await receivesAll(stream)
    except WebSocketEnded as ended:
        error = str(ended)
    raise Expected(error)


async def catchesLate(stream: WebSocketStream) -> None:
    """Is busy when the connection is lost, and hears of that at once when it asks."""
    await stream.transport.whenClosed()
    await catches(stream)


async def failsLate(stream: WebSocketStream) -> None:
    await stream.transport.whenClosed()
    await receivesAll(stream)


async def sendsLate(stream: WebSocketStream) -> None:
    await stream.transport.whenClosed()
    await stream.send("Hello")


async def waitsForAll(stream: WebSocketStream) -> None:
    transport = stream.transport
    waiting = [transport.whenWritable(), transport.measureLatency(), stream.receive(), transport.whenClosed()]
    for one in waiting:
        try:
            await one
        except WebSocketError as error:
            assert str(error)


async def sendsMuch(stream: WebSocketStream) -> None:
    while True:
        await stream.send(bytes(200_000))


async def leavesByError(stream: WebSocketStream) -> None:
    async with stream:
        await stream.receive()
        failing()


async def failsAtOnce(stream: WebSocketStream) -> None:
    failing()


async def readsNothing(stream: WebSocketStream) -> None:
    await stream.transport.whenClosed()


@inlineCallbacks
def yields(stream: WebSocketStream) -> Any:
    while True:
        yield stream.receive()


@inlineCallbacks
def yieldsAndCatches(stream: WebSocketStream) -> Any:
    try:
        while True:
            yield stream.receive()
    except WebSocketEnded:
        pass


def asks(stream: WebSocketStream) -> Deferred[Any]:
    return stream.receive().addCallback(lambda _: stream.receive())


async def endOfAnother(stream: WebSocketStream) -> None:
    raise WebSocketEnded("another")


def refuses(request: Any) -> Any:
    raise Refuse(403, body=b"no")


def refusesAgain(request: Any) -> Any:
    raise REUSED


async def refusesLater(request: Any) -> Any:
    raise Refuse(403)


async def decides(request: Any) -> Any:
    return App()


async def decidesNever(request: Any) -> Any:
    await Deferred()


class Page(Protocol):
    """The server of a connection that wants no WebSocket."""

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")


def site() -> Factory:
    return Factory.forProtocol(Page)


def app(**does: Callable[[App], Any]) -> Callable[[Any], App]:
    return lambda request: App(**does)


PLAIN = app()
#: By name: the application, what happens, and further arguments: of `Settings`, and of the factory.
SERVER: dict[str, tuple[Callable[[Any], Any], Act, dict[str, Any]]] = {
    "the peer closes": (PLAIN, peerCloses, {}),
    "we close": (PLAIN, weClose, {}),
    "our Close is not answered": (PLAIN, noAnswerToOurClose, {}),
    "we abort": (PLAIN, weAbort, {}),
    "reset": (PLAIN, reset, {}),
    "EOF": (PLAIN, eof, {}),
    "in the middle of a message": (PLAIN, inMidMessage, {}),
    "1002": (PLAIN, received(HELLO, FAULT, HELLO), {}),
    "1007": (PLAIN, received(b"\x81\x81\0\0\0\0\xff"), {}),
    "1009": (PLAIN, received(LONG), {"maxMessageSize": 10}),
    "unsent": (PLAIN, unsent, {}),
    "1013": (PLAIN, overflown, {}),
    "dropped messages": (PLAIN, overflown, {"slowConsumer": "drop"}),
    "keepalive": (PLAIN, silent, {"pingInterval": 1, "pingTimeout": 1}),
    "closed before it is open": (app(started=lambda app: app.transport.loseConnection()), received(CLOSE), {}),
    "aborted before it is open": (app(started=lambda app: app.transport.abortConnection()), received(), {}),
    "aborted in a callback": (app(message=lambda app: app.transport.abortConnection()), received(HELLO + HELLO), {}),
    "paused": (PLAIN, paused, {}),
    "resumed": (PLAIN, resumed, {}),
    "a producer": (PLAIN, produced(True), {}),
    "a pull producer": (PLAIN, produced(False), {}),
    "producers of each other": (PLAIN, eachProduces, {}),
    "groups": (PLAIN, grouped, {}),
    "stop": (PLAIN, stopped(REQUEST, seconds=4), {}),
    "stop in the opening handshake": (PLAIN, stopped(REQUEST[:50], seconds=4), {}),
    "stop while nobody decides": (decidesNever, stopped(REQUEST, seconds=4), {}),
    # Failures of an application
    **{
        f"{name} {how.__name__}": (app(**{name: how}), received(HELLO, PONG, CLOSE), {})
        for name in ("started", "finished", "message", "pong", "lost")
        for how in (raises, raisesLater)
    },
    "message fails": (app(message=fails), failsLater, {}),
    "message fails after the loss": (app(message=fails), failsAfterLoss, {}),
    "message fails never": (app(message=fails), messageThenTime, {}),
    "message sleeps": (app(message=sleeps), messageThenTime, {}),
    "waits": (app(finished=waits), unsent, {}),
    "waits in a coroutine": (app(finished=waitsInCoroutine), unsent, {}),
    # Streams
    **{
        f"{how.__name__}, {ending}": (handler(how), act, {})
        for how in (
            returns,
            receivesAll,
            iterates,
            iteratesWithin,
            catches,
            keepsTheError,
            catchesLate,
            failsLate,
            sendsLate,
            waitsForAll,
            sendsMuch,
            leavesByError,
            failsAtOnce,
            readsNothing,
            yields,
            yieldsAndCatches,
            asks,
            endOfAnother,
        )
        for ending, act in {
            "lost": received(HELLO, HELLO, HELLO),
            "closed": peerCloses,
            "1002": received(HELLO, FAULT),
        }.items()
    },
    "a stream is stopped": (handler(sleeps), stopped(REQUEST, seconds=4), {}),
    "a stream that waits is stopped": (handler(receivesAll), stopped(REQUEST, seconds=4), {}),
    # No WebSocket
    "no request": (PLAIN, first(), {}),
    "silence": (PLAIN, first(seconds=10), {}),
    "half a request": (PLAIN, first(REQUEST[:50], seconds=10), {}),
    "lost in the request": (PLAIN, first(REQUEST[:50]), {}),
    "a bad request": (PLAIN, first(b"nonsense\r\n\r\n"), {}),
    "a bad Origin": (PLAIN, first(REQUEST[:-2] + b"Origin: http://other.example\r\n\r\n"), {}),
    "not for a WebSocket": (PLAIN, first(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), {}),
    "fallback": (PLAIN, first(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"more"), {"fallback": site}),
    "refused": (refuses, first(REQUEST, HELLO), {}),
    "refused again and again": (refusesAgain, first(REQUEST), {}),
    "refused later": (refusesLater, first(REQUEST), {}),
    "decided later": (decides, first(REQUEST, CLOSE), {}),
    "never decided": (decidesNever, first(REQUEST, HELLO), {}),
    "not decided in time": (decidesNever, first(REQUEST, seconds=10), {}),
    "the decision raises": (raises, first(REQUEST), {}),
    "the decision raises later": (raisesLater, first(REQUEST), {}),
    "no application": (lambda request: None, first(REQUEST), {}),
    "a bad subprotocol": (lambda request: Accept(App(), "not offered"), first(REQUEST), {}),
}


def check(way: Callable[[], None], times: int = TIMES, ours: Callable[[str], bool] | None = None) -> None:
    """Goes a way many times, and looks for what is left.

    Args:
        way: how one connection ends.
        times: how often.
        ours: what may not be left; by default nothing at all, where nothing is logged.
    """
    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)
    try:
        way()
        failures = [event["log_failure"] for event in events if "log_failure" in event]
        # The log keeps a logger and an exception, and what the exception holds.
        logged = {nameOf(ClassLogger), *(nameOf(type(failure.value)) for failure in failures)}
        logged |= {nameOf(Close)} if failures else set()
        if ours is None:
            ours = isOurs if events else lambda name: True
        _, found = leftovers(way, times, lambda name: ours(name) and name not in logged)
        assert not found, found
        for failure in failures:
            # The log is as useful as it was.
            assert "raise Expected" in failure.getTraceback() or not failure.check(Expected)
    finally:
        globalLogPublisher.removeObserver(events.append)


def isOurs(name: str) -> bool:
    """Whether a type is wsock's or the application's."""
    return name.removeprefix("tests.").startswith(("wsock.", "test_garbage.", "wire."))


class _Plain(Exception):
    """The failure of a program that has nothing of wsock."""


@cache
def coroutinesLeak() -> bool:
    """Whether a coroutine of a Twisted program without wsock is left, when a Deferred that it awaits has failed.

    It is with Twisted 26.10 on Python 3.13, and not on 3.10 to 3.12.
    """
    deferred: Deferred[None] = Deferred()

    class Held:
        pass

    async def wait(held: Held) -> None:
        with suppress(_Plain):
            await deferred

    held = Held()
    seen = ref(held)
    gc.collect()
    gc.disable()
    try:
        Deferred.fromCoroutine(wait(held))
        del held
        deferred.errback(_Plain())
        return seen() is not None
    finally:
        gc.enable()


#: A part of the names of tests in which a coroutine of the application awaits a Deferred that fails.
_AWAITING = (
    "[waits in a coroutine",
    "[iterates, closed",
    "[iteratesWithin, closed",
    "[catches, ",
    "[keepsTheError, ",
    "[yieldsAndCatches, ",
    "test_user_of_a_stream[receives-",
    "test_user_of_a_stream[iteratesLate-",
    "test_user_of_a_stream_that_is_not_open[",
    "test_user_of_an_endpoint_that_fails[False",
    "test_in_memory[orderly",
)


@pytest.fixture(autouse=True)
def coroutinesOfTwisted(request: pytest.FixtureRequest, failuresAsTheyAre: None) -> None:
    if coroutinesLeak() and any(name in request.node.name for name in _AWAITING):
        pytest.skip("Twisted itself leaves coroutines on this Python when what they await fails")


@pytest.fixture(autouse=True)
def failuresAsTheyAre(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pytest has those of an older Twisted keep a traceback, for the tests of its trial."""
    monkeypatch.setattr(Failure, "__init__", makeFailure)


@pytest.mark.parametrize("name", SERVER)
def test_server(name: str) -> None:
    build, act, arguments = SERVER[name]
    settings = {key: value for key, value in arguments.items() if key in Settings.__dataclass_fields__}
    others = {key: value() for key, value in arguments.items() if key not in settings}
    server = Server(build, settings, **others)

    def way() -> None:
        act(Served(server, Slow()))

    check(way)
    # The summary of many refusals is written by then.
    server.factory.doStop()
    assert not server.clock.getDelayedCalls()
    assert not server.factory._connections
    assert not server.factory._connections._handlers


# A client's connections


class Dialled:
    """An endpoint that connects when it is told to; as those of Twisted, it leaves a cycle with what it was handed."""

    def __init__(self) -> None:
        self.deferred: Deferred[Any] = Deferred()
        self.itself = self

    def connect(self, factory: Any) -> Deferred[Any]:
        self.factory = factory
        return self.deferred


class Client:
    """One connection of a client: by a factory, or by a call of `connectProtocol` or `connect`."""

    def __init__(self, how: str, build: Callable[[Any], Any], settings: dict[str, Any]) -> None:
        self.how = how
        self.clock = Clock()
        self.transport: Transport = Slow()
        self.kept: list[Any] = []
        url = "ws://example.com/"
        arguments: dict[str, Any] = {"settings": Settings(**{"pingInterval": None, **settings})}
        if how == "factory":
            self.factory: Any = WebSocketClientFactory(url, build, reactor=self.clock, **arguments)
            return
        self.endpoint = Dialled()
        if how == "connect":
            self.result: Deferred[Any] = connect(self.clock, url, endpoint=self.endpoint, **arguments)
        else:
            self.result = connectProtocol(self.clock, url, build, endpoint=self.endpoint, **arguments)
            self.result.addErrback(lambda failure: self.kept.append(str(failure.value)))
        self.factory = self.endpoint.factory

    def dial(self) -> "Client":
        self.wire = self.factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 80))
        self.wire.makeConnection(self.transport)
        if self.how != "factory":
            self.endpoint.deferred.callback(self.wire)
        return self

    def open(self) -> "Client":
        self.dial()
        return self.feed(Asked.answer(self))  # type: ignore[arg-type]

    def feed(self, data: bytes) -> "Client":
        self.wire.dataReceived(data)
        return self

    def lose(self, reason: BaseException | None = None) -> None:
        self.wire.connectionLost(Failure(ConnectionDone() if reason is None else reason))

    def use(self, function: Callable[[Any], Any]) -> None:
        """Runs a coroutine function, that ends without an error, with what connects."""
        Deferred.fromCoroutine(function(self.result)).addErrback(self._unexpected)

    def _unexpected(self, failure: Failure) -> None:
        raise AssertionError(failure.getTraceback())


ClientAct = Callable[[Client], None]


def opened(*data: bytes, seconds: float = 0, after: float = 0) -> ClientAct:
    """It opens, this comes, some time passes, it is lost, and some time passes."""

    def act(client: Client) -> None:
        client.open()
        for one in data:
            client.feed(one)
        client.clock.advance(seconds)
        client.lose()
        client.clock.advance(after)

    return act


def dialled(*data: bytes, seconds: float = 0, reason: BaseException | None = None) -> ClientAct:
    """This comes in place of an answer."""

    def act(client: Client) -> None:
        client.dial()
        for one in data:
            client.feed(one)
        client.clock.advance(seconds)
        client.lose(reason)

    return act


def clientCloses(client: Client) -> None:
    client.open()
    client.wire.loseConnection()
    client.feed(SERVER_CLOSE).lose()


def clientAborts(client: Client) -> None:
    client.open().feed(SERVER_HELLO)
    client.wire.abortConnection()
    client.lose()


def clientReset(client: Client) -> None:
    client.open().feed(SERVER_HELLO).lose(ConnectionLost())


def clientFailsLater(client: Client) -> None:
    client.open().feed(SERVER_HELLO + SERVER_HELLO)
    (deferred,) = client.wire._inbox.application.kept
    deferred.callback(None)
    client.lose()


def clientProduces(client: Client) -> None:
    client.open()
    client.wire.attachProducer(Producer())
    client.wire.sendBytesMessage(bytes(200_000))
    client.lose()


def stops(act: ClientAct) -> ClientAct:
    def stopping(client: Client) -> None:
        act(client)
        client.wire.factory.stop()
        client.clock.advance(4)
        client.lose()

    return stopping


def waitsUnopened(client: Client) -> None:
    client.dial()
    client.wire.sendBytesMessage(bytes(100_000))
    for waiting in (client.wire.whenWritable(), client.wire.measureLatency(), client.wire.whenClosed()):
        client.kept.append(waiting)
        waiting.addBoth(client.kept.append)
    client.wire.attachProducer(Producer())
    client.feed(REFUSAL).lose()


def asksWhenRejected(client: Client) -> None:
    client.dial().feed(REFUSAL).lose()
    client.wire.whenWritable().addErrback(client.kept.append)


def cancels(*data: bytes, dial: bool = True, opens: bool = False) -> ClientAct:
    def act(client: Client) -> None:
        if dial:
            client.dial()
        for one in data:
            client.feed(one)
        client.result.cancel()
        if dial:
            client.lose()

    return act


def late(client: Client) -> None:
    """It was cancelled, and the endpoint connects all the same."""
    client.endpoint.deferred = Deferred(lambda _: None)
    client.result.cancel()
    client.wire = client.factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 80))
    client.wire.makeConnection(client.transport)
    client.lose()


def notConnected(client: Client) -> None:
    client.endpoint.deferred.errback(ConnectionRefusedError())


def notConnectedInTime(client: Client) -> None:
    client.clock.advance(10)


EITHER = ("factory", "connectProtocol")
CALL = ("connectProtocol",)
#: By name: the application, what happens, by what it connects, and settings.
CLIENT: dict[str, tuple[Callable[[Any], Any], ClientAct, tuple[str, ...], dict[str, Any]]] = {
    "the peer closes": (PLAIN, opened(SERVER_HELLO, SERVER_CLOSE), EITHER, {}),
    "we close": (PLAIN, clientCloses, EITHER, {}),
    "we abort": (PLAIN, clientAborts, EITHER, {}),
    "reset": (PLAIN, clientReset, EITHER, {}),
    "EOF": (PLAIN, opened(), EITHER, {}),
    "the server does not drop it": (PLAIN, opened(SERVER_CLOSE, seconds=10), EITHER, {}),
    "1002": (PLAIN, opened(SERVER_HELLO, SERVER_FAULT), EITHER, {}),
    "1009": (PLAIN, opened(SERVER_LONG), EITHER, {"maxMessageSize": 10}),
    "keepalive": (PLAIN, opened(seconds=2), EITHER, {"pingInterval": 1, "pingTimeout": 1}),
    "a producer": (PLAIN, clientProduces, EITHER, {}),
    "stop": (PLAIN, stops(lambda client: void(client.open())), EITHER, {}),
    "stop before the answer": (PLAIN, stops(lambda client: void(client.dial())), EITHER, {}),
    # Failures of an application
    **{
        f"{name} {how.__name__}": (app(**{name: how}), opened(SERVER_HELLO, SERVER_PONG, SERVER_CLOSE), EITHER, {})
        for name in ("finished", "message", "pong", "lost")
        for how in (raises, raisesLater)
    },
    "started raises": (app(started=raises), dialled(), EITHER, {}),
    "started raisesLater": (app(started=raisesLater), dialled(), EITHER, {}),
    "started sleeps": (app(started=sleeps), opened(after=10), EITHER, {}),
    "message fails": (app(message=fails), clientFailsLater, EITHER, {}),
    "aborts when it starts": (app(started=lambda app: app.transport.abortConnection()), dialled(), EITHER, {}),
    "aborts when it opens": (app(finished=lambda app: app.transport.abortConnection()), opened(), EITHER, {}),
    "waits": (app(finished=waits), opened(), EITHER, {}),
    "waits in a coroutine": (app(finished=waitsInCoroutine), opened(), EITHER, {}),
    # Never open
    "the decision raises": (raises, dialled(), EITHER, {}),
    "the decision raises later": (raisesLater, dialled(), EITHER, {}),
    "decided later": (decides, opened(SERVER_CLOSE), EITHER, {}),
    "never decided": (decidesNever, dialled(), EITHER, {}),
    "not decided in time": (decidesNever, dialled(seconds=10), EITHER, {}),
    "no application": (lambda request: None, dialled(), EITHER, {}),
    "no answer": (PLAIN, dialled(), EITHER, {}),
    "no answer in time": (PLAIN, dialled(seconds=10), EITHER, {}),
    "another error than a loss": (PLAIN, dialled(reason=Expected("raise Expected")), EITHER, {}),
    "rejected": (PLAIN, dialled(REFUSAL), EITHER, {}),
    "rejected, in two": (PLAIN, dialled(REFUSAL[:-1], REFUSAL[-1:]), EITHER, {}),
    "rejected, and lost in the body": (PLAIN, dialled(REFUSAL[:-1]), EITHER, {}),
    "rejected, and no end": (PLAIN, dialled(REFUSAL[:-1], seconds=10), EITHER, {}),
    "an answer that is none": (PLAIN, dialled(b"nonsense\r\n\r\n"), EITHER, {}),
    "a wrong answer": (PLAIN, dialled(b"HTTP/1.1 101 \r\nUpgrade: websocket\r\n\r\n"), EITHER, {}),
    "waits unopened": (PLAIN, waitsUnopened, EITHER, {}),
    "asks when it was rejected": (PLAIN, asksWhenRejected, EITHER, {}),
    "cancelled before it is connected": (PLAIN, cancels(dial=False), CALL, {}),
    "cancelled while nobody decides": (decidesNever, cancels(), CALL, {}),
    "cancelled before the answer": (PLAIN, cancels(), CALL, {}),
    "cancelled in the answer": (PLAIN, cancels(b"HTTP/1.1 101"), CALL, {}),
    "cancelled in the body": (PLAIN, cancels(REFUSAL[:-1]), CALL, {}),
    "cancelled in vain": (PLAIN, late, CALL, {}),
    "not connected": (PLAIN, notConnected, CALL, {}),
    "not connected in time": (PLAIN, notConnectedInTime, CALL, {}),
}
ROWS = [(name, how) for name, row in CLIENT.items() for how in row[2]]


def isOfAClient(name: str) -> bool:
    """As `isOurs`; but for the endpoint, what it was handed, and what Twisted's would leave."""
    return isOurs(name) and name not in (nameOf(Dialled), "wsock.client.attempt.Handed")


@pytest.mark.parametrize(("name", "how"), ROWS)
def test_client(name: str, how: str) -> None:
    build, act, _, settings = CLIENT[name]

    def way() -> None:
        client = Client(how, build, settings)
        act(client)
        assert not client.clock.getDelayedCalls()

    check(way, ours=isOfAClient)


# Those who use a stream of a client's


async def receives(connecting: Any) -> None:
    stream = await connecting
    try:
        while True:
            await stream.receive()
    except WebSocketEnded as ended:
        assert ended


async def receivesLate(connecting: Any) -> None:
    """Is busy when the connection is lost: what it asks for then has failed already."""
    stream = await connecting
    await stream.transport.whenClosed()
    for _ in range(2):
        try:
            await receivesAll(stream)
        except WebSocketEnded as ended:
            assert ended
    for ask in (stream.transport.whenWritable, stream.transport.measureLatency, lambda: stream.send("Hello")):
        try:
            await ask()
        except WebSocketEnded as ended:
            assert ended


async def iteratesLate(connecting: Any) -> None:
    stream = await connecting
    try:
        async with stream:
            async for _ in stream:
                await stream.transport.whenClosed()
    except WebSocketEnded:
        pass


async def waitsAtLast(connecting: Any) -> None:
    """Begins to wait, and awaits that when it has failed."""
    stream = await connecting
    receiving = stream.receive()
    await stream.transport.whenClosed()
    for _ in range(3):
        try:
            await receiving
        except WebSocketEnded:
            receiving = stream.receive()


async def leaves(connecting: Any) -> None:
    """Receives nothing."""
    async with await connecting as stream:
        stream.send("Hello")


async def drops(connecting: Any) -> None:
    await connecting


async def fails403(connecting: Any) -> None:
    try:
        await connecting
    except WebSocketError as error:
        assert error


USERS = (receives, receivesLate, iteratesLate, waitsAtLast, leaves, drops)
#: The bytes that come when it is open.
COMING = {
    "a Close": (SERVER_CLOSE,),
    "a message and a Close": (SERVER_HELLO, SERVER_CLOSE),
    "messages": (SERVER_HELLO, SERVER_HELLO + SERVER_HELLO),
    "a fault": (SERVER_HELLO, SERVER_FAULT),
    "half a message": (SERVER_HELLO, SERVER_HELLO[:2]),
}


@pytest.mark.parametrize("coming", COMING)
@pytest.mark.parametrize("user", USERS)
def test_user_of_a_stream(user: Callable[[Any], Any], coming: str) -> None:
    def way() -> None:
        client = Client("connect", PLAIN, {})
        client.use(user)
        opened(*COMING[coming])(client)

    check(way, ours=isOfAClient)


@pytest.mark.parametrize("answer", [REFUSAL, b"nonsense\r\n\r\n", b""])
def test_user_of_a_stream_that_is_not_open(answer: bytes) -> None:
    def way() -> None:
        client = Client("connect", PLAIN, {})
        client.use(fails403)
        dialled(answer)(client)

    check(way, ours=isOfAClient)


@pytest.mark.parametrize("isAwaitedLate", [False, True])
def test_user_of_an_endpoint_that_fails(isAwaitedLate: bool) -> None:
    def way() -> None:
        client = Client("connect", PLAIN, {})
        if isAwaitedLate:
            notConnected(client)
        client.use(failsToConnect)
        if not isAwaitedLate:
            notConnected(client)

    check(way, ours=isOfAClient)


async def failsToConnect(connecting: Any) -> None:
    try:
        await connecting
    except ConnectionRefusedError as error:
        assert error


async def echoes(stream: WebSocketStream) -> None:
    async for message in stream:
        stream.send(message)


async def talks(connecting: Any) -> None:
    async with await connecting as stream:
        stream.send("Hello")
        assert await stream.receive() == "Hello"


@pytest.mark.parametrize("ends", ["orderly", "dropped"])
def test_in_memory(ends: str) -> None:
    """Of `wsock.testing`, too, nothing is left."""
    clock = Clock()
    factory = WebSocketServerFactory(streamApplication(echoes), reactor=clock)

    def way() -> None:
        if ends == "dropped":
            peer = ScriptedPeer()
            pair = Pair(factory, peer)
            peer.open()
            pair.flush()
            pair.drop()
            pair.flush()
            return
        agent = MemoryAgent(factory)
        Deferred.fromCoroutine(talks(agent.connect()))
        agent.flush()
        assert not factory.connections

    check(way, ours=lambda name: name != "wsock.testing.endpoint._Attempt" and isOurs(name))


@pytest.mark.skipif(sys.platform != "linux", reason="looks at the memory as Linux counts it")
def test_memory_does_not_grow() -> None:
    """By what the system counts, too: 5,000 connections that are lost in different ways."""
    server = Server(streamApplication(receivesAll), {})

    def way() -> None:
        peerCloses(Served(server, Slow()))
        received(HELLO, HELLO, HELLO)(Served(server, Slow()))
        received(LONG)(Served(server, Slow()))
        client = Client("connect", PLAIN, {})
        client.use(receivesLate)
        opened(SERVER_HELLO, SERVER_CLOSE)(client)
        # Not kept by a cycle of this endpoint's.
        client.endpoint.itself = None  # type: ignore[assignment]
        del client

    for _ in range(100):
        way()
    gc.collect()
    gc.disable()
    try:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(1250):
            way()
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    finally:
        gc.enable()
    assert grown < 1024, f"{grown} KiB more for 5,000 connections"
