"""A client by way of a proxy: `python proxies.py PROXY URL`, such as `http://proxy.example:3128 wss://example.com/`."""

import sys
from typing import Any

from twisted.internet.task import react

from wsock import ProxyError, connect


async def main(reactor: Any, proxy: str, url: str) -> None:
    try:
        async with await connect(reactor, url, proxy=proxy) as stream:
            await stream.send("Hello")
            print("received:", await stream.receive())
    except ProxyError as error:
        print("not connected:", error)


react(main, sys.argv[1:])
