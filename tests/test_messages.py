"""Messages from bytes, by their reader."""

import sys

import pytest
from feeding import KEY, fact, frame, in_bytes, masked

from wsock.sansio.errors import InvalidPayload, MessageTooBig, RemoteProtocolError
from wsock.sansio.messages import MessageReader


class Reader:
    """A reader of which each call reads the same number of messages."""

    def __init__(self, inner, count):
        self.inner = inner
        self.count = count

    def read(self, data, events):
        return self.inner.read(data, events, self.count)

    def forget(self):
        self.inner.forget()

    @property
    def has_unread_data(self):
        return self.inner.has_unread_data


def make(is_masked=True, size=2**20, empty=1024, count=16):
    return Reader(MessageReader(is_masked, size, empty), count)


class Refused(Exception):
    """The error of a reader, and what came before it."""

    def __init__(self, error, facts):
        self.error = error
        self.facts = facts


def read_one(reader, data):
    """The events of one call, and whether control frames are said to be among them."""
    events = []
    try:
        controls = reader.read(data, events)
    except RemoteProtocolError as error:
        raise Refused(error, [fact(event) for event in events]) from error
    facts = [fact(event) for event in events]
    assert controls == any(one[0] in ("ping", "pong", "close") for one in facts)
    return facts


def read_all(reader, chunks):
    facts = []
    for chunk in chunks:
        facts += read_one(reader, chunk)
        while reader.has_unread_data:
            facts += read_one(reader, b"")
    return facts


def check(data, expected, *, is_masked=True, **limits):
    """Feeds a vector whole, byte by byte, cut in two anywhere, and with a Ping behind it."""
    ping = frame(0x89, b"?", KEY if is_masked else None)
    assert read_all(make(is_masked, **limits), [data]) == expected
    assert read_all(make(is_masked, **limits), in_bytes(data)) == expected
    assert read_all(make(is_masked, **limits), [data + ping]) == [*expected, ("ping", b"?")]
    if len(data) < 100:
        for cut in range(1, len(data)):
            assert read_all(make(is_masked, **limits), [data[:cut], data[cut:]]) == expected


def refusal(data, *, is_masked=True, before=(), **limits):
    """The error of a vector, the same whole and byte by byte, after the same events."""
    errors = []
    for chunks in ([data], in_bytes(data), [data + b"\xff" * 20]):
        reader = make(is_masked, **limits)
        facts = []
        error = None
        for chunk in chunks:
            try:
                facts += read_all(reader, [chunk])
            except Refused as refused:
                facts += refused.facts
                error = refused.error
                break
        assert facts == list(before)
        assert error is not None
        errors.append((type(error), error.code, str(error)))
    assert errors.count(errors[0]) == 3
    return errors[0][:2]


HELLO = ("text", "Hello")


def test_the_examples_of_the_rfc():
    # RFC 6455 section 5.7, in its order.
    check(b"\x81\x05\x48\x65\x6c\x6c\x6f", [HELLO], is_masked=False)
    check(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", [HELLO])
    check(b"\x01\x03\x48\x65\x6c\x80\x02\x6c\x6f", [HELLO], is_masked=False)
    check(b"\x89\x05\x48\x65\x6c\x6c\x6f", [("ping", b"Hello")], is_masked=False)
    check(b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", [("pong", b"Hello")])
    check(b"\x82\x7e\x01\x00" + b"a" * 256, [("binary", b"a" * 256)], is_masked=False)
    check(b"\x82\x7f\0\0\0\0\0\x01\0\0" + b"a" * 65536, [("binary", b"a" * 65536)], is_masked=False)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 65537])
@pytest.mark.parametrize("key", [KEY, None])
def test_sizes(size, key):
    payload = bytes(index % 251 for index in range(size))
    check(frame(0x82, payload, key), [("binary", payload)], is_masked=key is not None)
    text = ("aé" * size)[:size]
    check(frame(0x81, text.encode(), key), [("text", text)], is_masked=key is not None)


@pytest.mark.parametrize("key", [KEY, None])
def test_fragments_with_control_frames_between(key):
    # DESIGN section 7: "a control frame between fragments glued into the message".
    data = (
        frame(0x02, b"ab", key)
        + frame(0x89, b"ping", key)
        + frame(0x00, b"", key)
        + frame(0x8A, b"pong", key)
        + frame(0x80, b"cd", key)
        + frame(0x82, b"next", key)
    )
    expected = [("ping", b"ping"), ("pong", b"pong"), ("binary", b"abcd"), ("binary", b"next")]
    check(data, expected, is_masked=key is not None)


def test_each_fragment_has_its_own_key():
    data = frame(0x01, b"He", b"\1\2\3\4") + frame(0x00, b"l", b"abcd") + frame(0x80, b"lo", b"\0\0\0\0")
    check(data, [HELLO])


def test_empty_messages():
    check(b"\x81\x80abcd", [("text", "")])
    check(b"\x82\x80abcd", [("binary", b"")])
    check(b"\x01\x80abcd\x80\x80abcd", [("text", "")])
    check(b"\x02\x80abcd\x00\x80abcd\x80\x80abcd", [("binary", b"")])


def test_a_code_point_in_three_fragments():
    # F18: U+20AC is E2 82 AC.
    check(frame(0x01, b"\xe2") + frame(0x00, b"\x82") + frame(0x80, b"\xac"), [("text", "\u20ac")])
    check(frame(0x01, b"\xf0\x9f") + frame(0x00, b"") + frame(0x80, b"\x98\x80!"), [("text", "\U0001f600!")])
    # The last before the surrogates, and the first of those behind them: U+D7FF, U+E000.
    check(frame(0x01, b"\xed\x9f") + frame(0x80, b"\xbf"), [("text", "\ud7ff")])
    check(frame(0x01, b"\xee") + frame(0x80, b"\x80\x80"), [("text", "\ue000")])


#: Bytes that begin no UTF-8 (RFC 3629 section 4), each up to the first byte that tells.
NOT_UTF8 = [
    b"\x80",
    b"\xc0",
    b"\xc1",
    b"a\xff",
    b"\xf5",
    b"\xc3\x28",
    b"\xe0\x9f",
    b"\xed\xa0",
    b"\xf0\x8f",
    b"\xf4\x90",
    b"\xe2\x82\x28",
    b"\xf0\x9f\x98\x28",
    b"\xc3\xa9\xfe",
]


@pytest.mark.parametrize("payload", NOT_UTF8)
def test_text_that_is_not_utf8(payload):
    # F16: in one frame; F17: in the first fragment, before its end; and in a frame that has not ended.
    assert refusal(frame(0x81, payload)) == (InvalidPayload, 1007)
    assert refusal(frame(0x01, payload)) == (InvalidPayload, 1007)
    assert refusal(frame(0x81, payload + b"x" * 80_000)[: 14 + len(payload)]) == (InvalidPayload, 1007)
    assert refusal(frame(0x01, b"abc") + frame(0x00, payload)) == (InvalidPayload, 1007)
    assert refusal(frame(0x81, b"ok") + frame(0x80 | 1, payload), before=[("text", "ok")]) == (InvalidPayload, 1007)
    split = frame(0x01, payload[:1]) + frame(0x00, payload[1:])
    assert refusal(split) == (InvalidPayload, 1007)


@pytest.mark.parametrize("payload", [b"\xe2", b"\xe2\x82", b"ab\xf0\x9f\x98", b"\xc3"])
def test_text_that_ends_within_a_code_point(payload):
    assert refusal(frame(0x81, payload)) == (InvalidPayload, 1007)
    assert refusal(frame(0x01, payload) + frame(0x80)) == (InvalidPayload, 1007)
    assert refusal(frame(0x01, b"") + frame(0x80, payload)) == (InvalidPayload, 1007)


def test_large_text_is_checked_across_its_slices():
    text = "a" * 65535 + "\u20ac" + "b" * 65533 + "\U0001f600"
    payload = text.encode()
    check(frame(0x01, payload) + frame(0x80), [("text", text)])
    assert refusal(frame(0x01, payload[:65537] + b"!")) == (InvalidPayload, 1007)


def test_binary_may_be_anything():
    for payload in NOT_UTF8:
        check(frame(0x02, payload) + frame(0x80, payload), [("binary", payload * 2)])


@pytest.mark.parametrize("opcode", [1, 2])
def test_exactly_the_limit_passes(opcode):
    kind = "text" if opcode == 1 else "binary"

    def value(size):
        return "x" * size if opcode == 1 else b"x" * size

    check(frame(0x80 | opcode, b"x" * 100), [(kind, value(100))], size=100)
    check(frame(opcode, b"x" * 99) + frame(0x80, b"x"), [(kind, value(100))], size=100)
    check(frame(opcode, b"x" * 100) + frame(0x00) + frame(0x80), [(kind, value(100))], size=100)
    check(frame(0x80 | opcode, b"x" * 100) * 3, [(kind, value(100))] * 3, size=100)
    check(frame(0x80 | opcode, b"x" * 200), [(kind, value(200))], size=200)
    too_big = (MessageTooBig, 1009)
    assert refusal(frame(0x80 | opcode, b"x" * 101)[:2], size=100) == too_big
    assert refusal(frame(0x80 | opcode, b"x" * 201)[:4], size=200) == too_big
    assert refusal(frame(opcode, b"x" * 99) + frame(0x80, b"xx")[:2], size=100) == too_big
    assert refusal(frame(opcode, b"x" * 100) + frame(0x00, b"x")[:2], size=100) == too_big
    check(frame(0x80 | opcode, b"x"), [(kind, value(1))], size=1)


def test_a_new_message_within_a_message():
    # F12, with all of it there: short frames are read by a path of their own.
    for payload in (b"", b"short", b"x" * 200):
        assert refusal(frame(0x01, b"a") + frame(0x81, payload)[:1]) == (RemoteProtocolError, 1002)
        reader = make()
        with pytest.raises(RemoteProtocolError, match="new message"):
            reader.read(frame(0x01, b"a") + frame(0x81, payload), [])


def test_a_sum_that_would_overflow():
    # F08c: one byte, then 2^63 - 1.
    data = frame(0x02, b"x") + b"\x80\xff\x7f\xff\xff\xff\xff\xff\xff\xff"
    assert refusal(data) == (MessageTooBig, 1009)
    assert refusal(data, size=None) == (MessageTooBig, 1009)
    assert refusal(data, size=2**70) == (MessageTooBig, 1009)


def test_no_limit():
    reader = make(size=None, empty=None)
    payload = b"x" * 3_000_000
    assert read_all(reader, [frame(0x82, payload)]) == [("binary", payload)]
    head = b"\x02\xff\x7f\xff\xff\xff\xff\xff\xff\xffabcd"
    assert read_all(reader, [head, masked(b"xyz", b"abcd")]) == []


def test_empty_fragments_are_counted():
    too_many = (RemoteProtocolError, 1008)
    empty = frame(0x00)
    check(frame(0x01) + empty + frame(0x80), [("text", "")], empty=3)
    assert refusal(frame(0x01) + empty + empty + frame(0x80), empty=3) == too_many
    assert refusal(frame(0x01, b"x") + empty * 4, empty=3) == too_many
    assert refusal(frame(0x01), empty=0) == too_many
    # Those with data, control frames, and whole empty messages are not; and the next message is counted anew.
    fragments = frame(0x01, b"x") + frame(0x00, b"x") * 5 + frame(0x89) * 5 + frame(0x80)
    check(
        (fragments + frame(0x81) * 2) * 3,
        ([("ping", b"")] * 5 + [("text", "x" * 6)] + [("text", "")] * 2) * 3,
        empty=1,
    )


@pytest.mark.parametrize("empty", [None, 2**70])
def test_empty_fragments_without_limit(empty):
    assert read_all(make(empty=empty), [frame(0x02) + frame(0x00) * 5000 + frame(0x80)]) == [("binary", b"")]


def test_wrong_frames_end_it():
    assert refusal(b"\x81\x05", is_masked=True) == (RemoteProtocolError, 1002)
    assert refusal(b"\x81\x85", is_masked=False) == (RemoteProtocolError, 1002)
    assert refusal(frame(0xC1, b"x")[:1]) == (RemoteProtocolError, 1002)
    assert refusal(frame(0x82, b"ok") + b"\x80", before=[("binary", b"ok")]) == (RemoteProtocolError, 1002)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", ("close", 1005, "")),
        (b"\x03\xe8", ("close", 1000, "")),
        (b"\x03\xe8Bye", ("close", 1000, "Bye")),
        (b"\x03\xf6\xe2\x82\xac", ("close", 1014, "\u20ac")),
        (b"\x0b\xb8", ("close", 3000, "")),
        (b"\x13\x87" + b"x" * 123, ("close", 4999, "x" * 123)),
    ],
)
def test_close(payload, expected):
    for chunks in ([frame(0x88, payload)], in_bytes(frame(0x88, payload))):
        assert read_all(make(), chunks) == [expected]
    reader = make()
    assert read_one(reader, frame(0x81, b"a") + frame(0x88, payload) + frame(0x81, b"b")) == [("text", "a"), expected]


@pytest.mark.parametrize("payload", [b"\x03", *(code.to_bytes(2, "big") for code in (0, 999, 1004, 1005, 1006, 1015))])
@pytest.mark.parametrize("reason", [b"", b"why"])
def test_close_with_an_invalid_payload(payload, reason):
    # F13, F14.
    if len(payload) == 2 or not reason:
        assert refusal(frame(0x88, payload + reason)) == (RemoteProtocolError, 1002)


@pytest.mark.parametrize("code", [1016, 1100, 2000, 2999, 5000, 65535])
def test_close_with_a_code_that_does_not_exist(code):
    assert refusal(frame(0x88, code.to_bytes(2, "big"))) == (RemoteProtocolError, 1002)


@pytest.mark.parametrize("reason", [*NOT_UTF8, b"\xe2\x82"])
def test_close_with_a_reason_that_is_not_utf8(reason):
    # F15.
    assert refusal(frame(0x88, b"\x03\xe8" + reason)) == (InvalidPayload, 1007)


def test_a_call_reads_so_many_messages():
    reader = make(count=3)
    data = frame(0x81, b"a") * 7
    assert read_one(reader, data) == [("text", "a")] * 3
    assert reader.has_unread_data
    assert read_one(reader, b"") == [("text", "a")] * 3
    assert reader.has_unread_data
    assert read_one(reader, b"") == [("text", "a")]
    assert not reader.has_unread_data
    # Also those in fragments, and long ones; exactly so many leave nothing.
    long = frame(0x82, b"x" * 200)
    data = (frame(0x02, b"a") + frame(0x80, b"b")) * 2 + long
    expected = [("binary", b"ab")] * 2 + [("binary", b"x" * 200)]
    assert read_one(reader, data) == expected
    assert not reader.has_unread_data
    assert read_one(reader, data + long) == expected
    assert reader.has_unread_data
    assert read_one(reader, b"") == [("binary", b"x" * 200)]


def test_a_call_reads_so_many_control_frames():
    reader = make()
    assert len(read_one(reader, frame(0x89) * 600)) == 256
    assert [len(read_one(reader, b"")) for _ in range(3)] == [256, 88, 0]


@pytest.mark.parametrize("key", [KEY, None])
def test_a_call_reads_so_much_payload(key):
    """At most one message limit, whatever the frames it comes in."""
    reader = make(key is not None, size=300)
    small = frame(0x82, b"x" * 100, key)
    assert read_one(reader, small * 4) == [("binary", b"x" * 100)] * 3
    assert read_one(reader, b"") == [("binary", b"x" * 100)]
    # A message that would go past it is begun, not ended.
    large = frame(0x82, b"x" * 200, key)
    assert read_one(reader, large * 2) == [("binary", b"x" * 200)]
    assert reader.has_unread_data
    assert read_one(reader, small) == [("binary", b"x" * 200)]
    assert read_one(reader, b"") == [("binary", b"x" * 100)]
    assert not reader.has_unread_data
    # Control frames don't count: they are at most 256, of 125 bytes.
    ping = frame(0x89, b"p" * 100, key)
    assert read_one(reader, ping * 4) == [("ping", b"p" * 100)] * 4


@pytest.mark.parametrize("key", [KEY, None])
def test_a_control_frame_behind_all_but_the_end_of_the_largest_message(key):
    """The message leaves the next call no room for payload; a Ping needs none."""
    reader = make(key is not None, size=100)
    ping = frame(0x89, b"ping", key)
    assert read_one(reader, frame(0x02, b"x" * 100, key) + ping) == [("ping", b"ping")]
    assert not reader.has_unread_data
    assert read_one(reader, ping + frame(0x80, b"", key)) == [("ping", b"ping"), ("binary", b"x" * 100)]
    assert read_one(reader, frame(0x02, b"x" * 100, key)) == []
    with pytest.raises(Refused, match="MessageTooBig"):
        read_one(reader, frame(0x80, b"x", key))


def test_a_call_without_a_limit_reads_a_mebibyte():
    reader = make(size=None)
    data = frame(0x82, b"x" * 2**19) * 3
    assert [len(one[1]) for one in read_one(reader, data)] == [2**19, 2**19]
    assert [len(one[1]) for one in read_one(reader, b"")] == [2**19]
    assert read_one(reader, frame(0x82, b"x" * (2**20 + 1))) == []
    assert reader.has_unread_data
    assert [len(one[1]) for one in read_one(reader, b"")] == [2**20 + 1]


def test_what_comes_while_unread_data_waits_comes_behind_it():
    reader = make(count=1)
    data = b"".join(frame(0x81, b"%d" % index) for index in range(20))
    first = 50
    facts = read_one(reader, data[:first])
    for chunk in in_bytes(data[first:]):
        reader.read(chunk, events := [])
        facts += [fact(event) for event in events]
    while reader.has_unread_data:
        facts += read_one(reader, b"")
    assert facts == [("text", str(index)) for index in range(20)]


def test_more_than_a_slice_waits():
    reader = make(count=1)
    message = frame(0x82, b"x" * 999)
    facts = read_one(reader, message * 2)
    for _ in range(200):
        reader.read(message * 2, events := [])
        facts += [fact(event) for event in events]
    while reader.has_unread_data:
        facts += read_one(reader, b"")
    assert facts == [("binary", b"x" * 999)] * 402


def test_to_forget_lets_go():
    reader = make(count=1)
    data = frame(0x82, b"x" * 99) * 3
    count = sys.getrefcount(data)
    read_one(reader, data)
    assert sys.getrefcount(data) == count + 1
    read_one(reader, b"more")
    reader.forget()
    assert sys.getrefcount(data) == count
    assert not reader.has_unread_data


def test_input_is_let_go_when_it_is_read():
    reader = make()
    data = frame(0x82, b"x" * 99) * 3 + frame(0x82, b"y" * 200)[:150]
    count = sys.getrefcount(data)
    read_one(reader, data)
    assert sys.getrefcount(data) == count
