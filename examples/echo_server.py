"""A WebSocket server that sends back what it gets: `python echo_server.py [PORT [HOST]]`."""

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.python.log import startLogging

from wsock import WebSocketProtocol, serve


class Echo(WebSocketProtocol):
    def textMessageReceived(self, message: str) -> None:
        self.transport.sendTextMessage(message)

    def bytesMessageReceived(self, data: bytes) -> None:
        self.transport.sendBytesMessage(data)


async def main(reactor: Any, port: str = "8080", host: str = "127.0.0.1") -> None:
    startLogging(sys.stderr, setStdout=False)  # it tells who is refused, and why
    server = await serve(reactor, f"tcp:{port}:interface={host}", lambda request: Echo())
    print(server.url, flush=True)
    await Deferred()  # until Control-C, or SIGTERM


if __name__ == "__main__":
    react(main, sys.argv[1:])
