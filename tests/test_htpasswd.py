"""Passwords in a file: which lines it may have, and when they are verified, in threads that run when the test says."""

import importlib.metadata
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import formatEvent
from twisted.python.failure import Failure
from wire import failures, logged

from wsock import HtpasswdFile, LocalProtocolError, Refuse

#: By the C library's crypt(3), and by `openssl passwd`: the password is "2f1dbbb9c7" or "Hello world!".
BCRYPT = "04$abcdefghijklmnopqrstuON9FuL91k8gKx3IMQJZuNEuTmhbCO94e"
SHA256 = "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"
SHA512 = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"
ADA = f"ada:$2y${BCRYPT}"
#: The same of 72 bytes, "ü" 36 times.
LONGEST = "$2y$04$abcdefghijklmnopqrstuOFUp3jHjsDhaIRRc4ufXw6ZcfQDMY6Vy"


class Threads:
    """A thread pool that runs what it is given when it is told to."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], None]] = []

    def callInThreadWithCallback(self, told: Any, function: Any, *arguments: Any) -> None:
        def run() -> None:
            try:
                result = function(*arguments)
            except Exception:
                told(False, Failure())
            else:
                told(True, result)

        self.jobs.append(run)

    def run(self) -> None:
        """Runs the first."""
        self.jobs.pop(0)()


class Reactor(Clock):
    """A clock with threads."""

    def __init__(self) -> None:
        super().__init__()
        self.threads = Threads()

    def getThreadPool(self) -> Threads:
        return self.threads

    def callFromThread(self, function: Any, *arguments: Any) -> None:
        function(*arguments)


class Library:
    """In the place of libpass: each hash is that of one password.

    Attributes:
        installed: the packages.
        verified: the passwords and hashes that were verified.
        secrets: the password of each hash; others are wrong.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.installed = ["libpass"]
        self.verified: list[tuple[str, str]] = []
        self.secrets = {f"$2y${BCRYPT}": "2f1dbbb9c7", SHA256: "Hello world!"}
        self.backends = 0
        hashes: Any = ModuleType("passlib.hash")
        for name in ("bcrypt", "sha256_crypt", "sha512_crypt"):
            setattr(hashes, name, SimpleNamespace(verify=self.verify, get_backend=self.findBackend))
        monkeypatch.setitem(sys.modules, "passlib", ModuleType("passlib"))
        monkeypatch.setitem(sys.modules, "passlib.hash", hashes)
        monkeypatch.setattr(importlib.metadata, "version", self.version)

    def version(self, package: str) -> str:
        if package not in self.installed:
            raise importlib.metadata.PackageNotFoundError
        return "1.9.4"

    def findBackend(self) -> str:
        self.backends += 1
        return "bcrypt"

    def verify(self, password: str, hashed: str) -> bool:
        self.verified.append((password, hashed))
        secret = self.secrets.get(hashed)
        if secret == "broken":
            raise ValueError("the library failed")
        return secret == password


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    return Library(monkeypatch)


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    path.write_text(f"# people\n{ADA}\n\nbob:{SHA256}\n")
    return path


@pytest.fixture
def check(library: Library, path: Path, reactor: Reactor) -> HtpasswdFile:
    return HtpasswdFile(path, reactor=reactor)


def told(result: Any) -> list[Any]:
    """The list that gets the result of a check, now or later."""
    results: list[Any] = []
    if isinstance(result, Deferred):
        result.addBoth(results.append)
    else:
        results.append(result)
    return results


RIGHT, WRONG = ("ada", "2f1dbbb9c7"), ("ada", "x")


def test_a_password_is_verified_in_a_thread(check: HtpasswdFile, reactor: Reactor, library: Library) -> None:
    for pair, user in ((RIGHT, "ada"), (WRONG, None), (("bob", "Hello world!"), "bob"), (("bob", "2f1dbbb9c7"), None)):
        result = told(check(*pair))
        assert result == []
        reactor.threads.run()
        assert result == [user]
        assert reactor.threads.jobs == []
    assert library.verified[0] == ("2f1dbbb9c7", f"$2y${BCRYPT}")
    assert library.backends == 1


def test_an_unknown_user_costs_the_same(check: HtpasswdFile, reactor: Reactor, library: Library) -> None:
    for password in ("x", "2f1dbbb9c7", "2f1dbbb9c7"):
        result = told(check("nobody", password))
        assert result == []
        reactor.threads.run()
        assert result == [None]
    # That it was right for the first user lets nobody in, neither now nor later.
    assert [hashed for _, hashed in library.verified] == [f"$2y${BCRYPT}"] * 3


@pytest.mark.parametrize("user", ["ada", "nobody"])
def test_a_password_that_is_too_long_or_has_a_null_is_wrong(check: HtpasswdFile, reactor: Reactor, user: str) -> None:
    for password in ("x" * 73, "ü" * 36 + "x", "x\0", "\0", "\ud800"):
        assert check(user, password) is None
    told(check(user, "ü" * 36))
    assert len(reactor.threads.jobs) == 1


def test_a_file_without_users(library: Library, path: Path, reactor: Reactor) -> None:
    path.write_text("# nobody\n")
    assert HtpasswdFile(path, reactor=reactor)(*RIGHT) is None


def test_two_threads_and_a_queue(check: HtpasswdFile, reactor: Reactor) -> None:
    jobs = reactor.threads.jobs
    results = [told(check("ada", f"x{number}")) for number in range(66)]
    assert len(jobs) == 2
    for pair in (WRONG, ("nobody", "x")):
        with pytest.raises(Refuse) as refused:
            check(*pair)
        assert (refused.value.status, refused.value.headers) == (503, (("Retry-After", "5"),))
        assert refused.value.body == b"Service Unavailable: as many passwords wait to be verified as may"
    assert check("ada", "x" * 73) is None
    reactor.threads.run()
    assert len(jobs) == 2
    # There is room for one.
    last = told(check(*RIGHT))
    with pytest.raises(Refuse):
        check(*WRONG)
    assert results[0] == [None]
    for number in range(1, 66):
        assert results[number] == []
        reactor.threads.run()
        assert results[number] == [None]
        assert len(jobs) == min(2, 66 - number)
    assert last == []
    reactor.threads.run()
    assert (last, jobs) == (["ada"], [])


def test_one_that_waits_is_cancelled(check: HtpasswdFile, reactor: Reactor, library: Library) -> None:
    checks: list[Any] = [check("ada", f"x{number}") for number in range(66)]
    waiting = told(checks[2])
    checks[2].cancel()
    (failure,) = waiting
    assert failure.check(CancelledError)
    # It has given its place to another.
    checks.append(check("ada", "x66"))
    for _ in range(66):
        reactor.threads.run()
    verified = [password for password, _ in library.verified]
    assert verified == [f"x{number}" for number in range(67) if number != 2]


def test_one_that_runs_is_cancelled(check: HtpasswdFile, reactor: Reactor) -> None:
    checks: list[Any] = [check(*RIGHT), check("bob", "y"), check("bob", "z")]
    running = told(checks[0])
    checks[0].cancel()
    assert running[0].check(CancelledError)
    # The thread goes on, and so nobody takes its place.
    assert len(reactor.threads.jobs) == 2
    reactor.threads.run()
    assert len(reactor.threads.jobs) == 2
    assert len(running) == 1
    assert check(*RIGHT) == "ada", "it was right all the same"


def test_a_password_that_was_right_is_remembered(check: HtpasswdFile, reactor: Reactor) -> None:
    told(check(*RIGHT))
    reactor.advance(7)
    reactor.threads.run()
    reactor.advance(59.5)
    assert check(*RIGHT) == "ada"
    # That does not make it longer.
    reactor.advance(0.5)
    result = told(check(*RIGHT))
    assert result == []
    reactor.threads.run()
    assert result == ["ada"]
    assert check(*RIGHT) == "ada"


@pytest.mark.parametrize("pair", [WRONG, ("bob", "2f1dbbb9c7"), ("nobody", "2f1dbbb9c7"), ("ada", "")])
def test_no_other_is(check: HtpasswdFile, reactor: Reactor, pair: tuple[str, str]) -> None:
    told(check(*RIGHT))
    reactor.threads.run()
    for _ in range(2):
        result = told(check(*pair))
        assert result == []
        reactor.threads.run()
        assert result == [None]
    assert check(*RIGHT) == "ada"


def test_others_of_the_same_user_wait_for_the_first(check: HtpasswdFile, reactor: Reactor, library: Library) -> None:
    results = [told(check(*RIGHT)) for _ in range(20)]
    reactor.threads.run()
    assert results == [["ada"], [], *[["ada"]] * 18]
    reactor.threads.run()
    assert results == [["ada"]] * 20
    assert len(library.verified) == 2


def test_nothing_is_kept_that_has_the_password(check: HtpasswdFile, reactor: Reactor) -> None:
    told(check(*RIGHT))
    reactor.threads.run()
    assert "2f1dbbb9c7" not in repr(vars(check))
    assert "2f1dbbb9c7" not in repr(check)


def test_a_failure_of_the_library(check: HtpasswdFile, reactor: Reactor, library: Library) -> None:
    library.secrets[SHA256] = "broken"
    results = [told(check("bob", "x")) for _ in range(3)]
    for _ in range(3):
        reactor.threads.run()
    for (failure,) in results:
        assert str(failure.value) == "the library failed"
    # The thread is free again.
    result = told(check(*RIGHT))
    reactor.threads.run()
    assert result == ["ada"]


# The file


@pytest.mark.parametrize(
    "line",
    [
        *(f"ada:${kind}${BCRYPT}" for kind in ("2a", "2b", "2y")),
        f"ada:{SHA256}",
        f"ada:{SHA512}",
        f"ada:$5$rounds=1000${SHA256[3:]}",
        f"ada:{SHA512.replace('saltstring', '')}",
        f"  ada:{SHA256} \r",
        f"Jürgen:{SHA256}",
        "#ada:secret",
        "",
    ],
)
def test_a_line(library: Library, path: Path, reactor: Reactor, line: str) -> None:
    path.write_text(f"{line}\nbob:{SHA256}")
    check = HtpasswdFile(path, reactor=reactor)
    told(check("bob", "Hello world!"))
    reactor.threads.run()
    assert check("bob", "Hello world!") == "bob"


HASH = "has another hash than one of bcrypt, SHA-256-crypt and SHA-512-crypt; make it by htpasswd -B"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"eve:$apr1$abcdefgh$82JubPF2dQkt1tVfvLnXS.", HASH),
        (b"eve:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", HASH),
        (b"eve:rqXexS6ZhobKA", HASH),
        (b"eve:secret", HASH),
        (b"eve:", HASH),
        (f"eve:$2x${BCRYPT}".encode(), HASH),
        (f"eve:$2y$03{BCRYPT[2:]}".encode(), HASH),
        (f"eve:$2y$32{BCRYPT[2:]}".encode(), HASH),
        (f"eve:$2y${BCRYPT}.".encode(), HASH),
        (f"eve:$2y${BCRYPT}:0".encode(), HASH),
        (f"eve:{SHA256[:-1]}".encode(), HASH),
        (f"eve:{SHA256}.".encode(), HASH),
        (f"eve:$5$rounds=999${SHA256[3:]}".encode(), HASH),
        (f"eve:{SHA512}.".encode(), HASH),
        (b"secret", "is not user:hash"),
        (f":{SHA256}".encode(), "is not user:hash"),
        (b"secret:\xff", "is not UTF-8"),
        (f"ada:{SHA256}".encode(), "has a user who was there before"),
    ],
)
def test_a_line_that_can_not_be(library: Library, path: Path, line: bytes, why: str) -> None:
    path.write_bytes(f"# people\n{ADA}\n".encode() + line + b"\n")
    with pytest.raises(LocalProtocolError) as raised:
        HtpasswdFile(path)
    assert str(raised.value) == f"{path}: line 3 {why}"


def test_a_file_that_is_not_there(library: Library, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="users"):
        HtpasswdFile(str(tmp_path / "users"))


def write(path: Path, text: str) -> None:
    """Replaces a file, as a whole."""
    other = path.with_name("new")
    other.write_text(text)
    other.rename(path)


def lets(check: HtpasswdFile, reactor: Reactor, user: str, password: str) -> bool:
    result = told(check(user, password))
    if not result:
        reactor.threads.run()
    return result == [user]


def test_the_file_is_read_once_more_when_it_has_changed(check: HtpasswdFile, reactor: Reactor, path: Path) -> None:
    reactor.advance(100)
    assert lets(check, reactor, *RIGHT)
    write(path, f"bob:{SHA256}\ncid:$2y${BCRYPT}\n")
    reactor.advance(0.9)
    assert lets(check, reactor, *RIGHT)
    assert not lets(check, reactor, "cid", "2f1dbbb9c7")
    reactor.advance(0.1)
    with logged() as events:
        assert not lets(check, reactor, *RIGHT)
        assert lets(check, reactor, "cid", "2f1dbbb9c7")
    assert events == []


@pytest.mark.parametrize("change", ["time", "size", "file"])
def test_a_change_is_seen(check: HtpasswdFile, reactor: Reactor, path: Path, change: str) -> None:
    told(check(*WRONG))
    before = path.stat()
    text = f"eva:$2y${BCRYPT}\nbob:{SHA256}\n#       \n\n"
    assert len(text) == before.st_size
    if change == "size":
        text += "\n"
    if change == "file":
        kept = path.with_name("kept")
        path.rename(kept)
    path.write_text(text)
    later = before.st_mtime_ns + (1 if change == "time" else 0)
    os.utime(path, ns=(before.st_atime_ns, later))
    reactor.advance(1)
    reactor.threads.run()
    assert lets(check, reactor, "eva", "2f1dbbb9c7")


def test_a_changed_password_counts_at_once(check: HtpasswdFile, reactor: Reactor, path: Path, library: Library) -> None:
    assert lets(check, reactor, *RIGHT)
    library.secrets[SHA512] = "new"
    write(path, f"ada:{SHA512}\n")
    reactor.advance(1)
    assert not lets(check, reactor, *RIGHT)
    assert lets(check, reactor, "ada", "new")


def test_a_user_who_is_taken_out_meanwhile(check: HtpasswdFile, reactor: Reactor, path: Path) -> None:
    result = told(check(*RIGHT))
    write(path, f"bob:$2y${BCRYPT}\n")
    reactor.advance(1)
    told(check("bob", "x"))
    reactor.threads.run()
    assert result == ["ada"]
    reactor.threads.run()
    assert not lets(check, reactor, *RIGHT)


def test_the_global_reactor(library: Library, path: Path, reactor: Reactor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twisted.internet.reactor", reactor, raising=False)
    assert lets(HtpasswdFile(path), reactor, *RIGHT)


def test_a_broken_file_changes_nothing(check: HtpasswdFile, reactor: Reactor, path: Path) -> None:
    write(path, f"bob:{SHA256}\nada:secret\n")
    with logged() as events:
        for _ in range(3):
            reactor.advance(1)
            assert lets(check, reactor, *RIGHT)
        path.unlink()
        for _ in range(3):
            reactor.advance(1)
            assert lets(check, reactor, *RIGHT)
    assert [formatEvent(event) for event in events] == [
        f"{path}: line 2 {HASH}; the users that were known stay",
        f"{path}: No such file or directory; the users that were known stay",
    ]
    assert failures(events) == []
    # It is mended, and breaks once more.
    write(path, f"cid:$2y${BCRYPT}\n")
    reactor.advance(1)
    assert lets(check, reactor, "cid", "2f1dbbb9c7")
    path.unlink()
    with logged() as events:
        reactor.advance(1)
        assert lets(check, reactor, "cid", "2f1dbbb9c7")
    assert len(events) == 1


def test_a_file_that_was_away_is_read_when_it_is_back(check: HtpasswdFile, reactor: Reactor, path: Path) -> None:
    kept = path.with_name("kept")
    path.rename(kept)
    told(check(*WRONG))
    kept.rename(path)
    before = path.stat()
    path.write_text(path.read_text().replace("ada:", "eva:"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    reactor.advance(1)
    reactor.threads.run()
    assert lets(check, reactor, "eva", "2f1dbbb9c7")


# The library


def test_without_the_library(library: Library, path: Path) -> None:
    library.installed.clear()
    with pytest.raises(ImportError, match=r"^htpasswd files need the package libpass: pip install 'wsock\[auth\]'$"):
        HtpasswdFile(path)
    library.installed.append("passlib")
    with pytest.raises(ImportError, match="need the package libpass"):
        HtpasswdFile(path)


def test_both_libraries(library: Library, path: Path) -> None:
    library.installed.append("passlib")
    with pytest.raises(ImportError, match="libpass and passlib are both installed") as raised:
        HtpasswdFile(path)
    assert "pip uninstall passlib libpass" in str(raised.value)


@pytest.mark.parametrize(
    ("hashed", "password"),
    [
        *((f"${kind}${BCRYPT}", "2f1dbbb9c7") for kind in ("2a", "2b", "2y")),
        (SHA256, "Hello world!"),
        (SHA512, "Hello world!"),
        (LONGEST, "ü" * 36),
    ],
)
def test_the_library_itself(path: Path, reactor: Reactor, hashed: str, password: str) -> None:
    pytest.importorskip("passlib.hash")
    path.write_text(f"ada:{hashed}\n")
    check = HtpasswdFile(path, reactor=reactor)
    assert not lets(check, reactor, "ada", password.lower() + "x")
    assert not lets(check, reactor, "nobody", password)
    assert lets(check, reactor, "ada", password)
