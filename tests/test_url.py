"""URLs: what is read, what is refused, and that no text raises anything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsock.sansio.errors import InvalidURL
from wsock.sansio.url import URL, parse


@pytest.mark.parametrize(
    ("text", "secure", "host", "port", "resource"),
    [
        ("ws://example.com", False, "example.com", 80, "/"),
        ("wss://example.com/", True, "example.com", 443, "/"),
        ("WsS://EXAMPLE.com:8443/Chat?Room=1", True, "example.com", 8443, "/Chat?Room=1"),
        ("ws://a.example?b=/c?d@e:f", False, "a.example", 80, "/?b=/c?d@e:f"),
        ("ws://a.example/b?", False, "a.example", 80, "/b"),
        ("ws://a.example:/b", False, "a.example", 80, "/b"),
        ("ws://a.example:00443", False, "a.example", 443, "/"),
        ("ws://a.example:65535", False, "a.example", 65535, "/"),
        ("ws://a.example:1", False, "a.example", 1, "/"),
        ("ws://a.example./b", False, "a.example.", 80, "/b"),
        ("ws://my_host-1", False, "my_host-1", 80, "/"),
        ("ws://127.0.0.1:9000/b", False, "127.0.0.1", 9000, "/b"),
        ("ws://[::1]:9000/b", False, "::1", 9000, "/b"),
        ("ws://[2001:DB8:0::1]", False, "2001:db8::1", 80, "/"),
        ("ws://b\u00fccher.example/\u20ac?q=\u00e9", False, "xn--bcher-kva.example", 80, "/%E2%82%AC?q=%C3%A9"),
        ("ws://B\u00dcCHER\u3002example", False, "xn--bcher-kva.example", 80, "/"),
        ("ws://a.example/%7e/b;c=d,e!$&'()*+:@-._~", False, "a.example", 80, "/%7e/b;c=d,e!$&'()*+:@-._~"),
        ("ws://a.example//b@c", False, "a.example", 80, "//b@c"),
        ("ws://" + "a." * 126 + "a", False, "a." * 126 + "a", 80, "/"),
        ("ws://" + "a" * 63, False, "a" * 63, 80, "/"),
        ("ws://" + "a." * 127, False, "a." * 127, 80, "/"),
        ("ws://a\u3002" + "a." * 126, False, "a." * 127, 80, "/"),
    ],
)
def test_parse(text: str, secure: bool, host: str, port: int, resource: str) -> None:
    url = parse(text)
    assert (url.secure, url.host, url.port, url.resource) == (secure, host, port, resource)
    assert url == URL(secure, host, port, resource)
    assert hash(url) == hash(URL(secure, host, port, resource))
    assert hash(url) != hash(URL(secure, host, port, resource + "1"))
    assert parse(str(url)) == url


@pytest.mark.parametrize(
    ("text", "header", "normal"),
    [
        ("ws://a.example", "a.example", "ws://a.example/"),
        ("ws://a.example:80/b", "a.example", "ws://a.example/b"),
        ("ws://a.example:443/b", "a.example:443", "ws://a.example:443/b"),
        ("wss://a.example:443/b?c", "a.example", "wss://a.example/b?c"),
        ("wss://a.example:80", "a.example:80", "wss://a.example:80/"),
        ("ws://[::1]", "[::1]", "ws://[::1]/"),
        ("ws://[::1]:8080", "[::1]:8080", "ws://[::1]:8080/"),
    ],
)
def test_host_header(text: str, header: str, normal: str) -> None:
    url = parse(text)
    assert (url.host_header, str(url), url.scheme) == (header, normal, normal.partition(":")[0])


def test_equality() -> None:
    url = parse("ws://a.example:80")
    assert url == parse("WS://A.example/")
    assert url not in (parse("wss://a.example:80"), parse("ws://b.example"), parse("ws://a.example:81"))
    assert url not in (parse("ws://a.example/b"), "ws://a.example/")


def test_repr_has_no_query() -> None:
    assert repr(parse("wss://a.example/secret?token=1")) == "<URL wss://a.example>"


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        (b"ws://a.example", "a str, not bytes"),
        (None, "a str"),
        ("", "begin with ws:// or wss://"),
        ("ws", "begin with"),
        ("a.example", "begin with"),
        ("ws://" + "a." * 127 + "a", "bad host name"),
        ("ws:a.example", "begin with"),
        ("ws:/a.example", "begin with"),
        ("//a.example", "begin with"),
        ("http://a.example", "begin with"),
        ("https://a.example", "begin with"),
        ("w\u017f://a.example", "begin with"),
        ("ws://a.example/#", "%23"),
        ("ws://a.example#b", "%23"),
        ("ws://a.example/b?c#d", "%23"),
        ("ws://user:secret@a.example", "Authorization header"),
        ("ws://@a.example", "Authorization header"),
        ("ws://", "no host"),
        ("ws:///b", "no host"),
        ("ws://?b", "no host"),
        ("ws://:80", "no host"),
        *((f"ws://a.example:{port}/", "from 1 to 65535") for port in ("0", "00", "65536", "099999", "+5", "-1", "8_0")),
        *((f"ws://a.example:{port}/", "from 1 to 65535") for port in ("0x50", "\u0661", "\uff18", "80a", "9" * 5000)),
        ("ws://[::1]:0", "from 1 to 65535"),
        ("ws://::1", "brackets"),
        ("ws://a:80:80", "brackets"),
        ("ws://[::1", "[address]:port"),
        ("ws://[::1]8", "[address]:port"),
        ("ws://[]", "IPv6"),
        ("ws://[1.2.3.4]", "IPv6"),
        ("ws://[::g]", "IPv6"),
        ("ws://[v1.a]", "IPv6"),
        ("ws://[fe80::1%25eth0]", "zone"),
        *((f"ws://a.example/{character}", "percent-encode") for character in "\x00\t\r\n \x1f\x7f\x85\\\udc80"),
        ("ws://a.example/b\r\nX: y", "percent-encode"),
        (" ws://a.example", "percent-encode"),
        ("ws://a.example\n", "percent-encode"),
        ("ws://a.ex\\ample", "percent-encode"),
        *((f"ws://a.example/{character}", "must be percent-encoded") for character in '"<>[]^`{|}'),
        *((f"ws://a.example/?{text}", "must be percent-encoded") for text in ("%", "%4", "%g0", "%%41", "|")),
        ("ws://a..example", "bad host name"),
        ("ws://.", "bad host name"),
        ("ws://a%41.example", "bad host name"),
        ("ws://a,b", "bad host name"),
        ("ws://" + "a" * 64, "bad host name"),
        ("ws://" + "a." * 128, "bad host name"),
        ("ws://" + "\u00e9" * 100_000, "bad host name"),
        ("ws://" + "\u00e9" * 64, "international"),
        ("ws://\u00e9..example", "international"),
        ("ws://\u2100.example", "bad host name"),
        ("ws://fa\u00df.example", "xn--"),
        ("ws://a\u200db.example", "xn--"),
        ("ws://127.1", "four decimal numbers"),
        ("ws://0x7f.1", "four decimal numbers"),
        ("ws://2130706433", "four decimal numbers"),
        ("ws://256.1.1.1", "four decimal numbers"),
        ("ws://127.0.0.0x1", "four decimal numbers"),
        ("ws://1.2.3.4.", "four decimal numbers"),
    ],
)
def test_refused(text: object, advice: str) -> None:
    with pytest.raises(InvalidURL) as caught:
        parse(text)
    assert advice in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert "secret" not in str(caught.value)


URLS = st.tuples(
    st.sampled_from(["ws://", "wss://", ""]),
    st.one_of(st.text(max_size=30), st.text("aZ09.-:[]@%/?#\u00e9\u3002xn", max_size=30)),
).map("".join)


@given(URLS)
def test_any_text(text: str) -> None:
    """A URL that can go into a request as it stands, or InvalidURL."""
    try:
        url = parse(text)
    except InvalidURL:
        return
    assert parse(str(url)) == url
    assert str(url).isascii()
    assert not any(character <= " " or character in "\\\x7f#" for character in str(url))
    assert url.resource.startswith("/")
    assert 1 <= url.port <= 65535
    assert url.host == url.host.lower() != ""
