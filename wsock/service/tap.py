"""`twistd wsock`: its options, and the service that they make."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorCore, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.usage import Options as BaseOptions
from twisted.python.usage import UsageError
from twisted.web.server import Site

from ..contract import Settings
from ..sansio.http import split_target
from ..server import WebSocketServerFactory
from .console import consoleResource
from .ports import makeEndpoint, readPort
from .routes import KINDS, PageRequest, Pages, Route, Routes
from .settings import settingOptions

_DEFAULT_PORT = "8080"
#: The kind of route that is a page, and no WebSocket.
_CONSOLE = "console"

_log = Logger()


class Options(BaseOptions):
    """The command line of `twistd wsock`."""

    synopsis = "[options]"
    longdesc = (
        "A WebSocket server. Without routes it serves /echo, and at / a page to try it in a browser; "
        "with routes it serves exactly these."
    )

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[str] = []
        self.routes: dict[str, Route] = {}
        #: The paths of the console.
        self.consoles: list[str] = []
        #: The fields of `Settings` that were given.
        self.settings: dict[str, Any] = {}

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Takes the command line; says what is wrong with it, below the help, and ends with status 1.

        Twisted's own commands differ here: `twist` ends with 64, older versions of twistd with 0.

        Raises:
            UsageError: what is wrong, where no command called.
        """
        try:
            super().parseOptions(options)
        except UsageError as error:
            if self.parent is None:
                raise
            sys.stdout.write(f"{self}\n")
            raise SystemExit(f"twistd wsock: {error}") from None

    def opt_port(self, description: str) -> None:
        """Where to listen: a TCP port, or an endpoint description such as unix:/run/wsock.sock or
        ssl:8443:privateKey=key.pem:certKey=cert.pem. May be given several times. [default: 8080]
        """
        try:
            self.ports.append(readPort(description))
        except ValueError as error:
            raise UsageError(f"--port {description}: {error}") from None

    opt_p = opt_port

    def opt_route(self, route: str) -> None:
        """What to serve where: /path=echo, /path=broadcast (to all who are there), or /path=console (a page to try
        the others in a browser). May be given several times.
        """
        path, separator, kind = route.rpartition("=")
        if not separator or not path.startswith("/"):
            raise UsageError(f"--route {route}: write /path=KIND")
        if any(not "!" <= character <= "~" or character in "?#" for character in path):
            raise UsageError(f"--route {route}: a path is written percent-encoded, without a query")
        if kind not in KINDS and kind != _CONSOLE:
            raise UsageError(f"--route {route}: a kind is one of {', '.join(sorted([*KINDS, _CONSOLE]))}")
        if path in self.routes or path in self.consoles:
            raise UsageError(f"--route {route}: the path has a route already")
        if kind == _CONSOLE:
            self.consoles.append(path)
        else:
            self.routes[path] = KINDS[kind]()

    def parseArgs(self, *arguments: str) -> None:
        """Takes no arguments."""
        if arguments:
            raise UsageError(f"{arguments[0]}: no arguments are taken, only options")

    def postOptions(self) -> None:
        """Fills in what was not given."""
        if not self.ports:
            self.opt_port(_DEFAULT_PORT)


for _name, _method in settingOptions().items():
    setattr(Options, _name, _method)


class StartError(Exception):
    """The server can't be started; the message is for the one who started it."""


def _fail(description: str, failure: Failure) -> StartError:
    """Returns what to raise so that twistd cleans up, and its user reads one line in place of a traceback."""
    # The reason goes first: of a daemon's message twistd shows the beginning alone.
    message = f"can't listen: {_explain(failure, description)} ({description})"
    _log.error("{message}", message=message)
    usual = sys.excepthook

    def oneLine(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, StartError):
            _say(str(error))
        else:
            usual(kind, error, trace)

    sys.excepthook = oneLine
    return StartError(message)


def _say(message: str) -> None:
    # twistd has put its log in the place of sys.stderr by the time that ports are opened.
    print(f"twistd wsock: {message}", file=sys.__stderr__)


class ListeningService(Service):
    """Listens on one endpoint while it runs."""

    def __init__(self, reactor: Any, description: str, endpoint: IStreamServerEndpoint, site: Any) -> None:
        self._reactor = reactor
        self._description = description
        self._endpoint = endpoint
        self._site = site
        self._listening: Deferred[Any] | None = None

    def privilegedStartService(self) -> None:
        """Listens, with the rights that twistd was started with.

        Raises:
            StartError: the endpoint can't be listened on.
        """
        super().privilegedStartService()
        failures: list[Failure] = []
        self._listening = listening = self._endpoint.listen(self._site)
        listening.addErrback(failures.append)
        if failures:
            raise _fail(self._description, failures[0])
        listening.addErrback(self._failedLater)

    def _failedLater(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            _say(str(_fail(self._description, failure)))
            IReactorCore(self._reactor).stop()

    def startService(self) -> None:
        """Listens, where that was not done yet."""
        super().startService()
        if self._listening is None:
            self.privilegedStartService()

    def stopService(self) -> Deferred[None] | None:
        """Stops to listen; the Deferred fires when the port is closed."""
        super().stopService()
        listening, self._listening = self._listening, None
        if listening is None:
            return None
        listening.cancel()
        # None if it was cancelled; and standard input and output are a connection, and no port.
        return listening.addCallback(lambda port: port.stopListening() if hasattr(port, "stopListening") else None)


class WebSocketService(MultiService):
    """The server: its ports, and the connections that came through them."""

    def __init__(self, factory: WebSocketServerFactory) -> None:
        super().__init__()
        self.factory = factory

    async def _stop(self, closed: Any) -> None:
        await closed
        await self.factory.stop()

    def stopService(self) -> Deferred[None]:
        """Closes the ports first, then the connections: each peer is told with 1001, and has 4 seconds."""
        return Deferred.fromCoroutine(self._stop(super().stopService()))


def _explain(failure: Failure, description: str) -> str:
    """Says what is wrong with an endpoint in the words of its user, whatever an endpoint plugin raised."""
    error = failure.value
    assert error is not None
    if isinstance(error, CannotListenError):
        error = error.socketError
    if isinstance(error, OSError) and error.strerror:
        # Not of a lock: Twisted's are links to a number.
        name = error.filename if error.filename2 is None else error.filename2
        return f"{error.strerror}: {name}" if name else error.strerror
    if isinstance(error, ImportError) and error.name in ("OpenSSL", "service_identity"):
        return "TLS needs more packages: pip install 'wsock[tls]'"
    if isinstance(error, TypeError):
        # A parameter too many or too few: the name of a parser function says nothing to those who wrote it.
        return str(error).rpartition("() ")[2]
    if isinstance(error, LookupError) and description.startswith("systemd:"):
        return "systemd has passed no such socket on"
    if error.args and isinstance(error.args[0], list):
        # pyOpenSSL: one tuple for each library, function and reason.
        reasons = ", ".join(str(reason[-1]) for reason in error.args[0])
        return f"not a usable key or certificate ({reasons})"
    if isinstance(error, (ValueError, EnvironmentError)) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _accessLine(timestamp: str, request: Any) -> str:
    """One line of the log for a page; without the query and without an authority, where people put secrets."""
    address = request.getClientAddress()
    path = split_target(request.uri.decode("latin-1"))[1]
    return f"{getattr(address, 'host', address)} {request.method.decode('latin-1')!r} {path!r} {request.code}"


def makeService(options: Options, reactor: Any = None) -> WebSocketService:
    """Makes the service that the command line asks for.

    Args:
        options: the command line.
        reactor: by default the global one.

    Raises:
        SystemExit: an endpoint description that makes no endpoint; its message is for the user.
    """
    if reactor is None:
        from twisted.internet import reactor
    routes, consoles = options.routes, options.consoles
    if not routes and not consoles:
        routes, consoles = {"/echo": KINDS["echo"]()}, ["/"]
    site = Site(Pages(routes, {path: consoleResource([*routes]) for path in consoles}), logFormatter=_accessLine)
    site.requestFactory = PageRequest
    site.noisy = False
    factory = WebSocketServerFactory(
        Routes(routes), reactor=reactor, settings=Settings(**options.settings), otherwise=site
    )
    service = WebSocketService(factory)
    for description in options.ports:
        try:
            endpoint = makeEndpoint(reactor, description)
        except Exception as error:
            # Whatever an endpoint plugin raises: a bad description, a file that can't be read, a key that is none.
            raise SystemExit(f"twistd wsock: --port {description}: {_explain(Failure(error), description)}") from None
        ListeningService(reactor, description, endpoint, factory).setServiceParent(service)
    return service
