"""A peer that acts as a test says, and never by itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from ..sansio import handshake
from ..sansio.errors import LocalProtocolError
from ..sansio.head import as_bytes
from ..sansio.http import RequestDecoder, RequestHead, ResponseDecoder, ResponseHead
from ..sansio.masking import unmask
from .transport import MemoryTransport


@implementer(IProtocol, IHalfCloseableProtocol)
class ScriptedPeer:
    """The other side of a connection in memory, byte by byte; for acts of a misbehaving peer.

    It is a protocol: give it to `Pair` as either side, or to `MemoryEndpoint` as the server::

        peer = ScriptedPeer()
        pair = Pair(WebSocketServerFactory(buildApplication), peer)
        peer.open()
        pair.flush()
        peer.send(bytes.fromhex("c18000000000"))

    Its acts happen in the flush that follows, and what it receives is here to be looked at. When the other
    side ends its stream, it does not answer with its own end: see `shutdown` and `close`.

    Attributes:
        transport: its end of the connection.
        received: the bytes that came and that were not taken.
        ended: whether the other side has ended its stream: as after a half-close or a close.
        lost: why the connection was lost, or None.
    """

    def __init__(self) -> None:
        self.transport: MemoryTransport = None  # type: ignore[assignment]
        self.received = bytearray()
        self.ended = False
        self.lost: BaseException | None = None

    # Acts of a test

    def send(self, data: bytes) -> None:
        """Sends bytes.

        Args:
            data: whatever; several calls are one stream.

        Raises:
            LocalProtocolError: it is not bytes; or nothing is connected yet.
        """
        data = as_bytes("data", data)
        if self.transport is None:
            raise LocalProtocolError("the peer is not connected yet: give it to a Pair or a MemoryEndpoint first")
        self.transport.write(data)

    def pause(self) -> None:
        """Reads no more, so that the other side's bytes pile up."""
        self.transport.pauseProducing()

    def resume(self) -> None:
        """Reads again."""
        self.transport.resumeProducing()

    def shutdown(self) -> None:
        """Ends what it sends, after all that was sent, and reads on."""
        self.transport.loseWriteConnection()

    def close(self) -> None:
        """Closes the connection, after all that was sent."""
        self.transport.loseConnection()

    def drop(self) -> None:
        """Resets the connection: the other side sees a ``ConnectionLost``."""
        self.transport.abortConnection()

    def open(
        self,
        url: str = "ws://localhost/",
        *,
        headers: Iterable[tuple[str, str]] = (),
        subprotocols: Sequence[str] = (),
    ) -> None:
        """Sends a proper opening request, as a client.

        Args:
            url: where to.
            headers: more fields.
            subprotocols: those to offer.

        Raises:
            LocalProtocolError: it can't be sent; use `send`.
        """
        self.send(handshake.open(url, headers=headers, subprotocols=subprotocols).encode())

    def accept(self, *, subprotocol: str | None = None, headers: Iterable[tuple[str, str]] = ()) -> RequestHead:
        """Takes the client's opening request and answers it with a proper 101, as a server.

        Args:
            subprotocol: the one to agree on.
            headers: more fields.

        Returns:
            the request.

        Raises:
            AssertionError: no whole request came yet.
            InvalidRequest: it is not a valid request for a WebSocket.
            LocalProtocolError: a subprotocol that was not offered, or a header that can't be sent; use `send`.
        """
        request: RequestHead = self._takeHead(RequestDecoder())
        self.send(handshake.response(handshake.handle_open(request), subprotocol=subprotocol, headers=headers).encode())
        return request

    # Received

    def taken(self) -> bytes:
        """Returns the bytes that came since the last look."""
        data = bytes(self.received)
        self.received.clear()
        return data

    def answer(self) -> ResponseHead:
        """Takes the head of the server's answer to `open`; bytes behind it stay.

        Returns:
            the answer.

        Raises:
            AssertionError: no whole answer came yet.
            InvalidResponse: the bytes that came are not a valid response.
        """
        head: ResponseHead = self._takeHead(ResponseDecoder())
        return head

    def frames(self) -> list[tuple[int, bytes]]:
        """Takes the whole frames that came; bytes behind them stay.

        Returns:
            for each its first byte, which has FIN, the reserved bits and the opcode, and its payload, unmasked. It is
            not checked whether they may come.
        """
        frames = []
        while (frame := self._takeFrame()) is not None:
            frames.append(frame)
        return frames

    def _takeHead(self, decoder: Any) -> Any:
        head = decoder.decode(bytes(self.received))
        if head is None:
            raise AssertionError(f"no whole head came, but {bytes(self.received)!r}")
        self.received[:] = decoder.unread
        return head

    def _takeFrame(self) -> tuple[int, bytes] | None:
        # RFC 6455 §5.2
        data = self.received
        if len(data) < 2:
            return None
        length, start = data[1] & 0x7F, 2
        if length > 125:
            start = 4 if length == 126 else 10
            length = int.from_bytes(data[2:start], "big")
        masked = data[1] >= 0x80
        key, start = bytes(data[start : start + 4]), start + (4 if masked else 0)
        if len(data) < start + length:
            return None
        payload = bytes(data[start : start + length])
        frame = data[0], unmask(payload, 0, length, key) if masked else payload
        del data[: start + length]
        return frame

    # IProtocol, IHalfCloseableProtocol

    def makeConnection(self, transport: Any) -> None:
        """The connection is there."""
        self.transport = transport

    def connectionMade(self) -> None:
        """Part of the interface; it is never called."""

    def dataReceived(self, data: bytes) -> None:
        """Keeps the bytes that came."""
        self.received += data

    def readConnectionLost(self) -> None:
        """The other side has ended its stream."""
        self.ended = True

    def writeConnectionLost(self) -> None:
        """The end of our own stream has left."""

    def connectionLost(self, reason: Failure) -> None:
        """Keeps why the connection was lost."""
        self.lost = reason.value
