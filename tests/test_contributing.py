"""CONTRIBUTING.md, followed to the letter: a toy row and a toy metric, each by the entries that it names."""

from dataclasses import replace

import pytest

from invlib import rows, settings
from invlib.evaluation.evaluate import evaluate, prepare
from invlib.measures import metrics
from invlib.models import pooling
from invlib.rows import Row
from invlib.series import tables
from invlib.training.train import train


@pytest.fixture
def toy_row(monkeypatch):
    """Step 1 and 2: a class that registers itself, and an entry in ROWS."""

    class FirstPooling(pooling.Pooling):
        """The first word piece's state."""

        kind = "first"
        config_keys = ()

        def forward(self, features):
            features["sentence_embedding"] = features["token_embeddings"][:, 1]
            return features

    monkeypatch.setitem(rows.ROWS, "toy", Row("first", "transformer", "C7"))
    yield FirstPooling
    pooling.POOLINGS.pop("first")


def test_a_row_is_a_class_and_an_entry(toy_row, tiny_settings, tiny_material, run):
    assert settings.split_row_name("toy_32") == ("toy", 32, None)
    model, _ = train(replace(tiny_settings, row="toy", epochs=1), run, tiny_material)
    assert isinstance(model.pooling, toy_row) and (run / "models" / "toy_32" / "training.json").is_file()
    assert model.decode(model.encode(["oil falls"])) == model.reconstruct(["oil falls"])


def test_a_metric_is_one_entry(monkeypatch, tiny_model, tiny_settings, tiny_material):
    long = metrics.Metric(
        "right_pieces", "generated", ("right",), metrics.mean, "right pieces per headline", "right pieces", digits=1
    )
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, long))
    monkeypatch.setattr(tables, "METRICS", metrics.METRICS)
    row = evaluate(tiny_model(), prepare(tiny_settings, [tiny_settings], None, tiny_material))
    low, high = row["ci95"]["right_pieces"]
    assert low <= row["right_pieces"] <= high
    assert "right_pieces" in row["controls"]["shuffled_vector"]
    text = tables.full_tables(tables.pd.DataFrame([row], dtype=object))["The text"]
    assert text["right pieces"].iloc[0].startswith(f"{row['right_pieces']:.1f} [")
