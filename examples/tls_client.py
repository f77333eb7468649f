"""A client that trusts one certificate: `python tls_client.py CERTIFICATE [URL]`, the file in PEM."""

import sys
from pathlib import Path
from typing import Any

from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.ssl import Certificate
from twisted.internet.task import react

from wsock import WebSocketError, connect


async def main(reactor: Any, certificate: str, url: str = "wss://localhost:8443/") -> None:
    trusted = Certificate.loadPEM(Path(certificate).read_bytes())
    try:
        # Without trustRoot: whom the platform trusts. The host of the URL is verified in any case.
        stream = await connect(reactor, url, trustRoot=trusted)
    except (WebSocketError, ConnectError, DNSLookupError) as error:
        sys.exit(f"no connection: {error}")
    async with stream:
        await stream.send("Hello")
        print("received:", await stream.receive())
        server = stream.transport.getPeerCertificate().to_cryptography()
        print("from:", server.subject.rfc4514_string())


react(main, sys.argv[1:])
