"""The race: greedy, re-ranked, then round by round, each with its cosine and its encoder calls."""

import pytest

from invlib.inversion.invert import Chain
from invlib.probes.race import race

CHAIN = Chain(beam=3, rounds=2, kept=1, children=3, reworded=1)


def test_attempts_come_in_order(tiny_model):
    model = tiny_model("mean_decoder")
    attempts = list(race(model, "oil rises on tariffs", CHAIN))
    ways = [attempt.way for attempt in attempts]
    assert ways[0] == "greedy" and ways[1].startswith("best of ")
    assert ways[2:] == [f"search and corrector, round {k + 1}" for k in range(len(ways) - 2)]
    assert attempts[0].text == model.reconstruct(["oil rises on tariffs"])[0]
    searched = attempts[1:]
    for before, after in zip(searched, searched[1:], strict=False):
        assert after.cosine >= before.cosine and after.calls >= before.calls and after.seconds >= before.seconds
    z = model.encode(["oil rises on tariffs"])[0]
    assert [a.text for a in race(model, z, CHAIN)] == [a.text for a in attempts]


def test_what_is_no_vector_is_refused(tiny_model):
    model = tiny_model("mean_decoder")
    with pytest.raises(ValueError, match="is empty"):
        next(race(model, ""))
    with pytest.raises(ValueError, match="zero"):
        next(race(model, 0 * model.encode(["oil"])[0]))
