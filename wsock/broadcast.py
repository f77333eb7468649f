"""One message to many.

Rules:

* A message is encoded once, and compressed once for all that can share that; the connections' queues hold its one frame
  by reference.
* No peer, however slow or dead, keeps a message from the others: what it does not take is bounded by its own
  ``sendLimit``, and by ``slowConsumer``.
* A connection that is lost leaves by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, NoReturn

from .sansio.constants import Role
from .sansio.errors import LocalProtocolError, wrong_type
from .sansio.payloads import binary_payload, encode_text
from .sansio.shared import SharedMessage
from .wire.protocol import WebSocketTransport
from .wire.threads import checkThread, threadOf


class BroadcastResult(NamedTuple):
    """The result of sending one message to a group.

    Attributes:
        sent: to how many connections it was sent, or queued.
        dropped: how many older messages were dropped for it, where ``slowConsumer`` is ``"drop"``.
        closed: how many connections were closed in place of it, since too much was unsent.
    """

    sent: int
    dropped: int
    closed: int


class Group:
    """Connections that get the same messages.

    A connection may be in several groups, but only once in each. Iterating gives the connections, in the order in which
    they came; ``len`` their number.
    """

    __slots__ = ("__weakref__", "_members", "_thread")

    def __init__(self) -> None:
        self._members: dict[WebSocketTransport, None] = {}
        #: The reactor's thread, where a connection tells of calls from others.
        self._thread: int | None = None

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Group can't be copied or pickled, nor can its connections: make another one, and add to it those that "
            "iterating over this one gives"
        )

    def add(self, transport: WebSocketTransport) -> None:
        """Adds a connection; one that is lost already is not added.

        Args:
            transport: the one that ``negotiationStarted`` was given, of a server.

        Raises:
            LocalProtocolError: a client's. Each of its frames has a mask of its own, so nothing can be shared. Or no
                connection at all, such as a stream.
        """
        _checkTransport(transport)
        self._thread = threadOf(transport)
        checkThread(self._thread, "group.add")
        if transport.factory.role is Role.CLIENT:
            raise LocalProtocolError("a group is of a server's connections: a client's frames can't be shared")
        if transport.groupJoined(self):
            self._members[transport] = None

    def discard(self, transport: WebSocketTransport) -> None:
        """Takes a connection out, if it is in.

        Raises:
            LocalProtocolError: no connection.
        """
        _checkTransport(transport)
        checkThread(self._thread, "group.discard")
        if self._members.pop(transport, self) is None:
            transport.groupLeft(self)

    def sendTextMessage(self, text: str, compress: bool | None = None) -> BroadcastResult:
        """Sends a text message to all.

        Args:
            text: any text without lone surrogates.
            compress: as in `WebSocketTransport.sendTextMessage`, for those with which compression was agreed on.

        Returns:
            what became of it. Connections that are closing are passed over.

        Raises:
            LocalProtocolError: not a str, or one that has no UTF-8; nothing was sent.
        """
        if not isinstance(text, str):
            # It raises.
            encode_text(text)
        return self._send(SharedMessage(text, compress))

    def sendBytesMessage(self, data: bytes | bytearray | memoryview, compress: bool | None = None) -> BroadcastResult:
        """Sends a binary message to all; as `sendTextMessage`.

        Args:
            data: any bytes; changing them afterwards does not change what is sent.
            compress: as in `sendTextMessage`.

        Raises:
            LocalProtocolError: of another type; nothing was sent.
        """
        return self._send(SharedMessage(binary_payload(data), compress))

    def _send(self, message: SharedMessage) -> BroadcastResult:
        if self._thread is not None:
            checkThread(self._thread, "group.send...Message")
        sent = closed = dropped = 0
        # A copy: a connection that is closed for it may leave.
        for transport in list(self._members):
            outcome = transport.groupSends(message)
            if outcome is None:
                continue
            if outcome < 0:
                closed += 1
            else:
                sent += 1
                dropped += outcome
        return BroadcastResult(sent, dropped, closed)

    def __iter__(self) -> Iterator[WebSocketTransport]:
        return iter(list(self._members))

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, transport: object) -> bool:
        return transport in self._members


def _checkTransport(transport: object) -> None:
    if not isinstance(transport, WebSocketTransport):
        advice = "its transport is meant" if hasattr(transport, "transport") else ""
        raise wrong_type("transport", "what negotiationStarted was given", transport, advice)
