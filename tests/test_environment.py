"""The environment's proxy for a server: the variables in their order, and the exceptions to them."""

import pytest

from wsock.client.environment import findProxy, isException
from wsock.sansio.url import URL, parse

WS, WSS = parse("ws://example.com/"), parse("wss://example.com/")


@pytest.mark.parametrize(
    ("url", "order"),
    [
        (WS, ["ws_proxy", "WS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY"]),
        (WSS, ["wss_proxy", "WSS_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
    ],
)
def test_the_order(url: URL, order: list[str]) -> None:
    """The first that is there, and is not empty."""
    environment = {name: f"http://{name}" for name in reversed(order)}
    for name in order:
        assert findProxy(url, environment) == (name, f"http://{name}")
        environment[name] = ""
    assert findProxy(url, environment) is None


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "wss_proxy", "Http_Proxy"])
def test_variables_that_are_not_for_ws(name: str) -> None:
    """HTTP_PROXY may be any client's, in a CGI program."""
    assert findProxy(WS, {name: "http://a"}) is None


@pytest.mark.parametrize("name", ["http_proxy", "ws_proxy", "HTTP_PROXY"])
def test_variables_that_are_not_for_wss(name: str) -> None:
    assert findProxy(WSS, {name: "http://a"}) is None


def test_the_variables_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("wss_proxy", "http://a")
    monkeypatch.setenv("no_proxy", "b")
    assert findProxy(WSS) == ("wss_proxy", "http://a")


def test_exceptions() -> None:
    environment = {"all_proxy": "http://a", "NO_PROXY": "example.com"}
    assert findProxy(WSS, environment) is None
    environment["no_proxy"] = ""
    assert findProxy(WSS, environment) is None
    # As with curl, the second counts only without the first.
    environment["no_proxy"] = "example.org"
    assert findProxy(WSS, environment) == ("all_proxy", "http://a")


@pytest.mark.parametrize(
    ("host", "exceptions"),
    [
        ("example.com", "*"),
        ("example.com", "localhost, *"),
        ("127.0.0.1", "*"),
        ("example.com", "example.com"),
        ("example.com", "EXAMPLE.com"),
        ("example.com", ".example.com"),
        ("example.com", "*.example.com"),
        ("example.com", "com"),
        ("a.example.com", "example.com"),
        ("a.b.example.com", "example.com"),
        ("a.example.com", ".example.com"),
        ("a.example.com", "*.example.com"),
        ("example.com.", "example.com"),
        ("example.com", "example.com."),
        ("example.com", "localhost,example.com"),
        ("example.com", " localhost\texample.com , "),
        ("example.com", "example.com:8080"),
        ("example.com", ".com:8080"),
        ("example.com", "example.com:"),
        ("my_service", "my_service"),
        ("xn--bcher-kva.example", "b\u00fccher.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1:8080"),
        ("127.0.0.1", "127.0.0.0/8"),
        ("127.0.0.1", "127.0.0.7/8"),
        ("127.0.0.1", "0.0.0.0/0"),
        ("[::1]", "::1"),
        ("[::1]", "[::1]"),
        ("[::1]", "[::1]:8080"),
        ("[::1]", "0:0::1"),
        ("[2001:db8::1]", "2001:db8::/32"),
        ("[2001:db8::1]", "[2001:db8::]/32"),
    ],
)
def test_servers_that_are_excepted(host: str, exceptions: str) -> None:
    assert isException(parse(f"ws://{host}:8080/"), exceptions)


@pytest.mark.parametrize(
    ("host", "exceptions"),
    [
        ("example.com", ""),
        ("example.com", " , "),
        ("example.com", "a.example.com"),
        ("example.com", "ample.com"),
        ("badexample.com", "example.com"),
        ("badexample.com", ".example.com"),
        ("example.com.evil", "example.com"),
        ("example.com", "example.com:80"),
        ("example.com", "example.com:0"),
        ("example.com", "example.com:8080x"),
        ("example.com", "example*"),
        ("example.com", "**"),
        ("example.com", "."),
        ("example.com", "http://example.com:8080"),
        ("http", "http://example.com"),
        ("example.com", "example.com/8"),
        ("example.com", "10.0.0.0/8"),
        ("example.com", "::/0"),
        # No name is looked up.
        ("localhost", "127.0.0.1"),
        ("127.0.0.1", "localhost"),
        ("127.0.0.1", "127.0.0.1:80"),
        ("127.0.0.1", "127.0.0.2"),
        ("127.0.0.1", "127.0.0"),
        ("127.0.0.1", "0.1"),
        ("127.0.0.1", ".0.1"),
        ("127.0.0.1", "128.0.0.0/8"),
        ("127.0.0.1", "127.0.0.0/33"),
        ("127.0.0.1", "127.0.0.0/x"),
        ("127.0.0.1", "::/0"),
        ("[::1]", "0.0.0.0/0"),
        ("[::1]", "[::1]:80"),
        ("[::1]", "[::1]x"),
        ("[::1]", "::2"),
    ],
)
def test_servers_that_are_not_excepted(host: str, exceptions: str) -> None:
    assert not isException(parse(f"ws://{host}:8080/"), exceptions)


def test_the_port_of_the_scheme() -> None:
    assert isException(parse("wss://example.com/"), "example.com:443")
    assert isException(parse("ws://127.0.0.1/"), "127.0.0.1:80")
    assert not isException(parse("wss://example.com/"), "example.com:80")
