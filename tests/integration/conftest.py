"""Servers and clients on the real reactor; the tests themselves run in a thread, where they may block.

A test fails by all that it leaves behind: an exception that was logged, a connection, a delayed call.
"""

import inspect
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

pytest.register_assert_rewrite("integration.peer", "integration.console")

from integration.console import browser, console, twistd  # noqa: E402, F401 - fixtures
from integration.peer import Listener, make_certificate  # noqa: E402
from integration.servers import Echo, Serve, Server, settings_among  # noqa: E402
from integration.streams import Client, Listen, Traces  # noqa: E402
from twisted.internet.address import UNIXAddress  # noqa: E402
from twisted.internet.endpoints import serverFromString  # noqa: E402
from twisted.internet.task import deferLater  # noqa: E402
from twisted.internet.threads import blockingCallFromThread, deferToThread  # noqa: E402
from twisted.logger import globalLogPublisher  # noqa: E402
from twisted.protocols.policies import WrappingFactory  # noqa: E402
from twisted.web.server import Site  # noqa: E402

from wsock import Settings, WebSocketResource, WebSocketServerFactory  # noqa: E402
from wsock.server.tls import TLSServerFactory, makeContext  # noqa: E402


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(pytest.mark.integration)
    # Twisted's TLS endpoints with a new pyOpenSSL; the cause is not ours to mend.
    item.add_marker(pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning"))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool:
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    pytest_twisted.blockon(deferToThread(lambda: pyfuncitem.obj(**arguments)))
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks a test over Twisted's TLS as slow where it is the same over our own: most runs can do without both."""
    kinds: dict[tuple[Path, str], dict[object, list[pytest.Item]]] = {}
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            test = kinds.setdefault((item.path, item.originalname), {})
            test.setdefault(item.callspec.params.get("kind"), []).append(item)
    for test in kinds.values():
        if "own tls" in test:
            for item in test.get("tls", ()):
                item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("authority"), "an authority")


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """The failures that the test provokes: those that it leaves in the log fail it."""
    events: list[Any] = []

    def observe(event: Any) -> None:
        if "log_failure" in event or event.get("isError"):
            events.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        yield events
    finally:
        globalLogPublisher.removeObserver(observe)
    assert not events, "\n".join(str(event.get("log_failure", event)) for event in events)


@pytest.fixture
def serve(
    certificate: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory, logged: list[Any]
) -> Iterator[Serve]:
    """Returns a function that starts a server: serve(kind, build, **arguments of the factory or of Settings).

    The kind is one of `KINDS`, or an endpoint, or the description of one; ``tls`` is a context for our own TLS on it.
    With ``site`` it is a `Site` of twisted.web, whose root is a `WebSocketResource`, or the result of the function.
    """
    from twisted.internet import reactor

    key, pem = certificate
    servers: list[Server] = []

    def describe(kind: str, server: Server) -> str:
        if kind == "unix":
            return f"unix:{os.path.relpath(tmp_path_factory.mktemp('unix') / 'socket')}"
        if kind == "tls":
            server.certificate = pem
            return f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={pem}"
        if kind == "own tls":
            server.certificate = pem
        return kind if ":" in kind else "tcp:0:interface=127.0.0.1"

    def start(
        kind: Any = "tcp",
        build: Callable[..., Any] = lambda request: Echo(),
        tls: Any = None,
        site: Any = None,
        **arguments: Any,
    ) -> Server:
        server = Server()
        server.applications = []

        def remember(request: Any) -> Any:
            server.applications.append(build(request))
            return server.applications[-1]

        settings = Settings(**settings_among(arguments))
        if site is None:
            factory: Any = WebSocketServerFactory(remember, reactor=reactor, settings=settings, **arguments)
            server.factory = factory
        else:
            resource = WebSocketResource(remember, reactor=reactor, settings=settings, **arguments)
            server.factory = resource.factory
            factory = Site(site(resource))
        if kind == "wrapped":
            factory = WrappingFactory(factory)
        if kind == "own tls" or tls is not None:
            context = makeContext((pem, key) if tls is None else tls)
            factory = TLSServerFactory(factory, context, reactor, settings.closeTimeout)
        factory.noisy = False
        endpoint = serverFromString(reactor, describe(kind, server)) if isinstance(kind, str) else kind
        server.listening = blockingCallFromThread(reactor, endpoint.listen, factory)
        place = server.listening.getHost()
        if isinstance(place, UNIXAddress):
            server.path = os.fsdecode(place.name)
        else:
            server.port = place.port
        servers.append(server)
        return server

    before = set(reactor.getDelayedCalls())
    yield start
    for server in servers:
        server.close()
        pytest_twisted.blockon(server.listening.stopListening())
    for server in servers:
        # All peers have left, so this is no farewell: it only tells that nobody is left.
        pytest_twisted.blockon(server.factory.stop().addTimeout(8, reactor))
        assert not server.factory.connections
    left: list[Any] = []
    for _ in range(200):
        # A connection that was refused after the factory's stop ends when its peer does, which may take a moment: but
        # less than the 10 s of the closing timer.
        left = [call for call in reactor.getDelayedCalls() if call not in before and "wsock" in str(call)]
        if not left:
            break
        pytest_twisted.blockon(deferLater(reactor, 0.02))
    assert not left, f"delayed calls are left: {left}"


@pytest.fixture
def listen(certificate: tuple[Path, Path]) -> Iterator[Listen]:
    """Returns a function that starts a server made of bytes: listen(kind, **arguments of Listener).

    The kind is "tcp" or "tls".
    """
    listeners: list[Listener] = []

    def start(kind: str = "tcp", **arguments: Any) -> Listener:
        if kind == "tls":
            arguments.setdefault("certificate", certificate)
        listeners.append(Listener(**arguments))
        return listeners[-1]

    yield start
    for listener in listeners:
        listener.close()


@pytest.fixture
def client(logged: list[Any]) -> Iterator[Client]:
    """Connects to servers; in the end nothing is left of it in the reactor."""
    from twisted.internet import reactor

    traces = Traces()
    client = Client()
    yield client
    pytest_twisted.blockon(client.close().addTimeout(8, reactor))
    for _ in range(500):
        left = traces.left()
        if not left:
            break
        pytest_twisted.blockon(deferLater(reactor, 0.01))
    assert not left, f"left in the reactor: {left}"
