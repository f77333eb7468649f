"""Limits on how many messages a second an application is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, Literal, NoReturn

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from .application import Accept, BuildApplication, isApplication
from .arguments import checkBuildApplication
from .request import Request
from .results import asDecision, asDeferred
from .sansio.constants import CloseCode
from .sansio.errors import LocalProtocolError, wrong_type
from .settings import checkNumber

_EXCESS: Final = ("delay", "close")
_TOO_MANY: Final = "too many messages"
#: Other rates are of no use, and some no timer can take.
_LEAST_RATE, _MOST_RATE = 1e-6, 1e9
#: Times are no whole numbers: a token that is missing by less than this part is there.
_ROUNDING: Final = 1e-6


class RateLimit:
    """A ``buildApplication`` whose connections are each given so many messages a second, and no more.

    It stands around another one, alone or as a route's::

        serve(reactor, 8080, RateLimit(build, 10, burst=20))

    Attributes:
        rate: how many messages a second, in the long run.
        burst: how many at once.
        closes: whether a client that sends more is closed.
        delayed: how many messages were followed by a pause so far.
        closed: how many connections were closed so far.
    """

    __slots__ = ("_build", "burst", "closed", "closes", "delayed", "rate")

    def __init__(
        self,
        buildApplication: BuildApplication,
        messagesPerSecond: float,
        *,
        burst: int | None = None,
        excess: Literal["delay", "close"] = "delay",
    ) -> None:
        """Puts a limit around a ``buildApplication``.

        Args:
            buildApplication: asked for the applications.
            messagesPerSecond: how many messages one connection may send in the long run.
            burst: how many may come at once; by default as many as in a second, and one at least.
            excess: the treatment of a client that sends more. ``"delay"``: it is read more slowly, so that its own
                sends have to wait. ``"close"``: it is closed with 1008, and the message is not delivered.

        Raises:
            LocalProtocolError: an argument that can't be.
        """
        checkBuildApplication(buildApplication)
        if isinstance(messagesPerSecond, bool) or not isinstance(messagesPerSecond, (int, float)):
            raise wrong_type("messagesPerSecond", "a number above 0", messagesPerSecond)
        if not _LEAST_RATE <= messagesPerSecond <= _MOST_RATE:
            raise LocalProtocolError(f"messagesPerSecond is a number from {_LEAST_RATE:g} to {_MOST_RATE:g}")
        checkNumber("burst", burst)
        if excess not in _EXCESS:
            raise LocalProtocolError(f"excess: 'delay' or 'close', not {excess!r}")
        self._build: Final = buildApplication
        self.rate: Final = messagesPerSecond
        self.burst: Final = max(1, messagesPerSecond) if burst is None else burst
        self.closes: Final = excess == "close"
        self.delayed = 0
        self.closed = 0

    def __reduce__(self) -> NoReturn:
        raise TypeError("a RateLimit can't be copied or pickled: it counts; make one in each process")

    def countClosed(self) -> None:
        """A connection is closed."""
        self.closed += 1

    def countDelayed(self) -> None:
        """A message is followed by a pause."""
        self.delayed += 1

    def __call__(self, request: Request) -> Any:
        """Returns the decision on a request, with the limit around its application."""
        decision: Any = self._build(request)
        pending = None if isinstance(decision, Accept) else asDecision(decision)
        return self._wrap(decision) if pending is None else pending.addCallback(self._wrap)

    def _wrap(self, decision: Any) -> Any:
        if isinstance(decision, Accept):
            return replace(decision, application=_Limited(decision.application, self))
        # A mistake is told by those who ask us.
        return _Limited(decision, self) if isApplication(decision) else decision


class _Limited:
    """One application behind a limit, and its bucket of tokens.

    Attributes:
        tokens: how many messages may come at once now; less than none while it waits.
        then: when that was so, in seconds.
    """

    __slots__ = (
        "__weakref__",
        "_application",
        "_limit",
        "_seconds",
        "_transport",
        "appliesBackpressure",
        "then",
        "tokens",
    )

    def __init__(self, application: Any, limit: RateLimit) -> None:
        self._application = application
        self._limit = limit
        self._transport: Any = None
        self._seconds: Callable[[], float] = float
        self.appliesBackpressure: bool = getattr(application, "appliesBackpressure", False)
        self.tokens: float = 0
        self.then: float = 0
        keep = getattr(application, "keepAlive", None)
        if self.appliesBackpressure and keep is not None:
            # It is all that is held of us once the connection is lost.
            keep(self)

    def negotiationStarted(self, transport: Any, /) -> Any:
        self._transport = transport
        self._seconds = transport.factory.reactor.seconds
        self.tokens, self.then = self._limit.burst, self._seconds()
        return self._application.negotiationStarted(transport)

    def negotiationFinished(self) -> Any:
        return self._application.negotiationFinished()

    def textMessageReceived(self, message: str, /) -> Any:
        return self._receive(self._application.textMessageReceived, message)

    def bytesMessageReceived(self, data: Any, /) -> Any:
        return self._receive(self._application.bytesMessageReceived, data)

    def pongReceived(self, payload: bytes, /) -> Any:
        return self._application.pongReceived(payload)

    def connectionLost(self, reason: Failure, /) -> Any:
        return self._application.connectionLost(reason)

    def _receive(self, receive: Callable[[Any], object], message: Any) -> Any:
        limit, now = self._limit, self._seconds()
        self.tokens = min(limit.burst, self.tokens + max(0.0, now - self.then) * limit.rate) - 1
        self.then = now
        if self.tokens >= -_ROUNDING:
            return receive(message)
        if limit.closes:
            transport = self._transport
            if transport.isOpen:
                limit.countClosed()
                transport.loseConnection(CloseCode.POLICY_VIOLATION, _TOO_MANY)
            return None
        limit.countDelayed()
        pending = asDeferred(receive(message))
        return self._pause() if pending is None else pending.addCallback(self._pauseStill)

    def _pauseStill(self, _: object) -> Deferred[None] | None:
        """The application is done with the message; the next one may have to wait still."""
        return self._pause()

    def _pause(self) -> Deferred[None] | None:
        """Returns a Deferred that fires when there is a token for the next message, or the connection is lost."""
        debt = -self.tokens / self._limit.rate
        # The clock may have been set back.
        seconds = min(debt, debt - (self._seconds() - self.then))
        return _Pause(self._transport, seconds).deferred if seconds > 0 else None


class _Pause:
    """A pause of one connection; its Deferred fires at the end."""

    __slots__ = ("_call", "_closed", "deferred")

    def __init__(self, transport: Any, seconds: float) -> None:
        self.deferred: Deferred[None] = Deferred(self._cancel)
        self._call = transport.factory.reactor.callLater(seconds, self._end)
        self._closed: Deferred[None] | None = transport.whenClosed()
        self._closed.addCallbacks(self._lost, lambda failure: None)

    def _lost(self, _: None) -> None:
        self._closed = None
        self._call.cancel()
        self.deferred.callback(None)

    def _end(self) -> None:
        self._stopWatching()
        self.deferred.callback(None)

    def _cancel(self, _: Deferred[None]) -> None:
        self._call.cancel()
        self._stopWatching()

    def _stopWatching(self) -> None:
        closed, self._closed = self._closed, None
        if closed is not None:
            closed.cancel()
