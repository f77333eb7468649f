"""A client that sends and receives with await: `python client_await.py [URL]`."""

import sys
from typing import Any

from twisted.internet.task import react

from wsock import connect


async def main(reactor: Any, url: str = "ws://127.0.0.1:8080/echo") -> None:
    async with await connect(reactor, url) as stream:  # and closes it in the end
        for word in ("one", "two", "three"):
            await stream.send(word)
        async for message in stream:  # until the server closes
            print("received:", message)
            if message == "three":
                break
    print("closed:", stream.closeReceived)


react(main, sys.argv[1:])
