"""Stream connections in memory: the network that moves bytes, and one end of a connection.

Rules:

* Nothing moves within a call of ``write`` or ``loseConnection``; all moves in `Network.flush`: bytes, ends of streams
  and losses, and the clock's delayed calls that are due.
* Ends take their turns in the order in which they were made, one move each: a run can be repeated.
* An end behaves as one of ``twisted.internet.tcp`` does: what the system's buffers hold arrives even if the sender is
  gone, what the transport still held is gone with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from math import inf
from typing import Any, Final, Protocol
from weakref import WeakValueDictionary

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    IPushProducer,
    ITCPTransport,
)
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from ..sansio.errors import LocalProtocolError, wrong_type

#: The bytes that a socket's transport reads at a time, and holds before it pauses its producer.
BUFFER_BYTES: Final = 65536
#: After so many rounds a flush gives up. An endless exchange is to be an error, and not a test that hangs.
MAX_ROUNDS: Final = 100_000


class Mover(Protocol):
    """A participant that has a turn in each round of a flush."""

    def move(self) -> bool:
        """Does the next thing that is to be done; returns whether there was one."""


class Network:
    """All connections in memory on one clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.movers: list[Mover] = []
        self._ports = count(49152)
        self._flushing = False

    def nextPort(self) -> int:
        """Returns the port of one more client."""
        return next(self._ports)

    def flush(self, rounds: int = MAX_ROUNDS) -> None:
        """Moves everything until nothing moves any more."""
        _checkNumber("rounds", rounds)
        if self._flushing:
            # It would deliver to a protocol while another delivery to it is on the stack, which no reactor does.
            raise RuntimeError("flush() was called by what a flush() runs; return, and it goes on")
        self._flushing = True
        try:
            for _ in range(rounds):
                if not self._moveOnce():
                    return
        finally:
            self._flushing = False
        raise AssertionError(
            f"it goes on and on: still not at rest after {rounds} rounds; "
            "more may be needed where much comes in small chunks"
        )

    def advance(self, seconds: float, rounds: int = MAX_ROUNDS) -> None:
        """Lets time pass, from one delayed call to the next, and flushes after each."""
        if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
            raise wrong_type("seconds", "a number", seconds)
        if not 0 <= seconds < inf:
            raise LocalProtocolError("seconds is a number, at least 0: time neither goes back nor ends")
        clock = self.clock
        end = clock.seconds() + seconds
        self.flush(rounds)
        while (due := min((call.getTime() for call in clock.getDelayedCalls()), default=end)) < end:
            clock.advance(due - clock.seconds())
            self.flush(rounds)
        while clock.seconds() < end:
            # Once is not always enough: a sum of floats may end just before what is due at that moment.
            clock.advance(end - clock.seconds())
        self.flush(rounds)

    def _moveOnce(self) -> bool:
        clock = self.clock
        moved = any(call.getTime() <= clock.seconds() for call in clock.getDelayedCalls())
        if moved:
            clock.advance(0)
        for mover in list(self.movers):
            moved = mover.move() or moved
        return moved


def checkLimits(capacity: object, chunk: object) -> None:
    """Refuses limits under which nothing could move.

    Raises:
        LocalProtocolError: they are not whole numbers, or less than 1.
    """
    for name, value in (("capacity", capacity), ("chunk", chunk)):
        _checkNumber(name, value)


def _checkNumber(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(name, "a whole number", value)
    if value < 1:
        raise LocalProtocolError(f"{name} is at least 1")


#: Keyed by id(clock). Each network references its clock, so an id can't be reused while its entry exists.
_networks: WeakValueDictionary[int, Network] = WeakValueDictionary()


def networkOf(clock: Clock) -> Network:
    """The network that all connections on a clock share: a flush of any of them moves them all."""
    return _networks.get(id(clock)) or _networks.setdefault(id(clock), Network(clock))


@implementer(ITCPTransport, IConsumer, IPushProducer, IHalfCloseableDescriptor)
class MemoryTransport:
    """One end of a connection in memory; `Pair` and `MemoryEndpoint` make them.

    It is what a protocol has for its transport, and does what a TCP connection's does, all of it in a flush. In
    particular:

    * Up to ``capacity`` bytes are on their way, as in a system's buffers. A push producer is paused when there are
      more, and resumed when there are not. A peer that is paused takes nothing, and so pauses this side's producer.
    * ``loseConnection`` waits for what was written, and for a registered producer to be unregistered, as with TLS. If
      the peer sent what was not read by then, the peer sees a reset in place of an end, and loses what it had not read.
    * The end of the peer's stream is the end of the connection, unless the protocol is an ``IHalfCloseableProtocol``.
    * While it neither reads nor has anything to write, it does not hear that the peer has gone.

    Attributes:
        protocol: the receiver of the bytes that come in; None once the connection is lost.
        connected: until the connection is lost.
        disconnected: from then on.
        disconnecting: from ``loseConnection`` on.
        producer: the one that is registered, or None.
    """

    def __init__(
        self, network: Network, protocol: Any, host: IPv4Address, peer: IPv4Address, capacity: int, chunk: int
    ) -> None:
        """Makes one end, not joined to the other yet.

        Args:
            network: the one that moves its bytes.
            protocol: the receiver of the bytes that come in.
            host: its own address.
            peer: the other end's.
            capacity: how many bytes may be on their way.
            chunk: the most that its protocol is given at a time, in bytes.
        """
        self._network = network
        self._host, self._peer = host, peer
        self._capacity, self._chunk = capacity, chunk
        self._other = self
        self.protocol = protocol
        self.connected = self.disconnected = self.disconnecting = False
        self.producer: Any = None
        self.streamingProducer = self.producerPaused = False
        #: Bytes that were written here and not given to the other end's protocol.
        self._sent = bytearray()
        #: As a socket that waits to be writable: something was written, or is to be closed.
        self._writing = False
        self._reading = False
        self._readEnded = False
        self._writeEnding = self._writeEnded = False
        self._isReset = False
        #: Why the connection is to be lost in the next move, whatever is left to be done.
        self._fate: Exception | None = None
        self._noDelay = self._keepAlive = False

    def join(self, other: MemoryTransport) -> None:
        """Makes this and another end the two of one connection."""
        for one, another in ((self, other), (other, self)):
            one._other = another
            one.connected = one._reading = True
            one._network.movers.append(one)

    # ITCPTransport

    def write(self, data: bytes) -> None:
        """Sends bytes, after those that were written before."""
        if not isinstance(data, bytes):
            raise TypeError("Data must be bytes")
        if not data or not self.connected or self._writeEnded:
            return
        self._sent += data
        self._writing = True
        if self.producer is not None and self.streamingProducer and len(self._sent) > self._capacity:
            self.producerPaused = True
            self.producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Sends the bytes of several buffers."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Closes the connection when all that was written has left and no producer is registered."""
        if self.connected and not self.disconnecting:
            self.disconnecting = self._writing = True
            self._reading = False

    def loseWriteConnection(self) -> None:
        """Ends our stream, when all that was written has left and no producer is registered."""
        self._writeEnding = self._writing = True

    def abortConnection(self) -> None:
        """Drops the connection and bytes that have not arrived; the other end sees a reset."""
        if self.connected:
            self.drop(ConnectionAborted())
            self._isReset = True

    def getHost(self) -> IPv4Address:
        """Returns this end's address."""
        return self._host

    def getPeer(self) -> IPv4Address:
        """Returns the other end's address."""
        return self._peer

    def getTcpNoDelay(self) -> bool:
        """Returns the value that `setTcpNoDelay` was last given."""
        return self._noDelay

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Remembers it: nothing is delayed here."""
        self._noDelay = bool(enabled)

    def getTcpKeepAlive(self) -> bool:
        """Returns the value that `setTcpKeepAlive` was last given."""
        return self._keepAlive

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Remembers it: nothing is lost here by itself."""
        self._keepAlive = bool(enabled)

    # IConsumer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pauses and resumes a push producer as the other end takes what it writes; asks a pull producer for more.

        Raises:
            RuntimeError: another is registered.
        """
        if self.producer is not None:
            raise RuntimeError(f"{self.producer} is registered and was never unregistered")
        if self.disconnected:
            producer.stopProducing()
            return
        self.producer, self.streamingProducer, self.producerPaused = producer, streaming, False
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """Forgets the producer; a loss or an end that waited for that comes about."""
        self.producer = None
        if self.disconnecting or self._writeEnding:
            self._writing = True

    # IPushProducer: incoming bytes

    def pauseProducing(self) -> None:
        """Gives the protocol nothing more; the other end's bytes pile up, until its producer is paused."""
        self._reading = False

    def resumeProducing(self) -> None:
        """Gives the protocol incoming bytes again."""
        if not self.disconnecting:
            self._reading = not self._readEnded

    def stopProducing(self) -> None:
        """Closes the connection."""
        self.loseConnection()

    # IHalfCloseableDescriptor

    def readConnectionLost(self, reason: Failure) -> None:
        """The other end's stream has ended."""
        halfCloseable = IHalfCloseableProtocol(self.protocol, None)
        if halfCloseable is None:
            self._lose(reason.value)
        else:
            halfCloseable.readConnectionLost()

    def writeConnectionLost(self, reason: Failure) -> None:
        """Our own stream has ended, as we asked for."""
        halfCloseable = IHalfCloseableProtocol(self.protocol, None)
        if halfCloseable is not None:
            halfCloseable.writeConnectionLost()

    # Moving

    @property
    def unsent(self) -> int:
        """How many bytes are more than may be on their way, so that a producer is paused."""
        return max(0, len(self._sent) - self._capacity)

    def drop(self, reason: Exception) -> None:
        """Loses the connection in the next move, whatever is left to be done.

        Args:
            reason: the reason that the protocol is told.
        """
        self._writing = False
        self._fate = reason

    def move(self) -> bool:
        """Does the next thing that is to be done; returns whether there was one."""
        if self._fate is not None:
            self._lose(self._fate)
            return True
        if self._other._isReset and self._reading:
            self._lose(ConnectionLost())
            return True
        moved = self._read()
        return (self._writing and self._write(moved)) or moved

    def _read(self) -> bool:
        if not self._reading:
            return False
        other = self._other
        if other._sent:
            # Bytes beyond its capacity have not left the other end.
            most = min(self._chunk, other._capacity)
            data = bytes(other._sent[:most])
            del other._sent[:most]
            self.protocol.dataReceived(data)
            return True
        if other._writeEnded or other.disconnected:
            self._readEnded, self._reading = True, False
            self.readConnectionLost(Failure(ConnectionDone()))
            return True
        return False

    def _write(self, hasRead: bool) -> bool:
        if self._sent and self._other.disconnected:
            if hasRead:
                return False
            # A system answers with a reset to what comes for a closed socket; what came from there was read first.
            self._lose(ConnectionLost())
            return True
        if self.unsent:
            return False
        self._writing = False
        if self.producer is not None and (not self.streamingProducer or self.producerPaused):
            self.producerPaused = False
            self.producer.resumeProducing()
        elif self.producer is not None:
            return False
        elif self.disconnecting:
            # Closing a socket that has unread input makes the system send a reset.
            self._isReset = bool(self._other._sent)
            self._lose(ConnectionDone())
        elif self._writeEnding and not self._writeEnded:
            self._writeEnded = True
            self.writeConnectionLost(Failure(ConnectionDone()))
        else:
            return False
        return True

    def _lose(self, reason: BaseException) -> None:
        self.connected, self.disconnected = False, True
        self._writing = False
        self._network.movers.remove(self)
        # Bytes that the system has arrive; those still ours are gone with us.
        del self._sent[self._capacity :]
        producer, self.producer = self.producer, None
        if producer is not None:
            producer.stopProducing()
        # As one of Twisted's: nothing is left to the garbage collector.
        protocol, self.protocol = self.protocol, None
        protocol.connectionLost(Failure(reason))
        if self._other.disconnected:
            del self._other._other, self._other
