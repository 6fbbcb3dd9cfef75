"""Losses: the softmax over candidates is fair, gradients reach what learns, and one batch can be learned by heart."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from invlib.encoders.batches import collate
from invlib.training.losses import draw_candidates, nearest_pieces, reconstruction_loss, sent_sim_loss


def first_batch(material, model, n: int = 8):
    data = material.dataset("train", layers=model.reads_layers)
    return {k: v.to(model.device) for k, v in collate([data[i] for i in range(n)]).items()}


class Linear:
    """Word logits by one matrix: all that `reconstruction_loss` asks of a model."""

    def __init__(self, vocab_size: int, width: int = 6):
        self.weight = torch.randn(vocab_size, width).mul(0.5).requires_grad_()
        self.config = SimpleNamespace(vocab_size=vocab_size)

    def logits(self, states, candidates=None):
        return states @ (self.weight if candidates is None else self.weight[candidates]).T


@pytest.fixture
def problem():
    torch.manual_seed(0)
    model = Linear(300)
    return model, {"states": torch.randn(20, 6), "labels": torch.randint(0, 40, (20,))}


# The softmax over candidates


def test_candidates_hold_the_batchs_own_words_and_as_many_others():
    torch.manual_seed(0)
    labels = torch.tensor([7, 3, 7, 9])
    candidates, correction = draw_candidates(labels, 100, 30)
    assert len(candidates) == 3 + 30 == len(candidates.unique()) and (candidates.diff() > 0).all()
    own = torch.isin(candidates, labels)
    assert own.sum() == 3 and (correction[own] == 0).all()
    torch.testing.assert_close(correction[~own], torch.full((30,), math.log(97 / 30)))


def test_a_batchs_words_bring_their_neighbours():
    torch.manual_seed(0)
    table = torch.randn(100, 5)
    table[50:] = 2 * table[:50] + 0.01 * torch.randn(50, 5)  # piece i and piece i + 50 point the same way
    near = nearest_pieces(table, 2)
    assert near.shape == (100, 2) and near[:50, 0].tolist() == list(range(50, 100))
    assert not (near == torch.arange(100).unsqueeze(1)).any()
    labels = torch.tensor([7, 3, 7])
    candidates, correction = draw_candidates(labels, 100, 10, near)
    sure = {7, 3, *near[7].tolist(), *near[3].tolist()}
    assert sure <= set(candidates.tolist()) and len(candidates) == len(sure) + 10
    assert (correction[torch.isin(candidates, torch.tensor(sorted(sure)))] == 0).all() and (correction > 0).sum() == 10


def test_with_all_candidates_it_is_the_full_softmax(problem):
    model, output = problem
    full = reconstruction_loss(model, output)
    torch.testing.assert_close(full, F.cross_entropy(model.logits(output["states"]), output["labels"]))
    for n in (300, 5000):
        torch.testing.assert_close(reconstruction_loss(model, output, n), full)
    (all_of_it,) = torch.autograd.grad(reconstruction_loss(model, output, 300), model.weight)
    torch.testing.assert_close(all_of_it, torch.autograd.grad(full, model.weight)[0])


def test_the_denominator_is_right_on_the_average(problem):
    model, output = problem
    logits = model.logits(output["states"]).detach()
    torch.manual_seed(1)
    drawn, uncorrected = [], []
    for _ in range(3000):
        candidates, correction = draw_candidates(output["labels"], 300, 30)
        drawn.append((logits[:, candidates] + correction).exp().sum(1))
        uncorrected.append(logits[:, candidates].exp().sum(1))
    full = logits.exp().sum(1)
    drawn = torch.stack(drawn)
    error = 5 * drawn.std(0) / len(drawn) ** 0.5  # five standard errors
    assert ((drawn.mean(0) - full).abs() < error + 1e-4 * full).all()
    assert (error / full).max() < 0.15  # so the line above says something
    assert (torch.stack(uncorrected).mean(0) < 0.8 * full).float().mean() > 0.9


def test_the_loss_approaches_the_full_one_from_below(problem):
    """The logarithm of a mean is above the mean of logarithms (Jensen); more candidates come closer."""
    model, output = problem
    full = reconstruction_loss(model, output).item()
    torch.manual_seed(2)
    gaps = []
    for n in (30, 100, 200):
        with torch.no_grad():
            gaps.append(full - sum(reconstruction_loss(model, output, n).item() for _ in range(400)) / 400)
    assert 0 < gaps[2] < gaps[1] < gaps[0] and gaps[1] < 0.05 * full


# sent_sim_loss


def test_saying_the_reference_surely_costs_nothing(tiny_model, tiny_material, float32):
    """A decoder that is certain of the right words: the expected embeddings are the words' own."""
    model, encoder = tiny_model(), tiny_material.encoder
    batch = first_batch(tiny_material, model)
    where = batch["input_ids"].device
    states = encoder.token_embeddings(batch["input_ids"], batch["attention_mask"])
    batch["reference"] = encoder.pool(states, batch["attention_mask"])

    def certain(labels):
        return SimpleNamespace(logits=lambda states: 100 * F.one_hot(labels, encoder.vocab_size).float())

    class Sure:
        def __call__(self, **part):
            out = model(**part)
            self.logits = certain(self.words(out["labels"])).logits
            return out

    right, wrong = Sure(), Sure()
    right.words, wrong.words = (lambda x: x), (lambda x: x.flip(0))
    assert sent_sim_loss(right, encoder, batch).item() < 1e-5
    assert sent_sim_loss(wrong, encoder, batch).item() > 0.01
    assert batch["input_ids"].device == where


def test_sent_sim_reads_the_first_sentences_alone(tiny_model, tiny_material, float32):
    model = tiny_model()
    batch = first_batch(tiny_material, model)
    three = sent_sim_loss(model, tiny_material.encoder, batch, 3)
    torch.testing.assert_close(three, sent_sim_loss(model, tiny_material.encoder, {k: v[:3] for k, v in batch.items()}))
    each = [sent_sim_loss(model, tiny_material.encoder, {k: v[i : i + 1] for k, v in batch.items()}) for i in range(3)]
    torch.testing.assert_close(three, torch.stack(each).mean(), atol=1e-5, rtol=1e-4)


# Gradients


@pytest.mark.parametrize("row", ["rnn", "encoder_only", "cls_decoder", "att_pool", "multi_query", "hybrid"])
@pytest.mark.parametrize("loss", ["reconstruction", "sent_sim"])
def test_gradients_reach_pooling_and_decoder_and_never_the_encoder(tiny_model, tiny_material, row, loss):
    model, encoder = tiny_model(row), tiny_material.encoder
    batch = first_batch(tiny_material, model)
    if loss == "reconstruction":
        value = reconstruction_loss(model, model(**batch), 20)
    else:
        value = sent_sim_loss(model, encoder, batch)
    value.backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    still = {name for name, p in model.named_parameters() if p.requires_grad} - moved
    assert still <= {"pooling.attn.bias"}, still  # a softmax over tokens ignores a shift; all else learns
    assert any(name.startswith("decoder") for name in moved)
    assert row == "cls_decoder" or any(name.startswith("pooling") for name in moved)
    assert all(p.grad is None for p in encoder.model.parameters())
    table = model.decoder.vocabulary
    assert row == "rnn" or (table.table.grad is None and not table.table.requires_grad)


@pytest.mark.parametrize("row, steps", [("att_pool", 60), ("rnn", 120), ("encoder_only", 60)])
def test_one_batch_can_be_learned_by_heart(tiny_model, tiny_material, sentences, row, steps):
    model = tiny_model(row, embedding_dim=64, n_embd=64, n_inner=128)
    batch = first_batch(tiny_material, model)
    texts = sentences[:8]
    assert model.reconstruct(texts) != texts
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        reconstruction_loss(model, model(**batch), 20).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert model.reconstruct(texts) == texts
    assert model.reconstruct(texts, num_beams=3) == texts
