"""A WebSocket client made of bytes, and what it talks to: for threads, since all of it blocks."""

import select
import socket
import ssl
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from feeding import KEY, frame

__all__ = ["FIELDS", "KEY", "Address", "Answer", "Peer", "frame", "make_certificate", "request", "within"]

#: How long a peer waits for what must come at once, in seconds.
PATIENCE = 15
#: The header fields of RFC 6455 section 1.2.
FIELDS = {
    "Host": "127.0.0.1",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def request(line: str = "GET /echo HTTP/1.1", more: str = "", end: str = "\r\n", **changes: str | None) -> bytes:
    """An opening request.

    Args:
        line: the request line.
        more: further lines, each with its end.
        end: what the head ends with.
        changes: other values for the fields, with ``_`` for ``-``; None leaves a field out.
    """
    fields = dict(FIELDS)
    for name, value in changes.items():
        known = next((one for one in fields if one.lower() == name.lower().replace("_", "-")), name.replace("_", "-"))
        fields.pop(known, None)
        if value is not None:
            fields[known] = value
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{line}\r\n{head}{more}{end}".encode("latin-1")


def within(seconds: float, condition: Callable[[], object], what: str) -> None:
    """Waits for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Makes a key and a certificate for this machine that signs itself; returns their paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    key_path, certificate_path = folder / "key.pem", folder / "certificate.pem"
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return key_path, certificate_path


@dataclass
class Answer:
    """An HTTP answer's head."""

    status: int
    reason: str
    fields: list[tuple[str, str]]

    def __getitem__(self, name: str) -> str | None:
        """The value of the only field of that name, None where there is none."""
        values = [value for one, value in self.fields if one.lower() == name.lower()]
        assert len(values) <= 1, f"{name} several times: {values}"
        return values[0] if values else None


@dataclass
class Address:
    """Where a server listens."""

    port: int = 0
    path: str = ""
    certificate: Path | None = None
    peers: list["Peer"] = field(default_factory=list)

    def connect(self, receive_buffer: int | None = None, tls: bool = True) -> "Peer":
        """Connects a peer.

        Args:
            receive_buffer: how much the system takes in for a peer that does not read, about; None for its default.
            tls: whether to begin TLS where it is spoken.
        """
        sock = socket.socket(socket.AF_UNIX if self.path else socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(PATIENCE)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, receive_buffer)
        try:
            if self.path:
                sock.connect(self.path)
            else:
                sock.connect(("127.0.0.1", self.port))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.certificate is not None and tls:
                context = ssl.create_default_context(cafile=self.certificate)
                # A stream that ends without TLS's own farewell is cut off, and not at its end.
                sock = context.wrap_socket(sock, server_hostname="localhost", suppress_ragged_eofs=False)
        except BaseException:
            sock.close()
            raise
        peer = Peer(sock)
        self.peers.append(peer)
        return peer

    def open(self, receive_buffer: int | None = None, **changes: str | None) -> "Peer":
        """Connects a peer and does the opening handshake."""
        peer = self.connect(receive_buffer)
        peer.send(request(**changes))
        assert peer.answer().status == 101
        return peer

    def close(self) -> None:
        """Closes all peers that were connected here."""
        for peer in self.peers:
            peer.close()


class Peer:
    """The other side of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._received = bytearray()
        #: Whether the stream has come to its end.
        self.ended = False

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def close(self) -> None:
        self.socket.close()

    def shutdown(self) -> None:
        """Ends our half of the stream."""
        self.socket.shutdown(socket.SHUT_WR)

    def _receive(self) -> bool:
        """Reads once; returns whether anything came. A reset is no end: it raises."""
        data = self.socket.recv(2**18)
        self._received += data
        self.ended = not data
        return bool(data)

    def read(self, size: int) -> bytes:
        """The next bytes; fewer where the stream ends before."""
        while len(self._received) < size and not self.ended:
            self._receive()
        data = bytes(memoryview(self._received)[:size])
        del self._received[:size]
        return data

    def rest(self) -> bytes:
        """All that comes until the stream's end, which must be a clean one."""
        while not self.ended:
            self._receive()
        return self.read(len(self._received))

    def expect_end(self, seconds: float = PATIENCE) -> None:
        """Nothing more comes but the end of the stream, within a time."""
        self.socket.settimeout(seconds)
        assert self.rest() == b""
        self.socket.settimeout(PATIENCE)

    def expect_silence(self, seconds: float) -> None:
        """Nothing comes, not even the end of the stream."""
        self.socket.settimeout(seconds)
        try:
            data = self.read(1)
        except TimeoutError:
            self.socket.settimeout(PATIENCE)
            return
        raise AssertionError(f"there came {data!r}")

    def answer(self) -> Answer:
        """The head of the next HTTP answer."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.read(1)
            assert byte, f"the stream ended in a head: {head!r}"
            head += byte
        start, *lines = head.decode("latin-1")[:-4].split("\r\n")
        version, status, reason = start.split(" ", 2)
        assert version == "HTTP/1.1"
        fields = [(name, value.strip(" ")) for name, _, value in (line.partition(":") for line in lines)]
        return Answer(int(status), reason, fields)

    def frame(self) -> tuple[int, bytes]:
        """The next frame, which must be a server's: its first byte and its payload."""
        head = self.read(2)
        assert len(head) == 2, "the stream ended before a frame"
        first, length = head
        assert length < 128, "a server masked"
        if length == 126:
            (length,) = struct.unpack("!H", self.read(2))
            assert length > 125
        elif length == 127:
            (length,) = struct.unpack("!Q", self.read(8))
            assert length > 65535
        payload = self.read(length)
        assert len(payload) == length, "the stream ended in a frame"
        return first, payload

    def expect_close(self, code: int | None, reason: str | None = None) -> None:
        """The next frame is a Close, and has this code, and if given this reason."""
        first, payload = self.frame()
        assert first == 0x88, f"not a Close but {first:#x}, {payload[:50]!r}"
        assert payload[:2] == (b"" if code is None else struct.pack("!H", code)), payload
        if reason is not None:
            assert payload[2:] == reason.encode()

    def stream(
        self,
        data: bytes,
        total: int,
        *,
        start: int = 0,
        read: bool = True,
        ends: bool = True,
        patience: float | None = None,
    ) -> int:
        """Sends bytes over and over.

        Args:
            data: what is repeated.
            total: how many bytes to send in all.
            start: how many of them were sent by earlier calls.
            read: whether to read what comes meanwhile.
            ends: whether to stop when the other half of the stream ends.
            patience: how long to wait, in seconds, when nothing moves; by default long only where we read, since a
                peer that is not read may well have stopped for good.

        Returns:
            how many bytes are sent, those of earlier calls included.
        """
        view = memoryview(data)
        if patience is None:
            patience = PATIENCE if read else 0.3
        self.socket.setblocking(False)
        try:
            while start < total and not (ends and self.ended):
                moved = False
                try:
                    place = start % len(view)
                    start += self.socket.send(view[place : place + total - start])
                    moved = True
                except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                    pass
                if read and not self.ended:
                    try:
                        moved = self._receive() or moved
                    except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                        pass
                if not moved:
                    ready = select.select([self.socket] if read and not self.ended else [], [self.socket], [], patience)
                    if not any(ready):
                        break
        finally:
            self.socket.settimeout(PATIENCE)
        return start
