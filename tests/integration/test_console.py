"""The console of `twistd wsock`, in Chromium."""

import base64
import hashlib
import json
import re
import socket
from pathlib import Path

import pytest
from integration.console import ELSEWHERE, LOOPBACK, PATIENCE, SHIFT, Console, visit
from integration.peer import within
from integration.process import Inspector, Twistd, browse

pytestmark = [pytest.mark.peer, pytest.mark.slow]


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
    assert len(lines) == 10
    console.send("")
    console.logs("sent empty", "received empty")
    for text in ("0", "0g", "0x00"):
        console.send(text)
        console.logs("error Nothing was sent: a binary message is written in hex, such as 48 65 6c 6c 6f")
        assert console.value("message") == text
        console.click("clear")
    # A message that was sent as hex is recalled as such.
    console.click("binary")
    console.set("message", "")
    console.focus("message")
    console.press("ArrowUp")
    assert console.value("binary", "checked") is True


@pytest.mark.parametrize("width", [390, 1200])
def test_long_messages_are_folded(console: Console, width: int) -> None:
    """To ten lines or so, and not within a character; a click opens one, another folds it again."""
    console.page.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=True)
    columns = 42 if width == 390 else 70
    for text, folded in [
        ("b" + "\U0001f9e6" * 5000, "b" + "\U0001f9e6" * (columns * 5 - 1)),
        ("\n".join(f"line {number}" for number in range(500)), "\n".join(f"line {number}" for number in range(10))),
        ("c" * 2 * columns + "\nd\n" + "e" * 1000, "c" * 2 * columns + "\nd\n" + "e" * 7 * columns),
        ("0123456789" * 10_000, ("0123456789" * 100)[: 10 * columns]),
    ]:
        console.click("clear")
        console.send(text)
        console.logs(f"sent {folded}", f"received {folded}")
        length = len(text.encode("utf-16-le")) // 2
        assert console.log("fold")[-1] == f"received Show all {length:,} characters"
        assert console.fold() == "true"
        assert console.log()[-1] == f"received {text}"
        assert console.log("fold")[-1] == "received Show less"
        assert console.page("at('log').scrollWidth <= at('log').clientWidth")
        assert console.fold() == "false"
        assert console.log() == [f"sent {folded}", f"received {folded}"]
        # An open entry stays where it is when more comes.
        console.fold()
        console.set("log", 0, of="scrollTop")
        within(PATIENCE, lambda: console.page("following") is False, "the page knows")
        console.send("more")
        console.logs("sent more", "received more")
        assert console.value("log", "scrollTop") == 0
        console.click("latest")
    console.click("clear")
    console.send("f" * 10 * columns)
    console.tells("received fff")
    assert console.page("document.querySelectorAll('.fold:not([hidden])').length") == 0


def test_more_than_can_be_shown(console: Console) -> None:
    """Of text 262,144 characters, and of binary messages 32,768 bytes; the copy button has all."""
    console.send("a" * 300_000)
    console.tells("received aaa")
    console.fold()
    assert console.log()[-1] == f"received {'a' * 262_144}\n\u2026 and 37,856 characters more: copy or export them"
    console.click("binary")
    console.send("00" * 40_000)
    console.tells("received 0000  00")
    assert console.log("fold")[-1] == "received Show all 40,000 bytes"
    console.fold()
    lines = console.log()[-1].splitlines()
    assert lines[-2].startswith("7ff8  00 00")
    assert lines[-1] == "\u2026 and 7,232 bytes more: copy or export them"


@pytest.mark.parametrize("how", ["clipboard", "selection"])
def test_copying(console: Console, how: str) -> None:
    """By the browser's clipboard, and where a page has none by an old way. The arrow keys go from one to the next."""
    clipboard = "{writeText: async (text) => { window.copied = text; }}" if how == "clipboard" else "undefined"
    console.page(f"Object.defineProperty(navigator, 'clipboard', {{value: {clipboard}}})")
    console.page("document.addEventListener('copy', () => { window.copied = document.activeElement.value; })")
    # The text of a button does not stay for long.
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
    # The first button is the one that opens the first message.
    ways = [(["Tab"], "0a ff"), (["ArrowUp", "ArrowUp"], text), (["End"], "0a ff"), (["Home", "ArrowDown"], text)]
    for keys, copied in ways:
        for key in keys:
            console.press(key)
        console.page("window.copied = null; window.said = []")
        console.press("Enter")
        within(PATIENCE, lambda copied=copied: console.page("window.copied") == copied, "it is copied")
        within(PATIENCE, lambda: console.page("said.includes('Copied')"), "the button says so")


def test_a_path_where_nothing_is(console: Console) -> None:
    """The page asks the same path by HTTP, and so knows the status."""
    console.click("toggle")
    console.shows("Disconnected")
    console.connect("/nonesuch")
    why = "a plain request for the path gets 404 Not Found: no route has this path"
    console.logs(f"connecting to {console.url}/nonesuch", f"refused {why}")
    console.shows("Disconnected")
    # The browser tells developers of both requests, and there is nothing of ours.
    websocket, plain = console.page.complaints
    assert f"WebSocket connection to '{console.url}/nonesuch' failed" in websocket
    assert "404" in plain
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
        console.logs(ELSEWHERE.format(origin=console.origin))
    console.page.complaints.clear()


def test_disconnecting(console: Console) -> None:
    console.click("toggle")
    console.logs("closing with 1000 normal closure", "closed 1000 normal closure")
    console.shows("Disconnected")
    console.click("toggle")
    console.shows("Connected")
    console.set("code", "")
    console.click("toggle")
    console.logs("closing without a code", "closed 1005 no status received")


def test_codes_and_reasons(console: Console) -> None:
    """A message that a browser would refuse is told in the page's own words, and the connection stays."""
    for code, reason, words in [
        ("1001", "", "a page may close with 1000, or 3000 to 4999, but not with 1001"),
        ("0999", "", "a page may close with 1000, or 3000 to 4999, but not with 0999"),
        ("2999", "", "a page may close with 1000, or 3000 to 4999, but not with 2999"),
        ("5000", "", "a page may close with 1000, or 3000 to 4999, but not with 5000"),
        ("9" * 400, "", f"a page may close with 1000, or 3000 to 4999, but not with {'9' * 400}"),
        ("4000", "\u20ac" * 42, "the close reason has 126 bytes of UTF-8, and 123 fit"),
        ("many", "", "the close code is a number, not many"),
        ("", "why", "a close reason needs a close code"),
    ]:
        console.set("code", code)
        console.set("reason", reason)
        console.click("toggle")
        console.logs(f"error Can’t disconnect: {words}")
        assert console.value("status", "textContent") == "Connected"
    reason = "\u20ac" * 41
    console.set("reason", reason)
    console.set("code", "4999")
    console.set("options", True, of="open")
    console.focus("reason")
    console.press("Enter")
    # Our server answers with the code alone.
    console.logs(f"closing with 4999 private use, \u201c{reason}\u201d", "closed 4999 private use")


def test_urls_and_subprotocols(console: Console) -> None:
    console.click("toggle")
    console.shows("Disconnected")
    for url, subprotocols, words in [
        ("gopher://127.0.0.1/", "", "a WebSocket URL begins with ws:// or wss://"),
        ("gopher:", "", "a WebSocket URL begins with ws:// or wss://"),
        ("ws://[", "", "this is not a URL"),
        ("localhost:80808/echo", "", "this is not a URL"),
        ("/echo#part", "", "a WebSocket URL has no part after a #"),
        ("/echo#", "", "a WebSocket URL has no part after a #"),
        ("/echo", "chat, chat", "the subprotocol “chat” is there twice"),
        ("/echo", "a b", "“a b” can’t be a subprotocol: a character of it is not allowed"),
        ("/echo", "chat, \u20ac", "“\u20ac” can’t be a subprotocol: a character of it is not allowed"),
    ]:
        console.set("subprotocols", subprotocols)
        console.connect(url)
        console.logs(f"error Can’t connect: {words}")
        assert console.value("status", "textContent") == "Disconnected"
        console.click("clear")
    console.set("subprotocols", " chat , other ,")
    host = console.url[5:]
    for url in (
        *("/echo", "echo?a=b", f" {console.url}/echo", f"//{host}/echo"),
        *(f"{host}/echo", f"{host}/echo?a=b", f"{console.origin}/echo", f"HTTP://{host}/echo"),
    ):
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
        "closed 1000 normal closure",
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
            console.logs("closed 1006 abnormal closure: cancelled before it was open")
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
            # An event of the old connection has nothing to say in the new one.
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
        console.tells("closed 1001 going away")
        console.shows("Disconnected")
        assert browser.complaints == []
    with Twistd("--port", LOOPBACK) as twistd:
        console = visit(browser, twistd)
        twistd.process.kill()
        console.logs("closed 1006 abnormal closure: the connection was lost without a closing handshake")
        console.shows("Disconnected")


def test_a_flood(console: Console) -> None:
    """The log keeps 1,000 entries, never shows more, and counts the others."""
    console.page(
        "window.most = 0;"
        "new MutationObserver(() => { most = Math.max(most, at('entries').childElementCount); })"
        ".observe(at('entries'), {childList: true})"
    )
    console.page(
        "for (let number = 1; number <= 5000; number++) {"
        "  document.getElementById('message').value = `message ${number}`;"
        "  document.getElementById('send').click();"
        "}"
    )
    counts = "5,000 sent, 5,000 received, the oldest 9,002 entries dropped"
    within(PATIENCE, lambda: console.value("counts", "textContent") == counts, "all are counted")
    entries = console.log()
    assert len(entries) == 1000
    assert entries[-1] == "received message 5000"
    assert console.page("most") == 1000
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
    # And stays at the end when the log gets smaller, though the browser tells of an earlier scroll only then.
    console.page("at('message').value = 'long '.repeat(2000); at('log').dispatchEvent(new Event('scroll'))")
    assert console.page("following") is True
    within(PATIENCE, lambda: console.page(at_the_end), "it follows")
    console.set("message", "")
    console.set("options", True, of="open")
    within(PATIENCE, lambda: console.page(at_the_end), "it follows")


def test_by_keyboard(console: Console) -> None:
    """The Tab key goes through everything, in the order of reading, and not through every message."""
    for _ in range(2):
        console.send("hello")
        console.logs("sent hello", "received hello")
    stops = []
    console.focus("url")
    for _ in range(16):
        console.press("Tab")
        stops.append(console.page("document.activeElement.id || document.activeElement.localName"))
    assert stops == [
        *("toggle", "summary", "pause", "clear", "filter", "direction", "pretty", "export-lines", "export-text"),
        *("log", "button", "message", "send", "binary", "attach", "body"),
    ]
    # A visible ring, on each.
    console.focus("toggle")
    console.press("Tab")
    assert console.page("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    # Every field has a name.
    fields = "document.querySelectorAll('input, select, textarea')"
    assert console.page(f"[...{fields}].filter((field) => field.labels.length !== 1).length") == 0
    # Everything but the name of the page and its state is its main content.
    assert console.page("[...document.body.children].map((child) => child.localName).join()") == (
        "header,noscript,main,template,script"
    )
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
    console.page("retry.due = performance.now() + 30000; enter('waiting'); countDown()")
    for element in ("document.documentElement", "document.getElementById('log')"):
        assert console.page(f"{element}.scrollWidth <= {element}.clientWidth")
    assert console.page("document.documentElement.clientWidth") == width


def test_colours(console: Console) -> None:
    """Light and dark, each with the contrast that WCAG 2.2 asks for at its level AA."""
    console.send("hello")
    console.send("long " * 1000)
    console.set("options", True, of="open")
    console.set("url", "gopher:")
    console.click("toggle")
    console.shows("Disconnected")
    console.click("toggle")
    console.tells("error ")
    console.connect("/nonesuch")
    console.tells("refused a plain request for the path gets 404")
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
