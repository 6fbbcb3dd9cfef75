"""README.md: its Python lines run, its figures are those of results/, its links lead somewhere."""

import re

import pytest

from invlib import paths, report
from invlib.settings import load_preset, select_row
from invlib.training import train

README = (paths.ROOT / "README.md").read_text(encoding="utf-8")
SMALL = {'"cpu"': '"smoke"', "att_pool_768": "att_pool_96"}  # the same lines at the size of a test


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """A run with the smoke preset's att_pool."""
    run = tmp_path_factory.mktemp("readme")
    train(select_row(load_preset("smoke", data="synthetic"), "att_pool_96"), run)
    return run


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_python_lines_run(small_run, monkeypatch, capsys):
    monkeypatch.setenv("INVLIB_RUN", str(small_run))
    monkeypatch.setenv("INVLIB_DATA", "")
    first, second = python_blocks()
    for small in SMALL.items():
        first, second = first.replace(*small), second.replace(*small)
    second = second.replace("embedding_dim=384", 'embedding_dim=384, data="synthetic"')
    names: dict = {}
    exec(compile(first, "README.md, own sentences", "exec"), names)
    assert names["z"].shape == (1, 96)
    exec(compile(second, "README.md, change one thing", "exec"), names)
    assert names["settings"].slots == 8 and names["model"].config.embedding_dim == 384
    assert re.search(r"^(0\.\d+|[01]\.0)$", capsys.readouterr().out, flags=re.MULTILINE)


def test_tables_are_those_of_the_published_results():
    if report.published() is None:
        assert not re.search(r"^\|.*\d\.\d", README, flags=re.MULTILINE), "README.md has figures that no run made"
        return
    assert report.rebuild_readme(README, report.published()) == README
    assert (paths.RESULTS / "README.md").read_text(encoding="utf-8") == report.results_readme()
    for name in ("results", "deck", "examples"):
        body = re.search(rf"<!-- table:{name} -->\n(.*?)<!-- /table -->", README, flags=re.DOTALL)
        assert body and body[1].count("\n|") >= 3, f"table {name} is empty"


def test_links_lead_somewhere():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert len(links) > 20
    assert [link for link in links if not (paths.ROOT / link).exists()] == []


def test_the_commands_exist():
    makefile = (paths.ROOT / "Makefile").read_text(encoding="utf-8")
    for command in set(re.findall(r"(?:^|`)make ([a-z-]+)", README, flags=re.MULTILINE)):
        assert re.search(rf"^{command}:", makefile, flags=re.MULTILINE), command
