"""`serve` on the real reactor: in this process, and in one that signals end."""

import gc
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.peer import PATIENCE, Address, frame
from integration.process import ENVIRONMENT
from integration.servers import Echo
from twisted.internet.error import CannotListenError
from twisted.internet.threads import blockingCallFromThread

import wsock

LOOPBACK = "tcp:0:interface=127.0.0.1"
PROGRAM = """
import sys
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from wsock import Server, WebSocketProtocol, serve

class Echo(WebSocketProtocol):
    def textMessageReceived(self, message):
        self.transport.sendTextMessage(message)

async def main(reactor):
    servers = [await serve(reactor, "tcp:0:interface=127.0.0.1", lambda request: Echo()) for _ in range(2)]
    print(*(server.port for server in servers), flush=True)
    await Deferred()

# Nobody who waits this long gives up before the test does.
Server.stop.__defaults__ = (1001, "", 3600)
react(main)
"""


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls something in the reactor's thread."""
    from twisted.internet import reactor

    return blockingCallFromThread(reactor, function, *arguments)


def start(endpoint: Any = LOOPBACK) -> wsock.Server:
    from twisted.internet import reactor

    server: wsock.Server = call(wsock.serve, reactor, endpoint, lambda request: Echo())
    return server


def test_a_server(logged: list[Any]) -> None:
    server = start()
    assert server.port is not None
    assert server.url == f"ws://127.0.0.1:{server.port}/"
    address = Address(port=server.port)
    peer = address.open()
    peer.send(frame(0x81, b"Hello"))
    assert peer.frame() == (0x81, b"Hello")
    assert call(lambda: len(server.connections)) == 1
    ends: list[object] = []
    call(lambda: [server.stop(1012, "back soon").addCallback(ends.append) for _ in range(2)] and None)
    peer.expect_close(1012, "back soon")
    # The port is closed before anybody is told.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), PATIENCE)
    peer.send(frame(0x88, b"\x03\xf4"))
    peer.expect_end()
    call(server.stop)
    assert ends == [None, None]
    address.close()


def test_tls(certificate: tuple[Path, Path], logged: list[Any]) -> None:
    key, pem = certificate
    server = start(f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={pem}")
    assert server.url == f"wss://127.0.0.1:{server.port}/"
    address = Address(port=server.port or 0, certificate=pem)
    peer = address.open()
    peer.send(frame(0x81, b"Hello"))
    assert peer.frame() == (0x81, b"Hello")
    address.close()
    call(server.stop)


@pytest.mark.filterwarnings("ignore:.*unclosed")
def test_a_port_that_is_taken(logged: list[Any]) -> None:
    server = start()
    with pytest.raises(CannotListenError):
        start(f"tcp:{server.port}:interface=127.0.0.1")
    # Older versions of Twisted leave the socket to it.
    gc.collect()
    call(server.stop)
    # It is free again.
    again = start(f"tcp:{server.port}:interface=127.0.0.1")
    assert again.port == server.port
    call(again.stop)


@pytest.fixture
def program() -> Iterator[tuple[subprocess.Popen[str], list[Address]]]:
    """A program with two servers, and where they listen."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    addresses = [Address(port=int(port)) for port in process.stdout.readline().split()]
    try:
        yield process, addresses
    finally:
        for address in addresses:
            address.close()
        process.kill()
        process.communicate()


signals = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@signals
@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
def test_a_signal_tells_the_peers(program: Any, number: int) -> None:
    process, addresses = program
    peers = [address.open() for address in addresses]
    process.send_signal(number)
    for peer in peers:
        peer.expect_close(1001)
        peer.send(frame(0x88, b"\x03\xe9"))
        peer.expect_end()
    assert process.communicate(timeout=PATIENCE) == ("", "")
    assert process.returncode in (0, -number)


@signals
@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
def test_a_second_signal_ends_at_once(program: Any, number: int) -> None:
    process, addresses = program
    peers = [address.open() for address in addresses]
    process.send_signal(number)
    for peer in peers:
        peer.expect_close(1001)
    assert process.poll() is None
    process.send_signal(number)
    assert process.communicate(timeout=PATIENCE) == ("", "")
    assert process.returncode in (0, -number)
