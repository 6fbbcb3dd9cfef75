"""The shape of a model, and how it is written down."""

import json
import shutil

import numpy as np
import pytest
from huggingface_hub.errors import StrictDataclassError

from invlib import paths
from invlib.data.deck import DECK_HEADLINES
from invlib.measures.text import token_f1
from invlib.models.config import InvertibleConfig
from invlib.models.model import InvertibleSentenceModel


def test_a_config_is_strict():
    assert InvertibleConfig(code_weight=1, dropout=0).encoder_layers == ["last"]
    with pytest.raises(StrictDataclassError, match="n_embd.*int.*str"):
        InvertibleConfig(n_embd="256")
    with pytest.raises(StrictDataclassError, match="encoder_layers"):
        InvertibleConfig(encoder_layers="last")
    with pytest.raises(TypeError, match="unknown fields dealt; the fields are row"):
        InvertibleConfig(dealt=32)
    for name in ("row", "pooling", "decoder", "word_embeddings"):
        with pytest.raises(ValueError, match=f"unknown {name} 'x'; choose "):
            InvertibleConfig(**{name: "x"})


def test_what_is_written_is_read_again(tmp_path):
    config = InvertibleConfig(row="hybrid", slots=39, numbers_per_piece=32, encoder_layers=["word", "last"])
    config.write(tmp_path)
    values = paths.read_json(tmp_path / "config.json")
    assert set(values) == {"model_type", *config.__annotations__}  # those that equal today's defaults too
    assert InvertibleConfig.read(tmp_path).to_dict() == config.to_dict()


def test_a_file_of_something_else_is_named(tmp_path):
    for values, match in (
        ({"model_type": "bert", "hidden_act": "gelu"}, "of the type 'bert'"), ([1], "no config of this"),
        ({"model_type": "invertible_sentence", "colour": "red"}, "config.json.*colour"),
        ({"model_type": "invertible_sentence", "n_embd": "wide"}, "config.json.*n_embd"),
        ({"model_type": "invertible_sentence", "row": "hybird"}, "config.json.*'hybird'; choose.*hybrid"),
    ):  # fmt: skip
        (tmp_path / "config.json").write_text(json.dumps(values))
        with pytest.raises(ValueError, match=f"(?s){tmp_path}.*{match}|{match}.*{tmp_path}"):
            InvertibleConfig.read(tmp_path)


@pytest.mark.parametrize("folder", sorted(paths.DATA.glob("models/*")), ids=lambda folder: folder.name)
def test_a_committed_model_gives_the_texts_that_it_gave_when_it_was_published(folder, tmp_path):
    model = InvertibleSentenceModel.from_pretrained(shutil.copytree(folder, tmp_path / "model"))
    ids = [row[1:] for row in model.encoder.input_ids(DECK_HEADLINES[:4])]
    if model.config.row == "mean_decoder":  # an inverter finds about half of the words in one pass
        found = model.generate_ids(model.encode(DECK_HEADLINES[:4]))
        assert token_f1(found, ids).mean() > 0.5 > 2 * token_f1([*found[1:], found[0]], ids).mean()
    elif model.config.row == "no_vector":  # a language model: it never sees a sentence
        (likeliest,) = set(model.reconstruct(DECK_HEADLINES[:4]))
        nats = [-sum(row) for row in model.token_log_probabilities(model.encode(DECK_HEADLINES[:4]), ids)]
        assert likeliest and np.mean(nats) / np.log(2) < 180  # bits; 15 a piece would be 260
    else:
        assert model.reconstruct(DECK_HEADLINES[:4]) == model.text(ids)
