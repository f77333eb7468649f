"""How long an echo takes at half load: alone, and while a web site on the same reactor has all the work it can do.

A server's load is full at the rate of a closed loop, which is measured first. At half of it, messages are sent at fixed
times; each takes from the time at which it should have been sent, so that a server that stalls is late for all that
wait, too. The load may be late by itself, on a machine with other work: its delay is told beside, and where it is not
much smaller than the latency the run is worth nothing.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from . import load
from .load import BenchmarkError
from .measure import Cell, combine, make_row, take_rounds
from .rows import Row
from .servers import Servers, find_port

SERVERS = ("wsock", "autobahn", "picows-uvloop")
CONNECTIONS, SIZE = 64, 64
#: As load.c has them: percentiles of the latency, the 99th of the load's own delay; and the rate of messages.
PARTS = ("p50", "p90", "p99", "p99.9", "delay", "rate")
ALONE = Row(
    "half load",
    f"{CONNECTIONS} connections, echoes of {SIZE} bytes, at half of the rate that the server can do alone",
    "latency",
    20_000,
    unit="µs",
    kind="neighbour",
    servers=SERVERS,
)
BESIDE_A_SITE = replace(
    ALONE,
    name="beside a site",
    about="the same, while a twisted.web site on the same reactor makes one page after the other",
)
ROWS = (ALONE, BESIDE_A_SITE)
#: How many messages are sent at half load, for each of the closed loop.
_PACED = 2


def measure(
    row: Row, servers: Servers, names: Sequence[str], rounds: int, scale: float, say: Callable[[str], None]
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Measures one row, which becomes several: one for each percentile, and one for the rate."""
    found, failures = take_rounds(names, rounds, row, lambda name: once(row, servers, name, scale))
    say(f"\n{row.name}: {row.about}")
    rows = []
    for part in PARTS:
        cells: dict[str, Cell] = {name: combine([(one[part], 0) for one in figures]) for name, figures in found.items()}
        for cell in cells.values():
            del cell["faults"]
        unit = "messages a second" if part == "rate" else row.unit
        if cells:
            rows.append({**make_row(row, cells), "name": f"{row.name}, {part}", "unit": unit})
        figures_of = ", ".join(f"{name} {cell['value']:.0f}" for name, cell in cells.items())
        say(f"  {part:5} {unit}: {figures_of}")
    for name, why in failures.items():
        say(f"  {name:18} failed: {why}")
    return rows, failures


def once(row: Row, servers: Servers, name: str, scale: float) -> dict[str, float]:
    site = find_port()
    messages = max(CONNECTIONS, round(row.messages * scale))
    options = ["-c", str(CONNECTIONS), "-s", str(SIZE)]
    with servers.start(name, row.kind, options=[str(site)]) as (port, _):
        with load.start("echo", port, [*options, "-n", str(messages)], cpu=servers.load_cpu) as ready:
            took = ready.run()
        rate = took["messages"] / took["seconds"] / 2
        paced = [*options, "-n", str(messages * _PACED), "-r", f"{rate:.0f}"]
        with contextlib.ExitStack() as stack:
            if row is BESIDE_A_SITE:
                stack.enter_context(visit(site, servers.load_cpu))
            ready = stack.enter_context(load.start("paced", port, paced, cpu=servers.load_cpu))
            return {**ready.run(), "rate": rate}


@contextlib.contextmanager
def visit(port: int, cpu: int | None) -> Iterator[None]:
    """Asks a site for one page after the other, meanwhile.

    Raises:
        BenchmarkError: the site does not answer.
    """
    client = socket.create_connection(("127.0.0.1", port), 10)
    ended: list[Exception] = []
    stop = threading.Event()

    def ask() -> None:
        request = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        data = b""
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})  # of this thread alone
        try:
            while not stop.is_set():
                client.sendall(request)
                while not data.endswith(b"</html>"):
                    part = client.recv(2**16)
                    if not part:
                        raise ConnectionError("the site ended the connection")
                    data += part
                data = b""
        except OSError as error:
            ended.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        client.close()
    if ended:
        raise BenchmarkError(f"the web site: {ended[0]}")
