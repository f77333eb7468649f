"""One message from its pieces, without a reader."""

import copy

from feeding import fact, masked

from wsock.sansio.assembler import Assembler
from wsock.sansio.constants import TEXT


def test_an_assembler_alone():
    text = Assembler(TEXT)
    text.add(b"<\xe2\x82>", 1, 3, b"", 0, 100)
    text.add(masked(b"\xac!", b"abcd"), 0, 2, b"abcd", 0, 100)
    assert text.size == 4
    assert fact(text.finish()) == ("text", "\u20ac!")


def test_a_copy_has_all_that_came():
    text = Assembler(TEXT)
    text.add(b"\xe2\x82", 0, 2, b"", 0, 100)
    text.empty_frames = 2
    other = copy.copy(text)
    assert (other.size, other.received, other.empty_frames) == (2, 2, 2)
    other.add(b"\xac", 0, 1, b"", 0, 100)
    assert fact(other.finish()) == ("text", "\u20ac")
    assert text.size == 2
