"""The URL of a proxy, with its user and password, which nothing repeats."""

import ssl
from typing import Any

import pytest

from wsock import LocalProtocolError, Proxy
from wsock.client.proxy import asProxy, proxyFor
from wsock.sansio.url import parse


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port"),
    [
        ("http://proxy.example:3128", "http", "proxy.example", 3128),
        ("HTTP://Proxy.Example:3128/", "http", "proxy.example", 3128),
        ("http://proxy.example", "http", "proxy.example", 80),
        ("http://proxy.example:", "http", "proxy.example", 80),
        ("https://proxy.example", "https", "proxy.example", 443),
        ("https://[2001:DB8::1]:80", "https", "2001:db8::1", 80),
        ("https://[::1]", "https", "::1", 443),
        ("socks5://127.0.0.1", "socks5", "127.0.0.1", 1080),
        ("socks5h://localhost:9050", "socks5", "localhost", 9050),
        ("http://b\u00fccher.example:1", "http", "xn--bcher-kva.example", 1),
    ],
)
def test_urls(url: str, scheme: str, host: str, port: int) -> None:
    proxy = Proxy(url)
    assert (proxy.scheme, proxy.host, proxy.port) == (scheme, host, port)
    assert proxy.auth is None
    assert proxy.tls is None


@pytest.mark.parametrize(
    ("userinfo", "auth"),
    [
        ("user:secret", ("user", "secret")),
        ("user", ("user", "")),
        ("user:", ("user", "")),
        ("us%65r:a%3Ab%40c%2F", ("user", "a:b@c/")),
        ("a:b:c", ("a", "b:c")),
        ("a:b@c", ("a", "b@c")),
        ("%C3%BC:\u20ac", ("\u00fc", "\u20ac")),
        (":secret", ("", "secret")),
    ],
)
def test_users(userinfo: str, auth: tuple[str, str]) -> None:
    assert Proxy(f"http://{userinfo}@proxy.example:3128").auth == auth


def test_a_user_that_is_given_by_itself() -> None:
    assert Proxy("socks5://localhost", auth=("us:er", "pass%40word")).auth == ("us:er", "pass%40word")


def test_a_context() -> None:
    context = ssl.create_default_context()
    assert Proxy("https://localhost", tls=context).tls is context


@pytest.mark.parametrize(
    "proxy",
    [Proxy("http://user:secret@proxy.example:3128"), Proxy("http://proxy.example:3128", auth=("user", "secret"))],
)
def test_user_and_password_are_not_shown(proxy: Proxy) -> None:
    assert str(proxy) == "http://proxy.example:3128"
    assert repr(proxy) == "<Proxy http://proxy.example:3128>"


def test_an_ipv6_address_is_shown_in_brackets() -> None:
    assert str(Proxy("socks5h://[::1]")) == "socks5://[::1]:1080"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (None, "proxy is a URL, a Proxy, or None, not None: write 'http://host:port'"),
        (b"http://secret", "proxy is a URL, a Proxy, or None, not bytes"),
        (
            "secret:3128",
            "not the URL of a proxy: write 'http://host:port', 'https://host:port' or 'socks5://host:port'",
        ),
        ("secret", "or 'environment' for the proxy of the environment"),
        ("socks4://secret", "not the URL of a proxy"),
        ("socks://secret", "not the URL of a proxy"),
        ("ws://secret", "not the URL of a proxy"),
        ("http:secret", "not the URL of a proxy"),
        ("http://", "no host in the URL"),
        ("http://secret:0", "bad port in the URL"),
        ("http://secret:65536", "bad port in the URL"),
        ("http://secret:a", "bad port in the URL"),
        ("http://127.1:80", "bad IPv4 address in the URL"),
        ("http://::1:80", "an IPv6 address stands in brackets"),
        ("http://[secret]:80", "bad IPv6 address"),
        ("http://[fe80::1%25secret]:80", "zone"),
        ("http://sec ret:80", "control character, space or backslash"),
        ("http://proxy.example:80/secret", "its URL ends behind the port"),
        ("http://proxy.example?secret", "its URL ends behind the port"),
        ("http://proxy.example#secret", "its URL ends behind the port"),
        ("http://user:a@secret/b@c/d", "percent-encode '/', '?', '#' and '@'"),
        ("http://user:%FFsecret@proxy.example", "percent-encoded UTF-8"),
        ("http://us%3Aer:secret@proxy.example", "can't have a ':'"),
        ("http://secret\ud800:a@proxy.example", "no UTF-8"),
        ("socks5://secret\ud800:a@proxy.example", "no UTF-8"),
        ("socks5://:secret@proxy.example", "a user of 1 to 255 bytes"),
        (f"socks5://{'secret' * 50}:a@proxy.example", "a user of 1 to 255 bytes"),
    ],
)
def test_urls_that_are_refused(url: Any, told: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        Proxy(url)
    assert str(caught.value).startswith("proxy") or "SOCKS5 takes" in str(caught.value)
    assert told in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "arguments", "told"),
    [
        ("http://a:b@localhost", {"auth": ("a", "b")}, "in its URL or as auth, not both"),
        ("http://localhost", {"auth": "ab"}, r"auth is a pair of str: \(user, password\)"),
        ("http://localhost", {"auth": ("a", "b", "c")}, "auth is a pair of str"),
        ("http://localhost", {"auth": ("a", b"b")}, "auth is a pair of str"),
        ("https://localhost", {"auth": ("a:b", "c")}, "can't have a ':'"),
        ("socks5://localhost", {"auth": ("", "c")}, "1 to 255 bytes"),
        ("http://localhost", {"tls": ssl.create_default_context()}, "tls is for an https:// proxy"),
        ("socks5://localhost", {"tls": ssl.create_default_context()}, "tls is for an https:// proxy"),
    ],
)
def test_arguments_that_are_refused(url: str, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(LocalProtocolError, match=told):
        Proxy(url, **arguments)


def test_the_argument_of_a_client() -> None:
    proxy = Proxy("socks5://localhost")
    assert asProxy(proxy) is proxy
    assert asProxy("environment") == "environment"
    made = asProxy("http://localhost:3128")
    assert isinstance(made, Proxy)
    assert str(made) == "http://localhost:3128"
    with pytest.raises(LocalProtocolError, match="not the URL of a proxy"):
        asProxy("Environment")
    with pytest.raises(LocalProtocolError, match="proxy is a URL, a Proxy, or None, not bool"):
        asProxy(True)  # type: ignore[arg-type]


def test_the_proxy_for_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("wss_proxy", "WSS_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://a:b@proxy.example:1")
    proxy = Proxy("socks5://localhost")
    url = parse("wss://example.com/")
    assert proxyFor(proxy, url) is proxy
    found = proxyFor("environment", url)
    assert found is not None
    assert str(found) == "http://proxy.example:1"
    assert found.auth == ("a", "b")
    monkeypatch.setenv("https_proxy", "Proxy.example:3128")
    assert str(proxyFor("environment", url)) == "http://proxy.example:3128"
    monkeypatch.setenv("no_proxy", "example.com")
    assert proxyFor("environment", url) is None


def test_an_environment_that_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("wss_proxy", "socks4://secret:1")
    monkeypatch.setenv("no_proxy", "localhost")
    with pytest.raises(LocalProtocolError, match="^wss_proxy of the environment: proxy: not the URL") as caught:
        proxyFor("environment", parse("wss://example.com/"))
    assert "secret" not in str(caught.value)
