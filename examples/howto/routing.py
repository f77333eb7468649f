"""Several endpoints in one server, by patterns of paths: `python routing.py [PORT [HOST]]`."""

import re
import sys
from typing import Any

from twisted.internet import defer, task
from twisted.python.log import startLogging

from wsock import Refuse, Request, Route, Routes, Settings, StreamHandler, WebSocketProtocol, WebSocketStream, serve


class Echo(WebSocketProtocol):
    def textMessageReceived(self, message: str) -> None:
        self.transport.sendTextMessage(message)


async def count(stream: WebSocketStream) -> None:
    for number in range(int(stream.request.pathParameters["number"])):
        await stream.send(str(number))


def startCount(request: Request) -> StreamHandler:
    if not re.fullmatch("[0-9]{1,4}", request.pathParameters["number"]):
        raise Refuse(404)
    return StreamHandler(count)


small = Settings(maxMessageSize=100)
routes = Routes({"/echo": lambda request: Echo(), "/count/{number}": Route(startCount, settings=small)})


async def main(reactor: Any, port: str = "8080", host: str = "127.0.0.1") -> None:
    startLogging(sys.stderr, setStdout=False)  # it tells who is refused, and why
    server = await serve(reactor, f"tcp:{port}:interface={host}", routes)
    print(server.url, flush=True)
    await defer.Deferred()  # until Control-C, or SIGTERM


task.react(main, sys.argv[1:])
