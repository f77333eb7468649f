"""Deferreds and coroutines among the results of an application's functions."""

from typing import Any

from twisted.internet.defer import Deferred, succeed

from wsock.results import asDecision, asDeferred


def test_as_deferred() -> None:
    async def coroutine() -> str:
        return "done"

    deferred = Deferred[Any]()
    assert asDeferred(deferred) is deferred
    assert all(asDeferred(other) is None for other in (None, False, "text", [deferred]))
    seen: list[Any] = []
    begun = asDeferred(coroutine())
    assert begun is not None
    begun.addCallback(seen.append)
    assert seen == ["done"]


def test_a_decision_is_waited_for_to_its_end() -> None:
    async def coroutine(value: Any) -> Any:
        return value

    for decision in (
        succeed("decided"),
        coroutine("decided"),
        succeed(coroutine("decided")),
        coroutine(succeed("decided")),
        coroutine(coroutine(succeed("decided"))),
    ):
        seen: list[Any] = []
        deciding = asDecision(decision)
        assert deciding is not None
        deciding.addCallback(seen.append)
        assert seen == ["decided"]
    assert asDecision("decided") is None
    falsy = asDecision(succeed(0))
    assert falsy is not None
    falsy.addCallback(seen.append)
    assert seen == ["decided", 0]
