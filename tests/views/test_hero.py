"""README.md's figure."""

import json
import shutil

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from PIL import Image

from invlib import paths
from invlib.series import tables
from invlib.views import hero


@pytest.fixture
def folder(tmp_path):
    """A copy of the published results."""
    for name in hero.FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(tables.published() / name, tmp_path / name)
    return tmp_path


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_two_panels_of_a_few_named_systems(folder):
    """Each named at its place, nothing in a legend; the message is the title."""
    fig = hero.draw(folder)
    left, right = fig.axes
    assert len(texts(left)) == 4 and len(texts(right)) == 3
    for ax in fig.axes:
        assert ax.get_legend() is None and ax.get_xlabel() and ax.get_ylabel()
        assert len(ax.get_title("left") + ax.get_title()) > 30  # where the style that other figures set has it
    plt.close(fig)


def test_the_points_are_those_of_the_files(folder):
    points = hero.systems(folder).set_index("look")
    (hybrid,) = [
        r
        for r in json.loads((folder / "metrics.json").read_text())
        if r.get("variant") == "long" and r["embedding_dim"] == 384
    ]
    assert points.loc["learned", ["exact_match", "rank_correlation"]].tolist() == [
        hybrid["exact_match"],
        hybrid["rank_correlation"],
    ]
    changed = pd.read_csv(folder / "tables/12_texts.csv")
    changed["exact"] = 0.123
    paths.write_csv(folder / "tables/12_texts.csv", changed)
    assert hero.systems(folder).set_index("look").loc["plain", "exact_match"] == 0.123


def test_it_has_the_shape_of_a_screen(folder, monkeypatch):
    monkeypatch.setattr(paths, "FIGURES", folder / "figures")
    assert Image.open(hero.write(folder)).size == (1280, 720)


def test_what_is_missing_is_named(folder):
    assert hero.lacking(folder) == []
    (folder / "tables/08_noise.csv").unlink()
    assert hero.lacking(folder) == ["tables/08_noise.csv"]
