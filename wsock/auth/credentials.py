"""The credentials of a request: where they come from, and how they are written there."""

from __future__ import annotations

import re
from base64 import b64decode
from urllib.parse import parse_qs

from ..request import TOKEN_PREFIX, Request, hideTokens

#: RFC 7617 section 2: neither may have control characters.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Malformed(Exception):
    """Credentials that are written as none can be."""


def _authorization(request: Request, scheme: str) -> str | None:
    """Returns the credentials of the Authorization field, if they are of this scheme (RFC 9110 section 11.4)."""
    given, _, credentials = (request.headers.get("Authorization") or "").partition(" ")
    return credentials.strip() if given.lower() == scheme else None


def _decoded(text: str, alternative: bytes | None = None) -> str:
    """Returns the text that base64 encodes, in UTF-8."""
    try:
        return b64decode(text, alternative, validate=True).decode()
    except ValueError:
        raise Malformed from None


def readBasic(request: Request) -> tuple[str, str] | None:
    """Returns the user and the password (RFC 7617 section 2)."""
    encoded = _authorization(request, "basic")
    if encoded is None:
        return None
    user, colon, password = _decoded(encoded).partition(":")
    if not colon or _CONTROL.search(user) or _CONTROL.search(password):
        raise Malformed
    return user, password


class TokenReader:
    """Finds the token of a request, in the places that were named; the first counts that has one."""

    __slots__ = ("_cookie", "_inSubprotocol", "_parameter")

    def __init__(self, cookie: str | None, parameter: str | None, inSubprotocol: bool) -> None:
        self._cookie = cookie
        self._parameter = parameter
        self._inSubprotocol = inSubprotocol

    def __call__(self, request: Request) -> tuple[str] | None:
        """Returns the token, as the only one of a check's arguments."""
        # Hidden wherever the token comes from that counts.
        offered = hideTokens(request) if self._inSubprotocol else ()
        token = _authorization(request, "bearer")
        if token is None and offered:
            encoded = offered[0][len(TOKEN_PREFIX) :]
            token = _decoded(encoded + "=" * (-len(encoded) % 4), b"-_")
        if token is None and self._parameter is not None:
            token = parse_qs(request.query).get(self._parameter, [None])[0]
        if token is None and self._cookie is not None:
            token = request.cookies.get(self._cookie)
        if token == "":
            raise Malformed
        return None if token is None else (token,)
