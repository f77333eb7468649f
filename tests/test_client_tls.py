"""TLS of a client by the standard library: its context, the name it asks for, and the endpoint that adds it."""

import ssl
from typing import Any

import pytest
from integration.peer import make_certificate
from secured import Above, Pair, Peer, serverContext
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from wire import Transport

from wsock import LocalProtocolError
from wsock.client.tls import SecuredEndpoint, makeContext, serverNameOf
from wsock.wire.tls import TLSLayer


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_certificate(tmp_path_factory.mktemp("tls"))


# Contexts


def test_the_default_verifies() -> None:
    context = makeContext(None)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert not context.hostname_checks_common_name
    assert context.options & ssl.OP_NO_RENEGOTIATION


def test_the_default_is_made_once(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the environment names other roots by then."""
    before = makeContext(None)
    assert makeContext(None) is before
    monkeypatch.setenv("SSL_CERT_FILE", str(pair[1]))
    named = makeContext(None)
    assert named is not before
    assert len(named.get_ca_certs()) == 1


def test_a_context_of_the_users(pair: Pair) -> None:
    own = ssl.create_default_context(cafile=pair[1])
    assert makeContext(own) is own
    assert not own.hostname_checks_common_name
    assert own.options & ssl.OP_NO_RENEGOTIATION


def unverifying() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    return context


def optional() -> ssl.SSLContext:
    context = unverifying()
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def optional_but_by_name() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def trusting_all() -> ssl.SSLContext:
    context = unverifying()
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.parametrize("make", [unverifying, optional, optional_but_by_name, trusting_all])
def test_a_context_that_does_not_verify(make: Any) -> None:
    with pytest.raises(LocalProtocolError, match="cafile="):
        makeContext(make())


def test_a_context_of_servers(pair: Pair) -> None:
    with pytest.raises(LocalProtocolError, match="for servers"):
        makeContext(serverContext(pair))


@pytest.mark.parametrize("wrong", [False, True, "cert.pem", ("cert.pem", "key.pem"), ssl.SSLContext, object()])
def test_what_is_no_context(wrong: Any) -> None:
    with pytest.raises(LocalProtocolError, match=r"ssl\.create_default_context"):
        makeContext(wrong)


# Names


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("example.com", "example.com"),
        ("example.com.", "example.com"),
        ("my_service", "my_service"),
        ("xn--i-7iq.ws", "xn--i-7iq.ws"),
        ("192.0.2.1", "192.0.2.1"),
        ("::1", "::1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_names(host: str, name: str) -> None:
    assert serverNameOf(host) == name


@pytest.mark.parametrize("host", ["b\xfccher.example", "a..example", "a" * 64, "", ".", ".example"])
def test_what_is_no_name(host: str) -> None:
    with pytest.raises(UnicodeError):
        serverNameOf(host)


# The endpoint


class Endpoint:
    factory: Any = None

    def connect(self, factory: Any) -> Any:
        self.factory = factory
        return Deferred()


class Factory:
    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol

    def buildProtocol(self, addr: Any) -> Any:
        return self.protocol


def connected(pair: Pair, host: str = "localhost") -> tuple[Above, Transport, Peer]:
    endpoint, above, below = Endpoint(), Above(), Transport()
    context = makeContext(ssl.create_default_context(cafile=pair[1]))
    SecuredEndpoint(Clock(), endpoint, context, host, 10).connect(Factory(above))
    layer = endpoint.factory.buildProtocol(None)
    assert type(layer) is TLSLayer
    layer.makeConnection(below)
    peer = Peer(serverContext(pair), isServer=True)
    data = below.taken()
    while data:
        try:
            layer.dataReceived(peer.take(data))
        except ssl.SSLError:
            break
        data = below.taken()
    return above, below, peer


def test_it_verifies(pair: Pair) -> None:
    above, _, peer = connected(pair)
    assert peer.isShaken
    assert above.reasons == []


def test_a_certificate_of_another(pair: Pair) -> None:
    above, below, _ = connected(pair, "other.example")
    (reason,) = above.reasons
    assert type(reason) is ssl.SSLCertVerificationError
    assert below.told == ["lose"]


def test_a_factory_that_wants_no_connection(pair: Pair) -> None:
    endpoint = Endpoint()
    SecuredEndpoint(Clock(), endpoint, makeContext(None), "localhost", 10).connect(Factory(None))
    assert endpoint.factory.buildProtocol(None) is None


def test_a_connection_that_comes_too_late(pair: Pair) -> None:
    """An endpoint that was cancelled makes one all the same: the factory knows what to do with it."""
    endpoint, late = Endpoint(), Above()
    connecting = SecuredEndpoint(Clock(), endpoint, makeContext(None), "localhost", 10).connect(Factory(late))
    connecting.addErrback(lambda failure: None)
    connecting.cancel()
    assert endpoint.factory.buildProtocol(None) is late


def test_an_endpoint_that_raises() -> None:
    class Raising:
        def connect(self, factory: Any) -> Any:
            raise RuntimeError("expected")

    seen: list[Any] = []
    SecuredEndpoint(Clock(), Raising(), makeContext(None), "localhost", 10).connect(Factory(None)).addErrback(
        seen.append
    )
    assert [str(failure.value) for failure in seen] == ["expected"]
