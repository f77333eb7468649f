"""The examples on plain sockets, as a user runs them: against each other."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import wsock

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def port():
    """The port of the server's example, while it runs."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        number = probe.getsockname()[1]
    # The same wsock that this process tests.
    environment = dict(os.environ, PYTHONPATH=str(Path(wsock.__file__).parents[1]))
    server = subprocess.Popen([sys.executable, EXAMPLES / "sansio_server.py", str(number)], env=environment)
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", number), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield number
    finally:
        server.terminate()
        server.wait(10)


def run_client(port):
    environment = dict(os.environ, PYTHONPATH=str(Path(wsock.__file__).parents[1]))
    command = [sys.executable, EXAMPLES / "sansio_client.py", f"ws://127.0.0.1:{port}/echo"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


def test_client_and_server(port):
    for _ in range(2):
        result = run_client(port)
        assert (result.stdout, result.stderr, result.returncode) == ("text: Hello\nclosed: 1000 \n", "", 0)


def test_the_server_refuses_what_is_no_websocket(port):
    with socket.create_connection(("127.0.0.1", port), 10) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b"".join(iter(lambda: peer.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 426 ")


@pytest.mark.parametrize("name", ["sansio_client.py", "sansio_server.py"])
def test_they_are_short(name):
    assert len((EXAMPLES / name).read_text().splitlines()) <= 40
