"""The lab's tools: the HTML and figures of each, and its widgets: what a changed control does, and errors in words."""

import ipywidgets
import matplotlib
import numpy as np
import pandas as pd
import pytest

matplotlib.use("Agg")

from invlib.inversion.invert import Chain
from invlib.models.text_code import TextCode
from invlib.probes.latent import Space, around, interpolate, packed_beside, plane
from invlib.views import lab, lab_boxes, lab_map, lab_parts

A, B, EVIL = "oil rises on tariffs", "wall street falls after weak data", "<script> $ & <b>oil"
QUICK = Chain(beam=2, rounds=2, kept=1, children=2, reworded=1)


@pytest.fixture
def spaces(tiny_model, sentences):
    """A hybrid, a mean_decoder and packed ids, with twelve sentences in each."""
    learned = tiny_model("hybrid")
    kinds = {"learned": learned, "plain": tiny_model("mean_decoder"), "packed": packed_beside(learned)}
    return [Space.of(name, model, sentences[:12], "12 made up <i>") for name, model in kinds.items()]


def find(box, kind, k=0):
    """The k-th widget of a kind, in the order in which they stand."""

    def walk(widget):
        yield widget
        for child in getattr(widget, "children", ()):
            yield from walk(child)

    return [w for w in walk(box) if type(w) is kind][k]


def text(box, k=0):
    return find(box, ipywidgets.Text, k)


def html(box):
    return find(box, ipywidgets.HTML).value


def saved(spaces, folder):
    """The folders of the spaces' models, by name."""
    for space in spaces:
        space.model.save_pretrained(folder / space.name)
    return {f"{space.name} <i>": folder / space.name for space in spaces}


BOXES = {
    "sentence": lambda spaces, tmp: lab_boxes.sentence_box(spaces[:2], A),
    "line": lambda spaces, tmp: lab_boxes.line_box(spaces[:2], A, B, steps=5),
    "noise": lambda spaces, tmp: lab_boxes.noise_box(spaces[:2], A),
    "exchange": lambda spaces, tmp: lab_boxes.exchange_box(spaces[0], A, B),
    "direction": lambda spaces, tmp: lab_boxes.direction_box(spaces[:2], A, [(A, B)]),
    "neighbours": lambda spaces, tmp: lab_boxes.neighbours_box(spaces[0], A),
    "beside": lambda spaces, tmp: lab_boxes.beside_box(spaces, A, B),
    "map": lambda spaces, tmp: lab_map.map_box(spaces[:2]),
    "models": lambda spaces, tmp: lab_boxes.models_box(saved(spaces[:2], tmp), A),
    "race": lambda spaces, tmp: lab_boxes.race_box(spaces[1].model, A, QUICK),
    "sentences": lambda spaces, tmp: lab_boxes.sentences_box(spaces[0].model, [A, B], tmp / "mine.csv"),
}
each_box = pytest.mark.parametrize("name", BOXES)


def press(box):
    """Press the button of a box that has one: the others answer by themselves."""
    try:
        find(box, ipywidgets.Button).click()
    except IndexError:
        pass


@each_box
def test_a_box_answers_and_escapes_what_is_typed(name, spaces, tmp_path):
    box = BOXES[name](spaces, tmp_path)
    press(box)
    assert "<td" in html(box) and "<i>" not in html(box)
    assert name == "map" or A in html(box) or "decoded" in html(box) or "text" in html(box)
    if name != "map":  # it has nothing to type
        typed = find(box, ipywidgets.Textarea if name == "sentences" else ipywidgets.Text)
        typed.value = EVIL
        press(box)
        assert "no answer" not in html(box)
        for raw in ("<script", "<b>oil", "<i>"):
            assert raw not in html(box)
        assert "tex2jax_ignore" in html(box)


@each_box
def test_errors_are_words(name, spaces, tmp_path):
    if name == "map":
        return
    box = BOXES[name](spaces, tmp_path)
    typed = find(box, ipywidgets.Textarea if name == "sentences" else ipywidgets.Text)
    for wrong, words in (("", "empty" if name != "sentences" else "no sentences"), ("<i> oil " * 60, "at most 16")):
        typed.value = wrong
        press(box)
        assert html(box).startswith("<b>no answer:</b>") and words in html(box) and "<i>" not in html(box)
    typed.value = A
    press(box)
    assert "no answer" not in html(box)


@each_box
def test_no_box_uses_output(name, spaces, tmp_path):
    """`Output` and `interact` hang a headless run now and then."""
    with pytest.raises(IndexError):
        find(BOXES[name](spaces, tmp_path), ipywidgets.Output)


@pytest.mark.parametrize("name", ["noise", "direction", "beside", "map"])
def test_a_slider_changes_the_answer(name, spaces, tmp_path):
    box = BOXES[name](spaces, tmp_path)
    before, slider = html(box), find(box, ipywidgets.FloatSlider)
    slider.value = slider.max
    assert html(box) != before
    if name == "beside":
        find(box, ipywidgets.ToggleButtons).value = lab_boxes.WAYS[1]
        assert "noise of 1.00 standard deviations, 0 dB" in html(box) or "-0 dB" in html(box)
        slider.value = 0
        assert "dB" not in html(box)


def test_the_line_is_decoded_once_and_the_slider_walks_on_it(spaces, monkeypatch):
    calls = []
    monkeypatch.setattr(lab_boxes, "interpolate", lambda *a: calls.append(a) or interpolate(*a))
    box = lab_boxes.line_box(spaces[:2], A, B, steps=5)
    step, picture = find(box, ipywidgets.IntSlider), find(box, ipywidgets.Image)
    assert bytes(picture.value).startswith(b"\x89PNG")
    seen = []
    for step.value in range(5):
        seen.append(html(box))
    assert len(set(seen)) == 5 and "0.25" in seen[1] and len(calls) == 1
    text(box).value = B
    assert len(calls) == 2 and "same all the way" in html(box)
    find(box, ipywidgets.Dropdown).value = spaces[1]
    assert len(calls) == 3


def test_the_jump_is_marked_and_the_ends_are_no_neighbours(spaces):
    space = spaces[2]  # packed ids: every text is known
    a, b = space.headlines.texts[:2]
    line = interpolate(space.model, a, b, steps=9)
    shown = lab.line_html(line, space)
    assert shown.count("background:#fff3cd") == 1 and f"{line.shares[line.jump]:.2f}" in shown
    assert "background" in lab.step_html(line, line.jump, space)
    assert f"jumps between {line.shares[line.jump - 1]:.2f} and" in lab.step_html(line, 0, space)
    ends = {lab.nearest(space, line, step)["nearest other headline"] for step in (0, -1)}
    assert not ends & {a, b} and ends < set(space.headlines.texts)
    alone = Space.of("one", space.model, [a, a, a], "x")
    assert lab.nearest(alone, line, 0) == {"nearest other headline": "", "its cosine": ""}


def test_figures_have_what_they_show(spaces):
    learned, plain, packed = spaces
    (ax,) = lab.vector_figure(learned, A).axes
    assert len(ax.patches) == 64 and [t.get_text() for t in ax.get_legend().get_texts()] == ["semantic prefix", "code"]
    assert len(lab.vector_figure(plain, A).axes[0].patches) == 32
    lines = {s.name: interpolate(s.model, A, B, steps=5) for s in (learned, packed)}
    assert [ax.get_title("left") + ax.get_title() for ax in lab.line_figure(lines).axes] == ["learned", "packed"]
    flat = plane(learned.headlines.vectors)
    fig = lab_map.map_figure(learned, flat, (0.0, 0.0))
    assert len(fig.axes[0].collections[0].get_offsets()) == 12 and len(fig.axes[0].lines) == 1
    assert lab_parts.png(fig).startswith(b"\x89PNG") and not matplotlib.pyplot.get_fignums()


def test_noise_breaks_the_text_in_the_end(spaces):
    packed = spaces[2]
    curves = lab.noise_curves([packed], n=4, decibels=(60, -20))
    assert curves["unchanged"][0] == 1 and curves["unchanged"][1] < 0.5
    assert len(lab.curves_figure(curves).axes[0].lines) == 1
    shown = lab.noise_html(packed, packed.headlines.texts[0], decibels=(60, -20), n=3)
    assert "1000.00" not in shown and "10.00" in shown and ">3<" in shown and ">0<" in shown
    samples = around(packed.model, packed.headlines.texts[0], 0.001, packed.headlines.spread, 3)
    assert set(samples.texts) == {packed.headlines.texts[0]}


def test_pieces_have_their_probability_and_others(spaces):
    shown = lab.sentence_html(spaces[0], A, k=2)
    assert "the 2 likeliest others" in shown and "[end]" in shown or "probability" in shown
    assert lab.probability(0.0004) == "< 0.001" and lab.probability(0.25) == "0.250"


def test_pairs_are_lines(spaces):
    assert lab_boxes.pairs_of("a | b\n\n c|d ") == [("a", "b"), ("c", "d")]
    box = lab_boxes.direction_box(spaces[:2], A, [(A, B)])
    find(box, ipywidgets.Textarea).value = "oil rises, oil falls"
    assert "no answer" in html(box) and "before | after" in html(box)


def test_neighbours_in_an_own_file(spaces, tmp_path):
    file = tmp_path / "own.csv"
    file.write_text("title\n" + "\n".join([*spaces[0].headlines.texts[:4], "oil " * 60]) + "\n")
    box = lab_boxes.neighbours_box(spaces[0], spaces[0].headlines.texts[2], k=3)
    assert "12 made up" in html(box)
    text(box, 1).value = str(file)
    assert "no answer" in html(box) and "no column" in html(box) and "title" in html(box)
    text(box, 2).value = "title"
    assert "4 of 5 different texts in own.csv" in html(box) and html(box).index(spaces[0].headlines.texts[2])
    bar = find(box, ipywidgets.IntProgress)
    assert bar.value == bar.max == 4
    file.write_text("title\n" + "\n".join(spaces[0].headlines.texts[:3]) + "\n")
    text(box).value = A
    assert "3 of 3 different texts" in html(box)  # an edited file is read anew
    text(box, 1).value = str(tmp_path / "none.csv")
    assert "is no file" in html(box)


def test_a_click_on_a_neighbour_goes_there(spaces):
    """The neighbour becomes the sentence, and its own neighbours are shown; nothing is chosen before."""
    box = lab_boxes.neighbours_box(spaces[0], A, k=3)
    listed = find(box, ipywidgets.Select)
    assert len(listed.options) == 3 and listed.value is None and text(box).value == A
    there = listed.options[1]
    listed.value = there
    assert text(box).value == there and listed.value is None
    assert listed.options[0] == there and there in html(box)  # nearest to itself


def test_a_headline_of_the_list_moves_the_map(spaces):
    box = lab_map.map_box(spaces[:2])
    picture, flat = find(box, ipywidgets.Image).value, plane(spaces[0].headlines.vectors)
    find(box, ipywidgets.Dropdown, 1).value = 3
    x, y = (find(box, ipywidgets.FloatSlider, k).value for k in (0, 1))
    np.testing.assert_allclose((x, y), flat.points[3], atol=1e-6)
    assert spaces[0].headlines.texts[3] in html(box) and find(box, ipywidgets.Image).value != picture
    find(box, ipywidgets.Dropdown, 0).value = spaces[1]
    assert "no answer" not in html(box)


def test_a_click_on_the_map_means_a_headline_or_the_empty_space(spaces):
    space = spaces[0]
    flat, box = plane(space.headlines.vectors), lab_map.map_box(spaces[:2])
    fig = lab_map.map_figure(space, flat, (0.0, 0.0))
    lab_parts.png(fig)
    width, height = fig.bbox.size
    across, up = fig.axes[0].transData.transform(flat.points[5]) / (width, height)
    np.testing.assert_allclose(lab_map.place_of(fig, across, 1 - up), flat.points[5], atol=1e-6)

    def click(across, down):
        box.clicks._dom_handlers({"relativeX": 850 * across, "relativeY": 520 * down} | SIZE)
        return [find(box, ipywidgets.FloatSlider, k).value for k in (0, 1)]

    np.testing.assert_allclose(click(across + 0.002, 1 - up), flat.points[5], atol=1e-6)  # a little beside it
    assert space.headlines.texts[5] in html(box)
    empty = lab_map.place_of(fig, 0.5, 0.5)
    assert lab_map.near_headline(flat, *empty) is None
    np.testing.assert_allclose(click(0.5, 0.5), empty, atol=1e-6)


SIZE = {"boundingRectWidth": 850, "boundingRectHeight": 520}  # of the picture in the browser


def test_the_maps_colours_say_what_they_are_called(spaces):
    learned, _, packed = spaces
    texts = ["gold rises again", "gold falls again", "gold waits", "banks sue banks", "banks merge", "banks pay"]
    vectors = np.array([[1, 0], [1, 0.1], [1, 0.2], [0, 1], [0.1, 1], [0.2, 1]], np.float32)
    found = lab_map.topics(texts, vectors)
    assert len(found.names) == lab_map.TOPICS
    assert all(found.names[k].split(", ")[0] in text for k, text in zip(found.values, texts, strict=True))
    lengths = lab_map.colouring(learned)
    assert lengths.values.tolist() == [
        len(learned.model.encoder.tokenizer.tokenize(t)) for t in learned.headlines.texts
    ]
    assert (lab_map.colouring(packed, "pieces right").values == 1).all()
    assert lab_map.colouring(learned, "pieces right").values.max() <= 1
    fig = lab_map.map_figure(learned, plane(learned.headlines.vectors), None, lab_map.colouring(learned, "topic"))
    assert len(fig.axes[1].get_yticklabels()) == lab_map.TOPICS
    with pytest.raises(ValueError, match="unknown colour 'red'; choose one of length"):
        lab_map.colouring(learned, "red")


def test_a_sentences_bits_stand_beside_what_fits(spaces, tiny_model):
    code = TextCode(tiny_model("no_vector"))
    (bits,) = code.bits(spaces[0].model.encoder.input_ids([A]))
    assert f"the sentence is {bits:.0f} bits" in lab.noise_html(spaces[0], A, (10,), 2, code=code)
    box = lab_boxes.noise_box(spaces[:2], A, code=code)
    assert f"{bits:.0f} bits" in html(box) and "bits." not in html(lab_boxes.noise_box(spaces[:2], A))


def test_numbers_of_few_bits_are_decoded_worse(spaces):
    """Of packed ids, whose levels two bits a number hold, and one level less does not."""
    packed = spaces[2]
    box = lab_boxes.noise_box([packed], A)
    find(box, ipywidgets.FloatSlider).value = 30
    many = html(box)
    find(box, ipywidgets.SelectionSlider).value = 2
    few = html(box)
    assert "<td>32</td>" in many.replace("\n", "") or ">32<" in many
    assert ">2<" in few and few.replace(">2<", ">32<", 1) != many  # other texts, not only another number of bits


def test_two_models_stand_side_by_side(tiny_model, tmp_path):
    folders = {}
    for row in ("hybrid", "att_pool"):
        folders[f"<i> {row}"] = tmp_path / row
        tiny_model(row).save_pretrained(tmp_path / row)
    box = lab_boxes.models_box(folders, A)
    assert "<td" in html(box) and html(box).count("<tr") == 3 and "&lt;i&gt; att_pool" in html(box)
    find(box, ipywidgets.Dropdown, 1).value = "<i> hybrid"
    assert "att_pool" not in html(box)
    text(box).value = "oil " * 60
    assert "no answer" in html(box)
    assert html(lab_boxes.models_box({"one": tmp_path / "hybrid"}, A)).count("<tr") == 2


def test_a_race_shows_each_attempt(spaces):
    box = lab_boxes.race_box(spaces[1].model, A, QUICK)
    assert html(box) == ""  # it waits for the button
    press(box)
    assert html(box).count("<tr") >= 3 and "greedy" in html(box) and "best of" in html(box)
    bar = find(box, ipywidgets.IntProgress)
    assert bar.value == bar.max and not find(box, ipywidgets.Button).disabled


def test_own_sentences_are_saved(spaces, tmp_path):
    file, model = tmp_path / "new" / "mine.csv", spaces[2].model
    many = list(spaces[2].headlines.texts) * 3
    box = lab_boxes.sentences_box(model, many, file)
    press(box)
    table = pd.read_csv(file)
    assert table["text"].tolist() == many and str(file) in html(box)
    assert table["exact"].all() and table["decoded"].tolist() == many
    np.testing.assert_allclose(table.filter(regex=r"^z\d+$"), model.encode(many), atol=1e-2)
    find(box, ipywidgets.Textarea).value = many[0]
    press(box)
    assert len(pd.read_csv(file)) == 1  # its own file is written anew
    other = tmp_path / "other.csv"
    other.write_text("Headlines\nmine\n")
    text(box).value = str(other)
    press(box)
    assert "holds something else" in html(box) and other.read_text() == "Headlines\nmine\n"
    text(box).value = str(tmp_path / "mine.txt")
    press(box)
    assert "ends in .csv" in html(box) and not (tmp_path / "mine.txt").exists()
    (tmp_path / "file").write_text("")
    text(box).value = str(tmp_path / "file" / "mine.csv")
    press(box)
    assert "no answer" in html(box)
