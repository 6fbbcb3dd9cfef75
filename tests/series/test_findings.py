"""What the notebooks say that they found: each figure is in the published results, each comparison holds there."""

import re
import string

import nbformat
import pandas as pd
import pytest
import yaml

from invlib import paths
from invlib.series import findings, publish, tables
from invlib.series.notebooks import notebooks_of

SENTENCES = [
    pytest.param(finding, id=f"{name}-{k}")
    for name, items in findings.read_findings().items()
    for k, finding in enumerate(items)
]
LAB = "13_latent_lab"  # what it finds is what its reader types: it prints its own
NOTEBOOKS = {p.stem: nbformat.read(p, as_version=4) for p in notebooks_of(paths.NOTEBOOKS) if p.stem != LAB}
FIRST_SCREENS = {"07_lossless_and_semantic": "07_control", "08_limits": "08_control", "11_between": "11_control"}
each_notebook = pytest.mark.parametrize("name", NOTEBOOKS)

FOUND = """
00_a:
  - text: "`wide` has {wide:.2f}, `small` {small:.2f}, a difference of {gain:+.2f}."
    figures:
      wide: [tables/00_t.csv, {model: wide}, accuracy]
      small: [tables/00_t.csv, {model: small}, accuracy]
      gain: wide - small
    holds: gain > 0
"""


@pytest.fixture
def small(repository, monkeypatch):
    """A repository of one notebook with one finding, and its published run."""
    (paths.NOTEBOOKS / "findings.yaml").write_text(FOUND)
    book = nbformat.read(paths.NOTEBOOKS / "00_a.ipynb", as_version=4)
    book.cells.append(nbformat.v4.new_code_cell("found()", metadata={"tags": [findings.TAG]}, execution_count=3))
    nbformat.write(book, paths.NOTEBOOKS / "00_a.ipynb")
    folder = paths.RESULTS / "study"
    paths.write_json(folder / "metrics.json", [])
    write(folder, 0.75, 0.5)
    return folder


def write(folder, wide, small_):
    table = pd.DataFrame({"model": ["wide †", "small"], "accuracy": [wide, small_]})
    paths.write_csv(folder / "tables" / "00_t.csv", table)


def finding():
    return findings.read_findings()["00_a"][0]


@pytest.mark.parametrize("finding", SENTENCES)
def test_a_sentence_is_supported_by_the_published_run(finding):
    """A new run that says otherwise makes this fail: mend the sentence, and what README.md says of it."""
    text = findings.stated(tables.published(), finding)
    assert not re.search(r"[{}]|\bnan\b", text) and text.strip("*")[0].isupper() and text.strip("*").endswith(".")


@pytest.mark.parametrize("finding", SENTENCES)
def test_no_figure_is_typed(finding):
    """What is measured stands in a placeholder; digits are left in names of models, notebooks and layers alone."""
    words = "".join(part for part, *_ in string.Formatter().parse(finding["text"]))
    words = re.sub(r"`[^`]*`|(notebook|section|layer|temperature|beam of|float) ?\d+", "", words)
    assert not re.search(r"\d\.\d|\d ?%|\b\d{2,}\b", words), words
    used = {name for _, name, _, _ in string.Formatter().parse(finding["text"]) if name}
    formulas = " ".join([where for where in finding["figures"].values() if isinstance(where, str)])
    formulas = set(re.findall(r"\w+", f"{formulas} {finding.get('holds', '')}"))
    assert set(finding["figures"]) == (used | formulas) & set(finding["figures"]), "a figure that nothing uses"


@each_notebook
def test_every_notebook_ends_in_what_it_found(name):
    """Three to five sentences, in the last code cell before the exercises, under its heading."""
    cells = NOTEBOOKS[name].cells
    assert 3 <= len(findings.read_findings()[name]) <= 5
    (place,) = [k for k, cell in enumerate(cells) if findings.TAG in cell.metadata.get("tags", [])]
    assert cells[place].source == f'Markdown(findings.markdown("{name}", run))'
    assert cells[place - 1].source.splitlines()[0] == "## What we found"
    later = [cell for cell in cells[place + 1 :] if cell.cell_type == "code"]
    assert all("solution" in cell.metadata.get("tags", []) or "_box(" in cell.source for cell in later)
    assert not any("## Summary" in cell.source for cell in cells)


@each_notebook
def test_the_committed_sentences_are_those_of_the_published_run(name):
    """As README.md's tables: `python -m invlib.series.publish` makes them anew."""
    (cell,) = [c for c in NOTEBOOKS[name].cells if findings.TAG in c.metadata.get("tags", [])]
    (output,) = cell.outputs
    assert output.data["text/markdown"] == findings.markdown(name, tables.published())


def test_a_sentence_has_the_runs_figures(small):
    assert findings.stated(small, finding()) == "`wide` has 0.75, `small` 0.50, a difference of +0.25."


def test_a_sentence_that_does_not_hold_is_left_out(small):
    write(small, 0.5, 0.75)
    with pytest.raises(findings.Unsupported, match="not gain > 0"):
        findings.stated(small, finding())
    text = findings.markdown("00_a", small)
    assert "wide" not in text and "does not support them: 1 of 1" in text
    (reason,) = findings.unsupported()
    assert reason.startswith("00_a: study does not support")


@pytest.mark.parametrize(
    ("row", "column", "says"),
    [({"model": "tall"}, "accuracy", "0 values of 'accuracy' in rows with model 'tall'"),
     ({}, "accuracy", "2 values"),
     ({"model": "wide"}, "loss", "0 columns 'loss'; its columns are model, accuracy"),
     ({"name": "wide"}, "accuracy", "0 columns 'name'")],
)  # fmt: skip
def test_what_a_file_lacks_is_named(small, row, column, says):
    with pytest.raises(findings.Unsupported, match="tables/00_t.csv of study") as error:
        findings.figure(small, "tables/00_t.csv", row, column)
    assert says in str(error.value)


def test_a_missing_file_is_named(small):
    with pytest.raises(findings.Unsupported, match="study has no tables/01_t.csv"):
        findings.figure(small, "tables/01_t.csv", {}, "accuracy")
    (small / "tables" / "00_t.csv").unlink()
    assert "does not support them: 1 of 1" in findings.markdown("00_a", small)


def test_several_rows_are_joined(small):
    def joined(how):
        return findings.figure(small, "tables/00_t.csv", {}, "accuracy", how)

    assert (joined("max"), joined("min"), joined("mean"), joined("count")) == (0.75, 0.5, 0.625, 2)


def test_metrics_have_a_name_dotted_columns_and_the_ends_of_intervals(small):
    row = {"model": "rnn", "embedding_dim": 8, "variant": "long", "search": "greedy"}
    row |= {"ci95": {"bleu": [1, 3], "chrf": None}}
    row["controls"] = {"no_vector": {"ci95": {"bleu": [0, 2]}, "bleu": 1}}
    paths.write_json(small / "metrics.json", [row])

    def figure(column):
        return findings.figure(small, "metrics.json", {"name": "rnn_8_long"}, column)

    assert (figure("ci95.bleu.low"), figure("ci95.bleu.high"), figure("controls.no_vector.bleu")) == (1, 3, 1)
    assert figure("controls.no_vector.ci95.bleu.high") == 2


def test_a_readers_run_stands_beside(small, tmp_path):
    """The sentence is the published run's; the reader's figures are below it, also where they say otherwise."""
    own = tmp_path / "mine"
    assert "not of yours" in findings.markdown("00_a", own)
    write(own, 0.9, 0.3)
    text = findings.markdown("00_a", own)
    assert "**the published run `study`**" in text and "`wide` has 0.75" in text
    assert "*This run: 0.90, 0.30, +0.60.*" in text and "`mine`" in text
    write(own, 0.3, 0.9)
    assert "*This run: 0.30, 0.90, -0.60; here the sentence does not hold.*" in findings.markdown("00_a", own)


def test_without_published_results_one_line_says_so(small, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "none")
    text = findings.markdown("00_a", None)
    assert "none" in text and "published figures are in the folder `results`" in text and "\n" not in text
    assert findings.unsupported() == []


def test_publishing_writes_the_new_figures_and_says_what_no_longer_holds(small, finished):
    """An executed notebook shows the figures that were published before it; what is committed has the run's own."""
    book = nbformat.read(finished / "notebooks" / "00_a.ipynb", as_version=4)
    book.cells[-1].outputs = [findings.output("of before", 4)]
    paths.write_text(finished / "notebooks" / "00_a.ipynb", nbformat.writes(book))
    write(finished, 0.6, 0.2)
    _, notes = publish.publish("mine", "study")
    text = (paths.NOTEBOOKS / "00_a.ipynb").read_text()
    assert "`wide` has 0.60" in text and "of before" not in text and not any("support" in note for note in notes)
    write(finished, 0.2, 0.6)
    _, notes = publish.publish("mine", "study")
    assert any("left out" in note and "not gain > 0" in note for note in notes)
    assert "does not support them: 1 of 1" in (paths.NOTEBOOKS / "00_a.ipynb").read_text()


def test_the_file_is_data_of_the_package():
    link = paths.PACKAGE / "findings.yaml"
    assert link.is_symlink() and yaml.safe_load(link.read_text()) == findings.read_findings()


def test_every_sentence_has_its_place_in_readme_or_a_notebook():
    readme = findings.names_of_blocks((paths.ROOT / "README.md").read_text(encoding="utf-8"))
    prose = [cell.source for book in NOTEBOOKS.values() for cell in book.cells if cell.cell_type == "markdown"]
    inside = [name for source in prose for name in findings.names_of_blocks(source)]
    assert readme and set(FIRST_SCREENS.values()) <= set(inside)
    assert set(findings.read_findings()) == {*NOTEBOOKS, *readme, *inside}


@pytest.mark.parametrize("name", FIRST_SCREENS)
def test_a_control_that_wins_is_on_the_first_screen(name):
    """In one sentence, as the published run has it, before the goals."""
    screen = NOTEBOOKS[name].cells[0].source
    assert findings.names_of_blocks(screen) == [FIRST_SCREENS[name]]
    (finding,) = findings.read_findings()[FIRST_SCREENS[name]]
    sentence = findings.stated(tables.published(), finding)
    assert f"-->\n{sentence}\n<!--" in screen and screen.index(sentence) < screen.index("In this notebook you will")
    assert findings.fill_blocks(screen, tables.published()) == screen


def test_readmes_sentences_are_filled_in_and_reported_as_the_notebooks_are(small):
    """Between their marks; what does not hold is left out, and publishing says so."""
    readme = paths.ROOT / "README.md"
    readme.write_text("before\n<!-- findings:00_a -->\nold\n<!-- /findings -->\nafter\n")
    publish.rebuild()
    sentence = "`wide` has 0.75, `small` 0.50, a difference of +0.25."
    assert readme.read_text() == f"before\n<!-- findings:00_a -->\n{sentence}\n<!-- /findings -->\nafter\n"
    assert findings.unsupported() == []
    write(small, 0.5, 0.75)
    publish.rebuild()
    assert "wide" not in readme.read_text() and len(findings.unsupported()) == 2  # README.md and the notebook


def test_a_notebooks_prose_is_filled_in_as_readme_is(small):
    """Its first screen says what the published run found; a run that says otherwise takes the sentence out."""
    place = paths.NOTEBOOKS / "00_a.ipynb"
    book = nbformat.read(place, as_version=4)
    book.cells.insert(0, nbformat.v4.new_markdown_cell("# A\n\n<!-- findings:00_a -->\n<!-- /findings -->\n\nGoals"))
    nbformat.write(book, place)
    publish.rebuild()
    sentence = "`wide` has 0.75, `small` 0.50, a difference of +0.25."
    filled = nbformat.read(place, as_version=4).cells[0].source
    assert filled == f"# A\n\n<!-- findings:00_a -->\n{sentence}\n<!-- /findings -->\n\nGoals"
    write(small, 0.5, 0.75)
    publish.rebuild()
    assert "wide" not in nbformat.read(place, as_version=4).cells[0].source
    assert len(findings.unsupported()) == 2  # the prose and the cell
