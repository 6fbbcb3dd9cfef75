"""The notebooks for a class."""

import re

import nbformat
import pytest

from invlib import paths
from invlib.series import student_copies

NAMES = sorted(path.name for path in paths.NOTEBOOKS.glob("*.ipynb"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("class")
    student_copies.write_copies(folder)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_has_no_solution_and_no_output(folder, name):
    """Each solution became an empty cell below its minutes, difficulty and check; all other cells stayed."""
    taught, copy = (nbformat.read(place / name, as_version=4) for place in (paths.NOTEBOOKS, folder))
    nbformat.validate(copy)
    solutions = [c for c in taught.cells if student_copies.SOLUTION in c.metadata.get("tags", [])]
    assert not any(cell.source in "".join(c.source for c in copy.cells) for cell in solutions)
    code = [cell for cell in copy.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    empty = [k for k, cell in enumerate(copy.cells) if cell.source == student_copies.ANSWER]
    assert len(empty) == len(solutions) and all(not copy.cells[k].metadata for k in empty)
    assert all(copy.cells[k - 1].source.startswith("*") and " minutes, " in copy.cells[k - 1].source for k in empty)
    assert all("Check: " in copy.cells[k - 1].source and "{" not in copy.cells[k - 1].source for k in empty)
    others = [c.source for c in taught.cells if c.cell_type == "code" and c not in solutions]
    assert others == [cell.source for cell in code if cell.source != student_copies.ANSWER]


def test_every_exercise_has_minutes_a_difficulty_and_a_check():
    for exercises in student_copies.read_exercises().values():
        for exercise in exercises:
            assert 5 <= exercise["minutes"] <= 60 and exercise["difficulty"] in ("easy", "medium", "hard")
            assert exercise["check"].endswith(".")


@pytest.mark.parametrize("name", [*NAMES, *student_copies.TEXTS])
def test_no_link_leads_out_of_the_folder(folder, name):
    """It is handed out alone: what is not in it is named, and not linked."""
    text = (folder / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)\s]*)?\)", text)
    assert not [link for link in links if link not in {*NAMES, *student_copies.TEXTS}]
    if name == "README.md":
        assert "03_training.ipynb" in links and "on two cores, from presets.yaml" in text


def test_an_exercise_without_an_entry_is_an_error(tmp_path, monkeypatch, capsys):
    """And nothing is written."""
    monkeypatch.setattr(student_copies, "read_exercises", dict)
    assert student_copies.main(["--output", str(tmp_path / "class")]) == 2
    assert (
        "00_data_exploration.ipynb: 3 solutions, and 0 entries in notebooks/exercises.yaml" in capsys.readouterr().err
    )
    assert not (tmp_path / "class").exists()
