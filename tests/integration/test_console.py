"""The console of `twistd wsock`, in Chromium."""

import base64
import hashlib
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.peer import within
from integration.process import Inspector, Twistd, browse

LOOPBACK = "tcp:0:interface=127.0.0.1"
#: How long the page may take for what it must do at once, in seconds.
PATIENCE = 30
KEYS = {"Enter": 13, "Tab": 9, "End": 35, "Home": 36, "ArrowUp": 38, "ArrowDown": 40}
SHIFT = 8
REFUSED = (
    "1006 abnormal closure, not clean: the server refused the connection, or it can’t be reached. "
    "Pages are not told why; the browser’s developer tools may know more."
)


class Console:
    """The page, as its user has it: with keys for the hands, and the log for the eyes."""

    def __init__(self, page: Inspector, port: int) -> None:
        self.page = page
        self.url = f"ws://127.0.0.1:{port}"

    def value(self, name: str, of: str = "value") -> object:
        """A property of an element, by its id."""
        return self.page(f"document.getElementById({json.dumps(name)}).{of}")

    def set(self, name: str, value: object, of: str = "value") -> None:
        self.page(f"document.getElementById({json.dumps(name)}).{of} = {json.dumps(value)}")

    def click(self, name: str) -> None:
        self.page(f"document.getElementById({json.dumps(name)}).click()")

    def focus(self, name: str) -> None:
        self.page(f"document.getElementById({json.dumps(name)}).focus()")

    def type(self, text: str) -> None:
        """Types where the focus is."""
        self.page.call("Input.insertText", text=text)

    def press(self, key: str, modifiers: int = 0) -> None:
        what = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key], "modifiers": modifiers}
        text = {"text": "\r"} if key == "Enter" else {}
        self.page.call("Input.dispatchKeyEvent", type="keyDown", **what, **text)
        self.page.call("Input.dispatchKeyEvent", type="keyUp", **what)

    def send(self, text: str) -> None:
        self.set("message", text)
        self.click("send")

    def connect(self, url: str) -> None:
        self.set("url", url)
        self.click("toggle")

    def shows(self, status: str) -> None:
        within(PATIENCE, lambda: self.value("status", "textContent") == status, f"the status is {status}")

    def log(self, part: str = "text") -> list[str]:
        """What kind each entry is, and one of its parts."""
        script = (
            "JSON.stringify([...document.querySelectorAll('.entry')].map((entry) => "
            f"['.kind', '.{part}'].map((name) => entry.querySelector(name)?.textContent ?? '').join(' ')))"
        )
        return list(json.loads(str(self.page(script))))

    def tells(self, beginning: str, words: str = "") -> None:
        """Waits until the last entry begins so, and has these words."""

        def found() -> bool:
            last = "".join(self.log()[-1:])
            return last.startswith(beginning) and words in last

        within(PATIENCE, found, f"the log tells: {beginning} {words}")

    def logs(self, *lines: str) -> None:
        """Waits until these are the last entries."""
        within(PATIENCE, lambda: self.log()[-len(lines) :] == [*lines], f"the log ends in {lines}")


@pytest.fixture(scope="module")
def twistd() -> Iterator[Twistd]:
    with Twistd("--port", LOOPBACK) as twistd:
        yield twistd


@pytest.fixture(scope="module")
def browser(twistd: Twistd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inspector]:
    with browse(f"http://127.0.0.1:{twistd.ports[0]}/", tmp_path_factory.mktemp("browser") / "profile") as page:
        yield page


def visit(page: Inspector, twistd: Twistd) -> Console:
    """Opens the console anew, and waits until it has connected by itself."""
    page("window.old = true")
    page.call("Page.navigate", url=f"http://127.0.0.1:{twistd.ports[0]}/?token=hunter2")
    console = Console(page, twistd.ports[0])
    within(PATIENCE, lambda: page("window.old || document.readyState") == "complete", "the page is loaded")
    console.shows("Connected")
    console.logs(f"connecting to {console.url}/echo", "open no subprotocol, no extensions")
    page.complaints.clear()
    return console


@pytest.fixture
def console(browser: Inspector, twistd: Twistd) -> Iterator[Console]:
    """The console, connected. It has nothing to complain about, when it is opened and when the test is over."""
    console = visit(browser, twistd)
    yield console
    browser.call("Emulation.clearDeviceMetricsOverride")
    assert browser("document.title") == "wsock console"
    assert browser.complaints == []


def test_the_first_visit(twistd: Twistd, tmp_path: Path) -> None:
    """It connects by itself, and who types sees the echo. No policy was in its way, and nothing else failed."""
    with browse(f"http://127.0.0.1:{twistd.ports[0]}/", tmp_path / "profile") as page:
        console = Console(page, twistd.ports[0])
        console.shows("Connected")
        assert console.value("url") == f"{console.url}/echo"
        assert page("getComputedStyle(document.body).display") == "flex"
        assert page("document.activeElement.id") == "message"
        console.type("<b>\u20ac")
        console.press("Enter")
        console.logs(
            f"connecting to {console.url}/echo",
            "open no subprotocol, no extensions",
            "sent <b>\u20ac",
            "received <b>\u20ac",
        )
        assert console.log("size")[2:] == ["sent 6 bytes", "received 6 bytes"]
        for line in console.log("entry time"):
            assert re.fullmatch(r"\w+ \d\d:\d\d:\d\d\.\d{3}", line)
        assert console.value("message") == ""
        assert console.value("counts", "textContent") == "1 sent, 1 received"
        assert page.complaints == []


def test_lines_and_the_keys_that_recall(console: Console) -> None:
    console.focus("message")
    console.type("one")
    console.press("Enter", SHIFT)
    console.type("line more")
    console.press("Enter")
    console.logs("sent one\nline more", "received one\nline more")
    console.press("Enter")
    console.logs("sent empty", "received empty")
    for before in ("empty", "two"):
        console.type("two")
        console.press("Enter")
        console.logs(f"received {before}", "sent two", "received two")

    def recalled(*keys: str) -> list[object]:
        found = []
        for key in keys:
            console.press(key)
            found.append(console.value("message"))
        return found

    # The same twice is there once, what is empty not at all; at either end nothing moves.
    up, down = "ArrowUp", "ArrowDown"
    assert recalled(down, up, up, up) == ["", "two", "one\nline more", "one\nline more"]
    assert recalled(down, down, down, up) == ["two", "", "", "two"]
    # Nor when somebody has written something.
    console.type("!")
    assert recalled(up, down) == ["two!", "two!"]
    # Within lines the arrows move the caret.
    console.set("message", "")
    assert recalled(up, up, "Home", up, "Home", up) == ["two"] + ["one\nline more"] * 5
    assert console.value("message", "selectionStart") == 0


def test_binary_messages(console: Console) -> None:
    console.click("binary")
    console.send("00 7E7f\n20 41 ff")
    console.logs(*(f"{kind} 0000  00 7e 7f 20 41 ff{' ' * 8}.~. A." for kind in ("sent", "received")))
    assert console.log("size")[-1] == "received 6 bytes\nbinary"
    console.send(bytes(range(256)).hex() * 4)
    within(PATIENCE, lambda: len(console.log()) == 6, "the echo is there")
    lines = console.log()[-1].splitlines()
    assert lines[0] == "received 0000  00 01 02 03 04 05 06 07  ........"
    assert lines[8] == "0040  40 41 42 43 44 45 46 47  @ABCDEFG"
    assert lines[32:] == ["\u2026 and 768 bytes more"]
    console.send("")
    console.logs("sent empty", "received empty")
    for text in ("0", "0g", "0x00"):
        console.send(text)
        console.logs("error Nothing was sent: a binary message is written in hex, such as 48 65 6c 6c 6f")
        assert console.value("message") == text
        console.click("clear")
    # What was sent as hex is recalled as such.
    console.click("binary")
    console.set("message", "")
    console.focus("message")
    console.press("ArrowUp")
    assert console.value("binary", "checked") is True


def test_long_messages_are_shown_in_part(console: Console) -> None:
    """And not cut within a character."""
    text = "a" + "\U0001f9e6" * 5000
    console.send(text)
    within(PATIENCE, lambda: len(console.log()) == 4, "the echo is there")
    assert console.log()[-1] == f"received {text[:2000]}\n\u2026 and {2 * 3001:,} characters more"
    assert console.log("size")[-1] == "received 20,001 bytes"


@pytest.mark.parametrize("how", ["clipboard", "selection"])
def test_copying(console: Console, how: str) -> None:
    """By the browser's clipboard, and where a page has none by an old way. The arrow keys go from one to the next."""
    clipboard = "{writeText: async (text) => { window.copied = text; }}" if how == "clipboard" else "undefined"
    console.page(f"Object.defineProperty(navigator, 'clipboard', {{value: {clipboard}}})")
    console.page("document.addEventListener('copy', () => { window.copied = document.activeElement.value; })")
    # What a button says does not stay for long.
    console.page(
        "window.said = [];"
        "new MutationObserver((changes) => changes.forEach(({target}) => said.push(target.ariaLabel)))"
        ".observe(document, {subtree: true, attributeFilter: ['aria-label']})"
    )
    text = "0123456789" * 500
    console.send(text)
    console.tells("received 0123")
    console.click("binary")
    console.send("0aFF")
    console.tells("received 0000  0a ff")
    console.focus("log")
    for keys, copied in [(["Tab"], "0a ff"), (["ArrowUp", "ArrowUp"], text), (["End"], "0a ff"), (["Home"], text)]:
        for key in keys:
            console.press(key)
        console.page("window.copied = null; window.said = []")
        console.press("Enter")
        within(PATIENCE, lambda copied=copied: console.page("window.copied") == copied, "it is copied")
        within(PATIENCE, lambda: console.page("said.includes('Copied')"), "the button says so")


def test_a_path_where_nothing_is(console: Console) -> None:
    console.click("toggle")
    console.shows("Disconnected")
    console.connect("/nonesuch")
    console.logs(f"connecting to {console.url}/nonesuch", f"closed {REFUSED}")
    console.shows("Disconnected")
    # What the browser says of it to developers, and nothing of ours.
    (complaint,) = console.page.complaints
    assert f"WebSocket connection to '{console.url}/nonesuch' failed" in complaint
    console.page.complaints.clear()
    console.send("lost")
    console.logs("error Not connected: nothing was sent.")
    assert console.value("message") == "lost"
    assert console.value("send", "ariaDisabled") == "true"


def test_a_port_where_nobody_listens(console: Console) -> None:
    console.click("toggle")
    console.shows("Disconnected")
    with socket.socket() as holder:
        # Bound, so that nobody else takes it; but it does not listen.
        holder.bind(("127.0.0.1", 0))
        console.connect(f"ws://127.0.0.1:{holder.getsockname()[1]}")
        console.logs(f"closed {REFUSED}")
    console.page.complaints.clear()


def test_disconnecting(console: Console) -> None:
    console.click("toggle")
    console.logs("closing with 1000 normal closure", "closed 1000 normal closure, clean")
    console.shows("Disconnected")
    console.click("toggle")
    console.shows("Connected")
    console.set("code", "")
    console.click("toggle")
    console.logs("closing without a code", "closed 1005 no status received, clean")


def test_codes_and_reasons(console: Console) -> None:
    """Of what a browser refuses the log has the browser's own words, and the connection stays."""
    for code, reason, words in [
        ("1001", "", "1001 is neither"),
        ("2999", "", "2999 is neither"),
        ("5000", "", "5000 is neither"),
        ("4000", "\u20ac" * 42, "123"),
        ("many", "", "The close code is a number, not many"),
        ("", "why", "A close reason needs a close code"),
    ]:
        console.set("code", code)
        console.set("reason", reason)
        console.click("toggle")
        console.tells("error Can’t disconnect: ", words)
        assert console.value("status", "textContent") == "Connected"
    reason = "\u20ac" * 41
    console.set("reason", reason)
    console.set("code", "4999")
    console.set("options", True, of="open")
    console.focus("reason")
    console.press("Enter")
    # Our server answers with the code alone.
    console.logs(f"closing with 4999 private use, \u201c{reason}\u201d", "closed 4999 private use, clean")


def test_urls_and_subprotocols(console: Console) -> None:
    console.click("toggle")
    console.shows("Disconnected")
    for url, subprotocols, words in [
        ("gopher://127.0.0.1/", "", "gopher"),
        ("ws://[", "", "URL"),
        ("localhost:8080/echo", "", "localhost"),
        ("/echo#part", "", "fragment"),
        ("/echo", "chat, chat", "chat"),
        ("/echo", "a b", "a b"),
    ]:
        console.set("subprotocols", subprotocols)
        console.connect(url)
        console.tells("error Can’t connect: ", words)
        assert console.value("status", "textContent") == "Disconnected"
        console.click("clear")
    console.set("subprotocols", " chat , other ,")
    for url in ("/echo", "echo?a=b", f" {console.url}/echo", f"//{console.url[5:]}/echo"):
        console.connect(url)
        console.shows("Connected")
        target = f"{console.url}/{url.strip().rpartition('/')[2]}"
        console.logs(f"connecting to {target}", "open subprotocol chat, no extensions")
        console.click("toggle")
        console.shows("Disconnected")


def test_to_another_url_while_connected(console: Console) -> None:
    """Enter connects anew, and says farewell before."""
    console.set("url", "/echo?again")
    console.focus("url")
    console.press("Enter")
    console.logs(
        "closing with 1000 normal closure",
        "closed 1000 normal closure, clean",
        f"connecting to {console.url}/echo?again",
        "open no subprotocol, no extensions",
    )
    console.shows("Connected")


def test_a_server_that_does_not_answer(console: Console) -> None:
    """Neither the opening handshake nor the closing one: one need not wait for it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(PATIENCE)
        console.click("toggle")
        console.shows("Disconnected")
        console.connect(f"ws://127.0.0.1:{listener.getsockname()[1]}/")
        console.shows("Connecting\u2026")
        # It says so before it connects.
        with listener.accept()[0]:
            console.click("toggle")
            console.logs("closed 1006 abnormal closure, not clean: cancelled before it was open")
        console.click("toggle")
        with listener.accept()[0] as server:
            server.settimeout(PATIENCE)
            head = b""
            while b"\r\n\r\n" not in head:
                head += server.recv(2**16)
            key = re.findall(rb"Sec-WebSocket-Key: (\S+)", head)[0]
            accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
            answer = b"HTTP/1.1 101 \r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n"
            server.sendall(answer % accept)
            console.shows("Connected")
            console.click("toggle")
            console.shows("Closing\u2026")
            assert console.value("toggle", "textContent") == "Give up"
            console.click("toggle")
            console.logs("closing with 1000 normal closure", "closed given up: the server did not answer")
            console.shows("Disconnected")
            console.connect("/echo")
            console.shows("Connected")
            # What comes of the old connection has nothing to say in the new one.
            server.sendall(b"\x88\x02\x03\xe9")
            server.shutdown(socket.SHUT_WR)
            while server.recv(2**16):
                pass
            console.send("hello")
            console.logs("open no subprotocol, no extensions", "sent hello", "received hello")
    console.page.complaints.clear()


def test_the_server_ends(browser: Inspector) -> None:
    """By SIGTERM: it is going away, and says so; without a word, and the log tells of that."""
    with Twistd("--port", LOOPBACK) as twistd:
        console = visit(browser, twistd)
        assert twistd.terminate() < 5
        console.tells("closed 1001 going away, ")
        assert console.log()[-1].endswith(", clean")
        console.shows("Disconnected")
        assert browser.complaints == []
    with Twistd("--port", LOOPBACK) as twistd:
        console = visit(browser, twistd)
        twistd.process.kill()
        console.logs("closed 1006 abnormal closure, not clean: the connection was lost without a closing handshake")
        console.shows("Disconnected")


def test_a_flood(console: Console) -> None:
    """The log keeps 1,000 entries, and counts the others."""
    console.page(
        "for (let number = 1; number <= 3000; number++) {"
        "  document.getElementById('message').value = `message ${number}`;"
        "  document.getElementById('send').click();"
        "}"
    )
    counts = "3,000 sent, 3,000 received, the oldest 5,002 entries dropped"
    within(PATIENCE, lambda: console.value("counts", "textContent") == counts, "all are counted")
    entries = console.log()
    assert len(entries) == 1000
    assert entries[-1] == "received message 3000"
    assert console.value("latest", "hidden") is True
    console.click("clear")
    assert console.log() == []
    assert console.value("counts", "textContent") == "0 sent, 0 received"
    console.send("hello")
    console.logs("sent hello", "received hello")


def test_large_messages_are_not_all_kept(console: Console) -> None:
    """The bound is 32 MiB, and the newest is always there."""
    console.page(
        "for (let number = 1; number <= 17; number++) {"
        "  document.getElementById('message').value = 'a'.repeat(2 ** 20);"
        "  document.getElementById('send').click();"
        "}"
    )
    counts = "17 sent, 17 received, the oldest 4 entries dropped"
    within(2 * PATIENCE, lambda: console.value("counts", "textContent") == counts, "all are counted")
    assert len(console.log("size")) == 32


def test_scrolling(console: Console) -> None:
    """The log follows what comes, unless its reader is elsewhere."""
    at_the_end = "(({scrollHeight, scrollTop, clientHeight}) => scrollHeight - scrollTop - clientHeight < 2)(at('log'))"
    console.send("line\n" * 99 + "line")
    within(PATIENCE, lambda: len(console.log()) == 4 and console.page(at_the_end), "it follows")
    console.set("log", 100, of="scrollTop")
    within(PATIENCE, lambda: console.page("following") is False, "the page knows")
    console.send("hello")
    console.logs("sent hello", "received hello")
    assert console.value("log", "scrollTop") == 100
    assert console.value("latest", "textContent") == "2 new \u2193"
    console.click("latest")
    within(PATIENCE, lambda: console.value("latest", "hidden"), "the button is gone")
    assert console.page(at_the_end)
    # And stays at the end when the log gets smaller.
    console.set("options", True, of="open")
    within(PATIENCE, lambda: console.page(at_the_end), "it follows")


def test_by_keyboard(console: Console) -> None:
    """The Tab key goes through everything, in the order of reading, and not through every message."""
    for _ in range(2):
        console.send("hello")
        console.logs("sent hello", "received hello")
    stops = []
    console.focus("url")
    for _ in range(9):
        console.press("Tab")
        stops.append(console.page("document.activeElement.id || document.activeElement.localName"))
    assert stops == ["toggle", "summary", "clear", "log", "button", "message", "send", "binary", "body"]
    # A visible ring, on each.
    console.focus("toggle")
    console.press("Tab")
    assert console.page("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    # Every field has a name.
    unnamed = "[...document.querySelectorAll('input, textarea')].filter((field) => field.labels.length !== 1).length"
    assert console.page(unnamed) == 0
    # The focus outlives what it was on.
    console.page("document.querySelector('.copy').focus()")
    console.page("for (let number = 0; number < 1000; number++) add('info', 'more')")
    within(PATIENCE, lambda: console.page("document.activeElement.id") == "log", "the log has the focus")


@pytest.mark.parametrize("width", [320, 360, 700, 1600])
def test_no_width_scrolls_sideways(console: Console, width: int) -> None:
    console.page.call("Emulation.setDeviceMetricsOverride", width=width, height=640, deviceScaleFactor=1, mobile=True)
    console.set("options", True, of="open")
    console.send("a" * 4000)
    console.click("binary")
    console.send("ff" * 1000)
    console.connect("gopher://" + "a" * 400)
    within(PATIENCE, lambda: console.value("status", "textContent") == "Disconnected", "it is disconnected")
    console.connect("gopher://" + "a" * 400)
    console.tells("error ")
    for element in ("document.documentElement", "document.getElementById('log')"):
        assert console.page(f"{element}.scrollWidth <= {element}.clientWidth")
    assert console.page("document.documentElement.clientWidth") == width


def test_colours(console: Console) -> None:
    """Light and dark, each with the contrast that WCAG 2.2 asks for at its level AA."""
    console.send("hello")
    console.set("url", "gopher:")
    console.click("toggle")
    console.shows("Disconnected")
    console.click("toggle")
    console.tells("error ")
    console.connect("/nonesuch")
    console.tells("closed 1006")
    console.page.complaints.clear()
    script = """(() => {
      const luminance = (colour) => {
        const [red, green, blue] = colour.match(/[\\d.]+/g).map((part) => part / 255)
          .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
      };
      const behind = (element) => {
        const colour = getComputedStyle(element).backgroundColor;
        return colour === "rgba(0, 0, 0, 0)" ? behind(element.parentElement) : colour;
      };
      const contrasts = [...document.querySelectorAll("body *")].filter((element) => element.checkVisibility()
        && [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim()))
        .map((element) => [getComputedStyle(element).color, behind(element)].map(luminance).sort((a, b) => b - a))
        .map(([light, dark]) => (light + 0.05) / (dark + 0.05));
      return JSON.stringify([contrasts.length, Math.min(...contrasts), behind(document.body)]);
    })()"""
    backgrounds = set()
    for scheme in ("light", "dark"):
        console.page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        count, least, background = json.loads(str(console.page(script)))
        assert count > 30
        assert least >= 4.5
        backgrounds.add(background)
    assert len(backgrounds) == 2
