"""Candidates: each answer belongs to its own vector and text, however they are put into batches."""

import numpy as np
import pytest
import torch

from invlib.inversion import candidates
from invlib.inversion.candidates import embed, log_probabilities, ordinary, propose, read


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(candidates, "batch_size", lambda model: 3)


@pytest.fixture
def z(vectors, inverter):
    return torch.from_numpy(vectors).to(inverter.device)


def test_embed_gives_the_encoders_sentence_embeddings_at_length_one(inverter, texts, vectors, tiny_encoder):
    expected = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    found = embed(inverter, texts)
    assert found.dtype == np.float32 and len({len(text) for text in texts}) > 3
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert embed(inverter, []).shape == (0, 32)
    ends = torch.tensor([[tiny_encoder.bos_token_id, tiny_encoder.eos_token_id]])
    empty = tiny_encoder.pool(tiny_encoder.token_embeddings(ends, torch.ones_like(ends)), torch.ones_like(ends))
    np.testing.assert_allclose(embed(inverter, [()]), torch.nn.functional.normalize(empty).cpu(), atol=1e-6)


def test_embed_keeps_the_order_and_reads_texts_of_like_length_together(
    inverter, texts, vectors, small_batches, encoder_reads
):
    np.testing.assert_allclose(embed(inverter, texts) * np.linalg.norm(vectors, axis=1)[:, None], vectors, atol=1e-5)
    lengths = [len(text) for text in encoder_reads]
    assert lengths == sorted(lengths) and sorted(encoder_reads) == sorted(texts)
    np.testing.assert_allclose(embed(inverter, texts[::-1]), embed(inverter, texts)[::-1], atol=1e-6)


def test_read_is_what_a_correcting_decoder_takes(corrector, texts):
    found = read(corrector, [*texts[:3], ()])
    assert found.attention_mask.sum(1).tolist() == [len(text) + 2 for text in texts[:3]] + [2]
    np.testing.assert_allclose(found.sentence_embedding[:1].cpu(), read(corrector, texts[:1]).sentence_embedding.cpu(),
                               atol=1e-5)  # fmt: skip


def test_propose_without_more_is_greedy_search(inverter, z, small_batches):
    c = inverter.config
    special = {c.bos_token_id, c.eos_token_id, c.pad_token_id}
    expected = [tuple(i for i in ids if i not in special) for ids in inverter.generate_ids(z)]
    assert [row for (row,) in propose(inverter, z)] == expected and len(set(expected)) > 5
    assert propose(inverter, z[:0]) == []


@pytest.mark.parametrize("n", [1, 4])
def test_propose_keeps_the_order_whatever_the_hypotheses_lengths(corrector, texts, z, monkeypatch, n):
    monkeypatch.setattr(candidates, "LONGER", 99)  # else the longest of a batch decides how long its texts may be
    hypotheses, z = [*texts[1:6], (), texts[2][:1], texts[0]], z[:8]
    lengths = [len(text) for text in hypotheses]
    assert lengths != sorted(lengths)
    alone = [propose(corrector, z[k : k + 1], [text], n)[0] for k, text in enumerate(hypotheses)]
    for size in (3 * n, 64):
        monkeypatch.setattr(candidates, "batch_size", lambda model, size=size: size)
        assert propose(corrector, z, hypotheses, n) == alone
    assert len({row[0] for row in alone}) > 4
    assert [row[0] for row in propose(corrector, z, texts[:8], n)] != [row[0] for row in alone]  # they are read


@pytest.mark.parametrize("how", [{}, {"n": 3}, {"n": 3, "temperature": 2.0}])
def test_what_is_proposed_is_hardly_longer_than_its_hypothesis(corrector, texts, z, monkeypatch, how):
    monkeypatch.setattr(candidates, "batch_size", lambda model: how.get("n", 1))  # one hypothesis at once
    hypotheses, found = [texts[k][: k % 4] for k in range(6)], []
    for more in (1, 3, 99):
        monkeypatch.setattr(candidates, "LONGER", more)
        found.append(propose(corrector, z[:6], hypotheses, **how))
        assert all(len(text) <= min(14, len(hypothesis) + more) for hypothesis, row in
                   zip(hypotheses, found[-1], strict=True) for text in row)  # fmt: skip
    longest = [max(len(text) for row in rows for text in row) for rows in found]
    assert longest[0] < longest[1] < longest[2]


def test_a_beams_texts_are_the_best_first(inverter, z):
    greedy, found = propose(inverter, z), propose(inverter, z, n=5)
    assert all(len(row) == 5 for row in found) and any(g[0] != row[0] for g, row in zip(greedy, found, strict=True))
    assert all(len(set(row)) > 1 for row in found)
    end = inverter.config.eos_token_id

    def score(vector, text) -> float:  # per piece, as a beam compares texts of different lengths
        ids = [*text, end]
        return sum(inverter.token_log_probabilities(vector[None].cpu(), [ids])[0]) / len(ids)

    scores = [[score(vector, text) for text in row] for vector, row in zip(z, found, strict=True)]
    assert np.mean([row == sorted(row, reverse=True) for row in scores]) > 0.9  # but for texts that were cut


def test_samples_differ_and_the_seed_decides(inverter, z, monkeypatch):
    def drawn(seed: int, temperature: float):
        torch.manual_seed(seed)
        return propose(inverter, z, n=6, temperature=temperature)

    first = drawn(0, 1.5)
    assert first == drawn(0, 1.5) != drawn(1, 1.5)
    assert all(len(row) == 6 for row in first) and np.mean([len(set(row)) for row in first]) > 3
    greedy = [row * 6 for row in propose(inverter, z)]
    assert drawn(0, 1e-3) == greedy
    monkeypatch.setattr(candidates, "LIKELIEST", 1)
    assert drawn(0, 1.5) == greedy


def test_samples_are_drawn_as_often_as_they_are_likely(inverter, z):
    """The first piece, from one vector: its shares among many samples are its probabilities."""
    torch.manual_seed(0)
    (found,) = propose(inverter, z[:1], n=2000, temperature=1.3)
    bos = torch.full((1, 1), inverter.config.bos_token_id, device=z.device)
    with torch.no_grad():
        logits = inverter.logits(inverter.decoder.decode_states(z[:1], bos))[0, 0].cpu()
    expected = (logits.topk(candidates.LIKELIEST).values / 1.3).softmax(-1)
    pieces = logits.topk(candidates.LIKELIEST).indices.tolist()
    for piece, share in zip(pieces[:4], expected[:4].tolist(), strict=True):
        if piece != inverter.config.eos_token_id:
            assert np.mean([text[:1] == (piece,) for text in found]) == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize("n", [1, 4])
def test_each_sample_is_made_of_the_pieces_that_it_may_be_made_of(corrector, texts, z, small_batches, n):
    """Whatever the order in which hypotheses of other lengths are read."""
    allowed, texts, z = [set(texts[k - 1]) for k in range(7)], texts[:7], z[:7]
    found = propose(corrector, z, texts, n, 3.0, allowed)
    assert all(set(text) <= own for own, row in zip(allowed, found, strict=True) for text in row)
    assert all(len(row) == n for row in found) and sum(len(text) for row in found for text in row) > 15
    free = propose(corrector, z, texts, n, 3.0)
    assert not all(set(text) <= own for own, row in zip(allowed, free, strict=True) for text in row)
    (nothing,) = propose(corrector, z[:1], texts[:1], n, 3.0, allowed=[()])
    assert set(nothing) == {()}


def test_pieces_that_may_be_used_are_drawn_as_the_decoder_likes_them(corrector, texts, z):
    """Cold, among two pieces: the likelier of them comes first."""
    bos = torch.full((1, 1), corrector.config.bos_token_id, device=z.device)
    with torch.no_grad():
        states = corrector.decoder.decode_states(z[:1], bos, read(corrector, texts[:1]))
    logits, end = corrector.logits(states)[0, 0], corrector.config.eos_token_id
    for pair in ((7, 40), (33, 12), (21, 9)):
        ((text,),) = propose(corrector, z[:1], texts[:1], temperature=1e-4, allowed=[pair])
        expected = max((*pair, end), key=lambda i: logits[i].item())
        assert text[:1] == (() if expected == end else (expected,))


def test_a_text_ends_before_its_end_and_fits_the_model(inverter):
    c = inverter.config
    assert ordinary([7, 8, c.eos_token_id, 9], c) == (7, 8)
    assert ordinary([c.bos_token_id, 7, c.pad_token_id, 8], c) == (7, 8)
    assert ordinary([c.eos_token_id], c) == ()
    assert ordinary(range(10, 30), c) == tuple(range(10, 24))  # sixteen with [CLS] and [SEP]


# Probabilities


def test_a_text_is_as_likely_as_its_pieces_and_its_end(corrector, texts, vectors):
    """As `token_log_probabilities` has them; in order, whatever the lengths."""
    end = corrector.config.eos_token_id
    expected = corrector.token_log_probabilities(vectors, [[*text, end] for text in texts])
    found = log_probabilities(corrector, vectors, texts)
    np.testing.assert_allclose(found, [sum(row) for row in expected], atol=1e-3)
    assert found.dtype == np.float32 and len(set(map(len, texts))) > 1
    assert log_probabilities(corrector, vectors[:0], []).shape == (0,)
