"""A client of a server factory, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from .. import LocalProtocolError, connect, connectProtocol
from ..sansio.url import URL, parse
from .endpoint import InMemory, MemoryEndpoint, Side
from .transport import BUFFER_BYTES, networkOf

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.internet.task import Clock

    from .. import Application, WebSocketStream

    AnyApplication = TypeVar("AnyApplication", bound=Application)


class MemoryAgent(InMemory):
    """Connects to a server factory, in memory; with the methods of a `wsock.Agent`.

    In a test, that is::

        agent = MemoryAgent(WebSocketServerFactory(buildApplication))
        connecting = agent.connect("ws://localhost/echo")
        agent.flush()
        stream = self.successResultOf(connecting)

    Attributes:
        endpoint: the `MemoryEndpoint` that all its connections go through.
    """

    def __init__(
        self, server: Side, clock: Clock | None = None, *, capacity: int = BUFFER_BYTES, chunk: int = BUFFER_BYTES
    ) -> None:
        """Makes an agent whose connections all lead to one server.

        Args:
            server: the factory under test.
            clock: for the timers of both sides; by default the one that the factory has, or a new one. A factory of
                wsock's that was given no reactor gets it.
            capacity: how many bytes may be on their way each way before a producer is paused.
            chunk: how many bytes a protocol is given at a time, at the most; 1 takes everything apart.

        Raises:
            ValueError: the factory has another reactor than the clock.
        """
        self.endpoint = MemoryEndpoint(server, clock, capacity=capacity, chunk=chunk)
        self.clock = self.endpoint.clock
        self._network = networkOf(self.clock)

    def connect(self, url: str | URL = "ws://localhost/", **arguments: Any) -> Deferred[WebSocketStream]:
        """Connects as `wsock.connect` does.

        Args:
            url: where to; the server sees its path, its query, and its host as Host. There is no TLS in memory.
            arguments: further ones of `wsock.connect`, such as ``headers``, ``subprotocols`` and ``settings``.

        Returns:
            the Deferred of `wsock.connect`; it fires in a flush.

        Raises:
            InvalidURL: not a URL for a WebSocket.
            LocalProtocolError: a ``wss:`` URL.
        """
        _checkPlain(url)
        return connect(self.clock, url, endpoint=self.endpoint, **arguments)

    def connectProtocol(
        self, url: str | URL, buildApplication: Callable[..., AnyApplication], **arguments: Any
    ) -> Deferred[AnyApplication]:
        """Connects an application as `wsock.connectProtocol` does.

        Args:
            url: as for `connect`.
            buildApplication: called with the request that is to be sent; returns the client's application.
            arguments: further ones of `wsock.connectProtocol`.

        Returns:
            the Deferred of `wsock.connectProtocol`; it fires in a flush.

        Raises:
            InvalidURL: not a URL for a WebSocket.
            LocalProtocolError: a ``wss:`` URL.
        """
        _checkPlain(url)
        return connectProtocol(self.clock, url, buildApplication, endpoint=self.endpoint, **arguments)


def _checkPlain(url: str | URL) -> None:
    if (url if isinstance(url, URL) else parse(url)).secure:
        raise LocalProtocolError("there is no TLS in memory: give a ws: URL, which reaches the same factory")
