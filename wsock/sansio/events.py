"""The acts of a peer, as values: the elements of the list that `Connection.receive_data` returns.

Plain classes with slots: one is made for each message, so they cost as little as they can.
"""

from .errors import RemoteProtocolError


class Event:
    """The base of all events."""

    __slots__ = ()


class TextReceived(Event):
    """A whole text message.

    Attributes:
        text: the message.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.text,)


class BinaryReceived(Event):
    """A whole binary message.

    Attributes:
        data: the message.
    """

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.data,)


class PingReceived(Event):
    """A Ping; its Pong stands in `Connection.replies` already.

    Attributes:
        payload: up to 125 bytes.
    """

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.payload,)


class PongReceived(Event):
    """A Pong, asked for or not.

    Attributes:
        payload: up to 125 bytes.
    """

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.payload,)


class CloseReceived(Event):
    """The peer's Close, after which it sends nothing more; our answer stands in `Connection.replies`.

    Attributes:
        code: its close code; 1005 where the frame had none.
        reason: its reason, often empty.
    """

    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.code, self.reason)


class Failed(Event):
    """The peer broke the protocol or went away without a Close; always the last event.

    Attributes:
        error: its fault, with the close code that stands in `Connection.replies` (1006: none does).
    """

    __slots__ = ("error",)

    def __init__(self, error: RemoteProtocolError) -> None:
        self.error = error

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.error,)
