"""Only who knows a secret may connect: `python authentication.py [PORT [HOST]]`."""

import hmac
import sys
from functools import partial
from hashlib import sha256
from typing import Any

from twisted.internet import defer, task
from twisted.python.log import startLogging

from wsock import Refuse, Request, StreamHandler, WebSocketStream, serve


async def greet(user: str, stream: WebSocketStream) -> None:
    await stream.send(f"Hello {user}")
    async for message in stream:
        await stream.send(f"{user} said: {message!s}")


async def build(reactor: Any, request: Request) -> StreamHandler:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    user, _, secret = token.partition(".")
    await task.deferLater(reactor, 0.01)  # in place of a database, which keeps digests and no secrets
    known = {"ada": sha256(b"2f1dbbb9c7").digest()}.get(user, b"")
    if scheme.lower() != "bearer" or not hmac.compare_digest(sha256(secret.encode()).digest(), known):
        raise Refuse(401, [("WWW-Authenticate", 'Bearer realm="greetings"')])
    return StreamHandler(partial(greet, user))  # the handler of this client knows who it is


async def main(reactor: Any, port: str = "8080", host: str = "127.0.0.1") -> None:
    startLogging(sys.stderr, setStdout=False)  # it tells who is refused, and why
    where = f"tcp:{port}:interface={host}"
    server = await serve(reactor, where, partial(build, reactor), allowedOrigins=["https://example.com"])
    print(server.url, flush=True)
    await defer.Deferred()  # until Control-C, or SIGTERM


task.react(main, sys.argv[1:])
