"""One side of an open WebSocket: bytes in, events out, bytes to send (RFC 6455 sections 5 to 7).

Rules:

* A fault of the peer is never raised: it is the last event (`Failed`), and `Connection.failed` keeps it.
* An answer that the protocol itself must give (Pong, Close) is in `Connection.replies`, complete, before the events
  that caused it are returned: whatever the host does with an event can't lose an answer.
* One call decodes a bounded amount; the rest stays as the bytes it came as.
* A call ends before a Close or a fault that stands behind messages: their receiver can still answer them, since our
  own Close is made by the call after.
* State is derived from five facts, each kept once: `close_sent`, `close_received`, `eof`, `failed` and ``lost``.
* A payload to be sent is checked here, so it is annotated as ``object``: for a narrower type a compiled method
  would raise TypeError before it could raise `LocalProtocolError`.

A copy, by ``copy`` or ``pickle``, goes on by itself from where the original stands; a client's masks with other keys.

There is no clock here: timeouts, and flow control towards the transport, are the host's.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING, Final, TypeAlias

from .constants import (
    BINARY,
    CLOSE,
    DEFAULT_MAX_MESSAGE_SIZE,
    MAX_CLOSE_REASON,
    PING,
    PONG,
    TEXT,
    CloseCode,
    Role,
    is_sendable_close_code,
)
from .deflate import DeflateOptions, Deflater, Inflater
from .errors import LocalProtocolError, RemoteProtocolError, whole_number, wrong_type
from .events import BinaryReceived, CloseReceived, Event, Failed, PingReceived, TextReceived
from .extensions import MIN_WINDOW_BITS, Extension, agreed_deflate
from .frames import NO_LIMIT, RSV1, MaskedFrameWriter, encode
from .messages import MessageReader
from .payloads import binary_payload, control_payload, encode_text
from .shared import SharedMessage, check_compress

if TYPE_CHECKING:
    from mypy_extensions import i64

_Close: TypeAlias = tuple[int, str] | None
_DEFAULT_OPTIONS: Final = DeflateOptions()
#: All that a `Connection` knows, for a copy.
_State: TypeAlias = tuple[
    tuple[int, list[bytes] | None, CloseReceived | Failed | None, MessageReader],
    tuple[_Close, _Close, bool, RemoteProtocolError | None, Sequence[Extension]],
    tuple[int, bool, bool],
    tuple[DeflateOptions, Deflater | None],
]


class Connection:
    """One side of a WebSocket whose opening handshake is done.

    Attributes:
        close_sent: (code, reason) of our Close, or None; the code is 1005 where the frame had none.
        close_received: (code, reason) of the peer's, or None.
        eof: whether the peer's end of the stream was told to `receive_eof`.
        failed: the peer's fault, or None.
        lost: whether `lose` was called.
        extensions: those that the opening handshake agreed on.
        messages_sent: how many messages `send_text` and `send_binary` made frames of, or `send_shared` counted.
        peer_closed_first: whether the peer's Close was read before there was one of ours.
    """

    __slots__ = (
        "_deflater",
        "_last",
        "_masks",
        "_options",
        "_reader",
        "_receive_queue",
        "_replies",
        "close_received",
        "close_sent",
        "eof",
        "extensions",
        "failed",
        "lost",
        "messages_sent",
        "peer_closed_first",
    )

    def __init__(
        self,
        role: object,
        *,
        max_message_size: object = DEFAULT_MAX_MESSAGE_SIZE,
        max_empty_fragments: object = 1024,
        receive_queue: object = 16,
        extensions: Sequence[Extension] = (),
        deflate: object = _DEFAULT_OPTIONS,
    ) -> None:
        """Start with an open connection on which nothing was sent or received.

        Args:
            role: which side this is, a ``Role``.
            max_message_size: the largest message taken in, in bytes of payload; None for no limit.
            max_empty_fragments: how many frames of one message may be empty; None for no limit.
            receive_queue: how many messages one call decodes at the most.
            extensions: those that the opening handshake agreed on.
            deflate: how our messages are compressed, where permessage-deflate is among them.

        Raises:
            LocalProtocolError: an invalid role, a limit that nothing could pass, such as 0, or extensions that can't
                have been agreed on.
        """
        if not isinstance(role, Role):
            raise wrong_type("role", "a Role", role, "write Role.CLIENT or Role.SERVER")
        if not isinstance(deflate, DeflateOptions):
            raise wrong_type("deflate", "a DeflateOptions", deflate)
        most_bytes = None if max_message_size is None else whole_number("max_message_size", max_message_size, 1)
        most_empty = (
            None if max_empty_fragments is None else whole_number("max_empty_fragments", max_empty_fragments, 0)
        )
        self.close_sent: tuple[int, str] | None = None
        self.close_received: tuple[int, str] | None = None
        self.eof: bool = False
        # Beside the other bool, where a compiled object has room for them.
        self.lost: bool = False
        self.peer_closed_first: bool = False
        self.failed: RemoteProtocolError | None = None
        self.extensions: Sequence[Extension] = ()
        self.messages_sent: i64 = 0
        self._reader = MessageReader(role is Role.SERVER, most_bytes, most_empty)
        self._receive_queue: int = min(whole_number("receive_queue", receive_queue, 1), NO_LIMIT)
        self._masks: MaskedFrameWriter | None = MaskedFrameWriter() if role is Role.CLIENT else None
        #: None without any: an empty list takes 64 bytes of each idle connection.
        self._replies: list[bytes] | None = None
        #: The Close or the fault behind which nothing is read. Messages before it make it wait for the next call.
        self._last: CloseReceived | Failed | None = None
        self._options: DeflateOptions = deflate
        #: Where permessage-deflate was agreed on.
        self._deflater: Deflater | None = None
        if extensions:
            self.agree(extensions)

    def __reduce__(self) -> tuple[object, ...]:
        # The reader is a copy, which goes on by itself also in a copy that is not deep.
        own = (self._receive_queue, copy(self._replies), self._last, copy(self._reader))
        facts = (self.close_sent, self.close_received, self.eof, self.failed, copy(self.extensions))
        told = (self.messages_sent, self.peer_closed_first, self.lost)
        compression = (self._options, copy(self._deflater))
        return type(self), (Role.SERVER if self._masks is None else Role.CLIENT,), (own, facts, told, compression)

    def __setstate__(self, state: _State) -> None:
        self._receive_queue, self._replies, self._last, self._reader = state[0]
        self.close_sent, self.close_received, self.eof, self.failed, self.extensions = state[1]
        self.messages_sent, self.peer_closed_first, self.lost = state[2]
        self._options, self._deflater = state[3]

    @property
    def has_unread_data(self) -> bool:
        """Whether bytes wait to be decoded; `receive_data` with nothing new goes on with them."""
        return self._is_to_come() or self._reader.has_unread_data

    @property
    def messages_received(self) -> int:
        """How many whole messages came, those that `receive_data` has returned."""
        return self._reader.messages

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent. No Close went either way, and the peer is there and behaves."""
        # A Close or a fault of the peer's has sent ours, or comes with the end of its stream.
        return self.close_sent is None and not (self.eof or self.lost)

    def agree(self, extensions: Sequence[Extension]) -> None:
        """Takes the extensions that the opening handshake agreed on.

        A client may have sent messages before the answer came: none of them uses an extension.

        Args:
            extensions: those of the 101. Of one that is not known here nothing is made but an attribute.

        Raises:
            LocalProtocolError: parameters of permessage-deflate that can't have been agreed on.
        """
        agreed = agreed_deflate(extensions)
        self.extensions = extensions
        if agreed is None:
            return
        server, client = agreed.directions()
        ours, theirs = (server, client) if self._masks is None else (client, server)
        self._reader.use(Inflater(theirs[0], theirs[1]))
        if ours[0] >= MIN_WINDOW_BITS:
            # With a smaller one, which only a server's answer may ask for, our messages go plain, as any may.
            self._deflater = Deflater(ours[0], self._options, ours[1])

    def lose(self) -> None:
        """Notes that nothing can be sent any more, since the host has lost its stream, or drops it.

        Bytes received before can still be decoded. A Close or a fault behind messages is told in the same call as
        they are: there is nothing to answer them with.
        """
        self.lost = True

    def receive_data(self, data: bytes | bytearray | memoryview, max_messages: int | None = None) -> list[Event]:
        """Takes bytes from the peer and decodes them, and those that waited.

        One call decodes at most ``receive_queue`` messages and one ``max_message_size`` of payload, of compressed
        messages less than two; where there is no limit 1 MiB, of compressed messages some 16 MiB more. It may be less:
        go on while `has_unread_data` says so. After the peer's Close, or a fault, all input is ignored (RFC 6455
        section 5.5.1).

        Args:
            data: any number of bytes; none to go on with those that wait. Changing it afterwards changes nothing.
            max_messages: how many messages there is room for, at least 1, where that is less than ``receive_queue``.

        Returns:
            the events, in order. Take `replies` before acting on them.

        Raises:
            LocalProtocolError: not bytes, bytearray or memoryview; room for no message.
        """
        piece = data if type(data) is bytes else binary_payload(data)
        events: list[Event] = []
        count = self._receive_queue
        if max_messages is not None and max_messages < count:
            if max_messages < 1:
                raise LocalProtocolError("max_messages is at least 1")
            count = max_messages
        last = self._last
        if last is None:
            try:
                if self._reader.read(piece, events, count):
                    last = self._answer(events)
                elif not self.eof:
                    return events
            except RemoteProtocolError as error:
                self._answer(events)
                # The cause holds received data: the frames of a traceback, the bytes of a UnicodeDecodeError.
                error.__traceback__ = error.__context__ = None
                last = Failed(error)
            if last is None:
                if not self.eof or self._reader.has_unread_data:
                    return events
                # RFC 6455 §7.1.5: a stream that ends without a Close is reported as 1006.
                code = CloseCode.ABNORMAL_CLOSURE
                last = Failed(RemoteProtocolError("the stream ended without a Close", code))
            self._last = last
            self._reader.forget()
            if _has_messages(events) and not (self.eof or self.lost):
                return events
        if self._is_to_come():
            self._end(last, events)
        return events

    def receive_eof(self) -> list[Event]:
        """Notes that the peer sends no more, and goes on with the bytes that wait.

        Returns:
            as `receive_data`; `Failed` with code 1006 ends it if the stream ended before the peer's Close.
        """
        self.eof = True
        return self.receive_data(b"")

    def _is_to_come(self) -> bool:
        """Whether the Close or the fault that ends it was read but not told yet."""
        return self._last is not None and self.close_received is None and self.failed is None

    def _answer(self, events: list[Event]) -> CloseReceived | None:
        """Answers Pings; takes the Close, always the last, from the events and returns it."""
        for event in events:
            if isinstance(event, PingReceived) and self.close_sent is None:
                # RFC 6455 §5.5.2 and 5.5.3: answered at once, unless our Close has said that nothing follows.
                self._reply(self._frame(PONG, event.payload))
        close = events[-1] if events else None
        if not isinstance(close, CloseReceived):
            return None
        events.pop()
        return close

    def _end(self, last: CloseReceived | Failed, events: list[Event]) -> None:
        """Ends with the peer's Close, or with its fault."""
        if isinstance(last, CloseReceived):
            self.close_received = (last.code, last.reason)
            if self.close_sent is None:
                self.peer_closed_first = True
                # RFC 6455 §5.5.1: the answer has the same code. Its reason was the peer's own to read.
                self._reply(self._make_close(last.code, b""))
        else:
            error = last.error
            self.failed = error
            if self.close_sent is None and error.code != CloseCode.ABNORMAL_CLOSURE:
                self._reply(self._make_close(error.code, str(error).encode()))
        events.append(last)

    def replies(self) -> list[bytes]:
        """The protocol's own answers to received frames, one whole frame each; each is given once."""
        replies = self._replies
        if replies is None:
            return []
        self._replies = None
        return replies

    def _reply(self, frame: list[bytes]) -> None:
        if self._replies is None:
            self._replies = frame
        else:
            self._replies.extend(frame)

    def send_text(self, text: object, compress: object = None) -> list[bytes]:
        """A text message.

        Args:
            text: a str without lone surrogates.
            compress: whether it is compressed, where permessage-deflate was agreed on; None where its size is at least
                the threshold, and it gets smaller.

        Returns:
            its frame as one buffer, or as head and payload; an empty list if the connection is not open any more.

        Raises:
            LocalProtocolError: not a str, or one that has no UTF-8; ``compress`` is no bool.
        """
        payload = encode_text(text)
        if compress is not None:
            check_compress(compress)
        if not self.is_open:
            return []
        self.messages_sent += 1
        deflater = self._deflater
        return self._frame(TEXT, payload) if deflater is None else self._message(deflater, TEXT, payload, compress)

    def send_binary(self, data: object, compress: object = None) -> list[bytes]:
        """A binary message; as `send_text`. Changing ``data`` afterwards does not change the message."""
        payload = binary_payload(data)
        if compress is not None:
            check_compress(compress)
        if not self.is_open:
            return []
        self.messages_sent += 1
        deflater = self._deflater
        return self._frame(BINARY, payload) if deflater is None else self._message(deflater, BINARY, payload, compress)

    def _message(self, deflater: Deflater, opcode: int, payload: bytes, compress: object) -> list[bytes]:
        """The frame of a message where compression was agreed on."""
        deflated = deflater.pack(payload, compress) if deflater.wants(payload, compress) else None
        return self._frame(opcode, payload) if deflated is None else self._frame(opcode, deflated, RSV1)

    def send_shared(self, message: SharedMessage) -> list[bytes]:
        """A message that many connections get; of servers alone, since a client's frames are masked.

        Returns:
            as `send_text`; the same list may be given to others.
        """
        if not self.is_open:
            return []
        self.messages_sent += 1
        deflater = self._deflater
        return message.plain() if deflater is None else message.compressed(deflater)

    def send_ping(self, payload: object = b"") -> list[bytes]:
        """A Ping, which the peer answers with the same payload (RFC 6455 section 5.5.2).

        Args:
            payload: at most 125 bytes.

        Returns:
            as `send_text`.

        Raises:
            LocalProtocolError: a longer payload, or one of another type.
        """
        return self._send_control(PING, payload)

    def send_pong(self, payload: object = b"") -> list[bytes]:
        """An unsolicited Pong (RFC 6455 section 5.5.3); as `send_ping`. Pings are answered without it."""
        return self._send_control(PONG, payload)

    def close(self, code: object = CloseCode.NORMAL_CLOSURE, reason: object = "") -> list[bytes]:
        """Our Close, after which nothing can be sent; messages of the peer still come until its own.

        Args:
            code: a close code that may travel, an int; None for a Close without a code.
            reason: a str of at most 123 bytes of UTF-8; empty without a code.

        Returns:
            as `send_text`.

        Raises:
            LocalProtocolError: a code or a reason that a Close can't carry.
        """
        if not isinstance(reason, str):
            raise wrong_type("a close reason", "a str", reason)
        content = encode_text(reason)
        if code is None:
            if reason:
                raise LocalProtocolError("a close reason needs a close code")
            code = CloseCode.NO_STATUS_RECEIVED
        elif not isinstance(code, int):
            raise wrong_type("a close code", "an int such as 1000, or None", code)
        elif not is_sendable_close_code(code):
            raise LocalProtocolError("a close code is one of 1000 to 1014, but not 1004 to 1006, or of 3000 to 4999")
        if len(content) > MAX_CLOSE_REASON:
            raise LocalProtocolError("a close reason has at most 123 bytes of UTF-8")
        return self._make_close(code, content) if self.is_open else []

    def _frame(self, opcode: int, payload: bytes, rsv1: int = 0) -> list[bytes]:
        masks = self._masks
        if masks is None:
            return encode(opcode, payload, True, rsv1)
        return masks.encode(opcode, payload, True, rsv1)

    def _send_control(self, opcode: int, payload: object) -> list[bytes]:
        content = control_payload(payload)
        return self._frame(opcode, content) if self.is_open else []

    def _make_close(self, code: int, reason: bytes) -> list[bytes]:
        self.close_sent = (int(code), reason.decode())
        payload = b"" if code == CloseCode.NO_STATUS_RECEIVED else int(code).to_bytes(2, "big") + reason
        return self._frame(CLOSE, payload)


def _has_messages(events: list[Event]) -> bool:
    return any(isinstance(event, (BinaryReceived, TextReceived)) for event in events)
