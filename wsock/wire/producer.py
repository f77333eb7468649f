"""The application's producer: it is told to pause and to go on, at the pace of the peer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from ..log import APPLICATION_ERRORS
from ..sansio.errors import wrong_type

#: The methods of a push producer; a pull producer is never paused.
_METHODS: Final = ("pauseProducing", "resumeProducing", "stopProducing")


class Writable(Protocol):
    """The connection that a producer produces for."""

    @property
    def writable(self) -> bool:
        """Whether more may be written now."""


class Producer:
    """A producer that is attached to a connection, until `detach` or `stop`.

    A push producer is paused while the connection is not writable. A pull producer is told to resume once a turn of
    the reactor, while it is.
    """

    __slots__ = ("_consumer", "_failed", "_paused", "_producer", "_pulling", "_reactor", "_streaming")

    def __init__(
        self,
        producer: Any,
        streaming: bool,
        reactor: IReactorTime,
        consumer: Writable,
        failed: Callable[[Failure, str], None],
    ) -> None:
        """Attaches a producer.

        Args:
            producer: an ``IPushProducer``; an ``IPullProducer`` if not ``streaming``.
            streaming: whether it sends without being asked for each message.
            reactor: for the turns of a pull producer.
            consumer: what it produces for.
            failed: called with what one of its methods raised, and which it was.

        Raises:
            LocalProtocolError: it has not the methods of a producer.
        """
        if streaming not in (True, False):
            raise wrong_type("streaming", "a bool", streaming)
        wanted = _METHODS if streaming else _METHODS[1:]
        if isinstance(producer, type) or not all(callable(getattr(producer, name, None)) for name in wanted):
            raise wrong_type("producer", f"an object with {', '.join(wanted)}", producer)
        self._producer = producer
        self._streaming = streaming
        self._reactor = reactor
        #: None once it is detached.
        self._consumer: Writable | None = consumer
        self._failed = failed
        self._paused = False
        #: The next `resumeProducing` of a pull producer.
        self._pulling: IDelayedCall | None = None

    def regulate(self) -> None:
        """Tells the producer whether the connection is writable, if that has changed."""
        consumer = self._consumer
        if consumer is None:
            return
        writable = consumer.writable
        if not self._streaming:
            if writable and self._pulling is None:
                self._pulling = self._reactor.callLater(0, self._pull)
        elif self._paused == writable:
            self._paused = not writable
            self._call(self._producer.resumeProducing if writable else self._producer.pauseProducing)

    def detach(self) -> None:
        """Leaves the producer to itself."""
        self._consumer = None
        if self._pulling is not None:
            self._pulling.cancel()
            self._pulling = None

    def stop(self) -> None:
        """Tells the producer that nothing can be sent any more, and leaves it to itself."""
        self.detach()
        self._call(self._producer.stopProducing)

    def _pull(self) -> None:
        self._pulling = None
        consumer = self._consumer
        # `detach` takes this call back.
        assert consumer is not None
        if consumer.writable:
            self._call(self._producer.resumeProducing)
        self.regulate()

    def _call(self, command: Any) -> None:
        try:
            command()
        except APPLICATION_ERRORS:
            self._failed(Failure(), f"its producer's {getattr(command, '__name__', command)}")
