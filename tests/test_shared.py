"""A message for many connections: which frames it is made into, and how often."""

import random
import zlib

import pytest
from feeding import PLAIN_FRAMES, drain

from wsock.sansio import shared
from wsock.sansio.connection import Connection
from wsock.sansio.constants import Role
from wsock.sansio.deflate import DeflateOptions, Deflater
from wsock.sansio.errors import LocalProtocolError
from wsock.sansio.extensions import Extension
from wsock.sansio.shared import SharedMessage

NONE = {"server_no_context_takeover": None, "client_no_context_takeover": None}
NOISE = random.Random(7692).randbytes(5000)
#: RFC 7692 section 7.2.3.1.
HELLO = b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00"


def connection(parameters=NONE, **options):
    """A server, which has agreed on permessage-deflate unless ``parameters`` is None."""
    agreed = [] if parameters is None else [Extension("permessage-deflate", list(parameters.items()))]
    return Connection(Role.SERVER, extensions=agreed, deflate=DeflateOptions(**options))


def deflater(window_bits=15, *, takes_over=False, **options):
    return Deflater(window_bits, DeflateOptions(**options), takes_over)


def inflated(buffers, window_bits=15):
    """The payload of a compressed frame of a server."""
    data = b"".join(buffers)
    assert data[0] & 0x70 == 0x40
    head = {126: 4, 127: 10}.get(data[1], 2)
    return zlib.decompressobj(-window_bits).decompress(data[head:] + b"\x00\x00\xff\xff")


@pytest.mark.parametrize(("message", "frame"), PLAIN_FRAMES)
def test_plain(message, frame):
    one = SharedMessage(message)
    assert one.plain() == [frame]
    assert one.plain() is one.plain()
    for plain in (connection(None), connection()):
        assert plain.send_shared(SharedMessage(message, False)) == [frame]
        assert plain.messages_sent == 1
    large = SharedMessage(b"x" * 20_000)
    assert large.plain() == [b"\x82\x7e\x4e\x20", b"x" * 20_000]


def test_what_is_shared_may_change_afterwards():
    data = bytearray(b"ab" * 500)
    one = SharedMessage(data)
    data[:] = bytes(1000)
    assert one.plain() == [b"\x82\x7e\x03\xe8" + b"ab" * 500]
    assert inflated(one.compressed(deflater())) == b"ab" * 500


def test_the_example_of_the_rfc():
    for message, frame in (("Hello", HELLO), (b"Hello", b"\xc2" + HELLO[1:]), ("", b"\xc1\x01\x00")):
        one = SharedMessage(message, True)
        assert one.compressed(deflater()) == [frame]
        assert connection().send_shared(one) == [frame]


@pytest.mark.parametrize("message", [5, None, ["x"], "\ud800"])
def test_what_is_no_message(message):
    with pytest.raises(LocalProtocolError):
        SharedMessage(message)


@pytest.mark.parametrize("compress", [0, 1, "yes", 1.0])
def test_a_choice_that_is_none(compress):
    with pytest.raises(LocalProtocolError, match="^compress is True, False, or None for what the size says, not "):
        SharedMessage("a", compress)
    assert [shared.check_compress(one) for one in (None, True, False)] == [None, True, False]


@pytest.mark.parametrize(
    ("size", "threshold", "compress", "goes_compressed"),
    [
        (255, 256, None, False),
        (256, 256, None, True),
        (255, 256, True, True),
        (5000, 256, False, False),
        (0, 0, None, False),
        (9, 10, None, False),
        (100, 0, None, True),
        (20_000, 2**80, None, False),
        (20_000, 2**80, True, True),
    ],
)
def test_which_messages_are_compressed(size, threshold, compress, goes_compressed):
    one = SharedMessage(b"a" * size, compress)
    buffers = one.compressed(deflater(threshold=threshold))
    assert buffers[0][0] == (0xC2 if goes_compressed else 0x82)
    if goes_compressed:
        assert inflated(buffers) == b"a" * size
    else:
        assert buffers is one.plain()
    # The threshold is the connection's.
    assert connection(threshold=threshold).send_shared(SharedMessage(b"a" * size, compress)) == buffers


def test_what_does_not_get_smaller_goes_plain():
    for size in (300, 5000):
        one = SharedMessage(NOISE[:size])
        assert one.compressed(deflater()) is one.plain()
        assert one.compressed(deflater()) is one.plain()
        asked = SharedMessage(NOISE[:size], True)
        assert inflated(asked.compressed(deflater())) == NOISE[:size]


def test_a_message_as_long_as_before_goes_plain():
    sizes = {}
    for count in range(1, 40):
        content = NOISE[:10] + b"a" * count
        compressed = SharedMessage(content, True).compressed(deflater(threshold=0))
        chosen = SharedMessage(content).compressed(deflater(threshold=0))
        sizes[len(compressed[0]) - 2 - len(content)] = chosen[0][0]
    assert sizes[0] == 0x82
    assert sizes[-1] == 0xC2


def test_it_is_compressed_once_for_all_that_can_share_it():
    """By window, level and memLevel; those that agreed on nothing get the plain frame, once too."""
    one = SharedMessage("a" * 5000)
    makers = [
        connection,
        lambda: connection({"server_no_context_takeover": None}),
        lambda: connection(NONE | {"server_max_window_bits": "12"}),
        lambda: connection(max_window_bits=12),
        lambda: connection({}, context_takeover=False),
        lambda: connection(level=9),
        lambda: connection(mem_level=3),
        lambda: connection(None),
    ]
    first = [make().send_shared(one) for make in makers]
    again = [make().send_shared(one) for make in makers]
    assert all(left is right for left, right in zip(first, again, strict=True))
    groups = [[0, 1, 4], [2, 3], [5], [6], [7]]
    for group in groups:
        assert len({id(first[index]) for index in group}) == 1
    assert len({id(frames) for frames in first}) == len(groups)
    assert inflated(first[0]) == inflated(first[2], 12) == b"a" * 5000
    assert first[7] == [b"\x81\x7e\x13\x88" + b"a" * 5000]


def test_what_takes_over_is_compressed_for_each():
    """In its place among the messages of that connection, whatever others got, and also where it gets longer."""
    here = connection({})
    there = Connection(Role.CLIENT, extensions=here.extensions)
    for content in (NOISE[:300], NOISE[1000:3000]):
        one = SharedMessage(content)
        assert one.compressed(deflater()) is one.plain()
        sizes = []
        for _ in range(2):
            buffers = here.send_shared(one)
            assert b"".join(buffers)[0] == 0xC2
            sizes.append(sum(map(len, buffers)))
            assert drain(there, b"".join(buffers)) == [("binary", content)]
        assert sizes[0] > len(content)
        assert sizes[1] < 100
    # Others are not in its history.
    assert drain(there, b"".join(here.send_shared(SharedMessage(NOISE[:300], False)))) == [("binary", NOISE[:300])]
    assert here.messages_sent == 5
