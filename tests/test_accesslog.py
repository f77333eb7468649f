"""The access log of `twistd wsock`: its lines, and what becomes of them where nothing can be written."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.peer import PATIENCE, Peer, frame, request, within
from integration.process import ENVIRONMENT, TWISTD, Twistd, run
from twisted.internet.task import Clock
from twisted.logger import formatEvent
from twisted.python.usage import UsageError
from wire import logged

from wsock import AccessRecord
from wsock.service import accesslog
from wsock.service.accesslog import AccessLog, formatRecord
from wsock.service.tap import Options, makeService

RECORD = AccessRecord(
    peer="127.0.0.1:50812",
    path="/chat",
    status=101,
    subprotocol=None,
    extension=None,
    code=1000,
    reason="Bye",
    closedBy="peer",
    seconds=12.3456,
    messagesReceived=3,
    messagesSent=4,
    bytesReceived=500,
    bytesSent=600,
)
LINE = (
    "2026-11-28T06:00:00.000Z 127.0.0.1:50812 /chat 101 code=1000 by=peer seconds=12.346 messages_in=3 messages_out=4"
    ' bytes_in=500 bytes_out=600 subprotocol=- extension=- reason="Bye"'
)
LOOPBACK = "tcp:0:interface=127.0.0.1"


@pytest.fixture(autouse=True)
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is always the same time."""
    monkeypatch.setattr(accesslog.time, "time", lambda: 1795845600.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        if end >= 0:
            os.close(end)


def make(clock: Clock, path: object = None, descriptor: int | None = None, monkeypatch: Any = None) -> AccessLog:
    """An access log to a file, or to a descriptor in the place of standard output."""
    if descriptor is None:
        return AccessLog(clock, str(path))

    class Output:
        def fileno(self) -> int:
            assert descriptor is not None
            return descriptor

    monkeypatch.setattr(accesslog.sys, "__stdout__", Output())
    return AccessLog(clock, None)


def changed(**fields: Any) -> str:
    return formatRecord(RECORD._replace(**fields), "T")


# Lines


def test_a_line() -> None:
    assert formatRecord(RECORD, "2026-11-28T06:00:00.000Z") == LINE


def test_a_line_of_one_that_was_not_answered() -> None:
    line = formatRecord(
        RECORD._replace(path="", status=None, code=None, closedBy=None, reason="lost", subprotocol="a.b"), "T"
    )
    assert line.startswith("T 127.0.0.1:50812 - - code=- by=- seconds=")
    assert line.endswith(' subprotocol=a.b extension=- reason="lost"')


@pytest.mark.parametrize(
    ("reason", "written"),
    [
        ("", '""'),
        ("two words", '"two words"'),
        ('say "x"', r'"say \"x\""'),
        ("back\\slash", r'"back\\slash"'),
        ("line\nT 1.2.3.4:5 /forged 101", r'"line\nT 1.2.3.4:5 /forged 101"'),
        ("\x1b[31m\x00\x9b", r'"\x1b[31m\x00\x9b"'),
        ("\u202egnp\u2028", r'"\u202egnp\u2028"'),
        ("Gr\u00fc\u00dfe \U0001f600", '"Gr\u00fc\u00dfe \U0001f600"'),
    ],
)
def test_no_peer_writes_more_than_its_fields(reason: str, written: str) -> None:
    assert changed(reason=reason).partition(" reason=")[2] == written


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("/a%20b;c=d", "/a%20b;c=d"),
        ('/"', r'"/\""'),
        ("/\\", r'"/\\"'),
        ("/" + "x" * 2000, "/" + "x" * 999 + "..."),
    ],
)
def test_paths(path: str, written: str) -> None:
    assert changed(path=path).split(" ")[2] == written


def test_peers_that_could_be_taken_for_more() -> None:
    assert changed(peer="/run/a b").startswith('T "/run/a b" /chat 101 ')
    assert changed(subprotocol="-").partition(" subprotocol=")[2].startswith('"-" ')


# When they are written


def test_they_are_there_a_second_later(clock: Clock, tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("earlier\n")
    log = make(clock, file)
    assert clock.getDelayedCalls() == []
    log(RECORD)
    log(RECORD)
    clock.advance(0.9)
    assert file.read_text() == "earlier\n"
    clock.advance(0.1)
    assert file.read_text() == f"earlier\n{LINE}\n{LINE}\n"
    assert clock.getDelayedCalls() == []
    log.close()


def test_many_are_there_at_once(clock: Clock, tmp_path: Path) -> None:
    file = tmp_path / "log"
    log = make(clock, file)
    for _ in range(400):
        log(RECORD)
    assert file.read_text() == f"{LINE}\n" * file.read_text().count("\n")
    assert file.stat().st_size >= 65536
    clock.advance(1)
    assert file.read_text() == f"{LINE}\n" * 400
    log.close()


def test_at_the_end_all_are_there(clock: Clock, tmp_path: Path) -> None:
    file = tmp_path / "log"
    log = make(clock, file)
    log(RECORD)
    log.close()
    assert file.read_text() == f"{LINE}\n"
    assert clock.getDelayedCalls() == []
    # One that is refused when all is over; and a second signal that ends at once.
    log(RECORD)
    log.reopen()
    log.close()
    assert clock.getDelayedCalls() == []


def test_reopening(clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, old = tmp_path / "log", tmp_path / "log.1"
    monkeypatch.chdir(tmp_path)
    log = make(clock, "log")
    log(RECORD)
    file.rename(old)
    # A daemon goes to another folder.
    monkeypatch.chdir("/")
    log.reopen()
    log(RECORD._replace(path="/new"))
    clock.advance(1)
    assert old.read_text() == f"{LINE}\n"
    assert file.read_text() == f"{LINE}\n".replace("/chat", "/new")
    log.close()


def test_reopening_what_can_not_be_opened(clock: Clock, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    log = make(clock, folder / "log")
    folder.rename(tmp_path / "moved")
    with logged() as events:
        log.reopen()
    assert [formatEvent(event) for event in events] == [
        f"can't open the access log {folder}/log: No such file or directory"
    ]
    log(RECORD)
    log.close()
    assert (tmp_path / "moved" / "log").read_text() == f"{LINE}\n"


def test_standard_output(clock: Clock, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    log = make(clock, None, pipe[1], monkeypatch)
    log(RECORD)
    log.reopen()
    clock.advance(1)
    assert os.read(pipe[0], 2**16).decode() == f"{LINE}\n"
    log.close()
    os.write(pipe[1], b"it is still open")


@pytest.mark.parametrize("output", [None, object()])
def test_no_standard_output(clock: Clock, output: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accesslog.sys, "__stdout__", output)
    with pytest.raises(OSError, match="there is no standard output"):
        AccessLog(clock, None)


# Where nothing can be written


def test_a_pipe_that_nobody_reads(clock: Clock, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its writes would wait for good. A mebibyte waits, the rest is lost; later all goes on, with whole lines."""
    log = make(clock, None, pipe[1], monkeypatch)
    count = 10_000
    with logged() as events:
        for _ in range(count):
            log(RECORD)
            if _ % 100 == 99:
                clock.advance(1)
        assert [formatEvent(event) for event in events] == [
            "the access log on standard output loses lines: it takes no more"
        ]
        os.set_blocking(pipe[0], False)
        came = b""
        while clock.getDelayedCalls():
            came += os.read(pipe[0], 2**20)
            clock.advance(1)
        came += os.read(pipe[0], 2**20)
        lines = came.decode().splitlines()
        assert set(lines) == {LINE}
        assert 2**20 / len(LINE) < len(lines) < 2**20 / len(LINE) + 1000
        assert [formatEvent(event) for event in events[1:]] == [
            f"the access log on standard output is written again, without {count - len(lines):,} lines"
        ]
    log(RECORD)
    log.close()
    assert os.read(pipe[0], 2**16).decode() == f"{LINE}\n"


def test_the_end_does_not_wait_for_good(clock: Clock, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accesslog, "_END_SECONDS", 0.01)
    log = make(clock, None, pipe[1], monkeypatch)
    for _ in range(1000):
        log(RECORD)
    log.close()
    assert clock.getDelayedCalls() == []


def test_a_named_pipe_that_nobody_reads(clock: Clock, tmp_path: Path) -> None:
    """To open one would wait as well."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(OSError, match="No such device or address"):
        make(clock, path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = make(clock, path)
    for _ in range(1000):
        log(RECORD)
    clock.advance(1)
    came = b""
    while clock.getDelayedCalls():
        came += os.read(reader, 2**20)
        clock.advance(1)
    came += os.read(reader, 2**20)
    assert came.decode() == f"{LINE}\n" * 1000
    log.close()
    os.close(reader)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")
def test_a_full_disk(clock: Clock) -> None:
    log = make(clock, "/dev/full")
    with logged() as events:
        for _ in range(5):
            log(RECORD)
            clock.advance(1)
        log.close()
    assert [formatEvent(event) for event in events] == ["the access log /dev/full loses lines: No space left on device"]
    assert clock.getDelayedCalls() == []


def test_a_disk_that_was_full(clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text behind a line that was cut off is a line of its own."""
    file = tmp_path / "log"
    log = make(clock, file)
    room = 0
    write = os.write

    def limited(descriptor: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(28, "No space left on device")
        written = write(descriptor, data[:room])
        room -= written
        return written

    monkeypatch.setattr(accesslog.os, "write", limited)
    with logged() as events:
        for more in (10, 0, 10**6):
            room = more
            log(RECORD)
            clock.advance(1)
    assert file.read_text() == f"{LINE[:10]}\n{LINE}\n"
    assert [formatEvent(event) for event in events] == [
        f"the access log {file} loses lines: No space left on device",
        f"the access log {file} is written again, without 3 lines",
    ]
    log.close()


def test_a_pipe_that_is_closed(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    log = make(clock, None, writer, monkeypatch)
    with logged() as events:
        for _ in range(3):
            log(RECORD)
            clock.advance(1)
        log.close()
    os.close(writer)
    assert [formatEvent(event) for event in events] == ["the access log on standard output loses lines: Broken pipe"]


# The option


class Parent(dict[str, Any]):
    """twistd's options, or those of twist."""


def chosen(arguments: list[str], parent: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch) -> AccessLog | None:
    options = Options()
    options.parseOptions(["--port", LOOPBACK, *arguments])
    options.parent = parent
    service = makeService(options, Clock())
    log = service.accessLog
    assert service.factory.accessLog is log
    return log


TWIST_OPTIONS: dict[str, Any] = {}
FOREGROUND = {"nodaemon": 1}
DAEMON = {"nodaemon": 0}


@pytest.mark.parametrize(
    ("arguments", "parent", "expected"),
    [
        ([], FOREGROUND, "on standard output"),
        ([], TWIST_OPTIONS, "on standard output"),
        ([], DAEMON, None),
        ([], None, None),
        (["--port", "stdio:"], FOREGROUND, None),
        (["--access-log", "none"], FOREGROUND, None),
        (["--access-log", "-"], FOREGROUND, "on standard output"),
        (["--access-log", "-"], None, "on standard output"),
        (["--access-log", "{folder}/log"], FOREGROUND, "{folder}/log"),
        (["--access-log", "{folder}/log"], DAEMON, "{folder}/log"),
        (["--access-log={folder}/log", "--port", "stdio:"], FOREGROUND, "{folder}/log"),
    ],
)
def test_where_it_goes(
    arguments: list[str],
    parent: dict[str, Any] | None,
    expected: str | None,
    tmp_path: Path,
    pipe: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make(Clock(), None, pipe[1], monkeypatch)
    log = chosen([one.format(folder=tmp_path) for one in arguments], parent, monkeypatch)
    assert (log and log.name) == (expected and expected.format(folder=tmp_path))
    if log is not None:
        log.close()


@pytest.mark.parametrize(
    ("arguments", "parent", "why"),
    [
        (["--access-log", "-"], DAEMON, "a daemon has no standard output"),
        (["--access-log", "-", "--port", "stdio:"], FOREGROUND, "a port is on standard output"),
        (["--access-log", "{folder}"], FOREGROUND, "Is a directory"),
        (["--access-log", "{folder}/nonesuch/log"], FOREGROUND, "No such file or directory"),
    ],
)
def test_where_it_can_not_go(
    arguments: list[str], parent: dict[str, Any], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [one.format(folder=tmp_path) for one in arguments]
    with pytest.raises(SystemExit) as error:
        chosen(arguments, parent, monkeypatch)
    assert str(error.value) == f"twistd wsock: --access-log {arguments[1]}: {why}"


def test_no_standard_output_is_no_reason_not_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accesslog.sys, "__stdout__", None)
    assert chosen([], FOREGROUND, monkeypatch) is None


def test_an_option_without_a_value() -> None:
    with pytest.raises(UsageError, match="--access-log"):
        Options().parseOptions(["--access-log", ""])


# A process


def lines_of(text: str) -> list[str]:
    """The lines of an access log, without what differs from run to run."""
    found = re.findall(r"^[-0-9]+T[:.0-9]+Z 127\.0\.0\.1:[0-9]+ (.*)", text, re.MULTILINE)
    return [re.sub(r"seconds=\S+ | bytes_(in|out)=\S+", "", line) for line in found]


def talk(twistd: Twistd) -> None:
    peer = twistd.address().open()
    peer.send(frame(0x81, b"Hello") + frame(0x88, b"\x03\xe8Bye"))
    assert peer.frame() == (0x81, b"Hello")
    peer.expect_close(1000)
    peer.expect_end()
    peer = twistd.address().connect()
    peer.send(request(origin="http://localhost:5173"))
    assert peer.answer().status == 403
    peer.close()


@pytest.mark.slow
def test_by_default_lines_are_on_standard_output() -> None:
    with Twistd("--port", LOOPBACK) as twistd:
        talk(twistd)
        peer = twistd.address().open()
        within(PATIENCE, lambda: len(lines_of(twistd.log())) == 2, "both lines are there while it runs")
        twistd.terminate()
        peer.expect_close(1001)
        log = twistd.log()
    assert lines_of(log)[:2] == [
        '/echo 101 code=1000 by=peer messages_in=1 messages_out=1 subprotocol=- extension=- reason="Bye"',
        "/echo 403 code=- by=us messages_in=0 messages_out=0 subprotocol=- extension=- "
        'reason="Origin http://localhost:5173 is not allowed for Host 127.0.0.1 (allowedOrigins)"',
    ]
    # A connection that was open at the end has its line, and nothing is said twice.
    [last] = lines_of(log)[2:]
    assert last.startswith("/echo 101 code=")
    assert " by=us " in last
    assert log.count("5173") == 1


def test_without_one_refusals_are_in_the_log() -> None:
    with Twistd("--port", LOOPBACK, "--access-log", "none") as twistd:
        talk(twistd)
        twistd.terminate()
        log = twistd.log()
    assert lines_of(log) == []
    assert re.search(
        r"refused GET /echo from 127\.0\.0\.1:[0-9]+ with 403: "
        r"Origin http://localhost:5173 is not allowed for Host 127\.0\.0\.1 \(allowedOrigins\)",
        log,
    )


def test_a_daemon_writes_to_its_file(tmp_path: Path) -> None:
    path, pid_file, access = tmp_path / "socket", tmp_path / "pid", tmp_path / "access"
    files = [f"--pidfile={pid_file}", f"--logfile={tmp_path / 'log'}", f"--rundir={tmp_path}"]
    result = run(*files, "wsock", "--port", f"unix:{path}", "--access-log", "access", cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    pid = int(pid_file.read_text())
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(os.path.relpath(path))
            peer = Peer(sock)
            peer.send(request("GET /nonesuch HTTP/1.1"))
            assert peer.answer().status == 404
        within(PATIENCE, lambda: access.read_text(), "the line is there")
    finally:
        os.kill(pid, signal.SIGTERM)
    within(PATIENCE, lambda: not pid_file.exists(), "it has ended")
    [line] = access.read_text().splitlines()
    assert " unix /nonesuch 404 " in line
    assert line.endswith(' reason="Not Found: no route has this path"')


def test_signals(tmp_path: Path) -> None:
    """One has it opened again; and what a second one to end cuts off has its line."""
    access, old = tmp_path / "access", tmp_path / "access.1"
    with Twistd("--port", LOOPBACK, "--access-log", access) as twistd:
        talk(twistd)
        within(PATIENCE, lambda: len(lines_of(access.read_text())) == 2, "both lines are there")
        access.rename(old)
        twistd.process.send_signal(signal.SIGUSR1)
        within(PATIENCE, access.exists, "it is opened again")
        silent = twistd.address().open()
        twistd.process.send_signal(signal.SIGTERM)
        silent.expect_close(1001)
        twistd.terminate()
    assert len(lines_of(old.read_text())) == 2
    assert lines_of(access.read_text()) == [
        "/echo 101 code=1006 by=us messages_in=0 messages_out=0 subprotocol=- extension=- "
        'reason="the connection was lost before the peer\'s Close"'
    ]


def test_a_standard_output_that_is_closed(tmp_path: Path) -> None:
    """As of `twistd wsock | head`: it serves on, and ends as it should."""
    log = tmp_path / "log"
    path = tmp_path / "socket"
    command = [*TWISTD, "-n", "--pidfile=", f"--logfile={log}", "wsock", "--port", f"unix:{path}"]
    with subprocess.Popen(command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.close()
            within(PATIENCE, path.exists, "it listens")
            for _ in range(2):
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.settimeout(PATIENCE)
                    sock.connect(os.path.relpath(path))
                    peer = Peer(sock)
                    peer.send(request("GET /nonesuch HTTP/1.1"))
                    assert peer.answer().status == 404
                within(PATIENCE, lambda: "loses lines" in log.read_text(), "it says so")
            process.terminate()
            assert process.wait(PATIENCE) in (0, -signal.SIGTERM)
        finally:
            process.kill()
    assert log.read_text().count("the access log on standard output loses lines: Broken pipe") == 1
    assert "Traceback" not in log.read_text()
