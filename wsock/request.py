"""The opening request and its answer, as an application sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, overload
from urllib.parse import unquote

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IAddress, ISSLTransport

from .login import NOBODY, Login
from .sansio.errors import wrong_type
from .sansio.http import RequestHead, ResponseHead, split_target

_SLASH: Final = ord("/")
_NO_CRYPTOGRAPHY: Final = (
    "a certificate is an object of the package cryptography: pip install 'wsock[tls]', or take its bytes from "
    "getPeerCertificateDER()"
)


def getPeerCertificate(transport: Any) -> Any:
    """Returns the X.509 certificate that the peer of a TLS transport sent; None without one, or without TLS.

    Raises:
        ImportError: there is one, and the package cryptography is not installed.
    """
    try:
        certificate = transport.getPeerCertificate()
    except AttributeError:
        # No TLS; or Twisted's of a connection that is lost, which has forgotten all.
        return None
    # Twisted's TLS has it from pyOpenSSL.
    return certificate.to_cryptography() if hasattr(certificate, "to_cryptography") else certificate


def getPeerCertificateDER(transport: Any) -> bytes | None:
    """Returns the certificate that the peer of a TLS transport sent, in DER; None without one, or without TLS."""
    if hasattr(transport, "getPeerCertificateDER"):
        # It is right whatever stands between: it is the certificate of the connection's peer.
        encoded: bytes | None = transport.getPeerCertificateDER()
        return encoded
    certificate = getPeerCertificate(transport)
    if certificate is None:
        return None
    from cryptography.hazmat.primitives.serialization import Encoding

    return bytes(certificate.public_bytes(Encoding.DER))


def loadCertificate(encoded: bytes) -> Any:
    """Returns the ``cryptography.x509.Certificate`` of its bytes in DER.

    Raises:
        ImportError: that package is not installed.
    """
    try:
        from cryptography.x509 import load_der_x509_certificate
    except ImportError as error:
        raise ImportError(_NO_CRYPTOGRAPHY, name="cryptography") from error
    return load_der_x509_certificate(encoded)


#: How an offered subprotocol begins that is a token; and the one to be offered beside it, and answered.
TOKEN_PREFIX: Final = "bearer."
TOKEN_SUBPROTOCOL: Final = "bearer"

_NO_STREAM: Final = (
    "a Request is no stream: a server's handler of streams is given as streamApplication(handler), "
    "and a client has connect()"
)


def plainPath(path: str) -> str:
    """Returns a request's path as logs may have it; empty where the target is invalid: it may have a password then."""
    return path.partition("#")[0] if path.startswith("/") else ""


def _checkName(name: object) -> None:
    if not isinstance(name, str):
        # Twisted's own have names in bytes; here that would find nothing.
        raise wrong_type("name", "a str", name)


class Headers:
    """The header fields of a request or an answer; names are compared without regard to case."""

    __slots__ = ("_headers",)

    def __init__(self, head: RequestHead | ResponseHead) -> None:
        self._headers = head.headers

    @overload
    def get(self, name: str) -> str | None: ...

    @overload
    def get(self, name: str, default: str) -> str: ...

    def get(self, name: str, default: str | None = None) -> str | None:
        """Returns a field's value; those of several fields of that name are joined by ", " (RFC 9110 section 5.3)."""
        _checkName(name)
        value = self._headers.get(name)
        return default if value is None else value

    def getAll(self, name: str) -> list[str]:
        """Returns the value of each field of that name, in the order they came."""
        _checkName(name)
        return self._headers.get_all(name)

    def items(self) -> list[tuple[str, str]]:
        """Returns all fields as (name, value), in the order they came."""
        return self._headers.items()

    def __contains__(self, name: object) -> bool:
        return name in self._headers


class WebRequestHolder(Protocol):
    """The holder of a request that ``twisted.web`` has read."""

    @property
    def webRequest(self) -> Any:
        """The request; None once it is held no more."""


class ForwardedFacts(Protocol):
    """The facts about a client that trusted proxies tell."""

    @property
    def address(self) -> str:
        """Its IP address."""

    @property
    def port(self) -> int:
        """Its port; 0 where none is told."""

    @property
    def scheme(self) -> str | None:
        """The scheme of its URL."""

    @property
    def host(self) -> str | None:
        """The host of its URL."""


class Request:
    """A request for a WebSocket.

    Once it is decided on, its head is kept as the bytes that came, which cost a quarter of the parsed fields; a field
    is read from them at each access.
    """

    __slots__ = ("_forwarded", "_hidesTokens", "_kept", "_login", "_parameters", "_transport", "_web")

    def __init__(self, head: RequestHead, transport: Any, web: WebRequestHolder | None = None) -> None:
        """Makes a request of the head that a client sent.

        Args:
            head: the request.
            transport: Twisted's. Not the wire protocol, which holds us: the two would outlive their connection.
            web: holds the request of ``twisted.web`` that this one was.
        """
        self._kept: RequestHead | bytes = head
        self._transport = transport
        self._web = web
        self._parameters: dict[str, str] | None = None
        self._forwarded: ForwardedFacts | None = None
        #: The login of the client; or ``NOBODY`` where it is too late for one.
        self._login: Login | None = None
        #: Whether some of the offers are credentials, and no subprotocols.
        self._hidesTokens = False

    @property
    def _head(self) -> RequestHead:
        kept = self._kept
        return RequestHead(kept) if isinstance(kept, bytes) else kept

    def _settle(self) -> None:
        head = self._head
        head.forget_fields()
        self._kept = head.raw if head.parsed is None else head

    def _setForwarded(self, forwarded: ForwardedFacts) -> None:
        self._forwarded = forwarded

    def _enter(self, login: Login) -> None:
        earlier = self._login
        if earlier is not None and earlier.isOver:
            login.end()
            raise CancelledError
        login.follow(earlier)
        self._login = login

    def _leave(self) -> None:
        if self._login is None:
            self._login = NOBODY
        else:
            self._login.end()

    def _setParameters(self, parameters: dict[str, str]) -> None:
        self._parameters = parameters

    @property
    def method(self) -> str:
        """Always ``"GET"`` (RFC 6455 section 4.1)."""
        return self._head.method

    @property
    def target(self) -> str:
        """The request target as it came, with the query."""
        return self._head.target

    @property
    def rawPath(self) -> str:
        """The path as it came, percent-encoded."""
        return self._head.path

    @property
    def path(self) -> str:
        """The decoded path. In it ``%2F`` has become ``/``, so compare `rawPath` where that matters."""
        return unquote(self._head.path)

    @property
    def pathParameters(self) -> dict[str, str]:
        """The parts of the path that a pattern of `Routes` names, each percent-decoded once; empty without any."""
        return dict(self._parameters or ())

    @property
    def identity(self) -> Any:
        """The client, any object, as the check of `basicAuth` or `bearerAuth` has named it; None without a check."""
        return None if self._login is None else self._login.identity

    @property
    def query(self) -> str:
        """The query string, all behind the first ``?``, as it came. ``urllib.parse.parse_qs`` takes it apart."""
        return self._head.query

    @property
    def headers(self) -> Headers:
        """The header fields."""
        return Headers(self._head)

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies by name; the first of several with one name counts (RFC 6265 section 5.4 puts it first)."""
        cookies: dict[str, str] = {}
        for field in self._head.headers.get_all("cookie"):
            for pair in field.split(";"):
                name, separator, value = pair.strip().partition("=")
                if separator:
                    cookies.setdefault(name.strip(), value.strip())
        return cookies

    @property
    def origin(self) -> str | None:
        """The Origin field. A browser's names the page's origin; other clients often send none."""
        return self._head.headers.get("origin")

    @property
    def host(self) -> str:
        """The host that the client means, from the target or else the Host field, with the port where one was written.

        RFC 9112 section 3.2.2: where the target is a whole URL, its host replaces the field. Behind a trusted proxy it
        is the host that this tells of.
        """
        forwarded = self._forwarded
        if forwarded is not None and forwarded.host is not None:
            return forwarded.host
        head = self._head
        raw = head.raw
        # Most targets are paths.
        authority = "" if raw[raw.index(b" ") + 1] == _SLASH else split_target(head.target)[0]
        return authority or head.headers.find("host") or ""

    @property
    def subprotocols(self) -> list[str]:
        """The subprotocols that the client offers, in its order of preference."""
        offered = self._head.headers.find("sec-websocket-protocol")
        if not offered:
            return []
        return self._withoutTokens([name for part in offered.split(",") if (name := part.strip())])

    def _hideTokens(self) -> list[str]:
        offered = self._head.headers.find("sec-websocket-protocol") or ""
        self._hidesTokens = True
        return [name for part in offered.split(",") if (name := part.strip()).startswith(TOKEN_PREFIX)]

    def _withoutTokens(self, offered: list[str]) -> list[str]:
        if not self._hidesTokens:
            return offered
        return [name for name in offered if name != TOKEN_SUBPROTOCOL and not name.startswith(TOKEN_PREFIX)]

    @property
    def webRequest(self) -> Any:
        """The ``twisted.web`` request that this one was, for its session, for one; None on a server that has no other.

        `WebSocketResource` holds it until the connection is accepted or refused. Keep it where it is needed later:
        with all that belongs to it, it takes some 4 KiB.
        """
        return None if self._web is None else self._web.webRequest

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Request can't be copied or pickled, since it belongs to its connection: take what you need of it, such "
            "as its path and its headers"
        )

    def getPeer(self) -> IAddress:
        """Returns the client's address."""
        address: IAddress = self._transport.getPeer()
        return address

    def getHost(self) -> IAddress:
        """Returns the address it connected to."""
        address: IAddress = self._transport.getHost()
        return address

    def getClientAddress(self) -> IAddress:
        """Returns the client's address: as trusted proxies tell it, see `ProxyPolicy`; or else as `getPeer`.

        Its port is 0 where a proxy tells of none.
        """
        forwarded = self._forwarded
        if forwarded is None:
            return self.getPeer()
        kind = IPv6Address if ":" in forwarded.address else IPv4Address
        return kind("TCP", forwarded.address, forwarded.port)

    def isSecure(self) -> bool:
        """Whether the client uses TLS: as trusted proxies tell it, or else whether the connection has it."""
        forwarded = self._forwarded
        if forwarded is not None and forwarded.scheme is not None:
            return forwarded.scheme in ("https", "wss")
        return bool(ISSLTransport.providedBy(self._transport))

    def getPeerCertificate(self) -> Any:
        """Returns the client's certificate over TLS, a ``cryptography.x509.Certificate``; None where it sent none.

        Raises:
            ImportError: there is one, and the package cryptography is not installed.
        """
        return getPeerCertificate(self._transport)

    def getPeerCertificateDER(self) -> bytes | None:
        """Returns the client's certificate over TLS, in DER; None where it sent none."""
        return getPeerCertificateDER(self._transport)

    def __repr__(self) -> str:
        return f"<Request {self.rawPath}>"

    if not TYPE_CHECKING:  # a type checker that sees these lets pass what they refuse

        def __getattr__(self, name):
            """Tells the handler of a stream, which was given in place of a ``buildApplication``, where it belongs."""
            if name in ("send", "receive", "close"):
                raise AttributeError(_NO_STREAM)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

        def __aiter__(self):
            raise TypeError(_NO_STREAM)

        async def __aenter__(self):
            raise TypeError(_NO_STREAM)

        async def __aexit__(self, kind, error, trace):
            """Part of what ``async with`` asks for, before it enters."""


def settle(request: Request) -> None:
    """Has a request that is decided on, or waits for that, keep the bytes of its head alone."""
    request._settle()


def setForwarded(request: Request, forwarded: ForwardedFacts) -> None:
    """Gives a request what trusted proxies tell of its client."""
    request._setForwarded(forwarded)


def setParameters(request: Request, parameters: dict[str, str]) -> None:
    """Gives a request the parameters of its path."""
    request._setParameters(parameters)


def enter(request: Request, login: Login) -> None:
    """Gives a request the identity of its client.

    Raises:
        CancelledError: it is refused or lost already; the login is over.
    """
    request._enter(login)


def leave(request: Request) -> None:
    """A request is refused, or its connection lost: the login of its client is over, and so is one that comes later."""
    request._leave()


def hideTokens(request: Request) -> list[str]:
    """Has a request show no offer of a subprotocol that is a token; returns these."""
    return request._hideTokens()


def takeTokens(request: Request, offered: list[str]) -> str | None:
    """Takes the offers that are tokens out of a list; returns the subprotocol for where none of the others is chosen.

    A browser gives up a connection where it offered subprotocols and none was chosen.
    """
    shown = request._withoutTokens(offered)
    spare = TOKEN_SUBPROTOCOL if shown is not offered and TOKEN_SUBPROTOCOL in offered else None
    offered[:] = shown
    return spare


class Response:
    """A server's answer to a request for a WebSocket."""

    __slots__ = ("_head",)

    def __init__(self, head: ResponseHead) -> None:
        self._head = head

    @property
    def status(self) -> int:
        """The HTTP status; 101 where the WebSocket is open."""
        return self._head.status

    @property
    def reason(self) -> str:
        """The reason phrase, often empty."""
        return self._head.reason

    @property
    def headers(self) -> Headers:
        """The header fields."""
        return Headers(self._head)

    @property
    def body(self) -> bytes:
        """The part of a refusal's body that came, at most 64 KiB."""
        return self._head.body

    def __repr__(self) -> str:
        return f"<Response {self.status}>"
