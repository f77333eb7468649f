"""The way out over real sockets: Twisted's own transports, on a reactor that is a clock which the test steps."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet import main, tcp, unix
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.task import Clock
from twisted.protocols import tls
from twisted.python.failure import Failure
from zope.interface import implementer

from wsock.wire.outbox import Outbox, makeLimits

#: One byte more than Twisted's transports hold before they pause their producer.
HANDOVER = 65537


class Reactor(Clock):
    """Time, and the sockets that wait to be written to; nothing happens but in `advance` and `write`."""

    def __init__(self) -> None:
        super().__init__()
        self.writers: list[Any] = []

    def addReader(self, reader: Any) -> None: ...

    def removeReader(self, reader: Any) -> None: ...

    def addWriter(self, writer: Any) -> None:
        if writer.fileno() < 0:
            raise ValueError("file descriptor cannot be a negative integer (-1)")  # as epoll does
        if writer not in self.writers:
            self.writers.append(writer)

    def removeWriter(self, writer: Any) -> None:
        if writer in self.writers:
            self.writers.remove(writer)

    def write(self) -> None:
        """Lets each transport that wants to write to its socket, once."""
        for writer in list(self.writers):
            why = writer.doWrite()
            if why:
                self.removeWriter(writer)
                writer.connectionLost(Failure(why))


class Owner(Protocol):
    """The protocol that a transport tells of its loss."""

    def __init__(self) -> None:
        self.lost: list[Failure] = []

    def connectionLost(self, reason: Failure = main.CONNECTION_DONE) -> None:
        self.lost.append(reason)


class Port:
    _realPortNumber = 1


class OutboxOwner:
    """The connection that an `Outbox` tells of its transport: does what it is to do then."""

    def __init__(self, writable: Callable[[], object] = lambda: None) -> None:
        self.writable = writable
        self.blocked: Callable[[], object] = lambda: None

    def outboxWritable(self) -> None:
        self.writable()

    def outboxBlocked(self) -> None:
        self.blocked()


class Link:
    """An `Outbox`, its transport, and the peer's socket."""

    def __init__(self, transport: Any, peer: socket.socket, reactor: Reactor, **settings: Any) -> None:
        self.transport, self.peer, self.reactor = transport, peer, reactor
        self.changes = 0
        self.connect(**settings)

    def connect(self, highWaterMark: int | None = 65536, sendLimit: int | None = 2**20, register: bool = True) -> None:
        self.owner = OutboxOwner(self.changed)
        self.outbox = Outbox(self.transport, self.reactor, makeLimits(highWaterMark, sendLimit), self.owner)
        if register:
            self.outbox.register()

    def changed(self) -> None:
        self.changes += 1

    def arrived(self, limit: int = 2**26) -> bytes:
        """The bytes that the peer can read now."""
        data = bytearray()
        while len(data) < limit:
            try:
                part = self.peer.recv(min(limit - len(data), 2**20))
            except BlockingIOError:
                break
            if not part:
                break
            data += part
        return bytes(data)

    def packets(self) -> list[int]:
        """The sizes of the packets that the peer can read now: one for each system call that sent."""
        sizes = []
        while True:
            try:
                sizes.append(len(self.peer.recv(2**20)))
            except BlockingIOError:
                return sizes

    def drain(self) -> bytes:
        """Everything, the reactor running until nothing is left to write."""
        data = bytearray(self.arrived())
        while self.reactor.writers or self.outbox.size:
            self.reactor.advance(0)
            self.reactor.write()
            data += self.arrived()
        return bytes(data)

    def fill(self) -> bytes:
        """Has the system's buffer filled, and the transport's begun; returns what was sent for it."""
        data = b"f" * 2**22
        self.outbox.cork()
        self.outbox.writeHTTP([data])
        self.outbox.uncork()
        assert self.outbox.paused
        return data

    def close(self) -> None:
        self.outbox.abort()
        if self.transport.connected:
            self.transport.connectionLost(Failure(ConnectionLost()))
        self.peer.close()


def makeLink(
    reactor: Reactor,
    kind: type[tcp.Server] = tcp.Server,
    packets: bool = False,
    sendBuffer: int | None = None,
    **settings: Any,
) -> Link:
    near, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET if packets else socket.SOCK_STREAM)
    peer.setblocking(False)
    if sendBuffer is not None:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sendBuffer)
    transport: Any = kind(near, Owner(), ("", 1), Port(), 1, reactor)
    return Link(transport, peer, reactor, **settings)


def makeClient(kind: str, reactor: Reactor, folder: Path) -> tuple[Any, socket.socket]:
    """A connected tcp.Client or unix.Client, and the peer's socket."""
    owner = Owner()
    factory = ClientFactory.forProtocol(lambda: owner)
    factory.noisy = False
    with socket.socket(socket.AF_INET if kind == "tcp" else socket.AF_UNIX) as listening:
        listening.bind(("127.0.0.1", 0) if kind == "tcp" else str(folder / "socket"))
        listening.listen()
        connector: Any
        if kind == "tcp":
            connector = tcp.Connector("127.0.0.1", listening.getsockname()[1], factory, 30, None, reactor)
        else:
            connector = unix.Connector(str(folder / "socket"), factory, 30, reactor, False)
        connector.connect()
        reactor.advance(0)
        peer, _ = listening.accept()
    peer.setblocking(False)
    transport = connector.transport
    if owner.transport is None:
        transport.doConnect()
    assert owner.transport is transport
    return transport, peer


@contextmanager
def links(reactor: Reactor) -> Iterator[Callable[..., Link]]:
    """Makes links as `makeLink` does, and closes them in the end."""
    made: list[Link] = []

    def make(
        kind: type[tcp.Server] = tcp.Server, packets: bool = False, sendBuffer: int | None = None, **settings: Any
    ) -> Link:
        made.append(makeLink(reactor, kind, packets, sendBuffer, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


class Wrapper:
    """A transport around another, as that of TLS: it hands on what it is given, and has no other buffer."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


# TLS, in memory above the socket: its handshake needs no certificate


def anonymous() -> SSL.Connection:
    context = SSL.Context(SSL.TLSv1_2_METHOD)
    context.set_cipher_list(b"AECDH:@SECLEVEL=0")
    return SSL.Connection(context, None)


@implementer(IOpenSSLServerConnectionCreator)
class Creator:
    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        return anonymous()


class TLSLink(Link):
    """As `Link`; `arrived` is what the peer has decrypted."""

    def __init__(self, below: tcp.Server, peer: socket.socket, reactor: Reactor, **settings: Any) -> None:
        self.below = below
        self.peerTLS = anonymous()
        self.peerTLS.set_connect_state()
        above = overTLS(below, reactor)
        below.protocol = above
        self.blocked: list[bool] = []
        for _ in range(3):
            try:
                self.peerTLS.do_handshake()
            except SSL.WantReadError:
                pass
            try:
                above.dataReceived(self.peerTLS.bio_read(2**16))
            except SSL.WantReadError:
                pass
            reactor.advance(0)
            while below in reactor.writers:
                reactor.write()
            self.decrypted(peer)
        super().__init__(above, peer, reactor, **settings)
        self.owner.blocked = lambda: self.blocked.append(self.outbox.paused)

    def decrypted(self, peer: socket.socket) -> bytes:
        data = bytearray()
        while True:
            try:
                self.peerTLS.bio_write(peer.recv(2**16))
                while True:
                    data += self.peerTLS.recv(2**16)
            except SSL.WantReadError:
                pass
            except BlockingIOError:
                return bytes(data)

    def arrived(self, limit: int = 2**26) -> bytes:
        return self.decrypted(self.peer)

    def close(self) -> None:
        self.outbox.abort()
        self.below.connectionLost(Failure(ConnectionLost()))
        self.peer.close()


def overTLS(below: Any, reactor: Clock, factory: Any = None) -> Any:
    """Twisted's TLS above a transport; above that is a protocol of the factory, if it is given."""
    above = ClientFactory.forProtocol(Owner) if factory is None else factory
    protocol = tls.TLSMemoryBIOFactory(Creator(), False, above, reactor).buildProtocol(None)
    protocol.makeConnection(below)
    return protocol


@contextmanager
def tlsLinks(reactor: Reactor) -> Iterator[Callable[..., TLSLink]]:
    """Makes links with TLS, and closes them in the end."""
    made: list[TLSLink] = []

    def make(sendBuffer: int = 2**20, **settings: Any) -> TLSLink:
        plain = makeLink(reactor, sendBuffer=sendBuffer, register=False)
        made.append(TLSLink(plain.transport, plain.peer, reactor, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()
