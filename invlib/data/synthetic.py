"""The workbook's own synthetic sample: a seeded grammar of financial headlines about made-up companies and people."""

import functools
import random
import re

import yaml

from invlib import paths


def synthetic_headlines(n: int, seed: int) -> list[str]:
    """`n` different made-up headlines of about 15 word pieces; the same for a seed, and the first of a larger n."""
    draw = random.Random(seed)
    headlines: dict[str, None] = {}  # a dict is a set that keeps its order
    while len(headlines) < n:
        text = expand("{headline}", grammar(), draw)
        headlines[re.sub(r"^'?[a-z]", lambda start: start[0].upper(), text)] = None
    return list(headlines)


def expand(text: str, rules: dict[str, list[str]], draw: random.Random) -> str:
    """Replace each {name} by one of its alternatives, expanded in turn, and each {low-high} by a whole number."""

    def replace(match: re.Match) -> str:
        name, low, high = match.groups()
        return expand(draw.choice(rules[name]), rules, draw) if name else str(draw.randint(int(low), int(high)))

    return re.sub(r"\{(?:([a-z_]+)|(\d+)-(\d+))\}", replace, text)


@functools.cache
def grammar() -> dict[str, list[str]]:
    """The alternatives of each name in data/synthetic_grammar.yaml."""
    parts = yaml.safe_load((paths.DATA / "synthetic_grammar.yaml").read_text(encoding="utf-8"))
    rules = {name: re.split(r"\s*\|\s*", text) for name, text in parts["rules"].items()}
    return rules | {name: re.split(r",\s+", text) for name, text in parts["words"].items()}
