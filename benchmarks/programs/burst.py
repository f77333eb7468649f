"""A server of wsock that sends 64 messages for each it receives, from a timer: `python burst.py PORT`."""

import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import react

import wsock

BURST = 64


class Burst(wsock.WebSocketProtocol):
    def bytesMessageReceived(self, data: bytes) -> None:
        reactor.callLater(0, self.burst, data)

    def burst(self, data: bytes) -> None:
        send = self.transport.sendBytesMessage
        for _ in range(BURST):
            send(data)


async def main(reactor: Any, port: str) -> None:
    await wsock.serve(reactor, f"tcp:{port}:interface=127.0.0.1", lambda request: Burst())
    await Deferred()


react(main, sys.argv[1:])
