"""Sums, for clients that speak one of two subprotocols: `python subprotocols.py [PORT [HOST]]`."""

import json
import sys
from typing import Any

from twisted.internet import defer, task
from twisted.python.log import startLogging

from wsock import Accept, Refuse, Request, WebSocketProtocol, serve


class JSONSum(WebSocketProtocol):
    def textMessageReceived(self, message: str) -> None:
        self.transport.sendTextMessage(json.dumps({"sum": sum(json.loads(message))}))


class TextSum(WebSocketProtocol):
    def textMessageReceived(self, message: str) -> None:
        self.transport.sendTextMessage(str(sum(map(int, message.split()))))


def build(request: Request) -> Accept:
    applications = {"sum.json": JSONSum, "sum.text": TextSum}  # the preferred first
    for name, application in applications.items():
        if name in request.subprotocols:
            return Accept(application(), subprotocol=name)
    raise Refuse(400, body=b"Offer sum.json or sum.text as a subprotocol.")


async def main(reactor: Any, port: str = "8080", host: str = "127.0.0.1") -> None:
    startLogging(sys.stderr, setStdout=False)  # it tells who is refused, and why
    server = await serve(reactor, f"tcp:{port}:interface={host}", build)
    print(server.url, flush=True)
    await defer.Deferred()  # until Control-C, or SIGTERM


task.react(main, sys.argv[1:])
