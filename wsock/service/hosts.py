"""The hosts that `twistd wsock` answers for where its command line names none.

A page of any site can have its own name resolve to 127.0.0.1 ("DNS rebinding"), and then passes for a page of this
server. So what comes in on a loopback address has to name this machine. A request that comes in on any other address
has passed a network, and may have been sent to any name.
"""

from __future__ import annotations

import socket
from ipaddress import IPv6Address, ip_address
from typing import Any, Final

from ..sansio.http import split_target
from ..server.hosts import splitHost

_WHY: Final = "this server does not answer for the Host of the request; it does when started with --allowed-host NAME"


class PageHead:
    """A request for a page, as far as its host is asked for.

    Attributes:
        host: the host that the client means, with the port where one was written; empty without one (HTTP/1.0).
    """

    __slots__ = ("_request", "host")

    def __init__(self, request: Any) -> None:
        self._request = request
        # RFC 9112 section 3.2.2: the host of a target that is a whole URL replaces the field.
        authority = split_target(request.uri.decode("latin-1"))[0]
        self.host: str = authority or (request.getHeader(b"host") or b"").decode("latin-1")

    def getHost(self) -> Any:
        """Returns the address that the client connected to."""
        return self._request.getHost()


def whyNotLocal(request: Any) -> str | None:
    """Says why the host of a request is not served, where the request came in on a loopback address; else None.

    Args:
        request: a `Request`, or a `PageHead`.
    """
    if not _isLoopback(getattr(request.getHost(), "host", "")):
        return None
    name, _ = splitHost(request.host)
    # A browser always names a host.
    if not name or name == "localhost" or name.endswith(".localhost") or name == socket.gethostname().lower():
        return None
    return None if _asAddress(name.removeprefix("[").removesuffix("]")) is not None else _WHY


def _asAddress(host: str) -> Any:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _isLoopback(host: str) -> bool:
    address = _asAddress(host.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address is not None and address.is_loopback
