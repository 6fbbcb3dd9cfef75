"""results/bench/README.md, made from the JSON files beside it."""

from pathlib import Path

from benchmarks.common import RESULTS
from benchmarks.goals import goals
from invlib import paths

HEAD = """# Benchmarks

Written by `make bench` from the JSON files beside this page; [benchmarks/README.md](../../benchmarks/README.md) says
what each measures. Ratio: how many times faster than the alternative, on the same work, in the same run; the median of
pairs that take turns, lowest and highest in brackets. Milliseconds: of one piece of the work.

| benchmark | what | against | ms | ms, alternative | ratio | machine |
| --- | --- | --- | ---: | ---: | ---: | --- |
"""


def line_of(name: str, line: dict, machine: str) -> str:
    ours, theirs, ratio = line["ours"], line["theirs"], line["ratio"]
    cells = [
        name, line["what"], line["against"], f"{ours['median']:.4g}", f"{theirs['median']:.4g}",
        f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]", machine,
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |\n"


def table(folder: Path = RESULTS) -> str:
    """The page: each line of each file, the goals, and the machines and versions that the files were measured with."""
    found = {file.stem: paths.read_json(file) for file in sorted(folder.glob("*.json"))}
    stated = {key: {name: listed(run[key]) for name, run in found.items()} for key in ("machine", "versions")}
    machines = sorted(set(stated["machine"].values()))
    letter = {name: "ABCDEFGH"[machines.index(machine)] for name, machine in stated["machine"].items()}
    text = HEAD + "".join(line_of(name, line, letter[name]) for name, run in found.items() for line in run["lines"])
    text += goals(folder)
    text += "".join(f"\nMachine {'ABCDEFGH'[k]}: {machine}.\n" for k, machine in enumerate(machines))
    return text + "".join(f"\nVersions: {versions}.\n" for versions in sorted(set(stated["versions"].values())))


def listed(values: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def main() -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "README.md").write_text(table(), encoding="utf-8")


if __name__ == "__main__":
    main()
