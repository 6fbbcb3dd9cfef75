"""The notebooks as somebody runs them without the runner."""

import os
import subprocess
import sys

import pytest

from invlib import paths


@pytest.mark.slow
def test_plain_papermill_trains_a_run(tmp_path):
    """`papermill notebooks/03_training.ipynb out.ipynb --cwd notebooks -p preset ... -p run ...` needs nothing else."""
    run, out = tmp_path / "mine", tmp_path / "out.ipynb"
    parameters = {"preset": "smoke", "run": str(run), "data": "synthetic", "rows": "cls_decoder_H"}
    command = [sys.executable, "-m", "papermill", str(paths.NOTEBOOKS / "03_training.ipynb"), str(out)]
    command += ["--cwd", str(paths.NOTEBOOKS), "--no-progress-bar"]
    command += [word for name, value in parameters.items() for word in ("-p", name, value)]
    environment = {k: v for k, v in os.environ.items() if k not in ("INVLIB_RUN", "INVLIB_PRESET")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=paths.ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (run / "models" / "cls_decoder_384" / "model.safetensors").is_file()
    assert (run / "curves" / "cls_decoder_384.csv").is_file()
