"""Batches of cached token states."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset

from invlib.encoders.token_states import TokenStates


class StatesDataset(Dataset):
    """Sentence i of the cache: input_ids (T,), reference (H,), and the token states that a pooling reads.

    layers: which of the encoder's layers stand side by side in token_embeddings (T, H * len(layers)), in this order;
    () = none are read. `word` is looked up in word_embeddings (V, H), `last` is what the cache holds. real: whether
    these are headlines, not made sentences.
    """

    def __init__(
        self, states: TokenStates, indices: Sequence[int] | None = None, layers: Sequence[str] = ("last",),
        word_embeddings: np.ndarray | None = None, real: bool = True,
    ):  # fmt: skip
        self.states, self.layers, self.word_embeddings, self.real = states, tuple(layers), word_embeddings, real
        self.indices = np.arange(len(states)) if indices is None else np.asarray(indices)
        self.lengths = np.diff(states.offsets)[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def ids(self, n: int | None = None) -> list[list[int]]:
        """The word-piece ids of the first n sentences, [CLS] and [SEP] included; None = of all."""
        return [self.states.input_ids(int(i)).tolist() for i in self.indices[:n]]

    @property
    def sentence(self) -> np.ndarray:
        """The encoder's own sentence embeddings, (N, H)."""
        return np.asarray(self.states.sentence)[self.indices]

    def __getitem__(self, k: int) -> dict[str, np.ndarray]:
        i = int(self.indices[k])
        ids = self.states.input_ids(i)
        item = {"input_ids": ids, "reference": self.states.sentence[i], "real": self.real}
        if self.layers:
            read = {"word": lambda: self.word_embeddings[ids], "last": lambda: self.states.token_embeddings(i)}
            item["token_embeddings"] = np.concatenate([read[layer]() for layer in self.layers], axis=-1)
        return item


class Joined(ConcatDataset):
    """Several `StatesDataset`s, one after another."""

    @property
    def lengths(self) -> np.ndarray:
        return np.concatenate([part.lengths for part in self.datasets])


def collate(items: Sequence[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    """Pads to the longest: input_ids, attention_mask (B, T) int64; token_embeddings (B, T, H * layers) where read.

    And one entry a sentence: reference (B, H), the encoder's own sentence embedding, and real (B,) bool.
    """
    lengths = [len(item["input_ids"]) for item in items]
    b, t = len(items), max(lengths)
    batch = {
        "input_ids": torch.zeros(b, t, dtype=torch.int64),
        "attention_mask": torch.zeros(b, t, dtype=torch.int64),
        "reference": torch.from_numpy(np.stack([item["reference"] for item in items])).float(),
        "real": torch.tensor([bool(item.get("real", True)) for item in items]),
    }
    if "token_embeddings" in items[0]:
        batch["token_embeddings"] = torch.zeros(b, t, items[0]["token_embeddings"].shape[-1])
    for k, item in enumerate(items):
        batch["input_ids"][k, : lengths[k]] = torch.from_numpy(item["input_ids"].astype(np.int64))
        batch["attention_mask"][k, : lengths[k]] = 1
        if "token_embeddings" in item:
            batch["token_embeddings"][k, : lengths[k]] = torch.from_numpy(item["token_embeddings"].astype(np.float32))
    return batch


def in_order(dataset: StatesDataset, batch_size: int = 64, where: torch.device | str = "cpu") -> Iterator[dict]:
    """The data set's batches in its order, on the device."""
    for start in range(0, len(dataset), batch_size):
        batch = collate([dataset[k] for k in range(start, min(start + batch_size, len(dataset)))])
        yield {k: v.to(where) for k, v in batch.items()}
