"""Many clients that connect at once, more than a server can accept in the meantime."""

import contextlib
import resource
import select
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.peer import PATIENCE, request
from integration.process import Twistd

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and Linux drops what does not fit")

#: How many clients there are: many times Twisted's own listen queue, which has room for 51.
CLIENTS = 1000


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    """Enough for the clients, and for the server, which inherits the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < CLIENTS + 200:
        pytest.skip("too few file descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, CLIENTS + 200), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def clients() -> int:
    """How many fit into the longest queue that the system allows."""
    return min(CLIENTS, int(Path("/proc/sys/net/core/somaxconn").read_text()))


def connected(sock: socket.socket, address: tuple[str, int] | str) -> bool:
    """Whether the system takes a connection that no program accepts for now."""
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        sock.connect(address)
        return True
    # A UNIX socket that has no room is not being connected.
    if sock.family == socket.AF_UNIX:
        return False
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    return bool(poll.poll(PATIENCE * 1000)) and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_burst_waits_in_the_queue(kind: str, tmp_path: Path) -> None:
    """While the server does nothing at all, the connections are made; then all are opened."""
    path = str(tmp_path / "socket")
    port = f"unix:{path}" if kind == "unix" else "tcp:0:interface=127.0.0.1"
    with Twistd("--port", port) as twistd, contextlib.ExitStack() as stack:
        address = path if kind == "unix" else ("127.0.0.1", twistd.ports[0])
        family = socket.AF_UNIX if kind == "unix" else socket.AF_INET
        twistd.process.send_signal(signal.SIGSTOP)
        stack.callback(twistd.process.send_signal, signal.SIGCONT)
        socks = [stack.enter_context(socket.socket(family)) for _ in range(clients())]
        for number, sock in enumerate(socks):
            assert connected(sock, address), f"client {number} has no room"
            sock.sendall(request())
        twistd.process.send_signal(signal.SIGCONT)
        for sock in socks:
            sock.settimeout(PATIENCE)
            assert sock.recv(4096).startswith(b"HTTP/1.1 101 ")
        for sock in socks:
            sock.close()
        twistd.terminate()
