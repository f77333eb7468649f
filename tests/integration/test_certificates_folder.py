"""`twistd wsock` with a folder of certificates, and their renewal: real clients, and signals."""

import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.peer import PATIENCE, Peer, frame, make_certificate, request, within
from integration.process import Twistd

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="sends signals")]

LOOPBACK = "tcp:0:interface=127.0.0.1"
VERSIONS = pytest.mark.parametrize(
    "version", [pytest.param(ssl.TLSVersion.TLSv1_2, id="1.2"), pytest.param(ssl.TLSVersion.TLSv1_3, id="1.3")]
)


@pytest.fixture(autouse=True)
def default_signals() -> Iterator[None]:
    """The suite may have been started by nohup, and a process inherits that SIGHUP is ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def renew(folder: Path, *names: str) -> bytes:
    """Puts a new certificate for some names into the folder of the first; returns it in DER."""
    made = folder / names[0].replace("*", "_")
    made.mkdir(exist_ok=True)
    key, certificate = make_certificate(made, *names)
    key.replace(made / "privkey.pem")
    certificate.replace(made / "fullchain.pem")
    return ssl.PEM_cert_to_DER_cert((made / "fullchain.pem").read_text())


class Client(Peer):
    """A client that takes any certificate, and keeps it."""

    def __init__(self, port: int, name: str, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = context.maximum_version = version
        sock = context.wrap_socket(socket.create_connection(("127.0.0.1", port), PATIENCE), server_hostname=name)
        super().__init__(sock)
        self.certificate = sock.getpeercert(True)

    def open(self) -> None:
        self.send(request())
        assert self.answer().status == 101

    def echoes(self) -> bool:
        self.send(frame(0x81, b"still?"))
        return self.frame() == (0x81, b"still?")


def certificate_of(port: int, name: str) -> bytes | None:
    client = Client(port, name)
    client.close()
    return client.certificate


@VERSIONS
def test_a_renewal(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """At SIGHUP new clients get the new certificate; an open connection goes on."""
    renew(tmp_path, "one.example")
    old = renew(tmp_path, "two.example")
    with Twistd("--port", LOOPBACK, "--port", LOOPBACK, "--tls-cert", tmp_path, ports=2) as twistd:
        before = Client(twistd.ports[0], "two.example", version)
        assert before.certificate == old
        before.open()
        new = renew(tmp_path, "two.example")
        twistd.process.send_signal(signal.SIGHUP)
        within(PATIENCE, lambda: certificate_of(twistd.ports[0], "two.example") == new, "the new certificate")
        # All ports are done by the time that it is told.
        within(PATIENCE, lambda: "the certificates were read again" in twistd.log(), "the log says so")
        after = Client(twistd.ports[1], "two.example", version)
        assert after.certificate == new
        after.open()
        assert before.echoes()
        assert after.echoes()
        before.close()
        after.close()


def test_a_renewal_that_fails(tmp_path: Path) -> None:
    """The log has one line that names the file; the old certificates stay until it is mended."""
    old = renew(tmp_path, "one.example")
    with Twistd("--port", LOOPBACK, "--port", LOOPBACK, "--tls-cert", tmp_path, ports=2) as twistd:
        key = tmp_path / "one.example" / "privkey.pem"
        before = key.read_bytes()
        new = renew(tmp_path, "one.example")
        after = key.read_bytes()
        key.write_bytes(before)
        twistd.process.send_signal(signal.SIGHUP)
        within(PATIENCE, lambda: "can't be read again" in twistd.log(), "the log says so")
        assert [certificate_of(port, "one.example") for port in twistd.ports] == [old, old]
        key.write_bytes(after)
        twistd.process.send_signal(signal.SIGHUP)
        within(PATIENCE, lambda: "the certificates were read again" in twistd.log(), "the log says so")
        assert [certificate_of(port, "one.example") for port in twistd.ports] == [new, new]
        told = re.findall(r"^\S+ \[(.*)\] (.*certificates.*)$", twistd.log(), re.MULTILINE)
        folder = tmp_path / "one.example"
        assert [line for _, line in told] == [
            "the certificates can't be read again, and the old ones stay: the key does not fit the certificate: "
            f"{folder}/fullchain.pem, {key}",
            "the certificates were read again",
        ]


def test_a_name_that_is_no_ascii(tmp_path: Path) -> None:
    """It is a line in the log, without a traceback."""
    renew(tmp_path, "one.example")
    renew(tmp_path, "two.example")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="one.example").do_handshake()
    with Twistd("--port", LOOPBACK, "--tls-cert", tmp_path) as twistd:
        peer = twistd.address().connect()
        peer.send(outgoing.read().replace(b"one.example", b"\xff\xfe\r\nexample"))
        within(PATIENCE, lambda: "is no ASCII" in twistd.log(), "the log says so")
        # Leaving the context looks for tracebacks.


def test_without_tls_nothing_is_said(tmp_path: Path) -> None:
    with Twistd("--port", LOOPBACK, "--access-log", tmp_path / "access.log") as twistd:
        (tmp_path / "access.log").rename(tmp_path / "access.log.1")
        twistd.process.send_signal(signal.SIGHUP)
        within(PATIENCE, (tmp_path / "access.log").exists, "the log was opened again")
        assert "certificates" not in twistd.log()


@pytest.mark.peer
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_gets_the_certificate_of_each_name(tmp_path: Path, version: str) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is missing")
    for names in (["a.example"], ["*.b.example", "b.example"], ["default", "192.0.2.1"]):
        renew(tmp_path, *names)
    with Twistd("--port", LOOPBACK, "--tls-cert", tmp_path) as twistd:
        for options, subject in (
            (["-servername", "A.example"], "a.example"),
            (["-servername", "b.example"], "*.b.example"),
            (["-servername", "x.b.example"], "*.b.example"),
            (["-servername", "x.y.b.example"], "default"),
            (["-servername", "nonesuch"], "default"),
            (["-noservername"], "default"),
        ):
            command = [openssl, "s_client", "-connect", f"127.0.0.1:{twistd.ports[0]}", version, *options]
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
            )
            assert re.findall(r"^subject=CN ?= ?(.*)$", done.stdout, re.MULTILINE) == [subject]


@pytest.mark.peer
def test_openssl_resumes_until_the_renewal(tmp_path: Path) -> None:
    """Its ticket is taken until then, and afterwards it is shown the new certificate."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is missing")
    renew(tmp_path, "a.example")
    renew(tmp_path, "b.example")
    session = tmp_path / "session"
    with Twistd("--port", LOOPBACK, "--tls-cert", tmp_path) as twistd:

        def handshake(*options: object) -> str:
            command = [openssl, "s_client", "-connect", f"127.0.0.1:{twistd.ports[0]}", "-servername", "b.example"]
            words = [*map(str, command), *map(str, options)]
            done = subprocess.run(
                words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
            )
            (told,) = set(re.findall(r"^(New|Reused), TLSv1\.2", done.stdout, re.MULTILINE))
            return str(told)

        assert handshake("-tls1_2", "-sess_out", session) == "New"
        assert handshake("-tls1_2", "-sess_in", session) == "Reused"
        new = renew(tmp_path, "b.example")
        twistd.process.send_signal(signal.SIGHUP)
        within(PATIENCE, lambda: certificate_of(twistd.ports[0], "b.example") == new, "the new certificate")
        assert handshake("-tls1_2", "-sess_in", session) == "New"
