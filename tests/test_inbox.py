"""The inbox, alone: its connection, its outbox and its transport are plain objects; the protocol is the real core."""

import gc
from asyncio import CancelledError as AsyncioCancelled
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from wire import CLOSE, CLOSE_SENT, FAULT, HELLO, PING, PONG, PONG_SENT, Application, failures, logged, text

from wsock import Settings
from wsock.sansio.connection import Connection as Core
from wsock.sansio.constants import Role
from wsock.wire.inbox import Inbox
from wsock.wire.keepalive import Keepalive


class Outbox:
    """Keeps what is written until it is uncorked.

    Attributes:
        paused: whether the transport takes no more.
        writable: whether the connection does.
        writes: what left, each time that something did.
    """

    def __init__(self) -> None:
        self.paused = False
        self.writable = True
        self.writes: list[bytes] = []
        self.isCorked = False
        self._queue: list[bytes] = []

    def block(self, blocked: bool = True) -> None:
        self.paused, self.writable = blocked, not blocked

    def cork(self) -> None:
        self.isCorked = True

    def uncork(self) -> None:
        self.isCorked = False
        self.write([])

    def write(self, message: list[bytes]) -> None:
        self._queue += message
        if self._queue and not self.isCorked:
            self.writes.append(b"".join(self._queue))
            self._queue.clear()

    writeClose = writePongs = write


class Transport:
    """Notes each time that it is told to read or not."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")


class Connection:
    """A connection that is open, as far as its inbox goes.

    Attributes:
        told: what the inbox tells of the connection: "ended", "empty", and "exempt" with whether it begins.
        failures: what the application raised, and in which callback.
        answers: the Pongs of the keepalive's.
        heard: whether there was an application to hear of the loss, each time that it was to.
        cancels: what was to be cancelled.
        discards: how many bytes came behind our Close that nobody gets, each time.
        delivers: how many messages came behind it that the application gets.
    """

    def __init__(self, application: Any = None, attach: bool = True, **settings: Any) -> None:
        self.clock = Clock()
        self.settings = Settings(**settings)
        self.outbox = Outbox()
        self.transport = Transport()
        self.told: list[Any] = []
        self.failures: list[tuple[BaseException | None, str]] = []
        self.answers: list[bytes] = []
        self.discards: list[int] = []
        self.heard: list[bool] = []
        self.cancels: list[Deferred[Any]] = []
        self.delivers = 0
        self.core = Core(
            Role.SERVER,
            max_message_size=self.settings.maxMessageSize,
            receive_queue=self.settings.receiveQueue,
        )
        self.inbox = Inbox(self, self.core, self.outbox, self.clock, self.settings)  # type: ignore[arg-type]
        self.application = Application() if application is None else application
        if attach:
            self.inbox.attach(self.application)

    # Calls that the inbox makes

    def inboxEnded(self) -> None:
        self.told.append("ended")
        self.inbox.updateReading()

    def inboxFailed(self, failure: Failure, callback: str) -> None:
        self.failures.append((failure.value, callback))
        self.inbox.discard()

    def inboxPong(self, payload: bytes) -> None:
        self.answers.append(payload)

    def inboxExempt(self, isExempt: bool) -> None:
        self.told.append(("exempt", isExempt))

    def inboxDiscards(self, size: int) -> None:
        self.discards.append(size)

    def inboxDelivers(self) -> None:
        self.delivers += 1

    def inboxEmpty(self) -> None:
        self.told.append("empty")
        self.heard.append(self.inbox.finish() is not None)

    def cancel(self, deferred: Deferred[Any]) -> None:
        self.cancels.append(deferred)
        deferred.cancel()

    # Calls of the inbox

    def open(
        self,
        callbacks: dict[str, Callable[[], object]] | None = None,
        pending: Any = None,
        unread: bytes = b"",
        reading: bool = True,
        first: Callable[[], None] = lambda: None,
        last: Callable[[], None] = lambda: None,
    ) -> "Connection":
        self.inbox.open(self.transport, first, callbacks or {}, pending, last, unread, reading)
        self.inbox.proceed()
        return self

    def feed(self, *pieces: bytes) -> bytes:
        """Has it receive bytes; returns what left upon that."""
        self.outbox.writes.clear()
        for piece in pieces:
            self.inbox.dataReceived(piece)
        return b"".join(self.outbox.writes)

    def turn(self) -> None:
        self.clock.advance(0)

    def close(self) -> None:
        """We close it."""
        self.outbox.write(self.core.close(1000))
        self.inbox.updateReading()
        self.inbox.closeSent()

    def lose(self) -> None:
        """The transport is lost."""
        self.core.lose()
        self.inbox.lose()
        self.inbox.proceed()

    @property
    def messages(self) -> list[Any]:
        return self.application.messages  # type: ignore[no-any-return]


def opened(application: Any = None, **settings: Any) -> Connection:
    return Connection(application, **settings).open()


def texts(first: int, last: int) -> list[str]:
    return [f"m{number}" for number in range(first, last)]


def stream(first: int, last: int) -> bytes:
    return b"".join(map(text, texts(first, last)))


class Pending:
    """A callback that is done when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[Any]] = []
        self.cancelled = 0

    def __call__(self, application: Application) -> Deferred[Any]:
        self.waiting.append(Deferred(self._cancelled))
        return self.waiting[-1]

    def _cancelled(self, _: object) -> None:
        self.cancelled += 1

    def fire(self) -> None:
        self.waiting.pop(0).callback(None)


class ForStreams(Application):
    """An application that applies backpressure itself."""

    appliesBackpressure = True


# The opening


def test_it_opens_in_order_and_the_first_message_comes_last() -> None:
    order: list[str] = []
    connection = Connection(Application(message=lambda _: order.append("message")))
    connection.clock.advance(3)
    connection.open(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")},
        unread=HELLO,
        first=lambda: order.append("first"),
        last=lambda: order.append("last"),
    )
    assert order == ["first", "a", "b", "last", "message"]
    assert connection.inbox.lastReceived == 3


def test_what_is_sent_meanwhile_leaves_in_one_write() -> None:
    connection = Connection()
    write = connection.outbox.write
    connection.open({"a": lambda: write([b"a"])}, first=lambda: write([b"1"]), last=lambda: write([b"z"]), unread=PING)
    assert connection.outbox.writes == [b"1az", PONG_SENT]


@pytest.mark.parametrize("error", [RuntimeError("expected"), AsyncioCancelled()])
def test_a_callback_that_raises_is_the_last(error: BaseException) -> None:
    def fails() -> None:
        raise error

    called: list[str] = []
    connection = Connection().open({"a": fails, "b": lambda: called.append("b")}, unread=HELLO)
    assert connection.failures == [(error, "a")]
    assert (called, connection.messages) == ([], [])
    assert connection.inbox.discarded == 1


def test_a_callback_that_has_failed_already_is_the_last() -> None:
    error = RuntimeError("expected")
    called: list[str] = []
    connection = Connection().open({"a": lambda: fail(error), "b": lambda: called.append("b")})
    assert connection.failures == [(error, "a")]
    assert called == []


def test_a_callback_that_aborts_the_connection_is_the_last() -> None:
    called: list[str] = []
    connection = Connection()
    connection.open({"a": connection.inbox.drop, "b": lambda: called.append("b")}, unread=HELLO)
    assert (called, connection.messages) == ([], [])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_first_message_waits_for_all_callbacks(order: tuple[int, int]) -> None:
    waiting = [Deferred[None](), Deferred[None]()]
    connection = Connection().open({"b": lambda: waiting[1]}, pending=waiting[0])
    connection.feed(HELLO)
    waiting[order[0]].callback(None)
    assert connection.messages == []
    waiting[order[1]].callback(None)
    assert connection.messages == ["Hello"]


@pytest.mark.parametrize(("which", "name"), [(0, "negotiationStarted"), (1, "b")])
def test_the_callback_that_fails_is_named(which: int, name: str) -> None:
    waiting = [Deferred[None](), Deferred[None]()]
    error = RuntimeError("expected")
    connection = Connection().open({"b": lambda: waiting[1]}, pending=waiting[0])
    with logged() as events:
        waiting[which].errback(error)
        assert connection.failures == [(error, name)]
        waiting[1 - which].callback(None)
        gc.collect()
    assert len(connection.failures) == 1
    assert failures(events) == []


@pytest.mark.parametrize("name", ["b", "negotiationStarted"])
def test_one_callback_alone_is_named_too(name: str) -> None:
    waiting, error = Deferred[None](), RuntimeError("expected")
    connection = Connection()
    if name == "b":
        connection.open({"a": lambda: None, "b": lambda: waiting})
    else:
        connection.open({"b": lambda: None}, pending=waiting)
    waiting.errback(error)
    assert connection.failures == [(error, name)]


def test_a_transport_that_was_paused_before_is_read_again() -> None:
    assert Connection().open(reading=False).transport.told == ["resume"]
    assert Connection().open().transport.told == []


# Order


def test_messages_and_pongs_come_in_order() -> None:
    connection = opened()
    connection.feed(text("a") + PONG + bytes.fromhex("8282000000000102") + text("b"), text("c"))
    assert connection.messages == ["a", ("pong", b"ab"), b"\x01\x02", "b", "c"]
    assert (connection.delivers, connection.discards) == (0, [])


@pytest.mark.parametrize("size", [1, 7, 10000])
def test_more_messages_than_are_decoded_at_a_time(size: int) -> None:
    connection = opened(receiveQueue=3)
    data = stream(0, 100)
    connection.feed(*(data[begin : begin + size] for begin in range(0, len(data), size)))
    assert connection.messages == texts(0, 100)
    assert connection.transport.told == []


def test_bytes_are_noted() -> None:
    connection = opened()
    connection.clock.advance(2)
    connection.feed(HELLO[:1])
    assert connection.inbox.lastReceived == 2


def test_what_callbacks_send_leaves_in_one_write() -> None:
    connection = opened(Application(message=lambda _: connection.outbox.write([b"x"])))
    assert connection.feed(stream(0, 3) + PING + text("last")) == PONG_SENT + b"xxxx"
    assert len(connection.outbox.writes) == 1


def test_what_callbacks_send_leaves_in_one_write_however_it_is_decoded() -> None:
    connection = opened(Application(message=lambda _: connection.outbox.write([b"x"])), receiveQueue=2)
    assert connection.feed(stream(0, 9)) == b"x" * 9
    assert len(connection.outbox.writes) == 1


@pytest.mark.parametrize("one", [HELLO, HELLO + PING])
def test_what_comes_within_a_callback_waits_for_it(one: bytes) -> None:
    def again(application: Application) -> None:
        if len(application.messages) == 1:
            connection.inbox.dataReceived(text("b"))
            connection.inbox.dataReceived(text("c"))
            application.told.append("returned")

    connection = opened(Application(message=again))
    connection.feed(one)
    assert connection.messages == ["Hello", "returned", "b", "c"]
    assert connection.transport.told == []


def test_pongs_of_the_keepalive_are_its_own() -> None:
    payload = ourPing()
    pending = Pending()
    connection = opened(Application(message=pending))
    connection.feed(pong(payload), HELLO, pong(payload) + PONG)
    assert connection.answers == [payload] * 2
    pending.fire()
    assert connection.messages == ["Hello", ("pong", b"ab")]


def ourPing() -> bytes:
    class Owner:
        def ping(self, payload: bytes) -> None:
            pings.append(payload)

        def keepaliveTimedOut(self, seconds: float) -> None: ...

    pings: list[bytes] = []
    Keepalive(Owner(), Clock(), None, None, None).measure()  # type: ignore[arg-type]
    return pings[0]


def pong(payload: bytes) -> bytes:
    return bytes((0x8A, 0x80 | len(payload), 0, 0, 0, 0)) + payload


# Pauses


def test_a_pause_stops_delivery_and_reading() -> None:
    connection = opened(Application(message=lambda _: connection.inbox.pause()))
    connection.feed(stream(0, 3))
    assert connection.messages == ["m0"]
    assert connection.transport.told == ["pause"]
    del connection.application.does["message"]
    connection.inbox.resume()
    assert connection.messages == ["m0"]
    connection.turn()
    assert connection.messages == texts(0, 3)
    assert connection.transport.told == ["pause", "resume"]


def test_what_comes_in_a_pause_stays_in_order() -> None:
    connection = opened(Application(message=lambda _: connection.inbox.pause()))
    connection.feed(stream(0, 2) + text("m2")[:3])
    del connection.application.does["message"]
    connection.feed(text("m2")[3:])
    connection.inbox.resume()
    connection.feed(text("m3"))
    assert connection.messages == ["m0"]
    connection.turn()
    assert connection.messages == texts(0, 4)


def test_resuming_twice_goes_on_once() -> None:
    connection = opened()
    connection.inbox.pause()
    connection.inbox.resume()
    connection.inbox.resume()
    assert len(connection.clock.getDelayedCalls()) == 1


def test_a_pause_that_comes_before_the_next_turn_counts() -> None:
    connection = opened()
    connection.inbox.pause()
    connection.feed(HELLO)
    connection.inbox.resume()
    connection.inbox.pause()
    connection.turn()
    assert connection.messages == []
    assert connection.transport.told == ["pause"]


def test_in_a_pause_nothing_is_decoded() -> None:
    connection = opened()
    connection.inbox.pause()
    assert connection.feed(PING, PING) == b""
    connection.inbox.resume()
    connection.turn()
    assert connection.outbox.writes == [PONG_SENT * 2]


def test_a_transport_that_another_hand_resumes_is_paused_again() -> None:
    connection = opened()
    connection.inbox.pause()
    connection.feed(bytes(65535))
    assert connection.transport.told == ["pause"]
    connection.feed(b"a")
    connection.feed(b"a")
    assert connection.transport.told == ["pause"] * 3


# Callbacks that take their time


def test_the_next_message_waits_for_a_callback() -> None:
    pending = Pending()
    connection = opened(Application(message=pending, pong=pending))
    connection.feed(stream(0, 1) + PONG, text("m1"))
    assert connection.messages == ["m0"]
    pending.fire()
    assert connection.messages == ["m0", ("pong", b"ab")]
    pending.fire()
    pending.fire()
    assert connection.messages == ["m0", ("pong", b"ab"), "m1"]
    assert connection.feed(text("m2")) == b""
    assert connection.messages[-1] == "m2"


def test_a_coroutine_is_waited_for_too() -> None:
    waiting = Deferred[None]()

    async def wait() -> None:
        await waiting

    connection = opened(Application(message=lambda _: wait()))
    connection.feed(stream(0, 2))
    assert connection.messages == ["m0"]
    waiting.callback(None)
    assert connection.messages == ["m0", "m1"]


@pytest.mark.parametrize("result", [False, 42, "text", [Deferred()]], ids=repr)
def test_other_results_are_not_waited_for(result: object) -> None:
    connection = opened(Application(message=lambda _: result))
    connection.feed(stream(0, 3))
    assert connection.messages == texts(0, 3)


def test_the_result_of_a_deferred_is_left_as_it_is() -> None:
    shared: Deferred[str] = Deferred()
    connection = opened(Application(message=lambda _: shared))
    connection.feed(HELLO)
    shared.callback("result")
    assert shared.result == "result"


def test_pings_are_answered_while_a_callback_is_not_done() -> None:
    connection = opened(Application(message=Pending()))
    assert connection.feed(HELLO + PING) == PONG_SENT
    assert connection.feed(PING) == PONG_SENT


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_exactly_the_receive_queue_is_taken_in(size: int) -> None:
    pending = Pending()
    connection = opened(Application(message=pending), receiveQueue=4)
    # One is delivered and four are taken in: the Ping before the last of them is answered, that behind it is not.
    data = stream(0, 4) + PING + text("m4") + PING + text("m5")
    assert connection.feed(*(data[place : place + size] for place in range(0, len(data), size))) == PONG_SENT
    assert connection.transport.told == ["pause"]
    connection.outbox.writes.clear()
    pending.fire()
    assert connection.outbox.writes == [PONG_SENT]
    pending.fire()
    assert connection.transport.told == ["pause", "resume"]
    while pending.waiting:
        pending.fire()
    assert connection.messages == texts(0, 6)
    assert (connection.delivers, connection.discards) == (0, [])


def test_a_queue_that_one_segment_fills() -> None:
    connection = opened(Application(message=Pending()), receiveQueue=4)
    connection.feed(stream(0, 4))
    assert connection.transport.told == []
    connection = opened(Application(message=Pending()), receiveQueue=4)
    connection.feed(stream(0, 5))
    assert connection.transport.told == ["pause"]


def test_a_ping_that_comes_within_a_callback_that_is_not_done_is_answered() -> None:
    def callback(_: Application) -> Any:
        connection.inbox.dataReceived(PING)
        return Deferred()

    connection = opened(Application(message=callback))
    assert connection.feed(HELLO) == PONG_SENT


@pytest.mark.parametrize("message", ["x" * 100, "\N{PILE OF POO}" * 25, "\xe9" * 50], ids=["ascii", "emoji", "latin-1"])
def test_one_limit_of_text_is_taken_in(message: str) -> None:
    pending = Pending()
    connection = opened(Application(message=pending), maxMessageSize=200)
    for count in range(5):
        assert connection.transport.told == (["pause"] if count > 2 else [])
        connection.feed(text(message))
    for _ in range(5):
        pending.fire()
    assert connection.messages == [message] * 5


@pytest.mark.parametrize("first", [b"\x81", b"\x82"], ids=["ascii", "bytes"])
def test_to_the_byte_one_limit_is_taken_in(first: bytes) -> None:
    connection = opened(Application(message=Pending()), maxMessageSize=100)
    connection.feed(HELLO, first + bytes.fromhex("e300000000") + b"x" * 99)
    assert connection.transport.told == []
    connection.feed(first + bytes.fromhex("8100000000") + b"x")
    assert connection.transport.told == ["pause"]


def test_one_mebibyte_is_taken_in_where_messages_have_no_limit() -> None:
    connection = opened(Application(message=Pending()), maxMessageSize=None)
    connection.feed(HELLO, bytes.fromhex("82ff") + (2**20 - 1).to_bytes(8, "big") + bytes(4) + bytes(2**20 - 1))
    assert connection.transport.told == []
    connection.feed(bytes.fromhex("828100000000") + b"x")
    assert connection.transport.told == ["pause"]


def test_a_pause_outlasts_a_callback_that_is_done() -> None:
    pending = Pending()
    connection = opened(Application(message=pending))
    connection.feed(stream(0, 2))
    connection.inbox.pause()
    pending.fire()
    assert connection.messages == ["m0"]
    connection.inbox.resume()
    connection.turn()
    assert connection.messages == ["m0", "m1"]


def test_many_callbacks_do_not_recurse() -> None:
    connection = opened(Application(message=lambda _: succeed(None)))
    connection.feed(stream(0, 5000))
    assert len(connection.messages) == 5000


# Callbacks that fail


@pytest.mark.parametrize(
    ("frame", "does", "callback"),
    [
        (HELLO, "message", "textMessageReceived"),
        (bytes.fromhex("828100000000ff"), "message", "bytesMessageReceived"),
        (PONG, "pong", "pongReceived"),
    ],
)
@pytest.mark.parametrize("how", ["raises", "fails", "fails later"])
@pytest.mark.parametrize("error", [RuntimeError("expected"), AsyncioCancelled()], ids=lambda one: type(one).__name__)
def test_a_failure_is_told_with_the_name_of_the_callback(
    frame: bytes, does: str, callback: str, how: str, error: BaseException
) -> None:
    later = Deferred[Any]()

    def fails(_: Application) -> Any:
        if how == "raises":
            raise error
        return fail(error) if how == "fails" else later

    connection = opened(Application(**{does: fails}))
    connection.feed(frame + text("behind"), text("more"))
    with logged() as events:
        if how == "fails later":
            later.errback(error)
        gc.collect()
    assert [(type(one), name) for one, name in connection.failures] == [(type(error), callback)]
    assert len(connection.messages) == 1
    assert failures(events) == []


def test_what_is_not_delivered_behind_a_failure_is_counted() -> None:
    def fails(_: Application) -> None:
        raise RuntimeError("expected")

    connection = opened(Application(message=fails))
    connection.feed(stream(0, 2) + bytes.fromhex("828100000000ff") + PONG + PING, text("m4"))
    assert connection.messages == ["m0"]
    assert connection.inbox.discarded == 3
    # Each once.
    connection.inbox.drop()
    assert connection.inbox.discarded == 3


def test_after_a_failure_what_a_pause_held_does_not_hold_up_the_loss() -> None:
    pending = Pending()
    connection = opened(Application(message=pending))
    connection.feed(HELLO)
    connection.inbox.pause()
    connection.feed(text("held"))
    pending.waiting[0].errback(RuntimeError("expected"))
    connection.lose()
    assert connection.told[-1] == "empty"


def test_the_program_may_exit_within_a_callback() -> None:
    def leaves(_: Application) -> None:
        raise SystemExit

    connection = opened(Application(message=leaves))
    with pytest.raises(SystemExit):
        connection.feed(HELLO)
    del connection.application.does["message"]
    connection.feed(text("next"))
    assert connection.messages == ["Hello", "next"]


# A peer that does not read


def test_a_peer_that_does_not_read_is_not_read() -> None:
    connection = opened(Application(message=lambda _: connection.outbox.block()))
    connection.feed(stream(0, 3))
    assert connection.messages == ["m0"]
    assert connection.transport.told == ["pause"]
    assert connection.feed(PING) == b""
    del connection.application.does["message"]
    connection.outbox.block(False)
    connection.inbox.proceed()
    assert connection.messages == texts(0, 3)
    assert connection.transport.told == ["pause", "resume"]


def test_a_transport_that_is_full_below_the_mark_stops_nothing() -> None:
    connection = opened()
    connection.outbox.paused = True
    connection.feed(stream(0, 3), text("m3"))
    assert connection.messages == texts(0, 4)
    assert connection.transport.told == []


def test_what_is_unsent_while_the_transport_takes_more_stops_nothing() -> None:
    """It waits for the end of a cork, and not for the peer."""
    connection = opened(Application(message=lambda _: setattr(connection.outbox, "writable", False)), receiveQueue=2)
    connection.feed(stream(0, 3), text("m3"))
    assert connection.messages == texts(0, 4)


@pytest.mark.parametrize(
    ("application", "policy"), [(ForStreams(), "wait"), (Application(), "drop"), (Application(), "close")]
)
def test_where_the_queue_has_a_bound_of_its_own_the_peer_is_read(application: Any, policy: str) -> None:
    connection = opened(application, slowConsumer=policy)
    connection.outbox.block()
    connection.feed(stream(0, 3))
    assert connection.messages == texts(0, 3)
    assert connection.transport.told == []


def test_while_a_callback_is_not_done_a_peer_that_does_not_read_is_not_read() -> None:
    pending = Pending()
    connection = opened(Application(message=pending))
    connection.feed(HELLO)
    connection.outbox.block()
    assert connection.feed(PING) == b""
    assert connection.transport.told == ["pause"]
    pending.fire()
    assert connection.outbox.writes == []
    connection.outbox.block(False)
    connection.inbox.proceed()
    assert connection.outbox.writes == [PONG_SENT]


# Exempt time


def test_a_pause_is_exempt() -> None:
    connection = opened()
    connection.inbox.pause()
    connection.inbox.pause()
    assert connection.told == [("exempt", True)]
    connection.inbox.resume()
    connection.turn()
    assert connection.told == [("exempt", True), ("exempt", False)]


def test_a_full_receive_queue_is_exempt() -> None:
    pending = Pending()
    connection = opened(Application(message=pending), receiveQueue=1)
    connection.feed(HELLO)
    assert connection.told == []
    connection.feed(HELLO)
    assert connection.told == [("exempt", True)]
    pending.fire()
    assert connection.told == [("exempt", True), ("exempt", False)]


def test_while_the_transport_takes_nothing_no_time_is_exempt() -> None:
    connection = opened()
    connection.inbox.pause()
    connection.outbox.paused = True
    connection.inbox.outboxBlocked()
    assert connection.told == [("exempt", True), ("exempt", False)]
    connection.outbox.paused = False
    connection.inbox.updateReading()
    assert connection.told[2:] == [("exempt", True)]


def test_where_no_time_is_exempt_a_transport_that_is_full_changes_nothing() -> None:
    connection = opened()
    connection.outbox.block()
    connection.inbox.outboxBlocked()
    assert (connection.told, connection.transport.told) == ([], [])


# The peer's Close, or its fault


@pytest.mark.parametrize("end", [CLOSE, FAULT])
def test_the_end_is_told_once_and_after_what_was_before_it(end: bytes) -> None:
    connection = opened(Application(message=lambda _: seen.append(list(connection.told))))
    seen: list[Any] = []
    sent = connection.feed(stream(0, 2) + end)
    assert connection.messages == texts(0, 2)
    assert seen == [[], []]
    assert connection.told == ["ended"]
    assert sent.startswith(b"\x88")
    connection.inbox.proceed()
    connection.feed(PING, b"x")
    assert connection.told == ["ended"]


@pytest.mark.parametrize("end", [CLOSE, FAULT])
def test_a_callback_that_is_not_done_does_not_hold_up_the_end(end: bytes) -> None:
    pending = Pending()
    connection = opened(Application(message=pending))
    connection.feed(stream(0, 3) + end)
    assert (connection.told, connection.messages) == (["ended"], ["m0"])
    pending.fire()
    pending.fire()
    assert connection.messages == texts(0, 3)


def test_behind_the_end_the_transport_is_read() -> None:
    pending = Pending()
    connection = opened(Application(message=pending), receiveQueue=2)
    connection.feed(stream(0, 3) + CLOSE)
    assert connection.transport.told == ["pause"]
    pending.fire()
    assert "ended" in connection.told
    assert connection.transport.told == ["pause", "resume"]
    connection.inbox.pause()
    assert connection.transport.told == ["pause", "resume"]


# Behind our own Close


def test_behind_our_close_messages_are_delivered() -> None:
    connection = opened()
    connection.close()
    connection.feed(text("a"), text("b") + text("c") + PING)
    assert connection.messages == ["a", "b", "c"]
    assert connection.delivers == 2
    assert connection.discards == []


def test_behind_our_close_what_nobody_gets_is_counted() -> None:
    connection = opened()
    connection.close()
    connection.feed(PING, PONG)
    assert connection.discards == [len(PING), len(PONG)]
    assert connection.delivers == 0


def test_behind_our_close_a_large_message_without_a_limit_is_not_counted() -> None:
    connection = opened(maxMessageSize=None)
    connection.close()
    connection.feed(HELLO[:3])
    assert connection.discards == []
    connection.feed(HELLO[3:])
    assert connection.messages == ["Hello"]


def test_behind_the_peers_close_nothing_is_a_large_message() -> None:
    connection = opened(maxMessageSize=None)
    connection.close()
    connection.feed(CLOSE + b"junk")
    assert connection.discards == [len(CLOSE + b"junk")]


def test_behind_a_gap_nothing_is_a_large_message() -> None:
    connection = opened(Application(message=Pending()), receiveQueue=1, maxMessageSize=None)
    connection.feed(HELLO)
    connection.close()
    connection.feed(text("a"), text("b"))
    connection.discards.clear()
    connection.feed(HELLO[:3])
    assert connection.discards == [3]


@pytest.mark.parametrize("close_comes", ["before", "behind"])
def test_closing_while_paused_finds_the_peers_close(close_comes: str) -> None:
    connection = opened()
    connection.inbox.pause()
    data = text("a") + CLOSE
    if close_comes == "before":
        connection.feed(data)
    connection.close()
    if close_comes == "behind":
        connection.feed(data)
    assert "ended" in connection.told
    assert connection.messages == []
    connection.inbox.resume()
    connection.turn()
    assert connection.messages == ["a"]


def test_closing_while_paused_reads() -> None:
    connection = opened()
    connection.inbox.pause()
    connection.close()
    assert connection.transport.told == ["pause", "resume"]


def test_closing_delivers_what_waited_for_the_peer_to_read() -> None:
    connection = opened()
    connection.outbox.block()
    connection.feed(stream(0, 2))
    assert connection.messages == []
    connection.close()
    assert connection.messages == []
    connection.turn()
    assert connection.messages == texts(0, 2)


def test_closing_delivers_what_was_decoded_too() -> None:
    connection = opened(Application(message=lambda _: connection.outbox.block()))
    connection.feed(stream(0, 3))
    assert connection.messages == ["m0"]
    connection.close()
    connection.turn()
    assert connection.messages == texts(0, 3)


def test_closing_within_a_callback_goes_on_behind_it() -> None:
    connection = opened(Application(message=lambda _: connection.core.close_sent or connection.close()))
    connection.feed(stream(0, 3) + CLOSE)
    assert connection.messages == texts(0, 3)
    assert connection.clock.getDelayedCalls() == []


def test_while_closing_nothing_is_delivered_behind_a_gap() -> None:
    pending = Pending()
    connection = opened(Application(message=pending), receiveQueue=2)
    connection.feed(HELLO)
    connection.close()
    connection.feed(stream(0, 2), stream(2, 4), text("m4"))
    assert connection.inbox.discarded == 3
    while pending.waiting:
        pending.fire()
    connection.discards.clear()
    connection.feed(text("m5"))
    assert connection.discards == [len(text("m5"))]
    connection.feed(text("m6") + CLOSE)
    assert connection.messages == ["Hello", *texts(0, 2)]
    assert connection.inbox.discarded == 5
    assert connection.told[-1] == "ended"


def test_while_closing_a_ping_that_finds_the_queue_full_makes_no_gap() -> None:
    pending = Pending()
    connection = opened(Application(message=pending), receiveQueue=1)
    connection.feed(HELLO)
    connection.close()
    connection.feed(text("a"), PING)
    pending.fire()
    pending.fire()
    connection.feed(text("b"))
    assert connection.messages == ["Hello", "a", "b"]


def test_while_closing_what_is_discarded_is_counted_in_bytes() -> None:
    connection = opened(Application(message=Pending()), receiveQueue=1)
    connection.feed(HELLO)
    connection.close()
    connection.feed(text("a"))
    assert (connection.delivers, connection.discards) == (1, [])
    connection.feed(text("b"), text("c") + text("d"))
    assert connection.delivers == 1
    assert sum(connection.discards) == len(text("b") + text("c") + text("d"))


# The loss


def test_the_application_hears_of_the_loss_last() -> None:
    connection = opened()
    connection.inbox.pause()
    connection.feed(stream(0, 3))
    connection.lose()
    assert "empty" not in connection.told
    connection.inbox.resume()
    connection.turn()
    assert connection.messages == texts(0, 3)
    assert connection.told[-1] == "empty"
    assert connection.told.count("empty") == 1


def test_with_nothing_to_deliver_it_hears_at_once() -> None:
    connection = opened()
    connection.inbox.pause()
    connection.lose()
    assert connection.told[-1] == "empty"


def test_it_hears_when_its_callback_is_done() -> None:
    pending = Pending()
    connection = opened(Application(message=pending))
    connection.feed(stream(0, 2))
    connection.lose()
    pending.fire()
    assert connection.messages == ["m0", "m1"]
    assert connection.told == []
    pending.fire()
    assert connection.told == ["empty"]


def test_a_loss_within_a_callback() -> None:
    connection = opened(Application(message=lambda _: connection.inbox.lose() or connection.inbox.proceed()))  # type: ignore[func-returns-value]
    connection.feed(stream(0, 2))
    assert connection.messages == texts(0, 2)
    assert connection.told == ["empty"]


def test_a_peer_that_does_not_read_does_not_hold_up_its_loss() -> None:
    connection = opened()
    connection.outbox.block()
    connection.feed(stream(0, 2))
    connection.lose()
    assert connection.messages == texts(0, 2)
    assert connection.told == ["empty"]


def test_after_the_loss_no_transport_is_told_anything() -> None:
    connection = opened()
    connection.lose()
    connection.inbox.pause()
    connection.inbox.resume()
    assert connection.transport.told == []
    assert connection.clock.getDelayedCalls() == []


def test_who_hears_of_the_loss_is_given_once() -> None:
    connection = opened()
    connection.inbox.pause()
    connection.feed(HELLO)
    connection.inbox.resume()
    assert connection.inbox.finish() is connection.application
    assert connection.inbox.finish() is None
    assert connection.inbox.application is None
    assert connection.clock.getDelayedCalls() == []


def test_an_abort_delivers_nothing_more() -> None:
    pending = Pending()
    connection = opened(Application(message=pending))
    connection.feed(stream(0, 3) + PONG)
    connection.inbox.drop()
    assert connection.inbox.discarded == 2
    pending.fire()
    connection.inbox.lose()
    connection.inbox.abandon()
    assert connection.messages == ["m0"]
    assert connection.inbox.discarded == 2
    assert connection.transport.told == []


def test_an_abort_within_a_callback() -> None:
    connection = opened(Application(message=lambda _: connection.inbox.drop()))
    connection.feed(stream(0, 3))
    assert connection.messages == ["m0"]
    assert connection.inbox.discarded == 2


def test_an_application_that_does_not_end_is_cancelled() -> None:
    pending = Pending()
    connection = opened(Application(message=pending))
    connection.feed(stream(0, 3))
    connection.lose()
    with logged() as events:
        connection.inbox.abandon()
        gc.collect()
    assert pending.cancelled == 1
    assert (connection.messages, connection.told, connection.failures) == (["m0"], ["empty"], [])
    assert connection.inbox.discarded == 2
    assert failures(events) == []


@pytest.mark.parametrize("isDone", [False, True])
def test_after_the_loss_an_application_has_a_time_to_end(isDone: bool) -> None:
    pending = Pending()
    connection = opened(Application(message=pending))
    connection.feed(stream(0, 3))
    connection.lose()
    connection.inbox.abandonIn(10)
    connection.clock.advance(9.9)
    assert connection.told == []
    if isDone:
        for _ in range(3):
            pending.fire()
        assert (connection.messages, connection.told) == (["m0", "m1", "m2"], ["empty"])
        assert connection.clock.getDelayedCalls() == []
        return
    connection.clock.advance(0.1)
    assert pending.cancelled == 1
    assert (connection.messages, connection.told) == (["m0"], ["empty"])


@pytest.mark.parametrize("result", [None, RuntimeError("expected")], ids=["done", "failed"])
def test_a_callback_that_is_done_is_not_cancelled(result: Any) -> None:
    pending = Pending()
    connection = opened(Application(message=pending))
    connection.feed(HELLO)
    pending.waiting[0].callback(Failure(result) if result is not None else None)
    connection.inbox.drop()
    connection.inbox.lose()
    connection.inbox.abandon()
    assert (connection.cancels, connection.told) == ([], ["empty"])


def test_a_cancellation_keeps_nothing() -> None:
    error = CancelledError()

    async def wait() -> None:
        try:
            await Deferred[None]()
        except CancelledError:
            raise error from None

    connection = opened(Application(message=lambda _: wait()))
    connection.feed(HELLO)
    connection.lose()
    connection.inbox.abandon()
    assert (len(connection.cancels), connection.failures) == (1, [])
    assert error.__traceback__ is None


def test_a_failure_of_what_is_cancelled_is_told() -> None:
    error = RuntimeError("expected")
    connection = opened(Application(message=lambda _: Deferred(lambda deferred: deferred.errback(error))))
    connection.feed(HELLO)
    connection.lose()
    connection.inbox.abandon()
    assert connection.failures == [(error, "textMessageReceived")]
    assert connection.told == ["empty"]


def test_a_cancelled_callback_is_a_failure_while_the_connection_is_there() -> None:
    pending = Pending()
    connection = opened(Application(message=pending))
    connection.feed(HELLO)
    pending.waiting[0].cancel()
    [(error, callback)] = connection.failures
    assert isinstance(error, CancelledError)
    assert callback == "textMessageReceived"


def test_one_that_stays_paused_is_given_up() -> None:
    connection = opened()
    connection.inbox.pause()
    connection.feed(HELLO)
    connection.lose()
    connection.inbox.abandon()
    assert (connection.messages, connection.told[-1]) == ([], "empty")


def test_one_that_is_given_up_within_its_callback_hears_behind_it() -> None:
    def callback(_: Application) -> None:
        connection.inbox.lose()
        connection.inbox.abandon()
        assert connection.told == []

    connection = opened(Application(message=callback))
    connection.feed(stream(0, 2))
    assert connection.messages == ["m0"]
    assert connection.told == ["empty"]


class Never(Deferred[Any]):
    """Is not impressed by a cancellation."""

    def cancel(self) -> None: ...


def test_one_that_is_given_up_as_it_opens_hears_behind_that() -> None:
    def last() -> None:
        connection.inbox.lose()
        connection.inbox.abandon()

    connection = Connection()
    connection.open({"a": Never}, last=last)
    assert connection.told == ["empty"]


# A stream that somebody may still hold


def test_a_stream_is_kept_no_longer_than_somebody_holds_it() -> None:
    connection = opened(ForStreams())
    connection.inbox.pause()
    connection.feed(stream(0, 2))
    connection.lose()
    connection.inbox.holdWeakly()
    assert "empty" not in connection.told
    connection.application = None
    gc.collect()
    assert connection.told[-1] == "empty"
    assert connection.heard == [False]
    assert connection.inbox.application is None
    assert connection.clock.getDelayedCalls() == []


def test_what_a_stream_that_nobody_holds_has_not_taken_is_counted() -> None:
    pending = Pending()
    connection = opened(ForStreams(message=pending))
    connection.feed(stream(0, 3))
    connection.lose()
    connection.inbox.holdWeakly()
    connection.application = None
    gc.collect()
    assert (connection.told, connection.inbox.discarded) == (["empty"], 2)
    pending.fire()
    assert connection.told == ["empty"]


def test_a_stream_that_somebody_holds_gets_what_is_left() -> None:
    connection = opened(ForStreams())
    connection.inbox.pause()
    connection.feed(stream(0, 2))
    connection.lose()
    connection.inbox.holdWeakly()
    connection.inbox.resume()
    connection.turn()
    assert connection.messages == texts(0, 2)
    assert connection.told.count("empty") == 1
    connection.application = None
    gc.collect()
    assert connection.told.count("empty") == 1


def test_there_is_nothing_to_hold_once_it_has_heard() -> None:
    connection = opened(ForStreams())
    connection.lose()
    connection.inbox.holdWeakly()
    assert connection.inbox.application is None
    assert connection.told == ["empty"]


def test_a_close_is_answered_before_it_is_told() -> None:
    connection = opened()
    assert connection.feed(HELLO + CLOSE) == CLOSE_SENT
