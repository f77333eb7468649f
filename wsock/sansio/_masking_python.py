"""The XOR mask of RFC 6455 section 5.3 and a payload in pieces, in plain Python: the twin of ``_masking.c``.

The XOR runs over whole integers, which is the fastest that plain Python has: some 1 GB/s, where a loop over bytes
makes 20 MB/s.
"""

from io import BytesIO
from typing import Final

#: How many bytes become one integer: the integers of one XOR then stay in the processor's cache.
_SLICE_BYTES: Final = 32768
#: The largest payload of a short frame, in bytes: for these this twin is fast.
_SHORT_BYTES: Final = 125
#: Integers of so many words of 32 bits, each of them 1: times a key, they are the key as often.
_ONES: Final = [sum(1 << 32 * word for word in range(words)) for words in range((_SHORT_BYTES + 7) // 4 + 1)]
_from_bytes: Final = int.from_bytes


def unmask(data: bytes, start: int, end: int, key: bytes | None) -> bytes:
    """Takes the mask off, or puts it on: the operation is its own inverse.

    Args:
        data: holds the payload.
        start: where the payload begins in ``data``.
        end: where it ends.
        key: the masking key of 4 bytes; an empty one for a payload that is not masked; None where the key is the 4
            bytes before ``start``, as in a frame.

    Returns:
        ``data[start:end]``, unmasked.

    Raises:
        ValueError: a key of another size, or positions that do not lie in ``data`` in this order.
    """
    size = end - start
    if not 0 <= start <= end <= len(data):
        raise ValueError("start and end must lie in the data, in this order")
    if key is None:
        if start < 4:
            raise ValueError("there are no 4 bytes of a key before the start")
        if size <= _SHORT_BYTES:
            # A short frame: key and payload are read as one integer, of which the key is the lowest word.
            words = (size + 7) // 4
            number = _from_bytes(data[start - 4 : end], "little")
            return (number ^ (number & 0xFFFFFFFF) * _ONES[words]).to_bytes(words * 4, "little")[4 : size + 4]
        key = data[start - 4 : start]
    elif len(key) != 4:
        if key:
            raise ValueError("a masking key has 4 bytes, or none for data that is not masked")
        return data[start:end]
    if size > _SLICE_BYTES:
        buffer = PayloadBuffer()
        buffer.extend(data, start, end, key, 0, size)
        return buffer.take()
    pattern = (key * ((size + 3) // 4))[:size]
    return (_from_bytes(data[start:end], "little") ^ _from_bytes(pattern, "little")).to_bytes(size, "little")


class PayloadBuffer:
    """A payload that comes in pieces, gathered in one growing buffer: its memory is its bytes, its time linear."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces = BytesIO()

    def extend(self, data: bytes, start: int, end: int, key: bytes, phase: int, limit: int) -> None:
        """Appends a piece.

        Args:
            data: holds the piece.
            start: where the piece begins in ``data``.
            end: where it ends.
            key: the masking key, or an empty one.
            phase: how many bytes of the same frame came before.
            limit: what the whole payload can't exceed; this twin has no use for it.
        """
        phase &= 3
        turned = key[phase:] + key[:phase]
        while end - start > _SLICE_BYTES:
            self._pieces.write(unmask(data, start, start + _SLICE_BYTES, turned))
            start += _SLICE_BYTES
        self._pieces.write(unmask(data, start, end, turned))

    def take(self) -> bytes:
        """Returns the gathered payload, without a copy, and begins an empty one."""
        pieces = self._pieces
        self._pieces = BytesIO()
        return pieces.getvalue()

    def __len__(self) -> int:
        return self._pieces.tell()

    def __bytes__(self) -> bytes:
        """A copy of the gathered bytes."""
        return self._pieces.getvalue()

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (), bytes(self)

    def __setstate__(self, payload: bytes) -> None:
        self.extend(payload, 0, len(payload), b"", 0, len(payload))
