"""What the benchmarks share: two ways of the same work in turns, and the JSON files of results/bench."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch

from invlib import paths
from invlib.data.headlines import load_headlines
from invlib.device import precision

RESULTS = paths.ROOT / "results" / "bench"
PAIRS = 3
LIBRARIES = ("torch", "transformers", "sentence-transformers", "tokenizers", "numpy")


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def compare(
    what: str, ours: Callable, against: str, theirs: Callable, n: int = 1, pairs: int = PAIRS, warm: bool = True, **more
) -> dict:
    """One line of a benchmark: milliseconds of each of n pieces of work, both ways, and how many times ours is faster.

    The two take turns, and the one that begins changes, so that a busy moment of the machine meets both; the ratio is
    that of each pair. Median, lowest and highest of `pairs`. warm: each is called once before. more: what else the file
    has of this line.
    """
    calls, seconds = {"ours": ours, "theirs": theirs}, {"ours": [], "theirs": []}
    for turn in range(-1 if warm else 0, pairs):
        for name in sorted(calls, reverse=turn % 2 == 0):
            started = time.perf_counter()
            calls[name]()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - started)
    each = {name: spread([1000 * value / n for value in values]) for name, values in seconds.items()}
    ratios = [b / a for a, b in zip(*seconds.values(), strict=True)]
    return {"what": what, "against": against, "n": n, **each, "ratio": spread(ratios), **more}


def machine() -> dict:
    """The processor, how much of it is used, and whether it multiplies bfloat16 in hardware."""
    names = [line for line in _cpu_lines() if line.startswith("model name")]
    where = torch.device("cpu")
    return {
        "processor": names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(), "threads": torch.get_num_threads(), "system": platform.system(),
        "capability": torch.backends.cpu.get_cpu_capability(), "bfloat16": precision(where) == torch.bfloat16,
    }  # fmt: skip


def _cpu_lines() -> list[str]:
    file = Path("/proc/cpuinfo")
    return file.read_text().splitlines() if file.exists() else []


def write(name: str, question: str, lines: list[dict], **more) -> Path:
    """results/bench/<name>.json: the question, its lines, the machine and the versions."""
    versions = {"python": platform.python_version()} | {library: version(library) for library in LIBRARIES}
    found = {"question": question, "lines": lines, **more, "machine": machine(), "versions": versions}
    for line in lines:
        print(f"{line['what']}: {line['ratio']['median']:.2f} times faster than {line['against']}", flush=True)
    return paths.write_json(RESULTS / f"{name}.json", found)


def headlines(n: int, limit: int = 6000) -> tuple[list[str], str]:
    """n training headlines in the order of the corpus, and where they come from."""
    corpus = load_headlines(None, seed=0, allow_synthetic=True, limit=limit)
    return list(corpus.splits["train"]["text"])[:n], corpus.source
