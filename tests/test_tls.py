"""Our own TLS: one layer of either role, against the standard library's TLS, in memory and over sockets."""

import gc
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from weakref import ref

import pytest
from integration.peer import make_certificate
from links import Reactor, anonymous, makeLink, overTLS
from OpenSSL import SSL
from secured import TLS12, TLS13, Above, Pair, Peer, Secured, Socketed, clientContext, serverContext
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, INegotiated, IProtocol, IPushProducer, ISSLTransport, ITCPTransport
from twisted.internet.protocol import ClientFactory
from twisted.internet.task import Clock
from wire import HELLO, HELLO_SENT, REQUEST, Application, Producer, Slow, Transport, logged, quiet
from zope.interface.verify import verifyObject

from wsock import WebSocketServerFactory
from wsock.wire.tls import TLSLayer
from wsock.wire.tlsdriver import LAYER, SOCKET_LAYER
from wsock.wire.transports import driverOf

KIB = 2**10


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def socketed(pair: Pair) -> Iterator[Callable[..., Socketed]]:
    made: list[Socketed] = []

    def make(*arguments: Any, **named: Any) -> Socketed:
        made.append(Socketed(pair, *arguments, **named))
        return made[-1]

    yield make
    for one in made:
        one.close()


roles = pytest.mark.parametrize("isServer", [True, False], ids=["server", "client"])
versions = pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])


# Its interfaces and its drivers


def test_its_interfaces(pair: Pair) -> None:
    layer = Secured(pair).opened().layer
    for interface in (IProtocol, ITCPTransport, ISSLTransport, INegotiated, IConsumer, IPushProducer):
        assert verifyObject(interface, layer)


@pytest.mark.parametrize("name", ["socket", "writeSomeData", "startTLS", "doWrite", "fileno"])
def test_it_hands_no_attribute_of_the_transport_below_on(socketed: Callable[..., Socketed], name: str) -> None:
    """By these somebody would write plain text."""
    assert not hasattr(socketed().layer, name)


def test_its_drivers(pair: Pair, socketed: Callable[..., Socketed]) -> None:
    assert driverOf(Secured(pair).layer) is LAYER
    assert driverOf(socketed().layer) is SOCKET_LAYER


# Bytes both ways


@roles
@versions
def test_both_ways(pair: Pair, isServer: bool, version: ssl.TLSVersion) -> None:
    link = Secured(pair, isServer=isServer, version=version).opened()
    link.feed(b"Hello")
    assert link.above.pieces == [b"Hello"]
    link.layer.write(b"Hi")
    link.layer.writeSequence([b" the", b"re"])
    assert link.pump() == b"Hi there"


@roles
@versions
def test_one_byte_at_a_time(pair: Pair, isServer: bool, version: ssl.TLSVersion) -> None:
    link = Secured(pair, isServer=isServer, version=version)
    data = link.peer.take(link.below.taken())
    while data:
        for byte in data:
            link.layer.dataReceived(bytes([byte]))
        data = link.peer.take(link.below.taken())
    for byte in link.peer.encrypted(b"Hello", b"World" * 5000):
        link.layer.dataReceived(bytes([byte]))
    assert link.above.received == b"Hello" + b"World" * 5000


@pytest.mark.parametrize("size", [1, 16383, 16384, 16385, 65536, 65537, 131071, 131072, 131073, 2**20])
def test_sizes(pair: Pair, size: int) -> None:
    link = Secured(pair).opened()
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    link.feed(data)
    assert link.above.received == data
    link.layer.write(data)
    assert link.pump() == data


def test_the_records_of_one_piece_are_one_piece(pair: Pair) -> None:
    link = Secured(pair).opened()
    link.feed(b"a", b"b", b"c")
    link.feed(bytes(60 * KIB))
    assert [len(piece) for piece in link.above.pieces] == [3, 60 * KIB]


def test_nothing_is_no_end(pair: Pair) -> None:
    link = Secured(pair).opened()
    link.layer.dataReceived(b"")
    link.layer.write(b"")
    link.layer.writeSequence([])
    assert (link.above.reasons, link.below.taken()) == ([], b"")


@roles
def test_text_written_before_the_handshake_leaves_behind_it(pair: Pair, isServer: bool) -> None:
    above = Above(made=lambda above: above.transport.write(b"early "))
    link = Secured(pair, above, isServer)
    link.layer.write(b"bird")
    assert link.pump() == b"early bird"


def test_text_that_comes_with_the_end_of_the_handshake(pair: Pair) -> None:
    link = Secured(pair)
    flight = link.peer.take(b"")
    link.layer.dataReceived(flight)
    finished = link.peer.take(link.below.taken())
    link.layer.dataReceived(finished + link.peer.encrypted(b"Hello"))
    assert link.above.pieces == [b"Hello"]


def test_answers_in_the_middle_of_a_delivery(pair: Pair) -> None:
    above = Above(data=lambda above: above.transport.write(above.pieces[-1].upper()))
    link = Secured(pair, above).opened()
    link.feed(b"a", b"b")
    assert link.pump() == b"AB"


def feedAtTheFirst(link: Secured, above: Above) -> None:
    """Has more bytes come in the middle of the first delivery, as a callback that has the reactor iterate."""
    if len(above.pieces) == 1:
        link.feed(b"second")
        assert len(above.pieces) == 1


def test_bytes_that_come_in_the_middle_of_a_delivery_are_delivered_behind(pair: Pair) -> None:
    link = Secured(pair)
    link.above.does["data"] = partial(feedAtTheFirst, link)
    link.opened().feed(b"first")
    assert link.above.pieces == [b"first", b"second"]


def test_an_exception_of_the_protocol_above_is_the_reactors(pair: Pair) -> None:
    def fail(above: Above) -> None:
        raise RuntimeError("oops")

    link = Secured(pair, Above(data=fail)).opened()
    with pytest.raises(RuntimeError):
        link.feed(b"a")
    with pytest.raises(RuntimeError):
        link.feed(b"b")
    assert link.above.received == b"ab"


# Facts


@versions
def test_facts(pair: Pair, version: ssl.TLSVersion) -> None:
    context = serverContext(pair)
    context.verify_mode, context.check_hostname = ssl.CERT_OPTIONAL, False
    link = Secured(pair, version=version, context=context)
    layer = link.layer
    assert (layer.isShaken, layer.hasAnswered, layer.negotiatedProtocol) == (False, False, None)
    assert (layer.getPeerCertificate(), layer.getPeerCertificateDER()) == (None, None)
    link.opened()
    assert (layer.isShaken, layer.hasAnswered) == (True, True)
    assert layer.sslObject is not None
    assert layer.sslObject.version() in ("TLSv1.2", "TLSv1.3")
    assert layer.getPeerCertificate() is None
    assert (layer.getPeer(), layer.getHost()) == (link.below.getPeer(), link.below.getHost())
    link.lose()
    assert (layer.sslObject, layer.negotiatedProtocol) == (None, None)
    assert (layer.isShaken, layer.hasAnswered) == (False, False)
    assert layer.getPeerCertificate() is None


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["http/1.1"], b"http/1.1"), (["h2", "http/1.1"], b"http/1.1"), (["h2"], None), ([], None)]
)
def test_alpn(pair: Pair, offered: list[str], chosen: bytes | None) -> None:
    client = clientContext(pair)
    if offered:
        client.set_alpn_protocols(offered)
    link = Secured(pair, client=client).opened()
    assert link.layer.negotiatedProtocol == chosen


@pytest.mark.parametrize("text", [b"asks", b""], ids=["before text", "alone"])
@pytest.mark.parametrize("paused", [False, True])
def test_tls_asks_in_an_open_connection(pair: Pair, paused: bool, text: bytes) -> None:
    """Its answer leaves at once: here to a request for a certificate (RFC 8446 section 4.6.2)."""
    server, client = serverContext(pair), clientContext(pair)
    server.post_handshake_auth = client.post_handshake_auth = True
    server.verify_mode = ssl.CERT_OPTIONAL
    link = Secured(pair, isServer=False, context=server, client=client).opened()
    link.below.taken()
    if paused:
        link.layer.pauseProducing()
    link.peer.tls.verify_client_post_handshake()
    link.peer.tls.do_handshake()
    link.feed(*[text] if text else [])
    link.layer.resumeProducing()
    link.clock.advance(0)
    assert link.above.received == text
    assert len(link.below.taken()) > 50


def test_the_certificate_of_a_server(pair: Pair) -> None:
    layer = Secured(pair, isServer=False).opened().layer
    encoded = ssl.PEM_cert_to_DER_cert(pair[1].read_text())
    assert layer.getPeerCertificateDER() == encoded
    certificate = layer.getPeerCertificate()
    assert certificate.subject.rfc4514_string() == "CN=localhost"


def test_a_servers_certificate_by_name(pair: Pair, tmp_path: Path) -> None:
    """A callback for the name that a client asks for (SNI)."""
    context, asked = serverContext(pair), []
    issued = make_certificate(tmp_path)
    other = serverContext(issued)

    def choose(sslObject: ssl.SSLObject, name: str, _: ssl.SSLContext) -> None:
        asked.append(name)
        sslObject.context = other

    context.sni_callback = choose  # type: ignore[assignment]
    link = Secured(issued, context=context).opened()
    assert asked == ["localhost"]
    assert link.peer.tls.getpeercert(True) == ssl.PEM_cert_to_DER_cert(issued[1].read_text())


def test_the_log_names_the_protocol_above(pair: Pair) -> None:
    assert Secured(pair).layer.logPrefix() == "Above"
    factory = WebSocketServerFactory(lambda request: Application(), settings=quiet(None))
    assert TLSLayer(factory.buildProtocol(None), serverContext(pair), None, None).logPrefix() == "wsock"


# Pauses


def test_a_pause_holds_back_what_has_come(pair: Pair) -> None:
    link = Secured(pair).opened()
    link.layer.pauseProducing()
    link.feed(b"a")
    assert (link.above.pieces, link.told) == ([], ["pause"])
    link.layer.resumeProducing()
    assert link.above.pieces == [], "not in the caller's stack"
    link.clock.advance(0)
    assert (link.above.pieces, link.told) == ([b"a"], ["pause", "resume"])


def test_a_pause_in_the_middle_of_a_delivery(pair: Pair) -> None:
    link = Secured(pair, Above(data=lambda above: above.transport.pauseProducing())).opened()
    link.feed(b"a")
    link.feed(b"b")
    assert link.above.pieces == [b"a"]
    link.layer.resumeProducing()
    link.layer.resumeProducing()
    link.clock.advance(0)
    assert link.above.pieces == [b"a", b"b"]
    # Paused again, before the transport below was told to go on.
    assert link.told[-1] == "pause"
    link.layer.resumeProducing()
    assert link.told[-1] == "resume"


def test_much_that_waits_is_delivered_in_portions(pair: Pair) -> None:
    link = Secured(pair, Above(data=lambda above: above.transport.pauseProducing())).opened()
    link.layer.pauseProducing()
    for _ in range(4):
        link.feed(bytes(60 * KIB))
    while len(link.above.received) < 240 * KIB:
        link.layer.resumeProducing()
        link.clock.advance(0)
    assert max(map(len, link.above.pieces)) <= 80 * KIB


def test_a_resumption_in_the_middle_of_a_delivery_that_has_the_reactor_iterate(pair: Pair) -> None:
    link = Secured(pair)

    def iterate(above: Above) -> None:
        if len(above.pieces) == 1:
            above.transport.pauseProducing()
            link.feed(b"second")
            above.transport.resumeProducing()
            link.clock.advance(0)

    link.above.does["data"] = iterate
    link.opened().feed(b"first")
    assert link.above.pieces == [b"first", b"second"]
    assert link.told[-1] == "resume"


def test_bytes_that_come_in_the_middle_of_the_delivery_of_what_waited(pair: Pair) -> None:
    link = Secured(pair)
    link.above.does["data"] = partial(feedAtTheFirst, link)
    link.opened().layer.pauseProducing()
    link.feed(b"first")
    link.layer.resumeProducing()
    link.clock.advance(0)
    assert link.above.pieces == [b"first", b"second"]


def test_a_pause_before_the_resumption_took_effect(pair: Pair) -> None:
    link = Secured(pair).opened()
    link.layer.pauseProducing()
    link.feed(b"a")
    link.layer.resumeProducing()
    link.layer.pauseProducing()
    link.clock.advance(0)
    assert link.above.pieces == []
    assert link.told[-1] == "pause"


def test_a_resumption_without_a_pause_is_nothing(pair: Pair) -> None:
    link = Secured(pair).opened()
    link.layer.resumeProducing()
    assert link.told == []


def test_a_pause_in_the_handshake(pair: Pair) -> None:
    link = Secured(pair)
    link.layer.dataReceived(link.peer.take(b""))
    link.layer.pauseProducing()
    link.layer.resumeProducing()
    assert link.told == ["pause", "resume"]


def test_a_pause_and_a_resumption_behind_our_end(pair: Pair) -> None:
    """The transport below is read for the peer's end, whatever the protocol above wants."""
    link = Secured(pair).opened()
    link.layer.loseConnection()
    link.layer.pauseProducing()
    assert link.told == []


def test_a_lost_transport_is_not_resumed(pair: Pair) -> None:
    link = Secured(pair).opened()
    link.layer.pauseProducing()
    link.lose()
    link.layer.resumeProducing()
    assert link.told == ["pause"]


def test_an_end_that_waits_is_not_followed_by_a_resumption(pair: Pair) -> None:
    link = Secured(pair).opened()
    link.layer.pauseProducing()
    link.layer.dataReceived(link.peer.encrypted(b"Hello") + link.peer.close_notify())
    link.layer.resumeProducing()
    link.clock.advance(0)
    assert link.above.received == b"Hello"
    assert link.told == ["pause", "lose"]


def test_an_end_is_not_told_in_a_pause(pair: Pair) -> None:
    link = Secured(pair, Above(data=lambda above: above.transport.pauseProducing())).opened()
    link.layer.dataReceived(link.peer.encrypted(b"a") + link.peer.close_notify())
    assert link.above.reasons == []
    link.layer.resumeProducing()
    assert link.above.reasons == []
    link.clock.advance(0)
    assert [type(reason) for reason in link.above.reasons] == [ConnectionDone]


# Ends: the peer's


@roles
@versions
def test_the_peer_ends(pair: Pair, isServer: bool, version: ssl.TLSVersion) -> None:
    link = Secured(pair, isServer=isServer, version=version).opened()
    link.layer.dataReceived(link.peer.encrypted(b"last") + link.peer.close_notify())
    assert link.above.received == b"last"
    assert [type(reason) for reason in link.above.reasons] == [ConnectionDone]
    assert "lose" in link.told
    link.peer.take(link.below.taken())
    assert link.peer.ended
    link.lose()
    assert len(link.above.reasons) == 1


def test_all_that_was_written_leaves_before_the_answer_to_the_peers_end(pair: Pair) -> None:
    link = Secured(pair, below=Slow()).opened()
    link.layer.write(bytes(500 * KIB))
    link.layer.dataReceived(link.peer.close_notify())
    # The standard library's TLS reads no more behind its own end: what leaves is counted.
    assert len(link.below.taken()) > 500 * KIB


def test_tcp_ends_without_an_end_of_tls(pair: Pair) -> None:
    link = Secured(pair).opened()
    link.lose()
    (reason,) = link.above.reasons
    assert type(reason) is ConnectionLost
    assert "without an end of TLS" in str(reason)
    assert link.above.pieces == []


def test_a_reset_is_told_as_it_is(pair: Pair) -> None:
    link = Secured(pair).opened()
    error = ConnectionLost("reset")
    link.lose(error)
    assert link.above.reasons == [error]


def test_what_came_is_delivered_before_the_loss(pair: Pair) -> None:
    """A pause can't hold it any longer."""
    link = Secured(pair).opened()
    link.layer.pauseProducing()
    link.layer.dataReceived(link.peer.encrypted(b"last") + link.peer.close_notify())
    link.lose()
    assert link.above.received == b"last"
    assert [type(reason) for reason in link.above.reasons] == [ConnectionDone]
    assert link.clock.getDelayedCalls() == []


def test_the_loss_is_told_once(pair: Pair) -> None:
    link = Secured(pair).opened()
    link.lose()
    link.lose()
    link.layer.dataReceived(b"more")
    link.layer.write(b"more")
    link.layer.loseConnection()
    link.layer.pauseProducing()
    link.layer.resumeProducing()
    assert len(link.above.reasons) == 1


@pytest.mark.parametrize("when", ["handshake", "open"])
def test_garbage(pair: Pair, when: str) -> None:
    link = Secured(pair)
    if when == "open":
        link.opened()
    link.below.taken()
    link.layer.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
    (reason,) = link.above.reasons
    assert isinstance(reason, ssl.SSLError)
    assert reason.__traceback__ is None
    # A fatal alert; none is sent where there was no word of TLS yet.
    assert link.below.taken()[:1] == (b"\x17" if when == "open" else b"")
    assert link.told == ["lose"]


def test_a_broken_record_behind_a_good_one(pair: Pair) -> None:
    above = Above(data=lambda above: above.transport.write(b"an answer that can't leave"))
    link = Secured(pair, above).opened()
    link.layer.dataReceived(link.peer.encrypted(b"good") + b"\x17\x03\x03\x00\x20" + bytes(32))
    assert above.received == b"good"
    assert [type(reason) for reason in above.reasons] == [ssl.SSLError]
    link.lose()
    assert link.clock.getDelayedCalls() == []


def test_tcp_ends_in_the_handshake(pair: Pair) -> None:
    link = Secured(pair)
    link.lose()
    assert [type(reason) for reason in link.above.reasons] == [ConnectionDone]


# Ends: ours


@roles
@versions
def test_we_end(pair: Pair, isServer: bool, version: ssl.TLSVersion) -> None:
    link = Secured(pair, isServer=isServer, version=version).opened()
    link.layer.write(b"last")
    link.layer.loseConnection()
    link.peer.take(link.below.taken())
    assert (link.peer.taken(), link.peer.ended) == (b"last", True)
    assert (link.told, link.above.reasons) == ([], [])
    link.layer.dataReceived(link.peer.close_notify())
    assert (link.told, link.above.reasons) == (["lose"], [])
    link.lose()
    assert [type(reason) for reason in link.above.reasons] == [ConnectionDone]
    assert link.clock.getDelayedCalls() == []


def test_the_end_is_one(pair: Pair) -> None:
    link = Secured(pair).opened()
    link.layer.loseConnection()
    link.layer.dataReceived(link.peer.close_notify())
    link.layer.unregisterProducer()
    link.layer.loseConnection()
    assert link.told == ["lose"]


def test_half_an_end_is_a_whole_one(pair: Pair) -> None:
    link = Secured(pair).opened()
    link.layer.loseWriteConnection()
    link.pump()
    assert link.peer.ended


def test_an_end_behind_the_peers_is_nothing_more(pair: Pair) -> None:
    link = Secured(pair).opened()
    link.layer.dataReceived(link.peer.close_notify())
    link.layer.loseConnection()
    assert link.told == ["lose"]


def test_a_transport_below_that_does_not_close_is_aborted(pair: Pair) -> None:
    link = Secured(pair).opened()
    link.layer.dataReceived(link.peer.close_notify())
    assert link.told == ["lose"]
    link.clock.advance(9)
    assert link.told == ["lose"]
    link.clock.advance(1)
    assert link.told == ["lose", "abort"]


def test_the_time_for_the_end_is_one(pair: Pair) -> None:
    """In the handshake, too, where text waits for it."""
    link = Secured(pair, closeSeconds=3)
    link.layer.write(b"early")
    link.layer.loseConnection()
    link.clock.advance(2)
    link.layer.loseConnection()
    link.clock.advance(1)
    assert link.told == ["abort"]


def test_nothing_is_written_behind_an_end_in_a_delivery(pair: Pair) -> None:
    def end(above: Above) -> None:
        above.transport.loseConnection()
        above.transport.write(b"late")

    link = Secured(pair, Above(data=end)).opened()
    link.feed(b"a")
    assert link.pump() == b""


def test_an_abort_behind_the_peers_end(pair: Pair) -> None:
    link = Secured(pair).opened()
    link.layer.dataReceived(link.peer.close_notify())
    link.layer.abortConnection()
    link.lose(ConnectionAborted())
    assert link.told == ["lose", "abort"]
    assert [type(reason) for reason in link.above.reasons] == [ConnectionDone]


def test_the_end_of_tcp_behind_our_end_is_a_clean_one(pair: Pair) -> None:
    link = Secured(pair).opened()
    link.layer.loseConnection()
    link.lose()
    assert [type(reason) for reason in link.above.reasons] == [ConnectionDone]
    assert link.clock.getDelayedCalls() == []


def test_a_peer_that_does_not_end_is_aborted(pair: Pair) -> None:
    link = Secured(pair, closeSeconds=3).opened()
    link.layer.loseConnection()
    link.clock.advance(2.9)
    assert link.told == []
    link.clock.advance(0.2)
    assert link.told == ["abort"]
    link.lose(ConnectionAborted())
    assert [type(reason) for reason in link.above.reasons] == [ConnectionAborted]


def test_without_a_time_it_is_awaited_for_good(pair: Pair) -> None:
    link = Secured(pair, closeSeconds=None).opened()
    link.layer.loseConnection()
    assert link.clock.getDelayedCalls() == []


@pytest.mark.parametrize("size", [5, 200 * KIB])
def test_input_behind_our_end_is_discarded(pair: Pair, size: int) -> None:
    link = Secured(pair).opened()
    link.layer.loseConnection()
    link.feed(bytes(size))
    assert link.above.pieces == []
    link.layer.dataReceived(link.peer.close_notify())
    assert link.told == ["lose"]


def test_a_flood_behind_our_end_is_aborted(pair: Pair) -> None:
    link = Secured(pair).opened()
    link.layer.loseConnection()
    for _ in range(16):
        link.feed(bytes(2**20))
        if link.told:
            break
    assert link.told == ["abort"]


def test_an_end_in_a_pause_reads_again(pair: Pair) -> None:
    """The peer's end could not be seen otherwise; and what had come is no fault."""
    link = Secured(pair).opened()
    link.layer.pauseProducing()
    link.feed(b"unread")
    link.layer.loseConnection()
    link.peer.take(link.below.taken())
    assert (link.peer.ended, link.told) == (True, ["pause", "resume"])
    link.layer.dataReceived(link.peer.close_notify())
    assert (link.above.pieces, link.told[-1]) == ([], "lose")


def test_an_end_in_the_middle_of_a_delivery(pair: Pair) -> None:
    def end(above: Above) -> None:
        above.transport.write(b"last")
        above.transport.loseConnection()

    link = Secured(pair, Above(data=end)).opened()
    link.feed(b"a")
    link.peer.take(link.below.taken())
    assert (link.peer.taken(), link.peer.ended) == (b"last", True)
    link.feed(b"b")
    assert link.above.pieces == [b"a"]


def test_both_ends_at_once(pair: Pair) -> None:
    link = Secured(pair, Above(data=lambda above: above.transport.loseConnection())).opened()
    link.layer.dataReceived(link.peer.encrypted(b"a") + link.peer.close_notify())
    assert link.told == ["lose"]
    link.lose()
    assert [type(reason) for reason in link.above.reasons] == [ConnectionDone]


def test_an_end_before_the_handshake(pair: Pair) -> None:
    link = Secured(pair)
    link.layer.loseConnection()
    assert link.told == ["lose"]
    link.lose()
    assert [type(reason) for reason in link.above.reasons] == [ConnectionDone]


def test_an_end_behind_text_that_waits_for_the_handshake(pair: Pair) -> None:
    link = Secured(pair, closeSeconds=3)
    link.layer.write(b"early")
    link.layer.loseConnection()
    assert link.told == []
    assert link.pump() == b"early"
    assert link.peer.ended
    link.clock.advance(3)
    assert link.told == ["abort"]


def test_an_end_behind_text_that_the_transport_below_does_not_take(pair: Pair) -> None:
    link = Secured(pair, below=Slow()).opened()
    link.layer.write(bytes(500 * KIB))
    link.layer.loseConnection()
    text = 0
    while not link.peer.ended:
        link.peer.take(link.below.take())
        text += len(link.peer.taken())
    assert text == 500 * KIB


def test_nothing_is_written_behind_the_end(pair: Pair) -> None:
    link = Secured(pair).opened()
    link.layer.loseConnection()
    link.layer.write(b"late")
    link.layer.loseConnection()
    link.layer.loseWriteConnection()
    assert link.pump() == b""


@pytest.mark.parametrize("when", ["handshake", "open", "pause"])
def test_an_abort(pair: Pair, when: str) -> None:
    link = Secured(pair)
    if when != "handshake":
        link.opened()
    if when == "pause":
        link.layer.pauseProducing()
    link.layer.abortConnection()
    assert link.told[-1] == "abort"
    if when != "handshake":
        link.feed(b"late")
    link.layer.write(b"late")
    assert (link.above.pieces, link.above.reasons) == ([], [])
    link.lose(ConnectionAborted())
    assert [type(reason) for reason in link.above.reasons] == [ConnectionAborted]


@pytest.mark.parametrize("how", ["abortConnection", "loseConnection"])
def test_an_end_before_a_clients_first_message(pair: Pair, how: str) -> None:
    link = Secured(pair, Above(made=lambda above: getattr(above.transport, how)()), isServer=False)
    assert (link.below.taken(), len(link.told)) == (b"", 1)


def test_an_abort_in_the_middle_of_a_delivery(pair: Pair) -> None:
    link = Secured(pair, Above(data=lambda above: above.transport.abortConnection())).opened()
    link.layer.dataReceived(link.peer.encrypted(b"a") + link.peer.close_notify())
    assert (link.told, link.above.reasons) == (["abort"], [])


def test_nothing_is_left_of_it(pair: Pair) -> None:
    link = Secured(pair).opened()
    gone = ref(link.layer.sslObject), ref(link.layer)
    link.lose()
    assert gone[0]() is None
    gc.disable()
    try:
        del link
        assert gone[1]() is None
    finally:
        gc.enable()


# Producers


def test_a_producer_has_the_pace_of_the_transport_below(pair: Pair) -> None:
    link = Secured(pair, below=Slow()).opened()
    producer = Producer()
    link.layer.registerProducer(producer, True)
    link.layer.write(bytes(60 * KIB))
    assert producer.told == []
    link.layer.write(bytes(60 * KIB))
    assert producer.told == ["pause"]
    link.layer.write(b"more")
    link.below.take()
    assert producer.told == ["pause", "resume"]


def test_a_producer_that_comes_late(pair: Pair) -> None:
    link = Secured(pair, below=Slow()).opened()
    link.layer.write(bytes(100 * KIB))
    producer = Producer()
    link.layer.registerProducer(producer, True)
    assert producer.told == ["pause"]


def test_a_pull_producer(pair: Pair) -> None:
    link = Secured(pair, below=Slow()).opened()
    producer = Producer(resume=lambda: link.layer.write(bytes(20 * KIB)))
    link.layer.registerProducer(producer, False)
    for _ in range(20):
        link.clock.advance(0)
    told = len(producer.told)
    assert 3 <= told <= 5
    link.below.take()
    link.clock.advance(0)
    assert len(producer.told) > told
    link.layer.unregisterProducer()
    assert link.clock.getDelayedCalls() == []


def test_a_pull_producer_that_leaves_is_asked_no_more(pair: Pair) -> None:
    link = Secured(pair).opened()
    producer = Producer()
    link.layer.registerProducer(producer, False)
    told = list(producer.told)
    link.layer.unregisterProducer()
    link.clock.advance(1)
    assert producer.told == told


def test_producers_that_come_after_the_loss_are_stopped(pair: Pair) -> None:
    link = Secured(pair).opened()
    link.lose()
    producers = Producer(), Producer()
    for producer in producers:
        link.layer.registerProducer(producer, True)
    assert [producer.told for producer in producers] == [["stop"], ["stop"]]


def test_the_end_waits_for_the_producer(pair: Pair) -> None:
    link = Secured(pair).opened()
    link.layer.registerProducer(Producer(), True)
    link.layer.loseConnection()
    link.layer.write(b"still")
    assert link.pump() == b"still"
    assert not link.peer.ended
    link.layer.unregisterProducer()
    link.pump()
    assert link.peer.ended


def test_the_loss_while_the_end_waits_for_the_producer(pair: Pair) -> None:
    link = Secured(pair).opened()
    link.layer.registerProducer(Producer(), True)
    link.layer.loseConnection()
    link.lose()
    assert [type(reason) for reason in link.above.reasons] == [ConnectionDone]


def test_one_producer_at_a_time(pair: Pair) -> None:
    link = Secured(pair).opened()
    link.layer.registerProducer(Producer(), True)
    with pytest.raises(RuntimeError):
        link.layer.registerProducer(Producer(), True)
    link.layer.unregisterProducer()
    link.layer.unregisterProducer()
    link.layer.registerProducer(Producer(), True)


def test_a_producer_is_stopped_at_the_loss(pair: Pair) -> None:
    link = Secured(pair).opened()
    first, second = Producer(), Producer()
    link.layer.registerProducer(first, True)
    link.lose()
    link.layer.registerProducer(second, True)
    assert (first.told, second.told) == (["stop"], ["stop"])


def test_a_producer_that_fails(pair: Pair) -> None:
    def fail() -> None:
        raise RuntimeError("oops")

    link = Secured(pair, below=Slow()).opened()
    with logged() as events:
        link.layer.registerProducer(Producer(pause=fail), True)
        link.layer.write(bytes(100 * KIB))
    assert link.told == ["abort"]
    assert [str(event["log_failure"].value) for event in events] == ["oops"]


def test_a_consumers_end_by_stopProducing(pair: Pair) -> None:
    link = Secured(pair).opened()
    link.layer.stopProducing()
    link.pump()
    assert link.peer.ended


# Over sockets


def test_a_message_is_one_system_call(socketed: Callable[..., Socketed]) -> None:
    link = socketed(packets=True)
    link.layer.write(b"Hello")
    (packet,) = link.packets()
    link.peer.take(packet)
    assert link.peer.taken() == b"Hello"
    assert link.clock.writers == []


def test_no_more_is_encrypted_than_the_socket_takes(socketed: Callable[..., Socketed]) -> None:
    link = socketed(sendBuffer=2**16)
    producer = Producer()
    link.layer.registerProducer(producer, True)
    data = bytes(range(256)) * 2**14
    link.layer.write(data)
    assert producer.told == ["pause"]
    below = driverOf(link.below).bytesHeld(link.below)
    assert below is not None
    assert 0 < below <= 132 * KIB
    held = driverOf(link.layer).bytesHeld(link.layer)
    assert held is not None
    assert held - below > 3 * 2**20
    inFlight = driverOf(link.layer).bytesInFlight(link.layer)
    assert inFlight is None or inFlight >= held
    assert link.drain() == data
    assert producer.told == ["pause", "resume"]
    assert driverOf(link.layer).bytesHeld(link.layer) == 0


def test_messages_of_all_sizes_keep_their_order(socketed: Callable[..., Socketed]) -> None:
    link = socketed(sendBuffer=2**14)
    texts = [bytes([number % 256]) * size for number, size in enumerate([1, 100, 70000, 3, 200000, 16384, 5] * 4)]
    for text in texts:
        link.layer.write(text)
    assert link.drain() == b"".join(texts)


def test_small_messages_wait_in_plain_text_while_the_socket_is_full(socketed: Callable[..., Socketed]) -> None:
    link = socketed(sendBuffer=2**14)
    link.layer.write(bytes(100 * KIB))
    held = driverOf(link.below).bytesHeld(link.below)
    for _ in range(100):
        link.layer.write(bytes(KIB))
    assert driverOf(link.below).bytesHeld(link.below) == held
    assert len(link.drain()) == 200 * KIB
    assert driverOf(link.layer).bytesHeld(link.layer) == 0


def test_nothing_overtakes_bytes_that_the_transport_below_holds(socketed: Callable[..., Socketed]) -> None:
    """The socket has room again, and the reactor has not written yet."""
    link = socketed(sendBuffer=2**14)
    link.layer.write(bytes(100 * KIB))
    text = link.take()
    link.layer.loseConnection()
    assert len(text + link.drain()) == 100 * KIB
    assert link.peer.ended


@pytest.mark.parametrize("size", [1000, 9000, 16000, 16384])
def test_messages_until_the_socket_is_full(socketed: Callable[..., Socketed], size: int) -> None:
    link = socketed(sendBuffer=2**14)
    producer = Producer()
    link.layer.registerProducer(producer, True)
    count = 0
    while not driverOf(link.below).bytesHeld(link.below):
        assert producer.told == []
        link.layer.write(bytes([count % 256]) * size)
        count += 1
    assert producer.told == ["pause"]
    assert link.drain() == b"".join(bytes([number % 256]) * size for number in range(count))
    assert producer.told == ["pause", "resume"]


@pytest.mark.parametrize(("size", "records"), [(4, 1), (40000, 3)])
def test_a_socket_that_takes_nothing(socketed: Callable[..., Socketed], size: int, records: int) -> None:
    """Each record takes 22 bytes more (RFC 8446 section 5.2, with AES-GCM)."""
    link = socketed()
    link.socket.close()
    link.layer.write(bytes(size))
    assert driverOf(link.below).bytesHeld(link.below) == size + 22 * records


def test_our_end_leaves_behind_all_that_was_written(socketed: Callable[..., Socketed]) -> None:
    link = socketed(sendBuffer=2**14)
    link.layer.write(bytes(500 * KIB))
    link.layer.loseConnection()
    assert len(link.drain()) == 500 * KIB
    assert link.peer.ended
    link.socket.send(link.peer.close_notify())
    link.read()
    link.clock.write()
    assert [type(reason) for reason in link.above.reasons] == [ConnectionDone]


@pytest.mark.parametrize("reads", [True, False])
def test_a_peer_that_ends_gets_the_rest_if_it_reads(socketed: Callable[..., Socketed], reads: bool) -> None:
    link = socketed(sendBuffer=2**14)
    link.layer.write(bytes(100 * KIB))
    link.socket.send(link.peer.close_notify())
    link.read()
    # The protocol above is told at once.
    assert [type(reason) for reason in link.above.reasons] == [ConnectionDone]
    size = len(link.arrived())
    for _ in range(40 if reads else 3):
        if reads:
            link.clock.write()
            size += len(link.arrived())
        link.clock.advance(0.1)
    assert not link.below.connected
    assert (size > 100 * KIB) is reads
    assert link.clock.getDelayedCalls() == []
    assert link.clock.writers == []


def test_a_peer_that_ends_and_takes_the_rest_too_slowly_is_not_waited_for(socketed: Callable[..., Socketed]) -> None:
    link = socketed(sendBuffer=2**14)
    link.layer.write(bytes(2**22))
    link.socket.send(link.peer.close_notify())
    link.read()
    seconds = 0.0
    while link.below.connected:
        # It takes some bytes each time, so that it would be waited for.
        link.socket.recv(2**15)
        link.clock.advance(0.1)
        seconds += 0.1
    assert 9.9 < seconds < 10.2, "closeTimeout"
    assert link.clock.getDelayedCalls() == []


def test_nothing_overtakes_bytes_that_the_transport_below_holds_at_the_peers_end(
    socketed: Callable[..., Socketed],
) -> None:
    """The socket has room again, and the reactor has not written yet."""
    link = socketed(sendBuffer=2**14)
    text = bytes(range(256)) * (4 * KIB)
    link.layer.write(text)
    start = link.take()
    link.socket.send(link.peer.close_notify())
    link.read()
    assert start + link.drain() == text
    assert link.peer.ended


def test_a_peer_that_ends_has_a_moment_for_the_rest(socketed: Callable[..., Socketed]) -> None:
    link = socketed(sendBuffer=2**14)
    link.layer.write(bytes(100 * KIB))
    link.socket.send(link.peer.close_notify())
    link.read()
    link.clock.advance(0.05)
    assert link.below.connected
    # As soon as all has left it is closed, at the end of a moment.
    while driverOf(link.below).bytesHeld(link.below):
        assert link.below.connected
        link.arrived()
        link.clock.advance(0.1)
    assert not link.below.connected


def test_our_end_in_the_delivery_of_text_before_the_peers(socketed: Callable[..., Socketed]) -> None:
    """Nothing is left to wait for."""
    link = socketed(Above(data=lambda it: it.transport.loseConnection()))
    link.socket.send(link.peer.encrypted(b"Hello") + link.peer.close_notify())
    link.read()
    link.clock.advance(0)
    assert [type(reason) for reason in link.above.reasons] == [ConnectionDone]
    assert not link.below.connected


def test_a_socket_that_fails_is_the_reactors(socketed: Callable[..., Socketed]) -> None:
    link = socketed()
    link.socket.close()
    link.layer.write(b"late")
    link.layer.write(bytes(500 * KIB))
    assert link.above.reasons == []
    link.clock.write()
    assert [type(reason) for reason in link.above.reasons] == [ConnectionLost]


def test_twisteds_tls_below_that_ends(pair: Pair) -> None:
    """It tells nobody, and waits for its producer to leave."""
    reactor = Reactor()
    plain = makeLink(reactor, register=False)
    factory = ClientFactory()
    factory.buildProtocol = lambda addr: TLSLayer(Above(), serverContext(pair), reactor, 10)  # type: ignore[method-assign, assignment, return-value]
    below = overTLS(plain.transport, reactor, factory)
    try:
        outer = anonymous()
        outer.set_connect_state()
        for _ in range(3):
            with suppress(SSL.WantReadError):
                outer.do_handshake()
            with suppress(SSL.WantReadError):
                below.dataReceived(outer.bio_read(2**16))
            reactor.write()
            data = plain.arrived()
            if data:
                outer.bio_write(data)
        assert plain.transport.producer is not None
        outer.shutdown()
        below.dataReceived(outer.bio_read(2**16))
        reactor.advance(0)
        assert plain.transport.producer is None
    finally:
        plain.close()


@pytest.mark.parametrize("how", ["peer", "we", "fault"])
def test_tls_in_tls(pair: Pair, how: str) -> None:
    """As through a proxy that is reached over TLS."""
    inner = Above()
    outer = Secured(
        pair, TLSLayer(inner, clientContext(pair), Clock(), 10, "localhost", isServer=False), isServer=False
    )
    peer = Peer(serverContext(pair), isServer=True)

    def pump() -> None:
        while data := peer.take(outer.pump()):
            outer.feed(data)

    pump()
    assert peer.isShaken
    inner.transport.write(b"Hello")
    pump()
    assert peer.taken() == b"Hello"
    outer.feed(peer.encrypted(b"Hi"))
    assert inner.received == b"Hi"
    if how == "peer":
        outer.feed(peer.close_notify())
    elif how == "we":
        inner.transport.loseConnection()
        pump()
        assert peer.ended
        outer.feed(peer.close_notify())
    else:
        outer.layer.dataReceived(outer.peer.close_notify())
    pump()
    assert outer.peer.ended
    outer.lose()
    assert [type(reason) for reason in inner.reasons] == [ConnectionLost if how == "fault" else ConnectionDone]


def test_options_of_tcp_are_those_of_the_transport_below(pair: Pair) -> None:
    class WithOptions(Transport):
        noDelay = keepAlive = False

        def getTcpNoDelay(self) -> bool:
            return self.noDelay

        def setTcpNoDelay(self, enabled: bool) -> None:
            self.noDelay = enabled

        def getTcpKeepAlive(self) -> bool:
            return self.keepAlive

        def setTcpKeepAlive(self, enabled: bool) -> None:
            self.keepAlive = enabled

    below = WithOptions()
    layer = Secured(pair, below=below).layer
    assert not layer.getTcpNoDelay()
    layer.setTcpNoDelay(True)
    assert (layer.getTcpNoDelay(), layer.getTcpKeepAlive()) == (True, False)
    layer.setTcpKeepAlive(True)
    assert (below.noDelay, layer.getTcpKeepAlive()) == (True, True)


def test_a_transport_below_that_does_not_know_what_it_holds(pair: Pair) -> None:
    assert Secured(pair).layer.bytesHeld is None


# A WebSocket above it


def served(pair: Pair, application: Any, **settings: Any) -> Secured:
    factory = WebSocketServerFactory(lambda request: application, reactor=None, settings=quiet(settings))
    link = Secured.__new__(Secured)
    clock = Reactor()
    factory.useReactor(clock)
    Secured.__init__(link, pair, factory.buildProtocol(None))
    return link.opened()


def test_a_websocket(pair: Pair) -> None:
    application = Application(message=lambda it: it.transport.sendTextMessage("Hello"))
    link = served(pair, application)
    link.feed(REQUEST + HELLO)
    assert link.pump().endswith(b"\r\n\r\n" + HELLO_SENT)
    assert application.messages == ["Hello"]
    assert driverOf(link.layer).isSecure(link.layer)
    assert application.transport.getPeerCertificateDER() is None
    assert application.transport.request.getPeerCertificateDER() is None
    assert application.transport.getPeerCertificate() is None


def test_a_websocket_that_another_hand_closes(pair: Pair) -> None:
    application = Application()
    link = served(pair, application)
    link.feed(REQUEST)
    link.pump()
    link.layer.loseConnection()
    assert driverOf(link.layer).isClosedByOthers(link.layer)
    assert not link.peer.ended


def test_nothing_of_pyOpenSSL_is_needed(pair: Pair, tmp_path: Path) -> None:
    import subprocess
    import sys

    import wsock

    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "for name in ('OpenSSL', 'cryptography', 'service_identity', 'idna'): sys.modules[name] = None\n"
        "import wsock\n"
        "from twisted.internet.testing import MemoryReactorClock\n"
        "from wsock.wire.tls import TLSLayer\n"
        "assert 'ssl' in sys.modules\n"
        "reactor = MemoryReactorClock()\n"
        "wsock.serve(reactor, 'tcp:0', lambda request: None, tls=(sys.argv[3], sys.argv[2]))\n"
        "print(type(reactor.tcpServers[0][1].buildProtocol(None)).__name__)"
    )
    command = [sys.executable, "-c", program, str(Path(wsock.__file__).parents[1]), *map(str, pair)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("TLSLayer", "")
