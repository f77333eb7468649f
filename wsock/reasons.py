"""Exceptions for Deferreds that wait: each fails with one of its own.

An exception holds the frames that it went through, and a frame all that its function works with: the connection, the
application. An exception that the connection itself keeps is therefore never raised, nor handed out: that would be a
cycle, which waits for the garbage collector with all that hangs on it.
"""

from __future__ import annotations

from collections.abc import Generator
from copy import copy
from typing import TYPE_CHECKING, Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from .sansio.errors import WebSocketError

Anything = TypeVar("Anything")

_NO_CONTEXT: Final = "a Deferred has no context: await it first, as in `async with await connect(...) as stream:`"


def again(error: BaseException | None) -> BaseException:
    """Returns an exception that says the same, with the same cause, and was never raised."""
    assert error is not None
    twin, cause = _twin(error), error.__cause__
    # The cause of an error of ours has been let go of; that of another may hold frames of the application.
    twin.__cause__ = cause if cause is None or isinstance(error, WebSocketError) else _twin(cause)
    return twin


def _twin(error: BaseException) -> BaseException:
    try:
        twin: BaseException = copy(error)
    except Exception:
        # Its constructor takes other arguments than it remembers.
        kind = type(error)
        twin = kind.__new__(kind, *error.args)
        twin.args = error.args
        twin.__dict__.update(error.__dict__)
    return twin


class Result(Deferred[Anything]):
    """A Deferred that leaves no cycle where it has failed before it is awaited.

    A stock one raises its exception in a frame that holds that exception, and by that the coroutine.
    """

    _failure: Failure | None = None

    def __iter__(self) -> Generator[Deferred[Any], None, Any]:
        while not self.called or self.paused:
            yield self
        if isinstance(self.result, Failure):
            self.addErrback(self._keep)
        if self._failure is None:
            return self.result
        raise again(self._failure.value)

    __await__ = __iter__

    if not TYPE_CHECKING:  # a type checker that sees these lets pass what they refuse

        async def __aenter__(self):
            raise TypeError(_NO_CONTEXT)

        async def __aexit__(self, kind, error, trace):
            """Part of what ``async with`` asks for, before it enters."""

    def _keep(self, failure: Failure) -> None:
        self._failure = failure


def failed(error: BaseException) -> Result[Any]:
    """Returns a Deferred that has failed."""
    result: Result[Any] = Result()
    result.errback(error)
    return result
