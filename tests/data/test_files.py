"""Own files: each format, its encodings and compressions, and what is refused with the place and the remedy."""

import gzip
import json

import pyarrow
import pyarrow.parquet
import pytest

from invlib.data.files import RawHeadline, read_file, tables

TEXTS = ["Oil up, gold down", 'He said "buy"', "Nestlé: a line\tor two", ""]


def texts_of(file, column=None):
    return [row.text for row in read_file(file, column)]


def written(folder, name, text, encoding="utf-8"):
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def parquet(file, **columns):
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return file


# --- formats


def test_csv(tmp_path):
    text = 'Time, headlines \r\n18-Jul-20,"Oil up, gold down"\r\n,"He said ""buy""\nnow"\r\n\r\n19-Jul-20\r\n'
    rows = read_file(written(tmp_path, "x_headlines.csv", text))
    assert rows == [
        RawHeadline("Oil up, gold down", "x", "18-Jul-20"),
        RawHeadline('He said "buy"\nnow', "x"),
        RawHeadline("", "x", "19-Jul-20"),
    ]
    long = "w" * 200_000
    assert texts_of(written(tmp_path, "long.csv", f"Headlines\n{long}\n")) == [long]


def test_tsv(tmp_path):
    """A quote is a character; quotes around a whole field are a spreadsheet's."""
    lines = [
        '"Buy" says bank\ta',
        '"Open quote\tb',
        'a 12" screen\tc',
        '"It is ""so"", today"\td',
        "no time",
        "\te",
        "",
    ]
    file = written(tmp_path, "x.TSV", "\r\n".join(["Headlines\tTime", *lines]))
    assert texts_of(file) == ['"Buy" says bank', '"Open quote', 'a 12" screen', 'It is "so", today', "no time", ""]
    assert [row.time for row in read_file(file)] == ["a", "b", "c", "d", "", "e"]


@pytest.mark.parametrize("name", ["x.jsonl", "x.ndjson", "x.json", "list.json"])
def test_json(tmp_path, name):
    rows = [{"id": i, "Headlines": text, "Time": "2020-07-18"} for i, text in enumerate(TEXTS)] + [{"id": 4}]
    rows.append({"Headlines": None})
    text = json.dumps(rows, indent=1) if name == "list.json" else "\n".join(map(json.dumps, rows)) + "\n\n"
    found = read_file(written(tmp_path, name, text))
    assert [row.text for row in found] == [*TEXTS, "", ""]
    assert [row.time for row in found] == ["2020-07-18"] * len(TEXTS) + ["", ""]


def test_parquet(tmp_path):
    file = parquet(tmp_path / "x.parquet", id=range(5), Headlines=[*TEXTS, None], Time=["2020-07-18"] * 5)
    assert texts_of(file) == [*TEXTS, ""] and read_file(file)[0].time == "2020-07-18"
    categories = pyarrow.array(TEXTS).dictionary_encode()
    assert texts_of(parquet(tmp_path / "y.parquet", Headlines=categories)) == TEXTS


def test_text(tmp_path):
    for end in ("\n", "\r\n", "\r"):
        assert texts_of(written(tmp_path, "own.txt", end.join(["one", "two", "", " "]))) == ["one", "two", "", " "]
    assert texts_of(written(tmp_path, "own", "one\n")) == ["one"]


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.jsonl", "x.json", "x.parquet", "x.txt"])
def test_gzip_of_each(tmp_path, name):
    if name == "x.parquet":
        plain = parquet(tmp_path / name, Headlines=TEXTS)
    else:
        head = {"csv": "Headlines\n", "tsv": "Headlines\n", "txt": ""}.get(name[2:])
        plain = written(tmp_path, name, json.dumps({"Headlines": "Oil é"}) if head is None else head + "Oil é\n")
    packed = tmp_path / f"{name}.GZ"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_file(packed) == read_file(plain) and read_file(packed)[0].source == "x"
    plain.write_bytes(packed.read_bytes())  # its name does not tell
    assert texts_of(plain) == texts_of(packed)
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(ValueError, match=f"{packed.name}: cut or damaged gzip"):
        texts_of(packed)
    packed.write_bytes(gzip.compress(b"")[:10] + b"\xff" * 30)
    with pytest.raises(ValueError, match=f"{packed.name}: cut or damaged gzip"):
        texts_of(packed)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks(tmp_path, encoding):
    assert texts_of(written(tmp_path, "x.csv", "Headlines\nProfit of £3m\n", encoding)) == ["Profit of £3m"]
    assert texts_of(written(tmp_path, "x.json", '[{"Headlines": "£3m"}]', encoding)) == ["£3m"]


def test_a_column_of_another_name(tmp_path):
    for file in (
        written(tmp_path, "x.csv", "id,Title\n1,Oil\n"),
        written(tmp_path, "x.tsv", "id\tTitle\n1\tOil\n"),
        written(tmp_path, "x.jsonl", '{"id": 1, "Title": "Oil"}'),
        parquet(tmp_path / "x.parquet", id=[1], Title=["Oil"]),
    ):
        assert texts_of(file, "title") == ["Oil"]
        with pytest.raises(ValueError, match=f"{file.name}: no column 'Headlines'.*'id', 'Title'.*column="):
            texts_of(file)
        with pytest.raises(ValueError, match="no column 'name'"):
            texts_of(file, "name")
    with pytest.raises(ValueError, match="text, which has no column 'title'"):
        texts_of(written(tmp_path, "x.txt", "Oil"), "title")


def test_the_tables_of_a_folder(tmp_path):
    for name in ("B.CSV", "a.csv.gz", "c.jsonl", "._a.csv", "~$a.csv", "notes.txt", "info.json", ".csv"):
        (tmp_path / name).touch()
    (tmp_path / "folder.csv").mkdir()
    assert [file.name for file in tables(tmp_path)] == ["B.CSV", "a.csv.gz", "c.jsonl"]


# --- what is refused


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("x.csv", "", "no column 'Headlines'; its columns are none"),
        ("x.tsv", "", "no column 'Headlines'; its columns are none"),
        ("x.jsonl", "", "no column 'Headlines'; its columns are none"),
        ("x.csv", "Headlines,Time,headlines\na,b,c\n", None),  # as written wins
        ("x.csv", "Headlines,Headlines\na,b\n", "the column 'Headlines' stands there 2 times"),
        ("x.csv", "headlines,HEADLINES\na,b\n", "the column 'Headlines' stands there 2 times"),
        ("x.csv", "Headlines,Time,time \na,b,c\n", None),
        ("x.csv", "Headlines,time,time \na,b,c\n", "the column 'Time' stands there 2 times"),
        ("x.tsv", "Headlines\tHeadlines\na\tb\n", "the column 'Headlines' stands there 2 times"),
        ("x.jsonl", '{"Headlines": "a", "Headlines": "b"}', "line 1: .*each key once.*'Headlines', 'a'"),
        ("x.csv", "Headlines\nOil up, gold down\n", "line 2: 2 fields for 1 columns.*with a comma"),
        ("x.csv", 'Headlines\n"Oil\n', "line 2: not readable as CSV"),
        ("x.csv", '"Headlines\n', "line 1: not readable as CSV"),
        ("x.tsv", "Headlines\nOil\tup\n", "line 2: 2 fields for 1 columns.*a tab"),
        ("x.tsv", 'Headlines\tTime\n"Oil\nis up"\ttoday\n', "line 2: 1 fields for 2 columns.*a line break as CSV"),
        ("x.json", "Oil up\nOil down\n", "line 1: not a list of objects, nor an object a line"),
        ("x.jsonl", '{"Headlines": "a"}\n{"Headl', "line 2: not a list of objects"),
        ("x.json", '{"Headlines": "a"}\n[1]', r"line 2: not a list of objects.*it is \[1\]"),
        ("x.json", '["Oil up"]', "object 1: not a list of objects.*it is 'Oil up'"),
        ("x.json", "[" * 100_000, "as a whole: not a list of objects"),
        ("x.json", '{"Headlines": {"0": "a"}}', r"line 1: the column holds \(\('0', 'a'\),\), no text"),
        ("x.jsonl", r'{"Headlines": "Oil \ud83d"}', "line 1: .*half a character"),
        ("x.parquet", "PAR1", "not readable as Parquet"),
        ("x.csv", "Headlines\0\nOil", "no text, or UTF-16 without its mark"),
    ],
)
def test_refused(tmp_path, name, text, message):
    file = written(tmp_path, name, text)
    if message is None:
        assert texts_of(file) == ["a"]
    else:
        with pytest.raises(ValueError, match=f"{name}.*{message}"):
            texts_of(file)


@pytest.mark.parametrize(
    "raw, message",
    [
        (
            "Headlines\nall well\nProfit of £3m\n".encode("cp1252"),
            "line 3: 'utf-8' codec can't decode byte 0xa3 in position 29.*iconv",
        ),
        ("Headlines\nOil £".encode("utf-16-le"), "UTF-16 without its mark"),
        ("Headlines\nOil".encode("utf-16")[:-1], "line 2: 'utf-16-le' codec.*truncated data"),
        ("Headlines\nOil".encode("utf-32"), "no text"),
        (b"PK\x03\x04\x14\0\xff\xfe", "save it as UTF-8, a spreadsheet as CSV; unpack archives"),
    ],
)
def test_no_utf8(tmp_path, raw, message):
    (tmp_path / "x.csv").write_bytes(raw)
    with pytest.raises(ValueError, match=f"x.csv.*{message}"):
        texts_of(tmp_path / "x.csv")


def test_a_column_that_is_no_text(tmp_path):
    with pytest.raises(ValueError, match=r"x.parquet: row 1: the column holds 3, no text"):
        texts_of(parquet(tmp_path / "x.parquet", Headlines=[3]))
    same = pyarrow.table([["a"], ["b"]], names=["Headlines", "Headlines"])
    pyarrow.parquet.write_table(same, tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="the column 'Headlines' stands there 2 times"):
        texts_of(tmp_path / "x.parquet")
