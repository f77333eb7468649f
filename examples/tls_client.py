"""A client that trusts one certificate: `python tls_client.py CERTIFICATE [URL]`, the file in PEM."""

import ssl
import sys
from typing import Any

from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.task import react

from wsock import WebSocketError, connect


async def main(reactor: Any, certificate: str, url: str = "wss://localhost:8443/") -> None:
    trusting = ssl.create_default_context(cafile=certificate)
    try:
        # Without tls: whom the platform trusts. The host of the URL is verified in any case.
        stream = await connect(reactor, url, tls=trusting)
    except (WebSocketError, ConnectError, DNSLookupError) as error:
        sys.exit(f"no connection: {error}")
    async with stream:
        await stream.send("Hello")
        print("received:", await stream.receive())


react(main, sys.argv[1:])
