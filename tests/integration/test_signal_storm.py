"""SIGTERM while clients come and go and log lines are written: every server ends, and says so.

Each change sends some dozens; WSOCK_FAULTS=full, which `nox -s faults` sets, sends 1,000.
"""

import contextlib
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.peer import PATIENCE, Address, request, within
from integration.process import Twistd

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="sends signals"),
    pytest.mark.timeout(1800),
]

FULL = os.environ.get("WSOCK_FAULTS") == "full"
#: How many signals a test sends, by how many each server gets in quick succession.
SIGNALS = {1: 200, 10: 800} if FULL else {1: 6, 10: 40}
#: `twistd`, with a route that logs the end of each connection. A log line takes a lock that its own thread can't take
#: again, for some time: a signal handler that logs in the middle of a line waits for good. The locks of Twisted's own
#: log files do that, too, but only for a fraction of a microsecond.
PROGRAM = """
import os, sys, threading, time
from twisted.internet import reactor
from twisted.logger import Logger, globalLogPublisher
from twisted.scripts.twistd import run
from wsock import Accept
from wsock.service import routes

log = Logger(namespace="storm")
lock = threading.Lock()

def write(event):
    with lock:
        time.sleep(0.0002)

class Talks(routes.Echo):
    def connectionLost(self, reason):
        log.info("gone")

globalLogPublisher.addObserver(write)
routes.KINDS["echo"] = lambda: lambda request: Accept(Talks())
sys.argv[0] = "twistd"
reactor.callWhenRunning(reactor.callLater, 0, os.write, 1, b"runs\\n")
run()
"""
#: Clients that leave with a WebSocket, are refused, get the console, do not finish their request, and say nothing.
CLIENTS = (
    request("GET /echo HTTP/1.1"),
    request("GET /none HTTP/1.1"),
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    request("GET /echo HTTP/1.1")[:40],
    b"",
)


class Server(Twistd):
    """A process that logs much.

    Attributes:
        where: where it listens.
    """

    def __init__(self, *options: object) -> None:
        line = ["--port", "tcp:0:interface=127.0.0.1", *options]
        super().__init__(*line, command=[sys.executable, "-c", PROGRAM])
        self.where = self.address()
        within(PATIENCE, lambda: re.search("^runs$", self.log(), re.MULTILINE), "the reactor runs")


@contextlib.contextmanager
def storm(server: Address) -> Iterator[None]:
    """Has clients connect and leave, as fast as they can, until the context is left."""
    over = threading.Event()

    def connect() -> None:
        turn = 0
        while not over.is_set():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
                turn += 1
                data = CLIENTS[turn % len(CLIENTS)]
                client.sendall(data)
                if data.endswith(b"\r\n\r\n"):
                    client.recv(1000)
            over.wait(0.0005)

    threads = [threading.Thread(target=connect) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("together", SIGNALS)
def test_sigterm_in_a_storm_of_connects(together: int, tmp_path: Path) -> None:
    options = (("--access-log", tmp_path / "access.log"), (), ("--access-log", "-"))
    sent = servers = 0
    while sent < SIGNALS[together]:
        servers += 1
        with Server(*options[servers % 3]) as server, storm(server.where):
            within(PATIENCE, lambda server=server: server.log().count("gone") > 20, "connections come and go")
            for _ in range(min(together, SIGNALS[together] - sent)):
                if server.process.poll() is not None:
                    break
                server.process.send_signal(signal.SIGTERM)
                sent += 1
                # The system keeps one of a kind for a process: the next is to be one more.
                time.sleep(0.001)
            # In place of a wait for good. Leaving the context looks for tracebacks.
            assert server.process.wait(PATIENCE) in (0, -signal.SIGTERM), f"server {servers}, signal {sent}"
            log = server.log()
            assert re.findall("Received SIG.*", log) == ["Received SIGTERM, shutting down."]
            assert "Server Shut Down." in log
    if FULL:
        print(f"\nfigure: {sent} SIGTERMs, {together} to a server, {servers} servers: all ended", flush=True)
