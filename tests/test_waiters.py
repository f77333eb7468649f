"""Deferreds that wait for the same thing, alone."""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from wsock.wire.waiters import Waiters


def seen(*deferreds: Deferred[Any]) -> list[Any]:
    """The results of some Deferreds, in that order, and the exceptions that they fail with."""
    results: list[Any] = []
    for deferred in deferreds:
        deferred.addBoth(lambda result: results.append(result.value if isinstance(result, Failure) else result))
    return results


def test_they_fire_in_the_order_in_which_they_were_asked_for() -> None:
    waiters = Waiters[str]()
    first, second, third = waiters.add(), waiters.add(), waiters.add()
    order = seen(third, first, second)
    assert len(waiters) == 3
    waiters.fireFirst("1")
    assert order == ["1"]
    assert len(waiters) == 2
    waiters.fire("23")
    assert order == ["1", "23", "23"]
    assert [deferred.called for deferred in (first, second, third)] == [True] * 3
    assert not waiters


def test_those_that_are_told_nothing_fire_with_none() -> None:
    waiters = Waiters[None]()
    order = seen(waiters.add(), waiters.add())
    waiters.fireFirst()
    waiters.fire()
    assert order == [None, None]


def test_each_fails_with_an_exception_of_its_own() -> None:
    waiters = Waiters[None]()
    order = seen(waiters.add(), waiters.add())
    waiters.fail(lambda: RuntimeError("lost"))
    assert [str(error) for error in order] == ["lost", "lost"]
    assert order[0] is not order[1]
    assert not waiters


def test_one_that_is_cancelled_is_taken_out() -> None:
    waiters = Waiters[str]()
    first, second = waiters.add(), waiters.add()
    order = seen(first, second)
    first.cancel()
    assert len(waiters) == 1
    waiters.fireFirst("fired")
    assert isinstance(order[0], CancelledError)
    assert order[1:] == ["fired"]


def test_one_that_has_fired_may_be_cancelled() -> None:
    waiters = Waiters[str]()
    first, second = waiters.add(), waiters.add()
    order = seen(first, second)
    waiters.fireFirst("fired")
    first.cancel()
    waiters.fireFirst("too")
    second.cancel()
    assert order == ["fired", "too"]


def test_one_whose_callback_cancels_another() -> None:
    waiters = Waiters[str]()
    first, second, third = waiters.add(), waiters.add(), waiters.add()
    order = seen(second)
    first.addCallback(lambda _: second.cancel())
    order += seen(third)
    waiters.fire("fired")
    assert len(order) == 1
    assert isinstance(order[0], CancelledError)
    assert third.called


def test_one_that_is_cancelled_while_all_fail() -> None:
    waiters = Waiters[str]()
    first, second = waiters.add(), waiters.add()
    order = seen(second)
    first.addErrback(lambda _: second.cancel())
    waiters.fail(lambda: RuntimeError("lost"))
    assert isinstance(order[0], CancelledError)


def test_one_that_is_asked_for_while_all_fire_fires_too() -> None:
    waiters = Waiters[str]()
    late: list[Any] = []
    waiters.add().addCallback(lambda _: late.append(seen(waiters.add())))
    waiters.fire("fired")
    assert late == [["fired"]]


def test_one_that_is_cancelled_in_its_own_callback() -> None:
    waiters = Waiters[str]()
    only = waiters.add()
    only.addCallback(lambda _: only.cancel())
    waiters.fire("fired")
    assert not waiters
