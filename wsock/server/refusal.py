"""The reasons of a server's refusals: in the answer's body the rule, in the log also the value that broke it.

The answer repeats nothing of its request. The log is for the one who runs the server, and names the argument or the
setting that the rule is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ..application import Refuse
from ..log import excerpt
from ..request import Request
from ..sansio import handshake
from ..sansio.errors import InvalidRequest
from ..sansio.http import REASONS, ResponseHead

STOPS: Final = "the server stops"
#: The origins that a log line repeats as they came; any other value may hide a password, or be anything.
_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://[^\s/?#@]*|null")
#: The settings of the decoder's limits, by how its error begins.
_LIMITS: Final = {"a line": "maxHeaderLine", "a head": "maxHeaderSize", "more than": "maxHeaders"}


def explained(status: int, why: str, headers: Sequence[tuple[str, str]] = ()) -> ResponseHead:
    """Makes a refusal whose body names the rule."""
    return handshake.refuse(status, headers, f"{REASONS[status]}: {why}".encode("utf-8", "replace"))


def unavailable(why: str) -> ResponseHead:
    """Makes a refusal that asks to come again."""
    return explained(503, why, [("Retry-After", "5")])


def invalid(error: InvalidRequest) -> tuple[ResponseHead, str]:
    """Returns the answer to a request that can't be one, and its reason for the log."""
    setting = next((name for begin, name in _LIMITS.items() if str(error).startswith(begin)), None)
    if error.status not in (414, 431) or setting is None:
        return handshake.refusal(error), str(error)
    why = f"{error} ({setting})"
    return explained(error.status, why, error.headers), why


def wrongOrigin(error: InvalidRequest, request: Request, allowed: Sequence[str] | None) -> tuple[ResponseHead, str]:
    """Returns the same for a page of an origin that is not allowed."""
    origin = request.origin or ""
    origin = excerpt(origin) if _ORIGIN.fullmatch(origin) else "in another form than scheme://host:port"
    host = f"for Host {excerpt(request.host)} " if allowed is None else ""
    return explained(403, f"{error} (allowedOrigins)"), f"Origin {origin} is not allowed {host}(allowedOrigins)"


def noRoute(refuse: Refuse) -> tuple[ResponseHead, str]:
    """Returns the same for a path that leads nowhere."""
    return handshake.refuse(refuse.status, refuse.headers, refuse.body), _said(refuse)


def misdirected(why: str, request: Request) -> tuple[ResponseHead, str]:
    """Returns the same for a host that is not served."""
    return explained(421, why), f"Host {excerpt(request.host)}: {why}"


def tooManyHandshakes(seconds: int) -> tuple[ResponseHead, str]:
    """Returns the same for an address that asks too often."""
    why = "too many requests from this address (addressLimits: handshakesPerSecond)"
    return explained(429, why, [("Retry-After", str(seconds))]), why


def tooManyConnections(seconds: int) -> tuple[ResponseHead, str]:
    """Returns the same for an address that has all its connections."""
    why = "too many connections from this address (addressLimits: maxConnections)"
    return explained(429, why, [("Retry-After", str(seconds))]), why


def whyRefused(refuse: Refuse) -> str:
    """Returns the reason of an application's refusal for the log: the application's own words, if it has any."""
    if not refuse.body or any(name.lower() == "content-type" for name, _ in refuse.headers):
        return "the application refused (buildApplication)"
    return f"the application refused: {_said(refuse)}"


def _said(refuse: Refuse) -> str:
    """Returns the first line of an answer's body."""
    return excerpt(refuse.body.decode("utf-8", "replace").strip().partition("\n")[0])
