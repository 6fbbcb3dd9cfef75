"""Where headlines come from: own files, data/raw, a download, the hub; read as they are, cleaned elsewhere."""

import os
import re
import textwrap
from pathlib import Path
from typing import NamedTuple

from invlib import paths
from invlib.data.files import COLUMN, KINDS, RawHeadline, as_text, pick, read_file, tables
from invlib.data.kaggle import KAGGLE, kaggle_cached, kaggle_folder
from invlib.data.network import answer_within, offline

HUB_COLUMNS = ("headlines", "headline", "text", "sentence", "title")  # of a `datasets` name, the first that it has
HUB_NAME = r"(?P<name>[\w.-]+(/[\w.-]+)?)(:(?P<config>[\w.+-]*)(:(?P<split>.+))?)?"
USABLE = (
    f"a CSV, TSV, JSON or Parquet file with a column {COLUMN!r} (or `column`), a text file with one headline a line, a "
    "folder of such tables, a hub name (owner/name, owner/name:config:split), or 'synthetic'"
)


class Source(NamedTuple):
    """What would be read: kind "files", "download" (from Kaggle), "hub" or "synthetic", and its name in results."""

    kind: str
    name: str
    files: tuple[Path, ...] = ()


def locate(data: str | Path | None = None, column: str | None = None) -> Source:
    """What `data` names or, where it is None, the first of INVLIB_DATA, data/raw, kagglehub's cache, a download.

    Nothing is read and no host is asked. Raises FileNotFoundError for a file or folder that is not there, ValueError
    for a `column` of what has none.
    """
    if data is None:
        if folder := os.environ.get("INVLIB_DATA"):
            return _files("INVLIB_DATA", folder, f"INVLIB_DATA={folder!r}", folder=True)
        raw = paths.DATA / "raw"
        if raw.is_dir() and tables(raw):
            return _files("data/raw", raw, "data/raw")
        if (cached := kaggle_cached()) is not None:
            return _files("kaggle", cached, f"kagglehub's copy of {KAGGLE} ({cached})")
        return Source("download", "kaggle")
    data, label = str(data), f"data={str(data)!r}"
    if data == "synthetic":
        if column:
            raise ValueError(f"column={column!r}: the synthetic headlines have no columns; leave `column` out")
        return Source("synthetic", data)
    path = Path(os.path.expanduser(data))
    local = path.exists() or path.is_absolute() or data.startswith(".") or data.lower().endswith(KINDS)
    return Source("hub", data) if re.fullmatch(HUB_NAME, data) and not local else _files(data, data, label)


def _files(name: str, place: str | Path, label: str, folder: bool = False) -> Source:
    """A folder's tables, or one file unless it has to be a `folder`."""
    path = Path(os.path.expanduser(place))
    if path.is_file() and not folder:
        return Source("files", name, (path,))
    if not path.is_dir():
        what = "is no folder" if path.is_file() else "is no regular file" if path.exists() else "no such file or folder"
        wanted = f"a folder of CSV, TSV, JSON lines or Parquet files with a column {COLUMN!r}" if folder else USABLE
        raise FileNotFoundError(f"{label}: {what}, seen from {Path.cwd()}; give {wanted}")
    if files := tables(path):
        return Source("files", name, tuple(files))
    found = ", ".join(sorted(p.name for p in path.iterdir())[:5]) or "nothing"
    raise FileNotFoundError(
        f"{label} holds no CSV, TSV, JSON lines or Parquet file (found: {found}); put the files of "
        f"kaggle.com/datasets/{KAGGLE} there, or any table with a column {COLUMN!r}"
    )


def read(source: Source, column: str | None = None) -> list[RawHeadline]:
    """The rows of a located source, a download included; OSError where it can't be had, ValueError where it is wrong.

    column: the column of the texts; None = `Headlines`, on the hub the first of HUB_COLUMNS.
    """
    if source.kind == "hub":
        return read_hub(source.name, column)
    if source.kind == "download":
        folder = kaggle_folder()
        source = _files("kaggle", folder, f"kaggle ({folder})")
    return [row for file in source.files for row in read_file(file, column)]


def read_hub(data: str, column: str | None = None, seconds: float = 10.0) -> list[RawHeadline]:
    """The rows of a `datasets` name on the Hugging Face hub: `owner/name`, or `owner/name:config:split`.

    Without a split all of them are read. The hub is asked first whether it has the name, so that without a network
    this fails in `seconds`, not after minutes of retries. With HF_HUB_OFFLINE=1 a data set that was loaded before is
    read from the cache.
    """
    import datasets
    from huggingface_hub import HfApi

    name, config, split = re.fullmatch(HUB_NAME, data).group("name", "config", "split")
    try:
        if not offline():
            answer_within(seconds, lambda: HfApi().dataset_info(name, timeout=seconds / 2))
        loaded = datasets.load_dataset(name, config or None, split=split)
    except Exception as error:  # the hub's clients raise a dozen unrelated kinds
        reason = f"{type(error).__name__}: {textwrap.shorten(str(error), 300)}"
        raise ValueError(
            f"data={data!r} could not be loaded from the hub ({reason}); no file or folder of that name exists, "
            f"seen from {Path.cwd()}; give {USABLE}"
        ) from error
    rows = []
    for part in [loaded] if split else loaded.values():
        advice = "Name the column of the texts: column=..."
        place = pick(part.column_names, (column,) if column else HUB_COLUMNS, f"data={data!r}", advice)
        texts = part[part.column_names[place]]
        rows += [RawHeadline(as_text(text, f"data={data!r}, row {i}"), name) for i, text in enumerate(texts, start=1)]
    return rows
