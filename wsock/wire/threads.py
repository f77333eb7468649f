"""Threads: sending from another one than the reactor's, and connections that refuse any other call from one.

Such a call may lose a message, or never wake the reactor, and mostly works: the fault is not seen before it hurts. A
look costs each call some 100 ns, so it is taken where `Settings.checkThreads` says so, by default in development mode
(``python -X dev``). A factory decides once, by the class of its connections: the others have nothing to look at.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache, wraps
from queue import Empty, SimpleQueue
from threading import get_ident
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure
from twisted.python.threadable import isInIOThread

from ..errors import WebSocketEnded
from ..sansio.errors import LocalProtocolError
from ..sansio.payloads import binary_payload
from ..sansio.shared import check_compress
from ..settings import Settings

Kind = TypeVar("Kind", bound=type)
Message: TypeAlias = str | bytes | bytearray | memoryview

#: How long a thread waits before it looks whether the reactor still runs, in seconds.
_POLL_SECONDS: Final = 1
#: The methods that an application calls, and only in the reactor's thread.
_CALLS: Final = (
    "sendTextMessage",
    "sendBytesMessage",
    "ping",
    "measureLatency",
    "loseConnection",
    "abortConnection",
    "attachProducer",
    "detachProducer",
    "pauseProducing",
    "resumeProducing",
    "stopProducing",
    "whenWritable",
    "whenClosed",
    "whenOpen",
)


def checksThreads(settings: Settings) -> bool:
    """Whether connections look at the thread that calls them."""
    return bool(sys.flags.dev_mode) if settings.checkThreads is None else settings.checkThreads


def threadOf(transport: object) -> int | None:
    """The thread of a connection that tells of calls from others; None of any other connection."""
    thread: int | None = getattr(transport, "_thread", None)
    return thread


def checkThread(thread: int | None, name: str) -> None:
    """Refuses a call from another thread.

    Args:
        thread: the result of `threadOf`.
        name: the method that was called.

    Raises:
        LocalProtocolError: it is another thread.
    """
    if thread is not None and thread != get_ident():
        raise _otherThread(name)


def _otherThread(name: str) -> LocalProtocolError:
    instead = "transport.sendFromThread(message), or " if name.startswith("transport.send") else ""
    return LocalProtocolError(
        f"{name}() was called in another thread than the reactor's: write {instead}reactor.callFromThread({name}, ...)"
    )


@cache
def checkingThreads(kind: Kind) -> Kind:
    """Returns a class of connections that refuse calls from other threads than the one that made them.

    Args:
        kind: the class of connections that do not look.
    """

    def __init__(self: Any, *arguments: Any) -> None:
        kind.__init__(self, *arguments)  # type: ignore[misc]
        self._thread = get_ident()

    members: dict[str, Any] = {name: _checked(getattr(kind, name), name) for name in _CALLS}
    members.update(__slots__=("_thread",), __init__=__init__, __module__=kind.__module__, __doc__=kind.__doc__)
    return type(kind.__name__, (kind,), members)  # type: ignore[return-value]


def _checked(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    @wraps(method)
    def checked(self: Any, *arguments: Any, **named: Any) -> Any:
        if self._thread != get_ident():
            raise _otherThread(f"transport.{name}")
        return method(self, *arguments, **named)

    return checked


class Sends(Protocol):
    """A connection, to be sent on from another thread."""

    def canSend(self) -> bool:
        """Whether a message would be sent."""

    def whenWritable(self) -> Deferred[None]:
        """Waits until not too much is unsent."""

    def sendTextMessage(self, text: str, compress: bool | None) -> None:
        """Sends a text message."""

    def sendBytesMessage(self, data: bytes | bytearray | memoryview, compress: bool | None) -> None:
        """Sends a binary message."""


def sendFromThread(transport: Sends, reactor: Any, message: Message, compress: bool | None) -> None:
    """Sends a message from another thread than the reactor's, as `WebSocketTransport.sendFromThread`."""
    if isInIOThread():
        raise LocalProtocolError("sendFromThread() is for other threads than the reactor's: send...Message() here")
    if not isinstance(message, (str, bytes, bytearray, memoryview)):
        # It raises, now and not when the connection is writable.
        binary_payload(message)
    check_compress(compress)
    outcome: SimpleQueue[object] = SimpleQueue()
    IReactorFromThreads(reactor).callFromThread(_sendForThread, transport, message, compress, outcome)
    while True:
        try:
            result = outcome.get(timeout=_POLL_SECONDS)
        except Empty:
            if not reactor.running:
                raise WebSocketEnded("the reactor has stopped") from None
        else:
            break
    if isinstance(result, Failure):
        result.raiseException()


def _sendForThread(transport: Sends, message: Message, compress: bool | None, outcome: SimpleQueue[object]) -> None:
    writable = maybeDeferred(_sendWhenWritable, transport, message, compress)
    writable.addBoth(outcome.put)


def _sendWhenWritable(transport: Sends, message: Message, compress: bool | None) -> Deferred[None]:
    return transport.whenWritable().addCallback(_sendNow, transport, message, compress)


def _sendNow(_: None, transport: Sends, message: Message, compress: bool | None) -> None:
    if not transport.canSend():
        raise WebSocketEnded("the connection is closing")
    if isinstance(message, str):
        transport.sendTextMessage(message, compress)
    else:
        transport.sendBytesMessage(message, compress)
