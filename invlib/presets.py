"""notebooks/presets.yaml as it stands: what each preset sets, what a row has of its own, which variants there are."""

import re

import yaml

from invlib import paths
from invlib.rows import ROWS, model_name


def read_presets() -> dict:
    """The whole file: the name of a preset, `common` or `runner` -> its values."""
    return yaml.safe_load((paths.NOTEBOOKS / "presets.yaml").read_text(encoding="utf-8"))


def row_values(preset: str, row: str, dim: int, variant: str | None) -> dict:
    """What presets.yaml gives this row of its own (`per_row`): by row id, <row id>_<D>, *_<variant>, then full name.

    What is closer to the row wins, and a preset wins over `common`.
    """
    own: dict = {}
    presets = read_presets()
    keys = (row, f"{row}_{dim}", f"*_{variant}", f"{row}_{dim}_{variant}")
    for part in (presets.get("common", {}), presets.get(preset, {})):
        for key in keys:
            own |= part.get("per_row", {}).get(key, {})
    return own


def check_variant(row: str, dim: int, variant: str, changed: bool) -> None:
    """ValueError for a variant that would train the plain model under another name.

    A variant is a key `*_<variant>` or `<row id>_<D>_<variant>` of presets.yaml, the row whose decoder a no-vector
    control has, or the name of settings that a person changed.
    """
    if not re.fullmatch(r"\w+", variant):
        raise ValueError(f"setting variant is {variant!r}; it is a part of the model's name: letters, digits and _")
    keys = {key for part in read_presets().values() for key in part.get("per_row", {})}
    own_decoder = [name for name, r in ROWS.items() if r.no_vector == "own"] if row == "no_vector" else []
    if not (f"*_{variant}" in keys or model_name(row, dim, variant) in keys or variant in own_decoder or changed):
        known = sorted({key[2:] for key in keys if key.startswith("*_")} | set(own_decoder))
        raise ValueError(
            f"unknown variant {variant!r} of {row}_{dim}: it would be trained as the plain model; variants are "
            f"{', '.join(known)}, or change a setting by name"
        )
