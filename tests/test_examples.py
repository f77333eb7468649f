"""The examples and the README's programs, as a user runs them: each in a process of its own."""

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tools import free_port, require
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

import wsock

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
#: The same wsock that this process tests, and what examples import from each other.
PATHS = [str(Path(wsock.__file__).parents[1]), str(EXAMPLES)]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(PATHS)}
#: How long a program may take for what it does at once, in seconds.
PATIENCE = 30
PROGRAMS = [file.relative_to(EXAMPLES).as_posix() for file in sorted(EXAMPLES.rglob("*.py"))]


class Server:
    """A program that runs until a signal ends it.

    Attributes:
        url: where it listens: what it says first, unless it listens on a port that it was told.
    """

    def __init__(self, command: list[Any], port: int | None = None) -> None:
        # A pipe that nobody reads would hold up a program that logs much.
        self._complaints = tempfile.NamedTemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
        )
        self.url = "" if port is None else f"ws://127.0.0.1:{port}/"

    def wait(self) -> None:
        """Waits until it listens."""
        if self.url:
            wait_for(urlsplit(self.url).port or 0)
        else:
            assert self.process.stdout is not None
            self.url = self.process.stdout.readline().strip()
            assert self.url, self.log()

    def log(self) -> str:
        """The text of its standard error so far."""
        return Path(self._complaints.name).read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()
        self._complaints.close()

    def end(self, number: int = signal.SIGTERM) -> None:
        """Sends it a signal; it has to end well, and to have said nothing but the lines of a log without a failure."""
        if self.process.returncode is None:
            self.process.send_signal(number)
            said, _ = self.process.communicate(timeout=PATIENCE)
            # A program without a reactor is ended by the signal itself.
            assert self.process.returncode in (0, -number)
            for text in (said, self.log()):
                assert re.fullmatch(r"([0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9:]{8}[-+][0-9]{4} \[.*\n)*", text), text
                assert "#critical" not in text
                assert "Unhandled" not in text


def wait_for(port: int) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < end, f"nothing listens on port {port}"
            time.sleep(0.05)
        else:
            return


Start = Callable[..., Server]


@contextlib.contextmanager
def starting() -> Iterator[Start]:
    """Gives a function that starts a server: start(FILE, ARGUMENT...). In the end it obeys SIGTERM."""
    servers: list[Server] = []

    def start(file: str, *arguments: object, port: int | None = None) -> Server:
        servers.append(Server([EXAMPLES / file, *arguments], port))
        servers[-1].wait()
        return servers[-1]

    try:
        yield start
        for server in servers:
            server.end()
    finally:
        for server in servers:
            server.kill()


@pytest.fixture
def start() -> Iterator[Start]:
    """As `starting`."""
    with starting() as start:
        yield start


def run(*command: object, cwd: Path | None = None) -> tuple[str, str, int]:
    """Runs a program that ends by itself; returns what it said on both of its outputs, and its exit status."""
    line = [sys.executable, *map(str, command)]
    result = subprocess.run(
        line, env=ENVIRONMENT, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    return result.stdout, result.stderr, result.returncode


def talk(url: str, **arguments: Any) -> ClientConnection:
    """Connects a client that is not ours; without a proxy that the environment may name."""
    parts = urlsplit(url)
    sock = socket.create_connection((parts.hostname, parts.port), PATIENCE)
    return connect(url, sock=sock, **arguments)


def status_of(url: str, **arguments: Any) -> tuple[int, bytes, Any]:
    """The status, the body and the headers of a refusal."""
    with pytest.raises(InvalidStatus) as refused:
        talk(url, **arguments)
    response = refused.value.response
    return response.status_code, bytes(response.body or b""), response.headers


# All of them


@pytest.mark.parametrize("name", PROGRAMS)
def test_they_are_short(name: str) -> None:
    assert len((EXAMPLES / name).read_text().splitlines()) <= 40


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_is_run_here(name: str) -> None:
    source = Path(__file__).read_text()
    stem = name.removesuffix(".py")
    # Those of the pages about limits and the like have a file of tests of their own.
    others = Path(__file__).with_name("test_howto.py").read_text()
    assert (
        f'"{name}"' in source + others
        or f'"{stem}"' in source
        or f'start("{stem.removeprefix("howto/")}"' in others
        or f'start("{name}"' in others
    )


# On Twisted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_echo_server(start: Start, number: int) -> None:
    server = start("echo_server.py", 0)
    with talk(server.url) as client:
        for message in ("Hello", b"\x00\xff", ""):
            client.send(message)
            assert client.recv(PATIENCE) == message
        server.end(number)
        assert server.process.returncode == 0
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(PATIENCE)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001


def test_echo_server_on_a_given_host(start: Start) -> None:
    server = start("echo_server.py", 0, "localhost")
    assert server.url.startswith("ws://127.0.0.1:")
    with talk(server.url) as client:
        client.send("Hello")
        assert client.recv(PATIENCE) == "Hello"


def test_client_await(start: Start) -> None:
    server = start("echo_server.py", 0)
    output = "received: one\nreceived: two\nreceived: three\nclosed: Close(code=1000, reason='')\n"
    assert run(EXAMPLES / "client_await.py", server.url) == (output, "", 0)


def test_client_callbacks(start: Start) -> None:
    server = start("echo_server.py", 0)
    output = "received: Hello\nclosed with 1000\n"
    assert run(EXAMPLES / "client_callbacks.py", server.url) == (output, "", 0)


def test_client_callbacks_is_refused(start: Start) -> None:
    server = start("howto/stream_server.py", 0)
    url = server.url.replace("/sums", "/products")
    output = "no connection: the server answered 404 Not Found\n"
    assert run(EXAMPLES / "client_callbacks.py", url) == (output, "", 0)


def test_client_callbacks_where_nobody_listens() -> None:
    output, complaints, status = run(EXAMPLES / "client_callbacks.py", f"ws://127.0.0.1:{free_port()}/")
    assert (complaints, status) == ("", 0)
    assert output.startswith("no connection: Connection was refused")


def test_chat(start: Start) -> None:
    server = start("chat.py", 0)
    with talk(f"{server.url}Ann") as ann:
        assert ann.recv(PATIENCE) == "Ann comes in"
        with talk(f"{server.url}Bo%20B") as bob:
            for member in (ann, bob):
                assert member.recv(PATIENCE) == "Bo B comes in"
            bob.send("Hello")
            for member in (ann, bob):
                assert member.recv(PATIENCE) == "Bo B says: Hello"
        assert ann.recv(PATIENCE) == "Bo B has left"
        ann.send("Alone again")
        assert ann.recv(PATIENCE) == "Ann says: Alone again"


def test_page_server(start: Start) -> None:
    """Its page is run by a browser in integration/test_browser_page.py."""
    server = start("page_server.py", 0)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(server.url, timeout=PATIENCE) as answer:
        assert answer.headers["Content-Type"] == "text/html"
        assert answer.read() == (EXAMPLES / "page.html").read_bytes()
    with talk(server.url.replace("http://", "ws://")) as client:
        client.send("Hello")
        assert client.recv(PATIENCE) == "Hello"


@pytest.mark.peer
def test_tls(start: Start, tmp_path: Path) -> None:
    """With a key and a certificate that the documentation's command makes."""
    page = (ROOT / "docs/howto/tls.md").read_text()
    (command,) = re.findall(r"^openssl req .*$", page.replace("\\\n", " "), re.MULTILINE)
    require("openssl")
    subprocess.run(shlex.split(command), cwd=tmp_path, check=True, capture_output=True, timeout=PATIENCE)
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    server = start("tls_server.py", certificate, key, 0)
    for host in ("127.0.0.1", "localhost"):
        url = server.url.replace("127.0.0.1", host)
        assert run(EXAMPLES / "tls_client.py", certificate, url) == ("received: Hello\n", "", 0)
    # Another certificate is not trusted, whatever it says that it is.
    (tmp_path / "other").mkdir()
    subprocess.run(shlex.split(command), cwd=tmp_path / "other", check=True, capture_output=True, timeout=PATIENCE)
    output, complaints, status = run(EXAMPLES / "tls_client.py", tmp_path / "other" / "cert.pem", server.url)
    assert (output, status) == ("", 1)
    assert complaints.startswith("no connection: ")
    assert "certificate verify failed" in complaints
    # Where nobody listens it is the endpoint that says so.
    url = f"wss://127.0.0.1:{free_port()}/"
    output, complaints, status = run(EXAMPLES / "tls_client.py", certificate, url)
    assert (output, status) == ("", 1)
    assert complaints.startswith("no connection: Connection was refused")


def test_subprotocols(start: Start) -> None:
    server = start("howto/subprotocols.py", 0)
    with talk(server.url, subprotocols=["sum.text", "unknown", "sum.json"]) as client:
        assert client.subprotocol == "sum.json"
        client.send("[1, 2, 3.5]")
        assert client.recv(PATIENCE) == '{"sum": 6.5}'
    with talk(server.url, subprotocols=["sum.text"]) as client:
        assert client.subprotocol == "sum.text"
        client.send("1 2 3")
        assert client.recv(PATIENCE) == "6"
    status, body, _ = status_of(server.url, subprotocols=["unknown"])
    assert (status, body) == (400, b"Offer sum.json or sum.text as a subprotocol.")


def test_authentication(start: Start) -> None:
    server = start("howto/authentication.py", 0)
    password, token = "Basic YWRhOjJmMWRiYmI5Yzc=", "Bearer mF_9.B5f-4.1JqM"
    for path, credentials, name in (
        ("", password, "ada"),
        ("api", token, "robot"),
        ("both", password, "ada"),
        ("both", token, "robot"),
        ("open", password, "ada"),
        ("open", None, "guest"),
    ):
        headers = {} if credentials is None else {"Authorization": credentials}
        with talk(server.url + path, additional_headers=headers, origin="https://example.com") as client:
            assert client.recv(PATIENCE) == f"Hello {name}"
            client.send("Good day")
            assert client.recv(PATIENCE) == f"{name} said: Good day"
    with talk(f"{server.url}api", subprotocols=["bearer", "bearer.bUZfOS5CNWYtNC4xSnFN"]) as client:
        assert client.recv(PATIENCE) == "Hello robot"
        assert client.subprotocol == "bearer"
    basic = 'Basic realm="greetings", charset="UTF-8"'
    for path, credentials, challenge in (
        ("", "", basic),
        ("", token, basic),
        ("", "Basic YWRhOng=", basic),
        ("api", "", 'Bearer realm="greetings"'),
        ("api", "Bearer x", 'Bearer realm="greetings", error="invalid_token"'),
        ("both", "", 'Basic realm="wsock", charset="UTF-8"'),
        ("open", "Basic YWRhOng=", 'Basic realm="wsock", charset="UTF-8"'),
    ):
        headers = {"Authorization": credentials} if credentials else {}
        status, _, fields = status_of(server.url + path, additional_headers=headers)
        assert (status, fields["WWW-Authenticate"]) == (401, challenge)
    headers = {"Authorization": password}
    assert status_of(server.url, additional_headers=headers, origin="https://example.org")[0] == 403
    assert "YWRhO" not in server.log()


def test_authentication_by_cred(start: Start) -> None:
    server = start("howto/cred.py", 0)
    with talk(server.url, additional_headers={"Authorization": "Basic YWRhOjJmMWRiYmI5Yzc="}) as client:
        assert client.recv(PATIENCE) == "Welcome, player ada"
    end = time.monotonic() + PATIENCE
    while "ada has left" not in server.log():
        assert time.monotonic() < end, server.log()
        time.sleep(0.02)
    assert status_of(server.url)[0] == 401


def test_the_page_about_authentication() -> None:
    page = (ROOT / "docs/howto/authentication.md").read_text()
    assert "../../examples/howto/authentication.py" in page
    assert "../../examples/howto/cred.py" in page


def test_stream_server(start: Start) -> None:
    server = start("howto/stream_server.py", 0)
    with talk(server.url) as client:
        for question, answer in (("How many numbers?", "2"), ("Number 1?", "40"), ("Number 2?", "2")):
            assert client.recv(PATIENCE) == question
            client.send(answer)
        assert client.recv(PATIENCE) == "The sum is 42."
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(PATIENCE)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1000
    assert status_of(server.url.replace("/sums", "/"))[0] == 404


@pytest.mark.parametrize("name", ["test_echo_server", "testing"])
def test_tests(tmp_path: Path, name: str) -> None:
    output, complaints, status = run("-m", "twisted.trial", name, cwd=tmp_path)
    assert (complaints, status) == ("", 0)
    assert "PASSED" in output


def pytest_says(folder: Path, *options: object) -> str:
    """Runs pytest without the settings of this project; returns what it says last."""
    output, complaints, _ = run("-m", "pytest", "-q", "--rootdir", folder, "-c", os.devnull, *options, cwd=folder)
    assert complaints == ""
    return output


@pytest.mark.slow
def test_with_pytest(tmp_path: Path) -> None:
    """The fixtures of the page: they find what a test logs, and let a test take it out."""
    assert "1 passed" in pytest_says(tmp_path, "-p", "no:pytest_twisted", EXAMPLES / "test_with_pytest.py")
    page = (ROOT / "docs/howto/testing.md").read_text()
    (test,) = re.findall(r"^```python\n(def test_it_fails\(logged\).*?)^```$", page, re.MULTILINE | re.DOTALL)
    program = f"""
from test_with_pytest import agent, logged, run
agent.endpoint.listen(__import__("wsock").WebSocketServerFactory(lambda request: Failing(), reactor=agent.clock))

class Failing(__import__("wsock").WebSocketProtocol):
    def textMessageReceived(self, message):
        raise ValueError("as you wish")

streams = []
agent.connect().addCallback(streams.append)
agent.flush()
[stream] = streams

{test}"""
    (tmp_path / "test_taken.py").write_text(program)
    (tmp_path / "test_left.py").write_text(program.replace("logged.clear()", "pass"))
    assert "1 passed" in pytest_says(tmp_path, "-p", "no:pytest_twisted", "test_taken.py")
    assert "as you wish" in (said := pytest_says(tmp_path, "-p", "no:pytest_twisted", "test_left.py"))
    assert "1 passed, 1 error" in said


def test_with_trial(tmp_path: Path) -> None:
    page = (ROOT / "docs/howto/testing.md").read_text()
    (test,) = re.findall(r"^```python\n(def test_it_fails\(self\).*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "test_taken.py").write_text(
        f"""
import test_echo_server

class Failing(test_echo_server.Echo):
    def textMessageReceived(self, message):
        raise ValueError("as you wish")

class Tests(test_echo_server.EchoTests):
    def setUp(self):
        self.patch(test_echo_server, "Echo", Failing)
        super().setUp()
    test_text = None
{textwrap.indent(test, "    ")}"""
    )
    output, complaints, status = run("-m", "twisted.trial", "test_taken.Tests.test_it_fails", cwd=tmp_path)
    assert (complaints, status) == ("", 0)
    assert "PASSED" in output


@pytest.mark.slow
def test_with_pytest_twisted(tmp_path: Path) -> None:
    page = (ROOT / "docs/howto/testing.md").read_text()
    (test,) = re.findall(r"^```python\n(@pytest_twisted.*?)^```$", page, re.MULTILINE | re.DOTALL)
    imports = """
import pytest_twisted
from echo_server import Echo
from wsock import connect, serve

"""
    (tmp_path / "test_sockets.py").write_text(imports + test)
    for reactor in ("default", "asyncio"):
        assert "1 passed" in pytest_says(tmp_path, f"--reactor={reactor}", "test_sockets.py")


# On plain sockets


@pytest.fixture
def plain(start: Start) -> Server:
    port = free_port()
    return start("sansio_server.py", port, port=port)


def test_client_and_server_without_twisted(plain: Server) -> None:
    for _ in range(2):
        result = run(EXAMPLES / "sansio_client.py", f"{plain.url}echo")
        assert result == ("text: Hello\nclosed: 1000 \n", "", 0)


def test_the_server_refuses_what_is_no_websocket(plain: Server) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(plain.url).port or 0), PATIENCE) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b"".join(iter(lambda: peer.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 426 ")


# In the README


def test_readme(start: Start, tmp_path: Path) -> None:
    """Its server and its client, against each other."""
    port = free_port()
    server, client = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    for name, program in (("server.py", server), ("client.py", client)):
        assert program.count("8080") == 1
        (tmp_path / name).write_text(program.replace("8080", str(port)))
    served = start(tmp_path / "server.py", port=port)
    assert run(tmp_path / "client.py") == ("Hello\n", "", 0)
    assert status_of(served.url, origin="http://localhost:5173")[0] == 403
    assert served.process.stdout is not None
    line = next(line for line in served.process.stdout if "refused" in line)
    assert "Origin http://localhost:5173 is not allowed for Host" in line
    with talk(served.url) as peer:
        served.end(signal.SIGINT)
        with pytest.raises(ConnectionClosed) as closed:
            peer.recv(PATIENCE)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001


@pytest.mark.parametrize("name", [name for name in PROGRAMS if "await serve(" in (EXAMPLES / name).read_text()])
def test_a_page_that_is_refused(start: Start, name: str) -> None:
    """The log tells the owner of a server why a page of another port can't connect."""
    if "accessLog" in (EXAMPLES / name).read_text():
        # It has that in its records: test_howto has a test of it.
        return
    if name == "tls_server.py":
        # It differs in nothing that matters here but needs a certificate.
        assert "startLogging(sys.stderr, setStdout=False)" in (EXAMPLES / name).read_text()
        return
    server = start(name, 0)
    path = "echo" if name == "howto/routing.py" else ""
    assert status_of(server.url.replace("http://", "ws://") + path, origin="http://localhost:5173")[0] == 403
    host = f"for Host {urlsplit(server.url).netloc} " if name != "howto/authentication.py" else ""
    end = time.monotonic() + PATIENCE
    while f"with 403: Origin http://localhost:5173 is not allowed {host}(allowedOrigins)\n" not in server.log():
        assert time.monotonic() < end, server.log()
        time.sleep(0.02)
