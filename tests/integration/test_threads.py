"""Sending from threads; the tests of this folder run in one."""

import threading
from typing import Any

import pytest
from integration.servers import KINDS, Echo, Serve

from wsock import Compression, LocalProtocolError, WebSocketDropped, WebSocketEnded

pytestmark = pytest.mark.parametrize("kind", KINDS)


def test_messages_from_threads(serve: Serve, kind: str) -> None:
    server = serve(kind)
    peer = server.open()
    transport = server.applications[0].transport
    count, threads = 200, 4

    def send(number: int) -> None:
        for index in range(count):
            transport.sendFromThread(f"{number} {index}" if index % 2 else f"{number} {index}".encode())

    senders = [threading.Thread(target=send, args=(number,)) for number in range(threads)]
    for sender in senders:
        sender.start()
    received: dict[int, list[int]] = {number: [] for number in range(threads)}
    for _ in range(count * threads):
        first, payload = peer.frame()
        number, index = map(int, payload.split())
        assert first == (0x81 if index % 2 else 0x82)
        received[number].append(index)
    for sender in senders:
        sender.join(10)
    assert received == {number: list(range(count)) for number in range(threads)}


@pytest.mark.slow
def test_a_thread_waits_for_a_peer_that_does_not_read(serve: Serve, kind: str) -> None:
    server = serve(kind, sendLimit=None)
    peer = server.open(receive_buffer=2**14)
    transport = server.applications[0].transport
    size, count = 2**17, 100
    sent: list[int] = []

    def send() -> None:
        for number in range(count):
            transport.sendFromThread(number.to_bytes(4, "big") + bytes(size - 4))
            sent.append(number)

    sender = threading.Thread(target=send)
    sender.start()
    sender.join(1)
    assert sender.is_alive()
    # One message more than the mark, and what the systems of both sides hold.
    assert server.call(lambda: transport._outbox.size) <= 2**16 + size + 10
    for number in range(count):
        assert peer.frame()[1][:4] == number.to_bytes(4, "big")
    sender.join(10)
    assert sent == list(range(count))


@pytest.mark.slow
def test_several_threads_take_their_turns(serve: Serve, kind: str) -> None:
    """The queue holds one message of all of them; the limit closes nothing."""
    server = serve(kind)
    peer = server.open(receive_buffer=2**14)
    transport = server.applications[0].transport
    size, threads = 300_000, 25
    raised: list[BaseException] = []

    def send(number: int) -> None:
        try:
            transport.sendFromThread(number.to_bytes(4, "big") + bytes(size - 4))
        except BaseException as error:
            raised.append(error)

    senders = [threading.Thread(target=send, args=(number,)) for number in range(threads)]
    for sender in senders:
        sender.start()
    senders[-1].join(0.5)
    assert server.call(lambda: transport._outbox.size) <= 2**16 + size + 10
    assert {peer.frame()[1][:4] for _ in senders} == {number.to_bytes(4, "big") for number in range(threads)}
    for sender in senders:
        sender.join(10)
    assert raised == []


@pytest.mark.slow
@pytest.mark.parametrize("how", ["lost", "aborted"])
def test_a_loss_lets_a_thread_go(serve: Serve, kind: str, how: str) -> None:
    server = serve(kind, sendLimit=None)
    peer = server.open(receive_buffer=2**14)
    transport = server.applications[0].transport
    raised: list[BaseException] = []
    blocked = threading.Event()

    def send() -> None:
        try:
            for _ in range(1000):
                transport.sendFromThread(bytes(2**17))
                blocked.set()
        except BaseException as error:
            raised.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    assert blocked.wait(10)
    sender.join(0.5)
    if how == "lost":
        peer.close()
    else:
        server.call(transport.abortConnection)
    sender.join(10)
    assert not sender.is_alive()
    assert [type(error) for error in raised] in ([WebSocketDropped], [WebSocketEnded])
    with pytest.raises(WebSocketEnded):
        transport.sendFromThread("x")


def test_what_can_not_be_sent_is_raised_in_the_thread(serve: Serve, kind: str) -> None:
    server = serve(kind)
    peer = server.open()
    transport = server.applications[0].transport
    for bad in ("\ud800", 5):
        with pytest.raises(LocalProtocolError):
            transport.sendFromThread(bad)
    transport.sendFromThread("Hello")
    assert peer.frame() == (0x81, b"Hello")


def test_a_message_from_a_thread_may_choose_to_be_compressed(serve: Serve, kind: str) -> None:
    server = serve(kind, compression=Compression())
    peer = server.open(sec_websocket_extensions="permessage-deflate")
    transport = server.applications[0].transport
    for message, first in (("x" * 300, 0xC1), (b"x" * 300, 0xC2)):
        transport.sendFromThread(message)
        assert peer.frame()[0] == first
        transport.sendFromThread(message, False)
        assert peer.frame() == (first & 0xBF, b"x" * 300)
    transport.sendFromThread("x", compress=True)
    assert peer.frame()[0] == 0xC1
    with pytest.raises(LocalProtocolError, match="compress is True, False, or None"):
        transport.sendFromThread("x", 1)  # type: ignore[arg-type]


class Careless(Echo):
    def textMessageReceived(self, message: str) -> None:
        try:
            self.transport.sendFromThread(message)
        except LocalProtocolError:
            self.transport.sendTextMessage("raised")


def test_on_the_reactors_own_thread_it_raises(serve: Serve, kind: str) -> None:
    peer = serve(kind, lambda request: Careless()).open()
    peer.send(bytes.fromhex("818537fa213d7f9f4d5158"))
    assert peer.frame() == (0x81, b"raised")


@pytest.mark.slow
def test_when_the_reactor_has_stopped(serve: Serve, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that is handed to a reactor that does not run any more never comes back."""
    from twisted.internet import reactor

    server = serve(kind)
    server.open()
    transport: Any = server.applications[0].transport
    monkeypatch.setattr(reactor, "callFromThread", lambda *arguments: None)
    monkeypatch.setattr(reactor, "running", False)
    try:
        with pytest.raises(WebSocketEnded, match="stopped"):
            transport.sendFromThread("x")
    finally:
        monkeypatch.undo()
