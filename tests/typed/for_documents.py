"""The claims of the documents about applications and factories, as type checkers see it; `check.py` has them read it.

Each line here is one that a user may write with annotations of his own.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, UNIXClientEndpoint, serverFromString
from twisted.internet.interfaces import IPullProducer, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import Certificate, PrivateCertificate
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer

import wsock
from wsock import (
    Accept,
    Application,
    BuildApplication,
    Decision,
    Refuse,
    Request,
    StreamHandler,
    WebSocketProtocol,
    WebSocketStream,
)
from wsock.testing import MemoryAgent, MemoryEndpoint, Pair, ScriptedPeer


class Plain(WebSocketProtocol):
    """An application whose callbacks do their work at once."""

    def negotiationStarted(self, transport: wsock.WebSocketTransport) -> None:
        super().negotiationStarted(transport)

    def negotiationFinished(self) -> None:
        self.transport.sendTextMessage(self.transport.request.path)

    def textMessageReceived(self, message: str) -> None:
        self.transport.sendTextMessage(message)

    def bytesMessageReceived(self, data: bytes) -> None:
        self.transport.sendBytesMessage(data)

    def connectionLost(self, reason: Failure) -> None:
        if isinstance(reason.value, wsock.WebSocketEnded):
            print(reason.value.closeReceived)


class Waiting(WebSocketProtocol):
    """An application all of whose callbacks are coroutines."""

    async def negotiationStarted(self, transport: wsock.WebSocketTransport) -> None:
        self.transport = transport
        await succeed(None)

    async def negotiationFinished(self) -> None:
        await self.transport.whenWritable()

    async def textMessageReceived(self, message: str) -> None:
        await self.transport.whenWritable()

    async def bytesMessageReceived(self, data: bytes) -> None:
        await self.transport.whenWritable()

    async def pongReceived(self, payload: bytes) -> None:
        await succeed(None)

    async def connectionLost(self, reason: Failure) -> None:
        await succeed(None)


class Deferring(WebSocketProtocol):
    """An application whose callbacks return Deferreds."""

    def negotiationStarted(self, transport: wsock.WebSocketTransport) -> Deferred[None]:
        self.transport = transport
        return succeed(None)

    def textMessageReceived(self, message: str) -> Deferred[None]:
        return self.transport.whenWritable()

    @inlineCallbacks
    def bytesMessageReceived(self, data: bytes) -> Generator[Deferred[Any], Any, None]:
        yield self.transport.whenWritable()

    def connectionLost(self, reason: Failure) -> Deferred[None]:
        return succeed(None)


# Decisions on a connection


async def check(request: Request) -> str:
    if "Authorization" not in request.headers:
        raise Refuse(401, [("WWW-Authenticate", "Basic")])
    return await succeed(request.headers.get("Authorization", ""))


async def handle(user: str, stream: WebSocketStream) -> None:
    async for message in stream:
        await stream.send(message)


async def by_stream(request: Request) -> Accept:
    user = await check(request)  # or raises Refuse
    return Accept(StreamHandler(partial(handle, user)), subprotocol="chat")


async def by_coroutine(request: Request) -> Decision:
    return Plain() if request.path == "/plain" else Accept(Waiting(), "chat", [("Set-Cookie", "a=b")])


def by_deferred(request: Request) -> Deferred[Accept]:
    return succeed(Accept(Deferring()))


@inlineCallbacks
def by_generator(request: Request) -> Generator[Deferred[Any], Any, Plain]:
    yield succeed(None)
    return Plain()


def at_once(request: Request) -> Application:
    return Plain()


def route(request: Request) -> Decision | Deferred[Any] | Coroutine[Any, Any, Decision]:
    return by_deferred(request) if request.path == "/later" else by_coroutine(request)


def decide(asked: str, request: Request) -> Plain:
    return Plain()


def by_handler(request: Request) -> StreamHandler:
    if request.path != "/sums":
        raise Refuse(404)
    return StreamHandler(partial(handle, "Ann"))


builders: list[BuildApplication] = [
    by_stream,
    by_coroutine,
    by_deferred,
    by_generator,
    at_once,
    route,
    partial(decide, "asked"),
    lambda request: Plain(),
    lambda request: Accept(Waiting()),
    lambda request: by_stream(request),
    lambda request: by_deferred(request),
    wsock.streamApplication(partial(handle, "Ann")),
    by_handler,
    lambda request: StreamHandler(partial(handle, "Ann")),
]


def wrapped(build: BuildApplication) -> BuildApplication:
    """As one that counts."""

    def counted(request: Request) -> Any:
        return build(request)

    return counted


def servers(reactor: IReactorTime) -> list[wsock.WebSocketServerFactory]:
    site = Site(Resource())
    return [
        wsock.WebSocketServerFactory(by_stream),
        wsock.WebSocketServerFactory(by_coroutine, reactor=reactor),
        wsock.WebSocketServerFactory(wrapped(at_once), fallback=site),
        wsock.WebSocketServerFactory(lambda request: Plain(), fallback=Site(Resource()), subprotocols=["chat"]),
        wsock.WebSocketServerFactory(wsock.streamApplication(partial(handle, "Ann")), maxConnections=2),
        *(wsock.WebSocketServerFactory(build, allowedOrigins=["https://example.org"]) for build in builders),
    ]


# Clients


async def client(reactor: Any, trusted: Certificate, own: PrivateCertificate) -> None:
    async with await wsock.connect(
        reactor, "wss://localhost/", trustRoot=trusted, clientCertificate=own, subprotocols=["chat"]
    ) as stream:
        await stream.send(await stream.receive())
        message = await stream.receive().addTimeout(30, reactor)
        print(message, stream.subprotocol)
        await stream.close(1008, "too slow")


async def by_endpoint(reactor: Any) -> None:
    await wsock.connect(reactor, "ws://localhost/", endpoint=TCP4ClientEndpoint(reactor, "127.0.0.1", 8080))
    await wsock.connect(reactor, "ws://localhost/", endpoint=UNIXClientEndpoint(reactor, "socket"))


async def served(reactor: Any, build: BuildApplication) -> None:
    server: wsock.Server = await wsock.serve(reactor, 8080, build, settings=wsock.Settings(openTimeout=3))
    print(server.url, server.port, len(server.connections), server.factory.settings)
    await server.stop(1012, "back soon", timeout=10)
    async with await wsock.serve(reactor, TCP4ServerEndpoint(reactor, 0), build, fallback=Site(Resource())) as other:
        for connection in other.connections:
            connection.sendTextMessage("Hello")
    service = wsock.WebSocketServerService("tcp:8080", other.factory)
    print(service.url, service.port, service.factory.settings)


async def callbacks(reactor: Any) -> None:
    plain: Plain = await wsock.connectProtocol(reactor, "ws://localhost/", lambda request: Plain())
    waiting: Waiting = await wsock.connectProtocol(reactor, "ws://localhost/", later)
    agent = wsock.Agent(reactor, settings=wsock.Settings(openTimeout=3), headers=[("Cookie", "a=b")])
    plain = await agent.connectProtocol("ws://localhost/", lambda request: Plain())
    waiting = await agent.connectProtocol("ws://localhost/", later, subprotocols=["chat"])
    stream: WebSocketStream = await agent.connect("ws://localhost/", headers=[("Cookie", "c=d")])
    await stream.close()
    plain.transport.loseConnection()
    waiting.transport.loseConnection(1000, "bye")


async def later(request: Request) -> Waiting:
    return Waiting()


def rejected(error: wsock.ConnectionRejected) -> int:
    response: wsock.Response = error.response
    return response.status


# In memory, and with what implements an interface of Twisted's


def in_memory(build: Callable[[Request], Plain]) -> list[object]:
    peer, clock = ScriptedPeer(), Clock()
    factory = wsock.WebSocketServerFactory(build, reactor=clock)
    endpoint = MemoryEndpoint(peer, clock)
    connecting = wsock.connect(clock, "ws://localhost/", endpoint=endpoint)
    pair = Pair(factory, ScriptedPeer())
    pair.client.open("ws://localhost/shout")
    pair.flush()
    clients = Pair(factory, wsock.WebSocketClientFactory("ws://localhost/", build, reactor=clock))
    other = Pair(Site(Resource()), Protocol())
    return [MemoryAgent(factory), MemoryEndpoint(factory), connecting, clients, other]


@implementer(IPushProducer)
class Producer:
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...
    def stopProducing(self) -> None: ...


@implementer(IPullProducer)
class Puller:
    def resumeProducing(self) -> None: ...
    def stopProducing(self) -> None: ...


def produce(transport: wsock.WebSocketTransport) -> None:
    transport.attachProducer(Producer())
    transport.attachProducer(Puller(), streaming=False)


def listen(group: wsock.Group) -> None:
    from twisted.internet import reactor

    factory = wsock.WebSocketServerFactory(lambda request: Plain(), reactor=reactor)
    serverFromString(reactor, "tcp:8080").listen(factory)
    TCP4ServerEndpoint(reactor, 8080).listen(factory)
    wsock.WebSocketClientFactory("ws://localhost/", lambda request: Plain(), reactor=reactor)
    for transport in group:
        transport.sendTextMessage("Hello")
