"""A timer that can be started again, and stopped whether it runs or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Timer:
    """Calls one function when its time has come; a later `start` takes the place of an earlier one."""

    __slots__ = ("_call", "_reactor")

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._call: IDelayedCall | None = None

    def start(self, seconds: float, function: Callable[..., object], *arguments: Any) -> None:
        """Calls ``function`` after so many seconds."""
        if self._call is not None:
            self._call.cancel()
        self._call = self._reactor.callLater(seconds, self._fired, function, arguments)

    def stop(self) -> None:
        """Takes `start` back; does nothing where the timer does not run."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _fired(self, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self._call = None
        function(*arguments)
