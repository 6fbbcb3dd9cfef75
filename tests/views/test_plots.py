"""Every figure function draws on the ax it is given, names the axes and gives the ax back."""

import html

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.cbook import is_math_text

from invlib.measures.metrics import METRICS
from invlib.rows import ROWS
from invlib.settings import Settings
from invlib.views import plots


@pytest.fixture
def ax():
    with plt.style.context(plots.STYLE):
        fig, ax = plt.subplots()
        yield ax
        plt.close(fig)


CURVES = pd.DataFrame({"epoch": [1, 2, 3], "minutes": [0.5, 1.0, 1.5], "accuracy": [0.2, None, 0.4]})


def test_style_reads_well_in_a_talk():
    style = plt.style.context(plots.STYLE)
    with style:
        sizes = [plt.rcParams[k] for k in ("font.size", "axes.labelsize", "xtick.labelsize", "legend.fontsize")]
        assert min(sizes) >= 13
        assert not plt.rcParams["axes.spines.top"] and not plt.rcParams["axes.spines.right"]
        assert plt.rcParams["figure.constrained_layout.use"] and plt.rcParams["figure.facecolor"] == "white"


def test_saved_figure_is_whole_and_small(ax, tmp_path):
    plots.histogram(ax, [3, 4, 4, 9], "word pieces")
    path = plots.save_figure(ax.figure, "00_lengths", tmp_path)
    assert path == tmp_path / "figures" / "00_lengths.png" and path.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in path.parent.iterdir()] == ["00_lengths.png"]  # no temporary file is left
    first = path.read_bytes()
    assert plots.save_figure(ax.figure, "00_lengths", tmp_path).read_bytes() == first and len(first) < 200_000


def test_curve_leaves_out_what_was_not_measured(ax):
    assert plots.curve_axes(ax, CURVES, "accuracy", "rnn_768", x="minutes") is ax
    assert ax.lines[0].get_xydata().tolist() == [[0.5, 0.2], [1.5, 0.4]]
    assert "minutes" in ax.get_xlabel() and "accuracy" in ax.get_ylabel()


def test_curve_of_an_unknown_column_lists_the_columns(ax):
    with pytest.raises(ValueError, match="no bleu; they have epoch, minutes, accuracy"):
        plots.curve_axes(ax, CURVES, "bleu")


def test_bars_say_what_was_not_measured(ax):
    assert plots.bars_with_intervals(ax, ["a", "b"], [0.5, None], [[0.4, 0.6], None], "accuracy") is ax
    texts = [t.get_text().strip() for t in ax.texts]
    assert texts == ["0.5", "not measured"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"] and ax.get_xlabel() == "accuracy"


def test_grouped_bars_have_one_bar_a_group(ax):
    groups = {"its own vector": [0.5, 0.6], "another's": [0.2, None]}
    assert plots.grouped_bars(ax, ["a", "b"], groups, {"its own vector": [[0.4, 0.6], None]}) is ax
    assert len(ax.containers) == 2 and len(ax.lines) == 1
    assert [t.get_text() for t in ax.get_legend().get_texts()] == list(groups)


def test_accuracy_by_position_has_a_band(ax):
    table = pd.DataFrame({"position": [1, 2], "accuracy": [0.9, 0.5], "low": [0.8, 0.4], "high": [1.0, 0.6]})
    assert plots.accuracy_by_position(ax, table, "generated") is ax
    assert len(ax.collections) == 1 and ax.get_ylim() == (0, 1) and "word pieces" in ax.get_xlabel()
    plots.accuracy_by_position(ax, table.drop(columns=["low", "high"]))
    assert len(ax.collections) == 1


def test_heatmap_writes_its_values_where_they_exist(ax):
    assert plots.heatmap(ax, [[0.0, 1.0], [np.nan, 0.5]], ["x", "y"], ["u", "v"], "cosine") is ax
    assert sorted(t.get_text() for t in ax.texts) == ["0.00", "0.50", "1.00"]
    assert ax.figure.axes[-1].get_ylabel() == "cosine"


def test_scatter_draws_the_intervals_it_has(ax):
    assert plots.scatter_with_intervals(ax, [1, 2], [3, 4], y_intervals=[[2, 4], None], labels=["p", "q"]) is ax
    assert len(ax.lines) == 1 and len(ax.texts) == 2


def test_each_number_of_the_code_belongs_to_its_piece(ax):
    assert plots.code_layout_axes(ax, ["$", "oil", "[SEP]"], 10, 2) is ax  # two at most: four numbers stay unused
    grid = ax.images[0].get_array().filled(np.nan)
    assert np.isfinite(grid).sum() == 6 and np.isfinite(grid[1]).nonzero()[0].tolist() == [1, 4]
    ax.figure.canvas.draw()


def test_each_model_has_a_point_and_a_name(ax):
    points = pd.DataFrame(
        {
            "label": ["a", "b"], "exact_match": [0.1, 0.9], "rank_correlation": [0.5, 0.8],
            "exact_match_low": [0.0, None], "exact_match_high": [0.2, None],
        }
    )  # fmt: skip
    assert plots.exact_match_vs_agreement(ax, points) is ax
    assert len(ax.collections) == 2 and len(ax.lines) == 1 and ax.get_legend_handles_labels()[1] == ["a", "b"]
    label = next(m.label for m in METRICS if m.name == "exact_match")
    assert "encoder" in ax.get_xlabel() and ax.get_ylabel() == label and not ax.texts
    plots.exact_match_vs_agreement(ax, points, names=0.6)
    assert [(text.get_text(), text.get_ha()) for text in ax.texts] == [("a", "left"), ("b", "right")]


def test_names_at_nearly_one_height_move_apart(ax):
    """One is written to the left of its point and one to the right: they would lie on each other."""
    points = pd.DataFrame({"label": ["a", "b"], "exact_match": [0.914, 0.915], "rank_correlation": [0.98, 0.999]})
    plots.exact_match_vs_agreement(ax, points, names=0.99)
    assert [text.get_va() for text in ax.texts] == ["top", "bottom"]


def test_histogram_of_whole_numbers_has_a_bar_for_each(ax):
    plots.histogram(ax, np.array([2, 3, 3, 5]), "word pieces")
    assert [p.get_height() for p in ax.patches] == [1, 2, 0, 1]


def test_shaded_tokens_take_uneven_lengths(ax):
    assert plots.shaded_tokens(ax, [(["a", "1"], [0.9, 0.1]), (["a"], [1.0])], "weight") is ax
    assert len(ax.texts) == 3


DOLLARS = "from $5 million to $7 million"
POINT = pd.DataFrame({"label": [DOLLARS], "exact_match": [0.5], "rank_correlation": [0.5]})
SIZE = pd.DataFrame({"group": ["control"] * 2, "label": [DOLLARS] * 2, "numbers": [8, 16], "bits": [5.0, -90.0]})


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: plots.bars_with_intervals(ax, [DOLLARS], [0.5]),
        lambda ax: plots.grouped_bars(ax, [DOLLARS], {DOLLARS: [0.5]}),
        lambda ax: plots.heatmap(ax, [[0.5]], [DOLLARS], [DOLLARS]),
        lambda ax: plots.scatter_with_intervals(ax, [1], [1], labels=[DOLLARS]),
        lambda ax: plots.code_layout_axes(ax, [DOLLARS], 4, 2),
        lambda ax: plots.shaded_tokens(ax, [([DOLLARS], [0.5])]),
        lambda ax: plots.exact_match_vs_agreement(ax, POINT, names=0.6).legend(),
        lambda ax: plots.bits_by_size(ax, SIZE, 10.0),
    ],
)
def test_dollars_are_drawn_and_are_no_formula(ax, draw):
    draw(ax)
    ax.figure.canvas.draw()
    texts = [text for text in ax.findobj(plt.Text) if "million" in text.get_text()]
    assert texts
    for text in texts:
        assert not is_math_text(text.get_text()) and DOLLARS in text.get_text().replace(r"\$", "$")


def test_dollars_in_tables_are_no_formula():
    with pd.option_context("display.html.use_mathjax", True, "display.max_colwidth", 50):
        plots.use_style()
        shown = pd.DataFrame({"headline": [DOLLARS]})
        for html in (shown._repr_html_(), shown.style._repr_html_()):
            assert "tex2jax_ignore" in html and "mathjax_ignore" in html


def test_text_is_readable_on_its_background():
    assert plots.readable_on((1, 1, 1, 1)) == "#111111" and plots.readable_on((0, 0, 0.4, 1)) == "white"


def test_the_settings_table_shows_whole_sentences():
    """Each setting's meaning is read in full in a notebook; pandas cuts off after fifty letters."""
    with pd.option_context("display.max_colwidth", 50):
        plots.use_style()
        shown = Settings().table()._repr_html_()
        assert all(html.escape(meaning, quote=False) in shown for meaning in Settings().table()["meaning"])


def test_a_family_has_a_colour_and_each_of_its_members_a_marker():
    labels = ["hybrid_384", "att_pool_768", "hybrid_384_long", "hybrid_384", "your variant"]
    assert [look["color"] for look in plots.series_styles(list(ROWS))] == [row.colour for row in ROWS.values()]
    colours, marks = zip(*((look["color"], look["marker"]) for look in plots.series_styles(labels)), strict=True)
    assert colours[0] == colours[2] == colours[3] and len(set(colours)) == 3
    assert marks[0] == marks[3] != marks[2]
    greys = plots.series_styles(["packed_ids_384_2_bits", "packed_ids_768_1_bits"])
    assert {look["marker"] for look in greys} == {"s"} and greys[0]["color"] != greys[1]["color"]


def test_points_that_would_lie_upon_each_other_stand_side_by_side():
    points = pd.DataFrame({"numbers": [384, 384, 384, 768], "bits": [104.0, 50.0, 103.0, 104.0]}, index=[7, 3, 5, 1])
    at = plots.side_by_side(points, near=5)
    assert at[2] < 384 < at[0] and np.sqrt(at[0] * at[2]) == pytest.approx(384)
    assert at[[1, 3]].tolist() == [384, 768]


def test_bits_by_size_frames_what_is_gained():
    points = pd.DataFrame([
        {"group": "learned", "label": "att_pool_384", "numbers": 384, "bits": 50.0, "low": 45.0, "high": 55.0},
        {"group": "learned", "label": "att_pool_768", "numbers": 768, "bits": 60.0, "low": None, "high": None},
        {"group": "searched", "label": "cramming, lm_256", "numbers": 256, "bits": 10.0, "low": 8.0, "high": 12.0},
        {"group": "control", "label": "another headline's vector", "numbers": 384, "bits": -900.0},
    ])  # fmt: skip
    fig, ax = plt.subplots()
    plots.bits_by_size(ax, points, ceiling_bits=100.0)
    assert ax.get_ylim() == (pytest.approx(-4.0), pytest.approx(115.0))
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    far = "another headline's vector: far below"
    assert legend == ["att_pool", "cramming, lm_256", far, "all there is: 100 bits"]
    assert [int(tick) for tick in ax.get_xticks()] == [256, 384, 768]
    plt.close(fig)
