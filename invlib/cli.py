"""Whole files from the command line, in chunks: a million lines need no more memory than a thousand.

    invlib encode headlines.txt --model att_pool_768 --output vectors.npy
    invlib decode vectors.npy --num-beams 5 --output texts.txt

`encode` leaves vectors.npy, (N, D) float16, a row a line, and vectors.json, which says what made them. Both commands
check everything before the first sentence is worked on, and write under a temporary name that is renamed when whole.
"""

import argparse
import hashlib
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
from safetensors import SafetensorError
from tqdm import tqdm

from invlib import paths
from invlib.models.model import InvertibleSentenceModel
from invlib.training.record import model_hash

CHUNK = 1024  # lines or vectors in memory at once


def lines_of(file: Path) -> Iterator[str]:
    """The lines of a UTF-8 file without their ends, one after another; ValueError names the line that is none."""
    with file.open("rb") as raw:
        for number, line in enumerate(raw, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(f"{file}:{number}: not UTF-8 ({error.reason}); save the file as UTF-8") from error
            yield text.removesuffix("\n").removesuffix("\r")


def check_lines(file: Path, model: InvertibleSentenceModel) -> tuple[int, str]:
    """How many lines there are, and their hash; ValueError names the first that the model can't encode.

    The hash, 12 hex digits, is sha256 over the lines in their order, each with its line feed.
    """
    count, digest = 0, hashlib.sha256()
    for text in tqdm(lines_of(file), desc="checking", unit=" lines", mininterval=2):
        count += 1
        if not text.strip():
            raise ValueError(f"{file}:{count}: sentence is empty; remove the line or give at least one word")
        try:
            model.encoder.check_texts([text], model.config.max_length)
        except ValueError as error:
            raise ValueError(f"{file}:{count}: {str(error).replace('sentence 0', 'sentence', 1)}") from error
        digest.update(f"{text}\n".encode())
    if not count:
        raise ValueError(f"{file}: no sentence in it; give one a line")
    return count, digest.hexdigest()[:12]


@contextmanager
def renamed_when_whole(file: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes its name when the block ends, and is gone where the block fails."""
    if not file.parent.is_dir():
        raise FileNotFoundError(f"no folder {str(file.parent)!r} to write {file.name} into; make it, or give another")
    partial = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as out:
            yield out
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def encode_file(file: Path, model: InvertibleSentenceModel, output: Path) -> None:
    """The file's sentences as vectors in `output`, and what made them in the JSON of the same name.

    Raises ValueError for what can't be encoded or has no place in float16, OSError for what can't be read or written.
    """
    if output.suffix != ".npy":
        raise ValueError(f"--output {output}: give a name that ends in .npy")
    check_beside(output)
    count, texts_hash = check_lines(file, model)
    shape = (count, model.config.embedding_dim)
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float16)), "fortran_order": False, "shape": shape}
    digest, done = hashlib.sha256(), 0
    with (
        renamed_when_whole(output) as out,  # written, not mapped: a full disk is an error, and memory stays flat
        tqdm(total=count, desc="encoding", unit=" lines", mininterval=2) as bar,
    ):
        np.lib.format.write_array_header_1_0(out, header)
        lines = lines_of(file)
        while texts := list(islice(lines, CHUNK)):
            with np.errstate(over="ignore"):
                vectors = model.encode(texts).astype(np.float16)
            if len(bad := np.flatnonzero(~np.isfinite(vectors).all(1))):
                raise ValueError(
                    f"{file}:{done + bad[0] + 1}: its vector holds NaN or a number beyond float16's 65504; "
                    "such a model's vectors can't be kept in half precision"
                )
            out.write(vectors.tobytes())
            digest.update("".join(f"{text}\n" for text in texts).encode())
            done += len(texts)
            bar.update(len(texts))
        if (done, digest.hexdigest()[:12]) != (count, texts_hash):
            raise ValueError(f"{file} changed while it was read; encode it again")
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
    try:
        ours = not beside.exists() or "texts_hash" in paths.read_json(beside)
    except (ValueError, TypeError):
        ours = False
    if not ours:
        raise ValueError(
            f"--output {output}: what made the vectors goes into {beside}, which is there and is another's; "
            "give another name"
        )


def described(vectors: Path) -> dict:
    """What the JSON beside the vectors says of them; FileNotFoundError or ValueError where it doesn't."""
    file = vectors.with_suffix(".json")
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


def check_vectors(vectors: Path, made: dict, model: InvertibleSentenceModel) -> None:
    """ValueError where the vectors are not this model's, not what their JSON says, or not finite."""
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


def decode_file(vectors: Path, model: str | None = None, num_beams: int = 1, output: Path | None = None) -> None:
    """The vectors' texts, one a line, into `output` or to standard output.

    model: folder or name, default the one that made the vectors. Raises ValueError for vectors that are not its own,
    OSError for what can't be read or written.
    """
    made = described(vectors)
    if model is None:
        model = made["folder"] if (Path(made["folder"]) / "config.json").exists() else made["model"]
    loaded = InvertibleSentenceModel.from_pretrained(model)
    check_vectors(vectors, made, loaded)
    with (
        renamed_when_whole(output) if output else nullcontext(sys.stdout.buffer) as out,
        tqdm(total=made["n"], desc="decoding", unit=" lines", mininterval=2) as bar,
    ):
        for start in range(0, made["n"], CHUNK):
            texts = loaded.decode(part_of(vectors, start), num_beams=num_beams)
            out.write("".join(f"{text}\n" for text in texts).encode())
            out.flush()
            bar.update(len(texts))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="invlib", description="Sentences to vectors, and vectors back to sentences.")
    commands = parser.add_subparsers(dest="command", required=True)
    encode = commands.add_parser("encode", help="a text file, one sentence a line, to vectors")
    encode.add_argument("file", type=Path)
    encode.add_argument("--model", required=True, help="folder of a saved model, or its name in a run")
    encode.add_argument("--output", type=Path, required=True, help="name of the vectors, ending in .npy")
    decode = commands.add_parser("decode", help="vectors to texts, one a line")
    decode.add_argument("vectors", type=Path)
    decode.add_argument("--model", help="default: the model that made the vectors")
    decode.add_argument("--num-beams", type=int, default=1, choices=range(1, 65), metavar="N", help="1 = greedy search")
    decode.add_argument("--output", type=Path, help="default: standard output")
    args = parser.parse_args(argv)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a stop runs the clean-up too
    try:
        if args.command == "encode":
            encode_file(args.file, InvertibleSentenceModel.from_pretrained(args.model), args.output)
        else:
            decode_file(args.vectors, args.model, args.num_beams, args.output)
    except BrokenPipeError:  # whoever read the texts has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        parser.exit(130, f"{parser.prog}: stopped; nothing was left half-written\n")
    except (ValueError, OSError, SafetensorError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    main()
