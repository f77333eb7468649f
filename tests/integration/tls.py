"""Peers whose TLS is under a test's hand: what they say and how they end it goes out in one piece, or in two."""

import socket
import ssl
import struct

from feeding import frame
from integration.peer import KEY, PATIENCE, Address, Asked, Listener, Peer, masked, request


class TLSPeer(Peer):
    """The other side of a TLS connection; what it sends is made by `encrypted` and the like, and left by `put`.

    Attributes:
        notified: whether the other side has ended TLS with a close_notify.
        reset: whether the other side has reset the connection.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, server: bool) -> None:
        super().__init__(sock)
        self.hears_masked = server
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.notified = self.reset = False
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=server, server_hostname=None)
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self.put(self._out.read())
                self._in.write(self.socket.recv(2**16))
            else:
                break
        self.put(self._out.read())

    def put(self, *pieces: bytes) -> None:
        """Gives the system bytes of the stream, all in one piece."""
        self.socket.sendall(b"".join(pieces))

    def encrypted(self, data: bytes) -> bytes:
        """Bytes of ours as the stream has them."""
        self._tls.write(data)
        return self._out.read()

    def frame_of(self, first: int, payload: bytes) -> bytes:
        """A frame of ours."""
        return frame(first, payload, None if self.hears_masked else KEY)

    def close_notify(self) -> bytes:
        """The end of our side of TLS."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            # It wants to read the other side's.
            pass
        return self._out.read()

    def send(self, data: bytes) -> None:
        self.put(self.encrypted(data))

    def _receive(self) -> bool:
        # The handshake's last piece may have had more behind it.
        if not self._decrypt():
            try:
                data = self.socket.recv(2**16)
            except ConnectionResetError:
                self.reset, data = True, b""
            self.ended = not data
            self._in.write(data)
            self._decrypt()
        return not self.ended

    def _decrypt(self) -> bool:
        """Takes what TLS has; returns whether there was anything."""
        before = len(self._received)
        while not self.notified:
            try:
                plain = self._tls.read(2**16)
            except ssl.SSLWantReadError:
                break
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                plain = b""
            self.notified = not plain
            self._received += plain
        return len(self._received) > before

    def frames(self) -> list[tuple[int, bytes]]:
        """All whole frames that come until the end of the stream."""
        while not self.ended:
            self._receive()
        data, frames = self._received, []
        while len(data) >= 2:
            length, start = data[1] & 127, 2
            if length > 125:
                start = 4 if length == 126 else 10
                length = int.from_bytes(data[2:start], "big")
            key, start = (data[start : start + 4], start + 4) if self.hears_masked else (bytes(4), start)
            if len(data) < start + length:
                break
            frames.append((data[0], masked(bytes(data[start : start + length]), bytes(key))))
            del data[: start + length]
        return frames

    def drop(self) -> None:
        """Resets the connection."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


def call_tls(server: Address, receive_buffer: int | None = None, opened: bool = True) -> TLSPeer:
    """Connects a peer to a server of ours, and opens the connection; the buffer as for `Address.connect`."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    peer = TLSPeer(server.connect(receive_buffer, tls=False).socket, context, server=False)
    if opened:
        peer.send(request())
        assert peer.answer().status == 101
    return peer


def answer_tls(listener: Listener) -> TLSPeer:
    """Waits for a client of ours, and opens the connection."""
    assert listener._context is not None
    peer = TLSPeer(listener.accept(tls=False).socket, listener._context, server=True)
    peer.send(Asked(*peer._head()).welcome())
    return peer
