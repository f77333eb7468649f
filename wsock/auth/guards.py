"""Authentication of clients, as functions around a ``buildApplication``.

Rules:

* Credentials are in no log line, no exception's text and no repr. A refusal says which rule it broke, and nothing else.
* The check decides, and may take its time. It is cancelled when the client leaves.
* The identity is with the request, so that a ``buildApplication`` keeps its one argument.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias, overload

from twisted.internet.defer import Deferred

from ..application import BuildApplication, Refuse
from ..arguments import checkBuildApplication
from ..log import APPLICATION_ERRORS, CANCELLATIONS
from ..login import Login
from ..request import Request, enter
from ..sansio.errors import LocalProtocolError, wrong_type
from ..sansio.http import is_token
from ..server.routes import Routes
from .credentials import Malformed, TokenReader, readBasic

#: Returns the identity of a user, any object; None or False where the password is wrong. Or a Deferred, or a coroutine.
CheckPassword: TypeAlias = Callable[[str, str], object]
#: The same of a token.
CheckToken: TypeAlias = Callable[[str], object]
#: The credentials of a request, in the order of the check's arguments; None without any.
Read: TypeAlias = Callable[[Request], "tuple[str, ...] | None"]

#: RFC 9110 section 5.6.4: what a quoted string may have, unescaped.
_REALM = re.compile(r"[ !#-\[\]-~]*")


class Identification:
    """Finds out whose a request is, by its credentials."""

    __slots__ = ("_challenge", "_check", "_read", "_wrong", "_wrongChallenge")

    def __init__(self, read: Read, check: Callable[..., object], challenges: tuple[str, str], wrong: str) -> None:
        """Makes one of them.

        Args:
            read: finds the credentials of a request.
            check: the user's function.
            challenges: the ``WWW-Authenticate`` of a refusal without credentials, and with wrong ones.
            wrong: what is wrong then, in words.
        """
        self._read = read
        self._check = check
        self._challenge, self._wrongChallenge = challenges
        self._wrong = wrong

    def read(self, request: Any) -> tuple[str, ...] | None:
        """Returns the credentials of a request; None without any.

        Raises:
            Refuse: they are malformed.
        """
        try:
            return self._read(request)
        except Malformed:
            raise _unauthorized(self._wrongChallenge, self._wrong) from None

    def missing(self) -> Refuse:
        """Returns the refusal of a request without credentials."""
        return _unauthorized(self._challenge, "no credentials came")

    def check(self, credentials: tuple[str, ...]) -> Any:
        """Returns the identity, or a coroutine of it.

        Raises:
            Refuse: they are wrong.
            Exception: that of the check; without credentials in its text.
        """
        try:
            result = self._check(*credentials)
        except APPLICATION_ERRORS as error:
            told = _discreet(error, credentials)
            if told is error:
                raise
            raise told from None
        if isinstance(result, (Coroutine, Deferred)):
            return self._waitFor(result, credentials)
        return self._checked(result)

    async def _waitFor(self, result: Any, credentials: tuple[str, ...]) -> Any:
        try:
            identity = await _settled(result)
        except APPLICATION_ERRORS as error:
            told = _discreet(error, credentials)
            if told is error:
                raise
            raise told from None
        return self._checked(identity)

    def _checked(self, identity: object) -> object:
        if identity is None or identity is False:
            raise _unauthorized(self._wrongChallenge, self._wrong)
        return identity


class _Guard:
    """A ``buildApplication`` that asks another one for those clients alone whose credentials are right."""

    __slots__ = ("_build", "_identification", "_otherwise")

    def __init__(
        self, build: BuildApplication, identification: Identification, otherwise: BuildApplication | None
    ) -> None:
        """Makes a guard.

        Args:
            build: the other one.
            identification: finds out whose a request is.
            otherwise: asked in place of a refusal without credentials, or None.
        """
        self._build = build
        self._identification = identification
        self._otherwise = otherwise

    def __call__(self, request: Request) -> Any:
        """Checks the credentials of a request, and asks for its application."""
        credentials = self._identification.read(request)
        if credentials is None:
            if self._otherwise is not None:
                return self._otherwise(request)
            raise self._identification.missing()
        identity = self._identification.check(credentials)
        if isinstance(identity, Coroutine):
            return self._waitFor(request, identity)
        return self._admit(request, identity)

    async def _waitFor(self, request: Request, checking: Coroutine[Any, Any, Any]) -> Any:
        return await _settled(self._admit(request, await checking))

    def _admit(self, request: Request, identity: object) -> Any:
        enter(request, identity if isinstance(identity, Login) else Login(identity))
        return self._build(request)


async def _settled(result: Any) -> Any:
    while isinstance(result, (Coroutine, Deferred)):
        result = await result
    return result


def _unauthorized(challenge: str, why: str) -> Refuse:
    return Refuse(401, [("WWW-Authenticate", challenge)], f"Unauthorized: {why}".encode())


def _discreet(error: BaseException, credentials: tuple[str, ...]) -> BaseException:
    """Returns the exception of a check, or another one where its text, or that of a cause, has some of the credentials.

    Such as the KeyError of a token that is in no table.
    """
    if isinstance(error, (Refuse, *CANCELLATIONS)):
        return error
    # A text may be the repr of another: each has more backslashes than the one before.
    texts = [text.replace("\\", "") for one in _causes(error) for text in (str(one), repr(one))]
    if not any(form in text for part in credentials for form in _forms(part) for text in texts):
        return error
    trace = error.__traceback__
    told = RuntimeError(f"the check of credentials raised {type(error).__name__}, with credentials in its text")
    return told.with_traceback(trace)


def _causes(error: BaseException) -> list[BaseException]:
    """Returns an exception and its causes."""
    causes: list[BaseException] = []
    found: list[BaseException | None] = [error]
    while found:
        one = found.pop()
        if one is not None and one not in causes:
            causes.append(one)
            found += [one.__cause__, one.__context__]
    return causes


def _forms(text: str) -> set[str]:
    """Returns the forms in which a text may stand in another, without backslashes; of an empty one none."""
    if not text:
        return set()
    forms = text, ascii(text)[1:-1], repr(text.encode("utf-8", "replace"))[2:-1]
    return {form.replace("\\", "") for form in forms}


# For users


@overload
def basicAuth(
    check: CheckPassword,
    buildApplication: Routes,
    *,
    realm: str = "wsock",
    otherwise: BuildApplication | None = None,
) -> Routes: ...


@overload
def basicAuth(
    check: CheckPassword,
    buildApplication: BuildApplication,
    *,
    realm: str = "wsock",
    otherwise: BuildApplication | None = None,
) -> BuildApplication: ...


def basicAuth(
    check: CheckPassword,
    buildApplication: BuildApplication | Routes,
    *,
    realm: str = "wsock",
    otherwise: BuildApplication | None = None,
) -> BuildApplication | Routes:
    """Makes a ``buildApplication`` that asks for a user and a password (Basic authentication, RFC 7617).

    A client without them, or with wrong ones, is answered with 401. For all others `Request.identity` is what the check
    returned, and ``buildApplication`` is called. An exception of the check is logged, and answered with 500.

    Args:
        check: called with a user and a password, such as `Passwords`, `HtpasswdFile` or `CredCheck`. Returns the
            identity, which is any object, or None or False where they are wrong; or a Deferred or a coroutine of that,
            which is cancelled when the client leaves or ``openTimeout`` passes. May raise `Refuse`.
        buildApplication: everything that a factory takes as such. Of `Routes` each route is protected.
        realm: the name of the protected place, which browsers show.
        otherwise: a ``buildApplication`` for the requests without a user and a password, such as a `bearerAuth`, or
            one for guests; by default they are answered with 401.

    Returns:
        a ``buildApplication``; of `Routes`, others.

    Raises:
        LocalProtocolError: an argument that can't be.
    """
    return _protect(buildApplication, identificationByPassword(check, realm), otherwise)


def identificationByPassword(check: CheckPassword, realm: str = "wsock") -> Identification:
    """Returns the identification of `basicAuth`."""
    _checkCallable(check, "a user and a password", "write Passwords({...})")
    challenge = f'Basic realm="{_checkedRealm(realm)}", charset="UTF-8"'
    return Identification(readBasic, check, (challenge, challenge), "the user or the password is wrong")


@overload
def bearerAuth(
    check: CheckToken,
    buildApplication: Routes,
    *,
    realm: str = "wsock",
    subprotocol: bool = False,
    queryParameter: str | None = None,
    cookie: str | None = None,
    otherwise: BuildApplication | None = None,
) -> Routes: ...


@overload
def bearerAuth(
    check: CheckToken,
    buildApplication: BuildApplication,
    *,
    realm: str = "wsock",
    subprotocol: bool = False,
    queryParameter: str | None = None,
    cookie: str | None = None,
    otherwise: BuildApplication | None = None,
) -> BuildApplication: ...


def bearerAuth(
    check: CheckToken,
    buildApplication: BuildApplication | Routes,
    *,
    realm: str = "wsock",
    subprotocol: bool = False,
    queryParameter: str | None = None,
    cookie: str | None = None,
    otherwise: BuildApplication | None = None,
) -> BuildApplication | Routes:
    """Makes a ``buildApplication`` that asks for a token (RFC 6750).

    As `basicAuth`, with one secret in place of two. The token comes in the ``Authorization`` field, and from each other
    place only where that is named here: a page in a browser can't set the field. If there are several, the order is
    that of the arguments here, the field first.

    Args:
        check: called with a token, such as `Tokens`; as that of `basicAuth`.
        buildApplication: as that of `basicAuth`.
        realm: the name of the protected place.
        subprotocol: whether a client may offer the token as a subprotocol, ``bearer.`` and the token's UTF-8 in
            base64url. `Request.subprotocols` doesn't have it, and it is never agreed on. Since a browser gives up a
            connection where it offered subprotocols and the server chose none, a page offers ``bearer`` beside it,
            which is agreed on where the application chooses none.
        queryParameter: the name of a parameter of the query that may have the token.
        cookie: the name of a cookie that may have it.
        otherwise: a ``buildApplication`` for the requests without a token; by default they are answered with 401.

    Returns:
        a ``buildApplication``; of `Routes`, others.

    Raises:
        LocalProtocolError: an argument that can't be.
    """
    _checkCallable(check, "a token", "write Tokens({...})")
    for name, value in (("queryParameter", queryParameter), ("cookie", cookie)):
        if value is not None and not isinstance(value, str):
            raise wrong_type(name, "a str or None", value)
    if cookie is not None and not is_token(cookie):
        raise LocalProtocolError(f"not the name of a cookie, which is a token: {cookie!r}")
    challenge = f'Bearer realm="{_checkedRealm(realm)}"'
    # RFC 6750 §3.1: no error code where no token came.
    challenges = challenge, f'{challenge}, error="invalid_token"'
    read = TokenReader(cookie, queryParameter, subprotocol)
    identification = Identification(read, check, challenges, "the token is not valid")
    return _protect(buildApplication, identification, otherwise)


def _protect(
    buildApplication: BuildApplication | Routes, identification: Identification, otherwise: BuildApplication | None
) -> BuildApplication | Routes:
    if otherwise is not None:
        checkBuildApplication(otherwise)
    if isinstance(buildApplication, Routes):
        return buildApplication.wrap(lambda build: _Guard(build, identification, otherwise))
    checkBuildApplication(buildApplication)
    return _Guard(buildApplication, identification, otherwise)


def _checkCallable(check: object, told: str, advice: str) -> None:
    if not callable(check):
        raise wrong_type("check", f"a function that is called with {told}", check, advice)


def _checkedRealm(realm: object) -> str:
    if not isinstance(realm, str):
        raise wrong_type("realm", "a str", realm)
    if not _REALM.fullmatch(realm):
        raise LocalProtocolError(f"a realm is printable ASCII without quotes and backslashes: {realm!r}")
    return realm
