"""How much of the texts an attack on sentence embeddings gives back, beside what it takes no attack to say."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from invlib.encoders.frozen import FrozenEncoder
from invlib.encoders.material import Material
from invlib.inversion.candidates import Ids, embed, propose
from invlib.inversion.invert import SURE, Chain, Inverted, invert
from invlib.measures.intervals import bootstrap, proportion_interval, with_ends
from invlib.measures.judge import Judge
from invlib.measures.similarity import unit
from invlib.measures.text import bleu, token_f1

FREQUENT, RARE = 200, 10  # pieces that are called frequent; occurrences below which one is rare
INDISTINCT = 0.99  # cosine of two headlines that nobody can tell apart by their embeddings


def chains(rounds: int) -> dict[str, Chain]:
    """The chain's parts, each alone and together; the last is the whole chain."""
    return {
        "greedy": Chain(beam=1, rounds=0),
        "beam of 8, re-ranked": Chain(rounds=0),
        "50 samples, re-ranked": Chain(beam=0, samples=50, rounds=0),
        "corrector alone": Chain(rounds=rounds, width=4, children=0, reworded=0),
        "search alone, black box": Chain(rounds=rounds, gradient=False, reworded=0),
        "search alone, white box": Chain(rounds=rounds, reworded=0),
        "search and corrector, cosine alone": Chain(rounds=rounds, prior=0.0),
        "search and corrector, black box": Chain(rounds=rounds, gradient=False),
        "search and corrector": Chain(rounds=rounds),
    }


@dataclass(frozen=True)
class Texts:
    """What is to be found: texts as word pieces without special tokens, and their embeddings (N, H)."""

    ids: list[Ids]
    vectors: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of_split(cls, material: Material, split: str, n: int) -> "Texts":
        """The first n headlines of a split."""
        dataset = material.dataset(split, n, layers=())
        return cls([tuple(row[1:-1]) for row in dataset.ids()], dataset.sentence)

    @classmethod
    def of(cls, texts: Sequence[str], encoder: FrozenEncoder, max_length: int) -> "Texts":
        """Any texts, cut at `max_length` word pieces as headlines are."""
        ids = encoder.cut_ids(texts, max_length)[0]
        return cls([tuple(row[1:-1]) for row in ids], encoder.sentence_embedding(texts, max_length).numpy())


def figures(model, found: Sequence[Ids], texts: Texts, judge: Judge | None = None, n_bootstrap: int = 1000) -> dict:
    """The figures of an attack's texts: bleu, exact, token_f1 (with 95 % intervals), cosine and others."""
    f1 = token_f1(found, texts.ids)
    exact = np.array([a == b for a, b in zip(found, texts.ids, strict=True)], dtype=float)
    cosine = (embed(model, found) * unit(texts.vectors)).sum(1)
    decoded, reference = model.text(found), model.text(texts.ids)
    return {
        "n": len(texts), "bleu": bleu(decoded, reference),
        **with_ends("exact", float(exact.mean()), *proportion_interval(exact)),
        **with_ends("token_f1", float(f1.mean()), *bootstrap(np.mean, f1, n=n_bootstrap)),
        "cosine": float(cosine.mean()),
        "independent_cosine": float(judge.cosines(decoded, reference).mean()) if judge else None,
        "sure": float((cosine >= SURE).mean()),
    }  # fmt: skip


def attack(
    model, texts: Texts, chain: Chain, judge: Judge | None = None, vectors: np.ndarray | None = None,
    batch: int = 64,
) -> tuple[dict, list[Inverted]]:  # fmt: skip
    """The figures of one attack, with encoder calls and seconds a text, and what it found.

    vectors: what the attacker has in the place of the texts' own embeddings, (N, H).
    """
    given, found, started = texts.vectors if vectors is None else vectors, [], time.perf_counter()
    for start in range(0, len(texts), batch):
        found += invert(model, given[start : start + batch], chain)
    seconds = (time.perf_counter() - started) / len(texts)
    made = figures(model, [inverted.best for inverted in found], texts, judge)
    return made | {
        "calls": float(np.mean([inverted.calls for inverted in found])), "seconds": seconds,
        "threads": torch.get_num_threads(),
    }, found  # fmt: skip


def controls(model, material: Material, texts: Texts, judge: Judge | None = None) -> dict[str, dict]:
    """What needs no inversion: another headline's text, one text for all, and the nearest training headline."""
    train = material.states["train"].sentence
    mean = unit(np.asarray(train).mean(0, keepdims=True)).astype(np.float32)
    guess = propose(model, torch.from_numpy(mean).to(model.device), n=8)[0][0]
    at = nearest(texts.vectors, train)[0]
    ids = material.dataset("train", layers=()).ids()
    greedy = [row[0] for row in propose(model, torch.from_numpy(unit(texts.vectors)).to(model.device))]
    return {
        "no vector: one text for all": figures(model, [guess] * len(texts), texts, judge),
        "another headline's vector": figures(model, [*greedy[1:], greedy[0]], texts, judge),
        "nearest training headline": figures(model, [tuple(ids[i][1:-1]) for i in at], texts, judge),
    }


def by_kind(found: Sequence[Ids], texts: Texts, model, counts: np.ndarray) -> pd.DataFrame:
    """What stays unread: the share of the texts' word pieces that were found, in any order, by kind of piece.

    counts (V,): how often each piece stands in the training headlines. Columns kind, pieces (in the texts), found.
    """
    pieces = model.encoder.tokenizer.convert_ids_to_tokens(list(range(model.encoder.vocab_size)))
    frequent = set(np.argsort(-counts)[:FREQUENT].tolist())

    def kind(i: int) -> str:
        if any(letter.isdigit() for letter in pieces[i]):
            return "numbers"
        if i in frequent:
            return f"the {FREQUENT} most frequent"
        return f"rare: below {RARE} times" if counts[i] < RARE else "all others"

    lines: dict[str, list[int]] = {}
    for text, true in zip(found, texts.ids, strict=True):
        left = Counter(text)
        for i in true:
            right = left[i] > 0
            left[i] -= right
            lines.setdefault(kind(i), []).append(right)
    rows = [{"kind": name, "pieces": len(hits), "found": float(np.mean(hits))} for name, hits in lines.items()]
    return pd.DataFrame(rows).sort_values("found", ascending=False, ignore_index=True)


def nearest(vectors: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The place (N,) of the nearest of the others (M, H) to each vector (N, H), and their cosine (N,)."""
    cosine = unit(vectors) @ unit(np.asarray(others)).T
    return cosine.argmax(1), cosine.max(1)


def indistinct(texts: Texts, material: Material) -> float:
    """Share of the texts whose nearest other headline has a cosine above INDISTINCT: nobody could tell these apart."""
    own = unit(texts.vectors) @ unit(texts.vectors).T
    np.fill_diagonal(own, -1)
    best = np.maximum(own.max(1), nearest(texts.vectors, material.states["train"].sentence)[1])
    return float((best > INDISTINCT).mean())


def table(rows: dict[str, dict]) -> pd.DataFrame:
    """The figures as a table, a row an attack."""
    return pd.DataFrame([{"attack": name} | row for name, row in rows.items()])
