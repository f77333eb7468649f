"""The console of `twistd wsock`, as tests use it."""

import json
from collections.abc import Iterator

import pytest
from integration.peer import within
from integration.process import Inspector, Twistd, browse

LOOPBACK = "tcp:0:interface=127.0.0.1"
#: How long the page may take for what it must do at once, in seconds.
PATIENCE = 30
KEYS = {"Enter": 13, "Tab": 9, "End": 35, "Home": 36, "ArrowUp": 38, "ArrowDown": 40}
SHIFT = 8
ELSEWHERE = (
    "closed 1006 abnormal closure: the server can’t be reached, or refused this page, which is of another host. "
    "A wsock server lets it in by --allowed-origin {origin} (in Python: allowedOrigins)."
)


class Console:
    """The page, as its user has it: with keys for the hands, and the log for the eyes."""

    def __init__(self, page: Inspector, port: int) -> None:
        self.page = page
        self.url = f"ws://127.0.0.1:{port}"
        self.origin = f"http://127.0.0.1:{port}"

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

    def open(self, path: str, status: str = "Connected") -> None:
        """Opens the page with nothing remembered, and waits for a status."""
        # It comes after the page's own, which remembers.
        self.page("addEventListener('pagehide', () => sessionStorage.clear())")
        self._load(status, "Page.navigate", url=self.origin + path)

    def reload(self, status: str = "Connected") -> None:
        self._load(status, "Page.reload")

    def _load(self, status: str, method: str, **parameters: object) -> None:
        self.page("window.old = true")
        self.page.call(method, **parameters)
        within(PATIENCE, lambda: self.page("window.old || document.readyState") == "complete", "the page is loaded")
        self.shows(status)

    def shows(self, status: str) -> None:
        within(PATIENCE, lambda: self.value("status", "textContent") == status, f"the status is {status}")

    def fold(self) -> object:
        """Clicks what opens or folds the last message that is long; tells whether that is open."""
        return self.page(
            "(([button]) => (button.click(), button.ariaExpanded))"
            "([...document.querySelectorAll('.fold:not([hidden])')].slice(-1))"
        )

    def log(self, part: str = "text") -> list[str]:
        """The kind of each entry, and one of its parts."""
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
    """Opens the console, and waits until it has connected by itself."""
    console = Console(page, twistd.ports[0])
    console.open("/?token=hunter2")
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
