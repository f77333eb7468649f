"""`WebSocketServerFactory.stop` on every transport at once, since it takes its 4 seconds."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from integration.peer import Peer, frame, request
from integration.servers import KINDS, Echo, Serve, Server
from twisted.internet.defer import Deferred


def decide(request: Any) -> Any:
    """Accepts, but for /later: there it never decides."""
    return Deferred() if request.path == "/later" else Echo()


class Stopped:
    """One server with a peer in each state, and what became of them when it was stopped."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.polite = server.open()
        self.silent = server.open()
        self.deaf = server.open(receive_buffer=2**15)
        self.deaf.stream(frame(0x82, bytes(60000)), 2**26, read=False)
        self.handshaking = server.connect()
        self.handshaking.send(b"GET /echo HTTP/1.1\r\nHost: a\r\n")
        self.undecided = server.connect()
        self.undecided.send(request("GET /later HTTP/1.1"))
        self.mute = server.connect()
        self.unencrypted = server.connect(tls=False)
        self.fired: list[float] = []

    def stop(self) -> None:
        for _ in range(2):
            self.server.factory.stop().addCallback(lambda ignored: self.fired.append(time.monotonic()))

    def check(self) -> None:
        began = time.monotonic()
        self.server.call(self.stop)
        for peer in (self.handshaking, self.undecided):
            answer = peer.answer()
            assert (answer.status, answer["Retry-After"], answer["Connection"]) == (503, "5", "close")
            assert peer.read(int(answer["Content-Length"] or 0)) == b"Service Unavailable: the server stops"
            peer.expect_end()
            peer.close()
        assert ends(self.mute)
        assert ends(self.unencrypted, reset=self.server.certificate is not None)
        self.mute.close()
        self.polite.expect_close(1001, "")
        late = self.server.connect()
        late.send(request())
        assert late.answer().status == 503
        late.close()
        self.polite.send(frame(0x88, b"\x03\xe9"))
        self.polite.expect_end()
        self.polite.close()
        self.silent.expect_close(1001, "")
        assert time.monotonic() - began < 2
        assert not self.fired
        # Its earlier messages are still on its way to it when its time is up.
        assert ends(self.silent, reset=True)
        assert 3.5 < time.monotonic() - began < 5.5
        while len(self.fired) < 2:
            assert time.monotonic() - began < 6
            time.sleep(0.01)
        assert len(self.fired) == 2
        assert self.server.call(lambda: len(self.server.factory.connections)) == 0


def ends(peer: Peer, reset: bool = False) -> bool:
    """Waits for the end of the stream, which may be a reset; returns whether nothing came before."""
    try:
        return peer.rest() == b""
    except OSError:
        return reset


@pytest.mark.slow
def test_stop(serve: Serve) -> None:
    stopped = [Stopped(serve(kind, decide)) for kind in KINDS]
    assert all(one.server.call(lambda one=one: len(one.server.factory.connections)) == 3 for one in stopped)
    faults: list[tuple[str, BaseException]] = []

    def guarded(kind: str, check: Callable[[], None]) -> None:
        try:
            check()
        except BaseException as fault:
            faults.append((kind, fault))

    threads = [
        threading.Thread(target=guarded, args=(kind, one.check)) for kind, one in zip(KINDS, stopped, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise AssertionError(f"on {[kind for kind, _ in faults]}") from faults[0][1]


def test_stop_when_nobody_is_there(serve: Serve) -> None:
    server = serve()
    assert server.call(server.factory.stop) is None
