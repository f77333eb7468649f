"""Compressed messages on a connection: which bits announce them, how far they inflate, and what is sent compressed."""

import random
import sys
import zlib

import pytest
from feeding import KEY, by_zlib, check, drain, fact, feed, frame, masked

from wsock.sansio.connection import Connection
from wsock.sansio.constants import Role
from wsock.sansio.deflate import DeflateOptions
from wsock.sansio.errors import LocalProtocolError
from wsock.sansio.extensions import Extension
from wsock.sansio.shared import SharedMessage

CLIENT, SERVER = Role.CLIENT, Role.SERVER
#: Each message by itself, both ways; and messages that refer to earlier ones.
ALONE = [Extension("permessage-deflate", [("server_no_context_takeover", None), ("client_no_context_takeover", None)])]
TOGETHER = [Extension("permessage-deflate")]
#: RFC 7692 section 7.2.3.1.
HELLO = b"\xf2\x48\xcd\xc9\xc9\x07\x00"
NOISE = random.Random(7692).randbytes(5000)
each_role = pytest.mark.parametrize("role", Role)


def key_to(role):
    """The masking key of frames to that side."""
    return KEY if role is SERVER else None


def failed(code):
    return ("failed", {1002: "RemoteProtocolError", 1007: "InvalidPayload", 1009: "MessageTooBig"}[code], code)


def plain_of(buffers):
    """Reads the frame that a side has sent: its first byte, and the payload without a mask."""
    data = b"".join(buffers)
    is_masked, length, head = data[1] >> 7, data[1] & 0x7F, 2
    if length > 125:
        size = 2 if length == 126 else 8
        length, head = int.from_bytes(data[2 : 2 + size], "big"), 2 + size
    payload = data[head + 4 :] if is_masked else data[head:]
    if is_masked:
        payload = masked(payload, data[head : head + 4])
    assert len(payload) == length
    return data[0], payload


def inflated(payload):
    return zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")


# Received messages


@each_role
@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        # RFC 7692 sections 7.2.3.1 to 7.2.3.6.
        ([(0xC1, HELLO)], ["Hello"]),
        ([(0x41, b"\xf2\x48\xcd"), (0x80, b"\xc9\xc9\x07\x00")], ["Hello"]),
        ([(0xC1, HELLO), (0xC1, HELLO)], ["Hello", "Hello"]),
        ([(0xC1, b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00")], ["Hello"]),
        ([(0xC1, b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00")], ["Hello"]),
        ([(0xC1, b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00")], ["Hello"]),
        ([(0xC1, b"\x00")], [""]),
        # Plain ones among them; frames without data; an empty message that says it is compressed, and has no byte.
        ([(0x81, b"a"), (0xC1, HELLO), (0x81, b"b"), (0x01, b"c"), (0x80, b"d")], ["a", "Hello", "b", "cd"]),
        ([(0x41, b""), (0x00, HELLO[:3]), (0x00, b""), (0x00, HELLO[3:]), (0x80, b"")], ["Hello"]),
        ([(0x41, HELLO), (0x80, b"\x00\x00\xff\xff\x00")], ["Hello"]),
        ([(0xC1, b""), (0xC1, HELLO), (0x41, b""), (0x80, b"")], ["", "Hello", ""]),
        # A final block, and another message behind it.
        ([(0xC1, b"\xf3\x48\xcd\xc9\xc9\x07\x00"), (0xC1, HELLO)], ["Hello", "Hello"]),
        ([(0x41, b"\xf3\x48\xcd\xc9\xc9\x07\x00"), (0x80, HELLO)], ["HelloHello"]),
        ([(0xC1, by_zlib("\u20ac".encode() * 1000))], ["\u20ac" * 1000]),
        ([(0x41, b"\x00\x03\x00\xfc\xff\xe2"), (0x00, b"\x82"), (0x80, b"\xac\x00")], ["\u20ac"]),
    ],
)  # fmt: skip
def test_messages(role, parts, expected):
    data = b"".join(frame(first, payload, key_to(role)) for first, payload in parts)
    for extensions in (ALONE, TOGETHER):
        check(role, data, [("text", text) for text in expected], b"", extensions=extensions)
    binary = b"".join(frame(first + 1 if first & 15 else first, payload, key_to(role)) for first, payload in parts)
    check(role, binary, [("binary", text.encode()) for text in expected], b"", extensions=ALONE)


@each_role
def test_context(role):
    # RFC 7692 section 7.2.3.2.
    key = key_to(role)
    data = frame(0xC1, HELLO, key) + frame(0xC1, b"\xf2\x00\x11\x00\x00", key) * 3
    check(role, data, [("text", "Hello")] * 4, extensions=TOGETHER)
    check(role, data, [("text", "Hello"), failed(1007)], extensions=ALONE)
    # Each side has its own: what the other does not take over makes no difference.
    for name, keeps in (("server_no_context_takeover", SERVER), ("client_no_context_takeover", CLIENT)):
        agreed = [Extension("permessage-deflate", [(name, None)])]
        expected = [("text", "Hello")] * 4 if role is keeps else [("text", "Hello"), failed(1007)]
        check(role, data, expected, extensions=agreed)


@each_role
def test_control_frames_within_a_message(role):
    key = key_to(role)
    data = (
        frame(0x41, HELLO[:2], key)
        + frame(0x89, b"ping", key)
        + frame(0x00, HELLO[2:5], key)
        + frame(0x8A, b"pong", key)
        + frame(0x80, HELLO[5:], key)
    )
    check(role, data, [("ping", b"ping"), ("pong", b"pong"), ("text", "Hello")], extensions=ALONE)


@each_role
@pytest.mark.parametrize("extensions", [[], [Extension("x-example")]])
def test_nothing_is_compressed_that_was_not_agreed_on(role, extensions):
    # F02, both sides.
    for first in (0xC1, 0xC2, 0x41, 0x42):
        data = frame(0x81, b"a", key_to(role)) + frame(first, HELLO, key_to(role))
        check(role, data, [("text", "a"), failed(1002)], extensions=extensions)


@each_role
@pytest.mark.parametrize(
    "parts",
    [
        # F20, F21.
        *(pytest.param([(first, b"")], id=f"a control frame {first:x}") for first in (0xC8, 0xC9, 0xCA)),
        pytest.param([(0x41, HELLO[:3]), (0xC0, HELLO[3:])], id="the end of a compressed message"),
        pytest.param([(0x41, HELLO[:3]), (0x40, HELLO[3:])], id="a fragment of a compressed message"),
        pytest.param([(0x01, b"a"), (0xC0, HELLO)], id="the end of a plain message"),
        pytest.param([(0x41, HELLO[:3]), (0xC9, b"?")], id="a Ping within a compressed message"),
        pytest.param([(0xC0, HELLO)], id="a continuation of nothing"),
        pytest.param([(0xC3, HELLO)], id="a reserved opcode"),
        *(pytest.param([(0x81 | bits, HELLO)], id=f"bits {bits:x}") for bits in (0x20, 0x10, 0x60, 0x50, 0x70, 0x30)),
        pytest.param([(0x41, HELLO), (0xC1, HELLO)], id="a new message within one"),
        pytest.param([(0x41, HELLO), (0x81, b"a")], id="a new plain message within one"),
    ],
)
def test_faults(role, parts):
    data = b"".join(frame(first, payload, key_to(role)) for first, payload in parts)
    check(role, data, [failed(1002)], extensions=ALONE)


@each_role
@pytest.mark.parametrize(
    "broken",
    [
        b"\xff" * 10,
        b"\x07",
        b"Hello",
        b"\xf2\x00\x11\x00\x00",
        HELLO[:5],
        b"\x00\x10\x00\xef\xffHe",
        HELLO + b"\xff",
        b"\x01\x02\x00\xfd\xff",
        # A final block without its only byte: the four bytes that do not travel begin with one, and end as no block.
        b"\x01\x01\x00\xfe\xff",
    ],
)
def test_broken_data(role, broken):
    # F22.
    key = key_to(role)
    for data in (
        frame(0xC1, broken, key),
        frame(0xC2, broken, key),
        frame(0x42, broken, key) + frame(0x80, b"", key),
        frame(0x42, b"", key) + frame(0x80, broken, key),
        frame(0x42, broken[:1], key) + frame(0x80, broken[1:], key),
        frame(0xC2, b"\xf3\x48\xcd\xc9\xc9\x07\x00" + broken, key),
    ):
        check(role, frame(0xC1, HELLO, key) + data, [("text", "Hello"), failed(1007)], extensions=ALONE)


@each_role
def test_broken_data_by_the_library_for_large_messages(role):
    broken = by_zlib(NOISE, level=0)[:4500]
    for data in (broken, broken + b"\xff" * 500, b"\xff" * 5000):
        check(role, frame(0xC2, data, key_to(role)), [failed(1007)], extensions=ALONE)


#: Text that can't be UTF-8, up to the byte that tells.
@pytest.mark.parametrize("text", [b"ok\xff", b"\xed\xa0", b"\xf4\x90", b"\xe2\x82\x28", b"x" * 70_000 + b"\xc0"])
def test_text_fails_at_once(text):
    """Within a frame that has not ended, as soon as the byte is there."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    flushed = stream.compress(text) + stream.flush(zlib.Z_SYNC_FLUSH)
    connection = Connection(SERVER, extensions=ALONE)
    data = frame(0x41, flushed + b"\x00" * 1000)
    assert drain(connection, data[: len(data) - 900]) == [failed(1007)]
    for data in (
        frame(0xC1, flushed[:-4]),
        frame(0x41, flushed),
        frame(0x41, flushed[:3]) + frame(0x00, flushed[3:]),
        frame(0x41, by_zlib(text[:1])) + frame(0x00, b"\x00\x00\xff\xff" + by_zlib(text[1:]) + b"\x00\x00\xff\xff"),
    ):
        check(SERVER, data, [failed(1007)], extensions=ALONE)
    check(SERVER, frame(0xC2, flushed[:-4]), [("binary", text)], extensions=ALONE)


@pytest.mark.parametrize("text", [b"\xe2", b"ab\xf0\x9f\x98"])
def test_text_that_ends_within_a_code_point(text):
    check(SERVER, frame(0xC1, by_zlib(text)), [failed(1007)], extensions=ALONE)
    check(SERVER, frame(0x41, by_zlib(text)) + frame(0x80), [failed(1007)], extensions=ALONE)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"\xff" + b"a" * 500, 1007),
        (b"a" * 99 + b"\xff" + b"a" * 60_000, 1007),
        (b"a" * 100 + b"\xff" + b"a" * 500, 1007),
        (b"a" * 101 + b"\xff" + b"a" * 500, 1009),
        (b"a" * 100 + b"\xc3\xa9" + b"a" * 60_000, 1009),
        (b"\xe2\x82\xac" * 33 + b"\xe2\x82", 1009),
    ],
)
def test_of_two_faults_the_first_is_told(text, code):
    """That of text within its limit, or its size: the same for any split."""
    for level in (0, 9):
        payload = by_zlib(text, level=level)
        check(SERVER, frame(0xC1, payload), [failed(code)], extensions=ALONE, max_message_size=100)
        data = frame(0x41, payload[:5]) + frame(0x80, payload[5:])
        check(SERVER, data, [failed(code)], extensions=ALONE, max_message_size=100)
        check(SERVER, frame(0xC2, payload), [failed(1009)], extensions=ALONE, max_message_size=100)
    # In the middle of the text; and where it takes several steps to inflate it.
    payload = by_zlib(text, level=0)
    data = frame(0x41, payload[:55]) + frame(0x80, payload[55:])
    check(SERVER, data, [failed(code)], extensions=ALONE, max_message_size=100)
    payload = by_zlib(b"x" * 69_900 + text)
    data = frame(0x41, payload) + frame(0x80)
    assert drain(Connection(SERVER, extensions=ALONE, max_message_size=70_000), data) == [failed(code)]


# How far it inflates

#: 4096 zeros.
ZEROS = by_zlib(bytes(4096))


@each_role
def test_a_few_bytes_over_a_small_limit(role):
    # CVE-2026-77528: 22 compressed bytes made 4,096, over a limit of 128.
    assert len(ZEROS) <= 22
    key = key_to(role)
    for data in (
        frame(0xC2, ZEROS, key),
        frame(0xC1, ZEROS, key),
        frame(0x42, ZEROS, key),
        frame(0x42, ZEROS[:6], key) + frame(0x80, ZEROS[6:], key),
        frame(0x42, b"", key) + frame(0x80, ZEROS, key),
    ):
        check(role, data, [failed(1009)], extensions=ALONE, max_message_size=128)


@each_role
@pytest.mark.parametrize("opcode", [1, 2])
@pytest.mark.parametrize("size", [1, 128, 65_535, 65_536, 65_537, 2**20 - 1, 2**20, 2**20 + 1])
def test_exactly_the_limit_passes(role, opcode, size):
    key = key_to(role)
    for level in (0, 9):
        if level == 0 and size > 2**17:
            continue
        payload, more = (by_zlib(b"x" * count, level=level) for count in (size, size + 1))
        expected = [("text", "x" * size) if opcode == 1 else ("binary", b"x" * size)]
        for cut in (0, 1, len(payload) // 2, len(payload)):
            data = frame(0x40 | opcode, payload[:cut], key) + frame(0x80, payload[cut:], key)
            assert drain(Connection(role, extensions=ALONE, max_message_size=size), data) == expected
            data = frame(0x40 | opcode, more[:cut], key) + frame(0x80, more[cut:], key)
            assert drain(Connection(role, extensions=ALONE, max_message_size=size), data) == [failed(1009)]
        for chunk in (1000, 10**9):
            for content, facts in ((payload, expected * 2), (more, [failed(1009)])):
                data = frame(0xC0 | opcode, content, key) * 2
                chunks = [data[place : place + chunk] for place in range(0, len(data), chunk)]
                assert feed(Connection(role, extensions=ALONE, max_message_size=size), chunks) == facts


def test_without_a_limit():
    payload = by_zlib(bytes(3_000_000))
    data = frame(0xC2, payload) + frame(0x42, payload[:1000]) + frame(0x80, payload[1000:])
    for most in (None, 2**63 - 1, 2**61, 2**80):
        connection = Connection(SERVER, extensions=ALONE, max_message_size=most)
        assert drain(connection, data) == [("binary", bytes(3_000_000))] * 2


@each_role
def test_the_largest_frames(role):
    """A compressed message of the limit may take 8 bytes for each of its own, and 64 KiB; a plain one not."""
    key = key_to(role)
    most = 8 * 100 + 65536
    zeros = b"" if key is None else KEY

    def head(first, length):
        return bytes([first, (0 if key is None else 0x80) | 127]) + length.to_bytes(8, "big") + zeros

    for first in (0xC2, 0x42):
        connection = Connection(role, extensions=ALONE, max_message_size=100)
        assert drain(connection, head(first, most)) == []
        check(role, head(first, most + 1)[:10], [failed(1009)], extensions=ALONE, max_message_size=100)
    for first in (0x82, 0x02):
        check(role, head(first, 65536)[:10], [failed(1009)], extensions=ALONE, max_message_size=100)
    # Of a message in fragments, too; and of a plain one that follows it is not said.
    empty = b"\x00\x00\x00\xff\xff" * 100
    begun = frame(0x42, empty, key)
    connection = Connection(role, extensions=ALONE, max_message_size=100)
    assert drain(connection, begun + head(0x00, most - 500)) == []
    check(role, begun + head(0x00, most - 499)[:10], [failed(1009)], extensions=ALONE, max_message_size=100)
    ended = begun + frame(0x80, b"\x00", key) + frame(0x02, b"a" * 60, key)
    over = ended + frame(0x80, b"a" * 41, key)[:2]
    check(role, over, [("binary", b""), failed(1009)], extensions=ALONE, max_message_size=100)
    # 2^63 - 1 behind some, without a limit: a sum that would overflow.
    data = begun + head(0x80, 2**63 - 1)[:10]
    check(role, data, [failed(1009)], extensions=ALONE, max_message_size=None)
    assert drain(Connection(role, extensions=ALONE, max_message_size=None), head(0xC2, 2**63 - 1)) == []


@pytest.mark.parametrize("block", [b"\x00\x00\x00\xff\xff", b"\x03\x00", b"\x01\x00\x00\xff\xff"])
def test_an_endless_message_of_nothing(block):
    connection = Connection(SERVER, extensions=ALONE, max_message_size=1000)
    data = frame(0x42, block) + frame(0x00, block * 20) * 5000
    place = 0
    while not (facts := drain(connection, data[place : place + 4096])):
        place += 4096
    assert facts == [failed(1009)]
    assert place < 2 * (65536 + 8000)


def test_empty_frames_are_counted():
    empty = frame(0x42) + frame(0x00) * 3
    too_many = [("failed", "RemoteProtocolError", 1008)]
    check(SERVER, empty + frame(0x80, HELLO), [("binary", b"Hello")], extensions=ALONE, max_empty_fragments=4)
    check(SERVER, empty + frame(0x80), too_many, extensions=ALONE, max_empty_fragments=4)


# How much one call decodes

MIB = 2**20


def calls(connection, data):
    """The sizes of the messages of each call that it takes."""
    sizes = [[len(event.data) for event in connection.receive_data(data)]]
    while connection.has_unread_data:
        sizes.append([len(event.data) for event in connection.receive_data(b"")])
        assert len(sizes) < 10_000
    return sizes


def test_63_messages_of_a_mebibyte_in_a_segment():
    messages = [b"%c" % (32 + number) * MIB for number in range(63)]
    data = b"".join(frame(0xC2, by_zlib(message)) for message in messages)
    assert len(data) < 80_000
    connection = Connection(SERVER, extensions=ALONE, receive_queue=100)
    events = connection.receive_data(data)
    for message in messages:
        assert [event.data for event in events] == [message]
        events = connection.receive_data(b"")
    assert events == []
    assert not connection.has_unread_data
    assert connection.messages_received == 63


@pytest.mark.parametrize("size", [1, 333, 500, 501, 999, 1000])
@pytest.mark.parametrize("chunk", [1, 50, 10**9])
def test_one_call_never_decodes_more_than_two_limits(size, chunk):
    compressed = by_zlib(NOISE[:size])
    cut = len(compressed) // 2
    data = (
        frame(0xC2, compressed)
        + frame(0x42, compressed)
        + frame(0x80)
        + frame(0x82, NOISE[:size])
        + frame(0x42, compressed[:cut])
        + frame(0x80, compressed[cut:])
    ) * 10
    connection = Connection(SERVER, extensions=ALONE, max_message_size=1000, receive_queue=1000)
    sizes = [one for place in range(0, len(data), chunk) for one in calls(connection, data[place : place + chunk])]
    assert sum(map(sum, sizes)) == 40 * size
    assert max(map(sum, sizes)) < 2000


@pytest.mark.parametrize("is_compressed", [True, False])
@pytest.mark.parametrize("end", [b"", b"\x00"])
def test_messages_behind_the_end_of_the_largest(is_compressed, end):
    """It leaves its last call no room; what stands behind it waits for the next, as it does behind any."""
    compressed = by_zlib(NOISE[:1000])
    if is_compressed:
        begun = frame(0x42, compressed + b"\x00\x00\xff\xff")
    else:
        begun, end = frame(0x02, NOISE[:1000]), b""
    behind = frame(0xC2, compressed) + frame(0x42, compressed) + frame(0x80) + frame(0xC2, compressed)
    connection = Connection(SERVER, extensions=ALONE, max_message_size=1000)
    assert calls(connection, begun) == [[]]
    assert calls(connection, frame(0x80, end) + behind) == [[1000]] * 4


def test_nothing_within_the_largest_message_waits():
    """Control frames and blocks without data, which add nothing, are read."""
    connection = Connection(SERVER, extensions=ALONE, max_message_size=1000)
    empty = b"\x00\x00\x00\xff\xff"
    assert drain(connection, frame(0x42, by_zlib(NOISE[:1000]) + b"\x00\x00\xff\xff")) == []
    facts = [
        fact(event) for event in connection.receive_data(frame(0x00, empty * 9) + frame(0x89) + frame(0x00, empty))
    ]
    assert facts == [("ping", b"")]
    assert not connection.has_unread_data
    assert drain(connection, frame(0x80, b"\x00")) == [("binary", NOISE[:1000])]


def test_a_call_reads_so_many_compressed_messages():
    connection = Connection(SERVER, extensions=ALONE, receive_queue=3)
    data = frame(0xC1, HELLO) * 4 + (frame(0x41, HELLO[:3]) + frame(0x80, HELLO[3:])) * 3
    assert [len(connection.receive_data(part)) for part in (data, b"", b"", b"")] == [3, 3, 1, 0]


def test_a_close_behind_compressed_messages():
    """They can be answered before our own Close is made."""
    connection = Connection(SERVER, extensions=ALONE)
    data = frame(0xC1, HELLO) + frame(0x88, b"\x03\xe8")
    assert [fact(event) for event in connection.receive_data(data)] == [("text", "Hello")]
    assert connection.is_open
    assert drain(connection, b"") == [("close", 1000, "")]


def test_a_fault_holds_nothing_of_what_came():
    for agreed in (ALONE, TOGETHER):
        for first in (
            frame(0xC2, b"\xff" * 200),
            frame(0x42, HELLO + b"\xff" * 9),
            frame(0xC1, by_zlib(b"\xff" * 500)),
        ):
            connection = Connection(SERVER, extensions=agreed)
            data = frame(0xC1, HELLO) + first + b"\xff" * 99
            count = sys.getrefcount(data)
            drain(connection, data)
            assert sys.getrefcount(data) == count
            assert connection.failed is not None
            assert connection.failed.code == 1007
            assert connection.failed.__traceback__ is None
            assert connection.failed.__context__ is None
            assert connection.failed.__cause__ is None


# Sent messages


def pair(extensions, role=SERVER, **options):
    """Two sides that have agreed on the same."""
    other = CLIENT if role is SERVER else SERVER
    here = Connection(role, extensions=extensions, deflate=DeflateOptions(**options))
    return here, Connection(other, extensions=extensions)


def test_the_example_of_the_rfc():
    for kind, content, first in (("send_text", "Hello", b"\xc1"), ("send_binary", b"Hello", b"\xc2")):
        connection = Connection(SERVER, extensions=ALONE)
        assert getattr(connection, kind)(content, True) == [first + b"\x07" + HELLO]
        (buffer,) = getattr(Connection(CLIENT, extensions=ALONE), kind)(content, compress=True)
        assert buffer[:2] == first + b"\x87"
        assert masked(buffer[6:], buffer[2:6]) == HELLO
    together = Connection(SERVER, extensions=TOGETHER)
    assert together.send_text("Hello", True) == [b"\xc1\x07" + HELLO]
    assert together.send_text("Hello", True) == [b"\xc1\x05\xf2\x00\x11\x00\x00"]
    for agreed in (ALONE, TOGETHER):
        assert Connection(SERVER, extensions=agreed).send_text("", True) == [b"\xc1\x01\x00"]
        assert Connection(SERVER, extensions=agreed).send_text("") == [b"\x81\x00"]


@each_role
@pytest.mark.parametrize("extensions", [ALONE, TOGETHER])
@pytest.mark.parametrize(
    ("size", "threshold", "compress", "goes_compressed"),
    [
        (255, 256, None, False),
        (256, 256, None, True),
        (255, 256, True, True),
        (5000, 256, False, False),
        (0, 256, False, False),
        (9, 10, None, False),
        (10, 10, None, True),
        (100, 0, None, True),
        (20_000, 2**80, None, False),
        (20_000, 2**80, True, True),
    ],
)
def test_which_messages_are_compressed(role, extensions, size, threshold, compress, goes_compressed):
    here, there = pair(extensions, role, threshold=threshold)
    for _ in range(3):
        buffers = here.send_text("a" * size, compress)
        assert plain_of(buffers)[0] == (0xC1 if goes_compressed else 0x81)
        assert drain(there, b"".join(buffers)) == [("text", "a" * size)]
        buffers = here.send_binary(b"a" * size, compress)
        assert plain_of(buffers)[0] == (0xC2 if goes_compressed else 0x82)
        assert drain(there, b"".join(buffers)) == [("binary", b"a" * size)]
    assert here.messages_sent == 6


@each_role
def test_the_default_threshold(role):
    here, _ = pair(ALONE, role)
    assert plain_of(here.send_text("a" * 255))[0] == 0x81
    assert plain_of(here.send_text("a" * 256))[0] == 0xC1


@each_role
def test_what_does_not_get_smaller_goes_plain(role):
    for size in (300, 5000):
        here, there = pair(ALONE, role)
        assert plain_of(here.send_binary(NOISE[:size])) == (0x82, NOISE[:size])
        first, payload = plain_of(here.send_binary(NOISE[:size], True))
        assert (first, inflated(payload)) == (0xC2, NOISE[:size])
        # With a context the peer has to know of each message that the next may refer to.
        here, there = pair(TOGETHER, role)
        sizes = []
        for _ in range(2):
            buffers = here.send_binary(NOISE[:size])
            first, payload = plain_of(buffers)
            sizes.append(len(payload))
            assert first == 0xC2
            assert drain(there, b"".join(buffers)) == [("binary", NOISE[:size])]
        assert sizes[0] > size
        assert sizes[1] < 100


def test_a_message_as_long_as_before_goes_plain():
    """Compressed means smaller by a byte at least."""
    here, _ = pair(ALONE, threshold=0)
    sizes = {}
    for count in range(1, 40):
        content = NOISE[:10] + b"a" * count
        first, payload = plain_of(here.send_binary(content))
        compressed = plain_of(here.send_binary(content, True))[1]
        sizes[len(compressed) - len(content)] = first
        assert payload == (compressed if first == 0xC2 else content)
    assert sizes[0] == 0x82
    assert sizes[-1] == 0xC2
    assert {first for size, first in sizes.items() if size > 0} == {0x82}


def test_a_plain_message_leaves_the_context_as_it_was():
    here, there = pair(TOGETHER)
    contents = [NOISE[:600], NOISE[600:1200], NOISE[:600], NOISE[600:1200]]
    sizes = []
    for content, compress in zip(contents, (True, False, None, True), strict=True):
        buffers = here.send_binary(content, compress)
        sizes.append(len(plain_of(buffers)[1]))
        assert drain(there, b"".join(buffers)) == [("binary", content)]
    assert sizes[0] > 600
    assert sizes[1] == 600
    assert sizes[2] < 100
    assert sizes[3] > 600


def test_a_context_that_the_sender_does_without():
    here, there = pair(TOGETHER, context_takeover=False)
    for _ in range(2):
        buffers = here.send_binary(NOISE[:600] + bytes(100))
        assert plain_of(buffers)[0] == 0xC2
        assert len(plain_of(buffers)[1]) > 600
        assert drain(there, b"".join(buffers)) == [("binary", NOISE[:600] + bytes(100))]


@each_role
@pytest.mark.parametrize("extensions", [(), [Extension("x-example")]])
def test_nothing_is_sent_compressed_that_was_not_agreed_on(role, extensions):
    for compress in (None, True, False):
        here, _ = pair(extensions, role)
        assert plain_of(here.send_text("a" * 5000, compress)) == (0x81, b"a" * 5000)
        assert plain_of(here.send_binary(b"a" * 5000, compress)) == (0x82, b"a" * 5000)


def test_before_the_answer_all_goes_plain():
    client = Connection(CLIENT)
    assert plain_of(client.send_text("a" * 500)) == (0x81, b"a" * 500)
    assert plain_of(client.send_text("a" * 500, True)) == (0x81, b"a" * 500)
    client.agree(TOGETHER)
    assert client.extensions == TOGETHER
    assert plain_of(client.send_text("a" * 500))[0] == 0xC1
    assert drain(client, frame(0xC1, HELLO, None)) == [("text", "Hello")]


def test_a_window_that_nobody_makes():
    """RFC 7692 section 7.1.2.2: a client that is told to use 256 bytes sends plain messages; the server's are read."""
    answer = [Extension("permessage-deflate", [("client_max_window_bits", "8"), ("server_max_window_bits", "8")])]
    for role in (CLIENT, SERVER):
        connection = Connection(role, extensions=answer)
        assert plain_of(connection.send_text("a" * 500, True)) == (0x81, b"a" * 500)
        assert drain(connection, frame(0xC1, HELLO, key_to(role)) * 2) == [("text", "Hello")] * 2
        if role is SERVER:
            assert plain_of(connection.send_shared(SharedMessage("a" * 500, True))) == (0x81, b"a" * 500)


@each_role
@pytest.mark.parametrize("ours", [9, 12, 15])
@pytest.mark.parametrize("limit", [9, 12, 15])
def test_windows(role, ours, limit):
    """Each side's own: not more than was agreed, and not more than it wants."""
    name, other = "server_max_window_bits", "client_max_window_bits"
    if role is CLIENT:
        name, other = other, name
    agreed = [Extension("permessage-deflate", [(name, str(limit)), (other, "15" if limit < 15 else "9")])]
    here, there = pair(agreed, role, max_window_bits=ours)
    content = NOISE[:2500] * 2
    buffers = here.send_binary(content, True)
    assert drain(there, b"".join(buffers)) == [("binary", content)]
    assert (len(plain_of(buffers)[1]) < 3000) == (min(ours, limit) > 11)


@pytest.mark.parametrize("compress", [0, 1, "yes", b"", 1.0])
@pytest.mark.parametrize("extensions", [(), ALONE])
def test_a_choice_that_is_none(compress, extensions):
    connection = Connection(SERVER, extensions=extensions)
    for send, content in ((connection.send_text, "a"), (connection.send_binary, b"a")):
        with pytest.raises(LocalProtocolError, match="^compress is True, False, or None"):
            send(content, compress)
    assert connection.messages_sent == 0
    with pytest.raises(LocalProtocolError, match="^compress is True, False, or None"):
        SharedMessage("a", compress)


def test_a_message_for_many_goes_compressed():
    connection = Connection(SERVER, extensions=ALONE)
    first, payload = plain_of(connection.send_shared(SharedMessage("a" * 500, True)))
    assert (first, inflated(payload)) == (0xC1, b"a" * 500)


@pytest.mark.parametrize(("bits", "first"), [("8", 0x82), ("9", 0xC2)])
def test_the_smallest_window_that_a_side_compresses_with(bits, first):
    agreed = [Extension("permessage-deflate", [("server_max_window_bits", bits)])]
    assert plain_of(Connection(SERVER, extensions=agreed).send_binary(bytes(500), True))[0] == first


@each_role
def test_nothing_is_compressed_when_it_is_not_open(role):
    connection = Connection(role, extensions=TOGETHER)
    connection.close()
    assert connection.send_text("a" * 500) == connection.send_binary(b"a" * 500, True) == []
    assert connection.send_shared(SharedMessage("a" * 500)) == []
    assert connection.messages_sent == 0


def test_what_can_not_have_been_agreed_on():
    for parameters in ([("client_max_window_bits", None)], [("x", None)], [("server_max_window_bits", "99")]):
        agreed = [Extension("permessage-deflate", parameters)]
        with pytest.raises(LocalProtocolError, match="^permessage-deflate with an "):
            Connection(SERVER, extensions=agreed)
        connection = Connection(CLIENT)
        with pytest.raises(LocalProtocolError):
            connection.agree(agreed)
        assert connection.extensions == ()
