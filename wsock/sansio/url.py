"""ws:// and wss:// URLs (RFC 6455 section 3).

Rules:

* A URL that `parse` returns can go on the wire as it stands: ASCII, no control character, no fragment, no credentials.
* A text of which two readers could think two things is refused with advice, never repaired.
* Messages never repeat the URL: queries carry secrets.

It resolves no names and follows no redirects.
"""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from .errors import InvalidURL

#: Characters that may stand nowhere: controls, space, backslash (some readers take it for a slash) and lone surrogates.
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\x9f\\\ud800-\udfff]")
_NON_ASCII = re.compile(r"[^\x00-\x7f]+")
#: Characters that no path or query may have (RFC 3986 sections 3.3, 3.4), and a percent sign that encodes nothing.
_ILLEGAL_IN_RESOURCE = re.compile(r"[^A-Za-z0-9\-._~!$&'()*+,;=:@/?%]|%(?![0-9A-Fa-f]{2})")
#: RFC 1035 section 2.3.4: a label has at most 63 octets; underscores are no host names' but are in use.
_NAME = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT = re.compile(r"[0-9]{1,5}")
#: Characters that IDNA 2003 (all that the standard library knows) maps or drops and IDNA 2008 keeps: the two name
#: different hosts (UTS 46 section 7).
_DEVIATIONS = re.compile("[\u00df\u1e9e\u03c2\u200c\u200d]")
#: RFC 1035 section 2.3.4: 255 octets on the wire are 253 characters, and a dot at the end.
_MAX_NAME_CHARACTERS: Final = 254


class URL:
    """Where a WebSocket server is (RFC 6455 section 3).

    Attributes:
        secure: whether TLS is used (``wss``).
        host: the name (lower case, A-labels) or the address, IPv6 without brackets.
        port: the TCP port.
        resource: the path and, after "?", the query, as in the request line.
    """

    __slots__ = ("host", "port", "resource", "secure")

    def __init__(self, secure: bool, host: str, port: int, resource: str) -> None:
        self.secure: Final = secure
        self.host: Final = host
        self.port: Final = port
        self.resource: Final = resource

    @property
    def scheme(self) -> str:
        """``"wss"`` or ``"ws"``."""
        return "wss" if self.secure else "ws"

    @property
    def host_header(self) -> str:
        """The value of the Host field, with the port only where it isn't the scheme's own (RFC 6455 section 4.1)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host_header}{self.resource}"

    def __repr__(self) -> str:
        return f"<URL {self.scheme}://{self.host_header}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, URL) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.secure, self.host, self.port, self.resource)


def parse(text: object) -> URL:
    """Read a URL.

    Args:
        text: a str; anything else is refused as a bad URL is.

    Returns:
        the URL, normalized.

    Raises:
        InvalidURL: it isn't a URL of RFC 6455 section 3; the message says what to write.
    """
    if not isinstance(text, str):
        raise InvalidURL(f"a URL is a str, not {'None' if text is None else type(text).__name__}")
    if _UNSAFE.search(text):
        raise InvalidURL("a control character, space or backslash in the URL: percent-encode it")
    scheme, separator, rest = text.partition("://")
    if not separator or scheme.lower() not in ("ws", "wss"):
        raise InvalidURL("the URL must begin with ws:// or wss://")
    if "#" in rest:
        # RFC 6455 §3: fragments are meaningless here; a "#" that is meant must be escaped.
        raise InvalidURL("a fragment in the URL: remove it, or write the '#' as %23")
    secure = len(scheme) == 3
    authority = rest.partition("/")[0].partition("?")[0]
    host, port = _decode_authority(authority)
    return URL(secure, host, port or (443 if secure else 80), _decode_resource(rest[len(authority) :]))


def _decode_authority(authority: str) -> tuple[str, int]:
    """Split host and port; the port is 0 where none is given."""
    if "@" in authority:
        raise InvalidURL("a user name or password in the URL: send an Authorization header instead")
    if authority.startswith("["):
        address, bracket, rest = authority[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise InvalidURL("bad IPv6 address in the URL: write [address] or [address]:port")
        return _decode_ipv6(address), _decode_port(rest[1:])
    host, _, port = authority.partition(":")
    if ":" in port:
        raise InvalidURL("several ':' in the URL's host: an IPv6 address stands in brackets")
    return _decode_name(host), _decode_port(port)


def _decode_port(text: str) -> int:
    # RFC 3986 §6.2.3: an empty port means the scheme's default.
    if not text:
        return 0
    # Not int() alone, which takes "+5", "8_0" and digits of other scripts.
    port = int(text) if _PORT.fullmatch(text) else 0
    if not 1 <= port <= 65535:
        raise InvalidURL("bad port in the URL: write a number from 1 to 65535")
    return port


def _decode_ipv6(text: str) -> str:
    # RFC 6874 §4: a zone means something on this machine only and must not reach the Host field.
    if "%" in text:
        raise InvalidURL("an IPv6 zone in the URL: connect through an endpoint for that interface instead")
    try:
        return IPv6Address(text).compressed
    except ValueError:
        raise InvalidURL("bad IPv6 address in the URL") from None


def _decode_name(text: str) -> str:
    if not text:
        raise InvalidURL("no host in the URL")
    name = text
    # The length first: the codec takes quadratic time (CVE-2022-45061).
    if len(name) <= _MAX_NAME_CHARACTERS and not name.isascii():
        if _DEVIATIONS.search(name):
            raise InvalidURL("a host whose form is ambiguous: write its A-labels (xn--...)")
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError:
            raise InvalidURL("bad international host name in the URL") from None
    name = name.lower()
    if len(name) > _MAX_NAME_CHARACTERS or not _NAME.fullmatch(name):
        raise InvalidURL("bad host name in the URL")
    # Resolvers read "127.1" and "0x7f.1" as addresses; a name never ends in a number (RFC 3696 §2).
    if _NUMBER.fullmatch(name.rstrip(".").rpartition(".")[2]):
        try:
            IPv4Address(name)
        except ValueError:
            raise InvalidURL("bad IPv4 address in the URL: write four decimal numbers") from None
    return name


def _decode_resource(text: str) -> str:
    """Make the resource name of RFC 6455 section 3: "/" for an empty path, no "?" before an empty query."""
    path, _, query = _NON_ASCII.sub(_percent_encode, text).partition("?")
    resource = path or "/"
    if query:
        resource += "?" + query
    if _ILLEGAL_IN_RESOURCE.search(resource):
        raise InvalidURL("a character in the URL's path or query that must be percent-encoded")
    return resource


def _percent_encode(match: re.Match[str]) -> str:
    return "".join([f"%{byte:02X}" for byte in match[0].encode()])
