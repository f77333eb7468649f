"""The access log of `twistd wsock`: one line for each connection, to a file or to standard output.

Rules:

* Lines are gathered, and written once a second, at 64 KiB, and at the end.
* Nothing here makes the server wait: what can't be written now waits for a later second, and what is too much then is
  lost and counted. Of trouble there is one line in the log when it begins, and one when it is over.
* A peer writes nothing but its own fields: what it says stands in quotes, escaped, wherever it could be taken for more.
"""

from __future__ import annotations

import os
import re
import select
import stat
import sys
import time
from contextlib import suppress
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from .. import AccessRecord

#: How long lines are gathered before they are written, in seconds.
_GATHER_SECONDS: Final = 1
#: With so many characters of lines gathered they are written at once.
_GATHER_CHARACTERS: Final = 2**16
#: How many bytes may wait for a file or a pipe that takes no more; later lines are lost.
_WAITING_BYTES: Final = 2**20
#: How long the end waits for a pipe that takes no more, in seconds.
_END_SECONDS: Final = 1
#: A longer path is cut off in its line, in characters.
_PATH_CHARACTERS: Final = 1000
#: Text that stands in a line as it is: visible ASCII without quotes and backslashes.
_PLAIN = re.compile(r"[!#-\[\]-~]+")


def _quoted(text: str) -> str:
    """The text in quotes, so that it ends where it ends, and is no line, no colour and no command of a terminal's."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode()


def _word(text: str | None) -> str:
    """The text as one word: ``-`` for no text, in quotes where it could be taken for more than one."""
    if not text:
        return "-"
    return text if _PLAIN.fullmatch(text) and text != "-" else _quoted(text)


def formatRecord(record: AccessRecord, timestamp: str) -> str:
    """Returns the line of a connection, without its end."""
    path = record.path
    if len(path) > _PATH_CHARACTERS:
        path = f"{path[:_PATH_CHARACTERS]}..."
    return (
        f"{timestamp} {_word(record.peer)} {_word(path)} {_word(str(record.status or ''))}"
        f" code={record.code or '-'} by={record.closedBy or '-'} seconds={record.seconds:.3f}"
        f" messages_in={record.messagesReceived} messages_out={record.messagesSent}"
        f" bytes_in={record.bytesReceived} bytes_out={record.bytesSent}"
        f" subprotocol={_word(record.subprotocol)} extension={_word(record.extension)} reason={_quoted(record.reason)}"
    )


class AccessLog:
    """An ``accessLog`` for a factory: writes each record as a line.

    Attributes:
        path: the file's; None for standard output.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorTime, path: str | None) -> None:
        """Makes an access log.

        Args:
            reactor: for the time between writes.
            path: of a file, to which lines are appended; None for standard output.

        Raises:
            OSError: the file can't be opened, or there is no standard output.
        """
        self.path = None if path is None else os.path.abspath(path)
        self._reactor = reactor
        #: The last byte that was written was not the end of a line.
        self._torn = False
        self._take(self._open())
        self._lines: list[str] = []
        self._characters = 0
        #: Bytes to be written that the file has not taken yet.
        self._waiting = b""
        #: How many lines are lost since trouble began; None without trouble.
        self._lost: int | None = None
        self._call: IDelayedCall | None = None
        #: The second of the last timestamp, and how it is written.
        self._second = -1
        self._stamp = ""
        self._closed = False

    def __call__(self, record: AccessRecord) -> None:
        """Takes a record; its line is written a second later at the latest."""
        if self._closed:
            return
        if len(self._waiting) + self._characters > _WAITING_BYTES:
            self._lose(1, "it takes no more")
            return
        line = formatRecord(record, self._timestamp())
        self._lines.append(line)
        self._characters += len(line) + 1
        if self._call is None:
            self._call = self._reactor.callLater(_GATHER_SECONDS, self._due)
        if self._characters >= _GATHER_CHARACTERS and not self._waiting:
            self.flush()

    def _timestamp(self) -> str:
        """The time, as RFC 3339 (a kind of ISO 8601) has it, in UTC and to the millisecond."""
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{int((now - second) * 1000):03d}Z"

    def flush(self) -> None:
        """Writes the gathered lines, as far as the file takes them."""
        if self._lines:
            # Where a line was cut off, the next write begins with its end.
            text = "\n" if self._torn and not self._waiting else ""
            text += "".join(f"{line}\n" for line in self._lines)
            self._waiting += text.encode("utf-8", "backslashreplace")
            self._lines = []
            self._characters = 0
        if not self._waiting:
            return
        try:
            self._write()
        except OSError as error:
            waiting, self._waiting = self._waiting, b""
            self._lose(waiting.count(b"\n"), error.strerror or str(error))
        else:
            if self._lost is not None and not self._waiting:
                lost, self._lost = self._lost, None
                self._log.info(
                    "the access log {name} is written again, without {lost:,} lines", name=self.name, lost=lost
                )

    def reopen(self) -> None:
        """Opens the file again, after somebody has moved it away; does nothing to standard output."""
        if self.path is None or self._closed:
            return
        self.flush()
        try:
            descriptor = self._open()
        except OSError as error:
            self._log.error("can't open the access log {name}: {why}", name=self.name, why=error.strerror)
            return
        with suppress(OSError):
            os.close(self._descriptor)
        self._torn = False
        self._take(descriptor)

    def close(self) -> None:
        """Writes the lines that wait, if the file takes them within a second; nothing is written after that."""
        if self._closed:
            return
        self._closed = True
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self.flush()
        end = time.monotonic() + _END_SECONDS
        while self._waiting and (left := end - time.monotonic()) > 0:
            self._isWritable(left)
            self.flush()
        if self._isOurs:
            with suppress(OSError):
                os.close(self._descriptor)

    @property
    def name(self) -> str:
        """How the log is called in messages."""
        return "on standard output" if self.path is None else self.path

    def _due(self) -> None:
        self._call = None
        self.flush()
        if self._waiting:
            self._call = self._reactor.callLater(_GATHER_SECONDS, self._due)

    def _lose(self, count: int, why: str) -> None:
        """Counts lines that are lost, and tells of the first."""
        if self._lost is None:
            self._lost = 0
            self._log.error("the access log {name} loses lines: {why}", name=self.name, why=why)
        self._lost += count

    def _open(self) -> int:
        if self.path is None:
            try:
                return sys.__stdout__.fileno()  # type: ignore[union-attr]
            except (AttributeError, ValueError):
                raise OSError("there is no standard output") from None
        # Neither to open a named pipe nor to write to one is to wait for who reads it.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
        return os.open(self.path, flags, 0o666)

    def _take(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._isOurs = self.path is not None
        if self.path is None and os.isatty(descriptor):
            # A terminal that is writable may still make a write wait (Control-S, a frozen window): it is
            # opened once more, since not to wait is a property of the open file.
            with suppress(OSError):
                flags = os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
                self._descriptor = descriptor = os.open(os.ttyname(descriptor), flags)
                self._isOurs = True
        #: Asked whether it can be written without waiting; None where that is always so, or can't be known.
        self._poll: select.poll | None = None
        self._portion = _WAITING_BYTES
        if hasattr(select, "poll") and not stat.S_ISREG(os.fstat(descriptor).st_mode):
            # Standard output is also others': to make it non-blocking would make their writes fail. A pipe that is
            # writable takes as much as this without waiting.
            self._portion = select.PIPE_BUF
            self._poll = select.poll()
            self._poll.register(descriptor, select.POLLOUT)

    def _isWritable(self, seconds: float = 0) -> bool:
        return self._poll is None or bool(self._poll.poll(seconds * 1000))

    def _write(self) -> None:
        position = 0
        try:
            while position < len(self._waiting) and self._isWritable():
                portion = self._waiting[position : position + self._portion]
                written = os.write(self._descriptor, portion)
                if written:
                    position += written
                    self._torn = portion[written - 1] != 0x0A
        except BlockingIOError:
            # Later.
            pass
        finally:
            self._waiting = self._waiting[position:]
