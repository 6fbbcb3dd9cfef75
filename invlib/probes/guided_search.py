"""Guided search: decoded texts are refined by re-embedding them and recombining the closest to the vector's meaning.

vec2text's corrector (Morris et al., "Text Embeddings Reveal (Almost) As Much As Text", 2023) is its trained relative:
there a model learns to refine a text from the difference of the embeddings, here nothing is trained.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch

from invlib.measures.similarity import unit
from invlib.models.packed_ids import PackedIds

GOOD_ENOUGH_COSINE = 0.99  # a text whose embedding has this cosine to the vector's prefix is not refined
SAMPLING = {"do_sample": True, "temperature": 0.7, "top_k": 8}
REPEATED_NGRAM = 3  # a recombined text may not repeat any n-gram of word pieces this long

Ids = tuple[int, ...]  # word pieces of a text, without special tokens


def guided_search(
    model, z: np.ndarray, samples: int = 64, rounds: int = 12, kept: int = 12, children: int = 80,
    noise: float = 0.4, search: dict | None = None, seed: int = 0,
) -> list[list[int]]:  # fmt: skip
    """Vectors (N, D) with a semantic prefix -> ids of each text, as `generate_ids` gives them.

    A prefix is a point in the space of the frozen encoder's embeddings, and the encoder can embed any text. Greedy
    search may end at a text far from that point, as it does half way between two sentences. So the search proposes
    `samples` texts (`propose`), scores each by the cosine of its embedding to the prefix (`score`), and for `rounds`
    rounds recombines the `kept` best into `children` new ones (`evolve`). It reads nothing but the vector, its decoder
    and its encoder. A greedy text of `GOOD_ENOUGH_COSINE` stays as it is.

    model: an `InvertibleSentenceModel` whose pooling has a prefix, or `PackedIds`. search: what transformers'
    GenerationConfig takes; None = `SAMPLING`, and no sampling for `PackedIds`, which has none. What is drawn for a
    vector depends on seed and on the other vectors of z. ValueError for a model without a prefix, and for what
    `check_vectors` refuses.
    """
    if model.components is None:
        raise ValueError(
            f"guided search needs a vector with a semantic prefix, as hybrid's; {model.config.row!r} has none"
        )
    if search is None:
        search = {} if isinstance(model, PackedIds) else SAMPLING
    z = model.check_vectors(z)
    prefix = unit(z[:, : model.components.shape[1]])
    generated = [list(ids) for ids in model.generate_ids(z)]
    greedy = word_pieces(model, generated)
    unsolved = np.flatnonzero(score(model, greedy, prefix) < GOOD_ENOUGH_COSINE)
    if not len(unsolved):
        return generated
    prefix, rng = prefix[unsolved], np.random.default_rng(seed)
    with torch.random.fork_rng():  # transformers samples from torch's global generator
        torch.manual_seed(seed)
        new = propose(model, z[unsolved], samples, noise, search, rng)
    for k, texts in zip(unsolved, new, strict=True):
        texts.add(greedy[k])
    found = best_recombined(
        new, lambda texts, owners: score(model, texts, prefix[owners]), model.encoder.continues_word().tolist(),
        model.config.max_length - 2, rounds, kept, children, rng,
    )  # fmt: skip
    for k, text in zip(unsolved, found, strict=True):
        if text:
            generated[k] = [*text, model.config.eos_token_id]
    return generated


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


def word_pieces(model, generated: Iterable[Sequence[int]]) -> list[Ids]:
    """Generated ids without special tokens, cut to what fits the model."""
    c = model.config
    special = {c.bos_token_id, c.eos_token_id, c.pad_token_id}
    return [tuple(i for i in ids if i not in special)[: c.max_length - 2] for ids in generated]


def score(model, texts: Sequence[Ids], prefix: np.ndarray) -> np.ndarray:
    """Cosine of each text's embedding, projected as the prefix is, to its prefix; prefix (N, p) -> (N,)."""
    if not len(texts):
        return np.zeros(0)
    decoded = [text if text.strip() else "." for text in model.text(texts)]
    embedded = model.encoder.sentence_embedding(decoded, model.config.max_length).numpy()
    return (unit(embedded @ model.components) * prefix).sum(1)


def propose(model, z: np.ndarray, samples: int, noise: float, search: dict, rng: np.random.Generator) -> list[set[Ids]]:
    """Different texts that `search` finds for each vector (N, D) in `samples` passes.

    Every other pass, or every one where `search` is empty, moves the code by normal noise, `noise` times the code's
    root mean square; the prefix stays.
    """
    found: list[set[Ids]] = [set() for _ in z]
    size = model.components.shape[1]
    scale = noise * np.sqrt((z[:, size:] ** 2).mean(1, keepdims=True))
    for turn in range(samples):
        moved = z.copy()
        if turn % 2 or not search:
            moved[:, size:] += scale * rng.standard_normal(moved[:, size:].shape, dtype=np.float32)
        for texts, ids in zip(found, word_pieces(model, model.generate_ids(moved, **search)), strict=True):
            texts.add(ids)
    return found


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


def repeats(ids: Sequence[int], n: int = REPEATED_NGRAM) -> bool:
    """Whether an n-gram occurs twice: recombining tends to repeat parts."""
    ngrams = [tuple(ids[k : k + n]) for k in range(len(ids) - n + 1)]
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
