"""Checks of passwords and tokens that a program has at hand.

Rules:

* Kept and compared are digests under a key of this process. A comparison takes the same time wherever the first
  difference is, and so does a user, or a token, that is not known.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any, Final, NoReturn

from ..sansio.errors import LocalProtocolError, wrong_type

#: Nobody outside of this process can compute a digest.
_KEY: Final = os.urandom(blake2b.MAX_KEY_SIZE)
#: In the place of a digest that is not there.
_NO_DIGEST: Final = bytes(blake2b.MAX_DIGEST_SIZE)


def _digest(secret: str) -> bytes:
    return blake2b(secret.encode("utf-8", "surrogatepass"), key=_KEY).digest()


def _checkSecret(name: str, secret: object) -> None:
    if not isinstance(secret, str):
        raise wrong_type(name, "a str", secret)
    if not secret:
        raise LocalProtocolError(f"{name} is empty")


class Passwords:
    """A check for `basicAuth`: users and their passwords. The identity is the user.

    The passwords of people don't belong into a program; see `HtpasswdFile`.
    """

    __slots__ = ("_digests",)

    def __init__(self, passwords: Mapping[str, str]) -> None:
        """Makes a check.

        Args:
            passwords: by user. It is copied.

        Raises:
            LocalProtocolError: no mapping of texts; a user with a colon; an empty password.
        """
        if not isinstance(passwords, Mapping):
            raise wrong_type("passwords", "a mapping of users to passwords", passwords, 'write {"user": "password"}')
        for user, password in passwords.items():
            if not isinstance(user, str):
                raise wrong_type("a user", "a str", user)
            if ":" in user:
                raise LocalProtocolError("a user can't have a colon (RFC 7617 section 2)")
            _checkSecret("a password", password)
        self._digests = {user: _digest(password) for user, password in passwords.items()}

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "Passwords can't be copied or pickled, since another process has another key: make them in each process"
        )

    def __call__(self, user: str, password: str) -> str | None:
        """Returns the user, or None."""
        isRight = hmac.compare_digest(self._digests.get(user, _NO_DIGEST), _digest(password))
        return user if isRight else None


class Tokens:
    """A check for `bearerAuth`: the tokens that are valid."""

    __slots__ = ("_identities",)

    def __init__(self, tokens: Mapping[str, object] | Iterable[str]) -> None:
        """Makes a check.

        Args:
            tokens: the identities by token; or the tokens alone, and the identity is True. It is copied.

        Raises:
            LocalProtocolError: no texts, an empty token, or an identity that is None or False.
        """
        if isinstance(tokens, (str, bytes)) or not isinstance(tokens, Iterable):
            raise wrong_type("tokens", "a mapping of tokens to identities, or a set of tokens", tokens)
        identities: dict[str, object] = dict(tokens) if isinstance(tokens, Mapping) else dict.fromkeys(tokens, True)
        for token, identity in identities.items():
            _checkSecret("a token", token)
            if identity is None or identity is False:
                raise LocalProtocolError(f"{identity} is no identity: it says that a token is wrong")
        #: By the token's digest. A lookup by that tells nobody anything, since nobody else knows the key.
        self._identities = {_digest(token): (_digest(token), identity) for token, identity in identities.items()}

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "Tokens can't be copied or pickled, since another process has another key: make them in each process"
        )

    def __call__(self, token: str) -> Any:
        """Returns the identity, or None."""
        digest = _digest(token)
        known, identity = self._identities.get(digest, (_NO_DIGEST, None))
        return identity if hmac.compare_digest(known, digest) else None
