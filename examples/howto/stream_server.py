"""A server that is one coroutine for each connection: `python stream_server.py [PORT [HOST]]`."""

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.python.log import startLogging

from wsock import Refuse, Request, StreamHandler, WebSocketStream, serve


def build(request: Request) -> StreamHandler:
    if request.path != "/sums":
        raise Refuse(404)
    return StreamHandler(handle)


async def handle(stream: WebSocketStream) -> None:
    await stream.send("How many numbers?")
    count = int(await stream.receive())
    total = 0
    for number in range(1, count + 1):
        await stream.send(f"Number {number}?")
        total += int(await stream.receive())
    await stream.send(f"The sum is {total}.")


async def main(reactor: Any, port: str = "8080", host: str = "127.0.0.1") -> None:
    startLogging(sys.stderr, setStdout=False)  # it tells who is refused, and why
    server = await serve(reactor, f"tcp:{port}:interface={host}", build)
    print(f"{server.url}sums", flush=True)
    await Deferred()  # until Control-C, or SIGTERM


react(main, sys.argv[1:])
