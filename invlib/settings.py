"""A run's settings: one frozen dataclass, filled from notebooks/presets.yaml."""

import dataclasses
import os
import re
from dataclasses import dataclass, field
from typing import get_args

import torch
import yaml

from invlib import paths

LAYERS = ("word", "last")  # of the frozen encoder, that a pooling can read
ROW_IDS = ("rnn", "encoder_only", "cls_decoder", "att_pool", "multi_query", "hybrid", "no_vector")


def setting(default, meaning: str):
    """A field of `Settings` with the sentence that the settings table shows."""
    return field(default=default, metadata={"meaning": meaning})


TUPLES = ("rows", "encoder_layers", "ablations", "lm_widths")  # the fields that hold several names, or widths


@dataclass(frozen=True)
class Settings:
    """One run of the workbook; with `row` and `embedding_dim`, one model of it."""

    preset: str = setting("cpu", "which column of presets.yaml these values come from")
    seed: int = setting(0, "seed of the split, of the starting weights and of the batches")
    data: str | None = setting(None, "where the headlines come from; None = the order in data/README.md")
    allow_synthetic: bool = setting(True, "fall back on the workbook's own synthetic sample, with a warning")
    encoder: str = setting("minilm", "the frozen encoder: minilm (embedded), a hub name or a folder")
    scorers: str = setting("minilm", "who computes BERTScore and paraphrase similarity: minilm or deck")
    rows: tuple[str, ...] = setting((), "the models of this run, as <row id>_<D>")

    row: str | None = setting(None, "the row that is trained: " + ", ".join(ROW_IDS))
    embedding_dim: int | None = setting(None, "D, numbers in the vector")
    variant: str | None = setting(None, "a further word of the name; of a no_vector twin: whose decoder it has")

    max_length: int = setting(40, "longest headline in word pieces, [CLS] and [SEP] included")
    n_headlines: int | None = setting(None, "headlines used in all; None = all")
    n_validation: int | None = setting(None, "validation headlines measured after each epoch; None = all")
    n_generate: int | None = setting(None, "test headlines that are decoded freely; None = all")
    n_search: int = setting(200, "test headlines for the comparison of searches")
    n_bootstrap: int = setting(1000, "resamples of a 95 % interval")

    slots: int = setting(16, "K, the memory tokens that the vector is cut into")
    encoder_layers: tuple[str, ...] = setting(("last",), "the encoder's layers that pooling reads: word, last or both")
    queries: int = setting(32, "learned queries of multi_query and hybrid; each fills one slot of the code")
    numbers_per_piece: int = setting(
        0, "multi_query, hybrid: numbers of the code that one word piece gets at most; 0 = slots"
    )
    position_start: bool = setting(True, "multi_query, hybrid: start each query at one token position")
    prefix_size: int | None = setting(None, "numbers of hybrid's semantic prefix; None = about a third")
    code_weight: float = setting(0.2, "length of hybrid's code, beside its prefix of length 1")
    n_embd: int = setting(256, "width of the decoder; 0 = as wide as the vector")
    n_layer: int = setting(2, "layers of the decoder")
    n_head: int = setting(4, "attention heads of the decoder")
    n_inner: int = setting(1024, "inner width of the decoder's feed-forward layers")
    n_positions: int = setting(64, "positions of the decoder")
    word_embeddings: str = setting("encoder", "decoder's words: the frozen encoder's through a projection, or own")
    dropout: float = setting(0.1, "dropout in the decoder")

    epochs: int = setting(40, "at most this many epochs")
    minutes: float | None = setting(None, "at most this many minutes of training a row")
    no_vector_minutes: float | None = setting(None, "at most this many minutes for a no-vector twin")
    ablation_minutes: float | None = setting(None, "minutes of each run of a notebook's own table, all alike (07 on)")
    ablations: tuple[str, ...] = setting((), "variants of hybrid that notebook 07 trains, ablation_minutes each")
    batch_size: int = setting(64, "headlines a step")
    learning_rate: float = setting(1e-3, "AdamW's starting learning rate")
    weight_decay: float = setting(0.01, "AdamW's weight decay")
    plateau_patience: int = setting(1, "epochs without a better validation loss before the rate is halved")
    stop_patience: int = setting(4, "epochs without a better validation loss before training stops")
    schedule: str = setting("plateau", "plateau: the rate is halved where the loss stands; cosine: down to 0 in time")
    vector_noise: float = setting(0.0, "noise on the vector in training, in standard deviations of each number")
    interpolation_noise_share: float = setting(
        0.0, "share of headlines whose vectors training moves away (vector_noise.py), at its end"
    )
    mixup_share: float = setting(
        0.0, "share of headlines that training mixes with another's, to be said both (interpolation.py)"
    )
    random_sentence_ratio: float = setting(0.0, "sentences of random and swapped word pieces a training headline")
    sampled_negatives: int = setting(3000, "random word pieces in the training loss beside the batch's own; 0 = all")
    hard_negatives: int = setting(0, "nearest word pieces that each of the batch's own brings into the training loss")
    sent_sim_weight: float = setting(0.1, "weight of sent_sim_loss; 0 = without")
    sent_sim_every: int = setting(32, "sent_sim_loss is computed at each k-th step")
    sent_sim_size: int = setting(16, "headlines of the batch that sent_sim_loss reads")
    bertscore_every_epoch: int = setting(64, "validation headlines decoded for the BERTScore curve; 0 = none")

    language_model: str = setting("own", "frozen causal LM of 09 and 10: own (trained in 03), a hub name, a folder")
    lm_widths: tuple[int, ...] = setting((512,), "widths of the run's own language models; the first is the main one")
    lm_minutes: float | None = setting(None, "at most this many minutes of training for each of them")
    n_fitted: int = setting(100, "test headlines whose vectors are fitted to the language model (09, 10)")
    fitting_steps: int = setting(5000, "at most this many steps of AdamW for each of them")

    @property
    def name(self) -> str:
        """The model's name: `<row id>_<D>`, with `_<variant>` where there are several."""
        if self.row is None or self.embedding_dim is None:
            raise ValueError(
                "these settings name no model: give row= and embedding_dim=, or select_row(settings, name)"
            )
        return f"{self.row}_{self.embedding_dim}" + (f"_{self.variant}" if self.variant else "")

    def table(self):
        """The settings as a pandas table (setting, value, meaning), for the head of a notebook."""
        import pandas as pd

        rows = [(f.name, getattr(self, f.name), f.metadata["meaning"]) for f in dataclasses.fields(self)]
        rows = [r for r in rows if r[0] not in ("row", "embedding_dim", "variant") or r[1] is not None]
        return pd.DataFrame(rows, columns=["setting", "value", "meaning"])


def auto_preset() -> str:
    """INVLIB_PRESET where it is set, else gpu where torch finds CUDA, else cpu."""
    return os.environ.get("INVLIB_PRESET") or ("gpu" if torch.cuda.is_available() else "cpu")


def read_presets() -> dict:
    return yaml.safe_load((paths.NOTEBOOKS / "presets.yaml").read_text(encoding="utf-8"))


def load_preset(preset: str | None = "auto", **overrides) -> Settings:
    """Settings of a preset of notebooks/presets.yaml with single values changed; overrides that are None are ignored.

    Raises ValueError for an unknown preset, an unknown setting, row or a value of the wrong kind.
    """
    presets = read_presets()
    name = auto_preset() if preset in (None, "auto") else preset
    choices = [p for p in presets if p not in ("common", "runner")]
    if name not in choices:
        raise ValueError(f"unknown preset {name!r}; choose one of {', '.join(choices)}, or auto")
    values = {**presets.get("common", {}), **presets[name], "preset": name}
    values.pop("per_row", None)  # select_row reads it
    given = {k: os.fspath(v) if isinstance(v, os.PathLike) else v for k, v in overrides.items() if v is not None}
    if "row" in given and "embedding_dim" in given:
        values |= row_values(name, given["row"], given["embedding_dim"], given.get("variant"))
    values |= given
    known = {f.name for f in dataclasses.fields(Settings)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"unknown setting {', '.join(unknown)}; settings are {', '.join(sorted(known))}")
    settings = Settings(**with_tuples(values))
    check_kinds(settings)
    check_values(settings)
    if settings.row is not None and settings.row not in ROW_IDS:
        raise ValueError(f"unknown row {settings.row!r}; rows are {', '.join(ROW_IDS)}")
    if settings.scorers not in ("minilm", "deck"):
        raise ValueError(f"unknown scorers {settings.scorers!r}; choose minilm or deck")
    return settings


def with_tuples(values: dict) -> dict:
    """The values with lists, and names in one string, as the tuples that `Settings` holds."""
    lists = {k: v.replace(",", " ").split() if isinstance(v, str) else v for k, v in values.items() if k in TUPLES}
    if "lm_widths" in lists:
        lists["lm_widths"] = widths(lists["lm_widths"])
    return values | {k: tuple(v) for k, v in lists.items()}


def widths(given) -> list[int]:
    """The language models' widths as numbers; ValueError for what is none."""
    try:
        return [int(width) for width in ([given] if isinstance(given, int) else given)]
    except (TypeError, ValueError) as error:
        raise ValueError(f"setting lm_widths is {given!r}; give whole numbers, as '256 128'") from error


def check_kinds(settings: Settings) -> None:
    """ValueError for a setting whose value is of another kind than its field; a whole number is a float too."""
    for f in dataclasses.fields(settings):
        value, kinds = getattr(settings, f.name), get_args(f.type) or (f.type,)
        if f.name not in TUPLES and not isinstance(value, (*kinds, int) if float in kinds else kinds):
            wanted = " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
            meaning = f.metadata["meaning"]
            raise ValueError(f"setting {f.name} is {value!r}; it has to be of the kind {wanted}: {meaning}")


def split_row_name(name: str) -> tuple[str, int | str, str | None]:
    """'att_pool_768' -> ('att_pool', 768, None); the dimension may be H, the encoder's hidden size."""
    match = re.fullmatch(rf"({'|'.join(ROW_IDS)})_(\d+|H)(?:_(\w+))?", name)
    if not match:
        raise ValueError(f"unknown row {name!r}; a row is one of {', '.join(ROW_IDS)}, then _ and its D: att_pool_768")
    row, dim, variant = match.groups()
    return row, dim if dim == "H" else int(dim), variant


def check_values(settings: Settings) -> None:
    """Raise ValueError for a value that no run can use, before anything has started."""
    s = settings
    counts = (
        "batch_size", "epochs", "slots", "queries", "n_layer", "n_head", "n_inner", "max_length", "n_positions",
        "prefix_size", "sent_sim_every", "n_fitted", "fitting_steps",
    )  # fmt: skip
    for name in counts:
        if getattr(s, name) is not None and getattr(s, name) < 1:
            raise ValueError(f"setting {name} is {getattr(s, name)}; it has to be at least 1")
    for name in ("minutes", "no_vector_minutes", "ablation_minutes", "lm_minutes", "learning_rate", "code_weight"):
        if getattr(s, name) is not None and getattr(s, name) <= 0:
            raise ValueError(f"setting {name} is {getattr(s, name)}; it has to be above 0")
    for name in (
        "numbers_per_piece",
        "hard_negatives",
        "vector_noise",
        "interpolation_noise_share",
        "mixup_share",
        "random_sentence_ratio",
    ):
        if getattr(s, name) < 0:
            raise ValueError(f"setting {name} is {getattr(s, name)}; it can't be below 0")
    if s.schedule not in ("plateau", "cosine"):
        raise ValueError(f"unknown schedule {s.schedule!r}; choose plateau or cosine")
    if not s.encoder_layers or set(s.encoder_layers) - set(LAYERS):
        raise ValueError(f"setting encoder_layers is {s.encoder_layers!r}; choose word, last or both")
    if not s.lm_widths or min(s.lm_widths) < 1 or any(width % 32 for width in s.lm_widths):
        raise ValueError(f"setting lm_widths is {s.lm_widths!r}; give one at least, each a multiple of 32")
    if not 0 <= s.seed < 2**32:
        raise ValueError(f"setting seed is {s.seed}; it has to be from 0 to {2**32 - 1}")
    if s.max_length > s.n_positions:
        raise ValueError(f"max_length {s.max_length} is above n_positions {s.n_positions}; raise the latter")
    if s.variant is not None and not re.fullmatch(r"\w+", s.variant):
        raise ValueError(f"setting variant is {s.variant!r}; it is a part of the model's name: letters, digits and _")
    for name in s.rows:
        row, dim, _ = split_row_name(name)
        if row in ("cls_decoder", "att_pool") and dim != "H" and dim % s.slots:
            raise ValueError(f"row {name}: {dim} numbers can't be cut into slots={s.slots}; choose a divisor of {dim}")


def row_names(settings: Settings, hidden_size: int) -> list[str]:
    """The run's rows with the encoder's hidden size in the place of H."""
    return [re.sub(r"_H(?=_|$)", f"_{hidden_size}", name) for name in settings.rows]


def row_values(preset: str, row: str, dim: int, variant: str | None) -> dict:
    """What presets.yaml gives this row of its own (`per_row`): by row id, <row id>_<D>, *_<variant>, then full name.

    What is closer to the row wins, and a preset wins over `common`.
    """
    presets, own = read_presets(), {}
    keys = (row, f"{row}_{dim}", f"*_{variant}", f"{row}_{dim}_{variant}")
    for part in (presets.get("common", {}), presets.get(preset, {})):
        for key in keys:
            own |= part.get("per_row", {}).get(key, {})
    return own


def select_row(settings: Settings, name: str) -> Settings:
    """The settings of one model of the run: select_row(settings, 'att_pool_768')."""
    row, dim, variant = split_row_name(name)
    if dim == "H":
        raise ValueError(f"row {name!r} still has H; use row_names(settings, encoder.hidden_size)")
    own = row_values(settings.preset, row, dim, variant)
    chosen = dataclasses.replace(settings, row=row, embedding_dim=dim, variant=variant, **with_tuples(own))
    check_kinds(chosen)
    check_values(chosen)
    return chosen


def device() -> torch.device:
    """The one place that chooses: CUDA, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def precision(where: torch.device) -> torch.dtype:
    """bfloat16 where the device has it in hardware, else float32; float16 never."""
    if where.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if where.type == "cpu" and torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.bfloat16
    return torch.float32
