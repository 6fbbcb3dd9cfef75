"""How long a training step takes on this machine: a few steps are timed."""

import tempfile
import time
from pathlib import Path

import torch
from transformers import EarlyStoppingCallback, TrainerCallback
from transformers.trainer_utils import IntervalStrategy

from invlib.encoders.material import Material
from invlib.language_models.own import build_trainer as language_model_trainer
from invlib.language_models.own_network import LanguageModelSettings
from invlib.settings import Settings
from invlib.training.train import build_trainer
from invlib.training.trainer import TimedTrainer, random_states_kept

STEPS = 5  # that are timed, after one that is not


class StepEnds(TrainerCallback):
    """When each step ended, in seconds."""

    def __init__(self):
        self.ends: list[float] = []

    def on_step_end(self, args, state, control, **_):
        if args.device.type == "cuda":
            torch.cuda.synchronize()  # else the step is only queued
        self.ends.append(time.perf_counter())


def step_seconds(settings: Settings | LanguageModelSettings, material: Material) -> float:
    """Seconds that a training step of these settings takes here, batches included, without evaluation.

    material: some headlines, of the lengths that the training will have.
    """
    with tempfile.TemporaryDirectory() as folder, random_states_kept():
        if isinstance(settings, LanguageModelSettings):
            ids, _ = material.encoder.cut_ids(material.corpus.splits["train"]["text"], settings.max_length)
            trainer = language_model_trainer(
                settings, ids, material.corpus, material.encoder, Path(folder), Path(folder)
            )
        else:
            trainer, _ = build_trainer(settings, Path(folder), material, Path(folder))
        return timed(trainer)


def timed(trainer: TimedTrainer) -> float:
    """Mean seconds of STEPS steps of a fresh Trainer; sent_sim_loss, where it has one, by its share of all steps."""
    ends, args = StepEnds(), trainer.args
    trainer.add_callback(ends)
    trainer.remove_callback(EarlyStoppingCallback)
    args.max_steps, args.load_best_model_at_end = STEPS + 1, False
    args.eval_strategy = args.save_strategy = IntervalStrategy.NO
    trainer.train()
    seconds = (ends.ends[-1] - ends.ends[0]) / STEPS
    if sent_sim := getattr(trainer, "sent_sim_seconds", 0.0):
        seconds += sent_sim / trainer.settings.sent_sim_every  # it was computed in the first step alone
    return seconds
