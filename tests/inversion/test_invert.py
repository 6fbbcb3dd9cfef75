"""The chain: what it keeps, what it asks the encoder, and when it stops."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from invlib.inversion import invert as module
from invlib.inversion.candidates import embed, log_probabilities
from invlib.inversion.invert import SURE, Chain, Inverted, finished, invert, rounds

PARTS = ("corrections", "changes", "reworded")  # of a round
QUICK = Chain(beam=4, rounds=2, kept=2, width=2, children=4, reworded=2)


def only(**on) -> Chain:
    """A chain whose rounds do nothing but what is named."""
    return replace(Chain(samples=0, width=0, children=0, reworded=0), **on)


@pytest.fixture(params=["inverter", "corrector", "black box"])
def model_and_chain(request, inverter, corrector):
    """A model without correction, one with it, and one that asks the encoder for embeddings alone."""
    if request.param == "black box":
        return corrector, replace(QUICK, gradient=False)
    return {"inverter": inverter, "corrector": corrector}[request.param], QUICK


def cosines(model, found, vectors) -> list[float]:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return (embed(model, [one.best for one in found]) * unit).sum(1).tolist()


def proposes(monkeypatch, first: list) -> None:
    """The first texts are these."""
    monkeypatch.setattr(module, "first_texts", lambda *_: first)


# Texts are compared by their embeddings


def test_the_text_with_the_highest_cosine_is_taken(inverter, texts, vectors, monkeypatch):
    """Whatever the decoder held for the likeliest."""
    proposes(monkeypatch, [[texts[5], texts[k], texts[3], texts[k]] for k in range(16)])
    found = invert(inverter, vectors, Chain(rounds=0))
    assert [one.best for one in found] == texts
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for k, one in enumerate(found):
        assert one.cosine == pytest.approx(1, abs=1e-5) and set(one.cosines) == {texts[5], texts[k], texts[3]}
        assert one.cosines[texts[3]] == pytest.approx(unit[k] @ unit[3], abs=1e-5)
        assert one.ranked(9) == sorted(one.cosines, key=one.cosines.get, reverse=True) and one.ranked(1) == [texts[k]]


def test_re_ranking_a_beam_is_no_worse_than_greedy_search(inverter, vectors):
    greedy = invert(inverter, vectors, Chain(beam=1, rounds=0))
    ranked = invert(inverter, vectors, Chain(beam=8, rounds=0))
    assert all(len(one.cosines) == 1 for one in greedy)
    assert np.mean([one.cosine for one in ranked]) > np.mean([one.cosine for one in greedy]) + 0.01


def test_the_greedy_text_stands_beside_the_beams(inverter, texts, vectors, monkeypatch):
    """And is asked for like any other: a beam may miss it."""
    real = module.propose

    def propose(model, z, hypotheses=None, n=1, **how):
        return [[text] for text in texts[: len(z)]] if n == 1 else real(model, z, hypotheses, n, **how)

    beams = real(inverter, torch.from_numpy(vectors[:4]).to(inverter.device), n=4)
    monkeypatch.setattr(module, "propose", propose)
    found = invert(inverter, vectors[:4], Chain(beam=4, rounds=0))
    assert [one.best for one in found] == texts[:4]
    assert sum(text not in beam for text, beam in zip(texts, beams, strict=False)) > 1
    assert all(one.calls == len(one.cosines) <= 5 for one in found)


def test_the_cosines_are_those_of_the_texts(model_and_chain, vectors):
    model, chain = model_and_chain
    found = invert(model, vectors[:5], chain)
    np.testing.assert_allclose([one.cosine for one in found], cosines(model, found, vectors[:5]), atol=1e-5)


def test_the_length_of_a_vector_changes_nothing(corrector, vectors):
    sizes = 2.0 ** np.arange(-2, 2, dtype=np.float32)[:, None]
    first, other = invert(corrector, vectors[:4], QUICK), invert(corrector, sizes * vectors[:4], QUICK)
    assert [one.best for one in first] == [one.best for one in other]


# What the encoder is asked


def test_every_text_is_read_once_and_counted(inverter, vectors, encoder_reads):
    chain = only(beam=4, rounds=3, kept=2, children=6, reworded=2, gradient=False)
    searched = 0
    for vector in vectors[:4]:
        encoder_reads.clear()
        (found,) = invert(inverter, vector[None], chain)
        assert len(encoder_reads) == found.calls == len(found.cosines) and set(encoder_reads) == set(found.cosines)
        searched += found.calls > 4
    assert searched > 1  # by more than the beam's texts
    encoder_reads.clear()
    assert sum(one.calls for one in invert(inverter, vectors[:5], chain)) == len(encoder_reads)


def test_no_text_is_ranked_twice_with_corrections_either(corrector, vectors, monkeypatch):
    seen = []
    monkeypatch.setattr(module, "embed", lambda model, texts: seen.extend(texts) or embed(model, texts))
    (found,) = invert(corrector, vectors[:1], QUICK)
    assert len(seen) == len(set(seen)) == found.calls and set(seen) == set(found.cosines)


def test_a_text_is_corrected_once_and_so_are_the_best(corrector, vectors, monkeypatch):
    asked, real, chain = [], module.propose, only(beam=6, rounds=3, kept=2, width=3)
    (first,) = next(rounds(corrector, vectors[:1], chain))

    def spy(model, z, hypotheses=None, n=1, **more):
        asked.append((hypotheses, n))
        return real(model, z, hypotheses, n, **more)

    monkeypatch.setattr(module, "propose", spy)
    (found,) = invert(corrector, vectors[:1], chain)
    greedy, beam, *corrected = asked
    assert greedy == (None, 1) and beam == (None, 6) and corrected
    given = [text for hypotheses, n in corrected for text in hypotheses]
    assert len(given) == len(set(given)) and set(given) == found.corrected
    assert all(1 <= len(hypotheses) <= 2 and n == 3 for hypotheses, n in corrected)
    assert corrected[0][0] == sorted(first.cosines, key=first.cosines.get, reverse=True)[:2]


@pytest.mark.parametrize("name, chain, expected", [
    ("inverter", only(width=4), []), ("corrector", only(), []), ("corrector", replace(QUICK, rounds=0), []),
    ("inverter", QUICK, ["changes", "reworded"]), ("corrector", QUICK, ["changes", "corrections", "reworded"]),
    ("corrector", only(width=2), ["corrections"]), ("corrector", only(children=2), ["changes"]),
    ("inverter", only(reworded=2), ["reworded"]),
])  # fmt: skip
def test_a_part_that_is_left_out_does_nothing(request, vectors, monkeypatch, name, chain, expected):
    done = []
    for part in PARTS:
        real = getattr(module, part)
        monkeypatch.setattr(module, part, lambda *a, part=part, real=real: done.append(part) or real(*a))
    invert(request.getfixturevalue(name), vectors[1:3], replace(chain, rounds=min(chain.rounds, 2)))
    assert sorted(set(done)) == expected


def test_a_correcting_decoder_rewords_the_best_text(inverter, corrector, texts, vectors, monkeypatch):
    given = []
    monkeypatch.setattr(module, "propose", lambda model, z, hypotheses, **how: given.append((hypotheses, how)) or [])
    for model in (inverter, corrector):
        best = [texts[2:4], texts[5:8]]
        module.reworded(model, vectors[:2], best, only(reworded=5), np.random.default_rng(0))
    how = {"n": 5, "temperature": only().temperature, "allowed": [set(texts[2] + texts[3]), set(sum(texts[5:8], ()))]}
    assert given == [(None, how), ([texts[2], texts[5]], how)]


def test_reworded_texts_are_made_of_the_best_texts_pieces(inverter, corrector, texts, vectors):
    """In another order. The seed decides, and nobody else's draws change."""
    target = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    best = [[texts[k], texts[k - 1]] for k in range(16)]
    torch.manual_seed(7)
    expected = torch.random.get_rng_state()
    found = {}
    for model, seed in ((inverter, 0), (inverter, 1), (corrector, 0)):
        chain, rng = only(reworded=5, temperature=2.0), np.random.default_rng(seed)
        found[model, seed] = module.reworded(model, target, best, chain, rng)
        again = module.reworded(model, target, best, chain, np.random.default_rng(seed))
        assert found[model, seed] == again
        for own, made in zip(best, found[model, seed], strict=True):
            assert len(made) == 5 and all(set(text) <= set(own[0] + own[1]) for text in made)
    assert torch.equal(torch.random.get_rng_state(), expected)
    assert found[inverter, 0] != found[inverter, 1] and found[inverter, 0] != found[corrector, 0]
    assert any(text not in own for own, made in zip(best, found[inverter, 0], strict=True) for text in made)


@pytest.mark.parametrize("complements", [0, 1])
def test_search_is_told_how_wide_it_is_and_what_it_may_do(inverter, vectors, monkeypatch, complements):
    """Texts may be joined where a vector may say two things."""
    told = []

    def changes(model, target, texts, children, gradient, rng, joined, known):
        told.append(([len(own) for own in texts], children, gradient, joined))
        return [[] for _ in texts]

    monkeypatch.setattr(module, "changes", changes)
    invert(inverter, vectors[:1], only(beam=5, rounds=1, kept=3, children=7, gradient=False, complements=complements))
    assert told == [([3], 7, False, complements > 0)]


# The prior


def test_a_score_is_cosine_and_weighted_probability_of_the_nearest(inverter, texts, vectors, monkeypatch):
    """Of each vector's two nearest new texts alone; the others are no parents by their score."""
    proposes(monkeypatch, [texts[:4], texts[2:7]])
    monkeypatch.setattr(module, "SCORED", 2)
    for one, z in zip(invert(inverter, vectors[8:10], Chain(rounds=0, prior=0.01)), vectors[8:10], strict=True):
        nearest = sorted(one.cosines, key=one.cosines.get, reverse=True)[:2]
        nats = log_probabilities(inverter, np.stack([z, z]), nearest)
        assert one.scores == pytest.approx({t: one.cosines[t] + 0.01 * n for t, n in zip(nearest, nats, strict=True)})
        assert one.best == max(one.scores, key=one.scores.get) and one.cosine == one.cosines[one.best]


def test_of_two_near_texts_the_likelier_is_taken_unless_one_is_sure(inverter, texts, vectors, monkeypatch):
    proposes(monkeypatch, [[texts[3], texts[0]]])
    monkeypatch.setattr(
        module, "log_probabilities", lambda model, z, of: -100.0 * np.array([t != texts[3] for t in of])
    )
    (one,) = invert(inverter, vectors[1:2], Chain(rounds=0, prior=1.0))
    assert one.best == one.ranked(1)[0] == texts[3]
    (one,) = invert(inverter, vectors[1:2], Chain(rounds=0, prior=0.0))
    assert one.best == max(one.cosines, key=one.cosines.get)
    (sure,) = invert(inverter, vectors[:1], Chain(rounds=0, prior=1.0))
    assert sure.best == texts[0] and sure.cosine >= SURE


def test_parents_are_the_likely_and_the_near_in_turn():
    one = Inverted(cosines={(k,): k / 10 for k in range(6)}, scores={(k,): -k for k in range(4)})
    assert one.ranked(4) == [(0,), (5,), (1,), (4,)] and one.ranked(1) == [(0,)]
    assert Inverted(cosines=one.cosines, scores=one.cosines).ranked(3) == [(5,), (4,), (3,)]


# Rounds


def test_without_a_prior_the_best_cosine_never_falls(model_and_chain, vectors):
    model, chain = model_and_chain[0], replace(model_and_chain[1], prior=0.0)
    vectors = vectors[:5]
    bests = [[one.cosine for one in found] for found in rounds(model, vectors, chain)]
    assert len(bests) == 3
    assert (np.diff(bests, axis=0) >= 0).all()
    assert np.mean(bests[-1]) > np.mean(bests[0]) + 0.01  # and it rises
    for one, last in zip(invert(model, vectors, chain), bests[-1], strict=True):
        history = [cosine for _, cosine in one.history]
        assert history == sorted(history) and one.history[-1] == (one.best, one.cosine)
        assert one.cosine == last == max(one.cosines.values())


def test_a_sure_vector_is_left_alone(inverter, texts, vectors, monkeypatch):
    proposes(monkeypatch, [[texts[0]], [texts[3]]])
    sure, other = invert(inverter, vectors[:2], QUICK)
    assert sure.calls == 1 and len(sure.history) == 1 and sure.cosine >= SURE
    assert other.calls > 1 and len(other.history) > 1
    proposes(monkeypatch, [[texts[0]]])
    assert len(list(rounds(inverter, vectors[:1], QUICK))) == 1  # nobody is left: no round


@pytest.mark.parametrize("patience", [1, 3])
def test_patience_stops_where_nothing_gets_better(inverter, texts, vectors, monkeypatch, patience):
    """Counted anew after each better text."""
    proposes(monkeypatch, [[texts[3]], [texts[3]]])
    ways, asked = embed(inverter, texts) @ embed(inverter, texts[:1])[0], []
    better = min((k for k in range(16) if ways[3] < ways[k] < SURE), key=lambda k: ways[k])

    def changes(model, target, texts_of, *_):
        asked.append(len(target))
        return [[texts[better]] if len(asked) == 1 and k == 0 else [texts[3]] for k in range(len(target))]

    monkeypatch.setattr(module, "changes", changes)
    found = invert(inverter, np.stack([vectors[0], vectors[1]]), only(children=1, rounds=50, patience=patience))
    assert [len(one.history) for one in found] == [2 + patience, 1 + patience]
    assert asked == [2] * patience + [1]  # one that is left as it is costs nothing more
    assert [one.best for one in found] == [texts[better], texts[3]] and [one.calls for one in found] == [2, 1]


@pytest.mark.parametrize("values, patience, expected", [
    ([0.5], 2, False), ([0.5, 0.5], 2, False), ([0.5, 0.5, 0.5], 2, True), ([0.5, 0.5, 0.6], 2, False),
    ([0.5, 0.6, 0.6, 0.6], 2, True), ([0.5, 0.6, 0.6 + 1e-8, 0.6 + 2e-8], 2, True), ([SURE], 4, True),
    ([SURE - 1e-4], 4, False), ([0.5, 0.5], 1, True),
])  # fmt: skip
def test_what_is_finished(values, patience, expected):
    inverted = Inverted(history=[((7,), value) for value in values], reached=[2 * value for value in values])
    assert finished(inverted, Chain(patience=patience)) == expected


def test_as_many_rounds_as_the_chain_says(corrector, vectors):
    found = list(rounds(corrector, vectors[:3], replace(QUICK, rounds=2, patience=9)))
    assert len(found) == 3 and max(len(one.history) for one in found[-1]) == 3


# Seeds and samples


def test_the_seed_decides_what_is_tried(model_and_chain, vectors):
    model, chain = model_and_chain[0], replace(model_and_chain[1], rounds=1)
    tried = [[set(one.cosines) for one in invert(model, vectors[:1], chain, seed)] for seed in (0, 0, 1)]
    assert tried[0] == tried[1] != tried[2]


def test_samples_are_drawn_by_the_seed_and_leave_the_generator_alone(inverter, vectors):
    chain = only(beam=0, samples=6, temperature=1.5, rounds=0)
    torch.manual_seed(7)
    expected = torch.random.get_rng_state()
    first = [list(one.cosines) for one in invert(inverter, vectors, chain)]
    assert torch.equal(torch.random.get_rng_state(), expected)
    torch.manual_seed(8)
    assert first == [list(one.cosines) for one in invert(inverter, vectors, chain)]
    assert first != [list(one.cosines) for one in invert(inverter, vectors, chain, seed=1)]
    both = invert(inverter, vectors, only(beam=3, samples=6, temperature=1.5, rounds=0))
    assert all(set(own) <= set(one.cosines) for own, one in zip(first, both, strict=True))
    colder = only(beam=0, samples=6, temperature=0.01, rounds=0)
    assert np.mean([len(one.cosines) for one in invert(inverter, vectors, colder)]) < np.mean([len(f) for f in first])


# What is no vector


@pytest.mark.parametrize("change, words", [
    (lambda z: z * (np.arange(16)[:, None] != 3), r"vectors \[3\] are zero: no text has them"),
    (lambda z: np.where(np.arange(16)[:, None] == 4, np.nan, z), r"vectors \[4\] hold NaN"),
    (lambda z: np.where(np.arange(16)[:, None] == 5, np.inf, z), r"vectors \[5\] hold NaN or infinity"),
    (lambda z: z[:, :31], r"\(N, 32\), got \(16, 31\)"), (lambda z: z[0], r"\(N, 32\), got \(32,\)"),
])  # fmt: skip
def test_what_no_text_has_is_refused(inverter, vectors, change, words):
    with pytest.raises(ValueError, match=words):
        invert(inverter, change(vectors))


def test_no_vector_gives_no_text(corrector, vectors):
    assert invert(corrector, vectors[:0]) == []


def test_a_model_that_was_training_inverts_as_one_that_was_not(corrector, vectors):
    expected = [one.best for one in invert(corrector, vectors[:2], QUICK)]
    corrector.train()
    assert [one.best for one in invert(corrector, vectors[:2], QUICK)] == expected and not corrector.training


def test_what_is_found_is_what_the_tokenizer_reads_in_the_text(corrector, vectors):
    """A decoder may write a text in other pieces: its cosine is that of the text, which is all that a user gets."""
    for one in invert(corrector, vectors[:6], Chain(beam=2, rounds=3, kept=2, children=6, reworded=2)):
        assert corrector.encoder._ids(corrector.text([one.best])) == [
            [corrector.config.bos_token_id, *one.best, corrector.config.eos_token_id]
        ]


def test_vectors_of_any_size_have_their_direction(inverter, vectors):
    small, large = (invert(inverter, vectors[:3] * scale, Chain(beam=1, rounds=0)) for scale in (1e-9, 1e25))
    assert [one.best for one in small] == [one.best for one in large]
    assert all(one.cosine > 0 for one in large)


def test_a_chain_needs_a_first_text(inverter, vectors):
    with pytest.raises(ValueError, match="at least one first text"):
        invert(inverter, vectors, Chain(beam=0))


def test_a_half_precision_corrector_inverts_as_the_whole_one(corrector, vectors):
    quick = Chain(beam=2, rounds=1, kept=2, width=1, children=4, reworded=2)
    half = invert(copy.deepcopy(corrector).bfloat16(), vectors[:4], quick)
    assert np.mean([one.cosine for one in half]) == pytest.approx(
        np.mean([one.cosine for one in invert(corrector, vectors[:4], quick)]), abs=0.1
    )
