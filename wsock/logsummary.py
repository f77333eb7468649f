"""Log lines that peers can cause: the first few are written, a flood is summed up.

Rules:

* A few lines a second are written at once. One line more begins a period in which lines are only counted; at its end
  one line says how many they were, and the text of the last.
* The memory is that of one line, however many come. A delayed call is there while lines are counted, and only then.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger, LogLevel

#: How many lines are written in one second; the next begins a period.
_LINES_A_SECOND: Final = 5
#: How long lines are counted before they are summed up.
_PERIOD_SECONDS: Final = 10


class Summary:
    """Writes log lines of one kind, such as the refusals of a factory."""

    __slots__ = (
        "_began",
        "_call",
        "_closed",
        "_count",
        "_last",
        "_level",
        "_log",
        "_reactor",
        "_several",
        "_single",
        "_written",
    )

    def __init__(
        self, reactor: IReactorTime, log: Logger, single: str, several: str, level: Any = LogLevel.info
    ) -> None:
        """Prepares a summary; nothing is written yet.

        Args:
            reactor: for the time.
            log: where the lines go; it must keep no connection alive, as a `ClassLogger` does.
            single: the format of a line that is written, with the fields of `add`.
            several: the format of a line that sums up: ``count`` lines in ``seconds``, and the fields of the last.
            level: the level of both.
        """
        self._reactor = reactor
        self._log = log
        self._single = single
        self._several = several
        self._level = level
        #: When the present second began, and how many lines were written in it; or when the present period began.
        self._began = float("-inf")
        self._written = 0
        #: How many lines were only counted, and the fields of the last.
        self._count = 0
        self._last: dict[str, Any] = {}
        #: The end of the period; None while lines are written.
        self._call: IDelayedCall | None = None
        self._closed = False

    def add(self, **fields: object) -> None:
        """Writes a line, or counts it.

        Args:
            fields: the values that the formats name; short texts and numbers, since those of the last line are kept.
        """
        if self._call is None:
            now = self._reactor.seconds()
            if not 0 <= now - self._began < 1:
                self._began, self._written = now, 0
            if self._written < _LINES_A_SECOND:
                self._written += 1
                self._log.emit(self._level, self._single, **fields)
                return
            if self._closed:
                return
            self._began = now
            self._call = self._reactor.callLater(_PERIOD_SECONDS, self._sumUp)
        self._count += 1
        self._last = fields

    def flush(self) -> None:
        """Sums up the lines counted so far, and leaves no delayed call."""
        if self._call is not None:
            self._call.cancel()
            self._sumUp()

    def close(self) -> None:
        """Does as `flush`; from now on lines above a few a second are left out, so that no delayed call comes back."""
        self._closed = True
        self.flush()

    def _sumUp(self) -> None:
        self._call = None
        now = self._reactor.seconds()
        seconds = max(1, round(now - self._began))
        count, self._count = self._count, 0
        last, self._last = self._last, {}
        # Lines are written again, the next few.
        self._began, self._written = now, 0
        self._log.emit(self._level, self._several, count=count, seconds=seconds, **last)
