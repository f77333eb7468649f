"""The server of the fixture `serve`, and the result of that."""

from collections.abc import Callable
from typing import Any

from integration.peer import Address
from twisted.internet.threads import blockingCallFromThread

from wsock import Settings, WebSocketProtocol, WebSocketServerFactory

#: The two kinds of TLS: Twisted's, and our own.
TLS_KINDS = ["tls", "own tls"]
#: The transports that a server may be on: eager and plain `write`, TLS of both kinds, UNIX sockets.
KINDS = ["tcp", "wrapped", *TLS_KINDS, "unix"]


def settings_among(arguments: dict[str, Any]) -> dict[str, Any]:
    """Takes those of `Settings` out of arguments of both."""
    return {name: arguments.pop(name) for name in list(arguments) if name in Settings.__dataclass_fields__}


class Echo(WebSocketProtocol):
    """Sends back what it gets, and remembers how it ended."""

    def __init__(self) -> None:
        self.reasons: list[BaseException] = []

    def textMessageReceived(self, message: str) -> None:
        self.transport.sendTextMessage(message)

    def bytesMessageReceived(self, data: bytes) -> None:
        self.transport.sendBytesMessage(data)

    def connectionLost(self, reason: Any) -> None:
        self.reasons.append(reason.value)


class Server(Address):
    """A factory of ours that listens."""

    factory: WebSocketServerFactory
    #: The results of `buildApplication` so far.
    applications: list[Any]
    listening: Any
    stopped: bool = False

    def call(self, function: Callable[..., Any], *arguments: object) -> Any:
        """Calls something in the reactor's thread."""
        from twisted.internet import reactor

        return blockingCallFromThread(reactor, function, *arguments)


Serve = Callable[..., Server]
