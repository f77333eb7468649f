"""Limits and timers of both roles."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final, Literal

from .sansio.constants import (
    DEFAULT_MAX_HEADER_LINE,
    DEFAULT_MAX_HEADER_SIZE,
    DEFAULT_MAX_HEADERS,
    DEFAULT_MAX_MESSAGE_SIZE,
)
from .sansio.errors import LocalProtocolError, wrong_type

if TYPE_CHECKING:
    pass


#: Larger numbers are of no use, and some no timer can take.
_MAX_SETTING: Final = 2**63 - 1
#: The settings that are numbers of bytes.
_BYTES: Final = ("maxMessageSize", "highWaterMark", "sendLimit", "maxHeaderLine", "maxHeaderSize")
#: The values of `Settings.slowConsumer`.
SLOW_CONSUMER: Final = ("wait", "close", "drop")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Limits and timers, and a check for calls from wrong threads. None means no limit; 0 is an error.

    Attributes:
        maxMessageSize: the largest message taken in, in bytes; a larger one closes the connection with 1009.
        maxEmptyFragments: how many frames of one message may be empty; one more closes with 1008.
        openTimeout: seconds from the connection to the end of the opening handshake, TLS included.
        closeTimeout: seconds from our Close to the loss of the connection; then it is aborted.
        pingInterval: seconds without a sign of life from the peer before it is sent a Ping.
        pingTimeout: seconds after that Ping before a peer that still gives none is aborted; also how long it may take
            nothing of our last bytes, which is ``closeTimeout`` where this is None.
        receiveQueue: how many messages are taken in while a callback is not done.
        highWaterMark: how many bytes may be unsent before the connection counts as not writable; it does so with more
            messages, too, than one for each 256 bytes of it, or 256 where that is less. Over transports
            other than Twisted's TCP, UNIX and TLS unsent bytes are not known of before they are about 64 KiB.
        sendLimit: how many bytes may wait when a message is sent: with more, ``slowConsumer`` says what happens. The
            message that is about to leave, or has begun to, does not count: a large message and small ones behind it
            always fit, a third large one does not. With more messages than one for each 256 bytes of the limit, or
            4,096 where that is less, ``slowConsumer`` says what happens, too.
        slowConsumer: how a peer is treated that does not take its messages. ``"wait"``: while the connection is
            not writable it is not read either; past ``sendLimit`` it is closed with 1013. ``"close"``: it is read on;
            past ``sendLimit`` it is closed with 1013. ``"drop"``: it is read on; past ``sendLimit`` the oldest messages
            that have not begun to leave are dropped, and none that is compressed refers to another.
        maxHeaderLine: the longest line of a request's or an answer's head, in bytes with its end. A longer one is
            answered with 414 or 431, and fails a client.
        maxHeaderSize: the largest head, in bytes with its empty line; likewise.
        maxHeaders: how many header fields a head may have; likewise.
        checkThreads: whether a call of a connection's methods from another thread than the reactor's raises
            `LocalProtocolError`; None for Python's development mode alone (``python -X dev``). Where it is off it costs
            nothing, else some 100 ns a call.
    """

    maxMessageSize: int | None = DEFAULT_MAX_MESSAGE_SIZE
    maxEmptyFragments: int | None = 1024
    openTimeout: float | None = 10
    closeTimeout: float | None = 10
    pingInterval: float | None = 20
    pingTimeout: float | None = 20
    receiveQueue: int = 16
    highWaterMark: int | None = 65536
    sendLimit: int | None = 2**20
    slowConsumer: Literal["wait", "close", "drop"] = "wait"
    maxHeaderLine: int | None = DEFAULT_MAX_HEADER_LINE
    maxHeaderSize: int | None = DEFAULT_MAX_HEADER_SIZE
    maxHeaders: int | None = DEFAULT_MAX_HEADERS
    checkThreads: bool | None = None

    def __post_init__(self) -> None:
        if self.slowConsumer not in SLOW_CONSUMER:
            raise LocalProtocolError(f"slowConsumer is one of {', '.join(SLOW_CONSUMER)}, not {self.slowConsumer!r}")
        if self.checkThreads is not None and not isinstance(self.checkThreads, bool):
            raise wrong_type("checkThreads", "a bool or None", self.checkThreads)
        for field in fields(self):
            if field.name in ("slowConsumer", "checkThreads"):
                continue
            checkNumber(
                field.name,
                getattr(self, field.name),
                isTime=field.name.endswith(("Timeout", "Interval")),
                mayBeNone=field.name != "receiveQueue",
            )


def checkNumber(name: str, value: object, *, isTime: bool = False, mayBeNone: bool = True) -> None:
    """Refuses a number that can be no limit and no time.

    Args:
        name: the number's name.
        value: the number.
        isTime: whether it is in seconds, and may have a fraction.
        mayBeNone: whether None may stand for no limit.

    Raises:
        LocalProtocolError: of another type, not above 0, or not below 2**63.
    """
    if value is None and mayBeNone:
        return
    none = ", or None for no limit" if mayBeNone else ""
    expected = f"a number{' of seconds' if isTime else ''} above 0, and below 2**63{none}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        advice = "write 16 * 2**20 for 16 MiB" if isinstance(value, str) and name in _BYTES else ""
        raise wrong_type(name, expected, value, advice)
    if not 0 < value <= _MAX_SETTING:
        raise LocalProtocolError(f"{name} is {expected}")
    if isinstance(value, float) and not isTime:
        raise LocalProtocolError(f"{name} is a whole number")
