"""The project's own small causal language model: trained on headlines, resumed, and found again."""

import dataclasses
import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import EarlyStoppingCallback, PrinterCallback

from invlib import paths
from invlib.data.headlines import Corpus
from invlib.device import device
from invlib.encoders.frozen import FrozenEncoder
from invlib.encoders.hub import quiet_loading
from invlib.language_models.frozen import FrozenLM, load_causal_lm, unconditional_scores
from invlib.language_models.own_network import (
    LanguageModelSettings,
    fresh_model,
    language_model_settings,
    untrained_language_model,
)
from invlib.settings import Settings
from invlib.training.callbacks import Clock
from invlib.training.losses import draw_candidates
from invlib.training.record import Identity, TrainingRecord
from invlib.training.resume import ResumableTraining
from invlib.training.trainer import TimedTrainer, random_states_kept, stopped_by, training_arguments


def load_language_models(settings: Settings, run: str | Path | None, data_hash: str) -> dict[str, FrozenLM]:
    """The frozen language models of a run by name, the main one first.

    They are the run's own (notebook 03 trains them), or the one that `language_model` names: a hub name or a folder.
    FileNotFoundError where there is none, ValueError where one was trained on other headlines or another split.
    """
    if settings.language_model != "own":
        return {Path(settings.language_model).name: load_causal_lm(settings.language_model)}
    folder = paths.find_run(run, needs="language_models") / "language_models"
    records = {own.name: TrainingRecord.find(folder / own.name) for own in language_model_settings(settings)}
    if missing := [name for name, record in records.items() if record is None]:
        raise FileNotFoundError(
            f"no {', '.join(missing)} in {folder}; notebooks/03_training.ipynb trains the run's own language models, "
            "or name another: language_model = 'EleutherAI/pythia-160m'"
        )
    for name, record in ((name, record) for name, record in records.items() if record is not None):
        seed = record.identity.settings["seed"]
        if (seed, record.identity.data_hash) != (settings.seed, data_hash):
            raise ValueError(
                f"{folder / name} was trained on other headlines (seed {seed}, data hash {record.identity.data_hash}; "
                f"here seed {settings.seed}, {data_hash}), so its training may have seen this run's test headlines; "
                "run notebooks/03_training.ipynb with these settings into a run of its own"
            )
    return {name: load_causal_lm(str(folder / name)) for name in records}


def find_language_models(
    settings: Settings, run: str | Path | None, corpus: Corpus, encoder: FrozenEncoder
) -> tuple[dict[str, FrozenLM], str]:
    """The frozen language models of a notebook by name, the main one first, and whose they are, in words.

    They are those of `load_language_models`. Where nobody named a run and none has any, they are networks of the same
    shape before their training: one vector steers them as well (notebook 09, section 3).
    """
    if settings.language_model == "own" and paths.unmade(run, "language_models"):
        networks = [untrained_language_model(own, encoder) for own in language_model_settings(settings)]
        words = "NO RUN on this machine, so these are UNTRAINED networks of the study's shape, which have read no text"
        return {network.name: network for network in networks}, words
    trained = "this workbook's own, small, trained on headlines alone"
    whose = trained if settings.language_model == "own" else "from outside"
    return load_language_models(settings, run, corpus.data_hash), whose


def pack_blocks(ids: Sequence[Sequence[int]], block: int) -> Tensor:
    """Texts one after another in blocks, (N, block) int64: [CLS] text [SEP] [CLS] text [SEP] ...

    Each block begins with a text's first token. A block's last text is cut where the block ends, and an incomplete
    last block is left out. Texts that fill no block make one shorter block.
    """
    blocks: list[list[int]] = []
    current: list[int] = []
    for row in ids:
        current += row
        if len(current) >= block:
            blocks.append(current[:block])
            current = []
    return torch.tensor(blocks or [current], dtype=torch.int64)


class LanguageModelTrainer(TimedTrainer):
    """The Trainer with a learning rate that falls over its steps, and single headlines for its evaluation."""

    def __init__(self, *args, headlines: list[list[int]], bos_token_id: int, sampled_negatives: int = 0, **kwargs):
        super().__init__(*args, falling=True, **kwargs)
        self.headlines, self.bos_token_id, self.sampled_negatives = headlines, bos_token_id, sampled_negatives

    def compute_loss(self, model, inputs, return_outputs=False, **_):
        """Mean cross-entropy of the next tokens, nats, over a sample of the vocabulary or (0) over all of it."""
        if not self.sampled_negatives:
            return super().compute_loss(model, inputs, return_outputs)
        states = model.base_model(input_ids=inputs["input_ids"][:, :-1], use_cache=False).last_hidden_state
        labels = inputs["labels"][:, 1:].flatten()
        table = model.get_output_embeddings().weight
        candidates, correction = draw_candidates(labels, len(table), self.sampled_negatives)
        logits = (states.flatten(0, 1) @ table[candidates].T).float() + correction
        loss = F.cross_entropy(logits, torch.searchsorted(candidates, labels))
        return (loss, {}) if return_outputs else loss

    def evaluate(self, ignore_keys=None):
        """Cross-entropy (nats a token) and next-token accuracy on the validation headlines, each by itself."""
        self.model.eval()
        scores = unconditional_scores(self.model, self.headlines, self.bos_token_id)
        result = {
            "eval_loss": float(scores.nats.sum() / scores.tokens.sum()),
            "eval_accuracy": float(scores.correct.sum() / scores.tokens.sum()),
            "minutes": self.clock.seconds / 60,
        }
        self.log(result)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, result)
        return result

    def _save(self, output_dir=None, state_dict=None):
        """A checkpoint with the weights' names in memory.

        save_pretrained writes GPT-NeoX's head under its older name, and the Trainer would not find it.
        """
        self.model.save_pretrained(output_dir, state_dict=state_dict, save_original_format=False)


def train_language_model(
    settings: LanguageModelSettings, corpus: Corpus, encoder: FrozenEncoder, run: str | Path | None = None
) -> tuple[FrozenLM, pd.DataFrame]:
    """Train the project's own causal LM on the training headlines; returns the best by validation loss, and its curve.

    Leaves <run>/language_models/<name>/ (a folder that transformers loads, with the training's record) and
    <run>/curves/<name>.csv. A model that was trained with the same settings, headlines and vocabulary is loaded
    instead; an interrupted training goes on after its last epoch.
    """
    run = paths.run_folder(run)
    folder, curve_file = run / "language_models" / settings.name, run / "curves" / f"{settings.name}.csv"
    vocabulary = hashlib.sha256(str(sorted(encoder.tokenizer.get_vocab().items())).encode()).hexdigest()[:12]
    training = ResumableTraining(folder, Identity(dataclasses.asdict(settings), corpus.data_hash, vocabulary))
    if training.done:
        return load_causal_lm(str(folder)), pd.read_csv(curve_file)
    train_ids, n_cut = encoder.cut_ids(corpus.splits["train"]["text"], settings.max_length)
    with training, random_states_kept():
        trainer = build_trainer(settings, train_ids, corpus, encoder, run, training.work)
        model, clock = trainer.model, trainer.clock
        tokens = sum(item["input_ids"].numel() for item in trainer.train_dataset)
        about = f"{model.num_parameters():,} parameters, {tokens:,} tokens, {n_cut} headlines cut"
        paths.log_line(run, f"{settings.name} starts: {about}")
        with quiet_loading():
            trainer.train(resume_from_checkpoint=training.checkpoint_of(model))
        curve = curve_of(trainer.state.log_history)
        best = curve.loc[curve.validation_loss.idxmin()]
        record = TrainingRecord(
            training.identity, clock.seconds, float(curve.epoch.iloc[-1]), stopped_by(trainer),
            float(best.validation_loss), float(best.accuracy), steps=trainer.state.global_step,
            train_headlines=len(train_ids), cut_headlines=n_cut, tokens=tokens,
            parameters=model.num_parameters(), **trainer.throughput(),
        )  # fmt: skip

        def save(folder: Path) -> None:
            model.eval().save_pretrained(folder)
            shutil.copymode(folder / "config.json", folder / "model.safetensors")  # which its owner alone could read
            encoder.tokenizer.save_pretrained(folder)

        training.finish(save, record, curve, curve_file)
    load_causal_lm.cache_clear()  # it may hold an older model of this folder
    paths.log_line(
        run,
        f"{settings.name} done in {record.seconds / 60:.1f} min, {record.steps} steps, "
        f"validation loss {record.validation_loss:.3f} accuracy {record.accuracy:.3f}",
    )
    return load_causal_lm(str(folder)), pd.read_csv(curve_file)  # as they are read when the model is loaded


def build_trainer(
    settings: LanguageModelSettings, train_ids: list[list[int]], corpus: Corpus, encoder: FrozenEncoder, run: Path,
    work: Path,
) -> LanguageModelTrainer:  # fmt: skip
    """The Trainer of a fresh model on the training headlines' ids, with its clock; its files are in `work`."""
    validation = list(corpus.splits["validation"]["text"])[: settings.n_validation]
    headlines = [ids[1:] for ids in encoder.cut_ids(validation, settings.max_length)[0]]
    blocks = pack_blocks(train_ids, settings.block)
    clock = Clock(settings.name, settings.minutes, run, work / "clock.json")
    trainer = LanguageModelTrainer(
        model=fresh_model(settings, encoder), clock=clock, bos_token_id=encoder.bos_token_id, headlines=headlines,
        sampled_negatives=settings.sampled_negatives,
        train_dataset=[{"input_ids": block, "labels": block} for block in blocks], eval_dataset=headlines,
        callbacks=[clock, EarlyStoppingCallback(settings.stop_patience)],
        args=training_arguments(
            settings, settings.steps, work, len(blocks), device(), include_num_input_tokens_seen="all"
        ),
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)  # the curve and the run's log have its lines
    return trainer


def curve_of(history: list[dict]) -> pd.DataFrame:
    """The Trainer's log, one line an epoch: epoch, step, minutes, train_loss, validation_loss, accuracy."""
    columns = {"loss": "train_loss", "eval_loss": "validation_loss", "eval_accuracy": "accuracy"}
    log = pd.DataFrame(history).reindex(columns=["epoch", "step", "minutes", *columns])
    log["loss"] = log["loss"].ffill()
    return log.dropna(subset="eval_loss").rename(columns=columns).reset_index(drop=True)
