"""The results of an application's functions: values, or Deferreds and coroutines of them."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred


def asDeferred(result: object) -> Deferred[Any] | None:
    """The result of an application's function as a Deferred to be waited for; a coroutine begins to run."""
    if result is None:
        # The most frequent result, and asking for its class takes longer than the rest of a callback may.
        return None
    if isinstance(result, Coroutine):
        return Deferred.fromCoroutine(result)
    return result if isinstance(result, Deferred) else None


def asDecision(result: object) -> Deferred[Any] | None:
    """As `asDeferred`; of a decision, which may be one that is to be waited for itself.

    A coroutine may return another function's result, and that may be a Deferred.
    """
    if isinstance(result, Coroutine):
        return Deferred.fromCoroutine(_settled(result))
    if isinstance(result, Deferred):
        return result.addCallback(lambda value: asDecision(value) or value)
    return None


async def _settled(result: Any) -> Any:
    while isinstance(result, (Coroutine, Deferred)):
        result = await result
    return result
