"""Texts as words, counted without a model: which are new, which repeat, which are kept."""

import re
from collections.abc import Sequence
from functools import lru_cache

REPEATED_WORDS = 3  # in a row, that a text may not say twice


def words(text: str) -> list[str]:
    """The runs of letters and digits, lower case: 'U.S.-China deal' -> u, s, china, deal."""
    return re.findall(r"[^\W_]+", text.lower())


@lru_cache(maxsize=1)
def stop_words() -> frozenset[str]:
    """Scikit-learn's English stop words, and what `words` leaves of "it's" and "u.s."."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return ENGLISH_STOP_WORDS | {"s", "t", "u", "says", "say"}


def content_words(text: str) -> list[str]:
    """The words of a text that are no stop words, in its order, each as often as it stands there."""
    return [word for word in words(text) if word not in stop_words()]


def share_new(text: str, sources: Sequence[str]) -> float:
    """Share of a text's content words that stand in none of the sources; NaN where it has none."""
    known = {word for source in sources for word in words(source)}
    own = content_words(text)
    return sum(word not in known for word in own) / len(own) if own else float("nan")


def repeats_itself(text: str) -> bool:
    """Whether a content word, or any REPEATED_WORDS in a row, stand in the text twice."""
    content, every, n = content_words(text), words(text), REPEATED_WORDS
    rows = [tuple(every[k : k + n]) for k in range(len(every) - n + 1)]
    return len(set(content)) < len(content) or len(set(rows)) < len(rows)
