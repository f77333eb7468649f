"""At most 10 messages a second from each client: `python rate_limit.py [PORT [HOST]]`; at /patient they wait."""

import sys
from typing import Any

from twisted.internet import defer, endpoints, task
from twisted.python.log import startLogging

from wsock import WebSocketProtocol, WebSocketServerFactory

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
    factory = WebSocketServerFactory(lambda request: Limited(reactor))
    listening = await endpoints.TCP4ServerEndpoint(reactor, int(port), backlog=4096, interface=host).listen(factory)
    reactor.addSystemEventTrigger("before", "shutdown", factory.stop)
    print(f"ws://{host}:{listening.getHost().port}/", flush=True)
    await defer.Deferred()  # until Control-C, or SIGTERM


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
