"""Errors of OpenSSL as pyOpenSSL has them, by version; `integration/test_tls_failures.py` has real handshakes."""

import gc
import weakref
from typing import Any

import pytest
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
