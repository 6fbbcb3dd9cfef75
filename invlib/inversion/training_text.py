"""What each kind of training text adds to an inverter, in equal steps: `python -m invlib.inversion.training_text`.

The encoder labels any text, so an inverter can learn from more than the headlines that there are. With few headlines
it soon overfits: there one sees what the other kinds are worth.
"""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from invlib import paths
from invlib.encoders.material import Material, load_material
from invlib.encoders.token_states import token_states
from invlib.models.model import InvertibleSentenceModel
from invlib.settings import Settings, load_preset
from invlib.training.train import train

KINDS = {  # what stands beside the headlines, and the settings that put it there
    "headlines": {},
    "random": {"random_sentence_ratio": 1.0},
    "recombined": {"recombined_ratio": 3.0},
    "drawn": {},
}
COUNTED = ("headlines", "kind", "minutes", "steps", "epochs", "train_loss", "validation_loss", "validation_accuracy")


def compared(
    material: Material, run: str | Path | None, sizes: Sequence[int | None], kinds: Sequence[str] = tuple(KINDS),
    **common,
) -> pd.DataFrame:  # fmt: skip
    """A `mean_decoder` trained on each number of headlines with each kind of further text; one row each.

    sizes: numbers of training headlines, None = all; kinds: of `KINDS`. common: settings of all trainings, `preset`
    and `steps` among them. "drawn" are texts of a language model that has read the same headlines, in half of the
    steps before; as many as there are headlines. Losses in nats a word piece, on the validation headlines. Trained
    models are loaded.
    """
    rows, hidden_size = [], material.encoder.hidden_size
    everything = material.dataset("train", layers=()).ids()
    for size in sizes:
        texts = everything[:size]
        for kind in kinds:
            values = KINDS[kind]
            more = drawn_texts(texts, material, run, common) if kind == "drawn" else []
            s = load_preset(
                row="mean_decoder", embedding_dim=hidden_size, variant=f"{kind}_{len(texts)}",
                **{"recombined_ratio": 0.0, "dropout": 0.1} | common | values,
            )  # fmt: skip
            _, curve = train(s, run, read_by(material, texts + more, s), purpose="ablation")
            best, last = curve.loc[curve.validation_loss.idxmin()], curve.iloc[-1]
            figures = (len(texts), kind, last.minutes, last.step, last.epoch, last.train_loss, best.validation_loss)
            rows.append(dict(zip(COUNTED, (*figures, best.accuracy), strict=True)))
            paths.log_line(paths.run_folder(run), f"{s.name}: {rows[-1]}")
    return pd.DataFrame(rows)


def read_by(material: Material, texts: Sequence[list[int]], settings: Settings) -> Material:
    """The material with other training texts, given as word-piece ids with special tokens."""
    states = token_states(material.encoder, list(texts), settings.max_length, progress=False)
    return dataclasses.replace(material, states=material.states | {"train": states})


def drawn_texts(texts: list[list[int]], material: Material, run: str | Path | None, common: dict) -> list[list[int]]:
    """As many texts, drawn from a no-vector decoder that has learned from these."""
    s = load_preset(
        row="no_vector", embedding_dim=material.encoder.hidden_size, variant=f"of_{len(texts)}", dropout=0.1,
        **common | {"no_vector_steps": -(-common["steps"] // 2), "sent_sim_weight": 0.0},
    )  # fmt: skip
    model, _ = train(s, run, read_by(material, texts, s), purpose="ablation")
    return drawn(model, len(texts), s.seed)


def drawn(model: InvertibleSentenceModel, n: int, seed: int = 0) -> list[list[int]]:
    """n different texts drawn piece by piece from a no-vector decoder, with special tokens."""
    nothing, c, found = np.zeros((n, model.config.embedding_dim), np.float32), model.config, {}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for ids in model.generate_ids(nothing, batch_size=256, do_sample=True, top_k=0):
            text = [i for i in ids if i not in (c.bos_token_id, c.eos_token_id, c.pad_token_id)][: c.max_length - 2]
            if text:
                found[tuple(text)] = None
    return [[c.bos_token_id, *text, c.eos_token_id] for text in found]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m invlib.inversion.training_text", description=__doc__)
    parser.add_argument("--preset", default="study")
    parser.add_argument("--run", default=None, help="folder or name under runs/")
    parser.add_argument("--steps", type=int, default=500, help="of each training")
    parser.add_argument("--headlines", type=int, nargs="+", default=[4000], help="numbers of training headlines")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS), help="of further text")
    args = parser.parse_args(argv)
    common = {"preset": args.preset, "steps": args.steps, "epochs": 1000, "stop_patience": 1000}
    common |= {"n_validation": 300, "bertscore_every_epoch": 0}  # an epoch of few texts is soon over
    try:
        table = compared(load_material(load_preset(args.preset)), args.run, args.headlines, args.kinds, **common)
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    paths.write_csv(paths.run_folder(args.run) / "tables" / "12_training_text.csv", table)
    print(table.to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
