"""Interfaces through which a connection asks the factory, the opening handshake and its groups."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.python.failure import Failure

from ..sansio.constants import Role
from ..sansio.deflate import DeflateOptions
from ..settings import Settings


class Opening(Protocol):
    """The opening handshake of one role. It ends when it tells the connection `openingDone`, `openingEnded` or
    `openingHandedOn`, or aborts it.
    """

    def begin(self) -> None:
        """The transport is there."""

    def dataReceived(self, data: bytes) -> None:
        """Bytes came."""

    def lose(self, code: int | None, reason: str) -> None:
        """The connection is to be closed before it is open."""

    def stop(self) -> None:
        """The factory stops."""

    def aborted(self) -> None:
        """The connection was aborted; the loss of the transport is to come."""

    def losing(self, reason: Failure) -> None:
        """The transport is lost, and the application is about to hear of it."""

    def lost(self, reason: Failure) -> None:
        """The transport is lost, and the application has heard of it."""

    def closedPastUs(self) -> None:
        """Another hand closed the transport."""

    def failed(self, failure: Failure, callback: str) -> None:
        """The application failed in a callback."""


class Terms(Protocol):
    """The terms on which a connection is served: the factory's, or those of a route."""

    settings: Settings
    deflateOptions: DeflateOptions


class Home(Terms, Protocol):
    """The factory, as its connections need it."""

    role: Role
    log: Any

    @property
    def reactor(self) -> Any:
        """The reactor of the timers."""

    def makeOpening(self, transport: Any) -> Opening:
        """Makes the opening handshake of a connection."""

    def connectionOpened(self, transport: Any) -> None:
        """A connection is open."""

    def connectionForgotten(self, transport: Any) -> None:
        """A connection is lost, and no one was told of it yet."""

    def connectionLost(self, transport: Any, aborted: bool, note: Any) -> None:
        """A connection is lost, and the application has heard of it, unless it is busy.

        Args:
            transport: the connection.
            aborted: whether it was lost by our will.
            note: what its opening handshake noted for this call.
        """

    def checkStopped(self) -> None:
        """All reports of the loss of a connection were made."""

    def applicationFailed(self, failure: Failure) -> None:
        """The application of a connection failed, and that was logged."""


class Member(Protocol):
    """A group that a connection is in."""

    def discard(self, transport: Any) -> None:
        """Takes the connection out."""
