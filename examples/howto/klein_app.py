"""A Klein app with a WebSocket at /echo: `python klein_app.py [PORT]`."""

import sys
from typing import Any

from klein import Klein

from wsock import WebSocketProtocol, WebSocketResource


class Echo(WebSocketProtocol):
    def textMessageReceived(self, message: str) -> None:
        self.transport.sendTextMessage(message)


app = Klein()
echo = WebSocketResource(lambda request: Echo())


@app.route("/echo")
def websocket(request: Any) -> Any:
    return echo


app.run("127.0.0.1", int([*sys.argv, "8080"][1]), logFile=sys.stderr)
