"""A server's factory: the application, the policy and the limits that its connections share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from twisted.internet.interfaces import (
    IAddress,
    IProtocolFactory,
    IProtocolNegotiationFactory,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from ..application import BuildApplication
from ..arguments import checkCallback, checkFallback
from ..compression import Compression, asOptions, asParameters, checkCompression
from ..log import APPLICATION_ERRORS, ClassLogger
from ..logsummary import Summary
from ..results import asDeferred
from ..sansio import handshake
from ..sansio.constants import Role
from ..sansio.http import check_fields
from ..settings import Settings, checkNumber
from ..wire.factory import SOFTWARE, ConnectionFactory, Connections, Reactor, withDefaultField
from ..wire.protocol import WebSocketTransport
from . import refusal
from .accessrecord import AccessNote, AccessRecord, makeRecord
from .opening import Fallback, ServerOpening
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
    """

    log = ClassLogger()
    role = Role.SERVER

    def __init__(
        self,
        buildApplication: BuildApplication,
        *,
        reactor: Reactor | None = None,
        settings: Settings = Settings(),  # noqa: B008 - frozen
        subprotocols: Sequence[str] = (),
        allowedOrigins: Sequence[str] | None = None,
        headers: Sequence[tuple[str, str]] = (),
        compression: Compression | None = None,
        fallback: Fallback | None = None,
        maxConnections: int | None = None,
        accessLog: Callable[[AccessRecord], object] | None = None,
    ) -> None:
        """Makes a factory, to be handed to an endpoint or to ``listenTCP``.

        Args:
            buildApplication: called with the `Request` of each client that asks for a WebSocket. Returns an
                application, or an `Accept`, or a Deferred or coroutine of either; raises `Refuse`. Any other exception
                is logged and answered with 500. A Deferred is cancelled when the client leaves, or
                ``openTimeout`` passes.
            reactor: for the timers; by default the global one, from the first connection on.
            settings: limits and timers.
            subprotocols: those to choose from where ``buildApplication`` chooses none, the preferred first.
            allowedOrigins: which pages may connect, as ``https://host[:port]``; ``("*",)`` lets all; by default those
                of the host that they ask for. ``"null"`` and ``"file://"`` let sandboxed frames and pages from disk in,
                whoever made them. Clients other than browsers send no Origin, and pass.
            headers: more fields for each 101 answer, a ``Server`` in place of ours among them.
            compression: accept the offers of clients, and compress in this way; None declines all offers.
            fallback: a factory for the connections whose request is not for a WebSocket, HTTP/1.0 included, such as a
                ``twisted.web.server.Site``; by default they are answered with 426, or 505 where it is HTTP/1.0.
            maxConnections: how many connections may be open; one more is answered with 503. None for no limit.
            accessLog: called with an `AccessRecord` of each connection, once, when its transport is lost: after the
                application's ``connectionLost``, unless that still waits for a callback. Connections of ``fallback``,
                and those that never sent a byte, have no record. It has to return at once; its exceptions are logged.
                Where it is given, refusals are not written to the log: their records say the same.

        Raises:
            LocalProtocolError: an argument that can't be, such as an origin with a path, or a header in bytes.
        """
        self._connections = Connections(buildApplication, reactor, settings, self.log)
        self.buildApplication = buildApplication
        self.settings = settings
        # Copies: some give their items only once, and others may change after they were checked.
        if isinstance(allowedOrigins, Iterable) and not isinstance(allowedOrigins, (str, bytes)):
            allowedOrigins = tuple(allowedOrigins)
        handshake.check_origins(allowedOrigins)
        self.headers = tuple(check_fields(headers))
        self.answerFields = handshake.ReadyFields(withDefaultField(self.headers, "Server", SOFTWARE))
        self.subprotocols = tuple(handshake.check_subprotocols(subprotocols))
        self.allowedOrigins: Sequence[str] | None = allowedOrigins
        checkCompression(compression)
        self.compression = compression
        self.deflateParameters = None if compression is None else asParameters(compression, self.role, settings)
        self.deflateOptions = asOptions(compression, self.role, settings)
        if fallback is not None:
            checkFallback(fallback)
        self.fallback = fallback
        checkNumber("maxConnections", maxConnections)
        self.maxConnections = maxConnections
        #: How many bytes all connections hold of heads that have not ended.
        self._unfinished = 0
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

    def whyFull(self) -> str | None:
        """Why no connection is accepted now, or None."""
        connections, limit = self._connections, self.maxConnections
        if connections.isStopping:
            return refusal.STOPS
        if limit is not None and len(connections.open) >= limit:
            return f"as many connections are open as may be, {limit} (maxConnections)"
        return None

    def connectionLost(self, transport: WebSocketTransport, aborted: bool, note: AccessNote | None) -> None:
        """Makes the record of a connection for the access log, if there is one."""
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
