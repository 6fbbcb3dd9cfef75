"""Own files as they are: CSV, TSV, JSON, Parquet or text, gzipped or not, each to rows of text, source and time."""

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

COLUMN = "Headlines"
NAME_IT = "name the column of the texts: column=NAME in Python, --column NAME of invlib encode"
FOLDER_KINDS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")  # what is read of a folder; notes may be .txt, .json
KINDS = (*FOLDER_KINDS, ".json", ".txt", ".gz")
Table = tuple[list[str], Sequence[tuple[str, Sequence]]]  # the columns' names; of each row its place and its values


class RawHeadline(NamedTuple):
    """One row as it was read: its text, the name of its source and the time as the source writes it."""

    text: str
    source: str
    time: str = ""


def tables(folder: Path) -> list[Path]:
    """The files of a folder that hold a table, by name; those that systems hide (`._x.csv`, `~$x.csv`) are none."""
    files = (f for f in folder.iterdir() if f.name.lower().removesuffix(".gz").endswith(FOLDER_KINDS))
    return sorted(f for f in files if f.is_file() and not f.name.startswith((".", "~$")))


def read_file(file: Path, column: str | None = None) -> list[RawHeadline]:
    """The rows of a file; its kind goes by its name, and what is no table is text, one headline a line.

    column: the column of the texts; None = `Headlines`. ValueError names the file, the place in it and what to do.
    """
    name = Path(re.sub(r"(?i)\.gz$", "", file.name))
    try:
        names, rows = _table(file.read_bytes(), name.suffix.lower(), column)
        text, time = pick(names, (column or COLUMN,)), find(names, ("Time",))
        texts = [as_text(row[text], where) for where, row in rows]
        times = ["" if time is None else str(row[time] or "") for _, row in rows]
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    return [RawHeadline(t, name.stem.removesuffix("_headlines"), at) for t, at in zip(texts, times, strict=True)]


def pick(names: Sequence[str], choices: Sequence[str]) -> int:
    """As `find`; ValueError where there is none."""
    if (found := find(names, choices)) is not None:
        return found
    wanted, have = " or ".join(map(repr, choices)), ", ".join(map(repr, names)) or "none"
    raise ValueError(f"no column {wanted}; its columns are {have}; {NAME_IT}")


def find(names: Sequence[str], choices: Sequence[str]) -> int | None:
    """The place of the first of `choices` among the columns' names: as written, else without regard to case; or None.

    ValueError for a name that stands twice.
    """
    for choice in choices:
        exact = [i for i, name in enumerate(names) if name.strip() == choice]
        found = exact or [i for i, name in enumerate(names) if name.strip().casefold() == choice.casefold()]
        if len(found) > 1:
            raise ValueError(f"the column {choice!r} stands there {len(found)} times; rename or remove all but one")
        if found:
            return found[0]
    return None


def as_text(value, where: str) -> str:
    """A cell's text, "" for a missing one; ValueError for what is no text, or half a character (a lone surrogate)."""
    if value is None or value != value:  # NaN
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{where}: the column holds {value!r:.60}, no text; {NAME_IT}")
    if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        raise ValueError(f"{where}: {value!r} holds half a character (a lone surrogate); remove it")
    return value


def _table(raw: bytes, kind: str, column: str | None) -> Table:
    """A file's content as a table; a text is one of a single column."""
    if raw.startswith(b"\x1f\x8b"):
        try:
            raw = gzip.decompress(raw)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"cut or damaged gzip ({error}); fetch it again") from error
    if kind == ".parquet":
        return _parquet(raw)
    lines = list(io.StringIO(_decoded(raw), newline=None))  # whatever ends them: \n, \r\n or \r
    if kind in (".csv", ".tsv"):
        return _separated(lines, kind == ".tsv")
    if kind in (".json", ".jsonl", ".ndjson"):
        return _json(lines)
    if column:
        raise ValueError(f"it is read as text, which has no column {column!r}; leave `column` out")
    return [COLUMN], [(f"line {n}", [line.removesuffix("\n")]) for n, line in enumerate(lines, start=1)]


def _decoded(raw: bytes) -> str:
    """UTF-8, or UTF-16 with a byte order mark, which is dropped."""
    utf16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and not raw.startswith(codecs.BOM_UTF32_LE)
    if b"\0" in raw and not utf16:
        raise ValueError("no text, or UTF-16 without its mark: save it as UTF-8, a spreadsheet as CSV; unpack archives")
    try:
        return raw.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line}: {error}; save it as UTF-8 (for example: iconv -f cp1252 -t utf-8)") from error


def _separated(lines: list[str], tabs: bool) -> Table:
    """CSV; or TSV, where a quote is a character like others, but quotes around a whole field are a spreadsheet's."""
    csv.field_size_limit(2**31 - 1)  # Python's own limit is 131 072 characters a field
    reader = csv.reader(lines, **{"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {"strict": True})
    try:
        (_, names), *rows = [(f"line {reader.line_num}", row) for row in reader if row] or [("", [])]
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: not readable as CSV ({error}); mend quotes") from error
    for where, row in [("line 1", names), *rows]:
        broken = tabs and len(row) < len(names) and any(re.match(r'"[^"]*$', cell) for cell in row)
        if broken or len(row) > len(names):
            advice = "put double quotes around one with a comma, save such with a tab or a line break as CSV"
            raise ValueError(f"{where}: {len(row)} fields for {len(names)} columns: part of a headline? {advice}")
        if tabs:
            row[:] = [re.sub(r'^"((?:[^"]|"")*)"$', lambda m: m[1].replace('""', '"'), cell) for cell in row]
        row += [""] * (len(names) - len(row))
    return names, rows


def _json(lines: list[str]) -> Table:
    """A list of objects, or an object a line; objects are parsed as tuples of pairs, so that a key is seen twice."""
    parse, where = json.JSONDecoder(object_pairs_hook=tuple).decode, "as a whole"
    try:
        if (text := "".join(lines).strip()).startswith("["):
            found = [(f"object {n}", value) for n, value in enumerate(parse(text), start=1)]
        else:
            found = [(where := f"line {n}", parse(line)) for n, line in enumerate(lines, start=1) if line.strip()]
        for where, value in found:  # noqa: B007 (the error names it)
            if not isinstance(value, tuple) or len(dict(value)) < len(value):
                raise ValueError(f"it is {value!r:.60}")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not a list of objects, nor an object a line, each key once ({error})") from error
    names = list(dict.fromkeys(key for _, pairs in found for key, _ in pairs))
    return names, [(where, list(map(dict(pairs).get, names))) for where, pairs in found]


def _parquet(raw: bytes) -> Table:
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(io.BytesIO(raw)).read()
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"not readable as Parquet ({error!s:.120})") from error
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    return table.column_names, [(f"row {n}", row) for n, row in enumerate(rows, start=1)]
