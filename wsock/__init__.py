"""WebSocket (RFC 6455) for Twisted.

The public names are resolved on first use (PEP 562): `import wsock.sansio` loads no Twisted, and `import wsock`
installs no reactor.

Attributes:
    implementation: "compiled" where the protocol core runs as C, else "python".
    maskImplementation: "c" where the XOR mask is that of C, else "python".
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:  # the same names for type checkers; a test compares the two lists
    from .access import AccessRecord as AccessRecord
    from .broadcast import Group as Group
    from .broadcast import Outcome as Outcome
    from .client import WebSocketClientFactory as WebSocketClientFactory
    from .client import WebSocketClientProtocol as WebSocketClientProtocol
    from .connecting import connect as connect
    from .connecting import connectProtocol as connectProtocol
    from .contract import Accept as Accept
    from .contract import Application as Application
    from .contract import BuildApplication as BuildApplication
    from .contract import Decision as Decision
    from .contract import Refuse as Refuse
    from .contract import Settings as Settings
    from .contract import WebSocketClosed as WebSocketClosed
    from .contract import WebSocketDropped as WebSocketDropped
    from .contract import WebSocketEnded as WebSocketEnded
    from .contract import WebSocketProtocol as WebSocketProtocol
    from .protocol import WireProtocol as WireProtocol
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
    from .sending import Counters as Counters
    from .server import WebSocketServerFactory as WebSocketServerFactory
    from .server import WebSocketServerProtocol as WebSocketServerProtocol
    from .stream import WebSocketStream as WebSocketStream
    from .stream import streamApplication as streamApplication

    implementation: str
    maskImplementation: str

_HOMES = {
    "Accept": "wsock.contract",
    "AccessRecord": "wsock.access",
    "Application": "wsock.contract",
    "BuildApplication": "wsock.contract",
    "CloseCode": "wsock.sansio.constants",
    "ConnectionRejected": "wsock.sansio.errors",
    "Counters": "wsock.sending",
    "Decision": "wsock.contract",
    "Group": "wsock.broadcast",
    "HandshakeError": "wsock.sansio.errors",
    "Headers": "wsock.request",
    "InvalidPayload": "wsock.sansio.errors",
    "InvalidRequest": "wsock.sansio.errors",
    "InvalidResponse": "wsock.sansio.errors",
    "InvalidURL": "wsock.sansio.errors",
    "LocalProtocolError": "wsock.sansio.errors",
    "MessageTooBig": "wsock.sansio.errors",
    "Outcome": "wsock.broadcast",
    "Refuse": "wsock.contract",
    "RemoteProtocolError": "wsock.sansio.errors",
    "Request": "wsock.request",
    "Response": "wsock.request",
    "Settings": "wsock.contract",
    "WebSocketClientFactory": "wsock.client",
    "WebSocketClientProtocol": "wsock.client",
    "WebSocketClosed": "wsock.contract",
    "WebSocketDropped": "wsock.contract",
    "WebSocketEnded": "wsock.contract",
    "WebSocketError": "wsock.sansio.errors",
    "WebSocketProtocol": "wsock.contract",
    "WebSocketServerFactory": "wsock.server",
    "WebSocketServerProtocol": "wsock.server",
    "WebSocketStream": "wsock.stream",
    "WireProtocol": "wsock.protocol",
    "connect": "wsock.connecting",
    "connectProtocol": "wsock.connecting",
    "streamApplication": "wsock.stream",
}

__all__ = ["__version__", "implementation", "maskImplementation"]
__all__ += _HOMES.keys()

if not TYPE_CHECKING:  # a type checker that sees this would take any name for granted

    def __getattr__(name):
        if name == "implementation":
            file = import_module("wsock.sansio.frames").__file__
            value = "python" if file.endswith((".py", ".pyc")) else "compiled"
        elif name == "maskImplementation":
            value = import_module("wsock.sansio.masking").implementation
        elif name in _HOMES:
            value = getattr(import_module(_HOMES[name]), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
