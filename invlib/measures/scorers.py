"""Scorers of text against text: BERTScore and paraphrase similarity. Which model made a number is part of it."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from invlib.encoders.hub import hub_folder, quiet_loading

NAMES = {
    "minilm": {"bertscore": "minilm", "paraphrase": "minilm"},
    "deck": {
        "bertscore": "microsoft/deberta-xlarge-mnli",
        "paraphrase": "sentence-transformers/paraphrase-mpnet-base-v2",
    },
}


def scorer_names(scorers: str) -> dict[str, str]:
    """{'bertscore': model, 'paraphrase': model} of a `scorers` setting; ValueError for an unknown one."""
    if scorers not in NAMES:
        raise ValueError(f"unknown scorers {scorers!r}; choose {' or '.join(NAMES)}")
    return NAMES[scorers]


def scorer_folder(name: str) -> str:
    """The folder of a scorer's files; FileNotFoundError where it can't be had, as `hub_folder`."""
    return hub_folder(name, "scorer", "scorers='minilm' (embedded)")


def both_texts(decoded: Sequence[str], reference: Sequence[str]) -> np.ndarray:
    """Which pairs have text on both sides, (N,) bool; ValueError for lists of different lengths."""
    if len(decoded) != len(reference):
        raise ValueError(f"{len(decoded)} texts can't be scored against {len(reference)} references")
    return np.array([bool(a.strip() and b.strip()) for a, b in zip(decoded, reference, strict=True)], bool)


@lru_cache(maxsize=2)
def _bert_scorer(name: str):
    from bert_score import BERTScorer
    from bert_score.utils import model2layers
    from transformers import AutoConfig

    folder = scorer_folder(name)
    layers = model2layers.get(name, AutoConfig.from_pretrained(folder).num_hidden_layers)
    with quiet_loading():
        scorer = BERTScorer(model_type=folder, num_layers=layers, batch_size=64)
    scorer._tokenizer.model_max_length = min(scorer._tokenizer.model_max_length, 512)  # 1e30 overflows in Rust
    return scorer


def bertscore(decoded: Sequence[str], reference: Sequence[str], scorers: str = "minilm") -> np.ndarray:
    """BERTScore F1 (Zhang et al., 2020) of each pair, (N,) float, not rescaled; an empty text scores 0."""
    scored = both_texts(decoded, reference)
    scores, kept = np.zeros(len(decoded)), np.flatnonzero(scored)
    if len(kept):
        scorer = _bert_scorer(scorer_names(scorers)["bertscore"])
        _, _, f1 = scorer.score([decoded[int(i)] for i in kept], [reference[int(i)] for i in kept])
        scores[kept] = f1.numpy()
    return scores


@lru_cache(maxsize=2)
def _sentence_transformer(name: str):
    from sentence_transformers import SentenceTransformer

    with quiet_loading():
        return SentenceTransformer(scorer_folder(name))


@lru_cache(maxsize=8)
def _embeddings(name: str, texts: tuple[str, ...]) -> np.ndarray:
    """Unit vectors of the texts, (N, H); kept, for every model is scored against the same references."""
    different, place = np.unique(texts, return_inverse=True)
    model = _sentence_transformer(name)
    return model.encode(different.tolist(), normalize_embeddings=True, show_progress_bar=False)[place]


def paraphrase_similarity(decoded: Sequence[str], reference: Sequence[str], scorers: str = "minilm") -> np.ndarray:
    """Cosine of the paraphrase model's embeddings of each pair, (N,) float in [-1, 1]; an empty text scores 0."""
    scored = both_texts(decoded, reference)
    if not len(scored):
        return np.zeros(0)
    a, b = (_embeddings(scorer_names(scorers)["paraphrase"], tuple(texts)) for texts in (decoded, reference))
    return np.where(scored, (a * b).sum(1), 0.0)
