"""The model's face: encode, decode, save, load; and what may pass between its halves."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertModel

from invlib.device import device
from invlib.encoders.batches import in_order
from invlib.encoders.frozen import FrozenEncoder
from invlib.models import model as module
from invlib.models.code_layout import length_size, read_length
from invlib.models.codec import until_end
from invlib.models.config import model_config
from invlib.models.model import InvertibleSentenceModel, build_model
from invlib.rows import ROWS
from invlib.settings import Settings, load_preset

TEXTS = [
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


@pytest.fixture(scope="module")
def long_encoder(tiny_encoder):
    """The tiny encoder's tokenizer, with a BERT of 128 positions."""
    config = BertConfig(**{**tiny_encoder.model.config.to_dict(), "max_position_embeddings": 128})
    torch.manual_seed(0)
    return FrozenEncoder("long", BertModel(config), tiny_encoder.tokenizer).to(tiny_encoder.word_embeddings.device)


# Encoding


@pytest.mark.parametrize("row", ROWS)
def test_a_sentence_has_one_vector_alone_or_in_any_batch(tiny_model, row, float32):
    model = tiny_model(row)
    together = model.encode(TEXTS)
    assert together.shape == (4, model.config.embedding_dim) and together.dtype == np.float32
    np.testing.assert_allclose(together, np.concatenate([model.encode([s]) for s in TEXTS]), atol=1e-5)
    np.testing.assert_allclose(together, model.encode(TEXTS, batch_size=3), atol=1e-5)
    np.testing.assert_allclose(together[::-1], model.encode(TEXTS[::-1]), atol=1e-5)
    if row != "no_vector":
        assert np.abs(together[0] - together[1]).max() > 0.01


def test_padding_changes_nothing_with_real_weights(real, float32):
    np.testing.assert_allclose(real.encode(TEXTS), np.concatenate([real.encode([s]) for s in TEXTS]), atol=2e-5)


def test_with_the_real_precision_a_batch_differs_by_rounding_alone(real):
    """bfloat16, where the device has it, keeps three digits: that is all that a batch may change."""
    together, alone = real.encode(TEXTS), np.concatenate([real.encode([s]) for s in TEXTS])
    assert np.abs(together - alone).max() < 0.05 * together.std()


def test_no_sentence_gives_no_vector(tiny_model):
    model = tiny_model()
    assert model.encode([]).shape == (0, 32)
    assert model.decode(np.zeros((0, 32), dtype=np.float32)) == []


@pytest.mark.parametrize("texts, match", [
    (None, "got None"), ("oil", "write \\['oil'\\]"), ([""], "sentence 0 is empty"), ([None], "sentence 0"),
    (["oil", " "], "sentence 1 is empty"), (["oil " * 15], "17 word pieces"),
])  # fmt: skip
def test_a_text_that_cant_be_encoded_is_an_error(tiny_model, texts, match):
    with pytest.raises(ValueError, match=match):
        tiny_model().encode(texts)


def test_settings_that_name_no_model_build_none(tiny_settings, tiny_encoder):
    with pytest.raises(ValueError, match="name no model"):
        build_model(replace(tiny_settings, row=None), tiny_encoder)


# Decoding


@pytest.mark.parametrize(
    "bad, match",
    [
        (np.zeros((2, 31)), r"\(N, 32\).*\(2, 31\)"),
        (np.zeros(32), r"\(N, 32\).*\(32,\)"),
        (np.zeros((1, 2, 32)), r"\(1, 2, 32\)"),
        (torch.zeros(2, 33), r"\(2, 33\)"),
        ([[0.0] * 32, [float("nan")] * 32], r"\[1\].*NaN"),
        (np.full((1, 32), np.inf), "infinity"),
        (None, "32"), ([[0.0, 1.0], [2.0]], "32"), ([["a"] * 32], "32"), ([], r"\(0,\)"), ({}, "32"),
        # what numpy would make numbers of: text, yes and no, the real half of a complex number, what a mask hides
        ([["1"] * 32], "got <U1"), (np.ones((1, 32), bool), "got bool"), (torch.ones(1, 32) > 0, "got bool"),
        (np.ones((1, 32), complex), "got complex128"), (torch.ones(1, 32, dtype=torch.cfloat), "got complex64"),
        (np.ones((1, 32), object), "got object"), (np.zeros((1, 32), "M8[s]"), r"got datetime64\[s\]"),
        (np.ma.masked_equal(np.eye(1, 32), 0), r"\[0\] hold NaN"), (np.full((1, 32), 1e300), "finite in float32"),
        (torch.eye(2, 32).to_sparse(), "32"),
    ],
)  # fmt: skip
def test_a_vector_that_cant_be_decoded_is_named(tiny_model, bad, match):
    with pytest.raises(ValueError, match=match):
        tiny_model().decode(bad)


def test_vectors_may_be_lists_arrays_or_tensors(tiny_model):
    model = tiny_model()
    z = model.encode(TEXTS)
    decoded = model.decode(z)
    assert len(set(decoded)) > 1 and decoded == model.reconstruct(TEXTS)
    fixed = np.asfortranarray(z)
    fixed.flags.writeable = False
    for given in (
        torch.from_numpy(z), z.tolist(), z.astype(np.float64), list(z), list(torch.from_numpy(z)), fixed, z[::-1][::-1],
        np.repeat(z, 2, axis=0)[::2], torch.from_numpy(z).double(), torch.from_numpy(z).requires_grad_(),
        torch.from_numpy(z).t().contiguous().t(),
    ):  # fmt: skip
        assert model.decode(given) == decoded
    assert model.decode(z[::-1]) == decoded[::-1] and model.decode(z[::2]) == decoded[::2]


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_in_half_precision_encodes_and_decodes(tiny_model, tmp_path, row, dtype):
    model = tiny_model(row)
    z, other = model.encode(TEXTS), tiny_model(row).to(dtype)
    found = other.encode(TEXTS)
    assert found.dtype == np.float32 and np.abs(found - z).max() < 0.1
    assert other.decode(z) == other.decode(torch.from_numpy(z).to(dtype)) and len(other.decode(z)) == len(TEXTS)
    assert all(np.isfinite(d.log_probability) for d in other.decode(z, num_beams=2, return_scores=True))
    model.save_pretrained(tmp_path)
    again = InvertibleSentenceModel.from_pretrained(tmp_path, dtype=dtype)
    assert again.dtype == dtype and {p.dtype for p in again.parameters()} == {dtype}
    np.testing.assert_array_equal(again.encode(TEXTS), found)


def test_a_published_model_in_half_precision_gives_the_same_texts():
    for dtype in (torch.float16, torch.bfloat16):
        model = InvertibleSentenceModel.from_pretrained("hybrid_384_long", dtype=dtype)
        texts = ["wall street falls as tariffs kick in", "uber offers to share journey data with london city planners"]
        assert model.reconstruct(texts) == texts


def test_the_vectors_of_a_data_set_are_those_of_its_texts(tiny_model, tiny_material, float32):
    for row in ROWS:
        model = tiny_model(row)
        data = tiny_material.dataset("test", layers=model.reads_layers)
        texts = list(tiny_material.corpus.splits["test"]["text"])
        np.testing.assert_allclose(model.vectors_of(data), model.encode(texts), atol=5e-3)  # states are kept in float16
        assert (model.components is None) == (row != "hybrid")
    assert tiny_model("hybrid").components.shape == (32, tiny_model("hybrid").config.prefix_size)


def first_batch(material) -> dict[str, torch.Tensor]:
    return next(in_order(material.dataset("test"), where=device()))


def test_only_the_vector_reaches_the_decoder(tiny_model, tiny_material):
    """With the vector given, the sentence's token states change nothing."""
    model, batch = tiny_model(), first_batch(tiny_material)
    z = model(**batch)["sentence_embedding"].detach()
    given = model(**{**batch, "token_embeddings": torch.zeros_like(batch["token_embeddings"])}, sentence_embedding=z)
    assert torch.equal(given["states"], model(**batch)["states"])


def test_labels_are_every_piece_after_cls_and_no_padding(tiny_model, tiny_material):
    model, batch = tiny_model(), first_batch(tiny_material)
    out = model(**batch)
    expected = [i for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
                for i in row[: mask.sum()].tolist()[1:]]  # fmt: skip
    assert out["labels"].tolist() == expected
    assert out["states"].shape == (len(expected), model.config.n_embd)
    assert (out["labels"] == model.config.eos_token_id).sum() == len(batch["input_ids"])


def test_what_moves_the_vector_changes_no_precision(tiny_model, tiny_material):
    """Under autocast the pooling runs in bfloat16, whether or not training then moves its vectors."""
    model, batch, seen = tiny_model(), first_batch(tiny_material), []

    def move(z, given):
        seen.append((z.dtype, set(given)))
        return {**given, "sentence_embedding": z, "input_ids": given["input_ids"].flip(0)}

    with torch.autocast(model.device.type, torch.bfloat16):
        plain, moved = model(**batch), model(**batch, move=move)
    assert plain["sentence_embedding"].dtype == moved["sentence_embedding"].dtype == seen[0][0] == torch.bfloat16
    assert seen[0][1] >= {*batch, "sentence_embedding"}  # what says which headlines are real, too
    assert torch.equal(plain["sentence_embedding"], moved["sentence_embedding"])
    assert not torch.equal(plain["states"], moved["states"])  # the ids that it gave are decoded


def test_a_moved_batch_is_decoded_in_the_place_of_the_given_one(tiny_model, tiny_material):
    model, batch = tiny_model(), first_batch(tiny_material)
    z, ids = torch.randn(3, 32, device=model.device), torch.randint(5, 30, (3, 6), device=model.device)
    instead = {"sentence_embedding": z, "input_ids": ids, "attention_mask": torch.ones_like(ids)}
    moved, given = model(**batch, move=lambda *_: instead), model(ids, torch.ones_like(ids), sentence_embedding=z)
    assert torch.equal(moved["states"], given["states"]) and torch.equal(moved["labels"], given["labels"])


def test_several_threads_may_encode_at_once(tiny_model):
    model = tiny_model()
    short, long = ["oil falls"] * 8, ["oil falls on tariffs after weak data"] * 8
    expected = {True: model.encode(short), False: model.encode(long)}
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda k: model.encode(short if k % 2 else long), range(40)))
    for k, z in enumerate(found):
        np.testing.assert_allclose(z, expected[bool(k % 2)], atol=1e-6)


def test_a_text_ends_with_its_first_end_token():
    assert until_end([5, 6, 102, 7, 102], 102) == [5, 6, 102]
    assert until_end([5, 6], 102) == [5, 6]


# Saving and loading


@pytest.mark.parametrize("row", ROWS)
def test_a_saved_model_decodes_the_same_text(tiny_model, tmp_path, row):
    model = tiny_model(row)
    model.save_pretrained(tmp_path / "model")
    again = InvertibleSentenceModel.from_pretrained(tmp_path / "model")
    z = model.encode(TEXTS)
    np.testing.assert_array_equal(z, again.encode(TEXTS))
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


def test_unknown_options_are_errors(tiny_model, tmp_path):
    tiny_model().save_pretrained(tmp_path)
    for option in ("revison", "device_map", "trust_remote_code"):
        with pytest.raises(TypeError, match=option):
            InvertibleSentenceModel.from_pretrained(tmp_path, **{option: "x"})
    with pytest.raises(TypeError, match="dtype is 'float16'; give a torch.dtype"):
        InvertibleSentenceModel.from_pretrained(tmp_path, dtype="float16")
    with pytest.raises(TypeError, match="halff"):
        tiny_model().save_pretrained(tmp_path, halff=True)


def test_a_tilde_is_the_home_folder(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    tiny_model().save_pretrained("~/models/mine")
    assert (tmp_path / "models" / "mine" / "config.json").exists() and not (tmp_path / "~").exists()
    assert InvertibleSentenceModel.from_pretrained("~/models/mine").folder == tmp_path / "models" / "mine"


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 6658188\n"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("damage, match", [
    (lambda whole: whole[: len(whole) // 2], "is cut"), (lambda whole: b"", "is empty"),
    (lambda whole: POINTER, "git lfs pull"),
])  # fmt: skip
def test_a_damaged_file_is_named(tiny_model, tmp_path, name, damage, match):
    tiny_model().save_pretrained(tmp_path)
    file = tmp_path / name
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(OSError, match=f"{file}.*{match}"):
        InvertibleSentenceModel.from_pretrained(tmp_path)


def test_missing_weights_are_named(tiny_model, tmp_path):
    tiny_model().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}.*no weights"):
        InvertibleSentenceModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("changes, reason", [
    ({"embedding_dim": 64}, "size mismatch for pooling"), ({"n_layer": 1}, "Unexpected key"),
    ({"decoder": "lstm"}, "Missing key"), ({"slots": 5}, "5 equal slots"), ({"slots": 0}, "0 equal slots"),
    ({"n_embd": -4}, "negative dimension"),
])  # fmt: skip
def test_a_config_of_another_model_is_named(tiny_model, tmp_path, changes, reason):
    model = tiny_model()
    model.save_pretrained(tmp_path)
    for key, value in changes.items():
        setattr(model.config, key, value)
    model.config.write(tmp_path)
    with pytest.raises(ValueError, match=f"{tmp_path}: config.json does not fit .*: .*{reason}.*from one model"):
        InvertibleSentenceModel.from_pretrained(tmp_path)


def test_the_encoding_half_is_saved_and_loaded(tiny_model, tmp_path, float32):
    """By sentence-transformers alone, as anybody does; its vectors are the model's."""
    from sentence_transformers import SentenceTransformer

    for row in ("att_pool", "hybrid", "rnn"):
        model = tiny_model(row)
        model.to_sentence_transformer().save_pretrained(str(tmp_path / row))
        again = SentenceTransformer(str(tmp_path / row), trust_remote_code=True)
        assert again.get_embedding_dimension() == model.config.embedding_dim
        np.testing.assert_allclose(again.encode(TEXTS), model.encode(TEXTS), atol=2e-5)


@pytest.mark.slow  # the import of sentence-transformers alone takes 10 s
def test_the_encoding_half_is_loaded_in_another_process(tiny_model, tmp_path):
    model = tiny_model("hybrid")
    model.to_sentence_transformer().save_pretrained(str(tmp_path / "half"))
    np.save(tmp_path / "z.npy", model.encode(TEXTS))
    code = (
        "import numpy as np, sys; from sentence_transformers import SentenceTransformer\n"
        "z = SentenceTransformer('half', trust_remote_code=True).encode(sys.argv[1:])\n"
        "np.testing.assert_allclose(z, np.load('z.npy'), atol=1e-6)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *TEXTS], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_encoding_half_can_be_trained_further(tiny_model, tiny_encoder):
    model = tiny_model()
    other = model.to_sentence_transformer()
    features = other.preprocess(TEXTS)
    other(features)["sentence_embedding"].pow(3).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.pooling.proj.parameters())
    assert all(p.grad is None for p in tiny_encoder.model.parameters())


def test_the_encoding_half_needs_no_saving(real, float32):
    np.testing.assert_allclose(real.to_sentence_transformer().encode(TEXTS), real.encode(TEXTS), atol=2e-5)


def test_a_prompt_stands_before_each_text(tiny_model, float32):
    model = tiny_model()
    found = model.to_sentence_transformer().encode(["falls", "rises again"], prompt="oil ")
    np.testing.assert_allclose(found, model.encode(["oil falls", "oil rises again"]), atol=2e-5)


def test_the_encoding_half_refuses_what_encode_refuses(tiny_model):
    """A text that is too long is not cut off in silence."""
    model = tiny_model()
    for encode in (model.encode, model.to_sentence_transformer().encode):
        with pytest.raises(ValueError, match=f"word pieces.*at most {model.config.max_length} fit.*'oil oil"):
            encode([*TEXTS, "oil " * model.config.max_length])
        with pytest.raises(ValueError, match="is empty"):
            encode([*TEXTS, " "])


# Shapes


@pytest.mark.parametrize("row", ROWS)
def test_sentences_of_128_word_pieces_are_encoded_and_decoded(tiny_model, long_encoder, tiny_settings, row):
    dims = {"cls_decoder": 32, "hybrid": 512, "multi_query": 508 if row == "multi_query" else 512}
    shape = {"numbers_per_piece": 8, "encoder_layers": ("word", "last")} if row == "hybrid" else {}
    if row == "multi_query":
        shape = {"queries": 127}
    settings = replace(
        tiny_settings, row=row, embedding_dim=dims.get(row, 32), max_length=128, n_positions=128, **shape
    )
    model = build_model(settings, long_encoder).eval()
    texts = ["oil " * 126, "gold", "oil falls " * 50]
    z = model.encode(texts)
    assert z.shape == (3, dims.get(row, 32)) and all(len(ids) <= 127 for ids in model.generate_ids(z))
    np.testing.assert_allclose(z[:1], model.encode(texts[:1]), atol=2e-2)
    if row == "hybrid":
        assert model.config.slots == 127 and length_size(127) == 10
        code = torch.from_numpy(z[:, model.config.prefix_size :]) * model.decoder.memory.code_scale
        assert read_length(code[:, :10], 127).tolist() == [127, 2, 101]  # the end token counts
    with pytest.raises(ValueError, match="129 word pieces.*at most 128"):
        model.encode(["oil " * 127])


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
    for row in ("rnn", "encoder_only"):
        config = model_config(replace(tiny_settings, row="no_vector", variant=row))
        assert (config.pooling, config.decoder) == ("constant", model_config(replace(tiny_settings, row=row)).decoder)


def test_a_wide_hybrid_has_a_prefix_of_the_encoders_width():
    """About a third of the vector, and never more than the encoder's sentence embedding has."""
    for dim, prefix in ((128, 43), (384, 128), (768, 256), (2560, 384)):
        settings = load_preset("study", row="hybrid", embedding_dim=dim)
        with torch.device("meta"):
            model = InvertibleSentenceModel(model_config(settings, hidden_size=384, vocab_size=30522))
        assert model.config.prefix_size == prefix == model.pooling.components.shape[1]


def test_a_search_needs_a_beam(tiny_model):
    with pytest.raises(ValueError, match="num_beams=0"):
        tiny_model().decode(np.zeros((1, 32)), num_beams=0)
