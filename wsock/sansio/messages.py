"""Fragments to whole messages and back (RFC 6455 sections 5.4 and 8.1).

Rules:

* A message is handed over once, whole. The part that has come so far is held in one growing buffer: its memory is its
  bytes, not its fragments, and its time is linear whatever the fragments and the chunks that they came in.
* Text fails at its first byte that can't be UTF-8, also within a frame that has not ended.
* Exactly the limit passes. Fragments that carry data are never counted: they cost what they carry. Empty ones are.
* A compressed message is inflated as it comes, and no further than its limit. Data that breaks right behind the limit
  is told of as the one or as the other.

Control frames come out as they are, between the fragments of a message too. Their meaning is the connection's business.
"""

from __future__ import annotations

from codecs import utf_8_decode
from copy import copy
from typing import TYPE_CHECKING, Final, TypeAlias

from . import frames
from .constants import (
    BINARY,
    CLOSE,
    CONTINUATION,
    MAX_CONTROL_PAYLOAD,
    PING,
    TEXT,
    CloseCode,
    is_sendable_close_code,
)
from .deflate import NO_COPY, Inflater
from .errors import InvalidPayload, LocalProtocolError, MessageTooBig, RemoteProtocolError, wrong_type
from .events import BinaryReceived, CloseReceived, Event, PingReceived, PongReceived, TextReceived
from .frames import NO_LIMIT, FrameReader, MaskedFrameWriter
from .masking import PayloadBuffer, unmask

if TYPE_CHECKING:
    from mypy_extensions import i64

#: How much one call of `MessageReader.read` decodes where messages have no limit, in bytes.
_BUDGET_BYTES: Final = 2**20
#: How many control frames one call reads: a segment of 64 KiB may hold 10,922 empty Pings.
_MAX_CONTROLS: Final = 256
#: The piece that is copied or checked at a time where the whole would take too much memory, in bytes.
_SLICE_BYTES: Final = 65536
#: How many bytes of a message are made at a time of these.
_STEP_BYTES: Final = 2**20
#: How many compressed bytes are inflated at a time: where there is no limit, they may be a thousand times as many.
_DEFLATED_SLICE_BYTES: Final = 16384
#: How many bytes a compressed message may take for each byte of the limit, and besides. Few take more than one for one;
#: a peer that flushes behind each byte takes eight. It is for those that send no end of compressed nothing.
_DEFLATED_PER_BYTE: Final = 8
_DEFLATED_BESIDES: Final = 65536
_NOT_UTF8: Final = "text is not UTF-8"
_TOO_BIG: Final = "message over the size limit"
_MESSAGE: Final = "a str for text, or bytes, bytearray or memoryview"
_JSON: Final = "json.dumps(...) makes a str"
#: An invalid close code or payload is a protocol error; the reason must be UTF-8 (RFC 6455 sections 5.5.1, 7.4, 8.1).
_BAD_CLOSE: Final = "close frame with an invalid payload"


class Assembler:
    """One message, from its first piece to its last: the wall between fragments and messages."""

    __slots__ = ("_code_point", "_inflater", "_is_text", "_payload", "empty_frames", "received", "size")

    def __init__(self, opcode: i64, inflater: Inflater | None = None) -> None:
        """Start an empty message.

        Args:
            opcode: TEXT or BINARY.
            inflater: the connection's, told of the message; None for one that is not compressed.
        """
        self._is_text: bool = opcode == TEXT
        self._inflater: Inflater | None = inflater
        self._payload = PayloadBuffer()
        #: How many bytes of the message there are, how many have come for it, and in how many frames none.
        self.size: i64 = 0
        self.received: i64 = 0
        self.empty_frames: i64 = 0
        #: The one to three bytes of a code point whose end has not come.
        self._code_point: bytes = b""

    def __reduce__(self) -> tuple[object, ...]:
        if self._inflater is not None:
            raise TypeError(NO_COPY)
        state = (bytes(self._payload), self.size, self.received, self.empty_frames, self._code_point)
        return type(self), (TEXT if self._is_text else BINARY, None), state

    def __setstate__(self, state: tuple[bytes, int, int, int, bytes]) -> None:
        payload, self.size, self.received, self.empty_frames, self._code_point = state
        self._payload.extend(payload, 0, len(payload), b"", 0, len(payload))

    def add(self, data: bytes, start: i64, end: i64, key: bytes, phase: i64, most: i64) -> None:
        """Takes a piece of a fragment.

        Args:
            data: holds the piece, masked.
            start: where the piece begins in ``data``.
            end: where it ends.
            key: the frame's masking key, or an empty one.
            phase: how many bytes of this frame came before.
            most: the limit of the whole message, in bytes.

        Raises:
            InvalidPayload: text that can't be UTF-8, or compressed data that is broken.
            MessageTooBig: it inflates to more than the limit.
        """
        self.received += end - start
        inflater = self._inflater
        if inflater is not None:
            self._inflate(inflater, unmask(data, start, end, _turned(key, phase)), most)
            return
        self.size += end - start
        if not self._is_text:
            self._payload.extend(data, start, end, key, phase, most)
            return
        while start < end:
            # In slices: text that is decoded only to be checked may take four times its bytes.
            stop = end if end - start <= _SLICE_BYTES else start + _SLICE_BYTES
            piece = unmask(data, start, stop, _turned(key, phase))
            self.check(piece)
            self._payload.extend(piece, 0, len(piece), b"", 0, most)
            phase += stop - start
            start = stop

    def _inflate(self, inflater: Inflater, piece: bytes, most: i64) -> None:
        """Takes compressed bytes; one more than the limit tells that there are too many."""
        self._take(inflater.inflate(piece, _step(most - self.size, _SLICE_BYTES)), most)
        while inflater.has_more:
            self._take(inflater.inflate(b"", _step(most - self.size, _SLICE_BYTES)), most)

    def _take(self, piece: bytes, most: i64) -> None:
        self.size += len(piece)
        if self._is_text:
            # Before its size: a piece ends one byte behind the limit at the most, so any split finds the same fault.
            self.check(piece)
        if self.size > most:
            raise MessageTooBig(_TOO_BIG)
        self._payload.extend(piece, 0, len(piece), b"", 0, most)

    def check(self, piece: bytes) -> None:
        """Checks the next piece of a text.

        Raises:
            InvalidPayload: it can't be UTF-8, whatever follows.
        """
        if self._code_point:
            piece = self._code_point + piece
        try:
            decoded: i64 = utf_8_decode(piece, "strict", False)[1]
        except UnicodeDecodeError:
            raise InvalidPayload(_NOT_UTF8) from None
        self._code_point = piece[decoded:]
        if b"\xed\xa0" <= self._code_point < b"\xee":
            # The start of a surrogate is wrong already (RFC 3629 §3); Python's decoder waits for its third byte.
            raise InvalidPayload(_NOT_UTF8)

    def finish(self, most: i64 = NO_LIMIT) -> Event:
        """The message that the pieces make.

        Args:
            most: the limit of the whole message, in bytes.

        Raises:
            InvalidPayload: the last code point of a text never ended, or compressed data is broken.
            MessageTooBig: it inflates to more than the limit.
        """
        inflater = self._inflater
        if inflater is not None and self.received > 0:
            self._take(inflater.end(_step(most - self.size, _SLICE_BYTES)), most)
            while inflater.has_more:
                self._take(inflater.inflate(b"", _step(most - self.size, _SLICE_BYTES)), most)
            inflater.finish()
        payload = self._payload.take()
        if not self._is_text:
            return BinaryReceived(payload)
        if self._code_point:
            raise InvalidPayload(_NOT_UTF8)
        return TextReceived(payload.decode("utf-8"))


def _turned(key: bytes, phase: i64) -> bytes:
    """The masking key as it meets a payload from its byte ``phase`` on."""
    turn = phase & 3
    return key[turn:] + key[:turn] if turn else key


#: All that a `MessageReader` knows, for a copy.
_ReaderState: TypeAlias = tuple[
    tuple[int, int, int],
    tuple[FrameReader, Assembler | None, bytearray | None, Inflater | None],
    tuple[bytes, bytes, int, bytes, int, int],
]


class MessageReader:
    """Bytes from a peer in, messages and control frames out.

    Attributes:
        messages: how many messages were read so far.
    """

    __slots__ = (
        "_budget",
        "_control",
        "_data",
        "_frame",
        "_head",
        "_inflater",
        "_mask_bit",
        "_max_empty",
        "_max_size",
        "_message",
        "_position",
        "_remaining",
        "_waiting",
        "messages",
    )

    def __init__(self, masked: bool, max_message_size: int | None, max_empty_fragments: int | None) -> None:
        """Start before the first frame.

        Args:
            masked: whether the peer must mask, so whether it is a client.
            max_message_size: the largest message taken in, in bytes, at least 1; None for no limit.
            max_empty_fragments: how many frames of one message may be empty; None for no limit.
        """
        self._frame = FrameReader(masked)
        self._mask_bit: i64 = 0x80 if masked else 0
        self._max_size: i64 = NO_LIMIT if max_message_size is None else min(max_message_size, NO_LIMIT)
        #: How much payload one call reads at the most.
        self._budget: i64 = _BUDGET_BYTES if max_message_size is None else self._max_size
        self._max_empty: i64 = NO_LIMIT if max_empty_fragments is None else min(max_empty_fragments, NO_LIMIT)
        #: The message of which some part has come.
        self._message: Assembler | None = None
        #: The start of a frame head whose end has not come.
        self._head: bytes = b""
        #: The payload of a control frame whose end has not come.
        self._control: bytes = b""
        #: How much of the payload under way has not come; -1 between frames.
        self._remaining: i64 = -1
        #: Data that an earlier call did not read: a piece, where to go on in it (0 without one), and all behind it.
        self._data: bytes = b""
        self._position: i64 = 0
        self._waiting: bytearray | None = None
        #: Where compression was agreed.
        self._inflater: Inflater | None = None
        self.messages: i64 = 0

    def __reduce__(self) -> tuple[object, ...]:
        limits = (self._max_size, self._budget, self._max_empty)
        # Copies, which go on by themselves also in a copy that is not deep.
        held = (copy(self._frame), copy(self._message), copy(self._waiting), copy(self._inflater))
        read = (self._head, self._control, self._remaining, self._data, self._position, self.messages)
        return type(self), (self._mask_bit != 0, None, None), (limits, held, read)

    def __setstate__(self, state: _ReaderState) -> None:
        limits, held, read = state
        self._max_size, self._budget, self._max_empty = limits
        self._frame, self._message, self._waiting, self._inflater = held
        self._head, self._control, self._remaining, self._data, self._position, self.messages = read

    @property
    def has_unread_data(self) -> bool:
        """Whether `read` has something to go on with, without new data."""
        return self._data != b""

    def use(self, inflater: Inflater) -> None:
        """Takes compressed messages, too, from now on; between two messages."""
        self._inflater = inflater
        # As a quotient, since the product may be larger than an integer can be.
        limited = self._max_size < (NO_LIMIT - _DEFLATED_BESIDES) // _DEFLATED_PER_BYTE
        self._frame.compressed_room = self._max_size * _DEFLATED_PER_BYTE + _DEFLATED_BESIDES if limited else NO_LIMIT

    def forget(self) -> None:
        """Drops all that is held: nothing more is to be read."""
        self._data = self._head = self._control = b""
        self._waiting = self._message = None
        self._inflater = None

    def read(self, data: bytes, events: list[Event], max_messages: i64) -> bool:
        """Reads on, to the end of the piece under way, to one of the limits of a call, or to a Close.

        Args:
            data: new bytes; none to go on with those that wait.
            events: messages and control frames that have ended are appended here.
            max_messages: how many messages to read at the most.

        Returns:
            whether control frames are among the events.

        Raises:
            RemoteProtocolError: the peer broke the protocol; the connection is to be failed.
        """
        position: i64 = 0
        if self._data or self._head:
            data = self._resume(data)
            position = self._position
        size: i64 = len(data)
        payload = self._budget
        if self._message is not None and payload == self._max_size:
            payload -= self._message.size  # so that what this call hands over is not more than a message either
        # Whether the message under way has all that it may have: what ends it adds nothing.
        is_full = payload == 0
        controls: i64 = _MAX_CONTROLS
        mask_bit = self._mask_bit
        #: The size of the shortest heads, which have the length in their second byte.
        short_head: i64 = 6 if mask_bit else 2
        frame = self._frame
        while position < size and max_messages > 0:
            start = position + short_head
            if start <= size and self._remaining < 0 and self._message is None:
                # By far the most frequent: a short message in one frame, all of it here. Anything else,
                # a wrong mask bit for one, is the business of the code below.
                first: i64 = data[position]
                length: i64 = data[position + 1] ^ mask_bit
                end = start + length
                if length < 126 and end <= size and length <= payload and (first == 0x82 or first == 0x81):
                    content = unmask(data, start, end, None) if mask_bit else data[start:end]
                    events.append(BinaryReceived(content) if first == 0x82 else _text(content))
                    payload -= length
                    self.messages += 1
                    max_messages -= 1
                    position = end
                    continue
            if self._remaining < 0:
                position = self._read_head(data, position)
                if position < 0:
                    position = size
                    break
            # A control frame is held to `_MAX_CONTROLS`, not to what is left of the payload: that may be nothing, when
            # a message has come but for its last frame, and then each call would stop before the control frame.
            is_control = frame.opcode >= CLOSE
            length = min(self._remaining, size - position)
            if is_control:
                end = position + length
                self._read_payload(data, position, end, events)
            elif not frame.compressed:
                length = min(length, payload)
                payload -= length
                end = position + length
                self._read_payload(data, position, end, events)
            else:
                if length > 0 and payload == 0 and not is_full:
                    break
                # How much it makes is known behind it: perhaps as much as a message more than was left.
                end = position + min(length, _DEFLATED_SLICE_BYTES)
                payload = max(payload - self._read_compressed(data, position, end, events), 0)
                if self._remaining >= 0 and end < size:
                    position = end
                    continue
            position = end
            if self._remaining >= 0:
                break
            if is_control:
                controls -= 1
                if controls == 0 or frame.opcode == CLOSE:
                    break
            elif frame.final:
                self.messages += 1
                max_messages -= 1
                is_full = False
        if position < size or self._data:
            self._keep(data, position)
        return controls < _MAX_CONTROLS

    def _resume(self, data: bytes) -> bytes:
        """The data to be read now, from `_position` on, when ``data`` has come."""
        if self._data:
            if data:
                if self._waiting is None:
                    self._waiting = bytearray()
                self._waiting += data
            return self._data
        data = self._head + data
        self._head = b""
        return data

    def _keep(self, data: bytes, position: i64) -> None:
        """Keeps what is not read from ``position`` on; where that is nothing, the next piece of what waits."""
        if position < len(data):
            self._data = data
            self._position = position
            return
        self._data = b""
        self._position = 0
        waiting = self._waiting
        if waiting is not None:
            # A slice, since all of it as bytes would take twice the memory; cut off the front, it costs no move.
            self._data = self._head + bytes(waiting[:_SLICE_BYTES])
            self._head = b""
            del waiting[:_SLICE_BYTES]
            if not waiting:
                self._waiting = None

    def _read_head(self, data: bytes, position: i64) -> i64:
        """Begins a frame; returns where its payload begins, or -1 if its head has not ended."""
        frame = self._frame
        message = self._message
        room = self._max_size
        if message is not None:
            room = frame.compressed_room - message.received if frame.compressed else room - message.size
        start = frame.read_head(data, position, room)
        if start < 0:
            self._head = data[position:]
            return -1
        self._remaining = frame.length
        if frame.opcode < CLOSE and (message is not None or not frame.final):
            if message is None:
                message = self._begin()
            if frame.length == 0:
                message.empty_frames += 1
                if message.empty_frames > self._max_empty:
                    raise RemoteProtocolError("too many empty fragments", CloseCode.POLICY_VIOLATION)
        return start

    def _read_payload(self, data: bytes, start: i64, end: i64, events: list[Event]) -> None:
        """Takes what there is of a frame's payload."""
        frame = self._frame
        phase = frame.length - self._remaining
        self._remaining -= end - start
        complete = self._remaining == 0
        if complete:
            self._remaining = -1
        if frame.opcode >= CLOSE:
            self._control += unmask(data, start, end, _turned(frame.key, phase))
            if complete:
                payload = self._control
                self._control = b""
                events.append(_control_event(frame.opcode, payload))
            return
        message = self._message
        if message is None:
            if complete and phase == 0:
                payload = unmask(data, start, end, frame.key)
                events.append(BinaryReceived(payload) if frame.opcode == BINARY else _text(payload))
                return
            message = self._begin()
        if end > start:
            known = message.size - phase + frame.length
            message.add(data, start, end, frame.key, phase, known if frame.final else self._max_size)
        if complete and frame.final:
            self._message = None
            events.append(message.finish(self._max_size))

    def _begin(self) -> Assembler:
        """Begins a message of which not all is here."""
        frame = self._frame
        inflater = self._inflater if frame.compressed else None
        if inflater is not None:
            inflater.begin(frame.length)
        self._message = message = Assembler(frame.opcode, inflater)
        return message

    def _read_compressed(self, data: bytes, start: i64, end: i64, events: list[Event]) -> i64:
        """Takes what there is of a compressed data frame's payload; returns how many bytes that made of the message."""
        frame = self._frame
        phase = frame.length - self._remaining
        self._remaining -= end - start
        complete = self._remaining == 0
        if complete:
            self._remaining = -1
        message = self._message
        if message is None:
            if complete and phase == 0:
                payload = self._inflated(unmask(data, start, end, frame.key))
                events.append(BinaryReceived(payload) if frame.opcode == BINARY else _text(payload))
                return len(payload)
            message = self._begin()
        before = message.size
        if end > start:
            message.add(data, start, end, frame.key, phase, self._max_size)
        if complete and frame.final:
            self._message = None
            events.append(message.finish(self._max_size))
        return message.size - before

    def _inflated(self, deflated: bytes) -> bytes:
        """The payload of a message that came in one frame, whose compressed bytes are few."""
        inflater = self._inflater
        assert inflater is not None
        if not deflated:
            # Not as RFC 7692 §7.2.3.6 would have it, but clear enough.
            return b""
        most = self._max_size
        inflater.begin(len(deflated))
        pieces = [inflater.inflate(deflated, _step(most, _STEP_BYTES))]
        size: i64 = len(pieces[0])
        ended = False
        while size <= most and (inflater.has_more or not ended):
            if inflater.has_more:
                piece = inflater.inflate(b"", _step(most - size, _STEP_BYTES))
            else:
                piece = inflater.end(_step(most - size, _STEP_BYTES))
                ended = True
            if piece:
                pieces.append(piece)
                size += len(piece)
        if size > most:
            if self._frame.opcode == TEXT:
                # Within the limit it may be no text, which is told of one that comes in pieces.
                checker = Assembler(TEXT)
                for piece in pieces:
                    for start in range(0, len(piece), _SLICE_BYTES):
                        checker.check(piece[start : start + _SLICE_BYTES])
            raise MessageTooBig(_TOO_BIG)
        inflater.finish()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _step(left: i64, most: i64) -> i64:
    """How much of a message to inflate at a time: one byte more than is left tells that it is too much."""
    return left + 1 if left < most else most


def _text(payload: bytes) -> TextReceived:
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
