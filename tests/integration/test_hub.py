"""The hub on the reactor that runs, whichever it is."""

import pytest
from integration.servers import KINDS, Serve
from integration.streams import Client, call
from twisted.internet.interfaces import IReactorFDSet


def hubs() -> list[str]:
    from twisted.internet import reactor

    return [name for name in map(repr, call(IReactorFDSet(reactor).getReaders)) if name.startswith("<wsock's hub")]


@pytest.mark.parametrize("kind", KINDS)
def test_connections_over_a_socket_are_read_by_the_hub(serve: Serve, client: Client, kind: str) -> None:
    server = serve(kind)
    streams = [client.connect(server) for _ in range(3)]
    for stream in streams:
        for message in ("one", "two"):
            stream.send(message)
            assert stream.receive() == message
    # Both ends are here; policies and Twisted's TLS stand in the way, which is what the client has over TLS.
    expected = {"tcp": 6, "unix": 6, "own tls": 3, "wrapped": 3, "tls": 0}[kind]
    assert [name.split(":")[0] for name in hubs()] == [f"<wsock's hub with {expected} connections"] * bool(expected)
    for stream in streams:
        stream.close()
        assert stream.rest() == []
