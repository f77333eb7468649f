"""Where a server listens: how a port may be written, the listen queue, and the URLs that result."""

from __future__ import annotations

import os
import re
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint, IStreamServerEndpointStringParser
from twisted.plugin import getPlugins

from ..log import printable

#: How many connections may wait to be accepted, in place of Twisted's 50; the system caps it (net.core.somaxconn).
#: Linux drops connections that do not fit, and a client tries again after 1, 3 and 7 seconds; a UNIX socket refuses it.
BACKLOG: Final = 4096
#: The endpoints that have a listen queue, and how many arguments may stand before its length.
_SOCKETS: Final = {"tcp": 2, "tcp6": 1, "unix": 2, "ssl": 5}
#: Newer versions of Twisted have one; a package of others has another, with a whole description inside.
_TLS: Final = ("tls", 2)
#: A number as a port, also one that is too small.
_PORT: Final = re.compile(r"-?[0-9]+", re.ASCII)
#: A socket of systemd's that is one of TCP.
_SYSTEMD_TCP: Final = re.compile(r":domain=INET6?(?=:|$)")
#: An address as other programs write it: ``127.0.0.1:8080``, ``[::1]:8080``, ``:8080``, ``http://localhost:8080/``.
_ADDRESS: Final = re.compile(r"(?:(http|ws)(s?)://)?(\[([0-9A-Fa-f:.]+)\]|[^:=/\[\]\\]*):([0-9]+)/?", re.ASCII)
#: Every address of this machine, as others write it.
_ANYWHERE: Final = ("", "*", "0.0.0.0")  # noqa: S104 - it is what a user may have written


def readPort(text: str) -> str:
    """Returns the endpoint description that a port means, as a user writes it: a number, or a description.

    Raises:
        ValueError: it can't be one; the message says what to write.
    """
    if _PORT.fullmatch(text):
        return f"tcp:{_number(text)}"
    address = _ADDRESS.fullmatch(text)
    if address is not None and not _isKind(address[3]):
        raise ValueError(_advise(address))
    return text


def _number(digits: str) -> int:
    if len(digits) > 5 or not 0 <= int(digits) <= 65535:
        raise ValueError("a TCP port is a number from 0 to 65535")
    return int(digits)


def _isKind(name: str) -> bool:
    """Whether there is a kind of endpoint of that name, a plugin's among them."""
    if name.lower() in _SOCKETS:
        return True
    return any(plugin.prefix.lower() == name.lower() for plugin in getPlugins(IStreamServerEndpointStringParser))


def _advise(address: re.Match[str]) -> str:
    """Says how an address is written as a description."""
    scheme, secure, host, inner, digits = address.groups()
    port = _number(digits)
    kind, interface = "tcp", host
    if inner is not None:
        # A description's colons are quoted.
        kind, interface = "tcp6", "" if inner == "::" else inner.replace(":", r"\:")
    elif host in _ANYWHERE:
        interface = ""
    elif host.lower() == "localhost":
        interface = "127.0.0.1"
    description = f"{'ssl' if secure else kind}:{port}"
    if interface:
        description += f":interface={interface}"
    if secure:
        description += ":privateKey=key.pem:certKey=cert.pem"
    if "\\" in description:
        # It has to survive the shell.
        description = f"'{description}'"
    if scheme or inner is not None or host in _ANYWHERE or "." in host or host.lower() == "localhost":
        return f"write {description}"
    return f"no kind of endpoint is called {host!r}; if it is a host, write {description}"


def makeEndpoint(reactor: Any, description: str) -> IStreamServerEndpoint:
    """Makes the endpoint of a description; its listen queue is long, unless the description says how long.

    Raises:
        Exception: whatever the endpoint's kind raises, since it may be a plugin of others.
    """
    if len(re.findall(r"\\*$", description)[0]) % 2:
        raise ValueError("a backslash quotes the character that follows, and none does")
    if _wantsBacklog(description):
        try:
            return _parse(reactor, f"{description}:backlog={BACKLOG}")
        except Exception:  # noqa: S110 - the description as it was given says what is wrong with it
            # Or nothing is: a plugin may call an endpoint "tls", and have no listen queue.
            pass
    return _parse(reactor, description)


def _parse(reactor: Any, description: str) -> IStreamServerEndpoint:
    endpoint: IStreamServerEndpoint = serverFromString(reactor, description)
    return endpoint


def _wantsBacklog(description: str) -> bool:
    """Whether a description has a listen queue, and does not say how long it is."""
    arguments, names = _split(description)
    if "backlog" in names:
        return False
    # A proxy's endpoint, such as haproxy:, has another one's description inside, and hands its arguments on.
    for place, argument in enumerate(arguments):
        before = _SOCKETS.get(argument.lower())
        if before is not None:
            return len(arguments) - place - 1 <= before
    kind, before = _TLS
    return arguments[:1] == [kind] and len(arguments) - 1 <= before


def _split(description: str) -> tuple[list[str], list[str]]:
    """Splits a description by Twisted's rules: ``:`` ends an argument, ``=`` its name, and a backslash quotes both.

    Returns:
        The arguments that have no name, and the names of the others.
    """
    arguments: list[str] = []
    names: list[str] = []
    text, isNamed = "", False
    letters = iter(f"{description}:")
    for letter in letters:
        if letter == "\\":
            text += next(letters)
        elif letter == ":":
            if not isNamed:
                arguments.append(text)
            text, isNamed = "", False
        elif letter == "=" and not isNamed:
            names.append(text)
            isNamed = True
        else:
            text += letter
    return arguments, names


def describeAddress(description: str, port: Any, page: str | None, tls: bool = False) -> str:
    """Returns the URL of a port that listens, where it has one, or else its description.

    Args:
        description: the endpoint's.
        port: the result of its ``listen``.
        page: the path of a page to show, or None where there are WebSockets alone.
        tls: whether TLS was added to the endpoint.
    """
    address = addressOf(port)
    if isinstance(address, UNIXAddress) and address.name:
        return printable(f"unix:{os.fsdecode(address.name)}")
    url = makeURL(address, tls or isSecure(description), "ws" if page is None else "http", page or "/")
    return printable(description) if url is None else url


def addressOf(port: Any) -> Any:
    """The address of a port; None for standard input and output, which are a connection, and no port."""
    return port.getHost() if hasattr(port, "getHost") else None


def isSecure(description: str) -> bool:
    """Whether an endpoint description is of one with TLS."""
    return not {"ssl", "tls"}.isdisjoint(argument.lower() for argument in _split(description)[0])


def isTCP(description: str) -> bool:
    """Whether an endpoint description is of TCP without TLS: by itself, by systemd, or with a proxy's header first."""
    arguments, _ = _split(description)
    kind = arguments[0].lower()
    if kind == "systemd":
        return _SYSTEMD_TCP.search(description) is not None
    if kind == "haproxy" and len(arguments) > 1:
        kind = arguments[1].lower()
    return kind in ("tcp", "tcp6")


def makeURL(address: object, isSecure: bool, scheme: str = "ws", path: str = "/") -> str | None:
    """Returns the URL of a port.

    Args:
        address: the port's.
        isSecure: whether there is TLS on it.
        scheme: without the ``s`` of TLS.
        path: the URL's path.

    Returns:
        None for an address that is in no URL, such as that of a UNIX socket.
    """
    if not isinstance(address, (IPv4Address, IPv6Address)):
        return None
    host = address.host
    if host in ("0.0.0.0", "::"):  # noqa: S104 - a port on all addresses is on this one too
        host = "localhost"
    elif ":" in host:
        host = f"[{host}]"
    number = "" if address.port == (443 if isSecure else 80) else f":{address.port}"
    return f"{scheme}{'s' if isSecure else ''}://{host}{number}{path}"
