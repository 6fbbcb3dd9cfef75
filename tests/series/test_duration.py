"""How long a run takes: steps that were timed, times their number, and the notebooks' other minutes."""

import os
import time
from dataclasses import replace

import pytest

from invlib import paths
from invlib.presets import read_presets
from invlib.series import duration as module
from invlib.series import timing
from invlib.series.duration import duration, known, planned, training_minutes
from invlib.series.timing import step_seconds
from invlib.settings import load_preset

ALL = ["00", "01", "02", "03", "04", "05", "06", "07", "appendix"]


@pytest.fixture
def machine(monkeypatch):
    """machine(seconds): a computer that takes so long for a step of every model; returns what was asked of it."""

    def of(seconds: float) -> list:
        asked = []

        def measured(settings, notebooks):
            asked.append((settings.preset, list(notebooks)))
            names = {training.name for training in planned(settings, notebooks, 384)}
            return {"hidden_size": 384, "seconds": dict.fromkeys(names, seconds)}

        monkeypatch.setattr(module, "measured", measured)
        return asked

    monkeypatch.setattr(module, "in_own_process", lambda seconds, work, *arguments: work(*arguments))
    return of


def test_the_trainings_of_a_run():
    cpu = load_preset("cpu")
    found = planned(cpu, ALL, 384)
    assert [(t.name, t.steps) for t in found if t.notebook == "01"] == [("rnn_768", cpu.steps)]
    in_03 = {t.name: t.steps for t in found if t.notebook == "03"}
    assert in_03["att_pool_384"] == cpu.steps and in_03["no_vector_384"] == cpu.no_vector_steps
    assert in_03["hybrid_384"] > cpu.steps and in_03["lm_512"] == cpu.lm_steps and len(in_03) == 7 + 3 + 1
    in_appendix = [(t.name, t.steps) for t in found if t.notebook == "appendix"]
    assert in_appendix == [("hybrid_384", cpu.ablation_steps)] * 2  # plain, and the reader's own
    assert planned(cpu, ["00", "04"], 384) == [] and len(planned(cpu, ["01"], 384)) == 1


def test_steps_times_their_time_and_a_time_limit(machine, tmp_path):
    machine(0.5)
    cpu = load_preset("cpu", rows="rnn_768", steps=120)
    found = known(tmp_path, cpu, ["01"])
    assert training_minutes(cpu, ["01"], found) == 1.0
    assert training_minutes(replace(cpu, minutes=0.25), ["01"], found) == 0.25
    assert training_minutes(replace(cpu, steps=None), ["01"], found) is None  # a plateau ends it
    assert training_minutes(cpu, ["03"], found) is None  # not timed


def test_what_was_timed_is_kept_with_the_run(machine, tmp_path, monkeypatch):
    asked, cpu = machine(0.1), load_preset("cpu")
    assert known(tmp_path, cpu, ["01"]) == known(tmp_path, cpu, ["01"])
    assert len(asked) == 1 and paths.read_json(tmp_path / module.FILE)["seconds"] == {"rnn_768": 0.1}
    known(tmp_path, cpu, ["01", "03"])
    monkeypatch.setattr(module.torch, "get_num_threads", lambda: 99)
    known(tmp_path, cpu, ["01", "03"])
    assert len(asked) == 3


def test_a_long_run_names_the_preset_that_fits(machine, tmp_path):
    """On a slow machine nothing but smoke fits."""
    rest = {preset: sum(read_presets()["runner"][preset]["minutes"][n] for n in ALL) for preset in ("cpu", "smoke")}
    machine(0.0)
    fast = duration(load_preset("cpu"), ALL, tmp_path / "fast")
    assert fast == f"about {rest['cpu']:.0f} min, 0 of them for training, timed here"
    machine(0.01)
    study = duration(load_preset("study"), ALL, tmp_path / "study")
    cpu = load_preset("cpu")
    minutes = rest["cpu"] + training_minutes(cpu, ALL, known(tmp_path / "study", load_preset("study"), ALL))
    assert f"above half an hour; --preset cpu takes about {minutes:.0f} min" in study and minutes < 30
    machine(2.0)
    slow = duration(cpu, ALL, tmp_path / "slow")
    assert f"--preset smoke takes about {rest['smoke']:.0f} min, with models too small to learn much" in slow


def test_smoke_and_notebooks_that_do_not_train_are_not_timed(machine, tmp_path):
    asked = machine(0.1)
    assert "training" not in duration(load_preset("smoke"), ALL, tmp_path)
    assert "training" not in duration(load_preset("study"), ["04", "05"], tmp_path)
    assert duration(load_preset("cpu"), ["99"], tmp_path) == "about 0 min, and 1 of a time not known yet"
    assert asked == []


def test_minutes_that_limit_all_training_need_no_timing(machine, tmp_path):
    asked, short = machine(0.1), load_preset("gpu_short")
    rest = sum(read_presets()["runner"]["gpu_short"]["minutes"][n] for n in ("01", "03"))
    most = sum(training.settings.minutes for training in planned(short, ["01", "03"], 384))
    words = f"about {rest + most:.0f} min, at most {most:.0f} of them for training, its limit"
    assert duration(short, ["01", "03"], tmp_path) == words and asked == []
    assert "timed here" in duration(replace(short, minutes=None, preset="cpu"), ["01"], tmp_path) and asked


def test_a_run_begins_where_timing_takes_too_long(machine, tmp_path, monkeypatch):
    machine(0.1)
    waited = []

    def late(*_):
        waited.append(1)
        raise RuntimeError("it was not done after 300 s")

    monkeypatch.setattr(module, "in_own_process", late)
    rest = read_presets()["runner"]["cpu"]["minutes"]["01"]
    words = f"about {rest:.0f} min, and training, which could not be timed: it was not done after 300 s"
    assert duration(load_preset("cpu"), ["01"], tmp_path) == words
    assert duration(load_preset("cpu"), ["01"], tmp_path) == words and len(waited) == 1  # a resumed run waits no more


@pytest.mark.slow
def test_a_process_of_its_own_gives_its_result_its_error_or_is_killed():
    """It starts anew, and so imports this package: seconds."""
    assert module.in_own_process(60, divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        module.in_own_process(60, divmod, 7, 0)
    started = time.monotonic()
    with pytest.raises(RuntimeError, match="it was not done after 0.1 s"):
        module.in_own_process(0.1, time.sleep, 100)
    assert time.monotonic() - started < 60
    with pytest.raises(RuntimeError, match="its process was killed"):
        module.in_own_process(60, os._exit, 3)


def test_a_step_is_timed_on_a_real_training(tiny_settings, tiny_material, monkeypatch):
    """A clock that counts the steps: a second each; sent_sim_loss, of 0.5 s, is computed at every second step."""
    now, real = [0.0], timing.StepEnds.on_step_end

    def step(self, *args, **more):
        now[0] += 1.0
        return real(self, *args, **more)

    monkeypatch.setattr(timing.StepEnds, "on_step_end", step)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    assert step_seconds(replace(tiny_settings, sent_sim_weight=0.0, steps=2, epochs=1), tiny_material) == 1.0
