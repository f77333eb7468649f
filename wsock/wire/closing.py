"""The end of a connection: it comes in a bounded time, and our last bytes reach a peer that reads them.

Rules:

* The closing timer starts when our last bytes, a Close or a refusal, have left the queue, and runs until the loss.
* While they have not, the queue has to move on: a peer that takes none of them in ``pingTimeout`` is aborted.
* Closing a socket that has unread input makes the system send a reset, upon which the peer throws away what it has not
  read: it would see 1006 in place of our code. So a plain socket closes its sending half, and input is discarded until
  the peer's end; at most 16 MiB of it. TLS discards by itself until the peer's close_notify.
* Where the peer has ended TLS, the transport below gets rid of what its socket takes at once, and is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime

from ..errors import WebSocketClosed, WebSocketDropped, WebSocketEnded
from ..log import printable
from ..sansio.connection import Connection
from ..sansio.constants import CloseCode
from ..settings import Settings
from .outbox import Outbox
from .timer import Timer

#: How long a peer that has ended TLS may take nothing of what the transport still holds, in seconds.
DRAIN_SECONDS: Final = 0.1
#: How many bytes are read, after a refusal or our Close, for no one; a peer that sends more is aborted. Twice as
#: much as systems have under way by default.
MAX_DISCARDED_BYTES: Final = 2**24


class Closing:
    """How one connection ends, from our Close, the peer's, a fault or a refusal on.

    Attributes:
        flushed: whether our last bytes have left the queue.
        abortReason: why we gave the peer up, or None.
    """

    __slots__ = (
        "_abort",
        "_discarded",
        "_maxDiscarded",
        "_outbox",
        "_reactor",
        "_settings",
        "_tlsTimer",
        "_transport",
        "abortReason",
        "flushed",
        "timer",
    )

    def __init__(
        self, transport: Any, outbox: Outbox, reactor: IReactorTime, settings: Settings, abort: Callable[[], None]
    ) -> None:
        """Begins the end of a connection.

        Args:
            transport: Twisted's.
            outbox: where our last bytes wait.
            reactor: for the timers.
            settings: the limits in time.
            abort: drops the connection at once.
        """
        self.flushed = False
        self.abortReason: str | None = None
        self._transport = transport
        self._outbox = outbox
        self._reactor = reactor
        self._settings = settings
        self._abort = abort
        #: The closing timer, or before that the one that watches over the queue. On a transport without an abort, it
        #: waits for the loss.
        self.timer = Timer(reactor)
        #: For the transport whose TLS has ended; no other timer may take its place. None without one.
        self._tlsTimer: Timer | None = None
        self._discarded = 0
        self._maxDiscarded = max(MAX_DISCARDED_BYTES, settings.maxMessageSize or 0)

    def giveUp(self, reason: str) -> None:
        """Aborts the connection, because of the peer."""
        self.abortReason = reason
        self._abort()

    def stop(self) -> None:
        """The transport is lost or aborted: nothing is to be waited for."""
        self.timer.stop()
        if self._tlsTimer is not None:
            self._tlsTimer.stop()

    def lost(self) -> None:
        """The transport is lost: the two let go of each other."""
        self.stop()
        self._transport = self._outbox = self._abort = None  # type: ignore[assignment]

    # Our last bytes

    def whenSent(self, then: Callable[[], None]) -> None:
        """Calls ``then`` when our last bytes have left the queue; a peer that takes none of them is aborted."""
        if not self.flushed and not self._outbox.ended:
            # Where TLS has ended nothing more is taken, and another timer loses the transport.
            self._watchQueue()
        self._outbox.whenDrained(then)

    def _watchQueue(self) -> None:
        seconds = self._settings.pingTimeout
        if seconds is None:
            # Silent peers are not dropped; but a closing handshake has its time.
            seconds = self._settings.closeTimeout
        if seconds is not None:
            self.timer.start(seconds, self._checkQueue, self._outbox.bytesInFlight)

    def _checkQueue(self, untaken: int) -> None:
        if self._outbox.bytesInFlight < untaken:
            self._watchQueue()
        else:
            self._abort()

    def startTimer(self) -> None:
        """From here on the connection has ``closeTimeout`` to be lost, whatever the peer and TLS wait for."""
        if self.flushed:
            return
        self.flushed = True
        self.timer.stop()
        if self._settings.closeTimeout is not None:
            self.timer.start(self._settings.closeTimeout, self._abort)

    def hurry(self, seconds: float) -> None:
        """The connection has only so many seconds to be lost: there is nothing to wait for but TLS's farewell."""
        limit = self._settings.closeTimeout
        if limit is None or limit > seconds:
            self.timer.start(seconds, self._abort)

    def endGently(self) -> None:
        """Ends a connection whose peer may still be sending, when our last bytes have left."""
        canHalfClose = self._outbox.driver.canHalfClose(self._transport)
        self.whenSent(self._halfClose if canHalfClose else self.loseTransport)

    def _halfClose(self) -> None:
        self.startTimer()
        driver, transport = self._outbox.driver, self._transport
        # It writes what is left, and that may lose the transport.
        self._outbox.unregister()
        driver.halfClose(transport)

    def loseTransport(self) -> None:
        """Ends a connection whose peer sends nothing more."""
        self.startTimer()
        driver, transport = self._outbox.driver, self._transport
        self._outbox.unregister()
        driver.close(transport)

    # Input to be discarded

    def dataReceived(self, data: bytes) -> None:
        """Discards bytes; a peer that floods us is aborted."""
        self.discard(len(data))

    def discard(self, size: int) -> None:
        """So many bytes came that are discarded; a peer that floods us is aborted."""
        self._discarded += size
        if self._discarded > self._maxDiscarded:
            self._abort()

    def delivered(self) -> None:
        """A message came that is delivered."""
        self._discarded = 0

    # The end of TLS

    def tlsEnded(self) -> None:
        """TLS has ended, by the peer or by an error: what is unsent can't be sent any more, and nothing will come.

        TLS has the transport below close, which waits for its producer: ours. This is called in the middle of
        TLS's own work, so that all but the facts waits for the reactor's next turn.
        """
        self._outbox.end()
        # First, since the transport may be lost at once when its producer leaves.
        self._tlsTimer = Timer(self._reactor)
        self._tlsTimer.start(0, self._loseBelow)
        if self.flushed:
            # Nothing waits here for the transport: it may close as soon as it has written what it holds.
            self._outbox.unregister()

    def _loseBelow(self) -> None:
        assert self._tlsTimer is not None
        seconds = self._settings.closeTimeout
        canDrain = self._outbox.driver.canDrain(self._transport)
        self._outbox.abort()
        if seconds is not None and not canDrain:
            self._tlsTimer.start(seconds, self._abort)
        # The transport below closes now, once it has written what it holds; one that can't be drained perhaps at once.
        self._outbox.unregister()
        if canDrain:
            self._drainBelow(None, None if seconds is None else self._reactor.seconds() + seconds)

    def _drainBelow(self, before: int | None, deadline: float | None) -> None:
        """Gives a peer that still reads the last whole messages, and waits for no other."""
        assert self._tlsTimer is not None
        driver = self._outbox.driver
        left = driver.drain(self._transport)
        late = deadline is not None and self._reactor.seconds() >= deadline
        if left and not late and (before is None or left < before):
            self._tlsTimer.start(DRAIN_SECONDS, self._drainBelow, left, deadline)
        else:
            driver.loseDrained(self._transport)


def makeLossReason(core: Connection, closing: Closing | None) -> WebSocketEnded:
    """Makes the exception that says how a connection ended.

    Args:
        core: for the Closes that were exchanged, and the peer's fault.
        closing: whether our Close has left, and why we gave the peer up; None where the end came without any.
    """
    received, fault = core.close_received, core.failed
    flushed = closing is not None and closing.flushed
    if received is not None and flushed:
        told = f"closed with {received[0]} {printable(received[1])}".rstrip()
        first = received if core.peer_closed_first else core.close_sent
        return WebSocketClosed(told, received, core.close_sent, *(first or ()))
    # A Close that did not get out was not sent.
    sent = core.close_sent if flushed else None
    if fault is not None:
        return WebSocketDropped(str(fault), received, sent, fault.code)
    if closing is not None and closing.abortReason is not None:
        # A Close written before an abort would not arrive: the code is for our own side.
        return WebSocketDropped(closing.abortReason, received, sent, CloseCode.INTERNAL_ERROR)
    side = "the peer's" if received is None else "our"
    return WebSocketDropped(f"the connection was lost before {side} Close", received, sent)
