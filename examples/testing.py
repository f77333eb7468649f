"""How to test an application in memory: `python -m twisted.trial testing`, or with pytest."""

from twisted.trial.unittest import SynchronousTestCase

import wsock
from wsock.testing import MemoryAgent


class Shout(wsock.WebSocketProtocol):
    """The application under test."""

    def textMessageReceived(self, message: str) -> None:
        """Answers in capitals."""
        self.transport.sendTextMessage(message.upper())


class ShoutTests(SynchronousTestCase):
    """Its tests."""

    def setUp(self) -> None:
        """Opens a connection."""
        self.agent = MemoryAgent(wsock.WebSocketServerFactory(lambda request: Shout()))
        connecting = self.agent.connect("ws://localhost/shout")
        self.agent.flush()  # nothing moves but in flush() and advance()
        self.stream = self.successResultOf(connecting)

    def test_answer(self) -> None:
        """A message is answered."""
        self.stream.send("hello")
        self.agent.flush()
        assert self.successResultOf(self.stream.receive()) == "HELLO"

    def test_end(self) -> None:
        """The connection ends as the client says, and leaves no timer behind."""
        self.stream.close(1000, "bye")
        self.agent.flush()
        reason = self.failureResultOf(self.stream.receive())
        assert isinstance(reason.value, wsock.WebSocketClosed)
        assert reason.value.closeSent == (1000, "bye")
        assert self.agent.clock.getDelayedCalls() == []
