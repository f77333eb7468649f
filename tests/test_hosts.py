import re
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.web.http_headers import Headers as HTTPHeaders

from wsock import LocalProtocolError, ProxyPolicy
from wsock.server.hosts import makeHostRule, splitHost
from wsock.service import hosts
from wsock.service.hosts import PageHead, whyNotLocal

WHY = "this server does not answer for the Host of the request (allowedHosts)"


class Request:
    """A request, as far as its host is asked for."""

    def __init__(self, host: str, local: Any = None, **headers: str) -> None:
        self.host = host
        self.local = local
        self.headers = headers

    def getHost(self) -> Any:
        return self.local


@pytest.mark.parametrize(
    ("host", "name", "port"),
    [
        ("example.com", "example.com", ""),
        ("Example.COM:8443", "example.com", "8443"),
        ("example.com.", "example.com", ""),
        ("example.com.:80", "example.com", "80"),
        ("example.com:", "example.com", ""),
        ("[::1]", "[::1]", ""),
        ("[2001:DB8::1]:8080", "[2001:db8::1]", "8080"),
        ("", "", ""),
    ],
)
def test_hosts(host: str, name: str, port: str) -> None:
    assert splitHost(host) == (name, port)


@pytest.mark.parametrize(
    ("allowed", "served", "refused"),
    [
        (
            ["example.com"],
            ["example.com", "EXAMPLE.com", "example.com.", "example.com:8080", "example.com:"],
            ["a.example.com", "example.com.evil", "evilexample.com", "example", "", "[::1]"],
        ),
        (["Example.COM."], ["example.com"], []),
        (["example.com:8443"], ["example.com:8443"], ["example.com", "example.com:443", "example.com:84430"]),
        (["example.com:443"], ["example.com:443", "example.com"], ["example.com:8443", "example.com:80"]),
        (["example.com:80"], ["example.com", "example.com:80"], ["example.com:443"]),
        (["*.example.com"], ["a.example.com", "b.A.example.com:81"], ["example.com", "aexample.com", ".evil"]),
        (["*.example.com:81"], ["a.example.com:81"], ["a.example.com"]),
        (["*.example.com:443"], ["a.example.com", "a.example.com:443"], ["a.example.com:81"]),
        (["[::1]", "127.0.0.1:8080"], ["[::1]:1", "127.0.0.1:8080"], ["127.0.0.1", "[::2]"]),
        ((name for name in ["a", "b_c"]), ["a", "b_c:1"], ["c"]),
        ([], [], ["a"]),
    ],
)
def test_names_of_hosts(allowed: Any, served: list[str], refused: list[str]) -> None:
    rule = makeHostRule(allowed)
    assert rule is not None
    assert {host: rule(Request(host)) for host in served} == dict.fromkeys(served)
    assert {host: rule(Request(host)) for host in refused} == dict.fromkeys(refused, WHY)


def test_any_host() -> None:
    assert makeHostRule(None) is None
    assert makeHostRule(["*"]) is None


def test_a_function_is_the_rule() -> None:
    def why(request: Any) -> str | None:
        return None

    assert makeHostRule(why) is why


@pytest.mark.parametrize(
    ("allowed", "why"),
    [
        ("example.com", "write ['example.com']"),
        (b"example.com", "a sequence of names, a function, or None"),
        (1, "a sequence of names, a function, or None"),
        ([b"example.com"], 'a str such as "example.com"'),
        (["https://example.com"], "not a host, write a name such as example.com or *.example.com"),
        (["example.com/"], "not a host"),
        ([""], "not a host"),
        (["a.*.example.com"], "not a host"),
        (["example.com:"], "not a host"),
        (["*", "example.com"], "'*' allows any host: it stands alone"),
        (lambda: None, "allowedHosts"),
    ],
)
def test_hosts_that_are_none(allowed: Any, why: str) -> None:
    with pytest.raises(LocalProtocolError, match=re.escape(why)):
        makeHostRule(allowed)


class Page:
    """A request of twisted.web."""

    def __init__(self, uri: bytes, host: bytes | None, **fields: bytes) -> None:
        self.uri = uri
        self.requestHeaders = HTTPHeaders({name: [value] for name, value in fields.items()})
        if host is not None:
            self.requestHeaders.addRawHeader(b"Host", host)

    def getClientAddress(self) -> Any:
        return IPv4Address("TCP", "127.0.0.1", 5)

    def getHost(self) -> Any:
        return LOOPBACK[0]


LOOPBACK = [IPv4Address("TCP", "127.0.0.1", 1), IPv4Address("TCP", "127.8.0.1", 1), IPv6Address("TCP", "::1", 1)]
MAPPED = IPv6Address("TCP", "::ffff:127.0.0.1", 1)
OTHERS = [
    IPv4Address("TCP", "192.0.2.1", 1),
    IPv6Address("TCP", "2001:db8::1", 1),
    IPv6Address("TCP", "fe80::1%eth0", 1),
    IPv6Address("TCP", "::ffff:192.0.2.1", 1),
    UNIXAddress(b"/run/a"),
]


@pytest.mark.parametrize("local", [*LOOPBACK, MAPPED])
def test_a_loopback_address_serves_this_machine(local: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts.socket, "gethostname", lambda: "Box")
    hosts._isOurs.cache_clear()
    served = [
        "localhost",
        "LOCALHOST:8080",
        "a.localhost",
        "localhost.",
        "127.0.0.1:8080",
        "[::1]:1",
        "10.1.2.3",
        "box",
    ]
    for host in [*served, ""]:
        assert whyNotLocal(Request(host, local)) is None, host
    for host in (
        "example.com",
        "localhost.example.com",
        "notlocalhost",
        "box.example.com",
        "127.0.0.1.example.com",
        "evil.example, x.localhost",
        "x@a.localhost",
        "localhost:evil",
    ):
        why = whyNotLocal(Request(host, local))
        assert why is not None, host
        assert why.endswith(" with --allowed-host NAME")
    hosts._isOurs.cache_clear()


@pytest.mark.parametrize("field", ["x-forwarded-for", "x-forwarded-host", "forwarded"])
def test_behind_a_proxy_another_option_may_be_meant(field: str) -> None:
    why = whyNotLocal(Request("example.com", LOOPBACK[0], **{field: ""}))
    assert why is not None
    assert why.endswith(" with --allowed-host NAME, or, behind a proxy, with --trusted-proxy ADDRESS")
    page = PageHead(Page(b"/", b"example.com", **{field: b""}))
    assert whyNotLocal(page) == why
    assert whyNotLocal(PageHead(Page(b"/", b"localhost", **{field: b""}))) is None


@pytest.mark.parametrize("local", OTHERS)
def test_another_address_serves_any_name(local: Any) -> None:
    assert whyNotLocal(Request("example.com", local)) is None


@pytest.mark.parametrize(
    ("uri", "field", "host"),
    [
        (b"/", b"a:80", "a:80"),
        (b"/", None, ""),
        (b"http://b/", b"a", "b"),
        (b"http://b:81/x?y", None, "b:81"),
        (b"/\xff", b"\xe9", "\xe9"),
    ],
)
def test_the_host_of_a_page(uri: bytes, field: bytes | None, host: str) -> None:
    head = PageHead(Page(uri, field))
    assert head.host == host
    assert head.getHost() is LOOPBACK[0]


def test_a_page_through_a_proxy() -> None:
    fields = {"x-forwarded-for": b"192.0.2.1", "x-forwarded-host": b"b.example"}
    for trusted, client, host in (
        (None, "127.0.0.1", "a.example"),
        (ProxyPolicy(["127.0.0.1"]), "192.0.2.1", "b.example"),
        (ProxyPolicy(["10.0.0.1"]), "127.0.0.1", "a.example"),
    ):
        head = PageHead(Page(b"/", b"a.example", **fields), trusted)
        assert (head.client.host, head.host) == (client, host)
    head = PageHead(Page(b"/", b"a.example", **{"x-forwarded-for": b"2001:db8::1"}), ProxyPolicy(["127.0.0.1"]))
    assert (head.client, head.host) == (IPv6Address("TCP", "2001:db8::1", 0), "a.example")


def test_several_fields_of_a_page_are_one() -> None:
    page = Page(b"/", b"a")
    for value in (b"192.0.2.1", b"192.0.2.2"):
        page.requestHeaders.addRawHeader(b"X-Forwarded-For", value)
    assert PageHead(page).get("x-forwarded-for") == "192.0.2.1, 192.0.2.2"
