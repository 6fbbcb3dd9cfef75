"""Mixup: between two headlines the model learns to decode a splice of both."""

import torch

from invlib.training.interpolation import FARTHEST, NEAREST, REMEMBERED, Mixup, splice

WHOLE = [False] * 100


def test_two_headlines_meet_near_the_middle_and_share_some_places():
    a, b = list(range(10, 24)), list(range(30, 44))  # 14 pieces each
    assert splice(a, b, 38, WHOLE, overlap=8) == [*a[:11], *b[3:]]
    assert splice(a, b, 38, WHOLE, overlap=0) == [*a[:7], *b[7:]]
    assert splice(a[:4], b, 38, WHOLE, overlap=8) == [*a[:4], *b]  # a short one stays whole


def test_the_second_part_begins_with_a_word_and_what_is_too_long_is_left_out():
    a, b = list(range(10, 24)), list(range(30, 44))
    continues = [i in (33, 34) for i in range(100)]
    assert splice(a, b, 38, continues, overlap=8) == [*a[:11], *b[5:]]
    assert splice(a, b, 16, WHOLE, overlap=8) == [*a[:11], *b[-5:]]
    assert len(splice(a, b, 16, WHOLE, overlap=8)) == 16


def batch(rows, dim=4):
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    return torch.randn(len(rows), dim), ids, (ids > 0).long()


def test_a_share_of_the_real_is_mixed_with_earlier_headlines():
    torch.manual_seed(0)
    rows = [[1, 10 + k, 20 + k, 30 + k, 2] for k in range(8)] * 40
    real = torch.tensor([k % 2 == 0 for k in range(len(rows))])
    half = Mixup(torch.zeros(100, dtype=torch.bool), eos_token_id=2, max_length=12)
    z, ids, mask = batch(rows)
    vectors, same, _, moved = half.mix(z, ids, mask, real, 0.5)
    assert not moved.any() and torch.equal(vectors, z) and torch.equal(same, ids)  # nothing is known yet
    before = [vector for vector, _ in half.known]
    assert len(before) == real.sum()
    other, ids, mask = batch(rows)
    other.requires_grad_()
    vectors, texts, mask, moved = half.mix(other, ids, mask, real, 0.5)
    assert 0.4 < moved.sum() / real.sum() < 0.6 and not moved[~real].any()
    assert torch.equal(vectors[~moved], other[~moved]) and torch.equal(texts[~moved][:, :5], ids[~moved])
    for k in moved.nonzero().flatten().tolist():
        go = vectors[k] - other[k]
        ways = [(go @ (b - other[k]) / (b - other[k]).square().sum(), b - other[k]) for b in before]
        assert any(NEAREST <= way <= FARTHEST and torch.allclose(go, way * whole, atol=1e-5) for way, whole in ways)
        text = texts[k][: int(mask[k].sum())].tolist()
        assert text[:4] == rows[k][:4] and text[-1] == 2 and len(text) == 8 and text[4] in range(10, 18)
    assert vectors.sum().backward() is None and other.grad[moved].sum() < other.grad[~moved][: moved.sum()].sum()
    assert len(half.known) == 2 * real.sum() <= REMEMBERED
    for _ in range(2):
        half.mix(z, ids, mask.new_ones(ids.shape), real, 0.0)
    assert len(half.known) == REMEMBERED  # the last ones
