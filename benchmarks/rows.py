"""The workloads: each is a row of a table, and says what one message of it is."""

from collections.abc import Sequence
from dataclasses import dataclass

#: Limits of `twistd wsock` that stand in the way where messages, or their receivers, grow.
_NO_LIMITS = ("--max-message-size=none", "--send-limit=none")


@dataclass(frozen=True)
class Row:
    """One workload.

    Attributes:
        name: of the row.
        about: what is done, for the page.
        mode: the mode of load.c; "idle" measures memory.
        messages: how many it sends; of "idle", how many connections it holds.
        options: further options of load.c.
        unit: of the figure.
        kind: what the server does.
        tls: whether over TLS.
        servers: the only ones that can do it; None for all. Raw Twisted knows no handshake and no broadcast.
        limits: options of `twistd wsock`.
    """

    name: str
    about: str
    mode: str
    messages: int
    options: str = ""
    unit: str = "µs a message"
    kind: str = "echo"
    tls: bool = False
    servers: Sequence[str] | None = None
    limits: Sequence[str] = ()

    def runs_on(self, server: str) -> bool:
        if self.servers is not None:
            return server in self.servers
        return server != "raw-twisted" or self.mode in ("echo", "burst")

    def connections(self) -> int:
        return self._option("-c")

    def deliveries(self) -> int:
        """How many messages reach a client for each that is sent."""
        return self.connections() if self.mode == "broadcast" else self._option("-k")

    def _option(self, name: str) -> int:
        words = self.options.split()
        return int(words[words.index(name) + 1]) if name in words else 1


TABLE = (
    Row("echo-64", "64 connections, an echo of 64 bytes on each", "echo", 40_000, "-c 64 -s 64"),
    Row(
        "pipelined-64", "16 connections, 64 echoes of 64 bytes at a time on each", "echo", 100_000, "-c 16 -w 64 -s 64"
    ),
    Row("text-4k", "16 connections, an echo of 4 KiB of text on each", "echo", 15_000, "-c 16 -s 4096 -t"),
    Row("echo-1M", "2 connections, 2 echoes of 1 MiB at a time on each", "echo", 300, "-c 2 -w 2 -s 1048576"),
    Row(
        "broadcast-1000",
        "64 bytes to 1,000 connections",
        "broadcast",
        50,
        "-c 1000 -s 64",
        "µs a delivery",
        "broadcast",
    ),
    Row(
        "handshake",
        "a connection is made, opened and reset; 32 at a time",
        "handshake",
        4_000,
        "-c 32",
        "µs a connection",
    ),
    Row("tls-64", "echo-64 over TLS", "echo", 20_000, "-c 64 -s 64", tls=True),
    Row("tls-1M", "over TLS, 2 connections, an echo of 1 MiB on each", "echo", 100, "-c 2 -s 1048576", tls=True),
    Row(
        "burst-64",
        "64 messages of 64 bytes to one connection, from a timer; raw Twisted: 64 times `transport.write`",
        "burst",
        1_000,
        "-k 64 -s 64",
        kind="burst",
        servers=("wsock", "raw-twisted"),
    ),
    Row("idle", "memory of an idle connection, with the header fields of a browser", "idle", 1_000, unit="KiB"),
    Row("idle-tls", "the same over TLS", "idle", 500, unit="KiB", tls=True),
)

GROWTH = (
    *(
        Row(f"{count:,} connections", "an echo of 64 bytes on each", "echo", 40_000, f"-c {count} -s 64")
        for count in (10, 100, 1_000, 10_000)
    ),
    *(
        Row(name, "2 connections, an echo on each", "echo", messages, f"-c 2 -s {size}", limits=_NO_LIMITS)
        for name, size, messages in (
            ("16 bytes", 16, 20_000),
            ("1 KiB", 2**10, 20_000),
            ("64 KiB", 2**16, 4_000),
            ("1 MiB", 2**20, 200),
            ("16 MiB", 2**24, 20),
        )
    ),
    *(
        Row(
            f"broadcast to {count:,}",
            "64 bytes",
            "broadcast",
            max(10, 50_000 // count),
            f"-c {count} -s 64",
            "µs a delivery",
            "broadcast",
        )
        for count in (10, 100, 1_000, 5_000)
    ),
)
