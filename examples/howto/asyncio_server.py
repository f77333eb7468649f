"""Twisted on asyncio's event loop, to use an asyncio library: `python asyncio_server.py [PORT [HOST]]`."""

import asyncio
import sys
from typing import Any

from twisted.internet import asyncioreactor
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.python.log import startLogging

from wsock import WebSocketProtocol, serve


async def look_up(word: str) -> str:  # in place of a library for asyncio: it awaits asyncio's futures
    await asyncio.sleep(0.01)
    return word[::-1]


class Dictionary(WebSocketProtocol):
    async def textMessageReceived(self, message: str) -> None:
        answer = await Deferred.fromFuture(asyncio.ensure_future(look_up(message)))
        self.transport.sendTextMessage(answer)


async def main(reactor: Any, port: str = "8080", host: str = "127.0.0.1") -> None:
    startLogging(sys.stderr, setStdout=False)  # it tells who is refused, and why
    server = await serve(reactor, f"tcp:{port}:interface={host}", lambda request: Dictionary())
    print(server.url, flush=True)
    await Deferred()  # until Control-C, or SIGTERM


asyncioreactor.install(asyncio.new_event_loop())  # before anything imports twisted.internet.reactor
react(main, sys.argv[1:])
