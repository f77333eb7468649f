import gc
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from wire import REQUEST, Application, Served, Transport

from wsock.request import Headers, Request
from wsock.sansio.http import RequestHead


def received(data: bytes = REQUEST, transport: Any = None) -> Request:
    served = Served(transport=transport, allowedOrigins=["*"])
    served.feed(data)
    [request] = served.requests
    assert isinstance(request, Request)
    return request


def with_target(target: bytes) -> Request:
    return received(REQUEST.replace(b"/chat", target))


def with_fields(*lines: bytes) -> Request:
    return received(REQUEST[:-2] + b"".join(line + b"\r\n" for line in lines) + b"\r\n")


def test_the_request_of_the_rfc() -> None:
    request = received()
    assert request.method == "GET"
    assert request.target == request.path == request.rawPath == "/chat"
    assert request.query == ""
    assert request.host == "server.example.com"
    assert request.origin is None
    assert request.subprotocols == []
    assert request.cookies == {}
    assert repr(request) == "<Request /chat>"


def test_the_host_of_a_whole_url_replaces_the_field() -> None:
    assert with_target(b"http://other.example:81/x").host == "other.example:81"


@pytest.mark.parametrize(
    ("target", "raw_path", "path", "query"),
    [
        (b"/a%20b/%C3%A9?x=%20&y", "/a%20b/%C3%A9", "/a b/\u00e9", "x=%20&y"),
        (b"/a%2Fb", "/a%2Fb", "/a/b", ""),
        (b"/%ff", "/%ff", "/\ufffd", ""),
        (b"/?a?b", "/", "/", "a?b"),
        (b"http://other.example/x?y", "/x", "/x", "y"),
    ],
)
def test_targets(target: bytes, raw_path: str, path: str, query: str) -> None:
    request = with_target(target)
    assert request.target == target.decode()
    assert (request.rawPath, request.path, request.query) == (raw_path, path, query)


def test_the_repr_has_no_query() -> None:
    assert repr(with_target(b"/chat?token=secret")) == "<Request /chat>"


def test_headers() -> None:
    headers = with_fields(b"X-Two: 1", b"x-two:2", b"X-Latin: \xe9").headers
    assert isinstance(headers, Headers)
    assert headers.get("X-TWO") == "1, 2"
    assert headers.getAll("x-Two") == ["1", "2"]
    assert headers.getAll("x-three") == []
    assert headers.get("x-three") is None
    assert headers.get("x-three", "default") == "default"
    assert headers.get("x-latin") == "\xe9"
    assert "x-two" in headers
    assert "x-three" not in headers
    assert 2 not in headers
    assert headers.items()[-3:] == [("X-Two", "1"), ("x-two", "2"), ("X-Latin", "\xe9")]


@pytest.mark.parametrize("pending", [False, True])
def test_the_parsed_fields_are_gone_once_it_is_decided_on(pending: bool) -> None:
    """While it is decided on, they are parsed once; a connection that is open, or that waits, has the bytes alone."""
    requests: list[Request] = []
    heads: list[RequestHead] = []

    def held(request: Request) -> list[RequestHead]:
        return [one for one in gc.get_referents(request) if isinstance(one, RequestHead)]

    def build(request: Request) -> Any:
        requests.append(request)
        heads.extend(held(request))
        return Deferred() if pending else Application()

    served = Served(buildApplication=build)
    served.feed(REQUEST)
    [request], [head] = requests, heads
    assert held(request) == []
    # The head, which the pending decision holds, has no more than the bytes.
    assert head.headers is not head.headers
    assert request.headers.get("Host") == "server.example.com"


def test_cookies() -> None:
    request = with_fields(b"Cookie: a=1; b = x=y ;c", b"Cookie: a=2; d=")
    assert request.cookies == {"a": "1", "b": "x=y", "d": ""}


def test_subprotocols_and_origin() -> None:
    request = with_fields(b"Sec-WebSocket-Protocol: chat ,, superchat", b"Origin: https://x.example")
    assert request.subprotocols == ["chat", "superchat"]
    assert request.origin == "https://x.example"


def test_addresses() -> None:
    request = received()
    assert request.getPeer() == IPv4Address("TCP", "192.168.1.1", 54321)
    assert request.getHost() == IPv4Address("TCP", "10.0.0.1", 12345)


def test_the_peers_certificate() -> None:
    class TLS(Transport):
        certificate: Any = "the certificate"

        def getPeerCertificate(self) -> Any:
            return self.certificate.get

    class Certificate:
        get = "the certificate"

    assert received().getPeerCertificate() is None
    transport = TLS()
    transport.certificate = Certificate
    request = received(transport=transport)
    assert request.getPeerCertificate() == "the certificate"
    transport.certificate = None  # as Twisted's transport does when it is lost
    assert request.getPeerCertificate() is None
