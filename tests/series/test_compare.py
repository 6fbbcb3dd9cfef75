"""Two runs beside each other."""

import copy

import pytest

from invlib import paths
from invlib.series import compare

MADE = {"preset": "study", "data_hash": "abc", "encoder": "minilm", "split": "test", "seed": 0}
ROW = MADE | {
    "model": "att_pool", "embedding_dim": 384, "variant": None, "search": "greedy", "n": 1000, "bleu": 14.0,
    "exact_match": 0.5, "generated_accuracy": 0.7, "bertscore_f1": 0.8, "bertscore_model": "minilm",
    "ci95": {"exact_match": [0.4, 0.6], "generated_accuracy": [0.6, 0.8], "bertscore_f1": [0.75, 0.85]},
}  # fmt: skip


@pytest.fixture
def two(tmp_path):
    """two(**changes): a run of ROW, and another with these changes; the folders of both."""

    def write(**changes):
        other = copy.deepcopy(ROW) | changes
        other["ci95"] = ROW["ci95"] | changes.get("ci95", {})
        folders = tmp_path / "mine", tmp_path / "published"
        for folder, row in zip(folders, (ROW, other), strict=True):
            paths.write_json(folder / "metrics.json", [row])
        return folders

    return write


def verdicts(folders) -> dict[str, str]:
    return compare.compare(*folders).set_index("metric")["verdict"].to_dict()


def test_each_shared_figure_with_an_interval_is_judged_by_it(two):
    """BLEU has no interval. Intervals that touch at one number overlap."""
    folders = two(exact_match=0.65, ci95={"exact_match": [0.6, 0.7], "generated_accuracy": [0.81, 0.9]})
    assert verdicts(folders) == {
        "exact_match": "reproduced", "generated_accuracy": "differs", "bertscore_f1": "reproduced",
    }  # fmt: skip
    row = compare.compare(*folders).set_index("metric").loc["exact_match"]
    own = row[["model", "search", "value", "low", "high"]].tolist()
    assert own == ["att_pool_384", "greedy", 0.5, 0.4, 0.6]
    assert (row["other_value"], row["other_low"], row["other_high"]) == (0.65, 0.6, 0.7)
    assert (
        compare.count_line(compare.compare(*folders)) == "3 shared figures: reproduced 2, differs 1, not comparable 0"
    )


def test_a_figure_differs_whichever_of_the_two_is_higher(two):
    for low, high, verdict in ((0.1, 0.39, "differs"), (0.1, 0.4, "reproduced"), (0.61, 0.9, "differs")):
        assert verdicts(two(ci95={"exact_match": [low, high]}))["exact_match"] == verdict


@pytest.mark.parametrize("name", MADE)
def test_other_data_or_settings_are_not_comparable(two, name):
    """And the reason stands beside, in the table and the count."""
    folders = two(**{name: "other"})
    assert set(verdicts(folders).values()) == {"not comparable"}
    reason = f"{name.replace('_', ' ')} {MADE[name]}, not other"
    assert set(compare.compare(*folders)["why"]) == {reason}
    assert compare.report(*folders).count(f"not comparable: {reason}") == 3
    assert compare.report(*folders).endswith(f"reproduced 0, differs 0, not comparable 3 ({reason})")


def test_another_scorer_is_not_comparable_in_its_own_figure(two):
    assert verdicts(two(bertscore_model="deberta")) == {
        "exact_match": "reproduced", "generated_accuracy": "reproduced", "bertscore_f1": "not comparable",
    }  # fmt: skip


def test_what_nobody_recorded_is_not_comparable(two):
    mine, other = two(encoder=None)
    assert set(verdicts((other, mine)).values()) == {"not comparable"}
    assert set(verdicts((other, other)).values()) == {"not comparable"}  # and where neither has it


def test_figures_of_one_run_alone_are_named_and_not_counted(two):
    """Another search, D or variant is another figure."""
    mine, other = two(embedding_dim=768)
    said = compare.report(mine, other)
    assert f"only in {mine}: att_pool_384\nonly in {other}: att_pool_768" in said
    assert said.endswith("0 shared figures: reproduced 0, differs 0, not comparable 0")
    assert not verdicts(two(search="beam 5")) and not verdicts(two(variant="alike"))


def test_the_report_shows_both_intervals_and_what_they_cant_say(two):
    said = compare.report(*two(exact_match=0.65, ci95={"exact_match": [0.6, 0.7]}))
    assert "0.500 [0.400, 0.600]" in said and "0.650 [0.600, 0.700]" in said
    assert "can't be paired: the intervals are all there is" in said


def test_the_line_that_a_series_ends_with(two, monkeypatch, tmp_path):
    """Beside the published run; nothing where one of the two has no figures."""
    mine, _ = two()
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    assert compare.closing_line(mine) == ""
    paths.write_json(paths.RESULTS / "study" / "metrics.json", [ROW])
    assert compare.closing_line(mine) == (
        "beside results/study (invlib compare): 3 shared figures: reproduced 3, differs 0, not comparable 0"
    )
    assert compare.closing_line(tmp_path / "unfinished") == ""
