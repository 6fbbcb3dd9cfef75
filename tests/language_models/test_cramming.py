"""Cramming recovers texts, each as if it were fitted alone, and one step of AdamW is torch's own."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from invlib.language_models import cramming
from invlib.language_models.cramming import (
    batched_speed,
    by_length,
    capacity,
    cram,
    generate,
    score,
    select_by_length,
    texts_of_length,
)
from invlib.language_models.fit_vectors import (
    CHECK_EVERY,
    HARD_NEGATIVES,
    Batch,
    Loss,
    adamw_step,
    fit,
    recovered_bits_interval,
    start_vectors,
)

TEXTS = ["oil rises", "gold falls on tariffs", "a small bank slips again after weak data", "copper gains ground"]
QUIET = {"progress": False}


@pytest.fixture(scope="module")
def crammed(tiny_lm):
    curve = []
    table, vectors = cram(tiny_lm, TEXTS, steps=2000, curve=curve, **QUIET)
    return SimpleNamespace(table=table, vectors=vectors, curve=pd.DataFrame(curve))


def test_a_step_is_torchs_adamw_for_rows_at_their_own_counts():
    """Three rows; the second joins after the first has done two steps, the third leaves after one."""
    torch.manual_seed(0)
    start, gradients = torch.randn(3, 2, 4), torch.randn(5, 3, 2, 4)
    present = [[0], [0, 2], [0, 1], [0, 1], [0, 1]]
    rows = [start[i].clone().requires_grad_() for i in range(3)]
    theirs = [torch.optim.AdamW([r], lr=0.01, betas=(0.9, 0.9), weight_decay=0.01) for r in rows]
    values, first, second = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    count = torch.zeros(3, dtype=torch.int64)
    for gradient, here in zip(gradients, present, strict=True):
        for i in here:
            rows[i].grad = gradient[i].clone()
            theirs[i].step()
        count[here] += 1
        parts = [x[here] for x in (values, gradient, first, second, count)]
        adamw_step(*parts)
        values[here], first[here], second[here] = parts[0], parts[2], parts[3]
    torch.testing.assert_close(values, torch.stack([r.detach() for r in rows]))


def test_every_text_is_recovered(crammed, tiny_lm):
    table, vectors = crammed.table, crammed.vectors
    assert vectors.shape == (4, 1, 128) and vectors.dtype == np.float32
    assert table.text.tolist() == TEXTS and table.generated.tolist() == TEXTS
    assert (table.exact == 1).all() and (table.generated_accuracy == 1).all() and (table.accuracy == 1).all()
    assert table.tokens.tolist() == [len(row) for row in tiny_lm.ids(TEXTS)]  # the first and the end token count
    assert table.steps.between(1, 1999).all() and table.steps.nunique() > 1


def test_the_vectors_alone_predict_the_text(crammed, tiny_lm):
    """The table's figures are the vectors' own, and another text's vector does not have them."""
    alone = score(tiny_lm, crammed.vectors, TEXTS, batch_size=3)
    assert alone.correct.tolist() == crammed.table.correct.tolist()
    np.testing.assert_allclose(alone.nats, crammed.table.nats, rtol=1e-3)
    swapped = score(tiny_lm, np.roll(crammed.vectors, 1, axis=0), TEXTS)
    assert (swapped.correct < alone.correct).all()
    assert generate(tiny_lm, crammed.vectors, tiny_lm.ids(TEXTS)) == tiny_lm.ids(TEXTS)


def test_the_model_stays_as_it_was(tiny_lm):
    before = {k: v.clone() for k, v in tiny_lm.model.state_dict().items()}
    cram(tiny_lm, TEXTS[:1], steps=5, **QUIET)
    assert all(torch.equal(v, before[k]) for k, v in tiny_lm.model.state_dict().items())
    assert all(p.grad is None for p in tiny_lm.model.parameters())


def test_gains_are_measured_under_the_same_model(crammed, tiny_lm):
    table, alone = crammed.table, tiny_lm.scores(TEXTS)
    np.testing.assert_allclose(table.information_gain, (alone.nats - table.nats) / math.log(2))
    assert table.token_gain.tolist() == (table.tokens - alone.correct).tolist() and (table.token_gain > 0).all()


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_a_text_does_not_depend_on_the_rest_of_its_batch(sharp_lm, batch_size):
    """Alone, or in a batch that others leave and join: the same steps and the same vectors."""
    table, vectors = cram(sharp_lm, TEXTS, batch_size=batch_size, steps=300, **QUIET)
    assert table.steps.nunique() == 4  # they did leave at different steps
    for i, text in enumerate(TEXTS):
        one, vector = cram(sharp_lm, [text], steps=300, **QUIET)
        assert one.steps[0] == table.steps[i]
        np.testing.assert_allclose(vector[0], vectors[i], rtol=1e-6, atol=1e-9)


def test_the_seed_is_the_texts_own_start(tiny_lm):
    ids = tiny_lm.ids(TEXTS)
    start = start_vectors(tiny_lm, ids, 2, seed=3)
    assert start.shape == (4, 2, 128)
    assert torch.equal(start[2:], start_vectors(tiny_lm, ids[2:], 2, seed=3))
    assert not torch.equal(start, start_vectors(tiny_lm, ids, 2, seed=4))
    many = start_vectors(tiny_lm, [[k] for k in range(400)], 1)
    assert many.std().item() == pytest.approx(tiny_lm.embeddings.std().item(), rel=0.05)


def test_finished_texts_leave_the_batch(tiny_lm, monkeypatch):
    """Each text is computed once for each of its steps, and once more to see that it is done."""
    rows, real = [], type(tiny_lm).states

    def counted(self, embeds, n):
        if torch.is_grad_enabled():
            rows.append(len(embeds))
        return real(self, embeds, n)

    monkeypatch.setattr(type(tiny_lm), "states", counted)
    table, _ = cram(tiny_lm, TEXTS, batch_size=3, steps=2000, **QUIET)
    assert sum(rows) == (table.steps + 1).sum() and rows[0] == 3 and rows[-1] == 1


def test_a_curve_has_each_step(crammed):
    curve, table = crammed.curve, crammed.table
    assert list(curve.columns) == ["text", "step", "loss", "correct"]
    for i, steps in enumerate(table.steps):
        own = curve[curve.text == i]
        assert own.step.tolist() == list(range(steps + 1))
        assert own.correct.iloc[-1] == table.tokens[i] and (own.correct.iloc[:-1] < table.tokens[i]).all()
        assert own.loss.iloc[-1] < own.loss.iloc[0]


def test_without_success_the_best_step_is_kept(tiny_lm):
    curve = []
    table, vectors = cram(tiny_lm, TEXTS, steps=12, learning_rate=0.2, curve=curve, **QUIET)
    curve = pd.DataFrame(curve)
    unfinished = table.correct < table.tokens
    assert unfinished.any() and (table.steps[unfinished] == 12).all()
    assert table.correct.tolist() == curve.groupby("text").correct.max().tolist()
    assert score(tiny_lm, vectors, TEXTS).correct.tolist() == table.correct.tolist()


def test_the_best_vectors_have_the_most_correct_tokens_then_the_lower_loss():
    batch = Batch([[5, 6, 7], [5, 6], [5]], torch.zeros(3, 1, 3))
    assert batch.join(2) and batch.active.tolist() == [0, 1]  # the longest first
    for value, correct, nats in ((1.0, (2, 2), (9.0, 9.0)), (2.0, (1, 2), (5.0, 8.0)), (3.0, (2, 2), (9.5, 8.5))):
        batch.values[batch.active] = value
        batch.keep_best(torch.tensor(correct), torch.tensor(nats))
    assert batch.best[:, 0, 0].tolist() == [1.0, 2.0, 0.0] and batch.best_correct.tolist() == [2, 2, -1]
    batch.active = batch.active[1:]
    assert batch.join(2) and batch.active.tolist() == [1, 2] and not batch.join(3)


def test_several_vectors_come_before_the_text(sharp_lm):
    _, vectors = cram(sharp_lm, TEXTS[:2], n_vectors=3, steps=3, **QUIET)
    assert vectors.shape == (2, 3, 128)
    (ids,) = sharp_lm.ids(TEXTS[:1])
    embeds = torch.cat([torch.as_tensor(vectors[0]), sharp_lm.embed(torch.tensor(ids))])[None]
    logits = sharp_lm.model(inputs_embeds=embeds).logits[0, 2:-1]
    nats = torch.nn.functional.cross_entropy(logits, torch.tensor(ids), reduction="sum")
    assert score(sharp_lm, vectors[:1], TEXTS[:1]).nats[0] == pytest.approx(nats.item())


def test_a_text_without_room_is_named(tiny_lm):
    with pytest.raises(ValueError, match="text 1 has 70 tokens; with 1 vectors .* has room for 64"):
        cram(tiny_lm, [[5, 6], [5] * 70], **QUIET)
    with pytest.raises(ValueError, match="n_vectors=0"):
        cram(tiny_lm, TEXTS, n_vectors=0, **QUIET)
    with pytest.raises(ValueError, match="no text to fit"):
        cram(tiny_lm, [], **QUIET)
    with pytest.raises(ValueError, match="lower learning_rate"):
        nothing = torch.full((1, 2, tiny_lm.hidden_size), torch.nan)
        fit(tiny_lm, lambda v, labels: v.sum() * nothing, [[1, 2]], torch.zeros(1, 1, 4), **QUIET)


def test_texts_of_a_length_end_and_are_the_texts_own(tiny_lm, sentences):
    made = texts_of_length(tiny_lm, sentences, 20, 5)
    assert [len(t) for t in made] == [20] * 5 and all(t.index(tiny_lm.eos_token_id) == 19 for t in made)
    assert made == texts_of_length(tiny_lm, sentences, 20, 5) != texts_of_length(tiny_lm, sentences, 20, 5, seed=1)
    joined = " ".join(tiny_lm.text(made))
    assert sum(sentence in joined for sentence in sentences) >= 5
    words = " ".join(tiny_lm.text(texts_of_length(tiny_lm, sentences, 20, 5, words=True)))
    assert set(words.split()) <= {w for s in sentences for w in s.split()}
    assert sum(s in words for s in sentences if len(s.split()) > 3) == 0


def test_capacity_is_the_longest_length_that_is_recovered(tiny_lm, sentences):
    table = by_length(tiny_lm, sentences, [3, 40], n=3, steps=150, n_bootstrap=20, **QUIET)
    assert table.length.tolist() == [3, 40] and (table.n == 3).all()
    assert table.accuracy[0] == 1 and table.accuracy[1] < 0.99 and table.steps[1] == 150
    assert (table.low <= table.accuracy).all() and (table.accuracy <= table.high).all()
    assert capacity(table) == 3 and capacity(table, 0.01) == 40 and capacity(table[1:]) == 0


def test_the_speed_is_of_equal_steps_and_the_same_texts(tiny_lm, monkeypatch):
    calls, ids = [], tiny_lm.ids(TEXTS * 8)

    def fitted(lm, states_of, texts, start, **options):
        assert torch.equal(start, start_vectors(tiny_lm, texts, 1))
        calls.append((texts, options["batch_size"], options["steps"], options["stop"], options["sampled_negatives"]))

    monkeypatch.setattr(cramming, "fit", fitted)
    found = batched_speed(tiny_lm, ids, steps=4, batch_size=32, n_single=3, sampled_negatives=20)
    by_length = sorted(ids, key=len)
    few = [by_length[0], by_length[16], by_length[31]]  # the shortest, a middle one and the longest
    timed = [(few, 1, 4, False, 0), (by_length, 32, 4, False, 0), (by_length, 32, 4, False, 20)]
    assert [call for call in calls if call[2]] == timed
    assert [call for call in calls if not call[2]] == [(*call[:2], 0, *call[3:]) for call in timed]  # each warmed up
    assert found["ratio"] == pytest.approx(found["batched"] / found["single"])
    assert found["sampled_ratio"] == pytest.approx(found["sampled"] / found["single"])


def test_a_sampled_loss_is_checked_over_all_tokens(tiny_lm):
    """The texts are recovered as under the whole loss; texts end at checks, and the figures are over all tokens."""
    table, vectors = cram(tiny_lm, TEXTS, steps=2000, sampled_negatives=8, **QUIET)
    torch.manual_seed(5)  # its draws do not depend on torch's own generator
    assert (cram(tiny_lm, TEXTS, steps=2000, sampled_negatives=8, **QUIET)[1] == vectors).all()
    assert table.generated.tolist() == TEXTS and (table.exact == 1).all()
    assert (table.steps % CHECK_EVERY == 0).all()
    alone = score(tiny_lm, vectors, TEXTS)
    np.testing.assert_allclose(alone.nats, table.nats, rtol=1e-3)
    assert alone.correct.tolist() == table.correct.tolist()


def test_a_sampled_loss_is_that_over_all_tokens_on_average(sharp_lm):
    labels = torch.tensor([[7, 9, 3], [8, 3, -100]])
    states = torch.randn(2, 3, sharp_lm.hidden_size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole, found = Loss(sharp_lm)(states, labels, check=True)
    assert found["nats"].tolist() == whole.tolist()
    sampled = Loss(sharp_lm, 12)
    _, checked = sampled(states, labels, check=True)
    torch.testing.assert_close(checked["nats"], whole)
    assert len(sampled.hard_negatives) == 5 * HARD_NEGATIVES
    torch.manual_seed(0)
    drawn = torch.stack([sampled(states, labels, check=False)[0] for _ in range(300)])
    torch.testing.assert_close(drawn.mean(0), whole, rtol=0.02, atol=0.02)
    assert drawn.std(0).max() > 0


def test_texts_are_selected_by_their_length(tiny_lm):
    lengths = [len(row) for row in tiny_lm.ids(TEXTS)]
    assert select_by_length(tiny_lm, TEXTS, 9) == [0, 1, 2, 3] and select_by_length(tiny_lm, TEXTS, 2) == [0, 1]
    assert select_by_length(tiny_lm, [*TEXTS, " "], 9, shortest=5) == [k for k, n in enumerate(lengths) if n >= 5]
    assert select_by_length(tiny_lm, TEXTS, 9, longest=4) == [k for k, n in enumerate(lengths) if n <= 4]
    with pytest.raises(ValueError, match="none of 4 texts has 50 to 64 tokens"):
        select_by_length(tiny_lm, TEXTS, 9, shortest=50)


def test_every_text_may_have_a_seed_of_its_own(tiny_lm):
    ids = tiny_lm.ids(TEXTS[:1] * 3)
    start = start_vectors(tiny_lm, ids, 1, [0, 5, 0])
    assert torch.equal(start[0], start[2]) and not torch.equal(start[0], start[1])
    assert torch.equal(start[1:2], start_vectors(tiny_lm, ids[:1], 1, 5))
    with pytest.raises(ValueError, match="2 seeds for 3 texts; give one for all"):
        start_vectors(tiny_lm, ids, 1, [0, 1])


def test_the_table_ends_at_a_length_that_is_not_recovered(tiny_lm, sentences):
    table = by_length(tiny_lm, sentences, [50, 40], n=2, steps=5, until=0.99, n_bootstrap=20, **QUIET)
    assert table.length.tolist() == [40]


def test_recovered_bits_are_the_references_less_the_models_own(crammed):
    found = recovered_bits_interval(crammed.table, np.full(4, 50.0), n_bootstrap=50)
    assert found["bits"] == pytest.approx(50 - crammed.table.nats.mean() / math.log(2))
    assert found["low"] <= found["bits"] <= found["high"]
