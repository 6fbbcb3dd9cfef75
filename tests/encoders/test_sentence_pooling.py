"""An encoder's own sentence embedding is what sentence-transformers makes of the same folder, or it is refused."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from invlib.encoders.frozen import load_encoder
from invlib.encoders.hub import hub_folder
from invlib.encoders.sentence_pooling import DEFAULT, MODES, pool_tokens, read_pooling
from invlib.paths import read_json, write_json


@pytest.mark.parametrize("kind", ["cls", "max", "mean", "mean, normalized", "cls, normalized"])
def test_an_encoders_own_modules_make_its_sentence_embedding(with_modules, kind, sentences, float32):
    folder, texts = with_modules(kind), [*sentences[:10], "Gold RISES", "oil " * 70]
    encoder = load_encoder(folder)
    ours, theirs = encoder.sentence_embedding(texts, batch_size=4), SentenceTransformer(folder).encode(texts)
    assert encoder.sentence_pooling == kind
    assert ours.shape == (12, 32) and ours.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), theirs, atol=2e-6)
    assert encoder.sentence_embedding([]).shape == (0, 32)


def test_a_folder_without_modules_has_the_plain_mean(tiny_encoder, tiny_folder, sentences, float32):
    ours, theirs = (
        tiny_encoder.sentence_embedding(sentences[:9]),
        SentenceTransformer(tiny_folder).encode(sentences[:9]),
    )
    np.testing.assert_allclose(ours.numpy(), theirs, atol=2e-6)
    assert tiny_encoder.sentence_pooling == "mean"
    assert (ours.norm(dim=1) - 1).abs().min() > 0.1


@pytest.mark.parametrize("mode", ["cls", "max", "mean"])
def test_older_folders_name_their_pooling_by_flags(with_modules, change_json, mode, sentences, float32):
    folder = with_modules("lasttoken")
    flags = {f"pooling_mode_{key}": key.startswith(mode) for key in ("cls_token", "max_tokens", "mean_tokens")}
    write_json(Path(folder, "1_Pooling", "config.json"), {"word_embedding_dimension": 32, **flags})
    change_json(Path(folder, "sentence_bert_config.json"), max_seq_length=24)
    encoder, texts = load_encoder(folder), [*sentences[:5], "oil " * 30]
    assert (encoder.sentence_pooling, encoder.max_length) == (mode, 24)
    np.testing.assert_allclose(
        encoder.sentence_embedding(texts).numpy(), SentenceTransformer(folder).encode(texts), atol=2e-6
    )


@pytest.mark.parametrize(
    "kind, words",
    [
        ("dense", "is made of Transformer, Pooling, Dense, Normalize"), ("cls+mean", "by cls.mean"),
        ("mean_sqrt_len_tokens", "by mean_sqrt_len_tokens"), ("lasttoken", "by lasttoken"),
    ],
)  # fmt: skip
def test_other_modules_are_refused(with_modules, kind, words):
    with pytest.raises(ValueError, match=f"encoder '.*' .*{words}; this workbook can use.*cls, max, mean.*choose"):
        load_encoder(with_modules(kind))


def test_several_older_flags_are_refused(with_modules):
    folder = with_modules("mean")
    flags = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True, "pooling_mode_max_tokens": False}
    write_json(Path(folder, "1_Pooling", "config.json"), {"word_embedding_dimension": 32, **flags})
    with pytest.raises(ValueError, match="by mean.cls"):
        load_encoder(folder)


def test_what_else_would_change_the_embedding_is_refused(with_modules, change_json):
    folder = Path(with_modules("max"))
    prompts = {"query": "query: ", "none": ""}
    change_json(folder / "config_sentence_transformers.json", prompts=prompts, default_prompt_name="query")
    with pytest.raises(ValueError, match="'query: ' before every sentence.*default_prompt_name"):
        load_encoder(str(folder))
    change_json(folder / "config_sentence_transformers.json", default_prompt_name="none")
    assert load_encoder(str(folder)).sentence_pooling == "max"
    change_json(folder / "sentence_bert_config.json", do_lower_case=True)
    with pytest.raises(ValueError, match="do_lower_case"):
        read_pooling(folder)
    first, *rest = read_json(folder / "modules.json")
    for changed, words in (
        ({"type": "their_code.Transformer"}, "their_code.Transformer"),
        ({"path": "0_BERT"}, "0_BERT"),
    ):
        write_json(folder / "modules.json", [first | changed, *rest])
        with pytest.raises(ValueError, match=words):
            read_pooling(folder)


def test_the_hash_follows_the_pooling(with_modules, minilm):
    """The embedded encoder keeps its hash: models that were trained on it say that they need it."""
    assert (minilm.hash, minilm.sentence_pooling) == ("c0a3fd4116b6", "mean, normalized")
    assert len({load_encoder(with_modules(kind)).hash for kind in ("cls", "mean", "mean, normalized")}) == 3


@pytest.mark.parametrize("kind", ["cls", "max", "mean, normalized"])
def test_pooling_is_differentiable_and_padding_changes_nothing(with_modules, kind):
    encoder = load_encoder(with_modules(kind))
    states = torch.randn(2, 5, 32, requires_grad=True)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    pooled = encoder.pool(states, mask)
    pooled[:, 0].sum().backward()
    assert states.grad.abs().sum() > 0 and states.grad[0, 3:].abs().max() == 0
    torch.testing.assert_close(encoder.pool(states[:1, :3], mask[:1, :3]), pooled[:1])


def test_pooling_of_token_states_by_hand():
    states, mask = torch.tensor([[[3.0, 4], [1, 8], [9, 9]]]), torch.tensor([[1, 1, 0]])
    assert [pool_tokens(states, mask, mode)[0].tolist() for mode in MODES] == [[3, 4], [3, 8], [2, 6]]
    with pytest.raises(ValueError, match="'median'.*cls, max, mean"):
        pool_tokens(states, mask, "median")


def test_the_default_encoder_needs_neither_sentence_transformers_nor_datasets():
    """Each takes seconds to import, in every notebook."""
    code = "import sys, invlib.encoders.frozen; print({'sentence_transformers', 'datasets', 'pandas'} & {*sys.modules})"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
    assert read_pooling(hub_folder("minilm")) == (DEFAULT, 256)
