"""What watches a training: its clock, and the curve of its epochs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from transformers import TrainerCallback

from invlib import paths


class Clock(TrainerCallback):
    """Times a training over its resumes, stops it at a limit where it has one, and logs a line a minute."""

    def __init__(self, name: str, minutes: float | None, run: Path, clock_file: Path):
        self.name, self.minutes, self.run, self.file = name, minutes, run, clock_file
        self.before = paths.read_json(clock_file)["seconds"] if clock_file.exists() else 0.0
        self.started = self.logged = time.monotonic()
        self.out_of_time = False
        self.loss = float("nan")

    @property
    def seconds(self) -> float:
        """How long the training has taken, over all its resumes."""
        return self.before + time.monotonic() - self.started

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The time inside does not count: for measurements that no model depends on."""
        paused = time.monotonic()
        yield
        self.started += time.monotonic() - paused

    @property
    def share(self) -> float:
        """How much of the time limit is over, from 0 on; 0 where there is none."""
        return self.seconds / (60 * self.minutes) if self.minutes else 0.0

    def on_step_end(self, args, state, control, **_):
        if self.minutes and self.seconds > 60 * self.minutes and not self.out_of_time:
            self.out_of_time = True
            control.should_training_stop = True  # the epoch's end then evaluates and saves
        if time.monotonic() - self.logged > 60:
            self.logged = time.monotonic()
            step = f"{self.name} step {state.global_step} of {state.max_steps}"
            paths.log_line(self.run, f"{step}, epoch {state.epoch:.2f} loss {self.loss:.3f}")
        return control

    def on_log(self, args, state, control, logs=None, **_):
        self.loss = (logs or {}).get("loss", self.loss)

    def on_save(self, args, state, control, **_):
        if state.is_world_process_zero:
            paths.write_json(self.file, {"seconds": self.seconds})


class Curve(TrainerCallback):
    """After each evaluation one row of a curve, kept in a file, and a line in the run's log."""

    def __init__(self, clock: Clock, file: Path):
        self.clock, self.file = clock, file
        self.rows = pd.read_csv(file).to_dict("records") if file.exists() else []

    def reached(self, state) -> dict:
        """How far the training is: epoch, step, minutes, train_loss."""
        losses = [h["loss"] for h in state.log_history if "loss" in h]
        row = {"epoch": state.epoch, "step": state.global_step, "minutes": self.clock.seconds / 60}
        return row | {"train_loss": losses[-1] if losses else None}

    def add(self, state, row: dict, words: str) -> None:
        """Add the row, which takes the place of those of its step and later ones; words: what the log says of it."""
        self.rows = [r for r in self.rows if r["step"] < row["step"]] + [row]
        if state.is_world_process_zero:
            paths.write_csv(self.file, pd.DataFrame(self.rows))
        paths.log_line(self.clock.run, f"{self.clock.name} epoch {row['epoch']:.2f} {words}")


class EpochCurve(Curve):
    """The curve of a model of the study: losses, accuracy, BERTScore of freely decoded headlines."""

    def on_evaluate(self, args, state, control, metrics=None, **_):
        row = self.reached(state) | {
            "validation_loss": metrics["eval_loss"],
            "accuracy": metrics["eval_accuracy"], "bertscore_f1": metrics["eval_bertscore_f1"],
            "learning_rate": next((h["learning_rate"] for h in state.log_history[::-1] if "learning_rate" in h), None),
            "sent_sim_loss": metrics["sent_sim_loss"], "sent_sim_seconds": metrics["sent_sim_seconds"],
        }  # fmt: skip
        bertscore = "" if row["bertscore_f1"] is None else f" bertscore {row['bertscore_f1']:.3f}"
        words = f"validation loss {row['validation_loss']:.3f} accuracy {row['accuracy']:.3f}{bertscore}"
        self.add(state, row, words)
