"""Loggers that keep nothing alive, and what may be logged."""

from __future__ import annotations

from asyncio import CancelledError as AsyncioCancelledError
from typing import Final

from twisted.logger import Logger

#: What code of others raises and is to be caught: asyncio's cancellation is no `Exception`.
CAUGHT: Final = (Exception, AsyncioCancelledError)


def printable(text: str) -> str:
    """Returns a peer's text as it may be shown: a log, or a terminal, is not to be written to by the peer."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


class ClassLogger(Logger):
    """A logger for a class attribute, whose source is the class and never the instance.

    Twisted keeps the events of a program that has not begun to log, 65,536 of them, and each holds its source: a
    connection that was lost would stay in memory with its application.
    """

    def __get__(self, instance: object, owner: type | None = None) -> Logger:
        return super().__get__(None, type(instance) if owner is None else owner)
