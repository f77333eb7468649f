"""Connections in memory: of two protocols, or of an endpoint and a factory."""

from __future__ import annotations

import typing
from typing import Any, Final, TypeAlias

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectingCancelledError, ConnectionLost, ConnectionRefusedError, NoProtocol
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from wsock import WebSocketClientFactory, WebSocketServerFactory

from ..sansio.errors import wrong_type
from .transport import BUFFER_BYTES, MAX_ROUNDS, MemoryTransport, Network, checkLimits, networkOf


class _BuildsProtocols(typing.Protocol):
    def buildProtocol(self, addr: Any, /) -> Any:
        """Builds the protocol of a connection."""


class _TakesConnection(typing.Protocol):
    def makeConnection(self, transport: Any, /) -> Any:
        """Takes the transport over."""

    def dataReceived(self, data: bytes, /) -> Any:
        """Takes bytes."""

    def connectionLost(self, reason: Any, /) -> Any:
        """The transport is lost."""


#: One side of a connection, as a test gives it: an ``IProtocolFactory`` or an ``IProtocol``, also for type checkers
#: that do not know what implements them: those without mypy-zope. In quotes: before zope.interface 6.2 an interface had
#: no ``|``.
Side: TypeAlias = "IProtocolFactory | IProtocol | _BuildsProtocols | _TakesConnection"
_HOST: Final = "127.0.0.1"
#: Where servers are: the port of ``ws:`` URLs.
_SERVER: Final = IPv4Address("TCP", _HOST, 80)


def _clockOf(clock: Clock | None, *sides: object) -> Clock:
    """The clock of a connection: the one given, or that of a factory, or a new one; factories without one get it."""
    if clock is not None and not isinstance(clock, Clock):
        raise wrong_type("clock", "a twisted.internet.task.Clock", clock, "nothing in memory needs a reactor")
    factories = [side for side in sides if isinstance(side, (WebSocketServerFactory, WebSocketClientFactory))]
    for factory in factories:
        if clock is None and isinstance(factory.reactor, Clock):
            clock = factory.reactor
    clock = Clock() if clock is None else clock
    for factory in factories:
        if factory.reactor is None:
            # Without a clock it would look for the real reactor at its first connection.
            factory.useReactor(clock)
        elif factory.reactor is not clock:
            raise ValueError(f"the factory has another reactor, {factory.reactor!r}: its timers would never be due")
    return clock


def _checkSide(name: str, side: object) -> None:
    if isinstance(side, type) or not (
        IProtocolFactory.providedBy(side) or callable(getattr(side, "makeConnection", None))
    ):
        advice = f"write WebSocketServerFactory({name})" if callable(side) else ""
        raise wrong_type(name, "a factory or a protocol", side, advice)


def _checkReason(reason: object) -> None:
    if reason is not None and not isinstance(reason, Exception):
        raise wrong_type("reason", "an Exception or None", reason)


def _build(side: Side, address: IPv4Address) -> Any:
    return side.buildProtocol(address) if IProtocolFactory.providedBy(side) else side


def _connect(
    network: Network, server: Any, client: Any, clientAddress: IPv4Address, limits: tuple[int, int]
) -> tuple[MemoryTransport, MemoryTransport]:
    """Makes a connection between two protocols, and returns its two ends."""
    ends = (
        MemoryTransport(network, server, _SERVER, clientAddress, *limits),
        MemoryTransport(network, client, clientAddress, _SERVER, *limits),
    )
    ends[0].join(ends[1])
    for end in ends:
        end.protocol.makeConnection(end)
    return ends


class InMemory:
    """Moves all that is connected on one clock. It keeps nothing itself.

    Attributes:
        clock: the clock of the timers of both sides.
    """

    clock: Clock
    _network: Network

    def flush(self, rounds: int = MAX_ROUNDS) -> None:
        """Moves bytes, and runs the delayed calls that are due, until nothing moves any more.

        All connections in memory on the same clock take part. An exception that a protocol raises comes out here.

        Args:
            rounds: after how many rounds it gives up; in each round each end of a connection makes one move, and takes
                ``chunk`` or ``capacity`` bytes at the most: more than 100,000 bytes in chunks of one need more.

        Raises:
            AssertionError: it does not come to rest.
            RuntimeError: it was called from within itself, such as by a protocol.
        """
        self._network.flush(rounds)

    def advance(self, seconds: float, rounds: int = MAX_ROUNDS) -> None:
        """Lets time pass; after each delayed call on the way everything moves, as by `flush`.

        Args:
            seconds: how much time passes.
            rounds: as for each `flush`.

        Raises:
            AssertionError: as `flush`.
            RuntimeError: as `flush`.
        """
        self._network.advance(seconds, rounds)


class Pair(InMemory):
    """Two protocols, connected in memory.

    The constructor tells both of it; all else happens in a flush::

        pair = Pair(WebSocketServerFactory(buildApplication), ScriptedPeer())
        pair.client.open()
        pair.flush()
        assert pair.client.answer().status == 101

    Attributes:
        server: the server's protocol.
        client: the client's.
    """

    def __init__(
        self,
        server: Side,
        client: Side,
        clock: Clock | None = None,
        *,
        capacity: int = BUFFER_BYTES,
        chunk: int = BUFFER_BYTES,
    ) -> None:
        """Connects two protocols.

        Args:
            server: a factory, of wsock or any other, or a protocol.
            client: the same.
            clock: for the timers of both; by default the one that a factory of wsock's has, or a new one. A factory of
                wsock's that was given no reactor gets it.
            capacity: how many bytes may be on their way each way before a producer is paused.
            chunk: how many bytes a protocol is given at a time, at the most; 1 takes everything apart.

        Raises:
            ValueError: a factory built no protocol, or has another reactor than the clock.
        """
        checkLimits(capacity, chunk)
        _checkSide("server", server)
        _checkSide("client", client)
        self.clock = _clockOf(clock, server, client)
        self._network = networkOf(self.clock)
        address = IPv4Address("TCP", _HOST, self._network.nextPort())
        self.server: Any = _build(server, address)
        self.client: Any = _build(client, _SERVER)
        if self.server is None or self.client is None:
            raise ValueError("a factory built no protocol")
        self._ends = _connect(self._network, self.server, self.client, address, (capacity, chunk))

    def drop(self, reason: Exception | None = None) -> None:
        """Loses the connection on both sides in the next flush, without a word: bytes on their way are gone.

        Args:
            reason: the reason of the loss on both sides; by default a ``ConnectionLost``.
        """
        _checkReason(reason)
        for end in self._ends:
            end.drop(ConnectionLost() if reason is None else reason)


@implementer(IStreamClientEndpoint)
class MemoryEndpoint(InMemory):
    """A client endpoint that leads to a server factory in memory.

    For whatever takes an endpoint: `wsock.connect`, or a ``ClientService``::

        endpoint = MemoryEndpoint(WebSocketServerFactory(buildApplication), clock)
        connecting = wsock.connect(clock, "ws://localhost/", endpoint=endpoint)
        endpoint.flush()

    Connections are made in `flush`, as all else. The result of an attempt is decided then: see `listen`, `refuse` and
    `ignore`.
    """

    def __init__(
        self,
        server: Side,
        clock: Clock | None = None,
        *,
        capacity: int = BUFFER_BYTES,
        chunk: int = BUFFER_BYTES,
    ) -> None:
        """Makes an endpoint that leads to one server.

        Args:
            server: what it leads to: a factory, or a protocol for its one connection.
            clock: for the timers; by default the factory's, as for `Pair`.
            capacity: as for `Pair`.
            chunk: as for `Pair`.

        Raises:
            ValueError: the factory has another reactor than the clock.
        """
        checkLimits(capacity, chunk)
        _checkSide("server", server)
        self.clock = _clockOf(clock, server)
        self._network = networkOf(self.clock)
        self._limits = capacity, chunk
        self._server: Side | None = server
        self._refusal: Exception | None = None

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Begins to connect.

        Args:
            protocolFactory: builds the client's protocol.

        Returns:
            a Deferred that fires with that protocol, connected, in a flush. It fails with the reason of `refuse`, or
            with the factory's exception. Cancelling it ends the attempt with ``ConnectingCancelledError``.
        """
        attempt = _Attempt(self, protocolFactory)
        self._network.movers.append(attempt)
        return attempt.deferred

    def listen(self, server: Side) -> None:
        """From here on attempts reach ``server``: those too that were ignored and are still waited for.

        Args:
            server: as the constructor's.

        Raises:
            ValueError: it has another reactor than the clock.
        """
        _checkSide("server", server)
        _clockOf(self.clock, server)
        self._server, self._refusal = server, None

    def refuse(self, reason: Exception | None = None) -> None:
        """From here on attempts fail.

        Args:
            reason: the failure; by default a ``ConnectionRefusedError``, as of a port where no server listens.
        """
        _checkReason(reason)
        self._server, self._refusal = None, ConnectionRefusedError() if reason is None else reason

    def ignore(self) -> None:
        """From here on attempts are not answered, as by a host that is not there."""
        self._server = self._refusal = None


class _Attempt:
    """A connection that is to be made."""

    def __init__(self, endpoint: MemoryEndpoint, factory: IProtocolFactory) -> None:
        self.deferred: Deferred[IProtocol] = Deferred(self._cancel)
        self._endpoint = endpoint
        self._factory = factory

    def _cancel(self, deferred: Deferred[IProtocol]) -> None:
        if self in self._endpoint._network.movers:
            self._endpoint._network.movers.remove(self)
        deferred.errback(ConnectingCancelledError(_SERVER))

    def move(self) -> bool:
        """Connects or fails, as the endpoint says by now."""
        endpoint = self._endpoint
        if self.deferred.called or (endpoint._server is None and endpoint._refusal is None):
            return False
        endpoint._network.movers.remove(self)
        if endpoint._refusal is not None:
            self.deferred.errback(Failure(endpoint._refusal))
            return True
        try:
            client = self._factory.buildProtocol(_SERVER)
            if client is None:
                raise NoProtocol()
        except Exception:
            self.deferred.errback(Failure())
            return True
        self._join(client)
        return True

    def _join(self, client: IProtocol) -> None:
        endpoint = self._endpoint
        address = IPv4Address("TCP", _HOST, endpoint._network.nextPort())
        assert endpoint._server is not None
        server = _build(endpoint._server, address)
        ends = _connect(endpoint._network, Protocol() if server is None else server, client, address, endpoint._limits)
        if server is None:
            # A port closes the connection that its factory wants no protocol for.
            ends[0].loseConnection()
        if self.deferred.called:
            # The client's own `connectionMade` gave it up.
            ends[1].abortConnection()
        else:
            self.deferred.callback(client)
