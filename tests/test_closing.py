"""The end of a connection, alone: its outbox and the driver of its transport are plain objects, its reactor a clock."""

import gc
from collections.abc import Callable
from typing import Any
from weakref import ref

import pytest
from twisted.internet.task import Clock
from wire import FAULT

from wsock import Settings, WebSocketClosed, WebSocketDropped, WebSocketEnded
from wsock.sansio.connection import Connection as Core
from wsock.sansio.constants import Role
from wsock.wire.closing import Closing, makeLossReason

MIB = 2**20


class Transport:
    """Is handed to its driver."""


class Driver:
    """Does with a transport what it is told, and notes it.

    Attributes:
        canHalfCloseIt: whether the transport can close one half.
        ends: how the transport has ended: "half closed", "closed" or "lost".
        held: what the transport below an ended TLS still holds, after each try; None where there is none.
    """

    def __init__(self, outbox: "Outbox", canHalfCloseIt: bool = False, held: list[int] | None = None) -> None:
        self._outbox = outbox
        self.canHalfCloseIt = canHalfCloseIt
        self.held = held
        self.ends: list[str] = []

    def _end(self, transport: Any, how: str) -> None:
        assert isinstance(transport, Transport)
        assert not self._outbox.isRegistered, "it would wait for its producer"
        self.ends.append(how)

    def canHalfClose(self, transport: Any) -> bool:
        return self.canHalfCloseIt

    def halfClose(self, transport: Any) -> None:
        self._end(transport, "half closed")

    def close(self, transport: Any) -> None:
        self._end(transport, "closed")

    def canDrain(self, transport: Any) -> bool:
        return self.held is not None

    def drain(self, transport: Any) -> int:
        assert isinstance(transport, Transport)
        assert self.held is not None
        return self.held.pop(0)

    def loseDrained(self, transport: Any) -> None:
        self._end(transport, "lost")


class Outbox:
    """Holds bytes until it is told that the peer has taken them.

    Attributes:
        driver: the transport's.
        bytesInFlight: how many it holds.
        ended: whether TLS has ended.
        isRegistered: whether it is the transport's producer.
        unregistered: called when it is that no longer.
        isAborted: whether it has dropped what it held.
    """

    def __init__(self) -> None:
        self.driver = Driver(self)
        self.bytesInFlight = 0
        self.ended = False
        self.isRegistered = True
        self.unregistered: Callable[[], object] = lambda: None
        self.isAborted = False
        self._drained: Callable[[], None] | None = None

    def whenDrained(self, drained: Callable[[], None]) -> None:
        self._drained = drained
        self.take(0)

    def take(self, count: int) -> None:
        self.bytesInFlight -= count
        drained = self._drained
        if not self.bytesInFlight and drained is not None:
            self._drained = None
            drained()

    def unregister(self) -> None:
        self.isRegistered = False
        self.unregistered()

    def end(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.isAborted = True


class Ending:
    """A connection that ends.

    Attributes:
        ends: how its transport has ended.
        aborts: when it was aborted.
    """

    def __init__(self, canHalfClose: bool = False, held: list[int] | None = None, **settings: Any) -> None:
        self.clock = Clock()
        self.outbox = Outbox()
        driver = self.outbox.driver = Driver(self.outbox, canHalfClose, held)
        self.transport = Transport()
        self.ends = driver.ends
        self.aborts: list[float] = []
        self.closing = Closing(self.transport, self.outbox, self.clock, Settings(**settings), self._abort)  # type: ignore[arg-type]

    def _abort(self) -> None:
        self.aborts.append(self.clock.seconds())
        self.closing.stop()

    def run(self, seconds: float) -> list[float]:
        """Lets time pass; returns when the connection was aborted, so far."""
        self.clock.pump([0.5] * int(2 * seconds))
        return self.aborts


# Our last bytes


def test_what_has_left_already_is_not_waited_for() -> None:
    ending, told = Ending(), []
    ending.closing.whenSent(lambda: told.append("sent"))
    assert told == ["sent"]


def test_the_closing_timer_starts_when_the_last_bytes_have_left() -> None:
    ending = Ending(closeTimeout=3, pingTimeout=20)
    ending.outbox.bytesInFlight = 100
    ending.closing.whenSent(ending.closing.startTimer)
    assert ending.run(5) == []
    assert not ending.closing.flushed
    ending.outbox.take(100)
    assert ending.closing.flushed
    assert ending.run(30) == [8]
    assert ending.clock.getDelayedCalls() == []


def test_a_peer_that_takes_nothing_of_them_is_aborted() -> None:
    ending = Ending(closeTimeout=30, pingTimeout=4)
    ending.outbox.bytesInFlight = 100
    ending.closing.whenSent(ending.closing.startTimer)
    assert ending.run(40) == [4]


def test_a_peer_that_takes_some_of_them_has_time_for_more() -> None:
    ending = Ending(closeTimeout=30, pingTimeout=4)
    ending.outbox.bytesInFlight = 100
    ending.closing.whenSent(ending.closing.startTimer)
    for _ in range(3):
        ending.outbox.take(1)
        assert ending.run(4) == []
    assert ending.run(4) == [16]


def test_a_peer_that_is_sent_more_and_takes_nothing_is_aborted() -> None:
    ending = Ending(pingTimeout=4)
    ending.outbox.bytesInFlight = 100
    ending.closing.whenSent(ending.closing.startTimer)
    ending.outbox.bytesInFlight = 200
    assert ending.run(5) == [4]


def test_without_a_ping_timeout_the_closing_handshake_has_its_time() -> None:
    ending = Ending(closeTimeout=3, pingTimeout=None)
    ending.outbox.bytesInFlight = 100
    ending.closing.whenSent(ending.closing.startTimer)
    assert ending.run(10) == [3]


def test_without_any_timeout_it_waits() -> None:
    ending = Ending(closeTimeout=None, pingTimeout=None)
    ending.outbox.bytesInFlight = 100
    ending.closing.whenSent(ending.closing.startTimer)
    assert ending.clock.getDelayedCalls() == []
    ending.outbox.take(100)
    assert ending.closing.flushed
    assert ending.clock.getDelayedCalls() == []


def test_without_a_close_timeout_the_queue_is_watched_until_it_is_empty() -> None:
    ending = Ending(closeTimeout=None, pingTimeout=4)
    ending.outbox.bytesInFlight = 100
    ending.closing.whenSent(ending.closing.startTimer)
    ending.outbox.take(100)
    assert ending.run(10) == []
    assert ending.clock.getDelayedCalls() == []


def test_where_tls_has_ended_the_queue_is_not_watched() -> None:
    ending = Ending(closeTimeout=3, pingTimeout=4)
    ending.outbox.bytesInFlight, ending.outbox.ended = 100, True
    ending.closing.whenSent(ending.closing.startTimer)
    assert ending.clock.getDelayedCalls() == []
    ending.outbox.take(100)
    assert ending.run(5) == [3]


def test_the_closing_timer_runs_on_when_more_is_to_be_sent() -> None:
    ending = Ending(closeTimeout=3, pingTimeout=20)
    ending.closing.startTimer()
    ending.run(2)
    ending.outbox.bytesInFlight = 100
    ending.closing.whenSent(ending.closing.startTimer)
    assert ending.run(30) == [3]


def test_the_closing_timer_starts_once() -> None:
    ending = Ending(closeTimeout=3)
    ending.closing.startTimer()
    ending.run(2)
    ending.closing.startTimer()
    assert ending.run(30) == [3]


@pytest.mark.parametrize(
    ("limit", "seconds", "end"), [(10, 2, 3), (None, 2, 3), (2.5, 4, 2.5), (2, 2, 2)], ids=lambda value: str(value)
)
def test_one_in_a_hurry_has_the_lesser_of_two_times(limit: float | None, seconds: float, end: float) -> None:
    ending = Ending(closeTimeout=limit)
    ending.closing.startTimer()
    ending.run(1)
    ending.closing.hurry(seconds)
    assert ending.run(30) == [end]


# How the transport ends


def test_a_socket_closes_its_sending_half() -> None:
    ending = Ending(canHalfClose=True, closeTimeout=3)
    ending.outbox.bytesInFlight = 1
    ending.closing.endGently()
    assert ending.ends == []
    ending.outbox.take(1)
    assert ending.ends == ["half closed"]
    assert ending.closing.flushed
    assert ending.run(5) == [3]


def test_another_transport_closes() -> None:
    ending = Ending(closeTimeout=3)
    ending.outbox.bytesInFlight = 1
    ending.closing.endGently()
    assert ending.ends == []
    ending.outbox.take(1)
    assert ending.ends == ["closed"]
    assert ending.run(5) == [3]


def test_where_the_peer_sends_nothing_more_a_socket_closes_too() -> None:
    ending = Ending(canHalfClose=True, closeTimeout=3)
    ending.closing.loseTransport()
    assert ending.ends == ["closed"]
    assert ending.closing.flushed
    assert ending.run(5) == [3]


@pytest.mark.parametrize("act", ["stop", "lost"])
@pytest.mark.parametrize("flushed", [True, False])
def test_nothing_is_waited_for_after_the_end(act: str, flushed: bool) -> None:
    ending = Ending()
    ending.outbox.bytesInFlight = 0 if flushed else 1
    ending.closing.whenSent(ending.closing.startTimer)
    assert len(ending.clock.getDelayedCalls()) == 1
    getattr(ending.closing, act)()
    assert ending.clock.getDelayedCalls() == []


def test_the_loss_lets_go_of_the_connection() -> None:
    ending = Ending()
    closing, gone = ending.closing, [ref(ending), ref(ending.outbox), ref(ending.transport)]
    closing.lost()
    del ending
    gc.collect()
    assert [one() for one in gone] == [None, None, None]
    # The connection may have a use for it still.
    closing.timer.stop()


def test_giving_up_says_why() -> None:
    ending = Ending()
    assert ending.closing.abortReason is None
    ending.closing.giveUp("no sign of life")
    assert ending.closing.abortReason == "no sign of life"
    assert ending.aborts == [0]


# How it was lost


def core(*, sent: bool = False, received: bytes = b"") -> Core:
    """A core whose Close was sent, and that has received something, in this order."""
    made = Core(Role.SERVER)
    if sent:
        made.close(1001, "going")
    made.receive_data(received)
    return made


#: A Close with 3000 and a reason that no terminal is to see, and one without anything.
THEIRS = bytes.fromhex("888500000000") + b"\x0b\xb8b\x1be"
NOTHING = bytes.fromhex("888000000000")


def reason(made: Core, flushed: bool = True, abortReason: str | None = None, closing: bool = True) -> WebSocketEnded:
    ending = Ending()
    if flushed:
        ending.closing.startTimer()
    if abortReason is not None:
        ending.closing.giveUp(abortReason)
    return makeLossReason(made, ending.closing if closing else None)


def test_closed_by_the_peer() -> None:
    error = reason(core(received=THEIRS))
    assert isinstance(error, WebSocketClosed)
    assert str(error) == "closed with 3000 b?e"
    assert (error.closeReceived, error.closeSent) == ((3000, "b\x1be"), (3000, ""))
    assert (error.code, error.reason) == (3000, "b\x1be")


def test_closed_by_us() -> None:
    error = reason(core(sent=True, received=NOTHING))
    assert isinstance(error, WebSocketClosed)
    assert str(error) == "closed with 1005"
    assert (error.closeReceived, error.closeSent) == ((1005, ""), (1001, "going"))
    assert (error.code, error.reason) == (1001, "going")


@pytest.mark.parametrize("closing", [True, False])
def test_an_answer_that_did_not_leave_was_not_sent(closing: bool) -> None:
    error = reason(core(received=THEIRS), flushed=False, closing=closing)
    assert isinstance(error, WebSocketDropped)
    assert str(error) == "the connection was lost before our Close"
    assert (error.closeReceived, error.closeSent, error.code) == ((3000, "b\x1be"), None, 1006)


@pytest.mark.parametrize("flushed", [True, False])
def test_lost_before_the_peers_close(flushed: bool) -> None:
    error = reason(core(sent=True), flushed)
    assert isinstance(error, WebSocketDropped)
    assert str(error) == "the connection was lost before the peer's Close"
    assert (error.closeReceived, error.closeSent) == (None, (1001, "going") if flushed else None)
    assert error.code == 1006


def test_lost_without_any_close() -> None:
    error = reason(core(), closing=False)
    assert (str(error), error.code) == ("the connection was lost before the peer's Close", 1006)


@pytest.mark.parametrize("abortReason", [None, "no sign of life"])
def test_lost_for_a_fault(abortReason: str | None) -> None:
    made = core(received=FAULT)
    error = reason(made, abortReason=abortReason)
    assert isinstance(error, WebSocketDropped)
    assert (str(error), error.code, error.closeSent) == (str(made.failed), 1002, made.close_sent)
    assert made.close_sent is not None


def test_lost_because_we_gave_it_up() -> None:
    error = reason(core(sent=True), flushed=False, abortReason="no sign of life")
    assert isinstance(error, WebSocketDropped)
    assert (str(error), error.code, error.closeSent) == ("no sign of life", 1011, None)


# Input that nobody gets


@pytest.mark.parametrize(
    ("largest", "most"), [(MIB, 16 * MIB), (None, 16 * MIB), (16 * MIB + 5, 16 * MIB + 5)], ids=lambda one: str(one)
)
def test_a_peer_that_floods_us_is_aborted(largest: int | None, most: int) -> None:
    ending = Ending(maxMessageSize=largest)
    for _ in range(15):
        ending.closing.dataReceived(bytes(MIB))
    ending.closing.discard(most - 15 * MIB)
    assert ending.aborts == []
    ending.closing.dataReceived(b"x")
    assert len(ending.aborts) == 1


def test_a_message_that_somebody_gets_makes_up_for_it() -> None:
    ending = Ending()
    ending.closing.discard(16 * MIB)
    ending.closing.delivered()
    ending.closing.discard(16 * MIB)
    assert ending.aborts == []
    ending.closing.discard(1)
    assert len(ending.aborts) == 1


# The end of TLS


def test_when_tls_ends_nothing_can_be_sent() -> None:
    ending = Ending(closeTimeout=3)
    ending.outbox.bytesInFlight = 1
    ending.closing.tlsEnded()
    assert ending.outbox.ended
    # TLS is at its own work still.
    assert ending.outbox.isRegistered
    assert not ending.outbox.isAborted
    ending.clock.advance(0)
    assert not ending.outbox.isRegistered
    assert ending.outbox.isAborted
    assert ending.run(10) == [3]


def test_when_tls_ends_behind_our_last_bytes_the_transport_waits_for_nobody() -> None:
    ending = Ending(closeTimeout=3)
    ending.closing.startTimer()
    ending.closing.tlsEnded()
    assert not ending.outbox.isRegistered


@pytest.mark.parametrize("flushed", [False, True])
def test_when_tls_ends_the_transport_may_be_lost_as_its_producer_leaves(flushed: bool) -> None:
    ending = Ending(closeTimeout=3)
    ending.outbox.unregistered = ending.closing.lost
    if flushed:
        ending.closing.startTimer()
    ending.closing.tlsEnded()
    ending.clock.advance(0)
    assert ending.clock.getDelayedCalls() == []
    assert ending.aborts == []


def test_the_end_of_tls_does_not_prolong_the_closing_timer() -> None:
    ending = Ending(closeTimeout=3)
    ending.closing.startTimer()
    ending.run(2)
    ending.closing.tlsEnded()
    assert ending.run(10) == [3]
    assert ending.clock.getDelayedCalls() == []


def test_without_a_close_timeout_the_end_of_tls_has_no_timer() -> None:
    ending = Ending(closeTimeout=None)
    ending.closing.tlsEnded()
    ending.clock.advance(0)
    assert ending.clock.getDelayedCalls() == []


@pytest.mark.parametrize("turns", [0, 1])
@pytest.mark.parametrize("held", [None, [5, 4]])
def test_after_the_loss_the_end_of_tls_is_forgotten(turns: int, held: list[int] | None) -> None:
    ending = Ending(held=held and list(held), closeTimeout=3)
    ending.closing.tlsEnded()
    ending.clock.pump([0] * turns)
    ending.closing.lost()
    assert ending.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("held", "left"),
    [
        ([0], []),
        ([9, 8, 7, 0], []),
        # The peer takes nothing more.
        ([9, 8, 8, 7], [7]),
        ([9, 10, 7], [7]),
    ],
)
def test_below_an_ended_tls_a_peer_that_reads_gets_the_rest(held: list[int], left: list[int]) -> None:
    ending = Ending(held=held, closeTimeout=3)
    ending.closing.tlsEnded()
    ending.clock.pump([0, *[0.1] * 10])
    assert held == left
    assert ending.ends == ["lost"]
    assert ending.aborts == []
    assert ending.clock.getDelayedCalls() == []


def test_below_an_ended_tls_a_slow_peer_has_the_closing_timeout() -> None:
    ending = Ending(held=list(range(100, 0, -1)), closeTimeout=0.5)
    ending.clock.advance(8)
    ending.closing.tlsEnded()
    ending.clock.pump([0, *[0.125] * 3])
    assert ending.ends == []
    ending.clock.advance(0.125)
    assert ending.ends == ["lost"]
    assert ending.clock.getDelayedCalls() == []


def test_below_an_ended_tls_a_slow_peer_may_have_any_time() -> None:
    held = list(range(100, 0, -1))
    ending = Ending(held=held, closeTimeout=None)
    ending.closing.tlsEnded()
    ending.clock.pump([0, *[0.125] * 99])
    assert ending.ends == []
    held.append(0)
    ending.clock.advance(0.125)
    assert ending.ends == ["lost"]


def test_after_an_abort_nothing_more_is_tried() -> None:
    ending = Ending(held=[5, 4], closeTimeout=3)
    ending.closing.tlsEnded()
    ending.clock.advance(0)
    ending.closing.stop()
    assert ending.clock.getDelayedCalls() == []
    assert ending.ends == []
