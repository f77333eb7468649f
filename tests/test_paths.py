import re

import pytest
from growth import assertLinear, spent

from wsock import LocalProtocolError
from wsock.server.paths import Pattern, splitPath


@pytest.mark.parametrize(
    ("path", "segments"),
    [
        ("/", ("",)),
        ("/chat", ("chat",)),
        ("/chat/", ("chat", "")),
        ("/a/B/c", ("a", "B", "c")),
        ("/%63hat", ("chat",)),
        ("/caf%C3%A9", ("caf\u00e9",)),
        ("/a%20b", ("a b",)),
        ("/100%25", ("100%",)),
        ("/%2525", ("%25",)),
        ("/a+b", ("a+b",)),
        ("/a;b=c,d", ("a;b=c,d",)),
        ("/...", ("...",)),
        ("/.well-known", (".well-known",)),
        ("/{name}", ("{name}",)),
        ("/%E2%82%AC/%f0%9f%98%80", ("\u20ac", "\U0001f600")),
    ],
)
def test_paths(path: str, segments: tuple[str, ...]) -> None:
    assert splitPath(path) == segments


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "does not begin with a slash"),
        ("chat", "does not begin with a slash"),
        ("*", "does not begin with a slash"),
        ("//", "an empty segment"),
        ("//chat", "an empty segment"),
        ("/a//b", "an empty segment"),
        ("/a//", "an empty segment"),
        ("/.", "a . or .. as a segment"),
        ("/..", "a . or .. as a segment"),
        ("/a/./b", "a . or .. as a segment"),
        ("/a/../b", "a . or .. as a segment"),
        ("/a/%2e%2E/b", "a . or .. as a segment"),
        ("/%2e", "a . or .. as a segment"),
        ("/a/.%2e", "a . or .. as a segment"),
        ("/a%2Fb", "an encoded slash, a backslash or a control character"),
        ("/a%2fb", "an encoded slash"),
        ("/a%5Cb", "a backslash"),
        ("/a%5cb", "a backslash"),
        ("/a\\b", "a backslash"),
        ("/a%00", "a control character"),
        ("/a%1f", "a control character"),
        ("/a%0D%0Ab", "a control character"),
        ("/a%7F", "a control character"),
        ("/a%C2%85", "a control character"),
        ("/a%FF", "not UTF-8"),
        ("/a%C3", "not UTF-8"),
        ("/%C0%AF", "not UTF-8"),
        ("/%ED%A0%80", "not UTF-8"),
        ("/a%", "a % that is not followed by two hexadecimal digits"),
        ("/a%2", "a % that is not followed"),
        ("/a%zz", "a % that is not followed"),
        ("/%u0041", "a % that is not followed"),
        ("/caf\u00e9", "not percent-encoded"),
    ],
)
def test_paths_that_could_be_read_in_two_ways(path: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        splitPath(path)


@pytest.mark.parametrize(
    ("pattern", "path", "parameters"),
    [
        ("/", "/", {}),
        ("/", "/a", None),
        ("/chat", "/chat", {}),
        ("/chat", "/%63hat", {}),
        ("/%63hat", "/chat", {}),
        ("/caf\u00e9", "/caf%C3%A9", {}),
        ("/chat", "/Chat", None),
        ("/chat", "/chat/", None),
        ("/chat/", "/chat", None),
        ("/chat/", "/chat/", {}),
        ("/rooms/{name}", "/rooms/a%20b", {"name": "a b"}),
        ("/rooms/{name}", "/rooms/", None),
        ("/rooms/{name}", "/rooms/a/b", None),
        ("/rooms/{name}", "/rooms", None),
        ("/rooms/{name}/", "/rooms/a/", {"name": "a"}),
        ("/rooms/{name}/", "/rooms/a", None),
        ("/{a}/x/{b}", "/1/x/2", {"a": "1", "b": "2"}),
        ("/{a}/x/{b}", "/1/y/2", None),
        ("/{a}", "/", None),
        ("/files/{path*}", "/files/a", {"path": "a"}),
        ("/files/{path*}", "/files/a/b%20c/d", {"path": "a/b c/d"}),
        ("/files/{path*}", "/files", None),
        ("/files/{path*}", "/files/", None),
        ("/files/{path*}", "/files/a/", None),
        ("/files/{path*}", "/file/a", None),
        ("/{user}/{path*}", "/u/a/b", {"user": "u", "path": "a/b"}),
        ("/{path*}", "/a/b", {"path": "a/b"}),
        ("/{path*}", "/", None),
        ("/%7Ba%7D", "/%7Ba%7D", {}),
    ],
)
def test_patterns(pattern: str, path: str, parameters: dict[str, str] | None) -> None:
    assert Pattern(pattern).match(splitPath(path)) == parameters


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("", "it begins with a slash"),
        ("chat", "it begins with a slash"),
        ("/chat?a", "has no query"),
        ("/chat#a", "has no query"),
        ("//chat", "a segment is empty"),
        ("/a/../b", "a . or .. as a segment"),
        ("/a%2Fb", "an encoded slash"),
        ("/a%", "a %"),
        ("/room-{name}", "a parameter is a whole segment, such as {name}"),
        ("/{a}{b}", "a parameter is a whole segment"),
        ("/{a", "a parameter is a whole segment"),
        ("/a}", "a parameter is a whole segment"),
        ("/{}", "{} is no Python name"),
        ("/{1}", "{1} is no Python name"),
        ("/{a-b}", "{a-b} is no Python name"),
        ("/{a}/{a}", "{a} is there twice"),
        ("/{a}/{a*}", "{a} is there twice"),
        ("/{a*}/b", "{a*} is for the end"),
        ("/{a*}/", "{a*} is for the end"),
        ("/{a**}", "a parameter is a whole segment"),
    ],
)
def test_patterns_that_are_none(pattern: str, why: str) -> None:
    with pytest.raises(LocalProtocolError, match=re.escape(why)) as raised:
        Pattern(pattern)
    assert repr(pattern) in str(raised.value)


def test_a_pattern_is_a_str() -> None:
    with pytest.raises(LocalProtocolError, match=r'a str such as "/rooms/\{name\}"'):
        Pattern(b"/chat")


def test_the_rank_of_patterns() -> None:
    """The most literal segments, then one segment before several, then literal segments that come first."""
    texts = ["/{a*}", "/{a}", "/{a}/b", "/b/{a}", "/b/{a*}", "/b/c", "/{a}/{b}", "/b/{a}/c", "/b/c/{a*}", "/b/c/{a}"]
    ranked = sorted(texts, key=lambda text: Pattern(text).rank)
    assert ranked == [
        "/b/c",
        "/b/c/{a}",
        "/b/{a}/c",
        "/b/c/{a*}",
        "/b/{a}",
        "/{a}/b",
        "/b/{a*}",
        "/{a}",
        "/{a}/{b}",
        "/{a*}",
    ]


def test_patterns_for_the_same_paths_have_one_shape() -> None:
    assert Pattern("/a/{b}").shape == Pattern("/%61/{c}").shape
    for other in ("/a/{b*}", "/a/b", "/a/{b}/", "/{a}/b"):
        assert Pattern("/a/{b}").shape != Pattern(other).shape


@pytest.mark.growth
@pytest.mark.parametrize("part", ["/a", "/%41", "a", "%", "%zz", "{"])
def test_the_time_for_a_path(part: str) -> None:
    pattern = Pattern("/x/{rest*}")

    def take(count: int) -> None:
        try:
            pattern.match(splitPath("/x/" + part * count))
        except ValueError:
            pass

    assertLinear(lambda: spent(lambda: take(500)), lambda: spent(lambda: take(8000)))
