"""A Klein app with a WebSocket at /echo: `python klein_app.py [PORT]`."""

import sys

from klein import Klein
from twisted.internet import reactor

from wsock import WebSocketProtocol, WebSocketResource


class Echo(WebSocketProtocol):
    def textMessageReceived(self, message: str) -> None:
        self.transport.sendTextMessage(message)


app, echo = Klein(), WebSocketResource(lambda request: Echo())


@app.route("/echo")
def websocket(request):
    return echo


reactor.addSystemEventTrigger("before", "shutdown", echo.stop)
app.run("127.0.0.1", int(sys.argv[1] if sys.argv[1:] else 8080), logFile=sys.stderr)
