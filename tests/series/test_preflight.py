"""What a run needs, looked for before it starts: the same places and the same errors as where it is read."""

import json
import os
from pathlib import Path

import pytest
import torch

from invlib import paths
from invlib.data import sources
from invlib.data.headlines import load_headlines
from invlib.data.synthetic import synthetic_headlines
from invlib.series import notebooks, preflight
from invlib.settings import load_preset

TEXTS = synthetic_headlines(20, seed=0)
TABLE = "Headlines,Time\n" + "".join(f'"{text}",today\n' for text in TEXTS)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No data but what a test makes, and no network."""
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    monkeypatch.delenv("INVLIB_DATA", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(preflight, "reachable", lambda _: False)
    monkeypatch.setattr(preflight, "hub_answers", lambda: False)


def test_data_check(tmp_path, monkeypatch):
    """The sources in order, and what each lacks."""
    monkeypatch.setenv("INVLIB_DATA", str(tmp_path / "none"))
    assert "is no folder, seen from" in preflight.check_data(None, "cpu", True).found
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "reuters_headlines.csv").write_text(TABLE)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("INVLIB_DATA", "~/home")
    assert preflight.check_data(None, "cpu", True).ok
    with notebooks.environment():
        assert os.environ["INVLIB_DATA"] == str(tmp_path / "home")
    monkeypatch.delenv("INVLIB_DATA")
    assert not preflight.check_data(None, "study", False).ok
    assert "SYNTHETIC" in preflight.check_data(None, "cpu", True).found
    assert preflight.check_data("synthetic", "study", False).ok
    assert not preflight.check_data("some/name", "cpu", True).ok
    monkeypatch.setattr(preflight, "reachable", lambda _: True)
    monkeypatch.setattr(preflight, "hub_answers", lambda: True)
    assert preflight.check_data("some/name:en:train", "cpu", True).ok
    assert "will be downloaded" in preflight.check_data(None, "study", False).found
    (tmp_path / "data" / "raw").mkdir(parents=True)
    (tmp_path / "data" / "raw" / "cnbc_headlines.csv").write_text(TABLE)
    check = preflight.check_data(None, "study", False)
    assert check.found == "data/raw: cnbc_headlines.csv; 20 different headlines"


@pytest.mark.parametrize(
    "name, text, column",
    [
        ("no.csv", None, None),
        ("own.csv", "title\nWall Street falls\n", None),
        ("own.csv", TABLE, "title"),
        ("own.tsv", "Time\tTitle\ntoday\tWall Street falls\n", None),
        ("own.jsonl", json.dumps({"text": "Wall Street falls"}), None),
        ("own.csv", TABLE + '"cut', None),
        ("own.txt", "\n".join(TEXTS[:19]), None),
        ("own.txt", "\n".join(TEXTS[:19] + [TEXTS[0].upper()]), None),
        ("own.txt", "\n".join(TEXTS), "title"),
        ("own.txt", "\n".join(f"a b c d e f g h i j k l x{i}" for i in range(40)), None),  # near-duplicates
        ("own.parquet", "PAR1", None),
        ("folder/notes.txt", "\n".join(TEXTS), None),
        ("synthetic", None, "title"),
    ],
)
def test_the_check_says_what_reading_says(tmp_path, monkeypatch, name, text, column):
    """Not after minutes of a run: whole files are read, with the column that is asked for."""
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    if text is not None:
        Path(name).write_text(text)
    data = name.removesuffix("/notes.txt")
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        load_headlines(data, column=column)
    check = preflight.check_data(data, "cpu", True, column)
    assert not check.ok and check.found == str(error.value)


def test_the_settings_column_is_checked(tmp_path):
    (tmp_path / "own.csv").write_text(TABLE.replace("Headlines", "Title"))
    settings = load_preset("cpu", data=str(tmp_path / "own.csv"), column="Title")
    assert preflight.preflight(settings, tmp_path)[0].ok
    assert not preflight.preflight(load_preset("cpu", data=settings.data), tmp_path)[0].ok


def test_a_download_that_kagglehub_holds_is_found_without_a_network(tmp_path, monkeypatch):
    """By kagglehub's own places and marks; one that was broken off, or whose files are gone, is none."""
    from kagglehub import cache, handle

    held = handle.DatasetHandle(*sources.KAGGLE.split("/"), 5)
    for path in (None, "cnbc_headlines.csv"):  # of a single file the rest is not there
        cache.Cache().mark_as_complete(held, path)
    assert not preflight.check_data(None, "study", False).ok
    folder = Path(cache.get_cached_path(held))
    folder.mkdir(parents=True)
    assert "holds no CSV" in preflight.check_data(None, "study", False).found
    (folder / "cnbc_headlines.csv").write_text(TABLE)
    check = preflight.check_data(None, "study", False)
    assert check.ok and check.found.startswith("kaggle: cnbc_headlines.csv")

    monkeypatch.setenv("KAGGLEHUB_CACHE", "")  # set to nothing is not set, here as where the data is read
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".cache").mkdir()
    (tmp_path / "kaggle").rename(tmp_path / ".cache" / "kagglehub")
    assert preflight.check_data(None, "study", False).ok and sources.kaggle_cached().is_dir()


def test_model_check(tmp_path, monkeypatch):
    """Each place of `locate_model`, its error as it stands, and a file that is not whole."""
    places = iter(["embedded", "cached", "download"])
    monkeypatch.setattr(preflight, "locate_model", lambda *_: next(places))
    monkeypatch.setattr(preflight, "hub_folder", lambda *_: "")
    found = [preflight.check_model("encoder", "a/b") for _ in range(3)]
    assert all(check.ok for check in found)
    assert [check.found.split(", ")[-1] for check in found] == [
        "embedded", "in the hub's cache", "will be downloaded from the hub",
    ]  # fmt: skip
    monkeypatch.undo()
    assert preflight.check_model("encoder", "minilm").ok
    assert "no config.json" in preflight.check_model("encoder", str(tmp_path)).found
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    check = preflight.check_model("encoder", str(tmp_path))
    assert not check.ok and "model.safetensors" in check.found
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for role, way_out in (("bertscore", "-p scorers minilm"), ("language model", "-p language_model own")):
        check = preflight.check_model(role, "nobody/has-this-model")
        assert not check.ok and way_out in check.found and "HF_HUB_OFFLINE" in check.remedy


def test_a_language_model_is_checked_where_one_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "check_model", lambda role, name: preflight.Check(role, True, name))
    for preset, asked in (("deck", True), ("cpu", False)):
        names = [check.name for check in preflight.preflight(load_preset(preset), tmp_path)]
        assert ("language model" in names) == asked


def test_device_check(monkeypatch):
    """A preset that needs a GPU, and a card that torch can't use."""
    monkeypatch.setattr(preflight, "device", lambda: torch.device("cpu"))
    monkeypatch.setattr(preflight, "idle_card", lambda: None)
    assert preflight.check_device("cpu").ok and not preflight.check_device("gpu").ok
    monkeypatch.setattr(preflight, "idle_card", lambda: "NVIDIA Tesla")
    monkeypatch.setattr(torch.version, "cuda", None)
    check = preflight.check_device("cpu")
    assert check.ok and "NVIDIA Tesla" in check.found and "built without CUDA" in check.remedy


def test_disk_check(tmp_path):
    """A folder that is not there yet is measured where it will be made."""
    assert preflight.check_disk(tmp_path / "a" / "b", 0).ok
    assert not preflight.check_disk(tmp_path, 1e9).ok


def test_folders_that_cant_be_written(tmp_path, monkeypatch):
    """A run elsewhere needs the cache all the same; nothing is left by looking."""
    assert preflight.check_writable(tmp_path / "a" / "b", tmp_path).ok and not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    for unusable in (tmp_path / "file" / "run", Path("/proc/run")):  # /proc: root cannot write it either
        check = preflight.check_writable(tmp_path, unusable)
        assert not check.ok and "can't be written" in check.found and "--run /folder" in check.remedy
    monkeypatch.setattr(paths, "RUNS", Path("/proc/runs"))
    failed = [
        check.name for check in preflight.preflight(load_preset("smoke", data="synthetic"), tmp_path) if not check.ok
    ]
    assert failed == ["folders"]
