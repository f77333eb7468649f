"""A server's factory: the application, the policy and the limits that its connections share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.interfaces import (
    IAddress,
    IProtocolFactory,
    IProtocolNegotiationFactory,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from ..application import BuildApplication
from ..arguments import checkBuildApplication, checkCallback, checkFallback
from ..compression import Compression
from ..log import APPLICATION_ERRORS, ClassLogger
from ..logsummary import Summary
from ..request import Request, leave, setForwarded, setParameters
from ..results import asDeferred
from ..sansio.constants import Role
from ..sansio.errors import wrong_type
from ..settings import Settings, checkNumber
from ..wire.factory import ConnectionFactory, Connections, Reactor
from ..wire.protocol import WebSocketTransport
from . import refusal
from .accessrecord import AccessNote, AccessRecord, makeRecord
from .addresses import AddressLimits
from .forwarding import ProxyPolicy
from .hosts import AllowedHosts
from .opening import Fallback, ServerOpening
from .routes import Routes
from .rules import Rules
from .upgrade import Upgrade

#: How the log tells of a refusal, and of many.
_REFUSED: Final = "refused {request} from {peer} with {status}: {why}"
_REFUSED_MORE: Final = "refused {count:,} more in {seconds} s, the last {request} from {peer} with {status}: {why}"
#: How the log tells of a failed TLS handshake, and of many.
_TLS_FAILED: Final = "TLS with {peer} failed: {why}"
_TLS_FAILED_MORE: Final = "TLS failed {count:,} times more in {seconds} s, the last time with {peer}: {why}"


@implementer(IProtocolFactory, IProtocolNegotiationFactory)
class WebSocketServerFactory(ConnectionFactory):
    """Makes server connections; for ``listenTCP``, any endpoint, and whatever takes a Twisted factory.

    Attributes:
        settings: limits and timers.
        rules: all that is decided by, a route's own rules aside.
    """

    log = ClassLogger()
    role = Role.SERVER

    def __init__(
        self,
        buildApplication: BuildApplication | Routes,
        *,
        reactor: Reactor | None = None,
        settings: Settings = Settings(),  # noqa: B008 - frozen
        subprotocols: Sequence[str] = (),
        allowedOrigins: Sequence[str] | None = None,
        allowedHosts: AllowedHosts | None = None,
        headers: Sequence[tuple[str, str]] = (),
        compression: Compression | None = None,
        fallback: Fallback | None = None,
        maxConnections: int | None = None,
        addressLimits: AddressLimits | None = None,
        trustedProxies: ProxyPolicy | None = None,
        accessLog: Callable[[AccessRecord], object] | None = None,
    ) -> None:
        """Makes a factory, to be handed to an endpoint or to ``listenTCP``.

        Args:
            buildApplication: called with the `Request` of each client that asks for a WebSocket. Returns an
                application, or an `Accept`, or a Deferred or coroutine of either; raises `Refuse`. Any other exception
                is logged and answered with 500. A Deferred is cancelled when the client leaves, or
                ``openTimeout`` passes. `Routes` stand in its place where a server has several paths.
            reactor: for the timers; by default the global one, from the first connection on.
            settings: limits and timers.
            subprotocols: those to choose from where ``buildApplication`` chooses none, the preferred first.
            allowedOrigins: which pages may connect, as ``https://host[:port]``; ``("*",)`` lets all; by default those
                of the host that they ask for. ``"null"`` and ``"file://"`` let sandboxed frames and pages from disk in,
                whoever made them. Clients other than browsers send no Origin, and pass.
            allowedHosts: which hosts are served, as in the Host field: ``example.com`` with any port,
                ``example.com:8443``, ``*.example.com`` for all names below; other hosts are answered with 421. Or a
                function that is called with each `Request`, and returns why its host is not served, or None. By default
                all are.
            headers: more fields for each 101 answer, a ``Server`` in place of ours among them.
            compression: accept the offers of clients, and compress in this way; None declines all offers.
            fallback: a factory for the connections whose request is not for a WebSocket, HTTP/1.0 included, such as a
                ``twisted.web.server.Site``; by default they are answered with 426, or 505 where it is HTTP/1.0.
                ``allowedHosts`` and ``addressLimits`` count for the first request of each such connection, too, unless
                the factory has an attribute ``checksRequests`` that is true, and sees to it itself.
            maxConnections: how many connections may be open; one more is answered with 503. None for no limit.
            addressLimits: limits for each address that clients connect from; more is answered with 429.
            trustedProxies: the proxies in front, and the field in which they tell of a client; by default none is
                believed.
            accessLog: called with an `AccessRecord` of each connection, once, when its transport is lost: after the
                application's ``connectionLost``, unless that still waits for a callback. Connections of ``fallback``,
                and those that never sent a byte, have no record. It has to return at once; its exceptions are logged.
                Where it is given, refusals are not written to the log: their records say the same.

        Raises:
            LocalProtocolError: an argument that can't be, such as an origin with a path, or a header in bytes.
        """
        self._routes = buildApplication if isinstance(buildApplication, Routes) else None
        if self._routes is None:
            checkBuildApplication(buildApplication)
        self._connections = Connections(reactor, settings, self.log)
        arguments: dict[str, Any] = {
            "settings": settings,
            "subprotocols": subprotocols,
            "allowedOrigins": allowedOrigins,
            "allowedHosts": allowedHosts,
            "headers": headers,
            "compression": compression,
            "addressLimits": addressLimits,
        }
        checkNumber("maxConnections", maxConnections)
        self.maxConnections = maxConnections
        self.rules: Final = Rules(buildApplication, **arguments, maxConnections=None)
        # Some arguments give their items only once, and have.
        for name in ("subprotocols", "allowedOrigins", "headers"):
            arguments[name] = getattr(self.rules, name)
        arguments["allowedHosts"] = self.rules.hostRule
        self._rulesOf = {route: route.makeRules(arguments) for route in self._routes or ()}
        everyone = (self.rules, *self._rulesOf.values())
        #: Whether requests for pages have rules, and nobody else sees to them.
        self.checksPages = not getattr(fallback, "checksRequests", False) and any(
            rules.hostRule is not None or rules.addressLimits is not None for rules in everyone
        )
        self.settings = settings
        self.deflateOptions = self.rules.deflateOptions
        if fallback is not None:
            checkFallback(fallback)
        self.fallback = fallback
        #: How many bytes all connections hold of heads that have not ended.
        self._unfinished = 0
        if trustedProxies is not None and not isinstance(trustedProxies, ProxyPolicy):
            raise wrong_type("trustedProxies", "a ProxyPolicy or None", trustedProxies)
        self.trustedProxies = trustedProxies
        if accessLog is not None:
            checkCallback("accessLog", accessLog, "each record", "write lambda record: print(record)")
        self.accessLog = accessLog
        self._refusals: Summary | None = None
        self._tlsFailures: Summary | None = None

    def buildProtocol(self, addr: IAddress | None) -> WebSocketTransport:
        """Returns the protocol for a new connection."""
        return self._connections.make(self)

    def acceptableProtocols(self) -> list[bytes]:
        """The protocols for ALPN: browsers offer HTTP/1.1 for a WebSocket, and no answer is an alert (RFC 7301)."""
        return [b"http/1.1"]

    def doStart(self) -> None:
        """A port begins to listen."""
        if self.fallback is not None:
            self.fallback.doStart()

    def doStop(self) -> None:
        """A port has stopped to listen; the connections go on until `stop`."""
        for summary in (self._refusals, self._tlsFailures):
            if summary is not None:
                summary.flush()
        if self.fallback is not None:
            self.fallback.doStop()

    def logRefusal(self, request: str, peer: str, status: int, why: str) -> None:
        """Logs a refusal, if it is not one of very many."""
        if self._refusals is None:
            self._refusals = Summary(self._connections.clock(), self.log, _REFUSED, _REFUSED_MORE)
        self._refusals.add(request=request, peer=peer, status=status, why=why)

    def logTLSFailure(self, peer: str, why: str) -> None:
        """Logs a failed TLS handshake, if it is not one of very many."""
        if self._tlsFailures is None:
            self._tlsFailures = Summary(self._connections.clock(), self.log, _TLS_FAILED, _TLS_FAILED_MORE)
        self._tlsFailures.add(peer=peer, why=why)

    def checkStopped(self) -> None:
        """All reports of the loss of a connection were made."""
        if not self._connections.isStopping:
            return
        if not self._connections:
            for summary in (self._refusals, self._tlsFailures):
                if summary is not None:
                    summary.close()
        super().checkStopped()

    # For its connections

    def makeOpening(self, transport: WebSocketTransport) -> ServerOpening:
        """Makes the opening handshake of a connection."""
        self._connections.begin(transport)
        return ServerOpening(transport, self, self._connections.clock())

    def makeUpgrade(self, transport: WebSocketTransport, upgrade: Upgrade) -> ServerOpening:
        """Makes the opening handshake of a connection whose request ``twisted.web`` has read."""
        self._connections.begin(transport)
        return ServerOpening(transport, self, self._connections.clock(), upgrade)

    def applicationFailed(self, failure: Failure) -> None:
        """The application of a connection failed, and that was logged."""

    def countUnfinished(self, difference: int) -> int:
        """So many bytes more are held of heads that have not ended; returns how many all connections hold now."""
        self._unfinished += difference
        return self._unfinished

    def findRules(self, request: Request) -> Rules:
        """Returns the rules for a request, by its path; has it know first what trusted proxies tell.

        Raises:
            Refuse: no route has it.
        """
        if self.trustedProxies is not None:
            forwarded = self.trustedProxies.read(request.headers.get, request.getPeer(), request.getHost())
            if forwarded is not None:
                setForwarded(request, forwarded)
        if self._routes is None:
            return self.rules
        route, parameters = self._routes.find(request.rawPath)
        if parameters:
            setParameters(request, parameters)
        return self._rulesOf[route]

    def seconds(self) -> float:
        """The time."""
        now: float = self._connections.clock().seconds()
        return now

    def whyFull(self) -> str | None:
        """Why no connection is accepted now, or None."""
        connections, limit = self._connections, self.maxConnections
        if connections.isStopping:
            return refusal.STOPS
        if limit is not None and len(connections.open) >= limit:
            return f"as many connections are open as may be, {limit} (maxConnections)"
        return None

    def connectionLost(self, transport: WebSocketTransport, aborted: bool, note: AccessNote | None) -> None:
        """Ends the login of a client, and makes the record of its connection for the access log, if there is one."""
        request = getattr(transport, "request", None)
        if request is not None:
            leave(request)
        accessLog = self.accessLog
        if note is not None and note.upgrade is not None:
            note.upgrade.lost(Failure(transport.lossReason()))
        if note is None or accessLog is None or not transport.traffic.bytesReceived:
            # Not one of those that are of no use: a look whether a port is open connects, and says nothing.
            return
        try:
            result = accessLog(makeRecord(transport, note, self._connections.clock().seconds(), aborted))
            pending = None if result is None else asDeferred(result)
        except APPLICATION_ERRORS:
            self.log.failure("accessLog failed")
            return
        if pending is not None:
            pending.addErrback(lambda failure: self.log.failure("accessLog failed", failure))
