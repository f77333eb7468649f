"""How time grows: one measure for every claim that some input takes time in proportion to its size."""

import gc
import math
import time
from collections.abc import Callable

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


def growth(small: Measure, large: Measure, most: float = 6) -> float:
    """How much more time the second takes than the first, by the best of five each.

    The first has a quarter of the input of the second, and is done four times for one: other programs take the caches
    and the memory from both, and from what takes longer more. Where the second takes more than ``most`` times as long
    it gets more tries, of which what grows with the square (16 times) makes no use.
    """
    four, one = math.inf, math.inf
    for turn in range(50):
        four = min(four, sum(small() for _ in range(4)))
        one = min(one, large())
        if turn >= 4 and one <= most * four / 4:
            break
    return one / (four / 4)


def assertLinear(small: Measure, large: Measure) -> None:
    """Asserts that the second, with four times the input of the first, takes at most six times the time."""
    factor = growth(small, large)
    assert factor <= 6, f"{factor:.1f} times the time for four times the input"
