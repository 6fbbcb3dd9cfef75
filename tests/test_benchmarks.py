"""The benchmarks: turns, the files and the table. No test depends on the clock."""

import json

import pytest

from benchmarks import common, table
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

    line = common.compare("work", way("a"), "plain", way("b"), n=10, pairs=3, reach=3.0)
    assert sorted(calls[:2]) == ["a", "b"] and [sorted(calls[k : k + 2]) for k in (2, 4, 6)] == [["a", "b"]] * 3
    assert calls[2] != calls[4] == calls[3]  # the one that begins changes
    assert line["ours"] == {"median": 200.0, "low": 100.0, "high": 400.0}  # milliseconds of one of ten
    assert line["ratio"] == {"median": 3.0, "low": 2.0, "high": 4.0} and line["reach"] == 3.0


def test_the_table_is_made_from_the_files(tmp_path, monkeypatch, clock):
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    line = common.compare("work", lambda: clock(1.0), "plain", lambda: clock(2.5), n=4, reach=3.0)
    common.write("mine", "How fast?", [line], headlines="synthetic")
    found = json.loads((tmp_path / "mine.json").read_text())
    assert {"processor", "threads", "bfloat16"} <= set(found["machine"]) and "torch" in found["versions"]
    page = table.table(tmp_path)
    assert "| mine | work | plain | 250 | 625 | 2.50 [2.50, 2.50] | 3 |" in page
    assert found["versions"]["torch"] in page and found["machine"]["processor"] in page


def test_every_script_is_run_and_described():
    folder = paths.ROOT / "benchmarks"
    scripts = {file.stem for file in folder.glob("*.py")} - {"__init__", "__main__", "common", "table"}
    assert scripts == set(CPU)
    described = (folder / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in described for name in scripts)
