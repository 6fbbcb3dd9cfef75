"""What each kind of training text adds: the comparison itself, on the tiny encoder."""

import pytest

from invlib.inversion.training_text import KINDS, compared, drawn
from invlib.models.model import build_model
from invlib.settings import load_preset

COMMON = {"preset": "smoke", "steps": 4, "batch_size": 8, "n_validation": 4}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture
def seen(monkeypatch):
    """The training texts (word-piece ids) and settings of each training, in order."""
    from invlib.inversion import training_text

    real, found = training_text.train, []

    def train(settings, run, material, purpose):
        found.append((settings, material.dataset("train", layers=()).ids()))
        return real(settings, run, material, purpose)

    monkeypatch.setattr(training_text, "train", train)
    return found


def test_a_row_a_kind(tiny_material, run, seen):
    """Each kind learns from the first headlines, and from what its name says; the figures are of its own curve."""
    table = compared(tiny_material, run, [10], **COMMON)
    assert table["kind"].tolist() == list(KINDS) and set(table["headlines"]) == {10} and set(table["steps"]) == {4}
    assert table["validation_loss"].nunique() == 4
    headlines = tiny_material.dataset("train", layers=()).ids()[:10]
    by_name = {settings.name: (settings, texts) for settings, texts in seen}
    assert by_name["mean_decoder_32_headlines_10"][1] == headlines
    assert by_name["mean_decoder_32_random_10"][0].random_sentence_ratio == 1
    assert by_name["mean_decoder_32_recombined_10"][0].recombined_ratio == 3
    assert by_name["mean_decoder_32_headlines_10"][0].recombined_ratio == 0
    assert by_name["no_vector_32_of_10"][1] == headlines  # the language model has read these alone
    texts = by_name["mean_decoder_32_drawn_10"][1]
    assert texts[:10] == headlines and 5 < len(texts) - 10 <= 10


def test_no_validation_headline_is_learned(tiny_material, run, seen):
    """None of the texts is a validation headline, whatever their kind."""
    compared(tiny_material, run, [10], **COMMON | {"steps": 2})
    validation = {tuple(ids) for ids in tiny_material.dataset("validation", layers=()).ids()}
    assert validation and len(seen) == len(KINDS) + 1  # and the language model that texts are drawn from
    for _, texts in seen:
        assert not validation & {tuple(ids) for ids in texts}


def test_drawn_texts(tiny_encoder):
    """As many different texts as asked at most, whole, and the same again."""
    settings = load_preset("smoke", row="no_vector", embedding_dim=32, variant="x", n_embd=32, n_head=2)
    model = build_model(settings, tiny_encoder)
    texts = drawn(model, 12)
    assert texts == drawn(model, 12) != drawn(model, 12, seed=1)
    assert len({tuple(ids) for ids in texts}) == len(texts) <= 12
    for ids in texts:
        assert ids[0] == tiny_encoder.bos_token_id and ids[-1] == tiny_encoder.eos_token_id
        assert len(ids) <= settings.max_length and tiny_encoder.eos_token_id not in ids[:-1]
