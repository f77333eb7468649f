"""Compression with clients that people use: what is agreed on, and what then travels."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from integration.deflating import (
    ANYTHING,
    BOTH_CONTEXTS,
    BY_DEFAULT,
    MIB,
    QUIET,
    SIZES,
    TABLE,
    Agreed,
    Counting,
    Message,
    Node,
    Pinging,
    agreed,
    check_probes,
    check_sizes,
    ended,
    named,
    probes,
    sizes,
)
from integration.process import PATIENCE, Twistd
from integration.servers import Serve, Server
from integration.test_proxies import LOOPBACK, nginx
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import ClientConnection, connect


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    node = Node()
    yield node
    node.close()


def listening(serve: Serve, ours: Agreed, application: Callable[[], Any] = Counting) -> Server:
    return serve("tcp", lambda request: application(), compression=ours.compression, **QUIET)


def check(server: Server, expected: Agreed, plain: bool = False) -> None:
    """Checks what our side agreed on, and the sizes of the probes in both directions."""
    application = ended(server)
    assert agreed(application.transport.extension) == expected
    check_probes(application.received, expected.clientContextTakeover, expected.clientMaxWindowBits, plain)
    # Behind the last there is our Close.
    check_probes(application.sent, expected.serverContextTakeover, expected.serverMaxWindowBits)


def open_websocket(url: str, **options: Any) -> ClientConnection:
    """A client of `websockets`, with these parameters."""
    factory = ClientPerMessageDeflateFactory(**options)
    return connect(url, extensions=[factory], compression=None, ping_interval=None, proxy=None)


def url_of(server: Server) -> str:
    return f"ws://127.0.0.1:{server.port}/"


Exchange = Callable[[Any], Awaitable[None]]


def with_aiohttp(url: str, exchange: Exchange, compress: int = 15) -> tuple[str, int]:
    """Runs an exchange with aiohttp's client; returns the answer's extensions and the client's window."""

    async def run() -> tuple[str, int]:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, compress=compress, max_msg_size=16 * MIB) as socket,
        ):
            await exchange(socket)
            return socket._response.headers["Sec-WebSocket-Extensions"], socket.compress

    return asyncio.run(run())


async def echo(socket: Any, message: Message) -> None:
    if isinstance(message, str):
        await socket.send_str(message)
        assert await socket.receive_str() == message
    else:
        await socket.send_bytes(message)
        assert await socket.receive_bytes() == message


def echoes(messages: list[Message]) -> Exchange:
    async def exchange(socket: Any) -> None:
        for message in messages:
            await echo(socket, message)

    return exchange


# Each combination of parameters, by our wish and by the client's


def offer_of_node(wanted: Agreed) -> dict[str, object]:
    return {
        "serverNoContextTakeover": not wanted.serverContextTakeover,
        "clientNoContextTakeover": not wanted.clientContextTakeover,
        "serverMaxWindowBits": wanted.serverMaxWindowBits,
        "clientMaxWindowBits": wanted.clientMaxWindowBits,
        "threshold": 0,
    }


def offer_of_websockets(wanted: Agreed) -> dict[str, Any]:
    return {
        "server_no_context_takeover": not wanted.serverContextTakeover,
        "client_no_context_takeover": not wanted.clientContextTakeover,
        "server_max_window_bits": wanted.serverMaxWindowBits,
        "client_max_window_bits": wanted.clientMaxWindowBits,
    }


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize("row", TABLE, ids=named)
def test_node_ws_gets_what_we_want(serve: Serve, node: Node, row: Agreed) -> None:
    server = listening(serve, row)
    result = node.run(url_of(server), "probes", threshold=0)
    assert agreed(result["answer"]) == row
    check(server, row)


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize("row", TABLE, ids=named)
def test_node_ws_gets_what_it_wants(serve: Serve, node: Node, row: Agreed) -> None:
    server = listening(serve, ANYTHING)
    result = node.run(url_of(server), "probes", **offer_of_node(row))
    assert agreed(result["answer"]) == row
    check(server, row)


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize("row", TABLE, ids=named)
def test_undici_gets_what_we_want(serve: Serve, node: Node, row: Agreed) -> None:
    """It inflates, and compresses nothing."""
    server = listening(serve, row)
    result = node.run(url_of(server), "probes", client="undici")
    assert agreed(ended(server).transport.extension) == row
    check(server, row, plain=True)
    assert "permessage-deflate" in result["extensions"]


@pytest.mark.slow
@pytest.mark.parametrize("row", TABLE, ids=named)
@pytest.mark.parametrize("decides", ["ours", "theirs"])
def test_websockets(serve: Serve, row: Agreed, decides: str) -> None:
    server = listening(serve, row if decides == "ours" else ANYTHING)
    with open_websocket(url_of(server), **(offer_of_websockets(row) if decides == "theirs" else {})) as client:
        assert agreed(client.response.headers["Sec-WebSocket-Extensions"]) == row
        for message in probes():
            client.send(message)
            assert client.recv(PATIENCE) == message
    check(server, row)


@pytest.mark.slow
@pytest.mark.parametrize("row", TABLE, ids=named)
def test_aiohttp(serve: Serve, row: Agreed) -> None:
    """It offers all that we may want, and the server's window by its own wish."""
    for ours, window in ((row, 15), (row._replace(serverMaxWindowBits=15), row.serverMaxWindowBits)):
        server = listening(serve, ours)
        answer, bits = with_aiohttp(url_of(server), echoes(probes()), window)
        assert agreed(answer) == row
        assert bits == row.clientMaxWindowBits
        check(server, row)


# Windows of 256 bytes: zlib makes none, and reads them


@pytest.mark.peer
def test_node_ws_asks_for_the_smallest_window(serve: Serve, node: Node) -> None:
    server = listening(serve, ANYTHING)
    # Of the client, it is agreed on: node's own compressor then stays within what such a window reaches.
    result = node.run(url_of(server), "probes", threshold=0, clientMaxWindowBits=8)
    assert agreed(result["answer"]) == ANYTHING._replace(clientMaxWindowBits=8)
    check(server, ANYTHING._replace(clientMaxWindowBits=8))
    # Of the server, it is declined.
    server = listening(serve, ANYTHING)
    result = node.run(url_of(server), "probes", threshold=0, serverMaxWindowBits=8)
    assert result["answer"] == ""
    assert ended(server).transport.extension is None
    check_probes(ended(server).received, False, 15, plain=True)


def test_websockets_asks_for_the_smallest_window(serve: Serve) -> None:
    server = listening(serve, ANYTHING)
    with open_websocket(url_of(server), server_max_window_bits=8) as client:
        assert "Sec-WebSocket-Extensions" not in client.response.headers
        for message in probes():
            client.send(message)
            assert client.recv(PATIENCE) == message
    check_probes(ended(server).received, False, 15, plain=True)


# Default options of both sides: `twistd wsock --compression`


@pytest.fixture(scope="module")
def twistd() -> Iterator[Twistd]:
    with Twistd("--compression", "--port", LOOPBACK) as twistd:
        yield twistd


@pytest.mark.peer
@pytest.mark.parametrize("client", ["ws", "undici"])
def test_node_by_default(twistd: Twistd, node: Node, client: str) -> None:
    result = node.run(f"ws://127.0.0.1:{twistd.ports[0]}/echo", "sizes", client=client)
    assert "permessage-deflate" in result["extensions"]
    if client == "ws":
        assert agreed(result["answer"]) == BY_DEFAULT


def test_websockets_by_default(twistd: Twistd) -> None:
    with connect(f"ws://127.0.0.1:{twistd.ports[0]}/echo", proxy=None) as client:
        assert agreed(client.response.headers["Sec-WebSocket-Extensions"]) == BY_DEFAULT
        for message in sizes():
            client.send(message)
            assert client.recv(PATIENCE) == message
        # Fragments, with a Ping among them.
        parts = ["frag" * 100, "men" * 100, "", "ts" * 30000]

        def with_a_ping() -> Iterator[str]:
            yield from parts[:2]
            pongs.append(client.ping())
            yield from parts[2:]

        pongs: list[Any] = []
        client.send(with_a_ping())
        assert client.recv(PATIENCE) == "".join(parts)
        client.send([part.encode() for part in parts])
        assert client.recv(PATIENCE) == "".join(parts).encode()
        assert pongs[0].wait(PATIENCE)
        # More than the limit, in few bytes.
        client.send(bytes(MIB + 1))
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(PATIENCE)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


def test_aiohttp_by_default(twistd: Twistd) -> None:
    async def exchange(socket: Any) -> None:
        for message in sizes():
            await echo(socket, message)
            await socket.ping()

    answer, bits = with_aiohttp(f"ws://127.0.0.1:{twistd.ports[0]}/echo", exchange)
    assert agreed(answer) == BY_DEFAULT
    assert bits == 15


@pytest.mark.peer
@pytest.mark.parametrize("client", ["ws", "undici"])
@pytest.mark.parametrize("ours", [BY_DEFAULT, BOTH_CONTEXTS], ids=named)
def test_sizes_with_node(serve: Serve, node: Node, client: str, ours: Agreed) -> None:
    """With Pings before each echo."""
    server = listening(serve, ours, Pinging)
    result = node.run(url_of(server), "sizes", client=client)
    application = ended(server)
    assert application.pongs == len(application.lengths) == 4 * len(SIZES)
    if client == "ws":
        assert agreed(result["answer"]) == ours
        assert result["pings"] == application.pongs
        check_sizes(application.received)
    check_sizes(application.sent)


@pytest.mark.peer
@pytest.mark.parametrize("ours", [BY_DEFAULT, BOTH_CONTEXTS], ids=named)
def test_fragments_of_node_ws(serve: Serve, node: Node, ours: Agreed) -> None:
    server = listening(serve, ours)
    result = node.run(url_of(server), "pieces", threshold=0)
    pongs = [f"pong after {number}" for number in range(4)]
    received = result["extensions"]
    assert [one for one in received if isinstance(one, str)] == pongs * 2
    assert [one for one in received if not isinstance(one, str)] == [
        {"binary": False, "same": True},
        {"binary": True, "same": True},
    ]
    application = ended(server)
    assert application.lengths == [70700] * 2
    assert sum(application.received) < 2000


# Other transports


@pytest.mark.parametrize("kind", ["wrapped", "tls"])
def test_sizes_with_websockets(serve: Serve, kind: str) -> None:
    server = serve(kind, lambda request: Pinging(), compression=BOTH_CONTEXTS.compression, **QUIET)
    context = ssl.create_default_context(cafile=server.certificate) if server.certificate else None
    with connect(server.url(), ssl=context, proxy=None, ping_interval=None) as client:
        assert agreed(client.response.headers["Sec-WebSocket-Extensions"]) == BOTH_CONTEXTS
        for message in sizes():
            client.send(message)
            assert client.recv(PATIENCE) == message
    application = ended(server)
    assert application.pongs == len(application.lengths) == 4 * len(SIZES)
    check_sizes(application.received)
    check_sizes(application.sent)


# nginx in between


@pytest.mark.peer
def test_behind_nginx(twistd: Twistd, node: Node, tmp_path: Path) -> None:
    with nginx(twistd, tmp_path, "proxy_http_version 1.1;") as ports:
        result = node.run(f"ws://127.0.0.1:{ports[0]}/echo", "sizes")
        assert agreed(result["answer"]) == BY_DEFAULT
        with open_websocket(f"ws://127.0.0.1:{ports[0]}/echo") as client:
            assert agreed(client.response.headers["Sec-WebSocket-Extensions"]) == BY_DEFAULT
            for message in sizes():
                client.send(message)
                assert client.recv(PATIENCE) == message
