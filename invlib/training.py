"""Training: transformers' Trainer over cached token states.

    python -m invlib.training --preset study --row att_pool_768 --run study

trains one row by itself and goes on where a killed run stopped.
"""

import argparse
import ctypes
import dataclasses
import json
import math
import platform
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import get_last_checkpoint

from invlib import metrics, paths
from invlib.batches import collate
from invlib.callbacks import Clock, EpochCurve
from invlib.encoders import FrozenEncoder, load_encoder
from invlib.halfway import Halfway, continuing
from invlib.losses import nearest_pieces, reconstruction_loss, sent_sim_loss
from invlib.material import Material, load_material
from invlib.model import InvertibleSentenceModel, build_model, model_config
from invlib.noise import perturbed
from invlib.scorers import bertscore
from invlib.settings import Settings, device, load_preset, precision, row_names, select_row

WARMUP = 100  # steps of a cosine schedule in which the rate rises
# Settings that say how a model is measured, or where a value came from: no model depends on them
ABOUT_MEASURING = (
    "n_generate", "n_search", "n_bootstrap", "preset", "scorers", "bertscore_every_epoch", "table_minutes",
    "ablations", "language_model", "lm_widths", "lm_minutes", "n_fitted", "fitting_steps",
)  # fmt: skip


def cosine(optimizer: torch.optim.Optimizer, progress: Callable[[], float]) -> LambdaLR:
    """A rate that rises in WARMUP steps and falls to 0 as progress() goes from 0 to 1."""

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * progress()))

    return LambdaLR(optimizer, rate)


class TimedTrainer(Trainer):
    """The Trainer under a clock; falling: a rate on a cosine over its time, in place of the arguments' schedule."""

    def __init__(self, *args, clock: Clock, falling: bool, **kwargs):
        super().__init__(*args, **kwargs)
        self.clock, self.falling = clock, falling

    def create_scheduler(self, num_training_steps, optimizer=None):
        if self.falling and self.lr_scheduler is None:
            self.lr_scheduler = cosine(optimizer or self.optimizer, self.progress)
        return super().create_scheduler(num_training_steps, optimizer)

    def progress(self) -> float:
        """How much of the training is over, 0 to 1: of its epochs or of its minutes, whichever is more."""
        return min(1.0, max(self.state.global_step / max(self.state.max_steps, 1), self.clock.share))


class InvertibleTrainer(TimedTrainer):
    """The Trainer with this study's losses, and teacher-forced figures for its evaluation."""

    def __init__(self, *args, settings: Settings, encoder: FrozenEncoder, clock: Clock, **kwargs):
        super().__init__(*args, clock=clock, falling=settings.schedule == "cosine", **kwargs)
        self.settings, self.encoder = settings, encoder
        words = encoder.word_embeddings
        self.neighbours = nearest_pieces(words, settings.neighbours) if settings.neighbours else None
        self.halfway = Halfway(continuing(encoder.tokenizer), encoder.eos_token_id, settings.max_length)
        self.sent_sim: list[float] = []
        self.sent_sim_seconds = 0.0

    def _get_train_sampler(self, train_dataset=None):
        dataset = train_dataset or self.train_dataset
        return LengthGroupedSampler(self.args.train_batch_size, dataset, lengths=dataset.lengths.tolist())

    def compute_loss(self, model, inputs, return_outputs=False, **_):
        s = self.settings
        if s.code_noise or s.between or s.halfway:
            output = model(**self.moved(model.pool(inputs), inputs))
        else:
            output = model(**inputs)
        loss = reconstruction_loss(model, output, s.candidates, self.neighbours)
        if s.sent_sim_weight and s.row != "no_vector" and self.state.global_step % s.sent_sim_every == 0:
            if self.args.device.type == "cuda":
                torch.cuda.synchronize()  # what is queued before is not this loss's time
            started = time.perf_counter()
            similarity = sent_sim_loss(model, self.encoder, inputs, s.sent_sim_size)
            self.sent_sim.append(similarity.item())
            loss = loss + s.sent_sim_weight * similarity
            self.sent_sim_seconds += 3 * (time.perf_counter() - started)  # estimated: the backward pass costs two more
        return (loss, output) if return_outputs else loss

    def moved(self, z: torch.Tensor, inputs: dict) -> dict:
        """The batch with its vectors moved as the settings say, and the ids that are to be said there.

        Both shares grow: first what each number says, then how to do with less.
        """
        s, ids, mask = self.settings, inputs["input_ids"], inputs["attention_mask"]
        mixed, rest = z, inputs["real"]
        if s.halfway:
            share = s.halfway * min(1.0, 2 * self.progress())
            mixed, ids, mask, away = self.halfway.mix(z, ids, mask, inputs["real"], share)
            rest = inputs["real"] & ~away
        vector = perturbed(z, s.code_noise, s.between * self.progress(), rest)
        if s.halfway:
            vector = torch.where(away.unsqueeze(1), mixed, vector)
        return {"input_ids": ids, "attention_mask": mask, "sentence_embedding": vector}

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        """Cross-entropy over all word pieces (nats a token) and next-token accuracy on the validation headlines."""
        with torch.autocast(self.args.device.type, torch.bfloat16, self.args.bf16):
            found = metrics.teacher_forced(self.model, eval_dataset or self.eval_dataset, top_k=(1,))
        with self.clock.paused():
            bertscore_f1 = self.bertscore(found["sentence_embedding"])
        result = {
            f"{metric_key_prefix}_loss": metrics.ratio(found["nats"], found["tokens"]),
            f"{metric_key_prefix}_accuracy": metrics.ratio(found["hits_1"], found["tokens"]),
            f"{metric_key_prefix}_bertscore_f1": bertscore_f1,
            "sent_sim_loss": float(np.mean(self.sent_sim)) if self.sent_sim else None,
            "sent_sim_seconds": self.sent_sim_seconds,
        }
        self.sent_sim = []
        self.log(result)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, result)
        return result

    def bertscore(self, vectors: np.ndarray) -> float | None:
        """Mean BERTScore of the first validation headlines, decoded freely from their vectors."""
        n = min(self.settings.bertscore_every_epoch, len(vectors))
        if not n or self.settings.row == "no_vector":
            return None
        said = self.model.decode(vectors[:n])
        reference = self.model.text(self.eval_dataset.ids(n))
        return float(bertscore(said, reference, self.settings.scorers).mean())


def usable_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint; one whose weights were cut off by a kill is removed and the one before is taken."""
    while folder.is_dir() and (newest := get_last_checkpoint(str(folder))):
        try:
            with safe_open(Path(newest) / "model.safetensors", framework="pt"):
                pass
            json.loads((Path(newest) / "trainer_state.json").read_text())
            torch.load(Path(newest) / "optimizer.pt", map_location="meta", weights_only=True, mmap=True)
            return newest
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            warnings.warn(f"checkpoint {Path(newest).name} is damaged and left out: {error}", stacklevel=2)
            shutil.rmtree(newest)
    return None


def finished(folder: Path, settings: Settings, data_hash: str, encoder_hash: str) -> bool:
    """Whether a model with exactly these settings, headlines and encoder was trained to its end in this folder."""
    if not (folder / "training.json").exists():
        return False
    return same_training(paths.read_json(folder / "training.json"), settings, data_hash, encoder_hash)


def same_training(record: dict, settings: Settings, data_hash: str, encoder_hash: str) -> bool:
    """Whether a record of a training, ended or begun, is of exactly these settings, headlines and encoder's weights."""
    # A setting that is newer than the record stands in it as its default: what was done before it existed
    same = plain(Settings()) | record["settings"] == plain(settings) and record["data_hash"] == data_hash
    return same and record.get("encoder_hash", encoder_hash) == encoder_hash  # older records have none


def keep_freed_memory() -> None:
    """Let the C library keep what a step frees for the next one: on a CPU half of a step was page faults otherwise.

    glibc hands blocks of megabytes back to the kernel at once and gets them again zeroed, at every step. Without
    glibc (macOS, Windows) there is nothing to set.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL("libc.so.6")
        m_trim_threshold, m_mmap_threshold = -1, -3
        libc.mallopt(m_mmap_threshold, 2**30)
        libc.mallopt(m_trim_threshold, 2**31 - 1)


def training_arguments(settings, work: Path, n: int, where: torch.device, **more) -> TrainingArguments:
    """How the Trainer trains on n rows an epoch, into `work`; `settings` says seed, epochs, batch size and rates.

    The best epoch by eval_loss is kept; `more` are further TrainingArguments.
    """
    args = TrainingArguments(
        output_dir=str(work), seed=settings.seed, num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size, learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay, optim="adamw_torch_fused", max_grad_norm=1.0,
        eval_strategy="epoch", save_strategy="epoch", save_total_limit=2, load_best_model_at_end=True,
        metric_for_best_model="eval_loss", greater_is_better=False,
        logging_steps=min(50, -(-n // settings.batch_size)),
        bf16=precision(where) == torch.bfloat16, use_cpu=where.type == "cpu",
        dataloader_pin_memory=where.type == "cuda",
        restore_callback_states_from_checkpoint=True, disable_tqdm=True, report_to="none", **more,
    )  # fmt: skip
    args._n_gpu = 1  # else two visible cards wrap the model and double the batch in silence
    return args


def plain(settings: Settings) -> dict:
    """The settings that a trained model depends on, as JSON gives them back."""
    values = {k: v for k, v in dataclasses.asdict(settings).items() if k not in (*ABOUT_MEASURING, "rows")}
    return json.loads(json.dumps(values))


def train(
    settings: Settings, run: str | Path | None = None, material: Material | None = None
) -> tuple[InvertibleSentenceModel, pd.DataFrame]:
    """Train the row that `settings` names; returns the best model by validation loss, and its curves.

    Leaves <run>/models/<name>/ (config.json, model.safetensors, training.json) and <run>/curves/<name>.csv. A model
    that was trained with the same settings is loaded instead; one that was interrupted goes on.
    """
    name = settings.name
    run = paths.run_folder(run)
    folder, curve_file = run / "models" / name, run / "curves" / f"{name}.csv"
    work = folder / "checkpoints"
    material = material or load_material(settings)
    data_hash, encoder_hash = material.corpus.data_hash, material.encoder.hash
    if finished(folder, settings, data_hash, encoder_hash):
        return InvertibleSentenceModel.from_pretrained(folder), pd.read_csv(curve_file)
    keep_freed_memory()
    set_seed(settings.seed)
    model = build_model(settings, material.encoder)
    model.decoder.vocabulary.start_at_frequencies(material.label_counts())
    if settings.row == "hybrid":
        model.pooling.fit(np.asarray(material.states["train"].sentence))
    train_set = material.training_set(model.reads_layers, settings.added_sentences, settings.seed)
    begun = work / "settings.json"
    if begun.exists() and not same_training(paths.read_json(begun), settings, data_hash, encoder_hash):
        shutil.rmtree(work)  # begun with other settings or headlines
    checkpoint = usable_checkpoint(work)
    if checkpoint is None:
        shutil.rmtree(work, ignore_errors=True)
    paths.write_json(begun, {"settings": plain(settings), "data_hash": data_hash, "encoder_hash": encoder_hash})
    where = device()
    minutes = settings.twin_minutes if settings.row == "no_vector" else settings.minutes
    clock = Clock(name, minutes, run, work / "clock.json")
    curve = EpochCurve(clock, work / "curve.csv")  # an older model of this name keeps its own until this one is done
    more = {"remove_unused_columns": False, "label_names": ["input_ids"]}
    if settings.schedule == "plateau":
        halve = {"factor": 0.5, "patience": settings.plateau_patience}
        more |= {"lr_scheduler_type": "reduce_lr_on_plateau", "lr_scheduler_kwargs": halve}
    args = training_arguments(settings, work, len(train_set), where, **more)
    trainer = InvertibleTrainer(
        model=model, settings=settings, encoder=material.encoder, clock=clock, data_collator=collate,
        train_dataset=train_set,
        eval_dataset=material.dataset("validation", settings.n_validation, model.reads_layers),
        callbacks=[clock, curve, EarlyStoppingCallback(settings.stop_patience)],
        args=args,
    )  # fmt: skip
    trainer.sent_sim_seconds = curve.rows[-1]["sent_sim_seconds"] if curve.rows else 0.0
    trainer.remove_callback(PrinterCallback)  # the curves and the run's log say it
    paths.log_line(run, f"{name} starts: {model.n_trainable():,} trainable parameters, {len(train_set):,} sentences")
    trainer.train(resume_from_checkpoint=checkpoint)
    for wrapped in ("forward", "_original_forward"):  # the Trainer's bfloat16, which the model would keep for good
        model.__dict__.pop(wrapped, None)
    curves = pd.read_csv(work / "curve.csv")  # as it is read where the model is loaded
    (folder / "training.json").unlink(missing_ok=True)  # an older record never stands beside new weights
    model.eval().save_pretrained(folder)
    paths.write_csv(curve_file, curves)
    model.folder = folder
    stopped_by = "time" if clock.out_of_time else "plateau" if curves.epoch.iloc[-1] < settings.epochs else "epochs"
    best = curves.loc[curves.validation_loss.idxmin()]
    paths.write_json(
        folder / "training.json",
        {
            "settings": plain(settings), "measuring": {k: getattr(settings, k) for k in ABOUT_MEASURING},
            "seconds": clock.seconds, "epochs": float(curves.epoch.iloc[-1]),
            "stopped_by": stopped_by,
            "validation_loss": float(best.validation_loss), "accuracy": float(best.accuracy),
            "sent_sim_seconds": float(curves.sent_sim_seconds.max()),
            "data_hash": data_hash, "encoder_hash": encoder_hash,
            "train_headlines": len(material.states["train"]),
            "added_sentences": len(train_set) - len(material.states["train"]),
        },
    )  # fmt: skip
    shutil.rmtree(work, ignore_errors=True)
    paths.log_line(run, f"{name} done in {clock.seconds / 60:.1f} min")
    return model, curves


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m invlib.training", description="Train rows of the study by themselves."
    )
    parser.add_argument("--preset", default="auto")
    parser.add_argument("--row", action="append", help="<row id>_<D>, repeatable; default: every row of the preset")
    parser.add_argument("--run", default=None, help="folder or name under runs/")
    parser.add_argument("--data", default=None)
    args = parser.parse_args(argv)
    try:
        train_rows(args)
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


def train_rows(args: argparse.Namespace) -> None:
    """What the command line asks for: the rows named, or all of the preset, one after another."""
    settings = load_preset(args.preset, data=args.data, rows=args.row and " ".join(args.row))
    hidden_size = load_encoder(settings.encoder).hidden_size
    names = row_names(settings, hidden_size)
    rows = [select_row(settings, name) for name in names]  # what is wrong with the last is said before the first
    with torch.device("meta"):  # shapes alone
        for row in rows:
            InvertibleSentenceModel(model_config(row, hidden_size))
    material = load_material(settings)
    for row in rows:
        _, curves = train(row, args.run, material)
        print(curves.tail(1).to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
