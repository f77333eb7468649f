"""A failed TLS handshake in words: a client's are those of its error, a server's are one line of its log."""

import re
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from integration.peer import Peer, make_certificate, request, within
from integration.servers import TLS_KINDS, Serve, Server
from integration.streams import Client, Listen, trust, trusting
from twisted.internet.endpoints import HostnameEndpoint, SSL4ServerEndpoint, wrapClientTLS
from twisted.internet.ssl import CertificateOptions, PrivateCertificate, optionsForClientTLS, platformTrust
from twisted.logger import formatEvent, globalLogPublisher

from wsock import ConnectionRejected, InvalidResponse, WebSocketClientFactory, WebSocketDropped, WebSocketProtocol

Pair = tuple[Path, Path]
Issue = Callable[..., Pair]


@pytest.fixture
def issue(authority: Pair, tmp_path_factory: pytest.TempPathFactory) -> Issue:
    """Returns a function that has the authority sign a certificate: issue(*names, **arguments of make_certificate)."""

    def issue(*names: str, **arguments: Any) -> Pair:
        arguments.setdefault("authority", authority)
        return make_certificate(tmp_path_factory.mktemp("issued"), *names, **arguments)

    return issue


def private(pair: Pair) -> PrivateCertificate:
    return PrivateCertificate.loadPEM(b"".join(path.read_bytes() for path in pair))


def day(days: int) -> str:
    return (datetime.now(timezone.utc) + timedelta(days=days)).strftime("%Y-%m-%d")


# Clients

#: By what is wrong with the certificate: how it is made, whether its authority is trusted, what the client is told.
CERTIFICATES: dict[str, tuple[dict[str, Any], bool, str]] = {
    "expired": ({"days": (-10, -5)}, True, "the server's certificate expired on "),
    "not yet valid": ({"days": (5, 10)}, True, "the server's certificate is not valid before "),
    "self-signed": ({"authority": None}, True, "the server's certificate is self-signed, and not trusted: give it as "),
    "unknown authority": (
        {},
        False,
        "the server's certificate is signed by an authority that is not trusted (give it as trustRoot), or the server "
        "does not send its intermediate certificates",
    ),
    "another host": ({}, True, "the server's certificate is not for other.example, the host of the URL"),
}


@pytest.mark.parametrize("wrong", CERTIFICATES)
def test_a_certificate_that_is_not_accepted(
    client: Client, listen: Listen, issue: Issue, authority: Pair, wrong: str
) -> None:
    from twisted.internet import reactor

    arguments, trusted, told = CERTIFICATES[wrong]
    listener = listen(certificate=issue("localhost", **arguments))
    roots = {"trustRoot": trust(authority[1]) if trusted else platformTrust()}
    host = "other.example" if wrong == "another host" else "localhost"
    endpoint = HostnameEndpoint(reactor, "127.0.0.1", listener.port)
    attempt = client.begin(listener.url(host=host), endpoint=endpoint, **roots)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        listener.accept()
    error = attempt.error(WebSocketDropped)
    assert str(error).startswith(f"TLS failed: {told}")
    assert error.__cause__ is not None
    if wrong != "another host":
        assert str(error).endswith(" (certificate verify failed)")
    days = {"expired": -5, "not yet valid": 5}
    assert re.findall(r"\d{4}-\d\d-\d\d", str(error)) == ([day(days[wrong])] if wrong in days else [])


#: The same of our own TLS, which is not told whose certificate of the chain it is.
TOLD: dict[str, str] = {
    "expired": "the server's certificate, or its authority's, has expired",
    "not yet valid": "the server's certificate, or its authority's, is not valid yet",
    "self-signed": "the server's certificate is self-signed, and not trusted: give tls=ssl.create_default_context(",
    "unknown authority": "the server's certificate is signed by an authority that is not trusted (give tls=ssl.",
    "another host": "the server's certificate is not for other.example, the host of the URL",
}


@pytest.mark.parametrize("wrong", CERTIFICATES)
def test_a_certificate_that_our_own_tls_does_not_accept(
    client: Client, listen: Listen, issue: Issue, authority: Pair, wrong: str
) -> None:
    from twisted.internet import reactor

    arguments, trusted, _ = CERTIFICATES[wrong]
    listener = listen(certificate=issue("localhost", **arguments))
    roots = {"tls": trusting(authority[1])} if trusted else {}
    host = "other.example" if wrong == "another host" else "localhost"
    endpoint = HostnameEndpoint(reactor, "127.0.0.1", listener.port)
    attempt = client.begin(listener.url(host=host), endpoint=endpoint, **roots)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        listener.accept()
    error = attempt.error(WebSocketDropped)
    assert str(error).startswith(f"TLS failed: {TOLD[wrong]}")
    assert str(error).endswith(" (certificate verify failed)")
    assert isinstance(error.__cause__, ssl.SSLCertVerificationError)


def test_a_machine_without_roots(client: Client, listen: Listen, issue: Issue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: SimpleNamespace(capath=None))
    listener = listen(certificate=issue("localhost"))
    attempt = client.begin(listener.url(), tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        listener.accept()
    told = "TLS failed: there are no trusted roots on this machine: install its package ca-certificates, or give tls="
    assert str(attempt.error(WebSocketDropped)).startswith(told)


def test_a_certificate_of_another_host_by_an_endpoint_of_the_user_s(
    client: Client, listen: Listen, issue: Issue, authority: Pair
) -> None:
    """Twisted's own verification; the factory adds none."""
    from twisted.internet import reactor

    listener = listen(certificate=issue("other.example"))
    reasons: list[Any] = []

    class Application(WebSocketProtocol):
        def connectionLost(self, reason: Any) -> None:
            reasons.append(reason.value)

    factory = WebSocketClientFactory(listener.url(), lambda request: Application(), reactor=reactor)
    options = optionsForClientTLS("localhost", trust(authority[1]))
    endpoint = wrapClientTLS(options, HostnameEndpoint(reactor, "127.0.0.1", listener.port))
    reactor.callFromThread(endpoint.connect, factory)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        listener.accept()
    within(30, lambda: reasons, "the application hears of it")
    assert str(reasons[0]).startswith("TLS failed: the server's certificate is not for the host of the URL (")


def old(context: ssl.SSLContext) -> None:
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")


def other_ciphers(context: ssl.SSLContext) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA")


REQUIRED = "the server requires a client certificate: give it as clientCertificate"
NOT_ACCEPTED = "the server does not accept the client's certificate: give another as clientCertificate"
NO_CIPHER = "client and server have no cipher in common"


@pytest.mark.parametrize(
    ("configure", "told"),
    [(old, "client and server have no version of TLS in common"), (other_ciphers, NO_CIPHER)],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_nothing_in_common(client: Client, listen: Listen, configure: Any, told: str) -> None:
    listener = listen("tls", configure=configure)
    attempt = client.begin(listener)
    with pytest.raises(ssl.SSLError):
        listener.accept()
    assert str(attempt.error(WebSocketDropped)).startswith(f"TLS failed: {told}")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("given", ["none", "another's", "expired"])
def test_a_server_that_wants_a_client_certificate(
    client: Client, listen: Listen, issue: Issue, certificate: Pair, authority: Pair, version: Any, given: str
) -> None:
    def configure(context: ssl.SSLContext) -> None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority[1])
        context.maximum_version = version

    listener = listen("tls", configure=configure)
    arguments = {}
    if given != "none":
        own = issue("a client", days=(-10, -5)) if given == "expired" else certificate
        arguments["clientCertificate"] = private(own)
    attempt = client.begin(listener, **arguments)
    with pytest.raises(ssl.SSLError):
        listener.accept()
    error = str(attempt.error(WebSocketDropped))
    assert (REQUIRED if given == "none" else NOT_ACCEPTED) in error


@pytest.mark.parametrize(
    "says", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"220 mail.example ESMTP\r\n"]
)
def test_a_server_that_speaks_no_tls(client: Client, listen: Listen, says: bytes) -> None:
    listener = listen("tls")
    attempt = client.begin(listener)
    listener.accept(tls=False).send(says)
    told = "TLS failed: the server speaks no TLS on this port: write ws:// in the URL, or another port ("
    assert str(attempt.error(WebSocketDropped)).startswith(told)


@pytest.mark.parametrize("how", ["end", "reset"])
def test_a_server_that_ends_the_handshake(client: Client, listen: Listen, how: str) -> None:
    listener = listen("tls")
    attempt = client.begin(listener)
    caller = listener.accept(tls=False)
    assert caller.read(5)[:1] == b"\x16"
    if how == "reset":
        caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    caller.close()
    told = "the server ended the connection during the TLS handshake, without a reason"
    assert str(attempt.error(WebSocketDropped)) == told


def test_a_server_that_does_not_finish_the_handshake(client: Client, listen: Listen) -> None:
    listener = listen("tls")
    attempt = client.begin(listener, openTimeout=0.5)
    listener.accept(tls=False)
    told = "the opening handshake took too long: the server did not finish the TLS handshake"
    assert str(attempt.error(WebSocketDropped)) == told


def test_a_server_that_finishes_it_and_does_not_answer(client: Client, listen: Listen) -> None:
    listener = listen("tls")
    attempt = client.begin(listener, openTimeout=2)
    listener.accept()
    assert str(attempt.error(WebSocketDropped)) == "the opening handshake took too long"


@pytest.mark.parametrize("kind", ["alert", "end", "ours"])
def test_plain_text_at_a_tls_port(client: Client, listen: Listen, serve: Serve, kind: str) -> None:
    """Some servers answer with an alert, and most with nothing at all."""
    if kind == "ours":
        attempt = client.begin(f"ws://localhost:{serve('tls').port}/")
    else:
        listener = listen()
        attempt = client.begin(listener)
        caller = listener.accept()
        caller.asked()
        if kind == "alert":
            # A fatal alert: unexpected_message (RFC 8446 section 6).
            caller.send(bytes.fromhex("1503010002020a"))
        else:
            caller.close()
    if kind == "alert":
        error: Exception = attempt.error(InvalidResponse)
        assert str(error) == "the server speaks TLS on this port: write wss:// in the URL"
    else:
        error = attempt.error(WebSocketDropped)
        assert str(error).startswith("the connection was lost before the server answered: if it speaks TLS")
        assert "wss://" in str(error)


@pytest.mark.parametrize(
    "says",
    [
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 71\r\n\r\n"
        b"<center>The plain HTTP request was sent to HTTPS port</center>\r\n</body>\n",
        b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\nReason: You're speaking plain HTTP to an SSL-enabled server port.<br />\n",
    ],
    ids=["nginx", "Go", "Apache"],
)
def test_plain_text_at_the_tls_port_of_others(client: Client, listen: Listen, says: bytes) -> None:
    listener = listen()
    attempt = client.begin(listener)
    caller = listener.accept()
    caller.asked()
    caller.send(says)
    caller.close()
    told = "the server answered 400 Bad Request: the server speaks TLS on this port: write wss:// in the URL"
    assert str(attempt.error(ConnectionRejected)) == told


# Servers


@pytest.fixture(params=TLS_KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of TLS of a server."""
    return str(request.param)


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """The log of wsock, line by line."""
    told: list[str] = []

    def observe(event: Any) -> None:
        if event.get("log_namespace", "").startswith("wsock"):
            told.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield told
    globalLogPublisher.removeObserver(observe)


def connected(server: Server) -> Peer:
    """A client that speaks no TLS of its own yet."""
    return server.connect(tls=False)


def expect_failure(server: Server, context: ssl.SSLContext) -> None:
    """A client's TLS fails, in the handshake or, as the server says no, behind it."""
    with (
        pytest.raises((ssl.SSLError, ConnectionError)),
        context.wrap_socket(connected(server).socket, server_hostname="localhost") as sock,
    ):
        sock.recv(1)


def expect_line(lines: list[str], told: str, count: int = 1) -> None:
    within(30, lambda: len(lines) >= count, "a line for the handshake that failed")
    assert len(lines) == count
    assert re.search(r"^TLS with .*127\.0\.0\.1.* failed: ", lines[-1])
    assert lines[-1].partition(" failed: ")[2].startswith(told)


@pytest.mark.parametrize(
    ("says", "told"),
    [
        (request(), "the client speaks plain HTTP: its URL is to begin with https:// or wss:// (http request)"),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", "the client speaks plain HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the client speaks no TLS (wrong version number)"),
        (bytes(100), "the client speaks no TLS"),
    ],
)
def test_a_client_that_speaks_no_tls(kind: str, serve: Serve, lines: list[str], says: bytes, told: str) -> None:
    server = serve(kind)
    peer = connected(server)
    peer.send(says)
    peer.expect_end()
    expect_line(lines, told)


def untrusting(context: ssl.SSLContext) -> None:
    """It trusts nobody."""


@pytest.mark.parametrize(
    ("configure", "told"),
    [
        (untrusting, "the client does not trust the server's certificate: it does not know the authority"),
        (old, "the client knows no version of TLS that the server takes (unsupported protocol)"),
        (other_ciphers, f"{NO_CIPHER} (no shared cipher)"),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_a_client_that_fails(kind: str, serve: Serve, lines: list[str], configure: Any, told: str) -> None:
    server = serve(kind)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    configure(context)
    expect_failure(server, context)
    expect_line(lines, told)


@pytest.mark.parametrize("given", [False, True])
def test_a_client_whose_certificate_is_not_accepted(
    kind: str, serve: Serve, lines: list[str], issue: Issue, certificate: Pair, authority: Pair, given: bool
) -> None:
    from twisted.internet import reactor

    pair = issue("localhost")
    if kind == "tls":
        own = private(pair)
        options = CertificateOptions(own.privateKey.original, own.original, trustRoot=trust(authority[1]))
        server = serve(SSL4ServerEndpoint(reactor, 0, options, interface="127.0.0.1"))
    else:
        requiring = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority[1])
        requiring.verify_mode = ssl.CERT_REQUIRED
        requiring.load_cert_chain(pair[1], pair[0])
        server = serve("tcp", tls=requiring)
    context = ssl.create_default_context(cafile=authority[1])
    if given:
        context.load_cert_chain(certificate[1], certificate[0])
    expect_failure(server, context)
    expect_line(
        lines,
        "the client's certificate is not trusted" if given else "the client has no certificate, and is required to",
    )


def hello() -> bytes:
    """The first message of a client's handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("how", ["leaves", "resets", "stays"])
def test_a_client_that_does_not_go_on(kind: str, serve: Serve, lines: list[str], how: str) -> None:
    server = serve(kind, openTimeout=0.5 if how == "stays" else 10)
    peer = connected(server)
    peer.send(hello())
    assert peer.read(1) == b"\x16"
    if how == "resets":
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how != "stays":
        peer.close()
    expect_line(lines, "the handshake was not finished")


def test_who_just_leaves_is_not_logged(kind: str, serve: Serve, lines: list[str]) -> None:
    """Nor is who never says anything, nor half of a hello; the next one's line is the first."""
    server = serve(kind, openTimeout=1)
    for say in (b"", hello()[:20]):
        peer = connected(server)
        peer.send(say)
        peer.close()
    silent = connected(server)
    with suppress(ConnectionError):
        silent.expect_end()
    peer = connected(server)
    peer.send(request())
    peer.expect_end()
    expect_line(lines, "the client speaks plain HTTP")


def test_a_scanner_does_not_flood_the_log(kind: str, serve: Serve, lines: list[str]) -> None:
    server = serve(kind)
    for _ in range(50):
        peer = connected(server)
        peer.send(request())
        peer.expect_end()
    # A few a second; what is above them is counted, which is said when a port is closed, or 10 s later.
    server.call(server.factory.doStop)
    within(30, lambda: any("times more" in line for line in lines), "the sum")
    assert len(lines) < 40
    counted = sum(int(count) for line in lines for count in re.findall(r"failed (\d+) times more", line))
    assert counted + sum("times more" not in line for line in lines) == 50


def test_an_open_connection_is_none_of_it(kind: str, serve: Serve, lines: list[str]) -> None:
    server = serve(kind)
    server.open().close()
    within(30, lambda: server.applications[0].reasons, "the loss")
    assert not any("TLS" in line for line in lines)
