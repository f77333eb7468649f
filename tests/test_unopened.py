"""The stand-in for the core of a connection that has none yet: it sends nothing, and refuses what could never be."""

from typing import Any

import pytest

from wsock import LocalProtocolError
from wsock.sansio.connection import Connection
from wsock.sansio.constants import Role
from wsock.sansio.shared import SharedMessage
from wsock.wire.unopened import NOT_OPEN


def test_it_knows_nothing() -> None:
    assert (NOT_OPEN.close_sent, NOT_OPEN.close_received, NOT_OPEN.failed) == (None, None, None)
    assert (NOT_OPEN.messages_sent, NOT_OPEN.messages_received) == (0, 0)
    assert (NOT_OPEN.is_open, NOT_OPEN.lost, NOT_OPEN.peer_closed_first) == (False, False, False)
    assert list(NOT_OPEN.extensions) == []


def test_it_sends_nothing() -> None:
    assert NOT_OPEN.send_text("text") == []
    assert NOT_OPEN.send_binary(b"data") == []
    assert NOT_OPEN.send_ping() == []
    assert NOT_OPEN.send_ping(bytes(125)) == []
    assert NOT_OPEN.send_text("text", True) == NOT_OPEN.send_binary(b"data", False) == []
    assert NOT_OPEN.send_shared(SharedMessage("text")) == []
    assert NOT_OPEN.close(1000, "x" * 123) == []
    assert NOT_OPEN.close(None) == []
    NOT_OPEN.lose()


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("send_text", [b"bytes"]),
        ("send_text", ["\ud800"]),
        ("send_text", ["text", 1]),
        ("send_binary", ["text"]),
        ("send_binary", [b"data", "yes"]),
        ("send_ping", ["text"]),
        ("send_ping", [bytes(126)]),
        ("close", [1005]),
        ("close", ["1000"]),
    ],
)
def test_it_refuses_what_an_open_one_refuses(method: str, arguments: list[Any]) -> None:
    told = []
    for one in (NOT_OPEN, Connection(Role.SERVER)):
        with pytest.raises(LocalProtocolError) as raised:
            getattr(one, method)(*arguments)
        told.append(str(raised.value))
    assert told[0] == told[1]
