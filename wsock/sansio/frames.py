"""The frame codec (RFC 6455 section 5).

Rules:

* A frame head is refused as soon as its bytes tell that it is wrong: before its payload, before its masking key, and
  before a byte is set aside for what it announces.
* A head is read from where it lies; payloads are never touched here. Whoever holds the data takes the payload from
  it, by `FrameReader.length` and `FrameReader.key`.
* What goes out is as short as the protocol allows: minimal lengths, one buffer, or head and payload apart where
  joining them would cost more than a second buffer.

Messages, fragments, UTF-8 and close codes are not of this module (`messages`, `connection`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from .constants import CLOSE, MAX_CONTROL_PAYLOAD, PONG
from .errors import MessageTooBig, RemoteProtocolError
from .masking import unmask

if TYPE_CHECKING:
    from mypy_extensions import i64

#: What stands for "no limit": no frame announces more (RFC 6455 section 5.2, the top bit must be 0).
NO_LIMIT: Final = 2**63 - 1
#: From here on a payload is handed out apart from its head: copying it would cost more than a second buffer.
_APART: Final = 16384
_NO_KEY: Final = b""
#: How much random data is drawn at a time: the masking keys of 64 frames for one system call.
_KEYS: Final = 256


class FrameReader:
    """Reads frame heads, one after the other.

    Attributes:
        opcode: of the frame under way.
        final: its FIN bit.
        length: its payload's size, in bytes.
        key: its masking key, or an empty one.
    """

    def __init__(self, masked: bool) -> None:
        """Args:
        masked: whether the peer must mask, so whether it is a client (RFC 6455 section 5.1).
        """
        self._masked: bool = masked
        self.opcode: i64 = 0
        self.final: bool = False
        self.length: i64 = 0
        self.key: bytes = _NO_KEY

    def read_head(self, data: bytes, position: i64, room: i64) -> i64:
        """Reads the head that begins at ``position``.

        Args:
            data: bytes from the peer.
            position: where the head begins, within ``data``.
            room: the largest payload that a data frame may announce, in bytes.

        Returns:
            where the payload begins, or -1 where the head does not end in ``data``: then the same bytes are to be
            given again, with more behind them.

        Raises:
            RemoteProtocolError: the head is not one of RFC 6455 section 5.2.
            MessageTooBig: it announces more than there is room for.
        """
        there: i64 = len(data) - position
        if there < 2:
            return -1
        first: i64 = data[position]
        second: i64 = data[position + 1]
        if first & 0x70:
            # RFC 6455 §5.2: MUST be 0 unless an extension gives them a meaning, and none was agreed.
            raise RemoteProtocolError("reserved bits set")
        opcode = first & 0x0F
        if 2 < opcode < CLOSE or opcode > PONG:
            raise RemoteProtocolError("reserved opcode")
        if ((second & 0x80) != 0) != self._masked:
            # RFC 6455 §5.1: a client masks each frame, a server none.
            raise RemoteProtocolError("frame not masked" if self._masked else "frame masked")
        length = second & 0x7F
        if opcode >= CLOSE and (length > MAX_CONTROL_PAYLOAD or first < 0x80):
            # RFC 6455 §5.5: at most 125 bytes, never fragmented.
            raise RemoteProtocolError("control frame too long or fragmented")
        head: i64 = 2
        if length == 126:
            if there < 4:
                return -1
            length = (data[position + 2] << 8) | data[position + 3]
            if length < 126:
                raise RemoteProtocolError("length not in its shortest form")
            head = 4
        elif length == 127:
            if there < 10:
                return -1
            if data[position + 2] & 0x80:
                # RFC 6455 §5.2: the top bit MUST be 0; tested before the number could overflow.
                raise RemoteProtocolError("length over 63 bits")
            length = _long_length(data, position + 2)
            if length < 65536:
                raise RemoteProtocolError("length not in its shortest form")
            head = 10
        if opcode < CLOSE and length > room:
            raise MessageTooBig("message over the size limit")
        if self._masked:
            if there < head + 4:
                return -1
            self.key = data[position + head : position + head + 4]
            head += 4
        self.opcode = opcode
        self.final = first >= 0x80
        self.length = length
        return position + head


def _long_length(data: bytes, position: i64) -> i64:
    length: i64 = 0
    for offset in range(8):
        length = (length << 8) | data[position + offset]
    return length


def _head(first: int, length: int, mask_bit: int) -> bytes:
    if length < 126:
        return bytes((first, mask_bit | length))
    if length < 65536:
        return bytes((first, mask_bit | 126, length >> 8, length & 0xFF))
    return bytes((first, mask_bit | 127)) + length.to_bytes(8, "big")


#: Heads of short unmasked final frames, by opcode and length: what a server sends most.
_SHORT_HEADS: Final = [[_head(0x80 | opcode, length, 0) for length in range(126)] for opcode in range(16)]


def encode(opcode: int, payload: bytes, final: bool = True) -> list[bytes]:
    """A frame from a server, not masked (RFC 6455 section 5.1).

    Args:
        opcode: what it carries.
        payload: any size; 125 bytes at most in a control frame, which is the caller's to see to.
        final: whether its message ends with it.

    Returns:
        the buffers that make the frame: one, or head and payload for a large one.
    """
    length = len(payload)
    if length < 126 and final:
        return [_SHORT_HEADS[opcode][length] + payload]
    head = _head((0x80 if final else 0) | opcode, length, 0)
    if length < _APART:
        return [head + payload]
    return [head, payload]


class MaskedFrameWriter:
    """Makes the frames of a client, each masked with a key of its own (RFC 6455 section 5.3)."""

    def __init__(self) -> None:
        self._keys: bytes = _NO_KEY
        self._used: i64 = 0

    def encode(self, opcode: int, payload: bytes, final: bool = True) -> list[bytes]:
        """As the function `encode`, masked."""
        key = self._key()
        length = len(payload)
        head = _head((0x80 if final else 0) | opcode, length, 0x80) + key
        masked = unmask(payload, 0, length, key)
        if length < _APART:
            return [head + masked]
        return [head, masked]

    def _key(self) -> bytes:
        # RFC 6455 §10.3: unpredictable, so from the system's random source and never used twice.
        if self._used == len(self._keys):
            self._keys = os.urandom(_KEYS)
            self._used = 0
        start = self._used
        self._used = start + 4
        return self._keys[start : start + 4]
