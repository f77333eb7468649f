"""Sends the primes below a number, found in a thread: `python threads.py [PORT [HOST]]`."""

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.internet.threads import deferToThread
from twisted.python.log import startLogging

from wsock import WebSocketEnded, WebSocketProtocol, serve


class Primes(WebSocketProtocol):
    def textMessageReceived(self, message: str) -> Deferred[None]:
        return deferToThread(self.search, int(message))  # the next message is served after that

    def search(self, limit: int) -> None:
        """Runs in a thread of its own: may take its time, and wait."""
        try:
            for number in range(2, limit):
                if all(number % other for other in range(2, int(number**0.5) + 1)):
                    self.transport.sendFromThread(str(number))
            self.transport.sendFromThread("that was all")
        except WebSocketEnded:
            pass  # nobody is there any more


async def main(reactor: Any, port: str = "8080", host: str = "127.0.0.1") -> None:
    startLogging(sys.stderr, setStdout=False)  # it tells who is refused, and why
    server = await serve(reactor, f"tcp:{port}:interface={host}", lambda request: Primes())
    print(server.url, flush=True)
    await Deferred()  # until Control-C, or SIGTERM


react(main, sys.argv[1:])
