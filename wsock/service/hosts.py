"""The hosts that `twistd wsock` answers for where its command line names none.

A page of any site can have its own name resolve to 127.0.0.1 ("DNS rebinding"), and then passes for a page of this
server. So what comes in on a loopback address has to name this machine. A request that comes in on any other address
has passed a network, and may have been sent to any name.
"""

from __future__ import annotations

import ipaddress
import socket
from functools import lru_cache
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address

from .. import ProxyPolicy
from ..sansio.http import split_target
from ..server.hosts import isHost, splitHost

_WHY: Final = "this server does not answer for the Host of the request; it does when started with --allowed-host NAME"
_BEHIND_PROXY: Final = ", or, behind a proxy, with --trusted-proxy ADDRESS"
#: The fields by which proxies tell of a client.
_FORWARDING: Final = ("x-forwarded-for", "x-forwarded-host", "forwarded")


class PageHead:
    """A request for a page, as far as its host, its client and its header fields are asked for.

    Attributes:
        client: the client's address: as trusted proxies tell it, or else the peer's.
        host: the host that the client means, with the port where one was written; empty without one (HTTP/1.0).
    """

    __slots__ = ("_request", "client", "host")

    def __init__(self, request: Any, trustedProxies: ProxyPolicy | None = None) -> None:
        self._request = request
        # RFC 9112 section 3.2.2: the host of a target that is a whole URL replaces the field.
        self.host: str = split_target(request.uri.decode("latin-1"))[0] or self.get("host") or ""
        self.client: Any = request.getClientAddress()
        if trustedProxies is not None:
            forwarded = trustedProxies.read(self.get, self.client, request.getHost())
            if forwarded is not None:
                kind = IPv6Address if ":" in forwarded.address else IPv4Address
                self.client = kind("TCP", forwarded.address, forwarded.port)
                self.host = forwarded.host or self.host

    def getHost(self) -> Any:
        """Returns the address that the client connected to."""
        return self._request.getHost()

    @property
    def headers(self) -> PageHead:
        """The header fields, as a `Request` has them."""
        return self

    def get(self, name: str) -> str | None:
        """Returns the value of a field; those of several fields are joined by commas."""
        values = self._request.requestHeaders.getRawHeaders(name.encode("ascii"), ())
        return b", ".join(values).decode("latin-1") if values else None


def whyNotLocal(request: Any) -> str | None:
    """Says why the host of a request is not served, where the request came in on a loopback address; else None.

    Args:
        request: a `Request`, or a `PageHead`.
    """
    # Nearly all requests name this machine, and to ask for the address takes longer.
    if _isOurs(request.host) or not _isLoopback(getattr(request.getHost(), "host", "")):
        return None
    lookup = request.headers.get
    return _WHY + _BEHIND_PROXY if any(lookup(name) is not None for name in _FORWARDING) else _WHY


@lru_cache(64)
def _isOurs(host: str) -> bool:
    """Whether a host is this machine by its name, or an address; a browser always names one."""
    if host and not isHost(host.removesuffix(":")):
        return False
    name, _ = splitHost(host)
    if not name or name == "localhost" or name.endswith(".localhost") or name == socket.gethostname().lower():
        return True
    return _asAddress(name.removeprefix("[").removesuffix("]")) is not None


def _asAddress(host: str) -> Any:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


@lru_cache(64)
def _isLoopback(host: str) -> bool:
    address = _asAddress(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address is not None and address.is_loopback
