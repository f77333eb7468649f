"""A connection that is to be open in a time, alone: its endpoint and its connection are plain objects."""

import gc
import ssl
import sys
from datetime import datetime, timedelta, timezone
from typing import Any
from weakref import ref

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IReactorPluggableNameResolver
from twisted.internet.protocol import ClientFactory
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from wire import failures, logged
from zope.interface import implementer

from wsock import InvalidURL, LocalProtocolError, WebSocketDropped
from wsock.client.attempt import Attempt, endpointFor, openingTimedOut
from wsock.sansio.url import URL, parse


class Connection:
    """Notes whether it was aborted."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class Built:
    """A protocol of the factory's."""


class Factory:
    def __init__(self) -> None:
        self.addresses: list[Any] = []

    def buildProtocol(self, address: Any) -> Built:
        self.addresses.append(address)
        return Built()


class Endpoint:
    """Connects when it is told to.

    Attributes:
        handed: the factory that it was handed.
        connecting: its Deferred.
        cancelled: how often that was cancelled.
    """

    def __init__(self, connecting: Any = None) -> None:
        self.handed: Any = None
        self.cancelled = 0
        self.connecting: Any = Deferred(self._cancelled) if connecting is None else connecting

    def _cancelled(self, _: object) -> None:
        self.cancelled += 1

    def connect(self, protocolFactory: Any, /) -> Any:
        self.handed = protocolFactory
        return self.connecting


class Attempted:
    """An attempt that has begun.

    Attributes:
        outcomes: what its Deferred fired with, or the exception.
        times: when.
    """

    def __init__(self, seconds: float | None = 5, endpoint: Any = None, **arguments: Any) -> None:
        self.clock = Clock()
        self.endpoint = Endpoint() if endpoint is None else endpoint
        self.factory = Factory()
        self.attempt = Attempt(self.clock, seconds, **arguments)
        self.outcomes: list[Any] = []
        self.times: list[float] = []
        self.result = self.attempt.begin(self.endpoint, self.factory)  # type: ignore[arg-type]
        self.result.addBoth(self._fired)

    def _fired(self, result: Any) -> None:
        self.outcomes.append(result.value if isinstance(result, Failure) else result)
        self.times.append(self.clock.seconds())

    def made(self) -> Connection:
        """The endpoint has made a connection."""
        connection = Connection()
        self.attempt.connected(connection)  # type: ignore[arg-type]
        return connection

    def isOver(self) -> bool:
        """Whether it has come to one outcome, and waits for nothing."""
        return len(self.outcomes) == 1 and self.clock.getDelayedCalls() == []


def test_a_connection_that_opens() -> None:
    attempted = Attempted()
    protocol = attempted.endpoint.handed.buildProtocol("address")
    assert isinstance(protocol, Built)
    assert attempted.factory.addresses == ["address"]
    connection = attempted.made()
    assert attempted.clock.getDelayedCalls() == []
    attempted.endpoint.connecting.callback(protocol)
    assert attempted.outcomes == []
    attempted.attempt.opened("application")
    assert attempted.outcomes == ["application"]
    assert attempted.isOver()
    assert not connection.aborted
    assert attempted.endpoint.cancelled == 0


def test_an_endpoint_that_connects_at_once() -> None:
    """Within `connect` the connection is made, and its opening handshake fails."""

    class AtOnce(Endpoint):
        def connect(self, protocolFactory: Any, /) -> Any:
            attempt.connected(connection)  # type: ignore[arg-type]
            attempt.failed(error)
            return super().connect(protocolFactory)

    clock, connection, error = Clock(), Connection(), RuntimeError("expected")
    attempt, endpoint = Attempt(clock, 5), AtOnce()
    result = attempt.begin(endpoint, Factory())  # type: ignore[arg-type]
    seen: list[Any] = []
    result.addErrback(seen.append)
    assert [one.value for one in seen] == [error]
    assert clock.getDelayedCalls() == []
    # It holds nothing of what the endpoint may do with it.
    gone = ref(endpoint.connecting)
    del endpoint
    gc.collect()
    assert gone() is None
    assert attempt.secondsLeft() == 5


def test_an_endpoint_that_takes_all_the_time_to_begin() -> None:
    class Slow(Endpoint):
        def connect(self, protocolFactory: Any, /) -> Any:
            clock.advance(5)
            return super().connect(protocolFactory)

    clock = Clock()
    seen: list[Any] = []
    with logged() as events:
        Attempt(clock, 5).begin(Slow(), Factory()).addErrback(seen.append)  # type: ignore[arg-type]
    assert [str(one.value) for one in seen] == ["the opening handshake took too long"]
    assert failures(events) == []


@pytest.mark.parametrize("isMade", [True, False])
def test_a_connection_that_does_not_open(isMade: bool) -> None:
    attempted = Attempted()
    if isMade:
        attempted.made()
    error = RuntimeError("expected")
    attempted.attempt.failed(error)
    assert attempted.outcomes == [error]
    assert attempted.isOver()


def test_what_comes_first_counts() -> None:
    attempted = Attempted()
    attempted.made()
    attempted.attempt.opened("application")
    attempted.attempt.opened("another")
    attempted.attempt.failed(RuntimeError())
    assert attempted.outcomes == ["application"]
    attempted = Attempted()
    attempted.attempt.failed(RuntimeError("expected"))
    attempted.attempt.failed(RuntimeError("another"))
    attempted.attempt.opened("application")
    assert [str(one) for one in attempted.outcomes] == ["expected"]


# The endpoint


@pytest.mark.parametrize("atOnce", [True, False])
def test_an_endpoint_that_fails(atOnce: bool) -> None:
    error = RuntimeError("expected")
    if atOnce:
        attempted = Attempted(endpoint=Endpoint(fail(error)))
    else:
        attempted = Attempted()
        attempted.endpoint.connecting.errback(error)
    assert attempted.outcomes == [error]
    assert attempted.isOver()


def test_an_endpoint_that_raises() -> None:
    class Raises:
        def connect(self, protocolFactory: Any, /) -> Any:
            raise error

    error = RuntimeError("expected")
    attempted = Attempted(endpoint=Raises())
    assert attempted.outcomes == [error]
    assert attempted.isOver()


def test_an_endpoint_that_makes_a_connection_and_then_fails() -> None:
    attempted = Attempted()
    connection = attempted.made()
    error = RuntimeError("expected")
    attempted.endpoint.connecting.errback(error)
    assert attempted.outcomes == [error]
    assert connection.aborted
    assert attempted.isOver()


def test_an_endpoint_that_makes_two_connections() -> None:
    attempted = Attempted()
    first, second = attempted.made(), attempted.made()
    assert (first.aborted, second.aborted) == (False, True)
    attempted.attempt.opened("application")
    assert attempted.outcomes == ["application"]
    assert not first.aborted


def test_a_connection_that_is_made_too_late_is_aborted() -> None:
    attempted = Attempted()
    attempted.clock.advance(5)
    assert attempted.made().aborted
    attempted = Attempted()
    attempted.made()
    attempted.attempt.opened("application")
    assert attempted.made().aborted


class Transport:
    aborted = lost = False

    def abortConnection(self) -> None:
        self.aborted = True

    def loseConnection(self) -> None:
        self.lost = True


class OnlyLoses:
    lost = False

    def loseConnection(self) -> None:
        self.lost = True


@pytest.mark.parametrize("kind", [Transport, OnlyLoses])
def test_an_endpoint_that_connects_though_it_was_cancelled(kind: Any) -> None:
    attempted = Attempted()
    attempted.result.cancel()
    protocol, transport = attempted.endpoint.handed.buildProtocol(None), kind()
    protocol.makeConnection(transport)
    assert getattr(transport, "aborted", transport.lost)
    assert attempted.factory.addresses == []


def test_it_leaves_no_factory_with_the_endpoint() -> None:
    attempted = Attempted()
    attempted.made()
    attempted.endpoint.connecting.callback("protocol")
    attempted.attempt.opened("application")
    handed, gone = attempted.endpoint.handed, ref(attempted.factory)
    del attempted
    gc.collect()
    assert gone() is None
    assert not handed.noisy


def test_it_leaves_no_protocol_with_the_endpoint() -> None:
    """An endpoint may keep its Deferred."""
    attempted, protocol = Attempted(), Built()
    attempted.endpoint.connecting.callback(protocol)
    assert attempted.endpoint.connecting.result is None


def test_an_attempt_that_is_over_holds_nothing() -> None:
    attempted = Attempted()
    gone = [ref(attempted.made()), ref(attempted.endpoint.connecting)]
    attempt, result = attempted.attempt, attempted.result
    attempt.opened("application")
    del attempted
    gc.collect()
    assert [one() for one in gone] == [None, None]
    assert result.called


def test_an_attempt_that_was_over_at_once_holds_nothing() -> None:
    attempted = Attempted(endpoint=Endpoint(fail(RuntimeError("expected"))))
    attempt, gone = attempted.attempt, ref(attempted.endpoint.connecting)
    del attempted
    gc.collect()
    assert gone() is None
    assert attempt.secondsLeft() == 5


# Time


def test_it_has_its_time() -> None:
    attempted = Attempted()
    attempted.clock.advance(4.5)
    assert attempted.outcomes == []
    attempted.clock.advance(0.5)
    [error] = attempted.outcomes
    assert isinstance(error, WebSocketDropped)
    assert str(error) == "the opening handshake took too long"
    assert attempted.endpoint.cancelled == 1
    assert attempted.isOver()


def test_once_the_connection_is_made_the_time_is_its_own() -> None:
    attempted = Attempted()
    attempted.clock.advance(2)
    assert attempted.attempt.secondsLeft() == 3
    attempted.made()
    attempted.clock.advance(2)
    assert attempted.attempt.secondsLeft() == 1
    attempted.clock.advance(10)
    assert attempted.attempt.secondsLeft() == 0
    assert attempted.outcomes == []


def test_without_a_limit_it_takes_as_long_as_it_takes() -> None:
    attempted = Attempted(seconds=None)
    assert attempted.attempt.secondsLeft() is None
    assert attempted.clock.getDelayedCalls() == []
    attempted.clock.advance(10000)
    assert attempted.outcomes == []


def test_what_took_too_long() -> None:
    assert str(openingTimedOut()) == "the opening handshake took too long"
    assert (
        str(openingTimedOut(False))
        == "the opening handshake took too long: the server did not finish the TLS handshake"
    )


def test_another_error_where_there_is_no_transport_in_time() -> None:
    attempted = Attempted(makeLateError=lambda: ValueError("the proxy"))
    attempted.clock.advance(5)
    assert [type(one) for one in attempted.outcomes] == [ValueError]
    assert attempted.isOver()
    assert attempted.endpoint.cancelled == 1


def test_nothing_is_kept_for_an_error_that_is_not_needed() -> None:
    def makeLateError() -> BaseException:
        raise AssertionError("it came in time")

    for end in ("connects", "fails"):
        attempted = Attempted(makeLateError=makeLateError)
        if end == "connects":
            attempted.made()
        else:
            attempted.endpoint.connecting.errback(ValueError())
        assert makeLateError not in vars(attempted.attempt).values()
        attempted.result.cancel()


# Cancelling


def test_cancelling_before_there_is_a_connection() -> None:
    attempted = Attempted()
    attempted.result.cancel()
    assert isinstance(attempted.outcomes[0], CancelledError)
    assert attempted.endpoint.cancelled == 1
    assert attempted.isOver()


@pytest.mark.parametrize("isConnected", [True, False])
def test_cancelling_when_there_is_one(isConnected: bool) -> None:
    attempted = Attempted()
    connection = attempted.made()
    if isConnected:
        attempted.endpoint.connecting.callback("protocol")
    attempted.result.cancel()
    assert isinstance(attempted.outcomes[0], CancelledError)
    assert connection.aborted
    assert attempted.isOver()


def test_cancelling_what_is_open_does_nothing() -> None:
    attempted = Attempted()
    connection = attempted.made()
    attempted.attempt.opened("application")
    attempted.result.cancel()
    assert attempted.outcomes == ["application"]
    assert not connection.aborted


@pytest.mark.parametrize("how", ["cancel", "time"])
def test_an_endpoint_that_fails_to_cancel_harms_only_itself(how: str) -> None:
    def canceller(_: object) -> None:
        raise RuntimeError("expected")

    attempted = Attempted(endpoint=Endpoint(Deferred(canceller)))
    with logged() as events:
        if how == "cancel":
            attempted.result.cancel()
        else:
            attempted.clock.advance(5)
    assert failures(events) == ["expected"]
    assert isinstance(attempted.outcomes[0], CancelledError if how == "cancel" else WebSocketDropped)
    assert attempted.isOver()


# How a server is reached


class Resolver:
    """Knows addresses alone."""

    def resolveHostName(self, receiver: Any, name: str, portNumber: int = 0, *_: object, **__: object) -> Any:
        receiver.resolutionBegan(self)
        receiver.addressResolved(IPv4Address("TCP", name, portNumber))
        receiver.resolutionComplete()
        return receiver


@implementer(IReactorPluggableNameResolver)
class Reactor(MemoryReactorClock):
    nameResolver: Any = Resolver()


def reached(
    url: str,
    endpoint: Any = None,
    trustRoot: Any = None,
    certificate: Any = None,
    reactor: Any = None,
    tls: Any = None,
) -> Any:
    return endpointFor(Reactor() if reactor is None else reactor, parse(url), endpoint, trustRoot, certificate, tls)


@pytest.mark.parametrize(("url", "port"), [("ws://127.0.0.1/", 80), ("ws://127.0.0.1:8000/", 8000)])
def test_a_server_is_reached_by_its_url(url: str, port: int) -> None:
    reactor = Reactor()
    reached(url, reactor=reactor).connect(ClientFactory())
    assert [(host, number) for host, number, *_ in reactor.tcpClients] == [("127.0.0.1", port)]


def test_a_server_is_reached_in_another_way() -> None:
    endpoint = Endpoint()
    assert reached("ws://example.com/", endpoint) is endpoint


@pytest.mark.parametrize("own", [True, False])
def test_through_tls_the_outcome_is_that_of_the_endpoint(own: bool) -> None:
    endpoint, error = Endpoint(), RuntimeError("expected")
    seen: list[Any] = []
    reached("wss://example.com/", endpoint, None if own else certificate()).connect(ClientFactory()).addErrback(
        seen.append
    )
    assert seen == []
    endpoint.connecting.errback(error)
    assert [one.value for one in seen] == [error]


def test_what_is_no_endpoint() -> None:
    with pytest.raises(LocalProtocolError, match="endpoint"):
        reached("ws://example.com/", "tcp:example.com:80")


def certificate() -> PrivateCertificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "me")])
    begin = datetime(2020, 1, 1, tzinfo=timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, begin, begin + timedelta(days=36500))
    made = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    return PrivateCertificate.loadPEM(made + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def test_the_two_kinds_of_tls_exclude_each_other() -> None:
    context = ssl.create_default_context()
    reached("wss://example.com/", tls=context)
    with pytest.raises(LocalProtocolError, match="give one kind"):
        reached("wss://example.com/", tls=context, trustRoot=certificate())
    with pytest.raises(LocalProtocolError, match="give one kind"):
        reached("wss://example.com/", tls=context, certificate=certificate())
    with pytest.raises(LocalProtocolError, match="wss://"):
        reached("ws://example.com/", tls=context)


def test_certificates_are_for_tls() -> None:
    for arguments in ({"trustRoot": certificate()}, {"certificate": certificate()}):
        with pytest.raises(LocalProtocolError, match="wss://"):
            reached("ws://example.com/", **arguments)
        reached("wss://example.com/", **arguments)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"trustRoot": "a root"}, "trustRoot is a certificate"),
        ({"certificate": "me"}, "clientCertificate is a Private"),
    ],
)
def test_what_is_no_certificate(arguments: Any, told: str) -> None:
    with pytest.raises(LocalProtocolError, match=told):
        reached("wss://example.com/", **arguments)


def test_a_host_that_was_not_parsed() -> None:
    url = URL(True, "b\xfccher.example", 443, "/")
    with pytest.raises(InvalidURL, match="A-labels"):
        endpointFor(Reactor(), url, Endpoint(), None, None)
    with pytest.raises(InvalidURL, match="A-labels"):
        endpointFor(Reactor(), url, Endpoint(), certificate(), None)


def test_without_the_packages_for_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "twisted.internet.ssl", None)
    reached("ws://example.com/", Endpoint())
    reached("wss://example.com/", Endpoint())
    with pytest.raises(ImportError, match=r"pip install 'wsock\[tls\]'"):
        reached("wss://example.com/", Endpoint(), trustRoot=object())
