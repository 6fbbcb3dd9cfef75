"""Greedy search by own steps: the texts of transformers' `generate`, with less work."""

import numpy as np
import pytest
import torch

from invlib.models import generation
from invlib.models.code_layout import length_angles
from invlib.models.codec import until_end
from invlib.models.config import InvertibleConfig
from invlib.models.model import InvertibleSentenceModel
from invlib.models.vocabulary import TiedVocabulary

ROWS = ("rnn", "att_pool", "hybrid")
HEADLINES = [
    "wall street falls as tariffs kick in", "gold", "uber offers to share journey data with london city planners",
    "oil rises", "bayer says monsanto likely kept files on influential people across europe",
]  # fmt: skip


@pytest.fixture
def loud(tiny_model):
    """A model whose texts differ, and end after one to many word pieces."""

    def build(row: str):
        model = tiny_model(row)
        with torch.no_grad():
            for name, p in model.decoder.named_parameters():
                if p.ndim > 1 and not name.endswith("slot_embeddings"):
                    p.mul_(1 if p is getattr(model.decoder.vocabulary, "weight", None) else 6)
            model.decoder.vocabulary.bias[model.config.eos_token_id] = 1.0
        return model

    return build


def random_vectors(model, n: int = 40) -> torch.Tensor:
    torch.manual_seed(3)
    return torch.randn(n, model.config.embedding_dim, device=model.device)


def by_transformers(model, z) -> list[list[int]]:
    """The former way: `generate`, in the order of arrival, all texts to the last one's end."""
    with torch.no_grad():
        found = generation.searched(model, 1, {}, model.as_tensor(z))
    return [until_end(row, model.config.eos_token_id) for row in found.tolist()]


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("many", [1, 10**9])
def test_the_ids_are_those_of_transformers_generate(loud, row, many, monkeypatch):
    """With the vocabulary in bfloat16 first, and without."""
    monkeypatch.setattr(generation, "MANY", many)
    monkeypatch.setattr(generation, "precision", lambda where: torch.bfloat16)
    model = loud(row)
    z = random_vectors(model)
    expected = by_transformers(model, z)
    assert len({len(ids) for ids in expected}) > 2
    for batch_size in (None, 1, 7):
        assert model.generate_ids(z, batch_size=batch_size) == expected


def test_the_ids_of_a_published_model_are_those_of_transformers_generate(monkeypatch):
    model = InvertibleSentenceModel.from_pretrained("hybrid_384_long")
    z = model.encode(HEADLINES)
    expected = by_transformers(model, z)
    assert model.text(expected) == HEADLINES
    for many in (1, 10**9):
        monkeypatch.setattr(generation, "MANY", many)
        assert model.generate_ids(z) == expected


@pytest.mark.parametrize("row", ROWS)
def test_finished_texts_leave_the_batch(loud, row, monkeypatch):
    model, sizes = loud(row), []
    step = model.decoder.step
    monkeypatch.setattr(model.decoder, "step", lambda ids, *more: sizes.append(len(ids)) or step(ids, *more))
    lengths = [len(ids) for ids in model.generate_ids(random_vectors(model), batch_size=40)]
    assert sizes[0] == 40 and len(sizes) == max(lengths) and sizes == sorted(sizes, reverse=True)
    unfinished = [sum(length > at for length in lengths) for at in range(max(lengths))]
    assert all(size <= max(8 / 7 * n, 1) for size, n in zip(sizes, unfinished, strict=True))


@pytest.mark.parametrize("num_beams", [1, 2])
def test_a_vector_that_tells_its_length_is_decoded_beside_those_of_like_length(loud, num_beams, monkeypatch):
    model = loud("hybrid")
    c, z = model.config, random_vectors(model, 12)
    told = torch.tensor([5, 2, 7, 1, 3, 6, 2, 4, 7, 1, 5, 3])
    angles = length_angles(told, c.slots).to(z)
    z[:, c.prefix_size : c.prefix_size + angles.shape[1]] = angles / model.decoder.memory.code_scale
    assert model.decoder.memory.lengths(z).tolist() == told.tolist()
    name = "greedy" if num_beams == 1 else "searched"
    seen, true = [], getattr(generation, name)
    monkeypatch.setattr(
        generation, name, lambda *a: seen.append(model.decoder.memory.lengths(a[-1]).tolist()) or true(*a)
    )
    found = model.generate_ids(z, num_beams=num_beams, batch_size=4)
    assert [length for part in seen for length in part] == sorted(told.tolist())
    assert found == [model.generate_ids(v[None], num_beams=num_beams)[0] for v in z]


def test_other_vectors_are_decoded_as_they_come(loud):
    assert loud("att_pool").decoder.memory.lengths(random_vectors(loud("att_pool"))) is None


@pytest.mark.parametrize("kind", ["encoder", "own"])
def test_the_likeliest_piece_is_found_where_bfloat16_hides_it(kind):
    """Thirty rows that differ by less than bfloat16 tells apart."""
    torch.manual_seed(0)
    vocabulary = TiedVocabulary(kind, InvertibleConfig(vocab_size=200, n_embd=64, hidden_size=64))
    with torch.no_grad():
        rows = torch.randn(200, 64)
        rows[50:80] = 4 * torch.randn(64) + 1e-3 * torch.randn(30, 64)
        if kind == "own":
            vocabulary.weight.copy_(rows)
        else:
            vocabulary.set_table(rows)
        vocabulary.bias.normal_(0, 1e-3)
        states = torch.randn(300, 64)
        expected, rounded = vocabulary.logits(states).argmax(-1), vocabulary.rounded()
        rough = (vocabulary.project(states).bfloat16() @ rounded.rows.T).argmax(-1)
        assert torch.equal(vocabulary.likeliest(states), expected)
        assert torch.equal(vocabulary.likeliest(states, rounded), expected)
    assert not torch.equal(rough, expected)


def test_of_equally_likely_pieces_the_vocabularys_first_is_taken():
    vocabulary = TiedVocabulary("own", InvertibleConfig(vocab_size=20, n_embd=8))
    with torch.no_grad():
        vocabulary.weight[[3, 11, 17]] = 5.0
        states = torch.ones(2, 8)
        assert vocabulary.likeliest(states, vocabulary.rounded()).tolist() == [3, 3]


def test_no_vector_gives_no_text(loud):
    assert loud("hybrid").generate_ids(np.zeros((0, 64))) == []
