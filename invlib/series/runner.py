"""The runner: `python -m invlib.series` executes the numbered notebooks into a folder of runs/."""

import argparse
import importlib.metadata
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import torch

from invlib import paths
from invlib.device import device
from invlib.encoders.material import load_corpus
from invlib.presets import read_presets
from invlib.series import compare, preflight, readme_tables, tables
from invlib.series.at_once import train_at_once
from invlib.series.duration import duration
from invlib.series.execution import run_series
from invlib.series.notebooks import NotebookFailed, is_complete, notebooks_of, number_of, parameters_of, pick, stamp
from invlib.settings import Settings, auto_preset, load_preset
from invlib.training.record import records

PACKAGES = ("torch", "transformers", "sentence-transformers", "datasets", "bert-score", "sacrebleu", "numpy", "pandas")


def write_settings(folder: Path, settings: Settings, parameters: dict, at_once: int = 1, done: bool = False) -> None:
    """Write what a run is made with to settings.json: settings, device, versions, data. Other keys stay.

    at_once: trainings and notebooks that ran side by side: the times in its tables are not those of an idle machine.
    done: name the headlines that were read even where no model was trained on them, or their hash is not known there.
    """
    versions = {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}
    record = tables.settings_of(folder) | settings.values() | {
        "split": {"train": 0.9, "validation": 0.05, "test": 0.05}, "parameters": parameters, "device": device().type,
        "versions": versions, "at_once": at_once,
    }  # fmt: skip
    of_the_run = [training for training in records(folder).values() if training.purpose == "study"]
    hashes = sorted({training.identity.data_hash for training in of_the_run})
    if done and not hashes and "data_hash" not in record:
        hashes = [load_corpus(settings).data_hash]
    if hashes:
        record["data_hash"] = ", ".join(hashes)  # more than one: the models saw different headlines
    paths.write_json(folder / "settings.json", record)


def point_last(folder: Path) -> None:
    """Make runs/last lead to `folder`, in one step: it always leads to a whole run."""
    paths.RUNS.mkdir(parents=True, exist_ok=True)
    partial = paths.RUNS / f".last.{os.getpid()}"
    partial.symlink_to(os.path.relpath(folder, paths.RUNS.resolve()), target_is_directory=True)
    os.replace(partial, paths.RUNS / "last")


def parse_parameters(pairs: Iterable[tuple[str, str]]) -> dict:
    """`-p name value` pairs as parameters; ValueError for preset and run, which are options."""
    values: dict = {}
    for name, value in pairs:
        if name in ("preset", "run"):
            raise ValueError(f"{name} has an option of its own: give it as --{name} {value}")
        values[name] = int(value) if name == "seed" and value.isdecimal() else value
        path = Path(value).expanduser()
        if name in ("data", "encoder", "language_model") and path.exists():  # meant from here, not from notebooks/
            values[name] = str(path.resolve())
    return values


def whole_number(text: str) -> int:
    """For argparse: a number from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 on")
    return int(text)


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line, parsed."""
    parser = argparse.ArgumentParser(prog="python -m invlib.series", description=__doc__)
    parser.add_argument("--preset", help="a preset of notebooks/presets.yaml; without it the one that fits the machine")
    parser.add_argument("--run", help="name under runs/, or a folder; without it a new one, by time and preset")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--only", nargs="+", default=[], metavar="NN", help="these notebooks alone, in runs/last")
    which.add_argument("--from", dest="start", metavar="NN", help="this notebook and those after it, in runs/last")
    parser.add_argument("--resume", action="store_true", help="go on with a run that stopped: the newest, or --run")
    parser.add_argument(
        "--at-once",
        type=whole_number,
        metavar="N",
        help="first the rows' trainings, then the notebooks, N of them side by side; 1: one after another",
    )
    parser.add_argument(
        "-p", nargs=2, action="append", default=[], dest="pairs", metavar=("NAME", "VALUE"),
        help="a name in the notebooks' parameters cells: data, encoder, rows, seed, ...",
    )  # fmt: skip
    return parser.parse_args(argv)


def choose_folder(args: argparse.Namespace, preset: str) -> Path:
    """The folder that a run writes to: the one named, the newest to resume, for smoke a temporary one, else a new."""
    if args.run:
        return paths.run_folder(args.run)
    if args.resume:
        logs = [path.with_name("log.txt") for path in paths.RUNS.glob("*/settings.json")]
        if not (logs := [log for log in logs if log.is_file()]):
            raise FileNotFoundError(f"nothing to resume in {paths.RUNS}; name the run: --run NAME")
        return max(logs, key=lambda log: log.stat().st_mtime_ns).parent.resolve()
    if preset == "smoke":
        return Path(tempfile.mkdtemp(prefix=f"invlib-{preset}-"))
    if (args.only or args.start) and (paths.RUNS / "last").exists():
        return (paths.RUNS / "last").resolve()  # a part of the series builds on what the others left
    return paths.RUNS / f"{time.strftime('%Y%m%d-%H%M%S')}_{preset}"


def plan_run(args: argparse.Namespace) -> tuple[list[Path], list[Path], Path, Settings, dict]:
    """(series, those to run, folder, settings, parameters) of a command line; ValueError or FileNotFoundError else.

    A part of the series and the rest of a run are made as the run was: other values would mix two runs, and are errors.
    """
    notebooks = notebooks_of(paths.NOTEBOOKS)
    chosen = pick(notebooks, args.only, args.start)
    asked = parse_parameters(args.pairs)
    known = set().union(*map(parameters_of, chosen))
    if lost := sorted(set(asked) - known):  # papermill would only warn
        raise ValueError(f"no notebook of these has the parameter {', '.join(lost)}; parameters are "
                         f"{', '.join(sorted(known))}")  # fmt: skip
    preset = args.preset if args.preset not in (None, "auto") else None
    folder = choose_folder(args, preset or auto_preset())
    made, part = tables.settings_of(folder), bool(args.only or args.start)
    recorded = {}
    if args.resume or part:
        recorded = {name: value for name, value in made.get("parameters", {}).items() if name != "preset"}
    settings = load_preset(preset or made.get("preset"), **recorded | asked)
    now = settings.values()
    if others := [name for name in ("preset", *(asked if part else ())) if made and now[name] != made.get(name)]:
        old, new = (", ".join(f"{name} {values.get(name)}" for name in others) for values in (made, now))
        raise ValueError(f"{folder} was made with {old}, not {new}: it would be a mixture of two runs; "
                         "give another --run")  # fmt: skip
    if made and part:
        asked = {}  # they are what the run has anyway: its executed notebooks stay valid
    return notebooks, chosen, folder, settings, {"preset": settings.preset, **recorded, **asked}


def main(argv: list[str] | None = None) -> int:
    """The command; its exit status: 0 done, 1 a notebook failed, 2 something is missing or wrong, 130 interrupted."""
    args = arguments(argv)
    try:
        notebooks, chosen, folder, settings, parameters = plan_run(args)
    except (ValueError, FileNotFoundError) as error:
        print(f"invlib.series: {error}", file=sys.stderr)
        return 2
    plan = read_presets().get("runner", {}).get(settings.preset, {})
    at_once = args.at_once or min(plan.get("at_once", 1), torch.get_num_threads())
    reading = any("language_model" in parameters_of(path) for path in chosen)
    found = preflight.preflight(settings, folder, plan.get("disk_gb", 4), reading)
    print(f"run {folder}, preset {settings.preset}", *found, sep="\n")
    if missing := [check.name for check in found if not check.ok]:
        print(f"invlib.series: missing: {', '.join(missing)}; nothing was started", file=sys.stderr)
        return 2
    try:
        write_settings(folder, settings, parameters, at_once)
        print(f"notebooks: {len(chosen)}, ", end="", flush=True)  # timing takes a moment
        try:
            took = duration(settings, [number_of(path) for path in chosen], folder)
            print(f"{took}; progress is in {folder / 'log.txt'}\n", flush=True)
            failed = train_at_once(settings, map(number_of, chosen), folder, at_once) if at_once > 1 else None
        except ValueError as error:  # a row that can't be built, headlines that can't be read, a damaged record
            print(f"\ninvlib.series: {error}", file=sys.stderr)
            return 2
        run_series(chosen, folder, parameters, args.resume, at_once, trained=failed == [])
        # Again: now with the hash of the data that was read
        write_settings(folder, settings, parameters, at_once, done=True)
    except (NotebookFailed, KeyboardInterrupt, OSError) as error:  # OSError: it can't be written, or the disk is full
        name = folder.name if folder.parent == paths.RUNS.resolve() else folder
        print(f"\n{error}\n\nWhat was done is in {folder}. Go on with: make run RUN={name} ARGS=--resume (or python -m "
              f"invlib.series --resume --run {name})", file=sys.stderr)  # fmt: skip
        return {NotebookFailed: 1, KeyboardInterrupt: 130}.get(type(error), 2)
    for name in tables.too_early(folder):
        paths.log_line(folder, f"{name}: its time limit cut its training too early for its figures to mean anything")
    whole = all(is_complete(folder / "notebooks" / path.name, stamp(path, parameters)) for path in notebooks)
    if whole and settings.preset != "smoke":
        point_last(folder)
    print(f"\n{readme_tables.closing_table(folder)}\n\n{compare.closing_line(folder)}\n{folder}", flush=True)
    return 0
