import pytest

from wsock.sansio.body import BodyDecoder
from wsock.sansio.http import ResponseHead

HEAD = b"HTTP/1.1 403 Forbidden\r\n%s\r\n"


def decoder(*fields: bytes, limit: int = 100, status: bytes = b"403") -> BodyDecoder:
    head = b"HTTP/1.1 " + status + b" Whatever\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n"
    return BodyDecoder(ResponseHead(head), limit)


CHUNKED = b"Transfer-Encoding: chunked"
#: Header fields, what comes, the body, whether it has ended.
CASES = [
    ([b"Content-Length: 5"], b"Hello", b"Hello", True),
    ([b"Content-Length: 5"], b"Hello, and more", b"Hello", True),
    ([b"Content-Length: 5"], b"Hel", b"Hel", False),
    ([b"Content-Length: 0"], b"Hello", b"", True),
    ([b"Content-Length: 1000"], bytes(200), bytes(100), True),
    ([], b"Hello", b"Hello", False),
    ([], bytes(101), bytes(100), True),
    # An impossible length is read to the end of the stream.
    ([b"Content-Length: 5", b"Content-Length: 6"], b"Hello, you", b"Hello, you", False),
    ([b"Content-Length: +5"], b"Hello, you", b"Hello, you", False),
    ([b"Content-Length: 99999999999999999999"], b"Hello", b"Hello", False),
    ([b"Transfer-Encoding: gzip"], b"Hello", b"Hello", False),
    ([b"Content-Length: " + b"9" * 5000], b"Hello", b"Hello", False),
    # RFC 9112 section 6.3: Transfer-Encoding overrides Content-Length.
    ([CHUNKED, b"Content-Length: 3"], b"5\r\nHello\r\n0\r\n\r\n", b"Hello", True),
    ([CHUNKED, b"Content-Length: 0"], b"5\r\nHello\r\n0\r\n\r\n", b"Hello", True),
    ([b"Transfer-Encoding: gzip, Chunked"], b"5\r\nHello\r\n0\r\n\r\n", b"Hello", True),
    ([CHUNKED], b"5\r\nHello\r\n1\r\n!\r\n0\r\n\r\n", b"Hello!", True),
    ([CHUNKED], b"0005 ;name=value\r\nHello\r\n", b"Hello", False),
    ([CHUNKED], b"a\r\n0123456789\r\nA\r\n0123456789\r\n", b"01234567890123456789", False),
    ([CHUNKED], b"10\r\n0123456789abcdef\r\n1\r\n!\r\n", b"0123456789abcdef!", False),
    ([CHUNKED], b"0000000000000005\r\nHello\r\n", b"Hello", False),
    ([CHUNKED], b"5\r\nHel", b"Hel", False),
    ([CHUNKED], b"0\r\n", b"", True),
    ([CHUNKED], b"1000\r\n" + bytes(0x1000), bytes(100), True),
    ([CHUNKED], b"x\r\nHello", b"", True),
    ([CHUNKED], b"\r\nHello", b"", True),
    ([CHUNKED], b"\nHello", b"", True),
    ([CHUNKED], b"-1\r\nHello", b"", True),
    ([CHUNKED], b"11111111111111111\r\nHello", b"", True),
    ([CHUNKED], b"1" * 1024, b"", False),
    ([CHUNKED], b"1" * 1025, b"", True),
    ([CHUNKED], b"5;" + b"x" * 1022 + b"\nHello", b"Hello", False),
    ([CHUNKED], b"5;" + b"x" * 1023 + b"\nHello", b"", True),
]


@pytest.mark.parametrize("size", [1000000, 1, 3])
@pytest.mark.parametrize(("fields", "data", "body", "ended"), CASES)
def test_bodies(fields: list[bytes], data: bytes, body: bytes, ended: bool, size: int) -> None:
    reader = decoder(*fields)
    for start in range(0, len(data), size):
        assert reader.decode(data[start : start + size]) == reader.has_ended
    assert reader.body == body
    assert reader.has_ended is ended


@pytest.mark.parametrize("status", [b"204", b"304"])
def test_answers_without_a_body(status: bytes) -> None:
    reader = decoder(status=status)
    assert reader.has_ended
    assert reader.decode(b"Hello")
    assert reader.body == b""


def test_a_body_of_no_bytes_has_ended_before_any_comes() -> None:
    assert decoder(b"Content-Length: 0").has_ended
    assert not decoder(b"Content-Length: 1").has_ended
