"""Near-duplicates: what equals what, that all pairs are found, and how few of them are compared."""

import itertools
import random
import unicodedata

import numpy as np
import pytest
from scipy.cluster.hierarchy import DisjointSet

from invlib.data import duplicates
from invlib.data.duplicates import WORDS, duplicate_groups, letters_key, similar_in_training, word_trigrams


def near_duplicate(a, b):
    """The definition, for one pair."""
    sets = [(word_trigrams(a, word), word_trigrams(b, word)) for word in WORDS]
    return letters_key(a) == letters_key(b) or any(5 * len(x & y) >= 4 * len(x | y) > 0 for x, y in sets)


def test_near_duplicate():
    assert near_duplicate("U.S.-China talks", "us china: Talks!")
    assert near_duplicate("Oil up", "OIL UP.") and not near_duplicate("Oil up", "Oil up again")
    words = "a b c d e f g h i j k l".split()  # 10 trigrams; one word more: 10 of 11; two: 10 of 12; three: 10 of 13
    more = [" ".join([*words, *"xyz"[:n]]) for n in range(4)]
    assert [near_duplicate(more[0], text) for text in more] == [True, True, True, False]
    assert near_duplicate("a b c d e f", "a b c d e f g")  # exactly 0.8
    assert duplicate_groups(["a b c d e f", "a b c d e f g"]) == [0, 0]
    assert duplicate_groups(["a's b's c's d's e's f", "a's b's c's d's e's g"]) == [0, 0]  # with "a's" as two words


def test_groups_are_transitive_and_named_by_their_first():
    words = [f"w{i}" for i in range(16)]
    chain = [" ".join(words[: 10 + 2 * i]) for i in range(4)]  # each is near the next, the ends are not near
    assert not near_duplicate(chain[0], chain[3])
    for order in itertools.permutations(chain):
        assert duplicate_groups(["something else", *order, "??", "!!"]) == [0, 1, 1, 1, 1, 5, 6]


def test_each_text_of_a_group_is_compared():
    """The third is near the first alone, which has its rarest runs of words in common with the second."""
    first = [f"w{k:02}" for k in range(12)]
    second, third = [*first[:-1], "x"], ["y", *first[1:]]
    frequent = [first[:3], first[-3:], second[-3:], third[:3]]
    others = [" ".join([*run, f"z{k}"]) for run in frequent for k in range(3)]
    found = duplicate_groups([*map(" ".join, (first, second, third)), *others])
    assert found == [0, 0, 0, *range(3, 15)]


def test_all_pairs_are_found():
    draw = random.Random(0)
    texts = [" ".join(draw.choices("abc", k=draw.randint(1, 9))) for _ in range(150)]
    groups = duplicate_groups(texts)
    expected = list(range(len(texts)))  # the closure by brute force
    for i, j in itertools.combinations(range(len(texts)), 2):
        if near_duplicate(texts[i], texts[j]) and expected[i] != expected[j]:
            low, high = sorted((expected[i], expected[j]))
            expected = [low if e == high else e for e in expected]
    assert groups == expected
    assert 1 < len(set(groups)) < len(texts)


@pytest.mark.parametrize(
    "a, b",
    [
        ("Nestl\u00e9 up", "Nestle\u0301 up"),  # composed and decomposed
        ("Nestl\u00e9 up", "NESTLE UP"),
        ("\u0130stanbul talks", "istanbul talks"),
        ("Gro\u00dfbank", "GROSSBANK"),
        ("the \ufb01rst \uff11\uff10", "the first 10"),
    ],
)
def test_accents_and_case_make_no_difference(a, b):
    assert letters_key(a) == letters_key(b) and near_duplicate(a, b)
    tail = " one two three four five"
    assert word_trigrams(a + tail) == word_trigrams(b + tail)
    assert duplicate_groups([a + tail, "else", b + tail + " six"]) == [0, 1, 0]


def test_equal_keys_where_the_encoder_sees_equal_words(minilm):
    """The encoder is uncased and strips accents: what it reads alike is one headline."""
    texts = ["S\u00e3o Paulo caf\u00e9s", "Sa\u0303o Paulo cafe\u0301s", "SAO PAULO CAFES", "sao paulo cafes"]
    assert len({tuple(ids) for ids in minilm.tokenizer(texts)["input_ids"]}) == 1
    assert duplicate_groups(texts) == [0, 0, 0, 0]


def test_vowel_signs_are_letters():
    assert letters_key("\u0915\u093e") != letters_key("\u0915\u0940")  # Devanagari kaa, kii
    assert unicodedata.category("\u093e") == "Mc"


# --- how much is compared


@pytest.fixture
def comparisons(monkeypatch):
    """Counts the pairs whose trigrams are compared."""
    compared, compare = [], duplicates.jaccard_reaches
    monkeypatch.setattr(duplicates, "jaccard_reaches", lambda a, b: compared.append(None) or compare(a, b))
    return compared


LINE = "daily report of branch office {} on all of its sales in the whole region of the north and of the south"


@pytest.mark.parametrize("n_words", [8, 12, 16, 21])
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_lines_that_differ_in_one_number_are_not_compared_pair_by_pair(comparisons, n_words, place):
    words = LINE.replace("{} ", "").split()[:n_words]
    words.insert({"first": 0, "middle": n_words // 2, "last": n_words}[place], "{}")
    texts = [" ".join(words).format(i) for i in range(500)]
    groups = duplicate_groups(texts)
    assert len(comparisons) <= len(texts)
    assert set(groups) == ({0} if near_duplicate(texts[0], texts[1]) else set(range(len(texts))))


def test_copies_are_not_compared(comparisons):
    assert duplicate_groups([LINE] * 2000 + ["other"] * 2000) == [0] * 2000 + [2000] * 2000
    assert duplicate_groups([LINE, LINE.upper() + "!", "a b c a b c a", "b c a b c a b"] * 500)[:4] == [0, 0, 2, 2]
    assert not comparisons


# --- test headlines with a similar training headline


def test_similar_in_training_is_what_all_pairs_give():
    draw = random.Random(0)
    train, test = ([" ".join(draw.choices("abcdefghij", k=draw.randint(0, 9))) for _ in range(n)] for n in (120, 60))
    sets = [[set(text.split()) for text in texts] for texts in (train, test)]
    for tenths in (5, 6, 7, 10):
        expected = [any(10 * len(a & b) >= tenths * len(a | b) > 0 for a in sets[0]) for b in sets[1]]
        found = similar_in_training(train, test, tenths / 10)
        assert found.dtype == bool and found.tolist() == expected and 0 < sum(expected) < len(expected)


def test_similar_in_training_goes_by_folded_words():
    train = ["Lockheed wins $560 million defense contract: Pentagon"]
    test = ["LOCKHEED wins a $495 million d\u00e9fense contract", "Oil falls", ""]
    assert similar_in_training(train, test).tolist() == [True, False, False]
    assert not similar_in_training([], test).any() and similar_in_training(train, []).shape == (0,)
    assert np.array_equal(similar_in_training(train, train, 1.0), [True])


def test_a_group_is_looked_at_once_and_not_text_by_text():
    """Lines that are all alike meet one group in the index, however many they are."""
    sets = {word_trigrams(f"{i} {LINE} and of the east and of the west"): i for i in range(500)}
    looked_up = []

    class Groups(DisjointSet):
        def __getitem__(self, i):
            looked_up.append(i)
            return super().__getitem__(i)

    groups = Groups(range(500))
    duplicates.join_similar(sets, groups)
    assert groups.n_subsets == 1 and len(looked_up) < 100 * 500
