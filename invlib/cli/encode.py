"""`invlib encode`: the sentences of a file as vectors, and what made them beside these."""

import argparse
import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

import invlib
from invlib import paths
from invlib.cli import files
from invlib.cli.files import check_output, folder_of, progress, renamed_when_whole
from invlib.data.files import KINDS, read_file

if TYPE_CHECKING:  # torch takes seconds: it is imported once there is something to do
    from invlib.models.model import InvertibleSentenceModel

TABLES = tuple(kind for kind in KINDS if kind != ".txt")  # read as own data is, whole; every other name: lines


def read_texts(name: str, column: str | None = None) -> Iterator[tuple[str, str]]:
    """The texts of a text file, a table, a pipe or `-`, standard input, each behind its place: ("a.txt:3", "gold").

    Raises FileNotFoundError for what is not there, ValueError for a line that is not UTF-8, for `column` where lines
    are read, and as `read_file` does.
    """
    file, called = Path(name).expanduser(), "standard input" if name == "-" else name
    if name != "-" and (file.is_dir() or not file.exists()):
        what = "is a folder" if file.is_dir() else "is not there"
        raise FileNotFoundError(f"{name} {what}, seen from {Path.cwd()}; give a file with a sentence a line, a table "
                                f"({', '.join(TABLES)}), or - for standard input")  # fmt: skip
    if file.suffix.lower() in TABLES:
        yield from ((f"{name}, row {n}", row.text) for n, row in enumerate(read_file(file, column), start=1))
        return
    if column:
        raise ValueError(f"--column {column}: {called} is read as lines; columns are read in {', '.join(TABLES)}")
    with nullcontext(sys.stdin.buffer) if name == "-" else file.open("rb") as raw:
        for number, line in enumerate(raw, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(f"{called}:{number}: not UTF-8 ({error.reason}); save the file as UTF-8") from error
            yield f"{called}:{number}", text.removesuffix("\n").removesuffix("\r")


def check_texts(
    texts: Iterable[tuple[str, str]], model: "InvertibleSentenceModel", checked: IO[str]
) -> tuple[int, str]:
    """How many texts there are, and 12 hex digits of sha256 over them, each with a line feed.

    checked: gets the texts' places and word-piece ids, CHUNK a line as JSON: what can be read only once is encoded from
    there, and nothing is tokenized twice. ValueError names the first text that the model can't encode.
    """
    count, digest, texts = 0, hashlib.sha256(), iter(progress(texts, desc="checking"))
    while chunk := list(islice(texts, files.CHUNK)):
        try:
            ids = model.encoder.input_ids([text for _, text in chunk], model.config.max_length)
        except ValueError as error:
            if not (found := re.match(r"sentence (\d+)", str(error))):
                raise
            raise ValueError(f"{chunk[int(found[1])][0]}: sentence{str(error)[found.end() :]}") from error
        checked.write(json.dumps([[place for place, _ in chunk], ids]) + "\n")
        digest.update("".join(f"{text}\n" for _, text in chunk).encode())
        count += len(chunk)
    return count, digest.hexdigest()[:12]


def maker(model: "InvertibleSentenceModel") -> dict:
    """What the JSON beside vectors says of the model that made them."""
    from invlib.training.record import model_hash

    folder = folder_of(model)
    return {
        "model": folder.name, "folder": str(folder), "model_hash": model_hash(folder),
        "encoder": model.encoder.name, "encoder_hash": model.encoder.hash, "embedding_dim": model.config.embedding_dim,
    }  # fmt: skip


def encode_file(name: str, model: "InvertibleSentenceModel", output: Path, column: str | None = None) -> None:
    """The texts of `read_texts(name, column)` as vectors in `output`, and what made them in the JSON of the same name.

    Raises ValueError for what can't be encoded or has no place in float16, OSError for what can't be read or written.
    """
    beside = output.with_suffix(".json")
    if output.suffix != ".npy":
        raise ValueError(f"--output {output}: give a name that ends in .npy")
    for file in (output, beside):
        check_output(file, Path(name).expanduser(), *folder_of(model).iterdir())
    if beside.exists() and '"texts_hash"' not in beside.read_text(encoding="utf-8", errors="replace"):
        raise ValueError(f"--output {output}: {beside}, which is to describe the vectors, is another's file; "
                         "give another name")  # fmt: skip
    with tempfile.TemporaryFile("w+", encoding="utf-8") as checked:
        count, texts_hash = check_texts(read_texts(name, column), model, checked)
        if not count:
            raise ValueError(f"{name}: no sentence in it; give one a line")
        checked.seek(0)
        header = {"descr": "<f2", "fortran_order": False, "shape": (count, model.config.embedding_dim)}
        with renamed_when_whole(output) as out, progress(desc="encoding", total=count) as bar:
            np.lib.format.write_array_header_1_0(out, header)  # written, not mapped: a full disk is an error
            for places, ids in map(json.loads, checked):
                with np.errstate(over="ignore"):
                    vectors = model.encode_ids(ids).astype("<f2")
                if len(bad := np.flatnonzero(~np.isfinite(vectors).all(1))):
                    raise ValueError(f"{places[bad[0]]}: its vector holds NaN or a number beyond float16's 65504; "
                                     "this model's vectors can't be kept in half precision")  # fmt: skip
                out.write(vectors.tobytes())
                bar.update(len(ids))
            beside.unlink(missing_ok=True)  # new vectors never have an old description
    paths.write_json(beside, maker(model) | {"n": count, "texts_hash": texts_hash})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help=f"lines of text; a table ({', '.join(TABLES)}); - for standard input")
    parser.add_argument("--column", help="the column of a table that holds the sentences; default: Headlines")
    parser.add_argument("--model", required=True, help="folder of a saved model, or its name in a run")
    parser.add_argument("--output", type=Path, required=True, help="name of the vectors, ending in .npy")


def run(args: argparse.Namespace) -> None:
    model = invlib.InvertibleSentenceModel.from_pretrained(args.model)
    encode_file(args.file, model, args.output.expanduser(), args.column)
