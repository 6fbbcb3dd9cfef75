"""The whole study side by side: what is published, where no run has it."""

import pandas as pd
import pytest

from invlib import paths
from invlib.series import tables, whole_study


def test_without_a_run_both_tables_are_the_published_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    monkeypatch.delenv("INVLIB_RUN", raising=False)
    points, ceiling, note = whole_study.bits_by_size(None, pd.DataFrame(), None)
    assert set(points["group"]) == {"learned", "searched", "control"} and points["bits"].max() <= ceiling + 1
    assert "PUBLISHED" in note
    cost, note = whole_study.cost(None, pd.DataFrame(), 512)
    assert {"one step, own m", "rnn_768"} <= set(cost["system"]) and cost["to encode"].max() < 10  # seconds
    assert "PUBLISHED" in note and not (tmp_path / "runs").exists()


@pytest.fixture
def own_run(finished):
    """A run with the files of 04 and 09, and the fits of 10."""
    rows = [{"device": "cpu", "encode_ms": 1.0, "decode_ms": 2.0, "recovered_bits": None, "ci95": None} | row
            for row in paths.read_json(finished / "metrics.json")]  # fmt: skip
    paths.write_json(finished / "metrics.json", rows)
    words = {"language_model": "lm_8", "device": "cpu"}
    paths.write_csv(finished / "tables" / "09_speed.csv", pd.DataFrame([words | {"encode_ms": 1000, "decode_ms": 20}]))
    paths.write_csv(finished / "tables" / "09_headlines.csv", pd.DataFrame([words | {"headline": 0, "vector": 512}]))
    fits = {"kept_numbers": 1024, "encode_ms": 500, "decode_ms": 10}
    return finished, pd.DataFrame([{"system": system} | fits for system in whole_study.ONE_STEP])


def test_what_each_method_costs_is_in_seconds(own_run):
    run, fits = own_run
    table, note = whole_study.cost(run, fits, 512)
    cost = table.set_index("system")
    assert not note and cost.loc["cramming, lm_8", ["numbers", "to encode", "to decode"]].tolist() == [512, 1.0, 0.02]
    assert cost.loc["one step, own m", ["numbers", "to encode"]].tolist() == [1024, 0.5]
    assert cost.loc["att_pool_768", "to encode"] == 0.001
    assert (run / "tables" / "10_cost.csv").is_file()


def test_each_model_has_a_point_and_its_control_another(own_run):
    found = whole_study.learned_and_controls(tables.load_metrics(own_run[0]))
    points = pd.DataFrame(found).set_index(["label", "group"])
    assert points.loc[("att_pool_768", "learned"), "bits"] == 60.04
    assert ("another headline's vector", "control") in points.index


def test_networks_that_were_not_trained_are_no_result(own_run):
    run, fits = own_run
    paths.write_csv(run / "tables" / "09_speed.csv", pd.DataFrame([{"language_model": "untrained", "device": "cpu"}]))
    with pytest.raises(ValueError, match="not trained; run notebooks/09_cramming.ipynb again"):
        whole_study.cost(run, fits, 512)
