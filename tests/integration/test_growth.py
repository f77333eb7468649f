"""Time that grows with the input and no faster (H33, G08): a quadratic step would show as the square."""

import time
from collections.abc import Callable

import pytest
from integration.peer import frame, request
from integration.servers import Echo
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

import wsock


def answered(data: bytes, chunk: int, opening: bytes = b"") -> Callable[[], float]:
    """Returns what measures how long a connection takes for ``data``, in chunks, in seconds."""

    def measure() -> float:
        protocol = wsock.WebSocketServerFactory(lambda request: Echo(), reactor=Clock()).buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        if opening:
            protocol.dataReceived(opening)
        chunks = [data[place : place + chunk] for place in range(0, len(data), chunk)]
        began = time.process_time()
        for piece in chunks:
            protocol.dataReceived(piece)
        spent = time.process_time() - began
        assert transport.value()
        protocol.abortConnection()
        return spent

    return measure


def best(measure: Callable[[], float]) -> float:
    return min(measure() for _ in range(2))


def spaces(count: int) -> bytes:
    return request(more=f"Sec-WebSocket-Protocol: a{' ' * count}b\r\n")


#: By name: what takes an amount of input, the larger amount, and what an octet of it may cost on a quiet machine.
GROWTH: dict[str, tuple[Callable[[int], Callable[[], float]], int, float]] = {
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


@pytest.mark.parametrize("name", GROWTH)
def test_growth(name: str) -> None:
    measure, amount, _ = GROWTH[name]
    little, much = best(measure(amount // 4)), best(measure(amount))
    # Four times the input is four times the time; sixteen times were the square.
    assert much < 7 * little + 0.002, f"{little * 1e6:.0f} us, then {much * 1e6:.0f} us"


@pytest.mark.clock
@pytest.mark.parametrize("name", GROWTH)
def test_clock(name: str) -> None:
    measure, amount, most = GROWTH[name]
    spent = best(measure(amount))
    # The figures are those of the compiled core; without it a call costs more, an octet of a large piece does not.
    allowed = most * amount * (1 if wsock.implementation == "compiled" else 2)
    assert spent <= allowed, f"{spent / amount * 1e6:.2f} us an octet"
