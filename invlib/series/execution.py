"""Notebooks executed into a run, in order or several side by side, with a line each on the screen and in the log."""

import json
import time
from collections import Counter
from contextlib import closing
from functools import partial
from pathlib import Path

from invlib import paths
from invlib.device import device
from invlib.series.at_once import Job, side_by_side, threads_each
from invlib.series.duration import FILE, other_minutes
from invlib.series.notebooks import READS, NotebookFailed, execute, is_complete, number_of, stamp, waits
from invlib.series.timings import TIMINGS, write_timing

ON_A_CARD = 4  # notebooks that share its memory at most; a training takes far less
OWN = ("notebooks", "log.txt", "settings.json", TIMINGS, FILE)  # what the runner writes into a run, not a notebook


def produced(folder: Path, start: float, of: str = "") -> str:
    """What notebooks wrote into a run since `start` (s), in a few words: `curves (2), metrics.json, models (1)`.

    of: only what is named after this notebook, as 04_top_k.csv is after 04.
    """
    new = (
        path for path in folder.rglob(f"{of}_*" if of else "*")
        if path.is_file() and path.stat().st_mtime >= start - 0.1  # coarse clocks
    )  # fmt: skip
    counts = Counter(top for top, *_ in {path.relative_to(folder).parts[:2] for path in new} if top not in OWN)
    return ", ".join(f"{top} ({n})" if (folder / top).is_dir() else top for top, n in sorted(counts.items()))


def run_series(
    notebooks: list[Path], folder: Path, parameters: dict, resume: bool = False, at_once: int = 1,
    trained: bool = False,
) -> None:  # fmt: skip
    """Execute notebooks in order into `folder`, a line each on the screen and in log.txt; NotebookFailed at the first.

    resume: leave out those whose executed copy is complete under the same cells, preset and parameters. at_once: so
    many side by side, where one does not read what another makes; trained: their models are there already.
    """
    width, todo = max(len(path.stem) for path in notebooks), []
    for notebook in notebooks:
        if resume and is_complete(folder / "notebooks" / notebook.name, stamp(notebook, parameters)):
            print(f"{notebook.stem:<{width}}    done before", flush=True)
        else:
            todo.append(notebook)
    if at_once > 1:
        run_side_by_side(todo, folder, parameters, at_once, trained)
        return
    for notebook in todo:
        print(f"{notebook.stem:<{width}} ", end="", flush=True)
        paths.log_line(folder, f"{notebook.stem} starts")
        start = time.time()
        try:
            execute(notebook, folder, parameters)
        except (NotebookFailed, KeyboardInterrupt) as error:
            words = "interrupted" if isinstance(error, KeyboardInterrupt) else f"failed: {str(error).splitlines()[-1]}"
            print(words, flush=True)
            paths.log_line(folder, f"{notebook.stem} {words}")
            raise
        print(done(notebook, folder, start), flush=True)


def run_side_by_side(notebooks: list[Path], folder: Path, parameters: dict, at_once: int, trained: bool) -> None:
    """`run_series` with several notebooks at once, each in a process of its own; where one fails, the others end."""
    width = max((len(path.stem) for path in notebooks), default=0)

    def start(notebook: Path) -> Job:
        paths.log_line(folder, f"{notebook.stem} starts")
        words = [str(notebook), str(folder), json.dumps(parameters)]
        return Job(["invlib.series.notebooks", *words], threads_each(at_once))

    at_once = min(at_once, ON_A_CARD) if device().type == "cuda" else at_once
    try:
        with closing(
            side_by_side(urgent_first(notebooks, parameters), at_once, start, partial(waits, trained=trained))
        ) as ended:
            for notebook, job in ended:
                print(f"{notebook.stem:<{width}} ", end="", flush=True)
                if job.failed:
                    words = f"failed: {job.message().splitlines()[-1]}"
                    print(words, flush=True)
                    paths.log_line(folder, f"{notebook.stem} {words}")
                    raise NotebookFailed(job.message())
                print(done(notebook, folder, job.begun, number_of(notebook)), flush=True)
    except KeyboardInterrupt:
        paths.log_line(folder, "interrupted")
        raise


def urgent_first(notebooks: list[Path], parameters: dict) -> list[Path]:
    """Those first that most others read, then those that take longest: no long one is left for the end, alone."""
    minutes = other_minutes(parameters.get("preset", ""), map(number_of, notebooks))
    readers = Counter(other for read in READS.values() for other in read)
    return sorted(notebooks, key=lambda path: (-readers[number_of(path)], -(minutes[number_of(path)] or 0)))


def done(notebook: Path, folder: Path, start: float, of: str = "") -> str:
    """Note in timings.csv and log.txt that a notebook is done, and what it made; the same in a line."""
    seconds = time.time() - start
    write_timing(folder, notebook.stem, seconds)
    line = f"{seconds:6.0f} s  {produced(folder, start, of) or 'no files'}"
    paths.log_line(folder, f"{notebook.stem} done: {line.strip()}")
    return line
