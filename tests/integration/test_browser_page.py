"""The page of the tutorial's second part, in Chromium, and its server."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.peer import within
from integration.process import Inspector, browse
from test_examples import ENVIRONMENT, EXAMPLES, PATIENCE, Server, wait_for
from tools import free_port

#: Has the page wait no longer than it must, and note how long it meant to.
HURRY = "waits = []; later = setTimeout; window.setTimeout = (call, wait) => later(call, waits.push(wait) && 0)"
#: Has the page note each status that it shows: one that it soon leaves may never be seen from outside.
WATCH = "shown = []; new MutationObserver(() => shown.push(state.value)).observe(state, {childList: true})"

pytestmark = [pytest.mark.peer, pytest.mark.slow]


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server([EXAMPLES / "page_server.py", 0])
    server.wait()
    yield server
    server.kill()


@pytest.fixture
def page(server: Server, tmp_path: Path) -> Iterator[Inspector]:
    with browse(server.url, tmp_path / "profile") as page:
        shows(page, "connected")
        yield page


def shows(page: Inspector, status: str) -> None:
    within(PATIENCE, lambda: page("document.getElementById('status').value") == status, f"the status is {status}")


def log(page: Inspector) -> object:
    return page("[...document.querySelectorAll('#log li')].map((item) => item.textContent).join('\\n')")


def send(page: Inspector, text: str) -> None:
    """As one who types, and presses Enter."""
    page("document.getElementById('message').focus()")
    page.call("Input.insertText", text=text)
    page.call("Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r")
    page.call("Input.dispatchKeyEvent", type="keyUp", key="Enter", code="Enter", windowsVirtualKeyCode=13)


def test_it_sends_and_receives(page: Inspector) -> None:
    send(page, "<b>one")
    within(PATIENCE, lambda: log(page) == "received: <b>one", "the echo is shown")
    assert page("document.getElementById('message').value") == ""
    send(page, "two")
    within(PATIENCE, lambda: log(page) == "received: <b>one\nreceived: two", "the next is shown")
    assert page.complaints == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_reconnects(server: Server, page: Inspector, number: int) -> None:
    """To a server that was restarted on the same port, whether it said farewell or not."""
    port = int(re.findall(r":(\d+)/", server.url)[0])
    page(WATCH)
    server.process.send_signal(number)
    server.process.wait(PATIENCE)
    code = 1001 if number == signal.SIGTERM else 1006
    within(PATIENCE, lambda: page("shown[0]") == f"closed with {code} ", f"it was closed with {code}")
    again = Server([EXAMPLES / "page_server.py", port], port)
    try:
        again.wait()
        shows(page, "connected")
        send(page, "still here")
        within(PATIENCE, lambda: log(page) == "received: still here", "the echo is shown")
    finally:
        again.kill()


def test_it_waits_longer_each_time(server: Server, page: Inspector) -> None:
    page(HURRY)
    server.process.kill()
    within(PATIENCE, lambda: page("waits.length >= 8"), "it tries again and again")
    for number in range(8):
        usual = min(1000 * 2**number, 30000)
        assert page(f"waits[{number}] >= {0.5 * usual} && waits[{number}] <= {1.5 * usual}")


#: A server that closes a connection with the code that a message says.
CLOSES = """
import sys
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import File
import wsock

class Application(wsock.WebSocketProtocol):
    def textMessageReceived(self, message):
        self.transport.loseConnection(int(message), "as you wish")

pages = Resource()
pages.putChild(b"", File(sys.argv[2]))
factory = wsock.WebSocketServerFactory(lambda request: Application(), fallback=Site(pages))
serverFromString(reactor, f"tcp:{sys.argv[1]}:interface=127.0.0.1").listen(factory)
reactor.run()
"""


def test_it_reconnects_where_that_may_help(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", CLOSES, str(port), EXAMPLES / "page.html"]
    with subprocess.Popen(command, env=ENVIRONMENT) as process:
        try:
            wait_for(port)
            with browse(f"http://127.0.0.1:{port}/", tmp_path / "profile") as page:
                shows(page, "connected")
                page(HURRY)
                for number, code in enumerate((1001, 1011, 1012, 1013), 1):
                    send(page, str(code))
                    within(PATIENCE, lambda number=number: page("waits.length") == number, "it tries again")
                    shows(page, "connected")
                # It was connected in between, so that each is a first attempt.
                assert page("Math.min(...waits) >= 500 && Math.max(...waits) <= 1500")
                send(page, "1008")
                shows(page, "closed with 1008 as you wish")
                assert page("waits.length") == 4
        finally:
            process.kill()


def test_a_page_from_elsewhere(server: Server, tmp_path: Path) -> None:
    """It is refused with 403, of which it sees 1006, and the log says what to allow."""
    text = (EXAMPLES / "page.html").read_text()
    (tmp_path / "page.html").write_text(text.replace("location.origin", f'"{server.url[:-1]}"'))
    port = free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(tmp_path), str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as other:
        try:
            wait_for(port)
            with browse(f"http://127.0.0.1:{port}/page.html", tmp_path / "profile") as page:
                shows(page, "closed with 1006 ")
        finally:
            other.kill()
    line = f"with 403: Origin http://127.0.0.1:{port} is not allowed for Host {server.url[7:-1]} (allowedOrigins)"
    within(PATIENCE, lambda: line in server.log(), "the log says so")
