"""Messages that compression makes larger."""

import random

import pytest

from wsock.sansio.connection import Connection
from wsock.sansio.constants import Role
from wsock.sansio.events import BinaryReceived
from wsock.sansio.extensions import Extension
from wsock.sansio.shared import SharedMessage

CONTEXTS = [Extension("permessage-deflate", [("server_max_window_bits", "12"), ("client_max_window_bits", "12")])]
ALONE = [Extension("permessage-deflate", [("server_no_context_takeover", None), ("client_no_context_takeover", None)])]
NOISE = random.Random(7692).randbytes(4096)
PLAIN, COMPRESSED = 0x82, 0xC2


def first_byte(frames: list[bytes]) -> int:
    return b"".join(frames)[0]


@pytest.mark.parametrize(("role", "shared"), [(Role.SERVER, False), (Role.SERVER, True), (Role.CLIENT, False)])
@pytest.mark.parametrize(("agreed", "below"), [(CONTEXTS, COMPRESSED), (ALONE, PLAIN)])
def test_a_message_that_gets_larger(role: Role, shared: bool, agreed: list[Extension], below: int) -> None:
    """A peer that limits frames, and not messages, would refuse what it is to take."""
    ours = Connection(role, extensions=agreed)
    theirs = Connection(Role.CLIENT if role is Role.SERVER else Role.SERVER, extensions=agreed)

    def send(data: bytes, compress: bool | None = None) -> int:
        frames = ours.send_shared(SharedMessage(data, compress)) if shared else ours.send_binary(data, compress)
        (event,) = theirs.receive_data(b"".join(frames))
        assert isinstance(event, BinaryReceived)
        assert event.data == data
        return first_byte(frames)

    # A window's length is 4096 bytes; what follows refers to nothing that the peer does not have.
    for data, first in ((NOISE[:1000], below), (NOISE[:4095], below), (NOISE, PLAIN), (NOISE[-3000:] * 2, COMPRESSED)):
        assert send(data) == first
    assert send(NOISE, True) == COMPRESSED
    assert send(NOISE[-300:] + bytes(300)) == COMPRESSED
