"""The cost of a round trip to a client: CPU and time, against any echo server.

    python -m benchmarks client callbacks|stream PORT SIZE MESSAGES WINDOW

WINDOW messages are on their way at a time. It prints microseconds of this process's CPU, and of time, a round trip.
"""

import os
import resource
import sys
import time

from twisted.internet import reactor
from twisted.internet.defer import Deferred

import wsock

NAME, PORT, SIZE, MESSAGES, WINDOW = sys.argv[1], *map(int, sys.argv[2:6])
MESSAGE = os.urandom(SIZE)
URL = f"ws://127.0.0.1:{PORT}/"


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def report(cpu_before: float, time_before: float) -> None:
    spent, took = cpu() - cpu_before, time.perf_counter() - time_before
    print(
        f"wsock {NAME} ({wsock.implementation}) size {SIZE} window {WINDOW}: "
        f"cpu {spent / MESSAGES * 1e6:.2f} us, wall {took / MESSAGES * 1e6:.2f} us"
    )
    reactor.stop()


class Callbacks(wsock.WebSocketProtocol):
    def negotiationFinished(self) -> None:
        self.sent = self.received = 0
        self.began = cpu(), time.perf_counter()
        for _ in range(WINDOW):
            self.transport.sendBytesMessage(MESSAGE)
            self.sent += 1

    def bytesMessageReceived(self, data: bytes) -> None:
        self.received += 1
        if self.received == MESSAGES:
            report(*self.began)
        elif self.sent < MESSAGES:
            self.transport.sendBytesMessage(MESSAGE)
            self.sent += 1


async def stream() -> None:
    async with await wsock.connect(reactor, URL) as connection:
        began = cpu(), time.perf_counter()
        for _ in range(WINDOW):
            await connection.send(MESSAGE)
        for number in range(MESSAGES):
            await connection.receive()
            if number + WINDOW < MESSAGES:
                await connection.send(MESSAGE)
        report(*began)


def run() -> "Deferred[object]":
    if NAME == "stream":
        return Deferred.fromCoroutine(stream())
    return wsock.connectProtocol(reactor, URL, lambda request: Callbacks())


def failed(failure: object) -> None:
    print(failure, file=sys.stderr)
    reactor.stop()


reactor.callWhenRunning(lambda: run().addErrback(failed))
reactor.run()
