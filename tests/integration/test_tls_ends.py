"""Every way in which TLS can end, crossed with what a connection is about.

The application is told at once, and nothing is lost silently. No timer can end these connections: each has ten minutes.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from integration.peer import PATIENCE, Address, within
from integration.servers import Echo, Serve
from integration.streams import Client, Listen, call, connecting, trust, trusting
from integration.tls import TLSPeer, answer_tls, call_tls
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import deferLater

from wsock import WebSocketDropped, WebSocketEnded, WebSocketStream

#: No timer is to help.
SETTINGS = {"pingInterval": None, "pingTimeout": 600, "closeTimeout": 600, "slowConsumer": "close", "sendLimit": None}
KIB = 2**10
#: The kinds of TLS of a server, by the name of the role.
SERVERS = {"server": "tls", "own server": "own tls"}
#: Over Twisted's TLS all is the same again: most runs can do without.
TWISTEDS = partial(pytest.param, marks=pytest.mark.slow)


def close_of(peer: TLSPeer, code: int) -> bytes:
    return peer.encrypted(peer.frame_of(0x88, code.to_bytes(2, "big")))


def notify(peer: TLSPeer) -> None:
    peer.put(peer.close_notify())


def close_and_notify(peer: TLSPeer) -> None:
    peer.put(close_of(peer, 1009), peer.close_notify())


def notify_and_finish(peer: TLSPeer) -> None:
    peer.put(peer.close_notify())
    peer.shutdown()


def half_a_message(peer: TLSPeer) -> None:
    whole = peer.frame_of(0x82, bytes(5000))
    peer.put(peer.encrypted(whole[:3000]), peer.close_notify())


def finish(peer: TLSPeer) -> None:
    peer.shutdown()


def close_and_finish(peer: TLSPeer) -> None:
    peer.put(close_of(peer, 1001))
    peer.shutdown()


def break_a_record(peer: TLSPeer) -> None:
    peer.put(b"\x17\x03\x03\x00\x20" + bytes(32))


def reset(peer: TLSPeer) -> None:
    peer.drop()


ENDS = [
    notify,
    close_and_notify,
    notify_and_finish,
    half_a_message,
    finish,
    close_and_finish,
    break_a_record,
    reset,
]
#: Those after which all that was handed to the transport still leaves, if the peer reads.
NOTIFIED = [notify, close_and_notify, notify_and_finish, half_a_message]


class Side:
    """One connection over TLS, our end of it and the peer's."""

    def __init__(self, role: str, serve: Serve, client: Client, listen: Listen, application: Any) -> None:
        self.application = application
        if role in SERVERS:
            server = serve(SERVERS[role], lambda request: application, **SETTINGS)
            self.peer = call_tls(server, receive_buffer=2**14)
            within(PATIENCE, lambda: server.call(lambda: len(server.factory.connections)), "it is open")
            server.peers.append(self.peer)
        else:
            listener = listen("tls", receive_buffer=2**14)
            own = {"tls": trusting(listener.certificate)} if role == "own client" else {}
            attempt = client.begin(listener, connecting(application), **SETTINGS, **own)
            self.peer = answer_tls(listener)
            listener.callers.append(self.peer)  # type: ignore[arg-type]
            attempt.result()

    def fill(self, size: int = 1000) -> int:
        """Sends numbered messages to a peer that does not read, until much waits; returns how many."""

        number = 0

        def send() -> int:
            nonlocal number
            transport = self.application.transport
            given = number
            while transport._outbox.size < 300 * KIB:
                transport.sendBytesMessage(number.to_bytes(4, "big") + bytes(size - 4))
                number += 1
            return number - given

        # A turn writes only so much through: until the system takes no more. The pause lets the reactor have its turns.
        while call(send):
            time.sleep(0.02)
        return number

    def read_until_all_is_below(self) -> None:
        """The peer reads as much as it takes for our queue to be empty, and what was in it is held below TLS."""
        while call(lambda: self.application.transport._outbox.size):
            self.peer.socket.recv(2**14)

    def expect_told(self) -> Any:
        """The application hears of the loss, once, and why."""
        within(PATIENCE, lambda: self.application.reasons, "it is told")
        (reason,) = self.application.reasons
        assert isinstance(reason, WebSocketEnded)
        call(self.application.transport.whenClosed)
        return reason


@pytest.fixture(params=[TWISTEDS("server"), "own server", TWISTEDS("client"), "own client"])
def side(request: pytest.FixtureRequest, serve: Serve, client: Client, listen: Listen) -> Callable[..., Side]:
    def connected(application: Any = None) -> Side:
        return Side(request.param, serve, client, listen, Echo() if application is None else application)

    return connected


@pytest.mark.parametrize("end", ENDS)
def test_an_end_of_an_idle_connection(side: Callable[..., Side], end: Callable[[TLSPeer], None]) -> None:
    it = side()
    end(it.peer)
    it.expect_told()


@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize("end", ENDS)
def test_an_end_while_much_is_unsent(side: Callable[..., Side], end: Callable[[TLSPeer], None], reads: bool) -> None:
    it = side()
    given = it.fill()
    end(it.peer)
    if reads and end not in (reset, break_a_record):
        frames = it.peer.frames()
    it.expect_told()
    counters = call(lambda: it.application.transport.counters)
    if not reads:
        assert counters.sendsDropped > 0
    elif end in NOTIFIED:
        numbers = [int.from_bytes(payload[:4], "big") for first, payload in frames if first == 0x82]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) + counters.sendsDropped == given


@pytest.mark.parametrize("size", [1000, 200 * KIB])
@pytest.mark.parametrize("end", ENDS)
def test_an_end_behind_our_own_close(side: Callable[..., Side], end: Callable[[TLSPeer], None], size: int) -> None:
    """It waits behind what the peer has not read."""
    it = side()
    it.fill(size)
    call(it.application.transport.loseConnection, 3000)
    end(it.peer)
    it.expect_told()


@pytest.mark.parametrize("end", ENDS)
def test_an_end_while_our_close_is_held_below(side: Callable[..., Side], end: Callable[[TLSPeer], None]) -> None:
    """Our queue is empty, and the peer reads no more."""
    it = side()
    it.fill()
    call(it.application.transport.loseConnection, 3000)
    it.read_until_all_is_below()
    end(it.peer)
    it.expect_told()


@pytest.mark.parametrize("end", ENDS)
def test_an_end_that_comes_for_our_close(side: Callable[..., Side], end: Callable[[TLSPeer], None]) -> None:
    it = side()
    call(it.application.transport.loseConnection, 3000)
    it.peer.expect_close(3000)
    end(it.peer)
    it.expect_told()


@pytest.mark.parametrize("end", ENDS)
def test_an_end_while_the_application_pauses(side: Callable[..., Side], end: Callable[[TLSPeer], None]) -> None:
    """It is told as soon as the connection is read again."""
    it = side()
    call(it.application.transport.pauseProducing)
    end(it.peer)
    call(it.application.transport.resumeProducing)
    it.expect_told()


class Taking(Echo):
    """Takes a turn of the reactor for each message, and gets more than are taken in ahead."""

    def bytesMessageReceived(self, data: bytes) -> Any:
        from twisted.internet import reactor

        return deferLater(reactor, 0)


@pytest.mark.parametrize("count", [15, 16, 17, 40])
@pytest.mark.parametrize("end", [notify, close_and_notify])
def test_an_end_behind_messages_that_take_their_time(
    side: Callable[..., Side], end: Callable[[TLSPeer], None], count: int
) -> None:
    """Their delivery, and the Close that is found by it, put off nothing."""
    it = side(Taking())
    it.fill()
    it.peer.put(*(it.peer.encrypted(it.peer.frame_of(0x82, b"a")) for _ in range(count)))
    end(it.peer)
    it.expect_told()


@pytest.mark.parametrize("end", NOTIFIED)
def test_sends_fail_after_the_end(side: Callable[..., Side], end: Callable[[TLSPeer], None]) -> None:
    """No send succeeds whose message is neither sent nor counted."""

    class Stream(WebSocketStream):
        reasons: list[Any]

        def connectionLost(self, reason: Any) -> None:
            self.reasons.append(reason.value)
            super().connectionLost(reason)

    stream = Stream()
    stream.reasons = []
    it = side(stream)
    outcome: list[Any] = []
    done: list[bool] = []

    async def pour() -> None:
        try:
            while True:
                await stream.send(len(outcome).to_bytes(4, "big") + bytes(996))
                outcome.append(True)
        except WebSocketEnded as error:
            outcome.append(error)
            done.append(True)

    call(lambda: Deferred.fromCoroutine(pour()) and None)
    end(it.peer)
    frames = it.peer.frames()
    it.expect_told()
    within(PATIENCE, lambda: done, "the send fails")
    counters = call(lambda: stream.transport.counters)
    got = sum(first == 0x82 for first, _ in frames)
    # Each was given once; the last send failed.
    assert got + counters.sendsDropped + counters.sendsIgnored == len(outcome)


@pytest.mark.parametrize("notified", [True, False])
def test_the_answer_to_data_with_the_end_right_behind_it(side: Callable[..., Side], notified: bool) -> None:
    """The echo of a message and of the Close reach a peer that has ended its stream already."""
    for _ in range(20):
        it = side()
        message = it.peer.encrypted(it.peer.frame_of(0x81, b"Hello"))
        it.peer.put(message, close_of(it.peer, 1000), it.peer.close_notify() if notified else b"")
        it.peer.shutdown()
        assert it.peer.frames() == [(0x81, b"Hello"), (0x88, b"\x03\xe8")]
        assert not it.peer.reset
        it.expect_told()


def test_a_refusal_to_a_peer_that_has_ended_its_stream(serve: Serve) -> None:
    server = serve("tls", lambda request: Echo())
    for _ in range(20):
        peer = call_tls(server, opened=False)
        peer.put(peer.encrypted(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
        peer.shutdown()
        assert peer.rest().startswith(b"HTTP/1.1 426 ")


def test_our_close_and_a_fault_reach_a_peer_that_has_ended_its_stream(side: Callable[..., Side]) -> None:
    for _ in range(20):
        it = side()
        # An RSV bit that nothing was agreed for.
        it.peer.put(it.peer.encrypted(it.peer.frame_of(0xC1, b"")))
        it.peer.shutdown()
        ((first, payload),) = it.peer.frames()
        assert (first, payload[:2]) == (0x88, b"\x03\xea")
        assert isinstance(it.expect_told(), WebSocketDropped)


@pytest.mark.parametrize("fills", [False, True])
@pytest.mark.parametrize("end", [notify, close_and_notify, finish])
def test_an_end_of_tls_that_was_started_on_a_transport(
    serve: Serve, certificate: tuple[Path, Path], end: Callable[[TLSPeer], None], fills: bool
) -> None:
    """The transport is TCP's, and has TLS above it; it forgets that when it is lost."""
    application = Echo()
    key, pem = certificate
    options = PrivateCertificate.loadPEM(key.read_bytes() + pem.read_bytes()).options()

    class Starting(Protocol):
        def connectionMade(self) -> None:
            self.wire = inner.buildProtocol(None)
            self.transport.startTLS(options)  # type: ignore[union-attr]
            self.wire.makeConnection(self.transport)

        def dataReceived(self, data: bytes) -> None:
            self.wire.dataReceived(data)

        def connectionLost(self, reason: Any = None) -> None:
            self.wire.connectionLost(reason)

    server = serve("tcp", lambda request: application, **SETTINGS, fallback=None)
    inner = server.factory
    from twisted.internet import reactor

    listening = call(TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen, Factory.forProtocol(Starting))
    try:
        peer = call_tls(Address(port=listening.getHost().port), receive_buffer=2**14)
        within(PATIENCE, lambda: server.call(lambda: len(inner.connections)), "it is open")
        if fills:
            call(lambda: [application.transport.sendBytesMessage(bytes(20000)) for _ in range(400)] and None)
        end(peer)
        if fills:
            peer.frames()
        within(PATIENCE, lambda: application.reasons, "it is told")
        peer.close()
    finally:
        call(listening.stopListening)


class Early:
    """An endpoint that tells of its connection before the protocol has its transport."""

    def __init__(self, port: int) -> None:
        self._port = port

    def connect(self, factory: Any) -> Deferred[Any]:
        from twisted.internet import reactor

        told: Deferred[Any] = Deferred()

        class Passing(Protocol):
            def connectionMade(self) -> None:
                self.inner = factory.buildProtocol(None)
                told.callback(self.inner)
                self.inner.makeConnection(self.transport)

            def dataReceived(self, data: bytes) -> None:
                self.inner.dataReceived(data)

            def connectionLost(self, reason: Any = None) -> None:
                self.inner.connectionLost(reason)

        TCP4ClientEndpoint(reactor, "127.0.0.1", self._port).connect(Factory.forProtocol(Passing))
        return told


@pytest.mark.parametrize("host", ["localhost", "bank.example"])
def test_an_endpoint_that_tells_early_is_verified_as_well(serve: Serve, client: Client, host: str) -> None:
    server = serve("tls")
    assert server.certificate is not None
    attempt = client.begin(
        f"wss://{host}/", endpoint=Early(server.port), trustRoot=trust(server.certificate), pingInterval=None
    )
    if host == "localhost":
        attempt.result()
    else:
        assert "TLS failed" in str(attempt.error(WebSocketDropped))
    assert len(server.applications) == (host == "localhost")
