"""Batches of cached token states."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from invlib.encoders.lengths import by_length
from invlib.encoders.token_states import TokenStates


class StatesDataset(Dataset):
    """Sentence i of the cache: input_ids (T,), reference (H,), and the token states that a pooling reads.

    n: the first n sentences, None = all. layers: the encoder layers that are concatenated in token_embeddings
    (T, H * len(layers)), in this order; () = none. `word` is looked up in word_embeddings (V, H), `last` comes from the
    cache. real: whether these are headlines and not random sentences.
    """

    def __init__(
        self, states: TokenStates, n: int | None = None, layers: Sequence[str] = ("last",),
        word_embeddings: np.ndarray | None = None, real: bool = True,
    ):  # fmt: skip
        self.states, self.layers, self.word_embeddings, self.real = states, tuple(layers), word_embeddings, real
        self.indices = range(len(states))[:n]
        self.lengths = np.diff(states.offsets)[:n]

    def __len__(self) -> int:
        return len(self.indices)

    def ids(self, n: int | None = None) -> list[list[int]]:
        """The word-piece ids of the first n sentences, [CLS] and [SEP] included; None = of all."""
        return [self.states.input_ids(i).tolist() for i in self.indices[:n]]

    def without_states(self) -> "StatesDataset":
        """The same sentences without token_embeddings, for a decoder that is given the vectors."""
        return StatesDataset(self.states, len(self), (), real=self.real)

    @property
    def sentence(self) -> np.ndarray:
        """The encoder's own sentence embeddings, (N, H) float32."""
        return np.asarray(self.states.sentence[: len(self)])

    def __getitem__(self, k: int) -> dict[str, np.ndarray]:
        i = self.indices[k]
        ids = self.states.input_ids(i)
        item = {"input_ids": ids, "reference": self.states.sentence[i], "real": self.real}
        if self.layers:
            item["token_embeddings"] = np.concatenate([self.layer(name, i, ids) for name in self.layers], axis=-1)
        return item

    def layer(self, name: str, i: int, ids: np.ndarray) -> np.ndarray:
        """The states (T, H) of one encoder layer of sentence i."""
        if name == "last":
            return self.states.token_embeddings(i)
        if self.word_embeddings is None:
            raise ValueError("the layer 'word' is looked up in word_embeddings (V, H); give them")
        return self.word_embeddings[ids]


def collate(items: Sequence[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    """Pads to the longest: input_ids, attention_mask (B, T) int64; token_embeddings (B, T, H * layers) where read.

    One entry a sentence have real (B,) bool and, where all sentences come with it, reference (B, H) float32, the
    encoder's own sentence embedding.
    """

    def padded(values: list[np.ndarray]) -> Tensor:
        return pad_sequence([torch.from_numpy(value) for value in values], batch_first=True)

    batch = {
        "input_ids": padded([item["input_ids"].astype(np.int64) for item in items]),
        "attention_mask": padded([np.ones(len(item["input_ids"]), np.int64) for item in items]),
        "real": torch.tensor([item["real"] for item in items]),
    }
    if all("reference" in item for item in items):
        batch["reference"] = torch.from_numpy(np.stack([item["reference"] for item in items])).float()
    if "token_embeddings" in items[0]:
        batch["token_embeddings"] = padded([item["token_embeddings"].astype(np.float32) for item in items])
    return batch


def in_order(dataset: StatesDataset, batch_size: int = 64, where: torch.device | str = "cpu") -> Iterator[dict]:
    """The data set's batches in its order, on the device."""
    for start in range(0, len(dataset), batch_size):
        batch = collate([dataset[k] for k in range(start, min(start + batch_size, len(dataset)))])
        yield {k: v.to(where) for k, v in batch.items()}


def length_sorted(
    dataset: StatesDataset, batch_size: int = 64, where: torch.device | str = "cpu"
) -> Iterator[tuple[np.ndarray, dict]]:
    """Batches of like length on the device, the longest first: the sentences' places in the data set, and the batch."""
    for rows in by_length(dataset.lengths, batch_size):
        yield rows, {k: v.to(where) for k, v in collate([dataset[k] for k in rows]).items()}
