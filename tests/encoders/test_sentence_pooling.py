"""An encoder's own sentence embedding is what sentence-transformers makes of the same folder."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from invlib.encoders.frozen import load_encoder
from invlib.encoders.hub import hub_folder
from invlib.encoders.sentence_pooling import DEFAULT, MODES, describe, load_modules, mean_pooling, pool_tokens
from invlib.paths import read_json, write_json

KINDS = {  # the folder's modules -> how they are called, and the width of the embedding
    "cls": ("cls", 32),
    "max": ("max", 32),
    "mean": ("mean", 32),
    "mean, normalized": ("mean, normalized", 32),
    "mean_sqrt_len_tokens": ("mean_sqrt_len_tokens", 32),
    "weightedmean": ("weightedmean", 32),
    "lasttoken": ("lasttoken", 32),
    "cls+mean": ("cls+mean", 64),
    "dense": ("mean, Dense 32 to 16 (Tanh), normalized", 16),
    "dense first": ("Dense 32 to 8 (Tanh), mean", 8),
    "layer norm": ("mean, LayerNorm", 32),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoders_own_modules_make_its_sentence_embedding(with_modules, kind, sentences, float32):
    folder, texts = with_modules(kind), [*sentences[:10], "Gold RISES"]
    encoder = load_encoder(folder)
    ours, theirs = encoder.sentence_embedding(texts, batch_size=4), SentenceTransformer(folder).encode(texts)
    assert (encoder.sentence_pooling, encoder.sentence_size) == KINDS[kind]
    assert ours.shape == (11, encoder.sentence_size) and ours.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), theirs, atol=2e-6)
    assert encoder.sentence_embedding([]).shape == (0, encoder.sentence_size)


def test_a_folder_without_modules_has_the_plain_mean(tiny_encoder, tiny_folder, sentences, float32):
    ours, theirs = (
        tiny_encoder.sentence_embedding(sentences[:9]),
        SentenceTransformer(tiny_folder).encode(sentences[:9]),
    )
    np.testing.assert_allclose(ours.numpy(), theirs, atol=2e-6)
    assert tiny_encoder.sentence_pooling == "mean"
    assert (ours.norm(dim=1) - 1).abs().min() > 0.1


@pytest.mark.parametrize("mode", ["cls", "max", "mean"])
def test_older_folders_name_their_pooling_by_flags(with_modules, mode, sentences, float32):
    folder = with_modules("lasttoken")
    flags = {f"pooling_mode_{key}": key.startswith(mode) for key in ("cls_token", "max_tokens", "mean_tokens")}
    write_json(Path(folder, "1_Pooling", "config.json"), {"word_embedding_dimension": 32, **flags})
    encoder = load_encoder(folder)
    assert encoder.sentence_pooling == mode
    theirs = SentenceTransformer(folder).encode(sentences[:5])
    np.testing.assert_allclose(encoder.sentence_embedding(sentences[:5]).numpy(), theirs, atol=2e-6)


def test_a_transformer_in_a_folder_of_its_own_and_lower_case(with_modules, change_json, sentences, float32):
    """As older sentence-transformers folders have them; a cased tokenizer is then made to lower the case."""
    folder = Path(with_modules("cls"))
    (folder / "0_Transformer").mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).rename(folder / "0_Transformer" / name)
    first, *rest = read_json(folder / "modules.json")
    write_json(folder / "modules.json", [first | {"path": "0_Transformer"}, *rest])
    tokenizer = read_json(folder / "0_Transformer" / "tokenizer.json")
    tokenizer["normalizer"]["lowercase"] = False
    write_json(folder / "0_Transformer" / "tokenizer.json", tokenizer)
    change_json(folder / "0_Transformer" / "tokenizer_config.json", do_lower_case=False)
    change_json(folder / "0_Transformer" / "sentence_bert_config.json", do_lower_case=True, max_seq_length=24)
    encoder, texts = load_encoder(str(folder)), [sentences[0].upper(), *sentences[:4]]
    assert encoder.max_length == 24
    assert encoder.input_ids(texts[:1]) == encoder.input_ids(texts[1:2])
    theirs = SentenceTransformer(str(folder)).encode(texts)
    np.testing.assert_allclose(encoder.sentence_embedding(texts, 24).numpy(), theirs, atol=2e-6)


def test_what_cant_be_applied_is_refused(with_modules, change_json):
    with pytest.raises(ValueError, match="WordWeights.*Transformer, then Pooling.*choose another"):
        load_encoder(with_modules("word weights"))
    folder = Path(with_modules("cls"))
    first, *rest = read_json(folder / "modules.json")
    write_json(folder / "modules.json", [first | {"type": "their_code.Transformer"}, *rest])
    with pytest.raises(ValueError, match="their_code.Transformer"):
        load_encoder(str(folder))
    folder = Path(with_modules("max"))
    prompts = {"query": "query: ", "none": ""}
    change_json(folder / "config_sentence_transformers.json", prompts=prompts, default_prompt_name="query")
    with pytest.raises(ValueError, match="'query: ' before every sentence.*default_prompt_name"):
        load_encoder(str(folder))
    change_json(folder / "config_sentence_transformers.json", default_prompt_name="none")
    assert load_encoder(str(folder)).sentence_pooling == "max"


def test_the_hash_follows_the_pooling(with_modules, minilm):
    """The embedded encoder keeps its hash: models that were trained on it say that they need it."""
    assert (minilm.hash, minilm.sentence_pooling) == ("c0a3fd4116b6", "mean, normalized")
    folders = {kind: with_modules(kind) for kind in ("cls", "mean", "mean, normalized", "dense")}
    hashes = {kind: load_encoder(folder).hash for kind, folder in folders.items()}
    assert len(set(hashes.values())) == 4
    from safetensors.torch import load_file, save_file

    path = Path(folders["dense"], "2_Dense", "model.safetensors")
    save_file({name: tensor * 1.1 for name, tensor in load_file(path).items()}, path)
    load_encoder.cache_clear()
    assert load_encoder(folders["dense"]).hash != hashes["dense"]


@pytest.mark.parametrize("kind", ["cls", "max", "dense"])
def test_pooling_is_differentiable_and_padding_changes_nothing(with_modules, kind):
    encoder = load_encoder(with_modules(kind))
    states = torch.randn(2, 5, 32, requires_grad=True)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    pooled = encoder.pool(states, mask)
    pooled.sum().backward()
    assert pooled.shape == (2, encoder.sentence_size)
    assert states.grad.abs().sum() > 0 and states.grad[0, 3:].abs().max() == 0
    torch.testing.assert_close(encoder.pool(states[:1, :3], mask[:1, :3]), pooled[:1])


def test_pooling_of_token_states_by_hand():
    states, mask = torch.tensor([[[3.0, 4], [1, 8], [9, 9]]]), torch.tensor([[1, 1, 0]])
    assert [pool_tokens(states, mask, mode)[0].tolist() for mode in MODES] == [[3, 4], [3, 8], [2, 6]]
    torch.testing.assert_close(mean_pooling(states, mask), torch.tensor([[2.0, 6]]) / 40**0.5)
    with pytest.raises(ValueError, match="'median'.*cls, max, mean"):
        pool_tokens(states, mask, "median")


def test_the_default_encoder_needs_neither_sentence_transformers_nor_datasets(monkeypatch):
    """Each takes seconds to import, in every notebook."""
    code = "import sys, invlib.encoders.frozen; print({'sentence_transformers', 'datasets', 'pandas'} & {*sys.modules})"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
    for name in ("sentence_transformers", "sentence_transformers.sentence_transformer", "datasets"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it is now an error
    modules, settings = load_modules(hub_folder("minilm"))
    assert (describe(modules), settings["path"], settings["max_seq_length"]) == (DEFAULT, "", 256)
