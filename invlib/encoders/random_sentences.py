"""Random sentences, added to training so that the model meets every word piece at every position."""

from collections.abc import Sequence

import numpy as np

from invlib.encoders.frozen import FrozenEncoder


def random_sentences(real: Sequence[Sequence[int]], encoder: FrozenEncoder, n: int, seed: int = 0) -> list[list[int]]:
    """`n` sentences as lists of word-piece ids, [CLS] and [SEP] included, as long as the real ones.

    In turn: random pieces, all equally often; a real sentence in which a random share of the pieces is replaced by
    random ones. Real headlines contain most of the 30 522 pieces rarely or never.
    """
    rng = np.random.default_rng(seed)
    pieces = encoder.ordinary_pieces()
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
