"""The page about close codes: it has all of them, and wsock sends what it says."""

import re
from pathlib import Path
from typing import Any

import pytest
from twisted.python.failure import Failure

import wsock
from wsock import CloseCode, LocalProtocolError, Settings, WebSocketProtocol, WebSocketServerFactory
from wsock.sansio.connection import Connection
from wsock.sansio.constants import Role, is_sendable_close_code
from wsock.testing import MemoryAgent, Pair, ScriptedPeer

PAGE = (Path(__file__).parents[1] / "docs/close-codes.md").read_text()
ROWS = dict(re.findall(r"^\| (\d{4}) \| `(\w+)` \| .*\|$", PAGE, re.MULTILINE))
SENDERS = dict(re.findall(r"^\| (\d{4}) \| `\w+` \| (either side|your application only|nobody)\b", PAGE, re.MULTILINE))


def test_all_codes() -> None:
    assert {str(int(code)): code.name for code in CloseCode} == ROWS
    assert SENDERS.keys() == ROWS.keys()
    never = {int(code) for code, who in SENDERS.items() if who == "nobody"}
    assert never == {int(code) for code in CloseCode if not is_sendable_close_code(code)}
    for code in (*never, 999, 1004, 1016, 2999, 5000):
        with pytest.raises(LocalProtocolError):
            Connection(Role.SERVER).close(code)


class Application(WebSocketProtocol):
    def textMessageReceived(self, message: str) -> None:
        if message == "fail":
            raise ValueError("as you wish")
        self.transport.loseConnection(None if message == "none" else int(message))

    def bytesMessageReceived(self, data: bytes) -> None:
        for _ in range(4):
            self.transport.sendBytesMessage(bytes(1000))


SETTINGS = Settings(maxMessageSize=1000, maxEmptyFragments=2, sendLimit=1000, highWaterMark=500)


def peer_of(application: Application | None = None) -> tuple[Any, Any]:
    """A server's factory, and the pair of its only connection and a peer."""
    factory = WebSocketServerFactory(lambda request: application or Application(), settings=SETTINGS)
    pair = Pair(factory, ScriptedPeer())
    pair.client.open()
    pair.flush()
    assert pair.client.answer().status == 101
    return factory, pair


def text(message: str) -> bytes:
    """A text frame whose mask changes nothing."""
    return bytes((0x81, 0x80 | len(message), 0, 0, 0, 0)) + message.encode()


@pytest.mark.parametrize(
    ("code", "sent"),
    [
        (1000, text("1000")),
        (1002, b"\x81\x00"),  # not masked
        (1002, b"\x88\x82\0\0\0\0\x03\xee"),  # a Close with 1006
        (1003, text("1003")),
        (1007, b"\x81\x81\0\0\0\0\xff"),
        (1008, b"\x01\x80\0\0\0\0" + 2 * b"\x00\x80\0\0\0\0"),
        (1009, b"\x82\xfe\x03\xe9\0\0\0\0"),
        (1011, text("fail")),
        (1012, text("1012")),
        (4000, text("4000")),
    ],
)
def test_what_a_server_sends(code: int, sent: bytes) -> None:
    _, pair = peer_of()
    pair.client.send(sent)
    pair.flush()
    [(first, payload)] = pair.client.frames()
    assert (first, payload[:2]) == (0x88, code.to_bytes(2, "big"))


def test_no_code() -> None:
    _, pair = peer_of()
    pair.client.send(text("none"))
    pair.flush()
    assert pair.client.frames() == [(0x88, b"")]


def test_a_server_that_stops() -> None:
    factory, pair = peer_of()
    factory.stop()
    pair.flush()
    assert pair.client.frames() == [(0x88, b"\x03\xe9")]


def test_a_peer_that_does_not_read() -> None:
    factory = WebSocketServerFactory(lambda request: Application(), settings=SETTINGS)
    agent = MemoryAgent(factory, capacity=1000)
    streams: list[wsock.WebSocketStream] = []
    agent.connect().addCallback(streams.append)
    agent.flush()
    [stream] = streams
    stream.transport.pauseProducing()
    for _ in range(100):
        stream.send(b"x")
    agent.flush()
    [connection] = factory.connections
    assert connection.closeSent == (1013, "too much unsent")


def test_the_answer_has_the_same_code() -> None:
    _, pair = peer_of()
    pair.client.send(b"\x88\x86\0\0\0\0\x0f\xa0bye!")
    pair.flush()
    assert pair.client.frames() == [(0x88, b"\x0f\xa0")]


def test_a_peer_that_does_not_answer() -> None:
    """A close code that means nothing here: nobody is told."""
    reasons: list[Any] = []

    class Told(Application):
        def connectionLost(self, reason: Failure) -> None:
            reasons.append(reason.value)

    _, pair = peer_of(Told())
    pair.advance(60)
    [reason] = reasons
    assert isinstance(reason, wsock.WebSocketDropped)
    assert (reason.code, reason.closeSent) == (1011, None)
