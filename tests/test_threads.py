"""Calls from another thread than the reactor's, at connections that tell of them."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wire import Application, Asked, Producer, Served

import wsock
from wsock import Group, LocalProtocolError, Settings, WebSocketStream, WebSocketTransport


def elsewhere(function: Callable[[], Any]) -> Any:
    """Calls it in a thread of its own; returns what it raised, or None."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised[0] if raised else None


def connected(role: str, application: Any = None, **settings: Any) -> Any:
    settings.setdefault("checkThreads", True)
    return (Served if role == "server" else Asked)(application, settings).open()


CALLS: dict[str, tuple[Any, ...]] = {
    "sendTextMessage": ("x",),
    "sendBytesMessage": (b"x",),
    "ping": (),
    "measureLatency": (),
    "loseConnection": (1000, "bye"),
    "abortConnection": (),
    "attachProducer": (Producer(),),
    "detachProducer": (),
    "pauseProducing": (),
    "resumeProducing": (),
    "stopProducing": (),
    "whenWritable": (),
    "whenClosed": (),
    "whenOpen": (),
}


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize("name", CALLS)
def test_a_call_from_another_thread_raises(role: str, name: str) -> None:
    connection = connected(role)
    connection.transport.taken()
    told = list(connection.transport.told)
    calls = len(connection.clock.getDelayedCalls())
    error = elsewhere(lambda: getattr(connection.wire, name)(*CALLS[name]))
    assert type(error) is LocalProtocolError
    assert str(error).startswith(f"transport.{name}() was called in another thread than the reactor's: write ")
    assert f"reactor.callFromThread(transport.{name}, ...)" in str(error)
    assert ("transport.sendFromThread(message)" in str(error)) == name.startswith("send")
    # Nothing has come of it.
    assert connection.transport.taken() == b""
    assert connection.transport.told == told
    assert len(connection.clock.getDelayedCalls()) == calls
    assert connection.wire.closeSent is None
    # In its own thread it does what it is for.
    getattr(connection.wire, name)(*CALLS[name])


def test_all_that_an_application_calls_is_looked_at() -> None:
    """But for what may be called from anywhere, or only says what is."""
    kinds = type(connected("server").wire), WebSocketTransport
    public = {name for name in dir(kinds[1]) if not name.startswith("_") and callable(getattr(*kinds[1:], name))}
    same = {name for name in public if getattr(kinds[0], name) is getattr(kinds[1], name)}
    # The parts of a connection speak to it by names that begin with theirs.
    parts = ("check", "factory", "group", "closeWatch", "inbox", "keepalive", "opening", "outbox", "stream")
    assert {name for name in same if not name.startswith(parts)} == {
        "canSend",
        "cancel",
        "connectionLost",
        "connectionMade",
        "dataReceived",
        "getHost",
        "getPeer",
        "getPeerCertificate",
        "getPeerCertificateDER",
        "isOpening",
        "logFailure",
        "logPrefix",
        "lossReason",
        "makeConnection",
        "pathForLog",
        "peerForLog",
        "sendFromThread",
    }


@pytest.mark.parametrize("message", [5, None, ["x"]])
def test_what_can_not_be_sent_raises_before_the_reactor_is_asked(message: Any) -> None:
    wire = connected("server").wire
    error = elsewhere(lambda: wire.sendFromThread(message))
    assert type(error) is LocalProtocolError
    assert str(error).startswith("a message is a str for text, or bytes")


def test_a_stream() -> None:
    stream = WebSocketStream()
    connected("server", stream)
    for call in (lambda: stream.send("x"), lambda: stream.send(b"x"), stream.close):
        assert "another thread" in str(elsewhere(call))


def test_a_group_and_a_factory() -> None:
    served, other = connected("server"), connected("server")
    group = Group()
    group.add(served.wire)
    calls: dict[str, Callable[[], object]] = {
        "group.add": lambda: group.add(other.wire),
        "group.discard": lambda: group.discard(served.wire),
        "group.send": lambda: group.sendTextMessage("x"),
        "group.send...": lambda: group.sendBytesMessage(b"x", True),
        "factory.stop": served.factory.stop,
    }
    served.transport.taken()
    for name, call in calls.items():
        assert str(elsewhere(call)).startswith(name)
    assert list(group) == [served.wire]
    assert served.transport.taken() == b""
    assert served.wire.closeSent is None
    assert group.sendTextMessage("x").sent == 1
    group.discard(served.wire)
    # A connection that does not look may be anybody's.
    free = connected("server", checkThreads=False)
    assert elsewhere(lambda: group.add(free.wire)) is None
    assert list(group) == [free.wire]


@pytest.mark.parametrize("role", ["server", "client"])
def test_a_connection_that_does_not_look_is_as_it_was(role: str) -> None:
    """The same class: no call has anything to look at."""
    kind = WebSocketTransport
    assert type(connected(role, checkThreads=False).wire) is kind
    checking = type(connected(role).wire)
    assert checking is not kind
    assert issubclass(checking, kind)
    assert checking is type(connected(role).wire)
    # As Twisted's log and a traceback call it.
    assert (checking.__name__, checking.__module__) == (kind.__name__, kind.__module__)
    assert not hasattr(connected(role).wire, "__dict__")


def test_the_thread_is_that_of_the_connection() -> None:
    """A reactor may run in any thread, and a test in memory as well."""
    served: list[Any] = []
    assert elsewhere(lambda: served.append(connected("server"))) is None
    with pytest.raises(LocalProtocolError):
        served[0].wire.sendTextMessage("x")


PROGRAM = """
from twisted.internet.task import Clock
from wsock import Settings, WebSocketServerFactory, WebSocketTransport
for checkThreads in (None, True, False):
    factory = WebSocketServerFactory(print, reactor=Clock(), settings=Settings(checkThreads=checkThreads))
    print(type(factory.buildProtocol(None)) is not WebSocketTransport)
"""


@pytest.mark.parametrize(("options", "default"), [([], "False"), (["-X", "dev"], "True")])
def test_development_mode_looks_by_default(options: list[str], default: str) -> None:
    command = [sys.executable, "-W", "ignore", *options, "-c", PROGRAM]
    path = str(Path(wsock.__file__).parents[1])
    done = subprocess.run(command, env={"PYTHONPATH": path}, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == [default, "True", "False"]


@pytest.mark.parametrize("value", ["yes", 2, object()])
def test_what_the_setting_can_not_be(value: Any) -> None:
    with pytest.raises(LocalProtocolError, match="checkThreads is a bool or None"):
        Settings(checkThreads=value)


def test_callbacks_are_in_the_thread() -> None:
    def answer(application: Application) -> None:
        application.transport.sendTextMessage("x")

    served = connected("server", Application(message=answer))
    served.transport.taken()
    assert served.feed(bytes.fromhex("818537fa213d7f9f4d5158")) == b"\x81\x01x"
    served.lose()
