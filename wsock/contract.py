"""What an application and wsock promise each other.

The application is any object with the methods of `WebSocketProtocol`: it may inherit them or not. The transport it
is given is the wire protocol (`wsock.protocol`). The contract is a superset of that of ``twisted.web.websocket``, with
the same names: an application written for the one runs on the other.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, fields
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from .request import Request
from .sansio.constants import (
    DEFAULT_MAX_HEADER_LINE,
    DEFAULT_MAX_HEADER_SIZE,
    DEFAULT_MAX_HEADERS,
    DEFAULT_MAX_MESSAGE_SIZE,
    CloseCode,
)
from .sansio.errors import LocalProtocolError, WebSocketError, make_empty, wrong_type
from .sansio.handshake import check_response_fields, refuse
from .sansio.http import check_fields, is_token

if TYPE_CHECKING:
    from .protocol import WireProtocol

#: What a callback may return: the next message waits until a Deferred fires or a coroutine ends.
Served: TypeAlias = Deferred[Any] | Coroutine[Any, Any, Any] | None


class Application(Protocol):
    """An application as wsock sees it. It is structural, so that yours needs not inherit from anything of ours."""

    def negotiationStarted(self, transport: Any, /) -> object:
        """The opening handshake is about to end well; what is sent from here on leaves after it.

        On a client it is about to begin: whether it ends well is what the server says.
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


class WebSocketProtocol:
    """A convenient base for applications: all methods are there and do nothing.

    The callbacks for messages and Pongs may return a Deferred or a coroutine: no other is called before it is done,
    and the peer is made to wait if it sends too much meanwhile. An exception in any of them is logged, drops what was
    received and not delivered, and closes the connection with 1011.
    """

    __slots__ = ("transport",)

    transport: WireProtocol

    def negotiationStarted(self, transport: WireProtocol) -> Served:
        """The opening handshake is about to end well, or on a client to begin: keep ``transport``.

        What is sent now leaves after the handshake's last byte.
        """
        self.transport = transport
        return None

    def negotiationFinished(self) -> Served:
        """The connection is open."""

    def textMessageReceived(self, message: str) -> Served:
        """A whole text message came.

        Args:
            message: its text.
        """

    def bytesMessageReceived(self, data: bytes) -> Served:
        """A whole binary message came.

        Args:
            data: its payload.
        """

    def pongReceived(self, payload: bytes) -> Served:
        """The peer answered a `ping`, or sent a Pong of its own accord (RFC 6455 section 5.5.3).

        Args:
            payload: up to 125 bytes.
        """

    def connectionLost(self, reason: Failure) -> Served:
        """The connection is over: exactly once, as the last callback, iff `negotiationStarted` was called.

        Args:
            reason: wraps a `WebSocketClosed` or a `WebSocketDropped`; on a client that was never open, whatever
                `connectProtocol` says of that, such as a `ConnectionRejected`.
        """


class SelfRegulating:
    """An application whose sends wait by themselves, and whose memory has a bound of its own: `WebSocketStream`.

    It goes on receiving while its connection is not writable: two that wait in a send to each other would else not
    even hear of each other's Close.
    """

    __slots__ = ()


@dataclass(frozen=True)
class Accept:
    """What ``buildApplication`` returns to say more than which application it is to be.

    Attributes:
        application: the application; None where `streamApplication` brings its own.
        subprotocol: one of those that the client offered, or None.
        headers: more fields for the 101 answer, such as ``Set-Cookie``.

    Raises:
        LocalProtocolError: no application, a subprotocol that is no token, or a header that can't be sent.
    """

    application: Application | None
    subprotocol: str | None = None
    headers: Sequence[tuple[str, str]] = ()

    def __post_init__(self) -> None:
        if self.application is not None and not isApplication(self.application):
            raise LocalProtocolError(describeMistake("Accept was given", self.application))
        if self.subprotocol is not None:
            if not isinstance(self.subprotocol, str):
                raise wrong_type("subprotocol", "a str or None", self.subprotocol)
            if not is_token(self.subprotocol):
                raise LocalProtocolError(f"not a subprotocol, which is a token: {self.subprotocol!r}")
        if self.headers != ():
            # Checked here, and kept: what gives its items once is empty when the next client is accepted.
            object.__setattr__(self, "headers", tuple(check_response_fields(self.headers)))


class Refuse(Exception):
    """What ``buildApplication`` raises to refuse a connection with an HTTP answer.

    Attributes:
        status: the HTTP status, 200 to 599.
        headers: more header fields.
        body: the answer's body; the status' reason phrase where it is empty.

    Raises:
        LocalProtocolError: a status that refuses nothing, or a header or a body that can't be sent.
    """

    def __init__(self, status: int, headers: Sequence[tuple[str, str]] = (), body: bytes = b"") -> None:
        self.headers = headers if headers == () else tuple(check_fields(headers))
        # Whatever can't be sent is told where it is raised, and not when the answer is made of it.
        refuse(status, self.headers, body)
        self.status = int(status)
        self.body = bytes(body)
        super().__init__(f"refused with HTTP status {self.status}")

    def __reduce__(self) -> tuple[Any, ...]:
        # As `WebSocketError`: a copy is made without a call of the class, whose arguments are others.
        return make_empty, (type(self), self.args), dict(vars(self))


def isApplication(value: object) -> bool:
    """Whether this can be an application; a class is none, its instances may be."""
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
        return f"{told} a coroutine function: the handler of a stream is given as streamApplication(handler)"
    kind = type(value).__name__
    return f"{told} a {kind}, and no application, which has negotiationStarted: inherit from WebSocketProtocol"


#: A decision is an application, or an `Accept` to say more.
Decision: TypeAlias = Application | Accept
#: A ``buildApplication`` is called with each `Request`, and returns a `Decision`, or a Deferred or a coroutine of one.
#: A coroutine may also return such a Deferred, as `streamApplication`'s function does.
BuildApplication: TypeAlias = Callable[
    [Request], Decision | Deferred[Any] | Coroutine[Any, Any, Decision | Deferred[Any]]
]


#: Larger numbers are of no use, and some no timer can take.
_MOST: Final = 2**63 - 1
#: The settings that are numbers of bytes.
_BYTES: Final = ("maxMessageSize", "highWaterMark", "sendLimit", "maxHeaderLine", "maxHeaderSize")
#: What `Settings.slowConsumer` may be.
SLOW_CONSUMER: Final = ("wait", "close", "drop")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Limits and timers, and one look at mistakes. None means no limit; 0 never does.

    Attributes:
        maxMessageSize: the largest message taken in, in bytes; a larger one closes the connection with 1009.
        maxEmptyFragments: how many frames of one message may be empty; one more closes with 1008.
        openTimeout: seconds from the connection to the end of the opening handshake, TLS included.
        closeTimeout: seconds from our Close to the loss of the connection; then it is aborted.
        pingInterval: seconds without a sign of life from the peer before it is sent a Ping.
        pingTimeout: seconds after that Ping before a peer that still gives none is aborted; also how long it may take
            nothing of our last bytes, which is ``closeTimeout`` where this is None.
        receiveQueue: how many messages are taken in while a callback is not done.
        highWaterMark: how many bytes may be unsent before the connection counts as not writable; it does so with more
            messages, too, than one for each 256 bytes of it, or 256 where that is less. Over transports
            other than Twisted's TCP, UNIX and TLS nothing is known of what is unsent before that is about 64 KiB.
        sendLimit: how many bytes may wait when a message is sent: with more, ``slowConsumer`` says what happens. The
            message that is about to leave, or has begun to, does not count: a large message and small ones behind it
            always fit, a third large one does not. With more messages than one for each 256 bytes of the limit, or
            4,096 where that is less, ``slowConsumer`` says what happens, too.
        slowConsumer: what becomes of a peer that does not take what it is sent. ``"wait"``: while the connection is
            not writable it is not read either; past ``sendLimit`` it is closed with 1013. ``"close"``: it is read on;
            past ``sendLimit`` it is closed with 1013. ``"drop"``: it is read on; past ``sendLimit`` the oldest messages
            that have not begun to leave are dropped.
        maxConnections: how many open connections a factory has; one more is answered with 503.
        maxHeaderLine: the longest line of a request's or an answer's head, in bytes with its end. A longer one is
            answered with 414 or 431, and fails a client.
        maxHeaderSize: the largest head, in bytes with its empty line; likewise.
        maxHeaders: how many header fields a head may have; likewise.
        checkThreads: whether a call of a connection's methods from another thread than the reactor's raises
            `LocalProtocolError`; None for Python's development mode alone (``python -X dev``). Where it is off it costs
            nothing, else some 100 ns a call.
    """

    maxMessageSize: int | None = DEFAULT_MAX_MESSAGE_SIZE
    maxEmptyFragments: int | None = 1024
    openTimeout: float | None = 10
    closeTimeout: float | None = 10
    pingInterval: float | None = 20
    pingTimeout: float | None = 20
    receiveQueue: int = 16
    highWaterMark: int | None = 65536
    sendLimit: int | None = 2**20
    slowConsumer: Literal["wait", "close", "drop"] = "wait"
    maxConnections: int | None = None
    maxHeaderLine: int | None = DEFAULT_MAX_HEADER_LINE
    maxHeaderSize: int | None = DEFAULT_MAX_HEADER_SIZE
    maxHeaders: int | None = DEFAULT_MAX_HEADERS
    checkThreads: bool | None = None

    def __post_init__(self) -> None:
        if self.slowConsumer not in SLOW_CONSUMER:
            raise LocalProtocolError(f"slowConsumer is one of {', '.join(SLOW_CONSUMER)}, not {self.slowConsumer!r}")
        if self.checkThreads is not None and not isinstance(self.checkThreads, bool):
            raise wrong_type("checkThreads", "a bool or None", self.checkThreads)
        for field in fields(self):
            if field.name in ("slowConsumer", "checkThreads"):
                continue
            value = getattr(self, field.name)
            if value is None and field.name != "receiveQueue":
                continue
            isTime = field.name.endswith(("Timeout", "Interval"))
            none = "" if field.name == "receiveQueue" else ", or None for no limit"
            expected = f"a number{' of seconds' if isTime else ''} above 0, and below 2**63{none}"
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                advice = "write 16 * 2**20 for 16 MiB" if isinstance(value, str) and field.name in _BYTES else ""
                raise wrong_type(field.name, expected, value, advice)
            if not 0 < value <= _MOST:
                raise LocalProtocolError(f"{field.name} is {expected}")
            if isinstance(value, float) and not isTime:
                raise LocalProtocolError(f"{field.name} is a whole number")


class WebSocketEnded(WebSocketError):
    """The connection is over.

    Attributes:
        closeReceived: (code, reason) of the peer's Close, or None.
        closeSent: (code, reason) of ours, or None.
    """

    def __init__(
        self,
        message: str,
        closeReceived: tuple[int, str] | None = None,
        closeSent: tuple[int, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.closeReceived = closeReceived
        self.closeSent = closeSent

    def __str__(self) -> str:
        return str(self.args[0])


class WebSocketClosed(WebSocketEnded, ConnectionDone):
    """Both sides sent a Close (RFC 6455 section 7.1.4, "closed cleanly").

    It does not mean that every message was delivered. The codes tell more: with 1009 a message was too large, with 1011
    an application failed and what waited for it was discarded, with 1013 what was unsent was dropped. With any code, a
    message that was sent while the other side was closing may have been discarded there.
    """


class WebSocketDropped(WebSocketEnded, ConnectionLost):
    """The connection ended in any other way (close code 1006, RFC 6455 section 7.1.5).

    Attributes:
        code: what was wrong: the close code that we failed the connection with, or 1006.
    """

    def __init__(
        self,
        message: str,
        closeReceived: tuple[int, str] | None = None,
        closeSent: tuple[int, str] | None = None,
        code: int = CloseCode.ABNORMAL_CLOSURE,
    ) -> None:
        super().__init__(message, closeReceived, closeSent)
        self.code = int(code)
