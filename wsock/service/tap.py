"""`twistd wsock`: its options, and the service that they make."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import twisted
from twisted.application.service import MultiService, Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReactorCore
from twisted.logger import Logger, LogLevel, jsonFileLogObserver
from twisted.python import log
from twisted.python.failure import Failure
from twisted.python.usage import Options as BaseOptions
from twisted.python.usage import UsageError

from .. import (
    AddressLimits,
    Compression,
    HtpasswdFile,
    LocalProtocolError,
    ProxyPolicy,
    Routes,
    Settings,
    WebSocketServerFactory,
    WebSocketServerService,
    __version__,
    basicAuth,
    implementation,
)
from ..auth.guards import identificationByPassword
from ..log import formatAddress
from ..sansio.handshake import check_origins
from ..sansio.http import split_target
from ..server.hosts import HostRule, makeHostRule
from ..server.ports import describeAddress, isTCP, readPort
from .accesslog import AccessLog
from .console import consoleResource
from .health import HEALTH_PATH, Health
from .hosts import PageHead, whyNotLocal
from .routes import KINDS, Build, PageRequest, Pages, QuietSite, echo
from .settings import readSetting, settingOptions
from .signals import Signals
from .starting import Start, explain

_DEFAULT_PORT: Final = "8080"
#: How long the peers have to answer a Close when the server stops, in seconds; as their service has it.
_STOP_SECONDS: Final = 4
#: The kind of route that is a page, and no WebSocket.
_CONSOLE: Final = "console"
#: The versions that run here.
_SOFTWARE: Final = f"wsock {__version__} ({implementation} core), Twisted {twisted.__version__}"
#: In the log's context while a port is opened: the line that Twisted writes then has nothing that ours does not.
_UNTOLD: Final = {"log_format": "", "log_level": LogLevel.debug}

_log = Logger()


class Options(BaseOptions):
    """The command line of `twistd wsock`."""

    synopsis = "[options]"
    longdesc = (
        "A WebSocket server. Without routes it serves /echo, and at / a page to try it in a browser; "
        "with routes it serves exactly these. Bytes may have a unit: 64k, 16M or 1G (1k is 1024); "
        "so may seconds: 500ms, 20s or 2m."
    )

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[str] = []
        self.routes: dict[str, Build] = {}
        #: The paths of the console.
        self.consoles: list[str] = []
        #: The kind of each path, in the words of the command line: all routes, and the consoles.
        self.kinds: dict[str, str] = {}
        #: The path that says whether the server is well, or None.
        self.healthPath: str | None = HEALTH_PATH
        #: The pages that may connect; None where none was named: those of the server's own host.
        self.allowedOrigins: list[str] | None = None
        #: The limits for each address, or None.
        self.addressLimits: AddressLimits | None = None
        self._addressLimits: dict[str, Any] = {}
        #: The proxies in front, or None.
        self.trustedProxies: ProxyPolicy | None = None
        self._proxies: list[str] = []
        self._proxyOptions: dict[str, Any] = {}
        #: The hosts that are served; None where none was named.
        self.allowedHosts: list[str] | None = None
        #: The fields of `Settings` that were given.
        self.settings: dict[str, Any] = {}
        #: The file of those who may connect, or None where all may.
        self.htpasswd: str | None = None
        #: How many connections may be open, or None.
        self.maxConnections: int | None = None
        #: How messages are compressed, or None.
        self.compression: Compression | None = None
        #: The files of the certificate and its key for all TCP ports, one file with both, or a folder; or None.
        self.tls: tuple[str, str] | str | None = None
        self._certificate: str | None = None
        self._key: str | None = None
        #: Where the access log goes: a file, "-" or "none"; None where nothing was said.
        self.accessLog: str | None = None

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Takes the command line; says what is wrong with it in one line, and ends with status 1.

        Twisted's own commands differ here: `twist` ends with 64, older versions of twistd with 0.

        Raises:
            UsageError: with the mistake, where no command called.
        """
        try:
            super().parseOptions(options)
        except UsageError as error:
            if self.parent is None:
                raise
            raise SystemExit(f"twistd wsock: {error}") from None

    def opt_port(self, description: str) -> None:
        """Where to listen: a TCP port, or an endpoint description such as unix:/run/wsock.sock or
        tcp:8080:interface=127.0.0.1. May be given several times. [default: 8080]
        """
        try:
            self.ports.append(readPort(description))
        except ValueError as error:
            raise UsageError(f"--port {description}: {error}") from None

    opt_p = opt_port

    def opt_tls_cert(self, file: str) -> None:
        """TLS on every TCP port (a number, tcp:, tcp6:, haproxy:tcp:, systemd:domain=INET:), with the certificate of
        this file in PEM, and the intermediate ones behind it; or with those of a folder, by the names that clients ask
        for: NAME.pem with its key, NAME/fullchain.pem with NAME/privkey.pem. SIGHUP reads them again. Other ports, such
        as unix:, stay as they are.
        """
        self._certificate = file

    def opt_tls_key(self, file: str) -> None:
        """The key of --tls-cert, in PEM. [default: the file of --tls-cert; a folder has its keys in it]"""
        self._key = file

    def opt_route(self, route: str) -> None:
        """Serve one of these at a path: /path=echo, /path=broadcast (to all who are there), or /path=console (a page to
        try the others in a browser). {name} in a path is any segment, and {name*} any rest: /rooms/{name}=broadcast
        is a room for each name. May be given several times.
        """
        path, separator, kind = route.rpartition("=")
        if not separator or not path.startswith("/"):
            raise UsageError(f"--route {route}: write /path=KIND")
        _checkPath("--route", route, path)
        if kind not in KINDS and kind != _CONSOLE:
            raise UsageError(f"--route {route}: a kind is one of {', '.join(sorted([*KINDS, _CONSOLE]))}")
        if kind == _CONSOLE and "{" in path:
            raise UsageError(f"--route {route}: a console has one path")
        if path in self.kinds:
            raise UsageError(f"--route {route}: the path has a route already")
        _checkPatterns(f"--route {route}", [path])
        self.kinds[path] = kind
        if kind == _CONSOLE:
            self.consoles.append(path)
        else:
            self.routes[path] = KINDS[kind]()

    def opt_healthz(self, path: str) -> None:
        """The path that tells load balancers whether the server is well: 200, or 503 once it stops. A route of the
        same path has precedence. "none" for no such path. [default: /healthz]
        """
        if path == "none":
            self.healthPath = None
            return
        if not path.startswith("/"):
            raise UsageError(f"--healthz {path}: write a path, such as {HEALTH_PATH}, or none")
        _checkPath("--healthz", path, path)
        if "{" in path:
            raise UsageError(f"--healthz {path}: write one path")
        _checkPatterns(f"--healthz {path}", [path])
        self.healthPath = path

    def opt_version(self) -> None:
        """Show the versions of wsock and Twisted, and exit."""
        sys.stdout.write(f"{_SOFTWARE}\n")
        raise SystemExit(0)

    def opt_allowed_origin(self, origin: str) -> None:
        """Whose pages may connect: scheme://host[:port], or null (sandboxed frames, some pages from disk) or
        file:// (pages from disk). May be given several times; * alone allows all. [default: the host's own pages]
        """
        origins = [*(self.allowedOrigins or ()), origin]
        try:
            check_origins(origins)
        except LocalProtocolError as error:
            raise UsageError(f"--allowed-origin {origin}: {error}") from None
        self.allowedOrigins = origins

    def opt_allowed_host(self, host: str) -> None:
        """Which hosts are served: a name such as example.com, with :PORT for that port alone, or *.example.com. Other
        hosts are answered with 421. May be given several times; * alone serves all. [default: all; on a loopback
        address addresses, localhost and this machine's name, unless --allowed-origin or --trusted-proxy is given]
        """
        hosts = [*(self.allowedHosts or ()), host]
        try:
            makeHostRule(hosts)
        except LocalProtocolError as error:
            raise UsageError(f"--allowed-host {host}: {error}") from None
        self.allowedHosts = hosts

    def opt_trusted_proxy(self, network: str) -> None:
        """A proxy that is believed what it tells of its clients: its address, a network such as 10.0.0.0/8, or
        unix:PATH for those that connect to that socket. May be given several times. [default: none]
        """
        self._proxies.append(network)
        self._checkProxies(f"--trusted-proxy {network}")

    def opt_forwarded_header(self, name: str) -> None:
        """The field in which --trusted-proxy tells of its clients: X-Forwarded-For, with X-Forwarded-Proto and
        X-Forwarded-Host, or Forwarded. [default: X-Forwarded-For]
        """
        self._proxyOptions["header"] = name
        self._checkProxies(f"--forwarded-header {name}")

    def opt_proxy_hops(self, number: str) -> None:
        """How many trusted proxies may stand one behind the other. [default: 1]"""
        try:
            self._proxyOptions["hops"] = int(number)
        except ValueError:
            raise UsageError(f"--proxy-hops {number}: write a number") from None
        self._checkProxies(f"--proxy-hops {number}")

    def _checkProxies(self, option: str) -> None:
        try:
            self.trustedProxies = ProxyPolicy(self._proxies, **self._proxyOptions) if self._proxies else None
            if not self._proxies:
                ProxyPolicy((), **self._proxyOptions)
        except LocalProtocolError as error:
            raise UsageError(f"{option}: {error}") from None

    def opt_htpasswd(self, file: str) -> None:
        """Let in only the users of this file, by their passwords (Basic authentication). htpasswd -B makes it. The path
        of --healthz stays open to all. It needs pip install 'wsock[auth]'.
        """
        self.htpasswd = file

    def opt_max_connections(self, number: str) -> None:
        """How many connections may be open; one more is answered with 503. "none" for no limit. [default: none]"""
        self.maxConnections = readSetting("maxConnections", number)

    def opt_max_connections_per_address(self, number: str) -> None:
        """How many connections of one address may be open, behind --trusted-proxy of one client; more get 429.
        [default: no limit]
        """
        self._limitAddresses("--max-connections-per-address", number, maxConnections=int)

    def opt_max_handshakes_per_second(self, number: str) -> None:
        """How many requests of one address are taken a second, in the long run, and ten seconds' worth at once; more
        get 429. May have a fraction. [default: no limit]
        """
        self._limitAddresses("--max-handshakes-per-second", number, handshakesPerSecond=float)

    def _limitAddresses(self, option: str, number: str, **read: Callable[[str], float]) -> None:
        try:
            self._addressLimits |= {name: asNumber(number) for name, asNumber in read.items()}
            self.addressLimits = AddressLimits(**self._addressLimits)
        except LocalProtocolError as error:
            raise UsageError(f"{option} {number}: {error}") from None
        except ValueError:
            raise UsageError(f"{option} {number}: write a number") from None

    def opt_compression(self) -> None:
        """Compress messages with clients that offer it (permessage-deflate), as browsers do."""
        self.compression = Compression()

    def opt_access_log(self, where: str) -> None:
        """Where a line for each connection goes: a file, - for standard output, or none. [default: -, and none as a
        daemon]
        """
        if not where:
            raise UsageError("--access-log: a file, - or none")
        self.accessLog = where

    def parseArgs(self, *arguments: str) -> None:
        """Takes no arguments."""
        if arguments:
            raise UsageError(f"{arguments[0]}: no arguments are taken, only options")

    def postOptions(self) -> None:
        """Fills in the options that were not given, and checks those that stand beside each other."""
        _checkPatterns("--route", self.kinds)
        if self._proxyOptions and not self._proxies:
            option = "--forwarded-header" if "header" in self._proxyOptions else "--proxy-hops"
            raise UsageError(f"{option}: give the proxies, too, by --trusted-proxy")
        if not self.ports:
            self.opt_port(_DEFAULT_PORT)
        if self._certificate is not None:
            if not any(map(isTCP, self.ports)):
                raise UsageError(f"--tls-cert {self._certificate}: no --port is one of TCP")
            self.tls = self._certificate if self._key is None else (self._certificate, self._key)
        elif self._key is not None:
            raise UsageError(f"--tls-key {self._key}: give its certificate, too, by --tls-cert")


def _checkPath(option: str, text: str, path: str) -> None:
    """Raises UsageError for a path that no request can have."""
    if any(not "!" <= character <= "~" or character in "?#" for character in path):
        raise UsageError(f"{option} {text}: a path is written percent-encoded, without a query")


def _checkPatterns(option: str, paths: Iterable[str]) -> None:
    """Raises UsageError for patterns of paths that can't stand beside each other."""
    try:
        Routes(dict.fromkeys(paths, echo()))
    except LocalProtocolError as error:
        raise UsageError(f"{option}: {error}") from None


for _name, _method in settingOptions().items():
    setattr(Options, _name, _method)
for _name, _method in list(vars(Options).items()):
    if _name.startswith("opt_") and _method.__doc__ is not None:
        # The lines of a docstring are indented, and its text is the help.
        _method.__doc__ = " ".join(_method.__doc__.split())


class ListeningService(Service):
    """Listens on one endpoint while it runs, and says so, or why it can't.

    Attributes:
        reloadTLS: reads the files of TLS again, as `WebSocketServerService.reloadTLS` does; None where there are none.
    """

    def __init__(
        self,
        reactor: Any,
        description: str,
        factory: WebSocketServerFactory,
        start: Start,
        page: str | None,
        tls: tuple[str, str] | str | None = None,
    ) -> None:
        """Makes a service that is not running yet.

        Args:
            reactor: stopped when a port turns out later to be none.
            description: the endpoint's.
            factory: makes the connections; it is stopped with the first of its ports.
            start: for reports of failures.
            page: the path of the URL that is told, where there is a page that is worth a click.
            tls: the files of certificates and keys, for TLS that is added; or None.

        Raises:
            Exception: any that an endpoint plugin raises for an invalid description.
        """
        self._reactor = reactor
        self._description = description
        self._start = start
        self._page = page
        self._isSecured = tls is not None
        self._server = WebSocketServerService(description, factory, tls=tls)
        self.reloadTLS: Callable[[], None] | None = None if tls is None else self._server.reloadTLS
        #: Whether the log is to be told, or was, how that went.
        self._isTold = False

    def privilegedStartService(self) -> None:
        """Listens, with the rights that twistd was started with.

        Raises:
            StartError: the endpoint can't be listened on.
        """
        super().privilegedStartService()
        self._tryTo(self._server.privilegedStartService)

    def startService(self) -> None:
        """Listens, where that was not done yet."""
        super().startService()
        self._tryTo(self._server.startService)

    def _tryTo(self, listen: Callable[[], None]) -> None:
        try:
            log.callWithContext(_UNTOLD, listen)
        except Exception as error:
            raise self._start.fail(self._complaint(error)) from None
        if not self._isTold:
            self._isTold = True
            self._server.whenListening().addCallbacks(self._listens, self._failed)

    def _listens(self, port: Any) -> None:
        _log.info("listening on {url}", url=describeAddress(self._description, port, self._page, self._isSecured))

    def _complaint(self, error: BaseException) -> str:
        return f"can't listen: {explain(error, self._description)} ({self._description})"

    def _failed(self, failure: Failure) -> None:
        assert failure.value is not None
        if not failure.check(CancelledError):
            self._start.failLater(self._complaint(failure.value))
            with suppress(ReactorNotRunning):
                # It stops already, for another port.
                IReactorCore(self._reactor).stop()

    def stopService(self) -> Deferred[None]:
        """Stops to listen, and then the factory; the Deferred fires when all is closed."""
        super().stopService()
        return self._server.stopService()


class WebSocketService(MultiService):
    """The server: its ports, and the connections that came through them.

    Attributes:
        factory: makes the connections, and holds them.
        signals: the handlers of the process's signals while the service runs.
        accessLog: writes a line for each connection, or None.
    """

    def __init__(
        self,
        reactor: Any,
        factory: WebSocketServerFactory,
        start: Start,
        served: Mapping[str, str],
        health: Health,
        accessLog: AccessLog | None = None,
    ) -> None:
        """Makes a service that is not running yet.

        Args:
            reactor: the ports'.
            factory: the ports'.
            start: told when all ports are open.
            served: the kind of each path, for the log.
            health: told when the service stops.
            accessLog: opened again when logs are, and closed in the end.
        """
        super().__init__()
        self.factory = factory
        self.signals = Signals(reactor, self._endAtOnce)
        self.accessLog = accessLog
        if accessLog is not None:
            self.signals.reopens.append(accessLog.reopen)
        # Behind the logs, which it writes to.
        self.signals.reopens.append(self.reloadTLS)
        self._reactor = reactor
        self._start = start
        self._served = served
        self._health = health
        self._wasAnnounced = False
        #: The Deferred that `stopService` returned, while it has not fired.
        self._stopped: Deferred[None] | None = None
        #: Whether a second signal came before `stopService` was called.
        self._endsAtOnce = False

    def privilegedStartService(self) -> None:
        """Opens the ports, with the rights that twistd was started with."""
        self._announce()
        super().privilegedStartService()

    def startService(self) -> None:
        """Opens the ports, where that was not done yet."""
        self._announce()
        super().startService()
        for path, kind in self._served.items():
            _log.info("serving {path}: {kind}", path=path, kind=kind)
        self._start.done()

    def _announce(self) -> None:
        """Begins, once: `twist` calls `startService` alone."""
        if not self._wasAnnounced:
            self._wasAnnounced = True
            # From the first open port on, a request to open the logs again does not end the process.
            self.signals.install()
            _log.info("{software}", software=_SOFTWARE)

    def reloadTLS(self) -> None:
        """Reads the files of TLS again, for new connections; where that fails, the old certificates stay in use."""
        ports = [port for port in self if isinstance(port, ListeningService)]
        reloads = [port.reloadTLS for port in ports if port.reloadTLS is not None]
        try:
            for reload in reloads:
                reload()
        except (OSError, LocalProtocolError) as error:
            _log.error("the certificates can't be read again, and the old ones stay: {why}", why=explain(error))
        else:
            if reloads:
                _log.info("the certificates were read again")

    async def _stop(self, closed: Any) -> None:
        await closed
        await self.factory.stop(timeout=_STOP_SECONDS)

    def stopService(self) -> Deferred[None]:
        """Closes the ports first, then the connections: each peer is told with 1001, and has 4 seconds."""
        self._health.stop()
        self.signals.stopping()
        count = len(self.factory.connections)
        if count:
            _log.info(
                "closing {count} connection{plural}, at most {grace} s; a second signal ends at once",
                count=count,
                plural="" if count == 1 else "s",
                grace=_STOP_SECONDS,
            )
        stopped: Deferred[None] = Deferred()
        self._stopped = stopped
        Deferred.fromCoroutine(self._stop(super().stopService())).addBoth(self._hasStopped)
        if self._endsAtOnce:
            self._endAtOnce()
        return stopped

    def _hasStopped(self, result: Any) -> None:
        self.signals.restore()
        if self.accessLog is not None:
            self.accessLog.close()
        stopped, self._stopped = self._stopped, None
        if stopped is not None:
            stopped.callback(result)

    def _endAtOnce(self) -> None:
        """Aborts the connections, and lets the reactor end without those that can't be."""
        self._endsAtOnce = True
        if self._stopped is not None:
            for connection in self.factory.connections:
                connection.abortConnection()
            # A transport tells of an abort in the next turn.
            self._reactor.callLater(0, self._reactor.callLater, 0, self._hasStopped, None)


def _accessLine(trustedProxies: ProxyPolicy | None, timestamp: str, request: Any) -> str:
    """One line of the log for a page; without the query and without an authority, where people put secrets."""
    client = formatAddress(PageHead(request, trustedProxies).client)
    path = split_target(request.uri.decode("latin-1"))[1]
    return f"{client} {request.method.decode('latin-1')!r} {path!r} {request.code}"


def _makeAccessLog(options: Options, reactor: Any) -> AccessLog | None:
    """Makes the access log that the command line asks for, or else one on a standard output that is looked at.

    Raises:
        SystemExit: it can't be written; the message is for the user.
    """
    where, parent = options.accessLog, options.parent
    # `twist` has no such option, and no daemon.
    inForeground = parent is not None and (sys.platform == "win32" or parent.get("nodaemon", True))
    isTaken = any("stdio" in description.split(":") for description in options.ports)
    if where is None:
        # Away from a terminal, `twist` writes its log as JSON: other lines would be no part of it.
        isJSON = parent is not None and parent.get("fileLogObserverFactory") is jsonFileLogObserver
        where = "-" if inForeground and not isTaken and not isJSON else "none"
        if where == "-" and sys.__stdout__ is None:
            where = "none"
    if where == "none":
        return None
    try:
        if where != "-":
            return AccessLog(reactor, where)
        if isTaken:
            raise OSError("a port is on standard output")
        if parent is not None and not inForeground:
            raise OSError("a daemon has no standard output")
        return AccessLog(reactor, None)
    except OSError as error:
        raise SystemExit(f"twistd wsock: --access-log {where}: {error.strerror or error}") from None


def _takeRequest(limits: AddressLimits, reactor: Any, address: Any) -> int | None:
    """Counts a request for a page; returns how many seconds its client is to stay away, or None."""
    return limits.takeHandshake(address, reactor.seconds())


def _makeCheck(options: Options, reactor: Any) -> HtpasswdFile | None:
    """Makes the check of passwords that the command line asks for.

    Raises:
        SystemExit: the file can't be used; the message is for the user.
    """
    if options.htpasswd is None:
        return None
    try:
        return HtpasswdFile(options.htpasswd, reactor=reactor)
    except (OSError, LocalProtocolError, ImportError) as error:
        # The others have words of ours.
        why = explain(error) if isinstance(error, OSError) else str(error)
        raise SystemExit(f"twistd wsock: --htpasswd: {why}") from None


def _makeHostRule(options: Options) -> HostRule | None:
    """Makes the rule that says which hosts are served; None where all are."""
    if options.allowedHosts is None and options.allowedOrigins is None and options.trustedProxies is None:
        return whyNotLocal
    return makeHostRule(options.allowedHosts)


def makeService(options: Options, reactor: Any = None) -> WebSocketService:
    """Makes the service that the command line asks for.

    Args:
        options: the command line.
        reactor: by default the global one.

    Raises:
        SystemExit: an endpoint description that makes no endpoint, an access log that can't be written, or files for
            TLS that are none; its message is for the user.
    """
    if reactor is None:
        from twisted.internet import reactor
    builds, consoles, served = options.routes, options.consoles, options.kinds
    health = Health(options.healthPath)
    if not served:
        builds, served = {"/echo": KINDS["echo"]()}, {"/": _CONSOLE, "/echo": "echo"}
        if health.path == "/":
            # The one that was asked for has precedence over the one that was not.
            del served["/"]
        consoles = [path for path in served if path not in builds]
    hasHealth = health.path is not None and health.path not in served
    if hasHealth:
        served = {**served, str(health.path): "health"}
    routes, identification = Routes(builds), None
    check = _makeCheck(options, reactor)
    if check is not None:
        routes, identification = basicAuth(check, routes), identificationByPassword(check)
    hostRule = _makeHostRule(options)
    offered = [path for path in builds if "{" not in path]
    trustedProxies = options.trustedProxies
    pages = Pages(
        routes,
        {path: consoleResource(offered) for path in consoles},
        health if hasHealth else None,
        hostRule,
        trustedProxies,
        None if options.addressLimits is None else partial(_takeRequest, options.addressLimits, reactor),
        identification,
    )
    site = QuietSite(pages, logFormatter=partial(_accessLine, trustedProxies))
    site.requestFactory = PageRequest
    site.noisy = False
    accessLog = _makeAccessLog(options, reactor)
    factory = WebSocketServerFactory(
        routes,
        reactor=reactor,
        settings=Settings(**options.settings),
        allowedOrigins=options.allowedOrigins,
        allowedHosts=hostRule,
        compression=options.compression,
        fallback=site,
        maxConnections=options.maxConnections,
        addressLimits=options.addressLimits,
        trustedProxies=trustedProxies,
        accessLog=accessLog,
    )
    start = Start(options.parent)
    service = WebSocketService(reactor, factory, start, served, health, accessLog)
    page = next(iter(consoles), None)
    for description in options.ports:
        tls = options.tls if isTCP(description) else None
        try:
            port = ListeningService(reactor, description, factory, start, page, tls)
        except Exception as error:
            # An endpoint plugin may raise anything: a bad description, a file that can't be read, an invalid key.
            option = f"--port {description}"
            if tls is not None and isinstance(error, (OSError, LocalProtocolError)):
                option = f"--tls-cert {tls if isinstance(tls, str) else tls[0]}"
            raise SystemExit(f"twistd wsock: {option}: {explain(error, description)}") from None
        port.setServiceParent(service)
    start.begin()
    return service
