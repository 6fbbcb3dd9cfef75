"""CITATION.cff: what GitHub and reference managers read, beside pyproject.toml and the sources that the code names."""

import re
import tomllib

import yaml

from invlib import paths

CITATION = yaml.safe_load((paths.ROOT / "CITATION.cff").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((paths.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_it_describes_this_package():
    assert CITATION["cff-version"] == "1.2.0" and CITATION["message"] and CITATION["type"] == "software"
    assert (CITATION["version"], CITATION["license"]) == (PROJECT["version"], PROJECT["license"])
    assert CITATION["authors"] == PROJECT["authors"]
    assert PROJECT["authors"][0]["name"] in (paths.ROOT / "LICENSE").read_text(encoding="utf-8")


def test_its_references_are_whole_and_name_what_the_code_cites():
    for work in CITATION["references"]:
        assert work["title"] and work["type"] and all("name" in a or "family-names" in a for a in work["authors"])
    assert {"slides", "data"} < {work["type"] for work in CITATION["references"]}  # the deck and the headlines
    code = "\n".join(path.read_text(encoding="utf-8") for path in paths.PACKAGE.rglob("*.py"))
    cited = set(re.findall(r"arXiv (\d{4}\.\d{5})", code))
    assert cited and cited == {work["url"][-10:] for work in CITATION["references"] if "arxiv" in work.get("url", "")}
