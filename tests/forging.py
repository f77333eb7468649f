"""Records of TLS that no library writes: of any kind and content, and yet under the keys of a real connection.

The keys come from the log that the standard library keeps for Wireshark and the like (`SSLContext.keylog_filename`).
"""

import hashlib
import hmac
import ssl
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

#: Kinds of records (RFC 8446 section 5.1).
CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, DATA = range(20, 24)
#: Alerts: their level, 1 for a warning, and their number (RFC 8446 section 6).
CLOSE_NOTIFY = bytes((1, 0))
USER_CANCELED = bytes((1, 90))
NO_RENEGOTIATION = bytes((1, 100))
BAD_RECORD_MAC = bytes((2, 20))
#: KeyUpdate, which asks for the other side's, or does not (RFC 8446 section 4.6.3); HelloRequest of TLS 1.2.
KEY_UPDATE, KEY_UPDATE_BOTH = bytes.fromhex("1800000100"), bytes.fromhex("1800000101")
HELLO_REQUEST = bytes(4)
#: The cipher of TLS 1.2 that a `Forger` knows; of TLS 1.3 it knows those with AES.
CIPHER12 = "ECDHE-ECDSA-AES128-GCM-SHA256"


def record(kind: int, content: bytes, version: int = 0x0303, size: int | None = None) -> bytes:
    """A record that is not encrypted, or whose content is; its length may be told wrong."""
    size = len(content) if size is None else size
    return bytes((kind, version >> 8, version & 255, size >> 8, size & 255)) + content


class Forger:
    """Writes records as one side of an open connection, in place of that side's library.

    Args:
        log: the key log, with the keys of this connection alone.
        tls: that side.
        isServer: its role.
        hello: the server's first bytes, for TLS 1.2.
        before: how many records that side's library has written since the end of the handshake.
    """

    def __init__(self, log: Path, tls: ssl.SSLObject, isServer: bool, hello: bytes, before: int = 0) -> None:
        cipher = tls.cipher()
        assert cipher is not None
        lines = [line.split() for line in log.read_text().splitlines() if not line.startswith("#")]
        secrets = {name: (bytes.fromhex(random), bytes.fromhex(secret)) for name, random, secret in lines}
        self._is13 = tls.version() == "TLSv1.3"
        self._number = before
        if self._is13:
            self._hash: HashAlgorithm = SHA384() if cipher[0].endswith("384") else SHA256()
            self._keyBytes = 16 if "128" in cipher[0] else 32
            self._secret = secrets["SERVER_TRAFFIC_SECRET_0" if isServer else "CLIENT_TRAFFIC_SECRET_0"][1]
            self._derive()
        else:
            assert cipher[0] == CIPHER12
            random, master = secrets["CLIENT_RANDOM"]
            block = _prf(master, b"key expansion" + hello[11:43] + random, 40)
            self._aead = AESGCM(block[16:32] if isServer else block[:16])
            self._iv = block[36:40] if isServer else block[32:36]
            # Behind the record of Finished.
            self._number = 1 + before

    def _derive(self) -> None:
        self._aead = AESGCM(self._expand(b"key", self._keyBytes))
        self._iv = self._expand(b"iv", 12)

    def _expand(self, label: bytes, size: int) -> bytes:
        """HKDF-Expand-Label (RFC 8446 section 7.1)."""
        label = b"tls13 " + label
        info = size.to_bytes(2, "big") + bytes((len(label),)) + label + b"\0"
        return HKDFExpand(self._hash, size, info).derive(self._secret)

    def record(self, kind: int, content: bytes, padding: int = 0) -> bytes:
        """The next record; TLS 1.3 alone has padding."""
        number = self._number
        self._number += 1
        if self._is13:
            inner = content + bytes((kind,)) + bytes(padding)
            nonce = (int.from_bytes(self._iv, "big") ^ number).to_bytes(12, "big")
            head = record(DATA, b"", size=len(inner) + 16)
            return head + self._aead.encrypt(nonce, inner, head)
        explicit = number.to_bytes(8, "big")
        facts = explicit + record(kind, b"", size=len(content))
        return record(kind, explicit + self._aead.encrypt(self._iv + explicit, content, facts))

    def key_update(self, message: bytes) -> bytes:
        """A KeyUpdate of TLS 1.3: the next record has the next key."""
        updating = self.record(HANDSHAKE, message)
        self._secret = self._expand(b"traffic upd", self._hash.digest_size)
        self._derive()
        self._number = 0
        return updating


def _prf(secret: bytes, seed: bytes, size: int) -> bytes:
    """The PRF of TLS 1.2 (RFC 5246 section 5)."""
    data, step = b"", seed
    while len(data) < size:
        step = hmac.digest(secret, step, hashlib.sha256)
        data += hmac.digest(secret, step + seed, hashlib.sha256)
    return data[:size]
