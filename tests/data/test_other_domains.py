"""The sentences from other domains: how many, how long, none unknown to the encoder, none twice."""

import pandas as pd
import pytest

from invlib import paths
from invlib.data.duplicates import duplicate_groups
from invlib.data.headlines import clean, other_domains

DOMAINS = ["medicine", "sport", "cooking", "law", "chat", "code", "names", "numbers"]


@pytest.fixture(scope="module")
def frame():
    return pd.read_csv(paths.DATA / "other_domains.csv")


def test_every_domain_is_on_both_sides(frame):
    assert list(frame.columns) == ["domain", "split", "text"] and not frame.isna().any(axis=None)
    assert list(frame["domain"].unique()) == DOMAINS and (frame["domain"].value_counts() == 25).all()
    counts = frame.groupby(["domain", "split"]).size().unstack()
    assert counts.isin([12, 13]).all(axis=None) and counts.sum().to_dict() == {"development": 100, "test": 100}
    for _, rows in frame.groupby("domain"):
        assert (rows["split"] != rows["split"].shift()).all()  # they alternate


def test_every_sentence_can_be_encoded_and_given_back(frame, minilm):
    texts = frame["text"].tolist()
    assert len(minilm.input_ids(texts, max_length=40)) == len(texts)
    assert all(minilm.unk_token_id not in ids for ids in minilm.tokenizer(texts)["input_ids"])
    assert frame["text"].str.split().str.len().between(4, 25).all()
    assert [clean(text) for text in texts] == texts


def test_no_sentence_is_there_twice(frame):
    assert duplicate_groups(frame["text"].tolist()) == list(range(200))


def test_a_split_is_read_by_its_name(frame):
    both = [other_domains(split) for split in ("development", "test")]
    assert [list(side.columns) for side in both] == [["domain", "text"]] * 2
    assert [len(side) for side in both] == [100, 100]
    assert set(both[0]["text"]) | set(both[1]["text"]) == set(frame["text"])
    with pytest.raises(ValueError, match="'train'.*development.*test"):
        other_domains("train")
