"""One side's connection in memory: a factory, a clock, a transport that remembers, an application that obeys."""

from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha1
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableDescriptor
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from wsock import Settings, WebSocketClientFactory, WebSocketServerFactory, __version__

#: The request of RFC 6455 section 1.2, and the answer to it in section 1.3, with one field more.
REQUEST = (
    b"GET /chat HTTP/1.1\r\n"
    b"Host: server.example.com\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)
ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
    b"Server: wsock/" + __version__.encode() + b"\r\n\r\n"
)
#: "Hello" as text, as a Ping and the Pong that answers it (RFC 6455 section 5.7): masked from the client.
HELLO = bytes.fromhex("818537fa213d7f9f4d5158")
PING = bytes.fromhex("898537fa213d7f9f4d5158")
HELLO_SENT = bytes.fromhex("810548656c6c6f")
PONG_SENT = bytes.fromhex("8a0548656c6c6f")
#: A Pong and a Close with 1000 from the client; both with a mask of zeros, which changes nothing.
PONG = bytes.fromhex("8a820000000061 62".replace(" ", ""))
CLOSE = bytes.fromhex("88820000000003e8")
CLOSE_SENT = bytes.fromhex("880203e8")
GOING_AWAY_SENT = bytes.fromhex("880203e9")
FAILED_SENT = bytes.fromhex("880203f3")
#: A frame with an RSV bit that nothing was agreed for: a fault.
FAULT = bytes.fromhex("c18000000000")


def text(message: str) -> bytes:
    """A short text message from the client."""
    payload = message.encode()
    return bytes((0x81, 0x80 | len(payload), 0, 0, 0, 0)) + payload


class Transport(StringTransport):
    """Remembers what it was told, and how often."""

    def __init__(self) -> None:
        super().__init__(lenient=True)
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")
        super().pauseProducing()

    def resumeProducing(self) -> None:
        self.told.append("resume")
        super().resumeProducing()

    def loseConnection(self) -> None:
        self.told.append("lose")
        self.disconnecting = True

    def abortConnection(self) -> None:
        self.told.append("abort")
        self.disconnecting = self.disconnected = True

    def taken(self) -> bytes:
        """The bytes written since the last look."""
        data: bytes = self.value()
        self.clear()
        return data


@implementer(IHalfCloseableDescriptor)
class HalfCloseable(Transport):
    """As a socket's transport it can close one half."""

    def loseWriteConnection(self) -> None:
        self.told.append("lose write")


class Application:
    """Inherits nothing of wsock: notes what it is told, and does what it is to do then.

    Attributes:
        told: the callbacks' names, or (name, argument) where they have one that can be compared.
        does: by the callback's name: called with the application, its result is the callback's.
    """

    def __init__(self, **does: Callable[["Application"], Any]) -> None:
        self.told: list[Any] = []
        self.does = does
        self.transport: Any = None
        self.reasons: list[Any] = []

    def _do(self, name: str) -> Any:
        return self.does[name](self) if name in self.does else None

    def negotiationStarted(self, transport: Any) -> Any:
        self.transport = transport
        self.told.append("started")
        return self._do("started")

    def negotiationFinished(self) -> Any:
        self.told.append("finished")
        return self._do("finished")

    def textMessageReceived(self, message: str) -> Any:
        self.told.append(message)
        return self._do("message")

    def bytesMessageReceived(self, data: Any) -> Any:
        self.told.append(data)
        return self._do("message")

    def pongReceived(self, payload: bytes) -> Any:
        self.told.append(("pong", payload))
        return self._do("pong")

    def connectionLost(self, reason: Failure) -> Any:
        self.reasons.append(reason.value)
        self.told.append("lost")
        return self._do("lost")

    @property
    def messages(self) -> list[Any]:
        return [one for one in self.told if one not in ("started", "finished", "lost")]


def quiet(settings: dict[str, Any] | None) -> Settings:
    """Settings without keepalive, unless they say otherwise: it has a timer of its own."""
    return Settings(**{"pingInterval": None, **(settings or {})})


class Served:
    """One connection to a server.

    Args:
        application: what ``buildApplication`` returns.
        settings: the factory's `Settings`.
        transport: what it is on.
        factory: an earlier one's, to be another connection to the same server.
        arguments: the factory's.
    """

    def __init__(
        self,
        application: Any = None,
        settings: dict[str, Any] | None = None,
        transport: Transport | None = None,
        factory: WebSocketServerFactory | None = None,
        **arguments: Any,
    ) -> None:
        self.application = Application() if application is None else application
        if factory is None:
            arguments.setdefault("buildApplication", self.build)
            factory = WebSocketServerFactory(reactor=Clock(), settings=quiet(settings), **arguments)
        self.factory = factory
        self.clock: Clock = factory.reactor  # type: ignore[assignment]
        self.requests: list[Any] = []
        self.transport = Transport() if transport is None else transport
        self.wire = factory.buildProtocol(None)
        self.wire.makeConnection(self.transport)

    def build(self, request: Any) -> Any:
        self.requests.append(request)
        return self.application

    def feed(self, data: bytes) -> bytes:
        """Has it receive bytes; returns what it sent."""
        self.wire.dataReceived(data)
        return self.transport.taken()

    def open(self) -> "Served":
        assert self.feed(REQUEST).startswith(ANSWER[:-2])
        return self

    def advance(self, seconds: float) -> bytes:
        self.clock.advance(seconds)
        return self.transport.taken()

    def lose(self, clean: bool = True) -> None:
        """Ends the transport; unless told otherwise nothing is left to be done then."""
        self.wire.connectionLost(Failure(ConnectionDone()))
        if clean:
            assert self.clock.getDelayedCalls() == []


def opened(application: Any = None, **arguments: Any) -> Served:
    return Served(application, **arguments).open()


class Slow(Transport):
    """Takes what it is given and pauses its producer for it, until `take`."""

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.producer is not None and len(self.value()) > 2**16:
            self.producer.pauseProducing()

    def take(self) -> bytes:
        data = self.taken()
        self.producer.resumeProducing()
        return data


class Producer:
    """Notes what it is told, and does what it is to do then."""

    def __init__(self, **does: Any) -> None:
        self.told: list[str] = []
        self.does = does

    def _do(self, name: str) -> None:
        self.told.append(name)
        if name in self.does:
            self.does[name]()

    def pauseProducing(self) -> None:
        self._do("pause")

    def resumeProducing(self) -> None:
        self._do("resume")

    def stopProducing(self) -> None:
        self._do("stop")


def slow(application: Any = None, **settings: Any) -> Served:
    served = Served(application, settings, Slow()).open()
    served.transport.clear()
    return served


@contextmanager
def logged() -> Iterator[list[LogEvent]]:
    """The log of wsock and Twisted meanwhile; Twisted's unhandled errors too."""
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)
    try:
        yield events
    finally:
        globalLogPublisher.removeObserver(events.append)


def failures(events: list[LogEvent]) -> list[str]:
    """The exceptions among what was logged, by their text."""
    return [str(event["log_failure"].value) for event in events if event["log_level"] is LogLevel.critical]


#: The bytes of a server: the answer to a client's request is made by `Asked.answer`.
SERVER_CLOSE = bytes.fromhex("880203e8")
SERVER_HELLO = HELLO_SENT


class Asked:
    """One connection of a client.

    Args:
        application: what ``buildApplication`` returns.
        settings: the factory's `Settings`.
        transport: what it is on.
        url: where to.
        clock: another one's, to be on the same reactor.
        arguments: the factory's.
    """

    def __init__(
        self,
        application: Any = None,
        settings: dict[str, Any] | None = None,
        transport: Transport | None = None,
        url: str = "ws://server.example.com/chat",
        clock: Clock | None = None,
        **arguments: Any,
    ) -> None:
        self.application = Application() if application is None else application
        self.clock = Clock() if clock is None else clock
        self.requests: list[Any] = []
        arguments.setdefault("buildApplication", self.build)
        build = arguments.pop("buildApplication")
        self.factory = WebSocketClientFactory(url, build, reactor=self.clock, settings=quiet(settings), **arguments)
        self.transport = Transport() if transport is None else transport
        self.wire: Any = self.factory.buildProtocol(None)
        self.wire.makeConnection(self.transport)

    def build(self, request: Any) -> Any:
        self.requests.append(request)
        return self.application

    def answer(self, *fields: str, status: str = "101 Switching Protocols") -> bytes:
        """The answer to its request, with further header fields."""
        key = self.wire.request.headers.get("Sec-WebSocket-Key").encode()
        accept = b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
        lines = [
            f"HTTP/1.1 {status}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {accept}",
            *fields,
        ]
        return "\r\n".join([*lines, "", ""]).encode()

    def feed(self, data: bytes) -> bytes:
        """Has it receive bytes; returns what it sent since the last look but its request, each frame unmasked."""
        self.wire.dataReceived(data)
        return self.sent()

    def sent(self) -> bytes:
        data = self.transport.taken()
        return unmasked(data.partition(b"\r\n\r\n")[2] if data.startswith(b"GET ") else data)

    def open(self, *fields: str) -> "Asked":
        answer = self.answer(*fields)
        assert self.transport.taken().startswith(b"GET ")
        self.wire.dataReceived(answer)
        return self

    def advance(self, seconds: float) -> bytes:
        self.clock.advance(seconds)
        return self.sent()

    def lose(self, reason: BaseException | None = None, clean: bool = True) -> None:
        """Ends the transport; unless told otherwise nothing is left to be done then."""
        self.wire.connectionLost(Failure(ConnectionDone() if reason is None else reason))
        if clean:
            assert self.clock.getDelayedCalls() == []


def unmasked(data: bytes) -> bytes:
    """A client's frames as a server's."""
    frames = b""
    while data:
        length, start = data[1] & 0x7F, 2
        assert data[1] & 0x80, "a client did not mask"
        if length > 125:
            start = 4 if length == 126 else 10
            length = int.from_bytes(data[2:start], "big")
        key, payload = data[start : start + 4], data[start + 4 : start + 4 + length]
        assert len(payload) == length
        plain = bytes(byte ^ key[index & 3] for index, byte in enumerate(payload))
        frames += bytes((data[0], data[1] & 0x7F)) + data[2:start] + plain
        data = data[start + 4 + length :]
    return frames
