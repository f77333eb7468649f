"""The requests that come through trusted proxies: the client that they tell of (RFC 7239, and its predecessors).

Rules:

* One field is believed, and from trusted proxies alone: a proxy passes on the other field as the client wrote it.
* It is read from its end, where the nearest proxy has written; each further entry counts only if a trusted proxy wrote
  it.
* A field that can't be read, or tells less than it has to, is as good as none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final, NamedTuple

from twisted.internet.address import UNIXAddress

from ..sansio.errors import LocalProtocolError, wrong_type
from ..settings import checkNumber

#: The value of a field by its name in lower case; those of several fields are joined by commas.
Lookup = Callable[[str], "str | None"]

_X_FORWARDED_FOR: Final = "x-forwarded-for"
_FORWARDED: Final = "forwarded"
_SCHEMES: Final = ("http", "https", "ws", "wss")
#: A name of DNS, and a port.
_MAX_HOST: Final = 255 + 6
_HOST: Final = re.compile(r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
#: A pair of a Forwarded field, and what follows it (RFC 7239 section 4).
_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR: Final = re.compile(rf'[ \t]*(?:({_TOKEN})=({_TOKEN}|"(?:[^"\\]|\\.)*")[ \t]*)?([;,]|\Z)')
#: An address of IPv6 in brackets, or one of IPv4, each with a port or without, which may be hidden; or one of IPv6.
_NODE: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9.]{7,15}))(?::(?:([0-9]{1,5})|_[A-Za-z0-9._-]+))?")
_BARE: Final = re.compile(r"[0-9A-Fa-f:.]{2,45}")


class Forwarded(NamedTuple):
    """The facts about a client that trusted proxies tell.

    Attributes:
        address: the client's IP address.
        port: its port; 0 where none is told.
        scheme: "http", "https", "ws" or "wss", as the client wrote it; None where none is told.
        host: the host that the client asked for, with the port where one was written; None where none is told.
    """

    address: str
    port: int
    scheme: str | None
    host: str | None


class _Hop(NamedTuple):
    node: str
    scheme: str | None
    host: str | None


class ProxyPolicy:
    """The proxies that are trusted, and the header field in which they tell of a client.

    Behind such a proxy `Request.getClientAddress` is the client's address, and so are those in logs; `Request.host` and
    `Request.isSecure` are as the client had them, and ``allowedOrigins`` and ``allowedHosts`` compare that host.

    The proxy has to write all of the fields that are read, or to delete them: it passes on as they are those that it
    does not know of, and then a client may write them.
    """

    __slots__ = ("_networks", "_sockets", "header", "hops")

    def __init__(self, networks: Iterable[str], hops: int = 1, header: str = "X-Forwarded-For") -> None:
        """Makes a policy, for `WebSocketServerFactory` and `serve`.

        Args:
            networks: the addresses that trusted proxies connect from: ``127.0.0.1``, ``10.0.0.0/8``; or the UNIX
                sockets that only they connect to: ``unix:/run/wsock.sock``.
            hops: how many proxies may stand one behind the other, all of them in ``networks``.
            header: the field that they write: ``X-Forwarded-For``, with ``X-Forwarded-Proto`` and
                ``X-Forwarded-Host``; or ``Forwarded``. The other one is ignored.

        Raises:
            LocalProtocolError: an argument that can't be.
        """
        if isinstance(networks, (str, bytes)) or not isinstance(networks, Iterable):
            advice = f"write [{networks!r}]" if isinstance(networks, str) else ""
            raise wrong_type("networks", "a sequence of networks", networks, advice)
        self._networks: Final[list[IPv4Network | IPv6Network]] = []
        self._sockets: Final[set[str]] = set()
        for network in networks:
            self._add(network)
        checkNumber("hops", hops, mayBeNone=False)
        self.hops: Final = hops
        if not isinstance(header, str) or header.lower() not in (_X_FORWARDED_FOR, _FORWARDED):
            raise LocalProtocolError(f"header: X-Forwarded-For or Forwarded, not {header!r}")
        self.header: Final = header.lower()

    def _add(self, network: Any) -> None:
        if not isinstance(network, str):
            raise wrong_type("a network", 'a str such as "10.0.0.0/8"', network)
        if network.startswith("unix:") and len(network) > 5:
            self._sockets.add(network.removeprefix("unix:"))
            return
        try:
            self._networks.append(_unmap(ip_network(network)))
        except ValueError as error:
            advice = "write an address, a network such as 10.0.0.0/8, or unix:PATH"
            raise LocalProtocolError(f"not a network: {network!r}: {error}: {advice}") from None

    def read(self, lookup: Lookup, peer: Any, host: Any) -> Forwarded | None:
        """Returns what trusted proxies tell of a client; None where there is none, or it tells nothing.

        Args:
            lookup: finds a field of the request.
            peer: the address that the connection comes from.
            host: the address that it came in on.
        """
        if not self._isTrusted(peer, host):
            return None
        hops = self._hops(lookup)
        for count in range(1, self.hops + 1):
            if len(hops) < count:
                return None
            hop = hops[-count]
            address, port = _readNode(hop.node)
            if address is None:
                # Unknown or hidden (RFC 7239 section 6), or nonsense.
                return None
            if count == self.hops or not self._contains(address):
                return Forwarded(str(address), port, hop.scheme, hop.host)
        raise AssertionError("the last hop counts, whatever it is")

    def _isTrusted(self, peer: Any, host: Any) -> bool:
        if isinstance(host, UNIXAddress):
            return (host.name or b"").decode("utf-8", "replace") in self._sockets
        address = _asAddress(getattr(peer, "host", None) or "")
        return address is not None and self._contains(address)

    def _contains(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._networks)

    def _hops(self, lookup: Lookup) -> list[_Hop]:
        """Returns what each proxy tells, the nearest one last; nothing where that can't be read."""
        value = lookup(self.header)
        if value is None:
            return []
        if self.header == _FORWARDED:
            return _readForwarded(value)
        nodes = _items(value)
        told = [_items(lookup(f"x-forwarded-{name}") or "") for name in ("proto", "host")]
        hops: list[_Hop] = []
        # The nearest first, and no more than are asked for: a client may have written thousands before them.
        for fromEnd in range(1, min(self.hops, len(nodes)) + 1):
            scheme, host = (_ofSame(values, fromEnd, len(nodes)) for values in told)
            hops.insert(0, _Hop(nodes[-fromEnd], _asScheme(scheme), _asHost(host)))
        return hops


def _readNode(text: str) -> tuple[IPv4Address | IPv6Address | None, int]:
    """Reads an address with or without a port."""
    node = _NODE.fullmatch(text)
    if node is None:
        return (_asAddress(text) if _BARE.fullmatch(text) else None), 0
    port = int(node[3] or 0)
    return _asAddress(node[1] or node[2]), port if port < 65536 else 0


def _items(value: str) -> list[str]:
    return [item.strip(" \t") for item in value.split(",")] if value else []


def _ofSame(values: list[str], fromEnd: int, count: int) -> str | None:
    """Returns the value that the proxy so far from the end has written; None where that can't be known.

    Args:
        values: a field's, one of each proxy, or one for all.
        fromEnd: the place of the proxy.
        count: how many there are.
    """
    if values and (fromEnd == 1 or len(values) == count):
        return values[-fromEnd]
    return values[0] if len(values) == 1 else None


def _readForwarded(value: str) -> list[_Hop]:
    hops: list[_Hop] = []
    pairs: dict[str, str] = {}
    place = 0
    while True:
        match = _PAIR.match(value, place)
        if match is None:
            return []
        name, text, end = match.groups()
        if name is not None:
            name = name.lower()
            if name in pairs:
                return []
            pairs[name] = re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text
        if end != ";":
            hops.append(_Hop(pairs.get("for", ""), _asScheme(pairs.get("proto")), _asHost(pairs.get("host"))))
            pairs = {}
        if not end:
            return hops
        place = match.end()


def _asScheme(text: str | None) -> str | None:
    scheme = None if text is None else text.lower()
    return scheme if scheme in _SCHEMES else None


def _asHost(text: str | None) -> str | None:
    return text if text is not None and len(text) <= _MAX_HOST and _HOST.fullmatch(text) else None


def _unmap(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Returns a network of IPv4 where one of IPv6 has it inside, as `_asAddress` does."""
    address = network.network_address
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None and network.prefixlen >= 96:
        return IPv4Network((int(address.ipv4_mapped), network.prefixlen - 96))
    return network


def _asAddress(text: str) -> IPv4Address | IPv6Address | None:
    """Returns an IP address, that of IPv4 where one of IPv6 has it inside; None if the text is none."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
