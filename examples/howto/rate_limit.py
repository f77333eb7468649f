"""At most 10 messages a second from each client: `python rate_limit.py [PORT [HOST]]`; at /patient they wait."""

import sys
from typing import Any

from twisted.internet import defer, task
from twisted.python.log import startLogging

from wsock import AddressLimits, RateLimit, Request, Routes, WebSocketProtocol, serve


class Echo(WebSocketProtocol):
    def textMessageReceived(self, message: str) -> None:
        self.transport.sendTextMessage(message)


def build(request: Request) -> Echo:
    return Echo()


routes = Routes(
    {
        "/": RateLimit(build, 10, burst=20, excess="close"),
        "/patient": RateLimit(build, 10, burst=20),
    }
)
limits = AddressLimits(maxConnections=20, handshakesPerSecond=1)


async def main(reactor: Any, port: str = "8080", host: str = "127.0.0.1") -> None:
    startLogging(sys.stderr, setStdout=False)  # it tells who is refused, and why
    server = await serve(reactor, f"tcp:{port}:interface={host}", routes, addressLimits=limits)
    print(server.url, flush=True)
    await defer.Deferred()  # until Control-C, or SIGTERM


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
