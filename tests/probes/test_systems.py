"""Systems: models, codes and controls answer the same two questions."""

import numpy as np

from invlib.probes.systems import (
    OneEnd,
    SpliceByHand,
    nearest_headline,
    of_codec,
    plain,
    recombined_headlines,
    remembering,
    splice,
)


def test_the_way_begins_and_ends_at_the_sentences(exact, card_data):
    first, second = card_data.test[:3], card_data.test[3:6]
    start, half, end = exact.on_the_way(first, second, (0, 0.5, 1))
    assert start == first and end == second and half not in (first, second)


def test_the_nearest_headline_is_one_of_those_that_are_known(float32, tiny_encoder, tiny_material):
    data = tiny_material.dataset("train", layers=())
    known = tiny_encoder.text(data.ids())
    system = nearest_headline(tiny_encoder, data.ids(), data.sentence, 16)
    assert system.decode(system.encode(known)) == known and system.prefix == 0
    half = system.decode((system.encode(known[:5]) + system.encode(known[5:10])) / 2)
    assert set(half) <= set(known)


def test_recombined_headlines_are_nearer_than_the_nearest_one(float32, tiny_encoder, tiny_material, card_data):
    data = tiny_material.dataset("train", layers=())
    given = tiny_encoder, data.ids(), data.sentence, 16
    encode = plain(tiny_encoder, 16)
    z = encode(card_data.test)
    found = [system.decode(z) for system in (nearest_headline(*given), recombined_headlines(*given, rounds=3))]
    nearest, recombined = ((encode(texts) * z).sum(1) for texts in found)
    assert (recombined >= nearest - 1e-5).all() and (recombined > nearest + 1e-4).any()
    words = {word for text in tiny_encoder.text(data.ids()) for word in text.split()}
    assert {word for text in found[1] for word in text.split()} <= words
    assert recombined_headlines(*given, rounds=3).decode(z[:4]) == recombined_headlines(*given, rounds=3).decode(z[:4])


def test_by_hand_the_middle_says_both(tiny_encoder):
    start, near, half, end = SpliceByHand(encoder=tiny_encoder, max_length=16).on_the_way(
        ["oil rises on tariffs"], ["gold falls after weak data"], (0, 0.2, 0.5, 1)
    )
    assert start == near == ["oil rises on tariffs"] and end == ["gold falls after weak data"]
    assert {"oil", "data"} <= set(half[0].split())
    assert OneEnd().on_the_way(["a"], ["b"], (0, 0.5, 0.6)) == [["a"], ["a"], ["b"]]


def test_a_sentence_is_encoded_once():
    asked: list[str] = []
    encode = remembering(lambda texts: (asked.extend(texts), np.array([[float(len(text))] for text in texts]))[1])
    assert encode(["a", "bb", "a"]).tolist() == [[1], [2], [1]] and encode(["bb", "ccc"]).tolist() == [[2], [3]]
    assert asked == ["a", "bb", "ccc"]


def test_a_models_prefix_is_known(tiny_model):
    model = tiny_model("hybrid")
    assert of_codec(model).prefix == model.components.shape[1] and of_codec(tiny_model("att_pool")).prefix == 0
    z = of_codec(model).encode(["oil falls"])
    np.testing.assert_allclose(z, model.encode(["oil falls"]))


WHOLE = [False] * 100


def test_two_headlines_meet_near_the_middle_and_share_some_places():
    a, b = list(range(10, 24)), list(range(30, 44))  # 14 pieces each
    assert splice(a, b, 38, WHOLE, overlap=8) == [*a[:11], *b[3:]]
    assert splice(a, b, 38, WHOLE, overlap=0) == [*a[:7], *b[7:]]
    assert splice(a[:4], b, 38, WHOLE, overlap=8) == [*a[:4], *b]  # a short one stays whole


def test_the_second_part_begins_with_a_word_and_what_is_too_long_is_left_out():
    a, b = list(range(10, 24)), list(range(30, 44))
    continues = [i in (33, 34) for i in range(100)]
    assert splice(a, b, 38, continues, overlap=8) == [*a[:11], *b[5:]]
    assert splice(a, b, 16, WHOLE, overlap=8) == [*a[:11], *b[-5:]]
    assert len(splice(a, b, 16, WHOLE, overlap=8)) == 16
