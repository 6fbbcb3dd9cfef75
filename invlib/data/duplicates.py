"""Near-duplicate headlines, found exactly: all pairs, without comparing all pairs."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

Words = frozenset[tuple[str, ...]]
Key = TypeVar("Key", str, frozenset[tuple[str, ...]])
# "bank's" is one word to some and two to others; a pair that is near under either reading is a near-duplicate.
WORDS = (r"[^\W_]+(?:'[^\W_]+)*", r"[^\W_]+")


def folded(text: str) -> str:
    """Without case, accents and compatibility forms, as an uncased encoder reads it: "Ôsé" is "ose"."""
    if text.isascii():
        return text.lower()
    return "".join(c for c in unicodedata.normalize("NFKD", text) if unicodedata.category(c) != "Mn").casefold()


def letters_key(text: str) -> str:
    """Letters, digits and vowel signs (Devanagari, Tamil) of the folded text; a text that has none is its own key."""
    return "".join(c for c in folded(text) if c.isalnum() or unicodedata.category(c) == "Mc") or text


def word_trigrams(text: str, word: str = WORDS[0]) -> Words:
    """Runs of three folded words, `word` being the pattern of one; none below three words."""
    words = re.findall(word, folded(text))
    return frozenset(zip(words, words[1:], words[2:], strict=False))


def jaccard_reaches(a: Words, b: Words) -> bool:
    """|a and b| / |a or b| >= 4/5 in whole numbers; sets too small to have a trigram never do."""
    shared = len(a & b)
    return shared > 0 and 5 * shared >= 4 * (len(a) + len(b) - shared)


def duplicate_groups(texts: Sequence[str]) -> list[int]:
    """For each text the index of the first text of its group of near-duplicates; groups are transitive.

    Two are near-duplicates that have equal `letters_key`, or a Jaccard index of word trigrams >= 0.8 under either of
    WORDS. About four seconds for 53 000 headlines; copies, and lines that differ in one number, take no longer each.
    """
    from scipy.cluster.hierarchy import DisjointSet  # slow to import

    groups = DisjointSet(range(len(texts)))

    def join_equal(keys: Iterable[tuple[int, Key]]) -> dict[Key, int]:
        """Join the texts with equal keys; the first text of each key."""
        first_with: dict[Key, int] = {}
        for i, key in keys:
            groups.merge(first_with.setdefault(key, i), i)
        return first_with

    join_equal(enumerate(map(letters_key, texts)))
    for word in WORDS:
        sets = enumerate(word_trigrams(text, word) for text in texts)
        join_similar(join_equal((i, members) for i, members in sets if members), groups)
    firsts: dict[int, int] = {}
    return [firsts.setdefault(groups[i], i) for i in range(len(texts))]


def join_similar(sets: dict[Words, int], groups) -> None:
    """Join all pairs with Jaccard >= 4/5 in `groups`, a DisjointSet: PPJoin (Xiao et al. 2008).

    Two sets that share 4/5 of their union share one of their n - ceil(4n/5) + 1 rarest of n members. Where the first
    that they share is at place p of n and q of m, they share at most min(n - p, m - q). So the index holds, for each
    member, who has it at which place and of what size. Of a group one near text is enough: it keeps groups together.
    """
    frequency = Counter(trigram for members in sets for trigram in members)
    index: dict = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))  # trigram, (m, q), group: sets
    for members, i in sets.items():
        n = len(members)
        rarest = sorted(members, key=lambda trigram: (frequency[trigram], trigram))[: n - -(-4 * n // 5) + 1]
        prefix = [(p, trigram) for p, trigram in enumerate(rarest) if frequency[trigram] > 1]  # others share none
        for p, trigram in prefix:
            for (m, q), near in index[trigram].items():
                if 9 * min(n - p, m - q) < 4 * (n + m):  # Jaccard >= 4/5 asks for 4/9 of both sizes
                    continue
                for group, others in near.items():
                    if groups[group] != groups[i] and any(jaccard_reaches(members, other) for other in others):
                        groups.merge(group, i)
        for p, trigram in prefix:
            index[trigram][n, p][groups[i]].append(members)


def similar_in_training(train_texts: Sequence[str], test_texts: Sequence[str], threshold: float = 0.5) -> np.ndarray:
    """For each test text, whether a training text has nearly its words: Jaccard of the word sets >= `threshold`.

    Returns (N,) bool for N test texts. Headlines of one pattern ("X wins a $560 million contract") are such.
    """
    train, test = ([set(re.findall(WORDS[1], folded(t))) for t in texts] for texts in (train_texts, test_texts))
    sizes, having = np.array([len(words) for words in train], int), defaultdict(list)
    for i, words in enumerate(train):
        for word in words:
            having[word].append(i)
    rows_having = {word: np.array(places) for word, places in having.items()}
    similar = np.zeros(len(test), bool)
    for i, words in enumerate(test):
        places = [rows_having[word] for word in words if word in rows_having]
        if places:
            shared = np.bincount(np.concatenate(places), minlength=len(train))
            similar[i] = np.any(shared >= threshold * (len(words) + sizes - shared) - 1e-9)
    return similar
