"""timings.csv of a run: how long each step took, and how much memory."""

import resource
import sys
from pathlib import Path

import pandas as pd

from invlib import paths

TIMINGS = "timings.csv"


def write_timing(folder: Path, step: str, seconds: float) -> None:
    """Write a step's line of timings.csv: step, seconds, and GB (1e9 bytes) of the largest process that ended so far.

    The line takes the place of the step's older one; the order is that of the steps' names.
    """
    unit = 1 if sys.platform == "darwin" else 1024  # bytes, of macOS and of Linux
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 1e9
    new = pd.DataFrame([(step, round(seconds), round(largest, 2))], columns=["step", "seconds", "largest_gb"])
    file = folder / TIMINGS
    old = pd.read_csv(file).query("step != @step") if file.is_file() else new.iloc[:0]
    paths.write_csv(file, pd.concat([old, new]).sort_values("step", kind="stable"))
