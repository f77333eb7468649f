"""Compression as applications have it: what is agreed on, the choice for each message, groups, memory."""

import zlib
from contextlib import nullcontext
from dataclasses import FrozenInstanceError
from random import Random
from typing import Any

import pytest
from wire import ANSWER, HELLO_SENT, REQUEST, Application, Asked, Served, Slow, opened

import wsock
from wsock import Agent, Compression, Group, LocalProtocolError, WebSocketClientFactory, WebSocketServerFactory
from wsock.compression import asOptions, asParameters
from wsock.sansio.constants import Role
from wsock.sansio.extensions import Extension
from wsock.settings import Settings
from wsock.stream import WebSocketStream
from wsock.testing import MemoryAgent

OFFER = "permessage-deflate; client_max_window_bits"
ALONE = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
#: Of 400 bytes, which get smaller.
TEXT = "compress me, " * 30 + "0123456789"
CONTEXTS = Compression(serverContextTakeover=True, clientContextTakeover=True)


def asks(offer: str = OFFER) -> bytes:
    """A client's request that offers compression."""
    return REQUEST[:-2] + f"Sec-WebSocket-Extensions: {offer}\r\n\r\n".encode()


def served(
    compression: Compression | None = Compression(),  # noqa: B008 - frozen
    offer: str = OFFER,
    application: Any = None,
    settings: dict[str, Any] | None = None,
    transport: Any = None,
    factory: Any = None,
) -> Served:
    """A server's connection, open, that was offered compression."""
    arguments = {} if factory is not None else {"compression": compression}
    one = Served(application, settings, transport, factory, **arguments)
    assert b" 101 " in one.feed(asks(offer))
    return one


def frame(payload: bytes, first: int = 0xC1) -> bytes:
    """A client's frame, masked with zeros, which change nothing."""
    length = bytes((0x80 | len(payload),)) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
    return bytes((first,)) + length + bytes(4) + payload


def deflated(data: bytes, bits: int = 15) -> bytes:
    """A message as another encoder compresses it."""
    stream = zlib.compressobj(6, zlib.DEFLATED, -bits)
    return (stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


def payloads(data: bytes) -> list[tuple[int, bytes]]:
    """The first byte and the payload of each frame of a server."""
    frames = []
    while data:
        length, start = data[1], 2
        if length == 126:
            length, start = int.from_bytes(data[2:4], "big"), 4
        elif length == 127:
            length, start = int.from_bytes(data[2:10], "big"), 10
        frames.append((data[0], data[start : start + length]))
        data = data[start + length :]
    return frames


def inflated(payload: bytes, bits: int = 15) -> bytes:
    """A message as another decoder inflates it, that has seen none before, and has no more than the window."""
    stream = zlib.decompressobj(-bits)
    whole, rest = b"", payload + b"\x00\x00\xff\xff"
    while piece := stream.decompress(rest, 100):
        whole, rest = whole + piece, stream.unconsumed_tail
    return whole


# The value


def test_the_defaults() -> None:
    assert repr(Compression()) == (
        "Compression(level=None, memLevel=None, serverMaxWindowBits=None, clientMaxWindowBits=None, "
        "serverContextTakeover=False, clientContextTakeover=False, threshold=256)"
    )
    with pytest.raises(FrozenInstanceError):
        Compression().level = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        Compression(1)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("level", 0),
        ("level", 10),
        ("level", "6"),
        ("level", True),
        ("memLevel", 0),
        ("memLevel", 10),
        ("memLevel", 8.0),
        ("serverMaxWindowBits", 8),
        ("serverMaxWindowBits", 16),
        ("clientMaxWindowBits", 8),
        ("clientMaxWindowBits", 16),
        ("clientMaxWindowBits", False),
        ("serverContextTakeover", None),
        ("serverContextTakeover", 1),
        ("clientContextTakeover", "yes"),
        ("threshold", -1),
        ("threshold", None),
        ("threshold", 1.5),
        ("threshold", True),
    ],
)
def test_values_that_can_not_be(name: str, value: object) -> None:
    with pytest.raises(LocalProtocolError, match=name):
        Compression(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values",
    [
        {"level": 1, "memLevel": 1, "serverMaxWindowBits": 9, "clientMaxWindowBits": 9, "threshold": 0},
        {"level": 9, "memLevel": 9, "serverMaxWindowBits": 15, "clientMaxWindowBits": 15, "threshold": 2**40},
    ],
)
def test_values_at_their_ends(values: dict[str, int]) -> None:
    assert vars(Compression(**values)).items() >= values.items()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (True, r"bool: write Compression\(\)"),
        (Compression, r"type: write Compression\(\)"),
        (False, "bool: write None"),
        (1, "int"),
    ],
)
@pytest.mark.parametrize(
    "make",
    [
        lambda value: WebSocketServerFactory(lambda request: Application(), compression=value),
        lambda value: WebSocketClientFactory("ws://localhost/", lambda request: Application(), compression=value),
        lambda value: Agent(Served().clock, compression=value),
    ],
    ids=["server", "client", "agent"],
)
def test_an_argument_that_is_no_compression(make: Any, value: object, advice: str) -> None:
    with pytest.raises(LocalProtocolError, match=f"^compression is a Compression or None, not {advice}$"):
        make(value)


# Agreements


@pytest.mark.parametrize(
    ("compression", "offer", "answer"),
    [
        (None, OFFER, None),
        (Compression(), "x-other", None),
        (Compression(), OFFER, ALONE),
        (Compression(), "permessage-deflate", ALONE),
        (Compression(), "permessage-deflate; bogus, permessage-deflate", ALONE),
        (Compression(serverMaxWindowBits=10), OFFER, f"{ALONE}; server_max_window_bits=10"),
        (Compression(clientMaxWindowBits=10), OFFER, f"{ALONE}; client_max_window_bits=10"),
        (Compression(clientMaxWindowBits=10), "permessage-deflate", ALONE),
        (CONTEXTS, OFFER, "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"),
        # It can't be held to a window, so it may not refer back.
        (CONTEXTS, "permessage-deflate", "permessage-deflate; client_no_context_takeover; server_max_window_bits=12"),
        (Compression(clientContextTakeover=True, clientMaxWindowBits=15), "permessage-deflate",
         "permessage-deflate; server_no_context_takeover"),
    ],
)  # fmt: skip
def test_the_answer_of_a_server(compression: Compression | None, offer: str, answer: str | None) -> None:
    one = Served(compression=compression)
    fields = f"Sec-WebSocket-Extensions: {answer}\r\n".encode() if answer else b""
    assert one.feed(asks(offer)) == ANSWER.replace(b"Server:", fields + b"Server:")
    agreed = one.wire.extension
    assert (agreed is None) == (answer is None)
    assert agreed is None or agreed.name == "permessage-deflate"


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        (f"{ALONE}; client_max_window_bits", ALONE),
        ("permessage-deflate; server_no_context_takeover; client_max_window_bits",
         "permessage-deflate; server_no_context_takeover; client_max_window_bits=12"),
        ("permessage-deflate; client_no_context_takeover; client_max_window_bits",
         "permessage-deflate; client_no_context_takeover; server_max_window_bits=12"),
    ],
)  # fmt: skip
def test_a_window_is_smaller_only_where_messages_refer_to_others(
    monkeypatch: pytest.MonkeyPatch, offer: str, answer: str
) -> None:
    """As nobody has said another: by itself, a message gets smaller in a large one, and costs nothing between two."""
    monkeypatch.setattr(wsock.sansio.deflate, "backend", wsock.sansio.deflate.ZLIB)
    one = Served(compression=CONTEXTS)
    assert f"Sec-WebSocket-Extensions: {answer}\r\n".encode() in one.feed(asks(offer))
    noise = Random(0).randbytes(3000)
    message = noise + b"x" * 4500 + noise
    one.wire.sendBytesMessage(message)
    [(_, payload)] = payloads(one.transport.taken())
    # The end is 7,500 bytes behind its like: in reach of a window of 15 bits alone.
    bits = 12 if "server_max_window_bits=12" in answer else 15
    assert inflated(payload, bits) == message
    with pytest.raises(zlib.error) if bits == 15 else nullcontext():
        inflated(payload, 12)


@pytest.mark.parametrize(
    ("compression", "offer"),
    [
        (None, None),
        (Compression(), f"{ALONE}; client_max_window_bits"),
        (Compression(clientMaxWindowBits=9, serverMaxWindowBits=11),
         f"{ALONE}; server_max_window_bits=11; client_max_window_bits=9"),
        (CONTEXTS, "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"),
        (Compression(serverContextTakeover=True),
         "permessage-deflate; client_no_context_takeover; server_max_window_bits=12; client_max_window_bits"),
    ],
)  # fmt: skip
def test_the_offer_of_a_client(compression: Compression | None, offer: str | None) -> None:
    asked = Asked(compression=compression)
    assert asked.wire.request.headers.get("Sec-WebSocket-Extensions") == offer
    assert asked.wire.extension is None


def test_a_client_tells_what_was_agreed_on() -> None:
    asked = Asked().open(f"Sec-WebSocket-Extensions: {ALONE}")
    assert asked.wire.extension == Extension(
        "permessage-deflate", [("server_no_context_takeover", None), ("client_no_context_takeover", None)]
    )


def test_an_agent_offers_what_it_was_given() -> None:
    agent = MemoryAgent(WebSocketServerFactory(lambda request: Application(), compression=CONTEXTS))
    for arguments, extension in (
        ({}, Extension("permessage-deflate", [
            ("server_no_context_takeover", None), ("client_no_context_takeover", None),
        ])),
        ({"compression": None}, None),
        ({"compression": CONTEXTS},
         Extension("permessage-deflate", [("server_max_window_bits", "12"), ("client_max_window_bits", "12")])),
    ):  # fmt: skip
        streams: list[WebSocketStream] = []
        agent.connect(**arguments).addCallback(streams.append)
        agent.flush()
        assert streams[0].transport.extension == extension


def test_a_pair_of_ours_may_be_of_any_kind() -> None:
    """Both sides, in both directions, with messages that repeat themselves and each other."""
    values = (Compression(), CONTEXTS, Compression(serverContextTakeover=True, clientMaxWindowBits=9, level=9))
    for server in values:
        for client in values:
            echo = Application(message=lambda one: one.transport.sendTextMessage(one.told[-1]))
            factory = WebSocketServerFactory(lambda request, echo=echo: echo, compression=server)
            agent = MemoryAgent(factory)
            streams: list[WebSocketStream] = []
            agent.connect(compression=client).addCallback(streams.append)
            agent.flush()
            sent = [TEXT, "", "x", TEXT + "y", TEXT * 100]
            got: list[Any] = []
            for message in sent:
                streams[0].send(message)
                streams[0].receive().addCallback(got.append)
                agent.flush()
            assert echo.messages == sent
            assert got == sent


# The choice for each message


@pytest.mark.parametrize(
    ("size", "compress", "first"),
    [(255, None, 0x81), (256, None, 0xC1), (0, True, 0xC1), (1, True, 0xC1), (5000, False, 0x81), (255, False, 0x81)],
)
def test_the_choice_for_a_text(size: int, compress: bool | None, first: int) -> None:
    one = served()
    one.wire.sendTextMessage("x" * size, compress)
    [(byte, payload)] = payloads(one.transport.taken())
    assert byte == first
    assert (inflated(payload) if byte & 0x40 else payload) == b"x" * size


def test_the_choice_for_bytes() -> None:
    one = served(Compression(threshold=3))
    for data, compress in ((b"xxx", None), (b"xx", None), (b"xx" * 200, None), (b"y" * 400, False), (b"y", True)):
        one.wire.sendBytesMessage(data, compress)
        one.clock.advance(0)
        [(byte, payload)] = payloads(one.transport.taken())
        # Three bytes do not get smaller.
        assert byte == (0xC2 if compress or (len(data) == 400 and compress is None) else 0x82)
        assert (inflated(payload) if byte & 0x40 else payload) == data


def test_a_stream_chooses_too() -> None:
    stream = WebSocketStream()
    one = served(application=stream)
    for message, compress, first in (("x" * 400, None, 0xC1), ("x" * 400, False, 0x81), (b"x", True, 0xC2)):
        stream.send(message, compress)
        one.clock.advance(0)
        [(byte, _)] = payloads(one.transport.taken())
        assert byte == first


@pytest.mark.parametrize("compress", [1, "yes", 0])
def test_a_choice_that_is_none(compress: Any) -> None:
    stream = WebSocketStream()
    one = served(application=stream)
    for send in (
        lambda: one.wire.sendTextMessage("x", compress),
        lambda: one.wire.sendBytesMessage(b"x", compress),
        lambda: stream.send("x", compress),
        lambda: Group().sendTextMessage("x", compress),
        lambda: Group().sendBytesMessage(b"x", compress),
    ):
        with pytest.raises(LocalProtocolError, match="compress is True, False, or None"):
            send()
    assert one.transport.taken() == b""


def test_without_an_agreement_all_go_plain() -> None:
    one = opened()
    one.wire.sendTextMessage("Hello", True)
    assert one.transport.taken() == HELLO_SENT


def test_messages_of_a_client_before_the_answer_go_plain() -> None:
    application = Application(started=lambda one: one.transport.sendTextMessage(TEXT, True))
    asked = Asked(application).open(f"Sec-WebSocket-Extensions: {ALONE}")
    [(byte, payload)] = payloads(asked.sent())
    assert (byte, payload) == (0x81, TEXT.encode())
    asked.wire.sendTextMessage(TEXT)
    [(byte, payload)] = payloads(asked.sent())
    assert (byte, inflated(payload)) == (0xC1, TEXT.encode())


def test_a_client_that_is_answered_a_window_that_no_encoder_makes_sends_plain() -> None:
    asked = Asked().open(f"Sec-WebSocket-Extensions: {ALONE}; client_max_window_bits=8")
    asked.wire.sendTextMessage(TEXT, True)
    assert payloads(asked.sent()) == [(0x81, TEXT.encode())]
    stream = zlib.compressobj(6, zlib.DEFLATED, -15)
    data = (stream.compress(b"Hello" * 99) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]
    asked.feed(bytes((0xC1, len(data))) + data)
    assert asked.application.messages == ["Hello" * 99]


# Received messages


def test_a_compressed_message_is_delivered() -> None:
    one = served()
    one.feed(frame(deflated(TEXT.encode())))
    one.feed(frame(deflated(b"\xff\xfe" * 500), 0xC2))
    # RFC 7692 §7.2.3.1 and 7.2.3.6.
    one.feed(frame(bytes.fromhex("f248cdc9c90700")) + frame(b"\x00"))
    assert one.application.messages == [TEXT, b"\xff\xfe" * 500, "Hello", ""]
    assert one.wire.traffic.messagesReceived == 4


@pytest.mark.parametrize(
    ("settings", "data", "code"),
    [
        ({}, frame(b"\xff\xff\xff"), "03ef"),
        ({}, frame(deflated(b"\xff")), "03ef"),
        ({"maxMessageSize": 128}, frame(deflated(bytes(4096)), 0xC2), "03f1"),
    ],
    ids=["broken", "not UTF-8", "22 bytes that are 4,096"],
)
def test_a_message_that_fails_the_connection(settings: dict[str, Any], data: bytes, code: str) -> None:
    one = served(settings=settings)
    [(byte, payload)] = payloads(one.feed(data))
    assert (byte, payload[:2].hex()) == (0x88, code)
    assert one.application.messages == []


def test_compressed_messages_without_an_agreement_fail_the_connection() -> None:
    one = served(None)
    [(byte, payload)] = payloads(one.feed(frame(deflated(b"Hello"))))
    assert (byte, payload[:2].hex()) == (0x88, "03ea")


# Groups


def test_a_broadcast_is_compressed_once_for_all_that_can_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Counted:
        """A compressor that notes how often one was used."""

        def __init__(self, *arguments: Any) -> None:
            self._stream = zlib.compressobj(*arguments)

        def compress(self, data: bytes) -> bytes:
            made.append(len(data))
            return self._stream.compress(data)

        def flush(self, mode: int) -> bytes:
            return self._stream.flush(mode)

    backend = wsock.sansio.deflate.Backend("counted", zlib, (1,))
    backend.module = type("library", (), {"compressobj": Counted, "decompressobj": zlib.decompressobj})
    monkeypatch.setattr(wsock.sansio.deflate, "backend", backend)
    group = Group()
    text = TEXT * 10
    alike = served()
    members = [alike, *(served(factory=alike.factory) for _ in range(3))]
    narrow = served(Compression(serverMaxWindowBits=9))
    plain = served(None)
    referring = served(CONTEXTS)
    for one in (*members, narrow, plain, referring):
        group.add(one.wire)
    assert group.sendTextMessage(text) == (7, 0, 0)
    # Once for those that are alike, once for the narrow one; the one with a context does it by itself.
    assert made == [len(text)] * 2
    for one, bits in (*((one, 15) for one in members), (narrow, 9), (referring, 12)):
        [(byte, payload)] = payloads(one.transport.taken())
        assert (byte, inflated(payload, bits)) == (0xC1, text.encode())
    assert payloads(plain.transport.taken()) == [(0x81, text.encode())]
    made.clear()
    for one in (*members, narrow, plain, referring):
        one.clock.advance(0)
    group.sendBytesMessage(text.encode(), False)
    assert made == []
    for one in (*members, narrow, plain, referring):
        assert payloads(one.transport.taken()) == [(0x82, text.encode())]


def test_a_broadcast_to_those_that_did_not_agree_compresses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wsock.sansio.deflate, "backend", None)
    group = Group()
    group.add(opened().wire)
    assert group.sendTextMessage(TEXT * 10, True).sent == 1


def test_a_group_shares_one_frame() -> None:
    """The queues of slow members hold it by reference."""
    first = served(transport=Slow())
    group = Group()
    members = [first, *(served(factory=first.factory, transport=Slow()) for _ in range(2))]
    for one in members:
        group.add(one.wire)
        one.wire.sendBytesMessage(bytes(2**17), False)
    group.sendTextMessage(TEXT)
    frames = [one.wire.outbox._queue[-1][0] for one in members]
    assert frames[0] is frames[1] is frames[2]


# Slow consumers


def test_where_the_oldest_are_dropped_no_message_refers_to_another() -> None:
    one = served(CONTEXTS, settings={"slowConsumer": "drop", "sendLimit": 1000}, transport=Slow())
    assert one.wire.extension == Extension(
        "permessage-deflate", [("server_no_context_takeover", None), ("client_max_window_bits", "12")]
    )
    one.transport.clear()
    one.wire.sendBytesMessage(bytes(2**17), False)
    texts = [f"{number:03}" + TEXT for number in range(100)]
    for text in texts:
        one.wire.sendTextMessage(text)
    data = one.transport.take()
    while len(one.transport.value()):
        data += one.transport.take()
    got = [inflated(payload).decode() for byte, payload in payloads(data) if byte == 0xC1]
    assert 0 < len(got) < 100
    assert got == [text for text in texts if text in got]
    assert got[-1] == texts[-1]
    assert one.wire.counters.sendsDropped == 100 - len(got)


def test_a_client_that_drops_the_oldest_offers_not_to_refer_to_them() -> None:
    asked = Asked(compression=CONTEXTS, settings={"slowConsumer": "drop"})
    assert asked.wire.request.headers.get("Sec-WebSocket-Extensions") == (
        "permessage-deflate; client_no_context_takeover; server_max_window_bits=12; client_max_window_bits"
    )


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("slowConsumer", ["wait", "close", "drop"])
def test_the_translation(role: Role, slowConsumer: Any) -> None:
    settings = Settings(slowConsumer=slowConsumer)
    compression = Compression(
        level=7, memLevel=6, serverContextTakeover=True, clientContextTakeover=True, clientMaxWindowBits=13, threshold=9
    )
    drops = slowConsumer == "drop"
    parameters, options = asParameters(compression, role, settings), asOptions(compression, role, settings)
    assert parameters.server_no_context_takeover == (drops and role is Role.SERVER)
    assert parameters.client_no_context_takeover == (drops and role is Role.CLIENT)
    assert parameters.client_max_window_bits == 13
    assert parameters.server_max_window_bits is None
    assert (options.level, options.mem_level, options.threshold) == (7, 6, 9)
    assert options.context_takeover is not drops
    assert options.max_window_bits == (None if role is Role.SERVER else 13)


def test_no_compression_has_the_options_of_none() -> None:
    assert asOptions(None, Role.SERVER, Settings()).threshold == 256
