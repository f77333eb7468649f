"""How a connection ended, or why a proxy did not make one."""

from __future__ import annotations

from typing import Any, NamedTuple

from twisted.internet.error import ConnectionDone, ConnectionLost

from .sansio.constants import CloseCode
from .sansio.errors import HandshakeError, WebSocketError


class Close(NamedTuple):
    """A Close, of either side; also a tuple of its code and its reason.

    Attributes:
        code: the close code; 1005 where the Close had none.
        reason: the text behind the code, often empty.
    """

    code: int
    reason: str

    @classmethod
    def of(cls, pair: tuple[int, str] | None) -> Close | None:
        """Makes one of the core's code and reason; None where there was no Close."""
        return None if pair is None else cls(*pair)


class WebSocketEnded(WebSocketError):
    """The connection is over.

    Attributes:
        closeReceived: the peer's `Close`, or None.
        closeSent: our own `Close`, or None.
        code: the close code that the end is about, see `WebSocketClosed` and `WebSocketDropped`.
        reason: the reason of a Close; empty where there was none. The text of the error is ``str(error)``.
    """

    def __init__(
        self,
        message: str,
        closeReceived: tuple[int, str] | None = None,
        closeSent: tuple[int, str] | None = None,
        code: int | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(message)
        self.closeReceived = Close.of(closeReceived)
        self.closeSent = Close.of(closeSent)
        close = self.closeReceived or self.closeSent or Close(CloseCode.ABNORMAL_CLOSURE, "")
        self.code = int(close.code if code is None else code)
        self.reason = close.reason if reason is None else reason

    def __str__(self) -> str:
        return str(self.args[0])


class WebSocketClosed(WebSocketEnded, ConnectionDone):
    """Both sides sent a Close (RFC 6455 section 7.1.4, "closed cleanly").

    It does not mean that every message was delivered. The codes tell more: with 1009 a message was too large, with 1011
    an application failed and the messages that waited for it were discarded, with 1013 unsent messages were
    dropped. With any code, a message that was sent while the other side was closing may have been discarded there.

    Attributes:
        code: the close code of the first of the two, which says why the connection was closed: the second answers it,
            mostly with the same code. 1005 where it had none.
        reason: the reason of the first of the two.
    """


class WebSocketDropped(WebSocketEnded, ConnectionLost):
    """The connection ended in any other way (close code 1006, RFC 6455 section 7.1.5).

    Attributes:
        code: the close code that we failed the connection with, or 1006.
        reason: the reason of the peer's Close if one came, or else of our own; empty where there was neither.
    """

    def __init__(
        self,
        message: str,
        closeReceived: tuple[int, str] | None = None,
        closeSent: tuple[int, str] | None = None,
        code: int = CloseCode.ABNORMAL_CLOSURE,
        reason: str | None = None,
    ) -> None:
        super().__init__(message, closeReceived, closeSent, code, reason)


class ProxyError(HandshakeError):
    """A client's proxy could not be reached, or did not connect us to the server (RFC 6455 section 4.1).

    Attributes:
        response: the answer of an HTTP proxy, a `Response` with its status, its fields and its body; None where no
            answer came, and of a SOCKS proxy.
        reply: the number with which a SOCKS proxy refused (RFC 1928 section 6), such as 5, "connection refused"; None
            where it sent none, and of an HTTP proxy.
    """

    def __init__(self, message: str, response: Any = None, reply: int | None = None) -> None:
        super().__init__(message)
        self.response: Any = response
        self.reply = reply
