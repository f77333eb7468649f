"""A room for two who send each other short messages: `python limits.py [PORT [HOST]]`."""

import sys
from typing import Any

from twisted.internet import defer, task
from twisted.python.log import startLogging

from wsock import Group, Settings, WebSocketProtocol, serve

settings = Settings(
    maxMessageSize=1000,  # in bytes; a longer message closes its connection with 1009
    pingInterval=5,  # who is gone is noticed in 10 seconds
    pingTimeout=5,
    highWaterMark=4096,  # short messages make a short queue
    sendLimit=2**14,
)
room = Group()


class Guest(WebSocketProtocol):
    def negotiationFinished(self) -> None:
        room.add(self.transport)

    def textMessageReceived(self, message: str) -> None:
        room.sendTextMessage(message)


async def main(reactor: Any, port: str = "8080", host: str = "127.0.0.1") -> None:
    startLogging(sys.stderr, setStdout=False)  # it tells who is refused, and why
    where = f"tcp:{port}:interface={host}"
    server = await serve(reactor, where, lambda request: Guest(), settings=settings, maxConnections=2)
    print(server.url, flush=True)
    await defer.Deferred()  # until Control-C, or SIGTERM


task.react(main, sys.argv[1:])
