"""What notebook 07 and its appendix measure: a run's near-lossless model, models and a control beside it."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from invlib.encoders.batches import StatesDataset
from invlib.evaluation.run_results import TrainedRun
from invlib.models.codec import Codec
from invlib.models.model import InvertibleSentenceModel
from invlib.models.packed_ids import PackedIds
from invlib.probes.robustness import most_exact, packed_ids_by_bits
from invlib.rows import split_row_name
from invlib.settings import Settings, select_row
from invlib.training.train import train

MOST = 300  # test headlines, each decoded dozens of times
CORPUS = ("seed", "data", "column", "encoder", "n_headlines", "max_length")  # settings that say which headlines
BESIDE = ("_long", "_smooth")  # variants of hybrid that are shown beside the best


@dataclass(frozen=True)
class Compared:
    """A hybrid, the models beside it and the control of its size, on the same first n test headlines.

    trained: the run. best: the hybrid's name; settings: its own. models: by name, the hybrid first. packed:
    `packed_ids` with its prefix, by bits a number; control: the most exact of them.
    """

    trained: TrainedRun
    best: str
    settings: Settings
    models: dict[str, InvertibleSentenceModel]
    packed: dict[int, PackedIds]
    n: int

    @property
    def hybrid(self) -> InvertibleSentenceModel:
        return self.models[self.best]

    def dataset(self, model: Codec, split: str = "test", limit: int | None = None) -> StatesDataset:
        """A split's first headlines with the layers that the model reads; limit: how many, by default `n`."""
        return self.trained.material.dataset(split, limit or self.n, getattr(model, "reads_layers", ()))

    @cached_property
    def control(self) -> PackedIds:
        return most_exact(self.packed, self.dataset(next(iter(self.packed.values()))))

    @cached_property
    def vectors(self) -> dict[str, np.ndarray]:
        """The test headlines' vectors by model, (n, D), and those of the control as `packed_ids`."""
        return {name: m.vectors_of(self.dataset(m)) for name, m in {**self.models, "packed_ids": self.control}.items()}


def compare(trained: TrainedRun, settings: Settings, run: str | Path | None = None) -> Compared:
    """The run's smallest `long` hybrid, else its best by validation accuracy, and what stands beside it.

    A run without any hybrid trains one here, as the ablations are trained, into `run`. Beside it: its other `long`
    and `smooth` hybrids, and the att_pool whose vector is nearest in size.
    """

    def long_first(name: str) -> tuple:
        long = name.endswith("_long")
        return not long, split_row_name(name)[1] if long else -(trained.records[name].accuracy or 0)

    def of_like_size(name: str) -> tuple:
        return abs(split_row_name(name)[1] - embedding_dim), not name.endswith("_alike"), name

    hybrids = sorted((name for name in trained.models if name.startswith("hybrid")), key=long_first)
    if hybrids:
        best, own = hybrids[0], trained.settings[hybrids[0]]
        models = {best: trained.models[best]}
    else:
        own = ablation_settings(trained, settings, "plain")
        best, models = own.name, {own.name: train(own, run, trained.material, "ablation")[0]}
    embedding_dim = models[best].config.embedding_dim
    pools = sorted((name for name in trained.models if name.startswith("att_pool")), key=of_like_size)
    beside = [name for name in hybrids[1:] if name.endswith(BESIDE)] + pools[:1]
    models |= {name: trained.models[name] for name in beside}
    encoder, c = trained.material.encoder, models[best].config
    components = models[best].components
    assert components is not None  # a hybrid has a prefix
    packed = packed_ids_by_bits(encoder, components, embedding_dim, c.code_weight, c.max_length)
    n = min(settings.n_generate or MOST, MOST, len(trained.material.states["test"]))
    return Compared(trained, best, own, models, packed, n)


def ablation_settings(trained: TrainedRun, settings: Settings, variant: str, **changes) -> Settings:
    """A variant of hybrid, of `rows.ABLATIONS`, on the run's headlines for `ablation_steps`; D as in `settings.rows`.

    Where `settings` list no hybrid, D is 384. `no_prefix` is a multi_query. changes: further settings of one's own.
    """
    first = next(iter(trained.settings.values()))
    settings = dataclasses.replace(settings, **{key: getattr(first, key) for key in CORPUS})
    dim = next((split_row_name(name)[1] for name in settings.rows if name.startswith("hybrid")), 384)
    row = select_row(settings, f"{'multi_query' if variant == 'no_prefix' else 'hybrid'}_{dim}_{variant}")
    return dataclasses.replace(row, **{"steps": settings.ablation_steps, "bertscore_every_epoch": 0} | changes)
