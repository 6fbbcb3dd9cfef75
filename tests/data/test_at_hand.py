"""A few headlines without a download: own files, else made-up ones, and the label says which."""

import pytest

from invlib import paths
from invlib.data.at_hand import explored, headlines_at_hand, no_run
from invlib.data.deck import DECK_HEADLINES
from invlib.settings import load_preset


@pytest.fixture(autouse=True)
def bare(tmp_path, monkeypatch):
    """No files, and an error where anything is downloaded."""
    monkeypatch.delenv("INVLIB_DATA", raising=False)
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    grammar = (paths.DATA / "synthetic_grammar.yaml").read_text(encoding="utf-8")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "synthetic_grammar.yaml").write_text(grammar, encoding="utf-8")
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    monkeypatch.setattr("invlib.data.sources.kaggle_folder", lambda: pytest.fail("downloads"))


def test_made_up_headlines_are_labelled():
    found = headlines_at_hand(n=40)
    assert found.synthetic and found.label == "30 SYNTHETIC headlines and 10 of the slide deck's"
    assert len(set(found.texts)) == 40 and DECK_HEADLINES[-1] in found.texts
    assert headlines_at_hand(n=40) == found == headlines_at_hand("synthetic", n=40)
    assert headlines_at_hand(n=5).label.startswith("0 SYNTHETIC")


def test_own_files_come_first(tmp_path, monkeypatch):
    file = tmp_path / "own.csv"
    file.write_text("title\n" + "".join(f"Oil rises {k}\n" for k in range(30)) + "Oil rises 1\n\n")
    found = headlines_at_hand(file, "title", n=10)
    assert not found.synthetic and found.label == f"10 of 30 texts from {file}" and len(set(found.texts)) == 10
    assert headlines_at_hand(file, "title", n=10, seed=1) != found
    file.write_text("Headlines\n" + "".join(f"Oil rises {k}\n" for k in range(30)))
    monkeypatch.setenv("INVLIB_DATA", str(tmp_path))
    assert headlines_at_hand().label == "30 of 30 texts from INVLIB_DATA"


def test_errors_say_what_to_do(tmp_path):
    (tmp_path / "own.txt").write_text("one line\n")
    for arguments, words in (
        ((tmp_path / "own.txt",), "too few"),
        ((None, None, 2), "n=2"),
        ((tmp_path / "no.csv",), "neither a file nor"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=words):
            headlines_at_hand(*arguments)


def test_a_notebook_without_run_and_headlines_takes_a_few_synthetic_ones(tmp_path, monkeypatch):
    """Those of a run that is named, or made, are as they were; so are headlines on this machine."""
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    monkeypatch.delenv("INVLIB_RUN", raising=False)
    settings = load_preset("study")
    few = explored(settings, None)
    assert (few.data, few.n_headlines) == ("synthetic", 600) and explored(settings, None, n=9).n_headlines == 9
    assert explored(settings, "mine") == settings and no_run("mine") == ""
    assert "NO RUN on this machine" in no_run(None)
    own = load_preset("study", data=str(tmp_path / "own.csv"))
    (tmp_path / "own.csv").write_text("Headlines\nOil rises\n")
    assert explored(own, None) == own
    record = tmp_path / "runs" / "last" / "models" / "rnn_8" / "training.json"
    paths.write_json(record, {"settings": {"row": "rnn"}, "purpose": "study"})
    assert explored(settings, None) == settings and no_run(None) == ""
    assert explored(settings, None, "language_models") != settings
