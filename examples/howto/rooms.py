"""Chat rooms, one for each path: `python rooms.py [PORT [HOST]]`, then connect to ws://HOST:PORT/ROOM."""

import sys
from typing import Any

from twisted.internet import defer, task
from twisted.python import failure, log

from wsock import Group, WebSocketProtocol, serve

rooms: dict[str, Group] = {}


class Member(WebSocketProtocol):
    def negotiationFinished(self) -> None:
        self.path = self.transport.request.path
        self.room = rooms.setdefault(self.path, Group())
        self.room.add(self.transport)

    def textMessageReceived(self, message: str) -> None:
        self.room.sendTextMessage(message)

    def connectionLost(self, reason: failure.Failure) -> None:
        if not len(self.room):  # a member that is lost has left it by itself
            rooms.pop(self.path, None)


async def main(reactor: Any, port: str = "8080", host: str = "127.0.0.1") -> None:
    log.startLogging(sys.stderr, setStdout=False)  # it tells who is refused, and why
    server = await serve(reactor, f"tcp:{port}:interface={host}", lambda request: Member())
    print(server.url, flush=True)
    await defer.Deferred()  # until Control-C, or SIGTERM


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
