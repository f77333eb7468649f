"""How time grows: one measure for every claim that some input takes time in proportion to its size."""

import gc
import time
from collections.abc import Callable

from tools import need

#: Does its work once, and returns how long that took, in seconds of the processor.
Measure = Callable[[], float]

#: How much more input the larger work of a comparison has.
INPUT = 16
#: How much more time it may take: three times more than in proportion; what grows with the square takes 256 times.
#: Caches, and memory that goes back to the system each time, can make the larger work dearer: 2.7 times was seen, but
#: with larger sizes than the tests have.
MOST = 48
#: Shorter work is repeated until it has taken so many seconds, to which an interrupt adds little.
_LEAST_SECONDS = 0.01
#: How often both are measured; and how often at most, as long as they are too far apart. Other programs only ever add
#: to what is measured, and so the least of many is what the work costs.
_TURNS, _MOST_TURNS = 5, 30


def spent(action: Callable[[], object]) -> float:
    """How long the processor works on it, in seconds; without the collector of garbage."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        began = time.process_time()
        action()
        return time.process_time() - began
    finally:
        if collecting:
            gc.enable()


def _repeated(measure: Measure) -> float:
    """How long the work takes once, by the mean of as many repetitions as it needs to take long enough."""
    total, times = 0.0, 0
    while total < _LEAST_SECONDS:
        total += measure()
        times += 1
    return total / times


def assertLinear(small: Measure, large: Measure) -> None:
    """Asserts that the second, with 16 times the input of the first, takes at most 48 times the time.

    A test that measures is marked "growth".
    """
    need("growth")
    quick, slow = _repeated(small), _repeated(large)
    for turn in range(1, _MOST_TURNS):
        if turn >= _TURNS and slow <= MOST * quick:
            break
        quick, slow = min(quick, _repeated(small)), min(slow, _repeated(large))
    assert slow <= MOST * quick, (
        f"{slow / quick:.1f} times the time for {INPUT} times the input: {quick * 1000:.3f} and {slow * 1000:.3f} ms"
    )
