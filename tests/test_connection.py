"""A connection: what it tells, what it answers, what it sends, and how it ends."""

import copy
import sys

import pytest
from feeding import KEY, check, drain, fact, feed, frame, in_bytes, masked

from wsock.sansio.connection import Connection
from wsock.sansio.constants import CloseCode, Role
from wsock.sansio.errors import InvalidPayload, LocalProtocolError, MessageTooBig, RemoteProtocolError
from wsock.sansio.events import CloseReceived, TextReceived
from wsock.sansio.extensions import Extension
from wsock.sansio.shared import SharedMessage

CLIENT, SERVER = Role.CLIENT, Role.SERVER
CLOSE_1000 = b"\x03\xe8"


def refused(role, data, code, reason, kind="RemoteProtocolError", before=(), **limits):
    """A vector that fails the connection, and the Close that says why."""
    payload = code.to_bytes(2, "big") + reason
    close = bytes([0x88, len(payload)]) + payload if role is SERVER else None
    check(role, data, [*before, ("failed", kind, code)], close, **limits)
    connection = Connection(role, **limits)
    drain(connection, data)
    (buffer,) = connection.replies()
    if role is CLIENT:
        assert buffer[:2] == bytes([0x88, 0x80 | len(payload)])
        assert masked(buffer[6:], buffer[2:6]) == payload
    assert connection.close_sent == (code, reason.decode())
    assert connection.close_received is None
    assert not connection.is_open
    assert connection.failed is not None
    assert connection.failed.code == code


def test_messages():
    # RFC 6455 section 5.7.
    check(CLIENT, b"\x81\x05Hello", [("text", "Hello")], b"")
    check(SERVER, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", [("text", "Hello")], b"")
    check(SERVER, frame(0x02, b"a") + frame(0x89, b"!") + frame(0x80, b"b"), [("ping", b"!"), ("binary", b"ab")])


def test_a_new_connection():
    connection = Connection(SERVER)
    assert connection.is_open
    assert not connection.has_unread_data
    assert (connection.close_sent, connection.close_received, connection.failed) == (None, None, None)
    assert connection.eof is False
    assert connection.extensions == ()
    assert connection.replies() == []
    assert connection.receive_data(b"") == []
    agreed = [Extension("x-none")]
    assert Connection(CLIENT, extensions=agreed).extensions is agreed


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_input_of_any_kind(make):
    connection = Connection(CLIENT)
    assert drain(connection, make(b"\x81\x05Hel")) == []
    assert drain(connection, make(b"lo")) == [("text", "Hello")]


def test_input_may_change_afterwards():
    connection = Connection(CLIENT, receive_queue=1)
    data = bytearray(b"\x82\x01a\x82\x01b")
    facts = [fact(event) for event in connection.receive_data(data)]
    more = bytearray(b"\x82\x01c")
    facts += [fact(event) for event in connection.receive_data(memoryview(more))]
    data[:] = bytes(len(data))
    more[:] = bytes(len(more))
    assert facts + drain(connection, b"") == [("binary", b"a"), ("binary", b"b"), ("binary", b"c")]


@pytest.mark.parametrize("data", ["text", 5, None])
def test_input_of_a_wrong_kind(data):
    connection = Connection(CLIENT)
    with pytest.raises(LocalProtocolError):
        connection.receive_data(data)
    assert drain(connection, b"\x81\x00") == [("text", "")]


def test_each_ping_is_answered():
    # DESIGN section 7: "no answer to ping". RFC 6455 section 5.5.2: the Pong has the Ping's payload.
    check(SERVER, frame(0x89, b"Hello"), [("ping", b"Hello")], b"\x8a\x05Hello")
    check(SERVER, frame(0x89), [("ping", b"")], b"\x8a\x00")
    pings = b"".join(frame(0x89, b"%d" % index) for index in range(3))
    check(SERVER, pings, [("ping", b"0"), ("ping", b"1"), ("ping", b"2")], b"\x8a\x010\x8a\x011\x8a\x012")
    check(SERVER, frame(0x89, b"x" * 125), [("ping", b"x" * 125)], b"\x8a\x7d" + b"x" * 125)


def test_a_client_masks_its_answers():
    connection = Connection(CLIENT)
    drain(connection, b"\x89\x01a\x89\x01b\x88\x02" + CLOSE_1000)
    replies = connection.replies()
    assert [reply[:2] for reply in replies] == [b"\x8a\x81", b"\x8a\x81", b"\x88\x82"]
    assert [masked(reply[6:], reply[2:6]) for reply in replies] == [b"a", b"b", CLOSE_1000]


def test_a_pong_is_not_answered():
    check(SERVER, frame(0x8A, b"Hello"), [("pong", b"Hello")], b"")


def test_replies_are_whole_frames_and_given_once():
    connection = Connection(SERVER)
    connection.receive_data(frame(0x89, b"a") + frame(0x81, b"x") + frame(0x89, b"b"))
    assert connection.replies() == [b"\x8a\x01a", b"\x8a\x01b"]
    assert connection.replies() == []


def test_replies_do_not_wait_for_the_events():
    # Those of a call that found a fault are there too, in front of the Close.
    connection = Connection(SERVER)
    facts = drain(connection, frame(0x89, b"a") + frame(0x89, b"b") + b"\x81\x00")
    assert facts == [("ping", b"a"), ("ping", b"b"), ("failed", "RemoteProtocolError", 1002)]
    replies = connection.replies()
    assert replies[:2] == [b"\x8a\x01a", b"\x8a\x01b"]
    assert replies[2][:4] == b"\x88\x12\x03\xea"
    assert len(replies) == 3


@pytest.mark.parametrize(
    ("payload", "code", "reason", "answer"),
    [
        (b"", 1005, "", b"\x88\x00"),
        (CLOSE_1000, 1000, "", b"\x88\x02\x03\xe8"),
        (CLOSE_1000 + b"Bye", 1000, "Bye", b"\x88\x02\x03\xe8"),
        (b"\x0f\xa0\xe2\x82\xac", 4000, "\u20ac", b"\x88\x02\x0f\xa0"),
    ],
)
def test_a_close_is_answered(payload, code, reason, answer):
    # DESIGN section 7: "no answer to close".
    check(SERVER, frame(0x88, payload), [("close", code, reason)], answer)
    connection = Connection(SERVER)
    drain(connection, frame(0x88, payload))
    assert connection.close_received == (code, reason)
    assert connection.close_sent == (code, "")
    assert not connection.is_open
    assert connection.failed is None


def test_nothing_is_read_after_a_close():
    # F19: also not a fault, and not in a later call.
    connection = Connection(SERVER)
    data = frame(0x88, CLOSE_1000) + frame(0x81, b"late") + frame(0x89) + b"\xff\xff"
    assert drain(connection, data) == [("close", 1000, "")]
    assert not connection.has_unread_data
    assert drain(connection, frame(0x81, b"later")) == []
    assert connection.receive_eof() == []
    assert connection.eof
    assert connection.replies() == [b"\x88\x02\x03\xe8"]
    assert connection.failed is None


def test_messages_can_be_answered_before_a_close_behind_them():
    connection = Connection(SERVER)
    data = frame(0x81, b"a") + frame(0x89, b"?") + frame(0x88, CLOSE_1000 + b"Bye") + frame(0x81, b"late")
    assert [fact(event) for event in connection.receive_data(data)] == [("text", "a"), ("ping", b"?")]
    assert connection.has_unread_data
    assert connection.is_open
    assert connection.close_received is None
    assert connection.replies() == [b"\x8a\x01?"]
    assert connection.send_text("a") == [b"\x81\x01a"]
    # Bytes that come meanwhile come after the Close.
    assert [fact(event) for event in connection.receive_data(frame(0x81, b"later"))] == [("close", 1000, "Bye")]
    assert connection.replies() == [b"\x88\x02\x03\xe8"]
    assert not connection.has_unread_data
    assert connection.receive_data(b"") == []


def test_a_close_behind_a_binary_message_waits_as_well():
    connection = Connection(SERVER)
    data = frame(0x82, b"a") + frame(0x88, CLOSE_1000)
    assert [fact(event) for event in connection.receive_data(data)] == [("binary", b"a")]
    assert connection.send_binary(b"a") == [b"\x82\x01a"]
    assert [fact(event) for event in connection.receive_data(b"")] == [("close", 1000, "")]


def test_messages_can_be_answered_before_a_fault_behind_them():
    connection = Connection(SERVER)
    data = frame(0x89, b"?") + frame(0x81, b"a") + b"\xff" * 99
    assert [fact(event) for event in connection.receive_data(data)] == [("ping", b"?"), ("text", "a")]
    assert connection.has_unread_data
    assert connection.failed is None
    assert connection.replies() == [b"\x8a\x01?"]
    assert connection.send_text("a") == [b"\x81\x01a"]
    assert [fact(event) for event in connection.receive_data(b"")] == [("failed", "RemoteProtocolError", 1002)]
    assert connection.replies() == [b"\x88\x13\x03\xeareserved bits set"]
    assert not connection.has_unread_data
    assert connection.receive_data(b"") == []


def test_our_own_close_may_come_before_a_close_that_waits():
    connection = Connection(SERVER)
    connection.receive_data(frame(0x81, b"a") + frame(0x88, CLOSE_1000))
    assert connection.close(4000) == [b"\x88\x02\x0f\xa0"]
    assert drain(connection, b"") == [("close", 1000, "")]
    assert connection.replies() == []
    assert (connection.close_sent, connection.close_received) == ((4000, ""), (1000, ""))


def test_the_end_behind_a_close_that_waits():
    connection = Connection(SERVER)
    connection.receive_data(frame(0x81, b"a") + frame(0x88, CLOSE_1000))
    assert [fact(event) for event in connection.receive_eof()] == [("close", 1000, "")]
    assert connection.failed is None


def test_a_close_behind_unread_messages_waits_its_turn():
    connection = Connection(SERVER, receive_queue=1)
    data = frame(0x81, b"a") + frame(0x81, b"b") + frame(0x88)
    assert [fact(event) for event in connection.receive_data(data)] == [("text", "a")]
    assert connection.close_received is None
    assert connection.is_open
    assert [fact(event) for event in connection.receive_data(b"")] == [("text", "b")]
    assert [fact(event) for event in connection.receive_data(b"")] == [("close", 1005, "")]


def test_our_close():
    connection = Connection(SERVER)
    assert connection.close() == [b"\x88\x02\x03\xe8"]
    assert connection.close_sent == (1000, "")
    assert not connection.is_open
    # Messages of the peer still come, its Ping is not answered (our Close says that nothing follows), nor its Close.
    data = frame(0x81, b"a") + frame(0x89, b"?") + frame(0x88, CLOSE_1000 + b"ok")
    assert drain(connection, data) == [("text", "a"), ("ping", b"?"), ("close", 1000, "ok")]
    assert connection.replies() == []
    assert connection.close_sent == (1000, "")
    assert connection.close_received == (1000, "ok")
    assert connection.receive_eof() == []


@pytest.mark.parametrize(
    ("arguments", "frame_bytes", "sent"),
    [
        ((1000, "Bye"), b"\x88\x05\x03\xe8Bye", (1000, "Bye")),
        ((CloseCode.GOING_AWAY,), b"\x88\x02\x03\xe9", (1001, "")),
        ((None,), b"\x88\x00", (1005, "")),
        ((None, ""), b"\x88\x00", (1005, "")),
        ((3000, "\u20ac"), b"\x88\x05\x0b\xb8\xe2\x82\xac", (3000, "\u20ac")),
        ((4999, "x" * 123), b"\x88\x7d\x13\x87" + b"x" * 123, (4999, "x" * 123)),
        ((1014, "\u20ac" * 41), b"\x88\x7d\x03\xf6" + b"\xe2\x82\xac" * 41, (1014, "\u20ac" * 41)),
    ],
)
def test_closes_that_travel(arguments, frame_bytes, sent):
    connection = Connection(SERVER)
    assert connection.close(*arguments) == [frame_bytes]
    assert connection.close_sent == sent
    assert type(connection.close_sent[0]) is int


@pytest.mark.parametrize(
    "arguments",
    [
        (0,),
        (999,),
        (1004,),
        (1005,),
        (1006,),
        (1015,),
        (1016,),
        (2999,),
        (5000,),
        (-1,),
        (2**70,),
        ("1000",),
        (1000.0,),
        (None, "why"),
        (1000, "x" * 124),
        (1000, "\u20ac" * 42),
        (1000, "\ud800"),
        (1000, b"bytes"),
        (1000, None),
    ],
)
def test_closes_that_do_not(arguments):
    connection = Connection(SERVER)
    with pytest.raises(LocalProtocolError):
        connection.close(*arguments)
    assert connection.close_sent is None
    # The connection stays usable.
    assert connection.send_text("a") == [b"\x81\x01a"]


def test_sending():
    connection = Connection(SERVER)
    assert connection.send_text("Hello") == [b"\x81\x05Hello"]
    assert connection.send_text("") == [b"\x81\x00"]
    assert connection.send_text("\u20ac") == [b"\x81\x03\xe2\x82\xac"]
    assert connection.send_binary(b"\0\xff") == [b"\x82\x02\0\xff"]
    assert connection.send_binary(bytearray(b"ab")) == [b"\x82\x02ab"]
    assert connection.send_binary(memoryview(b"ab")) == [b"\x82\x02ab"]
    assert connection.send_binary(b"x" * 65536) == [b"\x82\x7f\0\0\0\0\0\x01\0\0", b"x" * 65536]
    assert connection.send_ping() == [b"\x89\x00"]
    assert connection.send_ping(bytearray(b"x" * 125)) == [b"\x89\x7d" + b"x" * 125]
    assert connection.send_pong(b"Hello") == [b"\x8a\x05Hello"]
    assert connection.send_pong() == [b"\x8a\x00"]


def test_a_client_masks():
    # Every frame with a key of its own (RFC 6455 section 5.3).
    connection = Connection(CLIENT)
    buffers = [
        *connection.send_text("Hello"),
        *connection.send_binary(b"Hello"),
        *connection.send_ping(b"Hello"),
        *connection.send_pong(b"Hello"),
    ]
    assert [buffer[:2] for buffer in buffers] == [b"\x81\x85", b"\x82\x85", b"\x89\x85", b"\x8a\x85"]
    assert [masked(buffer[6:], buffer[2:6]) for buffer in buffers] == [b"Hello"] * 4
    assert len({buffer[2:6] for buffer in buffers}) == 4
    (close,) = connection.close(1000, "Bye")
    assert close[:2] == b"\x88\x85"
    assert masked(close[6:], close[2:6]) == CLOSE_1000 + b"Bye"


def test_what_is_sent_may_change_afterwards():
    connection = Connection(SERVER)
    data = bytearray(b"x" * 20000)
    buffers = connection.send_binary(data) + connection.send_binary(memoryview(data))
    data[:] = bytes(20000)
    assert b"".join(buffers) == (b"\x82\x7e\x4e\x20" + b"x" * 20000) * 2


@pytest.mark.parametrize(
    ("method", "argument"),
    [
        ("send_text", b"bytes"),
        ("send_text", None),
        ("send_text", "lone \ud800 surrogate"),
        ("send_binary", "text"),
        ("send_binary", 5),
        ("send_binary", None),
        ("send_binary", [1, 2]),
        ("send_ping", "text"),
        ("send_ping", b"x" * 126),
        ("send_pong", 5),
        ("send_pong", bytearray(126)),
    ],
)
def test_what_can_not_be_sent(method, argument):
    # DESIGN section 7: "control payload > 125". Refused also when the connection is not open any more: a mistake is
    # one whether or not a race would have hidden it.
    connection = Connection(SERVER)
    for _ in range(2):
        with pytest.raises(LocalProtocolError) as caught:
            getattr(connection, method)(argument)
        assert isinstance(caught.value, ValueError)
        connection.close()
    assert connection.close_sent == (1000, "")


def after_our_close():
    connection = Connection(SERVER)
    connection.close()
    return connection


def after_their_close():
    connection = Connection(SERVER)
    connection.receive_data(frame(0x88))
    return connection


def after_a_fault():
    connection = Connection(SERVER)
    connection.receive_data(b"\xff\xff")
    return connection


def after_the_end():
    connection = Connection(SERVER)
    connection.receive_eof()
    return connection


def after_the_end_with_unread_data():
    connection = Connection(SERVER, receive_queue=1)
    connection.receive_data(frame(0x81) * 3)
    connection.receive_eof()
    return connection


@pytest.mark.parametrize(
    "make", [after_our_close, after_their_close, after_a_fault, after_the_end, after_the_end_with_unread_data]
)
def test_nothing_is_sent_when_it_is_not_open(make):
    connection = make()
    sent = connection.close_sent
    assert not connection.is_open
    assert connection.send_text("a") == []
    assert connection.send_binary(b"a") == []
    assert connection.send_ping() == []
    assert connection.send_pong() == []
    assert connection.close(1001, "again") == []
    assert connection.close_sent == sent


def test_the_end_without_a_close():
    connection = Connection(SERVER)
    assert [fact(event) for event in connection.receive_eof()] == [("failed", "RemoteProtocolError", 1006)]
    assert connection.eof
    assert connection.failed is not None
    assert connection.failed.code == 1006
    # 1006 never travels (RFC 6455 section 7.4.1).
    assert connection.replies() == []
    assert connection.close_sent is None
    assert connection.receive_eof() == []
    assert connection.receive_data(frame(0x81, b"late")) == []


@pytest.mark.parametrize("left", [b"\x81", b"\x81\x85ke", frame(0x81, b"Hello")[:-1], frame(0x01, b"Hello"), b""])
def test_the_end_within_a_message(left):
    connection = Connection(SERVER)
    assert drain(connection, frame(0x81, b"a") + left) == [("text", "a")]
    assert [fact(event) for event in connection.receive_eof()] == [("failed", "RemoteProtocolError", 1006)]


def test_the_end_after_our_close_alone():
    connection = after_our_close()
    assert [fact(event) for event in connection.receive_eof()] == [("failed", "RemoteProtocolError", 1006)]
    assert connection.close_sent == (1000, "")
    assert connection.replies() == []


def test_the_end_waits_for_unread_data():
    # DESIGN section 7: "data lost".
    connection = Connection(SERVER, receive_queue=1)
    connection.receive_data(frame(0x81, b"a") + frame(0x81, b"b") + frame(0x81, b"c"))
    assert [fact(event) for event in connection.receive_eof()] == [("text", "b")]
    assert connection.failed is None
    assert [fact(event) for event in connection.receive_data(b"")] == [
        ("text", "c"),
        ("failed", "RemoteProtocolError", 1006),
    ]
    assert not connection.has_unread_data
    assert connection.replies() == []


def test_the_end_behind_an_unread_close():
    connection = Connection(SERVER, receive_queue=1)
    connection.receive_data(frame(0x81, b"a") + frame(0x81, b"b") + frame(0x88, CLOSE_1000))
    assert [fact(event) for event in connection.receive_eof()] == [("text", "b")]
    assert [fact(event) for event in connection.receive_data(b"")] == [("close", 1000, "")]
    assert connection.failed is None


#: F rows of the probe table that the core decides alone, for a server.
SERVER_FAULTS = {
    "F01": (b"\x81\x05Hello", 1002, b"frame not masked"),
    "F02": (frame(0xC1, b"x")[:1], 1002, b"reserved bits set"),
    "F02, RSV2": (b"\xa1", 1002, b"reserved bits set"),
    "F02, RSV3": (b"\x91", 1002, b"reserved bits set"),
    "F02, Ping": (b"\xc9", 1002, b"reserved bits set"),
    "F03": (b"\x83", 1002, b"reserved opcode"),
    "F04": (b"\x8b", 1002, b"reserved opcode"),
    "F05": (b"\x89\xfe", 1002, b"control frame too long"),
    "F05, Close": (b"\x88\xff", 1002, b"control frame too long"),
    "F06": (b"\x09", 1002, b"control frame fragmented"),
    "F07": (b"\x82\xff\x80\0\0\0\0\0\0\0", 1002, b"length over 63 bits"),
    "F09": (b"\x82\xfe\x00\x05", 1002, b"length not in its shortest form"),
    "F10": (b"\x82\xff\0\0\0\0\0\0\0\x05", 1002, b"length not in its shortest form"),
    "F11": (b"\x80", 1002, b"continuation without a message"),
    "F12": (frame(0x01, b"a") + b"\x81", 1002, b"new message before the end of the last"),
    "F13": (frame(0x88, b"\x03"), 1002, b"close frame with an invalid payload"),
    "F14": (frame(0x88, b"\x03\xed"), 1002, b"close frame with an invalid payload"),
    "F24": (b"G", 1002, b"reserved bits set"),
}


@pytest.mark.parametrize("name", SERVER_FAULTS)
def test_faults(name):
    data, code, reason = SERVER_FAULTS[name]
    refused(SERVER, data, code, reason)
    refused(SERVER, frame(0x82, b"before") + data, code, reason, before=[("binary", b"before")])


@pytest.mark.parametrize("payload", [b"a\xff", b"\xed\xa0", b"\xf4\x90"])
def test_faults_of_text(payload):
    # F15, F16, F17: a fragment is refused before the message ends, a frame before it ends itself.
    not_utf8 = b"text is not UTF-8"
    refused(SERVER, frame(0x88, CLOSE_1000 + payload), 1007, b"close reason is not UTF-8", "InvalidPayload")
    refused(SERVER, frame(0x81, payload), 1007, not_utf8, "InvalidPayload")
    refused(SERVER, frame(0x01, payload), 1007, not_utf8, "InvalidPayload")
    refused(SERVER, frame(0x01, payload + b"x" * 99)[: 6 + len(payload)], 1007, not_utf8, "InvalidPayload")


@pytest.mark.parametrize(
    "data",
    [
        b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x82\xff\0\0\x01\0\0\0\0\0",
        b"\x82\xff\0\0\0\0\0\x10\0\x01",
        frame(0x02, b"x") + b"\x80\xff\x7f\xff\xff\xff\xff\xff\xff\xff",
        frame(0x01, b"x") + b"\x80\xff\0\0\0\0\0\x10\0\0",
    ],
)
def test_faults_of_size(data):
    # F08: at the head, with the default limit of 1 MiB.
    refused(SERVER, data, 1009, b"message over the size limit", "MessageTooBig")


def test_a_code_point_in_three_fragments():
    # F18.
    data = frame(0x01, b"\xe2") + frame(0x00, b"\x82") + frame(0x80, b"\xac")
    check(SERVER, data, [("text", "\u20ac")], b"")


def test_faults_of_a_server():
    # C01, and what a client meets as a server does.
    refused(CLIENT, b"\x81\x80", 1002, b"frame masked")
    refused(CLIENT, b"\xc1", 1002, b"reserved bits set")
    refused(CLIENT, b"\x80", 1002, b"continuation without a message")
    refused(CLIENT, b"\x01\x01\xff", 1007, b"text is not UTF-8", "InvalidPayload")


def test_a_fault_after_our_close_is_told_but_not_answered():
    connection = after_our_close()
    assert drain(connection, b"\xff") == [("failed", "RemoteProtocolError", 1002)]
    assert connection.replies() == []
    assert connection.close_sent == (1000, "")


def test_nothing_is_read_after_a_fault():
    connection = Connection(SERVER)
    assert drain(connection, b"\xff" + frame(0x81, b"late")) == [("failed", "RemoteProtocolError", 1002)]
    assert not connection.has_unread_data
    assert connection.receive_data(frame(0x81, b"later")) == []
    assert connection.receive_eof() == []


def test_the_errors_are_the_documented_ones():
    for data, kind in (
        (b"\xff", RemoteProtocolError),
        (frame(0x81, b"\xff"), InvalidPayload),
        (b"\x82\xff\x7f" + b"\xff" * 7, MessageTooBig),
    ):
        connection = Connection(SERVER)
        connection.receive_data(data)
        assert type(connection.failed) is kind


@pytest.mark.parametrize(
    "limits",
    [
        {"max_message_size": 0},
        {"max_message_size": -1},
        {"receive_queue": 0},
        {"max_empty_fragments": -1},
    ],
)
def test_limits_that_nothing_passes(limits):
    with pytest.raises(LocalProtocolError):
        Connection(SERVER, **limits)


def test_the_smallest_and_the_largest_limits():
    check(SERVER, frame(0x82, b"x") * 2, [("binary", b"x")] * 2, max_message_size=1, receive_queue=1)
    check(SERVER, frame(0x82, b"x") * 40, [("binary", b"x")] * 40, max_message_size=2**80, receive_queue=2**80)
    check(SERVER, frame(0x82, b"x"), [("binary", b"x")], max_empty_fragments=2**80)
    empty = frame(0x02) + frame(0x00) * 5000 + frame(0x80, b"x")
    check(SERVER, empty, [("binary", b"x")], max_empty_fragments=None)
    refused(SERVER, frame(0x02), 1008, b"too many empty fragments", max_empty_fragments=0)
    refused(SERVER, frame(0x82, b"xx")[:2], 1009, b"message over the size limit", "MessageTooBig", max_message_size=1)


def test_the_default_limits():
    message = frame(0x82, b"x" * 2**20)
    assert drain(Connection(SERVER), message) == [("binary", b"x" * 2**20)]
    fragments = frame(0x02) + frame(0x00) * 1023 + frame(0x00, b"x") * 5
    assert drain(Connection(SERVER), fragments) == []
    assert drain(Connection(SERVER), fragments + frame(0x80)) == [("failed", "RemoteProtocolError", 1008)]
    assert len(Connection(SERVER).receive_data(frame(0x81) * 20)) == 16


def test_one_call_never_decodes_two_limits():
    # DESIGN section 2.
    connection = Connection(SERVER, max_message_size=1000)
    data = frame(0x82, b"x" * 600) * 5
    sizes = []
    events = connection.receive_data(data)
    while events or connection.has_unread_data:
        sizes.append(sum(len(event.data) for event in events))
        events = connection.receive_data(b"")
    assert sum(sizes) == 3000
    assert max(sizes) <= 1000


def test_room_for_fewer_messages():
    connection = Connection(SERVER, receive_queue=4)
    data = frame(0x81) * 7 + frame(0x89) + frame(0x81) * 4
    assert len(connection.receive_data(data, max_messages=2)) == 2
    assert len(connection.receive_data(b"", 1)) == 1
    assert len(connection.receive_data(b"", 2**80)) == 4
    for room in (0, -1, -(2**80)):
        with pytest.raises(LocalProtocolError):
            connection.receive_data(b"", room)
    assert [fact(event)[0] for event in connection.receive_data(b"")] == ["ping", *["text"] * 4]


def test_ten_thousand_empty_messages_never_stand_together():
    connection = Connection(SERVER, receive_queue=16)
    counts = [len(connection.receive_data(frame(0x81) * 10_000))]
    while connection.has_unread_data:
        counts.append(len(connection.receive_data(b"")))
    assert sum(counts) == 10_000
    assert max(counts) == 16


def test_ten_thousand_pings_never_stand_together():
    # Part of G04: what is to be answered at once is bounded.
    connection = Connection(SERVER)
    connection.receive_data(frame(0x89, b"x" * 125) * 10_000)
    assert len(connection.replies()) == 256
    connection.receive_data(b"")
    assert len(connection.replies()) == 256


def test_a_fault_holds_nothing_of_what_came():
    # Neither its traceback nor the error behind it: a UnicodeDecodeError has all the bytes that it met.
    for first in (frame(0x81, b"x" * 200 + b"\xff"), frame(0x01, b"\xff" * 20), frame(0x81, b"a"), frame(0x02, b"a")):
        connection = Connection(SERVER)
        data = first + b"\xff" * 99
        count = sys.getrefcount(data)
        connection.receive_data(data)
        assert sys.getrefcount(data) == count
        connection.receive_data(b"")
        assert connection.failed is not None
        assert connection.failed.__traceback__ is None
        assert connection.failed.__context__ is None
        assert connection.failed.__cause__ is None


def test_a_close_that_waits_holds_nothing_of_what_came():
    connection = Connection(SERVER)
    data = frame(0x81, b"a") + frame(0x88, CLOSE_1000) + b"y" * 99
    count = sys.getrefcount(data)
    connection.receive_data(data)
    assert connection.has_unread_data
    assert sys.getrefcount(data) == count


def test_what_is_left_of_a_message_is_let_go_when_it_ends():
    for end in (frame(0x88), b"\xff"):
        connection = Connection(SERVER, receive_queue=1)
        data = frame(0x81, b"a") * 3 + frame(0x01, b"x" * 99) + end + b"y" * 99
        count = sys.getrefcount(data)
        connection.receive_data(data)
        while connection.has_unread_data:
            connection.receive_data(b"")
        assert sys.getrefcount(data) == count


def test_two_connections_talk():
    here, there = Connection(CLIENT), Connection(SERVER)
    sent = here.send_text("a") + here.send_binary(b"x" * 70_000) + here.send_ping(b"?") + here.close(1000, "Bye")
    assert drain(there, b"".join(sent)) == [
        ("text", "a"),
        ("binary", b"x" * 70_000),
        ("ping", b"?"),
        ("close", 1000, "Bye"),
    ]
    assert feed(here, in_bytes(b"".join(there.replies()))) == [("pong", b"?"), ("close", 1000, "")]
    assert here.replies() == []
    assert (here.close_sent, here.close_received) == ((1000, "Bye"), (1000, ""))
    assert (there.close_sent, there.close_received) == ((1000, ""), (1000, "Bye"))


def test_the_key_is_of_no_consequence():
    for key in (b"\0\0\0\0", b"\xff\xff\xff\xff", KEY):
        check(SERVER, frame(0x81, b"Hello", key), [("text", "Hello")])


@pytest.mark.parametrize(
    "limits",
    [
        *(
            {name: value}
            for name in ("max_message_size", "receive_queue")
            for value in (0, "1", 1.0, True, float("nan"))
        ),
        *({"max_empty_fragments": value} for value in (-1, "1", 1.0, True)),
        {"receive_queue": None},
    ],
    ids=str,
)
def test_what_is_no_limit(limits):
    with pytest.raises(LocalProtocolError, match=next(iter(limits))):
        Connection(SERVER, **limits)


@pytest.mark.parametrize("role", ["server", None, True])
def test_what_is_no_role(role):
    # A server that were taken for a client would mask, and wait for frames without a mask.
    with pytest.raises(LocalProtocolError, match="write Role.CLIENT or Role.SERVER"):
        Connection(role)


@pytest.mark.parametrize("deflate", [None, True, {"level": 1}])
def test_no_way_to_compress(deflate):
    with pytest.raises(LocalProtocolError, match="deflate is a DeflateOptions"):
        Connection(Role.SERVER, deflate=deflate)


@pytest.mark.parametrize(
    ("method", "arguments", "told"),
    [
        ("send_ping", ("x",), "the payload of a Ping or Pong is bytes, not str: write payload.encode()"),
        ("send_pong", ("x",), "the payload of a Ping or Pong is bytes, not str: write payload.encode()"),
        ("close", ("1000",), "a close code is an int such as 1000, or None, not str"),
        ("close", (1000.0,), "a close code is an int such as 1000, or None, not float"),
        ("close", (1000, b"Bye"), "a close reason is a str, not bytes"),
        ("close", (1000, None), "a close reason is a str, not None"),
        ("close", (None, b""), "a close reason is a str, not bytes"),
    ],
)
def test_a_wrong_type_is_named(method, arguments, told):
    connection = Connection(SERVER)
    with pytest.raises(LocalProtocolError) as caught:
        getattr(connection, method)(*arguments)
    assert str(caught.value) == told
    assert connection.is_open


def test_messages_are_counted():
    short = frame(0x81, b"x") * 2 + frame(0x82, b"")
    fragments = frame(0x01, b"a") + frame(0x89, b"!") + frame(0x80, b"b")
    data = short + frame(0x82, bytes(70_000)) + fragments
    for chunks in ([data], [data[start : start + 7] for start in range(0, len(data), 7)]):
        connection = Connection(SERVER, receive_queue=2)
        assert connection.messages_received == 0
        for chunk in chunks:
            drain(connection, chunk)
        assert connection.messages_received == 5
    # A fault is no message, and neither is one that has not ended or that nobody has read yet.
    drain(connection, frame(0x81, b"x") + frame(0x01, b"a") + frame(0x81, b"b"))
    assert connection.failed is not None
    assert connection.messages_received == 6
    connection = Connection(SERVER)
    drain(connection, frame(0x81, b"x") + frame(0x81, b"\xff"))
    assert connection.messages_received == 1
    connection = Connection(SERVER, receive_queue=1)
    connection.receive_data(short)
    assert connection.messages_received == 1


def test_what_is_sent_is_counted():
    connection = Connection(CLIENT)
    connection.send_text("x")
    connection.send_binary(b"x")
    connection.send_ping()
    connection.send_pong()
    for send, wrong in ((connection.send_text, b"x"), (connection.send_binary, "x")):
        with pytest.raises(LocalProtocolError):
            send(wrong)
    assert connection.messages_sent == 2
    # A host may send a frame that it made once for many.
    connection.messages_sent += 1
    assert connection.messages_sent == 3
    connection.close()
    connection.send_text("x")
    connection.send_binary(b"x")
    assert connection.messages_sent == 3


def test_who_closed_first():
    connection = Connection(SERVER)
    assert connection.peer_closed_first is False
    drain(connection, frame(0x88, CLOSE_1000))
    assert connection.peer_closed_first is True
    connection = Connection(SERVER)
    connection.close()
    drain(connection, frame(0x88, CLOSE_1000))
    assert connection.peer_closed_first is False
    # The peer's Close has come, but was not read before ours was made.
    connection = Connection(SERVER)
    connection.receive_data(frame(0x81, b"x") + frame(0x88, CLOSE_1000))
    connection.close()
    drain(connection, b"")
    assert connection.close_received is not None
    assert connection.peer_closed_first is False
    connection = Connection(SERVER)
    drain(connection, frame(0x83))
    assert connection.peer_closed_first is False


def test_a_lost_stream() -> None:
    """Nothing can be sent any more; the bytes that came are still decoded."""
    connection = Connection(Role.SERVER)
    assert connection.is_open
    connection.lose()
    assert (connection.lost, connection.is_open, connection.eof, connection.failed) == (True, False, False, None)
    assert [connection.send_text("a"), connection.send_binary(b"a"), connection.send_ping(), connection.close()] == [
        []
    ] * 4
    assert connection.messages_sent == 0
    [event] = connection.receive_data(bytes.fromhex("81810000000061"))
    assert isinstance(event, TextReceived)
    assert event.text == "a"


def test_a_close_behind_messages_of_a_lost_stream() -> None:
    """It is told with them: nothing can be sent between the two."""
    connection = Connection(Role.SERVER)
    connection.lose()
    events = connection.receive_data(bytes.fromhex("81810000000061 88820000000003e8"))
    assert [type(event) for event in events] == [TextReceived, CloseReceived]
    assert connection.close_received == (1000, "")


def test_a_message_for_many() -> None:
    connection = Connection(Role.SERVER)
    message = SharedMessage("a")
    assert connection.send_shared(message) == [b"\x81\x01a"]
    assert connection.send_shared(message) == [b"\x81\x01a"]
    assert connection.messages_sent == 2
    connection.close()
    assert connection.send_shared(message) == []
    assert connection.messages_sent == 2


def test_a_copy_of_a_lost_connection_is_lost() -> None:
    connection = Connection(Role.SERVER)
    connection.lose()
    other = copy.copy(connection)
    assert other.lost
    assert not other.is_open


def test_extensions_that_are_agreed_on_later() -> None:
    connection = Connection(Role.CLIENT)
    assert connection.extensions == ()
    agreed = [Extension("x-example", [])]
    connection.agree(agreed)
    assert connection.extensions == agreed
