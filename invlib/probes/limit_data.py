"""What notebook 08 holds against the limit: the same headlines and noise for every system, and the codes of a size."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from invlib.encoders.batches import StatesDataset
from invlib.encoders.material import Material
from invlib.models.arithmetic_code import ArithmeticCode, payload_sizes
from invlib.models.codec import Codec
from invlib.models.model import InvertibleSentenceModel
from invlib.models.text_code import TextCode
from invlib.probes.efficiency import SNR_DB, best_per_ratio, efficiency
from invlib.probes.robustness import packed_ids_of_size, prefix_of_size
from invlib.settings import Settings
from invlib.training.record import TrainingRecord

SCALE = 500  # training headlines that give each number's standard deviation, and the arithmetic code's sizes
LAYERS = "word", "last"  # that the learned models read


@dataclass(frozen=True)
class LimitData:
    """test: the first `settings.n_search` test headlines; train: `SCALE` training headlines, fewer in a small run.

    test_bits (N,), train_bits (M,): what each headline costs under the language model of `text_code`.
    """

    settings: Settings
    material: Material
    text_code: TextCode
    test: StatesDataset
    train: StatesDataset
    test_bits: np.ndarray
    train_bits: np.ndarray

    @classmethod
    def of(cls, settings: Settings, material: Material, language_model: InvertibleSentenceModel) -> "LimitData":
        """The headlines of a run; ValueError for a language model that decodes a vector."""
        n, text_code = settings.n_search, TextCode(language_model)
        test, train = material.dataset("test", n, LAYERS), material.dataset("train", min(SCALE, 20 * n), LAYERS)
        return cls(settings, material, text_code, test, train, text_code.bits(test.ids()), text_code.bits(train.ids()))

    def measured(
        self, codec: Codec | Callable[[float], Codec], snr_db: Sequence[float | None] = SNR_DB
    ) -> pd.DataFrame:
        """`efficiency` of a system on these headlines, without the headlines' own matches."""
        n, seed = self.settings.n_bootstrap, self.settings.seed
        table = efficiency(codec, self.test, self.train, self.test_bits, snr_db, n_bootstrap=n, seed=seed)
        return table.drop(columns="matches")

    def packed_ids(self, embedding_dim: int, snr_db: Sequence[float | None] = SNR_DB) -> pd.DataFrame:
        """`measured` of the packed ids of this size: at each ratio of the bits a number that give most back."""
        packed = packed_ids_of_size(self.material, embedding_dim, self.settings)
        return best_per_ratio({bits: self.measured(model, snr_db) for bits, model in packed.items()})

    def arithmetic_code(self, embedding_dim: int, prefix: bool = True) -> Callable[[float], ArithmeticCode]:
        """What makes the arithmetic code of this size for a noise in standard deviations; its sizes fit `train`.

        prefix: whether it stands behind the prefix that `hybrid` has at this size, or has all numbers to itself.
        """
        encoder, sizes = self.material.encoder, payload_sizes(self.train_bits)
        components = prefix_of_size(self.material, embedding_dim) if prefix else np.zeros((encoder.hidden_size, 0))
        weight, longest = self.settings.code_weight, self.settings.max_length
        behind = self.text_code, encoder, components, embedding_dim
        return lambda noise: ArithmeticCode(*behind, noise, sizes, weight, longest)

    def poolings(self, models: Mapping[str, InvertibleSentenceModel]) -> pd.DataFrame:
        """`measured` of trained models without noise, at 10 and 6 dB, by row and D; model: the row, steps: trained."""
        tables = [
            self.measured(model, (None, 10, 6)).assign(
                model=model.config.row, steps=TrainingRecord.read(model.folder).steps if model.folder else None
            )
            for model in models.values()
        ]
        return pd.concat(tables, ignore_index=True).sort_values(["model", "D"], kind="stable")
