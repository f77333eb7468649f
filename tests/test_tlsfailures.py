"""Errors of OpenSSL as pyOpenSSL has them, by version; `integration/test_tls_failures.py` has real handshakes."""

import gc
import ssl
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from integration.peer import make_certificate
from service_identity import VerificationError
from service_identity.exceptions import DNSMismatch
from twisted.internet.error import ConnectionDone, ConnectionLost

from wsock.wire.tlsfailures import describeClientFailure, describeServerFailure, isDone, noteVerdict, reasonOf


class Error(Exception):
    """As OpenSSL.SSL.Error."""


def error(*reasons: str) -> Error:
    return Error([("SSL routines", "", reason) for reason in reasons])


class Handle:
    def __init__(self, begun: bool, done: bool) -> None:
        self._begun, self._done = begun, done

    def client_random(self) -> bytes | None:
        return b"random" if self._begun else None

    def get_peer_finished(self) -> bytes | None:
        return b"finished" if self._done else None


class Transport:
    def __init__(self, begun: bool = True, done: bool = False) -> None:
        self._handle = Handle(begun, done)

    def getHandle(self) -> Handle:
        return self._handle


REQUIRED = "the server requires a client certificate: give it as clientCertificate"


@pytest.mark.parametrize("version", ["sslv3", "tlsv1", "tlsv13", "ssl/tls", "tls"])
@pytest.mark.parametrize(
    ("alert", "client", "server"),
    [
        (
            "protocol version",
            "client and server have no version of TLS in common",
            "the client knows no version of TLS",
        ),
        ("handshake failure", "client and server have no cipher in common, or ", "client and server have no cipher"),
        ("certificate required", REQUIRED, "the peer ended the handshake"),
        ("unknown ca", "the server does not accept the client's certificate", "the client does not trust the server's"),
        ("certificate unknown", "the server does not accept the client's", "the client does not trust the server's"),
        ("internal error", "the peer ended the handshake", "the peer ended the handshake"),
    ],
)
def test_an_alert_by_any_version_of_openssl(version: str, alert: str, client: str, server: str) -> None:
    reason = f"{version} alert {alert}"
    told = describeClientFailure(error(reason), Transport())
    assert told is not None
    assert told.startswith(f"TLS failed: {client}")
    assert told.endswith(f" ({reason})")
    told = describeServerFailure(error(reason), Transport())
    assert told is not None
    assert told.startswith(server)
    assert told.endswith(f" ({reason})")


def test_a_reason_that_nobody_knows_is_told_as_it_is() -> None:
    assert describeClientFailure(error("dh key too small"), Transport()) == "TLS failed: dh key too small"
    assert describeServerFailure(error("dh key too small"), Transport()) == "dh key too small"
    assert describeServerFailure(error("callback failed"), Transport()) == (
        "the host that the client asks for is no ASCII, or the context's sni_callback has failed (callback failed)"
    )
    assert reasonOf(error("one", "two")) == "one, two"


@pytest.mark.parametrize(
    "other",
    [
        None,
        Exception(),
        Exception("x"),
        Exception([]),
        Exception(["x"]),
        Exception([()]),
        Exception((("x",),)),
        ConnectionDone("x"),
    ],
)
def test_what_is_no_error_of_openssl(other: Any) -> None:
    assert reasonOf(other) is None


def test_a_verdict_says_more_than_openssl() -> None:
    transport, other = Transport(), Transport()
    noteVerdict(transport, "it expired")
    failed = error("certificate verify failed")
    assert describeClientFailure(failed, transport) == "TLS failed: it expired (certificate verify failed)"
    told = describeClientFailure(failed, other)
    assert told == "TLS failed: the server's certificate is not trusted (certificate verify failed)"
    assert describeClientFailure(error("dh key too small"), transport) == "TLS failed: dh key too small"
    # One of the host is an error of another library's.
    assert describeClientFailure(ValueError("no"), transport) == "TLS failed: it expired"
    assert describeClientFailure(ValueError("no"), other) == "TLS failed: ValueError('no')"


def test_a_host_that_an_endpoint_of_the_user_s_does_not_accept() -> None:
    mismatch = DNSMismatch("a.example")  # type: ignore[arg-type]
    told = describeClientFailure(VerificationError([mismatch]), Transport())
    assert told is not None
    assert told.startswith("TLS failed: the server's certificate is not for the host of the URL (VerificationError(")


def test_a_verdict_keeps_nothing() -> None:
    transport = Transport()
    noteVerdict(transport, "it expired")
    kept = weakref.ref(transport)
    del transport
    gc.collect()
    assert kept() is None


def test_a_transport_without_weak_references() -> None:
    class Slotted:
        __slots__ = ()

    assert describeClientFailure(error("x"), Slotted()) == "TLS failed: x"


@pytest.mark.parametrize("lost", [ConnectionDone(), ConnectionLost()])
def test_a_loss_is_of_tls_until_the_handshake_is_done(lost: Exception) -> None:
    told = describeClientFailure(lost, Transport())
    assert told == "the server ended the connection during the TLS handshake, without a reason"
    assert describeServerFailure(lost, Transport()) == "the handshake was not finished"
    # A peer that said nothing has not begun.
    assert describeServerFailure(lost, Transport(begun=False)) is None
    for over in (Transport(done=True), object()):
        assert isDone(over)
        assert describeClientFailure(lost, over) is None
        assert describeServerFailure(lost, over) is None


# Our own TLS: errors of the standard library's


def failed(reason: str | None, code: int | None = None) -> ssl.SSLError:
    error = ssl.SSLError(1, "as ssl has it") if code is None else ssl.SSLCertVerificationError(1, "as ssl has it")
    error.reason = reason  # type: ignore[misc, assignment]
    if code is not None:
        error.verify_code = code  # type: ignore[attr-defined]
    return error


class Layer:
    """As our own TLS when it fails."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.sslObject = SimpleNamespace(context=context or ssl.create_default_context(), server_hostname="a.example")


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("WRONG_VERSION_NUMBER", "wrong version number"),
        ("TLSV1_ALERT_UNKNOWN_CA", "tlsv1 alert unknown ca"),
        (None, "as ssl has it"),
    ],
)
def test_a_reason_of_the_standard_librarys(reason: str | None, told: str) -> None:
    assert reasonOf(failed(reason)) == told


@pytest.mark.parametrize("error", [OSError(1, "not of TLS"), RuntimeError((("a", "b"),)), RuntimeError(), None])
def test_errors_that_are_not_of_tls(error: BaseException | None) -> None:
    assert reasonOf(error) is None


SAYS = {
    9: "the server's certificate, or its authority's, is not valid yet: look at this machine's clock",
    10: "the server's certificate, or its authority's, has expired",
    18: "the server's certificate is self-signed, and not trusted: give tls=ssl.create_default_context(",
    23: "the server's certificate was revoked",
    62: "the server's certificate is not for a.example, the host of the URL",
    64: "the server's certificate is not for a.example, the host of the URL",
    1: "the server's certificate is not trusted",
    **dict.fromkeys(
        (2, 19, 20, 21), "the server's certificate is signed by an authority that is not trusted (give tls="
    ),
}


@pytest.mark.parametrize("code", SAYS)
def test_a_certificate_that_is_not_accepted(code: int) -> None:
    told = describeClientFailure(failed("CERTIFICATE_VERIFY_FAILED", code), Layer())
    assert told is not None
    assert told.startswith(f"TLS failed: {SAYS[code]}")
    assert told.endswith(" (certificate verify failed)")


def test_an_alert_has_no_verdict() -> None:
    told = describeClientFailure(failed("TLSV1_ALERT_PROTOCOL_VERSION"), Layer())
    assert told is not None
    assert told.startswith("TLS failed: client and server have no version of TLS in common")


@pytest.mark.parametrize("code", [2, 19, 20, 21])
@pytest.mark.parametrize("files", [None, [], ["a.pem"]])
def test_a_machine_without_roots(
    code: int, files: list[str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in files or ():
        (tmp_path / name).touch()
    paths = SimpleNamespace(capath=None if files is None else str(tmp_path))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    told = describeClientFailure(failed("CERTIFICATE_VERIFY_FAILED", code), Layer(context))
    assert told is not None
    assert ("there are no trusted roots on this machine" in told) == (not files)
    context.load_verify_locations(make_certificate(tmp_path)[1])
    told = describeClientFailure(failed("CERTIFICATE_VERIFY_FAILED", code), Layer(context))
    assert told is not None
    assert "no trusted roots" not in told


def test_a_verdict_is_for_a_certificate_alone() -> None:
    layer = Layer()
    noteVerdict(layer, "a verdict")
    assert describeClientFailure(failed("CERTIFICATE_VERIFY_FAILED", 10), layer) == (
        "TLS failed: a verdict (certificate verify failed)"
    )
    told = describeClientFailure(failed("TLSV1_ALERT_PROTOCOL_VERSION"), layer)
    assert told is not None
    assert "a verdict" not in told


def test_the_library_for_names() -> None:
    error = type("DNSMismatch", (Exception,), {"__module__": "service_identity.exceptions"})("a.example")
    told = describeClientFailure(error, Layer())
    assert told == "TLS failed: the server's certificate is not for the host of the URL (DNSMismatch('a.example'))"
