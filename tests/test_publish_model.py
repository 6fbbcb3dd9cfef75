"""A model handed on in the repository: small, read back as it was up to half precision, and found by its name."""

from dataclasses import replace

import numpy as np
import pytest

from invlib import paths, publish
from invlib.model import InvertibleSentenceModel
from invlib.training import train


@pytest.fixture
def trained(run, tiny_settings, tiny_material, tmp_path, monkeypatch):
    """A hybrid_64_long of the temporary run, and a temporary data/."""
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    settings = replace(
        tiny_settings, row="hybrid", embedding_dim=64, variant="long", queries=8, encoder_layers=("word", "last"),
        dealt=32, epochs=1,
    )  # fmt: skip
    return train(settings, run, tiny_material)[0]


def test_a_published_model_is_half_as_large_and_says_where_it_is_from(trained, run):
    written = publish.publish_model(run, "hybrid_64_long")
    folder = paths.DATA / "models" / "hybrid_64"
    assert sorted(p.name for p in written) == sorted(p.name for p in folder.iterdir())
    sizes = [(f / "model.safetensors").stat().st_size for f in (folder, trained.folder)]
    assert sizes[0] < 0.55 * sizes[1]
    training = paths.read_json(folder / "training.json")
    assert training["published_from"] == "hybrid_64_long" and training["settings"]["variant"] == "long"
    model = InvertibleSentenceModel.from_pretrained("hybrid_64")
    assert model.folder == folder.resolve() and next(model.parameters()).dtype.itemsize == 4
    said = ["oil falls on tariffs", "gold slips again"]
    np.testing.assert_allclose(model.encode(said), trained.encode(said), atol=2e-2)


def test_a_model_that_is_not_there_or_too_large_is_refused(trained, run, monkeypatch, capsys):
    assert publish.main([str(run), "--model", "hybrid_64"]) == 2
    assert "no trained model hybrid_64 in" in (said := capsys.readouterr().err) and "hybrid_64_long" in said
    monkeypatch.setattr(publish, "LARGEST_MODEL", 1000)
    assert publish.main([str(run), "--model", "hybrid_64_long"]) == 2
    assert "MB in half precision" in capsys.readouterr().err and not (paths.DATA / "models").exists()
