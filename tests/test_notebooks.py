"""The notebooks as somebody runs them without the runner."""

import os
import subprocess
import sys
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from invlib import paths
from invlib.views import plots


def sources(name: str) -> dict[str, str]:
    """The sources of a notebook's cells by their ids."""
    (path,) = paths.NOTEBOOKS.glob(f"{name}_*.ipynb")
    return {cell["id"]: "".join(cell["source"]) for cell in paths.read_json(path)["cells"]}


@pytest.mark.parametrize("longest", [24, 38, 60])
def test_the_legend_of_the_lengths_lies_on_no_line(longest):
    """Notebook 00: whether the longest headlines end before max_length or run past it."""
    (cell,) = [source for source in sources("00").values() if '"00_lengths"' in source]
    rows = [[0] * n for n in [*range(4, 24)] * 5 + [longest]]
    names = {
        "np": np, "plt": plt, "histogram": plots.histogram, "run": None, "texts": {"train": rows},
        "frozen": SimpleNamespace(tokenizer=lambda part, verbose: {"input_ids": part}),
        "settings": SimpleNamespace(max_length=40), "save_figure": lambda fig, *_: fig.canvas.draw(),
    }  # fmt: skip
    with plt.style.context(plots.STYLE):
        exec(compile(cell, "00, lengths", "exec"), names)
    ax, box = names["ax"], names["ax"].get_legend().get_window_extent()
    assert not [line for line in ax.lines if box.overlaps(line.get_window_extent().padded(1))]
    assert box.y1 <= names["fig"].bbox.y1 and box.x0 >= 0 and box.x1 <= names["fig"].bbox.x1  # and all of it is seen
    plt.close(names["fig"])


def test_a_notebook_stays_below_a_megabyte():
    """Pictures are published with few colours: a reader's browser and a review have to bear them."""
    large = [path.name for path in paths.NOTEBOOKS.glob("*.ipynb") if path.stat().st_size > 1_000_000]
    assert not large


def test_the_decks_parameters_are_counted_in_one_notebook():
    """02 has the table; 03, which counts the models that it trained, leads there."""
    names = sorted(path.name[:2] for path in paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    assert [name for name in names if "38.5" in "".join(sources(name).values())] == ["02"]
    (section,) = [source for source in sources("03").values() if source.startswith("## 6. Parameters")]
    assert "](02_attention_pooling.ipynb)" in section


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
