"""The frozen encoder's token states of a corpus, computed once and kept on disk."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from invlib import paths
from invlib.encoders.frozen import FrozenEncoder, mean_pooling
from invlib.settings import device, precision


class TokenStates:
    """The last layer's states of a list of texts, ragged on disk: no padding is stored.

    Files in one folder: states.npy (all tokens, H) float16, input_ids.npy (all tokens,) int32, offsets.npy (N + 1,),
    sentence.npy (N, H) float32 (the encoder's own sentence embeddings). Memory-mapped when read.
    """

    def __init__(self, folder: str | Path):
        folder = Path(folder)
        self.folder = folder
        self.states = np.load(folder / "states.npy", mmap_mode="r")
        self.tokens = np.load(folder / "input_ids.npy", mmap_mode="r")
        self.offsets = np.load(folder / "offsets.npy")
        self.sentence = np.load(folder / "sentence.npy", mmap_mode="r")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def input_ids(self, i: int) -> np.ndarray:
        return np.asarray(self.tokens[self.offsets[i] : self.offsets[i + 1]])

    def token_embeddings(self, i: int) -> np.ndarray:
        return np.asarray(self.states[self.offsets[i] : self.offsets[i + 1]])


def cache_key(encoder: FrozenEncoder, texts: Sequence[str] | Sequence[list[int]], max_length: int) -> str:
    """Everything the states depend on: weights, tokenizer, texts in their order, layer, max_length, precision."""
    digest = hashlib.sha256(f"1 {encoder.hash} last {max_length} {precision(device())}".encode())
    for text in texts:
        digest.update((text if isinstance(text, str) else f"\1{text}").encode() + b"\0")
    return digest.hexdigest()[:16]


def token_states(
    encoder: FrozenEncoder,
    texts: Sequence[str] | Sequence[list[int]],
    max_length: int = 40,
    cache: str | Path | None = None,
    batch_size: int = 128,
    progress: bool = True,
) -> TokenStates:
    """The texts' token states, read from `cache` (default runs/cache) or computed once and kept there.

    In the place of texts may stand lists of word-piece ids, [CLS] and [SEP] included, at most `max_length` of them.
    Written under a temporary name and renamed when whole; the folder's name is `cache_key`, so it can't go stale.
    """
    cache = Path(cache or paths.RUNS / "cache")
    folder = cache / f"states-{cache_key(encoder, texts, max_length)}"
    if folder.exists():
        return TokenStates(folder)
    ids = list(texts)
    if not ids or isinstance(ids[0], str):
        ids = encoder.tokenizer(ids, truncation=True, max_length=max_length)["input_ids"] if ids else []
    lengths = np.array([len(i) for i in ids], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    partial = cache / f".{folder.name}.{os.getpid()}.part"
    partial.mkdir(parents=True, exist_ok=True)
    try:
        width = encoder.hidden_size
        states = np.lib.format.open_memmap(
            partial / "states.npy", mode="w+", dtype=np.float16, shape=(int(offsets[-1]), width)
        )
        sentence = np.zeros((len(ids), width), dtype=np.float32)
        order = np.argsort(-lengths, kind="stable")  # length-sorted batches: hardly any padding is computed
        for start in tqdm(range(0, len(order), batch_size), desc="encoding", disable=not progress, mininterval=2):
            rows = order[start : start + batch_size]
            batch = encoder.tokenizer.pad({"input_ids": [ids[i] for i in rows]}, return_tensors="pt")
            hidden = encoder.token_embeddings(batch["input_ids"], batch["attention_mask"])  # (B, T, H)
            sentence[rows] = mean_pooling(hidden, batch["attention_mask"].to(hidden.device)).cpu().numpy()
            hidden = hidden.to(torch.float16).cpu().numpy()
            for k, i in enumerate(rows):
                states[offsets[i] : offsets[i + 1]] = hidden[k, : lengths[i]]
        states.flush()
        np.save(partial / "input_ids.npy", np.concatenate([np.asarray(i, dtype=np.int32) for i in ids]))
        np.save(partial / "offsets.npy", offsets)
        np.save(partial / "sentence.npy", sentence)
        del states
        try:
            os.replace(partial, folder)
        except OSError:
            if not folder.exists():  # else another process was faster, and what it wrote is the same
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return TokenStates(folder)
