"""The shape of a model: everything that its weights' names and sizes depend on."""

from dataclasses import field
from pathlib import Path
from typing import Any

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig

from invlib import paths
from invlib.models.decoders import DECODERS
from invlib.models.pooling import POOLINGS
from invlib.models.vocabulary import WORD_EMBEDDINGS
from invlib.rows import ROWS
from invlib.settings import Settings


@strict
class InvertibleConfig(PreTrainedConfig):
    """A strict dataclass: a value of another type is an error. The frozen encoder is named and hashed, never stored."""

    model_type = "invertible_sentence"

    row: str = "att_pool"
    pooling: str = "attention"
    decoder: str = "transformer"
    encoder: str = "minilm"
    encoder_hash: str | None = None
    encoder_layers: list[str] = field(default_factory=lambda: ["last"])
    sentence_pooling: str = "mean"  # of the encoder's own sentence embedding, which hybrid's prefix is made of
    hidden_size: int = 384
    vocab_size: int = 30522
    embedding_dim: int = 768
    expanded_size: int = 0  # numbers that an MLP makes of the vector and that are cut into slots; 0 = the vector itself
    slots: int = 1
    prefix_size: int = 0
    code_weight: float | int = 1.0
    position_start: bool = False
    numbers_per_piece: int = 0
    length_copies: int = 1
    n_embd: int = 256
    n_layer: int = 2
    n_head: int = 4
    n_inner: int = 1024
    n_positions: int = 64
    word_embeddings: str = "encoder"
    dropout: float | int = 0.1
    max_length: int = 40
    bos_token_id: int = 101
    eos_token_id: int = 102
    pad_token_id: int = 0
    unk_token_id: int = 100

    def __post_init__(self, **unknown):
        if unknown:
            raise TypeError(f"unknown fields {', '.join(unknown)}; the fields are {', '.join(self.__annotations__)}")
        known = {"row": ROWS, "pooling": POOLINGS, "decoder": DECODERS, "word_embeddings": WORD_EMBEDDINGS}
        for name, choices in known.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; choose {', '.join(choices)}")
        super().__post_init__()

    @property
    def input_size(self) -> int:
        """The width of a token's states: the encoder's layers that the pooling reads, side by side."""
        return len(self.encoder_layers) * self.hidden_size

    def write(self, folder: Path) -> None:
        """Write <folder>/config.json: every field, those that equal today's defaults too."""
        values = {"model_type": self.model_type} | {name: getattr(self, name) for name in self.__annotations__}
        paths.write_json(folder / "config.json", values)

    @classmethod
    def read(cls, folder: Path) -> "InvertibleConfig":
        """The config of a saved model; ValueError that names the file of another kind of model."""
        file = folder / "config.json"
        try:
            values: dict[str, Any] = dict(paths.read_json(file))
            if (kind := values.pop("model_type", None)) != cls.model_type:
                raise ValueError(f"its model is of the type {kind!r}, not {cls.model_type!r}")
            return cls(**values)
        except (TypeError, ValueError, StrictDataclassError) as error:
            raise ValueError(f"{file} is no config of this workbook's models: {error}") from error


def prefix_size(embedding_dim: int, slots: int = 1) -> int:
    """hybrid's semantic prefix: a third of the vector, or more, such that the rest fills even slots of that number."""
    return embedding_dim - (embedding_dim - -(-embedding_dim // 3)) // slots * slots


def model_config(settings: Settings, hidden_size: int = 384, **encoder) -> InvertibleConfig:
    """The shape of the model that `settings` names; `encoder` holds its name, hash, vocabulary size and special ids."""
    _ = settings.name  # a ValueError where they name no model
    s = settings
    assert s.row is not None and s.embedding_dim is not None
    row = ROWS[s.row]
    controlled = ROWS.get(s.variant or "") if s.row == "no_vector" else None
    decoder = controlled.decoder if controlled and controlled.no_vector == "own" else row.decoder
    by_query = row.slots == "queries"
    numbers_per_piece = s.numbers_per_piece if by_query else 0
    prefix = s.prefix_size or min(prefix_size(s.embedding_dim, 1 if numbers_per_piece else s.queries), hidden_size)
    prefix = prefix if row.pooling == "hybrid" else 0
    as_set = ("row", "embedding_dim", "n_layer", "n_head", "n_inner", "n_positions", "word_embeddings", "dropout")
    return InvertibleConfig(
        pooling=row.pooling, decoder=decoder, prefix_size=prefix,
        slots=s.max_length - 1 if numbers_per_piece else getattr(s, row.slots), numbers_per_piece=numbers_per_piece,
        expanded_size=s.expanded_size if row.reads == "sentence" else 0,
        position_start=by_query and s.position_start, code_weight=s.code_weight if prefix else 1.0,
        length_copies=s.length_copies if numbers_per_piece else 1,
        encoder_layers=list(s.encoder_layers), n_embd=s.n_embd or s.embedding_dim, hidden_size=hidden_size,
        max_length=s.max_length, **{key: getattr(s, key) for key in as_set}, **encoder,
    )  # fmt: skip
