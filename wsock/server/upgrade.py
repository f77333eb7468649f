"""Requests that ``twisted.web`` has read: how one is taken over, parsed as it is, with its connection.

Rules:

* The request is never written out, to be read a second time: two readers may differ, which is an attack.
* The connection has left ``twisted.web`` when it is open: no timer and no producer of the ``HTTPChannel`` stays, and
  no byte passes through it, where the transport lets its protocol be replaced.
* A request that asks for no WebSocket of HTTP/1.1 is answered through ``twisted.web``, and its connection stays there.
* The private attributes of ``twisted.web`` are named in `takeTransport` and nowhere else.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from weakref import ref

from twisted.python.failure import Failure

from ..log import ClassLogger
from ..sansio.errors import LocalProtocolError
from ..sansio.http import RequestHead, ResponseHead
from ..wire.protocol import WebSocketTransport


class Upgrade:
    """A request of ``twisted.web`` that becomes a WebSocket: what that server is told of it, each once.

    Once the connection is accepted, only the application, and those who wait for ``notifyFinish``, hold the request:
    with its channel it takes as much memory as the connection.
    """

    __slots__ = ("_held",)

    log = ClassLogger()

    def __init__(self, webRequest: Any) -> None:
        """Holds a request until it is answered.

        Args:
            webRequest: a ``twisted.web.http.Request``.
        """
        self._held: Any = webRequest

    @property
    def webRequest(self) -> Any:
        """The request; None where nobody holds it any more."""
        held = self._held
        return held() if type(held) is ref else held

    def accepted(self, answer: ResponseHead) -> ResponseHead:
        """The connection is open; returns the 101 to send."""
        webRequest = self.webRequest
        answer = self._answered(webRequest, answer)
        if not webRequest.notifications:
            with suppress(TypeError):
                # A class of the application's may not allow it.
                self._held = ref(webRequest)
        return answer

    def refused(self, answer: ResponseHead) -> ResponseHead:
        """The connection is refused; returns the answer to send, with which the request is finished."""
        webRequest, self._held = self.webRequest, None
        answer = self._answered(webRequest, answer)
        waiting, webRequest.notifications = webRequest.notifications, []
        for deferred in waiting:
            deferred.callback(None)
        return answer

    def lost(self, reason: Failure) -> None:
        """The connection is lost."""
        webRequest, self._held = self.webRequest, None
        if webRequest is not None:
            try:
                webRequest.connectionLost(reason)
            except Exception:
                # A class of the application's may have its own.
                self.log.failure("connectionLost of a request of twisted.web failed")

    def _answered(self, webRequest: Any, answer: ResponseHead) -> ResponseHead:
        """Does as ``twisted.web`` does with an answer: its cookies go with it, and the site's log has a line."""
        for cookie in webRequest.cookies:
            # Those of a session that began with this request.
            try:
                answer = answer.with_field("Set-Cookie", cookie.decode("latin-1"))
            except LocalProtocolError:
                self.log.failure("a cookie that can't be sent was left out ({uri})", uri=webRequest.path)
        webRequest.setResponseCode(answer.status)
        webRequest.sentLength = len(answer.body)
        # Of a body that is refused it is a file.
        webRequest.content.close()
        site = getattr(webRequest.channel, "factory", None)
        if site is not None:
            try:
                site.log(webRequest)
            except Exception:
                # It is not ours to trust: a disk may be full.
                self.log.failure("the log of the site failed")
        return answer


def asksForWebSocket(webRequest: Any) -> bool:
    """Whether a request's Upgrade field has the token ``websocket``, whatever else is wrong with it."""
    fields: list[bytes] = webRequest.requestHeaders.getRawHeaders(b"upgrade", [])
    return any(token.strip(b" \t").lower() == b"websocket" for field in fields for token in field.split(b","))


def readRequest(webRequest: Any) -> RequestHead:
    """Takes over a request as ``twisted.web`` has parsed it.

    Raises:
        InvalidRequest: it has something that ``twisted.web`` lets pass, and no request may have.
    """
    fields = [(name, value) for name, values in webRequest.requestHeaders.getAllRawHeaders() for value in values]
    return RequestHead.take_over(webRequest.method, webRequest.uri, webRequest.clientproto, fields)


def takeTransport(webRequest: Any, protocol: WebSocketTransport) -> tuple[Any, bytes]:
    """Takes the connection of a request away from its ``HTTPChannel``.

    Every Twisted from 24.7 on works alike here; of its private attributes these are needed, for which there is no other
    way: the bytes that the channel keeps while a request is answered (``_dataBuffer``), and the channel that stands
    behind the protocol of a connection that could be of HTTP/2 (``_channel``). ``_protocolUpgradeForWebsockets``, which
    came with 25.5, would leave the channel where it is, registered as a producer, and lose the bytes it keeps.

    Args:
        webRequest: the request that the channel is answering.
        protocol: gets all bytes from now on, and the loss.

    Returns:
        the transport; the bytes behind the request that the channel held.
    """
    channel = webRequest.channel
    transport: Any = channel.transport
    channel.setTimeout(None)
    held, channel._dataBuffer = channel._dataBuffer, []
    # The two hold each other. From now on the request refuses to be written to.
    channel.requests.remove(webRequest)
    webRequest.finished = 1
    # Over TLS, too, the channel is the producer.
    transport.unregisterProducer()
    if held:
        # It may be paused for what the channel keeps.
        transport.resumeProducing()
    # The rest of what the channel is reading at this moment comes this way.
    channel.rawDataReceived = protocol.dataReceived
    # First of TLS and its like, which forward all that they have not to the transport below.
    for name in ("wrappedProtocol", "protocol"):
        above = getattr(transport, name, None)
        if channel in (above, getattr(above, "_channel", None)):
            setattr(transport, name, protocol)
            break
        if isinstance(above, WebSocketTransport):
            # The site is the fallback of a factory of ours.
            above.openingReplaces(protocol)
            break
    else:
        channel.dataReceived, channel.connectionLost = protocol.dataReceived, protocol.connectionLost
    return transport, b"".join(held)
