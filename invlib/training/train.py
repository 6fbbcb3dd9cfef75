"""Training: transformers' Trainer over cached token states.

    python -m invlib.training --preset study --row att_pool_768 --run study

trains one row by itself and goes on where a killed run stopped. On several cards, or without one on several processes:

    torchrun --nproc-per-node 2 -m invlib.training --preset study --row att_pool_768 --run study
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import EarlyStoppingCallback, PrinterCallback

from invlib import paths
from invlib.device import device
from invlib.encoders.batches import collate
from invlib.encoders.frozen import load_encoder
from invlib.encoders.material import Material, load_material
from invlib.encoders.ranks import is_first, joined, wait_for_all
from invlib.models.model import InvertibleSentenceModel, build_model, model_config
from invlib.rows import ROWS, SIZED
from invlib.settings import Settings, load_preset, row_names, select_row
from invlib.training.callbacks import Clock, EpochCurve
from invlib.training.record import TrainingRecord, identity_of
from invlib.training.resume import ResumableTraining
from invlib.training.trainer import InvertibleTrainer, random_states_kept, stopped_by, training_arguments

OF_THE_PREFIX = ("pooling.components", "decoder.memory.prefix.weight")


def train(
    settings: Settings, run: str | Path | None = None, material: Material | None = None, purpose: str = "study"
) -> tuple[InvertibleSentenceModel, pd.DataFrame]:
    """Train the model that `settings` names; returns the best by validation loss, and its curves.

    Leaves <run>/models/<name>/ (config.json, model.safetensors, training.json) and <run>/curves/<name>.csv. A model
    that was trained with the same settings is loaded instead; one that was interrupted goes on. purpose: "study", or
    "ablation" for a model that belongs to no table but its notebook's own; ValueError where it would take the place of
    one of the tables. An ablation that is asked for as "study" becomes that.
    """
    run = paths.run_folder(run)
    folder, curve_file = run / "models" / settings.name, run / "curves" / f"{settings.name}.csv"
    material = material or load_material(settings)
    identity = identity_of(settings, material.corpus.data_hash, material.encoder.hash)
    training, before = ResumableTraining(folder, identity), TrainingRecord.find(folder)
    if training.done:
        if before and purpose == "study" != before.purpose and is_first():  # tables leave out what is an ablation
            dataclasses.replace(before, purpose=purpose).write(folder)
        return InvertibleSentenceModel.from_pretrained(folder), pd.read_csv(curve_file)
    if before and purpose != "study" == before.purpose:
        raise ValueError(
            f"{folder} has a model of the run's tables that was trained with other settings than this ablation of its "
            "name, which would take its place: move it away, or give the ablation another run"
        )
    with training, random_states_kept():
        trainer, curve = build_trainer(settings, run, material, training.work)
        model, n = trainer.model, len(trainer.train_dataset)
        paths.log_line(run, f"{settings.name} starts: {model.n_trainable():,} trainable parameters, {n:,} sentences")
        trainer.train(resume_from_checkpoint=training.checkpoint_of(trainer.model))
        trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)  # else it would keep the Trainer's bfloat16
        wait_for_all()  # rank 0 has written the curve
        curves = pd.read_csv(curve.file)  # as it is read where the model is loaded
        best, n_real = curves.loc[curves.validation_loss.idxmin()], len(material.states["train"])
        record = TrainingRecord(
            identity, trainer.clock.seconds, float(curves.epoch.iloc[-1]), stopped_by(trainer),
            float(best.validation_loss), float(best.accuracy), steps=trainer.state.global_step,
            measuring=settings.values("run", "measuring", "language_model"), purpose=purpose,
            sent_sim_seconds=float(curves.sent_sim_seconds.max()), train_headlines=n_real,
            random_sentences=round(settings.random_sentence_ratio * n_real),
            cut_headlines=material.states["train"].n_cut, **trainer.throughput(),
        )  # fmt: skip
        training.finish(model.eval().save_pretrained, record, curves, curve_file)
    model.folder = folder
    paths.log_line(run, f"{settings.name} done in {record.seconds / 60:.1f} min, {record.steps} steps")
    return model, curves


def build_trainer(
    settings: Settings, run: Path, material: Material, work: Path
) -> tuple[InvertibleTrainer, EpochCurve]:
    """The Trainer of a fresh model, with its clock and its curve, all of which keep their files in `work`."""
    torch.manual_seed(settings.seed)
    model = build_model(settings, material.encoder)
    model.decoder.vocabulary.start_at_frequencies(material.label_counts())
    if settings.start_from:
        start_from(model, settings.start_from, run)
    if ROWS[model.config.row].fitted:
        model.pooling.fit(np.asarray(material.states["train"].sentence))
    s = settings
    train_set = material.training_set(
        model.reads_layers, s.random_sentence_ratio, s.recombined_ratio, s.seed, s.max_length
    )
    clock = Clock(settings.name, settings.minutes, run, work / "clock.json")
    curve = EpochCurve(clock, work / "curve.csv")  # an older model of this name keeps its own until this one is done
    more = {"remove_unused_columns": False, "label_names": ["input_ids"]}
    more["include_num_input_tokens_seen"] = "non_padding"
    if settings.schedule == "plateau":
        halve = {"factor": 0.5, "patience": settings.plateau_patience}
        more |= {"lr_scheduler_type": "reduce_lr_on_plateau", "lr_scheduler_kwargs": halve}
    if every := settings.evaluate_every:
        more |= {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": every, "save_steps": every}
    steps = settings.no_vector_steps if settings.row == "no_vector" else settings.steps
    trainer = InvertibleTrainer(
        model=model, settings=settings, encoder=material.encoder, clock=clock, data_collator=collate,
        train_dataset=train_set,
        eval_dataset=material.dataset("validation", settings.n_validation, model.reads_layers),
        callbacks=[clock, curve, EarlyStoppingCallback(settings.stop_patience)],
        args=training_arguments(settings, steps, work, len(train_set), device(), **more),
    )  # fmt: skip
    trainer.sent_sim_seconds = curve.rows[-1]["sent_sim_seconds"] if curve.rows else 0.0
    trainer.remove_callback(PrinterCallback)  # the curves and the run's log have its lines
    return trainer, curve


def start_from(model: InvertibleSentenceModel, name: str, run: Path) -> None:
    """Give a fresh model the weights of a trained one, found by name in the run or in data/models, or by folder.

    What reads a prefix of another size starts anew. ValueError where anything else has another shape.
    """
    trained = InvertibleSentenceModel.from_pretrained(name, run)
    weights = trained.state_dict()
    if model.config.prefix_size != trained.config.prefix_size:
        weights = {key: value for key, value in weights.items() if key not in OF_THE_PREFIX}
    try:
        missing, unexpected = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise ValueError(f"{model.config.row} can't start from {name}: {error}") from error
    if unexpected or not set(missing) <= set(OF_THE_PREFIX):
        raise ValueError(f"{model.config.row} can't start from {name}: without {missing}, with {unexpected}")
    paths.log_line(run, f"starts from the weights of {trained.folder}")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m invlib.training", description="Train models of the study by themselves."
    )
    parser.add_argument("--preset", default="auto")
    parser.add_argument("--row", action="append", help="<row id>_<D>, repeatable; default: every model of the preset")
    parser.add_argument("--run", default=None, help="folder or name under runs/")
    parser.add_argument("--data", default=None)
    parser.add_argument("--column", default=None, help="of own data that holds the headlines")
    parser.add_argument("--encoder", default=None, help="minilm, a hub name or a folder")
    parser.add_argument("--seed", type=int, default=None, help="of split, starting weights and batches")
    args = parser.parse_args(argv)
    try:
        with joined():
            train_rows(args)
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


def train_rows(args: argparse.Namespace) -> None:
    """Train the rows named on the command line, or all of the preset, one after another."""
    given = {name: getattr(args, name) for name in ("data", "column", "encoder", "seed")}
    settings = load_preset(args.preset, rows=args.row and " ".join(args.row), **given)
    hidden_size = load_encoder(settings.encoder).hidden_size
    names = row_names(settings, hidden_size)
    rows = [select_row(settings, name) for name in names]  # an error in the last comes before the first is trained
    with torch.device("meta"):  # shapes alone
        for row in rows:
            InvertibleSentenceModel(model_config(row, hidden_size))
    material = load_material(settings)
    for row in rows:
        _, curves = train(row, args.run, material, "ablation" if row.variant == SIZED else "study")
        if is_first():
            print(curves.tail(1).to_string(index=False), flush=True)
