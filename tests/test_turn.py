"""The turns of a reactor, alone: the things that wait for the end of one only note that it has come."""

import gc
import weakref

from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher

from wsock.wire.turn import sharedTurn


class Waiting:
    """Something that waits for the end of a turn."""

    def __init__(self, told: list[str], name: str) -> None:
        self.told, self.name = told, name

    def flush(self) -> None:
        self.told.append(self.name)


class Failing(Waiting):
    def flush(self) -> None:
        raise ZeroDivisionError


def test_all_that_wait_are_flushed_at_the_end_of_the_turn_in_their_order() -> None:
    clock, told = Clock(), list[str]()
    turn = sharedTurn(clock)
    number = turn.begin()
    for name in ("one", "two"):
        turn.wait(Waiting(told, name))
    assert turn.begin() == turn.number == number
    assert len(clock.getDelayedCalls()) == 1
    assert told == []
    clock.advance(0)
    assert told == ["one", "two"]
    assert (turn.number, turn.waiting, clock.getDelayedCalls()) == (number + 1, {}, [])


def test_the_first_send_of_a_turn_needs_no_delayed_call() -> None:
    clock = Clock()
    turn = sharedTurn(clock)
    for _ in range(2):
        number = turn.begin()
        assert clock.getDelayedCalls() == []
        assert turn.begin() == number
        assert len(clock.getDelayedCalls()) == 1
        clock.advance(0)
        assert turn.number == number + 1


def test_one_that_waits_has_its_turn_ended_though_it_is_the_first() -> None:
    clock, told = Clock(), list[str]()
    sharedTurn(clock).wait(Waiting(told, "one"))
    clock.advance(0)
    assert told == ["one"]


def test_one_that_waits_again_is_flushed_in_the_next_turn() -> None:
    clock, told = Clock(), list[str]()
    turn = sharedTurn(clock)

    class Again(Waiting):
        def flush(self) -> None:
            super().flush()
            numbers.append(turn.number)
            if len(told) == 1:
                turn.wait(self)

    numbers = [turn.begin()]
    turn.wait(Again(told, "again"))
    clock.advance(0)
    assert told == ["again", "again"]
    assert numbers == [numbers[0], numbers[0] + 1, numbers[0] + 2]


def test_the_end_of_a_batch_is_the_end_of_a_turn() -> None:
    clock, told = Clock(), list[str]()
    turn = sharedTurn(clock)
    turn.beginBatch()
    number = turn.begin()
    assert turn.begin() == number
    turn.wait(Waiting(told, "one"))
    turn.wait(Waiting(told, "two"))
    assert clock.getDelayedCalls() == [], "the batch ends in any case"
    assert told == []
    turn.endBatch()
    assert (told, turn.number) == (["one", "two"], number + 1)
    turn.begin()
    assert clock.getDelayedCalls() == []
    turn.begin()
    assert len(clock.getDelayedCalls()) == 1


def test_a_batch_within_a_batch() -> None:
    clock, told = Clock(), list[str]()
    turn = sharedTurn(clock)
    turn.beginBatch()
    turn.wait(Waiting(told, "outer"))
    turn.beginBatch()
    turn.wait(Waiting(told, "inner"))
    turn.endBatch()
    assert told == ["outer", "inner"]
    turn.wait(Waiting(told, "last"))
    assert clock.getDelayedCalls() == []
    turn.endBatch()
    assert told == ["outer", "inner", "last"]


def test_a_batch_has_one_time() -> None:
    clock = Clock()
    clock.advance(5)
    turn = sharedTurn(clock)
    assert turn.now is None
    turn.beginBatch()
    clock.advance(1)
    assert turn.now == 5
    turn.beginBatch()
    assert turn.now == 6
    turn.endBatch()
    assert turn.now is None, "an inner batch may have taken long"
    turn.endBatch()
    assert turn.now is None


def test_one_that_leaves_takes_nobodys_turn_along() -> None:
    clock, told = Clock(), list[str]()
    turn = sharedTurn(clock)
    gone, other = Waiting(told, "gone"), Waiting(told, "other")
    turn.wait(gone)
    turn.wait(other)
    turn.remove(gone)
    assert len(clock.getDelayedCalls()) == 1
    clock.advance(0)
    assert told == ["other"]


def test_the_last_one_that_leaves_ends_the_turn() -> None:
    clock, told = Clock(), list[str]()
    turn = sharedTurn(clock)
    gone = Waiting(told, "gone")
    number = turn.begin()
    turn.wait(gone)
    turn.remove(gone)
    assert (turn.number, clock.getDelayedCalls()) == (number + 1, [])
    turn.remove(gone)
    assert turn.number == number + 1, "there is no turn to end"
    turn.wait(Waiting(told, "next"))
    clock.advance(0)
    assert told == ["next"]


def test_one_that_fails_does_not_hold_up_others() -> None:
    clock, told = Clock(), list[str]()
    turn = sharedTurn(clock)
    turn.wait(Failing(told, "failing"))
    turn.wait(Waiting(told, "other"))
    logged: list[LogEvent] = []
    globalLogPublisher.addObserver(logged.append)
    try:
        clock.advance(0)
    finally:
        globalLogPublisher.removeObserver(logged.append)
    assert told == ["other"]
    assert [event["log_failure"].type for event in logged] == [ZeroDivisionError]


def test_a_turn_writes_at_most_a_mebibyte_of_large_pieces_through() -> None:
    clock = Clock()
    turn = sharedTurn(clock)
    assert turn.allows(2**14 - 1)
    assert clock.getDelayedCalls() == [], "small pieces do not count"
    assert turn.allows(2**20 - 2**14)
    assert turn.allows(2**14)
    assert not turn.allows(2**14)
    assert turn.allows(2**14 - 1)
    clock.advance(0)
    assert turn.allows(2**20)
    assert not turn.allows(2**20)
    turn.remove(Waiting([], "nobody"))
    assert turn.allows(2**20), "an ended turn is over"
    clock.advance(0)
    assert turn.allows(2**20), "a turn ends, though nothing else is sent in it"
    clock.advance(0)
    assert not turn.allows(2**20 + 1)


def test_each_reactor_has_its_turn_and_is_let_go() -> None:
    clocks = [Clock(), Clock()]
    turns = [sharedTurn(clock) for clock in clocks]
    assert sharedTurn(clocks[0]) is turns[0] is not turns[1]
    numbers = [turn.begin() + 0 * turn.begin() for turn in turns]
    clocks[0].advance(0)
    assert [turn.number - number for turn, number in zip(turns, numbers, strict=True)] == [1, 0]
    turns[1].remove(Waiting([], "nobody"))
    gone = [weakref.ref(clock) for clock in clocks]
    del clocks, turns
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
