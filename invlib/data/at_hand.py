"""A few headlines at once, for a notebook that explores: those on this machine, else made-up ones, labelled so."""

import dataclasses
import random
from pathlib import Path
from typing import NamedTuple

from invlib import paths
from invlib.data.deck import DECK_HEADLINES
from invlib.data.headlines import clean, usable
from invlib.data.sources import locate, read
from invlib.data.synthetic import synthetic_headlines
from invlib.settings import Settings

N_SYNTHETIC = 600  # headlines of a notebook on a bare clone: encoded in seconds; 30 of them are tested


class AtHand(NamedTuple):
    """texts: different ones; label: where they come from, in words; synthetic: whether most of them are made up."""

    texts: list[str]
    label: str
    synthetic: bool


def headlines_at_hand(data: str | Path | None = None, column: str | None = None, n: int = 200, seed: int = 0) -> AtHand:
    """At most n headlines, drawn with the seed, from what `data` names or, where it is None, INVLIB_DATA or data/raw.

    Nothing is downloaded for None: where no file is found, they are the deck's headlines and synthetic ones. column:
    of the texts; None = Headlines. Errors as `load_headlines`, and ValueError for n below 3 or a source of fewer.
    """
    if n < 3:
        raise ValueError(f"n={n}: give at least 3 headlines")
    source = locate(data, column)
    if source.kind in ("download", "synthetic"):
        deck = [clean(text) for text in DECK_HEADLINES][:n]
        made = synthetic_headlines(n - len(deck), seed)
        return AtHand([*deck, *made], f"{len(made)} SYNTHETIC headlines and {len(deck)} of the slide deck's", True)
    texts = sorted({row[0] for row in usable(read(source, column))})
    if len(texts) < 3:
        raise ValueError(f"{source.name}: {len(texts)} different texts are too few; give at least 3")
    drawn = random.Random(seed).sample(texts, min(n, len(texts)))
    return AtHand(drawn, f"{len(drawn)} of {len(texts)} texts from {source.name}", False)


def explored(settings: Settings, run: str | int | Path | None, needs: str = "models", n: int = N_SYNTHETIC) -> Settings:
    """The settings, with n synthetic headlines where no run has what a notebook `needs` and no headlines are at hand.

    For a notebook that is opened by itself on a bare clone: nothing is downloaded, and little is encoded. Else they are
    unchanged. Errors as `locate`.
    """
    if not paths.unmade(run, needs) or locate(settings.data, settings.column).kind != "download":
        return settings
    return dataclasses.replace(settings, data="synthetic", column=None, n_headlines=min(n, settings.n_headlines or n))


def no_run(run: str | int | Path | None, needs: str = "models") -> str:
    """What the first line of a notebook adds where nobody named a run and none has what it needs; else nothing."""
    words = "; NO RUN on this machine: what follows is the REPOSITORY's, or the PUBLISHED run's, each labelled so"
    return words if paths.unmade(run, needs) else ""
