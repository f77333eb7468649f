"""The options of `twistd wsock` that are fields of `wsock.Settings`, under their names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final

from twisted.python.usage import UsageError

from ..contract import SLOW_CONSUMER, Settings

#: What each is, for the help.
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
    "maxConnections": "How many connections may be open; one more is answered with 503.",
}
_BYTES: Final = ("maxMessageSize", "highWaterMark", "sendLimit")
#: These have to be something.
_NEVER_NONE: Final = ("receiveQueue", "slowConsumer")


def optionName(field: str) -> str:
    """``maxMessageSize`` as ``max-message-size``."""
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in field)


def readSetting(field: str, text: str) -> Any:
    """The value of a setting as it is written on the command line.

    Raises:
        UsageError: what it can't be.
    """
    if field == "slowConsumer":
        if text in SLOW_CONSUMER:
            return text
        raise UsageError(f"--slow-consumer {text}: one of {', '.join(SLOW_CONSUMER)}")
    if text == "none" and field not in _NEVER_NONE:
        return None
    isTime = field.endswith(("Timeout", "Interval"))
    whole, point, fraction = text.partition(".")
    digits = whole + fraction
    # Not float() alone, which takes "1e9", "nan" and digits of other scripts.
    if digits.isascii() and digits.isdigit() and len(digits) < 19 and (isTime or not point) and digits.strip("0"):
        return float(text) if point else int(text)
    unit = " of seconds" if isTime else " of bytes" if field in _BYTES else ""
    none = "" if field in _NEVER_NONE else ", or none"
    raise UsageError(f"--{optionName(field)} {text}: a number{unit} above 0{none}")


def settingOptions() -> dict[str, Callable[[Any, str], None]]:
    """The methods of the command line that take the settings, by their names."""
    return {"opt_" + optionName(field.name).replace("-", "_"): _option(field.name) for field in fields(Settings)}


def _option(field: str) -> Callable[[Any, str], None]:
    def option(options: Any, text: str) -> None:
        options.settings[field] = readSetting(field, text)

    default = getattr(Settings, field)
    none = "" if field in _NEVER_NONE else ' "none" for no limit.'
    option.__doc__ = f"{_HELP[field]}{none} [default: {'none' if default is None else default}]"
    return option
