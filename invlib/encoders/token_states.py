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
from invlib.encoders.frozen import FrozenEncoder
from invlib.settings import device, precision


class TokenStates:
    """The last layer's states of a list of texts, ragged on disk: no padding is stored.

    Files in one folder: states.npy (all tokens, H) float16, input_ids.npy (all tokens,) int32, offsets.npy (N + 1,),
    sentence.npy (N, S) float32 (the encoder's own sentence embeddings), n_cut.npy (how many texts were longer than
    max_length and so cut). Memory-mapped when read.
    """

    def __init__(self, folder: str | Path):
        folder = Path(folder)
        self.folder = folder
        self.states = np.load(folder / "states.npy", mmap_mode="r")
        self.tokens = np.load(folder / "input_ids.npy", mmap_mode="r")
        self.offsets = np.load(folder / "offsets.npy")
        self.sentence = np.load(folder / "sentence.npy", mmap_mode="r")
        self.n_cut = int(np.load(folder / "n_cut.npy"))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def input_ids(self, i: int) -> np.ndarray:
        return np.asarray(self.tokens[self.offsets[i] : self.offsets[i + 1]])

    def token_embeddings(self, i: int) -> np.ndarray:
        return np.asarray(self.states[self.offsets[i] : self.offsets[i + 1]])


def cache_key(encoder: FrozenEncoder, texts: Sequence[str] | Sequence[list[int]], max_length: int) -> str:
    """Everything the states depend on: weights, tokenizer, texts in their order, layer, max_length, precision."""
    digest = hashlib.sha256(f"2 {encoder.hash} last {max_length} {precision(device())}".encode())
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

    Texts longer than `max_length` word pieces are cut and counted. In the place of texts may stand lists of word-piece
    ids, [CLS] and [SEP] included, at most `max_length` of them. Written under a temporary name and renamed when whole;
    the folder's name is `cache_key`, so it can't go stale. ValueError for no texts, a `max_length` that the encoder
    can't read or a batch_size below 1; OSError where `cache` can't be written.
    """
    if not len(texts) or batch_size < 1:
        raise ValueError(f"{len(texts)} texts in batches of {batch_size}: give at least one text and batch_size 1")
    encoder.check_length(max_length)
    cache = Path(cache or paths.RUNS / "cache")
    folder = cache / f"states-{cache_key(encoder, texts, max_length)}"
    if folder.exists():
        return TokenStates(folder)
    ids, n_cut = encoder.cut_ids(texts, max_length) if isinstance(texts[0], str) else (list(texts), 0)
    lengths = np.array([len(i) for i in ids], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    partial = cache / f".{folder.name}.{os.getpid()}.part"
    try:
        partial.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"the token states are kept in {cache}, which can't be written ({error.strerror}); make that folder "
            "writable, or copy the repository to a place that is"
        ) from error
    try:
        states = np.lib.format.open_memmap(
            partial / "states.npy", mode="w+", dtype=np.float16, shape=(int(offsets[-1]), encoder.hidden_size)
        )
        sentence = np.zeros((len(ids), encoder.sentence_size), dtype=np.float32)
        order = np.argsort(-lengths, kind="stable")  # length-sorted batches: hardly any padding is computed
        for start in tqdm(range(0, len(order), batch_size), desc="encoding", disable=not progress, mininterval=2):
            rows = order[start : start + batch_size]
            batch = encoder.pad([ids[i] for i in rows])
            hidden = encoder.token_embeddings(**batch)  # (B, T, H)
            with torch.no_grad():
                sentence[rows] = encoder.pool(hidden, batch["attention_mask"].to(hidden.device)).cpu().numpy()
            hidden = hidden.to(torch.float16).cpu().numpy()
            for k, i in enumerate(rows):
                states[offsets[i] : offsets[i + 1]] = hidden[k, : lengths[i]]
        states.flush()
        np.save(partial / "input_ids.npy", np.concatenate([np.asarray(i, dtype=np.int32) for i in ids]))
        np.save(partial / "offsets.npy", offsets)
        np.save(partial / "sentence.npy", sentence)
        np.save(partial / "n_cut.npy", n_cut)
        del states
        try:
            os.replace(partial, folder)
        except OSError:
            if not folder.exists():  # else another process was faster, and what it wrote is the same
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return TokenStates(folder)
