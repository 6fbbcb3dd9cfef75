"""The figures of notebook 12: what is drawn is what was measured, and the title says it."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from invlib.views import attacks

ATTACKS = pd.DataFrame(
    {
        "attack": ["one text", "nearest", "whole"],
        "token_f1": [0.03, 0.35, 0.754], "token_f1_low": [0.02, 0.3, 0.7], "token_f1_high": [0.04, 0.4, 0.8],
        "bleu": [0.0, 10.26, 28.2],
        "exact": [0.0, 0.0, 0.104], "exact_low": [0.0, 0.0, 0.05], "exact_high": [0.06, 0.06, 0.2],
    }
)  # fmt: skip
PROTECTED = pd.DataFrame(
    [
        ("none", "", 0.69, 1.0), ("noise", "1 sd", 0.32, 0.42), ("fewer bits", "8 bit", 0.68, 0.99),
        ("rotation", "unknown", 0.08, 1.0), ("rotation", "500 pairs known", 0.69, 1.0),
    ],
    columns=["protection", "strength", "token_f1", "recall_at_10"],
)  # fmt: skip


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_bars_have_their_values_and_the_title_the_whole_attack_and_its_best_control():
    fig = attacks.attack_bars(ATTACKS, 2, "60 test headlines")
    words, bleu, exact = fig.axes
    for ax, figure in ((words, "token_f1"), (bleu, "bleu"), (exact, "exact")):
        assert [bar.get_width() for bar in ax.patches] == ATTACKS[figure].tolist()
        first, second, third = (bar.get_facecolor() for bar in ax.patches)
        assert first == second != third
    assert [t.get_text().strip() for t in bleu.texts] == ["0.0", "10.3", "28.2"]
    assert [t.get_text().strip() for t in exact.texts] == ["0.00", "0.00", "0.10"]
    title = " ".join(fig.get_suptitle().split())
    assert title == (
        "The whole attack gives back 10% of the headlines; its F1 of words is 0.75, the best control's (grey) 0.35 "
        "(60 test headlines)"
    )


def test_what_protects_is_named_beside_its_point():
    fig, ax = plt.subplots()
    attacks.protection(ax, PROTECTED, 0.03)
    for text, line in zip(ax.texts, PROTECTED.to_dict("records"), strict=True):
        assert text.get_text() == line["strength"] and text.xy == (line["recall_at_10"], line["token_f1"])
    drawn = {line.get_label(): len(line.get_xdata()) for line in ax.lines}
    assert drawn == {"none": 1, "noise": 1, "fewer bits": 1, "rotation": 2, "one text for all": 2}
    assert ax.lines[-1].get_ydata()[0] == 0.03
    assert " ".join(fig.get_suptitle().split()) == (
        "A secret rotation leaves a word F1 of 0.08 and 100% of the search, numbers of 8 bit an F1 of 0.68"
    )
