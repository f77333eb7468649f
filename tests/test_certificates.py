"""Certificates of a folder: their files, their names, and the choice for a client."""

import os
import ssl
from base64 import b64encode
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from integration.peer import make_certificate
from twisted.logger import globalLogPublisher

from wsock import LocalProtocolError
from wsock.server.certificates import Names, findCertificates, readNames

# Files


def fill(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(name)


def found(folder: Path) -> list[tuple[str, str]]:
    return [
        (os.path.relpath(certificate, folder), os.path.relpath(key, folder))
        for certificate, key in findCertificates(str(folder))
    ]


def test_files_with_a_key_each(tmp_path: Path) -> None:
    fill(tmp_path, "c.pem", "a.pem", "b.example.org.pem")
    assert found(tmp_path) == [
        ("a.pem", "a.pem"),
        ("b.example.org.pem", "b.example.org.pem"),
        ("c.pem", "c.pem"),
    ]


def test_folders_of_certbots(tmp_path: Path) -> None:
    """As in /etc/letsencrypt/live, where the files are links."""
    fill(tmp_path, "live/README", "archive/a/fullchain1.pem", "archive/a/privkey1.pem")
    for name in ("cert", "chain", "fullchain", "privkey"):
        fill(tmp_path, f"live/b/{name}.pem")
    (tmp_path / "live" / "a").mkdir()
    for name in ("fullchain", "privkey"):
        (tmp_path / "live" / "a" / f"{name}.pem").symlink_to(f"../../archive/a/{name}1.pem")
    live = tmp_path / "live"
    assert found(live) == [("a/fullchain.pem", "a/privkey.pem"), ("b/fullchain.pem", "b/privkey.pem")]
    assert found(live / "b") == [("fullchain.pem", "privkey.pem")]


def test_folders_of_kubernetes(tmp_path: Path) -> None:
    """A secret is mounted as links to a hidden folder."""
    fill(tmp_path, "one/..data/tls.crt", "one/..data/tls.key")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / "one" / name).symlink_to(f"..data/{name}")
    assert found(tmp_path) == [("one/tls.crt", "one/tls.key")]
    assert found(tmp_path / "one") == [("tls.crt", "tls.key")]


@pytest.mark.parametrize("name", ["default.pem", "default/tls.crt", "default/privkey.pem"])
def test_the_default_is_first(tmp_path: Path, name: str) -> None:
    fill(tmp_path, "a.pem", name, "z/fullchain.pem")
    certificates = [certificate for certificate, _ in found(tmp_path)]
    assert [certificate.split("/")[0] for certificate in certificates] == [name.split("/")[0], "a.pem", "z"]


def test_the_rest_is_left_alone(tmp_path: Path) -> None:
    fill(tmp_path, "a.pem", "README", "a.pem~", ".#a.pem", ".git/fullchain.pem", "a.crt", "other/cert.pem")
    assert found(tmp_path) == [("a.pem", "a.pem")]


def test_no_certificate_at_all(tmp_path: Path) -> None:
    fill(tmp_path, "README")
    with pytest.raises(LocalProtocolError) as raised:
        findCertificates(str(tmp_path))
    assert str(raised.value) == (
        f"{tmp_path} has no certificates: write NAME.pem, a certificate and its key in one file, or a folder NAME with "
        "fullchain.pem and privkey.pem"
    )


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_can_not_be_read(tmp_path: Path) -> None:
    """Its certificate would be lost without a word, at a reload without the rights of the start."""
    fill(tmp_path, "a.pem", "b/fullchain.pem")
    (tmp_path / "b").chmod(0)
    with pytest.raises(PermissionError, match="b"):
        findCertificates(str(tmp_path))


# Names


@pytest.mark.parametrize(
    ("names", "read"),
    [
        (["one.example"], ["one.example"]),
        (["DNS:One.EXAMPLE", "*.two.example"], ["one.example", "*.two.example"]),
        (["192.0.2.1", "one.example", "2001:db8::1"], ["one.example"]),
        (["192.0.2.1"], []),
        (["xn--bcher-kva.example"], ["xn--bcher-kva.example"]),
        # Lengths of DER in one, two and three bytes.
        ([f"host-{number}.example" for number in range(12)], [f"host-{number}.example" for number in range(12)]),
        ([f"host-{number}.example" for number in range(5000)], [f"host-{number}.example" for number in range(5000)]),
    ],
    ids=["one", "case and wildcard", "addresses, too", "an address", "a-label", "12", "5000"],
)
def test_names(tmp_path: Path, names: list[str], read: list[str]) -> None:
    key, certificate = make_certificate(tmp_path, *names)
    assert readNames(certificate.read_bytes()) == read
    assert readNames(key.read_bytes() + certificate.read_bytes()) == read


def test_names_of_the_first_certificate(tmp_path: Path) -> None:
    """The others are those who signed it."""
    authority = make_certificate(tmp_path, "authority.example")
    (tmp_path / "a").mkdir()
    _, certificate = make_certificate(tmp_path / "a", "one.example", authority=authority)
    assert readNames(certificate.read_bytes() + authority[1].read_bytes()) == ["one.example"]


def test_the_subjects_name_is_none(tmp_path: Path) -> None:
    _, certificate = make_certificate(tmp_path, "one.example", alternatives=False)
    assert readNames(certificate.read_bytes()) == []


@pytest.mark.parametrize("label", [b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE"])
def test_names_by_other_labels(tmp_path: Path, label: bytes) -> None:
    _, certificate = make_certificate(tmp_path, "one.example")
    assert readNames(certificate.read_bytes().replace(b"CERTIFICATE", label)) == ["one.example"]


def test_names_of_a_few_bytes() -> None:
    """Two, of which one is empty, in what is a certificate for its extensions alone."""
    names = b"\x30\x05\x82\x01a\x82\x00"
    extension = b"\x30\x0e\x06\x03\x55\x1d\x11\x04\x07" + names
    encoded = b"\x30\x16\x30\x14\xa3\x12\x30\x10" + extension
    assert readNames(b"-----BEGIN CERTIFICATE-----\n" + b64encode(encoded) + b"\n-----END") == ["a", ""]


def test_no_names_of_something_else(tmp_path: Path) -> None:
    key, certificate = make_certificate(tmp_path, "one.example")
    assert readNames(key.read_bytes()) == []
    encoded = ssl.PEM_cert_to_DER_cert(certificate.read_text())
    for size in range(len(encoded)):
        piece = b64encode(encoded[:size])
        for name in readNames(b"-----BEGIN CERTIFICATE-----\n" + piece + b"\n-----END"):
            assert "one.example".startswith(name)


# The choice


def chosen(names: Names, name: str | None) -> Any:
    connection = SimpleNamespace(context="the default's")
    names.choose(connection, name, None)  # type: ignore[arg-type]
    return connection.context


@pytest.fixture
def names() -> Names:
    made = Names()
    made.add("default.pem", ["default.example", "www.two.example"], None)
    made.add("one.pem", ["one.example", "*.one.example"], "one")  # type: ignore[arg-type]
    made.add("two.pem", ["*.two.example", "f*.four.example", "*", ""], "two")  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize(
    ("name", "context"),
    [
        ("one.example", "one"),
        ("ONE.Example", "one"),
        ("one.example.", "one"),
        ("a.one.example", "one"),
        ("a.b.one.example", "the default's"),
        ("a.two.example", "two"),
        # The whole name is closer than a wildcard.
        ("www.two.example", "the default's"),
        ("two.example", "the default's"),
        ("four.example", "the default's"),
        ("foo.four.example", "the default's"),
        ("localhost", "the default's"),
        (None, "the default's"),
    ],
)
def test_the_choice(names: Names, name: str | None, context: str) -> None:
    assert chosen(names, name) == context


def test_a_name_of_two(tmp_path: Path) -> None:
    """The first has it, and the log says so; not where the two are one."""
    fill(tmp_path, "a.pem", "b.pem")
    first, second, link = (str(tmp_path / name) for name in ("a.pem", "b.pem", "default.pem"))
    os.symlink("b.pem", link)
    names, told = Names(), []
    globalLogPublisher.addObserver(told.append)
    try:
        names.add(link, ["one.example"], None)
        names.add(second, ["one.example", "*.one.example"], "second")  # type: ignore[arg-type]
        assert told == []
        names.add(first, ["*.one.example", "two.example"], "first")  # type: ignore[arg-type]
    finally:
        globalLogPublisher.removeObserver(told.append)
    (event,) = told
    assert event["log_format"].format(**event) == (
        f"*.one.example has several certificates: {second} is used for it, {first} is not"
    )
    assert [chosen(names, name) for name in ("one.example", "a.one.example", "two.example")] == [
        "the default's",
        "second",
        "first",
    ]
