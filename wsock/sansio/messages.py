"""Fragments to whole messages and back (RFC 6455 sections 5.4 and 8.1).

Rules:

* A message is handed over once, whole. What has come of it so far is held in one growing buffer: its memory is its
  bytes, not its fragments, and its time is linear whatever the fragments and the chunks that they came in.
* Text fails at its first byte that can't be UTF-8, also within a frame that has not ended.
* Exactly the limit passes. Fragments that carry data are never counted: they cost what they carry. Empty ones are.

Control frames come out as they are, between the fragments of a message too. What they mean is the connection's.
"""

from __future__ import annotations

from codecs import utf_8_decode
from typing import TYPE_CHECKING, Final

from . import frames
from .constants import BINARY, CLOSE, CONTINUATION, PING, TEXT, CloseCode, is_sendable_close_code
from .errors import InvalidPayload, LocalProtocolError, MessageTooBig, RemoteProtocolError
from .events import BinaryReceived, CloseReceived, Event, PingReceived, PongReceived, TextReceived
from .frames import NO_LIMIT, FrameReader, MaskedFrameWriter
from .masking import PayloadBuffer, unmask

if TYPE_CHECKING:
    from mypy_extensions import i64

_NOT_UTF8: Final = "text is not UTF-8"
#: An invalid close code or payload is a protocol error; the reason must be UTF-8 (RFC 6455 sections 5.5.1, 7.4, 8.1).
_BAD_CLOSE: Final = "close frame with an invalid payload"


class Assembler:
    """One message, from its first piece to its last: the wall between fragments and messages."""

    def __init__(self, opcode: i64) -> None:
        """Args:
        opcode: TEXT or BINARY.
        """
        self._is_text: bool = opcode == TEXT
        self._payload = PayloadBuffer()
        self._size: i64 = 0
        #: The one to three bytes of a code point whose end has not come.
        self._code_point: bytes = b""
        self._empty_frames: i64 = 0

    @property
    def size(self) -> i64:
        """How many bytes of the message have come."""
        return self._size

    def count_empty(self) -> i64:
        """Notes a frame without payload, and returns how many the message has had."""
        self._empty_frames += 1
        return self._empty_frames

    def add(self, data: bytes, start: i64, end: i64, key: bytes, phase: i64, final_size: i64) -> None:
        """Takes a piece of a fragment.

        Args:
            data: holds the piece, masked.
            start: where the piece begins in ``data``.
            end: where it ends.
            key: the frame's masking key, or an empty one.
            phase: how many bytes of this frame came before.
            final_size: the size of the whole message, or 0 while that is not known.

        Raises:
            InvalidPayload: text that can't be UTF-8.
        """
        self._size += end - start
        if self._is_text:
            turn = phase & 3
            piece = unmask(data, start, end, key[turn:] + key[:turn])
            self._check(piece)
            self._payload.extend(piece, 0, len(piece), b"", 0, final_size)
        else:
            self._payload.extend(data, start, end, key, phase, final_size)

    def _check(self, piece: bytes) -> None:
        if self._code_point:
            piece = self._code_point + piece
        try:
            decoded: i64 = utf_8_decode(piece, "strict", False)[1]
        except UnicodeDecodeError:
            raise InvalidPayload(_NOT_UTF8) from None
        self._code_point = piece[decoded:]

    def finish(self) -> Event:
        """The message that the pieces make.

        Raises:
            InvalidPayload: the last code point of a text never ended.
        """
        payload = self._payload.take()
        if not self._is_text:
            return BinaryReceived(payload)
        if self._code_point:
            raise InvalidPayload(_NOT_UTF8)
        return TextReceived(payload.decode("utf-8"))


class MessageReader:
    """Bytes from a peer in, messages and control frames out."""

    def __init__(self, masked: bool, max_message_size: int | None, max_empty_fragments: int | None) -> None:
        """Args:
        masked: whether the peer must mask, so whether it is a client.
        max_message_size: the largest message taken in, in bytes; None for no limit.
        max_empty_fragments: how many frames of one message may be empty; None for no limit.
        """
        self._frame = FrameReader(masked)
        self._max_size: i64 = NO_LIMIT if max_message_size is None else max_message_size
        self._max_empty: i64 = NO_LIMIT if max_empty_fragments is None else max_empty_fragments
        #: The message of which some fragment has come.
        self._message: Assembler | None = None
        #: The start of a frame head whose end has not come.
        self._head: bytes = b""
        #: The payload of a control frame whose end has not come.
        self._control: bytes = b""
        #: How much of the payload under way has come; -1 between frames.
        self._read: i64 = -1

    def resume(self, data: bytes) -> bytes:
        """What `read` is to be given when ``data`` has come: with the head that it left unread before it."""
        if not self._head:
            return data
        data = self._head + data
        self._head = b""
        return data

    def read(self, data: bytes, position: i64, events: list[Event]) -> i64:
        """Reads on, at most to the end of one frame.

        Args:
            data: from `resume`.
            position: where to read on in it.
            events: what has ended is appended here.

        Returns:
            the position to read on from; ``len(data)`` when all was taken.

        Raises:
            RemoteProtocolError: what the peer sent can't be; the connection is to be failed.
        """
        frame = self._frame
        if self._read < 0:
            message = self._message
            room = self._max_size if message is None else self._max_size - message.size
            start = frame.read_head(data, position, room)
            if start < 0:
                self._head = data[position:]
                return len(data)
            position = start
            self._read = 0
            if frame.opcode < CLOSE:
                self._begin(message)
        return self._read_payload(data, position, events)

    def _begin(self, message: Assembler | None) -> None:
        """Holds a data frame's head against the message under way."""
        frame = self._frame
        if message is None:
            if frame.opcode == CONTINUATION:
                raise RemoteProtocolError("continuation without a message")
            if frame.final:
                return
            message = self._message = Assembler(frame.opcode)
        elif frame.opcode != CONTINUATION:
            raise RemoteProtocolError("new message before the end of the last")
        if frame.length == 0 and message.count_empty() > self._max_empty:
            raise RemoteProtocolError("too many empty fragments", CloseCode.POLICY_VIOLATION)

    def _read_payload(self, data: bytes, position: i64, events: list[Event]) -> i64:
        frame = self._frame
        end: i64 = len(data)
        missing = frame.length - self._read
        if end - position >= missing:
            end = position + missing
            missing = 0
        if frame.opcode >= CLOSE:
            self._control += unmask(data, position, end, frame.key[self._read & 3 :] + frame.key[: self._read & 3])
            if missing == 0:
                payload = self._control
                self._control = b""
                self._read = -1
                events.append(_control_event(frame.opcode, payload))
            else:
                self._read += end - position
            return end
        message = self._message
        if message is None:
            if missing == 0 and self._read == 0:
                # By far the most frequent: a message in one frame, all of it here.
                self._read = -1
                events.append(_whole_message(frame.opcode, unmask(data, position, end, frame.key)))
                return end
            message = self._message = Assembler(frame.opcode)
        if end > position:
            final_size = message.size + end - position + missing if frame.final else 0
            message.add(data, position, end, frame.key, self._read, final_size)
        if missing:
            self._read += end - position
        else:
            self._read = -1
            if frame.final:
                self._message = None
                events.append(message.finish())
        return end


def _whole_message(opcode: i64, payload: bytes) -> Event:
    if opcode == BINARY:
        return BinaryReceived(payload)
    try:
        return TextReceived(payload.decode("utf-8"))
    except UnicodeDecodeError:
        raise InvalidPayload(_NOT_UTF8) from None


def _control_event(opcode: i64, payload: bytes) -> Event:
    if opcode == PING:
        return PingReceived(payload)
    if opcode != CLOSE:
        return PongReceived(payload)
    if not payload:
        # RFC 6455 §7.1.5: no code in the frame is reported as 1005.
        return CloseReceived(CloseCode.NO_STATUS_RECEIVED.value, "")
    if len(payload) == 1:
        raise RemoteProtocolError(_BAD_CLOSE)
    code = payload[0] << 8 | payload[1]
    if not is_sendable_close_code(code):
        raise RemoteProtocolError(_BAD_CLOSE)
    try:
        return CloseReceived(code, payload[2:].decode("utf-8"))
    except UnicodeDecodeError:
        raise InvalidPayload("close reason is not UTF-8") from None


def encode(
    message: str | bytes | bytearray | memoryview, masks: MaskedFrameWriter | None, fragment_size: int | None = None
) -> list[bytes]:
    """The frames of a message.

    Args:
        message: a str makes a text message, anything else a binary one.
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
    if fragment_size is None:
        return _frame(opcode, payload, True, masks)
    if fragment_size < 1:
        raise LocalProtocolError("a fragment has at least 1 byte")
    buffers: list[bytes] = []
    start = 0
    while True:
        end = start + fragment_size
        buffers.extend(_frame(opcode, payload[start:end], end >= len(payload), masks))
        if end >= len(payload):
            return buffers
        opcode = CONTINUATION
        start = end


def _frame(opcode: int, payload: bytes, final: bool, masks: MaskedFrameWriter | None) -> list[bytes]:
    if masks is None:
        return frames.encode(opcode, payload, final)
    return masks.encode(opcode, payload, final)


def encode_text(text: object) -> bytes:
    """A text message's payload.

    Raises:
        LocalProtocolError: not a str, or one with a lone surrogate, which UTF-8 has no bytes for.
    """
    if not isinstance(text, str):
        raise LocalProtocolError("a text message is a str; send bytes as a binary message")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise LocalProtocolError("text with a lone surrogate has no UTF-8") from None


def binary_payload(data: object) -> bytes:
    """A binary message's or a control frame's payload; changing ``data`` afterwards does not change it.

    Raises:
        LocalProtocolError: not bytes, bytearray or memoryview.
    """
    if type(data) is bytes:
        return data
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise LocalProtocolError("a binary payload is bytes, bytearray or memoryview; send str as a text message")
