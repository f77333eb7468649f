"""A log on stderr, and each connection as JSON on stdout: `python logging_server.py [PORT [HOST]]`."""

import json
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.logger import Logger
from twisted.python.log import startLogging

from wsock import AccessRecord, WebSocketProtocol, serve

log = Logger()


class Echo(WebSocketProtocol):
    def textMessageReceived(self, message: str) -> None:
        if message == "fail":
            raise ValueError("as you wish")  # the log says in which callback, for which path and peer
        log.debug("{size} characters for {path}", size=len(message), path=self.transport.request.path)
        self.transport.sendTextMessage(message)


def tell(record: AccessRecord) -> None:
    print(json.dumps(record._asdict()), flush=True)


async def main(reactor: Any, port: str = "8080", host: str = "127.0.0.1") -> None:
    startLogging(sys.stderr, setStdout=False)
    server = await serve(reactor, f"tcp:{port}:interface={host}", lambda request: Echo(), accessLog=tell)
    print(server.url, flush=True)
    await Deferred()  # until Control-C, or SIGTERM


react(main, sys.argv[1:])
