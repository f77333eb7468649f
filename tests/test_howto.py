"""The programs of the how-to pages about limits, broadcasting, logging and the like, as a user runs them."""

import contextlib
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from test_examples import EXAMPLES, PATIENCE, ROOT, Server, starting, status_of, talk
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from wsock import AccessRecord
from wsock.service.accesslog import formatRecord

Start = Callable[[str], Server]


@pytest.fixture
def start() -> Iterator[Start]:
    """Returns a function that starts a server: start(NAME)."""
    with starting() as start:
        yield lambda name: start(f"howto/{name}.py", 0)


@contextlib.contextmanager
def deaf(url: str, message: str) -> Iterator[socket.socket]:
    """A client that sends one message, and of what comes reads nothing but the 101."""
    parts = urlsplit(url)
    with socket.socket() as peer:
        peer.settimeout(PATIENCE)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**14)
        peer.connect((parts.hostname, parts.port))
        peer.sendall(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += peer.recv(1)
        assert answer.startswith(b"HTTP/1.1 101 ")
        peer.sendall(bytes((0x81, 0x80 | len(message), 0, 0, 0, 0)) + message.encode())
        yield peer


def peak(server: Server) -> int:
    """The most memory that it has had, in bytes; 0 where that can't be told."""
    status = Path(f"/proc/{server.process.pid}/status")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]) * 1024 if status.exists() else 0


def closing(client: ClientConnection) -> int | None:
    """The code that it is closed with; nothing comes before."""
    with pytest.raises(ConnectionClosed) as closed:
        client.recv(PATIENCE)
    return closed.value.rcvd and closed.value.rcvd.code


@pytest.mark.parametrize("name", ["limits", "backpressure", "broadcasting", "threads"])
def test_pages(name: str) -> None:
    """Each shows its program, and no setting that is not there."""
    page = (ROOT / f"docs/howto/{name}.md").read_text()
    assert f"../../examples/howto/{name}.py" in page
    assert len((EXAMPLES / "howto" / f"{name}.py").read_text().splitlines()) <= 40


def test_options_of_limits() -> None:
    """The page's table has all settings, with their defaults."""
    from wsock import Settings

    page = (ROOT / "docs/howto/limits.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", page, re.MULTILINE))
    defaults = Settings()
    assert rows == {name: str(getattr(defaults, name)) for name in Settings.__dataclass_fields__}


def test_limits(start: Start) -> None:
    server = start("limits")
    with talk(server.url) as one, talk(server.url) as other:
        one.send("x" * 1000)
        for client in (one, other):
            assert client.recv(PATIENCE) == "x" * 1000
        status, _, headers = status_of(server.url)
        assert (status, headers["Retry-After"]) == (503, "5")
        other.send("x" * 1001)
        assert closing(other) == 1009
    # There is room again.
    with talk(server.url) as one:
        one.send("Hello")
        assert one.recv(PATIENCE) == "Hello"


def test_backpressure(start: Start) -> None:
    server = start("backpressure")
    idle = peak(server)
    with talk(server.url) as client, deaf(server.url, "9999999"):
        # The second waits for the first.
        client.send("2500")
        client.send("1")
        received = [client.recv(PATIENCE) for _ in range(6)]
        assert [int(number) for message in received[:3] for number in str(message).split()] == list(range(2500))
        assert received[3:] == ["that was all, 0 messages were dropped", "0", "that was all, 0 messages were dropped"]
        # The other has asked for 80 MB, which it does not read: of these there is little more than the mark.
        before = -1
        while before != (before := peak(server)):
            time.sleep(0.5)
        assert before < idle + 2**24


def test_broadcasting(start: Start) -> None:
    server = start("broadcasting")
    with talk(server.url) as one, talk(server.url) as other, deaf(server.url, "x"):
        first = [int(str(client.recv(PATIENCE)).removeprefix("tick ")) for client in (one, other)]
        for client, number in zip((one, other), first, strict=True):
            for later in range(1, 5):
                assert client.recv(PATIENCE) == f"tick {number + later}"
        assert 0 <= first[1] - first[0] <= 10 * PATIENCE


def test_logging(start: Start) -> None:
    server = start("logging_server")
    with talk(f"{server.url}chat?token=secret") as client:
        client.send("Hello")
        assert client.recv(PATIENCE) == "Hello"
        client.close(1000, "Bye")
    assert status_of(server.url, origin="http://localhost:5173")[0] == 403
    assert server.process.stdout is not None
    first, second = (json.loads(server.process.stdout.readline()) for _ in range(2))
    assert list(first) == list(AccessRecord._fields)
    known = ("path", "status", "code", "reason", "closedBy", "messagesReceived", "messagesSent")
    assert [first[name] for name in known] == ["/chat", 101, 1000, "Bye", "peer", 1, 1]
    assert (second["status"], second["closedBy"]) == (403, "us")
    assert second["reason"].startswith("Origin http://localhost:5173 is not allowed for Host 127.0.0.1:")
    assert "5 characters for /chat" in server.log()
    assert "5173" not in server.log()
    assert "secret" not in server.log()


def test_the_page_about_logging() -> None:
    """Its lines are those that are written."""
    page = (ROOT / "docs/howto/logging.md").read_text()
    assert "../../examples/howto/logging_server.py" in page
    # As of test_accesslog.
    record = AccessRecord(
        peer="127.0.0.1:50812",
        path="/chat",
        status=101,
        subprotocol=None,
        extension=None,
        code=1000,
        reason="Bye",
        closedBy="peer",
        seconds=12.345678,
        messagesReceived=3,
        messagesSent=4,
        bytesReceived=500,
        bytesSent=600,
    )
    assert f"\n{json.dumps(record._asdict())}\n" in page
    assert f"\n{formatRecord(record, '2026-11-28T06:00:00.000Z')}\n" in page
    # What it shows of filters can be run.
    (program,) = re.findall(r"^```python\n(from twisted.logger import \(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    code = f"import sys\n{program}\n" + (
        "from twisted.logger import Logger\n"
        "for name in ('wsock.server', 'mine'):\n"
        "    for level in ('info', 'warn'):\n"
        "        getattr(Logger(name), level)(f'{level} of {name}')\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert re.findall(r"\] (.*)", result.stderr) == ["warn of wsock.server", "info of mine", "warn of mine"]


def test_threads(start: Start) -> None:
    server = start("threads")
    with talk(server.url) as client, deaf(server.url, "99999999"):
        client.send("30")
        client.send("4")
        expected = [*map(str, (2, 3, 5, 7, 11, 13, 17, 19, 23, 29)), "that was all", "2", "3", "that was all"]
        assert [client.recv(PATIENCE) for _ in expected] == expected
    # What the other has asked for ends with its connection, and so does the program.
