"""CONNECT, a client's side without I/O: asks an HTTP proxy for a connection to a server (RFC 9110 section 9.3.6).

Rules:

* Bytes in, bytes out; any split of the same bytes gives the same result.
* The proxy resolves names.
* A head has the limits of `Settings`. Behind that of a 2xx there is no body, whatever the head says: all bytes there
  are the server's, and are left in ``unread``.
* User and password are sent to the proxy alone, and no error repeats them.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Final

from ..errors import ProxyError
from ..log import excerpt
from ..request import Response
from ..sansio.body import BodyDecoder
from ..sansio.errors import InvalidResponse
from ..sansio.http import RequestHead, ResponseDecoder, ResponseHead
from ..settings import Settings
from ..wire.factory import SOFTWARE

#: Bytes that are kept of the body of a refusal, as of a server's.
_MAX_BODY_BYTES: Final = 65536
#: How a TLS server begins that is spoken to in plain (RFC 8446 section 5.1).
_TLS_ALERT: Final = b"\x15\x03"


class ConnectHandshake:
    """Asks one HTTP proxy for one connection.

    Attributes:
        isOpen: whether the connection to the server is there.
        unread: the bytes behind the proxy's answer, once it is open.
    """

    __slots__ = ("_body", "_decoder", "_head", "_isAuthorized", "_proxy", "_refusal", "isOpen", "unread")

    def __init__(self, host: str, port: int, auth: tuple[str, str] | None, proxy: str, settings: Settings) -> None:
        """Prepares to ask.

        Args:
            host: the server: an address, IPv6 without brackets, or a name in ASCII.
            port: its port.
            auth: user and password for the proxy, or None.
            proxy: the proxy, as errors name it.
            settings: the limits of a head.

        Raises:
            LocalProtocolError: a host that can't be sent.
        """
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        headers = [("Host", authority), ("User-Agent", SOFTWARE)]
        if auth is not None:
            headers.append(("Proxy-Authorization", f"Basic {b64encode(':'.join(auth).encode()).decode()}"))
        self._isAuthorized = auth is not None
        self._head = RequestHead.build("CONNECT", authority, headers)
        self._proxy = proxy
        self._decoder = ResponseDecoder(
            max_header_line=settings.maxHeaderLine,
            max_header_size=settings.maxHeaderSize,
            max_headers=settings.maxHeaders,
        )
        #: The answer that is no 2xx, and its body, while that comes.
        self._refusal: ResponseHead | None = None
        self._body: BodyDecoder | None = None
        self.isOpen = False
        self.unread = b""

    def begin(self) -> bytes:
        """Returns the bytes to send."""
        return self._head.encode()

    def receive(self, data: bytes) -> bytes:
        """Takes bytes of the proxy in; returns the bytes to send, which are none.

        Raises:
            ProxyError: it does not connect us.
        """
        if self._body is not None:
            self._readBody(self._body, data)
            return b""
        try:
            answer = self._decoder.decode(data)
        except InvalidResponse as error:
            told = str(error)
            if data.startswith(_TLS_ALERT):
                told = "it speaks TLS on this port: write https:// in its URL"
            raise ProxyError(f"{self._proxy} gave an invalid answer to CONNECT: {told}") from None
        if answer is None:
            return b""
        if 200 <= answer.status < 300:
            self.isOpen = True
            self.unread = self._decoder.unread
            return b""
        self._refusal = answer
        self._body = BodyDecoder(answer, _MAX_BODY_BYTES)
        if answer.status == 101:
            # There is no body, and the proxy speaks another protocol from here on.
            raise self.makeError(None)
        self._readBody(self._body, self._decoder.unread)
        return b""

    def makeError(self, told: str | None) -> ProxyError:
        """Makes the exception for a proxy that sends nothing more.

        Args:
            told: the reason, part of a sentence; None where the connection was lost. It counts for nothing where the
                proxy has refused.
        """
        answer, body = self._refusal, self._body
        if answer is None or body is None:
            return ProxyError(f"{self._proxy} {told or 'ended the connection before it connected us to the server'}")
        response = Response(ResponseHead(answer.raw, body.body))
        text = f"{self._proxy} answered {answer.status} {excerpt(answer.reason)}".rstrip()
        if answer.status == 407:
            text = f"{text}: {self._adviseOn(answer)}"
        return ProxyError(text, response)

    def _readBody(self, body: BodyDecoder, data: bytes) -> None:
        if body.decode(data):
            raise self.makeError(None)

    def _adviseOn(self, answer: ResponseHead) -> str:
        """Says what to do about a 407, Proxy Authentication Required."""
        challenges = ",".join(answer.headers.get_all("Proxy-Authenticate"))
        # Each challenge begins with its scheme; so does no other part of the field.
        if challenges and not any(part.split()[:1] == ["basic"] for part in challenges.lower().split(",")):
            return "it does not offer Basic, the only way that wsock knows to identify itself to a proxy"
        if self._isAuthorized:
            return "it does not accept the user and the password"
        return "give user and password, as in http://user:password@proxy.example:3128"
