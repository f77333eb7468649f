"""The leftovers of a lost connection for the garbage collector, counted by type."""

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import Any

#: How far a chain of referrers is followed.
_STEPS = 12


@contextmanager
def withoutCollector() -> Iterator[None]:
    """Nothing is freed meanwhile but what nothing refers to, and `newOnes` knows what was there before."""
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()


def newOnes() -> Counter[str]:
    """How many objects there are of each type that were not there before `withoutCollector`."""
    counted: Counter[str] = Counter()
    for kind, number in Counter(map(type, gc.get_objects())).items():
        counted[nameOf(kind)] += number
    return counted


def nameOf(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def leftovers(
    way: Callable[[], object], count: int, ours: Callable[[str], bool] = lambda name: True
) -> tuple[Counter[str], str]:
    """Does something many times with the collector off, and looks for what is left of it.

    Args:
        way: what to do; it is done twice before, so that caches are filled.
        count: how many times.
        ours: whether a type is one that may not be left, by its name.

    Returns:
        the types of which each time left an object, ours or not; and a description: empty if none is ours, else with
        what holds such an object.
    """
    way()
    way()
    with withoutCollector():
        for _ in range(count):
            way()
        left = Counter({name: number for name, number in newOnes().items() if number >= count})
        names = [name for name in left if ours(name)]
        return left, "\n".join([f"{left[name]} {name}" for name in left] + chains(names)) if names else ""


def chains(names: list[str]) -> list[str]:
    """The holders of the newest objects of some types, as lines of text."""
    things = [[one for one in gc.get_objects() if nameOf(type(one)) == name][-1] for name in names[:3]]
    # Their holders may be older.
    gc.unfreeze()
    return [line for thing in things for line in ("", *_chain(thing, things))]


def _chain(thing: Any, things: object) -> list[str]:
    """One chain of referrers to an object."""
    seen = {id(thing), id(things)}
    lines: list[str] = []
    while len(lines) < _STEPS:
        lines.append(f"{'  <- ' if lines else ''}{nameOf(type(thing))} {_short(thing)}")
        holders = [
            one
            for one in gc.get_referrers(thing)
            if id(one) not in seen and not isinstance(one, ModuleType) and not _isHere(one)
        ]
        if not holders:
            break
        thing = holders[0]
        seen |= {id(thing), id(holders)}
    return lines


def _isHere(thing: object) -> bool:
    return isinstance(thing, FrameType) and thing.f_code.co_filename == __file__


def _short(thing: object) -> str:
    try:
        return repr(thing)[:120]
    except Exception as error:
        return f"(no repr: {error!r})"
