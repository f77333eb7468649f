"""The options of `twistd wsock` that are fields of `wsock.Settings`, under their names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from fractions import Fraction
from typing import Any, Final

from twisted.python.usage import UsageError

from .. import Settings

#: The help of each option.
_HELP: Final = {
    "maxMessageSize": "The largest message taken in, in bytes.",
    "maxEmptyFragments": "How many frames of one message may be empty.",
    "openTimeout": "Seconds for the opening handshake.",
    "closeTimeout": "Seconds for the closing handshake.",
    "pingInterval": "Seconds without a sign of life from a peer before it is sent a Ping.",
    "pingTimeout": "Seconds after that Ping before a silent peer is dropped.",
    "receiveQueue": "How many messages are taken in while an earlier one is dealt with.",
    "highWaterMark": "How many bytes a peer may leave unread before it counts as slow.",
    "sendLimit": "How many bytes a slow peer may leave unread before --slow-consumer applies.",
    "slowConsumer": "What becomes of a slow peer: wait (it is not read), close or drop (the oldest messages).",
    "maxHeaderLine": "The longest line of a request's head, in bytes.",
    "maxHeaderSize": "The largest head of a request, in bytes.",
    "maxHeaders": "How many header fields a request may have.",
}
_BYTES: Final = ("maxMessageSize", "highWaterMark", "sendLimit", "maxHeaderLine", "maxHeaderSize")
#: The units that a number may have, and how much of the setting's own unit each is. Those of bytes are binary.
_BYTE_UNITS: Final[Mapping[str, int | Fraction]] = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}
_TIME_UNITS: Final[Mapping[str, int | Fraction]] = {"": 1, "ms": Fraction(1, 1000), "s": 1, "m": 60}
#: A number; not what float() takes besides: "1e9", "nan", and digits of other scripts.
_NUMBER: Final = re.compile(r"([0-9]{0,18})(?:(\.)([0-9]{0,18}))?([A-Za-z]*)", re.ASCII)
#: No value is as large, so that the core can count in 64 bits.
_MAX_NUMBER: Final = 10**18
#: How the names of those in seconds end.
_TIMES: Final = ("Timeout", "Interval")
#: These are for those who write applications.
_NO_OPTIONS: Final = ("checkThreads",)
#: The ways to treat a slow peer.
_SLOW_CONSUMER: Final = ("wait", "close", "drop")
#: These have to be something.
_NEVER_NONE: Final = ("receiveQueue", "slowConsumer")


def optionName(field: str) -> str:
    """``maxMessageSize`` as ``max-message-size``."""
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in field)


def readSetting(field: str, text: str) -> Any:
    """The value of a setting as it is written on the command line.

    Raises:
        UsageError: an invalid value.
    """
    if field == "slowConsumer":
        if text in _SLOW_CONSUMER:
            return text
        raise UsageError(f"--slow-consumer {text}: one of {', '.join(_SLOW_CONSUMER)}")
    if text == "none" and field not in _NEVER_NONE:
        return None
    value = _readNumber(field, text)
    if value is not None:
        return value
    expected = "a number above 0"
    if field.endswith(_TIMES):
        expected = "a number of seconds above 0, such as 20, 0.5, 500ms or 2m"
    elif field in _BYTES:
        expected = "a number of bytes above 0, such as 65536, 64k or 16M"
    none = "" if field in _NEVER_NONE else ", or none"
    raise UsageError(f"--{optionName(field)} {text}: {expected}{none}")


def _readNumber(field: str, text: str) -> float | None:
    """The number that a text is, in bytes or seconds; None where it is no number, or not above 0."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    whole, point, fraction, unit = match.groups()
    isTime = field.endswith(_TIMES)
    units = _TIME_UNITS if isTime else {"": 1}
    if field in _BYTES:
        # 16M, 16MB and 16MiB.
        units, unit = _BYTE_UNITS, re.sub("(?<=[kmg])ib$|b$", "", unit.lower())
    if unit not in units or not whole + (fraction or "") or (point and not isTime):
        return None
    value = Fraction(f"{whole or 0}.{fraction or 0}") * units[unit]
    if not 0 < value < _MAX_NUMBER:
        return None
    return float(value) if point or value.denominator > 1 else int(value)


def settingOptions() -> dict[str, Callable[[Any, str], None]]:
    """The methods of the command line that take the settings, by their names."""
    return {
        "opt_" + optionName(field.name).replace("-", "_"): _option(field.name)
        for field in fields(Settings)
        if field.name not in _NO_OPTIONS
    }


def _option(field: str) -> Callable[[Any, str], None]:
    def option(options: Any, text: str) -> None:
        options.settings[field] = readSetting(field, text)

    default = getattr(Settings, field)
    none = "" if field in _NEVER_NONE else ' "none" for no limit.'
    option.__doc__ = f"{_HELP[field]}{none} [default: {'none' if default is None else default}]"
    return option
