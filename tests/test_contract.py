from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from typed.for_twisted import ForTwisted
from wire import ANSWER, CLOSE, HELLO, HELLO_SENT, PONG, REQUEST, Application, Asked, Served, opened

from wsock import (
    Accept,
    Close,
    LocalProtocolError,
    Refuse,
    Settings,
    WebSocketClosed,
    WebSocketDropped,
    WebSocketEnded,
    WebSocketError,
    WebSocketProtocol,
    WebSocketServerFactory,
)
from wsock.testing import MemoryAgent


def test_the_defaults() -> None:
    assert {field.name: field.default for field in fields(Settings)} == {
        "maxMessageSize": 2**20,
        "maxEmptyFragments": 1024,
        "openTimeout": 10,
        "closeTimeout": 10,
        "pingInterval": 20,
        "pingTimeout": 20,
        "receiveQueue": 16,
        "highWaterMark": 65536,
        "sendLimit": 2**20,
        "slowConsumer": "wait",
        "maxHeaderLine": 16384,
        "maxHeaderSize": 32768,
        "maxHeaders": 256,
        "checkThreads": None,
    }


@pytest.mark.parametrize("value", [2**63, 10**400, 1e300])
@pytest.mark.parametrize(
    "field", [field.name for field in fields(Settings) if field.name not in ("slowConsumer", "checkThreads")]
)
def test_what_no_timer_can_take(field: str, value: float) -> None:
    with pytest.raises(LocalProtocolError, match="below"):
        Settings(**{field: value})


@pytest.mark.parametrize("field", fields(Settings), ids=lambda field: field.name)
@pytest.mark.parametrize("value", [0, -1, 0.0, float("nan"), float("inf"), True, "1", b"1", [1]], ids=repr)
def test_what_no_setting_can_be(field: Any, value: Any) -> None:
    if field.name == "checkThreads" and value is True:
        return
    with pytest.raises(LocalProtocolError, match=field.name):
        Settings(**{field.name: value})


def test_none_is_no_limit_but_for_one() -> None:
    for field in fields(Settings):
        if field.name in ("receiveQueue", "slowConsumer"):
            with pytest.raises(LocalProtocolError, match=field.name):
                Settings(**{field.name: None})
        else:
            assert getattr(Settings(**{field.name: None}), field.name) is None


def test_only_times_have_fractions() -> None:
    for field in fields(Settings):
        if field.name == "checkThreads":
            continue
        if field.name.endswith(("Timeout", "Interval")):
            assert getattr(Settings(**{field.name: 0.5}), field.name) == 0.5
        else:
            with pytest.raises(LocalProtocolError, match=field.name):
                Settings(**{field.name: 1.5})


def test_settings_are_named_and_stay_as_they_are() -> None:
    with pytest.raises(TypeError):
        Settings(1)  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        Settings().openTimeout = 1  # type: ignore[misc]
    assert Settings(openTimeout=1) == Settings(openTimeout=1)
    assert hash(Settings()) == hash(Settings())


def test_accept_and_refuse() -> None:
    application = WebSocketProtocol()
    assert Accept(application) == Accept(application, None, ())
    refuse = Refuse(403)
    assert (refuse.status, refuse.headers, refuse.body) == (403, (), b"")
    assert str(refuse) == "refused with HTTP status 403"


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


def test_the_base_does_nothing() -> None:
    application = WebSocketProtocol()
    served = opened(application)
    assert application.transport is served.wire
    assert served.feed(HELLO + bytes.fromhex("828000000000") + bytes.fromhex("8a8000000000")) == b""
    served.lose()


def test_an_application_may_have_slots() -> None:
    class Echo(WebSocketProtocol):
        __slots__ = ()

        def textMessageReceived(self, message: str) -> None:
            self.transport.sendTextMessage(message)

    assert opened(Echo()).feed(HELLO) == HELLO_SENT
    assert not hasattr(Echo(), "__dict__")


def test_an_application_for_twisteds_own_module() -> None:
    application = ForTwisted()
    served = Served(application)
    assert served.feed(REQUEST) == ANSWER + b"\x89\x01?"
    assert served.feed(PONG + HELLO) == HELLO_SENT
    assert served.feed(bytes.fromhex("828100000000ff")) == b"\x82\x01\xff\x88\x02\x03\xe9"
    served.feed(CLOSE)
    served.lose()
    assert application.pongs == [b"ab"]
    [reason] = application.lost
    assert reason.check(ConnectionDone)


def test_an_application_for_twisteds_own_module_as_a_client() -> None:
    application = ForTwisted()
    asked = Asked(application)
    answer = asked.answer()
    asked.transport.clear()
    assert asked.feed(answer) == b"\x89\x01?"
    assert asked.feed(bytes.fromhex("8a026162") + HELLO_SENT) == HELLO_SENT
    assert asked.feed(b"\x82\x01\xff") == b"\x82\x01\xff\x88\x02\x03\xe9"
    asked.feed(bytes.fromhex("880203e9"))
    asked.lose()
    assert application.pongs == [b"ab"]
    [reason] = application.lost
    assert reason.check(ConnectionDone)


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
