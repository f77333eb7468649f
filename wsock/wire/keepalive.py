"""Keepalive (heartbeat): the Pings of a connection, and the end of one whose peer gives no sign of life.

Rules:

* Any byte that comes is life, and so is any byte that the peer took from a buffer that was full. From one that is not
  full its system takes them, whatever has become of its program.
* After ``pingInterval`` without life there is a Ping; after ``pingTimeout`` more without, the peer is gone.
* The time in which the application did not want to be sent anything is exempt: it paused, or let its receive queue
  fill. The time in which the transport takes no more is not: progress is visible in the bytes taken, without reading,
  and so two peers that wait for each other end.
* Our own Pings have a prefix in their payload, by which their Pongs are told from those that the application asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import TimeoutError as TimedOut
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..reasons import Result
from .watch import Watch, Watched, sharedWatch

#: The prefix of our own Pings; a number follows it. Both are ASCII: some peers decode the payload of a Ping as text.
_PING_PREFIX: Final = os.urandom(8).hex().encode()
#: Seconds of grace for a peer whose deadline passed while we did not read; also how late a check must run before we
#: conclude that the reactor was blocked.
_GRACE_SECONDS: Final = 0.1


def isOurPong(payload: bytes) -> bool:
    """Whether a Pong answers a Ping that the application did not send."""
    return payload.startswith(_PING_PREFIX)


class KeepaliveOwner(Protocol):
    """A connection, as its keepalive needs it."""

    def ping(self, payload: bytes) -> None:
        """Sends a Ping."""

    def keepaliveTimedOut(self, seconds: float) -> None:
        """The peer gave no sign of life for so many seconds after it was asked."""


class Acknowledged(Protocol):
    """The outbox, as the keepalive needs it."""

    paused: bool

    @property
    def bytesTaken(self) -> int:
        """How many bytes the peer has taken, as far as can be seen."""


class _PendingPing:
    """A Ping of ours that was not answered yet."""

    __slots__ = ("answer", "number", "sentAt", "timer")

    def __init__(self, number: int, sentAt: float, answer: Deferred[float] | None) -> None:
        self.number = number
        self.sentAt = sentAt
        #: The Deferred of `Keepalive.measure`; None where the keepalive itself asked.
        self.answer = answer
        self.timer: IDelayedCall | None = None


class Keepalive:
    """Asks a silent peer whether it is there, and measures how long its answers take.

    Attributes:
        latency: how long the last answer to a Ping of ours took, in seconds; None before there was one.
    """

    __slots__ = (
        "_checkMissed",
        "_exemptSince",
        "_grace",
        "_interval",
        "_lastActivity",
        "_number",
        "_outbox",
        "_owner",
        "_pending",
        "_pingSentAt",
        "_reactor",
        "_taken",
        "_timeout",
        "_wasFull",
        "_watch",
        "latency",
    )

    def __init__(
        self,
        owner: KeepaliveOwner,
        reactor: IReactorTime,
        outbox: Acknowledged,
        interval: float | None,
        timeout: float | None,
    ) -> None:
        self.latency: float | None = None
        self._owner = owner
        self._reactor = reactor
        self._outbox = outbox
        self._interval = interval
        self._timeout = timeout
        #: The watch that calls for a check, from `start` to `stop`.
        self._watch: Watch | None = None
        #: When the peer last took bytes from a full buffer; and the end of its last sign of life, moved on by exempt
        #: time.
        self._lastActivity = 0.0
        #: When the time began in which the application wants nothing to be read; None while it reads.
        self._exemptSince: float | None = None
        #: When the peer was last asked for a sign of life, and has given none since; None while it was not.
        self._pingSentAt: float | None = None
        #: A check came due in exempt time.
        self._checkMissed = False
        #: Whether there was exempt time since the peer was asked; None when that was made up for.
        self._grace: bool | None = False
        #: How many bytes the peer had taken at the last check, and whether there were more than it could be given.
        self._taken = 0
        self._wasFull = False
        #: The number of our last Ping.
        self._number = 0
        #: The Pings of ours that were not answered; None without any.
        self._pending: list[_PendingPing] | None = None

    # The watch over a silent peer

    def start(self, watched: Watched) -> None:
        """The connection is open: has it checked by the watch, if there is an interval."""
        if self._interval is not None:
            self._watch = sharedWatch(self._reactor)
            self._watch.add(watched, self._reactor.seconds() + self._interval)

    def stop(self, makeReason: Callable[[], BaseException]) -> None:
        """The connection is lost: nothing is checked any more, and nothing will be answered."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.remove()
        while self._pending is not None:
            ping = self._pending[0]
            self._forget(ping)
            if ping.answer is not None:
                ping.answer.errback(makeReason())
        # Its owner holds it.
        self._owner = self._outbox = None  # type: ignore[assignment]

    def exempt(self, isExempt: bool, lastReceived: float, watched: Watched) -> None:
        """The time in which the application wants nothing to be read begins or ends; for the peer it does not count.

        Args:
            isExempt: whether it begins.
            lastReceived: when bytes last came.
            watched: the connection, to be checked now if it should have been meanwhile.
        """
        now = self._reactor.seconds()
        if isExempt:
            self._exemptSince = now
            return
        if self._exemptSince is None:
            return
        seconds, self._exemptSince = now - self._exemptSince, None
        self._lastActivity = min(max(self._lastActivity, lastReceived) + seconds, now)
        if self._pingSentAt is not None:
            self._pingSentAt = min(self._pingSentAt + seconds, now)
            if self._grace is not None:
                self._grace = True
        if self._checkMissed:
            self._checkMissed = False
            if self._watch is not None:
                self._watch.reschedule(watched, now)

    def check(self, now: float, lastReceived: float) -> float | None:
        """Looks for a sign of life.

        Args:
            now: the time.
            lastReceived: when bytes last came.

        Returns:
            when to check again; None for not before `exempt` says so, or never.
        """
        interval, timeout = self._interval, self._timeout
        if interval is None:
            return None
        if self._exemptSince is not None:
            # The length of the pause is not known.
            self._checkMissed = True
            return None
        taken, full = self._outbox.bytesTaken, self._outbox.paused
        if self._pingSentAt is not None and taken > self._taken and (full or self._wasFull):
            self._lastActivity = now
        self._taken, self._wasFull = taken, full
        life = max(self._lastActivity, lastReceived)
        if timeout is not None and self._pingSentAt is not None and life < self._pingSentAt:
            deadline = self._pingSentAt + timeout
            if now < deadline:
                return deadline
            if self._grace or (self._grace is not None and now >= deadline + _GRACE_SECONDS):
                # Reading was paused, or the reactor was blocked: bytes that came meanwhile lie in the system, and are
                # to be read first. Once: the next pause may be near.
                self._grace = None
                return now + _GRACE_SECONDS
            self._owner.keepaliveTimedOut(timeout)
            return None
        self._pingSentAt = None
        if now < life + interval:
            return life + interval
        self._pingSentAt, self._grace = now, False
        if not full:
            # A full outbox needs no Ping: progress is visible in the bytes taken, and the Ping would queue behind them.
            self._forgetOwn()
            self._ask()
        return now + (interval if timeout is None else timeout)

    # Pings and their answers

    def measure(self) -> Deferred[float]:
        """Sends a Ping; returns a Deferred that fires with the seconds to its answer, or fails after the timeout."""
        answer: Deferred[float] = Result(lambda answer: self._forget(ping))
        ping = self._ask(answer)
        if self._timeout is not None and not answer.called:
            # A transport may be lost in the middle of a write.
            ping.timer = self._reactor.callLater(self._timeout, self._notAnswered, ping)
        return answer

    def answered(self, payload: bytes) -> None:
        """A Pong came that `isOurPong`. It answers its Ping and all earlier ones (RFC 6455 section 5.5.3)."""
        digits = payload[len(_PING_PREFIX) :]
        # The payload is the peer's to choose; by default it answers no Ping.
        number = int(digits) if digits.isdigit() else 0
        now = self._reactor.seconds()
        # Always the first of the list: a callback of one may cancel another.
        while self._pending is not None and self._pending[0].number <= number:
            ping = self._pending[0]
            self._forget(ping)
            if ping.number == number:
                self.latency = now - ping.sentAt
            if ping.answer is not None:
                ping.answer.callback(now - ping.sentAt)

    def _ask(self, answer: Deferred[float] | None = None) -> _PendingPing:
        self._number += 1
        ping = _PendingPing(self._number, self._reactor.seconds(), answer)
        if self._pending is None:
            self._pending = []
        self._pending.append(ping)
        self._owner.ping(_PING_PREFIX + b"%d" % self._number)
        return ping

    def _forget(self, ping: _PendingPing) -> None:
        """A Ping is answered, or waited for no more: each is forgotten once."""
        if ping.timer is not None:
            ping.timer.cancel()
        assert self._pending is not None
        self._pending.remove(ping)
        self._pending = self._pending or None

    def _forgetOwn(self) -> None:
        """Drops the earlier Pings of the keepalive: a peer may live, and never answer any."""
        for ping in list(self._pending or ()):
            if ping.answer is None:
                self._forget(ping)

    def _notAnswered(self, ping: _PendingPing) -> None:
        ping.timer = None
        self._forget(ping)
        assert ping.answer is not None
        ping.answer.errback(TimedOut("the Ping was not answered"))
