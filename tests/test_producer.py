"""The application's producer, alone: its consumer is a plain object, its reactor a clock."""

from asyncio import CancelledError as AsyncioCancelled
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from wire import Producer as Told

from wsock import LocalProtocolError
from wsock.wire.producer import Producer


class Consumer:
    def __init__(self, writable: bool = True) -> None:
        self.writable = writable


class Turns(Clock):
    """A clock that can take a single turn, where `advance` goes on with what each of its calls asks for."""

    def turn(self) -> None:
        for call in list(self.calls):
            if call in self.calls and call.getTime() <= self.seconds():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)


class Attached:
    """A producer that is attached to a consumer.

    Attributes:
        told: what the producer was told.
        failures: what it raised, and in which method.
    """

    def __init__(self, streaming: bool = True, writable: bool = True, **does: Any) -> None:
        self.clock = Turns()
        self.consumer = Consumer(writable)
        self.failures: list[tuple[Any, str]] = []
        self.application = Told(**does)
        self.told = self.application.told
        self.producer = Producer(self.application, streaming, self.clock, self.consumer, self._failed)

    def _failed(self, failure: Failure, callback: str) -> None:
        self.failures.append((failure.value, callback))

    def regulate(self, writable: bool) -> list[str]:
        """The connection may be written to, or not; returns what the producer has been told of that."""
        self.consumer.writable = writable
        before = len(self.told)
        self.producer.regulate()
        return self.told[before:]


def turns(attached: Attached, count: int) -> list[str]:
    before = len(attached.told)
    for _ in range(count):
        attached.clock.turn()
    return attached.told[before:]


class OnlyPull:
    def resumeProducing(self) -> None: ...

    def stopProducing(self) -> None: ...


class Uncallable(OnlyPull):
    pauseProducing = "no method"


def attach(producer: Any, streaming: Any) -> Producer:
    return Producer(producer, streaming, Clock(), Consumer(), lambda failure, callback: None)


@pytest.mark.parametrize(
    "producer", [None, object(), OnlyPull(), Uncallable(), Told], ids=lambda one: type(one).__name__
)
def test_what_is_no_push_producer_is_refused(producer: Any) -> None:
    with pytest.raises(LocalProtocolError, match="producer is an object with pauseProducing, resumeProducing, stop"):
        attach(producer, True)


@pytest.mark.parametrize("producer", [None, object(), OnlyPull], ids=lambda one: type(one).__name__)
def test_what_is_no_pull_producer_is_refused(producer: Any) -> None:
    with pytest.raises(LocalProtocolError, match="producer is an object with resumeProducing, stopProducing"):
        attach(producer, False)


def test_a_pull_producer_needs_not_pause() -> None:
    attach(OnlyPull(), False)


@pytest.mark.parametrize("streaming", [None, "yes", 2])
def test_streaming_is_a_bool(streaming: Any) -> None:
    with pytest.raises(LocalProtocolError, match="streaming is a bool"):
        attach(Told(), streaming)


def test_a_push_producer_is_told_only_what_has_changed() -> None:
    attached = Attached()
    assert attached.regulate(True) == []
    assert attached.regulate(False) == ["pause"]
    assert attached.regulate(False) == []
    assert attached.regulate(True) == ["resume"]
    assert attached.regulate(True) == []
    assert attached.clock.getDelayedCalls() == []


def test_a_push_producer_that_fills_the_connection_as_it_resumes() -> None:
    attached = Attached(resume=lambda: attached.regulate(False))
    attached.regulate(False)
    assert attached.regulate(True) == ["resume", "pause"]
    del attached.application.does["resume"]
    assert attached.regulate(True) == ["resume"]


def test_a_pull_producer_is_asked_once_a_turn_while_there_is_room() -> None:
    attached = Attached(streaming=False)
    assert attached.regulate(True) == []
    assert attached.regulate(True) == []
    assert turns(attached, 3) == ["resume"] * 3
    attached.consumer.writable = False
    assert turns(attached, 3) == []
    assert attached.clock.getDelayedCalls() == []
    assert attached.regulate(True) == []
    assert turns(attached, 2) == ["resume"] * 2


def test_a_pull_producer_that_fills_the_connection_is_asked_no_more() -> None:
    attached = Attached(streaming=False, resume=lambda: attached.regulate(False))
    attached.regulate(True)
    assert turns(attached, 3) == ["resume"]
    assert attached.clock.getDelayedCalls() == []


def test_a_pull_producer_waits_for_room() -> None:
    attached = Attached(streaming=False, writable=False)
    attached.producer.regulate()
    assert turns(attached, 2) == []


@pytest.mark.parametrize("streaming", [True, False])
def test_what_is_detached_is_told_nothing(streaming: bool) -> None:
    attached = Attached(streaming)
    attached.regulate(True)
    attached.producer.detach()
    assert attached.clock.getDelayedCalls() == []
    assert attached.regulate(False) == attached.regulate(True) == turns(attached, 2) == []
    attached.producer.detach()


@pytest.mark.parametrize("streaming", [True, False])
def test_what_is_stopped_is_told_that_and_no_more(streaming: bool) -> None:
    attached = Attached(streaming)
    attached.regulate(True)
    attached.producer.stop()
    assert attached.told == ["stop"]
    assert attached.clock.getDelayedCalls() == []
    assert attached.regulate(False) == attached.regulate(True) == turns(attached, 2) == []


def test_a_pull_producer_that_leaves_as_it_is_asked() -> None:
    attached = Attached(streaming=False, resume=lambda: attached.producer.detach())
    attached.regulate(True)
    assert turns(attached, 3) == ["resume"]
    assert attached.clock.getDelayedCalls() == []


def test_a_push_producer_that_leaves_as_it_is_paused() -> None:
    attached = Attached(pause=lambda: attached.producer.detach())
    assert attached.regulate(False) == ["pause"]
    assert attached.regulate(True) == []


@pytest.mark.parametrize("error", [RuntimeError, AsyncioCancelled])
@pytest.mark.parametrize(
    ("name", "method"), [("pause", "pauseProducing"), ("resume", "resumeProducing"), ("stop", "stopProducing")]
)
def test_what_it_raises_is_told_with_the_name_of_the_method(name: str, method: str, error: type[BaseException]) -> None:
    raised = error("expected")

    def fail() -> None:
        raise raised

    attached = Attached(**{name: fail})
    attached.regulate(False)
    attached.regulate(True)
    attached.producer.stop()
    assert attached.failures == [(raised, f"its producer's {method}")]
    assert attached.told == ["pause", "resume", "stop"]


def test_a_failure_of_a_callable_without_a_name() -> None:
    class Nameless:
        def __call__(self) -> None:
            raise RuntimeError("expected")

        def __repr__(self) -> str:
            return "a nameless one"

    attached = Attached()
    attached.application.stopProducing = Nameless()  # type: ignore[method-assign]
    attached.producer.stop()
    assert [callback for _, callback in attached.failures] == ["its producer's a nameless one"]


def test_exits_are_not_held_up() -> None:
    def leave() -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        Attached(stop=leave).producer.stop()
