"""How long a call takes: after a warm-up, the median of several turns."""

import statistics
import time
from collections.abc import Callable

REPEATS = 5


def milliseconds(call: Callable[[], object], n: int, repeats: int = REPEATS) -> float:
    """Milliseconds per text of a call on n texts: the median of `repeats` turns, after one that is not timed."""
    call()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds) / max(n, 1)
