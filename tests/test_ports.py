"""The endpoints that `--port` makes, in memory: their listen queues, and their URLs."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import endpoints
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.haproxy._parser import HAProxyServerParser

from wsock.server.ports import describeAddress, isTCP, makeEndpoint, readPort


def queue(port: str) -> int:
    """The length of the listen queue that a port of the command line has."""
    reactor = MemoryReactorClock()
    makeEndpoint(reactor, readPort(port)).listen(Factory())
    if reactor.tcpServers:
        return int(reactor.tcpServers[0][2])
    if reactor.sslServers:
        return int(reactor.sslServers[0][3])
    return int(reactor.unixServers[0][2])


@pytest.mark.parametrize(
    "port",
    [
        "8080",
        "0",
        "tcp:80",
        "tcp:80:127.0.0.1",
        "tcp:80:interface=127.0.0.1",
        "tcp:port=80",
        "tcp:interface=127.0.0.1:port=80",
        r"tcp:80:interface=\:\:1",
        "tcp6:80",
        r"tcp6:80:interface=\:\:1",
        "unix:/run/a",
        "unix:/run/a:660",
        "unix:/run/a:mode=660:lockfile=0",
        "unix:address=/run/a",
        r"unix:/run/a\:backlog\=5",
        r"unix:/run/a\\",
        "unix:tcp",
        "haproxy:tcp:80",
        "haproxy:tcp:80:127.0.0.1",
        "haproxy:tcp6:80",
        "haproxy:unix:/run/a",
        "haproxy:haproxy:tcp:80:interface=127.0.0.1",
    ],
)
def test_the_queue_is_long(port: str) -> None:
    assert queue(port) == 4096


@pytest.mark.parametrize(
    "port",
    [
        "tcp:80:backlog=7",
        "tcp:80::7",
        "tcp:80:127.0.0.1:7",
        r"tcp:80:back\log=7",
        "tcp6:80:7",
        "tcp6:80:backlog=7",
        "unix:/run/a:660:7",
        "unix:/run/a:backlog=7",
        "haproxy:tcp:80:backlog=7",
        "haproxy:tcp:80:127.0.0.1:7",
        "haproxy:unix:/run/a:660:7",
        "haproxy:backlog=7:tcp:80",
    ],
)
def test_a_queue_that_is_given_stays(port: str) -> None:
    assert queue(port) == 7


@pytest.mark.filterwarnings("ignore:Passing method to twisted.internet.ssl.CertificateOptions")
def test_tls(certificate: tuple[str, str]) -> None:
    key, pem = certificate
    assert queue(f"ssl:80:privateKey={key}:certKey={pem}") == 4096
    assert queue(f"ssl:80:{key}:{pem}") == 4096
    assert queue(f"ssl:80:{key}:{pem}:TLS_METHOD:127.0.0.1:7") == 7
    assert queue(f"ssl:80:privateKey={key}:certKey={pem}:backlog=7") == 7
    assert queue(f"haproxy:ssl:80:privateKey={key}:certKey={pem}") == 4096


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    from integration.peer import make_certificate

    key, pem = make_certificate(tmp_path_factory.mktemp("tls"))
    return str(key), str(pem)


class Parser:
    """A package's kind of endpoint, which makes one of a description or of what it knows itself."""

    def __init__(self, prefix: str, make: Callable[..., Any]) -> None:
        self.prefix = prefix
        self.parseStreamServer = make


def addPlugins(monkeypatch: pytest.MonkeyPatch, *plugins: object) -> None:
    monkeypatch.setattr(endpoints, "getPlugins", lambda interface: [*plugins, HAProxyServerParser()])


def test_kinds_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that knows no queue is not told of it, whatever its name; one that hands on what it is given is."""

    def strict(reactor: Any, path: str, port: str) -> Any:
        return endpoints.TCP4ServerEndpoint(reactor, int(port), 11)

    def open_(reactor: Any, folder: str, *arguments: str, **named: str) -> Any:
        description = ":".join([*arguments, *(f"{name}={value}" for name, value in named.items())])
        return endpoints.serverFromString(reactor, description)

    addPlugins(monkeypatch, Parser("tls", strict), Parser("strict", strict), Parser("auto", open_))
    assert queue("tls:/certificates:443") == 11
    assert queue("strict:/a:443") == 11
    assert queue("strict:tcp:443") == 11
    assert queue("haproxy:tls:/certificates:443") == 11
    assert queue("auto:/certificates:tcp:443") == 4096
    assert queue("auto:/certificates:tcp:443:127.0.0.1:7") == 7


@pytest.mark.skipif(not hasattr(endpoints, "wrapServerTLS"), reason="this Twisted has no tls: endpoint for servers")
def test_tls_of_newer_versions(tmp_path: Path) -> None:
    assert queue(f"tls:{tmp_path}:443") == 4096
    assert queue(f"tls:{tmp_path}") == 4096
    assert queue(f"tls:{tmp_path}:443:7") == 7
    assert queue(f"tls:{tmp_path}:backlog=7") == 7


@pytest.mark.parametrize("port", ["tcp:80\\", "unix:address=/run/a\\", "unix:/run/a\\\\\\"])
def test_a_backslash_at_the_end(port: str) -> None:
    """It would quote what is put behind it."""
    with pytest.raises(ValueError, match="a backslash quotes"):
        makeEndpoint(MemoryReactorClock(), port)


class Port:
    """A port that listens somewhere."""

    def __init__(self, host: object) -> None:
        self.getHost = lambda: host


@pytest.mark.parametrize(
    ("description", "host", "page", "url"),
    [
        ("tcp:0", IPv4Address("TCP", "0.0.0.0", 81), "/", "http://localhost:81/"),
        ("tcp:80", IPv4Address("TCP", "0.0.0.0", 80), "/", "http://localhost/"),
        ("tcp:443", IPv4Address("TCP", "192.0.2.1", 443), None, "ws://192.0.2.1:443/"),
        ("tcp6:81", IPv6Address("TCP", "::", 81), None, "ws://localhost:81/"),
        ("tcp6:81", IPv6Address("TCP", "::1", 81), "/", "http://[::1]:81/"),
        ("ssl:443:privateKey=a", IPv4Address("TCP", "0.0.0.0", 443), "/", "https://localhost/"),
        ("haproxy:ssl:80:a", IPv4Address("TCP", "127.0.0.1", 80), None, "wss://127.0.0.1:80/"),
        ("TLS:/a:444", IPv6Address("TCP", "::", 444), "/", "https://localhost:444/"),
        ("systemd:domain=INET:index=0", IPv4Address("TCP", "0.0.0.0", 81), None, "ws://localhost:81/"),
        ("unix:/run/a", UNIXAddress(b"/run/a"), "/", "unix:/run/a"),
        ("unix:/run/a", UNIXAddress(b"/run/a\n"), "/", "unix:/run/a?"),
        ("tcp:81", IPv4Address("TCP", "0.0.0.0", 81), "/console", "http://localhost:81/console"),
        ("onion:80", object(), "/", "onion:80"),
    ],
)
def test_urls(description: str, host: object, page: str | None, url: str) -> None:
    assert describeAddress(description, Port(host), page) == url


def test_standard_input_has_no_url() -> None:
    assert describeAddress("stdio:", socket.socket, "/") == "stdio:"


@pytest.mark.parametrize(
    ("description", "whether"),
    [
        ("tcp:80", True),
        ("TCP6:80:interface=\\:\\:1", True),
        ("haproxy:tcp:80", True),
        ("HAProxy:tcp6:80", True),
        ("systemd:domain=INET:index=0", True),
        ("systemd:domain=INET6:name=web", True),
        ("systemd:domain=UNIX:index=0", False),
        ("haproxy:unix:/run/a", False),
        ("haproxy", False),
        ("unix:/tcp", False),
        ("ssl:443:privateKey=tcp", False),
        ("stdio:", False),
    ],
)
def test_descriptions_of_tcp(description: str, whether: bool) -> None:
    assert isTCP(description) is whether
