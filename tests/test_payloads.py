"""Payloads of messages that are sent: which may be, and the frames that they get."""

import pytest
from feeding import PLAIN_FRAMES, masked

from wsock.sansio import payloads
from wsock.sansio.errors import LocalProtocolError
from wsock.sansio.frames import MaskedFrameWriter


@pytest.mark.parametrize(("message", "expected"), PLAIN_FRAMES)
def test_encode(message, expected):
    assert payloads.encode(message, None) == [expected]
    (buffer,) = payloads.encode(message, MaskedFrameWriter())
    head = 4 if expected[1] == 126 else 2
    assert buffer[:head] == bytes([expected[0], expected[1] | 0x80]) + expected[2:head]
    assert masked(buffer[head + 4 :], buffer[head : head + 4]) == expected[head:]


def test_encode_in_fragments():
    assert payloads.encode("Hello", None, 3) == [b"\x01\x03Hel", b"\x80\x02lo"]
    assert payloads.encode(b"abcdef", None, 2) == [b"\x02\x02ab", b"\x00\x02cd", b"\x80\x02ef"]
    assert payloads.encode(b"abc", None, 3) == [b"\x82\x03abc"]
    assert payloads.encode(b"", None, 1) == [b"\x82\x00"]
    assert payloads.encode(b"x" * 20000, None, 20000) == [b"\x82\x7e\x4e\x20", b"x" * 20000]
    buffers = payloads.encode("Hello", MaskedFrameWriter(), 3)
    assert [buffer[:2] for buffer in buffers] == [b"\x01\x83", b"\x80\x82"]
    assert b"".join(masked(buffer[6:], buffer[2:6]) for buffer in buffers) == b"Hello"
    for size in (0, -1, "2", 2.0, True):
        with pytest.raises(LocalProtocolError):
            payloads.encode(b"abc", None, size)


def test_what_is_no_message():
    for message in ("\ud800", "a\udfffb", 5, None, ["x"]):
        with pytest.raises(LocalProtocolError):
            payloads.encode(message, None)
    raw = b"bytes"
    for text, advice in (
        *((data, "sendBytesMessage") for data in (raw, bytearray(raw), memoryview(raw))),
        *((data, "json.dumps") for data in ({}, [], ())),
        (5, "str(text)"),
    ):
        with pytest.raises(LocalProtocolError) as caught:
            payloads.encode_text(text)
        assert str(caught.value).startswith(f"text is a str, not {type(text).__name__}: ")
        assert advice in str(caught.value)
    for data, advice in (("str", "sendTextMessage"), *((data, "json.dumps") for data in ({}, [], ())), (5, "not int")):
        with pytest.raises(LocalProtocolError) as caught:
            payloads.binary_payload(data)
        assert advice in str(caught.value)
        assert ("json" in str(caught.value)) == (advice == "json.dumps")


def test_a_payload_is_a_copy_unless_it_can_not_change():
    data = b"abc"
    assert payloads.binary_payload(data) is data
    changing = bytearray(b"abc")
    copies = [payloads.binary_payload(changing), payloads.binary_payload(memoryview(changing))]
    changing[0] = 0
    assert copies == [b"abc", b"abc"]
    # The plain bytes of a class of their own.
    copied = payloads.binary_payload(type("Own", (bytes,), {})(b"abc"))
    assert (type(copied), copied) == (bytes, b"abc")
