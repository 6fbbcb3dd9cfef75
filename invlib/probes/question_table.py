"""THE table of what a reader asks next: what a small model is trained on, tested on and compared with.

`answers` says in words what came of it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from invlib.encoders.frozen import RANDOM
from invlib.measures.intervals import PairedDifference
from invlib.settings import Settings


class Part(NamedTuple):
    """Some of the headlines: has(source, date) says which ("" where unknown); `needs`: what the data has to have."""

    words: str
    has: Callable[[str, str], bool]
    needs: str = ""


DATES, SOURCES = "dates, in a column Time", "files named after their source, as reuters_headlines.csv"
ALL = Part("there", lambda source, date: True)
UNTIL_2019 = Part("dated until 2019", lambda source, date: "" < date < "2020", DATES)
OF_2020 = Part("dated 2020", lambda source, date: "2020" <= date < "2021", DATES)
REUTERS = Part("from Reuters", lambda source, date: source == "reuters", SOURCES)
OTHERS = Part("from the Guardian or CNBC", lambda source, date: source in ("guardian", "cnbc"), SOURCES)


class Question(NamedTuple):
    """What is asked. All its models have as many training headlines as `seen`, and all its tests are of equal size."""

    words: str
    seen: Part = ALL
    unseen: Part = ALL


BASE = Question("nothing changed")
LATER = Question("later headlines", UNTIL_2019, OF_2020)
SOURCE = Question("another source", REUTERS, OTHERS)
FEWER = Question("fewer headlines")
ENCODER = Question("a random encoder")
SIMILARITY = Question("similarity loss")
SEED = Question("another seed")


@dataclass(frozen=True)
class Line:
    """A line of the table: one model, trained on a part of the training split and tested on a part of the test split.

    beside: the line that it is compared with, on the same test headlines. model_of: the line whose model it takes.
    n: how many training headlines, where not those of the question. changes: of the settings. every_row: whether it is
    asked of all `question_rows`, or of the first alone.
    """

    question: Question
    changed: str
    beside: str | None = None
    trained: Part = ALL
    tested: Part = ALL
    model_of: str | None = None
    n: int | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    every_row: bool = True


def lines(settings: Settings) -> dict[str, Line]:
    """The table's lines by name; one that another is compared with comes before it."""
    untrained = {"encoder": f"{RANDOM}{settings.encoder}"}
    return {
        "all": Line(BASE, "all training headlines"),
        # The split stays: what changes is where the weights start, and the order of the batches
        **{f"seed_{n}": Line(SEED, f"the weights' seed {n}", "all", changes={"seed": n}) for n in (1, 2)},
        # As many headlines, some of them of 2020: what 2020 itself costs is the same for both
        "any_year": Line(LATER, "trained on all years, tested on 2020", tested=OF_2020),
        "until_2019": Line(LATER, "trained until 2019, tested on 2020", "any_year", UNTIL_2019, OF_2020),
        "own_years": Line(LATER, "the same model, tested until 2019", None, UNTIL_2019, UNTIL_2019, "until_2019"),
        "any_source": Line(SOURCE, "trained on all sources, tested on the Guardian and CNBC", tested=OTHERS),
        "reuters": Line(SOURCE, "trained on Reuters, tested on the Guardian and CNBC", "any_source", REUTERS, OTHERS),
        "own_source": Line(SOURCE, "the same model, tested on Reuters", None, REUTERS, REUTERS, "reuters"),
        **{f"of_{n}": Line(FEWER, f"{n} training headlines", "all", n=n) for n in settings.question_sizes},
        "random_encoder": Line(ENCODER, "the encoder's weights drawn anew", "all", changes=untrained, every_row=False),
        **{
            f"sent_sim_{w}": Line(SIMILARITY, f"its weight {w}", "all", changes={"sent_sim_weight": w}, every_row=False)
            for w in (0, 1)
        },
    }


def answers(table: pd.DataFrame) -> str:
    """The table in words, as Markdown: a sentence for each row and question, with what the paired difference says."""
    changed = table.set_index(["row", "line"])["changed"].to_dict()
    sentences = []
    for (question, row), part in table.groupby(["question", "row"], sort=False):
        told = []
        for line in part.itertuples():
            low, high = line.generated_accuracy_low, line.generated_accuracy_high
            words = f"{line.changed} {line.generated_accuracy:.3f} [{low:.3f}, {high:.3f}]"
            if isinstance(line.compared_with, str):
                found = PairedDifference(line.difference, line.difference_low, line.difference_high)
                words += f" (less {changed[row, line.compared_with]}: {found.words})"
            told.append(
                words + ("" if line.clear_of_shuffled else ", not clearly better than another headline's vector")
            )
        control = f"with another headline's vector {part['shuffled_accuracy'].max():.3f} at most"
        sentences.append(f"- **{question}**, `{row}`, positions generated right: {'; '.join(told)}; {control}.")
    return "\n".join(sentences)
