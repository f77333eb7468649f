"""`Proxy`: a proxy by its URL, and the choice of one for a server.

Rules:

* User and password stand in no message, log line or ``repr``.
* A URL that could be read in two ways is refused with advice.
* Nothing is read from the environment unless the caller asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from ..sansio.errors import InvalidURL, LocalProtocolError, wrong_type
from ..sansio.url import URL, parse
from .environment import findProxy
from .socks import encodeAuth

if TYPE_CHECKING:
    from ssl import SSLContext

#: The argument that has the environment's proxy used.
ENVIRONMENT: Final = "environment"

#: The schemes, with the port where none is given. ``socks5h`` is the name of others for a proxy that resolves names,
#: which ours do in any case.
_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_ADVICE: Final = "write 'http://host:port', 'https://host:port' or 'socks5://host:port'"


class Proxy:
    """A proxy that a client connects through; its URL will do where it needs neither ``auth`` nor ``tls``.

    Attributes:
        scheme: ``"http"``, ``"https"`` or ``"socks5"``.
        host: a name in lower case and A-labels, or an address, IPv6 without brackets.
        port: the TCP port.
        auth: user and password, or None.
        tls: the context for an https proxy, or None.
    """

    __slots__ = ("auth", "host", "port", "scheme", "tls")

    def __init__(self, url: str, *, auth: tuple[str, str] | None = None, tls: SSLContext | None = None) -> None:
        """Makes a proxy.

        Args:
            url: ``http://host:port``, which is asked with CONNECT; ``https://host:port``, the same over TLS; or
                ``socks5://host:port``, for which ``socks5h`` is another name. It may have a user and a password,
                percent-encoded: ``http://user:password@host:port``. Without a port it is 80, 443 or 1080.
            auth: user and password, as they are, in place of those in the URL.
            tls: the context for TLS to an https proxy, such as ``ssl.create_default_context(cafile="proxy.pem")``, in
                place of one with the platform's roots. It has to verify the proxy and its name, and is changed as that
                of an `Agent`.

        Raises:
            LocalProtocolError: one of them can't be; the message does not repeat it.
        """
        self.scheme, self.host, self.port, given = _parse(url)
        if auth is not None and given is not None:
            raise LocalProtocolError("proxy: give user and password in its URL or as auth, not both")
        self.auth: Final = _checkAuth(self.scheme, given if auth is None else auth)
        if tls is not None and self.scheme != "https":
            raise LocalProtocolError("proxy: tls is for an https:// proxy")
        self.tls: Final = tls

    def __repr__(self) -> str:
        return f"<Proxy {self}>"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def _parse(url: object) -> tuple[str, str, int, tuple[str, str] | None]:
    """Splits a proxy's URL into scheme, host, port, and user and password."""
    if not isinstance(url, str):
        raise wrong_type("proxy", "a URL, a Proxy, or None", url, _ADVICE)
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _PORTS:
        advice = f"{_ADVICE}, or {ENVIRONMENT!r} for the proxy of the environment"
        raise LocalProtocolError(f"proxy: not the URL of a proxy: {advice}")
    rest = rest.removesuffix("/")
    userinfo, at, authority = rest.rpartition("@")
    if any(character in authority for character in "/?#"):
        raise LocalProtocolError(
            "proxy: its URL ends behind the port; in a user or a password percent-encode '/', '?', '#' and '@'"
        )
    try:
        # The rules for hosts and ports are those of a server's.
        parsed = parse(f"ws://{authority}")
    except InvalidURL as error:
        raise LocalProtocolError(f"proxy: {error}") from None
    hasPort = bool(authority.rpartition("]")[2].partition(":")[2])
    port = parsed.port if hasPort else _PORTS[scheme]
    return scheme.removesuffix("h"), parsed.host, port, _decodeUserInfo(userinfo) if at else None


def _decodeUserInfo(text: str) -> tuple[str, str]:
    user, _, password = text.partition(":")
    try:
        return unquote(user, errors="strict"), unquote(password, errors="strict")
    except UnicodeError:
        raise LocalProtocolError("proxy: user and password in its URL are percent-encoded UTF-8") from None


def _checkAuth(scheme: str, auth: object) -> tuple[str, str] | None:
    """Refuses a user and a password that can't be sent to a proxy."""
    if auth is None:
        return None
    if not isinstance(auth, (tuple, list)) or len(auth) != 2 or not all(isinstance(one, str) for one in auth):
        raise LocalProtocolError("proxy: auth is a pair of str: (user, password)")
    user, password = auth
    try:
        if scheme == "socks5":
            encodeAuth((user, password))
        f"{user}{password}".encode()
    except UnicodeError:
        raise LocalProtocolError("proxy: a user or a password that has no UTF-8") from None
    if scheme != "socks5" and ":" in user:
        # RFC 7617 section 2: it would end there.
        raise LocalProtocolError("proxy: a user for Basic can't have a ':'")
    return user, password


def asProxy(proxy: Proxy | str) -> Proxy | str:
    """Returns the argument ``proxy`` of a client: a `Proxy`, or `ENVIRONMENT`.

    Raises:
        LocalProtocolError: it is no proxy.
    """
    return proxy if isinstance(proxy, Proxy) or proxy == ENVIRONMENT else Proxy(proxy)


def proxyFor(proxy: Proxy | str, url: URL) -> Proxy | None:
    """Returns the proxy to reach a server through; None for none.

    Args:
        proxy: from `asProxy`.
        url: the server's.

    Raises:
        LocalProtocolError: the environment names something that is no proxy.
    """
    if isinstance(proxy, Proxy):
        return proxy
    found = findProxy(url)
    if found is None:
        return None
    variable, value = found
    try:
        # As curl has it: without a scheme it is an HTTP proxy.
        return Proxy(value if "://" in value else f"http://{value}")
    except LocalProtocolError as error:
        raise LocalProtocolError(f"{variable} of the environment: {error}") from None
