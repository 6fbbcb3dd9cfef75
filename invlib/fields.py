"""A field of `Settings`: its default, what it means, its group, and the limits of its values."""

import dataclasses
import math
import operator
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, get_args

LIMITS = {  # name of a limit -> (what holds, its words)
    "at_least": (operator.ge, "at least"),
    "at_most": (operator.le, "at most"),
    "above": (operator.gt, "above"),
    "below": (operator.lt, "below"),
    "one_of": (lambda value, choices: value in choices, "one of"),
}


def setting(default: Any, meaning: str, group: str, **limits: Any) -> Any:
    """A field of `Settings`, with the sentence that the settings table shows and the limits that `check_value` holds.

    limits: at_least, at_most, above, below (numbers), one_of (choices); of a tuple they hold for each entry.
    """
    return dataclasses.field(default=default, metadata={"group": group, "meaning": meaning, "limits": limits})


def nearest(name: str, known: Iterable[str]) -> str:
    """What follows a misspelt name, " (did you mean slots?)"; nothing where no known name is near."""
    return "".join(f" (did you mean {match}?)" for match in get_close_matches(name, list(known), n=1))


def check_value(f: dataclasses.Field, value: Any) -> None:
    """ValueError for a value of another kind than its setting's, infinite or outside its limits; an int is a float."""
    meaning, limits = f.metadata["meaning"], f.metadata["limits"]
    kinds = tuple(kind for kind in get_args(f.type) or (f.type,) if kind is not Ellipsis)
    allowed, several = (*kinds, int) if float in kinds else kinds, isinstance(f.default, tuple)
    for entry in value if several else (value,):
        if not isinstance(entry, allowed) or (isinstance(entry, bool) and bool not in kinds):
            wanted = " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
            wanted = f"hold entries of the kind {wanted}" if several else f"be of the kind {wanted}"
            raise ValueError(f"setting {f.name} is {value!r}; it has to {wanted}: {meaning}")
        if isinstance(entry, float) and math.isinf(entry):
            raise ValueError(f"setting {f.name} is {value!r}; it has to be a finite number: {meaning}")
        for limit, bound in limits.items() if entry is not None else ():
            holds, words = LIMITS[limit]
            if not holds(entry, bound):
                near = nearest(entry, bound) if limit == "one_of" else ""
                bound = ", ".join(map(str, bound)) if limit == "one_of" else bound
                raise ValueError(f"setting {f.name} is {value!r}{near}; it has to be {words} {bound}: {meaning}")
