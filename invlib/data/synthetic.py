"""The workbook's own synthetic sample: a seeded grammar of financial headlines about made-up companies and people."""

import functools
import random
import re

import yaml

from invlib import paths

GRAMMAR = paths.DATA / "synthetic_grammar.yaml"


def synthetic_headlines(n: int, seed: int) -> list[str]:
    """`n` different made-up headlines; the same for the same seed, and the first of any larger n.

    Drawn from data/synthetic_grammar.yaml: 5 to 35 or so word pieces each, with a median of about 15.
    """
    draw = random.Random(seed)
    headlines: dict[str, None] = {}  # a set that keeps its order
    while len(headlines) < n:
        text = expand("{headline}", grammar(), draw)
        text = re.sub(r"^'?[a-z]", lambda start: start[0].upper(), text)
        headlines[text] = None
    return list(headlines)


def expand(text: str, rules: dict[str, list[str]], draw: random.Random) -> str:
    """Replace each {name} by one of its alternatives, expanded in turn, and each {low-high} by a whole number."""

    def replace(match: re.Match) -> str:
        name, low, high = match.groups()
        if name is None:
            return str(draw.randint(int(low), int(high)))
        return expand(draw.choice(rules[name]), rules, draw)

    return re.sub(r"\{(?:([a-z_]+)|(\d+)-(\d+))\}", replace, text)


@functools.cache
def grammar() -> dict[str, list[str]]:
    """The alternatives of each name in data/synthetic_grammar.yaml."""
    parts = yaml.safe_load(GRAMMAR.read_text(encoding="utf-8"))
    rules = {name: re.split(r"\s*\|\s*", text) for name, text in parts["rules"].items()}
    return rules | {name: re.split(r",\s+", text) for name, text in parts["words"].items()}
