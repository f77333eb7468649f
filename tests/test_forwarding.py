import re
from typing import Any

import pytest
from growth import assertLinear, spent
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.logger import formatEvent
from wire import REQUEST, Application, Served, Transport, logged

from wsock import AccessRecord, LocalProtocolError, ProxyPolicy, Refuse
from wsock.server.forwarding import Forwarded

PROXY = IPv4Address("TCP", "10.0.0.1", 4000)
HERE = IPv4Address("TCP", "10.0.0.9", 80)


def read(policy: ProxyPolicy, peer: Any = PROXY, host: Any = HERE, **fields: str) -> Forwarded | None:
    lookup = {name.replace("_", "-"): value for name, value in fields.items()}
    return policy.read(lookup.get, peer, host)


X = ProxyPolicy(["10.0.0.0/24", "2001:db8::/32"])
X2 = ProxyPolicy(["10.0.0.0/24"], hops=2)
X3 = ProxyPolicy(["10.0.0.0/24"], hops=3)
F = ProxyPolicy(["10.0.0.0/24"], header="Forwarded")
F2 = ProxyPolicy(["10.0.0.0/24"], hops=2, header="forwarded")


@pytest.mark.parametrize(
    ("policy", "value", "address", "port"),
    [
        (X, "192.0.2.1", "192.0.2.1", 0),
        (X, " 192.0.2.1\t", "192.0.2.1", 0),
        (X, "192.0.2.1:4711", "192.0.2.1", 4711),
        (X, "2001:DB8::5", "2001:db8::5", 0),
        (X, "[2001:db8::5]", "2001:db8::5", 0),
        (X, "[2001:db8::5]:4711", "2001:db8::5", 4711),
        (X, "::ffff:192.0.2.1", "192.0.2.1", 0),
        (X, "198.51.100.1, 192.0.2.1", "192.0.2.1", 0),
        (X, "nonsense, 192.0.2.1", "192.0.2.1", 0),
        (X, "192.0.2.1:99999", "192.0.2.1", 0),
        (X, "192.0.2.1:_x", "192.0.2.1", 0),
        (X, "[2001:db8::5]:_x", "2001:db8::5", 0),
        (X, "10.0.0.2", "10.0.0.2", 0),
        (X, "198.51.100.1, 10.0.0.2", "10.0.0.2", 0),
        (X2, "198.51.100.1, 10.0.0.2", "198.51.100.1", 0),
        (X2, "198.51.100.1, 192.0.2.1", "192.0.2.1", 0),
        (X2, "198.51.100.1, 10.0.0.3, 10.0.0.2", "10.0.0.3", 0),
        (X3, "198.51.100.1, 10.0.0.3, 10.0.0.2", "198.51.100.1", 0),
        (F, "for=192.0.2.1", "192.0.2.1", 0),
        (F, 'For="192.0.2.1:4711"', "192.0.2.1", 4711),
        (F, 'for="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17", 4711),
        (F, 'for="[2001:db8:cafe::17]"', "2001:db8:cafe::17", 0),
        (F, 'for="192.0.2.1:_hidden"', "192.0.2.1", 0),
        (F, "for=198.51.100.1, for=192.0.2.1;by=203.0.113.43", "192.0.2.1", 0),
        (F, 'by="a,b;c\\"";for=192.0.2.1', "192.0.2.1", 0),
        (F, 'for="192\\.0.2.1"', "192.0.2.1", 0),
        (F, " , ,for=192.0.2.1", "192.0.2.1", 0),
        (F2, "for=198.51.100.1, for=10.0.0.2", "198.51.100.1", 0),
    ],
)
def test_clients(policy: ProxyPolicy, value: str, address: str, port: int) -> None:
    told = read(policy, **{policy.header: value})
    assert told == Forwarded(address, port, None, None)


@pytest.mark.parametrize(
    ("policy", "value"),
    [
        (X, ""),
        (X, "unknown"),
        (X, "_hidden"),
        (X, "192.0.2.1,"),
        (X, "192.0.2.1, unknown"),
        (X, "example.com"),
        (X, "192.0.2"),
        (X, "192.0.2.1.5"),
        (X, "[192.0.2.1"),
        (X, "192.0.2.1:junk"),
        (X, "[2001:db8::5]junk"),
        (X, "192.0.2.1:123456"),
        (X, "192.0.2.1%x"),
        (X, "fe80::1%eth0"),
        (X, "1.2.3.4 5.6.7.8"),
        (X, "for=192.0.2.1"),
        (X2, "10.0.0.2"),
        (X2, "unknown, 10.0.0.2"),
        (X3, "10.0.0.3, 10.0.0.2"),
        (F, ""),
        (F, "192.0.2.1"),
        (F, "proto=https"),
        (F, "for=unknown"),
        (F, "for=_hidden"),
        (F, "for=192.0.2.1,"),
        (F, "for=192.0.2.1;for=192.0.2.2"),
        (F, "for=192.0.2.1 by=1"),
        (F, 'for="192.0.2.1'),
        (F, "for=[2001:db8::1]"),
        (F, "for = 192.0.2.1"),
        (F, 'for="192.0.2.1", "'),
        (F2, "for=10.0.0.2"),
    ],
)
def test_fields_that_tell_nothing(policy: ProxyPolicy, value: str) -> None:
    assert read(policy, **{policy.header: value}) is None


def test_a_request_without_the_field() -> None:
    assert read(X) is None
    assert read(X, forwarded="for=192.0.2.1") is None, "the other one"
    assert read(F, x_forwarded_for="192.0.2.1") is None


@pytest.mark.parametrize(
    ("peer", "host", "isTrusted"),
    [
        (IPv4Address("TCP", "10.0.0.255", 1), HERE, True),
        (IPv4Address("TCP", "10.0.1.0", 1), HERE, False),
        (IPv6Address("TCP", "2001:db8::1", 1), HERE, True),
        (IPv6Address("TCP", "2001:db9::1", 1), HERE, False),
        (IPv6Address("TCP", "::ffff:10.0.0.1", 1), HERE, True),
        (IPv6Address("TCP", "fe80::1%eth0", 1), HERE, False),
        (UNIXAddress(None), UNIXAddress(b"/run/a"), True),
        (UNIXAddress(None), UNIXAddress(b"/run/b"), False),
        (UNIXAddress(None), UNIXAddress(None), False),
        (UNIXAddress(b"/run/a"), HERE, False),
        (None, None, False),
        (object(), object(), False),
    ],
)
def test_trusted_peers_alone_are_believed(peer: Any, host: Any, isTrusted: bool) -> None:
    policy = ProxyPolicy(["10.0.0.0/24", "2001:db8::/32", "unix:/run/a"])
    told = read(policy, peer, host, x_forwarded_for="192.0.2.1")
    assert (told is not None) is isTrusted


@pytest.mark.parametrize(
    ("policy", "fields", "scheme", "host"),
    [
        (X, {"x_forwarded_proto": "https", "x_forwarded_host": "a.example:8443"}, "https", "a.example:8443"),
        (X, {"x_forwarded_proto": "WSS", "x_forwarded_host": "[::1]"}, "wss", "[::1]"),
        (X, {"x_forwarded_proto": "http, https", "x_forwarded_host": "a, b"}, "https", "b"),
        (X, {"x_forwarded_proto": "gopher", "x_forwarded_host": "a b"}, None, None),
        (X, {"x_forwarded_proto": "https,", "x_forwarded_host": "https://a"}, None, None),
        (X, {"x_forwarded_host": ""}, None, None),
        (X, {"x_forwarded_host": "a" * 261}, None, "a" * 261),
        (X, {"x_forwarded_host": "a" * 262}, None, None),
    ],
)
def test_schemes_and_hosts(policy: ProxyPolicy, fields: dict[str, str], scheme: str, host: str) -> None:
    assert read(policy, x_forwarded_for="192.0.2.1", **fields) == Forwarded("192.0.2.1", 0, scheme, host)


def test_schemes_and_hosts_of_several_proxies() -> None:
    """The farthest trusted one has spoken with the client; often it alone has written them."""
    nodes = {"x_forwarded_for": "192.0.2.1, 10.0.0.2"}
    told = read(X2, x_forwarded_proto="https, http", x_forwarded_host="a, b", **nodes)
    assert told == Forwarded("192.0.2.1", 0, "https", "a")
    told = read(X2, x_forwarded_proto="https", x_forwarded_host="a", **nodes)
    assert told == Forwarded("192.0.2.1", 0, "https", "a")
    three = {"x_forwarded_for": "66.6.6.6, 192.0.2.1, 10.0.0.2"}
    told = read(X2, x_forwarded_proto="http, https", x_forwarded_host="forged, real", **three)
    assert told == Forwarded("192.0.2.1", 0, None, None), "nobody knows whose they are"
    told = read(F2, forwarded='for=192.0.2.1;proto=https;host="a:1", for=10.0.0.2;proto=http;host=b')
    assert told == Forwarded("192.0.2.1", 0, "https", "a:1")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"networks": "10.0.0.0/8"}, "write ['10.0.0.0/8']"),
        ({"networks": None}, "a sequence of networks"),
        ({"networks": [1]}, 'a str such as "10.0.0.0/8"'),
        ({"networks": ["10.0.0.1/8"]}, "not a network: '10.0.0.1/8': 10.0.0.1/8 has host bits set"),
        ({"networks": ["proxy.example"]}, "write an address, a network such as 10.0.0.0/8, or unix:PATH"),
        ({"networks": ["unix:"]}, "not a network"),
        ({"networks": ["10.0.0.0/33"]}, "not a network"),
        ({"networks": [], "hops": 0}, "hops"),
        ({"networks": [], "hops": None}, "hops"),
        ({"networks": [], "header": "X-Real-IP"}, "X-Forwarded-For or Forwarded, not 'X-Real-IP'"),
        ({"networks": [], "header": None}, "X-Forwarded-For or Forwarded, not None"),
    ],
)
def test_policies_that_are_none(arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(LocalProtocolError, match=re.escape(why)):
        ProxyPolicy(**arguments)


def test_mapped_networks_are_those_of_ipv4() -> None:
    policy = ProxyPolicy(["::ffff:10.0.0.0/120", "::ffff:192.0.2.1"])
    for host, isTrusted in (("10.0.0.255", True), ("10.0.1.0", False), ("192.0.2.1", True), ("192.0.2.2", False)):
        for address in (IPv4Address("TCP", host, 1), IPv6Address("TCP", f"::ffff:{host}", 1)):
            assert (read(policy, address, x_forwarded_for="198.51.100.1") is not None) is isTrusted


@pytest.mark.growth
@pytest.mark.parametrize("policy", [X2, F2], ids=["x-forwarded-for", "forwarded"])
@pytest.mark.parametrize("part", [",", ":", "[", "for=1,", 'for="', "a=b;", '\\"', " ", "10.0.0.2, ", "for=10.0.0.2,"])
def test_the_time_for_a_field(policy: ProxyPolicy, part: str) -> None:
    def take(count: int) -> None:
        read(policy, **{policy.header: part * count, "x_forwarded_proto": part * count})
        read(policy, **{policy.header: f"for=192.0.2.1;{part * count}@, for=10.0.0.2"})
        read(policy, **{policy.header: "," * count, "x_forwarded_host": part * count})

    assertLinear(lambda: spent(lambda: take(300)), lambda: spent(lambda: take(4800)))


# Through a factory


class Behind(Transport):
    """A connection from a proxy."""

    def getPeer(self) -> Any:
        return PROXY

    def getHost(self) -> Any:
        return HERE


def served(*fields: str, **arguments: Any) -> tuple[int, Served]:
    one = Served(transport=Behind(), **{"trustedProxies": X, **arguments})
    answer = one.feed(REQUEST[:-2] + "".join(f"{field}\r\n" for field in fields).encode() + b"\r\n")
    return int(answer[9:12]), one


def test_a_request_through_a_proxy() -> None:
    records: list[AccessRecord] = []
    fields = ["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: a.example"]
    status, one = served(*fields, "Origin: https://a.example", accessLog=records.append)
    assert status == 101
    request = one.wire.request
    assert request.getClientAddress() == IPv4Address("TCP", "192.0.2.1", 0)
    assert (request.host, request.isSecure()) == ("a.example", True)
    assert request.getPeer() == PROXY
    assert one.wire.getPeer() == PROXY
    one.lose()
    assert records[0].peer == "192.0.2.1:0"


def test_several_fields_are_one() -> None:
    status, one = served("X-Forwarded-For: 198.51.100.1", "X-Forwarded-For: [2001:db8::5]:1")
    assert status == 101
    assert one.wire.request.getClientAddress() == IPv6Address("TCP", "2001:db8::5", 1)


def test_a_request_that_nobody_is_trusted_for() -> None:
    fields = ["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: a.example"]
    for trusted in (None, ProxyPolicy(["192.0.2.0/24"])):
        status, one = served(*fields, trustedProxies=trusted)
        request = one.wire.request
        assert status == 101
        assert request.getClientAddress() == PROXY
        assert (request.host, request.isSecure()) == ("server.example.com", False)
        assert served(*fields, "Origin: https://a.example", trustedProxies=trusted)[0] == 403


def test_hosts_and_origins_are_those_of_the_client() -> None:
    told = "X-Forwarded-For: 192.0.2.1"
    assert served(told, "X-Forwarded-Host: a.example", allowedHosts=["a.example"])[0] == 101
    assert served(told, "X-Forwarded-Host: b.example", allowedHosts=["a.example"])[0] == 421
    assert served(told, allowedHosts=["a.example"])[0] == 421
    assert served(told, "X-Forwarded-Host: a.example:8443", "Origin: https://a.example:8443")[0] == 101
    assert served(told, "X-Forwarded-Host: a.example:8443", "Origin: https://server.example.com")[0] == 403
    assert served(told, "Origin: https://server.example.com")[0] == 101


def test_a_refusal_names_the_client() -> None:
    def build(request: Any) -> Any:
        raise Refuse(402)

    with logged() as events:
        assert served("X-Forwarded-For: 192.0.2.1", buildApplication=build)[0] == 402
    assert "from 192.0.2.1:0 with 402" in formatEvent(events[0])


def test_a_policy_is_checked() -> None:
    with pytest.raises(LocalProtocolError, match="trustedProxies is a ProxyPolicy or None, not list"):
        Served(trustedProxies=["10.0.0.0/8"])


def test_a_client_s_own_request_is_no_matter_of_proxies() -> None:
    one = Served(Application()).open()
    assert one.wire.request.getClientAddress() == one.wire.getPeer()
    assert one.wire.request.isSecure() is False
