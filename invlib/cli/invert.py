"""`invlib invert`: the texts of sentence embeddings that anybody has made with a plain encoder."""

import argparse
import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invlib.cli import files
from invlib.cli.decode import description
from invlib.cli.encode import maker
from invlib.cli.files import check_output, folder_of, part_of, progress, renamed_when_whole

if TYPE_CHECKING:
    from invlib.models.model import InvertibleSentenceModel

NEAR = 0.7  # cosine below which, in the middle or the mean, vectors are hardly this encoder's
FIRST = 64  # vectors that are inverted before the file is begun


def foreign_vectors(vectors: Path, model: "InvertibleSentenceModel") -> np.ndarray:
    """Vectors (N, H) made elsewhere, mapped; ValueError for what can't be embeddings of the model's encoder."""
    from invlib.inversion.invert import ZERO

    encoder, expected = model.encoder.name, f"(N, {model.config.hidden_size})"
    found, made = files.mapped(vectors), None
    with suppress(ValueError):  # somebody's own JSON says nothing of a model
        made = description(vectors)
    if made and made["model_hash"] != maker(model)["model_hash"]:
        raise ValueError(
            f"{vectors}: {vectors.with_suffix('.json').name} says that model {made['model']!r} made them, where plain "
            f"sentence embeddings of encoder {encoder!r} are expected; decode them: invlib decode {vectors}"
        )
    if found.ndim != 2 or found.shape[1] != model.config.hidden_size or found.dtype.kind not in "fiu":
        raise ValueError(
            f"{vectors}: {found.shape} {found.dtype}, where encoder {encoder!r} makes {expected} of real numbers; name "
            "the model of another encoder with --model, or train one: python -m invlib.inversion --encoder NAME"
        )
    if not len(found):
        raise ValueError(f"{vectors}: no vector in it")
    for start in range(0, len(found), files.CHUNK):
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
        check_output(output, vectors, *folder_of(loaded).iterdir())
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
                bar.write(
                    f"invlib: these are hardly embeddings of {loaded.encoder.name!r}, or something is added to them: "
                    f"the texts found for the first {len(part)} have a median cosine of {np.median(cosines):.2f} to "
                    f"them, below {NEAR}; name the encoder that made them with --encoder, and a model trained on it "
                    "with --model",
                    file=sys.stderr,
                )
            texts = loaded.text([i.best for i in inverted])
            files.write(out, inverted_csv(texts, cosines[start:], SURE, header=start == 0))
            bar.update(len(part))
    mean, sure = np.mean(cosines), np.mean(np.array(cosines) >= SURE)
    doubt = f"; are these embeddings of {loaded.encoder.name!r}? Such texts say little" if mean < NEAR else ""
    sys.stderr.write(f"invlib: {len(cosines)} texts, mean cosine {mean:.3f}; surely exact {sure:.1%}{doubt}\n")


def inverted_csv(texts: list[str], cosines: list[float], sure: float, header: bool) -> str:
    import pandas as pd

    frame = pd.DataFrame({"text": texts, "cosine": cosines, "surely_exact": [cosine >= sure for cosine in cosines]})
    return frame.to_csv(index=False, header=header, float_format="%.4f", lineterminator="\n")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("vectors", type=Path, help="an .npy file of (N, H) numbers")
    parser.add_argument("--encoder", help="the encoder that made them; default: the model's, all-MiniLM-L6-v2")
    parser.add_argument("--model", help="folder or name of a mean_decoder; default: the one of the repository")
    parser.add_argument(
        "--rounds", type=int, choices=range(101), metavar="N", help="of search and correction; default: the chain's"
    )
    parser.add_argument("--output", type=Path, help="default: standard output; CSV of text, cosine, surely_exact")


def run(args: argparse.Namespace) -> None:
    output = args.output and args.output.expanduser()
    invert_file(args.vectors.expanduser(), args.model, args.encoder, output, args.rounds)
