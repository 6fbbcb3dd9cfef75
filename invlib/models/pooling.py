"""Pooling: from the token states of a sentence to its ONE vector.

Every module here reads a dictionary of features and sets `sentence_embedding` (B, D) in it, as the modules of
sentence-transformers do: `token_embeddings` (B, T, H), for several of the encoder's layers side by side H times their
number; `attention_mask` (B, T); and `input_ids` for the RNN alone.

A new one is a subclass of `Pooling` here, and a row in invlib/rows.py.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from invlib.encoders.sentence_pooling import MODES, pool_tokens
from invlib.models.code_layout import interleave, length_angles, length_size

POSITION_BIAS = 8.0  # of a query for its own token at the start: a weight of 0.99 among forty
KEY, INNER = 64, 1024  # width of a query and its keys; inner width of the projection that writes


class Pooling(nn.Module):
    """Base class. Defining a subclass registers it under its `kind`, which invlib/rows.py and a config name.

    config_keys: the fields of an `InvertibleConfig` that the constructor takes under the same names. A pooling whose
    row is `fitted` has `fit(sentence_embeddings (N, H))`, which training calls once with those of the training split.
    """

    kind: ClassVar[str]
    config_keys: ClassVar[tuple[str, ...]] = ("hidden_size", "embedding_dim")

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        POOLINGS[cls.kind] = cls

    @classmethod
    def from_config(cls, config, **computed) -> "Pooling":
        """Build it; `computed` are arguments of the constructor that no field of the config holds."""
        return cls(**{key: getattr(config, key) for key in cls.config_keys}, **computed)


POOLINGS: dict[str, type[Pooling]] = {}


def masked_softmax(scores: Tensor, attention_mask: Tensor, dim: int = -1) -> Tensor:
    """Softmax over the unmasked positions; masked ones get -1e9, in half precision the most negative number."""
    lowest = max(-1e9, torch.finfo(scores.dtype).min)
    return scores.masked_fill(attention_mask == 0, lowest).softmax(dim)


class AttentionPooling(Pooling):
    """The deck's pooling: one softmax head over the tokens, then a weighted sum of projected states.

    attn: Linear(H, 1); proj: Linear(H, D) -> GELU -> LayerNorm(D);
    sentence_embedding = sum over tokens of softmax(attn(x)) * proj(x).
    """

    kind = "attention"

    def __init__(self, hidden_size: int, embedding_dim: int):
        super().__init__()
        self.attn = nn.Linear(hidden_size, 1)
        self.proj = nn.Sequential(nn.Linear(hidden_size, embedding_dim), nn.GELU(), nn.LayerNorm(embedding_dim))

    def weights(self, token_embeddings: Tensor, attention_mask: Tensor) -> Tensor:
        """The attention over the tokens, (B, T), 0 where masked, summing to 1."""
        return masked_softmax(self.attn(token_embeddings).squeeze(-1), attention_mask)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """token_embeddings (B, T, H), attention_mask (B, T) -> sentence_embedding (B, D)."""
        x = features["token_embeddings"]
        weights = self.weights(x, features["attention_mask"])
        # The sum over tokens as a batched product: (B, 1, T) @ (B, T, D) -> (B, 1, D)
        features["sentence_embedding"] = (weights.unsqueeze(1).to(x.dtype) @ self.proj(x)).squeeze(1)
        return features


class CLSPooling(Pooling):
    """The frozen encoder's [CLS] state as it stands: nothing learned, D = H."""

    kind = "cls"

    def __init__(self, hidden_size: int, embedding_dim: int):
        super().__init__()
        if embedding_dim != hidden_size:
            raise ValueError(f"the [CLS] state has {hidden_size} numbers, not {embedding_dim}: give D = {hidden_size}")

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        features["sentence_embedding"] = features["token_embeddings"][:, 0]
        return features


class RNNPooling(Pooling):
    """The baseline's encoder: an LSTM with word embeddings of its own; its last hidden state is the vector."""

    kind = "rnn"
    config_keys = ("vocab_size", "n_embd", "embedding_dim")

    def __init__(self, vocab_size: int, n_embd: int, embedding_dim: int):
        super().__init__()
        self.embeddings = nn.Embedding(vocab_size, n_embd)
        self.lstm = nn.LSTM(n_embd, embedding_dim, batch_first=True)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """input_ids, attention_mask (B, T) -> sentence_embedding (B, D); packed by length: padding changes nothing."""
        lengths = features["attention_mask"].sum(1).cpu()
        x = self.embeddings(features["input_ids"])
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        _, (last, _) = self.lstm(packed)
        features["sentence_embedding"] = last[-1]
        return features


class ConstantPooling(Pooling):
    """The no-vector control: the same vector for every sentence, so the decoder is a plain language model."""

    kind = "constant"
    config_keys = ("embedding_dim",)

    def __init__(self, embedding_dim: int):
        super().__init__()
        self.register_buffer("constant", torch.ones(embedding_dim))

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        features["sentence_embedding"] = self.constant.expand(len(features["input_ids"]), -1)
        return features


class MultiQueryPooling(Pooling):
    """K learned queries, each with an attention over the tokens of its own; query k writes slot k of the vector.

    scores[k, t] = queries[k] . keys(x[t]) + positions[k, t]; slot k = sum over t of softmax(scores)[k, t] * proj(x[t]),
    of embedding_dim / K numbers. The whole code is scaled to length 1.

    position_start: query k starts at token k + 1, the k-th word piece after [CLS], by its bias in `positions`. Else
    every query starts as an average over all tokens, and which of them is whose has to be found.

    numbers_per_piece: 0, or the most numbers that one word piece gets. There is then one query for each position. As
    many write as the sentence has pieces; their numbers are interleaved, and a few hold the length (code_layout.py).
    """

    kind = "multi_query"
    config_keys = ("embedding_dim", "max_length", "position_start", "numbers_per_piece")

    def __init__(
        self, input_size: int, embedding_dim: int, queries: int, max_length: int, position_start: bool = True,
        numbers_per_piece: int = 0,
    ):  # fmt: skip
        super().__init__()
        self.numbers_per_piece = numbers_per_piece
        self.code_size = embedding_dim - (length_size(queries) if numbers_per_piece else 0)
        if self.code_size < queries or (not numbers_per_piece and embedding_dim % queries):
            raise ValueError(f"{self.code_size} numbers can't be shared evenly by {queries} queries")
        width = numbers_per_piece or embedding_dim // queries
        self.queries = nn.Parameter(torch.empty(queries, KEY).normal_(0, KEY**-0.5))
        self.keys = nn.Linear(input_size, KEY)
        self.positions = nn.Parameter(torch.zeros(queries, max_length))
        if position_start:
            own = torch.arange(queries)[: max_length - 1]
            self.positions.data[own, own + 1] = POSITION_BIAS
        self.proj = nn.Sequential(nn.Linear(input_size, INNER), nn.GELU(), nn.Linear(INNER, width))

    @classmethod
    def from_config(cls, config) -> "MultiQueryPooling":
        return super().from_config(
            config, input_size=len(config.encoder_layers) * config.hidden_size, queries=config.slots
        )

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
        code = torch.cat([length_angles(lengths, len(self.queries)), code], dim=-1)
        return code / code.shape[-1] ** 0.5

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """token_embeddings (B, T, input_size), attention_mask (B, T) -> sentence_embedding (B, D)."""
        code = self.code(features["token_embeddings"], features["attention_mask"])
        features["sentence_embedding"] = code * code.shape[-1] ** 0.5  # a mean square of 1
        return features


class HybridPooling(Pooling):
    """One vector in two halves: a semantic prefix that says what a sentence means, and a code that says its words.

    The first `prefix_size` numbers, of length 1, are the encoder's own sentence embedding seen through a PCA without
    centring (so that their cosines are nearly the encoder's), fitted once on training headlines and never trained. The
    other numbers are `MultiQueryPooling`'s code, which keeps each word piece in its place. Its length is `code_weight`:
    the smaller it is, the more the vector's cosines are the prefix's. The decoder reads both halves.

    sentence_pooling: how the encoder makes its sentence embedding of the last layer's token states: mean, cls or max.
    """

    kind = "hybrid"
    config_keys = (
        "hidden_size", "prefix_size", "code_weight", "sentence_pooling", *MultiQueryPooling.config_keys,
    )  # fmt: skip

    def __init__(
        self, hidden_size: int, layers: Sequence[str], embedding_dim: int, prefix_size: int, code_weight: float,
        sentence_pooling: str = "mean", **code,
    ):  # fmt: skip
        super().__init__()
        if sentence_pooling not in MODES:
            raise ValueError(
                f"hybrid's prefix needs an encoder whose sentence embedding is {', '.join(MODES)} of its token states; "
                f"this encoder's is {sentence_pooling!r}: choose another encoder or row"
            )
        if "last" not in layers:
            raise ValueError(f"hybrid's prefix is made from the encoder's last layer; layers are {list(layers)}")
        if not 0 < prefix_size <= hidden_size:
            raise ValueError(f"a prefix of {prefix_size} numbers; it takes 1 to {hidden_size}, the encoder's width")
        self.code_weight, self.sentence_pooling = code_weight, sentence_pooling
        self.last = slice(layers.index("last") * hidden_size, (layers.index("last") + 1) * hidden_size)
        self.register_buffer("components", torch.eye(hidden_size)[:, :prefix_size].contiguous())
        self.multi_query = MultiQueryPooling(len(layers) * hidden_size, embedding_dim - prefix_size, **code)

    @classmethod
    def from_config(cls, config) -> "HybridPooling":
        return super().from_config(config, layers=config.encoder_layers, queries=config.slots)

    def fit(self, sentence_embeddings: np.ndarray) -> None:
        """Fit the prefix's PCA on the encoder's embeddings of training headlines, (N, H)."""
        self.components.copy_(torch.from_numpy(fit_components(sentence_embeddings, self.components.shape[1])))

    def prefix(self, token_embeddings: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, T, H * layers) -> (B, prefix_size) float32 of length 1."""
        with torch.autocast(token_embeddings.device.type, enabled=False):
            sentence = pool_tokens(token_embeddings[..., self.last].float(), attention_mask, self.sentence_pooling)
            sentence = nn.functional.normalize(sentence, dim=-1)  # (B, H)
            return nn.functional.normalize(sentence @ self.components.float(), dim=-1)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """token_embeddings (B, T, H * layers), attention_mask (B, T) -> sentence_embedding (B, D) float32."""
        x, mask = features["token_embeddings"], features["attention_mask"]
        code = self.code_weight * self.multi_query.code(x, mask)
        features["sentence_embedding"] = torch.cat([self.prefix(x, mask), code], dim=-1)
        return features


def fit_components(sentence_embeddings: np.ndarray, size: int) -> np.ndarray:
    """PCA without centring: the first `size` right singular vectors of the embeddings, (N, H) -> (H, size) float32.

    Each component's largest entry is positive, so that the same embeddings always give the same matrix. ValueError
    for what is no finite matrix, or `size` outside 1 to H.
    """
    x = np.asarray(sentence_embeddings, dtype=np.float64)
    if x.ndim != 2 or not len(x) or not np.isfinite(x).all():
        raise ValueError(f"expected finite sentence embeddings of shape (N, H), got shape {x.shape}")
    if not 1 <= size <= x.shape[1]:
        raise ValueError(f"{size} components of sentence embeddings: give 1 to {x.shape[1]}, their width")
    _, vectors = np.linalg.eigh(x.T @ x)  # the right singular vectors of x, the weakest first
    components = vectors[:, ::-1][:, :size]
    largest = np.take_along_axis(components, np.abs(components).argmax(0)[None], axis=0)
    return np.ascontiguousarray(components * np.sign(largest), dtype=np.float32)


def build_pooling(config) -> Pooling:
    """The pooling that an `InvertibleConfig` names."""
    if config.pooling not in POOLINGS:
        raise ValueError(f"unknown pooling {config.pooling!r}; choose {', '.join(POOLINGS)}")
    return POOLINGS[config.pooling].from_config(config)
