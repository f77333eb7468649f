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
    assert hash(extension) != hash(Extension("a"))
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


@pytest.mark.parametrize(
    "extension",
    [
        "foo",
        None,
        ("foo", ()),
        Extension("foo", [("a", 5)]),
        Extension("foo", "a"),
        Extension("foo", ["ab"]),
        Extension("foo", [("a", "b", "c")]),
    ],
)
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


@pytest.mark.growth
@pytest.mark.parametrize(
    ("before", "unit"),
    [
        pytest.param("permessage-deflate", '; a="' + r"\a" * 10 + '"', id="parameters that are none"),
        pytest.param("", "permessage-deflate; server_max_window_bits=8, ", id="offers that are declined"),
        pytest.param("", "permessage-deflate; x, ", id="offers that are invalid"),
        pytest.param("permessage-deflate; server_max_window_bits=", "9", id="a long number"),
    ],
)
def test_time_of_an_answer_is_linear(before: str, unit: str) -> None:
    def answer(count: int) -> Measure:
        value = before + unit * count
        return lambda: spent(lambda: extensions.answer(extensions.decode(value), DeflateParameters()))

    assert extensions.answer(extensions.decode(before + unit * 2), DeflateParameters()) == []
    assertLinear(answer(500), answer(8000))


# permessage-deflate

#: The wishes of a server that has none, of one with ours, and of one that has a wish for each parameter.
FREE = DeflateParameters(False, False)
DEFAULT = DeflateParameters()
LIMITED = DeflateParameters(False, False, 12, 11)
#: One that takes over contexts, and leaves their size to what is sensible: 4 KiB.
OPEN = DeflateParameters(False, False, None, None)


@pytest.mark.parametrize(
    ("wishes", "offered", "answered"),
    [
        (FREE, "permessage-deflate", "permessage-deflate"),
        (FREE, "permessage-deflate; client_max_window_bits", "permessage-deflate"),
        (FREE, "permessage-deflate; client_max_window_bits=15", "permessage-deflate"),
        (FREE, "permessage-deflate; client_max_window_bits=14", "permessage-deflate; client_max_window_bits=14"),
        (FREE, "permessage-deflate; client_max_window_bits=8", "permessage-deflate; client_max_window_bits=8"),
        # RFC 7692 section 7.1.2.1: accepted by naming it, also the largest.
        (FREE, "permessage-deflate; server_max_window_bits=15", "permessage-deflate; server_max_window_bits=15"),
        (FREE, "permessage-deflate; server_max_window_bits=9", "permessage-deflate; server_max_window_bits=9"),
        # No encoder makes a window of 256 bytes.
        (FREE, "permessage-deflate; server_max_window_bits=8", ""),
        (FREE, "permessage-deflate; server_no_context_takeover", "permessage-deflate; server_no_context_takeover"),
        (FREE, "permessage-deflate; client_no_context_takeover", "permessage-deflate; client_no_context_takeover"),
        (
            FREE,
            "permessage-deflate; client_max_window_bits=10; server_max_window_bits=11; client_no_context_takeover; "
            "server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=11; "
            "client_max_window_bits=10",
        ),
        (FREE, 'permessage-deflate; server_max_window_bits="10"', "permessage-deflate; server_max_window_bits=10"),
        (FREE, r'permessage-deflate; server_max_window_bits="\1\0"', "permessage-deflate; server_max_window_bits=10"),
        (FREE, "permessage-deflate;server_max_window_bits = 10", "permessage-deflate; server_max_window_bits=10"),
        # RFC 7692 section 7.1.3: the first that can be agreed to; others are passed over.
        (
            FREE,
            "permessage-deflate; client_max_window_bits; server_max_window_bits=10, "
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; server_max_window_bits=10",
        ),
        (FREE, "permessage-deflate; server_max_window_bits=8, permessage-deflate", "permessage-deflate"),
        (FREE, "permessage-deflate; x, permessage-deflate; client_max_window_bits=16, permessage-deflate; "
         "server_no_context_takeover, permessage-deflate", "permessage-deflate; server_no_context_takeover"),
        (FREE, "x-webkit-deflate-frame, permessage-deflate; server_max_window_bits=10",
         "permessage-deflate; server_max_window_bits=10"),
        (FREE, "foo, bar; server_max_window_bits=10", ""),
        (FREE, "Permessage-Deflate, permessage-deflate2, permessage-bzip2", ""),
        (FREE, "", ""),
        (DEFAULT, "permessage-deflate",
         "permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
        (DEFAULT, "permessage-deflate; client_max_window_bits",
         "permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
        (DEFAULT, "permessage-deflate; client_no_context_takeover; client_max_window_bits=9; server_max_window_bits=9",
         "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9; "
         "client_max_window_bits=9"),
        # A client that can't be held to its window must not refer to earlier messages.
        (LIMITED, "permessage-deflate",
         "permessage-deflate; client_no_context_takeover; server_max_window_bits=12"),
        (LIMITED, "permessage-deflate; client_max_window_bits",
         "permessage-deflate; server_max_window_bits=12; client_max_window_bits=11"),
        (LIMITED, "permessage-deflate; client_max_window_bits=9; server_max_window_bits=10",
         "permessage-deflate; server_max_window_bits=10; client_max_window_bits=9"),
        (LIMITED, "permessage-deflate; client_max_window_bits=15; server_max_window_bits=15",
         "permessage-deflate; server_max_window_bits=12; client_max_window_bits=11"),
        (OPEN, "permessage-deflate", "permessage-deflate; client_no_context_takeover; server_max_window_bits=12"),
        (OPEN, "permessage-deflate; client_max_window_bits",
         "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"),
        (OPEN, "permessage-deflate; client_max_window_bits=10; server_max_window_bits=11",
         "permessage-deflate; server_max_window_bits=11; client_max_window_bits=10"),
        # Messages that stand alone may use all of the window.
        (OPEN, "permessage-deflate; server_no_context_takeover; client_max_window_bits",
         "permessage-deflate; server_no_context_takeover; client_max_window_bits=12"),
        (OPEN, "permessage-deflate; client_no_context_takeover; client_max_window_bits",
         "permessage-deflate; client_no_context_takeover; server_max_window_bits=12"),
        (DeflateParameters(True, True, None, None), "permessage-deflate; client_max_window_bits",
         "permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
        (DeflateParameters(True, False), "permessage-deflate", "permessage-deflate; server_no_context_takeover"),
        (DeflateParameters(False, True), "permessage-deflate", "permessage-deflate; client_no_context_takeover"),
        (DeflateParameters(False, False, 14), "permessage-deflate", "permessage-deflate; server_max_window_bits=14"),
    ],
)  # fmt: skip
def test_a_server_answers(wishes: DeflateParameters, offered: str, answered: str) -> None:
    offers = extensions.decode(offered)
    agreed = extensions.answer(offers, wishes)
    assert extensions.encode(agreed) == answered
    assert extensions.answer(offers) == []
    for extension in agreed:
        extensions.check_answer(extension, offers)


#: Parameters that are none (RFC 7692 sections 7.1.1 and 7.1.2), in an offer or an answer.
INVALID = [
    "server_max_window_bits=99",
    "server_max_window_bits=7",
    "server_max_window_bits=16",
    "server_max_window_bits=0",
    "server_max_window_bits=-9",
    "server_max_window_bits=+9",
    "server_max_window_bits=09",
    "server_max_window_bits=9.0",
    "server_max_window_bits=1e1",
    "server_max_window_bits=x",
    f"server_max_window_bits={'9' * 5000}",
    "server_max_window_bits",
    "client_max_window_bits=7",
    "client_max_window_bits=16",
    "client_max_window_bits=010",
    "client_max_window_bits=x",
    "server_no_context_takeover=1",
    "server_no_context_takeover=true",
    'client_no_context_takeover="x"',
    "server_no_context_takeover; server_no_context_takeover",
    "client_no_context_takeover; client_no_context_takeover",
    "server_max_window_bits=10; server_max_window_bits=10",
    "client_max_window_bits=10; client_max_window_bits",
    "client_max_window_bits=10; client_max_window_bits=10",
    "Server_No_Context_Takeover",
    "x",
    "x=8",
    "x; x",
    "constructor",
    "__proto__=1",
    "__class__",
    "__init__; __dict__=9; __hash__",
    "server_bits=9",
    "0",
]


@pytest.mark.parametrize("parameters", INVALID)
@pytest.mark.parametrize("before", ["", "server_max_window_bits=12; ", "server_no_context_takeover; "])
def test_an_invalid_offer_is_declined(parameters: str, before: str) -> None:
    """H18 and H20 among them; one behind it is not."""
    for wishes in (FREE, DEFAULT, LIMITED):
        offer = f"permessage-deflate; {before}{parameters}"
        assert extensions.answer(extensions.decode(offer), wishes) == []
        offer += ", permessage-deflate; server_max_window_bits=9"
        (agreed,) = extensions.answer(extensions.decode(offer), wishes)
        assert ("server_max_window_bits", "9") in agreed.parameters


@pytest.mark.parametrize("parameters", [*INVALID, "client_max_window_bits"])
def test_an_invalid_answer(parameters: str) -> None:
    """C07 among them; an answer has a value for each window."""
    offers = extensions.decode("permessage-deflate; client_max_window_bits")
    (answer,) = extensions.decode(f"permessage-deflate; {parameters}")
    with pytest.raises(ValueError, match="^permessage-deflate with an? "):
        extensions.check_answer(answer, offers)
    with pytest.raises(LocalProtocolError, match="^permessage-deflate with an? "):
        extensions.agreed_deflate([answer])


@pytest.mark.parametrize(
    ("parameters", "fault"),
    [
        ("server_max_window_bits=99", "an invalid server_max_window_bits"),
        ("client_max_window_bits", "an invalid client_max_window_bits"),
        ("server_no_context_takeover=1", "an invalid server_no_context_takeover"),
        ("client_no_context_takeover; client_no_context_takeover", "a second client_no_context_takeover"),
        ("__class__", "an unknown parameter"),
    ],
)
def test_a_fault_is_named(parameters: str, fault: str) -> None:
    with pytest.raises(ValueError, match=f"^permessage-deflate with {fault}$"):
        extensions.check_answer(extensions.decode(f"permessage-deflate; {parameters}")[0], [])


@pytest.mark.parametrize(
    ("answer", "offers"),
    [
        ("", ["", "client_max_window_bits", "client_no_context_takeover", "client_max_window_bits=9"]),
        ("client_no_context_takeover", ["", "client_no_context_takeover"]),
        ("server_no_context_takeover", ["", "server_no_context_takeover"]),
        ("server_max_window_bits=8", ["", "server_max_window_bits=8", "server_max_window_bits=15"]),
        ("server_max_window_bits=12", ["", "server_max_window_bits=12", "server_max_window_bits=13"]),
        ("server_max_window_bits=15", ["", "server_max_window_bits=15"]),
        ("client_max_window_bits=8", ["client_max_window_bits", "client_max_window_bits=8"]),
        # The value of an offer is a hint.
        ("client_max_window_bits=15", ["client_max_window_bits", "client_max_window_bits=9"]),
        # One of several offers is enough.
        ("client_max_window_bits=15", ["server_max_window_bits=9, permessage-deflate; client_max_window_bits"]),
        ("", ["server_no_context_takeover, permessage-deflate", "server_max_window_bits=9, foo, permessage-deflate"]),
    ],
)
def test_an_answer_that_the_client_takes(answer: str, offers: list[str]) -> None:
    (extension,) = extensions.decode("permessage-deflate" + (answer and f"; {answer}"))
    for offer in offers:
        extensions.check_answer(extension, extensions.decode("permessage-deflate" + (offer and f"; {offer}")))


@pytest.mark.parametrize(
    ("answer", "offers"),
    [
        ("", ["server_no_context_takeover", "server_max_window_bits=15", "server_max_window_bits=9"]),
        ("client_no_context_takeover", ["server_no_context_takeover"]),
        ("server_no_context_takeover", ["server_max_window_bits=15"]),
        ("server_max_window_bits=10", ["server_max_window_bits=9", "server_no_context_takeover"]),
        ("client_max_window_bits=10", ["", "client_no_context_takeover", "server_max_window_bits=10"]),
        ("client_max_window_bits=15", ["", "server_max_window_bits=9, foo; client_max_window_bits"]),
    ],
)
def test_an_answer_to_no_offer(answer: str, offers: list[str]) -> None:
    (extension,) = extensions.decode("permessage-deflate" + (answer and f"; {answer}"))
    for offer in offers:
        with pytest.raises(ValueError, match="do not answer the offer"):
            extensions.check_answer(extension, extensions.decode("permessage-deflate" + (offer and f"; {offer}")))


def test_an_answer_to_an_invalid_offer() -> None:
    (answer,) = extensions.decode("permessage-deflate; server_max_window_bits=9")
    offers = extensions.decode("permessage-deflate; x, permessage-deflate; server_max_window_bits=8")
    with pytest.raises(ValueError, match="do not answer the offer"):
        extensions.check_answer(answer, offers)
    extensions.check_answer(answer, [*offers, Extension("permessage-deflate")])


def test_an_answer_of_an_extension_that_is_not_known() -> None:
    extensions.check_answer(Extension("foo", [("server_max_window_bits", "99")]), [])


@pytest.mark.parametrize(
    ("wishes", "offer"),
    [
        (FREE, "permessage-deflate; client_max_window_bits"),
        (
            DEFAULT,
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits",
        ),
        (LIMITED, "permessage-deflate; server_max_window_bits=12; client_max_window_bits=11"),
        (OPEN, "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"),
        (DeflateParameters(True, True, None, None),
         "permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits"),
        (DeflateParameters(True, False, 9), "permessage-deflate; server_no_context_takeover; "
         "server_max_window_bits=9; client_max_window_bits"),
        (DeflateParameters(False, True, 15, 14), "permessage-deflate; client_no_context_takeover; "
         "client_max_window_bits=14"),
    ],
)  # fmt: skip
def test_a_client_offers(wishes: DeflateParameters, offer: str) -> None:
    offers = [wishes.offer()]
    assert extensions.encode(offers) == offer
    for theirs in (FREE, DEFAULT, LIMITED, wishes):
        (answer,) = extensions.answer(offers, theirs)
        extensions.check_answer(answer, offers)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("permessage-deflate", (False, False, 15, 15)),
        ("permessage-deflate; server_no_context_takeover", (True, False, 15, 15)),
        ("permessage-deflate; client_no_context_takeover", (False, True, 15, 15)),
        ("foo; x, permessage-deflate; client_max_window_bits=8; server_max_window_bits=9", (False, False, 9, 8)),
        ("permessage-deflate; server_max_window_bits=8", (False, False, 8, 15)),
    ],
)
def test_what_is_agreed(answer: str, expected: tuple[bool, bool, int, int]) -> None:
    agreed = extensions.agreed_deflate(extensions.decode(answer))
    assert agreed is not None
    assert (
        agreed.server_no_context_takeover,
        agreed.client_no_context_takeover,
        agreed.server_max_window_bits,
        agreed.client_max_window_bits,
    ) == expected


def test_nothing_is_agreed() -> None:
    assert extensions.agreed_deflate([]) is None
    assert extensions.agreed_deflate([Extension("foo", [("server_max_window_bits", "99")])]) is None


@pytest.mark.parametrize("name", ["server_max_window_bits", "client_max_window_bits"])
def test_windows_that_no_handshake_can_name(name: str) -> None:
    for bits in (7, 16, 0, -1):
        with pytest.raises(LocalProtocolError, match=f"^{name} is 8 to 15, or None$"):
            DeflateParameters(**{name: bits})
    for wrong, kind in (("9", "str"), (True, "bool"), (9.0, "float")):
        with pytest.raises(LocalProtocolError, match=f"^{name} is a whole number from 8 to 15, or None, not {kind}$"):
            DeflateParameters(**{name: wrong})
    for bits in (8, 15):
        assert getattr(DeflateParameters(**{name: bits}), name) == bits


PARAMETERS = st.tuples(
    st.sampled_from(
        [
            "server_no_context_takeover",
            "client_no_context_takeover",
            "server_max_window_bits",
            "client_max_window_bits",
            "x",
        ]
    ),
    st.sampled_from([None, None, *map(str, range(7, 17))]),
)
WISHES = st.builds(DeflateParameters, st.booleans(), st.booleans(), st.integers(9, 15), st.integers(9, 15))


@given(st.lists(st.lists(PARAMETERS, max_size=4), max_size=3), WISHES)
def test_any_offer(offered: list[list[tuple[str, str | None]]], wishes: DeflateParameters) -> None:
    """An answer is one that the client takes, and that keeps to what either side wants."""
    offers = [Extension("permessage-deflate", parameters) for parameters in offered]
    for answer in extensions.answer(offers, wishes):
        taken = [
            offer
            for offer in offers
            if len(dict(offer.parameters)) == len(offer.parameters) and extensions.answer([offer], wishes) == [answer]
        ]
        extensions.check_answer(answer, taken)
        agreed = extensions.agreed_deflate([answer])
        assert agreed is not None
        assert 9 <= agreed.server_max_window_bits <= wishes.server_max_window_bits
        assert agreed.server_no_context_takeover >= wishes.server_no_context_takeover
        assert agreed.client_no_context_takeover >= wishes.client_no_context_takeover
        assert agreed.client_max_window_bits <= wishes.client_max_window_bits or agreed.client_no_context_takeover


@given(st.lists(PARAMETERS, max_size=4), WISHES)
def test_any_answer(answered: list[tuple[str, str | None]], wishes: DeflateParameters) -> None:
    """An answer that a client takes is within its offer."""
    offers = [wishes.offer()]
    extension = Extension("permessage-deflate", answered)
    try:
        extensions.check_answer(extension, offers)
    except ValueError:
        return
    agreed = extensions.agreed_deflate([extension])
    assert agreed is not None
    assert agreed.server_max_window_bits <= wishes.server_max_window_bits
    assert agreed.server_no_context_takeover >= wishes.server_no_context_takeover
