"""At most 10 messages a second from each client: `python rate_limit.py [PORT [HOST]]`; at /patient they wait."""

import sys
from typing import Any

from twisted.internet import defer, task
from twisted.python.log import startLogging

from wsock import WebSocketProtocol, serve

RATE, BURST = 10, 20  # messages a second, in the long run; and how many may come at once


class Limited(WebSocketProtocol):
    def __init__(self, reactor: Any) -> None:
        self.reactor, self.then = reactor, reactor.seconds()
        self.tokens: float = BURST

    def textMessageReceived(self, message: str) -> defer.Deferred[None] | None:
        now = self.reactor.seconds()
        self.tokens, self.then = min(BURST, self.tokens + (now - self.then) * RATE) - 1, now
        if self.tokens >= 0 or self.transport.request.path == "/patient":
            self.transport.sendTextMessage(message)
            return task.deferLater(self.reactor, -self.tokens / RATE) if self.tokens < 0 else None
        self.transport.loseConnection(1008, "too many messages")
        return None


async def main(reactor: Any, port: str = "8080", host: str = "127.0.0.1") -> None:
    startLogging(sys.stderr, setStdout=False)  # it tells who is refused, and why
    server = await serve(reactor, f"tcp:{port}:interface={host}", lambda request: Limited(reactor))
    print(server.url, flush=True)
    await defer.Deferred()  # until Control-C, or SIGTERM


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
