"""A chat, all in one room: `python chat.py [PORT [HOST]]`, then connect to ws://HOST:PORT/NAME."""

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import react
from twisted.python import failure, log

from wsock import Group, Request, WebSocketProtocol, WebSocketServerFactory

room = Group()  # who is lost leaves by itself


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
    factory = WebSocketServerFactory(Member)
    listening = await TCP4ServerEndpoint(reactor, int(port), backlog=4096, interface=host).listen(factory)
    reactor.addSystemEventTrigger("before", "shutdown", factory.stop)
    print(f"ws://{host}:{listening.getHost().port}/", flush=True)
    await Deferred()  # until Control-C, or SIGTERM


react(main, sys.argv[1:])
