"""The drivers of transports: a driver says what one kind of transport can do, and does it.

`DRIVERS` is the table of the kinds that are known well: Twisted's TCP and UNIX transports ("stock"), and Twisted's TLS.
Another kind is one entry more. All other transports have `PLAIN`, which goes by Twisted's interfaces.

Rules:

* A transport is judged by its exact type, never by its attributes: wrappers forward attributes, and the socket of a
  TLS wrapper would take plain text.
* A driver has no state: a connection's facts are the connection's, and all connections share the driver.
* Twisted's private attributes are named here and in `wsock.wire.hub` alone.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, ClassVar, Final

from twisted.internet import tcp
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableDescriptor, ISSLTransport, ITCPTransport, IUNIXTransport
from twisted.python.failure import Failure

from ..request import getPeerCertificate
from . import adoption

try:
    import fcntl
    import termios
except ImportError:  # pragma: no cover - Windows
    _OUTQ: int | None = None
else:
    #: SIOCOUTQ, under its older name.
    _OUTQ = termios.TIOCOUTQ

#: The bytes that a transport is given at a time. One more than `FileDescriptor.bufferSize`, because a transport pauses
#: its producer, and so resumes it later, only when it holds more than that.
HANDOVER_BYTES: Final = 2**16 + 1
#: Buffers of up to so many bytes are joined before they are sent, since `sendmsg` takes more time to look at.
JOIN_UP_TO_BYTES: Final = 2**15
#: Buffers are joined, too, where they are smaller than this on the average, in bytes.
_JOIN_AVERAGE_BYTES: Final = 512
#: One attempt to send takes so many buffers: as many as Linux lets ``sendmsg`` have; Windows has none.
MAX_BUFFERS: Final = 1024
_SENDMSG: Final = hasattr(socket.socket, "sendmsg")


class Driver:
    """The driver of any ``ITransport``, also of one that wraps another: only its interfaces are known.

    Attributes:
        isEager: whether the transport's socket can be written to past it, whenever `mayTrySocket` says so.
        waitsForTurn: whether the transport is written to once in a turn of the reactor, and not for each message.
        knowsBytesHeld: whether `bytesHeld` is right at any time, and not only while the transport takes no more.
        pushes: whether `push` gives the socket at once what `write` has made of the bytes.
        handoverBytes: how many bytes the transport is given at a time.
    """

    __slots__ = ()

    isEager: ClassVar[bool] = False
    waitsForTurn: ClassVar[bool] = False
    knowsBytesHeld: ClassVar[bool] = False
    pushes: ClassVar[bool] = False
    handoverBytes: ClassVar[int] = HANDOVER_BYTES

    def fit(self, transport: Any) -> Driver:
        """Returns the driver of one transport of this kind: the transport below it may make a difference."""
        return self

    # Bytes

    def write(self, transport: Any, data: bytes) -> None:
        """Gives the transport bytes, in the order of the calls."""
        transport.write(data)
        # TLS below a policy would keep small writes for the next turn, which may not come.
        flushTLS(transport)

    def bytesHeld(self, transport: Any) -> int | None:
        """How many bytes the transport holds, and the system was not given; None where it can't be known."""
        # A transport that wraps another has handed its bytes on.
        below = stockBelow(transport)
        return None if below is None else held(below)

    def bytesInFlight(self, transport: Any) -> int | None:
        """How many bytes the peer has not taken of those that were written; None where it can't be known."""
        below = stockBelow(transport)
        queued = None if below is None else queuedBySystem(below)
        return None if queued is None else held(below) + queued

    def push(self, transport: Any) -> int:
        """Has the socket take at once what it takes, and returns how many bytes are still held: for `pushes`."""
        return 0

    def pauseProducer(self, transport: Any) -> None:
        """Has a transport that holds bytes pause its producer, and so resume it when it has sent them.

        A transport does so by itself only past its own mark of 64 KiB.
        """

    def releaseProducer(self, transport: Any) -> None:
        """Has a lost transport let go of its producer: TLS would hold it, and Twisted leaves a cycle that holds TLS."""
        if tlsBelow(transport) is not None and not isStartedTLS(transport):
            transport.unregisterProducer()

    def adopt(self, transport: Any) -> bool:
        """Has the hub read the transport, in place of the reactor, which has just done so.

        Returns:
            whether that is settled, one way or the other; False where it is to be tried with the next bytes.
        """
        return True

    def readMuch(self, transport: Any) -> None:
        """Has the transport be read in larger pieces where that can be: a large message is under way."""

    def setProtocol(self, transport: Any, protocol: Any) -> bool:
        """Has another protocol get what comes from now on, where that can be; returns whether it does."""
        return False

    # Facts

    def isSecure(self, transport: Any) -> bool:
        """Whether there is TLS between the transport and its peer."""
        return bool(ISSLTransport.providedBy(transport))

    def getPeerCertificate(self, transport: Any) -> Any:
        """Returns the X.509 certificate that the peer sent; None without one, or without TLS."""
        return getPeerCertificate(transport)

    def isShaken(self, transport: Any) -> bool:
        """Whether the TLS handshake has come to its end; of a transport without TLS it has."""
        try:
            return transport.getHandle().get_peer_finished() is not None
        except AttributeError:
            return True

    def hasBegun(self, transport: Any) -> bool:
        """Whether the first message of the peer's TLS handshake has come; OpenSSL may be in a state of error by now."""
        return bool(transport.getHandle().client_random())

    def setNoDelay(self, transport: Any) -> None:
        """Has small messages leave at once: waiting for more to fill a segment only delays them."""
        # `ISSLTransport` says that it is TCP, whatever is below it.
        if ITCPTransport.providedBy(transport) and not IUNIXTransport.providedBy(transport):
            with suppress(AttributeError):
                transport.setTcpNoDelay(True)

    # Its end

    def isClosedByOthers(self, transport: Any) -> bool:
        """Whether somebody else has closed the transport, and it waits: for its producer, the peer, or the handshake.

        A transport without TLS is lost then; TLS does not tell.
        """
        return self.isSecure(transport) and bool(getattr(transport, "disconnecting", False))

    def canHalfClose(self, transport: Any) -> bool:
        """Whether the transport's end is a socket's: behind TLS, half a close would cut off what ends TLS."""
        return IHalfCloseableDescriptor.providedBy(transport) and not self.isSecure(transport)

    def halfClose(self, transport: Any) -> None:
        """Closes our half, behind what was written; only where `canHalfClose` says so."""
        transport.loseWriteConnection()

    def close(self, transport: Any) -> None:
        """Closes the transport, behind what was written."""
        transport.loseConnection()

    def canAbort(self, transport: Any) -> bool:
        """Whether `abort` loses the transport in any case.

        An ``ITransport`` has no such thing, as the pipes of a process, standard input and output.
        """
        return hasattr(_innermost(transport), "abortConnection")

    def abort(self, transport: Any) -> None:
        """Drops the connection at once; where it can't, tells it to close, for which it may wait for good."""
        if self.canAbort(transport):
            transport.abortConnection()
        else:
            _innermost(transport).loseConnection()

    def tellEnd(self, transport: Any, ended: Callable[[], None]) -> None:
        """Calls ``ended`` once when nothing can be sent or received any more and the transport does not say so: TLS.

        Perhaps now, in the middle of TLS's own work, or within its ``connectionLost``, or later.
        """
        tls = tlsBelow(transport)
        if tls is not None:
            tellTLSEnd(tls, ended)

    def canDrain(self, transport: Any) -> bool:
        """Whether `drain` and `loseDrained` can do something: TLS has ended, and the socket below it is there."""
        return stockBelowTLS(tlsBelow(transport)) is not None

    def drain(self, transport: Any) -> int:
        """Has the socket below an ended TLS take what it takes, and returns how many bytes are still held."""
        below = stockBelowTLS(tlsBelow(transport))
        return 0 if below is None else push(below)

    def loseDrained(self, transport: Any) -> None:
        """Loses the transport below an ended TLS, as the reactor does: what the system holds still arrives."""
        below = stockBelowTLS(tlsBelow(transport))
        if below is not None:
            below.connectionLost(Failure(ConnectionDone()))


class StockDriver(Driver):
    """The driver of Twisted's own TCP and UNIX transports without TLS."""

    __slots__ = ()

    isEager = True
    waitsForTurn = True
    knowsBytesHeld = True

    def fit(self, transport: Any) -> Driver:
        """Returns `PLAIN` where ``startTLS`` was called."""
        return PLAIN if transport.TLS else self

    def write(self, transport: Any, data: bytes) -> None:
        """Gives the transport bytes."""
        transport.write(data)

    def bytesHeld(self, transport: Any) -> int | None:
        """How many bytes the transport holds."""
        return held(transport)

    def setNoDelay(self, transport: Any) -> None:
        """Has small messages leave at once over TCP."""
        if type(transport) in _OVER_TCP:
            transport.setTcpNoDelay(True)

    def pauseProducer(self, transport: Any) -> None:
        """Has the transport tell its producer when it is empty."""
        transport.producerPaused = True
        transport.producer.pauseProducing()

    def releaseProducer(self, transport: Any) -> None:
        """Does nothing: it lets go by itself."""

    def adopt(self, transport: Any) -> bool:
        """Has the hub read the transport, once that holds nothing that was not sent."""
        if not mayTrySocket(transport):
            return False
        adoption.adopt(transport)
        return True

    def readMuch(self, transport: Any) -> None:
        """Has the hub read more at a time."""
        adoption.readMuch(transport)

    def setProtocol(self, transport: Any, protocol: Any) -> bool:
        """Has another protocol get what comes from now on."""
        transport.protocol = protocol
        return True


class TLSDriver(Driver):
    """The driver of Twisted's own TLS above a transport that is not known."""

    __slots__ = ()

    waitsForTurn = True

    def fit(self, transport: Any) -> Driver:
        """Returns `SOCKET_TLS` above a stock transport."""
        return SOCKET_TLS if isStock(transport.transport) else self

    def write(self, transport: Any, data: bytes) -> None:
        """Has TLS encrypt bytes at once: all of a connection go this one way, or they would overtake each other."""
        writeTLS(transport, data)

    def close(self, transport: Any) -> None:
        """Closes TLS, and has what it says last leave before the peer's end is read."""
        transport.loseConnection()
        below = stockBelowTLS(transport)
        if below is not None:
            push(below)


class SocketTLSDriver(TLSDriver):
    """The driver of Twisted's own TLS right above one of its own TCP and UNIX transports."""

    __slots__ = ()

    knowsBytesHeld = True
    pushes = True

    def bytesHeld(self, transport: Any) -> int | None:
        """How many bytes the transport below TLS holds."""
        return held(transport.transport)

    def push(self, transport: Any) -> int:
        """Has the socket take what TLS has made of the bytes.

        Bytes that stay in the transport below TLS are lost when the peer ends its stream, which may be read next.
        """
        return push(transport.transport)

    def pauseProducer(self, transport: Any) -> None:
        """Has the transport below TLS pause TLS, which passes the pause on, and its end: no end of another pause."""
        below = transport.transport
        below.producerPaused = True
        below.producer.pauseProducing()


PLAIN: Final = Driver()
STOCK: Final = StockDriver()
TLS: Final = TLSDriver()
SOCKET_TLS: Final = SocketTLSDriver()

#: The driver of each kind of transport, by its exact type; Twisted's TLS is added once there is such a transport.
DRIVERS: Final[dict[type, Driver]] = {tcp.Server: STOCK, tcp.Client: STOCK}
#: Those of Twisted's own that are over TCP, before they are adopted by the hub.
_OVER_TCP: Final = frozenset(DRIVERS)
with suppress(ImportError):  # on a platform without UNIX sockets
    from twisted.internet import unix

    DRIVERS.update({unix.Server: STOCK, unix.Client: STOCK})
DRIVERS.update(dict.fromkeys((*adoption.ADOPTED_CLASSES.values(), *adoption.LARGE_CLASSES.values()), STOCK))


def driverOf(transport: Any) -> Driver:
    """Returns the driver of a transport, to be kept as long as the transport: it goes by what the transport is now."""
    return _driverOfKind(type(transport)).fit(transport)


def _driverOfKind(kind: type) -> Driver:
    if "twisted.protocols.tls" in sys.modules:
        # So that plain connections do not need the packages for TLS.
        _addTLS()
    return DRIVERS.get(kind, PLAIN)


# Twisted's transports over a socket


def isStock(transport: object) -> bool:
    """Whether ``transport`` is one of Twisted's own, over a plain socket, and not a class derived from it."""
    return DRIVERS.get(type(transport)) is STOCK and not transport.TLS  # type: ignore[attr-defined]


def held(transport: Any) -> int:
    """How many bytes a stock transport holds, that the system was not given."""
    count: int = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
    return count


def queuedBySystem(transport: Any) -> int | None:
    """How many bytes the system holds that the peer of a stock transport has not taken; None where it does not say."""
    if _OUTQ is None or not transport.connected:
        return None
    try:
        queued: bytes = fcntl.ioctl(transport.fileno(), _OUTQ, bytes(4))
    except OSError:
        # Not every system knows it of a socket.
        return None
    return int.from_bytes(queued, sys.byteorder)


def mayTrySocket(transport: Any) -> bool:
    """Whether the socket of a stock transport can be written to past it, and no byte overtakes another."""
    may: bool = (
        transport.connected
        and not transport.TLS
        and not transport.disconnecting
        and not transport._writeDisconnecting
        and not transport.dataBuffer
        and not transport._tempDataBuffer
        and (transport.producer is None or transport.streamingProducer)
    )
    return may


def trySocket(transport: Any, buffers: list[bytes | memoryview]) -> tuple[int, int]:
    """Gives a stock transport's socket as many of the buffers as it takes well.

    Returns:
        how many bytes it took, and of how many.
    """
    stream = transport.socket
    if len(buffers) == 1:
        return stream.send(buffers[0]), len(buffers[0])
    given = sum(map(len, buffers))
    if given <= JOIN_UP_TO_BYTES or given < _JOIN_AVERAGE_BYTES * len(buffers):
        return stream.send(b"".join(buffers)), given
    buffers = buffers[: MAX_BUFFERS if _SENDMSG else 1]
    given = sum(map(len, buffers))
    return stream.sendmsg(buffers) if _SENDMSG else stream.send(buffers[0]), given


def push(transport: Any) -> int:
    """Has a stock transport try its socket now, and not when the reactor says so.

    Returns:
        how many bytes it still holds.
    """
    if not transport.connected or not held(transport):
        return 0
    if transport.doWrite() is not None:
        # An error, or the end that it was told to come to: the reactor meets it, in its own stack.
        transport.startWriting()
    return held(transport) if transport.connected else 0


def stockBelow(transport: Any) -> Any:
    """The stock transport that this one is, or at the end wraps; None without one."""
    while transport is not None and DRIVERS.get(type(transport)) is not STOCK:
        transport = getattr(transport, "transport", None)
    return transport


def _innermost(transport: Any) -> Any:
    """The transport below all that wrap one, as TLS does."""
    while (below := getattr(transport, "transport", None)) is not None:
        transport = below
    return transport


# Twisted's TLS


@cache
def _addTLS() -> dict[type, type]:
    """Adds Twisted's TLS to `DRIVERS`; returns its transports, each with the class that tells of its end."""
    from twisted.protocols import tls

    def telling(base: Any) -> type:
        class Telling(base):  # type: ignore[misc]
            """Tells, in the stack of whatever it was doing, that nothing can be sent or received any more."""

            def _tlsShutdownFinished(self, reason: Failure | None) -> None:
                super()._tlsShutdownFinished(reason)
                ended = self.__dict__.pop("_wsockEnded", None)
                if ended is not None:
                    ended()

        Telling.__name__ = Telling.__qualname__ = base.__name__
        return Telling

    classes: dict[type, type] = {base: telling(base) for base in (tls.TLSMemoryBIOProtocol, tls.BufferingTLSTransport)}
    DRIVERS.update(dict.fromkeys((*classes, *classes.values()), TLS))
    return classes


def isTLS(transport: object) -> bool:
    """Whether ``transport`` is Twisted's own TLS, and not a class derived from it."""
    return _driverOfKind(type(transport)) is TLS


def isStartedTLS(transport: Any) -> bool:
    """Whether ``transport`` is one of Twisted's own over a socket, and its ``startTLS`` was called."""
    return DRIVERS.get(type(transport)) is STOCK and bool(transport.TLS)


def tlsBelow(transport: Any) -> Any:
    """Twisted's TLS that this transport is, or at some depth wraps; None without one."""
    while transport is not None and not isTLS(transport):
        if isStartedTLS(transport):
            # A transport that ``startTLS`` was called of is the one that TLS stands on; it forgets TLS when it is lost.
            above = getattr(transport, "protocol", None)
            return above if isTLS(above) else None
        transport = getattr(transport, "transport", None)
    return transport


def writeTLS(transport: Any, data: bytes) -> None:
    """Has TLS encrypt bytes at once. Its own ``write`` keeps small ones for the next turn: they would be overtaken."""
    from twisted.protocols.tls import TLSMemoryBIOProtocol

    TLSMemoryBIOProtocol.write(transport, data)


def flushTLS(transport: Any) -> None:
    """Has TLS somewhere below a transport encrypt what it keeps for the next turn, and its socket take that."""
    tls = tlsBelow(transport)
    aggregator = getattr(tls, "_aggregator", None)
    if aggregator is not None:
        aggregator.flush()
        below = stockBelowTLS(tls)
        if below is not None:
            push(below)


def tellTLSEnd(transport: Any, ended: Callable[[], None]) -> None:
    """Calls ``ended`` once, as soon as TLS has ended, perhaps now: at the peer's close_notify, an alert, or an error.

    TLS itself does not tell then: it has the transport below close, which waits for its producer to leave.
    """
    if transport._lostTLSConnection:
        ended()
        return
    # The class, and no method of the instance: that would be a cycle for each connection.
    transport.__class__ = _addTLS().get(type(transport), type(transport))
    transport._wsockEnded = ended


@cache
def _bypassTLS() -> type:
    from twisted.internet._newtls import _BypassTLS

    return _BypassTLS


def stockBelowTLS(transport: Any) -> Any:
    """The stock transport right below Twisted's TLS, while it is connected; None of anything else."""
    below: Any = getattr(transport, "transport", None)
    # After ``startTLS`` something stands between, by which TLS writes past itself.
    below = getattr(below, "_connection", below) if type(below) is _bypassTLS() else below
    return below if DRIVERS.get(type(below)) is STOCK and below.connected else None
