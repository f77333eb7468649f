"""The contract between an application and wsock.

The application is any object with the methods of `WebSocketProtocol`: it may inherit them or not. The contract is a
superset of that of ``twisted.web.websocket``, with the same names: an application written for the one runs on the
other.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any, Protocol, TypeAlias, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from .request import Request
from .sansio.errors import LocalProtocolError, make_empty, wrong_type
from .sansio.handshake import check_response_fields, refuse
from .sansio.http import check_fields, is_token

Callback = TypeVar("Callback", bound=Callable[..., object])


class Application(Protocol):
    """An application as wsock sees it. It is structural, so that yours needs not inherit from anything of ours."""

    def negotiationStarted(self, transport: Any, /) -> object:
        """The opening handshake is about to end well; messages sent from here on leave after it.

        On a client it is about to begin: whether it ends well is up to the server.
        """

    def negotiationFinished(self) -> object:
        """The connection is open."""

    def textMessageReceived(self, message: str, /) -> object:
        """A whole text message came."""

    def bytesMessageReceived(self, data: Any, /) -> object:
        """A whole binary message came."""

    def pongReceived(self, payload: bytes, /) -> object:
        """The peer answered a `ping`, or sent a Pong of its own accord."""

    def connectionLost(self, reason: Failure, /) -> object:
        """The connection is over; exactly once, and the last callback."""


def appliesBackpressure(application: object) -> bool:
    """Whether an application's sends wait by themselves, and its memory has a bound of its own, as a stream's.

    An application says so by the attribute ``appliesBackpressure = True``. It goes on receiving while its connection is
    not writable: two that wait in a send to each other would else not even hear of each other's Close. After the loss
    it is given what is left as long as somebody holds it, however long that takes.
    """
    return getattr(application, "appliesBackpressure", False) is True


#: The functions that `doesNothing` was told of.
_IDLE: set[object] = set()


def doesNothing(callback: Callback) -> Callback:
    """Decorates a callback of a base class that does nothing, so that nothing has to be prepared for its call."""
    _IDLE.add(callback)
    return callback


def isIdle(callback: object) -> bool:
    """Whether a method is one that `doesNothing` decorated."""
    return getattr(callback, "__func__", None) in _IDLE


@dataclass(frozen=True)
class Accept:
    """A return value of ``buildApplication``: an application with a subprotocol, header fields or both.

    Attributes:
        application: the application.
        subprotocol: one of those that the client offered, or None.
        headers: more fields for the 101 answer, such as ``Set-Cookie``.

    Raises:
        LocalProtocolError: no application, a subprotocol that is no token, or a header that can't be sent.
    """

    application: Application
    subprotocol: str | None = None
    headers: Sequence[tuple[str, str]] = ()

    def __post_init__(self) -> None:
        if not isApplication(self.application):
            raise LocalProtocolError(describeMistake("Accept was given", self.application))
        if self.subprotocol is not None:
            if not isinstance(self.subprotocol, str):
                raise wrong_type("subprotocol", "a str or None", self.subprotocol)
            if not is_token(self.subprotocol):
                raise LocalProtocolError(f"not a subprotocol, which is a token: {self.subprotocol!r}")
        if self.headers != ():
            # Checked here, and kept: an iterator would be empty when the next client is accepted.
            object.__setattr__(self, "headers", tuple(check_response_fields(self.headers)))


class Refuse(Exception):
    """An exception that ``buildApplication`` raises to refuse a connection with an HTTP response.

    Attributes:
        status: the HTTP status, 200 to 599.
        headers: more header fields.
        body: the answer's body; the status' reason phrase where it is empty.

    Raises:
        LocalProtocolError: a status that refuses nothing, or a header or a body that can't be sent.
    """

    def __init__(self, status: int, headers: Sequence[tuple[str, str]] = (), body: bytes = b"") -> None:
        self.headers = headers if headers == () else tuple(check_fields(headers))
        # A mistake is reported where `Refuse` is raised, and not when the answer is made of it.
        refuse(status, self.headers, body)
        self.status = int(status)
        self.body = bytes(body)
        super().__init__(f"refused with HTTP status {self.status}")

    def __reduce__(self) -> tuple[Any, ...]:
        # As `WebSocketError`: a copy is made without a call of the class, whose arguments are others.
        return make_empty, (type(self), self.args), dict(vars(self))


def isApplication(value: object) -> bool:
    """Whether this can be an application; a class can't, its instances may."""
    return callable(getattr(value, "negotiationStarted", None)) and not isinstance(value, type)


def describeMistake(told: str, value: object) -> str:
    """Says what to write in place of a value that is no application.

    Args:
        told: how the value came, such as "buildApplication returned".
        value: it.
    """
    if isinstance(value, Refuse):
        return f"{told} a Refuse: raise it"
    if isinstance(value, type):
        advice = "raise" if issubclass(value, Refuse) else "return"
        return f"{told} the class {value.__name__}: {advice} an instance, {value.__name__}(...)"
    if value is None:
        return (
            f"{told} None: return an application, or raise Refuse; "
            "the handler of a stream is given as streamApplication(handler)"
        )
    if iscoroutinefunction(value):
        return f"{told} a coroutine function: the handler of a stream is given as StreamHandler(handler)"
    kind = type(value).__name__
    return f"{told} a {kind}, and no application, which has negotiationStarted: inherit from WebSocketProtocol"


#: A decision is an application, or an `Accept` to say more.
Decision: TypeAlias = Application | Accept
#: A ``buildApplication`` is called with each `Request`, and returns a `Decision`, or a Deferred or a coroutine of one.
#: A coroutine may also return such a Deferred.
BuildApplication: TypeAlias = Callable[
    [Request], Decision | Deferred[Any] | Coroutine[Any, Any, Decision | Deferred[Any]]
]
