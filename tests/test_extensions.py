"""Sec-WebSocket-Extensions: its grammar, both ways, and its cost."""

import contextlib

import pytest
from growth import Measure, assertLinear, spent
from hypothesis import given
from hypothesis import strategies as st

from wsock.sansio import extensions
from wsock.sansio.errors import LocalProtocolError
from wsock.sansio.extensions import DeflateParameters, Extension


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # RFC 6455 section 9.1
        ("foo", [Extension("foo")]),
        ("foo, bar; baz=2", [Extension("foo"), Extension("bar", [("baz", "2")])]),
        (
            'bar; baz=2, foo, foo; baz="2"',
            [Extension("bar", [("baz", "2")]), Extension("foo"), Extension("foo", [("baz", "2")])],
        ),
        # RFC 7692 section 7.1
        (
            "permessage-deflate; client_max_window_bits; server_max_window_bits=10",
            [Extension("permessage-deflate", [("client_max_window_bits", None), ("server_max_window_bits", "10")])],
        ),
        ("a;b;c=d;b", [Extension("a", [("b", None), ("c", "d"), ("b", None)])]),
        (' \ta ; b = "c"\t; d= e ,f', [Extension("a", [("b", "c"), ("d", "e")]), Extension("f")]),
        (r'a; b="\c\d"', [Extension("a", [("b", "cd")])]),
        (", ,a,\t,", [Extension("a")]),
        ("", []),
        (" , ", []),
        ("constructor; __proto__, __class__; __init__=x", [
            Extension("constructor", [("__proto__", None)]),
            Extension("__class__", [("__init__", "x")]),
        ]),
        ("!#$%&'*+-.^_`|~09Az", [Extension("!#$%&'*+-.^_`|~09Az")]),
    ],
)  # fmt: skip
def test_decode(value: str, expected: list[Extension]) -> None:
    assert extensions.decode(value) == expected
    assert extensions.decode(extensions.encode(expected)) == expected


@pytest.mark.parametrize(
    "value",
    [
        'a; b="c',
        'a; b="',
        'a; b=""',
        'a; b="c d"',
        'a; b="c,d"',
        r'a; b="c\"d"',
        r'a; b="c\"',
        r'a; b="\\"',
        'a; b="c"d',
        'a; "b"',
        '"a"',
        "a;",
        "a; ;b",
        "a; b=",
        "a; b==c",
        "a; =c",
        "a=b",
        "a b",
        "a; b c",
        ";a",
        "=",
        "a\x00",
        "\u00e9",
        "a, /",
    ],
)
def test_malformed(value: str) -> None:
    with pytest.raises(ValueError, match="Sec-WebSocket-Extensions"):
        extensions.decode(value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], ""),
        ([Extension("foo")], "foo"),
        ([Extension("foo", [("a", None), ("b", "1")]), Extension("bar")], "foo; a; b=1, bar"),
    ],
)
def test_encode(values: list[Extension], expected: str) -> None:
    assert extensions.encode(values) == expected


@pytest.mark.parametrize(
    "value",
    [
        Extension("a b"),
        Extension(""),
        Extension("a\r\nX: y"),
        Extension("a", [("b;c", None)]),
        Extension("a", [("b", "c d")]),
        Extension("a", [("b", "")]),
        Extension("a", [("b", "\u00e9")]),
    ],
)
def test_encode_refuses(value: Extension) -> None:
    with pytest.raises(LocalProtocolError):
        extensions.encode([value])


def test_extension_is_a_value() -> None:
    extension = Extension("a", [("b", None)])
    assert extension == Extension("a", (("b", None),))
    assert hash(extension) == hash(Extension("a", (("b", None),)))
    assert extension not in (Extension("a"), Extension("c", [("b", None)]), "a; b")
    assert repr(extension) == "Extension('a', (('b', None),))"


@pytest.mark.parametrize(
    "offers",
    [
        [],
        [Extension("permessage-deflate", [("client_max_window_bits", None)])],
        [Extension("permessage-deflate", [("server_max_window_bits", "99")])],
        [Extension("permessage-deflate", [("server_no_context_takeover", None)] * 2)],
        [Extension("__class__"), Extension("constructor")],
    ],
)
def test_each_offer_is_declined(offers: list[Extension]) -> None:
    """H18 and H20 among them."""
    assert extensions.answer(offers) == []


@pytest.mark.parametrize("bits", ["8", "12", "15"])
def test_the_window_that_a_client_offers_is_a_hint(bits: str) -> None:
    """The cases 13.4 and 13.6 of the Autobahn TestSuite answer 12 with 15."""
    offer = DeflateParameters(client_max_window_bits=12).offer()
    answer = Extension("permessage-deflate", [("server_no_context_takeover", None), ("client_max_window_bits", bits)])
    extensions.check_answer(answer, [offer])


@given(st.one_of(st.text(), st.text(' \t;,="\\ab\x00', max_size=40)))
def test_any_text(value: str) -> None:
    try:
        decoded = extensions.decode(value)
    except ValueError:
        return
    assert extensions.decode(extensions.encode(decoded)) == decoded


def cost(value: str) -> Measure:
    def decode() -> None:
        with contextlib.suppress(ValueError):
            extensions.decode(value)

    return lambda: spent(decode)


@pytest.mark.parametrize("extension", ["foo", None, ("foo", ()), Extension("foo", [("a", 5)]), Extension("foo", "a")])
def test_what_is_no_extension(extension: object) -> None:
    with pytest.raises(LocalProtocolError):
        extensions.encode([extension])


@pytest.mark.growth
@pytest.mark.parametrize(
    ("before", "unit", "after"),
    [
        pytest.param('a; b="', r"\a", "", id="CVE-2020-7662"),
        pytest.param('a; b="', r"\a", '"', id="a quoted token"),
        pytest.param("a", " ", "b", id="H33 spaces before an error"),
        pytest.param("a; b", " ", "c", id="spaces after a parameter"),
        pytest.param("a; b=", " ", "", id="spaces for a value"),
        pytest.param("a; b=", "\t ", '"', id="spaces before a quote"),
        pytest.param("", ",", "", id="empty elements"),
        pytest.param("a", "; b=c", "", id="parameters"),
        pytest.param("", "a, ", "", id="extensions"),
    ],
)
def test_time_is_linear(before: str, unit: str, after: str) -> None:
    assertLinear(*(cost(before + unit * count + after) for count in (1750, 28_000)))
