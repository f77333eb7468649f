"""A client made of callbacks and Deferreds, without async: `python client_callbacks.py [URL]`."""

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.task import react
from twisted.python.failure import Failure

from wsock import WebSocketError, WebSocketProtocol, connectProtocol


class Greeter(WebSocketProtocol):
    def __init__(self) -> None:
        self.done: Deferred[object] = Deferred()

    def negotiationFinished(self) -> None:
        self.transport.sendTextMessage("Hello")

    def textMessageReceived(self, message: str) -> None:
        print("received:", message)
        self.transport.loseConnection(1000, "Bye")

    def connectionLost(self, reason: Failure) -> None:
        self.done.callback(reason.value)


def failed(failure: Failure) -> None:
    failure.trap(WebSocketError, ConnectError, DNSLookupError)
    print("no connection:", failure.value)


def main(reactor: Any, url: str = "ws://127.0.0.1:8080/echo") -> Deferred[None]:
    connecting = connectProtocol(reactor, url, lambda request: Greeter())
    connecting.addCallback(lambda greeter: greeter.done)
    return connecting.addCallbacks(print, failed)


react(main, sys.argv[1:])
