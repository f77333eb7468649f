#!/usr/bin/env python3
"""Takes the Autobahn TestSuite's cases by `wsock.connect`: the client that `run.py client` runs.

    echo_client.py [--context-takeover] URL [CERTIFICATE]

The certificate, in a PEM file, is whom a wss: URL is trusted for. A case that does not begin, or an exception in the
log, ends with exit status 1, and ends no run: all the rest is the suite's to judge.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.ssl import Certificate
from twisted.internet.task import react
from twisted.logger import formatEvent, globalLogPublisher

from wsock import Compression, Settings, WebSocketEnded, connect

#: The largest messages of the suite have 16 MiB (9.1.6 and 9.2.6).
SETTINGS = Settings(maxMessageSize=2**24)
#: Each message refers to those before it, small ones too.
CONTEXT_TAKEOVER = Compression(serverContextTakeover=True, clientContextTakeover=True, threshold=0)

faults: list[str] = []


def observe(event: Any) -> None:
    failure = event.get("log_failure")
    if failure is not None:
        faults.append(f"{formatEvent(event)}\n{failure.getTraceback()}")


async def echo(attempt: Any, url: str) -> None:
    async with await attempt(url) as stream:
        try:
            async for message in stream:
                await stream.send(message)
        except WebSocketEnded:
            # Which is what many cases are about.
            pass


async def run_cases(reactor: Any, url: str, certificate: Path | None, compression: Compression) -> None:
    trust = None if certificate is None else Certificate.loadPEM(certificate.read_bytes())
    attempt = partial(connect, reactor, settings=SETTINGS, compression=compression, trustRoot=trust)
    async with await attempt(f"{url}/getCaseCount") as stream:
        count = int(await stream.receive())
    for number in range(1, count + 1):
        try:
            await echo(attempt, f"{url}/runCase?case={number}&agent=wsock")
        except Exception as error:
            faults.append(f"case {number} of {count}: {error!r}")
    await echo(attempt, f"{url}/updateReports?agent=wsock")
    if faults:
        raise SystemExit("\n".join(faults))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--context-takeover", dest="compression", action="store_const", const=CONTEXT_TAKEOVER)
    parser.add_argument("url")
    # `run.py` gives an empty one for ws:.
    parser.add_argument("certificate", nargs="?", type=lambda text: Path(text) if text else None)
    arguments = parser.parse_args()
    globalLogPublisher.addObserver(observe)
    compression = arguments.compression or Compression()
    react(lambda reactor: run_cases(reactor, arguments.url, arguments.certificate, compression))


if __name__ == "__main__":
    main()
