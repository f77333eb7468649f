"""Loggers that keep nothing alive, and texts that may be logged."""

from __future__ import annotations

from asyncio import CancelledError as AsyncioCancelledError
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError, FirstError
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

#: Exceptions to catch around application code: `Exception` alone would miss ``asyncio.CancelledError``, which is a
#: ``BaseException``.
APPLICATION_ERRORS: Final = (Exception, AsyncioCancelledError)
#: The cancellations of Twisted and of asyncio: the answer to a cancellation of ours is no failure of the application.
CANCELLATIONS: Final = (CancelledError, AsyncioCancelledError)


#: A longer text of a peer's is cut off in a log line, in characters.
_TEXT_CHARACTERS: Final = 200


def printable(text: str) -> str:
    """Returns a peer's text as it may be shown: a log, or a terminal, is not to be written to by the peer."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in text)


def excerpt(text: str) -> str:
    """Returns a peer's text as it may stand in a line of a log: printable, and cut off where it is long."""
    return printable(text if len(text) <= _TEXT_CHARACTERS else f"{text[:_TEXT_CHARACTERS]}...")


def formatAddress(address: object) -> str:
    """Returns an address as logs have it: ``host:port``, IPv6 in brackets; a UNIX socket's path, or ``unix``."""
    # A host is whatever the client of a port with the PROXY protocol (haproxy:) says.
    if isinstance(address, IPv4Address):
        return f"{excerpt(address.host)}:{address.port}"
    if isinstance(address, IPv6Address):
        return f"[{excerpt(address.host)}]:{address.port}"
    if isinstance(address, UNIXAddress):
        return excerpt((address.name or b"").decode("utf-8", "replace")) or "unix"
    text = str(address)
    # A pipe has no more of an address than its kind.
    return type(address).__name__ if text.startswith("<") else excerpt(text)


def letGo(failure: Failure) -> None:
    """Drops the frames that a failure holds, and those of its causes; the text of its traceback stays.

    As ``Failure.cleanFailure``, which leaves out the causes.
    """
    # They are made a text now, if they were not.
    _ = failure.frames
    failure.tb = None
    if isinstance(failure.value, BaseException):
        release(failure.value)


def release(error: BaseException) -> None:
    """Drops the frames that an exception holds, and those of its causes.

    A frame holds all that its function worked with: the connection, the application.
    """
    errors: list[BaseException | None] = [error]
    seen = set()
    while errors:
        one = errors.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = None
        errors += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
        if isinstance(one, FirstError):
            letGo(one.subFailure)


class ClassLogger(Logger):
    """A logger for a class attribute, which keeps no instance, nor the frames of an exception.

    Twisted keeps the events of a program that has not begun to log, 65,536 of them, and each holds its source and its
    failure: a connection that was lost would stay in memory with its application.
    """

    def __get__(self, instance: object, owner: type | None = None) -> Logger:
        return super().__get__(None, type(instance) if owner is None else owner)

    def failure(
        self, format: str, failure: Failure | None = None, level: LogLevel = LogLevel.critical, **kwargs: Any
    ) -> None:
        """Logs an exception, by default the one that is being handled; then it has done its work."""
        failure = Failure() if failure is None else failure
        super().failure(format, failure, level, **kwargs)
        letGo(failure)
