"""Whom a client trusts over TLS: the row TLS of the project's probe table, and that no accident switches it off."""

import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.peer import Listener, frame, make_certificate
from integration.process import ENVIRONMENT
from integration.servers import Echo, Serve
from integration.streams import Client, Listen, Stream, Unused, call, connecting, trust, trusting
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.endpoints import SSL4ServerEndpoint, TCP4ClientEndpoint
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IHostnameResolver, IStreamClientEndpoint
from twisted.internet.ssl import CertificateOptions, PrivateCertificate, platformTrust, trustRootFromCertificates
from zope.interface import implementer

from wsock import LocalProtocolError, WebSocketDropped

Pair = tuple[Path, Path]
Issue = Callable[..., Pair]
HELLO = frame(0x81, b"Hello", None)


@pytest.fixture
def issue(authority: Pair, tmp_path_factory: pytest.TempPathFactory) -> Issue:
    """Returns a function that has the authority sign a certificate: issue(*names, **arguments of make_certificate)."""

    def issue(*names: str, **arguments: Any) -> Pair:
        return make_certificate(tmp_path_factory.mktemp("issued"), *names, authority=authority, **arguments)

    return issue


@pytest.fixture
def root(authority: Pair) -> Any:
    return trust(authority[1])


@pytest.fixture(params=["own TLS", "Twisted's TLS"])
def roots(request: pytest.FixtureRequest, authority: Pair) -> dict[str, Any]:
    """The arguments that have the authority trusted, by either kind of TLS."""
    return {"tls": trusting(authority[1])} if request.param == "own TLS" else {"trustRoot": trust(authority[1])}


@implementer(IHostnameResolver)
class Hosts:
    """A resolver like the table of a container: it knows some names, whatever they are."""

    def __init__(self, names: dict[str, list[str]]) -> None:
        self._names = names

    def resolveHostName(self, receiver: Any, hostName: str, portNumber: int = 0, *more: Any, **other: Any) -> Any:
        resolution: Any = object()
        receiver.resolutionBegan(resolution)
        for address in self._names.get(hostName, []):
            kind = IPv6Address if ":" in address else IPv4Address
            receiver.addressResolved(kind("TCP", address, portNumber))
        receiver.resolutionComplete()
        return resolution


@pytest.fixture
def hosts() -> Iterator[Callable[[dict[str, list[str]]], None]]:
    """Returns a function that gives names their addresses, in this process alone."""
    from twisted.internet import reactor

    before = reactor.nameResolver

    def install(names: dict[str, list[str]]) -> None:
        call(reactor.installNameResolver, Hosts(names))

    yield install
    reactor.installNameResolver(before)


def reach(listener: Listener) -> IStreamClientEndpoint:
    """Where it listens, whatever the URL says."""
    from twisted.internet import reactor

    return TCP4ClientEndpoint(reactor, "127.0.0.1", listener.port)


def expect_refusal(listener: Listener, attempt: Any) -> WebSocketDropped:
    """The client ends the TLS handshake, so that none of its request leaves; the error says why."""
    with pytest.raises((ssl.SSLError, ConnectionError)):
        listener.accept()
    error: WebSocketDropped = attempt.error(WebSocketDropped)
    assert error.__cause__ is not None
    listener.expect_nobody()
    return error


RIGHT = [
    ("localhost", ["localhost"]),
    ("localhost", ["other.example", "localhost", "192.0.2.1"]),
    ("example.org", ["example.org"]),
    ("EXAMPLE.org", ["example.org"]),
    ("www.example.org", ["*.example.org"]),
    ("b\u00fccher.example", ["xn--bcher-kva.example"]),
    ("127.0.0.1", ["127.0.0.1"]),
    ("127.0.0.1", ["localhost", "127.0.0.1"]),
    ("[::1]", ["::1"]),
    ("[0:0::0:1]", ["::1"]),
    # Names of containers and of others that are no host names, and those of emoji.
    ("my_service", ["my_service"]),
    ("My_Service", ["MY_SERVICE"]),
    ("ab--cd.example", ["ab--cd.example"]),
    ("ab--cd.example.", ["ab--cd.example"]),
    ("ab--cd.example.org", ["*.example.org"]),
    ("-a-.example", ["-a-.example"]),
    ("1_0", ["1_0"]),
    ("i\u2764.ws", ["xn--i-7iq.ws"]),
    ("i\u2764.example.org", ["*.example.org"]),
    ("\U0001f355.example", ["xn--vi8h.example"]),
    # Names beside it that say nothing of this host, whatever else is wrong with them.
    ("my_service", ["*.example", "DNS:127.0.0.1", "DNS:1", "a.*.example", "*", "my_service"]),
    ("127.0.0.1", ["DNS:127.0.0.1", "*.example", "127.0.0.1"]),
]
WRONG = [
    ("localhost", ["other.example"]),
    ("localhost", ["localhost.other.example", "127.0.0.1"]),
    ("example.org", ["www.example.org", "*.example.org", "example.org.evil.example", "evil-example.org"]),
    ("a.www.example.org", ["*.example.org"]),
    ("127.0.0.1", ["127.0.0.2", "localhost"]),
    ("127.0.0.1", ["DNS:127.0.0.1"]),
    ("[::1]", ["::2", "127.0.0.1"]),
    ("[::1]", ["DNS:[::1]"]),
    ("my_service", ["my-service", "other_service", "my_service.example", "*", "*.my_service", "my_servic*", "m*"]),
    ("my_service.example.org", ["my_service", "*_service.example.org", "my_*.example.org", "example.org"]),
    ("my_service.example.org", ["*.org", "*.*.org", "my_service.*.org", "my_service.example.*", "*.example.org."]),
    (
        "my_service.example.org",
        ["a.*.example.org", "**.example.org", "*a.example.org", ".example.org", "* .example.org"],
    ),
    ("a.my_service.example.org", ["*.example.org"]),
    (
        "ab--cd.example",
        ["*.example", "ab-cd.example", "ab--cd", "ab--cd.example.org", "xn--cd.example", "a*--cd.example"],
    ),
    ("i\u2764.ws", ["xn--i-7iq.example", "*.ws", "xn--*.ws", "i.ws", "xn--vi8h.ws"]),
    ("i\u2764.example.org", ["xn--*.example.org", "xn--i-7i*.example.org"]),
    ("1_0", ["10", "0.0.0.10", "DNS:0.0.0.10"]),
]


@pytest.mark.parametrize(("host", "names"), RIGHT)
def test_right_host(client: Client, listen: Listen, issue: Issue, roots: Any, host: str, names: list[str]) -> None:
    listener = listen(certificate=issue(*names))
    attempt = client.begin(listener.url(host=host), endpoint=reach(listener), **roots)
    listener.open(HELLO)
    assert Stream(attempt.result()).receive() == "Hello"


def test_a_wildcard_for_a_name_with_an_underscore(
    client: Client, listen: Listen, issue: Issue, authority: Pair
) -> None:
    """OpenSSL, which our own TLS has compare names, takes it for no host name."""
    listener = listen(certificate=issue("*.example.org"))
    url = listener.url(host="my_service.example.org")
    expect_refusal(listener, client.begin(url, endpoint=reach(listener), tls=trusting(authority[1])))
    attempt = client.begin(url, endpoint=reach(listener), trustRoot=trust(authority[1]))
    listener.open(HELLO)
    assert Stream(attempt.result()).receive() == "Hello"


@pytest.mark.parametrize(("host", "names"), WRONG)
def test_wrong_host(client: Client, listen: Listen, issue: Issue, roots: Any, host: str, names: list[str]) -> None:
    """The authority is trusted, but what it signed is another's."""
    listener = listen(certificate=issue(*names))
    expect_refusal(listener, client.begin(listener.url(host=host), endpoint=reach(listener), **roots))


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["ws", "wss"])
@pytest.mark.parametrize(
    ("typed", "host"),
    [
        ("my_service", "my_service"),
        ("ab--cd.example", "ab--cd.example"),
        ("-a-.example", "-a-.example"),
        ("1_0", "1_0"),
        ("i\u2764.ws", "xn--i-7iq.ws"),
    ],
)
def test_names_that_are_no_host_names(
    client: Client, listen: Listen, issue: Issue, roots: Any, hosts: Any, scheme: str, typed: str, host: str
) -> None:
    """They are looked up, and their certificate is theirs; the first address is where nobody listens."""
    hosts({host: ["127.0.0.2", "127.0.0.1"]})
    listener = listen(certificate=issue(host) if scheme == "wss" else None)
    attempt = client.begin(listener.url(host=typed), **(roots if scheme == "wss" else {}))
    caller = listener.accept()
    asked = caller.asked()
    caller.send(asked.welcome() + HELLO)
    assert Stream(attempt.result()).receive() == "Hello"
    assert ("Host", f"{host}:{listener.port}") in asked.fields
    assert listener.names == ([host] if scheme == "wss" else [])


@pytest.mark.parametrize("host", ["my_service", "ab--cd.example"])
def test_a_name_that_nobody_knows(client: Client, hosts: Any, host: str) -> None:
    hosts({"localhost": ["127.0.0.1"]})
    for scheme in ("ws", "wss"):
        assert host in str(client.begin(f"{scheme}://{host}/").error(DNSLookupError))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["localhost", "other.example", "my_service"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "my_service"])
def test_a_certificate_without_alternative_names(
    client: Client, listen: Listen, issue: Issue, roots: Any, host: str, name: str
) -> None:
    """The subject's name counts for nothing (RFC 9525 section 2)."""
    listener = listen(certificate=issue(name, alternatives=False))
    expect_refusal(listener, client.begin(listener.url(host=host), endpoint=reach(listener), **roots))


@pytest.mark.parametrize("trusted", [None, "platform", "another's certificate"])
@pytest.mark.parametrize("how", ["by name", "by endpoint"])
def test_unknown_authority(
    client: Client, listen: Listen, issue: Issue, certificate: Pair, trusted: str | None, how: str
) -> None:
    listener = listen(certificate=issue("localhost"))
    arguments: dict[str, Any] = {"trustRoot": None} if trusted is None else {"trustRoot": platformTrust()}
    if trusted == "another's certificate":
        arguments = {"trustRoot": trust(certificate[1])}
    if how == "by endpoint":
        arguments["endpoint"] = reach(listener)
    error = expect_refusal(listener, client.begin(listener.url(), **arguments))
    assert "certificate verify failed" in str(error)


def test_a_certificate_that_signs_itself(client: Client, listen: Listen) -> None:
    """It is trusted when it is named, and not by default."""
    listener = listen("tls")
    expect_refusal(listener, client.begin(listener.url()))
    attempt = client.begin(listener)
    listener.open(HELLO)
    assert Stream(attempt.result()).receive() == "Hello"


def test_several_roots(client: Client, listen: Listen, issue: Issue, authority: Pair, certificate: Pair) -> None:
    listener = listen(certificate=issue("localhost"))
    roots = trustRootFromCertificates([trust(certificate[1]), trust(authority[1])])
    attempt = client.begin(listener.url(), trustRoot=roots)
    listener.open(HELLO)
    assert Stream(attempt.result()).receive() == "Hello"


CONNECT = """
import sys
from twisted.internet.task import react
from wsock import connect

async def main(reactor, url):
    stream = await connect(reactor, url)
    print(await stream.receive())

react(main, sys.argv[1:])
"""


@pytest.mark.parametrize("told", [True, False])
def test_the_platform_s_roots(listen: Listen, issue: Issue, authority: Pair, told: bool) -> None:
    """They are trusted by default; SSL_CERT_FILE names others, as for any program that uses OpenSSL."""
    listener = listen(certificate=issue("localhost"))
    environment = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("SSL_CERT_")}
    if told:
        environment["SSL_CERT_FILE"] = str(authority[1])
    command = [sys.executable, "-c", CONNECT, listener.url()]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            if told:
                listener.open(HELLO)
            else:
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    listener.accept()
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert out == ("Hello\n" if told else "")
    assert process.returncode == (0 if told else 1)
    assert ("certificate verify failed" in err) == (not told)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", "localhost"),
        ("127.0.0.1", None),
        ("a.example", "a.example"),
        ("my_service", "my_service"),
        ("ab--cd.example", "ab--cd.example"),
        ("xn--i-7iq.ws", "xn--i-7iq.ws"),
    ],
)
def test_the_server_hears_whom_it_is_taken_for(
    client: Client, listen: Listen, issue: Issue, roots: Any, host: str, expected: str | None
) -> None:
    """By SNI (RFC 6066 section 3), which is for names alone."""
    listener = listen(certificate=issue(host))
    attempt = client.begin(listener.url(host=host), endpoint=reach(listener), **roots)
    listener.open()
    attempt.result()
    assert listener.names == [expected]


@pytest.mark.parametrize("trusted", [False, True, "", "a", b"", 0, 1, (), [], {}, object(), Path("/"), ssl.SSLContext])
@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_what_is_no_trust_root(client: Client, trusted: object, scheme: str) -> None:
    """It does not pass for none, which would trust everybody, nor for the default."""
    unused = Unused()
    for arguments in ({}, {"endpoint": unused}):
        with pytest.raises(LocalProtocolError):
            client.begin(f"{scheme}://localhost/", trustRoot=trusted, **arguments)
    with pytest.raises(LocalProtocolError):
        client.begin(f"{scheme}://localhost/", connecting(Echo()), trustRoot=trusted, endpoint=unused)
    assert not unused.used


@pytest.mark.parametrize("given", [False, True, "", "a", b"", 0, object()])
@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_what_is_no_client_certificate(client: Client, given: object, scheme: str) -> None:
    unused = Unused()
    with pytest.raises(LocalProtocolError):
        client.begin(f"{scheme}://localhost/", clientCertificate=given, endpoint=unused)
    assert not unused.used


@pytest.mark.parametrize("given", [True, False])
def test_client_certificate(
    client: Client, serve: Serve, issue: Issue, authority: Pair, root: Any, given: bool
) -> None:
    """It reaches a server that asks for one; without it such a server ends the connection."""
    from twisted.internet import reactor

    own = private(issue("localhost"))
    options = CertificateOptions(own.privateKey.original, own.original, trustRoot=root)
    seen = []

    def build(request: Any) -> Echo:
        seen.append(name_in(request.getPeerCertificate()))
        return Echo()

    server = serve(SSL4ServerEndpoint(reactor, 0, options, interface="127.0.0.1"), build)
    arguments = {"clientCertificate": private(issue("a client"))} if given else {}
    attempt = client.begin(f"wss://localhost:{server.port}/", trustRoot=root, **arguments)
    if given:
        stream = Stream(attempt.result())
        stream.send("hello")
        assert stream.receive() == "hello"
        (application,) = server.applications
        assert name_in(application.transport.getPeerCertificate()) == "CN=a client"
        assert name_in(stream.stream.transport.getPeerCertificate()) == "CN=localhost"
        stream.close()
    else:
        assert "certificate required" in str(attempt.error(WebSocketDropped))
    assert seen == ["CN=a client"] * given


def name_in(certificate: Any) -> str:
    return str(certificate.subject.rfc4514_string())


def private(pair: Pair) -> PrivateCertificate:
    return PrivateCertificate.loadPEM(b"".join(path.read_bytes() for path in pair))


@pytest.mark.parametrize("say", [None, b"", b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76"])
def test_a_server_that_never_says_hello(client: Client, listen: Listen, say: bytes | None) -> None:
    """The opening deadline includes TLS; the server may not even take the connection from its queue."""
    listener = listen("tls")
    attempt = client.begin(listener, openTimeout=0.5)
    if say is not None:
        listener.accept(tls=False).send(say)
    assert "too long" in str(attempt.error(WebSocketDropped))


def test_a_server_that_speaks_no_TLS(client: Client, listen: Listen) -> None:
    listener = listen("tls")
    attempt = client.begin(listener)
    caller = listener.accept(tls=False)
    caller.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert attempt.error(WebSocketDropped).__cause__ is not None
