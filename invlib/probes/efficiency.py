"""What a vector gives back under noise, beside what its numbers could carry: one measurement for every system."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from invlib.encoders.batches import StatesDataset
from invlib.measures.changed_vectors import with_noise
from invlib.measures.channel import channel_bits, db_of_noise, noise_of_db
from invlib.measures.intervals import bootstrap, with_ends
from invlib.measures.text import bleu
from invlib.models.codec import Codec
from invlib.probes.robustness import reconstruction_metrics

SNR_DB = (None, 10, 8, 6, 3, 0, -3)  # signal-to-noise ratios in dB; None: no noise


def efficiency(
    codec: Codec | Callable[[float], Codec], dataset: StatesDataset, train: StatesDataset, reference_bits: np.ndarray,
    snr_db: Sequence[float | None] = SNR_DB, n: int | None = None, n_bootstrap: int = 1000, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """One row for each signal-to-noise ratio, over the first n headlines of `dataset`.

    codec: one for all noise, or a function that gives the one for a noise in standard deviations (0: none), which is
    how a code is chosen for its channel. Noise is in units of each number's standard deviation over `train`.
    reference_bits (N,): what each headline costs under the reference language model; bits given back are those of the
    headlines that are exact.

    Columns snr_db (infinite without noise), noise; those of `reconstruction_metrics`; bleu_1 in [0, 1], of the whole
    set with its brevity penalty; exact_bits, the mean of the bits given back, with exact_bits_low and exact_bits_high;
    channel_bits, what D such numbers can carry at 1 % block error; and efficiency, their quotient (0 without noise,
    where the channel carries any amount).
    """
    lines = []
    for db in snr_db:
        noise = noise_of_db(db)
        model = codec if isinstance(codec, Codec) else codec(noise)
        z = model.vectors_of(dataset)[:n]
        z = with_noise(z, model.vectors_of(train).std(0), noise, seed) if noise else z
        ids = model.generate_ids(z)
        found = reconstruction_metrics(model, z, dataset, n_bootstrap, ids)
        given = found["matches"]["exact"] * np.asarray(reference_bits)[: len(z)]
        limit = channel_bits(z.shape[1], noise)
        texts = model.text(ids), model.text(dataset.ids(len(z)))
        lines.append(
            {"snr_db": db_of_noise(noise), "noise": noise, "D": z.shape[1]} | found
            | {"bleu_1": bleu(*texts, order=1) / 100}
            | with_ends("exact_bits", float(given.mean()), *bootstrap(np.mean, given, n=n_bootstrap))
            | {"channel_bits": limit, "efficiency": given.mean() / limit if limit else np.nan}
        )  # fmt: skip
    return pd.DataFrame(lines)


def best_per_ratio(tables: dict[int, pd.DataFrame]) -> pd.DataFrame:
    """Of several tables of `efficiency`, by their bits a number: at each ratio the one that gives most bits back.

    A column `bits_a_number` tells whose it is. Among equals counts the accuracy, then the fewest bits a number.
    """
    every = pd.concat([table.assign(bits_a_number=bits) for bits, table in sorted(tables.items())], ignore_index=True)
    order = every.sort_values(["exact_bits", "generated_accuracy"], ascending=False, kind="stable")
    best = order.drop_duplicates("noise").sort_values("noise")
    return best.reset_index(drop=True)
