"""How time grows: one measure for every claim that some input takes time in proportion to its size."""

import gc
import time
from collections.abc import Callable
from statistics import median

from tools import need

#: Does its work once, and returns how long that took, in seconds of the processor.
Measure = Callable[[], float]


def spent(action: Callable[[], object]) -> float:
    """How long the processor works on it, in seconds; what the collector of garbage takes is nobody's growth."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        began = time.process_time()
        action()
        return time.process_time() - began
    finally:
        if collecting:
            gc.enable()


def growth(small: Measure, large: Measure, most: float = 6) -> tuple[float, list[tuple[float, float]]]:
    """How much more time the second takes than the first, by the median of the turns; and what each turn measured.

    The first has a quarter of the input of the second, and is done four times for one: other programs take the caches
    and the memory from both, and from what takes longer more. The two of a turn are compared with each other alone,
    since a machine may be quicker in one turn than in the next. A median of at most ``most`` says that half of the
    turns are such, where the best of five would need but one; and no single turn, lucky or not, decides. Where it is
    more it gets more turns, of which what grows with the square (16 times) makes no use.

    A test that measures is marked "growth".
    """
    need("growth")
    turns: list[tuple[float, float]] = []
    factor = 0.0
    while len(turns) < 5 or (factor > most and len(turns) < 50):
        turns.append((sum(small() for _ in range(4)) / 4, large()))
        factor = median(one / quarter for quarter, one in turns)
    return factor, turns


def assertLinear(small: Measure, large: Measure) -> None:
    """Asserts that the second, with four times the input of the first, takes at most six times the time."""
    factor, turns = growth(small, large)
    measured = ", ".join(f"{quarter * 1000:.2f} and {one * 1000:.2f}" for quarter, one in turns)
    assert factor <= 6, f"{factor:.1f} times the time for four times the input; in ms, turn by turn: {measured}"
