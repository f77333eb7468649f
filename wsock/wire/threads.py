"""Connections that tell of a call from another thread than the reactor's.

Such a call may lose a message, or never wake the reactor, and mostly works: nobody sees the fault before it hurts. A
look costs each call some 100 ns, so it is taken where `Settings.checkThreads` says so, by default in development mode
(``python -X dev``). A factory decides once, by the class of its connections: the others have nothing to look at.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache, wraps
from threading import get_ident
from typing import Any, Final, TypeVar

from ..sansio.errors import LocalProtocolError
from ..settings import Settings

Kind = TypeVar("Kind", bound=type)

#: What an application calls, and only in the reactor's thread.
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
    """Whether connections look at who calls them."""
    return bool(sys.flags.dev_mode) if settings.checkThreads is None else settings.checkThreads


def threadOf(transport: object) -> int | None:
    """The thread of a connection that tells of calls from others; None of any other connection."""
    thread: int | None = getattr(transport, "_thread", None)
    return thread


def checkThread(thread: int | None, name: str) -> None:
    """Refuses a call from another thread.

    Args:
        thread: what `threadOf` says.
        name: what was called.

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
