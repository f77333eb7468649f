"""A client of ours behind an https proxy: TLS to the proxy, CONNECT, and within it TLS to the server.

The proxy is tinyproxy, with haproxy in front for its TLS. Both layers are our own TLS.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.peer import PATIENCE, within
from integration.servers import Echo, Serve, Server
from integration.streams import Client, Stream, call, trusting
from integration.test_proxies import running
from tools import free_port, require

from wsock import Proxy, ProxyError, Settings, WebSocketClosed, WebSocketDropped, WebSocketEnded

pytestmark = pytest.mark.peer

MIB = 2**20
TINYPROXY = """
Port {port}
Listen 127.0.0.1
Timeout 600
MaxClients 20
"""
HAPROXY = """
defaults
    mode tcp
    timeout connect 60s
    timeout client 60s
    timeout server 60s
listen front
    bind 127.0.0.1:{port} ssl crt both.pem
    server one 127.0.0.1:{plain}
"""


@contextlib.contextmanager
def proxying(certificate: tuple[Path, Path], folder: Path) -> Iterator[Proxy]:
    key, pem = certificate
    port, plain = free_port(), free_port()
    (folder / "both.pem").write_bytes(pem.read_bytes() + key.read_bytes())
    (folder / "haproxy.cfg").write_text(HAPROXY.format(port=port, plain=plain))
    (folder / "tinyproxy.conf").write_text(TINYPROXY.format(port=plain))
    connects = running([require("tinyproxy"), "-d", "-c", "tinyproxy.conf"], folder, [plain])
    secures = running([require("haproxy"), "-db", "-f", "haproxy.cfg"], folder, [port])
    with connects, secures:
        yield Proxy(f"https://localhost:{port}", tls=trusting(pem))


@pytest.fixture(scope="module")
def proxy(certificate: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with proxying(certificate, tmp_path_factory.mktemp("proxy")) as proxy:
        yield proxy


def connect(client: Client, server: Server, proxy: Proxy, **arguments: Any) -> Stream:
    assert server.certificate is not None
    tls = trusting(server.certificate)
    return Stream(client.begin(server.url(), proxy=proxy, tls=tls, **arguments).result())


def ended(server: Server) -> Any:
    """How the only connection of a server ended."""
    (application,) = server.applications
    within(PATIENCE, lambda: application.reasons, "the server sees the end")
    return application.reasons[0]


@pytest.mark.parametrize("size", [1, 70000, MIB])
def test_messages(serve: Serve, client: Client, proxy: Proxy, size: int) -> None:
    stream = connect(client, serve("own tls"), proxy)
    messages = [bytes((number,)) * size for number in range(4)]
    for message in messages:
        stream.send(message)
    assert [stream.receive() for _ in messages] == messages
    stream.close()
    assert stream.rest() == []


def test_many_small_messages(serve: Serve, client: Client, proxy: Proxy) -> None:
    stream = connect(client, serve("own tls"), proxy)

    async def exchange() -> list[Any]:
        for number in range(2000):
            stream.stream.send(str(number))
        return [await stream.stream.receive() for _ in range(2000)]

    assert call(exchange) == [str(number) for number in range(2000)]


def test_our_close(serve: Serve, client: Client, proxy: Proxy) -> None:
    server = serve("own tls")
    stream = connect(client, server, proxy, closeTimeout=None)
    stream.close(3000, "bye")
    reason = stream.end()
    assert isinstance(reason, WebSocketClosed)
    assert reason.closeReceived == (3000, "")
    assert ended(server).closeReceived == (3000, "bye")


def test_its_close(serve: Serve, client: Client, proxy: Proxy) -> None:
    server = serve("own tls", lambda request: Echo())
    stream = connect(client, server, proxy, closeTimeout=None)
    within(PATIENCE, lambda: server.factory.connections, "the server has it")
    server.call(lambda: [one.loseConnection(4001, "later") for one in server.factory.connections])
    reason = stream.end()
    assert isinstance(reason, WebSocketClosed)
    assert reason.closeReceived == (4001, "later")
    assert ended(server).closeReceived == (4001, "")


@pytest.mark.parametrize("side", ["client", "server"])
def test_an_abort(serve: Serve, client: Client, proxy: Proxy, side: str) -> None:
    server = serve("own tls")
    stream = connect(client, server, proxy)
    stream.send("a")
    assert stream.receive() == "a"
    if side == "client":
        call(stream.stream.transport.abortConnection)
    else:
        server.call(lambda: [one.abortConnection() for one in server.factory.connections])
    for reason in (stream.end(), ended(server)):
        assert isinstance(reason, WebSocketDropped)
        assert reason.code == 1006


def test_the_proxy_is_killed(serve: Serve, client: Client, certificate: tuple[Path, Path], tmp_path: Path) -> None:
    """In the midst of messages both ways: those that still come are whole, and in their order."""
    messages = [bytes((number,)) * MIB for number in range(9)]
    server = serve("own tls")
    with proxying(certificate, tmp_path) as proxy:
        # All of them may wait at once.
        stream = connect(client, server, proxy, settings=Settings(sendLimit=None))
        stream.send(messages[0])
        assert stream.receive() == messages[0]

        def send() -> None:
            for message in messages[1:]:
                stream.stream.send(message).addErrback(lambda failure: failure.trap(WebSocketEnded))

        call(send)
        assert stream.receive() == messages[1]
    received = messages[:2]
    with contextlib.suppress(WebSocketDropped):
        while True:
            received.append(stream.receive())
    assert received == messages[: len(received)]
    reason = stream.end()
    assert (reason.code, reason.closeReceived, reason.closeSent) == (1006, None, None)
    assert ended(server).code == 1006


def test_a_proxy_that_is_not_who_it_says(
    serve: Serve, client: Client, proxy: Proxy, authority: tuple[Path, Path]
) -> None:
    """It sees nothing of ours but the end of the handshake."""
    server = serve("own tls")
    other = Proxy(str(proxy), tls=trusting(authority[1]))
    assert server.certificate is not None
    attempt = client.begin(server.url(), proxy=other, tls=trusting(server.certificate))
    assert "TLS failed: the proxy's certificate is self-signed, and not trusted" in str(attempt.error(ProxyError))
    assert server.applications == []
