"""A server's factory: what its connections share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from twisted.internet.interfaces import (
    IAddress,
    IProtocolFactory,
    IProtocolNegotiationFactory,
)
from zope.interface import implementer

from ..application import BuildApplication
from ..arguments import checkCallback, checkFallback
from ..sansio import handshake
from ..sansio.http import check_fields
from ..settings import Settings, checkNumber
from ..summary import Summary
from ..wire.factory import SOFTWARE, ConnectionFactory, Reactor, withDefault
from ..wire.threads import checkingThreads, checksThreads
from .access import AccessRecord
from .opening import _ANYONE, _REFUSED, _REFUSED_MORE, _TLS_FAILED, _TLS_FAILED_MORE, Fallback, WebSocketServerProtocol


@implementer(IProtocolFactory, IProtocolNegotiationFactory)
class WebSocketServerFactory(ConnectionFactory[WebSocketServerProtocol]):
    """Makes server connections; for ``listenTCP``, any endpoint, and whatever takes a Twisted factory.

    Attributes:
        settings: limits and timers.
    """

    def __init__(
        self,
        buildApplication: BuildApplication,
        *,
        reactor: Reactor | None = None,
        settings: Settings = Settings(),  # noqa: B008 - frozen
        subprotocols: Sequence[str] = (),
        allowedOrigins: Sequence[str] | None = None,
        headers: Sequence[tuple[str, str]] = (),
        fallback: Fallback | None = None,
        maxConnections: int | None = None,
        accessLog: Callable[[AccessRecord], object] | None = None,
    ) -> None:
        """Args:
        buildApplication: called with the `Request` of each client that asks for a WebSocket. Returns an application,
            or an `Accept`, or a Deferred or coroutine of either; raises `Refuse`. Anything else that it raises is
            logged and answered with 500. A Deferred is cancelled when the client leaves, or ``openTimeout`` passes.
        reactor: for the timers; by default the global one, from the first connection on.
        settings: limits and timers.
        subprotocols: those to choose from where ``buildApplication`` chooses none, the preferred first.
        allowedOrigins: which pages may connect, as ``https://host[:port]``; ``("*",)`` lets all; by default those
            of the host that they ask for. ``"null"`` and ``"file://"`` let sandboxed frames and pages from disk in,
            whoever made them. Clients that are no browsers send no Origin, and are not held up.
        headers: more fields for each 101 answer, a ``Server`` in place of ours among them.
        fallback: a factory for the connections whose request is not for a WebSocket, HTTP/1.0 included, such as a
            ``twisted.web.server.Site``; by default they are answered with 426, or 505 where it is HTTP/1.0.
        maxConnections: how many connections may be open; one more is answered with 503. None for no limit.
        accessLog: called with an `AccessRecord` of each connection, once, when its transport is lost: after the
            application's ``connectionLost``, unless that still waits for a callback. Connections of ``fallback``, and
            those that never sent a byte, have no record. It has to return at once; what it raises is logged. Where it
            is given, refusals are not written to the log: their records say the same.

        Raises:
            LocalProtocolError: an argument that can't be, such as an origin with a path, or a header in bytes.
        """
        super().__init__(buildApplication, reactor, settings)
        # Copies: some give their items only once, and others may change after they were checked.
        if isinstance(allowedOrigins, Iterable) and not isinstance(allowedOrigins, (str, bytes)):
            allowedOrigins = tuple(allowedOrigins)
        handshake.check_origins(allowedOrigins)
        self.headers = tuple(check_fields(headers))
        self._answerHeaders = withDefault(self.headers, "Server", SOFTWARE)
        handshake.response(_ANYONE, headers=self._answerHeaders)
        self.subprotocols = tuple(handshake.check_subprotocols(subprotocols))
        self.allowedOrigins = allowedOrigins
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
        self._kind = WebSocketServerProtocol
        if checksThreads(settings):
            self._kind = checkingThreads(WebSocketServerProtocol)

    def buildProtocol(self, addr: IAddress | None) -> WebSocketServerProtocol:
        """Returns the protocol for a new connection."""
        return self._kind(self, self._clock())

    def acceptableProtocols(self) -> list[bytes]:
        """What TLS agrees to speak: browsers offer HTTP/1.1 for a WebSocket, and no answer is an alert (RFC 7301)."""
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

    def _logRefusal(self, request: str, peer: str, status: int, why: str) -> None:
        if self._refusals is None:
            self._refusals = Summary(self._clock(), WebSocketServerProtocol._log, _REFUSED, _REFUSED_MORE)
        self._refusals.add(request=request, peer=peer, status=status, why=why)

    def _logTLSFailure(self, peer: str, why: str) -> None:
        if self._tlsFailures is None:
            self._tlsFailures = Summary(self._clock(), WebSocketServerProtocol._log, _TLS_FAILED, _TLS_FAILED_MORE)
        self._tlsFailures.add(peer=peer, why=why)

    def _checkStopped(self) -> None:
        if self._stopping and not self._wires:
            for summary in (self._refusals, self._tlsFailures):
                if summary is not None:
                    summary.close()
        super()._checkStopped()

    def _isFull(self) -> bool:
        limit = self.maxConnections
        return self._stopping or (limit is not None and len(self._open) >= limit)
