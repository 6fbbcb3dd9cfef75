"""The project's own small causal language model: a GPT-NeoX over the encoder's word pieces, trained on headlines."""

import dataclasses
import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import EarlyStoppingCallback, GPTNeoXConfig, GPTNeoXForCausalLM, PrinterCallback, set_seed

from invlib import paths
from invlib.data.headlines import Corpus
from invlib.encoders.frozen import FrozenEncoder
from invlib.encoders.hub import quiet_loading
from invlib.language_models.frozen import FrozenLM, load_causal_lm, unconditional_scores
from invlib.settings import Settings, device
from invlib.training.callbacks import Clock
from invlib.training.losses import draw_candidates
from invlib.training.trainer import TimedTrainer, keep_freed_memory, newest_whole_checkpoint, training_arguments


@dataclass(frozen=True)
class LanguageModelSettings:
    """The shape of the project's own language model, and how it is trained."""

    width: int = 512  # H, which is also the size of a crammed vector
    n_layer: int = 3
    head_size: int = 32
    block: int = 256  # tokens of a packed block, the longest context in training
    n_positions: int = 512  # room for the vectors and for a longer text than a block
    max_length: int = 40  # a training headline is cut here, [CLS] and [SEP] included
    minutes: float | None = 3  # at most so long; the rate falls to 0 in this time
    epochs: int = 40
    stop_patience: int = 2  # epochs without a better validation loss before training stops
    batch_size: int = 4  # blocks a step
    learning_rate: float = 4e-4
    weight_decay: float = 0.01
    weight_gain: float = 1.0  # a weight starts with this standard deviation, over the root of its layer's inputs
    query_bias_std: float = 4.0
    input_std: float = 4e-4  # standard deviations of the two frozen word tables
    output_std: float = 0.16
    parallel_residual: bool = False  # True: a layer's MLP does not read what its attention brought
    rope_theta: float = 100.0
    sampled_negatives: int = 3000  # random word pieces in the training loss beside the batch's own; 0 = all
    n_validation: int | None = 1000  # headlines measured after each epoch; None = all
    seed: int = 0
    variant: str | None = None

    @property
    def name(self) -> str:
        return f"lm_{self.width}" + (f"_{self.variant}" if self.variant else "")


def language_model_settings(settings: Settings) -> list[LanguageModelSettings]:
    """What a run's settings say of its own language models, one for each of `lm_widths`; the first is the main one."""
    return [
        LanguageModelSettings(
            width=width,
            max_length=settings.max_length,
            minutes=settings.lm_minutes,
            seed=settings.seed,
            n_validation=settings.n_validation,
            sampled_negatives=settings.sampled_negatives,
        )  # fmt: skip
        for width in settings.lm_widths
    ]


def load_language_models(settings: Settings, run: str | Path | None, data_hash: str) -> dict[str, FrozenLM]:
    """The frozen language models of a run by name, the main one first.

    The run's own (03 trains them), or the one that `language_model` names: a hub name or a folder. FileNotFoundError
    where there is none, ValueError where one of its own was trained on other headlines or another split of them.
    """
    if settings.language_model != "own":
        return {Path(settings.language_model).name: load_causal_lm(settings.language_model)}
    names = [own.name for own in language_model_settings(settings)]
    folder = paths.find_run(run, needs="language_models") / "language_models"
    if missing := [name for name in names if not (folder / name / "training.json").exists()]:
        raise FileNotFoundError(
            f"no {', '.join(missing)} in {folder}; notebooks/03_training.ipynb trains the run's own language models, "
            "or name another: language_model = 'EleutherAI/pythia-160m'"
        )
    for name in names:
        record = paths.read_json(folder / name / "training.json")
        if record["settings"]["seed"] != settings.seed or record["data_hash"] != data_hash:
            raise ValueError(
                f"{folder / name} was trained on other headlines (seed {record['settings']['seed']}, data hash "
                f"{record['data_hash']}; here seed {settings.seed}, {data_hash}): what is held out here "
                "may have been trained on; run notebooks/03_training.ipynb with these settings into a run of its own"
            )
    return {name: load_causal_lm(str(folder / name)) for name in names}


def pack_blocks(ids: Sequence[Sequence[int]], block: int) -> np.ndarray:
    """Texts side by side in blocks, (N, block) int64: [CLS] text [SEP] [CLS] text [SEP] ...

    Each block begins with a text's first token; the last text of a block is cut where the block ends, and the last
    block, which is not full, is left out. Texts that fill no block are one block, as long as they are.
    """
    blocks, current = [], []
    for row in ids:
        current += row
        if len(current) >= block:
            blocks.append(current[:block])
            current = []
    return np.array(blocks or [current], dtype=np.int64)


class Blocks(torch.utils.data.Dataset):
    """Packed blocks, (N, block), as the Trainer reads them: a causal LM's labels are its inputs."""

    def __init__(self, blocks: np.ndarray):
        self.blocks = torch.from_numpy(blocks)

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, k: int) -> dict[str, Tensor]:
        return {"input_ids": self.blocks[k], "labels": self.blocks[k]}


class LanguageModelTrainer(TimedTrainer):
    """The Trainer with a rate that falls in time, and single headlines for its evaluation."""

    def __init__(self, *args, headlines: list[list[int]], bos_token_id: int, sampled_negatives: int = 0, **kwargs):
        super().__init__(*args, falling=True, **kwargs)
        self.headlines, self.bos_token_id, self.sampled_negatives = headlines, bos_token_id, sampled_negatives

    def compute_loss(self, model, inputs, return_outputs=False, **_):
        """Mean cross-entropy of the next tokens, nats; over a sample of the word pieces, as the other models'."""
        if not self.sampled_negatives:
            return super().compute_loss(model, inputs, return_outputs)
        states = model.base_model(input_ids=inputs["input_ids"][:, :-1], use_cache=False).last_hidden_state
        labels = inputs["labels"][:, 1:].flatten()
        table = model.get_output_embeddings().weight
        candidates, correction = draw_candidates(labels, len(table), self.sampled_negatives)
        logits = (states.flatten(0, 1) @ table[candidates].T).float() + correction
        loss = F.cross_entropy(logits, torch.searchsorted(candidates, labels))
        return (loss, {}) if return_outputs else loss

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        """Cross-entropy (nats a token) and next-token accuracy on the validation headlines, each by itself."""
        self.model.eval()
        found = unconditional_scores(self.model, self.headlines, self.bos_token_id)
        result = {
            f"{metric_key_prefix}_loss": float(found.nats.sum() / found.tokens.sum()),
            f"{metric_key_prefix}_accuracy": float(found.correct.sum() / found.tokens.sum()),
            "minutes": self.clock.seconds / 60,
        }
        self.log(result)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, result)
        return result

    def _save(self, output_dir=None, state_dict=None):
        """A checkpoint with the names that the weights have in memory.

        save_pretrained writes GPT-NeoX's head under its older name, and what the Trainer loads then lacks it.
        """
        self.model.save_pretrained(output_dir, state_dict=state_dict, save_original_format=False)


def fresh_model(settings: LanguageModelSettings, encoder: FrozenEncoder) -> GPTNeoXForCausalLM:
    """An untrained GPT-NeoX over the encoder's word pieces, from a start that leaves it movable by one vector.

    ValueError where its heads don't fill the width.
    """
    if settings.width % settings.head_size:
        raise ValueError(
            f"a language model {settings.width} wide can't have heads of {settings.head_size}; give a multiple of that"
        )
    config = GPTNeoXConfig(
        vocab_size=encoder.vocab_size, hidden_size=settings.width, num_hidden_layers=settings.n_layer,
        num_attention_heads=settings.width // settings.head_size, intermediate_size=4 * settings.width,
        max_position_embeddings=settings.n_positions, bos_token_id=encoder.bos_token_id,
        eos_token_id=encoder.eos_token_id, pad_token_id=encoder.pad_token_id, use_cache=True,
        use_parallel_residual=settings.parallel_residual,
        rope_parameters={
            "rope_type": "default", "rope_theta": settings.rope_theta, "partial_rotary_factor": 1.0
        },
    )  # fmt: skip
    model = GPTNeoXForCausalLM(config)
    init_layers(model, settings.weight_gain, settings.query_bias_std)
    init_tables(model, encoder.word_embeddings.float().cpu(), settings.input_std, settings.output_std)
    return model


@torch.no_grad()
def init_layers(model: GPTNeoXForCausalLM, weight_gain: float, query_bias_std: float) -> None:
    """Start the layers so that one vector before a text can steer what each place says.

    Weights of standard deviation weight_gain / sqrt(inputs): a layer's output is about as large as its input, and
    attention prefers one place to another. The queries' bias is a part of each query that is the same whatever the
    word. Rotated by its place it meets the vector's one key at another angle, so that each place reads more or less of
    the vector, head by head: a vector's words have to be bound to places.
    """
    for layer in model.gpt_neox.layers:
        for linear in (m for m in layer.modules() if isinstance(m, torch.nn.Linear)):
            linear.weight.normal_(0, weight_gain * linear.in_features**-0.5)
        heads = layer.attention.query_key_value.bias.view(model.config.num_attention_heads, 3, -1)
        heads[:, 0].normal_(0, query_bias_std)


@torch.no_grad()
def init_tables(model: GPTNeoXForCausalLM, words: Tensor, input_std: float, output_std: float) -> None:
    """Make the model's two tables the encoder's word embeddings, (V, H), as far as its width goes, and freeze them.

    Their first principal axes; a wider model's further columns are random numbers of the same spread. The input's are
    small, so that what the layers bring counts for more than the word that stands there; the output's large, so that a
    model that is rarely sure can still be made sure. Frozen: minutes are too few to learn 30 522 words, and a step is
    shorter.
    """
    centred = words - words.mean(0)
    axes = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)
    seen = centred @ axes[:, : model.config.hidden_size]
    tables = (model.get_input_embeddings().weight, input_std), (model.get_output_embeddings().weight, output_std)
    for table, std in tables:
        table[:, : seen.shape[1]] = seen / seen.std() * table.std()
        table *= std / table.std()
        table.requires_grad_(False)


def untrained_language_model(settings: LanguageModelSettings, encoder: FrozenEncoder) -> FrozenLM:
    """The control: the network that training begins with. Its layers have read no text; its words are the encoder's."""
    set_seed(settings.seed)
    return FrozenLM(f"{settings.name}, untrained", fresh_model(settings, encoder).to(device()), encoder.tokenizer)


def train_language_model(
    settings: LanguageModelSettings, corpus: Corpus, encoder: FrozenEncoder, run: str | Path | None = None
) -> tuple[FrozenLM, pd.DataFrame]:
    """Train the project's own causal LM on the training headlines; returns the best by validation loss, and its curve.

    Leaves <run>/language_models/<name>/ (a folder that transformers loads, and training.json) and
    <run>/curves/<name>.csv. One that was trained with the same settings, headlines and tokenizer is loaded instead;
    one that was interrupted goes on after its last epoch.
    """
    run = paths.run_folder(run)
    folder, curve_file = run / "language_models" / settings.name, run / "curves" / f"{settings.name}.csv"
    words = hashlib.sha256(str(sorted(encoder.tokenizer.get_vocab().items())).encode())
    identity = {
        "settings": dataclasses.asdict(settings), "data_hash": corpus.data_hash, "words": words.hexdigest()[:12]
    }  # fmt: skip
    if (folder / "training.json").exists():
        done = paths.read_json(folder / "training.json")
        if {k: done[k] for k in identity} == identity:
            return load_causal_lm(str(folder)), pd.read_csv(curve_file)
    keep_freed_memory()
    set_seed(settings.seed)
    work = folder / "checkpoints"
    if (work / "settings.json").exists() and paths.read_json(work / "settings.json") != identity:
        shutil.rmtree(work)  # begun with other settings or headlines
    checkpoint = newest_whole_checkpoint(work)
    if checkpoint is None:
        shutil.rmtree(work, ignore_errors=True)
    paths.write_json(work / "settings.json", identity)

    def ids(split: str, limit: int | None = None) -> list[list[int]]:
        texts = list(corpus.splits[split]["text"])[:limit]
        return encoder.tokenizer(texts, truncation=True, max_length=settings.max_length)["input_ids"]

    train_set = Blocks(pack_blocks(ids("train"), settings.block))
    model, where = fresh_model(settings, encoder), device()
    clock = Clock(settings.name, settings.minutes, run, work / "clock.json")
    args = training_arguments(settings, work, len(train_set), where)
    trainer = LanguageModelTrainer(
        model=model, clock=clock, bos_token_id=encoder.bos_token_id, sampled_negatives=settings.sampled_negatives,
        train_dataset=train_set,
        headlines=[row[1:] for row in ids("validation", settings.n_validation)], eval_dataset=train_set,
        callbacks=[clock, EarlyStoppingCallback(settings.stop_patience)], args=args,
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)  # the curve and the run's log say it
    tokens = train_set.blocks.numel()
    paths.log_line(run, f"{settings.name} starts: {model.num_parameters():,} parameters, {tokens:,} tokens")
    with quiet_loading():
        trainer.train(resume_from_checkpoint=checkpoint)
        (folder / "training.json").unlink(missing_ok=True)  # an older record never stands beside new weights
        model.eval().save_pretrained(folder)
    curve = curve_of(trainer.state.log_history)
    paths.write_csv(curve_file, curve)
    encoder.tokenizer.save_pretrained(folder)
    best = curve.loc[curve.validation_loss.idxmin()]
    stopped_by = "time" if clock.out_of_time else "plateau" if curve.epoch.iloc[-1] < settings.epochs else "epochs"
    done = {
        **identity, "seconds": clock.seconds, "epochs": float(curve.epoch.iloc[-1]), "tokens": tokens,
        "stopped_by": stopped_by,
        "validation_loss": float(best.validation_loss), "accuracy": float(best.accuracy),
        "parameters": model.num_parameters(),
    }  # fmt: skip
    paths.write_json(folder / "training.json", done)
    shutil.rmtree(work, ignore_errors=True)
    load_causal_lm.cache_clear()  # an older model of this name may lie there
    paths.log_line(
        run,
        f"{settings.name} done in {clock.seconds / 60:.1f} min, validation loss {best.validation_loss:.3f} "
        f"accuracy {best.accuracy:.3f}",
    )
    return load_causal_lm(str(folder)), pd.read_csv(curve_file)  # as it is where the model is loaded


def curve_of(history: list[dict]) -> pd.DataFrame:
    """The Trainer's log as one row an epoch: epoch, step, minutes, train_loss, validation_loss, accuracy."""
    rows, loss = [], None
    for entry in history:
        loss = entry.get("loss", loss)
        if "eval_loss" in entry:
            rows.append({
                "epoch": entry["epoch"], "step": entry["step"], "minutes": entry["minutes"], "train_loss": loss,
                "validation_loss": entry["eval_loss"], "accuracy": entry["eval_accuracy"],
            })  # fmt: skip
    return pd.DataFrame(rows)
