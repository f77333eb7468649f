"""The codec of permessage-deflate (RFC 7692 section 7.2): messages to compressed payloads and back.

Rules:

* Nothing is kept between messages but where the two sides agreed on context takeover. The compressors are shared by all
  connections then: a full flush forgets what was compressed, and ends a message by the same four bytes as a sync flush.
* A compressor is out of the pool while it is used, and put back only when it was flushed: no error, thread or callback
  can bring one connection's bytes into another's. An inflater is never shared, since a peer may refer back to what it
  has not sent.
* Inflating never makes more than it is asked for at a time: the holder of the limits asks.
* Context takeover is always the standard zlib's: a connection's state takes 10 to 40 KiB there, and 100 to 260 KiB with
  those that are faster.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from .errors import InvalidPayload, whole_number
from .extensions import MAX_WINDOW_BITS, MIN_WINDOW_BITS, max_window_bits

if TYPE_CHECKING:
    from mypy_extensions import i64

#: From so many bytes on a message is compressed by default. Below, JSON and prose lose a third at the most, while the
#: two sides take some 5 us; and one packet carries either.
DEFAULT_THRESHOLD: Final = 256
#: The end of each message, which does not travel (RFC 7692 section 7.2.1).
_TAIL: Final = b"\x00\x00\xff\xff"
#: An empty final block, and the two together: with it an inflater says whether the message was whole.
_FINAL_BLOCK: Final = b"\x01\x00\x00\xff\xff"
_FINAL_TAIL: Final = _TAIL + _FINAL_BLOCK
#: An empty message (RFC 7692 section 7.2.3.6).
_EMPTY: Final = b"\x00"
#: Up to here the standard zlib is as fast as the others, or faster, and compresses better: bytes to be compressed, and
#: compressed bytes.
_SMALL_BYTES: Final = 511
_SMALL_DEFLATED_BYTES: Final = 4095
#: zlib's own ``memLevel``, and that with context takeover: with a window of 12 bits 32 KiB in place of 144.
_MEM_LEVEL: Final = 8
_MEM_LEVEL_OF_CONTEXT: Final = 5
#: By library, where to import it and its levels: the fastest sensible one, and those for zlib's 1 to 9. The fastest
#: library is the first. isal has 0 to 3.
_LIBRARIES: Final = (
    ("isal", "isal.isal_zlib", (1, 1, 2, 2, 2, 2, 3, 3, 3, 3)),
    ("zlib-ng", "zlib_ng.zlib_ng", (2, 1, 2, 3, 4, 5, 6, 7, 8, 9)),
)
_BROKEN: Final = "compressed data is broken"
#: An inflater can't be copied.
NO_COPY: Final = "a connection can't be copied or pickled within a compressed message, nor with context takeover"


class Backend:
    """A library that speaks zlib's language.

    Attributes:
        name: as `wsock.deflateImplementation` says it.
        module: the module with ``compressobj`` and ``decompressobj``.
        levels: its fastest sensible level, and those for zlib's 1 to 9.
        error: the exception of broken data.
    """

    __slots__ = ("error", "levels", "module", "name")

    def __init__(self, name: str, module: Any, levels: Sequence[int]) -> None:
        self.name = name
        self.module = module
        self.levels = levels
        self.error: Any = module.error

    def compressor(self, level: int | None, window_bits: int, mem_level: int) -> Any:
        """Makes a compressor; ``level`` is one of zlib's, None the fastest sensible one."""
        return self.module.compressobj(self.levels[level or 0], zlib.DEFLATED, -window_bits, mem_level)


ZLIB: Final = Backend("zlib", zlib, (1, 1, 2, 3, 4, 5, 6, 7, 8, 9))


def find_backends() -> Iterator[Backend]:
    """Finds the libraries that are installed and sound, the fastest first and the standard zlib last."""
    for name, path, levels in _LIBRARIES:
        try:
            module: Any = import_module(path)
        except ImportError:
            continue
        if _keeps_rest(module):
            yield Backend(name, module, levels)
    yield ZLIB


def _keeps_rest(module: Any) -> bool:
    """Whether a library gives back the bytes behind a final block: isal before 1.9 loses up to six of them."""
    stream = module.decompressobj(-MAX_WINDOW_BITS)
    stream.decompress(b"\x03\x00\xff")
    rest: bytes = stream.unused_data
    return rest == b"\xff"


#: The one in use; others are not even imported. Not Final, so that tests can try another.
backend: Backend = next(find_backends())
implementation: Final = backend.name

#: Compressors that nobody uses now, by library, window, ``memLevel`` and level.
_pool: dict[tuple[str, int, int, int], Any] = {}


class DeflateOptions:
    """How a side compresses its messages, whatever was agreed.

    Attributes:
        level: zlib's 1 (fast) to 9 (small); None for the fastest sensible level of the library in use.
        mem_level: zlib's 1 to 9; None for 8, and 5 with context takeover.
        threshold: the size from which on a message is compressed, in bytes, where it does not say so itself.
        max_window_bits: the largest window, 9 to 15; None for 15, and 12 with context takeover. The agreed one may be
            less.
        context_takeover: whether messages may refer to earlier ones, if that was agreed.
    """

    __slots__ = ("context_takeover", "level", "max_window_bits", "mem_level", "threshold")

    def __init__(
        self,
        level: object = None,
        mem_level: object = None,
        threshold: object = DEFAULT_THRESHOLD,
        max_window_bits: object = MAX_WINDOW_BITS,
        context_takeover: bool = True,
    ) -> None:
        """Checks them.

        Raises:
            LocalProtocolError: a value of another type, or out of its range.
        """
        self.level: Final = None if level is None else whole_number("level", level, 1, 9, True)
        self.mem_level: Final = None if mem_level is None else whole_number("mem_level", mem_level, 1, 9, True)
        self.threshold: Final = whole_number("threshold", threshold, 0)
        self.max_window_bits: Final = (
            None
            if max_window_bits is None
            else whole_number("max_window_bits", max_window_bits, MIN_WINDOW_BITS, MAX_WINDOW_BITS, True)
        )
        self.context_takeover: Final = context_takeover

    def __reduce__(self) -> tuple[object, ...]:
        given = (self.level, self.mem_level, self.threshold, self.max_window_bits, self.context_takeover)
        return type(self), given


class Deflater:
    """Compresses the messages of one side of a connection.

    Attributes:
        key: tells whether two connections can share what was compressed: they can where theirs are equal; None where
            this one's messages refer to earlier ones.
    """

    __slots__ = ("_level", "_mem_level", "_stream", "_threshold", "_window_bits", "key")

    def __init__(self, window_bits: int, options: DeflateOptions, context_takeover: bool) -> None:
        """Starts; what it needs is made with the first message.

        Args:
            window_bits: the agreed limit of the window.
            options: the side's own.
            context_takeover: whether it was agreed that messages may refer to earlier ones.
        """
        takes_over = context_takeover and options.context_takeover
        self._window_bits: int = min(window_bits, max_window_bits(options.max_window_bits, takes_over))
        self._threshold: int = options.threshold
        self._level: int | None = options.level
        mem_level = options.mem_level
        if mem_level is None:
            mem_level = _MEM_LEVEL_OF_CONTEXT if takes_over else _MEM_LEVEL
        self._mem_level: int = mem_level
        #: With context takeover, the compressor, once there was a message.
        self._stream: Any = None
        self.key: tuple[int, int, int] | None = (
            None if takes_over else (self._window_bits, mem_level, options.level or 0)
        )

    def __reduce__(self) -> tuple[object, ...]:
        # A copy goes on without the messages before: nothing obliges it to refer to them.
        options = DeflateOptions(self._level, self._mem_level, self._threshold, self._window_bits)
        return type(self), (self._window_bits, options, self.key is None)

    def wants(self, payload: bytes, compress: object) -> bool:
        """Whether to try it with a message; ``compress`` is its own choice, None for what its size says."""
        return compress is True or (compress is None and len(payload) >= self._threshold)

    def pack(self, payload: bytes, compress: object) -> bytes | None:
        """Compresses a message that it `wants`; returns None where the message shall go as it is.

        That is one which did not get smaller, and has not chosen for itself. With context takeover the next may get
        smaller by it, so it goes compressed as a rule. But one that is as long as the window might pass a limit of the
        peer's, which the message itself keeps; then what follows begins afresh.
        """
        deflated = self.deflate(payload)
        if compress is True or len(deflated) < len(payload):
            return deflated
        if self.key is None and len(payload) < 1 << self._window_bits:
            return deflated
        self._stream = None
        return None

    def deflate(self, payload: bytes) -> bytes:
        """Compresses a whole message; returns the payload to be sent."""
        if not payload:
            return _EMPTY
        key = self.key
        if key is None:
            # Out of its place as well: after an error midway the next message begins afresh.
            stream, self._stream = self._stream, None
            if stream is None:
                stream = ZLIB.compressor(self._level, self._window_bits, self._mem_level)
            deflated: bytes = stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH)
            self._stream = stream
            return deflated[:-4]
        library = backend if len(payload) > _SMALL_BYTES else ZLIB
        place = (library.name, key[0], key[1], key[2])
        stream = _pool.pop(place, None)
        if stream is None:
            stream = library.compressor(self._level, self._window_bits, self._mem_level)
        deflated = stream.compress(payload) + stream.flush(zlib.Z_FULL_FLUSH)
        _pool[place] = stream
        return deflated[:-4]


class Inflater:
    """Inflates the messages of the peer, one after the other.

    Attributes:
        has_more: whether `inflate` may return more, without more data.
    """

    __slots__ = (
        "_ended",
        "_error",
        "_last",
        "_module",
        "_rest",
        "_stream",
        "_takes_over",
        "_window_bits",
        "has_more",
    )

    def __init__(self, window_bits: int, context_takeover: bool) -> None:
        """Starts before the first message; what it needs is made with that.

        Args:
            window_bits: the agreed limit of the peer's window.
            context_takeover: whether it was agreed that messages may refer to earlier ones.
        """
        # A peer may break its own window. Whether a small one of ours sees that depends on the pieces of the message;
        # the largest takes memory only within a message.
        self._window_bits: int = window_bits if context_takeover else MAX_WINDOW_BITS
        self._takes_over: bool = context_takeover
        self._module: Any = zlib
        self._error: Any = zlib.error
        #: The library's object; None between messages without context takeover, and behind a final block.
        self._stream: Any = None
        #: Data that was not inflated yet.
        self._rest: bytes = b""
        #: The last data that came for the message: its last four bytes are among these.
        self._last: bytes = b""
        #: The message so far ends with a final block.
        self._ended: bool = False
        self.has_more: bool = False

    def __reduce__(self) -> tuple[object, ...]:
        if self._stream is not None or self._rest:
            raise TypeError(NO_COPY)
        return type(self), (self._window_bits, self._takes_over)

    def begin(self, size: i64) -> None:
        """Starts a message, the first frame of which has so many bytes."""
        library = ZLIB if self._takes_over or size <= _SMALL_DEFLATED_BYTES else backend
        self._module = library.module
        self._error = library.error

    def inflate(self, data: bytes, most: i64) -> bytes:
        """Goes on with a message.

        Args:
            data: the next bytes of it; none to get more of what `has_more` tells of.
            most: how many bytes to return at the most, at least 1.

        Raises:
            InvalidPayload: the data is broken.
        """
        if data:
            self._last = data if len(data) > 3 else self._last[-3:] + data
        if self._rest:
            data = self._rest + data
        inflated = b""
        while True:
            stream = self._stream
            if stream is None:
                if not data:
                    break
                # RFC 7692 §7.2.3.4: a final block may end a message, and another one follow in it.
                library = zlib if self._ended else self._module
                self._stream = stream = library.decompressobj(-self._window_bits)
                self._ended = False
            try:
                inflated = stream.decompress(data, most)
            except (self._error, zlib.error):
                raise InvalidPayload(_BROKEN) from None
            data = stream.unconsumed_tail
            if stream.eof:
                data = stream.unused_data
                self._stream = None
                self._ended = True
            if inflated or not self._ended:
                break
        self._rest = data
        self.has_more = len(data) > 0 or len(inflated) == most
        return inflated

    def end(self, most: i64) -> bytes:
        """Goes on behind the last bytes of a message, when `has_more` is False; `finish` is to be called then.

        Returns:
            as `inflate`.
        """
        if self._ended:
            return b""
        if self._last.endswith(_TAIL):
            # From a peer that has not removed them. No message ends so by chance: its last bit is a zero.
            return b"" if self._takes_over else self.inflate(_FINAL_BLOCK, most)
        return self.inflate(_TAIL if self._takes_over else _FINAL_TAIL, most)

    def finish(self) -> None:
        """The message is over.

        Raises:
            InvalidPayload: it ends in the middle of a block. With context takeover that can't be seen before the next.
        """
        self._last = b""
        if not self._takes_over and not self._ended:
            raise InvalidPayload(_BROKEN)
        self._ended = False
