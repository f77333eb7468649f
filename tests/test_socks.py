"""SOCKS5 of a client, without I/O: the bytes of RFC 1928 and RFC 1929, in pieces of any size."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsock import LocalProtocolError, ProxyError
from wsock.client.socks import SOCKSHandshake, encodeAuth

AUTH = ("user", "secret")
#: The request for example.com:443, and a proxy's two answers; the last is by the address 0.0.0.0:0.
REQUEST = b"\x05\x01\x00\x03\x0bexample.com\x01\xbb"
NO_AUTH = b"\x05\x00"
OPEN = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
#: User and password, as they are sent; the answer that wants them, and the one that accepts them.
CREDENTIALS = b"\x01\x04user\x06secret"
USER_PASSWORD = b"\x05\x02"
ACCEPTED = b"\x01\x00"


def handshake(host: str = "example.com", port: int = 443, auth: tuple[str, str] | None = None) -> SOCKSHandshake:
    return SOCKSHandshake(host, port, auth, "the proxy")


def feed(one: SOCKSHandshake, *pieces: bytes) -> bytes:
    """Feeds pieces, up to the last that is wanted; returns the bytes that it sends."""
    sent = b""
    for place, piece in enumerate(pieces):
        sent += one.receive(piece)
        if one.isOpen:
            one.unread += b"".join(pieces[place + 1 :])
            break
    return sent


def refusal(*pieces: bytes, auth: tuple[str, str] | None = None) -> ProxyError:
    one = handshake(auth=auth)
    one.begin()
    with pytest.raises(ProxyError) as caught:
        feed(one, *pieces)
    assert not one.isOpen
    assert caught.value.response is None
    return caught.value


def test_without_a_user() -> None:
    one = handshake()
    assert one.begin() == b"\x05\x01\x00"
    assert one.receive(NO_AUTH) == REQUEST
    assert not one.isOpen
    assert one.receive(OPEN) == b""
    assert one.isOpen
    assert one.unread == b""


def test_with_a_user() -> None:
    one = handshake(auth=AUTH)
    assert one.begin() == b"\x05\x02\x00\x02"
    assert one.receive(USER_PASSWORD) == CREDENTIALS
    assert one.receive(ACCEPTED) == REQUEST
    assert one.receive(OPEN) == b""
    assert one.isOpen


def test_a_proxy_that_does_not_ask_for_the_user() -> None:
    one = handshake(auth=AUTH)
    assert one.begin() == b"\x05\x02\x00\x02"
    assert one.receive(NO_AUTH) == REQUEST


def test_an_old_mistake_about_the_version() -> None:
    """The version of SOCKS stands where RFC 1929 has its own."""
    one = handshake(auth=AUTH)
    assert feed(one, USER_PASSWORD, b"\x05\x00") == CREDENTIALS + REQUEST


@pytest.mark.parametrize(
    ("host", "encoded"),
    [
        ("127.0.0.1", b"\x01\x7f\x00\x00\x01"),
        ("2001:db8::1", bytes.fromhex("0420010db8000000000000000000000001")),
        ("a", b"\x03\x01a"),
        ("xn--bcher-kva.example.", b"\x03\x16xn--bcher-kva.example."),
        ("a" * 255, b"\x03\xff" + b"a" * 255),
    ],
)
def test_hosts(host: str, encoded: bytes) -> None:
    one = handshake(host, 8080)
    one.begin()
    assert one.receive(NO_AUTH) == b"\x05\x01\x00" + encoded + b"\x1f\x90"


@pytest.mark.parametrize("host", ["", "a" * 256])
def test_hosts_that_can_not_be_sent(host: str) -> None:
    with pytest.raises(LocalProtocolError, match="1 to 255 bytes"):
        handshake(host)


@pytest.mark.parametrize(
    ("auth", "encoded"),
    [
        (("a", ""), b"\x01\x01a\x00"),
        (("\u00fc", "\u20ac"), b"\x01\x02\xc3\xbc\x03\xe2\x82\xac"),
        (("u" * 255, "p" * 255), b"\x01\xff" + b"u" * 255 + b"\xff" + b"p" * 255),
    ],
)
def test_users(auth: tuple[str, str], encoded: bytes) -> None:
    assert encodeAuth(auth) == encoded


@pytest.mark.parametrize("auth", [("", "p"), ("u" * 256, "p"), ("\u00fc" * 128, "p"), ("u", "p" * 256)])
def test_users_that_can_not_be_sent(auth: tuple[str, str]) -> None:
    with pytest.raises(LocalProtocolError, match=r"^SOCKS5 takes a user of 1 to 255 bytes, and a password of at most"):
        encodeAuth(auth)


@pytest.mark.parametrize(
    "bound",
    [
        b"\x01\x0a\x00\x00\x01\x04\x38",
        b"\x04" + bytes(16) + b"\x04\x38",
        b"\x03\x09localhost\x04\x38",
        b"\x03\x00\x00\x00",
        b"\x03\xff" + b"a" * 255 + b"\x00\x00",
    ],
)
def test_addresses_that_the_proxy_connects_from(bound: bytes) -> None:
    one = handshake()
    feed(one, NO_AUTH, b"\x05\x00\x00" + bound + b"\x16\x03")
    assert one.isOpen
    assert one.unread == b"\x16\x03"


REPLIES = {
    1: "it failed, and does not say why",
    2: "its rules do not allow this connection",
    3: "it can't reach the server's network",
    4: "it can't reach the server, or does not know its name",
    5: "the server refused the connection",
    6: "the server is too far away (TTL expired)",
    7: "it does not connect to servers (command not supported)",
    8: "it does not know this kind of address",
    9: "it failed, for a reason of its own",
    255: "it failed, for a reason of its own",
}


@pytest.mark.parametrize("reply", REPLIES)
def test_refusals(reply: int) -> None:
    error = refusal(NO_AUTH, bytes((5, reply)))
    assert str(error) == f"the proxy did not connect us: {REPLIES[reply]} (reply {reply})"
    assert error.reply == reply


@pytest.mark.parametrize(
    ("pieces", "auth", "text"),
    [
        (
            [b"\x05\xff"],
            None,
            "the proxy asks for a way to identify ourselves that we do not offer: give user and password",
        ),
        (
            [b"\x05\xff"],
            AUTH,
            "the proxy asks for a way to identify ourselves that we do not offer, beside none and user and password",
        ),
        (
            [USER_PASSWORD],
            None,
            "the proxy chose a way to identify ourselves that was not offered (method 2)",
        ),
        ([b"\x05\x01"], AUTH, "the proxy chose a way to identify ourselves that was not offered (method 1)"),
        ([USER_PASSWORD, b"\x01\x01"], AUTH, "the proxy does not accept the user and the password"),
        ([USER_PASSWORD, b"\x01\xff"], AUTH, "the proxy does not accept the user and the password"),
        ([USER_PASSWORD, b"\x00"], AUTH, "the proxy answered user and password with something else than SOCKS5"),
        ([b"\x04"], None, "the proxy does not speak SOCKS5"),
        ([b"\x00\x5b"], None, "the proxy does not speak SOCKS5"),
        ([b"HTTP/1.1 400 "], None, "the proxy does not speak SOCKS5: if it is an HTTP proxy, write http:// in its URL"),
        ([NO_AUTH, b"\x04"], None, "the proxy does not speak SOCKS5"),
        ([NO_AUTH + b"\x01"], None, "the proxy does not speak SOCKS5"),
        ([NO_AUTH, b"\x05\x00\x00\x02\x00"], None, "the proxy answered with an address of an unknown kind (2)"),
        ([NO_AUTH, b"\x05\x00\x00\x00\x00"], None, "the proxy answered with an address of an unknown kind (0)"),
    ],
)
def test_faults(pieces: list[bytes], auth: tuple[str, str] | None, text: str) -> None:
    error = refusal(*pieces, auth=auth)
    assert str(error) == text
    assert error.reply is None
    # The same, byte for byte.
    assert str(refusal(*(bytes((one,)) for one in b"".join(pieces)), auth=auth)) == text


def test_errors_repeat_no_user_and_no_password() -> None:
    for pieces in ([USER_PASSWORD, b"\x01\x01"], [b"\x05\xff"], [USER_PASSWORD, ACCEPTED, b"\x05\x02"]):
        told = repr(refusal(*pieces, auth=AUTH))
        assert 'user"' not in told
        assert "secret" not in told


def test_a_proxy_that_sends_nothing_more() -> None:
    error = handshake().makeError(None)
    assert str(error) == "the proxy ended the connection before it connected us to the server"
    assert str(handshake().makeError("did not answer in time")) == "the proxy did not answer in time"


@given(
    withUser=st.booleans(),
    bound=st.one_of(
        st.binary(min_size=4, max_size=4).map(b"\x01".__add__),
        st.binary(min_size=16, max_size=16).map(b"\x04".__add__),
        st.binary(max_size=255).map(lambda name: b"\x03" + bytes((len(name),)) + name),
    ),
    rest=st.binary(max_size=300),
    cuts=st.lists(st.integers(0, 600)),
)
def test_any_split(withUser: bool, bound: bytes, rest: bytes, cuts: list[int]) -> None:
    """All that comes behind the last answer is the server's, however it comes."""
    answers = (USER_PASSWORD + ACCEPTED if withUser else NO_AUTH) + b"\x05\x00\x00" + bound + b"\x04\x38" + rest
    one = handshake(auth=AUTH if withUser else None)
    one.begin()
    places = [0, *sorted(min(cut, len(answers)) for cut in cuts), len(answers)]
    sent = feed(one, *(answers[begin:end] for begin, end in pairwise(places)))
    assert one.isOpen
    assert sent == (CREDENTIALS if withUser else b"") + REQUEST
    assert one.unread == rest


@given(answers=st.binary(max_size=40), cuts=st.lists(st.integers(0, 40)), withUser=st.booleans())
def test_the_same_verdict_for_any_split(answers: bytes, cuts: list[int], withUser: bool) -> None:
    def outcome(pieces: list[bytes]) -> tuple[object, ...]:
        one = handshake(auth=AUTH if withUser else None)
        one.begin()
        try:
            feed(one, *pieces)
        except ProxyError as error:
            return str(error), error.reply
        return one.isOpen, one.unread

    places = [0, *sorted(min(cut, len(answers)) for cut in cuts), len(answers)]
    assert outcome([answers[begin:end] for begin, end in pairwise(places)]) == outcome([answers])
