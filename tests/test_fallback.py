"""A Site behind `fallback` answers what it answers alone, to the byte; what it takes and we refuse has its reason."""

import re
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.server import Site
from wire import REQUEST, Application, Transport, quiet

from wsock import WebSocketServerFactory


class Mirror(Resource):
    """A page that says what was asked for."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        fields = list(request.requestHeaders.getAllRawHeaders())
        seen = (request.method, request.uri, request.clientproto, fields, request.content.read())
        body = repr(seen).encode()
        if request.method == b"HEAD":
            request.setHeader(b"Content-Length", str(len(body)).encode())
            return b""
        return body


def answers(data: bytes, size: int, isAlone: bool, **settings: Any) -> tuple[bytes, bool]:
    """The answer to a request that is fed in pieces, but for its Date, and whether the connection ends then."""
    clock = Clock()
    site = Site(Mirror(), reactor=clock)
    factory: Any = site
    if not isAlone:
        factory = WebSocketServerFactory(
            lambda request: Application(), reactor=clock, settings=quiet(settings), fallback=site
        )
    transport = Transport()
    protocol = factory.buildProtocol(None)
    protocol.makeConnection(transport)
    for place in range(0, len(data), size):
        # As a socket's transport, which reads no more then.
        if not transport.disconnecting:
            protocol.dataReceived(data[place : place + size])
    return re.sub(rb"\r\nDate: [^\r]*", b"", transport.value()), transport.disconnecting


def status(answer: bytes) -> int:
    return int(answer[9:12])


COOKIE = b"Cookie: session=" + b"x" * 9000 + b"\r\n"
SERVED = {
    "a page": b"GET /page?a=b HTTP/1.1\r\nHost: a\r\n\r\n",
    "a cookie of 9,000 bytes": b"GET / HTTP/1.1\r\nHost: a\r\n" + COOKIE + b"\r\n",
    "130 fields": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-A: b\r\n" * 130 + b"\r\n",
    "256 fields": b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 256 + b"\r\n",
    "a head of 16 KiB": b"GET / HTTP/1.1\r\n" + (b"X-A: " + b"b" * 5400 + b"\r\n") * 3 + b"\r\n",
    "a target of 16,000 bytes": b"GET /" + b"a" * 16000 + b" HTTP/1.1\r\n\r\n",
    "an empty line first": b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "HTTP/1.0": b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
    "HTTP/1.0 without Host": b"GET / HTTP/1.0\r\n\r\n",
    "HTTP/1.0, kept alive": b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n",
    "HTTP/1.0, a health check": b"OPTIONS / HTTP/1.0\r\n\r\n",
    "HTTP/1.0, a body": b"POST / HTTP/1.0\r\nContent-Length: 4\r\n\r\nbody",
    "HTTP/1.0, HEAD": b"HEAD / HTTP/1.0\r\n\r\n",
    "HTTP/1.0, an empty line first": b"\r\nGET / HTTP/1.0\r\n\r\n",
    "HEAD": b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute form": b"GET http://a.example/page HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute form by HTTP/1.0": b"GET http://a.example/page HTTP/1.0\r\n\r\n",
    "asterisk form": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "authority form": b"CONNECT a.example:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a method of its own": b"propfind / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a body": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody",
    "a chunked body": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    "a body that looks like a head": b"POST / HTTP/1.1\r\nContent-Length: 18\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    "a body that is waited for": b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody",
    "pipelined": b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nHEAD /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\n\r\n",
    "pipelined behind a body": b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx\r\nGET / HTTP/1.1\r\n\r\n",
    "pipelined, the second large": b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n" + COOKIE + b"\r\n",
    "a WebSocket behind a page": b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n" + REQUEST,
    "the last one": b"GET /1 HTTP/1.1\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\n\r\n",
    "another protocol": b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    "bytes beyond ASCII": b"GET / HTTP/1.1\r\nHost: a\r\nX-A: \xe9\xff\r\n\r\n",
    "odd spaces": b"GET / HTTP/1.1\r\nhost:a\r\nX-A:\t b \t\r\nX-B:\r\n\r\n",
}
#: Refused by both; what is well-formed is the Site's to refuse.
REFUSED = {
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "a head of 20 KiB": b"GET / HTTP/1.1\r\n" + (b"X-A: " + b"b" * 10000 + b"\r\n") * 2 + b"\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nbody",
    "a length and chunks": b"POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bad second request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\nNONSENSE\r\n\r\n",
}


@pytest.mark.parametrize("size", [10**6, 1])
@pytest.mark.parametrize("name", [*SERVED, *REFUSED])
def test_it_answers_what_it_answers_alone(name: str, size: int) -> None:
    data = {**SERVED, **REFUSED}[name]
    alone = answers(data, size, isAlone=True)
    assert b" 400 " in alone[0] if name in REFUSED else status(alone[0]) in (100, 200)
    assert answers(data, size, isAlone=False) == alone


def test_as_many_fields_as_it_takes() -> None:
    data = b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 500 + b"\r\n"
    assert status(answers(data, 10**6, isAlone=False)[0]) == 431
    assert answers(data, 10**6, isAlone=False, maxHeaders=None) == answers(data, 10**6, isAlone=True)


#: Twisted serves these, at least in some versions. Two readers could understand them in two ways.
AMBIGUOUS = {
    # RFC 9112 §5.2: a server MUST reject obs-fold with 400, or replace it.
    "a folded field": b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n",
    # RFC 9112 §3.2: more than one Host MUST be answered with 400.
    "two Hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    # RFC 9110 §5.5: CTL characters in a value are invalid.
    "a control character": b"GET / HTTP/1.1\r\nHost: a\r\nX-A: \x01\r\n\r\n",
    # RFC 9112 §3.2: a target is of visible ASCII.
    "a target beyond ASCII": b"GET /\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
    # RFC 9112 §3: a single space; §2.2: whitespace before the first field.
    "two spaces": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a space before the first field": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    # RFC 9112 §2.2 lets a recipient take a bare LF; others don't.
    "bare LFs": b"GET / HTTP/1.1\nHost: a\n\n",
    "a bare LF in a head": b"GET / HTTP/1.1\r\nHost: a\nX-A: b\r\n\r\n",
}


@pytest.mark.parametrize("size", [10**6, 1])
@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_could_be_read_in_two_ways_is_refused_before_it_hears_of_it(name: str, size: int) -> None:
    answer, ends = answers(AMBIGUOUS[name], size, isAlone=False)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n")
    assert ends
