"""Which models notebook 07 looks at, and what its ablations are trained with."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from invlib.evaluation.run_results import TrainedRun
from invlib.probes import compared
from invlib.settings import load_preset, select_row


@pytest.fixture
def trained(tiny_model, tiny_material, tiny_settings, tmp_path):
    """build(**accuracy by name) -> a run with these models, untrained."""

    def build(**accuracy) -> TrainedRun:
        models, settings = {}, {}
        for name in accuracy:
            row = name.split("_")[0] if name.startswith("hybrid") else "att_pool"
            dim = 128 if "128" in name else 64
            models[name] = tiny_model(row, embedding_dim=dim)
            settings[name] = replace(tiny_settings, row=row, embedding_dim=dim, seed=7)
        records = {name: SimpleNamespace(accuracy=value) for name, value in accuracy.items()}
        return TrainedRun(tmp_path, models, records, settings, tiny_material)

    return build


def test_the_smallest_long_hybrid_comes_first(trained, tiny_settings):
    run = trained(hybrid_64=0.9, hybrid_128_long=0.8, hybrid_64_long=0.1, hybrid_64_smooth=0.5, att_pool_128=0.3,
                  att_pool_64=0.3, att_pool_64_alike=0.2)  # fmt: skip
    look = compared.compare(run, tiny_settings)
    assert list(look.models) == ["hybrid_64_long", "hybrid_128_long", "hybrid_64_smooth", "att_pool_64_alike"]
    assert look.hybrid is run.models["hybrid_64_long"] and look.settings is run.settings["hybrid_64_long"]
    assert look.n == 12 and len(look.dataset(look.hybrid)) == 12 and len(look.dataset(look.hybrid, "train", 5)) == 5
    assert set(look.vectors) == {*look.models, "packed_ids"} and look.vectors["packed_ids"].shape == (12, 64)
    np.testing.assert_array_equal(look.control.components, look.hybrid.components)


def test_without_a_long_one_the_most_accurate_counts(trained, tiny_settings):
    look = compared.compare(trained(hybrid_64=0.2, hybrid_128=0.6), tiny_settings)
    assert list(look.models) == ["hybrid_128"]


def test_a_run_without_hybrids_trains_one_as_the_ablations_are(trained, tiny_settings, tiny_model, monkeypatch):
    asked = []

    def train(settings, run, material, purpose):
        asked.append((settings.name, settings.steps, settings.seed, run, purpose))
        return tiny_model("hybrid"), None

    monkeypatch.setattr(compared, "train", train)
    settings = load_preset("smoke", rows="hybrid_96")
    look = compared.compare(trained(att_pool_64=0.3), settings, "mine")
    assert asked == [("hybrid_96_plain", settings.ablation_steps, 7, "mine", "ablation")]
    assert list(look.models) == ["hybrid_96_plain", "att_pool_64"] and look.settings.variant == "plain"


def test_an_ablation_has_its_rows_values_and_ones_own(trained):
    run, settings = trained(att_pool_64=0.3), load_preset("cpu")
    found = compared.ablation_settings(run, settings, "last_only")
    assert found.name == "hybrid_384_last_only" and found.encoder_layers == ("last",)
    assert found.steps == settings.ablation_steps and found.max_length == 16  # the run's
    assert found.learning_rate == select_row(settings, "hybrid_384").learning_rate
    bare = compared.ablation_settings(run, settings, "no_prefix")
    assert bare.name == "multi_query_384_no_prefix"
    mine = compared.ablation_settings(run, settings, "mine", vector_noise=0.3, steps=5)
    assert (mine.vector_noise, mine.steps) == (0.3, 5)
