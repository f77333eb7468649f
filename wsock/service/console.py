"""The console: a page for browsers that talks to any WebSocket."""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

from twisted.web.pages import notFound
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request as HTTPRequest

#: The page's script, in files that it has in this order.
_SCRIPTS = ("words", "address", "memory", "log", "export", "connection", "composer", "start")
#: Stands in the page where the paths of the server go.
_PATHS = "<!-- paths -->"


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        html: what it says, in UTF-8.
        policy: its Content-Security-Policy.
    """

    html: bytes
    policy: str


def readConsole(paths: Sequence[str] = ()) -> Page:
    """Joins the console's files to one page, which loads nothing, and runs its own script alone.

    It connects to WebSockets, and asks its own server by HTTP why it refused a connection.

    Args:
        paths: of WebSockets at the server that has the page, which it offers.
    """
    style = "\n" + _read("console.css")
    script = "\n" + "\n".join(_read(f"{name}.js") for name in _SCRIPTS)
    offered = " ".join(f'<button class="plain" type="button">{html.escape(path)}</button>' for path in paths)
    text = _read("console.html").replace(_PATHS, offered)
    text = text.replace("<style>\n", f"<style>{style}", 1).replace("<script>\n", f"<script>{script}", 1)
    policy = (
        f"default-src 'none'; style-src {_source(style)}; script-src {_source(script)}; img-src data:; "
        "connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(text.encode(), policy)


def _read(name: str) -> str:
    # A browser hashes lines that end in LF; a checkout on Windows may have others.
    return (files(__package__) / "page" / name).read_bytes().replace(b"\r\n", b"\n").decode()


def _source(text: str) -> str:
    """Names an inline element by its hash (Content Security Policy Level 3, section 2.3.1)."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


class ConsoleResource(Resource):
    """The console, at any path of a ``Site``."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        self._page = page

    def getChild(self, path: bytes, request: HTTPRequest) -> IResource:
        """The console itself, where the path has but a slash more."""
        return self if path == b"" and not request.postpath else notFound()

    def render(self, request: HTTPRequest) -> bytes:
        """Answers GET and HEAD with the page, OPTIONS with nothing, anything else with 405."""
        headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": self._page.policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        body = self._page.html
        if request.method not in (b"GET", b"HEAD"):
            headers = {"Content-Type": "text/plain; charset=utf-8", "Allow": "GET, HEAD, OPTIONS"}
            body = b""
            # haproxy's health check asks for OPTIONS unless told otherwise.
            if request.method != b"OPTIONS":
                body = b"Method Not Allowed"
                request.setResponseCode(405)
        for name, value in headers.items():
            request.setHeader(name, value)
        return withoutBody(request, body) if request.method == b"HEAD" else body


def withoutBody(request: HTTPRequest, body: bytes) -> bytes:
    """Answers HEAD: tells how long the body of GET is."""
    # Given a body, Twisted would leave it out too, but log the target, and people put tokens in queries.
    request.setHeader("Content-Length", str(len(body)))
    return b""


def consoleResource(paths: Sequence[str] = ()) -> Resource:
    """Makes the console of ``twistd wsock`` for a ``twisted.web.server.Site`` of your own.

    It is a page that connects to any WebSocket; put it where those who develop against your server can reach it, such
    as behind ``WebSocketServerFactory(build, fallback=Site(root))``. Pages may connect to the host that they came
    from; other servers have to allow the console's origin (``allowedOrigins``).

    Args:
        paths: of WebSockets at the same host and port, as they stand in a URL, such as ``/chat``: the page offers
            them, and connects to the first when it is opened. Without any it waits for a URL.

    Returns:
        A resource for ``putChild``, or for the root of a site. It answers GET and HEAD with one page that loads
        nothing from elsewhere, under a Content-Security-Policy that allows its own script and style alone.
    """
    return ConsoleResource(readConsole(paths))
