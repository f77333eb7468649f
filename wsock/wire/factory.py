"""The connections that a factory of either role holds, and how they are ended together."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, NoReturn, Protocol, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..arguments import checkReactor, checkSettings, checkStop
from ..sansio.constants import DEFAULT_MAX_MESSAGE_SIZE, CloseCode
from ..sansio.errors import LocalProtocolError
from ..sansio.http import check_fields
from ..settings import Settings
from ..version import __version__
from .owners import Home
from .protocol import WebSocketTransport
from .threads import checkingThreads, checksThreads, checkThread, threadOf

#: The software that a server's 101 and a client's request name by default.
SOFTWARE: Final = f"wsock/{__version__}"
#: How many of the largest messages `raiseTrimThreshold` is for, and how many bytes at the most.
_HEAP_MESSAGES: Final = 4
_MAX_HEAP_BYTES: Final = 2**24
#: The size up to which this process has done so, in bytes.
_raisedToBytes = 0
#: How long `stop` waits for the peers' Close unless it is told, in seconds.
STOP_SECONDS: Final = 4

_NO_RESOURCE: Final = (
    "a factory of WebSockets is no resource of twisted.web: listen with it, and give it the tree as "
    "fallback=Site(root); buildApplication finds the path in request.path"
)


class _Times(Protocol):
    def seconds(self) -> Any:
        """The time."""

    def callLater(self, delay: float, callable: Callable[..., Any], /, *args: Any, **kw: Any) -> Any:
        """Calls a function after so many seconds."""


#: An ``IReactorTime``, also for type checkers that do not know what implements one: those without mypy-zope.
#: In quotes: before zope.interface 6.2 an interface had no ``|``.
Reactor: TypeAlias = "IReactorTime | _Times"


def withDefaultField(headers: Iterable[tuple[str, str]], name: str, value: str) -> tuple[tuple[str, str], ...]:
    """Returns header fields as they are sent: checked, and with one more unless there is one of that name."""
    return addDefault(check_fields(headers), name, value)


def addDefault(fields: Sequence[tuple[str, str]], name: str, value: str) -> tuple[tuple[str, str], ...]:
    """Returns header fields with one more unless there is one of that name; as `withDefaultField`, without a check."""
    if any(given.lower() == name.lower() for given, _ in fields):
        return tuple(fields)
    return (*fields, (name, value))


def raiseTrimThreshold(maxMessageSize: int | None) -> None:
    """Has the C library keep the memory of a few large messages.

    glibc gives the end of its heap back to the system as soon as twice the largest block that it ever mapped is free
    (mallopt(3), M_TRIM_THRESHOLD), and faults it in again for the next message: that took more than half of the time of
    an echo of 1 MiB. A block that is made and dropped raises the threshold; it is never touched, so it costs no memory.
    """
    global _raisedToBytes
    size = min(_HEAP_MESSAGES * (maxMessageSize or DEFAULT_MAX_MESSAGE_SIZE), _MAX_HEAP_BYTES)
    if size > _raisedToBytes:
        # Only a larger one is mapped; any other would come from the heap, and be filled with zeros.
        _raisedToBytes = size
        bytes(size)


class _NoResource:
    """The attribute of a factory that twisted.web gives to each child of a resource."""

    def __get__(self, factory: Any, owner: object = None) -> Any:
        try:
            return factory.__dict__["server"]
        except (AttributeError, KeyError):
            raise AttributeError("server") from None

    def __set__(self, factory: Any, value: object) -> None:
        # Others may have an attribute of that name: a class that is derived from ours.
        if sys._getframe(1).f_globals.get("__name__") == "twisted.web.resource":
            raise LocalProtocolError(_NO_RESOURCE)
        factory.__dict__["server"] = value


class _Open(AbstractSet[WebSocketTransport]):
    """A look at the open connections: a set that only the factory changes."""

    __slots__ = ("_connections",)

    def __init__(self, connections: set[WebSocketTransport]) -> None:
        self._connections = connections

    @classmethod
    def _from_iterable(cls, connections: Iterable[Any]) -> AbstractSet[Any]:
        # The result of a set operation, such as a union, stays as it is.
        return frozenset(connections)

    def __len__(self) -> int:
        return len(self._connections)

    def __contains__(self, connection: object) -> bool:
        return connection in self._connections

    def __iter__(self) -> Iterator[WebSocketTransport]:
        # A copy: they may be closed meanwhile.
        return iter(list(self._connections))

    def __repr__(self) -> str:
        return f"<the open connections: {len(self)}>"


class Connections:
    """The connections of one factory, from their beginning to their loss, and how they are ended together.

    Attributes:
        open: a live view of those that are open.
        isStopping: whether `stop` was called: no connection is accepted any more.
        reactor: for the timers; None until it is needed, where none was given.
    """

    def __init__(self, reactor: Reactor | None, settings: Settings, log: Any) -> None:
        """Starts with no connections.

        Args:
            reactor: for the timers; to be checked, as the others.
            settings: limits and timers.
            log: the factory's.
        """
        checkSettings(settings)
        if reactor is not None:
            checkReactor(reactor)
        raiseTrimThreshold(settings.maxMessageSize)
        self.isStopping = False
        self.reactor: Any = reactor
        self._log = log
        self._kind = checkingThreads(WebSocketTransport) if checksThreads(settings) else WebSocketTransport
        #: The connections in their opening handshake, and those that end without having been open. A connection is in
        #: this set or in the other, since a place in a set takes some 36 bytes.
        self._unopened: set[WebSocketTransport] = set()
        self._open: set[WebSocketTransport] = set()
        self.open = _Open(self._open)
        #: Handlers of streams: one may outlive its connection, but not the factory's end.
        self._handlers: set[Deferred[Any]] = set()
        self._stopped: list[Deferred[None]] = []
        self._graceEnd: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._unopened) + len(self._open)

    def _list(self) -> list[WebSocketTransport]:
        """Returns all connections, in a list of its own: one may be lost while others are told something."""
        return [*self._unopened, *self._open]

    def clock(self) -> Any:
        """Returns the reactor, by default the global one."""
        if self.reactor is None:
            from twisted.internet import reactor

            self.reactor = reactor
        return self.reactor

    def use(self, reactor: Any) -> None:
        """Takes a reactor, where none was given."""
        self.reactor = reactor

    def make(self, factory: Home) -> WebSocketTransport:
        """Makes a connection of a factory."""
        # The connection asks its factory for the reactor.
        self.clock()
        return self._kind(factory)

    def begin(self, transport: WebSocketTransport) -> None:
        """A connection begins its opening handshake."""
        if not self.isStopping:
            # Later ones are refused in any case: they must not hold up those who wait for the end.
            self._unopened.add(transport)

    def opened(self, transport: WebSocketTransport) -> None:
        """A connection is open."""
        self._unopened.discard(transport)
        self._open.add(transport)

    def forget(self, transport: WebSocketTransport) -> None:
        """A connection is lost."""
        self._unopened.discard(transport)
        self._open.discard(transport)

    def keepHandler(self, running: Deferred[Any]) -> None:
        """Has a stream's handler cancelled, if it has not returned when all connections are lost after `stop`."""
        self._handlers.add(running)

    def forgetHandler(self, running: Deferred[Any]) -> None:
        """Takes `keepHandler` back."""
        self._handlers.discard(running)

    def stop(self, code: int, reason: str, timeout: float) -> Deferred[None]:
        """Ends all connections; as the factories' ``stop``."""
        checkStop(code, reason, timeout)
        connections = self._list()
        if connections:
            checkThread(threadOf(connections[0]), "factory.stop")
        self.isStopping = True
        stopped: Deferred[None] = Deferred()
        self._stopped.append(stopped)
        for transport in connections:
            transport.factoryStops(code, reason)
        if len(self):
            self._abortIn(timeout)
        self.checkStopped()
        return stopped

    def _abortIn(self, seconds: float) -> None:
        """Sees to it that the connections that are left are aborted then, or earlier."""
        clock = self.clock()
        if self._graceEnd is not None:
            if self._graceEnd.getTime() <= clock.seconds() + seconds:
                return
            self._graceEnd.cancel()
        self._graceEnd = clock.callLater(seconds, self._abortAll)

    def _abortAll(self) -> None:
        self._graceEnd = None
        for transport in self._list():
            transport.abortConnection()

    def checkStopped(self) -> None:
        """A connection is lost, and all its reports were made: it may be the last."""
        if not self.isStopping or len(self):
            return
        if self._graceEnd is not None:
            self._graceEnd.cancel()
            self._graceEnd = None
        # Each once: it may still be cleaning up when the next connection is lost.
        handlers, self._handlers = self._handlers, set()
        for handler in list(handlers):
            try:
                handler.cancel()
            except Exception:
                # Its canceller is not ours to trust; the others have no part in it.
                self._log.failure("a stream's handler failed to cancel")
        stopped, self._stopped = self._stopped, []
        for deferred in stopped:
            deferred.callback(None)


class ConnectionFactory:
    """The factories of both roles, as far as they are alike: a look at their `Connections`. It keeps nothing itself.

    It tells ``twisted.web`` that a factory is no resource, where a program takes it for one.
    """

    _connections: Connections

    noisy = False
    #: Set by ``Resource.putChild``, which is to fail there, and not at each request.
    server = _NoResource()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a factory can't be copied or pickled, nor can its connections: make one in each process, with the same "
            "Settings"
        )

    @property
    def isLeaf(self) -> bool:
        """The attribute that ``Site`` asks its root for at each request: a resource has it, a factory has not."""
        raise AttributeError(_NO_RESOURCE)

    @property
    def connections(self) -> AbstractSet[WebSocketTransport]:
        """The open connections, in a set that can't be changed, and always has those that are open now.

        ``len`` says how many they are. Iterating gives those that are open when it begins, so they may be closed
        meanwhile.
        """
        return self._connections.open

    def stop(self, code: int = CloseCode.GOING_AWAY, reason: str = "", timeout: float = STOP_SECONDS) -> Deferred[None]:
        """Ends all connections: open ones with a Close, those in their opening handshake without a WebSocket.

        New connections are refused, for good: a factory is stopped once. Stop listening first. A second call changes
        the end only where its timeout is over earlier.

        Args:
            code: the close code.
            reason: the Close's reason, at most 123 bytes of UTF-8.
            timeout: seconds until the connections that are still there are aborted; then the handlers of streams that
                have not returned are cancelled.

        Returns:
            a Deferred that fires when all connections are lost. It never fails; cancelling it has no effect on them.

        Raises:
            LocalProtocolError: a code or a reason that can't travel; a timeout that is no number above 0; another
                thread, see `Settings.checkThreads`.
        """
        return self._connections.stop(code, reason, timeout)

    @property
    def isStopping(self) -> bool:
        """Whether `stop` was called."""
        return self._connections.isStopping

    @property
    def reactor(self) -> Any:
        """The reactor of the timers; None before the first connection, where none was given."""
        return self._connections.reactor

    def ensureReactor(self) -> Any:
        """Returns the reactor of the timers; the global one, from now on, where none was given."""
        return self._connections.clock()

    def useReactor(self, reactor: Any) -> None:
        """Has the timers on a reactor, where none was given: for tests."""
        self._connections.use(reactor)

    # For its connections

    def connectionOpened(self, transport: WebSocketTransport) -> None:
        """A connection is open."""
        self._connections.opened(transport)

    def connectionForgotten(self, transport: WebSocketTransport) -> None:
        """A connection is lost, and no one was told of it yet."""
        self._connections.forget(transport)

    def keepHandler(self, running: Deferred[Any]) -> None:
        """Has a stream's handler cancelled, if it has not returned when all connections are lost after `stop`."""
        self._connections.keepHandler(running)

    def forgetHandler(self, running: Deferred[Any]) -> None:
        """Takes `keepHandler` back."""
        self._connections.forgetHandler(running)

    def checkStopped(self) -> None:
        """All reports of the loss of a connection were made."""
        self._connections.checkStopped()
