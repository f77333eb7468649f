"""A crowd of WebSocket clients, as a process: `crowd.py PORT COUNT [CERTIFICATE]`. Each line of its input is a step:

    at once   COUNT clients connect at the same time, each opens a WebSocket and has one message echoed; all stay
    leave     they close their connections
    in a row  the same, one client after the other

It answers each with a line of JSON: how long each client took from its connect() to its echo, in seconds. It waits
for nothing but the server, and uses several addresses of the loopback interface, so that ports do not run out.
"""

import json
import resource
import select
import socket
import ssl
import sys
import time
from collections.abc import Callable, Generator

REQUEST = (
    b"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
ACCEPTED = b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
#: The message of RFC 6455 section 5.7, and its echo.
HELLO, ECHO = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", b"\x81\x05Hello"
CLOSE, CLOSED = b"\x88\x82\x00\x00\x00\x00\x03\xe8", b"\x88\x02\x03\xe8"
#: Clients have one of so many addresses, each of which has ports of its own.
ADDRESSES = 16
IN, OUT = select.EPOLLIN, select.EPOLLOUT
#: How long nothing may move, in seconds: a SYN that the system has dropped comes again some seconds later.
PATIENCE_SECONDS = 60

#: What a client waits for: it is gone on with as soon as the system has it.
Steps = Generator[int, None, None]


class Client:
    """One connection, which does not block.

    Attributes:
        seconds: from its connect() to its echo.
    """

    def __init__(self, number: int, port: int, context: ssl.SSLContext | None) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.bind((f"127.0.0.{2 + number % ADDRESSES}", 0))
        self.seconds = 0.0
        self._port = port
        self._context = context

    def open(self) -> Steps:
        began = time.monotonic()
        try:
            self.socket.connect(("127.0.0.1", self._port))
        except BlockingIOError:
            yield OUT
        error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, "no connection")
        if self._context is not None:
            yield from self._begin_tls(self._context)
        self.socket.send(REQUEST)
        head = yield from self._read(lambda data: data.endswith(b"\r\n\r\n"))
        assert head.startswith(b"HTTP/1.1 101 "), head
        assert ACCEPTED in head, head
        self.socket.send(HELLO)
        echo = yield from self._read(lambda data: len(data) >= len(ECHO))
        assert echo == ECHO, echo
        self.seconds = time.monotonic() - began

    def close(self) -> Steps:
        """The closing handshake, after which the server ends the stream."""
        self.socket.send(CLOSE)
        last = yield from self._read(lambda data: False)
        assert last == CLOSED, last
        self.socket.close()

    def _begin_tls(self, context: ssl.SSLContext) -> Steps:
        secured = context.wrap_socket(
            self.socket, server_hostname="localhost", do_handshake_on_connect=False, suppress_ragged_eofs=False
        )
        self.socket = secured
        while True:
            try:
                secured.do_handshake()
            except ssl.SSLWantReadError:
                yield IN
            else:
                return

    def _read(self, is_all: Callable[[bytes], bool]) -> Generator[int, None, bytes]:
        """All that comes, up to what is enough or to the end of the stream."""
        data = b""
        while not is_all(data):
            try:
                more = self.socket.recv(2**14)
            except (BlockingIOError, ssl.SSLWantReadError):
                yield IN
                continue
            if not more:
                return data
            data += more
        return data


def drive(all_steps: list[tuple[Client, Steps]]) -> None:
    """Has clients do their steps, all side by side."""
    with select.epoll() as poll:
        # By a number of their own: TLS gives a socket another object, and the descriptor stays.
        waiting: dict[int, tuple[Client, Steps, int]] = {}
        for client, steps in all_steps:
            wanted = next(steps, None)
            if wanted is not None:
                waiting[client.socket.fileno()] = client, steps, wanted
                poll.register(client.socket.fileno(), wanted)
        while waiting:
            ready = poll.poll(PATIENCE_SECONDS, 256)
            assert ready, f"{len(waiting)} clients wait for the server"
            for descriptor, _ in ready:
                client, steps, before = waiting[descriptor]
                wanted = next(steps, None)
                if wanted is None:
                    del waiting[descriptor]
                    if client.socket.fileno() == descriptor:
                        poll.unregister(descriptor)
                elif wanted != before:
                    waiting[descriptor] = client, steps, wanted
                    poll.modify(descriptor, wanted)


def main(port: int, count: int, certificate: str | None) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    context = None if certificate is None else ssl.create_default_context(cafile=certificate)
    clients: list[Client] = []
    for line in sys.stdin:
        if line == "at once\n":
            clients = [Client(number, port, context) for number in range(count)]
            drive([(client, client.open()) for client in clients])
            took = [client.seconds for client in clients]
        elif line == "leave\n":
            drive([(client, client.close()) for client in clients])
            clients = []
            took = []
        else:
            took = []
            for number in range(count):
                client = Client(number, port, context)
                drive([(client, client.open())])
                drive([(client, client.close())])
                took.append(client.seconds)
        print(json.dumps(took), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *(sys.argv[3:] or [None]))
