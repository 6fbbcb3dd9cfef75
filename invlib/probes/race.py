"""Three ways to invert an encoder's own vector, one after another, each shown as soon as it has a text."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from invlib.inversion.invert import Chain, rounds
from invlib.probes.latent import Given, vector_of


@dataclass(frozen=True)
class Attempt:
    """What one way found: a text, the cosine of its embedding to the vector, encoder calls and seconds so far."""

    way: str
    text: str
    cosine: float
    calls: int
    seconds: float


def race(model, z: Given, chain: Chain | None = None) -> Iterator[Attempt]:
    """Greedy decoding, re-ranking and each round of search and corrector on one vector, as they come in.

    model: a `mean_decoder` with its corrector; z: a sentence, or the frozen encoder's own embedding of it (H,).
    """
    chain = chain or Chain()
    vector, begun = vector_of(model, z)[None], time.perf_counter()

    def attempt(way: str, one) -> Attempt:
        return Attempt(way, model.text([one.best])[0], float(one.cosine), one.calls, time.perf_counter() - begun)

    for (one,) in rounds(model, vector, replace(chain, beam=1, samples=0, rounds=0)):
        yield attempt("greedy", one)
    begun = time.perf_counter()
    for k, (one,) in enumerate(rounds(model, vector, chain)):
        yield attempt(f"search and corrector, round {k}" if k else f"best of {len(one.cosines)} texts", one)
