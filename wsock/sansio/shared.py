"""A message that is made once and sent on many connections.

Only a server's frames can be shared: those of a client are masked, each with a key of its own (RFC 6455 section 5.3).
"""

from __future__ import annotations

from .constants import BINARY, TEXT
from .deflate import Deflater
from .errors import wrong_type
from .frames import RSV1, encode
from .payloads import binary_payload, encode_text


class SharedMessage:
    """A message for many connections of servers: each kind of frame that they need of it is made once."""

    __slots__ = ("_compress", "_compressed", "_frame", "_opcode", "_payload")

    def __init__(self, message: object, compress: object = None) -> None:
        """Takes a message.

        Args:
            message: a str makes a text message; bytes, bytearray or memoryview a binary one.
            compress: as in `Connection.send_text`.

        Raises:
            LocalProtocolError: ``message`` is of another type, or has a lone surrogate; or ``compress`` is.
        """
        self._compress: bool | None = check_compress(compress)
        if isinstance(message, str):
            self._opcode: int = TEXT
            self._payload = encode_text(message)
        else:
            self._opcode = BINARY
            self._payload = binary_payload(message)
        #: The frame that is not compressed, once one is asked for.
        self._frame: list[bytes] = []
        #: Those that are, by `Deflater.key`; None without any.
        self._compressed: dict[tuple[int, int, int], list[bytes]] | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._payload.decode("utf-8") if self._opcode == TEXT else self._payload, self._compress)

    def plain(self) -> list[bytes]:
        """The frame that is not compressed."""
        frame = self._frame
        if not frame:
            self._frame = frame = encode(self._opcode, self._payload)
        return frame

    def compressed(self, deflater: Deflater) -> list[bytes]:
        """The frame for a connection on which compression was agreed."""
        if not deflater.wants(self._payload, self._compress):
            return self.plain()
        key = deflater.key
        if key is None:
            return self._frame_by(deflater)
        if self._compressed is None:
            self._compressed = {}
        frame = self._compressed.get(key)
        if frame is None:
            self._compressed[key] = frame = self._frame_by(deflater)
        return frame

    def _frame_by(self, deflater: Deflater) -> list[bytes]:
        deflated = deflater.pack(self._payload, self._compress)
        return self.plain() if deflated is None else encode(self._opcode, deflated, True, RSV1)


def check_compress(compress: object) -> bool | None:
    """Return a message's own choice whether it is compressed.

    Raises:
        LocalProtocolError: neither a bool nor None.
    """
    if compress is None or isinstance(compress, bool):
        return compress
    raise wrong_type("compress", "True, False, or None for what the size says", compress)
