"""Sends as many numbers as it is asked for, at the client's pace: `python backpressure.py [PORT [HOST]]`."""

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react
from twisted.python.log import startLogging

from wsock import WebSocketEnded, WebSocketProtocol, serve


class Numbers(WebSocketProtocol):
    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor

    async def textMessageReceived(self, message: str) -> None:
        count = int(message)
        try:
            for start in range(0, count, 1000):
                await self.transport.whenWritable()
                self.transport.sendTextMessage(" ".join(map(str, range(start, min(start + 1000, count)))))
                await deferLater(self.reactor, 0)  # the other connections have their turn
        except WebSocketEnded:
            return  # nobody is there any more
        dropped = self.transport.counters.sendsDropped
        self.transport.sendTextMessage(f"that was all, {dropped} messages were dropped")


async def main(reactor: Any, port: str = "8080", host: str = "127.0.0.1") -> None:
    startLogging(sys.stderr, setStdout=False)  # it tells who is refused, and why
    server = await serve(reactor, f"tcp:{port}:interface={host}", lambda request: Numbers(reactor))
    print(server.url, flush=True)
    await Deferred()  # until Control-C, or SIGTERM


react(main, sys.argv[1:])
