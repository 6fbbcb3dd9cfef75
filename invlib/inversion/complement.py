"""What a text leaves unsaid of a vector, as a text of its own, and both in one.

Half way between two sentences a search for ONE sentence ends near one of them, or at words that no sentence has. But
where a text says one half of a vector, the other half is known: it lies where the vector is the middle of both.
"""

from collections.abc import Sequence

import numpy as np
import torch

from invlib.inversion.candidates import Ids, embed, propose

JOINT = ";"


def reflection(embedded: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Unit vectors (N, H) reflected at others, (N, H): each target is the direction of the middle of both."""
    return (2 * (embedded * target).sum(1, keepdims=True) * target - embedded).astype(np.float32)


def complements(model, target: np.ndarray, texts: Sequence[Sequence[Ids]], n: int) -> list[list[Ids]]:
    """For each target (N, H) texts that say what its own texts say, and what they leave unsaid, n times five a text.

    The decoder's beam of n gives texts for the reflection of a text's embedding at the target. Each is joined to the
    text whole, before and after it, with and without a semicolon; and half of the one to half of the other.
    """
    owners = [(i, text) for i, own in enumerate(texts) for text in own if text]
    made: list[list[Ids]] = [[] for _ in texts]
    if not owners:
        return made
    numbers, known = [i for i, _ in owners], [text for _, text in owners]
    unsaid = reflection(embed(model, known), target[numbers])
    joint, longest = tuple(model.encoder.tokenizer(JOINT)["input_ids"][1:-1]), model.config.max_length - 2
    found = propose(model, torch.from_numpy(unsaid).to(model.device), n=n)
    for i, text, others in zip(numbers, known, found, strict=True):
        for other in others:
            both = (*text, *joint, *other), (*other, *joint, *text), (*text, *other)
            halves = ((*a[: len(a) // 2], *b[len(b) // 2 :]) for a, b in ((text, other), (other, text)))
            made[i] += [new[:longest] for new in (*both, *halves)]
    return made
