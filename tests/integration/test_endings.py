"""Both ends are ours, and one of them is in trouble: each connection ends as it should, and holds little until then."""

import socket
import struct
import time
from typing import Any

import pytest
from integration.peer import PATIENCE, request, within
from integration.servers import Echo, Serve
from integration.streams import Client, Listen, Stream, call, connecting, connectingBy
from twisted.internet.defer import CancelledError, Deferred

from wsock import WebSocketClosed, WebSocketDropped, WebSocketEnded, WebSocketStream, streamApplication

pytestmark = pytest.mark.parametrize("kind", ["tcp", "tls", "own tls"])

KIB, MIB = 2**10, 2**20
#: The bytes that two connections and the system may hold where nobody reads: far less than is sent otherwise.
HELD, TOO_MUCH = 32 * MIB, 128 * MIB


class Pouring:
    """Sends through a stream without end, and receives nothing.

    Attributes:
        sent: how many bytes were taken so far.
        ended: why it ended.
    """

    def __init__(self, stream: WebSocketStream, size: int = 60000) -> None:
        self.sent = 0
        self.ended: Any = None
        self._stream = stream
        self._message = bytes(size)
        #: The send that waits.
        self.waiting: Deferred[None] = Deferred()

    async def run(self) -> None:
        try:
            while self.sent < TOO_MUCH:
                self.waiting = self._stream.send(self._message)
                self.sent += len(self._message)
                await self.waiting
            self.ended = "all is sent"
        except (WebSocketEnded, CancelledError) as error:
            self.ended = error


def come_to_rest(*pouring: Pouring) -> None:
    """Waits until they make no progress."""
    before = -1
    end = time.monotonic() + 60
    while before != (before := sum(one.sent for one in pouring)):
        assert time.monotonic() < end
        time.sleep(0.7)
    assert all(0 < one.sent < HELD for one in pouring), [one.sent for one in pouring]


def pour_both_ways(serve: Serve, client: Client, kind: str, **settings: Any) -> tuple[Pouring, Pouring]:
    """Two streams that send to each other without receiving, when they have come to rest."""
    there: list[Pouring] = []

    async def handler(stream: WebSocketStream) -> None:
        there.append(Pouring(stream))
        await there[0].run()

    server = serve(kind, streamApplication(handler), **settings)
    stream = client.connect(server, **settings)
    here = Pouring(stream.stream)
    call(lambda: Deferred.fromCoroutine(here.run()) and None)
    within(PATIENCE, lambda: there, "the server sends")
    come_to_rest(here, there[0])
    return here, there[0]


@pytest.mark.slow
def test_two_that_only_send_are_bounded_and_end_by_an_abort(serve: Serve, client: Client, kind: str) -> None:
    here, there = pour_both_ways(serve, client, kind)
    call(here._stream.transport.abortConnection)
    within(PATIENCE, lambda: here.ended and there.ended, "both are ended")
    assert [type(one.ended) for one in (here, there)] == [WebSocketDropped] * 2


@pytest.mark.slow
def test_two_that_only_send_and_one_is_cancelled(serve: Serve, client: Client, kind: str) -> None:
    """A waiting sender is let go; the connection goes on, and can be closed."""
    here, there = pour_both_ways(serve, client, kind, pingTimeout=1, closeTimeout=1)
    call(here.waiting.cancel)
    assert isinstance(here.ended, CancelledError)
    assert not there.ended
    # Its Close waits behind what the other does not take.
    call(here._stream.close)
    within(PATIENCE, lambda: there.ended, "the other is ended, too")


@pytest.mark.slow
def test_two_that_only_send_and_one_receives_at_last(serve: Serve, client: Client, kind: str) -> None:
    here, there = pour_both_ways(serve, client, kind)
    stream = Stream(here._stream)
    before = there.sent
    received = 0
    while received <= before:
        message = stream.receive()
        assert message == bytes(60000)
        received += len(message)
    within(PATIENCE, lambda: there.sent > before, "the other goes on")
    call(here._stream.transport.abortConnection)
    within(PATIENCE, lambda: there.ended, "the other is ended")


class Slow(Echo):
    """An echo that sends the first message, too."""

    def negotiationFinished(self) -> None:
        for _ in range(3):
            self.transport.sendBytesMessage(bytes(MIB))


@pytest.mark.slow
def test_two_that_echo_without_end(serve: Serve, client: Client, kind: str) -> None:
    """Each makes the other send more than it takes; they are bounded, and a close ends them."""
    server = serve(kind, lambda request: Slow(), pingTimeout=1, closeTimeout=1)
    here = client.begin(server, connecting(Slow()), pingTimeout=1, closeTimeout=1).result()
    time.sleep(1)
    call(here.transport.loseConnection)
    call(here.transport.whenClosed)
    within(PATIENCE, lambda: here.reasons and server.applications[0].reasons, "both hear of it")


# Closing


SIZES = (100, 300000, 65536, 0, 500000, 7)


class Filler(Echo):
    """Sends messages, and closes behind them."""

    def negotiationFinished(self) -> None:
        for size in SIZES:
            self.transport.sendBytesMessage(bytes(size))
        self.transport.loseConnection(3000, "done")


def test_a_close_behind_a_full_queue_of_a_client(client: Client, listen: Listen, kind: str) -> None:
    """A server that reads slowly gets all, and then the Close; what it says meanwhile is still delivered."""
    listener = listen(kind, receive_buffer=2**15)
    attempt = client.begin(listener, connecting(Filler()))
    caller = listener.open()
    here = attempt.result()
    caller.send(b"\x81\x04late")
    time.sleep(0.3)
    for size in SIZES:
        assert caller.frame() == (0x82, bytes(size))
    caller.expect_close(3000, "done")
    caller.send(b"\x88\x02\x0b\xb8")
    # It is the server that drops the connection.
    caller.close()
    within(PATIENCE, lambda: here.reasons, "connectionLost")
    (reason,) = here.reasons
    assert isinstance(reason, WebSocketClosed)
    assert (reason.closeSent, reason.closeReceived) == ((3000, "done"), (3000, ""))


def test_a_close_behind_a_full_queue_of_a_server(serve: Serve, client: Client, kind: str) -> None:
    server = serve(kind, lambda request: Filler())
    stream = client.connect(server)
    time.sleep(0.3)
    for size in SIZES:
        assert stream.receive() == bytes(size)
        time.sleep(0.05)
    error = stream.end()
    assert isinstance(error, WebSocketClosed)
    assert error.closeReceived == (3000, "done")
    within(PATIENCE, lambda: server.applications[0].reasons, "connectionLost")
    assert isinstance(server.applications[0].reasons[0], WebSocketClosed)


class Paused(Echo):
    """Pauses when it is open, and counts what comes all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[bytes] = []

    def negotiationFinished(self) -> None:
        self.transport.pauseProducing()

    def bytesMessageReceived(self, data: bytes) -> None:
        self.received.append(data)


@pytest.mark.slow
def test_a_close_of_a_paused_client(serve: Serve, client: Client, kind: str) -> None:
    """It is read again, up to the peer's Close; what it would have to hold is let go and counted.

    What it holds is there for it until the closing timeout has passed.
    """
    sender: list[Pouring] = []

    async def handler(stream: WebSocketStream) -> None:
        sender.append(Pouring(stream))
        await sender[0].run()

    server = serve(kind, streamApplication(handler))
    here = client.begin(server, connecting(Paused()), closeTimeout=3).result()
    within(PATIENCE, lambda: sender, "the server sends")
    come_to_rest(*sender)
    assert here.received == []
    call(here.transport.loseConnection, 3000)
    call(here.transport.whenClosed)
    within(PATIENCE, lambda: here.reasons, "connectionLost")
    assert isinstance(here.reasons[0], WebSocketClosed)
    assert here.reasons[0].closeSent == (3000, "")
    assert here.transport.counters.receivedDiscarded > 0
    within(PATIENCE, lambda: sender[0].ended, "the server hears of it")


@pytest.mark.slow
def test_a_close_to_a_paused_client(serve: Serve, client: Client, kind: str) -> None:
    """The peer's patience ends it; what came before is delivered when it resumes."""
    server = serve(kind, lambda request: Filler(), pingTimeout=1, closeTimeout=1)
    here = client.begin(server, connecting(Paused()), pingTimeout=1, closeTimeout=5).result()
    within(PATIENCE, lambda: server.applications[0].reasons, "the server gives up")
    call(here.transport.resumeProducing)
    within(PATIENCE, lambda: here.reasons, "connectionLost")
    assert [len(one) for one in here.received] == list(SIZES[: len(here.received)])


# Callbacks


class Stuck(Echo):
    """Its first message is never done."""

    def __init__(self) -> None:
        super().__init__()
        self.received = 0
        self.pongs: list[bytes] = []
        self.serving: Deferred[None] = Deferred()
        self.failures: list[Any] = []
        self.serving.addErrback(self.failures.append)

    def bytesMessageReceived(self, data: bytes) -> Deferred[None]:  # type: ignore[override]
        self.received += 1
        return self.serving


@pytest.mark.slow
@pytest.mark.parametrize("how", ["abortConnection", "loseConnection"])
def test_a_callback_that_never_ends_is_bounded(serve: Serve, client: Client, kind: str, how: str) -> None:
    """Messages to it are held up; our own end of the connection cancels it."""
    sender: list[Pouring] = []

    async def handler(stream: WebSocketStream) -> None:
        sender.append(Pouring(stream))
        await sender[0].run()

    server = serve(kind, streamApplication(handler))
    here = client.begin(server, connecting(Stuck()), closeTimeout=0.5).result()
    within(PATIENCE, lambda: sender, "the server sends")
    come_to_rest(*sender)
    assert here.received == 1
    call(getattr(here.transport, how))
    call(here.transport.whenClosed)
    within(PATIENCE, lambda: here.reasons and sender[0].ended, "both hear of it")
    assert here.received == 1
    (failure,) = here.failures
    assert failure.check(CancelledError)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["abortConnection", "loseConnection"])
def test_a_callback_that_never_ends_and_the_peer_leaves(serve: Serve, client: Client, kind: str, how: str) -> None:
    """It is given the closing timeout, then it is cancelled; what waits behind it is let go."""

    class Leaving(Echo):
        def negotiationFinished(self) -> None:
            for _ in range(5):
                self.transport.sendBytesMessage(b"a")
            self.transport.sendTextMessage("the last")

        def textMessageReceived(self, message: str) -> None:
            getattr(self.transport, how)()

    server = serve(kind, lambda request: Leaving())
    here = client.begin(server, connecting(Stuck()), closeTimeout=2).result()
    within(PATIENCE, lambda: here.received, "the first message came")
    # So that all have come.
    time.sleep(0.2)
    call(here.transport.sendTextMessage, "leave")
    call(here.transport.whenClosed)
    assert not here.failures
    assert not here.reasons
    within(PATIENCE, lambda: here.reasons, "connectionLost")
    assert here.received == 1
    (failure,) = here.failures
    assert failure.check(CancelledError)
    assert here.transport.counters.receivedDiscarded == 5


class Failing(Echo):
    """Raises in the callback of that name; or its Deferred or coroutine fails."""

    def __init__(self, name: str, how: str) -> None:
        super().__init__()
        setattr(self, name, self.fail)
        self.name = name
        self.how = how
        self.failed = 0

    def fail(self, argument: Any = None) -> Any:
        self.failed += 1
        if self.name == "negotiationStarted":
            self.transport = argument
        if self.name == "connectionLost":
            self.reasons.append(argument.value)
        if self.how == "raises":
            raise RuntimeError("on purpose")
        if self.how == "coroutine":
            return self.failLater()
        from twisted.internet import reactor
        from twisted.internet.task import deferLater

        return deferLater(reactor, 0.05, self.raiseIt)

    async def failLater(self) -> None:
        self.raiseIt()

    def raiseIt(self) -> None:
        raise RuntimeError("on purpose")


CALLBACKS = ["negotiationFinished", "textMessageReceived", "bytesMessageReceived", "pongReceived"]


@pytest.mark.parametrize("how", ["raises", "coroutine", "Deferred"])
@pytest.mark.parametrize("name", [*CALLBACKS, "negotiationStarted", "connectionLost"])
@pytest.mark.parametrize("whose", ["the client's", "the server's"])
def test_an_exception_in_a_callback(
    serve: Serve, client: Client, kind: str, whose: str, name: str, how: str, logged: list[Any]
) -> None:
    """It is logged once; the other side hears 1011, and nothing more is delivered."""
    failing, other = Failing(name, how), Echo()
    server = serve(kind, lambda request: failing if whose == "the server's" else other)
    attempt = client.begin(server, connecting(failing if whose == "the client's" else other))
    if name == "negotiationStarted" and whose == "the client's":
        # It is opened, or not, by what comes first.
        within(PATIENCE, lambda: failing.reasons, "the client has lost it")
    else:
        if name == "negotiationFinished" and whose == "the client's" and how != "Deferred":
            assert str(attempt.error(WebSocketDropped).__cause__) == "on purpose"
        else:
            attempt.result()
        within(
            PATIENCE, lambda: server.call(lambda: len(server.factory.connections)) or other.reasons, "the server's side"
        )
        if name not in ("negotiationFinished", "negotiationStarted"):
            call(provoke, other.transport, failing)
        within(PATIENCE, lambda: failing.reasons and other.reasons, "both have lost it")
    within(PATIENCE, lambda: logged, "it is logged")
    (event,) = logged
    assert str(event["log_failure"].value) == "on purpose"
    logged.clear()
    assert failing.failed == 1
    if name != "connectionLost" and other.reasons:
        (reason,) = other.reasons
        assert reason.closeReceived is None or reason.closeReceived[0] == 1011


def provoke(transport: Any, failing: Failing) -> None:
    """Sends what has that callback called, and more, which is not to be delivered."""
    if failing.name == "pongReceived":
        failing.transport.ping(b"?")
    elif failing.name == "connectionLost":
        transport.loseConnection()
    else:
        transport.sendTextMessage("a") if failing.name[:1] == "t" else transport.sendBytesMessage(b"a")
        transport.sendTextMessage("a") if failing.name[:1] == "t" else transport.sendBytesMessage(b"a")


# buildApplication


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_a_server_that_has_not_decided(serve: Serve, kind: str, how: str) -> None:
    """The server's Deferred is cancelled."""
    deciding: list[Deferred[Any]] = []
    cancelled: list[Any] = []

    def build(request: Any) -> Deferred[Any]:
        deciding.append(Deferred(cancelled.append))
        return deciding[0]

    server = serve(kind, build)
    peer = server.connect()
    peer.send(request())
    within(PATIENCE, lambda: deciding, "the server is asked")
    if how == "reset":
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    within(PATIENCE, lambda: cancelled, "it is cancelled")
    assert cancelled == deciding


def test_a_stream_that_leaves_a_server_that_has_not_decided(serve: Serve, client: Client, kind: str) -> None:
    deciding: list[Deferred[Any]] = []
    cancelled: list[Any] = []

    def build(request: Any) -> Deferred[Any]:
        deciding.append(Deferred(cancelled.append))
        return deciding[0]

    attempt = client.begin(serve(kind, build))
    within(PATIENCE, lambda: deciding, "the server is asked")
    call(attempt.deferred.cancel)
    within(PATIENCE, lambda: cancelled, "it is cancelled")
    attempt.error(CancelledError)


def test_a_server_that_leaves_a_client_that_has_not_decided(client: Client, listen: Listen, kind: str) -> None:
    """The client's Deferred is cancelled, and nothing was asked."""
    cancelled: list[Any] = []
    deciding: Deferred[Any] = Deferred(cancelled.append)
    listener = listen(kind)
    attempt = client.begin(listener, connectingBy(lambda request: deciding))
    caller = listener.accept()
    caller.expect_silence(0.2)
    caller.close()
    attempt.error(WebSocketDropped)
    assert cancelled == [deciding]
