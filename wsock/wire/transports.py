"""What is known of Twisted's transports beyond their interfaces; the only module that names their private attributes.

Rules:

* A transport is judged by its exact type, never by its attributes: wrappers forward attributes, and the socket of a
  TLS wrapper would take plain text.
* Nothing here keeps state of its own: a connection's facts are the connection's.

Two kinds of transport are known well: Twisted's TCP and UNIX transports ("stock"), and Twisted's TLS.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

from twisted.internet import tcp
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableDescriptor, ISSLTransport
from twisted.python.failure import Failure

_STOCK: set[type] = {tcp.Server, tcp.Client}
with suppress(ImportError):  # on a platform without UNIX sockets
    from twisted.internet import unix

    _STOCK |= {unix.Server, unix.Client}

try:
    import fcntl
    import termios
except ImportError:  # pragma: no cover - Windows
    _OUTQ: int | None = None
else:
    #: SIOCOUTQ, under its older name.
    _OUTQ = termios.TIOCOUTQ


def isStock(transport: object) -> bool:
    """Whether ``transport`` is one of Twisted's own, over a plain socket, and not a class derived from it."""
    return type(transport) in _STOCK and not transport.TLS  # type: ignore[attr-defined]


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


def stockBelow(transport: Any) -> Any:
    """The stock transport that this one is, or at the end wraps; None where there is none."""
    while transport is not None and type(transport) not in _STOCK:
        transport = getattr(transport, "transport", None)
    return transport


def lowest(transport: Any) -> Any:
    """The transport below all that wrap one, as TLS does."""
    while (below := getattr(transport, "transport", None)) is not None:
        transport = below
    return transport


def canHalfClose(transport: Any) -> bool:
    """Whether the transport's end is a socket's: behind TLS, half a close would cut off what ends TLS."""
    return IHalfCloseableDescriptor.providedBy(transport) and not ISSLTransport.providedBy(transport)


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


# TLS


@cache
def _tlsClasses() -> dict[type, type]:
    """Twisted's TLS transports, each with the class that tells of its end; asked for once there is such a transport."""
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

    return {base: telling(base) for base in (tls.TLSMemoryBIOProtocol, tls.BufferingTLSTransport)}


def isTLS(transport: object) -> bool:
    """Whether ``transport`` is Twisted's own TLS, and not a class derived from it."""
    if "twisted.protocols.tls" not in sys.modules:
        # So that plain connections do not need the packages for TLS.
        return False
    classes = _tlsClasses()
    kind = type(transport)
    return kind in classes or kind in classes.values()


def isStartedTLS(transport: Any) -> bool:
    """Whether ``transport`` is one of Twisted's own over a socket, and its ``startTLS`` was called."""
    return type(transport) in _STOCK and bool(transport.TLS)


def tlsBelow(transport: Any) -> Any:
    """Twisted's TLS that this transport is, or at some depth wraps; None where there is none."""
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

    TLS itself then tells nobody: it has the transport below close, which waits for its producer to leave. The call
    comes in the middle of TLS's own work, and also within its ``connectionLost``.
    """
    if transport._lostTLSConnection:
        ended()
        return
    classes = _tlsClasses()
    # The class, and no method of the instance: that would be a cycle for each connection.
    transport.__class__ = classes.get(type(transport), type(transport))
    transport._wsockEnded = ended


def forgetTLSEnd(transport: Any) -> None:
    """Takes `tellTLSEnd` back."""
    transport.__dict__.pop("_wsockEnded", None)


@cache
def _bypassTLS() -> type:
    from twisted.internet._newtls import _BypassTLS

    return _BypassTLS


def stockBelowTLS(transport: Any) -> Any:
    """The stock transport right below Twisted's TLS, while it is connected; else None."""
    below = transport.transport
    # After ``startTLS`` something stands between, by which TLS writes past itself.
    below = getattr(below, "_connection", below) if type(below) is _bypassTLS() else below
    return below if type(below) in _STOCK and below.connected else None


def lose(transport: Any) -> None:
    """Loses a stock transport, as the reactor does at the end of a stream: what the system holds still arrives."""
    transport.connectionLost(Failure(ConnectionDone()))
