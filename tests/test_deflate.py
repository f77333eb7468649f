"""The codec of permessage-deflate by itself, on each library that is installed."""

import copy
import pickle
import random
import threading
import zlib
from types import SimpleNamespace

import pytest
from feeding import by_zlib

from wsock.sansio import deflate
from wsock.sansio.deflate import ZLIB, Backend, DeflateOptions, Deflater, Inflater, find_backends
from wsock.sansio.errors import InvalidPayload, LocalProtocolError

#: By name, the standard zlib always among them.
BACKENDS = {backend.name: backend for backend in find_backends()}
PATHS = ("isal.isal_zlib", "zlib_ng.zlib_ng")
#: By library, the level of None, and those of zlib's 1 to 9. isal has 0 to 3.
LEVELS = {
    "isal": (1, 1, 2, 2, 2, 2, 3, 3, 3, 3),
    "zlib-ng": (2, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    "zlib": (1, 1, 2, 3, 4, 5, 6, 7, 8, 9),
}
#: The end of each compressed message, which does not travel (RFC 7692 section 7.2.1).
TAIL = b"\x00\x00\xff\xff"
MOST = 2**20
#: RFC 7692 section 7.2.3.1.
HELLO = b"\xf2\x48\xcd\xc9\xc9\x07\x00"

#: Random bytes, and a text of some words, always the same.
_drawn = random.Random(7692)
NOISE = _drawn.randbytes(40_000)
_words = [bytes(_drawn.choices(b"abcdefghijklmnop", k=_drawn.randrange(3, 9))) for _ in range(500)]
TEXT = b" ".join(_drawn.choices(_words, k=2_500))
PAYLOADS = {
    "a byte": b"a",
    "Hello": b"Hello",
    "a small text": TEXT[:511],
    "a larger one": TEXT[:512],
    "a text": TEXT,
    "zeros": bytes(2000),
    "noise": NOISE[:9000],
    "repeated at a distance": b"".join(NOISE[:size] * 2 for size in (250, 500, 1000, 2000, 4000)),
}


@pytest.fixture(params=BACKENDS, autouse=True)
def backend(request, monkeypatch):
    """Has larger messages go by each library in turn, with an empty pool."""
    monkeypatch.setattr(deflate, "backend", BACKENDS[request.param])
    monkeypatch.setattr(deflate, "_pool", {})
    return BACKENDS[request.param]


def final(payload):
    """The payload in a final block, as whoever has nothing but Z_FINISH makes it (RFC 7692 section 7.2.3.4)."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(payload) + stream.flush(zlib.Z_FINISH)


def read_by_zlib(deflated, window_bits=15):
    """Inflates what travels as a peer does that knows no more than the window: in pieces, so that it has no other."""
    stream = zlib.decompressobj(-window_bits)
    data = deflated + TAIL
    return b"".join(stream.decompress(data[place : place + 50]) for place in range(0, len(data), 50))


def read(inflater, pieces, most=MOST, size=1):
    """A message in pieces, with no more than ``most`` bytes at a time; ``size`` is that of its first frame."""
    inflater.begin(size)
    inflated = []
    for piece in pieces:
        inflated.append(inflater.inflate(piece, most))
        while inflater.has_more:
            inflated.append(inflater.inflate(b"", most))
            assert len(inflated) < 100_000
    inflated.append(inflater.end(most))
    while inflater.has_more:
        inflated.append(inflater.inflate(b"", most))
        assert len(inflated) < 100_000
    inflater.finish()
    assert max(map(len, inflated)) <= most
    return b"".join(inflated)


def all_ways(deflated, *, window_bits=15):
    """Inflates a message whole, in small reads, and by few bytes at a time; by both libraries."""
    read_size, sizes = (1, (1, 2, 3, 64, MOST)) if len(deflated) < 100 else (100, (1000, MOST))
    results = []
    for most in sizes:
        for pieces in (
            [deflated],
            [deflated[place : place + read_size] for place in range(0, len(deflated), read_size)],
        ):
            for takes_over, size in ((True, 1), (False, 1), (False, 5000)):
                results.append(read(Inflater(window_bits, takes_over), pieces, most, size))
    assert results.count(results[0]) == len(results)
    return results[0]


def refused(deflated, takes_over=False):
    """A message that can't be inflated: whole and byte by byte, by both libraries."""
    for pieces in ([deflated], [deflated[place : place + 1] for place in range(len(deflated))]):
        for size in (1, 5000):
            with pytest.raises(InvalidPayload, match="compressed data is broken") as caught:
                read(Inflater(15, takes_over), pieces, MOST, size)
            assert caught.value.code == 1007


# The libraries


def test_the_backends():
    assert list(BACKENDS) == [name for name in ("isal", "zlib-ng", "zlib") if name in BACKENDS]
    assert BACKENDS["zlib"].module is ZLIB.module is zlib
    assert deflate.implementation == next(iter(BACKENDS))


@pytest.mark.parametrize(
    "missing", [set(), {"isal.isal_zlib"}, {"zlib_ng.zlib_ng"}, {"isal.isal_zlib", "zlib_ng.zlib_ng"}]
)
def test_a_backend_that_is_missing(monkeypatch, missing):
    """Also where it is installed without its compiled part."""
    loaded = []

    def load(path):
        loaded.append(path)
        if path in missing:
            raise ImportError(path)
        return SimpleNamespace(error=ValueError, path=path, decompressobj=zlib.decompressobj)

    monkeypatch.setattr(deflate, "import_module", load)
    found = list(find_backends())
    expected = [path for path in PATHS if path not in missing]
    assert [one.module.path for one in found[:-1]] == expected
    assert [one.error for one in found[:-1]] == [ValueError] * len(expected)
    assert [one.levels for one in found] == [LEVELS[one.name] for one in found]
    assert found[-1] is ZLIB
    # The fastest is enough: no other is imported.
    del loaded[:]
    next(find_backends())
    assert loaded == list(PATHS if PATHS[0] in missing else PATHS[:1])


class Losing:
    """A decompressor that keeps less of the bytes behind a final block than it should, as isal's did before 1.9."""

    def __init__(self, window_bits):
        self._stream = zlib.decompressobj(window_bits)
        self.decompress = self._stream.decompress

    @property
    def unused_data(self):
        return self._stream.unused_data[6:]


def test_a_backend_that_loses_data(monkeypatch):
    """A message that goes on behind a final block would be delivered without its end."""
    module = SimpleNamespace(error=ValueError, decompressobj=Losing)
    monkeypatch.setattr(deflate, "import_module", lambda path: module)
    assert list(find_backends()) == [ZLIB]


@pytest.mark.parametrize(("name", "levels"), LEVELS.items())
def test_levels(name, levels):
    given = []
    module = SimpleNamespace(error=ValueError, compressobj=lambda *arguments: given.append(arguments))
    one = Backend(name, module, levels)
    for level in (None, *range(1, 10)):
        one.compressor(level, 12, 5)
    assert given == [(level, zlib.DEFLATED, -12, 5) for level in levels]


# To compress


@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize("window_bits", range(9, 16))
def test_what_is_compressed_inflates_with_the_window(window_bits, name):
    payload = PAYLOADS[name]
    for level in (None, 1, 6, 9):
        for mem_level in (None, 1):
            for takes_over in (False, True):
                deflater = Deflater(window_bits, DeflateOptions(level, mem_level), takes_over)
                assert read_by_zlib(deflater.deflate(payload), window_bits) == payload
                if not takes_over:
                    assert read_by_zlib(deflater.deflate(payload), window_bits) == payload


def test_our_own_window_may_be_smaller():
    payload = NOISE[:2000] * 2
    options = DeflateOptions(max_window_bits=9)
    assert len(Deflater(15, options, False).deflate(payload)) > 4000
    assert len(Deflater(9, DeflateOptions(), False).deflate(payload)) > 4000
    assert len(Deflater(15, DeflateOptions(), False).deflate(payload)) < 2500


def test_the_examples_of_the_rfc_as_they_are_made():
    # RFC 7692 sections 7.2.3.1, 7.2.3.2 and 7.2.3.6.
    alone = Deflater(15, DeflateOptions(), False)
    assert [alone.deflate(b"Hello") for _ in range(2)] == [HELLO, HELLO]
    together = Deflater(15, DeflateOptions(), True)
    assert [together.deflate(b"Hello") for _ in range(2)] == [HELLO, b"\xf2\x00\x11\x00\x00"]
    assert [alone.deflate(b""), together.deflate(b"")] == [b"\x00", b"\x00"]


def test_context_takeover():
    """One stream, by the standard zlib, where both want it."""
    stream = zlib.decompressobj(-15)
    deflater = Deflater(15, DeflateOptions(), True)
    sizes = []
    for _ in range(3):
        deflated = deflater.deflate(NOISE[:2000])
        sizes.append(len(deflated))
        assert stream.decompress(deflated + TAIL) == NOISE[:2000]
    assert sizes[0] > 2000
    assert max(sizes[1:]) < 100
    assert deflate._pool == {}
    for options, agreed in ((DeflateOptions(context_takeover=False), True), (DeflateOptions(), False)):
        alone = Deflater(15, options, agreed)
        assert [len(alone.deflate(NOISE[:2000])) > 2000 for _ in range(2)] == [True, True]


def test_what_does_not_get_smaller():
    """It goes as it is; with context takeover only where it fills the window: the next may get smaller by it."""
    alone, together = Deflater(15, DeflateOptions(), False), Deflater(9, DeflateOptions(), True)
    for size in (200, 511, 512, 2000):
        payload = NOISE[:size]
        assert alone.pack(payload, None) is None
        assert alone.pack(payload, True) == alone.deflate(payload)
        assert (together.pack(payload, None) is None) == (size >= 512)
    for deflater in (alone, together):
        assert len(deflater.pack(bytes(2000), None) or bytes(2000)) < 100


def test_what_is_not_sent_is_not_referred_to():
    deflater = Deflater(9, DeflateOptions(), True)
    payload = NOISE[:1000]
    assert deflater.pack(payload, None) is None
    # Its end is all that the window would reach.
    again = deflater.deflate(payload[-200:])
    assert zlib.decompressobj(-9).decompress(again + TAIL) == payload[-200:]


def test_keys():
    """Equal where what was compressed can be shared."""
    assert Deflater(15, DeflateOptions(), True).key is None
    assert Deflater(15, DeflateOptions(), False).key == Deflater(15, DeflateOptions(threshold=5), False).key
    assert Deflater(15, DeflateOptions(context_takeover=False), True).key == Deflater(15, DeflateOptions(), False).key
    assert Deflater(12, DeflateOptions(), False).key == Deflater(15, DeflateOptions(max_window_bits=12), False).key
    assert Deflater(15, DeflateOptions(None, 8), False).key == Deflater(15, DeflateOptions(), False).key
    others = [(15, None, None), (12, None, None), (15, 1, None), (15, None, 5)]
    keys = [Deflater(bits, DeflateOptions(level, mem), False).key for bits, level, mem in others]
    assert len({*keys}) == len(others)


def made(monkeypatch):
    """Notes for which arguments compressors are made, by which library."""
    makes = []

    def note(name, module, *arguments):
        makes.append((name, *arguments))
        return module.compressobj(*arguments)

    for name, one in {"zlib": ZLIB, deflate.backend.name: deflate.backend}.items():
        module = one.module
        double = SimpleNamespace(
            error=module.error, compressobj=lambda *arguments, n=name, m=module: note(n, m, *arguments)
        )
        monkeypatch.setattr(one, "module", double)
    return makes


def test_what_is_made(monkeypatch, backend):
    """Small messages and contexts by the standard zlib; ``memLevel`` 8, and 5 with a context; one for all."""
    makes = made(monkeypatch)
    for _ in range(2):
        for size in (1, 511):
            Deflater(12, DeflateOptions(), False).deflate(bytes(size))
        assert makes == [("zlib", 1, 8, -12, 8)]
    del makes[:]
    expected = [] if backend is ZLIB else [(backend.name, backend.levels[0], 8, -12, 8)]
    for size in (512, 512, 5000):
        Deflater(12, DeflateOptions(), False).deflate(bytes(size))
        assert makes == expected
    del makes[:]
    deflater = Deflater(12, DeflateOptions(), True)
    for _ in range(2):
        deflater.deflate(bytes(5000))
    assert makes == [("zlib", 1, 8, -12, 5)]
    del makes[:]
    Deflater(12, DeflateOptions(9, 3), True).deflate(bytes(5000))
    assert makes == [("zlib", 9, 8, -12, 3)]


@pytest.mark.parametrize(("size", "takes_over", "is_small"), [
    (0, False, True), (4095, False, True), (4096, False, False), (2**40, False, False), (2**40, True, True),
])  # fmt: skip
def test_which_library_inflates(monkeypatch, backend, size, takes_over, is_small):
    """By the size of the first frame; behind a final block, and with context takeover, it is the standard zlib."""
    makes = []

    def double(name, module):
        def decompressobj(*arguments):
            makes.append((name, *arguments))
            return module.decompressobj(*arguments)

        return SimpleNamespace(decompressobj=decompressobj)

    for one in {ZLIB, backend}:
        monkeypatch.setattr(one, "module", double(one.name, one.module))
    assert read(Inflater(12, takes_over), [HELLO], MOST, size) == b"Hello"
    # Without context takeover its window is the largest, whatever was agreed.
    assert makes == [("zlib" if is_small else backend.name, -12 if takes_over else -15)]


def test_compressors_are_shared_by_what_they_can_do(monkeypatch):
    makes = made(monkeypatch)
    for _ in range(2):
        for window_bits, level, mem_level in ((9, None, None), (15, None, None), (15, 5, None), (15, None, 9)):
            Deflater(window_bits, DeflateOptions(level, mem_level), False).deflate(b"Hello")
    assert makes == [("zlib", 1, 8, -9, 8), ("zlib", 1, 8, -15, 8), ("zlib", 5, 8, -15, 8), ("zlib", 1, 8, -15, 9)]
    assert len(deflate._pool) == 4


# One compressor for all connections

SECRET = NOISE[1000:1800]


class Failing:
    """A real compressor that fails midway, once it has taken a secret in."""

    def __init__(self, stream, step):
        self.stream = stream
        self.step = step

    def compress(self, payload):
        compressed = self.stream.compress(payload)
        if self.step == "compress":
            raise MemoryError
        return compressed

    def flush(self, mode):
        if self.step == "flush":
            raise KeyboardInterrupt
        return self.stream.flush(mode)


@pytest.mark.parametrize("step", ["compress", "flush"])
@pytest.mark.parametrize("size", [400, 800])
def test_an_error_midway_throws_the_compressor_away(step, size, backend):
    secret = SECRET[:size]
    # As it is with the failing one's text in its history.
    first, second = (Deflater(15, DeflateOptions(), False) for _ in range(2))
    first.deflate(secret)
    (place,) = deflate._pool
    deflate._pool[place] = Failing(deflate._pool[place], step)
    with pytest.raises((MemoryError, KeyboardInterrupt)):
        first.deflate(secret)
    assert deflate._pool == {}
    deflated = second.deflate(secret)
    # Alone it inflates to its message, which the text of the first would have made shorter.
    assert read_by_zlib(deflated) == secret
    assert len(deflated) > size
    assert read_by_zlib(first.deflate(b"Hello")) == b"Hello"


@pytest.mark.parametrize("step", ["compress", "flush"])
def test_an_error_midway_with_context_takeover(step):
    """The next message begins a history of its own; the peer's is still there, and not referred to."""
    deflater = Deflater(15, DeflateOptions(), True)
    peer = zlib.decompressobj(-15)
    assert peer.decompress(deflater.deflate(b"Hello") + TAIL) == b"Hello"
    deflater._stream = Failing(deflater._stream, step)
    with pytest.raises((MemoryError, KeyboardInterrupt)):
        deflater.deflate(SECRET)
    deflated = deflater.deflate(SECRET)
    assert len(deflated) > len(SECRET)
    assert peer.decompress(deflated + TAIL) == SECRET
    assert peer.decompress(deflater.deflate(SECRET) + TAIL) == SECRET


@pytest.mark.parametrize("window_bits", [9, 12, 15])
def test_no_message_refers_to_that_of_another_connection(window_bits):
    """Each inflates by itself, and is no shorter for what the compressor has seen."""
    for level in (None, 1, 5, 9):
        for size in (300, 480, 800, 5000):
            text = NOISE[:size]
            first, second = (Deflater(window_bits, DeflateOptions(level), False) for _ in range(2))
            for _ in range(3):
                first.deflate(text)
                deflated = second.deflate(text)
                assert read_by_zlib(deflated, window_bits) == text
                assert len(deflated) > size
    assert len(deflate._pool) == 4 * (1 if deflate.backend is ZLIB else 2)


class Reentrant:
    """A compressor that, while it works, has another message compressed."""

    def __init__(self, stream, action):
        self.stream = stream
        self.action = action

    def compress(self, payload):
        compressed = self.stream.compress(payload)
        self.action()
        return compressed

    def flush(self, mode):
        self.action()
        return self.stream.flush(mode)


def test_a_compressor_in_use_is_not_in_the_pool():
    text, other = NOISE[:600], NOISE[600:1200] + NOISE[:600]
    first, second = (Deflater(15, DeflateOptions(), False) for _ in range(2))
    first.deflate(text)
    (place,) = deflate._pool
    results = []

    def meanwhile():
        assert not isinstance(deflate._pool.get(place), Reentrant)
        results.append(second.deflate(other))

    deflate._pool[place] = Reentrant(deflate._pool[place], meanwhile)
    assert read_by_zlib(first.deflate(text)) == text
    assert [read_by_zlib(result) for result in results] == [other] * 2
    assert min(map(len, results)) > len(other)
    assert list(deflate._pool) == [place]


def test_threads():
    texts = [NOISE[start : start + 3000] for start in range(0, 30_000, 3000)]
    failed = []

    def work(text):
        deflater = Deflater(15, DeflateOptions(), False)
        for _ in range(50):
            if read_by_zlib(deflater.deflate(text)) != text:
                failed.append(text)

    threads = [threading.Thread(target=work, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


# Options


@pytest.mark.parametrize(
    "values",
    [
        {"level": 0},
        {"level": 10},
        {"level": -1},
        {"level": 2**80},
        {"mem_level": 0},
        {"mem_level": 10},
        {"threshold": -1},
        {"threshold": None},
        {"max_window_bits": 8},
        {"max_window_bits": 16},
        *(
            {name: value}
            for name in ("level", "mem_level", "threshold", "max_window_bits")
            for value in (True, "9", 9.5)
        ),
    ],
)
def test_options_that_can_not_be(values):
    (name,) = values
    with pytest.raises(LocalProtocolError, match=f"^{name} is ") as caught:
        DeflateOptions(**values)
    # None leaves it to the library, or to the handshake.
    assert ("or None" in str(caught.value)) == (name != "threshold")


def test_options():
    default = DeflateOptions()
    assert (default.level, default.mem_level, default.threshold) == (None, None, 256)
    assert (default.max_window_bits, default.context_takeover) == (15, True)
    for level in (1, 9):
        assert DeflateOptions(level, level).level == DeflateOptions(level, level).mem_level == level
    for threshold in (0, 2**80):
        assert DeflateOptions(threshold=threshold).threshold == threshold
    for bits in (9, 15):
        assert DeflateOptions(max_window_bits=bits).max_window_bits == bits


def test_the_range_of_an_option_is_told():
    with pytest.raises(LocalProtocolError, match="^threshold is at least 0$"):
        DeflateOptions(threshold=-1)
    with pytest.raises(LocalProtocolError, match="^max_window_bits is 9 to 15, or None$"):
        DeflateOptions(max_window_bits=16)
    with pytest.raises(LocalProtocolError, match="^level is 1 to 9, or None$"):
        DeflateOptions(0)
    with pytest.raises(LocalProtocolError, match="^level is a whole number from 1 to 9, or None, not str$"):
        DeflateOptions("9")


# To inflate


@pytest.mark.parametrize(
    ("deflated", "payload"),
    [
        # RFC 7692 sections 7.2.3.1 to 7.2.3.6.
        (HELLO, b"Hello"),
        (b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", b"Hello"),
        (b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", b"Hello"),
        (b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", b"Hello"),
        (b"\x00", b""),
        # Messages of peers that end a block in another way.
        pytest.param(b"\xf3\x48\xcd\xc9\xc9\x07\x00", b"Hello", id="a final block and no byte behind it"),
        pytest.param(b"\x01\x05\x00\xfa\xffHello\x00", b"Hello", id="a final block that is stored"),
        pytest.param(b"\xf3\x48\xcd\xc9\xc9\x07\x00" + HELLO, b"HelloHello", id="a final block and more"),
        pytest.param(b"\xf3\x48\xcd\xc9\xc9\x07\x00" * 3 + b"\x00", b"HelloHelloHello", id="final blocks"),
        pytest.param(b"\x03\x00" * 20 + b"\x00", b"", id="empty final blocks"),
        pytest.param(b"\x03\x00" * 20, b"", id="empty final blocks and no byte behind them"),
        pytest.param(b"\x01\x00\x00\xff\xff" * 3 + HELLO, b"Hello", id="empty final blocks, stored, and a message"),
        pytest.param(b"\x00\x00\x00\xff\xff" * 5 + b"\x00", b"", id="empty blocks"),
        pytest.param(b"\x02\x00", b"", id="a block with nothing but its end"),
        pytest.param(HELLO + TAIL, b"Hello", id="the last four bytes not removed"),
        pytest.param(HELLO + TAIL + b"\x00" + TAIL, b"Hello", id="the same behind a flush without data"),
        pytest.param(b"\x00\x04\x00\xfb\xff" + TAIL + b"\x00", TAIL, id="a message that is these four bytes"),
        pytest.param(b"\x01\x04\x00\xfb\xff" + TAIL, TAIL, id="the same in a final block"),
        pytest.param(HELLO + TAIL + HELLO, b"HelloHello", id="two flushes"),
        pytest.param(HELLO + TAIL + b"\x00" + TAIL + b"\x00", b"Hello", id="flushes without data"),
        pytest.param(HELLO + TAIL + b"\xf2\x00\x11\x00\x00", b"HelloHello", id="a reference across a flush"),
    ],
)  # fmt: skip
def test_inflating(deflated, payload):
    assert all_ways(deflated) == payload


@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize("level", [0, 1, 9])
def test_what_zlib_compresses(name, level):
    payload = PAYLOADS[name]
    assert all_ways(by_zlib(payload, 15, level)) == payload
    assert all_ways(final(payload) + b"\x00") == payload
    assert all_ways(final(payload)) == payload
    half = len(payload) // 2
    stream = zlib.compressobj(level, zlib.DEFLATED, -15)
    parts = [stream.compress(part) + stream.flush(zlib.Z_SYNC_FLUSH) for part in (payload[:half], b"", payload[half:])]
    assert all_ways(b"".join(parts)[:-4]) == payload


@pytest.mark.parametrize("window_bits", range(8, 16))
def test_the_whole_of_the_window_is_there(window_bits):
    """A reference goes as far back as the window is large: also the smallest, which zlib itself doesn't make."""
    size = 2**window_bits
    noise = NOISE[:size]
    stored = b"\x00" + (size % 65536).to_bytes(2, "little") + (0xFFFF - size % 65536).to_bytes(2, "little") + noise
    # A fixed block: a match of 3 bytes, whose distance is the window's size: codes 7.0 of length, 5 of distance.
    code = 2 * window_bits - 1
    extra = window_bits - 2
    bits = [0, 1, 0, *[0, 0, 0, 0, 0, 0, 1], *map(int, f"{code:05b}"), *[1] * extra, *[0] * 7]
    octets = bytes(
        sum(bit << index for index, bit in enumerate(bits[place : place + 8])) for place in range(0, len(bits), 8)
    )
    used = len(bits) % 8
    # The empty stored block that ends it: its 3 bits of head fit into the last octet, or need one more.
    deflated = stored + octets + (b"\x00" if used == 0 or used > 5 else b"")
    assert all_ways(deflated, window_bits=window_bits) == noise + noise[:3]


def test_the_message_takes_no_memory_once_it_is_over():
    """Without context takeover, whatever ended it; with it, behind a final block too."""
    for deflated in (HELLO, final(b"Hello"), final(b"Hello") + b"\x00", by_zlib(NOISE)):
        inflater = Inflater(15, False)
        read(inflater, [deflated])
        assert (inflater._stream, inflater._rest, inflater._last) == (None, b"", b"")
    inflater = Inflater(15, True)
    read(inflater, [HELLO])
    assert inflater._stream is not None
    read(inflater, [final(b"Hello")])
    assert inflater._stream is None


def test_context():
    together = Inflater(15, True)
    assert read(together, [HELLO]) == b"Hello"
    for _ in range(3):
        # RFC 7692 section 7.2.3.2.
        assert read(together, [b"\xf2\x00\x11\x00\x00"]) == b"Hello"
    assert read(together, [b"\x00"]) == b""
    assert read(together, [b"\xf2\x00\x11\x00\x00", TAIL[:1], TAIL[1:]]) == b"Hello"
    assert read(together, [b"\xf2", b"\x00\x11", b"\x00\x00"]) == b"Hello"
    # A final block ends the history too: zlib's own would begin afresh behind it.
    assert read(together, [final(b"Hello") + b"\x00"]) == b"Hello"
    assert read(together, [HELLO]) == b"Hello"
    assert read(together, [b"\xf2\x00\x11\x00\x00"]) == b"Hello"
    assert read(together, [final(b"Hello")]) == b"Hello"
    assert read(together, [HELLO]) == b"Hello"
    alone = Inflater(15, False)
    assert read(alone, [HELLO]) == b"Hello"
    with pytest.raises(InvalidPayload):
        read(alone, [b"\xf2\x00\x11\x00\x00"])


@pytest.mark.parametrize(
    "deflated",
    [
        pytest.param(b"\xff" * 10, id="a block of a kind that there is not"),
        pytest.param(b"\x07", id="the same in one byte"),
        pytest.param(b"\x00\x05\x00\x00\x00Hello\x00", id="a stored block whose length is wrong"),
        pytest.param(b"\xf2\x00\x11\x00\x00", id="a reference to what was before"),
        pytest.param(HELLO + TAIL + b"\xff", id="behind a flush"),
        pytest.param(final(b"Hello") + b"\xff", id="behind a final block"),
        pytest.param(final(b"Hello") + b"\x07\x07", id="more behind a final block"),
        pytest.param(b"Hello", id="not compressed"),
        pytest.param(b"\x04" + b"\xff" * 20, id="lengths of codes that can't be"),
    ],
)
@pytest.mark.parametrize("takes_over", [False, True])
def test_broken_data(deflated, takes_over):
    # F22.
    refused(deflated, takes_over)


@pytest.mark.parametrize(
    "deflated",
    [
        *(pytest.param(HELLO[:end], id=f"{end} bytes of Hello") for end in range(1, 6)),
        *(pytest.param(final(b"Hello")[:end], id=f"{end} bytes of a final block") for end in range(1, 6)),
        pytest.param(b"\x00\x05", id="within the length of a stored block"),
        pytest.param(b"\x00\x10\x00\xef\xffHel", id="within a stored block"),
        pytest.param(b"\x00\x10\x00\xef\xffHel" + TAIL, id="within a stored block, behind what looks like a flush"),
        pytest.param(by_zlib(TEXT)[:-9], id="near the end of a text"),
        pytest.param(by_zlib(TEXT)[:5000], id="in the middle of a text"),
        pytest.param(by_zlib(NOISE)[:9000], id="in the middle of noise"),
    ],
)
def test_data_that_is_cut_off(deflated):
    refused(deflated)


def test_an_inflater_between_messages_can_be_copied():
    ways = [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))]
    for way in ways:
        for takes_over in (False, True):
            fresh = way(Inflater(15, takes_over))
            assert read(fresh, [HELLO]) == b"Hello"
            if takes_over:
                assert read(fresh, [b"\xf2\x00\x11\x00\x00"]) == b"Hello"
                with pytest.raises(TypeError, match="can't be copied or pickled within a compressed message"):
                    way(fresh)
            else:
                with pytest.raises(InvalidPayload):
                    read(way(fresh), [b"\xf2\x00\x11\x00\x00"])
        for first in (HELLO[:3], HELLO + TAIL):
            inflater = Inflater(15, False)
            inflater.begin(7)
            inflater.inflate(first, MOST)
            with pytest.raises(TypeError, match="can't be copied or pickled within a compressed message"):
                way(inflater)
        waiting = Inflater(15, False)
        waiting.begin(100)
        waiting.inflate(final(b"Hello") + HELLO, 5)
        assert waiting.has_more
        with pytest.raises(TypeError):
            way(waiting)


def test_a_deflater_can_be_copied():
    """A copy with context takeover begins a history of its own."""
    for way in (copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))):
        for takes_over in (False, True):
            deflater = Deflater(12, DeflateOptions(7, 4), takes_over)
            deflater.deflate(NOISE[:1000])
            copied = way(deflater)
            assert copied.key == deflater.key
            deflated = copied.deflate(NOISE[:1000])
            assert read_by_zlib(deflated, 12) == NOISE[:1000]
            assert len(deflated) > 1000
            assert copied.deflate(b"Hello" * 10) == deflater.deflate(b"Hello" * 10) or takes_over


def test_a_peer_that_refers_beyond_its_window():
    """The size of the pieces makes no difference: without context takeover a deflate can refer to any of it."""
    deflated = bytes.fromhex("aa00000000ffffaaa8201500000000ffffaba81805a360148c8651300a46c1a0020000")
    whole = read(Inflater(9, False), [deflated])
    assert len(whole) == 1116
    assert read(Inflater(9, False), [bytes((byte,)) for byte in deflated]) == whole
