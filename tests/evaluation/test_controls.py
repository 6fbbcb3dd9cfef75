"""Controls: another sentence's vector, the models that see none, and the one reference language model."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from invlib.evaluation import controls
from invlib.evaluation.controls import (
    language_model,
    no_vector_name,
    no_vector_names,
    reference_model,
    shuffled_vectors,
)
from invlib.models.model import model_config
from invlib.settings import Settings, load_preset, row_names, select_row
from invlib.training.record import TrainingRecord, identity_of, model_hash


@pytest.mark.parametrize("n", [2, 3, 10, 501])
def test_no_vector_stays_in_its_place_and_none_is_lost(n):
    vectors = np.arange(n, dtype=np.float32)[:, None] + np.zeros(4, dtype=np.float32)
    for seed in range(5):
        swapped = shuffled_vectors(vectors, seed)
        assert (swapped[:, 0] != vectors[:, 0]).all()
        assert sorted(swapped[:, 0]) == list(range(n))
        assert swapped.dtype == vectors.dtype
    assert (vectors[:, 0] == np.arange(n)).all()
    np.testing.assert_array_equal(shuffled_vectors(vectors, 1), shuffled_vectors(vectors, 1))


def test_settings_that_name_no_model_have_no_control(tiny_settings):
    with pytest.raises(ValueError, match="these settings name no model"):
        no_vector_name(replace(tiny_settings, row=None))


def test_one_vector_cant_be_swapped():
    with pytest.raises(ValueError, match="1 vector"):
        shuffled_vectors(np.zeros((1, 4)))


@pytest.mark.parametrize("preset, hidden", [("smoke", 384), ("cpu", 384), ("study", 384), ("gpu", 384), ("deck", 768)])
def test_every_row_has_a_no_vector_control_whose_decoder_has_its_shape(preset, hidden):
    settings = load_preset(preset)
    for name in row_names(settings, hidden):
        row = select_row(settings, name)
        config, control = model_config(row), model_config(select_row(settings, no_vector_name(row)))
        assert control.pooling == "constant" and control.decoder == config.decoder
        shape = ["n_embd", "n_layer", "n_head", "n_inner", "word_embeddings"]
        if row.row != "hybrid":  # a constant carries nothing, however many memory tokens it is cut into
            shape.append("slots")
        assert [getattr(control, k) for k in shape] == [getattr(config, k) for k in shape]
        assert control.decoder != "transformer" or control.embedding_dim % control.slots == 0


def test_rows_that_share_a_decoder_share_a_control():
    settings = Settings(rows=())
    rows = ["att_pool_384", "rnn_768", "cls_decoder_384", "att_pool_768", "encoder_only_1568"]
    assert no_vector_names(settings, rows) == ["no_vector_384", "no_vector_768_rnn", "no_vector_1568_encoder_only"]
    wide = replace(settings, n_embd=0)  # as wide as the vector: each D has its own
    assert no_vector_names(wide, ["att_pool_768", "att_pool_2560"]) == ["no_vector_768", "no_vector_2560"]


def test_the_reference_is_the_no_vector_model_of_the_lowest_loss(run, tiny_model, tiny_settings, tiny_material):
    these = tiny_settings, tiny_material
    with pytest.raises(FileNotFoundError, match="no_vector"):
        reference_model(run, *these)
    here = tiny_material.corpus.data_hash, tiny_material.encoder.hash

    def write(name, loss, settings=tiny_settings, data_hash=here[0], encoder_hash=here[1]):
        identity = identity_of(settings, data_hash, encoder_hash)
        TrainingRecord(identity, 1.0, 1.0, "time", loss, 0.5).write(run / "models" / name)

    for row, dim, loss in (("no_vector", 32, 3.0), ("no_vector", 48, 2.0), ("att_pool", 32, 1.0)):
        tiny_model(row, embedding_dim=dim).save_pretrained(run / "models" / f"{row}_{dim}")
        write(f"{row}_{dim}", loss)
    tiny_model("no_vector", embedding_dim=64).save_pretrained(run / "models" / "no_vector_64")  # never finished
    model, name = reference_model(run, *these)
    assert model.config.embedding_dim == 48
    assert name == model_hash(run / "models" / "no_vector_48") and len(name) == 12
    assert name != model_hash(run / "models" / "no_vector_32")
    for other in (  # what was trained on another split, say, may have seen what it is to judge
        {"settings": replace(tiny_settings, seed=1)}, {"settings": replace(tiny_settings, max_length=12)},
        {"data_hash": "another"}, {"encoder_hash": "another"},
    ):  # fmt: skip
        write("no_vector_48", 2.0, **other)
        assert reference_model(run, *these)[0].config.embedding_dim == 32, other
    write("no_vector_48", 2.0)
    assert reference_model(run, *these)[0].config.embedding_dim == 48


def test_a_language_model_is_the_runs_or_the_repositorys_or_trained(
    run, tmp_path, tiny_settings, tiny_material, monkeypatch
):
    these = run, replace(tiny_settings, no_vector_steps=3, epochs=1), tiny_material
    monkeypatch.setattr(controls, "SHIPPED", tmp_path / "shipped")
    model, whose = language_model(*these)
    assert whose == "trained here" and model.config.pooling == "constant"
    assert language_model(*these)[1] == "this run's"
    monkeypatch.setattr(controls, "SHIPPED", model.folder)
    assert language_model(run.with_name("other"), *these[1:])[1] == "the repository's"
    corpus = SimpleNamespace(**vars(tiny_material.corpus) | {"synthetic": True, "data_hash": "other"})
    made_up = replace(tiny_material, corpus=corpus)
    monkeypatch.delenv("INVLIB_RUN", raising=False)
    monkeypatch.setattr(controls.paths, "RUNS", tmp_path / "none")  # no run: what is made up, it can't have read
    assert language_model(None, these[1], made_up)[1] == "the repository's, trained on real headlines"
    other = replace(these[1], seed=1)  # another split: the repository's has read its test headlines
    assert language_model(run.with_name("other"), other, tiny_material)[1] == "trained here"
    real = replace(tiny_material, corpus=SimpleNamespace(**vars(tiny_material.corpus) | {"synthetic": False}))
    assert language_model(None, other, real)[1] == "trained here"  # nor is it, without a run, of real headlines
