"""What was to be reached, and what was: each goal beside the line of results/bench that measures it."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.common import RESULTS
from invlib import paths

HEAD = """
## What was to be reached

A profile is a paragraph of [What the profiles say](../../benchmarks/README.md#what-the-profiles-say).

| what | to reach | measured | reached |
| --- | --- | --- | --- |
"""
TIMES = paths.RESULTS / "timings.csv"
MAKE_RUN = "make run in all"  # the line of it in TIMES
MINUTES = 30
SHOWN = {  # of a line's further values: what is the same both ways, or nearly so
    "equal_ids": "headlines with equal ids: {}", "lowest_cosine_to_float32": "lowest cosine to float32: {:.5f}",
    "hits": "hits of both: {}", "loss": "cross-entropy of both: {}",
    "largest_difference": "largest difference of a vector's numbers: {:.1g}",
}  # fmt: skip


@dataclass(frozen=True)
class Goal:
    """One line of a script's file, found by `what` and the beginning of `against`, and what it was to reach.

    ratio: so many times faster than the alternative; milliseconds: at most so many. profile: what to read where it was
    not reached.
    """

    what: str
    script: str
    line: str = ""
    against: str = ""
    ratio: float | None = None
    milliseconds: float | None = None
    profile: str = ""

    @property
    def asked(self) -> str:
        if self.ratio == 1:
            return "never slower"
        return f"{self.ratio:g} times faster" if self.ratio else f"at most {self.milliseconds:g} ms"

    def find(self, folder: Path) -> dict | None:
        """The line that measures this goal; None where the script has not run."""
        file = folder / f"{self.script}.json"
        lines = paths.read_json(file)["lines"] if file.exists() else []
        lines = [line for line in lines if line["what"].startswith(self.line)]
        return next((line for line in lines if line["against"].startswith(self.against)), None)

    def cells(self, folder: Path) -> tuple[str, str]:
        """What was measured, and whether that is enough."""
        line = self.find(folder)
        if line is None:
            return "not measured", "not measured"
        ours, ratio = line["ours"]["median"], line["ratio"]
        if self.ratio:
            measured = [f"{ratio['median']:.2f} times faster [{ratio['low']:.2f}, {ratio['high']:.2f}]"]
            reached = ratio["median"] >= self.ratio
        else:
            measured = [f"{ours:.4g} ms; {line['against']}: {line['theirs']['median']:.4g} ms"]
            reached = ours <= self.milliseconds
        measured += [words.format(line[key]) for key, words in SHOWN.items() if key in line]
        return "; ".join(measured), "yes" if reached else f"no; profile: {self.profile}"


GOALS = (
    Goal("`04_metrics`: a model and its control, all word pieces", "teacher_forced", ratio=3, profile="Measuring"),
    Goal("first text: README's five lines", "first_text", "README", milliseconds=5000, profile="First text"),
    Goal("first text: `invlib encode`", "first_text", "invlib encode", milliseconds=5000, profile="First text"),
    Goal("first text: `invlib decode`", "first_text", "invlib decode", milliseconds=5000, profile="First text"),
    Goal("encoding, float32", "encode", "sentence_embedding, float32", "Sentence", 1, profile="Encoding"),
    Goal("encoding, bfloat16", "encode", "sentence_embedding, bfloat16", "Sentence", 1, profile="Encoding"),
    Goal("encoding, bfloat16 for float32", "encode", "sentence_embedding, bfloat16", "sentence_", 1.5,
         profile="Encoding"),
    Goal("decoding 1000 vectors", "decode", "1000", ratio=3, profile="Decoding"),
    Goal("decoding one vector at a time", "decode", "one vector", milliseconds=150, profile="Decoding"),
    Goal("an epoch of `att_pool_768` at the same loss", "epoch", ratio=8, profile="Training"),
    Goal("cramming 32 texts at equal steps", "cramming", "32 texts together, all", ratio=5, profile="Cramming"),
    Goal("the same, 1000 word pieces drawn", "cramming", "32 texts together, 1000", ratio=5, profile="Cramming"),
)  # fmt: skip


def make_run(file: Path) -> str:
    """The line of `make run`, from the seconds of its steps, and its longest steps."""
    seconds = pd.read_csv(file, index_col="step").seconds / 60 if file.exists() else {}
    what = f"| `make run`, preset `cpu`, environment included | at most {MINUTES} minutes |"
    if MAKE_RUN not in seconds:
        return f"{what} not measured | not measured |\n"
    longest = seconds.drop(MAKE_RUN).nlargest(3)
    steps = ", ".join(f"{step} {minutes:.1f}" for step, minutes in longest.items())
    reached = "yes" if seconds[MAKE_RUN] <= MINUTES else "no; profile: The series"
    return f"{what} {seconds[MAKE_RUN]:.1f} minutes; its longest steps: {steps} | {reached} |\n"


def growth(file: Path) -> str:
    """The line of growth: the stage that slows down most towards the most headlines, and memory beside the cache."""
    what = "| growth: 1k to 500k headlines | time of a headline at most 1.5 times as long, memory flat |"
    if not file.exists():
        return f"{what} not measured | not measured |\n"
    lines = [line for line in paths.read_json(file)["lines"] if "memory_mb" in line]
    ours = {tuple(line["what"].split(": ")): line["ours"]["median"] for line in lines}
    longer, stage = max((ms / ours[stage, "50,000"], stage) for (stage, n), ms in ours.items() if n == "500,000")
    cache = next(line for line in lines if "cache_mb" in line and line["what"].endswith("500,000"))
    words = f'of 500,000, against 50,000, {longer:.2f} times as long where slowest, "{stage}"; '
    words += f"memory while the states are computed: {cache['memory_mb']} MB, of 1,000 headlines "
    words += f"{cache['memory_mb_of_fewest']} MB, and {cache['cache_mb']} MB of states on disk"
    flat = cache["memory_mb"] <= 1.5 * cache["memory_mb_of_fewest"]
    return f"{what} {words} | {'yes' if longer <= 1.5 and flat else 'no; profile: Growth'} |\n"


def goals(folder: Path = RESULTS, times: Path = TIMES) -> str:
    """The table of what was to be reached."""
    lines = [(goal.what, goal.asked, *goal.cells(folder)) for goal in GOALS]
    rest = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return HEAD + make_run(times) + rest + growth(folder / "growth.json")
