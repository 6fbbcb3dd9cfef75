"""What may be tokenized, and with which tokenizers."""

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from sentence_transformers import SentenceTransformer

from invlib.encoders.frozen import FrozenEncoder, load_encoder
from invlib.encoders.word_pieces import listed

TEXTS = ["oil falls", "gold"]


@pytest.mark.parametrize(
    "texts",
    [
        TEXTS, tuple(TEXTS), np.array(TEXTS), np.array(TEXTS, object), pd.Series(TEXTS), pd.Series(TEXTS, [7, 3]),
        pd.Index(TEXTS), Dataset.from_dict({"text": TEXTS})["text"], (text for text in TEXTS),
        dict(enumerate(TEXTS)).values(), dict.fromkeys(TEXTS).keys(),
    ],
)  # fmt: skip
def test_what_is_a_list_of_sentences(tiny_encoder, texts):
    assert listed(texts) == TEXTS and not any(type(text) is not str for text in listed(TEXTS))
    if not hasattr(texts, "__next__"):
        assert tiny_encoder.input_ids(texts) == tiny_encoder.input_ids(TEXTS)
        assert tiny_encoder.sentence_embedding(texts).shape == (2, 32)


@pytest.mark.parametrize(
    "texts, words",
    [
        ("oil falls", r"got one str; write \['oil falls'\]"),
        (b"oil falls", "got a bytes; give the sentences as a list of str"),
        (pd.DataFrame({"Headlines": TEXTS, "Time": TEXTS}), "DataFrame; give one of its columns .'Headlines', 'Time'"),
        (Dataset.from_dict({"text": TEXTS}), "got a Dataset; give one of its columns .'text'"),
        ({"oil": 1}, "got a dict; give the sentences as a list of str"),
        ({"oil", "gold"}, "got a set; give"),
        (3, "expected a list of sentences, got 3"),
        (None, "got None"),
        (np.array("oil"), "expected a list"),
        ([["oil", "gold"]], "sentence 0 is no text but list.*flat list"),
        (np.array([["oil"], ["gold"]]), "sentence 0 is no text but ndarray.*flat list"),
        (["oil", b"gold"], "sentence 1 is no text but bytes"),
        (["oil", None], "sentence 1 is no text but NoneType: None"),
        (["oil", float("nan")], "sentence 1 is no text but float: nan"),
        ([{"text": "oil"}], "sentence 0 is no text but dict"),
        (["oil", ""], "sentence 1 is empty"),
        (["oil", "  \n"], "sentence 1 is empty"),
        (["\u200b"], "no word piece"),
        (["oil", "half \ud83d a smile"], r"sentence 1 holds half a character.*'half \\ud83d a smile'"),
        (["oil", "oil " * 20], "sentence 1 has 22 word pieces.*at most 16"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_sentences_is_named(tiny_encoder, texts, words):
    with pytest.raises(ValueError, match=words):
        tiny_encoder.input_ids(texts, 16)


@pytest.mark.parametrize("texts", ["oil", {"oil": 1}, pd.DataFrame({"a": TEXTS}), [["oil"]], ["\ud83d"]])
def test_nothing_else_is_embedded_or_cut(tiny_encoder, texts):
    for refused in (tiny_encoder.sentence_embedding, tiny_encoder.tokenize, tiny_encoder.input_ids):
        with pytest.raises(ValueError, match="sentence"):
            refused(texts)


def test_which_pieces_go_on_with_a_word(minilm):
    ids = minilm.tokenizer.convert_tokens_to_ids(["##ing", "bank", "[SEP]", ".", "the"])
    found = minilm.continues_word()
    assert found.shape == (30522,) and found[ids].tolist() == [True, False, False, False, False]
    assert minilm.piece_text(minilm.input_ids(["Banks unrestructured"])[0]) == [
        " [CLS]", " banks", " unrest", "ructured", " [SEP]",
    ]  # fmt: skip


def test_an_mpnet_is_an_encoder(mpnet_folder, sentences, float32):
    """Its special tokens have other names, and of its 66 positions two belong to padding."""
    encoder, texts = load_encoder(mpnet_folder), [*sentences[:9], "oil " * 62]
    assert encoder.max_length == 64 == len(encoder.input_ids(texts)[-1])
    ours, theirs = encoder.sentence_embedding(texts), SentenceTransformer(mpnet_folder).encode(texts)
    np.testing.assert_allclose(ours.numpy(), theirs, atol=2e-6)
    (ids,) = encoder.input_ids(["oil </s> <pad> gold"])  # marks are text
    assert not {encoder.bos_token_id, encoder.eos_token_id, encoder.pad_token_id} & set(ids[1:-1])
    names = encoder.tokenizer.convert_ids_to_tokens(encoder.ordinary_pieces().tolist())
    assert not {"<s>", "</s>", "<pad>", "[UNK]", "<mask>"} & set(names) and len(names) == encoder.vocab_size - 5


@pytest.mark.parametrize(
    "kind, start, options",
    [
        ("BPE", "ByteLevel", {}),  # RoBERTa's: 'Ġ' before a word
        ("Unigram", "Metaspace", {}),  # XLM-RoBERTa's: '▁' before a word
        ("BPE", None, {"end_of_word_suffix": "</w>"}),  # CLIP's
        ("WordPiece", "WhitespaceSplit", {}),  # a typed '[SEP]' would be the mark
        ("WordPiece", "BertPreTokenizer", {"continuing_subword_prefix": "@@"}),
    ],
)
def test_another_tokenizer_than_berts_is_refused(tiny_encoder, kind, start, options):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<s>", "</s>", "<pad>", "<unk>", "a", "##a"]
    vocabulary = [(name, -1.0) for name in names] if kind == "Unigram" else {name: i for i, name in enumerate(names)}
    more = {"BPE": {"merges": []}, "Unigram": {"unk_id": 3}, "WordPiece": {"unk_token": "<unk>"}}[kind]
    tokenizer = Tokenizer(getattr(models, kind)(vocabulary, **more, **options))
    if start:
        tokenizer.pre_tokenizer = getattr(pre_tokenizers, start)()
    marks = {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks)
    with pytest.raises(ValueError, match="'other' can't be used: its tokenizer is not BERT's WordPiece.*MPNet"):
        FrozenEncoder("other", tiny_encoder.model, fast)


@pytest.mark.parametrize("token", ["cls_token", "sep_token", "pad_token", "unk_token", None])
def test_a_tokenizer_without_special_tokens_is_refused(tiny_copy, change_json, token):
    changed = {"tokenizer_class": "PreTrainedTokenizerFast", **({token: None} if token else {})}
    change_json(tiny_copy / "tokenizer_config.json", **changed)
    if token is None:
        change_json(tiny_copy / "tokenizer.json", post_processor=None)
    with pytest.raises(ValueError, match=r"its tokenizer does not write \[CLS\] text \[SEP\], or has no \[PAD\]"):
        load_encoder(str(tiny_copy))
