"""Signs of life: the Pings of a connection, and what becomes of a peer that gives none.

Rules:

* Any byte that comes is life, and so is any byte that the peer took from a buffer that was full. From one that is not
  its system takes them, whatever has become of its program.
* After ``pingInterval`` without life there is a Ping; after ``pingTimeout`` more without, the connection is aborted.
* Exempt is the time in which the application did not want to be sent anything: it paused, or let its receive queue
  fill. Not while the transport takes no more: whether the peer takes bytes is seen without reading, and so two that
  wait for each other end.
* Our own Pings have a mark in their payload, by which their Pongs are told from those that the application asked for.
"""

from __future__ import annotations

import os
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.error import TimeoutError as TimedOut
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..errors import WebSocketEnded
from ..reasons import Result, failed
from ..sansio.constants import CloseCode
from ..settings import Settings
from .inbox import LOST, OPEN
from .sending import Sending
from .watch import Watch, sharedWatch

#: What a Ping of ours begins with; after it comes a number.
#: Both are ASCII: there are peers that take the payload of a Ping for text.
_MARK: Final = os.urandom(8).hex().encode()
#: How much longer a peer is waited for whose time was interrupted, in seconds; and how late a look is that tells of an
#: interruption of the reactor's.
_MOMENT: Final = 0.1


class _Question:
    """A Ping of ours that was not answered yet."""

    __slots__ = ("answer", "asked", "number", "timer")

    def __init__(self, number: int, asked: float) -> None:
        self.number = number
        self.asked = asked
        #: Who asked; None where it was the keepalive.
        self.answer: Deferred[float] | None = None
        self.timer: IDelayedCall | None = None


class Keepalive(Sending):
    """Asks a silent peer whether it is there.

    Attributes:
        latency: how long the last answer to a Ping of ours took, in seconds; None before there was one.
    """

    __slots__ = ("_asked", "_grace", "_number", "_overdue", "_questions", "_taken", "_wasFull", "_watch", "latency")

    def __init__(self, reactor: IReactorTime, settings: Settings) -> None:
        super().__init__(reactor, settings)
        self.latency: float | None = None
        #: What watches over this connection, while it does.
        self._watch: Watch | None = None
        #: When the peer was last asked for a sign of life, and has given none since; None while it was not.
        self._asked: float | None = None
        #: A look came due in a time that does not count.
        self._overdue = False
        #: Whether there was such a time since it was asked; None when that was made up for.
        self._grace: bool | None = False
        #: How many bytes the peer had taken at the last look, and whether there were more than it could be given.
        self._taken = 0
        self._wasFull = False
        #: The number of our last Ping.
        self._number = 0
        #: The Pings of ours that were not answered; None while there are none.
        self._questions: list[_Question] | None = None

    def measureLatency(self) -> Deferred[float]:
        """Sends a Ping and waits for its answer.

        Returns:
            a Deferred that fires with the seconds between the two. A Pong answers its Ping and all earlier ones
            (RFC 6455 section 5.5.3). It fails with ``twisted.internet.error.TimeoutError`` after ``pingTimeout``, and
            with what tells why, as `whenWritable` does, when the connection is lost, or is closing already. Cancelling
            it only stops it from waiting.
        """
        if self._phase == LOST:
            return failed(self._reason())
        if not self._connection.is_open:
            return failed(WebSocketEnded("the connection is closing"))
        question = self._ask()
        question.answer = Result(lambda answer: self._forgetQuestion(question))
        if self._settings.pingTimeout is not None:
            question.timer = self._reactor.callLater(self._settings.pingTimeout, self._notAnswered, question)
        return question.answer

    def _ask(self) -> _Question:
        self._number += 1
        question = _Question(self._number, self._reactor.seconds())
        if self._questions is None:
            self._questions = []
        self._questions.append(question)
        self.ping(_MARK + b"%d" % self._number)
        return question

    def _forgetQuestion(self, question: _Question) -> None:
        if question.timer is not None:
            question.timer.cancel()
            question.timer = None
        if self._questions is not None and question in self._questions:
            self._questions.remove(question)
            self._questions = self._questions or None

    def _notAnswered(self, question: _Question) -> None:
        question.timer = None
        self._forgetQuestion(question)
        answer, question.answer = question.answer, None
        if answer is not None:
            answer.errback(TimedOut("the Ping was not answered"))

    def _isOurs(self, payload: bytes) -> bool:
        return payload.startswith(_MARK)

    def _answered(self, payload: bytes) -> None:
        digits = payload[len(_MARK) :]
        # It is the peer's to say; by default it answers none.
        number = int(digits) if digits.isdigit() else 0
        now = self._reactor.seconds()
        # The first until there is none: who hears of one may cancel another.
        while self._questions is not None and self._questions[0].number <= number:
            question = self._questions[0]
            self._forgetQuestion(question)
            if question.number == number:
                self.latency = now - question.asked
            if question.answer is not None:
                question.answer.callback(now - question.asked)

    def _failQuestions(self) -> None:
        """The connection is lost: nothing will be answered."""
        while self._questions is not None:
            question = self._questions[0]
            self._forgetQuestion(question)
            if question.answer is not None:
                question.answer.errback(self._reason())

    # The watch

    def _startWatch(self) -> None:
        """The connection is open."""
        interval = self._settings.pingInterval
        if interval is not None:
            self._watch = sharedWatch(self._reactor)
            self._watch.add(self, self._reactor.seconds() + interval)

    def _stopWatch(self) -> None:
        """The connection is lost."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.remove()

    def check(self, now: float) -> float | None:
        """Looks for a sign of life; returns when to look again."""
        interval, timeout = self._settings.pingInterval, self._settings.pingTimeout
        if interval is None or self._phase != OPEN or self._isClosing():
            # From its Close on a connection is watched by other means.
            return None
        if self._outgoing.driver.isClosedByOthers(self._transport):
            # A policy around us, such as `TimeoutFactory`, has closed it: TLS waits for its producer, which we are.
            self.loseConnection(CloseCode.GOING_AWAY)
            return None
        # What nobody has told of is seen now.
        self._updateReading()
        if self._exemptSince is not None:
            # How long it is going to be is not known.
            self._overdue = True
            return None
        taken, full = self._outgoing.bytesTaken, self._outgoing.paused
        if self._asked is not None and taken > self._taken and (full or self._wasFull):
            self._life = now
        self._taken, self._wasFull = taken, full
        if timeout is not None and self._asked is not None and self._life < self._asked:
            deadline = self._asked + timeout
            if now < deadline:
                return deadline
            if self._grace or (self._grace is not None and now >= deadline + _MOMENT):
                # Reading was paused, or the reactor was held up. What came meanwhile lies in the system, and is to be
                # read first. Once: the next pause may be near.
                self._grace = None
                return now + _MOMENT
            self._peerGone(timeout)
            return None
        self._asked = None
        if now < self._life + interval:
            return self._life + interval
        self._asked, self._grace = now, False
        if not full:
            # Else it would wait behind what the peer does not take: whether it takes that is seen without.
            self._dropOldQuestion()
            self._ask()
        return now + (interval if timeout is None else timeout)

    def _dropOldQuestion(self) -> None:
        """A peer that lives and never answers a Ping is not asked for the earlier ones any more."""
        for question in list(self._questions or ()):
            if question.answer is None:
                self._forgetQuestion(question)

    def _exempted(self, seconds: float) -> None:
        super()._exempted(seconds)
        now = self._reactor.seconds()
        if self._asked is not None:
            self._asked = min(self._asked + seconds, now)
            if self._grace is not None:
                self._grace = True
        if self._overdue:
            self._overdue = False
            if self._watch is not None:
                self._watch.reschedule(self, now)

    def _peerGone(self, seconds: float) -> None:
        """The peer gave no sign of life."""
        raise NotImplementedError

    def loseConnection(self, code: int | None = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Closes the connection."""
        raise NotImplementedError
