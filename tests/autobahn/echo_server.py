#!/usr/bin/env python3
"""Echoes messages by `wsock.serve`, compressed with context takeover: the server that against_server.py runs.

echo_server.py ENDPOINT
"""

import sys
from typing import Any

from echo_client import CONTEXT_TAKEOVER, SETTINGS
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.python.log import startLogging

from wsock import WebSocketProtocol, serve


class Echo(WebSocketProtocol):
    def textMessageReceived(self, message: str) -> None:
        self.transport.sendTextMessage(message)

    def bytesMessageReceived(self, data: bytes) -> None:
        self.transport.sendBytesMessage(data)


async def run(reactor: Any, endpoint: str) -> None:
    startLogging(sys.stderr, setStdout=False)
    await serve(reactor, endpoint, lambda request: Echo(), settings=SETTINGS, compression=CONTEXT_TAKEOVER)
    await Deferred()  # until SIGTERM


if __name__ == "__main__":
    react(run, sys.argv[1:])
