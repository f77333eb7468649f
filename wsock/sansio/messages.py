"""Frames to whole messages (RFC 6455 section 5.4).

Rules:

* A message is handed over once, whole; `Assembler <wsock.sansio.assembler.Assembler>` has what has come of it so far.
* Exactly the limit passes. Fragments that carry data are never counted: they cost what they carry. Empty ones are.
* One call reads a bounded amount; the rest stays as the bytes it came as.

Control frames come out as they are, between the fragments of a message too. Their meaning is the connection's business.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Final, TypeAlias

from .assembler import NOT_UTF8, SLICE_BYTES, Assembler, inflate_whole, turned
from .constants import BINARY, CLOSE, PING, TEXT, CloseCode, is_sendable_close_code
from .deflate import Inflater
from .errors import InvalidPayload, RemoteProtocolError
from .events import BinaryReceived, CloseReceived, Event, PingReceived, PongReceived, TextReceived
from .frames import NO_LIMIT, FrameReader
from .masking import unmask

if TYPE_CHECKING:
    from mypy_extensions import i64

#: How much one call of `MessageReader.read` decodes where messages have no limit, in bytes.
_BUDGET_BYTES: Final = 2**20
#: How many control frames one call reads: a segment of 64 KiB may hold 10,922 empty Pings.
_MAX_CONTROLS: Final = 256
#: How many compressed bytes are inflated at a time: where there is no limit, they may be a thousand times as many.
_DEFLATED_SLICE_BYTES: Final = 16384
#: How many bytes a compressed message may take for each byte of the limit, and besides. Few take more than one for one;
#: a peer that flushes behind each byte takes eight. It is for those that send no end of compressed nothing.
_DEFLATED_PER_BYTE: Final = 8
_DEFLATED_BESIDES: Final = 65536
#: An invalid close code or payload is a protocol error; the reason must be UTF-8 (RFC 6455 sections 5.5.1, 7.4, 8.1).
_BAD_CLOSE: Final = "close frame with an invalid payload"

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
            goes_on = False
            if not is_control and frame.compressed:
                if length > 0 and payload == 0 and not is_full:
                    break
                # How much it makes is known behind it: perhaps as much as a message more than was left.
                goes_on = length > _DEFLATED_SLICE_BYTES
                length = min(length, _DEFLATED_SLICE_BYTES)
            elif not is_control:
                length = min(length, payload)
            payload = max(payload - self._read_payload(data, position, position + length, events), 0)
            position += length
            if goes_on:
                continue
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
            self._data = self._head + bytes(waiting[:SLICE_BYTES])
            self._head = b""
            del waiting[:SLICE_BYTES]
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

    def _read_payload(self, data: bytes, start: i64, end: i64, events: list[Event]) -> i64:
        """Takes what there is of a frame's payload; returns how many bytes that made of a message."""
        frame = self._frame
        phase = frame.length - self._remaining
        self._remaining -= end - start
        complete = self._remaining == 0
        if complete:
            self._remaining = -1
        if frame.opcode >= CLOSE:
            self._control += unmask(data, start, end, turned(frame.key, phase))
            if complete:
                payload = self._control
                self._control = b""
                events.append(_control_event(frame.opcode, payload))
            return 0
        message = self._message
        if message is None:
            if complete and phase == 0:
                payload = unmask(data, start, end, frame.key)
                inflater = self._inflater if frame.compressed else None
                if inflater is not None:
                    payload = inflate_whole(inflater, payload, frame.opcode == TEXT, self._max_size)
                events.append(BinaryReceived(payload) if frame.opcode == BINARY else _text(payload))
                return len(payload)
            message = self._begin()
        before = message.size
        if end > start:
            most = self._max_size
            if frame.final and not frame.compressed:
                most = before - phase + frame.length
            message.add(data, start, end, frame.key, phase, most)
        if complete and frame.final:
            self._message = None
            events.append(message.finish(self._max_size))
        return message.size - before

    def _begin(self) -> Assembler:
        """Begins a message of which not all is here."""
        frame = self._frame
        inflater = self._inflater if frame.compressed else None
        if inflater is not None:
            inflater.begin(frame.length)
        self._message = message = Assembler(frame.opcode, inflater)
        return message


def _text(payload: bytes) -> TextReceived:
    try:
        return TextReceived(payload.decode("utf-8"))
    except UnicodeDecodeError:
        raise InvalidPayload(NOT_UTF8) from None


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
