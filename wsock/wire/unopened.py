"""The stand-in for the core of a connection that has none yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from ..sansio.connection import Connection
from ..sansio.constants import Role
from ..sansio.extensions import Extension
from ..sansio.payloads import binary_payload, control_payload, encode_text
from ..sansio.shared import SharedMessage, check_compress


class _NotOpen:
    """Stands for the core before there is one: nothing can be sent, and nothing has come."""

    close_sent = close_received = failed = None
    extensions: Sequence[Extension] = ()
    is_open = lost = peer_closed_first = False
    messages_sent = messages_received = 0

    def send_text(self, text: object, compress: object = None) -> list[bytes]:
        """Refuses what could never be sent."""
        encode_text(text)
        check_compress(compress)
        return []

    def send_binary(self, data: object, compress: object = None) -> list[bytes]:
        """As `send_text`."""
        binary_payload(data)
        check_compress(compress)
        return []

    def send_ping(self, payload: object = b"") -> list[bytes]:
        """As `send_text`."""
        control_payload(payload)
        return []

    def send_shared(self, message: SharedMessage) -> list[bytes]:
        """Nothing can be sent."""
        return []

    def close(self, code: object, reason: object = "") -> list[bytes]:
        """As `send_text`."""
        # The core knows which Closes can travel, and this one goes nowhere.
        Connection(Role.SERVER).close(code, reason)
        return []

    def lose(self) -> None:
        """Nothing can be sent in any case."""


#: One for all connections: it knows nothing.
NOT_OPEN: Final = cast(Connection, _NotOpen())
