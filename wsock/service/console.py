"""The page at ``/`` where no routes are given: a console that talks to any WebSocket."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

#: What surrounds the page's only style and its only script.
_STYLE = re.compile(rb"<style>(.*?)</style>", re.DOTALL)
_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        html: what it says, in UTF-8.
        policy: its Content-Security-Policy.
    """

    html: bytes
    policy: str


def readConsole() -> Page:
    """The console. It is one file, fetches nothing, runs its own script alone, and connects to WebSockets alone."""
    # A browser hashes what its parser saw, which has no CR; a checkout on Windows may have.
    html = files(__package__).joinpath("console.html").read_bytes().replace(b"\r\n", b"\n")
    policy = (
        f"default-src 'none'; style-src {_source(_STYLE, html)}; script-src {_source(_SCRIPT, html)}; img-src data:; "
        "connect-src ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(html, policy)


def _source(element: re.Pattern[bytes], html: bytes) -> str:
    """Names an inline element by its hash (Content Security Policy Level 3, section 2.3.1)."""
    (content,) = element.findall(html)
    return f"'sha256-{b64encode(sha256(content).digest()).decode()}'"
