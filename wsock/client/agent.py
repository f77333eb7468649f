"""`connect` and `connectProtocol`: from a URL to an open connection, whose server is verified where it is TLS."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from ..application import Application
from ..arguments import checkReactor
from ..request import Request
from ..sansio.url import URL
from ..settings import Settings
from ..stream import WebSocketStream
from .attempt import Attempt, Endpoint, endpointFor
from .factory import WebSocketClientFactory

AnyApplication = TypeVar("AnyApplication", bound=Application)


def connectProtocol(
    reactor: Any,
    url: str | URL,
    buildApplication: Callable[
        [Request], AnyApplication | Deferred[AnyApplication] | Coroutine[Any, Any, AnyApplication]
    ],
    *,
    settings: Settings = Settings(),  # noqa: B008 - frozen
    headers: Sequence[tuple[str, str]] = (),
    subprotocols: Sequence[str] = (),
    endpoint: Endpoint | None = None,
    trustRoot: Any = None,
    clientCertificate: Any = None,
) -> Deferred[AnyApplication]:
    """Connects an application to a server.

    Args:
        reactor: to connect with.
        url: ``ws://`` or ``wss://``. The server of a ``wss:`` URL is verified for the URL's host, name or address.
        buildApplication: called with the `Request` that is about to be sent, once the transport is connected. Returns
            the application, or a Deferred or coroutine of it.
        settings: limits and timers. ``openTimeout`` is from this call until the connection is open, all included.
        headers: more fields for the request, such as Origin, Cookie and Authorization.
        subprotocols: offered, the preferred first.
        endpoint: how to reach the server, in place of the URL's host and port: through Tor, by a UNIX socket. Any
            ``IStreamClientEndpoint`` whose transports are producers and consumers, as all of Twisted's are but the
            channels of SSH; TLS is added to it for a ``wss:`` URL.
        trustRoot: whom to trust in place of the platform's roots: a certificate, or what
            ``twisted.internet.ssl.trustRootFromCertificates`` returns.
        clientCertificate: who we are, a ``twisted.internet.ssl.PrivateCertificate``.

    Returns:
        a Deferred that fires with the application when the connection is open. It fails with

        - `ConnectionRejected`, which has the response, when the server answered with another status than 101;
        - `InvalidResponse` when the answer is not one to our request, or is malformed;
        - `WebSocketDropped` when the connection was lost before it was open, TLS did not verify the server (its error
          is the ``__cause__``), the time was over, or the application failed (the same) or aborted in
          ``negotiationStarted`` or ``negotiationFinished``;
        - what the endpoint says when it does not connect;
        - what ``buildApplication`` raised.

        Cancelling it drops the connection.

    Raises:
        InvalidURL: not a URL of RFC 6455 section 3.
        LocalProtocolError: another argument that can't be, such as a header in bytes, or an endpoint that is a str.
        ImportError: a ``wss:`` URL without the packages for TLS.
    """
    checkReactor(reactor)
    factory = WebSocketClientFactory(
        url, buildApplication, reactor=reactor, settings=settings, headers=headers, subprotocols=subprotocols
    )
    endpoint = endpointFor(reactor, factory.url, endpoint, trustRoot, clientCertificate)
    factory._attempt = attempt = Attempt(reactor, settings.openTimeout)
    return attempt.begin(endpoint, factory)


def connect(
    reactor: Any,
    url: str | URL,
    *,
    settings: Settings = Settings(),  # noqa: B008 - frozen
    headers: Sequence[tuple[str, str]] = (),
    subprotocols: Sequence[str] = (),
    endpoint: Endpoint | None = None,
    trustRoot: Any = None,
    clientCertificate: Any = None,
) -> Deferred[WebSocketStream]:
    """Connects to a server, to send and receive with ``await``.

    ``async with await connect(reactor, "wss://example.com/") as stream:`` closes it in the end, too.

    Args:
        reactor: to connect with.
        url: ``ws://`` or ``wss://``.
        settings: as all that follows, of `connectProtocol`.
        headers: more fields for the request.
        subprotocols: offered, the preferred first.
        endpoint: how to reach the server.
        trustRoot: whom to trust.
        clientCertificate: who we are.

    Returns:
        a Deferred that fires with the `WebSocketStream` when the connection is open. It fails, and is cancelled, as
        that of `connectProtocol`.

    Raises:
        InvalidURL: as `connectProtocol`, and so are the others.
        LocalProtocolError: another argument that can't be, such as a header in bytes, or an endpoint that is a str.
        ImportError: a ``wss:`` URL without the packages for TLS.
    """
    return connectProtocol(
        reactor,
        url,
        lambda request: WebSocketStream(),
        settings=settings,
        headers=headers,
        subprotocols=subprotocols,
        endpoint=endpoint,
        trustRoot=trustRoot,
        clientCertificate=clientCertificate,
    )
