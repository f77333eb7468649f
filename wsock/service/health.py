"""The page that load balancers ask whether this server may be sent clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Where it is, unless ``--healthz`` says otherwise.
HEALTH_PATH: Final = "/healthz"
#: How long those who are told that the server stops may stay away, in seconds; as for its WebSockets.
_RETRY_SECONDS: Final = 5


@dataclass
class Health:
    """The resource that reports the server's health.

    Attributes:
        path: where, or None for nowhere; a route of the same path has precedence.
        isStopping: whether the server accepts no more clients.
    """

    path: str | None
    isStopping: bool = False

    def stop(self) -> None:
        """The server accepts no more clients."""
        self.isStopping = True

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Returns the status, the header fields and the body of an answer."""
        # A proxy that remembered the answer would defeat the question.
        headers = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}
        if self.isStopping:
            return 503, {**headers, "Retry-After": str(_RETRY_SECONDS)}, b"stopping\n"
        return 200, headers, b"ok\n"
