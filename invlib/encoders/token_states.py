"""The frozen encoder's token states of a corpus, computed once and kept on disk."""

import hashlib
import os
import shutil
import warnings
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import cast

import numpy as np
import torch
from tqdm import tqdm

from invlib import paths
from invlib.device import device, precision
from invlib.encoders.frozen import FrozenEncoder
from invlib.encoders.lengths import by_length
from invlib.encoders.ranks import at_first, is_first, of_first, rank_of, wait_for_all


class TokenStates:
    """The last layer's states of a list of texts, ragged on disk: no padding is stored.

    Files in one folder: states.npy (all tokens, H) float16, input_ids.npy (all tokens,) int32, offsets.npy (N + 1,),
    sentence.npy (N, H) float32 (the encoder's own sentence embeddings), n_cut.npy (how many texts were longer than
    max_length and so cut). Memory-mapped when read.
    """

    def __init__(self, folder: str | Path):
        folder = Path(folder)
        self.folder = folder
        self.states = np.load(folder / "states.npy", mmap_mode="r")
        self.tokens = np.load(folder / "input_ids.npy", mmap_mode="r")
        self.offsets = np.load(folder / "offsets.npy")
        self.sentence = np.load(folder / "sentence.npy", mmap_mode="r")
        self.n_cut: int | None = int(np.load(folder / "n_cut.npy"))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def input_ids(self, i: int) -> np.ndarray:
        """The word-piece ids of text i, [CLS] and [SEP] included, (T,) int32."""
        return np.asarray(self.tokens[self.offsets[i] : self.offsets[i + 1]])

    def token_embeddings(self, i: int) -> np.ndarray:
        """The last layer's states of text i, (T, H) float16."""
        return np.asarray(self.states[self.offsets[i] : self.offsets[i + 1]])


class SelectedStates(TokenStates):
    """Those of the texts at `rows`, in this order; nothing is copied but ids and sentence embeddings.

    n_cut is None: it was counted over all texts.
    """

    def __init__(self, whole: TokenStates, rows: Sequence[int] | np.ndarray):
        self.whole, self.rows = whole, np.asarray(rows)
        self.tokens = np.concatenate([whole.input_ids(i) for i in self.rows])
        self.offsets = np.concatenate([[0], np.cumsum(np.diff(whole.offsets)[self.rows])])
        self.sentence = np.asarray(whole.sentence)[self.rows]
        self.n_cut = None

    def token_embeddings(self, i: int) -> np.ndarray:
        return self.whole.token_embeddings(self.rows[i])


def cache_key(encoder: FrozenEncoder, texts: Sequence[str] | Sequence[list[int]], max_length: int) -> str:
    """Everything the states depend on: weights, tokenizer, texts in their order, layer, max_length, precision."""
    digest = hashlib.sha256(f"2 {encoder.hash} last {max_length} {precision(device())}".encode())
    for text in texts:
        digest.update((text if isinstance(text, str) else f"\1{text}").encode() + b"\0")
    return digest.hexdigest()[:16]


def token_states(
    encoder: FrozenEncoder, texts: Sequence[str] | Sequence[list[int]], max_length: int = 40,
    cache: str | Path | None = None, batch_size: int = 128, progress: bool = True,
) -> TokenStates:  # fmt: skip
    """The texts' token states, read from `cache` (default runs/cache) or computed once and kept there.

    texts: longer ones are cut at `max_length` word pieces, and counted; or lists of at most that many ids, [CLS] and
    [SEP] included. Written under a temporary name and renamed when whole; the folder's name is `cache_key`, so it can't
    go stale. A damaged folder is made anew, with a warning. Where torchrun started several processes, they share the
    work, and the files are those of one process. ValueError for no texts, a `max_length` that the encoder can't read or
    a batch_size below 1; OSError where `cache` can't be written.
    """
    if not len(texts) or batch_size < 1:
        raise ValueError(f"{len(texts)} texts in batches of {batch_size}: give at least one text and batch_size 1")
    cache = Path(cache or paths.RUNS / "cache")
    folder = cache / f"states-{cache_key(encoder, texts, max_length)}"
    if of_first(is_first() and kept_states(folder) is not None):
        return TokenStates(folder)
    is_text = isinstance(texts[0], str)
    ids, n_cut = encoder.cut_ids(cast(Sequence[str], texts), max_length) if is_text else (cast(list, texts), 0)
    partial = cache / f".{folder.name}.{os.getpid()}.part"
    try:
        if is_first():
            partial.mkdir(parents=True, exist_ok=True)
        write_states(partial, encoder, ids, batch_size, progress)
        if is_first():
            np.save(partial / "n_cut.npy", n_cut)
            os.replace(partial, folder)
        wait_for_all()
    except OSError as error:
        if not folder.exists():  # else another process was faster, and what it wrote is the same
            raise OSError(
                f"the token states are kept in {cache}, which can't be written ({error.strerror or error}); make room "
                "there, make that folder writable, or copy the repository to a place that is"
            ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return TokenStates(folder)


def kept_states(folder: Path) -> TokenStates | None:
    """The states in a folder; None where there is none, or a damaged one, which is then moved away and removed."""
    try:
        return TokenStates(folder)
    except (OSError, ValueError, EOFError) as error:
        if not folder.exists():
            return None
        warnings.warn(f"the token states in {folder} are damaged and made anew: {error}", stacklevel=3)
    damaged = folder.with_name(f".{folder.name}.{os.getpid()}.damaged")
    os.replace(folder, damaged)
    shutil.rmtree(damaged, ignore_errors=True)
    return None


def write_states(folder: Path, encoder: FrozenEncoder, ids: list[list[int]], batch_size: int, progress: bool) -> None:
    """The files of `TokenStates` but for n_cut.npy; length-sorted batches, so that hardly any padding is computed.

    Each process encodes every n-th batch; rank 0 writes them all.
    """
    rank, n = rank_of()
    lengths = np.array([len(row) for row in ids])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    shape = int(offsets[-1]), encoder.hidden_size
    if rank == 0:
        states = np.lib.format.open_memmap(folder / "states.npy", mode="w+", dtype=np.float16, shape=shape)
        if hasattr(os, "posix_fallocate"):  # a full disk is an error here, not a bus error that ends the process later
            with (folder / "states.npy").open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, states.offset + states.nbytes)
    sentence = np.zeros((len(ids), encoder.hidden_size), dtype=np.float32)
    batches = by_length(lengths, batch_size)
    starts = range(0, len(batches), n)
    for start in tqdm(starts, desc="encoding", disable=rank > 0 or not progress, mininterval=2):
        own = batches[start + rank : start + rank + 1]  # in the last turn not every process has one
        for rows, hidden, pooled in chain(*at_first([(rows, *encoded(encoder, ids, rows)) for rows in own])):
            sentence[rows] = pooled
            for i, row in zip(rows, hidden, strict=True):
                states[offsets[i] : offsets[i + 1]] = row[: lengths[i]]
    if rank > 0:
        return
    states.flush()
    np.save(folder / "input_ids.npy", np.concatenate(ids).astype(np.int32))
    np.save(folder / "offsets.npy", offsets)
    np.save(folder / "sentence.npy", sentence)


def encoded(encoder: FrozenEncoder, ids: list[list[int]], rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The token states (B, T, H) float16 and the sentence embeddings (B, H) float32 of some of the texts."""
    batch = encoder.pad([ids[i] for i in rows])
    hidden = encoder.token_embeddings(**batch)
    return hidden.to(torch.float16).cpu().numpy(), encoder.pool(hidden, batch["attention_mask"]).cpu().numpy()
