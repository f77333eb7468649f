"""A server as a service of Twisted's: for .tac files, and programs that are made of services."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from ..log import ClassLogger
from ..sansio.errors import wrong_type
from .factory import WebSocketServerFactory
from .listening import Listening, ServerEndpoint

if TYPE_CHECKING:
    from .tls import ServerTLS


class WebSocketServerService(Service):
    """Listens while it runs; when it stops, it closes its port first, then the connections of its factory.

    Attributes:
        factory: makes the connections, and holds them.
    """

    _log = ClassLogger()

    def __init__(
        self, endpoint: ServerEndpoint, factory: WebSocketServerFactory, *, tls: ServerTLS | None = None
    ) -> None:
        """Makes a service that is not running yet.

        Args:
            endpoint: where, as `serve` takes it. A port or a description is listened on by the factory's reactor.
            factory: makes the connections. It is stopped with the service, and so both are started once.
            tls: TLS on the endpoint, as `serve` takes it.

        Raises:
            LocalProtocolError: no endpoint, or no factory; TLS as for `serve`.
            ValueError: an invalid description; other exceptions are of the endpoint's kind.
            OSError: a file of ``tls`` that can't be read.
        """
        if not isinstance(factory, WebSocketServerFactory):
            raise wrong_type("factory", "a WebSocketServerFactory", factory)
        self.factory = factory
        self._listening = Listening(factory.ensureReactor(), endpoint, factory, tls)
        #: Whether a failure is for the caller that starts the service, and the failure.
        self._isStarting = False
        self._failure: Failure | None = None
        #: Its port while it listens, and those who wait for that.
        self._port: Any = None
        self._waiting: list[Deferred[Any]] = []

    def __reduce__(self) -> NoReturn:
        raise TypeError("a service can't be copied or pickled, nor can its factory: make one in each process")

    @property
    def port(self) -> int | None:
        """The number of its TCP port; None before it listens, and where it has none."""
        return self._listening.port

    @property
    def url(self) -> str | None:
        """Its URL, as `Server.url`; None before it listens, and where it has none."""
        return self._listening.url

    def whenListening(self) -> Deferred[Any]:
        """Waits until it listens.

        Returns:
            a Deferred that fires with the port, an ``IListeningPort``. Where the endpoint says later than in
            `privilegedStartService` that it can't listen, the Deferred fails with that, and nothing is logged; it fails
            with ``CancelledError`` when the service is stopped first.
        """
        waiting: Deferred[Any] = Deferred()
        if self._port is None:
            self._waiting.append(waiting)
        else:
            waiting.callback(self._port)
        return waiting

    def reloadTLS(self) -> None:
        """Reads the files of ``tls`` again, for new connections; open ones go on with the certificate that they have.

        Call it when a certificate was renewed. All files are read before the first of the new certificates is used: if
        that fails, the old ones stay in use. The tickets of the old ones are not taken any more, and so a client that
        comes back sees the new certificate.

        Raises:
            LocalProtocolError: files without a certificate and its key; no files, because ``tls`` is an
                ``ssl.SSLContext``, which stays the program's own, or was not given.
            OSError: a file that can't be read.
        """
        self._listening.reloadTLS()

    def privilegedStartService(self) -> None:
        """Listens, with the rights that the program was started with: twistd gives them up later.

        Raises:
            Exception: the endpoint's, when it can't listen, such as ``CannotListenError``. Its later failures are
                logged.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._isStarting = True
        self._listening.open().addCallbacks(self._listens, self._failed)
        self._isStarting = False
        failure, self._failure = self._failure, None
        if failure is not None:
            failure.raiseException()

    def startService(self) -> None:
        """Listens, where that was not done yet."""
        super().startService()  # type: ignore[no-untyped-call]
        if not self._listening.isOpening:
            self.privilegedStartService()

    def stopService(self) -> Deferred[None]:
        """Closes the port, then the connections: each peer is told with 1001, and has 4 seconds.

        Returns:
            a Deferred that fires when all is closed.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._end())

    async def _end(self) -> None:
        self._port = None
        await self._listening.close()
        await self.factory.stop()

    def _listens(self, port: Any) -> Any:
        self._port = port
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(port)
        return port

    def _failed(self, failure: Failure) -> None:
        waiting, self._waiting = self._waiting, []
        if self._isStarting:
            self._failure = failure
        elif not waiting and not failure.check(CancelledError):
            self._log.failure("can't listen", failure)
        for deferred in waiting:
            deferred.errback(failure)
