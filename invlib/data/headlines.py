"""The corpus: headlines found, cleaned, freed of near-duplicates and split, with a count of what each step left."""

import bisect
import hashlib
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import pandas as pd

from invlib import paths
from invlib.data.deck import DECK_HEADLINES
from invlib.data.duplicates import duplicate_groups, letters_key
from invlib.data.files import RawHeadline
from invlib.data.sources import REMEDY, locate, read
from invlib.data.synthetic import synthetic_headlines

SPLITS = ("train", "validation", "test")
SMALLEST = 20  # different headlines, below which a split means nothing
SYNTHETIC_SIZE = 12_000
COLUMNS = ("text", "source", "date")
TEST_BELOW, VALIDATION_BELOW = 0.04997, 0.10175  # of a headline's draw; they give the published runs' split exactly
DATE_FORMATS = ("%d %b %Y", "%d-%b-%y", "%b %d %Y")  # CNBC "7:51  PM ET Fri, 17 July 2020"; Guardian; Reuters
STRAIGHT = str.maketrans(
    {**dict.fromkeys("‘’‚‛´", "'"), **dict.fromkeys("“”„‟", '"'), **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff")}
)
Row = tuple[str, str, str | None]  # text, source, date


@dataclass(frozen=True)
class Corpus:
    """Headlines ready for use.

    splits: a DatasetDict, train / validation / test, of text, source and date (ISO, None where unknown), in seeded
    order. source: "INVLIB_DATA", "data/raw", "kaggle", "synthetic", or what `data` named. data_hash: 12 hex digits
    over the texts in source order. counts: of each source, how many each step took, and how many were kept.
    """

    splits: dict
    source: str
    data_hash: str
    counts: dict[str, dict[str, int]]

    @property
    def synthetic(self) -> bool:
        """Whether these are the workbook's own made-up headlines, which say nothing of real news."""
        return self.source == "synthetic"

    def funnel(self) -> pd.DataFrame:
        """`counts` as a table: a row for each source and their sum, "all", a column for each step."""
        return pd.DataFrame(self.counts).assign(all=lambda counts: counts.sum(axis=1)).T


def load_headlines(
    data: str | Path | None = None, *, seed: int = 0, allow_synthetic: bool = True,
    limit: int | None = None, column: str | None = None,
) -> Corpus:  # fmt: skip
    """Find, clean, deduplicate and split headlines; FileNotFoundError for what is missing, ValueError for the unusable.

    data: None = the folder named by INVLIB_DATA, else data/raw, else a download with kagglehub, else the synthetic
    sample (a warning; an error without `allow_synthetic`); or a file, a folder, "synthetic" or a `datasets` name, as
    data/README.md lists them. column: of the texts; None = Headlines. limit: at most so many headlines; each split is
    then a part of the whole one. The deck's headlines are always tested: those that are missing come from "deck".
    """
    from datasets import Dataset, DatasetDict, Features, Value

    if limit is not None and limit < SMALLEST:
        raise ValueError(f"limit={limit}: a split needs at least {SMALLEST} headlines; give that or more, or None")
    source, raw = find_headlines(data, allow_synthetic, column)
    rows = usable(raw)
    different, added, deck = deduplicate(rows, source)
    sides = split(different + added, deck, seed, limit)
    chosen = {row for side in sides.values() for row in side}
    stay = [row for row in different + added if row in chosen]
    stages = raw + added, rows + added, different + added, stay
    first, full, unique, kept = (Counter(row[1] for row in stage) for stage in stages)
    counts = {
        name: {"read": first[name], "empty": first[name] - full[name], "duplicates": full[name] - unique[name],
               "left_out": unique[name] - kept[name], "kept": kept[name]}
        for name in first
    }  # fmt: skip
    features = Features(dict.fromkeys(COLUMNS, Value("string")))
    splits = {name: Dataset.from_pandas(pd.DataFrame(side, columns=COLUMNS), features) for name, side in sides.items()}
    data_hash = hashlib.sha256("\n".join(row[0] for row in stay).encode()).hexdigest()[:12]
    return Corpus(DatasetDict(splits), source, data_hash, counts)


def find_headlines(data: str | Path | None, allow_synthetic: bool, column: str | None) -> tuple[str, list[RawHeadline]]:
    """(name of the source, its rows as they are), looked for in the order of `load_headlines`."""
    source = locate(data, column)
    if source.kind != "synthetic":
        try:
            return source.name, read(source, column)
        except OSError as error:
            if source.kind != "download":
                raise
            missing = f"no headlines in INVLIB_DATA (not set) or data/raw, and none from Kaggle ({error})"
        if not allow_synthetic:
            raise FileNotFoundError(f'{missing}; {REMEDY}, or ask for made-up headlines with data="synthetic"')
        text = f"SYNTHETIC headlines: every result below is about made-up text, not about news: {missing}; {REMEDY}"
        warnings.warn(text, stacklevel=3)
    return "synthetic", [RawHeadline(text, "synthetic") for text in synthetic_headlines(SYNTHETIC_SIZE, seed=0)]


def usable(raw: Sequence[RawHeadline]) -> list[Row]:
    """The rows that have a text, cleaned, with ISO dates."""
    return [(text, row.source, iso_date(row.time)) for row in raw if (text := clean(row.text))]


def clean(text: str) -> str:
    """White space folded to one space, curly quotes straight, invisible characters dropped, accents composed (NFC)."""
    return " ".join(unicodedata.normalize("NFC", text).translate(STRAIGHT).split())


@lru_cache(maxsize=4096)  # times repeat
def iso_date(time: str) -> str | None:
    """The day of a source's time as YYYY-MM-DD; None where it has none ("", "Jul-18") or no calendar has it."""
    with suppress(ValueError):
        return datetime.fromisoformat(time.strip()[:10]).date().isoformat()
    day = re.sub(r"([a-z]{3})[a-z]+", r"\1", clean(time).lower().rpartition(", ")[2])  # months of three letters
    for form in DATE_FORMATS:
        with suppress(ValueError):
            return datetime.strptime(day, form).date().isoformat()
    return None


def deduplicate(rows: Sequence[Row], source: str) -> tuple[list[Row], list[Row], set[str]]:
    """(rows that stay, deck headlines that no row equals, texts that stand for the deck's); ValueError for too few.

    Of a group of near-duplicates the first row stays; of one with a headline of the deck the first row with equal
    letters, else the deck's own text.
    """
    deck: list[Row] = [(clean(text), "deck", None) for text in DECK_HEADLINES]
    both, n = [*deck, *rows], len(deck)
    firsts = duplicate_groups([row[0] for row in both])
    equal = {letters_key(both[i][0]): i for i in reversed(range(n, len(both))) if firsts[i] < n}
    standing = {equal.get(letters_key(row[0]), i) for i, row in enumerate(deck)}
    kept = sorted(standing | {first for first in firsts if first >= n})
    different, added = [both[i] for i in kept if i >= n], [both[i] for i in kept if i < n]
    if len(different) < SMALLEST:
        raise ValueError(f"{source}: {len(different)} different headlines are too few; give at least {SMALLEST}")
    return different, added, {both[i][0] for i in standing}


def split(rows: Sequence[Row], deck: set[str], seed: int, limit: int | None = None) -> dict[str, list[Row]]:
    """About 90 / 5 / 5 by a seeded hash of each headline against fixed bounds, so that no other headline moves it.

    deck: texts that are always in the test split. limit: each side is cut to its share of so many. Every side gets one.
    """

    def draw(row: Row) -> float:
        letters = "".join(c for c in row[0].casefold() if c.isalnum()) or row[0]  # accents too: the published draw
        digest = hashlib.blake2b(f"{seed}\n{letters}".encode(), digest_size=16).digest()
        return int.from_bytes(digest, "big") / 2**128

    own = sorted((row for row in rows if row[0] not in deck), key=draw)
    test = max(1, bisect.bisect_left(own, TEST_BELOW, key=draw))
    validation = max(1, bisect.bisect_left(own, VALIDATION_BELOW, key=draw) - test)
    sides = {"train": own[test + validation :], "validation": own[test : test + validation]}
    sides["test"] = [row for row in rows if row[0] in deck] + own[:test]
    if limit is not None and limit < len(rows):
        share = round(limit / 20)
        sides["test"] = sides["test"][: max(share, len(deck) + 1)]
        sides["validation"] = sides["validation"][: max(share, 1)]
        sides["train"] = sides["train"][: limit - len(sides["test"]) - len(sides["validation"])]
    return {name: sorted(side, key=draw) for name, side in sides.items()}


def other_domains(split: str) -> pd.DataFrame:
    """The hundred sentences of other_domains.csv in a split, development or test: columns domain and text."""
    frame = pd.read_csv(paths.DATA / "other_domains.csv", dtype=str, keep_default_na=False)
    if split not in (known := sorted(set(frame["split"]))):
        raise ValueError(f"unknown split {split!r} of the other domains; choose from {known}")
    return frame.loc[frame["split"] == split, ["domain", "text"]].reset_index(drop=True)
