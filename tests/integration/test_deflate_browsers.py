"""Compression with Chromium and Firefox: what a page sees, and what then travels."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from integration.deflating import (
    BOTH_CONTEXTS,
    BY_DEFAULT,
    QUIET,
    SIZES,
    TABLE,
    Agreed,
    Counting,
    Pinging,
    agreed,
    check_probes,
    check_sizes,
    ended,
    named,
)
from integration.firefox import firefox
from integration.peer import within
from integration.process import browse
from integration.servers import Serve, Server
from integration.test_clients import Page
from twisted.web.server import Site

from wsock import Compression

pytestmark = [pytest.mark.slow, pytest.mark.peer]

#: How long a page may take for all of its tasks, in seconds.
PATIENCE = 200
#: Does the tasks that it is given, one after the other, and posts what became of each.
PAGE = """<!doctype html><title>Compression</title><script>%s</script><script>
const say = (page, what) => fetch("/?page=" + page, {method: "POST", body: what});
(async () => {
  for (const [page, url, task, argument] of %s) {
    const result = await exchange(new WebSocket(url), task, argument).catch((error) => "failed: " + error);
    await say(page, result);
  }
  await say("all", "done");
})();
</script>"""
SCRIPT = Path(__file__).with_name("exchange.js").read_text()
Browser = Callable[[str, Path], AbstractContextManager[object]]


def show(browser: Browser, serve: Serve, folder: Path, tasks: list[tuple[str, Server, str, object]]) -> dict[str, str]:
    """Has a browser do tasks, each with its name and its server; returns the extensions that the page sees of each."""
    page = Page()
    site = Site(page)
    site.noisy = False
    front = serve("tcp", fallback=site)
    listed = [(name, f"ws://127.0.0.1:{server.port}/", task, argument) for name, server, task, argument in tasks]
    page.html = PAGE % (SCRIPT, json.dumps(listed))
    with browser(f"http://127.0.0.1:{front.port}/", folder / "profile"):
        within(PATIENCE, lambda: "all" in page.posted or any(map(failed, page.posted.values())), "the page is done")
    assert not any(map(failed, page.posted.values())), page.posted
    return page.posted


def failed(result: str) -> bool:
    return result.startswith("failed")


def listening(serve: Serve, compression: Compression | None, application: Callable[[], Any] = Counting) -> Server:
    arguments = {"compression": compression, "allowedOrigins": ["*"], **QUIET}
    return serve("tcp", lambda request: application(), **arguments)


def expected(browser: Browser, row: Agreed) -> Agreed:
    """Firefox does not offer to be limited to a window: then our server does not let it refer to earlier messages."""
    if browser is browse or row.clientMaxWindowBits == 15:
        return row
    return row._replace(clientContextTakeover=False, clientMaxWindowBits=15)


@pytest.mark.parametrize("browser", [browse, firefox], ids=["chromium", "firefox"])
def test_pages(serve: Serve, tmp_path: Path, browser: Browser) -> None:
    """Sizes, by default and with contexts; each combination of parameters; ten thousand messages; and none of it."""
    wanted = {"by default": BY_DEFAULT, "with contexts": BOTH_CONTEXTS}
    sizes = {name: listening(serve, ours.compression, Pinging) for name, ours in wanted.items()}
    rows = {named(row): listening(serve, row.compression) for row in TABLE}
    wanted.update((named(row), row) for row in TABLE)
    wanted["many"] = BOTH_CONTEXTS
    many = listening(serve, BOTH_CONTEXTS.compression)
    plain = listening(serve, None)
    seen = show(
        browser,
        serve,
        tmp_path,
        [
            *((name, server, "sizes", None) for name, server in sizes.items()),
            *((name, server, "probes", None) for name, server in rows.items()),
            ("many", many, "many", 10000),
            ("plain", plain, "probes", None),
        ],
    )
    assert seen.pop("all") == "done"
    assert seen.pop("plain") == ""
    assert ended(plain).transport.extension is None
    check_probes(ended(plain).received, False, 15, plain=True)
    for name, server in {**sizes, **rows, "many": many}.items():
        agreement = expected(browser, wanted[name])
        assert agreed(ended(server).transport.extension) == agreement
        if browser is browse:
            assert agreed(seen.pop(name)) == agreement
        else:
            assert seen.pop(name) == "permessage-deflate"
        if server is many:
            assert len(ended(server).lengths) == 10000
        elif name in rows:
            check_probes(ended(server).received, agreement.clientContextTakeover, agreement.clientMaxWindowBits)
            check_probes(ended(server).sent, agreement.serverContextTakeover, agreement.serverMaxWindowBits)
        else:
            assert ended(server).pongs == len(ended(server).lengths) == 4 * len(SIZES)
            check_sizes(ended(server).received)
            check_sizes(ended(server).sent)
    assert not seen
