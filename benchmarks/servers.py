"""The servers that are measured: how each is started, which version it is, and what it has used so far."""

import contextlib
import json
import os
import random
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from .load import BenchmarkError, pin

PROGRAMS = Path(__file__).with_name("programs")
PEERS_PROGRAM = str(PROGRAMS / "peers.py")
TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"
OURS = "wsock"
#: Twisted without WebSocket, which the interpreter of wsock has too.
RAW = "raw-twisted"
#: The peers, in the order of the tables.
PEERS = (
    "autobahn",
    "twisted.web",
    "websockets-uvloop",
    "picows-uvloop",
    "aiohttp-uvloop",
    "websockets",
    "picows",
    "aiohttp",
)
#: Below the range from which the system takes the ports of clients.
_PORTS = range(12_000, 30_000)
_START_SECONDS = 30
_SETTLE_SECONDS = 0.02


class Usage(NamedTuple):
    """The CPU time and the page faults of a process so far.

    Attributes:
        cpu: microseconds on a CPU, in user mode and in the kernel.
        faults: minor page faults.
        resident: bytes of memory.
    """

    cpu: float
    faults: int
    resident: int


def use(pid: int) -> Usage:
    """The use of a process so far, by Linux's /proc: its CPU time is exact, and not counted in ticks."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    cpu = sum(int(one.read_text().split()[0]) for one in threads) / 1000
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Usage(cpu, int(fields[7]), pages * os.sysconf("SC_PAGE_SIZE"))


def settle(pid: int, seconds: float = 5) -> Usage:
    """Waits until a process has nothing to do; returns what it has used by then."""
    used = use(pid)
    for _ in range(int(seconds / _SETTLE_SECONDS)):
        time.sleep(_SETTLE_SECONDS)
        before, used = used, use(pid)
        if used.cpu - before.cpu < 100:
            break
    return used


def find_port() -> int:
    """A port at which nothing listens."""
    for port in random.sample(_PORTS, 100):
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port
    raise BenchmarkError("no port is free")


@dataclass
class Servers:
    """Starts servers.

    Attributes:
        python: an interpreter that has wsock.
        peers_python: one that has the peers.
        folder: for their logs, and the certificate. It is their working folder: from a checkout, Python would take
            the sources there for the package.
        cpu: the servers run on this one; None for any.
        load_cpu: and what loads them on this one.
    """

    python: str
    peers_python: str
    folder: Path
    cpu: int | None = None
    load_cpu: int | None = None
    _certificate: list[str] = field(default_factory=list)

    def versions(self) -> dict[str, str | None]:
        """The version of each server; None where something is missing."""
        program = (
            "import platform, twisted, wsock; print(f'{wsock.__version__} ({wsock.implementation} core, "
            "{wsock.maskImplementation} mask), twisted {twisted.__version__}, Python {platform.python_version()}')"
        )
        ours = self._ask([self.python, "-c", program])
        peers: dict[str, str | None] = json.loads(self._ask([self.peers_python, PEERS_PROGRAM, "versions"]))
        return {**peers, OURS: f"wsock {ours}", RAW: "the same Twisted"}

    def _ask(self, command: list[str]) -> str:
        result = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        if result.returncode:
            raise BenchmarkError(f"{command[0]} can't run what is needed: {result.stderr.strip().splitlines()[-1]}")
        return result.stdout.strip()

    def certificate(self) -> list[str]:
        """The paths of a new self-signed certificate and its key.

        Raises:
            BenchmarkError: the program openssl is missing.
        """
        if not self._certificate:
            certificate, key = str(self.folder / "cert.pem"), str(self.folder / "key.pem")
            curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=localhost"]
            command = ["openssl", "req", "-x509", *curve, "-nodes", "-days", "30", "-keyout", key, "-out", certificate]
            try:
                subprocess.run(command, capture_output=True, check=True)
            except (OSError, subprocess.CalledProcessError) as error:
                raise BenchmarkError(f"a certificate needs the program openssl: {error}") from None
            self._certificate = [certificate, key]
        return self._certificate

    def command(self, name: str, port: int, kind: str, tls: bool, options: Sequence[str] = ()) -> list[str]:
        if kind == "neighbour":
            python = self.python if name == OURS else self.peers_python
            return [python, str(PROGRAMS / "neighbour.py"), name, str(port), *options]
        certificate = self.certificate() if tls else []
        if name != OURS:
            python = self.python if name == RAW else self.peers_python
            return [python, PEERS_PROGRAM, name, str(port), kind, *certificate]
        if kind == "burst":
            return [self.python, str(PROGRAMS / "burst.py"), str(port)]
        endpoint = f"tcp:{port}:interface=127.0.0.1:backlog=4096"
        secured = ["--tls-cert", certificate[0], "--tls-key", certificate[1]] if tls else []
        twistd = [self.python, "-c", TWISTD, "-n", "--pidfile=", "--logfile=twistd.log", "wsock"]
        return [*twistd, "--port", endpoint, "--route", f"/={kind}", *secured, *options]

    @contextlib.contextmanager
    def start(
        self, name: str, kind: str = "echo", *, tls: bool = False, options: Sequence[str] = ()
    ) -> Iterator[tuple[int, int]]:
        """Starts a server, and ends it.

        Yields:
            Its port, and the number of its process.
        """
        port = find_port()
        command = self.command(name, port, kind, tls, options)
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdout=output,
                stderr=output,
                preexec_fn=None if self.cpu is None else pin(self.cpu),
            )
            with process:
                try:
                    self._wait(process, port, log)
                    settle(process.pid)
                    yield port, process.pid
                finally:
                    process.kill()

    def _wait(self, process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["and printed nothing"]
        raise BenchmarkError(f"the server did not start: {last[0]}")


@contextlib.contextmanager
def prepare(python: str, peers_python: str) -> Iterator[Servers]:
    """Servers on a CPU of their own, where there are two."""
    cpus = sorted(os.sched_getaffinity(0))
    own, other = (cpus[0], cpus[-1]) if len(cpus) > 1 else (None, None)
    with tempfile.TemporaryDirectory() as folder:
        yield Servers(python, peers_python, Path(folder), own, other)
