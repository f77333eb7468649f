"""How `twistd wsock` tells its user that it can't be started: one line on stderr, and exit status 1."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Final

from twisted.internet.error import CannotListenError
from twisted.logger import Logger

#: The most that is read of a daemon's complaint, in bytes; and what a pipe takes without waiting.
_LINE_BYTES: Final = 4096

_log = Logger()


class StartError(Exception):
    """The server can't be started; the message is for the one who started it."""


def say(message: str) -> None:
    """Tells the user, on stderr."""
    # twistd has put its log in the place of sys.stderr by the time that ports are opened.
    if sys.__stderr__ is not None:
        with suppress(OSError):
            # A terminal may have hung up.
            print(f"twistd wsock: {message}", file=sys.__stderr__, flush=True)


def explain(error: BaseException, description: str = "") -> str:
    """Says what is wrong in the words of the user, whatever Twisted or a plugin raised.

    Args:
        error: the exception.
        description: the endpoint that it is about.
    """
    if isinstance(error, CannotListenError):
        if not isinstance(error.socketError, BaseException):
            # A UNIX socket's lock, which another process holds: Twisted has a text in the place of an error.
            return "Address already in use"
        error = error.socketError
    if isinstance(error, OSError) and error.strerror:
        # Not of a lock: Twisted's are links to a number.
        name = error.filename if error.filename2 is None else error.filename2
        return f"{error.strerror}: {name}" if name else error.strerror
    if isinstance(error, ImportError) and error.name in ("OpenSSL", "service_identity"):
        return "TLS needs more packages: pip install 'wsock[tls]'"
    if isinstance(error, TypeError):
        # A parameter too many or too few: the name of a parser function says nothing to those who wrote it.
        return str(error).rpartition("() ")[2]
    if isinstance(error, LookupError) and description.startswith("systemd:"):
        return "systemd has passed no such socket on"
    if error.args and isinstance(error.args[0], list):
        # pyOpenSSL: one tuple for each library, function and reason.
        reasons = ", ".join(str(reason[-1]) for reason in error.args[0])
        return f"not a usable key or certificate ({reasons})"
    if isinstance(error, (ValueError, EnvironmentError)) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}"


class Start:
    """The start of the process, from when its command line was read until it serves.

    Until then an error that twistd or `twist` does not handle becomes one line. A daemon has no stderr of its own:
    it hands the line to the process that the user started, by a pipe, since twistd itself shows 100 bytes of it as a
    Python literal.
    """

    def __init__(self, command: Mapping[str, Any] | None) -> None:
        """Notes how the process was started.

        Args:
            command: the options of twistd or `twist`; None where neither has called.
        """
        self._isCommand = command is not None
        command = command or {}
        self._isDaemon = not command.get("nodaemon", True) and not command.get("debug") and hasattr(os, "fork")
        #: Whether there is a log elsewhere: in the foreground it is on the same terminal, or in the same journal.
        self._hasLog = (
            self._isDaemon
            or any(command.get(name) for name in ("syslog", "logger"))
            or command.get("logfile") not in (None, "", "-")
            or command.get("logFile") not in (None, sys.stdout, sys.stderr)
        )
        self._excepthook: Any = None
        self._pipe: int | None = None
        self._launcher = os.getpid()

    def begin(self) -> None:
        """Sees to it that errors are told as one line."""
        if not self._isCommand:
            return
        self._excepthook, sys.excepthook = sys.excepthook, self._uncaught
        if self._isDaemon:
            reading, self._pipe = os.pipe()
            _Launcher(reading, self._pipe)

    def done(self) -> None:
        """The server has been started."""
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
        if self._excepthook is not None:
            sys.excepthook, self._excepthook = self._excepthook, None

    def fail(self, message: str) -> StartError:
        """Returns the exception to raise while the server starts."""
        if self._hasLog:
            _log.error("{message}", message=message)
        return StartError(message)

    def failLater(self, message: str) -> None:
        """Says why the server ends, although it had begun to run. The caller stops the reactor."""
        if self._hasLog:
            _log.error("{message}", message=message)
        self._say(message)
        if self._isCommand:
            # twistd and twist know no other way to a status.
            atexit.register(_exitWithFailure)

    def _uncaught(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, StartError):
            self._say(str(error))
        elif isinstance(error, OSError):
            # twistd's own: a log file or a pidfile that can't be written, a folder that is not there.
            self._say(explain(error))
        else:
            self._excepthook(kind, error, trace)

    def _say(self, message: str) -> None:
        if self._pipe is None or os.getpid() == self._launcher:
            # Its folder and its log are opened before it is forked.
            say(message)
        else:
            os.write(self._pipe, message.encode(errors="replace")[:_LINE_BYTES])


class _Launcher:
    """The process that the user started, which twistd has fork the daemon and wait."""

    def __init__(self, reading: int, writing: int) -> None:
        self._pid = os.getpid()
        self._reading: int | None = reading
        self._writing = writing
        os.register_at_fork(after_in_parent=self._forked, after_in_child=self._close)

    def _forked(self) -> None:
        """Waits for the daemon's line, and ends with it; goes on where the daemon says nothing and serves."""
        if self._reading is None or os.getpid() != self._pid:
            return
        os.close(self._writing)
        message = b""
        while data := os.read(self._reading, _LINE_BYTES):
            message += data
        self._close()
        if message:
            say(message.decode(errors="replace"))
            os._exit(1)

    def _close(self) -> None:
        if self._reading is not None:
            os.close(self._reading)
            self._reading = None


def _exitWithFailure() -> None:
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        with suppress(AttributeError, OSError):
            stream.flush()  # type: ignore[union-attr]
    os._exit(1)
