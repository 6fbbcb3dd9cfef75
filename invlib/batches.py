"""Batches of cached token states."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from invlib.encoders import TokenStates


class StatesDataset(Dataset):
    """Sentence i of the cache: input_ids (T,), token_embeddings (T, H) where they are read, reference (H,)."""

    def __init__(self, states: TokenStates, indices: Sequence[int] | None = None, with_states: bool = True):
        self.states, self.with_states = states, with_states
        self.indices = np.arange(len(states)) if indices is None else np.asarray(indices)
        self.lengths = np.diff(states.offsets)[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, k: int) -> dict[str, np.ndarray]:
        i = int(self.indices[k])
        item = {"input_ids": self.states.input_ids(i), "reference": self.states.sentence[i]}
        if self.with_states:
            item["token_embeddings"] = self.states.token_embeddings(i)
        return item


def collate(items: Sequence[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    """Pads to the longest: input_ids, attention_mask (B, T) int64; token_embeddings (B, T, H), reference (B, H)."""
    lengths = [len(item["input_ids"]) for item in items]
    b, t = len(items), max(lengths)
    batch = {
        "input_ids": torch.zeros(b, t, dtype=torch.int64),
        "attention_mask": torch.zeros(b, t, dtype=torch.int64),
        "reference": torch.from_numpy(np.stack([item["reference"] for item in items])).float(),
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
