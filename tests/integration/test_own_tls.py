"""Our own TLS against programs of others: openssl, curl, and Twisted's TLS; the header of a proxy comes before it."""

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.peer import PATIENCE, frame, within
from integration.process import Twistd
from integration.servers import Serve
from integration.streams import Client, trusting
from twisted.internet.ssl import PrivateCertificate
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from wsock import WebSocketClosed
from wsock.wire.adoption import ADOPTED_CLASSES

ASK = "GET /healthz HTTP/1.1\nHost: localhost\n\n"


@pytest.fixture(scope="module")
def server(certificate: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twistd]:
    key, pem = certificate
    path = tmp_path_factory.mktemp("unix") / "socket"
    ports = ("tcp:0:interface=127.0.0.1", "haproxy:tcp:0:interface=127.0.0.1", f"unix:{path}")
    arguments = [word for port in ports for word in ("--port", port)]
    with Twistd(*arguments, "--tls-cert", pem, "--tls-key", key, ports=3) as twistd:
        yield twistd


def need(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is missing")
    return found


class SClient:
    """`openssl s_client`, which takes commands for TLS as lines of one letter."""

    def __init__(self, port: int, certificate: Path, *options: str) -> None:
        command = [need("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", str(certificate), *options]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.wait("Verify return code: 0 (ok)")

    def say(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text)
        self._process.stdin.flush()

    def wait(self, words: str) -> None:
        """Waits for a line with these words."""
        assert self._process.stdout is not None
        seen = []
        for line in self._process.stdout:
            seen.append(line)
            if words in line:
                return
        raise AssertionError("".join(seen))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()


@pytest.mark.peer
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_page_for_openssl(server: Twistd, certificate: tuple[Path, Path], version: str) -> None:
    peer = SClient(server.ports[0], certificate[1], version, "-crlf")
    try:
        peer.say(ASK)
        peer.wait("HTTP/1.1 200 OK")
    finally:
        peer.close()


@pytest.mark.peer
@pytest.mark.parametrize("command", ["k", "K"])
def test_new_keys(server: Twistd, certificate: tuple[Path, Path], command: str) -> None:
    """With "K" the peer wants us to have new ones, too."""
    peer = SClient(server.ports[0], certificate[1], "-tls1_3", "-crlf")
    try:
        peer.say(f"{command}\n")
        peer.wait("KEYUPDATE")
        peer.say(ASK)
        peer.wait("HTTP/1.1 200 OK")
    finally:
        peer.close()


@pytest.mark.peer
def test_renegotiation_is_refused(server: Twistd, certificate: tuple[Path, Path]) -> None:
    peer = SClient(server.ports[0], certificate[1], "-tls1_2", "-crlf")
    try:
        peer.say("R\n")
        peer.wait("no renegotiation")
    finally:
        peer.close()


@pytest.mark.peer
@pytest.mark.parametrize("options", [["--http1.1"], ["--http1.0"], ["--no-alpn"], ["--haproxy-protocol"]])
def test_pages_for_curl(server: Twistd, certificate: tuple[Path, Path], options: list[str]) -> None:
    port = server.ports["--haproxy-protocol" in options]
    command = [need("curl"), "-sS", "--cacert", str(certificate[1]), *options, f"https://localhost:{port}/healthz"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.stdout, done.stderr) == ("ok\n", "")


def test_the_url_of_each_port_is_told(server: Twistd) -> None:
    lines = [line.rpartition("listening on ")[2] for line in server.log().splitlines() if "listening on " in line]
    assert [line.partition(":")[0] for line in lines] == ["https", "https", "unix"]


@pytest.mark.parametrize("size", [1, 70000, 2**20])
def test_twisteds_tls_as_a_client(serve: Serve, client: Client, size: int) -> None:
    stream = client.connect(serve("own tls"))
    message = bytes(range(256)) * (size // 256) + bytes(size % 256)
    for _ in range(3):
        stream.send(message)
    assert [stream.receive() for _ in range(3)] == [message] * 3
    stream.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_twisteds_tls_as_a_server(
    serve: Serve, client: Client, certificate: tuple[Path, Path], version: ssl.TLSVersion
) -> None:
    """Messages of all sizes, and the codes of either side's Close."""
    context = trusting(certificate[1])
    context.minimum_version = context.maximum_version = version
    server = serve("tls", maxMessageSize=2**22)
    for side in ("client", "server"):
        stream = client.connect(server, tls=context, maxMessageSize=2**22, closeTimeout=None)
        for size in (1, 70000, 2**22):
            stream.send(bytes(size))
            assert stream.receive() == bytes(size)
        for number in range(200):
            stream.send(str(number))
        assert [stream.receive() for _ in range(200)] == [str(number) for number in range(200)]
        if side == "client":
            stream.close(3000, "bye")
        else:
            server.call(server.applications[-1].transport.loseConnection, 4001, "later")
        reason = stream.end()
        assert isinstance(reason, WebSocketClosed)
        assert reason.closeReceived == ((3000, "") if side == "client" else (4001, "later"))
        within(PATIENCE, lambda: server.applications[-1].reasons, "the server sees the end")
        received = server.applications[-1].reasons[0].closeReceived
        assert received == ((3000, "bye") if side == "client" else (4001, ""))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_a_certificate_by_twisteds_tls(
    serve: Serve, client: Client, certificate: tuple[Path, Path], version: ssl.TLSVersion
) -> None:
    key, pem = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    context.load_verify_locations(pem)
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = context.maximum_version = version
    server = serve("own tls", tls=context)
    own = PrivateCertificate.loadPEM(pem.read_bytes() + key.read_bytes())
    stream = client.connect(server, clientCertificate=own)
    stream.send("a")
    assert stream.receive() == "a"
    (connection,) = server.call(lambda: list(server.factory.connections))
    assert server.call(connection.request.getPeerCertificateDER) == ssl.PEM_cert_to_DER_cert(pem.read_text())
    stream.close()


class Large(Resource):
    """A page that a producer sends, asked for each part."""

    isLeaf = True
    page = bytes(range(256)) * 2**14

    def render_GET(self, request: Any) -> int:
        request.registerProducer(Parts(request, self.page), False)
        return NOT_DONE_YET


class Parts:
    """The producer of one answer."""

    def __init__(self, request: Any, page: bytes) -> None:
        self._request, self._rest = request, page

    def resumeProducing(self) -> None:
        part, self._rest = self._rest[:100000], self._rest[100000:]
        self._request.write(part)
        if not self._rest:
            self._request.unregisterProducer()
            self._request.finish()

    def stopProducing(self) -> None:
        self._rest = b""


class Secure(Resource):
    """A page that says whether it travels over TLS."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        return b"yes" if request.isSecure() else b"no"


def test_pages_of_a_fallback(serve: Serve) -> None:
    """A site is a producer of our layer's, and asks it whether it is secure."""
    root = Resource()
    root.putChild(b"large", Large())
    root.putChild(b"secure", Secure())
    server = serve("own tls", fallback=Site(root))
    peer = server.connect()
    peer.send(b"GET /large HTTP/1.0\r\n\r\n")
    assert peer.rest().endswith(b"\r\n\r\n" + Large.page)
    peer = server.connect()
    peer.send(b"GET /secure HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert peer.rest().endswith(b"\r\n\r\nyes")


def test_the_certificate_of_a_client(serve: Serve, certificate: tuple[Path, Path]) -> None:
    key, pem = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    context.load_verify_locations(pem)
    context.verify_mode = ssl.CERT_REQUIRED
    server = serve("tcp", tls=context)
    own = ssl.create_default_context(cafile=pem)
    own.load_cert_chain(pem, key)
    with own.wrap_socket(server.connect(tls=False).socket, server_hostname="localhost") as sock:
        sock.sendall(b"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
        sock.sendall(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
        assert sock.recv(2**10).startswith(b"HTTP/1.1 101 ")
        within(PATIENCE, lambda: len(server.factory.connections), "it is open")
        (connection,) = server.call(lambda: list(server.factory.connections))
        encoded = server.call(connection.request.getPeerCertificateDER)
        assert encoded == ssl.PEM_cert_to_DER_cert(pem.read_text())
        assert server.call(connection.getPeerCertificate).subject.rfc4514_string() == "CN=localhost"


def test_the_hub_reads_it(serve: Serve) -> None:
    """The transport below is adopted with the first message."""
    server = serve("own tls")
    if not ADOPTED_CLASSES:
        pytest.skip("no epoll here")
    peer = server.open()
    peer.send(frame(0x81, b"Hello"))
    assert peer.frame() == (0x81, b"Hello")
    (connection,) = server.call(lambda: list(server.factory.connections))
    assert type(connection.transport.transport) in ADOPTED_CLASSES.values()
    peer.close()
