"""Our own TLS with Chromium and Firefox, which trust the authority of its certificate, and verify as they always do.

The page, too, comes over our own TLS: from a site behind the same port.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from integration.firefox import firefox
from integration.peer import make_certificate, within
from integration.process import browse
from integration.servers import Echo, Serve
from integration.test_clients import Page
from twisted.web.server import Site

from wsock import WebSocketClosed, WebSocketDropped
from wsock.server.tls import makeContext

pytestmark = [pytest.mark.slow, pytest.mark.peer]

#: How long a page may take for all of its tasks, in seconds.
PATIENCE = 200
MIB = 2**20
#: Exchanges messages with the server that the page is from, has each side end a connection, and posts what it saw.
PAGE = """<!doctype html><title>TLS</title><script>
const say = (page, what) => fetch("/?page=" + page, {method: "POST", body: what});
const url = location.origin.replace("https", "wss");

function open(path) {
  const socket = new WebSocket(url + path);
  socket.binaryType = "arraybuffer";
  const seen = [];
  let wake = () => {};
  socket.onmessage = (event) => { seen.push(event.data); wake(); };
  const opened = new Promise((resolve) => { socket.onopen = resolve; });
  const closed = new Promise((resolve) => {
    socket.onclose = (event) => resolve([event.code, event.reason, event.wasClean].join(" "));
  });
  const receive = async () => {
    while (!seen.length) await new Promise((resolve) => { wake = resolve; });
    return seen.shift();
  };
  return {socket, opened, closed, receive};
}

async function echo() {
  const {socket, opened, closed, receive} = open("/echo");
  await opened;
  const large = new Uint8Array(3 << 20).map((_, index) => index % 251);
  for (let number = 0; number < 3; number++) {
    socket.send(large);
    const received = new Uint8Array(await receive());
    if (received.length !== large.length || !received.every((byte, index) => byte === large[index])) return "large";
  }
  for (let number = 0; number < 2000; number++) socket.send("message " + number);
  for (let number = 0; number < 2000; number++) {
    if (await receive() !== "message " + number) return "order at " + number;
  }
  socket.close(3000, "bye");
  return await closed;
}

(async () => {
  await say("echo", await echo());
  await say("close", await open("/close").closed);
  await say("abort", await open("/abort").closed);
  await say("all", "done");
})();
</script>"""


class Application(Echo):
    """Does what the path says."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def negotiationFinished(self) -> None:
        self.version = self.transport.transport.sslObject.version()
        if self.path == "/close":
            self.transport.loseConnection(4001, "later")
        elif self.path == "/abort":
            self.transport.abortConnection()


def chromium12(url: str, profile: Path, authority: Path) -> AbstractContextManager[object]:
    return browse(url, profile, authority, "--ssl-version-max=tls1.2")


def firefox12(url: str, profile: Path, authority: Path) -> AbstractContextManager[object]:
    return firefox(url, profile, authority, security_tls_version_max=3)


@pytest.mark.parametrize(
    ("browser", "version"),
    [(browse, "TLSv1.3"), (chromium12, "TLSv1.2"), (firefox, "TLSv1.3"), (firefox12, "TLSv1.2")],
    ids=["chromium-1.3", "chromium-1.2", "firefox-1.3", "firefox-1.2"],
)
def test_a_page(
    serve: Serve,
    tmp_path: Path,
    authority: tuple[Path, Path],
    browser: Callable[..., AbstractContextManager[object]],
    version: str,
) -> None:
    folder = tmp_path / "certificate"
    folder.mkdir()
    key, pem = make_certificate(folder, "localhost", authority=authority)
    page = Page()
    page.html = PAGE
    site = Site(page)
    site.noisy = False
    context = makeContext((pem, key))
    server = serve(
        "own tls", lambda request: Application(request.path), tls=context, fallback=site, maxMessageSize=4 * MIB
    )
    with browser(f"https://localhost:{server.port}/", tmp_path / "profile", authority[1]):
        within(PATIENCE, lambda: "all" in page.posted, f"the page is done: {page.posted}")
    del page.posted["all"]
    assert page.posted == {"echo": "3000  true", "close": "4001 later true", "abort": "1006  false"}
    assert [one.version for one in server.applications] == [version] * 3
    ends = {one.path: one.reasons[0] for one in server.applications}
    assert isinstance(ends["/echo"], WebSocketClosed)
    assert ends["/echo"].closeReceived == (3000, "bye")
    assert isinstance(ends["/close"], WebSocketClosed)
    assert ends["/close"].closeReceived == (4001, "later")
    assert isinstance(ends["/abort"], WebSocketDropped)
