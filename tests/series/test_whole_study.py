"""The whole study side by side: what is published, where no run has it."""

import pandas as pd

from invlib import paths
from invlib.series import whole_study


def test_without_a_run_both_tables_are_the_published_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    monkeypatch.delenv("INVLIB_RUN", raising=False)
    points, ceiling, note = whole_study.bits_by_size(None, pd.DataFrame(), None)
    assert set(points["group"]) == {"learned", "searched", "control"} and points["bits"].max() <= ceiling + 1
    assert "PUBLISHED" in note
    cost, note = whole_study.cost(None, pd.DataFrame(), 512)
    assert {"one step, own m", "rnn_768"} <= set(cost["system"]) and cost["to encode"].max() < 10  # seconds
    assert "PUBLISHED" in note and not (tmp_path / "runs").exists()
