"""`connect` and the servers that people use, each with its own default options."""

import contextlib
import itertools
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from integration.peer import PATIENCE, Place, make_certificate, within
from integration.streams import Attempt, Client, Stream, call, connecting, trust, trusting
from tools import require
from twisted.internet.defer import Deferred, gatherResults
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

from wsock import ConnectionRejected, WebSocketClosed, WebSocketDropped, WebSocketProtocol

MIB = 2**20
_numbers = itertools.count()


class Other(Place):
    """Somebody else's server.

    Attributes:
        closes: by request target, the code and the reason of a connection's end, as it saw them.
        trust: what `connect` is given to trust it.
    """

    def __init__(self, name: str, port: int, root: Path | None) -> None:
        super().__init__(port, "", root)
        self.name = name
        self.trust: dict[str, Any] = {}
        self.closes: dict[str, tuple[int, str]] = {}

    def target(self, path: str, **parameters: object) -> str:
        """A request target of which there is one."""
        return f"{path}?{urlencode({**parameters, 'number': next(_numbers)})}"

    def saw(self, target: str) -> tuple[int, str]:
        """How it saw a connection end."""
        within(PATIENCE, lambda: target in self.closes, "the server sees the end")
        return self.closes[target]


def begin(client: Client, other: Other, target: str, *function: Any, **arguments: Any) -> Attempt:
    return client.begin(other.url(target), *function, **other.trust, **arguments)


def connect(client: Client, other: Other, target: str = "/echo", **arguments: Any) -> Stream:
    return Stream(begin(client, other, target, **arguments).result())


@contextlib.contextmanager
def node(pair: tuple[Path, Path] | None, root: Path | None) -> Iterator[Other]:
    """`ws`, in a process of its own."""
    command = [require("node"), Path(__file__).with_name("server.js"), require("npm:ws"), *(pair or ())]
    with subprocess.Popen(
        [*map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        other = Other("ws", json.loads(process.stdout.readline()), root)

        def listen(lines: Any) -> None:
            for line in lines:
                target, code, reason = json.loads(line)
                other.closes[target] = (code, reason)

        listener = threading.Thread(target=listen, args=(process.stdout,))
        listener.start()
        try:
            yield other
        finally:
            process.kill()
            listener.join()


def act(connection: Any, path: str, parameters: dict[str, str]) -> None:
    """As the tasks in server.js."""
    if path == "/echo":
        for message in connection:
            connection.send(message)
    elif path == "/fragments":

        def fragments() -> Iterator[str]:
            yield "frag"
            connection.ping("between")
            yield from ("men", "", "ts")

        connection.send(fragments())
        connection.send(bytes((part,)) * 2**16 for part in range(16))
    elif path == "/ping":
        assert connection.ping(b"are you there?").wait(PATIENCE)
        connection.send(b"are you there?")
    elif path == "/close":
        connection.send("farewell")
        connection.close(int(parameters["code"]), parameters["reason"])
    elif path == "/drop":
        connection.send("farewell")
        connection.recv()
        connection.socket.shutdown(socket.SHUT_RDWR)
    elif path == "/large":
        connection.send(bytes(int(parameters["size"])))
    for _ in connection:
        pass


def refuse(connection: Any, request: Any) -> Any:
    if request.path != "/no":
        return None
    response = connection.respond(401, "who are you?\n")
    response.headers["WWW-Authenticate"] = 'Basic realm="here"'
    return response


@contextlib.contextmanager
def websockets(pair: tuple[Path, Path] | None, root: Path | None) -> Iterator[Other]:
    """`websockets`, in threads."""
    context = None
    if pair is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair[1], pair[0])

    def handle(connection: Any) -> None:
        url = urlsplit(connection.request.path)
        with contextlib.suppress(ConnectionClosed):
            act(connection, url.path, {name: values[0] for name, values in parse_qs(url.query, True).items()})
        other.closes[connection.request.path] = (connection.protocol.close_code, connection.protocol.close_reason)

    def select(connection: Any, offered: Any) -> Any:
        return "other" if "other" in offered else None

    with serve(handle, "127.0.0.1", 0, ssl=context, process_request=refuse, select_subprotocol=select) as server:
        other = Other("websockets", server.socket.getsockname()[1], root)
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield other
        finally:
            server.shutdown()
            serving.join()


def twisteds(root: Path) -> dict[str, Any]:
    """What has `connect` trust a server by Twisted's TLS."""
    return {"trustRoot": trust(root)}


def own(root: Path) -> dict[str, Any]:
    """The same by our own TLS, of whatever version."""
    return {"tls": trusting(root)}


def own12(root: Path) -> dict[str, Any]:
    """The same by TLS 1.2."""
    context = trusting(root)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return {"tls": context}


#: Of TLS the usual kind is enough for most runs.
KINDS = [(None, []), (own, []), (own12, [pytest.mark.slow]), (twisteds, [pytest.mark.slow])]
BOTH = [
    *(pytest.param((node, tls), marks=[pytest.mark.peer, *marks]) for tls, marks in KINDS),
    *(pytest.param((websockets, tls), marks=marks) for tls, marks in KINDS),
]


def named(value: Any) -> str:
    if not isinstance(value, tuple):
        return ""
    start, tls = value
    return f"{start.__name__}-{'ws' if tls is None else f'wss-{tls.__name__}'}"


@pytest.fixture(scope="module", params=BOTH, ids=named)
def other(
    request: pytest.FixtureRequest, authority: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Other]:
    """A server, over TLS with a certificate that the tests' own authority has signed."""
    start, tls = request.param
    pair = root = None
    if tls is not None:
        pair = make_certificate(tmp_path_factory.mktemp("other"), "localhost", authority=authority)
        root = authority[1]
    with start(pair, root) as other:
        if root is not None:
            other.trust = tls(root)
        yield other


def test_sizes(client: Client, other: Other) -> None:
    stream = connect(client, other)
    binary = bytes(range(251)) * (MIB // 251 + 1)
    for size in (0, 1, 2, 125, 126, 127, 1000, 65535, 65536, 65537, 300000, MIB - 1, MIB):
        for message in (binary[:size], "a" * (size % 3) + "\u20ac" * (size // 3)):
            stream.send(message)
            assert stream.receive() == message
    stream.close()
    assert stream.rest() == []


def test_fragments(client: Client, other: Other) -> None:
    """With a Ping among them."""
    stream = connect(client, other, "/fragments")
    assert stream.receive() == "fragments"
    assert stream.receive() == b"".join(bytes((part,)) * 2**16 for part in range(16))


def test_500_in_order(client: Client, other: Other) -> None:
    """None waits for the answer to another."""
    messages = [f"message {number}" if number % 2 else number.to_bytes(2, "big") for number in range(500)]
    stream = connect(client, other)

    async def exchange() -> list[str | bytes]:
        for message in messages:
            stream.stream.send(message)
        return [await stream.stream.receive() for _ in messages]

    assert call(exchange) == messages


def test_more_than_fits_anywhere(client: Client, other: Other) -> None:
    """32 MiB there and back: who sends waits for who receives."""
    messages = [bytes((number,)) * 2**18 for number in range(128)]
    stream = connect(client, other)

    async def send() -> None:
        for message in messages:
            await stream.stream.send(message)

    async def receive() -> bool:
        return [await stream.stream.receive() for _ in messages] == messages

    def both() -> Deferred[Any]:
        return gatherResults([Deferred.fromCoroutine(one) for one in (send(), receive())])

    assert call(both, patience=2 * PATIENCE) == [None, True]


@pytest.mark.parametrize(
    ("offered", "chosen"), [([], None), (["chat"], None), (["other"], "other"), (["chat", "other"], "other")]
)
def test_subprotocol(client: Client, other: Other, offered: list[str], chosen: str | None) -> None:
    stream = connect(client, other, subprotocols=offered)
    assert stream.stream.subprotocol == chosen
    stream.send("it works")
    assert stream.receive() == "it works"


def test_refused(client: Client, other: Other) -> None:
    error = begin(client, other, "/no").error(ConnectionRejected)
    assert error.response.status == 401
    assert error.response.reason == "Unauthorized"
    assert error.response.headers.get("WWW-Authenticate") == 'Basic realm="here"'
    assert error.response.body == b"who are you?\n"


# Pings


def test_its_ping(client: Client, other: Other) -> None:
    assert connect(client, other, "/ping").receive() == b"are you there?"


def test_our_ping(client: Client, other: Other) -> None:
    class Pinging(WebSocketProtocol):
        def __init__(self) -> None:
            self.pongs: list[bytes] = []

        def negotiationFinished(self) -> None:
            self.transport.ping()
            self.transport.ping(bytes(125))

        def pongReceived(self, payload: bytes) -> None:
            self.pongs.append(payload)

    application = begin(client, other, "/echo", connecting(Pinging())).result()
    within(PATIENCE, lambda: len(application.pongs) == 2, "both Pongs come")
    assert application.pongs == [b"", bytes(125)]


# Closing: without a timer of ours, so that it is the handshake that ends the connection.


CLOSES = [(1000, ""), (1001, "moved"), (3000, "gr\u00fc\u00dfe"), (4999, "\u20ac" * 41)]


@pytest.mark.parametrize(("code", "reason"), CLOSES, ids=lambda value: str(value)[:4])
def test_our_close(client: Client, other: Other, code: int, reason: str) -> None:
    target = other.target("/echo")
    stream = connect(client, other, target, closeTimeout=None)
    stream.send("a")
    assert stream.receive() == "a"
    stream.close(code, reason)
    error = stream.end()
    assert isinstance(error, WebSocketClosed)
    assert error.closeSent == (code, reason)
    assert error.closeReceived is not None
    assert error.closeReceived[0] == code
    assert other.saw(target) == (code, reason)


def test_our_close_without_a_code(client: Client, other: Other) -> None:
    target = other.target("/echo")
    stream = connect(client, other, target, closeTimeout=None)
    stream.close(None)
    assert stream.rest() == []
    assert stream.stream.transport.closeReceived == (1005, "")
    assert other.saw(target) == (1005, "")


@pytest.mark.parametrize(("code", "reason"), CLOSES, ids=lambda value: str(value)[:4])
def test_its_close(client: Client, other: Other, code: int, reason: str) -> None:
    """Its earlier messages come first; it gets its code back."""
    target = other.target("/close", code=code, reason=reason)
    stream = connect(client, other, target, closeTimeout=None)
    assert stream.receive() == "farewell"
    error = stream.end()
    assert isinstance(error, WebSocketClosed)
    assert error.closeReceived == (code, reason)
    assert error.closeSent is not None
    assert error.closeSent[0] == code
    assert other.saw(target)[0] == code


@pytest.mark.parametrize("other", BOTH[: len(KINDS)], ids=named, indirect=True)
def test_its_close_without_a_code(client: Client, other: Other) -> None:
    target = other.target("/close")
    stream = connect(client, other, target, closeTimeout=None)
    assert stream.rest() == ["farewell"]
    assert stream.stream.transport.closeReceived == (1005, "")
    assert other.saw(target) == (1005, "")


def test_it_is_gone_without_a_close(client: Client, other: Other) -> None:
    target = other.target("/drop")
    stream = connect(client, other, target)
    assert stream.receive() == "farewell"
    stream.send("drop it")
    error = stream.end()
    assert isinstance(error, WebSocketDropped)
    assert (error.code, error.closeReceived, error.closeSent) == (1006, None, None)
    assert other.saw(target)[0] == 1006


def test_we_are_gone_without_a_close(client: Client, other: Other) -> None:
    target = other.target("/echo")
    stream = connect(client, other, target)
    call(stream.stream.transport.abortConnection)
    assert isinstance(stream.end(), WebSocketDropped)
    assert other.saw(target)[0] == 1006


def test_too_large_for_us(client: Client, other: Other) -> None:
    target = other.target("/large", size=MIB + 1)
    error = connect(client, other, target, closeTimeout=None).end()
    assert isinstance(error, WebSocketDropped)
    assert error.code == 1009
    assert other.saw(target)[0] == 1009


@pytest.mark.parametrize("other", BOTH[len(KINDS) :], ids=named, indirect=True)
def test_too_large_for_it(client: Client, other: Other) -> None:
    """It says so, and need not wait for our Close, which comes behind the rest of the message."""
    stream = connect(client, other, closeTimeout=None)
    call(stream.stream.transport.sendBytesMessage, bytes(MIB + 1))
    error = stream.end()
    assert error.closeReceived is not None
    assert error.closeReceived[0] == 1009
