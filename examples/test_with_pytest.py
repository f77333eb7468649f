"""Tests of the server in `echo_server.py`, with pytest alone: `pytest test_with_pytest.py`."""

from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from echo_server import Echo
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, globalLogPublisher

from wsock import WebSocketServerFactory
from wsock.testing import MemoryAgent

agent = MemoryAgent(WebSocketServerFactory(lambda request: Echo()))


def run(conversation: Coroutine[Any, Any, object]) -> object:
    results: list[object] = []
    Deferred.fromCoroutine(conversation).addBoth(results.append)
    agent.flush()
    assert results, "it still waits"
    return results[0]  # what it returned, or a Failure


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[LogEvent]]:
    events: Any = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)
    assert not [event["log_failure"] for event in events if "log_failure" in event]


def test_it_sends_back() -> None:
    async def talk() -> object:
        async with await agent.connect() as stream:
            await stream.send("Hello")
            return await stream.receive()

    assert run(talk()) == "Hello"
