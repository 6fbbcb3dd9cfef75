"""What all models of a run share: the split headlines, the frozen encoder and its token states."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch.utils.data import ConcatDataset

from invlib.data.headlines import SPLITS, Corpus, load_headlines
from invlib.encoders.batches import StatesDataset
from invlib.encoders.frozen import FrozenEncoder, load_encoder
from invlib.encoders.random_sentences import random_sentences
from invlib.encoders.recombined import Recombined
from invlib.encoders.token_states import SelectedStates, TokenStates, token_states
from invlib.settings import Settings


class TrainingSet(ConcatDataset):
    """Several sets of sentences as one; lengths (N,): of each sentence, in word pieces."""

    @property
    def lengths(self) -> np.ndarray:
        return np.concatenate([part.lengths for part in self.datasets])

    def set_epoch(self, epoch: int) -> None:
        """Tell the sets that are new in each epoch."""
        for part in self.datasets:
            if isinstance(part, Recombined):
                part.set_epoch(epoch)


@dataclass(frozen=True)
class Material:
    """What all models of a run share; states: the token states of 'train', 'validation' and 'test'."""

    corpus: Corpus
    encoder: FrozenEncoder
    states: dict[str, TokenStates]

    def dataset(self, split: str, limit: int | None = None, layers: Sequence[str] = ("last",)) -> StatesDataset:
        """The first `limit` headlines of a split, or all of them, with the encoder layers that a pooling reads."""
        return StatesDataset(self.states[split], limit, layers, self.word_embeddings)

    @cached_property
    def word_embeddings(self) -> np.ndarray:
        """The frozen encoder's table, (V, H) float32."""
        return self.encoder.word_embeddings.cpu().numpy()

    def training_set(
        self, layers: Sequence[str], random_ratio: float, recombined_ratio: float, seed: int, longest: int
    ) -> "TrainingSet":
        """The training headlines, and for each of them so many random sentences and so many recombined ones.

        Random sentences (`random_sentences`) are drawn once, and their states kept; recombined ones (`Recombined`), of
        `longest` word pieces at most, are new in each epoch, and have no states.
        """
        parts = [self.dataset("train", layers=layers)]
        real = parts[0].ids()
        if n := round(random_ratio * len(real)):
            made = random_sentences(real, self.encoder, n, seed)
            longest_made = max(map(len, made))
            states = token_states(self.encoder, made, longest_made, progress=False)  # a notebook would keep the bar
            parts.append(StatesDataset(states, None, layers, self.word_embeddings, real=False))
        if n := round(recombined_ratio * len(real)):
            parts.append(Recombined(real, self.encoder, n, seed, longest))
        return TrainingSet(parts)

    def select(self, rows: Mapping[str, Sequence[int]]) -> "Material":
        """The material with those headlines alone that stand at `rows` of a split, in this order.

        Splits that are not named stay whole. data_hash is one of its own; counts stay those of the whole corpus.
        """
        corpus, chosen = self.corpus, {split: list(map(int, places)) for split, places in rows.items()}
        splits = {**corpus.splits, **{split: corpus.splits[split].select(places) for split, places in chosen.items()}}
        digest = hashlib.sha256(f"{corpus.data_hash} {sorted(chosen.items())}".encode()).hexdigest()[:12]
        states = {**self.states, **{split: SelectedStates(self.states[split], chosen[split]) for split in chosen}}
        return Material(dataclasses.replace(corpus, splits=splits, data_hash=digest), self.encoder, states)

    def label_counts(self) -> torch.Tensor:
        """How often each word piece is a label in the training headlines, (V,); [CLS] never is."""
        counts = np.bincount(self.states["train"].tokens, minlength=self.encoder.vocab_size)
        counts[self.encoder.bos_token_id] = 0
        return torch.from_numpy(counts)


def load_corpus(settings: Settings) -> Corpus:
    """The headlines of a run, cleaned and split."""
    return load_headlines(
        settings.data, seed=settings.seed, allow_synthetic=settings.allow_synthetic, limit=settings.n_headlines,
        column=settings.column,
    )  # fmt: skip


def load_material(settings: Settings, progress: bool = True) -> Material:
    """Headlines, encoder and token states of a run; the states are computed once and kept in runs/cache.

    Headlines longer than `settings.max_length` word pieces are cut; `states[split].n_cut` counts them.
    """
    return encoded(load_corpus(settings), settings, progress)


def encoded(corpus: Corpus, settings: Settings, progress: bool = True) -> Material:
    """`load_material` of headlines that are loaded already."""
    encoder = load_encoder(settings.encoder)
    states = {
        split: token_states(encoder, list(corpus.splits[split]["text"]), settings.max_length, progress=progress)
        for split in SPLITS
    }
    return Material(corpus, encoder, states)
