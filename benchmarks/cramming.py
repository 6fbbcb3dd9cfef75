"""How fast are vectors fitted to many texts?

Against one text at a time, in as many steps, over the whole vocabulary. A text's vectors do not depend on the texts
beside it; over a sample of the vocabulary they are others.
"""

import numpy as np

from benchmarks.common import compare, headlines, write
from invlib.encoders.frozen import load_encoder
from invlib.language_models.cramming import cram
from invlib.language_models.own_network import LanguageModelSettings, untrained_language_model

N, STEPS, SAMPLED = 32, 30, 1000


def main() -> None:
    texts, source = headlines(N)
    lm = untrained_language_model(LanguageModelSettings(), load_encoder("minilm"))
    vectors: dict[str, np.ndarray] = {}

    def fitted(name: str, batch_size: int, sampled: int):
        def run() -> None:
            _, vectors[name] = cram(
                lm, texts, steps=STEPS, stop=False, batch_size=batch_size, sampled_negatives=sampled, progress=False
            )

        return run

    alone = ("one text at a time, all word pieces", fitted("alone", 1, 0))
    ways = {f"{N} texts together, all word pieces": 0, f"{N} texts together, {SAMPLED} word pieces drawn": SAMPLED}
    lines = [
        compare(f"{what}, {STEPS} steps", fitted(what, N, sampled), *alone, n=N, pairs=2, warm=False)
        for what, sampled in ways.items()
    ]
    together = vectors[next(iter(ways))]
    lines[0]["largest_difference"] = float(np.abs(together - vectors["alone"]).max())
    write("cramming", "How fast are vectors fitted to many texts?", lines, headlines=source)


if __name__ == "__main__":
    main()
