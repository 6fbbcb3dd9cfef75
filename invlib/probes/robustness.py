"""Robustness to noise and quantisation: what is decoded from a vector whose numbers are moved or kept in few bits."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from invlib.encoders.batches import StatesDataset
from invlib.encoders.frozen import FrozenEncoder
from invlib.encoders.material import Material
from invlib.measures.changed_vectors import quantized, with_noise
from invlib.measures.intervals import bootstrap, proportion_interval, ratio, with_ends
from invlib.measures.similarity import rank_correlation, rank_correlation_interval
from invlib.measures.text import generated_matches
from invlib.models.codec import Codec
from invlib.models.config import prefix_size
from invlib.models.packed_ids import BITS as PACKED_BITS
from invlib.models.packed_ids import PackedIds
from invlib.models.pooling import fit_components
from invlib.settings import Settings

NOISE = (0.0, 0.05, 0.1, 0.2, 0.4)  # standard deviations of each number
BITS = (8, 6, 4, 3, 2)


def reconstruction_metrics(
    model: Codec, z: np.ndarray, dataset: StatesDataset, n_bootstrap: int = 1000,
    generated: Sequence[Sequence[int]] | None = None,
) -> dict:  # fmt: skip
    """How well the data set's first N headlines are reconstructed from vectors (N, D).

    generated: what `model.generate_ids(z)` gave, where that is known.

    generated_accuracy with low and high, exact_match with exact_low and exact_high, 95 % intervals; n; and matches,
    what `generated_matches` gives of each headline, for `paired_difference`.
    """
    generated = model.generate_ids(z) if generated is None else generated
    return decoded_metrics(generated, dataset.ids(len(z)), model.config, n_bootstrap)


def decoded_metrics(
    generated: Sequence[Sequence[int]], reference: Sequence[Sequence[int]], config, n_bootstrap: int = 1000
) -> dict:
    """`reconstruction_metrics` of texts that are decoded already; both sides as `generated_matches` takes them."""
    matches = generated_matches(generated, reference, config)
    counted = matches["right"], matches["positions"]
    low, high = bootstrap(ratio, *counted, n=n_bootstrap)
    exact_low, exact_high = proportion_interval(matches["exact"])
    return {
        "generated_accuracy": ratio(*counted), "low": low, "high": high,
        "exact_match": float(matches["exact"].mean()), "exact_low": exact_low, "exact_high": exact_high,
        "n": len(matches["exact"]), "matches": matches,
    }  # fmt: skip


def robustness(
    model: Codec, dataset: StatesDataset, train: StatesDataset, n: int | None = None,
    noise: Sequence[float] = NOISE, bits: Sequence[int] = BITS, n_bootstrap: int = 1000, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """One row for each noise level and each number of bits, over the first n headlines; spread and scale from `train`.

    Columns noise (standard deviations), bits (NaN: all of them), and those of `reconstruction_metrics`.
    """
    seen, z = model.vectors_of(train), model.vectors_of(dataset)[:n]
    spread, largest = seen.std(0), np.abs(seen).max(0)
    moved: list[tuple[float, int | None, np.ndarray]]
    moved = [(level, None, with_noise(z, spread, level, seed)) for level in noise]
    moved += [(0.0, b, quantized(z, largest, b)) for b in bits]
    return pd.DataFrame(
        {"noise": level, "bits": b} | reconstruction_metrics(model, vectors, dataset, n_bootstrap)
        for level, b, vectors in moved
    )


def packed_ids_by_bits(
    encoder: FrozenEncoder, components: np.ndarray, embedding_dim: int, code_weight: float, max_length: int
) -> dict[int, PackedIds]:
    """The `PackedIds` of this prefix, (H, p), at D by their bits a number: those in which one id at least has room."""
    numbers, id_bits = embedding_dim - components.shape[1], (encoder.vocab_size - 1).bit_length()
    return {
        bits: PackedIds(encoder, components, embedding_dim, bits, code_weight, max_length)
        for bits in PACKED_BITS
        if numbers * bits >= id_bits
    }


def prefix_of_size(material: Material, embedding_dim: int) -> np.ndarray:
    """The prefix that `hybrid` has at this size, as a PCA (H, p) of the training headlines' embeddings."""
    p = min(prefix_size(embedding_dim), material.encoder.hidden_size)
    return fit_components(np.asarray(material.states["train"].sentence), p)


def packed_ids_of_size(material: Material, embedding_dim: int, settings: Settings) -> dict[int, PackedIds]:
    """`packed_ids_by_bits` behind the prefix that `hybrid` has at this size."""
    shape = prefix_of_size(material, embedding_dim), embedding_dim, settings.code_weight, settings.max_length
    return packed_ids_by_bits(material.encoder, *shape)


def matches_of(model: Codec, dataset: StatesDataset) -> dict[str, np.ndarray]:
    """`generated_matches` of a data set's own vectors."""
    return generated_matches(model.generate_ids(model.vectors_of(dataset)), dataset.ids(), model.config)


def most_exact(packed: dict[int, PackedIds], dataset: StatesDataset) -> PackedIds:
    """The one of `packed_ids_by_bits` with most headlines reconstructed exactly; among equals, of the fewest bits."""
    return max(packed.values(), key=lambda model: matches_of(model, dataset)["exact"].mean())


def packed_bits(material: Material, embedding_dim: int, reference_bits: np.ndarray, settings: Settings) -> dict:
    """Bits that `PackedIds` of this size recovers, with low and high: all of a headline's where it is exact, else 0.

    reference_bits (N,): what each test headline costs under the reference language model; over the first `n_generate`.
    The prefix is as large as hybrid's of that size. The bits a number are those that recover most of these very
    headlines, which favours this control.
    """
    dataset = material.dataset("test", settings.n_generate, ())
    packed = packed_ids_of_size(material, embedding_dim, settings)
    exact = [matches_of(model, dataset)["exact"] for model in packed.values()]
    if not exact:
        return {"bits": None, "low": None, "high": None}
    best = max((part * np.asarray(reference_bits)[: len(part)] for part in exact), key=np.mean)
    low, high = bootstrap(np.mean, best, n=settings.n_bootstrap)
    return {"bits": float(best.mean()), "low": low, "high": high}


def two_virtues(model: Codec, dataset: StatesDataset, n_bootstrap: int = 1000) -> dict:
    """exact_match, and rank_correlation of the vectors' cosines with the encoder's own; each with _low and _high; n."""
    z = model.vectors_of(dataset)
    exact = generated_matches(model.generate_ids(z), dataset.ids(), model.config)["exact"]
    agreement = rank_correlation(z, dataset.sentence), *rank_correlation_interval(z, dataset.sentence, n_bootstrap)
    found = {"n": len(z)} | with_ends("exact_match", float(exact.mean()), *proportion_interval(exact))
    return found | with_ends("rank_correlation", *agreement)


def best_per_level(tables: dict[int, pd.DataFrame]) -> pd.DataFrame:
    """Of several tables of `robustness`, by their bits: at each of its levels the row of most accuracy.

    A column `packed_bits` tells whose it is; among equals it is the one of the fewest bits.
    """
    every = pd.concat([table.assign(packed_bits=bits) for bits, table in sorted(tables.items())], ignore_index=True)
    level = [every["noise"], every["bits"].astype(float).fillna(np.inf)]  # inf: all of them
    return every.loc[every.groupby(level, sort=False)["generated_accuracy"].idxmax()].reset_index(drop=True)


def summary_metrics(
    model: Codec, dataset: StatesDataset, train: StatesDataset, noise: float = 0.4, n_bootstrap: int = 1000
) -> dict:
    """The metrics of an ablation over the data set's headlines, with 95 % intervals.

    generated_accuracy, exact_match, rank_correlation (of the vectors with the encoder's own) and noisy_accuracy, the
    accuracy under `noise` standard deviations; each with <name>_low and <name>_high; n; and matches and noisy_matches,
    what `generated_matches` gives of each headline, for `paired_difference`.
    """
    z, spread, sentence = model.vectors_of(dataset), model.vectors_of(train).std(0), dataset.sentence
    clean = reconstruction_metrics(model, z, dataset, n_bootstrap)
    noisy = reconstruction_metrics(model, with_noise(z, spread, noise), dataset, n_bootstrap)
    agreement = rank_correlation(z, sentence), *rank_correlation_interval(z, sentence, n_bootstrap)
    return {
        **with_ends("generated_accuracy", clean["generated_accuracy"], clean["low"], clean["high"]),
        **with_ends("exact_match", clean["exact_match"], clean["exact_low"], clean["exact_high"]),
        **with_ends("rank_correlation", *agreement),
        **with_ends("noisy_accuracy", noisy["generated_accuracy"], noisy["low"], noisy["high"]),
        "n": len(z), "matches": clean["matches"], "noisy_matches": noisy["matches"],
    }  # fmt: skip
