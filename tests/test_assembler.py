"""One message from its pieces, without a reader."""

from feeding import fact, masked

from wsock.sansio.assembler import Assembler
from wsock.sansio.constants import TEXT


def test_an_assembler_alone():
    text = Assembler(TEXT)
    text.add(b"<\xe2\x82>", 1, 3, b"", 0, 100)
    text.add(masked(b"\xac!", b"abcd"), 0, 2, b"abcd", 0, 100)
    assert text.size == 4
    assert fact(text.finish()) == ("text", "\u20ac!")
