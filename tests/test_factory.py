import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.vhost import NameVirtualHost
from wire import REQUEST, Served, failures, logged

import wsock
from wsock import (
    LocalProtocolError,
    WebSocketClientFactory,
    WebSocketServerFactory,
    WebSocketStream,
    streamApplication,
)
from wsock.sansio.url import parse
from wsock.testing import Pair, ScriptedPeer
from wsock.wire import factory as factories

PROGRAM = """
import sys
sys.path.insert(0, {path!r})
import resource
from wsock import Settings
from wsock.wire.factory import Connections

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        blocks = [b"x" * 2**20 for _ in range(3)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

without = faults()
begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(100):
    Connections(None, Settings(), None)
made = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begin
print(without, faults(), made)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc's heap")
def test_the_heap_of_a_few_messages_is_kept() -> None:
    """The system would otherwise get it back, and gives it again page by page, for each large message."""
    program = PROGRAM.format(path=str(Path(wsock.__file__).parents[1]))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    without, kept, made = map(int, done.stdout.split())
    assert kept < 2000
    assert kept < without / 4
    # KiB: the blocks that say so are never touched.
    assert made < 2048


@pytest.mark.parametrize(
    ("limit", "kept"), [(2**16, 2**18), (2**22, 2**24), (2**22 + 1, 2**24), (2**30, 2**24), (None, 2**22)]
)
def test_the_heap_that_is_kept_goes_by_the_largest_message(
    monkeypatch: pytest.MonkeyPatch, limit: int | None, kept: int
) -> None:
    monkeypatch.setattr(factories, "_raisedToBytes", 0)
    factories.raiseTrimThreshold(limit)
    assert factories._raisedToBytes == kept
    # A factory for smaller ones needs no less.
    factories.raiseTrimThreshold(1)
    assert factories._raisedToBytes == kept


async def handler(stream: WebSocketStream) -> None:
    pass


FACTORIES = [
    WebSocketServerFactory(streamApplication(handler)),
    WebSocketClientFactory("ws://localhost/", lambda request: WebSocketStream()),
]


@pytest.mark.parametrize("factory", FACTORIES, ids=repr)
def test_a_factory_is_no_resource(factory: Any) -> None:
    """It is told when it is put into a tree, and not by a 500 for each who asks."""
    for resource in (Resource(), NameVirtualHost()):
        with pytest.raises(LocalProtocolError, match=r"is no resource of twisted.web: .*fallback=Site\(root\)"):
            resource.putChild(b"ws", factory)


@pytest.mark.parametrize("factory", FACTORIES, ids=repr)
def test_a_factory_is_no_root(factory: Any) -> None:
    """`Site` asks nothing of its root before there is a request."""
    pair = Pair(Site(factory), ScriptedPeer())
    pair.client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    with logged() as events:
        pair.flush()
    assert pair.client.answer().status == 500
    (told,) = failures(events)
    assert "is no resource of twisted.web" in told


def test_each_connection_is_counted_once() -> None:
    first = Served()
    second = Served(factory=first.factory)
    connections = first.factory._connections
    assert (len(connections), len(connections.open)) == (2, 0)
    first.feed(REQUEST)
    assert (len(connections), len(connections.open)) == (2, 1)
    second.lose(clean=False)
    assert (len(connections), len(connections.open)) == (1, 1)
    first.lose()
    assert (len(connections), len(connections.open)) == (0, 0)


def test_others_may_have_an_attribute_of_that_name() -> None:
    class Own(WebSocketServerFactory):
        def __init__(self) -> None:
            super().__init__(streamApplication(handler))
            assert not hasattr(self, "server")
            self.server = "its own"

    own = Own()
    assert own.server == "its own"
    assert "server" in vars(own)


def test_a_client_s_url_may_be_one_that_was_read() -> None:
    url = parse("ws://a.example/b")
    assert WebSocketClientFactory(url, lambda request: None, reactor=Clock()).url is url
