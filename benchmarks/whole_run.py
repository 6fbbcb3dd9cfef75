"""How long does `make run` take from a fresh clone, its environment included, and how much memory?

    python -m benchmarks.whole_run

takes as long as that, and writes results/timings.csv. Memory is that of all its processes together, the most at any
time; pages that they share are counted in each. Not part of `make bench`.
"""

import subprocess
import tempfile
import time
from pathlib import Path

import pandas as pd
import psutil

from benchmarks.goals import MAKE_RUN, TIMES
from invlib import paths


def watched(command: list[str], folder: Path) -> tuple[float, float]:
    """Seconds of a command, and the most memory of its processes together, in GB (1e9 bytes)."""
    started, most = time.perf_counter(), 0
    process = subprocess.Popen(command, cwd=folder)
    while process.poll() is None:
        most = max(most, held(psutil.Process(process.pid)))
        time.sleep(1)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed: exit status {process.returncode}")
    return time.perf_counter() - started, most / 1e9


def held(process: psutil.Process) -> int:
    """Resident memory of a process and all that it started, in bytes."""
    found = 0
    try:
        for one in (process, *process.children(recursive=True)):
            found += one.memory_info().rss
    except psutil.NoSuchProcess:  # it ended meanwhile
        pass
    return found


def table(run: Path, environment: tuple[float, float], series: tuple[float, float]) -> pd.DataFrame:
    """timings.csv: step, seconds, memory_gb, of the environment, of the run's own steps, and of all."""
    steps = pd.read_csv(run / "timings.csv")[["step", "seconds"]]
    first = pd.DataFrame([("environment", round(environment[0]))], columns=["step", "seconds"])
    whole = pd.DataFrame([(MAKE_RUN, round(environment[0] + series[0]), round(max(environment[1], series[1]), 1))])
    whole.columns = ["step", "seconds", "memory_gb"]
    return pd.concat([first, steps, whole])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(paths.ROOT), str(clone)], check=True)
        environment, series = watched(["make", "env"], clone), watched(["make", "run"], clone)
        paths.write_csv(TIMES, table(clone / "runs" / "last", environment, series))


if __name__ == "__main__":
    main()
