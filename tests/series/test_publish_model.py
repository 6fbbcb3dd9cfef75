"""A model handed on in the repository: small, read back as it was up to half precision, and found by its name."""

import base64
import io
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from invlib import paths
from invlib.models.model import InvertibleSentenceModel
from invlib.series import publish
from invlib.training.record import TrainingRecord
from invlib.training.train import train


@pytest.fixture
def trained(run, tiny_settings, tiny_material, tmp_path, monkeypatch):
    """A hybrid_64_long of the temporary run, and a temporary data/."""
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    settings = replace(
        tiny_settings, row="hybrid", embedding_dim=64, variant="long", queries=8, encoder_layers=("word", "last"),
        numbers_per_piece=32, epochs=1,
    )  # fmt: skip
    return train(settings, run, tiny_material)[0]


def test_a_published_model_keeps_its_full_name_and_is_half_as_large(trained, run):
    written = publish.publish_model(run, "hybrid_64_long")
    folder = paths.DATA / "models" / "hybrid_64_long"
    assert sorted(p.name for p in written) == sorted(p.name for p in folder.iterdir())
    sizes = [(f / "model.safetensors").stat().st_size for f in (folder, trained.folder)]
    assert sizes[0] < 0.55 * sizes[1]
    assert TrainingRecord.read(folder) == TrainingRecord.read(trained.folder)
    model = InvertibleSentenceModel.from_pretrained("hybrid_64_long")
    assert model.folder == folder.resolve() and next(model.parameters()).dtype.itemsize == 4
    texts = ["oil falls on tariffs", "gold slips again"]
    np.testing.assert_allclose(model.encode(texts), trained.encode(texts), atol=2e-2)


def test_a_model_that_is_not_there_or_too_large_is_refused(trained, run, monkeypatch, capsys):
    assert publish.main([str(run), "--model", "hybrid_64"]) == 2
    error = capsys.readouterr().err
    assert "no model" in error and "hybrid_64'" in error and "models that exist: hybrid_64_long" in error
    monkeypatch.setattr(publish, "LARGEST_MODEL", 1000)
    assert publish.main([str(run), "--model", "hybrid_64_long"]) == 2
    assert "MB in half precision" in capsys.readouterr().err and not (paths.DATA / "models").exists()


def test_a_notebooks_picture_is_made_smaller_and_looks_the_same():
    fig, ax = plt.subplots()
    ax.plot([1, 3, 2])
    whole = io.BytesIO()
    fig.savefig(whole, format="png")
    plt.close(fig)
    given = base64.b64encode(whole.getvalue()).decode()
    small = publish.of_few_colours(given)
    assert len(small) < 0.8 * len(given)
    read = [Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB") for picture in (given, small)]
    before, after = (np.asarray(image, int) for image in read)
    assert np.abs(before - after).max() <= 16 and np.abs(before - after).mean() < 0.5
