"""Where headlines come from: own files, data/raw, a download, the hub; read as they are, cleaned elsewhere."""

import contextlib
import csv
import io
import os
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

KAGGLE = "notlucasp/financial-news-headlines"
COLUMN = "Headlines"
HUB_COLUMNS = ("headlines", "headline", "text", "sentence", "title")  # of a `datasets` name, the first that it has
TABLE_SUFFIXES = (".csv", ".tsv")
TEXT_SUFFIXES = (*TABLE_SUFFIXES, ".txt")


class RawHeadline(NamedTuple):
    """One row as it was read: its text, the name of its source and the time as the source writes it."""

    text: str
    source: str
    time: str = ""


def read_folder(folder: Path, label: str) -> list[RawHeadline]:
    """All CSV files of a folder, in the order of their names; `label` is what the user calls it, for the error."""
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise FileNotFoundError(f"{label} {what}; it has to be a folder with CSV files that have a column {COLUMN!r}")
    files = sorted(folder.glob("*.csv"))
    if not files:
        found = ", ".join(sorted(p.name for p in folder.iterdir())[:5]) or "nothing"
        raise FileNotFoundError(
            f"{label} holds no CSV file (found: {found}); put the files of kaggle.com/datasets/{KAGGLE} there, "
            f"or any CSV with a column {COLUMN!r}"
        )
    return [row for file in files for row in read_csv(file)]


def read_csv(file: Path) -> Iterator[RawHeadline]:
    """The rows of a CSV file, or of a TSV file, whose columns are parted by tabs instead of commas.

    Columns: `Headlines` and, where there is one, `Time`, by name and in any order.
    """
    tabs = file.suffix.lower() == ".tsv"
    delimiter, sign, kind = ("\t", "tab", "TSV") if tabs else (",", "comma", "CSV")
    reader = csv.DictReader(io.StringIO(read_utf8(file), newline=""), delimiter=delimiter, strict=True)
    try:
        names = {name.strip().casefold(): name for name in reader.fieldnames or ()}
        column, when = names.get(COLUMN.casefold()), names.get("time")
        if column is None:
            raise ValueError(
                f"{file} has no column {COLUMN!r}; its columns are {', '.join(map(repr, names.values())) or 'none'}. "
                f"Rename the column that holds the headlines to {COLUMN!r}, or give a text file with one a line"
            )
        for row in reader:
            if None in row:  # more fields than columns: a comma without quotes would cut the headline short
                raise ValueError(
                    f"{file}, line {reader.line_num}: more fields than the {len(reader.fieldnames)} columns; "
                    f"put double quotes around a headline that has a {sign}"
                )
            yield RawHeadline(row[column] or "", file.stem.removesuffix("_headlines"), row.get(when) or "")
    except csv.Error as error:
        raise ValueError(f"{file}, line {reader.line_num}: not readable as {kind} ({error}); mend quotes") from error


def read_lines(file: Path) -> Iterator[RawHeadline]:
    """A text file, one headline a line."""
    return (RawHeadline(line, file.stem) for line in read_utf8(file).removesuffix("\n").split("\n"))


def read_utf8(file: Path) -> str:
    """A file's text, a byte order mark dropped; ValueError with file, line and byte where it is not UTF-8."""
    raw = file.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{file}, line {line}: byte 0x{raw[error.start]:02x} at position {error.start} is not UTF-8; "
            "save the file as UTF-8 (for example: iconv -f cp1252 -t utf-8)"
        ) from error


def read_named(data: str) -> Iterable[RawHeadline]:
    """What the argument `data` names: a folder of CSV files, a CSV or TSV file, a text file, or a `datasets` name."""
    path = Path(data).expanduser()
    if path.is_dir():
        return read_folder(path, f"data={data!r}")
    if path.is_file():
        return read_csv(path) if path.suffix.lower() in TABLE_SUFFIXES else read_lines(path)
    if path.is_absolute() or path.suffix.lower() in TEXT_SUFFIXES or data.startswith((".", "~")) or not data.strip():
        raise FileNotFoundError(
            f"data={data!r}: no such file or folder, seen from {Path.cwd()}; give a CSV or TSV file with a column "
            f"{COLUMN!r}, a text file with one headline a line, a folder of CSV files, a hub name, or 'synthetic'"
        )
    return read_hub(data)


def read_hub(name: str, seconds: float = 10.0) -> list[RawHeadline]:
    """All splits of a `datasets` name on the Hugging Face hub; its column is the first of HUB_COLUMNS that it has.

    The hub is asked first whether it has the name, so that without a network this fails in `seconds`, not after
    minutes of retries. With HF_HUB_OFFLINE=1 a data set that was loaded before is read from the cache.
    """
    import datasets
    from huggingface_hub import HfApi, constants

    try:
        if not constants.HF_HUB_OFFLINE:
            _answer_within(seconds, lambda: HfApi().dataset_info(name, timeout=seconds / 2))
        loaded = datasets.load_dataset(name)
    except Exception as error:  # the hub's clients raise a dozen unrelated kinds
        reason = f"{type(error).__name__}: {textwrap.shorten(str(error), 120)}"
        raise ValueError(
            f"data={name!r} could not be loaded from the hub ({reason}); no file or folder of that name exists, "
            f"seen from {Path.cwd()}; give one, or 'synthetic'"
        ) from error
    rows = []
    for split in loaded.values():
        names = {column.casefold(): column for column in split.column_names}
        column = next((names[c] for c in HUB_COLUMNS if c in names), None)
        if column is None:
            raise ValueError(
                f"data={name!r} has the columns {', '.join(split.column_names)}, and none of {', '.join(HUB_COLUMNS)}; "
                "save the column that you want as a text file, one headline a line, and give that"
            )
        texts = ["" if text is None else text for text in split[column]]
        if strange := [text for text in texts if not isinstance(text, str)]:
            raise ValueError(
                f"data={name!r}: its column {column} holds {strange[0]!r}, no text; save the texts as a file"
            )
        rows += [RawHeadline(text, name) for text in texts]
    return rows


def _answer_within(seconds: float, ask) -> None:
    """Call `ask`; TimeoutError when it has not returned in time, whatever hangs (name server, proxy, host)."""
    outcome: list[BaseException | None] = []

    def run() -> None:
        try:
            ask()
            outcome.append(None)
        except BaseException as error:  # carried to the caller's thread
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise TimeoutError(f"no answer within {seconds:g} s")
    if outcome[0] is not None:
        raise outcome[0]


def kaggle_cache() -> Path:
    """The folder in which kagglehub keeps what it downloads."""
    return Path(os.environ.get("KAGGLEHUB_CACHE") or "~/.cache/kagglehub").expanduser()


def kaggle_cached() -> Path | None:
    """The newest version of the Kaggle data set that kagglehub's cache has as a whole; None where it has none.

    kagglehub marks a version that is whole with a file `<version>.complete`.
    """
    home = kaggle_cache() / "datasets" / KAGGLE
    versions = [home / "versions" / marker.stem for marker in home.glob("*.complete") if marker.stem.isdigit()]
    return max((v for v in versions if v.is_dir()), key=lambda v: int(v.name), default=None)


def kaggle_folder(seconds: float = 10.0) -> Path:
    """The folder of the Kaggle data set, downloaded with kagglehub where its cache does not have it yet.

    A process of its own downloads, and is ended after `seconds` without an answer (a name server or proxy that hangs
    obeys no timeout), or after six times that without a further byte. It writes into a temporary folder, which is
    moved into the cache when complete, so nothing half-written stays. Raises OSError with the reason.
    """
    if (folder := kaggle_cached()) is not None:
        return folder
    cache = kaggle_cache()
    home = cache / "datasets" / KAGGLE
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".invlib-", dir=cache, ignore_cleanup_errors=True) as staging:
        folder = Path(_download(Path(staging), seconds))
        staged = Path(staging) / "datasets" / KAGGLE
        if not folder.is_relative_to(staging):  # Kaggle's own machines have the data mounted
            return folder
        for item in sorted(staged.rglob("*"), key=lambda p: p.suffix == ".complete"):  # the marker last
            if item.is_file():
                target = home / item.relative_to(staged)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(item, target)
        return home / folder.relative_to(staged)


def _download(staging: Path, seconds: float) -> str:
    """Run kagglehub in a process of its own with `staging` as its cache; the folder that it names."""
    code = f"import kagglehub; print('\\n' + kagglehub.dataset_download({KAGGLE!r}))"
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "KAGGLEHUB_CACHE": str(staging)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        try:
            size, since = 0, time.monotonic()
            while process.poll() is None:
                if (now := _size(staging)) != size:
                    size, since = now, time.monotonic()
                if time.monotonic() - since > (6 * seconds if size else seconds):
                    raise TimeoutError(f"no answer from Kaggle within {seconds:g} s")
                time.sleep(0.05)
        finally:
            process.kill()
            process.wait()
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            reason = _last_line(err.read()) or f"exit status {process.returncode}"
            raise ConnectionError(f"kagglehub: {textwrap.shorten(reason, 120)}")
        return _last_line(out.read())


def _size(folder: Path) -> int:
    """Bytes in a folder that another process is writing into."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # an unpacked archive goes while it is counted
            total += path.stat().st_size if path.is_file() else 0
    return total


def _last_line(output: bytes) -> str:
    return next(reversed(output.decode(errors="replace").strip().splitlines()), "")
