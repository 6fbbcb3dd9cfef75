"""Sentences that nobody wrote, added to training so that every word piece is met at every place."""

from collections.abc import Sequence

import numpy as np

from invlib.encoders.frozen import FrozenEncoder


def ordinary_pieces(encoder: FrozenEncoder) -> np.ndarray:
    """The ids of all word pieces but the special and unused ones, which stand in brackets."""
    vocabulary = encoder.tokenizer.get_vocab()
    special = set(encoder.tokenizer.all_special_ids)
    ordinary = [i for piece, i in vocabulary.items() if i not in special and not piece.startswith("[unused")]
    return np.array(sorted(ordinary))


def random_sentences(real: Sequence[Sequence[int]], encoder: FrozenEncoder, n: int, seed: int = 0) -> list[list[int]]:
    """`n` made sentences as word-piece ids, [CLS] and [SEP] included, with the lengths of real ones.

    In turn: random pieces, all equally often; a real sentence with a random share of its pieces swapped for random
    ones. Headlines alone show most of the 30 522 pieces never or hardly ever.
    """
    rng = np.random.default_rng(seed)
    pieces = ordinary_pieces(encoder)
    deck = np.concatenate([rng.permutation(pieces) for _ in range(1 + sum(map(len, real)) // len(pieces))])
    made, drawn = [], 0
    for k, i in enumerate(rng.integers(len(real), size=n)):
        ids = np.array(real[i])
        swap = np.zeros(len(ids), bool)
        swap[1:-1] = True if k % 2 == 0 else rng.random(len(ids) - 2) < rng.random()
        count = int(swap.sum())
        ids[swap] = np.take(deck, np.arange(drawn, drawn + count), mode="wrap")
        drawn += count
        made.append(ids.tolist())
    return made
