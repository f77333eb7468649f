"""An echo server that shares its reactor with a web site: `python neighbour.py NAME PORT SITE_PORT`.

NAME is "wsock", "autobahn" or "picows-uvloop"; the last runs on Twisted's asyncio reactor, with uvloop's loop.
"""

import asyncio
import sys
from typing import Any

NAME, PORT, SITE_PORT = sys.argv[1], *map(int, sys.argv[2:4])
loop: Any = None
if NAME == "picows-uvloop":
    import uvloop
    from twisted.internet import asyncioreactor

    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)

from twisted.internet import reactor  # noqa: E402 - the line above may choose which
from twisted.internet.defer import Deferred  # noqa: E402
from twisted.web.resource import Resource  # noqa: E402
from twisted.web.server import Site  # noqa: E402

LINES = 200


class Page(Resource):
    """A page that takes some time to make."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        lines = [f"<li>{number}: {number**3 % 9973}</li>" for number in range(LINES)]
        return f"<html><body><ul>{''.join(lines)}</ul></body></html>".encode()


async def wsock_echo() -> None:
    import wsock

    class Echo(wsock.WebSocketProtocol):
        def bytesMessageReceived(self, data: bytes) -> None:
            self.transport.sendBytesMessage(data)

    await wsock.serve(reactor, f"tcp:{PORT}:interface=127.0.0.1", lambda request: Echo())


async def autobahn_echo() -> None:
    from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol

    class Echo(WebSocketServerProtocol):
        def onMessage(self, payload: bytes, isBinary: bool) -> None:
            self.sendMessage(payload, isBinary)

    factory = WebSocketServerFactory(f"ws://127.0.0.1:{PORT}")
    factory.protocol = Echo
    reactor.listenTCP(PORT, factory, interface="127.0.0.1")


async def picows_echo() -> None:
    from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

    class Echo(WSListener):  # type: ignore[misc]
        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if frame.msg_type == WSMsgType.BINARY:
                transport.send(frame.msg_type, frame.get_payload_as_bytes())

    await Deferred.fromFuture(
        asyncio.ensure_future(ws_create_server(lambda request: Echo(), "127.0.0.1", PORT), loop=loop)
    )


def failed(failure: Any) -> None:
    print(failure.getErrorMessage(), file=sys.stderr)
    reactor.stop()


def begin() -> None:
    echo = {"wsock": wsock_echo, "autobahn": autobahn_echo, "picows-uvloop": picows_echo}[NAME]
    Deferred.fromCoroutine(echo()).addErrback(failed)


reactor.listenTCP(SITE_PORT, Site(Page()), interface="127.0.0.1")
reactor.callWhenRunning(begin)
reactor.run()
