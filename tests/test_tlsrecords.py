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
