"""Work that is killed (kill -9) before any of its writes and started again ends as if it had not been."""

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from invlib import paths
from invlib.encoders.token_states import token_states
from invlib.inversion.train_corrector import train_corrector
from invlib.training.train import train

pytestmark = pytest.mark.slow


def left(folder: Path) -> dict:
    """What lies in a folder, but for what a clock measured, logs, and what a kill left under a temporary name."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "log.txt"):
        name = str(path.relative_to(folder))
        if path.name == "training.json":
            clocks = ("seconds", "sent_sim_seconds")
            found[name] = {key: value for key, value in paths.read_json(path).items() if key not in clocks}
        elif path.suffix == ".csv":
            curve = pd.read_csv(path)
            found[name] = curve.drop(columns=[c for c in ("minutes", "sent_sim_seconds") if c in curve]).to_csv()
        elif ".part" not in name:
            found[name] = path.read_bytes()
    return found


@pytest.fixture
def check(in_child, kills, tmp_path):
    """check(work, most): work(folder), killed at `most` of its writes and done again, leaves what a whole does."""

    def started_again(work, most: int) -> None:
        folder = tmp_path / "work"
        places = kills(lambda: work(folder), most)
        whole = left(folder)
        assert whole
        for place in places:
            shutil.rmtree(folder)
            assert in_child(lambda: work(folder), place)[0] == -9
            assert in_child(lambda: work(folder))[0] == 0
            assert left(folder) == whole, f"killed before write {place}"

    return started_again


def test_caching(check, tiny_encoder, sentences):
    check(lambda folder: token_states(tiny_encoder, sentences[:24], 16, folder, batch_size=8, progress=False), most=40)


def test_training(check, tiny_settings, tiny_material):
    settings = replace(tiny_settings, batch_size=20, schedule="cosine", vector_noise=0.1)
    check(lambda folder: train(settings, folder, tiny_material), most=24)


def test_correcting(check, tiny_settings, tiny_encoder, tiny_material):
    from invlib.models.model import build_model

    settings = replace(tiny_settings, row="mean_decoder", variant="inverter", expanded_size=64, sampled_negatives=0)
    inverter = build_model(settings, tiny_encoder).eval()
    settings = replace(settings, variant="corrector", corrected_texts=16, batch_size=16)
    check(lambda folder: train_corrector(settings, inverter, folder, tiny_material), most=12)
