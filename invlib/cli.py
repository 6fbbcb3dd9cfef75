"""Whole files from the command line, in chunks: a million lines need no more memory than a thousand.

    invlib encode headlines.txt --model att_pool_768 --output vectors.npy
    invlib decode vectors.npy --num-beams 5 --output texts.txt

`encode` leaves vectors.npy, (N, D) float16, a row a line, and vectors.json, which says what made them. Both commands
check everything before the first sentence is worked on, and write under a temporary name that is renamed when whole.
"""

import argparse
import csv
import hashlib
import io
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from invlib import paths
from invlib.data.files import KINDS, read_file

if TYPE_CHECKING:  # torch takes seconds: it is imported once there is something to do
    from invlib.models.model import InvertibleSentenceModel

CHUNK = 1024  # lines or vectors in memory at once
TABLES = tuple(kind for kind in KINDS if kind != ".txt")  # read as own data is, whole; every other name: lines


# What is read


@dataclass(frozen=True)
class Texts:
    """The sentences of a file: what a user calls it and its parts, and what reads it from its beginning."""

    name: str
    read: Callable[[], Iterable[str]]
    file: Path | None = None
    part: str = ":"  # between the name and a number, in an error

    def place(self, number: int) -> str:
        return f"{self.name}{self.part}{number}"


@contextmanager
def opened(name: str, column: str | None = None) -> Iterator[Texts]:
    """The texts that a name on the command line means: a text file, a table, a pipe, or `-`, standard input.

    What can be read once alone is kept in a temporary file meanwhile: the sentences are checked first, then encoded.
    """
    file = Path(name).expanduser()
    pipe = name == "-" or (file.exists() and not file.is_file() and not file.is_dir())
    table = file.suffix.lower() in TABLES and not pipe
    if column and not table:
        raise ValueError(f"--column {column}: {name} is read as lines; columns are read in {', '.join(TABLES)}")
    if pipe:
        called = "standard input" if name == "-" else name
        with tempfile.NamedTemporaryFile(prefix="invlib-") as spool:
            with nullcontext(sys.stdin.buffer) if name == "-" else file.open("rb") as raw:
                shutil.copyfileobj(raw, spool)
            spool.flush()
            yield Texts(called, lambda: lines_of(Path(spool.name), called))
    elif table:
        yield Texts(name, lambda: (row.text for row in read_file(file, column)), file, ", row ")
    else:
        yield Texts(name, lambda: lines_of(file, name), file)


def lines_of(file: Path, name: str) -> Iterator[str]:
    """The lines of a UTF-8 file without their ends, one after another; ValueError names the line that is none."""
    with file.open("rb") as raw:
        for number, line in enumerate(raw, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(f"{name}:{number}: not UTF-8 ({error.reason}); save the file as UTF-8") from error
            yield text.removesuffix("\n").removesuffix("\r")


def chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts, CHUNK at a time."""
    texts = iter(texts)
    while chunk := list(islice(texts, CHUNK)):
        yield chunk


def hashed(texts: Iterable[str]) -> bytes:
    """What the hash of the texts is made of: each with its line feed."""
    return "".join(f"{text}\n" for text in texts).encode()


def check_texts(texts: Texts, model: "InvertibleSentenceModel") -> tuple[int, str]:
    """How many texts there are, and their hash; ValueError names the first that the model can't encode.

    The hash, 12 hex digits, is sha256 over the texts in their order, each with its line feed.
    """
    count, digest = 0, hashlib.sha256()
    for chunk in chunks(progress(texts.read(), "checking")):
        try:
            model.encoder.check_texts(chunk, model.config.max_length)
        except ValueError as error:
            number = re.match(r"sentence (\d+)", str(error))
            where = texts.place(count + int(number[1]) + 1) if number else texts.name
            raise ValueError(f"{where}: {re.sub(r'^sentence [0-9]+', 'sentence', str(error))}") from error
        count += len(chunk)
        digest.update(hashed(chunk))
    if not count:
        raise ValueError(f"{texts.name}: no sentence in it; give one a line")
    return count, digest.hexdigest()[:12]


# What is written


def check_output(output: Path, *read: Path | None) -> None:
    """Raise where `output` is neither a new name nor a plain file that may be replaced, or is one of those read."""
    if output.is_symlink() or (output.exists() and not output.is_file()):
        kind = "a link" if output.is_symlink() else "a folder" if output.is_dir() else "a device or a pipe"
        raise ValueError(f"--output {output} is {kind}, and would become a file; give the name of a file")
    if output.exists() and any(file is not None and file.exists() and output.samefile(file) for file in read):
        raise ValueError(f"--output {output} is one of the files that are read; give another name")
    if not output.parent.is_dir():
        raise FileNotFoundError(
            f"no folder {str(output.parent)!r} to write {output.name} into; make it, or give another"
        )


@contextmanager
def renamed_when_whole(file: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes its name when the block ends, and is gone where the block fails."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as out:
            yield out
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def progress(items: Iterable | None, what: str, total: int | None = None):
    """A progress bar on standard error."""
    from tqdm import tqdm

    return tqdm(items, desc=what, total=total, unit=" texts", mininterval=2)


# The commands


def encode_file(texts: Texts, model: "InvertibleSentenceModel", output: Path) -> None:
    """The sentences as vectors in `output`, and what made them in the JSON of the same name.

    Raises ValueError for what can't be encoded or has no place in float16, OSError for what can't be read or written.
    """
    from invlib.training.record import model_hash

    if output.suffix != ".npy":
        raise ValueError(f"--output {output}: give a name that ends in .npy")
    for file in (output, output.with_suffix(".json")):
        check_output(file, texts.file, *model.folder.iterdir())
    check_beside(output)
    count, texts_hash = check_texts(texts, model)
    shape = (count, model.config.embedding_dim)
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float16)), "fortran_order": False, "shape": shape}
    digest, done = hashlib.sha256(), 0
    with renamed_when_whole(output) as out, progress(None, "encoding", count) as bar:
        np.lib.format.write_array_header_1_0(out, header)  # written, not mapped: a full disk is an error
        for chunk in chunks(texts.read()):
            with np.errstate(over="ignore"):
                vectors = model.encode(chunk).astype(np.float16)
            if len(bad := np.flatnonzero(~np.isfinite(vectors).all(1))):
                raise ValueError(
                    f"{texts.place(done + bad[0] + 1)}: its vector holds NaN or a number beyond float16's 65504; "
                    "such a model's vectors can't be kept in half precision"
                )
            out.write(vectors.tobytes())
            digest.update(hashed(chunk))
            done += len(chunk)
            bar.update(len(chunk))
        if (done, digest.hexdigest()[:12]) != (count, texts_hash):
            raise ValueError(f"{texts.name} changed while it was read; encode it again")
        output.with_suffix(".json").unlink(missing_ok=True)  # new vectors never stand beside an old description
    paths.write_json(
        output.with_suffix(".json"),
        {
            "model": model.folder.name, "folder": str(model.folder), "model_hash": model_hash(model.folder),
            "encoder": model.config.encoder, "encoder_hash": model.encoder.hash,
            "embedding_dim": shape[1], "n": count, "texts_hash": texts_hash,
        },
    )  # fmt: skip


def check_beside(output: Path) -> None:
    """ValueError where the JSON that is to describe the vectors would take the place of somebody's own file."""
    beside = output.with_suffix(".json")
    with suppress(ValueError, TypeError):
        if not beside.exists() or "texts_hash" in paths.read_json(beside):
            return
    raise ValueError(
        f"--output {output}: {beside}, which is to say what made the vectors, is another's; give another name"
    )


def described(vectors: Path) -> dict:
    """What the JSON beside the vectors says of them; FileNotFoundError or ValueError where it doesn't."""
    file = vectors.with_suffix(".json")
    if str(vectors) == "-" or (vectors.exists() and not vectors.is_file()):
        raise ValueError(
            f"{vectors}: vectors are two files, .npy and the .json that says what made them, so they can't come from "
            "standard input, a pipe or a folder; give the name of the .npy file"
        )
    if not vectors.is_file():
        raise FileNotFoundError(f"no file {str(vectors)!r}; make it with: invlib encode FILE --model FOLDER")
    if not file.is_file():
        raise FileNotFoundError(
            f"{vectors}: {file.name}, which says what made the vectors, is not beside it; encode the texts again"
        )
    try:
        made = paths.read_json(file)
        return {k: made[k] for k in ("model", "folder", "model_hash", "encoder", "encoder_hash", "embedding_dim", "n")}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is no description of vectors ({error}); encode the texts again") from error


def check_vectors(vectors: Path, made: dict, model: "InvertibleSentenceModel") -> None:
    """ValueError where the vectors are not this model's, not what their JSON says, or not finite."""
    from invlib.training.record import model_hash

    if (ours := model_hash(model.folder)) != made["model_hash"]:
        raise ValueError(
            f"{vectors}: made by model {made['model']!r} ({made['model_hash']}), not {model.folder.name!r} ({ours}); "
            "only the model that made a vector can decode it"
        )
    if model.encoder.hash != made["encoder_hash"]:
        raise ValueError(f"{vectors}: made with encoder {made['encoder']!r} ({made['encoder_hash']}), not with "
                         f"{model.encoder.name!r} ({model.encoder.hash})")  # fmt: skip
    try:
        found = np.load(vectors, mmap_mode="r")
    except (ValueError, EOFError) as error:
        raise ValueError(f"{vectors}: no whole npy file ({error}); encode the texts again") from error
    expected = (made["n"], model.config.embedding_dim)
    if found.shape != expected or found.dtype != np.float16:
        raise ValueError(f"{vectors}: expected {expected} float16, got {found.shape} {found.dtype}; encode again")
    for start in range(0, made["n"], CHUNK):
        if len(bad := np.flatnonzero(~np.isfinite(part_of(vectors, start)).all(1))):
            raise ValueError(f"{vectors}: vector {start + bad[0] + 1} holds NaN or infinity; encode the texts again")


def part_of(vectors: Path, start: int) -> np.ndarray:
    """CHUNK vectors as float32; mapped anew each time, so that what was read before is let go."""
    return np.load(vectors, mmap_mode="r")[start : start + CHUNK].astype(np.float32)


def decode_file(
    vectors: Path, model: str | None = None, num_beams: int = 1, output: Path | None = None, scores: bool = False
) -> None:
    """The vectors' texts, one a line, into `output` or to standard output.

    model: folder or name, default the one that made the vectors. scores: CSV with the columns text, log_probability
    (of the text, in nats), pieces and probabilities (one a piece, parted by spaces).
    Raises ValueError for vectors that are not its own, OSError for what can't be read or written.
    """
    from invlib.models.model import InvertibleSentenceModel

    made = described(vectors)
    if model is None:
        model = made["folder"] if (Path(made["folder"]) / "config.json").exists() else made["model"]
    loaded = InvertibleSentenceModel.from_pretrained(model)
    if output:
        check_output(output, vectors, vectors.with_suffix(".json"), *loaded.folder.iterdir())
    check_vectors(vectors, made, loaded)
    with (
        renamed_when_whole(output) if output else nullcontext(sys.stdout.buffer) as out,
        progress(None, "decoding", made["n"]) as bar,
    ):
        if scores:
            out.write(b"text,log_probability,pieces,probabilities\n")
        for start in range(0, made["n"], CHUNK):
            decoded = loaded.decode(part_of(vectors, start), num_beams=num_beams, return_scores=scores)
            out.write(as_csv(decoded) if scores else hashed(decoded))
            out.flush()
            bar.update(len(decoded))


def as_csv(decoded: Iterable) -> bytes:
    """Decoded texts with their scores as lines of CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for d in decoded:
        probabilities = " ".join(f"{p:.4f}" for p in d.probabilities)
        writer.writerow((d.text, f"{d.log_probability:.4f}", " ".join(d.pieces), probabilities))
    return text.getvalue().encode()


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line, parsed."""

    def path(name: str) -> Path:
        return Path(name).expanduser()

    parser = argparse.ArgumentParser(prog="invlib", description="Sentences to vectors, and vectors back to sentences.")
    commands = parser.add_subparsers(dest="command", required=True)
    encode = commands.add_parser("encode", help="sentences, one a line or a row, to vectors")
    encode.add_argument("file", help=f"lines of text; a table ({', '.join(TABLES)}); - for standard input")
    encode.add_argument("--column", help="the column of a table that holds the sentences; default: Headlines")
    encode.add_argument("--model", required=True, help="folder of a saved model, or its name in a run")
    encode.add_argument("--output", type=path, required=True, help="name of the vectors, ending in .npy")
    decode = commands.add_parser("decode", help="vectors to texts, one a line")
    decode.add_argument("vectors", type=path)
    decode.add_argument("--model", help="default: the model that made the vectors")
    decode.add_argument("--num-beams", type=int, default=1, choices=range(1, 65), metavar="N", help="1 = greedy search")
    decode.add_argument("--output", type=path, help="default: standard output; CSV with scores where it ends in .csv")
    decode.add_argument("--scores", action="store_true", help="CSV: each text, its log-probability, that of its pieces")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = arguments(argv)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a stop runs the clean-up too
    try:
        from safetensors import SafetensorError

        from invlib.models.model import InvertibleSentenceModel

        if args.command == "encode":
            with opened(args.file, args.column) as texts:
                encode_file(texts, InvertibleSentenceModel.from_pretrained(args.model), args.output)
        else:
            scores = args.scores or (args.output is not None and args.output.suffix.lower() == ".csv")
            decode_file(args.vectors, args.model, args.num_beams, args.output, scores)
    except BrokenPipeError:  # whoever read the texts has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        sys.stderr.write("invlib: stopped; nothing was left half-written\n")
        sys.exit(130)
    except (ValueError, OSError, SafetensorError) as error:
        sys.stderr.write(f"invlib: {error}\n")
        sys.exit(2)
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    main()
