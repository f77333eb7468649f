"""The opening handshake of both sides (RFC 6455 section 4), as pure functions over HTTP messages.

Rules:

* A client: `open`, send, decode the answer, `handle_response`. A server: decode, `handle_open`, then `response` or
  `refuse`. Nothing is remembered between two calls but their values.
* Of several reasons to refuse a request the answer gives the first of: version of HTTP (505), not a WebSocket (426),
  method (405), malformed (400), version of WebSocket (426), Origin (403).
* A refusal closes the connection and repeats nothing of the request.
"""

import hashlib
import os
import re
from binascii import b2a_base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from .constants import VERSION
from .errors import ConnectionRejected, InvalidRequest, InvalidResponse, LocalProtocolError, wrong_type
from .extensions import Extension, check_answer
from .extensions import decode as decode_extensions
from .extensions import encode as encode_extensions
from .head import as_bytes
from .http import (
    REASONS,
    HeaderFields,
    RequestHead,
    ResponseHead,
    check_fields,
    check_status,
    encode_fields,
    is_token,
    split_target,
)
from .url import URL
from .url import parse as parse_url

#: RFC 6455 section 1.3.
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#: 16 bytes are 22 characters of base64 and two of padding.
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
_HOST_PATTERN: Final = r"(\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+)"
_HOST = re.compile(_HOST_PATTERN + r"(?::([0-9]{0,5}))?")
_ORIGIN = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://" + _HOST_PATTERN + r"(?::([0-9]{1,5}))?")
#: The origins without a host that a list may name: browsers send "null" for sandboxed frames and all that has an opaque
#: origin (RFC 6454 section 6.2), and either of the two for pages opened from disk.
_WITHOUT_HOST: Final = frozenset(("null", "file://"))
_DEFAULT_PORTS: Final = {"http": "80", "https": "443", "ws": "80", "wss": "443"}
#: The fields of a 426 (RFC 9110 section 15.5.22 and RFC 6455 section 4.4).
_UPGRADE_REQUIRED: Final = (("Upgrade", "websocket"), ("Sec-WebSocket-Version", VERSION))
#: Fields that the handshake writes itself, beside all Sec-WebSocket-* fields; a body has no place in it.
_OWN_IN_REQUEST: Final = frozenset(("host", "upgrade", "connection", "content-length", "transfer-encoding"))
_OWN_IN_RESPONSE: Final = frozenset(("upgrade", "connection", "content-length", "transfer-encoding"))
#: The beginning of each 101, as far as the value of its Sec-WebSocket-Accept.
_ACCEPTED: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
)


@dataclass(slots=True)
class Opening:
    """A client's request for a WebSocket, checked: the result of `handle_open`.

    Attributes:
        request: the request it was read from.
        key: its Sec-WebSocket-Key.
        subprotocols: those offered, in the client's order of preference.
        extensions: those offered, in the client's order of preference.
        origin: the page's origin as received; None without an Origin field, as from all but browsers.
        host: the authority the client means, host[:port] as received.
    """

    request: RequestHead
    key: str
    subprotocols: list[str]
    extensions: list[Extension]
    origin: str | None
    host: str

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.request, self.key, self.subprotocols, self.extensions, self.origin, self.host)


@dataclass(slots=True)
class Agreement:
    """The agreement of the two sides: the result of `handle_response`.

    Attributes:
        subprotocol: the one chosen; None where none was.
        extensions: those in use, in order.
    """

    subprotocol: str | None
    extensions: list[Extension]

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.subprotocol, self.extensions)


def generate_key() -> str:
    """Make a Sec-WebSocket-Key: 16 bytes of the system's random source, as base64 (RFC 6455 section 4.1)."""
    return b2a_base64(os.urandom(16), newline=False).decode("ascii")


def accept_key(key: str) -> str:
    """Return the Sec-WebSocket-Accept that answers ``key`` (RFC 6455 section 4.2.2)."""
    return _accept_key(key).decode("ascii")


def _accept_key(key: str) -> bytes:
    # SHA-1 proves only that the server read the key; `usedforsecurity` lets hosts under FIPS rules have it.
    digest = hashlib.sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest()
    return b2a_base64(digest, newline=False)


def open(
    url: object,
    *,
    headers: Iterable[tuple[str, str]] = (),
    subprotocols: Sequence[str] = (),
    extensions: Sequence[Extension] = (),
) -> RequestHead:
    """Make a client's request (RFC 6455 section 4.1).

    Args:
        url: where to.
        headers: further fields, such as Origin, Cookie and Authorization.
        subprotocols: offered, in order of preference.
        extensions: offered, in order of preference.

    Raises:
        InvalidURL: the URL is invalid.
        LocalProtocolError: a header repeats the handshake's own or can't be sent, a subprotocol isn't a token or
            comes twice.
    """
    target = url if isinstance(url, URL) else parse_url(url)
    own = [
        ("Host", target.host_header),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", generate_key()),
        ("Sec-WebSocket-Version", VERSION),
    ]
    if subprotocols != ():
        offered = check_subprotocols(subprotocols)
        if len(set(offered)) < len(offered):
            raise LocalProtocolError("each of subprotocols is offered once (RFC 6455 section 4.1)")
        if offered:
            own.append(("Sec-WebSocket-Protocol", ", ".join(offered)))
    if extensions:
        own.append(("Sec-WebSocket-Extensions", encode_extensions(extensions)))
    return RequestHead.build("GET", target.resource, own + _further_fields(headers, _OWN_IN_REQUEST))


def handle_response(response: ResponseHead, request: RequestHead) -> Agreement:
    """Check the answer to `open` (RFC 6455 section 4.1).

    Args:
        response: the final response.
        request: the result of `open`.

    Raises:
        ConnectionRejected: the status isn't 101; it carries the response.
        InvalidResponse: a 101 that breaks the handshake; the message names the field.
    """
    if response.status != 101:
        raise ConnectionRejected(f"the server answered {response.status} in place of 101", response)
    if not response.raw.startswith(b"HTTP/1.1"):
        raise InvalidResponse("a 101 of HTTP/1.0, which knows no Upgrade")
    headers, asked = response.headers, request.headers
    if (headers.get("Upgrade") or "").lower() != "websocket":
        raise InvalidResponse("the 101 lacks 'Upgrade: websocket'")
    if not _has_token(headers, "connection", "upgrade"):
        raise InvalidResponse("the 101 lacks 'Connection: Upgrade'")
    if headers.get_all("Sec-WebSocket-Accept") != [accept_key(asked.get("Sec-WebSocket-Key") or "")]:
        raise InvalidResponse("the Sec-WebSocket-Accept of the 101 is missing, repeated or wrong")
    return Agreement(_agreed_subprotocol(headers, asked), _agreed_extensions(headers, asked))


def _agreed_subprotocol(headers: HeaderFields, asked: HeaderFields) -> str | None:
    # RFC 6455 §11.3.4: the field MUST NOT appear more than once in a response; it names one of those offered.
    chosen = headers.get_all("Sec-WebSocket-Protocol")
    if not chosen:
        return None
    if len(chosen) > 1 or chosen[0] not in _list_of(asked.get("Sec-WebSocket-Protocol")):
        raise InvalidResponse("the Sec-WebSocket-Protocol of the 101 is repeated or was not offered")
    return chosen[0]


def _agreed_extensions(headers: HeaderFields, asked: HeaderFields) -> list[Extension]:
    # RFC 6455 §11.3.2: the field MUST NOT appear more than once in a response. §4.1: fail on one not offered.
    agreed = headers.get_all("Sec-WebSocket-Extensions")
    if len(agreed) > 1:
        raise InvalidResponse("several Sec-WebSocket-Extensions in the 101")
    try:
        extensions = decode_extensions(agreed[0]) if agreed else []
    except ValueError as error:
        raise InvalidResponse(str(error)) from None
    offers = decode_extensions(asked.get("Sec-WebSocket-Extensions") or "")
    offered = {extension.name for extension in offers}
    for extension in extensions:
        if extension.name not in offered:
            raise InvalidResponse("the Sec-WebSocket-Extensions of the 101 repeat one or have one that was not offered")
        offered.remove(extension.name)
        try:
            check_answer(extension, offers)
        except ValueError as error:
            raise InvalidResponse(f"the 101 has {error}") from None
    return extensions


def wants_websocket(request: RequestHead) -> bool:
    """Whether the request's Upgrade field has the token ``websocket``, whatever else is wrong with it."""
    return _has_token(request.headers, "upgrade", "websocket")


def handle_open(request: RequestHead, *, allowed_origins: Sequence[str] | None = None) -> Opening:
    """Check a client's request (RFC 6455 section 4.2.1).

    Args:
        request: as decoded.
        allowed_origins: the origins whose pages may connect; None: that of the host itself; ``("*",)``: any. Checked
            by `check_origins` beforehand.

    Raises:
        InvalidRequest: it has to be refused; `refusal` makes the answer.
    """
    method, target, rest = request.raw.split(b" ", 2)
    if not rest.startswith(b"HTTP/1.1\r\n"):
        # RFC 6455 §4.2.1: an HTTP/1.1 or higher GET; what is higher doesn't look like this. HTTP/1.0 has no Upgrade.
        raise InvalidRequest("an HTTP version other than 1.1", 505)
    headers = request.headers
    if not _has_token(headers, "upgrade", "websocket"):
        raise InvalidRequest("no 'Upgrade: websocket'", 426, _UPGRADE_REQUIRED)
    if method != b"GET":
        raise InvalidRequest("a method other than GET", 405, (("Allow", "GET"),))
    host = _decode_host(target.decode("ascii"), headers)
    # A list, in which browsers also have keep-alive (RFC 6455 §4.2.1, item 4).
    if not _has_token(headers, "connection", "upgrade"):
        raise InvalidRequest("no 'Connection: Upgrade'")
    key = _only(headers, "sec-websocket-key", "Sec-WebSocket-Key")
    if not _KEY.fullmatch(key):
        raise InvalidRequest("a Sec-WebSocket-Key that isn't 16 bytes of base64")
    version = _only(headers, "sec-websocket-version", "Sec-WebSocket-Version")
    _check_no_body(headers)
    if headers.has_several("origin"):
        raise InvalidRequest("more than one Origin")
    origin = headers.find("origin")
    subprotocols = _list_of(headers.find("sec-websocket-protocol"))
    if subprotocols and not _are_distinct_tokens(subprotocols):
        raise InvalidRequest("a Sec-WebSocket-Protocol that isn't a list of distinct tokens")
    offers = headers.find("sec-websocket-extensions")
    try:
        extensions = decode_extensions(offers) if offers else []
    except ValueError as error:
        raise InvalidRequest(str(error)) from None
    if version != VERSION:
        raise InvalidRequest(f"a Sec-WebSocket-Version other than {VERSION}", 426, _UPGRADE_REQUIRED)
    check_origin(origin, host, allowed_origins)
    return Opening(request, key, subprotocols, extensions, origin, host)


def _decode_host(target: str, headers: HeaderFields) -> str:
    is_path = target.startswith("/")
    authority, path, _ = ("", target, "") if is_path else split_target(target)
    if not path.startswith("/") or "#" in target:
        # RFC 6455 §4.2.1: a resource name, or an absolute URI that has one; neither has a fragment.
        raise InvalidRequest("a request target that names no resource")
    host = _only(headers, "host", "Host")
    # RFC 9112 §3.2: an invalid Host is a 400. RFC 6455 §4.2.1 wants an authority in it, so it isn't empty.
    if not _HOST.fullmatch(host):
        raise InvalidRequest("an invalid Host")
    if not is_path:
        # RFC 9112 §3.2.2: the authority of an absolute-form target replaces Host.
        host = authority
        if not _HOST.fullmatch(host):
            raise InvalidRequest("an invalid authority in the request target")
    return host


def _check_no_body(headers: HeaderFields) -> None:
    # Whether the bytes after the head are a body or frames must not be a matter of opinion (request smuggling).
    if headers.find("transfer-encoding") is not None:
        raise InvalidRequest("a Transfer-Encoding")
    length = headers.find("content-length")
    # Two of them, which are joined by a comma, are not all zeros.
    if length is not None and (not length or length.strip("0")):
        raise InvalidRequest("a Content-Length that isn't one 0")


def check_origin(origin: str | None, host: str, allowed_origins: Sequence[str] | None) -> None:
    """Check the origin of a request, as `handle_open` does, for a server that knows only then who is allowed.

    Args:
        origin: as in `Opening`.
        host: as in `Opening`.
        allowed_origins: as in `handle_open`, which is given ``("*",)`` before.

    Raises:
        InvalidRequest: with 403.
    """
    if origin is not None and not _is_allowed(origin, host, allowed_origins):
        raise InvalidRequest("this page's Origin is not allowed here", 403)


def _is_allowed(origin: str, host: str, allowed_origins: Sequence[str] | None) -> bool:
    if allowed_origins is None:
        # The most frequent case: as a browser writes it. An origin's port is never empty, as that of a Host may be.
        if origin in ("http://" + host, "https://" + host) and not host.endswith(":"):
            return True
    elif "*" in allowed_origins:
        return True
    normal = _normalize_origin(origin)
    if normal is None:
        # "null" is every sandboxed frame and local file (RFC 6454 §7.1), so it is no one's, unless it is named.
        return origin in _WITHOUT_HOST and allowed_origins is not None and origin in allowed_origins
    if allowed_origins is not None:
        # Whole values, never a prefix: https://a.example.evil is not https://a.example.
        return any(normal == _normalize_origin(allowed) for allowed in allowed_origins)
    # The scheme isn't compared with ours, since TLS may end in a proxy before us; its default port drops on both sides.
    match = _HOST.fullmatch(host)
    return match is not None and normal == (normal[0], match[1].lower(), _normalize_port(match[2], normal[0]))


def _normalize_origin(text: str) -> tuple[str, str, str] | None:
    """Return scheme, host and port ("" for the scheme's default); None where ``text`` is no origin."""
    match = _ORIGIN.fullmatch(text)
    if match is None:
        return None
    scheme = match[1].lower()
    return scheme, match[2].lower(), _normalize_port(match[3], scheme)


def _normalize_port(text: str | None, scheme: str) -> str:
    port = str(int(text)) if text else ""
    return "" if port == _DEFAULT_PORTS.get(scheme) else port


def check_subprotocols(subprotocols: object) -> list[str]:
    """Return the subprotocols that a client offers or a server knows.

    Raises:
        LocalProtocolError: they are not a sequence, or one isn't a token.
    """
    if isinstance(subprotocols, (str, bytes)) or not isinstance(subprotocols, Iterable):
        advice = f"write [{subprotocols!r}]" if isinstance(subprotocols, str) else ""
        raise wrong_type("subprotocols", "a sequence of str", subprotocols, advice)
    names: list[str] = []
    for name in subprotocols:
        if not isinstance(name, str):
            raise wrong_type("each of subprotocols", "a str", name)
        if not is_token(name):
            raise LocalProtocolError(f"not a subprotocol, which is a token (RFC 6455 section 4.1): {name!r}")
        names.append(name)
    return names


def check_origins(allowed_origins: object) -> None:
    """Check the origins that `handle_open` is going to be given, before there is a request.

    Args:
        allowed_origins: None, ``("*",)``, or origins as browsers send them: scheme://host[:port], international
            names as A-labels; and ``"null"`` and ``"file://"``.

    Raises:
        LocalProtocolError: a value that no Origin field could equal.
    """
    if allowed_origins is None:
        return
    if isinstance(allowed_origins, (str, bytes)) or not isinstance(allowed_origins, Iterable):
        advice = f"write [{allowed_origins!r}]" if isinstance(allowed_origins, str) else ""
        raise wrong_type("allowed origins", "a sequence of origins, or None", allowed_origins, advice)
    origins = list(allowed_origins)
    for origin in origins:
        if not isinstance(origin, str):
            raise wrong_type("an origin", 'a str such as "https://example.com"', origin)
        if origin == "*":
            if len(origins) > 1:
                raise LocalProtocolError("'*' allows any origin: it stands alone")
        elif origin not in _WITHOUT_HOST and ("*" in origin or _normalize_origin(origin) is None):
            raise LocalProtocolError(f"not an origin, write scheme://host[:port] without a path: {origin!r}")


class ReadyFields:
    """Further fields of a 101 that are the same for many clients: checked once, and ready to be sent.

    Attributes:
        fields: their names and values.
        raw: their lines.
    """

    __slots__ = ("fields", "raw")

    def __init__(self, headers: object) -> None:
        """Takes what `response` takes as ``headers``.

        Raises:
            LocalProtocolError: a header repeats the handshake's own or can't be sent.
        """
        self.fields: Final = tuple(check_response_fields(headers))
        self.raw: Final = encode_fields(self.fields)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.fields,)


def response(
    opening: Opening,
    *,
    subprotocol: object = None,
    extensions: Sequence[Extension] = (),
    headers: Iterable[tuple[str, str]] | ReadyFields = (),
) -> ResponseHead:
    """Make the 101 that accepts a client (RFC 6455 section 4.2.2).

    Args:
        opening: the result of `handle_open`.
        subprotocol: one of those offered, or None.
        extensions: those that `extensions.answer <wsock.sansio.extensions.answer>` agreed to.
        headers: further fields; names may be repeated. `ReadyFields` are not checked again.

    Raises:
        LocalProtocolError: a subprotocol or an extension that was not offered, a header that repeats the handshake's
            own or can't be sent.
    """
    parts = [_ACCEPTED, _accept_key(opening.key), b"\r\n"]
    if subprotocol is not None:
        if not isinstance(subprotocol, str) or subprotocol not in opening.subprotocols:
            # A token that a client offers as one is a secret, and this may be logged.
            known = ", ".join([name for name in opening.subprotocols if not name.startswith("bearer.")]) or "none"
            raise LocalProtocolError(f"the client did not offer this subprotocol: {subprotocol!r}; it offered {known}")
        parts.append(encode_fields(check_fields([("Sec-WebSocket-Protocol", subprotocol)])))
    if extensions:
        offered = [offer.name for offer in opening.extensions]
        if any(extension.name not in offered for extension in extensions):
            raise LocalProtocolError("the client did not offer this extension")
        parts.append(encode_fields([("Sec-WebSocket-Extensions", encode_extensions(extensions))]))
    ready = headers if isinstance(headers, ReadyFields) else ReadyFields(headers)
    parts += [ready.raw, b"\r\n"]
    return ResponseHead(b"".join(parts))


def refuse(status: object, headers: Iterable[tuple[str, str]] = (), body: object = b"") -> ResponseHead:
    """Make the answer that refuses a client; the connection closes after it.

    Args:
        status: 200 to 599. A 426 gets the Upgrade field it needs where ``headers`` have none.
        headers: further fields, a Content-Type among them where the body isn't UTF-8 text.
        body: the content; b"" means the reason phrase.

    Raises:
        LocalProtocolError: a status that refuses nothing, a header or a body that can't be sent with it.
    """
    number = check_status(status, 200)
    content = as_bytes("body", body)
    fields = check_fields(headers)
    names = {name.lower() for name, _ in fields}
    if "connection" in names:
        raise LocalProtocolError("Connection can't be given: a refusal closes")
    own = [("Connection", "close, Upgrade" if number == 426 else "close")]
    if number not in (204, 304):
        if "content-type" not in names:
            own.append(("Content-Type", "text/plain; charset=utf-8"))
        content = content or REASONS.get(number, "").encode()
    if number == 426 and "upgrade" not in names:
        own.extend(_UPGRADE_REQUIRED)
    return ResponseHead.build(number, own + fields, content)


def refusal(error: InvalidRequest) -> ResponseHead:
    """Make the answer to a request that `handle_open` or a decoder refused; its body names the rule."""
    return refuse(error.status, error.headers, f"{REASONS.get(error.status, 'Refused')}: {error}".encode())


def check_response_fields(headers: object) -> list[tuple[str, str]]:
    """Return further fields of a 101, as `response` takes them.

    Raises:
        LocalProtocolError: one repeats the handshake's own or can't be sent.
    """
    return _further_fields(headers, _OWN_IN_RESPONSE)


def _further_fields(headers: object, own: frozenset[str]) -> list[tuple[str, str]]:
    """Check the application's fields against those that the handshake writes."""
    fields = check_fields(headers)
    for name, _ in fields:
        lower = name.lower()
        if lower in own or lower.startswith("sec-websocket-"):
            raise LocalProtocolError(f"{name} is the handshake's own header")
    return fields


def _list_of(value: str | None) -> list[str]:
    """Split a comma-separated list; empty elements count for nothing (RFC 9110 section 5.6.1.2)."""
    if value is None:
        return []
    return [element for part in value.split(",") if (element := part.strip(" \t"))]


def _has_token(headers: HeaderFields, name: str, token: str) -> bool:
    value = headers.find(name)
    if value is None:
        return False
    value = value.lower()
    return value == token or token in _list_of(value)


def _only(headers: HeaderFields, name: str, told: str) -> str:
    """Return the value of a field that has to be there once; ``told`` is its name as an answer has it."""
    value = headers.find(name)
    if value is None or headers.has_several(name):
        raise InvalidRequest(f"{'no' if value is None else 'more than one'} {told}")
    return value


def _are_distinct_tokens(texts: Sequence[object]) -> bool:
    return all(isinstance(text, str) and is_token(text) for text in texts) and len(set(texts)) == len(texts)
