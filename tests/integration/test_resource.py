"""WebSockets in a tree of ``twisted.web``, over real sockets: probes, backpressure, clients, and the memory."""

import contextlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from ssl import CERT_REQUIRED, PROTOCOL_TLS_SERVER, PEM_cert_to_DER_cert, SSLContext, create_default_context
from typing import Any

import pytest
from integration import test_memory
from integration.peer import Peer, frame, request, within
from integration.process import ENVIRONMENT, Twistd, browse
from integration.servers import KINDS, TLS_KINDS, Echo, Serve, Server
from integration.streams import call
from integration.test_clients import OVER_IP, choose, node
from integration.test_hub import hubs
from integration.test_probes import ACCEPTED, FAULTS, REASONS, REFUSED, Accepted, Fault, Refused, check_acceptance
from twisted.internet import ssl
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import SSL4ServerEndpoint
from twisted.web.resource import Resource
from twisted.web.server import Site

from wsock import WebSocketResource

KIB = 2**10
MIB = 2**20
#: The masking key that leaves a payload as it is.
ZEROS = bytes(4)
PAGE = b"GET /page HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


class Page(Resource):
    """A page of many bytes."""

    def __init__(self, body: bytes = b"a page") -> None:
        super().__init__()
        self.body = body

    def render_GET(self, request: Any) -> bytes:
        request.setHeader("content-type", "text/html; charset=utf-8")
        return self.body


def root(resource: Any) -> Any:
    return resource


def tree(resource: Any) -> Any:
    """Its WebSocket is at /echo."""
    top = Resource()
    top.putChild(b"echo", resource)
    top.putChild(b"page", Page())
    top.putChild(b"large", Page(bytes(8 * MIB)))
    return top


def page(peer: Peer, data: bytes = PAGE) -> bytes:
    """Has a page come; returns its body."""
    peer.send(data)
    answer = peer.answer()
    assert answer.status == 200
    return peer.read(int(answer["Content-Length"] or 0))


# Connections


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_request_and_what_comes_behind_it(serve: Serve, kind: str) -> None:
    peer = serve(kind, site=tree).connect()
    assert page(peer) == b"a page"
    peer.send(request() + frame(0x81, b"one") + frame(0x81, b"two"))
    check_acceptance(peer.answer())
    assert [peer.frame() for _ in range(2)] == [(0x81, b"one"), (0x81, b"two")]
    large = bytes(range(256)) * 4096
    peer.send(frame(0x82, large))
    assert peer.frame() == (0x82, large)
    peer.send(frame(0x88, b"\x03\xe8"))
    peer.expect_close(1000)
    peer.expect_end(2)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_read_by_the_hub_as_any_other(serve: Serve, kind: str) -> None:
    server = serve(kind, site=tree)
    peers = [server.connect() for _ in range(3)]
    for peer in peers:
        page(peer)
        peer.send(request())
        assert peer.answer().status == 101
        for message in (b"one", b"two"):
            peer.send(frame(0x81, message))
            assert peer.frame() == (0x81, message)
    expected = {"tcp": 3, "unix": 3, "own tls": 3, "wrapped": 0, "tls": 0}[kind]
    assert [name.split(":")[0] for name in hubs()] == [f"<wsock's hub with {expected} connections"] * bool(expected)
    # No byte passes through the channel.
    for connection in list(call(lambda: list(server.factory.connections))):
        above = connection.transport
        assert getattr(above, "wrappedProtocol", None) is connection or above.protocol is connection
    for peer in peers:
        peer.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_page_before_it_arrives_whole_and_first(serve: Serve, kind: str) -> None:
    """In the same segment: the page waits in the transport, which is to pause whom it resumes."""
    peer = serve(kind, site=tree).connect(receive_buffer=2**16)
    peer.send(PAGE.replace(b"page", b"large") + request() + frame(0x81, b"one"))
    answer = peer.answer()
    assert int(answer["Content-Length"] or 0) == 8 * MIB
    assert peer.read(8 * MIB) == bytes(8 * MIB)
    check_acceptance(peer.answer())
    assert peer.frame() == (0x81, b"one")
    large = bytes(range(256)) * 4096
    for _ in range(4):
        peer.send(frame(0x82, large))
        assert peer.frame() == (0x82, large)


@pytest.mark.parametrize("kind", KINDS)
def test_backpressure(serve: Serve, kind: str) -> None:
    """A peer that reads nothing is not read; it gets all when it does."""
    peer = serve(kind, site=tree).open(receive_buffer=2**16)
    payload = bytes(range(256)) * 1024
    one = frame(0x82, payload, ZEROS)
    total = 64 * len(one) * 4
    sent = peer.stream(one, total, read=False)
    assert sent < total
    assert peer.stream(one, total, start=sent) == total
    for _ in range(256):
        assert peer.frame() == (0x82, payload)


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_that_come_while_it_is_decided(serve: Serve, kind: str) -> None:
    decisions: list[Deferred[Any]] = []

    def build(request: Any) -> Any:
        decisions.append(Deferred())
        return decisions[-1]

    server = serve(kind, build, site=tree)
    peer = server.connect()
    peer.send(request() + frame(0x81, b"one"))
    within(8, lambda: decisions, "the application is asked")
    message = frame(0x82, bytes(1000), ZEROS)
    total = 2 * MIB // len(message) * len(message)
    # No more than is held, and what the systems take.
    sent = peer.stream(message, 64 * MIB // len(message) * len(message), read=False)
    total = -(-sent // len(message)) * len(message)
    server.call(decisions[0].callback, Echo())
    assert peer.stream(message, total, start=sent) == total
    assert peer.answer().status == 101
    assert peer.frame() == (0x81, b"one")
    for _ in range(total // len(message)):
        assert peer.frame() == (0x82, bytes(1000))


def test_a_client_that_leaves_while_it_is_decided(serve: Serve) -> None:
    cancelled: list[Any] = []
    asked: list[Any] = []

    def build(request: Any) -> Any:
        asked.append(request.path)
        return Deferred(cancelled.append)

    peer = serve("tcp", build, site=tree).connect()
    peer.send(request())
    within(8, lambda: asked, "the application is asked")
    peer.close()
    within(8, lambda: cancelled, "its decision is cancelled")


@pytest.mark.parametrize("kind", KINDS)
def test_a_site_that_is_the_fallback_of_a_factory(serve: Serve, kind: str) -> None:
    """One of ours, whose TLS is the site's, too; its end is that of the resource's connections."""
    from twisted.internet import reactor

    resource = call(lambda: WebSocketResource(lambda request: Echo(), reactor=reactor))
    server = serve(kind, fallback=Site(tree(resource)))
    peer = server.connect()
    assert page(peer) == b"a page"
    peer.send(request() + frame(0x81, b"one"))
    check_acceptance(peer.answer())
    assert peer.frame() == (0x81, b"one")
    large = bytes(range(256)) * 4096
    peer.send(frame(0x82, large))
    assert peer.frame() == (0x82, large)
    expected = {"tcp": 1, "unix": 1, "own tls": 1, "wrapped": 0, "tls": 0}[kind]
    assert [name.split(":")[0] for name in hubs()] == [f"<wsock's hub with {expected} connections"] * bool(expected)
    server.call(lambda: server.factory.stop() and None)
    peer.expect_close(1001)
    peer.send(frame(0x88, b"\x03\xe9"))
    peer.expect_end(2)
    peer.close()
    within(8, lambda: not resource.connections, "the connection is lost")


@pytest.mark.parametrize("kind", KINDS)
def test_stop(serve: Serve, kind: str) -> None:
    server = serve(kind, site=tree)
    peer = server.open()
    stopped: list[Any] = []
    server.call(lambda: server.factory.stop().addCallback(stopped.append) and None)
    peer.expect_close(1001)
    peer.send(frame(0x88, b"\x03\xe9"))
    peer.expect_end(2)
    peer.close()
    within(8, lambda: stopped, "the resource has stopped")
    peer = server.connect()
    peer.send(request())
    assert peer.answer().status == 503


@pytest.mark.parametrize("kind", TLS_KINDS)
def test_the_certificate_of_the_client(serve: Serve, certificate: tuple[Path, Path], kind: str) -> None:
    from twisted.internet import reactor

    key, pem = certificate
    seen: list[Any] = []

    def build(request: Any) -> Echo:
        web = request.webRequest
        seen.append((request.getPeerCertificateDER(), bool(web.transport.getPeerCertificate()), web.isSecure()))
        return Echo()

    if kind == "tls":
        authority = ssl.Certificate.loadPEM(pem.read_bytes())
        own = ssl.PrivateCertificate.loadPEM(key.read_bytes() + pem.read_bytes())
        server = serve(SSL4ServerEndpoint(reactor, 0, own.options(authority), interface="127.0.0.1"), build, site=tree)
    else:
        context = SSLContext(PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem, key)
        context.load_verify_locations(pem)
        context.verify_mode = CERT_REQUIRED
        server = serve("tcp", build, tls=context, site=tree)
    own_context = create_default_context(cafile=pem)
    own_context.load_cert_chain(pem, key)
    with own_context.wrap_socket(server.connect(tls=False).socket, server_hostname="localhost") as sock:
        sock.sendall(request())
        assert sock.recv(2**10).startswith(b"HTTP/1.1 101 ")
    assert seen == [(PEM_cert_to_DER_cert(pem.read_text()), True, True)]


# Probes

#: Heads that twisted.web does not hand on: it refuses them with a status line, or drops them, or waits for more.
BY_TWISTED = ("H09", "H11", "H12", "H13", "no HTTP", "H30", "H31", "H32")
#: One that it understands in its own way: a folded field is one line, and then there is nothing to be refused.
UNDERSTOOD = ("H10",)


@pytest.mark.parametrize(
    "probe", [one for one in REFUSED if not one.id.startswith(BY_TWISTED)], ids=lambda probe: probe.id
)
def test_refused(serve: Serve, probe: Refused) -> None:
    server = serve(site=root)
    peer = server.connect()
    peer.send(probe.data)
    answer = peer.answer("HTTP/1.0" if probe.id.startswith("H05") else "HTTP/1.1")
    if probe.id.startswith(UNDERSTOOD):
        assert answer.status == 101
        peer.close()
        return
    assert server.applications == []
    assert answer.status == probe.status
    assert answer.reason in REASONS.get(probe.status, (probe.reason,))
    body = peer.read(int(answer["Content-Length"] or 0)).decode()
    assert body.startswith(f"{answer.reason}: ")
    assert not [word for word in ("evil", "aaa", "AAA", "hello", "127.0.0.1", "chunked", "h2c") if word in body]
    expected = {"Connection": "close", "Content-Type": "text/plain; charset=utf-8", **probe.fields}
    fields = {name.lower(): value for name, value in answer.fields}
    assert {name: fields[name.lower()] for name in expected} == expected
    assert answer["Date"] is not None
    peer.expect_end(2)


@pytest.mark.parametrize("probe", ACCEPTED, ids=lambda probe: probe.id)
@pytest.mark.parametrize("step", [None, 1], ids=["whole", "byte by byte"])
def test_accepted(serve: Serve, probe: Accepted, step: int | None) -> None:
    peer = serve(site=root).connect()
    for place in range(0, len(probe.data), step or len(probe.data)):
        peer.send(probe.data[place : place + (step or len(probe.data))])
    check_acceptance(peer.answer())
    peer.send(frame(0x81, b"Hello"))
    assert peer.frame() == (0x81, b"Hello")


@pytest.mark.parametrize("probe", FAULTS, ids=lambda probe: probe.id)
def test_fault(serve: Serve, probe: Fault) -> None:
    peer = serve(site=root).open()
    peer.send(probe.data)
    peer.stream(frame(0x82, bytes(1000)), 2**22)
    peer.expect_close(probe.code)
    peer.expect_end(2)


# Clients


@pytest.mark.peer
@pytest.mark.parametrize("client", ["ws", "undici"])
@pytest.mark.parametrize("kind", OVER_IP)
def test_node(serve: Serve, client: str, kind: str) -> None:
    result = node(client, serve(kind, choose, site=root, subprotocols=["unused"]), "echo")
    assert result["protocol"] == "other"
    assert result["close"] == {"code": 3000, "reason": "", "wasClean": True}


@pytest.mark.peer
def test_node_is_refused(serve: Serve) -> None:
    result = node("ws", serve("tcp", choose, site=root), "refused", path="/no")
    assert (result["close"]["code"], result["error"]) == (1006, "Unexpected server response: 403")


#: Logs in by a form, and then opens a WebSocket, which is to know the session.
LOGIN = b"""<!doctype html><title>log in</title><form method=post><input name=user id=user></form>"""
TALK = b"""<!doctype html><title>talk</title><script>
const socket = new WebSocket(location.href.replace(/^http/, "ws").replace("login", "talk"));
socket.onmessage = (event) => { document.title = event.data; };
</script>"""


class Empty(Resource):
    """A tree that has an empty page for all that browsers ask for besides."""

    def getChild(self, path: bytes, request: Any) -> Resource:
        return Page(b"")


class Login(Resource):
    def render_GET(self, request: Any) -> bytes:
        return LOGIN

    def render_POST(self, request: Any) -> bytes:
        request.getSession().user = request.args[b"user"][0].decode()
        return TALK


@pytest.mark.peer
@pytest.mark.parametrize("kind", ["tcp", "own tls"])
def test_a_browser_that_has_logged_in_by_a_form(serve: Serve, kind: str, tmp_path: Path) -> None:

    class Greeting(Echo):
        def __init__(self, user: str) -> None:
            super().__init__()
            self.user = user

        def negotiationFinished(self) -> None:
            self.transport.sendTextMessage(f"hello {self.user}")

    sessions: list[Any] = []

    def build(request: Any) -> Any:
        session = request.webRequest.getSession()
        sessions.append(session)
        return Greeting(getattr(session, "user", "nobody"))

    def site(resource: Any) -> Any:
        top = Empty()
        top.putChild(b"login", Login())
        top.putChild(b"talk", resource)
        return top

    server = serve(kind, build, site=site)
    try:
        scheme = "http" if kind == "tcp" else "https"
        with browse(f"{scheme}://localhost:{server.port}/login", tmp_path / "profile") as shown:
            within(60, lambda: shown("document.title") == "log in", "the form is shown")
            shown("document.getElementById('user').value = 'ann'; document.forms[0].submit()")
            within(60, lambda: shown("document.title") == "hello ann", "the WebSocket knows the session")
    finally:
        for session in sessions:
            server.call(session.expire)


# Memory

#: A server whose application keeps the request of twisted.web, or does not.
PROGRAM = """
import sys
from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Site
from wsock import WebSocketProtocol, WebSocketResource

class Silent(WebSocketProtocol):
    __slots__ = ("webRequest",)

def build(request):
    application = Silent()
    application.webRequest = request.webRequest if sys.argv[1] == "kept" else None
    return application

root = Resource()
root.putChild(b"echo", WebSocketResource(build))
port = reactor.listenTCP(0, Site(root), interface="127.0.0.1", backlog=4096)
print("listening on", port.getHost().port, flush=True)
reactor.run()
"""
#: The fields of a browser, as Chromium sends them.
BROWSER = (
    "Pragma: no-cache\r\nCache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 "
    "(KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36\r\nAccept-Encoding: gzip, deflate, br\r\n"
    "Accept-Language: en-US,en;q=0.9\r\nOrigin: http://127.0.0.1\r\n"
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("keeps", "most"), [("kept", 9 * KIB), ("let go", 6 * KIB)])
def test_the_memory_of_an_idle_connection(keeps: str, most: int) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = 2000
    if hard not in (resource.RLIM_INFINITY,) and hard < count + 500:
        pytest.skip("this system lets a process open too few files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 500), hard))
    try:
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, keeps], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout is not None
                server = Server()
                server.port = int(process.stdout.readline().split()[-1])

                def open_more(number: int) -> list[Peer]:
                    peers = []
                    for _ in range(number):
                        peer = server.connect()
                        peer.send(request(host="127.0.0.1", more=BROWSER) + frame(0x81, b"a"))
                        assert peer.answer().status == 101
                        peers.append(peer)
                    return peers

                def resident() -> int:
                    status = Path(f"/proc/{process.pid}/status").read_text()
                    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * KIB

                held = open_more(200)
                before = resident()
                held += open_more(count)
                each = (resident() - before) / count
                print(f"{each / KIB:.2f} KiB a connection")
                server.close()
            finally:
                process.kill()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert each <= most, f"{each / KIB:.2f} KiB a connection"


#: A server for the rows of test_memory.py: an echo, and a group whose members get what one of them sends.
TARGET = """
import sys
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.web.resource import Resource
from twisted.web.server import Site
from wsock import Group, Settings, WebSocketProtocol, WebSocketResource

group = Group()

class Echo(WebSocketProtocol):
    def textMessageReceived(self, message):
        self.transport.sendTextMessage(message)

    def bytesMessageReceived(self, data):
        self.transport.sendBytesMessage(data)

class Member(WebSocketProtocol):
    def negotiationFinished(self):
        group.add(self.transport)

    def bytesMessageReceived(self, data):
        group.sendBytesMessage(data)

patient = Settings(pingInterval=100, pingTimeout=100, closeTimeout=100)
root = Resource()
root.putChild(b"echo", WebSocketResource(lambda request: Echo(), settings=patient))
root.putChild(b"x", WebSocketResource(lambda request: Member(), settings=patient))
listening = serverFromString(reactor, sys.argv[-1]).listen(Site(root))
listening.addCallback(lambda port: print(f"listening on http://127.0.0.1:{port.getHost().port}/", flush=True))
reactor.run()
"""
COMMAND = [*test_memory.COMMAND[:-3], sys.executable, "-W", "ignore", "-c", TARGET]


@pytest.fixture(scope="module")
def targets(certificate: tuple[Path, Path]) -> Iterator[Callable[..., Any]]:
    """Returns a function that gives the process of a transport, started at its first use."""
    key, pem = certificate
    started: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:

        def target(transport: str, policy: str = "wait", timers: object = None) -> Any:
            if transport not in started:
                port = "tcp:0:interface=127.0.0.1"
                if transport == "tls":
                    port = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={pem}"
                process = stack.enter_context(Twistd(port, command=COMMAND))
                started[transport] = test_memory.Target(process, policy, pem if transport == "tls" else None)
            return started[transport]

        yield target
        for one in started.values():
            one.close()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("transport", test_memory.TRANSPORTS)
@pytest.mark.parametrize(
    "name", [name for name, row in test_memory.ROWS.items() if name[:3] in ("G04", "G05") and "wait" in row[2]]
)
def test_floods(targets: Callable[..., Any], transport: str, name: str) -> None:
    test_memory.test_memory(targets, transport, name, "wait")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("transport", test_memory.TRANSPORTS)
def test_S01_slow_reader(targets: Callable[..., Any], transport: str) -> None:
    test_memory.test_S01_slow_reader(targets, transport, "wait")
