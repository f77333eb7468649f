"""The keepalive, alone: its connection and its outbox are plain objects, and the checks are asked for one by one."""

from typing import Any
from weakref import ref

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import TimeoutError as TimedOut
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from wsock.wire.keepalive import Keepalive, isOurPong


class Outbox:
    paused = False
    bytesTaken = 0


class Connection:
    """A connection that notes what its keepalive has it do.

    Attributes:
        pings: the payloads of the Pings.
        timedOut: the seconds for which the peer gave no sign of life.
        lastReceived: when bytes last came.
        checks: when the watch has called.
    """

    def __init__(self, interval: float | None = 10, timeout: float | None = 5) -> None:
        self.clock = Clock()
        self.outbox = Outbox()
        self.pings: list[bytes] = []
        self.timedOut: list[float] = []
        self.lastReceived = 0.0
        self.checks: list[float] = []
        self.keepalive = Keepalive(self, self.clock, self.outbox, interval, timeout)

    def ping(self, payload: bytes) -> None:
        self.pings.append(payload)

    def keepaliveTimedOut(self, seconds: float) -> None:
        self.timedOut.append(seconds)

    def checkLiveness(self, now: float) -> float | None:
        self.checks.append(now)
        return self.keepalive.check(now, self.lastReceived)

    def check(self, now: float) -> float | None:
        """Has it look at a time; returns when it wants to look again."""
        self.clock.advance(now - self.clock.seconds())
        return self.keepalive.check(now, self.lastReceived)

    def exempt(self, begin: float, end: float) -> None:
        """The application wants nothing to be read for some time, in the middle of which the watch may call."""
        self.clock.advance(begin - self.clock.seconds())
        self.keepalive.exempt(True, self.lastReceived, self)
        middle = (begin + end) // 2
        if middle > begin:
            self.clock.advance(middle - begin)
        self.clock.advance(end - self.clock.seconds())
        self.keepalive.exempt(False, self.lastReceived, self)


def outcome(deferred: Deferred[Any]) -> list[Any]:
    """The result of a Deferred, or the exception that it fails with, once it does."""
    seen: list[Any] = []
    deferred.addBoth(lambda result: seen.append(result.value if isinstance(result, Failure) else result))
    return seen


# A silent peer


def test_a_silent_peer_is_asked_and_then_given_up() -> None:
    connection = Connection()
    assert connection.check(9) == 10
    assert connection.pings == []
    assert connection.check(10) == 15
    assert len(connection.pings) == 1
    assert connection.check(14) == 15
    assert connection.timedOut == []
    assert connection.check(15) is None
    assert (len(connection.pings), connection.timedOut) == (1, [5])


@pytest.mark.parametrize("life", [10, 12])
def test_bytes_since_the_ping_are_life(life: float) -> None:
    connection = Connection()
    connection.check(10)
    connection.lastReceived = life
    assert connection.check(15) == life + 10
    assert len(connection.pings) == 1
    assert connection.check(life + 10) == life + 15
    assert len(connection.pings) == 2
    assert connection.timedOut == []


def test_bytes_before_the_ping_put_it_off() -> None:
    connection = Connection()
    connection.lastReceived = 4
    assert connection.check(10) == 14
    assert connection.pings == []


def test_without_a_timeout_it_asks_each_interval_and_gives_nobody_up() -> None:
    connection = Connection(timeout=None)
    assert [connection.check(now) for now in (10, 20, 30)] == [20, 30, 40]
    assert (len(connection.pings), connection.timedOut) == (3, [])


def test_without_an_interval_it_asks_nobody() -> None:
    connection = Connection(interval=None)
    connection.keepalive.start(connection)
    assert connection.clock.getDelayedCalls() == []
    assert connection.check(100) is None
    connection.keepalive.exempt(True, 0, connection)
    connection.keepalive.exempt(False, 0, connection)
    assert connection.pings == []


def test_each_ping_is_another_and_text() -> None:
    connection = Connection(timeout=None)
    connection.check(10)
    connection.check(20)
    outcome(connection.keepalive.measure())
    assert len(set(connection.pings)) == 3
    assert all(isOurPong(payload) and payload.isascii() and len(payload) <= 125 for payload in connection.pings)
    assert not isOurPong(b"")
    assert not isOurPong(connection.pings[0][:8])


def test_the_watch_checks_it_from_start_to_stop() -> None:
    connection = Connection()
    connection.keepalive.start(connection)
    connection.clock.advance(10)
    assert connection.checks == [10]
    connection.lastReceived = 11
    connection.clock.advance(5)
    connection.clock.advance(6)
    assert connection.checks == [10, 15, 21]
    connection.keepalive.stop(lambda: RuntimeError("lost"))
    assert connection.clock.getDelayedCalls() == []
    assert len(connection.pings) == 2


def test_what_has_stopped_is_not_checked_for_what_was_missed() -> None:
    connection = Connection()
    connection.keepalive.start(connection)
    connection.keepalive.exempt(True, 0, connection)
    connection.clock.advance(10)
    connection.keepalive.stop(lambda: RuntimeError("lost"))
    connection.keepalive.exempt(False, 0, connection)
    assert connection.clock.getDelayedCalls() == []


def test_what_has_stopped_lets_go_of_its_connection() -> None:
    connection = Connection()
    connection.keepalive.start(connection)
    keepalive, gone = connection.keepalive, [ref(connection), ref(connection.outbox)]
    keepalive.stop(lambda: RuntimeError("lost"))
    del connection
    assert [one() for one in gone] == [None, None]
    assert keepalive.latency is None


def test_what_never_started_may_be_stopped() -> None:
    connection = Connection()
    connection.keepalive.stop(lambda: RuntimeError("lost"))
    assert connection.clock.getDelayedCalls() == []


# A reactor that was held up


def test_a_check_that_comes_late_lets_what_came_be_read_first() -> None:
    connection = Connection()
    connection.check(10)
    assert connection.check(15 + 0.1) == pytest.approx(15.2)
    assert connection.timedOut == []
    connection.lastReceived = 15.15
    assert connection.check(15.2) == 25.15


def test_it_does_so_once() -> None:
    connection = Connection()
    connection.check(10)
    connection.check(20)
    assert connection.timedOut == []
    assert connection.check(30) is None
    assert connection.timedOut == [5]


def test_a_check_that_comes_a_moment_late_gives_up() -> None:
    connection = Connection()
    connection.check(10)
    assert connection.check(15.09) is None
    assert connection.timedOut == [5]


# Exempt time


def test_exempt_time_before_the_ping_puts_it_off() -> None:
    connection = Connection()
    connection.exempt(2, 4)
    assert connection.check(10) == 12
    assert connection.pings == []


def test_exempt_time_counts_from_when_bytes_last_came() -> None:
    connection = Connection()
    connection.lastReceived = 1
    connection.exempt(2, 4)
    assert connection.check(10) == 13


def test_bytes_that_come_in_exempt_time_are_no_life_to_come() -> None:
    connection = Connection()
    connection.lastReceived = 3
    connection.exempt(2, 4)
    assert connection.check(10) == 14


def test_in_exempt_time_nobody_is_asked() -> None:
    connection = Connection()
    connection.keepalive.exempt(True, 0, connection)
    assert connection.check(50) is None
    assert (connection.pings, connection.timedOut) == ([], [])


def test_a_check_that_was_missed_is_made_up_for() -> None:
    connection = Connection()
    connection.keepalive.start(connection)
    connection.exempt(5, 30)
    connection.clock.advance(0)
    assert connection.checks == [17, 30]
    connection.clock.advance(10)
    assert (connection.checks, len(connection.pings)) == ([17, 30, 40], 1)


def test_a_check_that_was_missed_is_made_up_for_once() -> None:
    connection = Connection()
    connection.keepalive.start(connection)
    connection.exempt(5, 30)
    connection.clock.advance(0)
    connection.exempt(31, 32)
    connection.clock.advance(0)
    assert connection.checks == [17, 30]


def test_no_check_was_missed_where_none_was_due() -> None:
    connection = Connection()
    connection.keepalive.start(connection)
    connection.exempt(5, 6)
    connection.clock.advance(0)
    assert connection.checks == []


def test_the_end_of_exempt_time_that_never_began_changes_nothing() -> None:
    connection = Connection()
    connection.clock.advance(4)
    connection.keepalive.exempt(False, 0, connection)
    assert connection.check(9) == 10


def test_exempt_time_after_the_ping_moves_the_deadline() -> None:
    connection = Connection()
    connection.check(10)
    connection.exempt(11, 13)
    assert connection.check(15) == 17
    assert connection.timedOut == []


def test_after_exempt_time_what_came_meanwhile_is_read_first() -> None:
    connection = Connection()
    connection.check(10)
    connection.exempt(11, 13)
    assert connection.check(17) == pytest.approx(17.1)
    assert connection.timedOut == []
    assert connection.check(17.1) is None
    assert connection.timedOut == [5]


def test_pauses_do_not_put_off_the_end_again_and_again() -> None:
    connection = Connection()
    connection.check(10)
    connection.exempt(11, 13)
    connection.check(17)
    connection.exempt(17.02, 17.04)
    assert connection.check(17.5) is None
    assert connection.timedOut == [5]


def test_after_a_later_ping_a_pause_counts_again() -> None:
    connection = Connection()
    connection.check(10)
    connection.exempt(11, 13)
    connection.check(17)
    connection.lastReceived = 17
    assert connection.check(27) == 32
    connection.exempt(28, 29)
    assert connection.check(33) == pytest.approx(33.1)


def test_a_pause_before_a_ping_is_none_after_it() -> None:
    connection = Connection()
    connection.check(10)
    connection.exempt(11, 13)
    connection.lastReceived = 14
    connection.check(24)
    assert connection.check(29) is None
    assert connection.timedOut == [5]


# A peer that takes what it is sent


def full() -> Connection:
    connection = Connection()
    connection.outbox.paused = True
    connection.outbox.bytesTaken = 100
    return connection


def test_a_full_outbox_needs_no_ping() -> None:
    connection = full()
    assert connection.check(10) == 15
    assert connection.pings == []


def test_one_that_takes_nothing_is_given_up() -> None:
    connection = full()
    connection.check(10)
    assert connection.check(15) is None
    assert connection.timedOut == [5]


@pytest.mark.parametrize("stillFull", [True, False])
def test_what_it_takes_from_a_full_outbox_is_life(stillFull: bool) -> None:
    connection = full()
    connection.check(10)
    connection.outbox.bytesTaken += 1
    connection.outbox.paused = stillFull
    assert connection.check(15) == 25
    assert connection.timedOut == []


def test_what_it_takes_from_one_that_is_full_by_now_is_life() -> None:
    connection = Connection()
    connection.check(10)
    connection.outbox.bytesTaken, connection.outbox.paused = 1, True
    assert connection.check(15) == 25


def test_what_its_system_takes_from_one_that_is_not_full_is_no_life() -> None:
    connection = Connection()
    connection.check(10)
    connection.outbox.bytesTaken = 100
    assert connection.check(15) is None
    assert connection.timedOut == [5]


def test_one_that_took_all_and_then_nothing_is_asked_again() -> None:
    connection = full()
    connection.check(10)
    connection.outbox.bytesTaken, connection.outbox.paused = 200, False
    assert connection.check(15) == 25
    assert connection.check(25) == 30
    assert len(connection.pings) == 1
    connection.outbox.bytesTaken = 300
    assert connection.check(30) is None


# Latency


def test_a_ping_is_measured() -> None:
    connection = Connection()
    seen = outcome(connection.keepalive.measure())
    assert connection.keepalive.latency is None
    connection.clock.advance(2)
    connection.keepalive.answered(connection.pings[0])
    assert seen == [2]
    assert connection.keepalive.latency == 2
    assert connection.clock.getDelayedCalls() == []


def test_a_ping_of_its_own_is_measured_too() -> None:
    connection = Connection()
    connection.check(10)
    connection.clock.advance(3)
    connection.keepalive.answered(connection.pings[0])
    assert connection.keepalive.latency == 3


def test_a_pong_answers_all_earlier_pings() -> None:
    connection = Connection()
    first = outcome(connection.keepalive.measure())
    connection.clock.advance(1)
    second = outcome(connection.keepalive.measure())
    connection.clock.advance(1)
    third = outcome(connection.keepalive.measure())
    connection.keepalive.answered(connection.pings[1])
    assert (first, second, third) == ([2], [1], [])
    assert connection.keepalive.latency == 1
    connection.keepalive.answered(connection.pings[2])
    assert third == [0]
    assert connection.keepalive.latency == 0


def test_an_answer_counts_once() -> None:
    connection = Connection()
    seen = outcome(connection.keepalive.measure())
    connection.clock.advance(1)
    connection.keepalive.answered(connection.pings[0])
    connection.clock.advance(1)
    connection.keepalive.answered(connection.pings[0])
    assert seen == [1]
    assert connection.keepalive.latency == 1


@pytest.mark.parametrize("number", [b"", b"x", b"-1", b"0", b" 1"])
def test_an_answer_to_no_ping(number: bytes) -> None:
    connection = Connection()
    seen = outcome(connection.keepalive.measure())
    prefix = connection.pings[0][:-1]
    connection.keepalive.answered(prefix + number)
    assert (seen, connection.keepalive.latency) == ([], None)


def test_an_answer_to_a_later_ping_than_there_was_is_no_measure_of_latency() -> None:
    connection = Connection()
    seen = outcome(connection.keepalive.measure())
    connection.clock.advance(1)
    connection.keepalive.answered(connection.pings[0] + b"0")
    assert (seen, connection.keepalive.latency) == ([1], None)


def test_an_answer_that_does_not_come_in_time() -> None:
    connection = Connection()
    seen = outcome(connection.keepalive.measure())
    connection.clock.advance(4)
    assert seen == []
    connection.clock.advance(1)
    [error] = seen
    assert isinstance(error, TimedOut)
    connection.keepalive.answered(connection.pings[0])
    assert (len(seen), connection.keepalive.latency) == (1, None)


def test_without_a_timeout_an_answer_has_any_time() -> None:
    connection = Connection(timeout=None)
    seen = outcome(connection.keepalive.measure())
    assert connection.clock.getDelayedCalls() == []
    connection.clock.advance(1000)
    connection.keepalive.answered(connection.pings[0])
    assert seen == [1000]


def test_a_connection_may_be_lost_in_the_ping_of_a_measurement() -> None:
    class Sudden(Connection):
        def ping(self, payload: bytes) -> None:
            self.keepalive.stop(lambda: ValueError("lost"))

    connection = Sudden()
    seen = outcome(connection.keepalive.measure())
    assert [str(error) for error in seen] == ["lost"]
    assert connection.clock.getDelayedCalls() == []


def test_a_measurement_that_is_cancelled() -> None:
    connection = Connection()
    measuring = connection.keepalive.measure()
    seen = outcome(measuring)
    measuring.cancel()
    assert isinstance(seen[0], CancelledError)
    assert connection.clock.getDelayedCalls() == []
    connection.clock.advance(1)
    connection.keepalive.answered(connection.pings[0])
    assert (len(seen), connection.keepalive.latency) == (1, None)


def test_one_that_hears_of_an_answer_cancels_another() -> None:
    connection = Connection()
    first, second = connection.keepalive.measure(), connection.keepalive.measure()
    seen = outcome(second)
    first.addCallback(lambda _: second.cancel())
    connection.keepalive.answered(connection.pings[1])
    assert isinstance(seen[0], CancelledError)
    assert len(seen) == 1


def test_a_measurement_waits_through_later_pings() -> None:
    connection = Connection(timeout=None)
    seen = outcome(connection.keepalive.measure())
    connection.check(10)
    connection.check(20)
    connection.keepalive.answered(connection.pings[-1])
    assert seen == [20]


def test_of_its_own_pings_only_the_last_waits_for_an_answer() -> None:
    """A peer may live, and never answer any."""
    connection = Connection(timeout=None)
    connection.check(10)
    connection.check(20)
    connection.keepalive.answered(connection.pings[0])
    assert connection.keepalive.latency is None
    connection.keepalive.answered(connection.pings[1])
    assert connection.keepalive.latency == 0


def test_when_the_connection_is_lost_each_fails_with_a_reason_of_its_own() -> None:
    connection = Connection()
    connection.check(10)
    results = [outcome(connection.keepalive.measure()) for _ in range(2)]
    connection.keepalive.stop(lambda: RuntimeError("lost"))
    assert [str(error) for [error] in results] == ["lost", "lost"]
    assert results[0][0] is not results[1][0]
    assert connection.clock.getDelayedCalls() == []


def test_one_that_hears_of_the_loss_cancels_another() -> None:
    connection = Connection()
    first, second = connection.keepalive.measure(), connection.keepalive.measure()
    seen = outcome(second)
    first.addErrback(lambda _: second.cancel())
    connection.keepalive.stop(lambda: RuntimeError("lost"))
    assert isinstance(seen[0], CancelledError)
    assert connection.clock.getDelayedCalls() == []
