"""The timer, alone, on a clock."""

from typing import Any

import pytest
from twisted.internet.task import Clock

from wsock.wire.timer import Timer


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_it_calls_once_with_its_arguments(clock: Clock) -> None:
    called: list[Any] = []
    Timer(clock).start(2, lambda *arguments: called.append((clock.seconds(), arguments)), "one", 2)
    clock.pump([1, 0.5, 0.5, 5])
    assert called == [(2, ("one", 2))]


def test_a_later_start_takes_the_place_of_an_earlier_one(clock: Clock) -> None:
    called: list[str] = []
    timer = Timer(clock)
    timer.start(1, called.append, "first")
    timer.start(3, called.append, "second")
    clock.pump([1, 1])
    assert called == []
    clock.advance(1)
    assert called == ["second"]


def test_what_is_stopped_calls_nothing(clock: Clock) -> None:
    called: list[str] = []
    timer = Timer(clock)
    timer.start(1, called.append, "called")
    timer.stop()
    assert clock.getDelayedCalls() == []
    clock.advance(2)
    assert called == []


def test_it_may_be_stopped_whether_it_runs_or_not(clock: Clock) -> None:
    timer = Timer(clock)
    timer.stop()
    timer.start(1, timer.stop)
    clock.advance(1)
    timer.stop()
    timer.start(1, print)
    timer.stop()
    timer.stop()
    assert clock.getDelayedCalls() == []


def test_it_may_be_started_again_by_what_it_calls(clock: Clock) -> None:
    times: list[float] = []
    timer = Timer(clock)

    def again() -> None:
        times.append(clock.seconds())
        if len(times) < 3:
            timer.start(1, again)

    timer.start(1, again)
    clock.pump([1] * 5)
    assert times == [1, 2, 3]
