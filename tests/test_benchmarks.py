"""The benchmarks: turns, the files and the table. No test depends on the clock."""

import json
import sys

import pytest

from benchmarks import common, goals, table, whole_run
from benchmarks.__main__ import CPU
from invlib import paths


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the work moves, by as many seconds as it says."""
    now = [0.0]
    monkeypatch.setattr(common.time, "perf_counter", lambda: now[0])
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


def test_the_two_ways_take_turns_and_the_ratio_is_that_of_each_pair(clock):
    calls, seconds = [], {"a": iter([9.0, 1.0, 2.0, 4.0]), "b": iter([9.0, 2.0, 8.0, 12.0])}

    def way(name):
        return lambda: calls.append(name) or clock(next(seconds[name]))

    line = common.compare("work", way("a"), "plain", way("b"), n=10, pairs=3, equal_ids=9)
    assert sorted(calls[:2]) == ["a", "b"] and [sorted(calls[k : k + 2]) for k in (2, 4, 6)] == [["a", "b"]] * 3
    assert calls[2] != calls[4] == calls[3]  # the one that begins changes
    assert line["ours"] == {"median": 200.0, "low": 100.0, "high": 400.0}  # milliseconds of one of ten
    assert line["ratio"] == {"median": 3.0, "low": 2.0, "high": 4.0} and line["equal_ids"] == 9


def test_the_table_is_made_from_the_files(tmp_path, monkeypatch, clock):
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    line = common.compare("work", lambda: clock(1.0), "plain", lambda: clock(2.5), n=4)
    common.write("mine", "How fast?", [line], headlines="synthetic")
    found = json.loads((tmp_path / "mine.json").read_text())
    assert {"processor", "threads", "bfloat16"} <= set(found["machine"]) and "torch" in found["versions"]
    page = table.table(tmp_path)
    assert "| mine | work | plain | 250 | 625 | 2.50 [2.50, 2.50] |" in page
    assert found["versions"]["torch"] in page and found["machine"]["processor"] in page


@pytest.mark.parametrize("seconds, reached", [(2.5, "no; profile: Decoding"), (3.5, "yes")])
def test_each_goal_stands_beside_what_measures_it(tmp_path, monkeypatch, clock, seconds, reached):
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    plain = ("generate", lambda: clock(seconds))
    lines = [
        common.compare("1000 vectors", lambda: clock(1.0), *plain, n=1000, equal_ids=1000),
        common.compare("one vector at a time", lambda: clock(0.01 * seconds), *plain),
    ]
    common.write("decode", "How fast?", lines)
    page = goals.goals(tmp_path, tmp_path / "times.csv")
    of = dict(line.strip("| ").split(" | ", 1) for line in page.splitlines() if line.startswith("|"))
    many = f"{seconds:.2f} times faster [{seconds:.2f}, {seconds:.2f}]; headlines with equal ids: 1000"
    assert of["decoding 1000 vectors"] == f"3 times faster | {many} | {reached}"
    alone = f"{10 * seconds:.4g} ms; generate: {1000 * seconds:.4g} ms"
    assert of["decoding one vector at a time"] == f"at most 150 ms | {alone} | yes"
    assert all(line.endswith("not measured | not measured") for name, line in of.items() if "epoch" in name)
    assert of["`make run`, preset `cpu`, environment included"].endswith("not measured | not measured")


@pytest.mark.parametrize("minutes, reached", [(20, "yes"), (31, "no; profile: The series")])
def test_make_run_is_read_from_the_seconds_of_its_steps(tmp_path, minutes, reached):
    file = tmp_path / "times.csv"
    file.write_text(f"step,seconds\n00,60\n03,600\n04,300\n05,30\n{goals.MAKE_RUN},{60 * minutes}\n")
    assert goals.make_run(file).endswith(
        f"| {minutes}.0 minutes; its longest steps: 03 10.0, 04 5.0, 00 1.0 | {reached} |\n"
    )


@pytest.mark.parametrize("slower, held, reached", [(1.4, 140, "yes"), (1.6, 140, "no"), (1.4, 160, "no")])
def test_growth_is_that_of_the_slowest_stage_and_of_memory(tmp_path, slower, held, reached):
    lines = [
        {"what": f"{stage}: {n:,}", "ours": {"median": ms}, "memory_mb": held, "memory_mb_of_fewest": 100}
        for stage, n, ms in (
            ("kept", 10_000, 0.1), ("kept", 50_000, 2.0), ("kept", 500_000, 1.0), ("read", 50_000, 3.0),
            ("read", 500_000, 3.0 * slower),
        )
    ]  # fmt: skip
    lines[2]["cache_mb"] = 7000
    file = tmp_path / "growth.json"
    file.write_text(json.dumps({"lines": [*lines, {"what": "vectors", "ratio": {"median": 0.1}}]}))
    line = goals.growth(file)
    assert f'{slower:.2f} times as long where slowest, "read"' in line and "and 7000 MB of states on disk" in line
    assert f"| {reached}" in line
    assert goals.growth(tmp_path / "none.json").endswith("not measured | not measured |\n")


def test_a_whole_run_is_the_environment_its_steps_and_all_of_it(tmp_path):
    (tmp_path / "timings.csv").write_text("step,seconds,largest_gb\n03_training,600,3.1\n")
    made = whole_run.table(tmp_path, (60.2, 0.5), (900.4, 5.25))
    assert made[["step", "seconds"]].values.tolist() == [
        ["environment", 60], ["03_training", 600], [goals.MAKE_RUN, 961]
    ]  # fmt: skip
    assert made["memory_gb"].iloc[-1] == 5.2
    seconds, most = whole_run.watched(
        [sys.executable, "-c", "import time\nx = b'1' * 300_000_000\ntime.sleep(2)"], tmp_path
    )
    assert seconds >= 2 and 0.3 < most < 2


def test_every_goal_names_a_script_and_the_paragraph_that_tells_why():
    told = (paths.ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for goal in goals.GOALS:
        assert goal.script in CPU and f"- **{goal.profile}.**" in told
    assert "- **Growth.**" in told and "- **The series.**" in told
    assert (common.RESULTS / "README.md").read_text(encoding="utf-8") == table.table()


def test_every_script_is_run_and_described():
    folder = paths.ROOT / "benchmarks"
    scripts = {file.stem for file in folder.glob("*.py")} - {"__init__", "__main__", "common", "goals", "table"}
    assert scripts == {*CPU, "whole_run"}
    described = (folder / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in described for name in scripts)
