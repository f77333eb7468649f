"""The cost of idle connections to a server: memory and CPU of one `twistd wsock` with keepalive on.

    python -m benchmarks idle [--connections 10000] [--seconds 60] [--interval 5] [--timeout 5]

The server is that of the interpreter this runs on; all connections are another process's, which answers Pings and does
nothing else. Each has the header fields of a browser, and has had one echo. Memory is the server's resident set, less
what it was with 50 connections; what the system keeps for sockets is not in it. Exits with 1 if a connection is lost.
"""

import argparse
import json
import os
import re
import resource
import select
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FIRST, BATCH = 50, 200
#: How many connections one source address has: fewer than there are ports for clients.
PER_ADDRESS = 20_000
REQUEST = (
    b"GET /echo HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nOrigin: http://127.0.0.1:%d\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 "
    b"Safari/537.36\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9,fr;q=0.8\r\n"
    b"Cache-Control: no-cache\r\nPragma: no-cache\r\n"
    b"Cookie: session=0123456789abcdef0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n"
)


def raise_limit() -> int:
    """How many descriptors a process may have: as many as the system lets it."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


# The clients


def connect(port: int, number: int) -> socket.socket:
    client = socket.socket()
    client.bind((f"127.0.0.{1 + number // PER_ADDRESS}", 0))
    client.connect(("127.0.0.1", port))
    client.sendall(REQUEST % (port, port))
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += client.recv(4096)
    assert answer.startswith(b"HTTP/1.1 101"), answer
    client.sendall(b"\x81\x85\0\0\0\0Hello")
    assert client.recv(100) == b"\x81\x05Hello"
    return client


def hold(port: int) -> None:
    """Obeys one line after the other: a number of connections to open, or "tell"."""
    raise_limit()
    clients: dict[int, socket.socket] = {}
    pings = lost = 0
    poll = select.epoll()
    poll.register(0, select.EPOLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == 0:
                line = os.read(0, 100).decode().strip()
                if not line:
                    return
                for number in range(len(clients), len(clients) + (0 if line == "tell" else int(line))):
                    client = connect(port, number)
                    clients[client.fileno()] = client
                    poll.register(client, select.EPOLLIN)
                print(json.dumps({"pings": pings, "lost": lost}), flush=True)
                continue
            if answers(clients[descriptor]):
                pings += 1
            else:
                lost += 1
                poll.unregister(descriptor)


def answers(client: socket.socket) -> bool:
    """Answers a Ping; returns whether the connection is still there."""
    try:
        data = client.recv(4096)
        if data:
            assert data[0] == 0x89, data
            assert len(data) == 2 + data[1], data
            client.sendall(bytes((0x8A, 0x80 | data[1], 0, 0, 0, 0)) + data[2:])
    except OSError:
        return False
    return bool(data)


# The server


def listens(log: Path) -> int:
    for _ in range(200):
        found = re.search(r"(?:starting on |listening on \S+:)(\d+)", log.read_text())
        if found:
            return int(found[1])
        time.sleep(0.1)
    raise SystemExit(f"the server did not start: {log.read_text()}")


def await_ends(log: Path, count: int) -> None:
    """Waits until the server has met the ends of the clients, so that its stop closes none of them."""
    for _ in range(200):
        if len(re.findall(r" code=10", log.read_text())) >= count:
            return
        time.sleep(0.1)
    raise SystemExit("the server did not see its clients leave")


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def describe() -> str:
    program = "import wsock, sys; print(wsock.implementation, 'core, Python', sys.version.split()[0], end='')"
    core = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    return f"{core}, {len(os.sched_getaffinity(0))} cores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("connections", 10_000), ("seconds", 60), ("interval", 5), ("timeout", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    most = raise_limit() - 100
    if options.connections > most:
        print(f"the system allows {most} connections, not {options.connections}")
        options.connections = most
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        run = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"
        options_of_ours = f"--ping-interval {options.interval} --ping-timeout {options.timeout}".split()
        command = [sys.executable, "-c", run, "-n", "--pidfile=", "wsock", *options_of_ours]
        with (
            log.open("wb") as output,
            subprocess.Popen(
                [*command, "--port", "tcp:0:interface=127.0.0.1"], cwd=folder, stdout=output, stderr=output
            ) as server,
        ):
            try:
                measure(server.pid, listens(log), options)
                await_ends(log, options.connections)
            finally:
                server.terminate()
                server.wait()
        # The clients end before the server does, without a Close: that is not by the server's will.
        unexpected = re.findall(r".* code=10(?:06|11) by=us .*", log.read_text())
        print(f"dropped by the server: {len(unexpected)}", *unexpected[:5], sep="\n  ")
        raise SystemExit(bool(unexpected))


def measure(pid: int, port: int, options: Any) -> None:
    with subprocess.Popen(
        [sys.executable, __file__, "hold", str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as clients:

        def tell(line: object) -> dict[str, int]:
            assert clients.stdin is not None
            assert clients.stdout is not None
            clients.stdin.write(f"{line}\n")
            clients.stdin.flush()
            answer: dict[str, int] = json.loads(clients.stdout.readline())
            return answer

        tell(FIRST)
        time.sleep(1)
        memory = resident(pid)
        began = time.monotonic()
        # A few at a time: those that are there are to answer meanwhile.
        for opened in range(FIRST, options.connections, BATCH):
            tell(min(BATCH, options.connections - opened))
        print(f"{describe()}; {options.connections} connections, opened in {time.monotonic() - began:.1f} s")
        # Each has had its first Ping.
        time.sleep(options.interval + 1)
        before, spent, began = tell("tell"), cpu(pid), time.monotonic()
        time.sleep(options.seconds)
        after, spent, took = tell("tell"), cpu(pid) - spent, time.monotonic() - began
        each = (resident(pid) - memory) / (options.connections - FIRST)
        print(f"memory: {each / 1024:.2f} KiB a connection, {resident(pid) / 2**20:.0f} MiB in all")
        print(f"CPU: {spent / took:.1%} of a core over {took:.0f} s, {after['pings'] - before['pings']} Pings answered")
        print(f"lost by the clients: {after['lost']}")
        if after["lost"]:
            raise SystemExit(1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["hold"]:
        hold(int(sys.argv[2]))
    else:
        main()
