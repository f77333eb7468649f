"""The drivers of transports, alone: each on transports of its kind, over real sockets where it knows these."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from weakref import ref

import pytest
from links import Creator, Link, Owner, Reactor, TLSLink, Wrapper, links, makeClient, overTLS, tlsLinks
from OpenSSL import SSL
from twisted.internet import main, tcp, unix
from twisted.internet.interfaces import (
    IHalfCloseableDescriptor,
    ISSLTransport,
    ITCPTransport,
    IUNIXTransport,
)
from twisted.internet.protocol import ClientFactory
from twisted.internet.testing import StringTransport
from twisted.protocols import tls
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from wire import FAULT, HalfCloseable, Served, Transport
from zope.interface import directlyProvides, implementer

import wsock
from wsock.wire import transports
from wsock.wire.adoption import ADOPTED_CLASSES, LARGE_CLASSES
from wsock.wire.transports import DRIVERS, PLAIN, SOCKET_TLS, STOCK, TLS, Driver, driverOf, isStock


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def link(reactor: Reactor) -> Iterator[Callable[..., Link]]:
    with links(reactor) as make:
        yield lambda *arguments, **settings: make(*arguments, register=False, **settings)


@pytest.fixture
def secured(reactor: Reactor) -> Iterator[Callable[..., TLSLink]]:
    with tlsLinks(reactor) as make:
        yield lambda **settings: make(register=False, **settings)


def wrapped(transport: Any) -> Any:
    """A policy of Twisted's around a transport."""
    wrapper = ProtocolWrapper(WrappingFactory(ClientFactory()), Owner())
    wrapper.makeConnection(transport)
    return wrapper


# The table


def test_plain_transports_need_no_package_for_tls() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.modules['OpenSSL'] = None\n"
        "from wsock.wire.transports import PLAIN, driverOf\n"
        "print(driverOf(object()) is PLAIN)"
    )
    command = [sys.executable, "-c", program, str(Path(wsock.__file__).parents[1])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "True"


@pytest.mark.parametrize("kind", [tcp.Server, unix.Server])
def test_a_servers_socket_has_the_stock_driver(link: Callable[..., Link], kind: type) -> None:
    assert driverOf(link(kind).transport) is STOCK


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_clients_socket_has_the_stock_driver(kind: str, reactor: Reactor, tmp_path: Path) -> None:
    transport, peer = makeClient(kind, reactor, tmp_path)
    assert driverOf(transport) is STOCK
    transport.connectionLost(Failure(main.CONNECTION_DONE))
    peer.close()


def test_whatever_is_not_exactly_of_a_known_kind_has_the_plain_driver(link: Callable[..., Link]) -> None:
    class Derived(tcp.Server):
        """A class of somebody else's."""

    class DerivedTLS(tls.TLSMemoryBIOProtocol):
        """The same."""

    it = link()
    for transport in (
        StringTransport(),
        link(Derived).transport,
        Wrapper(it.transport),
        wrapped(it.transport),
        DerivedTLS(tls.TLSMemoryBIOFactory.__new__(tls.TLSMemoryBIOFactory), Owner()),
        None,
    ):
        assert driverOf(transport) is PLAIN


def test_a_socket_on_which_tls_was_started_has_the_plain_driver(link: Callable[..., Link]) -> None:
    it = link()
    it.transport.TLS = True
    assert driverOf(it.transport) is PLAIN


def test_twisteds_tls_has_a_driver_by_what_it_stands_on(secured: Callable[..., TLSLink], reactor: Reactor) -> None:
    it = secured()
    assert type(it.transport) is tls.BufferingTLSTransport
    assert driverOf(it.transport) is SOCKET_TLS
    assert driverOf(overTLS(StringTransport(), reactor)) is TLS
    assert driverOf(overTLS(wrapped(it.below), reactor)) is TLS
    assert driverOf(wrapped(it.transport)) is PLAIN
    SOCKET_TLS.tellEnd(it.transport, lambda: None)
    assert type(it.transport) is not tls.BufferingTLSTransport
    assert driverOf(it.transport) is SOCKET_TLS


def test_what_tls_stands_on_is_no_tls_itself(secured: Callable[..., TLSLink]) -> None:
    it = secured()
    assert transports.tlsBelow(it.transport) is it.transport
    assert transports.tlsBelow(it.below) is None
    assert not transports.isStartedTLS(it.below)
    around = SimpleNamespace(transport=it.transport)
    assert transports.tlsBelow(around) is it.transport


def test_a_socket_on_which_tls_was_started_may_have_forgotten_it(link: Callable[..., Link]) -> None:
    it = link()
    it.transport.TLS = True
    assert transports.tlsBelow(it.transport) is None


def test_tls_over_what_is_no_socket_has_no_socket_to_push(reactor: Reactor) -> None:
    above = overTLS(StringTransport(), reactor)
    PLAIN.write(wrapped(above), b"data")
    assert not PLAIN.canDrain(above)
    assert not PLAIN.canDrain(SimpleNamespace())


def test_another_kind_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoHalves(Driver):
        """The driver of a transport that can't close one half, although it says so."""

        def canHalfClose(self, transport: Any) -> bool:
            return False

    class Other(HalfCloseable):
        """Of that kind."""

    served = Served(transport=Other()).open()
    served.feed(FAULT)
    assert served.transport.told == ["lose write"]
    monkeypatch.setitem(DRIVERS, Other, NoHalves())
    served = Served(transport=Other()).open()
    served.feed(FAULT)
    assert served.transport.told == ["lose"]


def test_drivers_have_no_state() -> None:
    for driver in (PLAIN, STOCK, TLS, SOCKET_TLS):
        assert not hasattr(driver, "__dict__")


@pytest.mark.parametrize(
    ("driver", "facts"),
    [
        (PLAIN, (False, False, False, False)),
        (STOCK, (True, True, True, False)),
        (TLS, (False, True, False, False)),
        (SOCKET_TLS, (False, True, True, True)),
    ],
    ids=["plain", "stock", "tls", "socket tls"],
)
def test_a_driver_says_how_bytes_leave(driver: Driver, facts: tuple[bool, ...]) -> None:
    assert (driver.isEager, driver.waitsForTurn, driver.knowsBytesHeld, driver.pushes) == facts


# Bytes


def test_stock_bytes_are_the_transports(link: Callable[..., Link]) -> None:
    it = link(sendBuffer=4096)
    STOCK.write(it.transport, bytes(100_000))
    assert STOCK.bytesHeld(it.transport) == 100_000
    assert STOCK.bytesInFlight(it.transport) == 100_000
    it.reactor.write()
    left = STOCK.bytesHeld(it.transport)
    assert left is not None
    assert 0 < left < 100_000
    inFlight = STOCK.bytesInFlight(it.transport)
    assert inFlight is not None
    assert inFlight > left, "the system holds some"
    assert it.arrived()
    assert STOCK.bytesInFlight(it.transport) == left


@pytest.mark.parametrize("code", [None, 0])
def test_bytes_in_flight_where_the_system_does_not_say(
    link: Callable[..., Link], monkeypatch: pytest.MonkeyPatch, code: int | None
) -> None:
    it = link()
    assert STOCK.bytesInFlight(it.transport) == 0
    monkeypatch.setattr(transports, "_OUTQ", code)
    assert STOCK.bytesInFlight(it.transport) is None


def test_bytes_in_flight_of_a_lost_transport_are_not_known(link: Callable[..., Link]) -> None:
    it = link()
    it.transport.connectionLost(Failure(main.CONNECTION_DONE))
    assert STOCK.bytesInFlight(it.transport) is None


def test_of_a_plain_transport_no_bytes_are_known() -> None:
    transport = StringTransport()
    PLAIN.write(transport, b"data")
    assert transport.value() == b"data"
    assert PLAIN.bytesHeld(transport) is None
    assert PLAIN.bytesInFlight(transport) is None


def test_of_a_wrapper_the_bytes_of_the_socket_are_known(link: Callable[..., Link]) -> None:
    it = link()
    around = wrapped(wrapped(it.transport))
    PLAIN.write(around, bytes(1000))
    assert PLAIN.bytesHeld(around) == PLAIN.bytesInFlight(around) == 1000


def test_tls_below_a_wrapper_keeps_nothing_for_the_next_turn(secured: Callable[..., TLSLink]) -> None:
    it = secured()
    around = wrapped(it.transport)
    PLAIN.write(around, b"small")
    assert it.arrived() == b"small"


def test_tls_encrypts_at_once_and_pushes_through(secured: Callable[..., TLSLink]) -> None:
    it = secured(sendBuffer=4096)
    SOCKET_TLS.write(it.transport, b"small")
    assert it.arrived() == b""
    held = SOCKET_TLS.bytesHeld(it.transport)
    assert held is not None
    assert held > 5
    assert SOCKET_TLS.bytesInFlight(it.transport) == held
    assert SOCKET_TLS.push(it.transport) == 0
    assert it.arrived() == b"small"
    SOCKET_TLS.write(it.transport, bytes(200_000))
    assert 0 < SOCKET_TLS.push(it.transport) < 200_000


@pytest.mark.parametrize("size", [1, 600, 40_000])
@pytest.mark.parametrize("sendmsg", [True, False])
def test_a_socket_takes_buffers_from_the_first_on(
    link: Callable[..., Link], monkeypatch: pytest.MonkeyPatch, sendmsg: bool, size: int
) -> None:
    monkeypatch.setattr(transports, "_SENDMSG", sendmsg)
    it = link(sendBuffer=2**17)
    buffers: list[bytes | memoryview] = [bytes([number % 256]) * size for number in range(3000)]
    sent, given = transports.trySocket(it.transport, buffers)
    assert 0 < sent <= given <= 3000 * size
    assert it.arrived() == b"".join(buffers)[:sent]
    assert transports.trySocket(it.transport, buffers[:1]) == (size, size)


# Producers


class Producer:
    """Counts."""

    paused = resumed = 0

    def pauseProducing(self) -> None:
        self.paused += 1

    def resumeProducing(self) -> None:
        self.resumed += 1

    def stopProducing(self) -> None: ...


def test_pushing_does_nothing_where_nothing_is_held(link: Callable[..., Link]) -> None:
    it, producer = link(), Producer()
    it.transport.registerProducer(producer, True)
    it.transport.producerPaused = True
    assert transports.push(it.transport) == 0
    assert producer.resumed == 0


def test_a_lost_transport_is_not_pushed(link: Callable[..., Link]) -> None:
    it = link()
    it.transport.write(b"unsent")
    it.transport.connectionLost(Failure(main.CONNECTION_DONE))
    assert transports.held(it.transport) == 6
    assert transports.push(it.transport) == 0


def test_a_transport_may_be_lost_as_it_is_pushed(link: Callable[..., Link]) -> None:
    class Losing(Producer):
        def resumeProducing(self) -> None:
            it.transport.write(b"unsent")
            it.transport.connectionLost(Failure(main.CONNECTION_DONE))

    it = link()
    it.transport.registerProducer(Losing(), True)
    it.transport.write(b"sent")
    it.transport.producerPaused = True
    assert transports.push(it.transport) == 0
    assert transports.held(it.transport) == 6
    assert it.arrived() == b"sent"


def test_a_stock_transport_resumes_its_producer_when_the_smallest_rest_has_left(link: Callable[..., Link]) -> None:
    it, producer = link(), Producer()
    it.transport.registerProducer(producer, True)
    it.transport.write(b"rest")
    STOCK.pauseProducer(it.transport)
    assert (producer.paused, producer.resumed) == (1, 0)
    it.reactor.write()
    assert (producer.paused, producer.resumed) == (1, 1)


def test_tls_resumes_its_producer_when_the_smallest_rest_has_left(secured: Callable[..., TLSLink]) -> None:
    it, producer = secured(), Producer()
    it.transport.registerProducer(producer, True)
    SOCKET_TLS.write(it.transport, b"rest")
    SOCKET_TLS.pauseProducer(it.transport)
    assert (producer.paused, producer.resumed) == (1, 0)
    it.reactor.write()
    assert (producer.paused, producer.resumed) == (1, 1)


def test_a_plain_transport_pauses_its_producer_by_itself() -> None:
    transport, producer = StringTransport(), Producer()
    transport.registerProducer(producer, True)
    PLAIN.pauseProducer(transport)
    assert producer.paused == 0
    assert PLAIN.push(transport) == 0


@pytest.mark.parametrize("around", [False, True])
def test_a_lost_tls_lets_go_of_its_producer(secured: Callable[..., TLSLink], around: bool) -> None:
    it = secured()
    transport = wrapped(it.transport) if around else it.transport
    transport.registerProducer(Producer(), True)
    assert it.transport._producer is not None
    driverOf(transport).releaseProducer(transport)
    assert it.transport._producer is None


def test_other_transports_let_go_of_their_producer_by_themselves(link: Callable[..., Link]) -> None:
    it, started, plain = link(), link(), StringTransport()
    started.transport.startTLS(Creator())
    for transport in (plain, it.transport, started.transport):
        transport.registerProducer(Producer(), True)
        driverOf(transport).releaseProducer(transport)
    assert plain.producer is not None
    assert it.transport.producer is not None
    assert started.transport.protocol._producer is not None, "a lost one has forgotten TLS, and could not"


# Kinds of transports


class Speaking(Transport):
    """A transport that says which interfaces it has."""

    def __init__(self, *interfaces: Any, knows: bool = True) -> None:
        super().__init__()
        directlyProvides(self, *interfaces)
        if not knows:
            self.setTcpNoDelay = property()

    def setTcpNoDelay(self, enabled: bool) -> None:  # type: ignore[no-redef]
        self.told.append(f"no delay {enabled}")


@pytest.mark.parametrize(
    ("interfaces", "told"),
    [((ITCPTransport,), ["no delay True"]), ((ISSLTransport,), ["no delay True"]), ((IUNIXTransport,), []), ((), [])],
)
def test_small_messages_leave_at_once_over_tcp(interfaces: tuple[Any, ...], told: list[str]) -> None:
    transport = Speaking(*interfaces)
    PLAIN.setNoDelay(transport)
    assert transport.told == told


def test_tcp_that_knows_no_delay_of_its_own_is_left_alone() -> None:
    transport = Transport()
    directlyProvides(transport, ITCPTransport)
    PLAIN.setNoDelay(transport)
    assert transport.told == []


def test_stock_transports_leave_small_messages_at_once(reactor: Reactor, tmp_path: Path) -> None:
    transport, peer = makeClient("tcp", reactor, tmp_path)
    STOCK.setNoDelay(transport)
    assert transport.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    transport.connectionLost(Failure(main.CONNECTION_DONE))
    peer.close()


def test_tls_is_told_by_the_interface(link: Callable[..., Link], secured: Callable[..., TLSLink]) -> None:
    it = secured()
    assert SOCKET_TLS.isSecure(it.transport)
    assert PLAIN.isSecure(wrapped(it.transport))
    assert PLAIN.isSecure(Speaking(ISSLTransport))
    assert not PLAIN.isSecure(Speaking(ITCPTransport))
    assert not STOCK.isSecure(link().transport)


@pytest.mark.parametrize("driver", [PLAIN, STOCK, SOCKET_TLS])
def test_there_is_no_certificate_where_there_is_no_tls(link: Callable[..., Link], driver: Driver) -> None:
    assert driver.getPeerCertificate(link().transport) is None


def test_a_certificate_is_the_transports() -> None:
    transport = Transport()
    transport.getPeerCertificate = lambda: "certificate"  # type: ignore[attr-defined]
    assert PLAIN.getPeerCertificate(transport) == "certificate"


# Its end


def test_tls_that_somebody_else_closed_is_seen() -> None:
    for interface, closed in ((ISSLTransport, True), (ITCPTransport, False)):
        transport = Speaking(interface)
        assert not PLAIN.isClosedByOthers(transport)
        transport.loseConnection()
        assert PLAIN.isClosedByOthers(transport) is closed
    assert not PLAIN.isClosedByOthers(Speaking(ISSLTransport))


def test_tls_that_does_not_say_that_it_closes_has_not_closed() -> None:
    @implementer(ISSLTransport)
    class Silent:
        pass

    assert not PLAIN.isClosedByOthers(Silent())


def test_only_a_sockets_half_can_be_closed(link: Callable[..., Link], secured: Callable[..., TLSLink]) -> None:
    it = link()
    assert STOCK.canHalfClose(it.transport)
    assert not SOCKET_TLS.canHalfClose(secured().transport)
    assert not PLAIN.canHalfClose(StringTransport())
    assert PLAIN.canHalfClose(HalfCloseable())
    assert not PLAIN.canHalfClose(Speaking(IHalfCloseableDescriptor, ISSLTransport))
    it.transport.write(b"last")
    STOCK.halfClose(it.transport)
    it.reactor.write()
    assert it.peer.recv(100) == b"last"
    assert it.peer.recv(100) == b""
    assert it.transport.connected


def test_closing_comes_behind_what_was_written(link: Callable[..., Link]) -> None:
    it = link()
    it.transport.write(b"last")
    STOCK.close(it.transport)
    it.reactor.write()
    assert it.peer.recv(100) == b"last"
    assert it.peer.recv(100) == b""
    assert not it.transport.connected


def test_closing_tls_says_farewell_at_once(secured: Callable[..., TLSLink]) -> None:
    it = secured()
    SOCKET_TLS.close(it.transport)
    it.peerTLS.bio_write(it.peer.recv(2**16))
    with pytest.raises(SSL.ZeroReturnError):
        it.peerTLS.recv(1)


class Pipes(Transport):
    """An ``ITransport`` and no more."""

    abortConnection: Any = property()


def test_a_transport_that_can_abort_does(link: Callable[..., Link]) -> None:
    transport = Transport()
    assert PLAIN.canAbort(transport)
    PLAIN.abort(transport)
    around = wrapped(Transport())
    assert PLAIN.canAbort(around)
    PLAIN.abort(around)
    assert transport.told == around.transport.told == ["abort"]
    it = link()
    assert STOCK.canAbort(it.transport)
    STOCK.abort(it.transport)
    it.reactor.advance(0)
    assert not it.transport.connected


def test_a_transport_that_can_not_abort_is_told_to_close() -> None:
    pipes = Pipes()
    around = Transport()
    around.transport = pipes  # type: ignore[attr-defined]
    for transport in (pipes, around):
        assert not PLAIN.canAbort(transport)
        PLAIN.abort(transport)
    assert (pipes.told, around.told) == (["lose", "lose"], [])


def endTLS(it: TLSLink) -> None:
    """The peer says farewell, and it is read."""
    it.peerTLS.shutdown()
    it.transport.dataReceived(it.peerTLS.bio_read(2**16))


@pytest.mark.parametrize("around", [False, True])
def test_the_end_of_tls_is_told_once(secured: Callable[..., TLSLink], around: bool) -> None:
    it, told = secured(), list[str]()
    transport = wrapped(it.transport) if around else it.transport
    driver = driverOf(transport)
    driver.tellEnd(transport, lambda: told.append("ended"))
    assert told == []
    endTLS(it)
    assert told == ["ended"]
    it.below.connectionLost(Failure(main.CONNECTION_DONE))
    assert told == ["ended"]


def test_the_end_of_tls_that_was_before_is_told_now(secured: Callable[..., TLSLink]) -> None:
    it, told = secured(), list[str]()
    endTLS(it)

    def ended() -> None:
        told.append("ended")

    SOCKET_TLS.tellEnd(it.transport, ended)
    assert told == ["ended"]
    # It is not held for an end that has been.
    held = ref(ended)
    del ended
    assert held() is None


def test_where_there_is_no_tls_there_is_nothing_to_tell(link: Callable[..., Link]) -> None:
    for driver, transport in ((PLAIN, StringTransport()), (STOCK, link().transport)):
        driver.tellEnd(transport, lambda: pytest.fail("there is no TLS"))
        assert not driver.canDrain(transport)
        assert driver.drain(transport) == 0
        driver.loseDrained(transport)


@pytest.mark.parametrize("around", [False, True])
def test_what_an_ended_tls_has_left_is_drained(secured: Callable[..., TLSLink], around: bool) -> None:
    it = secured(sendBuffer=4096)
    transport = wrapped(it.transport) if around else it.transport
    driver = driverOf(transport)
    it.transport.write(bytes(200_000))
    endTLS(it)
    assert driver.canDrain(transport)
    left = driver.drain(transport)
    assert 0 < left < 201_000
    while left:
        assert it.peer.recv(2**20)
        before, left = left, driver.drain(transport)
        assert left < before
    driver.loseDrained(transport)
    assert not it.below.connected
    assert not driver.canDrain(transport)
    assert driver.drain(transport) == 0
    driver.loseDrained(transport)


def test_tls_above_no_socket_can_not_be_drained(reactor: Reactor) -> None:
    transport = overTLS(StringTransport(), reactor)
    assert not TLS.canDrain(transport)
    TLS.close(transport)


def test_tls_that_was_started_on_a_socket_is_found(link: Callable[..., Link]) -> None:
    """A transport that ``startTLS`` was called of is the one that TLS stands on, and that a protocol is given."""
    it = link()
    owner = Owner()
    owner.transport = it.transport
    it.transport.protocol = owner
    it.transport.startTLS(Creator())
    assert it.transport.TLS
    assert driverOf(it.transport) is PLAIN
    assert transports.tlsBelow(it.transport) is it.transport.protocol
    assert PLAIN.canDrain(it.transport)
    assert not PLAIN.canHalfClose(it.transport)


# The hub


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The transports that the hub was given."""
    transports: list[Any] = []
    monkeypatch.setattr("wsock.wire.adoption.adopt", transports.append)
    return transports


def test_an_adopted_transport_keeps_its_driver(link: Callable[..., Link]) -> None:
    it = link()
    for own, adopted in (*ADOPTED_CLASSES.items(), *LARGE_CLASSES.items()):
        assert DRIVERS[own] is DRIVERS[adopted] is STOCK
    it.transport.__class__ = ADOPTED_CLASSES[tcp.Server]
    assert driverOf(it.transport) is STOCK
    assert isStock(it.transport)
    it.transport.__class__ = tcp.Server


def test_a_stock_transport_is_given_to_the_hub(link: Callable[..., Link], taken: list[Any]) -> None:
    it = link()
    assert STOCK.adopt(it.transport)
    assert taken == [it.transport]


def test_one_that_still_sends_is_given_to_the_hub_later(link: Callable[..., Link], taken: list[Any]) -> None:
    it = link()
    it.transport.write(b"x")
    assert not STOCK.adopt(it.transport)
    assert taken == []
    it.reactor.write()
    assert STOCK.adopt(it.transport)
    assert taken == [it.transport]


def test_a_stock_transport_is_read_in_larger_pieces(link: Callable[..., Link], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr("wsock.wire.adoption.readMuch", told.append)
    it = link()
    for driver in (STOCK, PLAIN, TLS):
        driver.readMuch(it.transport)
    assert told == [it.transport]


def test_a_stock_transport_takes_another_protocol(link: Callable[..., Link]) -> None:
    it = link()
    before = it.transport.protocol
    for driver in (PLAIN, TLS, SOCKET_TLS):
        assert not driver.setProtocol(it.transport, Owner())
        assert it.transport.protocol is before
    after = Owner()
    assert STOCK.setProtocol(it.transport, after)
    assert it.transport.protocol is after


@pytest.mark.parametrize("driver", [PLAIN, TLS, SOCKET_TLS])
def test_no_other_is_given_to_the_hub(driver: Driver, taken: list[Any]) -> None:
    transport = StringTransport()
    assert driver.adopt(transport)
    assert taken == []
