"""The drivers of our own TLS, `wsock.wire.tls`: an entry of the table of `wsock.wire.transports`.

The layer does by itself what Twisted's TLS has to be helped with: it tries the socket at each write, and tells of its
end. So these drivers only pass facts on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from .tlssending import PORTION_BYTES
from .transports import Driver, driverOf, isStock


class LayerDriver(Driver):
    """The driver of our own TLS above a transport that is not known."""

    __slots__ = ()

    waitsForTurn = True
    handoverBytes = PORTION_BYTES

    def fit(self, transport: Any) -> Driver:
        """Returns `SOCKET_LAYER` above a stock transport."""
        return SOCKET_LAYER if isStock(transport.transport) else self

    def write(self, transport: Any, data: bytes) -> None:
        """Has TLS encrypt bytes, and the socket take them."""
        transport.write(data)

    def bytesHeld(self, transport: Any) -> int | None:
        """How many bytes the layer holds, and the transport below."""
        held: int | None = transport.bytesHeld
        return held

    def bytesInFlight(self, transport: Any) -> int | None:
        """How many bytes the peer has not taken of those that were written; None where it can't be known."""
        below = transport.transport
        inFlight = driverOf(below).bytesInFlight(below)
        return None if inFlight is None else inFlight + int(transport.sender.size)

    def releaseProducer(self, transport: Any) -> None:
        """Does nothing: the layer lets go by itself."""

    def isSecure(self, transport: Any) -> bool:
        """Whether there is TLS: always."""
        return True

    def adopt(self, transport: Any) -> bool:
        """Has the hub read the transport below where that can be, once that holds nothing that was not sent."""
        below = transport.transport
        return driverOf(below).adopt(below)

    def readMuch(self, transport: Any) -> None:
        """Has the transport below be read in larger pieces where that can be."""
        below = transport.transport
        driverOf(below).readMuch(below)

    def setProtocol(self, transport: Any, protocol: Any) -> bool:
        """Has another protocol get what comes from now on."""
        transport.setProtocol(protocol)
        return True

    def setNoDelay(self, transport: Any) -> None:
        """Has small messages leave at once."""
        below = transport.transport
        driverOf(below).setNoDelay(below)

    def isClosedByOthers(self, transport: Any) -> bool:
        """Whether somebody else has closed the layer, which waits for its producer."""
        return bool(transport.disconnecting)

    def isShaken(self, transport: Any) -> bool:
        """Whether the TLS handshake is done."""
        return bool(transport.isShaken)

    def hasBegun(self, transport: Any) -> bool:
        """Whether the peer's first message of the TLS handshake has come."""
        return bool(transport.hasAnswered)

    def tellEnd(self, transport: Any, ended: Callable[[], None]) -> None:
        """Does nothing: the end of TLS is a loss of the layer."""

    def canDrain(self, transport: Any) -> bool:
        """Whether there is something to drain: never, since the layer does it."""
        return False


class SocketLayerDriver(LayerDriver):
    """The driver of our own TLS right above one of Twisted's TCP and UNIX transports."""

    __slots__ = ()

    knowsBytesHeld = True


LAYER: Final = LayerDriver()
SOCKET_LAYER: Final = SocketLayerDriver()
