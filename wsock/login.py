"""The identity that a client has proved, from its request to the loss of its connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred

from .log import APPLICATION_ERRORS, ClassLogger


class Login:
    """An identity, and the function that is called once when its connection is lost.

    Attributes:
        identity: any object.
        isOver: whether `end` was called.
    """

    __slots__ = ("_earlier", "_logout", "identity", "isOver")

    _log = ClassLogger()

    def __init__(self, identity: object, logout: Callable[[], object] | None = None) -> None:
        """Makes a login.

        Args:
            identity: any object.
            logout: called without an argument; its exception is logged.
        """
        self.identity = identity
        self.isOver = False
        self._logout = logout
        #: Another one of the same request, which asked twice for credentials.
        self._earlier: Login | None = None

    def follow(self, earlier: Login | None) -> None:
        """Ends another one of the same request, too."""
        self._earlier = earlier

    def end(self) -> None:
        """Calls ``logout``, once."""
        self.isOver = True
        logout, self._logout = self._logout, None
        if logout is not None:
            try:
                result = logout()
            except APPLICATION_ERRORS:
                self._log.failure("logout failed")
            else:
                if isinstance(result, Deferred):
                    result.addErrback(lambda failure: self._log.failure("logout failed", failure))
        earlier, self._earlier = self._earlier, None
        if earlier is not None:
            earlier.end()


#: In the place of a login where it is too late for one.
NOBODY: Final = Login(None)
NOBODY.end()
