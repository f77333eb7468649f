"""WebSocket (RFC 6455) for Twisted.

The public names are resolved on first use (PEP 562): `import wsock.sansio` loads no Twisted, and `import wsock`
installs no reactor.

Attributes:
    implementation: "compiled" where the protocol core runs as C, else "python".
    maskImplementation: "c" where the XOR mask is that of C, else "python".
    deflateImplementation: the library that compresses: "isal" or "zlib-ng" where it is installed, else "zlib".
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .version import __version__

if TYPE_CHECKING:  # the same names for type checkers; a test compares the two lists
    from .application import Accept as Accept
    from .application import Application as Application
    from .application import BuildApplication as BuildApplication
    from .application import Decision as Decision
    from .application import Refuse as Refuse
    from .auth.checks import Passwords as Passwords
    from .auth.checks import Tokens as Tokens
    from .auth.cred import CredCheck as CredCheck
    from .auth.guards import basicAuth as basicAuth
    from .auth.guards import bearerAuth as bearerAuth
    from .auth.htpasswd import HtpasswdFile as HtpasswdFile
    from .broadcast import BroadcastResult as BroadcastResult
    from .broadcast import Group as Group
    from .callbacks import WebSocketProtocol as WebSocketProtocol
    from .client.agent import Agent as Agent
    from .client.agent import connect as connect
    from .client.agent import connectProtocol as connectProtocol
    from .client.factory import WebSocketClientFactory as WebSocketClientFactory
    from .client.proxy import Proxy as Proxy
    from .compression import Compression as Compression
    from .errors import Close as Close
    from .errors import ProxyError as ProxyError
    from .errors import WebSocketClosed as WebSocketClosed
    from .errors import WebSocketDropped as WebSocketDropped
    from .errors import WebSocketEnded as WebSocketEnded
    from .ratelimit import RateLimit as RateLimit
    from .request import Headers as Headers
    from .request import Request as Request
    from .request import Response as Response
    from .sansio.constants import CloseCode as CloseCode
    from .sansio.errors import ConnectionRejected as ConnectionRejected
    from .sansio.errors import HandshakeError as HandshakeError
    from .sansio.errors import InvalidPayload as InvalidPayload
    from .sansio.errors import InvalidRequest as InvalidRequest
    from .sansio.errors import InvalidResponse as InvalidResponse
    from .sansio.errors import InvalidURL as InvalidURL
    from .sansio.errors import LocalProtocolError as LocalProtocolError
    from .sansio.errors import MessageTooBig as MessageTooBig
    from .sansio.errors import RemoteProtocolError as RemoteProtocolError
    from .sansio.errors import WebSocketError as WebSocketError
    from .server.accessrecord import AccessRecord as AccessRecord
    from .server.addresses import AddressLimits as AddressLimits
    from .server.factory import WebSocketServerFactory as WebSocketServerFactory
    from .server.forwarding import ProxyPolicy as ProxyPolicy
    from .server.resource import WebSocketResource as WebSocketResource
    from .server.resource import upgradeRequest as upgradeRequest
    from .server.routes import Route as Route
    from .server.routes import Routes as Routes
    from .server.serve import Server as Server
    from .server.serve import serve as serve
    from .server.service import WebSocketServerService as WebSocketServerService
    from .settings import Settings as Settings
    from .stream import StreamHandler as StreamHandler
    from .stream import WebSocketStream as WebSocketStream
    from .stream import streamApplication as streamApplication
    from .wire.counters import ConnectionCounters as ConnectionCounters
    from .wire.protocol import WebSocketTransport as WebSocketTransport

    implementation: str
    maskImplementation: str
    deflateImplementation: str

_HOMES = {
    "Accept": "wsock.application",
    "AccessRecord": "wsock.server.accessrecord",
    "AddressLimits": "wsock.server.addresses",
    "Agent": "wsock.client.agent",
    "Application": "wsock.application",
    "BroadcastResult": "wsock.broadcast",
    "BuildApplication": "wsock.application",
    "Close": "wsock.errors",
    "CloseCode": "wsock.sansio.constants",
    "Compression": "wsock.compression",
    "ConnectionCounters": "wsock.wire.counters",
    "ConnectionRejected": "wsock.sansio.errors",
    "CredCheck": "wsock.auth.cred",
    "Decision": "wsock.application",
    "Group": "wsock.broadcast",
    "HandshakeError": "wsock.sansio.errors",
    "Headers": "wsock.request",
    "HtpasswdFile": "wsock.auth.htpasswd",
    "InvalidPayload": "wsock.sansio.errors",
    "InvalidRequest": "wsock.sansio.errors",
    "InvalidResponse": "wsock.sansio.errors",
    "InvalidURL": "wsock.sansio.errors",
    "LocalProtocolError": "wsock.sansio.errors",
    "MessageTooBig": "wsock.sansio.errors",
    "Passwords": "wsock.auth.checks",
    "Proxy": "wsock.client.proxy",
    "ProxyError": "wsock.errors",
    "ProxyPolicy": "wsock.server.forwarding",
    "RateLimit": "wsock.ratelimit",
    "Refuse": "wsock.application",
    "RemoteProtocolError": "wsock.sansio.errors",
    "Request": "wsock.request",
    "Response": "wsock.request",
    "Route": "wsock.server.routes",
    "Routes": "wsock.server.routes",
    "Server": "wsock.server.serve",
    "Settings": "wsock.settings",
    "StreamHandler": "wsock.stream",
    "Tokens": "wsock.auth.checks",
    "WebSocketClientFactory": "wsock.client.factory",
    "WebSocketClosed": "wsock.errors",
    "WebSocketDropped": "wsock.errors",
    "WebSocketEnded": "wsock.errors",
    "WebSocketError": "wsock.sansio.errors",
    "WebSocketProtocol": "wsock.callbacks",
    "WebSocketResource": "wsock.server.resource",
    "WebSocketServerFactory": "wsock.server.factory",
    "WebSocketServerService": "wsock.server.service",
    "WebSocketStream": "wsock.stream",
    "WebSocketTransport": "wsock.wire.protocol",
    "basicAuth": "wsock.auth.guards",
    "bearerAuth": "wsock.auth.guards",
    "connect": "wsock.client.agent",
    "connectProtocol": "wsock.client.agent",
    "serve": "wsock.server.serve",
    "streamApplication": "wsock.stream",
    "upgradeRequest": "wsock.server.resource",
}

__all__ = ["__version__", "deflateImplementation", "implementation", "maskImplementation"]
__all__ += _HOMES.keys()

if not TYPE_CHECKING:  # a type checker that sees this would take any name for granted

    def __getattr__(name):
        if name == "implementation":
            file = import_module("wsock.sansio.frames").__file__
            value = "python" if file.endswith((".py", ".pyc")) else "compiled"
        elif name == "maskImplementation":
            value = import_module("wsock.sansio.masking").implementation
        elif name == "deflateImplementation":
            value = import_module("wsock.sansio.deflate").implementation
        elif name in _HOMES:
            value = getattr(import_module(_HOMES[name]), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
