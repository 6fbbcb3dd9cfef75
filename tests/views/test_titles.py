"""The titles of the figures of 00 to 07 say what the figures show, whatever the run."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from invlib.views import panels, titles


def row(model: str, dim: int, accuracy: float, generated: float, bits: float | None, reference: float | None = 100.0):
    found = {"accuracy": accuracy, "generated_accuracy": generated, "recovered_bits": bits}
    return {"model": model, "embedding_dim": dim, "variant": None, "reference_bits": reference, **found}


ROWS = [row("att_pool", 768, 0.6, 0.2, 50.0), row("att_pool", 2560, 0.7, 0.4, 62.0), row("hybrid", 384, 0.9, 0.9, 99.0)]
LOST = pd.DataFrame({
    "group": ["never", "often", "to 8", "longer"], "share": [0.5, 0.9, 0.99, 0.0], "low": [0.4, 0.8, 0.9, 0.0],
    "high": [0.6, 1.0, 1.0, 0.8], "n": [30, 900, 50, 1], "by": ["met"] * 2 + ["pieces"] * 2,
})  # fmt: skip


def test_a_title_is_wrapped_to_its_figure_and_stays_in_it():
    fig, _ = plt.subplots(figsize=(6, 4))
    titles.say(fig, "twelve words of five " * 6 + "$5 and $6")
    fig.canvas.draw()
    shown = fig.get_suptitle()
    assert shown.count("\n") == 2 and r"\$5" in shown
    assert fig._suptitle.get_window_extent().x1 <= fig.bbox.x1


def test_bits_tells_the_best_of_each_kind():
    assert titles.bits(ROWS) == "hybrid_384 recovers 99 of 100 bits, att_pool_2560 62"
    assert "of 100" not in titles.bits([row("rnn", 8, 0.1, 0.1, 3.0, None)])
    assert "not measured" in titles.bits([row("rnn", 8, 0.1, 0.1, None, None)])


def test_flattery_leaves_out_the_model_that_is_given_no_words():
    found = titles.flattery([row("encoder_only", 96, 1.0, 0.0, None), *ROWS])
    assert "att_pool_768 60% and 20%" in found and "hybrid_384 90% and 90%" in found and "encoder_only" not in found
    assert "hybrid_384" in titles.flattery(ROWS[2:])


def test_search_holds_the_beam_against_greedy():
    table = pd.DataFrame({
        "model": ["a", "a", "b", "b"], "search": ["greedy", "beam 5"] * 2, "decode_ms": [1.0, 3.0, 2.0, 6.0],
        "generated_accuracy": [0.5, 0.52, 0.4, 0.39], "low": 0.3, "high": 0.6,
    })  # fmt: skip
    found = titles.search(table)
    assert "3.0 times" in found and "+2.0 (a), -1.0 (b)" in found
    ax = panels.searches(plt.subplots()[1], table)
    assert [text.get_text() for text in ax.figure.legends[0].get_texts()] == ["a", "b", "greedy", "beam 5"]


def test_small_groups_are_not_drawn():
    shown = panels.large_groups(LOST)
    assert list(shown["group"]) == ["never", "often", "to 8"]
    assert titles.lost("m", shown) == "m errs most often: met never (50.0%), pieces to 8 (1.0%)"
    fig, axes = plt.subplots(1, 2)
    panels.errors(axes, shown, ("pieces wrong (%)", "headlines wrong (%)"))
    assert [text.get_text() for text in axes[0].texts] == [" 50.0 %", " 10.0 %"]


def test_the_corner_is_drawn_where_a_model_is_in_it():
    points = pd.DataFrame({
        "label": ["hybrid_384", "rnn_768", "att_pool_768", "packed_ids_384_2_bits"],
        "exact_match": [0.9, 0.0, 0.95, 1.0], "rank_correlation": [0.98, 0.99, 0.5, 0.99],
    })  # fmt: skip
    assert len(panels.virtues(points).axes) == 2 and "1 of 3 learned models; 1 of 1 packed_ids" in titles.corner(points)
    assert len(panels.virtues(points[1:2]).axes) == 1 and "0 of 0 packed_ids" in titles.corner(points[1:2])


def test_curves_say_whether_the_loss_still_falls():
    curves = pd.DataFrame({"epoch": [1.0, 2.0, 3.0], "validation_loss": [3.0, 2.0, 1.0], "accuracy": [0.1, 0.2, 0.3]})
    control = curves.assign(accuracy=0.2)
    assert "still falls after 3.0 epochs; next-token accuracy 30%" in titles.curve(curves)
    assert "no longer falls" in titles.curve(curves.assign(validation_loss=[3.0, 1.0, 2.0]))
    assert "has one point" in titles.curve(curves[:1])
    risen = curves.assign(validation_loss=[3.0, 1.0, 2.0], accuracy=[0.1, 0.3, 0.4])  # its second epoch is kept
    found = titles.training({"a": risen, "b": curves.assign(accuracy=0.1), "c": control}, ["a", "b"], "c")
    assert found.startswith("a predicts 30%") and "1 of 2 models are above the no-vector control's 20%" in found


def test_numbers_of_the_data_are_those_of_the_figure():
    assert titles.lengths(range(1, 102), 40) == (
        "98% of the headlines have 2 to 100 word pieces; 61 of 101 are cut at 40"
    )
    assert titles.word_pieces([30.0, 60.0, 80.0, 100.0]).startswith("The 2 commonest word pieces")
    cosines = np.array([[1.0, 0.1, 0.7], [0.1, 1.0, 0.2], [0.7, 0.2, 1.0]])
    assert titles.similarity(cosines) == "Headlines 1 and 3 are most alike, cosine 0.70; the median pair has 0.20"
    kinds = titles.head_kinds(["word", "x"], {"a": [1.0, 1.0], "b": [2.0, None]})
    assert "head, b: the kind “word” has 2.00 times" in kinds
    weights, mask = np.array([[0.75, 0.25, 0.0]]), np.array([[1, 1, 0]])
    assert titles.head_weights({"untrained": weights}, mask).endswith("1.5 (untrained)")
    assert "32 in a headline of 2 pieces, 8 to 9 in" in titles.code_layout([np.array([32, 32]), np.array([8, 9, 9])])
    assert titles.language_models({"a": 5.0, "b": 4.5}, 4.0).endswith("4.50 nats per piece, above the reference's 4.00")
    assert "3.00 nats per piece, not above the reference's" in titles.language_models({"a": 3.0, "b": 4.5}, 4.0)
    assert titles.vectors(np.ones((2, 8)), None).endswith("8 numbers")
    sizes = titles.vectors(np.array([[3.0, -3.0, 1.0, -1.0]]), 2)
    assert sizes.endswith("3.000 in the 2 numbers of the prefix, 1.000 in the 2 of the code")
    assert titles.reference_bits([10, 10, 10, 50]) == "A headline costs 20 bits on average, nine of ten 10 to 44"
    assert titles.queries({"at first": 1.0, "trained": 0.25}).endswith("100% at first, 25% trained")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_forgetting_compares_both_ends_of_the_headline():
    """Of four positions the first and the last; the vector's own part is what another vector does not give."""
    lines = {
        "generated": [0.8, 0.5, 0.4, 0.1], "true prefix": [0.9, 0.7, 0.6, 0.5],
        "another headline's vector": [0.3, 0.3, 0.3, 0.4],
    }  # fmt: skip
    table = pd.DataFrame(
        [{"measured": m, "position": i, "accuracy": v} for m, values in lines.items() for i, v in enumerate(values)]
    )
    assert titles.forgetting(table) == (
        "First and last 1 positions: generated text 80% and 10% right, the vector's own part 60% and 10%"
    )


def test_the_ends_of_a_curve_are_told():
    change = pd.DataFrame({"read_after": [1, 19], "change": [0.5, 0.02]})
    assert titles.moved(change).endswith("by 50% where it is the last, by 2% where 18 more follow")
    means = {"shuffled": [0.7, 0.95], "another": [0.2, 0.3]}
    assert titles.order(means) == "Shuffled words keep a cosine of 0.70 to 0.95; another headline has 0.20 to 0.30"
    reading = {"direct": pd.DataFrame({"share": [1.0, 0.7]}), "linear map": pd.DataFrame({"share": [1.0, 0.9]})}
    assert titles.layers(reading).endswith("70% (direct) and 90% (linear map)")


def test_top_k_names_the_line_that_rises_most():
    curves = {"att_pool_768 †": [0.5, 0.6, 0.8], "encoder_only_96": [0.1, 0.3, 0.6]}
    assert titles.top_k(curves, [1, 5, 10]) == "encoder_only_96 gains most from k = 1 to k = 10: 10% to 60%"


def test_probabilities_of_right_pieces_and_others():
    told = [SimpleNamespace(marks=["right", "wrong"], probabilities=[0.9, 0.2])]
    assert titles.probabilities("m", told) == (
        "1 of 2 pieces of m are right; its mean probability: 0.90 where right, 0.20 elsewhere"
    )
    assert "elsewhere" not in titles.probabilities("m", [SimpleNamespace(marks=["right"], probabilities=[1.0])])
