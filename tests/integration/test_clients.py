"""Clients that people use, each with its own default options; and browsers' pages, for the Origin rule."""

import json
import os
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from integration.peer import within
from integration.process import browse
from integration.servers import KINDS, Echo, Serve, Server
from tools import require
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.web.resource import Resource
from twisted.web.server import Site
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from wsock import Accept, Refuse

#: How long a client may take for its task, in seconds; one of them sends more than a gigabyte.
PATIENCE = 200
OVER_IP = [kind for kind in KINDS if kind != "unix"]


def choose(request: Any) -> Any:
    """Accepts with the second subprotocol offered; refuses at /no."""
    if request.path == "/no":
        raise Refuse(403)
    return Accept(Echo(), request.subprotocols[1] if len(request.subprotocols) > 1 else None)


def url_of(server: Server, path: str = "/") -> str:
    return f"{'wss' if server.certificate else 'ws'}://localhost:{server.port}{path}"


def node(client: str, server: Server, task: str, argument: object = "", path: str = "/", options: str = "") -> Any:
    command = [require("node"), Path(__file__).with_name("clients.js"), require(f"npm:{client}"), client]
    process = subprocess.run(
        [*map(str, command), url_of(server, path), task, str(argument)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        # A root more, beside node's own: TLS stays verified, as it is by default.
        env={**os.environ, "NODE_EXTRA_CA_CERTS": str(server.certificate or ""), "NODE_OPTIONS": options},
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.mark.peer
@pytest.mark.parametrize("client", ["ws", "undici"])
@pytest.mark.parametrize("kind", OVER_IP)
def test_node(serve: Serve, client: str, kind: str) -> None:
    # undici and browsers offer `http/1.1` by ALPN; Twisted ends the TLS handshake unless the factory names it too.
    result = node(client, serve(kind, choose, subprotocols=["unused"]), "echo")
    assert result["protocol"] == "other"
    # Both offer permessage-deflate by default; a server takes it only where it is told to.
    assert result["extensions"] == ""
    assert result["close"] == {"code": 3000, "reason": "", "wasClean": True}


@pytest.mark.peer
@pytest.mark.parametrize("option", ["--tls-max-v1.2", "--tls-min-v1.3"])
def test_node_by_a_version_of_our_own_tls(serve: Serve, option: str) -> None:
    result = node("ws", serve("own tls", choose, subprotocols=["unused"]), "echo", options=option)
    assert result["close"] == {"code": 3000, "reason": "", "wasClean": True}


@pytest.mark.slow
@pytest.mark.peer
@pytest.mark.parametrize("kind", ["tcp", "wrapped", "tls", "own tls"])
def test_node_ws_gets_our_close_in_the_midst_of_its_message(serve: Serve, kind: str) -> None:
    """20 of 20; 3 of them would see 1006 if the socket were closed with unread input.

    The message is larger than what systems have under way, and smaller than the 16 MiB that are read of it.
    """
    assert node("ws", serve(kind), "tooBig", 12 * 2**20 if kind == "tcp" else 2**23) == [1009] * 20


@pytest.mark.peer
@pytest.mark.parametrize("client", ["ws", "undici"])
def test_node_is_refused(serve: Serve, client: str) -> None:
    result = node(client, serve("tcp", choose), "refused", path="/no")
    assert result["close"]["code"] == 1006
    if client == "ws":
        assert result["error"] == "Unexpected server response: 403"


@pytest.mark.parametrize("kind", OVER_IP)
def test_websockets(serve: Serve, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    server = serve(kind, choose)
    context = ssl.create_default_context(cafile=server.certificate) if server.certificate else None
    with connect(url_of(server), ssl=context) as client:
        for size in (0, 1, 125, 126, 65535, 65536, 2**20):
            client.send(bytes(size))
            assert client.recv() == bytes(size)
            client.send("\u20ac" * (size // 3))
            assert client.recv() == "\u20ac" * (size // 3)
        client.send(["frag", "men", "ts"])
        assert client.recv() == "fragments"
        for number in range(500):
            client.send(f"message {number}")
        assert [client.recv() for _ in range(500)] == [f"message {number}" for number in range(500)]
        assert client.ping().wait(10)
        client.send(bytes(2**20 + 1))
        with pytest.raises(ConnectionClosed) as closed:
            client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
    assert status_of(url_of(server, "/no"), context) == 403
    server.call(server.factory.stop)
    assert status_of(url_of(server), context) == 503


def status_of(url: str, context: ssl.SSLContext | None) -> int:
    """The status that a server refuses with. Over TLS that client loses some attempts: its threads race."""
    for _ in range(5):
        try:
            connect(url, ssl=context).close()
        except InvalidStatus as refused:
            return refused.response.status_code
        except (OSError, EOFError):
            pass
    raise AssertionError("the server does not refuse")


# Chromium


class Page(Resource):
    """A page; and at any path what pages post."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.html = ""
        self.posted: dict[str, str] = {}

    def render_GET(self, request: Any) -> bytes:
        request.setHeader("content-type", "text/html; charset=utf-8")
        return self.html.encode()

    def render_POST(self, request: Any) -> bytes:
        self.posted[request.args[b"page"][0].decode()] = request.content.read().decode()
        return b""


#: A page that tries a WebSocket and says what became of it: "open ECHO" or "closed CODE".
TRY = """<!doctype html><script>
const parameters = new URLSearchParams(location.search);
const say = (what) => fetch(parameters.get("tell") + "?page=" + encodeURIComponent(parameters.get("page")),
                            {method: "POST", mode: "no-cors", body: what});
const socket = new WebSocket(parameters.get("url"));
socket.onopen = () => socket.send("hello");
socket.onmessage = (event) => { say("open " + event.data); socket.onclose = null; socket.close(); };
socket.onclose = (event) => say("closed " + event.code);
</script>"""


@pytest.mark.peer
def test_pages_of_other_origins(serve: Serve, tmp_path: Path) -> None:
    """Chromium: the page of the same host is served, those of others are not; a list replaces the rule."""
    from twisted.internet import reactor

    page = Page()
    site = Site(page)
    site.noisy = False
    same = serve("tcp", fallback=site)
    other = same.call(TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen, site)
    try:
        port, other_port = same.port, other.getHost().port
        listed = serve("tcp", allowedOrigins=[f"http://127.0.0.1:{other_port}"])
        anybody = serve("tcp", allowedOrigins=["*"])
        secure = serve("tls", allowedOrigins=["*"])
        own, stranger = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{other_port}"
        # The page's origin, the port that it connects to, what it is to see.
        cases = {
            "the same host": (own, port, "open hello"),
            "the same name": (f"http://localhost:{port}", port, "closed 1006"),
            "another port": (stranger, port, "closed 1006"),
            "a sandboxed frame": (own, port, "closed 1006"),
            "on the list": (stranger, listed.port, "open hello"),
            "not on the list": (own, listed.port, "closed 1006"),
            "anybody": (stranger, anybody.port, "open hello"),
            "over TLS": (stranger, secure.port, "open hello"),
        }
        frames = "".join(
            f'<iframe src="{origin}/try?page={name}&amp;tell={own}/tell&amp;'
            f'url={"wss" if target == secure.port else "ws"}://127.0.0.1:{target}/"'
            f"{' sandbox=allow-scripts' if 'sandbox' in name else ''}></iframe>"
            for name, (origin, target, _) in cases.items()
        )
        page.html = TRY
        top = Page()
        top.html = f"<!doctype html>{frames}"
        front = same.call(TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen, Site(top))
        address = f"http://127.0.0.1:{front.getHost().port}/"
        try:
            with browse(address, tmp_path / "profile"):
                within(PATIENCE, lambda: len(page.posted) == len(cases), "each page says what it saw")
        finally:
            same.call(front.stopListening)
        assert page.posted == {name: expected for name, (_, _, expected) in cases.items()}
    finally:
        same.call(other.stopListening)


#: Tries a WebSocket, in a page or a frame, and gives what became of it.
OPENS = """new Promise((resolve) => {
  const socket = new WebSocket("ws://127.0.0.1:%d/");
  socket.onopen = () => { resolve("open"); socket.close(); };
  socket.onclose = (event) => resolve("closed " + event.code);
})"""
#: The same in a frame that is sandboxed, whose result comes to the page as a message.
IN_A_FRAME = """new Promise((resolve) => {
  const frame = document.createElement("iframe");
  frame.sandbox = "allow-scripts";
  frame.srcdoc = "<script>" + %s + ".then((result) => parent.postMessage(result, '*'))</" + "script>";
  addEventListener("message", (event) => { resolve(event.data); frame.remove(); }, {once: true});
  document.body.append(frame);
})"""


@pytest.mark.peer
def test_pages_without_a_host(serve: Serve, tmp_path: Path) -> None:
    """Chromium: a page opened from disk, and a sandboxed frame, are served where they are named, and only there."""
    origins: list[str] = []

    def build(request: Any) -> Any:
        origins.append(request.origin)
        return Echo()

    def what_opens(allowed: list[str] | None) -> str:
        server = serve("tcp", build, allowedOrigins=allowed)
        script = OPENS % server.port
        return str(page(IN_A_FRAME % json.dumps(script) if is_frame else script))

    path = tmp_path / "page.html"
    path.write_text("<!doctype html><title>A page</title><body></body>")
    with browse(path.as_uri(), tmp_path / "profile") as page:
        # Chromium names the page before it is there; what began in the empty one before it is never answered.
        within(PATIENCE, lambda: page("document.readyState + document.title") == "completeA page", "the page is there")
        for is_frame in (False, True):
            assert what_opens(None) == "closed 1006"
            assert what_opens(["http://127.0.0.1", "https://example.com"]) == "closed 1006"
            assert origins == []
            assert what_opens(["null", "file://"]) == "open"
            (origin,) = origins
            # Browsers differ in what they send for a page from disk.
            assert origin in (["null"] if is_frame else ["null", "file://"])
            assert what_opens([origin]) == "open"
            assert what_opens(["file://" if origin == "null" else "null"]) == "closed 1006"
            assert what_opens(["*"]) == "open"
            origins.clear()
