"""Servers on the real reactor; the tests themselves run in a thread, where they may block.

What a test leaves behind fails it: an exception that was logged, a connection, a delayed call.
"""

import inspect
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

pytest.register_assert_rewrite("integration.peer")

from integration.peer import make_certificate  # noqa: E402
from integration.servers import Echo, Serve, Server  # noqa: E402
from twisted.internet.endpoints import serverFromString  # noqa: E402
from twisted.internet.threads import blockingCallFromThread, deferToThread  # noqa: E402
from twisted.logger import globalLogPublisher  # noqa: E402
from twisted.protocols.policies import WrappingFactory  # noqa: E402

from wsock import Settings, WebSocketServerFactory  # noqa: E402


def pytest_itemcollected(item: pytest.Item) -> None:
    # Twisted's TLS endpoints with a new pyOpenSSL; the cause is not ours to mend.
    item.add_marker(pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning"))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool:
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    pytest_twisted.blockon(deferToThread(pyfuncitem.obj, **arguments))
    return True


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def logged() -> list[Any]:
    """The failures that the test provokes: those that it leaves in the log fail it."""
    return []


@pytest.fixture
def serve(
    certificate: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory, logged: list[Any]
) -> Iterator[Serve]:
    """Returns a function that starts a server: serve(kind, build, **arguments of the factory or of Settings)."""
    from twisted.internet import reactor

    key, pem = certificate
    servers: list[Server] = []

    def observe(event: Any) -> None:
        if "log_failure" in event or event.get("isError"):
            logged.append(event)

    def start(kind: str = "tcp", build: Callable[..., Any] = lambda request: Echo(), **arguments: Any) -> Server:
        server = Server(certificate=pem if kind == "tls" else None)
        server.applications = []

        def remember(request: Any) -> Any:
            server.applications.append(build(request))
            return server.applications[-1]

        fields = Settings.__dataclass_fields__
        settings = Settings(**{name: arguments.pop(name) for name in list(arguments) if name in fields})
        server.factory = WebSocketServerFactory(remember, reactor=reactor, settings=settings, **arguments)
        if kind == "unix":
            server.path = os.path.relpath(tmp_path_factory.mktemp("unix") / "socket")
        description = {
            "tls": f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={pem}",
            "unix": f"unix:{server.path}",
        }.get(kind, "tcp:0:interface=127.0.0.1")
        factory = WrappingFactory(server.factory) if kind == "wrapped" else server.factory
        factory.noisy = False
        server.listening = blockingCallFromThread(reactor, serverFromString(reactor, description).listen, factory)
        if kind != "unix":
            server.port = server.listening.getHost().port
        servers.append(server)
        return server

    globalLogPublisher.addObserver(observe)
    try:
        before = set(reactor.getDelayedCalls())
        yield start
        for server in servers:
            server.close()
            pytest_twisted.blockon(server.listening.stopListening())
        for server in servers:
            # All peers have left, so this is no farewell: it only tells that nobody is left.
            pytest_twisted.blockon(server.factory.stop().addTimeout(8, reactor))
            assert not server.factory.connections
        left = [call for call in reactor.getDelayedCalls() if call not in before and "wsock" in str(call)]
        assert not left, f"delayed calls are left: {left}"
    finally:
        globalLogPublisher.removeObserver(observe)
    assert not logged, "\n".join(str(event.get("log_failure", event)) for event in logged)
