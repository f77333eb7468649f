"""The adoption of Twisted's transports: each gets a class of ours, by which it waits in the hub and not in the reactor.

A connection stays Twisted's. No more differs than who waits for its socket, and that TCP is read into one buffer for
all; giving a transport its own class back undoes it.

* Only Twisted's own TCP and UNIX transports are adopted, by their exact type. All else is read by the reactor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from errno import EAGAIN
from typing import Any, Final

from twisted.internet import tcp
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST

from .hub import MUCH, canRead, hubOf

#: The bytes that are read at a time, as many as ``FileDescriptor.bufferSize``; and in the middle of a large message.
_READ_BYTES: Final = 2**16
_LARGE_READ_BYTES: Final = 2**18
#: The buffer that all TCP connections are read into. Their bytes are copied out before anything else runs.
_LARGE_BUFFER: Final = memoryview(bytearray(_LARGE_READ_BYTES))
_BUFFER: Final = _LARGE_BUFFER[:_READ_BYTES]


# The methods that differ


def _startReading(self: Any) -> None:
    hubOf(self.reactor).addReader(self)  # type: ignore[union-attr]


def _stopReading(self: Any) -> None:
    hubOf(self.reactor).removeReader(self)  # type: ignore[union-attr]


def _startWriting(self: Any) -> None:
    hubOf(self.reactor).addWriter(self)  # type: ignore[union-attr]


def _stopWriting(self: Any) -> None:
    hubOf(self.reactor).removeWriter(self)  # type: ignore[union-attr]


def _doRead(self: Any) -> Exception | None:
    """Reads into the buffer that all share: one of its own for each read takes longer to make."""
    try:
        count = self.socket.recv_into(_BUFFER)
    except OSError as error:
        return None if error.errno == EAGAIN else CONNECTION_LOST
    if not count:
        return CONNECTION_DONE
    self.protocol.dataReceived(_BUFFER[:count].tobytes())
    return None


def _doLargeRead(self: Any) -> Exception | int | None:
    """Reads more at a time, until less comes; returns `MUCH` after that."""
    try:
        count = self.socket.recv_into(_LARGE_BUFFER)
    except OSError as error:
        return None if error.errno == EAGAIN else CONNECTION_LOST
    if not count:
        return CONNECTION_DONE
    if count <= _READ_BYTES:
        self.__class__ = ADOPTED_CLASSES[_OWN_CLASSES[type(self)]]
    self.protocol.dataReceived(_LARGE_BUFFER[:count].tobytes())
    return MUCH


_WAITS: Final[dict[str, Callable[..., object]]] = {
    "startReading": _startReading,
    "stopReading": _stopReading,
    "startWriting": _startWriting,
    "stopWriting": _stopWriting,
}


def _adoptedClasses(doTCPRead: Callable[[Any], object]) -> Iterator[tuple[type, type]]:
    """Makes the class of the adopted transports of each kind; those over TCP read by ``doTCPRead``.

    Methods set on each transport would take 1.6 KiB a connection, and be a cycle. The class has one base: with another
    one, even without slots, it could not be given to a transport.
    """
    if not canRead():
        return
    methods: dict[type, dict[str, Callable[..., object]]] = {
        tcp.Server: {**_WAITS, "doRead": doTCPRead},
        tcp.Client: {**_WAITS, "doRead": doTCPRead},
    }
    with suppress(ImportError):
        from twisted.internet import unix

        # Their bytes may come with descriptors.
        methods |= {unix.Server: _WAITS, unix.Client: _WAITS}
    for own, differing in methods.items():
        adopted = type(own.__name__, (own,), {**differing, "__doc__": own.__doc__, "__module__": own.__module__})
        transport: Any = object.__new__(own)
        try:
            transport.__class__ = adopted
        except TypeError:
            # A later Twisted's transports may not take another class, as if they had slots.
            continue
        yield own, adopted


#: The class that a transport of each kind has while it is adopted, and the other way round.
ADOPTED_CLASSES: Final[dict[type, type]] = dict(_adoptedClasses(_doRead))
#: The class of one that reads much at a time.
LARGE_CLASSES: Final[dict[type, type]] = dict(_adoptedClasses(_doLargeRead))
_OWN_CLASSES: Final = {adopted: own for classes in (ADOPTED_CLASSES, LARGE_CLASSES) for own, adopted in classes.items()}


def adopt(transport: Any) -> bool:
    """Has the hub of its reactor take over a transport; returns whether it is the hub's now.

    Args:
        transport: one of Twisted's own over a socket, which holds nothing that was not sent, and does not end.
    """
    kind = type(transport)
    if kind in _OWN_CLASSES:
        return True
    adopted, hub = ADOPTED_CLASSES.get(kind), hubOf(transport.reactor)
    return adopted is not None and hub is not None and hub.adopt(transport, adopted)


def readMuch(transport: Any) -> None:
    """Reads a transport in larger pieces, if it is adopted, for as long as much comes: a large message is under way."""
    own = _OWN_CLASSES.get(type(transport))
    if own is not None:
        transport.__class__ = LARGE_CLASSES[own]
