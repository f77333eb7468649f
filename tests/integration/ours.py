"""A server or a client of ours in a process of its own, which compresses: its memory is to be measured.

`python ours.py wsock serve JSON`, the arguments of Compression, has an echo at /, and at /first an application that
pauses when it has a message. `python ours.py wsock client JSON URL COUNT` sends so many messages to an echo, and says
how much memory it had at the most after a tenth of them, and after all.
"""

import json
import random
import re
import sys
from collections import deque
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from wsock import Compression, Settings, WebSocketProtocol, connect, deflateImplementation, serve

#: Nothing but what the test sends.
QUIET = Settings(pingInterval=None)


class Echo(WebSocketProtocol):
    def textMessageReceived(self, message: str) -> None:
        self.transport.sendTextMessage(message)

    def bytesMessageReceived(self, data: bytes) -> None:
        self.transport.sendBytesMessage(data)


class First(WebSocketProtocol):
    def bytesMessageReceived(self, data: bytes) -> None:
        self.transport.pauseProducing()
        self.transport.sendTextMessage(f"paused after {len(data)}")


async def listen(reactor: Any, compression: Compression) -> None:
    server = await serve(
        reactor,
        "tcp:0:interface=127.0.0.1",
        lambda request: First() if request.path == "/first" else Echo(),
        compression=compression,
        settings=QUIET,
    )
    print(f"compression by {deflateImplementation}", flush=True)
    print(f"listening on {server.url}", flush=True)
    await Deferred()


def peak() -> int:
    """The most memory of this process so far, in bytes: not that of its parent before, as getrusage would have it."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


async def exchange(reactor: Any, compression: Compression, url: str, count: int) -> None:
    source = random.Random(7692)
    stream = await connect(reactor, url, compression=compression, settings=QUIET)
    under_way: deque[str | bytes] = deque()
    peaks = []
    for number in range(count + 100):
        if number < count:
            noise = source.randbytes(number % 300)
            under_way.append(f'{{"number": {number}, "text": "{noise.hex()}"}}' if number % 2 else noise)
            await stream.send(under_way[-1])
        if number >= 100:
            assert await stream.receive() == under_way.popleft()
        if number in (count // 10, count + 99):
            peaks.append(peak())
    extension = stream.transport.extension
    traffic = stream.transport.traffic
    await stream.close()
    print(json.dumps({"peaks": peaks, "extension": dict(extension.parameters), "sent": traffic.bytesSent}))


async def main(reactor: Any, name: str, role: str, compression: str, *rest: str) -> None:
    wanted = Compression(**json.loads(compression))
    if role == "serve":
        await listen(reactor, wanted)
    else:
        await exchange(reactor, wanted, rest[0], int(rest[1]))


react(main, sys.argv[1:])
