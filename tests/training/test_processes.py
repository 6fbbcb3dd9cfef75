"""Training and encoding in two processes: as one process does it, and written once."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from invlib import paths
from invlib.encoders.ranks import at_first, is_first, of_first, rank_of, wait_for_all
from invlib.training.trainer import training_arguments

SCRIPT = """
import json, sys
from pathlib import Path
from invlib import paths
from invlib.encoders.frozen import load_encoder
from invlib.encoders.ranks import joined
from invlib.encoders.token_states import token_states
from invlib.settings import Settings, with_tuples
from invlib.training.train import train
paths.RUNS = Path(sys.argv[1])
rows = json.loads(Path(sys.argv[2]).read_text())
with joined():
    # nine batches: the last is one process's alone
    token_states(load_encoder(rows[0]["encoder"]), Path(rows[0]["data"]).read_text().splitlines()[1:35], batch_size=4)
    for settings in rows:
        train(Settings(**with_tuples(settings)), "test")
"""
ROWS = {
    "att_pool": {"sent_sim_weight": 0.1, "sent_sim_every": 3},
    "rnn": {},
    "encoder_only": {},
    "mean_decoder": {"schedule": "cosine"},
    "no_vector": {},
    "hybrid": {
        "embedding_dim": 64, "queries": 8, "encoder_layers": ("word", "last"), "numbers_per_piece": 32,
        "sampled_negatives": 20,
    },
}  # fmt: skip


def test_one_process_has_nobody_to_wait_for():
    assert rank_of() == (0, 1) and is_first() and of_first("a") == "a" and at_first("a") == ["a"]
    wait_for_all()


def test_a_batch_that_cant_be_shared_is_an_error(tiny_settings, tmp_path, monkeypatch):
    from invlib.training import trainer

    monkeypatch.setattr(trainer, "rank_of", lambda: (0, 3))
    with pytest.raises(ValueError, match="batch_size 8 can't be shared by 3 processes; change --nproc-per-node"):
        training_arguments(tiny_settings, 5, tmp_path, 40, trainer.torch.device("cpu"))


@pytest.mark.slow
def test_two_processes_train_as_one_does(tiny_settings, sentences, tmp_path):
    """20 steps of the same batches: the loss within noise, the same cache, one log, one model."""
    data, script, described = tmp_path / "data.csv", tmp_path / "script.py", tmp_path / "settings.json"
    pd.DataFrame({"Headlines": sentences}).to_csv(data, index=False)
    script.write_text(SCRIPT)
    common = {
        "data": str(data), "steps": 20, "no_vector_steps": 20, "epochs": 9, "sampled_negatives": 0,
        "sent_sim_weight": 0.0, "embedding_dim": tiny_settings.n_embd, "allow_synthetic": False,
    }  # fmt: skip
    rows = [replace(tiny_settings, row=row, **common | own) for row, own in ROWS.items()]
    described.write_text(json.dumps([row.values() for row in rows]))
    clean = {k: v for k, v in os.environ.items() if k not in ("INVLIB_RUN", "INVLIB_DATA")}
    for name, launcher in (("one", []), ("two", ["-m", "torch.distributed.run", "--nproc-per-node=2"])):
        command = [sys.executable, *launcher, str(script), str(tmp_path / name), str(described)]
        environment = clean | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(paths.ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr

    one, two = tmp_path / "one", tmp_path / "two"
    cached = sorted(file.relative_to(one) for file in one.glob("cache/**/*") if file.is_file())
    assert cached and all((one / file).read_bytes() == (two / file).read_bytes() for file in cached)
    for row in rows:
        curves = [pd.read_csv(run / "test" / "curves" / f"{row.name}.csv") for run in (one, two)]
        assert curves[0].step.tolist() == curves[1].step.tolist() and curves[1].step.iloc[-1] == 20
        first, last = curves[0].validation_loss.iloc[[0, -1]]
        np.testing.assert_allclose(curves[1].validation_loss, curves[0].validation_loss, rtol=0.02, err_msg=row.name)
        assert last < first
        assert sorted(p.name for p in (two / "test" / "models" / row.name).iterdir()) == [
            "config.json", "model.safetensors", "training.json",
        ]  # fmt: skip
        assert (two / "test" / "log.txt").read_text().count(f"{row.name} starts") == 1
