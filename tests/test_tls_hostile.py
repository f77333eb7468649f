"""Our own TLS below a WebSocket, and a peer that means harm: records that are tampered with, forged, and out of order.

Of each such connection holds: no exception leaves the layer, and none is logged; the application sees messages that
were sent, in their order, and none behind a record that is not authentic; its end is told once, in one line of the log
at the most; neither a timer nor TLS's own state outlives it.
"""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from forging import (
    ALERT,
    BAD_RECORD_MAC,
    CHANGE_CIPHER_SPEC,
    CIPHER12,
    CLOSE_NOTIFY,
    DATA,
    HANDSHAKE,
    HELLO_REQUEST,
    KEY_UPDATE,
    KEY_UPDATE_BOTH,
    NO_RENEGOTIATION,
    USER_CANCELED,
    Forger,
    record,
)
from hypothesis import given
from hypothesis import strategies as st
from integration.peer import Asked, frame, make_certificate
from secured import TLS12, TLS13, Pair, Peer, Secured, Socketed, clientContext, serverContext
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.task import Clock
from twisted.logger import LogLevel
from twisted.python.failure import Failure
from wire import REQUEST, Application, Slow, Transport, logged, quiet

from wsock import WebSocketClientFactory, WebSocketServerFactory
from wsock.client.tls import makeContext
from wsock.wire.tls import TLSLayer

Contexts = Callable[[bool, ssl.TLSVersion], tuple[ssl.SSLContext, ssl.SSLContext]]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_certificate(tmp_path_factory.mktemp("tls"))


class Sides:
    """The contexts of both sides, for each role and version; the peers' write their keys to a file.

    Attributes:
        log: that file.
    """

    def __init__(self, pair: Pair, log: Path) -> None:
        self.log = log
        self._known: dict[Any, tuple[ssl.SSLContext, ssl.SSLContext]] = {}
        self._pair = pair

    def __call__(self, isServer: bool, version: ssl.TLSVersion) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        """The server's and the client's, with an empty file for the keys."""
        if (isServer, version) not in self._known:
            server, client = serverContext(self._pair), makeContext(clientContext(self._pair, version))
            client.set_ciphers(CIPHER12)
            if not isServer:
                # A ticket would be a record before those that are forged.
                server.num_tickets = 0
            (client if isServer else server).keylog_filename = str(self.log)
            self._known[isServer, version] = server, client
        self.log.write_bytes(b"")
        return self._known[isServer, version]


@pytest.fixture(scope="module")
def sides(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Sides:
    return Sides(pair, tmp_path_factory.mktemp("keys") / "log")


class Hostile:
    """A WebSocket of ours over our own TLS, and its peer.

    Attributes:
        isOver: whether the transport below is closed.
    """

    def __init__(
        self,
        sides: Sides,
        isServer: bool,
        version: ssl.TLSVersion,
        below: Transport | None = None,
        application: Application | None = None,
    ) -> None:
        self.isServer = isServer
        server, client = sides(isServer, version)
        self.application = Application() if application is None else application
        self.clock = Clock()
        arguments: dict[str, Any] = {"reactor": self.clock, "settings": quiet(None)}
        self.factory: Any = (
            WebSocketServerFactory(lambda request: self.application, **arguments)
            if isServer
            else WebSocketClientFactory("wss://localhost/chat", lambda request: self.application, **arguments)
        )
        self.below = Transport() if below is None else below
        self.peer = Peer(client if isServer else server, not isServer)
        self.log = sides.log
        self.isOver = False
        #: The first bytes of the server.
        self._hello = b""
        self.wire = self.factory.buildProtocol(None)
        ours, name = (server, None) if isServer else (client, "localhost")
        self.layer = TLSLayer(self.wire, ours, self.clock, 10, name, isServer=isServer)
        self.layer.makeConnection(self.below)

    def flights(self, disturb: Callable[[int, bytes], list[bytes]] = lambda number, data: [data]) -> None:
        """Has the two talk until neither says more, or one has ended.

        Args:
            disturb: what becomes of the peer's bytes, which it is given with their number: an end where there are none.
        """
        number = 0
        hasSpoken = False
        while not self.isOver:
            got = self.below.taken()
            self._hello = self._hello or (got if self.isServer else b"")
            try:
                data = self.peer.take(got)
                # A client's request may come with the end of the handshake.
                if self.peer.isShaken and not hasSpoken:
                    opening = self._opening()
                    hasSpoken = bool(opening)
                    data += self.peer.encrypted(opening) if opening else b""
            except ssl.SSLError:
                # It does not like what became of its bytes; its alert still comes.
                data = self.peer.outgoing.read()
            if not data:
                return
            self._hello = self._hello or (b"" if self.isServer else data)
            self.feed(*(disturb(number, data) or [b""]))
            number += 1

    def _opening(self) -> bytes:
        """What opens the WebSocket; nothing as long as there is no request."""
        if self.isServer:
            return REQUEST
        lines = self.peer.taken().decode().split("\r\n")
        fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines) if value]
        return Asked("", fields).welcome() if fields else b""

    def opened(self) -> "Hostile":
        self.flights()
        assert "finished" in self.application.told
        assert self.below.value() == b""
        self.peer.taken()
        return self

    def forger(self) -> Forger:
        """Goes on in the peer's place."""
        # One record has opened the WebSocket.
        return Forger(self.log, self.peer.tls, not self.isServer, self._hello, before=1)

    def feed(self, *pieces: bytes) -> None:
        """The layer receives pieces, until it has closed; an empty one is the end of TCP."""
        for piece in pieces:
            if self.isOver:
                return
            if piece:
                self.layer.dataReceived(piece)
                self.settle()
            else:
                self.isOver = True
                self.layer.connectionLost(Failure(ConnectionDone()))

    def resume(self) -> None:
        """Has the application take all that waits."""
        while not self.isOver:
            count = len(self.application.messages)
            self.application.transport.resumeProducing()
            self.clock.advance(0)
            self.settle()
            if len(self.application.messages) == count:
                return

    def settle(self) -> None:
        """The transport below is lost where it was told to close."""
        if not self.isOver and ("lose" in self.below.told or "abort" in self.below.told):
            self.isOver = True
            self.layer.connectionLost(Failure(ConnectionDone()))

    def check(self) -> None:
        """Ends it, where it has not ended, and looks at what is left."""
        self.feed(b"")
        assert self.isOver
        assert self.clock.getDelayedCalls() == []
        assert self.layer.protocol is None
        assert self.layer.sslObject is None
        assert not self.factory.connections if self.isServer else True
        assert self.application.told.count("lost") == self.application.told.count("started") <= 1


@contextmanager
def quietly() -> Iterator[None]:
    """One connection, which logs no exception, and says one line at the most."""
    with logged() as events:
        yield
    assert [event for event in events if "log_failure" in event or event.get("isError")] == []
    assert len([event for event in events if event["log_level"] is not LogLevel.debug]) <= 1


versions = st.sampled_from([TLS12, TLS13])


# What is sent in an open connection


class Plan:
    """What a peer sends, made step by step; each method is a step, and returns its bytes.

    Attributes:
        messages: those sent so far that are authentic.
        least: how many of them have to arrive: those before the first step of which TLS may think ill.
    """

    def __init__(self, forger: Forger, version: ssl.TLSVersion, isServer: bool) -> None:
        self._forger = forger
        self._is13 = version == TLS13
        self._key = bytes(4) if isServer else None
        self._last = b""
        self._isAuthentic = True
        self._empties = 0
        self._count = 0
        self.messages: list[str] = []
        self.least: int | None = None

    def _harm(self, isFatal: bool = False) -> None:
        if self.least is None:
            self.least = len(self.messages)
        if isFatal:
            self._isAuthentic = False

    def message(self, size: int = 0, padding: int = 0) -> bytes:
        message = f"{self._count} " + "x" * size
        self._count += 1
        if self._isAuthentic:
            self.messages.append(message)
        self._empties = 0
        content = frame(0x81, message.encode(), self._key)
        self._last = self._forger.record(DATA, content, padding if self._is13 else 0)
        return self._last

    def empty(self) -> bytes:
        self._empties += 1
        if self._empties > 30:
            self._harm()
        return self._forger.record(DATA, b"")

    def update(self, message: bytes) -> bytes:
        return self._forger.key_update(message) if self._is13 else b""

    def forged(self, kind: int, content: bytes) -> bytes:
        """A record that is authentic, and yet may be anything."""
        self._harm()
        return self._forger.record(kind, content)

    def close_notify(self) -> bytes:
        data = self._forger.record(ALERT, CLOSE_NOTIFY)
        self._harm(isFatal=True)
        return data

    def skipped(self) -> bytes:
        """A record that does not arrive."""
        self._forger.record(DATA, frame(0x81, b"lost", self._key))
        self._harm(isFatal=True)
        return b""

    def tampered(self, place: int) -> bytes:
        data = bytearray(self._forger.record(DATA, frame(0x81, b"tampered with", self._key)))
        # The version in the head of a record of TLS 1.3 is nothing but authentic.
        data[place % len(data)] ^= 1
        self._harm(isFatal=True)
        return bytes(data)

    def shortened(self, size: int) -> bytes:
        data = self._forger.record(DATA, frame(0x81, b"cut short", self._key))
        self._harm(isFatal=True)
        return data[: size % len(data)]

    def repeated(self) -> bytes:
        if self._last:
            self._harm(isFatal=True)
        return self._last

    def plain(self, kind: int, content: bytes) -> bytes:
        """A record that is not encrypted."""
        self._harm(isFatal=True)
        return record(kind, content)

    def garbage(self, data: bytes) -> bytes:
        if data:
            self._harm(isFatal=True)
        return data


contents = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([USER_CANCELED, NO_RENEGOTIATION, BAD_RECORD_MAC, HELLO_REQUEST, KEY_UPDATE * 2]),
    st.sampled_from([b"\1", bytes(16400)]),
)
kinds = st.sampled_from([CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, DATA, 0, 19, 24, 255])
messages = st.tuples(st.just("message"), st.sampled_from([0, 0, 0, 200, 16000]), st.sampled_from([0, 0, 1, 255]))
steps = st.one_of(
    messages,
    messages,
    st.tuples(st.just("empty")),
    st.tuples(st.just("update"), st.sampled_from([KEY_UPDATE, KEY_UPDATE_BOTH])),
    st.tuples(st.just("forged"), kinds, contents),
    st.tuples(st.just("close_notify")),
    st.tuples(st.just("skipped")),
    st.tuples(st.just("tampered"), st.integers(0, 100)),
    st.tuples(st.just("shortened"), st.integers(0, 100)),
    st.tuples(st.just("repeated")),
    st.tuples(st.just("plain"), kinds, contents),
    st.tuples(st.just("garbage"), st.one_of(st.binary(max_size=40), st.just(b"GET / HTTP/1.1\r\n\r\n"))),
)
#: How a stream is cut: each step by itself, all in one piece, every byte by itself, or somewhere.
cuts = st.one_of(st.sampled_from(["steps", "whole", "bytes"]), st.lists(st.integers(1, 2000), max_size=8))


def cut(pieces: list[bytes], how: Any) -> list[bytes]:
    """Cuts a stream, into pieces that are not empty."""
    stream = b"".join(pieces)
    if how == "steps":
        return [piece for piece in pieces if piece]
    if how == "bytes" and len(stream) < 4000:
        return [stream[place : place + 1] for place in range(len(stream))]
    places = [0]
    for size in how if isinstance(how, list) else []:
        places.append(places[-1] + size)
    ends = [*places[1:], len(stream)]
    return [piece for piece in map(lambda a, b: stream[a:b], places, ends) if piece]


def echo(application: Application) -> None:
    application.transport.sendTextMessage("an answer")


def pause(application: Application) -> None:
    application.transport.pauseProducing()


@given(
    isServer=st.booleans(),
    version=versions,
    data=st.data(),
    act=st.sampled_from([lambda application: None, echo, pause]),
)
def test_anything_in_an_open_connection(
    sides: Sides, isServer: bool, version: ssl.TLSVersion, data: st.DataObject, act: Callable[[Application], None]
) -> None:
    with quietly():
        link = Hostile(sides, isServer, version, application=Application(message=act)).opened()
        plan = Plan(link.forger(), version, isServer)
        pieces = [getattr(plan, name)(*arguments) for name, *arguments in data.draw(st.lists(steps, max_size=12))]
        for piece in cut(pieces, data.draw(cuts)):
            link.feed(piece)
            if act is pause and data.draw(st.booleans()):
                link.resume()
        link.resume()
        link.check()
        arrived = link.application.messages
        assert arrived == plan.messages[: len(arrived)]
        assert len(arrived) >= (len(plan.messages) if plan.least is None else plan.least)


# What disturbs the handshake


def disturb(data: bytes, name: str, place: int, extra: bytes) -> bytes:
    """What becomes of one side's flight."""
    place %= len(data)
    if name == "tampered":
        return data[:place] + bytes((data[place] ^ (1 << len(extra) % 8),)) + data[place + 1 :]
    if name == "inserted":
        return data[:place] + extra + data[place:]
    if name == "in front":
        return extra + data
    if name == "behind":
        return data + extra
    if name == "lacking":
        return data[:place] + data[place + 1 + len(extra) :]
    if name == "twice":
        return data + data
    records = list(records_of(data))
    if name == "backwards":
        return b"".join(reversed(records))
    return b"".join(fragments(one) if one[0] == HANDSHAKE else one for one in records)


def fragments(data: bytes) -> bytes:
    """A record in as many as it has bytes; of a message of the handshake it may be (RFC 8446 section 5.1)."""
    return b"".join(record(data[0], data[place : place + 1]) for place in range(5, len(data)))


def records_of(data: bytes) -> Iterator[bytes]:
    while data:
        size = 5 + int.from_bytes(data[3:5], "big")
        yield data[:size]
        data = data[size:]


disturbances = st.sampled_from(
    ["tampered", "inserted", "in front", "behind", "lacking", "twice", "backwards", "fragments"]
)
extras = st.one_of(
    st.binary(max_size=20),
    st.builds(record, kinds, contents, st.sampled_from([0x0301, 0x0303, 0x0200])),
    st.sampled_from(
        [
            record(ALERT, CLOSE_NOTIFY),
            record(CHANGE_CIPHER_SPEC, b"\1") * 40,
            record(HANDSHAKE, b"") * 40,
            record(ALERT, USER_CANCELED) * 10,
            record(DATA, b"", size=0xFFFF),
            record(HANDSHAKE, b"\1\xff\xff\xff" + bytes(1000)),
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ]
    ),
)


@given(
    isServer=st.booleans(),
    version=versions,
    when=st.integers(0, 2),
    name=disturbances,
    place=st.integers(0, 2000),
    extra=extras,
    how=cuts,
    isTruncated=st.booleans(),
)
def test_a_disturbed_handshake(
    sides: Sides,
    isServer: bool,
    version: ssl.TLSVersion,
    when: int,
    name: str,
    place: int,
    extra: bytes,
    how: Any,
    isTruncated: bool,
) -> None:
    with quietly():
        link = Hostile(sides, isServer, version)
        touched = []

        def spoil(number: int, data: bytes) -> list[bytes]:
            if number != when:
                return [data]
            touched.append(disturb(data, name, place, extra))
            return cut(touched, how) + [b""] * isTruncated

        link.flights(spoil)
        told = link.application.told
        link.check()
        assert link.application.messages == []
        if not touched or (name == "fragments" and when == 0 and not isTruncated):
            assert "finished" in told


# What a peer can have us hold, with a hundred times as much of it

#: What the transport below holds before it pauses its producer, and as much of TLS's own answers, with one more piece
#: of either.
MOST = 2**18
#: A ClientHello of TLS 1.2, by which a client wants to renegotiate.
CLIENT_HELLO = bytes.fromhex("010000290303" + "00" * 32 + "00" + "0002c02b" + "0100")


def flood(link: Hostile, make: Callable[[], bytes], size: int) -> int:
    """Feeds so many bytes, or as many as the layer takes; returns the most that the transport below held."""
    most = 0
    while size > 0 and not link.isOver:
        data = make()
        size -= len(data)
        link.feed(data)
        most = max(most, len(link.below.value()))
    return most


@pytest.mark.parametrize(
    ("isServer", "version", "content"),
    [
        (True, TLS13, None),
        (False, TLS13, None),
        (True, TLS12, CLIENT_HELLO),
        (True, TLS12, CLIENT_HELLO * 300),
        (False, TLS12, HELLO_REQUEST),
        (False, TLS12, HELLO_REQUEST * 4000),
    ],
    ids=["keys, server", "keys, client", "server", "server, many a record", "client", "client, many a record"],
)
def test_answers_for_a_peer_that_reads_nothing(
    sides: Sides, isServer: bool, version: ssl.TLSVersion, content: bytes | None
) -> None:
    """As many bytes of answers as of questions, or more; the connection is dropped, in an authentic message's midst."""
    with quietly():
        link = Hostile(sides, isServer, version, Slow()).opened()
        forger = link.forger()
        message = forger.record(DATA, frame(0x02, bytes(125), bytes(4) if isServer else None))

        def question() -> bytes:
            return forger.key_update(KEY_UPDATE_BOTH) if content is None else forger.record(HANDSHAKE, content)

        link.feed(message)
        assert flood(link, question, 100 * MOST) < MOST
        assert link.below.told == ["abort"]
        link.check()
        (reason,) = link.application.reasons
        assert reason.code == 1006


@pytest.mark.parametrize("isServer", [True, False], ids=["server", "client"])
def test_answers_for_a_peer_that_reads(sides: Sides, isServer: bool) -> None:
    """They are as many, with new keys each time, and no end."""
    below = Slow()
    link = Hostile(sides, isServer, TLS13, below).opened()
    forger = link.forger()
    taken = 0
    for _ in range(6000):
        link.feed(forger.key_update(KEY_UPDATE_BOTH))
        if len(below.value()) > 2**16:
            taken += len(below.value())
            link.peer.take(below.take())
    assert taken > 2**17
    link.feed(forger.record(DATA, frame(0x89, b"still there", bytes(4) if isServer else None)))
    link.peer.take(below.take())
    assert len(link.peer.taken()) == (13 if isServer else 17)
    link.check()


def test_a_flood_of_keys_over_a_socket_that_is_full(pair: Pair, tmp_path: Path) -> None:
    client = clientContext(pair, TLS13)
    client.keylog_filename = str(tmp_path / "log")
    link = Socketed(pair, sendBuffer=2**13, client=client)
    forger = Forger(tmp_path / "log", link.peer.tls, False, b"")
    most = 0
    for _ in range(10000):
        link.socket.send(forger.key_update(KEY_UPDATE_BOTH))
        link.read()
        link.clock.advance(0)
        if link.above.reasons:
            break
        most = max(most, link.layer.bytesHeld or 0)
    assert 0 < most < MOST
    (reason,) = link.above.reasons
    assert isinstance(reason, ConnectionAborted)
    link.close()


@pytest.mark.parametrize("isServer", [True, False], ids=["server", "client"])
def test_questions_behind_our_end_have_no_answer(pair: Pair, sides: Sides, isServer: bool) -> None:
    server, client = sides(isServer, TLS13)
    link = Secured(pair, isServer=isServer, context=server, client=client).opened()
    forger = Forger(sides.log, link.peer.tls, not isServer, b"")
    link.layer.loseConnection()
    link.below.taken()
    for _ in range(2000):
        link.layer.dataReceived(forger.key_update(KEY_UPDATE_BOTH))
    assert link.below.value() == b""
    assert link.layer._records.outgoing.pending == 0
    link.lose()
    assert link.clock.getDelayedCalls() == []


@pytest.mark.parametrize("kind", [ALERT, HANDSHAKE, DATA])
@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])
@pytest.mark.parametrize("isServer", [True, False], ids=["server", "client"])
def test_a_flood_of_empty_records(sides: Sides, isServer: bool, version: ssl.TLSVersion, kind: int) -> None:
    with quietly():
        link = Hostile(sides, isServer, version, Slow()).opened()
        forger = link.forger()
        assert flood(link, lambda: forger.record(kind, b""), 100 * MOST) < 100
        assert link.isOver
        link.check()


@pytest.mark.parametrize("isServer", [True, False], ids=["server", "client"])
@pytest.mark.parametrize("size", [2**17, 2**24 - 1])
@pytest.mark.parametrize("piece", [1, 2**14])
def test_a_first_message_without_end(sides: Sides, isServer: bool, size: int, piece: int) -> None:
    """One that says that it has up to 16 MiB: no more is taken than OpenSSL has for a ClientHello, 128 KiB."""
    with quietly():
        link = Hostile(sides, isServer, TLS13)
        link.feed(record(HANDSHAKE, bytes((1 if isServer else 2,)) + size.to_bytes(3, "big")))
        more = record(HANDSHAKE, bytes(piece))
        taken = 0
        while not link.isOver:
            link.feed(more)
            taken += piece
            assert taken < MOST
        link.check()
        assert "finished" not in link.application.told


@pytest.mark.parametrize("isServer", [True, False], ids=["server", "client"])
def test_what_openssl_ignores_in_a_handshake(sides: Sides, isServer: bool) -> None:
    """A change_cipher_spec of TLS 1.3 is nothing (RFC 8446 section 5): not for good."""
    with quietly():
        link = Hostile(sides, isServer, TLS13)
        link.flights(lambda number, data: [record(CHANGE_CIPHER_SPEC, b"\1")] * 10000 if number == 1 else [data])
        link.check()
        assert "finished" not in link.application.told
