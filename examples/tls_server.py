"""A WebSocket server over TLS: `python tls_server.py CERTIFICATE KEY [PORT [HOST]]`, both files in PEM."""

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


async def main(reactor: Any, certificate: str, key: str, port: str = "8443", host: str = "127.0.0.1") -> None:
    startLogging(sys.stderr, setStdout=False)  # it tells who is refused, and why
    server = await serve(reactor, f"tcp:{port}:interface={host}", lambda request: Echo(), tls=(certificate, key))
    print(server.url, flush=True)
    await Deferred()  # until Control-C, or SIGTERM


react(main, sys.argv[1:])
