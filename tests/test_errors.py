"""The exceptions that say how a connection ended."""

from typing import Any

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from wire import Application

from wsock import (
    Close,
    Settings,
    WebSocketClosed,
    WebSocketDropped,
    WebSocketEnded,
    WebSocketError,
    WebSocketServerFactory,
)
from wsock.testing import MemoryAgent


@pytest.mark.parametrize(
    ("kind", "base", "others"),
    [(WebSocketClosed, ConnectionDone, ConnectionLost), (WebSocketDropped, ConnectionLost, ConnectionDone)],
)
def test_how_a_connection_ended(kind: Any, base: Any, others: Any) -> None:
    reason = kind("why", (1000, "bye"), (1001, ""))
    assert isinstance(reason, (WebSocketEnded, WebSocketError))
    assert Failure(reason).check(base)
    assert not Failure(reason).check(others)
    assert str(reason) == "why"
    assert reason.args == ("why",)
    assert (reason.closeReceived, reason.closeSent) == ((1000, "bye"), (1001, ""))
    assert (reason.closeReceived.code, reason.closeReceived.reason) == (1000, "bye")
    assert (reason.closeSent.code, reason.closeSent.reason) == (1001, "")
    assert isinstance(reason.closeSent, Close)
    assert (kind("why").closeReceived, kind("why").closeSent) == (None, None)


def test_what_was_wrong() -> None:
    assert WebSocketDropped("why").code == 1006
    assert WebSocketDropped("why", code=1002).code == 1002


def test_the_code_and_the_reason_of_an_end() -> None:
    received, sent = (3000, "theirs"), (3001, "ours")
    for kind in (WebSocketEnded, WebSocketClosed):
        for closes in ((received, sent), (received, None)):
            assert (kind("why", *closes).code, kind("why", *closes).reason) == received
        assert (kind("why", None, sent).code, kind("why", None, sent).reason) == sent
        assert (kind("why").code, kind("why").reason) == (1006, "")
    first = WebSocketClosed("why", received, sent, *sent)
    assert (first.code, first.reason) == (3001, "ours")
    dropped = [WebSocketDropped("why", *closes) for closes in ((received, sent), (None, sent), (None, None))]
    assert [(one.code, one.reason) for one in dropped] == [(1006, "theirs"), (1006, "ours"), (1006, "")]


def test_a_close_is_a_tuple() -> None:
    close = Close(1000, "bye")
    code, reason = close
    assert (code, reason) == (close.code, close.reason) == close == (1000, "bye")
    assert repr(close) == "Close(code=1000, reason='bye')"


def says(*messages: str) -> Application:
    """An application that sends these messages when the connection is open."""
    return Application(finished=lambda application: [*map(application.transport.sendTextMessage, messages)] and None)


def fail(application: Application) -> None:
    raise RuntimeError("expected")


@pytest.mark.parametrize(
    ("code", "client", "server", "sent"),
    [
        (1009, says("longer than 10"), Application(), 1),
        (1011, says("1", "2", "3"), Application(message=fail), 3),
        (1013, Application(), says(*map(str, range(100))), 100),
    ],
)
def test_both_closes_do_not_mean_that_every_message_was_delivered(
    code: int, client: Application, server: Application, sent: int
) -> None:
    settings = Settings(maxMessageSize=10, highWaterMark=10, sendLimit=10)
    agent = MemoryAgent(WebSocketServerFactory(lambda request: server, settings=settings), capacity=10)
    agent.connectProtocol("ws://localhost/", lambda request: client)
    agent.flush()
    (reason,) = client.reasons
    assert isinstance(reason, WebSocketClosed)
    assert reason.closeReceived[0] == code
    assert len(client.messages + server.messages) < sent
