"""Signals to `twistd wsock` and `twist wsock`."""

import contextlib
import os
import pty
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.peer import PATIENCE, Peer, frame, request, within
from integration.process import TWIST, TWISTD, Twistd, run
from twisted.internet.testing import MemoryReactorClock, StringTransport

from wsock.service.tap import Options, makeService

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="sends signals")]

LOOPBACK = "tcp:0:interface=127.0.0.1"
COMMANDS = [pytest.param(TWISTD, "-n --pidfile=", id="twistd"), pytest.param(TWIST, "--log-format=text", id="twist")]


@pytest.fixture(autouse=True)
def default_signals() -> Iterator[None]:
    """None is ignored by what a test starts, though the suite may have been started by nohup."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGHUP, signal.SIGUSR1)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def ended(twistd: Twistd, number: int) -> bool:
    """Waits for the end; returns whether it is one by that signal. Some versions of Twisted end with 0."""
    return twistd.process.wait(PATIENCE) in (0, -number)


def serves(peer: Peer) -> bool:
    peer.send(frame(0x81, b"still?"))
    return peer.frame() == (0x81, b"still?")


# The end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("command", "flags"), COMMANDS)
def test_the_first_says_what_is_waited_for(command: list[str], flags: str, number: int) -> None:
    with Twistd("--port", LOOPBACK, command=command, flags=flags) as twistd:
        peers = [twistd.address().open() for _ in range(2)]
        twistd.process.send_signal(number)
        for peer in peers:
            peer.expect_close(1001)
            peer.send(frame(0x88, b"\x03\xe9"))
        assert ended(twistd, number)
        assert re.findall("closing .*", twistd.log()) == [
            "closing 2 connections, at most 4 s; a second signal ends at once"
        ]


@pytest.mark.parametrize(("command", "flags"), COMMANDS)
@pytest.mark.parametrize(
    ("first", "second"),
    [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)],
)
def test_a_second_ends_it_without_an_error(command: list[str], flags: str, first: int, second: int) -> None:
    with Twistd("--port", LOOPBACK, command=command, flags=flags) as twistd:
        # It does not answer the Close.
        peer = twistd.address().open()
        twistd.process.send_signal(first)
        peer.expect_close(1001)
        for _ in range(3):
            twistd.process.send_signal(second)
        assert ended(twistd, first)
        # Leaving the context looks for tracebacks.
        assert re.findall("closing .*", twistd.log()) == [
            "closing 1 connection, at most 4 s; a second signal ends at once"
        ]


@pytest.mark.parametrize(("command", "flags"), COMMANDS)
def test_nobody_is_waited_for(command: list[str], flags: str) -> None:
    with Twistd("--port", LOOPBACK, command=command, flags=flags) as twistd:
        peer = twistd.address().open()
        peer.send(frame(0x88, b"\x03\xe8"))
        peer.expect_close(1000)
        peer.expect_end()
        twistd.terminate()
        assert "closing" not in twistd.log()


def test_the_second_does_not_wait() -> None:
    """It aborts the connections; those that can't be aborted are left to the end of the process."""
    options = Options()
    options.parseOptions(["--port", LOOPBACK])
    reactor = MemoryReactorClock()
    service = makeService(options, reactor)
    service.startService()
    transports = []
    for head in (request(), b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"):
        protocol = reactor.tcpServers[0][1].buildProtocol(None)
        transports.append(Transport())
        protocol.makeConnection(transports[-1])
        protocol.dataReceived(head)
    stopped = service.stopService()
    fired: list[object] = []
    stopped.addBoth(fired.append)
    reactor.advance(3)
    assert fired == []
    service.signals._end(signal.SIGINT)
    service.signals._end(signal.SIGINT)
    # They are lost in the reactor's next turn.
    reactor.advance(0)
    assert [transport.aborted for transport in transports] == [True, False]
    reactor.advance(0)
    assert fired == [None]


class Transport(StringTransport):
    """A transport that is told to abort, and whose peer stays."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


#: A program in the middle of a log line, whose lock its own thread can't take again, when the signal comes.
BUSY = """
import signal, sys, threading
from twisted.internet import reactor
from twisted.logger import Logger, globalLogPublisher

lock = threading.Lock()

def write(event):
    with lock:
        if event["log_format"] == "now":
            for _ in range(TIMES):
                signal.raise_signal(NUMBER)

globalLogPublisher.addObserver(write)
reactor.callWhenRunning(reactor.callLater, 0, Logger().info, "now")
"""
TWIST_RUNS = "from twisted.application.twist._twist import Twist; Twist.main(sys.argv)"
TWISTD_RUNS = "sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("program", "flags"),
    [
        pytest.param(TWISTD_RUNS, "-n --pidfile=", id="twistd"),
        pytest.param(TWIST_RUNS, "--log-format=text", id="twist"),
    ],
)
def test_in_the_middle_of_a_log_line(program: str, flags: str, number: int, times: int) -> None:
    """It ends, and says so: a handler that logs would wait for that line, and the line for the handler."""
    code = BUSY.replace("NUMBER", str(int(number))).replace("TIMES", str(times)) + program
    with Twistd("--port", LOOPBACK, command=[sys.executable, "-c", code], flags=flags) as twistd:
        assert ended(twistd, number)
        assert twistd.log().count(f"Received {signal.Signals(number).name}") == 1


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_logs_are_opened_again_in_the_middle_of_a_line(number: int) -> None:
    code = BUSY.replace("NUMBER", str(int(number))).replace("TIMES", "1") + TWISTD_RUNS
    with Twistd("--port", LOOPBACK, command=[sys.executable, "-c", code]) as twistd:
        peer = twistd.address().open()
        assert serves(peer)
        peer.close()
        twistd.terminate()


# Logs


@pytest.mark.parametrize(("command", "flags"), COMMANDS)
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_a_server_goes_on(command: list[str], flags: str, number: int) -> None:
    """Also where it has no log file that could be opened again."""
    with Twistd("--port", LOOPBACK, command=command, flags=flags) as twistd:
        twistd.process.send_signal(number)
        peer = twistd.address().open()
        twistd.process.send_signal(number)
        assert serves(peer)
        peer.close()
        twistd.terminate()


@contextlib.contextmanager
def daemon(folder: Path, *command: str) -> Iterator[int]:
    """Starts a daemon that logs into the folder; gives its process id."""
    files = [f"--pidfile={folder / 'pid'}", f"--logfile={folder / 'log'}"]
    port = f"unix:{folder / 'socket'}"
    result = run(*files, "wsock", "--port", port, command=[*command, *TWISTD], cwd=folder)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    pid = int((folder / "pid").read_text())
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGTERM)
        within(PATIENCE, lambda: not (folder / "pid").exists(), "the daemon has ended")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_a_daemon_opens_its_log_again(number: int, tmp_path: Path) -> None:
    with daemon(tmp_path) as pid:
        for count in (1, 2):
            os.kill(pid, number)
            within(PATIENCE, (tmp_path / f"log.{count}").exists, f"log number {count} is put away")
            within(PATIENCE, (tmp_path / "log").exists, "there is a new log")
        assert "listening on unix:" in (tmp_path / "log.2").read_text()
    assert "Received SIGTERM" in (tmp_path / "log").read_text()


def test_nohup(tmp_path: Path) -> None:
    """Started so, it ignores SIGHUP, as everything does."""
    with daemon(tmp_path, "nohup") as pid:
        os.kill(pid, signal.SIGHUP)
        os.kill(pid, signal.SIGUSR1)
        within(PATIENCE, (tmp_path / "log.1").exists, "the log is put away for SIGUSR1")
        os.kill(pid, signal.SIGUSR1)
        within(PATIENCE, (tmp_path / "log.2").exists, "the log is put away once more")
        assert not (tmp_path / "log.3").exists()


@pytest.fixture
def terminal() -> Iterator[int]:
    """The descriptor of a terminal."""
    master, slave = pty.openpty()
    yield slave
    os.close(slave)
    os.close(master)


def test_a_terminal_that_hangs_up(terminal: int) -> None:
    """In its foreground, the server ends, and closes its connections."""
    with Twistd("--port", LOOPBACK, stdin=terminal) as twistd:
        peer = twistd.address().open()
        twistd.process.send_signal(signal.SIGUSR1)
        assert serves(peer)
        twistd.process.send_signal(signal.SIGHUP)
        peer.expect_close(1001)
        peer.send(frame(0x88, b"\x03\xe9"))
        assert ended(twistd, signal.SIGTERM)


def test_nohup_on_a_terminal(terminal: int) -> None:
    with Twistd("--port", LOOPBACK, command=["nohup", *TWISTD], stdin=terminal) as twistd:
        peer = twistd.address().open()
        twistd.process.send_signal(signal.SIGHUP)
        assert serves(peer)


HOOKS = """
import sys
sys.argv[0] = "twistd"
from wsock.service import tap
make = tap.makeService

def makeService(options):
    service = make(options)
    def fail():
        raise OSError("the disk is full")
    service.signals.reopens += [fail, lambda: print("opened again", flush=True)]
    return service

tap.makeService = makeService
from twisted.scripts.twistd import run
run()
"""


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_more_logs_may_be_opened_again(number: int) -> None:
    """One that can't be is said, and does not keep the others from it."""
    twistd = Twistd("--port", LOOPBACK, command=[sys.executable, "-c", HOOKS])
    try:
        twistd.process.send_signal(number)
        within(PATIENCE, lambda: "opened again" in twistd.log(), "both hooks were called")
        assert "a log can't be opened again" in twistd.log()
        assert "the disk is full" in twistd.log()
    finally:
        twistd.end()


# The handlers

RESTORE = """
import signal
from twisted.internet import reactor
from wsock.service.tap import Options, makeService

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)

def handlers():
    return [signal.getsignal(number) for number in NUMBERS]

def main():
    before = handlers()
    options = Options()
    options.parseOptions(["--port", "tcp:0:interface=127.0.0.1"])
    service = makeService(options)
    service.startService()
    taken = [one != other for one, other in zip(before, handlers())]
    def stopped(ignored):
        print(taken, before == handlers())
        reactor.stop()
    service.stopService().addBoth(stopped)

reactor.callWhenRunning(main)
reactor.run(%s)
"""


@pytest.mark.parametrize(
    ("arguments", "taken"),
    [
        ("", "[True, True, True, True]"),
        # Those of a reactor that was not to be ended by signals are nobody's.
        ("installSignalHandlers=False", "[False, False, True, True]"),
    ],
)
def test_the_handlers_are_put_back(arguments: str, taken: str) -> None:
    """A service may be stopped while the process goes on."""
    result = run(command=[sys.executable, "-c", RESTORE % arguments])
    assert (result.stdout, result.stderr) == (f"{taken} True\n", "")


@pytest.mark.parametrize(
    "call",
    [
        pytest.param("threading.Thread(target=main).start()", id="thread"),
        pytest.param("main(MemoryReactorClock())", id="another reactor"),
    ],
)
def test_handlers_are_not_taken(call: str) -> None:
    """Python has them set in the main thread alone; and signals end the process's reactor, and no other."""
    code = f"""
import signal, threading
from twisted.internet.testing import MemoryReactorClock
from wsock.service.tap import Options, makeService

def main(reactor=None):
    before = signal.getsignal(signal.SIGHUP)
    options = Options()
    options.parseOptions(["--port", "tcp:0:interface=127.0.0.1"])
    makeService(options, reactor).startService()
    print(signal.getsignal(signal.SIGHUP) == before)

{call}
"""
    result = run(command=[sys.executable, "-c", code])
    assert (result.stdout, result.stderr) == ("True\n", "")
