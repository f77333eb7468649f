"""Loggers that keep nothing alive, and what may be logged."""

from __future__ import annotations

from asyncio import CancelledError as AsyncioCancelledError
from typing import Final

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.logger import Logger

#: What code of others raises and is to be caught: asyncio's cancellation is no `Exception`.
CAUGHT: Final = (Exception, AsyncioCancelledError)


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
    if isinstance(address, IPv4Address):
        return f"{address.host}:{address.port}"
    if isinstance(address, IPv6Address):
        return f"[{address.host}]:{address.port}"
    if isinstance(address, UNIXAddress):
        name = address.name
        return excerpt(name.decode("utf-8", "replace") if isinstance(name, bytes) else name or "") or "unix"
    text = str(address)
    # A pipe has no more of an address than its kind.
    return type(address).__name__ if text.startswith("<") else excerpt(text)


class ClassLogger(Logger):
    """A logger for a class attribute, whose source is the class and never the instance.

    Twisted keeps the events of a program that has not begun to log, 65,536 of them, and each holds its source: a
    connection that was lost would stay in memory with its application.
    """

    def __get__(self, instance: object, owner: type | None = None) -> Logger:
        return super().__get__(None, type(instance) if owner is None else owner)
