"""Frames by hand, and the ways to feed them: none of this uses the code under test."""

import struct
import zlib
from collections.abc import Iterable, Iterator

from wsock.sansio.connection import Connection
from wsock.sansio.constants import Role
from wsock.sansio.events import (
    BinaryReceived,
    CloseReceived,
    Event,
    Failed,
    PingReceived,
    PongReceived,
    TextReceived,
)

#: The masking key of the RFC's own examples (RFC 6455 section 5.7).
KEY = b"\x37\xfa\x21\x3d"

#: An event as a tuple: what two runs are compared by.
Fact = tuple[object, ...]

#: Messages of a server, and the frame of each.
PLAIN_FRAMES: list[tuple[str | bytes | bytearray | memoryview, bytes]] = [
    ("Hello", b"\x81\x05Hello"),
    ("", b"\x81\x00"),
    ("\u20ac", b"\x81\x03\xe2\x82\xac"),
    (b"\x00\xff", b"\x82\x02\x00\xff"),
    (bytearray(b"ab"), b"\x82\x02ab"),
    (memoryview(b"abcdef")[::2], b"\x82\x03ace"),
    (b"", b"\x82\x00"),
    (b"x" * 200, b"\x82\x7e\x00\xc8" + b"x" * 200),
]


def masked(payload: bytes, key: bytes = KEY) -> bytes:
    """The XOR of RFC 6455 section 5.3, as it is written there."""
    if key == bytes(4):
        return payload
    return bytes(octet ^ key[index % 4] for index, octet in enumerate(payload))


def frame(first: int, payload: bytes = b"", key: bytes | None = KEY) -> bytes:
    """A frame: its first byte, its length in the shortest form, its masking key unless that is None, its payload."""
    bit = 0 if key is None else 0x80
    if len(payload) < 126:
        head = struct.pack("!BB", first, bit | len(payload))
    elif len(payload) < 65536:
        head = struct.pack("!BBH", first, bit | 126, len(payload))
    else:
        head = struct.pack("!BBQ", first, bit | 127, len(payload))
    return head + payload if key is None else head + key + masked(payload, key)


def by_zlib(payload: bytes, window_bits: int = 15, level: int = 9) -> bytes:
    """The payload of a compressed message, made by the standard zlib alone (RFC 7692 section 7.2.1)."""
    stream = zlib.compressobj(level, zlib.DEFLATED, -window_bits)
    return (stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


def fact(event: Event) -> Fact:
    if isinstance(event, TextReceived):
        return ("text", event.text)
    if isinstance(event, BinaryReceived):
        return ("binary", event.data)
    if isinstance(event, PingReceived):
        return ("ping", event.payload)
    if isinstance(event, PongReceived):
        return ("pong", event.payload)
    if isinstance(event, CloseReceived):
        return ("close", event.code, event.reason)
    assert isinstance(event, Failed)
    return ("failed", type(event.error).__name__, event.error.code)


def drain(connection: Connection, data: bytes) -> list[Fact]:
    """The events of ``data``, in as many calls as it takes."""
    facts = [fact(event) for event in connection.receive_data(data)]
    # Each call reads a frame at the least, and the tests feed some thousands.
    for _ in range(100_000):
        if not connection.has_unread_data:
            return facts
        facts += [fact(event) for event in connection.receive_data(b"")]
    raise AssertionError("has_unread_data does not end")


def feed(connection: Connection, chunks: Iterable[bytes]) -> list[Fact]:
    return [one for chunk in chunks for one in drain(connection, chunk)]


def in_bytes(data: bytes) -> Iterator[bytes]:
    for place in range(len(data)):
        yield data[place : place + 1]


def check(role: Role, data: bytes, expected: list[Fact], replies: bytes | None = None, **limits: object) -> None:
    """Feeds a vector whole, byte by byte, and with a Ping behind it.

    The Ping tells whether the vector ended where it should: it comes out unless the vector ends the connection.

    Args:
        role: who is fed.
        data: the vector.
        expected: what is to come of it.
        replies: what is to be answered, where that is looked at.
        limits: of the connection.
    """
    trailing = frame(0x89, b"?", KEY if role is Role.SERVER else None)
    ends = bool(expected) and expected[-1][0] in ("close", "failed")
    for chunks in ([data], in_bytes(data)):
        connection = Connection(role, **limits)  # type: ignore[arg-type]
        assert feed(connection, chunks) == expected
        if replies is not None:
            assert b"".join(connection.replies()) == replies
    for chunks in ([data + trailing], in_bytes(data + trailing)):
        connection = Connection(role, **limits)  # type: ignore[arg-type]
        assert feed(connection, chunks) == expected + ([] if ends else [("ping", b"?")])
        assert not connection.has_unread_data
