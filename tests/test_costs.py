"""What reading costs: memory by what it is allowed, time by how it grows."""

import tracemalloc
from functools import partial
from itertools import cycle, pairwise

import pytest
from feeding import frame
from growth import assertLinear, spent

from wsock.sansio import _masking_python
from wsock.sansio.connection import Connection
from wsock.sansio.constants import Role
from wsock.sansio.events import BinaryReceived, TextReceived

MIB = 2**20
#: What all that is not payload may take: objects, events, and what is read at a time.
FIXED = 2**17
ZEROS = bytes(4)
EMOJI = b"\xf0\x9f\x98\x80"


def in_chunks(stream, size=65536):
    return [stream[place : place + size] for place in range(0, len(stream), size)]


def take(connection, chunks):
    """Feeds it all and keeps nothing but the sizes of the messages."""
    sizes = []
    for chunk in chunks:
        events = connection.receive_data(chunk)
        while True:
            for event in events:
                if isinstance(event, BinaryReceived):
                    sizes.append(len(event.data))
                elif isinstance(event, TextReceived):
                    sizes.append(len(event.text))
            connection.replies()
            if not connection.has_unread_data:
                break
            del events
            events = connection.receive_data(b"")
    return sizes


def peak(action):
    """The traced memory of an action at its highest."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


#: A message of so many bytes in each shape that has cost some library its memory, and what it may cost ours.
SHAPES = {
    "a frame of binary": (lambda size: frame(0x82, b"x" * size, ZEROS), 2),
    "a frame of text": (lambda size: frame(0x81, b"x" * size, ZEROS), 6),
    "a frame of text with an emoji first": (lambda size: frame(0x81, EMOJI + b"x" * (size - 4), ZEROS), 6),
    "a frame of text with an emoji last": (lambda size: frame(0x81, b"x" * (size - 4) + EMOJI, ZEROS), 6),
    "fragments of binary": (lambda size: fragments(0x02, b"x" * size, 1000), 2),
    "fragments of text with an emoji last": (lambda size: fragments(0x01, b"x" * (size - 4) + EMOJI, 1000), 6),
    "a byte and the rest as text with an emoji last": (
        lambda size: fragments(0x01, b"x" * (size - 4) + EMOJI, size - 1),
        6,
    ),
    "an emoji of which one byte comes first": (
        lambda size: frame(0x01, EMOJI[:1], ZEROS) + frame(0x80, EMOJI[1:] + b"x" * (size - 4), ZEROS),
        6,
    ),
}


def fragments(first, payload, size):
    """A message in frames of so many bytes each; two of one byte and the rest make a message, whatever is left."""
    starts = [*range(0, len(payload), size), len(payload)]
    frames = [frame(0x00 if start else first, payload[start:end], ZEROS) for start, end in pairwise(starts)]
    return b"".join(frames) + frame(0x80, b"", ZEROS)


@pytest.mark.parametrize("chunk", [65536, 2 * MIB])
@pytest.mark.parametrize("shape", SHAPES)
def test_memory_of_a_message(shape, chunk):
    make, factor = SHAPES[shape]
    chunks = in_chunks(make(MIB), chunk)
    sizes = []
    used = peak(lambda: sizes.extend(take(Connection(Role.SERVER), chunks)))
    assert len(sizes) == 1
    assert used <= factor * MIB + FIXED


@pytest.mark.parametrize(("opcode", "factor"), [(2, 2), (1, 6)])
def test_memory_of_fragments_of_one_byte(opcode, factor):
    # G03: memory is that of the payload, not of the fragments.
    size = 2**16
    stream = b"".join(
        [frame(opcode, b"x", ZEROS), frame(0x00, b"x", ZEROS) * (size - 2), frame(0x80, b"x", ZEROS)],
    )
    chunks = in_chunks(stream)
    sizes = []
    used = peak(lambda: sizes.extend(take(Connection(Role.SERVER, max_message_size=size), chunks)))
    assert sizes == [size]
    assert used <= factor * size + 2**14


def test_memory_of_empty_fragments():
    # G02: a count, whatever it reaches.
    chunks = in_chunks(frame(0x02, b"", ZEROS) + frame(0x00, b"", ZEROS) * 100_000)
    used = peak(lambda: take(Connection(Role.SERVER, max_empty_fragments=None), chunks))
    assert used <= FIXED


def test_memory_of_what_is_announced():
    # F08, G09: nothing is set aside for it.
    def announce():
        for limit in (None, 2**40):
            connection = Connection(Role.SERVER, max_message_size=limit)
            connection.receive_data(b"\x82\xff\0\0\0\xff\xff\xff\xff\xff" + ZEROS + b"x" * 100)

    assert peak(announce) <= 2**14


def test_memory_of_what_waits():
    # Input that comes while unread data waits is held as its bytes, however small its pieces, and read from there.
    chunks = in_chunks(frame(0x82, b"xyz", ZEROS) * 60_000, 18)
    first = frame(0x81, b"", ZEROS) * len(chunks)

    def wait():
        connection = Connection(Role.SERVER, receive_queue=1)
        for chunk in [first, *chunks]:
            connection.receive_data(chunk)
        assert len(take(connection, [b""])) == 60_000 - 1

    # Many calls: what measures coverage is traced too, and was seen to take as much as FIXED.
    assert peak(wait) <= 2 * 60_000 * 9 + 2 * FIXED


def test_memory_of_a_message_that_ends_with_its_connection():
    for end in (b"\x88\x80" + ZEROS, b"\xff"):
        connection = Connection(Role.SERVER)
        stream = frame(0x02, b"x" * 500_000, ZEROS)
        tracemalloc.start()
        try:
            connection.receive_data(stream)
            held = tracemalloc.get_traced_memory()[0]
            connection.receive_data(end)
            left = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert held > 500_000
        assert left < 10_000


def test_memory_of_what_one_call_hands_over():
    # DESIGN section 2: "never stand in memory together".
    limit = 10_000
    for size in (1, 100, limit // 2 + 1, limit):
        chunks = in_chunks(frame(0x82, b"x" * size, ZEROS) * (200_000 // size))
        connection = Connection(Role.SERVER, max_message_size=limit, receive_queue=2**40)
        for chunk in chunks:
            events = connection.receive_data(chunk)
            while events or connection.has_unread_data:
                assert sum(len(event.data) for event in events) <= limit
                events = connection.receive_data(b"")


@pytest.mark.parametrize("role", Role)
def test_memory_of_an_idle_connection(role):
    connections = []

    def use():
        for _ in range(100):
            connection = Connection(role)
            connection.receive_data(frame(0x82, b"x" * 64, None if role is Role.CLIENT else ZEROS))
            connections.append(connection)

    tracemalloc.start()
    try:
        use()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held / 100 <= 430


def test_memory_of_the_plain_buffer():
    # Tested by its name: where the C twin is there, nothing else here uses it.
    data = bytes(MIB)

    def gather(piece):
        buffer = _masking_python.PayloadBuffer()
        for start in range(0, MIB, piece):
            buffer.extend(data, start, min(start + piece, MIB), b"abcd", start, MIB)
        assert len(buffer.take()) == MIB

    for piece in (7, 1000, 65536, MIB):
        assert peak(partial(gather, piece)) <= 2 * MIB + FIXED
    assert peak(lambda: _masking_python.unmask(data, 0, MIB, b"abcd")) <= 2 * MIB + FIXED


@pytest.mark.growth
def test_growth_is_measured():
    # What follows would fail on a reader that goes through what it has with each piece.
    def quadratic(size):
        for has in range(size):
            sum(range(has))

    with pytest.raises(AssertionError, match="times the time"):
        assertLinear(lambda: spent(lambda: quadratic(125)), lambda: spent(lambda: quadratic(2000)))


@pytest.mark.growth
def test_what_adds_to_the_time_is_no_growth():
    # Memory that is dearer in large pieces, at each turn; another program that is busy for most of the turns.
    assertLinear(lambda: 0.02, lambda: 0.02 * 16 * 2.7)
    busy = cycle([2.0] * 9 + [0.32])
    assertLinear(lambda: 0.02, lambda: next(busy))


@pytest.mark.growth
def test_short_work_is_repeated():
    measured = []

    def small():
        measured.append(0.001)
        return measured[-1]

    assertLinear(small, lambda: 0.016)
    assert sum(measured) >= 5 * 0.009


def one_byte_chunks(size):
    chunks = in_chunks(frame(0x82, b"x" * size, ZEROS), 1)
    return lambda: take(Connection(Role.SERVER), chunks)


def one_byte_chunks_of_text(size):
    chunks = in_chunks(frame(0x81, b"x" * size, ZEROS), 1)
    return lambda: take(Connection(Role.SERVER), chunks)


def one_byte_fragments(size):
    chunks = in_chunks(frame(0x02, b"", ZEROS) + frame(0x00, b"x", ZEROS) * size)
    return lambda: take(Connection(Role.SERVER), chunks)


def one_byte_fragments_of_text(size):
    chunks = in_chunks(frame(0x01, b"", ZEROS) + frame(0x00, b"x", ZEROS) * size)
    return lambda: take(Connection(Role.SERVER), chunks)


def one_byte_fragments_in_one_read(size):
    stream = frame(0x02, b"", ZEROS) + frame(0x00, b"x", ZEROS) * size
    return lambda: take(Connection(Role.SERVER), [stream])


def empty_fragments(size):
    chunks = in_chunks(frame(0x02, b"", ZEROS) + frame(0x00, b"", ZEROS) * size)
    return lambda: take(Connection(Role.SERVER, max_empty_fragments=None), chunks)


def pieces_that_wait(size):
    message = frame(0x82, b"x" * 10, ZEROS)

    def wait():
        connection = Connection(Role.SERVER, receive_queue=1)
        for _ in range(size):
            connection.receive_data(message * 2)
        take(connection, [b""])

    return wait


def many_messages_in_one_read(size):
    stream = frame(0x82, b"x", ZEROS) * size
    return lambda: take(Connection(Role.SERVER, receive_queue=1), [stream])


# 16 and 256 KiB: beyond, what is measured is the caches of the processor.


def a_huge_frame(size):
    chunks = in_chunks(frame(0x82, bytes(size * 4), ZEROS), 1024)
    return lambda: take(Connection(Role.SERVER, max_message_size=None), chunks)


def a_huge_frame_of_text(size):
    chunks = in_chunks(frame(0x81, bytes(size * 4), ZEROS), 1024)
    return lambda: take(Connection(Role.SERVER, max_message_size=None), chunks)


def a_huge_frame_in_one_read(size):
    stream = frame(0x82, bytes(size * 4), ZEROS)
    return lambda: take(Connection(Role.SERVER, max_message_size=None), [stream])


@pytest.mark.growth
@pytest.mark.parametrize(
    "make",
    [
        one_byte_chunks,
        one_byte_chunks_of_text,
        one_byte_fragments,
        one_byte_fragments_of_text,
        one_byte_fragments_in_one_read,
        empty_fragments,
        pieces_that_wait,
        many_messages_in_one_read,
        a_huge_frame,
        a_huge_frame_of_text,
        a_huge_frame_in_one_read,
    ],
    ids=lambda make: make.__name__,
)
def test_time_is_linear(make):
    small, large = make(4000), make(64_000)
    assertLinear(lambda: spent(small), lambda: spent(large))
