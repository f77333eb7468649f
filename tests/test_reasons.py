"""Exceptions for those who wait."""

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from wsock import WebSocketClosed, WebSocketDropped, WebSocketProtocol, WebSocketServerFactory
from wsock.reasons import Result, again, failed
from wsock.testing import MemoryAgent


class Particular(Exception):
    """Its constructor takes other arguments than it remembers."""

    def __init__(self, number: int, *, why: str) -> None:
        super().__init__(f"{number}: {why}")
        self.number = number


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_it_says_the_same_and_has_been_nowhere() -> None:
    error = raised(WebSocketDropped("message", (1000, "bye"), None, 1002))
    error.__cause__ = KeyError("cause")
    twin = again(error)
    assert type(twin) is WebSocketDropped
    assert twin is not error
    assert (str(twin), twin.closeReceived, twin.closeSent, twin.code) == ("message", (1000, "bye"), None, 1002)
    assert twin.__cause__ is error.__cause__
    assert twin.__traceback__ is None
    assert error.__traceback__ is not None


def test_an_exception_that_can_not_be_copied() -> None:
    twin = again(raised(Particular(7, why="so")))
    assert type(twin) is Particular
    assert (str(twin), twin.number) == ("7: so", 7)
    assert twin.__traceback__ is None


def test_the_cause_of_an_applications_exception() -> None:
    error = Particular(7, why="so")
    error.__cause__ = raised(KeyError("cause"))
    cause = again(error).__cause__
    assert repr(cause) == "KeyError('cause')"
    assert cause is not None
    assert cause.__traceback__ is None


def test_it_fails_each_time_it_is_awaited() -> None:
    told = []

    async def wait(result: Deferred[None]) -> None:
        for _ in range(2):
            try:
                await result
            except WebSocketClosed as error:
                told.append(error)

    Deferred.fromCoroutine(wait(failed(WebSocketClosed("over"))))
    assert [str(error) for error in told] == ["over", "over"]
    assert told[0] is not told[1]


@pytest.mark.parametrize("late", [False, True])
def test_it_succeeds(late: bool) -> None:
    result: Result[int] = Result()
    told = []

    async def wait() -> None:
        told.append(await result)

    if not late:
        result.callback(7)
    Deferred.fromCoroutine(wait())
    if late:
        result.callback(7)
    assert told == [7]


def test_async_with_tells_that_await_is_missing() -> None:
    """The libraries ``websockets`` and ``aiohttp`` have ``async with connect(...)``."""

    agent = MemoryAgent(WebSocketServerFactory(lambda request: WebSocketProtocol()))

    async def enter() -> None:
        async with agent.connect():  # type: ignore[attr-defined]
            raise AssertionError("entered")

    failures: list[Failure] = []
    Deferred.fromCoroutine(enter()).addErrback(failures.append)
    assert failures[0].type is TypeError
    assert "`async with await connect(...) as stream:`" in failures[0].getErrorMessage()


def test_it_waits_for_what_it_was_chained_to() -> None:
    result: Result[int] = Result()
    inner: Deferred[int] = Deferred()
    told = []

    async def wait() -> None:
        told.append(await result)

    result.addCallback(lambda _: inner)
    result.callback(0)
    Deferred.fromCoroutine(wait())
    inner.callback(7)
    assert told == [7]


def test_what_its_errback_returns_is_its_result() -> None:
    told = []

    async def wait() -> None:
        told.append(await failed(WebSocketClosed("over")).addErrback(lambda failure: str(failure.value)))

    Deferred.fromCoroutine(wait())
    assert told == ["over"]
