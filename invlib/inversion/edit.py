"""Edit: a text that is nearly right, changed in as few places as bring it to its vector.

Search (search.py) looks for any text of a vector. Where one is known that says all but a fact, most words are to stay.
"""

from collections.abc import Sequence

import numpy as np

from invlib.inversion.candidates import Ids, embed
from invlib.inversion.search import alternatives

COST = 0.005  # of cosine, that a change has to bring; chosen on validation headlines, see results/inversion_cpu
CHANGES = 4  # at most
PUT_IN = 2  # of the pieces to try in a place, that are put in before it too


def edit(model, target: np.ndarray, texts: Sequence[Ids], cost: float = COST, changes: int = CHANGES) -> list[Ids]:
    """Each text, with the changes of one piece that bring its embedding nearest to its target (N, H), one at a time.

    A piece is exchanged, put in or left out; what is tried in a place, the encoder's gradient and the decoder of
    `model`, an inverter, name. Every change of a text is read by the encoder, the best is made, and so on until none
    brings `cost`.
    """
    best = list(texts)
    cosine, active = (embed(model, best) * target).sum(1), list(range(len(best)))
    for _ in range(changes):
        tried = alternatives(model, target[active], [best[i] for i in active], gradient=True)
        new = [changed(best[i], pieces) for i, pieces in zip(active, tried, strict=True)]
        owners = [i for i, own in zip(active, new, strict=True) for _ in own]
        found = [text for own in new for text in own]
        cosines = (embed(model, found) * target[owners]).sum(1)
        nearest: dict[int, int] = {}  # of each text, the number of its change that comes nearest
        for k in np.argsort(-cosines, kind="stable").tolist():
            nearest.setdefault(owners[k], k)
        active = [i for i, k in nearest.items() if cosines[k] > cosine[i] + cost]
        for i in active:
            best[i], cosine[i] = found[nearest[i]], cosines[nearest[i]]
        if not active:
            break
    return best


def changed(text: Ids, pieces: np.ndarray) -> list[Ids]:
    """The text with one piece exchanged, put in or left out; pieces (T + 1, A): what to try in each place."""
    made: dict[Ids, None] = {}
    for t, row in enumerate(pieces.tolist()):
        made |= {(*text[:t], piece, *text[t:]): None for piece in row[:PUT_IN]}
        if t < len(text):
            made |= {(*text[:t], piece, *text[t + 1 :]): None for piece in row}
            made[(*text[:t], *text[t + 1 :])] = None
    return [new for new in made if new and new != text]
