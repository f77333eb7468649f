"""Applications, and the results and exceptions of `buildApplication`."""

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from typed.for_twisted import ForTwisted
from wire import ANSWER, CLOSE, HELLO, HELLO_SENT, PONG, REQUEST, Asked, Served, opened

from wsock import Accept, Refuse, WebSocketProtocol
from wsock.application import isIdle


def test_accept_and_refuse() -> None:
    application = WebSocketProtocol()
    assert Accept(application) == Accept(application, None, ())
    refuse = Refuse(403)
    assert (refuse.status, refuse.headers, refuse.body) == (403, (), b"")
    assert str(refuse) == "refused with HTTP status 403"


def test_the_base_does_nothing() -> None:
    application = WebSocketProtocol()
    served = opened(application)
    assert application.transport is served.wire
    assert served.feed(HELLO + bytes.fromhex("828000000000") + bytes.fromhex("8a8000000000")) == b""
    served.lose()


def test_a_callback_that_does_nothing_is_known() -> None:
    """Only the base's own: a method of a derived class, even one that calls the base's, is one to be called."""

    class Derived(WebSocketProtocol):
        def connectionLost(self, reason: Failure) -> None:
            super().connectionLost(reason)

    class Odd(WebSocketProtocol):
        connectionLost = staticmethod(print)  # type: ignore[assignment]

    class Same(WebSocketProtocol):
        pass

    assert isIdle(WebSocketProtocol().connectionLost)
    assert isIdle(Same().connectionLost)
    assert not isIdle(WebSocketProtocol().negotiationStarted)
    assert not isIdle(Derived().connectionLost)
    assert not isIdle(Odd().connectionLost)
    assert WebSocketProtocol().connectionLost(Failure(ConnectionDone())) is None


def test_an_application_may_have_slots() -> None:
    class Echo(WebSocketProtocol):
        __slots__ = ()

        def textMessageReceived(self, message: str) -> None:
            self.transport.sendTextMessage(message)

    assert opened(Echo()).feed(HELLO) == HELLO_SENT
    assert not hasattr(Echo(), "__dict__")


def test_an_application_for_twisteds_own_module() -> None:
    application = ForTwisted()
    served = Served(application)
    assert served.feed(REQUEST) == ANSWER + b"\x89\x01?"
    assert served.feed(PONG + HELLO) == HELLO_SENT
    assert served.feed(bytes.fromhex("828100000000ff")) == b"\x82\x01\xff\x88\x02\x03\xe9"
    served.feed(CLOSE)
    served.lose()
    assert application.pongs == [b"ab"]
    [reason] = application.lost
    assert reason.check(ConnectionDone)


def test_an_application_for_twisteds_own_module_as_a_client() -> None:
    application = ForTwisted()
    asked = Asked(application)
    answer = asked.answer()
    asked.transport.clear()
    assert asked.feed(answer) == b"\x89\x01?"
    assert asked.feed(bytes.fromhex("8a026162") + HELLO_SENT) == HELLO_SENT
    assert asked.feed(b"\x82\x01\xff") == b"\x82\x01\xff\x88\x02\x03\xe9"
    asked.feed(bytes.fromhex("880203e9"))
    asked.lose()
    assert application.pongs == [b"ab"]
    [reason] = application.lost
    assert reason.check(ConnectionDone)
