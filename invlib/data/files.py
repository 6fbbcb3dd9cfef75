"""Own files as they are: CSV, TSV, JSON, Parquet or text, gzipped or not, each to rows of text, source and time."""

import codecs
import csv
import gzip
import io
import json
import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

COLUMN = "Headlines"
FOLDER_KINDS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")  # what is read of a folder; notes may be .txt, .json
KINDS = (*FOLDER_KINDS, ".json", ".txt", ".gz")
BYTE_ORDER_MARKS = {  # UTF-32's mark starts with UTF-16's
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
Table = tuple[
    list[str], list[tuple[str, Sequence]]
]  # the columns' names; for each row its place in the file, its values


class RawHeadline(NamedTuple):
    """One row as it was read: its text, the name of its source and the time as the source writes it."""

    text: str
    source: str
    time: str = ""


def kind_of(file: Path) -> str:
    """What a file is, by its name: ".csv" for X.CSV and x.csv.gz."""
    return Path(file.name.lower().removesuffix(".gz")).suffix


def tables(folder: Path) -> list[Path]:
    """The files of a folder that hold a table, by name; those that systems hide (`._x.csv`, `~$x.csv`) are none."""
    files = (f for f in folder.iterdir() if kind_of(f) in FOLDER_KINDS and not f.name.startswith((".", "~$")))
    return sorted(f for f in files if f.is_file())


def read_file(file: Path, column: str | None = None) -> Iterator[RawHeadline]:
    """The rows of a file; its kind goes by its name, and what is no table is text, one headline a line.

    column: the column of the texts; None = `Headlines`. `Time` is read where there is one; columns go by name, in any
    order, in small or capital letters. Raises ValueError with the file, the place in it and what to do.
    """
    kind, source = kind_of(file), Path(re.sub(r"(?i)\.gz$", "", file.name)).stem.removesuffix("_headlines")
    raw = file.read_bytes()
    if raw.startswith(b"\x1f\x8b"):
        try:
            raw = gzip.decompress(raw)
        except (EOFError, OSError, ValueError) as error:
            raise ValueError(f"{file}: cut or damaged gzip ({error}); fetch it again") from error
    if kind not in (*FOLDER_KINDS, ".json"):
        if column:
            raise ValueError(f"{file} is read as text, which has no column {column!r}; leave `column` out")
        yield from (RawHeadline(line, source) for line in lines_of(decode(raw, file)))
        return
    if kind == ".parquet":
        names, rows = _parquet(raw, file)
    else:
        names, rows = {".csv": _csv, ".tsv": _tsv}.get(kind, _json)(decode(raw, file), file)
    advice = f"Rename the column that holds the headlines to {COLUMN!r}, or name it: column=..."
    text, time = pick(names, (column or COLUMN,), str(file), advice), pick(names, ("Time",), str(file))
    for where, values in rows:
        when = values[time] if time is not None and time < len(values) else None
        row = as_text(values[text] if text < len(values) else None, f"{file}, {where}")
        yield RawHeadline(row, source, "" if when is None else str(when))


def pick(names: Sequence[str], choices: Sequence[str], where: str, advice: str | None = None) -> int | None:
    """The place of the first of `choices` among the columns' names; as written, else in small and capital letters.

    Without `advice` None where no column has such a name, else ValueError; a name that stands twice is always one.
    """
    for choice in choices:
        exact = [i for i, name in enumerate(names) if name.strip() == choice]
        found = exact or [i for i, name in enumerate(names) if name.strip().casefold() == choice.casefold()]
        if len(found) > 1:
            raise ValueError(f"{where} has the column {choice!r} {len(found)} times; rename or remove all but one")
        if found:
            return found[0]
    if advice is None:
        return None
    have = ", ".join(map(repr, names)) or "none"
    raise ValueError(f"{where} has no column {' or '.join(map(repr, choices))}; its columns are {have}. {advice}")


def as_text(value, where: str) -> str:
    """A cell's text, "" for a missing one; ValueError for what is no text, or half a character (a lone surrogate)."""
    if value is None or value != value:  # NaN
        return ""
    if not isinstance(value, str):
        shown = textwrap.shorten(repr(value), 60)
        raise ValueError(f"{where}: the column holds {shown}, no text; name a column of texts: column=...")
    if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        raise ValueError(f"{where}: {value!r} holds half a character (a lone surrogate); remove it")
    return value


def decode(raw: bytes, file: Path) -> str:
    """A file's text: UTF-8, or UTF-16 or 32 with a byte order mark, which is dropped; ValueError for the rest."""
    encoding = next((name for mark, name in BYTE_ORDER_MARKS.items() if raw.startswith(mark)), "utf-8-sig")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-8-sig" and b"\0" not in raw:
            line = raw.count(b"\n", 0, error.start) + 1
            raise ValueError(
                f"{file}, line {line}: byte 0x{raw[error.start]:02x} at position {error.start} is not UTF-8; "
                "save the file as UTF-8 (for example: iconv -f cp1252 -t utf-8)"
            ) from error
        text = "\0"
    if "\0" in text:
        raise ValueError(
            f"{file} is no text, or UTF-16 without a byte order mark, or cut; unpack an archive, save a spreadsheet as "
            "CSV, and save text as UTF-8"
        )
    return text


def lines_of(text: str) -> list[str]:
    """The lines of a text, whatever ends them (\\n, \\r\\n or \\r)."""
    return io.StringIO(text, newline=None).read().removesuffix("\n").split("\n")


def _csv(text: str, file: Path) -> Table:
    csv.field_size_limit(2**31 - 1)  # Python's own limit is 131 072 characters a field
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        (_, names), *rows = [(f"line {reader.line_num}", row) for row in reader if row] or [("", [])]
    except csv.Error as error:
        raise ValueError(f"{file}, line {reader.line_num}: not readable as CSV ({error}); mend quotes") from error
    for where, row in rows:
        if len(row) > len(names):  # a comma without quotes would cut the headline short
            what = f"more fields than the {len(names)} columns"
            raise ValueError(f"{file}, {where}: {what}; put double quotes around a headline that has a comma")
    return names, rows


def _tsv(text: str, file: Path) -> Table:
    """A row a line: a quote is a character like others, but quotes around a whole field are a spreadsheet's."""
    quoted = re.compile(r'"((?:[^"]|"")*)"')
    lines = [(f"line {number}", line.split("\t")) for number, line in enumerate(lines_of(text), start=1) if line]
    (_, names), *rows = [
        (where, [match[1].replace('""', '"') if (match := quoted.fullmatch(cell)) else cell for cell in cells])
        for where, cells in lines
    ] or [("", [])]
    for where, row in rows:
        broken = len(row) < len(names) and any(re.match(r'"[^"]*$', cell) for cell in row)
        if broken or len(row) > len(names):
            what = "a quote that its line does not close" if broken else f"more fields than the {len(names)} columns"
            raise ValueError(f"{file}, {where}: {what}; save headlines that have a tab or a line break as CSV")
    return names, rows


def _json(text: str, file: Path) -> Table:
    """A list of objects, or an object a line."""

    def once(pairs: list[tuple[str, object]]) -> dict:
        keys = [key for key, _ in pairs]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise ValueError(f"the key {twice[0]!r} stands twice in one object")
        return dict(pairs)

    parse, where = json.JSONDecoder(object_pairs_hook=once).decode, ""
    try:
        if text.lstrip().startswith("["):
            found = [(f"object {number}", value) for number, value in enumerate(parse(text), start=1)]
        else:
            lines = enumerate(lines_of(text), start=1)
            found = [(where := f"line {number}", parse(line)) for number, line in lines if line.strip()]
        for place, value in found:
            if not isinstance(value, dict):
                where = place
                raise ValueError(f"it is {textwrap.shorten(repr(value), 60)}")
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{file}, {where or 'as a whole'}: not a list of objects, nor an object a line ({error})"
        ) from error
    names = list(dict.fromkeys(key for _, value in found for key in value))
    return names, [(where, [value.get(name) for name in names]) for where, value in found]


def _parquet(raw: bytes, file: Path) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(io.BytesIO(raw)).read()
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{file}: not readable as Parquet ({textwrap.shorten(str(error), 120)})") from error
    columns = [column.to_pylist() for column in table.columns]
    return table.column_names, [(f"row {n}", row) for n, row in enumerate(zip(*columns, strict=True), start=1)]
