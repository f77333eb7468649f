"""Somebody else closes the transport of a connection in its opening handshake: a `ClientService`, or a policy.

Nothing is waited for then, however long the opening handshake may take: not for what TLS or a server that hangs never
says. There is no timer but the look of each second.
"""

import select
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from integration.peer import PATIENCE, Caller, Listener, Peer, request, within
from integration.servers import Echo, Serve
from integration.streams import Client, Listen, call, trust
from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, serverFromString, wrapClientTLS
from twisted.internet.ssl import optionsForClientTLS
from twisted.protocols.policies import TimeoutFactory

from wsock import ConnectionRejected, Settings, WebSocketClientFactory, WebSocketDropped

PATIENT = Settings(openTimeout=None, closeTimeout=None, pingInterval=None)


class Talk(Echo):
    """An application that tells whether it has begun."""

    begun = False

    def negotiationStarted(self, transport: Any) -> None:
        super().negotiationStarted(transport)
        self.begun = True


def isEnded(peer: Peer | Caller) -> bool:
    """Whether the other side has ended it, in whatever way, which shows without reading."""
    poll = select.poll()
    poll.register(peer.socket, select.POLLRDHUP)
    return bool(poll.poll(0))


class Service:
    """A `ClientService` that connects to a listener, with the application that it got."""

    def __init__(self, listener: Listener, decides: bool = True) -> None:
        from twisted.internet import reactor

        self.talk = Talk()
        self.asked = False
        self.decides = decides
        self.cancelled: list[object] = []
        endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", listener.port)
        if listener.certificate is not None:
            endpoint = wrapClientTLS(optionsForClientTLS("localhost", trust(listener.certificate)), endpoint)
        factory = WebSocketClientFactory(listener.url(), self._build, settings=PATIENT)
        self.service = ClientService(endpoint, factory)
        call(self.service.startService)

    def _build(self, request: Any) -> Any:
        self.asked = True
        return self.talk if self.decides else Deferred(self.cancelled.append)

    def stop(self) -> None:
        """Fails if it does not end."""
        call(self.service.stopService)


def nothingOfTLS(listener: Listener) -> Caller:
    return listener.accept(tls=False)


def noAnswer(listener: Listener) -> Caller:
    caller = listener.accept()
    caller.asked()
    return caller


def halfAnAnswer(listener: Listener) -> Caller:
    caller = noAnswer(listener)
    caller.send(b"HTTP/1.1 101 Switching")
    return caller


def halfARefusal(listener: Listener) -> Caller:
    caller = noAnswer(listener)
    caller.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nn")
    return caller


def refusal(listener: Listener) -> Caller:
    """A whole one; but the server does not drop the connection."""
    caller = noAnswer(listener)
    caller.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
    return caller


STUCK = [
    (kind, how)
    for kind in ("tcp", "tls")
    for how in (nothingOfTLS, noAnswer, halfAnAnswer, halfARefusal, refusal)
    if kind == "tls" or how is not nothingOfTLS
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "how"), STUCK)
def test_ClientService_stops(listen: Listen, client: Client, kind: str, how: Callable[[Listener], Caller]) -> None:
    listener = listen(kind)
    service = Service(listener)
    caller = how(listener)
    within(PATIENCE, lambda: service.talk.begun, "its opening handshake has begun")
    if how in (halfARefusal, refusal):
        wire = service.talk.transport
        within(PATIENCE, lambda: wire.response is not None, "it has read the head")
    service.stop()
    within(PATIENCE, lambda: isEnded(caller), "the server sees its end")
    (reason,) = service.talk.reasons
    assert type(reason) is (ConnectionRejected if how in (halfARefusal, refusal) else WebSocketDropped)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_ClientService_stops_while_nobody_decides(listen: Listen, client: Client, kind: str) -> None:
    listener = listen(kind)
    service = Service(listener, decides=False)
    # With TLS the opening handshake of that is done.
    listener.accept()
    within(PATIENCE, lambda: service.asked, "the application is asked for")
    service.stop()
    within(PATIENCE, lambda: service.cancelled, "nobody waits for the application")


class Impatient:
    """A server's endpoint with TLS, whose connections a `TimeoutFactory` closes."""

    def __init__(self, certificate: tuple[Path, Path]) -> None:
        from twisted.internet import reactor

        key, pem = certificate
        self._endpoint = serverFromString(reactor, f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={pem}")

    def listen(self, factory: Any) -> Any:
        policy = TimeoutFactory(factory, timeoutPeriod=0.1)
        policy.noisy = False
        return self._endpoint.listen(policy)


@pytest.mark.slow
@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n", request(), None])
def test_a_policy_ends_a_servers_opening_handshake(
    serve: Serve, certificate: tuple[Path, Path], sent: bytes | None
) -> None:
    """The peer does not answer TLS's farewell; or it says nothing of TLS at all."""
    server = serve(Impatient(certificate), lambda _: Deferred(), openTimeout=None, closeTimeout=None)
    server.certificate = certificate[1]
    peer = server.connect(tls=sent is not None)
    if sent:
        peer.send(sent)
    within(PATIENCE, lambda: isEnded(peer), "the server has dropped it")
    within(PATIENCE, lambda: not server.factory._connections, "nothing is left of it")
