"""A chat, all in one room: `python chat.py [PORT [HOST]]`, then connect to ws://HOST:PORT/NAME."""

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.python import failure, log

from wsock import Group, Request, WebSocketProtocol, serve

room = Group()  # a lost connection leaves it automatically


class Member(WebSocketProtocol):
    def __init__(self, request: Request) -> None:
        self.name = request.path.strip("/") or "somebody"

    def negotiationFinished(self) -> None:
        room.add(self.transport)
        room.sendTextMessage(f"{self.name} comes in")

    def textMessageReceived(self, message: str) -> None:
        room.sendTextMessage(f"{self.name} says: {message}")

    def connectionLost(self, reason: failure.Failure) -> None:
        room.sendTextMessage(f"{self.name} has left")


async def main(reactor: Any, port: str = "8080", host: str = "127.0.0.1") -> None:
    log.startLogging(sys.stderr, setStdout=False)  # it tells who is refused, and why
    server = await serve(reactor, f"tcp:{port}:interface={host}", Member)
    print(server.url, flush=True)
    await Deferred()  # until Control-C, or SIGTERM


react(main, sys.argv[1:])
