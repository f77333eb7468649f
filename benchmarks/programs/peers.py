"""A server of another library, or Twisted without WebSocket: `python peers.py NAME PORT KIND [CERTIFICATE KEY]`.

KIND is "echo", "broadcast" or "burst" (64 messages back for one, from a timer). Each has one process and one thread,
and no compression; with a certificate it serves TLS. Limits of a message's size are off.
`python peers.py versions` prints which are installed, as JSON.
"""

import asyncio
import contextlib
import importlib
import json
import ssl
import sys
from collections.abc import Callable
from importlib import metadata
from typing import Any

BACKLOG = 4096
BURST = 64
#: For each name, the module that it needs, and the distributions that tell its version.
NEEDS = {
    "raw-twisted": ("twisted", ["twisted"]),
    "autobahn": ("autobahn.twisted.websocket", ["autobahn", "twisted"]),
    "twisted.web": ("twisted.web.websocket", ["twisted", "wsproto"]),
    "websockets": ("websockets.asyncio.server", ["websockets"]),
    "websockets-uvloop": ("websockets.asyncio.server", ["websockets", "uvloop"]),
    "picows": ("picows", ["picows"]),
    "picows-uvloop": ("picows", ["picows", "uvloop"]),
    "aiohttp": ("aiohttp", ["aiohttp"]),
    "aiohttp-uvloop": ("aiohttp", ["aiohttp", "uvloop"]),
}


def versions() -> dict[str, str | None]:
    """The versions of the packages for each name; None where one is missing."""
    found: dict[str, str | None] = {}
    for name, (module, distributions) in NEEDS.items():
        try:
            importlib.import_module(module)
            found[name] = ", ".join(f"{one} {metadata.version(one)}" for one in distributions)
        except ImportError:
            found[name] = None
    return found


# Twisted


def listen(port: int, factory: Any, certificate: list[str]) -> None:
    from twisted.internet import reactor

    if certificate:
        from twisted.internet.ssl import DefaultOpenSSLContextFactory

        context = DefaultOpenSSLContextFactory(certificate[1], certificate[0])
        reactor.listenSSL(port, factory, context, backlog=BACKLOG, interface="127.0.0.1")
    else:
        reactor.listenTCP(port, factory, backlog=BACKLOG, interface="127.0.0.1")
    reactor.run()


def raw_twisted(port: int, kind: str, certificate: list[str]) -> None:
    from twisted.internet import protocol, reactor

    class Echo(protocol.Protocol):
        def connectionMade(self) -> None:
            self.transport.setTcpNoDelay(True)

        def dataReceived(self, data: bytes) -> None:
            self.transport.write(data)

    class Burst(Echo):
        def dataReceived(self, data: bytes) -> None:
            # As long as the frame that a server makes of 64 bytes: it has no mask of 4.
            reactor.callLater(0, self.burst, data[4:])

        def burst(self, data: bytes) -> None:
            for _ in range(BURST):
                self.transport.write(data)

    listen(port, protocol.Factory.forProtocol({"echo": Echo, "burst": Burst}[kind]), certificate)


def autobahn(port: int, kind: str, certificate: list[str]) -> None:
    from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol

    everybody = set()

    class Echo(WebSocketServerProtocol):
        def onMessage(self, payload: bytes, isBinary: bool) -> None:
            self.sendMessage(payload, isBinary)

    class Broadcast(WebSocketServerProtocol):
        def onOpen(self) -> None:
            everybody.add(self)

        def onClose(self, *reason: object) -> None:
            everybody.discard(self)

        def onMessage(self, payload: bytes, isBinary: bool) -> None:
            message = self.factory.prepareMessage(payload, isBinary)
            for one in everybody:
                one.sendPreparedMessage(message)

    factory = WebSocketServerFactory(f"ws://127.0.0.1:{port}")
    factory.protocol = {"echo": Echo, "broadcast": Broadcast}[kind]
    listen(port, factory, certificate)


def twisted_web(port: int, kind: str, certificate: list[str]) -> None:
    from twisted.web.resource import Resource
    from twisted.web.server import Site
    from twisted.web.websocket import WebSocketResource

    everybody: set[Any] = set()

    class Application:
        def negotiationStarted(self, transport: Any) -> None:
            self.transport = transport

        def negotiationFinished(self) -> None:
            everybody.add(self)

        def connectionLost(self, reason: object) -> None:
            everybody.discard(self)

        def pongReceived(self, payload: bytes) -> None:
            pass

        def to(self) -> list[Any]:
            return list(everybody) if kind == "broadcast" else [self]

        def textMessageReceived(self, message: str) -> None:
            for one in self.to():
                one.transport.sendTextMessage(message)

        def bytesMessageReceived(self, data: bytes) -> None:
            for one in self.to():
                one.transport.sendBytesMessage(bytes(data))

    class Applications:
        def buildProtocol(self, request: object) -> Application:
            return Application()

    root = Resource()
    root.putChild(b"", WebSocketResource(Applications()))
    listen(port, Site(root), certificate)


# asyncio


def make_context(certificate: list[str]) -> ssl.SSLContext | None:
    if not certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


async def websockets(port: int, kind: str, certificate: list[str]) -> None:
    from websockets.asyncio.server import broadcast, serve

    everybody = set()

    async def handle(connection: Any) -> None:
        everybody.add(connection)
        try:
            async for message in connection:
                if kind == "broadcast":
                    broadcast(everybody, message)
                else:
                    await connection.send(message)
        finally:
            everybody.discard(connection)

    options: dict[str, Any] = {"compression": None, "ping_interval": None, "max_size": None, "open_timeout": 100}
    async with serve(handle, "127.0.0.1", port, ssl=make_context(certificate), backlog=BACKLOG, **options):
        await asyncio.Event().wait()


async def picows(port: int, kind: str, certificate: list[str]) -> None:
    from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

    everybody = set()
    data = (WSMsgType.TEXT, WSMsgType.BINARY)

    class Listener(WSListener):  # type: ignore[misc]
        def on_ws_connected(self, transport: WSTransport) -> None:
            everybody.add(transport)

        def on_ws_disconnected(self, transport: WSTransport) -> None:
            everybody.discard(transport)

        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if frame.msg_type in data:
                payload = frame.get_payload_as_bytes()
                for one in everybody if kind == "broadcast" else (transport,):
                    one.send(frame.msg_type, payload)
            elif frame.msg_type == WSMsgType.CLOSE:
                transport.send_close(frame.get_close_code())
                transport.disconnect()

    server = await ws_create_server(
        lambda request: Listener(),
        "127.0.0.1",
        port,
        ssl=make_context(certificate),
        backlog=BACKLOG,
        max_frame_size=2**26,
    )
    await server.serve_forever()


async def aiohttp(port: int, kind: str, certificate: list[str]) -> None:
    from aiohttp import WSMsgType, web

    everybody: set[Any] = set()

    async def handle(request: web.Request) -> web.WebSocketResponse:
        connection = web.WebSocketResponse(compress=False, max_msg_size=0)
        await connection.prepare(request)
        everybody.add(connection)
        try:
            async for message in connection:
                for one in list(everybody) if kind == "broadcast" else [connection]:
                    if message.type == WSMsgType.TEXT:
                        await one.send_str(message.data)
                    elif message.type == WSMsgType.BINARY:
                        await one.send_bytes(message.data)
        finally:
            everybody.discard(connection)
        return connection

    application = web.Application()
    application.router.add_get("/", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=BACKLOG, ssl_context=make_context(certificate)).start()
    await asyncio.Event().wait()


ON_TWISTED: dict[str, Callable[[int, str, list[str]], None]] = {
    "raw-twisted": raw_twisted,
    "autobahn": autobahn,
    "twisted.web": twisted_web,
}
ON_ASYNCIO = {"websockets": websockets, "picows": picows, "aiohttp": aiohttp}


def main() -> None:
    if sys.argv[1:] == ["versions"]:
        print(json.dumps(versions()))
        return
    name, port, kind, *certificate = sys.argv[1:]
    if name in ON_TWISTED:
        ON_TWISTED[name](int(port), kind, certificate)
        return
    name, _, loop = name.partition("-")
    run: Callable[[Any], None] = asyncio.run
    if loop:
        import uvloop

        run = uvloop.run
    with contextlib.suppress(KeyboardInterrupt):
        run(ON_ASYNCIO[name](int(port), kind, certificate))


if __name__ == "__main__":
    main()
