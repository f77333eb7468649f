"""The exceptions, by whose fault they are.

The caller's mistakes are raised (`LocalProtocolError`, `InvalidURL`); the peer's are values that travel in a
`Failed <wsock.sansio.events.Failed>` event or end the opening handshake. Exception arguments are strings only: facts
stand in attributes.
"""

from collections.abc import Sequence
from typing import Any

from .constants import CloseCode


class WebSocketError(Exception):
    """The base of all that wsock raises or reports.

    Copies, also those by pickle, have the arguments and the attributes of the original.
    """

    def __reduce__(self) -> Any:
        # That of BaseException calls the class with what is in `args`, which is less than what ours take. Of a compiled
        # class it finds the attributes on Python 3.13 alone, and there `__dict__` does not.
        facts = dict(getattr(self, "__dict__", {}))
        reduced: Any = BaseException.__reduce__(self)
        for state in reduced[2:]:
            facts.update(state)
        return make_empty, (type(self), self.args), facts


class LocalProtocolError(WebSocketError, ValueError):
    """The caller asked for something that the protocol forbids; nothing was sent and the connection stays usable."""


class RemoteProtocolError(WebSocketError):
    """The peer broke the protocol (RFC 6455 section 7.1.7, "fail the connection").

    Attributes:
        code: the close code that answers it.
    """

    def __init__(self, message: str, code: int = CloseCode.PROTOCOL_ERROR) -> None:
        super().__init__(message)
        self.code = int(code)


class InvalidPayload(RemoteProtocolError):
    """Text that is not UTF-8, or compressed data that does not inflate (close code 1007)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, CloseCode.INVALID_PAYLOAD)


class MessageTooBig(RemoteProtocolError):
    """A message over the limit (close code 1009)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, CloseCode.MESSAGE_TOO_BIG)


class HandshakeError(WebSocketError):
    """The opening handshake failed (RFC 6455 section 4)."""


class InvalidRequest(HandshakeError):
    """A server can't accept this request.

    Attributes:
        status: the HTTP status that answers it.
        headers: header fields that the answer needs, such as ``Allow`` for 405.
    """

    def __init__(self, message: str, status: int = 400, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.headers = tuple(headers)


class InvalidResponse(HandshakeError):
    """A client can't accept this answer: it is malformed, or claims something that was not offered."""


class ConnectionRejected(HandshakeError):
    """The server answered with HTTP, not with a WebSocket.

    Attributes:
        response: the answer, a `ResponseHead <wsock.sansio.http.ResponseHead>`; a `wsock.Response` where
            `wsock.connect` fails.
    """

    def __init__(self, message: str, response: Any) -> None:
        super().__init__(message)
        self.response: Any = response


class InvalidURL(WebSocketError, ValueError):
    """Not a URL of RFC 6455 section 3."""


def make_empty(kind: type[BaseException], arguments: Sequence[object]) -> BaseException:
    """Make an exception that has its arguments, and none of the attributes yet: for copies."""
    error = kind.__new__(kind)
    error.args = tuple(arguments)
    return error


def wrong_type(name: str, expected: str, value: object, advice: str = "") -> LocalProtocolError:
    """Make the error for a value of a wrong type, which says what to write in its place.

    Args:
        name: the name of the parameter.
        expected: what it has to be, with its article.
        value: the value that was given; its type is named, and itself never, since it may be a secret.
        advice: the text that says what to write.
    """
    given = "None" if value is None else type(value).__name__
    told = f"{name} is {expected}, not {given}"
    return LocalProtocolError(f"{told}: {advice}" if advice else told)


def whole_number(name: str, value: object, least: int, most: int | None = None, or_none: bool = False) -> int:
    """Return a number that was given, as an int.

    Args:
        name: the name of the parameter.
        value: the number.
        least: the smallest that may be.
        most: the largest that may be; None for no limit.
        or_none: whether None may stand in its place, which is the caller's to see to: the error says so.

    Raises:
        LocalProtocolError: it is of another type, or out of the range.
    """
    none = ", or None" if or_none else ""
    if not isinstance(value, int) or isinstance(value, bool):
        range_ = f", at least {least}" if most is None else f" from {least} to {most}"
        raise wrong_type(name, f"a whole number{range_}{none}", value)
    if value < least or (most is not None and value > most):
        range_ = f"at least {least}" if most is None else f"{least} to {most}"
        raise LocalProtocolError(f"{name} is {range_}{none}")
    return value
