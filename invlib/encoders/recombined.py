"""New sentences out of real ones, drawn anew in each epoch: training text that costs nothing but the encoder's work."""

import random
from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from invlib.encoders.frozen import FrozenEncoder

Word = tuple[int, ...]  # the ids of one word's pieces
# Shares: a sentence as it is; then two, one's beginning and the other's end; else spliced
KEPT_WHOLE, CROSSED = 0.3, 0.85
UNCHANGED = 0.25  # share of sentences in which no word is exchanged
# Of the exchanged words: as frequent as in the text; then each equally likely; else a piece
FREQUENT, DISTINCT = 0.5, 0.85
SHUFFLED = 0.1  # share of sentences in which a stretch of words changes its order


class Recombined(Dataset):
    """`n` sentences an epoch, as lists of word-piece ids with [CLS] and [SEP], at most `longest` of them.

    real: the ids of real sentences. A new one begins as one of them, takes its end or a part from another, and has a
    random share of its words exchanged: by words of the real sentences, or by any piece. It is cut between words.
    The same seed, epoch (`set_epoch`) and place give the same sentence. An item is {"input_ids", "real"}.
    """

    def __init__(self, real: Sequence[Sequence[int]], encoder: FrozenEncoder, n: int, seed: int, longest: int):
        self.continues = continues = encoder.continues_word().tolist()
        self.words = [words_of(ids[1:-1], continues) for ids in real]
        self.distinct = sorted({word for words in self.words for word in words})
        self.pieces = encoder.ordinary_pieces().tolist()
        self.bos, self.eos, self.longest = encoder.bos_token_id, encoder.eos_token_id, longest
        self.lengths = np.array([len(real[k % len(real)]) for k in range(n)])  # about: of the sentence it begins with
        self.seed, self.epoch = seed, 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def ids(self, k: int) -> list[int]:
        """The word-piece ids of sentence k of this epoch."""
        rng = random.Random(hash((self.seed, self.epoch, k)))
        words = self.spliced(self.words[k % len(self.words)], rng)
        words = self.exchanged(words, rng)
        if rng.random() < SHUFFLED:
            start, end = sorted(rng.choices(range(len(words) + 1), k=2))
            middle = words[start:end]
            rng.shuffle(middle)
            words = [*words[:start], *middle, *words[end:]]
        made: list[int] = []
        for word in words:
            if len(made) + len(word) > self.longest - 2:
                break
            made += word
        return [self.bos, *(made or self.words[k % len(self.words)][0][: self.longest - 2]), self.eos]

    def spliced(self, a: list[Word], rng: random.Random) -> list[Word]:
        """The words of a, with the end or a part of another real sentence in the place of theirs, or as they are."""
        way, b = rng.random(), rng.choice(self.words)
        if way < KEPT_WHOLE:
            return a
        if way < CROSSED:
            return a[: rng.randint(1, len(a))] + b[rng.randint(0, len(b)) :]
        start, end = sorted(rng.choices(range(len(a) + 1), k=2))
        first, last = sorted(rng.choices(range(len(b) + 1), k=2))
        return a[:start] + b[first:last] + a[end:]

    def exchanged(self, words: list[Word], rng: random.Random) -> list[Word]:
        """The words, a random share of them exchanged for `word`."""
        share = 0.0 if rng.random() < UNCHANGED else rng.random() ** 2
        return [self.word(rng) if rng.random() < share else word for word in words]

    def word(self, rng: random.Random) -> Word:
        """A word of a real sentence, one of all different words, or any piece."""
        way = rng.random()
        if way < FREQUENT:
            return rng.choice(rng.choice(self.words))
        return rng.choice(self.distinct) if way < DISTINCT else (rng.choice(self.pieces),)

    def disturbed(self, ids: Sequence[int], rng: random.Random) -> list[int]:
        """A near text: words moved, exchanged, left out and put in, each a few times or not at all."""
        words = words_of(ids, self.continues)
        n, strength = len(words), rng.random()
        for _ in range(min(int(rng.expovariate(1 / (0.5 * strength * n + 1e-9))), 2 * n)):
            start = rng.randint(0, len(words))
            moved = words[start : start + rng.randint(1, 4)]
            del words[start : start + len(moved)]
            at = rng.randint(0, len(words))
            words[at:at] = moved
        share = 0.6 * rng.random() ** 2
        words = [self.word(rng) if rng.random() < share else word for word in words if rng.random() > 0.2 * share]
        for _ in range(sum(rng.random() < 0.15 * share for _ in words)):
            words.insert(rng.randint(0, len(words)), self.word(rng))
        return [i for word in words for i in word][: self.longest - 2]

    def __getitem__(self, k: int) -> dict:
        return {"input_ids": np.array(self.ids(k), dtype=np.int32), "real": False}


def words_of(ids: Sequence[int], continues: Sequence[bool] | torch.Tensor) -> list[Word]:
    """A sentence's pieces word by word; continues (V,): whether a piece goes on with a word."""
    words: list[list[int]] = []
    for i in ids:
        if words and continues[i]:
            words[-1].append(i)
        else:
            words.append([i])
    return [tuple(word) for word in words]
