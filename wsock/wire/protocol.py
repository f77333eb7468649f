"""The wire protocol: an open WebSocket between a Twisted transport and an application.

Rules:

* The protocol itself is the sans-IO core's; here it gets a transport, a clock and an application.
* All that comes in is delivered by `wsock.wire.inbox`; what the application sends is `wsock.wire.sending`'s, and all
  that leaves goes through `wsock.wire.outbox`.
* A connection ends in a bounded time, and our last bytes reach a peer that reads them.
* The application hears `connectionLost` once, last, and iff it heard `negotiationStarted`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn
from weakref import proxy, ref

from twisted.internet.defer import Deferred, FirstError, gatherResults, succeed
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    ILoggingContext,
    IProtocol,
    IPushProducer,
    IReactorTime,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from ..application import Application, SelfRegulating
from ..errors import WebSocketClosed, WebSocketDropped
from ..log import CAUGHT, ClassLogger, excerpt, formatAddress, printable
from ..request import Request, Response, plainPath
from ..sansio.connection import Connection
from ..sansio.constants import CloseCode, Role
from ..sansio.extensions import Extension
from .inbox import ABORTED, LOST, OPEN, asDeferred
from .keepalive import Keepalive
from .outbox import Outbox, makeLimits

if TYPE_CHECKING:
    from ..broadcast import Group
    from .factory import ConnectionFactory


#: How long a peer that has ended TLS may take nothing of what the transport still holds, in seconds.
_DRAIN_SECONDS: Final = 0.1


def _all(pending: list[tuple[str, Deferred[Any]]], failed: list[str]) -> Deferred[Any]:
    """Waits for all; fails with the first failure, and appends its name to ``failed`` before that."""
    for name, deferred in pending:
        deferred.addErrback(_named, name, failed)
    return gatherResults([deferred for _, deferred in pending], consumeErrors=True).addErrback(_unwrapped)


def _named(failure: Failure, name: str, failed: list[str]) -> Failure:
    failed.append(name)
    return failure


def _unwrapped(failure: Failure) -> Failure:
    assert isinstance(failure.value, FirstError)
    return failure.value.subFailure


@implementer(IProtocol, IPushProducer, ILoggingContext)
class WireProtocol(Keepalive):
    """One side of a connection; the application's transport.

    Attributes:
        factory: what made it, and holds it while its transport is there.
        request: the request that opened the connection.
        response: a client's: the answer to it; None before it came, and always on a server.
        subprotocol: the one agreed on, or None.
    """

    __slots__ = (
        "_closers",
        "_ending",
        "_gone",
        "_groups",
        "_lastSent",
        "_timer",
        "factory",
        "request",
        "response",
        "subprotocol",
    )

    _log = ClassLogger()

    _role: ClassVar[Role]

    request: Request

    def __init__(self, factory: ConnectionFactory[Any], reactor: IReactorTime) -> None:
        super().__init__(reactor, factory.settings)
        self.factory = factory
        self.response: Response | None = None
        self.subprotocol: str | None = None
        #: Who waits in `whenClosed`; None while there are none.
        self._closers: list[Deferred[None]] | None = None
        #: The groups that it is in; None while it is in none.
        self._groups: list[Group] | None = None
        #: Why we gave the peer up.
        self._gone: str | None = None
        #: What loses a transport whose TLS has ended; a timer of its own, since no other may take its place.
        self._ending: IDelayedCall | None = None
        #: The opening timer; later the closing timer, or what watches over the queue before our last bytes.
        self._timer: IDelayedCall | None = None
        #: Our last bytes, a Close or a refusal, have left the queue: the closing timer runs.
        self._lastSent = False

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a connection can't be copied or pickled: keep it in its process, and let others send through it, other "
            "threads by sendFromThread"
        )

    def logPrefix(self) -> str:
        """Names the connection in Twisted's log."""
        return "wsock"

    # IProtocol

    def makeConnection(self, transport: Any) -> None:
        """Takes the transport over; Twisted calls this once."""
        settings = self._settings
        self._transport = transport
        self._connection = Connection(
            self._role,
            max_message_size=settings.maxMessageSize,
            max_empty_fragments=settings.maxEmptyFragments,
            receive_queue=settings.receiveQueue,
        )
        limits = makeLimits(settings.highWaterMark, settings.sendLimit, settings.slowConsumer == "drop")
        self._outgoing = Outbox(transport, self._reactor, limits, self)
        self._outgoing.driver.setNoDelay(transport)
        self.connectionMade()

    def connectionLost(self, reason: Failure) -> None:
        """The transport is lost; the application hears of it after what it has still to get."""
        if self._phase == LOST:
            # Some transports tell twice.
            return
        phase, self._phase = self._phase, LOST
        self._stopTimer()
        self._stopEnding()
        self._outgoing.driver.forgetEnd(self._transport)
        # Else the two would hold each other until the garbage collector comes.
        self._outgoing.lost()
        self.factory._forget(self)
        for group in list(self._groups or ()):
            group.discard(self)
        self._lost(phase)
        self._openingLost(reason)
        self._ended(phase == ABORTED)
        # One after the other: who hears of it may cancel another.
        while self._closers:
            self._closers.pop(0).callback(None)
        self.factory._checkStopped()

    def _lost(self, phase: int) -> None:
        # From here on the core sends nothing; what was received before is still there to be delivered.
        self._connection.eof = True
        self._stopProducer()
        self._stopWatch()
        self._failWriters()
        self._failQuestions()
        if self._application is None:
            # It was never open, and what came is for nobody.
            return
        if phase == ABORTED:
            self._giveUp()
        else:
            self._continue()
        seconds = self._settings.closeTimeout
        if isinstance(self._application, SelfRegulating):
            self._holdWeakly(self._application)
        elif self._application is not None and seconds is not None:
            self._startTimer(seconds, self._giveUp)

    def _holdWeakly(self, application: Application) -> None:
        """What a stream was given and has not taken is there as long as somebody holds the stream, and no longer."""
        itself = ref(self)

        def gone(_: object) -> None:
            wire = itself()
            if wire is not None:
                # What is served is the stream's, and holds the connection.
                wire._application = wire._serving = None
                wire._discard()

        self._application = proxy(application, gone)

    @property
    def transport(self) -> Any:
        """Twisted's transport, to be asked: who writes to it breaks the connection."""
        return self._transport

    # What the two roles do differently

    def connectionMade(self) -> None:
        """The transport is there: the opening handshake begins."""
        raise NotImplementedError

    def _openingLost(self, reason: Failure) -> None:
        """The transport is lost: whoever the opening handshake waits for is let go."""
        raise NotImplementedError

    def _ended(self, aborted: bool) -> None:
        """The transport is lost, and all is said but to those who wait for just that; ``aborted`` if by our will."""

    def _stop(self, code: int) -> None:
        """The factory stops."""
        raise NotImplementedError

    # The application's transport

    def loseConnection(self, code: int | None = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Closes the connection, after all that was sent; does nothing once it is closing.

        The peer's messages are delivered until its own Close. While they can't be, those for which ``receiveQueue``
        has no room are discarded, and counted in `counters`. `Settings.closeTimeout` after ours has left, the
        connection is aborted.

        Args:
            code: a close code that may travel; None for none.
            reason: at most 123 bytes of UTF-8.

        Raises:
            LocalProtocolError: a code or a reason that can't travel.
        """
        buffers = self._connection.close(code, reason)
        if buffers:
            self._outgoing.writeClose(buffers)
            self._closeSent()

    def abortConnection(self) -> None:
        """Drops the connection at once, and all that was not sent or not delivered."""
        if self._phase >= ABORTED:
            return
        self._phase = ABORTED
        self._discard()
        self._held = None
        self._connection.eof = True
        self._stopTimer()
        self._stopEnding()
        self._outgoing.abort()
        self._stopProducer()
        driver = self._outgoing.driver
        canAbort = driver.canAbort(self._transport)
        if not canAbort:
            # It is told to close, and may wait for good until it has written what it has.
            self._outgoing.unregister()
        driver.abort(self._transport)
        if not canAbort and self._phase != LOST:
            self._startTimer(0, self._takenForLost)

    def _takenForLost(self) -> None:
        self._timer = None
        self.connectionLost(Failure(ConnectionAborted()))

    def stopProducing(self) -> None:
        """Closes the connection; for those who hold us for a producer."""
        self.loseConnection()

    def whenClosed(self) -> Deferred[None]:
        """Waits for the loss of the transport, and for no callback of the application's.

        Returns:
            a Deferred that fires with None. It never fails; cancelling it only stops it from waiting.
        """
        if self._phase == LOST:
            return succeed(None)
        closer: Deferred[None] = Deferred(self._forgetCloser)
        if self._closers is None:
            self._closers = []
        self._closers.append(closer)
        return closer

    def _forgetCloser(self, closer: Deferred[None]) -> None:
        if self._closers is not None and closer in self._closers:
            self._closers.remove(closer)

    def getPeer(self) -> IAddress:
        """Returns the peer's address."""
        address: IAddress = self._transport.getPeer()
        return address

    def getHost(self) -> IAddress:
        """Returns our address."""
        address: IAddress = self._transport.getHost()
        return address

    def getPeerCertificate(self) -> Any:
        """Returns the peer's X.509 certificate over TLS, if it sent one; else None."""
        return self._outgoing.driver.getPeerCertificate(self._transport)

    @property
    def extension(self) -> Extension | None:
        """The extension that was agreed on, or None."""
        return next(iter(self._connection.extensions), None)

    @property
    def closeSent(self) -> tuple[int, str] | None:
        """(code, reason) of our Close, or None; the code is 1005 where it had none."""
        return self._connection.close_sent

    @property
    def closeReceived(self) -> tuple[int, str] | None:
        """(code, reason) of the peer's Close, or None; the code is 1005 where it had none."""
        return self._connection.close_received

    def _negotiate(
        self, callbacks: Mapping[str, Callable[[], object]], pending: tuple[str, Deferred[Any]] | None = None
    ) -> None:
        """Tells the application that the connection is open; its first message comes when it is done with that.

        Args:
            callbacks: what is called, by its name; none after one that fails, or that ends the connection.
            pending: the name of an earlier callback, and what it gave to be waited for.
        """
        waiting = [] if pending is None else [pending]
        name = ""
        try:
            for name, callback in callbacks.items():
                deferred = asDeferred(callback())
                if deferred is not None:
                    waiting.append((name, deferred))
                    if isinstance(deferred.result if deferred.called else None, Failure):
                        break
                if self._phase != OPEN:
                    break
        except CAUGHT:
            self._applicationFailed(Failure(), name)
        if len(waiting) == 1:
            self._serve(waiting[0][1], waiting[0][0])
        elif waiting:
            failed: list[str] = []
            self._serve(_all(waiting, failed), failed)

    def _applicationFailed(self, failure: Failure, callback: str) -> None:
        """An exception of the application's: logged once, and answered with 1011."""
        self._logFailure(failure, callback)
        self._discard()
        self.loseConnection(CloseCode.INTERNAL_ERROR)

    def _logFailure(self, failure: Failure, callback: str) -> None:
        """Logs an exception of the application's with what its author looks for: which callback, and whose."""
        self._log.failure(
            "the application failed in {callback} ({path}, peer {peer})",
            failure,
            callback=callback,
            path=excerpt(self._requestPath()),
            peer=self._peerForLog(),
        )

    def _joined(self, group: Group) -> None:
        if self._groups is None:
            self._groups = []
        if group not in self._groups:
            self._groups.append(group)

    def _left(self, group: Group) -> None:
        if self._groups is not None:
            self._groups.remove(group)
            self._groups = self._groups or None

    def _register(self) -> None:
        """Becomes the transport's producer, from the end of the opening handshake on."""
        self._outgoing.register()
        self._outgoing.driver.tellEnd(self._transport, self._tlsEnded)

    # The end

    def _tlsEnded(self) -> None:
        """TLS has ended, by the peer or by an error: what is unsent can't be sent any more, and nothing will come.

        It has the transport below close, which waits for its producer: that is us. This is called in the middle of
        TLS's own work, so that all but the facts waits for the reactor's next turn.
        """
        if self._phase >= ABORTED:
            return
        self._connection.eof = True
        self._outgoing.end()
        if self._lastSent:
            # Nothing waits here for the transport: it may close as soon as it has written what it holds.
            self._outgoing.unregister()
        self._ending = self._reactor.callLater(0, self._loseEnded)

    def _loseEnded(self) -> None:
        self._ending = None
        self._outgoing.abort()
        # The transport below closes now, once it has written what it holds.
        self._outgoing.unregister()
        seconds = self._settings.closeTimeout
        if self._outgoing.driver.canDrain(self._transport):
            self._drainEnded(None, None if seconds is None else self._reactor.seconds() + seconds)
        elif seconds is not None:
            self._ending = self._reactor.callLater(seconds, self._endTimedOut)

    def _drainEnded(self, before: int | None, deadline: float | None) -> None:
        """Gives a peer that still reads the last whole messages, and waits for no other."""
        self._ending = None
        driver = self._outgoing.driver
        left = driver.drain(self._transport)
        late = deadline is not None and self._reactor.seconds() >= deadline
        if left and not late and (before is None or left < before):
            self._ending = self._reactor.callLater(_DRAIN_SECONDS, self._drainEnded, left, deadline)
        else:
            driver.loseDrained(self._transport)

    def _endTimedOut(self) -> None:
        self._ending = None
        self.abortConnection()

    def _stopEnding(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None

    def _peerGone(self, seconds: float) -> None:
        self._gone = f"no sign of life for {seconds} s after it was asked"
        self.abortConnection()

    def _overflow(self, messages: int = 1) -> None:
        """More is unsent than may be: what has not begun to leave is dropped, and the peer told why."""
        self._outgoing.dropQueue(messages)
        self.loseConnection(CloseCode.TRY_AGAIN_LATER, "too much unsent")

    def _closeSent(self) -> None:
        """Our Close is queued, the peer's is awaited."""
        self._stopProducer()
        self._whenSent(self._startCloseTimer)
        if self._delivering:
            return
        if self._isHeldUp():
            self._readAhead()
        elif self._events is not None or self._hasUnread():
            # What waited because the peer did not read is delivered now.
            self._continueSoon()

    def _protocolEnded(self) -> None:
        self._stopProducer()
        if self._connection.failed is not None:
            self._leave()
        else:
            self._bothClosed()

    def _bothClosed(self) -> None:
        """Both sides sent a Close."""
        raise NotImplementedError

    def _leave(self) -> None:
        """Ends a connection whose peer may still be sending, so that our last bytes reach it.

        Closing a socket that has unread input makes the system send a reset, upon which the peer throws away what it
        has not read: it would see 1006 in place of our code. So we close our half, and discard what comes until the
        peer's. A TLS connection discards by itself until the peer's farewell.
        """
        canHalfClose = self._outgoing.driver.canHalfClose(self._transport)
        self._whenSent(self._halfClose if canHalfClose else self._loseTransport)

    def _whenSent(self, then: Callable[[], None]) -> None:
        """Calls ``then`` when our last bytes have left the queue; a peer that takes none of them is aborted."""
        self._updateReading()
        if not self._lastSent and not self._outgoing.ended:
            # Where TLS has ended nothing more is taken, and `_ending` loses the transport.
            self._watchQueue()
        self._outgoing.whenDrained(then)

    def _watchQueue(self) -> None:
        seconds = self._settings.pingTimeout
        if seconds is None:
            # Nobody is dropped for its silence; but a closing handshake has its time.
            seconds = self._settings.closeTimeout
        if seconds is not None:
            self._startTimer(seconds, self._queueWatched, self._outgoing.bytesInFlight)

    def _queueWatched(self, untaken: int) -> None:
        self._timer = None
        if self._outgoing.bytesInFlight < untaken:
            self._watchQueue()
        else:
            self.abortConnection()

    def _halfClose(self) -> None:
        self._startCloseTimer()
        self._outgoing.unregister()
        self._outgoing.driver.halfClose(self._transport)

    def _loseTransport(self) -> None:
        self._startCloseTimer()
        self._outgoing.unregister()
        self._outgoing.driver.close(self._transport)

    def _startCloseTimer(self) -> None:
        """From here on the connection has ``closeTimeout`` to be lost, whatever the peer and TLS wait for."""
        if self._lastSent:
            return
        self._lastSent = True
        self._stopTimer()
        if self._settings.closeTimeout is not None:
            self._startTimer(self._settings.closeTimeout, self._closeTimedOut)

    def _closeTimedOut(self) -> None:
        self._timer = None
        self.abortConnection()

    def _startTimer(self, seconds: float, call: Any, *arguments: object) -> None:
        self._stopTimer()
        self._timer = self._reactor.callLater(seconds, call, *arguments)

    def _stopTimer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _giveUp(self) -> None:
        """The transport is lost, and the application has not come to an end with what it got before."""
        self._timer = None
        self._discard()
        serving, self._serving = self._serving, None
        if serving is not None:
            self._cancel(serving)
        if not self._delivering:
            self._tell()

    def _cancel(self, deferred: Deferred[Any]) -> None:
        """Cancels what the application gave us to wait for; its canceller is not ours to trust."""
        try:
            deferred.cancel()
        except Exception:
            self._logFailure(Failure(), "a canceller")

    def _tell(self) -> None:
        """Tells the application that it is over."""
        application, self._application = self._application, None
        if application is None:
            return
        self._stopTimer()
        self._held = None
        if self._continuation is not None:
            self._continuation.cancel()
            self._continuation = None
        try:
            ended = asDeferred(application.connectionLost(Failure(self._reason())))
        except CAUGHT:
            self._logFailure(Failure(), "connectionLost")
            return
        if ended is not None:
            ended.addErrback(self._logFailure, "connectionLost")

    def _peerForLog(self) -> str:
        """The peer's address; a transport that is lost may not know it any more, as that of a process."""
        try:
            return formatAddress(self.getPeer())
        except Exception:
            return "unknown"

    def _requestPath(self) -> str:
        """The request's path, without the query, where people put secrets; empty where no request was read."""
        request: Request | None = getattr(self, "request", None)
        return "" if request is None else plainPath(request.rawPath)

    def _reason(self) -> BaseException:
        connection = self._connection
        received, failed = connection.close_received, connection.failed
        if received is not None and self._lastSent:
            told = f"closed with {received[0]} {printable(received[1])}".rstrip()
            return WebSocketClosed(told, received, connection.close_sent)
        # What we had to say but did not get out was not sent.
        sent = connection.close_sent if self._lastSent else None
        if failed is not None:
            return WebSocketDropped(str(failed), received, sent, failed.code)
        if self._gone is not None:
            # A Close written before an abort would not arrive: the code is for our own side.
            return WebSocketDropped(self._gone, received, sent, CloseCode.INTERNAL_ERROR)
        side = "the peer's" if received is None else "our"
        return WebSocketDropped(f"the connection was lost before {side} Close", received, sent)
