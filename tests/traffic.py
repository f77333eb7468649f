"""Mixed traffic for a server: clients that behave, clients that do not, and some that are no WebSockets at all.

`KINDS` has one coroutine for each of them. It makes one connection, does what its name says, checks each byte that it
is answered with, and is gone at its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import ssl
import struct
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

KIB, MIB = 2**10, 2**20
TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
#: The first byte's bit of a compressed message (RFC 7692 section 6).
COMPRESSED = 0x40
#: The receive buffer of a client that reads slowly, in bytes.
SMALL = 2**14
REQUEST = (
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: {version}\r\n{more}\r\n"
)
OFFER = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
WORDS = b"order customer address quantity price shipped returned open closed paid".split()


@dataclass
class Server:
    """Where a server listens, and what clients have done there.

    Attributes:
        port: its TCP port, on 127.0.0.1.
        context: for TLS, None for plain TCP.
        longest: how long a client may say nothing, in seconds.
        connections: how many were made.
        messages: how many were sent.
        size: the bytes of their payloads.
    """

    port: int
    context: ssl.SSLContext | None = None
    longest: float = 60
    connections: int = 0
    messages: int = 0
    size: int = 0
    done: Counter[str] = field(default_factory=Counter)

    async def pause(self, seconds: float) -> None:
        """Waits for a random time, of so many seconds at the most."""
        await asyncio.sleep(random.uniform(0, min(seconds, self.longest)))


class WrongAnswerError(Exception):
    """A server said something else than it has to."""


def expect(found: object, *expected: object) -> None:
    if found not in expected:
        raise WrongAnswerError(f"{str(found)[:200]} in place of {' or '.join(str(one)[:200] for one in expected)}")


def make_text(size: int) -> bytes:
    """Text that compresses as text does."""
    text = b" ".join(random.choices(WORDS, k=size // 5 + 1))
    return text[:size].ljust(size, b".")


def mask(payload: bytes, key: bytes) -> bytes:
    size = len(payload)
    stream = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(size, "big")


def make_frame(first: int, payload: bytes = b"") -> bytes:
    key = os.urandom(4)
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", first, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, size)
    return head + key + mask(payload, key)


class Client:
    """One connection."""

    def __init__(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer
        self._deflater = zlib.compressobj(1, zlib.DEFLATED, -15)
        self._inflater = zlib.decompressobj(-15)
        #: Whether a message may refer to those before it depends on the server's answer (RFC 7692 section 7.1.1.2).
        self._flush = zlib.Z_SYNC_FLUSH

    async def ask(self, path: str = "/echo", version: int = 13, more: str = "") -> int:
        """Asks for a WebSocket; returns the status of the answer."""
        self.writer.write(REQUEST.format(path=path, version=version, more=more).encode())
        return await self.answer()

    async def answer(self) -> int:
        head = await self.reader.readuntil(b"\r\n\r\n")
        if b"client_no_context_takeover" in head:
            self._flush = zlib.Z_FULL_FLUSH
        return int(head.split(b" ", 2)[1])

    def send(self, first: int, payload: bytes = b"") -> None:
        self.server.messages += first & 0x0F < 8
        self.server.size += len(payload)
        self.writer.write(make_frame(first, payload))

    def send_compressed(self, text: bytes) -> None:
        data = self._deflater.compress(text) + self._deflater.flush(self._flush)
        self.send(TEXT | COMPRESSED, data[:-4])

    async def frame(self) -> tuple[int, bytes]:
        """The next frame of the server's; its Pings are answered, and none of them."""
        while True:
            first, size = await self.reader.readexactly(2)
            if size == 126:
                (size,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
            payload = await self.reader.readexactly(size)
            if first & COMPRESSED:
                payload = self._inflater.decompress(payload + b"\x00\x00\xff\xff")
            if first != PING:
                return first & ~COMPRESSED, payload
            self.writer.write(make_frame(PONG, payload))

    async def echo(self, first: int, payload: bytes) -> None:
        self.send(first, payload)
        expect(await self.frame(), (first, payload))

    async def close(self) -> None:
        """The closing handshake, after which the server ends the stream."""
        self.send(CLOSE, b"\x03\xe8")
        expect(await self.frame(), (CLOSE, b"\x03\xe8"))
        expect(await self.reader.read(1), b"")

    async def expect_close(self, code: int) -> None:
        """The server closes the connection, for that reason."""
        first, payload = await self.frame()
        expect((first, payload[:2]), (CLOSE, struct.pack("!H", code)))
        self.send(CLOSE, payload[:2])
        expect(await self.reader.read(1), b"")

    async def end(self) -> None:
        """Reads all that comes up to the end of the stream, which may be a reset."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while await self.reader.read(2**16):
                pass

    def reset(self) -> None:
        """Has the system send a reset, as that of a client that crashed."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@contextlib.asynccontextmanager
async def connecting(server: Server, *, slow: bool = False, secured: bool = True) -> AsyncIterator[Client]:
    """A connection, which is gone in the end whatever became of it.

    Args:
        server: to which.
        slow: whether little is taken in that nobody asks for.
        secured: whether a server that speaks TLS is spoken to that way.
    """
    sock = socket.socket()
    try:
        sock.setblocking(False)
        if slow:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.port))
        context = server.context if secured else None
        name = None if context is None else "localhost"
        limit = SMALL if slow else 2**16
        reader, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname=name, limit=limit)
    except BaseException:
        sock.close()
        raise
    server.connections += 1
    try:
        yield Client(server, reader, writer)
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def opening(server: Server, path: str = "/echo", more: str = "", *, slow: bool = False) -> AsyncIterator[Client]:
    """A WebSocket that is open."""
    async with connecting(server, slow=slow) as client:
        expect(await client.ask(path, more=more), 101)
        yield client


async def small(server: Server) -> None:
    """Echoes of few bytes."""
    async with opening(server) as client:
        for _ in range(random.randrange(50)):
            await client.echo(TEXT, make_text(random.randrange(126)))
        await client.close()


async def in_batches(server: Server) -> None:
    """Many messages at a time."""
    async with opening(server) as client:
        messages = [make_text(random.randrange(300)) for _ in range(200)]
        for message in messages:
            client.send(TEXT, message)
        for message in messages:
            expect(await client.frame(), (TEXT, message))
        await client.close()


async def pages(server: Server) -> None:
    """Echoes of 4 KiB."""
    async with opening(server) as client:
        for _ in range(30):
            await client.echo(BINARY, os.urandom(4 * KIB))
        await client.close()


async def large(server: Server) -> None:
    """Echoes of 1 MiB."""
    async with opening(server) as client:
        for _ in range(3):
            await client.echo(BINARY, os.urandom(KIB) * KIB)
        await client.close()


async def compressed(server: Server) -> None:
    """Echoes of all sizes, compressed."""
    async with opening(server, more=OFFER) as client:
        for size in random.choices((10, 100, 4 * KIB, 64 * KIB, MIB), (10, 10, 10, 3, 1), k=20):
            text = make_text(size)
            client.send_compressed(text)
            expect(await client.frame(), (TEXT, text))
        await client.close()


async def fragmented(server: Server) -> None:
    """Messages in fragments, with Pings in between."""
    async with opening(server) as client:
        for size in (1, 1000, 20 * KIB):
            parts = [os.urandom(size) for _ in range(20)]
            client.send(0x02, parts[0])
            for part in parts[1:]:
                client.send(PING, part[:8])
                client.send(0x00, part)
                expect(await client.frame(), (PONG, part[:8]))
            client.send(0x80)
            expect(await client.frame(), (BINARY, b"".join(parts)))
        await client.close()


async def pings(server: Server) -> None:
    """Pings, of all sizes."""
    async with opening(server) as client:
        for size in range(0, 126, 5):
            client.send(PING, bytes(size))
            expect(await client.frame(), (PONG, bytes(size)))
        await client.close()


async def idle(server: Server) -> None:
    """Nothing but the Pongs that the server asks for."""
    async with opening(server, more=random.choice((OFFER, ""))) as client:
        reading = asyncio.ensure_future(client.frame())
        done, _ = await asyncio.wait([reading], timeout=random.uniform(0, server.longest))
        if done:
            raise WrongAnswerError(f"{reading.result()} to a client that said nothing")
        # It ends by what it is cancelled in: the rest of a frame, or of an answer to a Ping, is not needed.
        reading.cancel()


async def members(server: Server) -> None:
    """Messages to all, of which each member's own come back to it in their order."""
    async with opening(server, "/broadcast", random.choice((OFFER, ""))) as client:
        for size in random.choices((16, 100, 4 * KIB, 64 * KIB), (20, 10, 10, 1), k=20):
            message = os.urandom(16).hex().encode()[:16] + make_text(size)
            client.send(TEXT, message)
            while True:
                first, payload = await client.frame()
                expect(first, TEXT)
                if payload == message:
                    break
        client.send(CLOSE, b"\x03\xe8")
        while (await client.frame())[0] != CLOSE:
            pass
        expect(await client.reader.read(1), b"")


async def slow_readers(server: Server) -> None:
    """More messages than the server keeps for a client, which reads the echoes some time later, or never."""
    async with opening(server, slow=True) as client:
        messages = [os.urandom(KIB) * 64 for _ in range(48)]
        for message in messages:
            client.send(BINARY, message)
        await server.pause(4)
        if random.random() < 0.3:
            return
        for message in messages:
            expect(await client.frame(), (BINARY, message))
        await client.close()


async def slow_members(server: Server) -> None:
    """Messages to all, which a member does not read for a while; the server may have given it up by then."""
    async with opening(server, "/broadcast", slow=True) as client:
        await server.pause(20)
        if random.random() < 0.3:
            return
        message = os.urandom(16).hex().encode()
        client.send(TEXT, message)
        while True:
            try:
                first, payload = await client.frame()
            except (ConnectionError, asyncio.IncompleteReadError):
                return
            expect(first, TEXT, CLOSE)
            if first == CLOSE:
                expect(payload[:2], b"\x03\xf5")
            if payload == message or first == CLOSE:
                return


async def gone(server: Server) -> None:
    """The end without a Close, at any moment: a reset, or TCP's farewell without that of TLS."""
    async with connecting(server) as client:
        if random.random() < 0.8:
            expect(await client.ask(random.choice(("/echo", "/broadcast")), more=random.choice((OFFER, ""))), 101)
            data = make_frame(BINARY, bytes(random.choice((10, 4 * KIB, 300 * KIB))))
            client.writer.write(data[: random.randrange(len(data))])
            if random.random() < 0.5:
                await server.pause(0.1)
        if random.random() < 0.5:
            client.reset()


async def half_closed(server: Server) -> None:
    """TCP's farewell after a message, whose echo still comes where TLS has no part in it."""
    if server.context is not None:
        return
    async with opening(server) as client:
        client.send(TEXT, b"last")
        client.writer.write_eof()
        await client.end()


async def refused(server: Server) -> None:
    """Requests that are answered with an error, and one for a page."""
    cases: tuple[tuple[str, int, str, int], ...] = (
        ("/none", 13, "", 404),
        ("/echo", 12, "", 426),
        ("/echo", 13, "Origin: http://elsewhere.example\r\n", 403),
        ("/echo", 13, "Sec-WebSocket-Key: again\r\n", 400),
        ("/echo", 13, f"X-Long: {'a' * 20_000}\r\n", 431),
    )
    path, version, more, status = random.choice(cases)
    async with connecting(server) as client:
        expect(await client.ask(path, version, more), status)
        await client.end()
    async with connecting(server) as client:
        client.writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        expect(await client.answer(), 200)


async def garbage(server: Server) -> None:
    """Bytes that are neither HTTP nor TLS."""
    async with connecting(server, secured=random.random() < 0.5) as client:
        client.writer.write(os.urandom(random.randrange(1, 1000)) + b"\r\n\r\n")
        if random.random() < 0.2:
            # The server may wait for more of it.
            await server.pause(12)
        else:
            await client.reader.read(1)


async def wrong_frames(server: Server) -> None:
    """Frames that the protocol forbids: each has its code."""
    cases = (
        (b"\x83\x80\x00\x00\x00\x00", 1002),
        (b"\x81\x00", 1002),
        (b"\x80\x80\x00\x00\x00\x00", 1002),
        (b"\xb1\x80\x00\x00\x00\x00", 1002),
        (b"\x81\x82\x00\x00\x00\x00\xff\xff", 1007),
        (b"\x82\xff\x00\x00\x00\x00\x00\x20\x00\x00\x00\x00\x00\x00" + bytes(1000), 1009),
    )
    data, code = random.choice(cases)
    async with opening(server) as client:
        client.writer.write(data + os.urandom(random.randrange(100)))
        await client.expect_close(code)


async def silent(server: Server) -> None:
    """A client that says nothing, or does not finish its request, and may go before the server gives it up."""
    async with connecting(server, secured=random.random() < 0.5) as client:
        if random.random() < 0.5 and server.context is None:
            client.writer.write(REQUEST[:40].encode())
        await server.pause(14)


#: How many clients of each kind there are at a time.
KINDS: dict[Callable[[Server], Awaitable[None]], int] = {
    small: 8,
    in_batches: 2,
    pages: 4,
    large: 2,
    compressed: 4,
    fragmented: 2,
    pings: 2,
    idle: 20,
    members: 5,
    slow_readers: 4,
    slow_members: 4,
    gone: 4,
    half_closed: 1,
    refused: 2,
    garbage: 2,
    wrong_frames: 2,
    silent: 4,
}
