"""Whole files from the command line, in chunks: a million lines need no more memory than a thousand.

    invlib encode headlines.txt --model att_pool_768 --output vectors.npy
    invlib decode vectors.npy --num-beams 5 --output texts.txt
    invlib invert embeddings.npy --output texts.csv

`encode` writes vectors.npy, (N, D) float16, one row a text, and vectors.json, which says what made them; `decode` reads
both. `invert` reads the sentence embeddings that anybody has made with a plain encoder, as SentenceTransformer.encode
gives them. All commands check all of their input before they work on the first of it, and an output takes its name when
it is whole.
"""

import argparse
import hashlib
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from tqdm import tqdm

import invlib
from invlib import paths
from invlib.data.files import KINDS, read_file

if TYPE_CHECKING:  # torch takes seconds: it is imported once there is something to do
    from invlib.models.model import InvertibleSentenceModel

CHUNK = 1024  # texts or vectors in memory at once
TABLES = tuple(kind for kind in KINDS if kind != ".txt")  # read as own data is, whole; every other name: lines

progress = partial(tqdm, unit=" texts", mininterval=2)  # on standard error


def read_texts(name: str, column: str | None = None) -> Iterator[tuple[str, str]]:
    """The texts of a text file, a table, a pipe or `-`, standard input, each behind its place: ("a.txt:3", "gold").

    Raises ValueError for a line that is not UTF-8, for `column` where lines are read, and as `read_file` does.
    """
    file, called = Path(name).expanduser(), "standard input" if name == "-" else name
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
    while chunk := list(islice(texts, CHUNK)):
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


def check_output(output: Path, *read: Path) -> None:
    """Raise where `output` is neither a new name nor a plain file that may be replaced, or is one of those read."""
    if output.is_symlink() or (output.exists() and not output.is_file()):
        kind = "a link" if output.is_symlink() else "a folder" if output.is_dir() else "a device or a pipe"
        raise ValueError(f"--output {output} is {kind}, and would become a file; give the name of a file")
    if output.exists() and any(file.exists() and output.samefile(file) for file in read):
        raise ValueError(f"--output {output} is one of the files that are read; give another name")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"no folder {str(output.parent)!r} for {output.name}; make it, or give another")


@contextmanager
def renamed_when_whole(file: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes its name when the block ends, and is gone where the block fails."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with unfinished.open("wb") as out:
            yield out
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def maker(model: "InvertibleSentenceModel") -> dict:
    """What the JSON beside vectors says of the model that made them."""
    from invlib.training.record import model_hash

    return {
        "model": model.folder.name, "folder": str(model.folder), "model_hash": model_hash(model.folder),
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
        check_output(file, Path(name).expanduser(), *model.folder.iterdir())
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


def description(vectors: Path) -> dict:
    """The JSON beside the vectors; FileNotFoundError or ValueError where one of the two is not there or not whole."""
    for file in (vectors, vectors.with_suffix(".json")):
        if not file.is_file():
            raise FileNotFoundError(
                f"no plain file {str(file)!r}: vectors are two files, .npy and the .json that says what made them; "
                "make both with: invlib encode FILE --model FOLDER --output NAME.npy"
            )
    try:
        made = paths.read_json(file)
        return {key: made[key] for key in ("model", "folder", "model_hash", "encoder", "encoder_hash", "n")}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is no description of vectors ({error}); encode the texts again") from error


def check_vectors(vectors: Path, made: dict, model: "InvertibleSentenceModel") -> None:
    """ValueError where the vectors are not this model's, not what their JSON says, or not finite."""
    ours = maker(model)
    for what in ("model", "encoder"):
        if made[f"{what}_hash"] != ours[f"{what}_hash"]:
            before, now = (f"{what} {m[what]!r} ({m[f'{what}_hash']})" for m in (made, ours))
            raise ValueError(f"{vectors}: made by {before}, not by {now}; only what made a vector can decode it")
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
    """CHUNK vectors as float32; mapped anew each time, so that what was read before leaves the memory."""
    return np.load(vectors, mmap_mode="r")[start : start + CHUNK].astype(np.float32)


def decode_file(
    vectors: Path, model: str | None = None, num_beams: int = 1, output: Path | None = None, scores: bool = False
) -> None:
    """The vectors' texts, one a line, into `output` or to standard output.

    model: folder or name, default the one that made the vectors. scores: CSV as `as_csv` makes it.
    Raises ValueError for vectors that are not the model's, OSError for what can't be read or written.
    """
    made = description(vectors)
    there = (Path(made["folder"]) / "config.json").exists()
    loaded = invlib.InvertibleSentenceModel.from_pretrained(model or made["folder" if there else "model"])
    if output:
        check_output(output, vectors, vectors.with_suffix(".json"), *loaded.folder.iterdir())
    check_vectors(vectors, made, loaded)
    with (
        renamed_when_whole(output) if output else nullcontext(sys.stdout.buffer) as out,
        progress(desc="decoding", total=made["n"]) as bar,
    ):
        for start in range(0, made["n"], CHUNK):
            decoded = loaded.decode(part_of(vectors, start), num_beams=num_beams, return_scores=scores)
            text = as_csv(decoded, header=start == 0) if scores else "".join(f"{text}\n" for text in decoded)
            out.write(text.encode())
            out.flush()
            bar.update(len(decoded))


def as_csv(decoded: list, header: bool) -> str:
    """CSV of `Decoded`: text, log_probability (of the text, in nats), pieces, probabilities (of each piece)."""
    import pandas as pd

    frame = pd.DataFrame(decoded)
    frame["pieces"] = frame["pieces"].map(" ".join)
    frame["probabilities"] = [" ".join(f"{p:.4f}" for p in row) for row in frame["probabilities"]]
    return frame.to_csv(index=False, header=header, float_format="%.4f", lineterminator="\n")


NEAR = 0.7  # cosine below which, in the middle of the first vectors, they are hardly this encoder's
FIRST = 64  # vectors that are inverted before the file is begun


def foreign_vectors(vectors: Path, model: "InvertibleSentenceModel") -> np.ndarray:
    """Vectors (N, H) made elsewhere, mapped; ValueError for what can't be embeddings of the model's encoder."""
    from invlib.inversion.invert import ZERO

    encoder, expected = model.encoder.name, f"(N, {model.config.hidden_size})"
    if not vectors.is_file():
        raise FileNotFoundError(f"no plain file {str(vectors)!r}; save the embeddings with numpy.save(name, array)")
    try:
        found = np.load(vectors, mmap_mode="r")
    except (ValueError, EOFError) as error:
        raise ValueError(f"{vectors}: no whole npy file of numbers ({error}); save it with numpy.save") from error
    if not isinstance(found, np.ndarray):
        raise ValueError(f"{vectors} holds several arrays; save the embeddings alone, with numpy.save(name, array)")
    if found.ndim != 2 or found.shape[1] != model.config.hidden_size or found.dtype.kind not in "fiu":
        raise ValueError(
            f"{vectors}: {found.shape} {found.dtype}, where encoder {encoder!r} makes {expected} of real numbers; name "
            "the model of another encoder with --model, or train one: python -m invlib.inversion --encoder NAME"
        )
    if not len(found):
        raise ValueError(f"{vectors}: no vector in it")
    for start in range(0, len(found), CHUNK):
        part = part_of(vectors, start)
        if len(bad := np.flatnonzero(~np.isfinite(part).all(1) | (np.abs(part).max(1) < ZERO))):
            raise ValueError(f"{vectors}: vector {start + bad[0] + 1} is zero, or holds NaN or infinity")
    return found


def invert_file(
    vectors: Path, model: str | None = None, encoder: str | None = None, output: Path | None = None,
    rounds: int | None = None,
) -> None:  # fmt: skip
    """The texts of sentence embeddings, as CSV: text, cosine of its embedding to the vector, surely_exact.

    model: folder or name of a `mean_decoder`, default the one that comes with the repository. encoder: the name of the
    encoder that made the vectors, which has to be the model's. Raises ValueError for vectors that are not that
    encoder's, as far as can be told, OSError for what can't be read or written.
    """
    from invlib.encoders.frozen import load_encoder
    from invlib.inversion.invert import SURE, Chain, invert
    from invlib.inversion.train_corrector import SHIPPED
    from invlib.models.model import InvertibleSentenceModel

    loaded = InvertibleSentenceModel.from_pretrained(model or SHIPPED)
    if loaded.config.row != "mean_decoder":
        raise ValueError(f"{loaded.folder} is a {loaded.config.row}, which reads vectors of its own: use invlib decode")
    if encoder is not None:
        loaded.use_encoder(load_encoder(encoder))
    found = foreign_vectors(vectors, loaded)
    if output:
        check_output(output, vectors, *loaded.folder.iterdir())
    lengths = np.linalg.norm(part_of(vectors, 0), axis=1)
    if np.abs(lengths - 1).max() > 0.02:
        sys.stderr.write(
            f"invlib: these vectors are not normalised (lengths {lengths.min():.2f} to {lengths.max():.2f}): only "
            "their directions are read\n"
        )
    chain, cosines = Chain() if rounds is None else Chain(rounds=rounds), []
    with (
        renamed_when_whole(output) if output else nullcontext(sys.stdout.buffer) as out,
        progress(desc="inverting", total=len(found), unit=" vectors") as bar,
    ):
        for start in range(0, len(found), FIRST):
            part = np.asarray(found[start : start + FIRST], dtype=np.float32)
            inverted = invert(loaded, part, chain)
            cosines += [i.cosine for i in inverted]
            if not start and np.median(cosines) < NEAR:
                sys.stderr.write(
                    f"invlib: the texts found for the first {len(part)} vectors are far from them (median cosine "
                    f"{np.median(cosines):.2f}): were they made by {loaded.encoder.name!r}, and is nothing added?\n"
                )
            texts = loaded.text([i.best for i in inverted])
            out.write(inverted_csv(texts, cosines[start:], SURE, header=start == 0).encode())
            out.flush()
            bar.update(len(part))
    sure = np.mean(np.array(cosines) >= SURE)
    sys.stderr.write(f"invlib: {len(cosines)} texts, mean cosine {np.mean(cosines):.3f}; surely exact {sure:.1%}\n")


def inverted_csv(texts: list[str], cosines: list[float], sure: float, header: bool) -> str:
    import pandas as pd

    frame = pd.DataFrame({"text": texts, "cosine": cosines, "surely_exact": [cosine >= sure for cosine in cosines]})
    return frame.to_csv(index=False, header=header, float_format="%.4f", lineterminator="\n")


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line, parsed."""
    parser = argparse.ArgumentParser(prog="invlib", description="Sentences to vectors, and vectors back to sentences.")
    commands = parser.add_subparsers(dest="command", required=True)
    encode = commands.add_parser("encode", help="sentences, one a line or a row, to vectors")
    encode.add_argument("file", help=f"lines of text; a table ({', '.join(TABLES)}); - for standard input")
    encode.add_argument("--column", help="the column of a table that holds the sentences; default: Headlines")
    encode.add_argument("--model", required=True, help="folder of a saved model, or its name in a run")
    encode.add_argument("--output", type=Path, required=True, help="name of the vectors, ending in .npy")
    decode = commands.add_parser("decode", help="vectors to texts, one a line")
    decode.add_argument("vectors", type=Path)
    decode.add_argument("--model", help="default: the model that made the vectors")
    decode.add_argument("--num-beams", type=int, default=1, choices=range(1, 65), metavar="N", help="1 = greedy search")
    decode.add_argument("--output", type=Path, help="default: standard output; CSV with scores where it ends in .csv")
    decode.add_argument("--scores", action="store_true", help="CSV: each text, its log-probability, that of its pieces")
    invert = commands.add_parser("invert", help="sentence embeddings, as an encoder makes them, to texts")
    invert.add_argument("vectors", type=Path, help="an .npy file of (N, H) numbers")
    invert.add_argument("--encoder", help="the encoder that made them; default: the model's, all-MiniLM-L6-v2")
    invert.add_argument("--model", help="folder or name of a mean_decoder; default: the one of the repository")
    invert.add_argument(
        "--rounds", type=int, choices=range(101), metavar="N", help="of search and correction; default: the chain's"
    )
    invert.add_argument("--output", type=Path, help="default: standard output; CSV of text, cosine, surely_exact")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = arguments(argv)
    output = args.output and args.output.expanduser()
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a stop runs the clean-up too
    try:
        if args.command == "encode":
            encode_file(args.file, invlib.InvertibleSentenceModel.from_pretrained(args.model), output, args.column)
        elif args.command == "invert":
            invert_file(args.vectors.expanduser(), args.model, args.encoder, output, args.rounds)
        else:
            scores = args.scores or (output is not None and output.suffix.lower() == ".csv")
            decode_file(args.vectors.expanduser(), args.model, args.num_beams, output, scores)
    except BrokenPipeError:  # whoever read the texts has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        sys.stderr.write("invlib: stopped; nothing was left half-written\n")
        sys.exit(130)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"invlib: {error}\n")
        sys.exit(2)
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    main()
