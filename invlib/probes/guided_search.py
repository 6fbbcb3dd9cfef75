"""Search that asks the encoder: proposed texts are recombined until they mean what the vector means."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from transformers import set_seed

from invlib.encoders.frozen import continues_word
from invlib.measures.similarity import unit

GOOD_ENOUGH_COSINE = 0.99  # a text whose prefix has this cosine to the vector's own says what the vector means
SAMPLING = {"do_sample": True, "temperature": 0.7, "top_k": 8}
REPEATED = 3  # so many word pieces are not said twice in a recombined text


def guided_search(
    model, z: np.ndarray, samples: int = 64, rounds: int = 12, kept: int = 12, children: int = 80,
    noise: float = 0.4, search: dict | None = None, seed: int = 0,
) -> list[list[int]]:  # fmt: skip
    """Vectors (N, D) with a semantic prefix -> ids of each text, as `generate_ids` gives them.

    A vector's prefix is a place in the frozen encoder's space, and any text's place there can be asked of the encoder.
    So where greedy search ends elsewhere, as it does half way between two sentences, `samples` texts are drawn by
    `search` (what transformers' GenerationConfig takes; None = `SAMPLING`), every other one under normal `noise` on
    the code, in units of its root mean square. They are `recombined` for `rounds` rounds, `children` a round, and the
    `kept` nearest to the vector's prefix go on; no recombined text that `repeats` itself is asked for. Nothing is asked
    but the vector, its decoder and its encoder. A greedy text of `GOOD_ENOUGH_COSINE` is left as it is.

    model: an `InvertibleSentenceModel` whose pooling has a prefix, or `PackedIds`, which can't be sampled: all of its
    texts but the first are read under noise. seed: sets transformers' random numbers too; what is drawn for a vector
    depends on those beside it. ValueError for a model without a prefix, and for what `check_vectors` refuses.
    """
    packed = hasattr(model, "components")
    components = getattr(model if packed else getattr(model, "pooling", None), "components", None)
    if components is None:
        raise ValueError(
            f"guided search needs a vector with a semantic prefix, as hybrid's; {model.config.row!r} has none"
        )
    components = torch.as_tensor(components).float().cpu().numpy()  # (H, p)
    z = torch.as_tensor(model.check_vectors(z)).cpu().numpy()
    size, c = components.shape[1], model.config
    search = ({} if packed else SAMPLING) if search is None else search
    silent, longest = {c.bos_token_id, c.eos_token_id, c.pad_token_id}, c.max_length - 2
    target = unit(z[:, :size])

    def nearness(texts: Sequence[tuple[int, ...]], owners: Sequence[int]) -> np.ndarray:
        """Cosines (len(texts),) of the texts' prefixes to those of the vectors that they are for."""
        said = [text if text.strip() else "." for text in model.text(texts)]
        there = unit(model.encoder.sentence_embedding(said, c.max_length).numpy() @ components)
        return (there * target[list(owners)]).sum(1)

    def pieces(rows: Iterable[Sequence[int]]) -> list[tuple[int, ...]]:
        return [tuple(i for i in row if i not in silent)[:longest] for row in rows]

    said = [list(row) for row in model.generate_ids(z)]
    greedy = pieces(said)
    open_ = np.flatnonzero(nearness(greedy, range(len(z))) < GOOD_ENOUGH_COSINE).tolist() if len(z) else []
    if not open_:
        return said
    goes_on = continues_word(model.encoder.tokenizer, model.encoder.vocab_size).tolist()
    rng = np.random.default_rng(seed)
    set_seed(seed)
    scale = noise * np.sqrt((z[open_, size:] ** 2).mean(1, keepdims=True))
    new = {k: {greedy[k]} for k in open_}
    for turn in range(samples):
        vectors = z[open_].copy()
        if turn % 2 or not search:
            vectors[:, size:] += scale * rng.standard_normal(vectors[:, size:].shape, dtype=np.float32)
        for k, row in zip(open_, pieces(model.generate_ids(vectors, **search)), strict=True):
            new[k].add(row)
    found: dict[int, dict[tuple[int, ...], float]] = {k: {} for k in open_}  # a text's cosine to its vector's prefix
    for turn in range(rounds + 1):
        asked = [(k, row) for k in open_ for row in sorted(new[k]) if row and row not in found[k]]
        if asked:
            cosines = nearness([row for _, row in asked], [k for k, _ in asked]).tolist()
            for (k, row), cosine in zip(asked, cosines, strict=True):
                found[k][row] = cosine
        if turn < rounds:
            for k in open_:
                best = sorted(found[k], key=found[k].get, reverse=True)[:kept]
                made = {recombined(best, goes_on, longest, rng) for _ in range(children)} if best else set()
                new[k] = {row for row in made if not repeats(row)}
    for k in open_:
        if found[k]:
            said[k] = [*max(found[k], key=found[k].get), c.eos_token_id]
    return said


def repeats(row: Sequence[int], n: int = REPEATED) -> bool:
    """Whether n word pieces one after another stand in it twice: recombining is prone to say the same again."""
    runs = [tuple(row[k : k + n]) for k in range(len(row) - n + 1)]
    return len(set(runs)) < len(runs)


def recombined(
    texts: Sequence[tuple[int, ...]], continues: Sequence[bool], longest: int, rng: np.random.Generator
) -> tuple[int, ...]:
    """A new text out of two of `texts` (the best first, and the likelier chosen), of `longest` word pieces at most.

    Mostly the beginning of one and the end of the other; at times a part left out, or a part of the other put in. It is
    cut between words: continues (V,) says which pieces go on with one.
    """
    a = texts[min(len(texts) - 1, int(rng.exponential(len(texts) / 3)))]
    b = texts[int(rng.integers(len(texts)))]

    def cuts(text: tuple[int, ...], n: int) -> Iterable[int]:
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
