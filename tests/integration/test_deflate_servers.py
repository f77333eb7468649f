"""Compression of `connect` with servers that people use: what is agreed on, and what then travels."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from integration.deflating import (
    ANYTHING,
    BOTH_CONTEXTS,
    QUIET,
    TABLE,
    Agreed,
    Message,
    Node,
    agreed,
    aiohttp,
    check_probes,
    check_sizes,
    named,
    probes,
    sizes,
    websockets,
)
from integration.streams import Client, Stream, call

from wsock import Compression


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    node = Node()
    yield node
    node.close()


def connect(client: Client, url: str, ours: Agreed) -> Stream:
    return client.connect(url, compression=ours.compression, **QUIET)


def extension(stream: Stream) -> Any:
    return call(lambda: stream.stream.transport.extension)


def exchange(stream: Stream, messages: list[Message]) -> tuple[list[int], list[int]]:
    """Sends messages, and receives their echoes; returns how many bytes each took, and each echo."""

    def traffic() -> tuple[int, int]:
        traffic = stream.stream.transport.traffic
        return traffic.bytesSent, traffic.bytesReceived

    seen = [call(traffic)]
    for message in messages:
        stream.send(message)
        assert stream.receive() == message
        seen.append(call(traffic))
    steps = [(after[0] - before[0], after[1] - before[1]) for before, after in itertools.pairwise(seen)]
    return [sent for sent, _ in steps], [received for _, received in steps]


def check(stream: Stream, expected: Agreed, *, echoes: bool = True) -> None:
    """Checks what was agreed on, and the sizes of the probes in both directions."""
    assert agreed(extension(stream)) == expected
    sent, received = exchange(stream, probes())
    check_probes(sent, expected.clientContextTakeover, expected.clientMaxWindowBits)
    if echoes:
        check_probes(received, expected.serverContextTakeover, expected.serverMaxWindowBits)
    stream.close()
    assert stream.rest() == []


# Each combination of parameters, by our wish and by the server's


def answer_of_node(wanted: Agreed) -> dict[str, object]:
    return {
        # False would refuse what is offered; to leave it out takes what is.
        **({} if wanted.serverContextTakeover else {"serverNoContextTakeover": True}),
        **({} if wanted.clientContextTakeover else {"clientNoContextTakeover": True}),
        "serverMaxWindowBits": wanted.serverMaxWindowBits,
        "clientMaxWindowBits": wanted.clientMaxWindowBits,
        "threshold": 0,
    }


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize("row", TABLE, ids=named)
def test_node_ws_answers_what_we_want(client: Client, node: Node, row: Agreed) -> None:
    check(connect(client, node.url(threshold=0), row), row)


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize("row", TABLE, ids=named)
def test_node_ws_answers_what_it_wants(client: Client, node: Node, row: Agreed) -> None:
    check(connect(client, node.url(**answer_of_node(row)), ANYTHING), row)


@pytest.mark.slow
@pytest.mark.parametrize("row", TABLE, ids=named)
@pytest.mark.parametrize("decides", ["ours", "theirs"])
def test_websockets(client: Client, row: Agreed, decides: str) -> None:
    options: dict[str, object] = {}
    if decides == "theirs":
        options = {
            "server_no_context_takeover": not row.serverContextTakeover,
            "client_no_context_takeover": not row.clientContextTakeover,
            "server_max_window_bits": row.serverMaxWindowBits,
            "client_max_window_bits": row.clientMaxWindowBits,
        }
    with websockets(**options) as url:
        stream = connect(client, url, row if decides == "ours" else ANYTHING)
        # In fragments, each with a sync flush, and Pings: their sizes are others.
        check(stream, row, echoes=False)


@pytest.mark.slow
@pytest.mark.parametrize("row", TABLE, ids=named)
def test_aiohttp(client: Client, aiohttp_url: str, row: Agreed) -> None:
    """It answers nothing of the client's parameters, which are ours to keep."""
    stream = connect(client, aiohttp_url, row)
    assert agreed(extension(stream)) == row._replace(clientContextTakeover=True, clientMaxWindowBits=15)
    sent, _ = exchange(stream, probes())
    check_probes(sent, row.clientContextTakeover, row.clientMaxWindowBits)
    stream.close()


@pytest.fixture(scope="module")
def aiohttp_url() -> Iterator[str]:
    with aiohttp() as place:
        yield place.url(host="127.0.0.1")


# Windows of 256 bytes: zlib makes none, and reads them


@pytest.mark.peer
def test_node_ws_answers_the_smallest_windows(client: Client, node: Node) -> None:
    """Its compressor stays within what such a window reaches; we send plain messages."""
    wanted = Agreed(True, True, 8, 8)
    stream = connect(client, node.url(**answer_of_node(wanted)), ANYTHING)
    assert agreed(extension(stream)) == wanted
    sent, received = exchange(stream, probes())
    check_probes(sent, False, 15, plain=True)
    check_probes(received, True, 8)
    stream.close()


def test_websockets_answers_the_smallest_window(client: Client) -> None:
    with websockets(client_max_window_bits=8) as url:
        stream = connect(client, url, ANYTHING)
        assert agreed(extension(stream)) == ANYTHING._replace(clientMaxWindowBits=8)
        sent, _ = exchange(stream, probes())
        # All probes, plain, and the Pongs for the Pings among the fragments of the echoes.
        assert sum(sent) >= 117_868
        stream.close()


# Default options of both sides


@pytest.fixture(scope="module", params=[pytest.param("ws", marks=pytest.mark.peer), "websockets", "aiohttp"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server with its own default options; echoes are in fragments, or have Pings between them."""
    if request.param == "ws":
        node = request.getfixturevalue("node")
        yield node.url("/pieces")
    elif request.param == "websockets":
        # As by `compression="deflate"`, its default.
        settings = {"server_max_window_bits": 12, "client_max_window_bits": 12, "compress_settings": {"memLevel": 5}}
        with websockets(**settings) as url:
            yield url
    else:
        yield request.getfixturevalue("aiohttp_url") + "pings"


@pytest.mark.parametrize("ours", [Compression(), BOTH_CONTEXTS.compression], ids=["default", "contexts"])
def test_sizes(client: Client, url: str, ours: Compression) -> None:
    stream = client.connect(url, compression=ours)
    parameters = agreed(extension(stream))
    assert parameters.serverContextTakeover == ours.serverContextTakeover
    sent, received = exchange(stream, list(sizes()))
    for wire in (sent, received):
        # isal makes less of a pattern than zlib where the window is small.
        check_sizes(wire, 0.8)
    stream.close()
    assert stream.rest() == []


def test_without_compression(client: Client, url: str) -> None:
    stream = client.connect(url, compression=None)
    assert extension(stream) is None
    exchange(stream, probes())
    stream.close()
