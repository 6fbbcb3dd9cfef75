"""A run's settings: one frozen dataclass, filled from notebooks/presets.yaml."""

import dataclasses
import functools
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from invlib import presets
from invlib.device import device
from invlib.fields import check_value, nearest, setting
from invlib.rows import ABLATIONS, ROWS, model_name, split_row_name

if TYPE_CHECKING:
    import pandas as pd

LAYERS = ("word", "last")  # of the frozen encoder, that a pooling can read
MODEL_GROUPS = ("data", "model", "training")  # the groups of settings that a trained model depends on
GROUPS = ("run", "data", "model", "training", "measuring", "language_model")
_run, _data, _model, _training, _measuring, _lm = (functools.partial(setting, group=group) for group in GROUPS)


@dataclass(frozen=True)
class Settings:
    """One run of the workbook; with `row` and `embedding_dim`, one model of it."""

    preset: str = _run("cpu", "which column of presets.yaml these values come from")
    own_inverter: bool = _run(False, "train an inverter in notebook 12; else the run's, or the repository's, is taken")
    rows: tuple[str, ...] = _run((), "the models of this run, as <row id>_<D>")

    seed: int = _data(0, "seed of split, starting weights and batches", at_least=0, below=2**32)
    data: str | None = _data(None, "where the headlines come from; None = the order in data/README.md")
    column: str | None = _data(None, "the column of own data that holds the headlines; None = Headlines")
    allow_synthetic: bool = _data(True, "fall back on the workbook's own synthetic sample, with a warning")
    max_length: int = _data(40, "longest headline in word pieces, [CLS] and [SEP] included", at_least=3)
    n_headlines: int | None = _data(None, "headlines used in all; None = all", at_least=20)
    n_validation: int | None = _data(None, "validation headlines after each epoch; None = all", at_least=1)

    encoder: str = _model("minilm", "the frozen encoder: minilm (embedded), a hub name or a folder")
    row: str | None = _model(None, "the row of the study", one_of=tuple(ROWS))
    embedding_dim: int | None = _model(None, "D, numbers in the vector", at_least=1)
    variant: str | None = _model(None, "a further word of the name; of no_vector: whose decoder")
    expanded_size: int = _model(1024, "numbers that mean_decoder's MLP makes of the vector, cut into slots", at_least=1)
    slots: int = _model(16, "K, the memory tokens that the vector is cut into", at_least=1)
    encoder_layers: tuple[str, ...] = _model(("last",), "the encoder's layers that pooling reads", one_of=LAYERS)
    queries: int = _model(32, "learned queries of multi_query and hybrid, a slot each", at_least=1)
    numbers_per_piece: int = _model(0, "most numbers of the code for one word piece; 0 = even slots", at_least=0)
    length_copies: int = _model(1, "copies of the length in such a code; more bear more noise", at_least=1)
    position_start: bool = _model(True, "start each query at one token position")
    prefix_size: int | None = _model(None, "numbers of hybrid's prefix; None = about a third", at_least=1)
    code_weight: float = _model(0.2, "length of hybrid's code; its prefix has length 1", above=0)
    n_embd: int = _model(256, "width of the decoder; 0 = as wide as the vector", at_least=0)
    n_layer: int = _model(2, "layers of the decoder", at_least=1)
    n_head: int = _model(4, "attention heads of the decoder", at_least=1)
    n_inner: int = _model(1024, "inner width of the decoder's feed-forward layers", at_least=1)
    n_positions: int = _model(64, "positions of the decoder", at_least=1)
    word_embeddings: str = _model(
        "encoder", "the decoder's: the encoder's through a projection, or own", one_of=("encoder", "own")
    )
    dropout: float = _model(0.1, "dropout in the decoder", at_least=0, below=1)

    epochs: int = _training(40, "at most this many epochs", at_least=1)
    steps: int | None = _training(None, "at most this many steps of training a model", at_least=1)
    no_vector_steps: int | None = _training(None, "at most this many steps for a no-vector control", at_least=1)
    minutes: float | None = _training(None, "a time limit for each training; None = steps alone count", above=0)
    batch_size: int = _training(64, "headlines a step", at_least=1)
    learning_rate: float = _training(1e-3, "AdamW's starting learning rate", above=0)
    weight_decay: float = _training(0.01, "AdamW's weight decay", at_least=0)
    schedule: str = _training(
        "plateau", "how the rate falls: by half on a plateau, or to 0 as a cosine", one_of=("plateau", "cosine")
    )
    plateau_patience: int = _training(1, "epochs without a better loss before the rate is halved", at_least=0)
    stop_patience: int = _training(4, "epochs without a better loss before training stops", at_least=1)
    evaluate_every: int | None = _training(
        None, "steps between two validations, which patience then counts; None = an epoch", at_least=1
    )
    start_from: str | None = _training(None, "begin with the weights of this model, by name or folder")
    vector_noise: float = _training(0.0, "noise on the vector, in standard deviations of each number", at_least=0)
    strongest_noise: float | None = _training(
        None, "each headline's noise is drawn between vector_noise and this; None = vector_noise", at_least=0
    )
    previous_dropout: float = _training(
        0.0, "share of the decoder's previous word pieces that are exchanged for others", at_least=0, below=1
    )
    interpolation_noise_share: float = _training(
        0.0, "share of headlines with far-off vectors (vector_noise.py)", at_least=0, at_most=1
    )
    random_sentence_ratio: float = _training(
        0.0, "sentences of random and swapped word pieces per headline", at_least=0
    )
    recombined_ratio: float = _training(
        0.0, "recombined headlines per headline, new ones each epoch; for mean_decoder alone", at_least=0
    )
    corrected_texts: int = _training(8192, "texts of a corrector's epoch, whose hypotheses are made anew", at_least=1)
    corrected_passes: int = _training(2, "passes over them: making a hypothesis takes as long as a step", at_least=1)
    own_hypotheses: float = _training(
        0.15, "share of the hypotheses that the corrector wrote itself; the others are disturbed texts", at_least=0,
        at_most=1,
    )  # fmt: skip
    sampled_negatives: int = _training(
        3000, "random word pieces in the loss beside the batch's own; 0 = all", at_least=0
    )
    hard_negatives: int = _training(0, "nearest word pieces of each of the batch's own, added to the loss", at_least=0)
    sent_sim_weight: float = _training(0.1, "weight of sent_sim_loss; 0 = without", at_least=0)
    sent_sim_every: int = _training(32, "sent_sim_loss is computed at each k-th step", at_least=1)
    sent_sim_size: int = _training(16, "headlines of the batch that sent_sim_loss reads", at_least=1)

    scorers: str = _measuring("minilm", "who computes BERTScore and paraphrase similarity", one_of=("minilm", "deck"))
    n_generate: int | None = _measuring(None, "test headlines decoded freely; None = all", at_least=1)
    n_forced: int | None = _measuring(
        None, "test headlines whose next words are predicted, n_generate at least; None = all", at_least=1
    )
    n_search: int = _measuring(200, "test headlines for comparisons of searches, and of codes in 08", at_least=1)
    inversion_rounds: int = _measuring(8, "rounds of correction and search in notebook 12, at most", at_least=1)
    limit_sizes: tuple[int, ...] = _measuring(
        (64, 128, 256, 384, 768), "D of the codes that notebook 08 holds against the limit", at_least=16
    )
    n_inverted: int = _measuring(8, "test headlines whose embeddings are inverted in notebook 12", at_least=2)
    n_card: int = _measuring(100, "test headlines, and pairs of each kind, for the card of notebook 11", at_least=2)
    n_card_searched: int = _measuring(
        0, "the same for systems that search for each text; 0 = these are left out", at_least=0
    )
    n_card_models: int = _measuring(
        0, "learned models on the card of notebook 11, the run's own first; 0 = all", at_least=0
    )
    judge: str | None = _measuring(None, "an encoder that judges inverted texts and made no vector: name or folder")
    n_bootstrap: int = _measuring(1000, "resamples of a 95 % interval", at_least=2)
    bertscore_every_epoch: int = _measuring(64, "validation headlines of the BERTScore curve; 0 = none", at_least=0)
    ablations: tuple[str, ...] = _measuring((), "variants of hybrid that the appendix trains", one_of=tuple(ABLATIONS))
    ablation_steps: int | None = _measuring(None, "at most this many steps for each ablation", at_least=1)

    question_rows: tuple[str, ...] = _measuring((), "models of the small trainings of next_questions, as in rows")
    question_steps: int = _measuring(1200, "steps of each of them", at_least=1)
    question_sizes: tuple[int, ...] = _measuring((), "numbers of training headlines among them", at_least=20)

    language_model: str = _lm("own", "causal LM of 09 and 10: own (trained in 03), a hub name or a folder")
    lm_widths: tuple[int, ...] = _lm((512,), "widths of the own language models, the main one first", at_least=1)
    lm_steps: int | None = _lm(None, "at most this many steps for each of them", at_least=1)
    n_fitted: int = _lm(100, "test headlines with vectors fitted to the language model", at_least=1)
    fitting_steps: int = _lm(5000, "at most this many steps of AdamW for each of them", at_least=1)

    given: frozenset[str] = field(default=frozenset(), compare=False, repr=False)  # what a person set by name

    @property
    def name(self) -> str:
        """The model's name: `<row id>_<D>`, with `_<variant>` where there are several."""
        if self.row is None or self.embedding_dim is None:
            raise ValueError(
                "these settings name no model: give row= and embedding_dim=, or select_row(settings, name)"
            )
        return model_name(self.row, self.embedding_dim, self.variant)

    def values(self, *groups: str) -> dict:
        """The settings of these groups (without any: of all) as JSON gives them back."""
        fields = [f for f in FIELDS if not groups or f.metadata["group"] in groups]
        return json.loads(json.dumps({f.name: getattr(self, f.name) for f in fields}))

    def table(self) -> "pd.DataFrame":
        """The settings as a pandas table (setting, value, meaning), for the head of a notebook."""
        import pandas as pd

        rows = [(f.name, getattr(self, f.name), f.metadata["meaning"]) for f in FIELDS]
        rows = [r for r in rows if r[0] not in ("row", "embedding_dim", "variant") or r[1] is not None]
        return pd.DataFrame(rows, columns=["setting", "value", "meaning"])


FIELDS = tuple(f for f in dataclasses.fields(Settings) if f.name != "given")
TUPLES = tuple(f.name for f in FIELDS if isinstance(f.default, tuple))
NUMBERS = tuple(f.name for f in FIELDS if f.name in TUPLES and int in get_args(f.type))  # of them, those of numbers


def auto_preset() -> str:
    """INVLIB_PRESET where it is set, else gpu where torch finds CUDA, else cpu."""
    return os.environ.get("INVLIB_PRESET") or ("gpu" if device().type == "cuda" else "cpu")


def load_preset(preset: str | None = "auto", **overrides: Any) -> Settings:
    """Settings of a preset of notebooks/presets.yaml with single values changed; overrides that are None are ignored.

    An override wins over everything that presets.yaml holds, in `select_row` too. Raises ValueError for an unknown
    preset, setting, row or variant, and for a value of the wrong kind or outside its limits.
    """
    file = presets.read_presets()
    name = auto_preset() if preset in (None, "auto") else preset
    choices = [p for p in file if p not in ("common", "runner")]
    if name not in choices:
        near = nearest(str(name), choices)
        raise ValueError(f"unknown preset {name!r}{near}; choose one of {', '.join(choices)}, or auto")
    given = {k: os.fspath(v) if isinstance(v, os.PathLike) else v for k, v in overrides.items() if v is not None}
    values = {k: v for k, v in {**file.get("common", {}), **file[name]}.items() if k != "per_row"}
    if "row" in given and "embedding_dim" in given:
        values |= presets.row_values(name, given["row"], given["embedding_dim"], given.get("variant"))
    values |= {**given, "preset": name}
    known = [f.name for f in FIELDS]
    if unknown := sorted(set(values) - set(known)):
        each = ", ".join(f"{key}{nearest(key, known)}" for key in unknown)
        raise ValueError(f"unknown setting {each}; settings are {', '.join(sorted(known))}")
    settings = Settings(**with_tuples(values), given=frozenset(given))
    check(settings)
    return settings


def select_row(settings: Settings, name: str) -> Settings:
    """The settings of one model of the run: select_row(settings, 'att_pool_768').

    What presets.yaml has for this row counts, but for the values that a person gave to `load_preset`.
    """
    row, dim, variant = split_row_name(name)
    if not isinstance(dim, int):
        raise ValueError(f"row {name!r} still has H; use row_names(settings, encoder.hidden_size)")
    own = presets.row_values(settings.preset, row, dim, variant)
    own = {key: value for key, value in own.items() if key not in settings.given}
    chosen = dataclasses.replace(settings, row=row, embedding_dim=dim, variant=variant, **with_tuples(own))
    check(chosen)
    return chosen


def row_names(settings: Settings, hidden_size: int) -> list[str]:
    """The run's rows with the encoder's hidden size in the place of H."""
    return [re.sub(r"_H(?=_|$)", f"_{hidden_size}", name) for name in settings.rows]


def with_tuples(values: dict) -> dict:
    """The values with lists, single entries, and entries in one string ('256 128'), as the tuples of `Settings`."""
    made = dict(values)
    for name in set(values) & set(TUPLES):
        entries = values[name]
        if isinstance(entries, str):
            entries = entries.replace(",", " ").split()
            entries = [int(e) if name in NUMBERS and e.isdecimal() else e for e in entries]
        made[name] = tuple(entries) if isinstance(entries, Iterable) else (entries,)
    return made


def check(settings: Settings) -> None:
    """Raise ValueError for a value that no run can use, before anything has started."""
    for f in FIELDS:
        check_value(f, getattr(settings, f.name))
    s = settings
    if s.max_length > s.n_positions:
        raise ValueError(f"max_length {s.max_length} is above n_positions {s.n_positions}; raise the latter")
    if s.n_embd and s.n_embd % s.n_head:
        raise ValueError(f"n_embd {s.n_embd} can't be shared by n_head {s.n_head}; choose a divisor of {s.n_embd}")
    if not s.n_embd and s.row and s.embedding_dim and ROWS[s.row].decoder == "transformer":
        if s.embedding_dim % s.n_head:  # the decoder is as wide as the vector
            raise ValueError(f"n_embd 0 is the vector's {s.embedding_dim}, which n_head {s.n_head} can't share")
    if not s.encoder_layers or not s.lm_widths:
        raise ValueError("encoder_layers and lm_widths each need at least one entry")
    if odd := [width for width in s.lm_widths if width % 32]:
        raise ValueError(f"setting lm_widths holds {odd}; each has to be a multiple of 32")
    if s.row is not None and s.recombined_ratio and ROWS[s.row].reads == "states":
        raise ValueError(
            f"recombined_ratio is {s.recombined_ratio}: {s.row} reads token states, which only kept texts have"
        )
    if s.recombined_ratio and s.sent_sim_weight and s.row is not None:
        raise ValueError("recombined_ratio and sent_sim_weight: recombined headlines have no reference; set one to 0")
    if s.row is not None and s.embedding_dim is not None and s.variant is not None:
        changeable = {f.name for f in FIELDS if f.metadata["group"] in ("model", "training")}
        changed = (s.given & changeable) - {"row", "embedding_dim", "variant", "encoder"}
        presets.check_variant(s.row, s.embedding_dim, s.variant, bool(changed))
    for name in (*s.rows, *([s.name] if s.row and s.embedding_dim else [])):
        row, dim, _ = split_row_name(name)
        even = ROWS[row].decoder == "transformer" and ROWS[row].slots == "slots" and ROWS[row].reads == "states"
        if even and dim != "H" and dim % s.slots:
            raise ValueError(f"row {name}: {dim} numbers can't be cut into slots={s.slots}; choose a divisor of {dim}")
