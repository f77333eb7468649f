"""The protocol alone, in this process, without sockets or Twisted: what a message and a handshake cost, by pyperf.

    python -m benchmarks codec [--only WORD] [--fast] [-o FILE] [and all other options of pyperf]

"server" receives masked frames and sends plain ones, "client" the reverse. With "compressed", the two agreed on
permessage-deflate without context takeover, and messages are JSON. The handshake is a browser's request, decoded,
checked and answered. `python -m pyperf compare_to OLD NEW` compares two files.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

import wsock
from wsock.sansio import handshake, http
from wsock.sansio.connection import Connection
from wsock.sansio.constants import Role
from wsock.sansio.extensions import Extension

SIZES = {"64 B": 64, "4 KiB": 4096, "1 MiB": 2**20}
REQUEST = (
    b"GET /echo HTTP/1.1\r\nHost: example.com\r\nConnection: keep-alive, Upgrade\r\nPragma: no-cache\r\n"
    b"Cache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    b"Chrome/142.0.0.0 Safari/537.36\r\nUpgrade: websocket\r\nOrigin: https://example.com\r\n"
    b"Sec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
DEFLATE = [
    Extension("permessage-deflate", (("server_no_context_takeover", None), ("client_no_context_takeover", None)))
]


def text(size: int) -> str:
    """JSON of so many bytes, whose end is cut off."""
    lines = [f'{{"id":{number},"name":"user {number * 7919 % 1009}"}},' for number in range(size // 20 + 4)]
    return "".join(lines)[:size]


def connect(role: Role, extensions: list[Extension]) -> Connection:
    return Connection(role, max_message_size=None, extensions=extensions)


def sending(role: Role, message: str, extensions: list[Extension]) -> Callable[[], object]:
    connection = connect(role, extensions)
    return lambda: connection.send_text(message)


def receiving(role: Role, message: str, extensions: list[Extension]) -> Callable[[], object]:
    other = Role.CLIENT if role is Role.SERVER else Role.SERVER
    data = b"".join(connect(other, extensions).send_text(message))
    connection = connect(role, extensions)
    return lambda: connection.receive_data(data)


def open_server() -> bytes:
    """Answers a request; returns the answer."""
    request = http.RequestDecoder().decode(REQUEST)
    assert request is not None
    return handshake.response(handshake.handle_open(request)).encode()


def make_cases() -> dict[str, Callable[[], object]]:
    """The cases by their names."""
    cases: dict[str, Callable[[], object]] = {"handshake": open_server}
    for size, length in SIZES.items():
        message = text(length)
        for kind, extensions in (("", []), (", compressed", DEFLATE)):
            for role, name in ((Role.SERVER, "server"), (Role.CLIENT, "client")):
                cases[f"{name} receives {size}{kind}"] = receiving(role, message, extensions)
                cases[f"{name} sends {size}{kind}"] = sending(role, message, extensions)
    return cases


def add_arguments(command: list[str], options: Any) -> None:
    """Gives the processes that pyperf starts what they don't get by themselves."""
    if options.only:
        command += ["--only", options.only]


def main() -> None:
    try:
        import pyperf
    except ImportError:
        sys.exit("pyperf is missing: pip install 'wsock[bench]'")
    runner = pyperf.Runner(add_cmdline_args=add_arguments)
    runner.argparser.description = __doc__
    runner.argparser.add_argument("--only", default="", help="only the cases with this in their names")
    if "PYTHONPATH" in os.environ and not any(word.startswith("--inherit-environ") for word in sys.argv):
        sys.argv.append("--inherit-environ=PYTHONPATH")
    options = runner.parse_args()
    runner.metadata["wsock"] = f"{wsock.__version__} ({wsock.implementation} core, {wsock.maskImplementation} mask)"
    runner.metadata["deflate"] = wsock.deflateImplementation
    if not options.worker:
        print(f"wsock {runner.metadata['wsock']}, {wsock.deflateImplementation}")
    for name, case in make_cases().items():
        if options.only in name:
            runner.bench_func(name, case)


if __name__ == "__main__":
    main()
