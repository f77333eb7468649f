"""One message, from its first piece to its last (RFC 6455 sections 5.4 and 8.1, RFC 7692 section 7.2.2).

Rules:

* The part that has come so far is held in one growing buffer: its memory is its bytes, not its fragments, and its time
  is linear whatever the fragments and the chunks that they came in.
* Text fails at its first byte that can't be UTF-8, also within a frame that has not ended.
* A compressed message is inflated as it comes, and no further than its limit. Data that breaks right behind the limit
  is told of as the one or as the other.
"""

from __future__ import annotations

from codecs import utf_8_decode
from typing import TYPE_CHECKING, Final

from .constants import BINARY, TEXT
from .deflate import NO_COPY, Inflater
from .errors import InvalidPayload, MessageTooBig
from .events import BinaryReceived, Event, TextReceived
from .frames import NO_LIMIT
from .masking import PayloadBuffer, unmask

if TYPE_CHECKING:
    from mypy_extensions import i64

#: The piece that is copied or checked at a time where the whole would take too much memory, in bytes: whole keys.
SLICE_BYTES: Final = 65536
#: How many bytes of a message are made at a time of few compressed ones.
_STEP_BYTES: Final = 2**20
NOT_UTF8: Final = "text is not UTF-8"
_TOO_BIG: Final = "message over the size limit"


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
            self._inflate(inflater, unmask(data, start, end, turned(key, phase)), most)
            return
        self.size += end - start
        if not self._is_text:
            self._payload.extend(data, start, end, key, phase, most)
            return
        own = turned(key, phase)
        while start < end:
            # In slices of whole keys: text that is decoded only to be checked may take four times its bytes.
            stop = end if end - start <= SLICE_BYTES else start + SLICE_BYTES
            piece = unmask(data, start, stop, own)
            self.check(piece)
            self._payload.extend(piece, 0, len(piece), b"", 0, most)
            start = stop

    def _inflate(self, inflater: Inflater, piece: bytes, most: i64) -> None:
        """Takes compressed bytes; one more than the limit tells that there are too many."""
        self._take(inflater.inflate(piece, _step(most - self.size, SLICE_BYTES)), most)
        while inflater.has_more:
            self._take(inflater.inflate(b"", _step(most - self.size, SLICE_BYTES)), most)

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
            raise InvalidPayload(NOT_UTF8) from None
        self._code_point = piece[decoded:]
        if b"\xed\xa0" <= self._code_point < b"\xee":
            # The start of a surrogate is wrong already (RFC 3629 §3); Python's decoder waits for its third byte.
            raise InvalidPayload(NOT_UTF8)

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
            self._take(inflater.end(_step(most - self.size, SLICE_BYTES)), most)
            while inflater.has_more:
                self._take(inflater.inflate(b"", _step(most - self.size, SLICE_BYTES)), most)
            inflater.finish()
        payload = self._payload.take()
        if not self._is_text:
            return BinaryReceived(payload)
        if self._code_point:
            raise InvalidPayload(NOT_UTF8)
        return TextReceived(payload.decode("utf-8"))


def turned(key: bytes, phase: i64) -> bytes:
    """The masking key as it meets a payload from its byte ``phase`` on."""
    turn = phase & 3
    return key[turn:] + key[:turn] if turn else key


def inflate_whole(inflater: Inflater, deflated: bytes, is_text: bool, most: i64) -> bytes:
    """The payload of a compressed message that came in one frame, and has few compressed bytes.

    Args:
        inflater: the connection's.
        deflated: the frame's payload.
        is_text: whether it is to be text.
        most: the limit of the message, in bytes.

    Raises:
        InvalidPayload: it is broken; or text that is over the limit can't be UTF-8 up to there.
        MessageTooBig: it inflates to more than the limit.
    """
    if not deflated:
        # Not as RFC 7692 §7.2.3.6 would have it, but clear enough.
        return b""
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
        if is_text:
            # Within the limit it may be no text, which is told of one that comes in pieces.
            checker = Assembler(TEXT)
            for piece in pieces:
                for start in range(0, len(piece), SLICE_BYTES):
                    checker.check(piece[start : start + SLICE_BYTES])
        raise MessageTooBig(_TOO_BIG)
    inflater.finish()
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _step(left: i64, most: i64) -> i64:
    """How much of a message to inflate at a time: one byte more than is left tells that it is too much."""
    return left + 1 if left < most else most
