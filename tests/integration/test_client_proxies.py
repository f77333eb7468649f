"""Clients by way of the proxies of others: tinyproxy, squid, microsocks and Tor; and of proxies that do not answer."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.peer import PATIENCE, within
from integration.servers import Serve, Server
from integration.streams import Client, Listen, Stream, call, trusting
from integration.test_proxies import running
from tools import free_port, require
from twisted.internet import tcp
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectionRefusedError

from wsock import ConnectionRejected, Proxy, ProxyError, Refuse, WebSocketClosed, WebSocketDropped
from wsock.wire.tls import TLSLayer

pytestmark = pytest.mark.peer

MIB = 2**20
TINYPROXY = """
Port {port}
Listen 127.0.0.1
Timeout 600
MaxClients 20
{more}
"""
#: A port for all, one for those that it knows, and one over TLS. It runs as a user of its own.
SQUID = """
http_port 127.0.0.1:{open}
http_port 127.0.0.1:{closed}
https_port 127.0.0.1:{tls} tls-cert={folder}/both.pem
pid_filename none
access_log none
cache_log /dev/null
cache deny all
pinger_enable off
shutdown_lifetime 0 seconds
hosts_file {folder}/hosts
auth_param basic program {helper} {folder}/users
auth_param basic children 1
acl closed localport {closed}
acl known proxy_auth REQUIRED
acl blocked dstdomain blocked.example
http_access deny blocked
http_access deny closed !known
http_access allow all
"""
#: The user "user" with the password "secret".
USERS = "user:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/\n"
#: It finds no network, since its only bridge is this machine.
TOR = """
SocksPort 127.0.0.1:{port}
SocksPort unix:{folder}/socks
DataDirectory {folder}/data
UseBridges 1
Bridge 127.0.0.1:1
"""


@contextlib.contextmanager
def tinyproxy(folder: Path, more: str = "") -> Iterator[str]:
    port = free_port()
    (folder / "tinyproxy.conf").write_text(TINYPROXY.format(port=port, more=more))
    with running([require("tinyproxy"), "-d", "-c", "tinyproxy.conf"], folder, [port]):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def microsocks(folder: Path, *options: str) -> Iterator[str]:
    port = free_port()
    with running([require("microsocks"), "-i", "127.0.0.1", "-p", str(port), *options], folder, [port]):
        yield f"socks5://127.0.0.1:{port}"


@contextlib.contextmanager
def squid(certificate: tuple[Path, Path]) -> Iterator[dict[str, str]]:
    key, pem = certificate
    command = require("squid")
    helper = next(
        (path for path in Path("/usr").glob("lib*/squid/basic_ncsa_auth")), Path("/usr/libexec/squid/basic_ncsa_auth")
    )
    ports = {name: free_port() for name in ("open", "closed", "tls")}
    # Pytest's folders are the user's alone.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "both.pem").write_bytes(pem.read_bytes() + key.read_bytes())
        (folder / "users").write_text(USERS)
        (folder / "hosts").write_text("127.0.0.1 localhost known-to-the-proxy.example\n")
        (folder / "squid.conf").write_text(SQUID.format(**ports, folder=folder, helper=helper))
        for one in (folder, *folder.iterdir()):
            one.chmod(0o755)
        with running([command, "-N", "-f", str(folder / "squid.conf")], folder, list(ports.values())):
            yield {name: f"http{'s' * (name == 'tls')}://localhost:{port}" for name, port in ports.items()}


@pytest.fixture(scope="module")
def squids(certificate: tuple[Path, Path]) -> Iterator[dict[str, str]]:
    with squid(certificate) as ports:
        yield ports


@pytest.fixture(params=["tinyproxy", "squid", "squid over TLS", "microsocks"])
def proxy(request: Any, certificate: tuple[Path, Path], tmp_path: Path) -> Iterator[Proxy]:
    """Each kind, for all."""
    if request.param.startswith("squid"):
        ports = request.getfixturevalue("squids")
        tls = "TLS" in request.param
        yield Proxy(ports["tls"], tls=trusting(certificate[1])) if tls else Proxy(ports["open"])
    else:
        with (tinyproxy if request.param == "tinyproxy" else microsocks)(tmp_path) as url:
            yield Proxy(url)


@pytest.fixture(params=["tinyproxy", "squid", "microsocks"])
def closed(request: Any, tmp_path: Path) -> Iterator[str]:
    """Each kind, for the user "user" with the password "secret"."""
    if request.param == "squid":
        yield request.getfixturevalue("squids")["closed"]
    elif request.param == "tinyproxy":
        with tinyproxy(tmp_path, "BasicAuth user secret") as url:
            yield url
    else:
        with microsocks(tmp_path, "-u", "user", "-P", "secret") as url:
            yield url


def trusted(server: Server, kind: str) -> dict[str, Any]:
    """The arguments by which a client trusts a server; Twisted's TLS is that of `Client`."""
    return {"tls": trusting(server.certificate)} if kind == "own tls" and server.certificate is not None else {}


def below(stream: Stream) -> Any:
    """The transport over the socket."""
    transport = stream.stream.transport.transport
    while not isinstance(transport, tcp.Connection):
        transport = transport.transport
    return transport


@pytest.mark.parametrize("kind", ["tcp", "own tls", "tls"])
def test_messages(serve: Serve, client: Client, proxy: Proxy, kind: str) -> None:
    server = serve(kind)
    stream = client.connect(server, proxy=proxy, **trusted(server, kind))
    messages = ["Hello", bytes(MIB), *map(str, range(200))]
    for message in messages:
        stream.send(message)
    assert [stream.receive() for _ in messages] == messages
    assert call(stream.stream.transport.getPeer).port == proxy.port
    stream.close(3000, "bye")
    reason = stream.end()
    assert isinstance(reason, WebSocketClosed)
    (application,) = server.applications
    within(PATIENCE, lambda: application.reasons, "the server sees the end")
    assert application.reasons[0].closeReceived == (3000, "bye")


@pytest.mark.parametrize("kind", ["tcp", "own tls"])
def test_nothing_stays_between(serve: Serve, client: Client, proxy: Proxy, kind: str) -> None:
    """Each layer has the next as its protocol, as without a proxy, up to the connection."""
    server = serve(kind)
    stream = client.connect(server, proxy=proxy, **trusted(server, kind))
    layers = []
    layer = below(stream).protocol
    if proxy.scheme == "https":
        # Below its TLS is what Twisted's endpoint has put there.
        layer = stream.stream.transport.transport
        while not isinstance(layer.transport, tcp.Connection):
            layer = layer.transport
    while layer is not stream.stream.transport:
        assert type(layer) is TLSLayer
        layers.append(layer)
        layer = layer.protocol
    assert len(layers) == (kind == "own tls") + (proxy.scheme == "https")


@pytest.mark.parametrize("given", ["in the URL", "as auth"])
def test_a_user(serve: Serve, client: Client, closed: str, given: str) -> None:
    auth = ("user", "secret")
    proxy = Proxy(closed, auth=auth) if given == "as auth" else closed.replace("://", "://user:s%65cret@")
    stream = client.connect(serve(), proxy=proxy)
    stream.send("Hello")
    assert stream.receive() == "Hello"


@pytest.mark.parametrize("auth", [None, ("user", "wrong"), ("other", "secret")])
def test_a_user_that_is_not_accepted(serve: Serve, client: Client, closed: str, auth: tuple[str, str] | None) -> None:
    server = serve()
    error = client.begin(server.url(), proxy=Proxy(closed, auth=auth)).error(ProxyError)
    if closed.startswith("http"):
        assert error.response.status in (401, 407)
        assert error.response.body.lstrip().lower().startswith(b"<")
    else:
        assert error.response is None
        advice = "give user and password" if auth is None else "does not accept the user and the password"
        assert advice in str(error)
    assert "wrong" not in str(error)
    assert server.applications == []


def test_a_port_that_is_blocked(serve: Serve, client: Client, tmp_path: Path) -> None:
    server = serve()
    with tinyproxy(tmp_path, "ConnectPort 443") as url:
        error = client.begin(server.url(), proxy=url).error(ProxyError)
    assert error.response.status == 403
    assert f"the proxy {url} answered 403 " in str(error)
    assert server.applications == []


def test_a_host_that_is_blocked(client: Client, squids: dict[str, str]) -> None:
    error = client.begin("wss://blocked.example/", proxy=squids["open"]).error(ProxyError)
    assert error.response.status == 403
    assert error.response.headers.get("X-Squid-Error") == "ERR_ACCESS_DENIED 0"


def test_a_name_that_the_proxy_alone_knows(serve: Serve, client: Client, squids: dict[str, str]) -> None:
    server = serve()
    stream = client.connect(f"ws://known-to-the-proxy.example:{server.port}/", proxy=squids["open"])
    stream.send("Hello")
    assert stream.receive() == "Hello"
    (connection,) = server.factory.connections
    assert connection.request.headers.get("Host") == f"known-to-the-proxy.example:{server.port}"


def test_the_server_is_verified_for_its_own_name(serve: Serve, client: Client, squids: dict[str, str]) -> None:
    """Its certificate is for localhost."""
    server = serve("own tls")
    url = f"wss://known-to-the-proxy.example:{server.port}/"
    error = client.begin(url, proxy=squids["open"], **trusted(server, "own tls")).error(WebSocketDropped)
    assert "the server's certificate is not for known-to-the-proxy.example" in str(error)


def test_a_refusal_of_the_server(serve: Serve, client: Client, proxy: Proxy) -> None:
    """It is told from one of the proxy's."""

    def refuse(request: object) -> None:
        raise Refuse(403)

    server = serve("tcp", refuse)
    error = client.begin(server.url(), proxy=proxy).error(ConnectionRejected)
    assert str(error) == "the server answered 403 Forbidden"


def test_a_server_that_does_not_listen(client: Client, proxy: Proxy) -> None:
    error = client.begin(f"ws://127.0.0.1:{free_port()}/", proxy=proxy).error(ProxyError)
    if proxy.scheme == "socks5":
        assert error.reply == 5
        assert "the server refused the connection" in str(error)
    else:
        assert error.response.status in (500, 503)


def test_a_proxy_that_does_not_listen(client: Client) -> None:
    error = client.begin("ws://127.0.0.1/", proxy=f"http://127.0.0.1:{free_port()}").error(ProxyError)
    assert type(error.__cause__) is ConnectionRefusedError


@pytest.mark.parametrize("kind", ["tcp", "own tls"])
@pytest.mark.parametrize("makeProxy", [tinyproxy, microsocks])
def test_the_proxy_is_killed(serve: Serve, client: Client, tmp_path: Path, kind: str, makeProxy: Any) -> None:
    server = serve(kind)
    with makeProxy(tmp_path) as url:
        stream = client.connect(server, proxy=url, **trusted(server, kind))
        stream.send("Hello")
        assert stream.receive() == "Hello"
    reason = stream.end()
    assert isinstance(reason, WebSocketDropped)
    assert reason.code == 1006


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
def test_a_proxy_that_never_answers(client: Client, listen: Listen, scheme: str) -> None:
    silent = listen()
    url = f"{scheme}://127.0.0.1:{silent.port}"
    error = client.begin("wss://localhost/", proxy=url, openTimeout=0.2).error(WebSocketDropped)
    told = "did not finish the TLS handshake" if scheme == "https" else "did not answer in time"
    assert str(error) == f"the opening handshake took too long: the proxy {url} {told}"


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
@pytest.mark.parametrize("step", ["at once", "when it is asked"])
def test_cancelled(client: Client, listen: Listen, scheme: str, step: str) -> None:
    from twisted.internet.defer import CancelledError

    silent = listen()
    attempt = client.begin("ws://localhost/", proxy=f"{scheme}://127.0.0.1:{silent.port}")
    if step == "when it is asked":
        assert silent.accept().read(1)
    call(attempt.deferred.cancel)
    attempt.error(CancelledError)


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
def test_a_proxy_that_closes(client: Client, listen: Listen, scheme: str) -> None:
    listener = listen()
    attempt = client.begin("ws://localhost/", proxy=f"{scheme}://127.0.0.1:{listener.port}")
    caller = listener.accept()
    assert caller.read(1)
    caller.close()
    assert f"the proxy {scheme}://127.0.0.1:{listener.port} " in str(attempt.error(ProxyError))


def test_the_environment(serve: Serve, client: Client, squids: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve()
    for name in ("ws_proxy", "WS_PROXY", "http_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("all_proxy", squids["open"].removeprefix("http://"))
    port = int(squids["open"].rpartition(":")[2])
    through = client.connect(server.url(), proxy="environment")
    assert call(through.stream.transport.getPeer).port == port
    monkeypatch.setenv("NO_PROXY", f"10.0.0.0/8, 127.0.0.1:{server.port}, localhost")
    for arguments in ({"proxy": "environment"}, {}):
        direct = client.connect(server.url(), **arguments)
        assert call(direct.stream.transport.getPeer).port == server.port


# Tor, which reaches nothing here: it refuses what it never connects to


@pytest.fixture(scope="module")
def tor() -> Iterator[tuple[str, Path]]:
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "torrc").write_text(TOR.format(port=port, folder=folder))
        with running([require("tor"), "-f", "torrc"], folder, [port]):
            yield f"socks5://127.0.0.1:{port}", folder / "socks"


@pytest.mark.parametrize("auth", [None, ("any user", "any password")])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "malformed.onion"])
def test_tor(client: Client, tor: tuple[str, Path], host: str, auth: tuple[str, str] | None) -> None:
    error = client.begin(f"ws://{host}/", proxy=Proxy(tor[0], auth=auth)).error(ProxyError)
    assert error.reply == 1


def test_tor_by_a_unix_socket(client: Client, tor: tuple[str, Path]) -> None:
    from twisted.internet import reactor

    endpoint = UNIXClientEndpoint(reactor, os.fspath(tor[1]))
    error = client.begin("ws://localhost/", proxy="socks5://tor", endpoint=endpoint).error(ProxyError)
    assert error.reply == 1
