"""Training: transformers' Trainer over cached token states.

    python -m invlib.training --preset study --row att_pool_768 --run study

trains one row by itself and goes on where a killed run stopped.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    set_seed,
)

from invlib import paths
from invlib.encoders.batches import collate
from invlib.encoders.frozen import load_encoder
from invlib.encoders.material import Material, load_material
from invlib.models.model import InvertibleSentenceModel, build_model, model_config
from invlib.settings import Settings, device, load_preset, row_names, select_row
from invlib.training.callbacks import Clock, EpochCurve
from invlib.training.record import ABOUT_MEASURING, is_trained, same_training, training_fields
from invlib.training.trainer import InvertibleTrainer, keep_freed_memory, newest_whole_checkpoint, training_arguments


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
    if is_trained(folder, settings, data_hash, encoder_hash):
        return InvertibleSentenceModel.from_pretrained(folder), pd.read_csv(curve_file)
    keep_freed_memory()
    set_seed(settings.seed)
    model = build_model(settings, material.encoder)
    model.decoder.vocabulary.start_at_frequencies(material.label_counts())
    if settings.row == "hybrid":
        model.pooling.fit(np.asarray(material.states["train"].sentence))
    train_set = material.training_set(model.reads_layers, settings.random_sentence_ratio, settings.seed)
    begun = work / "settings.json"
    if begun.exists() and not same_training(paths.read_json(begun), settings, data_hash, encoder_hash):
        shutil.rmtree(work)  # begun with other settings or headlines
    checkpoint = newest_whole_checkpoint(work)
    if checkpoint is None:
        shutil.rmtree(work, ignore_errors=True)
    paths.write_json(
        begun, {"settings": training_fields(settings), "data_hash": data_hash, "encoder_hash": encoder_hash}
    )
    where = device()
    minutes = settings.no_vector_minutes if settings.row == "no_vector" else settings.minutes
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
            "settings": training_fields(settings), "measuring": {k: getattr(settings, k) for k in ABOUT_MEASURING},
            "seconds": clock.seconds, "epochs": float(curves.epoch.iloc[-1]),
            "stopped_by": stopped_by,
            "validation_loss": float(best.validation_loss), "accuracy": float(best.accuracy),
            "sent_sim_seconds": float(curves.sent_sim_seconds.max()),
            "data_hash": data_hash, "encoder_hash": encoder_hash,
            "train_headlines": len(material.states["train"]),
            "random_sentences": len(train_set) - len(material.states["train"]),
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
