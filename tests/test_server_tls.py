"""TLS of a server by the standard library: its context, its factory, and where it can be asked for."""

import gc
import os
import re
import ssl
import subprocess
import sys
import weakref
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from integration.peer import make_certificate
from secured import TLS12, TLS13, Above, Pair, Peer
from twisted.internet.endpoints import SSL4ServerEndpoint, TCP4ServerEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from wire import Application, Transport, quiet

import wsock
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
    "wrong", [True, b"cert.pem", ["cert.pem", "key.pem"], ("cert.pem",), ("a", "b", "c"), ("a", None), {}]
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
    assert str(raised.value).endswith(f": {broken}, {key}")
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


# Folders and a reload

VERSIONS = pytest.mark.parametrize("version", [pytest.param(TLS12, id="1.2"), pytest.param(TLS13, id="1.3")])


def place(folder: Path, name: str, *names: str) -> bytes:
    """Puts a certificate into a folder, as two files where the name ends with a slash; returns it in DER."""
    made = folder / "made"
    made.mkdir(parents=True, exist_ok=True)
    key, certificate = make_certificate(made, *names)
    if name.endswith("/"):
        (folder / name).mkdir(exist_ok=True)
        key.replace(folder / name / "privkey.pem")
        text = certificate.read_text()
        (folder / name / "fullchain.pem").write_text(text)
    else:
        text = certificate.read_text()
        (folder / name).write_text(key.read_text() + text)
    return ssl.PEM_cert_to_DER_cert(text)


def client(version: ssl.TLSVersion = TLS13) -> ssl.SSLContext:
    """The context of a client that takes every certificate, to look at it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    return context


class Client(Peer):
    """A client of a factory's.

    Args:
        factory: a `TLSServerFactory`.
        name: the server that it asks for.
        context: the client's.
        session: one of before, to be resumed.
    """

    def __init__(
        self,
        factory: TLSServerFactory,
        name: str | None,
        context: ssl.SSLContext | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        super().__init__(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), isServer=True)
        context = client() if context is None else context
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name, session=session)
        self.layer = factory.buildProtocol(None)
        self.below = Transport()
        assert self.layer is not None
        self.layer.makeConnection(self.below)
        self.pump()

    def pump(self) -> None:
        assert self.layer is not None
        while data := self.take(self.below.taken()):
            self.layer.dataReceived(data)

    @property
    def certificate(self) -> bytes:
        encoded = self.tls.getpeercert(True)
        assert encoded is not None
        return encoded

    def echoes(self) -> bool:
        assert self.layer is not None
        self.layer.dataReceived(self.encrypted(b"still?"))
        self.pump()
        return self.taken() == b"still?"


class Echoes:
    """A factory of protocols that send back what they receive."""

    noisy = False

    def buildProtocol(self, addr: Any) -> Above:
        return Above(data=lambda above: above.transport.write(above.pieces[-1]))


def server(tls: Any) -> TLSServerFactory:
    return TLSServerFactory(Echoes(), tls, Clock(), 10)


@VERSIONS
def test_a_folder_serves_each_name(tmp_path: Path, version: ssl.TLSVersion) -> None:
    first = place(tmp_path, "a.pem", "one.example", "two.example", "www.two.example")
    second = place(tmp_path, "b/", "*.two.example")
    factory = server(tmp_path)
    for name, wanted in (
        ("one.example", first),
        ("TWO.example", first),
        ("chat.two.example", second),
        ("www.two.example", first),
        ("a.b.two.example", first),
        ("nonesuch.example", first),
        (None, first),
    ):
        peer = Client(factory, name, client(version))
        assert peer.tls.version() == version.name.replace("v1_", "v1.")
        assert (name, peer.certificate) == (name, wanted)
        assert peer.echoes()


def test_the_default_of_a_folder(tmp_path: Path) -> None:
    place(tmp_path, "a.pem", "one.example")
    last = place(tmp_path, "default.pem", "192.0.2.1")
    factory = server(str(tmp_path))
    assert Client(factory, None).certificate == last
    assert Client(factory, "one.example").certificate != last


def test_all_certificates_of_a_folder_speak_http_1_1(tmp_path: Path) -> None:
    place(tmp_path, "a.pem", "one.example")
    place(tmp_path, "b.pem", "two.example")
    own = client()
    own.set_alpn_protocols(["h2", "http/1.1"])
    for name in ("one.example", "two.example"):
        assert Client(server(tmp_path), name, own).tls.selected_alpn_protocol() == "http/1.1"


def test_one_certificate_needs_no_name(tmp_path: Path) -> None:
    """It is for all clients; and one file has both."""
    only = place(tmp_path, "a.pem", "192.0.2.1")
    assert makeContext(tmp_path).sni_callback is None
    assert Client(server(tmp_path), "one.example").certificate == only
    assert Client(server(tmp_path / "a.pem"), "one.example").certificate == only


def test_bad_files_of_a_folder(pair: Pair, tmp_path: Path) -> None:
    place(tmp_path, "a.pem", "one.example")
    later = tmp_path / "b.pem"
    for content, told in (
        (pair[1].read_bytes(), f"{later} has no private key in PEM"),
        (pair[0].read_bytes(), f"{later} has no certificate in PEM"),
        (b"", f"{later} has no certificate in PEM"),
        (make_certificate(tmp_path)[0].read_bytes() + pair[1].read_bytes(), "the key does not fit the certificate: "),
    ):
        later.write_bytes(content)
        with pytest.raises(LocalProtocolError) as raised:
            makeContext(tmp_path)
        assert str(raised.value).startswith(told)
        assert str(raised.value).count(str(later)) == 1
    place(tmp_path, "b.pem", "192.0.2.1")
    with pytest.raises(LocalProtocolError, match=r"b\.pem has no host name"):
        makeContext(tmp_path)


def greeting(name: bytes) -> bytes:
    """The first message of a client that asks for a name of 11 bytes."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        client().wrap_bio(incoming, outgoing, server_hostname="one.example").do_handshake()
    return outgoing.read().replace(b"one.example", name)


@pytest.mark.parametrize("isOwn", [False, True], ids=["folder", "own context"])
def test_a_name_that_is_no_ascii(isOwn: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handshake fails, and there is no traceback besides."""
    place(tmp_path, "a.pem", "one.example")
    place(tmp_path, "b.pem", "two.example")
    tls: Any = tmp_path
    if isOwn:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(tmp_path / "a.pem")
        tls.sni_callback = lambda connection, name, context: None
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    before = sys.unraisablehook
    layer = server(tls).buildProtocol(None)
    assert layer is not None
    above = layer.protocol
    layer.makeConnection(Transport())
    layer.dataReceived(greeting(b"\xff\xfe\r\nexample"))
    (reason,) = above.reasons
    assert reason.reason == "CALLBACK_FAILED"
    assert told == []
    assert sys.unraisablehook is before


def test_what_else_can_not_be_raised_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place(tmp_path, "a.pem", "one.example")
    place(tmp_path, "b.pem", "two.example")
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: told.append(unraisable.exc_type))
    context = makeContext(tmp_path)
    context.sni_callback = lambda connection, name, context: 1 // 0
    layer = server(context).buildProtocol(None)
    assert layer is not None
    layer.makeConnection(Transport())
    layer.dataReceived(greeting(b"one.example"))
    assert told == [ZeroDivisionError]


@VERSIONS
def test_a_reload(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """An open connection goes on; the next one gets the new certificate, though the client has an old ticket."""
    place(tmp_path, "a.pem", "one.example")
    old = place(tmp_path, "b.pem", "two.example")
    factory, own = server(tmp_path), client(version)
    before = Client(factory, "two.example", own)
    assert before.certificate == old
    again = Client(factory, "two.example", own, before.tls.session)
    assert again.tls.session_reused
    new = place(tmp_path, "b.pem", "two.example")
    assert Client(factory, "two.example", own).certificate == old
    factory.reload()
    after = Client(factory, "two.example", own, before.tls.session)
    assert after.certificate == new
    assert not after.tls.session_reused
    assert before.echoes()
    assert after.echoes()


def test_a_reload_of_two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their names of the start: a daemon changes its folder."""
    place(tmp_path, "a/", "localhost")
    monkeypatch.chdir(tmp_path / "a")
    factories = [server(("fullchain.pem", "privkey.pem")), server(os.curdir)]
    monkeypatch.chdir(tmp_path)
    new = place(tmp_path, "a/", "localhost")
    for factory in factories:
        factory.reload()
        assert Client(factory, None).certificate == new


def test_a_reload_that_fails(tmp_path: Path) -> None:
    old = place(tmp_path, "a.pem", "one.example"), place(tmp_path, "b.pem", "two.example")
    factory = server(tmp_path)
    place(tmp_path, "a.pem", "one.example")
    later = tmp_path / "b.pem"
    later.write_bytes(later.read_bytes()[:-100])
    with pytest.raises(LocalProtocolError, match=str(later)):
        factory.reload()
    # Not even the file that is good is used.
    assert (Client(factory, "one.example").certificate, Client(factory, "two.example").certificate) == old


def test_a_reload_leaves_nothing(tmp_path: Path) -> None:
    """Without a collection of garbage, the contexts of before are gone."""
    place(tmp_path, "a.pem", "one.example")
    place(tmp_path, "b.pem", "*.one.example")
    factory = server(tmp_path)
    before = weakref.ref(factory._context)
    gc.disable()
    try:
        factory.reload()
        assert before() is None
    finally:
        gc.enable()


def test_a_context_is_not_read_again(pair: Pair) -> None:
    """It is the user's, with its callback for names."""
    asked = []
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(pair[1], pair[0])
    own.sni_callback = lambda connection, name, context: asked.append(name)
    factory = server(own)
    with pytest.raises(LocalProtocolError, match="load_cert_chain"):
        factory.reload()
    assert Client(factory, "one.example").echoes()
    assert asked == ["one.example"]


# Where it is asked for


def test_a_reload_of_a_server(tmp_path: Path) -> None:
    reactor = MemoryReactorClock()
    place(tmp_path, "a.pem", "localhost")
    running: list[Any] = []
    serve(reactor, 8443, lambda request: Application(), tls=tmp_path).addCallback(running.append)
    own = WebSocketServerFactory(lambda request: Application(), reactor=reactor)
    running.append(WebSocketServerService(8444, own, tls=tmp_path))
    running[1].privilegedStartService()
    new = place(tmp_path, "a.pem", "localhost")
    for one, (_, factory, *_) in zip(running, reactor.tcpServers, strict=True):
        assert Client(factory, None).certificate != new
        one.reloadTLS()
        assert Client(factory, None).certificate == new


def test_the_reload_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a day, also after a day on which a file was broken."""
    page = (Path(__file__).parents[1] / "docs/howto/tls.md").read_text()
    (program,) = re.findall(r"^```python\n(from twisted\.internet\.task .*?)^```$", page, re.MULTILINE | re.DOTALL)
    reactor = MemoryReactorClock()
    monkeypatch.setattr("twisted.internet.reactor", reactor, raising=False)
    place(tmp_path, "a.pem", "localhost")
    running: list[Any] = []
    serve(reactor, 8443, lambda request: Application(), tls=tmp_path).addCallback(running.append)
    exec(program, {"server": running[0], "wsock": wsock})
    (tmp_path / "a.pem").write_bytes(b"")
    reactor.advance(86400)
    new = place(tmp_path, "a.pem", "localhost")
    assert Client(reactor.tcpServers[0][1], None).certificate != new
    reactor.advance(86400)
    assert Client(reactor.tcpServers[0][1], None).certificate == new


def test_a_reload_without_tls() -> None:
    running: list[Any] = []
    serve(MemoryReactorClock(), 8443, lambda request: Application()).addCallback(running.append)
    running.append(WebSocketServerService(8443, factory()))
    for one in running:
        with pytest.raises(LocalProtocolError, match="no tls= was given"):
            one.reloadTLS()


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
