"""Pooling: from the token states of a sentence to its ONE vector.

As the modules of sentence-transformers do, each adds `sentence_embedding` (B, D) to a dictionary of features, which
holds token_embeddings (B, T, input_size), the encoder's layers side by side, input_ids, attention_mask (B, T), and
reference (B, H), the encoder's own sentence embedding.

A new one is a subclass of `Pooling` here, and a row in invlib/rows.py.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from invlib.encoders.sentence_pooling import pool_tokens
from invlib.models.code_layout import interleave, length_angles, length_size, slot_width

POSITION_BIAS = 8.0  # of a query for its own token at the start: a weight of 0.99 among forty
KEY, INNER = 64, 1024  # width of a query and its keys; inner width of the projection that writes


class Pooling(nn.Module):
    """Base class. Defining a subclass registers it under its `kind`, which invlib/rows.py and a config name.

    config_keys: what the constructor takes of an `InvertibleConfig`, under the same names. A pooling whose row is
    `fitted` has `fit(sentence_embeddings (N, H))`, which training calls once with those of the training split.
    """

    kind: ClassVar[str]
    config_keys: ClassVar[tuple[str, ...]] = ("input_size", "embedding_dim")

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        POOLINGS[cls.kind] = cls

    @classmethod
    def from_config(cls, config) -> "Pooling":
        return cls(**{key: getattr(config, key) for key in cls.config_keys})


POOLINGS: dict[str, type[Pooling]] = {}


def masked_softmax(scores: Tensor, attention_mask: Tensor) -> Tensor:
    """Softmax over the unmasked positions; masked ones get -1e9, in half precision the most negative number."""
    lowest = max(-1e9, torch.finfo(scores.dtype).min)
    return scores.masked_fill(attention_mask == 0, lowest).softmax(-1)


class AttentionPooling(Pooling):
    """The deck's pooling: the sum over tokens of softmax(attn(x)) * proj(x).

    attn: Linear(H, 1); proj: Linear(H, D) -> GELU -> LayerNorm(D).
    """

    kind = "attention"

    def __init__(self, input_size: int, embedding_dim: int):
        super().__init__()
        self.attn = nn.Linear(input_size, 1)
        self.proj = nn.Sequential(nn.Linear(input_size, embedding_dim), nn.GELU(), nn.LayerNorm(embedding_dim))

    def weights(self, token_embeddings: Tensor, attention_mask: Tensor) -> Tensor:
        """The attention over the tokens, (B, T), 0 where masked, summing to 1."""
        return masked_softmax(self.attn(token_embeddings).squeeze(-1), attention_mask)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        x = features["token_embeddings"]
        weights = self.weights(x, features["attention_mask"]).unsqueeze(1).to(x.dtype)
        return features | {"sentence_embedding": (weights @ self.proj(x)).squeeze(1)}  # (B, 1, T) @ (B, T, D)


class CLSPooling(Pooling):
    """The frozen encoder's [CLS] state as it stands: nothing learned, D = H."""

    kind = "cls"

    def __init__(self, input_size: int, embedding_dim: int):
        super().__init__()
        if embedding_dim != input_size:
            raise ValueError(f"the [CLS] state has {input_size} numbers, not {embedding_dim}: give D = {input_size}")

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return features | {"sentence_embedding": features["token_embeddings"][:, 0]}


class SentencePooling(Pooling):
    """The frozen encoder's own sentence embedding as it stands, `reference`: nothing learned, D = H."""

    kind = "sentence"
    config_keys = ("hidden_size", "embedding_dim")

    def __init__(self, hidden_size: int, embedding_dim: int):
        super().__init__()
        if embedding_dim != hidden_size:
            raise ValueError(
                f"the sentence embedding has {hidden_size} numbers, not {embedding_dim}: give D = {hidden_size}"
            )

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return features | {"sentence_embedding": features["reference"]}


class RNNPooling(Pooling):
    """The baseline's encoder: an LSTM with word embeddings of its own; its last hidden state is the vector."""

    kind = "rnn"
    config_keys = ("vocab_size", "n_embd", "embedding_dim")

    def __init__(self, vocab_size: int, n_embd: int, embedding_dim: int):
        super().__init__()
        self.embeddings = nn.Embedding(vocab_size, n_embd)
        self.lstm = nn.LSTM(n_embd, embedding_dim, batch_first=True)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        x, lengths = self.embeddings(features["input_ids"]), features["attention_mask"].sum(1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        _, (last, _) = self.lstm(packed)
        return features | {"sentence_embedding": last[-1]}


class ConstantPooling(Pooling):
    """The no-vector control: the same vector for every sentence, so the decoder is a plain language model."""

    kind = "constant"
    config_keys = ("embedding_dim",)

    def __init__(self, embedding_dim: int):
        super().__init__()
        self.register_buffer("constant", torch.ones(embedding_dim))

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return features | {"sentence_embedding": self.constant.expand(len(features["input_ids"]), -1)}


class MultiQueryPooling(Pooling):
    """K learned queries, each with an attention over the tokens of its own; query k writes slot k of the vector.

    scores[k, t] = queries[k] . keys(x[t]) + positions[k, t]; slot k = sum over t of softmax(scores)[k, t] * proj(x[t]).

    position_start: query k starts at token k + 1 by its bias in `positions`; else as an average over all tokens.
    numbers_per_piece: 0, or the most numbers that one word piece gets. There is then one query for each position. As
    many write as the sentence has pieces; their numbers are interleaved, and a few hold the length, in `length_copies`
    copies (code_layout.py).
    """

    kind = "multi_query"
    config_keys = (
        "input_size", "embedding_dim", "slots", "max_length", "position_start", "numbers_per_piece", "length_copies",
    )  # fmt: skip

    def __init__(
        self, input_size: int, embedding_dim: int, slots: int, max_length: int, position_start: bool = True,
        numbers_per_piece: int = 0, length_copies: int = 1,
    ):  # fmt: skip
        super().__init__()
        width = slot_width(embedding_dim, slots, numbers_per_piece, length_copies)
        self.numbers_per_piece, self.length_copies = numbers_per_piece, length_copies
        self.code_size = embedding_dim - (length_size(slots, length_copies) if numbers_per_piece else 0)
        self.queries = nn.Parameter(torch.empty(slots, KEY).normal_(0, KEY**-0.5))
        self.keys = nn.Linear(input_size, KEY)
        self.positions = nn.Parameter(torch.zeros(slots, max_length))
        if position_start:
            self.positions.data.diagonal(1).fill_(POSITION_BIAS)
        self.proj = nn.Sequential(nn.Linear(input_size, INNER), nn.GELU(), nn.Linear(INNER, width))

    def weights(self, token_embeddings: Tensor, attention_mask: Tensor) -> Tensor:
        """Each query's attention over the tokens, (B, K, T), 0 where masked, summing to 1 over the tokens."""
        scores = self.queries @ self.keys(token_embeddings).transpose(1, 2)  # (B, K, T)
        scores = scores.float() + self.positions[:, : scores.shape[-1]]
        return masked_softmax(scores, attention_mask.unsqueeze(1))

    def code(self, token_embeddings: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, T, input_size) -> (B, embedding_dim) float32 of length 1."""
        values = self.proj(token_embeddings)  # (B, T, numbers of a slot)
        slots = (self.weights(token_embeddings, attention_mask).to(values.dtype) @ values).float()  # (B, K, ...)
        if not self.numbers_per_piece:
            return nn.functional.normalize(slots.flatten(1), dim=-1)
        lengths = (attention_mask.sum(1) - 1).clamp(min=1)  # without [CLS]
        code = nn.functional.normalize(interleave(slots, lengths, self.code_size), dim=-1) * self.code_size**0.5
        code = torch.cat([length_angles(lengths, len(self.queries), self.length_copies), code], dim=-1)
        return code / code.shape[-1] ** 0.5

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        code = self.code(features["token_embeddings"], features["attention_mask"])
        return features | {"sentence_embedding": code * code.shape[-1] ** 0.5}  # a mean square of 1


class HybridPooling(Pooling):
    """One vector in two halves: a semantic prefix that holds what a sentence means, and a code that holds its words.

    The first `prefix_size` numbers, of length 1, are the encoder's own sentence embedding (sentence_pooling: mean, cls
    or max) seen through a PCA without centring, so that their cosines are nearly the encoder's. It is fitted once on
    training headlines and never trained. The others are `MultiQueryPooling`'s code, of length `code_weight`.
    """

    kind = "hybrid"
    own_keys = ("hidden_size", "encoder_layers", "prefix_size", "code_weight", "sentence_pooling")
    config_keys = (*own_keys, *MultiQueryPooling.config_keys)

    def __init__(
        self, hidden_size: int, encoder_layers: Sequence[str], embedding_dim: int, prefix_size: int,
        code_weight: float, sentence_pooling: str = "mean", **code,
    ):  # fmt: skip
        super().__init__()
        if "last" not in encoder_layers or not 0 < prefix_size <= hidden_size:
            own = f"encoder_layers {list(encoder_layers)}, prefix_size {prefix_size}"
            raise ValueError(f"{own}: hybrid's prefix needs the layer 'last', and has 1 to {hidden_size} numbers")
        self.code_weight, self.sentence_pooling = code_weight, sentence_pooling
        self.last = encoder_layers.index("last")
        self.register_buffer("components", torch.eye(hidden_size)[:, :prefix_size].contiguous())
        self.multi_query = MultiQueryPooling(embedding_dim=embedding_dim - prefix_size, **code)

    def fit(self, sentence_embeddings: np.ndarray) -> None:
        """Fit the prefix's PCA on the encoder's embeddings of training headlines, (N, H)."""
        self.components.copy_(torch.from_numpy(fit_components(sentence_embeddings, self.components.shape[1])))

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        x, mask = features["token_embeddings"], features["attention_mask"]
        code = self.code_weight * self.multi_query.code(x, mask)
        with torch.autocast(x.device.type, enabled=False):  # the prefix in float32
            last = x.split(len(self.components), dim=-1)[self.last].float()  # (B, T, H)
            sentence = nn.functional.normalize(pool_tokens(last, mask, self.sentence_pooling), dim=-1)
            prefix = nn.functional.normalize(sentence @ self.components.float(), dim=-1)
        return features | {"sentence_embedding": torch.cat([prefix, code], dim=-1)}


def fit_components(sentence_embeddings: np.ndarray, size: int) -> np.ndarray:
    """PCA without centring: the first `size` right singular vectors of the embeddings, (N, H) -> (H, size) float32.

    Each component's largest entry is positive: the same embeddings always give the same matrix.
    """
    x = np.asarray(sentence_embeddings, dtype=np.float64)
    if x.ndim != 2 or not len(x) or not np.isfinite(x).all() or not 1 <= size <= x.shape[1]:
        raise ValueError(f"{size} components of sentence embeddings {x.shape}: give finite ones (N, H), and 1 to H")
    _, vectors = np.linalg.eigh(x.T @ x)  # the right singular vectors of x, the weakest first
    components = vectors[:, ::-1][:, :size]
    largest = np.take_along_axis(components, np.abs(components).argmax(0)[None], axis=0)
    return np.ascontiguousarray(components * np.sign(largest), dtype=np.float32)
