"""Work side by side, each piece in a process of its own: the trainings of a run, then its notebooks (runner.py).

    python -m invlib.series --preset gpu --at-once 8

One training leaves most of a large card idle. And on a CPU two processes of one thread do more than one of two: much of
a notebook is done by one thread anyway.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Hashable, Iterable
from contextlib import closing
from pathlib import Path
from typing import IO, TypeVar

import torch

from invlib import paths
from invlib.encoders.material import Material, load_material
from invlib.series.duration import planned
from invlib.series.notebooks import KERNEL, TRAINED
from invlib.series.timings import write_timing
from invlib.settings import Settings
from invlib.training.record import TrainingRecord, identity_of

PARAMETERS = ("data", "column", "encoder", "seed")  # of a run, that a training depends on
STEP = "trainings side by side"  # in timings.csv
PATIENCE = 10  # seconds that a stopped process has to leave in order
Work = TypeVar("Work", bound=Hashable)


class Job:
    """A Python module that runs in a process of its own with so many threads, and ends with this process.

    begun: when, in seconds since 1970.
    """

    def __init__(self, words: list[str], threads: int):
        self.begun = time.time()
        self.errors: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        env = KERNEL | os.environ | {"OMP_NUM_THREADS": str(threads)}
        words = [sys.executable, "-m", "invlib.series.child", *words]
        self.process = subprocess.Popen(
            words, env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self.errors
        )

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def failed(self) -> bool:
        return self.process.returncode != 0

    def message(self) -> str:
        """Why it ended: the signal that killed it, or its error output."""
        if self.process.returncode < 0:
            return f"killed by {signal.Signals(-self.process.returncode).name}"
        self.errors.seek(0)
        return self.errors.read().strip() or f"exit status {self.process.returncode}"

    def wait(self) -> None:
        """Wait until it has left, as it was asked to, and kill it where it does not."""
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def side_by_side(
    work: Iterable[Work], processes: int, start: Callable[[Work], Job],
    waits: Callable[[Work, set[Work]], bool] = lambda one, unfinished: False,
) -> Generator[tuple[Work, Job]]:  # fmt: skip
    """Each piece of work and its job, as they end: so many at once, begun in their order.

    waits: whether a piece has to wait while these others are unfinished; it must not be so for all. Where this is
    interrupted or closed, those that run end with it.
    """
    waiting, running = list(work), dict[Work, Job]()
    try:
        while waiting or running:
            unfinished = {*waiting, *running}
            for one in [one for one in waiting if not waits(one, unfinished - {one})][: processes - len(running)]:
                waiting.remove(one)
                running[one] = start(one)
            time.sleep(0.05)
            for one in [one for one, job in running.items() if job.ended]:
                yield one, running.pop(one)
    finally:
        for job in running.values():
            job.process.terminate()
        for job in running.values():
            job.wait()


def threads_each(processes: int) -> int:
    """The threads that each of so many processes gets."""
    return max(1, torch.get_num_threads() // processes)


def train_at_once(settings: Settings, notebooks: Iterable[str], folder: Path, processes: int) -> list[str]:
    """Train the models that these notebooks need, so many at once, the longest first; the names of those that failed.

    What is trained already is left. A failed one is reported, and its notebook will train it and show the error. Where
    this is interrupted, the trainings end with it, and go on when it is started again. ValueError and OSError as of
    `load_material`.
    """
    wanted = set(notebooks) & set(TRAINED)
    if not wanted:
        return []
    todo = to_train(settings, wanted, folder, load_material(settings, progress=False))  # encoded once, for all
    if not todo:
        return []
    print(f"first {len(todo)} trainings, {processes} at once", flush=True)
    start, threads, failed = time.time(), threads_each(processes), []
    with closing(side_by_side(todo, processes, lambda name: Job(command(settings, name, folder), threads))) as ended:
        for name, job in ended:
            if job.failed:
                failed.append(name)
                reason = job.message().splitlines()[-1]
                print(f"{name} could not be trained beside the others: {reason}", flush=True)
                paths.log_line(folder, f"{name} failed: {reason}")
    write_timing(folder, STEP, time.time() - start)
    return failed


def to_train(settings: Settings, notebooks: Iterable[str], folder: Path, material: Material) -> list[str]:
    """The rows and no-vector controls of these notebooks that the run has not got, those of most steps first."""
    found = {}
    for training in planned(settings, notebooks, material.encoder.hidden_size):
        if isinstance(training.settings, Settings):
            record = TrainingRecord.find(folder / "models" / training.name)
            identity = identity_of(training.settings, material.corpus.data_hash, material.encoder.hash)
            if record is None or record.identity != identity:
                found[training.name] = training.steps or 0
    return sorted(found, key=lambda name: -found[name])


def command(settings: Settings, name: str, folder: Path) -> list[str]:
    """The module that trains one model of the run by itself, and its arguments."""
    given = [f"--{key}={getattr(settings, key)}" for key in PARAMETERS if key in settings.given]
    return ["invlib.training", "--preset", settings.preset, "--row", name, "--run", str(folder), *given]
