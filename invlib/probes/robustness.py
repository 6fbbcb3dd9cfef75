"""What a vector bears: noise on its numbers, and fewer bits for each."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from invlib.encoders.batches import StatesDataset, in_order
from invlib.encoders.material import Material
from invlib.measures.intervals import bootstrap, ratio
from invlib.measures.similarity import rank_correlation, rank_correlation_interval
from invlib.measures.text import generated_matches
from invlib.models.model import prefix_size
from invlib.models.packed_ids import BITS as PACKED_BITS
from invlib.models.packed_ids import PackedIds
from invlib.models.pooling import fit_components
from invlib.settings import Settings

NOISE = (0.0, 0.05, 0.1, 0.2, 0.4)  # standard deviations of each number
BITS = (8, 6, 4, 3, 2)


@torch.no_grad()
def vectors_of(model, dataset: StatesDataset, batch_size: int = 256) -> np.ndarray:
    """The vectors of a data set's sentences, (N, D) float32: of a model, or of `PackedIds`."""
    if hasattr(model, "pack"):
        return model.pack(dataset.sentence, dataset.ids())
    model.eval()
    return np.concatenate([model.pool(batch).float().cpu() for batch in in_order(dataset, batch_size, model.device)])


def with_noise(z: np.ndarray, spread: np.ndarray, level: float, seed: int = 0) -> np.ndarray:
    """Vectors (N, D) with normal noise of `level` times each number's standard deviation, spread (D,)."""
    noise = np.random.default_rng(seed).standard_normal(z.shape, dtype=np.float32)
    return (z + level * spread * noise).astype(np.float32)


def quantized(z: np.ndarray, largest: np.ndarray, bits: int) -> np.ndarray:
    """Vectors (N, D) as they come back from `bits` bits a number, by a symmetric scale for each.

    largest (D,): each number's largest absolute value over the training split; what lies beyond is cut there.
    """
    if bits < 2:
        raise ValueError(f"bits={bits}: a symmetric scale needs at least 2")
    steps = 2 ** (bits - 1) - 1
    scale = np.maximum(largest, 1e-12) / steps
    return (np.clip(np.rint(z / scale), -steps, steps) * scale).astype(np.float32)


def reconstruction_metrics(model, z: np.ndarray, dataset: StatesDataset, n_bootstrap: int = 1000) -> dict:
    """What comes back of the data set's first N headlines from vectors (N, D).

    generated_accuracy with low and high, exact_match with exact_low and exact_high, 95 % intervals; n.
    """
    found = generated_matches(model.generate_ids(z), dataset.ids(len(z)), model.config)
    low, high = bootstrap(ratio, found["right"], found["positions"], n=n_bootstrap)
    exact_low, exact_high = bootstrap(np.mean, found["exact"], n=n_bootstrap)
    return {
        "generated_accuracy": ratio(found["right"], found["positions"]), "low": low, "high": high,
        "exact_match": float(found["exact"].mean()), "exact_low": exact_low, "exact_high": exact_high, "n": len(z),
    }  # fmt: skip


def robustness(
    model, dataset: StatesDataset, train: StatesDataset, n: int | None = None,
    noise: Sequence[float] = NOISE, bits: Sequence[int] = BITS, n_bootstrap: int = 1000, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """One row for each noise level and each number of bits, over the first n headlines; spread and scale from `train`.

    Columns noise (standard deviations), bits (NaN: all of them), generated_accuracy, low, high, exact_match, exact_low,
    exact_high, n.
    """
    seen = vectors_of(model, train)
    spread, largest = seen.std(0), np.abs(seen).max(0)
    z = vectors_of(model, dataset)[:n]
    rows = [
        {"noise": k, "bits": None} | reconstruction_metrics(model, with_noise(z, spread, k, seed), dataset, n_bootstrap)
        for k in noise
    ]
    rows += [
        {"noise": 0.0, "bits": b} | reconstruction_metrics(model, quantized(z, largest, b), dataset, n_bootstrap)
        for b in bits
    ]
    return pd.DataFrame(rows)


def packed_ids_by_bits(
    encoder, components: np.ndarray, embedding_dim: int, code_weight: float, max_length: int
) -> dict:
    """The `PackedIds` of this prefix, (H, p), at D by their bits a number: those in which one id at least has room."""
    made = {}
    for bits in PACKED_BITS:
        if (embedding_dim - components.shape[1]) * bits >= (encoder.vocab_size - 1).bit_length():
            made[bits] = PackedIds(encoder, components, embedding_dim, bits, code_weight, max_length)
    return made


def most_exact(packed: dict[int, PackedIds], dataset) -> PackedIds:
    """The one of `packed_ids_by_bits` that gives most headlines back exactly; of equals the one of the fewest bits."""
    exact = {
        bits: reconstruction_metrics(p, vectors_of(p, dataset), dataset, 2)["exact_match"] for bits, p in packed.items()
    }
    return packed[max(exact, key=exact.get)]


def packed_bits(material: Material, embedding_dim: int, reference_bits: np.ndarray, settings: Settings) -> dict:
    """Bits that `PackedIds` of this size gives back, with low and high: a headline's where it comes back whole, else 0.

    reference_bits (N,): what each test headline costs under the reference language model; over the first `n_generate`.
    The prefix is as large as hybrid's of that size, and the bits a number are those that give back most.
    """
    p = min(prefix_size(embedding_dim, settings.queries), material.encoder.hidden_size)
    components = fit_components(np.asarray(material.states["train"].sentence), p)
    dataset = material.dataset("test", settings.n_generate, ())
    gained = []
    packed = packed_ids_by_bits(material.encoder, components, embedding_dim, settings.code_weight, settings.max_length)
    for model in packed.values():
        said = model.generate_ids(vectors_of(model, dataset))
        exact = generated_matches(said, dataset.ids(), model.config)["exact"]
        gained.append(exact * np.asarray(reference_bits)[: len(exact)])
    if not gained:
        return {"bits": None, "low": None, "high": None}
    best = max(gained, key=np.mean)
    low, high = bootstrap(np.mean, best, n=settings.n_bootstrap)
    return {"bits": float(best.mean()), "low": low, "high": high}


def best_per_level(tables: dict[int, pd.DataFrame]) -> pd.DataFrame:
    """Of several tables of `robustness`, by their bits: at each of its levels the row of most accuracy.

    A column `packed_bits` tells whose it is; among equals it is the one of the fewest bits.
    """
    every = pd.concat([table.assign(packed_bits=bits) for bits, table in sorted(tables.items())], ignore_index=True)
    level = [every["noise"], every["bits"].astype(float).fillna(np.inf)]  # inf: all of them
    return every.loc[every.groupby(level, sort=False)["generated_accuracy"].idxmax()].reset_index(drop=True)


def summary_metrics(
    model, dataset: StatesDataset, train: StatesDataset, noise: float = 0.4, n_bootstrap: int = 1000
) -> dict:
    """What an ablation is judged by, cheaply: a dict of figures over the data set's headlines, with 95 % intervals.

    generated_accuracy, exact_match, rank_correlation (of the vectors with the encoder's own) and noisy_accuracy, the
    accuracy under `noise` standard deviations; each with <name>_low and <name>_high; and n.
    """
    z, spread, sentence = vectors_of(model, dataset), vectors_of(model, train).std(0), dataset.sentence
    clean = reconstruction_metrics(model, z, dataset, n_bootstrap)
    noisy = reconstruction_metrics(model, with_noise(z, spread, noise), dataset, n_bootstrap)
    low, high = rank_correlation_interval(z, sentence, n_bootstrap)
    return {
        "generated_accuracy": clean["generated_accuracy"], "generated_accuracy_low": clean["low"],
        "generated_accuracy_high": clean["high"], "exact_match": clean["exact_match"],
        "exact_match_low": clean["exact_low"], "exact_match_high": clean["exact_high"],
        "rank_correlation": rank_correlation(z, sentence), "rank_correlation_low": low,
        "rank_correlation_high": high, "noisy_accuracy": noisy["generated_accuracy"],
        "noisy_accuracy_low": noisy["low"], "noisy_accuracy_high": noisy["high"], "n": len(z),
    }  # fmt: skip
