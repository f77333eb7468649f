"""Our own TLS in memory or over a socket: a layer, the protocol above it, and a peer that is the standard library's."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from links import Port, Reactor
from twisted.internet import tcp
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from wire import Transport

from wsock.server.tls import makeContext
from wsock.wire.tls import TLSLayer

Pair = tuple[Path, Path]
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def serverContext(pair: Pair) -> ssl.SSLContext:
    """The context of a server, of the files of a key and a certificate."""
    return makeContext((pair[1], pair[0]))


def clientContext(pair: Pair, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """The context of a client that trusts a certificate, and speaks one version."""
    context = ssl.create_default_context(cafile=pair[1])
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


class Above:
    """The protocol above: notes what it is told, and does what it is to do then."""

    def __init__(self, **does: Callable[["Above"], Any]) -> None:
        self.does = does
        self.transport: Any = None
        self.pieces: list[bytes] = []
        self.reasons: list[Any] = []

    @property
    def received(self) -> bytes:
        return b"".join(self.pieces)

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        if "made" in self.does:
            self.does["made"](self)

    def dataReceived(self, data: bytes) -> None:
        self.pieces.append(data)
        if "data" in self.does:
            self.does["data"](self)

    def connectionLost(self, reason: Failure) -> None:
        self.reasons.append(reason.value)
        if "lost" in self.does:
            self.does["lost"](self)


class Peer:
    """The other side's TLS."""

    def __init__(self, context: ssl.SSLContext, isServer: bool) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming, self.outgoing, server_side=isServer, server_hostname=None if isServer else "localhost"
        )
        self.isShaken = self.ended = False
        self.received = b""

    def take(self, data: bytes) -> bytes:
        """Takes bytes, and returns its own."""
        self.incoming.write(data)
        try:
            if not self.isShaken:
                self.tls.do_handshake()
                self.isShaken = True
            while text := self.tls.read(2**16):
                self.received += text
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        return self.outgoing.read()

    def encrypted(self, *texts: bytes) -> bytes:
        """Each text in records of its own."""
        for text in texts:
            self.tls.write(text)
        return self.outgoing.read()

    def close_notify(self) -> bytes:
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()

    def taken(self) -> bytes:
        """The plain text that came since the last look."""
        text, self.received = self.received, b""
        return text


class Secured:
    """A layer on a transport in memory, and its peer.

    Args:
        pair: the files of a key and a certificate.
        above: the protocol above.
        isServer: the layer's role.
        version: the only version of TLS that the client speaks.
        closeSeconds: the layer's.
        below: what the layer is on.
        context: the server's, in place of one of the pair.
        client: the client's.
    """

    def __init__(
        self,
        pair: Pair,
        above: Any = None,
        isServer: bool = True,
        version: ssl.TLSVersion | None = None,
        closeSeconds: float | None = 10,
        below: Any = None,
        context: ssl.SSLContext | None = None,
        client: ssl.SSLContext | None = None,
    ) -> None:
        server = serverContext(pair) if context is None else context
        client = clientContext(pair, version) if client is None else client
        self.clock = Reactor()
        self.above = Above() if above is None else above
        self.below: Any = Transport() if below is None else below
        ours, peers = (server, client) if isServer else (client, server)
        self.layer = TLSLayer(
            self.above, ours, self.clock, closeSeconds, None if isServer else "localhost", isServer=isServer
        )
        self.peer = Peer(peers, not isServer)
        self.layer.makeConnection(self.below)

    def pump(self) -> bytes:
        """Has the two talk until neither says more; returns the plain text that the peer got meanwhile."""
        data = self.peer.take(self.below.taken())
        while data:
            self.layer.dataReceived(data)
            data = self.peer.take(self.below.taken())
        return self.peer.taken()

    def opened(self) -> "Secured":
        self.pump()
        assert self.peer.isShaken
        assert self.layer.isShaken
        self.below.told.clear()
        return self

    def feed(self, *texts: bytes) -> None:
        """The layer receives texts of the peer's, all in one piece."""
        self.layer.dataReceived(self.peer.encrypted(*texts))

    def lose(self, reason: BaseException | None = None) -> None:
        """The transport below is lost."""
        self.layer.connectionLost(Failure(ConnectionDone() if reason is None else reason))

    @property
    def told(self) -> list[str]:
        """The calls that the transport below has had."""
        told: list[str] = self.below.told
        return told


class Socketed:
    """A layer on one of Twisted's transports, over a socket."""

    def __init__(
        self,
        pair: Pair,
        above: Any = None,
        packets: bool = False,
        sendBuffer: int | None = None,
        client: ssl.SSLContext | None = None,
    ) -> None:
        near, self.socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET if packets else socket.SOCK_STREAM)
        self.socket.setblocking(False)
        if sendBuffer is not None:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sendBuffer)
        self.clock = Reactor()
        self.above = Above() if above is None else above
        self.layer = TLSLayer(self.above, serverContext(pair), self.clock, 10)
        self.peer = Peer(clientContext(pair) if client is None else client, isServer=False)
        self.below: Any = tcp.Server(near, self.layer, ("", 1), Port(), 1, self.clock)
        self.layer.makeConnection(self.below)
        data = self.peer.take(b"")
        while data:
            self.socket.send(data)
            self.read()
            data = self.peer.take(self.arrived())

    def read(self) -> None:
        """The reactor reads, and treats an end as it does."""
        why = self.below.doRead()
        if why:
            self.below.readConnectionLost(Failure(why))

    def arrived(self) -> bytes:
        """The bytes that the peer can read now."""
        return b"".join(self.packets())

    def packets(self) -> list[bytes]:
        """The bytes that the peer can read now, by system calls where the socket keeps them apart."""
        packets: list[bytes] = []
        while True:
            try:
                data = self.socket.recv(2**20)
            except BlockingIOError:
                return packets
            if not data:
                return packets
            packets.append(data)

    def take(self) -> bytes:
        """The plain text that the peer can read now."""
        self.peer.take(self.arrived())
        return self.peer.taken()

    def drain(self) -> bytes:
        """All that is on its way, while the reactor writes."""
        text = self.take()
        while self.clock.writers:
            self.clock.write()
            text += self.take()
        return text

    def close(self) -> None:
        self.below.connectionLost(Failure(ConnectionDone()))
        self.clock.advance(1)
        self.socket.close()
