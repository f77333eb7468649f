"""A check by ``twisted.cred``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import LoginDenied, UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from ..login import Login
from ..sansio.errors import LocalProtocolError, wrong_type


class _INamed(Interface):
    """The avatars of checkers without a realm: their ids."""


@implementer(IRealm)
class _Names:
    """A realm whose avatars are their ids."""

    def requestAvatar(self, avatarId: Any, mind: object, *interfaces: Any) -> Any:
        """Returns the id."""
        return _INamed, avatarId, None


def _asUsernamePassword(user: str, password: str) -> Any:
    # Checkers of Twisted have both in bytes.
    return UsernamePassword(user.encode(), password.encode())


class CredCheck:
    """A check by ``twisted.cred``, for `basicAuth`: a portal, or checkers.

    The identity is the avatar of a portal, and the avatar id of checkers. The portal's ``logout`` is called once, when
    the connection is lost, or when its request is refused after all.
    """

    __slots__ = ("_interfaces", "_makeCredentials", "_mind", "_portal")

    def __init__(
        self,
        portal: Portal | Iterable[Any],
        *interfaces: Any,
        credentials: Callable[..., Any] = _asUsernamePassword,
        mind: object = None,
    ) -> None:
        """Makes a check.

        Args:
            portal: a ``twisted.cred.portal.Portal``; or checkers, each an ``ICredentialsChecker``.
            interfaces: of the avatar, as ``Portal.login`` takes them; none for checkers.
            credentials: makes the credentials for the portal, by default a ``UsernamePassword`` in UTF-8. It is called
                with the user and the password; in a `bearerAuth` with the token.
            mind: as ``Portal.login`` takes it.

        Raises:
            LocalProtocolError: no portal and no checkers; a portal without interfaces, or checkers with some; none that
                checks passwords.
        """
        if not isinstance(portal, Portal):
            checkers = [portal] if ICredentialsChecker.providedBy(portal) else portal
            portal = Portal(_Names())
            if isinstance(checkers, (str, bytes)) or not isinstance(checkers, Iterable):
                raise wrong_type("portal", "a Portal or checkers", checkers)
            for checker in checkers:
                if not ICredentialsChecker.providedBy(checker):
                    raise wrong_type("each of the checkers", "an ICredentialsChecker", checker)
                portal.registerChecker(checker)
            if interfaces:
                raise LocalProtocolError("checkers have no avatars with an interface: give a Portal, with its realm")
            interfaces = (_INamed,)
        elif not interfaces:
            raise LocalProtocolError("name the interface of the avatars: CredCheck(portal, IAvatar)")
        isDefault = credentials is _asUsernamePassword
        if isDefault and not any(kind.isOrExtends(IUsernamePassword) for kind in portal.listCredentialsInterfaces()):
            raise LocalProtocolError("no checker is for IUsernamePassword: register one, or give credentials=")
        self._portal = portal
        self._interfaces = interfaces
        self._makeCredentials = credentials
        self._mind = mind

    def __call__(self, *given: str) -> Deferred[Login | None]:
        """Returns a Deferred of the login."""
        login = self._portal.login(self._makeCredentials(*given), self._mind, *self._interfaces)
        return login.addCallbacks(_entered, _failed)


def _entered(result: Any) -> Login:
    _, avatar, logout = result
    return Login(avatar, logout)


def _failed(failure: Failure) -> None:
    failure.trap(UnauthorizedLogin, LoginDenied)
