"""The model's face: encode, decode, save, load; and what may pass between its halves."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from invlib.encoders.frozen import FrozenEncoder
from invlib.models import model as module
from invlib.models.model import InvertibleSentenceModel, build_model, model_config, until_end
from invlib.settings import Settings, load_preset

ROWS = ("rnn", "encoder_only", "cls_decoder", "att_pool", "multi_query", "hybrid", "no_vector")
SAID = [
    "oil falls on tariffs",
    "gold",
    "the old central bank holds steady on strong demand for steel",
    "uber slips again",
]


@pytest.fixture(scope="module")
def real(minilm):
    """An untrained att_pool on the embedded encoder."""
    torch.manual_seed(0)
    settings = Settings(
        row="att_pool", embedding_dim=64, slots=4, n_embd=32, n_layer=1, n_head=2, n_inner=64, max_length=24
    )
    return build_model(settings, minilm).eval()


# Encoding


@pytest.mark.parametrize("row", ROWS)
def test_a_sentence_has_one_vector_alone_or_in_any_batch(tiny_model, row, float32):
    model = tiny_model(row)
    together = model.encode(SAID)
    assert together.shape == (4, model.config.embedding_dim) and together.dtype == np.float32
    np.testing.assert_allclose(together, np.concatenate([model.encode([s]) for s in SAID]), atol=1e-5)
    np.testing.assert_allclose(together, model.encode(SAID, batch_size=3), atol=1e-5)
    np.testing.assert_allclose(together[::-1], model.encode(SAID[::-1]), atol=1e-5)
    if row != "no_vector":
        assert np.abs(together[0] - together[1]).max() > 0.01


def test_padding_changes_nothing_with_real_weights(real, float32):
    together = real.encode(SAID)
    np.testing.assert_allclose(together, np.concatenate([real.encode([s]) for s in SAID]), atol=2e-5)


def test_with_the_real_precision_a_batch_differs_by_rounding_alone(real):
    """bfloat16, where the device has it, keeps three digits: that is all that a batch may change."""
    together, alone = real.encode(SAID), np.concatenate([real.encode([s]) for s in SAID])
    assert np.abs(together - alone).max() < 0.05 * together.std()


def test_no_sentence_gives_no_vector(tiny_model):
    model = tiny_model()
    assert model.encode([]).shape == (0, 32)
    assert model.decode(np.zeros((0, 32), dtype=np.float32)) == []


@pytest.mark.parametrize("texts", ["oil falls", [""], ["oil", "   "], [None], ["oil " * 15]])
def test_a_text_that_cant_be_encoded_is_an_error(tiny_model, texts):
    with pytest.raises(ValueError, match="sentence"):
        tiny_model().encode(texts)


# Decoding


@pytest.mark.parametrize(
    "bad, said",
    [
        (np.zeros((2, 31)), r"\(N, 32\).*\(2, 31\)"),
        (np.zeros(32), r"\(N, 32\).*\(32,\)"),
        (np.zeros((1, 2, 32)), r"\(1, 2, 32\)"),
        (torch.zeros(2, 33), r"\(2, 33\)"),
        ([[0.0] * 32, [float("nan")] * 32], r"\[1\].*NaN"),
        (np.full((1, 32), np.inf), "infinity"),
    ],
)
def test_a_vector_that_cant_be_decoded_is_named(tiny_model, bad, said):
    with pytest.raises(ValueError, match=said):
        tiny_model().decode(bad)


def test_vectors_may_be_lists_arrays_or_tensors(tiny_model):
    model = tiny_model()
    z = model.encode(SAID)
    said = model.decode(z)
    assert said == model.decode(torch.from_numpy(z)) == model.decode(z.tolist()) == model.decode(z.astype(np.float64))
    assert said == model.reconstruct(SAID)


def test_only_the_vector_reaches_the_decoder(tiny_model, tiny_material):
    """With the vector given, the sentence's token states change nothing."""
    from invlib.encoders.batches import in_order

    model = tiny_model()
    batch = next(in_order(tiny_material.dataset("test"), where=model.device))
    z = model(**batch)["sentence_embedding"].detach()
    given = model(**{**batch, "token_embeddings": torch.zeros_like(batch["token_embeddings"])}, sentence_embedding=z)
    assert torch.equal(given["states"], model(**batch)["states"])


def test_labels_are_every_piece_after_cls_and_no_padding(tiny_model, tiny_material):
    from invlib.encoders.batches import in_order

    model = tiny_model()
    batch = next(in_order(tiny_material.dataset("test"), where=model.device))
    out = model(**batch)
    expected = [i for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
                for i in row[: mask.sum()].tolist()[1:]]  # fmt: skip
    assert out["labels"].tolist() == expected
    assert out["states"].shape == (len(expected), model.config.n_embd)
    assert (out["labels"] == model.config.eos_token_id).sum() == len(batch["input_ids"])


def test_a_text_ends_with_its_first_end_token():
    assert until_end([5, 6, 102, 7, 102], 102) == [5, 6, 102]
    assert until_end([5, 6], 102) == [5, 6]


# Saving and loading


@pytest.mark.parametrize("row", ROWS)
def test_a_saved_model_decodes_the_same_text(tiny_model, tmp_path, row):
    model = tiny_model(row)
    model.save_pretrained(tmp_path / "model")
    again = InvertibleSentenceModel.from_pretrained(tmp_path / "model")
    z = model.encode(SAID)
    np.testing.assert_array_equal(z, again.encode(SAID))
    assert again.decode(z) == model.decode(z)
    assert again.decode(z, num_beams=3) == model.decode(z, num_beams=3)
    assert not again.training and again.config.to_dict() == model.config.to_dict()
    for name, p in model.state_dict().items():
        assert torch.equal(p, again.state_dict()[name]), name


def test_a_loaded_model_has_its_words_before_anything_was_encoded(tiny_model, tiny_material, tmp_path):
    """Its very first call may be teacher-forced, as the reference language model's is."""
    from invlib.measures.text import teacher_forced

    model = tiny_model("no_vector")
    model.save_pretrained(tmp_path)
    again = InvertibleSentenceModel.from_pretrained(tmp_path)
    data = tiny_material.dataset("test", layers=())
    np.testing.assert_array_equal(teacher_forced(again, data)["nats"], teacher_forced(model, data)["nats"])


@pytest.mark.parametrize("row", ["att_pool", "rnn"])
def test_the_frozen_encoder_is_not_in_the_checkpoint(real, tiny_model, tmp_path, row):
    model = real if row == "att_pool" else tiny_model(row)
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    assert sum(w.numel() for w in weights.values()) == model.n_trainable()
    assert not [name for name in weights if "encoder" in name.replace("crossattention", "")]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert sum(p.numel() for p in model.parameters()) == model.n_trainable()


def test_another_encoder_is_refused(tiny_model, tiny_encoder, tmp_path, minilm):
    model = tiny_model()
    with pytest.raises(ValueError, match=f"{tiny_encoder.hash}.*'minilm'.*{minilm.hash}"):
        model.use_encoder(minilm)
    from transformers import BertModel

    changed = BertModel.from_pretrained(tiny_encoder.name)
    changed.pooler.dense.bias.data += 1
    with pytest.raises(ValueError, match=tiny_encoder.hash):
        model.use_encoder(FrozenEncoder(tiny_encoder.name, changed, tiny_encoder.tokenizer))
    model.config.encoder_hash = "000000000000"  # trained on other weights under the same name
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="000000000000"):
        InvertibleSentenceModel.from_pretrained(tmp_path).encode(["oil"])


def test_a_save_that_is_killed_leaves_the_old_model_whole(tiny_model, tmp_path, monkeypatch):
    model = tiny_model()
    model.save_pretrained(tmp_path)
    before = load_file(tmp_path / "model.safetensors")

    def killed(weights, path, **_):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        tiny_model("rnn").save_pretrained(tmp_path)
    after = load_file(tmp_path / "model.safetensors")
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
    InvertibleSentenceModel.from_pretrained(tmp_path)


def test_a_model_is_found_by_name_in_a_run(tiny_model, run):
    tiny_model().save_pretrained(run / "models" / "att_pool_32")
    assert InvertibleSentenceModel.from_pretrained("att_pool_32", run="test").folder == run / "models" / "att_pool_32"
    with pytest.raises(FileNotFoundError, match="att_pool_33.*att_pool_32"):
        InvertibleSentenceModel.from_pretrained("att_pool_33", run="test")


def test_the_encoding_half_is_a_sentence_transformer(real, tiny_model, float32):
    for model in (real, tiny_model("rnn")):
        other = model.to_sentence_transformer()
        assert other.get_embedding_dimension() == model.config.embedding_dim
        np.testing.assert_allclose(other.encode(SAID), model.encode(SAID), atol=2e-5)


def test_a_prompt_stands_before_each_text(tiny_model, float32):
    model = tiny_model()
    found = model.to_sentence_transformer().encode(["falls", "rises again"], prompt="oil ")
    np.testing.assert_allclose(found, model.encode(["oil falls", "oil rises again"]), atol=2e-5)


def test_the_encoding_half_refuses_what_encode_refuses(tiny_model):
    """A text that is too long is not cut off in silence."""
    model = tiny_model()
    for encode in (model.encode, model.to_sentence_transformer().encode):
        with pytest.raises(ValueError, match=f"word pieces.*at most {model.config.max_length} fit.*'oil oil"):
            encode([*SAID, "oil " * model.config.max_length])
        with pytest.raises(ValueError, match="empty or no text"):
            encode([*SAID, " "])


# Shapes


@pytest.mark.parametrize("embedding_dim, deck", [(768, 38.5e6), (2560, 214e6)])
def test_the_deck_presets_models_have_the_decks_size(embedding_dim, deck):
    settings = load_preset("deck", row="att_pool", embedding_dim=embedding_dim)
    with torch.device("meta"):
        model = InvertibleSentenceModel(model_config(settings, hidden_size=768, vocab_size=30522))
    assert abs(model.n_trainable() / deck - 1) < 0.05
    gpt2 = model.decoder.gpt2.config
    assert (gpt2.n_embd, gpt2.n_layer, gpt2.n_inner, gpt2.n_positions) == (embedding_dim, 2, 2048, 128)


def test_every_row_has_the_shape_that_its_name_says(tiny_settings):
    for row, pooling, decoder in (
        ("rnn", "rnn", "lstm"), ("encoder_only", "attention", "one_pass"), ("cls_decoder", "cls", "transformer"),
        ("att_pool", "attention", "transformer"), ("no_vector", "constant", "transformer"),
    ):  # fmt: skip
        config = model_config(replace(tiny_settings, row=row))
        assert (config.pooling, config.decoder) == (pooling, decoder)
    for twin in ("rnn", "encoder_only"):
        config = model_config(replace(tiny_settings, row="no_vector", variant=twin))
        assert (config.pooling, config.decoder) == ("constant", model_config(replace(tiny_settings, row=twin)).decoder)


def test_a_wide_hybrid_has_a_prefix_of_the_encoders_width():
    """About a third of the vector, and never more than the encoder's sentence embedding has."""
    for dim, prefix in ((384, 128), (768, 256), (2560, 384)):
        settings = load_preset("study", row="hybrid", embedding_dim=dim)
        with torch.device("meta"):
            model = InvertibleSentenceModel(model_config(settings, hidden_size=384, vocab_size=30522))
        assert model.config.prefix_size == prefix == model.pooling.components.shape[1]


@pytest.mark.parametrize("texts, said", [(None, "got None"), ("oil", "write \\['oil'\\]"), ([None], "sentence 0")])
def test_what_is_no_list_of_sentences_is_refused(tiny_model, texts, said):
    with pytest.raises(ValueError, match=said):
        tiny_model().encode(texts)


@pytest.mark.parametrize("z", [None, [[0.0, 1.0], [2.0]], [["a"] * 32]])
def test_what_is_no_array_of_vectors_is_refused(tiny_model, z):
    with pytest.raises(ValueError, match="32"):
        tiny_model().decode(z)


def test_a_search_needs_a_beam(tiny_model):
    with pytest.raises(ValueError, match="num_beams=0"):
        tiny_model().decode(np.zeros((1, 32)), num_beams=0)
