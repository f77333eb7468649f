"""Our own TLS with the programs s_client and s_server of openssl, which carry a WebSocket made of bytes."""

import fcntl
import re
import socket
import ssl
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from integration.peer import KEY, PATIENCE, Caller, Peer, frame, request, within
from integration.servers import Serve, Server
from integration.streams import Client, Stream, call, trusting
from tools import require

from wsock import WebSocketClosed, WebSocketDropped

pytestmark = pytest.mark.peer

MIB = 2**20
#: Of no byte that openssl takes for a command, should a piece of it begin with one.
LARGE = bytes(range(128, 256)) * (3 * MIB // 128)
Pair = tuple[Path, Path]


def answer(first: int, payload: bytes) -> bytes:
    """A frame of a server."""
    return frame(first, payload, None)


versions = pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
tickets = pytest.mark.parametrize("ticket", [[], ["-no_ticket"]], ids=["tickets", "no tickets"])


@contextmanager
def openssl(kind: type[Peer], *arguments: object) -> Iterator[tuple[Any, "subprocess.Popen[bytes]"]]:
    """Runs openssl; what the peer sends it encrypts, and what it decrypts the peer gets."""
    ours, its = socket.socketpair()
    ours.settimeout(PATIENCE)
    command = [require("openssl"), *map(str, arguments)]
    with ours, subprocess.Popen(command, stdin=its, stdout=its, stderr=subprocess.DEVNULL) as process:
        its.close()
        try:
            yield kind(ours), process
        finally:
            process.kill()


def s_client(server: Server, certificate: Path, *options: object) -> Any:
    trusted = ("-CAfile", certificate, "-verify_return_error", "-servername", "localhost")
    return openssl(Peer, "s_client", "-connect", f"127.0.0.1:{server.port}", *trusted, *options)


def skip_to(peer: Peer, words: bytes) -> bytes:
    """Reads what openssl says up to the end of these words, and returns it."""
    said = b""
    while not said.endswith(words):
        byte = peer.read(1)
        assert byte, said
        said += byte
    return said


def say(peer: Peer, command: bytes) -> None:
    """Has openssl act: a command is one where it is read by itself."""
    within(PATIENCE, lambda: not waiting(peer), "openssl reads")
    peer.send(command)
    within(PATIENCE, lambda: not waiting(peer), "openssl reads")


def waiting(peer: Peer) -> int:
    """How many bytes openssl has not read yet."""
    return int.from_bytes(fcntl.ioctl(peer.socket, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def open_by(peer: Peer) -> None:
    peer.send(request())
    skip_to(peer, b"HTTP/1.1 101 ")
    skip_to(peer, b"\r\n\r\n")


def ended(server: Server) -> Any:
    """How the only connection of a server ended."""
    (application,) = server.applications
    within(PATIENCE, lambda: application.reasons, "the server sees the end")
    (reason,) = application.reasons
    return reason


@versions
@tickets
def test_messages_of_a_client(serve: Serve, certificate: Pair, version: str, ticket: list[str]) -> None:
    server = serve("own tls", maxMessageSize=4 * MIB)
    with s_client(server, certificate[1], "-quiet", version, *ticket) as (peer, process):
        open_by(peer)
        large = frame(0x82, LARGE, KEY)
        assert peer.stream(large, len(large)) == len(large)
        assert peer.frame() == (0x82, LARGE)
        peer.send(b"".join(frame(0x81, b"%d" % number, KEY) for number in range(2000)))
        assert [peer.frame() for _ in range(2000)] == [(0x81, b"%d" % number) for number in range(2000)]
        peer.send(frame(0x88, b"\x0b\xb8bye", KEY))
        peer.expect_close(3000)
        peer.expect_end()
        assert process.wait(PATIENCE) == 0
    reason = ended(server)
    assert isinstance(reason, WebSocketClosed)
    assert (reason.closeReceived, reason.closeSent) == ((3000, "bye"), (3000, ""))


@versions
@pytest.mark.parametrize("notified", [True, False], ids=["close_notify", "killed"])
def test_a_client_that_leaves(serve: Serve, certificate: Pair, version: str, notified: bool) -> None:
    server = serve("own tls")
    with s_client(server, certificate[1], version) as (peer, process):
        open_by(peer)
        peer.send(frame(0x81, b"\xc2\xa0", KEY))
        assert peer.frame() == (0x81, b"\xc2\xa0")
        if notified:
            say(peer, b"Q\n")
        else:
            process.kill()
        reason = ended(server)
    assert isinstance(reason, WebSocketDropped)
    assert reason.code == 1006


@versions
def test_a_client_with_a_certificate(serve: Serve, certificate: Pair, version: str) -> None:
    key, pem = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    context.load_verify_locations(pem)
    context.verify_mode = ssl.CERT_REQUIRED
    server = serve("own tls", tls=context)
    with s_client(server, pem, "-quiet", version, "-cert", pem, "-key", key) as (peer, _):
        open_by(peer)
        (connection,) = server.call(lambda: list(server.factory.connections))
        assert server.call(connection.request.getPeerCertificateDER) == ssl.PEM_cert_to_DER_cert(pem.read_text())
        peer.send(frame(0x88, b"\x03\xe8", KEY))
        peer.expect_close(1000)
        peer.expect_end()
    assert isinstance(ended(server), WebSocketClosed)


class SServer:
    """openssl s_server, and the connection of a client of ours to it.

    Attributes:
        peer: the WebSocket's server.
        process: openssl.
        stream: the WebSocket's client.
    """

    def __init__(self, client: Client, certificate: Pair, peer: Caller, process: Any, **arguments: Any) -> None:
        self.peer, self.process = peer, process
        skip_to(peer, b"ACCEPT ")
        (port,) = re.findall(rb":(\d+)\n$", skip_to(peer, b"\n"))
        arguments.setdefault("tls", trusting(certificate[1]))
        attempt = client.begin(f"wss://localhost:{int(port)}/", maxMessageSize=4 * MIB, **arguments)
        skip_to(peer, b"GET / HTTP/1.1\r\n")
        peer._received[:0] = b"GET / HTTP/1.1\r\n"
        peer.send(peer.asked().welcome())
        self.stream = Stream(attempt.result())


@pytest.fixture
def s_server(client: Client, certificate: Pair) -> Callable[..., Any]:
    """Returns a function that runs openssl s_server with options, and connects to it."""

    @contextmanager
    def run(*options: object, **arguments: Any) -> Iterator[SServer]:
        key, pem = certificate
        command = ("s_server", "-accept", "127.0.0.1:0", "-key", key, "-cert", pem, *options)
        with openssl(Caller, *command) as (peer, process):
            yield SServer(client, certificate, peer, process, **arguments)

    return run


@versions
@tickets
def test_messages_of_a_server(s_server: Callable[..., Any], version: str, ticket: list[str]) -> None:
    with s_server(version, *ticket) as server:
        stream, peer = server.stream, server.peer
        stream.send(LARGE)
        assert peer.frame() == (0x82, LARGE)
        large = answer(0x82, LARGE)
        assert peer.stream(large, len(large)) == len(large)
        assert stream.receive() == LARGE
        for number in range(500):
            stream.send(str(number))
        assert [peer.frame() for _ in range(500)] == [(0x81, b"%d" % number) for number in range(500)]
        peer.send(b"".join(answer(0x81, b"%d" % number) for number in range(500)))
        assert [stream.receive() for _ in range(500)] == [str(number) for number in range(500)]
        peer.send(answer(0x88, b"\x0f\xa1later"))
        peer.expect_close(4001)
        say(peer, b"Q\n")
        reason = stream.end()
        assert isinstance(reason, WebSocketClosed)
        assert reason.closeReceived == (4001, "later")


@versions
def test_our_close_to_a_server(s_server: Callable[..., Any], version: str) -> None:
    with s_server(version, closeTimeout=None) as server:
        transport = server.stream.stream.transport
        call(transport.loseConnection, 3000, "bye")
        server.peer.expect_close(3000, "bye")
        server.peer.send(answer(0x88, b"\x0b\xb8"))
        say(server.peer, b"Q\n")
        call(transport.whenClosed)
        reason = server.stream.end()
        assert isinstance(reason, WebSocketClosed)
        assert reason.closeReceived == (3000, "")


@versions
@pytest.mark.parametrize("notified", [True, False], ids=["close_notify", "killed"])
def test_a_server_that_leaves(s_server: Callable[..., Any], version: str, notified: bool) -> None:
    with s_server(version) as server:
        server.peer.send(answer(0x81, b"farewell"))
        assert server.stream.receive() == "farewell"
        if notified:
            say(server.peer, b"Q\n")
        else:
            server.process.kill()
        reason = server.stream.end()
    assert isinstance(reason, WebSocketDropped)
    assert (reason.code, reason.closeReceived) == (1006, None)


@pytest.mark.parametrize("command", [b"k\n", b"K\n"])
def test_new_keys_of_a_server(s_server: Callable[..., Any], command: bytes) -> None:
    """With "K" it wants us to have new ones, too."""
    with s_server("-tls1_3") as server:
        for number in range(3):
            say(server.peer, command)
            server.peer.send(answer(0x81, b"%d" % number))
            assert server.stream.receive() == str(number)
            server.stream.send("\u20ac")
            skip_to(server.peer, b"\x81")
            server.peer._received[:0] = b"\x81"
            assert server.peer.frame() == (0x81, b"\xe2\x82\xac")


@pytest.mark.parametrize("command", [b"r\n", b"R\n"])
def test_a_server_that_wants_to_renegotiate(s_server: Callable[..., Any], command: bytes) -> None:
    """We refuse by an alert, for which openssl ends the connection; with "R" it wants a certificate, too."""
    with s_server("-tls1_2") as server:
        server.peer.send(answer(0x81, b"before"))
        assert server.stream.receive() == "before"
        say(server.peer, command)
        reason = server.stream.end()
    assert isinstance(reason, WebSocketDropped)
    assert reason.code == 1006


@versions
def test_a_server_that_wants_a_certificate(s_server: Callable[..., Any], certificate: Pair, version: str) -> None:
    key, pem = certificate
    context = trusting(pem)
    context.load_cert_chain(pem, key)
    with s_server(version, "-Verify", "1", "-CAfile", pem, "-verify_return_error", tls=context) as server:
        server.peer.send(answer(0x81, b"welcome"))
        assert server.stream.receive() == "welcome"
