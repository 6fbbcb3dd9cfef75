"""What may be tokenized, and with which tokenizers."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from torch import nn


def listed(texts: Iterable) -> list[str]:
    """The texts as a list of str; ValueError that says what to give in the place of anything else.

    A list, a tuple, an array, a pandas Series or a column of `datasets` is a list; so is what yields texts in an order.
    """
    got = f"a {type(texts).__name__}"
    advice: str | None = "give the sentences as a list of str"
    if isinstance(texts, str):
        got, advice = "one str", f"write [{texts[:40]!r}]"
    elif (columns := getattr(texts, "column_names", getattr(texts, "columns", None))) is not None:
        advice = f"give one of its columns ({', '.join(map(repr, list(columns)[:5]))}) as a list"
    elif not np.iterable(texts):
        got = f"{texts!r:.60}"
    elif not isinstance(texts, bytes | Mapping | set | frozenset):
        advice = None
    if advice:
        raise ValueError(f"expected a list of sentences, got {got}; {advice}")
    texts = list(texts)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            kind = type(text).__name__
            raise ValueError(f"sentence {i} is no text but {kind}: {text!r:.60}; give one flat list of str")
        if re.search("[\ud800-\udfff]", text):
            raise ValueError(f"sentence {i} holds half a character, a lone surrogate: {text[:60]!r}; take it out")
    return [str(text) for text in texts]


def check_tokenizer(name: str, model: nn.Module, tokenizer) -> None:
    """ValueError for an encoder without BERT's word pieces: 'bank', '##s', and a typed '[SEP]' is '[', 'sep', ']'."""
    backend: Any = tokenizer.backend_tokenizer if tokenizer.is_fast else None
    kinds = [type(part).__name__ for part in (backend and backend.model, backend and backend.pre_tokenizer)]
    size, rows = 1 + max(tokenizer.get_vocab().values()), model.config.vocab_size
    ends = [tokenizer.cls_token_id, tokenizer.sep_token_id]
    if kinds != ["WordPiece", "BertPreTokenizer"] or backend.model.continuing_subword_prefix != "##":
        reason = "its tokenizer is not BERT's WordPiece with '##'"
    elif None in (*ends, tokenizer.pad_token_id, tokenizer.unk_token_id) or tokenizer("")["input_ids"] != ends:
        reason = "its tokenizer does not write [CLS] text [SEP], or has no [PAD] or [UNK]"
    elif size > rows:
        reason = f"its tokenizer has {size} word pieces and the model embeddings for {rows}"
    elif model.config.is_encoder_decoder:
        reason = "it has a decoder too"
    else:
        return
    raise ValueError(f"encoder {name!r} can't be used: {reason}; choose one that reads text as BERT and MPNet do")
