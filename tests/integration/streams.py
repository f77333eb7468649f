"""The connections of the fixture `client`: streams of ours, for threads, where their Deferreds are waited for."""

import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from integration.peer import PATIENCE, Listener, Place, within
from integration.servers import settings_among
from twisted.internet import tcp
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.ssl import Certificate
from twisted.internet.threads import blockingCallFromThread
from twisted.python.failure import Failure

from wsock import Settings, WebSocketStream, connect, connectProtocol

Anything = TypeVar("Anything")
Target: TypeAlias = str | Place
Listen: TypeAlias = Callable[..., Listener]


def trust(certificate: Path) -> Certificate:
    """Whom a certificate in a file makes trusted."""
    return Certificate.loadPEM(certificate.read_bytes())


def trusting(certificate: Path) -> ssl.SSLContext:
    """The same for our own TLS."""
    return ssl.create_default_context(cafile=certificate)


def call(function: Callable[..., Any], *arguments: object, patience: float = PATIENCE) -> Any:
    """Calls something in the reactor's thread, and waits for the Deferred that it may return."""
    from twisted.internet import reactor

    return blockingCallFromThread(reactor, lambda: maybeDeferred(function, *arguments).addTimeout(patience, reactor))


class Traces:
    """The tasks of the reactor, so that leftovers can be told."""

    def __init__(self) -> None:
        self._calls, self._sockets = self._now()

    @staticmethod
    def _now() -> tuple[set[Any], set[Any]]:
        from twisted.internet import reactor

        descriptors = {*reactor.getReaders(), *reactor.getWriters()}
        return set(reactor.getDelayedCalls()), {one for one in descriptors if isinstance(one, tcp.Connection)}

    def left(self) -> list[object]:
        """The delayed calls and the connections that were not there, for the reactor's thread."""
        calls, sockets = self._now()
        return [*(calls - self._calls), *(sockets - self._sockets)]


class Stream:
    """A `WebSocketStream` whose methods wait.

    Attributes:
        stream: itself.
    """

    def __init__(self, stream: WebSocketStream) -> None:
        self.stream = stream

    def send(self, message: str | bytes) -> None:
        call(self.stream.send, message)

    def receive(self) -> str | bytes:
        return call(self.stream.receive)

    def close(self, *arguments: object) -> None:
        call(self.stream.close, *arguments)

    def rest(self) -> list[str | bytes]:
        """The bytes up to the end, which must be a usual one."""

        async def rest() -> list[str | bytes]:
            return [message async for message in self.stream]

        return call(rest)

    def end(self) -> Any:
        """How it ended; no message came before."""
        try:
            message = self.receive()
        except Exception as error:
            return error
        raise AssertionError(f"there came {message[:100]!r}")


class Attempt:
    """A connection that is asked for.

    Attributes:
        results: what the Deferred fired with: never more than one.
    """

    def __init__(self, function: Callable[..., Any], url: str, arguments: dict[str, Any]) -> None:
        from twisted.internet import reactor

        self.results: list[Any] = []
        self._done = threading.Event()

        def begin() -> None:
            self._traces = Traces()
            # A mistake in the arguments is raised here, not later.
            self.deferred = function(reactor, url, **arguments)
            self.deferred.addBoth(self._fired)

        call(begin)

    def _fired(self, result: Any) -> None:
        self.results.append(result)
        self._done.set()

    def result(self, patience: float = PATIENCE) -> Any:
        """The peer of the connection."""
        assert self._done.wait(patience), f"not connected in {patience} s, nor failed"
        (result,) = self.results
        if isinstance(result, Failure):
            result.raiseException()
        return result

    def error(self, kind: type[Anything], patience: float = PATIENCE) -> Anything:
        """Why it failed; of the connection nothing is left."""
        assert self._done.wait(patience), f"not failed in {patience} s, nor connected"
        (result,) = self.results
        assert isinstance(result, Failure), f"connected, {result}"
        assert type(result.value) is kind, repr(result.value)
        # Less than any timer's time.
        within(5, lambda: not call(self._traces.left), "nothing is left of a connection that failed")
        assert len(self.results) == 1
        return result.value


def connectingBy(build: Callable[[Any], Any]) -> Callable[..., Deferred[Any]]:
    """A function that connects the application that ``build`` makes, as `connect` does a stream."""
    return lambda reactor, url, **arguments: connectProtocol(reactor, url, build, **arguments)


def connecting(application: Any) -> Callable[..., Deferred[Any]]:
    """A function that connects an application, as `connect` does a stream."""
    return connectingBy(lambda request: application)


class Unused:
    """An endpoint that tells whether anybody used it."""

    used = False

    def connect(self, factory: Any) -> Any:
        self.used = True
        raise AssertionError("somebody connects")


class Client:
    """Connects streams, and other applications."""

    def __init__(self) -> None:
        self._attempts: list[Attempt] = []

    def begin(self, target: Target, function: Callable[..., Any] = connect, **arguments: Any) -> Attempt:
        """Asks for a connection.

        Args:
            target: where to: a URL, or who listens there: then it is reached, and trusted.
            function: `connect`, or what takes the same arguments.
            arguments: those of ``function``, or of `Settings`.
        """
        settings = settings_among(arguments)
        if settings:
            arguments["settings"] = Settings(**settings)
        url = target if isinstance(target, str) else self._reach(target, arguments)
        attempt = Attempt(function, url, arguments)
        self._attempts.append(attempt)
        return attempt

    @staticmethod
    def _reach(server: Place, arguments: dict[str, Any]) -> str:
        from twisted.internet import reactor

        if server.certificate is not None and "tls" not in arguments:
            arguments.setdefault("trustRoot", trust(server.certificate))
        if server.path:
            arguments["endpoint"] = UNIXClientEndpoint(reactor, server.path)
        return server.url()

    def connect(self, target: Target, **arguments: Any) -> Stream:
        """Connects a stream."""
        return Stream(self.begin(target, **arguments).result())

    def close(self) -> Deferred[Any]:
        """Cancels and drops all that is still there, in the reactor's thread; returns what waits for its end."""
        waiting = []
        for attempt in self._attempts:
            attempt.deferred.cancel()
            for application in attempt.results:
                transport = getattr(application, "transport", None)
                if transport is not None:
                    transport.abortConnection()
                    waiting.append(transport.whenClosed())
        return gatherResults(waiting)
