import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import wsock


def run(program: str) -> str:
    """Runs a program in a fresh interpreter that finds the same wsock; PYTHONPATH may have one that loads a reactor."""
    path = str(Path(wsock.__file__).parent.parent)
    program = f"import sys; sys.path.insert(0, {path!r})\n{program}"
    done = subprocess.run(
        [sys.executable, "-E", "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.parametrize(
    "name", ["connection", "handshake", "http", "messages", "frames", "url", "extensions", "masking", "events"]
)
def test_the_core_loads_no_twisted(name: str) -> None:
    program = f"import wsock.sansio.{name}\nprint([name for name in sys.modules if name.split('.')[0] == 'twisted'])"
    assert run(program) == "[]"


def test_importing_wsock_loads_no_other_package_and_its_names_no_reactor() -> None:
    program = (
        "before = set(sys.modules)\n"
        "import wsock\n"
        "loaded = set(sys.modules) - before\n"
        "print(sorted(name for name in loaded if name.partition('.')[0] not in sys.stdlib_module_names))\n"
        "print(loaded & {'asyncio', 'hashlib', 'json', 'logging', 'socket', 'ssl', 'zlib'})\n"
        "for name in wsock.__all__: getattr(wsock, name)\n"
        "print('twisted.internet.reactor' in sys.modules)"
    )
    assert run(program).split("\n") == ["['wsock', 'wsock.version']", "set()", "False"]


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("WebSocketServerFactory", "wsock.client"),
        ("serve", "wsock.client"),
        ("WebSocketServerService", "wsock.client"),
        ("WebSocketClientFactory", "wsock.server"),
        ("connect", "wsock.server"),
    ],
)
def test_a_role_loads_nothing_of_the_other_and_no_tls_nor_service(name: str, other: str) -> None:
    """Twisted's own TCP loads `ssl`, and pyOpenSSL where it is installed; there is nothing to save."""
    unused = (
        other,
        "wsock.service",
        "wsock.testing",
        "wsock.wire.tls",
        "wsock.server.tls",
        "wsock.client.tls",
        "twisted.web",
    )
    program = (
        f"before = set(sys.modules)\nfrom wsock import {name}\nunused = {unused!r}\n"
        "loaded = set(sys.modules) - before\n"
        "print([one for one in loaded if any(one == name or one.startswith(name + '.') for name in unused)])"
    )
    assert run(program) == "[]"


def test_a_factory_made_installs_no_reactor() -> None:
    program = (
        "from wsock import WebSocketServerFactory\n"
        "WebSocketServerFactory(lambda request: None)\n"
        "print('twisted.internet.reactor' in sys.modules)"
    )
    assert run(program) == "False"


def test_a_client_without_a_proxy_loads_nothing_for_proxies() -> None:
    program = (
        "import sys\n"
        "from types import SimpleNamespace\n"
        "from twisted.internet.defer import Deferred\n"
        "from twisted.internet.task import Clock\n"
        "import wsock\n"
        "endpoint = SimpleNamespace(connect=lambda factory: Deferred())\n"
        "for proxy in (None, 'http://localhost'):\n"
        "    wsock.connect(Clock(), 'ws://localhost/', endpoint=endpoint, proxy=proxy)\n"
        "    modules = ('proxy', 'tunnel', 'socks', 'httpconnect', 'environment')\n"
        "    print(sum(f'wsock.client.{name}' in sys.modules for name in modules))"
    )
    assert run(program).split("\n") == ["0", "5"]


@pytest.mark.parametrize("name", sorted(wsock._HOMES))
def test_each_name_is_that_of_its_module(name: str) -> None:
    value = getattr(wsock, name)
    assert value is getattr(import_module(wsock._HOMES[name]), name)
    if name not in ("BuildApplication", "Decision"):  # aliases, which have no name of their own
        assert value.__name__ == name
        assert value.__module__ == wsock._HOMES[name]


def test_type_checkers_are_told_the_same_names() -> None:
    source = Path(wsock.__file__).with_name("__init__.py").read_text()
    told = dict(re.findall(r"    from \.([\w.]+) import (\w+) as \2\n", source))
    names = {
        name: f"wsock.{module}" for module, name in re.findall(r"    from \.([\w.]+) import (\w+) as \2\n", source)
    }
    assert told
    assert names == wsock._HOMES


def test_what_it_has() -> None:
    assert {*wsock._HOMES, "deflateImplementation", "implementation", "maskImplementation", "__version__"} == set(
        wsock.__all__
    )
    assert set(wsock.__all__) <= set(dir(wsock))
    assert wsock.implementation in ("compiled", "python")
    assert wsock.maskImplementation in ("c", "python")
    assert wsock.deflateImplementation in ("isal", "zlib-ng", "zlib")
    with pytest.raises(AttributeError, match="nonsense"):
        wsock.nonsense  # noqa: B018


def test_what_is_public() -> None:
    """A name that is added, or taken away, is one that somebody has decided on."""
    assert sorted(wsock._HOMES) == [
        "Accept",
        "AccessRecord",
        "AddressLimits",
        "Agent",
        "Application",
        "BroadcastResult",
        "BuildApplication",
        "Close",
        "CloseCode",
        "Compression",
        "ConnectionCounters",
        "ConnectionRejected",
        "CredCheck",
        "Decision",
        "Group",
        "HandshakeError",
        "Headers",
        "HtpasswdFile",
        "InvalidPayload",
        "InvalidRequest",
        "InvalidResponse",
        "InvalidURL",
        "LocalProtocolError",
        "MessageTooBig",
        "Passwords",
        "Proxy",
        "ProxyError",
        "ProxyPolicy",
        "RateLimit",
        "Refuse",
        "RemoteProtocolError",
        "Request",
        "Response",
        "Route",
        "Routes",
        "Server",
        "Settings",
        "StreamHandler",
        "Tokens",
        "WebSocketClientFactory",
        "WebSocketClosed",
        "WebSocketDropped",
        "WebSocketEnded",
        "WebSocketError",
        "WebSocketProtocol",
        "WebSocketResource",
        "WebSocketServerFactory",
        "WebSocketServerService",
        "WebSocketStream",
        "WebSocketTransport",
        "basicAuth",
        "bearerAuth",
        "connect",
        "connectProtocol",
        "serve",
        "streamApplication",
        "upgradeRequest",
    ]


def test_a_star_import_has_all_of_it() -> None:
    assert run("from wsock import *\nprint(WebSocketProtocol.__name__, implementation)").startswith(
        "WebSocketProtocol "
    )
