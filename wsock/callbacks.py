"""A base for applications, with all their callbacks."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from .application import doesNothing
from .wire.protocol import WebSocketTransport

#: The result of a callback: the next message waits until a Deferred fires or a coroutine ends.
CallbackResult: TypeAlias = Deferred[Any] | Coroutine[Any, Any, Any] | None


class WebSocketProtocol:
    """A convenient base for applications: `negotiationStarted` keeps the transport, and the other methods do nothing.

    The callbacks for messages and Pongs may return a Deferred or a coroutine: no other is called before it is done,
    and the peer is made to wait if it sends too much meanwhile. An exception in any of them is logged, drops what was
    received and not delivered, and closes the connection with 1011.
    """

    __slots__ = ("transport",)

    transport: WebSocketTransport

    def negotiationStarted(self, transport: WebSocketTransport) -> CallbackResult:
        """The opening handshake is about to end well, or on a client to begin: keeps ``transport``.

        A method of yours in its place calls ``super().negotiationStarted(transport)``; without that, ``self.transport``
        is missing. Messages that are sent now leave after the handshake's last byte.
        """
        self.transport = transport
        return None

    def negotiationFinished(self) -> CallbackResult:
        """The connection is open."""

    def textMessageReceived(self, message: str) -> CallbackResult:
        """A whole text message came.

        Args:
            message: its text.
        """

    def bytesMessageReceived(self, data: bytes) -> CallbackResult:
        """A whole binary message came.

        Args:
            data: its payload.
        """

    def pongReceived(self, payload: bytes) -> CallbackResult:
        """The peer answered a `ping`, or sent a Pong of its own accord (RFC 6455 section 5.5.3).

        Args:
            payload: up to 125 bytes.
        """

    @doesNothing
    def connectionLost(self, reason: Failure) -> CallbackResult:
        """The connection is over: exactly once, as the last callback, iff `negotiationStarted` was called.

        Args:
            reason: wraps a `WebSocketClosed` or a `WebSocketDropped`; on a client that was never open, whatever
                `connectProtocol` says of that, such as a `ConnectionRejected`.
        """
