"""Log lines that peers can cause: which are written, and which are summed up."""

import gc
import weakref
from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, LogLevel, formatEvent
from wire import logged

from wsock.log import ClassLogger
from wsock.logsummary import Summary


class Door:
    _log = ClassLogger()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def summary(clock: Clock) -> Summary:
    return Summary(
        clock, Door._log, "refused {who}: {why}", "refused {count:,} more in {seconds} s, the last {who}: {why}"
    )


@pytest.fixture
def events() -> Iterator[list[LogEvent]]:
    with logged() as events:
        yield events


def add(summary: Summary, count: int, first: int = 1) -> None:
    for number in range(first, first + count):
        summary.add(who=f"peer {number}", why="full")


def lines(events: list[LogEvent]) -> list[str]:
    said = [formatEvent(event) for event in events]
    events.clear()
    return said


def test_a_few_are_written(clock: Clock, summary: Summary, events: list[LogEvent]) -> None:
    add(summary, 5)
    assert [event["log_namespace"] for event in events] == [f"{__name__}.Door"] * 5
    assert {event["log_level"] for event in events} == {LogLevel.info}
    assert lines(events) == [f"refused peer {number}: full" for number in range(1, 6)]
    assert clock.getDelayedCalls() == []


def test_a_few_each_second_are_all_written(clock: Clock, summary: Summary, events: list[LogEvent]) -> None:
    for _ in range(100):
        add(summary, 5)
        clock.advance(1)
    assert len(events) == 500
    assert clock.getDelayedCalls() == []


def test_a_flood_is_summed_up(clock: Clock, summary: Summary, events: list[LogEvent]) -> None:
    add(summary, 1245)
    assert len(lines(events)) == 5
    clock.advance(9.5)
    # No second within the period gives lines of its own.
    add(summary, 10, first=2001)
    assert lines(events) == []
    clock.advance(0.5)
    assert lines(events) == ["refused 1,250 more in 10 s, the last peer 2010: full"]
    assert clock.getDelayedCalls() == []
    # After that the next few are written again.
    add(summary, 6)
    assert len(lines(events)) == 5
    clock.advance(10)
    assert lines(events) == ["refused 1 more in 10 s, the last peer 6: full"]
    assert clock.getDelayedCalls() == []


def test_flushing(clock: Clock, summary: Summary, events: list[LogEvent]) -> None:
    summary.flush()
    add(summary, 7)
    clock.advance(2.7)
    lines(events)
    summary.flush()
    assert lines(events) == ["refused 2 more in 3 s, the last peer 7: full"]
    assert clock.getDelayedCalls() == []
    summary.flush()
    assert lines(events) == []
    add(summary, 8)
    lines(events)
    summary.flush()
    assert lines(events) == ["refused 3 more in 1 s, the last peer 8: full"]


def test_a_period_begins_with_the_first_line_that_is_counted(
    clock: Clock, summary: Summary, events: list[LogEvent]
) -> None:
    add(summary, 5)
    clock.advance(0.9)
    add(summary, 1, first=6)
    clock.advance(0.8)
    lines(events)
    summary.flush()
    assert lines(events) == ["refused 1 more in 1 s, the last peer 6: full"]
    clock.advance(0.1)
    add(summary, 5)
    assert len(lines(events)) == 5
    # A second behind the flush the next few are written, and no earlier.
    clock.advance(0.6)
    add(summary, 1)
    assert lines(events) == []


def test_after_the_end(clock: Clock, summary: Summary, events: list[LogEvent]) -> None:
    add(summary, 6)
    lines(events)
    summary.close()
    assert lines(events) == ["refused 1 more in 1 s, the last peer 6: full"]
    add(summary, 100)
    assert len(lines(events)) == 5
    assert clock.getDelayedCalls() == []
    clock.advance(1)
    add(summary, 1)
    assert lines(events) == ["refused peer 1: full"]


def test_a_clock_that_is_set_back(clock: Clock, summary: Summary, events: list[LogEvent]) -> None:
    clock.advance(100)
    add(summary, 5)
    clock.rightNow = 0.0
    add(summary, 5)
    assert len(events) == 10


def test_the_level(clock: Clock, events: list[LogEvent]) -> None:
    summary = Summary(clock, Door._log, "{n}", "{count} {n}", level=LogLevel.warn)
    for number in range(6):
        summary.add(n=number)
    summary.flush()
    assert {event["log_level"] for event in events} == {LogLevel.warn}
    assert lines(events)[-1] == "1 5"


def test_what_was_summed_up_is_not_kept(clock: Clock) -> None:
    class Text(str):
        pass

    # Not the global log, which keeps some events.
    log = Logger("door", observer=lambda event: None)
    summary = Summary(clock, log, "{who} {why}", "{count} {who}")
    text = Text("peer")
    kept = weakref.ref(text)
    add(summary, 5)
    summary.add(who=text, why="full")
    del text
    assert kept() is not None
    clock.advance(10)
    gc.collect()
    assert kept() is None
