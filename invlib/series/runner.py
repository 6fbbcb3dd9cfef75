"""The runner: `python -m invlib.series` executes the numbered notebooks in order into a folder of runs/."""

import argparse
import importlib.metadata
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from invlib import paths
from invlib.series.notebooks import (
    NotebookFailed,
    check_parameters,
    environment,
    execute,
    is_complete,
    notebooks_of,
    parameters_of,
    pick,
    stamp,
)

PACKAGES = ("torch", "transformers", "sentence-transformers", "datasets", "bert-score", "sacrebleu", "numpy", "pandas")


def files(folder: Path) -> dict[str, int]:
    """The files that notebooks leave in a run: relative name -> time of the last change in ns."""
    found = {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    own = ("notebooks", "log.txt", "settings.json")
    return {str(name): when for name, when in found.items() if name.parts[0] not in own and name.suffix != ".part"}


def produced(before: dict[str, int], after: dict[str, int]) -> str:
    """What is new or changed, in a few words: models by name, single files by name, other folders by their count."""
    changed = [Path(name).parts for name, when in after.items() if before.get(name) != when]
    within = {top: {rest[0] for other, *rest in changed if other == top and rest} for top, *_ in changed}
    counted = {
        top: f"/{min(names)}" if len(names) == 1 else f"/ ({len(names)})" for top, names in within.items() if names
    }
    return ", ".join(top + counted.get(top, "") for top in sorted(within))


def run_series(
    notebooks: list[Path],
    folder: Path,
    parameters: dict,
    *,
    resume: bool = False,
    say: Callable[..., None] = print,
) -> None:
    """Execute notebooks in order into `folder`; one line each through `say`, and in log.txt.

    resume: leave out those whose executed copy is complete under the same cells, preset and parameters.
    Raises NotebookFailed at the first failure; what was done until then stays.
    """
    width = max(len(path.stem) for path in notebooks)
    for notebook in notebooks:
        say(f"{notebook.stem:<{width}} ", end="", flush=True)
        if resume and is_complete(folder / "notebooks" / notebook.name, stamp(notebook, parameters)):
            say("   done before")
            continue
        paths.log_line(folder, f"{notebook.stem} starts")
        before, start = files(folder), time.monotonic()
        try:
            execute(notebook, folder, parameters)
        except NotebookFailed as error:
            say("FAILED", flush=True)
            paths.log_line(folder, f"{notebook.stem} failed: {str(error).splitlines()[-1]}")
            raise NotebookFailed(f"{notebook.name} failed in this cell:\n\n{error}") from error
        except KeyboardInterrupt:
            say("interrupted", flush=True)
            paths.log_line(folder, f"{notebook.stem} interrupted")
            raise
        line = f"{time.monotonic() - start:6.0f} s  {produced(before, files(folder)) or 'no files'}"
        say(line, flush=True)
        paths.log_line(folder, f"{notebook.stem} done: {line.strip()}")


def write_settings(folder: Path, settings, parameters: dict) -> None:
    """Write what a run is made with to settings.json: settings, device, versions, data. Other keys stay."""
    from invlib.settings import device
    from invlib.training.record import records

    path = folder / "settings.json"
    record = paths.read_json(path) if path.is_file() else {}
    versions = {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}
    record |= settings.values() | {"split": {"train": 0.9, "validation": 0.05, "test": 0.05}}
    record |= {"parameters": parameters, "device": device().type, "versions": versions}
    if hashes := sorted({training.identity.data_hash for training in records(folder).values()}):
        record["data_hash"] = ", ".join(hashes)  # more than one: the models saw different headlines
    paths.write_json(path, record)


def point_last(folder: Path) -> None:
    """Make runs/last lead to `folder`, in one step: it always leads to a whole run."""
    paths.RUNS.mkdir(parents=True, exist_ok=True)
    partial = paths.RUNS / f".last.{os.getpid()}"
    partial.symlink_to(os.path.relpath(folder, paths.RUNS.resolve()), target_is_directory=True)
    os.replace(partial, paths.RUNS / "last")


def newest_run() -> Path:
    """The run that the runner wrote to last, for `--resume` without a name."""
    runs = [path.parent for path in paths.RUNS.glob("*/settings.json") if (path.parent / "log.txt").is_file()]
    if not runs:
        raise FileNotFoundError(f"nothing to resume in {paths.RUNS}; name the run: --run NAME")
    return max(runs, key=lambda run: (run / "log.txt").stat().st_mtime_ns).resolve()


def parse_parameters(pairs: Iterable[tuple[str, str]]) -> dict:
    """`-p name value` pairs as parameters; ValueError for preset or run, or a seed that is no whole number."""
    values: dict = {}
    for name, value in pairs:
        if name in ("preset", "run"):
            raise ValueError(f"{name} has an option of its own: give it as --{name} {value}")
        if name == "seed" and not re.fullmatch(r"\d+", value):
            raise ValueError(f"seed is a whole number, not {value!r}")
        path = Path(value).expanduser()
        if name == "rows":
            values[name] = value.replace(",", " ").split()
        elif name in ("data", "encoder", "language_model") and path.exists():  # meant from here, not from notebooks/
            values[name] = str(path.resolve())
        else:
            values[name] = int(value) if name == "seed" else value
    return values


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
        "-p",
        nargs=2,
        action="append",
        default=[],
        dest="pairs",
        metavar=("NAME", "VALUE"),
        help="a name in the notebooks' parameters cells: data, encoder, rows, seed, ...",
    )
    return parser.parse_args(argv)


def choose_folder(args: argparse.Namespace, preset: str) -> Path:
    """The folder that a run writes to: the one named, the one resumed, a temporary one for smoke, else a new one."""
    if args.run:
        return paths.run_folder(args.run)
    if args.resume:
        return newest_run()
    if preset == "smoke":
        return Path(tempfile.mkdtemp(prefix=f"invlib-{preset}-"))
    if (args.only or args.start) and (paths.RUNS / "last").exists():
        return (paths.RUNS / "last").resolve()  # a part of the series builds on what the others left
    return paths.RUNS / f"{time.strftime('%Y%m%d-%H%M%S')}_{preset}"


def check_part(folder: Path, made: dict, settings, asked: Iterable[str]) -> None:
    """Raise ValueError where a part of the series would go into a run that was made otherwise.

    made: the run's settings.json; settings: those of the part; asked: which of them the command line named.
    """
    now = settings.values()
    if others := [name for name in asked if now[name] != made.get(name)]:
        old, new = (", ".join(f"{name} {values.get(name)}" for name in others) for values in (made, now))
        raise ValueError(
            f"{folder} was made with {old}, not {new}: a part of the series would make it a mixture of two runs; "
            "give another --run"
        )


def prepare(args: argparse.Namespace):
    """(series, those to run, folder, settings, parameters) of a command line; ValueError or FileNotFoundError else."""
    from invlib.settings import auto_preset, load_preset

    notebooks = notebooks_of(paths.NOTEBOOKS)
    chosen = pick(notebooks, args.only, args.start)
    asked = parse_parameters(args.pairs)
    check_parameters(chosen, asked)
    preset = args.preset if args.preset not in (None, "auto") else None
    folder = choose_folder(args, preset or auto_preset())
    made = paths.read_json(folder / "settings.json") if (folder / "settings.json").is_file() else None
    recorded, part = {}, bool(args.only or args.start)
    if made:
        if preset and made["preset"] != preset:
            raise ValueError(f"{folder} was made with preset {made['preset']}, not {preset}; give another --run")
        preset = made["preset"]
        if args.resume or part:  # the rest of a run is made as its beginning was
            recorded = {name: value for name, value in made.get("parameters", {}).items() if name != "preset"}
    settings = load_preset(preset, **recorded | asked)
    if made and part:
        check_part(folder, made, settings, asked)
        asked = {}  # they say what the run has anyway: its executed notebooks stay valid
    return notebooks, chosen, folder, settings, {"preset": settings.preset, **recorded, **asked}


def main(argv: list[str] | None = None) -> int:
    """The command; its exit status: 0 done, 1 a notebook failed, 2 something is missing or wrong, 130 interrupted."""
    from invlib.series import preflight, tables
    from invlib.settings import read_presets

    args = arguments(argv)
    with environment():
        try:
            notebooks, chosen, folder, settings, parameters = prepare(args)
        except (ValueError, FileNotFoundError) as error:
            print(f"invlib.series.runner: {error}", file=sys.stderr)
            return 2
        plan = read_presets().get("runner", {}).get(settings.preset, {})
        reading = any("language_model" in parameters_of(path) for path in chosen)
        found = preflight.preflight(settings, folder, plan.get("disk_gb", 4), reading)
        print(f"run {folder}, preset {settings.preset}", *found, sep="\n")
        if missing := [check.name for check in found if not check.ok]:
            print(f"invlib.series.runner: missing: {', '.join(missing)}; nothing was started", file=sys.stderr)
            return 2
        minutes = [plan.get("minutes", {}).get(path.name[:2]) for path in chosen]
        unknown = f", and {minutes.count(None)} of a time not known yet" if None in minutes else ""
        needed = f"about {round(sum(filter(None, minutes)))} min{unknown}"
        print(f"notebooks: {len(chosen)}, {needed}; progress is in {folder / 'log.txt'}\n", flush=True)

        name = folder.name if folder.parent == paths.RUNS.resolve() else folder
        again = f"Go on with: make run RUN={name} ARGS=--resume (or python -m invlib.series --resume --run {name})"
        try:
            write_settings(folder, settings, parameters)
            run_series(chosen, folder, parameters, resume=args.resume)
            write_settings(folder, settings, parameters)  # again: now with the hash of the data that was read
        except NotebookFailed as error:
            print(f"\n{error}\n\nWhat was done is in {folder}. {again}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print(f"\nWhat was done is in {folder}. {again}", file=sys.stderr)
            return 130
        except OSError as error:  # a folder that can't be written, a full disk
            print(f"invlib.series.runner: {error}; the run writes to {folder}. {again}", file=sys.stderr)
            return 2
        whole = all(is_complete(folder / "notebooks" / path.name, stamp(path, parameters)) for path in notebooks)
        if whole and settings.preset != "smoke":
            point_last(folder)
        print(f"\n{tables.closing_table(folder)}\n\n{folder}", flush=True)
    return 0
