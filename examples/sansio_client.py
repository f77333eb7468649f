"""A WebSocket client over a plain socket: `python sansio_client.py ws://localhost:8080/echo`."""

import itertools
import socket
import sys

from wsock.sansio import handshake, http, url
from wsock.sansio.connection import Connection
from wsock.sansio.constants import Role
from wsock.sansio.events import CloseReceived, Failed, PongReceived, TextReceived

target = url.parse(sys.argv[1] if len(sys.argv) > 1 else "ws://localhost:8080/echo")
with socket.create_connection((target.host, target.port)) as peer:
    chunks = iter(lambda: peer.recv(65536), b"")

    # Build the request, encode it and send it; decode the answer, however it is split, and validate it.
    request = handshake.open(target)
    peer.sendall(request.encode())
    decoder = http.ResponseDecoder()
    response = next(filter(None, map(decoder.decode, chunks)))
    handshake.handle_response(response, request)

    # Exchange messages. The first frames may have come with the answer.
    connection = Connection(Role.CLIENT)
    peer.sendall(b"".join(connection.send_text("Hello") + connection.send_ping(b"?")))
    for data in itertools.chain([decoder.unread], chunks):
        events = connection.receive_data(data)
        while connection.has_unread_data:
            events += connection.receive_data(b"")
        peer.sendall(b"".join(connection.replies()))  # Pongs, and the answer to a Close
        for event in events:
            if isinstance(event, TextReceived):
                print("text:", event.text)
            elif isinstance(event, PongReceived):
                peer.sendall(b"".join(connection.close(1000, "Bye")))  # close(None) gives no reason
            elif isinstance(event, CloseReceived):
                print("closed:", *(connection.close_received or ()))
            elif isinstance(event, Failed):
                sys.exit(str(event.error))
