"""The corpus: headlines found, cleaned, freed of near-duplicates and split, with a count of what each step left."""

import datetime
import hashlib
import os
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from datasets import Dataset, DatasetDict, Features, Value

from invlib import paths
from invlib.data.deck import DECK_HEADLINES
from invlib.data.duplicates import duplicate_groups, letters_key
from invlib.data.sources import KAGGLE, RawHeadline, kaggle_folder, read_folder, read_named
from invlib.data.synthetic import synthetic_headlines

SPLITS = ("train", "validation", "test")
STEPS = ("read", "empty", "duplicates", "left_out", "kept")
SMALLEST = 20  # different headlines, below which a split means nothing
SYNTHETIC_SIZE = 12_000
FEATURES = Features({"text": Value("string"), "source": Value("string"), "date": Value("string")})
MONTHS = {m: i for i, m in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), start=1)}
DATE_FORMATS = (
    r"(?P<day>\d{1,2}) (?P<month>[a-z]{3,9}) (?P<year>\d{4})$",  # CNBC: "7:51  PM ET Fri, 17 July 2020"
    r"^(?P<day>\d{1,2})-(?P<month>[a-z]{3})-(?P<year>\d{2})$",  # Guardian: "18-Jul-20"
    r"^(?P<month>[a-z]{3}) (?P<day>\d{1,2}) (?P<year>\d{4})$",  # Reuters: "Jul 18 2020"
    r"^(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})",  # own data: ISO
)
STRAIGHT = str.maketrans(
    {**dict.fromkeys("‘’‚‛´", "'"), **dict.fromkeys("“”„‟", '"'), **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff")}
)
Row = tuple[str, str, str | None]  # text, source, date


@dataclass(frozen=True)
class Corpus:
    """Headlines ready for use.

    splits: `DatasetDict` train / validation / test with the columns text, source and date (ISO, None where unknown),
    in seeded order. source: "INVLIB_DATA", "data/raw", "kaggle", "synthetic", or what `data` named. data_hash: 12 hex
    digits over the texts in source order. counts: read, empty, duplicates, left_out (by `limit`) and kept, with
    read - empty - duplicates - left_out = kept, and `by_source`, the same for each source.
    """

    splits: DatasetDict
    source: str
    data_hash: str
    counts: dict

    @property
    def synthetic(self) -> bool:
        """Whether these are the workbook's own made-up headlines: a result on them says nothing of real news."""
        return self.source == "synthetic"

    def funnel(self) -> pd.DataFrame:
        """`counts` as a table: a row for each source and their sum, a column for each step."""
        return pd.DataFrame({**self.counts["by_source"], "all": {s: self.counts[s] for s in STEPS}}).T[list(STEPS)]


def load_headlines(
    data: str | Path | None = None, *, seed: int = 0, allow_synthetic: bool = True, limit: int | None = None
) -> Corpus:
    """Find, clean, deduplicate and split headlines 90 / 5 / 5.

    data: None = the folder named by INVLIB_DATA, else data/raw, else a download with kagglehub, else the synthetic
    sample (a warning; an error without `allow_synthetic`); or "synthetic", a CSV or TSV file, a text file (one a
    line), a folder of CSV files, a `datasets` name. limit: at most so many headlines; each split is then a part of the
    split without a limit, so that nothing moves from one side to another. The splits are a function of (cleaned texts,
    seed). The deck's ten headlines are always in the test split: those that the source lacks are added, as source
    "deck".

    Raises FileNotFoundError for what is missing and ValueError for what cannot be used.
    """
    if limit is not None and limit < SMALLEST:
        raise ValueError(f"limit={limit}: a split needs at least {SMALLEST} headlines; give that or more, or None")
    source, raw = find_headlines(data, allow_synthetic)
    counts: dict[str, Counter] = defaultdict(Counter)
    rows: list[Row] = []
    for row in raw:
        counts[row.source]["read"] += 1
        if text := clean(row.text):
            rows.append((text, row.source, iso_date(row.time)))
        else:
            counts[row.source]["empty"] += 1

    different, added, deck = deduplicate(rows)
    if len(different) < SMALLEST:
        raise ValueError(
            f"{source}: {len(different)} different headlines are too few to split ({sum_of(counts, 'read')} read, "
            f"{sum_of(counts, 'empty')} of them empty); give at least {SMALLEST}"
        )
    kept = different + added
    if added:
        counts["deck"]["read"] += len(added)
    sides = split(kept, deck, seed, limit)
    chosen = {text for side in sides.values() for text, _, _ in side}
    for name, count in counts.items():
        unique = sum(row[1] == name for row in kept)
        count["kept"] = sum(row[1] == name and row[0] in chosen for row in kept)
        count["left_out"] = unique - count["kept"]
        count["duplicates"] = count["read"] - count["empty"] - unique

    in_order = "\n".join(text for text, _, _ in kept if text in chosen)
    return Corpus(
        splits=DatasetDict({name: as_dataset(side) for name, side in sides.items()}),
        source=source,
        data_hash=hashlib.sha256(in_order.encode()).hexdigest()[:12],
        counts={step: sum_of(counts, step) for step in STEPS}
        | {"by_source": {name: {step: count[step] for step in STEPS} for name, count in counts.items()}},
    )


def find_headlines(data: str | Path | None, allow_synthetic: bool) -> tuple[str, Iterable[RawHeadline]]:
    """(name of the source, its rows as they are), looked for in the order of `load_headlines`."""
    if data == "synthetic":
        return "synthetic", synthetic_rows()
    if data is not None:
        return str(data), read_named(str(data))
    if folder := os.environ.get("INVLIB_DATA"):
        return "INVLIB_DATA", read_folder(Path(folder).expanduser(), f"INVLIB_DATA={folder!r}")
    raw = paths.DATA / "raw"
    if any(raw.glob("*.csv")):
        return "data/raw", read_folder(raw, "data/raw")
    try:
        downloaded = kaggle_folder()
    except OSError as error:
        missing = f"no headlines in INVLIB_DATA (not set) or data/raw, and none from Kaggle ({error})"
    else:
        return "kaggle", read_folder(downloaded, f"kaggle ({downloaded})")
    remedy = f"put the CSV files of kaggle.com/datasets/{KAGGLE} into data/raw, or name their folder in INVLIB_DATA"
    if not allow_synthetic:
        raise FileNotFoundError(f'{missing}; {remedy}, or ask for made-up headlines with data="synthetic"')
    warnings.warn(
        f"SYNTHETIC headlines: every result below is about made-up text, not about news: {missing}; {remedy}",
        stacklevel=3,
    )
    return "synthetic", synthetic_rows()


def synthetic_rows() -> list[RawHeadline]:
    """The synthetic sample: the same headlines whatever the seed of the split."""
    return [RawHeadline(text, "synthetic") for text in synthetic_headlines(SYNTHETIC_SIZE, seed=0)]


def clean(text: str) -> str:
    """White space and line breaks folded to one space, curly quotes straight, invisible characters dropped."""
    return " ".join(text.translate(STRAIGHT).split())


def iso_date(time: str) -> str | None:
    """The day of a source's time as YYYY-MM-DD; None where it has none ("", "Jul-18") or no calendar has it."""
    for form in DATE_FORMATS:
        if match := re.search(form, clean(time).lower()):
            month = match["month"]
            year = int(match["year"]) + (2000 if len(match["year"]) == 2 else 0)
            try:
                return datetime.date(year, MONTHS.get(month[:3]) or int(month), int(match["day"])).isoformat()
            except ValueError:  # 31 February, or a word that is no month
                return None
    return None


def deduplicate(rows: Sequence[Row]) -> tuple[list[Row], list[Row], set[str]]:
    """(rows that stay, deck headlines that no row equals, texts that stand for the deck's headlines).

    Of a group of near-duplicates the first row stays. A headline of the deck is stood for by the row that equals it
    without case and punctuation, else by the deck's own text; the rest of its group goes.
    """
    deck: list[Row] = [(clean(text), "deck", None) for text in DECK_HEADLINES]
    everything = [*deck, *rows]
    groups: dict[int, list[int]] = defaultdict(list)
    firsts = duplicate_groups([text for text, _, _ in everything])
    for i, first in enumerate(firsts):
        groups[first].append(i)

    def stands_for(mine: int) -> int:
        key = letters_key(deck[mine][0])
        others = (i for i in groups[firsts[mine]] if i >= len(deck))
        return next((i for i in others if letters_key(everything[i][0]) == key), mine)

    standing = {stands_for(mine) for mine in range(len(deck))}
    kept = sorted(standing | {first for first in groups if first >= len(deck)})
    added = [everything[i] for i in kept if i < len(deck)]
    return [everything[i] for i in kept if i >= len(deck)], added, {everything[i][0] for i in standing}


def split(rows: Sequence[Row], deck: set[str], seed: int, limit: int | None = None) -> dict[str, list[Row]]:
    """90 / 5 / 5 by a seeded hash of each headline: its side hangs on its text, not on its place in a file.

    rows: without near-duplicates. deck: texts that are always in the test split. limit: each side is cut to its
    share of so many, from the end.
    """

    def draw(row: Row) -> bytes:
        return hashlib.blake2b(f"{seed}\n{letters_key(row[0])}".encode(), digest_size=16).digest()

    def sizes(n: int) -> tuple[int, int, int]:
        small = round(n / 20)
        test, validation = max(small, len(deck) + 1), max(small, 1)
        return n - validation - test, validation, test

    ordered = sorted(rows, key=lambda row: (row[0] not in deck, draw(row)))  # the deck first, so that it is in test
    train, validation, test = sizes(len(ordered))
    sides = ordered[test + validation :], ordered[test : test + validation], ordered[:test]
    if limit is not None and limit < len(ordered):
        sides = [side[:size] for side, size in zip(sides, sizes(limit), strict=True)]
    return {name: sorted(side, key=draw) for name, side in zip(SPLITS, sides, strict=True)}


def as_dataset(rows: Sequence[Row]) -> Dataset:
    columns = zip(*rows, strict=True)
    return Dataset.from_dict(dict(zip(FEATURES, map(list, columns), strict=True)), features=FEATURES)


def sum_of(counts: dict[str, Counter], step: str) -> int:
    return sum(count[step] for count in counts.values())


def other_domains(split: str) -> pd.DataFrame:
    """The hundred sentences of data/other_domains.csv on one side, columns domain and text: no financial news.

    split: "development" to try things on, "test" for what is published; ValueError for any other.
    """
    frame = pd.read_csv(paths.DATA / "other_domains.csv", dtype=str, keep_default_na=False)
    if split not in (known := sorted(set(frame["split"]))):
        raise ValueError(f"unknown split {split!r} of the other domains; choose from {known}")
    return frame.loc[frame["split"] == split, ["domain", "text"]].reset_index(drop=True)
