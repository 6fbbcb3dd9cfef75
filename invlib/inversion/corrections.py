"""What a corrector learns from: an epoch's texts, and a hypothesis for each.

The texts are new in each epoch: sentences recombined from training headlines, and a share of the headlines themselves.
Some hypotheses are the model's own, as it is then; some are the text with its words in another order and some words
exchanged, which is what search finds, and costs nothing.
"""

import random
from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import TrainerCallback
from transformers.trainer_pt_utils import LengthGroupedSampler

from invlib.encoders.batches import collate
from invlib.encoders.recombined import Recombined
from invlib.inversion.candidates import embed, propose
from invlib.models.model import InvertibleSentenceModel

REAL = 0.25  # share of an epoch's texts that are headlines
SAMPLED = 0.5  # share of the first hypotheses that are drawn, and not the likeliest
TEMPERATURE = 0.7
ROUNDS = (0.5, 0.25)  # share of the hypotheses that are corrected once; and twice


class Corrections(Dataset):
    """An epoch's texts and a hypothesis for each: items of input_ids, hypothesis (both with special tokens), reference.

    `refresh` makes them anew: REAL of the `n` are headlines, the others recombined ones. Each comes `passes` times.
    own: the share of the hypotheses that the model writes; the others are the text itself, disturbed.
    """

    def __init__(
        self, real: Sequence[Sequence[int]], recombined: Recombined, n: int, seed: int, passes: int = 2,
        own: float = 0.15,
    ):  # fmt: skip
        self.real, self.recombined, self.n, self.seed = real, recombined, n, seed
        self.passes, self.own = passes, own
        self.texts: list[list[int]] = [[recombined.bos, recombined.eos]] * n
        self.hypotheses, self.vectors = self.texts, np.zeros((n, 1), np.float32)

    def __len__(self) -> int:
        return self.passes * self.n

    @property
    def lengths(self) -> np.ndarray:
        return np.tile([len(text) for text in self.texts], self.passes)

    def refresh(self, model: InvertibleSentenceModel, epoch: int) -> None:
        rng = random.Random(hash((self.seed, epoch)))
        self.recombined.set_epoch(epoch)
        drawn = rng.sample(range(len(self.recombined)), self.n - round(REAL * self.n))
        self.texts = [self.recombined.ids(k) for k in drawn]
        self.texts += [list(self.real[k]) for k in rng.choices(range(len(self.real)), k=self.n - len(drawn))]
        rng.shuffle(self.texts)
        n = self.n - round(self.own * self.n)
        found: list[Sequence[int]] = [self.recombined.disturbed(text[1:-1], rng) for text in self.texts[:n]]
        self.vectors = embed(model, [text[1:-1] for text in self.texts])
        if n < self.n:
            with torch.random.fork_rng():  # the same texts in a training that was interrupted
                torch.manual_seed(rng.randrange(2**31))
                found += hypotheses(model, torch.from_numpy(self.vectors[n:]).to(model.device))
        ends = self.recombined.bos, self.recombined.eos
        self.hypotheses = [[ends[0], *text, ends[1]] for text in found]

    def __getitem__(self, k: int) -> dict:
        k %= self.n
        text, hypothesis = (np.array(ids, dtype=np.int32) for ids in (self.texts[k], self.hypotheses[k]))
        return {"input_ids": text, "hypothesis": hypothesis, "reference": self.vectors[k], "real": True}


def hypotheses(model: InvertibleSentenceModel, z: torch.Tensor) -> list[tuple[int, ...]]:
    """A text for each vector (N, D) from the model as it is: drawn or likeliest, and corrected up to two times."""
    model.eval()
    n = len(z)
    drawn = round(SAMPLED * n)
    texts = [row[0] for row in propose(model, z[:drawn], temperature=TEMPERATURE)] if drawn else []
    texts += [row[0] for row in propose(model, z[drawn:])]
    order = torch.randperm(n)
    for share in ROUNDS:
        chosen = order[: round(share * n)].tolist()
        if chosen:
            better = propose(model, z[chosen], [texts[i] for i in chosen])
            for i, row in zip(chosen, better, strict=True):
                texts[i] = row[0]
    return texts


def collate_corrections(items: Sequence[dict]) -> dict[str, torch.Tensor]:
    """input_ids, attention_mask (B, T) of the texts; hypothesis_ids, hypothesis_mask (B, T') of their hypotheses."""
    batch = collate(items)
    theirs = collate([item | {"input_ids": item["hypothesis"]} for item in items])
    return batch | {"hypothesis_ids": theirs["input_ids"], "hypothesis_mask": theirs["attention_mask"]}


class Refresh(TrainerCallback):
    """Makes the texts and hypotheses of each epoch at its beginning."""

    def __init__(self, corrections: Corrections):
        self.corrections = corrections

    def on_epoch_begin(self, args, state, control, model=None, **_):
        self.corrections.refresh(model, round(state.epoch))
        model.train()


class FreshLengths(LengthGroupedSampler):
    """Groups by the lengths that the texts have in this epoch."""

    def __init__(self, batch_size: int, dataset: Corrections):
        super().__init__(batch_size, dataset, lengths=dataset.lengths.tolist())
        self.dataset = dataset

    def __iter__(self):
        self.lengths = self.dataset.lengths.tolist()
        return super().__iter__()
