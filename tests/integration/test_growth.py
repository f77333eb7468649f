"""Time that grows with the input and no faster (H33, G08): a quadratic step would show as the square."""

from collections.abc import Callable

import pytest
from growth import Measure, assertLinear, spent
from integration.peer import frame, request
from integration.servers import Echo
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from wire import Served, Slow

import wsock


def answered(data: bytes, chunk: int, opening: bytes = b"") -> Measure:
    """Returns what measures how long a connection takes for ``data``, in chunks, in seconds."""

    def measure() -> float:
        protocol = wsock.WebSocketServerFactory(lambda request: Echo(), reactor=Clock()).buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        if opening:
            protocol.dataReceived(opening)
        chunks = [data[place : place + chunk] for place in range(0, len(data), chunk)]

        def feed() -> None:
            for piece in chunks:
                protocol.dataReceived(piece)

        seconds = spent(feed)
        assert transport.value()
        protocol.abortConnection()
        return seconds

    return measure


def connections(count: int, **settings: object) -> list[Served]:
    """So many to one server."""
    first = Served(settings=settings).open()
    return [first, *(Served(first.application, factory=first.factory).open() for _ in range(count - 1))]


def blocked(**settings: object) -> Served:
    """A connection whose peer takes nothing any more."""
    served = Served(settings={"slowConsumer": "drop", **settings}, transport=Slow()).open()
    served.wire.sendBytesMessage(bytes(2**18))
    assert served.transport.producerState == "producing"
    assert served.wire._outbox.paused
    return served


def broadcast(count: int) -> Measure:
    group = wsock.Group()
    members = connections(count)
    for member in members:
        group.add(member.wire)

    def send() -> None:
        for _ in range(3):
            assert group.sendTextMessage("Hello").sent == count

    def measure() -> float:
        for member in members:
            member.transport.clear()
        return spent(send)

    return measure


def dropped(count: int) -> Measure:
    """Half of the messages find room; if one cost what is queued, all would cost the square."""

    def measure() -> float:
        served = blocked(sendLimit=32 * count)

        def send() -> None:
            for _ in range(count):
                served.wire.sendBytesMessage(bytes(62))

        seconds = spent(send)
        assert 0.4 * count < served.wire.counters.sendsDropped < 0.9 * count
        served.wire.abortConnection()
        return seconds

    return measure


def unread_pings(count: int) -> Measure:
    """Each Ping comes alone, to be answered by what waits for a peer that reads nothing."""
    ping = frame(0x89, bytes(125))

    def measure() -> float:
        served = blocked()

        def feed() -> None:
            for _ in range(count):
                served.wire.dataReceived(ping)

        seconds = spent(feed)
        assert served.wire._outbox.size < 2**20
        served.wire.abortConnection()
        return seconds

    return measure


def watched(count: int) -> Measure:
    """All are silent, and so all are asked."""
    served = connections(count, pingInterval=20, pingTimeout=None)
    clock = served[0].clock

    def measure() -> float:
        for one in served:
            one.transport.clear()
        seconds = spent(lambda: clock.advance(20))
        assert all(one.transport.value()[:1] == b"\x89" for one in served)
        return seconds

    return measure


def spaces(count: int) -> bytes:
    return request(more=f"Sec-WebSocket-Protocol: a{' ' * count}b\r\n")


#: By name: what takes an amount of octets, the larger amount, and what an octet of it may cost on a quiet machine.
OCTETS: dict[str, tuple[Callable[[int], Measure], int, float]] = {
    "H33 spaces in a field": (lambda count: answered(spaces(count), 2**16), 7000, 0.01 / 7000),
    "H33 spaces in a field, byte by byte": (lambda count: answered(spaces(count), 1), 7000, 1e-5),
    "H30 a long line, byte by byte": (lambda count: answered(request(more=f"X-A: {'a' * count}\r\n"), 1), 8000, 1e-5),
    "G08 a frame in sends of a byte": (
        lambda count: answered(frame(0x82, bytes(count)), 1, request()), 2**18, 2e-6,
    ),
    "G08 a text in sends of a byte": (
        lambda count: answered(frame(0x81, b"a" * count), 1, request()), 2**18, 4e-6,
    ),
    "G03 fragments of a byte": (
        lambda count: answered(frame(0x02) + frame(0x00, b"a") * count + frame(0x80), 2**16, request()), 2**17, 4e-6,
    ),
}  # fmt: skip


#: By name: what takes an amount of anything, and the larger amount.
GROWTH: dict[str, tuple[Callable[[int], Measure], int]] = {
    **{name: (measure, min(amount, 2**16)) for name, (measure, amount, _) in OCTETS.items()},
    "broadcast to members": (broadcast, 1000),
    "messages that are dropped": (dropped, 8000),
    "Pings": (lambda count: answered(frame(0x89, b"a") * count, 2**16, request()), 40_000),
    "Pings whose Pongs are not read": (unread_pings, 8000),
    "connections that are watched": (watched, 1000),
}


@pytest.mark.growth
@pytest.mark.parametrize("name", GROWTH)
def test_growth(name: str) -> None:
    make, amount = GROWTH[name]
    assertLinear(make(amount // 16), make(amount))


@pytest.mark.clock
@pytest.mark.parametrize("name", OCTETS)
def test_clock(name: str) -> None:
    make, amount, most = OCTETS[name]
    measure = make(amount)
    seconds = min(measure() for _ in range(5))
    # The figures are those of the compiled core; without it a call costs more, an octet of a large piece does not.
    allowed = most * amount * (1 if wsock.implementation == "compiled" else 2)
    assert seconds <= allowed, f"{seconds / amount * 1e6:.2f} us an octet"
