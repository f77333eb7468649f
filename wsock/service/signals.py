"""The signals that `twistd wsock` obeys: end, end at once, open the logs and read the certificates again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from twisted.logger import Logger

from ..server.signals import endingSignals, hasSignals

#: Those for which logs are opened again.
_REOPENING: Final = ("SIGHUP", "SIGUSR1")

_log = Logger()

Handler = Callable[[int, FrameType | None], Any]


class Signals:
    """Handles the signals of the process while the service runs.

    Python runs a handler between any two steps of the program, perhaps in the middle of a log line. Twisted's handlers
    write a line themselves, and would wait for that one's lock for good. So ours only have the reactor act.

    Attributes:
        reopens: called at SIGHUP and SIGUSR1, for the files that are opened or read again then; twistd does so with its
            log.
    """

    def __init__(self, reactor: Any, endAtOnce: Callable[[], None]) -> None:
        """Prepares the handlers; `install` sets them.

        Args:
            reactor: only the one that the process runs is sent signals.
            endAtOnce: called at the second signal to end, and at any once `stopping` was called.
        """
        self.reopens: list[Callable[[], None]] = []
        self._reactor = reactor
        self._endAtOnce = endAtOnce
        self._isEnding = False
        #: Whether it is a signal that ends the process.
        self._isSignalled = False
        self._onTerminal = False
        #: The handlers before ours, and ours, by signal.
        self._handlers: dict[signal.Signals, tuple[Any, Handler]] = {}

    def install(self) -> None:
        """Takes the signals over, where the process and its reactor are the main thread's."""
        if not hasSignals(self._reactor):
            return
        # Later, a terminal that has hung up is no terminal any more.
        self._onTerminal = any(os.isatty(stream) for stream in (0, 1, 2))
        for name in _REOPENING:
            number: signal.Signals | None = getattr(signal, name, None)
            before = signal.SIG_IGN if number is None else signal.getsignal(number)
            # One that is ignored stays so: nohup ignores SIGHUP. The handler of SIGUSR1 is twistd's.
            isTaken = before == signal.SIG_DFL or (callable(before) and name == "SIGUSR1")
            if number is not None and isTaken:
                self._take(number, self._reopenSoon)
        # Twisted's own come when it starts.
        self._reactor.callWhenRunning(self._installEnding)

    def _installEnding(self) -> None:
        for number in endingSignals(self._reactor):
            self._take(number, self._endSoon)

    def _take(self, number: signal.Signals, handler: Handler) -> None:
        self._handlers[number] = (signal.getsignal(number), handler)
        signal.signal(number, handler)

    def stopping(self) -> None:
        """The service has begun to stop, for whatever reason."""
        self._isEnding = True

    def restore(self) -> None:
        """Puts the handlers back that were there before; not when a signal ends the process, since more may come."""
        if self._isSignalled:
            return
        handlers, self._handlers = self._handlers, {}
        for number, (before, ours) in handlers.items():
            if signal.getsignal(number) == ours:
                signal.signal(number, before)

    # The handlers

    def _endSoon(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._end, number)

    def _reopenSoon(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._reopen, number)

    # In the reactor

    def _end(self, number: int) -> None:
        if self._isEnding:
            self._endAtOnce()
            return
        self._isEnding = self._isSignalled = True
        # Twisted's: it says so, stops the reactor, and has the process end as that signal would have ended it.
        self._handlers[signal.Signals(number)][0](number, None)

    def _reopen(self, number: int) -> None:
        if self._onTerminal and number == signal.SIGHUP and signal.SIGTERM in self._handlers:
            # The terminal is gone, and with it the one who looked at the log.
            self._end(signal.SIGTERM)
            return
        # twistd's own handler, which is there where twistd writes a log file.
        rotate, _ = self._handlers.get(signal.SIGUSR1, (None, None))
        if callable(rotate):
            rotate(number, None)
        for reopen in list(self.reopens):
            try:
                reopen()
            except Exception:
                _log.failure("a log can't be opened again")
