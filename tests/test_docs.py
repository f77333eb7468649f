"""Examples of the pages, as readers use them: commands in a new folder, in their order; programs; units of systemd."""

import ast
import contextlib
import importlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
from test_examples import PATIENCE, ROOT, talk
from tools import find, free_port, require
from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from websockets.exceptions import ConnectionClosed

import wsock
from wsock.sansio import http
from wsock.testing import MemoryAgent, Pair, ScriptedPeer

DOCS = ROOT / "docs"
PAGES = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md") if "_build" not in page.parts)
#: Benchmarks and the Autobahn TestSuite, on two other pages, take minutes.
WITH_COMMANDS = [
    page
    for page in PAGES
    if "```console" in (DOCS / page).read_text() and page not in ("performance.md", "conformance.md")
]
#: The same; those with a command of openssl need that program.
PAGES_TO_TRY = [
    pytest.param(page, marks=[pytest.mark.peer] if "\nopenssl " in (DOCS / page).read_text() else [])
    for page in WITH_COMMANDS
]
#: Only wsock is on the path: a program of a reader's finds other modules beside itself.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(wsock.__file__).parents[1])}
#: Like the command twistd, this does not look for modules in the present folder.
TWISTD = "import sys\nfrom twisted.scripts.twistd import run\nsys.exit(run())\n"


class Reader:
    """Somebody with a page and a new folder, in which are the files that the page shows.

    Attributes:
        text: the page, with a port of this test's in the place of 8080 and 8443.
        commands: what it has behind a `$`, in order, each with the output that it shows.
    """

    def __init__(self, page: str, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder / "reader"
        self.folder.mkdir()
        self.twistd = folder / "twistd.py"
        self.twistd.write_text(TWISTD)
        self.text = self._with_port((DOCS / page).read_text())
        for source, name in re.findall(r"^```\{literalinclude\} (\S+)\n:caption: (\S+)$", self.text, re.MULTILINE):
            (self.folder / name).write_text(self._with_port((DOCS / page).parent.joinpath(source).read_text()))
        # `NAME`: and its program.
        for name, program in re.findall(r"`([\w.]+)`:\n\n^```python\n(.*?)^```$", self.text, re.MULTILINE | re.DOTALL):
            (self.folder / name).write_text(program)
        self.commands: list[tuple[str, str]] = []
        for session in self.blocks("console"):
            for part in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                self.commands.append((command, output))
        self.server: subprocess.Popen[str] | None = None

    def blocks(self, language: str) -> list[str]:
        return re.findall(rf"^```{language}\n(.*?)^```$", self.text, re.MULTILINE | re.DOTALL)

    def _with_port(self, text: str) -> str:
        return re.sub(r"\b(8080|8443)\b", str(self.port), text)

    def start(self, command: str) -> subprocess.Popen[str]:
        words = shlex.split(command)
        program = {"python": [], "twistd": [str(self.twistd)]}[words[0]]
        if words[0] == "twistd" and "wsock" in words and "--port" not in words:
            words += ["--port", str(self.port)]
        return subprocess.Popen(
            [sys.executable, *program, *words[1:]],
            cwd=self.folder,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str, output: str) -> None:
        """Runs a command that ends by itself, and compares what it says; a line of dots stands for any lines."""
        process = self.start(command)
        try:
            said, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
            process.wait()
        lines = [".*" if line == "..." else re.escape(line) for line in output.splitlines()]
        assert re.fullmatch("\n".join(lines) + "\n", said, re.DOTALL), said

    def serve(self, command: str, output: str) -> None:
        """Starts a server in the place of an earlier one, and waits until it has said what it should, and answers."""
        self.stop()
        self.server = self.start(command)
        assert self.server.stdout is not None
        for line in output.splitlines():
            assert _timeless(self.server.stdout.readline()) == _timeless(line + "\n")
        end = time.monotonic() + PATIENCE
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as peer:
                    peer.settimeout(PATIENCE)
                    peer.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    # An answer, or over TLS the end.
                    peer.recv(1)
                    return
            except OSError:
                assert self.server.poll() is None, self.server.communicate()[0]
                assert time.monotonic() < end, "nothing listens"
                time.sleep(0.05)

    def stop(self) -> None:
        """Ends the server that runs; it has to end well."""
        server, self.server = self.server, None
        if server is not None:
            server.terminate()
            said, _ = server.communicate(timeout=PATIENCE)
            assert server.returncode in (0, -signal.SIGTERM)
            assert "Traceback" not in said
            assert "Unhandled" not in said


def _timeless(line: str) -> str:
    """A line of a log, of whatever time."""
    return re.sub(r"^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}[-+][0-9]{4} ", "", line)


@contextlib.contextmanager
def reading(page: str, folder: Path) -> Iterator[Reader]:
    reader = Reader(page, folder)
    try:
        yield reader
        reader.stop()
    finally:
        if reader.server is not None:
            reader.server.kill()
            reader.server.communicate()


def test_pages_with_commands() -> None:
    assert {"howto/tls.md", "service.md", "tutorial.md"} <= set(WITH_COMMANDS)


@pytest.mark.parametrize("page", PAGES_TO_TRY)
def test_commands(page: str, tmp_path: Path) -> None:
    """Each does what the page shows below it; a server runs until the next one is started."""
    with reading(page, tmp_path) as reader:
        for block in reader.blocks("sh"):
            if block.startswith("openssl "):
                line = [require("openssl"), *shlex.split(block.replace("\\\n", ""))[1:]]
                subprocess.run(line, cwd=reader.folder, check=True, capture_output=True, timeout=PATIENCE)
        assert reader.commands
        for command, output in reader.commands:
            words = shlex.split(command)
            if words[0] == "twistd":
                # Two can't be in one folder.
                reader.stop()
            if words[1].endswith("_server.py") or (words[0] == "twistd" and not output):
                reader.serve(command, output)
            else:
                reader.run(command, output)


def test_a_service_of_ones_own(tmp_path: Path) -> None:
    with reading("service.md", tmp_path) as reader:
        (command,) = [command for command, _ in reader.commands if ".tac" in command]
        reader.serve(command, "")
        with talk(f"ws://127.0.0.1:{reader.port}/") as client:
            client.send("Hello")
            assert client.recv(PATIENCE) == "Hello"
            reader.stop()
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(PATIENCE)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001


def test_units(tmp_path: Path) -> None:
    """systemd takes them, where it is there; and the command of the service starts a server."""
    with reading("service.md", tmp_path) as reader:
        units = reader.blocks("ini")
        parsed = [ConfigParser(interpolation=None) for _ in units]
        for parser, unit in zip(parsed, units, strict=True):
            parser.optionxform = str  # type: ignore[assignment,method-assign]
            parser.read_string(unit)
        (command,) = [parser["Service"]["ExecStart"] for parser in parsed if "Service" in parser]
        program, _, options = command.partition(" ")
        assert Path(program).name == "twistd"
        reader.serve(f"twistd {options}", "")
    systemd = find("systemd-analyze")
    if systemd is not None:
        files = []
        for parser, unit in zip(parsed, units, strict=True):
            kind = "service" if "Service" in parser else "socket"
            files.append(tmp_path / f"wsock.{kind}")
            # It looks whether the program is there.
            files[-1].write_text(unit.replace(program, shutil.which("true") or program))
        result = subprocess.run(
            [systemd, "verify", *files], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert [line for line in (result.stdout + result.stderr).splitlines() if "wsock" in line] == []


@pytest.mark.parametrize("page", PAGES)
def test_programs(page: str) -> None:
    """Each is Python, if not all of a program, and imports what is there."""
    for block in re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL):
        compile(block, page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("twisted", "wsock"):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    # To import the reactor installs one.
                    assert alias.name == "reactor" or hasattr(module, alias.name), f"{node.module} has no {alias.name}"


# Pages as a whole


def test_all_pages_are_in_the_sidebar() -> None:
    """Each is named once; Sphinx warns of a page that is in none, but not of two."""
    index = (DOCS / "index.md").read_text()
    listed = [
        f"{name}.md"
        for block in re.findall(r"^```\{toctree\}\n(.*?)^```$", index, re.MULTILINE | re.DOTALL)
        for name in re.findall(r"^[\w/-]+$", block, re.MULTILINE)
    ]
    below = [page for page in PAGES if page.startswith("reference/") and page != "reference/index.md"]
    assert sorted([*listed, "index.md", *below]) == PAGES


@pytest.mark.parametrize(
    "word",
    [
        *("reconnect", "self-signed", "routing", "heartbeat", "rate limit", "CORS", "timeout", "nginx", "haproxy"),
        *(
            "permessage-deflate",
            "CRIME",
            "systemd",
            "Docker",
            "asyncio",
            "pytest",
            "flushLoggedErrors",
            "1006",
            "403",
            "JavaScript",
            "LimitNOFILE",
        ),
    ],
)
def test_words_that_people_search_for(word: str) -> None:
    assert [page for page in PAGES if re.search(rf"\b{word}", (DOCS / page).read_text())]


def test_headings_of_frequent_searches() -> None:
    """These stand in a heading, since that is what a search shows."""
    headings = "\n".join(
        line for page in PAGES for line in (DOCS / page).read_text().splitlines() if re.match("#+ ", line)
    ).lower()
    for word in (
        "reconnect",
        "self-signed",
        "routing",
        "heartbeat",
        "keepalive",
        "rate limit",
        "cors",
        "origins",
        "timeout",
        "backpressure",
        "reverse proxy",
        "asyncio",
        "nginx",
        "compression",
    ):
        assert word in headings


#: A sentence that begins so keeps its reader waiting for a noun.
WITHOUT_NOUN = re.compile(r"(?:What|Who|Whoever|Else|Those|That which)\b")


def sentences(page: str) -> Iterator[str]:
    """The sentences of a page, its headings, items and cells; no code, but questions of the FAQ aside."""
    text = re.sub(r"^```.*?^```$|<!--.*?-->", "", page, flags=re.MULTILINE | re.DOTALL)
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) |#|\|)|(?<!\\)\|", text):
        begin = re.sub(r"^\s*(?:#+|[-*]|\d+\.) ", "", block)
        for sentence in re.split(r"(?<=[.!?:])[*)\"]*\s+", begin):
            yield sentence.strip(' \n*_("')


def test_the_first_noun_names_the_thing() -> None:
    pages = {"README.md": ROOT / "README.md", **{page: DOCS / page for page in PAGES}}
    found = []
    for name, page in pages.items():
        text = page.read_text(encoding="utf-8")
        for sentence in sentences(text):
            question = name == "faq.md" and sentence.endswith("?") and f"\n### {sentence}\n" in text
            # That heading is a question too, if a short one.
            if WITHOUT_NOUN.match(sentence) and not question:
                found.append(f"{name}: {sentence}")
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "What comes is read.",
        "Bytes come. Who sends them\nis known.",
        "- item\n- **Whoever** asks",
        "1. Else nothing",
        "| a | b |\n|---|---|\n| one | That which is left |",
        "# Title\n\n## What it is not",
        "**Note.** What is left",
    ],
)
def test_sentences_without_a_noun(text: str) -> None:
    """The test above would find each of these."""
    assert [sentence for sentence in sentences(text) if WITHOUT_NOUN.match(sentence)]


def test_links_to_headings() -> None:
    """Those from page to page lead to a heading that is there."""
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(([\w./-]*\.md)#([\w-]+)\)", (DOCS / page).read_text()):
            text = (DOCS / page).parent.joinpath(target).read_text()
            headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in slugs, f"{page} links to {target}#{anchor}"


def test_the_changelog() -> None:
    """The page has what no release has collected yet, each under its kind."""
    code = "import runpy, sys; print(runpy.run_path(sys.argv[1])['unreleased'](), end='')"
    line = [sys.executable, "-c", code, DOCS / "conf.py"]
    result = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE, check=True)
    sections = dict(re.findall(r"^### (\w+)\n\n((?:- .*\n)+)", result.stdout, re.MULTILINE))
    fragments = sorted((ROOT / "changelog.d").glob("*.md"))
    for fragment in fragments:
        kind = fragment.name.split(".")[-2].title()
        assert f"- {' '.join(fragment.read_text().split())}\n" in sections[kind]
    assert sum(section.count("\n- ") + 1 for section in sections.values()) == len(fragments)


# The protocol without I/O


def test_compression_without_io() -> None:
    """The programs of the page, one with the other."""
    page = (DOCS / "sansio.md").read_text()
    _, _, section = page.partition("\n## Compression")
    client, server, shared = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    offer, answer = client.split("# ... send the request, read the response\n")
    ours: dict[str, Any] = {}
    exec(offer, ours)
    exec(server, theirs := ours | {"request": http.RequestDecoder().decode(ours["request"].encode())})
    exec(answer, ours | {"response": http.ResponseDecoder().decode(theirs["response"].encode())})
    one, other = ours["connection"], theirs["connection"]
    # The bit of 0x40 is on the first byte of a frame that is compressed; the thousandth byte decides.
    for length, first in ((999, 0x81), (1000, 0xC1)):
        frame = b"".join(other.send_text("x" * length))
        assert frame[0] == first
        [event] = one.receive_data(frame)
        assert event.text == "x" * length
    exec(shared, theirs := theirs | {"connections": [other]})
    [event] = one.receive_data(b"".join(theirs["buffers"]))
    assert event.text == "news"


# Questions and answers


def test_the_client_that_reconnects() -> None:
    """The loop of the page: it goes on after a loss and after a refused attempt, with a wait that doubles."""
    page = (DOCS / "faq.md").read_text()
    (program,) = re.findall(r"^```python\n(async def stayConnected.*?)^```$", page, re.MULTILINE | re.DOTALL)
    agent = MemoryAgent(wsock.WebSocketServerFactory(lambda request: wsock.WebSocketProtocol()))
    said: list[object] = []
    names: dict[str, Any] = {
        "connect": lambda reactor, url: agent.connect(url),
        "deferLater": deferLater,
        "random": Random(),
        "print": lambda *words: said.append(words[0]),
        **{name: getattr(error, name) for name in ("ConnectError", "DNSLookupError", "TimeoutError")},
        "WebSocketError": wsock.WebSocketError,
    }
    exec(program, names)
    streams: list[wsock.WebSocketStream] = []

    async def handle(stream: wsock.WebSocketStream) -> None:
        streams.append(stream)
        async for _ in stream:
            pass

    running = Deferred.fromCoroutine(names["stayConnected"](agent.clock, "ws://localhost/", handle))
    agent.flush()
    assert len(streams) == 1
    # The server goes away, and so well that nobody complains; then it is not there for a time.
    agent.endpoint.refuse()
    streams[0].transport.abortConnection()
    waits: list[float] = []
    for _ in range(8):
        agent.flush()
        [call] = agent.clock.getDelayedCalls()
        waits.append(call.getTime() - agent.clock.seconds())
        agent.advance(waits[-1])
    for number, wait in enumerate(waits):
        usual = min(2**number, 30)
        assert 0.5 * usual <= wait <= 1.5 * usual
    assert len(said) == 9
    agent.endpoint.listen(wsock.WebSocketServerFactory(lambda request: wsock.WebSocketProtocol(), reactor=agent.clock))
    agent.advance(60)
    assert len(streams) == 2
    running.addErrback(lambda failure: None)
    running.cancel()
    agent.advance(60)


class Random:
    """In the place of the module."""

    @staticmethod
    def random() -> float:
        return 0.75


@pytest.mark.parametrize(
    ("missing", "status"), [("Upgrade: websocket", 426), ("Connection: Upgrade", 400), ("Host: localhost", 400)]
)
def test_what_a_proxy_may_leave_out(missing: str, status: int) -> None:
    lines = ["GET / HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade"]
    lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"]
    lines.remove(missing)
    pair = Pair(wsock.WebSocketServerFactory(lambda request: wsock.WebSocketProtocol()), ScriptedPeer())
    pair.client.send("\r\n".join([*lines, "", ""]).encode())
    pair.flush()
    assert pair.client.answer().status == status


def test_the_origin_rule_knows_no_hosts() -> None:
    """As the page about security says: a name that leads here is taken for ours, unless the hosts are listed."""
    page = (DOCS / "howto/security.md").read_text()
    (hosts,) = re.findall(r"^await serve\(.*allowedHosts=(\[.*\])\)$", page, re.MULTILINE)

    def status(host: str, **rules: Any) -> int:
        pair = Pair(wsock.WebSocketServerFactory(lambda request: wsock.WebSocketProtocol(), **rules), ScriptedPeer())
        pair.client.open(f"ws://{host}/", headers=[("Origin", f"http://{host}")])
        pair.flush()
        return int(pair.client.answer().status)

    assert status("evil.example:8080") == 101
    assert status("evil.example:8080", allowedHosts=ast.literal_eval(hosts)) == 421
    assert status("localhost:8080", allowedHosts=ast.literal_eval(hosts)) == 101


@pytest.mark.parametrize("page", ["README.md", "docs/service.md"])
def test_the_first_line_of_the_server(page: str) -> None:
    """It names the version that a reader gets."""
    shown = re.findall(r"^wsock (\S+) \((\w+) core\), Twisted \d", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    assert shown == [(wsock.__version__, "compiled")]
