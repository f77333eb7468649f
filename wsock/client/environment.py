"""The environment's proxy for a server, by the variables that curl reads: ``https_proxy``, ``NO_PROXY`` and the like.

Rules:

* A variable that is empty is none.
* Names are compared as they are written: none is looked up to be compared with an address.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Final

from ..sansio.errors import InvalidURL
from ..sansio.url import URL, parse
from .lookup import isAddress

#: The variables for each scheme, in the order in which they count. HTTP_PROXY is not among them: a web server hands its
#: CGI programs the header field "Proxy" of any client by that name (CVE-2016-5385).
_VARIABLES: Final = {
    "ws": ("ws_proxy", "WS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY"),
    "wss": ("wss_proxy", "WSS_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"),
}
_EXCEPTIONS: Final = ("no_proxy", "NO_PROXY")
_SEPARATOR = re.compile(r"[\s,]+")


def findProxy(url: URL, environment: Mapping[str, str] | None = None) -> tuple[str, str] | None:
    """Returns the variable that names the proxy for a server, and its value; None where there is to be no proxy.

    Args:
        url: the server's.
        environment: the variables; by default those of the process.
    """
    environment = os.environ if environment is None else environment
    found = _findSet(environment, _VARIABLES[url.scheme])
    exceptions = _findSet(environment, _EXCEPTIONS)
    return None if exceptions is not None and isException(url, exceptions[1]) else found


def _findSet(environment: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, str] | None:
    return next(((name, environment[name]) for name in names if environment.get(name)), None)


def isException(url: URL, exceptions: str) -> bool:
    """Whether a server is among those that are reached without a proxy.

    Args:
        url: the server's.
        exceptions: the value of ``NO_PROXY``: separated by commas or spaces, ``*`` for all servers, or names, whose
            subdomains are meant, too, addresses and networks, each but the last perhaps with a port behind it.
    """
    host = url.host.rstrip(".").lower()
    matches = _coversAddress if isAddress(host) else _coversName
    return any(one == "*" or matches(one, host, url.port) for one in _SEPARATOR.split(exceptions))


def _coversAddress(exception: str, host: str, port: int) -> bool:
    """Whether an exception is an address, or has it in its network."""
    text, wanted = exception, ""
    if text.startswith("["):
        text, _, wanted = text[1:].partition("]")
    elif text.count(":") == 1:
        text, _, wanted = text.partition(":")
        wanted = f":{wanted}"
    if wanted.startswith("/"):
        # A network in brackets, with its size behind them.
        text, wanted = text + wanted, ""
    try:
        isCovered = ip_address(host) in ip_network(text, strict=False)
    except ValueError:
        isCovered = False
    return isCovered and wanted in ("", f":{port}")


def _coversName(exception: str, host: str, port: int) -> bool:
    """Whether an exception is a name, or that of a domain above it."""
    if any(character in exception for character in "/?"):
        return False
    try:
        # A name is read as a server's: in any case, and in its A-labels.
        parsed = parse(f"ws://{exception.removeprefix('*').removeprefix('.')}")
    except InvalidURL:
        return False
    name = parsed.host.rstrip(".")
    hasPort = bool(exception.partition(":")[2])
    return (not hasPort or parsed.port == port) and (host == name or host.endswith(f".{name}"))
