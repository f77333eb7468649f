"""An application written for ``twisted.web.websocket``, and what type checkers make of it on wsock.

It imports nothing of wsock's and inherits nothing. mypy reads this file with `--strict`; tests run it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

import wsock


class Transport(Protocol):
    """The methods of Twisted's transport; its own module needs wsproto."""

    def sendTextMessage(self, text: str) -> None: ...
    def sendBytesMessage(self, data: bytes) -> None: ...
    def loseConnection(self, code: int = 1000) -> None: ...
    def ping(self, payload: bytes = b"") -> None: ...


class ForTwisted:
    transport: Transport

    def __init__(self) -> None:
        self.pongs: list[bytes] = []
        self.lost: list[Failure] = []

    def negotiationStarted(self, transport: Transport) -> None:
        self.transport = transport

    def negotiationFinished(self) -> None:
        self.transport.ping(b"?")

    def pongReceived(self, payload: bytes) -> None:
        self.pongs.append(payload)

    def textMessageReceived(self, message: str) -> None:
        self.transport.sendTextMessage(message)

    def bytesMessageReceived(self, data: bytes | bytearray) -> None:
        self.transport.sendBytesMessage(bytes(data))
        self.transport.loseConnection(code=1001)

    def connectionLost(self, reason: Failure) -> None:
        self.lost.append(reason)


def serve(reactor: IReactorTime) -> wsock.WebSocketServerFactory:
    return wsock.WebSocketServerFactory(lambda request: ForTwisted(), reactor=reactor)


def connect(reactor: IReactorTime) -> Deferred[ForTwisted]:
    return wsock.connectProtocol(reactor, "ws://localhost/", lambda request: ForTwisted())


async def build(request: wsock.Request) -> ForTwisted:
    return ForTwisted()


def connect_later(reactor: IReactorTime) -> Deferred[ForTwisted]:
    return wsock.connectProtocol(reactor, "ws://localhost/", build)


async def use(reactor: IReactorTime) -> None:
    async with await wsock.connect(reactor, "ws://localhost/") as stream:
        await stream.send("text")
        await stream.send(b"bytes")
        message: str | bytes = await stream.receive()
        async for message in stream:
            print(message)


async def handler(stream: wsock.WebSocketStream) -> None:
    async for message in stream:
        await stream.send(message)


class Own(wsock.WebSocketProtocol):
    async def textMessageReceived(self, message: str) -> None:
        self.transport.sendTextMessage(message)
        await self.transport.whenWritable()


def more(reactor: IReactorTime) -> list[wsock.WebSocketServerFactory]:
    async def decide(request: wsock.Request) -> wsock.Accept:
        return wsock.Accept(Own(), "chat")

    return [
        wsock.WebSocketServerFactory(wsock.streamApplication(handler), reactor=reactor),
        wsock.WebSocketServerFactory(lambda request: Own(), reactor=reactor),
        wsock.WebSocketServerFactory(decide, reactor=reactor),
    ]


if TYPE_CHECKING:
    from twisted.web.websocket import WebSocketProtocol as TwistedsProtocol
    from twisted.web.websocket import WebSocketTransport as TwistedsTransport

    def both(
        application: ForTwisted, transport: wsock.WebSocketTransport
    ) -> tuple[TwistedsProtocol, TwistedsTransport]:
        """It is an application of Twisted's too, and our transport is one of Twisted's."""
        return application, transport
