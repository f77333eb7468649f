"""A site that people log in to, and a WebSocket that knows them: `python twisted_web.py [PORT]`."""

import sys
from typing import Any

from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Site

from wsock import Refuse, WebSocketProtocol, WebSocketResource


class Login(Resource):
    def render_POST(self, request: Any) -> bytes:
        request.getSession().name = request.args[b"name"][0].decode()  # behind a check of the password
        return b"welcome"


class Talk(WebSocketProtocol):
    def __init__(self, name: str) -> None:
        self.name = name

    def textMessageReceived(self, message: str) -> None:
        self.transport.sendTextMessage(f"{self.name}: {message}")


def build(request: Any) -> Talk:
    session = request.webRequest.getSession()
    if not hasattr(session, "name"):
        raise Refuse(403, body=b"log in first")
    return Talk(session.name)


root, talk = Resource(), WebSocketResource(build)
root.putChild(b"login", Login())
root.putChild(b"talk", talk)
port = reactor.listenTCP(int([*sys.argv, "8080"][1]), Site(root), interface="127.0.0.1")
reactor.addSystemEventTrigger("before", "shutdown", talk.stop)  # a Site closes no WebSocket
print(f"http://127.0.0.1:{port.getHost().port}/", flush=True)
reactor.run()
