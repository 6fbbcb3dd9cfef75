"""Guided search: texts are recombined, and those whose embedding is closest to a vector are recombined again.

vec2text's corrector (Morris et al., "Text Embeddings Reveal (Almost) As Much As Text", 2023) is its trained relative:
there a model learns to refine a text from the difference of the embeddings, here nothing is trained.
"""

from collections.abc import Callable, Sequence

import numpy as np

REPEATED_NGRAM = 3  # a recombined text may not repeat any n-gram of word pieces this long

Ids = tuple[int, ...]  # word pieces of a text, without special tokens


def best_recombined(
    starts: Sequence[set[Ids]], cosines_of: Callable[[list[Ids], list[int]], np.ndarray], continues: Sequence[bool],
    longest: int, rounds: int, kept: int, children: int, rng: np.random.Generator,
) -> list[Ids]:  # fmt: skip
    """Of each vector's texts and those that `rounds` rounds of `evolve` make of them, the one of the highest cosine.

    starts: the first texts of each vector; cosines_of(texts, owners): their cosines, owners being the vectors' numbers.
    An empty text where a vector has none.
    """
    cosines: list[dict[Ids, float]] = [{} for _ in starts]  # of each vector's texts
    new = starts
    for turn in range(rounds + 1):
        unscored = [(k, ids) for k, texts in enumerate(new) for ids in sorted(texts) if ids and ids not in cosines[k]]
        owners = [k for k, _ in unscored]
        found = cosines_of([ids for _, ids in unscored], owners).tolist() if unscored else []
        for (owner, ids), cosine in zip(unscored, found, strict=True):
            cosines[owner][ids] = cosine
        if turn < rounds:
            new = [evolve(texts, kept, children, continues, longest, rng) for texts in cosines]
    return [max(texts, key=texts.__getitem__) if texts else () for texts in cosines]


def evolve(
    cosines: dict[Ids, float], kept: int, children: int, continues: Sequence[bool], longest: int,
    rng: np.random.Generator,
) -> set[Ids]:  # fmt: skip
    """New texts from the `kept` of highest cosine, `recombined` `children` times; none that repeats an n-gram."""
    if not cosines:
        return set()
    best = sorted(cosines, key=cosines.__getitem__, reverse=True)[:kept]
    made = {recombined(best, continues, longest, rng) for _ in range(children)}
    return {ids for ids in made if not repeats(ids)}


def repeats(ids: Sequence[int]) -> bool:
    """Whether an n-gram occurs twice: recombining tends to repeat parts."""
    ngrams = [tuple(ids[k : k + REPEATED_NGRAM]) for k in range(len(ids) - REPEATED_NGRAM + 1)]
    return len(set(ngrams)) < len(ngrams)


def recombined(texts: Sequence[Ids], continues: Sequence[bool], longest: int, rng: np.random.Generator) -> Ids:
    """A new text out of two of `texts` (the best first, and the likelier chosen), of `longest` word pieces at most.

    Mostly the beginning of one and the end of the other; at times a part left out, or a part of the other inserted.
    Texts are cut between words: continues (V,) is True for a word piece that continues a word.
    """
    a = texts[min(len(texts) - 1, int(rng.exponential(len(texts) / 3)))]
    b = texts[int(rng.integers(len(texts)))]

    def cuts(text: Ids, n: int) -> list[int]:
        between = [k for k in range(len(text) + 1) if k == len(text) or not continues[text[k]]]
        return sorted(int(k) for k in rng.choice(between, size=n))

    way = rng.random()
    if way < 0.7:
        (end,), (start,) = cuts(a, 1), cuts(b, 1)
        made = a[:end] + b[start:]
    elif way < 0.85:
        start, end = cuts(a, 2)
        made = a[:start] + a[end:]
    else:
        (place,), (start, end) = cuts(a, 1), cuts(b, 2)
        made = a[:place] + b[start:end] + a[place:]
    end = min(len(made), longest)
    while 0 < end < len(made) and continues[made[end]]:
        end -= 1
    return made[:end]
