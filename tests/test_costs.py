"""The cost of reading: memory by the limit, time by how it grows."""

import subprocess
import sys
import tracemalloc
import zlib
from functools import partial
from itertools import cycle, pairwise
from pathlib import Path

import pytest
from feeding import by_zlib, frame
from growth import assertLinear, spent

import wsock
from wsock.sansio import _masking_python
from wsock.sansio.connection import Connection
from wsock.sansio.constants import Role
from wsock.sansio.deflate import find_backends
from wsock.sansio.events import BinaryReceived, TextReceived
from wsock.sansio.extensions import Extension

MIB = 2**20
#: The bytes that all but the payload may take: objects, events, and what is read at a time.
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


#: The agreement: each message by itself.
ALONE = [Extension("permessage-deflate", [("server_no_context_takeover", None), ("client_no_context_takeover", None)])]
#: A process that takes in the streams of a file, each after its size, and says how much its memory grows, at its
#: highest, over what it was behind the first: all of it, and not what Python traces alone.
TAKER = """
import sys

sys.path.insert(0, sys.argv[1])

from wsock.sansio import deflate
from wsock.sansio.connection import Connection
from wsock.sansio.constants import Role
from wsock.sansio.events import Failed
from wsock.sansio.extensions import Extension

BACKENDS = {one.name: one for one in deflate.find_backends()}
deflate.backend = BACKENDS[sys.argv[3]]
LIMIT, CHUNK = int(sys.argv[4]), int(sys.argv[5])
AGREED = [Extension("permessage-deflate", [(side + "_no_context_takeover", None) for side in ("server", "client")])]


def highest():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024


def take(stream):
    connection = Connection(Role.SERVER, max_message_size=LIMIT, extensions=AGREED, receive_queue=100)
    sizes = []
    for place in range(0, len(stream), CHUNK):
        events = connection.receive_data(stream[place : place + CHUNK])
        while events or connection.has_unread_data:
            for event in events:
                if isinstance(event, Failed):
                    return sizes, event.error.code
                sizes.append(len(event.data) if hasattr(event, "data") else len(event.text))
            event = events = None
            events = connection.receive_data(b"")
    return sizes, None


with open(sys.argv[2], "rb") as file:
    streams = []
    while size := file.read(8):
        streams.append(file.read(int.from_bytes(size, "big")))
take(streams[0])
before = highest()
results = [take(stream) for stream in streams[1:]]
print(highest() - before, *(f"{len(sizes)}:{sum(sizes)}:{code}" for sizes, code in results))
"""


def grown(tmp_path, backend, limit, chunk, streams):
    """How much the memory of a process grows, in bytes, and what it gets of the streams."""
    small = frame(0xC2, by_zlib(bytes(1000)), ZEROS) + frame(0xC2, by_zlib(NOISE), ZEROS)
    path = tmp_path / "streams"
    path.write_bytes(b"".join(len(one).to_bytes(8, "big") + one for one in (small, *streams)))
    program = tmp_path / "taker.py"
    program.write_text(TAKER)
    folder = str(Path(wsock.__file__).parent.parent)
    command = [sys.executable, str(program), folder, str(path), backend, str(limit), str(chunk)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    most, *results = done.stdout.split()
    return int(most), results


#: More than a small compressed message, so that each library is loaded, and has made what it keeps.
NOISE = bytes((index * index * 7919 >> 5) % 251 for index in range(6000))
#: The bytes that a process may take besides: its allocator's own, and the state of an inflater.
PROCESS = 2 * MIB
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")


@pytest.fixture(scope="module")
def bomb():
    """256 MiB of zeros in 261 KB."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    payload = b"".join(stream.compress(bytes(MIB)) for _ in range(256)) + stream.flush(zlib.Z_SYNC_FLUSH)
    assert 250_000 < len(payload) < 270_000
    return payload[:-4]


@needs_proc
@pytest.mark.parametrize("backend", [backend.name for backend in find_backends()])
@pytest.mark.parametrize("chunk", [100, 65536, 10**9])
@pytest.mark.parametrize("limit", [MIB, 16 * MIB])
def test_memory_of_a_bomb(bomb, tmp_path, backend, chunk, limit):
    # G06, G07.
    for first in (0x42, 0x41):
        streams = [
            frame(0x80 | first, bomb, ZEROS),
            fragments(first, bomb, 1000),
            frame(0x80 | first, bomb[:16_000], ZEROS),
            frame(0x80 | first, bomb[:4000], ZEROS),
        ]
        if limit == MIB:
            # As text it would take four bytes for each character.
            streams.append(frame(0x80 | first, by_zlib(EMOJI + bytes(8 * MIB)), ZEROS))
        used, results = grown(tmp_path, backend, limit, chunk, streams)
        assert {*results[:2], *results[4:]} == {"0:0:1009"}
        assert used <= 2 * limit + PROCESS


@needs_proc
@pytest.mark.parametrize("backend", [backend.name for backend in find_backends()])
def test_memory_of_63_messages_of_a_mebibyte(tmp_path, backend):
    messages = [frame(0xC2, by_zlib(bytes([number]) * MIB), ZEROS) for number in range(63)]
    halves = [by_zlib(bytes([number]) * MIB) for number in range(63)]
    streams = [
        b"".join(messages),
        b"".join(frame(0x42, one[:500], ZEROS) + frame(0x80, one[500:], ZEROS) for one in halves),
    ]
    used, results = grown(tmp_path, backend, MIB, 10**9, streams)
    assert results == [f"63:{63 * MIB}:None"] * 2
    assert used <= 2 * MIB + PROCESS


@pytest.mark.parametrize("chunk", [100, 65536, 2 * MIB])
@pytest.mark.parametrize("kind", ["binary", "text", "emoji last"])
def test_memory_of_a_compressed_message(kind, chunk):
    """As that of a plain one."""
    payload = b"x" * (MIB - 4) + (EMOJI if kind == "emoji last" else b"xxxx")
    first, factor = (0x42, 2) if kind == "binary" else (0x41, 6)
    for level in (0, 9):
        compressed = by_zlib(payload, level=level)
        for stream in (frame(0x80 | first, compressed, ZEROS), fragments(first, compressed, 1000)):
            if level == 0 and chunk == 100:
                continue
            chunks = in_chunks(stream, chunk)
            sizes = []
            used = peak(
                lambda chunks=chunks, sizes=sizes: sizes.extend(take(Connection(Role.SERVER, extensions=ALONE), chunks))
            )
            assert sizes in ([MIB], [MIB - 3])
            assert used <= factor * MIB + FIXED


def test_memory_between_compressed_messages():
    """Nothing is held without context takeover, whatever came and went."""
    connection = Connection(Role.SERVER, extensions=ALONE)
    connections = [Connection(Role.SERVER, extensions=ALONE) for _ in range(100)]

    def use(connection):
        for payload in (NOISE, bytes(3000), bytes(MIB), b"Hello"):
            take(connection, [frame(0xC2, by_zlib(payload), ZEROS)])
            connection.send_binary(payload)

    use(connection)
    tracemalloc.start()
    try:
        for one in connections:
            use(one)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held / 100 <= 512


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
    assert held / 100 <= (430 if role is Role.SERVER else 480)  # a client has what masks its frames


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
    # The rest would fail on a reader that goes through what it has with each piece.
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


def compressed_in_one_byte_chunks(size):
    chunks = in_chunks(frame(0xC2, by_zlib(b"x" * size, level=0), ZEROS), 1)
    return lambda: take(Connection(Role.SERVER, extensions=ALONE), chunks)


def compressed_text_in_one_byte_fragments(size):
    content = by_zlib(b"x" * size, level=0)
    stream = fragments(0x41, content, 1)
    return lambda: take(Connection(Role.SERVER, extensions=ALONE), [stream])


def a_bomb_in_one_byte_chunks(size):
    chunks = in_chunks(frame(0xC2, by_zlib(bytes(size * 100)), ZEROS), 1)
    return lambda: take(Connection(Role.SERVER, max_message_size=None, extensions=ALONE), chunks)


def empty_final_blocks(size):
    chunks = in_chunks(frame(0xC2, b"\x03\x00" * size, ZEROS))
    return lambda: take(Connection(Role.SERVER, extensions=ALONE), chunks)


def empty_final_blocks_in_one_read(size):
    stream = frame(0xC2, b"\x03\x00" * size, ZEROS)
    return lambda: take(Connection(Role.SERVER, extensions=ALONE), [stream])


def final_blocks_of_a_byte(size):
    stream = frame(0xC2, b"\x4b\x04\x00" * size, ZEROS)
    return lambda: take(Connection(Role.SERVER, extensions=ALONE), [stream])


def empty_stored_blocks(size):
    stream = frame(0xC2, b"\x00\x00\x00\xff\xff" * size, ZEROS)
    return lambda: take(Connection(Role.SERVER, extensions=ALONE), [stream])


def many_compressed_messages_in_one_read(size):
    stream = frame(0xC2, by_zlib(b"Hello"), ZEROS) * (size // 4)
    return lambda: take(Connection(Role.SERVER, receive_queue=1, extensions=ALONE), [stream])


def compressed_messages_that_wait(size):
    message = frame(0xC2, by_zlib(b"Hello"), ZEROS)

    def wait():
        connection = Connection(Role.SERVER, receive_queue=1, extensions=ALONE)
        for _ in range(size // 4):
            connection.receive_data(message * 2)
        take(connection, [b""])

    return wait


@pytest.mark.growth
@pytest.mark.parametrize(
    "make",
    [
        compressed_in_one_byte_chunks,
        compressed_text_in_one_byte_fragments,
        a_bomb_in_one_byte_chunks,
        empty_final_blocks,
        empty_final_blocks_in_one_read,
        final_blocks_of_a_byte,
        empty_stored_blocks,
        many_compressed_messages_in_one_read,
        compressed_messages_that_wait,
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
