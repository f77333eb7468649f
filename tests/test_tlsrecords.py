"""TLS without I/O: records in whatever pieces they come."""

import ssl
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from integration.peer import make_certificate
from secured import TLS12, TLS13, Pair, Peer, clientContext, serverContext

from wsock.wire.tlsrecords import Records

versions = st.sampled_from([TLS12, TLS13])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder: Path = tmp_path_factory.mktemp("tls")
    return make_certificate(folder)


class Opened:
    """A server's records behind the handshake, and its peer; counts how often OpenSSL was asked in vain."""

    def __init__(self, pair: Pair, version: ssl.TLSVersion = TLS13) -> None:
        self.records = Records(serverContext(pair), True, None)
        self.peer = Peer(clientContext(pair, version), False)
        data = self.peer.take(b"")
        while not (self.records.isShaken and self.peer.isShaken):
            self.records.take(data)
            self.records.shake()
            data = self.peer.take(self.records.outgoing.read())
        assert self.records.decrypt(data) == b""
        self.vain = 0
        read = self.records._read

        def counting(size: int) -> Any:
            try:
                return read(size)
            except ssl.SSLWantReadError:
                self.vain += 1
                raise

        self.records._read = counting


def test_facts_of_a_handshake(pair: Pair) -> None:
    """Half a first message is no answer; and a peer that has answered once has answered."""
    records = Records(serverContext(pair), True, None)
    peer = Peer(clientContext(pair), False)
    assert (records.isWaiting, records.isShaken, records.hasEnded) == (False, False, False)
    hello = peer.take(b"")
    records.take(hello[:-1])
    assert not records.shake()
    assert not records.hasAnswered
    records.take(hello[-1:])
    assert not records.shake()
    assert records.hasAnswered
    finished = peer.take(records.outgoing.read())
    records.take(finished[:-1])
    assert not records.shake()
    assert records.hasAnswered
    records.take(finished[-1:])
    assert records.shake()
    assert (records.isShaken, records.hasAnswered, records.hasEnded) == (True, True, False)


def test_a_handshake_that_fails_is_not_done(pair: Pair) -> None:
    records = Records(serverContext(pair), True, None)
    records.take(b"GET / HTTP/1.1\r\n\r\n")
    assert not records.shake()
    assert isinstance(records.fault, ssl.SSLError)
    assert (records.isShaken, records.hasAnswered, records.hasEnded) == (False, False, True)


@given(data=st.data(), version=versions)
def test_records_in_pieces(pair: Pair, version: ssl.TLSVersion, data: st.DataObject) -> None:
    it = Opened(pair, version)
    texts = data.draw(st.lists(st.binary(min_size=1, max_size=40) | st.just(bytes(20_000)), max_size=6))
    stream = it.peer.encrypted(*texts)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)))
    text = b""
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        text += it.records.decrypt(stream[start:stop])
    assert text == b"".join(texts)
    assert not it.records.isWaiting
    assert it.vain == 0, "OpenSSL was asked for what it did not have"


def test_a_piece_of_a_record_that_looks_like_one(pair: Pair) -> None:
    it = Opened(pair)
    text = bytes(16000)
    stream = it.peer.encrypted(text)
    sizes = ((start, 5 + int.from_bytes(stream[start + 3 : start + 5], "big")) for start in range(5, 15000))
    start, size = next((start, size) for start, size in sizes if start + size < len(stream))
    assert it.records.decrypt(stream[:start]) == b""
    assert it.records.decrypt(stream[start : start + size]) == b""
    assert it.vain == 0
    assert it.records.decrypt(stream[start + size :]) == text


def test_a_piece_behind_a_part_of_a_head_that_looks_like_a_record(pair: Pair) -> None:
    it = Opened(pair)
    text = bytes(512 - 17)
    stream = it.peer.encrypted(text)
    assert stream[:5] == b"\x17\x03\x03\x02\x00"
    # Behind its first byte a length is read of 00, the last byte of the head, and of the first behind that.
    size = 5 + stream[5]
    assert it.records.decrypt(stream[:1]) == b""
    assert it.records.decrypt(stream[1 : 1 + size]) == b""
    assert it.vain == 0
    assert it.records.decrypt(stream[1 + size :]) == text


def test_two_records_of_256_bytes_each_behind_the_first_head(pair: Pair) -> None:
    """Their length is what the first head would say if its first byte counted twice."""
    it = Opened(pair)
    stream = it.peer.encrypted(bytes(256 - 17), b"x" * (251 - 17))
    assert (len(stream), stream[:5]) == (5 + 512, b"\x17\x03\x03\x01\x00")
    assert it.records.decrypt(stream) == bytes(256 - 17) + b"x" * (251 - 17)


@given(data=st.data(), version=versions)
def test_records_that_wait(pair: Pair, version: ssl.TLSVersion, data: st.DataObject) -> None:
    it = Opened(pair, version)
    texts = data.draw(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=6))
    stream = it.peer.encrypted(*texts)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)))
    text = b""
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        if data.draw(st.booleans()):
            it.records.take(stream[start:stop])
        else:
            text += it.records.decrypt(stream[start:stop])
    assert it.records.isWaiting == (text != b"".join(texts))
    text += it.records.decryptAll()
    assert text == b"".join(texts)
    assert not it.records.isWaiting


def test_what_waits_is_taken_in_portions(pair: Pair) -> None:
    it = Opened(pair)
    it.records.take(it.peer.encrypted(bytes(200_000)))
    sizes = []
    while it.records.isWaiting:
        sizes.append(len(it.records.decryptMore()))
    assert sizes == [65536, 65536, 65536, 3392]
    assert it.vain == 0


def test_a_part_of_a_record_waits_for_nobody(pair: Pair) -> None:
    it = Opened(pair)
    stream = it.peer.encrypted(b"Hello")
    for byte in stream[:-1]:
        it.records.take(bytes([byte]))
        assert not it.records.isWaiting
    it.records.take(stream[-1:])
    assert it.records.isWaiting
    assert it.records.decryptMore() == b"Hello"


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="another protocol"),
        pytest.param(b"\x13\x03\x03\x00\x20", id="an unknown kind below"),
        pytest.param(b"\x18\x03\x03\x00\x20", id="an unknown kind above"),
        pytest.param(b"\x17\x02\x03\x00\x20", id="another version"),
        pytest.param(b"\x17\x03\x03\x48\x01", id="too long a record"),
    ],
)
@pytest.mark.parametrize("behind", [False, True], ids=["by itself", "behind a record"])
def test_garbage_is_a_fault_at_once(pair: Pair, garbage: bytes, behind: bool) -> None:
    it = Opened(pair)
    assert it.records.decrypt((it.peer.encrypted(b"Hello") if behind else b"") + garbage) == b"Hello" * behind
    assert isinstance(it.records.fault, ssl.SSLError)
    assert it.records.hasEnded


def test_the_longest_record_is_none_of_garbage(pair: Pair) -> None:
    it = Opened(pair, TLS12)
    assert it.records.decrypt(b"\x17\x03\x03\x48\x00" + bytes(100)) == b""
    assert (it.records.fault, it.vain) == (None, 0)


def test_nothing_is_read_behind_the_peers_end(pair: Pair) -> None:
    it = Opened(pair)
    stream = it.peer.encrypted(b"Hello") + it.peer.close_notify() + b"garbage"
    assert it.records.decrypt(stream) == b"Hello"
    assert (it.records.peerEnded, it.records.fault) == (True, None)


def test_what_waits_behind_the_peers_end_is_not_read(pair: Pair) -> None:
    it = Opened(pair)
    it.records.take(it.peer.encrypted(b"Hello") + it.peer.close_notify() + b"garbage")
    assert it.records.decryptAll() == b"Hello"
    assert (it.records.hasEnded, it.records.peerEnded, it.records.fault) == (True, True, None)


def test_garbage_that_waits_is_a_fault(pair: Pair) -> None:
    it = Opened(pair)
    it.records.take(it.peer.encrypted(b"Hello") + b"GET / HTTP/1.1\r\n\r\n")
    assert it.records.decryptAll() == b"Hello"
    assert isinstance(it.records.fault, ssl.SSLError)
    assert (it.records.hasEnded, it.records.peerEnded) == (True, False)


@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])
def test_our_end_with_input_that_waits(pair: Pair, version: ssl.TLSVersion) -> None:
    """OpenSSL would call it a fault, and then read nothing any more."""
    it = Opened(pair, version)
    it.records.take(it.peer.encrypted(b"Hello"))
    it.records.end()
    it.peer.take(it.records.outgoing.read())
    assert it.peer.ended
    assert not it.records.hasEnded
    assert it.records.decrypt(it.peer.close_notify()) == b""
    assert (it.records.hasEnded, it.records.peerEnded, it.records.fault) == (True, True, None)


def test_nothing_is_encrypted_behind_our_end(pair: Pair) -> None:
    it = Opened(pair)
    it.records.end()
    assert it.records.outgoing.read()
    assert it.records.encrypt(b"Hello") == b""
    assert isinstance(it.records.fault, ssl.SSLError)
    assert it.records.hasEnded
