"""One side of an open WebSocket: bytes in, events out, bytes to send (RFC 6455 sections 5 to 7).

Rules:

* A fault of the peer is never raised: it is the last event (`Failed`), and `Connection.failed` keeps it.
* What the protocol itself must answer (Pong, Close) is in `Connection.replies`, complete, before the events that
  caused it are returned: whatever the host does with an event can't lose an answer.
* One call decodes a bounded amount; the rest stays as the bytes it came as.
* State is derived from four facts, each kept once: `close_sent`, `close_received`, `eof` and `failed`.

There is no clock here: timeouts, and what to do when a transport does not take bytes, are the host's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from .constants import (
    BINARY,
    CLOSE,
    DEFAULT_MAX_MESSAGE_SIZE,
    MAX_CLOSE_REASON,
    MAX_CONTROL_PAYLOAD,
    PING,
    PONG,
    TEXT,
    CloseCode,
    Role,
    is_sendable_close_code,
)
from .errors import LocalProtocolError, RemoteProtocolError
from .events import BinaryReceived, CloseReceived, Event, Failed, PingReceived, TextReceived
from .extensions import Extension
from .frames import MaskedFrameWriter, encode
from .messages import MessageReader, binary_payload, encode_text

if TYPE_CHECKING:
    from mypy_extensions import i64

#: How many control frames one call answers: a segment of 64 KiB may hold 10,922 empty Pings.
_CONTROL_FRAMES: Final = 256


class Connection:
    """One side of a WebSocket whose opening handshake is done.

    Attributes:
        close_sent: (code, reason) of our Close, or None; the code is 1005 where the frame had none.
        close_received: (code, reason) of the peer's, or None.
        eof: whether the peer's end of the stream was told to `receive_eof`.
        failed: what the peer did wrong, or None.
        extensions: what the opening handshake agreed on.
    """

    def __init__(
        self,
        role: Role,
        *,
        max_message_size: int | None = DEFAULT_MAX_MESSAGE_SIZE,
        max_empty_fragments: int | None = 1024,
        receive_queue: int = 16,
        extensions: Sequence[Extension] = (),
    ) -> None:
        """Args:
        role: which side this is.
        max_message_size: the largest message taken in, in bytes of payload; None for no limit.
        max_empty_fragments: how many frames of one message may be empty; None for no limit.
        receive_queue: how many messages one call decodes at the most.
        extensions: what the opening handshake agreed on.
        """
        self.close_sent: tuple[int, str] | None = None
        self.close_received: tuple[int, str] | None = None
        self.eof: bool = False
        self.failed: RemoteProtocolError | None = None
        self.extensions: Sequence[Extension] = extensions
        self._reader = MessageReader(role is Role.SERVER, max_message_size, max_empty_fragments)
        self._masks: MaskedFrameWriter | None = MaskedFrameWriter() if role is Role.CLIENT else None
        self._budget: i64 = DEFAULT_MAX_MESSAGE_SIZE if max_message_size is None else max_message_size
        self._receive_queue: i64 = receive_queue
        self._replies: list[bytes] = []
        #: Bytes not decoded yet: one piece is being read at `_position`, more may wait behind it (None: nothing does;
        #: an empty deque would cost more than the rest of an idle connection).
        self._data: bytes = b""
        self._position: i64 = 0
        self._waiting: deque[bytes] | None = None

    @property
    def has_unread_data(self) -> bool:
        """Whether bytes wait to be decoded: `receive_data` with nothing new goes on with them."""
        return self._position < len(self._data) or self._waiting is not None

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent: no Close went either way, and the peer is there and behaves."""
        return self.close_sent is None and self.close_received is None and self.failed is None and not self.eof

    def receive_data(self, data: bytes | bytearray | memoryview) -> list[Event]:
        """Takes bytes from the peer and decodes them, and those that waited.

        One call decodes at most ``receive_queue`` messages and about one ``max_message_size`` of payload (1 MiB
        where there is no limit): see `has_unread_data`. After the peer's Close, or a fault, all input is ignored
        (RFC 6455 section 5.5.1).

        Args:
            data: any number of bytes; none to go on with what waits.

        Returns:
            what the peer did, in order. Take `replies` before acting on it.
        """
        events: list[Event] = []
        if self.close_received is not None or self.failed is not None:
            return events
        if len(data):
            piece = data if type(data) is bytes else bytes(data)
            if self._position < len(self._data):
                if self._waiting is None:
                    self._waiting = deque()
                self._waiting.append(piece)
            else:
                self._data = self._reader.resume(piece)
                self._position = 0
        try:
            self._decode(events)
        except RemoteProtocolError as error:
            self._fail(error, events)
        return events

    def receive_eof(self) -> list[Event]:
        """Notes that the peer sends no more, and goes on with what waits.

        Returns:
            as `receive_data`; `Failed` with code 1006 ends it if the stream ended before the peer's Close.
        """
        self.eof = True
        return self.receive_data(b"")

    def _decode(self, events: list[Event]) -> None:
        messages = self._receive_queue
        controls: i64 = _CONTROL_FRAMES
        payload = self._budget
        while True:
            if self._position == len(self._data):
                self._position = 0
                waiting = self._waiting
                if waiting is None:
                    self._data = b""
                    break
                self._data = self._reader.resume(waiting.popleft())
                if not waiting:
                    self._waiting = None
            if messages <= 0 or controls <= 0 or payload <= 0:
                return
            before = self._position
            count = len(events)
            self._position = self._reader.read(self._data, before, events)
            payload -= self._position - before
            if len(events) > count:
                event = events[count]
                if isinstance(event, (BinaryReceived, TextReceived)):
                    messages -= 1
                else:
                    controls -= 1
                    if not self._control(event):
                        return
        if self.eof:
            raise RemoteProtocolError("the stream ended without a Close", CloseCode.ABNORMAL_CLOSURE)

    def _control(self, event: Event) -> bool:
        """Does what a control frame asks for; returns whether to read on."""
        if isinstance(event, PingReceived):
            if self.close_sent is None:
                # RFC 6455 §5.5.2 and 5.5.3: answered at once, unless our Close has said that nothing follows.
                self._replies.extend(self._frame(PONG, event.payload))
        elif isinstance(event, CloseReceived):
            self.close_received = (event.code, event.reason)
            if self.close_sent is None:
                # RFC 6455 §5.5.1: the answer has the same code. Its reason was the peer's own to read.
                self._send_close(event.code, b"", "", self._replies)
            self._drop_unread()
            return False
        return True

    def _fail(self, error: RemoteProtocolError, events: list[Event]) -> None:
        self.failed = error
        self._drop_unread()
        if self.close_sent is None and error.code != CloseCode.ABNORMAL_CLOSURE:
            reason = str(error)
            self._send_close(error.code, reason.encode(), reason, self._replies)
        events.append(Failed(error))

    def _drop_unread(self) -> None:
        self._data = b""
        self._position = 0
        self._waiting = None

    def replies(self) -> list[bytes]:
        """The protocol's own answers to what was received, one whole frame each; each is given once."""
        replies = self._replies
        if replies:
            self._replies = []
        return replies

    def send_text(self, text: str) -> list[bytes]:
        """A text message.

        Args:
            text: any text without lone surrogates.

        Returns:
            the buffers of its frame: one, or head and payload. None at all if the connection is not open any more.

        Raises:
            LocalProtocolError: not a str, or one that has no UTF-8.
        """
        payload = encode_text(text)
        return self._frame(TEXT, payload) if self.is_open else []

    def send_binary(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """A binary message; as `send_text`. Changing ``data`` afterwards does not change what is sent."""
        payload = binary_payload(data)
        return self._frame(BINARY, payload) if self.is_open else []

    def send_ping(self, payload: bytes | bytearray | memoryview = b"") -> list[bytes]:
        """A Ping, which the peer answers with the same payload (RFC 6455 section 5.5.2).

        Args:
            payload: at most 125 bytes.

        Returns:
            as `send_text`.

        Raises:
            LocalProtocolError: a longer payload, or one of another type.
        """
        return self._send_control(PING, payload)

    def send_pong(self, payload: bytes | bytearray | memoryview = b"") -> list[bytes]:
        """A Pong that nobody asked for (RFC 6455 section 5.5.3); as `send_ping`. Pings are answered without it."""
        return self._send_control(PONG, payload)

    def close(self, code: int | None = CloseCode.NORMAL_CLOSURE, reason: str = "") -> list[bytes]:
        """Our Close, after which nothing can be sent; messages of the peer still come until its own.

        Args:
            code: a close code that may travel; None for a Close without a code.
            reason: at most 123 bytes of UTF-8; none without a code.

        Returns:
            as `send_text`.

        Raises:
            LocalProtocolError: a code or a reason that a Close can't carry.
        """
        payload = _close_reason(code, reason)
        buffers: list[bytes] = []
        if self.is_open:
            self._send_close(CloseCode.NO_STATUS_RECEIVED.value if code is None else code, payload, reason, buffers)
        return buffers

    def _frame(self, opcode: int, payload: bytes) -> list[bytes]:
        masks = self._masks
        if masks is None:
            return encode(opcode, payload)
        return masks.encode(opcode, payload)

    def _send_control(self, opcode: int, payload: object) -> list[bytes]:
        content = binary_payload(payload)
        if len(content) > MAX_CONTROL_PAYLOAD:
            raise LocalProtocolError("the payload of a Ping or Pong has at most 125 bytes")
        return self._frame(opcode, content) if self.is_open else []

    def _send_close(self, code: int, payload: bytes, reason: str, buffers: list[bytes]) -> None:
        self.close_sent = (int(code), reason)
        if code != CloseCode.NO_STATUS_RECEIVED:
            payload = int(code).to_bytes(2, "big") + payload
        buffers.extend(self._frame(CLOSE, payload))


def _close_reason(code: object, reason: object) -> bytes:
    """The reason's UTF-8, once both are found fit to travel."""
    if not isinstance(reason, str):
        raise LocalProtocolError("a close reason is a str")
    if code is None:
        if reason:
            raise LocalProtocolError("a close reason needs a close code")
    elif not isinstance(code, int):
        raise LocalProtocolError("a close code is an int")
    elif not is_sendable_close_code(code):
        raise LocalProtocolError("this close code never travels; use 1000 to 1014 but 1004 to 1006, or 3000 to 4999")
    payload = encode_text(reason)
    if len(payload) > MAX_CLOSE_REASON:
        raise LocalProtocolError("a close reason has at most 123 bytes of UTF-8")
    return payload
