"""A test of echo_server.py, without sockets: `python -m twisted.trial test_echo_server`."""

from echo_server import Echo
from twisted.trial.unittest import SynchronousTestCase

from wsock import WebSocketServerFactory
from wsock.testing import MemoryAgent


class EchoTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.agent = MemoryAgent(WebSocketServerFactory(lambda request: Echo()))
        connecting = self.agent.connect("ws://localhost/")
        self.agent.flush()  # now bytes move, and only now
        self.stream = self.successResultOf(connecting)

    def test_text(self) -> None:
        self.stream.send("Hello")
        self.agent.flush()
        assert self.successResultOf(self.stream.receive()) == "Hello"

    def test_bytes(self) -> None:
        self.stream.send(b"\x00\xff")
        self.agent.flush()
        assert self.successResultOf(self.stream.receive()) == b"\x00\xff"

    def test_close(self) -> None:
        closing = self.stream.close(1000, "Bye")
        self.agent.flush()
        self.successResultOf(closing)
        assert self.stream.closeReceived == (1000, "")
