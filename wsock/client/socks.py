"""SOCKS5, a client's side without I/O: asks a proxy for a connection to a server (RFC 1928, RFC 1929).

Rules:

* Bytes in, bytes out; any split of the same bytes gives the same result.
* The proxy resolves names: they are sent as they are, and never looked up here.
* An answer costs at most 262 bytes. Bytes behind the last one belong to the server, and are left in ``unread``.
* An error never repeats the user or the password.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

from ..errors import ProxyError
from ..sansio.errors import LocalProtocolError

_VERSION: Final = 5
#: The version of the exchange of user and password (RFC 1929 section 2).
_AUTH_VERSION: Final = 1
_CONNECT: Final = 1
_NO_AUTH: Final = 0
_USER_PASSWORD: Final = 2
_NO_METHOD: Final = 255
_IPV4: Final = 1
_NAME: Final = 3
_IPV6: Final = 4
#: The bytes of an address of each kind.
_ADDRESS_BYTES: Final = {_IPV4: 4, _IPV6: 16}
#: A length on the wire is one byte.
_MAX_FIELD_BYTES: Final = 255

#: The replies that are no success (RFC 1928 section 6).
_REPLIES: Final = {
    1: "it failed, and does not say why",
    2: "its rules do not allow this connection",
    3: "it can't reach the server's network",
    4: "it can't reach the server, or does not know its name",
    5: "the server refused the connection",
    6: "the server is too far away (TTL expired)",
    7: "it does not connect to servers (command not supported)",
    8: "it does not know this kind of address",
}


class SOCKSHandshake:
    """Asks one SOCKS5 proxy for one connection.

    Attributes:
        isOpen: whether the connection to the server is there.
        unread: the bytes behind the proxy's last answer, once it is open.
    """

    __slots__ = ("_answer", "_auth", "_buffer", "_proxy", "_request", "isOpen", "unread")

    def __init__(self, host: str, port: int, auth: tuple[str, str] | None, proxy: str) -> None:
        """Prepares to ask.

        Args:
            host: the server: an address, IPv6 without brackets, or a name in ASCII.
            port: its port.
            auth: user and password for the proxy, or None.
            proxy: the proxy, as errors name it.

        Raises:
            LocalProtocolError: a name, or a user or a password, that is too long.
        """
        self._request = bytes((_VERSION, _CONNECT, 0)) + _encodeAddress(host) + port.to_bytes(2, "big")
        self._auth = None if auth is None else encodeAuth(auth)
        self._proxy = proxy
        #: The bytes that came of an answer that is not whole.
        self._buffer = b""
        #: Reads the answer that comes next. A function, since a method of ours would be a cycle.
        self._answer: Callable[[SOCKSHandshake], bytes | None] = SOCKSHandshake._readMethod
        self.isOpen = False
        self.unread = b""

    def begin(self) -> bytes:
        """Returns the bytes to send first."""
        methods = (_NO_AUTH,) if self._auth is None else (_NO_AUTH, _USER_PASSWORD)
        return bytes((_VERSION, len(methods), *methods))

    def receive(self, data: bytes) -> bytes:
        """Takes bytes of the proxy in; returns the bytes to send.

        Raises:
            ProxyError: it does not connect us.
        """
        self._buffer += data
        answers = b""
        while not self.isOpen:
            answer = self._answer(self)
            if answer is None:
                return answers
            answers += answer
        self.unread, self._buffer = self._buffer, b""
        return answers

    def makeError(self, told: str | None) -> ProxyError:
        """Makes the exception for a proxy that sends nothing more.

        Args:
            told: the reason, part of a sentence; None where the connection was lost.
        """
        return ProxyError(f"{self._proxy} {told or 'ended the connection before it connected us to the server'}")

    def _take(self, count: int) -> bytes:
        """Takes bytes of the answer out of those that came."""
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    # Each of these returns the bytes to send; None while the answer is not whole.

    def _readMethod(self) -> bytes | None:
        self._checkVersion()
        if len(self._buffer) < 2:
            return None
        method = self._take(2)[1]
        if method == _USER_PASSWORD and self._auth is not None:
            self._answer = SOCKSHandshake._readVerdict
            return self._auth
        if method == _NO_METHOD:
            advice = ": give user and password" if self._auth is None else ", beside none and user and password"
            raise ProxyError(f"{self._proxy} asks for a way to identify ourselves that we do not offer{advice}")
        if method != _NO_AUTH:
            raise ProxyError(f"{self._proxy} chose a way to identify ourselves that was not offered (method {method})")
        self._answer = SOCKSHandshake._readReply
        return self._request

    def _readVerdict(self) -> bytes | None:
        # The version of SOCKS in its place is an old mistake, which other clients let pass, too.
        if self._buffer and self._buffer[0] not in (_AUTH_VERSION, _VERSION):
            raise ProxyError(f"{self._proxy} answered user and password with something else than SOCKS5")
        if len(self._buffer) < 2:
            return None
        if self._take(2)[1] != 0:
            raise ProxyError(f"{self._proxy} does not accept the user and the password")
        self._answer = SOCKSHandshake._readReply
        return self._request

    def _readReply(self) -> bytes | None:
        self._checkVersion()
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        reply = buffer[1]
        if reply != 0:
            # The address behind it means nothing.
            told = _REPLIES.get(reply, "it failed, for a reason of its own")
            raise ProxyError(f"{self._proxy} did not connect us: {told} (reply {reply})", reply=reply)
        if len(buffer) < 5:
            return None
        # The address that the proxy connects from, which nobody needs; the first byte of a name is its length.
        size = buffer[4] + 1 if buffer[3] == _NAME else _ADDRESS_BYTES.get(buffer[3])
        if size is None:
            raise ProxyError(f"{self._proxy} answered with an address of an unknown kind ({buffer[3]})")
        if len(buffer) < size + 6:
            return None
        self._take(size + 6)
        self.isOpen = True
        return b""

    def _checkVersion(self) -> None:
        if self._buffer and self._buffer[0] != _VERSION:
            hint = ": if it is an HTTP proxy, write http:// in its URL" if self._buffer[:1] == b"H" else ""
            raise ProxyError(f"{self._proxy} does not speak SOCKS5{hint}")


def encodeAuth(auth: tuple[str, str]) -> bytes:
    """Returns user and password as they are sent (RFC 1929 section 2).

    Raises:
        LocalProtocolError: one is too long, or there is no user.
    """
    user, password = (one.encode() for one in auth)
    if not 1 <= len(user) <= _MAX_FIELD_BYTES or len(password) > _MAX_FIELD_BYTES:
        raise LocalProtocolError("SOCKS5 takes a user of 1 to 255 bytes, and a password of at most 255")
    return bytes((_AUTH_VERSION, len(user))) + user + bytes((len(password),)) + password


def _encodeAddress(host: str) -> bytes:
    try:
        packed = ip_address(host).packed
    except ValueError:
        name = host.encode("ascii")
        if not 1 <= len(name) <= _MAX_FIELD_BYTES:
            raise LocalProtocolError("SOCKS5 takes the name of a host of 1 to 255 bytes") from None
        return bytes((_NAME, len(name))) + name
    return bytes((_IPV4 if len(packed) == 4 else _IPV6,)) + packed
