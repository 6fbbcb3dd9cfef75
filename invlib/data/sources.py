"""Where headlines come from: own files, data/raw, Kaggle, the hub; read as they are, cleaned elsewhere."""

import os
import re
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, STDOUT
from typing import NamedTuple

from invlib import paths
from invlib.data.files import COLUMN, KINDS, RawHeadline, as_text, pick, read_file, tables
from invlib.data.network import answer_within, offline

KAGGLE = "notlucasp/financial-news-headlines"
REMEDY = f"put the CSV files of kaggle.com/datasets/{KAGGLE} into data/raw, or name their folder in INVLIB_DATA"
HUB_COLUMNS = ("headlines", "headline", "text", "sentence", "title")  # of a `datasets` name, the first that it has
HUB_NAME = r"(?P<name>[\w.-]+(/[\w.-]+)?)(:(?P<config>[\w.+-]*)(:(?P<split>.+))?)?"
USABLE = (
    f"a CSV, TSV, JSON or Parquet file with a column {COLUMN!r} (or `column`), a text file with one headline a line, a "
    "folder of such tables, a hub name (owner/name, owner/name:config:split), or 'synthetic'"
)


class Source(NamedTuple):
    """What would be read: kind "files", "download" (from Kaggle), "hub" or "synthetic"; its name in results."""

    kind: str
    name: str
    files: tuple[Path, ...] = ()


def locate(data: str | Path | None = None, column: str | None = None) -> Source:
    """What `data` names or, where it is None, the first of INVLIB_DATA, data/raw, kagglehub's cache, a download.

    Nothing is read and no host is asked. FileNotFoundError for what is not there.
    """
    if data is None:
        if folder := os.environ.get("INVLIB_DATA"):
            return _files("INVLIB_DATA", folder, f"INVLIB_DATA={folder!r}", folder=True)
        raw = paths.DATA / "raw"
        if raw.is_dir() and tables(raw):
            return _files("data/raw", raw, "data/raw")
        cached = kaggle_cached()
        return _files("kaggle", cached, f"kaggle ({cached})") if cached else Source("download", "kaggle")
    data = str(data)
    if data == "synthetic":
        if column:
            raise ValueError(f"column={column!r}: the synthetic headlines have no columns; leave `column` out")
        return Source("synthetic", data)
    path = Path(os.path.expanduser(data))
    local = path.exists() or path.is_absolute() or data.startswith(".") or data.lower().endswith(KINDS)
    if re.fullmatch(HUB_NAME, data) and not local:
        return Source("hub", data)
    return _files(data, data, f"data={data!r}")


def _files(name: str, place: str | Path, label: str, folder: bool = False) -> Source:
    """A folder's tables, or one file unless it has to be a `folder`."""
    path = Path(os.path.expanduser(place))
    if files := tables(path) if path.is_dir() else [path] if path.is_file() and not folder else []:
        return Source("files", name, tuple(files))
    what, wanted = "is neither a file nor a folder", USABLE
    if folder:
        what, wanted = "is no folder", f"a folder of CSV, TSV, JSON lines or Parquet files with a column {COLUMN!r}"
    what = "holds no CSV, TSV, JSON lines or Parquet file" if path.is_dir() else what
    raise FileNotFoundError(f"{label} {what}, seen from {Path.cwd()}; give {wanted}")


def read(source: Source, column: str | None = None) -> list[RawHeadline]:
    """The rows of a located source, a download included; OSError where it can't be had, ValueError where wrong."""
    if source.kind == "hub":
        return read_hub(source.name, column)
    if source.kind == "download":
        folder = kaggle_folder()
        source = _files("kaggle", folder, f"kaggle ({folder})")
    return [row for file in source.files for row in read_file(file, column)]


def read_hub(data: str, column: str | None = None, seconds: float = 10.0) -> list[RawHeadline]:
    """The rows of a `datasets` name (owner/name, owner/name:config:split) on the hub, of all splits or of the one.

    column: None = the first of HUB_COLUMNS. The hub is asked for the name first: without a network this fails in
    `seconds`, not after minutes of retries.
    """
    import datasets
    from huggingface_hub import HfApi

    if (found := re.fullmatch(HUB_NAME, data)) is None:
        raise ValueError(f"data={data!r} is no hub name; give {USABLE}")
    name, config, split = found.group("name", "config", "split")
    try:
        if not offline():
            answer_within(seconds, lambda: HfApi().dataset_info(name, timeout=seconds / 2))
        loaded, rows = datasets.load_dataset(name, config or None, split=split), []
        for part in [loaded] if split else loaded.values():
            place = pick(part.column_names, (column,) if column else HUB_COLUMNS)
            texts = enumerate(part[part.column_names[place]], start=1)
            rows += [RawHeadline(as_text(text, f"row {i}"), name) for i, text in texts]
        return rows
    except Exception as error:  # the hub's clients raise a dozen unrelated kinds
        what = f"is neither a file nor a folder, seen from {Path.cwd()}, nor readable from the hub ({error!r:.300})"
        raise ValueError(f"data={data!r} {what}; give {USABLE}") from error


def kaggle_cached() -> Path | None:
    """The newest version of the Kaggle data set that kagglehub's cache has as a whole: with a mark `<n>.complete`."""
    home = Path(os.environ.get("KAGGLEHUB_CACHE") or "~/.cache/kagglehub").expanduser() / "datasets" / KAGGLE
    versions = [home / "versions" / marker.stem for marker in home.glob("*.complete") if marker.stem.isdigit()]
    return max((v for v in versions if v.is_dir()), key=lambda v: int(v.name), default=None)


def kaggle_folder(seconds: float = 10.0) -> Path:
    """The folder of the Kaggle data set, downloaded with kagglehub; OSError with the reason where it can't be had.

    A process of its own downloads, and is ended after `seconds` without an answer: a name server that hangs obeys no
    timeout. Its first line comes with Kaggle's answer; from then on kagglehub's own timeout holds.
    """
    code = f"import kagglehub; print('\\n' + kagglehub.dataset_download({KAGGLE!r}))"
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as out,
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stdin=DEVNULL, stdout=out, stderr=STDOUT) as job,
    ):
        try:
            with suppress(subprocess.TimeoutExpired):
                job.wait(seconds)
            if job.poll() is None and not os.fstat(out.fileno()).st_size:
                raise TimeoutError(f"no answer from Kaggle within {seconds:g} s")
            job.wait()
        finally:
            job.kill()
        out.seek(0)
        last = next(reversed(out.read().strip().splitlines()), f"exit status {job.returncode}")
    if job.returncode != 0:
        raise ConnectionError(f"kagglehub: {last:.120}")
    return Path(last)
