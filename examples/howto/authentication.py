"""Users by password, programs by token, and guests: `python authentication.py [PORT [HOST]]`."""

import sys
from typing import Any

from twisted.internet import defer, task
from twisted.python.log import startLogging

from wsock import Passwords, Routes, Tokens, WebSocketStream, basicAuth, bearerAuth, serve, streamApplication


async def greet(stream: WebSocketStream) -> None:
    name = stream.request.identity or "guest"
    await stream.send(f"Hello {name}")
    async for message in stream:
        await stream.send(f"{name} said: {message!s}")


greetings = streamApplication(greet)
passwords = Passwords({"ada": "2f1dbbb9c7"})  # for people, use HtpasswdFile or a database
tokens = Tokens({"mF_9.B5f-4.1JqM": "robot"})  # the identity of each token
routes = Routes(
    {
        "/": basicAuth(passwords, greetings, realm="greetings"),
        "/api": bearerAuth(tokens, greetings, realm="greetings", subprotocol=True),
        "/both": bearerAuth(tokens, greetings, otherwise=basicAuth(passwords, greetings)),
        "/open": basicAuth(passwords, greetings, otherwise=greetings),
    }
)


async def main(reactor: Any, port: str = "8080", host: str = "127.0.0.1") -> None:
    startLogging(sys.stderr, setStdout=False)  # it tells who is refused, and why
    server = await serve(reactor, f"tcp:{port}:interface={host}", routes, allowedOrigins=["https://example.com"])
    print(server.url, flush=True)
    await defer.Deferred()  # until Control-C, or SIGTERM


task.react(main, sys.argv[1:])
