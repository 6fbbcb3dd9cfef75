"""The result tables."""

import json

import pandas as pd
import pytest

from invlib import paths
from invlib.series import readme_tables, tables


def test_results_are_the_runs_or_the_published_ones(finished, monkeypatch):
    """Of a run that somebody named, or that is there; else published, and three lines say so."""
    monkeypatch.delenv("INVLIB_RUN", raising=False)
    assert tables.find_results("mine", "metrics.json") == (finished, "")
    study = paths.RESULTS / "study"
    paths.write_json(study / "metrics.json", [])
    paths.write_csv(study / "tables" / "09_speed.csv", pd.DataFrame({"ms": [1.5]}))
    found = tables.find_results(None, "metrics.json", "tables/09_speed.csv")
    assert found.folder == study and len(found.note.splitlines()) == 3 and "PUBLISHED" in found.note
    table, note = tables.read_table(None, "09_speed")
    assert table["ms"].tolist() == [1.5] and "make run" in note
    for run, name in (("mine", "09_speed"), (None, "09_capacity")):  # named; published nowhere
        with pytest.raises(FileNotFoundError, match=name):
            tables.read_table(run, name)
    (paths.RUNS / "last").symlink_to(finished)
    assert tables.find_results(None, "metrics.json") == (finished, "")


def test_a_table_of_extra_models_is_the_runs_the_published_ones_or_none(finished):
    table, note = tables.own_or_published("mine", "08_poolings")
    assert table is None and "no published run has one" in note
    paths.write_json(paths.RESULTS / "study" / "metrics.json", [])
    paths.write_csv(paths.RESULTS / "study" / "tables" / "08_poolings.csv", pd.DataFrame({"D": [64]}))
    table, note = tables.own_or_published("mine", "08_poolings")
    assert table["D"].tolist() == [64] and "PUBLISHED" in note
    paths.write_csv(finished / "tables" / "08_poolings.csv", pd.DataFrame({"D": [32]}))
    table, note = tables.own_or_published("mine", "08_poolings")
    assert table["D"].tolist() == [32] and not note


def test_results_table(finished):
    """Six columns; the baseline first, D rising; beam and no-vector twins elsewhere; marks; dashes."""
    metrics = tables.load_metrics(finished)
    table = readme_tables.results_table(metrics)
    assert table.shape[1] == 6
    assert list(zip(table["model"], table["D"], strict=True)) == [
        ("rnn ‡", "768"), ("att_pool †", "384"), ("att_pool", "768"),
    ]  # fmt: skip
    assert list(table.iloc[2, 2:]) == ["0.400 [0.390, 0.410]", "0.100", "0.60", "60.0"]
    assert table.iloc[0]["agreement with the encoder"] == "–"
    assert "†" in tables.legend(metrics) and "‡" in tables.legend(metrics)


def test_the_controls_that_learn_nothing_stand_below(tmp_path):
    """Without noise, with how many headlines; what was not measured is a dash; without 08's table there are none."""
    assert readme_tables.unlearned_table(tmp_path).empty
    figures = {"D": 384, "generated_accuracy": 0.9, "low": 0.8, "high": 1.0, "exact_match": 0.5, "n": 200}
    lines = [
        {"model": m, "noise": z, **figures} for m in ("packed_ids", "arithmetic_code", "hybrid") for z in (0.0, 1.0)
    ]
    paths.write_csv(tmp_path / "tables" / "08_noise.csv", pd.DataFrame(lines))
    meaning = [("packed_ids", 0.1, 0.7), ("packed_ids", 0.2, 0.6)]
    meaning = pd.DataFrame(meaning, columns=["model", "weight", "rank_correlation"])
    paths.write_csv(tmp_path / "tables" / "appendix_meaning.csv", meaning)
    packed, arithmetic = readme_tables.unlearned_table(tmp_path).astype(str).values.tolist()
    assert packed == ["control: packed_ids (n = 200)", "384", "0.900 [0.800, 1.000]", "0.500", "0.60", "–"]
    assert arithmetic[0].startswith("control: arithmetic_code") and arithmetic[4] == "–"


@pytest.mark.parametrize("low, clear", [(0.01, True), (-0.01, False)])
def test_the_paired_difference_decides_whether_a_control_is_beaten(low, clear):
    """Whatever the two intervals say by themselves."""
    shuffled = {"ci95": {"exact_match": [0.45, 0.65]}, "better_by": {"exact_match": [0.05, low, 0.09]}}
    row = {"ci95": {"exact_match": [0.4, 0.7]}, "controls": {"shuffled_vector": shuffled}}
    assert tables.clear_of_control(row, "exact_match") is clear
    assert tables.clear_of_control(row | {"controls": None}, "exact_match") is None  # not measured


def test_a_model_that_was_cut_too_early_is_said_to_be_so(finished):
    """In words: below its shuffled control, or worse than no vector at all. What steps or a plateau ended is not."""
    rows = {
        (row["model"], row["embedding_dim"], row["search"]): row for row in paths.read_json(finished / "metrics.json")
    }
    rnn, small, wide = (
        rows[key] for key in (("rnn", 768, "greedy"), ("att_pool", 384, "greedy"), ("att_pool", 768, "greedy"))
    )

    def labels(**changes):
        rnn.update(stopped_by=changes.get("rnn"))
        small.update(stopped_by=changes.get("small"), recovered_bits=changes.get("bits"))
        paths.write_json(finished / "metrics.json", [rnn, small, wide])
        metrics = tables.load_metrics(finished)
        return list(readme_tables.results_table(metrics)["model"]), tables.too_early(finished)

    words = "cut too early to mean anything"
    assert labels(rnn="time", small="time", bits=-3.0) == (
        [f"rnn, {words} †‡", f"att_pool, {words} †", "att_pool"], ["rnn_768", "att_pool_384"],
    )  # fmt: skip
    assert labels(rnn="steps", small="time", bits=3.0) == (["rnn †‡", "att_pool †", "att_pool"], [])
    assert labels(rnn="plateau", small="steps", bits=-3.0) == (["rnn ‡", "att_pool †", "att_pool"], [])
    assert tables.too_early(finished / "nowhere") == []


def test_deck_table(finished):
    """Each BERTScore in a column of its scorer; what only one side has is a dash on the other."""
    table = readme_tables.deck_table(tables.load_metrics(finished)).set_index(["model", "D"])
    assert list(table.loc[("att_pool", "768")]) == ["0.502", "0.500", "0.650", "0.700 (0.310)"]
    assert list(table.loc[("att_pool", "2560")]) == ["0.552", "–", "0.675", "–"]
    assert "BERTScore, here (minilm; its shuffled control)" in table.columns and table.shape[1] <= 6


def test_an_accuracy_that_is_not_teacher_forced_is_marked(finished):
    """encoder_only reads all positions in one step: wherever its accuracy stands beside teacher-forced ones."""
    metric = {"accuracy": 0.185, "ci95": {"accuracy": [0.181, 0.188]}}
    one_step = {"model": "encoder_only", "embedding_dim": 1568, "search": "greedy", **metric, "top_k": {"10": 0.5}}
    one_step["controls"] = {"shuffled_vector": metric}
    paths.write_json(finished / "metrics.json", [*paths.read_json(finished / "metrics.json"), one_step])
    metrics = tables.load_metrics(finished)
    deck = readme_tables.deck_table(metrics).set_index("model")
    assert list(deck.loc["encoder_only"][["accuracy, deck", "accuracy, here"]]) == ["0.357 §", "0.185 §"]
    full = tables.full_tables(metrics)
    text = full["The text"].set_index("model").loc["encoder_only"]
    assert text["teacher-forced accuracy"] == "0.185 [0.181, 0.188] §" and text["top 10"] == "0.500"
    assert "0.185 [0.181, 0.188] §" in full["Its controls"].to_string()
    for table in (deck, *full.values()):
        rows = table.reset_index().astype(str).agg(" ".join, axis=1)
        assert all("encoder_only" in line for line in rows if "§" in line)
    assert "§" not in readme_tables.results_table(metrics).to_string() + tables.legend(metrics)
    note = "§ not teacher-forced: all positions in one step"
    for name in ("deck", "results"):
        page = readme_tables.rebuild_readme(f"<!-- table:{name} -->\n<!-- /table -->", finished)
        assert (note in page) == (name == "deck")
    assert "0.357 §" in readme_tables.closing_table(finished) and note in readme_tables.closing_table(finished)


def test_full_tables(finished):
    """Every search and the controls with their intervals."""
    full = tables.full_tables(tables.load_metrics(finished))
    assert list(full["The text"]["search"]).count("beam_5") == 1
    assert "0.050 [0.040, 0.060]" in full["Its controls"].to_string()
    assert full["The cost"]["minutes"].tolist().count("1.5") == 1
    assert "tokens a second" not in full["The cost"]  # nobody counted them


def test_the_speed_of_a_training_stands_beside_the_rows_that_have_it(finished):
    first, *others = paths.read_json(finished / "metrics.json")
    paths.write_json(finished / "metrics.json", [first | {"tokens_per_second": 51234.5, "peak_share": 0.0312}, *others])
    cost = tables.full_tables(tables.load_metrics(finished))["The cost"]
    assert set(cost["tokens a second"]) == {"51234", "–"} and set(cost["share of the card's peak"]) == {"0.031", "–"}


def test_examples_table(tmp_path):
    """Six inputs under the model that gives most back exactly, beside the deck's; bars don't break the table."""
    frame = pd.DataFrame(
        {
            "model": ["att_pool_768", "rnn_768"] * 7,
            "search": "greedy",
            "input": [f"a | {i // 2}" for i in range(14)],
            "decoded": [f"a | {i // 2}" if i % 2 == 0 else "the" for i in range(14)],
            "deck": "b",
        }
    )
    paths.write_csv(tmp_path / "examples.csv", frame)
    table = readme_tables.examples_table(tmp_path)
    assert table.shape == (6, 3) and table.columns[1] == "decoded by att_pool_768"
    assert "a \\| 0" in readme_tables.markdown(table)


def test_closing_table_without_results(repository, tmp_path):
    """A run without metrics and nothing published: said, and the deck still stands there."""
    said = readme_tables.closing_table(tmp_path)
    assert said.count("no metrics.json") == 2 and "0.675" in said


def test_unknown_table(finished):
    """README.md asks for a table that there is none of."""
    with pytest.raises(ValueError, match="table 'resluts'; tables are results, deck, examples"):
        readme_tables.rebuild_readme("<!-- table:resluts -->\n<!-- /table -->", finished)


def test_metrics_are_json_of_none(finished):
    """What was not measured comes back as None, not as NaN."""
    loaded = tables.load_metrics(finished)
    assert loaded.loc[0, "rank_correlation"] is None and loaded.loc[0, "accuracy"] is None
    assert tables.number(None) == tables.number(float("nan")) == tables.millions(float("nan")) == tables.NONE
    assert tables.number(0.0) == "0.000"
    assert len(json.loads((finished / "metrics.json").read_text())) == len(loaded)


def test_recovered_bits_under_another_reference_are_marked(tmp_path):
    """Models that were measured beside another reference language model say so, and the legend tells what it means."""
    row = {"model": "att_pool", "variant": None, "search": "greedy", "recovered_bits": 50.0}
    rows = [row | {"embedding_dim": d, "reference_model": "later" if d == 3 else "first"} for d in (1, 2, 3)]
    paths.write_json(tmp_path / "metrics.json", rows)
    metrics = tables.load_metrics(tmp_path)
    assert readme_tables.results_table(metrics)["recovered bits"].tolist() == ["50.0", "50.0", "50.0 ¶"]
    assert "¶" in tables.legend(metrics) and "¶" not in tables.legend(metrics.head(2))
    assert tables.full_tables(metrics)["The vector"]["recovered bits"].tolist()[2].endswith("¶")


def test_the_two_virtues_of_a_run_and_of_what_it_lacks(tmp_path):
    rnn = {"model": "rnn", "embedding_dim": 8, "search": "greedy", "exact_match": 0.0, "rank_correlation": 0.1}
    pool = rnn | {"model": "att_pool", "exact_match": 0.5, "ci95": {"exact_match": [0.4, 0.6]}}
    unmeasured = pool | {"embedding_dim": 16, "rank_correlation": None}
    paths.write_json(tmp_path / "mine" / "metrics.json", [pool, unmeasured, pool | {"search": "beam_5"}])
    paths.write_json(tmp_path / "study" / "metrics.json", [rnn, pool | {"exact_match": 0.9}])
    found = tables.virtues(tmp_path / "mine", tmp_path / "study")
    assert found["label"].tolist() == ["att_pool_8", "rnn_8, published"]
    assert found["exact_match"].tolist() == [0.5, 0] and found["exact_match_low"][0] == 0.4
    assert tables.virtues(tmp_path / "study", tmp_path / "study")["label"].tolist() == ["rnn_8", "att_pool_8"]
    assert tables.stated(0.5, 0.4, 0.6) == "0.500 [0.400, 0.600]" and tables.stated(None) == tables.NONE
