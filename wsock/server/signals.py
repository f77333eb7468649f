"""A second signal to end, while a program ends: it stops waiting for anything."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, Final

#: Those that end a program, by Twisted's own handlers. SIGBREAK is Control-Break on Windows.
_ENDING: Final = ("SIGTERM", "SIGINT", "SIGBREAK")
#: The function that a second signal calls; the handlers are ours while there is one.
_calls: list[Callable[[], None]] = []
#: The handlers before ours, and ours, by signal.
_handlers: dict[signal.Signals, tuple[Any, Any]] = {}


def hasSignals(reactor: object) -> bool:
    """Whether this is the reactor that the process runs, and it runs in the main thread, as signals need it."""
    from twisted.internet import reactor as running

    return reactor is running and threading.current_thread() is threading.main_thread()


def endingSignals(reactor: object) -> list[signal.Signals]:
    """Those that end the program by a handler of the reactor's: another's, such as a debugger's, is to stay."""
    numbers = [getattr(signal, name) for name in _ENDING if hasattr(signal, name)]
    return [number for number in numbers if getattr(signal.getsignal(number), "__self__", None) is reactor]


def atSecondSignal(reactor: Any, call: Callable[[], None]) -> Callable[[], None]:
    """Has a signal to end call something; for when the program ends already.

    Python runs a handler between any two steps of the program, so ours only has the reactor act.

    Args:
        reactor: only the one that the process runs is sent signals.
        call: called in the reactor, at each signal.

    Returns:
        a function that ends that, and puts the handlers back that were there before.
    """
    if not hasSignals(reactor):
        return lambda: None
    if not _calls:
        for number in endingSignals(reactor):
            ours = partial(_received, reactor)
            _handlers[number] = (signal.getsignal(number), ours)
            signal.signal(number, ours)
    _calls.append(call)
    return partial(_leave, call)


def _received(reactor: Any, number: int, frame: FrameType | None) -> None:
    reactor.callFromThread(_callAll)


def _callAll() -> None:
    for call in _calls:
        call()


def _leave(call: Callable[[], None]) -> None:
    _calls.remove(call)
    if _calls:
        return
    for number, (before, ours) in _handlers.items():
        if signal.getsignal(number) is ours:
            signal.signal(number, before)
    _handlers.clear()
