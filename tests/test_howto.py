"""The programs of the how-to pages about limits, broadcasting, logging and the like, as a user runs them."""

import asyncio
import contextlib
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from test_examples import ENVIRONMENT, EXAMPLES, PATIENCE, ROOT, Server, run, starting, status_of, talk
from tools import free_port
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

import wsock
from wsock import AccessRecord
from wsock.service.accesslog import formatRecord
from wsock.testing import MemoryAgent

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


#: The pages that show a program of another name.
PAGES = {"asyncio": "asyncio_server", "rate-limits": "rate_limit", "twisted-web": "twisted_web"}


@pytest.mark.parametrize(
    "name",
    [
        "limits",
        "backpressure",
        "broadcasting",
        "threads",
        "routing",
        "rooms",
        "rate-limits",
        "asyncio",
        "compression",
        "twisted-web",
        "proxies",
    ],
)
def test_pages(name: str) -> None:
    """Each shows its program, and no setting that is not there."""
    page, program = (ROOT / f"docs/howto/{name}.md").read_text(), PAGES.get(name, name)
    assert f"../../examples/howto/{program}.py" in page
    assert len((EXAMPLES / "howto" / f"{program}.py").read_text().splitlines()) <= 40


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


def test_twisted_web(start: Start) -> None:
    server = start("twisted_web")
    talking = server.url.replace("http://", "ws://") + "talk"
    assert status_of(talking)[:2] == (403, b"log in first")
    with urllib.request.urlopen(f"{server.url}login", b"name=ann", PATIENCE) as answer:
        assert answer.read() == b"welcome"
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
    with talk(talking, additional_headers={"Cookie": cookie}) as client:
        client.send("Hello")
        assert client.recv(PATIENCE) == "ann: Hello"


def test_klein() -> None:
    """In at most 25 lines, as the page shows it."""
    if os.environ.get("CI") != "true":
        pytest.importorskip("klein")
    assert "../../examples/howto/klein_app.py" in (ROOT / "docs/howto/twisted-web.md").read_text()
    assert len((EXAMPLES / "howto" / "klein_app.py").read_text().splitlines()) <= 25
    port = free_port()
    with starting() as start:
        server = start("howto/klein_app.py", port, port=port)
        with talk(f"{server.url}echo") as client:
            client.send("Hello")
            assert client.recv(PATIENCE) == "Hello"


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
    # Its example of filters can be run.
    (program,) = re.findall(r"^```python\n(from twisted.logger import \(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    code = f"import sys\n{program}\n" + (
        "from twisted.logger import Logger\n"
        "for name in ('wsock.server', 'mine'):\n"
        "    for level in ('info', 'warn'):\n"
        "        getattr(Logger(name), level)(f'{level} of {name}')\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert re.findall(r"\] (.*)", result.stderr) == ["warn of wsock.server", "info of mine", "warn of mine"]


def test_logging_by_the_standard_library() -> None:
    page = (ROOT / "docs/howto/logging.md").read_text()
    (program,) = re.findall(r"^```python\n(from twisted.logger import STDLib.*?)^```$", page, re.MULTILINE | re.DOTALL)
    code = (
        f"import logging\nfrom twisted.logger import Logger\n{program}\n"
        "for name in ('info', 'warn', 'debug'):\n"
        "    getattr(Logger('wsock'), name)(name)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert result.stderr.splitlines() == ["INFO:twisted:info", "WARNING:twisted:warn"]


def test_threads(start: Start) -> None:
    server = start("threads")
    with talk(server.url) as client, deaf(server.url, "99999999"):
        client.send("30")
        client.send("4")
        expected = [*map(str, (2, 3, 5, 7, 11, 13, 17, 19, 23, 29)), "that was all", "2", "3", "that was all"]
        assert [client.recv(PATIENCE) for _ in expected] == expected
    # The other's requests end with its connection, and so does the program.


# Several endpoints


def test_routing(start: Start) -> None:
    server = start("routing")
    with talk(f"{server.url}echo?x=1") as client:
        client.send("Hello")
        assert client.recv(PATIENCE) == "Hello"
    with talk(f"{server.url}count/3") as client:
        assert [client.recv(PATIENCE) for _ in range(3)] == ["0", "1", "2"]
        assert closing(client) == 1000
    for path in ("", "Echo", "echo/", "count/", "count/x", "count/12345", "count/1/2"):
        assert status_of(server.url + path)[0] == 404
    assert status_of(server.url + "echo%2F")[0] == 400


def ask(agent: MemoryAgent, path: str, message: str) -> object:
    """The answer to a message, or why there is none."""

    async def asking() -> object:
        stream = await agent.connect(f"ws://localhost{path}")
        await stream.send(message)
        return await stream.receive()

    results: list[object] = []
    Deferred.fromCoroutine(asking()).addCallbacks(results.append, lambda failure: results.append(failure.value))
    agent.flush()
    return results[0]


# Rooms


def test_rooms(start: Start) -> None:
    server = start("rooms")
    with talk(f"{server.url}red") as ann, talk(f"{server.url}red") as bob, talk(f"{server.url}blue") as cid:
        bob.send("Hello")
        cid.send("Good day")
        assert [client.recv(PATIENCE) for client in (ann, bob, cid)] == ["Hello", "Hello", "Good day"]


def test_rooms_come_and_go() -> None:
    rooms = load("rooms")
    agent = MemoryAgent(wsock.WebSocketServerFactory(lambda request: rooms.Member()))
    streams = []
    for path in ("red", "red", "blue"):
        agent.connect(f"ws://localhost/{path}").addCallback(streams.append)
    agent.flush()
    assert {path: len(room) for path, room in rooms.rooms.items()} == {"/red": 2, "/blue": 1}
    streams[0].transport.loseConnection()
    streams[2].transport.abortConnection()
    agent.flush()
    assert {path: len(room) for path, room in rooms.rooms.items()} == {"/red": 1}
    streams[1].transport.loseConnection()
    agent.flush()
    assert rooms.rooms == {}


def test_who_may_come_into_a_room() -> None:
    page = (ROOT / "docs/howto/rooms.md").read_text()
    (program,) = re.findall(r"^```python\n(def build.*?)^```$", page, re.MULTILINE | re.DOTALL)
    rooms = {"/some": range(99), "/full": range(100)}
    names = {"Refuse": wsock.Refuse, "Member": wsock.WebSocketProtocol, "rooms": rooms}
    exec(program, names)
    agent = MemoryAgent(wsock.WebSocketServerFactory(names["build"]))
    results: list[object] = []
    for path in ("some", "full", "other"):
        agent.connect(f"ws://localhost/{path}").addCallbacks(
            lambda stream: 101, lambda failure: failure.value.response.status
        ).addCallback(results.append)
    agent.flush()
    assert results == [101, 503, 404]


def test_several_rooms_on_one_connection() -> None:
    page = (ROOT / "docs/howto/rooms.md").read_text()
    (program,) = re.findall(r"^```python\n(def textMessageReceived.*?)^```$", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"json": json, "rooms": {"red": wsock.Group(), "blue": wsock.Group()}}
    exec(program, names)
    member = type("Member", (wsock.WebSocketProtocol,), {"textMessageReceived": names["textMessageReceived"]})
    agent = MemoryAgent(wsock.WebSocketServerFactory(lambda request: member()))
    streams: list[wsock.WebSocketStream] = []
    for _ in range(2):
        agent.connect().addCallback(streams.append)
    agent.flush()
    one, other = streams
    said = ['{"room": "red", "say": 1}', '{"room": "blue", "say": 2}', '{"room": "red", "say": 3}']
    for stream, message in (
        *((stream, '{"room": "red"}') for stream in streams),
        (one, '{"room": "blue"}'),
        *((other, message) for message in said[:2]),
        (one, '{"room": "red", "leave": true}'),
        (other, said[2]),
    ):
        stream.send(message)
        agent.flush()
    # The other was never in the blue room, so that its message for that reaches nobody.
    assert [taken(agent, stream) for stream in streams] == [said[:1], [said[0], said[2]]]
    one.send('{"room": "green"}')
    agent.flush()
    assert one.transport.closeReceived == (1008, "no such room")


def taken(agent: MemoryAgent, stream: wsock.WebSocketStream) -> list[object]:
    """The messages that have come."""
    messages: list[object] = []
    while True:
        count = len(messages)
        receiving = stream.receive().addCallbacks(messages.append, lambda failure: None)
        agent.flush()
        if len(messages) == count:
            receiving.cancel()
            return messages


# Rate limits


def load(name: str) -> Any:
    """A program of the pages, as a module that does not run."""
    specification = importlib.util.spec_from_file_location(name, EXAMPLES / "howto" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def flood(client: ClientConnection) -> None:
    """Sends more than the limit lets pass in minutes, however slow this is; a client that is closed raises."""
    for _ in range(20):
        client.send("x")
        assert client.recv(PATIENCE) == "x"
    for _ in range(3000):
        client.send("x")
    for _ in range(3000):
        client.recv(PATIENCE)


def test_rate_limit(start: Start) -> None:
    server = start("rate_limit")
    with talk(server.url) as client:
        with pytest.raises(ConnectionClosed) as closed:
            flood(client)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "too many messages")
    with talk(f"{server.url}patient") as client:
        for number in range(30):
            client.send(str(number))
        assert [client.recv(PATIENCE) for _ in range(30)] == [str(number) for number in range(30)]


@pytest.fixture
def limited() -> MemoryAgent:
    return MemoryAgent(wsock.WebSocketServerFactory(load("rate_limit").routes))


def opened(agent: MemoryAgent, path: str) -> wsock.WebSocketStream:
    streams: list[wsock.WebSocketStream] = []
    agent.connect(f"ws://localhost{path}").addCallback(streams.append)
    agent.flush()
    return streams[0]


def test_a_burst_and_then_a_steady_rate(limited: MemoryAgent) -> None:
    stream = opened(limited, "/")
    sent = [str(number) for number in range(40)]
    for message in sent[:20]:
        stream.send(message)
    assert taken(limited, stream) == sent[:20]
    for message in sent[20:]:
        limited.advance(0.1)
        stream.send(message)
        assert taken(limited, stream) == [message]
    # Silence saves up a burst, and no more.
    limited.advance(60)
    for message in sent[:20]:
        stream.send(message)
    assert taken(limited, stream) == sent[:20]
    limited.advance(0.05)
    stream.send("too early")
    limited.flush()
    assert stream.transport.closeReceived == (1008, "too many messages")


def test_a_client_that_has_to_wait(limited: MemoryAgent) -> None:
    stream = opened(limited, "/patient")
    for number in range(40):
        stream.send(str(number))
    # One more than the burst: it is answered, and the next one waits.
    assert len(taken(limited, stream)) == 21
    for _ in range(19):
        limited.advance(0.101)
        assert len(taken(limited, stream)) == 1
    assert taken(limited, stream) == []
    for number in range(40):
        stream.send(str(number))
    limited.flush()
    stream.transport.abortConnection()
    limited.advance(60)
    assert limited.clock.getDelayedCalls() == []


# asyncio


def test_asyncio(start: Start) -> None:
    server = start("asyncio_server")
    with talk(server.url) as client:
        for message in ("Hello", "wsock"):
            client.send(message)
            assert client.recv(PATIENCE) == message[::-1]


#: The page's claims about awaiting: each is tried in Twisted's coroutine, and in asyncio's task.
BRIDGE = """
import asyncio
from twisted.internet import asyncioreactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import deferLater, react
from wsock import *

class Echo(WebSocketProtocol):
    def textMessageReceived(self, message):
        self.transport.sendTextMessage(message)

async def attempt(name, coroutine):
    try:
        print(f"{name}:", await coroutine)
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {error}".partition(" <")[0])

async def main(reactor):
    factory = WebSocketServerFactory(lambda request: Echo())
    port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
    url = f"ws://127.0.0.1:{port.getHost().port}/"
    await deferLater(reactor, 0)

    async def task(coroutine):
        await attempt(coroutine.__name__, Deferred.fromFuture(asyncio.ensure_future(coroutine)))

    async def sleep():
        await asyncio.sleep(0.01)
    async def group():
        async with asyncio.timeout(1):
            pass
    await attempt("sleep", sleep())
    if hasattr(asyncio, "timeout"):
        await attempt("group", group())
    stream = await connect(reactor, url)
    async def receive():
        await stream.receive()
    async def iterate():
        async for message in stream:
            pass
    async def leave():
        async with stream:
            pass
    for function in (receive, iterate):
        await task(function())
        # A receive that nobody waits for would be given the next message.
        stream = await connect(reactor, url)
    await task(leave())
    await task(client(url))
    async def wait():
        stream = await connect(reactor, url).asFuture(asyncio.get_running_loop())
        try:
            await asyncio.wait_for(stream.receive().asFuture(asyncio.get_running_loop()), 0.01)
        except asyncio.TimeoutError:
            await stream.send("late").asFuture(asyncio.get_running_loop())
            return await stream.receive().asFuture(asyncio.get_running_loop())
    await task(wait())
    async def talk():
        async with await connect(reactor, url) as stream:
            await stream.send("whole")
            async for message in stream:
                return message
    async def whole():
        return await Deferred.fromCoroutine(talk()).asFuture(asyncio.get_running_loop())
    await task(whole())

asyncioreactor.install(asyncio.new_event_loop())
from twisted.internet import reactor
PROGRAM
react(main)
"""


def test_the_bridge_to_asyncio() -> None:
    page = (ROOT / "docs/howto/asyncio.md").read_text()
    (program,) = re.findall(r"^```python\n(async def client.*?)^```$", page, re.MULTILINE | re.DOTALL)
    command = [sys.executable, "-W", "ignore", "-c", BRIDGE.replace("PROGRAM", program)]
    result = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    lines = result.stdout.splitlines()
    if sys.version_info < (3, 11):
        lines.insert(1, "group: RuntimeError: Timeout should be used inside a task")
    assert lines == [
        "sleep: RuntimeError: await wasn't used with future",
        "group: RuntimeError: Timeout should be used inside a task",
        "receive: RuntimeError: Task got bad yield:",
        "iterate: RuntimeError: Task got bad yield:",
        "leave: RuntimeError: Task got bad yield:",
        "client: Hello",
        "wait: late",
        "whole: whole",
    ], result.stderr
    assert result.returncode == 0


def test_a_future_that_is_cancelled() -> None:
    """The client has left: that is no failure, and not logged, as the page says."""
    # It runs in the test's own loop: none is running here.
    loop = asyncio.new_event_loop()
    try:
        futures: list[asyncio.Future[str]] = []

        def look_up(message: str) -> asyncio.Future[str]:
            futures.append(loop.create_future())
            return futures[-1]

        class Looking(wsock.WebSocketProtocol):
            async def textMessageReceived(self, message: str) -> None:
                self.transport.sendTextMessage(await Deferred.fromFuture(asyncio.ensure_future(look_up(message))))

        agent = MemoryAgent(wsock.WebSocketServerFactory(lambda request: Looking()))
        stream = opened(agent, "/")
        stream.send("word")
        agent.flush()
        stream.transport.abortConnection()
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        try:
            agent.advance(30)
            loop.run_until_complete(asyncio.sleep(0))
        finally:
            globalLogPublisher.removeObserver(events.append)
        assert futures[0].cancelled()
        assert [event for event in events if "log_failure" in event] == []
    finally:
        loop.close()


# Compression

#: The offer of a browser.
OFFER = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"


def first_bytes(url: str, *messages: str) -> tuple[bytes, list[int]]:
    """The head of the 101, and the first byte of each frame that comes: one by itself, and one for each message."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), PATIENCE) as peer, peer.makefile("rb") as stream:
        peer.sendall(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" + OFFER + b"\r\n"
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += stream.readline()
        for message in messages:
            peer.sendall(bytes((0x81, 0x80 | len(message), 0, 0, 0, 0)) + message.encode())
        seen = []
        for _ in range(1 + len(messages)):
            first, length = stream.read(2)
            seen.append(first)
            stream.read(int.from_bytes(stream.read(2), "big") if length == 126 else length)
        return head, seen


def test_compression(start: Start) -> None:
    server = start("compression")
    head, seen = first_bytes(server.url, "orders", "picture", "Hello")
    agreed = b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    assert b"\r\nSec-WebSocket-Extensions: " + agreed + b"\r\n" in head
    # The bit of 0x40 is on the one message that is compressed.
    assert seen == [0x81, 0xC1, 0x82, 0x81]
    for compression, name in (("deflate", "permessage-deflate"), (None, "no")):
        with talk(server.url, compression=compression) as client:
            for message in ("orders", "picture", "Hello"):
                client.send(message)
            assert client.recv(PATIENCE) == f"compression: {name}"
            assert len(json.loads(client.recv(PATIENCE))) == 200
            assert len(client.recv(PATIENCE)) == 5000
            assert json.loads(client.recv(PATIENCE)) == {"token": "cafe" * 100, "you": "Hello"}


def test_options_of_compression() -> None:
    """The page's table has all options, with their defaults."""
    page = (ROOT / "docs/howto/compression.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", page, re.MULTILINE))
    defaults = wsock.Compression()
    assert rows == {name: str(getattr(defaults, name)) for name in wsock.Compression.__dataclass_fields__}


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the system does not tell a process's CPU time")
def test_the_benchmark_of_compression() -> None:
    """Each of its four tables has a line for each size, or for each way."""
    command = [sys.executable, str(ROOT / "benchmarks/programs/deflate.py"), "--messages", "3", "--repeat", "1"]
    result = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=4 * PATIENCE, check=True)
    first, *parts = result.stdout.split("\n\n")
    assert first.startswith("wsock ")
    assert [len(part.strip().splitlines()) for part in parts] == [7, 6, 4, 6]


PROXIES = "howto/proxies.py"


@contextlib.contextmanager
def proxy_of_one(answer: bytes) -> Iterator[int]:
    """A proxy for one client, which gives this answer, and connects it where that says so."""

    def pipe(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(2**16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        client, _ = listening.accept()
        with client:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(1)
            client.sendall(answer)
            if b" 200 " in answer:
                host, _, port = head.split()[1].decode().rpartition(":")
                with socket.create_connection((host, int(port)), PATIENCE) as server:
                    back = threading.Thread(target=pipe, args=(server, client))
                    back.start()
                    pipe(client, server)
                    back.join(PATIENCE)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(PATIENCE)
        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(PATIENCE)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", "received: Hello\n"),
        (
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
            "not connected: the proxy http://127.0.0.1:{port} answered 403 Forbidden\n",
        ),
    ],
)
def test_proxies(answer: bytes, said: str) -> None:
    with starting() as start, proxy_of_one(answer) as port:
        server = start("echo_server.py", 0)
        output = run(EXAMPLES / PROXIES, f"http://127.0.0.1:{port}", server.url)
        assert output == (said.format(port=port), "", 0)
