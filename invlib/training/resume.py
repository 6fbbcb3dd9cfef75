"""A training that can be interrupted: it goes on from its last whole checkpoint, and leaves a whole model or none."""

import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers.trainer_utils import get_last_checkpoint

from invlib import paths
from invlib.encoders.ranks import is_first, of_first, wait_for_all
from invlib.training.record import FILE, Identity, TrainingRecord

FULL = 1_000_000  # bytes left on a disk where a write has failed: torch and safetensors have errors of their own for it


class ResumableTraining:
    """The checkpoints of one training, in <folder>/checkpoints.

        with ResumableTraining(folder, identity) as training:
            trainer.train(resume_from_checkpoint=training.checkpoint_of(model))
            training.finish(model.save_pretrained, record, curve, curve_file)

    Checkpoints of another identity are removed at the beginning, all of them at the end. `checkpoint` is the newest
    whole one, or None.
    """

    def __init__(self, folder: str | Path, identity: Identity):
        self.folder, self.identity = Path(folder), identity
        self.work = self.folder / "checkpoints"
        self.checkpoint: str | None = None

    @property
    def done(self) -> bool:
        """Whether a model of exactly this identity was trained to its end in this folder; its checkpoints then go."""
        record = TrainingRecord.find(self.folder)
        done = record is not None and record.identity == self.identity
        if done and is_first():  # a kill may have left some of them
            shutil.rmtree(self.work, ignore_errors=True)
        return of_first(done)

    def __enter__(self) -> "ResumableTraining":
        self.checkpoint = of_first(self.begin() if is_first() else None)
        return self

    def begin(self) -> str | None:
        """The checkpoint that training goes on from; without one, what another training left is removed."""
        begun = self.work / "identity.json"
        checkpoint = None
        if begun.exists() and Identity.read(begun) == self.identity:
            checkpoint = newest_whole_checkpoint(self.work)
        if checkpoint is None:
            shutil.rmtree(self.work, ignore_errors=True)
        self.identity.write(begun)
        return checkpoint

    def checkpoint_of(self, model: nn.Module) -> str | None:
        """`checkpoint` where it has the model's weights, by name and shape; else none, and a warning.

        The Trainer would load those that fit and leave the others as they are.
        """
        if self.checkpoint is None:
            return None
        with safe_open(Path(self.checkpoint) / "model.safetensors", framework="pt") as file:
            saved = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (no dict)
        own = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
        whole = len(saved) == len(own) or getattr(model, "_tied_weights_keys", None)  # tied ones are saved once
        if saved.items() <= own.items() and whole:
            return self.checkpoint
        name = Path(self.checkpoint).name
        warnings.warn(f"{name} is of another version of the model and left out; training begins anew", stacklevel=2)
        self.checkpoint = None
        wait_for_all()  # each process has read it
        if is_first():
            shutil.rmtree(self.work)
            self.identity.write(self.work / "identity.json")
        return None

    def finish(self, save: Callable[[Path], None], record: TrainingRecord, curve: pd.DataFrame, file: Path) -> None:
        """Save the model, its curve, and at last its record: an older record never stands beside new weights."""
        if not is_first():
            return
        (self.folder / FILE).unlink(missing_ok=True)
        save(self.folder)
        paths.write_csv(file, curve)
        record.write(self.folder)

    def __exit__(self, error, value, _) -> None:
        if error is None:
            wait_for_all()
            if is_first():
                shutil.rmtree(self.work, ignore_errors=True)
        elif issubclass(error, Exception) and shutil.disk_usage(self.folder).free < FULL:
            raise OSError(
                f"the disk that {self.folder} lies on is full; make room there and start again: the training goes on "
                "from its last whole checkpoint"
            ) from value


def newest_whole_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint; one whose weights were cut off by a kill is removed and the one before is taken."""
    while folder.is_dir() and (newest := get_last_checkpoint(str(folder))):
        try:
            with safe_open(Path(newest) / "model.safetensors", framework="pt"):
                pass
            paths.read_json(Path(newest) / "trainer_state.json")
            torch.load(Path(newest) / "optimizer.pt", map_location="meta", weights_only=True, mmap=True)
            for file in Path(newest).glob("*.pt*"):  # scheduler.pt, rng_state.pth
                if not zipfile.is_zipfile(file):
                    raise OSError(f"the end of {file.name} is missing")
            return newest
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            warnings.warn(f"checkpoint {Path(newest).name} is damaged and left out: {error}", stacklevel=2)
            shutil.rmtree(newest)
    return None
