"""The figure of what limits the attack, from result files."""

import shutil

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from invlib import paths
from invlib.views import learning


@pytest.fixture
def results(tmp_path):
    """A copy of the published files."""
    for name in (*learning.FILES, learning.HEADLINES):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(paths.RESULTS / name, tmp_path / name)
    return tmp_path


def test_both_panels_show_the_losses_of_the_files(results):
    fig = learning.draw(results)
    left, right = fig.axes
    for line, (name, (batch, label, _)) in zip(left.lines, learning.FILES.items(), strict=True):
        curve = pd.read_csv(results / name)
        assert line.get_label() == label and line.get_ydata()[-1] == curve["validation_loss"].iloc[-1]
        assert line.get_xdata()[-1] == pytest.approx(batch * curve["step"].iloc[-1] / 1e6)
    table = pd.read_csv(results / learning.HEADLINES)
    assert sorted(y for line in right.lines for y in line.get_ydata()) == sorted(table["validation_loss"])
    plt.close(fig)


def test_what_is_missing_is_named_and_nothing_is_drawn(results, monkeypatch):
    monkeypatch.setattr(paths, "FIGURES", results / "figures")
    assert learning.lacking(results) == [] and learning.write(results).name == "learning.png"
    (results / learning.HEADLINES).unlink()
    assert learning.lacking(results) == [learning.HEADLINES]
