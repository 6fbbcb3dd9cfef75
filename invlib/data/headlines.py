"""The corpus: headlines found, cleaned, freed of near-duplicates and split, with a count of what each step left."""

import bisect
import datetime
import hashlib
import re
import unicodedata
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from invlib import paths
from invlib.data.deck import DECK_HEADLINES
from invlib.data.duplicates import duplicate_groups, letters_key
from invlib.data.files import RawHeadline
from invlib.data.kaggle import KAGGLE
from invlib.data.sources import locate, read
from invlib.data.synthetic import synthetic_headlines

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict  # a second to import

SPLITS = ("train", "validation", "test")
STEPS = ("read", "empty", "duplicates", "left_out", "kept")
SMALLEST = 20  # different headlines, below which a split means nothing
SYNTHETIC_SIZE = 12_000
COLUMNS = ("text", "source", "date")
TEST_BELOW, VALIDATION_BELOW = 0.04997, 0.10175  # of a headline's draw; they give the published runs' split exactly
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

    splits: "DatasetDict"
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
    data: str | Path | None = None,
    *,
    seed: int = 0,
    allow_synthetic: bool = True,
    limit: int | None = None,
    column: str | None = None,
) -> Corpus:
    """Find, clean, deduplicate and split headlines, about 90 / 5 / 5.

    data: None = the folder named by INVLIB_DATA, else data/raw, else a download with kagglehub, else the synthetic
    sample (a warning; an error without `allow_synthetic`); or "synthetic", a CSV, TSV, JSON or Parquet file (gzipped
    or not), a text file (one a line), a folder of tables, a `datasets` name (owner/name, owner/name:config:split).
    column: the column of the texts; None = Headlines. limit: at most so many headlines; each split is then a part of
    the split without a limit, so that nothing moves from one side to another. A headline's side is a function of its
    text and the seed. The deck's ten headlines are always in the test split: those that the source lacks are added,
    as source "deck".

    Raises FileNotFoundError for what is missing and ValueError for what cannot be used.
    """
    from datasets import DatasetDict

    if limit is not None and limit < SMALLEST:
        raise ValueError(f"limit={limit}: a split needs at least {SMALLEST} headlines; give that or more, or None")
    source, raw = find_headlines(data, allow_synthetic, column)
    rows = usable(raw, source)
    different, added, deck = deduplicate(rows)
    check_size(len(different), source)  # once more: near-duplicates are gone now
    kept = different + added
    sides = split(kept, deck, seed, limit)
    chosen = {text for side in sides.values() for text, _, _ in side}
    stay = [row for row in kept if row[0] in chosen]
    stages = [Counter(row[1] for row in part) for part in (raw + added, rows + added, kept, stay)]
    by_source = {}
    for name in stages[0]:
        n_read, n_full, n_unique, n_kept = (stage[name] for stage in stages)
        steps = n_read, n_read - n_full, n_full - n_unique, n_unique - n_kept, n_kept
        by_source[name] = dict(zip(STEPS, steps, strict=True))
    return Corpus(
        splits=DatasetDict({name: as_dataset(side) for name, side in sides.items()}),
        source=source,
        data_hash=hashlib.sha256("\n".join(text for text, _, _ in stay).encode()).hexdigest()[:12],
        counts={step: sum(counts[step] for counts in by_source.values()) for step in STEPS} | {"by_source": by_source},
    )


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
        remedy = f"put the CSV files of kaggle.com/datasets/{KAGGLE} into data/raw, or name their folder in INVLIB_DATA"
        if not allow_synthetic:
            raise FileNotFoundError(f'{missing}; {remedy}, or ask for made-up headlines with data="synthetic"')
        warnings.warn(
            f"SYNTHETIC headlines: every result below is about made-up text, not about news: {missing}; {remedy}",
            stacklevel=3,
        )
    return "synthetic", [RawHeadline(text, "synthetic") for text in synthetic_headlines(SYNTHETIC_SIZE, seed=0)]


def usable(raw: Sequence[RawHeadline], source: str) -> list[Row]:
    """The rows that have a text, cleaned, with ISO dates; ValueError where too few of them differ."""
    rows = [(text, row.source, iso_date(row.time)) for row in raw if (text := clean(row.text))]
    check_size(len({letters_key(text) for text, _, _ in rows}), source)
    return rows


def check_size(n: int, source: str) -> None:
    if n < SMALLEST:
        raise ValueError(f"{source}: {n} different headlines are too few to split; give at least {SMALLEST}")


def clean(text: str) -> str:
    """White space folded to one space, curly quotes straight, invisible characters dropped, accents composed (NFC)."""
    return " ".join(unicodedata.normalize("NFC", text).translate(STRAIGHT).split())


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
    """About 90 / 5 / 5 by a seeded hash of each headline against fixed limits, so that no other headline moves it.

    rows: without near-duplicates. deck: texts that are always in the test split. limit: each side is cut to its
    share of so many, from the end. Test and validation get a headline each where no draw is small enough.
    """

    def draw(row: Row) -> float:
        letters = "".join(c for c in row[0].casefold() if c.isalnum()) or row[0]  # accents too: the published draw
        digest = hashlib.blake2b(f"{seed}\n{letters}".encode(), digest_size=16).digest()
        return int.from_bytes(digest, "big") / 2**128

    own = sorted((row for row in rows if row[0] not in deck), key=draw)
    draws = [draw(row) for row in own]
    test = max(1, bisect.bisect_left(draws, TEST_BELOW))
    validation = max(1, bisect.bisect_left(draws, VALIDATION_BELOW) - test)
    sides = {
        "train": own[test + validation :],
        "validation": own[test : test + validation],
        "test": [row for row in rows if row[0] in deck] + own[:test],
    }
    if limit is not None and limit < len(rows):
        share = round(limit / 20)
        sides["test"] = sides["test"][: max(share, len(deck) + 1)]
        sides["validation"] = sides["validation"][: max(share, 1)]
        sides["train"] = sides["train"][: limit - len(sides["test"]) - len(sides["validation"])]
    return {name: sorted(side, key=draw) for name, side in sides.items()}


def as_dataset(rows: Sequence[Row]) -> "Dataset":
    from datasets import Dataset, Features, Value

    columns = dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
    return Dataset.from_dict(columns, features=Features(dict.fromkeys(COLUMNS, Value("string"))))


def other_domains(split: str) -> pd.DataFrame:
    """The hundred sentences of data/other_domains.csv on one side, columns domain and text: no financial news.

    split: "development" to try things on, "test" for what is published; ValueError for any other.
    """
    frame = pd.read_csv(paths.DATA / "other_domains.csv", dtype=str, keep_default_na=False)
    if split not in (known := sorted(set(frame["split"]))):
        raise ValueError(f"unknown split {split!r} of the other domains; choose from {known}")
    return frame.loc[frame["split"] == split, ["domain", "text"]].reset_index(drop=True)
