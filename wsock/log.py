"""Loggers that keep nothing alive."""

from __future__ import annotations

from twisted.logger import Logger


class ClassLogger(Logger):
    """A logger for a class attribute, whose source is the class and never the instance.

    Twisted keeps the events of a program that has not begun to log, 65,536 of them, and each holds its source: a
    connection that was lost would stay in memory with its application.
    """

    def __get__(self, instance: object, owner: type | None = None) -> Logger:
        return super().__get__(None, type(instance) if owner is None else owner)
