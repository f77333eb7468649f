"""Users of twisted.cred, each with an avatar: `python cred.py [PORT [HOST]]`."""

import sys
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet import defer, task
from twisted.python.log import msg, startLogging
from zope.interface import Interface, implementer

from wsock import CredCheck, WebSocketProtocol, basicAuth, serve


class IPlayer(Interface): ...  # the avatars have its methods


@implementer(IRealm)
class Game:
    def requestAvatar(self, avatarId: Any, mind: object, *interfaces: Any) -> Any:
        return IPlayer, f"player {avatarId.decode()}", lambda: msg(f"{avatarId.decode()} has left")


class Welcome(WebSocketProtocol):
    def negotiationFinished(self) -> None:
        self.transport.sendTextMessage(f"Welcome, {self.transport.request.identity}")


async def main(reactor: Any, port: str = "8080", host: str = "127.0.0.1") -> None:
    startLogging(sys.stderr, setStdout=False)  # it tells who is refused, and why
    realm: Any = Game()
    checker: Any = InMemoryUsernamePasswordDatabaseDontUse(ada=b"2f1dbbb9c7")  # for a test; see FilePasswordDB
    portal = Portal(realm, [checker])
    build = basicAuth(CredCheck(portal, IPlayer), lambda request: Welcome())
    server = await serve(reactor, f"tcp:{port}:interface={host}", build)
    print(server.url, flush=True)
    await defer.Deferred()  # until Control-C, or SIGTERM


task.react(main, sys.argv[1:])
