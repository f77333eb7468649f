"""Properties of any input: drawn by Hypothesis, 1,000 examples each (the profile of conftest.py)."""

import contextlib
import tracemalloc
import zlib
from itertools import pairwise

import websockets.extensions.permessage_deflate
import websockets.frames
import websockets.protocol
import wsproto.connection
import wsproto.events
import wsproto.extensions
from feeding import KEY, Fact, drain, fact, feed, frame, in_bytes
from hypothesis import given
from hypothesis import strategies as st

from wsock.sansio import deflate, extensions
from wsock.sansio.connection import Connection
from wsock.sansio.constants import Role
from wsock.sansio.deflate import DeflateOptions
from wsock.sansio.errors import LocalProtocolError
from wsock.sansio.extensions import Extension
from wsock.sansio.frames import MaskedFrameWriter
from wsock.sansio.messages import MessageReader
from wsock.sansio.payloads import encode

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
    """The messages of a peer: messages in fragments, around the limit more often than not, and Pings in between."""
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
        stream += b"".join(encode(content, masks, fragment_size))
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
            # The peer takes all that was not refused.
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


# Compression

backends = st.sampled_from(list(deflate.find_backends()))
TAIL = b"\x00\x00\xff\xff"


@contextlib.contextmanager
def using(backend):
    """Has larger messages go by that library."""
    before, deflate.backend = deflate.backend, backend
    try:
        yield
    finally:
        deflate.backend = before


@st.composite
def agreements(draw, least=8):
    """Draws an agreement: the extension; by side its window, and whether it takes over its context."""
    parameters = []
    sides = {}
    for role in Role:
        name = role.value
        keeps = draw(st.booleans())
        bits = draw(st.one_of(st.just(15), st.integers(least, 15)))
        if not keeps:
            parameters.append((f"{name}_no_context_takeover", None))
        if bits < 15 or draw(st.booleans()):
            parameters.append((f"{name}_max_window_bits", str(bits)))
        sides[role] = bits, keeps
    return Extension("permessage-deflate", draw(st.permutations(parameters))), sides


#: Payloads that compress well, badly, and across each other.
contents = st.one_of(
    texts,
    binaries,
    st.randoms(use_true_random=False).map(lambda drawn: drawn.randbytes(drawn.choice([300, 5000, 20_000]))),
    st.integers(2, 5000).map(lambda count: " ".join(str(number * number % 997) for number in range(count))),
)


class Peer:
    """Compresses as any other side may: by any level and strategy, with flushes of any kind anywhere."""

    def __init__(self, draw, bits, keeps):
        self.draw = draw
        self.bits = bits
        self.keeps = keeps
        self.stream = None

    def compress(self, payload):
        draw = self.draw
        if self.stream is None or not self.keeps:
            # zlib makes no window of 8 bits: then nothing is referred to.
            strategy = draw(st.sampled_from([zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_RLE, zlib.Z_HUFFMAN_ONLY]))
            strategy = zlib.Z_HUFFMAN_ONLY if self.bits == 8 else strategy
            level, memory = draw(st.integers(0, 9)), draw(st.integers(1, 9))
            self.stream = zlib.compressobj(level, zlib.DEFLATED, -max(self.bits, 9), memory, strategy)
            self.start = level, memory, strategy
        stream = self.stream
        size = len(payload)
        places = sorted({0, size, *draw(st.lists(st.integers(0, size), max_size=4))})
        made = b""
        for start, end in pairwise(places):
            made += stream.compress(payload[start:end])
            for _ in range(draw(st.integers(0, 2))):
                made += stream.flush(
                    draw(st.sampled_from([zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_PARTIAL_FLUSH]))
                )
        ending = draw(st.sampled_from(["as it should be", "not removed", "final", "final and a byte"]))
        if ending.startswith("final"):
            made += stream.flush(zlib.Z_FINISH) + (b"\x00" if ending == "final and a byte" else b"")
            self.stream = None
            return made
        # Something has to be flushed, or zlib says nothing.
        made += stream.compress(b"") + stream.flush(zlib.Z_SYNC_FLUSH)
        assert made.endswith(TAIL)
        return made if ending == "not removed" else made[:-4]


@st.composite
def in_fragments(draw, first, payload, key):
    """A message in frames, some of them empty, with control frames between them; and what the latter are."""
    size = len(payload)
    places = [0, *sorted(draw(st.lists(st.integers(0, size), max_size=4))), size]
    pieces = [payload[start:end] for start, end in pairwise(places)] + [b""] * draw(st.integers(0, 1))
    stream = b""
    facts = []
    for index, piece in enumerate(pieces):
        if index and draw(st.booleans()):
            stream += frame(0x89, b"?", key)
            facts.append(("ping", b"?"))
        final = 0x80 if index == len(pieces) - 1 else 0
        stream += frame(final | (0 if index else first), piece, key)
    return stream, facts


@given(data=st.data(), role=roles, agreed=agreements(), backend=backends, sent=st.lists(contents, max_size=4))
def test_whatever_a_peer_flushes_is_read(data, role, agreed, backend, sent):
    extension, sides = agreed
    other = Role.SERVER if role is Role.CLIENT else Role.CLIENT
    peer = Peer(data.draw, *sides[other])
    key = KEY if role is Role.SERVER else None
    stream = b""
    expected: list[Fact] = []
    for content in sent:
        opcode, kind = (1, "text") if isinstance(content, str) else (2, "binary")
        payload = content.encode() if isinstance(content, str) else content
        bits = data.draw(st.sampled_from([0x40, 0x40, 0x40, 0]))
        frames, between = data.draw(in_fragments(opcode | bits, peer.compress(payload) if bits else payload, key))
        stream += frames
        expected += [*between, (kind, content)]
    cuts = sorted({0, len(stream), *data.draw(st.lists(st.integers(0, len(stream)), max_size=6))})
    pieces = [stream[start:end] for start, end in pairwise(cuts)]
    with using(backend):
        assert feed(Connection(role, extensions=[extension]), pieces) == expected
        if len(stream) < 2000:
            chunks = [stream[place : place + 1] for place in range(len(stream))]
            assert feed(Connection(role, extensions=[extension]), chunks) == expected


TOO_BIG, BROKEN = ("failed", "MessageTooBig", 1009), ("failed", "InvalidPayload", 1007)


@given(data=st.data(), role=roles, backend=backends, options=limits)
def test_any_split_of_compressed_messages_gives_the_same_events(data, role, backend, options):
    """Whole ones, those that are too large, broken data, and text that is none; whichever fault comes first."""
    key = KEY if role is Role.SERVER else None
    size_limit = options.get("max_message_size") or 300
    alone, together = data.draw(st.booleans()), data.draw(st.booleans())
    parameters = [(f"{side.value}_no_context_takeover", None) for side in Role] if alone else []
    parts = []
    for _ in range(data.draw(st.integers(1, 4))):
        size = data.draw(st.one_of(st.integers(max(size_limit - 1, 0), size_limit + 1), st.integers(0, 20)))
        content = data.draw(st.sampled_from([b"a", b"\xc3\xa9", b"\xf0\x9f\x98\x80"])) * size
        content = content[: size + 1] + data.draw(st.one_of(st.just(b""), payloads))
        stream = zlib.compressobj(data.draw(st.integers(0, 9)), zlib.DEFLATED, -15)
        compressed = (stream.compress(content) + stream.flush(zlib.Z_SYNC_FLUSH))[
            : data.draw(st.sampled_from([-4, -4, -5, -6]))
        ]
        if data.draw(st.booleans()):
            place = data.draw(st.integers(0, len(compressed)))
            compressed = compressed[:place] + data.draw(st.binary(max_size=3)) + compressed[place:]
        cut = data.draw(st.integers(0, len(compressed)))
        first = 0x40 | data.draw(st.sampled_from([1, 2]))
        if data.draw(st.booleans()):
            parts.append(frame(0x80 | first, compressed, key))
        else:
            parts.append(frame(first, compressed[:cut], key) + frame(0x80, compressed[cut:], key))
    if together:
        parts.append(data.draw(st.binary(max_size=30)))
    stream = b"".join(parts)
    agreed = [Extension("permessage-deflate", parameters)]
    whole, split, waiting = (Connection(role, extensions=agreed, **options) for _ in range(3))
    pieces = data.draw(splits(stream))
    with using(backend):
        expected = drain(whole, stream)
        for facts in (
            feed(split, pieces),
            [fact(event) for piece in pieces for event in waiting.receive_data(piece)] + drain(waiting, b""),
        ):
            if facts != expected:
                # Data that breaks right behind the limit, in a block that would make nothing: the library reads on to
                # that where it can, and tells of nothing else.
                assert facts[:-1] == expected[:-1]
                assert {facts[-1], expected[-1]} == {TOO_BIG, BROKEN}
                unlimited = Connection(role, extensions=agreed, **{**options, "max_message_size": None})
                assert feed(unlimited, in_bytes(stream))[-1] == BROKEN


@given(role=roles, backend=backends, alone=st.booleans())
def test_data_that_breaks_right_behind_the_limit(role, backend, alone):
    """One message that has both faults, and is told of by either."""
    # A stored block of four bytes, and one of a type that does not exist.
    broken = b"\x00\x04\x00\xfb\xffabcd" + b"\x06"
    stream = frame(0xC2, broken, KEY if role is Role.SERVER else None)
    parameters = [(f"{side.value}_no_context_takeover", None) for side in Role] if alone else []
    agreed = [Extension("permessage-deflate", parameters)]
    with using(backend):
        for limit, verdicts in ((3, {TOO_BIG, BROKEN}), (2, {TOO_BIG}), (4, {BROKEN}), (None, {BROKEN})):
            for pieces in ([stream], list(in_bytes(stream))):
                (verdict,) = feed(Connection(role, extensions=agreed, max_message_size=limit), pieces)
                assert verdict in verdicts


@given(role=roles, agreed=agreements(), backend=backends, data=st.data(), sent=st.lists(contents, max_size=4))
def test_what_one_compresses_the_other_receives(role, agreed, backend, data, sent):
    extension, _ = agreed
    options = data.draw(options_of_deflate)
    here = Connection(role, extensions=[extension], deflate=options)
    there = peer_of(role, extensions=[extension])
    with using(backend):
        for content in sent:
            kind, send = ("text", here.send_text) if isinstance(content, str) else ("binary", here.send_binary)
            buffers = send(content, data.draw(choices))
            assert drain(there, b"".join(buffers)) == [(kind, content)]


options_of_deflate = st.builds(
    DeflateOptions,
    st.none() | st.integers(1, 9),
    st.none() | st.integers(1, 9),
    st.sampled_from([0, 256, 5000]),
    st.integers(9, 15),
    st.booleans(),
)
choices = st.sampled_from([None, None, True, False])


class Websockets:
    """A side that is spoken by `websockets`."""

    def __init__(self, role, sides):
        other = Role.SERVER if role is Role.CLIENT else Role.CLIENT
        codec = websockets.extensions.permessage_deflate.PerMessageDeflate(
            not sides[other][1], not sides[role][1], sides[other][0], sides[role][0]
        )
        side = websockets.protocol.Side.CLIENT if role is Role.CLIENT else websockets.protocol.Side.SERVER
        self.protocol = websockets.protocol.Protocol(side)
        self.protocol.extensions = [codec]
        self.begun = None

    def send(self, content, parts):
        send = self.protocol.send_text if isinstance(content, str) else self.protocol.send_binary
        for index, part in enumerate(parts):
            (self.protocol.send_continuation if index else send)(part, fin=index == len(parts) - 1)
        return b"".join(self.protocol.data_to_send())

    def receive(self, data):
        self.protocol.receive_data(data)
        facts = []
        for one in self.protocol.events_received():
            if one.opcode is not websockets.frames.Opcode.CONT:
                self.begun = one.opcode, b""
            self.begun = self.begun[0], self.begun[1] + bytes(one.data)
            if one.fin:
                is_text = self.begun[0] is websockets.frames.Opcode.TEXT
                facts.append(("text", self.begun[1].decode()) if is_text else ("binary", self.begun[1]))
        return facts


class Wsproto:
    """A side that is spoken by `wsproto`."""

    def __init__(self, role, sides):
        codec = wsproto.extensions.PerMessageDeflate(
            not sides[Role.CLIENT][1], sides[Role.CLIENT][0], not sides[Role.SERVER][1], sides[Role.SERVER][0]
        )
        codec._enabled = True
        kind = wsproto.connection.ConnectionType
        self.connection = wsproto.connection.Connection(
            kind.CLIENT if role is Role.CLIENT else kind.SERVER, extensions=[codec]
        )
        self.begun = None

    def send(self, content, parts):
        event = wsproto.events.TextMessage if isinstance(content, str) else wsproto.events.BytesMessage
        parts = [part.decode() for part in parts] if isinstance(content, str) else parts
        last = len(parts) - 1
        return b"".join(
            self.connection.send(event(data=part, message_finished=index == last)) for index, part in enumerate(parts)
        )

    def receive(self, data):
        self.connection.receive_data(data)
        facts = []
        for event in self.connection.events():
            assert isinstance(event, (wsproto.events.TextMessage, wsproto.events.BytesMessage))
            self.begun = event.data if self.begun is None else self.begun + event.data
            if event.message_finished:
                facts.append(("text", self.begun) if isinstance(self.begun, str) else ("binary", bytes(self.begun)))
                self.begun = None
        return facts


@given(
    kind=st.sampled_from([Websockets, Wsproto]),
    role=roles,
    agreed=agreements(least=9),
    options=options_of_deflate,
    backend=backends,
    data=st.data(),
    sent=st.lists(st.tuples(st.booleans(), contents), max_size=5),
)
def test_others_speak_the_same(kind, role, agreed, options, backend, data, sent):
    extension, sides = agreed
    assert extensions.agreed_deflate([extension]) is not None
    here = Connection(role, extensions=[extension], deflate=options)
    there = kind(Role.SERVER if role is Role.CLIENT else Role.CLIENT, sides)
    with using(backend):
        for is_ours, content in sent:
            expected = [("text", content) if isinstance(content, str) else ("binary", content)]
            if is_ours:
                send = here.send_text if isinstance(content, str) else here.send_binary
                assert there.receive(b"".join(send(content, data.draw(choices)))) == expected
                continue
            # Text is cut between code points, which wsproto needs.
            cut = data.draw(st.integers(0, len(content)))
            parts = [content[:cut], content[cut:]] if data.draw(st.booleans()) else [content]
            parts = [part.encode() if isinstance(part, str) else part for part in parts]
            assert drain(here, there.send(content, parts)) == expected
