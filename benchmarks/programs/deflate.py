"""The gain and the cost of compression (permessage-deflate): sizes, CPU time and memory.

    python -m benchmarks compression [--messages 2000] [--repeat 25]

The sizes are those of whole frames, of messages like those of an application: JSON, no two alike. They are the same on
every machine, but for the version of the library. The times of one connection's side are the fastest of the repeats.
The echo is that of a `twistd wsock --compression`, with one client that offers compression, or does not: CPU time of
the server for one message, as Linux tells it. Memory is that of one connection of a server, after a message of 4 KiB
each way.
"""

import argparse
import contextlib
import functools
import gc
import itertools
import random
import socket
import subprocess
import sys
import tempfile
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import wsock
from wsock.sansio import deflate
from wsock.sansio.connection import Connection
from wsock.sansio.constants import Role
from wsock.sansio.deflate import DeflateOptions
from wsock.sansio.extensions import Extension

SIZES = (64, 128, 256, 1024, 4096, 16384)
ECHOES = (256, 1024, 4096, 16384, 2**20)
NO_CONTEXT = (("server_no_context_takeover", None), ("client_no_context_takeover", None))
#: The windows of `Compression(serverContextTakeover=True, clientContextTakeover=True)`.
CONTEXT = (("server_max_window_bits", "12"), ("client_max_window_bits", "12"))
WORDS = (
    "blue",
    "red",
    "small",
    "large",
    "cotton",
    "wool",
    "linen",
    "winter",
    "summer",
    "scarf",
    "coat",
    "hat",
    "glove",
)


# The messages


def order(random: random.Random, size: int) -> str:
    """Text of JSON, of so many bytes; its end is cut off."""
    customer = random.choice(("Ann Baker", "Bob Carter", "Cid Dyer", "Dora Eaton"))
    moment = f"{random.randrange(24):02}:{random.randrange(60):02}:{random.uniform(0, 60):06.3f}"
    parts = [
        f'{{"type":"order.changed","id":{random.randrange(10**6, 10**7)},"customer":"{customer}",'
        f'"time":"2026-11-28T{moment}Z","items":['
    ]
    length = len(parts[0])
    while length < size:
        article = f"{random.choice('ABCDEF')}-{random.randrange(10**4, 10**5)}"
        name, price = " ".join(random.sample(WORDS, 3)), random.randrange(100, 20000) / 100
        parts.append(f'{{"article":"{article}","name":"{name}","count":{random.randrange(1, 10)},"price":{price}}},')
        length += len(parts[-1])
    return "".join(parts)[:size]


def orders(size: int, count: int) -> list[str]:
    source = random.Random(1)
    return [order(source, size) for _ in range(count)]


def side(role: Role, parameters: tuple[tuple[str, str | None], ...], options: DeflateOptions) -> Connection:
    extensions = [Extension("permessage-deflate", parameters)]
    return Connection(role, max_message_size=None, extensions=extensions, deflate=options)


@contextlib.contextmanager
def using(library: deflate.Backend) -> Iterator[None]:
    """Has this library compress."""
    usual, deflate.backend = deflate.backend, library
    try:
        yield
    finally:
        deflate.backend = usual


# The measurements


def sizes(count: int) -> None:
    print("\nplain bytes for each byte sent, of whole frames: each message by itself, and with context takeover")
    libraries = dict.fromkeys([deflate.backend, deflate.ZLIB])
    ways = {f"by {library.name}": (library, NO_CONTEXT, DeflateOptions()) for library in libraries}
    ways["by zlib, level 6"] = deflate.ZLIB, NO_CONTEXT, DeflateOptions(6)
    ways["context takeover"] = deflate.ZLIB, CONTEXT, DeflateOptions()
    ways["and the largest window"] = deflate.ZLIB, (), DeflateOptions(mem_level=8)
    for size in SIZES:
        row = []
        for name, (library, parameters, options) in ways.items():
            with using(library):
                plain, server = Connection(Role.SERVER), side(Role.SERVER, parameters, options)
                before = after = 0
                for text in orders(size, count):
                    before += sum(map(len, plain.send_text(text)))
                    after += sum(map(len, server.send_text(text, True)))
                row.append(f"{name} {before / after:.2f}")
        print(f"  {size:6} bytes: {', '.join(row)}")


def fastest(call: Callable[[], object], repeat: int, number: int) -> float:
    """Microseconds of CPU for one call; the runs are short, so that some are not disturbed."""
    times = []
    for _ in range(repeat):
        begin = time.process_time()
        for _ in range(number):
            call()
        times.append(time.process_time() - begin)
    return min(times) / number * 1e6


def times(repeat: int) -> None:
    print("\nmicroseconds for a message: to send it, to receive it; the library's own two calls in brackets")
    for size in ECHOES:
        (text,) = orders(size, 1)
        number = max(1, 50_000 // size)
        row = [_times("plain", None, text, repeat, number)]
        row += [_times(library.name, library, text, repeat, number) for library in deflate.find_backends()]
        server = side(Role.SERVER, CONTEXT, DeflateOptions())
        texts = itertools.cycle(orders(size, 2 if size > 2**16 else 20))
        sending = functools.partial(_send_next, server, texts)
        row.append(f"with context takeover {fastest(sending, repeat, number):.1f}")
        print(f"  {size:7} bytes: {', '.join(row)}")


def _send_next(server: Connection, texts: Iterator[str]) -> None:
    server.send_text(next(texts), True)


def _times(name: str, library: deflate.Backend | None, text: str, repeat: int, number: int) -> str:
    server, client = Connection(Role.SERVER, max_message_size=None), Connection(Role.CLIENT, max_message_size=None)
    if library is None:
        frame = b"".join(server.send_text(text))
        sending, receiving = lambda: server.send_text(text), lambda: client.receive_data(frame)
        return f"{name} {fastest(sending, repeat, number):.1f} + {fastest(receiving, repeat, number):.1f}"
    with using(library):
        server, client = (side(role, NO_CONTEXT, DeflateOptions()) for role in (Role.SERVER, Role.CLIENT))
        frame = b"".join(server.send_text(text, True))
        payload, stream = text.encode(), library.compressor(None, 15, 8)
        packed = stream.compress(payload) + stream.flush(zlib.Z_FULL_FLUSH)
        calls: list[Callable[[], object]] = [
            lambda: server.send_text(text, True),
            lambda: client.receive_data(frame),
            lambda: stream.compress(payload) + stream.flush(zlib.Z_FULL_FLUSH),
            lambda: library.module.decompressobj(-15).decompress(packed),
        ]
        sent, received, deflated, inflated = (fastest(call, repeat, number) for call in calls)
        return f"{name} {sent:.1f} + {received:.1f} ({deflated:.1f} + {inflated:.1f})"


def connect(port: int, offer: str) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(
        f"GET /echo HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{offer}\r\n".encode()
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += client.recv(1)
    assert answer.startswith(b"HTTP/1.1 101"), answer
    return client


def wait(port: int) -> None:
    """Waits until a server listens."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.1)
        else:
            return


def cpu(process: int) -> float:
    """Microseconds of CPU that it took so far."""
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1000


def echo(client: socket.socket, frame: bytes, length: int, number: int) -> None:
    view = memoryview(bytearray(length))
    for _ in range(number):
        client.sendall(frame)
        rest = view
        while rest:
            rest = rest[client.recv_into(rest) :]


def echoes(repeat: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = "from twisted.scripts.twistd import run; run()"
    arguments = ["-n", "--pidfile=", "--logfile=/dev/null", "wsock", "--compression", "--access-log=none"]
    command = [sys.executable, "-c", program, *arguments, "--port", f"tcp:{port}:interface=127.0.0.1"]
    # In a checkout, Python would take the sources there for the package.
    server = subprocess.Popen(command, cwd=tempfile.gettempdir())
    try:
        wait(port)
        print("\nmicroseconds of a server's CPU for an echo")
        for size in ECHOES:
            row = []
            for parameters in (None, NO_CONTEXT):
                extensions = () if parameters is None else (Extension("permessage-deflate", parameters),)
                offer = "; ".join([e.name for e in extensions] + [name for e in extensions for name, _ in e.parameters])
                sender = Connection(Role.CLIENT, extensions=extensions)
                receiver = Connection(Role.SERVER, extensions=extensions)
                (text,) = orders(size, 1)
                frame = b"".join(sender.send_text(text))
                length = sum(map(len, receiver.send_text(text)))
                number = max(5, min(500, 2**21 // size))
                with connect(port, offer and f"Sec-WebSocket-Extensions: {offer}\r\n") as client:
                    fewest = float("inf")
                    for _ in range(repeat):
                        begin = cpu(server.pid)
                        echo(client, frame, length, number)
                        fewest = min(fewest, (cpu(server.pid) - begin) / number)
                row.append(fewest)
            print(f"  {size:7} bytes: plain {row[0]:.1f}, compressed {row[1]:.1f}")
    finally:
        server.kill()
        server.wait()


def memory() -> None:
    print("\nbytes that a connection holds for compression, after a message of 4 KiB each way")
    ways = {"no context takeover": (NO_CONTEXT, DeflateOptions()), "context takeover": (CONTEXT, DeflateOptions())}
    ways["with the largest window"] = (), DeflateOptions(mem_level=8)
    for name, (parameters, options) in ways.items():
        (text,) = orders(4096, 1)
        held: list[Connection] = []
        for _ in range(11):
            client, server = side(Role.CLIENT, parameters, options), side(Role.SERVER, parameters, options)
            data = b"".join(client.send_text(text))
            server.receive_data(data)
            server.send_text(text)
            held.append(server)
            if len(held) == 1:
                # The compressors that all share are there now.
                del client
                gc.collect()
                tracemalloc.start()
        del client
        gc.collect()
        total = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        print(f"  {name}: {total // 10}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=2000, help="how many messages of each size")
    parser.add_argument("--repeat", type=int, default=100)
    arguments = parser.parse_args()
    print(f"wsock {wsock.__version__}, {wsock.implementation} core, {wsock.deflateImplementation}")
    sizes(arguments.messages)
    times(arguments.repeat)
    memory()
    if Path("/proc/self/schedstat").exists():
        echoes(arguments.repeat)


if __name__ == "__main__":
    main()
