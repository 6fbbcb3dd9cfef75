"""Poolings: from token states to the ONE vector; padding never counts."""

import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from invlib import paths
from invlib.encoders.frozen import load_encoder
from invlib.models.code_layout import length_size
from invlib.models.decoders import DECODERS
from invlib.models.model import build_model
from invlib.models.pooling import (
    POOLINGS,
    AttentionPooling,
    CLSPooling,
    ConstantPooling,
    HybridPooling,
    MultiQueryPooling,
    RNNPooling,
    fit_components,
    masked_softmax,
)
from invlib.rows import ROWS

EXAMPLES = {
    "attention": lambda: AttentionPooling(8, 6),
    "cls": lambda: CLSPooling(8, 8),
    "rnn": lambda: RNNPooling(50, 5, 6),
    "constant": lambda: ConstantPooling(6),
    "multi_query": lambda: MultiQueryPooling(8, 12, 4, 8),
    "no position start": lambda: MultiQueryPooling(8, 12, 4, 8, position_start=False),
    "numbers_per_piece": lambda: MultiQueryPooling(8, 32, 7, 8, numbers_per_piece=32),
    "hybrid": lambda: hybrid(),
}


def hybrid(layers=("word", "last"), prefix_size=3, **changes) -> HybridPooling:
    return HybridPooling(4, layers, 15, prefix_size, 0.2, **changes, input_size=8, slots=4, max_length=8)


def features(lengths=(7, 3, 1, 5), width: int | None = None) -> dict[str, torch.Tensor]:
    """A batch of random states; what stands at masked positions is loud."""
    torch.manual_seed(0)
    width = width or max(lengths)
    mask = (torch.arange(width) < torch.tensor(lengths).unsqueeze(1)).long()
    states = torch.randn(len(lengths), width, 8).masked_fill(mask.unsqueeze(-1) == 0, 1e3)
    return {"token_embeddings": states, "attention_mask": mask, "input_ids": torch.randint(1, 50, mask.shape)}


@pytest.mark.parametrize("kind", EXAMPLES)
def test_padding_changes_nothing(kind):
    torch.manual_seed(1)
    pooling = EXAMPLES[kind]().eval()
    batch = features()
    together = pooling(dict(batch))["sentence_embedding"]
    for i, n in enumerate(batch["attention_mask"].sum(1).tolist()):
        alone = pooling({k: v[i : i + 1, :n] for k, v in batch.items()})["sentence_embedding"]
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-5)  # sums of another order


@pytest.mark.parametrize("kind", [kind for kind in EXAMPLES if kind != "constant"])
def test_what_is_not_masked_counts(kind):
    torch.manual_seed(1)
    pooling = EXAMPLES[kind]().eval()
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
    for kind in ("attention", "rnn", "multi_query", "numbers_per_piece"):
        pooling = EXAMPLES[kind]()
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


# Several queries


def test_each_query_starts_at_its_own_token():
    pooling = MultiQueryPooling(8, 12, 4, 8)
    batch = features((7, 3))
    weights = pooling.weights(batch["token_embeddings"][:, :7] * 0.01, batch["attention_mask"])
    assert weights.shape == (2, 4, 7)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4))
    assert all(weights[0, k, k + 1] > 0.95 for k in range(4)) and all(weights[1, k, k + 1] > 0.95 for k in range(2))
    assert (weights[1, :, 3:] == 0).all()  # a query whose token is not there reads the others
    even = EXAMPLES["no position start"]()
    assert even.weights(torch.zeros(1, 5, 8), torch.ones(1, 5)).max() < 0.25


def test_a_slot_is_its_querys_weighted_sum():
    torch.manual_seed(0)
    pooling = MultiQueryPooling(8, 12, 4, 8).double()
    batch = features((5, 4))
    x = batch["token_embeddings"] = batch["token_embeddings"].double()
    vector = pooling(dict(batch))["sentence_embedding"]
    slots = torch.stack([
        sum(w * pooling.proj(x[0, t]) for t, w in enumerate(weights))
        for weights in pooling.weights(x, batch["attention_mask"])[0]
    ]).flatten()  # fmt: skip
    torch.testing.assert_close(vector[0].double(), slots / slots.norm() * 12**0.5, atol=1e-5, rtol=1e-5)


def test_a_code_has_one_length_however_it_is_laid_out():
    for kind in ("multi_query", "numbers_per_piece"):
        vectors = EXAMPLES[kind]()(features())["sentence_embedding"]
        torch.testing.assert_close(vectors.norm(dim=1), torch.full((4,), vectors.shape[1] ** 0.5))


def test_a_short_sentence_uses_all_numbers_of_an_interleaved_code():
    short = features((3,), width=8)  # two pieces after [CLS]: twelve numbers each
    vector = EXAMPLES["numbers_per_piece"]()(short)["sentence_embedding"][0]
    assert len(vector.unique()) > 26 and (vector != 0).all()


def test_the_prefix_is_the_encoders_sentence_embedding():
    torch.manual_seed(0)
    sentences = torch.nn.functional.normalize(torch.randn(50, 4) * torch.tensor([3, 2, 1, 0.01]), dim=1)
    pooling = hybrid()
    pooling.fit(sentences.numpy())
    batch = features()
    vector = pooling(dict(batch))["sentence_embedding"]
    torch.testing.assert_close(vector[:, :3].norm(dim=1), torch.ones(4))
    torch.testing.assert_close(vector[:, 3:].norm(dim=1), torch.full((4,), 0.2))
    n = int(batch["attention_mask"][0].sum())
    mean = batch["token_embeddings"][0, :n, 4:].mean(0)  # `last` stands after `word`
    expected = torch.nn.functional.normalize(mean @ pooling.components, dim=0)
    torch.testing.assert_close(vector[0, :3], expected)
    assert "components" in pooling.state_dict() and not any("components" in n for n, _ in pooling.named_parameters())


def test_components_keep_the_similarities_best():
    torch.manual_seed(0)
    x = (torch.randn(200, 6) * torch.tensor([5.0, 4, 3, 0.1, 0.1, 0.1]) + 1).numpy()
    kept = fit_components(x, 3)
    assert kept.shape == (6, 3)
    torch.testing.assert_close(torch.from_numpy(kept.T @ kept), torch.eye(3), atol=1e-5, rtol=0)
    best = (torch.linalg.svdvals(torch.from_numpy(x))[:3] ** 2).sum().item()
    assert ((x @ kept) ** 2).sum() == pytest.approx(best, rel=1e-4)
    assert (kept[abs(kept).argmax(0), range(3)] > 0).all()
    for bad, size in ((x, 7), (x, 0), (x * np.nan, 3), (x[:0], 3), (x[0], 1)):
        with pytest.raises(ValueError, match=f"{size} components of sentence embeddings"):
            fit_components(bad, size)


def test_what_hybrid_cant_be_made_of_is_named():
    for changes in ({"layers": ["word"]}, {"prefix_size": 5}):
        with pytest.raises(ValueError, match="prefix needs the layer 'last', and has 1 to 4 numbers"):
            hybrid(**changes)


@pytest.mark.parametrize("kind, expected", [
    ("mean", lambda x: x.mean(0)), ("cls", lambda x: x[0]), ("max", lambda x: x.amax(0)),
])  # fmt: skip
def test_the_prefix_is_pooled_as_the_encoder_pools(kind, expected):
    pooling, batch = hybrid(["last", "word"], sentence_pooling=kind), features((4, 3), width=5)
    vector = pooling(dict(batch))["sentence_embedding"]
    for row, n in enumerate((4, 3)):
        prefix = expected(batch["token_embeddings"][row, :n, :4]) @ pooling.components
        torch.testing.assert_close(vector[row, :3], torch.nn.functional.normalize(prefix, dim=0))


@pytest.mark.parametrize("row", ["att_pool", "encoder_only", "cls_decoder"])
def test_any_pooling_of_states_reads_several_layers(tiny_model, row):
    dim = 64 if row == "cls_decoder" else 32
    model = tiny_model(row, encoder_layers=("word", "last"), embedding_dim=dim)
    assert model.encode(["oil falls"]).shape == (1, dim) and len(model.reconstruct(["oil falls"])) == 1


def test_hybrid_reads_how_its_encoder_pools(tiny_settings, tiny_folder, tmp_path, float32):
    """Trained on an encoder that pools otherwise, its prefix is that encoder's sentence embedding."""
    folder = shutil.copytree(tiny_folder, tmp_path / "cls")
    (folder / "1_Pooling").mkdir()
    paths.write_json(folder / "1_Pooling" / "config.json", {"pooling_mode": "cls", "word_embedding_dimension": 32})
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds.items())
    ]
    paths.write_json(folder / "modules.json", modules)
    encoder = load_encoder(str(folder))
    settings = replace(
        tiny_settings, row="hybrid", embedding_dim=64, numbers_per_piece=8, encoder_layers=("word", "last")
    )
    model = build_model(settings, encoder)
    assert model.config.sentence_pooling == "cls"
    texts = ["oil falls", "gold slips again on tariffs"]
    prefix = encoder.sentence_embedding(texts).numpy() @ model.components
    prefix /= np.linalg.norm(prefix, axis=1, keepdims=True)
    np.testing.assert_allclose(model.encode(texts)[:, : prefix.shape[1]], prefix, atol=1e-5)


# The table of rows


@pytest.mark.parametrize("row", ROWS)
def test_every_row_is_made_of_registered_units(row):
    assert hasattr(POOLINGS[ROWS[row].pooling], "fit") == ROWS[row].fitted
    assert ROWS[row].decoder in DECODERS


def test_copies_of_the_length_are_written_and_read(tiny_settings, tiny_encoder):
    """Pooling and decoder agree on where the code begins, and both copies hold the length."""
    settings = replace(
        tiny_settings, row="hybrid", embedding_dim=128, numbers_per_piece=8, length_copies=2,
        encoder_layers=("word", "last"),
    )  # fmt: skip
    model = build_model(settings, tiny_encoder).eval()
    z = model.encode(["oil falls", "gold rises on tariffs"])
    c = model.config
    code = z[:, c.prefix_size :] / c.code_weight * (128 - c.prefix_size) ** 0.5
    size = length_size(c.slots)
    np.testing.assert_allclose(code[:, :size], code[:, size : 2 * size], atol=1e-5)
    lengths = [len(ids) - 1 for ids in tiny_encoder.input_ids(["oil falls", "gold rises on tariffs"], c.max_length)]
    assert model.decoder.memory.lengths(torch.from_numpy(z)).tolist() == lengths
