"""Tells all who listen the number of a tick, ten times a second: `python broadcasting.py [PORT [HOST]]`."""

import itertools
import sys
from typing import Any

from twisted.internet.task import LoopingCall, react
from twisted.logger import Logger
from twisted.python.log import startLogging

from wsock import Group, Settings, WebSocketProtocol, serve

log = Logger()
listeners = Group()
ticks = itertools.count()


class Listener(WebSocketProtocol):
    def negotiationFinished(self) -> None:
        listeners.add(self.transport)


def tick() -> None:
    outcome = listeners.sendTextMessage(f"tick {next(ticks)}")
    if outcome.dropped:
        log.warn("{dropped} ticks dropped for those who are slow", dropped=outcome.dropped)


async def main(reactor: Any, port: str = "8080", host: str = "127.0.0.1") -> None:
    startLogging(sys.stderr, setStdout=False)  # it tells who is refused, and why
    where = f"tcp:{port}:interface={host}"
    server = await serve(reactor, where, lambda request: Listener(), settings=Settings(slowConsumer="drop"))
    print(server.url, flush=True)
    await LoopingCall(tick).start(0.1)  # until Control-C, or SIGTERM


react(main, sys.argv[1:])
