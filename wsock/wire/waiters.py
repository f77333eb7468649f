"""Deferreds that wait for the same thing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred

from ..reasons import Result

Anything = TypeVar("Anything")


class Waiters(Generic[Anything]):
    """Deferreds in the order in which they were asked for. Cancelling one only takes it out.

    They fire one after the other, since a callback of one may cancel another, or ask for one more.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: deque[Deferred[Anything]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self) -> Deferred[Anything]:
        """Returns one more Deferred."""
        waiter: Deferred[Anything] = Result(self._waiting.remove)
        self._waiting.append(waiter)
        return waiter

    def fireFirst(self, value: Any = None) -> None:
        """Fires the first."""
        self._waiting.popleft().callback(value)

    def fire(self, value: Any = None) -> None:
        """Fires all."""
        while self._waiting:
            self.fireFirst(value)

    def fail(self, makeReason: Callable[[], BaseException]) -> None:
        """Fails all, each with an exception of its own."""
        while self._waiting:
            self._waiting.popleft().errback(makeReason())
