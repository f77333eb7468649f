"""`twistd wsock` as operators meet it, in real processes."""

import contextlib
import os
import pty
import select
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from integration.peer import PATIENCE, request, within
from integration.process import ENVIRONMENT, TWISTD, Twistd, run

LOOPBACK = "tcp:0:interface=127.0.0.1"


def ask(port: int, line: str = "GET /echo HTTP/1.1", before: bytes = b"") -> socket.socket:
    """Asks for a WebSocket, and waits for an answer."""
    peer = socket.create_connection(("127.0.0.1", port), PATIENCE)
    peer.sendall(before + request(line))
    assert peer.recv(1000).startswith(b"HTTP/1.1 ")
    return peer


def test_a_unix_socket_in_use(tmp_path: Path) -> None:
    description = f"unix:{tmp_path}/s"
    with Twistd("--port", LOOPBACK, "--port", description, ports=2):
        for flags in (["-n", "--pidfile="], ["--pidfile=", f"--logfile={tmp_path}/log"]):
            done = run(*flags, "wsock", "--port", description)
            assert done.returncode == 1
            assert done.stderr == f"twistd wsock: can't listen: Address already in use ({description})\n"


@pytest.mark.slow
def test_a_terminal_that_takes_no_more() -> None:
    """As after Control-S: lines of the access log are left out, and the server goes on."""
    master, slave = pty.openpty()
    command = [*TWISTD, "-n", "--pidfile=", "wsock", "--port", LOOPBACK]
    with subprocess.Popen(command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave) as process:
        try:
            said = b""
            while b"serving /healthz" not in said:
                assert select.select([master], [], [], PATIENCE)[0], said
                said += os.read(master, 65536)
            port = int(said.split(b"127.0.0.1:")[1].split(b"/")[0])
            # The lines are some 30 KB, and a terminal takes 4.
            for _ in range(300):
                ask(port).close()
            # The writer's second passes for the lines that wait, and once more.
            for _ in range(30):
                ask(port).close()
                time.sleep(0.1)
        finally:
            process.kill()
            os.close(master)
            os.close(slave)


def test_two_signals_in_one_turn() -> None:
    """The second ends the server at once: before the four seconds in which it waits for its peers."""
    with Twistd("--port", LOOPBACK) as twistd, contextlib.closing(ask(twistd.ports[0])) as peer:
        # Both are there before the process looks.
        twistd.process.send_signal(signal.SIGSTOP)
        twistd.process.send_signal(signal.SIGINT)
        twistd.process.send_signal(signal.SIGTERM)
        twistd.process.send_signal(signal.SIGCONT)
        # Aborted, and not closed with 1001 and waited for.
        peer.settimeout(3)
        with contextlib.suppress(ConnectionResetError):
            while peer.recv(1000):
                pass
        twistd.process.wait(PATIENCE)


def test_a_peer_of_the_proxy_protocol_writes_no_terminal() -> None:
    with Twistd("--port", f"haproxy:{LOOPBACK}", "--access-log", "none") as twistd:
        ask(twistd.ports[0], "GET /no HTTP/1.1", b"PROXY TCP4 \x1b[31mx 127.0.0.1 1 2\r\n").close()
        within(PATIENCE, lambda: "refused GET /no" in twistd.log(), "the refusal is logged")
        assert "\x1b" not in twistd.log()
