import gc
import re
import tracemalloc
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.logger import formatEvent
from wire import REQUEST, Application, Served, Transport, logged

from wsock import AddressLimits, LocalProtocolError, ProxyPolicy, Route, Routes
from wsock.server.addresses import addressKey


def at(host: str, port: int = 1) -> Any:
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)


@pytest.mark.parametrize(
    ("address", "key"),
    [
        (at("192.0.2.1"), "192.0.2.1"),
        (at("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64"),
        (at("2001:DB8:1:2::1"), "2001:db8:1:2::/64"),
        (at("fe80::1%eth0"), "fe80::/64"),
        (at("::ffff:192.0.2.1"), "192.0.2.1"),
        (at("nonsense::x"), "nonsense::x"),
        (UNIXAddress(b"/run/a"), ""),
        (None, ""),
        (object(), ""),
    ],
)
def test_addresses(address: Any, key: str) -> None:
    assert addressKey(address) == key


# Handshakes


def test_a_bucket_of_handshakes() -> None:
    limits = AddressLimits(handshakesPerSecond=0.5, burst=2)
    a, b = at("192.0.2.1", 1), at("192.0.2.2")
    assert [limits.takeHandshake(a, 0), limits.takeHandshake(at("192.0.2.1", 2), 0)] == [None, None]
    assert limits.takeHandshake(a, 0) == 2
    assert limits.takeHandshake(b, 0) is None
    assert limits.takeHandshake(a, 1) == 1
    assert limits.takeHandshake(a, 2) is None
    assert limits.takeHandshake(a, 2) == 2
    assert limits.takeHandshake(a, 1) == 2, "a clock that goes back"
    assert [limits.takeHandshake(a, 1000) for _ in range(3)] == [None, None, 2]
    assert limits.refusedHandshakes == 5
    assert limits.refusedConnections == 0


@pytest.mark.parametrize(("rate", "burst"), [(0.1, 10), (1, 10), (3, 30), (2.5, 25)])
def test_the_burst_is_ten_or_ten_seconds_worth(rate: float, burst: int) -> None:
    limits = AddressLimits(handshakesPerSecond=rate)
    assert [limits.takeHandshake(at("192.0.2.1"), 0) for _ in range(burst + 1)].count(None) == burst


def test_a_refused_client_that_waits_as_long_as_it_was_told_is_taken() -> None:
    limits = AddressLimits(handshakesPerSecond=0.3, burst=1)
    now = 0.0
    for _ in range(100):
        assert limits.takeHandshake(at("192.0.2.1"), now) is None
        seconds = limits.takeHandshake(at("192.0.2.1"), now)
        assert seconds is not None
        now += seconds


def test_the_table_is_bounded_and_forgets_the_oldest() -> None:
    limits = AddressLimits(handshakesPerSecond=1, burst=1, maxAddresses=100)
    for number in range(100):
        assert limits.takeHandshake(at(f"10.0.0.{number}"), 0) is None
    assert limits.takeHandshake(at("10.0.0.0"), 0) == 1, "it was seen last now"
    assert limits.takeHandshake(at("10.0.1.0"), 0) is None
    assert limits.takeHandshake(at("10.0.0.0"), 0) == 1
    assert limits.takeHandshake(at("10.0.0.1"), 0) is None, "forgotten"
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(20_000):
            limits.takeHandshake(at(f"2001:db8:{number:x}::1"), 0)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 100 * 500, "200 times the table went through it"


# Connections


class Gone:
    pass


def test_connections_of_an_address() -> None:
    limits = AddressLimits(maxConnections=2)
    a = at("2001:db8::1")
    seats = [limits.seat(a), limits.seat(at("2001:db8::2"))]
    assert limits.whyFull(at("2001:db8::3")) == 5
    assert limits.whyFull(at("2001:db8:0:1::1")) is None
    assert seats[0] is not None
    seats[0].discard(Gone())
    assert limits.whyFull(a) is None
    assert seats[1] is not None
    seats[1].discard(Gone())
    assert repr(limits) == "<AddressLimits: 0 addresses with connections>"
    assert limits.refusedConnections == 1
    assert limits.takeHandshake(a, 0) is None


def test_without_a_limit_nothing_is_counted() -> None:
    limits = AddressLimits(handshakesPerSecond=1)
    assert limits.seat(at("192.0.2.1")) is None
    assert limits.whyFull(at("192.0.2.1")) is None


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({}, "a limit: maxConnections or handshakesPerSecond"),
        ({"maxConnections": 0}, "maxConnections"),
        ({"handshakesPerSecond": 0}, "handshakesPerSecond is a number from 1e-06 to 1e+09, or None"),
        ({"handshakesPerSecond": float("nan")}, "handshakesPerSecond is a number from"),
        ({"handshakesPerSecond": float("inf")}, "handshakesPerSecond is a number from"),
        ({"handshakesPerSecond": 10**400}, "handshakesPerSecond is a number from"),
        ({"handshakesPerSecond": 1e-7}, "handshakesPerSecond is a number from"),
        ({"handshakesPerSecond": "1"}, "handshakesPerSecond is a number above 0, or None, not str"),
        ({"handshakesPerSecond": True}, "not bool"),
        ({"handshakesPerSecond": 1, "burst": 0}, "burst"),
        ({"handshakesPerSecond": 1, "maxAddresses": None}, "maxAddresses"),
    ],
)
def test_arguments(arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(LocalProtocolError, match=re.escape(why)):
        AddressLimits(**arguments)


# Through a factory


class From(Transport):
    def __init__(self, host: str) -> None:
        super().__init__()
        self.host = host

    def getPeer(self) -> Any:
        return at(self.host)


def ask(first: Served, host: str, path: str = "/chat", *fields: str) -> tuple[bytes, Served]:
    one = Served(factory=first.factory, transport=From(host))
    request = REQUEST.replace(b"/chat", path.encode(), 1)
    return one.feed(request[:-2] + "".join(f"{field}\r\n" for field in fields).encode() + b"\r\n"), one


def status(answer: bytes) -> int:
    return int(answer[9:12])


def test_too_many_handshakes_are_answered_with_429() -> None:
    first = Served(addressLimits=AddressLimits(handshakesPerSecond=0.5, burst=1))
    assert status(ask(first, "192.0.2.1")[0]) == 101
    with logged() as events:
        answer, _ = ask(first, "192.0.2.1")
    assert status(answer) == 429
    assert b"Retry-After: 2\r\n" in answer
    why = "too many requests from this address (addressLimits: handshakesPerSecond)"
    assert answer.endswith(b"Too Many Requests: " + why.encode())
    assert formatEvent(events[0]).endswith(f"from 192.0.2.1:1 with 429: {why}")
    assert status(ask(first, "192.0.2.2")[0]) == 101
    first.advance(2)
    assert status(ask(first, "192.0.2.1")[0]) == 101


def test_too_many_connections_are_answered_with_429() -> None:
    first = Served(addressLimits=AddressLimits(maxConnections=1))
    _, open_ = ask(first, "192.0.2.1")
    answer, _ = ask(first, "192.0.2.1")
    assert status(answer) == 429
    assert b"Retry-After: 5\r\n" in answer
    assert answer.endswith(b"Too Many Requests: too many connections from this address (addressLimits: maxConnections)")
    open_.lose(clean=False)
    assert status(ask(first, "192.0.2.1")[0]) == 101


def test_the_client_s_own_limit_is_told_of_first() -> None:
    first = Served(addressLimits=AddressLimits(maxConnections=1), maxConnections=1)
    assert status(ask(first, "192.0.2.1")[0]) == 101
    assert status(ask(first, "192.0.2.1")[0]) == 429
    assert status(ask(first, "192.0.2.2")[0]) == 503


def test_others_of_the_address_may_be_faster() -> None:
    deciding: list[Deferred[Any]] = []

    def build(request: Any) -> Any:
        deciding.append(Deferred())
        return deciding[-1]

    first = Served(addressLimits=AddressLimits(maxConnections=1), buildApplication=build)
    both = [ask(first, "192.0.2.1")[1] for _ in range(2)]
    for one in deciding:
        one.callback(Application())
    assert [status(one.transport.taken()) for one in both] == [101, 429]


@pytest.mark.parametrize("callback", ["started", "finished"])
def test_a_connection_that_is_lost_while_it_opens_is_not_counted(callback: str) -> None:
    limits = AddressLimits(maxConnections=1)

    def leave(application: Application) -> None:
        application.transport.abortConnection()

    first = Served(addressLimits=limits, buildApplication=lambda request: Application(**{callback: leave}))
    _, one = ask(first, "192.0.2.1")
    one.lose(clean=False)
    assert limits.whyFull(at("192.0.2.1")) is None


def test_the_address_is_the_client_s_behind_a_proxy() -> None:
    limits = AddressLimits(handshakesPerSecond=1, burst=1, maxConnections=1)
    first = Served(addressLimits=limits, trustedProxies=ProxyPolicy(["10.0.0.1"]))
    for client, answered in (("192.0.2.1", 101), ("192.0.2.2", 101), ("192.0.2.1", 429)):
        assert status(ask(first, "10.0.0.1", "/chat", f"X-Forwarded-For: {client}")[0]) == answered


def test_the_limits_come_behind_the_origin_and_before_the_application() -> None:
    asked: list[Any] = []
    limits = AddressLimits(handshakesPerSecond=1, burst=1)
    first = Served(addressLimits=limits, buildApplication=lambda request: asked.append(request) or Application())
    for _ in range(3):
        assert status(ask(first, "192.0.2.1", "/chat", "Origin: https://other.example")[0]) == 403
    assert [status(ask(first, "192.0.2.1")[0]) for _ in range(2)] == [101, 429]
    assert len(asked) == 1


def test_limits_of_routes() -> None:
    """The factory's count all routes without their own together."""
    build = lambda request: Application()  # noqa: E731
    routes = Routes(
        {
            "/a": build,
            "/b": Route(build),
            "/own": Route(build, addressLimits=AddressLimits(handshakesPerSecond=1, burst=1)),
            "/free": Route(build, addressLimits=None),
        }
    )
    first = Served(buildApplication=routes, addressLimits=AddressLimits(handshakesPerSecond=1, burst=2))
    paths = ["/a", "/b", "/a", "/own", "/own", "/free", "/free", "/free"]
    assert [status(ask(first, "192.0.2.1", path)[0]) for path in paths] == [101, 101, 429, 101, 429, 101, 101, 101]


def test_limits_are_checked() -> None:
    with pytest.raises(LocalProtocolError, match="addressLimits is an AddressLimits or None, not int"):
        Served(addressLimits=5)
