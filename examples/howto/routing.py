"""Several endpoints in one server, chosen by the path: `python routing.py [PORT [HOST]]`."""

import re
import sys
from typing import Any

from twisted.internet import defer, task
from twisted.python.log import startLogging

from wsock import Refuse, Request, StreamHandler, WebSocketProtocol, WebSocketStream, serve


class Echo(WebSocketProtocol):
    def textMessageReceived(self, message: str) -> None:
        self.transport.sendTextMessage(message)


async def count(stream: WebSocketStream) -> None:
    for number in range(int(stream.request.path.rpartition("/")[2])):
        await stream.send(str(number))


def build(request: Request) -> Any:
    if request.path == "/echo":
        return Echo()
    if re.fullmatch("/count/[0-9]{1,4}", request.path):
        return StreamHandler(count)
    raise Refuse(404)


async def main(reactor: Any, port: str = "8080", host: str = "127.0.0.1") -> None:
    startLogging(sys.stderr, setStdout=False)  # it tells who is refused, and why
    server = await serve(reactor, f"tcp:{port}:interface={host}", build)
    print(server.url, flush=True)
    await defer.Deferred()  # until Control-C, or SIGTERM


task.react(main, sys.argv[1:])
