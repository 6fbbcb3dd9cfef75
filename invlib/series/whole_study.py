"""Every method of the study side by side: recovered bits against size, and what each costs (notebook 10).

Where no run on this machine has what that needs, both are the published run's, with a note that says so.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from invlib import paths
from invlib.device import device
from invlib.encoders.material import load_material
from invlib.evaluation.controls import reference_nats
from invlib.evaluation.run_results import name_of
from invlib.language_models.fit_vectors import recovered_bits_interval
from invlib.probes.robustness import packed_bits
from invlib.series import tables
from invlib.settings import Settings

NEEDS = ("metrics.json", "tables/09_headlines.csv", "tables/09_speed.csv")  # of 04 and of 09
ONE_STEP = {"headlines, own m": "one step, own m", "headlines, one m for all": "one step, one m for all"}


def bits_by_size(run: str | Path | None, fits: pd.DataFrame, settings: Settings) -> tuple[pd.DataFrame, float, str]:
    """Recovered bits of each method at its size, the most that can be recovered, and a note where they are published.

    fits: table 10_headlines. The table has group, label, numbers, bits, low and high, as `plots.bits_by_size` takes it.
    """
    shown = tables.find_results(run, *NEEDS)
    metrics = tables.load_metrics(shown.folder)
    if shown.note:
        ceiling = float(metrics["reference_bits"].dropna().mean())
        return pd.read_csv(shown.folder / "tables" / "10_bits.csv"), ceiling, shown.note
    material = load_material(settings, progress=False)
    bits = reference_nats(paths.find_run(run, needs="models"), "test", settings, material)[0] / np.log(2)  # (N,)
    lines = learned_and_controls(metrics)
    for name, part in read_own(run, NEEDS[1]).groupby("language_model", sort=False):
        lines.append(searched(f"cramming, {name}", part["vector"].iloc[0], part, bits, settings))
    for name, label in ONE_STEP.items():
        part = fits[fits["system"] == name]
        lines.append(searched(label, part["kept_numbers"].iloc[0], part, bits, settings))
    for size in sorted({line["numbers"] for line in lines if line["group"] == "learned"}):
        lines.append(
            {"group": "control", "label": "packed_ids", "numbers": size} | packed_bits(material, size, bits, settings)
        )
    points = pd.DataFrame(lines).dropna(subset=["bits"])
    paths.write_csv(paths.run_folder(run) / "tables" / "10_bits.csv", points)
    return points, float(bits.mean()), ""


def learned_and_controls(metrics: pd.DataFrame) -> list[dict]:
    """A point of each model, and one of the same decoder with another headline's vector."""
    lines = []
    for row in tables.main_rows(metrics):
        ends = (row["ci95"] or {}).get("recovered_bits") or [None, None]
        line = {"group": "learned", "label": name_of(row), "numbers": row["embedding_dim"]}
        lines.append(line | {"bits": row["recovered_bits"], "low": ends[0], "high": ends[1]})
        swapped = tables.control(row, "shuffled_vector").get("recovered_bits")
        lines.append(line | {"group": "control", "label": "another headline's vector", "bits": swapped})
    return lines


def searched(label: str, numbers: int, part: pd.DataFrame, bits: np.ndarray, settings: Settings) -> dict:
    """The point of fitted vectors; bits: the reference's, of each test headline."""
    found = recovered_bits_interval(part, bits[part["headline"]], settings.n_bootstrap)
    return {"group": "searched", "label": label, "numbers": numbers} | found


def read_own(run: str | Path | None, file: str) -> pd.DataFrame:
    """A table of 09 in the run that has it; ValueError where 09 ran without that run's language models."""
    path = paths.find_run(run, needs=file) / file
    table = pd.read_csv(path)
    if table["language_model"].str.contains("untrained").any():
        raise ValueError(f"{path} is of networks that were not trained; run notebooks/09_cramming.ipynb again")
    return table


def cost(run: str | Path | None, fits: pd.DataFrame, hidden_size: int) -> tuple[pd.DataFrame, str]:
    """Seconds per headline of each method, to encode and to decode, and a note where they are published.

    fits: table 10_headlines; hidden_size: of the language model.
    """
    shown = tables.find_results(run, *NEEDS)
    if shown.note:
        return pd.read_csv(shown.folder / "tables" / "10_cost.csv"), shown.note
    lines = []
    for row in tables.main_rows(tables.load_metrics(shown.folder)):
        line = {"system": name_of(row), "numbers": row["embedding_dim"], "device": row["device"]}
        lines.append(line | {"to encode": row["encode_ms"], "to decode": row["decode_ms"]})
    speed = read_own(run, NEEDS[2]).iloc[0]
    line = {"system": f"cramming, {speed['language_model']}", "numbers": hidden_size, "device": speed["device"]}
    lines.append(line | {"to encode": speed["encode_ms"], "to decode": speed["decode_ms"]})
    for name, label in ONE_STEP.items():
        part = fits[fits["system"] == name].iloc[0]
        line = {"system": label, "numbers": part["kept_numbers"], "device": str(device())}
        lines.append(line | {"to encode": part["encode_ms"], "to decode": part["decode_ms"]})
    table = pd.DataFrame(lines)
    table[["to encode", "to decode"]] /= 1000
    paths.write_csv(paths.run_folder(run) / "tables" / "10_cost.csv", table)
    return table, ""
