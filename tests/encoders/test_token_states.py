"""The cache of token states: it holds what the encoder gives, and can't go stale."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from invlib.encoders import frozen
from invlib.encoders import token_states as token_states_module
from invlib.encoders.frozen import load_encoder
from invlib.encoders.token_states import SelectedStates, cache_key, token_states


@pytest.fixture
def counted(tiny_encoder, monkeypatch):
    """The tiny encoder, and a list that grows by one at each batch it encodes."""
    calls, real = [], tiny_encoder.token_embeddings
    monkeypatch.setattr(tiny_encoder, "token_embeddings", lambda *a, **k: calls.append(1) or real(*a, **k))
    return tiny_encoder, calls


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
    assert {int(states.input_ids(i)[-1]) for i in range(2)} == {tiny_encoder.eos_token_id}
    assert states.input_ids(0)[-1] == tiny_encoder.eos_token_id


def test_texts_that_were_cut_are_counted(tiny_encoder, tmp_path):
    texts = ["oil " * 30, "gold", "oil " * 8, "oil " * 9]  # with [CLS] and [SEP] 32, 3, 10 and 11
    for _ in range(2):  # computed, then read
        assert token_states(tiny_encoder, texts, max_length=10, cache=tmp_path, progress=False).n_cut == 2
    assert token_states(tiny_encoder, texts, max_length=32, cache=tmp_path, progress=False).n_cut == 0
    assert token_states(tiny_encoder, [[2, 5, 3]], max_length=10, cache=tmp_path, progress=False).n_cut == 0


def test_what_cant_be_encoded_is_refused(tiny_encoder, tmp_path):
    with pytest.raises(ValueError, match="0 texts.*at least one"):
        token_states(tiny_encoder, [], cache=tmp_path, progress=False)
    with pytest.raises(ValueError, match="batches of -1"):
        token_states(tiny_encoder, ["oil"], cache=tmp_path, batch_size=-1, progress=False)
    with pytest.raises(ValueError, match="max_length 65 is not between 3 and the 64"):
        token_states(tiny_encoder, ["oil"], max_length=65, cache=tmp_path, progress=False)


def test_a_place_that_cant_be_written_is_named(tiny_encoder, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(OSError, match="cache, which can't be written.*copy the repository"):
        token_states(tiny_encoder, ["oil"], cache=tmp_path / "cache", progress=False)


def test_the_sentence_embedding_is_the_encoders_own(tiny_copy, with_modules, sentences, tmp_path, float32):
    """Stored under a key of its own."""
    mean, largest = load_encoder(str(tiny_copy)), load_encoder(with_modules("max"))
    assert cache_key(mean, sentences[:5], 16) != cache_key(largest, sentences[:5], 16)
    states = token_states(largest, sentences[:5], max_length=16, cache=tmp_path, progress=False)
    np.testing.assert_allclose(states.sentence, largest.sentence_embedding(sentences[:5], 16).numpy(), atol=1e-6)


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


def test_some_of_the_texts_have_their_own_states(tiny_encoder, sentences, tmp_path):
    whole = token_states(tiny_encoder, sentences[:8], 16, cache=tmp_path, progress=False)
    some = SelectedStates(whole, [5, 0, 6])
    assert len(some) == 3 and some.n_cut is None
    for k, i in enumerate([5, 0, 6]):
        np.testing.assert_array_equal(some.input_ids(k), whole.input_ids(i))
        np.testing.assert_array_equal(some.token_embeddings(k), whole.token_embeddings(i))
        np.testing.assert_array_equal(some.sentence[k], whole.sentence[i])
