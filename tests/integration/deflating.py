"""Shared by the tests of compression: messages that show what was agreed on, and programs to exchange them with."""

import asyncio
import contextlib
import itertools
import json
import random
import re
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from aiohttp import WSMsgType, web
from integration.peer import PATIENCE, Place, within
from integration.servers import Echo, Server
from tools import find, require
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.sync.server import serve

from wsock import Compression
from wsock.sansio.extensions import Extension

MIB = 2**20
#: As in exchange.js.
SIZES = (0, 1, 125, 126, 127, 255, 256, 257, 511, 512, 513, 4096, 65535, 65536, 65537, MIB)
#: No bytes but those of messages, however long a test takes.
QUIET = {"pingInterval": None}
Message = str | bytes


class Agreed(NamedTuple):
    """The meaning of permessage-deflate's parameters, whether they are named or not."""

    serverContextTakeover: bool
    clientContextTakeover: bool
    serverMaxWindowBits: int
    clientMaxWindowBits: int

    @property
    def compression(self) -> Compression:
        """The way to compress that allows no more; also short messages are compressed."""
        return Compression(threshold=0, **self._asdict())


#: Takeover and windows of each direction, in each combination.
TABLE = [
    Agreed(*contexts, *bits)
    for contexts in itertools.product((False, True), repeat=2)
    for bits in itertools.product((9, 12, 15), repeat=2)
]
#: Our client's offer, and a server's answer to a client, where nothing else was asked for.
BY_DEFAULT = Agreed(False, False, 15, 15)
#: Contexts of both sides, with windows of a size that people use.
BOTH_CONTEXTS = Agreed(True, True, 12, 12)
#: Allows whatever the other side wants.
ANYTHING = Agreed(True, True, 15, 15)


def named(value: object) -> str:
    """The name of a row in a test's."""
    if not isinstance(value, Agreed):
        return str(value)
    server, client, server_bits, client_bits = value
    return f"server {'context ' * server}{server_bits}, client {'context ' * client}{client_bits}"


def agreed(extensions: object) -> Agreed:
    """Reads an agreement: our `Extension`, or the value of an answer's field."""
    if isinstance(extensions, Extension):
        assert extensions.name == "permessage-deflate"
        parameters = dict(extensions.parameters)
        assert len(parameters) == len(extensions.parameters)
    else:
        name, *rest = re.split(r"; *", str(extensions))
        assert name == "permessage-deflate", extensions
        pairs = [(name, value or None) for name, _, value in (one.partition("=") for one in rest)]
        parameters = dict(pairs)
        assert len(parameters) == len(pairs)
    result = Agreed(
        parameters.pop("server_no_context_takeover", "") is not None,
        parameters.pop("client_no_context_takeover", "") is not None,
        int(parameters.pop("server_max_window_bits", 15)),
        int(parameters.pop("client_max_window_bits", 15)),
    )
    assert not parameters
    return result


# Messages


def hexadecimal(source: random.Random, size: int) -> str:
    """Text that gets half as long, and refers to nothing before it."""
    return source.randbytes(size // 2 + 1).hex()[:size]


def sizes() -> Iterator[Message]:
    """Messages that compress well, half, well and not at all."""
    source = random.Random(7692)
    for size in SIZES:
        yield "a" * (size % 3) + "\u20ac" * (size // 3)
        yield hexadecimal(source, size)
        yield (bytes(range(251)) * (size // 251 + 1))[:size]
        yield source.randbytes(size)


def probes() -> list[Message]:
    """Messages that show takeover and windows by their sizes on the wire: see `check_probes`."""
    source = random.Random(7692)
    doubled = [hexadecimal(source, size) * 2 for size in (600, 3000, 20000)]
    return [*[hexadecimal(source, 200)] * 3, *doubled, "", bytes(70000)]


def check_probes(sizes: list[int], context: bool, bits: int, plain: bool = False) -> None:
    """Checks how many bytes the probes of one direction took.

    Args:
        sizes: in the probes' order, with the heads of their frames.
        context: whether messages refer to earlier ones.
        bits: the window's.
        plain: whether this side, a client, does not compress at all.
    """
    if plain:
        assert sizes == [208, 208, 208, 1208, 6008, 40008, 6, 70014]
        return
    first, second, third, *doubled, empty, zeros = sizes
    assert 100 < first < 160
    if context:
        assert max(second, third) < 50
    else:
        assert first - 3 <= second == third <= first + 3
    for size, count in zip(doubled, (600, 3000, 20000), strict=True):
        # Half a byte for each digit, and what codes take. The second half is a copy where the window reaches so far.
        reaches = 2**bits > count + 262
        assert count / 2 < size < count * (0.8 if reaches else 1.3)
        assert reaches or size > count
    assert empty < 10
    assert zeros < 700


def numbered(count: int) -> Iterator[Message]:
    """Many short messages."""
    source = random.Random(7692)
    for number in range(count):
        if number % 2:
            yield f'{{"number": {number}, "text": "{hexadecimal(source, number % 400)}"}}'
        else:
            yield source.randbytes(number % 300)


def check_sizes(wire: list[int], pattern_part: float = 0.2) -> None:
    """Checks how many bytes the messages of all sizes took in one direction, with control frames among them.

    Args:
        wire: in their order.
        pattern_part: what may be left of a pattern at the most.
    """
    assert len(wire) == 4 * len(SIZES)
    for size, four in zip(SIZES, zip(*[iter(wire)] * 4, strict=True), strict=True):
        alike, half, pattern, noise = four
        if size >= 4096:
            assert alike < size / 20
            assert half < size * 0.65
            assert pattern < size * pattern_part
        # Heads, control frames, and what stored blocks and flushes take.
        assert noise <= size + size // 100 + 100


# Ours


class Counting(Echo):
    """An echo that notes how many bytes each message took.

    Attributes:
        lengths: of the messages, in bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lengths: list[int] = []
        self._traffic: list[tuple[int, int]] = []

    def negotiationFinished(self) -> None:
        self._note()

    def textMessageReceived(self, message: str) -> None:
        self._note()
        self.lengths.append(len(message.encode()))
        super().textMessageReceived(message)

    def bytesMessageReceived(self, data: bytes) -> None:
        self._note()
        self.lengths.append(len(data))
        super().bytesMessageReceived(data)

    def connectionLost(self, reason: Any) -> None:
        self._note()
        super().connectionLost(reason)

    def _note(self) -> None:
        traffic = self.transport.traffic
        self._traffic.append((traffic.bytesReceived, traffic.bytesSent))

    @property
    def received(self) -> list[int]:
        """How many bytes each message took, with those of control frames before it."""
        return [after[0] - before[0] for before, after in itertools.pairwise(self._traffic[:-1])]

    @property
    def sent(self) -> list[int]:
        """The same of each echo, with those of control frames after it."""
        return [after[1] - before[1] for before, after in itertools.pairwise(self._traffic[1:])]


class Pinging(Counting):
    """Sends a Ping before each echo, and counts the Pongs."""

    def __init__(self) -> None:
        super().__init__()
        self.pongs = 0

    def textMessageReceived(self, message: str) -> None:
        self.transport.ping(b"before a text")
        super().textMessageReceived(message)

    def bytesMessageReceived(self, data: bytes) -> None:
        self.transport.ping(b"before bytes")
        super().bytesMessageReceived(data)

    def pongReceived(self, payload: bytes) -> None:
        self.pongs += 1


def ended(server: Server) -> Any:
    """The application of a server's only connection, when that is over."""
    (application,) = server.applications
    within(PATIENCE, lambda: application.reasons, "the connection ends")
    return application


# Others


class Node:
    """Clients of node's, and a server of `ws`, in a process: see deflate.js."""

    def __init__(self) -> None:
        command = [
            require("node"),
            str(Path(__file__).with_name("deflate.js")),
            require("npm:ws"),
            find("npm:undici") or "",
        ]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")
        self.port = self._read()

    def _read(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def url(self, path: str = "/", **options: object) -> str:
        """The URL of the server, with options of its perMessageDeflate."""
        return f"ws://127.0.0.1:{self.port}{path}?{urlencode({'options': json.dumps(options)})}"

    def run(self, url: str, task: str, argument: object = None, client: str = "ws", **options: object) -> Any:
        """Has a client, with options of its perMessageDeflate, do a task; returns what became of it."""
        require(f"npm:{client}")
        assert self.process.stdin is not None
        task_of_it = {"client": client, "url": url, "options": options, "task": task, "argument": argument}
        self.process.stdin.write(json.dumps(task_of_it) + "\n")
        self.process.stdin.flush()
        result = self._read()
        assert "error" not in result, result["error"]
        return result

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def websockets(**options: Any) -> Iterator[str]:
    """A server of `websockets`, in threads; gives its URL. An echo of two or more is in fragments, with a Ping."""

    def handle(connection: Any) -> None:
        for message in connection:
            half = len(message) // 2

            def parts(message: Any = message, half: int = half) -> Iterator[Any]:
                yield message[:half]
                connection.ping()
                yield message[half:]

            connection.send(parts() if half else message)

    extensions = [ServerPerMessageDeflateFactory(**options)]
    with serve(
        handle, "127.0.0.1", 0, extensions=extensions, compression=None, ping_interval=None, max_size=16 * MIB
    ) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/"
        finally:
            server.shutdown()
            serving.join()


@contextlib.contextmanager
def aiohttp() -> Iterator[Place]:
    """A server of aiohttp's, in a thread; at /pings with a Ping before each echo."""

    async def handle(request: Any) -> Any:
        socket = web.WebSocketResponse(max_msg_size=16 * MIB)
        await socket.prepare(request)
        async for message in socket:
            if request.path == "/pings":
                await socket.ping()
            if message.type == WSMsgType.TEXT:
                await socket.send_str(message.data)
            else:
                await socket.send_bytes(message.data)
        return socket

    @contextlib.asynccontextmanager
    async def serving() -> AsyncIterator[int]:
        application = web.Application()
        application.router.add_get("/{name:.*}", handle)
        runner = web.AppRunner(application)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()

    started = threading.Event()
    place = Place()
    loops: list[Any] = []

    async def main() -> None:
        ended = asyncio.Event()
        async with serving() as place.port:
            loops.append((asyncio.get_running_loop(), ended))
            started.set()
            await ended.wait()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    assert started.wait(PATIENCE)
    try:
        yield place
    finally:
        loop, ended = loops[0]
        loop.call_soon_threadsafe(ended.set)
        thread.join()
