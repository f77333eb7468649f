"""The frame codec: heads in, frames out."""

import os
import random

import pytest
from feeding import masked

from wsock.sansio import frames
from wsock.sansio.errors import MessageTooBig, RemoteProtocolError

#: A limit that no head of these tests meets by accident.
ROOM = 2**20
KEY = b"\x01\x02\x03\x04"


def read(head, *, is_masked=False, room=ROOM, reader=None):
    """The results of a reader for a head, fed whole, byte by byte, with something before it, and with bytes behind."""
    results = []
    for before, behind in ((b"", b""), (b"", b"\xff\xff"), (b"\x81\x00", b""), (b"\x8a", b"\x00" * 20)):
        one = reader() if reader else frames.FrameReader(is_masked)
        data = before + head + behind
        start = one.read_head(data, len(before), room)
        results.append((one.opcode, one.final, one.length, one.key, start - len(before)))
    one = reader() if reader else frames.FrameReader(is_masked)
    for end in range(1, len(head)):
        assert one.read_head(head[:end], 0, room) == -1
    start = one.read_head(head, 0, room)
    results.append((one.opcode, one.final, one.length, one.key, start))
    assert results.count(results[0]) == len(results)
    return results[0]


def refusal(head, *, is_masked=False, room=ROOM, reader=None):
    """The error that a head meets: the same whole and byte by byte; and how many bytes it took to tell."""
    one = reader() if reader else frames.FrameReader(is_masked)
    with pytest.raises(RemoteProtocolError) as whole:
        one.read_head(head + b"\x00" * 14, 0, room)
    one = reader() if reader else frames.FrameReader(is_masked)
    for end in range(1, len(head)):
        assert one.read_head(head[:end], 0, room) == -1
    with pytest.raises(type(whole.value)) as last:
        one.read_head(head, 0, room)
    assert str(last.value) == str(whole.value)
    return whole.value


def fragmented(is_masked=False):
    """A reader in the middle of a message."""
    reader = frames.FrameReader(is_masked)
    assert reader.read_head(b"\x01\x80\0\0\0\0" if is_masked else b"\x01\x00", 0, ROOM) > 0
    return reader


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        # RFC 6455 section 5.7, in its order.
        (b"\x81\x05", (1, True, 5, b"", 2)),
        (b"\x01\x03", (1, False, 3, b"", 2)),
        (b"\x89\x05", (9, True, 5, b"", 2)),
        (b"\x82\x7e\x01\x00", (2, True, 256, b"", 4)),
        (b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00", (2, True, 65536, b"", 10)),
        # The ends of each form of a length.
        (b"\x82\x00", (2, True, 0, b"", 2)),
        (b"\x82\x7d", (2, True, 125, b"", 2)),
        (b"\x82\x7e\x00\x7e", (2, True, 126, b"", 4)),
        (b"\x82\x7e\xff\xff", (2, True, 65535, b"", 4)),
        (b"\x88\x7d", (8, True, 125, b"", 2)),
        (b"\x8a\x00", (10, True, 0, b"", 2)),
    ],
)
def test_heads_from_a_server(head, expected):
    assert read(head) == expected


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\x81\x85\x37\xfa\x21\x3d", (1, True, 5, b"\x37\xfa\x21\x3d", 6)),
        (b"\x8a\x85\x37\xfa\x21\x3d", (10, True, 5, b"\x37\xfa\x21\x3d", 6)),
        (b"\x82\xfe\x01\x00\x01\x02\x03\x04", (2, True, 256, KEY, 8)),
        (b"\x02\xff\x00\x00\x00\x00\x00\x01\x00\x00\x01\x02\x03\x04", (2, False, 65536, KEY, 14)),
        (b"\x82\x80\x00\x00\x00\x00", (2, True, 0, b"\0\0\0\0", 6)),
    ],
)
def test_heads_from_a_client(head, expected):
    assert read(head, is_masked=True) == expected


def test_continuations():
    assert read(b"\x00\x03", reader=fragmented) == (0, False, 3, b"", 2)
    assert read(b"\x80\x02", reader=fragmented) == (0, True, 2, b"", 2)
    assert read(b"\x89\x00", reader=fragmented) == (9, True, 0, b"", 2)


@pytest.mark.parametrize("bits", [0x40, 0x20, 0x10, 0x70])
@pytest.mark.parametrize("opcode", [1, 2, 8, 9, 10])
def test_reserved_bits(bits, opcode):
    # F02, and DESIGN section 7: "RSV unchecked".
    assert str(refusal(bytes([0x80 | bits | opcode]))) == "reserved bits set"


def compressing(is_masked=False):
    """A reader where compression was agreed on, for messages of up to 1000 compressed bytes."""
    reader = frames.FrameReader(is_masked)
    reader.compressed_room = 1000
    return reader


def within(first):
    """The same in the middle of a message."""

    def make():
        reader = compressing()
        assert reader.read_head(first + b"\x00", 0, ROOM) == 2
        return reader

    return make


@pytest.mark.parametrize(
    ("first", "opcode", "final"), [(0xC1, 1, True), (0xC2, 2, True), (0x41, 1, False), (0x42, 2, False)]
)
def test_compressed_messages(first, opcode, final):
    # RFC 7692 section 6.
    assert read(bytes([first, 5]), reader=compressing) == (opcode, final, 5, b"", 2)
    reader = compressing()
    reader.read_head(bytes([first, 5]), 0, 3)
    assert reader.compressed
    if not final:
        # It stays so for the fragments, whatever comes between them.
        for head, size in ((b"\x89\x00", 2), (b"\x00\x01", 2), (b"\x8a\x00", 2), (b"\x80\x01", 2)):
            assert reader.read_head(head, 0, ROOM) == size
            assert reader.compressed
    assert reader.read_head(bytes([0x80 | opcode, 3]), 0, 3) == 2
    assert not reader.compressed
    assert reader.read_head(bytes([first]), 0, 3) == -1
    assert not reader.compressed


@pytest.mark.parametrize("bits", [0x40, 0x20, 0x10, 0x60, 0x50, 0x30, 0x70])
def test_reserved_bits_where_compression_was_agreed_on(bits):
    # F20, F21.
    for opcode in (8, 9, 10):
        assert str(refusal(bytes([0x80 | bits | opcode]), reader=compressing)) == "reserved bits set"
    for first in (b"\x01", b"\x41"):
        for final in (0, 0x80):
            assert str(refusal(bytes([final | bits]), reader=within(first))) == "reserved bits set"
    if bits != 0x40:
        for opcode in (1, 2):
            for final in (0, 0x80):
                assert str(refusal(bytes([final | bits | opcode]), reader=compressing)) == "reserved bits set"
    else:
        assert str(refusal(b"\xc1", reader=within(b"\x41"))) == "new message before the end of the last"
        assert str(refusal(b"\xc3", reader=compressing)) == "reserved opcode"


def test_room_for_compressed_messages():
    """Theirs is one of its own; that of a plain message and of a fragment is given."""
    assert read(b"\xc2\x7e\x03\xe8", reader=compressing, room=10) == (2, True, 1000, b"", 4)
    assert refusal(b"\xc2\x7e\x03\xe9", reader=compressing, room=10).code == 1009
    assert refusal(b"\x82\x0b", reader=compressing, room=10).code == 1009
    assert read(b"\x82\x7e\x03\xe9", reader=compressing, room=1001) == (2, True, 1001, b"", 4)
    assert refusal(b"\x80\x0b", reader=within(b"\x41"), room=10).code == 1009
    assert read(b"\x80\x0a", reader=within(b"\x41"), room=10) == (0, True, 10, b"", 2)


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("final", [0, 0x80])
def test_reserved_opcodes(opcode, final):
    # F03, F04.
    assert str(refusal(bytes([final | opcode]))) == "reserved opcode"


@pytest.mark.parametrize("opcode", [8, 9, 10])
def test_control_frames_are_short_and_whole(opcode):
    # F05, F06.
    for length in (0x7E, 0x7F):
        error = refusal(bytes([0x80 | opcode, length]))
        assert (str(error), error.code) == ("control frame too long", 1002)
    assert str(refusal(bytes([opcode]))) == "control frame fragmented"
    assert str(refusal(bytes([opcode]), reader=fragmented)) == "control frame fragmented"


@pytest.mark.parametrize("first", [b"\x81", b"\x82", b"\x88", b"\x89", b"\x8a", b"\x01"])
@pytest.mark.parametrize("length", [0, 5, 125])
def test_the_direction_of_masks(first, length):
    # F01 from a client, C01 from a server.
    assert str(refusal(first + bytes([length]), is_masked=True)) == "frame not masked"
    assert str(refusal(first + bytes([0x80 | length]))) == "frame masked"


def test_sequence():
    # F11, F12.
    for first in (b"\x80", b"\x00"):
        assert str(refusal(first)) == "continuation without a message"
    for first in (b"\x81", b"\x01", b"\x82", b"\x02"):
        assert str(refusal(first, reader=fragmented)) == "new message before the end of the last"


def test_a_message_that_ended_is_over():
    reader = fragmented()
    assert reader.read_head(b"\x89\x00", 0, ROOM) == 2
    assert reader.read_head(b"\x00\x01", 0, ROOM) == 2
    assert reader.read_head(b"\x80\x01", 0, ROOM) == 2
    with pytest.raises(RemoteProtocolError):
        reader.read_head(b"\x80\x01", 0, ROOM)
    assert reader.read_head(b"\x82\x01", 0, ROOM) == 2
    assert reader.read_head(b"\x01\x01", 0, ROOM) == 2


def test_a_head_that_has_not_ended_changes_nothing():
    reader = frames.FrameReader(masked=False)
    assert reader.read_head(b"\x01", 0, ROOM) == -1
    assert reader.read_head(b"\x01\x7e\x01", 0, ROOM) == -1
    # Were the message taken for begun, this would be refused.
    assert reader.read_head(b"\x01\x7e\x01\x00", 0, ROOM) == 4


@pytest.mark.parametrize(
    "length",
    [
        b"\x7e\x00\x00",
        b"\x7e\x00\x05",  # F09
        b"\x7e\x00\x7d",
        b"\x7f\x00\x00\x00\x00\x00\x00\x00\x05",  # F10
        b"\x7f\x00\x00\x00\x00\x00\x00\x00\x7e",
        b"\x7f\x00\x00\x00\x00\x00\x00\xff\xff",
    ],
)
def test_lengths_not_in_their_shortest_form(length):
    error = refusal(b"\x82" + length)
    assert (str(error), error.code) == ("length not in its shortest form", 1002)


@pytest.mark.parametrize(
    "length",
    [b"\x80\x00\x00\x00\x00\x00\x00\x00", b"\xff\xff\xff\xff\xff\xff\xff\xff", b"\x80\x00\x00\x00\x00\x00\x00\x05"],
)
def test_lengths_of_64_bits(length):
    # F07: the top bit is no sign, and no more than the limit either.
    error = refusal(b"\x82\x7f" + length)
    assert (str(error), type(error), error.code) == ("length over 63 bits", RemoteProtocolError, 1002)


@pytest.mark.parametrize(
    "length",
    [b"\x7f\xff\xff\xff\xff\xff\xff\xff", b"\x00\x00\x01\x00\x00\x00\x00\x00", b"\x00\x00\x00\x00\x00\x10\x00\x01"],
)
def test_too_much_is_refused_before_its_masking_key(length):
    # F08: 2^63 - 1, 1 TiB, and one byte more than the limit.
    error = refusal(b"\x82\xff" + length, is_masked=True)
    assert (type(error), error.code) == (MessageTooBig, 1009)


@pytest.mark.parametrize(("room", "head"), [(0, b"\x82\x00"), (125, b"\x82\x7d"), (126, b"\x82\x7e\x00\x7e")])
def test_exactly_the_room_passes(room, head):
    assert read(head, room=room)[2] == room
    if room:
        assert type(refusal(head, room=room - 1)) is MessageTooBig


def test_no_limit_is_no_limit():
    head = b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"
    assert read(head, room=frames.NO_LIMIT)[2] == 2**63 - 1
    assert frames.NO_LIMIT == 2**63 - 1


def test_control_frames_need_no_room():
    assert read(b"\x89\x05", room=0)[2] == 5


@pytest.mark.parametrize(
    ("opcode", "payload", "expected"),
    [
        (1, b"Hello", [b"\x81\x05Hello"]),
        (9, b"Hello", [b"\x89\x05Hello"]),
        # DESIGN section 7: an empty message is a frame too.
        (2, b"", [b"\x82\x00"]),
        (8, b"", [b"\x88\x00"]),
        (2, b"x" * 125, [b"\x82\x7d" + b"x" * 125]),
        (2, b"x" * 126, [b"\x82\x7e\x00\x7e" + b"x" * 126]),
        (2, b"x" * 256, [b"\x82\x7e\x01\x00" + b"x" * 256]),
        (2, b"x" * 16383, [b"\x82\x7e\x3f\xff" + b"x" * 16383]),
        (2, b"x" * 16384, [b"\x82\x7e\x40\x00", b"x" * 16384]),
        (2, b"x" * 65535, [b"\x82\x7e\xff\xff", b"x" * 65535]),
        # DESIGN section 7: "65536 encoded in 16 bits".
        (2, b"x" * 65536, [b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00", b"x" * 65536]),
        (1, b"x" * 70000, [b"\x81\x7f\x00\x00\x00\x00\x00\x01\x11\x70", b"x" * 70000]),
    ],
    ids=lambda value: str(len(value)) if isinstance(value, (bytes, list)) else value,
)
def test_encode(opcode, payload, expected):
    assert frames.encode(opcode, payload) == expected
    not_final = [bytes([opcode]) + expected[0][1:], *expected[1:]]
    assert frames.encode(opcode, payload, final=False) == not_final
    assert frames.encode(0, payload) == [b"\x80" + expected[0][1:], *expected[1:]]
    # RFC 7692 section 6.
    compressed = [bytes([0xC0 | opcode]) + expected[0][1:], *expected[1:]]
    assert frames.encode(opcode, payload, True, 0x40) == compressed

    for final, rsv1, plain in ((True, 0, expected), (False, 0, not_final), (True, 0x40, compressed)):
        writer = frames.MaskedFrameWriter()
        buffers = writer.encode(opcode, payload, final, rsv1)
        assert len(buffers) == len(plain)
        head_size = len(b"".join(plain)) - len(payload)
        head = b"".join(plain)[:head_size]
        stream = b"".join(buffers)
        assert stream[:head_size] == bytes([head[0], head[1] | 0x80]) + head[2:]
        key = stream[head_size : head_size + 4]
        assert masked(stream[head_size + 4 :], key) == payload
        if len(buffers) == 2:
            assert len(buffers[0]) == head_size + 4


def test_a_large_payload_is_not_copied():
    payload = bytes(20000)
    assert frames.encode(2, payload)[1] is payload


def keys(writer, count):
    return [writer.encode(2, b"")[0][2:] for _ in range(count)]


def test_no_key_comes_twice():
    # RFC 6455 section 10.3. Chance makes 0.012 repeats among 10,000 keys of 32 bits, so three would be none.
    found = keys(frames.MaskedFrameWriter(), 10_000)
    assert {len(key) for key in found} == {4}
    assert len(set(found)) > 9_997
    # Each bit is set in half of them: 5,000 with a deviation of 50.
    for bit in range(32):
        ones = sum(int.from_bytes(key, "big") >> bit & 1 for key in found)
        assert 4_650 < ones < 5_350


def test_each_connection_has_keys_of_its_own():
    first, second = (set(keys(frames.MaskedFrameWriter(), 1000)) for _ in range(2))
    assert len(first & second) < 3


def test_random_seed_has_no_influence():
    random.seed(0)
    first = keys(frames.MaskedFrameWriter(), 100)
    random.seed(0)
    assert keys(frames.MaskedFrameWriter(), 100) != first


def test_keys_come_from_the_system_alone(monkeypatch):
    drawn = []

    def urandom(size):
        drawn.append(bytes(index % 251 + len(drawn) & 0xFF for index in range(size)))
        return drawn[-1]

    monkeypatch.setattr(os, "urandom", urandom)
    assert b"".join(keys(frames.MaskedFrameWriter(), 200)) == b"".join(drawn)[:800]
    assert len(drawn) > 1


@pytest.mark.parametrize("opcode", [8, 9, 10])
def test_a_control_frame_is_none_of_the_message_around_it(opcode):
    reader = frames.FrameReader(False)
    assert reader.read_head(b"\x01\x01", 0, 1) == 2
    # The room is that of the message.
    assert reader.read_head(bytes([0x80 | opcode, 125]), 0, 1) == 2
    assert (reader.opcode, reader.final, reader.length) == (opcode, True, 125)
    assert reader.read_head(b"\x80\x01", 0, 1) == 2
