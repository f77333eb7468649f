"""A WebSocket server that echoes text over plain sockets, one client at a time: `python sansio_server.py 8080`."""

import contextlib
import itertools
import socket
import sys

from wsock.sansio import errors, events, handshake, http
from wsock.sansio.connection import Connection
from wsock.sansio.constants import Role


def serve(peer: socket.socket) -> None:
    chunks = iter(lambda: peer.recv(65536), b"")
    decoder = http.RequestDecoder()
    try:
        # Decode the request, however it is split, validate it, and answer it.
        for request in filter(None, map(decoder.decode, chunks)):
            peer.sendall(handshake.response(handshake.handle_open(request)).encode())
            break
    except errors.InvalidRequest as error:
        peer.sendall(handshake.refusal(error).encode())
        return
    connection = Connection(Role.SERVER)  # exchanges messages; the first may have come with the request
    for data in itertools.chain([decoder.unread], chunks):
        received = connection.receive_data(data)
        while connection.has_unread_data or received:
            peer.sendall(b"".join(connection.replies()))  # Pongs, and the answer to a Close
            for event in received:
                if isinstance(event, events.TextReceived):
                    peer.sendall(b"".join(connection.send_text(event.text)))
            received = connection.receive_data(b"")
        if not connection.is_open:
            return


with socket.create_server(("", int(sys.argv[1]) if len(sys.argv) > 1 else 8080)) as port:
    for client, _ in iter(port.accept, None):
        with client, contextlib.suppress(OSError):
            serve(client)
