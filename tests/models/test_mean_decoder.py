"""mean_decoder: the vector is the encoder's own sentence embedding, and only its decoder is trained."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from invlib.encoders.batches import collate, in_order
from invlib.encoders.recombined import Recombined
from invlib.models.model import InvertibleSentenceModel
from invlib.models.pooling import SentencePooling
from invlib.rows import ROWS
from invlib.settings import check
from invlib.training.record import TrainingRecord
from invlib.training.train import train

TEXTS = ["gold rises", "the old central bank holds steady on strong demand for steel", "oil", "uber slips again"]


@pytest.fixture
def model(tiny_model):
    return tiny_model("mean_decoder", expanded_size=64)


@pytest.fixture
def settings(tiny_settings):
    return replace(tiny_settings, row="mean_decoder", expanded_size=64, recombined_ratio=1.0, sent_sim_weight=0.0)


def test_its_vector_is_the_encoders_own_sentence_embedding(model, tiny_encoder):
    expected = tiny_encoder.sentence_embedding(TEXTS).numpy()
    np.testing.assert_array_equal(model.encode(TEXTS), expected)
    assert model.reads_sentence and not model.reads_states and model.reads_layers == ()
    assert not list(model.pooling.parameters())


def test_a_data_sets_own_embeddings_are_read_where_it_has_them(model, tiny_material):
    dataset = tiny_material.dataset("validation", layers=())
    np.testing.assert_array_equal(model.vectors_of(dataset), dataset.sentence)
    (batch,) = in_order(dataset, where=model.device)
    given = model.pool(batch | {"reference": batch["reference"] + 1})
    torch.testing.assert_close(given, batch["reference"] + 1)
    del batch["reference"]
    found = model.with_reference(batch)
    assert set(found) == {*batch, "reference"} and "reference" not in batch
    np.testing.assert_allclose(found["reference"].cpu(), dataset.sentence, atol=0.05, rtol=0.05)
    assert torch.equal(model.pool(batch), found["reference"])


def test_the_pooling_is_the_reference_as_it_stands():
    batch = {"reference": torch.randn(4, 8), "input_ids": torch.ones(4, 3)}
    found = SentencePooling(8, 8)(batch)
    assert torch.equal(found["sentence_embedding"], batch["reference"]) and set(found) == {*batch, "sentence_embedding"}
    with pytest.raises(ValueError, match="8 numbers, not 6"):
        SentencePooling(8, 6)


def test_a_vector_of_another_width_is_refused(tiny_model):
    with pytest.raises(ValueError, match="the sentence embedding has 32 numbers, not 48: give D = 32"):
        tiny_model("mean_decoder", embedding_dim=48)


def test_a_saved_model_gives_the_same_texts(model, tmp_path):
    with torch.no_grad():
        for p in model.decoder.parameters():
            p.mul_(3 if p.ndim > 1 else 1)
    z, texts = model.encode(TEXTS), model.reconstruct(TEXTS)
    assert len(set(texts)) > 1 and texts == model.decode(5 * z)  # whatever the vectors' length
    model.save_pretrained(tmp_path)
    again = InvertibleSentenceModel.from_pretrained(tmp_path)
    assert again.config.expanded_size == 64 and again.config.row == "mean_decoder"
    assert again.decode(z) == texts and again.reconstruct(TEXTS) == texts
    assert again.decode(z, num_beams=3) == model.decode(z, num_beams=3)


def test_it_learns_from_recombined_sentences_too(run, settings, tiny_material, monkeypatch):
    """Forty headlines and forty sentences that are new in each epoch, whose vectors the encoder makes on the way."""
    epochs, told = [], Recombined.set_epoch
    monkeypatch.setattr(Recombined, "set_epoch", lambda self, n: epochs.append(n) or told(self, n))
    model, curves = train(settings, run, tiny_material)
    assert curves.step.tolist() == [10, 20] and list(dict.fromkeys(epochs)) == [0, 1]
    assert curves.validation_loss.iloc[1] < curves.validation_loss.iloc[0]
    done = TrainingRecord.read(run / "models" / "mean_decoder_32")
    assert done.train_headlines == 40 and done.settings == settings
    plain, _ = train(replace(settings, recombined_ratio=0.0), run / "plain", tiny_material)
    assert not torch.equal(plain.decoder.memory.slot_embeddings, model.decoder.memory.slot_embeddings)


def test_recombined_sentences_have_their_own_vectors_in_a_batch(model, tiny_material):
    dataset = tiny_material.training_set((), 0.0, 1.0, 0, 16)
    batch = collate([dataset[k] for k in (0, 50, 60)])
    assert "reference" not in batch and batch["real"].tolist() == [True, False, False]
    text = model.text([dataset[50]["input_ids"].tolist()])
    batch = {k: v.to(model.device) for k, v in batch.items()}
    found = model(**batch)["sentence_embedding"][1:2]
    torch.testing.assert_close(found.cpu(), model.encoder.sentence_embedding(text), atol=0.05, rtol=0.05)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_that_reads_states_learns_from_no_recombined_sentence(settings, row):
    chosen = replace(settings, row=row)
    if ROWS[row].reads != "states":
        return check(chosen)
    with pytest.raises(ValueError, match=f"recombined_ratio is 1.0: {row} reads token states"):
        check(chosen)
