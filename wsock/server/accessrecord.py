"""The record of a connection to a server for an access log: one for each connection, when it is over."""

from __future__ import annotations

from typing import Literal, NamedTuple

from ..errors import WebSocketClosed, WebSocketDropped
from ..wire.protocol import WebSocketTransport
from .upgrade import Upgrade


class AccessRecord(NamedTuple):
    """One connection to a server, from its first byte to its loss. Take the fields by their names: more may come.

    Attributes:
        peer: the client's address as ``host:port``, IPv6 in brackets; the path of a UNIX socket, or ``unix``;
            ``unknown`` where its transport does not say.
        path: of the request, as it came, percent-encoded and without the query; empty where none was read.
        status: the HTTP status of the answer, 101 where the connection was open; None where the client had left before
            there was one.
        subprotocol: the one agreed on, or None.
        extension: the name of the one agreed on, or None.
        code: how an open connection ended: the code of the first Close, if there were two, and 1005 where that had
            none; else the code that we failed it with, such as 1009 or 1011; else 1006. None where it was never open.
        reason: the reason of that Close; or why the connection was dropped, or refused.
        closedBy: ``"us"`` if the end began here, with the first Close, a refusal or an abort; ``"peer"`` if it began
            with the client's Close; None if the connection was lost without any.
        seconds: from when the connection was accepted, or on a `WebSocketResource` from its request, to its loss.
        messagesReceived: whole messages that came.
        messagesSent: messages that were sent; none of those in `ConnectionCounters.sendsDropped`, which never left as
            a whole.
        bytesReceived: of all that came, the opening request included; over TLS as it was before encryption.
        bytesSent: of all that the system, or Twisted's transport, was given.
    """

    peer: str
    path: str
    status: int | None
    subprotocol: str | None
    extension: str | None
    code: int | None
    reason: str
    closedBy: Literal["us", "peer"] | None
    seconds: float
    messagesReceived: int
    messagesSent: int
    bytesReceived: int
    bytesSent: int


class AccessNote:
    """Notes about a connection for its record, taken from its beginning on."""

    __slots__ = ("began", "reason", "status", "upgrade")

    def __init__(self, began: float, upgrade: Upgrade | None = None) -> None:
        """Starts the notes of a connection.

        Args:
            began: when the connection was made.
            upgrade: where it was one of ``twisted.web``, to be told of its loss.
        """
        self.began = began
        self.upgrade = upgrade
        self.status: int | None = None
        self.reason = "lost before there was an answer"

    def answered(self, status: int, reason: str) -> None:
        """The request was answered with this status; with the reason, where that refuses it."""
        self.status, self.reason = status, reason


def makeRecord(transport: WebSocketTransport, note: AccessNote, now: float, aborted: bool) -> AccessRecord:
    """Returns the record of a connection that is over.

    Args:
        transport: the connection.
        note: the notes about it.
        now: the time.
        aborted: whether it was lost by our will.
    """
    extension, traffic = transport.extension, transport.traffic
    status, reason, code = note.status, note.reason, None
    closedBy: Literal["us", "peer"] | None = "us" if status is not None or aborted else None
    if status == 101:
        error = transport.lossReason()
        first = transport.closeReceived if transport.closedByPeer else transport.closeSent
        if isinstance(error, WebSocketClosed) and first is not None:
            code, reason = first
        else:
            code = error.code if isinstance(error, WebSocketDropped) else None
            reason = str(error)
        if transport.closedByPeer:
            closedBy = "peer"
        elif first is None and not aborted:
            closedBy = None
    return AccessRecord(
        transport.peerForLog(),
        transport.pathForLog(),
        status,
        transport.subprotocol,
        None if extension is None else extension.name,
        code,
        reason,
        closedBy,
        max(0.0, now - note.began),
        traffic.messagesReceived,
        traffic.messagesSent,
        traffic.bytesReceived,
        traffic.bytesSent,
    )
