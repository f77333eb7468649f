"""Whose a certificate is, as far as its own text goes; integration/test_verification.py has it over TLS."""

from datetime import datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL.crypto import X509
from service_identity import CertificateError, VerificationError

from wsock.client.verification import _describeVerdict, checkHost


def certificate(alternatives: bytes, now: datetime | None = None) -> X509:
    """A certificate for a day whose subjectAltName is what is given: DER, or what is none."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "my_service")])
    now = now or datetime.now(timezone.utc)
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    if alternatives:
        other = x509.UnrecognizedExtension(x509.ExtensionOID.SUBJECT_ALTERNATIVE_NAME, alternatives)
        builder = builder.add_extension(other, critical=False)
    return X509.from_cryptography(builder.sign(key, hashes.SHA256()))


#: A sequence of one dNSName, and one of an iPAddress.
MY_SERVICE = b"\x30\x0c\x82\x0amy_service"
ADDRESS = b"\x30\x06\x87\x04\x7f\x00\x00\x01"


@pytest.mark.parametrize(("alternatives", "host"), [(MY_SERVICE, "my_service"), (ADDRESS, "127.0.0.1")])
def test_a_clear_yes(alternatives: bytes, host: str) -> None:
    checkHost(certificate(alternatives), host)


@pytest.mark.parametrize(
    "alternatives",
    [
        b"",
        b"\x30\x00",
        b"\x30",
        MY_SERVICE[:-1],
        MY_SERVICE + b"\x00",
        # Of a wrong type, with a NUL, with a Kelvin sign in latin-1 and in UTF-8, with space around it.
        b"\x30\x0c\x86\x0amy_service",
        b"\x30\x0e\x82\x0cmy_service\x00a",
        b"\x30\x0c\x82\x0amy_serv\xefce",
        b"\x30\x0c\x82\x0amy_serv\xe2\x84\xaa",
        b"\x30\x0d\x82\x0b my_service",
        b"\x30\x0d\x82\x0bmy_service\n",
        # A malformed name behind a good one.
        b"\x30\x0f\x82\x0amy_service\x82\x01\xff",
        b"\x30\x0f\x82\x0amy_service\x87\x01\x01",
    ],
)
@pytest.mark.parametrize("host", ["my_service", "127.0.0.1"])
def test_all_else_is_a_no(alternatives: bytes, host: str) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 - what libraries raise of malformed ones differs
        checkHost(certificate(alternatives), host)


def named(name: bytes) -> X509:
    """A certificate for one name."""
    return certificate(bytes([0x30, len(name) + 2, 0x82, len(name)]) + name)


@pytest.mark.parametrize("name", [b"*.example.com", b"a.example.com", b"A.EXAMPLE.com"])
def test_names_for_a_host(name: bytes) -> None:
    checkHost(named(name), "a.example.com")


@pytest.mark.parametrize(
    ("name", "host"),
    [
        (b"*.example.com", "example.com"),
        (b"*.example.com", "b.a.example.com"),
        (b"*.example.com", "a.example.org"),
        (b"b.example.com", "a.example.com"),
        (b"a*.example.com", "a.example.com"),
        (b"*.com", "example.com"),
        (b"*", "localhost"),
    ],
)
def test_names_for_other_hosts(name: bytes, host: str) -> None:
    with pytest.raises(VerificationError):
        checkHost(named(name), host)


def test_the_name_of_its_subject_counts_for_nothing() -> None:
    with pytest.raises(CertificateError, match="subjectAltName"):
        checkHost(certificate(b""), "my_service")


@pytest.mark.parametrize("host", ["127.0.0.2", "::1", "::ffff:127.0.0.1", "127.0.0.1.example"])
def test_another_address(host: str) -> None:
    with pytest.raises(Exception, match="Mismatch"):
        checkHost(certificate(ADDRESS), host)


UNKNOWN = (
    "is signed by an authority that is not trusted (give it as trustRoot), or the server does not send its "
    "intermediate certificates"
)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        # As x509_vfy.h numbers them.
        (9, "is not valid before 2020-01-02: look at this machine's clock"),
        (10, "expired on 2020-01-03"),
        (18, "is self-signed, and not trusted: give it as trustRoot"),
        *((error, UNKNOWN) for error in (2, 19, 20, 21)),
        (23, "was revoked"),
        *((error, f"is not accepted, by OpenSSL's verification error {error}") for error in (1, 3, 11, 22, 24)),
    ],
)
def test_why_openssl_accepts_no_certificate(error: int, told: str) -> None:
    old = certificate(MY_SERVICE, datetime(2020, 1, 2, 3, 4, 5, tzinfo=timezone.utc))
    assert _describeVerdict(error, 0, old) == f"the server's certificate {told}"
    assert _describeVerdict(error, 1, old) == f"the certificate of the server's authority {told}"
