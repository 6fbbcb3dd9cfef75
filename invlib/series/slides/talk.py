"""The talk as it is written in notebooks/talk.yaml: its slides, checked, with the published run's figures in them.

A slide has a title, parts, speaker notes and, where text has placeholders, `figures`, as in notebooks/findings.yaml:
each is [file, {column: value of the row}, column], or a formula over the figures before it. `holds` is a formula too:
what the slide says has to be true of its figures. Parts are explained in parts.py.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from invlib import paths
from invlib.series import findings

KEYS = {"title", "parts", "notes", "figures", "holds", "side_by_side", "foot", "opening"}
PLACEHOLDER = re.compile(r"(?P<formula>\$\$.*?\$\$|\$[^$]+\$)|\{(?P<name>\w+)(?::(?P<form>[^{}]*))?\}", re.DOTALL)


class TalkError(ValueError):
    """The talk can't be built; the message names the slide, the part and what is missing."""


@dataclass(frozen=True)
class Slide:
    """One slide, as talk.yaml has it.

    number: from 1. figures: the values of the placeholders. files: the result files that these come from.
    side_by_side: the shares of the width that parts beside each other have; empty where parts stand below each other.
    opening: the title slide.
    """

    number: int
    title: str
    parts: tuple[dict, ...] = ()
    notes: str = ""
    foot: str = ""
    figures: dict = field(default_factory=dict)
    files: tuple[str, ...] = ()
    side_by_side: tuple[float, ...] = ()
    opening: bool = False

    @property
    def name(self) -> str:
        """How errors call the slide."""
        return f"slide {self.number} ({self.title!r})"

    def filled(self, text: str) -> str:
        """A text with its placeholders {name:format} filled in; formulas between dollars are left as they are."""

        def fill(match: re.Match) -> str:
            if match["formula"]:
                return match[0]
            if match["name"] not in self.figures:
                known = ", ".join(self.figures) or "none"
                raise TalkError(
                    f"{self.name}: the text has {match[0]}, but `figures` has no {match['name']!r}: {known}"
                )
            return format(self.figures[match["name"]], match["form"] or "")

        return PLACEHOLDER.sub(fill, text)


def read_talk(folder: Path, file: Path | None = None) -> list[Slide]:
    """The slides of talk.yaml, with figures from `folder` (results/study).

    file: another talk. Raises TalkError for a slide that lacks something, or whose figures say otherwise.
    """
    file = file or paths.NOTEBOOKS / "talk.yaml"
    if not file.is_file():
        raise TalkError(f"there is no {file}; the talk and its notebooks are in a clone of the repository")
    found = yaml.safe_load(file.read_text(encoding="utf-8"))
    return [read_slide(folder, number, entry) for number, entry in enumerate(found, 1)]


def read_slide(folder: Path, number: int, entry: dict) -> Slide:
    """One entry of talk.yaml with its figures."""
    name = f"slide {number} ({entry.get('title')!r})"
    if unknown := set(entry) - KEYS:
        raise TalkError(f"{name}: unknown {', '.join(sorted(unknown))}; a slide has {', '.join(sorted(KEYS))}")
    if not entry.get("title") or not entry.get("notes"):
        raise TalkError(f"{name}: a slide needs a title that says its message, and speaker notes")
    wanted = entry.get("figures", {})
    try:
        figures = findings.figures_of(folder, {"figures": wanted})
        if not findings.holds(entry, figures):
            raise TalkError(f"{name}: {folder.name} does not support it: not {entry['holds']}")
    except (findings.Unsupported, NameError) as error:
        raise TalkError(f"{name}: {error}") from error
    shares = tuple(entry.get("side_by_side", ()))
    if shares and len(shares) != len(entry["parts"]):
        raise TalkError(f"{name}: side_by_side has {len(shares)} shares for {len(entry['parts'])} parts")
    return Slide(
        number, entry["title"].strip(), tuple(entry.get("parts", ())), entry["notes"], entry.get("foot", ""), figures,
        tuple(where[0] for where in wanted.values() if not isinstance(where, str)), shares, entry.get("opening", False),
    )  # fmt: skip
