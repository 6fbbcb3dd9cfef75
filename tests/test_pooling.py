"""Poolings: from token states to the ONE vector; padding never counts."""

import math
from types import SimpleNamespace

import pytest
import torch

from invlib.pooling import (
    AttentionPooling,
    CLSPooling,
    ConstantPooling,
    RNNPooling,
    build_pooling,
    masked_softmax,
)

POOLINGS = {
    "attention": lambda: AttentionPooling(8, 6),
    "cls": lambda: CLSPooling(8, 8),
    "rnn": lambda: RNNPooling(50, 5, 6),
    "constant": lambda: ConstantPooling(6),
}


def features(lengths=(7, 3, 1, 5), width: int | None = None) -> dict[str, torch.Tensor]:
    """A batch of random states; what stands at masked positions is loud."""
    torch.manual_seed(0)
    width = width or max(lengths)
    mask = (torch.arange(width) < torch.tensor(lengths).unsqueeze(1)).long()
    states = torch.randn(len(lengths), width, 8).masked_fill(mask.unsqueeze(-1) == 0, 1e3)
    return {"token_embeddings": states, "attention_mask": mask, "input_ids": torch.randint(1, 50, mask.shape)}


@pytest.mark.parametrize("kind", POOLINGS)
def test_padding_changes_nothing(kind):
    torch.manual_seed(1)
    pooling = POOLINGS[kind]().eval()
    batch = features()
    together = pooling(dict(batch))["sentence_embedding"]
    for i, n in enumerate(batch["attention_mask"].sum(1).tolist()):
        alone = pooling({k: v[i : i + 1, :n] for k, v in batch.items()})["sentence_embedding"]
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["attention", "rnn", "cls"])
def test_what_is_not_masked_counts(kind):
    torch.manual_seed(1)
    pooling = POOLINGS[kind]().eval()
    batch = features((5, 5))
    before = pooling(dict(batch))["sentence_embedding"].clone()
    batch["token_embeddings"][1, 0] += 1
    batch["input_ids"][1, 0] = 1 + batch["input_ids"][1, 0] % 49
    after = pooling(dict(batch))["sentence_embedding"]
    assert torch.equal(before[0], after[0]) and not torch.allclose(before[1], after[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_masked_positions_get_no_weight_in_any_precision(dtype):
    """Not even where their scores are the largest that the precision holds."""
    mask = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0]])
    scores = torch.tensor([[0.5, -2.0, 6e4, 6e4], [-3e4, 6e4, 0.0, 6e4]], dtype=dtype)
    weights = masked_softmax(scores, mask)
    assert weights.dtype == dtype and torch.isfinite(weights).all()
    assert (weights[mask == 0] == 0).all()
    torch.testing.assert_close(weights.float().sum(1), torch.ones(2), atol=1e-2, rtol=0)

    pooling = AttentionPooling(8, 6).to(dtype)
    batch = features()
    weights = pooling.weights(batch["token_embeddings"].to(dtype), batch["attention_mask"])
    assert (weights[batch["attention_mask"] == 0] == 0).all()
    batch["token_embeddings"] = batch["token_embeddings"].to(dtype)
    assert torch.isfinite(pooling(batch)["sentence_embedding"]).all()


def test_attention_pooling_is_the_decks():
    """Derived again, number by number: softmax of Linear(H, 1); the weighted sum of Linear -> GELU -> LayerNorm."""
    torch.manual_seed(2)
    pooling = AttentionPooling(8, 6).double()
    torch.nn.init.normal_(pooling.proj[2].weight)
    torch.nn.init.normal_(pooling.proj[2].bias)
    batch = features()
    batch["token_embeddings"] = batch["token_embeddings"].double()
    found = pooling(dict(batch))["sentence_embedding"]
    w, b = pooling.attn.weight[0], pooling.attn.bias[0]
    for x, mask, vector in zip(batch["token_embeddings"], batch["attention_mask"], found, strict=True):
        tokens = [x[t] for t in range(len(x)) if mask[t]]
        exponents = [math.exp((w @ t + b).item()) for t in tokens]
        expected = torch.zeros(6, dtype=torch.float64)
        for token, e in zip(tokens, exponents, strict=True):
            h = pooling.proj[0].weight @ token + pooling.proj[0].bias
            h = h * 0.5 * (1 + torch.erf(h / math.sqrt(2)))
            h = (h - h.mean()) / torch.sqrt(h.var(unbiased=False) + 1e-5)
            expected += e / sum(exponents) * (pooling.proj[2].weight * h + pooling.proj[2].bias)
        torch.testing.assert_close(vector, expected)
    assert sum(p.numel() for p in pooling.parameters()) == (8 + 1) + (8 * 6 + 6) + (6 + 6)


def test_gradients_reach_every_weight():
    for kind in ("attention", "rnn"):
        pooling = POOLINGS[kind]()
        # squared first: a LayerNorm's outputs sum to a constant
        pooling(features())["sentence_embedding"].pow(3).sum().backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in pooling.parameters())
        moved = {name for name, p in pooling.named_parameters() if p.grad.abs().sum() > 0}
        assert moved >= {name for name, _ in pooling.named_parameters()} - {"attn.bias"}  # a softmax ignores a shift


def test_cls_is_the_first_state_as_it_stands():
    batch = features()
    assert torch.equal(CLSPooling(8, 8)(dict(batch))["sentence_embedding"], batch["token_embeddings"][:, 0])
    with pytest.raises(ValueError, match="8 numbers, not 6"):
        CLSPooling(8, 6)


def test_the_constant_learns_nothing_and_tells_nothing():
    pooling = ConstantPooling(6)
    assert not list(pooling.parameters())
    vectors = pooling(features())["sentence_embedding"]
    assert vectors.shape == (4, 6) and len(vectors.unique(dim=0)) == 1


def test_the_rnns_vector_is_its_last_state():
    torch.manual_seed(3)
    pooling = RNNPooling(50, 5, 6)
    batch = features((4,))
    states, _ = pooling.lstm(pooling.embeddings(batch["input_ids"]))
    torch.testing.assert_close(pooling(dict(batch))["sentence_embedding"], states[:, -1])


def test_an_unknown_pooling_is_named():
    with pytest.raises(ValueError, match="'max'.*attention"):
        build_pooling(SimpleNamespace(pooling="max"))
