"""The hosts that a server answers for, by the Host field of requests (RFC 9110 section 7.2).

A page of any site can have its own name resolve to this machine ("DNS rebinding"). Its requests then pass for those of
the same host, and their Host field is the only thing that tells.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from inspect import iscoroutinefunction
from typing import Any, Final, Protocol, TypeAlias

from ..arguments import checkCallback
from ..request import Request
from ..sansio.errors import LocalProtocolError, wrong_type

#: Names of hosts, or a function that says why the host of a request is not served, and returns None if it is.
AllowedHosts: TypeAlias = "Iterable[str] | Callable[[Request], str | None]"
#: The same, ready to be asked.
HostRule: TypeAlias = Callable[[Any], "str | None"]


class HasHost(Protocol):
    """A request, as far as its host is asked for."""

    @property
    def host(self) -> str:
        """The host that the client means, with the port where one was written."""


_HOST: Final = re.compile(r"(\*\.)?([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
#: The ports that clients leave out.
_DEFAULT_PORTS: Final = ("80", "443")
_MISDIRECTED: Final = "this server does not answer for the Host of the request (allowedHosts)"


def askHostRule(rule: HostRule, request: Any) -> str | None:
    """Returns why the host of a request is not served; None if it is.

    Raises:
        TypeError: the rule returned something else than that.
        Exception: it raised it.
    """
    why = rule(request)
    if why is not None and not isinstance(why, str):
        kind = type(why).__name__
        raise TypeError(f"allowedHosts returned a {kind}: it returns None for a host that is served, or a str, why not")
    return why


def isHost(host: str) -> bool:
    """Whether a text is a host, with a port or without."""
    return _HOST.fullmatch(host) is not None


def splitHost(host: str) -> tuple[str, str]:
    """Returns the name of a host, in lower case and without a dot at its end, and its port, which may be empty."""
    name, colon, port = host.rpartition(":")
    if not colon or "]" in port:
        name, port = host, ""
    return name.lower().removesuffix("."), port


def makeHostRule(allowed: Any) -> HostRule | None:
    """Returns the function that says of a request why its host is not served; None where all are.

    Args:
        allowed: None or ``("*",)`` for all; such a function; or names as they stand in a Host field: with a port, for
            that one, or without, for any; ``*.example.com`` for all below a name.

    Raises:
        LocalProtocolError: a name that no Host field can have, or something else.
    """
    if allowed is None:
        return None
    if callable(allowed):
        if iscoroutinefunction(allowed):
            raise LocalProtocolError("allowedHosts is a function that returns its answer at once, and no coroutine")
        checkCallback("allowedHosts", allowed, "each request", "write names of hosts")
        rule: HostRule = allowed
        return rule
    if isinstance(allowed, (str, bytes)) or not isinstance(allowed, Iterable):
        advice = f"write [{allowed!r}]" if isinstance(allowed, str) else ""
        raise wrong_type("allowedHosts", "a sequence of names, a function, or None", allowed, advice)
    names = list(allowed)
    if "*" in names:
        if len(names) > 1:
            raise LocalProtocolError("'*' allows any host: it stands alone")
        return None
    return _Names(names).whyMisdirected


class _Names:
    """The names of hosts that are served."""

    __slots__ = ("_below", "_exact")

    def __init__(self, names: Iterable[str]) -> None:
        #: Pairs of a name and a port, with an empty one for any.
        self._exact: set[tuple[str, str]] = set()
        self._below: list[tuple[str, str]] = []
        for name in names:
            if not isinstance(name, str):
                raise wrong_type("a host", 'a str such as "example.com"', name)
            parts = _HOST.fullmatch(name)
            if parts is None:
                raise LocalProtocolError(f"not a host, write a name such as example.com or *.example.com: {name!r}")
            isBelow, host, port = parts.groups(default="")
            host = host.lower().removesuffix(".")
            # A client leaves out the default port of the scheme, which is not known here.
            for written in (port, "-") if port in _DEFAULT_PORTS else (port,):
                if isBelow:
                    self._below.append(("." + host, written))
                else:
                    self._exact.add((host, written))

    def whyMisdirected(self, request: HasHost) -> str | None:
        """Says why the host of a request is not served; None if it is."""
        name, port = splitHost(request.host)
        if (name, "") in self._exact or (name, port or "-") in self._exact:
            return None
        for suffix, written in self._below:
            if name.endswith(suffix) and written in ("", port or "-"):
                return None
        return _MISDIRECTED
