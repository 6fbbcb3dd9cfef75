"""README.md: its Python lines run, its figures are those of results/, its links lead somewhere."""

import re

from invlib import paths
from invlib.series import findings, readme_tables, tables

README = (paths.ROOT / "README.md").read_text(encoding="utf-8")


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_models_lines_show_what_they_print(monkeypatch, capsys):
    """The lines run minutes after a clone, from its folder, and print what README.md says they print."""
    monkeypatch.chdir(paths.ROOT)
    names: dict = {}
    exec(compile(python_blocks()[0], "README.md, own sentences", "exec"), names)
    assert names["z"].shape == (1, 384)
    (shown,) = re.findall(r"print\(model.decode\(z\)\)  # (.*)", README)
    assert capsys.readouterr().out.strip() == shown


def test_the_lines_that_change_a_fact_do(monkeypatch, capsys):
    monkeypatch.chdir(paths.ROOT)
    exec(compile(python_blocks()[2], "README.md, one fact changed", "exec"), {})
    (shown,) = re.findall(r"print\(reader.decode\(z\)\)  # (.*)", README)
    assert capsys.readouterr().out.strip() == shown


def test_the_lines_that_train_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("INVLIB_RUN", str(tmp_path))
    monkeypatch.setenv("INVLIB_DATA", "")
    lines = python_blocks()[1].replace('"cpu"', '"smoke"')  # the same lines at the size of a test
    lines = lines.replace("embedding_dim=384", 'embedding_dim=384, data="synthetic"')
    names: dict = {}
    exec(compile(lines, "README.md, change one thing", "exec"), names)
    assert names["settings"].slots == 8 and names["model"].config.embedding_dim == 384
    assert re.search(r"^(0\.\d+|[01]\.0)$", capsys.readouterr().out, flags=re.MULTILINE)


def without_tables(text: str) -> str:
    return re.sub(r"<!-- table:\w+ -->.*?<!-- /table -->", "", text, flags=re.DOTALL)


def test_the_answer_comes_first_and_is_short():
    """Title, question, answer, then the one figure, with alt text; 600 words at most before a reader can run it."""
    before = README[: README.index("## Run it")]
    prose = re.sub(r"<!-- .*? -->", "", without_tables(before))
    assert 200 < len(prose.split()) <= 600
    parts = [before.index(part) for part in ("<!-- findings:README_answer -->", "](figures/", "<!-- table:results -->")]
    assert parts == sorted(parts) and before.count("](figures/") == 1
    assert len(re.search(r"!\[(.*?)\]\(figures/hero.png\)", before, flags=re.DOTALL)[1].split()) > 20
    assert all(f"<!-- table:{name} -->" in before for name in ("results", "deck", "examples"))


def test_no_measured_figure_is_typed():
    """Shares, correlations and bits stand in the tables' and the findings' blocks alone."""
    prose = re.sub(r"<!-- findings:\w+ -->.*?<!-- /findings -->", "", without_tables(README), flags=re.DOTALL)
    prose = re.sub(r"```.*?```|`[^`]*`", "", prose[: prose.index("## Read the code")], flags=re.DOTALL)
    assert re.findall(r"\d ?%|\b[01]\.\d+\b", prose) == []


def test_sentences_are_those_of_the_published_results():
    assert findings.fill_blocks(README, tables.published()) == README
    assert findings.unsupported() == []


def test_tables_are_those_of_the_published_results():
    if tables.published() is None:
        assert not re.search(r"^\|.*\d\.\d", README, flags=re.MULTILINE), "README.md has figures that no run made"
        return
    assert readme_tables.rebuild_readme(README, tables.published()) == README
    assert (paths.RESULTS / "README.md").read_text(encoding="utf-8") == readme_tables.results_readme()
    for name in ("results", "deck", "examples", "inversion"):
        body = re.search(rf"<!-- table:{name} -->\n(.*?)<!-- /table -->", README, flags=re.DOTALL)
        assert body and body[1].count("\n|") >= 3, f"table {name} is empty"


def test_links_lead_somewhere():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert len(links) > 20 and "CITATION.cff" in links
    assert [link for link in links if not (paths.ROOT / link).exists()] == []


def test_the_commands_exist():
    makefile = (paths.ROOT / "Makefile").read_text(encoding="utf-8")
    assert README.index("git clone") < README.index("make run")
    for command in set(re.findall(r"(?:^|`)make ([a-z-]+)", README, flags=re.MULTILINE)):
        assert re.search(rf"^{command}:", makefile, flags=re.MULTILINE), command
