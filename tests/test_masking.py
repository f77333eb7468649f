"""The mask: each implementation by its own name, then the one that picks."""

import copy
import importlib.util
import random
import sys
from itertools import pairwise
from types import ModuleType, SimpleNamespace

import pytest
from feeding import masked
from hypothesis import given
from hypothesis import strategies as st

import wsock
from wsock.sansio import _masking_python, masking

try:
    from wsock.sansio import _masking
except ImportError:
    IMPLEMENTATIONS = [_masking_python]
else:
    IMPLEMENTATIONS = [_masking, _masking_python]

each = pytest.mark.parametrize("module", IMPLEMENTATIONS, ids=lambda module: module.__name__.rpartition(".")[2])
#: Around words of 4 and 8 bytes, short frames, and what is masked at a time.
SIZES = [*range(20), 63, 64, 65, 123, 124, 125, 126, 127, 128, 129, 1000, 32767, 32768, 32769, 65536, 65537, 100_003]


def test_compiled_has_the_c_mask():
    # The C file would otherwise go untested where it runs.
    assert (len(IMPLEMENTATIONS) == 2) == (wsock.implementation == "compiled")


@each
def test_the_example_of_the_rfc(module):
    # RFC 6455 section 5.7: "a single-frame masked text message".
    assert module.unmask(b"\x7f\x9f\x4d\x51\x58", 0, 5, b"\x37\xfa\x21\x3d") == b"Hello"
    assert module.unmask(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", 6, 11, None) == b"Hello"
    assert module.unmask(b"Hello", 0, 5, b"\x37\xfa\x21\x3d") == b"\x7f\x9f\x4d\x51\x58"
    # The key may be all that comes before.
    assert module.unmask(b"\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", 4, 9, None) == b"Hello"


@each
@pytest.mark.parametrize("size", SIZES)
def test_sizes(module, size):
    payload = random.Random(size).randbytes(size)
    key = b"\x01\x80\xfe\x00"
    data = b"?" + key + payload + b"!"
    assert module.unmask(data, 5, 5 + size, key) == masked(payload, key)
    assert module.unmask(data, 5, 5 + size, None) == masked(payload, key)
    assert module.unmask(data, 5, 5 + size, b"") == payload


@each
def test_results_are_bytes_of_their_own(module):
    assert type(module.unmask(b"abcd", 1, 3, b"\0\0\0\0")) is bytes
    assert type(module.unmask(b"abcd", 1, 3, b"")) is bytes
    assert module.unmask(b"", 0, 0, b"") == module.unmask(b"abcd", 2, 2, b"abcd") == b""


@each
@pytest.mark.parametrize(
    "arguments",
    [
        (b"abcd", -1, 3, b"keys"),
        (b"abcd", 3, 2, b"keys"),
        (b"abcd", 0, 5, b"keys"),
        (b"abcd", 5, 5, b"keys"),
        (b"abcd", 0, 4, b"key"),
        (b"abcd", 0, 4, b"5keys"),
        (b"abcd", 0, 4, b"1"),
        (b"abcd", 3, 4, None),
    ],
)
def test_what_does_not_lie_in_the_data_is_refused(module, arguments):
    with pytest.raises(ValueError, match=r"."):
        module.unmask(*arguments)
    buffer = module.PayloadBuffer()
    if arguments[3] is not None:
        with pytest.raises(ValueError, match=r"."):
            buffer.extend(*arguments, 0, 100)
        assert len(buffer) == 0
        assert buffer.take() == b""


@each
def test_a_buffer_gathers_and_starts_anew(module):
    buffer = module.PayloadBuffer()
    assert len(buffer) == 0
    assert buffer.take() == b""
    buffer.extend(b"<Hel>", 1, 4, b"", 0, 5)
    buffer.extend(b"lo", 0, 2, b"", 3, 5)
    buffer.extend(b"", 0, 0, b"", 5, 5)
    assert len(buffer) == 5
    first = buffer.take()
    assert len(buffer) == 0
    buffer.extend(b"\x7f\x9f\x4d", 0, 3, b"\x37\xfa\x21\x3d", 0, 2**63 - 1)
    buffer.extend(b"\x51\x58", 0, 2, b"\x37\xfa\x21\x3d", 3, 2**63 - 1)
    assert buffer.take() == b"Hello"
    assert first == b"Hello"


@each
def test_a_copy_of_a_buffer_goes_its_own_way(module):
    buffer = module.PayloadBuffer()
    buffer.extend(b"<Hel", 1, 4, b"", 0, 5)
    other = copy.copy(buffer)
    other.extend(b"p", 0, 1, b"", 3, 5)
    buffer.extend(b"lo", 0, 2, b"", 3, 5)
    assert (bytes(other), bytes(buffer)) == (b"Help", b"Hello")
    assert (other.take(), buffer.take()) == (b"Help", b"Hello")


# Drawn, not parametrized: pytest-twisted wraps a property once more for each of its parameters.
@given(
    module=st.sampled_from(IMPLEMENTATIONS),
    payload=st.binary(max_size=300),
    key=st.one_of(st.just(b""), st.binary(min_size=4, max_size=4)),
    cuts=st.lists(st.integers(0, 300), max_size=8),
    limit=st.sampled_from([0, 1, 64, 300, 2**63 - 1]),
)
def test_pieces_make_the_whole(module, payload, key, cuts, limit):
    expected = masked(payload, key) if key else payload
    places = sorted({0, len(payload), *(cut for cut in cuts if cut < len(payload))})
    buffer = module.PayloadBuffer()
    for start, end in pairwise(places):
        buffer.extend(payload, start, end, key, start, limit)
        assert len(buffer) == end
    assert buffer.take() == expected


@given(
    data=st.binary(max_size=400), key=st.binary(min_size=4, max_size=4), ends=st.tuples(st.integers(0), st.integers(0))
)
def test_all_implementations_agree(data, key, ends):
    start, end = sorted(place % (len(data) + 1) for place in ends)
    expected = masked(data[start:end], key)
    assert [module.unmask(data, start, end, key) for module in IMPLEMENTATIONS] == [expected] * len(IMPLEMENTATIONS)


@each
def test_large_pieces_at_every_phase(module):
    payload = random.Random(0).randbytes(70_000)
    for phase in range(8):
        buffer = module.PayloadBuffer()
        buffer.extend(payload, 0, phase, b"abcd", 0, 70_000)
        buffer.extend(payload, phase, 70_000, b"abcd", phase, 70_000)
        assert buffer.take() == masked(payload, b"abcd")


def test_the_chooser_says_what_it_chose():
    chosen = _masking_python if masking.implementation == "python" else _masking
    assert masking.unmask is chosen.unmask
    assert masking.PayloadBuffer is chosen.PayloadBuffer
    assert wsock.maskImplementation == masking.implementation
    assert masking.implementation == ("c" if wsock.implementation == "compiled" else "python")


@pytest.mark.skipif(wsock.implementation == "compiled", reason="an extension module does not load twice")
@pytest.mark.parametrize(
    ("found", "expected"), [(SimpleNamespace(unmask=len, PayloadBuffer=bytearray), "c"), (None, "python")]
)
def test_the_chooser_takes_c_where_there_is_one(monkeypatch, found, expected):
    monkeypatch.setitem(sys.modules, "wsock.sansio._masking", found)
    spec = importlib.util.spec_from_file_location("wsock.sansio.masking", masking.__file__)
    assert spec is not None
    assert spec.loader is not None
    again: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    assert again.implementation == expected
    assert (again.unmask is len) == (expected == "c")
    assert (again.PayloadBuffer is bytearray) == (expected == "c")
