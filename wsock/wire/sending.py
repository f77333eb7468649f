"""The way out, as the application sees it: what it sends, and how it hears of what its peer takes.

The frames are the sans-IO core's, and `wsock.wire.outbox` gets them to the transport. Here are the rules of the
application's side:

* What can't be sent by any race is refused with an exception; what comes too late, once a Close went either way, does
  nothing and is counted.
* A producer is paused while the connection is not writable, and stopped when nothing can be sent any more.
"""

from __future__ import annotations

from collections import deque
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorFromThreads, IReactorTime
from twisted.python.failure import Failure
from twisted.python.threadable import isInIOThread

from ..errors import WebSocketEnded
from ..log import CAUGHT
from ..reasons import Result, failed
from ..sansio.errors import LocalProtocolError, wrong_type
from ..sansio.messages import binary_payload
from ..settings import Settings
from .inbox import ABORTED, LOST, Delivery

#: What a push producer has; a pull producer is never paused.
_PRODUCER: Final = ("pauseProducing", "resumeProducing", "stopProducing")
#: How long a thread waits before it looks whether the reactor still runs, in seconds.
_PATIENCE: Final = 1


class Counters(NamedTuple):
    """What is known not to have reached its end, as numbers of messages.

    A message that has left, and was lost with the connection, is counted nowhere.

    Attributes:
        sendsIgnored: sent when the connection was closing or lost; Pings too.
        sendsDropped: taken to be sent, and dropped from the queue: too much was unsent, or the connection was lost or
            aborted before they had left as a whole.
        receivedDiscarded: received, and not delivered: a connection that ends does not wait for its application.
    """

    sendsIgnored: int
    sendsDropped: int
    receivedDiscarded: int


class _Attached:
    """The application's producer."""

    __slots__ = ("paused", "producer", "pulling", "streaming")

    def __init__(self, producer: Any, streaming: bool) -> None:
        self.producer = producer
        self.streaming = streaming
        self.paused = False
        #: The next `resumeProducing` of a pull producer.
        self.pulling: IDelayedCall | None = None


class Sending(Delivery):
    """What an application sends."""

    __slots__ = ("_attached", "_sendsIgnored", "_writers")

    def __init__(self, reactor: IReactorTime, settings: Settings) -> None:
        super().__init__(reactor, settings)
        self._attached: _Attached | None = None
        #: Who waits in `whenWritable`; None while there are none.
        self._writers: deque[Deferred[None]] | None = None
        self._sendsIgnored = 0

    # What the rest of the connection does

    def _overflow(self, messages: int = 1) -> None:
        """What was to be sent, a message or a Ping, found more unsent than may be."""
        raise NotImplementedError

    def _reason(self) -> BaseException:
        """How it ended."""
        raise NotImplementedError

    # Messages

    def sendTextMessage(self, text: str) -> None:
        """Sends a text message; does nothing once the connection is closing.

        Args:
            text: any text without lone surrogates.

        Raises:
            LocalProtocolError: not a str, or one that has no UTF-8.
        """
        buffers = self._connection.send_text(text)
        if buffers:
            if not self._outgoing.write(buffers):
                self._overflow()
            elif self._attached is not None:
                self._regulate()
        else:
            self._sendsIgnored += 1

    def sendBytesMessage(self, data: bytes | bytearray | memoryview) -> None:
        """Sends a binary message; does nothing once the connection is closing.

        Args:
            data: any bytes; changing them afterwards does not change what is sent.

        Raises:
            LocalProtocolError: of another type.
        """
        buffers = self._connection.send_binary(data)
        if buffers:
            if not self._outgoing.write(buffers):
                self._overflow()
            elif self._attached is not None:
                self._regulate()
        else:
            self._sendsIgnored += 1

    def sendFromThread(self, message: str | bytes | bytearray | memoryview) -> None:
        """Sends a message from another thread than the reactor's, after waiting while the connection is not writable.

        Several threads take their turns, so that no more than ``highWaterMark`` and one message wait for all of them.

        Args:
            message: a str makes a text message, bytes a binary one.

        Raises:
            LocalProtocolError: what can't be sent; or this is the reactor's own thread, which would wait for itself.
            WebSocketEnded: the connection is closing or lost, and the message was not sent. As for `whenWritable`, a
                client that was never open may raise another `WebSocketError`.
        """
        if isInIOThread():
            raise LocalProtocolError("sendFromThread() is for other threads than the reactor's: send...Message() here")
        if not isinstance(message, (str, bytes, bytearray, memoryview)):
            # It raises, now and not when the connection is writable.
            binary_payload(message)
        outcome: SimpleQueue[object] = SimpleQueue()
        IReactorFromThreads(self._reactor).callFromThread(self._sendForThread, message, outcome)
        while True:
            try:
                result = outcome.get(timeout=_PATIENCE)
            except Empty:
                if not self._reactor.running:  # type: ignore[attr-defined]
                    raise WebSocketEnded("the reactor has stopped") from None
            else:
                break
        if isinstance(result, Failure):
            result.raiseException()

    def _sendForThread(self, message: str | bytes | bytearray | memoryview, outcome: SimpleQueue[object]) -> None:
        writable = maybeDeferred(self._sendWhenWritable, message)
        writable.addBoth(outcome.put)

    def _sendWhenWritable(self, message: str | bytes | bytearray | memoryview) -> Deferred[None]:
        return self.whenWritable().addCallback(self._sendNow, message)

    def _sendNow(self, _: None, message: str | bytes | bytearray | memoryview) -> None:
        if not self._connection.is_open:
            raise WebSocketEnded("the connection is closing")
        if isinstance(message, str):
            self.sendTextMessage(message)
        else:
            self.sendBytesMessage(message)

    def ping(self, payload: bytes = b"") -> None:
        """Sends a Ping; `WebSocketProtocol.pongReceived` is called when its answer comes.

        Does nothing once the connection is closing.

        Args:
            payload: at most 125 bytes.

        Raises:
            LocalProtocolError: a longer payload.
        """
        buffers = self._connection.send_ping(payload)
        if not buffers:
            self._sendsIgnored += 1
        elif not self._outgoing.writePing(buffers):
            self._overflow(messages=0)

    @property
    def counters(self) -> Counters:
        """What is known not to have reached its end, so far."""
        return Counters(self._sendsIgnored, self._outgoing.dropped, self._receivedDiscarded)

    # Backpressure

    def whenWritable(self) -> Deferred[None]:
        """Waits until no more than ``highWaterMark`` bytes are unsent.

        Returns:
            a Deferred that fires with None, perhaps at once. It fails with the `WebSocketEnded` that tells why, when
            the connection is lost or is closing already; on a client that was never open, with what its opening
            handshake failed with. Several fire in the order of their calls, each only if what the one before did left
            room. Cancelling one only stops it from waiting.
        """
        if self._phase == LOST:
            return failed(self._reason())
        if not self._connection.is_open:
            return failed(WebSocketEnded("the connection is closing"))
        if self._writers is None and self._outgoing.writable:
            return succeed(None)
        writer: Deferred[None] = Result(self._forgetWriter)
        if self._writers is None:
            self._writers = deque()
        self._writers.append(writer)
        return writer

    def _forgetWriter(self, writer: Deferred[None]) -> None:
        if self._writers is not None and writer in self._writers:
            self._writers.remove(writer)
            self._writers = self._writers or None

    def _failWriters(self) -> None:
        """The connection is lost: nobody waits any more."""
        # One after the other: who hears of it may cancel another.
        while self._writers:
            writer = self._writers.popleft()
            self._writers = self._writers or None
            writer.errback(self._reason())

    def attachProducer(self, producer: Any, streaming: bool = True) -> None:
        """Has a producer send at the pace of the peer.

        A push producer is told to pause while more than ``highWaterMark`` bytes are unsent. A pull producer is told
        to resume once a turn of the reactor, while the connection is writable. When nothing can be sent any more
        (`loseConnection`, the peer's Close, a loss) it is told to stop, and is detached.

        Args:
            producer: an ``IPushProducer``, such as another connection; an ``IPullProducer`` if not ``streaming``.
            streaming: whether it sends without being asked for each message.

        Raises:
            LocalProtocolError: another producer is attached; or it has not the methods of one.
        """
        if streaming not in (True, False):
            raise wrong_type("streaming", "a bool", streaming)
        wanted = _PRODUCER if streaming else _PRODUCER[1:]
        if isinstance(producer, type) or not all(callable(getattr(producer, name, None)) for name in wanted):
            raise wrong_type("producer", f"an object with {', '.join(wanted)}", producer)
        if self._attached is not None:
            raise LocalProtocolError("another producer is attached: detachProducer() first")
        attached = _Attached(producer, streaming)
        self._attached = attached
        if self._phase == LOST or not self._connection.is_open:
            self._stopProducer()
        else:
            self._regulate()

    def detachProducer(self) -> None:
        """Leaves the producer to itself; does nothing where there is none."""
        attached, self._attached = self._attached, None
        if attached is not None and attached.pulling is not None:
            attached.pulling.cancel()
            attached.pulling = None

    def _stopProducer(self) -> None:
        """Nothing can be sent any more."""
        attached = self._attached
        if attached is not None:
            self.detachProducer()
            self._tellProducer(attached.producer.stopProducing)

    def _tellProducer(self, command: Any) -> None:
        try:
            command()
        except CAUGHT:
            self._applicationFailed(Failure(), f"its producer's {getattr(command, '__name__', command)}")

    def _regulate(self) -> None:
        """Tells the producer what became of the connection's being writable."""
        attached = self._attached
        if attached is None:
            return
        writable = self._outgoing.writable
        if not attached.streaming:
            if writable and attached.pulling is None:
                attached.pulling = self._reactor.callLater(0, self._pull, attached)
        elif attached.paused == writable:
            attached.paused = not writable
            self._tellProducer(attached.producer.resumeProducing if writable else attached.producer.pauseProducing)

    def _pull(self, attached: _Attached) -> None:
        attached.pulling = None
        if self._outgoing.writable:
            self._tellProducer(attached.producer.resumeProducing)
        if self._attached is attached:
            self._regulate()

    def outboxBlocked(self) -> None:
        """The transport takes no more for now."""
        self._regulate()
        if self._exemptSince is not None:
            self._updateReading()

    def outboxWritable(self) -> None:
        """The transport has taken what it had, and the connection is writable."""
        while self._writers and self._outgoing.writable and self._phase < ABORTED:
            writer = self._writers.popleft()
            self._writers = self._writers or None
            writer.callback(None)
        self._regulate()
        self._continue()
