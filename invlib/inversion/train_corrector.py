"""Training a corrector: an inverter that learns to go from a near text to the true one.

    python -m invlib.inversion --preset study --encoder NAME --run mine

trains the inverter, where the run has none, and goes on with its corrector. The corrector starts from the inverter's
weights, and learns from the hypotheses of corrections.py.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import PrinterCallback

from invlib import paths
from invlib.device import device
from invlib.encoders.material import Material
from invlib.encoders.recombined import Recombined
from invlib.evaluation.run_results import INVERTER
from invlib.inversion.candidates import embed, propose
from invlib.inversion.corrections import Corrections, FreshLengths, Refresh, collate_corrections
from invlib.measures.changed_vectors import with_noise
from invlib.measures.similarity import unit
from invlib.measures.text import bleu
from invlib.models.config import InvertibleConfig
from invlib.models.model import InvertibleSentenceModel
from invlib.settings import Settings, select_row
from invlib.training.callbacks import Clock, Curve
from invlib.training.losses import nearest_pieces, reconstruction_loss
from invlib.training.record import FILE, TrainingRecord, identity_of
from invlib.training.resume import ResumableTraining
from invlib.training.train import train
from invlib.training.trainer import TimedTrainer, random_states_kept, stopped_by, training_arguments
from invlib.training.vector_noise import perturb

ALONE = 4  # every so many steps no hypothesis is read, so that the first text is not unlearned
CHECKED, CHECKED_ROUNDS = 300, 3  # validation headlines after each epoch, and rounds of correction


def weights_hash(model: InvertibleSentenceModel) -> str:
    """12 hex digits over a model's weights: those of another inverter make another corrector."""
    digest = hashlib.sha256()
    for _, tensor in sorted(model.state_dict().items()):
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]


class CorrectorTrainer(TimedTrainer):
    """The Trainer for a correcting decoder; its evaluation inverts validation headlines and corrects them greedily."""

    def __init__(self, *args, settings: Settings, **kwargs):
        super().__init__(*args, falling=settings.schedule == "cosine", **kwargs)
        self.settings, words = settings, self.model.encoder.word_embeddings
        self.hard_negatives = nearest_pieces(words, settings.hard_negatives) if settings.hard_negatives else None

    def _get_train_sampler(self, train_dataset=None):
        return FreshLengths(self.args.train_batch_size, train_dataset or self.train_dataset)

    def compute_loss(self, model, inputs, return_outputs=False, **_):
        batch = {key: inputs[key] for key in ("input_ids", "attention_mask", "reference")}
        if self.settings.vector_noise:  # an attacker on vectors that somebody has protected with noise
            batch["reference"] = perturb(batch["reference"], self.settings.vector_noise, 0.0, inputs["real"])
        hypothesis = None
        if self.state.global_step % ALONE:
            hypothesis = self.model.read_hypothesis(inputs["hypothesis_ids"], inputs["hypothesis_mask"])
        output = model(**batch, hypothesis=hypothesis)
        loss = reconstruction_loss(model, output, self.settings.sampled_negatives, self.hard_negatives)
        return (loss, output) if return_outputs else loss

    def evaluate(self, ignore_keys=None):
        texts = [tuple(row[1:-1]) for row in self.eval_dataset.ids()]
        with self.clock.paused():
            figures = corrected_greedily(self.model.eval(), texts, CHECKED_ROUNDS, self.settings.vector_noise)
        result = {"eval_loss": 1 - figures[-1]["cosine"], "rounds": figures}
        self.log({"eval_loss": result["eval_loss"]})
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, result)
        return result


@torch.no_grad()
def corrected_greedily(
    model: InvertibleSentenceModel, texts: Sequence[tuple[int, ...]], rounds: int, noise: float = 0.0
) -> list[dict]:
    """How near the likeliest text is to each text's vector, at first and after each round of correction.

    One dict a round: cosine (mean), exact (share), bleu. A correction counts only where its cosine is higher. noise: on
    the vectors, in standard deviations of each number.
    """
    target = embed(model, texts)
    if noise:
        target = unit(with_noise(target, target.std(0), noise))
    z = torch.from_numpy(target).to(model.device)
    best = [row[0] for row in propose(model, z)]
    cosine = (embed(model, best) * target).sum(1)
    figures = [summed_up(model, texts, best, cosine)]
    for _ in range(rounds):
        new = [row[0] for row in propose(model, z, best)]
        theirs = (embed(model, new) * target).sum(1)
        best = [b if t > c else a for a, b, c, t in zip(best, new, cosine, theirs, strict=True)]
        cosine = np.maximum(cosine, theirs)
        figures.append(summed_up(model, texts, best, cosine))
    return figures


def summed_up(model, texts, found, cosine) -> dict:
    exact = np.mean([a == b for a, b in zip(texts, found, strict=True)])
    return {"cosine": float(cosine.mean()), "exact": float(exact), "bleu": bleu(model.text(found), model.text(texts))}


class RoundsCurve(Curve):
    """The curve of a corrector: cosine, exact and BLEU at first and after each round of correction."""

    def on_evaluate(self, args, state, control, metrics=None, **_):
        row = self.reached(state)
        for k, figures in enumerate(metrics["rounds"]):
            row |= {f"{name}_{k}": value for name, value in figures.items()}
        row["validation_loss"] = metrics["eval_loss"]
        first, last = metrics["rounds"][0], metrics["rounds"][-1]
        self.add(
            state, row, f"loss {row['train_loss'] or 0:.3f} cosine "
            f"{first['cosine']:.3f} -> {last['cosine']:.3f}, BLEU {first['bleu']:.1f} -> {last['bleu']:.1f}, exact "
            f"{first['exact']:.3f} -> {last['exact']:.3f}",
        )  # fmt: skip


def as_corrector(inverter: InvertibleSentenceModel, settings: Settings) -> InvertibleSentenceModel:
    """The inverter with a decoder that can read a hypothesis; what reads it has not learned anything yet."""
    values = {name: getattr(inverter.config, name) for name in inverter.config.__annotations__}
    model = InvertibleSentenceModel(InvertibleConfig(**values | {"decoder": "correcting", "dropout": settings.dropout}))
    model.load_state_dict(inverter.state_dict(), strict=False)
    model.use_encoder(inverter.encoder)
    return model.to(device())


SHIPPED = paths.DATA / "models" / INVERTER  # for all-MiniLM-L6-v2


def find_inverter(
    settings: Settings, run: str | Path | None, material: Material
) -> tuple[InvertibleSentenceModel, str]:
    """The inverter of a run's encoder, with its corrector, and whose it is: "this run's" or "the repository's".

    It is trained where `own_inverter` is set. FileNotFoundError where the run has none and the repository's is for
    another encoder.
    """
    name = f"mean_decoder_{material.encoder.hidden_size}"
    corrector = select_row(settings, f"{name}_corrector")
    if settings.own_inverter:
        inverter, _ = train(select_row(settings, f"{name}_inverter"), run, material, purpose="ablation")
        return train_corrector(corrector, inverter, run, material)[0], "this run's"
    folder = paths.run_folder(run) / "models" / corrector.name
    own = (folder / FILE).is_file()
    model = InvertibleSentenceModel.from_pretrained(folder if own else SHIPPED)
    try:
        model.use_encoder(material.encoder)
    except ValueError as error:
        raise FileNotFoundError(
            f"no inverter for encoder {material.encoder.name!r} in {folder.parent}; train one: python -m "
            f"invlib.inversion --encoder {material.encoder.name} --run NAME, or set own_inverter=True"
        ) from error
    return model, "this run's" if own else "the repository's"


def train_corrector(
    settings: Settings, inverter: InvertibleSentenceModel, run: str | Path | None, material: Material
) -> tuple[InvertibleSentenceModel, pd.DataFrame]:
    """Train the corrector of an inverter; returns the best by validation cosine, and its curve.

    settings: those of the corrector, a variant of its own. Leaves what `train` leaves, and goes on as it does.
    """
    s, run = settings, paths.run_folder(run)
    folder, curve_file = run / "models" / s.name, run / "curves" / f"{s.name}.csv"
    identity = identity_of(s, material.corpus.data_hash, f"{material.encoder.hash} {weights_hash(inverter)}")
    training = ResumableTraining(folder, identity)
    if training.done:
        return InvertibleSentenceModel.from_pretrained(folder), pd.read_csv(curve_file)
    with training, random_states_kept():
        torch.manual_seed(s.seed)
        model, real = as_corrector(inverter, s), material.dataset("train", layers=()).ids()
        n = min(s.corrected_texts, 4 * len(real))
        made = Recombined(real, material.encoder, 4 * len(real), s.seed + 1, s.max_length)
        corrections = Corrections(real, made, n, s.seed, s.corrected_passes, s.own_hypotheses)
        clock = Clock(s.name, s.minutes, run, training.work / "clock.json")
        curve = RoundsCurve(clock, training.work / "curve.csv")
        trainer = CorrectorTrainer(
            model=model, settings=s, clock=clock, data_collator=collate_corrections, train_dataset=corrections,
            eval_dataset=material.dataset("validation", CHECKED, ()), callbacks=[Refresh(corrections), clock, curve],
            args=training_arguments(
                s, s.steps, training.work, len(corrections), device(),
                remove_unused_columns=False, label_names=["input_ids"],
            ),
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        paths.log_line(run, f"{s.name} starts: {model.n_trainable():,} trainable parameters, {n:,} texts an epoch")
        trainer.train(resume_from_checkpoint=training.checkpoint_of(trainer.model))
        trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        curves = pd.read_csv(curve.file)
        best = curves.loc[curves.validation_loss.idxmin()]
        record = TrainingRecord(
            identity, clock.seconds, float(curves.epoch.iloc[-1]), stopped_by(trainer), float(best.validation_loss),
            None, steps=trainer.state.global_step, measuring=s.values("run", "measuring", "language_model"),
            train_headlines=len(real), purpose="ablation",
        )  # fmt: skip
        training.finish(model.eval().save_pretrained, record, curves, curve_file)
    model.folder = folder
    return model, curves
