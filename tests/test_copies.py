"""Copies and pickles, and the classes that refuse them: every public class is in one of the lists."""

import copy
import enum
import pickle
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock

import wsock
import wsock.sansio
import wsock.testing
from wsock.sansio import events
from wsock.sansio.assembler import Assembler
from wsock.sansio.body import BodyDecoder
from wsock.sansio.connection import Connection
from wsock.sansio.constants import BINARY, TEXT, CloseCode, Opcode, Role
from wsock.sansio.deflate import Backend, DeflateOptions, Deflater, Inflater
from wsock.sansio.extensions import DeflateParameters, Extension
from wsock.sansio.frames import FrameReader, MaskedFrameWriter
from wsock.sansio.handshake import Agreement, Opening, ReadyFields
from wsock.sansio.head import HeadReader
from wsock.sansio.http import HeaderFields, RequestDecoder, RequestHead, ResponseDecoder, ResponseHead
from wsock.sansio.masking import PayloadBuffer
from wsock.sansio.messages import MessageReader
from wsock.sansio.shared import SharedMessage
from wsock.sansio.url import URL, parse

WAYS: dict[str, Callable[[Any], Any]] = {"copy": copy.copy, "deepcopy": copy.deepcopy}


def by(protocol: int) -> Callable[[Any], Any]:
    return lambda thing: pickle.loads(pickle.dumps(thing, protocol))


WAYS |= {f"pickle {protocol}": by(protocol) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)}
each_way = pytest.mark.parametrize("way", WAYS)

HEAD = b"GET /chat?a=b HTTP/1.1\r\nHost: example.org\r\nCookie: \xe9=1\r\ncookie: b=2\r\nX:\r\n\r\n"
ANSWER = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nWarning: a:b \r\n\r\n"
CHUNKED = b"HTTP/1.1 403 \r\nTransfer-Encoding: chunked\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE = b"\x88\x02\x03\xea"


def settings(error: BaseException, **attributes: object) -> BaseException:
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


def fed(decoder: Any, *pieces: bytes) -> Any:
    for piece in pieces:
        decoder.decode(piece)
    return decoder


def assembled(opcode: int, *pieces: bytes) -> Assembler:
    assembler = Assembler(opcode)
    for piece in pieces:
        assembler.add(piece, 0, len(piece), b"", 0, 100)
    return assembler


def read(*pieces: bytes, masked: bool = False, most: int = 16) -> MessageReader:
    reader = MessageReader(masked, 1000, 3)
    for piece in pieces:
        reader.read(piece, [], most)
    return reader


def received(role: Role, *pieces: bytes, sent: Callable[[Connection], object] = bool, **limits: Any) -> Connection:
    connection = Connection(role, **limits)
    sent(connection)
    for piece in pieces:
        connection.receive_data(piece)
    return connection


def gathered(*pieces: bytes) -> PayloadBuffer:
    buffer = PayloadBuffer()
    for piece in pieces:
        buffer.extend(piece, 0, len(piece), b"", 0, 100)
    return buffer


def behind(head: bytes) -> FrameReader:
    """The reader of a server's frames where compression was agreed on."""
    reader = FrameReader(False)
    reader.compressed_room = 1000
    assert reader.read_head(head, 0, 100) == 2
    return reader


def begun(head: bytes) -> HeadReader:
    reader = HeadReader(False, 99, 999, 9)
    assert reader.read(head) is None
    return reader


DEFLATE = (Extension("permessage-deflate", [("server_no_context_takeover", None)]),)
#: RFC 7692 section 7.2.3.1.
HELLO = b"\xf2\x48\xcd\xc9\xc9\x07\x00"

REJECTION = wsock.Response(ResponseHead(ANSWER, b"no"))
FAULT = wsock.RemoteProtocolError("frame masked", 1002)


def refusing(decoder: Any, data: bytes) -> Any:
    with pytest.raises(wsock.HandshakeError):
        decoder.decode(data)
    return decoder


#: Classes whose objects are copied, with some objects of each.
VALUES: dict[type, list[Any]] = {
    # Errors
    wsock.WebSocketError: [wsock.WebSocketError(), wsock.WebSocketError("a", "b")],
    wsock.LocalProtocolError: [wsock.LocalProtocolError("text is a str")],
    wsock.RemoteProtocolError: [wsock.RemoteProtocolError("m"), FAULT, settings(wsock.RemoteProtocolError("m"), own=1)],
    wsock.InvalidPayload: [wsock.InvalidPayload("text is not UTF-8")],
    wsock.MessageTooBig: [wsock.MessageTooBig("message over the size limit")],
    wsock.HandshakeError: [wsock.HandshakeError("m")],
    wsock.InvalidRequest: [wsock.InvalidRequest("m"), wsock.InvalidRequest("m", 405, [("Allow", "GET")])],
    wsock.InvalidResponse: [wsock.InvalidResponse("m")],
    wsock.ConnectionRejected: [wsock.ConnectionRejected("the server answered 403", REJECTION)],
    wsock.InvalidURL: [wsock.InvalidURL("no host in the URL")],
    wsock.Close: [wsock.Close(1000, "bye")],
    wsock.WebSocketEnded: [wsock.WebSocketEnded("m"), wsock.WebSocketEnded("m", (1000, ""), (1000, "bye"))],
    wsock.WebSocketClosed: [wsock.WebSocketClosed("m", (1000, "a"), (1001, "b"))],
    wsock.WebSocketDropped: [wsock.WebSocketDropped("m"), wsock.WebSocketDropped("m", None, (1002, ""), 1002)],
    wsock.ProxyError: [
        wsock.ProxyError("m"),
        wsock.ProxyError("the proxy answered 403", REJECTION),
        wsock.ProxyError("the proxy did not connect us", reply=5),
    ],
    wsock.Refuse: [wsock.Refuse(403), wsock.Refuse(401, [("WWW-Authenticate", "Basic")], b"who are you?")],
    # Values that applications give and get
    wsock.Proxy: [wsock.Proxy("socks5://localhost:9050"), wsock.Proxy("http://a:b@proxy.example")],
    wsock.Accept: [wsock.Accept(wsock.WebSocketProtocol(), "chat", [("Set-Cookie", "a=b")])],
    wsock.Compression: [wsock.Compression(), wsock.Compression(level=9, clientContextTakeover=True, threshold=0)],
    wsock.Settings: [wsock.Settings(), wsock.Settings(maxMessageSize=None, slowConsumer="drop", openTimeout=2.5)],
    wsock.Response: [REJECTION],
    wsock.Headers: [REJECTION.headers],
    wsock.CloseCode: list(CloseCode),
    wsock.AccessRecord: [
        wsock.AccessRecord(
            "[::1]:80", "/chat", 101, "a.b", None, 1000, "bye", "peer", 1.5, *range(len(wsock.AccessRecord._fields) - 9)
        )
    ],
    wsock.ConnectionCounters: [wsock.ConnectionCounters(*range(len(wsock.ConnectionCounters._fields)))],
    wsock.ProxyPolicy: [wsock.ProxyPolicy(["10.0.0.0/8", "::1", "unix:/run/a"], 2, "Forwarded")],
    wsock.BroadcastResult: [wsock.BroadcastResult(*range(len(wsock.BroadcastResult._fields)))],
    # The core
    URL: [parse("ws://localhost"), parse("wss://[::1]:81/a?b=c")],
    HeaderFields: [
        HeaderFields(HEAD),
        HeaderFields(ANSWER),
        HeaderFields(b"GET / HTTP/1.1\r\n\r\n"),
        HeaderFields(HEAD, "A\nb\na\nc"),
    ],
    RequestHead: [RequestHead(HEAD), RequestHead(HEAD, "A\nb")],
    ResponseHead: [ResponseHead(ANSWER), ResponseHead(ANSWER, b"no")],
    HeadReader: [HeadReader(False, 99, None, 9), HeadReader(True, None, 999, None), begun(b"GET / HTTP/1.1\r\nHo")],
    RequestDecoder: [
        RequestDecoder(),
        fed(RequestDecoder(), HEAD[:-3]),
        fed(RequestDecoder(), HEAD[:9], HEAD[9:40]),
        fed(RequestDecoder(), HEAD + b"more"),
        fed(RequestDecoder(max_header_line=99, max_header_size=999, max_headers=None), b"\r\n", b"HEAD /"),
        refusing(RequestDecoder(), b"HEAD / HTTP/2.0\r\n"),
    ],
    ResponseDecoder: [
        ResponseDecoder(),
        fed(ResponseDecoder(), INTERIM + INTERIM, ANSWER[:30]),
        fed(ResponseDecoder(), ANSWER + b"no"),
        fed(ResponseDecoder(max_header_line=99, max_header_size=999, max_headers=1), ANSWER[:43], b" \r\n", b"Warn"),
    ],
    BodyDecoder: [
        BodyDecoder(ResponseHead(ANSWER), 100),
        fed(BodyDecoder(ResponseHead(ANSWER), 100), b"n"),
        fed(
            BodyDecoder(ResponseHead(b"HTTP/1.1 403 \r\nTransfer-Encoding: chunked\r\n\r\n"), 100),
            b"3\r\nabc\r\n5\r",
            b"\nd",
        ),
        fed(BodyDecoder(ResponseHead(b"HTTP/1.1 403 \r\nTransfer-Encoding: chunked\r\n\r\n"), 100), b"3"),
        fed(BodyDecoder(ResponseHead(ANSWER), 2), b"no"),
    ],
    Opening: [Opening(RequestHead(HEAD), "key", ["chat"], [Extension("x")], None, "example.org")],
    ReadyFields: [ReadyFields([]), ReadyFields([("Server", "x"), ("Set-Cookie", "a=b")])],
    Agreement: [Agreement(None, []), Agreement("chat", [Extension("x", [("a", "b")])])],
    Extension: [Extension("x"), Extension("x", [("a", None), ("b", "c")])],
    events.Event: [events.Event()],
    events.TextReceived: [events.TextReceived("\u20ac")],
    events.BinaryReceived: [events.BinaryReceived(b"\x00")],
    events.PingReceived: [events.PingReceived(b"ping")],
    events.PongReceived: [events.PongReceived(b"pong")],
    events.CloseReceived: [events.CloseReceived(1001, "bye")],
    events.Failed: [events.Failed(FAULT)],
    DeflateParameters: [DeflateParameters(), DeflateParameters(False, True, 12, 11)],
    DeflateOptions: [DeflateOptions(), DeflateOptions(9, 1, 0, 10, False)],
    Deflater: [
        Deflater(15, DeflateOptions(), False),
        Deflater(12, DeflateOptions(9, 3), True),
        Deflater(9, DeflateOptions(None, 4), True),
    ],
    Inflater: [Inflater(15, False), Inflater(8, True)],
    SharedMessage: [SharedMessage("\u20ac"), SharedMessage(b"\x00\xff", True), SharedMessage(bytearray(5), False)],
    FrameReader: [FrameReader(True), FrameReader(False), behind(b"\x41\x00"), behind(b"\xc2\x05"), behind(b"\x02\x00")],
    MaskedFrameWriter: [MaskedFrameWriter()],
    PayloadBuffer: [gathered(), gathered(b"Hel", b"lo")],
    Assembler: [assembled(TEXT, b"Hel", b"lo \xe2\x82"), assembled(BINARY, b"\xe2"), assembled(TEXT)],
    MessageReader: [
        read(),
        read(b"\x01\x03Hel\x80"),
        read(b"\x82\x7e\x00\x80" + bytes(9)),
        read(b"\x89\x04pi", b"n"),
        read(b"\x81\x01a\x81\x01b\x81", b"\x01c", b"\x81\x02", most=1),
        read(b"\x01\x82\x00\x00\x00\x00ab", masked=True),
    ],
    Connection: [
        received(Role.SERVER),
        received(Role.CLIENT, b"\x01\x03Hel", b"\x89\x01?\x00", max_message_size=5, max_empty_fragments=7),
        received(Role.CLIENT, b"\x81\x01a\x81\x01b\x81\x01c", receive_queue=1),
        received(Role.CLIENT, b"\x81\x01a" + CLOSE, extensions=(Extension("x"),)),
        received(Role.CLIENT, CLOSE, sent=lambda connection: connection.close(1001, "bye")),
        received(Role.SERVER, b"\x81\x01a"),
        received(Role.SERVER, sent=Connection.receive_eof),
        received(Role.CLIENT, CLOSE, sent=lambda connection: connection.send_text("a")),
        received(Role.CLIENT, b"\xc1\x07" + HELLO + b"\xc1", extensions=DEFLATE, deflate=DeflateOptions(9, 3, 5)),
        received(Role.SERVER, extensions=DEFLATE, sent=lambda connection: connection.send_text("a", True)),
    ],
    Role: list(Role),
    Opcode: list(Opcode),
}


async def noHandler(stream: Any) -> None:
    raise AssertionError("it is not called")


#: Classes whose objects belong to a connection, with an object of each and what its error speaks of.
REFUSED: dict[type, tuple[Callable[[], Any], str]] = {
    wsock.Request: (lambda: wsock.Request(RequestHead(HEAD), None), "its headers"),
    wsock.WebSocketTransport: (lambda: server().buildProtocol(None), "sendFromThread"),
    wsock.Server: (lambda: started(), "in each process"),
    wsock.WebSocketServerService: (lambda: wsock.WebSocketServerService(8080, server()), "in each process"),
    wsock.Agent: (lambda: wsock.Agent(Clock()), "in each process"),
    wsock.WebSocketServerFactory: (lambda: server(), "in each process"),
    wsock.WebSocketResource: (lambda: wsock.WebSocketResource(noHandler, reactor=Clock()), "in each process"),
    wsock.Passwords: (lambda: wsock.Passwords({"ada": "2f1d"}), "in each process"),
    wsock.Tokens: (lambda: wsock.Tokens(["2f1d"]), "in each process"),
    wsock.HtpasswdFile: (lambda: wsock.HtpasswdFile.__new__(wsock.HtpasswdFile), "in each process"),
    wsock.WebSocketClientFactory: (lambda: client(), "in each process"),
    wsock.WebSocketStream: (wsock.WebSocketStream, "pass on the messages"),
    wsock.StreamHandler: (lambda: wsock.StreamHandler(noHandler), "make one for each connection"),
    wsock.Group: (wsock.Group, "make another one"),
    wsock.Route: (lambda: wsock.Route(print), "in each process"),  # type: ignore[arg-type]
    wsock.Routes: (lambda: wsock.Routes({}), "in each process"),
    wsock.RateLimit: (lambda: wsock.RateLimit(print, 1), "in each process"),  # type: ignore[arg-type]
    wsock.AddressLimits: (lambda: wsock.AddressLimits(maxConnections=1), "in each process"),
}


def started() -> Any:
    servers: list[Any] = []
    wsock.serve(MemoryReactorClock(), 8080, lambda request: wsock.WebSocketProtocol()).addCallback(servers.append)
    return servers[0]


#: Classes of which nothing is promised: an application and a portal are their writer's, a library that was found is its
#: process's, and the doubles of tests stay in their test.
OTHERS: set[type] = {
    Backend,
    wsock.Application,
    wsock.CredCheck,
    wsock.WebSocketProtocol,
    wsock.testing.MemoryAgent,
    wsock.testing.MemoryEndpoint,
    wsock.testing.MemoryTransport,
    wsock.testing.Pair,
    wsock.testing.ScriptedPeer,
}


def server() -> Any:
    return wsock.WebSocketServerFactory(lambda request: wsock.WebSocketProtocol(), reactor=Clock())


def client() -> Any:
    return wsock.WebSocketClientFactory("ws://localhost/", lambda request: wsock.WebSocketProtocol(), reactor=Clock())


def public() -> set[type]:
    """The public classes: what wsock and wsock.testing export, and all of the core without an underscore."""
    found = [getattr(wsock, name) for name in wsock.__all__]
    found += [getattr(wsock.testing, name) for name in wsock.testing.__all__]
    for info in pkgutil.iter_modules(wsock.sansio.__path__):
        if not info.name.startswith("_"):
            module = import_module(f"wsock.sansio.{info.name}")
            found += [value for name, value in vars(module).items() if not name.startswith("_")]
    return {one for one in found if isinstance(one, type) and one.__module__.startswith("wsock")}


def facts(thing: Any) -> Any:
    """All that an object of ours knows, in what can be compared."""
    if isinstance(thing, PayloadBuffer):
        return bytes(thing)
    if isinstance(thing, (enum.Enum, tuple, list)):
        return [type(thing), list(map(facts, thing))] if isinstance(thing, (tuple, list)) else thing
    if not type(thing).__module__.startswith("wsock"):
        return thing.__name__ if callable(thing) else thing
    told: dict[str, Any] = {name: facts(getattr(thing, name)) for name in attributes(thing) if hasattr(thing, name)}
    if isinstance(thing, BaseException):
        told |= {"args": thing.args, "str": str(thing), "repr": repr(thing)}
    return type(thing), told


def attributes(thing: Any) -> Iterator[str]:
    """The names of all attributes, of a compiled object too."""
    yield from getattr(thing, "__dict__", ())
    for kind in type(thing).__mro__:
        for names in (getattr(kind, "__mypyc_attrs__", ()), vars(kind).get("__slots__", ())):
            yield from (name for name in names if not (name.startswith("__") or name in ("_keys", "_used")))


def test_every_public_class_is_in_a_list() -> None:
    lists = [set(VALUES), set(REFUSED), OTHERS]
    assert public() - set().union(*lists) == set()
    assert sum(map(len, lists)) == len(set().union(*lists))


@each_way
@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.__name__)
def test_a_copy_has_the_same_facts(kind: type, way: str) -> None:
    for one in VALUES[kind]:
        before = facts(one)
        copied = WAYS[way](one)
        assert type(copied) is type(one)
        assert facts(copied) == before
        assert facts(one) == before


@each_way
@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind.__name__)
def test_what_belongs_to_a_connection_says_so(kind: type, way: str) -> None:
    make, advice = REFUSED[kind]
    with pytest.raises(TypeError, match=f"can't be copied or pickled.*{advice}"):
        WAYS[way](make())


@each_way
def test_errors_of_others_too(way: str) -> None:
    """A subclass with arguments of its own, and a note."""
    error = Forbidden("Ann")
    copied = WAYS[way](error)
    assert (copied.who, copied.status, copied.body, str(copied)) == ("Ann", 403, b"Ann", str(error))
    if sys.version_info >= (3, 11):
        noted = wsock.WebSocketDropped("m", code=1009)
        noted.add_note("of the third message")
        assert WAYS[way](noted).__notes__ == ["of the third message"]


class Forbidden(wsock.Refuse):
    def __init__(self, who: str) -> None:
        super().__init__(403, body=who.encode())
        self.who = who


MASK = b"\x00\x00\x00\x00"
#: Of a client: a text in three fragments with a Ping and a Pong between them, a binary message, a Close.
FROM_CLIENT = (
    b"\x01\x83" + MASK + b"He\xe2\x89\x81" + MASK + b"?\x00\x82" + MASK + b"\x82\xac\x8a\x80" + MASK
    + b"\x80\x81" + MASK + b"!\x82\xfe\x00\x80" + MASK + bytes(128) + b"\x88\x82" + MASK + b"\x03\xe9"
)  # fmt: skip
FROM_SERVER = (
    b"\x01\x03He\xe2\x89\x01?\x00\x02\x82\xac\x8a\x00\x80\x01!\x82\x7e\x00\x80" + bytes(128) + b"\x88\x02\x03\xe9"
)


def rest(connection: Connection, data: bytes) -> Any:
    """The further life of a connection: its events, and its answers without their masks."""
    told = connection.receive_data(data)
    while connection.has_unread_data:
        told += connection.receive_data(b"")
    replies = MessageReader(connection._masks is not None, None, None)
    answers: list[events.Event] = []
    replies.read(b"".join(connection.replies()), answers, 100)
    return facts(told), facts(answers), connection.close_sent, connection.close_received, facts(connection.failed)


@each_way
@pytest.mark.parametrize(("role", "data"), [(Role.SERVER, FROM_CLIENT), (Role.CLIENT, FROM_SERVER)])
def test_a_copy_of_a_connection_goes_on_by_itself(role: Role, data: bytes, way: str) -> None:
    for queue in (16, 1):
        for cut in range(len(data)):
            original = Connection(role, receive_queue=queue)
            original.receive_data(data[:cut])
            copied = WAYS[way](original)
            expected = rest(Connection(role, receive_queue=queue), data)
            told = rest(copied, data[cut:])
            assert told == rest(original, data[cut:])
            assert told[2:] == expected[2:]


@each_way
@pytest.mark.parametrize("role", Role)
def test_a_connection_within_a_compressed_message_is_not_copied(role: Role, way: str) -> None:
    mask = b"" if role is Role.CLIENT else MASK
    bit = len(mask) << 5
    alone = [Extension("permessage-deflate", [(f"{side}_no_context_takeover", None) for side in ("server", "client")])]
    data = bytes([0x41, bit | 3]) + mask + HELLO[:3] + bytes([0x80, bit | 4]) + mask + HELLO[3:]
    for agreed, after in ((alone, True), ([Extension("permessage-deflate")], False)):
        for cut in range(len(data) + 1):
            original = Connection(role, extensions=agreed)
            original.receive_data(data[:cut])
            # With context takeover an inflater knows what it has seen; and a message that was begun is in one.
            if cut < 2 + len(mask) or (cut == len(data) and after):
                copied = WAYS[way](original)
                for one in (original, copied):
                    told = one.receive_data(data[cut:] + bytes([0xC1, bit | 7]) + mask + HELLO)
                    assert facts(told) == [list, [facts(events.TextReceived("Hello"))] * (2 if cut < len(data) else 1)]
            else:
                with pytest.raises(TypeError, match="can't be copied or pickled within a compressed message, nor with"):
                    WAYS[way](original)


@each_way
def test_a_copy_of_what_has_failed(way: str) -> None:
    original = Connection(Role.CLIENT, extensions=[Extension("permessage-deflate")])
    original.receive_data(b"\xc1\x07" + HELLO + b"\x42\x01\xff")
    while original.has_unread_data:
        original.receive_data(b"")
    assert original.failed is not None
    assert facts(WAYS[way](original)) == facts(original)


def test_masks_are_not_copied() -> None:
    """RFC 6455 section 10.3: a masking key is not used twice."""
    original = Connection(Role.CLIENT)
    original.send_binary(b"\x00")
    copies = [way(original) for way in WAYS.values()]
    keys = [b"".join(one.send_binary(b""))[2:] for one in (original, *copies) for _ in range(8)]
    assert len({*keys}) == len(keys)


@each_way
def test_a_buffer_grows_on_after_a_copy(way: str) -> None:
    original = gathered(b"Hel")
    copied = WAYS[way](original)
    for buffer in (copied, original):
        buffer.extend(b"lo", 0, 2, b"", 0, 5)
        assert bytes(buffer) == b"Hello"
        assert buffer.take() == b"Hello"
        assert bytes(buffer) == b""


POOL = """
import sys

sys.path.insert(0, sys.argv[1])

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import wsock
from wsock.sansio.http import ResponseHead


def fail(number):
    head = b"HTTP/1.1 403 Forbidden\\r\\nContent-Length: 2\\r\\n\\r\\n"
    if number == 0:
        raise wsock.ConnectionRejected("the server answered 403", wsock.Response(ResponseHead(head, b"no")))
    raise wsock.WebSocketDropped("frame masked", None, (1002, ""), 1002)


if __name__ == "__main__":
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        rejected, dropped = [pool.submit(fail, number).exception(60) for number in range(2)]
    print(type(rejected).__name__, rejected, rejected.response.status, rejected.response.body)
    print(type(dropped).__name__, dropped, dropped.code, dropped.closeSent)
"""


def test_errors_come_out_of_a_process_pool(tmp_path: Path) -> None:
    program = tmp_path / "pool.py"
    program.write_text(POOL)
    command = [sys.executable, str(program), str(Path(wsock.__file__).parent.parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr == ""
    assert done.stdout.split("\n") == [
        "ConnectionRejected the server answered 403 403 b'no'",
        "WebSocketDropped frame masked 1002 Close(code=1002, reason='')",
        "",
    ]
