"""WebSocket clients and servers made of bytes, and whom they talk to: for threads, since all of it blocks."""

import base64
import hashlib
import ipaddress
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
from feeding import KEY, frame, masked

__all__ = [
    "FIELDS",
    "KEY",
    "PATIENCE",
    "Address",
    "Answer",
    "Asked",
    "Caller",
    "Listener",
    "Peer",
    "Place",
    "frame",
    "make_certificate",
    "request",
    "within",
]

#: How long a peer waits for what must come at once, in seconds: other suites may run on this machine.
PATIENCE = 30
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
    return _write(line, FIELDS, more + end, changes)


def _write(line: str, defaults: dict[str, str], more: str, changes: dict[str, str | None]) -> bytes:
    fields = dict(defaults)
    for name, value in changes.items():
        known = next((one for one in fields if one.lower() == name.lower().replace("_", "-")), name.replace("_", "-"))
        fields.pop(known, None)
        if value is not None:
            fields[known] = value
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{line}\r\n{head}{more}".encode("latin-1")


def within(seconds: float, condition: Callable[[], object], what: str) -> None:
    """Waits for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def make_certificate(
    folder: Path,
    *names: str,
    authority: tuple[Path, Path] | None = None,
    alternatives: bool = True,
    days: tuple[int, int] = (-1, 2),
) -> tuple[Path, Path]:
    """Makes a key and a certificate; returns their paths.

    Args:
        folder: where to.
        names: host names and addresses that it is for, those with "DNS:" in front host names in any case; this
            machine's name if there are none.
        authority: the key and the certificate of who signs it; by default it signs itself.
        alternatives: whether it has these names where they are looked for, and not as its subject's alone.
        days: from when and until when it is valid, in days from now.
    """
    names = names or ("localhost",)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    issuer, signer = name, key
    if authority is not None:
        issuer = x509.load_pem_x509_certificate(authority[1].read_bytes()).subject
        signer = serialization.load_pem_private_key(authority[0].read_bytes(), None)  # type: ignore[assignment]
    now = datetime.now(timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    # Both of them are wanted from Python 3.13 on (RFC 5280 sections 4.2.1.1 and 4.2.1.3).
    if authority is None:
        usage = x509.KeyUsage(True, False, False, False, False, True, False, False, False)
        builder = builder.add_extension(usage, critical=True)
    else:
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        builder = builder.add_extension(issuer_key, critical=False)
    if alternatives:
        general = [_general_name(name) for name in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    certificate = builder.sign(signer, hashes.SHA256())
    key_path, certificate_path = folder / "key.pem", folder / "certificate.pem"
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return key_path, certificate_path


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name.removeprefix("DNS:"))


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
class Asked:
    """A client's opening request."""

    line: str
    fields: list[tuple[str, str]]

    __getitem__ = Answer.__getitem__

    @property
    def accept(self) -> str:
        """The answer to its key (RFC 6455 section 1.3)."""
        digest = hashlib.sha1(f"{self['Sec-WebSocket-Key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
        return base64.b64encode(digest).decode()

    def welcome(self, line: str = "HTTP/1.1 101 Switching Protocols", more: str = "", **changes: str | None) -> bytes:
        """The answer that opens the connection; the arguments as those of `request`."""
        fields = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": self.accept}
        return _write(line, fields, f"{more}\r\n", changes)


@dataclass
class Place:
    """Where a server listens, by IP or at the path of a UNIX socket, and the path of its certificate if it has one."""

    port: int = 0
    path: str = ""
    certificate: Path | None = None

    def url(self, path: str = "/", host: str = "localhost") -> str:
        return f"{'wss' if self.certificate else 'ws'}://{host}{f':{self.port}' if self.port else ''}{path}"


@dataclass
class Address(Place):
    """Where a server of ours listens, and who has connected there."""

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
    """The other side of a connection: a client, to which a server of ours talks."""

    #: Whether those to whom it talks mask their frames.
    hears_masked = False

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

    def answer(self, version: str = "HTTP/1.1") -> Answer:
        """The head of the next HTTP answer."""
        start, fields = self._head()
        told, status, reason = start.split(" ", 2)
        assert told == version
        return Answer(int(status), reason, fields)

    def _head(self) -> tuple[str, list[tuple[str, str]]]:
        """The first line and the fields of what comes next."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.read(1)
            assert byte, f"the stream ended in a head: {head!r}"
            head += byte
        start, *lines = head.decode("latin-1")[:-4].split("\r\n")
        return start, [(name, value.strip(" ")) for name, _, value in (line.partition(":") for line in lines)]

    def frame(self) -> tuple[int, bytes]:
        """The next frame: its first byte and its payload, unmasked."""
        head = self.read(2)
        assert len(head) == 2, "the stream ended before a frame"
        first, length = head
        assert (length > 127) == self.hears_masked, "a server masked" if length > 127 else "a client did not mask"
        length &= 127
        if length == 126:
            (length,) = struct.unpack("!H", self.read(2))
            assert length > 125
        elif length == 127:
            (length,) = struct.unpack("!Q", self.read(8))
            assert length > 65535
        key = self.read(4) if self.hears_masked else bytes(4)
        payload = self.read(length)
        assert len(payload) == length, "the stream ended in a frame"
        return first, masked(payload, key)

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
        cut: bool = False,
        patience: float | None = None,
    ) -> int:
        """Sends bytes over and over.

        Args:
            data: what is repeated.
            total: how many bytes to send in all.
            start: how many of them were sent by earlier calls.
            read: whether to read what comes meanwhile.
            ends: whether to stop when the other half of the stream ends.
            cut: whether the other side may cut the connection off; then it ends here.
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
                except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
                    if not cut:
                        raise
                    break
                if read and not self.ended:
                    try:
                        moved = self._receive() or moved
                    except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                        pass
                    except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
                        if not cut:
                            raise
                        break
                if not moved:
                    ready = select.select([self.socket] if read and not self.ended else [], [self.socket], [], patience)
                    if not any(ready):
                        break
        finally:
            self.socket.settimeout(PATIENCE)
        return start


class Caller(Peer):
    """The other side of a connection: a server, to which a client of ours talks."""

    hears_masked = True

    def asked(self) -> Asked:
        """The client's request."""
        return Asked(*self._head())


class Listener(Place):
    """Where clients of ours connect: a server made of bytes.

    Attributes:
        names: of TLS, what each client that connected said whom it looks for.
    """

    def __init__(
        self,
        certificate: tuple[Path, Path] | None = None,
        host: str = "127.0.0.1",
        receive_buffer: int | None = None,
        configure: Callable[[ssl.SSLContext], object] = lambda context: None,
    ) -> None:
        """Args:
        certificate: the paths of its key and its certificate; None for no TLS.
        configure: called with what its TLS is made of.
        host: the address to listen at.
        receive_buffer: as that of `Address.connect`.
        """
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, receive_buffer)
        self.socket.bind((host, 0))
        self.socket.listen()
        self.socket.settimeout(PATIENCE)
        super().__init__(self.socket.getsockname()[1], "", certificate and certificate[1])
        self.names: list[str | None] = []
        self.callers: list[Caller] = []
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate[1], certificate[0])
            self._context.sni_callback = lambda sock, name, context: self.names.append(name)
            configure(self._context)

    def accept(self, tls: bool = True) -> Caller:
        """Waits for the next client.

        Args:
            tls: whether to begin TLS where it is spoken; an error of the client's is raised.
        """
        sock, _ = self.socket.accept()
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self._context is not None and tls:
                # As in `Address.connect`.
                sock = self._context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False)
        except BaseException:
            sock.close()
            raise
        self.callers.append(Caller(sock))
        return self.callers[-1]

    def open(self, more: bytes = b"") -> Caller:
        """Waits for a client, and opens the connection; ``more`` is sent with the answer."""
        caller = self.accept()
        caller.send(caller.asked().welcome() + more)
        return caller

    def expect_nobody(self, seconds: float = 0.2) -> None:
        """No client has connected, nor does for a while."""
        self.socket.settimeout(seconds)
        try:
            self.socket.accept()[0].close()
        except TimeoutError:
            self.socket.settimeout(PATIENCE)
            return
        raise AssertionError("somebody connected")

    def close(self) -> None:
        self.socket.close()
        for caller in self.callers:
            caller.close()
