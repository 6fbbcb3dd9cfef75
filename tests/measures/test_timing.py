"""Times: the first call does not count, and one slow turn changes nothing."""

from invlib.measures import timing


def test_the_median_of_turns_after_a_warm_up(monkeypatch):
    now, calls = [0.0], []
    costs = iter([90.0, 1.0, 1.0, 50.0, 2.0, 1.0])  # the warm-up, then five turns

    def call():
        calls.append(1)
        now[0] += next(costs)

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    assert timing.milliseconds(call, n=10) == 100.0 and len(calls) == 6
