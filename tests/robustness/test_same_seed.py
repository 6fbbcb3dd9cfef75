"""The same seed and the same number of steps give the same figures, twice."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from invlib.evaluation.evaluate import evaluate, prepare
from invlib.settings import select_row
from invlib.training.train import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(torch.cuda.is_available(), reason="on a card sums differ from run to run"),
]
CLOCKS = ("train_seconds", "tokens_per_second")
HYBRID = {"embedding_dim": 64, "queries": 8, "encoder_layers": ("word", "last"), "numbers_per_piece": 32}


@pytest.mark.parametrize("row", ["att_pool", "rnn", "encoder_only", "hybrid"])
def test_the_same_seed_gives_the_same_metrics(run, tiny_settings, tiny_material, row):
    settings = replace(
        tiny_settings, row=row, steps=8, no_vector_steps=8, epochs=50, vector_noise=0.1, dropout=0.1,
        **HYBRID if row == "hybrid" else {},
    )  # fmt: skip
    figures, curves = [], []
    for k, name in enumerate(("first", "second")):
        torch.manual_seed(k)  # what the process drew before does not count
        model, curve = train(settings, run / name, tiny_material)
        train(select_row(replace(settings, row="att_pool"), "no_vector_96"), run / name, tiny_material)
        found = evaluate(model, prepare(settings, [settings], run / name, tiny_material, "test", 1))
        figures.append({key: value for key, value in found.items() if key not in CLOCKS})
        curves.append(curve.drop(columns=["minutes", "sent_sim_seconds"]))
    assert figures[0]["steps"] == 8 and figures[0]["reference_bits"] > 0
    for figure in figures:
        for control in figure["controls"].values():
            (control or {}).pop("train_seconds", None)
    assert figures[0] == figures[1]
    pd.testing.assert_frame_equal(*curves)
