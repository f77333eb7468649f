"""A site that people log in to, and a WebSocket that knows them: `python twisted_web.py [PORT]`."""

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.web.resource import Resource
from twisted.web.server import Site

from wsock import Refuse, StreamHandler, WebSocketResource, WebSocketStream


class Login(Resource):
    def render_POST(self, request: Any) -> bytes:
        request.getSession().name = request.args[b"name"][0].decode()  # behind a check of the password
        return b"welcome"


def build(request: Any) -> StreamHandler:
    async def talk(stream: WebSocketStream) -> None:
        async for message in stream:
            await stream.send(f"{session.name}: {message!s}")

    session = request.webRequest.getSession()
    if not hasattr(session, "name"):
        raise Refuse(403, body=b"log in first")
    return StreamHandler(talk)


async def main(reactor: Any, port: str = "8080") -> None:
    root: Any = Resource()
    root.putChild(b"login", Login())
    root.putChild(b"talk", WebSocketResource(build))
    listening = reactor.listenTCP(int(port), Site(root), interface="127.0.0.1")
    print(f"http://127.0.0.1:{listening.getHost().port}/", flush=True)
    await Deferred()  # until Control-C, or SIGTERM


react(main, sys.argv[1:])
