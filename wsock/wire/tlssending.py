"""The sending half of our own TLS: plain text that waits, and its records, at the pace of the socket.

* Where the transport below is a stock one its socket is tried at once; it holds the rest of one portion at the most.
* All that its socket does not take at once waits as plain text.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final, Protocol

from .tlsrecords import PIECE_BYTES, Records
from .transports import driverOf, isStock, mayTrySocket, trySocket

#: So many bytes are encrypted before the socket is tried, and so many at the most are held below.
PORTION_BYTES: Final = 2**17


class SenderOwner(Protocol):
    """The layer, as its sending half needs it."""

    def senderChanged(self) -> None:
        """It takes more now, or does not any more."""

    def senderFailed(self) -> None:
        """Nothing can be encrypted any more, and the reader may not find that out."""


class Sender:
    """The bytes that one connection sends over TLS.

    Attributes:
        size: how many bytes of plain text wait.
        writable: whether more would leave at once.
    """

    __slots__ = ("_below", "_blocked", "_isRegistered", "_isStock", "_owner", "_records", "_waiting", "size")

    def __init__(self, below: Any, records: Records, owner: SenderOwner) -> None:
        """Becomes the producer of the transport below.

        Args:
            below: the transport.
            records: encrypts.
            owner: the layer; until `letGo` the two hold each other.
        """
        self._below = below
        self._records = records
        self._owner: SenderOwner | None = owner
        #: Whether the transport below is one whose socket may be tried.
        self._isStock = isStock(below)
        #: The transport below takes no more for now.
        self._blocked = False
        #: Plain text that waits; None without any.
        self._waiting: deque[bytes | memoryview] | None = None
        self.size = 0
        self._isRegistered = True
        below.registerProducer(self, True)

    @property
    def writable(self) -> bool:
        """Whether more would leave at once."""
        return not self._blocked and self._waiting is None

    @property
    def isEmpty(self) -> bool:
        """Whether all was encrypted."""
        return self._waiting is None

    def write(self, data: bytes) -> None:
        """Sends plain text, now or later."""
        records = self._records
        if not self._blocked and self._waiting is None and records.isShaken and 0 < len(data) <= PIECE_BYTES:
            # The usual case.
            self.send(records.encrypt(data))
            if records.fault is not None and self._owner is not None:
                self._owner.senderFailed()
        elif data:
            if self._waiting is None:
                self._waiting = deque((data,))
            else:
                self._waiting.append(data)
            self.size += len(data)
            self.proceed()

    def proceed(self) -> None:
        """Encrypts what waits, while the socket takes it."""
        while self._waiting is not None and not self._blocked and self._records.isShaken:
            self._sendPortion(self._waiting)
        if self._owner is not None:
            self._owner.senderChanged()

    def finish(self) -> None:
        """Encrypts all that waits: the transport below is to hold it."""
        while self._waiting is not None and self._records.isShaken:
            self._sendPortion(self._waiting)

    def lose(self) -> None:
        """Nothing is sent any more."""
        self.letGo()
        self._waiting = None
        self.size = 0
        # An SSL object is large, and a program may keep its connection's object.
        self._records = None  # type: ignore[assignment]

    def letGo(self) -> None:
        """The transport below is to close, or is lost: the three let go of each other."""
        self._owner = None
        if self._isRegistered:
            self._isRegistered = False
            self._below.unregisterProducer()

    def _sendPortion(self, waiting: deque[bytes | memoryview]) -> None:
        """Sends the first of what waits, in whole records where there is enough."""
        records: list[bytes | memoryview] = []
        left = PORTION_BYTES
        while left and waiting:
            first = waiting.popleft()
            view = memoryview(first)[:left]
            if len(view) < len(first):
                waiting.appendleft(memoryview(first)[left:])
            left -= len(view)
            encrypt = self._records.encrypt
            records += [encrypt(view[start : start + PIECE_BYTES]) for start in range(0, len(view), PIECE_BYTES)]
        self.size -= PORTION_BYTES - left
        if not waiting:
            self._waiting = None
        if len(records) == 1:
            self.send(records[0])  # type: ignore[arg-type]
        else:
            self._sendAll(records)
        if self._records.fault is not None and self._owner is not None:
            self._owner.senderFailed()

    def send(self, data: bytes) -> None:
        """Sends bytes of TLS: the socket gets at once what it takes."""
        below = self._below
        if not data:
            return
        if not (self._isStock and mayTrySocket(below)):
            driverOf(below).write(below, data)
            return
        try:
            sent: int = below.socket.send(data)
        except OSError:
            # Full, or lost: the transport below meets the same error, and not in our caller's stack.
            sent = 0
        if sent != len(data):
            self._hold(data[sent:])

    def _sendAll(self, records: list[bytes | memoryview]) -> None:
        below = self._below
        if self._isStock and mayTrySocket(below):
            try:
                sent, _ = trySocket(below, records)
            except OSError:
                sent = 0
            if sent < sum(map(len, records)):
                self._hold(b"".join(records)[sent:])
        else:
            driverOf(below).write(below, b"".join(records))

    def _hold(self, data: bytes) -> None:
        """Has the transport below hold bytes that its socket did not take, and say when it has sent them."""
        below = self._below
        below.write(data)
        if not self._blocked:
            below.producerPaused = True
            self.pauseProducing()

    # IPushProducer, for the transport below

    def pauseProducing(self) -> None:
        """The transport below takes no more for now."""
        self._blocked = True
        if self._owner is not None:
            self._owner.senderChanged()

    def resumeProducing(self) -> None:
        """The transport below has sent all that it held."""
        self._blocked = False
        self.proceed()

    def stopProducing(self) -> None:
        """The transport below is lost; the layer is told so, too, and acts."""
