"""The frame codec (RFC 6455 section 5).

Rules:

* A frame head is refused at the first of its bytes that tells that it is wrong: before its payload, before its
  masking key, and before a byte is set aside for its payload.
* A head is read from where it lies; payloads are never touched here. The holder of the data takes the payload from
  it, by `FrameReader.length` and `FrameReader.key`.
* A frame that goes out is as short as the protocol allows: minimal lengths, one buffer, or head and payload apart where
  joining them would cost more than a second buffer.

Messages, UTF-8 and close codes are not of this module (``messages``, ``connection``).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from .constants import CLOSE, CONTINUATION, PONG
from .errors import MessageTooBig, RemoteProtocolError
from .masking import unmask

if TYPE_CHECKING:
    from mypy_extensions import i64

#: A number for "no limit", since no frame announces more (RFC 6455 section 5.2, the top bit must be 0).
NO_LIMIT: Final = 2**63 - 1
#: The bit of a first frame whose message is compressed, where that was agreed (RFC 7692 section 6).
RSV1: Final = 0x40
#: From here on a payload is handed out apart from its head: copying it would cost more than a second buffer.
_APART_BYTES: Final = 16384
_NO_KEY: Final = b""
#: How much random data is drawn at a time: the masking keys of 64 frames for one system call.
_KEY_POOL_BYTES: Final = 256


class FrameReader:
    """Reads frame heads, one after the other.

    Attributes:
        opcode: of the frame under way.
        final: its FIN bit.
        length: its payload's size, in bytes.
        key: its masking key, or an empty one.
        compressed: whether the message is compressed of which the last data frame was: its first frame had RSV1.
        compressed_room: the largest payload that the first frame of a compressed message may announce, in bytes; 0
            where no compression was agreed, and RSV1 is a fault.
    """

    __slots__ = ("_fragmented", "_masked", "compressed", "compressed_room", "final", "key", "length", "opcode")

    def __init__(self, masked: bool) -> None:
        """Start before the first frame.

        Args:
            masked: whether the peer must mask, so whether it is a client (RFC 6455 section 5.1).
        """
        self._masked: bool = masked
        #: Whether the last data frame began or went on with a message without ending it.
        self._fragmented: bool = False
        self.opcode: i64 = 0
        self.final: bool = False
        self.length: i64 = 0
        self.key: bytes = _NO_KEY
        self.compressed: bool = False
        self.compressed_room: i64 = 0

    def __reduce__(self) -> tuple[object, ...]:
        state = (self._fragmented, self.opcode, self.final, self.length, self.key)
        return type(self), (self._masked,), (*state, self.compressed, self.compressed_room)

    def __setstate__(self, state: tuple[bool, int, bool, int, bytes, bool, int]) -> None:
        self._fragmented, self.opcode, self.final, self.length, self.key, self.compressed, self.compressed_room = state

    def read_head(self, data: bytes, position: i64, room: i64) -> i64:
        """Reads the head that begins at ``position``.

        Args:
            data: bytes from the peer.
            position: where the head begins, at least one byte before the end of ``data``.
            room: the largest payload that a data frame may announce, in bytes.

        Returns:
            where the payload begins, or -1 where the head does not end in ``data``; then the same bytes are to be
            given again, with more behind them.

        Raises:
            RemoteProtocolError: the head is not one of RFC 6455 section 5.2, or not one that may come now (5.4).
            MessageTooBig: it announces more than there is room for.
        """
        there: i64 = len(data) - position
        first: i64 = data[position]
        opcode = first & 0x0F
        self._check_first(first, opcode)
        if there < 2:
            return -1
        second: i64 = data[position + 1]
        if ((second & 0x80) != 0) != self._masked:
            # RFC 6455 §5.1: a client masks each frame, a server none.
            raise RemoteProtocolError("frame not masked" if self._masked else "frame masked")
        length = second & 0x7F
        head: i64 = 2
        if length > 125:
            if opcode >= CLOSE:
                # RFC 6455 §5.5: at most 125 bytes.
                raise RemoteProtocolError("control frame too long")
            head = 4 if length == 126 else 10
            if there < head:
                return -1
            length = _long_length(data, position + 2, position + head)
        if length > room and opcode < CLOSE and (first & RSV1 == 0 or length > self.compressed_room):
            raise MessageTooBig("message over the size limit")
        if self._masked:
            if there < head + 4:
                return -1
            self.key = data[position + head : position + head + 4]
            head += 4
        if opcode < CLOSE:
            if opcode != CONTINUATION:
                self.compressed = first & RSV1 != 0
            self._fragmented = first < 0x80
        self.opcode = opcode
        self.final = first >= 0x80
        self.length = length
        return position + head

    def _check_first(self, first: i64, opcode: i64) -> None:
        if first & 0x70 and (
            first & 0x70 != RSV1 or self.compressed_room == 0 or opcode >= CLOSE or opcode == CONTINUATION
        ):
            # RFC 6455 §5.2: MUST be 0 unless an extension gives them a meaning. RFC 7692 §6 does so for RSV1, on the
            # first frame of a data message.
            raise RemoteProtocolError("reserved bits set")
        if 2 < opcode < CLOSE or opcode > PONG:
            raise RemoteProtocolError("reserved opcode")
        if opcode >= CLOSE:
            if first < 0x80:
                # RFC 6455 §5.5: MUST NOT be fragmented.
                raise RemoteProtocolError("control frame fragmented")
        elif opcode == CONTINUATION:
            if not self._fragmented:
                # RFC 6455 §5.4: it goes on with a message that a frame with another opcode began.
                raise RemoteProtocolError("continuation without a message")
        elif self._fragmented:
            # RFC 6455 §5.4: the fragments of two messages MUST NOT be interleaved.
            raise RemoteProtocolError("new message before the end of the last")


def _long_length(data: bytes, start: i64, end: i64) -> i64:
    """The length in two or eight bytes, if it needs them (RFC 6455 section 5.2: the shortest form MUST be used)."""
    if end - start == 8 and data[start] & 0x80:
        # Tested before the number could overflow.
        raise RemoteProtocolError("length over 63 bits")
    length: i64 = 0
    for place in range(start, end):
        length = (length << 8) | data[place]
    if length < (126 if end - start == 2 else 65536):
        raise RemoteProtocolError("length not in its shortest form")
    return length


def _head(first: int, length: int, mask_bit: int) -> bytes:
    if length < 126:
        return bytes((first, mask_bit | length))
    if length < 65536:
        return bytes((first, mask_bit | 126, length >> 8, length & 0xFF))
    return bytes((first, mask_bit | 127)) + length.to_bytes(8, "big")


#: Heads of short final frames, by opcode << 7 | length: most frames are such.
_SHORT_HEADS: Final = [_head(0x80 | i >> 7, i & 0x7F, 0) if i & 0x7F < 126 else b"" for i in range(16 << 7)]
_SHORT_MASKED_HEADS: Final = [bytes((head[0], head[1] | 0x80)) if head else b"" for head in _SHORT_HEADS]


def encode(opcode: int, payload: bytes, final: bool = True, rsv1: int = 0) -> list[bytes]:
    """A frame from a server, not masked (RFC 6455 section 5.1).

    Args:
        opcode: its kind.
        payload: any size; 125 bytes at most in a control frame, which is the caller's to see to.
        final: whether its message ends with it.
        rsv1: `RSV1` on the first frame of a compressed message, else 0.

    Returns:
        the frame as one buffer, or as head and payload where the payload is large.
    """
    length = len(payload)
    if length < 126 and final and rsv1 == 0:
        return [_SHORT_HEADS[opcode << 7 | length] + payload]
    head = _head((0x80 if final else 0) | rsv1 | opcode, length, 0)
    if length < _APART_BYTES:
        return [head + payload]
    return [head, payload]


class MaskedFrameWriter:
    """Makes the frames of a client, each masked with a key of its own (RFC 6455 section 5.3)."""

    __slots__ = ("_keys", "_used")

    def __init__(self) -> None:
        self._keys: bytes = _NO_KEY
        self._used: i64 = 0

    def __reduce__(self) -> tuple[object, ...]:
        # RFC 6455 §10.3: a copy draws keys of its own, or the two would use the same.
        return type(self), ()

    def encode(self, opcode: int, payload: bytes, final: bool = True, rsv1: int = 0) -> list[bytes]:
        """As the function `encode`, masked."""
        key = self._key()
        length = len(payload)
        masked = unmask(payload, 0, length, key)
        if length < 126 and final and rsv1 == 0:
            return [_SHORT_MASKED_HEADS[opcode << 7 | length] + key + masked]
        head = _head((0x80 if final else 0) | rsv1 | opcode, length, 0x80) + key
        if length < _APART_BYTES:
            return [head + masked]
        return [head, masked]

    def _key(self) -> bytes:
        # RFC 6455 §10.3: unpredictable, so from the system's random source and never used twice.
        if self._used == len(self._keys):
            self._keys = os.urandom(_KEY_POOL_BYTES)
            self._used = 0
        start = self._used
        self._used = start + 4
        return self._keys[start : start + 4]
