"""The series of notebooks: which there are, what each takes, and one of them executed with papermill."""

import hashlib
import json
import os
import re
import sys
import textwrap
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from invlib import paths
from invlib.presets import read_presets

KERNEL = {  # variables of every kernel, where the user set none
    "CUDA_VISIBLE_DEVICES": "0",  # with several cards the Trainer would silently grow the batch
    "JUPYTER_PREFER_ENV_PATH": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**30),  # glibc keeps what a step frees for the next one, which else spends half
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),  # of its time on page faults
}


TRAINED = ("01", "03")  # these train the models, where nobody has before
# What a notebook reads that others made in the run, or would make where it lacks it: two never train the same model.
# (02 shows the trained attention head where there is one already.)
READS = {
    "00": (), "01": (), "02": (), "03": ("models",), "04": ("models",), "05": ("models", "04"), "06": ("models", "04"),
    "07": ("models", "04"), "08": ("models",), "09": ("03",), "10": ("03", "04", "09"), "11": ("models", "08"),
    "12": ("models",), "13": ("models", "12"), "appendix": ("models", "04", "07"),
}  # fmt: skip

# A figure's cell has its words in its metadata, as `alt`; nbconvert's template of JupyterLab leaves them out
WITH_ALT = """{% extends 'lab/index.html.j2' %}
{% block data_png scoped %}{{ super() | replace('<img', '<img alt="%s"' % cell.metadata.alt | escape_html, 1)
if cell.metadata.alt else super() }}{% endblock %}"""


class NotebookFailed(RuntimeError):
    """A notebook stopped; the message holds its failing cell and error."""


def notebooks_of(folder: str | Path) -> list[Path]:
    """The notebooks of a folder in order: NN_name.ipynb, then the appendix; FileNotFoundError where it has none."""
    found = sorted(path for path in Path(folder).glob("*.ipynb") if re.match(r"(\d\d|appendix)_", path.name))
    if not found:
        raise FileNotFoundError(f"no notebook NN_name.ipynb in {folder}; they are in a clone of the repository")
    return found


def number_of(notebook: Path) -> str:
    """What a notebook is called for short: 03, or appendix."""
    return notebook.name.partition("_")[0]


def pick(notebooks: list[Path], only: Iterable[str] = (), start: str | None = None) -> list[Path]:
    """The notebooks that `only` names, or those from `start` on: 03, 03_training or a path; ValueError for others."""

    def index(name: str) -> int:
        for i, path in enumerate(notebooks):
            if Path(name).name in (path.name, path.stem, number_of(path)):
                return i
        raise ValueError(f"unknown notebook {name!r}; the series has {', '.join(path.stem for path in notebooks)}")

    if only:
        return [notebooks[i] for i in sorted({index(name) for name in only})]
    return notebooks[index(start) if start else 0 :]


def parameters_of(notebook: Path) -> set[str]:
    """The names in a notebook's parameters cell."""
    import papermill

    return set(papermill.inspect_notebook(str(notebook)))


def stamp(path: Path, parameters: dict) -> dict:
    """What an executed copy is compared with on `--resume`: hashes of code and preset, its share of `parameters`."""
    code = ["".join(cell["source"]) for cell in paths.read_json(path)["cells"] if cell["cell_type"] == "code"]
    presets = read_presets()
    own_values = [presets.get("common"), presets.get(parameters.get("preset"))]
    source, values = (hashlib.sha256(json.dumps(part).encode()).hexdigest()[:12] for part in (code, own_values))
    own = {name: parameters[name] for name in sorted(parameters_of(path) & set(parameters))}
    return {"source": source, "values": values, "parameters": own}


def is_complete(executed: Path, wanted: dict | None = None) -> bool:
    """Whether an executed copy ran to its end without an error, and (where given) under the wanted `stamp`."""
    try:
        made = paths.read_json(executed)["metadata"].get("invlib")  # written after the last cell
    except (FileNotFoundError, ValueError):  # ValueError: cut off while it was written
        return False
    return made is not None and wanted in (None, made)


def execute(notebook: Path, folder: Path, parameters: dict) -> None:
    """Execute one notebook in its own folder into <folder>/notebooks, with its HTML; INVLIB_RUN names `folder`.

    parameters: those that are in no parameters cell of it are left out. Raises NotebookFailed with the failing cell's
    source and error; what was executed until then is kept.
    """
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError
    from nbconvert import HTMLExporter
    from papermill.exceptions import PapermillExecutionError

    executed, made = folder / "notebooks" / notebook.name, stamp(notebook, parameters)
    executed.parent.mkdir(parents=True, exist_ok=True)
    try:
        with environment(INVLIB_RUN=str(folder)):
            papermill.execute_notebook(
                str(notebook), str(executed), made["parameters"], cwd=str(notebook.parent), progress_bar=False,
                extra_arguments=["--IPKernelApp.log_level=50"],  # the runner shows what fails
            )  # fmt: skip
    except PapermillExecutionError as error:
        source, reason = error.source, f"{error.ename}: {error.evalue}"
    except DeadKernelError:
        cells = [c for c in nbformat.read(executed, as_version=4).cells if c.cell_type == "code"]
        begun = [c.source for c in cells if c.metadata.get("papermill", {}).get("status", "pending") != "pending"]
        source, reason = begun[-1] if begun else "", "the kernel died here; most often the memory was full"
    else:
        content = nbformat.read(executed, as_version=4)
        content.metadata["invlib"] = made
        try:
            html = HTMLExporter(raw_template=WITH_ALT).from_notebook_node(content)[0]
        except ValueError as error:  # nbconvert without its templates, as `pip install --target` leaves it
            reason = str(error).splitlines()[0]
            warnings.warn(f"{notebook.name} is executed, but has no HTML: {reason}", stacklevel=2)
            paths.log_line(folder, f"{notebook.stem} has no HTML: {reason}")
        else:
            paths.write_text(executed.with_suffix(".html"), html)
        paths.write_text(executed, nbformat.writes(content))  # at last: where its stamp stands, all is written
        return
    shown = textwrap.indent("\n".join(source.strip().splitlines()[:12]), "    ")
    raise NotebookFailed(f"{notebook.name} failed in this cell:\n\n{shown}\n\n{reason}")


def waits(notebook: Path, unfinished: Iterable[Path], trained: bool = False) -> bool:
    """Whether a notebook reads what one of these others makes; one that READS does not know waits for those before.

    trained: the models are there already.
    """
    own, others = number_of(notebook), set(map(number_of, unfinished))
    reads = set(READS.get(own, {other for other in others if other < own}))
    if "models" in reads and not trained:
        reads.update(TRAINED)
    return not others.isdisjoint(reads)


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set variables that a kernel inherits, and those of KERNEL, and put the old values back."""
    before = dict(os.environ)
    os.environ.update(KERNEL | before | variables)
    if before.get("INVLIB_DATA"):  # a relative folder is meant from here, not from the notebooks' folder
        os.environ["INVLIB_DATA"] = os.path.abspath(os.path.expanduser(before["INVLIB_DATA"]))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def main(argv: list[str]) -> None:
    """NOTEBOOK FOLDER PARAMETERS (JSON): execute it. Its error output is what failed, and no warning beside it."""
    notebook, folder, parameters = argv
    errors = os.dup(sys.stderr.fileno())
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stderr.fileno())
    try:
        execute(Path(notebook), Path(folder), json.loads(parameters))
    except Exception as error:
        words = str(error) if isinstance(error, NotebookFailed) else f"{type(error).__name__}: {error}"
        os.write(errors, words.encode(errors="replace"))
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
