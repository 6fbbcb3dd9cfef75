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


def description(vectors: Path) -> dict | None:
    """What the JSON beside the vectors says of their maker; None where there is none, ValueError for another JSON."""
    file = vectors.with_suffix(".json")
    if not file.is_file():
        return None
    try:
        made = paths.read_json(file)
        return {key: made[key] for key in ("model", "folder", "model_hash", "encoder", "encoder_hash", "n")}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is no description of vectors ({error}); encode the texts again, or move it away and "
                         "name the vectors' model with --model") from error  # fmt: skip


def check_maker(vectors: Path, made: dict, model: "InvertibleSentenceModel") -> None:
    """ValueError where the JSON beside the vectors names another model or encoder than this one."""
    ours = maker(model)
    for what in ("model", "encoder"):
        if made[f"{what}_hash"] != ours[f"{what}_hash"]:
            before, now = (f"{what} {m[what]!r} ({m[f'{what}_hash']})" for m in (made, ours))
            raise ValueError(f"{vectors}: made by {before}, not by {now}; only what made a vector can decode it")


def check_vectors(vectors: Path, found: np.ndarray, made: dict | None, dim: int) -> None:
    """ValueError where the vectors are not what their JSON, if any, says, not (N, dim) real numbers, or not finite."""
    if made and (found.shape != (made["n"], dim) or found.dtype != np.float16):
        expected = f"{(made['n'], dim)} float16"
        raise ValueError(f"{vectors}: expected {expected}, got {found.shape} {found.dtype}; encode again")
    if found.ndim != 2 or found.shape[1] != dim or found.dtype.kind not in "fiu":
        raise ValueError(f"{vectors}: {found.shape} {found.dtype}, where the model decodes (N, {dim}) real numbers; "
                         "name the model that made them with --model")  # fmt: skip
    for start in range(0, len(found), files.CHUNK):
        if len(bad := np.flatnonzero(~np.isfinite(part_of(vectors, start)).all(1))):
            raise ValueError(f"{vectors}: vector {start + bad[0] + 1} holds NaN or infinity; encode its text again")


def decode_file(
    vectors: Path, model: str | None = None, num_beams: int = 1, output: Path | None = None, scores: bool = False
) -> None:
    """The vectors' texts, one a line, into `output` or to standard output.

    model: folder or name, default the one that the JSON beside the vectors names; plain vectors, without a JSON, need
    it. scores: CSV as `as_csv` makes it.
    Raises ValueError for vectors that are not the model's, OSError for what can't be read or written.
    """
    found, made = files.mapped(vectors), description(vectors)
    if model is None:
        if made is None:
            beside = vectors.with_suffix(".json").name
            raise ValueError(
                f"{vectors} has no {beside} beside it, which says what made the vectors; name their model: --model "
                "FOLDER, or make both files: invlib encode FILE --model FOLDER --output NAME.npy"
            )
        model = made["folder" if (Path(made["folder"]) / "config.json").exists() else "model"]
    loaded = invlib.InvertibleSentenceModel.from_pretrained(model)
    if output:
        check_output(output, vectors, vectors.with_suffix(".json"), *folder_of(loaded).iterdir())
    if made:
        check_maker(vectors, made, loaded)
    check_vectors(vectors, found, made, loaded.config.embedding_dim)
    with (
        renamed_when_whole(output) if output else nullcontext(sys.stdout.buffer) as out,
        progress(desc="decoding", total=len(found)) as bar,
    ):
        for start in range(0, len(found), files.CHUNK):
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
    parser.add_argument("--model", help="folder or name; default: what the .json beside names")
    parser.add_argument("--num-beams", type=int, default=1, choices=range(1, 65), metavar="N", help="1 = greedy search")
    parser.add_argument("--output", type=Path, help="default: standard output; CSV with scores where it ends in .csv")
    parser.add_argument("--scores", action="store_true", help="CSV: each text, its log-probability, that of its pieces")


def run(args: argparse.Namespace) -> None:
    output = args.output and args.output.expanduser()
    scores = args.scores or (output is not None and output.suffix.lower() == ".csv")
    decode_file(args.vectors.expanduser(), args.model, args.num_beams, output, scores)
