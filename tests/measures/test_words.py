"""Texts as words: what is new, and what is said twice."""

import math

from invlib.measures.words import content_words, repeats_itself, share_new, words


def test_words_are_the_same_however_a_text_is_spelled():
    assert words("U.S.-China deal") == words("u. s. - china deal") == ["u", "s", "china", "deal"]
    assert content_words("The Fed says it's over for oil") == ["fed", "oil"]


def test_new_is_what_no_source_says():
    assert share_new("oil falls on weak copper", ["Oil rises", "gold falls"]) == 0.5  # weak, copper
    assert share_new("oil rises", ["oil", "rises"]) == 0
    assert math.isnan(share_new("the of", ["oil"])) and math.isnan(share_new("", ["oil"]))


def test_a_text_repeats_a_content_word_or_three_words_in_a_row():
    assert repeats_itself("oil falls as oil rises") and repeats_itself("as it is as it is")
    assert not repeats_itself("the fed and the bank") and not repeats_itself("")
