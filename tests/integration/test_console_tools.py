"""The console of `twistd wsock`, in Chromium: its memory, links, views, files, reconnecting, and why it was refused."""

import base64
import json
import re
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from integration.console import ELSEWHERE, LOOPBACK, PATIENCE, Console
from integration.peer import within
from integration.process import Inspector, Twistd, browse
from integration.servers import Serve
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.util import Redirect

from wsock import Refuse
from wsock.service import consoleResource

pytestmark = [pytest.mark.peer, pytest.mark.slow]


def store(console: Console, memory: str) -> None:
    """Has something else stored than what the page remembers."""
    key = json.dumps("wsock console /")
    console.page(f"addEventListener('pagehide', () => sessionStorage.setItem({key}, {json.dumps(memory)}))")


def entered(console: Console) -> list[object]:
    """The values of the fields that a reload keeps."""
    fields = [console.value("url"), console.value("subprotocols")]
    return fields + [console.value(name, "checked") for name in ("pretty", "reconnect")]


def recalled(console: Console) -> list[tuple[object, object]]:
    """The messages that the arrow recalls, the last one first."""
    console.set("message", "")
    console.focus("message")
    found = []
    while True:
        console.press("ArrowUp")
        message = (console.value("message"), console.value("binary", "checked"))
        if message in found:
            return found
        found.append(message)


# A reload


def test_a_reload(console: Console) -> None:
    """It keeps the URL, the subprotocols, two choices and what was sent, in this tab alone; and connects again."""
    console.set("subprotocols", "chat, other")
    console.set("url", "/echo?again")
    console.focus("url")
    console.press("Enter")
    console.logs(f"connecting to {console.url}/echo?again", "open subprotocol chat, no extensions")
    console.click("pretty")
    console.click("reconnect")
    console.send("one\n\u20ac")
    console.click("binary")
    console.send("00 ff")
    console.tells("received 0000  00 ff")
    console.set("message", "not sent")
    for _ in range(2):
        console.reload()
        console.logs(f"connecting to {console.url}/echo?again", "open subprotocol chat, no extensions")
        assert len(console.log()) == 2
        assert entered(console) == [f"{console.url}/echo?again", "chat, other", True, True]
        assert console.value("message") == ""
        assert recalled(console) == [("00 ff", True), ("one\n\u20ac", False)]
    assert console.page("localStorage.length") == 0
    assert console.page("document.cookie") == ""


def test_a_reload_does_not_connect_elsewhere(console: Console) -> None:
    """Only to the server of the page: there, and where else, is for the user to say."""
    other = console.url.replace("127.0.0.1", "localhost")
    console.set("url", f"{other}/echo")
    console.focus("url")
    console.press("Enter")
    console.logs(f"connecting to {other}/echo", ELSEWHERE.format(origin=console.origin))
    console.reload("Disconnected")
    assert console.log() == []
    assert console.value("url") == f"{other}/echo"
    console.page.complaints.clear()


def test_passwords_are_not_kept(console: Console) -> None:
    """Nor shown in the log."""
    console.set("url", f"ws://ada:hunter2@{console.url[5:]}/echo")
    console.focus("url")
    console.press("Enter")
    console.logs(f"connecting to ws://ada@{console.url[5:]}/echo", "open no subprotocol, no extensions")
    console.page("save()")
    stored = str(console.page("JSON.stringify(Object.entries(sessionStorage))"))
    assert "/echo" in stored
    assert "hunter2" not in stored


def test_the_memory_is_bounded(console: Console) -> None:
    """200 messages, and 262,144 characters of them: the last ones."""
    console.page("for (let number = 0; number < 300; number++) remember({text: `message ${number}`, binary: false})")
    console.reload()
    assert console.page("sentBefore.length") == 200
    assert console.page("sentBefore[0].text") == "message 100"
    console.page(
        "for (let number = 0; number < 9; number++) remember({text: `${number}`.repeat(50000), binary: false})"
    )
    console.reload()
    assert console.page("sentBefore.map(({text}) => text[0]).join('')") == "45678"
    console.page("remember({text: 'a'.repeat(2 ** 22), binary: false})")
    console.reload()
    assert console.page("sentBefore.length") == 0


@pytest.mark.parametrize(
    "stored",
    ["", "{", "null", "7", "[]", '{"url": 7, "subprotocols": {}, "sent": 7}', '{"sent": [null, 7, {}, {"text": 7}]}'],
)
def test_a_memory_that_makes_no_sense(console: Console, stored: str) -> None:
    store(console, stored)
    console.reload()
    assert entered(console) == [f"{console.url}/echo", "", False, False]
    assert console.page("sentBefore.length") == 0


def test_a_memory_of_nonsense_to_connect_to(console: Console) -> None:
    """The page does not connect."""
    store(console, json.dumps({"url": "gopher://a"}))
    console.reload("Disconnected")
    assert console.value("url") == "gopher://a"


def test_without_storage(console: Console) -> None:
    """Where the browser denies it, the page works without a word."""
    denied = (
        "Object.defineProperty(window, 'sessionStorage', {get() { throw new DOMException('no', 'SecurityError'); }})"
    )
    script = console.page.call("Page.addScriptToEvaluateOnNewDocument", source=denied)
    try:
        for _ in range(2):
            console.reload()
            console.send("hello")
            console.page("save()")
            console.logs("sent hello", "received hello")
            assert entered(console) == [f"{console.url}/echo", "", False, False]
    finally:
        console.page.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script["identifier"])


# Links


def follow(console: Console, link: str) -> None:
    """Opens the page by a link, in the place of the present one."""
    console.page("window.old = true")
    # Another query, so that the page is loaded.
    console.open(f"/?{time.monotonic()}#{link}", "Disconnected")


@pytest.mark.parametrize("encoded", [False, True])
def test_a_link(console: Console, encoded: bool) -> None:
    """It fills in the URL, and no link connects by itself, not even to the server of the page."""
    url = f"{console.url}/echo?a=%2F%20b"
    follow(console, url.replace("%", "%25").replace(":", "%3A").replace("/", "%2F") if encoded else url)
    assert console.value("url") == url
    console.logs(f"link to {url}: press Connect to go there")
    assert len(console.log()) == 1
    # As long as nobody has connected, a reload changes nothing.
    console.reload("Disconnected")
    assert console.value("url") == url
    assert console.page("document.activeElement.id") == "toggle"
    console.press("Enter")
    console.logs(f"connecting to {url}", "open no subprotocol, no extensions")
    assert console.page("location.hash") == ""
    console.reload()
    console.logs(f"connecting to {url}", "open no subprotocol, no extensions")


def test_a_link_while_connected(console: Console) -> None:
    console.page("location.hash = 'wss://example.org/chat'")
    console.logs("link to wss://example.org/chat: press Connect to go there")
    assert console.value("url") == "wss://example.org/chat"
    assert console.value("status", "textContent") == "Connected"


@pytest.mark.parametrize(
    "link",
    ["", "chat", "http://a/", "javascript:alert(1)", "%E0%A4%A", "ws://[", "ws:a", "//a/b", "ws://a/" + "b" * 9000],
)
def test_a_link_that_is_none(console: Console, link: str) -> None:
    console.open(f"/?{time.monotonic()}#{link}")
    assert console.value("url") == f"{console.url}/echo"
    console.logs(f"connecting to {console.url}/echo", "open no subprotocol, no extensions")


def test_copying_a_link(console: Console) -> None:
    console.page(
        "Object.defineProperty(navigator, 'clipboard', {value: {writeText: async (text) => { window.copied = text; }}})"
    )
    console.set("url", "wss://ada:hunter2@example.org/a b?c=%2F")
    console.page("copyLink()")
    assert console.page("copied") == f"{console.origin}/#wss://ada@example.org/a%20b?c=%2F"
    console.set("url", "gopher://a")
    console.page("copyLink()")
    console.logs("error Can’t make a link: a WebSocket URL begins with ws:// or wss://")


# Shown entries


def test_pretty_json(console: Console) -> None:
    """By its tokens: numbers and equal keys stay as they came. What is no JSON object or array stays as it is."""
    text = ' {"a":12345678901234567890,"a":1.0,"b\\"{,":[ ],"c":{},"d":[1,{"e":null}],"f":"\\u0041[:] "}'
    others = ['{"a":', "[1] 2", "17", '"a"', "{}", "hello"]
    for one in [text, *others]:
        console.send(one)
        console.logs(f"sent {one}", f"received {one}")
    console.click("pretty")
    lines = [
        *("{", '  "a": 12345678901234567890,', '  "a": 1.0,', '  "b\\"{,": [],', '  "c": {},', '  "d": ['),
        *("    1,", "    {", '      "e": null', "    }", "  ],", '  "f": "\\u0041[:] "', "}"),
    ]
    console.page("document.querySelectorAll('.fold:not([hidden])').forEach((button) => button.click())")
    shown = "\n".join(lines)
    both = [f"{kind} {one}" for one in others for kind in ("sent", "received")]
    assert console.log()[2:] == [f"sent {shown}", f"received {shown}", *both]
    # Later messages are shown so too.
    console.send("[1,2]")
    console.tells("received [\n  1,\n  2\n]")
    console.click("pretty")
    assert console.log()[2:] == [
        *(f"sent {text}", f"received {text}", *both),
        *("sent [1,2]", "received [1,2]"),
    ]
    # Deep ones are not indented without end; long ones are no burden.
    console.click("pretty")
    console.send("[" * 3000 + "]" * 3000)
    console.send(json.dumps(["a" * 250_000]))
    console.tells('received [\n  "aaa')


def shown(console: Console) -> list[str]:
    """The entries that are to be seen."""
    script = (
        "JSON.stringify([...document.querySelectorAll('.entry')].filter((entry) => entry.checkVisibility())"
        ".map((entry) => ['.kind', '.text'].map((name) => entry.querySelector(name).textContent).join(' ')))"
    )
    return list(json.loads(str(console.page(script))))


def test_the_filter(console: Console) -> None:
    """By words, whatever they mean to a regular expression, and by direction; now and for what comes."""
    for text in ("Hello (1)", "bye"):
        console.send(text)
        console.tells(f"received {text}")
    console.click("binary")
    console.send("48 65 6c 6c 6f ff")
    console.tells("received 0000  48")
    console.click("binary")

    def choose(words: str, direction: str = "") -> list[str]:
        console.set("direction", direction)
        console.page("at('direction').dispatchEvent(new Event('change'))")
        console.set("filter", "")
        console.focus("filter")
        console.type(words) if words else console.page("at('filter').dispatchEvent(new Event('input'))")
        return shown(console)

    everything = console.log()
    assert choose("") == everything
    binary = "0000  48 65 6c 6c 6f ff        Hello."
    assert choose("hello") == ["sent Hello (1)", "received Hello (1)", f"sent {binary}", f"received {binary}"]
    assert console.value("counts", "textContent") == "3 sent, 3 received, 4 of 8 shown"
    assert choose("o (1)") == ["sent Hello (1)", "received Hello (1)"]
    assert choose("hello", "received") == ["received Hello (1)", f"received {binary}"]
    assert choose("6F FF", "sent") == [f"sent {binary}"]
    assert choose("no extensions") == ["open no subprotocol, no extensions"]
    assert choose("", "sent") == ["sent Hello (1)", "sent bye", f"sent {binary}"]
    console.send("more")
    console.logs("sent more", "received more")
    assert shown(console) == ["sent Hello (1)", "sent bye", f"sent {binary}", "sent more"]
    # The arrow keys pass over what is not shown.
    console.page("document.querySelector('.entry.sent .copy').focus()")
    console.press("ArrowDown")
    assert console.page("document.activeElement.closest('li').querySelector('.text').textContent") == "bye"
    assert choose("nothing like it") == []
    assert "matches" in str(console.page("getComputedStyle(at('entries'), '::before').content"))
    assert choose("") == console.log()
    assert console.value("counts", "textContent") == "4 sent, 4 received"


def test_the_pause(console: Console) -> None:
    """The log shows nothing of what comes meanwhile, and counts it."""
    before = console.log()
    console.click("pause")
    assert console.value("pause", "textContent") == "Resume"
    console.page("for (let number = 0; number < 600; number++) socket.send('flood')")
    counts = "0 sent, 600 received, paused: 600 held"
    within(PATIENCE, lambda: console.value("counts", "textContent") == counts, "they are counted")
    assert console.log() == before
    console.send("hello")
    counts = "1 sent, 601 received, paused: 602 held"
    within(PATIENCE, lambda: console.value("counts", "textContent") == counts, "they are counted")
    console.click("pause")
    assert console.log() == [*before, *["received flood"] * 600, "sent hello", "received hello"]
    assert console.value("counts", "textContent") == "1 sent, 601 received"
    assert console.value("pause", "textContent") == "Pause"
    # The list is bounded as the log is.
    console.click("pause")
    console.page("for (let number = 0; number < 1200; number++) socket.send('flood')")
    counts = "1 sent, 1,801 received, the oldest 804 entries dropped, paused: 1,200 held"
    within(PATIENCE, lambda: console.value("counts", "textContent") == counts, "they are counted")
    console.click("clear")
    assert console.log() == []
    assert console.value("counts", "textContent") == "0 sent, 0 received, paused: 0 held"
    console.click("pause")
    assert console.log() == []


@pytest.mark.parametrize("kind", ["lines", "text"])
def test_the_export(console: Console, kind: str, tmp_path: Path) -> None:
    """All of what passes the filter, as the browser stores it."""
    console.page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    console.page("sendFiles([new File([new Uint8Array([0, 255, 65])], 'a \\u20ac.bin')])")
    console.tells("received 0000  00 ff 41")
    text = 'two\nlines \u20ac "' + "a" * 2000
    console.send(text)
    console.tells("received two")
    console.page("at('filter').value = 'no such'; changeFilter(); at('filter').value = ''; changeFilter()")
    console.click(f"export-{kind}")

    def stored() -> list[Path]:
        return [path for path in tmp_path.iterdir() if path.suffix in (".jsonl", ".txt") and path.stat().st_size]

    within(PATIENCE, stored, "there is a file")
    (file,) = stored()
    assert re.fullmatch(r"wsock-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.(jsonl|txt)", file.name)
    content = file.read_text("utf-8")
    instant = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    if kind == "text":
        assert re.sub(f"^{instant}", "T", content, flags=re.MULTILINE) == (
            f"T connecting to {console.url}/echo\n"
            "T open no subprotocol, no extensions\n"
            "T sent 3 bytes, binary, a \u20ac.bin\n00 ff 41\n"
            "T received 3 bytes, binary\n00 ff 41\n"
            f"T sent 2,015 bytes\n{text}\n"
            f"T received 2,015 bytes\n{text}\n"
        )
        return
    entries = [json.loads(line) for line in content.splitlines()]
    assert all(re.fullmatch(instant, entry.pop("time")) for entry in entries)
    data = base64.b64encode(b"\x00\xffA").decode()
    assert entries == [
        {"kind": "connecting", "text": f"to {console.url}/echo"},
        {"kind": "open", "text": "no subprotocol, no extensions"},
        {"kind": "sent", "size": 3, "name": "a \u20ac.bin", "base64": data},
        {"kind": "received", "size": 3, "base64": data},
        {"kind": "sent", "size": 2015, "message": text},
        {"kind": "received", "size": 2015, "message": text},
    ]


def test_an_export_of_what_the_filter_leaves(console: Console) -> None:
    console.page("URL.createObjectURL = (blob) => { window.file = blob; return ''; }")
    console.send("hello")
    console.tells("received hello")
    console.page("at('direction').value = 'received'; changeFilter()")
    console.click("export-lines")
    assert str(console.page("file.text()")).endswith('"kind":"received","size":5,"message":"hello"}\n')
    assert str(console.page("file.text()")).count("\n") == 1
    assert console.page("file.type") == "application/jsonl;charset=utf-8"


@pytest.mark.parametrize("url", ["/echo", "ws://some.host.example:8080/a/path?with=a&long=" + "query" * 8])
def test_a_phone_shows_the_whole_url(console: Console, url: str) -> None:
    console.page.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True)
    console.set("url", url)
    for side in ("Width", "Height"):
        assert console.page(f"at('url').scroll{side} <= at('url').client{side}")
    # It is one line, whatever is put into it.
    console.set("url", "")
    console.focus("url")
    console.type("/ec\r\nho\n")
    assert console.value("url") == "/echo"


# Reconnecting


def test_reconnecting(browser: Inspector) -> None:
    """After a second, then two, then four; with a countdown that nothing reads out; until the server is back."""
    with Twistd("--port", LOOPBACK) as twistd:
        port = twistd.ports[0]
        console = Console(browser, port)
        console.open("/")
        console.click("reconnect")
        browser(
            "window.said = [];"
            "new MutationObserver(() => said.push(at('status').textContent))"
            ".observe(at('status'), {childList: true, subtree: true})"
        )
        twistd.process.kill()
        within(PATIENCE, lambda: browser("said.includes('Reconnecting in 4 s')"), "it has tried twice")
    said = json.loads(str(browser("JSON.stringify(said)")))
    waits = [said.index(f"Reconnecting in {seconds} s") for seconds in (1, 2, 4)]
    assert waits == sorted(waits)
    assert console.value("countdown", "ariaHidden") == "true"
    lost = "closed 1006 abnormal closure: the connection was lost without a closing handshake"
    unreachable = "closed 1006 abnormal closure: the server can’t be reached, or does not say why"
    attempts = [lost, *[f"connecting to {console.url}/echo", unreachable] * 2]
    within(PATIENCE, lambda: console.log()[2:7] == attempts, "the log tells of both attempts")
    # It goes where it was, whatever is being typed.
    console.set("url", "/nonesuch")
    with Twistd("--port", f"tcp:{port}:interface=127.0.0.1"):
        console.shows("Connected")
        console.logs(f"connecting to {console.url}/echo", "open no subprotocol, no extensions")
        console.send("hello")
        console.logs("sent hello", "received hello")
    browser.complaints.clear()


def test_the_end_of_reconnecting(console: Console) -> None:
    """By the button, without the tick, and by a connection that the user asks for; and none of it after a farewell."""
    console.click("reconnect")
    # A wait without an end.
    console.page("countDown = () => {}")
    console.click("toggle")
    console.logs("closing with 1000 normal closure", "closed 1000 normal closure")
    console.shows("Disconnected")

    def refused() -> None:
        console.connect("/nonesuch")
        console.logs("refused a plain request for the path gets 404 Not Found: no route has this path")
        console.shows("Reconnecting")
        assert console.value("toggle", "textContent") == "Stop"

    refused()
    console.click("toggle")
    console.shows("Disconnected")
    refused()
    console.click("reconnect")
    console.shows("Disconnected")
    console.click("reconnect")
    refused()
    console.set("url", "/echo")
    console.focus("url")
    console.press("Enter")
    console.shows("Connected")
    console.page.complaints.clear()


# Files


def choose(page: Inspector, *files: Path) -> None:
    """Has the user choose files in the browser's dialogue."""
    field = page.call("Runtime.evaluate", expression="document.getElementById('files')")["result"]["objectId"]
    page.call("DOM.setFileInputFiles", files=[str(file) for file in files], objectId=field)


def test_files(console: Console, tmp_path: Path) -> None:
    """Each is a binary message, in their order; the log has their names and sizes."""
    contents = {"one.txt": b"hello", "two.bin": bytes(range(256)) * 4000, "empty": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    choose(console.page, *(tmp_path / name for name in contents))
    within(PATIENCE, lambda: len(console.log()) == 8, "all are sent, and come back")
    sent = [line for line in console.log("size") if line.startswith("sent")]
    assert sent == ["sent 5 bytes\nbinary", "sent 1,024,000 bytes\nbinary", "sent 0 bytes\nbinary"]
    assert [line for line in console.log("name") if line.startswith("sent")] == [f"sent {name}" for name in contents]
    received = console.page(
        "Promise.all(entries.filter(({kind}) => kind === 'received')"
        ".map(async ({data}) => base64(data))).then((all) => all.join())"
    )
    assert received == ",".join(base64.b64encode(content).decode() for content in contents.values())
    # The same once more.
    choose(console.page, tmp_path / "one.txt")
    within(PATIENCE, lambda: len(console.log()) == 10, "it is sent again")


def test_files_that_are_dropped(console: Console) -> None:
    drag = (
        "window.dragged = new DataTransfer(); dragged.items.add(new File(['dropped'], 'a.txt'));"
        "window.drag = (name) => at('log').dispatchEvent("
        "new DragEvent(name, {dataTransfer: dragged, bubbles: true, cancelable: true}))"
    )
    console.page(drag)
    # False: the page takes it, and so the browser does not open the file.
    assert [console.page(f"drag('{name}')") for name in ("dragenter", "dragover")] == [False, False]
    assert console.page("getComputedStyle(at('message')).outlineStyle") == "dashed"
    assert console.page("drag('drop')") is False
    assert console.page("document.body.className") == ""
    console.tells("received 0000  64 72 6f 70")
    assert console.log("name")[-2] == "sent a.txt"
    # A text that is dragged is none of its business.
    console.page("window.dragged = new DataTransfer(); dragged.setData('text/plain', 'text')")
    assert console.page("drag('drop')") is True


def test_files_that_are_not_sent(console: Console) -> None:
    console.page("sendFiles([new File([new Uint8Array(2 ** 26 + 1)], 'large')])")
    console.logs("error Can’t send large: it is too large: at most 64 MiB are sent")
    unreadable = "{name: 'folder', size: 0, arrayBuffer: () => Promise.reject(new DOMException('raw'))}"
    console.page(f"sendFiles([{unreadable}])")
    console.logs("error Can’t send folder: it can’t be read (a folder, perhaps)")
    # One that fails is no hindrance to the next.
    console.page(f"sendFiles([{unreadable}, new File(['hello'], 'b')])")
    console.tells("received 0000  68 65 6c 6c 6f")
    console.click("toggle")
    console.shows("Disconnected")
    console.page("sendFiles([new File(['hello'], 'c')])")
    console.logs("error Can’t send c: not connected")


def test_files_wait_for_the_connection(console: Console) -> None:
    """The next is not sent while the one before is unsent; how much that is, is shown."""
    console.page("Object.defineProperty(socket, 'bufferedAmount', {get: () => window.unsent, configurable: true})")
    console.page("window.unsent = 123456; sendFiles([new File(['one'], 'a'), new File(['two'], 'b')])")
    within(PATIENCE, lambda: console.value("unsent", "textContent") == "123,456 bytes unsent", "it is shown")
    assert [line for line in console.log() if line.startswith("sent")] == []
    console.page("window.unsent = 65536")
    within(PATIENCE, lambda: console.log("name")[-4:].count("sent b"), "both are sent")
    console.page("window.unsent = 0")
    within(PATIENCE, lambda: console.value("unsent", "textContent") == "", "nothing is unsent")
    # The connection is lost meanwhile.
    console.page("window.unsent = 65537; sendFiles([new File(['three'], 'c')])")
    console.click("toggle")
    # The server's answer to the Close may come before the file is given up, or after it.
    last = {"closing with 1000 normal closure", "closed 1000 normal closure", "error Can’t send c: not connected"}
    within(PATIENCE, lambda: set(console.log()[-3:]) == last, "the file is given up, and the connection is closed")


# Refusals


class Answer(Resource):
    """Gives one answer."""

    isLeaf = True

    def __init__(self, status: int, kind: str, body: bytes) -> None:
        super().__init__()
        self.answer = (status, kind, body)

    def render_GET(self, request: Any) -> bytes:
        status, kind, body = self.answer
        request.setResponseCode(status)
        request.setHeader("Content-Type", kind)
        return body


def test_refusals(browser: Inspector, serve: Serve) -> None:
    """By the server of the page, which is asked for the same path by HTTP: its text is text, and bounded.

    The console stands in a site of one's own here.
    """
    root = Resource()
    root.putChild(b"console", consoleResource())
    answers = {
        "text": Answer(403, "text/plain; charset=utf-8", "<b>Origin\n\x1b[1m\u20ac</b>  is not allowed\n".encode()),
        "same": Answer(403, "text/plain", b"Forbidden"),
        "html": Answer(500, "text/html", b"<h1>secret</h1>"),
        "long": Answer(503, "text/plain", b"a" * 10**6),
        "page": Answer(200, "text/plain", b"a page"),
        "upgrade": Answer(426, "text/plain", b"Upgrade Required"),
        "none": Answer(404, "text/html", b"<p>Not here"),
        "away": Redirect(b"http://127.0.0.1/elsewhere"),
    }
    for name, resource in answers.items():
        root.putChild(name.encode(), resource)

    def build(request: Any) -> Any:
        raise Refuse(403)

    server = serve("tcp", build, fallback=Site(root))
    console = Console(browser, server.port)
    console.open("/console", "Disconnected")
    assert console.value("url") == f"{console.url}/"
    assert console.log() == []
    for name, words in [
        ("text", "a plain request for the path gets 403 Forbidden: <b>Origin [1m\u20ac</b> is not allowed"),
        ("same", "a plain request for the path gets 403 Forbidden"),
        ("html", "a plain request for the path gets 500 Internal Server Error"),
        ("long", f"a plain request for the path gets 503 Service Unavailable: {'a' * 300}\u2026"),
        ("page", "no WebSocket is there, or not for this page (a plain request gets 200 OK)"),
        ("away", "the path redirects, and a WebSocket follows no redirect"),
        ("none?a=b", "a plain request for the path gets 404 Not Found"),
        ("upgrade", "a WebSocket may be there, but not for this page (a plain request gets 426)"),
    ]:
        console.connect(f"/{name}")
        console.tells("refused ")
        got = console.log()[-1].replace("426 Unknown Status", "426").replace("426 Upgrade Required", "426")
        assert got == f"refused {words}"
        console.shows("Disconnected")
        console.click("clear")
    # The site's answers have no policy of their own, and the page asks nobody else.
    browser.complaints.clear()


def test_a_refusal_that_is_not_told(browser: Inspector, twistd: Twistd) -> None:
    """The server refuses the WebSocket, and does not answer the question why: one can cancel that."""
    console = Console(browser, twistd.ports[0])
    console.open("/")
    console.click("toggle")
    console.shows("Disconnected")
    browser("fetch = (url, {signal}) => new Promise((_, fail) => signal.addEventListener('abort', fail))")
    console.connect("/nonesuch")
    within(PATIENCE, lambda: browser("asking !== null"), "the page asks")
    assert console.value("status", "textContent") == "Connecting\u2026"
    console.click("toggle")
    console.logs("closed 1006 abnormal closure: cancelled before it was open")
    console.shows("Disconnected")
    # And to another URL at once.
    console.connect("/nonesuch")
    within(PATIENCE, lambda: browser("asking !== null"), "the page asks")
    console.set("url", "/echo")
    console.focus("url")
    console.press("Enter")
    console.shows("Connected")
    browser.complaints.clear()


# Elsewhere


def test_the_console_among_routes(browser: Inspector) -> None:
    """It offers the routes, and connects to the first."""
    options = ["--route", "/tools/console=console", "--route", "/room/1=broadcast", "--route", "/e%20cho=echo"]
    with Twistd("--port", LOOPBACK, *options) as twistd:
        console = Console(browser, twistd.ports[0])
        console.open("/tools/console")
        console.logs(f"connecting to {console.url}/room/1", "open no subprotocol, no extensions")
        assert console.page("[...document.querySelectorAll('#here button')].map((one) => one.textContent).join()") == (
            "/room/1,/e%20cho"
        )
        console.page("document.querySelectorAll('#here button')[1].click()")
        console.logs(f"connecting to {console.url}/e%20cho", "open no subprotocol, no extensions")
        assert console.value("url") == "/e%20cho"
        assert browser.complaints == []


def test_over_tls(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    """There a URL without a scheme is wss:, and ws: has an explanation."""
    key, pem = certificate
    with Twistd("--port", f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={pem}") as twistd:
        port = twistd.ports[0]
        with browse(f"https://127.0.0.1:{port}/", tmp_path / "profile") as page:
            console = Console(page, port)
            console.shows("Connected")
            console.click("toggle")
            console.shows("Disconnected")
            console.connect(f"127.0.0.1:{port}/echo")
            console.logs(f"connecting to wss://127.0.0.1:{port}/echo", "open no subprotocol, no extensions")
            assert console.value("url") == f"wss://127.0.0.1:{port}/echo"
            console.click("toggle")
            console.shows("Disconnected")
            console.connect("/nonesuch")
            console.logs("refused a plain request for the path gets 404 Not Found: no route has this path")
            console.connect("ws://mixed.example/")
            console.logs("error Can’t connect: this page came over https, and so it may connect to wss:// only")


def test_a_server_of_another_host(console: Console) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(PATIENCE)
        console.click("toggle")
        console.shows("Disconnected")
        address = f"localhost:{listener.getsockname()[1]}"
        console.connect(address)
        with listener.accept()[0] as server:
            server.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            console.logs(f"connecting to ws://{address}/", ELSEWHERE.format(origin=console.origin))
    assert console.value("url") == f"ws://{address}/"
    console.page.complaints.clear()
