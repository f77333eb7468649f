"""How messages are compressed, on either side (RFC 7692)."""

from __future__ import annotations

from dataclasses import dataclass

from .sansio.constants import Role
from .sansio.deflate import DEFAULT_THRESHOLD, DeflateOptions
from .sansio.errors import whole_number, wrong_type
from .sansio.extensions import MAX_WINDOW_BITS, MIN_WINDOW_BITS, DeflateParameters
from .settings import Settings


@dataclass(frozen=True, kw_only=True)
class Compression:
    """How one side compresses its messages (permessage-deflate, RFC 7692); the two sides agree on what both want.

    By default each message is compressed by itself, and a connection holds nothing for compression between messages.
    With context takeover, a message may refer to earlier ones of the same sender: short messages that resemble each
    other get much smaller, and a connection holds up to 60 KiB, or 300 KiB with windows of 15 bits and ``memLevel`` 8.

    Attributes:
        level: 1 (fast) to 9 (small), as in zlib; None for the fastest sensible level. The library isal has three
            levels: 1, 2 to 5, and 6 to 9.
        memLevel: the memory of the compressor, 1 to 9 as in zlib; None for 8, or 5 with context takeover.
        serverMaxWindowBits: the window of the server's messages, as a power of two, 9 to 15: how many bytes back a
            message may refer. None for 15, or 12 with context takeover.
        clientMaxWindowBits: the window of the client's messages.
        serverContextTakeover: whether the server's messages may refer to earlier ones. Not used by a server with
            ``slowConsumer="drop"``.
        clientContextTakeover: whether the client's messages may. Not used by a client with ``slowConsumer="drop"``.
        threshold: the size in bytes from which messages are compressed if ``compress`` is not given. A message that
            would not get smaller is sent as it is; with context takeover, only one as long as the window.

    Raises:
        LocalProtocolError: a value of another type, or out of its range.
    """

    level: int | None = None
    memLevel: int | None = None
    serverMaxWindowBits: int | None = None
    clientMaxWindowBits: int | None = None
    serverContextTakeover: bool = False
    clientContextTakeover: bool = False
    threshold: int = DEFAULT_THRESHOLD

    def __post_init__(self) -> None:
        for name, least, most in (
            ("level", 1, 9),
            ("memLevel", 1, 9),
            ("serverMaxWindowBits", MIN_WINDOW_BITS, MAX_WINDOW_BITS),
            ("clientMaxWindowBits", MIN_WINDOW_BITS, MAX_WINDOW_BITS),
        ):
            if getattr(self, name) is not None:
                whole_number(name, getattr(self, name), least, most, True)
        whole_number("threshold", self.threshold, 0)
        for name in ("serverContextTakeover", "clientContextTakeover"):
            if not isinstance(getattr(self, name), bool):
                raise wrong_type(name, "a bool", getattr(self, name))


def checkCompression(compression: object) -> None:
    """Refuses an argument that is no way to compress.

    Raises:
        LocalProtocolError: neither a `Compression` nor None.
    """
    if compression is not None and not isinstance(compression, Compression):
        advice = "write None" if compression is False else ""
        if compression is True or compression is Compression:
            advice = "write Compression()"
        raise wrong_type("compression", "a Compression or None", compression, advice)


def asParameters(compression: Compression, role: Role, settings: Settings) -> DeflateParameters:
    """Translates what a side wants to what it offers or answers."""
    server, client = _contexts(compression, role, settings)
    return DeflateParameters(
        not server,
        not client,
        compression.serverMaxWindowBits,
        compression.clientMaxWindowBits,
    )


def asOptions(compression: Compression | None, role: Role, settings: Settings) -> DeflateOptions:
    """Translates what a side wants to how it compresses its messages."""
    if compression is None:
        return DeflateOptions()
    server, client = _contexts(compression, role, settings)
    ours, bits = (
        (server, compression.serverMaxWindowBits) if role is Role.SERVER else (client, compression.clientMaxWindowBits)
    )
    return DeflateOptions(compression.level, compression.memLevel, compression.threshold, bits, ours)


def _contexts(compression: Compression, role: Role, settings: Settings) -> tuple[bool, bool]:
    """Whether the server's and the client's messages may refer to earlier ones.

    Ours may not where the oldest that wait are dropped: the peer would not understand those that refer to them.
    """
    drops = settings.slowConsumer == "drop"
    server = compression.serverContextTakeover and not (drops and role is Role.SERVER)
    client = compression.clientContextTakeover and not (drops and role is Role.CLIENT)
    return server, client
