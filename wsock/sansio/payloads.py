"""The payloads of messages, Pings and Pongs that a host sends: checked, and as bytes."""

from __future__ import annotations

from typing import Final

from . import frames
from .constants import BINARY, CONTINUATION, MAX_CONTROL_PAYLOAD, TEXT
from .errors import LocalProtocolError, wrong_type
from .frames import MaskedFrameWriter

_MESSAGE: Final = "a str for text, or bytes, bytearray or memoryview"
_JSON: Final = "json.dumps(...) makes a str"


def encode(message: object, masks: MaskedFrameWriter | None, fragment_size: object = None) -> list[bytes]:
    """The frames of a message.

    Args:
        message: a str makes a text message; bytes, bytearray or memoryview a binary one.
        masks: a client's; a server's frames are not masked, so it gives None.
        fragment_size: the largest payload of a frame, in bytes; None sends the message in one frame.

    Returns:
        the buffers to send, in order.

    Raises:
        LocalProtocolError: ``message`` is of another type, or has a lone surrogate; ``fragment_size`` is below 1.
    """
    if isinstance(message, str):
        opcode: int = TEXT
        payload = encode_text(message)
    else:
        opcode = BINARY
        payload = binary_payload(message)
    write = frames.encode if masks is None else masks.encode
    if fragment_size is None:
        return write(opcode, payload, True)
    if not isinstance(fragment_size, int) or isinstance(fragment_size, bool):
        raise wrong_type("fragment_size", "a number of bytes, or None", fragment_size)
    if fragment_size < 1:
        raise LocalProtocolError("a fragment has at least 1 byte")
    buffers: list[bytes] = []
    for start in range(0, max(len(payload), 1), fragment_size):
        end = start + fragment_size
        buffers.extend(write(CONTINUATION if start else opcode, payload[start:end], end >= len(payload)))
    return buffers


def encode_text(text: object) -> bytes:
    """The payload of a text message or the reason of a Close.

    Raises:
        LocalProtocolError: not a str, or one with a lone surrogate, which UTF-8 has no bytes for.
    """
    if not isinstance(text, str):
        raise _no_text(text)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise LocalProtocolError("text with a lone surrogate has no UTF-8") from None


def binary_payload(data: object) -> bytes:
    """A binary message's payload; changing ``data`` afterwards does not change it.

    Raises:
        LocalProtocolError: not bytes, bytearray or memoryview.
    """
    if type(data) is bytes:
        return data
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    if isinstance(data, str):
        raise wrong_type(
            "data",
            "bytes, bytearray or memoryview",
            data,
            "sendTextMessage (send_text) sends a str, data.encode() makes bytes",
        )
    raise wrong_type("a message", _MESSAGE, data, _JSON if isinstance(data, (dict, list, tuple)) else "")


def control_payload(payload: object) -> bytes:
    """A Ping's or a Pong's payload.

    Raises:
        LocalProtocolError: not bytes, bytearray or memoryview, or more than 125 bytes.
    """
    if isinstance(payload, str):
        raise wrong_type("the payload of a Ping or Pong", "bytes", payload, "write payload.encode()")
    content = binary_payload(payload)
    if len(content) > MAX_CONTROL_PAYLOAD:
        raise LocalProtocolError("the payload of a Ping or Pong has at most 125 bytes")
    return content


def _no_text(text: object) -> LocalProtocolError:
    if isinstance(text, (bytes, bytearray, memoryview)):
        return wrong_type(
            "text", "a str", text, "sendBytesMessage (send_binary) sends bytes, text.decode() makes a str"
        )
    advice = _JSON if isinstance(text, (dict, list, tuple)) else "write str(text)"
    return wrong_type("text", "a str", text, advice)
