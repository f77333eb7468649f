"""The table of a connection's states, and a machine that walks it through whole connections."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from wire import CLOSE, FAULT, PING, REQUEST, Application, Asked, Producer, Served, Slow, logged, text

from wsock.wire import state
from wsock.wire.state import ABORTED, CLOSING, ENDING, LOST, NAMES, NEXT, OPEN, OPENING, OVER, describe, enter

#: All that may follow each state; the diagram of the design, written down a second time.
TABLE = {
    "OPENING": "OPEN ENDING HANDED_ON ABORTED LOST",
    "OPEN": "CLOSING ENDING ABORTED LOST",
    "CLOSING": "ENDING ABORTED LOST",
    "ENDING": "ABORTED LOST",
    "HANDED_ON": "ABORTED LOST",
    "ABORTED": "LOST",
    "LOST": "OVER",
    "OVER": "",
}


def test_the_table() -> None:
    for present, name in enumerate(NAMES):
        allowed = set(TABLE[name].split())
        assert {NAMES[following] for following in NEXT[present]} == allowed
        for wanted, other in enumerate(NAMES):
            if other in allowed:
                assert enter(present, wanted) == wanted
            else:
                with pytest.raises(RuntimeError, match=f"from {name} to {other}$"):
                    enter(present, wanted)
    assert [getattr(state, name) for name in NAMES] == list(range(8))


def test_the_design_shows_the_table() -> None:
    design = Path(__file__).parent.parent / "docs" / "design.md"
    shown = re.search(r"<!-- states -->\n(.*?)\n<!-- end of states -->", design.read_text(encoding="utf-8"), re.DOTALL)
    assert shown is not None
    assert shown[1] == describe()


def frame(first: int, payload: bytes) -> bytes:
    """A short frame, with a mask of zeros from a client."""
    return bytes((first, 0x80 | len(payload), 0, 0, 0, 0)) + payload


def unmasked(first: int, payload: bytes) -> bytes:
    return bytes((first, len(payload))) + payload


#: A callback of the application may: fail in some way, take its time, or call a method of its transport.
PLANS = ["raises", "fails", "waits", "never", "loseConnection", "abortConnection", "pauseProducing"]


class Never(Deferred[Any]):
    """Fires for nobody, and is not impressed by a cancellation."""

    def cancel(self) -> None:
        pass


MASKED = [
    text("a"),
    text("a") * 40,
    PING,
    CLOSE,
    text("b") + CLOSE,
    FAULT,
    text("c") + FAULT,
    frame(0x01, b"half"),
    frame(0x80, b"rest"),
    frame(0x8A, b"pong"),
    text("d")[:3],
    frame(0x88, b"\x03\xe8bye"),
]
PLAIN = [
    unmasked(0x81, b"a"),
    unmasked(0x81, b"a") * 40,
    unmasked(0x89, b"ping"),
    unmasked(0x88, b"\x03\xe8"),
    unmasked(0x82, b"b") + unmasked(0x88, b"\x03\xe8"),
    b"\xc1\x00",
    unmasked(0x81, b"c") + b"\xc1\x00",
    unmasked(0x01, b"half"),
    unmasked(0x80, b"rest"),
    unmasked(0x8A, b"pong"),
    unmasked(0x81, b"d")[:1],
    unmasked(0x88, b"\x03\xe8bye"),
]


class Connections(RuleBasedStateMachine):
    """One connection, from its first byte to its end; what the peer, the application, the transport and time do.

    Attributes:
        makeConnection: makes the connection of one role.
        frames: what the peer may send.
    """

    makeConnection: Callable[..., Any]
    frames: list[bytes]

    @initialize(
        slowConsumer=st.sampled_from(["wait", "close", "drop"]),
        pingInterval=st.sampled_from([None, 5]),
        closeTimeout=st.sampled_from([None, 10]),
        receiveQueue=st.sampled_from([1, 16]),
        sendLimit=st.sampled_from([None, 100_000]),
    )
    def make(self, **settings: Any) -> None:
        self.closeTimeout = settings["closeTimeout"]
        #: The next step of each callback of the application.
        self.plans: list[Any] = []
        self.pending: list[Deferred[Any]] = []
        self.entered: list[tuple[int, int]] = []
        self.log = logged()
        self.log.__enter__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("wsock.wire.protocol.enter", self.enter)
        does = dict.fromkeys(("started", "finished", "message", "pong", "lost"), self.act)
        self.application = Application(**does)
        self.waiting: list[Deferred[Any]] = []
        self.connection = type(self).makeConnection(self.application, settings, transport=Slow())
        self.wire = self.connection.wire
        self.transport = self.connection.transport
        self.clock = self.connection.clock
        self.isLost = False
        self.isBlocked = False

    def enter(self, present: int, wanted: int) -> int:
        assert NAMES[wanted] in TABLE[NAMES[present]].split()
        self.entered.append((present, wanted))
        return enter(present, wanted)

    def act(self, application: Application) -> Any:
        plan = self.plans.pop(0) if self.plans else None
        if plan == "raises":
            raise ValueError("planned")
        if plan == "fails":
            failing: Deferred[Any] = Deferred()
            failing.errback(ValueError("planned"))
            return failing
        if plan in ("waits", "never"):
            deferred: Deferred[Any] = Deferred() if plan == "waits" else Never()
            self.pending.append(deferred)
            return deferred
        if plan is not None:
            getattr(application.transport, plan)()
        return None

    # The application

    @rule(
        plan=st.sampled_from(
            ["raises", "fails", "waits", "never", "loseConnection", "abortConnection", "pauseProducing"]
        )
    )
    def plan(self, plan: str) -> None:
        self.plans.append(plan)

    @precondition(lambda self: self.pending)
    @rule(how=st.sampled_from(["callback", "errback", "cancel"]))
    def end_a_callback(self, how: str) -> None:
        deferred = self.pending.pop(0)
        if deferred.called:
            return
        if how == "callback":
            deferred.callback(None)
        elif how == "errback":
            deferred.errback(ValueError("planned"))
        else:
            deferred.cancel()

    @rule(size=st.sampled_from([0, 10, 70_000]))
    def send(self, size: int) -> None:
        self.wire.sendBytesMessage(bytes(size))

    @rule(code=st.sampled_from([1000, None, 3000]))
    def close(self, code: int | None) -> None:
        self.wire.loseConnection(code)

    @rule(name=st.sampled_from(["abortConnection", "pauseProducing", "resumeProducing", "ping", "detachProducer"]))
    def call(self, name: str) -> None:
        getattr(self.wire, name)()

    @rule(name=st.sampled_from(["whenWritable", "whenClosed", "whenOpen", "measureLatency"]), cancel=st.booleans())
    def wait(self, name: str, cancel: bool) -> None:
        waiting = getattr(self.wire, name)()
        waiting.addErrback(lambda failure: None)
        if cancel:
            waiting.cancel()
        else:
            self.waiting.append(waiting)

    @rule(streaming=st.booleans())
    def attach(self, streaming: bool) -> None:
        self.wire.detachProducer()
        # A pull producer is asked as often as time passes: this one has something for three times.
        resumed: list[None] = []

        def resume() -> None:
            resumed.append(None)
            if len(resumed) == 3:
                self.wire.detachProducer()

        self.wire.attachProducer(Producer(resume=resume), streaming)

    # The peer, the transport, and time

    @precondition(lambda self: not self.isLost)
    @rule(data=st.data())
    def feed(self, data: st.DataObject) -> None:
        pieces = [*self.frames] if self.wire._state != OPENING else [self.opening(), b"GET / HT", b"nonsense\r\n\r\n"]
        self.wire.dataReceived(data.draw(st.sampled_from(pieces)))

    def opening(self) -> bytes:
        raise NotImplementedError

    @precondition(lambda self: not self.isLost)
    @rule()
    def take(self) -> None:
        self.transport.taken()
        if self.transport.producer is not None:
            self.transport.producer.resumeProducing()

    @precondition(lambda self: not self.isLost)
    @rule(kind=st.sampled_from([ConnectionDone, ConnectionLost]))
    def lose(self, kind: Any) -> None:
        self.isLost = True
        self.wire.connectionLost(Failure(kind()))

    @rule(seconds=st.sampled_from([0, 0.1, 1, 4, 10, 21]))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    # Invariants

    @invariant()
    def connectionLost_is_once_and_last(self) -> None:
        told = self.application.told
        assert told.count("lost") <= 1
        if "lost" in told:
            assert told[-1] == "lost"
            assert told[0] == "started"
            assert self.wire._state == OVER

    @invariant()
    def what_can_be_asked_fits_the_state(self) -> None:
        present = self.wire._state
        assert self.wire.isOpen == (present == OPEN)
        if present in (OPENING, OPEN):
            assert self.wire.closeReceived is None
        if present == CLOSING:
            assert self.wire.closeSent is not None
        if present in (ENDING, ABORTED, LOST, OVER):
            assert not self.wire.isOpen
        if self.isLost:
            assert present >= LOST

    def teardown(self) -> None:
        try:
            if not self.isLost:
                self.lose(ConnectionDone)
            self.plans.clear()
            for _ in range(3):
                self.clock.advance(100)
            if self.closeTimeout is None:
                # Nothing gives up on a callback that is not done.
                for deferred in self.pending:
                    if not deferred.called:
                        deferred.callback(None)
                self.wire.resumeProducing()
                self.clock.advance(1)
                if self.wire._state == LOST:
                    # It paused in one of the last callbacks.
                    self.wire.resumeProducing()
                    self.clock.advance(1)
            assert self.application.told.count("lost") == ("started" in self.application.told)
            assert self.wire._state == OVER
            assert all(waiting.called for waiting in self.waiting)
            assert self.clock.getDelayedCalls() == []
        finally:
            for deferred in self.pending:
                deferred.addErrback(lambda failure: failure.trap(ValueError, CancelledError) and None)
            self.patch.undo()
            self.log.__exit__(None, None, None)


class Servers(Connections):
    """A server's connections."""

    makeConnection = Served
    frames = MASKED

    def opening(self) -> bytes:
        return REQUEST


class Clients(Connections):
    """A client's connections."""

    makeConnection = Asked
    frames = PLAIN

    def opening(self) -> bytes:
        answer: bytes = self.connection.answer()
        return answer


TestServers = Servers.TestCase
TestClients = Clients.TestCase
# An example takes fifty steps: a hundred of them take some seconds.
TestServers.settings = TestClients.settings = settings(max_examples=100, deadline=None)
