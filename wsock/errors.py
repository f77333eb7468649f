"""How a connection ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.error import ConnectionDone, ConnectionLost

from .sansio.constants import (
    CloseCode,
)
from .sansio.errors import WebSocketError

if TYPE_CHECKING:
    pass


class WebSocketEnded(WebSocketError):
    """The connection is over.

    Attributes:
        closeReceived: (code, reason) of the peer's Close, or None.
        closeSent: (code, reason) of ours, or None.
    """

    def __init__(
        self,
        message: str,
        closeReceived: tuple[int, str] | None = None,
        closeSent: tuple[int, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.closeReceived = closeReceived
        self.closeSent = closeSent

    def __str__(self) -> str:
        return str(self.args[0])


class WebSocketClosed(WebSocketEnded, ConnectionDone):
    """Both sides sent a Close (RFC 6455 section 7.1.4, "closed cleanly").

    It does not mean that every message was delivered. The codes tell more: with 1009 a message was too large, with 1011
    an application failed and what waited for it was discarded, with 1013 what was unsent was dropped. With any code, a
    message that was sent while the other side was closing may have been discarded there.
    """


class WebSocketDropped(WebSocketEnded, ConnectionLost):
    """The connection ended in any other way (close code 1006, RFC 6455 section 7.1.5).

    Attributes:
        code: what was wrong: the close code that we failed the connection with, or 1006.
    """

    def __init__(
        self,
        message: str,
        closeReceived: tuple[int, str] | None = None,
        closeSent: tuple[int, str] | None = None,
        code: int = CloseCode.ABNORMAL_CLOSURE,
    ) -> None:
        super().__init__(message, closeReceived, closeSent)
        self.code = int(code)
