"""Mixed traffic against `twistd wsock`, plain and over TLS, for a long time: `python tests/soak.py [MINUTES]`.

The memory of each server is sampled meanwhile. The run fails if memory still grows in the last two thirds of the time,
by more than `MOST_MB` in 10 minutes, if a descriptor is left when the clients have gone, if a server has logged a
traceback, or if a client got another answer than it should. A short run prints the growth but does not judge it: the
memory of a new server grows for some minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import random
import ssl
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from pathlib import Path

import traffic
import twisted
from integration.peer import make_certificate
from integration.process import TWISTD, Twistd

import wsock

#: The growth that is allowed in 10 minutes, in MB of 1,000,000 bytes.
MOST_MB = 1.0
#: A run that is shorter does not judge the growth, in minutes.
JUDGED_MINUTES = 30
#: How often memory is looked at, in seconds.
SAMPLE_SECONDS = 2
#: The most that a client may take; other programs may run on the machine.
CLIENT_SECONDS = 180
#: How long a client may say nothing; in a short run that is the time of the run, in seconds.
LONGEST_SECONDS = 60
#: How long the last clients, and the connections to them, may take to be gone, in seconds.
END_SECONDS = 60
#: The longest pause between two clients of a kind, in seconds.
PAUSE_SECONDS = 0.4
#: The C library gives large blocks back as they are freed. It would keep them for the next crowd otherwise: each crowd
#: that happens to be larger than all before it would look like a leak.
COMMAND = ["env", "MALLOC_TRIM_THRESHOLD_=65536", "MALLOC_MMAP_THRESHOLD_=65536", *TWISTD]
OPTIONS = (
    *("--route", "/echo=echo", "--route", "/broadcast=broadcast", "--compression"),
    *("--ping-interval", 5, "--ping-timeout", 120, "--close-timeout", 30),
)


class Soaked:
    """A server under the traffic.

    Attributes:
        name: "plain" or "TLS".
        target: where its clients connect.
        samples: its memory so far: when, in minutes from the start, and how many MB.
        failures: by what a client has failed, and where.
    """

    def __init__(self, name: str, twistd: Twistd, context: ssl.SSLContext | None, minutes: float) -> None:
        self.name = name
        self.target = traffic.Server(twistd.ports[0], context, min(LONGEST_SECONDS, minutes * 60))
        self.samples: list[tuple[float, float]] = []
        self.failures: list[str] = []
        self._twistd = twistd

    def memory(self) -> float:
        """Its resident set, in MB."""
        pages = int(Path(f"/proc/{self._twistd.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self._twistd.process.pid}/fd"))

    def log(self) -> str:
        return self._twistd.log()


def slope(samples: list[tuple[float, float]]) -> float:
    """The growth of what was sampled, in units a minute: that of the line with the least squares."""
    count = len(samples)
    when = sum(x for x, _ in samples) / count
    middle = sum(y for _, y in samples) / count
    spread = sum((x - when) ** 2 for x, _ in samples)
    return sum((x - when) * (y - middle) for x, y in samples) / spread if spread else 0.0


async def keep_on(kind: Callable[[traffic.Server], Awaitable[None]], soaked: Soaked, end: float) -> None:
    """One client of a kind after the other."""
    name = getattr(kind, "__name__", "")
    while time.monotonic() < end:
        try:
            await asyncio.wait_for(kind(soaked.target), CLIENT_SECONDS)
        except Exception:
            soaked.failures.append(f"{name}: {traceback.format_exc()}")
            print(f"{soaked.name}, {soaked.failures[-1]}", file=sys.stderr, flush=True)
        soaked.target.done[name] += 1
        await asyncio.sleep(random.uniform(0, PAUSE_SECONDS))


async def sample(all_soaked: list[Soaked], begin: float) -> None:
    while True:
        for soaked in all_soaked:
            soaked.samples.append(((time.monotonic() - begin) / 60, soaked.memory()))
        await asyncio.sleep(SAMPLE_SECONDS)


async def soak(all_soaked: list[Soaked], minutes: float) -> None:
    begin = time.monotonic()
    end = begin + minutes * 60
    sampling = asyncio.ensure_future(sample(all_soaked, begin))
    clients = [
        keep_on(kind, soaked, end)
        for soaked in all_soaked
        for kind, count in traffic.KINDS.items()
        for _ in range(count)
    ]
    await asyncio.gather(*clients)
    sampling.cancel()


def settle(soaked: Soaked, before: int) -> int:
    """Waits until the descriptors of all clients are free; returns how many are not."""
    end = time.monotonic() + END_SECONDS
    while soaked.descriptors() > before and time.monotonic() < end:
        time.sleep(0.1)
    return max(0, soaked.descriptors() - before)


def count_first(soaked: Soaked) -> int:
    """How many descriptors a server has without clients; it has all of its own when it has served one."""
    asyncio.run(traffic.small(soaked.target))
    count = soaked.descriptors()
    while True:
        time.sleep(1)
        before, count = count, soaked.descriptors()
        if count == before:
            return count


def judge(soaked: Soaked, minutes: float, left: int) -> list[str]:
    """Says what was measured; returns what is wrong."""
    target = soaked.target
    last = [(when, memory) for when, memory in soaked.samples if when >= minutes / 3]
    growth = slope(last) * 10
    at = [memory for _, memory in soaked.samples]
    log = soaked.log()
    print(
        f"figure: {soaked.name}: {target.connections:,} connections, {target.messages:,} messages of "
        f"{target.size / 1e9:.1f} GB\n"
        f"figure: {soaked.name}: {at[0]:.1f} MB of memory at the start, {last[0][1]:.1f} after a third, "
        f"{at[-1]:.1f} at the end, {max(at):.1f} at the most; over the last two thirds {growth:+.2f} MB in 10 minutes\n"
        f"{soaked.name}: memory by tenths of the time: "
        f"{', '.join(f'{at[len(at) * part // 10 - 1]:.1f}' for part in range(1, 11))}\n"
        f"figure: {soaked.name}: {left} descriptors left, {log.count('Traceback')} tracebacks, "
        f"{len(soaked.failures)} wrong answers\n"
        f"{soaked.name}: clients by kind: {', '.join(f'{name} {count:,}' for name, count in target.done.items())}",
        flush=True,
    )
    wrong = []
    if minutes >= JUDGED_MINUTES and growth > MOST_MB:
        wrong.append(f"memory grows by {growth:.2f} MB in 10 minutes, and may by {MOST_MB}")
    if left:
        wrong.append(f"{left} descriptors are left")
    if soaked.failures:
        wrong.append(f"{len(soaked.failures)} clients had a wrong answer, the first: {soaked.failures[0]}")
    return [f"{soaked.name}: {one}" for one in wrong]


def main(minutes: float) -> int:
    print(
        f"soak of {minutes:g} minutes, {datetime.now(timezone.utc):%Y-%m-%d}: wsock {wsock.__version__} "
        f"({wsock.implementation} core, {wsock.deflateImplementation}), Twisted {twisted.__version__}, "
        f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        key, certificate = make_certificate(Path(folder))
        context = ssl.create_default_context(cafile=certificate)
        port = ("--port", "tcp:0:interface=127.0.0.1")
        plain = stack.enter_context(Twistd(*port, *OPTIONS, command=COMMAND))
        secured = stack.enter_context(
            Twistd(*port, *OPTIONS, "--tls-cert", certificate, "--tls-key", key, command=COMMAND)
        )
        all_soaked = [Soaked("plain", plain, None, minutes), Soaked("TLS", secured, context, minutes)]
        before = [count_first(soaked) for soaked in all_soaked]
        asyncio.run(soak(all_soaked, minutes))
        wrong = []
        for soaked, descriptors in zip(all_soaked, before, strict=True):
            wrong += judge(soaked, minutes, settle(soaked, descriptors))
        print("\n".join(wrong) or "nothing is wrong", flush=True)
    return bool(wrong)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("minutes", nargs="?", type=float, default=30)
    sys.exit(main(parser.parse_args().minutes))
