"""Limits for each address that clients connect from.

Rules:

* An address is that which a trusted proxy tells of, or else the peer's. One client of IPv6 has a whole /64, so that
  counts as one address.
* The tables are bounded, whatever clients do. A table that is full forgets the address that was not seen for longest.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import Any, Final, NoReturn

from ..sansio.errors import LocalProtocolError, wrong_type
from ..settings import checkNumber

#: Other rates are of no use.
_LEAST_RATE, _MOST_RATE = 1e-6, 1e9
#: A bucket of handshakes that is missing less than this part of one has one.
_ROUNDING: Final = 1e-6
#: How long a client is to stay away that has too many connections, in seconds.
_RETRY_SECONDS: Final = 5


def addressKey(address: Any) -> str:
    """Returns what limits count an address as: one of IPv4, or the first 64 bits of one of IPv6.

    All peers without an IP address, such as those of a UNIX socket, are one.

    Args:
        address: an ``IAddress``.
    """
    host = getattr(address, "host", None)
    if not isinstance(host, str):
        return ""
    if ":" not in host:
        return host
    try:
        parsed = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(parsed, IPv6Address):
        return host
    mapped = parsed.ipv4_mapped
    return str(IPv6Address(int(parsed) >> 64 << 64)) + "/64" if mapped is None else str(mapped)


class AddressLimits:
    """Limits for each address: how many connections, and how many opening handshakes a second. More gets 429.

    For ``addressLimits`` of a factory, where it counts all its routes together, or of a `Route`. It may be given to
    several, to count them together.

    Attributes:
        refusedConnections: how many requests were refused so far because of too many connections.
        refusedHandshakes: how many because of too many handshakes.
    """

    __slots__ = (
        "_buckets",
        "_burst",
        "_connections",
        "_maxAddresses",
        "_maxConnections",
        "_rate",
        "refusedConnections",
        "refusedHandshakes",
    )

    def __init__(
        self,
        *,
        maxConnections: int | None = None,
        handshakesPerSecond: float | None = None,
        burst: int | None = None,
        maxAddresses: int = 10_000,
    ) -> None:
        """Makes limits, which count from now on.

        Args:
            maxConnections: how many connections of one address may be open; None for no limit.
            handshakesPerSecond: how many requests of one address are taken in the long run, whatever the application
                decides; those that an earlier check refuses are not counted. None for no limit.
            burst: how many may come at once; by default ten, or as many as in ten seconds, where that is more.
            maxAddresses: how many addresses are remembered for ``handshakesPerSecond``; each takes some 300 bytes.

        Raises:
            LocalProtocolError: an argument that can't be, or no limit at all.
        """
        checkNumber("maxConnections", maxConnections)
        if handshakesPerSecond is not None:
            if isinstance(handshakesPerSecond, bool) or not isinstance(handshakesPerSecond, (int, float)):
                raise wrong_type("handshakesPerSecond", "a number above 0, or None", handshakesPerSecond)
            if not _LEAST_RATE <= handshakesPerSecond <= _MOST_RATE:
                raise LocalProtocolError(
                    f"handshakesPerSecond is a number from {_LEAST_RATE:g} to {_MOST_RATE:g}, or None"
                )
        elif maxConnections is None:
            raise LocalProtocolError("a limit: maxConnections or handshakesPerSecond")
        checkNumber("burst", burst)
        checkNumber("maxAddresses", maxAddresses, mayBeNone=False)
        self._maxConnections: Final = maxConnections
        self._rate: Final = handshakesPerSecond
        self._burst: Final[float] = max(10, 10 * (handshakesPerSecond or 0)) if burst is None else burst
        self._maxAddresses: Final = maxAddresses
        #: How many connections each address has, where it has any.
        self._connections: dict[str, int] = {}
        #: The handshakes that each address may make at once, and when that was so; those seen last are at the end.
        self._buckets: dict[str, tuple[float, float]] = {}
        self.refusedConnections = 0
        self.refusedHandshakes = 0

    def __reduce__(self) -> NoReturn:
        raise TypeError("AddressLimits can't be copied or pickled: they count; make them in each process")

    def __repr__(self) -> str:
        return f"<AddressLimits: {len(self._connections)} addresses with connections>"

    def takeHandshake(self, address: Any, now: float) -> int | None:
        """Counts a request; returns how many seconds its client is to stay away, or None if it is taken.

        Args:
            address: the client's.
            now: the time in seconds.
        """
        if self._rate is None:
            return None
        key = addressKey(address)
        tokens, then = self._buckets.pop(key, (self._burst, now))
        tokens = min(self._burst, tokens + max(0.0, now - then) * self._rate)
        isTaken = tokens >= 1 - _ROUNDING
        if isTaken:
            tokens -= 1
        else:
            self.refusedHandshakes += 1
        self._buckets[key] = tokens, now
        if len(self._buckets) > self._maxAddresses:
            del self._buckets[next(iter(self._buckets))]
        return None if isTaken else ceil((1 - tokens) / self._rate)

    def whyFull(self, address: Any) -> int | None:
        """Returns how many seconds a client is to stay away whose address has all its connections; None if it has not.

        Args:
            address: the client's.
        """
        if self._maxConnections is None or self._connections.get(addressKey(address), 0) < self._maxConnections:
            return None
        self.refusedConnections += 1
        return _RETRY_SECONDS

    def seat(self, address: Any) -> Seat | None:
        """Counts a connection; returns what is told of its loss, if there is a limit for connections."""
        if self._maxConnections is None:
            return None
        key = addressKey(address)
        self._connections[key] = self._connections.get(key, 0) + 1
        return Seat(self, key)

    def leave(self, key: str) -> None:
        """A connection of an address is lost."""
        left = self._connections.pop(key) - 1
        if left:
            self._connections[key] = left


class Seat:
    """The place of one connection among those of its address, until it is lost."""

    __slots__ = ("_key", "_limits")

    def __init__(self, limits: AddressLimits, key: str) -> None:
        self._limits = limits
        self._key = key

    def discard(self, transport: Any) -> None:
        """The connection is lost."""
        self._limits.leave(self._key)
