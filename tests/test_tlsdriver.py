"""The drivers of our own TLS: the facts of the layer, and what they pass on to the driver of the transport below."""

from pathlib import Path
from typing import Any

import pytest
from integration.peer import make_certificate
from secured import Above, Pair, Secured
from wire import Transport

from wsock.wire.tlsdriver import LAYER, SOCKET_LAYER
from wsock.wire.transports import DRIVERS, Driver, driverOf


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder: Path = tmp_path_factory.mktemp("tls")
    return make_certificate(folder)


class Below(Transport):
    """A transport of a kind that has a driver of its own; notes what that was asked for.

    Attributes:
        asked: the names of the methods.
        isSettled: the result of `adopt`.
        inFlight: the result of `bytesInFlight`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.isSettled = True
        self.inFlight: int | None = None


class BelowDriver(Driver):
    __slots__ = ()

    def adopt(self, transport: Any) -> bool:
        return bool(transport.isSettled)

    def readMuch(self, transport: Any) -> None:
        transport.asked.append("readMuch")

    def setNoDelay(self, transport: Any) -> None:
        transport.asked.append("setNoDelay")

    def bytesInFlight(self, transport: Any) -> int | None:
        count: int | None = transport.inFlight
        return count


@pytest.fixture
def link(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Secured:
    monkeypatch.setitem(DRIVERS, Below, BelowDriver())
    return Secured(pair, below=Below()).opened()


def test_the_handshake(pair: Pair) -> None:
    link = Secured(pair)
    driver = driverOf(link.layer)
    assert (driver.hasBegun(link.layer), driver.isShaken(link.layer)) == (False, False)
    link.layer.dataReceived(link.peer.take(b""))
    assert (driver.hasBegun(link.layer), driver.isShaken(link.layer)) == (True, False)
    link.pump()
    assert (driver.hasBegun(link.layer), driver.isShaken(link.layer)) == (True, True)


def test_another_hand_closes(link: Secured) -> None:
    assert not LAYER.isClosedByOthers(link.layer)
    link.layer.loseConnection()
    assert LAYER.isClosedByOthers(link.layer)


def test_nothing_is_to_be_drained(link: Secured) -> None:
    """The layer does it by itself behind the peer's end."""
    assert not LAYER.canDrain(link.layer)
    link.layer.dataReceived(link.peer.close_notify())
    assert not LAYER.canDrain(link.layer)


def test_what_is_asked_of_the_transport_below(link: Secured) -> None:
    LAYER.readMuch(link.layer)
    LAYER.setNoDelay(link.layer)
    assert link.below.asked == ["readMuch", "setNoDelay"]


def test_another_protocol_above(link: Secured) -> None:
    after = Above()
    assert LAYER.setProtocol(link.layer, after)
    assert SOCKET_LAYER.setProtocol(link.layer, after)
    link.feed(b"Hello")
    assert link.above.pieces == []
    assert after.pieces == [b"Hello"]
    link.lose()
    assert link.above.reasons == []
    assert len(after.reasons) == 1


@pytest.mark.parametrize("isSettled", [True, False])
def test_whether_the_hub_has_it_is_the_transports_below(link: Secured, isSettled: bool) -> None:
    link.below.isSettled = isSettled
    assert SOCKET_LAYER.adopt(link.layer) is isSettled


def test_a_transport_below_that_does_not_know_what_is_in_flight(link: Secured) -> None:
    link.layer.sender.pauseProducing()
    link.layer.write(b"Hello")
    assert LAYER.bytesInFlight(link.layer) is None


def test_text_that_waits_is_in_flight(link: Secured) -> None:
    link.below.inFlight = 7
    assert LAYER.bytesInFlight(link.layer) == 7
    link.layer.sender.pauseProducing()
    link.layer.write(b"Hello")
    assert LAYER.bytesInFlight(link.layer) == 7 + 5
