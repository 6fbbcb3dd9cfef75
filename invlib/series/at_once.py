"""The rows of a run trained side by side, each in a process of its own: one training leaves most of a large card idle.

    python -m invlib.series --preset gpu --at-once 8

The notebooks then load what is trained. Language models and ablations are left to them.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import torch

from invlib import paths
from invlib.encoders.material import Material, load_material
from invlib.series.duration import planned
from invlib.settings import Settings
from invlib.training.record import TrainingRecord, identity_of

PARAMETERS = ("data", "column", "encoder", "seed")  # of a run, that a training depends on
TRAINED = ("01", "03")  # the notebooks whose rows and no-vector controls these are


class Training:
    """One of the processes: the model's name, and its error output."""

    def __init__(self, name: str, words: list[str], threads: int):
        self.name = name
        self.errors: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        env = os.environ | {"OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=self.errors)

    def reason(self) -> str:
        """Why it ended, in a line: the signal that killed it, or its last line of error output."""
        if self.process.returncode < 0:
            return f"killed by {signal.Signals(-self.process.returncode).name}"
        self.errors.seek(0)
        lines = self.errors.read().strip().splitlines()
        return lines[-1] if lines else f"exit status {self.process.returncode}"

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


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
    threads, running, failed = max(1, torch.get_num_threads() // processes), set[Training](), []
    try:
        while todo or running:
            while todo and len(running) < processes:
                name = todo.pop(0)
                running.add(Training(name, command(settings, name, folder), threads))
            time.sleep(0.05)
            for training in [training for training in running if training.process.poll() is not None]:
                running.remove(training)
                if training.process.returncode:
                    failed.append(training.name)
                    print(f"{training.name} could not be trained beside the others: {training.reason()}", flush=True)
                    paths.log_line(folder, f"{training.name} failed: {training.reason()}")
    finally:
        for training in running:
            training.stop()
    return failed


def to_train(settings: Settings, notebooks: Iterable[str], folder: Path, material: Material) -> list[str]:
    """The rows and no-vector controls of these notebooks that the run has not got, those of most steps first."""
    found = {}
    for training in planned(settings, notebooks, material.encoder.hidden_size):
        if isinstance(training.settings, Settings):
            record = TrainingRecord.find(folder / "models" / training.name)
            identity = identity_of(training.settings, material.corpus.data_hash, material.encoder.hash)
            if record is None or not record.identity.same(identity):
                found[training.name] = training.steps or 0
    return sorted(found, key=lambda name: -found[name])


def command(settings: Settings, name: str, folder: Path) -> list[str]:
    """What trains one model of the run by itself."""
    given = [f"--{key}={getattr(settings, key)}" for key in PARAMETERS if key in settings.given]
    training = [sys.executable, "-m", "invlib.training", "--preset", settings.preset]
    return [*training, "--row", name, "--run", str(folder), *given]
