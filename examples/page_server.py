"""The echo server with a page for browsers: `python page_server.py [PORT [HOST]]`, then open http://HOST:PORT/."""

import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.python.log import startLogging
from twisted.web.server import Site
from twisted.web.static import File

from wsock import WebSocketProtocol, serve


class Echo(WebSocketProtocol):
    def textMessageReceived(self, message: str) -> None:
        self.transport.sendTextMessage(message)


async def main(reactor: Any, port: str = "8080", host: str = "127.0.0.1") -> None:
    startLogging(sys.stderr, setStdout=False)  # it tells who is refused, and why
    page = File(str(Path(__file__).with_name("page.html")))
    page.isLeaf = True  # for all paths
    server = await serve(reactor, f"tcp:{port}:interface={host}", lambda request: Echo(), fallback=Site(page))
    print(f"http://{host}:{server.port}/", flush=True)
    await Deferred()  # until Control-C, or SIGTERM


react(main, sys.argv[1:])
