"""From a URL's host to an endpoint: every name that a resolver may know, in memory."""

import sys
from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectionRefusedError, DNSLookupError
from twisted.internet.interfaces import (
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from wsock import connect
from wsock.client.lookup import NamedEndpoint, hostEndpoint
from wsock.sansio.url import parse

#: Names that package idna refuses in some version; all may be in DNS, or in the table of a container.
NAMES = [
    "my_service",
    "_sip._tcp.example",
    "a_.b_.example",
    "ab--cd.example",
    "a--.example",
    "--",
    "-a.example",
    "a-.example",
    "a.-",
    "1_0",
    "xn--i-7iq.ws",
    "xn--vi8h.example",
    "xn--a",
    "xn--.example",
    "ab--cd.example.",
]
#: Names of hosts as RFC 1123 has them, and addresses.
HOSTS = [
    "localhost",
    "example.org",
    "example.org.",
    "3com.example",
    "a-b.c",
    "a" * 63 + ".example",
    ".".join(["a" * 63] * 3 + ["a" * 61]),
    "127.0.0.1",
    "::1",
]


@implementer(IHostnameResolver)
class Resolver:
    """A resolver that has the same addresses for each name.

    Attributes:
        asked: the names.
    """

    def __init__(self, *addresses: IPv4Address | IPv6Address) -> None:
        self.asked: list[str] = []
        self._addresses = addresses

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[Any] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        self.asked.append(hostName)
        resolution: Any = object()
        resolutionReceiver.resolutionBegan(resolution)
        for address in self._addresses:
            resolutionReceiver.addressResolved(type(address)("TCP", address.host, portNumber))
        resolutionReceiver.resolutionComplete()
        return resolution


@implementer(IReactorPluggableNameResolver)
class Reactor(MemoryReactorClock):
    """One with a resolver, which Twisted's own has in later versions alone."""

    nameResolver: Any


def reactorWith(*addresses: IPv4Address | IPv6Address) -> tuple[Reactor, Resolver]:
    reactor, resolver = Reactor(), Resolver(*addresses)
    reactor.nameResolver = resolver
    return reactor, resolver


ONE = IPv4Address("TCP", "192.0.2.1", 0)
SIX = IPv6Address("TCP", "2001:db8::1", 0)


@pytest.fixture(params=["with idna", "without idna"])
def idna(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without idna":
        monkeypatch.setitem(sys.modules, "idna", None)


@pytest.mark.parametrize("host", NAMES + HOSTS)
@pytest.mark.usefixtures("idna")
def test_each_name_is_looked_up_as_it_stands(host: str) -> None:
    reactor, resolver = reactorWith(ONE)
    failures: list[Failure] = []
    connecting = connect(reactor, f"ws://[{host}]:81/" if ":" in host else f"ws://{host}:81/")
    connecting.addErrback(failures.append)
    assert not failures
    assert resolver.asked == [host]
    assert [one[:2] for one in reactor.tcpClients] == [("192.0.2.1", 81)]
    connecting.cancel()


@pytest.mark.parametrize(
    ("typed", "host"),
    [
        ("i\u2764.ws", "xn--i-7iq.ws"),
        ("\U0001f355.example", "xn--vi8h.example"),
        ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("b\u00fc_cher.example", "xn--b_cher-3ya.example"),
        ("MY_Service", "my_service"),
    ],
)
@pytest.mark.usefixtures("idna")
def test_what_was_encoded_can_be_connected(typed: str, host: str) -> None:
    reactor, resolver = reactorWith(ONE)
    connecting = connect(reactor, f"ws://{typed}/")
    assert resolver.asked == [host]
    assert len(reactor.tcpClients) == 1
    connecting.addErrback(lambda failure: failure.trap(CancelledError))
    connecting.cancel()


@pytest.mark.parametrize("host", ["my_service", "example.org"])
def test_all_addresses_are_tried(host: str) -> None:
    reactor, _ = reactorWith(SIX, ONE)
    connecting = hostEndpoint(reactor, host, 81).connect(Factory.forProtocol(Protocol))
    assert [one[0] for one in reactor.tcpClients] == ["2001:db8::1"]
    reactor.advance(1)
    assert [one[0] for one in reactor.tcpClients] == ["2001:db8::1", "192.0.2.1"]
    connecting.addErrback(lambda failure: None)
    connecting.cancel()
    assert reactor.getDelayedCalls() == []


@pytest.mark.parametrize("host", ["a.example", "localhost", "127.0.0.1", "::1", "2001:db8::1"])
def test_twisted_s_own_endpoint_is_taken_where_it_can_be(host: str) -> None:
    reactor, _ = reactorWith(ONE)
    assert type(hostEndpoint(reactor, host, 81)) is HostnameEndpoint


def test_the_error_names_the_host() -> None:
    reactor, _ = reactorWith()
    failures: list[Failure] = []
    hostEndpoint(reactor, "my_service", 81).connect(Factory()).addErrback(failures.append)
    assert [failure.type for failure in failures] == [DNSLookupError]
    assert str(failures[0].value) == "DNS lookup failed: no results for hostname lookup: my_service."


def test_other_errors_are_told_as_they_are() -> None:
    reactor, _ = reactorWith(ONE)
    failures: list[Failure] = []
    hostEndpoint(reactor, "my_service", 81).connect(Factory()).addErrback(failures.append)
    error = ConnectionRefusedError()
    factory, connector = reactor.tcpClients[0][2], reactor.connectors[0]
    factory.clientConnectionFailed(connector, Failure(error))
    reactor.advance(1)
    assert [failure.value for failure in failures] == [error]


def test_the_resolver_is_the_one_of_the_time_it_connects() -> None:
    reactor, before = reactorWith(ONE)
    endpoint = hostEndpoint(reactor, "my_service", 81)
    after = Resolver(ONE)
    reactor.nameResolver = after
    connecting: Deferred[Any] = endpoint.connect(Factory())
    assert (before.asked, after.asked) == ([], ["my_service"])
    connecting.addErrback(lambda failure: None)
    connecting.cancel()


def test_a_reactor_that_looks_names_up_itself() -> None:
    class Old:
        def connectTCP(self, host: str, port: int, *arguments: object, **more: object) -> None:
            connected.append((host, port))

    connected: list[tuple[str, int]] = []
    hostEndpoint(Old(), "my_service", 81).connect(Factory())
    assert connected == [("my_service", 81)]


def test_it_is_an_endpoint_like_others() -> None:
    reactor, _ = reactorWith(ONE)
    endpoint = hostEndpoint(reactor, parse("ws://ab--cd.example").host, 81)
    assert isinstance(endpoint, NamedEndpoint)
    assert verifyObject(IStreamClientEndpoint, endpoint)
    assert IReactorPluggableNameResolver.providedBy(reactor)
