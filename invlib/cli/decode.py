"""`invlib decode`: vectors back to texts, under the model that made them."""

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import invlib
from invlib import paths
from invlib.cli import files
from invlib.cli.encode import maker
from invlib.cli.files import check_output, folder_of, part_of, progress, renamed_when_whole

if TYPE_CHECKING:
    from invlib.models.model import InvertibleSentenceModel


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
    for start in range(0, made["n"], files.CHUNK):
        if len(bad := np.flatnonzero(~np.isfinite(part_of(vectors, start)).all(1))):
            raise ValueError(f"{vectors}: vector {start + bad[0] + 1} holds NaN or infinity; encode the texts again")


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
        check_output(output, vectors, vectors.with_suffix(".json"), *folder_of(loaded).iterdir())
    check_vectors(vectors, made, loaded)
    with (
        renamed_when_whole(output) if output else nullcontext(sys.stdout.buffer) as out,
        progress(desc="decoding", total=made["n"]) as bar,
    ):
        for start in range(0, made["n"], files.CHUNK):
            decoded = loaded.decode(part_of(vectors, start), num_beams=num_beams, return_scores=scores)
            text = as_csv(decoded, header=start == 0) if scores else "".join(f"{text}\n" for text in decoded)
            files.write(out, text)
            bar.update(len(decoded))


def as_csv(decoded: list, header: bool) -> str:
    """CSV of `Decoded`: text, log_probability (of the text, in nats), pieces, probabilities (of each piece)."""
    import pandas as pd

    frame = pd.DataFrame(decoded)
    frame["pieces"] = frame["pieces"].map(" ".join)
    frame["probabilities"] = [" ".join(f"{p:.4f}" for p in row) for row in frame["probabilities"]]
    return frame.to_csv(index=False, header=header, float_format="%.4f", lineterminator="\n")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("vectors", type=Path)
    parser.add_argument("--model", help="default: the model that made the vectors")
    parser.add_argument("--num-beams", type=int, default=1, choices=range(1, 65), metavar="N", help="1 = greedy search")
    parser.add_argument("--output", type=Path, help="default: standard output; CSV with scores where it ends in .csv")
    parser.add_argument("--scores", action="store_true", help="CSV: each text, its log-probability, that of its pieces")


def run(args: argparse.Namespace) -> None:
    output = args.output and args.output.expanduser()
    scores = args.scores or (output is not None and output.suffix.lower() == ".csv")
    decode_file(args.vectors.expanduser(), args.model, args.num_beams, output, scores)
