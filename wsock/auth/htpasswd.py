"""A check of passwords by a file that ``htpasswd -B`` writes.

Rules:

* Passwords are verified in threads, since that is slow on purpose: at most 2 at once, and at most 64 wait.
* A password that was right is remembered for a minute, as a digest under a key of this process.
* An unknown user takes as long as a known one.
* The file is read once more when it has changed. While it can't be read, the users that were known stay.
"""

from __future__ import annotations

import hmac
import os
import re
from collections import deque
from collections.abc import Callable
from hashlib import blake2b
from importlib import import_module, metadata
from typing import Any, Final, NoReturn, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from ..application import Refuse
from ..log import ClassLogger
from ..sansio.errors import LocalProtocolError

#: How many passwords are verified at once, and how many wait for that; one more is answered with 503.
_MAX_RUNNING: Final = 2
_MAX_WAITING: Final = 64
#: How long a password that was right is remembered, in seconds.
_REMEMBERED_SECONDS: Final = 60
#: How long the file is not looked at after a look, in seconds.
_LOOK_SECONDS: Final = 1
#: bcrypt takes no more, and SHA-crypt takes time by the length.
_MAX_PASSWORD_BYTES: Final = 72
_SALTED: Final = r"(?:rounds=[1-9][0-9]{3,8}\$)?[./0-9A-Za-z]{0,16}\$"
#: The hashes that are verified, by the names that passlib has for them.
_KINDS: Final = {
    "bcrypt": re.compile(r"\$2[aby]\$(?:0[4-9]|[12][0-9]|3[01])\$[./0-9A-Za-z]{53}"),
    "sha256_crypt": re.compile(rf"\$5\${_SALTED}[./0-9A-Za-z]{{43}}"),
    "sha512_crypt": re.compile(rf"\$6\${_SALTED}[./0-9A-Za-z]{{86}}"),
}
_BUSY: Final = b"Service Unavailable: as many passwords wait to be verified as may"

#: Called with a password and a hash: returns whether they belong together.
Verify: TypeAlias = Callable[[str, str], bool]
#: The user's hash, and the function that verifies it, by user.
Users: TypeAlias = "dict[str, tuple[str, Verify]]"


def _findVerifiers() -> dict[str, Verify]:
    """Returns the functions that verify each kind of hash.

    Raises:
        ImportError: libpass is not installed; or passlib is, which has the same import name.
    """
    if not _isInstalled("libpass"):
        raise ImportError("htpasswd files need the package libpass: pip install 'wsock[auth]'", name="passlib")
    if _isInstalled("passlib"):
        raise ImportError(
            "the packages libpass and passlib are both installed, and overwrite each other's files: "
            "pip uninstall passlib libpass, and then pip install 'wsock[auth]'",
            name="passlib",
        )
    hashes = import_module("passlib.hash")
    # Now, and not in a thread: it is imported, and tests itself.
    hashes.bcrypt.get_backend()
    return {name: getattr(hashes, name).verify for name in _KINDS}


def _isInstalled(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


class _Verification:
    """A password that is to be verified."""

    __slots__ = ("_result", "digest", "hashed", "isKnown", "password", "user", "verify")

    def __init__(self, user: str, password: str, hashed: str, verify: Verify, isKnown: bool, digest: bytes) -> None:
        self.user = user
        self.password = password
        self.hashed = hashed
        self.verify = verify
        self.isKnown = isKnown
        self.digest = digest
        self._result: Deferred[str | None] | None = None

    def wait(self, cancelled: Callable[[_Verification], None]) -> Deferred[str | None]:
        """Returns a Deferred that `tell` fires.

        Args:
            cancelled: called when it is cancelled.
        """

        def cancel(result: Deferred[str | None]) -> None:
            self._result = None
            cancelled(self)

        self._result = Deferred(cancel)
        return self._result

    def tell(self, result: Any) -> None:
        """Fires the Deferred, unless it was cancelled; of a Failure it is an errback."""
        if self._result is not None:
            self._result.callback(result)


class HtpasswdFile:
    """A check for `basicAuth`: users and hashes of their passwords in a file. The identity is the user.

    Each line is ``user:hash``, as ``htpasswd -B FILE USER`` writes it, with a hash of bcrypt, SHA-256-crypt or
    SHA-512-crypt. Empty lines are passed over, and so are those that begin with ``#``. All of it needs
    ``pip install 'wsock[auth]'``.

    Passwords are verified in the threads of the reactor: at most 2 at once; 64 wait, and one more client is answered
    with 503. A password that was right is remembered for 60 seconds. One of more than 72 bytes is wrong.

    A file that has changed is read once more, at most a second later. While it has a mistake, its earlier users stay,
    and the log has a line. Replace it as a whole, by a rename, so that no half of it is read.
    """

    _log = ClassLogger()

    def __init__(self, path: str | os.PathLike[str], *, reactor: Any = None) -> None:
        """Reads a file.

        Args:
            path: the file's.
            reactor: for its threads and the time; by default the global one.

        Raises:
            LocalProtocolError: a line that is none of these; the message has its number.
            OSError: the file can't be read.
            ImportError: ``libpass`` is not installed, or ``passlib`` is.
        """
        # A daemon changes its folder.
        self._path = os.path.abspath(path)
        self._reactor = reactor
        self._verifiers = _findVerifiers()
        self._key = os.urandom(blake2b.MAX_KEY_SIZE)
        self._running = 0
        self._waiting: deque[_Verification] = deque()
        #: By user: the digest of the password that was right and its hash, and when to forget it.
        self._remembered: dict[str, tuple[bytes, float]] = {}
        self._lookedAt: float | None = None
        #: The mistake in the file that was logged last; None while there is none.
        self._mistake: str | None = None
        #: The file that was read last, by which a change is seen.
        self._signature: tuple[int, int, int] | None = None
        self._users = self._read()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an HtpasswdFile can't be copied or pickled, since it has threads at work: make one in each process"
        )

    def __call__(self, user: str, password: str) -> Deferred[str | None] | str | None:
        """Returns the user, or None; or a Deferred of either, which may be cancelled.

        Raises:
            Refuse: with 503, where too many wait.
        """
        self._look()
        try:
            encoded = password.encode()
        except UnicodeEncodeError:
            return None
        if len(encoded) > _MAX_PASSWORD_BYTES or "\0" in password or not self._users:
            return None
        known = self._users.get(user)
        # The first user's hash stands for those that are not there.
        hashed, verify = next(iter(self._users.values())) if known is None else known
        digest = blake2b(hashed.encode() + b"\0" + encoded, key=self._key).digest()
        verification = _Verification(user, password, hashed, verify, known is not None, digest)
        if self._isRemembered(verification):
            return user
        if len(self._waiting) >= _MAX_WAITING:
            raise Refuse(503, [("Retry-After", "5")], _BUSY)
        result = verification.wait(self._cancelled)
        self._waiting.append(verification)
        self._next()
        return result

    # Verifying

    def _next(self) -> None:
        while self._waiting and self._running < _MAX_RUNNING:
            verification = self._waiting.popleft()
            if self._isRemembered(verification):
                # Another connection of this user was faster.
                verification.tell(verification.user)
                continue
            self._running += 1
            reactor = self._clock()
            verifying = deferToThreadPool(
                reactor, reactor.getThreadPool(), verification.verify, verification.password, verification.hashed
            )
            verifying.addBoth(self._verified, verification)

    def _verified(self, result: Any, verification: _Verification) -> None:
        self._running -= 1
        isRight = result is True and verification.isKnown
        if isRight:
            until = self._clock().seconds() + _REMEMBERED_SECONDS
            self._remembered[verification.user] = verification.digest, until
        if isinstance(result, Failure):
            verification.tell(result)
        else:
            verification.tell(verification.user if isRight else None)
        self._next()

    def _cancelled(self, verification: _Verification) -> None:
        # One that has begun can't be stopped.
        if verification in self._waiting:
            self._waiting.remove(verification)

    def _isRemembered(self, verification: _Verification) -> bool:
        if not verification.isKnown:
            return False
        digest, until = self._remembered.get(verification.user, (b"", 0.0))
        return hmac.compare_digest(digest, verification.digest) and bool(self._clock().seconds() < until)

    def _clock(self) -> Any:
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor
        return self._reactor

    # Reading

    def _look(self) -> None:
        """Reads the file once more, if it has changed."""
        now = self._clock().seconds()
        if self._lookedAt is not None and now - self._lookedAt < _LOOK_SECONDS:
            return
        self._lookedAt = now
        try:
            if _signatureOf(os.stat(self._path)) == self._signature:
                return
            users = self._read()
        except OSError as error:
            self._signature = None
            self._complain(f"{self._path}: {error.strerror or type(error).__name__}")
        except LocalProtocolError as error:
            self._complain(str(error))
        else:
            self._mistake = None
            self._users = users
            self._remembered.clear()

    def _complain(self, mistake: str) -> None:
        """Logs a mistake in the file, once."""
        if mistake != self._mistake:
            self._mistake = mistake
            self._log.error("{mistake}; the users that were known stay", mistake=mistake)

    def _read(self) -> Users:
        with open(self._path, "rb") as file:
            self._signature = _signatureOf(os.fstat(file.fileno()))
            lines = file.read().split(b"\n")
        users: Users = {}
        for number, line in enumerate(lines, 1):
            try:
                text = line.decode().strip()
            except UnicodeDecodeError:
                raise self._mistakeIn(number, "is not UTF-8") from None
            if text and not text.startswith("#"):
                user, hashed, verify = self._readLine(number, text)
                if user in users:
                    raise self._mistakeIn(number, "has a user who was there before")
                users[user] = hashed, verify
        return users

    def _readLine(self, number: int, text: str) -> tuple[str, str, Verify]:
        user, colon, hashed = text.partition(":")
        if not colon or not user:
            raise self._mistakeIn(number, "is not user:hash")
        for name, form in _KINDS.items():
            if form.fullmatch(hashed):
                return user, hashed, self._verifiers[name]
        raise self._mistakeIn(
            number, "has another hash than one of bcrypt, SHA-256-crypt and SHA-512-crypt; make it by htpasswd -B"
        )

    def _mistakeIn(self, number: int, why: str) -> LocalProtocolError:
        # Never the line: a hash tells much of a password, and some write the password itself there.
        return LocalProtocolError(f"{self._path}: line {number} {why}")


def _signatureOf(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mtime_ns, status.st_size, status.st_ino
