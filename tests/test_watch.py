import gc
from asyncio import CancelledError as AsyncioCancelled
from collections.abc import Callable

import pytest
from twisted.internet.task import Clock
from wire import failures, logged

from wsock.wire.watch import Watch, sharedWatch


class Looked:
    def __init__(self, clock: Clock, again: Callable[[float], float | None]) -> None:
        self.clock = clock
        self.again = again
        self.times: list[float] = []

    def checkLiveness(self, now: float) -> float | None:
        assert now == self.clock.seconds()
        self.times.append(now)
        return self.again(now)


def test_it_looks_when_it_is_due() -> None:
    clock = Clock()
    watch = Watch(clock)
    late, early = Looked(clock, lambda now: None), Looked(clock, lambda now: now + 2)
    watch.add(late, 5)
    watch.add(early, 3)
    assert len(clock.getDelayedCalls()) == 1
    clock.pump([1] * 8)
    assert (early.times, late.times) == ([3, 5, 7], [5])
    watch.remove()
    assert len(clock.getDelayedCalls()) == 1
    watch.remove()
    assert clock.getDelayedCalls() == []


def test_one_that_is_due_earlier_is_not_late() -> None:
    clock = Clock()
    watch = Watch(clock)
    late, early = Looked(clock, lambda now: None), Looked(clock, lambda now: None)
    watch.add(late, 20)
    clock.advance(1)
    watch.add(early, 2)
    clock.advance(1)
    assert early.times == [2]


def test_one_that_is_due_soon_is_not_late() -> None:
    clock = Clock()
    watch = Watch(clock)
    soon = Looked(clock, lambda now: None)
    watch.add(soon, 0.5)
    clock.advance(0.5)
    assert soon.times == [0.5]


def test_those_that_have_left_are_not_looked_at_for_others() -> None:
    clock = Clock()
    watch = Watch(clock)
    left, stays = Looked(clock, lambda now: None), Looked(clock, lambda now: None)
    watch.add(left, 1)
    watch.remove()
    watch.add(stays, 5)
    clock.pump([1] * 5)
    assert (left.times, stays.times) == ([], [5])


def test_ten_thousand_cost_a_delayed_call_now_and_then() -> None:
    clock = Clock()
    made = 0
    call_later = clock.callLater

    def counted(*arguments: object, **named: object) -> object:
        nonlocal made
        made += 1
        return call_later(*arguments, **named)  # type: ignore[arg-type]

    clock.callLater = counted  # type: ignore[method-assign, assignment]
    watch = Watch(clock)
    all_of_them = [Looked(clock, lambda now: now + 20) for _ in range(10_000)]
    for number, one in enumerate(all_of_them):
        watch.add(one, 20 + number / 600)
    for _ in range(4000):
        clock.advance(0.01)
    assert all(one.times for one in all_of_them)
    assert made < 900


def test_one_that_is_due_at_once_again_does_not_stop_the_clock() -> None:
    clock = Clock()
    watch = Watch(clock)
    hasty = Looked(clock, lambda now: now)
    watch.add(hasty, 1)
    clock.advance(1)
    clock.pump([0.01] * 10)
    assert 2 <= len(hasty.times) <= 3


def test_it_keeps_nothing_alive() -> None:
    clock = Clock()
    watch = Watch(clock)
    gone, stays = Looked(clock, lambda now: None), Looked(clock, lambda now: None)
    times = gone.times
    watch.add(gone, 1)
    watch.add(stays, 1)
    del gone
    gc.collect()
    with logged() as events:
        clock.advance(1)
    assert events == []
    assert times == []
    assert stays.times == [1]


@pytest.mark.parametrize("error", [ZeroDivisionError, AsyncioCancelled])
def test_one_that_fails_does_not_hold_up_others(error: type[BaseException]) -> None:
    clock = Clock()
    fails = 1

    def fail(now: float) -> None:
        nonlocal fails
        if fails:
            fails -= 1
            raise error("look")

    watch = Watch(clock)
    failing, other = Looked(clock, fail), Looked(clock, lambda now: None)
    watch.add(failing, 1)
    watch.add(other, 1)
    with logged() as events:
        clock.advance(1)
    assert failures(events) == ["look"]
    assert other.times == [1]
    # It is looked at again, a little later.
    clock.advance(59)
    assert failing.times == [1]
    clock.advance(1)
    assert failing.times == [1, 61]


def test_again() -> None:
    clock = Clock()
    watch = Watch(clock)
    looked = Looked(clock, lambda now: None)
    watch.add(looked, 1)
    clock.advance(1)
    assert clock.getDelayedCalls() == []
    watch.reschedule(looked, 3)
    clock.pump([1, 1, 1])
    assert looked.times == [1, 3]
    watch.remove()


def test_one_for_each_reactor() -> None:
    first, second = Clock(), Clock()
    watch = sharedWatch(first)
    assert sharedWatch(first) is watch
    assert sharedWatch(second) is not watch


def test_those_that_are_gone_are_forgotten_before_they_are_due() -> None:
    clock = Clock()
    watch = Watch(clock)
    stays = Looked(clock, lambda now: None)
    watch.add(stays, 86400)
    for _ in range(2000):
        gone = Looked(clock, lambda now: None)
        watch.add(gone, 86400)
        del gone
        watch.remove()
    assert len(watch._due) < 200
    clock.advance(86400)
    assert stays.times == [86400]


def test_those_that_stay_are_looked_at_in_time_when_others_are_forgotten() -> None:
    clock = Clock()
    watch = Watch(clock)
    # Neither as they come nor the other way round; each third one stays.
    due = {number: 1 + number * 7919 % 1000 for number in range(1000)}
    all_of_them = {number: Looked(clock, lambda now: None) for number in due}
    for number, when in due.items():
        watch.add(all_of_them[number], when)
    for number in [number for number in due if number % 3]:
        del all_of_them[number]
        watch.remove()
    clock.pump([1] * 1000)
    assert {number: one.times for number, one in all_of_them.items()} == {
        number: [when] for number, when in due.items() if number % 3 == 0
    }
