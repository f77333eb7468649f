"""A connection to send and receive on with ``await``, built on `wsock.wire.protocol`.

Rules:

* `WebSocketStream.receive` gives the messages in their order, and how the connection ended after the last.
* Messages that are not asked for wait, up to ``receiveQueue`` of them: beyond it the peer is not read.
* `WebSocketStream.send` queues at once, and waits while too much is unsent.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from inspect import isasyncgenfunction, isgeneratorfunction
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.python.failure import Failure

from .arguments import checkCallback
from .errors import Close, WebSocketClosed, WebSocketEnded
from .log import CANCELLATIONS, ClassLogger, excerpt, letGo
from .reasons import Result, again, failed
from .results import asDeferred
from .sansio.constants import CloseCode
from .sansio.errors import LocalProtocolError

if TYPE_CHECKING:
    from .request import Request, Response
    from .wire.protocol import WebSocketTransport

#: The codes of an end as it should be: done, going away, and a browser's `close()` without a code.
_USUAL: Final = (CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.NO_STATUS_RECEIVED)


class WebSocketStream:
    """A WebSocket to send and receive on.

    ``async for message in stream`` ends when the connection was closed with 1000, 1001 or without a code, and raises
    what `receive` does at any other end. ``async with stream`` closes it: with 1011 when it is left by an exception.

    Attributes:
        transport: the connection: for addresses, Pings, counters, and all else that can be asked.
    """

    __slots__ = ("__weakref__", "_ended", "_message", "_receiver", "_taken", "transport")

    transport: WebSocketTransport

    #: Its sends wait, and it takes in no more than its connection's queue has room for.
    appliesBackpressure: Final = True

    def __init__(self) -> None:
        #: The Deferred of the `receive` that waits for the next message.
        self._receiver: Deferred[str | bytes] | None = None
        #: The message that was not asked for yet, and the Deferred that holds back the next until it is.
        self._message: str | bytes | None = None
        self._taken: Deferred[None] | None = None
        #: The end of the connection, or that no more is going to be received.
        self._ended: BaseException | None = None

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a stream can't be copied or pickled, nor can its connection: keep it in its process, and pass on the "
            "messages that it receives"
        )

    # For its user

    def send(self, message: str | bytes | bytearray | memoryview, compress: bool | None = None) -> Deferred[None]:
        """Sends a message.

        Args:
            message: a str makes a text message, bytes a binary one.
            compress: as in `WebSocketTransport.sendTextMessage`.

        Returns:
            a Deferred that fires when no more than ``highWaterMark`` bytes are unsent, often at once. Wait for it, and
            no more is in memory than that. It fails with the reason of the loss when the connection is lost, with
            `WebSocketEnded` when it is closing. On a connection that was so before, the message was not sent; with one
            that is lost meanwhile, it may have arrived or not. Cancelling it only stops it from waiting.

        Raises:
            LocalProtocolError: the message can't be sent; nothing was, and the connection stays.
        """
        transport = self.transport
        if isinstance(message, str):
            transport.sendTextMessage(message, compress)
        else:
            transport.sendBytesMessage(message, compress)
        if self._ended is not None:
            return failed(again(self._ended))
        return transport.whenWritable()

    def receive(self) -> Deferred[str | bytes]:
        """Receives the next message.

        Returns:
            a Deferred that fires with a str for a text message, bytes for a binary one. After the last message it
            fails with `WebSocketClosed` if both sides sent a Close, else with `WebSocketDropped`. Cancelling it loses
            no message: the next call gets it.

        Raises:
            LocalProtocolError: another call waits already.
        """
        if self._receiver is not None:
            raise LocalProtocolError("another receive() waits: a message has one receiver")
        message, self._message = self._message, None
        if message is not None:
            taken, self._taken = self._taken, None
            if taken is not None:
                taken.callback(None)
            return succeed(message)
        if self._ended is not None:
            return failed(again(self._ended))
        self._receiver = Result(self._receiverCancelled)
        return self._receiver

    def close(self, code: int | None = CloseCode.NORMAL_CLOSURE, reason: str = "") -> Deferred[None]:
        """Closes the connection.

        Messages that the peer sent before its Close can still be received, as far as ``receiveQueue`` has room; more is
        discarded, and counted in ``transport.counters``.

        Args:
            code: a close code that may travel; None for none.
            reason: at most 123 bytes of UTF-8.

        Returns:
            a Deferred that fires when the connection is lost, ``closeTimeout`` after our Close has left at the latest.
            It never fails; cancelling it only stops it from waiting.

        Raises:
            LocalProtocolError: a code or a reason that can't travel.
        """
        self.transport.loseConnection(code, reason)
        return self.transport.whenClosed()

    @property
    def request(self) -> Request:
        """The request that opened the connection."""
        return self.transport.request

    @property
    def response(self) -> Response | None:
        """The answer to the request, at a client; None on a server."""
        return self.transport.response

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that was agreed on, or None."""
        return self.transport.subprotocol

    @property
    def closeSent(self) -> Close | None:
        """Our `Close`, or None."""
        return self.transport.closeSent

    @property
    def closeReceived(self) -> Close | None:
        """The peer's `Close`, or None."""
        return self.transport.closeReceived

    def __aiter__(self) -> WebSocketStream:
        return self

    async def __anext__(self) -> str | bytes:
        try:
            return await self.receive()
        except WebSocketClosed as closed:
            if closed.closeReceived is not None and closed.closeReceived.code in _USUAL:
                raise StopAsyncIteration from None
            raise

    async def __aenter__(self) -> WebSocketStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close(CloseCode.NORMAL_CLOSURE if kind is None else CloseCode.INTERNAL_ERROR)

    # For the connection: an application's callbacks

    def negotiationStarted(self, transport: WebSocketTransport, /) -> None:
        """Takes the connection."""
        self.transport = transport

    def negotiationFinished(self) -> None:
        """The connection is open."""

    def textMessageReceived(self, message: str, /) -> Deferred[None] | None:
        """Hands a message over, or keeps it; the next one waits until it is taken."""
        return self._received(message)

    def bytesMessageReceived(self, data: bytes, /) -> Deferred[None] | None:
        """As `textMessageReceived`."""
        return self._received(data)

    def pongReceived(self, payload: bytes, /) -> None:
        """Ignored."""

    def connectionLost(self, reason: Failure, /) -> None:
        """The last message was taken, and the connection is lost."""
        self._ended = ended = reason.value
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.errback(again(ended))

    def _received(self, message: str | bytes) -> Deferred[None] | None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.callback(message)
            return None
        if self._ended is not None:
            self.transport.streamDiscards()
            return None
        self._message = message
        self._taken = Deferred()
        return self._taken

    def _receiverCancelled(self, receiver: Deferred[str | bytes]) -> None:
        self._receiver = None

    def _abandon(self) -> None:
        """No more is going to be received: further messages are let go."""
        self._ended = WebSocketEnded("the handler has returned")
        self._message = None
        taken, self._taken = self._taken, None
        if taken is not None:
            self.transport.streamDiscards()
            taken.callback(None)


#: The handler of a stream: an async function, or another function that returns a Deferred.
Handler: TypeAlias = Callable[[WebSocketStream], Coroutine[Any, Any, object] | Deferred[Any]]


class StreamHandler:
    """An application that is a coroutine: one function, called with the `WebSocketStream` of its connection.

    A ``buildApplication`` that finds out first which user is there returns one for each connection::

        return Accept(StreamHandler(partial(greet, user)), subprotocol="chat")

    Where there is nothing to find out, `streamApplication` makes the whole ``buildApplication``.
    """

    __slots__ = ("__weakref__", "_handler", "_isShared", "_kept", "_stream")

    #: As its stream does.
    appliesBackpressure: Final = True

    _log = ClassLogger()

    def __init__(self, handler: Handler) -> None:
        """Makes an application of a function.

        Args:
            handler: called with the stream when the connection is open: an async function, or one that returns a
                Deferred, as with ``inlineCallbacks``. Its return closes the connection with 1000; an exception closes
                it with 1011 and is logged, unless it is the `WebSocketEnded` of the connection's own end. A loss does
                not cancel it: its next ``receive`` or ``send`` fails. Stopping the factory does, when its connections
                are lost.

        Raises:
            LocalProtocolError: no function that can be called with a stream; an async generator.
        """
        _checkHandler(handler)
        self._take(handler)

    def _take(self, handler: Handler) -> None:
        self._handler = handler
        self._stream = WebSocketStream()
        #: Another connection has been given it, by mistake.
        self._isShared = False
        self._kept: object = None

    def __reduce__(self) -> NoReturn:
        raise TypeError("a StreamHandler can't be copied or pickled: make one for each connection, with its function")

    def keepAlive(self, wrapper: object) -> None:
        """Keeps an application that stands around this one, as long as this is kept: the connection has that one."""
        self._kept = wrapper

    # For the connection: an application's callbacks

    def negotiationStarted(self, transport: WebSocketTransport, /) -> None:
        """Takes the connection.

        Raises:
            LocalProtocolError: it has one.
        """
        if hasattr(self._stream, "transport"):
            self._isShared = True
            raise LocalProtocolError("a StreamHandler is for one connection: make one for each")
        self._stream.negotiationStarted(transport)

    def negotiationFinished(self) -> None:
        """Calls the handler."""
        stream = self._stream
        running = maybeDeferred(self._run, stream)
        stream.transport.factory.keepHandler(running)
        running.addBoth(self._returned, running)

    def textMessageReceived(self, message: str, /) -> Deferred[None] | None:
        """Hands a message over, or keeps it; the next one waits until it is taken."""
        return self._stream._received(message)

    def bytesMessageReceived(self, data: bytes, /) -> Deferred[None] | None:
        """As `textMessageReceived`."""
        return self._stream._received(data)

    def pongReceived(self, payload: bytes, /) -> None:
        """Ignored."""

    def connectionLost(self, reason: Failure, /) -> None:
        """The last message was taken, and the connection is lost."""
        if self._isShared:
            closing = self._stream.transport.whenClosed()
            if not closing.called:
                # It is another connection that is lost.
                closing.cancel()
                return
        self._stream.connectionLost(reason)

    def _run(self, stream: WebSocketStream) -> Deferred[Any]:
        running = asDeferred(self._handler(stream))
        if running is None:
            raise TypeError("the handler of a stream returned no coroutine, nor a Deferred: write an async function")
        return running

    def _returned(self, result: object, running: Deferred[Any]) -> None:
        stream = self._stream
        transport = stream.transport
        transport.factory.forgetHandler(running)
        code = CloseCode.NORMAL_CLOSURE
        # The end of another connection is no end of this one.
        if isinstance(result, Failure) and (transport.canSend() or not result.check(WebSocketEnded)):
            code = CloseCode.INTERNAL_ERROR
            if not result.check(*CANCELLATIONS):
                self._log.failure(
                    "the stream handler {handler} failed ({path}, peer {peer})",
                    result,
                    handler=_nameOf(self._handler),
                    path=excerpt(transport.pathForLog()),
                    peer=transport.peerForLog(),
                )
        if isinstance(result, Failure):
            letGo(result)
        transport.loseConnection(code)
        stream._abandon()


def streamApplication(handler: Handler) -> Callable[[Request], StreamHandler]:
    """Makes a server's ``buildApplication`` of a coroutine function, for all connections.

    Args:
        handler: called with the `WebSocketStream` of each connection, when that is open; see `StreamHandler`.

    Returns:
        a function that returns a `StreamHandler` for each request, as `serve` and `WebSocketServerFactory` take it.

    Raises:
        LocalProtocolError: no function that can be called with a stream; an async generator.
    """
    _checkHandler(handler)

    def build(request: Request) -> StreamHandler:
        # It was checked once for all.
        application = StreamHandler.__new__(StreamHandler)
        application._take(handler)
        return application

    return build


def _checkHandler(handler: object) -> None:
    checkCallback("handler", handler, "each stream", "write an async function")
    if isasyncgenfunction(handler):
        raise LocalProtocolError("handler has a yield in it, and so it never runs: an async function has none")
    if isgeneratorfunction(handler):
        raise LocalProtocolError("handler is a generator: decorate it with inlineCallbacks, or write an async function")


def _nameOf(handler: object) -> str:
    """The name of a function for the log; without what `partial` gives it, which may be a secret."""
    while isinstance(handler, partial):
        handler = handler.func
    name: str = getattr(handler, "__name__", None) or repr(handler)
    return name
