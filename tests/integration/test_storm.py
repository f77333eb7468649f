"""A storm of clients on `twistd wsock`: many at once, and many in a row. All open, and nothing is left of them.

Each change has some hundreds; WSOCK_STORM=full, which `nox -s storm` sets, has thousands and says how long they took.
"""

import contextlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration import crowd
from integration.peer import request, within
from integration.process import ENVIRONMENT, PATIENCE, Twistd

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    pytest.mark.timeout(600),
]

FULL = os.environ.get("WSOCK_STORM") == "full"
REACTOR = os.environ.get("WSOCK_REACTOR", "default")
MIB = 2**20
#: The select reactor takes no descriptor above 1023.
AT_ONCE = (900 if REACTOR == "select" else 2000) if FULL else 300
IN_A_ROW = 10_000 if FULL else 500
#: The memory that a first crowd may leave in the heap of a process, in bytes, and that all later ones may add to it.
FIRST, LATER = 16 * MIB, 3 * MIB
#: `twistd`, with a route that has the C library give back what is free: by itself it keeps the memory of a crowd for
#: the next one.
PROGRAM = """
import ctypes, sys
from twisted.scripts.twistd import run
from wsock import Refuse
from wsock.service import routes

trim = getattr(ctypes.CDLL(None), "malloc_trim", None)

def answer(request):
    if trim is not None:
        trim(0)
    raise Refuse(404)

routes.KINDS["trim"] = lambda: answer
sys.argv[0] = "twistd"
run()
"""


class Server(Twistd):
    """A process that may have all the descriptors that the system lets it have."""

    def __init__(self, certificate: tuple[Path, Path] | None) -> None:
        tls = () if certificate is None else ("--tls-cert", certificate[1], "--tls-key", certificate[0])
        # Each client of a crowd waits for all others, on a machine that may have more to do.
        options = ("--open-timeout", 5 * PATIENCE, "--route", "/echo=echo", "--route", "/trim=trim", *tls)
        super().__init__("--port", "tcp:0:interface=127.0.0.1", *options, command=[sys.executable, "-c", PROGRAM])
        self.certificate = certificate and certificate[1]
        self.where = self.address(certificate=self.certificate)
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (most, most))

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def memory(self) -> int:
        """Its resident set, in bytes, without what is free."""
        peer = self.where.connect()
        peer.send(request("GET /trim HTTP/1.1"))
        assert peer.answer().status == 404
        peer.close()
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()


class Crowd:
    """Clients in a process of their own."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def __call__(self, step: str) -> list[float]:
        """Has them do a step; returns how long each took to open, in seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{step}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "a client failed, see above"
        took: list[float] = json.loads(line)
        return took


@contextlib.contextmanager
def gathering(server: Server, count: int) -> Iterator[Crowd]:
    command = [sys.executable, crowd.__file__, str(server.ports[0]), str(count)]
    if server.certificate is not None:
        command.append(str(server.certificate))
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=ENVIRONMENT, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield Crowd(process)
        finally:
            process.kill()


def figure(text: str) -> None:
    """Says what was measured, where it is worth something."""
    if FULL:
        print(f"\nfigure: {text}", flush=True)


def describe(took: list[float]) -> str:
    """Percentiles, in milliseconds."""
    ordered = sorted(took)
    p50, p99 = (ordered[min(len(ordered) - 1, len(ordered) * part // 100)] * 1000 for part in (50, 99))
    return f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {ordered[-1] * 1000:.2f} ms"


@pytest.mark.parametrize("kind", ["plain", "tls"])
def test_storm(kind: str, certificate: tuple[Path, Path]) -> None:
    with Server(certificate if kind == "tls" else None) as server:
        with gathering(server, 20) as few:
            few("at once")
            most = server.descriptors()
            few("leave")
            within(PATIENCE, lambda: server.descriptors() <= most - 20, "the first clients are gone")
        before = server.descriptors()
        memory = server.memory()

        def storm(step: str, count: int) -> int:
            with gathering(server, count) as clients:
                took = clients(step)
                assert len(took) == count
                if step == "at once":
                    assert server.descriptors() >= before + count
                clients("leave")
            within(PATIENCE, lambda: server.descriptors() <= before, "all descriptors are free")
            used = server.memory() - memory
            figure(
                f"{REACTOR} reactor, {kind}, {count:,} {step}: {describe(took)}; {used / MIB:.1f} MiB more than before"
            )
            return used

        first = storm("at once", AT_ONCE)
        assert first <= FIRST
        assert storm("in a row", IN_A_ROW) <= first + LATER
        assert storm("at once", AT_ONCE) <= first + LATER
