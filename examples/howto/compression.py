"""Sends a long list compressed, and a secret as it is: `python compression.py [PORT [HOST]]`."""

import json
import os
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.python.log import startLogging

from wsock import Compression, WebSocketProtocol, serve

orders = [{"id": number, "article": f"A-{number * 7919 % 10000}", "open": number % 3 == 0} for number in range(200)]
picture = os.urandom(5000)  # like a JPEG or a video, it would not get smaller


class Shop(WebSocketProtocol):
    def negotiationFinished(self) -> None:
        agreed = self.transport.extension
        self.transport.sendTextMessage(f"compression: {agreed.name if agreed else 'no'}")  # short: goes as it is

    def textMessageReceived(self, message: str) -> None:
        if message == "orders":
            self.transport.sendTextMessage(json.dumps(orders))
        elif message == "picture":
            self.transport.sendBytesMessage(picture, compress=False)
        else:
            # A secret beside the client's words: the size, if compressed, would tell how much they are alike.
            self.transport.sendTextMessage(json.dumps({"token": "cafe" * 100, "you": message}), compress=False)


async def main(reactor: Any, port: str = "8080", host: str = "127.0.0.1") -> None:
    startLogging(sys.stderr, setStdout=False)  # it tells who is refused, and why
    server = await serve(reactor, f"tcp:{port}:interface={host}", lambda request: Shop(), compression=Compression())
    print(server.url, flush=True)
    await Deferred()  # until Control-C, or SIGTERM


react(main, sys.argv[1:])
