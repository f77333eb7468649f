"""How much a connection has carried, and what of it is known not to have reached its end."""

from __future__ import annotations

from typing import NamedTuple


class ConnectionCounters(NamedTuple):
    """Messages that are known not to have reached their end, by number.

    A message that has left, and was lost with the connection, is counted nowhere.

    Attributes:
        sendsIgnored: sent when the connection was closing or lost; Pings too.
        sendsDropped: taken to be sent, and dropped from the queue: too much was unsent, or the connection was lost or
            aborted before they had left as a whole.
        receivedDiscarded: received, and not delivered: a connection that ends does not wait for its application.
    """

    sendsIgnored: int
    sendsDropped: int
    receivedDiscarded: int


class Traffic(NamedTuple):
    """How much a connection has carried.

    Attributes:
        messagesReceived: whole messages that came.
        messagesSent: messages that were sent, without those that were dropped.
        bytesReceived: all bytes that came, those of the opening handshake included.
        bytesSent: all bytes that the system, or Twisted's transport, was given.
    """

    messagesReceived: int
    messagesSent: int
    bytesReceived: int
    bytesSent: int
