"""`twistd wsock`: its options, its pages, how it starts, and how it ends."""

import contextlib
import importlib.metadata
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import fields
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import twisted
from integration.peer import PATIENCE, Peer, frame, make_certificate, request, within
from integration.process import ENVIRONMENT, TWIST, TWISTD, Twistd, run
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.python.usage import UsageError
from twisted.web.resource import Resource
from twisted.web.server import Site
from wire import failures, logged

import wsock.service
from wsock import Compression, Passwords, Refuse, Routes, Settings
from wsock.auth.guards import identificationByPassword
from wsock.service import console, consoleResource
from wsock.service.console import readConsole
from wsock.service.health import Health
from wsock.service.routes import KINDS, PageRequest, Pages, QuietSite
from wsock.service.tap import Options, makeService

LOOPBACK = "tcp:0:interface=127.0.0.1"
SECRET = "hunter2"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def twistd() -> Iterator[Twistd]:
    with Twistd("--port", LOOPBACK) as twistd:
        yield twistd


def tls_port(certificate: tuple[Path, Path]) -> str:
    return f"ssl:0:interface=127.0.0.1:privateKey={certificate[0]}:certKey={certificate[1]}"


# Options


def test_options() -> None:
    options = Options()
    options.parseOptions([])
    assert (options.ports, options.routes, options.settings) == (["tcp:8080"], {}, {})
    assert options.allowedOrigins is None
    options = Options()
    options.parseOptions(
        [
            *("--port", "0080", "-p", "unix:/run/a", "--port=ssl:1"),
            *("--route", "/a=b=echo", "--route=/=echo", "--route=/console=console", "--route=/a/=console"),
            *("--max-message-size", "1", "--ping-interval=0.5", "--slow-consumer", "drop"),
            *("--allowed-origin", "https://a.example", "--allowed-origin=null", "--allowed-origin", "file://"),
        ]
    )
    assert options.allowedOrigins == ["https://a.example", "null", "file://"]
    assert options.ports == ["tcp:80", "unix:/run/a", "ssl:1"]
    assert (list(options.routes), options.consoles) == (["/a=b", "/"], ["/console", "/a/"])
    assert options.settings == {"maxMessageSize": 1, "pingInterval": 0.5, "slowConsumer": "drop"}
    options = Options()
    options.parseOptions(["--max-message-size", "none"])
    assert options.settings == {"maxMessageSize": None}
    options = Options()
    options.parseOptions(["--allowed-origin", "*"])
    assert options.allowedOrigins == ["*"]
    for given, number in (("17", 17), ("none", None)):
        options = Options()
        options.parseOptions(["--max-connections", given])
        assert (options.maxConnections, options.settings) == (number, {})


def test_options_of_tls() -> None:
    options = Options()
    options.parseOptions(["--tls-cert", "cert.pem", "--tls-key=key.pem", "--port=unix:/run/a", "--port=8443"])
    assert options.tls == ("cert.pem", "key.pem")
    options = Options()
    options.parseOptions(["--tls-cert", "both.pem"])
    assert options.tls == "both.pem"
    options = Options()
    options.parseOptions([])
    assert options.tls is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tls-key", "key.pem"], "--tls-key key.pem: give its certificate, too, by --tls-cert"),
        (["--tls-cert", "cert.pem", "--port", "unix:/run/a"], "--tls-cert cert.pem: no --port is one of TCP"),
    ],
)
def test_bad_options_of_tls(arguments: list[str], words: str) -> None:
    with pytest.raises(UsageError) as error:
        Options().parseOptions(arguments)
    assert str(error.value) == words


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ("nonesuch.pem {key}", "--tls-cert nonesuch.pem: No such file or directory: nonesuch.pem"),
        ("{cert} nonesuch.pem", "--tls-cert {cert}: No such file or directory: nonesuch.pem"),
        ("{cert} {folder}", "--tls-cert {cert}: Is a directory: {folder}"),
        ("{cert} {cert}", "--tls-cert {cert}: {cert} has no private key in PEM"),
        ("{key} {key}", "--tls-cert {key}: {key} has no certificate in PEM"),
    ],
)
def test_bad_files_of_tls(files: str, words: str, certificate: tuple[Path, Path], tmp_path: Path) -> None:
    names = {"key": certificate[0], "cert": certificate[1], "folder": tmp_path}
    cert, key = files.format(**names).split()
    result = run("-n", "wsock", "--port", LOOPBACK, "--tls-cert", cert, "--tls-key", key, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (1, f"twistd wsock: {words.format(**names)}\n")


def test_a_bad_folder_of_tls(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    """One line says which file it is."""
    key, cert = certificate
    (tmp_path / "a.pem").write_bytes(key.read_bytes() + cert.read_bytes())
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "fullchain.pem").write_bytes(cert.read_bytes())
    result = run("-n", "wsock", "--port", LOOPBACK, "--tls-cert", tmp_path)
    words = f"--tls-cert {tmp_path}: No such file or directory: {tmp_path}/b/privkey.pem"
    assert (result.returncode, result.stderr) == (1, f"twistd wsock: {words}\n")
    result = run("-n", "wsock", "--port", LOOPBACK, "--tls-cert", tmp_path, "--tls-key", key)
    words = f"--tls-cert {tmp_path}: Is a directory: {tmp_path}"
    assert (result.returncode, result.stderr) == (1, f"twistd wsock: {words}\n")


def test_tls_is_for_the_ports_of_tcp(certificate: tuple[Path, Path]) -> None:
    reactor = MemoryReactorClock()
    options = Options()
    key, cert = map(str, certificate)
    options.parseOptions(["--tls-cert", cert, "--tls-key", key, "--port", "8443", "--port", "unix:/run/wsock.sock"])
    service = makeService(options, reactor)
    service.privilegedStartService()
    assert type(reactor.tcpServers[0][1]).__name__ == "TLSServerFactory"
    assert type(reactor.unixServers[0][1]).__name__ == "WebSocketServerFactory"


@pytest.mark.parametrize(
    ("option", "value", "number"),
    [
        ("max-message-size", "64k", 65536),
        ("max-message-size", "16M", 16777216),
        ("max-message-size", "16MiB", 16777216),
        ("max-message-size", "16mb", 16777216),
        ("high-water-mark", "1KB", 1024),
        ("send-limit", "2G", 2147483648),
        ("send-limit", "2GiB", 2147483648),
        ("send-limit", "9B", 9),
        ("open-timeout", "1500ms", 1.5),
        ("close-timeout", "20s", 20),
        ("ping-interval", "2m", 120),
        ("ping-timeout", "0.5s", 0.5),
        ("ping-timeout", ".5m", 30.0),
    ],
)
def test_units(option: str, value: str, number: float) -> None:
    options = Options()
    options.parseOptions([f"--{option}", value])
    (got,) = options.settings.values()
    assert (got, type(got)) == (number, type(number))
    Settings(**options.settings)


@pytest.mark.parametrize(
    ("option", "values", "words"),
    [
        (
            "max-message-size",
            ["16X", "M", "1.5M", "16 M", "1kk", "16i", "16ib", "16MM", "0k", "1s", "16M\u212a", "999999999999999999k"],
            "such as 65536, 64k or 16M, or none",
        ),
        (
            "ping-interval",
            ["5x", "s", "5sm", "5M", "0ms", "1k", "5 s", "1h30m"],
            "such as 20, 0.5, 500ms or 2m, or none",
        ),
        ("max-connections", ["1k", "5s", "5B"], "a number above 0, or none"),
        ("receive-queue", ["1k"], "a number above 0"),
    ],
)
def test_bad_units(option: str, values: list[str], words: str) -> None:
    for value in values:
        with pytest.raises(UsageError) as error:
            Options().parseOptions([f"--{option}", value])
        assert str(error.value).startswith(f"--{option} {value}: ")
        assert str(error.value).endswith(words)


@pytest.mark.parametrize(
    ("port", "advice"),
    [
        ("127.0.0.1:8080", "write tcp:8080:interface=127.0.0.1"),
        ("localhost:8080", "write tcp:8080:interface=127.0.0.1"),
        ("192.0.2.7:80", "write tcp:80:interface=192.0.2.7"),
        ("example.com:80", "write tcp:80:interface=example.com"),
        (":8080", "write tcp:8080"),
        ("*:8080", "write tcp:8080"),
        ("0.0.0.0:80", "write tcp:80"),
        ("[::1]:8080", "write 'tcp6:8080:interface=\\:\\:1'"),
        ("[::]:8080", "write tcp6:8080"),
        ("http://localhost:8080/", "write tcp:8080:interface=127.0.0.1"),
        ("ws://0.0.0.0:8080", "write tcp:8080"),
        (
            "wss://127.0.0.1:8443",
            "write ssl:8443:interface=127.0.0.1:privateKey=key.pem:certKey=cert.pem",
        ),
        ("myhost:8080", "no kind of endpoint is called 'myhost'; if it is a host, write tcp:8080:interface=myhost"),
        ("127.0.0.1:65536", "a TCP port is a number from 0 to 65535"),
        ("-1", "a TCP port is a number from 0 to 65535"),
    ],
)
def test_addresses_as_other_programs_write_them(port: str, advice: str) -> None:
    with pytest.raises(UsageError) as error:
        Options().parseOptions(["--port", port])
    assert str(error.value) == f"--port {port}: {advice}"


@pytest.mark.parametrize("port", ["tcp:80", "TCP6:80", "unix:80", "ssl:443", "HAProxy:80", "stdio:", "unix:/a:80"])
def test_descriptions_are_taken(port: str) -> None:
    """They look like an address and a port, but they name a kind of endpoint."""
    options = Options()
    options.parseOptions(["--port", port])
    assert options.ports == [port]


@pytest.mark.parametrize("field", [field.name for field in fields(Settings) if field.name != "checkThreads"])
def test_each_setting_has_an_option(field: str) -> None:
    option = "--" + re.sub("[A-Z]", lambda letter: "-" + letter[0].lower(), field)
    values = {"slowConsumer": ["wait", "close", "drop"]}.get(field, ["1", "0017", "999999999999999999"])
    if field.endswith(("Timeout", "Interval")):
        values += ["0.25", "10.", ".5"]
    if field not in ("slowConsumer", "receiveQueue"):
        values += ["none"]
    for value in values:
        options = Options()
        options.parseOptions([option, value])
        got = options.settings[field]
        number = float(value) if "." in value else int(value) if value.isdigit() else None
        expected = value if field == "slowConsumer" else number
        assert got == expected
        assert "." in value or not isinstance(got, float)
        Settings(**options.settings)
    bad = ["", "x", "0", "-1", "1e6", "\u0661", "0.0", "1.5.5", "nan", "inf", "1_0", " 1", "9" * 19]
    for value in bad + ([] if "none" in values else ["none"]) + ([] if "0.25" in values else ["1.5"]):
        with pytest.raises(UsageError, match=option):
            Options().parseOptions([option, value])


BAD_OPTIONS = [
    (["--nonesuch"], "nonesuch"),
    (["--port"], "port"),
    (["8080"], "8080"),
    (["--port", "65536"], "65535"),
    (["--route", "/a"], "/path=KIND"),
    (["--route", "a=echo"], "/path=KIND"),
    (["--route", "/a=nonesuch"], "one of broadcast, console, echo"),
    (["--route", "/a="], "one of broadcast, console, echo"),
    (["--route", "/a b=echo"], "percent-encoded"),
    (["--route", "/a?b=echo"], "without a query"),
    (["--route", "/a#b=echo"], "percent-encoded"),
    (["--route", "/\u00e9=echo"], "percent-encoded"),
    (["--route", "/a=echo", "--route", "/a=echo"], "already"),
    (["--route", "/a=echo", "--route", "/a=console"], "already"),
    (["--route", "/a=console", "--route", "/a=echo"], "already"),
    (["--route", "/a=console", "--route", "/a=console"], "already"),
    (["--port", "127.0.0.1:8080"], "write tcp:8080:interface=127.0.0.1"),
    (["--healthz", "health"], "write a path, such as /healthz, or none"),
    (["--healthz", "/a?b"], "without a query"),
    (["--max-message-size", "0"], "above 0"),
    (["--max-message-size", "-1"], "above 0"),
    (["--max-message-size", "1e6"], "above 0"),
    (["--max-message-size", "\u0661"], "above 0"),
    (["--allowed-origin", "example.com"], "--allowed-origin example.com: not an origin, write scheme://host[:port]"),
    (["--allowed-origin", "https://example.com/"], "without a path"),
    (["--allowed-origin", "https://*.example.com"], "not an origin"),
    (["--allowed-origin", "NULL"], "not an origin"),
    (["--allowed-origin", ""], "not an origin"),
    (["--allowed-host", "https://example.com"], "--allowed-host https://example.com: not a host, write a name such as"),
    (["--allowed-host", ""], "not a host"),
    (["--allowed-host", "*", "--allowed-host", "a"], "'*' allows any host: it stands alone"),
    (["--max-connections-per-address", "0"], "--max-connections-per-address 0: maxConnections is a number above 0"),
    (["--max-connections-per-address", "1.5"], "--max-connections-per-address 1.5: write a number"),
    (
        ["--max-handshakes-per-second", "0"],
        "--max-handshakes-per-second 0: handshakesPerSecond is a number from 1e-06 to 1e+09",
    ),
    (["--max-handshakes-per-second", "x"], "--max-handshakes-per-second x: write a number"),
    (["--trusted-proxy", "proxy.example"], "--trusted-proxy proxy.example: not a network"),
    (["--forwarded-header", "X-Real-IP"], "--forwarded-header X-Real-IP: header: X-Forwarded-For or Forwarded"),
    (["--proxy-hops", "two"], "--proxy-hops two: write a number"),
    (["--proxy-hops", "0", "--trusted-proxy", "10.0.0.1"], "--proxy-hops 0: hops"),
    (["--proxy-hops", "2"], "--proxy-hops: give the proxies, too, by --trusted-proxy"),
    (["--forwarded-header", "Forwarded"], "--forwarded-header: give the proxies, too, by --trusted-proxy"),
    (["--route", "/a{b}=echo"], "--route /a{b}=echo: not a pattern of paths: '/a{b}': a parameter is a whole segment"),
    (["--route", "//a=echo"], "a segment is empty"),
    (["--route", "/{a}=echo", "--route", "/{b}=echo"], "--route: two patterns for the same paths: '/{a}' and '/{b}'"),
    (["--route", "/{a}=console"], "--route /{a}=console: a console has one path"),
    (["--healthz", "/{a}"], "--healthz /{a}: write one path"),
    (["--healthz", "/a/../b"], "a . or .. as a segment"),
    (["--allowed-origin", "*", "--allowed-origin", "https://a.example"], "'*' allows any origin: it stands alone"),
    (["--allowed-origin", "https://a.example", "--allowed-origin", "*"], "it stands alone"),
]


@pytest.mark.parametrize(
    ("arguments", "words"), BAD_OPTIONS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_bad_options(arguments: list[str], words: str) -> None:
    with pytest.raises(UsageError) as error:
        Options().parseOptions(arguments)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [pytest.param(*BAD_OPTIONS[index], id=" ".join(BAD_OPTIONS[index][0])) for index in (0, 2, 3, 6, 16, 23)],
)
def test_bad_options_are_one_line(arguments: list[str], words: str, tmp_path: Path) -> None:
    """The help is for those who ask for it."""
    for command in ([*TWISTD, "-n", "--pidfile="], TWISTD, TWIST):
        result = run("wsock", *arguments, command=command, cwd=tmp_path)
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr.startswith("twistd wsock: ")
        assert words in result.stderr
        assert result.stderr.count("\n") == 1
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [TWISTD, TWIST], ids=["twistd", "twist"])
def test_help(command: list[str], tmp_path: Path) -> None:
    result = run("wsock", "--help", command=command, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    for option in ("-p, --port=", "--route=", "--max-message-size=", "--help", "[default: 8080]", "1048576", "16M"):
        assert option in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    # No hole within a sentence; columns begin with a capital letter.
    assert not re.search(r"[a-z,;:]  +[a-z]", result.stdout)


@pytest.mark.parametrize("command", [TWISTD, TWIST], ids=["twistd", "twist"])
def test_version(command: list[str], tmp_path: Path) -> None:
    result = run("wsock", "--version", command=command, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"wsock {wsock.__version__} ({wsock.implementation} core), Twisted {twisted.__version__}\n"


def test_the_plugin_is_listed_and_imports_nothing(tmp_path: Path) -> None:
    assert re.search(r"^ +wsock +A WebSocket server\.$", run("--help", cwd=tmp_path).stdout, re.MULTILINE)
    code = (
        "import json, sys, twisted.plugins.wsock_plugin;"
        "print(json.dumps([name for name in sys.modules if name.split('.')[0] == 'wsock' or 'reactor' in name]))"
    )
    # By this path alone: a run on another reactor has one that loads it.
    environment = {**ENVIRONMENT, "PYTHONPATH": str(Path(wsock.__file__).parents[1])}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert json.loads(result.stdout) == []


@pytest.mark.parametrize(
    ("line", "unused"),
    [("--help", "wsock"), ("wsock --help", "wsock.wire.tls wsock.server.tls wsock.client wsock.testing wsock.stream")],
)
def test_help_loads_nothing_that_it_does_not_show(line: str, unused: str, tmp_path: Path) -> None:
    code = (
        "import atexit, sys\n"
        f"unused = {unused.split()!r}\n"
        "found = lambda: [n for n in sys.modules if any(n == one or n.startswith(one + '.') for one in unused)]\n"
        "atexit.register(lambda: print(f'found: {found()}'))\n"
        "sys.argv[0] = 'twistd'\n"
        "from twisted.scripts.twistd import run\n"
        "run()"
    )
    result = run(*line.split(), command=[sys.executable, "-c", code], cwd=tmp_path)
    assert "wsock" in result.stdout.partition("found: ")[0]
    assert result.stdout.endswith("found: []\n")


# Starting


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another listens on."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


BAD_PORTS = [
    ("tcp:{taken}:interface=127.0.0.1", "Address already in use"),
    ("nonesuch:1", "nonesuch"),
    ("tcp", "port"),
    ("tcp:1:nonesuch=2", "nonesuch"),
    ("tcp:many", "many"),
    ("ssl:0:privateKey={key}:certKey=nonesuch.pem", "No such file or directory: "),
    ("ssl:0:privateKey={certificate}:certKey={certificate}", "not a usable key"),
    ("ssl:0:privateKey={folder}:certKey={certificate}", "Is a directory: "),
    ("unix:{folder}/nonesuch/socket", "No such file or directory"),
    ("systemd:domain=INET:index=0", "systemd has passed no such socket on"),
    ("systemd:domain=INET:name=nonesuch", "systemd has passed no such socket on"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "port", "words"),
    [
        *[pytest.param([*TWISTD, "-n"], *bad, id=f"twistd {bad[0]}") for bad in BAD_PORTS],
        *[pytest.param(TWIST, *bad, id=f"twist {bad[0]}") for bad in BAD_PORTS[:2]],
        *[pytest.param(TWISTD, *bad, id=f"daemon {bad[0]}") for bad in (*BAD_PORTS[:2], *BAD_PORTS[5:9])],
    ],
)
def test_bad_ports(
    command: list[str], port: str, words: str, taken: int, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    """One line on stderr and nowhere else, exit 1, and nothing left behind, but a daemon's log."""
    key, pem = certificate
    port = port.format(taken=taken, key=key, certificate=pem, folder=tmp_path)
    result = run("wsock", "--port", LOOPBACK, "--port", port, command=command, cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("twistd wsock: ")
    assert words in result.stderr
    assert port in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stdout
    assert words not in result.stdout
    within(PATIENCE, lambda: {path.name for path in tmp_path.iterdir()} <= {"twistd.log"}, "the pidfile is gone")


def test_a_daemon_that_can_not_listen(taken: int, tmp_path: Path) -> None:
    port = f"tcp:{taken}:interface=127.0.0.1"
    files = [f"--pidfile={tmp_path / 'pid'}", f"--logfile={tmp_path / 'log'}"]
    result = run(*files, "wsock", "--port", port, cwd=tmp_path)
    line = f"twistd wsock: can't listen: Address already in use ({port})\n"
    assert (result.returncode, result.stdout, result.stderr) == (1, "", line)
    log = (tmp_path / "log").read_text()
    assert f"can't listen: Address already in use ({port})" in log
    assert "Traceback" not in log
    within(PATIENCE, lambda: not (tmp_path / "pid").exists(), "the pidfile is gone")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("-n --pidfile= --logfile={folder}", "Is a directory"),
        ("--logfile={folder}", "Is a directory"),
        ("-n --pidfile={folder}/nonesuch/pid", "No such file or directory: {folder}/nonesuch/pid"),
        ("--logfile={folder}/log --pidfile={folder}/nonesuch/pid", "No such file or directory: {folder}/nonesuch/pid"),
        ("-n --rundir={folder}/nonesuch", "No such file or directory: {folder}/nonesuch"),
        ("--logfile={folder}/log --rundir={folder}/nonesuch", "No such file or directory: {folder}/nonesuch"),
    ],
)
def test_files_that_can_not_be_opened(flags: str, words: str, tmp_path: Path) -> None:
    """Those of twistd's own options are told in the same way."""
    folder = tmp_path / "folder"
    folder.mkdir()
    arguments = [one.format(folder=folder) for one in flags.split()]
    result = run(*arguments, "wsock", "--port", LOOPBACK, cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith(f"twistd wsock: {words.format(folder=folder)}")
    assert result.stderr.count("\n") == 1


PLUGIN = """
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint, IStreamServerEndpointStringParser
from twisted.plugin import IPlugin
from zope.interface import implementer


@implementer(IStreamServerEndpoint)
class Late:
    def __init__(self, reactor):
        self.reactor = reactor

    def listen(self, factory):
        listening = Deferred()
        self.reactor.callLater(0, listening.errback, OSError("no route to the moon"))
        return listening


@implementer(IPlugin, IStreamServerEndpointStringParser)
class LateParser:
    prefix = "late"

    def parseStreamServer(self, reactor):
        return Late(reactor)


@implementer(IPlugin, IStreamServerEndpointStringParser)
class StrictParser:
    prefix = "strict"

    def parseStreamServer(self, reactor, kind, port, interface):
        return serverFromString(reactor, f"{kind}:{port}:interface={interface}")


late, strict = LateParser(), StrictParser()
"""


@pytest.fixture
def plugin(tmp_path: Path) -> list[str]:
    """The assignment before a command by which it finds the endpoints of a package of others."""
    folder = tmp_path / "package"
    (folder / "twisted/plugins").mkdir(parents=True)
    (folder / "twisted/plugins/others_plugin.py").write_text(PLUGIN)
    return ["env", f"PYTHONPATH={ENVIRONMENT['PYTHONPATH']}{os.pathsep}{folder}"]


def test_a_port_that_fails_when_the_server_runs(plugin: list[str], tmp_path: Path) -> None:
    for command in ([*TWISTD, "-n", "--pidfile="], TWIST):
        # Two, of which the first ends the server.
        ports = ("--port", LOOPBACK, "--port", "late", "--port", "late")
        result = run("wsock", *ports, command=[*plugin, *command], cwd=tmp_path)
        line = "twistd wsock: can't listen: no route to the moon (late)\n"
        assert (result.returncode, result.stderr) == (1, line * 2)
        assert "no route to the moon" not in result.stdout
        assert "Traceback" not in result.stdout


def test_a_daemon_whose_port_fails_when_it_runs(plugin: list[str], tmp_path: Path) -> None:
    """Nobody waits for it any more: the log has the reason."""
    files = [f"--pidfile={tmp_path / 'pid'}", f"--logfile={tmp_path / 'log'}"]
    result = run(*files, "wsock", "--port", "late", command=[*plugin, *TWISTD], cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    within(PATIENCE, lambda: not (tmp_path / "pid").exists(), "the daemon has ended")
    log = (tmp_path / "log").read_text()
    assert log.count("can't listen: no route to the moon (late)") == 1
    assert "Traceback" not in log


def test_an_endpoint_without_a_listen_queue(plugin: list[str]) -> None:
    """A plugin of others need not know a queue, although what is inside of its description does."""
    with Twistd("--port", "strict:tcp:0:127.0.0.1", command=[*plugin, *TWISTD]) as twistd:
        twistd.address().open()


def test_what_is_told_at_the_start(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    """The version, where the server is, and what it serves; and no lines of Twisted's beside them."""
    path = tmp_path / "socket"
    ports = (LOOPBACK, tls_port(certificate), "tcp:0", r"tcp6:0:interface=\:\:1", f"unix:{path}")
    with Twistd(*(f"--port={port}" for port in ports), ports=5) as twistd:
        within(PATIENCE, lambda: "serving /healthz: health\n" in twistd.log(), "all is told")
        lines = re.findall(r"\[wsock\.service\.\w+#info\] (.*)", twistd.log())
        plain, secure, everywhere, six = twistd.ports
        assert sorted(lines[1:6]) == sorted(
            [
                f"listening on http://127.0.0.1:{plain}/",
                f"listening on https://127.0.0.1:{secure}/",
                f"listening on http://localhost:{everywhere}/",
                f"listening on http://[::1]:{six}/",
                f"listening on unix:{path}",
            ]
        )
        assert [lines[0], *lines[6:]] == [
            f"wsock {wsock.__version__} ({wsock.implementation} core), Twisted {twisted.__version__}",
            "serving /: console",
            "serving /echo: echo",
            "serving /healthz: health",
        ]
        assert "starting on" not in twistd.log()
        with urllib.request.urlopen(f"http://localhost:{everywhere}/", timeout=PATIENCE) as answer:
            assert answer.status == 200
    options = ["--route", "/a=echo", "--route", "/b=broadcast", "--healthz", "none"]
    with Twistd("--port", LOOPBACK, *options) as twistd:
        within(PATIENCE, lambda: "serving /b: broadcast\n" in twistd.log(), "all is told")
        assert re.findall("(?:listening|serving) .*", twistd.log()) == [
            f"listening on ws://127.0.0.1:{twistd.ports[0]}/",
            "serving /a: echo",
            "serving /b: broadcast",
        ]


def test_a_daemon(tmp_path: Path) -> None:
    path, pid_file = tmp_path / "socket", tmp_path / "pid"
    result = run(
        f"--pidfile={pid_file}", f"--logfile={tmp_path / 'log'}", "wsock", "--port", f"unix:{path}", cwd=tmp_path
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    pid = int(pid_file.read_text())
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(os.path.relpath(path))
            peer = Peer(sock)
            peer.send(request())
            assert peer.answer().status == 101
    finally:
        os.kill(pid, 15)
    end = time.monotonic() + 10
    while pid_file.exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    assert not path.exists()
    assert "Traceback" not in (tmp_path / "log").read_text()


# Serving


def test_broadcast() -> None:
    """All at a route get what one of them sends, itself included; those at another route do not."""
    with Twistd("--port", "tcp:0:interface=127.0.0.1", "--route", "/a=broadcast", "--route", "/b=broadcast") as twistd:
        address = twistd.address()
        peers = [address.connect() for _ in range(4)]
        for peer, path in zip(peers, ["/a", "/a", "/a", "/b"], strict=True):
            peer.send(request(f"GET {path} HTTP/1.1"))
            assert peer.answer().status == 101
        peers[3].send(frame(0x81, b"for b"))
        assert peers[3].frame() == (0x81, b"for b")
        peers[0].send(frame(0x81, b"text") + frame(0x82, bytes(70000)))
        for peer in peers[:3]:
            assert [peer.frame(), peer.frame()] == [(0x81, b"text"), (0x82, bytes(70000))]
        peers[1].close()
        peers[2].send(frame(0x81, b"again"))
        assert peers[0].frame() == peers[2].frame() == (0x81, b"again")
        peers[3].expect_silence(0.2)


def test_echo(twistd: Twistd) -> None:
    peer = twistd.address().connect()
    peer.send(request(sec_websocket_protocol="chat, other"))
    answer = peer.answer()
    assert (answer.status, answer["Sec-WebSocket-Protocol"]) == (101, "chat")
    peer.send(frame(0x81, b"Hello") + frame(0x82, bytes(2**20)))
    assert peer.frame() == (0x81, b"Hello")
    assert peer.frame() == (0x82, bytes(2**20))
    peer.send(frame(0x82, bytes(2**20 + 1)))
    peer.expect_close(1009)
    peer.expect_end()


class Parsed(HTMLParser):
    """The console: its elements in their order, and by their name what stands in each before anything else."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._inside: list[str] | None = None
        self.feed(readConsole(["/echo"]).html.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = self.texts.setdefault(tag, [])
        self._inside.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside is not None:
            self._inside[-1] += data

    def hash(self, tag: str) -> str:
        """The source expression of the only element of that name."""
        (text,) = self.texts[tag]
        return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


PARSED = Parsed()
POLICY = (
    f"default-src 'none'; style-src {PARSED.hash('style')}; script-src {PARSED.hash('script')}; img-src data:; "
    "connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE = {
    "Content-Security-Policy": POLICY,
    "Content-Type": "text/html; charset=utf-8",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
ALLOW = {"Allow": "GET, HEAD, OPTIONS"}
HEALTHY = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}
UPGRADE = {"Connection": "close, Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}


@pytest.mark.parametrize(
    ("line", "status", "fields", "body"),
    [
        ("GET / HTTP/1.1", (200, "OK"), PAGE, b"<!doctype html>"),
        ("GET /?a=b HTTP/1.1", (200, "OK"), PAGE, b"<!doctype html>"),
        ("GET http://127.0.0.1/?a HTTP/1.1", (200, "OK"), PAGE, b"<!doctype html>"),
        ("HEAD / HTTP/1.1", (200, "OK"), PAGE, None),
        ("GET / HTTP/1.0", (200, "OK"), PAGE, b"<!doctype html>"),
        ("HEAD / HTTP/1.0", (200, "OK"), PAGE, None),
        ("OPTIONS / HTTP/1.1", (200, "OK"), ALLOW, b""),
        ("OPTIONS / HTTP/1.0", (200, "OK"), ALLOW, b""),
        ("POST / HTTP/1.1", (405, "Method Not Allowed"), ALLOW, b"Method Not Allowed"),
        ("POST / HTTP/1.0", (405, "Method Not Allowed"), ALLOW, b"Method Not Allowed"),
        ("GET /nonesuch HTTP/1.1", (404, "Not Found"), {}, b"Not Found"),
        ("GET /echo/ HTTP/1.1", (404, "Not Found"), {}, b"Not Found"),
        ("GET //echo HTTP/1.1", (400, "Bad Request"), {}, b"Bad Request: a path with an empty segment"),
        ("GET /%65cho HTTP/1.1", (426, "Upgrade Required"), UPGRADE, b"Upgrade Required"),
        ("DELETE /console.html HTTP/1.1", (404, "Not Found"), {}, b"Not Found"),
        ("GET /echo HTTP/1.1", (426, "Upgrade Required"), UPGRADE, b"Upgrade Required"),
        ("GET /echo?a HTTP/1.1", (426, "Upgrade Required"), UPGRADE, b"Upgrade Required"),
        ("HEAD /echo HTTP/1.1", (426, "Upgrade Required"), UPGRADE, None),
        ("GET /echo HTTP/1.0", (426, "Upgrade Required"), UPGRADE, b"Upgrade Required"),
        ("GET /nonesuch HTTP/1.0", (404, "Not Found"), {}, b"Not Found"),
        ("GET /healthz HTTP/1.1", (200, "OK"), HEALTHY, b"ok\n"),
        ("GET /healthz?a HTTP/1.1", (200, "OK"), HEALTHY, b"ok\n"),
        ("HEAD /healthz HTTP/1.1", (200, "OK"), {**HEALTHY, "Content-Length": "3"}, None),
        ("OPTIONS /healthz HTTP/1.0", (200, "OK"), HEALTHY, b"ok\n"),
        ("POST /healthz HTTP/1.1", (405, "Method Not Allowed"), ALLOW, b"Method Not Allowed"),
        ("GET /healthz/ HTTP/1.1", (404, "Not Found"), {}, b"Not Found"),
    ],
)
def test_pages(twistd: Twistd, line: str, status: tuple[int, str], fields: dict[str, str], body: bytes | None) -> None:
    peer = twistd.address().connect()
    # The rest is no second request: a proxy may not make a WebSocket of this connection.
    peer.send(request(line, upgrade=None, connection="keep-alive") + (request() if line[0] == "G" else b""))
    answer = peer.answer(line.rpartition(" ")[2])
    assert (answer.status, answer.reason) == status
    expected = {"Connection": "close", **fields}
    assert {name: answer[name] for name in expected} == expected
    if status[0] >= 400:
        assert answer["Content-Type"] == "text/plain; charset=utf-8"
    length = int(answer["Content-Length"] or 0)
    content = peer.rest()
    if body is None:
        assert content == b""
        assert length > 2
    else:
        assert content.startswith(body)
        assert len(content) == length


def test_the_console_is_one_file() -> None:
    """It loads nothing, and has no style and no script but the two that the policy names."""
    tags = [tag for tag, _ in PARSED.elements]
    assert (tags.count("style"), tags.count("script")) == (1, 1)
    assert not {"base", "embed", "frame", "iframe", "img", "object"} & set(tags)
    for tag, attributes in PARSED.elements:
        assert tag not in ("style", "script") or attributes == {}
        assert not [name for name in attributes if name == "style" or name.startswith("on") or name == "http-equiv"]
        assert not {"action", "formaction", "ping", "poster", "src", "srcset", "xlink:href"} & set(attributes)
        for name, value in attributes.items():
            if name == "href":
                assert (tag, attributes["rel"]) == ("link", "icon")
                assert value is not None
                assert value.startswith("data:image/svg+xml,")
            else:
                # A text for the reader, who may connect anywhere.
                assert name == "placeholder" or not re.search("https?:|//", value or "")
    (style,) = PARSED.texts["style"]
    assert not re.search(r"@import|url\(|image-set|https?:|//", style)


def test_what_the_console_does_without() -> None:
    """Data becomes text alone. What is stored ends with the tab; what is sent goes by a WebSocket, but for one GET."""
    (script,) = PARSED.texts["script"]
    assert script.startswith('\n"use strict";')
    assert re.findall(r"fetch\(([^,]*),", script) == ["location.origin + url.pathname + url.search"]
    for word in [
        *("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "createContextualFragment"),
        *("eval(", "Function(", "import(", "setAttribute"),
        *("XMLHttpRequest", "sendBeacon", "EventSource", "Worker", "window.open", "location.href"),
        *("localStorage", "indexedDB", "cookie"),
    ]:
        assert word not in script
    # A comment that shows how a link is written.
    assert re.findall(r"(?:http|ws)s?://\w+", script) == ["ws://host"]


def test_a_console_with_other_ends_of_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a checkout may have on Windows. A browser hashes lines that end in LF."""
    page = readConsole()
    assert page.policy == POLICY
    (tmp_path / "page").mkdir()
    for file in Path(wsock.service.__file__).with_name("page").iterdir():
        # Lines end here as the system ends them.
        text = file.read_bytes().replace(b"\r\n", b"\n")
        (tmp_path / "page" / file.name).write_bytes(text.replace(b"\n", b"\r\n"))
    monkeypatch.setattr(console, "files", lambda package: tmp_path)
    assert readConsole() == page


def test_every_file_of_the_console_is_in_it() -> None:
    html = readConsole().html
    files = list(Path(wsock.service.__file__).with_name("page").iterdir())
    assert {file.suffix for file in files} == {".css", ".html", ".js"}
    for file in files:
        if file.suffix != ".html":
            assert html.count(file.read_bytes().replace(b"\r\n", b"\n")) == 1


# The console, at a site of one's own


def answer(resource: Resource, line: str) -> tuple[bytes, bytes]:
    """The head and the body that a site with the console gives."""
    protocol = Site(resource, reactor=Clock()).buildProtocol(None)
    assert protocol is not None
    transport = StringTransport()
    protocol.makeConnection(transport)
    protocol.dataReceived(f"{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    head, _, body = transport.value().partition(b"\r\n\r\n")
    return head, body


def test_a_console_in_a_site() -> None:
    console = consoleResource()
    root = Resource()
    root.putChild(b"tools", Resource())
    root.children[b"tools"].putChild(b"console", console)
    page = readConsole().html
    fields = [f"{name}: {value}".encode() for name, value in PAGE.items()]
    for site, target in [
        (root, "/tools/console"),
        (root, "/tools/console/"),
        (root, "/tools/console?a=/b"),
        (console, "/"),
        (console, "/?a"),
    ]:
        for method, body in [("GET", page), ("HEAD", b"")]:
            head, got = answer(site, f"{method} {target}")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert got == body
            assert set(fields) < set(head.split(b"\r\n"))
            assert f"Content-Length: {len(page)}".encode() in head
        head, got = answer(site, f"PUT {target}")
        assert head.startswith(b"HTTP/1.1 405 Method Not Allowed\r\n")
        assert b"\r\nAllow: GET, HEAD, OPTIONS\r\n" in head
        assert got == b"Method Not Allowed"
    for site, target in [(root, "/tools/console/a"), (root, "/tools/console//"), (console, "/a")]:
        assert answer(site, f"GET {target}")[0].startswith(b"HTTP/1.1 404 ")


def test_the_paths_that_a_console_offers() -> None:
    """They are text, whatever they are."""
    html = readConsole(["/echo", "/a'&\"<script>"]).html
    offered = (
        b'<button class="plain" type="button">/echo</button> '
        b'<button class="plain" type="button">/a&#x27;&amp;&quot;&lt;script&gt;</button></div>'
    )
    assert html.count(offered) == 1
    assert answer(consoleResource(["/echo"]), "GET /")[1] == readConsole(["/echo"]).html
    assert b'type="button">/' not in readConsole().html


def test_the_console_is_imported_without_a_reactor() -> None:
    code = "import sys, wsock.service; print(wsock.service.consoleResource, 'twisted.internet.reactor' in sys.modules)"
    line = [sys.executable, "-c", code]
    result = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert result.stdout.endswith(" False\n")


def test_routes_with_a_console() -> None:
    options = ["--route", "/a/console=console", "--route", "/room=broadcast", "--route", "/=console"]
    with Twistd("--port", LOOPBACK, *options) as twistd:
        page = readConsole(["/room"]).html
        for target, status, body in [
            ("/", 200, page),
            ("/a/console?b", 200, page),
            ("/a/console/", 404, b"Not Found: no route has this path"),
            ("/room", 426, b"Upgrade Required: this is a WebSocket endpoint"),
            ("/echo", 404, b"Not Found: no route has this path"),
        ]:
            peer = twistd.address().connect()
            peer.send(request(f"GET {target} HTTP/1.1", upgrade=None))
            assert peer.answer().status == status
            assert peer.rest() == body
        # A page is no WebSocket.
        for target, status in [("/", 404), ("/a/console", 404), ("/room", 101)]:
            peer = twistd.address().connect()
            peer.send(request(f"GET {target} HTTP/1.1"))
            assert peer.answer().status == status


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_bodies_are_discarded(twistd: Twistd, chunked: bool) -> None:
    """Twisted would keep them in a file, read that, and take it apart."""
    address = twistd.address()
    twistd.forget_peak()
    before = twistd.peak()
    peer = address.connect()
    size = 2**24
    field = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    kind = "application/x-www-form-urlencoded"
    peer.send(f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n{field}\r\n\r\n".encode())
    data = b"a=b&" * 1024
    if chunked:
        data = b"%x\r\n%s\r\n" % (len(data), data)
    peer.stream(data, size // 4096 * len(data))
    if chunked:
        peer.send(b"0\r\n\r\n")
    assert peer.answer().status == 405
    assert twistd.peak() - before < 2**21


def page_connection(clock: Clock, health: Health | None = None) -> tuple[IProtocol, StringTransport]:
    site = Site(Pages({}, {"/": consoleResource()}, health), reactor=clock)
    site.requestFactory = PageRequest
    protocol = site.buildProtocol(None)
    assert protocol is not None
    transport = StringTransport()
    protocol.makeConnection(transport)
    return protocol, transport


BODY = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_body_that_drips(version: bytes) -> None:
    """It gets 10 seconds, however often something comes."""
    clock = Clock()
    protocol, transport = page_connection(clock)
    protocol.dataReceived(BODY.replace(b"1.1", version))
    for _ in range(9):
        clock.advance(1)
        protocol.dataReceived(b"a")
    assert not transport.disconnected
    clock.advance(1)
    assert transport.disconnected
    assert transport.value() == b""


def test_a_body_in_time() -> None:
    clock = Clock()
    protocol, transport = page_connection(clock)
    protocol.dataReceived(BODY + bytes(100))
    assert transport.value().startswith(b"HTTP/1.1 405 ")
    protocol.connectionLost(Failure(ConnectionDone()))
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_health(version: str) -> None:
    """503 from when the server stops, for those who are connected already; load balancers speak HTTP/1.0 too."""
    health = Health("/healthz")
    line = f"GET /healthz HTTP/{version}\r\nHost: localhost\r\n\r\n".encode()
    protocol, transport = page_connection(Clock(), health)
    protocol.dataReceived(line)
    assert transport.value().startswith(f"HTTP/{version} 200 OK\r\n".encode())
    assert transport.value().endswith(b"\r\n\r\nok\n")
    protocol, transport = page_connection(Clock(), health)
    health.isStopping = True
    protocol.dataReceived(line)
    assert transport.value().startswith(f"HTTP/{version} 503 Service Unavailable\r\n".encode())
    assert b"\r\nRetry-After: 5\r\n" in transport.value()
    assert transport.value().endswith(b"\r\n\r\nstopping\n")


USERS = Passwords({"Aladdin": "open sesame"})
BASIC = "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"
CHALLENGE = b'WWW-Authenticate: Basic realm="wsock", charset="UTF-8"\r\n'


class Guarded:
    """A connection to pages for those alone who have a password.

    Attributes:
        waiting: the Deferreds of the check, unless it decides at once.
    """

    def __init__(self, check: Any = USERS) -> None:
        self.waiting: list[Deferred[Any]] = []
        routes = Routes({"/echo": KINDS["echo"]()})
        identification = identificationByPassword(check or self.check)
        pages = Pages(routes, {"/": consoleResource()}, Health("/healthz"), identification=identification)
        site = QuietSite(pages, reactor=Clock())
        site.requestFactory = PageRequest
        self.protocol: Any = site.buildProtocol(None)
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)

    def check(self, user: str, password: str) -> Deferred[Any]:
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def ask(self, line: str, fields: str = "") -> bytes:
        self.protocol.dataReceived(f"{line} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode())
        return self.transport.value()


@pytest.mark.parametrize(
    ("line", "status"),
    [("GET /", 200), ("HEAD /", 200), ("POST /", 405), ("GET /echo", 426), ("GET /healthz", 200), ("GET /none", 404)],
)
def test_pages_for_users(line: str, status: int) -> None:
    is_open = line.endswith(("healthz", "none"))
    refused = Guarded().ask(line)
    assert refused.startswith(f"HTTP/1.1 {status if is_open else 401} ".encode())
    assert (CHALLENGE in refused) is not is_open
    assert refused.endswith(b"\r\n\r\nUnauthorized: no credentials came") is not (is_open or line == "HEAD /")
    assert b"doctype" not in refused
    assert Guarded().ask(line, BASIC).startswith(f"HTTP/1.1 {status} ".encode())
    wrong = Guarded().ask(line, BASIC.replace("QWxh", "QWxi"))
    assert wrong.startswith(f"HTTP/1.1 {status if is_open else 401} ".encode())
    assert (CHALLENGE in wrong) is not is_open


@pytest.mark.parametrize(
    ("result", "beginning", "end"),
    [
        ("Aladdin", b"HTTP/1.1 200 OK\r\n", b"</html>\n"),
        (None, b"HTTP/1.1 401 Unauthorized\r\n", b"\r\n\r\nUnauthorized: the user or the password is wrong"),
        (Refuse(503, [("Retry-After", "5")], b"busy"), b"HTTP/1.1 503 Service Unavailable\r\n", b"\r\n\r\nbusy"),
        (ValueError("away"), b"HTTP/1.1 500 Internal Server Error\r\n", b"\r\n\r\nInternal Server Error"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_page_waits_for_the_check_of_a_password(result: Any, beginning: bytes, end: bytes, method: str) -> None:
    guarded = Guarded(check=None)
    assert guarded.ask(f"{method} /", BASIC) == b""
    with logged() as events:
        if isinstance(result, Exception):
            guarded.waiting[0].errback(result)
        else:
            guarded.waiting[0].callback(result)
    answer = guarded.transport.value()
    assert answer.startswith(beginning)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert answer.endswith(end if method == "GET" else b"\r\n\r\n")
    if method == "GET":
        assert b"\r\nContent-Length: %d\r\n" % len(body) in head + b"\r\n"
    assert (b"Retry-After: 5" in head) is isinstance(result, Refuse)
    assert failures(events) == (["away"] if isinstance(result, ValueError) else [])
    assert guarded.transport.disconnecting


def test_a_check_is_cancelled_when_a_page_is_not_wanted_any_more() -> None:
    guarded = Guarded(check=None)
    guarded.ask("GET /", BASIC)
    with logged() as events:
        guarded.protocol.connectionLost(Failure(ConnectionDone()))
    assert guarded.waiting[0].called
    assert events == []
    assert guarded.transport.value() == b""


@pytest.fixture
def htpasswd(tmp_path: Path) -> Path:
    """A file with the user ada, whose password is 2f1dbbb9c7."""
    pytest.importorskip("passlib.hash")
    path = tmp_path / "users"
    path.write_text("ada:$2y$04$abcdefghijklmnopqrstuON9FuL91k8gKx3IMQJZuNEuTmhbCO94e\n")
    return path


def test_users_of_a_file(htpasswd: Path) -> None:
    right = {"Authorization": "Basic YWRhOjJmMWRiYmI5Yzc="}
    with Twistd("--port", LOOPBACK, "--htpasswd", htpasswd, "--access-log", "-") as twistd:
        for fields, wrong in ((right, False), ({"Authorization": "Basic YWRhOng="}, True), ({}, True)):
            for line, upgrade, status in (
                ("GET / HTTP/1.1", None, 200),
                ("GET /echo HTTP/1.1", "websocket", 101),
                ("GET /echo HTTP/1.1", None, 426),
                ("GET /healthz HTTP/1.1", None, 200),
            ):
                peer = twistd.address().connect()
                peer.send(request(line, upgrade=upgrade, **fields))
                answer = peer.answer()
                assert answer.status == (401 if wrong and "healthz" not in line else status), (fields, line)
        twistd.terminate()
        log = twistd.log()
    assert " /echo 401 " in log
    assert not any(secret in log for secret in ("YWRhO", "2f1dbbb9c7"))


@pytest.mark.parametrize(
    ("text", "why"),
    [(None, "No such file or directory"), ("ada:secret\n", "line 1 has another hash than one of bcrypt")],
)
def test_a_file_of_users_that_can_not_be(htpasswd: Path, text: str | None, why: str) -> None:
    if text is None:
        htpasswd.unlink()
    else:
        htpasswd.write_text(text)
    options = Options()
    options.parseOptions(["--port", LOOPBACK, "--htpasswd", str(htpasswd)])
    with pytest.raises(SystemExit) as ended:
        makeService(options, MemoryReactorClock())
    message = str(ended.value)
    assert message.startswith("twistd wsock: --htpasswd: ")
    assert why in message
    assert str(htpasswd) in message
    assert "\n" not in message
    assert "secret" not in message


def test_without_the_library_that_verifies_passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "version", version)
    options = Options()
    options.parseOptions(["--port", LOOPBACK, "--htpasswd", str(tmp_path / "users")])
    with pytest.raises(SystemExit, match="pip install 'wsock\\[auth\\]'"):
        makeService(options, MemoryReactorClock())


def test_the_server_has_as_many_connections_as_the_option_says() -> None:
    options = Options()
    options.parseOptions(["--port", LOOPBACK, "--max-connections", "17"])
    assert makeService(options, MemoryReactorClock()).factory.maxConnections == 17


def test_compression_is_the_factory_s() -> None:
    for arguments, compression in (([], None), (["--compression"], Compression())):
        options = Options()
        options.parseOptions(["--port", LOOPBACK, *arguments])
        assert makeService(options, MemoryReactorClock()).factory.rules.compression == compression


def test_the_service_that_stops_says_so() -> None:
    options = Options()
    options.parseOptions(["--port", LOOPBACK])
    reactor = MemoryReactorClock()
    service = makeService(options, reactor)
    service.startService()
    site = reactor.tcpServers[0][1].fallback
    protocol, transport = site.buildProtocol(None), StringTransport()
    protocol.makeConnection(transport)
    service.stopService()
    protocol.dataReceived(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert transport.value().startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize(
    ("options", "answers"),
    [
        (["--route", "/a=echo"], [("/healthz", 200, b"ok\n")]),
        (["--route", "/healthz=echo"], [("/healthz", 426, b"Upgrade Required")]),
        (["--healthz", "none"], [("/healthz", 404, b"Not Found"), ("/", 200, b"<!doctype html>")]),
        (["--healthz", "/a/b"], [("/healthz", 404, b"Not Found"), ("/a/b", 200, b"ok\n")]),
        (["--healthz", "/"], [("/healthz", 404, b"Not Found"), ("/", 200, b"ok\n")]),
    ],
)
def test_where_health_is_told(options: list[str], answers: list[tuple[str, int, bytes]]) -> None:
    """With routes and without; a route has precedence. The log has no line for those who ask."""
    logged = [(path, str(status)) for path, status, body in answers if body != b"ok\n"]
    with Twistd("--port", LOOPBACK, *options) as twistd:
        for path, status, body in answers:
            peer = twistd.address().connect()
            peer.send(request(f"GET {path} HTTP/1.1", upgrade=None))
            assert peer.answer().status == status
            assert peer.rest().startswith(body)
        # The log is whole when it has ended.
        twistd.terminate()
        assert re.findall(r"'GET' '(\S+)' (\d+)", twistd.log()) == logged


@pytest.mark.parametrize("path", ["/", "/nonesuch", "/echo/", "/Echo", "/healthz"])
def test_a_websocket_where_there_is_none(twistd: Twistd, path: str) -> None:
    peer = twistd.address().connect()
    peer.send(request(f"GET {path} HTTP/1.1"))
    answer = peer.answer()
    assert (answer.status, answer["Connection"]) == (404, "close")
    assert peer.rest() == b"Not Found: no route has this path"


def test_routes_and_limit() -> None:
    """With routes exactly these are served, and no page."""
    options = ["--route", "/a/b=echo", "--route", "/=echo", "--max-message-size", "10"]
    with Twistd("--port", LOOPBACK, "--port", LOOPBACK, *options, ports=2) as twistd:
        assert len(set(twistd.ports)) == 2
        for number, path, status in [(0, "/a/b?c", 101), (1, "/", 101), (1, "/a", 404), (0, "/echo", 404)]:
            peer = twistd.address(number).connect()
            peer.send(request(f"GET {path} HTTP/1.1"))
            assert peer.answer().status == status
            if status == 101:
                peer.send(frame(0x82, bytes(10)) + frame(0x82, bytes(11)))
                assert peer.frame() == (0x82, bytes(10))
                peer.expect_close(1009)
        peer = twistd.address().connect()
        peer.send(request("GET / HTTP/1.1", upgrade=None))
        assert peer.answer().status == 426


def test_allowed_origins() -> None:
    own = "http://127.0.0.1"
    listed = ["https://a.example", "null", "file://"]
    cases = {
        (): [own],
        tuple(f"--allowed-origin={one}" for one in listed): listed,
        ("--allowed-origin=*",): [own, *listed, "https://b.example"],
    }
    for options, allowed in cases.items():
        with Twistd("--port", LOOPBACK, *options) as twistd:
            for origin in (own, *listed, "https://b.example"):
                peer = twistd.address().connect()
                peer.send(request(origin=origin))
                assert peer.answer().status == (101 if origin in allowed else 403)


def test_rooms() -> None:
    """A parameter of the path makes a room for each of its values, while somebody is there."""
    with Twistd("--port", LOOPBACK, "--route", "/{house}/{room}=broadcast", "--route", "/all/{rest*}=echo") as twistd:
        peers = []
        for path in ("/a/b", "/a/b", "/a/c", "/c/b", "/%61/b", "/all/a/b"):
            peers.append(twistd.address().connect())
            peers[-1].send(request(f"GET {path} HTTP/1.1"))
            assert peers[-1].answer().status == 101, path
        peers[0].send(frame(0x81, b"Hello"))
        for number in (0, 1, 4):
            assert peers[number].frame() == (0x81, b"Hello")
        for number in (2, 3, 5):
            peers[number].send(frame(0x81, b"own"))
            assert peers[number].frame() == (0x81, b"own"), "nothing came before"


#: Hosts, and what each is answered by what command line: a WebSocket, and a page.
HOSTS = [
    ([], {"localhost": 101, "a.localhost:80": 101, "127.0.0.1": 101, "[::1]:5": 101, "evil.example": 421}),
    (["--allowed-host=a.example"], {"localhost": 421, "127.0.0.1": 421, "a.example": 101, "A.example:8": 101}),
    (["--allowed-host=*"], {"evil.example": 101}),
    (["--allowed-origin=https://a.example"], {"evil.example": 101}),
    (["--allowed-origin=https://a.example", "--allowed-host=b.example"], {"evil.example": 421, "b.example": 101}),
]


@pytest.mark.parametrize(("options", "hosts"), HOSTS, ids=lambda value: " ".join(value) or "-")
def test_hosts(options: list[str], hosts: dict[str, int]) -> None:
    pages = {101: [200, 200, 426, 404], 421: [421] * 4}
    with Twistd("--port", LOOPBACK, *options) as twistd:
        for host, status in hosts.items():
            peer = twistd.address().connect()
            peer.send(request(host=host, origin=None))
            answer = peer.answer()
            assert answer.status == status, host
            if status == 421:
                assert b"Misdirected Request: this server does not answer for the Host" in peer.rest()
            # An open one would hold up the end.
            peer.close()
            for path, answered in zip(("/", "/healthz", "/echo", "/none"), pages[status], strict=True):
                peer = twistd.address().connect()
                peer.send(request(f"GET {path} HTTP/1.1", upgrade=None, host=host))
                assert peer.answer().status == answered, (host, path)
        twistd.terminate()
        # Each connection has one line, and that says which option helps.
        lines = [line for line in twistd.log().splitlines() if "/echo" in line and " 421 " in line]
        assert len(lines) >= sum(status == 421 for status in hosts.values())
        if not options:
            assert "--allowed-host NAME" in lines[0]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (["--trusted-proxy", "127.0.0.0/8"], "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Host: a.example"),
        (["--forwarded-header=Forwarded", "--trusted-proxy=127.0.0.1"], "Forwarded: for=192.0.2.1;host=a.example"),
        (
            ["--trusted-proxy=10.0.0.1", "--proxy-hops=2", "--trusted-proxy=127.0.0.1"],
            "X-Forwarded-For: 192.0.2.1, 10.0.0.1\r\nX-Forwarded-Host: a.example",
        ),
    ],
)
def test_a_trusted_proxy(options: list[str], field: str) -> None:
    """It is believed for WebSockets and pages, their logs and the hosts that are served."""
    with Twistd("--port", LOOPBACK, *options, "--allowed-host", "a.example") as twistd:
        for more, status, page in ((f"{field}\r\n", 101, 200), ("", 421, 421)):
            peer = twistd.address().connect()
            peer.send(request(more=more, origin="http://a.example" if more else None))
            assert peer.answer().status == status
            peer.close()
            peer = twistd.address().connect()
            peer.send(request("GET /healthz HTTP/1.1", more=more, upgrade=None))
            assert peer.answer().status == page
        peer = twistd.address().connect()
        peer.send(request("GET /none HTTP/1.1", more=f"{field}\r\n", upgrade=None))
        assert peer.answer().status == 404
        within(PATIENCE, lambda: " 192.0.2.1:0 /echo 101 " in twistd.log(), "the access log names the client")
        within(PATIENCE, lambda: "192.0.2.1:0 'GET' '/none' 404" in twistd.log(), "so does the log of pages")


def test_limits_for_each_address() -> None:
    options = [
        "--max-connections-per-address",
        "2",
        "--max-handshakes-per-second",
        "0.5",
        "--trusted-proxy",
        "127.0.0.1",
    ]
    with Twistd("--port", LOOPBACK, *options) as twistd:

        def status(client: str, path: str = "/echo", **fields: str | None) -> int:
            peer = twistd.address().connect()
            peers.append(peer)
            peer.send(request(f"GET {path} HTTP/1.1", more=f"X-Forwarded-For: {client}\r\n", **fields))
            answer = peer.answer()
            assert (answer.status == 429) == (answer["Retry-After"] is not None)
            return answer.status

        peers: list[Peer] = []
        assert [status("192.0.2.1") for _ in range(3)] == [101, 101, 429]
        assert status("192.0.2.2") == 101
        # A burst is ten, of WebSockets and pages; the health check is not counted.
        answers = [status("192.0.2.3", "/", upgrade=None) for _ in range(11)]
        assert answers[:10] == [200] * 10
        assert answers[10] == 429
        assert status("192.0.2.3") == 429
        assert [status("192.0.2.3", "/healthz", upgrade=None) for _ in range(3)] == [200] * 3


def test_a_page_without_a_host() -> None:
    """By HTTP/1.0, as haproxy's health check; a browser always names one."""
    with Twistd("--port", LOOPBACK) as twistd:
        peer = twistd.address().connect()
        peer.send(b"OPTIONS /healthz HTTP/1.0\r\n\r\n")
        assert peer.answer("HTTP/1.0").status == 200


def test_behind_a_proxy() -> None:
    """Any endpoint will do: here one that wraps each connection."""
    with Twistd("--port", f"haproxy:{LOOPBACK}") as twistd:
        peer = twistd.address().connect()
        peer.send(b"PROXY TCP4 192.0.2.1 127.0.0.1 5 80\r\n" + request() + frame(0x81, b"Hello"))
        assert peer.answer().status == 101
        assert peer.frame() == (0x81, b"Hello")
        peer.send(frame(0x83))
        peer.stream(bytes(2**18), 2**22)
        peer.expect_close(1002)
        peer.expect_end()
        peer.close()
        within(PATIENCE, lambda: "192.0.2.1" in twistd.log(), "the log names the peer that the proxy told of")


def test_the_log_keeps_secrets() -> None:
    """No query string, no credentials, whatever becomes of the request."""
    inside = {"authorization": f"Basic {SECRET}", "cookie": f"session={SECRET}"}
    requests = [
        request(f"GET /{end}?token={SECRET} HTTP/1.1", upgrade=upgrade, **inside)
        for end in ("", "echo", "nonesuch")
        for upgrade in (None, "websocket")
    ]
    requests += [
        request(f"HEAD /?token={SECRET} HTTP/1.1", upgrade=None),
        request(f"GET http://user:{SECRET}@127.0.0.1/?{SECRET} HTTP/1.1", upgrade=None),
        request(f"GET http://user:{SECRET}@127.0.0.1/echo?{SECRET} HTTP/1.1"),
        request(f"GET /echo?token={SECRET} HTTP/1.1", origin=f"https://user:{SECRET}@a.example"),
        request(f"GET /echo?token={SECRET} HTTP/1.1", sec_websocket_key=SECRET),
        request(f"GET /echo?token={SECRET} HTTP/1.1", more=f"Broken : {SECRET}\r\n"),
        f"GET /echo?{SECRET} {SECRET} HTTP/1.1\r\n".encode(),
        request(f"POST /echo?token={SECRET} HTTP/1.1", content_length="7") + SECRET.encode(),
        request(f"POST /?token={SECRET} HTTP/1.1", upgrade=None, content_length="7") + SECRET.encode(),
    ]
    # A process of its own, since other tests have such lines too; the log is whole when it has ended.
    with Twistd("--port", LOOPBACK) as twistd:
        # A peer that sends less than it said, and leaves. It comes first: what answers the others has seen it go.
        peer = twistd.address().connect()
        peer.send(request(f"PUT /?token={SECRET} HTTP/1.1", upgrade=None, content_length="99") + SECRET.encode())
        peer.close()
        for one in requests:
            peer = twistd.address().connect()
            peer.send(one)
            if peer.answer().status == 101:
                peer.send(frame(0x83, SECRET.encode()))
            peer.rest()
            peer.close()
        twistd.terminate()
        log = twistd.log()
    assert "'POST' '/' 405" in log
    assert 'reason="whitespace between a field name and its colon"' in log
    assert SECRET not in log


# Ending


@pytest.mark.parametrize("command", [TWISTD, TWIST], ids=["twistd", "twist"])
def test_ends_at_once_when_nobody_is_there(command: list[str]) -> None:
    flags = "-n --pidfile=" if command is TWISTD else "--log-format=text"
    with Twistd("--port", LOOPBACK, command=command, flags=flags) as twistd:
        peer = twistd.address().open()
        peer.send(frame(0x81, b"Hello"))
        assert peer.frame() == (0x81, b"Hello")
        peer.close()
        assert twistd.terminate() < 2


@pytest.mark.slow
def test_standard_input_and_output(tmp_path: Path) -> None:
    """They can't be aborted: the end does not wait for who is silent."""
    log = tmp_path / "log"
    line = [*TWISTD, "-n", "--pidfile=", f"--logfile={log}", "wsock", "--port", "stdio:"]
    with (
        subprocess.Popen(line, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
        contextlib.ExitStack() as stack,
    ):
        stack.callback(process.kill)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(request() + frame(0x81, b"Hello"))
        process.stdin.flush()
        answer = iter(process.stdout.readline, b"\r\n")
        assert b"101" in next(answer)
        list(answer)
        assert process.stdout.read(7) == b"\x81\x05Hello"
        began = time.monotonic()
        process.terminate()
        assert process.wait(PATIENCE) in (0, -signal.SIGTERM)
        assert time.monotonic() - began < 9
        assert process.stdout.read() == b"\x88\x02\x03\xe9"
    assert "Traceback" not in log.read_text()


@pytest.mark.slow
def test_sigterm(certificate: tuple[Path, Path]) -> None:
    """1001 for all who are open, 503 for those on their way in, and the end within 5 s though some are silent."""
    ports = ["--port", LOOPBACK, "--port", tls_port(certificate)]
    with Twistd(*ports, ports=2) as twistd:
        addresses = [twistd.address(0), twistd.address(1, certificate[1])]
        silent = [address.open() for address in addresses]
        polite = [address.open() for address in addresses]
        mute = [address.connect(tls=False) for address in addresses] + [address.connect() for address in addresses]
        handshaking = [address.connect() for address in addresses]
        for peer in handshaking:
            peer.send(b"GET /echo HTTP/1.1\r\n")
        deaf = [address.open(receive_buffer=2**15) for address in addresses]
        for peer in deaf:
            peer.stream(frame(0x82, bytes(60000)), 2**25, read=False)
        # One that asks for a page, and goes on asking.
        reader = addresses[0].connect()
        reader.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nhello")
        time.sleep(0.1)
        took = twistd.terminate()
        for peer in silent + polite:
            peer.expect_close(1001)
        for peer in handshaking:
            assert peer.answer().status == 503
        assert len(mute) == 4
        assert took < 5
