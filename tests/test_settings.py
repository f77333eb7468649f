"""The limits and timers of a connection: their defaults, and what they refuse."""

from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from wsock import LocalProtocolError, Settings


def test_the_defaults() -> None:
    assert {field.name: field.default for field in fields(Settings)} == {
        "maxMessageSize": 2**20,
        "maxEmptyFragments": 1024,
        "openTimeout": 10,
        "closeTimeout": 10,
        "pingInterval": 20,
        "pingTimeout": 20,
        "receiveQueue": 16,
        "highWaterMark": 65536,
        "sendLimit": 2**20,
        "slowConsumer": "wait",
        "maxHeaderLine": 16384,
        "maxHeaderSize": 32768,
        "maxHeaders": 256,
        "checkThreads": None,
    }


@pytest.mark.parametrize("value", [2**63, 10**400, 1e300])
@pytest.mark.parametrize(
    "field", [field.name for field in fields(Settings) if field.name not in ("slowConsumer", "checkThreads")]
)
def test_what_no_timer_can_take(field: str, value: float) -> None:
    with pytest.raises(LocalProtocolError, match="below"):
        Settings(**{field: value})


def test_the_largest_numbers() -> None:
    assert Settings(maxMessageSize=2**63 - 1, openTimeout=2**63 - 1).maxMessageSize == 2**63 - 1


@pytest.mark.parametrize("field", fields(Settings), ids=lambda field: field.name)
@pytest.mark.parametrize("value", [0, -1, 0.0, float("nan"), float("inf"), True, "1", b"1", [1]], ids=repr)
def test_what_no_setting_can_be(field: Any, value: Any) -> None:
    if field.name == "checkThreads" and value is True:
        return
    with pytest.raises(LocalProtocolError, match=field.name):
        Settings(**{field.name: value})


def test_none_is_no_limit_but_for_one() -> None:
    for field in fields(Settings):
        if field.name in ("receiveQueue", "slowConsumer"):
            with pytest.raises(LocalProtocolError, match=field.name):
                Settings(**{field.name: None})
        else:
            assert getattr(Settings(**{field.name: None}), field.name) is None


def test_only_times_have_fractions() -> None:
    for field in fields(Settings):
        if field.name == "checkThreads":
            continue
        if field.name.endswith(("Timeout", "Interval")):
            assert getattr(Settings(**{field.name: 0.5}), field.name) == 0.5
        else:
            with pytest.raises(LocalProtocolError, match=field.name):
                Settings(**{field.name: 1.5})


def test_settings_are_named_and_stay_as_they_are() -> None:
    with pytest.raises(TypeError):
        Settings(1)  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        Settings().openTimeout = 1  # type: ignore[misc]
    assert Settings(openTimeout=1) == Settings(openTimeout=1)
    assert hash(Settings()) == hash(Settings())
