"""What may be tokenized, and what a tokenizer's word pieces are."""

import re
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor


def listed(texts: Iterable[str]) -> list[str]:
    """The texts as a list of str; ValueError that says what to give in the place of anything else.

    A list, a tuple, an array, a pandas Series or a column of `datasets` is a list; so is what yields texts in an order.
    """
    kind = type(texts).__name__
    if isinstance(texts, str):
        raise ValueError(f"expected a list of sentences, got one str; write [{texts[:40]!r}]")
    if isinstance(texts, bytes):
        raise ValueError(f"expected a list of sentences, got bytes {texts[:40]!r}; decode them first")
    if (columns := getattr(texts, "column_names", getattr(texts, "columns", None))) is not None:
        names = ", ".join(map(repr, list(columns)[:5]))
        raise ValueError(f"expected a list of sentences, got a {kind}; give one of its columns ({names}) as a list")
    if isinstance(texts, Mapping):
        raise ValueError(f"expected a list of sentences, got a {kind}; give the sentences alone: list(texts.values())")
    if isinstance(texts, set | frozenset):
        raise ValueError(f"expected a list of sentences, got a {kind}, which has no order; give sorted(texts)")
    try:
        texts = list(texts)
    except TypeError as error:
        raise ValueError(f"expected a list of sentences, got {texts!r}") from error
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            nested = "; give one flat list" if isinstance(text, list | tuple | np.ndarray) else "; give text alone"
            raise ValueError(f"sentence {i} is no text but {type(text).__name__}: {text!r:.60}{nested}")
        if re.search("[\ud800-\udfff]", text):
            raise ValueError(f"sentence {i} holds half a character, a lone surrogate: {text[:60]!r}; take it out")
    return [str(text) for text in texts]


def word_start(tokenizer) -> str | None:
    """The mark of pieces that start a word: 'Ġ' of byte-level BPE, '▁' of SentencePiece.

    '' where pieces that go on with a word are marked ('##' of WordPiece); None where neither can be told.
    """
    backend = tokenizer.backend_tokenizer
    if backend.pre_tokenizer is None:
        return None
    mark = backend.pre_tokenizer.pre_tokenize_str("a b")[-1][0].removesuffix("b")
    if mark:
        return mark if len(mark) == 1 else None
    whole = type(backend.model).__name__ == "WordLevel"
    return "" if whole or getattr(backend.model, "continuing_subword_prefix", None) == "##" else None


def continues_word(tokenizer, size: int = 0) -> Tensor:
    """Which word pieces go on with a word, (V,) bool; size: V at least, where a model has more rows than pieces."""
    vocabulary, mark = tokenizer.get_vocab(), word_start(tokenizer)
    special = set(tokenizer.all_special_ids)
    found = [i for piece, i in vocabulary.items() if piece.startswith(mark or "##") != bool(mark) and i not in special]
    continues = torch.zeros(max(size, 1 + max(vocabulary.values())), dtype=torch.bool)
    continues[found] = True
    return continues


def check_tokenizer(name: str, model, tokenizer) -> None:
    """ValueError for an encoder whose word pieces this workbook can't use."""
    kinds = ("cls", "sep", "pad", "unk")
    if missing := [f"{kind}_token" for kind in kinds if getattr(tokenizer, f"{kind}_token_id", None) is None]:
        reason = f"its tokenizer has no {', '.join(missing)}"
    elif not tokenizer.is_fast or word_start(tokenizer) is None:
        reason = "its tokenizer does not say where words begin"
    elif (n := 1 + max(tokenizer.get_vocab().values())) > model.config.vocab_size:
        reason = f"its tokenizer has {n} word pieces and the model embeddings for {model.config.vocab_size}"
    elif model.config.is_encoder_decoder:
        reason = "it has a decoder too"
    else:
        ids = tokenizer("a")["input_ids"]
        if (ids[0], ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id):
            return
        reason = "its tokenizer does not write [CLS] text [SEP]"
    raise ValueError(
        f"encoder {name!r} can't be used: {reason}; choose an encoder that reads [CLS] text [SEP], as BERT, RoBERTa "
        "and MPNet do"
    )
