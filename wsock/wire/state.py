"""The states of a connection: one table says which may follow which, and one function enters a state.

The table in docs/design.md is made of `describe`. The half-states of the closing handshake are the core's own facts
(``close_sent`` and ``close_received``), and `wsock.wire.closing` knows whether our last bytes have left.
"""

from __future__ import annotations

from typing import Final

#: The opening handshake is under way. A client that was closed before its answer stays here.
OPENING: Final = 0
#: Messages go both ways.
OPEN: Final = 1
#: Our Close is queued, the peer's is awaited (RFC 6455 section 7.1.3).
CLOSING: Final = 2
#: The last bytes are on their way, input is discarded.
ENDING: Final = 3
#: The request was not for a WebSocket: the protocol of another factory has the connection.
HANDED_ON: Final = 4
#: The transport was told to drop the connection.
ABORTED: Final = 5
#: The transport is lost; the application still gets what came before.
LOST: Final = 6
#: The application has heard of the loss, or never was.
OVER: Final = 7

NAMES: Final = ("OPENING", "OPEN", "CLOSING", "ENDING", "HANDED_ON", "ABORTED", "LOST", "OVER")
#: The states that may follow each one.
NEXT: Final = (
    frozenset({OPEN, ENDING, HANDED_ON, ABORTED, LOST}),
    frozenset({CLOSING, ENDING, ABORTED, LOST}),
    frozenset({ENDING, ABORTED, LOST}),
    frozenset({ABORTED, LOST}),
    frozenset({ABORTED, LOST}),
    frozenset({LOST}),
    frozenset({OVER}),
    frozenset[int](),
)


def enter(present: int, wanted: int) -> int:
    """Enters a state.

    Args:
        present: the state of the connection.
        wanted: the state that follows.

    Returns:
        ``wanted``.

    Raises:
        RuntimeError: the table has no such transition, a fault of ours.
    """
    if wanted not in NEXT[present]:
        raise RuntimeError(f"a connection went from {NAMES[present]} to {NAMES[wanted]}")
    return wanted


def describe() -> str:
    """Returns the table as lines of Markdown."""
    lines = ["| state | may be followed by |", "|---|---|"]
    for name, following in zip(NAMES, NEXT, strict=True):
        lines.append(f"| {name} | {', '.join(NAMES[state] for state in sorted(following)) or 'nothing'} |")
    return "\n".join(lines)
