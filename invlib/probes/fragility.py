"""How a system's texts fall apart when more and more of its vectors is noise."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from invlib.measures.changed_vectors import blended_with_noise
from invlib.measures.text import bleu, bleu_interval
from invlib.probes.card_data import CardData
from invlib.probes.systems import System

LEVELS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # the noise's share a of the variance


def fragility(system: System, data: CardData, levels: Sequence[float] = LEVELS) -> pd.DataFrame:
    """The texts of n test headlines' vectors, sqrt(1 - a) z + sqrt(a) e, for each a of `levels` (`of`).

    Measures: bleu (0 to 100) of the texts against the headlines; cosine of both by the judge; exact, the share of texts
    that are their headline. After the fragility curve of SONAR (Duquenne et al., 2023).
    """
    texts = data.test[: data.n]
    z, scale = system.encode(texts), data.scale(system)
    decoded = system.decode(np.concatenate([blended_with_noise(z, *scale, a, data.seed) for a in levels]))
    lines = []
    for k, a in enumerate(levels):
        found = decoded[k * len(texts) : (k + 1) * len(texts)]
        exact = np.array([one == text for one, text in zip(found, texts, strict=True)])
        table = pd.DataFrame({"cosine": data.judge.cosines(found, texts), "exact": exact})
        low, high = bleu_interval(found, texts, data.n_bootstrap)
        of_all = {"measure": "bleu", "n": len(texts), "mean": bleu(found, texts), "low": low, "high": high}
        lines += [data.means(table, str(a)), pd.DataFrame([of_all | {"of": str(a)}])]
    return pd.concat(lines, ignore_index=True)
