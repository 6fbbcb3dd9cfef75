"""What may be tokenized, and what the word pieces of three kinds of tokenizers are."""

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from sentence_transformers import SentenceTransformer

from invlib.encoders.frozen import FrozenEncoder, load_encoder
from invlib.encoders.word_pieces import continues_word, listed

TEXTS = ["oil falls", "gold"]


@pytest.mark.parametrize(
    "texts",
    [
        TEXTS, tuple(TEXTS), np.array(TEXTS), np.array(TEXTS, object), pd.Series(TEXTS), pd.Series(TEXTS, [7, 3]),
        pd.Index(TEXTS), Dataset.from_dict({"text": TEXTS})["text"], (text for text in TEXTS),
        dict(enumerate(TEXTS)).values(),
    ],
)  # fmt: skip
def test_what_is_a_list_of_sentences(tiny_encoder, texts):
    assert listed(texts) == TEXTS and not any(type(text) is not str for text in listed(TEXTS))
    if not hasattr(texts, "__next__"):
        assert tiny_encoder.check_texts(texts) == TEXTS
        assert tiny_encoder.sentence_embedding(texts).shape == (2, 32)


@pytest.mark.parametrize(
    "texts, words",
    [
        ("oil falls", r"got one str; write \['oil falls'\]"),
        (b"oil falls", "got bytes b.oil falls.; decode"),
        (pd.DataFrame({"Headlines": TEXTS, "Time": TEXTS}), "DataFrame; give one of its columns .'Headlines', 'Time'"),
        (Dataset.from_dict({"text": TEXTS}), "got a Dataset; give one of its columns .'text'"),
        ({"oil": 1}, r"got a dict.*list\(texts.values"),
        ({"oil", "gold"}, r"got a set, which has no order; give sorted\(texts\)"),
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
    for refused in (tiny_encoder.sentence_embedding, tiny_encoder.tokenize, tiny_encoder.check_texts):
        with pytest.raises(ValueError, match="sentence"):
            refused(texts)


def test_which_pieces_go_on_with_a_word(minilm):
    ids = minilm.tokenizer.convert_tokens_to_ids(["##ing", "bank", "[SEP]", ".", "the"])
    found = minilm.continues_word()
    assert found.shape == (30522,) and found[ids].tolist() == [True, False, False, False, False]
    assert minilm.piece_text(minilm.input_ids(["Banks unrestructured"])[0]) == [
        " [CLS]", " banks", " unrest", "ructured", " [SEP]",
    ]  # fmt: skip
    wider = continues_word(minilm.tokenizer, minilm.vocab_size + 8)
    assert wider[: minilm.vocab_size].equal(found) and not wider[minilm.vocab_size :].any()


@pytest.fixture(params=["byte_level_folder", "sentencepiece_folder"])
def other_folder(request):
    return request.getfixturevalue(request.param)


def test_other_tokenizers_know_where_words_begin(other_folder):
    """A piece starts a word where the text between two spaces starts; the first one of a text always does."""
    encoder, text = load_encoder(other_folder), "the old central bank holds unsteady"
    (ids,) = encoder.input_ids([text])
    continues = encoder.continues_word()[ids].tolist()
    words = []
    for piece, goes_on in zip(encoder.piece_text(ids)[1:-1], continues[1:-1], strict=True):
        if words and goes_on:
            words[-1] += piece
        else:
            words.append(piece.strip())
    assert words == text.split()
    assert not continues[0] and not continues[-1] and len(ids) > 2 + len(words)
    assert encoder.text([ids]) == [text]


def test_other_tokenizers_random_pieces(other_folder):
    encoder = load_encoder(other_folder)
    names = encoder.tokenizer.convert_ids_to_tokens(encoder.ordinary_pieces().tolist())
    assert not {"<s>", "</s>", "<pad>", "<unk>", "<mask>"} & set(names)
    assert len(names) == len(encoder.tokenizer) - 5


def test_other_tokenizers_encode_as_sentence_transformers(other_folder, sentences, float32):
    encoder = load_encoder(other_folder)
    assert encoder.max_length == 64  # of its 66 positions two belong to padding
    ours, theirs = encoder.sentence_embedding(sentences[:9]), SentenceTransformer(other_folder).encode(sentences[:9])
    np.testing.assert_allclose(ours.numpy(), theirs, atol=2e-6)
    assert encoder.sentence_embedding(["oil " * 90], max_length=64).shape == (1, 32)


def test_a_mark_in_a_sentence_is_text_or_refused(byte_level_folder, sentencepiece_folder):
    text = "the </s> token"
    encoder = load_encoder(byte_level_folder)
    assert encoder.text(encoder.input_ids([text])) == [text]
    with pytest.raises(ValueError, match="sentence 0 holds the tokenizer's own mark '</s>'; take it out"):
        load_encoder(sentencepiece_folder).input_ids([text])  # whose own pieces may spell it


@pytest.mark.parametrize("token", ["cls_token", "sep_token", "pad_token", "unk_token"])
def test_a_tokenizer_without_a_special_token_is_refused(tiny_copy, change_json, token):
    import json

    from transformers import AutoTokenizer

    path = tiny_copy / "tokenizer_config.json"
    config = json.loads(path.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast", token: None}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    assert getattr(AutoTokenizer.from_pretrained(tiny_copy), token) is None
    with pytest.raises(ValueError, match=f"can't be used: its tokenizer has no {token}.*BERT"):
        load_encoder(str(tiny_copy))


def test_a_tokenizer_that_writes_no_special_tokens_is_refused(tiny_copy, change_json):
    change_json(tiny_copy / "tokenizer.json", post_processor=None)
    change_json(tiny_copy / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    with pytest.raises(ValueError, match=r"does not write \[CLS\] text \[SEP\]"):
        load_encoder(str(tiny_copy))


@pytest.mark.parametrize("start", [None, "Whitespace"])
def test_a_tokenizer_that_hides_where_words_begin_is_refused(tiny_encoder, start):
    """One that marks the ends of words, as CLIP's, and one that cuts across spaces."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<s>": 0, "</s>": 1, "<pad>": 2, "<unk>": 3, "a": 4, "a</w>": 5}
    bpe = Tokenizer(models.BPE(vocabulary, [], end_of_word_suffix="</w>"))
    if start:
        bpe.pre_tokenizer = getattr(pre_tokenizers, start)()
    names = {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    with pytest.raises(ValueError, match="'clip' can't be used: its tokenizer does not say where words begin"):
        FrozenEncoder("clip", tiny_encoder.model, PreTrainedTokenizerFast(tokenizer_object=bpe, **names))
