"""What holds for any input: drawn by Hypothesis, 1,000 examples each (the profile of conftest.py)."""

import tracemalloc
from itertools import pairwise

from feeding import KEY, Fact, drain, fact, feed, frame
from hypothesis import given
from hypothesis import strategies as st

from wsock.sansio import messages
from wsock.sansio.connection import Connection
from wsock.sansio.constants import Role
from wsock.sansio.errors import LocalProtocolError
from wsock.sansio.frames import MaskedFrameWriter
from wsock.sansio.messages import MessageReader

roles = st.sampled_from(Role)
keys = st.one_of(st.just(KEY), st.binary(min_size=4, max_size=4))
#: Around each form of a length, each slice, and what is handed out apart from its head.
sizes = st.one_of(
    st.integers(0, 140),
    st.sampled_from([0, 1, 124, 125, 126, 127, 128, 16383, 16384, 16385, 65535, 65536, 65537]),
    st.integers(0, 70_000),
)
texts = st.one_of(st.text(max_size=200), st.builds("{}{}".format, sizes.map("a".__mul__), st.text(max_size=3)))
binaries = st.one_of(st.binary(max_size=200), st.builds(bytes.__mul__, st.binary(min_size=1, max_size=1), sizes))
limits = st.fixed_dictionaries(
    {},
    optional={
        "max_message_size": st.one_of(st.none(), st.integers(1, 300)),
        "max_empty_fragments": st.one_of(st.none(), st.integers(0, 3)),
        "receive_queue": st.integers(1, 20),
    },
)

#: First bytes, with those that may come more often than those that may not.
firsts = st.one_of(st.sampled_from([0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x88, 0x89, 0x8A]), st.integers(0, 255))
#: Payloads: text whole and torn, close codes, anything.
payloads = st.one_of(
    st.binary(max_size=20),
    st.text(max_size=20).map(str.encode),
    st.text(max_size=5).map(str.encode).flatmap(lambda data: st.integers(0, len(data)).map(lambda end: data[:end])),
    st.sampled_from([b"", b"\x03\xe8", b"\x03\xe8Bye", b"\x03", b"\x03\xed"]),
    st.integers(0, 400).map(bytes),
)


@st.composite
def conversations(draw, role, size_limit):
    """What a peer may send: messages in fragments, around the limit more often than not, and Pings in between."""
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        size = draw(st.one_of(st.integers(size_limit - 1, size_limit + 1), st.integers(0, 20)))
        cuts = sorted([*draw(st.lists(st.sampled_from([0, size // 2, size - 1, size]), max_size=3)), size])
        start, first = 0, 0x02
        for end in cuts:
            parts.append((first, bytes(max(0, end - start))))
            if draw(st.booleans()):
                parts.append((0x89, draw(st.sampled_from([b"", b"?", bytes(125)]))))
            start, first = end, 0x00
        parts.append((0x80, b""))
    key = KEY if role is Role.SERVER else None
    return b"".join(frame(first, payload, key) for first, payload in parts)


@st.composite
def streams(draw, role):
    """Bytes as a peer could send them: mostly frames, mostly right ones, then anything."""
    parts = [
        frame(draw(firsts), draw(payloads), draw(keys) if role is Role.SERVER else None)
        for _ in range(draw(st.integers(0, 8)))
    ]
    return b"".join(parts) + draw(st.one_of(st.just(b""), st.binary(max_size=30)))


@st.composite
def splits(draw, data):
    """The same bytes in pieces."""
    if draw(st.booleans()):
        size = draw(st.integers(1, 9))
        return [data[place : place + size] for place in range(0, len(data), size)]
    places = sorted({0, len(data), *draw(st.lists(st.integers(0, len(data)), max_size=8))})
    return [data[start:end] for start, end in pairwise(places)]


@given(data=st.data(), role=roles, options=limits)
def test_any_split_gives_the_same_events(data, role, options):
    stream = data.draw(st.one_of(streams(role), conversations(role, options.get("max_message_size") or 100)))
    whole, split, waiting = (Connection(role, **options) for _ in range(3))
    expected = drain(whole, stream)
    pieces = data.draw(splits(stream))
    assert feed(split, pieces) == expected
    # The same where it is not asked for what waits until all has come.
    facts = [fact(event) for piece in pieces for event in waiting.receive_data(piece)] + drain(waiting, b"")
    assert facts == expected
    if role is Role.SERVER:
        replies = b"".join(whole.replies())
        assert b"".join(split.replies()) == replies
        assert b"".join(waiting.replies()) == replies
    for one in (split, waiting):
        assert (one.close_sent, one.close_received) == (whole.close_sent, whole.close_received)
        assert str(one.failed) == str(whole.failed)


def peer_of(role, **options):
    return Connection(Role.SERVER if role is Role.CLIENT else Role.CLIENT, **options)


@given(
    data=st.data(),
    role=roles,
    contents=st.lists(st.tuples(st.one_of(texts, binaries), st.none() | st.integers(1, 70_000)), max_size=4),
)
def test_decoding_undoes_encoding(data, role, contents):
    masks = MaskedFrameWriter() if role is Role.CLIENT else None
    stream = b""
    expected: list[Fact] = []
    for content, fragment_size in contents:
        if fragment_size is not None and len(content) > 500:
            fragment_size = max(fragment_size, len(content) // 50)
        stream += b"".join(messages.encode(content, masks, fragment_size))
        expected.append(("text" if isinstance(content, str) else "binary", content))
    cuts = sorted({0, len(stream), *data.draw(st.lists(st.integers(0, len(stream)), max_size=6))})
    pieces = [stream[start:end] for start, end in pairwise(cuts)]
    assert feed(peer_of(role), pieces) == expected


@given(role=roles, content=st.one_of(texts, binaries), ping=st.binary(max_size=125))
def test_what_one_sends_the_other_receives(role, content, ping):
    here, there = Connection(role), peer_of(role)
    if isinstance(content, str):
        kind, buffers = "text", here.send_text(content)
    else:
        kind, buffers = "binary", here.send_binary(content)
    buffers = buffers + here.send_ping(ping) + here.send_pong(ping)
    assert drain(there, b"".join(buffers)) == [(kind, content), ("ping", ping), ("pong", ping)]
    assert drain(here, b"".join(there.replies())) == [("pong", ping)]


@given(
    role=roles,
    code=st.one_of(st.none(), st.sampled_from([*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999])),
    reason=st.text(max_size=41).filter(lambda reason: len(reason.encode()) <= 123),
)
def test_closes_are_exchanged(role, code, reason):
    here, there = Connection(role), peer_of(role)
    if code is None:
        reason = ""
    seen = 1005 if code is None else code
    assert drain(there, b"".join(here.close(code, reason))) == [("close", seen, reason)]
    assert drain(here, b"".join(there.replies())) == [("close", seen, "")]
    assert here.close_sent == there.close_received == (seen, reason)


@given(data=st.data(), role=roles, options=limits, end=st.booleans())
def test_no_input_raises(data, role, options, end):
    connection = Connection(role, **options)
    stream = data.draw(st.one_of(streams(role), st.binary(max_size=200)))
    facts = feed(connection, data.draw(splits(stream)))
    if end:
        facts += [fact(event) for event in connection.receive_eof()]
        facts += drain(connection, b"")
    ends = [index for index, one in enumerate(facts) if one[0] in ("close", "failed")]
    # One end at the most, it is the last, and it is where the state says so.
    assert ends in ([], [len(facts) - 1])
    assert bool(ends) == (connection.failed is not None or connection.close_received is not None)
    assert not (end and not ends)
    assert connection.is_open == (not ends and not end)
    assert not connection.has_unread_data


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=130),
    st.text(alphabet=st.characters(categories=["Cs", "Ll"]), max_size=3),
    st.binary(max_size=130),
    st.builds(bytearray, st.binary(max_size=130)),
    st.builds(memoryview, st.binary(max_size=130)),
    st.lists(st.integers(0, 255), max_size=2),
)


@given(role=roles, first=anything, second=anything, code=st.integers(0, 5000))
def test_no_argument_raises_another_error(role, first, second, code):
    connection = Connection(role)
    peer = peer_of(role)
    for method, arguments in (
        (connection.send_text, (first,)),
        (connection.send_binary, (first,)),
        (connection.send_ping, (first,)),
        (connection.send_pong, (first,)),
        (connection.close, (first, second)),
        (connection.close, (code, second)),
    ):
        was_open = connection.is_open
        try:
            buffers = method(*arguments)
        except LocalProtocolError:
            assert connection.is_open == was_open
        else:
            # What was not refused, the peer takes.
            assert bool(buffers) == was_open
            assert peer.failed is None
            drain(peer, b"".join(buffers))


#: The limit of the property on memory, and what all that is not payload may take: objects, events, one slice.
LIMIT = 2**18
FIXED = 2**17


def traced_peak(make_reader, chunks, last):
    """The traced memory of reading ``chunks``, from before the reader is made, at its highest."""
    tracemalloc.start()
    try:
        reader = make_reader()
        ended = 0
        for chunk in chunks:
            events = []
            reader.read(chunk, events, 16)
            ended += len(events)
            while reader.has_unread_data:
                del events[:]
                reader.read(b"", events, 16)
                ended += len(events)
        assert ended == last
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def in_frames(opcode, payload, size, empty):
    """A message in frames of ``size`` bytes, with some empty ones between the first."""
    places = range(0, len(payload), size)
    frames = []
    for index, start in enumerate(places):
        final = 0x80 if start + size >= len(payload) else 0
        # A mask of zeros: read like any other, and quicker to make.
        frames.append(frame(final | (0 if index else opcode), payload[start : start + size], bytes(4)))
        if not final and index < empty:
            frames.append(frame(0x00))
    return b"".join(frames)


@given(
    kind=st.sampled_from(["binary", "ascii", "emoji last", "emoji first", "two bytes"]),
    fragment=st.sampled_from([LIMIT // 64, LIMIT // 7, LIMIT // 2, LIMIT - 1, LIMIT]),
    chunk=st.sampled_from([1000, 4096, 65536, 2**20]),
    empty=st.integers(0, 20),
    size=st.sampled_from([LIMIT, LIMIT // 2 + 1, LIMIT - 1]),
)
def test_memory_stays_within_its_bound(kind, fragment, chunk, empty, size):
    payload = {
        "binary": b"x" * size,
        "ascii": b"x" * size,
        "emoji last": b"x" * (size - 4) + b"\xf0\x9f\x98\x80",
        "emoji first": b"\xf0\x9f\x98\x80" + b"x" * (size - 4),
        "two bytes": b"\xc3\xa9" * (size // 2) + b"x" * (size % 2),
    }[kind]
    stream = in_frames(2 if kind == "binary" else 1, payload, fragment, empty)
    chunks = [stream[place : place + chunk] for place in range(0, len(stream), chunk)]
    peak = traced_peak(lambda: MessageReader(True, LIMIT, 1024), chunks, 1)
    assert peak <= (2 if kind == "binary" else 6) * LIMIT + FIXED
