"""Authentication with clients of others: node's `ws`, and the console in Chromium."""

import json
import subprocess
from pathlib import Path

import pytest
from integration.console import LOOPBACK, PATIENCE, Console
from integration.process import Twistd, browse
from integration.servers import Echo, Serve, Server
from tools import require
from twisted.web.pages import notFound
from twisted.web.resource import Resource
from twisted.web.server import Site

from wsock import Tokens, bearerAuth
from wsock.service import consoleResource

#: A token, which needs both of the characters that base64url has in place of others, and its offer.
TOKEN = "?>~\u20ac?>~"
OFFER = "bearer.Pz5-4oKsPz5-"
#: What node's client sees: the subprotocol that was chosen, or why there is no connection.
NODE = """
const WebSocket = require(process.argv[1]);
const socket = new WebSocket(process.argv[2], JSON.parse(process.argv[3]));
socket.onopen = () => { console.log(JSON.stringify(socket.protocol)); socket.close(); };
socket.onerror = (event) => console.log(JSON.stringify(event.message));
"""

pytestmark = [pytest.mark.peer]


def start(serve: Serve) -> Server:
    """Starts a server for those with the token, and with the console."""
    root = Resource()
    root.putChild(b"", consoleResource(["/echo"]))
    root.putChild(b"echo", notFound())
    build = bearerAuth(Tokens({TOKEN: "ada"}), lambda request: Echo(), subprotocol=True)
    return serve("tcp", build, fallback=Site(root), subprotocols=["chat"])


@pytest.mark.parametrize(
    ("offers", "seen"),
    [
        (["bearer", OFFER], "bearer"),
        ([OFFER, "chat"], "chat"),
        ([OFFER], "Server sent no subprotocol"),
        (["bearer", "bearer.eA"], "Unexpected server response: 401"),
        (["chat"], "Unexpected server response: 401"),
    ],
)
def test_node(serve: Serve, offers: list[str], seen: str) -> None:
    server = start(serve)
    process = subprocess.run(
        [require("node"), "-e", NODE, require("npm:ws"), f"ws://127.0.0.1:{server.port}/", json.dumps(offers)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert json.loads(process.stdout) == seen, process.stderr


@pytest.mark.slow
def test_the_console_offers_a_token(serve: Serve, tmp_path: Path) -> None:
    server = start(serve)
    with browse(f"http://127.0.0.1:{server.port}/", tmp_path / "profile") as page:
        console = Console(page, server.port)
        # It has no token yet.
        console.shows("Disconnected")
        console.tells("refused a plain request for the path gets 404")
        page("document.getElementById('options').open = true")
        console.focus("token")
        console.type(TOKEN)
        console.press("Enter")
        console.shows("Connected")
        console.logs(f"connecting to {console.url}/echo", "open subprotocol bearer, no extensions")
        console.send("Hello")
        console.logs("sent Hello", "received Hello")
        for subprotocols, chosen in (("chat", "chat"), ("other, bearer", "bearer")):
            console.click("toggle")
            console.shows("Disconnected")
            console.set("subprotocols", subprotocols)
            console.click("toggle")
            console.shows("Connected")
            console.tells(f"open subprotocol {chosen}")
        # It is neither kept nor shown.
        console.reload("Disconnected")
        assert console.value("token") == ""
        kept = str(page("JSON.stringify([sessionStorage, localStorage]) + document.cookie"))
        assert "chat" in kept or "bearer" in kept
        for secret in (TOKEN, OFFER[7:]):
            assert secret not in kept
            assert secret not in str(page("document.body.innerText"))
        # A link leads to another server, which it was not meant for.
        console.set("token", TOKEN)
        page("location.hash = 'ws://localhost:1/'")
        console.tells("link")
        assert console.value("token") == ""
        page.complaints.clear()


@pytest.mark.slow
def test_the_console_for_the_users_of_a_file(tmp_path: Path) -> None:
    """Chromium sends the password that its user has typed for the page with the page's WebSockets, too."""
    pytest.importorskip("passlib.hash")
    path = tmp_path / "users"
    path.write_text("ada:$2y$04$abcdefghijklmnopqrstuON9FuL91k8gKx3IMQJZuNEuTmhbCO94e\n")
    with Twistd("--port", LOOPBACK, "--htpasswd", path) as twistd:
        port = twistd.ports[0]
        with browse(f"http://127.0.0.1:{port}/healthz", tmp_path / "profile") as page:
            console = Console(page, port)
            page.call("Page.navigate", url=f"http://ada:2f1dbbb9c7@127.0.0.1:{port}/")
            console.shows("Connected")
            console.send("Hello")
            console.logs("sent Hello", "received Hello")
        assert "2f1dbbb9c7" not in twistd.log()
