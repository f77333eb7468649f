"""Processes: `twistd wsock`, and a browser."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from integration.peer import Address, within
from tools import require
from websockets.sync.client import ClientConnection, connect

import wsock

#: Where wsock and its plugin are imported from: the present folder and `twistd`'s are of no concern; and how wide the
#: help is, which twistd asks COLUMNS.
ENVIRONMENT = {**os.environ, "COLUMNS": "80", "PYTHONPATH": str(Path(wsock.__file__).parents[1])}
if "WSOCK_REACTOR" in os.environ:
    # The folder that has all processes run on another reactor comes along.
    ENVIRONMENT["PYTHONPATH"] = os.pathsep.join((os.environ["PYTHONPATH"], ENVIRONMENT["PYTHONPATH"]))
TWISTD = [sys.executable, "-c", "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"]
TWIST = [sys.executable, "-m", "twisted"]
#: How long a process may take to start, and to end, in seconds.
PATIENCE = 60


def run(*arguments: object, command: list[str] = TWISTD, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command that ends by itself."""
    line = [*command, *map(str, arguments)]
    return subprocess.run(line, env=ENVIRONMENT, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False)


class Twistd:
    """The process, from when it listens; ended when the context is left.

    Attributes:
        ports: the TCP ports it listens on, in the order of its options.
        process: itself.
    """

    def __init__(
        self,
        *arguments: object,
        ports: int = 1,
        command: list[str] = TWISTD,
        flags: str = "-n --pidfile=",
        stdin: int = subprocess.DEVNULL,
    ):
        self._log = tempfile.NamedTemporaryFile(mode="w+b")  # noqa: SIM115
        self.process = subprocess.Popen(
            [*command, *flags.split(), "wsock", *map(str, arguments)],
            env=ENVIRONMENT,
            cwd=tempfile.gettempdir(),
            stdin=stdin,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        end = time.monotonic() + PATIENCE
        while True:
            found = re.findall(r"listening on (\S+)$", self.log(), re.MULTILINE)
            if len(found) == ports:
                break
            if self.process.poll() is not None or time.monotonic() > end:
                said = self.log()
                self.end()
                raise AssertionError(f"twistd wsock did not start: {said}")
            time.sleep(0.02)
        self.ports = [int(port) for url in found for port in re.findall(r"^\w+://(?:\[.*\]|[^/:]*):(\d+)/", url)]
        self.addresses: list[Address] = []

    def address(self, number: int = 0, certificate: Path | None = None) -> Address:
        """Where its port of that number listens."""
        self.addresses.append(Address(port=self.ports[number], certificate=certificate))
        return self.addresses[-1]

    def log(self) -> str:
        """The output so far, on both of its outputs."""
        return Path(self._log.name).read_text(errors="replace")

    def terminate(self) -> float:
        """Sends SIGTERM; returns how long it then took to end, in seconds."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE)
        # Twisted's newer versions end as the signal would have ended them.
        assert status in (0, -signal.SIGTERM)
        return time.monotonic() - began

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._log.close()

    def peak(self) -> int:
        """The most memory it had since `forget_peak`, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def __enter__(self) -> "Twistd":
        return self

    def __exit__(self, *exception: object) -> None:
        for address in self.addresses:
            address.close()
        log = self.log()
        self.end()
        if exception[0] is None:
            assert "Traceback" not in log, log
            assert "Unhandled" not in log, log


#: Without most of these Chromium looks for hosts of its makers'.
CHROMIUM = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --remote-debugging-port=0"
)
#: Without a certificate that it is to trust, it takes any.
UNVERIFIED = "--ignore-certificate-errors"


def trust_in(folder: Path, certificate: Path) -> None:
    """Puts an authority into a database as Chromium and Firefox have it, which is made."""
    folder.mkdir(parents=True)
    database = [require("certutil"), "-d", f"sql:{folder}"]
    subprocess.run([*database, "-N", "--empty-password"], check=True)
    subprocess.run([*database, "-A", "-n", "tests", "-t", "C,,", "-i", str(certificate)], check=True)


class Inspector:
    """Looks into a page, and acts on it, by Chromium's DevTools protocol. Called, it evaluates an expression.

    Attributes:
        complaints: what the browser's console has shown so far: errors, warnings, what a policy forbade.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self.complaints: list[str] = []
        # Both tell of what was before too.
        self.call("Log.enable")
        self.call("Runtime.enable")

    def __call__(self, expression: str) -> object:
        """The value of an expression, None where it has none; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True)
        return answer.get("result", {}).get("value")

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """The result of one of the protocol's methods, empty where it failed."""
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(PATIENCE))
            if message.get("id") == self._number:
                return dict(message.get("result", {}))
            # An answer that nobody waits for any more has none.
            if "method" in message:
                self._heard(message["method"], message["params"])

    def _heard(self, event: str, parameters: Any) -> None:
        if event == "Log.entryAdded":
            self.complaints.append(parameters["entry"]["text"])
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(str(parameters["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled":
            self.complaints.append(" ".join(str(one.get("value")) for one in parameters["args"]))


@contextlib.contextmanager
def browse(url: str, profile: Path, authority: Path | None = None, *options: str) -> Iterator[Inspector]:
    """Has Chromium show a page; gives what evaluates an expression in it.

    Args:
        url: the page's.
        profile: where it keeps what it keeps; removed in the end.
        authority: whose certificates it trusts; it trusts all without.
        options: further ones of its command line.
    """
    command = [require("chromium"), *CHROMIUM.split(), *options, f"--user-data-dir={profile}", url]
    environment = dict(os.environ)
    if authority is None:
        command.insert(1, UNVERIFIED)
    else:
        environment["HOME"] = str(profile)
        trust_in(profile / ".pki" / "nssdb", authority)
    # A group of its own: Chromium is many processes.
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as browser:
        try:
            port_file = profile / "DevToolsActivePort"
            within(PATIENCE, lambda: port_file.exists() and "\n" in port_file.read_text(), "Chromium starts")
            port = int(port_file.read_text().splitlines()[0])
            tools = f"http://127.0.0.1:{port}/json/list"
            # Not by way of a proxy that the environment may name.
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            pages: list[dict[str, str]] = []

            def listed() -> bool:
                with opener.open(tools, timeout=PATIENCE) as answer:
                    pages[:] = [page for page in json.load(answer) if page["url"].startswith(url)]
                return bool(pages)

            within(PATIENCE, listed, "Chromium shows the page")
            sock = socket.create_connection(("127.0.0.1", port))
            # A picture is larger than what the client takes by default.
            with connect(pages[0]["webSocketDebuggerUrl"], sock=sock, max_size=None) as connection:
                yield Inspector(connection)
        finally:
            os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()
            # It has a folder for its socket beside that, which it removes only where it ends by itself.
            link = profile / "SingletonSocket"
            if link.is_symlink():
                shutil.rmtree(link.readlink().parent, ignore_errors=True)
            shutil.rmtree(profile, ignore_errors=True)
