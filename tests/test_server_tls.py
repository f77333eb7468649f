"""TLS of a server by the standard library: its context, its factory, and where it can be asked for."""

import os
import ssl
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from integration.peer import make_certificate
from secured import Above, Pair
from twisted.internet.endpoints import SSL4ServerEndpoint, TCP4ServerEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from wire import Application, quiet

from wsock import LocalProtocolError, WebSocketServerFactory, WebSocketServerService, serve
from wsock.server.tls import TLSServerFactory, makeContext
from wsock.wire.tls import TLSLayer


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def factory(**arguments: Any) -> WebSocketServerFactory:
    return WebSocketServerFactory(lambda request: Application(), reactor=Clock(), settings=quiet(None), **arguments)


# Contexts


def test_a_context_of_files(pair: Pair) -> None:
    context = makeContext((str(pair[1]), pair[0]))
    assert context.protocol is ssl.PROTOCOL_TLS_SERVER
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION


def test_a_context_of_the_users(pair: Pair) -> None:
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    assert makeContext(own) is own
    assert own.options & ssl.OP_NO_RENEGOTIATION


def test_a_key_in_the_file_of_the_certificate(pair: Pair, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(pair[0].read_bytes() + pair[1].read_bytes())
    makeContext((both, both))


@pytest.mark.parametrize(
    "wrong", [True, "cert.pem", b"cert.pem", ["cert.pem", "key.pem"], ("cert.pem",), ("a", "b", "c"), ("a", None), {}]
)
def test_what_is_no_tls(wrong: Any) -> None:
    with pytest.raises(LocalProtocolError, match=r"tls.*ssl\.SSLContext"):
        makeContext(wrong)


def test_a_clients_context() -> None:
    with pytest.raises(LocalProtocolError, match="for clients"):
        makeContext(ssl.create_default_context())


def test_files_that_can_not_be_read(pair: Pair, tmp_path: Path) -> None:
    key, certificate = pair
    with pytest.raises(FileNotFoundError, match="nonesuch"):
        makeContext((tmp_path / "nonesuch", key))
    with pytest.raises(FileNotFoundError, match="nonesuch"):
        makeContext((certificate, tmp_path / "nonesuch"))
    with pytest.raises(OSError, match=str(tmp_path)):
        makeContext((certificate, tmp_path))


def test_files_of_something_else(pair: Pair, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

    key, certificate = pair
    other = tmp_path / "other.pem"
    other.write_bytes(
        ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    broken = tmp_path / "broken.pem"
    broken.write_bytes(certificate.read_bytes().replace(b"M", b"N"))
    for files, told in (
        ((key, key), f"{key} has no certificate in PEM"),
        ((certificate, certificate), f"{certificate} has no private key in PEM"),
        ((certificate, make_certificate(tmp_path)[0]), "the key does not fit the certificate: "),
        ((broken, key), "no usable certificate and key ("),
    ):
        with pytest.raises(LocalProtocolError) as raised:
            makeContext(files)
        assert str(raised.value).startswith(told)
    # OpenSSL's reason is in plain words where it has a name.
    with pytest.raises(LocalProtocolError, match=r"^no usable certificate and key \([a-z ]+\): "):
        makeContext((certificate, other))


def test_a_certificate_by_an_older_name(pair: Pair, tmp_path: Path) -> None:
    """OpenSSL reads it as well, and so its reason is the right one."""
    older = tmp_path / "older.pem"
    older.write_bytes(pair[1].read_bytes().replace(b" CERTIFICATE-----", b" X509 CERTIFICATE-----"))
    makeContext((older, pair[0]))
    with pytest.raises(LocalProtocolError, match="^the key does not fit the certificate: "):
        makeContext((older, make_certificate(tmp_path)[0]))


def test_a_key_that_is_too_short(pair: Pair, tmp_path: Path) -> None:
    """That is said first, whatever the other file has."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.x509.oid import NameOID

    key = rsa.generate_private_key(65537, 1024)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    today = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, today, today + timedelta(days=1))
    short = tmp_path / "short.pem"
    short.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    with pytest.raises(LocalProtocolError, match="^the key is too short to be safe: "):
        makeContext((short, pair[1]))


@pytest.mark.parametrize(
    ("platforms", "least"),
    [
        pytest.param(ssl.TLSVersion.MINIMUM_SUPPORTED, ssl.TLSVersion.TLSv1_2, id="lower"),
        pytest.param(ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3, id="higher"),
    ],
)
def test_the_least_version(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, platforms: ssl.TLSVersion, least: ssl.TLSVersion
) -> None:
    """It is 1.2, or the platform's where that asks for more."""

    class OfThePlatform(ssl.SSLContext):
        def __new__(cls, protocol: int) -> "OfThePlatform":
            context = super().__new__(cls, protocol)
            context.minimum_version = platforms
            return context

    platform = ModuleType("ssl")
    vars(platform).update(vars(ssl), SSLContext=OfThePlatform)
    monkeypatch.setattr("wsock.server.tls.ssl", platform)
    assert makeContext((pair[1], pair[0])).minimum_version is least


def test_a_key_with_a_password(pair: Pair, tmp_path: Path) -> None:
    """Nobody is asked for it: there may be no terminal."""
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(pair[0].read_bytes(), None)
    encrypted = tmp_path / "key.pem"
    encryption = serialization.BestAvailableEncryption(b"secret")
    encrypted.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    with pytest.raises(LocalProtocolError, match="is encrypted"):
        makeContext((pair[1], encrypted))


# Where it is asked for


def test_serve(pair: Pair) -> None:
    reactor = MemoryReactorClock()
    started = serve(reactor, "tcp:8443", lambda request: Application(), tls=(pair[1], pair[0]))
    (server,) = [started.result]
    assert server.url == "wss://localhost:8443/"  # type: ignore[union-attr]
    assert type(reactor.tcpServers[0][1]) is TLSServerFactory


def test_serve_on_an_endpoint_of_the_users(pair: Pair) -> None:
    reactor = MemoryReactorClock()
    endpoint = TCP4ServerEndpoint(reactor, 8443)  # type: ignore[no-untyped-call]
    serve(reactor, endpoint, lambda request: Application(), tls=(pair[1], pair[0]))
    assert type(reactor.tcpServers[0][1]) is TLSServerFactory


def test_a_service(pair: Pair) -> None:
    reactor = MemoryReactorClock()
    own = WebSocketServerFactory(lambda request: Application(), reactor=reactor)
    service = WebSocketServerService(8443, own, tls=makeContext((pair[1], pair[0])))
    service.privilegedStartService()
    assert service.url == "wss://localhost:8443/"
    assert type(reactor.tcpServers[0][1]) is TLSServerFactory


def test_an_endpoint_that_has_tls_already(pair: Pair) -> None:
    reactor = MemoryReactorClock()
    endpoint = SSL4ServerEndpoint(reactor, 8443, None)  # type: ignore[no-untyped-call]
    for one in (endpoint, f"ssl:8443:privateKey={pair[0]}:certKey={pair[1]}"):
        with pytest.raises(LocalProtocolError, match="TLS of its own"):
            serve(reactor, one, lambda request: Application(), tls=(pair[1], pair[0]))


def test_files_are_looked_at_when_they_are_given(pair: Pair) -> None:
    with pytest.raises(FileNotFoundError):
        serve(MemoryReactorClock(), 8443, lambda request: Application(), tls=("nonesuch", "nonesuch"))
    with pytest.raises(FileNotFoundError):
        WebSocketServerService(8443, factory(), tls=("nonesuch", "nonesuch"))


def test_without_tls_there_is_no_ssl() -> None:
    import wsock

    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import wsock.server.serve, wsock.server.service, wsock.wire.protocol\n"
        "print(sorted(name for name in sys.modules if name in ('wsock.wire.tls', 'wsock.server.tls')))"
    )
    command = [sys.executable, "-c", program, str(Path(wsock.__file__).parents[1])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


# The factory


def test_the_factory_is_a_factory_of_twisteds(pair: Pair) -> None:
    told: list[str] = []

    class Inner:
        noisy = True

        def buildProtocol(self, addr: Any) -> None:
            told.append(addr)

        def doStart(self) -> None:
            told.append("start")

        def doStop(self) -> None:
            told.append("stop")

    outer = TLSServerFactory(Inner(), makeContext((pair[1], pair[0])), Clock(), 10)
    outer.doStart()
    assert outer.buildProtocol("address") is None
    outer.doStop()
    assert told == ["start", "address", "stop"]
    assert (outer.noisy, outer.logPrefix()) == (True, "Inner (TLS)")


def test_its_connections_are_behind_tls(pair: Pair) -> None:
    above = Above()

    class Inner:
        noisy = False

        def buildProtocol(self, addr: Any) -> Above:
            return above

    layer = TLSServerFactory(Inner(), makeContext((pair[1], pair[0])), Clock(), 10).buildProtocol(None)
    assert type(layer) is TLSLayer
    assert layer.protocol is above


def test_files_may_be_paths(pair: Pair) -> None:
    makeContext(tuple(map(os.fspath, (pair[1], pair[0]))))
